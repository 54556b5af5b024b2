/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Reading a snapshot and sending it, chunk by chunk; on an errand thread.
 *
 * Every chunk is answered with the one that is wanted next.  When the link breaks
 * the chunk is sent again, for a while, and the stream goes on where it stood: what
 * the peer has staged it keeps as long as it lives.  How fast all snapshots of the
 * host may leave is bounded.  While an errand waits for the one or the other it is
 * in its queue, and the thread does something else.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"

#define CHUNK_BYTES (1u << 20)
#define AGAIN_US 100000			/* after a failure */
#define GIVE_UP_US (60 * INT64_C(1000000))	/* nothing got through for so long */

void
send_open(Errand *errand)
{
	Replica    *replica = errand->replica;
	VtError		err = {0};
	VtStatus	status = replica->machine.snapshot_open(replica->machine.state, &errand->stream,
														&errand->index, &err);

	errand->ok = status == VT_OK;
	if (!errand->ok)
	{
		errand->stream = NULL;
		log_warn("group=%llu: could not read a snapshot: %s", (unsigned long long) replica->group,
				 vt_error_words(&err));
	}
}

/* The next chunk, in errand->pending until the peer has it. */
static VtStatus
read_chunk(Errand *errand, VtError *err)
{
	Replica    *replica = errand->replica;
	WireChunk	chunk = {.group = replica->group, .to = errand->to, .stream = errand->id,
		.seq = errand->seq
	};
	Buf			data = {0};
	VtStatus	status = replica->machine.snapshot_read(errand->stream, CHUNK_BYTES, &data, &chunk.last,
														err);

	if (status == VT_OK)
	{
		chunk.data = buf_bytes(&data);
		if (chunk.last)
			chunk.message = buf_bytes(&errand->message);
		errand->ends = chunk.last;
		wire_chunk_put(&errand->pending, &chunk);
	}
	buf_free(&data);
	return status;
}

/*
 * May so many bytes leave now?  Else in how many us; they have their place in the
 * order then.
 */
static int64_t
wait_for_rate(ReplicaHost *host, size_t bytes)
{
	int64_t		now = clock_now_us();
	int64_t		begin;

	if (host->options.snapshot_rate == 0)
		return 0;
	pthread_mutex_lock(&host->sends.lock);
	begin = host->send_free_us > now ? host->send_free_us : now;
	host->send_free_us = begin + (int64_t) (bytes * 1000000 / host->options.snapshot_rate);
	pthread_mutex_unlock(&host->sends.lock);
	return begin - now;
}

typedef enum Sent
{
	SENT,
	SENT_NOT,					/* the link is broken, or the peer busy: once more */
	SENT_IN_VAIN				/* it wants something else, which we no longer have */
} Sent;

static Sent
send_pending(Errand *errand, VtError *err)
{
	const ReplicaTransport *transport = &errand->replica->host->options.transport;
	WireChunkResult result = {0};
	VtStatus	status = transport->chunk(transport->arg, errand->node, buf_bytes(&errand->pending),
										  &result, err);

	if (status != VT_OK)
		return SENT_NOT;
	/* It may have taken it already when the answer was lost. */
	if (result.next == errand->seq + 1)
		return SENT;
	status = result.status != VT_OK ? result.status : VT_LEASE_GONE;
	vt_fail(err, status, "it says: %s", vt_status_words(status));
	return status == VT_BUSY ? SENT_NOT : SENT_IN_VAIN;
}

static void
end(Errand *errand, bool ok, const VtError *err)
{
	Replica    *replica = errand->replica;

	errand->ok = ok;
	if (ok)
		log_info("group=%llu: snapshot at %llu sent to replica %llu in %u chunks",
				 (unsigned long long) replica->group, (unsigned long long) errand->index,
				 (unsigned long long) errand->to, errand->seq);
	else
		log_warn("group=%llu: could not send a snapshot to replica %llu: %s",
				 (unsigned long long) replica->group, (unsigned long long) errand->to,
				 vt_error_words(err));
	replica->machine.snapshot_close(errand->stream);
	errand->stream = NULL;
	buf_free(&errand->pending);
}

/* One chunk fewer; true: the peer has them all, or there is no more to be done. */
static bool
one_chunk(Errand *errand, int64_t *wait_us)
{
	VtError		err = {0};
	int64_t		now;

	*wait_us = 0;
	if (errand->pending.len == 0)
	{
		if (read_chunk(errand, &err) != VT_OK)
		{
			end(errand, false, &err);
			return true;
		}
		*wait_us = wait_for_rate(errand->replica->host, errand->pending.len);
		if (*wait_us > 0)
			return false;
	}
	switch (send_pending(errand, &err))
	{
		case SENT:
			buf_clear(&errand->pending);
			errand->seq++;
			errand->broken_us = 0;
			if (errand->ends)
				end(errand, true, NULL);
			return errand->ends;
		case SENT_NOT:
			now = clock_now_us();
			if (errand->broken_us == 0)
				errand->broken_us = now;
			*wait_us = AGAIN_US;
			if (now - errand->broken_us < GIVE_UP_US)
				return false;
			break;
		case SENT_IN_VAIN:
			break;
	}
	end(errand, false, &err);
	return true;
}

/* False: not now, but at errand->not_before_us. */
bool
send_go_on(Errand *errand)
{
	int64_t		wait_us = 0;

	while (!atomic_load(&errand->replica->cancelled))
	{
		if (one_chunk(errand, &wait_us))
			return true;
		if (wait_us > 0)
		{
			errand->not_before_us = clock_now_us() + wait_us;
			return false;
		}
	}
	end(errand, false, &(VtError) {.code = VT_STOPPING, .msg = "this replica ends"});
	return true;
}
