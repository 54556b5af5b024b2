/*-------------------------------------------------------------------------
 *
 * change.c
 *	  A decision's rows: copies to be changed, then one command for all of them.
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

	for (size_t i = 0; i < changes->n; i++)
		if (vt_id_equal(&changes->collections[i]->generation, &collection->generation))
			return changes->collections[i];
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
	memset(changes, 0, sizeof(*changes));
}

VtStatus
changes_commit(Pd *pd, Changes *changes)
{
	Buf			command = {0};
	VtStatus	status = VT_OK;

	if (changes_any(changes))
	{
		command_begin(&command);
		if (changes->meta_changed)
			command_meta(&command, &changes->meta);
		for (size_t i = 0; i < changes->n; i++)
			command_collection(&command, changes->collections[i]);
		status = pd->commit(pd, &command);
		buf_free(&command);
	}
	changes_drop(changes);
	return status;
}
