/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  How a shard's replicas change: what is needed, and the next step to it.
 *
 *-------------------------------------------------------------------------
 */
#include "plan.h"

#include <string.h>

Health
plan_health(int64_t silent_us, int64_t suspect_us, int64_t down_us)
{
	return silent_us < suspect_us ? HEALTH_UP : silent_us < down_us ? HEALTH_SUSPECT : HEALTH_DOWN;
}

static const PlanMember *
member_of(const PlanShard *shard, uint64_t replica)
{
	for (uint32_t i = 0; replica && i < shard->n; i++)
		if (shard->members[i].replica == replica)
			return &shard->members[i];
	return NULL;
}

/* Voters that are not lost. */
static uint32_t
voters_left(const PlanShard *shard)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < shard->n; i++)
		n += shard->members[i].voter && shard->members[i].health != HEALTH_DOWN;
	return n;
}

static uint32_t
voters(const PlanShard *shard)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < shard->n; i++)
		n += shard->members[i].voter;
	return n;
}

/* A learner that may stay: on a store for searches only that is there and stays. */
static bool
is_searcher(const PlanMember *m)
{
	return !m->voter && m->search_only && !m->draining && m->health != HEALTH_DOWN;
}

/* How many there are, but for one. */
static uint32_t
searchers(const PlanShard *shard, uint64_t but)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < shard->n; i++)
		n += is_searcher(&shard->members[i]) && shard->members[i].replica != but;
	return n;
}

/* Does it answer, us and its leader? */
static bool
is_able(const PlanMember *m)
{
	return m->active && m->health == HEALTH_UP;
}

/*
 * Do more than half of those answer who are to vote, once promote votes as well and leave
 * does no more?  Else the group would stand still amid that change, and by our own act: the
 * joint configuration needs a majority of these, too, and there is no way back out of it.
 */
static bool
is_carried(const PlanShard *shard, uint64_t promote, uint64_t leave)
{
	uint32_t	n = 0;
	uint32_t	able = 0;

	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (m->replica == leave || (!m->voter && m->replica != promote))
			continue;
		n++;
		able += is_able(m);
	}
	return able * 2 > n;
}

/* Is a voter lost that could go instead, or silent where this one is not? */
static bool
has_lost_another(const PlanShard *shard, const PlanMember *than)
{
	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (m != than && m->voter && m->replica != shard->leader &&
			(m->health == HEALTH_DOWN || (is_able(than) && !is_able(m))))
			return true;
	}
	return false;
}

/* -- Steps ----------------------------------------------------------------- */

static Step
step_of(StepKind kind, uint64_t replica)
{
	Step		step;

	memset(&step, 0, sizeof(step));
	step.kind = kind;
	step.replica = replica;
	return step;
}

/* The members as they are, one of them as another role, one of them gone. */
static Step
change(const PlanShard *shard, uint64_t promote, uint64_t leave)
{
	Step		step = step_of(STEP_CHANGE, 0);

	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (m->replica == leave)
			continue;
		step.members[step.n].store = m->store;
		step.members[step.n].replica = m->replica;
		step.members[step.n++].role = m->voter || m->replica == promote ? ROLE_VOTER : ROLE_LEARNER;
	}
	return step;
}

static Step
add_learner(const PlanShard *shard)
{
	Step		step = change(shard, 0, 0);

	if (step.n == WIRE_REPLICAS_MAX)
		return step_of(STEP_END, 0);
	step.members[step.n].store = shard->plan.add_store;
	step.members[step.n].replica = shard->plan.add_replica;
	step.members[step.n++].role = ROLE_LEARNER;
	return step;
}

/* The voter that is to lead instead of one that leaves; NULL = none is fit. */
static const PlanMember *
next_leader(const PlanShard *shard, uint64_t leaves)
{
	const PlanMember *best = NULL;

	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (m->voter && m->replica != leaves && is_able(m) &&
			(!best || (m->draining != best->draining ? best->draining : m->match > best->match)))
			best = m;
	}
	return best;
}

