/*-------------------------------------------------------------------------
 *
 * schedule.h
 *	  Private to pd: where shards go.  Pure functions of what they are given.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_SCHEDULE_H
#define PD_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "labels.h"

/* A worker that may take replicas, how many it has, and of how many it is the first. */
typedef struct Candidate
{
	uint64_t	store;
	uint64_t	replicas;
	uint64_t	firsts;
	Site		site;
} Candidate;

/*
 * Choose stores for n shards of r replicas each, no two of a shard on one store:
 * those that share least with the shard's others, of them those with the fewest
 * replicas, the lowest id among equals, counting what was just given.
 * stores[i * r] is the first of shard i: of its stores the one that is first
 * least often.  candidates is changed.  Demands 0 < r <= ncandidates, and no more
 * than SCHEDULE_REPLICAS_MAX.
 */
#define SCHEDULE_REPLICAS_MAX 16
extern void schedule_place(Candidate *candidates, size_t ncandidates, uint64_t *stores, size_t n,
						   size_t r);

/* Interval i of n equal parts of the hash space, both ends included. */
extern void schedule_interval(size_t i, size_t n, uint64_t *first, uint64_t *last);

/* A dropped collection whose data is still kept. */
typedef struct Kept
{
	int64_t		since_us;		/* when it was dropped */
	bool		disk_short;		/* a disk with its data is, and nothing there is being deleted */
} Kept;

/*
 * The collection whose data goes next: one kept for longer than keep_us, or, of
 * those on a disk that is short, the one dropped first.  n = none.  A clock that
 * was set back makes nothing go earlier.
 */
extern size_t schedule_delete(const Kept *kept, size_t n, int64_t now_us, int64_t keep_us);

#endif							/* PD_SCHEDULE_H */
