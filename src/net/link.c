/*-------------------------------------------------------------------------
 *
 * link.c
 *	  A one-way street to a peer: frames that may be lost.
 *
 * Who brings a frame sends it, if nothing is before it and the socket takes it at once:
 * on a machine that is busy a wake costs more.  All else is a thread's.  What is queued for it
 * leaves in order, with one send, over one connection, which is dialled when
 * there is something to send and again after a failure, after a pause that
 * doubles.  While there is no connection nothing is kept: whoever uses a link
 * (Raft) sends again what still matters.
 *
 * Nothing comes back over a link, so a cut that nobody is told of (a cable, a
 * firewall that forgot) would be noticed only when TCP has given up, and a link that was cut for
 * a while would be used again when TCP tries again, which may be long after.  So the
 * other side is asked for a sign of life every second in which something leaves, and a
 * connection that gives none for PATIENCE_MS is dialled anew.
 *
 * A probe looks whether anybody is there at all.  While our connection stands, that
 * is asked over it, and it is left as it is: the other side would take its end for a
 * sign that we may be dead, and probe in turn, and so on without end, and nothing
 * else would get through.  If it stands no longer, we dial.  A process that dies
 * closes its connections and its socket one after the other: a probe may come in
 * between, be taken and lost.  So one that ends neither in an answer nor in a refusal
 * is made again, for about two seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/prng.h"
#include "private.h"

#define QUEUE_BYTES (64u << 20)
#define TOGETHER 64				/* frames in one send, */
#define TOGETHER_BYTES (1u << 20)	/* unless one alone is larger */
#define AT_ONCE_BYTES (64u << 10)	/* larger ones are the thread's, which holds nobody up */
#define SEND_MS 5000
#define DIAL_MS 1000
#define PING_MS 1000
#define PATIENCE_MS 3000
#define PAUSE_MIN_MS 20
#define PAUSE_MAX_MS 500
#define PROBES 100
#define PROBE_PAUSE_US 20000

typedef struct LinkFrame
{
	struct LinkFrame *next;
	Buf			payload;
} LinkFrame;

struct NetLink
{
	NetPeer    *peer;
	void		(*refused) (void *arg, uint64_t tag);
	void	   *arg;
	uint64_t	tag;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	LinkFrame  *queue;
	LinkFrame **end;
	size_t		bytes;
	int			probes;			/* is anybody there?  Look so often at most, */
	int64_t		probe_after;	/* and then; */
	int64_t		probe_since;	/* what was said before this moment proves nothing */
	bool		busy;			/* the thread uses the peer; else whoever holds the lock may */
	bool		stop;

	atomic_llong tried_us;		/* these two: see net_link_state() */
	atomic_llong failing_us;
	int64_t		dial_after;		/* this and below: of who uses the peer */
	int			pause_ms;
	Prng		prng;
	pthread_t	thread;
};

static void
drop_all(NetLink *link)
{
	while (link->queue)
	{
		LinkFrame  *f = link->queue;

		link->queue = f->next;
		buf_free(&f->payload);
		free(f);
	}
	link->end = &link->queue;
	link->bytes = 0;
}

static void
tried(NetLink *link, bool in_vain)
{
	int64_t		now_us = clock_now_us();

	atomic_store(&link->tried_us, now_us);
	if (!in_vain)
		atomic_store(&link->failing_us, 0);
	else if (atomic_load(&link->failing_us) == 0)
		atomic_store(&link->failing_us, now_us);
}

/* The connection is gone, or there was none: wait before the next attempt. */
static void
failed(NetLink *link)
{
	tried(link, true);
	link->pause_ms = link->pause_ms ? 2 * link->pause_ms : PAUSE_MIN_MS;
	if (link->pause_ms > PAUSE_MAX_MS)
		link->pause_ms = PAUSE_MAX_MS;
	link->dial_after = clock_now_us() +
		1000 * (link->pause_ms / 2 + (int64_t) prng_below(&link->prng, (uint32_t) link->pause_ms / 2 + 1));
	if (net_peer_refused(link->peer) && link->refused)
		link->refused(link->arg, link->tag);
}

static void
succeeded(NetLink *link)
{
	tried(link, false);
	link->pause_ms = 0;
}

/* Is anybody there?  False = that is not known yet. */
static bool
look(NetLink *link, int64_t since_us)
{
	VtStatus	status = net_peer_ask(link->peer, since_us, PATIENCE_MS);

	if (status == VT_UNAVAILABLE)
	{
		status = net_peer_redial(link->peer, DIAL_MS);
		if (status == VT_OK)
			succeeded(link);
		else
			failed(link);
	}
	return status == VT_OK || (!net_peer_connected(link->peer) && net_peer_refused(link->peer));
}

/* What goes with the next send, from the front of the queue; how many frames. */
static size_t
take_frames(NetLink *link, LinkFrame **frames)
{
	size_t		n = 0;
	size_t		bytes = 0;

	while (link->queue && n < TOGETHER && (n == 0 || bytes + link->queue->payload.len <= TOGETHER_BYTES))
	{
		frames[n] = link->queue;
		bytes += frames[n]->payload.len;
		link->queue = frames[n++]->next;
	}
	if (!link->queue)
		link->end = &link->queue;
	link->bytes -= bytes;
	return n;
}