/* A member is to leave; the plan brings nobody, or has brought them. */
static Step
remove_step(const PlanShard *shard)
{
	const PlanMember *leaves = member_of(shard, shard->plan.remove);
	const PlanMember *next;

	if (!leaves)
		return step_of(STEP_END, 0);
	if (leaves->voter && leaves->health != HEALTH_DOWN && voters_left(shard) <= shard->wanted)
	{
		/* Whoever was to take its place is lost by now, or more are wanted. */
		const PlanMember *added = member_of(shard, shard->plan.add_replica);

		if (!added || !added->voter || added->health == HEALTH_DOWN)
			return step_of(STEP_END, 0);
	}
	/* One too many, and another was lost since, or is silent: that one can go. */
	if (leaves->voter && !is_carried(shard, 0, leaves->replica))
		return step_of(shard->plan.kind == PLAN_SHRINK && has_lost_another(shard, leaves) ? STEP_END : STEP_WAIT, 0);
	if (leaves->replica != shard->leader)
		return change(shard, 0, leaves->replica);
	next = next_leader(shard, leaves->replica);
	return next ? step_of(STEP_TRANSFER, next->replica) : step_of(STEP_WAIT, 0);
}

/* Is what the plan was made for no longer so? */
static bool
is_needless(const PlanShard *shard)
{
	const PlanMember *leaves = member_of(shard, shard->plan.remove);
	const PlanMember *added = member_of(shard, shard->plan.add_replica);

	switch (shard->plan.kind)
	{
		case PLAN_REPAIR:
			return !leaves || leaves->health == HEALTH_UP;
		case PLAN_DRAIN:
			return !leaves || (!leaves->draining && leaves->health == HEALTH_UP);
		case PLAN_MOVE:
		case PLAN_BALANCE:
		case PLAN_SPREAD:
			return !leaves && !(added && added->search_only);
		case PLAN_GROW:
			return voters(shard) >= shard->wanted;
		case PLAN_SEARCH:
			return searchers(shard, shard->plan.add_replica) >= shard->learners;
		default:
			return false;
	}
}

/*
 * Has the store that the plan chose another member by now?  A change that was
 * asked for by an earlier plan may be made after that plan was dropped.
 */
static bool
is_taken(const PlanShard *shard)
{
	for (uint32_t i = 0; i < shard->n; i++)
		if (shard->members[i].store == shard->plan.add_store &&
			shard->members[i].replica != shard->plan.add_replica)
			return true;
	return false;
}

Step
plan_step(const PlanShard *shard)
{
	const Plan *plan = &shard->plan;
	const PlanMember *added = member_of(shard, plan->add_replica);
	const PlanMember *leaves = member_of(shard, plan->remove);
	const PlanMember *leader = member_of(shard, shard->leader);

	if (!shard->settled)
		return step_of(STEP_WAIT, 0);
	if (plan->add_replica == 0 || (added && added->voter))
		return remove_step(shard);
	if (shard->arriving == HEALTH_DOWN || is_needless(shard) || is_taken(shard))
		return step_of(added ? STEP_UNDO : STEP_END, 0);
	if (!added)
		return plan->add_seen ? add_learner(shard) : step_of(STEP_CREATE, 0);
	/* What never answered is taken to be active for a while, and in a short log nobody lags. */
	if (!added->active || added->match == 0 || !leader || added->match + PLAN_CAUGHT_UP < leader->match)
		return step_of(STEP_WAIT, 0);
	if (plan->kind == PLAN_SEARCH || added->search_only)
		return remove_step(shard);	/* it stays a learner; what leaves is one, or nothing */
	if (leaves && leaves->replica == shard->leader)
	{
		const PlanMember *next = next_leader(shard, leaves->replica);

		if (next)
			return step_of(STEP_TRANSFER, next->replica);
		leaves = NULL;			/* a sole voter has nobody to hand over to before the new one votes */
	}
	if (!is_carried(shard, added->replica, leaves ? leaves->replica : 0))
		return step_of(STEP_WAIT, 0);
	return change(shard, added->replica, leaves ? leaves->replica : 0);
}

/* -- What is needed -------------------------------------------------------- */

bool
plan_is_holder(const PlanShard *shard, uint64_t store)
{
	for (uint32_t i = 0; i < shard->nholders; i++)
		if (shard->holders[i] == store)
			return true;
	return false;
}

uint32_t
plan_crowding(const PlanShard *shard, const Site *site, uint64_t leaves, bool learner)
{
	Site		others[WIRE_REPLICAS_MAX];
	size_t		n = 0;

	for (uint32_t i = 0; i < shard->n; i++)
		if (shard->members[i].replica != leaves && (learner || shard->members[i].voter))
			others[n++] = shard->members[i].site;
	return site_crowding(site, others, n);
}

bool
plan_has_room(const PlanLimits *limits, uint32_t n, uint64_t bytes)
{
	return n < limits->per_store || (n < limits->small_per_store && bytes < limits->small_bytes);
}

#define KIN_MAX 256				/* sites that are remembered */

