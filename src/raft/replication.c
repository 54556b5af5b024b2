/*-------------------------------------------------------------------------
 *
 * replication.c
 *	  Appending, acknowledging, committing, and choosing what to send.
 *
 * Sections 3.5, 3.6 and 10.2 of the Raft dissertation.  Events only change what
 * is known of a peer (Progress); the messages follow from it when a Ready is
 * collected, so proposals that arrive together travel together, a moved commit
 * index leaves in the same cycle, and nothing has to be copied: an APP points
 * into the log.
 *
 * Follower: an entry is acknowledged when it is durable here and its
 * predecessors were found to match the leader's log [P1, P10].
 * Leader: sends before its own disk has the entries, but counts itself only
 * afterwards [P3].
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

typedef enum Send
{
	SEND_NOTHING,
	SEND_APP,					/* with the entries that fit */
	SEND_EMPTY,					/* to learn where the peer stands */
	SEND_FETCH,					/* its next entry is not resident */
	SEND_ASK_SNAPSHOT,
	SEND_SNAPSHOT
} Send;

/* -- Committing ------------------------------------------------------------ */

/* Leader: is an entry of its own term committed? */
bool
raft_term_committed(const Raft *raft)
{
	return raft->role == RAFT_LEADER && raft->commit >= raft->term_start;
}

void
raft_commit_to(Raft *raft, uint64_t index)
{
	if (index <= raft->commit)
		return;
	Assert(index <= log_last(&raft->log));
	if (raft->role == RAFT_LEADER)
		for (uint64_t i = raft->commit + 1; i <= index; i++)
			raft->uncommitted_bytes -= log_entry(&raft->log, i)->size;
	raft->commit = index;
	if (raft_term_committed(raft))
	{
		raft_reads_assign(raft);
		raft_maybe_leave_joint(raft);
		raft_step_down_when_removed(raft);
	}
}

/*
 * Section 3.6.2: commit by counting only what is of the own term; what stands
 * before it is committed with it (the case of Figure 3.7, libraft#220).
 */
void
raft_maybe_commit(Raft *raft)
{
	uint64_t	values[RAFT_MAX_MEMBERS];
	uint64_t	index;

	if (raft->role != RAFT_LEADER)
		return;
	for (uint32_t i = 0; i < raft->peers_n; i++)
		values[i] = raft->peers[i].match;
	if (RAFT_BUG(26) && raft_peer(raft, raft->opt.id) == NULL)
		values[0] = log_last(&raft->log);
	if (RAFT_BUG(40) && raft_peer(raft, raft->opt.id) != NULL)
		values[raft_peer(raft, raft->opt.id) - raft->peers] = log_last(&raft->log);
	index = quorum_index(&raft->log.conf, values);
	if (index > raft->commit && index <= log_last(&raft->log) &&
		(log_matches(&raft->log, index, raft->term) || RAFT_BUG(1)))
		raft_commit_to(raft, index);
}

/*
 * Append an entry of the leader's own.  Room was reserved.
 */
void
raft_append_own(Raft *raft, RaftEntryType type, RaftBuf *data)
{
	RaftEntry	entry = {
		.index = log_last(&raft->log) + 1,
		.term = raft->term,
		.type = (uint8_t) type,
		.size = data != NULL ? data->len : 0,
		.data = data
	};

	log_append(&raft->log, &entry);
	raft->uncommitted_bytes += entry.size;
	if (type == RAFT_CONF)
	{
		raft_sync_peers(raft);
		/* Fewer voters may already agree on what stands before. */
		if (!RAFT_BUG(44))
			raft_reads_confirm(raft);
		raft_maybe_commit(raft);
	}
}

