/*-------------------------------------------------------------------------
 *
 * client_tls.c
 *	  A client over tcp: it shows its certificate, believes only whom it should, and
 *	  all that holds of its connections holds of these.
 *
 * A Front is a thread that listens on tcp, speaks TLS with certificates of the
 * test's choice, and hands what it hears to a Fake.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_cluster.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>

#include "certs.h"

#define FRONT_CONNS 8

typedef struct FrontConn
{
	int			fd;				/* to the client; -1 = free */
	int			behind;			/* to the fake */
	WireTls    *tls;
} FrontConn;

typedef struct Front
{
	int			listener;
	char		endpoint[64];
	const char *path;			/* of the fake */
	WireTlsContext *context;	/* NULL = what comes is not answered */
	bool		drip;
	int			stop[2];
	pthread_t	thread;
	FrontConn	conns[FRONT_CONNS];
	atomic_int	accepted;
	atomic_int	believed;		/* sessions that were ready */
	atomic_int	refusals;
	VtError		refusal;		/* the last; after the end */
} Front;

static TestCa ca;
static TestCa twin;
static VtError err;

static int
setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	ca_make(&ca, 7);
	ca_make(&twin, 7);
	return scratch_make(state);
}

static int
teardown(void **state)
{
	ca_free(&ca);
	ca_free(&twin);
	return scratch_remove(state);
}

static void
front_end(FrontConn *conn)
{
	close(conn->fd);
	close(conn->behind);
	wire_tls_free(conn->tls);
	memset(conn, 0, sizeof(*conn));
	conn->fd = conn->behind = -1;
}

static bool
send_all(const Front *front, int fd, const Buf *bytes)
{
	for (size_t at = 0; at < bytes->len;)
	{
		ssize_t		n = send(fd, bytes->data + at, front->drip ? 1 : bytes->len - at, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += (size_t) n;
	}
	return true;
}

static bool
from_client(Front *front, FrontConn *conn)
{
	uint8_t		raw[16384];
	ssize_t		n = recv(conn->fd, raw, sizeof(raw), 0);
	Buf			plain = {0};
	Buf			out = {0};
	bool		was_ready;
	bool		good = n > 0;

	if (!good || !conn->tls)
		return good;
	was_ready = wire_tls_ready(conn->tls);
	good = wire_tls_take(conn->tls, bytes_of(raw, (size_t) n), &plain, &out, &front->refusal) == VT_OK;
	if (!was_ready && wire_tls_ready(conn->tls))
		atomic_fetch_add(&front->believed, 1);
	if (!good)
		atomic_fetch_add(&front->refusals, 1);
	good = send_all(front, conn->fd, &out) && good;
	for (size_t at = 0; good && at < plain.len;)
	{
		n = send(conn->behind, plain.data + at, plain.len - at, MSG_NOSIGNAL);
		good = n > 0;
		at += n > 0 ? (size_t) n : 0;
	}
	buf_free(&plain);
	buf_free(&out);
	return good;
}

static bool
from_fake(Front *front, FrontConn *conn)
{
	uint8_t		raw[65536];
	ssize_t		n = recv(conn->behind, raw, sizeof(raw), 0);
	Buf			out = {0};
	bool		good = n > 0 && wire_tls_put(conn->tls, bytes_of(raw, (size_t) n), &out, NULL) == VT_OK;

	good = good && send_all(front, conn->fd, &out);
	buf_free(&out);
	return good;
}

static void
front_accept(Front *front)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	FrontConn  *conn = front->conns;

	while (conn->fd >= 0)
		conn++;
	assert_true(conn < front->conns + FRONT_CONNS);
	conn->fd = accept(front->listener, NULL, NULL);
	atomic_fetch_add(&front->accepted, 1);
	if (!front->context)
		return;
	strncpy(addr.sun_path, front->path, sizeof(addr.sun_path) - 1);
	conn->behind = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(conn->behind, (struct sockaddr *) &addr, sizeof(addr)), 0);
	conn->tls = wire_tls_new(front->context, true, 0);
}

