/*-------------------------------------------------------------------------
 *
 * sparsevec_io.c
 *	  The type sparsevec: text, binary, typmod, casts from and to lists.
 *
 * "{1:0.5,3:2}/5" has five dimensions; places are counted from 1 in text, and from 0
 * in memory and in the binary format.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "common/shortest_dec.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "halfvec.h"
#include "sparsevec.h"
#include "vector.h"

#define INT_LEN 11				/* of an int32 as text, with its sign */

PG_FUNCTION_INFO_V1(sparsevec_in);
PG_FUNCTION_INFO_V1(sparsevec_out);
PG_FUNCTION_INFO_V1(sparsevec_recv);
PG_FUNCTION_INFO_V1(sparsevec_send);
PG_FUNCTION_INFO_V1(sparsevec);
PG_FUNCTION_INFO_V1(vector_to_sparsevec);
PG_FUNCTION_INFO_V1(halfvec_to_sparsevec);
PG_FUNCTION_INFO_V1(sparsevec_to_vector);
PG_FUNCTION_INFO_V1(sparsevec_to_halfvec);
PG_FUNCTION_INFO_V1(array_to_sparsevec);

const ElementType sparsevec_elements = {"sparsevec", INFINITY, SPARSEVEC_MAX_DIM, NULL, NULL, true};

ELEMENTS_FUNCTION(sparsevec_typmod_in, elements_typmod_in, sparsevec_elements)

/* One that is read: where, counted from 0, and what. */
typedef struct Element
{
	int32		index;
	float		value;
} Element;

SparseVector *
sparsevec_new(int dim, int n)
{
	Size		size = SPARSEVEC_SIZE(n);
	SparseVector *result = palloc0(size);

	SET_VARSIZE(result, size);
	result->dim = dim;
	result->n = n;
	return result;
}

static void
check_kept(int n)
{
	if (n > SPARSEVEC_MAX_KEPT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sparsevec cannot have more than %d non-zero elements", SPARSEVEC_MAX_KEPT)));
}

/* The i-th place of a vector, after those before it. */
static void
check_index(const SparseVector *v, int i)
{
	if (v->index[i] < 0 || v->index[i] >= v->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("sparsevec index out of bounds")));
	if (i > 0 && v->index[i] < v->index[i - 1])
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("sparsevec indices must be in ascending order")));
	if (i > 0 && v->index[i] == v->index[i - 1])
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("sparsevec indices must not contain duplicates")));
}

SparseVector *
sparsevec_of(const float *x, int dim)
{
	SparseVector *result;
	float	   *values;
	int			n = 0;

	for (int i = 0; i < dim; i++)
		n += x[i] != 0;
	check_kept(n);
	result = sparsevec_new(dim, n);
	values = SPARSEVEC_VALUES(result);
	n = 0;
	for (int i = 0; i < dim; i++)
		if (x[i] != 0)
		{
			result->index[n] = i;
			values[n++] = x[i];
		}
	return result;
}

/* The whole number at *p, or the nearest that an int32 holds; moves *p behind it and the space after it. */
static int32
read_int(const char *text, const char **p)
{
	char	   *end;
	long		value = strtol(*p, &end, 10);

	if (end == *p)
		elements_syntax_error(&sparsevec_elements, text, NULL);
	*p = elements_skip_space(end);
	return (int32) Max(Min(value, INT_MAX), INT_MIN + 1);
}

/* "index:value" at *p; moves *p behind it. */
static Element
read_element(const char *text, const char **p)
{
	Element		element;

	element.index = read_int(text, p) - 1;
	if (**p != ':')
		elements_syntax_error(&sparsevec_elements, text, NULL);
	(*p)++;
	element.value = elements_read_number(&sparsevec_elements, text, p);
	return element;
}

static int
compare_index(const void *a, const void *b)
{
	int32		x = ((const Element *) a)->index;
	int32		y = ((const Element *) b)->index;

	return (x > y) - (x < y);
}

/* How many elements a text can have: one more than it has commas. */
static int
room_for(const char *text)
{
	int			n = 1;

	for (const char *p = text; *p && n <= SPARSEVEC_MAX_KEPT; p++)
		n += *p == ',';
	check_kept(n);
	return n;
}

static SparseVector *
vector_of_elements(Element *elements, int n, int dim)
{
	SparseVector *result = sparsevec_new(dim, n);
	float	   *values = SPARSEVEC_VALUES(result);

	qsort(elements, n, sizeof(Element), compare_index);
	for (int i = 0; i < n; i++)
	{
		result->index[i] = elements[i].index;
		values[i] = elements[i].value;
		check_index(result, i);
	}
	return result;
}

Datum
sparsevec_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	const char *p = elements_skip_space(text);
	Element    *elements = palloc(sizeof(Element) * room_for(text));
	SparseVector *result;
	int			n = 0;
	int			dim;

	if (*p != '{')
		elements_syntax_error(&sparsevec_elements, text, "Vector contents must start with \"{\".");
	p = elements_skip_space(p + 1);
	while (*p != '}')
	{
		Element		element = read_element(text, &p);

		if (element.value != 0)
			elements[n++] = element;
		if (*p == ',')
		{
			/* Another one must come. */
			p = elements_skip_space(p + 1);
			if (*p == '}')
				elements_syntax_error(&sparsevec_elements, text, NULL);
		}
		else if (*p != '}')
			elements_syntax_error(&sparsevec_elements, text, NULL);
	}
	p = elements_skip_space(p + 1);
	if (*p != '/')
		elements_syntax_error(&sparsevec_elements, text, "Unexpected end of input.");
	p = elements_skip_space(p + 1);
	dim = read_int(text, &p);
	if (*p != '\0')
		elements_syntax_error(&sparsevec_elements, text, "Junk after closing.");
	elements_check_dim(&sparsevec_elements, dim);
	elements_check_typmod(PG_GETARG_INT32(2), dim);
	result = vector_of_elements(elements, n, dim);
	pfree(elements);
	PG_RETURN_SPARSEVEC(result);
}

