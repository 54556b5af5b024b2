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
 * So that a look at all shards need not be one (survey.c): those with a plan are
 * listed, stores know how many voters and learners they have, and collections how
 * many their shards have.
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
	HomeCounts	counts;
	uint64_t	touched;
} Home;

struct CatalogPlaces
{
	IdMap		shards;			/* id: collection << 32 | place in it */
	IdMap		generations;	/* idmap_key(): collection */
	bool		clash;			/* two had the same key: it knows nothing any more */
	IdMap		stores;			/* id: place in homes */
	Home	   *homes;
	size_t		nhomes;
	IdMap		planned_at;		/* id of a shard with a plan: place in planned */
	uint64_t   *planned;
	MemberCounts *members;		/* by collection; counted anew with each of its rows */
	size_t		members_room;
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
	places->homes[places->nhomes].counts.store = store;
	idmap_put(&places->stores, store, places->nhomes);
	return &places->homes[places->nhomes++];
}

static void
list_plan(CatalogPlaces *places, uint64_t shard)
{
	size_t		n = places->planned_at.n;
	uint64_t	at;

	if (idmap_get(&places->planned_at, shard, &at))
		return;					/* two rows name it: no catalog of ours, but rows are from outside */
	if ((n & (n - 1)) == 0)
		places->planned = vt_realloc(places->planned, sizeof(uint64_t) * (n ? n * 2 : 1));
	places->planned[n] = shard;
	idmap_put(&places->planned_at, shard, n);
}

static void
unlist_plan(CatalogPlaces *places, uint64_t shard)
{
	uint64_t	at;

	if (!idmap_get(&places->planned_at, shard, &at))
		return;
	idmap_remove(&places->planned_at, shard);
	if (at == places->planned_at.n)
		return;
	places->planned[at] = places->planned[places->planned_at.n];
	idmap_put(&places->planned_at, places->planned[at], at);
}

/* What a live collection's shard has on a store; sign: it comes, or goes. */
static void
count_home(Home *home, const CatalogShard *shard, uint64_t store, size_t sign)
{
	home->counts.replicas += sign;
	for (int i = 0; shard->plan.kind == PLAN_NONE && i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].store == store)
		{
			home->counts.voters += shard->desc.replicas[i].role == ROLE_VOTER ? sign : 0;
			home->counts.learners += shard->desc.replicas[i].role == ROLE_VOTER ? 0 : sign;
		}
}

