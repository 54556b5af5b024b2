/*-------------------------------------------------------------------------
 *
 * remains.c
 *	  What is left of a shard whose stores are lost, and whether it helps itself.
 *
 * Mostly the catalog tells: it has the voters of the newest configuration that a leader
 * has reported as committed.  But a change of voters holds from the moment it is in a
 * log: from then on a majority of those who are to vote is needed, too, and the catalog
 * hears of it from a leader, which such a group may never have again.  So who follows
 * nobody tells what configuration it has, and from those and how far logs are follows
 * whether anybody who is left can be elected.  The driver asks for one change at a time,
 * based on what the catalog has: a log is at most one change ahead of it.
 *
 * Of living replicas the one with the most advanced log has all that any of them has and
 * that was committed, whatever its configuration: who leads a term has what was committed
 * in those before, and logs that end in one term are the one the beginning of the other.
 *
 *-------------------------------------------------------------------------
 */
#include "service.h"

bool
lost_has(const Lost *lost, uint64_t store)
{
	for (size_t i = 0; lost && i < lost->n; i++)
		if (lost->stores[i] == store)
			return true;
	return false;
}

Left
remains_left(Pd *pd, const Lost *lost, const CatalogShard *shard, int i)
{
	const WireReplica *r = &shard->desc.replicas[i];
	const Report *report = report_of(pd, r->store, shard->desc.shard);

	if (lost_has(lost, r->store) || !catalog_store(pd->catalog, r->store))
		return LEFT_LOST;
	if (!store_is_up(pd, r->store))
		return LEFT_UNCLEAR;
	if (report && report->replica == r->replica && !report->leaving)
		return LEFT_LIVING;
	return replica_health(pd, r->store, shard->desc.shard, r->replica, shard->seen >> i & 1) == HEALTH_DOWN ?
		LEFT_LOST : LEFT_UNCLEAR;
}

static bool
is_further(const Report *a, const Report *b)
{
	return a->last_term != b->last_term ? a->last_term > b->last_term : a->last > b->last;
}

/* Of equals a voter, since learners may be on stores that are to have none. */
static bool
is_better(Pd *pd, const CatalogShard *shard, int i, int than)
{
	const WireReplica *r = &shard->desc.replicas[i];
	const WireReplica *t = &shard->desc.replicas[than];
	const Report *a = report_of(pd, r->store, shard->desc.shard);
	const Report *b = report_of(pd, t->store, shard->desc.shard);

	if (is_further(a, b) || is_further(b, a))
		return is_further(a, b);
	return r->role == ROLE_VOTER && t->role != ROLE_VOTER;
}

/* -- Elections --------------------------------------------------------------- */

/* Voters of a configuration, or of the one before it, and those who vote for this one under no circumstances. */
typedef struct Half
{
	uint32_t	voters;
	uint32_t	without;
} Half;

static int
place_of(const CatalogShard *shard, uint64_t replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].replica == replica)
			return i;
	return -1;
}

/* awaits: those who are silent, and have not been given up, may come. */
static Half
half_of(Pd *pd, const Lost *lost, const CatalogShard *shard, const Report *candidate, bool old, bool awaits)
{
	Half		half = {0};

	for (uint32_t i = 0; i < candidate->nmembers; i++)
	{
		const ReportMember *m = &candidate->members[i];
		int			place = place_of(shard, m->replica.replica);
		Left		left = place < 0 ? LEFT_UNCLEAR : remains_left(pd, lost, shard, place);

		if (old ? !m->old : m->replica.role != ROLE_VOTER)
			continue;
		half.voters++;
		if (left == LEFT_LIVING)
			half.without += is_further(report_of(pd, m->replica.store, shard->desc.shard), candidate);
		else
			half.without += left == LEFT_LOST || !awaits;
	}
	return half;
}

static bool
is_lost(Half half)
{
	return half.voters > 0 && (half.voters - half.without) * 2 <= half.voters;
}

static bool
votes(const Report *report)
{
	for (uint32_t i = 0; i < report->nmembers; i++)
		if (report->members[i].replica.replica == report->replica)
			return report->members[i].replica.role == ROLE_VOTER || report->members[i].old;
	return false;
}

/*
 * Can this replica be elected?  Not who lacks the newest configuration that is known to be
 * committed.  Who does not tell its own (it has a leader, or had one a moment ago; its
 * worker is of an older release) may, as far as we know, if it votes.
 */
static bool
may_be_elected(Pd *pd, const Lost *lost, const CatalogShard *shard, int i, bool awaits)
{
	const WireReplica *r = &shard->desc.replicas[i];
	const Report *report;

	switch (remains_left(pd, lost, shard, i))
	{
		case LEFT_LOST:
			return false;
		case LEFT_UNCLEAR:
			return awaits && r->role == ROLE_VOTER;
		case LEFT_LIVING:
			break;
	}
	report = report_of(pd, r->store, shard->desc.shard);
	if (report->nmembers == 0)
		return r->role == ROLE_VOTER;
	return report->conf_index >= shard->conf_index && votes(report) &&
		!is_lost(half_of(pd, lost, shard, report, false, awaits)) && !is_lost(half_of(pd, lost, shard, report, true, awaits));
}

static bool
may_elect(Pd *pd, const Lost *lost, const CatalogShard *shard, bool awaits)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (may_be_elected(pd, lost, shard, i, awaits))
			return true;
	return false;
}

/* The voters of a change that stands still, as this one has it. */
static void
note_change(Pd *pd, const Lost *lost, const CatalogShard *shard, int i, Remains *remains)
{
	const Report *report = report_of(pd, shard->desc.replicas[i].store, shard->desc.shard);

	for (int old = 0; old < 2 && !remains->stuck && remains_left(pd, lost, shard, i) == LEFT_LIVING; old++)
	{
		Half		half = half_of(pd, lost, shard, report, old == 1, true);

		if (!is_lost(half))
			continue;
		remains->stuck = true;
		remains->voters = half.voters;
		remains->lost_voters = half.without;
	}
}

bool
remains_is_beyond(const Remains *remains)
{
	return (remains->voters - remains->lost_voters) * 2 <= remains->voters;
}

bool
remains_stand_still(Pd *pd, const CatalogShard *shard)
{
	uint64_t	leads;

	return shard->bootstrapped && shard->plan.kind != PLAN_RECOVER && !leader_of(pd, shard, &leads) && !may_elect(pd, NULL, shard, false);
}

/* -- What is left ------------------------------------------------------------ */

Remains
remains_of(Pd *pd, const Lost *lost, const CatalogShard *shard)
{
	Remains		out = {.best = -1};

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		Left		left = remains_left(pd, lost, shard, i);

		out.voters += r->role == ROLE_VOTER;
		out.lost_voters += r->role == ROLE_VOTER && left == LEFT_LOST;
		out.living += left == LEFT_LIVING;
		out.unclear += left == LEFT_UNCLEAR;
		if (left == LEFT_UNCLEAR)
			out.unclear_store = r->store;
		if (left == LEFT_LIVING && report_of(pd, r->store, shard->desc.shard)->last > 0 &&
			(out.best < 0 || is_better(pd, shard, i, out.best)))
			out.best = i;
	}
	if (remains_is_beyond(&out) || out.best < 0 || may_elect(pd, lost, shard, true))
		return out;
	note_change(pd, lost, shard, out.best, &out);
	for (int i = 0; i < shard->desc.nreplicas; i++)
		note_change(pd, lost, shard, i, &out);
	return out;
}

