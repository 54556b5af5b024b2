/*-------------------------------------------------------------------------
 *
 * kernels_avx512.c
 *	  The kernels in AVX-512; codes with VNNI's multiply-and-add of bytes, or, on
 *	  processors before it, with two instructions more.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,fma")))
#define AVX512_INLINE static inline __attribute__((target("avx512f,avx512bw,avx512dq,fma"), always_inline))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vnni,fma")))
#define VNNI_INLINE static inline __attribute__((target("avx512f,avx512bw,avx512dq,avx512vnni,fma"), always_inline))

typedef __m512 (*Step) (__m512 sum, __m512 a, __m512 b);

AVX512_INLINE __m512
l2_step(__m512 sum, __m512 a, __m512 b)
{
	__m512		d = _mm512_sub_ps(a, b);

	return _mm512_fmadd_ps(d, d, sum);
}

AVX512_INLINE __m512
dot_step(__m512 sum, __m512 a, __m512 b)
{
	return _mm512_fmadd_ps(a, b, sum);
}

AVX512_INLINE __m512
l1_step(__m512 sum, __m512 a, __m512 b)
{
	return _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b)));
}

/* Sixteen elements from the i-th on. */
AVX512_INLINE __m512
load(const uint8_t *row, size_t i, bool halves)
{
	if (halves)
		return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *) (row + 2 * i)));
	return _mm512_load_ps((const float *) row + i);
}

/*
 * step and halves are known where this is inlined.  A row is summed in one order,
 * whoever comes with it: equal rows have equal scores.
 */
AVX512_INLINE void
float_rows(Step step, bool halves, const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim,
		   float *out)
{
	size_t		size = halves ? 2 : 4;

	for (uint32_t r = 0; r < n; r += 4)
	{
		/* The last rows are computed again rather than one by one. */
		uint32_t	left = n - r < 4 ? n - r : 4;
		const uint8_t *a = rows[r];
		const uint8_t *b = rows[r + (left > 1 ? 1 : 0)];
		const uint8_t *c = rows[r + (left > 2 ? 2 : 0)];
		const uint8_t *d = rows[r + (left > 3 ? 3 : 0)];
		const uint8_t *next[4];
		__m512		sa = _mm512_setzero_ps();
		__m512		sb = sa;
		__m512		sc = sa;
		__m512		sd = sa;

		for (uint32_t j = 0; j < 4; j++)
			next[j] = KERNEL_NEXT(rows, n, r + j);
		for (uint32_t i = 0; i < dim; i += 16)
		{
			__m512		q = _mm512_load_ps(query + i);

			_mm_prefetch((const char *) (next[0] + size * i), _MM_HINT_T0);
			_mm_prefetch((const char *) (next[1] + size * i), _MM_HINT_T0);
			_mm_prefetch((const char *) (next[2] + size * i), _MM_HINT_T0);
			_mm_prefetch((const char *) (next[3] + size * i), _MM_HINT_T0);
			sa = step(sa, q, load(a, i, halves));
			sb = step(sb, q, load(b, i, halves));
			sc = step(sc, q, load(c, i, halves));
			sd = step(sd, q, load(d, i, halves));
		}
		out[r] = _mm512_reduce_add_ps(sa);
		if (left > 1)
			out[r + 1] = _mm512_reduce_add_ps(sb);
		if (left > 2)
			out[r + 2] = _mm512_reduce_add_ps(sc);
		if (left > 3)
			out[r + 3] = _mm512_reduce_add_ps(sd);
	}
}

#define FLOAT_KERNEL(name, step, halves) \
AVX512 static void \
name(const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim, float *out) \
{ \
	float_rows(step, halves, query, rows, n, dim, out); \
}

FLOAT_KERNEL(l2_avx512, l2_step, false)
FLOAT_KERNEL(dot_avx512, dot_step, false)
FLOAT_KERNEL(l1_avx512, l1_step, false)
FLOAT_KERNEL(half_l2_avx512, l2_step, true)
FLOAT_KERNEL(half_dot_avx512, dot_step, true)
FLOAT_KERNEL(half_l1_avx512, l1_step, true)

AVX512_INLINE __m128i
quarter(__m512i x)
{
	__m256i		y = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
}

/* The sums of four registers, in four lanes. */
AVX512_INLINE __m128
four_sums(__m512i a, __m512i b, __m512i c, __m512i d)
{
	return _mm_cvtepi32_ps(_mm_hadd_epi32(_mm_hadd_epi32(quarter(a), quarter(b)),
										  _mm_hadd_epi32(quarter(c), quarter(d))));
}