/* How much a store would share: asked for each of a thousand stores, of few sites. */
typedef struct Crowding
{
	uint64_t	leaves;
	bool		learner;
	uint32_t	of[KIN_MAX];	/* by kin; 0 = not known yet, else one more than it is */
} Crowding;

static uint32_t
crowding_at(const PlanShard *shard, Crowding *known, const PlanStore *s)
{
	uint32_t	here;

	if (s->kin > 0 && s->kin < KIN_MAX && known->of[s->kin] > 0)
		return known->of[s->kin] - 1;
	here = plan_crowding(shard, &s->site, known->leaves, known->learner);
	if (s->kin > 0 && s->kin < KIN_MAX)
		known->of[s->kin] = here + 1;
	return here;
}

static bool
is_busy(const PlanStore *s, const PlanLimits *limits)
{
	return !plan_has_room(limits, s->arriving, s->arriving_bytes);
}

/* Of two stores that share as much with the others: is this one to be preferred? */
static bool
is_emptier(const PlanStore *s, const PlanStore *than, const PlanLimits *limits)
{
	if (is_busy(s, limits) != is_busy(than, limits))
		return is_busy(than, limits);
	return s->replicas != than->replicas ? s->replicas < than->replicas : s->store < than->store;
}

/* May a replica of the shard come to this store, be it busy or not? */
static bool
may_take(const PlanShard *shard, const PlanStore *s, bool learner, bool pressed)
{
	return (s->takes || (pressed && s->takes_little)) && s->health == HEALTH_UP && s->search_only == learner &&
		!plan_is_holder(shard, s->store);
}

/*
 * The store for one more replica, or for one in place of leaves: of those that may
 * take it and share least with the others, the one with the fewest.  NULL: there
 * is none, or it has enough on its way to it.  Those with little room are for who
 * is pressed, and for him only where nobody else can.
 */
static const PlanStore *
candidate(const PlanShard *shard, const PlanStore *stores, size_t n, const PlanLimits *limits,
		  uint64_t leaves, bool learner, bool pressed, uint32_t *crowding)
{
	const PlanStore *best = NULL;
	Crowding	known = {.leaves = leaves, .learner = learner};

	for (size_t i = 0; i < n; i++)
	{
		const PlanStore *s = &stores[i];
		uint32_t	here;

		if (!may_take(shard, s, learner, pressed))
			continue;
		here = crowding_at(shard, &known, s);
		if (!best || (s->takes && !best->takes) ||
			(s->takes == best->takes && (here < *crowding || (here == *crowding && is_emptier(s, best, limits)))))
		{
			best = s;
			*crowding = here;
		}
	}
	return best && !is_busy(best, limits) ? best : NULL;
}

/*
 * Can what is lost be made anew only where it was?  Its store is there and takes replicas,
 * and no other may have one.  It has to leave first, as a store has one replica of a shard;
 * that costs nothing, since a majority of the voters that are left is never more.
 */
static bool
is_only_place(const PlanShard *shard, const PlanStore *stores, size_t n, const PlanMember *lost)
{
	bool		is = false;

	for (size_t i = 0; i < n; i++)
	{
		const PlanStore *s = &stores[i];

		if (may_take(shard, s, false, true))
			return false;
		is |= s->store == lost->store && s->health == HEALTH_UP && !s->search_only && (s->takes || s->takes_little);
	}
	return is;
}

/* The voter that can best be spared: not the leader, one that is silent, on the fullest store. */
static const PlanMember *
spare(const PlanShard *shard, const PlanStore *stores, size_t n)
{
	const PlanMember *best = NULL;
	uint64_t	best_load = 0;

	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];
		uint64_t	load = m->draining ? UINT32_MAX : 0;

		if (!m->voter || m->replica == shard->leader)
			continue;
		for (size_t j = 0; j < n; j++)
			if (stores[j].store == m->store)
				load += stores[j].replicas;
		if (!best || (is_able(m) != is_able(best) ? is_able(best) : load > best_load))
		{
			best = m;
			best_load = load;
		}
	}
	return best;
}

static bool
plan_to(Plan *out, PlanKind kind, const PlanStore *to, const PlanMember *leaves)
{
	memset(out, 0, sizeof(*out));
	out->kind = kind;
	out->add_store = to ? to->store : 0;
	out->remove = leaves ? leaves->replica : 0;
	return true;
}

/*
 * A learner that is not to stay: left over from a plan that was undone, or one too many.
 * While voters lack one that may vote may have the only other copy, and be starting: then only one that
 * is lost is not to stay, and none while too much is silent at once.  A searcher's is no copy in that sense.
 */
