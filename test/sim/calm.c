/*-------------------------------------------------------------------------
 *
 * calm.c
 *	  The end of every world: all is repaired, and then all must be well.
 *
 * After the safety phase networks heal, stores start, faults stop; some stores
 * may stay away for good, if a quorum is still left without them.  Then every
 * group must elect a leader, write, read, settle its configuration and bring all
 * members up to date.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

/* Election timeouts that the repaired world may rest without getting further. */
#define LIVENESS_TIMEOUTS 40

static bool
has_quorum(const Sim *sim, const Group *group, const RaftConf *conf)
{
	for (int half = 0; half <= (conf->joint ? 1 : 0); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	n = 0;
		uint32_t	up = 0;

		for (uint32_t i = 0; i < conf->n; i++)
		{
			const Replica *r = &group->replicas[conf->members[i].id - 1];

			if ((conf->members[i].roles & role) == 0)
				continue;
			n++;
			up += (r->exists || r->awaited) && !sim->stores[r->store].frozen;
		}
		if (n > 0 && up <= n / 2)
			return false;
	}
	return true;
}

/*
 * May a store stay away for good?  Not if any configuration that some replica
 * may still count with would lose its quorum.
 */
static bool
quorums_remain(const Sim *sim)
{
	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		const Group *group = &sim->groups[g];

		for (uint32_t i = 0; i < group->replicas_n; i++)
		{
			const Replica *r = &group->replicas[i];

			if (!r->exists || r->raft == NULL || raft_get_conf(r->raft)->n == 0)
				continue;
			if (!has_quorum(sim, group, raft_get_conf(r->raft)))
				return false;
		}
		/* Whoever is elected must be able to go on. */
		for (size_t i = 0; i < group->confs_n; i++)
			if (i + 2 >= group->confs_n && !has_quorum(sim, group, &group->confs[i]))
				return false;
	}
	return true;
}

/*
 * Leave some stores away for good.  What is still on the network is lost with
 * them: it may hold a configuration that nobody else knows any more.
 */
static void
freeze_stores(Sim *sim)
{
	bool		any = false;

	for (uint32_t k = 0; k < 2 && sim_below(sim, 2) == 0; k++)
	{
		uint32_t	store = sim_below(sim, sim->opt.stores);

		sim->stores[store].frozen = true;
		if (quorums_remain(sim))
			any = true;
		else
			sim->stores[store].frozen = false;
	}
	if (!any)
		return;
	for (size_t i = 0; i < sim->heap_n; i++)
		if (sim->heap[i].type == EVENT_DELIVER)
		{
			free(sim->heap[i].packet);
			sim->heap[i].packet = NULL;
			sim->heap[i].type = EVENT_NOTHING;
		}
	for (uint32_t i = 0; i < sim->opt.stores; i++)
		if (sim->stores[i].frozen)
		{
			sim_trace(sim, "store %u is frozen", i);
			sim_crash(sim, i);
			sim->counts.frozen_stores++;
		}
}

static void
repair(Sim *sim)
{
	chaos_heal(sim);
	sim->calm = true;
	sim->memory.fail_in = 0;
	for (uint32_t i = 0; i < sim->opt.stores; i++)
	{
		sim->stores[i].tick_time = TICK_TIME;
		sim->stores[i].paused_until = 0;
		sim_restart(sim, i);
	}
	freeze_stores(sim);
	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		sim->groups[g].finished = 0;
		sim->groups[g].reads_finished = 0;
	}
	/* Delays of the safety phase must not stretch the calm one. */
	if (sim->opt.delay > 100)
		sim->opt.delay = 100;
	if (sim->opt.disk_delay > 100)
		sim->opt.disk_delay = 100;
	if (sim->opt.apply_delay > 100)
		sim->opt.apply_delay = 100;
	sim->opt.client_every = 500;
	sim_hasten(sim, 10 * TICK_TIME);
	sim_trace(sim, "all is repaired");
}

