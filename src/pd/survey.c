/*-------------------------------------------------------------------------
 *
 * survey.c
 *	  All shards at a glance: what stores have, what is under way, what may be needed.
 *
 * It asks what is known of stores, not of replicas, and goes over stores and collections
 * (places.c counts what they have), not over all shards: over such as have a plan, over
 * those of a store that is down, is to be emptied or has the wrong role for what it has,
 * and over those of a collection where not all have as many members as they should.
 * Only what stands out here is looked at closely (operate.c).  A replica that its store
 * says is damaged, or has not spoken of, is found from the beats, which list few of them.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "service.h"

PlanStore *
survey_store(const Survey *survey, uint64_t store)
{
	uint64_t	at;

	return idmap_get(&survey->at, store, &at) ? &survey->stores[at] : NULL;
}

static void
count_arriving(PlanStore *to, uint64_t bytes)
{
	to->arriving++;
	to->arriving_bytes += bytes;
}

static void
count_leaving(PlanStore *from, uint64_t bytes)
{
	from->leaving++;
	from->leaving_bytes += bytes;
}

static void
count_plan(Survey *survey, PlanKind kind, uint64_t bytes)
{
	survey->plans++;
	survey->kinds[kind]++;
	if (kind == PLAN_BALANCE || kind == PLAN_SPREAD)
		survey->evening_bytes += bytes;
}

void
survey_begins(Survey *survey, const CatalogShard *shard, const Plan *plan, uint64_t bytes)
{
	PlanStore  *to = plan->add_store ? survey_store(survey, plan->add_store) : NULL;

	count_plan(survey, plan->kind, bytes);
	if (to)
	{
		to->replicas++;
		count_arriving(to, bytes);
	}
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (plan->remove && shard->desc.replicas[i].replica == plan->remove)
		{
			PlanStore  *from = survey_store(survey, shard->desc.replicas[i].store);

			if (from)
				count_leaving(from, bytes);
		}
}

static void
add_shard(SurveyShard **list, size_t *n, SurveyShard shard)
{
	/* Room doubles at each power of two. */
	if ((*n & (*n - 1)) == 0)
		*list = vt_realloc(*list, sizeof(SurveyShard) * (*n ? *n * 2 : 1));
	shard.id = shard.shard->desc.shard;
	(*list)[(*n)++] = shard;
}

/* A plan: what it brings counts where it is to be. */
static void
count_shard(const Pd *pd, Survey *survey, const CatalogShard *shard)
{
	const Plan *plan = &shard->plan;
	uint64_t	bytes = (uint64_t) shard_bytes(pd, shard->desc.shard);
	PlanStore  *to = plan->add_replica ? survey_store(survey, plan->add_store) : NULL;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		PlanStore  *store = survey_store(survey, r->store);

		if (store && plan->remove == r->replica)
			count_leaving(store, bytes);
	}
	if (to)
		count_arriving(to, bytes);
	count_plan(survey, plan->kind, bytes);
}

/* Is something wrong with this store, or with what it has of this role? */
static bool
is_odd(const PlanStore *store, bool voter)
{
	return !store || store->health == HEALTH_DOWN || store->draining || store->search_only == voter;
}

/* May it need something, by what its stores are like?  Never wrongly false but for add_lost(). */
static bool
stands_out(const Survey *survey, const CatalogShard *shard, uint32_t wanted, int *urgency)
{
	uint32_t	voters = 0;
	uint32_t	left = 0;
	bool		needs = false;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		const PlanStore *store = survey_store(survey, r->store);
		bool		voter = r->role == ROLE_VOTER;

		needs |= is_odd(store, voter);
		voters += voter;
		left += voter && store && store->health != HEALTH_DOWN;
	}
	*urgency = plan_urgency_of(voters, left);
	return needs || voters != wanted || shard->desc.nreplicas - voters != survey->learners;
}

/* The first of its stores that makes it stand out; 0 = none does. */
static uint64_t
first_odd_store(const Survey *survey, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];

		if (is_odd(survey_store(survey, r->store), r->role == ROLE_VOTER))
			return r->store;
	}
	return 0;
}

static bool
all_have(const MemberCounts *counts, uint32_t voters, uint32_t learners)
{
	return counts->voters_least == voters && counts->voters_most == voters &&
		counts->learners_least == learners && counts->learners_most == learners;
}

static void
add_if_needed(Pd *pd, Survey *survey, CatalogCollection *c, CatalogShard *shard)
{
	SurveyShard found = {.collection = c, .shard = shard};

	if (shard->bootstrapped && shard->plan.kind == PLAN_NONE &&
		stands_out(survey, shard, replicas_wanted(pd, c), &found.urgency))
		add_shard(&survey->needs, &survey->nneeds, found);
}

/* Shards of collections in which not all have the members that they should. */
static void
look_at_members(Pd *pd, Survey *survey)
{
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];

		if (c->state != COLLECTION_LIVE || all_have(catalog_members(pd->catalog, i), replicas_wanted(pd, c), survey->learners))
			continue;
		for (uint32_t j = 0; j < c->nshards; j++)
			add_if_needed(pd, survey, c, &c->shards[j]);
	}
}

