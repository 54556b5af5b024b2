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
 * 5. A vector may be a string of n bits instead, n from 1 to VEC_MAX_BITS: eight to
 *	  a byte, the first one highest, as PostgreSQL keeps them.  What is left of the last
 *	  byte is zero (vec_bits_valid).  It has metrics of its own, and the metric says
 *	  what a pointer to a vector points to.  Their distances are made of counts, so
 *	  they are the same on every path, too; a score is the distance as a float.
 * 6. No allocation, no global state but the chosen kernels; thread-safe.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VEC_H
#define VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VEC_MAX_DIM 16000
#define VEC_MAX_BITS 64000
#define VEC_BITS_BYTES(n) (((size_t) (n) + 7) / 8)

/* On disk and on the wire: never renumber. */
typedef enum VecMetric
{
	VEC_L2 = 1,					/* <->  Euclidean distance */
	VEC_IP = 2,					/* <#>  negative inner product */
	VEC_COSINE = 3,				/* <=>  cosine distance */
	VEC_L1 = 4,					/* <+>  taxicab distance */
	VEC_HAMMING = 5,			/* <~>  bits that differ */
	VEC_JACCARD = 6				/* <%>  1 less the share of the bits set in either that are set in both */
} VecMetric;

/* On disk and on the wire: never renumber. */
typedef enum VecElement
{
	VEC_FLOAT32 = 1,
	VEC_FLOAT16 = 2,
	VEC_BIT = 3
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
 * vector is zero), the L1 sum; of bits as said above, and 1 by VEC_JACCARD if no bit
 * is set in both.  n floats, or n bits.
 */
extern double vec_distance(VecMetric metric, const void *a, const void *b, size_t n);

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
 * A bit string against n others of so many bytes: in how many bits each differs, and
 * how many are set in both and in either.
 */
typedef struct VecShared
{
	uint32_t	both;
	uint32_t	either;
} VecShared;

extern void vec_bits_differ(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes,
							uint32_t *differ);
extern void vec_bits_share(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes,
						   VecShared *shared);

/* VEC_JACCARD of what is shared. */
static inline double
vec_jaccard(VecShared shared)
{
	return shared.both == 0 ? 1 : 1 - (double) shared.both / (double) shared.either;
}

/* Is what is left of the last byte zero? */
extern bool vec_bits_valid(const uint8_t *a, size_t n);

/*
 * The kernel whose value orders like the metric (convention 3): smaller is
 * nearer.  For VEC_COSINE both vectors must be normalised first.  NULL for metrics of bits.
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

/* "l2", "ip", "cosine", "l1", "hamming", "jaccard"; NULL for a number that is no metric. */
extern const char *vec_metric_name(VecMetric metric);
extern bool vec_metric_valid(uint32_t metric);

/* "float32", "float16", "bit"; NULL for a number that is no element. */
extern const char *vec_element_name(VecElement element);
extern bool vec_element_valid(uint32_t element);

/* Is the metric one for vectors of this element? */
extern bool vec_metric_fits(VecMetric metric, VecElement element);

/* Dimensions that a vector may have, and what n of them take: as they are given to functions, and as they are kept. */
extern uint32_t vec_max_dim(VecElement element);
extern size_t vec_given_bytes(VecElement element, size_t n);
extern size_t vec_kept_bytes(VecElement element, size_t n);

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

/*
 * What bits are counted by: "plain", "popcnt", "avx512" (with VPOPCNTDQ), the best that
 * the CPU offers and VECTRON_CPU allows.  Forced by tests and benchmarks; false when
 * this CPU cannot do it.
 */
extern const char *vec_bits_cpu_name(void);
extern bool vec_bits_force_cpu(const char *name);

#endif							/* VEC_H */
