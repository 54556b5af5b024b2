/*-------------------------------------------------------------------------
 *
 * step.c
 *	  The way of every event into a replica.
 *
 * Each event first reserves the memory it can need at most, then checks what it
 * was given, then acts.  So a failed allocation leaves nothing half done, and no
 * helper further down has to fail.
 *
 * The rules about terms that hold for all messages (section 3.3 of the
 * dissertation) stand here in one place: accept_term().
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

/* Messages waiting for the disk; beyond it new ones count as lost. */
#define QUEUE_LIMIT 4096

/* Terms and indexes stay far below where a sum of them could wrap. */
#define NUMBER_LIMIT (UINT64_C(1) << 62)

static VtStatus
check_message(const Raft *raft, const RaftMessage *m, size_t *confs)
{
	uint64_t	index = m->index;
	uint64_t	term = m->log_term;

	*confs = 0;
	if (m->group != raft->opt.group || m->to != raft->opt.id || m->from == 0 ||
		m->from == raft->opt.id)
		return VT_PROTOCOL;
	if (m->term >= NUMBER_LIMIT || m->index >= NUMBER_LIMIT || m->commit >= NUMBER_LIMIT)
		return VT_PROTOCOL;
	if (m->n > 0 && m->type != RAFT_APP)
		return VT_PROTOCOL;
	for (uint32_t i = 0; i < m->n; i++)
	{
		const RaftEntry *entry = &m->entries[i];
		VtStatus	status = raft_check_entry(entry, index, term);

		if (status != VT_OK)
			return status;
		if (entry->size > 0 && entry->data == NULL)
			return VT_PROTOCOL;
		index = entry->index;
		term = entry->term;
		*confs += entry->type == RAFT_CONF;
	}
	switch (m->type)
	{
		case RAFT_APP:
			return term <= m->term ? VT_OK : VT_PROTOCOL;
		case RAFT_SNAP:
			if (m->snapshot == NULL || raft_conf_check(&m->snapshot->conf, NULL) != VT_OK ||
				m->snapshot->term > m->term || m->snapshot->index >= NUMBER_LIMIT ||
				m->snapshot->conf_index > m->snapshot->index)
				return VT_PROTOCOL;
			return VT_OK;
		case RAFT_APP_RESP:
		case RAFT_HEARTBEAT:
		case RAFT_HEARTBEAT_RESP:
		case RAFT_PREVOTE:
		case RAFT_PREVOTE_RESP:
		case RAFT_VOTE:
		case RAFT_VOTE_RESP:
		case RAFT_TIMEOUT_NOW:
		case RAFT_PEER_GONE:
			return VT_OK;
	}
	return VT_VERSION;
}

static bool
from_leader(const RaftMessage *m)
{
	return m->type == RAFT_APP || m->type == RAFT_HEARTBEAT || m->type == RAFT_SNAP;
}

/*
 * One who is not in the committed configuration any more talks to the leader:
 * tell it, and listen no further.  It would go on campaigning for ever.
 */
static bool
answer_removed(Raft *raft, const RaftMessage *m)
{
	RaftMessage resp = {.type = RAFT_PEER_GONE, .to = m->from, .term = raft->term,
	.index = raft->log.conf_index};

	if (raft->role != RAFT_LEADER || raft->log.conf.joint || !raft_term_committed(raft) ||
		raft->log.conf_index > raft->commit || raft_conf_find(&raft->log.conf, m->from) != NULL)
		return false;
	if (m->type == RAFT_PREVOTE || m->type == RAFT_VOTE || m->type == RAFT_APP_RESP ||
		m->type == RAFT_HEARTBEAT_RESP)
		raft_queue(raft, &resp);
	return !from_leader(m);
}

/* Does this replica hear from a leader, so that nobody needs its vote? */
static bool
leader_is_alive(const Raft *raft)
{
	return raft->leader != 0 && raft->election_elapsed < raft->opt.election_ticks;
}

/*
 * Compare terms (section 3.3).  False: the message says nothing more to us.
 */
static bool
accept_term(Raft *raft, const RaftMessage *m)
{
	RaftMessage resp = {.to = m->from};

	/*
	 * Section 4.2.3: while we hear from a leader, requests to replace it are not
	 * even looked at, whatever their term, unless it wants it itself.
	 */
	if ((m->type == RAFT_PREVOTE || m->type == RAFT_VOTE) && m->term > raft->term &&
		leader_is_alive(raft) && (m->flags & RAFT_FLAG_TRANSFER) == 0)
		return false;

	if (m->term > raft->term)
	{
		/* A question, and the promise that answers it, change no term. */
		if (m->type == RAFT_PREVOTE)
		{
			if (RAFT_BUG(25))
				raft_become_follower(raft, m->term, 0);
			return true;
		}
		if (m->type == RAFT_PREVOTE_RESP && (m->flags & RAFT_FLAG_REJECT) == 0)
			return m->term == raft->term + 1;
		raft_become_follower(raft, m->term, from_leader(m) ? m->from : 0);
		return true;
	}
	if (m->term < raft->term)
	{
		/*
		 * A leader of an older term has to learn ours, also when we may not
		 * campaign: otherwise a replica with a higher term that nobody elects
		 * would never get in again.
		 */
		if (m->type == RAFT_APP || m->type == RAFT_HEARTBEAT)
		{
			resp.type = RAFT_APP_RESP;
			resp.flags = RAFT_FLAG_REJECT;
			raft_queue_durable(raft, &resp);
		}
		else if (m->type == RAFT_PREVOTE)
		{
			resp.type = RAFT_PREVOTE_RESP;
			resp.flags = RAFT_FLAG_REJECT;
			raft_queue_durable(raft, &resp);
		}
		/* What a snapshot holds is committed, whoever sent it; but not what an earlier life had. */
		return m->type == RAFT_SNAP &&
			(m->term / RAFT_LIFE_TERMS == raft->term / RAFT_LIFE_TERMS || RAFT_BUG(48));
	}
	return true;
}

