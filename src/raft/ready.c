/*-------------------------------------------------------------------------
 *
 * ready.c
 *	  Collecting the duties of a replica, and hearing that they are done.
 *
 * The order in which things reach the disk and the network is the heart of
 * Raft's safety and is decided here: messages that speak of durable state are
 * kept back until it is durable [P1, P2], and entries are handed to the applier
 * only when they are committed and durable [P4].
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

/* Up to where may entries be applied? */
static uint64_t
applicable(const Raft *raft)
{
	if (raft_installing(raft))
		return raft->handed_out;
	if (RAFT_BUG(28))
		return raft->commit;
	return raft->commit < raft->log.stable ? raft->commit : raft->log.stable;
}

/* How many more entries may be handed out, and how large they are. */
static size_t
next_page(const Raft *raft, uint64_t *bytes)
{
	uint64_t	end = applicable(raft);
	uint64_t	index = raft->handed_out;

	*bytes = 0;
	while (index < end && raft->applying_bytes + *bytes < raft->opt.max_apply_bytes)
	{
		index++;
		/* An entry without payload weighs a little too. */
		*bytes += log_entry(&raft->log, index)->size + 1;
	}
	return (size_t) (index - raft->handed_out);
}

static bool
sendable(const Raft *raft)
{
	for (size_t i = 0; i < raft->queue_n; i++)
		if (raft->queue[i].after <= raft->seq_persisted)
			return true;
	return false;
}

/* Not for the commit index alone, which is a hint [P6]. */
static bool
must_write(const Raft *raft)
{
	if (RAFT_BUG(51) && raft->handed_out < raft->commit)
		return true;
	return raft->hard_dirty || raft->install || raft->log.emitted < log_last(&raft->log);
}

static bool
role_changed(const Raft *raft)
{
	return raft->role != raft->told_role || raft->term != raft->told_term ||
		raft->leader != raft->told_leader || raft->log.conf_index != raft->told_conf;
}

bool
raft_has_ready(const Raft *raft)
{
	uint64_t	bytes;

	return must_write(raft) || raft->reads_done_n > 0 || role_changed(raft) ||
		raft->gone != raft->told_gone || next_page(raft, &bytes) > 0 || sendable(raft) ||
		raft_wants_to_send(raft);
}

/* All memory the next Ready can need. */
static VtStatus
reserve_ready(Raft *raft)
{
	VtStatus	status;

	status = raft_grow(raft->allocator, (void **) &raft->out, &raft->out_size,
					   raft->queue_n + raft_send_limit(raft), sizeof(RaftMessage));
	if (status == VT_OK)
		status = raft_grow(raft->allocator, (void **) &raft->out_reads, &raft->out_reads_size,
						   raft->reads_done_n + raft->reads_n, sizeof(RaftRead));
	if (status == VT_OK)
		status = log_reserve_write(&raft->log);
	for (uint32_t i = 0; status == VT_OK && raft->role == RAFT_LEADER && i < raft->peers_n; i++)
		if (raft->peers[i].id != raft->opt.id)
			status = progress_reserve(&raft->peers[i], raft->allocator, APPS_PER_READY);
	return status;
}

/*
 * Of no use to anybody any more: an answer of an earlier term, or a request for
 * votes in a campaign that is over.
 */
static bool
out_of_date(const Raft *raft, const RaftMessage *m)
{
	if (m->type == RAFT_VOTE && raft->role != RAFT_CANDIDATE)
		return true;
	if (m->type == RAFT_PREVOTE && raft->role != RAFT_PRECANDIDATE)
		return true;
	return m->term < raft->term;
}

/* Move what may leave from the queue to out. */
static size_t
take_queue(Raft *raft)
{
	size_t		n = 0;
	size_t		kept = 0;

	for (size_t i = 0; i < raft->queue_n; i++)
	{
		Queued	   *q = &raft->queue[i];

		if (q->after > raft->seq_persisted)
			raft->queue[kept++] = *q;
		else if (!out_of_date(raft, &q->message))
			raft->out[n++] = q->message;
	}
	raft->queue_n = kept;
	return n;
}

