/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  Time: microseconds since boot for deadlines, wall clock for logs only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Never goes back; counts suspended time too. */
static inline int64_t
clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Wall clock, for people. */
static inline int64_t
clock_wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

#endif							/* BASE_CLOCK_H */
