/*-------------------------------------------------------------------------
 *
 * elements.c
 *	  Lists of numbers: checks, text, arrays, parts.  vector_agg.c adds them up.
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

const ElementType vector_elements = {"vector", INFINITY};

/* What is rounded to no finite half: from the middle between the largest and the next. */
const ElementType halfvec_elements = {"halfvec", 65520.0f};

void
elements_check_dim(const ElementType *type, int dim)
{
	if (dim < 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s must have at least 1 dimension", type->name)));
	if (dim > VEC_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s cannot have more than %d dimensions", type->name, VEC_MAX_DIM)));
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

int32
elements_typmod(const ElementType *type, ArrayType *words)
{
	int			n;
	int32	   *typmods = ArrayGetIntegerTypmods(words, &n);

	if (n != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier")));
	if (typmods[0] < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s must be at least 1", type->name)));
	if (typmods[0] > VEC_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s cannot exceed %d", type->name, VEC_MAX_DIM)));
	return typmods[0];
}

/* What the text format takes for space. */
static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static const char *
skip_space(const char *p)
{
	while (is_space(*p))
		p++;
	return p;
}

static void syntax_error(const ElementType *type, const char *text, const char *detail) pg_attribute_noreturn();

static void
syntax_error(const ElementType *type, const char *text, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%s\"", type->name, text),
			 detail ? errdetail("%s", detail) : 0));
}

/* One number at *p; moves *p behind it. */
static float
read_element(const ElementType *type, const char *text, const char **p)
{
	char	   *end;
	float		value;

	/* strtof skips space itself, but would also read an empty element. */
	if (*(*p = skip_space(*p)) == '\0')
		syntax_error(type, text, NULL);
	errno = 0;
	value = strtof(*p, &end);
	if (end == *p)
		syntax_error(type, text, NULL);
	if ((errno == ERANGE && isinf(value)) || (!isnan(value) && !fits(type, value)))
		out_of_range(type, pnstrdup(*p, (Size) (end - *p)));
	elements_check(type, value);
	*p = skip_space(end);
	return value;
}

/* "[1,2,3]" */
float *
elements_of_text(const ElementType *type, const char *text, int32 typmod, int *dim)
{
	const char *p = skip_space(text);
	float	   *x;
	int			n = 0;

	if (*p != '[')
		syntax_error(type, text, "Vector contents must start with \"[\".");
	p = skip_space(p + 1);
	if (*p == ']')
		elements_check_dim(type, 0);

	x = palloc(sizeof(float) * VEC_MAX_DIM);
	for (;;)
	{
		if (n == VEC_MAX_DIM)
			elements_check_dim(type, n + 1);
		x[n++] = read_element(type, text, &p);
		if (*p == ',')
			p++;
		else if (*p == ']')
			break;
		else
			syntax_error(type, text, NULL);
	}
	if (*(p = skip_space(p + 1)) != '\0')
		syntax_error(type, text, "Junk after closing right brace.");
	elements_check_typmod(typmod, n);
	*dim = n;
	return x;
}

char *
elements_to_text(const float *x, int dim)
{
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
	return buf;
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

ArrayType *
elements_to_array(const float *x, int dim)
{
	Datum	   *elements = palloc(sizeof(Datum) * dim);
	ArrayType  *result;

	for (int i = 0; i < dim; i++)
		elements[i] = Float4GetDatum(x[i]);
	result = construct_array(elements, dim, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT);
	pfree(elements);
	return result;
}

int
elements_part(const ElementType *type, int dim, int32 start, int32 count, int *first)
{
	int64		from = Max(start, 1);
	int64		after = Min((int64) start + count, (int64) dim + 1);

	if (count < 1 || after <= from)
		elements_check_dim(type, 0);
	*first = (int) from - 1;
	return (int) (after - from);
}
