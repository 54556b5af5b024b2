/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Private to pd: how a shard's replicas change.  Pure functions.
 *
 * A plan is one change of one shard's replicas: a new replica on some store
 * joins, a replica leaves, or the one takes the other's place.  The plan is in
 * the catalog, so its ids are given once; how far it has come is not: the next
 * step follows each time from what the leader reports.  So a step that was lost
 * is asked for again, one that was done twice is refused by Raft (the
 * configuration is no longer the one it was meant for), and a driver that dies
 * leaves nothing to be cleaned up.
 *
 *	   create	an empty replica on its store
 *	   learn	it joins as a learner: the log and a snapshot flow, no vote
 *	   wait		until it has nearly all of the log
 *	   swap		by one joint change it votes and the other leaves
 *
 * A leader is never removed: leadership moves first.  Nothing healthy leaves
 * while that would leave fewer voters than are wanted, and voters change only when
 * more than half of those that are to vote answer: who is silent is spared first.
 *
 * Where there is a choice, a replica goes where it shares least with the others
 * of its shard (labels.h), and only then where there are fewest.  It waits for a
 * store that has enough on its way to it, rather than going to a worse one.
 *
 * Stores for searches only hold learners that stay: they have the log and answer,
 * and never vote.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_PLAN_H
#define PD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "labels.h"
#include "wire/wire.h"

#define PLAN_CAUGHT_UP 1000		/* entries that a learner may lack when it becomes a voter */

#define HOLDERS_MAX (2 * WIRE_REPLICAS_MAX)

/* Roles of a replica, as in descriptors. */
#define ROLE_VOTER 1
#define ROLE_LEARNER 2

/* Never renumber: they are on disk. */
typedef enum PlanKind
{
	PLAN_NONE = 0,
	PLAN_REPAIR = 1,			/* replace a replica that is lost */
	PLAN_GROW = 2,				/* add one: fewer than are wanted */
	PLAN_SHRINK = 3,			/* take one away: more than are wanted, or a left-over learner */
	PLAN_DRAIN = 4,				/* replace one whose store is to be emptied */
	PLAN_MOVE = 5,				/* somebody asked for it */
	PLAN_BALANCE = 6,			/* from a store that has much to one that has little */
	PLAN_SPREAD = 7,			/* to where it shares less with the shard's others */
	PLAN_SEARCH = 8,			/* add a learner that stays, on a store for searches only */
	PLAN_SPLIT = 9,				/* split.c: no replica comes or goes, plan_step() is not for it */
	PLAN_RECOVER = 10			/* recover.c: its majority is lost for good; nor for this */
} PlanKind;

#define PLAN_KINDS 11

typedef struct Plan
{
	PlanKind	kind;
	uint64_t	add_store;		/* 0 = brings none */
	uint64_t	add_replica;
	uint64_t	remove;			/* replica; 0 = takes none away */
	bool		add_seen;		/* its store has reported the new replica */

	/* PLAN_SPLIT, which has none of the above: the shard to be, and where it begins */
	uint64_t	child;
	uint64_t	split_at;

	/* PLAN_RECOVER, the same: the replica that goes on; 0 = not chosen yet */
	uint64_t	chosen;
} Plan;

typedef enum Health
{
	HEALTH_UP,
	HEALTH_SUSPECT,				/* silent, perhaps restarting */
	HEALTH_DOWN					/* silent for too long, or known to be gone */
} Health;

/* A store, as far as it matters here. */
typedef struct PlanStore
{
	uint64_t	store;
	Health		health;
	bool		takes;			/* new replicas: up, not draining, room on its disk */
	bool		takes_little;	/* as takes, but room only for what has nowhere else to go */
	bool		steady;			/* it has not come back just now */
	bool		draining;		/* to be emptied */
	bool		search_only;	/* takes learners, and nothing else */
	Site		site;
	uint32_t	kin;			/* the same for stores of one site; 0 = not known */
	uint32_t	replicas;		/* that it has or is to have */
	uint32_t	arriving;		/* of them, by plans under way, */
	uint64_t	arriving_bytes; /* which have so many in all */
	uint32_t	leaving;		/* the same */
	uint64_t	leaving_bytes;
} PlanStore;

