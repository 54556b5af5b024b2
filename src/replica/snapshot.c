/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  Snapshots to and from peers, and old entries for slow ones; on the raft
 *	  thread, but for replica_stage().
 *
 * Sending.  The core names a peer that is too far behind for the log.  An
 * errand pins the machine's state (OPEN), the core describes it and makes the
 * message that offers it, another errand streams the data with that message in
 * its last chunk (SEND).  One at a time for a peer.
 *
 * Receiving.  Chunks are staged beside the state in force, durably, before the
 * message in the last one is stepped.  If the core takes the snapshot, its
 * next Ready makes it the base of the log; that is written first; then the
 * machine puts the staged state in its place; then the core is told that the
 * Ready is durable [P5].  A crash in between is finished when the machine is
 * opened: the base names the stream.  From the last chunk until all that is
 * decided no other stream is taken (Replica.staged): it would replace the state
 * that the log may have as its base by then.  What is not installed, since the core
 * refused it or its sender went away, is let go of: it may be as large as the state.
 *
 * Nor is the stream that was installed last taken again (Replica.installed), for which its
 * sender may not have been answered: half a copy of it would lie where an opening looks for
 * what its base names.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "private.h"

static Errand *
errand_new(Replica *replica, ErrandKind kind)
{
	Errand	   *errand = vt_alloc0(sizeof(Errand));

	errand->kind = kind;
	errand->replica = replica;
	return errand;
}

/* -- Sending --------------------------------------------------------------- */

static Sending *
find_sending(const Replica *replica, uint64_t to)
{
	Sending    *sending = replica->sending;

	while (sending && sending->to != to)
		sending = sending->next;
	return sending;
}

const Sending *
snapshot_sending(const Replica *replica, uint64_t to)
{
	return find_sending(replica, to);
}

static void
forget_sending(Replica *replica, uint64_t to)
{
	for (Sending **p = &replica->sending; *p; p = &(*p)->next)
		if ((*p)->to == to)
		{
			Sending    *sending = *p;

			*p = sending->next;
			if (sending->opened)
				errand_free(sending->opened);
			free(sending);
			return;
		}
}

/* Delivered, and acknowledged, or nobody's business any more. */
static bool
is_over(const Replica *replica, const Sending *sending)
{
	RaftPeer	peer;

	return sending->delivered && (!raft_get_peer(replica->raft, sending->to, &peer) ||
								  peer.match >= sending->index);
}

/*
 * The message of a snapshot comes in the Ready after raft_send_snapshot().  If
 * it did not, the peer wants none any more, or we do not lead: let go of the
 * state that was pinned for it.
 */
void
snapshot_forget_unsent(Replica *replica)
{
	Sending    *next;

	for (Sending *sending = replica->sending; sending; sending = next)
	{
		next = sending->next;
		if (sending->opened || is_over(replica, sending))
			forget_sending(replica, sending->to);
	}
}

void
snapshot_forget_all(Replica *replica)
{
	while (replica->sending)
		forget_sending(replica, replica->sending->to);
}

void
snapshot_wanted(Replica *replica, uint64_t to)
{
	const ReplicaTransport *transport = &replica->host->options.transport;
	Sending    *sending;
	Errand	   *errand;
	uint64_t	node = peers_node(replica, to);

	sending = find_sending(replica, to);
	if (sending && sending->delivered)
	{
		forget_sending(replica, to);	/* it came too late, or is lost */
		sending = NULL;
	}
	if (!transport->chunk || !replica->machine.snapshot_open || node == 0 || sending ||
		send_is_full(replica->host, node))
		return;					/* the core asks again */
	sending = vt_alloc0(sizeof(Sending));
	sending->to = to;
	sending->next = replica->sending;
	replica->sending = sending;
	errand = errand_new(replica, ERRAND_OPEN);
	errand->to = to;
	errand->node = node;
	errand->ceased = atomic_load(&replica->ceased);
	errand_put(&replica->host->sends, errand);
}

/* The state is pinned: offer it, if it is still wanted. */
static void
opened(Replica *replica, Errand *errand)
{
	Sending    *sending = find_sending(replica, errand->to);
	RaftSnapshot snapshot;
	VtId		id;

	vt_id_random(&id);
	if (errand->ok && sending && raft_snapshot_at(replica->raft, errand->index, &snapshot) == VT_OK)
	{
		errand->id = get_le64(id.b) | 1;
		snapshot.id = errand->id;
		if (raft_send_snapshot(replica->raft, errand->to, &snapshot) == VT_OK)
		{
			sending->opened = errand;	/* until its message is there */
			sending->index = errand->index;
			return;
		}
	}
	forget_sending(replica, errand->to);
	errand_free(errand);
}

/* The offer of a snapshot: it goes with the last chunk.  False: not to be had. */
bool
snapshot_message(Replica *replica, const RaftMessage *message)
{
	Sending    *sending = find_sending(replica, message->to);
	Errand	   *errand = sending ? sending->opened : NULL;
	size_t		size = raft_message_size(message);

	if (!errand || message->snapshot->id != errand->id)
		return false;
	buf_reserve(&errand->message, size);
	raft_message_encode(message, errand->message.data);
	errand->message.len = size;
	errand->kind = ERRAND_SEND;
	sending->opened = NULL;
	errand_put(&replica->host->sends, errand);
	return true;
}

