/*-------------------------------------------------------------------------
 *
 * kernels.h
 *	  Private to vec: the kernels of each instruction set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VEC_KERNELS_H
#define VEC_KERNELS_H

#include "vec/vec.h"

#define VEC_LANES 16

typedef struct VecKernels
{
	VecCpu		cpu;
	VecKernel	l2_squared;
	VecKernel	dot;
	VecKernel	l1;
	VecDots		(*dots) (const float *a, const float *b, size_t n);
} VecKernels;

extern const VecKernels vec_kernels_plain;
extern const VecKernels vec_kernels_avx2;

/* Fold the lanes: 8, 4, 2, 1.  The one order of all paths. */
static inline float
vec_fold(float lane[VEC_LANES])
{
	for (int width = VEC_LANES / 2; width > 0; width /= 2)
		for (int i = 0; i < width; i++)
			lane[i] += lane[i + width];
	return lane[0];
}

#endif							/* VEC_KERNELS_H */
