/*-------------------------------------------------------------------------
 *
 * rebalance.c
 *	  Stores that have more than others: replicas, bytes, leaderships, writes.
 *
 * A look goes over all shards and asks what would be gained by moving one replica,
 * or one leadership, from where it is to where there is less (balance.h says what
 * a gain is, and why this ends).  The best moves are begun, few at a time.
 *
 * Nothing that is fine where it is moves while something is lost or missing, while
 * many stores are silent, or to where it would share more with the others of its
 * shard, or to a store that was away a moment ago and may go again; of one store no more leave at once than may come to one.  Before anything
 * is evened out, replicas that share more than they need to are spread.
 *
 *-------------------------------------------------------------------------
 */
#include "scales.h"

#define LOOK_US INT64_C(1000000)	/* between two looks, and for each shard */
#define LOOK_SHARD_US 20
#define SOON_SHARD_US 5			/* the same, when a change has ended */
#define SPREAD_MAX 20000			/* shards whose spread is looked at in a look, */
#define CROWDED_MAX 2000		/* and of them, such as share something */
#define STORES_A_MOVE 4			/* one move at a time for so many stores, */
#define TINY_BYTES (UINT64_C(4) << 20)	/* or more that have less in all */

/* -- Spreading --------------------------------------------------------------- */

/* Do two voters share the first key? */
static bool
shares_site(const Scales *scales, const CatalogShard *shard)
{
	const Site *sites[WIRE_REPLICAS_MAX];
	uint32_t	n = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const PlanStore *store = survey_store(scales->survey, shard->desc.replicas[i].store);

		if (store)
			sites[n++] = &store->site;
		for (uint32_t k = 0; store && k + 1 < n; k++)
			for (uint32_t level = 0; level < scales->pd->options.spread.n; level++)
				if (sites[k]->at[level] == sites[n - 1]->at[level])
					return true;
	}
	return false;
}

/* Some shards in each look. */
static void
spread(Scales *scales, Changes *changes)
{
	Pd		   *pd = scales->pd;
	PlanLimits	limits = operate_limits(pd);
	size_t		most = scales->n < SPREAD_MAX ? scales->n : SPREAD_MAX;
	size_t		crowded = 0;
	size_t		i = 0;

	if (pd->options.spread.n == 0 || scales->n == 0)
		return;
	for (; i < most && crowded < CROWDED_MAX && rebalance_has_room(scales, PLAN_SPREAD); i++)
	{
		Weighed    *w = &scales->shards[(pd->spread_from + i) % scales->n];
		PlanShard	picture;
		Plan		plan;
		bool		chosen = false;

		if (!w->leads || w->shard->plan.kind != PLAN_NONE || !shares_site(scales, w->shard))
			continue;
		crowded++;
		operate_picture(pd, w->collection, w->shard, &picture);
		stall_shun(pd, &picture);
		while (!chosen && picture.nholders < HOLDERS_MAX && rebalance_is_whole(&picture) &&
			   plan_spread(&picture, scales->survey->stores, scales->survey->nstores, &limits, &plan))
			chosen = !operate_is_held(pd, w->shard, plan.add_store, &picture);
		if (!chosen)
			continue;
		operate_begin(pd, scales->survey, changes, w->collection, w->shard, &plan);
		w->leads = 0;
	}
	pd->spread_from = (pd->spread_from + i) % scales->n;
}

/* -- The look ---------------------------------------------------------------- */

/*
 * A quarter of all plans may be for evenness, no repair being at hand.  Of those that only
 * move what is fine where it is, so few go on that most stores have no part in any: copies
 * that are made one after the other come as soon, and requests go on meanwhile.  Tiny ones
 * take longer to be decided than to be copied: of them there may be more.
 */
bool
rebalance_has_room(const Scales *scales, PlanKind kind)
{
	const Survey *survey = scales->survey;
	uint32_t	plans = operate_limits(scales->pd).plans;
	uint32_t	quarter = (plans + 3) / 4;
	uint32_t	at_once = (uint32_t) (survey->nstores + STORES_A_MOVE - 1) / STORES_A_MOVE;
	PlanLimits	pace = {.per_store = kind == PLAN_SPREAD || at_once > quarter ? quarter : at_once,
	.small_per_store = quarter, .small_bytes = TINY_BYTES};

	return !scales->pd->repairing && survey->plans < plans &&
		plan_has_room(&pace, survey->kinds[PLAN_BALANCE] + survey->kinds[PLAN_SPREAD], survey->evening_bytes);
}

void
rebalance_look(Pd *pd)
{
	Survey		survey;
	Scales		scales;
	Changes		changes;

	if (!pd->options.balance || pd->now_us < pd->balance_due_us || !reports_are_in(pd))
		return;
	pd->balance_due_us = pd->now_us + LOOK_US + (int64_t) catalog_nshards(pd->catalog) * LOOK_SHARD_US;
	loads_prune(pd);
	survey_begin(pd, &survey);
	changes_begin(pd, &changes);
	if (!operate_brake(pd, &survey))
	{
		scales_begin(&scales, pd, &survey);
		spread(&scales, &changes);
		if (rebalance_has_room(&scales, PLAN_BALANCE))
			rebalance_replicas(&scales, &changes);
		rebalance_leaders(&scales);
		scales_end(&scales);
	}
	survey_end(&survey);
	changes_commit(pd, &changes);
}

void
rebalance_soon(Pd *pd)
{
	int64_t		soon_us = pd->now_us + (int64_t) catalog_nshards(pd->catalog) * SOON_SHARD_US;

	if (soon_us < pd->balance_due_us)
		pd->balance_due_us = soon_us;
}
