/*-------------------------------------------------------------------------
 *
 * cond.h
 *	  Waits that end when they should, whatever happens to the wall clock.
 *
 * A timed wait on an ordinary condition goes by the wall clock: set back by an
 * hour, it makes the wait an hour longer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* A condition whose timed waits end at a cond_moment(). */
static inline void
cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* So much later than now. */
static inline struct timespec
cond_moment(int64_t after_us)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long) (after_us % 1000000) * 1000;
	ts.tv_sec += after_us / 1000000 + ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

#endif							/* BASE_COND_H */
