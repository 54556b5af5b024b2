/*-------------------------------------------------------------------------
 *
 * vec.h
 *	  What a vector is, and how far two of them are apart.
 *
 * Conventions
 *
 * 1. A vector is n float32 numbers, n from 1 to VEC_MAX_DIM, all finite.  The
 *	  kernels do not check that; the doors of SQL and of the wire do.
 * 2. Every kernel adds in 16 partial sums in one fixed order (lane i takes the
 *	  elements i, i + 16, i + 32 ...; then lanes are folded 8, 4, 2, 1), without
 *	  fused multiply-add.  Plain C and every SIMD path give the same bits, so
 *	  SQL and workers print and order the same distances on any machine.
 * 3. Two kinds of number.  A *distance* is what the SQL operator returns
 *	  (double).  A *score* is a cheaper float that orders one metric the same
 *	  way: squared L2, negated inner product, L1, and for cosine the negated
 *	  inner product of two normalised vectors.
 * 4. A vector may be kept in halves, IEEE 754 binary16.  A half stands for the
 *	  float of the same value: the distance to a vector of halves is that to the
 *	  floats they stand for, to the last bit.  A number becomes a half by rounding
 *	  to the nearest, ties to even; too small ones become zero, and those beyond
 *	  the largest half are refused.
 * 5. No allocation, no global state but the chosen kernels; thread-safe.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VEC_H
#define VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VEC_MAX_DIM 16000

/* On disk and on the wire: never renumber. */
typedef enum VecMetric
{
	VEC_L2 = 1,					/* <->  Euclidean distance */
	VEC_IP = 2,					/* <#>  negative inner product */
	VEC_COSINE = 3,				/* <=>  cosine distance */
	VEC_L1 = 4					/* <+>  taxicab distance */
} VecMetric;

/* On disk and on the wire: never renumber. */
typedef enum VecElement
{
	VEC_FLOAT32 = 1,
	VEC_FLOAT16 = 2
} VecElement;

typedef uint16_t VecHalf;		/* convention 4 */

#define VEC_HALF_MAX 65504.0f

/* Which instruction set the kernels use. */
typedef enum VecCpu
{
	VEC_CPU_PLAIN,
	VEC_CPU_AVX2
} VecCpu;

/* Sums over n elements; see convention 2. */
typedef float (*VecKernel) (const float *a, const float *b, size_t n);

/* dot, |a|^2 and |b|^2 in one pass: what cosine needs. */
typedef struct VecDots
{
	float		ab;
	float		aa;
	float		bb;
} VecDots;

extern float vec_l2_squared(const float *a, const float *b, size_t n);
extern float vec_dot(const float *a, const float *b, size_t n);
extern float vec_l1(const float *a, const float *b, size_t n);
extern VecDots vec_dots(const float *a, const float *b, size_t n);

/*
 * The distance the SQL operator of this metric returns: sqrt of the squared L2
 * sum, the negative inner product, 1 - cosine clamped to [-1, 1] (NaN when a
 * vector is zero), the L1 sum.
 */
extern double vec_distance(VecMetric metric, const float *a, const float *b, size_t n);

/* The same where b is kept in halves; a is not. */
extern double vec_distance_half(VecMetric metric, const float *a, const VecHalf *b, size_t n);

/*
 * A vector without its zeros: where each of the others is, counted from 0,
 * ascending, and what it is.  Distances are those of the whole vectors, to the
 * last bit (sparse.c).
 */
typedef struct VecSparse
{
	const int32_t *index;
	const float *value;
	size_t		n;
} VecSparse;

extern float vec_sparse_l2_squared(const VecSparse *a, const VecSparse *b);
extern float vec_sparse_dot(const VecSparse *a, const VecSparse *b);
extern double vec_sparse_distance(VecMetric metric, const VecSparse *a, const VecSparse *b);

/*
 * The kernel whose value orders like the metric (convention 3): smaller is
 * nearer.  For VEC_COSINE both vectors must be normalised first.
 */
extern VecKernel vec_score_kernel(VecMetric metric);

/* Euclidean norm, summed in double. */
extern double vec_norm(const float *a, size_t n);

/*
 * Write a / |a| to out (may be a itself).  False, and zeros, when the norm is
 * zero.
 */
extern bool vec_normalize(float *out, const float *a, size_t n);

/* Are all n elements finite? */
extern bool vec_all_finite(const float *a, size_t n);

/* False: a number is not finite as a half, and out means nothing. */
extern bool vec_to_half(VecHalf *out, const float *a, size_t n);
extern void vec_from_half(float *out, const VecHalf *a, size_t n);

/* "l2", "ip", "cosine", "l1"; NULL for a number that is no metric. */
extern const char *vec_metric_name(VecMetric metric);
extern bool vec_metric_valid(uint32_t metric);

/* "float32", "float16"; NULL for a number that is no element. */
extern const char *vec_element_name(VecElement element);
extern bool vec_element_valid(uint32_t element);

/*
 * What the kernels run on.  The choice is made on the first call, the best the
 * CPU offers (AVX2 with F16C), or VECTRON_CPU=plain|avx2 from the environment.  vec_force_cpu()
 * is for tests and benchmarks; false when this CPU cannot do it.
 */
extern VecCpu vec_cpu(void);
extern bool vec_force_cpu(VecCpu cpu);

/* Does the CPU convert float16 (F16C)?  Not all compilers' own question knows that word. */
extern bool vec_cpu_has_f16c(void);
extern const char *vec_cpu_name(VecCpu cpu);

#endif							/* VEC_H */
