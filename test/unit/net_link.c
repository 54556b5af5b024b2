/*-------------------------------------------------------------------------
 *
 * net_link.c
 *	  Who asks whether a peer is there is told when it is not: also when the
 *	  question came while it was dying.  And a link that is cut in silence is made anew.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/net.h"
#include "patience.h"

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

/* -- A cut that nobody is told of --------------------------------------------- */

#define STREETS 16

/* Between a link and a server: carries bytes both ways, or takes them and says nothing. */
typedef struct Proxy
{
	int			listener;
	const char *to;				/* path of the server */
	int			ends[STREETS][2];	/* -1 = free */
	bool		dead[STREETS];
	atomic_int	opened;
	atomic_bool cut;			/* those that are open now are dead from here on */
	atomic_bool holds;			/* it carries nothing for a while */
	atomic_bool stop;
	pthread_t	thread;
} Proxy;

static void
street_open(Proxy *proxy)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int			fd = accept(proxy->listener, NULL, NULL);
	int			there = socket(AF_UNIX, SOCK_STREAM, 0);
	int			i = 0;

	assert_true(fd >= 0);
	strcpy(addr.sun_path, proxy->to);
	assert_int_equal(connect(there, (struct sockaddr *) &addr, sizeof(addr)), 0);
	while (proxy->ends[i][0] >= 0)
		assert_true(++i < STREETS);
	proxy->ends[i][0] = fd;
	proxy->ends[i][1] = there;
	proxy->dead[i] = false;
	atomic_fetch_add(&proxy->opened, 1);
}

static void
street_carry(Proxy *proxy, int i, int from)
{
	uint8_t		bytes[4096];
	ssize_t		n = read(proxy->ends[i][from], bytes, sizeof(bytes));

	if (n > 0 && (proxy->dead[i] || write(proxy->ends[i][!from], bytes, (size_t) n) == n))
		return;
	close(proxy->ends[i][0]);
	close(proxy->ends[i][1]);
	proxy->ends[i][0] = proxy->ends[i][1] = -1;
}

static void *
proxy_main(void *arg)
{
	Proxy	   *proxy = (Proxy *) arg;

	while (!atomic_load(&proxy->stop))
	{
		struct pollfd fds[1 + 2 * STREETS];

		while (atomic_load(&proxy->holds))
			usleep(1000);

		if (atomic_exchange(&proxy->cut, false))
			for (int i = 0; i < STREETS; i++)
				proxy->dead[i] = true;
		fds[0] = (struct pollfd) {.fd = proxy->listener, .events = POLLIN};
		for (int i = 0; i < 2 * STREETS; i++)
			fds[1 + i] = (struct pollfd) {.fd = proxy->ends[i / 2][i % 2], .events = POLLIN};
		if (poll(fds, 1 + 2 * STREETS, 10) <= 0)
			continue;
		for (int i = 0; i < 2 * STREETS; i++)
			if (fds[1 + i].revents && proxy->ends[i / 2][i % 2] == fds[1 + i].fd)
				street_carry(proxy, i / 2, i % 2);
		if (fds[0].revents)
			street_open(proxy);
	}
	for (int i = 0; i < STREETS; i++)
		for (int k = 0; k < 2; k++)
			if (proxy->ends[i][k] >= 0)
				close(proxy->ends[i][k]);
	return NULL;
}

static atomic_int arrived;		/* the number in the newest frame */
static atomic_int frames;		/* came, */
static atomic_int misplaced;	/* and so many had no higher number than the one before, or other bytes than were sent */

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	int			number = (int) get_le32(payload->data);
	bool		whole = true;

	(void) arg;
	(void) conn;
	assert_int_equal(header->type, WIRE_RAFT);
	for (size_t i = 4; i < payload->len; i++)
		whole &= payload->data[i] == (uint8_t) (number + (int) i);
	atomic_fetch_add(&misplaced, number <= atomic_load(&arrived) || !whole);
	atomic_fetch_add(&frames, 1);
	atomic_store(&arrived, number);
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
}

/* Send numbered frames until one of them has come; its number. */
static int
send_until_one_comes(NetLink *link, int *number, int after)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (atomic_load(&arrived) <= after)
	{
		Buf			frame = {0};

		assert_true(clock_now_us() < until);
		buf_put_u32(&frame, (uint32_t) ++*number);
		net_link_send(link, &frame);
		usleep(10000);
	}
	return atomic_load(&arrived);
}

/* A link to a server, with a proxy between them. */
typedef struct Road
{
	char		directory[32];
	char		server_path[64];
	char		proxy_path[64];
	char		endpoint[80];
	NetServer  *server;
	NetLink    *link;
	Proxy		proxy;
	int			number;			/* of the last frame that was sent */
} Road;

