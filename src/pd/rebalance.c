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
#define SPREAD_MAX 2000			/* shards whose spread is looked at in a look */

/* -- Spreading --------------------------------------------------------------- */

/* Do two voters share the first key? */
static bool
shares_site(const Scales *scales, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		for (int k = 0; k < i; k++)
		{
			const PlanStore *a = survey_store(scales->survey, shard->desc.replicas[i].store);
			const PlanStore *b = survey_store(scales->survey, shard->desc.replicas[k].store);

			for (uint32_t level = 0; a && b && level < scales->pd->options.spread.n; level++)
				if (a->site.at[level] == b->site.at[level])
					return true;
		}
	return false;
}

/* Some shards in each look; returns how many plans were begun. */
static uint32_t
spread(Scales *scales, uint32_t room, Changes *changes)
{
	Pd		   *pd = scales->pd;
	PlanLimits	limits = operate_limits(pd);
	uint32_t	begun = 0;
	size_t		looked = 0;
	size_t		i = 0;

	if (pd->options.spread.n == 0 || scales->n == 0)
		return 0;
	for (; i < scales->n && looked < SPREAD_MAX && begun < room; i++)
	{
		Weighed    *w = &scales->shards[(pd->spread_from + i) % scales->n];
		PlanShard	picture;
		Plan		plan;

		if (!w->leader || w->shard->plan.kind != PLAN_NONE || !shares_site(scales, w->shard))
			continue;
		looked++;
		operate_picture(pd, w->collection, w->shard, &picture);
		operate_holders(pd, w->shard, &picture);
		stall_shun(pd, &picture);
		if (!rebalance_is_whole(&picture) ||
			!plan_spread(&picture, scales->survey->stores, scales->survey->nstores, &limits, &plan))
			continue;
		operate_begin(pd, scales->survey, changes, w->collection, w->shard, &plan);
		w->leader = NULL;
		begun++;
	}
	pd->spread_from = (pd->spread_from + i) % scales->n;
	return begun;
}

/* -- The look ---------------------------------------------------------------- */

/* How many plans may be begun for the sake of evenness: a quarter of all, no repair being at hand. */
static uint32_t
room_for_moves(Pd *pd, const Survey *survey)
{
	uint32_t	most = (operate_limits(pd).plans + 3) / 4;
	uint32_t	now = survey->kinds[PLAN_BALANCE] + survey->kinds[PLAN_SPREAD];

	if (pd->repairing || survey->plans >= operate_limits(pd).plans || now >= most)
		return 0;
	return most - now < operate_limits(pd).plans - survey->plans ? most - now : operate_limits(pd).plans - survey->plans;
}

void
rebalance_look(Pd *pd)
{
	Survey		survey;
	Scales		scales;
	Changes		changes;
	uint32_t	room;

	if (!pd->options.balance || pd->now_us < pd->balance_due_us || !reports_are_in(pd))
		return;
	pd->balance_due_us = pd->now_us + LOOK_US + (int64_t) catalog_nshards(pd->catalog) * LOOK_SHARD_US;
	loads_prune(pd);
	survey_begin(pd, &survey);
	changes_begin(pd, &changes);
	if (!operate_brake(pd, &survey))
	{
		scales_begin(&scales, pd, &survey);
		room = room_for_moves(pd, &survey);
		room -= room > 0 ? spread(&scales, room, &changes) : 0;
		if (room > 0)
			rebalance_replicas(&scales, room, &changes);
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
