/*-------------------------------------------------------------------------
 *
 * net_tls.c
 *	  Servers on tcp, by both carriers: who belongs is served, who does not is shut
 *	  out with a reason and harms nobody, and silence holds nothing for long.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/prng.h"
#include "certs_daemon.h"
#include "net/net.h"
#include "patience.h"

#define POLLERS 3
#ifdef __SANITIZE_THREAD__
#define SILENCE_MS 5000			/* a greeting takes many times as long there */
#else
#define SILENCE_MS 300
#endif

static TestCa ca;
static TestCa foreign;
static TestCa twin;				/* says that it is the cluster's */

static int
setup(void **state)
{
	net_block_signals();
	ca_make(&ca, 7);
	ca_make(&foreign, 8);
	ca_make(&twin, 7);
	return scratch_make(state);
}

static int
teardown(void **state)
{
	ca_free(&ca);
	ca_free(&foreign);
	ca_free(&twin);
	return scratch_remove(state);
}

/* -- A server that answers everything with what it was asked ---------------- */

typedef struct Given
{
	NetServer  *server;
	NetTls	   *tls;
	NetServerOptions options;
	char		endpoint[64];
	int			port;
	pthread_t	pollers[POLLERS];
	atomic_bool ending;
	atomic_int	frames;
	atomic_int	closed;
	atomic_int	refusals;
	atomic_int	foreign_owners; /* asked for what is another server's */
	pthread_mutex_t lock;
	char		words[512];		/* of the last refusal */
} Given;

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Given	   *given = (Given *) arg;

	atomic_fetch_add(&given->frames, 1);
	if (!net_conn_may_own(conn, 9))
		atomic_fetch_add(&given->foreign_owners, 1);
	if (header->kind == WIRE_REQUEST)
		net_reply_frame(conn, header->type, header->request, buf_bytes(payload));
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
	Given	   *given = (Given *) arg;

	pthread_mutex_lock(&given->lock);
	snprintf(given->words, sizeof(given->words), "%s", words);
	pthread_mutex_unlock(&given->lock);
	atomic_fetch_add(&given->refusals, 1);
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
given_server(Given *given, bool polled, uint32_t greeting_ms)
{
	VtError		err = {0};

	memset(given, 0, sizeof(*given));
	pthread_mutex_init(&given->lock, NULL);
	given->port = free_port();
	snprintf(given->endpoint, sizeof(given->endpoint), "tcp://127.0.0.1:%d", given->port);
	given->tls = tls_of(&ca, WIRE_ROLE_WORKER, "w1");
	given->options.endpoint = given->endpoint;
	given->options.role = WIRE_ROLE_WORKER;
	given->options.cluster.b[0] = 7;
	given->options.polled = polled;
	given->options.tls = given->tls;
	given->options.greeting_ms = greeting_ms;
	given->options.handler.frame = on_frame;
	given->options.handler.closed = on_closed;
	given->options.handler.refused = on_refused;
	given->options.handler.arg = given;
	if (net_server_start(&given->options, &given->server, &err) != VT_OK)
		fail_msg("%s", err.msg);
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
	net_tls_free(given->tls);
}

static void
until(atomic_int *number, int wanted)
{
	for (int64_t end = clock_now_us() + PATIENCE_US; atomic_load(number) < wanted; usleep(200))
		assert_true(clock_now_us() < end);
}

static void
refused_for(Given *given, int nth, const char *words)
{
	until(&given->refusals, nth);
	pthread_mutex_lock(&given->lock);
	if (!strstr(given->words, words) || !strstr(given->words, "127.0.0.1:"))
		fail_msg("\"%s\" says nothing of \"%s\"", given->words, words);
	pthread_mutex_unlock(&given->lock);
}

/* -- A peer that speaks TLS as it should ------------------------------------- */

typedef struct Peer
{
	int			fd;
	WireTls    *tls;
	Buf			plain;
	size_t		slow;			/* bytes at a time; 0 = all */
} Peer;

