/*-------------------------------------------------------------------------
 *
 * stall.c
 *	  Changes of replicas that come no further.
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
 * All this is in memory: a driver that begins to lead counts from then on.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>

#include "base/log.h"
#include "service.h"

#define SLOWEST 4194304.0		/* bytes a second of a snapshot */

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
	int64_t		patience_us = pd->options.plan_timeout_us + (int64_t) (shard_bytes(pd, op->shard) / SLOWEST * 1e6);
	PlanShard	picture;

	if (!op->plan.add_replica || pd->now_us - op->progress_us < patience_us)
		return false;
	operate_picture(pd, c, shard, &picture);
	return picture.settled && picture.plan.add_replica == op->plan.add_replica && !has_vote(&picture);
}

static void
shun(Pd *pd, uint64_t shard, uint64_t store)
{
	Shunned    *place = &pd->shunned[0];

	for (int i = 0; i < SHUNNED_MAX; i++)
		if (pd->shunned[i].until_us < place->until_us)
			place = &pd->shunned[i];
	*place = (Shunned) {shard, store, pd->now_us + pd->options.plan_timeout_us};
}

/* Stores that are not to be chosen for the shard now count as if they had it. */
void
stall_shun(const Pd *pd, PlanShard *shard)
{
	for (int i = 0; i < SHUNNED_MAX && shard->nholders < HOLDERS_MAX; i++)
		if (pd->shunned[i].shard == shard->shard && pd->now_us < pd->shunned[i].until_us)
			shard->holders[shard->nholders++] = pd->shunned[i].store;
}

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
		log_warn("shard=%" PRIu64 ": its change of replicas is given up, since replica=%" PRIu64 " on store=%" PRIu64 " does not come on",
				 op->shard, op->plan.add_replica, op->plan.add_store);
		shun(pd, op->shard, op->plan.add_store);
		operator_ended(pd, shard, ENDING_GIVEN_UP);
		operator_end(&changes, c, shard);
	}
	changes_commit(pd, &changes);
}
