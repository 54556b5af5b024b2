/*-------------------------------------------------------------------------
 *
 * vector_cast.c
 *	  vector from and to arrays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "elements.h"
#include "vector.h"

PG_FUNCTION_INFO_V1(array_to_vector);
PG_FUNCTION_INFO_V1(vector_to_float4);

Datum
array_to_vector(PG_FUNCTION_ARGS)
{
	int			dim;
	float	   *x = elements_of_array(&vector_elements, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_INT32(1), &dim);
	Vector	   *result = vector_of(x, dim);

	pfree(x);
	PG_RETURN_VECTOR(result);
}

Datum
vector_to_float4(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);

	PG_RETURN_ARRAYTYPE_P(elements_to_array(v->x, v->dim));
}
