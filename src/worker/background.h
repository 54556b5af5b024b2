/*-------------------------------------------------------------------------
 *
 * background.h
 *	  Private to worker: how work that nobody waits for goes on beside searches.
 *
 * Such work is niced, so that what wakes on its core goes first.  That is not all that it costs
 * others: caches and memory are shared, and a core that is at work, niced or not, is none that
 * the kernel would wake a thread on for its being idle.  With one such thread for every core the slowest
 * searches take two and three times as long.  So as long as searches come, who works in the
 * background rests after each piece of it, for the longer the fewer cores there are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_BACKGROUND_H
#define WORKER_BACKGROUND_H

#include <stdint.h>

struct Worker;

/*
 * How long who has worked since begun_us, of clock_now_us(), is to rest now, in us; 0: not
 * at all, or not yet (less than a millisecond).  Nobody need rest when somebody waits for the
 * work after all.
 */
extern int64_t background_rest_us(const struct Worker *worker, int64_t begun_us);

#endif							/* WORKER_BACKGROUND_H */