VtStatus
raft_propose(Raft *raft, RaftBuf *const *commands, size_t n, uint64_t *first, uint64_t *term)
{
	uint64_t	bytes = 0;
	VtStatus	status;

	if (raft->role != RAFT_LEADER)
		return VT_NOT_LEADER;
	if (n == 0)
		return VT_INVALID;
	if (raft->transfer_to != 0)
		return VT_BUSY;
	for (size_t i = 0; i < n; i++)
	{
		if (commands[i] != NULL && commands[i]->len > raft->opt.max_entry_bytes)
			return VT_FULL;
		bytes += commands[i] != NULL ? commands[i]->len : 0;
	}
	if (raft->uncommitted_bytes > 0 &&
		raft->uncommitted_bytes + bytes > raft->opt.max_uncommitted_bytes)
		return VT_BUSY;
	status = raft_reserve(raft, n, 0);
	if (status != VT_OK)
		return status;
	if (first != NULL)
		*first = log_last(&raft->log) + 1;
	if (term != NULL)
		*term = raft->term;
	for (size_t i = 0; i < n; i++)
		raft_append_own(raft, RAFT_COMMAND,
						commands[i] != NULL && commands[i]->len > 0 ? commands[i] : NULL);
	return VT_OK;
}

/* -- Follower -------------------------------------------------------------- */

/*
 * Take over the entries of a message whose predecessor matches.  Entries that
 * are already here stay, also those after a short or old message: only a real
 * conflict removes anything (section 3.5).
 */
static VtStatus
take_entries(Raft *raft, const RaftMessage *m)
{
	RaftLog    *log = &raft->log;
	uint64_t	before;
	uint32_t	i = 0;

	while (i < m->n && m->entries[i].index <= log_last(log) &&
		   (m->entries[i].index <= log->base ||
			log_matches(log, m->entries[i].index, m->entries[i].term)))
		i++;
	if (i < m->n && (m->entries[i].index <= raft->commit ||
					 (log_term(log, m->entries[i].index - 1, &before) &&
					  before > m->entries[i].term)))
		return VT_CORRUPT;		/* contradicts what is committed */
	if (i < m->n && m->entries[i].index <= log_last(log))
	{
		log_truncate(log, m->entries[i].index);
		raft_sync_peers(raft);
	}
	if (RAFT_BUG(11) && m->index + m->n < log_last(log) && m->index + m->n >= raft->commit)
		log_truncate(log, m->index + m->n + 1);
	for (; i < m->n; i++)
	{
		log_append(log, &m->entries[i]);
		if (m->entries[i].type == RAFT_CONF)
			raft_sync_peers(raft);
	}
	return VT_OK;
}

VtStatus
raft_handle_append(Raft *raft, const RaftMessage *m)
{
	RaftMessage resp = {.type = RAFT_APP_RESP, .to = m->from, .term = raft->term, .commit = raft->applied};
	uint64_t	verified = m->index + m->n;

	if (raft_installing(raft))
		return VT_OK;
	/* What is committed matches every leader. */
	if (m->index < raft->commit || log_matches(&raft->log, m->index, m->log_term))
	{
		VtStatus	status = take_entries(raft, m);

		if (status != VT_OK)
			return status;
		if (verified < raft->commit)
			verified = raft->commit;
		/* Not beyond what this message verified (scylla#9965). */
		if (RAFT_BUG(6))
			verified = log_last(&raft->log);
		raft_commit_to(raft, m->commit < verified ? m->commit : verified);
		resp.index = verified;
	}
	else
	{
		resp.flags = RAFT_FLAG_REJECT;
		resp.index = m->index;
		resp.hint = log_hint(&raft->log, m->index, m->log_term);
		if (resp.hint < raft->commit)
			resp.hint = raft->commit;
		(void) log_term(&raft->log, resp.hint, &resp.log_term);
	}
	if (RAFT_BUG(2))
		raft_queue(raft, &resp);
	else
		raft_queue_durable(raft, &resp);
	return VT_OK;
}

/*
 * A heartbeat's commit index was clipped by the leader to what it knows that we
 * have; beyond our log it can only come from one who knows us wrongly.
 */