typedef __m512i (*CodeStep) (__m512i sum, __m512i codes, __m512i part);

/* 255 * CODE_QUERY_MAX twice fits into 16 bits. */
AVX512_INLINE __m512i
code_step(__m512i sum, __m512i codes, __m512i part)
{
	return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(codes, part), _mm512_set1_epi16(1)));
}

VNNI_INLINE __m512i
code_step_vnni(__m512i sum, __m512i codes, __m512i part)
{
	return _mm512_dpbusd_epi32(sum, codes, part);
}

/* Sums of the products of four rows with the query's parts. */
typedef struct CodeSums
{
	__m512i		ha;
	__m512i		hb;
	__m512i		hc;
	__m512i		hd;
	__m512i		la;
	__m512i		lb;
	__m512i		lc;
	__m512i		ld;
} CodeSums;

/* 64 codes of each row, the i-th and on. */
AVX512_INLINE void
code_add(CodeStep step, CodeSums *sums, const CodeQuery *query, uint32_t i, __m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i		high = _mm512_load_si512(query->high + i);
	__m512i		low = _mm512_load_si512(query->low + i);

	sums->ha = step(sums->ha, a, high);
	sums->la = step(sums->la, a, low);
	sums->hb = step(sums->hb, b, high);
	sums->lb = step(sums->lb, b, low);
	sums->hc = step(sums->hc, c, high);
	sums->lc = step(sums->lc, c, low);
	sums->hd = step(sums->hd, d, high);
	sums->ld = step(sums->ld, d, low);
}

/* step is known where this is inlined. */
AVX512_INLINE void
code_rows(CodeStep step, const CodeQuery *query, const uint8_t *const *rows, uint32_t n, uint32_t len, float *out)
{
	const __m128 high_scale = _mm_set1_ps(query->high_scale);
	const __m128 low_scale = _mm_set1_ps(query->low_scale);
	const uint32_t whole = len / 64 * 64;
	const __mmask64 rest = ((__mmask64) 1 << (len - whole)) - 1;

	for (uint32_t r = 0; r < n; r += 4)
	{
		/* The last rows are computed again rather than one by one. */
		uint32_t	left = n - r < 4 ? n - r : 4;
		const uint8_t *a = rows[r];
		const uint8_t *b = rows[r + (left > 1 ? 1 : 0)];
		const uint8_t *c = rows[r + (left > 2 ? 2 : 0)];
		const uint8_t *d = rows[r + (left > 3 ? 3 : 0)];
		const uint8_t *na = KERNEL_NEXT(rows, n, r);
		const uint8_t *nb = KERNEL_NEXT(rows, n, r + 1);
		const uint8_t *nc = KERNEL_NEXT(rows, n, r + 2);
		const uint8_t *nd = KERNEL_NEXT(rows, n, r + 3);
		const __m512i zero = _mm512_setzero_si512();
		CodeSums	sums = {zero, zero, zero, zero, zero, zero, zero, zero};
		float		four[4];
		__m128		scores;

		for (uint32_t i = 0; i < whole; i += 64)
		{
			_mm_prefetch((const char *) (na + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nb + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nc + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nd + i), _MM_HINT_T0);
			code_add(step, &sums, query, i, _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i),
					 _mm512_loadu_si512(c + i), _mm512_loadu_si512(d + i));
		}
		for (uint32_t i = whole; i < query->row_bytes; i += 64)
		{
			_mm_prefetch((const char *) (na + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nb + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nc + i), _MM_HINT_T0);
			_mm_prefetch((const char *) (nd + i), _MM_HINT_T0);
		}
		if (rest)
			code_add(step, &sums, query, whole, _mm512_maskz_loadu_epi8(rest, a + whole),
					 _mm512_maskz_loadu_epi8(rest, b + whole), _mm512_maskz_loadu_epi8(rest, c + whole),
					 _mm512_maskz_loadu_epi8(rest, d + whole));
		scores = _mm_add_ps(_mm_mul_ps(high_scale, four_sums(sums.ha, sums.hb, sums.hc, sums.hd)),
							_mm_mul_ps(low_scale, four_sums(sums.la, sums.lb, sums.lc, sums.ld)));
		if (left == 4)
			_mm_storeu_ps(out + r, scores);
		else
		{
			_mm_storeu_ps(four, scores);
			for (uint32_t i = 0; i < left; i++)
				out[r + i] = four[i];
		}
	}
}

