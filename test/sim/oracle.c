/*-------------------------------------------------------------------------
 *
 * oracle.c
 *	  What must be true, looked at after every event.
 *
 * The oracle sees all replicas and all disks at once and remembers every leader,
 * every prefix of a log and everything that was ever committed, beyond crashes.
 * The numbers in violations are those of docs/raft-tests.md.
 *
 * Logs are compared by prefix digests (chains.c).
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

const Committed *
oracle_at(const Group *group, uint64_t index)
{
	if (index < group->base || index > group->committed_last)
		return NULL;
	return &group->committed[index - group->base];
}

static void
add_committed(Group *group, const Committed *c)
{
	size_t		at = (size_t) (group->committed_last - group->base);

	if (at >= group->committed_size)
	{
		group->committed_size = group->committed_size == 0 ? 64 : group->committed_size * 2;
		group->committed = must(realloc(group->committed,
										group->committed_size * sizeof(Committed)));
	}
	group->committed[at] = *c;
}

static void
add_conf(Group *group, uint64_t index, const RaftConf *conf)
{
	group->confs = must(realloc(group->confs, (group->confs_n + 1) * sizeof(RaftConf)));
	group->confs_index = must(realloc(group->confs_index,
									  (group->confs_n + 1) * sizeof(uint64_t)));
	group->confs[group->confs_n] = *conf;
	group->confs_index[group->confs_n] = index;
	group->confs_n++;
}

void
oracle_start(Sim *sim, Group *group)
{
	Committed	origin = {.term = group->origin.term, .conf_index = group->origin.conf_index};

	(void) sim;
	origin.chain = prng_mix(group->id);
	group->committed_last = group->base;
	add_committed(group, &origin);
	add_conf(group, group->origin.conf_index, &group->origin.conf);
}

/* -- What is said on the wire --------------------------------------------------- */

/*
 * [9] Nothing is said that a crash of the speaker could make untrue [P1, P2].
 */
void
oracle_sending(Sim *sim, Replica *r, const RaftMessage *m)
{
	RaftHardState hard = disk_hard(&r->disk);
	const RaftEntry *ours;
	uint64_t	term = 0;
	bool		told = true;

	switch (m->type)
	{
		case RAFT_VOTE:
			told = (hard.term > m->term || (hard.term == m->term && hard.vote == r->id)) &&
				m->index <= disk_last(&r->disk) &&
				(!disk_term(&r->disk, m->index, &term) || term == m->log_term ||
				 hard.term > m->term);
			break;
		case RAFT_VOTE_RESP:
			if ((m->flags & RAFT_FLAG_REJECT) == 0)
				told = hard.term > m->term || (hard.term == m->term && hard.vote == m->to);
			break;
		case RAFT_APP_RESP:
			if (hard.term < m->term)
				told = false;
			else if ((m->flags & RAFT_FLAG_REJECT) == 0 && hard.term == m->term &&
					 m->index > r->disk.base.index)
			{
				ours = raft_get_entry(r->raft, m->index);
				told = disk_term(&r->disk, m->index, &term) &&
					(ours == NULL || ours->term == term);
			}
			break;
		default:
			break;
	}
	if (!told)
		sim_fail(sim, "[9] group %u replica %llu says %s of term %llu index %llu, which is not durable",
				 r->group, LLU(r->id), raft_message_name(m->type), LLU(m->term), LLU(m->index));
}

/*
 * [8] On disk terms never fall, and a vote once cast stays.
 */
void
oracle_durable(Sim *sim, Replica *r, const RaftHardState *before, const RaftHardState *after)
{
	if (after->term < before->term)
		sim_fail(sim, "[8] group %u replica %llu: term falls from %llu to %llu", r->group,
				 LLU(r->id), LLU(before->term), LLU(after->term));
	else if (after->term == before->term && before->vote != 0 && after->vote != before->vote)
		sim_fail(sim, "[8] group %u replica %llu voted for %llu and for %llu in term %llu",
				 r->group, LLU(r->id), LLU(before->vote), LLU(after->vote), LLU(after->term));
}

/* -- Leaders ---------------------------------------------------------------------- */

