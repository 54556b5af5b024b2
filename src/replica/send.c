/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sending a snapshot, chunk by chunk; on an errand thread.
 *
 * Some chunks are under way at a time: while the peer writes one, the next ones
 * travel, and ahead.c reads those after them.  Every chunk is answered with the one
 * that is wanted next.  What was not acknowledged is kept, and when the link breaks it
 * is sent again, for a while, so that the stream goes on where it stood: what the
 * peer has staged it keeps as long as it lives.
 *
 * How fast all snapshots of the host may leave is bounded.  While an errand waits for
 * that, or to try again, it is in its queue, and the thread does something else; no
 * answer is still to come then, since another stream may go to the same node.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"

#define AGAIN_US 100000			/* after a failure */
#define FULL_US (3 * INT64_C(1000000))	/* a disk that is full is not tried again before */
#define GIVE_UP_US (60 * INT64_C(1000000))	/* nothing got through for so long */

/* -- Disks without room -------------------------------------------------------- */

static void
note_full(ReplicaHost *host, uint64_t node)
{
	FullNode   *slot = host->full;

	pthread_mutex_lock(&host->sends.lock);
	for (FullNode *f = host->full; f < host->full + FULL_NODES; f++)
		if (f->node == node || (slot->node != node && f->until_us < slot->until_us))
			slot = f;
	*slot = (FullNode) {node, clock_now_us() + FULL_US};
	pthread_mutex_unlock(&host->sends.lock);
}

bool
send_is_full(ReplicaHost *host, uint64_t node)
{
	int64_t		now = clock_now_us();
	bool		full = false;

	pthread_mutex_lock(&host->sends.lock);
	for (FullNode *f = host->full; f < host->full + FULL_NODES; f++)
		full |= f->node == node && now < f->until_us;
	pthread_mutex_unlock(&host->sends.lock);
	return full;
}

void
send_open(Errand *errand)
{
	Replica    *replica = errand->replica;
	VtError		err = {0};

	/* Of those that have waited for their turn the first may have found out. */
	if (send_is_full(replica->host, errand->node))
		return;
	errand->ok = replica->machine.snapshot_open(replica->machine.state, &errand->stream, &errand->index, &err) == VT_OK;
	if (!errand->ok)
	{
		errand->stream = NULL;
		log_warn("group=%llu: could not read a snapshot: %s", (unsigned long long) replica->group,
				 vt_error_words(&err));
	}
}

/* The first n chunks that are pending are needed no more. */
static void
drop_pending(Errand *errand, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		atomic_fetch_sub(&errand->replica->host->sending_bytes, errand->pending[i].len);
		buf_free(&errand->pending[i]);
	}
	errand->npending -= n;
	memmove(errand->pending, errand->pending + n, sizeof(Buf) * errand->npending);
}

/* Its stream, if it is open, and what was read of it. */
void
send_close(Errand *errand)
{
	ahead_stop(errand->ahead);
	errand->ahead = NULL;
	if (errand->stream)
		errand->replica->machine.snapshot_close(errand->stream);
	errand->stream = NULL;
	drop_pending(errand, errand->npending);
}

/* -- The window -------------------------------------------------------------- */

/* One chunk more is pending. */
static VtStatus
read_chunk(Errand *errand, VtError *err)
{
	Replica    *replica = errand->replica;
	WireChunk	chunk = {.group = replica->group, .to = errand->to, .stream = errand->id,
		.seq = errand->seq + errand->npending
	};
	AheadChunk	next;
	VtStatus	status;

	if (!errand->ahead)
		errand->ahead = ahead_start(&replica->machine, errand->stream);
	status = ahead_take(errand->ahead, &next, err);
	if (status != VT_OK)
		return status;
	chunk.data = buf_bytes(&next.data);
	chunk.raw = next.raw;
	chunk.last = errand->ends = next.last;
	if (chunk.last)
		chunk.message = buf_bytes(&errand->message);
	memset(&errand->pending[errand->npending], 0, sizeof(Buf));
	wire_chunk_put(&errand->pending[errand->npending], &chunk);
	atomic_fetch_add(&replica->host->sending_bytes, errand->pending[errand->npending++].len);
	buf_free(&next.data);
	return VT_OK;
}

/* The peer has all before `next`. */
static void
acknowledge(Errand *errand, uint32_t next)
{
	drop_pending(errand, next - errand->seq);
	errand->seq = next;
	errand->broken_us = 0;
}

typedef enum Sent
{
	SENT,
	SENT_NOT,					/* the link is broken, or the peer busy: once more */
	SENT_IN_VAIN				/* it wants something else, which we no longer have */
} Sent;

/* Wait for an answer. */
static Sent
hear(Errand *errand, VtError *err)
{
	const ReplicaTransport *transport = &errand->replica->host->options.transport;
	WireChunkResult result = {0};
	uint32_t	about = errand->asked;
	VtStatus	status = transport->answer(transport->arg, errand->node, &result, err);

	if (status != VT_OK)
	{
		errand->under_way = 0;
		return SENT_NOT;
	}
	errand->asked++;
	errand->under_way--;
	if (result.next > errand->seq && result.next - errand->seq <= errand->npending)
		acknowledge(errand, result.next);
	/* It may have taken it already when an earlier answer was lost. */
	if (result.next > about && result.next <= errand->seq)
		return SENT;
	status = result.status != VT_OK ? result.status : VT_LEASE_GONE;
	if (status == VT_FULL)
		note_full(errand->replica->host, errand->node);
	vt_fail(err, status, "it says: %s", vt_status_words(status));
	return status == VT_BUSY ? SENT_NOT : SENT_IN_VAIN;
}

