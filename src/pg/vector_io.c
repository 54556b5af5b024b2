/*-------------------------------------------------------------------------
 *
 * vector_io.c
 *	  The type vector: text, binary, typmod, arrays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"

#include "elements.h"
#include "vector.h"

PG_FUNCTION_INFO_V1(vector_recv);
PG_FUNCTION_INFO_V1(vector_send);
PG_FUNCTION_INFO_V1(vector);

Vector *
vector_new(int dim)
{
	Size		size = VECTOR_SIZE(dim);
	Vector	   *result = palloc0(size);

	SET_VARSIZE(result, size);
	result->dim = (int16) dim;
	return result;
}

Vector *
vector_of(const float *x, int dim)
{
	Vector	   *result = vector_new(dim);

	memcpy(result->x, x, sizeof(float) * dim);
	return result;
}

static const float *
floats(Datum value, int *dim, Pointer *to_free)
{
	Vector	   *v = DatumGetVector(value);

	*to_free = (Pointer) v != DatumGetPointer(value) ? (Pointer) v : NULL;
	*dim = v->dim;
	return v->x;
}

static Datum
make(const float *x, int dim)
{
	PG_RETURN_VECTOR(vector_of(x, dim));
}

const ElementType vector_elements = {"vector", INFINITY, VEC_MAX_DIM, floats, make, false};

ELEMENTS_FUNCTION(vector_in, elements_in, vector_elements)
ELEMENTS_FUNCTION(vector_out, elements_out, vector_elements)
ELEMENTS_FUNCTION(vector_typmod_in, elements_typmod_in, vector_elements)
ELEMENTS_FUNCTION(array_to_vector, elements_from_array, vector_elements)
ELEMENTS_FUNCTION(vector_to_float4, elements_to_array, vector_elements)

/* int16 dim, int16 unused (0), then float4s; all big-endian. */
Datum
vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			dim = (int) pq_getmsgint(buf, sizeof(int16));
	int			unused = (int) pq_getmsgint(buf, sizeof(int16));
	Vector	   *result;

	elements_check_dim(&vector_elements, dim);
	elements_check_typmod(PG_GETARG_INT32(2), dim);
	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected unused to be 0, not %d", unused)));
	result = vector_new(dim);
	for (int i = 0; i < dim; i++)
	{
		result->x[i] = pq_getmsgfloat4(buf);
		elements_check(&vector_elements, result->x[i]);
	}
	PG_RETURN_VECTOR(result);
}

Datum
vector_send(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint16(&buf, (uint16) v->dim);
	pq_sendint16(&buf, (uint16) v->unused);
	for (int i = 0; i < v->dim; i++)
		pq_sendfloat4(&buf, v->x[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* vector(n): the length coercion. */
Datum
vector(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);

	elements_check_typmod(PG_GETARG_INT32(1), v->dim);
	PG_RETURN_VECTOR(v);
}
