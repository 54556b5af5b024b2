/*-------------------------------------------------------------------------
 *
 * delete.c
 *	  How data goes: replicas of doomed collections, and what stores owe.
 *
 * Each store that has a replica of a doomed shard is told to delete it until it
 * has said that it did; the shard goes with its last replica, the row with its
 * last shard.
 *
 * A store that is lost holds nothing up: what it had is noted as owed, and the
 * row goes without it.  Should it come back, it is told to delete that until it
 * has said that it did.  The same goes for a replica that left a group that lives
 * (change.c), and for a child that nobody has reported (split.c).
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

/* A doomed shard without its replica on this store; true: it has none left. */
static bool
without_replica(CatalogShard *shard, uint64_t store)
{
	WireShardDesc *desc = &shard->desc;
	uint8_t		n = 0;

	for (int i = 0; i < desc->nreplicas; i++)
		if (desc->replicas[i].store != store)
			desc->replicas[n++] = desc->replicas[i];
	desc->nreplicas = n;
	if (shard->plan.add_store == store)
		memset(&shard->plan, 0, sizeof(shard->plan));
	return n == 0 && shard->plan.add_replica == 0;
}

/*
 * A store has deleted its replica of a shard of a doomed collection; the shard
 * goes with its last replica, the row with its last shard.
 */
static VtStatus
replica_is_gone(Pd *pd, CatalogCollection *c, uint64_t shard, uint64_t store)
{
	CatalogCollection changed = *c;
	Buf			command = {0};
	uint32_t	n = 0;
	VtStatus	status;

	changed.shards = vt_alloc(sizeof(CatalogShard) * c->nshards);
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		changed.shards[n] = c->shards[i];
		if (c->shards[i].desc.shard != shard || !without_replica(&changed.shards[n], store))
			n++;
	}
	changed.nshards = n;
	command_begin(&command);
	if (n > 0)
		command_collection(&command, &changed);
	else
		command_forget(&command, &c->generation);
	status = pd->commit(pd, &command);
	if (status == VT_OK && n == 0)
		log_info("deleted all of \"%s\"", changed.label);
	buf_free(&command);
	free(changed.shards);
	return status;
}

/* -- What is owed ---------------------------------------------------------- */

/* Does the list of a heartbeat name this shard? */
static bool
says_dropped(json_t *dropped, uint64_t shard)
{
	size_t		i;
	json_t	   *item;

	json_array_foreach(dropped, i, item)
	{
		const char *text = json_string_value(item);

		if (text && strtoull(text, NULL, 10) == shard)
			return true;
	}
	return false;
}

/* What this store has deleted, or has another replica in the place of, is owed no more. */
static VtStatus
settle(Pd *pd, Beat *beat, json_t *dropped)
{
	size_t		n;
	const CatalogOwed *owed = catalog_owed(pd->catalog, beat->store, &n);
	Buf			command = {0};
	bool		any = false;
	VtStatus	status = VT_OK;

	command_begin(&command);
	for (size_t i = 0; i < n; i++)
	{
		Report	   *report = report_in(beat, owed[i].shard);

		if (report ? report->replica == owed[i].replica : !says_dropped(dropped, owed[i].shard))
			continue;
		command_settled(&command, &owed[i]);
		any = true;
	}
	if (any)
		status = pd->commit(pd, &command);
	buf_free(&command);
	return status;
}

/*
 * A store is to delete what it owes.  While its shard is in the catalog and here,
 * operate.c says when; and where another replica of it is on its way here, that one's place must be free.
 */
void
drops_tell(Pd *pd, Beat *beat, json_t *tasks)
{
	size_t		n;
	const CatalogOwed *owed = catalog_owed(pd->catalog, beat->store, &n);

	for (size_t i = 0; i < n; i++)
	{
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, owed[i].shard, &c);
		uint64_t	replica;

		if (shard && (operate_has_replica(shard, beat->store, &replica) ||
					  (c->state != COLLECTION_DOOMED && report_in(beat, owed[i].shard))))
			continue;
		operate_give_drop(pd, beat->store, owed[i].shard, owed[i].replica, !shard || c->state == COLLECTION_DOOMED, tasks);
	}
}

/* A heartbeat says which shards this store has deleted. */
VtStatus
drops_take(Pd *pd, Beat *beat, json_t *dropped)
{
	size_t		i;
	json_t	   *item;
	VtStatus	status = settle(pd, beat, dropped);

	json_array_foreach(dropped, i, item)
	{
		const char *text = json_string_value(item);
		uint64_t	id = text ? strtoull(text, NULL, 10) : 0;
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, id, &c);
		uint64_t	replica;

		if (shard && c->state == COLLECTION_DOOMED && !report_in(beat, id) &&
			operate_has_replica(shard, beat->store, &replica))
			status = replica_is_gone(pd, c, id, beat->store);
		if (status != VT_OK)
			break;
	}
	return status;
}

static bool
is_lost(Pd *pd, uint64_t store)
{
	CatalogStore *home = catalog_store(pd->catalog, store);

	return !home || store_health(pd, home) == HEALTH_DOWN;
}

/* Take a doomed shard's replicas on lost stores away, and note that those owe them; false: it has none. */
static bool
without_lost(Pd *pd, CatalogShard *shard, Buf *command)
{
	WireShardDesc *desc = &shard->desc;
	uint8_t		n = 0;
	bool		any = false;

	for (int i = 0; i < desc->nreplicas; i++)
	{
		CatalogOwed owed = {desc->replicas[i].store, desc->shard, desc->replicas[i].replica};

		if (!is_lost(pd, owed.store))
		{
			desc->replicas[n++] = desc->replicas[i];
			continue;
		}
		if (catalog_store(pd->catalog, owed.store))
			command_owed(command, &owed);
		any = true;
	}
	desc->nreplicas = n;
	if (shard->plan.add_replica && is_lost(pd, shard->plan.add_store))
	{
		CatalogOwed owed = {shard->plan.add_store, desc->shard, shard->plan.add_replica};

		if (catalog_store(pd->catalog, owed.store))
			command_owed(command, &owed);
		memset(&shard->plan, 0, sizeof(shard->plan));
		any = true;
	}
	return any;
}

/* A doomed collection goes on without the stores that are lost; false: it waits for none of them. */
bool
delete_without_lost(Pd *pd, const CatalogCollection *c)
{
	CatalogCollection changed = *c;
	Buf			command = {0};
	uint32_t	n = 0;
	bool		any = false;

	changed.shards = vt_alloc(sizeof(CatalogShard) * (c->nshards + 1));
	command_begin(&command);
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		CatalogShard *shard = &changed.shards[n];

		*shard = c->shards[i];
		any |= without_lost(pd, shard, &command);
		if (shard->desc.nreplicas > 0 || shard->plan.add_replica != 0)
			n++;
	}
	changed.nshards = n;
	if (n > 0)
		command_collection(&command, &changed);
	else
		command_forget(&command, &c->generation);
	if (any && pd->commit(pd, &command) == VT_OK)
		log_info("\"%s\" is deleted without stores that are lost: they are told when they come back", changed.label);
	buf_free(&command);
	free(changed.shards);
	return any;
}
