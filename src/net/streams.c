/*-------------------------------------------------------------------------
 *
 * streams.c
 *	  Connections over nng streams (law T1).
 *
 * One receive and one send under way per stream; callbacks only move frames.
 * nng forbids freeing a stream or aio in its own callback, so a connection
 * whose last reference goes is put on the list of the dead, which a
 * housekeeping thread empties.
 *
 * What comes over TLS is opened by a thread of its own (the opener): showing who
 * one is takes a good part of a millisecond, far more than a callback may.  What
 * leaves is sealed by whoever replies.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <netinet/in.h>
#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "private.h"

#define URL_SIZE 160

typedef struct StreamConn
{
	NetConn		base;
	nng_stream *stream;
	nng_aio    *recv_aio;		/* its callback alone touches base.in */
	nng_aio    *send_aio;
	bool		sending;		/* base.lock */
	bool		ending;			/* base.lock: closed when what is queued has left */
	size_t		came;			/* bytes for the opener */
	struct StreamConn *next_dead;
	struct StreamConn *next_work;
} StreamConn;

typedef struct Streams
{
	nng_stream_listener *listener;
	nng_aio    *accept_aio;
	StreamConn *dead;			/* this and below: server->lock */
	bool		accepting;		/* the accept aio is under way, or rests */
	bool		rests;			/* until there may be room for another connection */
	int64_t		rests_until_us;
	pthread_t	house;

	/* Received over TLS, to be opened; server->lock */
	StreamConn *work;
	StreamConn **work_end;
	pthread_cond_t work_came;
	bool		no_more_work;
	pthread_t	opener;			/* tcp only */

	bool		waits;			/* no room was told of; the accept's callback's */
} Streams;

static Streams *
streams_of(NetServer *server)
{
	return (Streams *) server->carried;
}

/* Start a send of what is queued; under the connection's lock. */
static void
send_next(NetConn *conn)
{
	StreamConn *sc = (StreamConn *) conn;
	nng_iov		iov[SEND_FRAMES];
	unsigned	n = 0;
	size_t		skip = conn->sent;

	for (OutFrame *f = conn->out; f && n < SEND_FRAMES; f = f->next)
	{
		iov[n].iov_buf = f->frame.data + skip;
		iov[n].iov_len = f->frame.len - skip;
		skip = 0;
		n++;
	}
	if (n == 0 || conn->closed || sc->sending)
		return;
	sc->sending = true;
	net_conn_ref(conn);
	nng_aio_set_iov(sc->send_aio, n, iov);
	nng_stream_send(sc->stream, sc->send_aio);
}

static void
sent(StreamConn *sc)
{
	NetConn    *conn = &sc->base;
	int			rc = nng_aio_result(sc->send_aio);
	bool		ended;

	pthread_mutex_lock(&conn->lock);
	sc->sending = false;
	conn_sent(conn, rc == 0 ? nng_aio_count(sc->send_aio) : 0);
	if (rc == 0)
		send_next(conn);
	ended = sc->ending && !sc->sending;
	if (ended)
		sc->ending = false;
	pthread_mutex_unlock(&conn->lock);
	if (rc != 0 || ended)
		conn_close(conn);
	if (ended)
		net_conn_release(conn); /* the receive's */
	net_conn_release(conn);
}

static void
on_sent(void *arg)
{
	int64_t		began_us = held_begin();

	sent((StreamConn *) arg);
	held_end(HELD_CALLBACK, began_us);
}

/*
 * Start a receive; false when the connection was closed meanwhile.  nng 1.5.2
 * never ends a receive that begins on a closed stream, so it begins under the
 * lock under which a connection becomes closed.
 */
static bool
receive_next(StreamConn *sc)
{
	NetConn    *conn = &sc->base;
	nng_iov		iov;
	bool		begun;

	iov.iov_buf = conn_room(conn, &iov.iov_len);
	pthread_mutex_lock(&conn->lock);
	begun = !conn->closed;
	if (begun)
	{
		nng_aio_set_iov(sc->recv_aio, 1, &iov);
		nng_stream_recv(sc->stream, sc->recv_aio);
	}
	pthread_mutex_unlock(&conn->lock);
	return begun;
}

