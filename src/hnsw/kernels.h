/*-------------------------------------------------------------------------
 *
 * kernels.h
 *	  Private to hnsw: one query against many rows at once.
 *
 * A kernel compares a query with n rows anywhere in memory, four at a time so
 * that the query's registers are shared, and asks for the next four while it
 * works.  Results order neighbours while walking; what callers get is computed
 * by vec_distance() in the end.  So the float kernels may round as they like;
 * the code kernel adds integers and gives the same on every CPU.
 *
 * Rows of floats are padded with zeros to a multiple of 16, rows of codes may be
 * followed by anything up to a multiple of 64: the query has zeros there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_KERNELS_H
#define HNSW_KERNELS_H

#include <stdint.h>

/* Parts of a query have seven bits, so that AVX2's 16-bit sums cannot overflow. */
#define CODE_QUERY_MAX 63

/* out[i] = sum over dim floats, a multiple of 16. */
typedef void (*FloatKernel) (const float *query, const uint8_t *const *rows, uint32_t n,
							 uint32_t dim, float *out);

/* out[i] = high_scale * sum(high * code) + low_scale * sum(low * code), over len bytes */
typedef struct CodeQuery
{
	const int8_t *high;
	const int8_t *low;
	float		high_scale;
	float		low_scale;
} CodeQuery;

typedef void (*CodeKernel) (const CodeQuery *query, const uint8_t *const *rows, uint32_t n,
							uint32_t len, float *out);

typedef struct Kernels
{
	const char *name;
	FloatKernel l2;
	FloatKernel dot;
	FloatKernel l1;
	CodeKernel	code;
} Kernels;

extern const Kernels kernels_plain;
#ifdef __x86_64__
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

/*
 * The best of this CPU; VECTRON_CPU=plain|avx2|avx512 in the environment asks
 * for less.
 */
extern const Kernels *kernels_choose(void);

/* By name; NULL when there is none or this CPU cannot run it.  For tests. */
extern const Kernels *kernels_by_name(const char *name);

#endif							/* HNSW_KERNELS_H */
