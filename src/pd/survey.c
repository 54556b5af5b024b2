/*-------------------------------------------------------------------------
 *
 * survey.c
 *	  All shards at a glance: what stores have, what is under way, what may be needed.
 *
 * One pass over the catalog, some tens of nanoseconds a shard: it asks what is
 * known of stores, not of replicas.  Only what stands out here is looked at
 * closely (operate.c).  A replica that its store says is damaged, or has not
 * spoken of, is found from the beats, which list few of them.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

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
	to->replicas++;
	to->arriving++;
	to->arriving_bytes += bytes;
}

static void
count_leaving(PlanStore *from, uint64_t bytes)
{
	from->leaving++;
	from->leaving_bytes += bytes;
}

void
survey_begins(Survey *survey, const CatalogShard *shard, const Plan *plan, uint64_t bytes)
{
	PlanStore  *to = plan->add_store ? survey_store(survey, plan->add_store) : NULL;

	survey->plans++;
	survey->kinds[plan->kind]++;
	if (to)
		count_arriving(to, bytes);
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
	(*list)[(*n)++] = shard;
}

/* Its replicas are counted where they are, and where they are to be. */
static void
count_shard(const Pd *pd, Survey *survey, const CatalogShard *shard)
{
	const Plan *plan = &shard->plan;
	uint64_t	bytes = plan->kind != PLAN_NONE ? (uint64_t) shard_bytes(pd, shard->desc.shard) : 0;
	PlanStore  *to = plan->add_replica ? survey_store(survey, plan->add_store) : NULL;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		PlanStore  *store = survey_store(survey, r->store);

		if (store && store != to)
			store->replicas++;
		if (store && plan->remove == r->replica)
			count_leaving(store, bytes);
	}
	if (to)
		count_arriving(to, bytes);
	survey->plans += plan->kind != PLAN_NONE;
	survey->kinds[plan->kind] += plan->kind != PLAN_NONE;
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
		bool		down = !store || store->health == HEALTH_DOWN;

		needs |= down || store->draining || store->search_only == voter;
		voters += voter;
		left += voter && !down;
	}
	*urgency = plan_urgency_of(voters, left);
	return needs || voters != wanted || shard->desc.nreplicas - voters != survey->learners;
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
			add_shard(&survey->needs, &survey->nneeds, (SurveyShard) {c, shard, plan_urgency(&picture)});
			return;
		}
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
	survey->learners = search_stores < pd->options.search_replicas ? search_stores : pd->options.search_replicas;
	pd->search_stores = search_stores;

	/* What was dropped is moved no more: it keeps no room, no plan and no lost store in mind. */
	for (size_t i = 0; i < catalog->ncollections; i++)
	{
		CatalogCollection *c = catalog->collections[i];
		uint32_t	wanted = replicas_wanted(pd, c);

		for (uint32_t j = 0; c->state == COLLECTION_LIVE && j < c->nshards; j++)
		{
			SurveyShard found = {c, &c->shards[j], 0};

			count_shard(pd, survey, found.shard);
			if (!found.shard->bootstrapped)
				continue;
			if (found.shard->plan.kind != PLAN_NONE)
				add_shard(&survey->planned, &survey->nplanned, found);
			else if (stands_out(survey, found.shard, wanted, &found.urgency))
				add_shard(&survey->needs, &survey->nneeds, found);
		}
	}
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
