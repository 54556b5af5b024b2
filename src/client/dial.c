/*-------------------------------------------------------------------------
 *
 * dial.c
 *	  The way to an endpoint, and the greeting on it.
 *
 * A new connection says HELLO and sends nothing else until the answer is
 * there.  On a unix socket the server's process must be our user's or root's;
 * on tcp both sides show certificates first (secure.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* struct ucred */
#endif
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endpoint.h"
#include "conn.h"

/* -- The greeting ---------------------------------------------------------- */

bool
conn_greet(Conn *conn)
{
	WireHello	hello;
	size_t		begin;

	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = conn->client->role;
	hello.cluster = conn->client->cluster;
	conn->greeting = ++conn->client->requests;
	begin = wire_frame_begin(&conn->first, WIRE_REQUEST, WIRE_HELLO, conn->greeting);
	hello.features = WIRE_FEATURE_UNINDEXED;
	wire_hello_put(&conn->first, &hello);
	wire_frame_end(&conn->first, begin);
	conn->state = CONN_GREETING;
	return conn_flush(conn);
}

#define TELL_FOREIGN_US (60 * INT64_C(1000000))

/* Whoever listens here has nothing to say about our data. */
static void
fail_foreign(Conn *conn, const VtId *theirs)
{
	Client	   *client = conn->client;
	char		their_text[VT_ID_TEXT];
	char		our_text[VT_ID_TEXT];
	char		words[300];

	vt_id_format(theirs, their_text);
	vt_id_format(&client->cluster, our_text);
	snprintf(words, sizeof(words), "%s belongs to another cluster, %s, and is not asked: this is a client of %s",
			 conn->endpoint, their_text, our_text);
	if (client->ops.tell && clock_now_us() >= client->tell_foreign_us)
	{
		client->tell_foreign_us = clock_now_us() + TELL_FOREIGN_US;
		client->ops.tell(client->ops.arg, words);
	}
	conn_fail(conn, VT_FOREIGN, false, "belongs to another cluster, %s, not to %s", their_text, our_text);
}

static bool
cluster_is_ours(Conn *conn, const WireHello *hello)
{
	const VtId *ours = &conn->client->cluster;

	if (vt_id_is_zero(ours) || vt_id_equal(ours, &hello->cluster))
		return true;
	if (!vt_id_is_zero(&hello->cluster))
	{
		fail_foreign(conn, &hello->cluster);
		return false;
	}

	/* A driver that is about to found one or to join one: ours knows its own. */
	if (hello->role == WIRE_ROLE_PD)
	{
		conn_fail(conn, VT_UNAVAILABLE, false, "does not know its cluster yet");
		return false;
	}
	return true;
}

static bool
take_hello(Conn *conn, Bytes payload)
{
	Client	   *client = conn->client;
	WireHello	hello;
	const WireIdentity *identity = conn->tls ? wire_tls_peer(conn->tls) : NULL;

	if (wire_hello_get(payload, &hello) != VT_OK)
	{
		conn_fail(conn, VT_PROTOCOL, true, "malformed greeting");
		return false;
	}
	if (hello.version_low > WIRE_VERSION || hello.version_high < WIRE_VERSION)
	{
		conn_fail(conn, VT_VERSION, true, "peer speaks wire versions %u to %u, this side speaks %u",
				  hello.version_low, hello.version_high, WIRE_VERSION);
		return false;
	}
	if (!cluster_is_ours(conn, &hello))
		return false;
	if (identity && (hello.role != identity->role || (!vt_id_is_zero(&hello.cluster) &&
													  !vt_id_equal(&hello.cluster, &identity->cluster))))
	{
		conn_fail(conn, VT_DENIED, true, "says that it is something else than its certificate is for");
		return false;
	}
	conn->state = CONN_READY;
	conn->features = hello.features;
	if (vt_id_is_zero(&client->cluster))
		client->cluster = hello.cluster;
	return conn_flush(conn);
}

bool
conn_take_greeting(Conn *conn, const WireHeader *header, Bytes payload)
{
	if (conn->state != CONN_GREETING || header->type != WIRE_HELLO || header->request != conn->greeting)
	{
		conn_fail(conn, VT_PROTOCOL, false, "did not answer the greeting");
		return false;
	}
	return take_hello(conn, payload);
}

/* -- Dialling -------------------------------------------------------------- */

/* May we trust who listens on this unix socket? */
static bool
server_is_ours(int fd)
{
	struct ucred peer;
	socklen_t	len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
		(peer.uid == geteuid() || peer.uid == 0);
}