static void
free_frames(LinkFrame **frames, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		buf_free(&frames[i]->payload);
		free(frames[i]);
	}
}

static void
send_frames(NetLink *link, LinkFrame **frames, size_t n)
{
	Bytes		payloads[TOGETHER];
	VtStatus	status = VT_OK;

	for (size_t i = 0; i < n; i++)
		payloads[i] = buf_bytes(&frames[i]->payload);

	if (!net_peer_is_there(link->peer, PING_MS, PATIENCE_MS))
		status = VT_UNAVAILABLE;
	else if (net_peer_connected(link->peer))
		status = net_peer_send(link->peer, WIRE_RAFT, payloads, n, SEND_MS);
	else if (clock_now_us() >= link->dial_after)
	{
		status = net_peer_redial(link->peer, DIAL_MS);
		if (status == VT_OK)
			status = net_peer_send(link->peer, WIRE_RAFT, payloads, n, SEND_MS);
	}
	else
		return;					/* lost: it is too early to dial */
	if (status == VT_OK)
		succeeded(link);
	else
		failed(link);
}

static void *
link_main(void *arg)
{
	NetLink    *link = (NetLink *) arg;

	pthread_mutex_lock(&link->lock);
	while (!link->stop)
	{
		bool		probe = link->probes > 0 && clock_now_us() >= link->probe_after;
		LinkFrame  *frames[TOGETHER];
		size_t		n = 0;
		int			probes = link->probes;
		int64_t		since_us = link->probe_since;
		bool		known = true;

		if (!probe && !link->queue && !net_peer_owes(link->peer))
		{
			if (link->probes > 0)
			{
				struct timespec until = cond_moment(PROBE_PAUSE_US);

				pthread_cond_timedwait(&link->changed, &link->lock, &until);
			}
			else
				pthread_cond_wait(&link->changed, &link->lock);
			continue;
		}
		if (probe)
			link->probes = 0;
		else
			n = take_frames(link, frames);
		link->busy = true;
		pthread_mutex_unlock(&link->lock);
		if (probe)
			known = look(link, since_us);
		else
		{
			send_frames(link, frames, n);
			free_frames(frames, n);
		}
		pthread_mutex_lock(&link->lock);
		link->busy = false;
		if (!known && link->probes == 0)
		{
			link->probes = probes - 1;
			link->probe_after = clock_now_us() + PROBE_PAUSE_US;
		}
	}
	pthread_mutex_unlock(&link->lock);
	return NULL;
}

NetLink *
net_link_new(const NetPeerOptions *options, void (*refused) (void *arg, uint64_t tag), void *arg,
			 uint64_t tag)
{
	NetLink    *link = vt_alloc0(sizeof(NetLink));
	VtId		seed;

	link->peer = net_peer_new(options);
	link->refused = refused;
	link->arg = arg;
	link->tag = tag;
	link->end = &link->queue;
	vt_id_random(&seed);
	link->prng.state = get_le64(seed.b);
	pthread_mutex_init(&link->lock, NULL);
	cond_init(&link->changed);
	if (pthread_create(&link->thread, NULL, link_main, link) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	return link;
}

/* With the lock held. */
static bool
send_at_once(NetLink *link, Bytes payload)
{
	if (link->busy || link->queue || link->probes > 0 || payload.len > AT_ONCE_BYTES ||
		!net_peer_try(link->peer, WIRE_RAFT, payload, PING_MS))
		return false;
	succeeded(link);
	if (net_peer_owes(link->peer))
		pthread_cond_signal(&link->changed);
	return true;
}

/* With the lock held; beyond the bound it is lost. */
static void
enqueue(NetLink *link, Buf *payload)
{
	LinkFrame  *f;

	if (link->bytes + payload->len > QUEUE_BYTES)
		return;
	f = vt_alloc0(sizeof(LinkFrame));
	f->payload = *payload;
	memset(payload, 0, sizeof(*payload));
	link->bytes += f->payload.len;
	*link->end = f;
	link->end = &f->next;
	pthread_cond_signal(&link->changed);
}

void
net_link_send(NetLink *link, Buf *payload)
{
	pthread_mutex_lock(&link->lock);
	if (!send_at_once(link, buf_bytes(payload)))
		enqueue(link, payload);
	pthread_mutex_unlock(&link->lock);
	buf_free(payload);
}

void
net_link_state(const NetLink *link, int64_t *tried_us, int64_t *failing_us)
{
	*tried_us = atomic_load(&link->tried_us);
	*failing_us = atomic_load(&link->failing_us);
}

void
net_link_probe(NetLink *link)
{
	pthread_mutex_lock(&link->lock);
	link->probes = PROBES;
	link->probe_after = 0;
	link->probe_since = clock_now_us();
	pthread_cond_signal(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

void
net_link_free(NetLink *link)
{
	if (!link)
		return;
	pthread_mutex_lock(&link->lock);
	link->stop = true;
	pthread_cond_signal(&link->changed);
	pthread_mutex_unlock(&link->lock);
	net_peer_abort(link->peer);
	pthread_join(link->thread, NULL);
	drop_all(link);
	net_peer_free(link->peer);
	pthread_mutex_destroy(&link->lock);
	pthread_cond_destroy(&link->changed);
	free(link);
}