void
raft_handle_heartbeat(Raft *raft, const RaftMessage *m)
{
	RaftMessage resp = {.type = RAFT_HEARTBEAT_RESP, .to = m->from, .term = raft->term,
	.commit = raft->applied, .read_seq = m->read_seq};

	if (m->commit <= log_last(&raft->log) && !raft_installing(raft))
		raft_commit_to(raft, m->commit);
	if ((m->flags & RAFT_FLAG_QUIET) == 0)
		raft_queue(raft, &resp);
}

/* -- Leader: answers ------------------------------------------------------- */

/* How far a peer has applied, for those who look: nothing is decided by it. */
static void
note_applied(const Raft *raft, Progress *pr, const RaftMessage *m)
{
	if (m->commit != 0 && m->commit <= log_last(&raft->log))
		pr->applied = m->commit;
}

static void
handle_reject(Raft *raft, Progress *pr, const RaftMessage *m)
{
	uint64_t	next;

	switch (pr->state)
	{
		case RAFT_SNAPSHOT:
			return;
		case RAFT_REPLICATE:
			/* An old answer that was overtaken; RP14. */
			if (m->index <= pr->match && !RAFT_BUG(8))
				return;
			progress_probe(pr, raft->allocator, pr->match + 1);
			return;
		case RAFT_PROBE:
			if (m->index != pr->next - 1 && !RAFT_BUG(8))
				return;
			next = log_hint(&raft->log, m->hint, m->log_term) + 1;
			if (next > m->index)
				next = m->index;
			progress_probe(pr, raft->allocator, next > 0 ? next : 1);
			return;
	}
}

void
raft_handle_append_resp(Raft *raft, const RaftMessage *m)
{
	Progress   *pr = raft_peer(raft, m->from);
	bool		moved;

	if (pr == NULL || pr->id == raft->opt.id)
		return;
	pr->active = true;
	pr->silent = 0;
	note_applied(raft, pr, m);
	if ((m->flags & RAFT_FLAG_REJECT) != 0)
	{
		handle_reject(raft, pr, m);
		return;
	}
	/* An index we never sent: no harm may come of it (willemt#127). */
	if (m->index > log_last(&raft->log))
		return;

	moved = m->index > pr->match || (RAFT_BUG(7) && m->index != pr->match);
	if (moved)
	{
		pr->match = m->index;
		if (pr->next <= pr->match)
			pr->next = pr->match + 1;
	}
	progress_acked(pr, m->index);
	switch (pr->state)
	{
		case RAFT_PROBE:
			if (moved || m->index == pr->match)
				progress_replicate(pr, raft->allocator);
			break;
		case RAFT_SNAPSHOT:
			/* However it got there: the log reaches far enough again. */
			if (pr->match >= raft->log.base && pr->match > 0)
				progress_replicate(pr, raft->allocator);
			break;
		case RAFT_REPLICATE:
			break;
	}
	if (!moved)
		return;
	raft_maybe_commit(raft);

	/* Committing may have changed the members, or our role. */
	pr = raft_peer(raft, m->from);
	if (raft->role == RAFT_LEADER && pr != NULL)
		raft_transfer_progress(raft, pr);
}

void
raft_handle_heartbeat_resp(Raft *raft, const RaftMessage *m)
{
	Progress   *pr = raft_peer(raft, m->from);

	if (pr == NULL || pr->id == raft->opt.id)
		return;
	pr->active = true;
	pr->silent = 0;
	pr->paused = false;
	note_applied(raft, pr, m);

	/*
	 * If everything in the window was lost nobody would ever answer: one empty
	 * APP behind it finds out (etcd#14633).
	 */
	if (pr->state == RAFT_REPLICATE && pr->inflight_n > 0 && !RAFT_BUG(31))
		pr->poke = true;
	if (RAFT_BUG(13))
		pr->read_seq = raft->read_seq;
	else if (m->read_seq > pr->read_seq && m->read_seq <= raft->read_seq)
		pr->read_seq = m->read_seq;
	raft_reads_confirm(raft);
}

