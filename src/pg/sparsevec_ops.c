/*-------------------------------------------------------------------------
 *
 * sparsevec_ops.c
 *	  Distances and comparison of sparsevecs: those of the whole vectors, to the
 *	  last bit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"

#include "sparsevec.h"

PG_FUNCTION_INFO_V1(sparsevec_l2_distance);
PG_FUNCTION_INFO_V1(sparsevec_l2_squared_distance);
PG_FUNCTION_INFO_V1(sparsevec_inner_product);
PG_FUNCTION_INFO_V1(sparsevec_negative_inner_product);
PG_FUNCTION_INFO_V1(sparsevec_cosine_distance);
PG_FUNCTION_INFO_V1(sparsevec_l1_distance);
PG_FUNCTION_INFO_V1(sparsevec_l2_norm);
PG_FUNCTION_INFO_V1(sparsevec_l2_normalize);

static VecSparse
sparse_of(const SparseVector *v)
{
	return (VecSparse) {v->index, SPARSEVEC_VALUES(v), (size_t) v->n};
}

/* Two arguments of as many dimensions. */
static void
pair_of(FunctionCallInfo fcinfo, VecSparse *a, VecSparse *b)
{
	SparseVector *x = PG_GETARG_SPARSEVEC(0);
	SparseVector *y = PG_GETARG_SPARSEVEC(1);

	elements_check_same_dim(&sparsevec_elements, x->dim, y->dim);
	*a = sparse_of(x);
	*b = sparse_of(y);
}

static Datum
distance_of(FunctionCallInfo fcinfo, VecMetric metric)
{
	VecSparse	a;
	VecSparse	b;

	pair_of(fcinfo, &a, &b);
	PG_RETURN_FLOAT8(vec_sparse_distance(metric, &a, &b));
}

Datum
sparsevec_l2_distance(PG_FUNCTION_ARGS)
{
	return distance_of(fcinfo, VEC_L2);
}

Datum
sparsevec_l2_squared_distance(PG_FUNCTION_ARGS)
{
	VecSparse	a;
	VecSparse	b;

	pair_of(fcinfo, &a, &b);
	PG_RETURN_FLOAT8((double) vec_sparse_l2_squared(&a, &b));
}

Datum
sparsevec_inner_product(PG_FUNCTION_ARGS)
{
	VecSparse	a;
	VecSparse	b;

	pair_of(fcinfo, &a, &b);
	PG_RETURN_FLOAT8((double) vec_sparse_dot(&a, &b));
}

Datum
sparsevec_negative_inner_product(PG_FUNCTION_ARGS)
{
	return distance_of(fcinfo, VEC_IP);
}

Datum
sparsevec_cosine_distance(PG_FUNCTION_ARGS)
{
	return distance_of(fcinfo, VEC_COSINE);
}

Datum
sparsevec_l1_distance(PG_FUNCTION_ARGS)
{
	return distance_of(fcinfo, VEC_L1);
}

Datum
sparsevec_l2_norm(PG_FUNCTION_ARGS)
{
	SparseVector *v = PG_GETARG_SPARSEVEC(0);

	PG_RETURN_FLOAT8(vec_norm(SPARSEVEC_VALUES(v), v->n));
}

/* A zero vector stays one; what has become too small is no element any more. */
Datum
sparsevec_l2_normalize(PG_FUNCTION_ARGS)
{
	SparseVector *v = PG_GETARG_SPARSEVEC(0);
	float	   *x = palloc(sizeof(float) * Max(v->n, 1));
	SparseVector *result;
	float	   *values;
	int			n = 0;

	vec_normalize(x, SPARSEVEC_VALUES(v), v->n);
	for (int i = 0; i < v->n; i++)
	{
		if (isinf(x[i]))
			float_overflow_error();
		n += x[i] != 0;
	}
	result = sparsevec_new(v->dim, n);
	values = SPARSEVEC_VALUES(result);
	n = 0;
	for (int i = 0; i < v->n; i++)
		if (x[i] != 0)
		{
			result->index[n] = v->index[i];
			values[n++] = x[i];
		}
	pfree(x);
	PG_RETURN_SPARSEVEC(result);
}

/*
 * As the whole vectors: element by element, then the shorter first.  At the first
 * place where they differ one may have a zero; where the shorter has ended, nothing
 * differs any more.
 */
static int
order_of(const SparseVector *a, const SparseVector *b)
{
	const float *x = SPARSEVEC_VALUES(a);
	const float *y = SPARSEVEC_VALUES(b);
	int			both = Min(a->dim, b->dim);

	for (int i = 0, j = 0;; i++, j++)
	{
		int			at = i < a->n ? Min(a->index[i], both) : both;
		int			bt = j < b->n ? Min(b->index[j], both) : both;
		float		xi = at <= bt && at < both ? x[i] : 0;
		float		yj = bt <= at && bt < both ? y[j] : 0;

		if (at == both && bt == both)
			return (a->dim > b->dim) - (a->dim < b->dim);
		if (xi != yj)
			return xi < yj ? -1 : 1;
	}
}

/* A sort calls this in memory that lives as long as the sort: leave nothing there. */
static int
compare(FunctionCallInfo fcinfo)
{
	SparseVector *a = PG_GETARG_SPARSEVEC(0);
	SparseVector *b = PG_GETARG_SPARSEVEC(1);
	int			order = order_of(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

ELEMENTS_COMPARISONS(sparsevec, compare(fcinfo))
