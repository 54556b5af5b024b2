/*-------------------------------------------------------------------------
 *
 * sockets.c
 *	  Connections over plain sockets, moved by the threads that serve them.
 *
 * A frame that comes through nng wakes nng's poller, then one of its task
 * threads, then the thread that serves; each wake costs as much as a small
 * search.  Here the serving threads themselves wait in one epoll set, and
 * whoever is woken reads, decodes and serves; a reply is sent by the thread
 * that made it.  One wake a request.
 *
 * Sockets are watched for edges.  One thread at a time reads a connection
 * (reading); another that is woken for it meanwhile leaves a note (again).
 * EPOLLOUT is asked for only while a reply waits that the socket did not take:
 * otherwise every reply would wake a thread when it is read.
 *
 * An event names its connection by slot and id, never by address: another
 * thread may have ended it since.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* accept4, struct ucred */
#endif
#include "net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "private.h"

#define BACKLOG 256
#define READ_BURST (4u << 20)	/* of one connection before others have a turn */
#define POLL_MORE 4				/* connections that a thread takes to read, one after the other */

/* What an event is about, when it is no connection: beyond all slots. */
#define EVENT_ACCEPT UINT64_MAX
#define EVENT_WAKE (UINT64_MAX - 1)
#define EVENT_SWEEP (UINT64_MAX - 2)

typedef struct SocketConn
{
	NetConn		base;
	int			fd;
	uint32_t	slot;			/* server->lock */
	bool		reading;		/* this and below: base.lock */
	bool		again;
	bool		watches_out;
} SocketConn;

typedef struct Sockets
{
	int			epoll;
	int			listener;
	int			wakes;			/* eventfd: threads that shall leave net_server_poll */
	int			sweeps;			/* timerfd: it is time to look for strangers, and for who waits */
	atomic_bool waits;			/* somebody has not been accepted, for want of a descriptor */
	SocketConn **slots;			/* server->lock */
	uint32_t	room;
} Sockets;

static Sockets *
sockets_of(NetServer *server)
{
	return (Sockets *) server->carried;
}

static uint64_t
event_name(const SocketConn *sc)
{
	return (uint64_t) sc->slot << 32 | (uint32_t) sc->base.id;
}

/* Ask for the edges of a connection; an edge that is there already comes again. */
static void
watch(SocketConn *sc, int op)
{
	struct epoll_event event;

	memset(&event, 0, sizeof(event));
	event.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (sc->watches_out ? EPOLLOUT : 0);
	event.data.u64 = event_name(sc);
	/* It can fail only when the connection was cut: then there is nothing to watch. */
	(void) epoll_ctl(sockets_of(sc->base.server)->epoll, op, sc->fd, &event);
}

/* -- Out ------------------------------------------------------------------- */

