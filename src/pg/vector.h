/*-------------------------------------------------------------------------
 *
 * vector.h
 *	  The SQL type vector, laid out as pgvector has it, so that values move
 *	  between the two byte for byte.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_VECTOR_H
#define VECTRON_VECTOR_H

#include "postgres.h"

#include "fmgr.h"

#include "vec/vec.h"

typedef struct Vector
{
	int32		vl_len_;		/* varlena header */
	int16		dim;			/* 1..VEC_MAX_DIM */
	int16		unused;			/* 0 */
	float		x[FLEXIBLE_ARRAY_MEMBER];
} Vector;

#define VECTOR_SIZE(dim) (offsetof(Vector, x) + sizeof(float) * (dim))
#define DatumGetVector(d) ((Vector *) PG_DETOAST_DATUM(d))
#define PG_GETARG_VECTOR(i) DatumGetVector(PG_GETARG_DATUM(i))
#define PG_RETURN_VECTOR(v) PG_RETURN_POINTER(v)

/* palloc'd: of zeros, of numbers. */
extern Vector *vector_new(int dim);
extern Vector *vector_of(const float *x, int dim);

#endif							/* VECTRON_VECTOR_H */
