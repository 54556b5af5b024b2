/*-------------------------------------------------------------------------
 *
 * handover.c
 *	  Leadership that is to move, and replicas that somebody wants to be moved.
 *
 * A handover is told to the leader with each of its heartbeats until another one
 * leads.  When that does not come in time it is given up, and the shard is left
 * alone for a while: what kept it may do so again.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

#define GIVE_UP_US (15 * INT64_C(1000000))
#define REST_US (60 * INT64_C(1000000))
#define EVENING 64				/* for evenness at once, or one for so many stores: */
#define EVENING_STORES 4

const Handover *
operate_handover(const Pd *pd, uint64_t shard)
{
	for (size_t i = 0; i < pd->nhandovers; i++)
		if (pd->handovers[i].shard == shard)
			return &pd->handovers[i];
	return NULL;
}

static void
end_handover(Pd *pd, size_t i)
{
	memmove(&pd->handovers[i], &pd->handovers[i + 1], sizeof(Handover) * (--pd->nhandovers - i));
}

bool
handover_begin(Pd *pd, const Handover *handover)
{
	for (size_t i = 0; i < pd->nhandovers; i++)
		if (pd->handovers[i].shard == handover->shard)
			end_handover(pd, i--);
	if (pd->nhandovers == HANDOVERS_MAX)
		return false;
	pd->handovers[pd->nhandovers] = *handover;
	pd->handovers[pd->nhandovers].begun_us = pd->now_us;
	pd->handovers[pd->nhandovers++].given_up = false;
	beat_wake(pd, handover->from_store);
	log_info("shard=%" PRIu64 " is to be led by replica=%" PRIu64 " store=%" PRIu64 " instead of store=%" PRIu64,
			 handover->shard, handover->to, handover->to_store, handover->from_store);
	return true;
}

/*
 * A large cluster looks for evenness less often and has more to even out when a part of it was lost;
 * somebody who asks for one finds room all the same.
 */
size_t
handovers_most(const Pd *pd)
{
	size_t		most = pd->catalog->nstores / EVENING_STORES;

	return most < EVENING ? EVENING : most < HANDOVERS_MAX / 2 ? most : HANDOVERS_MAX / 2;
}

/* Has it been done, or is there nothing any more that it could be done to? */
static bool
is_over(Pd *pd, const Handover *h)
{
	CatalogCollection *c;
	CatalogShard *shard = find_shard(pd, h->shard, &c);
	uint64_t	store;
	Report	   *leader;

	if (!shard || c->state != COLLECTION_LIVE || shard->plan.kind != PLAN_NONE)
		return true;
	leader = leader_of(pd, shard, &store);
	return leader && leader->replica != h->from;
}

void
handovers_look(Pd *pd)
{
	for (size_t i = 0; i < pd->nhandovers; i++)
	{
		Handover   *h = &pd->handovers[i];
		int64_t		age = pd->now_us - h->begun_us;

		if (is_over(pd, h) || age >= GIVE_UP_US + REST_US)
			end_handover(pd, i--);
		else if (!h->given_up && age >= GIVE_UP_US)
		{
			log_info("shard=%" PRIu64 " is still led by store=%" PRIu64 ": it stays so for now", h->shard, h->from_store);
			h->given_up = true;
		}
	}
}

/* Does the leader hear the replica that is to lead?  Its writes would wait for one that it does not hear. */
static bool
is_heard(const Report *leader, uint64_t replica)
{
	for (uint32_t i = 0; i < leader->nmembers; i++)
		if (leader->members[i].replica.replica == replica)
			return leader->members[i].active;
	return false;
}

void
handovers_tell(Pd *pd, Beat *beat, json_t *tasks)
{
	for (size_t i = 0; i < pd->nhandovers; i++)
	{
		const Handover *h = &pd->handovers[i];
		const Report *report;

		if (h->from_store != beat->store || h->given_up)
			continue;
		report = report_in(beat, h->shard);
		if (report && report->leader && report->replica == h->from && is_heard(report, h->to) && !is_over(pd, h))
			operate_give(pd, beat->store, "transfer_leader", h->shard, h->to, tasks);
	}
}

/* -- What people ask for ---------------------------------------------------- */

