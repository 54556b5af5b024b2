/*-------------------------------------------------------------------------
 *
 * halfvec_ops.c
 *	  Distances, arithmetic, comparison and sums of halfvecs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/varbit.h"

#include "elements.h"
#include "halfvec.h"

PG_FUNCTION_INFO_V1(halfvec_l2_distance);
PG_FUNCTION_INFO_V1(halfvec_l2_squared_distance);
PG_FUNCTION_INFO_V1(halfvec_inner_product);
PG_FUNCTION_INFO_V1(halfvec_negative_inner_product);
PG_FUNCTION_INFO_V1(halfvec_cosine_distance);
PG_FUNCTION_INFO_V1(halfvec_spherical_distance);
PG_FUNCTION_INFO_V1(halfvec_l1_distance);
PG_FUNCTION_INFO_V1(halfvec_vector_dims);
PG_FUNCTION_INFO_V1(halfvec_l2_norm);
PG_FUNCTION_INFO_V1(halfvec_l2_normalize);
PG_FUNCTION_INFO_V1(halfvec_add);
PG_FUNCTION_INFO_V1(halfvec_sub);
PG_FUNCTION_INFO_V1(halfvec_mul);
PG_FUNCTION_INFO_V1(halfvec_concat);
PG_FUNCTION_INFO_V1(halfvec_binary_quantize);
PG_FUNCTION_INFO_V1(halfvec_subvector);
PG_FUNCTION_INFO_V1(halfvec_lt);
PG_FUNCTION_INFO_V1(halfvec_le);
PG_FUNCTION_INFO_V1(halfvec_eq);
PG_FUNCTION_INFO_V1(halfvec_ne);
PG_FUNCTION_INFO_V1(halfvec_ge);
PG_FUNCTION_INFO_V1(halfvec_gt);
PG_FUNCTION_INFO_V1(halfvec_cmp);
PG_FUNCTION_INFO_V1(halfvec_accum);
PG_FUNCTION_INFO_V1(halfvec_combine);
PG_FUNCTION_INFO_V1(halfvec_avg);

/* Two arguments of as many dimensions, as floats. */
typedef struct Pair
{
	float	   *a;
	float	   *b;
	int			dim;
} Pair;

static Pair
pair_of(FunctionCallInfo fcinfo)
{
	HalfVector *a = PG_GETARG_HALFVEC(0);
	HalfVector *b = PG_GETARG_HALFVEC(1);
	Pair		pair;

	elements_check_same_dim(&halfvec_elements, a->dim, b->dim);
	pair.a = halfvec_floats(a);
	pair.b = halfvec_floats(b);
	pair.dim = a->dim;
	return pair;
}

static double
distance_of(FunctionCallInfo fcinfo, VecMetric metric)
{
	Pair		pair = pair_of(fcinfo);

	return vec_distance(metric, pair.a, pair.b, pair.dim);
}

Datum
halfvec_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_L2));
}

Datum
halfvec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	Pair		pair = pair_of(fcinfo);

	PG_RETURN_FLOAT8((double) vec_l2_squared(pair.a, pair.b, pair.dim));
}

Datum
halfvec_inner_product(PG_FUNCTION_ARGS)
{
	Pair		pair = pair_of(fcinfo);

	PG_RETURN_FLOAT8((double) vec_dot(pair.a, pair.b, pair.dim));
}

Datum
halfvec_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_IP));
}

Datum
halfvec_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_COSINE));
}

Datum
halfvec_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance_of(fcinfo, VEC_L1));
}

/* Angular distance of unit vectors, as a share of a half turn. */
Datum
halfvec_spherical_distance(PG_FUNCTION_ARGS)
{
	Pair		pair = pair_of(fcinfo);
	double		dot = (double) vec_dot(pair.a, pair.b, pair.dim);

	PG_RETURN_FLOAT8(acos(Max(-1.0, Min(1.0, dot))) / M_PI);
}

Datum
halfvec_vector_dims(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_HALFVEC(0)->dim);
}

Datum
halfvec_l2_norm(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);

	PG_RETURN_FLOAT8(vec_norm(halfvec_floats(v), v->dim));
}

Datum
halfvec_l2_normalize(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);
	float	   *x = halfvec_floats(v);

	/* A zero vector stays one. */
	vec_normalize(x, x, v->dim);
	PG_RETURN_HALFVEC(halfvec_of(x, v->dim));
}

Datum
halfvec_add(PG_FUNCTION_ARGS)
{
	Pair		pair = pair_of(fcinfo);

	for (int i = 0; i < pair.dim; i++)
		pair.a[i] += pair.b[i];
	PG_RETURN_HALFVEC(halfvec_of(pair.a, pair.dim));
}

