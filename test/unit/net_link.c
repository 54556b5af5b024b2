/*-------------------------------------------------------------------------
 *
 * net_link.c
 *	  Who asks whether a peer is there is told when it is not: also when the
 *	  question came while it was dying.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/net.h"

#define PATIENCE_US (60 * INT64_C(1000000))

static atomic_int refusals;

static void
on_refused(void *arg, uint64_t tag)
{
	assert_null(arg);
	assert_int_equal(tag, 7);
	atomic_fetch_add(&refusals, 1);
}

static int
listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void
take_and_close(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&p, 1, (int) (PATIENCE_US / 1000)), 1);
	close(accept(listener, NULL, NULL));
}

static void
wait_for_refusals(int n)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (atomic_load(&refusals) < n)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
}

static void
a_dying_peer_is_found_dead(void **state)
{
	char		directory[] = "/tmp/vectron-link.XXXXXX";
	char		path[64];
	char		endpoint[80];
	NetPeerOptions options;
	NetLink    *link;
	int			listener;

	(void) state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	snprintf(endpoint, sizeof(endpoint), "unix:%s", path);
	memset(&options, 0, sizeof(options));
	options.endpoint = endpoint;
	options.role = WIRE_ROLE_WORKER;
	listener = listen_at(path);
	link = net_link_new(&options, on_refused, NULL, 7);

	/* It still takes connections, and closes them; then it is gone. */
	net_link_probe(link);
	take_and_close(listener);
	take_and_close(listener);
	assert_int_equal(atomic_load(&refusals), 0);
	close(listener);
	wait_for_refusals(1);

	/* Known is known: it is not asked without end. */
	usleep(100000);
	assert_int_equal(atomic_load(&refusals), 1);
	net_link_probe(link);
	wait_for_refusals(2);
	net_link_free(link);
	unlink(path);
	rmdir(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dying_peer_is_found_dead),
	};

	net_block_signals();
	return cmocka_run_group_tests_name("net_link", tests, NULL, NULL);
}