/* [1] One leader per term; [4] it has everything committed before its term. */
static void
new_leader(Sim *sim, Replica *r, const RaftStatus *status)
{
	Group	   *group = &sim->groups[r->group];

	for (size_t i = 0; i < group->leaders_n; i++)
		if (group->leaders[i].term == status->term)
		{
			sim_fail(sim, "[1] Election Safety: group %u has leaders %llu and %llu in term %llu",
					 r->group, LLU(group->leaders[i].id), LLU(r->id), LLU(status->term));
			return;
		}
	if (group->leaders_n == group->leaders_size)
	{
		group->leaders_size = group->leaders_size == 0 ? 32 : group->leaders_size * 2;
		group->leaders = must(realloc(group->leaders, group->leaders_size * sizeof(TermLeader)));
	}
	group->leaders[group->leaders_n++] = (TermLeader) {status->term, r->id};
	sim->counts.elections++;

	for (uint64_t i = group->committed_last; i > group->base; i--)
	{
		const Committed *c = oracle_at(group, i);
		const RaftEntry *entry;

		if (c->by_term >= status->term)
			continue;
		if (i <= status->base)
			break;
		entry = raft_get_entry(r->raft, i);
		if (entry == NULL || entry->term != c->term)
			sim_fail(sim, "[4] Leader Completeness: group %u leader %llu of term %llu lacks entry %llu of term %llu",
					 r->group, LLU(r->id), LLU(status->term), LLU(i), LLU(c->term));
		break;
	}
}

/*
 * [12] What a leader believes of a peer's log is on that peer's disk.  A peer
 * that has gone on to a later term may have replaced it.
 */
static void
check_matches(Sim *sim, Replica *r, const RaftStatus *status)
{
	Group	   *group = &sim->groups[r->group];
	const RaftConf *conf = raft_get_conf(r->raft);

	for (uint32_t i = 0; i < conf->n; i++)
	{
		Replica    *peer = &group->replicas[conf->members[i].id - 1];
		RaftPeer	p;
		const RaftEntry *ours;
		uint64_t	theirs;

		if (!raft_get_peer(r->raft, conf->members[i].id, &p))
			continue;
		if (p.match < r->match_seen[peer->id])
			sim_fail(sim, "[12] group %u leader %llu: match of %llu falls from %llu to %llu",
					 r->group, LLU(r->id), LLU(peer->id), LLU(r->match_seen[peer->id]),
					 LLU(p.match));
		r->match_seen[peer->id] = p.match;
		if (p.inflight_bytes >= group->options.max_inflight_bytes +
			group->options.max_message_bytes + group->options.max_entry_bytes)
			sim_fail(sim, "[13] group %u leader %llu has %llu bytes on the way to %llu", r->group,
					 LLU(r->id), LLU(p.inflight_bytes), LLU(peer->id));
		if (!peer->exists || disk_hard(&peer->disk).term > status->term ||
			p.match <= peer->disk.base.index)
			continue;
		ours = raft_get_entry(r->raft, p.match);
		if (!disk_term(&peer->disk, p.match, &theirs) || (ours != NULL && ours->term != theirs))
			sim_fail(sim, "[12] group %u leader %llu believes that %llu has entry %llu, its disk has not",
					 r->group, LLU(r->id), LLU(peer->id), LLU(p.match));
	}
}

static void
look_at_leader(Sim *sim, Replica *r, const RaftStatus *status)
{
	if (r->lead_term != status->term)
	{
		new_leader(sim, r, status);
		r->lead_term = status->term;
		r->lead_last = 0;
		memset(r->match_seen, 0, sizeof(r->match_seen));
	}
	if (status->last < r->lead_last)
		sim_fail(sim, "[2] Leader Append-Only: group %u leader %llu shortened its log to %llu",
				 r->group, LLU(r->id), LLU(status->last));
	r->lead_last = status->last;
	check_matches(sim, r, status);
}

/* -- Committing -------------------------------------------------------------------- */

static bool
has_durable(const Group *group, uint64_t id, uint64_t index, uint64_t term)
{
	const Replica *r = &group->replicas[id - 1];
	uint64_t	theirs;

	if (!r->exists)
		return false;
	return index < r->disk.base.index || (disk_term(&r->disk, index, &theirs) && theirs == term);
}

/*
 * [10] A leader commits what is of its own term, and a majority (of each half) of
 * the configuration has it on disk.
 */
static void
check_quorum_log(Sim *sim, Replica *r, uint64_t index, uint64_t term)
{
	const Group *group = &sim->groups[r->group];
	const RaftConf *conf = raft_get_conf(r->raft);

	if (term != r->lead_term)
		sim_fail(sim, "[10] group %u leader %llu of term %llu commits %llu of term %llu by counting",
				 r->group, LLU(r->id), LLU(r->lead_term), LLU(index), LLU(term));

	for (int half = 0; half <= (conf->joint ? 1 : 0); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	n = 0;
		uint32_t	have = 0;

		for (uint32_t i = 0; i < conf->n; i++)
		{
			if ((conf->members[i].roles & role) == 0)
				continue;
			n++;
			have += has_durable(group, conf->members[i].id, index, term);
		}
		if (have <= n / 2)
			sim_fail(sim, "[10] group %u leader %llu commits %llu, durable on %u of %u",
					 r->group, LLU(r->id), LLU(index), have, n);
	}
}