void
raft_report_unreachable(Raft *raft, uint64_t id)
{
	Progress   *pr = raft_peer(raft, id);

	if (raft->role != RAFT_LEADER || pr == NULL)
		return;
	raft_transfer_unreachable(raft, pr);
	if (pr->state == RAFT_REPLICATE)
		progress_probe(pr, raft->allocator, pr->match + 1);
}

/* -- Leader: what to send --------------------------------------------------- */

/*
 * A peer that has nothing is given the state: a log of some length costs it more to
 * apply than what the log has come to.
 */
static bool
snapshot_first(const Raft *raft, const Progress *pr)
{
	return pr->state == RAFT_PROBE && pr->match == 0 && pr->next == 1 &&
		raft->log.bytes > raft->opt.snapshot_first_bytes && raft->applied > 0;
}

/*
 * What this peer should get next.  With SEND_APP *n is the number of entries
 * from pr->next on (0: empty) and *bytes their payload.
 */
static Send
next_send(const Raft *raft, const Progress *pr, uint32_t *n, uint64_t *bytes)
{
	const RaftEntry *entry;

	*n = 0;
	*bytes = 0;
	if (pr->state == RAFT_SNAPSHOT)
	{
		if (pr->snapshot == NULL)
			return pr->snapshot_asked || !pr->active ? SEND_NOTHING : SEND_ASK_SNAPSHOT;
		return pr->snapshot_sent ? SEND_NOTHING : SEND_SNAPSHOT;
	}
	if (pr->state == RAFT_PROBE && pr->paused)
		return SEND_NOTHING;
	if (pr->state == RAFT_REPLICATE && !pr->poke && pr->next > log_last(&raft->log))
		return SEND_NOTHING;
	if (pr->next <= raft->log.base || snapshot_first(raft, pr))
		return pr->active ? SEND_ASK_SNAPSHOT : SEND_NOTHING;
	if (pr->poke)
		return SEND_EMPTY;
	if (pr->state == RAFT_REPLICATE && progress_full(pr, &raft->opt))
		return SEND_NOTHING;

	for (; *n < raft->opt.max_message_entries; (*n)++)
	{
		entry = log_entry(&raft->log, pr->next + *n);
		if (entry == NULL || (entry->size > 0 && entry->data == NULL))
			break;
		if (*n > 0 && *bytes + entry->size > raft->opt.max_message_bytes)
			break;
		*bytes += entry->size;
	}
	if (*n > 0)
		return SEND_APP;
	if (pr->state == RAFT_PROBE)
		return SEND_EMPTY;
	return raft->fetch_first == 0 ? SEND_FETCH : SEND_NOTHING;
}

static uint64_t
told_commit(const Raft *raft, const Progress *pr)
{
	if (RAFT_BUG(39))
		return raft->commit;
	return pr->match < raft->commit ? pr->match : raft->commit;
}

/* Would raft_send() produce anything? */
bool
raft_wants_to_send(const Raft *raft)
{
	uint32_t	n;
	uint64_t	bytes;

	if (raft->role != RAFT_LEADER)
		return false;
	if (raft_reads_open(raft))
		return true;
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		const Progress *pr = &raft->peers[i];

		if (pr->id == raft->opt.id)
			continue;
		if (pr->beat || pr->sent_commit < told_commit(raft, pr) ||
			next_send(raft, pr, &n, &bytes) != SEND_NOTHING)
			return true;
	}
	return false;
}

/* The most messages raft_send() produces. */
size_t
raft_send_limit(const Raft *raft)
{
	return raft->role == RAFT_LEADER ? (size_t) raft->peers_n * (APPS_PER_READY + 1) : 0;
}

static RaftMessage *
new_message(Raft *raft, RaftMessage *out, size_t *n, uint8_t type, uint64_t to)
{
	RaftMessage *m = &out[(*n)++];

	memset(m, 0, sizeof(*m));
	m->type = type;
	m->group = raft->opt.group;
	m->from = raft->opt.id;
	m->to = to;
	m->term = raft->term;
	return m;
}

