/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  Numbers as Prometheus reads them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

__attribute__((format(printf, 2, 3))) static void
print(Buf *out, const char *fmt,...)
{
	char		line[512];
	va_list		args;
	int			n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	Assert(n >= 0 && (size_t) n < sizeof(line));
	buf_put(out, line, (size_t) n);
}

void
metrics_family(Buf *out, const char *name, const char *type, const char *help)
{
	print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void
metrics_put(Buf *out, const char *name, const char *labels, uint64_t value)
{
	print(out, labels ? "%s{%s} %" PRIu64 "\n" : "%s%s %" PRIu64 "\n", name, labels ? labels : "", value);
}

void
metrics_put_us(Buf *out, const char *name, const char *labels, int64_t us)
{
	us = us > 0 ? us : 0;
	print(out, labels ? "%s{%s} %" PRId64 ".%06" PRId64 "\n" : "%s%s %" PRId64 ".%06" PRId64 "\n", name,
		  labels ? labels : "", us / 1000000, us % 1000000);
}

void
metrics_counter(Buf *out, const char *name, const char *help, uint64_t value)
{
	metrics_family(out, name, "counter", help);
	metrics_put(out, name, NULL, value);
}

void
metrics_gauge(Buf *out, const char *name, const char *help, uint64_t value)
{
	metrics_family(out, name, "gauge", help);
	metrics_put(out, name, NULL, value);
}

void
metrics_seconds(Buf *out, const char *name, const char *help, int64_t us)
{
	metrics_family(out, name, "gauge", help);
	metrics_put_us(out, name, NULL, us);
}

/* Counts of buckets become counts of all that took at most so long. */
static void
histogram(Buf *out, const char *name, const char *help, const uint64_t *bounds_us, const uint64_t *counts, int n,
		  uint64_t sum_us)
{
	uint64_t	total = 0;

	metrics_family(out, name, "histogram", help);
	for (int i = 0; i < n; i++)
		print(out, "%s_bucket{le=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name, bounds_us[i] / 1000000,
			  bounds_us[i] % 1000000, total += counts[i]);
	total += counts[n];
	print(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, total);
	print(out, "%s_sum %" PRIu64 ".%06" PRIu64 "\n%s_count %" PRIu64 "\n", name, sum_us / 1000000, sum_us % 1000000,
		  name, total);
}

void
metrics_histogram(Buf *out, const char *name, const char *help, const Histogram *of)
{
	uint64_t	bounds[HISTOGRAM_BOUNDS];
	uint64_t	counts[HISTOGRAM_BOUNDS + 1];

	for (int i = 0; i <= HISTOGRAM_BOUNDS; i++)
		counts[i] = atomic_load_explicit(&of->counts[i], memory_order_relaxed);
	for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
		bounds[i] = histogram_bound_us(i);
	histogram(out, name, help, bounds, counts, HISTOGRAM_BOUNDS, atomic_load_explicit(&of->sum_us, memory_order_relaxed));
}

void
metrics_buckets(Buf *out, const char *name, const char *help, const uint32_t *bounds_us, const uint64_t *counts,
				int n, uint64_t sum_us)
{
	uint64_t	bounds[HISTOGRAM_BOUNDS];

	Assert(n <= HISTOGRAM_BOUNDS);
	for (int i = 0; i < n; i++)
		bounds[i] = bounds_us[i];
	histogram(out, name, help, bounds, counts, n, sum_us);
}

/* -- The process ------------------------------------------------------------- */

/* Pages in memory; 0 = not known. */
static uint64_t
resident_pages(void)
{
	FILE	   *file = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages;
}

static uint64_t
open_files(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	uint64_t	n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n < 3 ? 0 : n - 3;	/* itself, "." and ".." */
}

static int64_t
timeval_us(struct timeval tv)
{
	return (int64_t) tv.tv_sec * 1000000 + tv.tv_usec;
}

/* When this process began, by the wall clock, as near as the first call comes to it. */
static int64_t started_us;

__attribute__((constructor)) static void
note_start(void)
{
	started_us = clock_wall_us();
}

void
metrics_process(Buf *out)
{
	struct rusage usage;
	struct rlimit limit;

	if (getrusage(RUSAGE_SELF, &usage) == 0)
	{
		metrics_family(out, "process_cpu_seconds_total", "counter", "Processor time of all threads.");
		metrics_put_us(out, "process_cpu_seconds_total", NULL, timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime));
	}
	metrics_gauge(out, "process_resident_memory_bytes", "Memory of this process that is in use.",
				  resident_pages() * (uint64_t) sysconf(_SC_PAGESIZE));
	metrics_gauge(out, "process_open_fds", "Open files and connections.", open_files());
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		metrics_gauge(out, "process_max_fds", "As many may be open.", limit.rlim_cur);
	metrics_seconds(out, "process_start_time_seconds", "When it was started, in seconds since 1970.", started_us);
}
