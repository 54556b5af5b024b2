/*-------------------------------------------------------------------------
 *
 * tune.h
 *	  Private to worker: how many candidates searches of a shard must keep for
 *	  the recall they ask for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_TUNE_H
#define WORKER_TUNE_H

#include "records.h"

typedef struct Tune Tune;

extern Tune *tune_new(void);
extern void tune_free(Tune *tune);

/*
 * Search a little to find out, when the records have changed enough since it was
 * last known; for about `us` of this thread's processor time, of which *took
 * says what it was.  By any thread; one at a time does it.  False: nothing to
 * do now.
 */
extern bool tune_some(Tune *tune, Records *records, int64_t us, int64_t *took);

/* The ef with which the k nearest are found to this share, on average; 0 = not known yet. */
extern uint32_t tune_ef(const Tune *tune, uint32_t k, double recall);

#endif							/* WORKER_TUNE_H */