static int
dial(const Given *given)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_port = htons((uint16_t) given->port);
	assert_int_equal(connect(fd, (struct sockaddr *) &in, sizeof(in)), 0);
	return fd;
}

static bool
send_bytes(Peer *peer, const uint8_t *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(peer->fd, data, peer->slow && peer->slow < len ? peer->slow : len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t) n;
	}
	return true;
}

/* Receive once; false = the server has closed, or said that it does not believe. */
static bool
receive_some(Peer *peer, VtError *err)
{
	uint8_t		raw[30000];
	ssize_t		n = recv(peer->fd, raw, sizeof(raw), 0);
	Buf			out = {0};
	bool		good;

	if (n <= 0)
		return false;
	good = wire_tls_take(peer->tls, bytes_of(raw, (size_t) n), &peer->plain, &out, err) == VT_OK;
	if (out.len)
		send_bytes(peer, out.data, out.len);
	buf_free(&out);
	return good;
}

static bool
connected(Peer *peer, const Given *given, WireTlsContext *context, size_t slow, VtError *err)
{
	Buf			out = {0};
	bool		good = true;

	memset(peer, 0, sizeof(*peer));
	peer->slow = slow;
	peer->fd = dial(given);
	peer->tls = wire_tls_new(context, false, WIRE_ROLE_WORKER);
	assert_int_equal(wire_tls_take(peer->tls, bytes_of(NULL, 0), &peer->plain, &out, err), VT_OK);
	send_bytes(peer, out.data, out.len);
	buf_free(&out);
	while (good && !wire_tls_ready(peer->tls))
		good = receive_some(peer, err);
	return good;
}

static void
peer_end(Peer *peer)
{
	close(peer->fd);
	wire_tls_free(peer->tls);
	buf_free(&peer->plain);
}

static bool
say(Peer *peer, const Buf *frames)
{
	Buf			sealed = {0};
	bool		sent;

	assert_int_equal(wire_tls_put(peer->tls, buf_bytes(frames), &sealed, NULL), VT_OK);
	sent = send_bytes(peer, sealed.data, sealed.len);
	buf_free(&sealed);
	return sent;
}

