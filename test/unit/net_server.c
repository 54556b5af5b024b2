/*-------------------------------------------------------------------------
 *
 * net_server.c
 *	  A server's connections, by both of its carriers: frames come whole
 *	  however they are cut, replies leave whole and in order however slowly they
 *	  are read, and who does not belong is shut out.
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
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/prng.h"
#include "net/net.h"
#include "patience.h"
#include "scratch.h"

#define POLLERS 3

/* A server that answers each request with what it was sent, `copies` times. */
typedef struct Given
{
	NetServer  *server;
	NetServerOptions options;
	char		endpoint[128];
	pthread_t	pollers[POLLERS];
	atomic_bool ending;
	atomic_int	frames;
	atomic_int	cancels;
	atomic_int	closed;
	atomic_int	refused;
	NetConn    *_Atomic last;	/* held, if keep */
	bool		keep;
	uint32_t	copies;
} Given;

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Given	   *given = (Given *) arg;

	if (header->kind == WIRE_CANCEL)
	{
		atomic_fetch_add(&given->cancels, 1);
		return;
	}
	for (uint32_t i = 0; i < given->copies; i++)
		net_reply_frame(conn, header->type, header->request + i, buf_bytes(payload));
	if (given->keep && !atomic_load(&given->last))
		atomic_store(&given->last, net_conn_ref(conn));
	atomic_fetch_add(&given->frames, 1);
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) conn;
	atomic_fetch_add(&((Given *) arg)->closed, 1);
}

static void
on_refused(void *arg, const char *words)
{
	assert_non_null(words);
	atomic_fetch_add(&((Given *) arg)->refused, 1);
}

static void *
poller_main(void *arg)
{
	Given	   *given = (Given *) arg;

	while (!atomic_load(&given->ending))
		net_server_poll(given->server);
	return NULL;
}

static void
given_server(Given *given, bool polled)
{
	VtError		err = {0};

	memset(given, 0, sizeof(*given));
	given->copies = 1;
	snprintf(given->endpoint, sizeof(given->endpoint), "unix:%s", scratch_path(polled ? "polled" : "nng"));
	given->options.endpoint = given->endpoint;
	given->options.role = WIRE_ROLE_WORKER;
	given->options.cluster.b[0] = 7;
	given->options.polled = polled;
	given->options.handler.frame = on_frame;
	given->options.handler.closed = on_closed;
	given->options.handler.refused = on_refused;
	given->options.handler.arg = given;
	assert_int_equal(net_server_start(&given->options, &given->server, &err), VT_OK);
	for (int i = 0; polled && i < POLLERS; i++)
		assert_int_equal(pthread_create(&given->pollers[i], NULL, poller_main, given), 0);
}

static void
when_it_stops(Given *given)
{
	atomic_store(&given->ending, true);
	for (int i = 0; given->options.polled && i < POLLERS; i++)
		net_server_wake(given->server);
	for (int i = 0; given->options.polled && i < POLLERS; i++)
		pthread_join(given->pollers[i], NULL);
	net_server_stop(given->server);
	assert_int_not_equal(access(given->endpoint + 5, F_OK), 0);
}

static void
until(atomic_int *number, int wanted)
{
	for (int64_t end = clock_now_us() + PATIENCE_US; atomic_load(number) < wanted; usleep(200))
		assert_true(clock_now_us() < end);
}

/* -- A peer that speaks bytes ---------------------------------------------- */

