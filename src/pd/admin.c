/*-------------------------------------------------------------------------
 *
 * admin.c
 *	  What people ask to be changed: replicas of a collection, where one is and which
 *	  leads, an operator that is to end, a store that will never come back.
 *
 * Each is one decision in the log.  What it leads to, replicas that come and go,
 * is left to the plans (operate.c).
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

/* -- Operators --------------------------------------------------------------- */

static bool
is_learner(const CatalogShard *shard, uint64_t replica)
{
	for (int i = 0; replica && i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].replica == replica)
			return shard->desc.replicas[i].role == ROLE_LEARNER;
	return false;
}

/*
 * A shard's plan ends where it is.  A replica that is on its way goes again; one that
 * has a vote by now stays, and whether that is one too many is looked at as ever.
 * What the cluster still needs is begun anew.
 */
void
operator_end(Changes *changes, CatalogCollection *c, CatalogShard *shard)
{
	shard = changes_of_shard(changes, c, shard);
	if (is_learner(shard, shard->plan.add_replica))
		shard->plan = (Plan) {.kind = PLAN_SHRINK, .remove = shard->plan.add_replica};
	else
		memset(&shard->plan, 0, sizeof(shard->plan));
}

/* cancel: but a split that was made goes on */
VtStatus
cancel_operator(Pd *pd, json_t *body, VtError *err)
{
	uint64_t	id;
	CatalogCollection *c;
	CatalogShard *shard;
	Changes		changes;

	if (!get_u64(body, "shard", &id) || !(shard = find_shard(pd, id, &c)))
		return vt_fail(err, VT_NOT_FOUND, "there is no such shard");
	if (shard->plan.kind == PLAN_NONE)
		return vt_fail(err, VT_NOT_FOUND, "shard %" PRIu64 " has no operator under way", id);
	if (shard->plan.kind == PLAN_SPLIT && split_is_done(c, shard))
		return vt_fail(err, VT_EXISTS, "shard %" PRIu64 " is split already: that only goes forward", id);
	if (shard->plan.kind == PLAN_RECOVER)
		return vt_fail(err, VT_EXISTS, "shard %" PRIu64 " is being recovered, and that only goes forward; if another store is lost: vectronctl unsafe-recover", id);
	changes_begin(pd, &changes);
	operator_ended(pd, shard, ENDING_CANCELLED);
	operator_end(&changes, c, shard);
	log_info("shard=%" PRIu64 ": its operator is cancelled", id);
	return changes_commit(pd, &changes);
}

/* move: a replica from one store to another */
static VtStatus
move_replica(Pd *pd, json_t *body, VtError *err)
{
	uint64_t	shard;
	uint64_t	from;
	uint64_t	to;

	if (!get_u64(body, "shard", &shard) || !get_u64(body, "from_store", &from) || !get_u64(body, "to_store", &to))
		return vt_fail(err, VT_INVALID, "move: members are missing or malformed");
	return operate_move(pd, shard, from, to, err);
}

/* transfer_leader: the replica on a store is to lead */
static VtStatus
transfer_leader(Pd *pd, json_t *body, VtError *err)
{
	uint64_t	shard;
	uint64_t	store;

	if (!get_u64(body, "shard", &shard) || !get_u64(body, "store", &store))
		return vt_fail(err, VT_INVALID, "transfer_leader: members are missing or malformed");
	return operate_transfer(pd, shard, store, err);
}

/* -- Collections ------------------------------------------------------------- */

/* A collection by its generation, or by a label that only one has which lives. */
VtStatus
collection_named(Pd *pd, const char *name, CatalogCollection **out, VtError *err)
{
	VtId		generation;
	int			n = 0;

	*out = NULL;
	if (!name || !*name)
		return vt_fail(err, VT_INVALID, "collection is missing or malformed");
	if (vt_id_parse(name, &generation))
		*out = catalog_collection(pd->catalog, &generation);
	for (size_t i = 0; (!*out || n > 0) && i < pd->catalog->ncollections; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];

		if (c->state != COLLECTION_LIVE || strcmp(c->label, name) != 0)
			continue;
		*out = c;
		n++;
	}
	if (n > 1)
		return vt_fail(err, VT_INVALID, "%d collections have that name: give the generation of one", n);
	if (!*out)
		return vt_fail(err, VT_NOT_FOUND, "there is no collection with that generation or name");
	return (*out)->state == COLLECTION_LIVE ? VT_OK : vt_fail(err, VT_GONE, "the collection was dropped");
}

/* set_replicas: how many voters each shard of a collection is to have */
VtStatus
set_replicas(Pd *pd, json_t *body, VtError *err)
{
	int64_t		replicas;
	CatalogCollection *c;
	Changes		changes;
	VtStatus	status;

	if (!get_int(body, "replicas", 1, pd->options.replicas_max, &replicas))
		return vt_fail(err, VT_INVALID, "the number of replicas must be from 1 to %u", pd->options.replicas_max);
	status = collection_named(pd, json_string_value(json_object_get(body, "collection")), &c, err);
	if (status != VT_OK)
		return status;
	changes_begin(pd, &changes);
	if (c->replicas_wanted != (uint32_t) replicas)
		changes_of(&changes, c)->replicas_wanted = (uint32_t) replicas;
	log_info("\"%s\" is to have %d replicas of each shard", c->label, (int) replicas);
	return changes_commit(pd, &changes);
}

