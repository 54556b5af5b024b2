/*-------------------------------------------------------------------------
 *
 * change.c
 *	  A decision's rows: copies to be changed, then one command for all of them.
 *
 * A replica that is neither member nor on its way any more once the command is
 * applied is owed by its store from then on (delete.c): a store that is away
 * may come back when nothing else in the catalog knows that there was one.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "service.h"

void
changes_begin(Pd *pd, Changes *changes)
{
	memset(changes, 0, sizeof(*changes));
	changes->meta = pd->catalog->meta;
}

CatalogCollection *
changes_of(Changes *changes, const CatalogCollection *collection)
{
	CatalogCollection *copy;
	uint64_t	key = idmap_key(&collection->generation);
	uint64_t	at;

	if (idmap_get(&changes->at, key, &at) && vt_id_equal(&changes->collections[at]->generation, &collection->generation))
		return changes->collections[at];
	for (size_t i = 0; changes->clash && i < changes->n; i++)
		if (vt_id_equal(&changes->collections[i]->generation, &collection->generation))
			return changes->collections[i];
	changes->clash |= idmap_get(&changes->at, key, &at);
	idmap_put(&changes->at, key, changes->n);
	copy = vt_alloc(sizeof(*copy));
	*copy = *collection;
	copy->shards = vt_alloc(sizeof(CatalogShard) * (copy->nshards + 1));
	memcpy(copy->shards, collection->shards, sizeof(CatalogShard) * copy->nshards);
	changes->collections = vt_realloc(changes->collections,
									  sizeof(CatalogCollection *) * (changes->n + 1));
	changes->collections[changes->n++] = copy;
	return copy;
}

CatalogShard *
changes_of_shard(Changes *changes, const CatalogCollection *collection, const CatalogShard *shard)
{
	return &changes_of(changes, collection)->shards[shard - collection->shards];
}

uint64_t
changes_next_id(Changes *changes)
{
	changes->meta_changed = true;
	return changes->meta.next_id++;
}

bool
changes_any(const Changes *changes)
{
	return changes->meta_changed || changes->n > 0;
}

void
changes_drop(Changes *changes)
{
	for (size_t i = 0; i < changes->n; i++)
		catalog_collection_free(changes->collections[i]);
	free(changes->collections);
	idmap_free(&changes->at);
	memset(changes, 0, sizeof(*changes));
}

static bool
has_replica(const CatalogShard *shard, uint64_t replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].replica == replica)
			return true;
	return shard->plan.add_replica == replica;
}

/* A store that was forgotten cannot come back, and owes nothing. */
static void
owe(Catalog *catalog, Buf *command, const CatalogShard *shard, uint64_t store, uint64_t replica)
{
	CatalogOwed owed = {store, shard->desc.shard, replica};

	if (catalog_store(catalog, store))
		command_owed(command, &owed);
}

/* after: NULL, the shard is gone */
static void
put_shard_owed(Catalog *catalog, Buf *command, const CatalogShard *before, const CatalogShard *after)
{
	const WireReplica *replicas = before->desc.replicas;

	for (int i = 0; i < before->desc.nreplicas; i++)
		if (!after || !has_replica(after, replicas[i].replica))
			owe(catalog, command, before, replicas[i].store, replicas[i].replica);
	if (before->plan.add_replica && (!after || !has_replica(after, before->plan.add_replica)))
		owe(catalog, command, before, before->plan.add_store, before->plan.add_replica);
}

static void
put_owed(Catalog *catalog, Buf *command, const CatalogCollection *before, const CatalogCollection *after)
{
	uint32_t	at = 0;			/* shards that stay keep their order */

	for (uint32_t i = 0; before && i < before->nshards; i++)
	{
		uint32_t	found = at;

		while (found < after->nshards && after->shards[found].desc.shard != before->shards[i].desc.shard)
			found++;
		put_shard_owed(catalog, command, &before->shards[i], found < after->nshards ? &after->shards[found] : NULL);
		if (found < after->nshards)
			at = found + 1;
	}
}

void
changes_put(Pd *pd, const Changes *changes, Buf *command)
{
	command_begin(command);
	if (changes->meta_changed)
		command_meta(command, &changes->meta);
	for (size_t i = 0; i < changes->n; i++)
	{
		const CatalogCollection *after = changes->collections[i];

		command_collection(command, after);
		put_owed(pd->catalog, command, catalog_collection(pd->catalog, &after->generation), after);
	}
}

VtStatus
changes_commit(Pd *pd, Changes *changes)
{
	Buf			command = {0};
	VtStatus	status = VT_OK;

	if (changes_any(changes))
	{
		changes_put(pd, changes, &command);
		status = pd->commit(pd, &command);
		buf_free(&command);
	}
	changes_drop(changes);
	return status;
}
