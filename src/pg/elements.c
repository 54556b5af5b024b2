/*-------------------------------------------------------------------------
 *
 * elements.c
 *	  Lists of numbers: checks, text, arrays.  elements_ops.c computes with them,
 *	  elements_agg.c adds them up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "port.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "elements.h"

const ElementType *
elements_type(VecElement element)
{
	return element == VEC_BIT ? &bit_elements : element == VEC_FLOAT16 ? &halfvec_elements : &vector_elements;
}

void
elements_check_dim(const ElementType *type, int dim)
{
	if (dim < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s must have at least 1 dimension", type->name)));
	if (dim > type->max_dim)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s cannot have more than %d dimensions", type->name, type->max_dim)));
}

void
elements_check_same_dim(const ElementType *type, int a, int b)
{
	if (a != b)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different %s dimensions %d and %d", type->name, a, b)));
}

void
elements_check_typmod(int32 typmod, int dim)
{
	if (typmod != -1 && typmod != dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", typmod, dim)));
}

static bool
fits(const ElementType *type, float value)
{
	return isinf(value) || fabsf(value) < type->limit;
}

static void out_of_range(const ElementType *type, const char *number) pg_attribute_noreturn();

static void
out_of_range(const ElementType *type, const char *number)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("\"%s\" is out of range for type %s", number, type->name)));
}

void
elements_check(const ElementType *type, float value)
{
	char		number[FLOAT_SHORTEST_DECIMAL_LEN];

	if (isnan(value))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("NaN not allowed in %s", type->name)));
	if (isinf(value))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("infinite value not allowed in %s", type->name)));
	if (!fits(type, value))
	{
		float_to_shortest_decimal_buf(value, number);
		out_of_range(type, number);
	}
}

Datum
elements_typmod_in(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			n;
	int32	   *typmods = ArrayGetIntegerTypmods(PG_GETARG_ARRAYTYPE_P(0), &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier")));
	if (typmods[0] < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s must be at least 1", type->name)));
	if (typmods[0] > type->max_dim)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s cannot exceed %d", type->name, type->max_dim)));
	PG_RETURN_INT32(typmods[0]);
}

/* What the text format takes for space. */
static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

const char *
elements_skip_space(const char *p)
{
	while (is_space(*p))
		p++;
	return p;
}

void
elements_syntax_error(const ElementType *type, const char *text, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%s\"", type->name, text),
			 detail ? errdetail("%s", detail) : 0));
}

float
elements_read_number(const ElementType *type, const char *text, const char **p)
{
	char	   *end;
	float		value;

	/* strtof skips space itself, but would also read an empty element. */
	if (*(*p = elements_skip_space(*p)) == '\0')
		elements_syntax_error(type, text, NULL);
	errno = 0;
	value = strtof(*p, &end);
	if (end == *p)
		elements_syntax_error(type, text, NULL);
	if ((errno == ERANGE && (isinf(value) || (type->no_zeros && value == 0))) || (!isnan(value) && !fits(type, value)))
		out_of_range(type, pnstrdup(*p, (Size) (end - *p)));
	elements_check(type, value);
	*p = elements_skip_space(end);
	return value;
}

/* "[1,2,3]" */
Datum
elements_in(FunctionCallInfo fcinfo, const ElementType *type)
{
	const char *text = PG_GETARG_CSTRING(0);
	const char *p = elements_skip_space(text);
	float	   *x;
	Datum		value;
	int			n = 0;

	if (*p != '[')
		elements_syntax_error(type, text, "Vector contents must start with \"[\".");
	p = elements_skip_space(p + 1);
	if (*p == ']')
		elements_check_dim(type, 0);

	x = palloc(sizeof(float) * type->max_dim);
	for (;;)
	{
		if (n == type->max_dim)
			elements_check_dim(type, n + 1);
		x[n++] = elements_read_number(type, text, &p);
		if (*p == ',')
			p++;
		else if (*p == ']')
			break;
		else
			elements_syntax_error(type, text, NULL);
	}
	if (*(p = elements_skip_space(p + 1)) != '\0')
		elements_syntax_error(type, text, "Junk after closing right brace.");
	elements_check_typmod(PG_GETARG_INT32(2), n);
	value = type->make(x, n);
	pfree(x);
	return value;
}

Datum
elements_out(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			dim;
	Pointer		to_free;
	const float *x = type->floats(PG_GETARG_DATUM(0), &dim, &to_free);
	char	   *buf = palloc((Size) dim * FLOAT_SHORTEST_DECIMAL_LEN + 2);
	char	   *p = buf;

	*p++ = '[';
	for (int i = 0; i < dim; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += float_to_shortest_decimal_bufn(x[i], p);
	}
	*p++ = ']';
	*p = '\0';
	if (to_free)
		pfree(to_free);
	PG_RETURN_CSTRING(buf);
}

static float
float_of(Datum value, Oid type)
{
	switch (type)
	{
		case INT4OID:
			return (float) DatumGetInt32(value);
		case FLOAT8OID:
			return (float) DatumGetFloat8(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case NUMERICOID:
			return DatumGetFloat4(DirectFunctionCall1(numeric_float4, value));
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("unsupported array type")));
	}
	return 0;					/* keep the compiler quiet */
}

float *
elements_of_array(const ElementType *type, ArrayType *array, int32 typmod, int *dim)
{
	Oid			of = ARR_ELEMTYPE(array);
	int16		len;
	bool		byval;
	char		align;
	Datum	   *elements;
	float	   *x;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("array must be 1-D")));
	if (ARR_HASNULL(array) && array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));
	get_typlenbyvalalign(of, &len, &byval, &align);
	deconstruct_array(array, of, len, byval, align, &elements, NULL, dim);
	elements_check_dim(type, *dim);
	elements_check_typmod(typmod, *dim);

	x = palloc(sizeof(float) * *dim);
	for (int i = 0; i < *dim; i++)
		x[i] = float_of(elements[i], of);
	for (int i = 0; i < *dim; i++)
		elements_check(type, x[i]);
	pfree(elements);
	return x;
}

Datum
elements_from_array(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			dim;
	float	   *x = elements_of_array(type, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_INT32(1), &dim);
	Datum		value = type->make(x, dim);

	pfree(x);
	return value;
}

/* real[] */
Datum
elements_to_array(FunctionCallInfo fcinfo, const ElementType *type)
{
	int			dim;
	Pointer		to_free;
	const float *x = type->floats(PG_GETARG_DATUM(0), &dim, &to_free);
	Datum	   *elements = palloc(sizeof(Datum) * dim);
	ArrayType  *result;

	for (int i = 0; i < dim; i++)
		elements[i] = Float4GetDatum(x[i]);
	result = construct_array(elements, dim, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT);
	pfree(elements);
	if (to_free)
		pfree(to_free);
	PG_RETURN_ARRAYTYPE_P(result);
}