static void
send_append(Raft *raft, Progress *pr, uint32_t n, uint64_t bytes, RaftMessage *m)
{
	uint64_t	verified = pr->next - 1 + n;

	m->index = pr->next - 1;
	(void) log_term(&raft->log, m->index, &m->log_term);
	m->commit = raft->commit;
	m->entries = n > 0 ? log_entry(&raft->log, pr->next) : NULL;
	m->n = n;
	pr->poke = false;
	if (pr->state == RAFT_PROBE)
		pr->paused = true;
	else if (n > 0)
	{
		progress_sent(pr, verified, bytes);
		pr->next += n;
	}
	if (verified > raft->commit)
		verified = raft->commit;
	if (pr->state == RAFT_REPLICATE && pr->sent_commit < verified)
		pr->sent_commit = verified;
}

static void
want_fetch(Raft *raft, const Progress *pr, RaftFetch *fetch)
{
	uint64_t	last = pr->next;
	uint64_t	bytes = log_entry(&raft->log, last)->size;

	while (last < raft->log.stable && last - pr->next < raft->opt.max_message_entries)
	{
		const RaftEntry *entry = log_entry(&raft->log, last + 1);

		if (entry->data != NULL || bytes + entry->size > raft->opt.max_message_bytes)
			break;
		bytes += entry->size;
		last++;
	}
	raft->fetch_first = fetch->first = pr->next;
	raft->fetch_last = fetch->last = last;
}

static void
send_to(Raft *raft, Progress *pr, RaftMessage *out, size_t *n, uint64_t *snapshots,
		size_t *snapshots_n, RaftFetch *fetch)
{
	RaftMessage *m;
	uint64_t	commit;

	for (int k = 0; k < APPS_PER_READY; k++)
	{
		uint32_t	entries;
		uint64_t	bytes;
		Send		kind = next_send(raft, pr, &entries, &bytes);

		if (kind == SEND_NOTHING)
			break;
		switch (kind)
		{
			case SEND_NOTHING:
				break;
			case SEND_APP:
			case SEND_EMPTY:
				m = new_message(raft, out, n, RAFT_APP, pr->id);
				send_append(raft, pr, entries, bytes, m);
				break;
			case SEND_FETCH:
				want_fetch(raft, pr, fetch);
				break;
			case SEND_ASK_SNAPSHOT:
				progress_snapshot(pr, raft->allocator);
				pr->snapshot_asked = true;
				snapshots[(*snapshots_n)++] = pr->id;
				break;
			case SEND_SNAPSHOT:
				m = new_message(raft, out, n, RAFT_SNAP, pr->id);
				m->snapshot = pr->snapshot;
				m->index = pr->snapshot->index;
				m->log_term = pr->snapshot->term;
				pr->snapshot_sent = true;
				break;
		}
	}
	commit = told_commit(raft, pr);
	if (pr->beat || pr->sent_commit < commit)
	{
		m = new_message(raft, out, n, RAFT_HEARTBEAT, pr->id);
		m->commit = commit;
		m->read_seq = raft->read_seq;
		m->flags = pr->beat ? 0 : RAFT_FLAG_QUIET;
		if (pr->sent_commit < commit)
			pr->sent_commit = commit;
		pr->beat = false;
	}
}

/*
 * Collect what is to be sent now, peers in ascending order.  out has room for
 * raft_send_limit() more, and every window for APPS_PER_READY.
 */
void
raft_send(Raft *raft, RaftMessage *out, size_t *n, uint64_t *snapshots, size_t *snapshots_n,
		  RaftFetch *fetch)
{
	if (raft->role != RAFT_LEADER)
		return;
	if (raft_reads_open(raft))
	{
		raft->read_seq++;
		for (uint32_t i = 0; i < raft->peers_n; i++)
			raft->peers[i].beat = true;
		raft_reads_confirm(raft);	/* alone, we are the quorum */
	}
	for (uint32_t i = 0; i < raft->peers_n; i++)
		if (raft->peers[i].id != raft->opt.id)
			send_to(raft, &raft->peers[i], out, n, snapshots, snapshots_n, fetch);
}