static void
road_begin(Road *road)
{
	NetServerOptions options = {.role = WIRE_ROLE_WORKER, .handler = {.frame = on_frame, .closed = on_closed}};
	NetPeerOptions peer = {.role = WIRE_ROLE_WORKER};
	char		server_endpoint[80];
	VtError		err = {0};

	memset(road, 0, sizeof(*road));
	atomic_store(&arrived, 0);
	strcpy(road->directory, "/tmp/vectron-link.XXXXXX");
	assert_non_null(mkdtemp(road->directory));
	snprintf(road->server_path, sizeof(road->server_path), "%s/s", road->directory);
	snprintf(road->proxy_path, sizeof(road->proxy_path), "%s/p", road->directory);
	snprintf(server_endpoint, sizeof(server_endpoint), "unix:%s", road->server_path);
	snprintf(road->endpoint, sizeof(road->endpoint), "unix:%s", road->proxy_path);
	options.endpoint = server_endpoint;
	peer.endpoint = road->endpoint;
	assert_int_equal(net_server_start(&options, &road->server, &err), VT_OK);
	road->proxy.to = road->server_path;
	memset(road->proxy.ends, -1, sizeof(road->proxy.ends));
	road->link = net_link_new(&peer, on_refused, NULL, 7);
}

static void
road_open(Road *road)
{
	road->proxy.listener = listen_at(road->proxy_path);
	assert_int_equal(pthread_create(&road->proxy.thread, NULL, proxy_main, &road->proxy), 0);
}

static void
road_end(Road *road)
{
	net_link_free(road->link);
	atomic_store(&road->proxy.stop, true);
	pthread_join(road->proxy.thread, NULL);
	close(road->proxy.listener);
	net_server_stop(road->server);
	unlink(road->proxy_path);
	assert_int_equal(rmdir(road->directory), 0);
}

static void
a_silent_cut_is_noticed(void **state)
{
	static Road road;
	Buf			lost = {0};
	int			opened;
	int			refused = atomic_load(&refusals);

	(void) state;
	road_begin(&road);

	/* At first nobody listens there, which is told; what is told of later is another dial. */
	buf_put_u32(&lost, 0);
	net_link_send(road.link, &lost);
	wait_for_refusals(refused + 1);
	road_open(&road);

	/* For some seconds, so that it has asked and was answered: one connection does. */
	for (int64_t until = clock_now_us() + 2500000; clock_now_us() < until;)
		send_until_one_comes(road.link, &road.number, atomic_load(&arrived));
	opened = atomic_load(&road.proxy.opened);
	refused = atomic_load(&refusals);
	assert_true(opened >= 1);

	for (int round = 0; round < 2; round++)
	{
		atomic_store(&road.proxy.cut, true);
		while (atomic_load(&road.proxy.cut))
			usleep(1000);
		send_until_one_comes(road.link, &road.number, road.number);
		assert_true(atomic_load(&road.proxy.opened) > opened);
		opened = atomic_load(&road.proxy.opened);
	}
	/* That a connection is given up says nothing of who listens. */
	assert_int_equal(atomic_load(&refusals), refused);
	road_end(&road);
}

/* -- A street that is full ------------------------------------------------------- */

#define CROWD 400
#define CROWD_BYTES 40000

static void
send_numbered(Road *road, size_t size)
{
	Buf			frame = {0};

	buf_put_u32(&frame, (uint32_t) ++road->number);
	for (size_t i = 4; i < size; i++)
		buf_put_u8(&frame, (uint8_t) (road->number + (int) i));
	net_link_send(road->link, &frame);
}

/* Whoever sends sends a part himself where the socket takes no more, and a thread the rest. */
static void
a_full_street_keeps_the_order(void **state)
{
	static Road road;

	(void) state;
	road_begin(&road);
	road_open(&road);
	send_until_one_comes(road.link, &road.number, 0);
	atomic_store(&misplaced, 0);
	for (int round = 0; round < 3; round++)
	{
		int			opened = atomic_load(&road.proxy.opened);
		int64_t		until = clock_now_us() + PATIENCE_US;
		int			came;
		int			sent;

		while (atomic_load(&arrived) < road.number && clock_now_us() < until)
			usleep(1000);
		came = atomic_load(&frames);
		sent = road.number;
		atomic_store(&road.proxy.holds, true);
		for (int i = 0; i < CROWD; i++)
			send_numbered(&road, i % 7 == 0 ? CROWD_BYTES : 4 + (size_t) i);
		atomic_store(&road.proxy.holds, false);

		/* All of it, unless the machine was so slow that the connection was given up, which more to send shows. */
		for (int i = 1; atomic_load(&arrived) < road.number && atomic_load(&road.proxy.opened) == opened; i++)
		{
			assert_true(clock_now_us() < until);
			usleep(1000);
			if (i % 1000 == 0)
				send_numbered(&road, 4);
		}
		if (atomic_load(&road.proxy.opened) == opened)
		{
			assert_int_equal(atomic_load(&frames) - came, road.number - sent);
			assert_int_equal(atomic_load(&misplaced), 0);
			continue;
		}
		/* What is still in the old street may come after what went by the new one: it is told by a road of its own. */
		send_until_one_comes(road.link, &road.number, road.number);
		road_end(&road);
		road_begin(&road);
		road_open(&road);
		send_until_one_comes(road.link, &road.number, 0);
		atomic_store(&misplaced, 0);
	}
	road_end(&road);
}

