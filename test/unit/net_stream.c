/*-------------------------------------------------------------------------
 *
 * net_stream.c
 *	  Streams and their completions (law T1).
 *
 * A reply larger than the socket's buffer is sent by several completions, and
 * while one is under way others are queued.  Whoever reads slowly must find
 * every frame whole and in order all the same.  And a connection may be closed
 * while its frame is being looked at, or come while the server stops.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* RTLD_NEXT */
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <nng/nng.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/net.h"
#include "net/private.h"
#include "patience.h"

#define REPLIES 24
#define LARGE (3u << 20)
#define BLOCKING 1000			/* a question whose handler waits for the close */

static sem_t handling;
static sem_t closed;
static atomic_llong longest_us;	/* that a frame was handled for */

/* What the n-th reply holds; sizes from nothing to many socket buffers. */
static uint32_t
reply_size(uint64_t n)
{
	static const uint32_t sizes[] = {300000, 0, 1, LARGE, 17, LARGE / 2, 65536, 4095};

	return sizes[n % 8];
}

static void
reply_fill(uint8_t *out, uint32_t size, uint64_t n)
{
	for (uint32_t i = 0; i < size; i++)
		out[i] = (uint8_t) (n * 131 + i * 7 + i / 251);
}

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	uint32_t	size = reply_size(header->request);
	uint8_t    *bytes = vt_alloc(size + 1);
	int64_t		began_us = clock_now_us();

	(void) arg;
	(void) payload;
	if (header->request == BLOCKING)
	{
		sem_post(&handling);
		sem_wait(&closed);
	}
	reply_fill(bytes, size, header->request);
	net_reply_frame(conn, header->type, header->request, bytes_of(bytes, size));
	free(bytes);
	began_us = clock_now_us() - began_us;
	if (began_us > atomic_load(&longest_us))
		atomic_store(&longest_us, began_us);
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
	sem_post(&closed);
}

typedef struct Place
{
	char		directory[64];
	char		endpoint[96];
	NetServer  *server;
} Place;

static int
set_up(void **state)
{
	Place	   *place = vt_alloc0(sizeof(Place));
	NetServerOptions options;
	VtError		err = {0};

	net_block_signals();
	sem_init(&handling, 0, 0);
	sem_init(&closed, 0, 0);
	snprintf(place->directory, sizeof(place->directory), "/tmp/vectron-net.XXXXXX");
	if (!mkdtemp(place->directory))
		return -1;
	snprintf(place->endpoint, sizeof(place->endpoint), "unix:%s/s", place->directory);
	memset(&options, 0, sizeof(options));
	options.endpoint = place->endpoint;
	options.role = WIRE_ROLE_WORKER;
	options.handler.frame = on_frame;
	options.handler.closed = on_closed;
	if (net_server_start(&options, &place->server, &err) != VT_OK)
		fail_msg("server: %s", vt_error_words(&err));
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	Place	   *place = *state;
	int			rc;

	net_server_stop(place->server);
	rc = rmdir(place->directory);
	free(place);
	sem_destroy(&handling);
	sem_destroy(&closed);
	return rc;
}

static void
ask(int fd, WireType type, uint64_t request, Bytes payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, WIRE_REQUEST, type, request, payload);
	assert_int_equal(write(fd, frame.data, frame.len), frame.len);
	buf_free(&frame);
}

/* False: nothing more comes. */
static bool
read_fully(int fd, uint8_t *out, size_t n)
{
	while (n > 0)
	{
		ssize_t		got = read(fd, out, n);

		if (got <= 0)
			return false;
		out += got;
		n -= (size_t) got;
	}
	return true;
}

static bool
read_frame(int fd, WireHeader *header, Buf *payload)
{
	uint8_t		head[WIRE_HEADER_SIZE];

	if (!read_fully(fd, head, sizeof(head)) || wire_header_get(head, header, NULL) != VT_OK)
		return false;
	buf_clear(payload);
	buf_reserve(payload, header->length + 1);
	payload->len = header->length;
	return read_fully(fd, payload->data, header->length) &&
		wire_payload_check(head, header, buf_bytes(payload), NULL) == VT_OK;
}