Datum
halfvec_sub(PG_FUNCTION_ARGS)
{
	Pair		pair = pair_of(fcinfo);

	for (int i = 0; i < pair.dim; i++)
		pair.a[i] -= pair.b[i];
	PG_RETURN_HALFVEC(halfvec_of(pair.a, pair.dim));
}

/* Element by element; a product too small for a half is an error, not a zero. */
Datum
halfvec_mul(PG_FUNCTION_ARGS)
{
	Pair		pair = pair_of(fcinfo);
	HalfVector *result;

	for (int i = 0; i < pair.dim; i++)
		pair.a[i] *= pair.b[i];
	result = halfvec_of(pair.a, pair.dim);
	for (int i = 0; i < pair.dim; i++)
		if ((result->x[i] & 0x7FFF) == 0 && pair.a[i] != 0)
			float_underflow_error();
	PG_RETURN_HALFVEC(result);
}

Datum
halfvec_concat(PG_FUNCTION_ARGS)
{
	HalfVector *a = PG_GETARG_HALFVEC(0);
	HalfVector *b = PG_GETARG_HALFVEC(1);
	HalfVector *result;

	elements_check_dim(&halfvec_elements, a->dim + b->dim);
	result = halfvec_new(a->dim + b->dim);
	memcpy(result->x, a->x, sizeof(VecHalf) * a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(VecHalf) * b->dim);
	PG_RETURN_HALFVEC(result);
}

/* Halves in order: their bits are sign and magnitude. */
static int
rank_of(VecHalf half)
{
	int			magnitude = half & 0x7FFF;

	return half & 0x8000 ? -magnitude : magnitude;
}

/* A bit for each element: is it positive? */
Datum
halfvec_binary_quantize(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);
	Size		size = VARBITTOTALLEN(v->dim);
	VarBit	   *result = palloc0(size);

	SET_VARSIZE(result, size);
	VARBITLEN(result) = v->dim;
	for (int i = 0; i < v->dim; i++)
		if (rank_of(v->x[i]) > 0)
			VARBITS(result)[i / 8] |= (bits8) (0x80 >> (i % 8));
	PG_RETURN_VARBIT_P(result);
}

/* Elements start .. start + count - 1, counted from 1, as far as there are any. */
Datum
halfvec_subvector(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);
	int			first;
	int			n = elements_part(&halfvec_elements, v->dim, PG_GETARG_INT32(1), PG_GETARG_INT32(2), &first);
	HalfVector *result = halfvec_new(n);

	memcpy(result->x, v->x + first, sizeof(VecHalf) * n);
	PG_RETURN_HALFVEC(result);
}

/* Element by element, then the shorter first. */
static int
order_of(const HalfVector *a, const HalfVector *b)
{
	int			n = Min(a->dim, b->dim);

	for (int i = 0; i < n; i++)
	{
		int			ra = rank_of(a->x[i]);
		int			rb = rank_of(b->x[i]);

		if (ra != rb)
			return ra < rb ? -1 : 1;
	}
	return a->dim < b->dim ? -1 : a->dim > b->dim;
}

/* A sort calls this in memory that lives as long as the sort: leave nothing there. */
static int
compare(FunctionCallInfo fcinfo)
{
	HalfVector *a = PG_GETARG_HALFVEC(0);
	HalfVector *b = PG_GETARG_HALFVEC(1);
	int			order = order_of(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

Datum
halfvec_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
halfvec_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
halfvec_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

Datum
halfvec_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

Datum
halfvec_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
halfvec_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

Datum
halfvec_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

/* avg keeps what avg(vector) keeps; sum keeps a halfvec. */
Datum
halfvec_accum(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(1);

	PG_RETURN_ARRAYTYPE_P(elements_accum("halfvec_accum", PG_GETARG_ARRAYTYPE_P(0), halfvec_floats(v), v->dim));
}

Datum
halfvec_combine(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(elements_combine(&halfvec_elements, "halfvec_combine", PG_GETARG_ARRAYTYPE_P(0),
										   PG_GETARG_ARRAYTYPE_P(1)));
}

Datum
halfvec_avg(PG_FUNCTION_ARGS)
{
	int			dim;
	float	   *x = elements_avg(&halfvec_elements, "halfvec_avg", PG_GETARG_ARRAYTYPE_P(0), &dim);

	if (!x)
		PG_RETURN_NULL();
	PG_RETURN_HALFVEC(halfvec_of(x, dim));
}
