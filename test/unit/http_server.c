/*-------------------------------------------------------------------------
 *
 * http_server.c
 *	  The door for monitoring: what it answers, whom it refuses, and that it
 *	  answers what is quick while everything else hangs.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "http/http.h"
#include "patience.h"

#define SHORT_MS 300			/* patience of a server at which something hangs */
#define LONG_MS PATIENCE_MS		/* of others: this machine may have much to do */

/* A page hangs while this is locked, as it would at a daemon's lock. */
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static atomic_int made;
static int	what;				/* their argument */

static int
quick(void *arg, Buf *out)
{
	assert_ptr_equal(arg, &what);
	return http_say(out, 200, "quick");
}

static int
slow(void *arg, Buf *out)
{
	assert_ptr_equal(arg, &what);
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
	atomic_fetch_add(&made, 1);
	return http_say(out, 200, "slow");
}

static int
unwell(void *arg, Buf *out)
{
	(void) arg;
	return http_say(out, 503, "unwell");
}

static const HttpPage pages[] = {
	{"/quick", HTTP_TEXT, true, quick},
	{"/slow", HTTP_JSON, false, slow},
	{"/unwell", HTTP_JSON, true, unwell},
};

static char directory[] = "/tmp/vectron-http-XXXXXX";
static char socket_path[64];
static char place[80];

static HttpOptions
options_for(const char *listen)
{
	return (HttpOptions) {.listen = listen, .pages = pages, .npages = 3, .arg = &what, .patience_ms = LONG_MS};
}

static HttpServer *
start_with(HttpOptions options)
{
	HttpServer *server = NULL;
	VtError		err = {0};

	assert_int_equal(http_start(&options, &server, &err), VT_OK);
	return server;
}

static HttpServer *
start_at(const char *listen)
{
	return start_with(options_for(listen));
}

static int
come(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	return fd;
}

/* All that is said until the other end closes; out ends in NUL. */
static void
hear(int fd, char *out, size_t size)
{
	size_t		used = 0;
	ssize_t		n;

	while (used + 1 < size && (n = read(fd, out + used, size - 1 - used)) > 0)
		used += (size_t) n;
	out[used] = '\0';
	close(fd);
}

static void
ask(const char *request, char *out, size_t size)
{
	int			fd = come();

	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	hear(fd, out, size);
}

#define END "Host: x\r\nConnection: close\r\n\r\n"

static void
assert_begins(const char *text, const char *with)
{
	if (strncmp(text, with, strlen(with)) != 0)
		fail_msg("\"%s\" does not begin with \"%s\"", text, with);
}

static void
assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" has no \"%s\"", text, part);
}

