/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Listening, connections, frames in and out (law T1).
 *
 * A connection is kept alive by references: one of the server's list, one for
 * each aio that may still call back, one for each reply that is being made.
 * nng forbids freeing a stream or aio in its own callback, so a connection
 * whose last reference goes is put on the server's list of the dead, which a
 * housekeeping thread empties.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <nng/nng.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/breaks.h"
#include "private.h"

#define READ_CHUNK (64 << 10)
#define OUT_BYTES_MAX (256u << 20)	/* unread replies of one connection */

typedef struct OutFrame
{
	struct OutFrame *next;
	Buf			frame;
} OutFrame;

struct NetConn
{
	NetServer  *server;
	NetConn    *next;			/* in server->conns or server->dead */
	uint64_t	id;
	nng_stream *stream;
	atomic_int	refs;
	WireRole	role;
	bool		greeted;

	/* The receive under way; only its callback touches these */
	nng_aio    *recv_aio;
	Buf			in;				/* bytes received, not yet taken */

	/* The send under way, and what waits; lock.  closed goes before any use of the stream. */
	pthread_mutex_t lock;
	nng_aio    *send_aio;
	OutFrame   *out;
	OutFrame  **out_end;
	size_t		out_bytes;
	size_t		sent;			/* of out's first frame */
	bool		sending;
	bool		closed;
};

struct NetServer
{
	NetServerOptions options;
	char	   *path;
	nng_stream_listener *listener;
	nng_aio    *accept_aio;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	VtId		cluster;
	uint64_t	store;
	NetConn    *conns;
	NetConn    *dead;
	uint64_t	ids;
	int			alive;			/* connections not yet freed */
	bool		accepting;		/* the accept aio is under way */
	bool		stopping;
	pthread_t	house;
};

void
net_block_signals(void)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

NetConn *
net_conn_ref(NetConn *conn)
{
	atomic_fetch_add(&conn->refs, 1);
	return conn;
}

void
net_conn_release(NetConn *conn)
{
	NetServer  *server = conn->server;

	if (atomic_fetch_sub(&conn->refs, 1) > 1)
		return;
	pthread_mutex_lock(&server->lock);
	conn->next = server->dead;
	server->dead = conn;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

WireRole
net_conn_role(const NetConn *conn)
{
	return conn->role;
}

uint64_t
net_conn_id(const NetConn *conn)
{
	return conn->id;
}

/* End a connection; its aios come back with an error. */
static void
conn_close(NetConn *conn)
{
	NetServer  *server = conn->server;
	bool		first;
	bool		listed = false;

	pthread_mutex_lock(&conn->lock);
	first = !conn->closed;
	conn->closed = true;
	pthread_mutex_unlock(&conn->lock);
	if (!first)
		return;
	nng_stream_close(conn->stream);
	if (conn->greeted)
		server->options.handler.closed(server->options.handler.arg, conn);

	pthread_mutex_lock(&server->lock);
	for (NetConn **p = &server->conns; *p; p = &(*p)->next)
		if (*p == conn)
		{
			*p = conn->next;
			listed = true;
			break;
		}
	pthread_mutex_unlock(&server->lock);
	if (listed)
		net_conn_release(conn);
}

/* Start a send of what is queued; under conn->lock. */
static void
send_next(NetConn *conn)
{
	nng_iov		iov[8];
	unsigned	n = 0;
	size_t		skip = conn->sent;

	for (OutFrame *f = conn->out; f && n < 8; f = f->next)
	{
		iov[n].iov_buf = f->frame.data + skip;
		iov[n].iov_len = f->frame.len - skip;
		skip = 0;
		n++;
	}
	if (n == 0 || conn->closed)
		return;
	conn->sending = true;
	net_conn_ref(conn);
	nng_aio_set_iov(conn->send_aio, n, iov);
	nng_stream_send(conn->stream, conn->send_aio);
}

static void
on_sent(void *arg)
{
	NetConn    *conn = (NetConn *) arg;
	int			rc = nng_aio_result(conn->send_aio);
	size_t		count = rc == 0 ? nng_aio_count(conn->send_aio) : 0;

	pthread_mutex_lock(&conn->lock);
	conn->sending = false;
	conn->sent += count;
	if (vt_broken("T1-partial") && conn->sent > 0 && conn->out)
		conn->sent = conn->out->frame.len;
	while (conn->out && conn->sent >= conn->out->frame.len)
	{
		OutFrame   *f = conn->out;

		conn->sent -= f->frame.len;
		conn->out_bytes -= f->frame.len;
		conn->out = f->next;
		if (!conn->out)
			conn->out_end = &conn->out;
		buf_free(&f->frame);
		free(f);
	}
	if (rc == 0)
		send_next(conn);
	pthread_mutex_unlock(&conn->lock);
	if (rc != 0)
		conn_close(conn);
	net_conn_release(conn);
}

void
net_reply(NetConn *conn, Buf *frame)
{
	OutFrame   *f = vt_alloc0(sizeof(OutFrame));
	bool		full;

	f->frame = *frame;
	memset(frame, 0, sizeof(*frame));
	pthread_mutex_lock(&conn->lock);
	full = conn->out_bytes + f->frame.len > OUT_BYTES_MAX;
	if (conn->closed || full)
	{
		pthread_mutex_unlock(&conn->lock);
		buf_free(&f->frame);
		free(f);
		if (full)
			conn_close(conn);
		return;
	}
	conn->out_bytes += f->frame.len;
	*conn->out_end = f;
	conn->out_end = &f->next;
	if (!conn->sending)
		send_next(conn);
	pthread_mutex_unlock(&conn->lock);
}

void
net_reply_frame(NetConn *conn, WireType type, uint64_t request, Bytes payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, WIRE_REPLY, type, request, payload);
	net_reply(conn, &frame);
}

