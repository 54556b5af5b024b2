/*-------------------------------------------------------------------------
 *
 * raft.c
 *	  Life of a replica, and the way of every event into it.
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

#ifdef RAFT_BUGS
int			raft_bug;
#endif

/* -- Memory ---------------------------------------------------------------- */

void *
raft_alloc(const RaftAllocator *a, size_t size)
{
	return a->alloc(a->state, size);
}

void
raft_free(const RaftAllocator *a, void *p, size_t size)
{
	if (p != NULL)
		a->free(a->state, p, size);
}

/*
 * Make an array hold at least want elements.
 */
VtStatus
raft_grow(const RaftAllocator *a, void **p, size_t *size, size_t want, size_t element)
{
	size_t		next = *size < 4 ? 4 : *size;
	void	   *bigger;

	if (want <= *size)
		return VT_OK;
	while (next < want)
		next += next / 2;
	bigger = raft_alloc(a, next * element);
	if (bigger == NULL)
		return VT_NOMEM;
	if (*size > 0)
		memcpy(bigger, *p, *size * element);
	raft_free(a, *p, *size * element);
	*p = bigger;
	*size = next;
	return VT_OK;
}

/*
 * Room for what one event can add: entries (and a few of a new leader's own),
 * and one message to every member, twice, with one answer.
 */
VtStatus
raft_reserve(Raft *raft, size_t entries, size_t confs)
{
	VtStatus	status = log_reserve(&raft->log, entries + 3, confs + 2);

	if (status == VT_OK)
		status = raft_grow(raft->allocator, (void **) &raft->queue, &raft->queue_size,
						   raft->queue_n + 2 * raft->peers_n + 4, sizeof(Queued));
	return status;
}

RaftBuf *
raft_buf_new(const RaftAllocator *allocator, const void *data, uint32_t len)
{
	RaftBuf    *buf = raft_alloc(allocator, sizeof(RaftBuf) + len);

	if (buf == NULL)
		return NULL;
	buf->refs = 1;
	buf->len = len;
	buf->allocator = allocator;
	if (data != NULL)
		memcpy(buf->data, data, len);
	return buf;
}

RaftBuf *
raft_buf_ref(RaftBuf *buf)
{
	if (buf != NULL)
		__atomic_add_fetch(&buf->refs, 1, __ATOMIC_RELAXED);
	return buf;
}

void
raft_buf_release(RaftBuf *buf)
{
	if (buf != NULL && __atomic_sub_fetch(&buf->refs, 1, __ATOMIC_ACQ_REL) == 0)
		raft_free(buf->allocator, buf, sizeof(RaftBuf) + buf->len);
}

/* -- Opening and closing ---------------------------------------------------- */

void
raft_options_init(RaftOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->election_ticks = 10;
	options->heartbeat_ticks = 2;
	options->max_entry_bytes = 1 << 20;
	options->max_message_bytes = 512 << 10;
	options->max_message_entries = 1024;
	options->max_inflight_messages = 64;
	options->max_inflight_bytes = 4 << 20;
	options->max_uncommitted_bytes = 16 << 20;
	options->max_apply_bytes = 4 << 20;
	options->max_reads = 4096;
	options->transfer_max_lag = 128;
	options->promote_max_lag = 128;
	options->snapshot_first_bytes = UINT64_MAX;
}

static VtStatus
check_options(const RaftOptions *o, VtError *err)
{
	if (o->group == 0 || o->id == 0 || o->allocator == NULL)
		return vt_fail(err, VT_INVALID, "a replica needs a group, an id and an allocator");
	if (o->heartbeat_ticks == 0 || o->election_ticks <= o->heartbeat_ticks)
		return vt_fail(err, VT_INVALID, "heartbeats must be more frequent than elections");
	if (o->max_message_entries == 0 || o->max_message_entries > RAFT_MAX_MESSAGE_ENTRIES ||
		o->max_inflight_messages == 0 || o->max_inflight_bytes == 0 ||
		o->max_apply_bytes == 0 || o->max_entry_bytes == 0 || o->max_reads == 0)
		return vt_fail(err, VT_INVALID, "a limit is zero or out of range");
	return VT_OK;
}

/* Entry well formed, and possible after one of this index and term? */
static VtStatus
check_entry(const RaftEntry *entry, uint64_t index, uint64_t term)
{
	RaftConf	conf;

	if (entry->type != RAFT_NOOP && entry->type != RAFT_COMMAND && entry->type != RAFT_CONF)
		return VT_VERSION;
	if (entry->index != index + 1 || entry->term < term || entry->term == 0 ||
		(entry->data != NULL && entry->data->len != entry->size))
		return VT_PROTOCOL;
	if (entry->type == RAFT_CONF &&
		(entry->data == NULL ||
		 raft_conf_decode(bytes_of(entry->data->data, entry->data->len), &conf) != VT_OK ||
		 raft_conf_check(&conf, NULL) != VT_OK))
		return VT_PROTOCOL;
	return VT_OK;
}

