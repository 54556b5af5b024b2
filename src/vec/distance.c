/*-------------------------------------------------------------------------
 *
 * distance.c
 *	  The kernels in plain C: the reference that the others must equal bit for
 *	  bit, and what runs where there is no AVX2.
 *
 * Lane i adds the elements i, i + 16, i + 32 ...; the tail goes to the lanes
 * it would have gone to.  The inner loop over lanes is what a compiler turns
 * into vector code without changing a bit.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "kernels.h"

static float
plain_l2_squared(const float *a, const float *b, size_t n)
{
	float		lane[VEC_LANES] = {0};
	size_t		at = 0;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
		for (int i = 0; i < VEC_LANES; i++)
		{
			float		d = a[at + i] - b[at + i];

			lane[i] += d * d;
		}
	for (int i = 0; at < n; at++, i++)
	{
		float		d = a[at] - b[at];

		lane[i] += d * d;
	}
	return vec_fold(lane);
}

static float
plain_dot(const float *a, const float *b, size_t n)
{
	float		lane[VEC_LANES] = {0};
	size_t		at = 0;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
		for (int i = 0; i < VEC_LANES; i++)
			lane[i] += a[at + i] * b[at + i];
	for (int i = 0; at < n; at++, i++)
		lane[i] += a[at] * b[at];
	return vec_fold(lane);
}

static float
plain_l1(const float *a, const float *b, size_t n)
{
	float		lane[VEC_LANES] = {0};
	size_t		at = 0;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
		for (int i = 0; i < VEC_LANES; i++)
			lane[i] += fabsf(a[at + i] - b[at + i]);
	for (int i = 0; at < n; at++, i++)
		lane[i] += fabsf(a[at] - b[at]);
	return vec_fold(lane);
}

static VecDots
plain_dots(const float *a, const float *b, size_t n)
{
	float		ab[VEC_LANES] = {0};
	float		aa[VEC_LANES] = {0};
	float		bb[VEC_LANES] = {0};
	size_t		at = 0;
	VecDots		dots;

	for (; at + VEC_LANES <= n; at += VEC_LANES)
		for (int i = 0; i < VEC_LANES; i++)
		{
			ab[i] += a[at + i] * b[at + i];
			aa[i] += a[at + i] * a[at + i];
			bb[i] += b[at + i] * b[at + i];
		}
	for (int i = 0; at < n; at++, i++)
	{
		ab[i] += a[at] * b[at];
		aa[i] += a[at] * a[at];
		bb[i] += b[at] * b[at];
	}
	dots.ab = vec_fold(ab);
	dots.aa = vec_fold(aa);
	dots.bb = vec_fold(bb);
	return dots;
}

/* -- Halves ------------------------------------------------------------------ */

static void
plain_from_half(float *out, const VecHalf *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = half_float(a[i]);
}

static bool
plain_to_half(VecHalf *out, const float *a, size_t n)
{
	bool		finite = true;

	for (size_t i = 0; i < n; i++)
	{
		out[i] = half_of(a[i]);
		finite &= (out[i] & HALF_NOT_FINITE) != HALF_NOT_FINITE;
	}
	return finite;
}

#define HALF_KERNEL(name, term) \
static float \
name(const float *a, const VecHalf *b, size_t n) \
{ \
	float		lane[VEC_LANES] = {0}; \
 \
	for (size_t i = 0; i < n; i++) \
	{ \
		float		x = a[i]; \
		float		y = half_float(b[i]); \
 \
		lane[i % VEC_LANES] += (term); \
	} \
	return vec_fold(lane); \
}

HALF_KERNEL(plain_half_l2_squared, (x - y) * (x - y))
HALF_KERNEL(plain_half_dot, x * y)
HALF_KERNEL(plain_half_l1, fabsf(x - y))

static VecDots
plain_half_dots(const float *a, const VecHalf *b, size_t n)
{
	float		ab[VEC_LANES] = {0};
	float		aa[VEC_LANES] = {0};
	float		bb[VEC_LANES] = {0};
	VecDots		dots;

	for (size_t i = 0; i < n; i++)
	{
		float		y = half_float(b[i]);

		ab[i % VEC_LANES] += a[i] * y;
		aa[i % VEC_LANES] += a[i] * a[i];
		bb[i % VEC_LANES] += y * y;
	}
	dots.ab = vec_fold(ab);
	dots.aa = vec_fold(aa);
	dots.bb = vec_fold(bb);
	return dots;
}

const VecKernels vec_kernels_plain = {
	VEC_CPU_PLAIN, plain_l2_squared, plain_dot, plain_l1, plain_dots,
	plain_half_l2_squared, plain_half_dot, plain_half_l1, plain_half_dots, plain_to_half, plain_from_half
};