AVX512 static void
code_avx512(const CodeQuery *query, const uint8_t *const *rows, uint32_t n, uint32_t len, float *out)
{
	code_rows(code_step, query, rows, n, len, out);
}

VNNI static void
code_vnni(const CodeQuery *query, const uint8_t *const *rows, uint32_t n, uint32_t len, float *out)
{
	code_rows(code_step_vnni, query, rows, n, len, out);
}

AVX512_INLINE __m512
code_l1_step(__m512 query, const uint8_t *codes, __m512 scale, __m512 offset)
{
	__m512		some = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) codes)));

	return _mm512_abs_ps(_mm512_sub_ps(query, _mm512_add_ps(_mm512_mul_ps(scale, some), offset)));
}

/* Sixteen lanes, folded as fold_lanes() does. */
AVX512_INLINE float
fold(__m512 lanes)
{
	__m256		eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* -ffp-contract=off: multiplications and additions stay apart, as in plain C. */
AVX512 static void
code_l1_avx512(const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim, uint32_t params,
			   float *out)
{
	uint32_t	whole = dim / 16 * 16;
	__mmask16	rest = (__mmask16) ((1u << (dim - whole)) - 1);

	for (uint32_t r = 0; r < n; r += 4)
	{
		/* The last rows are computed again rather than one by one. */
		uint32_t	left = n - r < 4 ? n - r : 4;
		const uint8_t *row[4];
		const uint8_t *next[4];
		__m512		scale[4];
		__m512		offset[4];
		__m512		sum[4];

		for (uint32_t j = 0; j < 4; j++)
		{
			const CodeParams *p;

			row[j] = rows[r + (j < left ? j : 0)];
			next[j] = KERNEL_NEXT(rows, n, r + j);
			p = (const CodeParams *) (row[j] + params);
			scale[j] = _mm512_set1_ps(p->scale);
			offset[j] = _mm512_set1_ps(p->offset);
			sum[j] = _mm512_setzero_ps();
		}
		for (uint32_t i = 0; i < whole; i += 16)
		{
			__m512		q = _mm512_load_ps(query + i);

			for (uint32_t j = 0; j < 4; j++)
			{
				if (i % 64 == 0)
					_mm_prefetch((const char *) (next[j] + i), _MM_HINT_T0);
				sum[j] = _mm512_add_ps(sum[j], code_l1_step(q, row[j] + i, scale[j], offset[j]));
			}
		}
		for (uint32_t i = (whole + 63) / 64 * 64; i < params + sizeof(CodeParams); i += 64)
			for (uint32_t j = 0; j < 4; j++)
				_mm_prefetch((const char *) (next[j] + i), _MM_HINT_T0);
		if (rest)
		{
			__m512		q = _mm512_load_ps(query + whole);

			for (uint32_t j = 0; j < 4; j++)
				sum[j] = _mm512_mask_add_ps(sum[j], rest, sum[j],
											code_l1_step(q, row[j] + whole, scale[j], offset[j]));
		}
		for (uint32_t j = 0; j < left; j++)
			out[r + j] = fold(sum[j]);
	}
}

AVX512 static void
unpack_avx512(const uint8_t *codes, uint32_t len, int8_t *high, int8_t *low)
{
	for (uint32_t i = 0; i < len; i += 64)
	{
		__mmask64	some = len - i >= 64 ? UINT64_MAX : ((__mmask64) 1 << (len - i)) - 1;
		__m512i		x = _mm512_maskz_loadu_epi8(some, codes + i);

		_mm512_store_si512(high + i, _mm512_and_si512(_mm512_srli_epi16(x, 2), _mm512_set1_epi8(63)));
		_mm512_store_si512(low + i, _mm512_and_si512(x, _mm512_set1_epi8(3)));
	}
}

const Kernels kernels_avx512 = {
	"avx512", {l2_avx512, dot_avx512, l1_avx512}, {half_l2_avx512, half_dot_avx512, half_l1_avx512},
	code_avx512, code_l1_avx512, split_avx2, unpack_avx512, numbers_avx2
};

const Kernels kernels_avx512vnni = {
	"avx512vnni", {l2_avx512, dot_avx512, l1_avx512}, {half_l2_avx512, half_dot_avx512, half_l1_avx512},
	code_vnni, code_l1_avx512, split_avx2, unpack_avx512, numbers_avx2
};

#endif							/* __x86_64__ */
