/*-------------------------------------------------------------------------
 *
 * server.c
 *	  The door: who may come, for how long, and who makes the pages.
 *
 * HTTP itself is libmicrohttpd's, with a thread for each connection, which may wait.
 * Pages that are not quick are made by the reporter: one at a time, so that whoever
 * asks a thousand times costs the daemon no more than one thread, and a page that
 * hangs keeps nobody but the reporter.  A connection's thread waits for it as long
 * as its patience lasts; what it gave up on is thrown away when it is done after all.
 *
 *-------------------------------------------------------------------------
 */
#include "http/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/endpoint.h"
#include "base/thread.h"

#define CONNECTIONS 16
#define SILENCE_S 10			/* then a connection is closed */
#define REQUEST_BYTES 8192		/* of a connection: its request, and what we say before the page */
#define STACK_BYTES (256u << 10)
#define BACKLOG 16
#define PATIENCE_MS 5000

/* A page that is being waited for: its asker's, the reporter's while it is made. */
typedef struct Job
{
	struct Job *next;
	const HttpPage *page;
	Buf			out;
	int			status;
	bool		begun;
	bool		done;
	bool		given_up;		/* whoever asked is gone: the reporter frees it */
} Job;

struct HttpServer
{
	HttpOptions options;
	struct MHD_Daemon *daemon;
	char	   *path;			/* of our socket file; NULL = none */

	pthread_t	reporter;
	pthread_mutex_t lock;		/* of all below */
	pthread_cond_t wanted;
	pthread_cond_t made;
	Job		   *jobs;			/* in order of coming; the one that is made is none of them */
	bool		stopping;
};

/* -- The reporter ------------------------------------------------------------ */

static void
job_free(Job *job)
{
	buf_free(&job->out);
	free(job);
}

static void *
reporter_main(void *arg)
{
	HttpServer *server = (HttpServer *) arg;

	thread_name("report");
	pthread_mutex_lock(&server->lock);
	for (;;)
	{
		Job		   *job;

		while (!server->jobs && !server->stopping)
			pthread_cond_wait(&server->wanted, &server->lock);
		if (server->stopping)
			break;
		job = server->jobs;
		server->jobs = job->next;
		job->begun = true;
		pthread_mutex_unlock(&server->lock);
		job->status = job->page->make(server->options.arg, &job->out);
		pthread_mutex_lock(&server->lock);
		job->done = true;
		if (job->given_up)
			job_free(job);
		pthread_cond_broadcast(&server->made);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* With the lock held. */
static void
give_up(HttpServer *server, Job *job)
{
	Job		  **p = &server->jobs;

	job->given_up = true;
	if (job->begun)
		return;
	while (*p != job)
		p = &(*p)->next;
	*p = job->next;
	job_free(job);
}

/* The page of the reporter's, or why there is none. */
static int
make_slowly(HttpServer *server, const HttpPage *page, Buf *out)
{
	Job		   *job = vt_alloc0(sizeof(Job));
	Job		  **end = &server->jobs;
	struct timespec until = cond_moment((int64_t) server->options.patience_ms * 1000);
	int			status = MHD_HTTP_SERVICE_UNAVAILABLE;
	int			rc = 0;

	job->page = page;
	pthread_mutex_lock(&server->lock);
	while (*end)
		end = &(*end)->next;
	*end = job;
	pthread_cond_signal(&server->wanted);
	while (!job->done && !server->stopping && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&server->made, &server->lock, &until);
	if (job->done)
	{
		status = job->status;
		*out = job->out;
		memset(&job->out, 0, sizeof(job->out));
		job_free(job);
	}
	else
	{
		give_up(server, job);
		(void) http_say(out, status, "no answer: something in this process holds it up");
	}
	pthread_mutex_unlock(&server->lock);
	return status;
}

/* -- Requests ---------------------------------------------------------------- */

static enum MHD_Result
reply(struct MHD_Connection *connection, int status, const char *type, Buf *page)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(page->len, page->data, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result = MHD_NO;

	buf_free(page);
	if (!response)
		return MHD_NO;
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
		MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
		(status != MHD_HTTP_METHOD_NOT_ALLOWED ||
		 MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES))
		result = MHD_queue_response(connection, (unsigned) status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
reply_words(struct MHD_Connection *connection, int status, const char *words)
{
	Buf			page = {0};

	(void) http_say(&page, status, words);
	return reply(connection, status, HTTP_TEXT, &page);
}

static const HttpPage *
page_at(const HttpServer *server, const char *path)
{
	for (size_t i = 0; i < server->options.npages; i++)
		if (strcmp(server->options.pages[i].path, path) == 0)
			return &server->options.pages[i];
	return NULL;
}

/* Called when the head of a request is there; an answer at once ends what might follow it. */
static enum MHD_Result
answer(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
	   const char *body, size_t *body_size, void **state)
{
	HttpServer *server = (HttpServer *) arg;
	const HttpPage *page = page_at(server, url);
	Buf			out = {0};
	int			status;

	(void) version;
	(void) body;
	(void) body_size;
	(void) state;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return reply_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "this can only be read");
	if (!page)
		return reply_words(connection, MHD_HTTP_NOT_FOUND, "there is no such page");
	status = page->quick ? page->make(server->options.arg, &out) : make_slowly(server, page, &out);
	return reply(connection, status, status == MHD_HTTP_OK ? page->type : HTTP_TEXT, &out);
}

/* -- Where to listen --------------------------------------------------------- */

static bool
is_loopback(const Endpoint *place)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *) &place->addr;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) &place->addr;

	if (place->addr.ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* The endpoint that is meant. */
static VtStatus
place_of(const HttpOptions *options, Endpoint *out, VtError *err)
{
	const char *listen = options->listen;
	char		text[256];
	VtStatus	status;

	if (strncmp(listen, "unix:", 5) == 0)
		return endpoint_parse(listen, out, err);
	snprintf(text, sizeof(text), "tcp://%s%.200s", strchr(listen, ':') ? "" : "127.0.0.1:", listen);
	status = endpoint_parse(text, out, NULL);
	if (status != VT_OK)
		return vt_fail(err, status, "http: \"%.100s\" is not PORT, ADDRESS:PORT or unix:PATH", listen);
	if (!options->open && !is_loopback(out))
		return vt_fail(err, VT_DENIED, "http: others than this machine reach \"%.100s\", and nobody is asked there who he is: "
					   "name a loopback address or a socket, or set http_open to on", listen);
	return VT_OK;
}

/* A socket file that nobody listens at any more is in the way. */
static void
remove_stale(const Endpoint *place)
{
	struct stat file;
	int			fd;

	if (lstat(endpoint_path(place), &file) != 0 || !S_ISSOCK(file.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *) &place->addr, place->len) != 0 && errno == ECONNREFUSED)
		unlink(endpoint_path(place));
	close(fd);
}

