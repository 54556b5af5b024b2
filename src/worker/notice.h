/*-------------------------------------------------------------------------
 *
 * notice.h
 *	  Private to worker: what becomes of a shard that somebody should read of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_NOTICE_H
#define WORKER_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#define NOTICE_LEADERLESS_US (5 * INT64_C(1000000))	/* elections are over sooner */
#define NOTICE_BEHIND 10000		/* entries that a live member lacks */
#define NOTICE_CAUGHT_UP 1000

/* What was told of a shard; the house thread's. */
typedef struct ShardNotice
{
	int64_t		leaderless_us;	/* since when; 0 = it has a leader */
	bool		told_leaderless;
	uint64_t	laggard;		/* replica of a group led here that was said to lag; 0 = none */
} ShardNotice;

/* How a shard is now. */
typedef struct ShardView
{
	bool		has_leader;		/* as this replica knows */
	bool		leads;			/* this one */
	uint64_t	laggard;		/* its live member that is furthest behind, */
	uint64_t	behind;			/* by so many entries, */
	uint64_t	told_behind;	/* and the one that was told of; 0 also when it is gone */
} ShardView;

typedef enum NoticeKind
{
	NOTICE_NONE,
	NOTICE_LEADERLESS,
	NOTICE_LED_AGAIN,
	NOTICE_LAGS,
	NOTICE_LAGS_NO_MORE
} NoticeKind;

/* What is new, once for each thing; at most one at a time. */
extern NoticeKind notice_next(ShardNotice *notice, const ShardView *view, int64_t now_us);

struct Worker;

/* Look at all shards and write what is new into the log; now and then. */
extern void notices_look(struct Worker *worker);

#endif							/* WORKER_NOTICE_H */