/* The receive's reference and the connection end, or what is queued leaves first. */
static void
end_receiving(StreamConn *sc, bool say_why)
{
	NetConn    *conn = &sc->base;

	pthread_mutex_lock(&conn->lock);
	sc->ending = say_why && sc->sending && !conn->closed;
	say_why = sc->ending;
	pthread_mutex_unlock(&conn->lock);
	if (say_why)
		return;					/* on_sent() goes on */
	conn_close(conn);
	net_conn_release(conn);
}

static void
received(StreamConn *sc)
{
	NetConn    *conn = &sc->base;
	NetServer  *server = conn->server;
	int			rc = nng_aio_result(sc->recv_aio);

	sc->came = rc == 0 ? nng_aio_count(sc->recv_aio) : 0;
	if (rc == 0 && conn->tls)
	{
		Streams    *streams = streams_of(server);

		pthread_mutex_lock(&server->lock);
		sc->next_work = NULL;
		*streams->work_end = sc;
		streams->work_end = &sc->next_work;
		pthread_cond_signal(&streams->work_came);
		pthread_mutex_unlock(&server->lock);
	}
	else if (rc != 0 || !conn_received(conn, sc->came) || !receive_next(sc))
		end_receiving(sc, false);
}

static void
on_received(void *arg)
{
	int64_t		began_us = held_begin();

	received((StreamConn *) arg);
	held_end(HELD_CALLBACK, began_us);
}

static void *
opener_main(void *arg)
{
	NetServer  *server = (NetServer *) arg;
	Streams    *streams = streams_of(server);

	pthread_mutex_lock(&server->lock);
	while (streams->work || !streams->no_more_work)
	{
		StreamConn *sc = streams->work;

		if (!sc)
		{
			pthread_cond_wait(&streams->work_came, &server->lock);
			continue;
		}
		streams->work = sc->next_work;
		if (!streams->work)
			streams->work_end = &streams->work;
		pthread_mutex_unlock(&server->lock);
		/* Strangers who were shut out meanwhile cost nobody else his turn. */
		if (atomic_load(&sc->base.gone))
			end_receiving(sc, false);
		else if (!conn_received(&sc->base, sc->came))
			end_receiving(sc, true);
		else if (!receive_next(sc))
			end_receiving(sc, false);
		pthread_mutex_lock(&server->lock);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

static void
streams_cut(NetConn *conn)
{
	nng_stream_close(((StreamConn *) conn)->stream);
}

/* The last reference may go in a callback of its own: leave it to the house. */
static void
streams_gone(NetConn *conn)
{
	NetServer  *server = conn->server;
	StreamConn *sc = (StreamConn *) conn;

	pthread_mutex_lock(&server->lock);
	sc->next_dead = streams_of(server)->dead;
	streams_of(server)->dead = sc;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void
bury(StreamConn *sc)
{
	nng_aio_stop(sc->recv_aio);
	nng_aio_stop(sc->send_aio);
	nng_aio_free(sc->recv_aio);
	nng_aio_free(sc->send_aio);
	nng_stream_free(sc->stream);
	conn_free(&sc->base);
}

/* Without TLS a unix socket is open to our own user only, and to root. */
static bool
peer_is_ours(nng_stream *stream)
{
	uint64_t	uid;

	return nng_stream_get_uint64(stream, NNG_OPT_IPC_PEER_UID, &uid) == 0 &&
		(uid == (uint64_t) geteuid() || uid == 0);
}

/* From where it comes; false = nng does not know. */
static bool
address_of(nng_stream *stream, struct sockaddr_storage *addr, socklen_t *len)
{
	nng_sockaddr from;

	memset(addr, 0, sizeof(*addr));
	if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &from) != 0)
		return false;
	if (from.s_family == NNG_AF_INET)
	{
		struct sockaddr_in *in = (struct sockaddr_in *) addr;

		in->sin_family = AF_INET;
		in->sin_port = from.s_in.sa_port;
		in->sin_addr.s_addr = from.s_in.sa_addr;
		*len = sizeof(*in);
		return true;
	}
	if (from.s_family == NNG_AF_INET6)
	{
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) addr;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = from.s_in6.sa_port;
		memcpy(&in6->sin6_addr, from.s_in6.sa_addr, sizeof(in6->sin6_addr));
		*len = sizeof(*in6);
		return true;
	}
	return false;
}

