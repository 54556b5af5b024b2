/*-------------------------------------------------------------------------
 *
 * vector_ops.c
 *	  Distances, arithmetic and comparison of vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "elements.h"
#include "vector.h"

PG_FUNCTION_INFO_V1(l2_distance);
PG_FUNCTION_INFO_V1(vector_l2_squared_distance);
PG_FUNCTION_INFO_V1(inner_product);
PG_FUNCTION_INFO_V1(vector_negative_inner_product);
PG_FUNCTION_INFO_V1(cosine_distance);
PG_FUNCTION_INFO_V1(vector_spherical_distance);
PG_FUNCTION_INFO_V1(l1_distance);
PG_FUNCTION_INFO_V1(vector_dims);
PG_FUNCTION_INFO_V1(vector_norm);
PG_FUNCTION_INFO_V1(l2_normalize);
PG_FUNCTION_INFO_V1(vector_add);
PG_FUNCTION_INFO_V1(vector_sub);
PG_FUNCTION_INFO_V1(vector_mul);
PG_FUNCTION_INFO_V1(vector_concat);
PG_FUNCTION_INFO_V1(binary_quantize);
PG_FUNCTION_INFO_V1(subvector);
PG_FUNCTION_INFO_V1(vector_lt);
PG_FUNCTION_INFO_V1(vector_le);
PG_FUNCTION_INFO_V1(vector_eq);
PG_FUNCTION_INFO_V1(vector_ne);
PG_FUNCTION_INFO_V1(vector_ge);
PG_FUNCTION_INFO_V1(vector_gt);
PG_FUNCTION_INFO_V1(vector_cmp);

/* The distance of two arguments, which must have as many dimensions. */
static double
distance_of(FunctionCallInfo fcinfo, VecMetric metric)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	return vec_distance(metric, a->x, b->x, a->dim);
}

Datum
l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_L2));
}

Datum
vector_l2_squared_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	PG_RETURN_FLOAT8((double) vec_l2_squared(a->x, b->x, a->dim));
}

Datum
inner_product(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	PG_RETURN_FLOAT8((double) vec_dot(a->x, b->x, a->dim));
}

Datum
vector_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_IP));
}

Datum
cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_COSINE));
}

Datum
l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_L1));
}

/* Angular distance of unit vectors, as a share of a half turn. */
Datum
vector_spherical_distance(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);
	double		dot;

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	dot = (double) vec_dot(a->x, b->x, a->dim);
	if (dot > 1)
		dot = 1;
	else if (dot < -1)
		dot = -1;
	PG_RETURN_FLOAT8(acos(dot) / M_PI);
}

Datum
vector_dims(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_VECTOR(0)->dim);
}

Datum
vector_norm(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);

	PG_RETURN_FLOAT8(vec_norm(v->x, v->dim));
}

static void
check_overflow(float value)
{
	if (isinf(value))
		float_overflow_error();
}

Datum
l2_normalize(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);
	Vector	   *result = vector_new(v->dim);

	/* A zero vector stays one. */
	vec_normalize(result->x, v->x, v->dim);
	for (int i = 0; i < v->dim; i++)
		check_overflow(result->x[i]);
	PG_RETURN_VECTOR(result);
}

Datum
vector_add(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);
	Vector	   *result;

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	result = vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
	{
		result->x[i] = a->x[i] + b->x[i];
		check_overflow(result->x[i]);
	}
	PG_RETURN_VECTOR(result);
}

Datum
vector_sub(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);
	Vector	   *result;

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	result = vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
	{
		result->x[i] = a->x[i] - b->x[i];
		check_overflow(result->x[i]);
	}
	PG_RETURN_VECTOR(result);
}

/* Element by element. */
Datum
vector_mul(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);
	Vector	   *result;

	elements_check_same_dim(&vector_elements, a->dim, b->dim);
	result = vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
	{
		result->x[i] = a->x[i] * b->x[i];
		check_overflow(result->x[i]);
		if (result->x[i] == 0 && a->x[i] != 0 && b->x[i] != 0)
			float_underflow_error();
	}
	PG_RETURN_VECTOR(result);
}

Datum
vector_concat(PG_FUNCTION_ARGS)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);
	Vector	   *result;

	elements_check_dim(&vector_elements, a->dim + b->dim);
	result = vector_new(a->dim + b->dim);
	memcpy(result->x, a->x, sizeof(float) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(float) * b->dim);
	PG_RETURN_VECTOR(result);
}

/* A bit for each element: is it positive? */
Datum
binary_quantize(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);
	Size		size = VARBITTOTALLEN(v->dim);
	VarBit	   *result = palloc0(size);

	SET_VARSIZE(result, size);
	VARBITLEN(result) = v->dim;
	for (int i = 0; i < v->dim; i++)
		if (v->x[i] > 0)
			VARBITS(result)[i / 8] |= (bits8) (0x80 >> (i % 8));
	PG_RETURN_VARBIT_P(result);
}

/* Elements start .. start + count - 1, counted from 1, as far as there are any. */
Datum
subvector(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);
	int			first;
	int			n = elements_part(&vector_elements, v->dim, PG_GETARG_INT32(1), PG_GETARG_INT32(2), &first);

	PG_RETURN_VECTOR(vector_of(v->x + first, n));
}

/* Element by element, then the shorter first. */
static int
order_of(const Vector *a, const Vector *b)
{
	int			n = Min(a->dim, b->dim);

	for (int i = 0; i < n; i++)
	{
		if (a->x[i] < b->x[i])
			return -1;
		if (a->x[i] > b->x[i])
			return 1;
	}
	return a->dim < b->dim ? -1 : a->dim > b->dim;
}

/* A sort calls this in memory that lives as long as the sort: leave nothing there. */
static int
compare(FunctionCallInfo fcinfo)
{
	Vector	   *a = PG_GETARG_VECTOR(0);
	Vector	   *b = PG_GETARG_VECTOR(1);
	int			order = order_of(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

Datum
vector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
vector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
vector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

Datum
vector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

Datum
vector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
vector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

Datum
vector_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}