/* -- Stores ------------------------------------------------------------------ */

/* Would so many voters be left without the store that nothing is lost?  On stores that were forgotten there is none. */
static bool
outlives(Pd *pd, const CatalogShard *shard, uint64_t store)
{
	uint32_t	voters = 0;
	uint32_t	left = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];

		voters += r->role == ROLE_VOTER;
		left += r->role == ROLE_VOTER && r->store != store && catalog_store(pd->catalog, r->store);
	}
	return left * 2 > voters;
}

/*
 * What still needs the store, in words; NULL = nothing.  A dropped collection may
 * come back as long as a majority of its replicas is elsewhere.
 */
static const char *
need_of(Pd *pd, uint64_t store, uint64_t *shard)
{
	size_t		n;
	const ShardPlace *homes = shards_of_store(pd, store, &n);

	for (size_t i = 0; i < n; i++)
	{
		const CatalogCollection *c = pd->catalog->collections[homes[i].collection];
		const CatalogShard *s = &c->shards[homes[i].place];

		*shard = s->desc.shard;
		if (c->state == COLLECTION_LIVE)
			return "replicas that have no successor elsewhere yet";
		if (c->state == COLLECTION_HIDDEN && !outlives(pd, s, store))
			return "what is needed to bring a dropped collection back, which is still kept";
	}
	return NULL;
}

/* It owes nothing any more; what is being deleted goes on without it (delete.c). */
void
store_goes(Pd *pd, const CatalogStore *store, Buf *command)
{
	CatalogGone gone;
	const CatalogOwed *owed;
	size_t		nowed;

	memset(&gone, 0, sizeof(gone));
	gone.id = store->id;
	gone.data_id = store->data_id;
	gone.since_us = pd_wall_us(pd);
	memcpy(gone.endpoint, store->endpoint, sizeof(gone.endpoint));
	owed = catalog_owed(pd->catalog, gone.id, &nowed);
	command_gone(command, &gone);
	untold_forget(pd, gone.id);
	for (size_t i = 0; i < nowed; i++)
		command_settled(command, &owed[i]);
	log_info("store=%" PRIu64 " at %s is forgotten", gone.id, gone.endpoint);
}

static VtStatus
forget(Pd *pd, const CatalogStore *store)
{
	CatalogMeta meta = pd->catalog->meta;
	Buf			command = {0};
	VtStatus	status;

	meta.peers_version++;
	command_begin(&command);
	command_meta(&command, &meta);
	store_goes(pd, store, &command);
	status = pd->commit(pd, &command);
	buf_free(&command);
	return status;
}

/*
 * forget_store: one that is silent for good and holds nothing.  It cannot come
 * back, so that what it once had, and how it voted, is of no more account.
 */
VtStatus
forget_store(Pd *pd, json_t *body, VtError *err)
{
	uint64_t	id;
	uint64_t	shard;
	CatalogStore *store;
	const char *need;
	Health		health;

	if (!get_u64(body, "store", &id))
		return vt_fail(err, VT_INVALID, "store is missing or malformed");
	store = catalog_store(pd->catalog, id);
	if (!store)
		return catalog_gone(pd->catalog, id, NULL) ? VT_OK : /* asked twice */
			vt_fail(err, VT_NOT_FOUND, "there is no such store");
	if (!reports_are_in(pd))
		return vt_fail(err, VT_BUSY, "the placement driver has just begun to lead and waits for the workers' reports");
	health = store_health(pd, store);
	need = need_of(pd, id, &shard);
	if (health == HEALTH_UP)
		return vt_fail(err, VT_EXISTS, "store %" PRIu64 " is up: drain it and stop its worker first", id);
	if (need)
		return vt_fail(err, VT_EXISTS, "store %" PRIu64 " has %s, of shard %" PRIu64, id, need, shard);
	if (health != HEALTH_DOWN && !store->draining)
		return vt_fail(err, VT_EXISTS, "store %" PRIu64 " is silent, but not for as long as would make it down, and was not drained", id);
	return forget(pd, store);
}

/* -- Questions --------------------------------------------------------------- */

/* Does one of the questions of this file ask that?  Then it is answered. */
bool
op_admin(Pd *pd, Question *q, const char *op)
{
	static const struct
	{
		const char *op;
		VtStatus	(*change) (Pd *pd, json_t *body, VtError *err);
	}			ops[] = {
		{"cancel", cancel_operator},
		{"move", move_replica},
		{"transfer_leader", transfer_leader},
		{"set_replicas", set_replicas},
		{"forget_store", forget_store},
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
	{
		VtError		err = {0};
		VtStatus	status;

		if (strcmp(op, ops[i].op) != 0)
			continue;
		status = ops[i].change(pd, q->body, &err);
		answer(q, status, NULL, err.code == VT_OK ? NULL : vt_error_words(&err));
		return true;
	}
	return false;
}
