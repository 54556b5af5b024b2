/*-------------------------------------------------------------------------
 *
 * doors.c
 *	  Which of a node's links lead to members of a set.
 *
 * A walk through a set asks this of some ten thousand links a search, and the
 * answer cannot be foretold: there is no branch on it.  With vector instructions
 * eight or sixteen bits are fetched at once.
 *
 * Lists and bits may change meanwhile.  Loads of aligned registers are not atomic as a
 * whole, but each of their words is, and on x86 every load is an acquire; so what
 * graph.h says of lists holds.  Where a thread sanitizer watches, which cannot know
 * that, the plain version runs.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/doors.h"

#include <string.h>

#include "hnsw/hnsw.h"

static uint32_t
doors_plain(const atomic_ullong *bits, uint32_t nbits, const atomic_uint *links, uint32_t limit,
			uint32_t *out, uint32_t *n)
{
	uint32_t	found = 0;
	uint32_t	i;

	for (i = 0; i < limit; i++)
	{
		uint32_t	slot = atomic_load_explicit(&links[i], memory_order_acquire);
		uint32_t	word = slot < nbits ? slot >> 6 : nbits >> 6;

		if (slot == HNSW_NO_SLOT)
			break;
		out[found] = slot;
		found += atomic_load_explicit(&bits[word], memory_order_relaxed) >> (slot & 63) & 1;
	}
	*n = i;
	return found;
}

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,popcnt")))

/* The bits as words of 32: the same, as the lowest byte comes first. */

AVX2 static uint32_t
doors_avx2(const atomic_ullong *bits, uint32_t nbits, const atomic_uint *links, uint32_t limit,
		   uint32_t *out, uint32_t *n)
{
	uint32_t	found = 0;
	uint32_t	i = 0;

	if (limit % 8 != 0)
		return doors_plain(bits, nbits, links, limit, out, n);
	for (; i < limit; i += 8)
	{
		__m256i		slots = _mm256_load_si256((const __m256i *) (const void *) (links + i));
		unsigned	ends = (unsigned) _mm256_movemask_ps(_mm256_castsi256_ps(
			_mm256_cmpeq_epi32(slots, _mm256_set1_epi32(-1))));
		__m256i		words = _mm256_srli_epi32(_mm256_min_epu32(slots, _mm256_set1_epi32((int) nbits)), 5);
		__m256i		got = _mm256_i32gather_epi32((const int *) bits, words, 4);
		_Alignas(32) uint32_t now[8];
		unsigned	set;

		/* The bit of each slot becomes the sign. */
		got = _mm256_sllv_epi32(got, _mm256_andnot_si256(slots, _mm256_set1_epi32(31)));
		set = (unsigned) _mm256_movemask_ps(_mm256_castsi256_ps(got));
		if (ends)
			set &= (ends & -ends) - 1;
		_mm256_store_si256((__m256i *) now, slots);
		for (; set; set &= set - 1)
			out[found++] = now[__builtin_ctz(set)];
		if (ends)
		{
			i += (uint32_t) __builtin_ctz(ends);
			break;
		}
	}
	atomic_thread_fence(memory_order_acquire);
	*n = i;
	return found;
}

AVX512 static uint32_t
doors_avx512(const atomic_ullong *bits, uint32_t nbits, const atomic_uint *links, uint32_t limit,
			 uint32_t *out, uint32_t *n)
{
	uint32_t	found = 0;
	uint32_t	i = 0;

	if (limit % 16 != 0)
		return doors_plain(bits, nbits, links, limit, out, n);
	for (; i < limit; i += 16)
	{
		__m512i		slots = _mm512_load_si512((const void *) (links + i));
		unsigned	ends = _mm512_cmpeq_epi32_mask(slots, _mm512_set1_epi32(-1));
		__mmask16	valid = (__mmask16) (ends ? (ends & -ends) - 1 : 0xffff);
		__m512i		words = _mm512_srli_epi32(_mm512_min_epu32(slots, _mm512_set1_epi32((int) nbits)), 5);
		__m512i		got = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), valid, words, bits, 4);
		__m512i		bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(slots, _mm512_set1_epi32(31)));
		__mmask16	set = _mm512_test_epi32_mask(got, bit);

		_mm512_storeu_si512(out + found, _mm512_maskz_compress_epi32(set, slots));
		found += (uint32_t) __builtin_popcount(set);
		if (ends)
		{
			i += (uint32_t) __builtin_ctz(ends);
			break;
		}
	}
	atomic_thread_fence(memory_order_acquire);
	*n = i;
	return found;
}

#endif

DoorsKernel
doors_kernel(const char *name)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	if (strncmp(name, "avx512", 6) == 0)
		return doors_avx512;
	if (strcmp(name, "avx2") == 0)
		return doors_avx2;
#endif
	(void) name;
	return doors_plain;
}
