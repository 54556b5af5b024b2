/*-------------------------------------------------------------------------
 *
 * compact.c
 *	  How much of the log is kept, on disk and in memory.
 *
 * Peers may still need what the machine does not.  So a leader keeps the log of
 * those that are alive from where they match, and of those that a snapshot is on
 * its way to, or was delivered to, from where that stands: else it would be of
 * no use when it has arrived.  Who follows keeps what came since the checkpoint
 * before the last: one that was away for a moment, or lags behind a new leader,
 * is not to need a snapshot for that.
 *
 * All that ends at a bound for the whole host: when the logs of all groups are
 * larger, the fullest ones are cut at their checkpoints, whoever needs them.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/log.h"
#include "private.h"

#define CUTS 32					/* with one tick */

/* -- On disk --------------------------------------------------------------- */

/* The least index that a peer still counts on. */
static uint64_t
needed_by_peers(Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	uint64_t	least = UINT64_MAX;

	for (uint32_t i = 0; i < conf->n; i++)
	{
		uint64_t	id = conf->members[i].id;
		const Sending *sending = snapshot_sending(replica, id);
		RaftPeer	peer;
		uint64_t	from;

		if (id == replica->id || !raft_get_peer(replica->raft, id, &peer))
			continue;
		if (sending && sending->index > peer.match)
			from = sending->index;
		else if (peer.active && peer.state != RAFT_SNAPSHOT)
			from = peer.match;
		else
			continue;
		if (from < least)
			least = from;
	}
	return least;
}

/* Where the log may begin when the machine is durable up to here. */
static uint64_t
compaction_point(Replica *replica, uint64_t durable)
{
	uint64_t	before = replica->checkpoint;
	uint64_t	point = durable;
	uint64_t	needed;

	if (vt_broken("P7-durable"))
		durable = point = atomic_load(&replica->applied);
	replica->checkpoint = durable;
	if (replica->cut)
	{
		replica->cut = false;
		return durable;
	}
	/* The one before; if that stands here, too, nothing has come since, and what it kept is kept. */
	if (raft_get_conf(replica->raft)->n > 1)
		point = before < point ? before : replica->stored_base;
	needed = needed_by_peers(replica);
	return needed < point ? needed : point;
}

/*
 * The machine is durable up to index: make that the base of the log.  First
 * the base is made durable, then the core forgets, then the store (P7).
 */
void
compact_checkpointed(Replica *replica, uint64_t index)
{
	RaftSnapshot base;
	size_t		size;
	uint8_t    *bytes;
	WriteJob   *job;

	index = compaction_point(replica, index);
	if (replica->gone || replica->install_seq || index <= replica->stored_base ||
		raft_snapshot_at(replica->raft, index, &base) != VT_OK)
	{
		replica->checkpointing = false;
		return;
	}
	size = raft_snapshot_size(&base);
	bytes = vt_alloc(size);
	raft_snapshot_encode(&base, bytes);
	job = vt_alloc0(sizeof(WriteJob));
	job->replica = replica;
	job->batch = store_batch_new();
	job->base = index;
	log_batch_base(job->batch, replica->group, bytes_of(bytes, size));
	free(bytes);
	host_write(replica->host, job);
}

void
compact_base_durable(Replica *replica, uint64_t index)
{
	replica->checkpointing = false;
	if (replica->gone || index <= replica->stored_base)
		return;
	if (raft_compact(replica->raft, index) != VT_OK)
		log_warn("group=%llu could not forget its log up to %llu; the next checkpoint tries again",
				 (unsigned long long) replica->group, (unsigned long long) index);
	io_drop_later(replica, replica->stored_base + 1, index);
	replica->stored_base = index;
}

/* Keep count of what all groups have; at the end of each one's duties. */
void
compact_count(Replica *replica)
{
	ReplicaHost *host = replica->host;
	RaftStatus	status = {0};

	if (!replica->gone)
		raft_get_status(replica->raft, &status);
	atomic_fetch_add(&host->log_bytes, status.log_bytes - replica->counted_log);
	atomic_fetch_add(&host->resident_bytes, status.resident_bytes - replica->counted_resident);
	atomic_fetch_add(&host->entries, status.last - status.base - replica->counted_entries);
	replica->counted_log = status.log_bytes;
	replica->counted_resident = status.resident_bytes;
	replica->counted_entries = status.last - status.base;
	if (!replica->gone && replica->log_bytes > host->options.checkpoint_bytes)
		compact_ask(replica);
}

/* Ask the io thread for a checkpoint, after which the log may be cut. */
void
compact_ask(Replica *replica)
{
	if (replica->checkpointing)
		return;
	replica->checkpointing = true;
	replica->log_bytes = 0;
	io_checkpoint(replica);
}

/* The fullest of which something can go, and is not going already. */
static Replica *
find_fullest(ReplicaHost *host)
{
	Replica    *fullest = NULL;

	for (Replica *r = host->replicas; r; r = r->next)
		if (!r->checkpointing && r->install_seq == 0 && atomic_load(&r->applied) > r->stored_base &&
			(!fullest || r->counted_log > fullest->counted_log))
			fullest = r;
	return fullest;
}

/*
 * The logs of all groups are too large: cut the fullest ones, as many as it takes, which
 * may be hundreds.  With each tick anew, counting on what those bring that are at it.
 */
void
compact_bound(ReplicaHost *host)
{
	uint64_t	all = atomic_load(&host->log_bytes);
	uint64_t	going = 0;
	Replica    *fullest;
	int			n = 0;

	if (all <= host->options.log_bytes)
		return;
	for (Replica *r = host->replicas; r; r = r->next)
		going += r->checkpointing ? r->counted_log : 0;
	while (n < CUTS && all > going + host->options.log_bytes && (fullest = find_fullest(host)) != NULL)
	{
		fullest->cut = true;
		going += fullest->counted_log;
		compact_ask(fullest);
		n++;
	}
	if (n > 0)
		log_info("the logs of %d groups are cut at their checkpoints, since those of all have %llu MiB", n,
				 (unsigned long long) (all >> 20));
}

/* -- In memory ------------------------------------------------------------- */

/* Does it, or do all groups, keep more than may be kept?  Proposals in flight have a bound of their own. */
static bool
keeps_too_much(const Replica *replica, uint64_t resident)
{
	const ReplicaHost *host = replica->host;
	uint64_t	bound = host->options.resident_bytes;

	return resident > bound / 2 + atomic_load(&replica->inflight_bytes) ||
		atomic_load(&host->resident_bytes) > bound + atomic_load(&host->inflight_bytes);
}

/*
 * What is applied may leave memory, but what live peers still need, within a bound for
 * the group and one for all.  What is not applied stays, since its turn comes soon.  But
 * who follows is sent as much as the others commit, however far its machine lags behind,
 * and who begins to lead then reads all of that for its peers: beyond the bounds what is
 * durable goes, and is read from the log again.
 */
void
compact_evict(Replica *replica)
{
	ReplicaHost *host = replica->host;
	RaftStatus	status;
	uint64_t	index;

	raft_get_status(replica->raft, &status);
	index = status.applied;
	if (keeps_too_much(replica, status.resident_bytes))
	{
		index = status.stable;
		apply_forget_payloads(replica);
	}
	else if (status.role == RAFT_LEADER && status.min_match < index &&
			 status.resident_bytes < RESIDENT_BYTES &&
			 atomic_load(&host->resident_bytes) < host->options.resident_bytes)
		index = status.min_match;
	raft_evict(replica->raft, index);
}
