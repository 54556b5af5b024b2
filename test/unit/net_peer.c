/*-------------------------------------------------------------------------
 *
 * net_peer.c
 *	  A peer that dies while it is greeted or asked is an error, whenever that is, and
 *	  is dialled anew.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/net.h"
#include "patience.h"
#include "scratch.h"

static atomic_int sends;		/* of the test's own thread, so many are let through, */
static pthread_t here;			/* and then none */

/* In place of the library's: what a peer that has just died leaves of a connection. */
ssize_t
send(int fd, const void *bytes, size_t n, int flags)
{
	if (pthread_equal(pthread_self(), here) && atomic_fetch_sub(&sends, 1) <= 0)
	{
		errno = EPIPE;
		return -1;
	}
	return sendto(fd, bytes, n, flags, NULL, 0);
}

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	(void) arg;
	net_reply_frame(conn, WIRE_CONTROL, header->request, buf_bytes(payload));
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
}

static void
one_that_dies_is_dialled_anew(void **state)
{
	NetServerOptions options = {.role = WIRE_ROLE_PD, .handler = {.frame = on_frame, .closed = on_closed}};
	NetPeerOptions ours = {.role = WIRE_ROLE_WORKER};
	char		endpoint[200];
	NetServer  *server;
	NetPeer    *peer;
	Buf			reply = {0};
	VtError		err = {0};

	(void) state;
	here = pthread_self();
	snprintf(endpoint, sizeof(endpoint), "unix:%s", scratch_path("peer"));
	options.endpoint = ours.endpoint = endpoint;
	assert_int_equal(net_server_start(&options, &server, NULL), VT_OK);
	peer = net_peer_new(&ours);

	/* When it is greeted; when it is asked; not at all. */
	for (int let = 0; let < 3; let++)
	{
		VtStatus	status;

		atomic_store(&sends, let);
		status = net_peer_call(peer, WIRE_CONTROL, bytes_str("?"), (int) (PATIENCE_US / 1000), &reply, &err);
		assert_int_equal(status, let < 2 ? VT_UNAVAILABLE : VT_OK);
		assert_int_equal(net_peer_connected(peer), let == 2);
	}
	assert_true(bytes_equal(buf_bytes(&reply), bytes_str("?")));

	/* One that was connected. */
	atomic_store(&sends, 0);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("?"), (int) (PATIENCE_US / 1000), &reply, NULL), VT_UNAVAILABLE);
	atomic_store(&sends, 2);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("!"), (int) (PATIENCE_US / 1000), &reply, NULL), VT_OK);
	assert_true(bytes_equal(buf_bytes(&reply), bytes_str("!")));

	/* What is asked ahead, too. */
	atomic_store(&sends, 0);
	assert_int_equal(net_peer_request(peer, WIRE_CONTROL, bytes_str("?"), (int) (PATIENCE_US / 1000), NULL), VT_UNAVAILABLE);
	assert_int_equal(net_peer_request(peer, WIRE_CONTROL, bytes_str("?"), (int) (PATIENCE_US / 1000), NULL), VT_UNAVAILABLE);
	atomic_store(&sends, 2);
	assert_int_equal(net_peer_request(peer, WIRE_CONTROL, bytes_str("?"), (int) (PATIENCE_US / 1000), NULL), VT_OK);
	assert_int_equal(net_peer_reply(peer, WIRE_CONTROL, (int) (PATIENCE_US / 1000), &reply, NULL), VT_OK);

	/* What is too long for a message is refused, and nothing else is the worse for it. */
	buf_reserve(&reply, WIRE_PAYLOAD_MAX + 1);
	memset(reply.data, '?', WIRE_PAYLOAD_MAX + 1);
	atomic_store(&sends, INT_MAX);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_of(reply.data, WIRE_PAYLOAD_MAX + 1), (int) (PATIENCE_US / 1000), &reply, &err), VT_INVALID);
	assert_non_null(strstr(vt_error_words(&err), "16777217 bytes"));
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("?"), (int) (PATIENCE_US / 1000), &reply, NULL), VT_OK);

	buf_free(&reply);
	net_peer_free(peer);
	net_server_stop(server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_dies_is_dialled_anew),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
