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
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/breaks.h"
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

void
conn_join(NetConn *conn)
{
	NetServer  *server = conn->server;

	pthread_mutex_lock(&server->lock);
	conn->id = ++server->ids;
	conn->next = server->conns;
	server->conns = conn;
	server->alive++;
	pthread_mutex_unlock(&server->lock);
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
net_conn_store(const NetConn *conn)
{
	return conn->store;
}

uint64_t
net_conn_id(const NetConn *conn)
{
	return conn->id;
}

void
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
	server->carrier->cut(conn);
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

void
net_reply(NetConn *conn, Buf *frame)
{
	OutFrame   *f = vt_alloc0(sizeof(OutFrame));
	bool		first;
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
	first = conn->out == NULL;
	conn->out_bytes += f->frame.len;
	*conn->out_end = f;
	conn->out_end = &f->next;
	if (first)
		conn->server->carrier->send(conn);
	pthread_mutex_unlock(&conn->lock);
}

void
net_reply_frame(NetConn *conn, WireType type, uint64_t request, Bytes payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, WIRE_REPLY, type, request, payload);
	net_reply(conn, &frame);
}

/* -- Frames in ------------------------------------------------------------- */

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
	conn->store = theirs.store;
	conn->greeted = true;
	return true;
}

/* What a connection of this role may send to us.  Raft is spoken among equals. */
static bool
role_may(WireRole ours, WireRole role, WireType type)
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
		case WIRE_RAFT:
		case WIRE_CHUNK:
			return role == ours && (role == WIRE_ROLE_WORKER || role == WIRE_ROLE_PD);
		default:
			return false;
	}
}

void
conn_reserve(NetConn *conn)
{
	WireHeader	header;

	if (conn->in.len >= WIRE_HEADER_SIZE && wire_header_get(conn->in.data, &header, NULL) == VT_OK)
	{
		size_t		whole = WIRE_HEADER_SIZE + (size_t) header.length;

		if (whole > conn->in.len + READ_CHUNK)
		{
			buf_reserve(&conn->in, whole - conn->in.len);
			return;
		}
	}
	buf_reserve(&conn->in, READ_CHUNK);
}

bool
conn_take_frames(NetConn *conn)
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
			break;
		payload = bytes_of(conn->in.data + at + WIRE_HEADER_SIZE, header.length);
		if (wire_payload_check(head, &header, payload, NULL) != VT_OK)
			return false;
		if (!conn->greeted)
		{
			if (!hello_answer(conn, &header, payload))
				return false;
		}
		else if (header.kind == WIRE_CANCEL ||
				 (header.kind == (header.type == WIRE_RAFT ? WIRE_ONEWAY : WIRE_REQUEST) &&
				  role_may(server->options.role, conn->role, header.type)))
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

/* -- Listening ------------------------------------------------------------- */

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

static void
server_free(NetServer *server)
{
	pthread_mutex_destroy(&server->lock);
	pthread_cond_destroy(&server->changed);
	free(server->path);
	free(server);
}

VtStatus
net_server_start(const NetServerOptions *options, NetServer **out, VtError *err)
{
	const char *path = endpoint_path(options->endpoint, err);
	NetServer  *server;
	VtStatus	status;

	if (!path)
		return VT_INVALID;
	if (somebody_answers(path))
		return vt_fail(err, VT_BUSY, "another process listens on \"%s\"", path);
	unlink(path);

	server = vt_alloc0(sizeof(NetServer));
	server->options = *options;
	server->carrier = options->polled ? &net_sockets : &net_streams;
	server->cluster = options->cluster;
	server->store = options->store;
	server->path = vt_strdup(path);
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	status = server->carrier->start(server, err);
	if (status != VT_OK)
	{
		server_free(server);
		return status;
	}
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
	unlink(server->path);
	server_free(server);
}
