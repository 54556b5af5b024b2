/*-------------------------------------------------------------------------
 *
 * twin.c
 *	  The slow twin of src/pd/survey.c: it looks at every shard.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

typedef struct Slow
{
	uint32_t   *replicas;		/* by store, as in the survey */
	uint32_t	plans;
	size_t		planned;
	size_t		needs;
} Slow;

static void
count_at(const Survey *survey, Slow *slow, uint64_t store)
{
	const PlanStore *found = survey_store(survey, store);

	if (found)
		slow->replicas[found - survey->stores]++;
}

/* By what its stores are like, and by how many members it has. */
static bool
needs_something(const Sim *sim, const Survey *survey, const CatalogCollection *c, const CatalogShard *shard)
{
	uint32_t	wanted = c->replicas_wanted ? c->replicas_wanted : sim->options.default_replicas;
	uint32_t	voters = 0;
	bool		odd = false;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		const PlanStore *store = survey_store(survey, r->store);

		voters += r->role == ROLE_VOTER;
		odd |= !store || store->health == HEALTH_DOWN || store->draining || store->search_only != (r->role != ROLE_VOTER);
	}
	return odd || voters != wanted || shard->desc.nreplicas - voters != survey->learners;
}

static void
look_at(Sim *sim, const Survey *survey, const IdMap *listed, const CatalogCollection *c, const CatalogShard *shard, Slow *slow)
{
	uint64_t	unused;

	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (!shard->plan.add_replica || shard->desc.replicas[i].store != shard->plan.add_store)
			count_at(survey, slow, shard->desc.replicas[i].store);
	if (shard->plan.add_replica)
		count_at(survey, slow, shard->plan.add_store);
	slow->plans += shard->plan.kind != PLAN_NONE;
	slow->planned += shard->plan.kind != PLAN_NONE && shard->bootstrapped;
	if (!shard->bootstrapped || shard->plan.kind != PLAN_NONE || !needs_something(sim, survey, c, shard))
		return;
	slow->needs++;
	if (!idmap_get(listed, shard->desc.shard, &unused))
		sim_fail(sim, "shard %" PRIu64 " needs something and is not seen", shard->desc.shard);
}

void
twin_check(Sim *sim, const Survey *survey)
{
	const Catalog *catalog = sim->pd.catalog;
	Slow		slow = {.replicas = vt_alloc0(sizeof(uint32_t) * (survey->nstores + 1))};
	IdMap		listed = {0};
	size_t		more = 0;		/* that stores alone say something of */

	for (size_t i = 0; i < survey->nneeds; i++)
		idmap_put(&listed, survey->needs[i].shard->desc.shard, 1);
	for (size_t i = 0; i < sim->pd.nbeats; i++)
		more += sim->pd.beats[i]->ndamaged + sim->pd.beats[i]->nmissing;
	for (size_t i = 0; i < catalog->ncollections; i++)
		for (uint32_t j = 0; catalog->collections[i]->state == COLLECTION_LIVE && j < catalog->collections[i]->nshards; j++)
			look_at(sim, survey, &listed, catalog->collections[i], &catalog->collections[i]->shards[j], &slow);
	if (slow.plans != survey->plans || slow.planned != survey->nplanned)
		sim_fail(sim, "%u plans are under way, %u are seen", slow.plans, survey->plans);
	if (survey->nneeds < slow.needs || survey->nneeds > slow.needs + more)
		sim_fail(sim, "%zu shards need something, %zu are seen", slow.needs, survey->nneeds);
	for (size_t i = 0; i < survey->nstores; i++)
		if (slow.replicas[i] != survey->stores[i].replicas)
			sim_fail(sim, "store %zu has %u replicas, %u are seen", i, slow.replicas[i], survey->stores[i].replicas);
	idmap_free(&listed);
	free(slow.replicas);
}
