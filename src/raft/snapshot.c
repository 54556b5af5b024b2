/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  A state machine's state in place of a long log.
 *
 * Chapter 5 of the Raft dissertation.  The core knows a snapshot only by its
 * descriptor; data travels in chunks beside the messages and is staged by the
 * caller, who steps the SNAP message when all of it is there.  What a snapshot
 * holds is committed, so its term does not matter: one begun under an
 * earlier leader is still of use.
 *
 * From accepting one until raft_persisted() says that it is installed a replica
 * answers no append and does not campaign: after a crash it would stand where it
 * stood before.
 *
 * A snapshot whose configuration does not name this replica is installed all
 * the same: a learner that was just added is named only in an entry after it.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

bool
raft_installing(const Raft *raft)
{
	return raft->install || raft->installing != 0;
}

/*
 * The one event that needs one more object; before anything has moved.
 */
VtStatus
raft_reserve_snapshot(Raft *raft)
{
	if (raft->incoming == NULL)
		raft->incoming = raft_alloc(raft->allocator, sizeof(RaftSnapshot));
	return raft->incoming != NULL ? VT_OK : VT_NOMEM;
}

void
raft_handle_snapshot(Raft *raft, const RaftMessage *m)
{
	const RaftSnapshot *snapshot = m->snapshot;
	RaftMessage resp = {.type = RAFT_APP_RESP, .to = m->from, .term = raft->term, .commit = raft->applied};

	if (raft->role == RAFT_LEADER || raft_installing(raft))
		return;
	if (snapshot->index <= raft->commit)
	{
		resp.index = raft->commit;
		raft_queue_durable(raft, &resp);
		return;
	}
	if (log_matches(&raft->log, snapshot->index, snapshot->term))
	{
		/* We have all of it; all we learn is that it is committed. */
		raft_commit_to(raft, snapshot->index);
		resp.index = snapshot->index;
		raft_queue_durable(raft, &resp);
		return;
	}

	if (raft->role != RAFT_FOLLOWER)
		raft_become_follower(raft, raft->term, raft->leader);
	*raft->incoming = *snapshot;
	raft->install = true;
	log_reset(&raft->log, snapshot);
	raft_sync_peers(raft);
	raft->commit = snapshot->index;
	raft->handed_out = snapshot->index;
	raft->applied = snapshot->index;
	raft->applying_bytes = 0;
	resp.index = resp.commit = snapshot->index;
	if (RAFT_BUG(29))
		raft_queue(raft, &resp);
	else
		raft_queue_durable(raft, &resp);
}

VtStatus
raft_snapshot_at(const Raft *raft, uint64_t index, RaftSnapshot *out)
{
	if (index < raft->log.base || index > raft->applied)
		return VT_INVALID;
	if (raft_installing(raft))
		return VT_BUSY;
	memset(out, 0, sizeof(*out));
	out->index = index;
	(void) log_term(&raft->log, index, &out->term);
	log_conf_at(&raft->log, RAFT_BUG(22) ? log_last(&raft->log) : index, &out->conf,
				&out->conf_index);
	return out->conf.n > 0 ? VT_OK : VT_BEHIND;
}

VtStatus
raft_compact(Raft *raft, uint64_t index)
{
	RaftSnapshot base;
	VtStatus	status;

	if (index <= raft->log.base)
		return VT_OK;
	status = raft_snapshot_at(raft, index, &base);
	if (status != VT_OK)
		return status;
	log_compact(&raft->log, index);
	if (raft->fetch_first != 0 && raft->fetch_first <= index)
		raft->fetch_first = 0;
	return VT_OK;
}

void
raft_evict(Raft *raft, uint64_t index)
{
	log_evict(&raft->log, index);
}

VtStatus
raft_fetched(Raft *raft, const RaftEntry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (log_matches(&raft->log, entries[i].index, entries[i].term) &&
			entries[i].index > raft->log.base)
			log_restore(&raft->log, entries[i].index, entries[i].data);
	/* Nothing came: asked again with the next heartbeat. */
	if (n > 0)
		raft->fetch_first = 0;
	return VT_OK;
}

VtStatus
raft_send_snapshot(Raft *raft, uint64_t to, const RaftSnapshot *snapshot)
{
	Progress   *pr = raft_peer(raft, to);

	if (raft->role != RAFT_LEADER || pr == NULL || pr->state != RAFT_SNAPSHOT ||
		pr->snapshot != NULL)
		return VT_NOT_FOUND;
	if (snapshot->index < raft->log.base || snapshot->index > raft->applied)
		return VT_INVALID;
	pr->snapshot = raft_alloc(raft->allocator, sizeof(RaftSnapshot));
	if (pr->snapshot == NULL)
		return VT_NOMEM;
	*pr->snapshot = *snapshot;
	return VT_OK;
}

/*
 * The data has been handed over, or was not.  Whether it was installed only the
 * peer's acknowledgement tells; until then it is probed at heartbeat pace.
 */
void
raft_report_snapshot(Raft *raft, uint64_t id, bool sent)
{
	Progress   *pr = raft_peer(raft, id);
	uint64_t	next;

	if (raft->role != RAFT_LEADER || pr == NULL || pr->state != RAFT_SNAPSHOT)
		return;
	next = pr->match + 1;
	if (sent && pr->snapshot != NULL && pr->snapshot->index >= next)
		next = pr->snapshot->index + 1;
	progress_probe(pr, raft->allocator, next);
	pr->paused = true;
}