static void
test_pages(void **state)
{
	HttpServer *server = start_at(place);
	char		out[4096];

	(void) state;
	ask("GET /quick HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	assert_has(out, "Content-Type: " HTTP_TEXT);
	assert_has(out, "\r\n\r\nquick\n");
	ask("GET /slow HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	assert_has(out, "Content-Type: application/json");
	assert_has(out, "\r\n\r\nslow\n");

	/* Words of what is wrong are no JSON. */
	ask("GET /unwell HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 503 ");
	assert_has(out, "Content-Type: " HTTP_TEXT);
	assert_has(out, "\r\n\r\nunwell\n");

	/* A head alone; nothing but reading; nothing else to read. */
	ask("HEAD /quick HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	assert_null(strstr(out, "quick\n"));
	ask("GET /quick/ HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 404 ");
	ask("POST /quick HTTP/1.1\r\nContent-Length: 3\r\n" END "abc", out, sizeof(out));
	assert_begins(out, "HTTP/1.1 405 ");
	assert_has(out, "Allow: GET, HEAD");
	ask("DELETE /slow HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 405 ");
	http_stop(server);
	assert_int_equal(access(socket_path, F_OK), -1);
}

/* One page hangs: it is given up, those behind it too, and quick ones do not wait. */
static void
test_what_hangs_holds_nobody_up(void **state)
{
	HttpOptions options = options_for(place);
	HttpServer *server;
	char		out[4096];
	int			waiting[3];
	int			before = atomic_load(&made);
	int			tries = 0;

	(void) state;
	options.patience_ms = SHORT_MS;
	server = start_with(options);
	pthread_mutex_lock(&held);
	for (int i = 0; i < 3; i++)
	{
		waiting[i] = come();
		assert_true(write(waiting[i], "GET /slow HTTP/1.1\r\n" END, 51) == 51);
	}
	ask("GET /quick HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	for (int i = 0; i < 3; i++)
	{
		hear(waiting[i], out, sizeof(out));
		assert_begins(out, "HTTP/1.1 503 ");
		assert_has(out, "holds it up");
	}
	pthread_mutex_unlock(&held);

	/* It goes on, and makes no page that nobody waits for any more: of the three only the first. */
	do
		ask("GET /slow HTTP/1.1\r\n" END, out, sizeof(out));
	while (tries++ < 100 && strncmp(out, "HTTP/1.1 200 ", 13) != 0);
	assert_begins(out, "HTTP/1.1 200 ");
	assert_in_range(atomic_load(&made) - before, 2, 1 + tries);
	http_stop(server);
}

/* What a client sends is bounded, and so is how many come. */
static void
test_bounds(void **state)
{
	HttpServer *server = start_at(place);
	char		request[20000];
	char		out[4096];
	int			fds[64];
	int			open = 64;

	(void) state;
	memset(request, 'x', sizeof(request));
	memcpy(request, "GET /quick HTTP/1.1\r\nHost: ", 27);
	request[sizeof(request) - 1] = '\0';
	ask(request, out, sizeof(out));
	assert_null(strstr(out, " 200 "));

	/* Idle ones take the places; those beyond them are turned away. */
	for (int i = 0; i < 64; i++)
		fds[i] = come();
	for (int tries = 0; tries < 1000 && open > 20; tries++)
	{
		open = 0;
		for (int i = 0; i < 64; i++)
		{
			struct pollfd p = {.fd = fds[i], .events = POLLIN};

			open += poll(&p, 1, i == 0 ? 10 : 0) == 0;
		}
	}
	assert_in_range(open, 0, 20);
	for (int i = 0; i < 64; i++)
		close(fds[i]);
	http_stop(server);
}

static void
refused(const char *listen, VtStatus status, const char *words)
{
	HttpOptions options = options_for(listen);
	HttpServer *server = NULL;
	VtError		err = {0};

	assert_int_equal(http_start(&options, &server, &err), status);
	assert_null(server);
	assert_has(err.msg, words);
}

/* Only this machine, unless somebody says otherwise. */
static void
test_who_reaches_it(void **state)
{
	HttpOptions options = options_for("0.0.0.0:0");
	HttpServer *server = NULL;
	VtError		err = {0};

	(void) state;
	refused("0.0.0.0:9464", VT_DENIED, "http_open");
	refused("192.0.2.1:9464", VT_DENIED, "http_open");
	refused("[::]:9464", VT_DENIED, "http_open");
	refused("127.0.0.1", VT_INVALID, "PORT");
	refused("0", VT_INVALID, "PORT");
	refused("127.0.0.1:70000", VT_INVALID, "PORT");
	refused("name:80", VT_INVALID, "PORT");
	refused("unix:/nowhere/at/all", VT_IO, "could not listen");
	options.open = true;
	assert_int_equal(http_start(&options, &server, &err), VT_INVALID);
	http_stop(NULL);
}

static int
free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(addr);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &addr, &len), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

/* A port alone is one of 127.0.0.1. */
static void
test_a_port(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char		port[16];
	char		out[4096];
	HttpServer *server;
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	(void) state;
	snprintf(port, sizeof(port), "%d", free_port());
	server = start_at(port);
	addr.sin_port = htons((uint16_t) atoi(port));
	assert_int_equal(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_true(write(fd, "GET /quick HTTP/1.1\r\n" END, 52) == 52);
	hear(fd, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	refused(port, VT_BUSY, "could not listen");
	http_stop(server);
}

/* A socket file that was left behind is in nobody's way, one that is used is. */
static void
test_socket_files(void **state)
{
	HttpServer *server = start_at(place);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat file;
	char		out[4096];
	int			fd;

	(void) state;
	assert_int_equal(stat(socket_path, &file), 0);
	assert_int_equal(file.st_mode & 0777, 0660);
	refused(place, VT_BUSY, "could not listen");
	ask("GET /quick HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	http_stop(server);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	assert_int_equal(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	close(fd);
	server = start_at(place);
	ask("GET /quick HTTP/1.1\r\n" END, out, sizeof(out));
	assert_begins(out, "HTTP/1.1 200 ");
	http_stop(server);

	/* What is no socket stays. */
	fclose(fopen(socket_path, "w"));
	refused(place, VT_BUSY, "could not listen");
	unlink(socket_path);
}

/* It can be stopped while a page hangs, once that goes on. */
static void *
stop_it(void *arg)
{
	http_stop((HttpServer *) arg);
	return NULL;
}

static void
test_stop_while_it_hangs(void **state)
{
	HttpServer *server = start_at(place);
	pthread_t	thread;
	int			fd = come();
	char		out[4096];

	(void) state;
	pthread_mutex_lock(&held);
	assert_true(write(fd, "GET /slow HTTP/1.1\r\n" END, 51) == 51);
	ask("GET /quick HTTP/1.1\r\n" END, out, sizeof(out));
	pthread_create(&thread, NULL, stop_it, server);
	hear(fd, out, sizeof(out));
	assert_null(strstr(out, " 200 "));
	pthread_mutex_unlock(&held);
	pthread_join(thread, NULL);
}

static int
make_place(void **state)
{
	(void) state;
	assert_non_null(mkdtemp(directory));
	snprintf(socket_path, sizeof(socket_path), "%s/http", directory);
	snprintf(place, sizeof(place), "unix:%s", socket_path);
	return 0;
}

static int
remove_place(void **state)
{
	(void) state;
	unlink(socket_path);
	return rmdir(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_what_hangs_holds_nobody_up),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_who_reaches_it),
		cmocka_unit_test(test_a_port),
		cmocka_unit_test(test_socket_files),
		cmocka_unit_test(test_stop_while_it_hangs),
	};

	return cmocka_run_group_tests(tests, make_place, remove_place);
}
