/*-------------------------------------------------------------------------
 *
 * conn.c
 *	  Frames on sockets that never block.
 *
 * A client has at most one connection to an endpoint; requests of all calls
 * share it and are told apart by ids that are never used again, so a reply
 * nobody waits for any more is simply dropped.  All sockets are in one epoll
 * set, whose descriptor is what the caller's wait looks at: a fan-out over many
 * workers needs no more than one wait.
 *
 * The state of a connection is always whole in memory: bytes read and not yet
 * a frame are in `in`, bytes not yet taken by the socket in `out`.  A call that
 * ends early leaves a half-read frame to the next call.  A half-sent one would
 * be a request that nobody stands for, sent later: the connection is closed.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn.h"

#define READ_CHUNK (64u << 10)
#define KEEP_BYTES (1u << 20)	/* of an empty buffer */
#define GREETING_US 2000000		/* who gives up waiting for one after that closes the connection */
#define UNDER_WAY_MAX (WIRE_OUTSTANDING_MAX * 3 / 4)	/* others were cancelled, perhaps */

void
conn_fail(Conn *conn, VtStatus status, bool definite, const char *fmt,...)
{
	Client	   *client = conn->client;
	char		words[160];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(words, sizeof(words), fmt, args);
	va_end(args);
	for (Conn **p = &client->conns; *p; p = &(*p)->next)
		if (*p == conn)
		{
			*p = conn->next;
			client->nconns--;
			break;
		}
	for (Request *r = conn->requests; r; r = r->next)
	{
		r->conn = NULL;
		r->done = true;
		r->status = status;
		r->definite = definite;
		vt_fail(&r->err, status, "%s: %s", conn->endpoint, words);
	}
	close(conn->fd);
	if (client->ops.release_fd)
		client->ops.release_fd(client->ops.arg);
	wire_tls_free(conn->tls);
	buf_free(&conn->raw);
	buf_free(&conn->sealed);
	buf_free(&conn->in);
	buf_free(&conn->first);
	buf_free(&conn->out);
	free(conn);
}

void
conn_close_all(Client *client)
{
	while (client->conns)
		conn_fail(client->conns, VT_CANCELLED, true, "the client was closed");
}

void
conn_abandon_all(Client *client)
{
	for (Conn *c = client->conns; c; c = c->next)
	{
		close(c->fd);
		if (client->ops.release_fd)
			client->ops.release_fd(client->ops.arg);
	}
	client->conns = NULL;
	client->nconns = 0;
}

Conn *
conn_by_serial(Client *client, uint64_t serial)
{
	for (Conn *c = client->conns; c; c = c->next)
		if (c->serial == serial)
			return c;
	return NULL;
}

uint64_t
conn_serial(const Conn *conn)
{
	return conn->serial;
}

const char *
conn_endpoint(const Conn *conn)
{
	return conn->endpoint;
}

uint32_t
conn_under_way(const Client *client, const char *endpoint)
{
	for (const Conn *c = client->conns; c; c = c->next)
		if (strcmp(c->endpoint, endpoint) == 0)
			return c->under_way;
	return 0;
}

bool
conn_is_full(const Conn *conn, uint32_t places)
{
	return conn->under_way + places > UNDER_WAY_MAX;
}

bool
conn_is_full_to(const Client *client, const char *endpoint, uint32_t places)
{
	return conn_under_way(client, endpoint) + places > UNDER_WAY_MAX;
}

bool
conn_knows(const Conn *conn, uint64_t feature)
{
	return conn->state != CONN_READY || (conn->features & feature) != 0;
}

bool
conn_is_clear(const Conn *conn)
{
	return conn->state == CONN_READY && (conn->held || conn->sent == conn->out.len);
}

static void
watch(Conn *conn, bool write)
{
	struct epoll_event event;

	if (conn->watches_write == write)
		return;
	memset(&event, 0, sizeof(event));
	event.events = EPOLLIN | (write ? EPOLLOUT : 0);
	event.data.u64 = conn->serial;
	if (epoll_ctl(conn->client->epoll, EPOLL_CTL_MOD, conn->fd, &event) == 0)
		conn->watches_write = write;
}

/*
 * Send what the socket takes of a buffer: 1 = all is out, 0 = not now, -1 =
 * errno.
 */
