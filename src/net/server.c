/*-------------------------------------------------------------------------
 *
 * server.c
 *	  A server and its connections: greeting, frames in, replies out.
 *
 * What carries the bytes is behind NetCarrier: nng streams, or plain sockets.
 * Here is what both have in common: who may speak, what a frame is, when
 * replies are too many.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/cond.h"
#include "private.h"

#define OUT_BYTES_MAX (256u << 20)	/* unread replies of one connection */

void
net_block_signals(void)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

/* -- Connections ----------------------------------------------------------- */

NetConn *
conn_new(NetServer *server, size_t size, int refs)
{
	NetConn    *conn = vt_alloc0(size);

	conn->server = server;
	conn->out_end = &conn->out;
	pthread_mutex_init(&conn->lock, NULL);
	atomic_store(&conn->refs, refs);
	return conn;
}

/* Of a process, which may have several servers. */
static atomic_uint_fast64_t ids;

void
conn_join(NetConn *conn, const struct sockaddr_storage *addr, socklen_t len)
{
	NetServer  *server = conn->server;
	bool		too_late;

	if (addr)
	{
		WireTlsContext *context = net_tls_context(server->options.tls);

		endpoint_format(addr, len, conn->from);
		conn->tls = wire_tls_new(context, true, 0);
		wire_tls_context_release(context);
	}
	conn->greet_by_us = clock_now_us() + 1000 * guard_greeting_ms(server);
	pthread_mutex_lock(&server->lock);
	conn->id = atomic_fetch_add(&ids, 1) + 1;
	conn->next = server->conns;
	server->conns = conn;
	server->alive++;
	conn->stranger = true;
	server->strangers++;
	too_late = server->stopping;
	pthread_mutex_unlock(&server->lock);

	/* It was accepted, and net_server_stop() has looked for whom it shuts out; nobody else would. */
	if (too_late)
		conn_close(conn);

	/* Certificates were exchanged before net_server_renew() could find it. */
	if (conn->tls && !net_tls_is_current(server->options.tls, wire_tls_context_of(conn->tls)))
		conn_close(conn);
}

void
conn_free(NetConn *conn)
{
	NetServer  *server = conn->server;

	while (conn->out)
	{
		OutFrame   *f = conn->out;

		conn->out = f->next;
		buf_free(&f->frame);
		free(f);
	}
	buf_free(&conn->in);
	buf_free(&conn->raw);
	wire_tls_free(conn->tls);
	pthread_mutex_destroy(&conn->lock);
	free(conn);
	pthread_mutex_lock(&server->lock);
	server->alive--;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
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
	if (atomic_fetch_sub(&conn->refs, 1) == 1)
		conn->server->carrier->gone(conn);
}

WireRole
net_conn_role(const NetConn *conn)
{
	return conn->role;
}

uint64_t
net_conn_features(const NetConn *conn)
{
	return conn->features;
}

uint64_t
net_conn_store(const NetConn *conn)
{
	return conn->store;
}

uint64_t
net_conn_id(const NetConn *conn)
{
	return conn->id;
}

uint64_t
net_conn_system(const NetConn *conn)
{
	return conn->system;
}

const char *
net_conn_name(const NetConn *conn)
{
	return conn->tls ? wire_tls_peer(conn->tls)->name : "";
}

uint32_t
net_conn_requests(NetConn *conn, int change)
{
	return (uint32_t) (atomic_fetch_add(&conn->requests, change) + change);
}

void
net_conn_cancel(NetConn *conn, uint64_t request)
{
	uint32_t	n = atomic_fetch_add(&conn->cancels, 1);

	atomic_store(&conn->cancelled[n % WIRE_OUTSTANDING_MAX], request);
}

bool
net_conn_is_cancelled(const NetConn *conn, uint64_t request)
{
	uint32_t	n = atomic_load(&conn->cancels);

	if (atomic_load(&conn->gone))
		return true;
	n = n < WIRE_OUTSTANDING_MAX ? n : WIRE_OUTSTANDING_MAX;
	for (uint32_t i = 0; i < n; i++)
		if (atomic_load(&conn->cancelled[i]) == request)
			return true;
	return false;
}

bool
net_conn_may_own(const NetConn *conn, uint64_t system)
{
	return conn->system == 0 || conn->system == system || vt_broken("T2-system");
}

bool
net_conn_is_closed(NetConn *conn)
{
	return atomic_load(&conn->gone);
}

