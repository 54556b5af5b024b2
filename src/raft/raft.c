/*-------------------------------------------------------------------------
 *
 * raft.c
 *	  What every part of a replica needs: memory, its members, messages to send.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

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
			slot->message.commit = m->commit;
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
