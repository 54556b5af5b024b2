/*-------------------------------------------------------------------------
 *
 * places.c
 *	  Where in the catalog a shard is: by its id, and by store.
 *
 * The index follows the rows: whoever puts a collection's row in place of another
 * or takes one away says so here, and only the shards that have changed are
 * listed anew.  A store's list counts how often something in it has changed, so
 * that who waits for news of a store need not look at it in between.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "idmap.h"
#include "service.h"

/* The shards that a store has or is to have. */
typedef struct Home
{
	ShardPlace *list;
	size_t		n;
	size_t		room;
	size_t		firsts;			/* of them, those whose first replica it has */
	uint64_t	touched;
} Home;

struct CatalogPlaces
{
	IdMap		shards;			/* id: collection << 32 | place in it */
	IdMap		stores;			/* id: place in homes */
	Home	   *homes;
	size_t		nhomes;
	uint64_t	touches;
};

#define HOMES_MAX (WIRE_REPLICAS_MAX + 1)

/* The stores of a shard's replicas, also of one that arrives; how many. */
static uint32_t
homes_of(const CatalogShard *shard, uint64_t *stores)
{
	uint32_t	n = 0;
	bool		arrives = shard->plan.add_replica != 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		stores[n++] = shard->desc.replicas[i].store;
		arrives &= shard->desc.replicas[i].store != shard->plan.add_store;
	}
	if (arrives)
		stores[n++] = shard->plan.add_store;
	return n;
}

static Home *
home_of(CatalogPlaces *places, uint64_t store, bool make)
{
	uint64_t	at;

	if (idmap_get(&places->stores, store, &at))
		return &places->homes[at];
	if (!make)
		return NULL;
	places->homes = vt_realloc(places->homes, sizeof(Home) * (places->nhomes + 1));
	memset(&places->homes[places->nhomes], 0, sizeof(Home));
	idmap_put(&places->stores, store, places->nhomes);
	return &places->homes[places->nhomes++];
}

static void
list_shard(CatalogPlaces *places, const CatalogShard *shard, ShardPlace place)
{
	uint64_t	stores[HOMES_MAX];
	uint32_t	n = homes_of(shard, stores);

	idmap_put(&places->shards, shard->desc.shard, (uint64_t) place.collection << 32 | place.place);
	for (uint32_t i = 0; i < n; i++)
	{
		Home	   *home = home_of(places, stores[i], true);

		if (home->n == home->room)
		{
			home->room = home->room ? home->room * 2 : 16;
			home->list = vt_realloc(home->list, sizeof(ShardPlace) * home->room);
		}
		home->list[home->n++] = place;
		home->firsts += shard->desc.replicas[0].store == stores[i];
		home->touched = ++places->touches;
	}
}

static ShardPlace *
listed(Home *home, ShardPlace place)
{
	for (size_t i = 0; home && i < home->n; i++)
		if (home->list[i].collection == place.collection && home->list[i].place == place.place)
			return &home->list[i];
	return NULL;
}

static void
unlist_shard(CatalogPlaces *places, const CatalogShard *shard, ShardPlace place)
{
	uint64_t	stores[HOMES_MAX];
	uint32_t	n = homes_of(shard, stores);

	idmap_remove(&places->shards, shard->desc.shard);
	for (uint32_t i = 0; i < n; i++)
	{
		Home	   *home = home_of(places, stores[i], false);
		ShardPlace *at = listed(home, place);

		if (!at)
			continue;
		*at = home->list[--home->n];
		home->firsts -= shard->desc.replicas[0].store == stores[i];
		home->touched = ++places->touches;
	}
}

static bool
has_same_shards(const CatalogCollection *a, const CatalogCollection *b)
{
	for (uint32_t i = 0; a->nshards == b->nshards && i < a->nshards; i++)
		if (a->shards[i].desc.shard != b->shards[i].desc.shard)
			return false;
	return a->nshards == b->nshards;
}

static bool
is_same_plan(const Plan *a, const Plan *b)
{
	return a->kind == b->kind && a->add_store == b->add_store && a->add_replica == b->add_replica &&
		a->remove == b->remove && a->add_seen == b->add_seen && a->child == b->child && a->split_at == b->split_at && a->chosen == b->chosen;
}