void
conn_close(NetConn *conn)
{
	NetServer  *server = conn->server;
	bool		first;
	bool		listed = false;
	bool		greeted;

	pthread_mutex_lock(&conn->lock);
	first = !conn->closed;
	conn->closed = true;
	atomic_store(&conn->gone, true);
	pthread_mutex_unlock(&conn->lock);
	if (!first)
		return;
	server->carrier->cut(conn);

	/* From here on it cannot become one that has greeted. */
	pthread_mutex_lock(&server->lock);
	guard_known(conn);
	greeted = conn->greeted;
	for (NetConn **p = &server->conns; *p; p = &(*p)->next)
		if (*p == conn)
		{
			*p = conn->next;
			listed = true;
			break;
		}
	pthread_mutex_unlock(&server->lock);
	if (greeted)
		server->options.handler.closed(server->options.handler.arg, conn);
	if (listed)
		net_conn_release(conn);
}

/* -- Replies --------------------------------------------------------------- */

void
conn_sent(NetConn *conn, size_t bytes)
{
	conn->sent += bytes;
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
}

/* Bytes as they are to leave, moved out of *bytes; conn->lock is held. */
static void
queue_out(NetConn *conn, Buf *bytes)
{
	OutFrame   *f = vt_alloc0(sizeof(OutFrame));
	bool		first = conn->out == NULL;

	f->frame = *bytes;
	memset(bytes, 0, sizeof(*bytes));
	conn->out_bytes += f->frame.len;
	*conn->out_end = f;
	conn->out_end = &f->next;
	if (first)
		conn->server->carrier->send(conn);
}

/* Hide a frame from others; conn->lock is held, since records leave in the order they were made. */
static bool
seal(NetConn *conn, Buf *frame)
{
	Buf			sealed = {0};
	VtStatus	status = wire_tls_put(conn->tls, buf_bytes(frame), &sealed, NULL);

	buf_free(frame);
	*frame = sealed;
	return status == VT_OK;
}

void
net_reply(NetConn *conn, Buf *frame)
{
	bool		lost;

	pthread_mutex_lock(&conn->lock);
	lost = conn->out_bytes + frame->len > OUT_BYTES_MAX;
	if (!conn->closed && !lost)
		lost = conn->tls && !seal(conn, frame);
	if (!conn->closed && !lost)
		queue_out(conn, frame);
	pthread_mutex_unlock(&conn->lock);
	buf_free(frame);
	if (lost)
		conn_close(conn);
}

void
net_reply_frame(NetConn *conn, WireType type, uint64_t request, Bytes payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, WIRE_REPLY, type, request, payload);
	net_reply(conn, &frame);
}

/* -- Frames in ------------------------------------------------------------- */

/* Room in conn->in for what is worth receiving at once. */
static void
reserve(NetConn *conn)
{
	WireHeader	header;

	if (conn->greeted && conn->in.len >= WIRE_HEADER_SIZE &&
		wire_header_get(conn->in.data, &header, NULL) == VT_OK)
	{
		size_t		whole = WIRE_HEADER_SIZE + (size_t) header.length;

		if (whole > conn->in.len + READ_CHUNK)
		{
			buf_reserve(&conn->in, whole - conn->in.len);
			return;
		}
	}
	buf_reserve(&conn->in, conn->greeted ? READ_CHUNK : READ_CHUNK_GREETING);
}