/* Send what the socket takes; under the connection's lock. */
static void
sockets_send(NetConn *conn)
{
	SocketConn *sc = (SocketConn *) conn;

	while (conn->out && !conn->closed)
	{
		struct iovec iov[SEND_FRAMES];
		struct msghdr msg;
		size_t		skip = conn->sent;
		int			count = 0;
		ssize_t		n;

		for (OutFrame *f = conn->out; f && count < SEND_FRAMES; f = f->next)
		{
			iov[count].iov_base = f->frame.data + skip;
			iov[count++].iov_len = f->frame.len - skip;
			skip = 0;
		}
		memset(&msg, 0, sizeof(msg));
		msg.msg_iov = iov;
		msg.msg_iovlen = (size_t) count;
		n = sendmsg(sc->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;				/* full, or gone, which reading will see */
		conn_sent(conn, (size_t) n);
	}
	if (sc->watches_out != (conn->out != NULL) && !conn->closed)
	{
		sc->watches_out = conn->out != NULL;
		watch(sc, EPOLL_CTL_MOD);
	}
}

/* -- In -------------------------------------------------------------------- */

/* Read what is there, to the end if the peer has ended; false = close it. */
static bool
receive(SocketConn *sc, bool ended)
{
	NetConn    *conn = &sc->base;
	size_t		burst = 0;

	for (;;)
	{
		size_t		room;
		uint8_t    *at = conn_room(conn, &room);
		ssize_t		n = recv(sc->fd, at, room, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
		if (!conn_received(conn, (size_t) n))
			return false;
		if ((size_t) n < room && !ended)
			return true;
		burst += (size_t) n;
		if (burst > READ_BURST)
		{
			pthread_mutex_lock(&conn->lock);
			watch(sc, EPOLL_CTL_MOD);
			pthread_mutex_unlock(&conn->lock);
			return true;
		}
	}
}

static void
conn_event(SocketConn *sc, uint32_t events)
{
	NetConn    *conn = &sc->base;
	bool		ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	bool		more;

	pthread_mutex_lock(&conn->lock);
	if (events & EPOLLOUT)
		sockets_send(conn);
	more = ended || (events & EPOLLIN);
	if (more && sc->reading)
	{
		sc->again = true;
		more = false;
	}
	sc->reading |= more;
	pthread_mutex_unlock(&conn->lock);
	while (more)
	{
		if (!receive(sc, ended))
		{
			conn_close(conn);	/* reading stays set: nobody reads it any more */
			return;
		}
		pthread_mutex_lock(&conn->lock);
		/* Whoever left the note may have seen the end. */
		more = ended = sc->again;
		sc->again = false;
		sc->reading = more;
		pthread_mutex_unlock(&conn->lock);
	}
}

/* -- Coming and going ------------------------------------------------------ */

/* The connection that an event names, held; NULL: it has ended. */
static SocketConn *
find(NetServer *server, uint64_t name)
{
	Sockets    *sockets = sockets_of(server);
	uint32_t	slot = (uint32_t) (name >> 32);
	SocketConn *sc;

	pthread_mutex_lock(&server->lock);
	sc = slot < sockets->room ? sockets->slots[slot] : NULL;
	if (sc && (uint32_t) sc->base.id == (uint32_t) name)
		net_conn_ref(&sc->base);
	else
		sc = NULL;
	pthread_mutex_unlock(&server->lock);
	return sc;
}

static void
take_slot(SocketConn *sc)
{
	NetServer  *server = sc->base.server;
	Sockets    *sockets = sockets_of(server);

	pthread_mutex_lock(&server->lock);
	while (sc->slot < sockets->room && sockets->slots[sc->slot])
		sc->slot++;
	if (sc->slot == sockets->room)
	{
		sockets->room = sockets->room ? 2 * sockets->room : 16;
		sockets->slots = vt_realloc(sockets->slots, sizeof(SocketConn *) * sockets->room);
		memset(sockets->slots + sc->slot, 0, sizeof(SocketConn *) * (sockets->room - sc->slot));
	}
	sockets->slots[sc->slot] = sc;
	pthread_mutex_unlock(&server->lock);
}

/* Without TLS a unix socket is open to our own user only, and to root. */
static bool
peer_is_ours(int fd)
{
	struct ucred peer;
	socklen_t	len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
		(peer.uid == geteuid() || peer.uid == 0);
}

/* Look for strangers in a while; doing so twice is as good as once. */
static void
sweep_later(NetServer *server)
{
	int64_t		ms = guard_sweep_ms(server);
	struct itimerspec in = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};

	(void) timerfd_settime(sockets_of(server)->sweeps, 0, &in, NULL);
}

static void
accept_all(NetServer *server)
{
	Sockets    *sockets = sockets_of(server);
	bool		tcp = server->listens.tcp;

	for (;;)
	{
		struct sockaddr_storage addr;
		socklen_t	len = sizeof(addr);
		int			fd = accept4(sockets->listener, (struct sockaddr *) &addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		SocketConn *sc;

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (fd < 0)
		{
			/* No event tells when there is room again. */
			if (!atomic_exchange(&sockets->waits, true) && server->options.handler.refused)
				server->options.handler.refused(server->options.handler.arg, NET_NO_ROOM);
			sweep_later(server);
			return;
		}
		atomic_store(&sockets->waits, false);
		if (!tcp && !peer_is_ours(fd))
		{
			close(fd);
			continue;
		}
		if (tcp)
			endpoint_set_up_tcp(fd);
		sc = (SocketConn *) conn_new(server, sizeof(SocketConn), 2);
		sc->fd = fd;
		take_slot(sc);
		conn_join(&sc->base, tcp ? &addr : NULL, len);
		watch(sc, EPOLL_CTL_ADD);
		sweep_later(server);
		guard_bound(server);
		net_conn_release(&sc->base);
	}
}

static void
sockets_cut(NetConn *conn)
{
	NetServer  *server = conn->server;
	Sockets    *sockets = sockets_of(server);
	SocketConn *sc = (SocketConn *) conn;

	pthread_mutex_lock(&server->lock);
	if (sc->slot < sockets->room && sockets->slots[sc->slot] == sc)
		sockets->slots[sc->slot] = NULL;
	pthread_mutex_unlock(&server->lock);
	(void) epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, sc->fd, NULL);
	shutdown(sc->fd, SHUT_RDWR);
}

static void
sockets_gone(NetConn *conn)
{
	close(((SocketConn *) conn)->fd);
	conn_free(conn);
}

/* -- The server ------------------------------------------------------------ */

static int
watch_own(Sockets *sockets, int op, int fd, uint64_t name, uint32_t how)
{
	struct epoll_event event;

	memset(&event, 0, sizeof(event));
	event.events = EPOLLIN | how;
	event.data.u64 = name;
	return epoll_ctl(sockets->epoll, op, fd, &event);
}

/* Any event but a wake. */
static void
handle_event(NetServer *server, const struct epoll_event *event)
{
	SocketConn *sc;
	uint64_t	one;

	if (event->data.u64 == EVENT_ACCEPT)
		accept_all(server);
	else if (event->data.u64 == EVENT_SWEEP)
	{
		if (read(sockets_of(server)->sweeps, &one, sizeof(one)) == sizeof(one) && guard_sweep(server))
			sweep_later(server);
		if (atomic_load(&sockets_of(server)->waits))
			accept_all(server);
	}
	else if ((sc = find(server, event->data.u64)) != NULL)
	{
		conn_event(sc, event->events);
		net_conn_release(&sc->base);
	}
}

static void
handle(NetServer *server, const struct epoll_event *event)
{
	int64_t		began_us = held_begin();

	handle_event(server, event);
	held_end(HELD_POLL, began_us);
}

static void
watch_wakes(Sockets *sockets)
{
	watch_own(sockets, EPOLL_CTL_MOD, sockets->wakes, EVENT_WAKE, EPOLLONESHOT);
}

void
net_server_poll(NetServer *server)
{
	Sockets    *sockets = sockets_of(server);
	struct epoll_event event;
	uint64_t	one;

	Assert(server->carrier == &net_sockets);
	if (epoll_wait(sockets->epoll, &event, 1, -1) <= 0)
		return;
	if (event.data.u64 != EVENT_WAKE)
		handle(server, &event);
	else if (read(sockets->wakes, &one, sizeof(one)) == sizeof(one))
		watch_wakes(sockets);	/* one is taken; the next one, if there is one, is another thread's */
}

bool
net_server_poll_more(NetServer *server)
{
	Sockets    *sockets = sockets_of(server);
	struct epoll_event events[POLL_MORE];
	int			n = epoll_wait(sockets->epoll, events, POLL_MORE, 0);

	for (int i = 0; i < n; i++)
		if (events[i].data.u64 != EVENT_WAKE)
			handle(server, &events[i]);
		else
			watch_wakes(sockets);	/* not taken: it is for a thread that waits */
	return n == POLL_MORE;
}

void
net_server_wake(NetServer *server)
{
	uint64_t	one = 1;

	/* It can fail only when far more wakes wait than there are threads. */
	(void) !write(sockets_of(server)->wakes, &one, sizeof(one));
}

/* -1 = no, and errno says why. */
static int
listen_on(const Endpoint *endpoint)
{
	int			family = endpoint->addr.ss_family;
	int			fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mode_t		mask;
	int			one = 1;
	int			rc;

	if (fd < 0)
		return -1;
	/* A port is free again as soon as nobody listens. */
	if (endpoint->tcp)
		(void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	mask = umask(0177);			/* a socket file is made 0600 */
	rc = bind(fd, (const struct sockaddr *) &endpoint->addr, endpoint->len);
	umask(mask);
	if (rc == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	rc = errno;
	close(fd);
	errno = rc;
	return -1;
}

static VtStatus
sockets_start(NetServer *server, VtError *err)
{
	Sockets    *sockets = vt_alloc0(sizeof(Sockets));
	bool		ok;

	server->carried = sockets;
	sockets->epoll = epoll_create1(EPOLL_CLOEXEC);
	sockets->wakes = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	sockets->sweeps = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	sockets->listener = listen_on(&server->listens);
	ok = sockets->listener >= 0 && sockets->epoll >= 0 && sockets->wakes >= 0 && sockets->sweeps >= 0 &&
		watch_own(sockets, EPOLL_CTL_ADD, sockets->listener, EVENT_ACCEPT, EPOLLET) == 0 &&
		watch_own(sockets, EPOLL_CTL_ADD, sockets->sweeps, EVENT_SWEEP, EPOLLET) == 0 &&
		watch_own(sockets, EPOLL_CTL_ADD, sockets->wakes, EVENT_WAKE, EPOLLONESHOT) == 0;
	if (ok)
		return VT_OK;
	vt_fail_errno(err, errno == EADDRINUSE ? VT_BUSY : VT_IO, "could not listen on %s",
				  server->options.endpoint);
	for (int i = 0; i < 4; i++)
	{
		int			fd = i == 0 ? sockets->epoll : i == 1 ? sockets->wakes : i == 2 ? sockets->sweeps : sockets->listener;

		if (fd >= 0)
			close(fd);
	}
	free(sockets);
	return err ? err->code : VT_IO;
}

static void
sockets_stop_accepting(NetServer *server)
{
	(void) epoll_ctl(sockets_of(server)->epoll, EPOLL_CTL_DEL, sockets_of(server)->listener, NULL);
	close(sockets_of(server)->listener);
}

/* Nobody polls any more; replies may still be on their way. */
static void
sockets_stop(NetServer *server)
{
	Sockets    *sockets = sockets_of(server);

	pthread_mutex_lock(&server->lock);
	while (server->alive > 0)
		pthread_cond_wait(&server->changed, &server->lock);
	pthread_mutex_unlock(&server->lock);
	close(sockets->epoll);
	close(sockets->wakes);
	close(sockets->sweeps);
	free(sockets->slots);
	free(sockets);
}

const NetCarrier net_sockets = {
	sockets_start, sockets_send, sockets_cut, sockets_gone, sockets_stop_accepting, sockets_stop
};
