/*-------------------------------------------------------------------------
 *
 * elements_ops.c
 *	  Distances, arithmetic and comparison of lists of numbers, whatever they are
 *	  kept in: what vector and halfvec have in common.
 *
 * Whatever is computed, is computed with floats.  A type's own functions name one
 * of these and itself (ELEMENTS_FUNCTION).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "elements.h"

/* Numbers of an argument. */
typedef struct Numbers
{
	const float *x;
	int			dim;
	Pointer		to_free;
} Numbers;

/* Two arguments of as many dimensions. */
typedef struct Pair
{
	const float *a;
	const float *b;
	int			dim;
} Pair;

static Numbers
numbers_of(FunctionCallInfo fcinfo, int i, const ElementType *type)
{
	Numbers		numbers;

	numbers.x = type->floats(PG_GETARG_DATUM(i), &numbers.dim, &numbers.to_free);
	return numbers;
}

static Pair
pair_of(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		a = numbers_of(fcinfo, 0, type);
	Numbers		b = numbers_of(fcinfo, 1, type);

	elements_check_same_dim(type, a.dim, b.dim);
	return (Pair) {a.x, b.x, a.dim};
}

static Datum
distance_of(FunctionCallInfo fcinfo, const ElementType *type, VecMetric metric)
{
	Pair		pair = pair_of(fcinfo, type);

	PG_RETURN_FLOAT8(vec_distance(metric, pair.a, pair.b, pair.dim));
}

Datum
elements_l2_distance(FunctionCallInfo fcinfo, const ElementType *type)
{
	return distance_of(fcinfo, type, VEC_L2);
}

Datum
elements_l2_squared(FunctionCallInfo fcinfo, const ElementType *type)
{
	Pair		pair = pair_of(fcinfo, type);

	PG_RETURN_FLOAT8((double) vec_l2_squared(pair.a, pair.b, pair.dim));
}

Datum
elements_inner_product(FunctionCallInfo fcinfo, const ElementType *type)
{
	Pair		pair = pair_of(fcinfo, type);

	PG_RETURN_FLOAT8((double) vec_dot(pair.a, pair.b, pair.dim));
}

Datum
elements_negative_inner_product(FunctionCallInfo fcinfo, const ElementType *type)
{
	return distance_of(fcinfo, type, VEC_IP);
}

Datum
elements_cosine_distance(FunctionCallInfo fcinfo, const ElementType *type)
{
	return distance_of(fcinfo, type, VEC_COSINE);
}

Datum
elements_l1_distance(FunctionCallInfo fcinfo, const ElementType *type)
{
	return distance_of(fcinfo, type, VEC_L1);
}

/* Angular distance of unit vectors, as a share of a half turn. */
Datum
elements_spherical_distance(FunctionCallInfo fcinfo, const ElementType *type)
{
	Pair		pair = pair_of(fcinfo, type);
	double		dot = (double) vec_dot(pair.a, pair.b, pair.dim);

	if (dot > 1)
		dot = 1;
	else if (dot < -1)
		dot = -1;
	PG_RETURN_FLOAT8(acos(dot) / M_PI);
}

Datum
elements_dims(FunctionCallInfo fcinfo, const ElementType *type)
{
	PG_RETURN_INT32(numbers_of(fcinfo, 0, type).dim);
}

Datum
elements_norm(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		v = numbers_of(fcinfo, 0, type);

	PG_RETURN_FLOAT8(vec_norm(v.x, v.dim));
}

/* A value of numbers that were computed, and may have grown too large. */
static Datum
computed(const ElementType *type, float *x, int dim)
{
	Datum		value;

	for (int i = 0; i < dim; i++)
		if (isinf(x[i]))
			float_overflow_error();
	value = type->make(x, dim);
	pfree(x);
	return value;
}

/* A zero vector stays one. */
Datum
elements_normalize(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		v = numbers_of(fcinfo, 0, type);
	float	   *x = palloc(sizeof(float) * v.dim);

	vec_normalize(x, v.x, v.dim);
	return computed(type, x, v.dim);
}