static bool
hello_answer(NetConn *conn, const WireHeader *header, Bytes payload)
{
	NetServer  *server = conn->server;
	WireHello	theirs;
	WireHello	ours;
	Buf			out = {0};
	bool		known;

	if (header->type != WIRE_HELLO || header->kind != WIRE_REQUEST ||
		wire_hello_get(payload, &theirs) != VT_OK || theirs.version_low > WIRE_VERSION ||
		theirs.version_high < WIRE_VERSION)
		return false;
	memset(&ours, 0, sizeof(ours));
	pthread_mutex_lock(&server->lock);
	ours.cluster = server->cluster;
	ours.store = server->store;
	pthread_mutex_unlock(&server->lock);
	known = !vt_id_is_zero(&theirs.cluster) && !vt_id_is_zero(&ours.cluster);
	if (known && !vt_id_equal(&theirs.cluster, &ours.cluster))
		return false;
	ours.version_low = ours.version_high = WIRE_VERSION;
	ours.role = server->options.role;
	ours.boot_epoch = server->options.boot_epoch;
	wire_hello_put(&out, &ours);
	net_reply_frame(conn, WIRE_HELLO, header->request, buf_bytes(&out));
	buf_free(&out);
	conn->role = theirs.role;
	conn->greeted = true;
	return true;
}

/* What a connection of this role may send. */
static bool
role_may(WireRole role, WireType type)
{
	switch (type)
	{
		case WIRE_CONTROL:
			return true;
		case WIRE_WRITE:
		case WIRE_SEARCH:
		case WIRE_LIST:
		case WIRE_READ_INDEX:
			return role == WIRE_ROLE_GATEWAY || role == WIRE_ROLE_CTL;
		default:
			return false;
	}
}

/* Take whole frames from the front of conn->in; false = close it. */
static bool
take_frames(NetConn *conn)
{
	NetServer  *server = conn->server;
	size_t		at = 0;

	while (conn->in.len - at >= WIRE_HEADER_SIZE)
	{
		const uint8_t *head = conn->in.data + at;
		WireHeader	header;
		Bytes		payload;

		if (wire_header_get(head, &header, NULL) != VT_OK)
			return false;
		if (conn->in.len - at < WIRE_HEADER_SIZE + (size_t) header.length)
		{
			buf_reserve(&conn->in, WIRE_HEADER_SIZE + (size_t) header.length);
			break;
		}
		payload = bytes_of(conn->in.data + at + WIRE_HEADER_SIZE, header.length);
		if (wire_payload_check(head, &header, payload, NULL) != VT_OK)
			return false;
		if (!conn->greeted)
		{
			if (!hello_answer(conn, &header, payload))
				return false;
		}
		else if (header.kind == WIRE_CANCEL || (header.kind == WIRE_REQUEST &&
												role_may(conn->role, header.type)))
		{
			Buf			copy = {0};

			buf_put(&copy, payload.data, payload.len);
			server->options.handler.frame(server->options.handler.arg, conn, &header, &copy);
			buf_free(&copy);
		}
		else
			return false;
		at += WIRE_HEADER_SIZE + header.length;
	}
	if (at > 0)
	{
		memmove(conn->in.data, conn->in.data + at, conn->in.len - at);
		conn->in.len -= at;
	}
	return true;
}