/* A shard that may be changed now, or if only its split has to give way; NULL: err says why not. */
static CatalogShard *
shard_to_change(Pd *pd, uint64_t id, bool split_yields, CatalogCollection **c, PlanShard *picture, VtError *err)
{
	CatalogShard *shard = find_shard(pd, id, c);

	if (!shard || (*c)->state != COLLECTION_LIVE)
		vt_fail(err, VT_NOT_FOUND, "there is no shard %" PRIu64, id);
	else if (!reports_are_in(pd))
		vt_fail(err, VT_BUSY, "the placement driver has just begun to lead and waits for the workers' reports");
	else if (shard->plan.kind == PLAN_SPLIT && !(split_yields && stall_split_yields(pd, *c, shard)))
		vt_fail(err, VT_BUSY, "shard %" PRIu64 " is being split%s", id,
				split_is_done(*c, shard) ? "" : ", which vectronctl cancel ends as long as it is not made");
	else if (shard->plan.kind != PLAN_NONE && shard->plan.kind != PLAN_SPLIT)
		vt_fail(err, VT_BUSY, "another change of the replicas of shard %" PRIu64 " is under way", id);
	else
	{
		operate_picture(pd, *c, shard, picture);
		if (picture->settled)
			return shard;
		vt_fail(err, picture->leader ? VT_BUSY : VT_UNAVAILABLE, picture->leader ? "the members of shard %" PRIu64
				" are being changed" : "nobody leads shard %" PRIu64, id);
	}
	return NULL;
}

static const PlanMember *
member_on(const PlanShard *shard, uint64_t store)
{
	for (uint32_t i = 0; i < shard->n; i++)
		if (shard->members[i].store == store)
			return &shard->members[i];
	return NULL;
}

VtStatus
operate_transfer(Pd *pd, uint64_t id, uint64_t to_store, VtError *err)
{
	CatalogCollection *c;
	PlanShard	picture;
	CatalogShard *shard = shard_to_change(pd, id, false, &c, &picture, err);
	const PlanMember *to;
	Handover	handover = {.shard = id, .to_store = to_store, .why = HANDOVER_ASKED};

	if (!shard)
		return err->code;
	to = member_on(&picture, to_store);
	if (!to || !to->voter)
		return vt_fail(err, VT_NOT_FOUND, "shard %" PRIu64 " has no replica with a vote on store %" PRIu64, id, to_store);
	if (to->replica == picture.leader)
	{
		load_ask(pd, id);
		return VT_OK;
	}
	if (to->health != HEALTH_UP || !to->active)
		return vt_fail(err, VT_BUSY, "the replica on store %" PRIu64 " does not answer its leader", to_store);
	handover.to = to->replica;
	handover.from = leader_of(pd, shard, &handover.from_store)->replica;
	if (!handover_begin(pd, &handover))
		return vt_fail(err, VT_BUSY, "%d changes of leadership are under way", HANDOVERS_MAX);
	load_ask(pd, id);
	return VT_OK;
}

VtStatus
operate_move(Pd *pd, uint64_t id, uint64_t from_store, uint64_t to_store, VtError *err)
{
	CatalogCollection *c;
	PlanShard	picture;
	CatalogShard *shard = shard_to_change(pd, id, true, &c, &picture, err);
	const PlanMember *from;
	PlanStore	to;
	Plan		plan = {.kind = PLAN_MOVE, .add_store = to_store};
	Changes		changes;

	if (!shard)
		return err->code;
	from = member_on(&picture, from_store);
	if (!from)
		return vt_fail(err, VT_NOT_FOUND, "shard %" PRIu64 " has no replica on store %" PRIu64, id, from_store);
	if (!operate_store(pd, to_store, &to))
		return vt_fail(err, VT_NOT_FOUND, "there is no store %" PRIu64, to_store);
	if (plan_is_holder(&picture, to_store) || operate_is_held(pd, shard, to_store, &picture))
		return vt_fail(err, VT_EXISTS, "store %" PRIu64 " has a replica of shard %" PRIu64 " already", to_store, id);
	if (picture.n == WIRE_REPLICAS_MAX || !to.takes)
		return vt_fail(err, VT_FULL, "store %" PRIu64 " takes no replicas now: it is away, full, or to be emptied", to_store);
	if (to.search_only == from->voter)
		return vt_fail(err, VT_FULL, "store %" PRIu64 " is %s", to_store,
					   from->voter ? "for searches only, and the replica has a vote" : "not for searches only, as the replica is");
	if (plan_crowding(&picture, &to.site, from->replica, !from->voter) >
		plan_crowding(&picture, &from->site, from->replica, !from->voter))
		return vt_fail(err, VT_FULL, "on store %" PRIu64 " it would share more with the other replicas of shard %" PRIu64
					   " than where it is", to_store, id);
	plan.remove = from->replica;
	changes_begin(pd, &changes);
	if (shard->plan.kind == PLAN_SPLIT)
		stall_split_ends(pd, &changes, c, shard, "it moves as was asked for");
	plan.add_replica = changes_next_id(&changes);
	changes_of_shard(&changes, c, shard)->plan = plan;
	log_info("shard=%" PRIu64 " moves as was asked for: new replica=%" PRIu64 " store=%" PRIu64 ", leaves replica=%" PRIu64,
			 id, plan.add_replica, plan.add_store, plan.remove);
	if (changes_commit(pd, &changes) != VT_OK)
		return vt_fail(err, VT_NOT_LEADER, "the move could not be recorded");
	load_ask(pd, id);
	return VT_OK;
}
