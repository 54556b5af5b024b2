/*-------------------------------------------------------------------------
 *
 * prng.h
 *	  Seeded random numbers: splitmix64 (Steele, Lea, Flood 2014).
 *
 * One 64-bit state, every seed good, any value of the sequence by one
 * multiplication.  Not for secrets: those come from vt_id_random().
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

typedef struct Prng
{
	uint64_t	state;
} Prng;

static inline uint64_t
prng_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t
prng_next(Prng *prng)
{
	prng->state += UINT64_C(0x9e3779b97f4a7c15);
	return prng_mix(prng->state);
}

/* Uniform in [0, n); n > 0.  Multiply-shift: bias below 2^-32 for n < 2^32. */
static inline uint32_t
prng_below(Prng *prng, uint32_t n)
{
	return (uint32_t) (((prng_next(prng) >> 32) * n) >> 32);
}

/* Uniform in [0, 1). */
static inline double
prng_double(Prng *prng)
{
	return (double) (prng_next(prng) >> 11) * 0x1.0p-53;
}

#endif							/* BASE_PRNG_H */
