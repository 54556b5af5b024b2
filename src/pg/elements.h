/*-------------------------------------------------------------------------
 *
 * elements.h
 *	  What the types vector and halfvec have in common: lists of numbers, as text,
 *	  as arrays, and added up.
 *
 * A list is handed over as floats, palloc'd, and its length; each type keeps it in
 * its own way.  Formats and error texts are pgvector's; drivers and applications
 * key on them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_ELEMENTS_H
#define VECTRON_ELEMENTS_H

#include "postgres.h"

#include "utils/array.h"

#include "vec/vec.h"

typedef struct ElementType
{
	const char *name;			/* in errors */
	float		limit;			/* numbers from here on do not fit; infinity = all fit */
} ElementType;

extern const ElementType vector_elements;
extern const ElementType halfvec_elements;

/* Errors of bad input. */
extern void elements_check_dim(const ElementType *type, int dim);
extern void elements_check_same_dim(const ElementType *type, int a, int b);
extern void elements_check_typmod(int32 typmod, int dim);
extern void elements_check(const ElementType *type, float value);

extern int32 elements_typmod(const ElementType *type, ArrayType *words);
extern float *elements_of_text(const ElementType *type, const char *text, int32 typmod, int *dim);
extern char *elements_to_text(const float *x, int dim);
extern float *elements_of_array(const ElementType *type, ArrayType *array, int32 typmod, int *dim);
extern ArrayType *elements_to_array(const float *x, int dim);

/* The state of avg, which anybody may hand over: {count, sums ...}. */
extern ArrayType *elements_accum(const char *caller, ArrayType *state, const float *x, int dim);
extern ArrayType *elements_combine(const ElementType *type, const char *caller, ArrayType *a, ArrayType *b);
extern float *elements_avg(const ElementType *type, const char *caller, ArrayType *state, int *dim);	/* NULL: of none */

/* Where a part begins and how many it has: start, from 1, and count as they were asked for. */
extern int	elements_part(const ElementType *type, int dim, int32 start, int32 count, int *first);

#endif							/* VECTRON_ELEMENTS_H */
