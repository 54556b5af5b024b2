/*-------------------------------------------------------------------------
 *
 * figures.h
 *	  Private to replica: what a host counts, for people.
 *
 * Counting is one relaxed addition; nothing is decided by these numbers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef REPLICA_FIGURES_H
#define REPLICA_FIGURES_H

#include <stdatomic.h>

#include "base/histogram.h"

#define SLOW_WRITE_US INT64_C(1000000)	/* of the log: somebody should know */

typedef struct HostCounts
{
	atomic_uint_fast64_t campaigns; /* this store's replicas asked for votes */
	atomic_uint_fast64_t elected;
	atomic_uint_fast64_t deposed;
	atomic_uint_fast64_t proposals; /* taken */
	atomic_uint_fast64_t refused;	/* for want of room */
	atomic_uint_fast64_t applied;	/* commands */
	atomic_uint_fast64_t snapshots_sent;
	atomic_uint_fast64_t snapshots_failed;	/* to be sent */
	atomic_uint_fast64_t snapshots_installed;
	atomic_uint_fast64_t sent_bytes;	/* of snapshots, as they travel */
	atomic_uint_fast64_t staged_bytes;

	Histogram	log_writes;		/* a batch of all groups, to the disk */
	atomic_uint_fast64_t slow_writes;	/* of these, SLOW_WRITE_US or more */
	atomic_llong worst_write_us;	/* since the watch looked last */
	atomic_uint_fast64_t ticks_late_us; /* all ticks together */

	/* What the watch saw (watch.c) */
	atomic_llong watched_us;	/* when; 0 = never */
	atomic_uint stalled;		/* what does not get on: bits of StalledWork */
} HostCounts;

typedef enum StalledWork
{
	STALLED_LOG = 1,
	STALLED_STEP = 2,
	STALLED_APPLY = 4
} StalledWork;

static inline void
host_count(atomic_uint_fast64_t *count, uint64_t n)
{
	atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

/* One thread writes the log. */
static inline void
host_count_log_write(HostCounts *counts, int64_t us)
{
	histogram_add(&counts->log_writes, us);
	if (us >= SLOW_WRITE_US)
		host_count(&counts->slow_writes, 1);
	if (us > atomic_load_explicit(&counts->worst_write_us, memory_order_relaxed))
		atomic_store_explicit(&counts->worst_write_us, us, memory_order_relaxed);
}

#endif							/* REPLICA_FIGURES_H */