static void
dial_with(const Given *given, int fd)
{
	struct sockaddr_un addr;

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	strncpy(addr.sun_path, given->endpoint + 5, sizeof(addr.sun_path) - 1);
	assert_int_equal(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
}

static int
dial(const Given *given)
{
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	dial_with(given, fd);
	return fd;
}

static void
send_bytes(int fd, const uint8_t *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(fd, data, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		data += n;
		len -= (size_t) n;
	}
}

static void
put_hello(Buf *out, WireRole role, uint8_t cluster)
{
	WireHello	hello;
	Buf			payload = {0};

	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = role;
	hello.cluster.b[0] = cluster;
	wire_hello_put(&payload, &hello);
	wire_frame_put(out, WIRE_REQUEST, WIRE_HELLO, 1, buf_bytes(&payload));
	buf_free(&payload);
}

/* The next frame; false = the server has closed the connection. */
static bool
receive(int fd, WireHeader *header, Buf *payload)
{
	uint8_t		head[WIRE_HEADER_SIZE];
	size_t		have = 0;

	while (have < sizeof(head))
	{
		ssize_t		n = recv(fd, head + have, sizeof(head) - have, 0);

		if (n <= 0)
			return false;
		have += (size_t) n;
	}
	assert_int_equal(wire_header_get(head, header, NULL), VT_OK);
	buf_clear(payload);
	buf_reserve(payload, header->length + 1);
	while (payload->len < header->length)
	{
		ssize_t		n = recv(fd, payload->data + payload->len, header->length - payload->len, 0);

		if (n <= 0)
			return false;
		payload->len += (size_t) n;
	}
	assert_int_equal(wire_payload_check(head, header, buf_bytes(payload), NULL), VT_OK);
	return true;
}

static int
greeted(const Given *given, WireRole role)
{
	int			fd = dial(given);
	Buf			out = {0};
	Buf			in = {0};
	WireHeader	header;

	put_hello(&out, role, 7);
	send_bytes(fd, out.data, out.len);
	assert_true(receive(fd, &header, &in));
	assert_int_equal(header.type, WIRE_HELLO);
	buf_free(&out);
	buf_free(&in);
	return fd;
}

static void
put_request(Buf *out, WireType type, uint64_t request, size_t size, uint8_t filling)
{
	Buf			payload = {0};

	buf_put_zeros(&payload, size);
	if (size)
		memset(payload.data, filling, size);
	wire_frame_put(out, WIRE_REQUEST, type, request, buf_bytes(&payload));
	buf_free(&payload);
}

static void
expect(int fd, uint64_t request, size_t size, uint8_t filling)
{
	WireHeader	header;
	Buf			in = {0};

	assert_true(receive(fd, &header, &in));
	assert_int_equal(header.kind, WIRE_REPLY);
	assert_int_equal(header.request, request);
	assert_int_equal(in.len, size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(in.data[i], filling);
	buf_free(&in);
}

static void
expect_end(int fd)
{
	WireHeader	header;
	Buf			in = {0};

	assert_false(receive(fd, &header, &in));
	buf_free(&in);
	close(fd);
}

/* -- Stories ---------------------------------------------------------------- */

static void
frames_in_pieces(bool polled)
{
	Given		given;
	Prng		prng = {11};
	Buf			out = {0};
	int			fd;

	given_server(&given, polled);
	fd = greeted(&given, WIRE_ROLE_GATEWAY);
	for (uint8_t i = 1; i <= 20; i++)
		put_request(&out, WIRE_SEARCH, i, i * 37, i);
	put_request(&out, WIRE_WRITE, 21, 3 << 20, 21);
	for (size_t at = 0; at < out.len;)
	{
		size_t		n = 1 + prng_below(&prng, at < 9000 ? 7 : 300000);

		n = n < out.len - at ? n : out.len - at;
		send_bytes(fd, out.data + at, n);
		at += n;
	}
	for (uint8_t i = 1; i <= 20; i++)
		expect(fd, i, i * 37, i);
	expect(fd, 21, 3 << 20, 21);
	close(fd);
	until(&given.closed, 1);
	when_it_stops(&given);
	assert_int_equal(atomic_load(&given.closed), 1);
	buf_free(&out);
}

/* Far more than a socket holds; nobody reads until all is queued. */
static void
a_slow_reader(bool polled)
{
	Given		given;
	Buf			out = {0};
	int			fd;

	given_server(&given, polled);
	given.copies = 60;
	fd = greeted(&given, WIRE_ROLE_GATEWAY);
	put_request(&out, WIRE_LIST, 100, 700000, 5);
	send_bytes(fd, out.data, out.len);
	until(&given.frames, 1);
	for (uint32_t i = 0; i < given.copies; i++)
		expect(fd, 100 + i, 700000, 5);

	/* And goes on as before. */
	given.copies = 1;
	buf_clear(&out);
	put_request(&out, WIRE_LIST, 200, 10, 6);
	wire_frame_put(&out, WIRE_CANCEL, WIRE_LIST, 200, bytes_of(NULL, 0));
	send_bytes(fd, out.data, out.len);
	expect(fd, 200, 10, 6);
	until(&given.cancels, 1);
	close(fd);
	when_it_stops(&given);
	buf_free(&out);
}

/*
 * A peer that sends its last request and hangs up at once is still heard (nng
 * may drop what it has not read by then).
 */
static void
gone_at_once(void **state)
{
	Given		given;
	Buf			out = {0};

	(void) state;
	given_server(&given, true);
	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	put_request(&out, WIRE_WRITE, 2, 100, 2);
	for (int i = 1; i <= 50; i++)
	{
		int			fd = dial(&given);

		send_bytes(fd, out.data, out.len);
		close(fd);
		until(&given.closed, i);
	}
	assert_int_equal(atomic_load(&given.frames), 50);
	when_it_stops(&given);
	assert_int_equal(atomic_load(&given.closed), 50);
	buf_free(&out);
}

/* Replies to a connection that has ended vanish; it is freed with the last of them. */
static void
late_replies(bool polled)
{
	Given		given;
	Buf			out = {0};
	int			fd;

	given_server(&given, polled);
	given.keep = true;
	fd = greeted(&given, WIRE_ROLE_GATEWAY);
	put_request(&out, WIRE_WRITE, 2, 100, 2);
	send_bytes(fd, out.data, out.len);
	expect(fd, 2, 100, 2);
	close(fd);
	until(&given.closed, 1);
	until(&given.frames, 1);
	net_reply_frame(atomic_load(&given.last), WIRE_WRITE, 3, bytes_str("nobody"));
	net_conn_release(atomic_load(&given.last));
	when_it_stops(&given);
	buf_free(&out);
}

static void
shut_out_after(const Given *given, const Buf *out)
{
	int			fd = dial(given);
	WireHeader	header;
	Buf			in = {0};

	send_bytes(fd, out->data, out->len);
	while (receive(fd, &header, &in))
		assert_int_equal(header.type, WIRE_HELLO);
	buf_free(&in);
	close(fd);
}

static void
who_does_not_belong(bool polled)
{
	Given		given;
	Buf			out = {0};

	given_server(&given, polled);
	put_hello(&out, WIRE_ROLE_GATEWAY, 8);	/* another cluster */
	shut_out_after(&given, &out);
	buf_clear(&out);
	put_request(&out, WIRE_SEARCH, 1, 10, 1);	/* no greeting */
	shut_out_after(&given, &out);
	buf_clear(&out);
	put_hello(&out, WIRE_ROLE_WORKER, 7);	/* a worker does not search */
	put_request(&out, WIRE_SEARCH, 1, 10, 1);
	shut_out_after(&given, &out);
	buf_clear(&out);
	put_hello(&out, WIRE_ROLE_GATEWAY, 7);	/* damaged */
	put_request(&out, WIRE_SEARCH, 1, 10, 1);
	out.data[out.len - 1] ^= 1;
	shut_out_after(&given, &out);
	assert_int_equal(atomic_load(&given.frames), 0);
	when_it_stops(&given);
	buf_free(&out);
}

typedef struct Many
{
	const Given *given;
	uint8_t		number;
} Many;

static void *
many_main(void *arg)
{
	const Many *many = (const Many *) arg;
	int			fd = greeted(many->given, WIRE_ROLE_GATEWAY);
	Buf			out = {0};

	for (uint64_t i = 1; i <= 300; i++)
	{
		buf_clear(&out);
		put_request(&out, WIRE_SEARCH, 2 * i, 100 + i, many->number);
		put_request(&out, WIRE_WRITE, 2 * i + 1, 1, many->number);
		send_bytes(fd, out.data, out.len);
		expect(fd, 2 * i, 100 + i, many->number);
		expect(fd, 2 * i + 1, 1, many->number);
	}
	close(fd);
	buf_free(&out);
	return NULL;
}

static void
many_at_a_time(bool polled)
{
	Given		given;
	Many		many[20];
	pthread_t	threads[20];

	given_server(&given, polled);
	for (uint8_t i = 0; i < 20; i++)
	{
		many[i].given = &given;
		many[i].number = i;
		assert_int_equal(pthread_create(&threads[i], NULL, many_main, &many[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		pthread_join(threads[i], NULL);
	until(&given.closed, 20);
	when_it_stops(&given);
	assert_int_equal(atomic_load(&given.frames), 20 * 600);
	assert_int_equal(atomic_load(&given.closed), 20);
}

/* Open connections do not keep a server from stopping, and are told. */
static void
stops_with_peers(bool polled)
{
	Given		given;
	int			fds[5];

	given_server(&given, polled);
	for (int i = 0; i < 5; i++)
		fds[i] = greeted(&given, WIRE_ROLE_GATEWAY);
	when_it_stops(&given);
	assert_int_equal(atomic_load(&given.closed), 5);
	for (int i = 0; i < 5; i++)
		expect_end(fds[i]);
}

/* As many threads leave net_server_poll() as were asked to, however fast. */
static void
each_wake_wakes_one(void **state)
{
	Given		given;

	(void) state;
	for (int i = 0; i < 200; i++)
	{
		given_server(&given, true);
		when_it_stops(&given);
	}
}

#define BOTH(story) \
	static void story##_nng(void **state) { (void) state; story(false); } \
	static void story##_polled(void **state) { (void) state; story(true); }

BOTH(frames_in_pieces)
BOTH(a_slow_reader)
BOTH(late_replies)
BOTH(who_does_not_belong)
BOTH(many_at_a_time)
BOTH(stops_with_peers)

/* A worker asks the placement driver of its own cluster, and none that has no cluster yet. */
static void
only_drivers_of_ones_cluster_are_asked(void **state)
{
	Given		given;
	NetPeerOptions options;
	NetPeer    *peer;
	Buf			reply = {0};
	VtError		err = {0};
	VtId		cluster;
	VtId		other;

	(void) state;
	memset(&given, 0, sizeof(given));
	given.copies = 1;
	snprintf(given.endpoint, sizeof(given.endpoint), "unix:%s", scratch_path("driver"));
	given.options.endpoint = given.endpoint;
	given.options.role = WIRE_ROLE_PD;
	given.options.handler.frame = on_frame;
	given.options.handler.closed = on_closed;
	given.options.handler.arg = &given;
	assert_int_equal(net_server_start(&given.options, &given.server, &err), VT_OK);
	memset(&cluster, 7, sizeof(cluster));
	memset(&other, 8, sizeof(other));
	memset(&options, 0, sizeof(options));
	options.endpoint = given.endpoint;
	options.role = WIRE_ROLE_WORKER;
	options.expected = WIRE_ROLE_PD;

	/* Whoever is new asks; what he is told is his from then on, also for the next dial. */
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_OK);
	net_peer_set_identity(peer, &cluster, 1);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_OK);
	assert_int_equal(net_peer_redial(peer, PATIENCE_MS), VT_UNAVAILABLE);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_UNAVAILABLE);
	assert_non_null(strstr(err.msg, "does not know its cluster"));

	net_server_set_identity(given.server, &other, 3);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_FOREIGN);
	assert_non_null(strstr(err.msg, "08080808"));
	assert_non_null(strstr(err.msg, "07070707"));
	net_server_set_identity(given.server, &cluster, 3);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_OK);
	net_peer_free(peer);

	/* Drivers that are about to found a cluster meet each other. */
	memset(&other, 0, sizeof(other));
	net_server_set_identity(given.server, &other, 3);
	options.role = WIRE_ROLE_PD;
	options.cluster = cluster;
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_OK);
	net_peer_free(peer);
	buf_free(&reply);
	when_it_stops(&given);

	/* Counted once nobody is at it any more: a frame is counted after its reply has left. */
	assert_int_equal(atomic_load(&given.frames), 4);
}