/* -- Old entries ----------------------------------------------------------- */

void
snapshot_fetch(Replica *replica, const RaftFetch *fetch)
{
	Errand	   *errand;

	if (replica->fetching)
		return;
	replica->fetching = true;
	errand = errand_new(replica, ERRAND_FETCH);
	errand->first = fetch->first;
	errand->last = fetch->last;
	errand_put(&replica->host->fetches, errand);
}

/* -- Receiving ------------------------------------------------------------- */

/* May a chunk be given to the machine?  *result says why not. */
static bool
begin_staging(Replica *replica, const WireChunk *chunk, WireChunkResult *result)
{
	bool		taken;
	bool		is_installed;

	memset(result, 0, sizeof(*result));
	pthread_mutex_lock(&replica->lock);
	is_installed = replica->installed != 0 && replica->installed == chunk->stream && !vt_broken("P5-again");
	taken = !is_installed && !replica->staging && !replica->staged && !replica->closed && replica->machine.stage;
	if (taken)
		replica->staging = true;
	else if (is_installed)
		result->next = chunk->seq + 1;	/* all of it was taken, and the answer was lost */
	else if (replica->staged == chunk->stream)
		result->next = replica->staged_chunks;	/* sent again: the answer was lost */
	else
		result->status = VT_BUSY;
	pthread_mutex_unlock(&replica->lock);
	return taken;
}

static void
set_staged(Replica *replica, uint64_t stream, uint32_t chunks)
{
	pthread_mutex_lock(&replica->lock);
	replica->staged = stream;
	replica->staged_chunks = chunks;
	pthread_mutex_unlock(&replica->lock);
}

/* For people: what has come of a stream, since when. */
static void
count_staged(Replica *replica, const WireChunk *chunk)
{
	host_count(&replica->host->counts.staged_bytes, chunk->data.len);
	if (chunk->seq == 0)
		log_info("group=%llu: a snapshot begins to come in", (unsigned long long) replica->group);
	pthread_mutex_lock(&replica->lock);
	if (chunk->seq == 0)
	{
		replica->held_us = clock_now_us();
		replica->held_bytes = 0;
	}
	replica->held_bytes += chunk->data.len;
	pthread_mutex_unlock(&replica->lock);
}

void
replica_stage(Replica *replica, const WireChunk *chunk, WireChunkResult *result)
{
	WireChunk	plain = *chunk;
	Buf			unpacked = {0};
	VtError		err = {0};

	if (!begin_staging(replica, chunk, result))
		return;
	if (chunk->raw > 0)
	{
		result->status = chunk_unpack(chunk, &unpacked, &err);
		plain.data = buf_bytes(&unpacked);
	}
	if (result->status == VT_OK)
		result->status = replica->machine.stage(replica->machine.state, &plain, &result->next, &err);
	buf_free(&unpacked);
	if (result->status == VT_OK)
		count_staged(replica, chunk);
	if (result->status != VT_OK)
		log_warn("group=%llu: could not take a snapshot: %s", (unsigned long long) replica->group,
				 vt_error_words(&err));
	else if (chunk->last && result->next == chunk->seq + 1)
	{
		Event	   *event = vt_alloc0(sizeof(Event));

		event->kind = EVENT_SNAP;
		event->replica = replica;
		event->number = chunk->stream;
		set_staged(replica, chunk->stream, result->next);
		buf_put(&event->payload, chunk->message.data, chunk->message.len);
		host_post(replica->host, event);
	}
	pthread_mutex_lock(&replica->lock);
	if (result->status == VT_OK || chunk->seq == 0)
	{
		replica->held = chunk->stream;
		replica->held_lately = true;
	}
	replica->staging = false;
	pthread_cond_broadcast(&replica->idle);
	pthread_mutex_unlock(&replica->lock);
}

void
replica_unstage(Replica *replica)
{
	uint64_t	stream;

	pthread_mutex_lock(&replica->lock);
	stream = replica->held;
	pthread_mutex_unlock(&replica->lock);
	if (stream)
		io_unstage(replica, stream);
}

/* Unless another stream has taken its place, or a chunk of it has come again. */
void
snapshot_unstage(Replica *replica, uint64_t stream)
{
	VtError		err = {0};
	bool		unwanted;

	/* Whoever took its last chunk may not have let go yet. */
	pthread_mutex_lock(&replica->lock);
	while (replica->staging && !replica->closed)
		pthread_cond_wait(&replica->idle, &replica->lock);
	unwanted = replica->held == stream && !replica->staging && !replica->staged && !replica->closed &&
		replica->machine.unstage;
	replica->staging |= unwanted;
	pthread_mutex_unlock(&replica->lock);
	if (!unwanted)
		return;
	if (replica->machine.unstage(replica->machine.state, &err) == VT_OK)
		log_info("group=%llu: a snapshot that was not used is gone", (unsigned long long) replica->group);
	else
		log_warn("group=%llu: could not let go of a snapshot that was not used: %s",
				 (unsigned long long) replica->group, vt_error_words(&err));
	pthread_mutex_lock(&replica->lock);
	replica->held = 0;
	replica->staging = false;
	pthread_cond_broadcast(&replica->idle);
	pthread_mutex_unlock(&replica->lock);
}

