/*-------------------------------------------------------------------------
 *
 * outgoing.c
 *	  A socket that a daemon has dialled itself: moved with a deadline, or not at all.
 *
 * It never blocks but in poll(), and that another thread can end.  What this one sends
 * itself is on its way when the call returns: no other thread had to wake for it.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "private.h"

void
outgoing_init(Outgoing *o)
{
	o->fd = -1;
	atomic_init(&o->aborted, false);
	pthread_mutex_init(&o->lock, NULL);
}

void
outgoing_close(Outgoing *o)
{
	int			fd;

	pthread_mutex_lock(&o->lock);
	fd = o->fd;
	o->fd = -1;
	pthread_mutex_unlock(&o->lock);
	if (fd >= 0)
		close(fd);
}

void
outgoing_free(Outgoing *o)
{
	outgoing_close(o);
	pthread_mutex_destroy(&o->lock);
}

/* Whoever polls is woken, and whoever would is told. */
void
outgoing_abort(Outgoing *o)
{
	pthread_mutex_lock(&o->lock);
	atomic_store(&o->aborted, true);
	if (o->fd >= 0)
		shutdown(o->fd, SHUT_RDWR);
	pthread_mutex_unlock(&o->lock);
}

static VtStatus
failed(VtError *err, int error)
{
	return vt_fail(err, error == ETIMEDOUT ? VT_TIMEOUT : VT_UNAVAILABLE, "%s", strerror(error));
}

/* Until the socket can do that, or has ended. */
static VtStatus
wait_for(Outgoing *o, short events, int64_t until, VtError *err)
{
	for (;;)
	{
		struct pollfd p = {.fd = o->fd, .events = events};
		int64_t		left = until - clock_now_us();
		int			n;

		if (atomic_load(&o->aborted))
			return failed(err, ECANCELED);
		if (left <= 0)
			return failed(err, ETIMEDOUT);
		n = poll(&p, 1, left < INT64_C(1000000000) ? (int) ((left + 999) / 1000) : 1000000);
		if (n > 0)
			return VT_OK;
		if (n < 0 && errno != EINTR)
			return failed(err, errno);
	}
}

/* The socket is there for an abort to find before anything waits. */
static bool
take_socket(Outgoing *o, int fd)
{
	bool		taken;

	pthread_mutex_lock(&o->lock);
	taken = !atomic_load(&o->aborted);
	if (taken)
		o->fd = fd;
	pthread_mutex_unlock(&o->lock);
	if (!taken)
		close(fd);
	return taken;
}

VtStatus
outgoing_dial(Outgoing *o, const Endpoint *endpoint, int64_t until, bool *refused, VtError *err)
{
	int			fd = socket(endpoint->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			error = 0;
	socklen_t	len = sizeof(error);
	VtStatus	status = VT_OK;

	*refused = false;
	if (fd < 0)
		return failed(err, errno);
	if (!take_socket(o, fd))
		return failed(err, ECANCELED);
	if (endpoint->tcp)
		endpoint_set_up_tcp(fd);
	if (connect(fd, (const struct sockaddr *) &endpoint->addr, endpoint->len) != 0)
		error = errno;
	if (error == EINPROGRESS || error == EINTR)
	{
		status = wait_for(o, POLLOUT, until, err);
		if (status == VT_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
			error = errno;
	}
	if (status == VT_OK && error != 0)
		status = failed(err, error);
	*refused = error == ECONNREFUSED || error == ENOENT;
	if (status != VT_OK)
		outgoing_close(o);
	return status;
}

VtStatus
outgoing_move(Outgoing *o, bool out, uint8_t *data, size_t len, int64_t until, size_t *moved, VtError *err)
{
	VtStatus	status = VT_OK;

	while (status == VT_OK)
	{
		ssize_t		n = out ? send(o->fd, data, len, MSG_NOSIGNAL) : recv(o->fd, data, len, 0);

		if (n > 0)
		{
			*moved = (size_t) n;
			return VT_OK;
		}
		if (n == 0)
			return failed(err, ECONNRESET);
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			status = wait_for(o, out ? POLLOUT : POLLIN, until, err);
		else if (errno != EINTR)
			return failed(err, errno);
	}
	return status;
}

bool
outgoing_try(Outgoing *o, struct iovec *pieces, size_t n, size_t *sent)
{
	struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = n};
	ssize_t		rc = sendmsg(o->fd, &msg, MSG_NOSIGNAL);

	*sent = rc > 0 ? (size_t) rc : 0;
	return rc > 0;
}

bool
outgoing_hear(Outgoing *o, uint8_t *data, size_t room, size_t *n)
{
	ssize_t		rc;

	do
		rc = recv(o->fd, data, room, 0);
	while (rc < 0 && errno == EINTR);
	*n = rc > 0 ? (size_t) rc : 0;
	return rc > 0 || (rc < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}