static VtStatus
check_stored(const RaftStored *s, size_t *confs, VtError *err)
{
	uint64_t	index = s->base.index;
	uint64_t	term = s->base.term;

	*confs = 0;
	if (s->base.conf.n > 0 && raft_conf_check(&s->base.conf, NULL) != VT_OK)
		return vt_fail(err, VT_CORRUPT, "the configuration of the base is damaged");
	for (size_t i = 0; i < s->n; i++)
	{
		VtStatus	status = check_entry(&s->entries[i], index, term);

		if (status == VT_VERSION)
			return vt_fail(err, status, "entry %llu has an unrecognized type %u",
						   (unsigned long long) (index + 1), s->entries[i].type);
		if (status != VT_OK)
			return vt_fail(err, VT_CORRUPT, "log entry %llu is damaged or missing",
						   (unsigned long long) (index + 1));
		index = s->entries[i].index;
		term = s->entries[i].term;
		*confs += s->entries[i].type == RAFT_CONF;
	}
	if (s->hard.term == 0 && s->hard.vote != 0)
		return vt_fail(err, VT_CORRUPT, "there is a vote but no term it was given in");
	if (s->hard.term == 0 && s->n == 0)
		return s->applied == s->base.index ? VT_OK :
			vt_fail(err, VT_CORRUPT, "a state machine was found without its log");
	if (s->hard.term < term)
		return vt_fail(err, VT_CORRUPT, "the log is of a later term than the replica");
	if (s->hard.last_index != index || s->hard.last_term != term)
		return vt_fail(err, VT_CORRUPT, "the log ends at %llu but was written up to %llu",
					   (unsigned long long) index, (unsigned long long) s->hard.last_index);
	if (s->applied > index)
		return vt_fail(err, VT_CORRUPT, "the log ends at %llu but %llu was applied: part of it is lost",
					   (unsigned long long) index, (unsigned long long) s->applied);
	if (s->applied < s->base.index)
		return vt_fail(err, VT_CORRUPT, "the log begins after %llu but only %llu was applied",
					   (unsigned long long) s->base.index, (unsigned long long) s->applied);
	return VT_OK;
}

VtStatus
raft_open(const RaftOptions *options, const RaftStored *stored, Raft **out, VtError *err)
{
	Raft	   *raft;
	size_t		confs;
	VtStatus	status;

	*out = NULL;
	status = check_options(options, err);
	if (status == VT_OK)
		status = check_stored(stored, &confs, err);
	if (status != VT_OK)
		return status;

	raft = raft_alloc(options->allocator, sizeof(Raft));
	if (raft == NULL)
		return vt_fail(err, VT_NOMEM, "out of memory for a replica");
	memset(raft, 0, sizeof(*raft));
	raft->opt = *options;
	raft->allocator = options->allocator;
	raft->prng.state = options->seed;
	raft->log.allocator = options->allocator;
	log_reset(&raft->log, &stored->base);
	raft->log.conf = stored->base.conf;
	raft->log.conf_index = stored->base.conf_index;
	status = raft_reserve(raft, stored->n, confs);
	if (status != VT_OK)
	{
		raft_close(raft);
		return vt_fail(err, status, "out of memory for a log of %zu entries", stored->n);
	}
	for (size_t i = 0; i < stored->n; i++)
		log_append(&raft->log, &stored->entries[i]);
	raft->log.stable = raft->log.emitted = log_last(&raft->log);

	raft->term = stored->hard.term;
	raft->vote = RAFT_BUG(4) ? 0 : stored->hard.vote;
	if (raft->term < log_last_term(&raft->log))
		raft->term = log_last_term(&raft->log); /* a new group that begins late */

	/* The stored commit index is a hint and may be behind [P6]. */
	raft->commit = stored->hard.commit;
	if (raft->commit > log_last(&raft->log))
		raft->commit = log_last(&raft->log);
	if (raft->commit < stored->applied)
		raft->commit = stored->applied;
	raft->handed_out = raft->applied = stored->applied;

	raft_sync_peers(raft);
	raft_reset_timeout(raft);
	raft->told_conf = raft->log.conf_index;
	raft->told_term = raft->term;
	*out = raft;
	return VT_OK;
}