/* The next frame, whose payload is all filling; false = closed. */
static bool
hear(Peer *peer, WireHeader *header, uint8_t filling, size_t *size)
{
	VtError		err = {0};

	while (peer->plain.len < WIRE_HEADER_SIZE ||
		   (wire_header_get(peer->plain.data, header, NULL) == VT_OK &&
			peer->plain.len < WIRE_HEADER_SIZE + (size_t) header->length))
		if (!receive_some(peer, &err))
			return false;
	*size = header->length;
	for (size_t i = 0; header->type != WIRE_HELLO && i < header->length; i++)
		assert_int_equal(peer->plain.data[WIRE_HEADER_SIZE + i], filling);
	peer->plain.len -= WIRE_HEADER_SIZE + (size_t) header->length;
	memmove(peer->plain.data, peer->plain.data + WIRE_HEADER_SIZE + header->length, peer->plain.len);
	return true;
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

/* A gateway comes and greets; false = it is shut out. */
static bool
let_in(Peer *peer, const Given *given, WireTlsContext *context, size_t slow, VtError *err)
{
	Buf			out = {0};
	WireHeader	header;
	size_t		size;
	bool		good = connected(peer, given, context, slow, err);

	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	good = good && say(peer, &out) && hear(peer, &header, 0, &size);
	if (good)
		assert_int_equal(header.type, WIRE_HELLO);
	buf_free(&out);
	return good;
}

/* What one that was let in asks is answered; and it goes. */
static void
answered(Peer *peer, size_t slow)
{
	Buf			out = {0};
	WireHeader	header;
	size_t		size;

	for (uint8_t i = 1; i < 10; i++)
	{
		buf_clear(&out);
		put_request(&out, WIRE_SEARCH, i, slow ? 100u * i : 100000u * i, i);
		assert_true(say(peer, &out));
		assert_true(hear(peer, &header, i, &size));
		assert_int_equal(header.request, i);
		assert_int_equal(size, slow ? 100 * i : 100000 * i);
	}
	peer_end(peer);
	buf_free(&out);
}

/* A gateway that is served. */
static void
served(const Given *given, WireTlsContext *context, size_t slow)
{
	Peer		peer;
	VtError		err = {0};

	if (!let_in(&peer, given, context, slow, &err))
		fail_msg("not let in: %s", err.msg);
	answered(&peer, slow);
}

/* The same where little time is given to greet: again if the machine stood still for as long. */
static void
served_if_quick(const Given *given, WireTlsContext *context)
{
	Peer		peer;
	VtError		err = {0};

	for (int i = 0; !let_in(&peer, given, context, 0, &err); i++)
	{
		if (i == 100)
			fail_msg("not let in: %s", err.msg);
		peer_end(&peer);
	}
	answered(&peer, 0);
}

/* -- Stories ----------------------------------------------------------------- */

static void
who_belongs_is_served(bool polled)
{
	Given		given;
	WireTlsContext *context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9");

	given_server(&given, polled, 0);
	served(&given, context, 0);
	served(&given, context, 1);
	served(&given, context, 777);
	until(&given.closed, 3);
	assert_int_equal(atomic_load(&given.foreign_owners), 0);
	assert_int_equal(atomic_load(&given.refusals), 0);
	when_it_stops(&given);
	wire_tls_context_release(context);
}

typedef struct Many
{
	const Given *given;
	WireTlsContext *context;
} Many;

static void *
many_main(void *arg)
{
	const Many *many = (const Many *) arg;

	for (int i = 0; i < 5; i++)
		served(many->given, many->context, 0);
	return NULL;
}

static void
many_at_a_time(bool polled)
{
	Given		given;
	Many		many;
	pthread_t	threads[8];

	given_server(&given, polled, 0);
	many.given = &given;
	many.context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9");
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many_main, &many), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	until(&given.closed, 40);
	assert_int_equal(atomic_load(&given.frames), 40 * 9);
	when_it_stops(&given);
	wire_tls_context_release(many.context);
}

/* A gateway of another PostgreSQL server is known as such. */
static void
a_gateway_is_bound(bool polled)
{
	Given		given;
	WireTlsContext *context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "10");

	given_server(&given, polled, 0);
	served(&given, context, 0);
	assert_int_equal(atomic_load(&given.foreign_owners), 9);
	when_it_stops(&given);
	wire_tls_context_release(context);
}

/* OpenSSL's client with what it shows; what the server says of it. */
static void
stranger_is_shut_out(Given *given, int nth, const TestCert *shows, int version, const char *words)
{
	SSL_CTX    *context = stranger(shows, version);
	SSL		   *ssl = SSL_new(context);
	int			fd = dial(given);
	Buf			out = {0};
	char		byte;

	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	put_request(&out, WIRE_SEARCH, 2, 10, 1);
	SSL_set_fd(ssl, fd);
	/* With TLS 1.3 the client is done before it is judged. */
	if (SSL_connect(ssl) == 1)
		(void) SSL_write(ssl, out.data, (int) out.len);
	assert_true(SSL_read(ssl, &byte, 1) <= 0);
	refused_for(given, nth, words);
	SSL_free(ssl);
	close(fd);
	SSL_CTX_free(context);
	buf_free(&out);
}

/* One who is let in and then says what it may not. */
static void
is_shut_out_for(Given *given, int nth, WireRole role, const char *name, const Buf *frames, const char *words)
{
	WireTlsContext *context = context_of(&ca, &ca, role, name);
	Peer		peer;
	WireHeader	header;
	VtError		err = {0};
	size_t		size;

	assert_true(connected(&peer, given, context, 0, &err));
	say(&peer, frames);
	while (hear(&peer, &header, 0, &size))
		assert_int_equal(header.type, WIRE_HELLO);
	if (words)
		refused_for(given, nth, words);
	peer_end(&peer);
	wire_tls_context_release(context);
}

