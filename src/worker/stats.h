/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  Private to worker: what is counted for monitoring (window.c).
 *
 * Counting is a few relaxed additions; nothing is decided by these numbers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_STATS_H
#define WORKER_STATS_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "wire/wire.h"

typedef enum ReplyKind
{
	REPLY_WRITE,
	REPLY_SEARCH,
	REPLY_LIST,
	REPLY_READ,
	REPLY_OTHER,
	REPLY_KINDS
} ReplyKind;

#define REPLY_STATUSES (VT_FOREIGN + 1)

typedef struct WorkerStats
{
	atomic_uint_fast64_t replies[REPLY_KINDS][REPLY_STATUSES];
	Histogram	writes;			/* those that went well, from coming to the answer */
	Histogram	searches;		/* a page of a search each */
	atomic_llong turned_us;		/* the house thread's loop turned last */
	atomic_llong beat_us;		/* a placement driver has answered last; 0 = never */
	atomic_uint_fast64_t held_back; /* writes refused since most copies of their shard lag */
	atomic_uint_fast64_t disk_free; /* as worker_look() saw it last */
	atomic_bool registered;		/* since the start */
} WorkerStats;

static inline ReplyKind
reply_kind(WireType type)
{
	switch (type)
	{
		case WIRE_WRITE:
			return REPLY_WRITE;
		case WIRE_SEARCH:
			return REPLY_SEARCH;
		case WIRE_LIST:
			return REPLY_LIST;
		case WIRE_READ_INDEX:
			return REPLY_READ;
		default:
			return REPLY_OTHER;
	}
}

/* A request that came then is about to be answered. */
static inline void
stats_reply(WorkerStats *stats, WireType type, VtStatus status, int64_t received_us)
{
	ReplyKind	kind = reply_kind(type);

	atomic_fetch_add_explicit(&stats->replies[kind][status], 1, memory_order_relaxed);
	if (status == VT_OK && kind == REPLY_WRITE)
		histogram_add(&stats->writes, clock_now_us() - received_us);
	else if (status == VT_OK && kind == REPLY_SEARCH)
		histogram_add(&stats->searches, clock_now_us() - received_us);
}

#endif							/* WORKER_STATS_H */
