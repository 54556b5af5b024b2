/*-------------------------------------------------------------------------
 *
 * distance_avx2.c
 *	  The kernels in AVX2: two registers of eight lanes are the sixteen partial
 *	  sums of distance.c.  No fused multiply-add: it would round differently.
 *
 *-------------------------------------------------------------------------
 */
#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* The last n % 16 elements, padded with zeros: they add nothing to a lane. */
typedef struct Tail
{
	float		a[VEC_LANES];
	float		b[VEC_LANES];
} Tail;

static inline void
tail_take(Tail *tail, const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < VEC_LANES; i++)
	{
		tail->a[i] = i < n ? a[i] : 0;
		tail->b[i] = i < n ? b[i] : 0;
	}
}

static inline AVX2 float
fold(__m256 low, __m256 high)
{
	__m256		eight = _mm256_add_ps(low, high);
	__m128		four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	__m128		two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline AVX2 __m256
l2_step(__m256 sum, const float *a, const float *b)
{
	__m256		d = _mm256_sub_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b));

	return _mm256_add_ps(sum, _mm256_mul_ps(d, d));
}

static AVX2 float
avx2_l2_squared(const float *a, const float *b, size_t n)
{
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	size_t		at = 0;
	Tail		tail;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		low = l2_step(low, a + at, b + at);
		high = l2_step(high, a + at + 8, b + at + 8);
	}
	if (at < n)
	{
		tail_take(&tail, a + at, b + at, n - at);
		low = l2_step(low, tail.a, tail.b);
		high = l2_step(high, tail.a + 8, tail.b + 8);
	}
	return fold(low, high);
}

static inline AVX2 __m256
dot_step(__m256 sum, const float *a, const float *b)
{
	return _mm256_add_ps(sum, _mm256_mul_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b)));
}

static AVX2 float
avx2_dot(const float *a, const float *b, size_t n)
{
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	size_t		at = 0;
	Tail		tail;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		low = dot_step(low, a + at, b + at);
		high = dot_step(high, a + at + 8, b + at + 8);
	}
	if (at < n)
	{
		tail_take(&tail, a + at, b + at, n - at);
		low = dot_step(low, tail.a, tail.b);
		high = dot_step(high, tail.a + 8, tail.b + 8);
	}
	return fold(low, high);
}

static inline AVX2 __m256
l1_step(__m256 sum, const float *a, const float *b)
{
	__m256		d = _mm256_sub_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b));

	return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), d));
}

static AVX2 float
avx2_l1(const float *a, const float *b, size_t n)
{
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	size_t		at = 0;
	Tail		tail;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		low = l1_step(low, a + at, b + at);
		high = l1_step(high, a + at + 8, b + at + 8);
	}
	if (at < n)
	{
		tail_take(&tail, a + at, b + at, n - at);
		low = l1_step(low, tail.a, tail.b);
		high = l1_step(high, tail.a + 8, tail.b + 8);
	}
	return fold(low, high);
}

static AVX2 VecDots
avx2_dots(const float *a, const float *b, size_t n)
{
	__m256		sum[6];
	size_t		at = 0;
	Tail		tail;
	VecDots		dots;

	for (int i = 0; i < 6; i++)
		sum[i] = _mm256_setzero_ps();
	while (at < n)
	{
		const float *x = a + at;
		const float *y = b + at;

		if (at + VEC_LANES > n)
		{
			tail_take(&tail, x, y, n - at);
			x = tail.a;
			y = tail.b;
		}
		for (int half = 0; half < 2; half++)
		{
			sum[half] = dot_step(sum[half], x + 8 * half, y + 8 * half);
			sum[2 + half] = dot_step(sum[2 + half], x + 8 * half, x + 8 * half);
			sum[4 + half] = dot_step(sum[4 + half], y + 8 * half, y + 8 * half);
		}
		at += VEC_LANES;
	}
	dots.ab = fold(sum[0], sum[1]);
	dots.aa = fold(sum[2], sum[3]);
	dots.bb = fold(sum[4], sum[5]);
	return dots;
}

const VecKernels vec_kernels_avx2 = {
	VEC_CPU_AVX2, avx2_l2_squared, avx2_dot, avx2_l1, avx2_dots
};

#endif							/* __x86_64__ */