static void
accepted(NetServer *server)
{
	Streams    *streams = streams_of(server);
	int			rc = nng_aio_result(streams->accept_aio);
	nng_stream *stream = rc == 0 ? (nng_stream *) nng_aio_get_output(streams->accept_aio, 0) : NULL;
	struct sockaddr_storage addr;
	socklen_t	len = 0;
	bool		tcp = server->listens.tcp;
	bool		full = rc == NNG_ENOFILES || rc == NNG_ENOMEM;
	bool		stopping;

	if (full && !streams->waits && server->options.handler.refused)
		server->options.handler.refused(server->options.handler.arg, NET_NO_ROOM);
	streams->waits = full;
	if (stream && !(tcp ? address_of(stream, &addr, &len) : peer_is_ours(stream)))
	{
		nng_stream_free(stream);
		stream = NULL;
	}
	if (stream)
	{
		/* The list's reference and the receive's. */
		StreamConn *sc = (StreamConn *) conn_new(server, sizeof(StreamConn), 2);

		sc->stream = stream;
		if (nng_aio_alloc(&sc->recv_aio, on_received, sc) != 0 ||
			nng_aio_alloc(&sc->send_aio, on_sent, sc) != 0)
			vt_assert_fail("nng_aio_alloc", __FILE__, __LINE__);
		conn_join(&sc->base, tcp ? &addr : NULL, len);
		if (!receive_next(sc))
			net_conn_release(&sc->base);
		/* The house looks whether they are too many, and for those who say nothing. */
		pthread_cond_broadcast(&server->changed);
	}
	pthread_mutex_lock(&server->lock);
	stopping = server->stopping || rc == NNG_ECLOSED || rc == NNG_ECANCELED;
	if (stopping)
	{
		streams->accepting = false;
		pthread_cond_broadcast(&server->changed);
	}
	else if (full)
	{
		/* It would fail again at once, and again; the house begins the next. */
		streams->rests = true;
		streams->rests_until_us = clock_now_us() + 1000 * SWEEP_MS;
		pthread_cond_broadcast(&server->changed);
	}
	pthread_mutex_unlock(&server->lock);
	if (!stopping && !full)
		nng_stream_listener_accept(streams->listener, streams->accept_aio);
}

static void
on_accepted(void *arg)
{
	int64_t		began_us = held_begin();

	accepted((NetServer *) arg);
	held_end(HELD_CALLBACK, began_us);
}

/* Wait for something to change, and while there are strangers not for long; the lock is held. */
static void
house_wait(NetServer *server, int64_t *sweep_due_us)
{
	int64_t		now = clock_now_us();
	int64_t		ms = guard_sweep_ms(server);
	struct timespec until;

	if ((server->strangers == 0 || server->stopping) && !streams_of(server)->rests)
	{
		*sweep_due_us = now + 1000 * ms;
		pthread_cond_wait(&server->changed, &server->lock);
		return;
	}
	if (server->strangers == 0 || (now < *sweep_due_us && server->strangers <= STRANGERS_MAX))
	{
		until = cond_moment(1000 * ms);
		pthread_cond_timedwait(&server->changed, &server->lock, &until);
		return;
	}
	*sweep_due_us = now + 1000 * ms;
	pthread_mutex_unlock(&server->lock);
	guard_bound(server);
	guard_sweep(server);
	pthread_mutex_lock(&server->lock);
}

/* An accept that rests begins, or ends with the server; the lock is held. */
static void
accept_again(NetServer *server)
{
	Streams    *streams = streams_of(server);

	streams->rests = false;
	streams->accepting = !server->stopping;
	if (server->stopping)
		return;
	pthread_mutex_unlock(&server->lock);
	nng_stream_listener_accept(streams->listener, streams->accept_aio);
	pthread_mutex_lock(&server->lock);
}