/* Nobody else has to come before one is accepted for whom there was no descriptor. */
static void
one_waits_for_a_descriptor(bool polled)
{
	Given		given;
	struct rlimit before;
	struct rlimit none;
	WireHeader	header;
	Buf			out = {0};
	Buf			in = {0};
	int			fd;

	given_server(&given, polled);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t) dup(fd);
	close((int) none.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	dial_with(&given, fd);
	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	send_bytes(fd, out.data, out.len);
	until(&given.refused, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(receive(fd, &header, &in));
	assert_int_equal(header.type, WIRE_HELLO);
	assert_int_equal(atomic_load(&given.refused), 1);
	close(fd);
	until(&given.closed, 1);
	when_it_stops(&given);
	buf_free(&out);
	buf_free(&in);
}

BOTH(one_waits_for_a_descriptor)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_in_pieces_nng),
		cmocka_unit_test(frames_in_pieces_polled),
		cmocka_unit_test(a_slow_reader_nng),
		cmocka_unit_test(a_slow_reader_polled),
		cmocka_unit_test(gone_at_once),
		cmocka_unit_test(late_replies_nng),
		cmocka_unit_test(late_replies_polled),
		cmocka_unit_test(who_does_not_belong_nng),
		cmocka_unit_test(who_does_not_belong_polled),
		cmocka_unit_test(many_at_a_time_nng),
		cmocka_unit_test(many_at_a_time_polled),
		cmocka_unit_test(stops_with_peers_nng),
		cmocka_unit_test(stops_with_peers_polled),
		cmocka_unit_test(each_wake_wakes_one),
		cmocka_unit_test(one_waits_for_a_descriptor_nng),
		cmocka_unit_test(one_waits_for_a_descriptor_polled),
		cmocka_unit_test(only_drivers_of_ones_cluster_are_asked),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