/* -- Two that send to each other ------------------------------------------------ */

/* Each has a server, and a link to the other that it probes when a connection from there ends. */
typedef struct Side
{
	uint64_t	store;
	uint64_t	other;
	char		endpoint[80];
	NetServer  *server;
	pthread_mutex_t lock;
	NetLink    *link;			/* under lock where a connection ends; NULL = it is gone */
	atomic_int	frames;			/* came */
	atomic_int	ended;			/* connections */
} Side;

static void
on_frame_at(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	(void) conn;
	(void) payload;
	assert_int_equal(header->type, WIRE_RAFT);
	atomic_fetch_add(&((Side *) arg)->frames, 1);
}

static void
on_closed_at(void *arg, NetConn *conn)
{
	Side	   *side = (Side *) arg;

	atomic_fetch_add(&side->ended, 1);
	pthread_mutex_lock(&side->lock);
	if (side->link && net_conn_store(conn) == side->other)
		net_link_probe(side->link);
	pthread_mutex_unlock(&side->lock);
}

/* Connections go on ending behind it. */
static void
side_hang_up(Side *side)
{
	NetLink    *link;

	pthread_mutex_lock(&side->lock);
	link = side->link;
	side->link = NULL;
	pthread_mutex_unlock(&side->lock);
	net_link_free(link);
}

static NetPeerOptions
options_to(const Side *from, const Side *to)
{
	NetPeerOptions options = {.endpoint = to->endpoint, .role = WIRE_ROLE_WORKER, .expected = WIRE_ROLE_WORKER,
	.store = from->store};

	return options;
}

static void
side_begin(Side *side, uint64_t store, const char *directory)
{
	NetServerOptions options = {.endpoint = side->endpoint, .role = WIRE_ROLE_WORKER, .store = store,
	.handler = {.frame = on_frame_at, .closed = on_closed_at, .arg = side}};
	VtError		err = {0};

	pthread_mutex_init(&side->lock, NULL);
	side->store = store;
	side->other = 3 - store;
	snprintf(side->endpoint, sizeof(side->endpoint), "unix:%s/%d", directory, (int) store);
	assert_int_equal(net_server_start(&options, &side->server, &err), VT_OK);
}

/* Both send until each has heard n more; nobody's connection ends meanwhile but those of before. */
static void
both_hear(Side *a, Side *b, int n, int ended_at_a, int ended_at_b)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			from_a = atomic_load(&a->frames);
	int			from_b = atomic_load(&b->frames);

	while (atomic_load(&a->frames) < from_a + n || atomic_load(&b->frames) < from_b + n)
	{
		Buf			to_b = {0};
		Buf			to_a = {0};

		assert_true(clock_now_us() < until);
		assert_true(atomic_load(&a->ended) <= ended_at_a);
		assert_true(atomic_load(&b->ended) <= ended_at_b);
		buf_put_u32(&to_b, 1);
		buf_put_u32(&to_a, 1);
		net_link_send(a->link, &to_b);
		net_link_send(b->link, &to_a);
		usleep(1000);
	}
	assert_true(atomic_load(&a->ended) <= ended_at_a);
	assert_true(atomic_load(&b->ended) <= ended_at_b);
}

static void
one_end_is_not_the_end_of_others(void **state)
{
	char		directory[] = "/tmp/vectron-link.XXXXXX";
	static Side a;
	static Side b;
	NetPeerOptions to_a;
	NetPeerOptions to_b;

	(void) state;
	assert_non_null(mkdtemp(directory));
	side_begin(&a, 1, directory);
	side_begin(&b, 2, directory);
	to_b = options_to(&a, &b);
	to_a = options_to(&b, &a);
	a.link = net_link_new(&to_b, NULL, NULL, 0);
	b.link = net_link_new(&to_a, NULL, NULL, 0);
	both_hear(&a, &b, 10, 0, 0);

	/* One of them says something over a connection of its own, and hangs up. */
	for (int round = 1; round <= 3; round++)
	{
		NetPeer    *peer = net_peer_new(&to_b);

		assert_int_equal(net_peer_send(peer, WIRE_RAFT, &(Bytes) {(const uint8_t *) "once", 4}, 1, 10000), VT_OK);
		net_peer_free(peer);
		both_hear(&a, &b, 100, 0, round);
		while (atomic_load(&b.ended) < round)
			usleep(1000);
		both_hear(&a, &b, 10, 0, round);
	}
	side_hang_up(&a);
	side_hang_up(&b);
	net_server_stop(a.server);
	net_server_stop(b.server);
	assert_int_equal(rmdir(directory), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dying_peer_is_found_dead),
		cmocka_unit_test(a_silent_cut_is_noticed),
		cmocka_unit_test(a_full_street_keeps_the_order),
		cmocka_unit_test(one_end_is_not_the_end_of_others),
	};

	net_block_signals();
	return cmocka_run_group_tests_name("net_link", tests, NULL, NULL);
}
