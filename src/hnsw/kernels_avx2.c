/*-------------------------------------------------------------------------
 *
 * kernels_avx2.c
 *	  The kernels in AVX2 with fused multiply-add, and F16C for halves.
 *
 * Codes times seven-bit query parts: two products of at most 255 * 63 fit the
 * 16 bits in which maddubs adds them.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE static inline __attribute__((target("avx2,fma,f16c"), always_inline))

/* No fused multiply-add: what comes out is what plain C makes of it. */
#define AVX2_ONLY __attribute__((target("avx2")))
#define AVX2_ONLY_INLINE static inline __attribute__((target("avx2"), always_inline))

typedef __m256 (*Step) (__m256 sum, __m256 a, __m256 b);

AVX2_INLINE __m256
l2_step(__m256 sum, __m256 a, __m256 b)
{
	__m256		d = _mm256_sub_ps(a, b);

	return _mm256_fmadd_ps(d, d, sum);
}

AVX2_INLINE __m256
dot_step(__m256 sum, __m256 a, __m256 b)
{
	return _mm256_fmadd_ps(a, b, sum);
}

AVX2_INLINE __m256
l1_step(__m256 sum, __m256 a, __m256 b)
{
	return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(a, b)));
}

AVX2_ONLY_INLINE float
fold(__m256 eight)
{
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* Eight elements from the i-th on. */
AVX2_INLINE __m256
load(const uint8_t *row, size_t i, bool halves)
{
	if (halves)
		return _mm256_cvtph_ps(_mm_load_si128((const __m128i *) (row + 2 * i)));
	return _mm256_load_ps((const float *) row + i);
}

/* step and halves are known where this is inlined. */
AVX2_INLINE void
float_rows(Step step, bool halves, const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim,
		   float *out)
{
	size_t		size = halves ? 2 : 4;
	uint32_t	r = 0;

	for (; r + 4 <= n; r += 4)
	{
		const uint8_t *a = rows[r];
		const uint8_t *b = rows[r + 1];
		const uint8_t *c = rows[r + 2];
		const uint8_t *d = rows[r + 3];
		const uint8_t *next[4];
		__m256		sa = _mm256_setzero_ps();
		__m256		sb = sa;
		__m256		sc = sa;
		__m256		sd = sa;
		__m256		ta = sa;
		__m256		tb = sa;
		__m256		tc = sa;
		__m256		td = sa;

		for (uint32_t j = 0; j < 4; j++)
			next[j] = KERNEL_NEXT(rows, n, r + j);
		for (uint32_t i = 0; i < dim; i += 16)
		{
			__m256		q = _mm256_load_ps(query + i);
			__m256		p = _mm256_load_ps(query + i + 8);

			for (int j = 0; j < 4; j++)
				_mm_prefetch((const char *) (next[j] + size * i), _MM_HINT_T0);
			sa = step(sa, q, load(a, i, halves));
			sb = step(sb, q, load(b, i, halves));
			sc = step(sc, q, load(c, i, halves));
			sd = step(sd, q, load(d, i, halves));
			ta = step(ta, p, load(a, i + 8, halves));
			tb = step(tb, p, load(b, i + 8, halves));
			tc = step(tc, p, load(c, i + 8, halves));
			td = step(td, p, load(d, i + 8, halves));
		}
		out[r] = fold(_mm256_add_ps(sa, ta));
		out[r + 1] = fold(_mm256_add_ps(sb, tb));
		out[r + 2] = fold(_mm256_add_ps(sc, tc));
		out[r + 3] = fold(_mm256_add_ps(sd, td));
	}
	for (; r < n; r++)
	{
		const uint8_t *a = rows[r];
		__m256		s0 = _mm256_setzero_ps();
		__m256		s1 = s0;

		for (uint32_t i = 0; i < dim; i += 16)
		{
			s0 = step(s0, _mm256_load_ps(query + i), load(a, i, halves));
			s1 = step(s1, _mm256_load_ps(query + i + 8), load(a, i + 8, halves));
		}
		out[r] = fold(_mm256_add_ps(s0, s1));
	}
}

#define FLOAT_KERNEL(name, step, halves) \
AVX2 static void \
name(const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim, float *out) \
{ \
	float_rows(step, halves, query, rows, n, dim, out); \
}

FLOAT_KERNEL(l2_avx2, l2_step, false)
FLOAT_KERNEL(dot_avx2, dot_step, false)
FLOAT_KERNEL(l1_avx2, l1_step, false)
FLOAT_KERNEL(half_l2_avx2, l2_step, true)
FLOAT_KERNEL(half_dot_avx2, dot_step, true)
FLOAT_KERNEL(half_l1_avx2, l1_step, true)

AVX2_INLINE __m256i
code_step(__m256i sum, __m256i codes, __m256i part)
{
	return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, part),
												   _mm256_set1_epi16(1)));
}

AVX2_INLINE int32_t
fold_int(__m256i eight)
{
	__m128i		four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
	__m128i		two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));

	return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/* n codes, a multiple of 4 below 32, and zeros. */
