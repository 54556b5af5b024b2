/*-------------------------------------------------------------------------
 *
 * elements_agg.c
 *	  avg of lists of numbers; sum is made of elements_add().
 *
 * avg keeps a float8 array {count, sum of element 1, sum of element 2, ...}, so
 * partial aggregates combine; {0} is the state before the first row.  Anybody
 * may call these functions, with any array: the state is checked like input.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/float.h"

#include "elements.h"

static float8 *
state_of(ArrayType *array, const ElementType *type, const char *caller, int *n)
{
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] < 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != FLOAT8OID)
		elog(ERROR, "%s_%s: expected state array", type->name, caller);
	*n = ARR_DIMS(array)[0];
	return (float8 *) ARR_DATA_PTR(array);
}

static ArrayType *
state_make(const float8 *values, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * n);
	ArrayType  *result;

	for (int i = 0; i < n; i++)
		elements[i] = Float8GetDatum(values[i]);
	result = construct_array(elements, n, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	pfree(elements);
	return result;
}

static void
check_state_dim(int have, int want)
{
	if (have != want)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", have, want)));
}

static float8
checked_sum(float8 a, float8 b)
{
	float8		sum = a + b;

	if (isinf(sum))
		float_overflow_error();
	return sum;
}

Datum
elements_accum(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			n;
	float8	   *state = state_of(PG_GETARG_ARRAYTYPE_P(0), type, "accum", &n);
	int			dim;
	Pointer		to_free;
	const float *x = type->floats(PG_GETARG_DATUM(1), &dim, &to_free);
	float8	   *next = palloc(sizeof(float8) * (dim + 1));

	if (n > 1)
		check_state_dim(n - 1, dim);
	next[0] = state[0] + 1;
	for (int i = 0; i < dim; i++)
		next[i + 1] = n > 1 ? checked_sum(state[i + 1], x[i]) : x[i];
	PG_RETURN_ARRAYTYPE_P(state_make(next, dim + 1));
}

Datum
elements_combine(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			na;
	int			nb;
	float8	   *a = state_of(PG_GETARG_ARRAYTYPE_P(0), type, "combine", &na);
	float8	   *b = state_of(PG_GETARG_ARRAYTYPE_P(1), type, "combine", &nb);
	int			n = na > 1 ? na : nb;
	float8	   *sum;

	if (n > 1)
		elements_check_dim(type, n - 1);
	if (na > 1 && nb > 1)
		check_state_dim(na - 1, nb - 1);
	sum = palloc(sizeof(float8) * n);
	sum[0] = a[0] + b[0];
	for (int i = 1; i < n; i++)
		sum[i] = na == 1 ? b[i] : nb == 1 ? a[i] : checked_sum(a[i], b[i]);
	PG_RETURN_ARRAYTYPE_P(state_make(sum, n));
}

/* Of no row it is NULL. */
Datum
elements_avg(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			n;
	float8	   *state = state_of(PG_GETARG_ARRAYTYPE_P(0), type, "avg", &n);
	float	   *x;

	if (state[0] == 0)
		PG_RETURN_NULL();
	elements_check_dim(type, n - 1);
	x = palloc(sizeof(float) * (n - 1));
	for (int i = 0; i < n - 1; i++)
	{
		x[i] = (float) (state[i + 1] / state[0]);
		elements_check(type, x[i]);
	}
	return type->make(x, n - 1);
}
