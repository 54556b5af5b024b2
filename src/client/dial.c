/*-------------------------------------------------------------------------
 *
 * dial.c
 *	  The way to an endpoint, and the greeting on it.
 *
 * A new connection says HELLO and sends nothing else until the answer is
 * there.  On a unix socket the server's process must be our user's or root's;
 * on tcp both sides prove that they know the cluster's secret.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* struct ucred */
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conn.h"

/* -- The greeting ---------------------------------------------------------- */

bool
conn_greet(Conn *conn)
{
	WireHello	hello;
	size_t		begin;

	memset(&hello, 0, sizeof(hello));
	vt_id_random(&conn->nonce);
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = conn->client->role;
	hello.cluster = conn->client->cluster;
	hello.nonce = conn->nonce;
	conn->greeting = ++conn->client->requests;
	begin = wire_frame_begin(&conn->first, WIRE_REQUEST, WIRE_HELLO, conn->greeting);
	wire_hello_put(&conn->first, &hello);
	wire_frame_end(&conn->first, begin);
	conn->state = CONN_GREETING;
	return conn_flush(conn);
}

static bool
take_hello(Conn *conn, Bytes payload)
{
	Client	   *client = conn->client;
	WireHello	hello;
	uint8_t		proof[WIRE_PROOF_SIZE];
	size_t		begin;

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
	if (!vt_id_is_zero(&client->cluster) && !vt_id_is_zero(&hello.cluster) &&
		!vt_id_equal(&client->cluster, &hello.cluster))
	{
		conn_fail(conn, VT_DENIED, true, "belongs to another cluster");
		return false;
	}
	if (conn->tcp)
	{
		Bytes		secret = bytes_str(client->secret);

		if (!wire_auth_check(secret, hello.role, &hello.nonce, &conn->nonce, hello.proof))
		{
			conn_fail(conn, VT_DENIED, true, "does not know the cluster's secret");
			return false;
		}
		wire_auth_proof(secret, client->role, &conn->nonce, &hello.nonce, proof);
		conn->greeting = ++client->requests;
		begin = wire_frame_begin(&conn->first, WIRE_REQUEST, WIRE_AUTH, conn->greeting);
		wire_auth_put(&conn->first, bytes_of(proof, sizeof(proof)));
		wire_frame_end(&conn->first, begin);
		conn->state = CONN_PROVING;
	}
	else
		conn->state = CONN_READY;
	if (vt_id_is_zero(&client->cluster))
		client->cluster = hello.cluster;
	return conn_flush(conn);
}

bool
conn_take_greeting(Conn *conn, const WireHeader *header, Bytes payload)
{
	WireType	expected = conn->state == CONN_GREETING ? WIRE_HELLO : WIRE_AUTH;

	if (header->type != expected || header->request != conn->greeting)
	{
		conn_fail(conn, VT_PROTOCOL, false, "did not answer the greeting");
		return false;
	}
	if (expected == WIRE_HELLO)
		return take_hello(conn, payload);
	conn->state = CONN_READY;
	return conn_flush(conn);
}

/* -- Dialling -------------------------------------------------------------- */