AVX2_ONLY_INLINE __m256i
load_some(const uint8_t *codes, uint32_t n)
{
	const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	__m256i		mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int) (n / 4)), places);

	return _mm256_maskload_epi32((const int *) codes, mask);
}

/* Sums of the products of two rows with the query's parts. */
typedef struct CodeSums
{
	__m256i		ha;
	__m256i		hb;
	__m256i		la;
	__m256i		lb;
} CodeSums;

/* 32 codes of each row, the i-th and on. */
AVX2_INLINE void
code_add(CodeSums *sums, const CodeQuery *query, uint32_t i, __m256i a, __m256i b)
{
	__m256i		high = _mm256_load_si256((const __m256i *) (query->high + i));
	__m256i		low = _mm256_load_si256((const __m256i *) (query->low + i));

	sums->ha = code_step(sums->ha, a, high);
	sums->la = code_step(sums->la, a, low);
	sums->hb = code_step(sums->hb, b, high);
	sums->lb = code_step(sums->lb, b, low);
}

AVX2 static void
code_avx2(const CodeQuery *query, const uint8_t *const *rows, uint32_t n, uint32_t len, float *out)
{
	const uint32_t whole = len / 32 * 32;

	for (uint32_t r = 0; r < n; r += 2)
	{
		const uint8_t *a = rows[r];
		const uint8_t *b = rows[r + 1 < n ? r + 1 : r];
		const uint8_t *na = KERNEL_NEXT(rows, n, r);
		const uint8_t *nb = KERNEL_NEXT(rows, n, r + 1);
		const __m256i zero = _mm256_setzero_si256();
		CodeSums	sums = {zero, zero, zero, zero};

		for (uint32_t i = 0; i < whole; i += 32)
		{
			_mm_prefetch((const char *) (na + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nb + i), _MM_HINT_T0);
			code_add(&sums, query, i, _mm256_loadu_si256((const __m256i *) (a + i)),
					 _mm256_loadu_si256((const __m256i *) (b + i)));
		}
		for (uint32_t i = whole; i < query->row_bytes; i += 64)
		{
			_mm_prefetch((const char *) (na + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nb + i), _MM_HINT_T0);
		}
		if (whole < len)
			code_add(&sums, query, whole, load_some(a + whole, len - whole), load_some(b + whole, len - whole));
		out[r] = query->high_scale * (float) fold_int(sums.ha) + query->low_scale * (float) fold_int(sums.la);
		if (r + 1 < n)
			out[r + 1] = query->high_scale * (float) fold_int(sums.hb) +
				query->low_scale * (float) fold_int(sums.lb);
	}
}

/* The numbers of eight codes. */
AVX2_ONLY_INLINE __m256
numbers(const uint8_t *codes, __m256 scale, __m256 offset)
{
	__m256		eight = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) codes)));

	return _mm256_add_ps(_mm256_mul_ps(scale, eight), offset);
}

AVX2_ONLY_INLINE __m256
code_l1_step(const float *query, const uint8_t *codes, __m256 scale, __m256 offset)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0f),
							_mm256_sub_ps(_mm256_load_ps(query), numbers(codes, scale, offset)));
}

/* Two rows at a time; the last is computed again rather than alone. */
AVX2_ONLY static void
code_l1_avx2(const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim, uint32_t params,
			 float *out)
{
	static const int32_t ones[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
	uint32_t	whole = dim / 16 * 16;

	for (uint32_t r = 0; r < n; r += 2)
	{
		const uint8_t *row[2] = {rows[r], rows[r + 1 < n ? r + 1 : r]};
		const uint8_t *next[2] = {KERNEL_NEXT(rows, n, r), KERNEL_NEXT(rows, n, r + 1)};
		__m256		scale[2];
		__m256		offset[2];
		__m256		low[2];
		__m256		high[2];

		for (int j = 0; j < 2; j++)
		{
			const CodeParams *p = (const CodeParams *) (row[j] + params);

			scale[j] = _mm256_set1_ps(p->scale);
			offset[j] = _mm256_set1_ps(p->offset);
			low[j] = high[j] = _mm256_setzero_ps();
			for (uint32_t i = 0; i < params + sizeof(CodeParams); i += 64)
				_mm_prefetch((const char *) (next[j] + i), _MM_HINT_T0);
		}
		for (uint32_t i = 0; i < whole; i += 16)
			for (int j = 0; j < 2; j++)
			{
				low[j] = _mm256_add_ps(low[j], code_l1_step(query + i, row[j] + i, scale[j], offset[j]));
				high[j] = _mm256_add_ps(high[j], code_l1_step(query + i + 8, row[j] + i + 8, scale[j], offset[j]));
			}
		for (int j = 0; whole < dim && j < 2; j++)
		{
			const int32_t *mask = ones + 16 - (dim - whole);
			__m256		a = code_l1_step(query + whole, row[j] + whole, scale[j], offset[j]);
			__m256		b = code_l1_step(query + whole + 8, row[j] + whole + 8, scale[j], offset[j]);

			low[j] = _mm256_add_ps(low[j], _mm256_and_ps(a, _mm256_loadu_ps((const float *) mask)));
			high[j] = _mm256_add_ps(high[j], _mm256_and_ps(b, _mm256_loadu_ps((const float *) (mask + 8))));
		}
		for (uint32_t j = 0; j < 2 && r + j < n; j++)
			out[r + j] = fold(_mm256_add_ps(low[j], high[j]));
	}
}

AVX2_ONLY void
numbers_avx2(const uint8_t *codes, const CodeParams *params, uint32_t len, float *out)
{
	__m256		scale = _mm256_set1_ps(params->scale);
	__m256		offset = _mm256_set1_ps(params->offset);

	for (uint32_t i = 0; i < len; i += 8)
		_mm256_store_ps(out + i, numbers(codes + i, scale, offset));
}

/* Eight floats that are whole numbers from -128 to 127, as bytes. */
AVX2_ONLY_INLINE void
store_bytes(int8_t *out, __m256 a, __m256 b)
{
	__m256i		words = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));

	words = _mm256_permute4x64_epi64(words, 0xd8);
	_mm_store_si128((__m128i *) out, _mm_packs_epi16(_mm256_castsi256_si128(words),
													 _mm256_extracti128_si256(words, 1)));
}