uint8_t *
conn_room(NetConn *conn, size_t *room)
{
	Buf		   *to = conn->tls ? &conn->raw : &conn->in;

	if (conn->tls)
		buf_reserve(to, conn->greeted ? READ_CHUNK : READ_CHUNK_GREETING);
	else
		reserve(conn);
	*room = to->size - to->len;
	return to->data + to->len;
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

		if (wire_header_get(head, &header, NULL) != VT_OK ||
			(!conn->greeted && header.length > GREETING_MAX))
		{
			if (!conn->greeted)
				guard_refuse(conn, "does not begin with a greeting");
			return false;
		}
		if (conn->in.len - at < WIRE_HEADER_SIZE + (size_t) header.length)
			break;
		payload = bytes_of(conn->in.data + at + WIRE_HEADER_SIZE, header.length);
		if (wire_payload_check(head, &header, payload, NULL) != VT_OK)
			return false;
		if (!conn->greeted)
		{
			if (!guard_greet(conn, &header, payload))
				return false;
		}
		else if (header.kind == WIRE_CANCEL ||
				 (header.kind == (header.type == WIRE_RAFT ? WIRE_ONEWAY : WIRE_REQUEST) &&
				  guard_may(server->options.role, conn->role, header.type)))
		{
			Buf			copy = {0};

			if (header.type == WIRE_PING && header.kind == WIRE_REQUEST)
			{
				net_reply_frame(conn, WIRE_PING, header.request, bytes_of("", 0));
				at += WIRE_HEADER_SIZE + header.length;
				continue;
			}
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
 * What the bytes in conn->raw say, to conn->in.  False = close it, when what is
 * in the way out has left, which tells the peer why.
 */
static bool
unseal(NetConn *conn, size_t n)
{
	Buf			out = {0};
	VtError		err = {0};
	VtStatus	status;
	bool		known;

	pthread_mutex_lock(&conn->lock);
	known = wire_tls_ready(conn->tls);
	status = wire_tls_take(conn->tls, bytes_of(conn->raw.data, n), &conn->in, &out, &err);
	if (out.len > 0 && !conn->closed)
		queue_out(conn, &out);
	pthread_mutex_unlock(&conn->lock);
	buf_free(&out);
	if (status != VT_OK && !known)
		guard_refuse(conn, vt_error_words(&err));
	return status == VT_OK;
}

bool
conn_received(NetConn *conn, size_t n)
{
	if (!conn->tls)
		conn->in.len += n;
	else if (!unseal(conn, n))
		return false;
	return take_frames(conn);
}

/* -- Listening ------------------------------------------------------------- */

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

static void
server_free(NetServer *server)
{
	pthread_mutex_destroy(&server->lock);
	pthread_cond_destroy(&server->changed);
	free(server);
}

/* A socket file that a dead process has left goes; one where somebody answers stays. */
static VtStatus
clear_path(const Endpoint *endpoint, VtError *err)
{
	if (endpoint->tcp)
		return VT_OK;
	if (somebody_answers(endpoint_path(endpoint)))
		return vt_fail(err, VT_BUSY, "another process listens on \"%s\"", endpoint_path(endpoint));
	unlink(endpoint_path(endpoint));
	return VT_OK;
}

VtStatus
net_server_start(const NetServerOptions *options, NetServer **out, VtError *err)
{
	NetServer  *server;
	Endpoint	endpoint;
	VtStatus	status = endpoint_parse(options->endpoint, &endpoint, err);

	if (status == VT_OK && endpoint.tcp && !options->tls)
		status = vt_fail(err, VT_INVALID, "endpoint \"%s\": tcp needs tls_ca_file, tls_cert_file and tls_key_file",
						 options->endpoint);
	if (status == VT_OK)
		status = clear_path(&endpoint, err);
	if (status != VT_OK)
		return status;

	server = vt_alloc0(sizeof(NetServer));
	server->options = *options;
	server->listens = endpoint;
	server->carrier = options->polled ? &net_sockets : &net_streams;
	server->cluster = options->cluster;
	server->store = options->store;
	pthread_mutex_init(&server->lock, NULL);
	cond_init(&server->changed);
	status = server->carrier->start(server, err);
	if (status != VT_OK)
	{
		server_free(server);
		return status;
	}
	*out = server;
	return VT_OK;
}

/* A connection under other certificates than those, held; NULL = none. */
static NetConn *
outdated(NetServer *server, const WireTlsContext *context)
{
	NetConn    *found = NULL;

	pthread_mutex_lock(&server->lock);
	for (NetConn *c = server->conns; c && !found; c = c->next)
		if (c->tls && wire_tls_context_of(c->tls) != context)
			found = net_conn_ref(c);
	pthread_mutex_unlock(&server->lock);
	return found;
}

void
net_server_renew(NetServer *server)
{
	WireTlsContext *context = net_tls_context(server->options.tls);
	NetConn    *conn;

	while ((conn = outdated(server, context)) != NULL)
	{
		conn_close(conn);
		net_conn_release(conn);
	}
	wire_tls_context_release(context);
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
	server->carrier->stop_accepting(server);
	for (;;)
	{
		NetConn    *conn;

		pthread_mutex_lock(&server->lock);
		conn = server->conns;
		if (conn)
			net_conn_ref(conn);
		pthread_mutex_unlock(&server->lock);
		if (!conn)
			break;
		conn_close(conn);
		net_conn_release(conn);
	}
	server->carrier->stop(server);
	if (!server->listens.tcp)
		unlink(endpoint_path(&server->listens));
	server_free(server);
}
