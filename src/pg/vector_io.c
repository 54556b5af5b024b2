/*-------------------------------------------------------------------------
 *
 * vector_io.c
 *	  The type vector: text, binary, typmod.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"

#include "elements.h"
#include "vector.h"

PG_FUNCTION_INFO_V1(vector_in);
PG_FUNCTION_INFO_V1(vector_out);
PG_FUNCTION_INFO_V1(vector_typmod_in);
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

Datum
vector_in(PG_FUNCTION_ARGS)
{
	int			dim;
	float	   *x = elements_of_text(&vector_elements, PG_GETARG_CSTRING(0), PG_GETARG_INT32(2), &dim);
	Vector	   *result = vector_of(x, dim);

	pfree(x);
	PG_RETURN_VECTOR(result);
}

Datum
vector_out(PG_FUNCTION_ARGS)
{
	Vector	   *v = PG_GETARG_VECTOR(0);
	char	   *text = elements_to_text(v->x, v->dim);

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_CSTRING(text);
}

Datum
vector_typmod_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(elements_typmod(&vector_elements, PG_GETARG_ARRAYTYPE_P(0)));
}

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