typedef struct Parts
{
	__m256		high;
	__m256		low;
} Parts;

AVX2_ONLY_INLINE Parts
split_step(__m256 x, float high_inverse, float high_scale, float low_inverse)
{
	const __m256 limit = _mm256_set1_ps(CODE_QUERY_MAX);
	Parts		p;
	__m256		rest;

	p.high = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(high_inverse)),
							 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	rest = _mm256_sub_ps(x, _mm256_mul_ps(p.high, _mm256_set1_ps(high_scale)));
	p.low = _mm256_round_ps(_mm256_mul_ps(rest, _mm256_set1_ps(low_inverse)),
							_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	p.low = _mm256_min_ps(_mm256_max_ps(p.low, _mm256_sub_ps(_mm256_setzero_ps(), limit)), limit);
	return p;
}

AVX2_ONLY Split
split_avx2(const float *vector, uint32_t len, int8_t *high, int8_t *low)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);
	__m256		most = _mm256_setzero_ps();
	__m256		sums[2] = {most, most};
	__m256		norms[2] = {most, most};
	float		lanes[16];
	float		high_inverse;
	float		low_inverse;
	Split		split;

	for (uint32_t i = 0; i < len; i += 8)
		most = _mm256_max_ps(most, _mm256_andnot_ps(sign, _mm256_load_ps(vector + i)));
	_mm256_storeu_ps(lanes, most);
	for (int i = 1; i < 8; i++)
		lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
	split_scales(&split, lanes[0], &high_inverse, &low_inverse);
	for (uint32_t i = 0; i < len; i += 16)
	{
		__m256		x = _mm256_load_ps(vector + i);
		__m256		y = _mm256_load_ps(vector + i + 8);
		Parts		a = split_step(x, high_inverse, split.high_scale, low_inverse);
		Parts		b = split_step(y, high_inverse, split.high_scale, low_inverse);

		store_bytes(high + i, a.high, b.high);
		store_bytes(low + i, a.low, b.low);
		sums[0] = _mm256_add_ps(sums[0], x);
		sums[1] = _mm256_add_ps(sums[1], y);
		norms[0] = _mm256_add_ps(norms[0], _mm256_mul_ps(x, x));
		norms[1] = _mm256_add_ps(norms[1], _mm256_mul_ps(y, y));
	}
	_mm256_storeu_ps(lanes, sums[0]);
	_mm256_storeu_ps(lanes + 8, sums[1]);
	split.sum = fold_lanes(lanes);
	_mm256_storeu_ps(lanes, norms[0]);
	_mm256_storeu_ps(lanes + 8, norms[1]);
	split.norm = fold_lanes(lanes);
	return split;
}

AVX2_ONLY static void
unpack_avx2(const uint8_t *codes, uint32_t len, int8_t *high, int8_t *low)
{
	for (uint32_t i = 0; i < len; i += 32)
	{
		__m256i		x = len - i >= 32 ? _mm256_loadu_si256((const __m256i *) (codes + i)) : load_some(codes + i, len - i);

		_mm256_store_si256((__m256i *) (high + i),
						   _mm256_and_si256(_mm256_srli_epi16(x, 2), _mm256_set1_epi8(63)));
		_mm256_store_si256((__m256i *) (low + i), _mm256_and_si256(x, _mm256_set1_epi8(3)));
	}
}

const Kernels kernels_avx2 = {
	"avx2", {l2_avx2, dot_avx2, l1_avx2}, {half_l2_avx2, half_dot_avx2, half_l1_avx2},
	code_avx2, code_l1_avx2, split_avx2, unpack_avx2, numbers_avx2
};

#endif							/* __x86_64__ */
