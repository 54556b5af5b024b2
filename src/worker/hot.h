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

#include <stdbool.h>
#include <stdint.h>

struct Shard;

/* What may wait: about half of what a walk costs to compare with. */
extern uint64_t hot_limit(const struct Shard *shard);

/* What waits beyond the backlog. */
extern uint64_t hot_fresh(struct Shard *shard);

/* Is there so much that all should help? */
extern bool hot_presses(struct Shard *shard);

/*
 * Link up to n of them; how many.  While there are fresh ones a backlog has every
 * second turn, so neither stands still for the other.  The shard is held.
 */
extern uint32_t hot_link(struct Shard *shard, uint32_t n);

#endif							/* WORKER_HOT_H */