static void
list_shard(CatalogPlaces *places, const CatalogShard *shard, bool live, ShardPlace place)
{
	uint64_t	stores[HOMES_MAX];
	uint32_t	n = homes_of(shard, stores);

	if (shard->plan.kind != PLAN_NONE)
		list_plan(places, shard->desc.shard);
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
		if (live)
			count_home(home, shard, stores[i], 1);
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
unlist_shard(CatalogPlaces *places, const CatalogShard *shard, bool live, ShardPlace place)
{
	uint64_t	stores[HOMES_MAX];
	uint32_t	n = homes_of(shard, stores);

	unlist_plan(places, shard->desc.shard);
	idmap_remove(&places->shards, shard->desc.shard);
	for (uint32_t i = 0; i < n; i++)
	{
		Home	   *home = home_of(places, stores[i], false);
		ShardPlace *at = listed(home, place);

		if (!at)
			continue;
		*at = home->list[--home->n];
		home->firsts -= shard->desc.replicas[0].store == stores[i];
		if (live)
			count_home(home, shard, stores[i], (size_t) -1);
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

static void
count_members(CatalogPlaces *places, const CatalogCollection *c, size_t at)
{
	MemberCounts counts = {UINT32_MAX, 0, UINT32_MAX, 0};

	for (uint32_t i = 0; i < c->nshards; i++)
	{
		uint32_t	n = c->shards[i].desc.nreplicas;
		uint32_t	voters = 0;

		if (c->shards[i].plan.kind != PLAN_NONE)
			continue;
		for (uint32_t k = 0; k < n; k++)
			voters += c->shards[i].desc.replicas[k].role == ROLE_VOTER;
		counts.voters_least = voters < counts.voters_least ? voters : counts.voters_least;
		counts.voters_most = voters > counts.voters_most ? voters : counts.voters_most;
		counts.learners_least = n - voters < counts.learners_least ? n - voters : counts.learners_least;
		counts.learners_most = n - voters > counts.learners_most ? n - voters : counts.learners_most;
	}
	if (at >= places->members_room)
	{
		places->members_room = at < 8 ? 16 : at * 2;
		places->members = vt_realloc(places->members, sizeof(MemberCounts) * places->members_room);
	}
	places->members[at] = counts;
}

static void
index_generation(Catalog *catalog, size_t at)
{
	uint64_t	key = idmap_key(&catalog->collections[at]->generation);
	uint64_t	other;

	catalog->places->clash |= idmap_get(&catalog->places->generations, key, &other);
	idmap_put(&catalog->places->generations, key, at);
}

/* The row at this place of the catalog's collections is new; before: the one it replaces, or NULL. */
void
places_put(Catalog *catalog, size_t at, const CatalogCollection *before)
{
	const CatalogCollection *after = catalog->collections[at];
	bool		same = before && has_same_shards(before, after) && before->state == after->state;

	if (!catalog->places)
		catalog->places = vt_alloc0(sizeof(CatalogPlaces));
	if (!before)
		index_generation(catalog, at);
	for (uint32_t i = 0; before && i < before->nshards; i++)
		if (!same || !is_same_shard(&before->shards[i], &after->shards[i]))
			unlist_shard(catalog->places, &before->shards[i], before->state == COLLECTION_LIVE, (ShardPlace) {(uint32_t) at, i});
	for (uint32_t i = 0; i < after->nshards; i++)
		if (!same || !is_same_shard(&before->shards[i], &after->shards[i]))
			list_shard(catalog->places, &after->shards[i], after->state == COLLECTION_LIVE, (ShardPlace) {(uint32_t) at, i});
	count_members(catalog->places, after, at);
}

/* The row at this place goes, and the last one is to take its place. */
void
places_remove(Catalog *catalog, size_t at)
{
	size_t		last = catalog->ncollections - 1;
	const CatalogCollection *moves = catalog->collections[last];

	for (uint32_t i = 0; i < catalog->collections[at]->nshards; i++)
		unlist_shard(catalog->places, &catalog->collections[at]->shards[i], catalog->collections[at]->state == COLLECTION_LIVE,
					 (ShardPlace) {(uint32_t) at, i});
	catalog->places->members[at] = catalog->places->members[last];
	idmap_remove(&catalog->places->generations, idmap_key(&catalog->collections[at]->generation));
	if (at != last)
		idmap_put(&catalog->places->generations, idmap_key(&moves->generation), at);
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
	idmap_free(&places->generations);
	idmap_free(&places->planned_at);
	free(places->planned);
	free(places->members);
	free(places);
	catalog->places = NULL;
}

/* -- Asking ---------------------------------------------------------------- */

size_t
places_collection(const Catalog *catalog, const VtId *generation)
{
	uint64_t	at;

	if (!catalog->places)
		return SIZE_MAX;
	if (!catalog->places->clash)
		return idmap_get(&catalog->places->generations, idmap_key(generation), &at) &&
			vt_id_equal(&catalog->collections[at]->generation, generation) ? (size_t) at : SIZE_MAX;
	for (size_t i = 0; i < catalog->ncollections; i++)
		if (vt_id_equal(&catalog->collections[i]->generation, generation))
			return i;
	return SIZE_MAX;
}

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

const uint64_t *
catalog_planned(const Catalog *catalog, size_t *n)
{
	*n = catalog->places ? catalog->places->planned_at.n : 0;
	return *n > 0 ? catalog->places->planned : NULL;
}

const HomeCounts *
catalog_home(const Catalog *catalog, size_t i)
{
	return catalog->places && i < catalog->places->nhomes ? &catalog->places->homes[i].counts : NULL;
}

const MemberCounts *
catalog_members(const Catalog *catalog, size_t collection)
{
	return &catalog->places->members[collection];
}