Datum
elements_add(FunctionCallInfo fcinfo, const ElementType *type)
{
	Pair		pair = pair_of(fcinfo, type);
	float	   *x = palloc(sizeof(float) * pair.dim);

	for (int i = 0; i < pair.dim; i++)
		x[i] = pair.a[i] + pair.b[i];
	return computed(type, x, pair.dim);
}

Datum
elements_sub(FunctionCallInfo fcinfo, const ElementType *type)
{
	Pair		pair = pair_of(fcinfo, type);
	float	   *x = palloc(sizeof(float) * pair.dim);

	for (int i = 0; i < pair.dim; i++)
		x[i] = pair.a[i] - pair.b[i];
	return computed(type, x, pair.dim);
}

/* Element by element; a product that is too small to be kept is an error, not a zero. */
Datum
elements_mul(FunctionCallInfo fcinfo, const ElementType *type)
{
	Pair		pair = pair_of(fcinfo, type);
	float	   *x = palloc(sizeof(float) * pair.dim);
	Datum		value;
	const float *kept;
	int			dim;
	Pointer		to_free;

	for (int i = 0; i < pair.dim; i++)
		x[i] = pair.a[i] * pair.b[i];
	value = computed(type, x, pair.dim);
	kept = type->floats(value, &dim, &to_free);
	for (int i = 0; i < dim; i++)
		if (kept[i] == 0 && pair.a[i] != 0 && pair.b[i] != 0)
			float_underflow_error();
	return value;
}

Datum
elements_concat(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		a = numbers_of(fcinfo, 0, type);
	Numbers		b = numbers_of(fcinfo, 1, type);
	float	   *x;

	elements_check_dim(type, a.dim + b.dim);
	x = palloc(sizeof(float) * (a.dim + b.dim));
	memcpy(x, a.x, sizeof(float) * a.dim);
	memcpy(x + a.dim, b.x, sizeof(float) * b.dim);
	return computed(type, x, a.dim + b.dim);
}

/* A bit for each element: is it positive? */
Datum
elements_quantize(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		v = numbers_of(fcinfo, 0, type);
	Size		size = VARBITTOTALLEN(v.dim);
	VarBit	   *result = palloc0(size);

	SET_VARSIZE(result, size);
	VARBITLEN(result) = v.dim;
	for (int i = 0; i < v.dim; i++)
		if (v.x[i] > 0)
			VARBITS(result)[i / 8] |= (bits8) (0x80 >> (i % 8));
	PG_RETURN_VARBIT_P(result);
}

/* Elements start .. start + count - 1, counted from 1, as far as there are any. */
Datum
elements_subvector(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		v = numbers_of(fcinfo, 0, type);
	int32		start = PG_GETARG_INT32(1);
	int32		count = PG_GETARG_INT32(2);
	int64		from = Max(start, 1);
	int64		after = Min((int64) start + count, (int64) v.dim + 1);

	if (count < 1 || after <= from)
		elements_check_dim(type, 0);
	return type->make(v.x + from - 1, (int) (after - from));
}

/*
 * Element by element, then the shorter first.  A sort calls this in memory that
 * lives as long as the sort: leave nothing there.
 */
int
elements_order(FunctionCallInfo fcinfo, const ElementType *type)
{
	Numbers		a = numbers_of(fcinfo, 0, type);
	Numbers		b = numbers_of(fcinfo, 1, type);
	int			n = Min(a.dim, b.dim);
	int			order = a.dim < b.dim ? -1 : a.dim > b.dim;

	for (int i = 0; i < n; i++)
		if (a.x[i] != b.x[i])
		{
			order = a.x[i] < b.x[i] ? -1 : 1;
			break;
		}
	if (a.to_free)
		pfree(a.to_free);
	if (b.to_free)
		pfree(b.to_free);
	return order;
}
