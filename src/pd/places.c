/*-------------------------------------------------------------------------
 *
 * places.c
 *	  Where in the catalog a shard is: by its id, and by store.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "service.h"

static int
place_compare(const void *a, const void *b)
{
	uint64_t	x = ((const ShardPlace *) a)->key;
	uint64_t	y = ((const ShardPlace *) b)->key;

	return x < y ? -1 : x > y;
}

static void
add_home(Pd *pd, size_t *room, uint64_t store, ShardPlace place)
{
	if (pd->nhomes == *room)
	{
		*room = *room ? *room * 2 : 64;
		pd->homes = vt_realloc(pd->homes, sizeof(ShardPlace) * *room);
	}
	place.key = store;
	pd->homes[pd->nhomes++] = place;
}

/* Index the catalog's shards, if it has changed. */
static void
index_shards(Pd *pd)
{
	Catalog    *catalog = pd->catalog;
	size_t		n = 0;
	size_t		room = 0;

	if (pd->places && pd->places_at == catalog->applied)
		return;
	for (size_t i = 0; i < catalog->ncollections; i++)
		n += catalog->collections[i]->nshards;
	pd->places = vt_realloc(pd->places, sizeof(ShardPlace) * (n + 1));
	free(pd->homes);
	pd->homes = NULL;
	pd->nplaces = pd->nhomes = 0;
	for (size_t i = 0; i < catalog->ncollections; i++)
		for (uint32_t j = 0; j < catalog->collections[i]->nshards; j++)
		{
			const CatalogShard *shard = &catalog->collections[i]->shards[j];
			ShardPlace	place = {shard->desc.shard, (uint32_t) i, j};
			bool		arrives = shard->plan.add_replica != 0;

			pd->places[pd->nplaces++] = place;
			for (int k = 0; k < shard->desc.nreplicas; k++)
			{
				add_home(pd, &room, shard->desc.replicas[k].store, place);
				arrives &= shard->desc.replicas[k].store != shard->plan.add_store;
			}
			if (arrives)
				add_home(pd, &room, shard->plan.add_store, place);
		}
	qsort(pd->places, pd->nplaces, sizeof(ShardPlace), place_compare);
	if (pd->nhomes > 0)
		qsort(pd->homes, pd->nhomes, sizeof(ShardPlace), place_compare);
	pd->places_at = catalog->applied;
}

CatalogShard *
find_shard(Pd *pd, uint64_t id, CatalogCollection **collection)
{
	ShardPlace	key = {.key = id};
	ShardPlace *place;

	index_shards(pd);
	place = bsearch(&key, pd->places, pd->nplaces, sizeof(ShardPlace), place_compare);
	if (!place)
		return NULL;
	*collection = pd->catalog->collections[place->collection];
	return &(*collection)->shards[place->place];
}

const ShardPlace *
shards_of_store(Pd *pd, uint64_t store, size_t *n)
{
	size_t		low = 0;
	size_t		high;

	index_shards(pd);
	high = pd->nhomes;
	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;

		if (pd->homes[middle].key < store)
			low = middle + 1;
		else
			high = middle;
	}
	for (*n = 0; low + *n < pd->nhomes && pd->homes[low + *n].key == store;)
		++*n;
	return pd->homes + low;
}