static const PlanMember *
needless_learner(const PlanShard *shard, bool brake)
{
	bool		lacks = voters(shard) < shard->wanted;
	uint32_t	stay = 0;

	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (m->voter || (lacks && !m->search_only && (brake || m->health != HEALTH_DOWN)))
			continue;
		if (!is_searcher(m) || stay++ >= shard->learners)
			return m;
	}
	return NULL;
}

/* Where voters lack, a learner that follows its leader and may vote is nearer than a new replica. */
static const PlanMember *
next_voter(const PlanShard *shard)
{
	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (!m->voter && !m->search_only && !m->draining && is_able(m))
			return m;
	}
	return NULL;
}

bool
plan_choose(const PlanShard *shard, const PlanStore *stores, size_t nstores,
			const PlanLimits *limits, bool brake, Plan *out)
{
	const PlanStore *to;
	const PlanMember *lost = NULL;
	const PlanMember *draining = NULL;
	uint32_t	crowding = 0;
	bool		learner;

	if (!shard->settled || shard->plan.kind != PLAN_NONE)
		return false;
	if (voters(shard) < shard->wanted && next_voter(shard))
	{
		*out = (Plan) {.kind = PLAN_GROW, .add_store = next_voter(shard)->store, .add_replica = next_voter(shard)->replica, .add_seen = true};
		return true;
	}
	if (needless_learner(shard, brake))
		return plan_to(out, PLAN_SHRINK, NULL, needless_learner(shard, brake));
	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];

		if (!m->voter)
			continue;
		if (m->health == HEALTH_DOWN && !lost)
			lost = m;
		if (m->draining && m->health != HEALTH_DOWN && (!draining || draining->replica == shard->leader))
			draining = m;
	}
	if (lost && voters(shard) > shard->wanted)
		return plan_to(out, PLAN_SHRINK, NULL, lost);
	if (!lost && voters(shard) > shard->wanted)
	{
		const PlanMember *least = spare(shard, stores, nstores);

		return least && is_carried(shard, 0, least->replica) && plan_to(out, PLAN_SHRINK, NULL, least);
	}
	if (shard->n == WIRE_REPLICAS_MAX || (lost && brake))
		return false;
	learner = !lost && voters(shard) >= shard->wanted && !draining;
	if (learner && searchers(shard, 0) >= shard->learners)
		return false;
	to = candidate(shard, stores, nstores, limits, lost ? lost->replica : draining ? draining->replica : 0,
				   learner, !learner, &crowding);
	if (!to && lost && is_only_place(shard, stores, nstores, lost))
		return plan_to(out, PLAN_SHRINK, NULL, lost);
	if (!to)
		return false;
	if (lost)
		return plan_to(out, PLAN_REPAIR, to, lost);
	if (voters(shard) < shard->wanted)
		return plan_to(out, PLAN_GROW, to, NULL);
	return draining ? plan_to(out, PLAN_DRAIN, to, draining) : plan_to(out, PLAN_SEARCH, to, NULL);
}

bool
plan_spread(const PlanShard *shard, const PlanStore *stores, size_t nstores, const PlanLimits *limits,
			Plan *out)
{
	uint32_t	best = 0;

	if (!shard->settled || shard->plan.kind != PLAN_NONE || shard->n == WIRE_REPLICAS_MAX)
		return false;
	for (uint32_t i = 0; i < shard->n; i++)
	{
		const PlanMember *m = &shard->members[i];
		uint32_t	now = plan_crowding(shard, &m->site, m->replica, false);
		uint32_t	then = 0;
		const PlanStore *to;

		if (m->health != HEALTH_UP)
			return false;		/* first things first */
		if (!m->voter || now <= best)
			continue;			/* also when it shares nothing */
		to = candidate(shard, stores, nstores, limits, m->replica, false, false, &then);
		if (to && then < now && now - then > best)
		{
			best = now - then;
			plan_to(out, PLAN_SPREAD, to, m);
		}
	}
	return best > 0;
}

int
plan_urgency_of(uint32_t voters, uint32_t left)
{
	return left < voters ? (int) left - (int) (voters / 2 + 1) : 100 + (int) left;
}

int
plan_urgency(const PlanShard *shard)
{
	return plan_urgency_of(voters(shard), voters_left(shard));
}

bool
plan_brake(const PlanStore *stores, size_t n)
{
	size_t		holding = 0;
	size_t		silent = 0;

	for (size_t i = 0; i < n; i++)
		if (stores[i].replicas > stores[i].arriving)
		{
			holding++;
			silent += stores[i].health != HEALTH_UP;
		}
	return silent > 1 && silent * 3 > holding;
}