void
raft_close(Raft *raft)
{
	const RaftAllocator *a;

	if (raft == NULL)
		return;
	a = raft->allocator;
	for (uint32_t i = 0; i < raft->peers_n; i++)
		progress_free(&raft->peers[i], a);
	log_free(&raft->log);
	raft_free(a, raft->incoming, sizeof(RaftSnapshot));
	raft_free(a, raft->reads, raft->reads_size * sizeof(Read));
	raft_free(a, raft->reads_done, raft->reads_done_size * sizeof(RaftRead));
	raft_free(a, raft->queue, raft->queue_size * sizeof(Queued));
	raft_free(a, raft->out, raft->out_size * sizeof(RaftMessage));
	raft_free(a, raft->out_reads, raft->out_reads_size * sizeof(RaftRead));
	raft_free(a, raft, sizeof(Raft));
}

/* -- Members ---------------------------------------------------------------- */

Progress *
raft_peer(Raft *raft, uint64_t id)
{
	for (uint32_t i = 0; i < raft->peers_n; i++)
		if (raft->peers[i].id == id)
			return &raft->peers[i];
	return NULL;
}

bool
raft_is_voter(const Raft *raft, uint64_t id)
{
	const RaftMember *member = raft_conf_find(&raft->log.conf, id);

	return member != NULL && (member->roles & (RAFT_VOTER | RAFT_VOTER_OLD)) != 0;
}

/*
 * Bring peers in line with the configuration, keeping what is known of those
 * that stay.  A leader asks the new configuration about reads under way.
 */
void
raft_sync_peers(Raft *raft)
{
	Progress	old[RAFT_MAX_MEMBERS];
	uint32_t	old_n = raft->peers_n;
	uint32_t	k = 0;

	memcpy(old, raft->peers, old_n * sizeof(Progress));
	raft->peers_n = raft->log.conf.n;
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		Progress   *pr = &raft->peers[i];
		uint64_t	id = raft->log.conf.members[i].id;

		for (; k < old_n && old[k].id < id; k++)
			progress_free(&old[k], raft->allocator);
		if (k < old_n && old[k].id == id)
			*pr = old[k++];
		else
		{
			memset(pr, 0, sizeof(*pr));
			pr->id = id;
			progress_reset(pr, raft->allocator, log_last(&raft->log));
			if (pr->next == 0)
				pr->next = 1;
			if (id == raft->opt.id)
				pr->match = raft->log.stable;
		}
		if (raft->role == RAFT_LEADER)
			pr->beat = raft->reads_n > 0 || pr->beat;
	}
	for (; k < old_n; k++)
		progress_free(&old[k], raft->allocator);
	if (raft->transfer_to != 0 && !raft_is_voter(raft, raft->transfer_to))
		raft_transfer_abort(raft);
}

/* -- Messages to send ------------------------------------------------------- */

/* The seq after which all that is in memory now is durable; 0: it is. */
uint64_t
raft_unwritten_seq(const Raft *raft)
{
	if (raft->hard_dirty || raft->install || raft->log.emitted < log_last(&raft->log))
		return raft->seq_emitted + 1;
	return raft->seq_emitted > raft->seq_persisted ? raft->seq_emitted : 0;
}

static void
enqueue(Raft *raft, RaftMessage *m, uint64_t after)
{
	Queued	   *slot;

	m->group = raft->opt.group;
	m->from = raft->opt.id;
	if (m->term == 0)
		m->term = raft->term;

	/* Acknowledgements that wait for the same write are one. */
	if (raft->queue_n > 0 && after != 0 && m->type == RAFT_APP_RESP && m->flags == 0)
	{
		slot = &raft->queue[raft->queue_n - 1];
		if (slot->after == after && slot->message.type == RAFT_APP_RESP &&
			slot->message.flags == 0 && slot->message.to == m->to &&
			slot->message.term == m->term)
		{
			if (slot->message.index < m->index)
				slot->message.index = m->index;
			return;
		}
	}
	Assert(raft->queue_n < raft->queue_size);
	slot = &raft->queue[raft->queue_n++];
	slot->message = *m;
	slot->after = after;
}

/* Send with the next Ready. */
void
raft_queue(Raft *raft, RaftMessage *m)
{
	enqueue(raft, m, 0);
}

/*
 * Send when all that is in memory now is durable: what the message says must
 * still be true after a crash [P1, P2].
 */
void
raft_queue_durable(Raft *raft, RaftMessage *m)
{
	enqueue(raft, m, raft_unwritten_seq(raft));
}

/* -- Events ----------------------------------------------------------------- */

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
		VtStatus	status = check_entry(entry, index, term);

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
raft_forget_leader(Raft *raft)
{
	if (raft->role == RAFT_FOLLOWER)
		raft->leader = 0;
}
