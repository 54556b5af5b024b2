/*-------------------------------------------------------------------------
 *
 * confs.c
 *	  What must be true of configurations, over all replicas at once.
 *
 * Part of the oracle.  That a configuration in force is the last one in the log,
 * or else that of the base, is one of raft_check()'s sentences; here is what
 * takes more than one replica to see.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

/* At most so many voters are tried in all ways: 2^12 divisions. */
#define MAX_TRIED 12

/*
 * [14] A joint configuration is left for its own new half, and nothing comes
 * between.  Called as configurations are committed, in order.
 */
void
confs_committed(Sim *sim, Replica *r, const RaftConf *before, const RaftConf *conf)
{
	if (!before->joint)
		return;
	for (uint32_t i = 0; i < before->n; i++)
	{
		const RaftMember *m = raft_conf_find(conf, before->members[i].id);
		bool		stays = (before->members[i].roles & RAFT_VOTER) != 0;

		if (conf->joint || stays != (m != NULL && (m->roles & RAFT_VOTER) != 0))
		{
			sim_fail(sim, "[14] group %u replica %llu commits a configuration after a joint one that is not its new half",
					 r->group, LLU(r->id));
			return;
		}
	}
}

/*
 * [14] A leader of whose term something is committed has at most one
 * configuration that is not.
 */
void
confs_pending(Sim *sim, Replica *r, const RaftStatus *status)
{
	uint32_t	pending = 0;

	if (!status->term_committed || status->conf_index <= status->commit)
		return;
	for (uint64_t i = status->commit + 1; i <= status->last; i++)
		pending += raft_get_entry(r->raft, i)->type == RAFT_CONF;
	if (pending > 1)
		sim_fail(sim, "[14] group %u leader %llu has %u configurations under way", r->group,
				 LLU(r->id), pending);
}

/* -- [15] ----------------------------------------------------------------------- */

/* Does the set of voters (bits of ids[]) hold a majority of each half? */
static bool
decides(const RaftConf *conf, const uint64_t *ids, uint32_t n, uint32_t set)
{
	for (int half = 0; half <= (conf->joint ? 1 : 0); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	all = 0;
		uint32_t	have = 0;

		for (uint32_t i = 0; i < conf->n; i++)
		{
			if ((conf->members[i].roles & role) == 0)
				continue;
			all++;
			for (uint32_t k = 0; k < n; k++)
				have += ids[k] == conf->members[i].id && (set >> k & 1) != 0;
		}
		if (have <= all / 2)
			return false;
	}
	return true;
}

static uint32_t
add_voters(const RaftConf *conf, uint64_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < conf->n; i++)
	{
		uint32_t	k = 0;

		if ((conf->members[i].roles & (RAFT_VOTER | RAFT_VOTER_OLD)) == 0)
			continue;
		while (k < n && ids[k] != conf->members[i].id)
			k++;
		if (k == n)
			ids[n++] = conf->members[i].id;
	}
	return n;
}

/* Can each of the two decide without anybody who decides in the other? */
static bool
apart(const RaftConf *a, const RaftConf *b)
{
	uint64_t	ids[2 * RAFT_MAX_MEMBERS];
	uint32_t	n = add_voters(b, ids, add_voters(a, ids, 0));

	if (n > MAX_TRIED)
		return false;
	for (uint32_t set = 0; set < UINT32_C(1) << n; set++)
		if (decides(a, ids, n, set) && decides(b, ids, n, ~set))
			return true;
	return false;
}

/*
 * Could a decision be made by r's configuration?  Not if its log lacks the newest
 * that is committed: nobody with that one votes for it any more [4].  Who has
 * committed more than the oracle has seen is judged when that has been seen.
 */
static bool
counts(const Group *group, const Replica *r, uint64_t newest)
{
	const RaftEntry *entry;
	RaftStatus	status;

	if (!r->exists || r->raft == NULL || raft_get_conf(r->raft)->n == 0)
		return false;
	raft_get_status(r->raft, &status);
	if (status.conf_index < newest || status.commit > group->committed_last)
		return false;
	if (newest <= status.base)
		return true;
	entry = raft_get_entry(r->raft, newest);
	return entry != NULL && entry->term == oracle_at(group, newest)->term;
}

/*
 * [15] Any two configurations that may decide at this moment share somebody in
 * every two majorities.  Called when r has another configuration than before.
 */
void
confs_intersect(Sim *sim, Replica *r)
{
	const Group *group = &sim->groups[r->group];
	const RaftConf *newest = &group->confs[group->confs_n - 1];
	uint64_t	index = group->confs_index[group->confs_n - 1];
	const RaftConf *ours = raft_get_conf(r->raft);

	if (!counts(group, r, index))
		return;
	if (apart(ours, newest))
		sim_fail(sim, "[15] group %u replica %llu can decide without any majority of the committed configuration",
				 r->group, LLU(r->id));
	for (uint32_t i = 0; i < group->replicas_n; i++)
		if (&group->replicas[i] != r && counts(group, &group->replicas[i], index) &&
			apart(ours, raft_get_conf(group->replicas[i].raft)))
			sim_fail(sim, "[15] group %u replicas %llu and %llu can decide without each other",
					 r->group, LLU(r->id), LLU(group->replicas[i].id));
}
