/*-------------------------------------------------------------------------
 *
 * elements.h
 *	  What the types vector and halfvec have in common: lists of numbers, as text,
 *	  as arrays, computed with, compared, and added up.
 *
 * A list is handed over as floats and its length; each type keeps it in its own
 * way, and says how in its ElementType.  A type's SQL functions are made by the
 * macros below.  sparsevec, which is no list, shares checks, typmod and arrays.
 * Formats and error texts are pgvector's; drivers and applications key on them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_ELEMENTS_H
#define VECTRON_ELEMENTS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"

#include "vec/vec.h"

typedef struct ElementType
{
	const char *name;			/* in errors */
	float		limit;			/* numbers from here on do not fit; infinity = all fit */
	int			max_dim;

	/*
	 * The floats that a value stands for; *to_free is set when they are not in the
	 * datum itself.  And a value of floats, palloc'd; one that has grown too large is
	 * an error.  NULL where values are no lists.
	 */
	const float *(*floats) (Datum value, int *dim, Pointer *to_free);
	Datum		(*make) (const float *x, int dim);

	bool		no_zeros;		/* a number so small that it is read as zero is out of range */
} ElementType;

extern const ElementType vector_elements;
extern const ElementType halfvec_elements;
extern const ElementType bit_elements;	/* PostgreSQL's type, no list: name and limit */

/* What an index's vectors are to SQL. */
extern const ElementType *elements_type(VecElement element);

/* Errors of bad input. */
extern void elements_check_dim(const ElementType *type, int dim);
extern void elements_check_same_dim(const ElementType *type, int a, int b);
extern void elements_check_typmod(int32 typmod, int dim);
extern void elements_check(const ElementType *type, float value);

/* Of two bit strings (bits.c). */
extern void bits_check_same_length(int a, int b);

/* Pieces of a text format.  read_number leaves *p behind the number and the space after it. */
extern const char *elements_skip_space(const char *p);
extern float elements_read_number(const ElementType *type, const char *text, const char **p);
extern void elements_syntax_error(const ElementType *type, const char *text, const char *detail) pg_attribute_noreturn();

/* The numbers of an array, palloc'd and checked. */
extern float *elements_of_array(const ElementType *type, ArrayType *array, int32 typmod, int *dim);

/* SQL functions of a type: text, typmod, arrays (elements.c) */
extern Datum elements_in(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_out(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_typmod_in(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_from_array(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_to_array(FunctionCallInfo fcinfo, const ElementType *type);

/* (elements_ops.c) */
extern Datum elements_l2_distance(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_l2_squared(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_inner_product(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_negative_inner_product(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_cosine_distance(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_l1_distance(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_spherical_distance(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_dims(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_norm(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_normalize(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_add(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_sub(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_mul(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_concat(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_quantize(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_subvector(FunctionCallInfo fcinfo, const ElementType *type);
extern int	elements_order(FunctionCallInfo fcinfo, const ElementType *type);

/* avg, whose state anybody may hand over: {count, sums ...} (elements_agg.c) */
extern Datum elements_accum(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_combine(FunctionCallInfo fcinfo, const ElementType *type);
extern Datum elements_avg(FunctionCallInfo fcinfo, const ElementType *type);

/* An SQL function that is one of these for a type. */
#define ELEMENTS_FUNCTION(name, common, type) \
	PG_FUNCTION_INFO_V1(name); \
	Datum name(PG_FUNCTION_ARGS) { return common(fcinfo, &(type)); }

/* The comparisons of a type, by the order of their two arguments: negative, 0 or positive. */
#define ELEMENTS_COMPARISONS(prefix, order) \
	ELEMENTS_COMPARISON(prefix##_lt, PG_RETURN_BOOL((order) < 0)) \
	ELEMENTS_COMPARISON(prefix##_le, PG_RETURN_BOOL((order) <= 0)) \
	ELEMENTS_COMPARISON(prefix##_eq, PG_RETURN_BOOL((order) == 0)) \
	ELEMENTS_COMPARISON(prefix##_ne, PG_RETURN_BOOL((order) != 0)) \
	ELEMENTS_COMPARISON(prefix##_ge, PG_RETURN_BOOL((order) >= 0)) \
	ELEMENTS_COMPARISON(prefix##_gt, PG_RETURN_BOOL((order) > 0)) \
	ELEMENTS_COMPARISON(prefix##_cmp, PG_RETURN_INT32(order))
#define ELEMENTS_COMPARISON(name, answer) \
	PG_FUNCTION_INFO_V1(name); \
	Datum name(PG_FUNCTION_ARGS) { answer; }

#endif							/* VECTRON_ELEMENTS_H */