/*
 * [5, 11] r says that index is committed.  The first to say so decides what it
 * is; all others have to agree.
 */
static void
committed(Sim *sim, Replica *r, const RaftStatus *status, uint64_t index)
{
	Group	   *group = &sim->groups[r->group];
	const Committed *known = oracle_at(group, index);
	uint64_t	chain = r->chain[index - group->base];
	const RaftEntry *entry = raft_get_entry(r->raft, index);
	Committed	c;

	if (known != NULL)
	{
		if (known->chain != chain)
			sim_fail(sim, "[5] State Machine Safety: group %u replica %llu commits another entry at %llu",
					 r->group, LLU(r->id), LLU(index));
		return;
	}
	if (entry == NULL)
	{
		sim_fail(sim, "group %u replica %llu commits %llu without having it", r->group,
				 LLU(r->id), LLU(index));
		return;
	}
	c = *oracle_at(group, index - 1);
	c.term = entry->term;
	c.chain = chain;
	c.by_term = status->term;
	c.length += entry->type == RAFT_COMMAND;
	if (entry->type == RAFT_CONF)
	{
		RaftConf	conf;

		if (raft_conf_decode(bytes_of(entry->data->data, entry->data->len), &conf) != VT_OK)
			abort();
		c.conf_index = index;
		if (index != group->forced)
			confs_committed(sim, r, &group->confs[group->confs_n - 1], &conf);
		add_conf(group, index, &conf);
		if (conf.joint)
			sim->counts.joint_committed++;
	}
	group->committed_last = index;
	add_committed(group, &c);
}

static void
look_at_commit(Sim *sim, Replica *r, const RaftStatus *status)
{
	Group	   *group = &sim->groups[r->group];
	uint64_t	first = r->seen_commit > status->base ? r->seen_commit : status->base;

	if (first < group->base)
		first = group->base;
	for (uint64_t i = first + 1; i <= status->commit && !sim->failed; i++)
	{
		if (i > r->chain_last)
		{
			sim_fail(sim, "group %u replica %llu commits %llu, which it never wrote", r->group,
					 LLU(r->id), LLU(i));
			return;
		}
		committed(sim, r, status, i);
	}
	r->seen_commit = status->commit;
}

/*
 * After an event at r.  drained: its Readys have all been taken, so that what is
 * in memory has been seen.
 */
void
oracle_look(Sim *sim, Replica *r, bool drained)
{
	RaftStatus	status;
	VtError		err;

	if (sim->failed || r->raft == NULL)
		return;
	if (raft_check(r->raft, &err) != VT_OK)
	{
		sim_fail(sim, "[structure] group %u replica %llu: %s", r->group, LLU(r->id), err.msg);
		return;
	}
	raft_get_status(r->raft, &status);
	if (status.term < r->seen_term)
		sim_fail(sim, "[8] group %u replica %llu: term falls", r->group, LLU(r->id));
	if (status.commit < r->seen_commit)
		sim_fail(sim, "[6] group %u replica %llu: commit falls from %llu to %llu", r->group,
				 LLU(r->id), LLU(r->seen_commit), LLU(status.commit));
	r->seen_term = status.term;
	if (status.conf_index < r->seen_conf)
		sim->counts.conf_rollbacks++;
	r->seen_conf = status.conf_index;
	if (!status.installing && status.stable > disk_last(&r->disk))
		sim_fail(sim, "[19] group %u replica %llu takes %llu for durable, on disk is %llu",
				 r->group, LLU(r->id), LLU(status.stable), LLU(disk_last(&r->disk)));
	if (status.role == RAFT_LEADER)
	{
		const RaftEntry *entry = raft_get_entry(r->raft, status.commit);

		look_at_leader(sim, r, &status);
		confs_pending(sim, r, &status);
		/* At once: the next event may change the configuration. */
		if (entry != NULL && status.commit > r->seen_quorum &&
			status.commit > sim->groups[r->group].committed_last)
		{
			check_quorum_log(sim, r, status.commit, entry->term);
			r->seen_quorum = status.commit;
		}
	}
	if (drained && !sim->failed)
	{
		look_at_commit(sim, r, &status);
		if (status.conf_index != r->judged_conf)
			confs_intersect(sim, r);
		r->judged_conf = status.conf_index;
	}
}

/*
 * r is about to crash, perhaps between committing and being looked at.  What a
 * leader has committed it may have told others.
 */
