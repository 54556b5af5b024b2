/*-------------------------------------------------------------------------
 *
 * query.h
 *	  Private to hnsw: a vector made ready to be compared with many rows.
 *
 * Scores are floats that order as the metric does, smaller is nearer: squared
 * L2, minus the inner product, minus the cosine, L1; of bits the distance.  On codes they are those
 * of the numbers the codes stand for; norms are taken from the codes too, so
 * that rounding does not shift one against the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_QUERY_H
#define HNSW_QUERY_H

#include "hnsw/graph.h"

/* One block of memory, aligned; made once for a graph's dimensions. */
typedef struct Query
{
	const float *vec;			/* dim16 floats, its own or those of a row; of length 1 for cosine; beyond offset for L2 on codes */
	const uint8_t *bits;		/* or vec_row bytes, its own or those of a row */
	float	   *own;
	int8_t	   *high;			/* dim64 bytes each: the query in two parts of 7 bits */
	int8_t	   *low;

	float		high_scale;		/* number = high_scale * high + low_scale * low + offset */
	float		low_scale;
	float		sum;			/* of the numbers; L2 on codes: of what they are beyond offset */
	float		norm;			/* squared, alike */
	float		inv_norm;		/* cosine: what the row's own 1 / norm is multiplied with */
	float		offset;			/* of a query made from codes, or for L2 on codes */
} Query;

extern void query_init(const Hnsw *h, Query *query);
extern void query_free(Query *query);
extern size_t query_bytes(const Hnsw *h);	/* what it takes */

/* From floats or bits, unaligned. */
extern void query_set(const Hnsw *h, Query *query, const void *vector);

/* From a slot of the graph: the vector its row stands for, which may be read there. */
extern void query_set_slot(const Hnsw *h, Query *query, uint32_t slot);

/* scores[i] of rows[i], the row of slots[i]. */
extern void query_score(const Hnsw *h, const Query *query, const uint32_t *slots,
						const uint8_t *const *rows, uint32_t n, float *scores);

/*
 * How far a score by codes may be off, as good as always.  Rounding moves each
 * number of a row by a part of the step between codes, in no direction; four
 * times the deviation of their sum is allowed for.
 */
extern float query_error(const Hnsw *h, const Query *query, uint32_t slot, float score);

/* The codes of a vector, with their parameters. */
extern void query_encode(const Hnsw *h, const float *vector, uint8_t *codes);

#endif							/* HNSW_QUERY_H */
