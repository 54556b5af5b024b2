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
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "private.h"

typedef struct StreamConn
{
	NetConn		base;
	nng_stream *stream;
	nng_aio    *recv_aio;		/* its callback alone touches base.in */
	nng_aio    *send_aio;
	bool		sending;		/* base.lock */
	struct StreamConn *next_dead;
} StreamConn;

typedef struct Streams
{
	nng_stream_listener *listener;
	nng_aio    *accept_aio;
	StreamConn *dead;			/* this and below: server->lock */
	bool		accepting;		/* the accept aio is under way */
	pthread_t	house;
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
on_sent(void *arg)
{
	NetConn    *conn = (NetConn *) arg;
	StreamConn *sc = (StreamConn *) arg;
	int			rc = nng_aio_result(sc->send_aio);

	pthread_mutex_lock(&conn->lock);
	sc->sending = false;
	conn_sent(conn, rc == 0 ? nng_aio_count(sc->send_aio) : 0);
	if (rc == 0)
		send_next(conn);
	pthread_mutex_unlock(&conn->lock);
	if (rc != 0)
		conn_close(conn);
	net_conn_release(conn);
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

	conn_reserve(conn);
	iov.iov_buf = conn->in.data + conn->in.len;
	iov.iov_len = conn->in.size - conn->in.len;
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

static void
on_received(void *arg)
{
	StreamConn *sc = (StreamConn *) arg;
	NetConn    *conn = &sc->base;
	int			rc = nng_aio_result(sc->recv_aio);

	if (rc == 0)
	{
		conn->in.len += nng_aio_count(sc->recv_aio);
		if (conn_take_frames(conn) && receive_next(sc))
			return;
	}
	conn_close(conn);
	net_conn_release(conn);
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

static void
on_accepted(void *arg)
{
	NetServer  *server = (NetServer *) arg;
	Streams    *streams = streams_of(server);
	int			rc = nng_aio_result(streams->accept_aio);
	nng_stream *stream = rc == 0 ? (nng_stream *) nng_aio_get_output(streams->accept_aio, 0) : NULL;
	bool		stopping;

	if (stream && !peer_is_ours(stream))
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
		conn_join(&sc->base);
		if (!receive_next(sc))
			net_conn_release(&sc->base);
	}
	pthread_mutex_lock(&server->lock);
	stopping = server->stopping || rc == NNG_ECLOSED || rc == NNG_ECANCELED;
	if (stopping)
	{
		streams->accepting = false;
		pthread_cond_broadcast(&server->changed);
	}
	pthread_mutex_unlock(&server->lock);
	if (!stopping)
		nng_stream_listener_accept(streams->listener, streams->accept_aio);
}

/* Free what nobody refers to any more. */
static void *
house_main(void *arg)
{
	NetServer  *server = (NetServer *) arg;
	Streams    *streams = streams_of(server);

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
		if (server->stopping && server->alive == 0 && !streams->accepting)
			break;
		pthread_cond_wait(&server->changed, &server->lock);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

static VtStatus
streams_start(NetServer *server, VtError *err)
{
	Streams    *streams = vt_alloc0(sizeof(Streams));
	char		url[160];
	mode_t		mask;
	int			rc;

	server->carried = streams;
	snprintf(url, sizeof(url), "ipc://%s", server->path);
	mask = umask(0177);			/* the socket file is made 0600 */
	rc = nng_stream_listener_alloc(&streams->listener, url);
	if (rc == 0)
		rc = nng_stream_listener_listen(streams->listener);
	umask(mask);
	if (rc == 0)
		rc = nng_aio_alloc(&streams->accept_aio, on_accepted, server);
	if (rc != 0)
	{
		if (streams->listener)
			nng_stream_listener_free(streams->listener);
		free(streams);
		return vt_fail(err, rc == NNG_EADDRINUSE ? VT_BUSY : VT_IO, "could not listen on %s: %s",
					   server->options.endpoint, nng_strerror(rc));
	}
	streams->accepting = true;
	if (pthread_create(&streams->house, NULL, house_main, server) != 0)
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
	nng_aio_stop(streams->accept_aio);
	nng_aio_free(streams->accept_aio);
	nng_stream_listener_free(streams->listener);
	free(streams);
}

const NetCarrier net_streams = {
	streams_start, send_next, streams_cut, streams_gone, streams_stop_accepting, streams_stop
};
