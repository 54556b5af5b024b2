/*-------------------------------------------------------------------------
 *
 * members.c
 *	  Changes of members, sensible and not, often two at once.
 *
 * A new replica is created before it is proposed and destroyed again when it was
 * refused; ids are never used twice [P9].
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

static bool
remove_member(RaftConf *conf, uint32_t at)
{
	memmove(&conf->members[at], &conf->members[at + 1],
			(conf->n - at - 1) * sizeof(RaftMember));
	conf->n--;
	memset(&conf->members[conf->n], 0, sizeof(RaftMember));
	return true;
}

static uint32_t
count_role(const RaftConf *conf, uint8_t role)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < conf->n; i++)
		n += (conf->members[i].roles & role) != 0;
	return n;
}

/* One to three learners, on any stores. */
static bool
add_learners(Sim *sim, Group *group, uint32_t g, RaftConf *conf)
{
	uint32_t	n = 1 + sim_below(sim, 3);

	if (conf->n + n > 8 || group->replicas_n + n > SIM_MAX_REPLICAS)
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		Replica    *r = sim_create_replica(sim, g, sim_below(sim, sim->opt.stores), false);
		RaftMember *m = &conf->members[conf->n++];

		memset(m, 0, sizeof(*m));
		m->id = r->id;
		m->node = r->store + 1;
		m->roles = RAFT_LEARNER;
	}
	return true;
}

/* Turn conf into something else; false: nothing came to mind. */
static bool
change_conf(Sim *sim, Group *group, uint32_t g, RaftConf *conf)
{
	uint32_t	at = sim_below(sim, conf->n);
	RaftMember *m = &conf->members[at];

	switch (sim_below(sim, 7))
	{
		case 0:
		case 1:
			return add_learners(sim, group, g, conf);
		case 2:
			if (m->roles != RAFT_LEARNER)
				return false;
			m->roles = RAFT_VOTER;
			sim->counts.learners_promoted++;
			return true;
		case 3:
			return remove_member(conf, at) && count_role(conf, RAFT_VOTER) > 0;
		case 4:
			if (m->roles != RAFT_VOTER || count_role(conf, RAFT_VOTER) == 1)
				return false;
			m->roles = RAFT_LEARNER;
			return true;
		default:
			/* All learners become voters, some others leave. */
			for (uint32_t i = 0; i < conf->n; i++)
				if (conf->members[i].roles == RAFT_LEARNER)
					conf->members[i].roles = RAFT_VOTER;
			for (uint32_t k = 1 + sim_below(sim, 3); k > 0 && conf->n > 1; k--)
				remove_member(conf, sim_below(sim, conf->n));
			return count_role(conf, RAFT_VOTER) > 0;
	}
}

static void
change_members_of(Sim *sim, uint32_t g, Replica *r)
{
	Group	   *group = &sim->groups[g];
	uint32_t	known = group->replicas_n;
	RaftStatus	status;
	RaftConf	target;
	VtStatus	result;

	raft_get_status(r->raft, &status);
	target = *raft_get_conf(r->raft);
	if (target.joint)
	{
		/* Asking while joint must be refused; ask for anything. */
		uint32_t	only = sim_below(sim, target.n);

		target.joint = false;
		for (uint32_t i = 0; i < target.n; i++)
			target.members[i].roles = i == only || sim_below(sim, 2) == 0 ? RAFT_VOTER : RAFT_LEARNER;
	}
	else if (!change_conf(sim, group, g, &target))
		return;
	result = raft_propose_conf(r->raft, &target, status.conf_index, NULL);
	sim_trace(sim, "g%u %llu propose conf of %u members: %s", g, LLU(r->id), target.n,
			  vt_status_words(result));
	if (result == VT_OK)
		sim->counts.conf_changes++;
	for (uint32_t i = known; result != VT_OK && i < group->replicas_n; i++)
		sim_destroy_replica(sim, &group->replicas[i]);
}

/* Often twice at once: the second must wait for the first. */
void
chaos_change_members(Sim *sim)
{
	uint32_t	g = sim_below(sim, sim->opt.groups);
	Replica    *r = chaos_any_replica(sim, &sim->groups[g], true);

	if (r == NULL || (sim->guest != NULL && sim->guest->may_change != NULL && !sim->guest->may_change(sim, g)))
		return;
	change_members_of(sim, g, r);
	if (sim_below(sim, 3) == 0)
		change_members_of(sim, g, r);
	if (sim->opt.cut_weight > 0 && sim_below(sim, 4) == 0)
		chaos_cut_network(sim);
	sim_settle(sim, r);
}
