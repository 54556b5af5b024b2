/*-------------------------------------------------------------------------
 *
 * status.h
 *	  Private to worker: its state as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_STATUS_H
#define WORKER_STATUS_H

#include <jansson.h>

#include "private.h"

extern json_t *status_u64(uint64_t v);	/* as a decimal string */
extern json_t *status_id(const VtId *id);

/* with_leaving: for a placement driver, also what waits to be closed or dropped; else for people. */
extern json_t *status_shards(Worker *worker, bool with_leaving);
extern json_t *status_broken(Worker *worker);
extern json_t *status_memory(Worker *worker);	/* what it goes for */

/* What is there at one moment, by shard and replica, with a digest of each one's row. */
typedef struct ToldShard
{
	uint64_t	shard;
	uint64_t	replica;
	uint64_t	digest;
} ToldShard;

typedef struct Told
{
	ToldShard  *shards;
	size_t		n;
	uint64_t	digest;			/* of all, and of what is broken; never 0 */
} Told;

extern void told_free(Told *told);

/*
 * Has anything changed since?  The shards are in out only if it has.  *settling: one still looks
 * for its leader.  The house thread's.
 */
extern bool status_digest(Worker *worker, const Told *before, Told *out, bool *settling);

/*
 * Of the shards of which something else is said than before: all rows; and numbers
 * of those of which nothing is there any more.  The rows may be newer than `now`.
 */
extern json_t *status_changed(Worker *worker, const Told *before, const Told *now, json_t *gone);

#endif							/* WORKER_STATUS_H */