static void
who_does_not_belong(bool polled)
{
	Given		given;
	TestCert	cert;
	Buf			out = {0};
	Peer		plain = {0};
	char		byte;

	given_server(&given, polled, 0);
	signal(SIGPIPE, SIG_IGN);
	stranger_is_shut_out(&given, 1, NULL, TLS1_3_VERSION, "showed no certificate");
	cert_make(&cert, &foreign, WIRE_ROLE_GATEWAY, "9");
	stranger_is_shut_out(&given, 2, &cert, TLS1_3_VERSION, "the certificate of gateway \"9\" is not signed by the cluster's CA");
	cert_free(&cert);
	cert_make(&cert, &twin, WIRE_ROLE_GATEWAY, "9");
	stranger_is_shut_out(&given, 3, &cert, TLS1_3_VERSION, "is not signed by the cluster's CA");
	cert_free(&cert);
	cert_make_at(&cert, &ca, WIRE_ROLE_GATEWAY, "9", -20, -10);
	stranger_is_shut_out(&given, 4, &cert, TLS1_3_VERSION, "the certificate of gateway \"9\" expired at");
	cert_free(&cert);
	stranger_is_shut_out(&given, 5, NULL, TLS1_2_VERSION, "does not speak TLS 1.3");

	/* A worker's certificate, used as a gateway; and the other way round. */
	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	put_request(&out, WIRE_SEARCH, 2, 10, 1);
	is_shut_out_for(&given, 6, WIRE_ROLE_WORKER, "w2", &out, "says that it is something else");
	buf_clear(&out);
	put_hello(&out, WIRE_ROLE_WORKER, 7);
	put_request(&out, WIRE_CHUNK, 2, 10, 1);
	is_shut_out_for(&given, 7, WIRE_ROLE_GATEWAY, "9", &out, "says that it is something else");
	buf_clear(&out);
	put_hello(&out, WIRE_ROLE_GATEWAY, 8);
	is_shut_out_for(&given, 8, WIRE_ROLE_GATEWAY, "9", &out, "belongs to another cluster");
	buf_clear(&out);
	put_request(&out, WIRE_SEARCH, 2, 2000, 1);
	is_shut_out_for(&given, 9, WIRE_ROLE_GATEWAY, "9", &out, "does not begin with a greeting");
	buf_clear(&out);
	put_hello(&out, WIRE_ROLE_WORKER, 7);	/* a worker does not search */
	put_request(&out, WIRE_SEARCH, 2, 10, 1);
	is_shut_out_for(&given, 0, WIRE_ROLE_WORKER, "w2", &out, NULL);
	buf_clear(&out);

	/* No TLS at all. */
	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	put_request(&out, WIRE_SEARCH, 2, 10, 1);
	plain.fd = dial(&given);
	send_bytes(&plain, out.data, out.len);
	while (recv(plain.fd, &byte, 1, 0) > 0)
		;
	refused_for(&given, 10, "does not speak TLS");
	close(plain.fd);
	buf_free(&out);
	assert_int_equal(atomic_load(&given.frames), 0);
	when_it_stops(&given);
}

/* Silent ones, and such as stop in the middle of a greeting, do not stay. */
static void
silence_ends(bool polled)
{
	Given		given;
	WireTlsContext *context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9");
	Peer		silent = {0};
	Peer		halfway = {0};
	Buf			out = {0};
	char		byte;

	given_server(&given, polled, SILENCE_MS);
	silent.fd = dial(&given);
	halfway.fd = dial(&given);
	halfway.tls = wire_tls_new(context, false, 0);
	assert_int_equal(wire_tls_take(halfway.tls, bytes_of(NULL, 0), &halfway.plain, &out, NULL), VT_OK);
	send_bytes(&halfway, out.data, out.len / 2);
	served_if_quick(&given, context);
	assert_int_equal(recv(silent.fd, &byte, 1, 0), 0);
	assert_true(recv(halfway.fd, &byte, 1, 0) <= 0);	/* reset, where its time was over before it was read */
	refused_for(&given, 2, "did not say who it is in time");
	close(silent.fd);
	peer_end(&halfway);
	served_if_quick(&given, context);
	when_it_stops(&given);
	wire_tls_context_release(context);
	buf_free(&out);
}