Datum
sparsevec_out(PG_FUNCTION_ARGS)
{
	SparseVector *v = PG_GETARG_SPARSEVEC(0);
	const float *values = SPARSEVEC_VALUES(v);
	char	   *buf = palloc((Size) v->n * (INT_LEN + FLOAT_SHORTEST_DECIMAL_LEN + 2) + INT_LEN + 4);
	char	   *p = buf;

	*p++ = '{';
	for (int i = 0; i < v->n; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += pg_ltoa(v->index[i] + 1, p);
		*p++ = ':';
		p += float_to_shortest_decimal_bufn(values[i], p);
	}
	*p++ = '}';
	*p++ = '/';
	p += pg_ltoa(v->dim, p);
	*p = '\0';
	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_CSTRING(buf);
}

/* int32 dim, int32 n, int32 unused (0), n int32 places, n float4s; all big-endian. */
Datum
sparsevec_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		dim = (int32) pq_getmsgint(buf, sizeof(int32));
	int32		n = (int32) pq_getmsgint(buf, sizeof(int32));
	int32		unused = (int32) pq_getmsgint(buf, sizeof(int32));
	SparseVector *result;
	float	   *values;

	elements_check_dim(&sparsevec_elements, dim);
	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("sparsevec cannot have negative number of elements")));
	check_kept(n);
	if (n > dim)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sparsevec cannot have more elements than dimensions")));
	elements_check_typmod(PG_GETARG_INT32(2), dim);
	if (unused != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected unused to be 0, not %d", unused)));
	result = sparsevec_new(dim, n);
	values = SPARSEVEC_VALUES(result);
	for (int i = 0; i < n; i++)
	{
		result->index[i] = (int32) pq_getmsgint(buf, sizeof(int32));
		check_index(result, i);
	}
	for (int i = 0; i < n; i++)
	{
		values[i] = pq_getmsgfloat4(buf);
		elements_check(&sparsevec_elements, values[i]);
		if (values[i] == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("binary representation of sparsevec cannot contain zero values")));
	}
	PG_RETURN_SPARSEVEC(result);
}

Datum
sparsevec_send(PG_FUNCTION_ARGS)
{
	SparseVector *v = PG_GETARG_SPARSEVEC(0);
	const float *values = SPARSEVEC_VALUES(v);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint32(&buf, (uint32) v->dim);
	pq_sendint32(&buf, (uint32) v->n);
	pq_sendint32(&buf, (uint32) v->unused);
	for (int i = 0; i < v->n; i++)
		pq_sendint32(&buf, (uint32) v->index[i]);
	for (int i = 0; i < v->n; i++)
		pq_sendfloat4(&buf, values[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* sparsevec(n): the length coercion. */
Datum
sparsevec(PG_FUNCTION_ARGS)
{
	SparseVector *v = PG_GETARG_SPARSEVEC(0);

	elements_check_typmod(PG_GETARG_INT32(1), v->dim);
	PG_RETURN_SPARSEVEC(v);
}

static Datum
of_list(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			dim;
	Pointer		to_free;
	const float *x = type->floats(PG_GETARG_DATUM(0), &dim, &to_free);

	elements_check_typmod(PG_GETARG_INT32(1), dim);
	PG_RETURN_SPARSEVEC(sparsevec_of(x, dim));
}

Datum
vector_to_sparsevec(PG_FUNCTION_ARGS)
{
	return of_list(fcinfo, &vector_elements);
}

Datum
halfvec_to_sparsevec(PG_FUNCTION_ARGS)
{
	return of_list(fcinfo, &halfvec_elements);
}

static Datum
to_list(FunctionCallInfo fcinfo, const ElementType *type)
{
	SparseVector *v = PG_GETARG_SPARSEVEC(0);
	const float *values = SPARSEVEC_VALUES(v);
	float	   *x;

	elements_check_dim(type, v->dim);
	elements_check_typmod(PG_GETARG_INT32(1), v->dim);
	x = palloc0(sizeof(float) * v->dim);
	for (int i = 0; i < v->n; i++)
	{
		elements_check(type, values[i]);
		x[v->index[i]] = values[i];
	}
	return type->make(x, v->dim);
}

Datum
sparsevec_to_vector(PG_FUNCTION_ARGS)
{
	return to_list(fcinfo, &vector_elements);
}

Datum
sparsevec_to_halfvec(PG_FUNCTION_ARGS)
{
	return to_list(fcinfo, &halfvec_elements);
}

Datum
array_to_sparsevec(PG_FUNCTION_ARGS)
{
	int			dim;
	float	   *x = elements_of_array(&sparsevec_elements, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_INT32(1), &dim);
	SparseVector *result = sparsevec_of(x, dim);

	pfree(x);
	PG_RETURN_SPARSEVEC(result);
}
