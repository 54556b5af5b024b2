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
 * The next chunk is read while the peer is busy with the one before, by a thread of
 * the stream's own.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
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

/* -- Reading ahead --------------------------------------------------------- */

typedef struct Ahead
{
	const ReplicaMachine *machine;
	void	   *stream;
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool		full;			/* the rest is there to be taken */
	bool		stop;
	VtStatus	status;
	VtError		err;
	Buf			data;
	bool		last;
} Ahead;

static void *
ahead_main(void *arg)
{
	Ahead	   *ahead = (Ahead *) arg;
	bool		over = false;

	thread_name("snapshot");
	pthread_mutex_lock(&ahead->lock);
	while (!over && !ahead->stop)
	{
		if (ahead->full)
		{
			pthread_cond_wait(&ahead->changed, &ahead->lock);
			continue;
		}
		pthread_mutex_unlock(&ahead->lock);
		ahead->status = ahead->machine->snapshot_read(ahead->stream, CHUNK_BYTES, &ahead->data, &ahead->last, &ahead->err);
		over = ahead->status != VT_OK || ahead->last;
		pthread_mutex_lock(&ahead->lock);
		ahead->full = true;
		pthread_cond_broadcast(&ahead->changed);
	}
	pthread_mutex_unlock(&ahead->lock);
	return NULL;
}

static void
ahead_start(Errand *errand)
{
	Ahead	   *ahead = vt_alloc0(sizeof(Ahead));

	ahead->machine = &errand->replica->machine;
	ahead->stream = errand->stream;
	pthread_mutex_init(&ahead->lock, NULL);
	pthread_cond_init(&ahead->changed, NULL);
	host_start_thread(&ahead->thread, ahead_main, ahead);
	errand->ahead = ahead;
}

static VtStatus
ahead_take(Ahead *ahead, Buf *data, bool *last, VtError *err)
{
	VtStatus	status;

	pthread_mutex_lock(&ahead->lock);
	while (!ahead->full)
		pthread_cond_wait(&ahead->changed, &ahead->lock);
	status = ahead->status;
	if (status != VT_OK)
		*err = ahead->err;		/* and it stays so */
	else
	{
		*data = ahead->data;
		*last = ahead->last;
		memset(&ahead->data, 0, sizeof(ahead->data));
		ahead->full = false;
		pthread_cond_broadcast(&ahead->changed);
	}
	pthread_mutex_unlock(&ahead->lock);
	return status;
}

static void
ahead_stop(Ahead *ahead)
{
	pthread_mutex_lock(&ahead->lock);
	ahead->stop = true;
	pthread_cond_broadcast(&ahead->changed);
	pthread_mutex_unlock(&ahead->lock);
	pthread_join(ahead->thread, NULL);
	pthread_mutex_destroy(&ahead->lock);
	pthread_cond_destroy(&ahead->changed);
	buf_free(&ahead->data);
	free(ahead);
}

void
send_close(Errand *errand)
{
	if (errand->ahead)
		ahead_stop(errand->ahead);
	errand->ahead = NULL;
	if (errand->stream)
		errand->replica->machine.snapshot_close(errand->stream);
	errand->stream = NULL;
}

/* -- Sending --------------------------------------------------------------- */

/* The next chunk, in errand->pending until the peer has it. */
static VtStatus
next_chunk(Errand *errand, VtError *err)
{
	Replica    *replica = errand->replica;
	WireChunk	chunk = {.group = replica->group, .to = errand->to, .stream = errand->id,
		.seq = errand->seq
	};
	Buf			data = {0};
	VtStatus	status;

	if (!errand->ahead)
		ahead_start(errand);
	status = ahead_take(errand->ahead, &data, &chunk.last, err);

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
	send_close(errand);
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
		if (next_chunk(errand, &err) != VT_OK)
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