/* Shards of stores that are not as they should be, each once, but for those above. */
static void
look_at_store(Pd *pd, Survey *survey, uint64_t store)
{
	size_t		n;
	const ShardPlace *places = shards_of_store(pd, store, &n);

	for (size_t i = 0; i < n; i++)
	{
		CatalogCollection *c = pd->catalog->collections[places[i].collection];
		CatalogShard *shard = &c->shards[places[i].place];

		if (c->state == COLLECTION_LIVE && first_odd_store(survey, shard) == store &&
			all_have(catalog_members(pd->catalog, places[i].collection), replicas_wanted(pd, c), survey->learners))
			add_if_needed(pd, survey, c, shard);
	}
}

static void
look_at_stores(Pd *pd, Survey *survey)
{
	const HomeCounts *home;

	for (size_t i = 0; (home = catalog_home(pd->catalog, i)) != NULL; i++)
	{
		PlanStore  *store = survey_store(survey, home->store);

		if (store)
			store->replicas += (uint32_t) home->replicas;
		if ((home->voters > 0 && is_odd(store, true)) || (home->learners > 0 && is_odd(store, false)))
			look_at_store(pd, survey, home->store);
	}
}

static int
planned_compare(const void *a, const void *b)
{
	uint64_t	x = ((const SurveyShard *) a)->id;
	uint64_t	y = ((const SurveyShard *) b)->id;

	return x < y ? -1 : x > y;
}

static void
look_at_plans(Pd *pd, Survey *survey)
{
	size_t		n;
	const uint64_t *planned = catalog_planned(pd->catalog, &n);

	for (size_t i = 0; i < n; i++)
	{
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, planned[i], &c);

		if (!shard || c->state != COLLECTION_LIVE)
			continue;
		count_shard(pd, survey, shard);
		if (shard->bootstrapped)
			add_shard(&survey->planned, &survey->nplanned, (SurveyShard) {.collection = c, .shard = shard});
	}
	if (survey->nplanned > 0)
		qsort(survey->planned, survey->nplanned, sizeof(SurveyShard), planned_compare);
}

/* What is down by what its store says of it alone. */
static void
add_lost(Pd *pd, Survey *survey, uint64_t id)
{
	CatalogCollection *c;
	CatalogShard *shard = find_shard(pd, id, &c);
	PlanShard	picture;
	int			urgency;

	if (!shard || c->state != COLLECTION_LIVE || !shard->bootstrapped || shard->plan.kind != PLAN_NONE ||
		stands_out(survey, shard, replicas_wanted(pd, c), &urgency))
		return;					/* it is listed already, if it is to be */
	operate_picture(pd, c, shard, &picture);
	for (uint32_t i = 0; i < picture.n; i++)
		if (picture.members[i].health == HEALTH_DOWN)
		{
			add_shard(&survey->needs, &survey->nneeds, (SurveyShard) {.collection = c, .shard = shard, .urgency = plan_urgency(&picture)});
			return;
		}
}

/* Stores of one site have one number. */
static void
number_sites(Survey *survey)
{
	IdMap		first = {0};	/* a number made of the site: the first store there */
	uint32_t	n = 0;

	for (size_t i = 0; i < survey->nstores; i++)
	{
		PlanStore  *store = &survey->stores[i];
		uint64_t	key = 1;
		uint64_t	at;

		for (int level = 0; level < SPREAD_LEVELS; level++)
			key = prng_mix(key ^ store->site.at[level]);
		if (idmap_get(&first, key | 1, &at))
			store->kin = memcmp(&survey->stores[at].site, &store->site, sizeof(Site)) == 0 ? survey->stores[at].kin : 0;
		else
		{
			idmap_put(&first, key | 1, i);
			store->kin = ++n;
		}
	}
	idmap_free(&first);
}

void
survey_begin(Pd *pd, Survey *survey)
{
	Catalog    *catalog = pd->catalog;
	uint32_t	search_stores = 0;

	memset(survey, 0, sizeof(*survey));
	survey->nstores = catalog->nstores;
	survey->stores = vt_alloc0(sizeof(PlanStore) * (survey->nstores + 1));
	for (size_t i = 0; i < survey->nstores; i++)
	{
		PlanStore  *store = &survey->stores[i];

		operate_store(pd, catalog->stores[i]->id, store);
		idmap_put(&survey->at, store->store, i);
		search_stores += store->search_only && !store->draining && store->health != HEALTH_DOWN;
	}
	number_sites(survey);
	survey->learners = search_stores < pd->options.search_replicas ? search_stores : pd->options.search_replicas;
	pd->search_stores = search_stores;

	/* What was dropped is moved no more: it keeps no room, no plan and no lost store in mind. */
	look_at_plans(pd, survey);
	look_at_members(pd, survey);
	look_at_stores(pd, survey);
	for (size_t i = 0; i < pd->nbeats; i++)
	{
		for (size_t j = 0; j < pd->beats[i]->ndamaged; j++)
			add_lost(pd, survey, pd->beats[i]->damaged[j].shard);
		for (size_t j = 0; j < pd->beats[i]->nmissing; j++)
			add_lost(pd, survey, pd->beats[i]->missing[j].shard);
	}
}

void
survey_end(Survey *survey)
{
	free(survey->stores);
	idmap_free(&survey->at);
	free(survey->planned);
	free(survey->needs);
}