/* Who must be there: a placement driver that we were told of, or a worker. */
static WireRole
expected_at(const Client *client, const char *endpoint)
{
	if (strcmp(client->pd_hint, endpoint) == 0)
		return WIRE_ROLE_PD;
	for (size_t i = 0; i < client->npd; i++)
		if (strcmp(client->pd[i], endpoint) == 0)
			return WIRE_ROLE_PD;
	return WIRE_ROLE_WORKER;
}

bool
conn_dialed(Conn *conn)
{
	if (!conn->tls)
		return conn_greet(conn);
	conn->state = CONN_SECURING;
	return secure_begin(conn);
}

/* A socket on its way to an address; -1 and words. */
static int
open_socket(const Endpoint *to, const char *endpoint, bool *waiting, VtError *err)
{
	int			fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	VtStatus	status = VT_OK;

	*waiting = false;
	if (fd < 0)
		status = vt_fail_errno(err, VT_UNAVAILABLE, "%s: no socket", endpoint);
	else if (connect(fd, (const struct sockaddr *) &to->addr, to->len) != 0)
	{
		*waiting = errno == EINPROGRESS;
		if (!*waiting)
			status = vt_fail_errno(err, VT_UNAVAILABLE, "could not connect to %s", endpoint);
	}
	if (status == VT_OK && !to->tcp && !server_is_ours(fd))
		status = vt_fail(err, VT_DENIED, "%s: its server runs as another user", endpoint);
	if (status == VT_OK && to->tcp)
		endpoint_set_up_tcp(fd);
	if (status == VT_OK)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static Conn *
conn_new(Client *client, const char *endpoint, int fd, WireTlsContext *context)
{
	Conn	   *conn = vt_alloc0(sizeof(Conn));

	conn->client = client;
	conn->serial = ++client->conn_serials;
	snprintf(conn->endpoint, sizeof(conn->endpoint), "%s", endpoint);
	conn->fd = fd;
	conn->begun_us = clock_now_us();
	if (context)
		conn->tls = wire_tls_new(context, false, expected_at(client, endpoint));
	conn->next = client->conns;
	client->conns = conn;
	client->nconns++;
	return conn;
}

static Conn *
dial(Client *client, const char *endpoint, VtError *err)
{
	Endpoint	to;
	struct epoll_event event;
	WireTlsContext *context = NULL;
	bool		waiting = false;
	int			fd = -1;
	Conn	   *conn = NULL;
	VtStatus	status = endpoint_parse(endpoint, &to, err);

	if (status == VT_OK && to.tcp && !client->certificates)
		status = vt_fail(err, VT_DENIED, "endpoint \"%s\": tcp needs certificates", endpoint);
	if (status == VT_OK && to.tcp)
		status = certificates_now(client->certificates, client->role, &context, err);
	if (status != VT_OK)
		return NULL;
	if (client->ops.acquire_fd && !client->ops.acquire_fd(client->ops.arg))
	{
		vt_fail(err, VT_FULL, "%s: no file descriptor is left for a connection", endpoint);
		wire_tls_context_release(context);
		return NULL;
	}
	fd = open_socket(&to, endpoint, &waiting, err);
	memset(&event, 0, sizeof(event));
	event.events = EPOLLIN | (waiting ? EPOLLOUT : 0);
	event.data.u64 = client->conn_serials + 1;
	if (fd >= 0 && epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
	{
		conn = conn_new(client, endpoint, fd, context);
		conn->watches_write = waiting;
	}
	else if (fd >= 0)
	{
		vt_fail_errno(err, VT_UNAVAILABLE, "%s: could not watch the socket", endpoint);
		close(fd);
	}
	wire_tls_context_release(context);
	if (!conn && client->ops.release_fd)
		client->ops.release_fd(client->ops.arg);
	if (conn && !waiting && !conn_dialed(conn))
	{
		vt_fail(err, VT_UNAVAILABLE, "%s closed the connection at once", endpoint);
		return NULL;
	}
	return conn;
}

Conn *
conn_of(Client *client, const char *endpoint, VtError *err)
{
	for (Conn *c = client->conns; c; c = c->next)
		if (strcmp(c->endpoint, endpoint) == 0)
		{
			/* What came while nobody looked: stale replies, or the end. */
			if (c->state != CONN_DIALING && !conn_read(c))
				break;
			return c;
		}
	return dial(client, endpoint, err);
}
