/*-------------------------------------------------------------------------
 *
 * hot.h
 *	  Private to worker: what was applied and is not in the graph yet.
 *
 * Every search compares with it one by one, so it is kept small, by keeping writers
 * away (indexer_wait_ms).  But only what writers have brought here counts for that:
 * what a replica finds at a start, takes in from a bulk load, or catches up with after
 * its leader, is its backlog.  Whoever comes to lead with one goes on taking writes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_HOT_H
#define WORKER_HOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct Shard;

/* What searches of a shard have cost lately; of hot.c. */
typedef struct HotPrices
{
	atomic_bool busy;			/* somebody is looking */

	/* Counters of the records at the last look */
	uint64_t	walks;
	uint64_t	walk_us;
	uint64_t	rows;
	uint64_t	row_us;

	double		walk;			/* microseconds; 0 = not known */
	double		row;
	_Atomic(uint64_t) limit;	/* 0 = not known */
} HotPrices;

/*
 * What may wait: as many as cost half of what a walk costs to compare with, by what the
 * searches of this shard took lately, and no more than a MiB of what walks look at.  While nobody has
 * searched, that.
 */
extern uint64_t hot_limit(const struct Shard *shard);

/* What waits beyond the backlog. */
extern uint64_t hot_fresh(struct Shard *shard);

/* Is there so much that all should help? */
extern bool hot_presses(struct Shard *shard);

/*
 * Link up to n of them; how many.  While there are fresh ones a backlog has every
 * second turn, so neither stands still for the other.  A follower leaves those for which its
 * leader's hint is about to come (hints.h).  *looked: their neighbours were looked for here, all of them.  The shard is held.
 */
extern uint32_t hot_link(struct Shard *shard, uint32_t n, bool *looked);

#endif							/* WORKER_HOT_H */