/* -1: errno says why. */
static int
listen_on(const Endpoint *place)
{
	int			fd = socket(place->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			one = 1;
	int			why;

	if (fd < 0)
		return -1;
	if (place->tcp)
		(void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	else
		remove_stale(place);

	/* The socket's owner and group may come; nobody can before it listens. */
	if (bind(fd, (const struct sockaddr *) &place->addr, place->len) == 0 &&
		(place->tcp || chmod(endpoint_path(place), 0660) == 0) && listen(fd, BACKLOG) == 0)
		return fd;
	why = errno;
	close(fd);
	errno = why;
	return -1;
}

/* libmicrohttpd's complaints are about clients that went away. */
static void
ignore(void *arg, const char *fmt, va_list args)
{
	(void) arg;
	(void) fmt;
	(void) args;
}

VtStatus
http_start(const HttpOptions *options, HttpServer **out, VtError *err)
{
	HttpServer *server;
	Endpoint	place;
	VtStatus	status = place_of(options, &place, err);
	int			fd;

	if (status != VT_OK)
		return status;
	fd = listen_on(&place);
	if (fd < 0)
		return vt_fail_errno(err, errno == EADDRINUSE ? VT_BUSY : VT_IO, "http: could not listen on %.100s", options->listen);
	server = vt_alloc0(sizeof(HttpServer));
	server->options = *options;
	if (server->options.patience_ms == 0)
		server->options.patience_ms = PATIENCE_MS;
	server->path = place.tcp ? NULL : vt_strdup(endpoint_path(&place));
	pthread_mutex_init(&server->lock, NULL);
	cond_init(&server->wanted);
	cond_init(&server->made);
	if (pthread_create(&server->reporter, NULL, reporter_main, server) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	server->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC,
									  0, NULL, NULL, answer, server,
									  MHD_OPTION_LISTEN_SOCKET, fd,
									  MHD_OPTION_CONNECTION_LIMIT, (unsigned) CONNECTIONS,
									  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) SILENCE_S,
									  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) REQUEST_BYTES,
									  MHD_OPTION_THREAD_STACK_SIZE, (size_t) STACK_BYTES,
									  MHD_OPTION_EXTERNAL_LOGGER, ignore, NULL,
									  MHD_OPTION_END);
	if (server->daemon)
	{
		*out = server;
		return VT_OK;
	}
	close(fd);
	http_stop(server);
	return vt_fail(err, VT_IO, "http: could not serve on %.100s", options->listen);
}

VtStatus
http_start_as_set(const Setting *http, const Setting *http_open, const HttpPage *pages, size_t npages, void *arg,
				  HttpServer **out, VtError *err)
{
	HttpOptions options = {.listen = http->text, .open = strcmp(http_open->text, "on") == 0, .pages = pages,
		.npages = npages, .arg = arg};

	if (!options.open && strcmp(http_open->text, "off") != 0)
		return vt_fail(err, VT_INVALID, "%s: \"%s\" is neither on nor off", http_open->from, http_open->text);
	return http->text[0] ? http_start(&options, out, err) : VT_OK;
}

void
http_stop(HttpServer *server)
{
	if (!server)
		return;
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_cond_broadcast(&server->wanted);
	pthread_cond_broadcast(&server->made);
	pthread_mutex_unlock(&server->lock);
	if (server->daemon)
		MHD_stop_daemon(server->daemon);	/* waits for the connections' threads */
	pthread_join(server->reporter, NULL);
	if (server->path)
		unlink(server->path);
	free(server->path);
	pthread_mutex_destroy(&server->lock);
	pthread_cond_destroy(&server->wanted);
	pthread_cond_destroy(&server->made);
	free(server);
}