typedef struct PlanMember
{
	uint64_t	replica;
	uint64_t	store;
	bool		voter;
	bool		draining;		/* its store is to be emptied, or of voters */
	bool		search_only;	/* its store is for searches only */
	Site		site;
	Health		health;
	bool		active;			/* answers its leader */
	uint64_t	match;			/* has the log up to here, as its leader knows */
} PlanMember;

typedef struct PlanShard
{
	uint64_t	shard;
	uint32_t	wanted;			/* voters */
	uint32_t	learners;		/* wanted on stores for searches only */

	/*
	 * A leader reports now, what it reports is in the catalog, and no change of
	 * members is under way.  Else nothing is decided.
	 */
	bool		settled;
	uint64_t	leader;			/* replica */
	uint32_t	n;
	PlanMember	members[WIRE_REPLICAS_MAX];
	Plan		plan;
	Health		arriving;		/* of what the plan brings */
	bool		split;			/* PLAN_SPLIT: the child is in the catalog */
	bool		prepared;		/* ... and before, its leader is asked */

	/* Stores that have a replica of it, also one that is no member */
	uint32_t	nholders;
	uint64_t	holders[HOLDERS_MAX];
} PlanShard;

typedef enum StepKind
{
	STEP_WAIT,					/* for the leader, a learner, or a voter to lead */
	STEP_CREATE,				/* tell plan.add_store to make the replica */
	STEP_CHANGE,				/* tell the leader to make members[] the group */
	STEP_TRANSFER,				/* tell the leader to hand leadership to replica */
	STEP_END,					/* the plan is done, or is to be dropped as it is */
	STEP_UNDO					/* the plan is to be replaced: take its learner away */
} StepKind;

typedef struct Step
{
	StepKind	kind;
	uint64_t	replica;		/* STEP_TRANSFER */
	uint32_t	n;				/* STEP_CHANGE */
	WireReplica members[WIRE_REPLICAS_MAX];
} Step;

/* The next step of a shard's plan. */
extern Step plan_step(const PlanShard *shard);

/* How much may go on at once. */
typedef struct PlanLimits
{
	uint32_t	per_store;		/* replicas on their way to one store, or more that are small: */
	uint32_t	small_per_store;	/* so many, */
	uint64_t	small_bytes;	/* as long as those under way have less than so many bytes */
	uint32_t	plans;			/* in all */
} PlanLimits;

/* May one more come to (or leave) a store, when so many that have so many bytes do? */
extern bool plan_has_room(const PlanLimits *limits, uint32_t n, uint64_t bytes);

/*
 * What a shard without a plan needs: false = nothing, or nothing that can be
 * done now.  add_replica is left for the caller to give.  brake: no repairs.
 */
extern bool plan_choose(const PlanShard *shard, const PlanStore *stores, size_t nstores,
						const PlanLimits *limits, bool brake, Plan *out);

/*
 * Does a voter share more with the others than one elsewhere would?  Then *out
 * brings it there.
 */
extern bool plan_spread(const PlanShard *shard, const PlanStore *stores, size_t nstores,
						const PlanLimits *limits, Plan *out);

/*
 * How much a replica on this store would share with the shard's others: its
 * voters but leaves, or if it is for a learner, all but leaves.
 */
extern uint32_t plan_crowding(const PlanShard *shard, const Site *site, uint64_t leaves, bool learner);

/* Has the store a replica of the shard, of whatever kind? */
extern bool plan_is_holder(const PlanShard *shard, uint64_t store);

/* How near a shard is to losing its majority: lower is sooner served. */
extern int	plan_urgency(const PlanShard *shard);
extern int	plan_urgency_of(uint32_t voters, uint32_t left);	/* of so many, so many are not lost */

/*
 * Mass failure: so many stores with replicas are silent at once that it is more
 * likely the network or the power than the stores, and copying everything would
 * make it worse.  Repairs wait until they are back, or somebody has looked.
 */
extern bool plan_brake(const PlanStore *stores, size_t n);

/* Silence of so long means this. */
extern Health plan_health(int64_t silent_us, int64_t suspect_us, int64_t down_us);

#endif							/* PD_PLAN_H */