VtStatus
raft_step(Raft *raft, const RaftMessage *m)
{
	size_t		confs;
	VtStatus	status;

	status = check_message(raft, m, &confs);
	if (status != VT_OK)
		return status;
	if (raft->queue_n >= QUEUE_LIMIT)
		return VT_OK;			/* as if it was lost */
	status = raft_reserve(raft, m->n, confs);
	if (status != VT_OK)
		return status;
	if (m->type == RAFT_SNAP)
	{
		status = raft_reserve_snapshot(raft);
		if (status != VT_OK)
			return status;
	}

	if (answer_removed(raft, m) || !accept_term(raft, m))
		return VT_OK;
	if (from_leader(m) && m->term == raft->term)
	{
		if (raft->role == RAFT_LEADER)
			return VT_PROTOCOL; /* two leaders in one term */
		if (raft->role != RAFT_FOLLOWER)
			raft_become_follower(raft, raft->term, m->from);
		raft->leader = m->from;
		raft->election_elapsed = 0;
		raft->asked = false;
		raft->gone = false;
	}

	switch (m->type)
	{
		case RAFT_APP:
			return raft_handle_append(raft, m);
		case RAFT_SNAP:
			raft_handle_snapshot(raft, m);
			break;
		case RAFT_HEARTBEAT:
			raft_handle_heartbeat(raft, m);
			break;
		case RAFT_PREVOTE:
		case RAFT_VOTE:
			raft_handle_vote(raft, m);
			break;
		case RAFT_PREVOTE_RESP:
		case RAFT_VOTE_RESP:
			raft_handle_vote_resp(raft, m);
			break;
		case RAFT_TIMEOUT_NOW:
			raft_handle_timeout_now(raft);
			break;
		case RAFT_PEER_GONE:
			if (raft->role != RAFT_LEADER &&
				(m->index > raft->log.conf_index ||
				 raft_conf_find(&raft->log.conf, raft->opt.id) == NULL))
				raft->gone = true;
			break;
		case RAFT_APP_RESP:
			if (raft->role == RAFT_LEADER)
				raft_handle_append_resp(raft, m);
			break;
		case RAFT_HEARTBEAT_RESP:
			if (raft->role == RAFT_LEADER)
				raft_handle_heartbeat_resp(raft, m);
			break;
	}
	return VT_OK;
}

static void
tick_leader(Raft *raft)
{
	if (++raft->election_elapsed >= raft->opt.election_ticks)
	{
		raft->election_elapsed = 0;
		raft_step_down_when_stalled(raft);
		if (raft->role == RAFT_LEADER)
			raft_check_quorum(raft);
		if (raft->role != RAFT_LEADER)
			return;
	}
	for (uint32_t i = 0; i < raft->peers_n; i++)
		raft->peers[i].silent++;
	raft_transfer_tick(raft);
	raft_maybe_leave_joint(raft);
	if (++raft->heartbeat_elapsed < raft->opt.heartbeat_ticks)
		return;
	raft->heartbeat_elapsed = 0;
	raft->fetch_first = 0;
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		Progress   *pr = &raft->peers[i];

		if (pr->id == raft->opt.id)
			continue;
		pr->beat = true;
		if (pr->snapshot == NULL)
			pr->snapshot_asked = false;
	}
}

VtStatus
raft_tick(Raft *raft)
{
	VtStatus	status = raft_reserve(raft, 0, 0);

	if (status != VT_OK)
		return status;
	raft->stalled_ticks = raft->seq_emitted > raft->seq_persisted ? raft->stalled_ticks + 1 : 0;
	if (raft->role == RAFT_LEADER)
		tick_leader(raft);
	else if (raft->queue_n < QUEUE_LIMIT && ++raft->election_elapsed >= raft->election_timeout)
		raft_start_campaign(raft, true, false);
	return VT_OK;
}

VtStatus
raft_campaign(Raft *raft)
{
	VtStatus	status = raft_reserve(raft, 0, 0);

	if (status == VT_OK && raft->role != RAFT_LEADER)
		raft_start_campaign(raft, true, false);
	return status;
}

void
raft_set_passive(Raft *raft, bool passive)
{
	raft->passive = passive;
}

void
raft_set_unfit(Raft *raft, uint64_t id, bool unfit)
{
	Progress   *pr = raft_peer(raft, id);

	if (pr)
		pr->unfit = unfit;
}

void
raft_forget_leader(Raft *raft)
{
	if (raft->role == RAFT_FOLLOWER)
		raft->leader = 0;
}
