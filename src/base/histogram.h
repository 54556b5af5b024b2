/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  How long things took, counted by many threads at once.
 *
 * Bucket i counts what took at most 2^(i + 4) microseconds and more than the one
 * before; the last one everything longer than half a minute.  Adding is two relaxed
 * additions, so a histogram may stand where much happens.  Who reads sees each number
 * as it was at about one moment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS 22		/* 16 us to 33.6 s */

typedef struct Histogram
{
	atomic_uint_fast64_t counts[HISTOGRAM_BOUNDS + 1];
	atomic_uint_fast64_t sum_us;
} Histogram;

/* What the i-th bucket holds at most. */
static inline uint64_t
histogram_bound_us(int i)
{
	return UINT64_C(16) << i;
}

static inline int
histogram_bucket(int64_t us)
{
	int			bits = us <= 16 ? 4 : 64 - __builtin_clzll((uint64_t) us - 1);

	return bits - 4 < HISTOGRAM_BOUNDS ? bits - 4 : HISTOGRAM_BOUNDS;
}

static inline void
histogram_add(Histogram *histogram, int64_t us)
{
	us = us > 0 ? us : 0;
	atomic_fetch_add_explicit(&histogram->counts[histogram_bucket(us)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&histogram->sum_us, (uint64_t) us, memory_order_relaxed);
}

#endif							/* BASE_HISTOGRAM_H */