/* Wait for all answers.  After one that was bad the others say nothing new, but what is there now. */
static Sent
hear_all(Errand *errand, VtError *err)
{
	Sent		worst = SENT;

	while (errand->under_way > 0)
	{
		VtError		why = {0};
		Sent		sent = hear(errand, &why);

		if (worst == SENT && sent != SENT)
		{
			worst = sent;
			*err = why;
		}
	}
	return worst;
}

static Sent
send_next(Errand *errand, VtError *err)
{
	const ReplicaTransport *transport = &errand->replica->host->options.transport;
	uint32_t	at = errand->asked + errand->under_way - errand->seq;

	if (transport->chunk(transport->arg, errand->node, buf_bytes(&errand->pending[at]), err) != VT_OK)
	{
		errand->under_way = 0;
		return SENT_NOT;
	}
	errand->under_way++;
	errand->bytes += errand->pending[at].len;
	host_count(&errand->replica->host->counts.sent_bytes, errand->pending[at].len);
	return SENT;
}

/* -- One step after the other ------------------------------------------------ */

/*
 * When may so many bytes leave?  They have their place in the order then; 0: now.
 */
static int64_t
leave_at(ReplicaHost *host, size_t bytes)
{
	int64_t		now = clock_now_us();
	int64_t		begin;

	if (host->options.snapshot_rate == 0)
		return 0;
	pthread_mutex_lock(&host->sends.lock);
	begin = host->send_free_us > now ? host->send_free_us : now;
	host->send_free_us = begin + (int64_t) (bytes * 1000000 / host->options.snapshot_rate);
	pthread_mutex_unlock(&host->sends.lock);
	return begin > now ? begin : 0;
}

static void
begin(Errand *errand)
{
	if (errand->begun_us != 0)
		return;
	errand->begun_us = clock_now_us();
	log_info("group=%llu: snapshot at %llu begins to go to replica %llu on node %llu",
			 (unsigned long long) errand->replica->group, (unsigned long long) errand->index,
			 (unsigned long long) errand->to, (unsigned long long) errand->node);
}

static void
end(Errand *errand, bool ok, const VtError *err)
{
	const ReplicaTransport *transport = &errand->replica->host->options.transport;
	Replica    *replica = errand->replica;
	double		mib = (double) errand->bytes / (1 << 20);
	double		seconds = (double) (clock_now_us() - errand->begun_us) / 1e6;

	errand->ok = ok;
	host_count(ok ? &replica->host->counts.snapshots_sent : &replica->host->counts.snapshots_failed, 1);
	if (ok)
		log_info("group=%llu: snapshot at %llu sent to replica %llu, %.1f MiB in %.1f s",
				 (unsigned long long) replica->group, (unsigned long long) errand->index,
				 (unsigned long long) errand->to, mib, seconds);
	else
		log_warn("group=%llu: could not send a snapshot to replica %llu, after %.1f MiB and %.1f s: %s",
				 (unsigned long long) replica->group, (unsigned long long) errand->to, mib, seconds,
				 vt_error_words(err));
	if (errand->under_way > 0)
		(void) transport->answer(transport->arg, errand->node, NULL, NULL);
	errand->under_way = 0;
	send_close(errand);
}

/* Not now, but later?  False: for too long already. */
static bool
try_again(Errand *errand)
{
	int64_t		now = clock_now_us();

	if (errand->broken_us == 0)
		errand->broken_us = now;
	errand->not_before_us = now + AGAIN_US;
	return now - errand->broken_us < GIVE_UP_US;
}

/*
 * Send, read or listen, whichever can be done first.  *later: the errand goes back
 * to its queue, until not_before_us.
 */
static Sent
step(Errand *errand, bool *later, VtError *err)
{
	uint32_t	next;

	if (errand->under_way == 0)
		errand->asked = errand->seq;
	next = errand->asked + errand->under_way;
	if (next >= errand->seq && next < errand->seq + errand->npending)
		return send_next(errand, err);
	if (next >= errand->seq && errand->npending < SEND_WINDOW && !errand->ends)
	{
		if (read_chunk(errand, err) != VT_OK)
			return SENT_IN_VAIN;
		errand->not_before_us = leave_at(errand->replica->host, errand->pending[errand->npending - 1].len);
		*later = errand->not_before_us != 0;
		return *later ? hear_all(errand, err) : SENT;
	}
	return hear(errand, err);
}

/* The replica ends, or is to get another state, and who installs that waits for us. */
static bool
is_in_vain(const Errand *errand)
{
	return atomic_load(&errand->replica->cancelled) || atomic_load(&errand->replica->ceased) != errand->ceased;
}

/* False: not now, but at errand->not_before_us. */
bool
send_go_on(Errand *errand)
{
	bool		later = false;
	VtError		err = {0};

	begin(errand);
	while (!is_in_vain(errand))
	{
		Sent		sent = step(errand, &later, &err);

		/* The others under way were refused like the first. */
		if (sent == SENT_NOT)
		{
			VtError		again = {0};

			(void) hear_all(errand, &again);
		}
		if (sent == SENT_IN_VAIN || (sent == SENT_NOT && !try_again(errand)))
		{
			end(errand, false, &err);
			return true;
		}
		if (errand->ends && errand->npending == 0)
		{
			end(errand, true, NULL);
			return true;
		}
		if (sent == SENT_NOT || later)
			return false;
	}
	end(errand, false, &(VtError) {.code = VT_STOPPING, .msg = "this replica ends, or gets another state"});
	return true;
}
