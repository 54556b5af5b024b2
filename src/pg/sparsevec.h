/*-------------------------------------------------------------------------
 *
 * sparsevec.h
 *	  The SQL type sparsevec: a vector without its zeros, laid out as pgvector has
 *	  it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_SPARSEVEC_H
#define VECTRON_SPARSEVEC_H

#include "postgres.h"

#include "fmgr.h"

#include "elements.h"

#define SPARSEVEC_MAX_DIM 1000000000
#define SPARSEVEC_MAX_KEPT 16000

typedef struct SparseVector
{
	int32		vl_len_;		/* varlena header */
	int32		dim;			/* 1..SPARSEVEC_MAX_DIM */
	int32		n;				/* that are not zero, up to SPARSEVEC_MAX_KEPT */
	int32		unused;			/* 0 */
	int32		index[FLEXIBLE_ARRAY_MEMBER];	/* n of them, from 0, ascending; then n floats */
} SparseVector;

#define SPARSEVEC_SIZE(n) (offsetof(SparseVector, index) + (sizeof(int32) + sizeof(float)) * (n))
#define SPARSEVEC_VALUES(v) ((float *) ((v)->index + (v)->n))
#define DatumGetSparseVector(d) ((SparseVector *) PG_DETOAST_DATUM(d))
#define PG_GETARG_SPARSEVEC(i) DatumGetSparseVector(PG_GETARG_DATUM(i))
#define PG_RETURN_SPARSEVEC(v) PG_RETURN_POINTER(v)

extern const ElementType sparsevec_elements;

/* palloc'd: with room for n elements; of a list, without its zeros. */
extern SparseVector *sparsevec_new(int dim, int n);
extern SparseVector *sparsevec_of(const float *x, int dim);

#endif							/* VECTRON_SPARSEVEC_H */
