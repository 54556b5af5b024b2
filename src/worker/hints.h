/*-------------------------------------------------------------------------
 *
 * hints.h
 *	  Private to worker: what a leader found when it linked a vector, for its followers.
 *
 * Each replica has a graph of its own, and the same vectors come into all of them.  So the
 * leader of a shard says, beside the log, how it has linked each (HnswFound), and the
 * others link by that: most of the work of linking is done once, not once in each replica.
 * Nothing is decided by it.  A follower that hears nothing, or whose leader is of an older release,
 * looks for neighbours itself, as it does when the leader does not get on.
 *
 * Records are named by version and a part of the hash of the id, which are the same
 * in all replicas.  A name may be another record's, one in 2^32 of one command's: that makes a
 * link to somewhere else.
 *
 * Times are microseconds of clock_now_us().
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_HINTS_H
#define WORKER_HINTS_H

#include "records.h"

struct Shard;
typedef struct Hints Hints;

extern Hints *hints_new(void);
extern void hints_free(Hints *hints);	/* NULL is fine */

/* -- The leader's ------------------------------------------------------------ */

/* How a slot was linked; in its guard, before it has left the queue. */
extern void hints_note(Hints *hints, const Records *records, uint32_t slot, const HnswFound *found);

/*
 * All that was noted since the last time, with how far the graph has come, as words for
 * the others.  False: there is nothing.  Who calls it sends them before anybody else calls it.
 */
extern bool hints_words(Hints *hints, Records *records, Buf *out);

/* -- A follower's ------------------------------------------------------------ */

/* Words of the leader's; what is malformed ends there.  On any thread, takes no lock. */
extern void hints_take(Hints *hints, Bytes words, int64_t now_us);

/*
 * Of the record whose turn it is, when `waiting` are: what to do.  Its hint is waited for
 * while the leader is heard from, has not come past it, and has not much more before it; half a second at most, and
 * seldom where that was in vain.
 */
extern HnswAdvice hints_advise(Hints *hints, RecordName name, uint64_t waiting, int64_t now_us);

/* Its hint, in the slots of these records; gone afterwards.  False: there is none. */
extern bool hints_find(Hints *hints, Records *records, RecordName name, HnswFound *found);

/* Is the next one waited for, and has nothing come since?  NULL: no. */
extern bool hints_awaited(const Hints *hints, int64_t now_us);

/* Let go of what was not used in ten seconds; false: nothing is left.  NULL is fine. */
extern bool hints_trim(Hints *hints, int64_t now_us);

typedef struct HintsFigures
{
	uint64_t	bytes;			/* of memory */
	uint64_t	refused;		/* hints, or words full of them, for want of room */
	uint64_t	vain;			/* times that one was waited for and did not come */
} HintsFigures;

extern void hints_figures(const Hints *hints, HintsFigures *out);	/* NULL: none */

/* -- Of a shard that is held, while its vectors are linked: hot.c -------------- */

extern void hints_begin(struct Shard *shard, HnswHelp *help);
extern void hints_end(struct Shard *shard, uint32_t linked);

/* Whether nothing of it can be linked now, since a hint is waited for; it need not be held. */
extern bool hints_hold_up(struct Shard *shard, int64_t now_us);

/* ReplicaMachine.told */
extern void hints_told(void *shard, uint64_t from, Bytes words);

#endif							/* WORKER_HINTS_H */
