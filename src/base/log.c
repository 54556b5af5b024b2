/*-------------------------------------------------------------------------
 *
 * log.c
 *	  Log lines to standard error, from a ring that a thread empties.
 *
 *-------------------------------------------------------------------------
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/status.h"
#include "base/thread.h"

#define RING_BYTES (256u << 10)
#define PIECE_BYTES (16u << 10)	/* written at a time */
#define LAST_MS 1000

static const char *log_program = "vectron";
static LogLevel log_least = LOG_LEVEL_INFO;

/* What waits for the thread; under ring_lock, which nobody holds while he writes. */
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ring_filled = PTHREAD_COND_INITIALIZER;
static pthread_cond_t ring_emptied;
static bool ring_used;			/* there is a thread */
static char ring[RING_BYTES];
static size_t ring_at;			/* of the first byte */
static size_t ring_len;
static bool ring_writing;		/* some was taken out, and is being written */
static uint64_t ring_dropped;	/* lines, and not told yet */

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

/* The last complaints; the next one goes to lines[n % LOG_RECENT]. */
static struct
{
	pthread_mutex_t lock;
	unsigned	n;
	char		lines[LOG_RECENT][LOG_RECENT_SIZE];
}			recent = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
remember(const char *line, int len)
{
	pthread_mutex_lock(&recent.lock);
	snprintf(recent.lines[recent.n++ % LOG_RECENT], LOG_RECENT_SIZE, "%.*s", len, line);
	pthread_mutex_unlock(&recent.lock);
}

int
log_recent(char out[LOG_RECENT][LOG_RECENT_SIZE])
{
	int			n;

	pthread_mutex_lock(&recent.lock);
	n = recent.n < LOG_RECENT ? (int) recent.n : LOG_RECENT;
	for (int i = 0; i < n; i++)
		memcpy(out[i], recent.lines[(recent.n - (unsigned) n + (unsigned) i) % LOG_RECENT], LOG_RECENT_SIZE);
	pthread_mutex_unlock(&recent.lock);
	return n;
}

void
log_setup(const char *program, LogLevel least)
{
	log_program = program;
	log_least = least;
}

int
log_level_parse(const char *name)
{
	static const char *const words[] = {"debug", "info", "warn", "error"};

	for (int i = 0; i < 4; i++)
		if (strcmp(name, words[i]) == 0)
			return i;
	return -1;
}

/* A log that cannot be written must not stop the work. */
static void
put_out(const char *bytes, size_t n)
{
	while (n > 0)
	{
		ssize_t		done = write(STDERR_FILENO, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		bytes += done;
		n -= (size_t) done;
	}
}

/* Time, level and program; returns the length. */
static int
begin_line(char *line, size_t size, LogLevel level)
{
	int64_t		now = clock_wall_us();
	time_t		seconds = (time_t) (now / 1000000);
	struct tm	tm;
	int			n;

	gmtime_r(&seconds, &tm);
	n = (int) strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + snprintf(line + n, size - (size_t) n, ".%03dZ %s %s ", (int) (now / 1000 % 1000), level_names[level],
						log_program);
}

/* -- The thread ----------------------------------------------------------------- */

/* False: there is no thread. */
static bool
leave_to_thread(const char *line, size_t n)
{
	bool		used;

	pthread_mutex_lock(&ring_lock);
	used = ring_used;
	if (used && (ring_len + n > RING_BYTES || ring_dropped > 0))
		ring_dropped++;			/* what comes later is not to be told as if nothing were missing */
	else if (used)
	{
		size_t		at = (ring_at + ring_len) % RING_BYTES;
		size_t		first = n < RING_BYTES - at ? n : RING_BYTES - at;

		memcpy(ring + at, line, first);
		memcpy(ring, line + first, n - first);
		ring_len += n;
		pthread_cond_signal(&ring_filled);
	}
	pthread_mutex_unlock(&ring_lock);
	return used;
}

/* Some of what waits, or a word of what was dropped; how much. */
static size_t
take_piece(char *piece)
{
	size_t		n = ring_len < PIECE_BYTES ? ring_len : PIECE_BYTES;

	if (n > RING_BYTES - ring_at)
		n = RING_BYTES - ring_at;
	memcpy(piece, ring + ring_at, n);
	ring_at = (ring_at + n) % RING_BYTES;
	ring_len -= n;
	if (n == 0)
	{
		n = (size_t) begin_line(piece, PIECE_BYTES, LOG_LEVEL_WARN);
		n += (size_t) snprintf(piece + n, PIECE_BYTES - n, "lines=%llu were dropped here: standard error took none\n",
							   (unsigned long long) ring_dropped);
		ring_dropped = 0;
	}
	return n;
}

static void *
log_main(void *arg)
{
	static char piece[PIECE_BYTES];

	(void) arg;
	thread_name("log");
	pthread_mutex_lock(&ring_lock);
	for (;;)
	{
		size_t		n;

		while (ring_len == 0 && ring_dropped == 0)
			pthread_cond_wait(&ring_filled, &ring_lock);
		n = take_piece(piece);
		ring_writing = true;
		pthread_mutex_unlock(&ring_lock);
		put_out(piece, n);
		pthread_mutex_lock(&ring_lock);
		ring_writing = false;
		pthread_cond_broadcast(&ring_emptied);
	}
	return NULL;
}

void
log_start(void)
{
	pthread_t	thread;

	cond_init(&ring_emptied);
	if (pthread_create(&thread, NULL, log_main, NULL) != 0)
		return;					/* who logs writes, as before */
	pthread_detach(thread);
	pthread_mutex_lock(&ring_lock);
	ring_used = true;
	pthread_mutex_unlock(&ring_lock);
}

void
log_flush(int ms)
{
	struct timespec until = cond_moment((int64_t) ms * 1000);
	bool		late = false;

	pthread_mutex_lock(&ring_lock);
	while (ring_used && (ring_len > 0 || ring_dropped > 0 || ring_writing) && !late)
		late = pthread_cond_timedwait(&ring_emptied, &ring_lock, &until) != 0;
	pthread_mutex_unlock(&ring_lock);
}

void
log_exit(int status)
{
	log_flush(LAST_MS);
	_exit(status);
}

/* -- Lines ------------------------------------------------------------------------ */

void
log_write(LogLevel level, const char *fmt,...)
{
	char		line[1024];
	va_list		args;
	int			n;
	int			m;

	if (level < log_least)
		return;
	n = begin_line(line, sizeof(line), level);
	va_start(args, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t) n - 1, fmt, args);
	va_end(args);
	n = m < 0 ? n : n + m;
	if (n > (int) sizeof(line) - 2)
		n = (int) sizeof(line) - 2;
	if (level >= LOG_LEVEL_WARN)
		remember(line, n);
	line[n++] = '\n';

	if (!leave_to_thread(line, (size_t) n))
		put_out(line, (size_t) n);
}