/* A thousand who say nothing do not keep one out who belongs. */
static void
a_flood(bool polled)
{
	Given		given;
	WireTlsContext *context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9");
	int64_t		until;
	int			fds[1000];
	int			open,
				early;

	/* For longer than this lasts nobody goes because he is slow. */
	given_server(&given, polled, 600000);
	for (int i = 0; i < 1000; i++)
	{
		fds[i] = dial(&given);
		if (i % 100 == 50)
			served(&given, context, 0);
	}
	served(&given, context, 0);
	/* All but 256 are gone, and few of the first have stayed: whom a thread accepted that then stood still came later than he is. */
	until = clock_now_us() + PATIENCE_US;
	do
	{
		open = early = 0;
		for (int i = 0; i < 1000; i++)
		{
			char		byte;
			bool		stays = recv(fds[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;

			open += stays;
			early += stays && i < 1000 - 256 - 20;
		}
	} while (open > 256 && clock_now_us() < until);	/* whoever shuts them out may come to it later */
	assert_true(open <= 256);
	assert_true(early <= 128);
	for (int i = 0; i < 1000; i++)
		close(fds[i]);
	/* The log has not seen each of them. */
	assert_true(atomic_load(&given.refusals) >= 1 && atomic_load(&given.refusals) < 100);
	when_it_stops(&given);
	wire_tls_context_release(context);
}

/* Greetings with a byte changed, cut or with something more: none gets in, all end. */
static void
damaged_greetings(bool polled)
{
	Given		given;
	WireTlsContext *context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9");
	Prng		prng = {polled ? 3 : 4};

	given_server(&given, polled, 10);
	for (int i = 0; i < 60; i++)
	{
		Peer		peer = {0};
		Buf			out = {0};
		char		byte[256];

		peer.fd = dial(&given);
		peer.tls = wire_tls_new(context, false, 0);
		assert_int_equal(wire_tls_take(peer.tls, bytes_of(NULL, 0), &peer.plain, &out, NULL), VT_OK);
		out.data[prng_below(&prng, prng_below(&prng, 2) ? 12 : (uint32_t) out.len)] ^= (uint8_t) (1 + prng_below(&prng, 255));
		if (prng_below(&prng, 4) == 0)
			out.len = prng_below(&prng, (uint32_t) out.len);
		send_bytes(&peer, out.data, out.len);
		while (recv(peer.fd, byte, sizeof(byte), 0) > 0)
			;
		peer_end(&peer);
		buf_free(&out);
	}
	assert_int_equal(atomic_load(&given.frames), 0);
	when_it_stops(&given);
	wire_tls_context_release(context);
}

/* New certificates: who came under the old ones comes anew, and the old CA opens no door. */
static void
certificates_are_exchanged(bool polled)
{
	Given		given;
	WireTlsContext *context = context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9");
	WireTlsContext *new_context = context_of(&twin, &twin, WIRE_ROLE_GATEWAY, "9");
	TestCert	cert;
	char		path[3][200];
	WireTlsFiles files = {path[0], path[1], path[2]};
	Peer		peer;
	Buf			out = {0};
	WireHeader	header;
	VtError		err = {0};
	size_t		size;

	for (int i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), "%s/exchanged.%d.%d", scratch, polled, i);
	given_server(&given, polled, 0);
	when_it_stops(&given);
	cert_make(&cert, &ca, WIRE_ROLE_WORKER, "w1");
	write_whole(path[0], buf_bytes(&ca.cert), 0644);
	write_whole(path[1], buf_bytes(&cert.cert), 0644);
	write_whole(path[2], buf_bytes(&cert.key), 0600);
	cert_free(&cert);
	assert_int_equal(net_tls_open(&files, WIRE_ROLE_WORKER, &given.tls, &err), VT_OK);
	given.options.tls = given.tls;
	atomic_store(&given.ending, false);
	assert_int_equal(net_server_start(&given.options, &given.server, &err), VT_OK);
	for (int i = 0; polled && i < POLLERS; i++)
		assert_int_equal(pthread_create(&given.pollers[i], NULL, poller_main, &given), 0);

	assert_true(connected(&peer, &given, context, 0, &err));
	put_hello(&out, WIRE_ROLE_GATEWAY, 7);
	assert_true(say(&peer, &out));
	assert_true(hear(&peer, &header, 0, &size));

	/* Half exchanged: nothing changes. */
	cert_make(&cert, &twin, WIRE_ROLE_WORKER, "w1");
	write_whole(path[0], buf_bytes(&twin.cert), 0644);
	assert_int_equal(net_tls_reload(given.tls, &err), VT_DENIED);
	net_server_renew(given.server);
	served(&given, context, 0);
	buf_clear(&out);
	put_request(&out, WIRE_SEARCH, 2, 10, 1);
	assert_true(say(&peer, &out));
	assert_true(hear(&peer, &header, 1, &size));

	write_whole(path[1], buf_bytes(&cert.cert), 0644);
	write_whole(path[2], buf_bytes(&cert.key), 0600);
	assert_int_equal(net_tls_reload(given.tls, &err), VT_OK);
	net_server_renew(given.server);
	assert_false(hear(&peer, &header, 1, &size));
	peer_end(&peer);
	served(&given, new_context, 0);
	assert_false(connected(&peer, &given, context, 0, &err));
	peer_end(&peer);

	/* Never to those of another cluster. */
	cert_free(&cert);
	cert_make(&cert, &foreign, WIRE_ROLE_WORKER, "w1");
	write_whole(path[0], buf_bytes(&foreign.cert), 0644);
	write_whole(path[1], buf_bytes(&cert.cert), 0644);
	write_whole(path[2], buf_bytes(&cert.key), 0600);
	assert_int_equal(net_tls_reload(given.tls, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "is for another cluster"));
	served(&given, new_context, 0);
	cert_free(&cert);
	when_it_stops(&given);
	wire_tls_context_release(context);
	wire_tls_context_release(new_context);
	buf_free(&out);
}

/* A daemon's own connections. */
static void
daemons_speak_to_each_other(bool polled)
{
	Given		given;
	NetPeerOptions options;
	NetTls	   *own = tls_of(&ca, WIRE_ROLE_WORKER, "w2");
	NetTls	   *foreigner = tls_of(&foreign, WIRE_ROLE_WORKER, "w2");
	const Bytes lost[] = {bytes_str("lost or not"), bytes_str("the other one, too")};
	NetPeer    *peer;
	Buf			payload = {0};
	Buf			reply = {0};
	VtError		err = {0};

	given_server(&given, polled, 0);
	memset(&options, 0, sizeof(options));
	options.endpoint = given.endpoint;
	options.role = WIRE_ROLE_WORKER;
	options.expected = WIRE_ROLE_WORKER;
	options.cluster.b[0] = 7;
	options.tls = own;
	peer = net_peer_new(&options);
	for (uint8_t i = 0; i < 5; i++)
	{
		buf_clear(&payload);
		buf_put_zeros(&payload, i * 1000000u);
		if (net_peer_call(peer, WIRE_CHUNK, buf_bytes(&payload), 20000, &reply, &err) != VT_OK)
			fail_msg("%s", err.msg);
		assert_int_equal(reply.len, payload.len);
	}
	assert_int_equal(net_peer_send(peer, WIRE_RAFT, lost, 2, PATIENCE_MS), VT_OK);
	until(&given.frames, 7);
	net_peer_free(peer);

	/* A worker where the placement driver should be; nobody's certificate; none. */
	options.expected = WIRE_ROLE_PD;
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "is for worker \"w1\", where a pd was expected"));
	net_peer_free(peer);
	options.tls = foreigner;
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "not signed by the cluster's CA"));
	net_peer_free(peer);
	options.tls = NULL;
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_INVALID);
	net_peer_free(peer);
	when_it_stops(&given);

	/* Nobody there. */
	options.tls = own;
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), PATIENCE_MS, &reply, &err), VT_UNAVAILABLE);
	assert_true(net_peer_refused(peer));
	net_peer_free(peer);
	net_tls_free(own);
	net_tls_free(foreigner);
	buf_free(&payload);
	buf_free(&reply);
}