/* An address for an endpoint; only loopback for tcp, since there is no TLS. */
static VtStatus
resolve(Client *client, const char *endpoint, struct sockaddr_storage *addr, socklen_t *len,
		VtError *err)
{
	struct addrinfo hints;
	struct addrinfo *found = NULL;
	char		host[ENDPOINT_SIZE];
	char	   *port;
	bool		loopback;

	memset(addr, 0, sizeof(*addr));
	if (strncmp(endpoint, "unix:", 5) == 0)
	{
		struct sockaddr_un *un = (struct sockaddr_un *) addr;

		if (endpoint[5] == '\0' || strlen(endpoint + 5) >= sizeof(un->sun_path))
			return vt_fail(err, VT_INVALID, "endpoint \"%s\": the path of a socket has 1 to %zu bytes",
						   endpoint, sizeof(un->sun_path) - 1);
		un->sun_family = AF_UNIX;
		memcpy(un->sun_path, endpoint + 5, strlen(endpoint + 5));
		*len = sizeof(*un);
		return VT_OK;
	}
	if (strncmp(endpoint, "tcp://", 6) != 0)
		return vt_fail(err, VT_INVALID, "endpoint \"%s\" is neither unix:PATH nor tcp://HOST:PORT",
					   endpoint);
	if (!client->secret)
		return vt_fail(err, VT_DENIED, "endpoint \"%s\": tcp needs the cluster's secret", endpoint);
	snprintf(host, sizeof(host), "%s", endpoint + 6);
	port = strrchr(host, ':');
	if (!port)
		return vt_fail(err, VT_INVALID, "endpoint \"%s\" has no port", endpoint);
	*port++ = '\0';
	if (host[0] == '[' && host[strlen(host) - 1] == ']')
	{
		host[strlen(host) - 1] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1");
	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;	/* never a look-up that waits */
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return vt_fail(err, VT_INVALID, "endpoint \"%s\": host and port must be numbers", endpoint);
	*len = found->ai_addrlen;
	memcpy(addr, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	loopback = addr->ss_family == AF_INET ?
		(ntohl(((struct sockaddr_in *) addr)->sin_addr.s_addr) >> 24) == 127 :
		IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *) addr)->sin6_addr);
	if (!loopback)
		return vt_fail(err, VT_DENIED, "endpoint \"%s\": tcp without TLS is for loopback only", endpoint);
	return VT_OK;
}

/* May we trust who listens on this unix socket? */
static bool
server_is_ours(int fd)
{
	struct ucred peer;
	socklen_t	len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
		(peer.uid == geteuid() || peer.uid == 0);
}

static Conn *
dial(Client *client, const char *endpoint, VtError *err)
{
	struct sockaddr_storage addr;
	struct epoll_event event;
	socklen_t	len = 0;
	bool		waiting = false;
	int			one = 1;
	int			fd;
	Conn	   *conn;
	VtStatus	status = resolve(client, endpoint, &addr, &len, err);

	if (status != VT_OK)
		return NULL;
	if (client->ops.acquire_fd && !client->ops.acquire_fd(client->ops.arg))
	{
		vt_fail(err, VT_FULL, "%s: no file descriptor is left for a connection", endpoint);
		return NULL;
	}
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		status = vt_fail_errno(err, VT_UNAVAILABLE, "%s: no socket", endpoint);
	else if (connect(fd, (struct sockaddr *) &addr, len) != 0)
	{
		waiting = errno == EINPROGRESS;
		if (!waiting)
			status = vt_fail_errno(err, VT_UNAVAILABLE, "could not connect to %s", endpoint);
	}
	if (status == VT_OK && addr.ss_family == AF_UNIX && !server_is_ours(fd))
		status = vt_fail(err, VT_DENIED, "%s: its server runs as another user", endpoint);
	memset(&event, 0, sizeof(event));
	event.events = EPOLLIN | (waiting ? EPOLLOUT : 0);
	event.data.u64 = client->conn_serials + 1;
	if (status == VT_OK && epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		status = vt_fail_errno(err, VT_UNAVAILABLE, "%s: could not watch the socket", endpoint);
	if (status != VT_OK)
	{
		if (fd >= 0)
			close(fd);
		if (client->ops.release_fd)
			client->ops.release_fd(client->ops.arg);
		return NULL;
	}
	conn = vt_alloc0(sizeof(Conn));
	conn->client = client;
	conn->serial = ++client->conn_serials;
	snprintf(conn->endpoint, sizeof(conn->endpoint), "%s", endpoint);
	conn->fd = fd;
	conn->tcp = addr.ss_family != AF_UNIX;
	conn->watches_write = waiting;
	conn->next = client->conns;
	client->conns = conn;
	client->nconns++;
	if (conn->tcp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!waiting && !conn_greet(conn))
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