static void
fill_write(Raft *raft, RaftReady *rd)
{
	RaftLog    *log = &raft->log;

	rd->seq = ++raft->seq_emitted;
	rd->hard.term = raft->term;
	rd->hard.vote = raft->vote;
	rd->hard.commit = raft->commit;
	rd->hard.last_index = log_last(log);
	rd->hard.last_term = log_last_term(log);
	rd->truncate_from = RAFT_BUG(10) ? 0 : log->truncate_from;
	rd->append_n = (size_t) (log_last(log) - log->emitted);
	rd->append = rd->append_n > 0 ? log_entry(log, log->emitted + 1) : NULL;
	log_written(log, rd->seq);
	raft->hard_dirty = false;
	if (raft->install)
	{
		rd->snapshot = raft->incoming;
		raft->install = false;
		raft->installing = rd->seq;
	}
}

VtStatus
raft_ready(Raft *raft, RaftReady *rd)
{
	VtStatus	status;
	uint64_t	bytes;

	memset(rd, 0, sizeof(*rd));
	status = reserve_ready(raft);
	if (status != VT_OK)
		return status;

	rd->messages = raft->out;
	rd->messages_n = take_queue(raft);
	rd->snapshots_to = raft->out_snapshots;
	raft_send(raft, raft->out, &rd->messages_n, raft->out_snapshots, &rd->snapshots_to_n,
			  &rd->fetch);

	if (must_write(raft))
		fill_write(raft, rd);

	rd->committed_n = next_page(raft, &bytes);
	if (rd->committed_n > 0)
	{
		rd->committed = log_entry(&raft->log, raft->handed_out + 1);
		raft->handed_out += rd->committed_n;
		raft->applying_bytes += bytes;
	}

	rd->reads = raft->out_reads;
	rd->reads_n = raft->reads_done_n;
	if (rd->reads_n > 0)
		memcpy(raft->out_reads, raft->reads_done, rd->reads_n * sizeof(RaftRead));
	raft->reads_done_n = 0;

	rd->role = raft->role;
	rd->term = raft->term;
	rd->leader = raft->leader;
	rd->role_changed = role_changed(raft);
	rd->gone = raft->gone;
	raft->told_role = raft->role;
	raft->told_term = raft->term;
	raft->told_leader = raft->leader;
	raft->told_conf = raft->log.conf_index;
	raft->told_gone = raft->gone;
	return VT_OK;
}

VtStatus
raft_persisted(Raft *raft, uint64_t seq)
{
	VtStatus	status;
	Progress   *self;

	if (seq > raft->seq_emitted)
		return VT_INVALID;
	if (seq <= raft->seq_persisted)
		return VT_OK;
	status = raft_reserve(raft, 0, 0);
	if (status != VT_OK)
		return status;

	raft->seq_persisted = seq;
	raft->stalled_ticks = 0;
	log_persisted(&raft->log, seq);
	if (raft->installing != 0 && raft->installing <= seq)
	{
		raft->installing = 0;
		raft_free(raft->allocator, raft->incoming, sizeof(RaftSnapshot));
		raft->incoming = NULL;
	}

	if (raft->role == RAFT_LEADER)
	{
		self = raft_peer(raft, raft->opt.id);
		if (self != NULL && self->match < raft->log.stable)
		{
			self->match = raft->log.stable;
			self->next = self->match + 1;
			raft_maybe_commit(raft);
		}
	}
	raft_own_vote_durable(raft);
	return VT_OK;
}

VtStatus
raft_applied(Raft *raft, uint64_t index)
{
	if (index > raft->handed_out)
		return VT_INVALID;
	while (raft->applied < index)
	{
		raft->applied++;
		raft->applying_bytes -= log_entry(&raft->log, raft->applied)->size + 1;
	}
	return VT_OK;
}
