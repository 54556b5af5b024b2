/*-------------------------------------------------------------------------
 *
 * predicate_avx2.c
 *	  Predicates over columns, four values at a time.
 *
 * Values of slots that others are just writing are read without an atomic load, which
 * vectors do not have: each number is whole on this machine, and what is read of such
 * slots is not used (filters.c).  So a race detector is not to look at these.
 *
 *-------------------------------------------------------------------------
 */
#ifdef __x86_64__

#include "predicate.h"

#include <immintrin.h>

#define KERNEL static __attribute__((target("avx2"), no_sanitize("thread")))

KERNEL uint64_t
between_avx2(const int64_t *values, int64_t lo, int64_t hi)
{
	const __m256i low = _mm256_set1_epi64x(lo);
	const __m256i high = _mm256_set1_epi64x(hi);
	uint64_t	out = 0;

	for (uint32_t i = 0; i < 64; i += 4)
	{
		__m256i		value = _mm256_loadu_si256((const __m256i *) (values + i));
		__m256i		outside = _mm256_or_si256(_mm256_cmpgt_epi64(low, value), _mm256_cmpgt_epi64(value, high));

		out |= (uint64_t) (unsigned) _mm256_movemask_pd(_mm256_castsi256_pd(outside)) << i;
	}
	return ~out;
}

KERNEL uint64_t
any_avx2(const int64_t *values, const int64_t *wanted, uint32_t n)
{
	__m256i		want[KERNEL_ANY_MAX];
	uint64_t	out = 0;

	for (uint32_t k = 0; k < n; k++)
		want[k] = _mm256_set1_epi64x(wanted[k]);
	for (uint32_t i = 0; i < 64; i += 4)
	{
		__m256i		value = _mm256_loadu_si256((const __m256i *) (values + i));
		__m256i		has = _mm256_setzero_si256();

		for (uint32_t k = 0; k < n; k++)
			has = _mm256_or_si256(has, _mm256_cmpeq_epi64(value, want[k]));
		out |= (uint64_t) (unsigned) _mm256_movemask_pd(_mm256_castsi256_pd(has)) << i;
	}
	return out;
}

const PredicateKernels predicate_kernels_avx2 = {between_avx2, any_avx2};

#endif							/* __x86_64__ */