void
oracle_crashing(Sim *sim, Replica *r)
{
	RaftStatus	status;

	if (sim->failed || r->raft == NULL)
		return;
	raft_get_status(r->raft, &status);
	if (status.role == RAFT_LEADER && r->lead_term == status.term)
		look_at_commit(sim, r, &status);
}

/*
 * [5, 7] r applies this entry to its state machine.
 */
void
oracle_applied(Sim *sim, Replica *r, const Applying *entry)
{
	Group	   *group = &sim->groups[r->group];
	const Committed *c = oracle_at(group, entry->index);
	uint64_t	chain;

	if (entry->index != r->sm_applied + 1 || c == NULL)
	{
		sim_fail(sim, "[7] group %u replica %llu applies %llu after %llu", r->group, LLU(r->id),
				 LLU(entry->index), LLU(r->sm_applied));
		return;
	}
	chain = oracle_next_chain(oracle_at(group, entry->index - 1)->chain, entry->index, entry->term,
					   entry->hash);
	if (c->chain != chain)
		sim_fail(sim, "[5] State Machine Safety: group %u replica %llu applies another entry at %llu",
				 r->group, LLU(r->id), LLU(entry->index));
	if (entry->index > disk_last(&r->disk))
		sim_fail(sim, "[7] group %u replica %llu applies %llu, which is not durable", r->group,
				 LLU(r->id), LLU(entry->index));
}

/*
 * [20] A snapshot holds what is committed, and the configuration of there.
 */
void
oracle_snapshot(Sim *sim, Replica *r, const RaftSnapshot *snapshot)
{
	Group	   *group = &sim->groups[r->group];
	const Committed *c = oracle_at(group, snapshot->index);
	size_t		i = group->confs_n;

	if (c == NULL || c->term != snapshot->term || c->conf_index != snapshot->conf_index)
	{
		sim_fail(sim, "[20] group %u replica %llu describes a snapshot at %llu that is not committed so",
				 r->group, LLU(r->id), LLU(snapshot->index));
		return;
	}
	while (i > 0 && group->confs_index[i - 1] != snapshot->conf_index)
		i--;
	if (i == 0 || group->confs[i - 1].n != snapshot->conf.n ||
		memcmp(group->confs[i - 1].members, snapshot->conf.members,
			   snapshot->conf.n * sizeof(RaftMember)) != 0)
		sim_fail(sim, "[20] group %u replica %llu puts a wrong configuration into a snapshot",
				 r->group, LLU(r->id));
}

/*
 * A replica was told that it is no member: then it is none for ever.
 */
void
oracle_gone(Sim *sim, Replica *r)
{
	Group	   *group = &sim->groups[r->group];

	if (raft_conf_find(&group->confs[group->confs_n - 1], r->id) != NULL)
		sim_fail(sim, "[gone] group %u replica %llu was told that it is no member, but it is",
				 r->group, LLU(r->id));
}

/*
 * r goes on by force with what was committed up to fork and whatever else it has: that
 * is committed now, by decree, and what the others had beyond was never.
 */
void
oracle_forced(Sim *sim, Replica *r, uint64_t fork)
{
	Group	   *group = &sim->groups[r->group];
	uint64_t	term = disk_hard(&r->disk).term;

	group->committed_last = fork;
	while (group->confs_n > 1 && group->confs_index[group->confs_n - 1] > fork)
		group->confs_n--;
	for (uint64_t i = fork + 1; i <= disk_last(&r->disk); i++)
	{
		const DiskEntry *e = &r->disk.entries[i - r->disk.base.index - 1];
		const uint8_t *data = e->bytes + RAFT_ENTRY_HEADER;
		size_t		len = e->len - RAFT_ENTRY_HEADER;
		uint8_t		type = e->bytes[28];
		Committed	c = *oracle_at(group, i - 1);
		RaftConf	conf;

		c.term = e->term;
		c.chain = oracle_next_chain(c.chain, i, e->term, sim_entry_hash(type, data, len));
		c.by_term = term;
		c.length += type == RAFT_COMMAND;
		if (type == RAFT_CONF)
		{
			if (raft_conf_decode(bytes_of(data, len), &conf) != VT_OK)
				abort();
			c.conf_index = i;
			add_conf(group, i, &conf);
		}
		group->committed_last = i;
		add_committed(group, &c);
	}
	if (group->floor > oracle_at(group, group->committed_last)->length)
		group->floor = oracle_at(group, group->committed_last)->length;
}

void
oracle_free(Group *group)
{
	free(group->committed);
	free(group->confs);
	free(group->confs_index);
	free(group->chains);
	free(group->leaders);
}