/* Of what is staged no chunk has come since the last time: its sender has given up long ago. */
void
snapshot_look_at_staged(ReplicaHost *host)
{
	for (Replica *r = host->replicas; r; r = r->next)
	{
		uint64_t	stale = 0;

		pthread_mutex_lock(&r->lock);
		if (r->held && !r->held_lately && !r->staging && !r->staged && !r->closed)
			stale = r->held;
		r->held_lately = false;
		pthread_mutex_unlock(&r->lock);
		if (stale)
			io_unstage(r, stale);
	}
}

/* All of a stream is staged: does the core want it? */
void
snapshot_staged(Replica *replica, Bytes message, uint64_t stream)
{
	RaftStatus	status = {0};

	if (!replica->gone)
	{
		peers_staged(replica, message, stream);
		raft_get_status(replica->raft, &status);
	}
	if (!status.installing)
	{
		set_staged(replica, 0, 0);
		if (!replica->gone)
			io_unstage(replica, stream);
	}
}

/*
 * Let go of the state that is pinned for snapshots: those that wait at once, one that is
 * being sent as soon as its thread sees that.
 */
void
snapshot_cease(Replica *replica)
{
	Errand	   *sends;

	atomic_fetch_add(&replica->ceased, 1);
	sends = errands_take(&replica->host->sends, replica);
	errands_interrupt(replica->host, replica);
	while (sends)
	{
		Errand	   *send = sends;

		sends = send->next;
		send->ok = false;
		snapshot_errand(replica, send);
	}
}

/*
 * The log is durable with the snapshot as its base.  The machine waits until
 * nobody uses its state: what waits for an index that is skipped now, or for
 * its turn to be sent, would never let go of it.
 */
void
snapshot_install(Replica *replica)
{
	Errand	   *errand = errand_new(replica, ERRAND_INSTALL);

	room_loading(replica, true);
	snapshot_cease(replica);
	far_give_up(replica, VT_NOT_LEADER);
	group_fail_waiters(replica, VT_NOT_LEADER, false);
	errand->id = replica->installing.id;
	errand->index = replica->installing.index;
	errand_put(&replica->host->installs, errand);
}

static void
installed(Replica *replica)
{
	uint64_t	seq = replica->held_seq;
	uint64_t	bytes;
	int64_t		begun_us;

	host_count(&replica->host->counts.snapshots_installed, 1);
	pthread_mutex_lock(&replica->lock);
	bytes = replica->held_bytes;
	begun_us = replica->held_us;
	pthread_mutex_unlock(&replica->lock);
	log_info("group=%llu: snapshot at %llu installed, %.1f MiB, %.1f s after it began to come",
			 (unsigned long long) replica->group, (unsigned long long) replica->installing.index,
			 (double) bytes / (1 << 20), (double) (clock_now_us() - begun_us) / 1e6);
	replica->install_seq = 0;
	replica->held_seq = 0;
	pthread_mutex_lock(&replica->lock);
	replica->installed = replica->installing.id;
	replica->staged = 0;
	replica->staged_chunks = 0;
	replica->held = 0;
	pthread_mutex_unlock(&replica->lock);
	raft_set_passive(replica->raft, true);	/* until EVENT_LOADED */
	io_drop_later(replica, replica->stale_first, replica->stale_last);
	while (raft_persisted(replica->raft, seq) == VT_NOMEM)
		;
}

/*
 * Delivered, it still has to be installed, and the peer to catch up from there:
 * the log is kept meanwhile (compact.c).
 */
static void
sent(Replica *replica, const Errand *errand)
{
	Sending    *sending = find_sending(replica, errand->to);

	if (sending && errand->ok && !replica->gone)
		sending->delivered = true;
	else
		forget_sending(replica, errand->to);
}

/* -- Errands that have come back ------------------------------------------- */

void
snapshot_errand(Replica *replica, Errand *errand)
{
	switch (errand->kind)
	{
		case ERRAND_FETCH:
			replica->fetching = false;
			if (!replica->gone)
			{
				(void) raft_fetched(replica->raft, errand->entries, errand->n);
				group_duties(replica);	/* send them before they are evicted again */
				compact_evict(replica);
			}
			break;
		case ERRAND_INSTALL:
			if (!replica->gone)
				installed(replica);
			break;
		case ERRAND_OPEN:
			if (!replica->gone)
			{
				opened(replica, errand);
				return;
			}
			break;
		case ERRAND_SEND:
			if (!replica->gone)
				raft_report_snapshot(replica->raft, errand->to, errand->ok);
			sent(replica, errand);
			break;
	}
	errand_free(errand);
}
