/*-------------------------------------------------------------------------
 *
 * hints_kept.h
 *	  Private to hints: what a follower has been told and has not used yet, and how long it
 *	  waits for more.
 *
 * Times are microseconds of clock_now_us().
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_HINTS_KEPT_H
#define WORKER_HINTS_KEPT_H

#include <pthread.h>
#include <stdatomic.h>

#include "records.h"

/* Of words (hints.c): before the first hint */
#define HINTS_FORMAT 1
#define HINTS_HEAD 13

typedef struct Hint
{
	struct Hint *next;			/* in its chain */
	struct Hint *older;
	struct Hint *younger;
	RecordName	name;
	int64_t		came_us;
	uint32_t	len;
	uint8_t		bytes[];		/* behind the name */
} Hint;

/* Words as they came, not looked at yet. */
typedef struct HintWords
{
	struct HintWords *next;		/* the one before */
	int64_t		came_us;
	uint32_t	len;
	uint8_t		bytes[];
} HintWords;

typedef struct HintsKept
{
	_Atomic(HintWords *) coming;	/* the last first */
	atomic_size_t bytes;		/* of words and hints */
	atomic_ullong refused;		/* words and hints for which there was no room */
	atomic_ullong vain;			/* times that a hint was waited for and did not come */
	atomic_llong awaited_us;	/* one is waited for until then; 0: none is */

	pthread_mutex_t reading;	/* words are read in the order in which they came; before the next */
	pthread_mutex_t lock;		/* of the rest */
	Hint	  **chains;			/* NULL: none is kept */
	Hint	   *oldest;
	Hint	   *youngest;
	int64_t		heard_us;		/* 0: never */
	uint64_t	passed;			/* these two as the leader said */
	uint64_t	leader_waiting;
	RecordName	turn;			/* of the record that is waited for, */
	int64_t		turn_us;		/* since then */
	uint32_t	owed;			/* so many hints have to come before one is waited for again */
	uint32_t	owed_last;
} HintsKept;

extern void kept_init(HintsKept *kept);
extern void kept_free(HintsKept *kept);

/* Words of the leader; takes no lock. */
extern void kept_come(HintsKept *kept, Bytes words, int64_t now_us);

/* Look at what has come. */
extern void kept_read(HintsKept *kept);

/* Of the record whose turn it is, when so many wait. */
extern HnswAdvice kept_advise(HintsKept *kept, RecordName name, uint64_t waiting, int64_t now_us);

/* The caller frees it; NULL: there is none. */
extern Hint *kept_take(HintsKept *kept, RecordName name);

/* Let go of what is old; false: nothing is left. */
extern bool kept_trim(HintsKept *kept, int64_t now_us);

#endif							/* WORKER_HINTS_KEPT_H */
