/*-------------------------------------------------------------------------
 *
 * election.c
 *	  How a replica becomes leader, and how it stops being one.
 *
 * Sections 3.4, 6.2 and 9.6 of the Raft dissertation, with both guards always
 * on: a candidate first asks whether it would be elected (PreVote), so that a
 * replica cut off from the others does not raise its term; and a leader that
 * does not hear from a quorum within an election timeout steps down
 * (CheckQuorum), while followers that hear from it refuse votes.  Only the two
 * together keep a stable leader under partial connectivity.
 *
 *				  timeout			 quorum would			quorum did
 *		FOLLOWER ---------> PRECANDIDATE ---------> CANDIDATE ---------> LEADER
 *			^					 |						|				   |
 *			+--- higher term, a leader appeared, refused, no quorum ------+
 *
 * Stricter than the dissertation [P2]: nobody campaigns while entries of its own
 * or a snapshot are on their way to the disk, and vote requests leave only when
 * term and own vote are durable (libraft#386: a candidate that counted entries
 * it then lost).
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

/* A new timeout in [1x, 2x), counted from now. */
void
raft_reset_timeout(Raft *raft)
{
	raft->election_elapsed = 0;
	raft->election_timeout = raft->opt.election_ticks +
		prng_below(&raft->prng, raft->opt.election_ticks);
}

static void
clear_votes(Raft *raft)
{
	for (uint32_t i = 0; i < raft->peers_n; i++)
		raft->peers[i].vote = VOTE_NONE;
	raft->self_vote_after = 0;
}

void
raft_become_follower(Raft *raft, uint64_t term, uint64_t leader)
{
	Assert(term >= raft->term);
	if (raft->role == RAFT_LEADER)
	{
		raft_reads_fail(raft);
		raft_transfer_abort(raft);
		raft->uncommitted_bytes = 0;
		raft->fetch_first = 0;
		for (uint32_t i = 0; i < raft->peers_n; i++)
			progress_free(&raft->peers[i], raft->allocator);
	}
	if (term > raft->term)
	{
		raft->term = term;
		raft->vote = 0;
		raft->hard_dirty = true;
	}
	raft->role = RAFT_FOLLOWER;
	raft->leader = leader;
	clear_votes(raft);
	raft_reset_timeout(raft);
}

/*
 * May this replica campaign?  A voter may.  So may one that does not vote in its
 * own configuration but whose vote was asked for by somebody with a shorter log:
 * that one counts with a configuration in which we do vote, and cannot be
 * elected without us.  It happens to a voter on its way out that alone has the
 * last entry of the change, and to a learner that was ahead of all voters when
 * the leader died.  Without this a group whose majorities are alive could stand
 * still for ever.
 *
 * Safety does not depend on who campaigns, only on who is counted; a leader that
 * is no voter does not count itself and leaves after its first commit.
 */
bool
raft_promotable(const Raft *raft)
{
	if (raft_is_voter(raft, raft->opt.id))
		return true;
	return raft->asked && raft->log.conf.n > 0 && !RAFT_BUG(42);
}

static void
become_leader(Raft *raft)
{
	RaftLog    *log = &raft->log;

	raft->role = RAFT_LEADER;
	raft->leader = raft->opt.id;
	raft->election_elapsed = 0;
	raft->heartbeat_elapsed = 0;
	raft->self_vote_after = 0;
	raft->fetch_first = 0;
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		Progress   *pr = &raft->peers[i];

		progress_reset(pr, raft->allocator, log_last(log) + 1);
		if (pr->id == raft->opt.id)
			pr->match = log->stable;
	}
	raft->uncommitted_bytes = 0;
	for (uint64_t i = raft->commit + 1; i <= log_last(log); i++)
		raft->uncommitted_bytes += log_entry(log, i)->size;

	/*
	 * Section 6.4: an entry of the own term at once.  Without it older entries
	 * could not be committed and reads not be answered (libraft#220).
	 */
	raft->term_start = log_last(log) + 1;
	raft_append_own(raft, RAFT_NOOP, NULL);
}

/* Look at the votes of the present round and act when they decide. */
static void
count_votes(Raft *raft)
{
	Vote		votes[RAFT_MAX_MEMBERS];

	for (uint32_t i = 0; i < raft->peers_n; i++)
		votes[i] = raft->peers[i].vote;
	switch (quorum_votes(&raft->log.conf, votes))
	{
		case VOTES_PENDING:
			break;
		case VOTES_LOST:
			raft_become_follower(raft, raft->term, 0);
			break;
		case VOTES_WON:
			if (raft->role == RAFT_CANDIDATE)
				become_leader(raft);
			else
				raft_start_campaign(raft, false, false);
			break;
	}
}

static void
request_votes(Raft *raft, uint8_t type, uint64_t term, uint8_t flags)
{
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		RaftMessage m = {.type = type, .to = raft->peers[i].id, .term = term, .flags = flags};

		if (m.to == raft->opt.id ||
			(raft->log.conf.members[i].roles & (RAFT_VOTER | RAFT_VOTER_OLD)) == 0)
			continue;
		m.index = log_last(&raft->log);
		m.log_term = log_last_term(&raft->log);
		if (type == RAFT_PREVOTE || RAFT_BUG(5))
			raft_queue(raft, &m);
		else
			raft_queue_durable(raft, &m);
	}
}

