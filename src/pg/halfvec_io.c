/*-------------------------------------------------------------------------
 *
 * halfvec_io.c
 *	  The type halfvec: text, binary, typmod, casts from and to vector and arrays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/float.h"

#include "elements.h"
#include "halfvec.h"
#include "vector.h"

PG_FUNCTION_INFO_V1(halfvec_recv);
PG_FUNCTION_INFO_V1(halfvec_send);
PG_FUNCTION_INFO_V1(halfvec);
PG_FUNCTION_INFO_V1(vector_to_halfvec);
PG_FUNCTION_INFO_V1(halfvec_to_vector);

HalfVector *
halfvec_new(int dim)
{
	Size		size = HALFVEC_SIZE(dim);
	HalfVector *result = palloc0(size);

	SET_VARSIZE(result, size);
	result->dim = (int16) dim;
	return result;
}

/* What comes from outside has been checked; what was computed may have grown too large. */
HalfVector *
halfvec_of(const float *x, int dim)
{
	HalfVector *result = halfvec_new(dim);

	if (!vec_to_half(result->x, x, dim))
		float_overflow_error();
	return result;
}

float *
halfvec_floats(const HalfVector *v)
{
	float	   *x = palloc(sizeof(float) * v->dim);

	vec_from_half(x, v->x, v->dim);
	return x;
}

static const float *
floats(Datum value, int *dim, Pointer *to_free)
{
	HalfVector *v = DatumGetHalfVector(value);
	float	   *x = halfvec_floats(v);

	*to_free = (Pointer) x;
	*dim = v->dim;
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
	return x;
}

static Datum
make(const float *x, int dim)
{
	PG_RETURN_HALFVEC(halfvec_of(x, dim));
}

/* The limit is what is rounded to no finite half: from the middle between the largest and the next. */
const ElementType halfvec_elements = {"halfvec", 65520.0f, VEC_MAX_DIM, floats, make, false};

ELEMENTS_FUNCTION(halfvec_in, elements_in, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_out, elements_out, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_typmod_in, elements_typmod_in, halfvec_elements)
ELEMENTS_FUNCTION(array_to_halfvec, elements_from_array, halfvec_elements)
ELEMENTS_FUNCTION(halfvec_to_float4, elements_to_array, halfvec_elements)

/* int16 dim, int16 unused (0), then the bits of each half; all big-endian. */
Datum
halfvec_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			dim = (int) pq_getmsgint(buf, sizeof(int16));
	int			unused = (int) pq_getmsgint(buf, sizeof(int16));
	HalfVector *result;
	float	   *x;

	elements_check_dim(&halfvec_elements, dim);
	elements_check_typmod(PG_GETARG_INT32(2), dim);
	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected unused to be 0, not %d", unused)));
	result = halfvec_new(dim);
	for (int i = 0; i < dim; i++)
		result->x[i] = (VecHalf) pq_getmsgint(buf, sizeof(VecHalf));
	x = halfvec_floats(result);
	for (int i = 0; i < dim; i++)
		elements_check(&halfvec_elements, x[i]);
	pfree(x);
	PG_RETURN_HALFVEC(result);
}

Datum
halfvec_send(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint16(&buf, (uint16) v->dim);
	pq_sendint16(&buf, (uint16) v->unused);
	for (int i = 0; i < v->dim; i++)
		pq_sendint16(&buf, v->x[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* halfvec(n): the length coercion. */
Datum
halfvec(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);

	elements_check_typmod(PG_GETARG_INT32(1), v->dim);
	PG_RETURN_HALFVEC(v);
}

Datum
vector_to_halfvec(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);

	elements_check_typmod(PG_GETARG_INT32(1), v->dim);
	for (int i = 0; i < v->dim; i++)
		elements_check(&halfvec_elements, v->x[i]);
	PG_RETURN_HALFVEC(halfvec_of(v->x, v->dim));
}

Datum
halfvec_to_vector(PG_FUNCTION_ARGS)
{
	HalfVector *v = PG_GETARG_HALFVEC(0);
	Vector	   *result;

	elements_check_typmod(PG_GETARG_INT32(1), v->dim);
	result = vector_new(v->dim);
	vec_from_half(result->x, v->x, v->dim);
	PG_RETURN_VECTOR(result);
}
