/*-------------------------------------------------------------------------
 *
 * halfvec.h
 *	  The SQL type halfvec: a vector of halves, IEEE 754 binary16, laid out as
 *	  pgvector has it.
 *
 * A half stands for the float of the same value.  Whatever is computed, is computed
 * with those floats; only what is kept as a halfvec is rounded.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_HALFVEC_H
#define VECTRON_HALFVEC_H

#include "postgres.h"

#include "fmgr.h"

#include "vec/vec.h"

typedef struct HalfVector
{
	int32		vl_len_;		/* varlena header */
	int16		dim;			/* 1..VEC_MAX_DIM */
	int16		unused;			/* 0 */
	VecHalf		x[FLEXIBLE_ARRAY_MEMBER];
} HalfVector;

#define HALFVEC_SIZE(dim) (offsetof(HalfVector, x) + sizeof(VecHalf) * (dim))
#define DatumGetHalfVector(d) ((HalfVector *) PG_DETOAST_DATUM(d))
#define PG_GETARG_HALFVEC(i) DatumGetHalfVector(PG_GETARG_DATUM(i))
#define PG_RETURN_HALFVEC(v) PG_RETURN_POINTER(v)

/* palloc'd: of zeros; of numbers that fit; and the floats it stands for. */
extern HalfVector *halfvec_new(int dim);
extern HalfVector *halfvec_of(const float *x, int dim);
extern float *halfvec_floats(const HalfVector *v);

#endif							/* VECTRON_HALFVEC_H */