static void *
front_main(void *arg)
{
	Front	   *front = (Front *) arg;

	for (;;)
	{
		struct pollfd fds[2 + 2 * FRONT_CONNS];

		fds[0] = (struct pollfd) {.fd = front->stop[0], .events = POLLIN};
		fds[1] = (struct pollfd) {.fd = front->listener, .events = POLLIN};
		for (int i = 0; i < FRONT_CONNS; i++)
		{
			fds[2 + 2 * i] = (struct pollfd) {.fd = front->conns[i].fd, .events = POLLIN};
			fds[3 + 2 * i] = (struct pollfd) {.fd = front->conns[i].behind, .events = POLLIN};
		}
		if (poll(fds, 2 + 2 * FRONT_CONNS, -1) < 0)
			continue;
		if (fds[0].revents)
			break;
		for (int i = 0; i < FRONT_CONNS; i++)
			if ((fds[2 + 2 * i].revents && !from_client(front, &front->conns[i])) ||
				(fds[3 + 2 * i].revents && !from_fake(front, &front->conns[i])))
				front_end(&front->conns[i]);
		if (fds[1].revents)
			front_accept(front);
	}
	for (int i = 0; i < FRONT_CONNS; i++)
		if (front->conns[i].fd >= 0)
			front_end(&front->conns[i]);
	return NULL;
}

static void
front_start(Front *front, const Fake *fake, WireTlsContext *context)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t	len = sizeof(addr);

	memset(front, 0, sizeof(*front));
	front->context = context;
	front->path = fake->endpoint + 5;
	for (int i = 0; i < FRONT_CONNS; i++)
		front->conns[i].fd = front->conns[i].behind = -1;
	front->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(front->listener, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(front->listener, (struct sockaddr *) &addr, &len), 0);
	assert_int_equal(listen(front->listener, 16), 0);
	snprintf(front->endpoint, sizeof(front->endpoint), "tcp://127.0.0.1:%d", ntohs(addr.sin_port));
	assert_int_equal(pipe(front->stop), 0);
	assert_int_equal(pthread_create(&front->thread, NULL, front_main, front), 0);
}

static void
front_stop(Front *front)
{
	assert_int_equal(write(front->stop[1], "x", 1), 1);
	pthread_join(front->thread, NULL);
	close(front->stop[0]);
	close(front->stop[1]);
	close(front->listener);
	wire_tls_context_release(front->context);
}

/* The files of a gateway; good until the next call with the same name. */
static WireTlsFiles
files_of(const TestCa *trusted, const TestCa *signer, const char *name)
{
	static char paths[3][200];
	WireTlsFiles files = {paths[0], paths[1], paths[2]};
	static const char *const endings[] = {"ca", "crt", "key"};
	TestCert	cert;

	cert_make(&cert, signer, WIRE_ROLE_GATEWAY, "9");
	for (int i = 0; i < 3; i++)
	{
		char		file[64];

		snprintf(file, sizeof(file), "%s.%s", name, endings[i]);
		snprintf(paths[i], sizeof(paths[i]), "%s", scratch_path(file));
	}
	if (trusted == signer)
		write_whole(paths[0], buf_bytes(&trusted->cert), 0644);
	else
	{
		Buf			both = {0};

		buf_put(&both, trusted->cert.data, trusted->cert.len);
		buf_put(&both, signer->cert.data, signer->cert.len);
		write_whole(paths[0], buf_bytes(&both), 0644);
		buf_free(&both);
	}
	write_whole(paths[1], buf_bytes(&cert.cert), 0644);
	write_whole(paths[2], buf_bytes(&cert.key), 0600);
	cert_free(&cert);
	return files;
}

static void
world_of_the_ca(World *w, Fake *fake)
{
	world_init(w, 1);
	w->cluster = ca.cluster;
	fake_start(fake, w);
}

static const char question[] = "{\"op\":\"status\"}";