static int
send_some(int fd, Buf *buf, size_t *sent)
{
	while (*sent < buf->len)
	{
		ssize_t		n = send(fd, buf->data + *sent, buf->len - *sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
		*sent += (size_t) n;
	}
	buf_clear(buf);
	*sent = 0;
	if (buf->size > KEEP_BYTES)
		buf_free(buf);
	return 1;
}

/* Frames are added behind what is still to go: keep the front short. */
static void
shorten(Buf *buf, size_t *sent)
{
	if (*sent <= KEEP_BYTES)
		return;
	memmove(buf->data, buf->data + *sent, buf->len - *sent);
	buf->len -= *sent;
	*sent = 0;
}

bool
conn_is_between_frames(const Conn *conn)
{
	return conn->sent == conn->out.len && conn->sealed_sent == conn->sealed.len;
}

/* Why the socket takes nothing any more, and the end. */
static bool
conn_cut(Conn *conn, int error)
{
	VtError		why = {0};
	VtStatus	status = conn->tls ? secure_last_words(conn, &why) : VT_OK;

	if (status != VT_OK)
		conn_fail(conn, status, status != VT_UNAVAILABLE, "%s", vt_error_words(&why));
	else
		conn_fail(conn, VT_UNAVAILABLE, false, "could not send: %s", strerror(error));
	return false;
}

/* False when the connection is gone. */
bool
conn_flush(Conn *conn)
{
	int			rc;

	conn->held = false;
	if (conn->state == CONN_DIALING)
		return true;
	if (conn->tls)
	{
		VtError		err = {0};
		VtStatus	status = secure_seal(conn, &err);

		if (status != VT_OK)
		{
			conn_fail(conn, status, false, "%s", vt_error_words(&err));
			return false;
		}
		rc = send_some(conn->fd, &conn->sealed, &conn->sealed_sent);
	}
	else
	{
		rc = send_some(conn->fd, &conn->first, &conn->first_sent);
		if (rc == 1 && conn->state == CONN_READY)
			rc = send_some(conn->fd, &conn->out, &conn->sent);
	}
	if (rc < 0)
		return conn_cut(conn, errno);
	watch(conn, rc == 0);
	shorten(&conn->out, &conn->sent);
	shorten(&conn->sealed, &conn->sealed_sent);
	return true;
}

/* -- Reading --------------------------------------------------------------- */

/* One whole frame.  False when the connection is gone. */
static bool
take_frame(Conn *conn, const WireHeader *header, Bytes payload)
{
	pace_heard(conn->client->pace, conn->endpoint, clock_now_us());
	if (header->kind != WIRE_REPLY)
	{
		conn_fail(conn, VT_PROTOCOL, false, "sent a frame that is no reply");
		return false;
	}
	if (conn->state != CONN_READY)
		return conn_take_greeting(conn, header, payload);
	for (Request **p = &conn->requests; *p; p = &(*p)->next)
	{
		Request    *r = *p;

		if (r->id != header->request)
			continue;
		if (r->type != header->type)
		{
			conn_fail(conn, VT_PROTOCOL, false, "answered another question than was asked");
			return false;
		}
		*p = r->next;
		conn->under_way -= r->places;
		r->conn = NULL;
		r->done = true;
		r->status = VT_OK;
		buf_clear(&r->reply);
		buf_put(&r->reply, payload.data, payload.len);
		break;
	}
	return true;
}

/* Whole frames from the front of `in`.  False when the connection is gone. */
static bool
take_frames(Conn *conn)
{
	size_t		at = 0;

	while (conn->in.len - at >= WIRE_HEADER_SIZE)
	{
		const uint8_t *head = conn->in.data + at;
		WireHeader	header;
		Bytes		payload;
		VtError		err = {0};
		VtStatus	status = wire_header_get(head, &header, &err);

		if (status == VT_OK)
		{
			if (conn->in.len - at - WIRE_HEADER_SIZE < header.length)
				break;
			payload = bytes_of(head + WIRE_HEADER_SIZE, header.length);
			status = wire_payload_check(head, &header, payload, &err);
		}
		if (status != VT_OK)
		{
			conn_fail(conn, status, status == VT_VERSION, "%s", vt_error_words(&err));
			return false;
		}
		at += WIRE_HEADER_SIZE + (size_t) header.length;
		if (!take_frame(conn, &header, payload))
			return false;
	}
	if (at > 0)
	{
		memmove(conn->in.data, conn->in.data + at, conn->in.len - at);
		conn->in.len -= at;
		if (conn->in.len == 0 && conn->in.size > KEEP_BYTES)
			buf_free(&conn->in);
	}
	return true;
}

/* How much more is worth reading at once: the frame begun, or a chunk. */
static size_t
read_room(const Conn *conn)
{
	WireHeader	header;
	size_t		whole;

	if (conn->in.len < WIRE_HEADER_SIZE || wire_header_get(conn->in.data, &header, NULL) != VT_OK)
		return READ_CHUNK;
	whole = WIRE_HEADER_SIZE + (size_t) header.length;
	return whole > conn->in.len + READ_CHUNK ? whole - conn->in.len : READ_CHUNK;
}

/* Bytes came: open them if they are sealed.  False when the connection is gone. */
static bool
took(Conn *conn, size_t n)
{
	VtError		err = {0};
	VtStatus	status;
	bool		known;

	if (!conn->tls)
	{
		conn->in.len += n;
		return true;
	}
	known = conn->state != CONN_SECURING;
	conn->raw.len = n;
	status = secure_open(conn, &err);
	if (status == VT_OK && !known && wire_tls_ready(conn->tls))
		return conn_greet(conn);
	if (status == VT_OK)
		return conn->sealed_sent == conn->sealed.len || conn_flush(conn);
	/* The peer is told why; if the socket does not take it, it is not told. */
	(void) send_some(conn->fd, &conn->sealed, &conn->sealed_sent);
	conn_fail(conn, status, status != VT_UNAVAILABLE && conn->state != CONN_READY, "%s", vt_error_words(&err));
	return false;
}

/* Read what is there.  False when the connection is gone. */
bool
conn_read(Conn *conn)
{
	for (;;)
	{
		Buf		   *to = conn->tls ? &conn->raw : &conn->in;
		size_t		room = conn->tls ? READ_CHUNK : read_room(conn);
		ssize_t		n;

		buf_reserve(to, room);
		room = to->size - to->len;
		n = recv(conn->fd, to->data + to->len, room, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return true;
		if (n <= 0)
		{
			const char *when = conn->state == CONN_READY ? "" : " during the greeting";

			if (n == 0)
				conn_fail(conn, VT_UNAVAILABLE, false, "closed the connection%s", when);
			else
				conn_fail(conn, VT_UNAVAILABLE, false, "connection lost%s: %s", when, strerror(errno));
			return false;
		}
		if (!took(conn, (size_t) n) || !take_frames(conn))
			return false;
		if ((size_t) n < room)
			return true;
	}
}

/* -- Requests -------------------------------------------------------------- */

size_t
request_begin(Client *client, Conn *conn, Request *request, WireType type, Buf **out)
{
	Assert(!request->conn);
	request->id = ++client->requests;
	request->type = type;
	request->conn = conn;
	request->conn_serial = conn->serial;
	request->done = false;
	request->definite = false;
	request->until_us = 0;
	memcpy(request->endpoint, conn->endpoint, sizeof(request->endpoint));
	request->next = conn->requests;
	conn->requests = request;
	request->places = request->places ? request->places : 1;
	conn->under_way += request->places;
	*out = &conn->out;
	return wire_frame_begin(&conn->out, WIRE_REQUEST, type, request->id);
}

void
request_send(Request *request, size_t begin)
{
	Conn	   *conn = request->conn;

	wire_frame_end(&conn->out, begin);
	if (conn->client->holding)
		conn->held |= conn->sent == begin;
	else
		conn_flush(conn);
}

void
conns_hold(Client *client)
{
	client->holding = true;
}

void
conns_let_go(Client *client)
{
	Conn	   *next;

	client->holding = false;
	for (Conn *c = client->conns; c; c = next)
	{
		next = c->next;
		if (c->sent < c->out.len)
			conn_flush(c);
	}
}

void
request_send_unheard(Client *client, Conn *conn, WireType type, Bytes payload)
{
	wire_frame_put(&conn->out, WIRE_REQUEST, type, ++client->requests, payload);
	conn_flush(conn);
}

/*
 * Of what waits for a greeting nothing has left: a request that is given up is taken back,
 * for the sake of others that wait, too.  False: there are none, or there was no greeting for
 * so long that all had better dial again.
 */
static bool
take_back(Conn *conn, const Request *request)
{
	size_t		at = 0;

	if (conn->state == CONN_READY || !conn->requests || clock_now_us() >= conn->begun_us + GREETING_US)
		return false;
	Assert(conn->sent == 0);
	while (at < conn->out.len)
	{
		WireHeader	header;
		VtStatus	status = wire_header_get(conn->out.data + at, &header, NULL);
		size_t		whole = WIRE_HEADER_SIZE + (size_t) header.length;

		Assert(status == VT_OK && whole <= conn->out.len - at);
		if (header.request == request->id)
		{
			memmove(conn->out.data + at, conn->out.data + at + whole, conn->out.len - at - whole);
			conn->out.len -= whole;
			return true;
		}
		at += whole;
	}
	return false;
}

void
request_drop(Request *request)
{
	Conn	   *conn = request->conn;

	/* What is held has to leave, or it would look like the middle of a frame. */
	if (conn && conn->client->holding && conn->sent < conn->out.len && !conn_flush(conn))
		conn = NULL;
	if (conn)
	{
		for (Request **p = &conn->requests; *p; p = &(*p)->next)
			if (*p == request)
			{
				*p = request->next;
				conn->under_way -= request->places;
				break;
			}
		request->conn = NULL;
		if (take_back(conn, request))
			;
		else if (conn->state != CONN_READY)
			conn_fail(conn, VT_UNAVAILABLE, false, "closed: a request was given up before the greeting was answered");
		else if (!conn_is_between_frames(conn))
			conn_fail(conn, VT_UNAVAILABLE, false, "closed: a request was given up in the middle of a frame");
		else
		{
			wire_frame_put(&conn->out, WIRE_CANCEL, request->type, request->id, bytes_of(NULL, 0));
			conn_flush(conn);
		}
	}
	request->done = false;
	buf_free(&request->reply);
}
