/*-------------------------------------------------------------------------
 *
 * kernels.h
 *	  Private to vec: the kernels of each instruction set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VEC_KERNELS_H
#define VEC_KERNELS_H

#include <string.h>

#include "vec/vec.h"

#define VEC_LANES 16

typedef float (*VecHalfKernel) (const float *a, const VecHalf *b, size_t n);

typedef struct VecKernels
{
	VecCpu		cpu;
	VecKernel	l2_squared;
	VecKernel	dot;
	VecKernel	l1;
	VecDots		(*dots) (const float *a, const float *b, size_t n);

	/* Where b is kept in halves */
	VecHalfKernel half_l2_squared;
	VecHalfKernel half_dot;
	VecHalfKernel half_l1;
	VecDots		(*half_dots) (const float *a, const VecHalf *b, size_t n);
	bool		(*to_half) (VecHalf *out, const float *a, size_t n);
	void		(*from_half) (float *out, const VecHalf *a, size_t n);
} VecKernels;

extern const VecKernels vec_kernels_plain;
extern const VecKernels vec_kernels_avx2;

/* 1 - cosine, from what it is made of (vec.c). */
extern double vec_cosine(VecDots d);

/* bits.c */
extern double vec_bits_distance(VecMetric metric, const uint8_t *a, const uint8_t *b, size_t n);

/* Fold the lanes: 8, 4, 2, 1.  The one order of all paths. */
static inline float
vec_fold(float lane[VEC_LANES])
{
	for (int width = VEC_LANES / 2; width > 0; width /= 2)
		for (int i = 0; i < width; i++)
			lane[i] += lane[i + width];
	return lane[0];
}

/* An exponent of all ones: an infinity or a NaN. */
#define HALF_NOT_FINITE 0x7C00

/* One number at a time, by its bits. */
static inline VecHalf
half_of(float x)
{
	uint32_t	bits;
	uint32_t	sign;
	uint32_t	rest;
	uint32_t	even;

	memcpy(&bits, &x, sizeof(bits));
	sign = bits >> 16 & 0x8000;
	bits &= 0x7FFFFFFF;
	if (bits >= 0x47800000)		/* 65536 and more; NaN */
		return (VecHalf) (sign | HALF_NOT_FINITE | (bits > 0x7F800000 ? 0x200 : 0));
	if (bits < 0x38800000)		/* below the smallest normal half */
	{
		/* Adding a half: the bits that fall off are rounded as floats are. */
		float		sum;
		float		half = 0.5f;

		memcpy(&sum, &bits, sizeof(sum));
		sum += half;
		memcpy(&rest, &sum, sizeof(rest));
		return (VecHalf) (sign | (rest - 0x3F000000));
	}
	even = bits >> 13 & 1;
	rest = bits - (112u << 23) + 0xFFF + even;
	return (VecHalf) (sign | rest >> 13);
}

static inline float
half_float(VecHalf h)
{
	uint32_t	sign = (uint32_t) (h & 0x8000) << 16;
	uint32_t	rest = (uint32_t) (h & 0x7FFF) << 13;
	float		x;

	if (rest >= (uint32_t) HALF_NOT_FINITE << 13)
		rest = 0x7F800000 | (rest & 0x7FFFFF) | (rest & 0x7FFFFF ? 0x400000 : 0);
	else if (rest >= 1u << 23)
		rest += 112u << 23;
	else
	{
		x = (float) (h & 0x3FF) * 0x1p-24f;
		memcpy(&rest, &x, sizeof(rest));
	}
	rest |= sign;
	memcpy(&x, &rest, sizeof(x));
	return x;
}

#endif							/* VEC_KERNELS_H */
