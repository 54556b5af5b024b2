/*-------------------------------------------------------------------------
 *
 * stall.c
 *	  Changes of replicas that come no further, and splits that give way.
 *
 * A new replica may never come: its store answers heartbeats and makes nothing, or
 * cannot be reached by the leader.  Its plan would wait for ever, and hold a place
 * among the few that may be under way.  So one that has made no progress for
 * plan_timeout is given up, as if somebody had cancelled it, and for as long that
 * store is not chosen for that shard again.  What is still needed is begun anew,
 * elsewhere if there is an elsewhere.
 *
 * Progress is another step, or more of the log.  Of a snapshot on its way nothing
 * is heard before its end, so the bytes of the shard count as time, too.  Once the
 * new replica has a vote the plan only goes forward, and where no leader is heard
 * another place would not help.
 *
 * A split, as long as it is not made, waits for stores that copy rows ahead, and for its leader.
 * What is copied is a cache, and a split that was asked for and given up is taken as it comes (split.c), so it may
 * end there at any time, and it does where somebody needs the shard: at once when a replica is lost, after
 * half a minute when something else has to be done to its replicas, and can be.  Where nobody waits
 * its preparation has all the time that split.c gives it, and its leader plan_timeout.
 *
 * All this is in memory: a driver that begins to lead counts from then on.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

#define SLOWEST 4194304.0		/* bytes a second of a snapshot */
#define GIVE_WAY_US (30 * INT64_C(1000000))	/* that a split has for being prepared, and once more when its leader is asked */
#define SPLIT_REST_US (300 * INT64_C(1000000))	/* before a shard whose split gave way is split for its size */

static bool
has_vote(const PlanShard *shard)
{
	for (uint32_t i = 0; i < shard->n; i++)
		if (shard->members[i].replica == shard->plan.add_replica)
			return shard->members[i].voter;
	return false;
}

uint64_t
stall_progress(const PlanShard *shard)
{
	for (uint32_t i = 0; i < shard->n; i++)
		if (shard->members[i].replica == shard->plan.add_replica)
			return shard->members[i].match;
	return 0;
}

static bool
is_stalled(Pd *pd, const Operator *op, const CatalogCollection *c, const CatalogShard *shard)
{
	double		bytes = op->plan.kind == PLAN_SPLIT ? 0 : shard_bytes(pd, op->shard);	/* none are sent before it is made */
	int64_t		patience_us = pd->options.plan_timeout_us + (int64_t) (bytes / SLOWEST * 1e6);
	PlanShard	picture;

	if ((!op->plan.add_replica && op->plan.kind != PLAN_SPLIT) || pd->now_us - op->progress_us < patience_us)
		return false;
	operate_picture(pd, c, shard, &picture);
	if (op->plan.kind == PLAN_SPLIT)
		return picture.settled && picture.plan.child == op->plan.child && picture.prepared && !picture.split;
	return picture.settled && picture.plan.add_replica == op->plan.add_replica && !has_vote(&picture);
}

static void
shun(Pd *pd, uint64_t shard, uint64_t store, int64_t time_us)
{
	Shunned    *place = &pd->shunned[0];

	for (int i = 0; i < SHUNNED_MAX; i++)
		if (pd->shunned[i].until_us < place->until_us)
			place = &pd->shunned[i];
	*place = (Shunned) {shard, store, pd->now_us + time_us};
}

/* Stores that are not to be chosen for the shard now count as if they had it. */
void
stall_shun(const Pd *pd, PlanShard *shard)
{
	for (int i = 0; i < SHUNNED_MAX && shard->nholders < HOLDERS_MAX; i++)
		if (pd->shunned[i].shard == shard->shard && pd->shunned[i].store && pd->now_us < pd->shunned[i].until_us)
			shard->holders[shard->nholders++] = pd->shunned[i].store;
}

/* -- Splits ------------------------------------------------------------------ */

bool
stall_split_rests(const Pd *pd, uint64_t shard)
{
	for (int i = 0; i < SHUNNED_MAX; i++)
		if (pd->shunned[i].shard == shard && pd->shunned[i].store == 0 && pd->now_us < pd->shunned[i].until_us)
			return true;
	return false;
}

bool
stall_split_yields(Pd *pd, const CatalogCollection *c, const CatalogShard *shard)
{
	const Operator *op = operator_of(pd, shard->desc.shard);

	/* What was noted last is of a moment ago: perhaps its leader is asked since. */
	if (split_is_done(c, shard) || !op || op->plan.child != shard->plan.child || op->prepared != split_is_prepared(pd, shard))
		return false;
	return pd->now_us - (op->prepared ? op->step_since_us : op->since_us) >= GIVE_WAY_US;
}

void
stall_split_ends(Pd *pd, Changes *changes, CatalogCollection *c, CatalogShard *shard, const char *why)
{
	uint64_t	store = split_waits_for(pd, shard);

	if (store)
		log_warn("shard=%" PRIu64 ": its split is given up before it was made, since %s; store=%" PRIu64 " has not copied the rows for it",
				 shard->desc.shard, why, store);
	else
		log_warn("shard=%" PRIu64 ": its split is given up, since %s; no store says that it was made", shard->desc.shard, why);
	operator_ended(pd, shard, ENDING_GIVEN_UP);
	operator_end(changes, c, shard);
}

bool
stall_split(Pd *pd, const Survey *survey, Changes *changes, CatalogCollection *c, CatalogShard *shard)
{
	PlanLimits	limits = operate_limits(pd);
	PlanShard	picture;
	Plan		plan;
	char		why[96];

	if (split_is_done(c, shard))
		return false;
	operate_picture(pd, c, shard, &picture);
	for (uint32_t i = 0; i < picture.n; i++)
		if (picture.members[i].health == HEALTH_DOWN)
		{
			stall_split_ends(pd, changes, c, shard, "a replica is lost");
			return true;
		}
	/* Only if it helps; the split's own place among the plans is free then. */
	memset(&picture.plan, 0, sizeof(picture.plan));
	if (!stall_split_yields(pd, c, shard) || survey->plans > limits.plans ||
		!operate_choose(pd, survey, &limits, operate_brake(pd, survey), shard, &picture, &plan))
		return false;
	snprintf(why, sizeof(why), "the shard %s", operate_words(plan.kind));
	stall_split_ends(pd, changes, c, shard, why);
	shun(pd, shard->desc.shard, 0, SPLIT_REST_US);
	return true;
}

/* -- Looking ----------------------------------------------------------------- */

/* When the operators have just been noted. */
void
stalls_look(Pd *pd)
{
	Changes		changes;

	if (pd->options.plan_timeout_us == 0 || !reports_are_in(pd))
		return;
	changes_begin(pd, &changes);
	for (size_t i = 0; i < pd->noperators; i++)
	{
		const Operator *op = &pd->operators[i];
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, op->shard, &c);

		if (!shard || !is_stalled(pd, op, c, shard))
			continue;
		if (op->plan.kind == PLAN_SPLIT)
		{
			stall_split_ends(pd, &changes, c, shard, "its leader does not make it");
			shun(pd, op->shard, 0, SPLIT_REST_US);
			continue;
		}
		log_warn("shard=%" PRIu64 ": its change of replicas is given up, since replica=%" PRIu64 " on store=%" PRIu64 " does not come on",
				 op->shard, op->plan.add_replica, op->plan.add_store);
		shun(pd, op->shard, op->plan.add_store, pd->options.plan_timeout_us);
		operator_ended(pd, shard, ENDING_GIVEN_UP);
		operator_end(&changes, c, shard);
	}
	changes_commit(pd, &changes);
}