static void
questions_are_answered(void **state)
{
	World		w;
	Fake		fake;
	Front		front;
	Watch		watch;
	Client	   *client;
	const char *reply;
	WireTlsFiles files = files_of(&ca, &ca, "good");
	char	   *large = vt_alloc(12 << 20);

	(void) state;
	memset(large, ' ', (12 << 20) - 1);
	large[(12 << 20) - 1] = '\0';
	world_of_the_ca(&w, &fake);
	for (int drip = 0; drip < 2; drip++)
	{
		uint32_t	hellos = world_count(&w, WIRE_HELLO);

		front_start(&front, &fake, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"));
		front.drip = drip;
		client = client_for(front.endpoint, &files, &watch);
		for (int i = 0; i < 5; i++)
			assert_ok(client_control(client, question, in_ms(LONG_MS), &reply, &err));
		assert_ok(client_control(client, large, in_ms(LONG_MS), &reply, &err));
		assert_int_equal(world_count(&w, WIRE_HELLO), hellos + 1);
		assert_int_equal(client_connections(client), 1);
		client_end(client, &watch);
		front_stop(&front);
	}
	free(large);
	fake_stop(&fake);
	world_free(&w);
}

/* Given up between frames the connection stays; in the middle of one it ends. */
static void
what_is_given_up_is_not_sent_later(void **state)
{
	World		w;
	Fake		fake;
	Front		front;
	Watch		watch;
	Client	   *client;
	const char *reply;
	WireTlsFiles files = files_of(&ca, &ca, "good");
	char	   *large = vt_alloc(14 << 20);

	(void) state;
	world_of_the_ca(&w, &fake);
	front_start(&front, &fake, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"));
	client = client_for(front.endpoint, &files, &watch);
	assert_ok(client_control(client, question, in_ms(LONG_MS), &reply, &err));
	memset(large, ' ', (14 << 20) - 1);
	large[(14 << 20) - 1] = '\0';
	pthread_mutex_lock(&w.lock);
	watch.then = VT_CANCELLED;
	for (int i = 0; i < 2; i++)
	{
		watch.waits_left = 0;
		assert_int_equal(client_control(client, i ? large : "{}", in_ms(LONG_MS), &reply, &err), VT_CANCELLED);
		assert_int_equal(client_connections(client), i ? 0 : 1);
	}
	pthread_mutex_unlock(&w.lock);
	assert_ok(client_control(client, question, in_ms(LONG_MS), &reply, &err));
	assert_string_equal(reply, "{\"status\":0,\"echo\":3}");
	client_end(client, &watch);

	/* Before the peer is known, too. */
	client = client_for(front.endpoint, &files, &watch);
	watch.waits_left = 0;
	watch.then = VT_CANCELLED;
	assert_int_equal(client_control(client, question, in_ms(LONG_MS), &reply, &err), VT_CANCELLED);
	assert_int_equal(client_connections(client), 0);
	client_end(client, &watch);
	front_stop(&front);
	free(large);
	fake_stop(&fake);
	world_free(&w);
}

/* Asks a server that it should not believe, or that does not believe it. */
static void
fails(Fake *fake, WireTlsContext *server, const WireTlsFiles *files, VtStatus status, const char *words,
	  const char *server_words)
{
	Front		front;
	Watch		watch;
	Client	   *client;
	const char *reply;

	front_start(&front, fake, server);
	client = client_for(front.endpoint, files, &watch);
	assert_int_equal(client_control(client, question, in_ms(LONG_MS), &reply, &err), status);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" says nothing of \"%s\"", err.msg, words);
	client_end(client, &watch);
	for (int64_t until = in_ms(LONG_MS); server_words && atomic_load(&front.refusals) == 0; usleep(200))
		assert_true(clock_now_us() < until);
	front_stop(&front);
	if (server_words && !strstr(front.refusal.msg, server_words))
		fail_msg("\"%s\" says nothing of \"%s\"", front.refusal.msg, server_words);
}

static void
who_is_not_believed(void **state)
{
	World		w;
	Fake		fake;
	WireTlsFiles good = files_of(&ca, &ca, "good");

	(void) state;
	world_of_the_ca(&w, &fake);
	fails(&fake, context_of(&ca, &twin, WIRE_ROLE_PD, "pd1"), &good, VT_DENIED,
		  "the certificate of pd \"pd1\" is not signed by the cluster's CA", "refuses our certificate: not signed by a CA that it knows");
	fails(&fake, context_of(&ca, &ca, WIRE_ROLE_WORKER, "w1"), &good, VT_DENIED,
		  "is for worker \"w1\", where a pd was expected", "refuses our certificate");
	fails(&fake, context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9"), &good, VT_DENIED, "is not for this side", NULL);
	assert_int_equal(world_count(&w, WIRE_HELLO) + world_count(&w, WIRE_CONTROL), 0);
	fake_stop(&fake);
	world_free(&w);
}

static void
who_does_not_believe_us(void **state)
{
	World		w;
	Fake		fake;
	WireTlsFiles bad;

	(void) state;
	world_of_the_ca(&w, &fake);
	bad = files_of(&ca, &twin, "bad");
	fails(&fake, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"), &bad, VT_DENIED,
		  "refuses our certificate: not signed by a CA that it knows", "is not signed by the cluster's CA");
	assert_int_equal(world_count(&w, WIRE_HELLO), 0);
	fake_stop(&fake);
	world_free(&w);
}

/* It greets as something else than its certificate says. */
static void
who_greets_wrongly(void **state)
{
	World		w;
	Fake		fake;
	Front		front;
	Watch		watch;
	Client	   *client;
	const char *reply;
	WireTlsFiles good = files_of(&ca, &ca, "good");

	(void) state;
	world_of_the_ca(&w, &fake);
	world_trick(&w, WIRE_HELLO, 0, OTHER_LIFE, VT_OK);
	fails(&fake, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"), &good, VT_DENIED, "says that it is something else", NULL);
	/* A worker's certificate where a worker should be, but a driver's greeting. */
	front_start(&front, &fake, context_of(&ca, &ca, WIRE_ROLE_WORKER, "w1"));
	client = client_for("unix:/nowhere", &good, &watch);
	assert_int_equal(client_control_at(client, front.endpoint, question, in_ms(LONG_MS), &reply, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "says that it is something else"));
	client_end(client, &watch);
	front_stop(&front);
	fake_stop(&fake);
	world_free(&w);
}

/* No TLS there, or nothing at all; or no certificates of ours. */
static void
who_does_not_speak(void **state)
{
	World		w;
	Fake		fake;
	Front		front;
	Watch		watch;
	Client	   *client;
	const char *reply;
	int			calls = 0;
	WireTlsFiles good = files_of(&ca, &ca, "good");
	WireTlsFiles missing = {"/nowhere/ca.crt", "/nowhere/a.crt", "/nowhere/a.key"};

	(void) state;
	world_of_the_ca(&w, &fake);
	front_start(&front, &fake, NULL);
	client = client_for(front.endpoint, &good, &watch);
	/* It comes there, sooner or later: whoever stands still for as long as he would wait does not dial. */
	for (int64_t until = in_ms(LONG_MS); atomic_load(&front.accepted) == 0; calls++)
	{
		assert_true(clock_now_us() < until);
		assert_int_equal(client_control(client, question, in_ms(150), &reply, &err), VT_TIMEOUT);
	}
	client_end(client, &watch);
	client = client_for(front.endpoint, NULL, &watch);
	assert_int_equal(client_control(client, question, in_ms(LONG_MS), &reply, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "tcp needs certificates"));
	client_end(client, &watch);
	client = client_for(front.endpoint, &missing, &watch);
	assert_int_equal(client_control(client, question, in_ms(LONG_MS), &reply, &err), VT_INVALID);
	assert_non_null(strstr(err.msg, "could not open \"/nowhere/ca.crt\""));
	client_end(client, &watch);
	assert_in_range(atomic_load(&front.accepted), 1, calls);
	front_stop(&front);
	fake_stop(&fake);
	world_free(&w);
}

/* Files that are exchanged count from the next connection on; half of them do not. */
static void
files_are_read_anew(void **state)
{
	World		w;
	Fake		fake;
	Front		front;
	Watch		watch;
	Client	   *client;
	const char *reply;
	WireTlsFiles files = files_of(&ca, &ca, "changing");

	(void) state;
	world_of_the_ca(&w, &fake);
	front_start(&front, &fake, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"));
	client = client_for(front.endpoint, &files, &watch);
	assert_ok(client_control(client, question, in_ms(LONG_MS), &reply, &err));

	/* The key is not there: what was read before is used. */
	assert_int_equal(unlink(files.key_file), 0);
	world_trick(&w, WIRE_CONTROL, 0, CLOSE_BEFORE, VT_OK);
	assert_ok(client_control(client, question, in_ms(LONG_MS), &reply, &err));
	assert_int_equal(atomic_load(&front.believed), 2);

	/* Those of another CA are used: and not believed. */
	files_of(&ca, &twin, "changing");
	world_trick(&w, WIRE_CONTROL, 0, CLOSE_BEFORE, VT_OK);
	assert_int_equal(client_control(client, question, in_ms(LONG_MS), &reply, &err), VT_DENIED);
	files_of(&ca, &ca, "changing");
	assert_ok(client_control(client, question, in_ms(LONG_MS), &reply, &err));
	client_end(client, &watch);
	front_stop(&front);
	fake_stop(&fake);
	world_free(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(questions_are_answered),
		cmocka_unit_test(what_is_given_up_is_not_sent_later),
		cmocka_unit_test(who_is_not_believed),
		cmocka_unit_test(who_does_not_believe_us),
		cmocka_unit_test(who_greets_wrongly),
		cmocka_unit_test(who_does_not_speak),
		cmocka_unit_test(files_are_read_anew),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