/* All of a shard that ever changes.  Not by bytes: what is between the fields is anything. */
static bool
is_same_shard(const CatalogShard *a, const CatalogShard *b)
{
	const WireShardDesc *x = &a->desc;
	const WireShardDesc *y = &b->desc;

	if (a->conf_index != b->conf_index || a->bootstrapped != b->bootstrapped || a->seen != b->seen ||
		!is_same_plan(&a->plan, &b->plan) || x->incarnation != y->incarnation || x->first != y->first ||
		x->last != y->last || x->conf_ver != y->conf_ver || x->range_ver != y->range_ver ||
		x->parent != y->parent || x->base_index != y->base_index || x->nreplicas != y->nreplicas)
		return false;
	for (int i = 0; i < x->nreplicas; i++)
		if (x->replicas[i].store != y->replicas[i].store || x->replicas[i].replica != y->replicas[i].replica ||
			x->replicas[i].role != y->replicas[i].role)
			return false;
	return true;
}

/* The row at this place of the catalog's collections is new; before: the one it replaces, or NULL. */
void
places_put(Catalog *catalog, size_t at, const CatalogCollection *before)
{
	const CatalogCollection *after = catalog->collections[at];
	bool		same = before && has_same_shards(before, after) && before->state == after->state;

	if (!catalog->places)
		catalog->places = vt_alloc0(sizeof(CatalogPlaces));
	for (uint32_t i = 0; before && i < before->nshards; i++)
		if (!same || !is_same_shard(&before->shards[i], &after->shards[i]))
			unlist_shard(catalog->places, &before->shards[i], (ShardPlace) {(uint32_t) at, i});
	for (uint32_t i = 0; i < after->nshards; i++)
		if (!same || !is_same_shard(&before->shards[i], &after->shards[i]))
			list_shard(catalog->places, &after->shards[i], (ShardPlace) {(uint32_t) at, i});
}

/* The row at this place goes, and the last one is to take its place. */
void
places_remove(Catalog *catalog, size_t at)
{
	size_t		last = catalog->ncollections - 1;
	const CatalogCollection *moves = catalog->collections[last];

	for (uint32_t i = 0; i < catalog->collections[at]->nshards; i++)
		unlist_shard(catalog->places, &catalog->collections[at]->shards[i], (ShardPlace) {(uint32_t) at, i});
	for (uint32_t i = 0; at != last && i < moves->nshards; i++)
	{
		uint64_t	stores[HOMES_MAX];
		uint32_t	n = homes_of(&moves->shards[i], stores);

		idmap_put(&catalog->places->shards, moves->shards[i].desc.shard, (uint64_t) at << 32 | i);
		for (uint32_t k = 0; k < n; k++)
		{
			ShardPlace *place = listed(home_of(catalog->places, stores[k], false), (ShardPlace) {(uint32_t) last, i});

			if (place)
				place->collection = (uint32_t) at;
		}
	}
}

void
places_free(Catalog *catalog)
{
	CatalogPlaces *places = catalog->places;

	if (!places)
		return;
	for (size_t i = 0; i < places->nhomes; i++)
		free(places->homes[i].list);
	free(places->homes);
	idmap_free(&places->shards);
	idmap_free(&places->stores);
	free(places);
	catalog->places = NULL;
}

/* -- Asking ---------------------------------------------------------------- */

bool
places_find(const Catalog *catalog, uint64_t shard, ShardPlace *out)
{
	uint64_t	at;

	if (!catalog->places || !idmap_get(&catalog->places->shards, shard, &at))
		return false;
	out->collection = (uint32_t) (at >> 32);
	out->place = (uint32_t) at;
	return true;
}

CatalogShard *
find_shard(Pd *pd, uint64_t id, CatalogCollection **collection)
{
	Catalog    *catalog = pd->catalog;
	ShardPlace	at;

	if (!places_find(catalog, id, &at))
		return NULL;
	*collection = catalog->collections[at.collection];
	return &(*collection)->shards[at.place];
}

const ShardPlace *
shards_of_store(Pd *pd, uint64_t store, size_t *n)
{
	Home	   *home = pd->catalog->places ? home_of(pd->catalog->places, store, false) : NULL;

	*n = home ? home->n : 0;
	return home ? home->list : NULL;
}

size_t
store_firsts(const Catalog *catalog, uint64_t store)
{
	uint64_t	at;

	return catalog->places && idmap_get(&catalog->places->stores, store, &at) ?
		catalog->places->homes[at].firsts : 0;
}

uint64_t
store_touched(const Catalog *catalog, uint64_t store)
{
	uint64_t	at;

	return catalog->places && idmap_get(&catalog->places->stores, store, &at) ?
		catalog->places->homes[at].touched : 0;
}

uint64_t
catalog_touches(const Catalog *catalog)
{
	return catalog->places ? catalog->places->touches : 0;
}

size_t
catalog_nshards(const Catalog *catalog)
{
	return catalog->places ? catalog->places->shards.n : 0;
}
