/*-------------------------------------------------------------------------
 *
 * kernels.h
 *	  Private to hnsw: one query against many rows at once.
 *
 * A kernel compares a query with n rows anywhere in memory, four at a time so
 * that the query's registers are shared, and asks for the next four while it
 * works: the requests come at the pace of the work and do not pile up in the
 * few buffers for misses.  Results order neighbours while walking; what callers get is computed
 * by vec_distance() in the end.  So the float kernels may round as they like;
 * the code kernel adds integers and gives the same on every CPU.
 *
 * Rows of floats or halves are padded with zeros to a multiple of 16 of them.  Rows of codes are read to their
 * end and no further, since others may write what stands behind them; the query has zeros up to a multiple of 64.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_KERNELS_H
#define HNSW_KERNELS_H

#include <stdint.h>

/* Parts of a query have seven bits, so that AVX2's 16-bit sums cannot overflow. */
#define CODE_QUERY_MAX 63

/* out[i] = sum over dim floats, or halves, a multiple of 16; the query is of floats. */
typedef void (*FloatKernel) (const float *query, const uint8_t *const *rows, uint32_t n,
							 uint32_t dim, float *out);

typedef struct FloatKernels
{
	FloatKernel l2;
	FloatKernel dot;
	FloatKernel l1;
} FloatKernels;

/* out[i] = high_scale * sum(high * code) + low_scale * sum(low * code), over len bytes, a multiple of 4 */
typedef struct CodeQuery
{
	const int8_t *high;
	const int8_t *low;
	float		high_scale;
	float		low_scale;
	uint32_t	row_bytes;		/* to ask for of the next rows: what stands behind the codes, too */
} CodeQuery;

typedef void (*CodeKernel) (const CodeQuery *query, const uint8_t *const *rows, uint32_t n,
							uint32_t len, float *out);

/* Behind the codes of a row. */
typedef struct CodeParams
{
	float		scale;			/* number = scale * code + offset */
	float		offset;
	float		sum;			/* of the codes */
	float		norm;			/* of the numbers the codes stand for, squared; L2: beyond offset; cosine 1 / norm */
} CodeParams;

/*
 * out[i] = taxicab distance of dim floats and the numbers of a row, whose parameters
 * stand `params` bytes from its begin.  Floats, but added up in sixteen lanes that
 * are folded in one order: the same on every CPU, too.
 */
typedef void (*CodeL1Kernel) (const float *query, const uint8_t *const *rows, uint32_t n,
							  uint32_t dim, uint32_t params, float *out);

/* len codes, a multiple of 16, as the numbers they stand for. */
typedef void (*NumbersKernel) (const uint8_t *codes, const CodeParams *params, uint32_t len, float *out);

/* A vector as a query on codes: number = high_scale * high + low_scale * low, about. */
typedef struct Split
{
	float		high_scale;
	float		low_scale;
	float		sum;			/* of the numbers */
	float		norm;			/* squared */
} Split;

/* len floats, a multiple of 16, into two parts of as many bytes. */
typedef Split (*SplitKernel) (const float *vector, uint32_t len, int8_t *high, int8_t *low);

/* len codes, a multiple of 4: code = 4 * high + low.  Writes zeros behind, at most up to a multiple of 64. */
typedef void (*UnpackKernel) (const uint8_t *codes, uint32_t len, int8_t *high, int8_t *low);

typedef struct Kernels
{
	const char *name;
	FloatKernels floats;
	FloatKernels halves;
	CodeKernel	code;
	CodeL1Kernel code_l1;
	SplitKernel split;
	UnpackKernel unpack;
	NumbersKernel numbers;
} Kernels;

/* How a split begins and ends on every CPU; inverses of 0: numbers so small are zero. */
static inline void
split_scales(Split *split, float most, float *high_inverse, float *low_inverse)
{
	split->high_scale = most / CODE_QUERY_MAX;
	split->low_scale = split->high_scale / (2 * CODE_QUERY_MAX);
	*high_inverse = 1 / split->high_scale;
	*low_inverse = 1 / split->low_scale;
	if (!(*low_inverse <= 3.4e38f))
		*high_inverse = *low_inverse = 0;
}

/* Sixteen partial sums folded in one order. */
static inline float
fold_lanes(float lanes[16])
{
	for (int width = 8; width > 0; width /= 2)
		for (int i = 0; i < width; i++)
			lanes[i] += lanes[i + width];
	return lanes[0];
}

extern const Kernels kernels_plain;
#ifdef __x86_64__
extern const Kernels kernels_avx2;
extern Split split_avx2(const float *vector, uint32_t len, int8_t *high, int8_t *low);
extern void numbers_avx2(const uint8_t *codes, const CodeParams *params, uint32_t len, float *out);
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx512vnni;
#endif

/*
 * The best of this CPU; VECTRON_CPU=plain|avx2|avx512 in the environment asks
 * for less.  avx512 is without VNNI.
 */
extern const Kernels *kernels_choose(void);

/* The row to ask for while row r is summed. */
#define KERNEL_NEXT(rows, n, r) ((rows)[(r) + 4 < (n) ? (r) + 4 : (n) - 1])

/* By name; NULL when there is none or this CPU cannot run it.  For tests. */
extern const Kernels *kernels_by_name(const char *name);

#endif							/* HNSW_KERNELS_H */