static int
connect_to(const Place *place)
{
	struct timeval patience = {PATIENCE_S, 0};
	struct sockaddr_un addr;
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", place->endpoint + 5);
	assert_int_equal(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

/* Connect and greet. */
static int
dial(const Place *place)
{
	WireHello	hello = {.version_low = WIRE_VERSION, .version_high = WIRE_VERSION,
						 .role = WIRE_ROLE_CTL};
	WireHeader	header;
	Buf			payload = {0};
	int			fd = connect_to(place);

	wire_hello_put(&payload, &hello);
	ask(fd, WIRE_HELLO, 1, buf_bytes(&payload));
	assert_true(read_frame(fd, &header, &payload));
	buf_free(&payload);
	return fd;
}

static void
replies_taken_in_pieces_are_whole_and_in_order(void **state)
{
	Place	   *place = *state;
	int			fd = dial(place);
	uint8_t    *expected = vt_alloc(LARGE);
	WireHeader	header;
	Buf			payload = {0};

	/* All questions before the first answer is read: sends meet a full socket. */
	for (uint64_t n = 0; n < REPLIES; n++)
		ask(fd, WIRE_CONTROL, n, bytes_str("{}"));
	for (uint64_t n = 0; n < REPLIES; n++)
	{
		uint32_t	size = reply_size(n);

		if (!read_frame(fd, &header, &payload))
			fail_msg("reply %llu is damaged or does not come", (unsigned long long) n);
		assert_int_equal(header.request, n);
		assert_int_equal(header.length, size);
		reply_fill(expected, size, n);
		assert_memory_equal(payload.data, expected, size);
	}
	buf_free(&payload);
	free(expected);
	close(fd);
}

static void
a_server_stops_while_a_frame_is_handled(void **state)
{
	Place	   *place = *state;
	int			fd = dial(place);

	ask(fd, WIRE_CONTROL, BLOCKING, bytes_str("{}"));
	sem_wait(&handling);
	net_server_stop(place->server);
	place->server = NULL;
	close(fd);
}

/* -- Whoever comes while it stops --------------------------------------------- */

static NetServer *_Atomic holds_up; /* whom it accepts joins it only when it stops */
static sem_t held_up;
static atomic_bool has_stopped;

static bool
is_stopping(NetServer *server)
{
	bool		stopping;

	pthread_mutex_lock(&server->lock);
	stopping = server->stopping;
	pthread_mutex_unlock(&server->lock);
	return stopping;
}

/* Asked whose a connection is that was accepted; in place of nng's. */
int
nng_stream_get_uint64(nng_stream *stream, const char *name, uint64_t *out)
{
	__typeof__(nng_stream_get_uint64) *theirs = (__typeof__(nng_stream_get_uint64) *) dlsym(RTLD_NEXT, "nng_stream_get_uint64");
	NetServer  *server = atomic_load(&holds_up);

	if (server)
	{
		sem_post(&held_up);
		while (!is_stopping(server))
			usleep(200);
		usleep(20000);			/* it looks for whom it shuts out meanwhile: where it does not, less is tested */
	}
	return theirs(stream, name, out);
}

static void *
stop_main(void *server)
{
	net_server_stop(server);
	atomic_store(&has_stopped, true);
	return NULL;
}

/* A server that stops does not wait until he goes. */
static void
who_comes_too_late_is_shut_out(void **state)
{
	Place	   *place = *state;
	int64_t		until = clock_now_us() + PATIENCE_US / 2;
	pthread_t	thread;
	char		byte;
	int			fd;

	sem_init(&held_up, 0, 0);
	atomic_store(&holds_up, place->server);
	fd = connect_to(place);
	sem_wait(&held_up);
	assert_int_equal(pthread_create(&thread, NULL, stop_main, place->server), 0);
	place->server = NULL;
	while (!atomic_load(&has_stopped) && clock_now_us() < until)
		usleep(200);
	atomic_store(&holds_up, NULL);
	if (!atomic_load(&has_stopped))
	{
		close(fd);
		pthread_join(thread, NULL);
		fail_msg("it waited until he had gone");
	}
	pthread_join(thread, NULL);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

/* A number of net_metrics(), in microseconds where it is a time. */
static int64_t
number_of(const char *name, bool seconds)
{
	Buf			text = {0};
	const char *at;
	double		number;

	net_metrics(&text);
	buf_put_u8(&text, 0);
	at = strstr((const char *) text.data, name);
	assert_non_null(at);
	number = strtod(at + strlen(name), NULL);
	buf_free(&text);
	return (int64_t) (seconds ? number * 1e6 + 0.5 : number);
}

/* Callbacks are counted with what is done in them; the longest is told once. */
static void
who_holds_a_callback_is_counted(void **state)
{
	Place	   *place = *state;
	int64_t		before = number_of("\nvectron_net_callback_seconds_count ", false);
	int			fd;
	WireHeader	header;
	Buf			payload = {0};

	/* What the server's sends and receives before this took is told by now. */
	atomic_store(&longest_us, 0);
	fd = dial(place);
	for (uint64_t n = 0; n < 8; n++)
	{
		ask(fd, WIRE_CONTROL, n, bytes_str("{}"));
		assert_true(read_frame(fd, &header, &payload));
	}
	close(fd);
	net_server_stop(place->server);
	place->server = NULL;
	assert_true(atomic_load(&longest_us) > 0);
	assert_true(number_of("\nvectron_net_callback_max_seconds ", true) >= atomic_load(&longest_us));
	assert_int_equal(number_of("\nvectron_net_callback_max_seconds ", true), 0);
	/* Each question at least came and was answered in one. */
	assert_true(number_of("\nvectron_net_callback_seconds_count ", false) >= before + 8);
	buf_free(&payload);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replies_taken_in_pieces_are_whole_and_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_holds_a_callback_is_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_server_stops_while_a_frame_is_handled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_comes_too_late_is_shut_out, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