/* One who listens and says nothing holds a caller no longer than it wants to wait. */
static void
a_silent_server(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int			port = free_port();
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	NetTls	   *own = tls_of(&ca, WIRE_ROLE_WORKER, "w2");
	char		endpoint[64];
	NetPeerOptions options;
	NetPeer    *peer;
	Buf			reply = {0};
	VtError		err = {0};

	(void) state;
	in.sin_port = htons((uint16_t) port);
	assert_int_equal(bind(fd, (struct sockaddr *) &in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 5), 0);
	snprintf(endpoint, sizeof(endpoint), "tcp://localhost:%d", port);
	memset(&options, 0, sizeof(options));
	options.endpoint = endpoint;
	options.role = WIRE_ROLE_WORKER;
	options.tls = own;
	peer = net_peer_new(&options);
	assert_int_equal(net_peer_call(peer, WIRE_CONTROL, bytes_str("{}"), 100, &reply, &err), VT_TIMEOUT);
	net_peer_free(peer);
	net_tls_free(own);
	close(fd);
}

/* tcp is not served to all the world by mistake. */
static void
no_certificates_no_tcp(void **state)
{
	NetServerOptions options;
	WireTlsFiles two = {"a", "b", ""};
	WireTlsFiles none = {"", "", ""};
	NetServer  *server;
	NetTls	   *tls;
	VtError		err = {0};

	(void) state;
	memset(&options, 0, sizeof(options));
	options.role = WIRE_ROLE_PD;
	options.endpoint = "tcp://127.0.0.1:1";
	assert_int_equal(net_server_start(&options, &server, &err), VT_INVALID);
	assert_non_null(strstr(err.msg, "tcp needs tls_ca_file"));
	options.endpoint = "tcp://a.name:1";
	assert_int_equal(net_server_start(&options, &server, &err), VT_INVALID);
	assert_int_equal(net_tls_open(&two, WIRE_ROLE_PD, &tls, &err), VT_INVALID);
	assert_int_equal(net_tls_open(&none, WIRE_ROLE_PD, &tls, &err), VT_OK);
	assert_null(tls);
}

#define BOTH(story) \
	static void story##_polled(void **state) { (void) state; story(true); } \
	static void story##_nng(void **state) { (void) state; story(false); }
#define TESTS(story) cmocka_unit_test(story##_polled), cmocka_unit_test(story##_nng)

BOTH(who_belongs_is_served)
BOTH(many_at_a_time)
BOTH(a_gateway_is_bound)
BOTH(who_does_not_belong)
BOTH(silence_ends)
BOTH(a_flood)
BOTH(damaged_greetings)
BOTH(certificates_are_exchanged)
BOTH(daemons_speak_to_each_other)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TESTS(who_belongs_is_served),
		TESTS(many_at_a_time),
		TESTS(a_gateway_is_bound),
		TESTS(who_does_not_belong),
		TESTS(silence_ends),
		TESTS(a_flood),
		TESTS(damaged_greetings),
		TESTS(certificates_are_exchanged),
		TESTS(daemons_speak_to_each_other),
		cmocka_unit_test(a_silent_server),
		cmocka_unit_test(no_certificates_no_tcp),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