/* What is missing?  NULL: this group is well. */
static const char *
ailing(Sim *sim, Group *group, uint64_t *who)
{
	Replica    *leader = NULL;
	RaftStatus	status = {0};
	const RaftConf *conf;

	*who = 0;
	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		Replica    *r = &group->replicas[i];
		RaftStatus	s;

		if (!r->exists || r->raft == NULL)
			continue;
		raft_get_status(r->raft, &s);
		if (s.role == RAFT_LEADER && (leader == NULL || s.term > status.term))
		{
			leader = r;
			status = s;
		}
	}
	if (leader == NULL)
		return "no leader";
	*who = leader->id;
	if (!status.term_committed)
		return "leader has committed nothing";
	if (group->finished <= 6)
		return "no operations finish";
	if (group->reads_finished <= 2)
		return "no reads finish";
	conf = raft_get_conf(leader->raft);
	if (conf->joint || status.conf_index > status.commit)
		return "configuration does not settle";
	if (status.commit != status.last || leader->sm_applied != status.last)
		return "leader does not apply its log";
	for (uint32_t i = 0; i < conf->n; i++)
	{
		Replica    *r = &group->replicas[conf->members[i].id - 1];

		*who = r->id;
		if (r->awaited && sim->stores[r->store].frozen)
			continue;
		if (!r->exists)
			return r->awaited ? "a member is not made" : "a member was destroyed";
		if (sim->stores[r->store].frozen)
			continue;
		if (r->sm_applied != status.last)
			return "a member does not catch up";
	}
	return NULL;
}

/* How everybody stands, for whoever reads the trace. */
static void
trace_group(Sim *sim, uint32_t g)
{
	for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
	{
		const Replica *r = &sim->groups[g].replicas[i];
		const RaftConf *conf;
		RaftStatus	s;
		char		members[300] = "";
		int			n = 0;

		if (!r->exists || r->raft == NULL)
			continue;
		raft_get_status(r->raft, &s);
		conf = raft_get_conf(r->raft);
		for (uint32_t k = 0; k < conf->n && n < 260; k++)
			n += snprintf(members + n, sizeof(members) - (size_t) n, " %llu/%x",
						  LLU(conf->members[k].id), conf->members[k].roles);
		sim_trace(sim, "g%u %llu store=%u %s term=%llu log=%llu..%llu durable=%llu commit=%llu "
				  "out=%llu applied=%llu machine=%llu conf=%llu%s%s", g, LLU(r->id), r->store,
				  raft_role_name(s.role), LLU(s.term), LLU(s.base + 1), LLU(s.last),
				  LLU(s.stable), LLU(s.commit), LLU(s.handed_out), LLU(s.applied),
				  LLU(r->sm_applied), LLU(s.conf_index), conf->joint ? " joint" : "", members);
	}
}

/* Grows as long as something is replicated, applied or answered. */
static uint64_t
progress(const Sim *sim)
{
	uint64_t	sum = 0;

	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		sum += sim->groups[g].committed_last + sim->groups[g].finished;
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
			sum += sim->groups[g].replicas[i].sm_applied +
				disk_last(&sim->groups[g].replicas[i].disk);
	}
	return sum;
}

static void
check_liveness(Sim *sim)
{
	uint64_t	timeouts = 0;
	uint64_t	limit;
	uint64_t	next_look = 0;
	uint64_t	reached = 0;
	const char *words = "nothing happens";
	uint32_t	g = 0;
	uint64_t	who = 0;

	for (uint32_t i = 0; i < sim->opt.groups; i++)
	{
		uint64_t	one = LIVENESS_TIMEOUTS * (uint64_t) sim->groups[i].options.election_ticks;

		if (timeouts < one * TICK_TIME)
			timeouts = one * TICK_TIME;
	}
	limit = sim->now + timeouts;
	while (sim->now < limit && sim_step(sim))
	{
		if (sim->now < next_look)
			continue;
		next_look = sim->now + TICK_TIME;
		if (progress(sim) > reached)
		{
			/* A long log through a window of one entry takes its time. */
			reached = progress(sim);
			limit = sim->now + timeouts;
		}
		for (g = 0; g < sim->opt.groups; g++)
		{
			words = ailing(sim, &sim->groups[g], &who);
			if (words != NULL)
				break;
		}
		if (g == sim->opt.groups && sim->guest != NULL && !sim->guest->looks_well(sim, &words))
			continue;
		if (g == sim->opt.groups)
		{
			sim->counts.liveness++;
			return;
		}
	}
	if (!sim->failed && g < sim->opt.groups)
		trace_group(sim, g);
	sim_fail(sim, "[liveness] group %u replica %llu: %s", g, LLU(who), words);
}

void
chaos_run(Sim *sim)
{
	chaos_options(sim);
	while (sim->counts.events < sim->opt.events && sim_step(sim))
		continue;
	if (!sim->failed)
	{
		repair(sim);
		check_liveness(sim);
	}
}