/*
 * Start a receive.  False: the connection is closed.  nng would take a receive
 * on a closed stream and never call back.
 */
static bool
receive_next(NetConn *conn)
{
	nng_iov		iov;
	bool		open;

	buf_reserve(&conn->in, READ_CHUNK);
	iov.iov_buf = conn->in.data + conn->in.len;
	iov.iov_len = conn->in.size - conn->in.len;
	pthread_mutex_lock(&conn->lock);
	open = !conn->closed;
	if (open)
	{
		nng_aio_set_iov(conn->recv_aio, 1, &iov);
		nng_stream_recv(conn->stream, conn->recv_aio);
	}
	pthread_mutex_unlock(&conn->lock);
	return open;
}

static void
on_received(void *arg)
{
	NetConn    *conn = (NetConn *) arg;
	int			rc = nng_aio_result(conn->recv_aio);

	if (rc == 0)
	{
		conn->in.len += nng_aio_count(conn->recv_aio);
		if (take_frames(conn) && receive_next(conn))
			return;
	}
	conn_close(conn);
	net_conn_release(conn);
}

static void
conn_free(NetConn *conn)
{
	nng_aio_stop(conn->recv_aio);
	nng_aio_stop(conn->send_aio);
	nng_aio_free(conn->recv_aio);
	nng_aio_free(conn->send_aio);
	nng_stream_free(conn->stream);
	while (conn->out)
	{
		OutFrame   *f = conn->out;

		conn->out = f->next;
		buf_free(&f->frame);
		free(f);
	}
	buf_free(&conn->in);
	pthread_mutex_destroy(&conn->lock);
	free(conn);
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
	int			rc = nng_aio_result(server->accept_aio);
	nng_stream *stream = rc == 0 ? (nng_stream *) nng_aio_get_output(server->accept_aio, 0) : NULL;
	bool		stopping;

	if (stream && !peer_is_ours(stream))
	{
		nng_stream_free(stream);
		stream = NULL;
	}
	if (stream)
	{
		NetConn    *conn = vt_alloc0(sizeof(NetConn));

		conn->server = server;
		conn->stream = stream;
		conn->out_end = &conn->out;
		pthread_mutex_init(&conn->lock, NULL);
		atomic_store(&conn->refs, 2);	/* the list's and the receive's */
		if (nng_aio_alloc(&conn->recv_aio, on_received, conn) != 0 ||
			nng_aio_alloc(&conn->send_aio, on_sent, conn) != 0)
			vt_assert_fail("nng_aio_alloc", __FILE__, __LINE__);
		pthread_mutex_lock(&server->lock);
		conn->id = ++server->ids;
		conn->next = server->conns;
		server->conns = conn;
		server->alive++;
		pthread_mutex_unlock(&server->lock);
		if (!receive_next(conn))
			net_conn_release(conn);
	}
	pthread_mutex_lock(&server->lock);
	stopping = server->stopping || rc == NNG_ECLOSED || rc == NNG_ECANCELED;
	if (stopping)
	{
		server->accepting = false;
		pthread_cond_broadcast(&server->changed);
	}
	pthread_mutex_unlock(&server->lock);
	if (!stopping)
		nng_stream_listener_accept(server->listener, server->accept_aio);
}

