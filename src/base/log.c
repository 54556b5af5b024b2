/*-------------------------------------------------------------------------
 *
 * log.c
 *	  Log lines to standard error.
 *
 *-------------------------------------------------------------------------
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static const char *log_program = "vectron";
static LogLevel log_least = LOG_LEVEL_INFO;

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

/* A ring: the next one goes to lines[n % LOG_RECENT]. */
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

void
log_write(LogLevel level, const char *fmt,...)
{
	char		line[1024];
	int64_t		now = clock_wall_us();
	time_t		seconds = (time_t) (now / 1000000);
	struct tm	tm;
	va_list		args;
	int			n;
	int			m;

	if (level < log_least)
		return;
	gmtime_r(&seconds, &tm);
	n = (int) strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += snprintf(line + n, sizeof(line) - (size_t) n, ".%03dZ %s %s ",
				  (int) (now / 1000 % 1000), level_names[level], log_program);
	va_start(args, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t) n - 1, fmt, args);
	va_end(args);
	n = m < 0 ? n : n + m;
	if (n > (int) sizeof(line) - 2)
		n = (int) sizeof(line) - 2;
	if (level >= LOG_LEVEL_WARN)
		remember(line, n);
	line[n++] = '\n';

	/* A log that cannot be written must not stop the work. */
	if (write(STDERR_FILENO, line, (size_t) n) < 0)
		return;
}
