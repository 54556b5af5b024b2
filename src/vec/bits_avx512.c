/*-------------------------------------------------------------------------
 *
 * bits_avx512.c
 *	  Bit strings compared in AVX-512, with its count of bits (VPOPCNTDQ).
 *
 * Four rows at a time, so that the query is read once for them and their sums are
 * folded together: strings are short, and folding is a good part of the work.
 *
 *-------------------------------------------------------------------------
 */
#include "bits.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq")))
#define AVX512_INLINE static inline __attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq"), always_inline))

/* The last rows are counted again rather than one by one. */
typedef struct Four
{
	const uint8_t *row[4];
	const uint8_t *next[4];
} Four;

AVX512_INLINE Four
four_rows(const uint8_t *const *rows, uint32_t n, uint32_t r)
{
	Four		four;

	for (uint32_t j = 0; j < 4; j++)
	{
		four.row[j] = rows[r + j < n ? r + j : r];
		four.next[j] = BITS_NEXT(rows, n, r + j);
	}
	return four;
}

/* 64 bytes from the i-th on, of which those beyond `bytes` count as zero and are not read. */
AVX512_INLINE __m512i
load(const uint8_t *row, size_t i, __mmask64 mask)
{
	return _mm512_maskz_loadu_epi8(mask, row + i);
}

AVX512_INLINE __mmask64
mask_at(size_t bytes, size_t i)
{
	return bytes - i >= 64 ? ~(__mmask64) 0 : ((__mmask64) 1 << (bytes - i)) - 1;
}

/* The sums of four registers; each lane is far below 2^32. */
AVX512_INLINE __m128i
four_sums(__m512i a, __m512i b, __m512i c, __m512i d)
{
	__m256i		ab = _mm256_hadd_epi32(_mm512_cvtepi64_epi32(a), _mm512_cvtepi64_epi32(b));
	__m256i		cd = _mm256_hadd_epi32(_mm512_cvtepi64_epi32(c), _mm512_cvtepi64_epi32(d));
	__m256i		all = _mm256_hadd_epi32(ab, cd);

	return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

AVX512 static void
differ_avx512(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes, uint32_t *differ)
{
	for (uint32_t r = 0; r < n; r += 4)
	{
		Four		four = four_rows(rows, n, r);
		__m512i		sums[4];
		uint32_t	out[4];

		for (int j = 0; j < 4; j++)
			sums[j] = _mm512_setzero_si512();
		for (size_t i = 0; i < bytes; i += 64)
		{
			__mmask64	mask = mask_at(bytes, i);
			__m512i		q = load(query, i, mask);

			for (int j = 0; j < 4; j++)
			{
				_mm_prefetch((const char *) (four.next[j] + i), _MM_HINT_T0);
				sums[j] = _mm512_add_epi64(sums[j], _mm512_popcnt_epi64(_mm512_xor_si512(q, load(four.row[j], i, mask))));
			}
		}
		_mm_storeu_si128((__m128i *) out, four_sums(sums[0], sums[1], sums[2], sums[3]));
		for (uint32_t j = 0; j < 4 && r + j < n; j++)
			differ[r + j] = out[j];
	}
}

AVX512 static void
share_avx512(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes, VecShared *shared)
{
	for (uint32_t r = 0; r < n; r += 4)
	{
		Four		four = four_rows(rows, n, r);
		__m512i		both[4];
		__m512i		either[4];
		uint32_t	out[2][4];

		for (int j = 0; j < 4; j++)
			both[j] = either[j] = _mm512_setzero_si512();
		for (size_t i = 0; i < bytes; i += 64)
		{
			__mmask64	mask = mask_at(bytes, i);
			__m512i		q = load(query, i, mask);

			for (int j = 0; j < 4; j++)
			{
				__m512i		x = load(four.row[j], i, mask);

				_mm_prefetch((const char *) (four.next[j] + i), _MM_HINT_T0);
				both[j] = _mm512_add_epi64(both[j], _mm512_popcnt_epi64(_mm512_and_si512(q, x)));
				either[j] = _mm512_add_epi64(either[j], _mm512_popcnt_epi64(_mm512_or_si512(q, x)));
			}
		}
		_mm_storeu_si128((__m128i *) out[0], four_sums(both[0], both[1], both[2], both[3]));
		_mm_storeu_si128((__m128i *) out[1], four_sums(either[0], either[1], either[2], either[3]));
		for (uint32_t j = 0; j < 4 && r + j < n; j++)
			shared[r + j] = (VecShared) {out[0][j], out[1][j]};
	}
}

const BitsKernels bits_avx512 = {"avx512", differ_avx512, share_avx512};

#endif							/* __x86_64__ */