/* Free what nobody refers to any more. */
static void *
house_main(void *arg)
{
	NetServer  *server = (NetServer *) arg;

	pthread_mutex_lock(&server->lock);
	for (;;)
	{
		NetConn    *dead = server->dead;

		if (dead)
		{
			server->dead = dead->next;
			pthread_mutex_unlock(&server->lock);
			conn_free(dead);
			pthread_mutex_lock(&server->lock);
			server->alive--;
			continue;
		}
		if (server->stopping && server->alive == 0 && !server->accepting)
			break;
		pthread_cond_wait(&server->changed, &server->lock);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

const char *
endpoint_path(const char *endpoint, VtError *err)
{
	size_t		len = strlen(endpoint);

	if (len > 5 && len - 5 < sizeof(((struct sockaddr_un *) 0)->sun_path) &&
		strncmp(endpoint, "unix:", 5) == 0)
		return endpoint + 5;
	if (strncmp(endpoint, "tcp:", 4) == 0)
		vt_fail(err, VT_INVALID, "endpoint \"%s\": tcp is not supported before TLS is", endpoint);
	else
		vt_fail(err, VT_INVALID, "endpoint \"%s\" is not unix:PATH with a path of at most 107 bytes", endpoint);
	return NULL;
}

/* Does anybody answer on a socket file? */
static bool
somebody_answers(const char *path)
{
	struct sockaddr_un addr;
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool		answers;

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	answers = fd >= 0 && connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0;
	if (fd >= 0)
		close(fd);
	return answers;
}

static VtStatus
nng_failed(VtError *err, const char *doing, const char *endpoint, int rc)
{
	return vt_fail(err, rc == NNG_EADDRINUSE ? VT_BUSY : VT_IO, "could not %s %s: %s", doing,
				   endpoint, nng_strerror(rc));
}

VtStatus
net_server_start(const NetServerOptions *options, NetServer **out, VtError *err)
{
	const char *path = endpoint_path(options->endpoint, err);
	NetServer  *server;
	char		url[160];
	mode_t		mask;
	int			rc;

	if (!path)
		return VT_INVALID;
	if (somebody_answers(path))
		return vt_fail(err, VT_BUSY, "another process listens on \"%s\"", path);
	unlink(path);

	server = vt_alloc0(sizeof(NetServer));
	server->options = *options;
	server->cluster = options->cluster;
	server->store = options->store;
	server->path = vt_strdup(path);
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	snprintf(url, sizeof(url), "ipc://%s", path);
	mask = umask(0177);			/* the socket file is made 0600 */
	rc = nng_stream_listener_alloc(&server->listener, url);
	if (rc == 0)
		rc = nng_stream_listener_listen(server->listener);
	umask(mask);
	if (rc == 0)
		rc = nng_aio_alloc(&server->accept_aio, on_accepted, server);
	if (rc != 0)
	{
		if (server->listener)
			nng_stream_listener_free(server->listener);
		free(server->path);
		free(server);
		return nng_failed(err, "listen on", options->endpoint, rc);
	}
	server->accepting = true;
	if (pthread_create(&server->house, NULL, house_main, server) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	nng_stream_listener_accept(server->listener, server->accept_aio);
	*out = server;
	return VT_OK;
}

void
net_server_set_identity(NetServer *server, const VtId *cluster, uint64_t store)
{
	pthread_mutex_lock(&server->lock);
	server->cluster = *cluster;
	server->store = store;
	pthread_mutex_unlock(&server->lock);
}

void
net_server_stop(NetServer *server)
{
	if (!server)
		return;
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_mutex_unlock(&server->lock);
	nng_stream_listener_close(server->listener);
	for (;;)
	{
		NetConn    *conn;

		pthread_mutex_lock(&server->lock);
		conn = server->conns;
		if (conn)
			net_conn_ref(conn);
		pthread_cond_broadcast(&server->changed);
		pthread_mutex_unlock(&server->lock);
		if (!conn)
			break;
		conn_close(conn);
		net_conn_release(conn);
	}
	pthread_join(server->house, NULL);
	nng_aio_stop(server->accept_aio);
	nng_aio_free(server->accept_aio);
	nng_stream_listener_free(server->listener);
	unlink(server->path);
	pthread_mutex_destroy(&server->lock);
	pthread_cond_destroy(&server->changed);
	free(server->path);
	free(server);
}