/*
 * Campaign, if it is allowed now; else nothing changes and the next tick tries
 * again.
 */
void
raft_start_campaign(Raft *raft, bool ask_first, bool transfer)
{
	Progress   *self = raft_peer(raft, raft->opt.id);

	if (!raft_promotable(raft) || (raft->passive && !RAFT_BUG(45)))
		return;
	if (raft->log.stable < log_last(&raft->log) && !RAFT_BUG(5))
		return;
	if (raft_installing(raft))
		return;

	clear_votes(raft);
	raft->leader = 0;
	raft_reset_timeout(raft);
	if (ask_first)
	{
		raft->role = RAFT_PRECANDIDATE;
		if (self != NULL)
			self->vote = VOTE_GRANTED;
		request_votes(raft, RAFT_PREVOTE, raft->term + 1, 0);
		count_votes(raft);
		return;
	}

	raft->role = RAFT_CANDIDATE;
	raft->term++;
	raft->vote = raft->opt.id;
	raft->hard_dirty = true;
	/* Our own vote counts when it cannot be forgotten any more. */
	raft->self_vote_after = raft_unwritten_seq(raft);
	request_votes(raft, RAFT_VOTE, raft->term, transfer ? RAFT_FLAG_TRANSFER : 0);
	if (RAFT_BUG(5))
		raft_own_vote_durable(raft);
}

/* The disk has term and vote of this campaign. */
void
raft_own_vote_durable(Raft *raft)
{
	Progress   *self = raft_peer(raft, raft->opt.id);

	if (raft->role != RAFT_CANDIDATE || raft->self_vote_after == 0)
		return;
	if (raft->seq_persisted < raft->self_vote_after && !RAFT_BUG(5))
		return;
	raft->self_vote_after = 0;
	if (self != NULL)
		self->vote = VOTE_GRANTED;
	count_votes(raft);
}

/*
 * PREVOTE (whose term is the one the sender would campaign in) or VOTE, of our
 * term or, for PREVOTE, above.  Learners answer too: the sender may know that we
 * have become a voter before we do (etcd#10998).
 *
 * Section 3.6.1: only to a log that is at least as up to date as ours.  Ours is
 * counted to its end, durable or not, which errs on the safe side.
 */
void
raft_handle_vote(Raft *raft, const RaftMessage *m)
{
	bool		pre = m->type == RAFT_PREVOTE;
	uint64_t	last = log_last(&raft->log);
	uint64_t	last_term = log_last_term(&raft->log);
	bool		may = raft->vote == m->from || (raft->vote == 0 && raft->leader == 0) ||
		(pre && m->term > raft->term);
	bool		up_to_date = m->log_term > last_term ||
		(m->log_term == last_term && m->index >= last);
	RaftMessage resp = {.type = pre ? RAFT_PREVOTE_RESP : RAFT_VOTE_RESP, .to = m->from};

	if (RAFT_BUG(23))
	{
		const RaftMember *self = raft_conf_find(&raft->log.conf, raft->opt.id);

		if (self == NULL || (self->roles & (RAFT_VOTER | RAFT_VOTER_OLD)) == 0)
			may = false;
	}
	if (may && up_to_date)
	{
		resp.term = m->term;
		if (!pre)
		{
			raft->election_elapsed = 0;
			if (raft->vote != m->from)
			{
				raft->vote = m->from;
				raft->hard_dirty = true;
			}
		}
	}
	else
	{
		resp.term = raft->term;
		resp.flags = RAFT_FLAG_REJECT;
		if (!up_to_date && !raft_is_voter(raft, raft->opt.id))
			raft->asked = true;
	}
	if (RAFT_BUG(3))
		raft_queue(raft, &resp);
	else
		raft_queue_durable(raft, &resp);
}

/*
 * An answer counts only for the round it belongs to: late answers to the
 * question before do not elect anybody.
 */
void
raft_handle_vote_resp(Raft *raft, const RaftMessage *m)
{
	Progress   *pr = raft_peer(raft, m->from);
	bool		pre = m->type == RAFT_PREVOTE_RESP;

	if (raft->role != (pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE) &&
		!(RAFT_BUG(24) && raft->role == RAFT_CANDIDATE))
		return;
	if (pr == NULL || pr->id == raft->opt.id || pr->vote != VOTE_NONE)
		return;
	pr->vote = (m->flags & RAFT_FLAG_REJECT) != 0 ? VOTE_REFUSED : VOTE_GRANTED;
	count_votes(raft);
}

/*
 * Once per election timeout of a leader: a leader that a quorum did not speak to
 * has perhaps been replaced already, and must not go on telling clients that it
 * leads (section 6.2).
 */
void
raft_check_quorum(Raft *raft)
{
	Vote		heard[RAFT_MAX_MEMBERS];

	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		Progress   *pr = &raft->peers[i];

		heard[i] = pr->active || pr->id == raft->opt.id ? VOTE_GRANTED : VOTE_REFUSED;
		pr->active = false;
	}
	if (quorum_votes(&raft->log.conf, heard) != VOTES_WON)
		raft_become_follower(raft, raft->term, 0);
}
