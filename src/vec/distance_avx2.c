/*-------------------------------------------------------------------------
 *
 * distance_avx2.c
 *	  The kernels in AVX2: two registers of eight lanes are the sixteen partial
 *	  sums of distance.c.  No fused multiply-add: it would round differently.
 *
 * The tail is read with a mask: lanes that have no element get zero, which
 * adds nothing to a sum, and memory behind the vector is not touched.
 *
 * Halves become floats on their way into a register (F16C), which is exact; so
 * each kernel is made twice of the same lines, for b of floats and for b of halves.
 *
 *-------------------------------------------------------------------------
 */
#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,f16c")))
#define AVX2_INLINE static inline __attribute__((target("avx2,f16c"), always_inline))

#define EIGHT (VEC_LANES / 2)

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

/* Eight elements from `at` on. */
AVX2_INLINE __m256
load(const void *x, size_t at, bool halves)
{
	if (halves)
		return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) ((const VecHalf *) x + at)));
	return _mm256_loadu_ps((const float *) x + at);
}

/* The first n of them, then zeros; n from 1 to 8. */
AVX2_INLINE __m256
load_part(const void *x, size_t at, size_t n, bool halves)
{
	static const int32_t ones[2 * EIGHT] = {-1, -1, -1, -1, -1, -1, -1, -1};

	if (halves)
	{
		VecHalf		some[EIGHT] = {0};

		memcpy(some, (const VecHalf *) x + at, n * sizeof(VecHalf));
		return load(some, 0, true);
	}
	return _mm256_maskload_ps((const float *) x + at, _mm256_loadu_si256((const __m256i *) (ones + EIGHT - n)));
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

/* The loop of a kernel; step and halves are known where this is inlined. */
AVX2_INLINE float
sum_up(Step step, const float *a, const void *b, size_t n, bool halves)
{
	__m256		low = _mm256_setzero_ps();
	__m256		high = _mm256_setzero_ps();
	size_t		at = 0;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		low = step(low, load(a, at, false), load(b, at, halves));
		high = step(high, load(a, at + EIGHT, false), load(b, at + EIGHT, halves));
	}
	if (n - at >= EIGHT)
	{
		low = step(low, load(a, at, false), load(b, at, halves));
		at += EIGHT;
		if (at < n)
			high = step(high, load_part(a, at, n - at, false), load_part(b, at, n - at, halves));
	}
	else if (at < n)
		low = step(low, load_part(a, at, n - at, false), load_part(b, at, n - at, halves));
	return fold(low, high);
}

#define KERNEL(name, step, type, halves) \
static AVX2 float \
name(const float *a, const type *b, size_t n) \
{ \
	return sum_up(step, a, b, n, halves); \
}

KERNEL(avx2_l2_squared, l2_step, float, false)
KERNEL(avx2_dot, dot_step, float, false)
KERNEL(avx2_l1, l1_step, float, false)
KERNEL(avx2_half_l2_squared, l2_step, VecHalf, true)
KERNEL(avx2_half_dot, dot_step, VecHalf, true)
KERNEL(avx2_half_l1, l1_step, VecHalf, true)

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

AVX2_INLINE VecDots
sum_up_dots(const float *a, const void *b, size_t n, bool halves)
{
	__m256		zero = _mm256_setzero_ps();
	Sums		low = {zero, zero, zero};
	Sums		high = {zero, zero, zero};
	size_t		at = 0;
	VecDots		dots;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
	{
		dots_step(&low, load(a, at, false), load(b, at, halves));
		dots_step(&high, load(a, at + EIGHT, false), load(b, at + EIGHT, halves));
	}
	if (n - at >= EIGHT)
	{
		dots_step(&low, load(a, at, false), load(b, at, halves));
		at += EIGHT;
		if (at < n)
			dots_step(&high, load_part(a, at, n - at, false), load_part(b, at, n - at, halves));
	}
	else if (at < n)
		dots_step(&low, load_part(a, at, n - at, false), load_part(b, at, n - at, halves));
	dots.ab = fold(low.ab, high.ab);
	dots.aa = fold(low.aa, high.aa);
	dots.bb = fold(low.bb, high.bb);
	return dots;
}

static AVX2 VecDots
avx2_dots(const float *a, const float *b, size_t n)
{
	return sum_up_dots(a, b, n, false);
}

static AVX2 VecDots
avx2_half_dots(const float *a, const VecHalf *b, size_t n)
{
	return sum_up_dots(a, b, n, true);
}

static AVX2 bool
avx2_to_half(VecHalf *out, const float *a, size_t n)
{
	const __m128i ones = _mm_set1_epi16(HALF_NOT_FINITE);
	__m128i		bad = _mm_setzero_si128();
	size_t		at = 0;
	bool		finite;

	for (; at + EIGHT <= n; at += EIGHT)
	{
		__m128i		h = _mm256_cvtps_ph(_mm256_loadu_ps(a + at), _MM_FROUND_TO_NEAREST_INT);

		bad = _mm_or_si128(bad, _mm_cmpeq_epi16(_mm_and_si128(h, ones), ones));
		_mm_storeu_si128((__m128i *) (out + at), h);
	}
	finite = _mm_movemask_epi8(bad) == 0;
	for (; at < n; at++)
	{
		out[at] = half_of(a[at]);
		finite &= (out[at] & HALF_NOT_FINITE) != HALF_NOT_FINITE;
	}
	return finite;
}

static AVX2 void
avx2_from_half(float *out, const VecHalf *a, size_t n)
{
	size_t		at = 0;

	for (; at + EIGHT <= n; at += EIGHT)
		_mm256_storeu_ps(out + at, load(a, at, true));
	for (; at < n; at++)
		out[at] = half_float(a[at]);
}

const VecKernels vec_kernels_avx2 = {
	VEC_CPU_AVX2, avx2_l2_squared, avx2_dot, avx2_l1, avx2_dots,
	avx2_half_l2_squared, avx2_half_dot, avx2_half_l1, avx2_half_dots, avx2_to_half, avx2_from_half
};

#endif							/* __x86_64__ */
