/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  Numbers as Prometheus reads them, its text format 0.0.4.
 *
 * Names, labels and help are ours and need no escaping.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/bytes.h"
#include "base/histogram.h"

/* A family of numbers: its type is "counter" or "gauge"; metrics_put() follows. */
extern void metrics_family(Buf *out, const char *name, const char *type, const char *help);

/* labels: kind="disk",... or NULL */
extern void metrics_put(Buf *out, const char *name, const char *labels, uint64_t value);
extern void metrics_put_us(Buf *out, const char *name, const char *labels, int64_t us);	/* as seconds */

/* A family of one number. */
extern void metrics_counter(Buf *out, const char *name, const char *help, uint64_t value);
extern void metrics_gauge(Buf *out, const char *name, const char *help, uint64_t value);
extern void metrics_seconds(Buf *out, const char *name, const char *help, int64_t us);

/* A family of one histogram, in seconds. */
extern void metrics_histogram(Buf *out, const char *name, const char *help, const Histogram *histogram);

/*
 * The same from n buckets of others: bounds in microseconds, rising; counts of each,
 * and behind them of what is beyond the last.
 */
extern void metrics_buckets(Buf *out, const char *name, const char *help, const uint32_t *bounds_us,
							const uint64_t *counts, int n, uint64_t sum_us);

/* This process: memory, processor, files, start; by the names that all exporters use. */
extern void metrics_process(Buf *out);

#endif							/* BASE_METRICS_H */