/* Free what nobody refers to any more, and shut out who says nothing. */
static void *
house_main(void *arg)
{
	NetServer  *server = (NetServer *) arg;
	Streams    *streams = streams_of(server);
	int64_t		sweep_due_us = 0;

	pthread_mutex_lock(&server->lock);
	for (;;)
	{
		StreamConn *dead = streams->dead;

		if (dead)
		{
			streams->dead = dead->next_dead;
			pthread_mutex_unlock(&server->lock);
			bury(dead);
			pthread_mutex_lock(&server->lock);
			continue;
		}
		if (streams->rests && (server->stopping || clock_now_us() >= streams->rests_until_us))
			accept_again(server);
		if (server->stopping && server->alive == 0 && !streams->accepting)
			break;
		house_wait(server, &sweep_due_us);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* The endpoint as nng names it. */
static void
url_of(const Endpoint *endpoint, char url[URL_SIZE])
{
	char		address[ENDPOINT_ADDRESS_TEXT];

	if (endpoint->tcp)
	{
		endpoint_format(&endpoint->addr, endpoint->len, address);
		snprintf(url, URL_SIZE, "tcp://%s", address);
	}
	else
		snprintf(url, URL_SIZE, "ipc://%s", endpoint_path(endpoint));
}

static int
listen_on(Streams *streams, const Endpoint *endpoint)
{
	char		url[URL_SIZE];
	mode_t		mask;
	int			rc;

	url_of(endpoint, url);
	mask = umask(0177);			/* a socket file is made 0600 */
	rc = nng_stream_listener_alloc(&streams->listener, url);
	if (rc == 0 && endpoint->tcp)
		rc = nng_stream_listener_set_bool(streams->listener, NNG_OPT_TCP_NODELAY, true);
	if (rc == 0 && endpoint->tcp)
		rc = nng_stream_listener_set_bool(streams->listener, NNG_OPT_TCP_KEEPALIVE, true);
	if (rc == 0)
		rc = nng_stream_listener_listen(streams->listener);
	umask(mask);
	return rc;
}

static VtStatus
streams_start(NetServer *server, VtError *err)
{
	Streams    *streams = vt_alloc0(sizeof(Streams));
	int			rc;

	server->carried = streams;
	streams->work_end = &streams->work;
	pthread_cond_init(&streams->work_came, NULL);
	rc = listen_on(streams, &server->listens);
	if (rc == 0)
		rc = nng_aio_alloc(&streams->accept_aio, on_accepted, server);
	if (rc != 0)
	{
		if (streams->listener)
			nng_stream_listener_free(streams->listener);
		pthread_cond_destroy(&streams->work_came);
		free(streams);
		return vt_fail(err, rc == NNG_EADDRINUSE ? VT_BUSY : VT_IO, "could not listen on %s: %s",
					   server->options.endpoint, nng_strerror(rc));
	}
	streams->accepting = true;
	if (pthread_create(&streams->house, NULL, house_main, server) != 0 ||
		(server->listens.tcp && pthread_create(&streams->opener, NULL, opener_main, server) != 0))
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	nng_stream_listener_accept(streams->listener, streams->accept_aio);
	return VT_OK;
}

static void
streams_stop_accepting(NetServer *server)
{
	nng_stream_listener_close(streams_of(server)->listener);
}

static void
streams_stop(NetServer *server)
{
	Streams    *streams = streams_of(server);

	pthread_mutex_lock(&server->lock);
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	pthread_join(streams->house, NULL);
	if (server->listens.tcp)
	{
		pthread_mutex_lock(&server->lock);
		streams->no_more_work = true;
		pthread_cond_signal(&streams->work_came);
		pthread_mutex_unlock(&server->lock);
		pthread_join(streams->opener, NULL);
	}
	pthread_cond_destroy(&streams->work_came);
	nng_aio_stop(streams->accept_aio);
	nng_aio_free(streams->accept_aio);
	nng_stream_listener_free(streams->listener);
	free(streams);
}

const NetCarrier net_streams = {
	streams_start, send_next, streams_cut, streams_gone, streams_stop_accepting, streams_stop
};
