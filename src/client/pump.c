/*-------------------------------------------------------------------------
 *
 * pump.c
 *	  Waiting, and what has happened on the sockets meanwhile.
 *
 * Nobody waits but here.  When a time is over the sockets are looked into once more
 * before anything is given up: who was busy with something else for so long, or stood
 * still, may find an answer there, and of a write that is the difference between done and
 * not known.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "conn.h"

#define EVENTS 32
#define LATE_READS 64			/* of what has come when the time was over */

/* The socket can take bytes, or a dial has ended. */
static bool
conn_write(Conn *conn)
{
	int			error = 0;
	socklen_t	len = sizeof(error);

	if (conn->state != CONN_DIALING)
		return conn_flush(conn);
	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
	{
		conn_fail(conn, VT_UNAVAILABLE, false, "could not connect: %s", strerror(error));
		return false;
	}
	return conn_dialed(conn);
}

/*
 * Wait as the caller does, then see what has happened to which sockets: also when the time
 * is over, since who is late may not have looked.  Who waits by poll() need not: its wait and the look are one system call then.
 */
static VtStatus
wait_for_events(Client *client, int64_t until_us, struct epoll_event *events, int *n)
{
	bool		any = client->conns != NULL;
	VtStatus	status;

	if (any && client->ops.wait == client_poll_ops.wait)
	{
		*n = epoll_wait(client->epoll, events, EVENTS, wait_ms(until_us));
		return *n > 0 || (*n < 0 && errno == EINTR) ? VT_OK : *n == 0 ? VT_TIMEOUT : VT_IO;
	}
	status = client->ops.wait(client->ops.arg, any ? client->epoll : -1, any, false, until_us);
	*n = (status == VT_OK || status == VT_TIMEOUT) && any ? epoll_wait(client->epoll, events, EVENTS, 0) : 0;
	return status == VT_TIMEOUT && *n > 0 ? VT_OK : status;
}

VtStatus
pump(Client *client, int64_t until_us, VtError *err)
{
	struct epoll_event events[EVENTS];
	int			n;
	VtStatus	status = wait_for_events(client, until_us, events, &n);

	if (status == VT_TIMEOUT)
		return VT_TIMEOUT;
	if (status != VT_OK)
		return vt_fail(err, status, "the request to the cluster was given up: %s",
					   vt_status_words(status));
	for (int i = 0; i < n; i++)
	{
		/* An earlier event may have ended it. */
		Conn	   *conn = conn_by_serial(client, events[i].data.u64);

		if (!conn)
			continue;
		if ((events[i].events & EPOLLOUT) || (conn->state == CONN_DIALING &&
											  (events[i].events & (EPOLLERR | EPOLLHUP))))
			if (!conn_write(conn))
				continue;
		if (conn->state != CONN_DIALING && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
			conn_read(conn);
	}
	return VT_OK;
}

VtStatus
pump_late(Client *client, VtError *err)
{
	int64_t		now = clock_now_us();
	VtStatus	status = VT_OK;

	for (int i = 0; i < LATE_READS && status == VT_OK; i++)
		status = pump(client, now, err);
	return status == VT_TIMEOUT ? VT_OK : status;
}

void
request_expire(Request *request)
{
	request_drop(request);
	request->done = true;
	request->definite = false;
	request->status = vt_fail(&request->err, VT_TIMEOUT, "%s: did not answer in time", request->endpoint);
}

VtStatus
request_wait(Client *client, Request *request, int64_t deadline_us, VtError *err)
{
	int64_t		until = request->until_us && request->until_us < deadline_us ? request->until_us : deadline_us;

	while (!request->done)
	{
		int64_t		now = clock_now_us();
		VtStatus	status;

		if (now >= until)
		{
			/* An answer that is here is an answer, however long the caller was busy with something else. */
			status = pump_late(client, err);
			if (status != VT_OK)
				return status;
			if (request->done)
				break;
			if (now >= deadline_us)
				return vt_fail(err, VT_TIMEOUT, "%s did not answer in time", request->endpoint);
			request_expire(request);
			break;
		}
		status = pump(client, until, err);
		if (status != VT_OK && status != VT_TIMEOUT)
			return status;
	}
	return VT_OK;
}
