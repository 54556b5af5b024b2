/*-------------------------------------------------------------------------
 *
 * distance_avx2.c
 *	  The kernels in AVX2: two registers of eight lanes are the sixteen partial
 *	  sums of distance.c.  No fused multiply-add: it would round differently.
 *
 * The tail is read with a mask: lanes that have no element get zero, which
 * adds nothing to a sum, and memory behind the vector is not touched.
 *
 *-------------------------------------------------------------------------
 */
#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((target("avx2"), always_inline))

#define HALF (VEC_LANES / 2)

/* What a kernel does with eight elements of each vector. */
typedef __m256 (*Step) (__m256 sum, __m256 a, __m256 b);

AVX2_INLINE __m256
l2_step(__m256 sum, __m256 a, __m256 b)
{
	__m256		d = _mm256_sub_ps(a, b);

	return _mm256_add_ps(sum, _mm256_mul_ps(d, d));
}

AVX2_INLINE __m256
dot_step(__m256 sum, __m256 a, __m256 b)
{
	return _mm256_add_ps(sum, _mm256_mul_ps(a, b));
}

AVX2_INLINE __m256
l1_step(__m256 sum, __m256 a, __m256 b)
{
	return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(a, b)));
}

/* The first n of eight elements, then zeros; n from 1 to 8. */
AVX2_INLINE __m256
load_part(const float *x, size_t n)
{
	static const int32_t ones[2 * HALF] = {-1, -1, -1, -1, -1, -1, -1, -1};

	return _mm256_maskload_ps(x, _mm256_loadu_si256((const __m256i *) (ones + HALF - n)));
}

/* vec_fold() of the sixteen lanes. */
AVX2_INLINE float
fold(__m256 low, __m256 high)
{
	__m256		eight = _mm256_add_ps(low, high);
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* The loop of a kernel; step is known where this is inlined. */
AVX2_INLINE float
sum_up(Step step, const float *a, const float *b, size_t n)
{
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	size_t		at = 0;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		low = step(low, _mm256_loadu_ps(a + at), _mm256_loadu_ps(b + at));
		high = step(high, _mm256_loadu_ps(a + at + HALF), _mm256_loadu_ps(b + at + HALF));
	}
	if (n - at >= HALF)
	{
		low = step(low, _mm256_loadu_ps(a + at), _mm256_loadu_ps(b + at));
		at += HALF;
		if (at < n)
			high = step(high, load_part(a + at, n - at), load_part(b + at, n - at));
	}
	else if (at < n)
		low = step(low, load_part(a + at, n - at), load_part(b + at, n - at));
	return fold(low, high);
}

static AVX2 float
avx2_l2_squared(const float *a, const float *b, size_t n)
{
	return sum_up(l2_step, a, b, n);
}

static AVX2 float
avx2_dot(const float *a, const float *b, size_t n)
{
	return sum_up(dot_step, a, b, n);
}

static AVX2 float
avx2_l1(const float *a, const float *b, size_t n)
{
	return sum_up(l1_step, a, b, n);
}

/* The three sums of eight lanes. */
typedef struct Sums
{
	__m256		ab;
	__m256		aa;
	__m256		bb;
} Sums;

AVX2_INLINE void
dots_step(Sums *sums, __m256 a, __m256 b)
{
	sums->ab = dot_step(sums->ab, a, b);
	sums->aa = dot_step(sums->aa, a, a);
	sums->bb = dot_step(sums->bb, b, b);
}

static AVX2 VecDots
avx2_dots(const float *a, const float *b, size_t n)
{
	__m256		zero = _mm256_setzero_ps();
	Sums		low = {zero, zero, zero};
	Sums		high = {zero, zero, zero};
	size_t		at = 0;
	VecDots		dots;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		dots_step(&low, _mm256_loadu_ps(a + at), _mm256_loadu_ps(b + at));
		dots_step(&high, _mm256_loadu_ps(a + at + HALF), _mm256_loadu_ps(b + at + HALF));
	}
	if (n - at >= HALF)
	{
		dots_step(&low, _mm256_loadu_ps(a + at), _mm256_loadu_ps(b + at));
		at += HALF;
		if (at < n)
			dots_step(&high, load_part(a + at, n - at), load_part(b + at, n - at));
	}
	else if (at < n)
		dots_step(&low, load_part(a + at, n - at), load_part(b + at, n - at));
	dots.ab = fold(low.ab, high.ab);
	dots.aa = fold(low.aa, high.aa);
	dots.bb = fold(low.bb, high.bb);
	return dots;
}

const VecKernels vec_kernels_avx2 = {
	VEC_CPU_AVX2, avx2_l2_squared, avx2_dot, avx2_l1, avx2_dots
};

#endif							/* __x86_64__ */
