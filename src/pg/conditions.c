/*-------------------------------------------------------------------------
 *
 * conditions.c
 *	  What the keys of a scan ask for, as a predicate for the workers (R6).
 *
 * All keys must hold, so the predicate has one clause for each.  It may let too
 * much pass, never too little: a key that cannot be said exactly (another type
 * that its operator compares with, more values than a predicate may have, a hash)
 * is said as far as it can be, or not at all, and PostgreSQL looks at each row
 * again.
 *
 * A constant of another type may lie between two numbers of the attribute: noon
 * between two dates.  So where it lies is a number, and whether it is that one or
 * between it and the next.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "attributes.h"

typedef struct Place
{
	int64		at;
	bool		between;		/* it lies between at and at + 1 */
} Place;

/* A predicate that is made. */
typedef struct Predicate
{
	Buf		   *out;
	uint32		nclauses;
	uint32		nvalues;
	bool		nothing;
	bool		recheck;
} Predicate;

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
is_float(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID;
}

/* Days as microseconds: beyond the last timestamp, but for infinity, as PostgreSQL compares them. */
static Place
place_of_date(DateADT date)
{
	int			overflow;
	Timestamp	timestamp = date2timestamp_opt_overflow(date, &overflow);
	Place		place = {timestamp, false};

	if (overflow > 0)
		place = (Place) {DT_NOEND - 1, true};
	else if (overflow < 0)
		place = (Place) {DT_NOBEGIN, true};
	return place;
}

static Place
place_of_timestamp(Timestamp timestamp)
{
	Place		place;

	if (TIMESTAMP_IS_NOBEGIN(timestamp))
		return (Place) {DATEVAL_NOBEGIN, false};
	if (TIMESTAMP_IS_NOEND(timestamp))
		return (Place) {DATEVAL_NOEND, false};
	place.at = timestamp / USECS_PER_DAY;
	place.between = timestamp % USECS_PER_DAY != 0;
	if (place.between && timestamp < 0)
		place.at--;
	return place;
}

/* Where a constant lies among the numbers of a type; false: that is not known. */
static bool
place_of(Oid type, Oid constant_type, Datum constant, Place *out)
{
	if (!OidIsValid(constant_type))
		constant_type = type;
	if (type == constant_type || (is_integer(type) && is_integer(constant_type)) ||
		(is_float(type) && is_float(constant_type)))
		*out = (Place) {attribute_number(constant_type, constant), false};
	else if (type == TIMESTAMPOID && constant_type == DATEOID)
		*out = place_of_date(DatumGetDateADT(constant));
	else if (type == DATEOID && constant_type == TIMESTAMPOID)
		*out = place_of_timestamp(DatumGetTimestamp(constant));
	else
		return false;
	return true;
}

static void
add(Predicate *predicate, const WireClause *clause)
{
	if (predicate->nclauses == WIRE_CLAUSES_MAX ||
		clause->nvalues > WIRE_CLAUSE_VALUES_MAX - predicate->nvalues)
	{
		predicate->recheck = true;
		return;
	}
	wire_clause_put(predicate->out, clause);
	predicate->nclauses++;
	predicate->nvalues += clause->nvalues;
}

static void
add_null_test(Predicate *predicate, int attribute, WireClauseOp op)
{
	WireClause	clause = {.attribute = (uint8_t) attribute, .op = op};

	add(predicate, &clause);
}

static void
add_range(Predicate *predicate, int attribute, int64 lo, int64 hi)
{
	WireClause	clause = {.attribute = (uint8_t) attribute, .op = WIRE_CLAUSE_BETWEEN, .lo = lo, .hi = hi};

	add(predicate, &clause);
}

static void
add_values(Predicate *predicate, int attribute, WireClauseOp op, const int64 *values, uint32 n)
{
	WireClause	clause = {.attribute = (uint8_t) attribute, .op = op, .nvalues = n};

	clause.values = values;
	add(predicate, &clause);
}

static void
add_comparison(Predicate *predicate, int attribute, StrategyNumber strategy, Place place)
{
	bool		last = place.at == PG_INT64_MAX;
	bool		first = place.at == PG_INT64_MIN;

	switch (strategy)
	{
		case BTLessStrategyNumber:
			if (!place.between && first)
				predicate->nothing = true;
			else
				add_range(predicate, attribute, PG_INT64_MIN, place.between ? place.at : place.at - 1);
			break;
		case BTLessEqualStrategyNumber:
			add_range(predicate, attribute, PG_INT64_MIN, place.at);
			break;
		case BTEqualStrategyNumber:
			if (place.between)
				predicate->nothing = true;
			else
				add_values(predicate, attribute, WIRE_CLAUSE_IN, &place.at, 1);
			break;
		case BTGreaterEqualStrategyNumber:
			if (place.between && last)
				predicate->nothing = true;
			else
				add_range(predicate, attribute, place.between ? place.at + 1 : place.at, PG_INT64_MAX);
			break;
		case BTGreaterStrategyNumber:
			if (last)
				predicate->nothing = true;
			else
				add_range(predicate, attribute, place.at + 1, PG_INT64_MAX);
			break;
		case VECTRON_NOT_EQUAL:
			if (place.between)
				add_null_test(predicate, attribute, WIRE_CLAUSE_NOT_NULL);
			else
				add_values(predicate, attribute, WIRE_CLAUSE_NOT_IN, &place.at, 1);
			break;
		default:
			predicate->recheck = true;
	}
}

static int
compare_numbers(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* = ANY (array): what is NULL there, or between two numbers, equals nothing. */
static void
add_array(Predicate *predicate, int attribute, Oid type, ScanKey key)
{
	ArrayType  *array = DatumGetArrayTypeP(key->sk_argument);
	Oid			element = ARR_ELEMTYPE(array);
	Datum	   *elements;
	bool	   *isnull;
	int64	   *numbers;
	uint32		n = 0;
	uint32		distinct = 0;
	int			count;
	int16		length;
	bool		by_value;
	char		align;

	if (key->sk_strategy != BTEqualStrategyNumber)
	{
		predicate->recheck = true;
		return;
	}
	get_typlenbyvalalign(element, &length, &by_value, &align);
	deconstruct_array(array, element, length, by_value, align, &elements, &isnull, &count);
	numbers = palloc(sizeof(int64) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		Place		place;

		if (isnull[i])
			continue;
		if (!place_of(type, key->sk_subtype, elements[i], &place))
		{
			predicate->recheck = true;
			return;
		}
		if (!place.between)
			numbers[n++] = place.at;
	}
	qsort(numbers, n, sizeof(int64), compare_numbers);
	for (uint32 i = 0; i < n; i++)
		if (i == 0 || numbers[i] != numbers[i - 1])
			numbers[distinct++] = numbers[i];
	if (distinct == 0)
		predicate->nothing = true;
	else
		add_values(predicate, attribute, WIRE_CLAUSE_IN, numbers, distinct);
}

static void
add_key(Predicate *predicate, Relation index, ScanKey key)
{
	int			attribute = key->sk_attno - 2;
	Oid			type;
	WireAttributeKind kind;
	Place		place;

	/* The vector: the index has none that is NULL, and costs keep other keys away. */
	if (key->sk_attno == 1)
	{
		if ((key->sk_flags & SK_SEARCHNOTNULL) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("index \"%s\" cannot be searched for rows without a vector",
							RelationGetRelationName(index))));
		return;
	}
	if (key->sk_flags & SK_SEARCHNULL)
	{
		add_null_test(predicate, attribute, WIRE_CLAUSE_IS_NULL);
		return;
	}
	if (key->sk_flags & SK_SEARCHNOTNULL)
	{
		add_null_test(predicate, attribute, WIRE_CLAUSE_NOT_NULL);
		return;
	}
	if (key->sk_flags & SK_ISNULL)
	{
		predicate->nothing = true;
		return;
	}
	type = index->rd_opcintype[key->sk_attno - 1];
	if (!attribute_type(type, &kind))
		elog(ERROR, "type %u cannot be an attribute", type);
	if (kind == WIRE_ATTR_HASHED)
		predicate->recheck = true;
	if (kind == WIRE_ATTR_HASHED && key->sk_strategy != BTEqualStrategyNumber)
		return;
	if (key->sk_flags & SK_SEARCHARRAY)
		add_array(predicate, attribute, type, key);
	else if (key->sk_flags == 0 && place_of(type, key->sk_subtype, key->sk_argument, &place))
		add_comparison(predicate, attribute, key->sk_strategy, place);
	else
		predicate->recheck = true;
}

void
conditions_of(Relation index, ScanKey keys, int nkeys, Conditions *out)
{
	static Buf	encoded;
	Predicate	predicate = {.out = &encoded};
	MemoryContext context;
	MemoryContext old;
	size_t		begin;

	memset(out, 0, sizeof(*out));
	if (nkeys == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "vectron conditions", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	buf_clear(&encoded);
	begin = wire_predicate_begin(&encoded);
	for (int i = 0; i < nkeys; i++)
		add_key(&predicate, index, &keys[i]);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	out->nothing = predicate.nothing;
	out->recheck = predicate.recheck;
	if (predicate.nclauses > 0)
	{
		wire_predicate_end(&encoded, begin, predicate.nclauses);
		out->filter = buf_bytes(&encoded);
	}
}

/* Does a key hold, by PostgreSQL's own operator? */
static bool
key_holds(ScanKey key, Datum value, bool isnull)
{
	ArrayType  *array;
	ArrayIterator iterator;
	Datum		element;
	bool		element_isnull;
	bool		holds = false;

	if (key->sk_flags & (SK_SEARCHNULL | SK_SEARCHNOTNULL))
		return isnull == ((key->sk_flags & SK_SEARCHNULL) != 0);
	if (isnull || (key->sk_flags & SK_ISNULL))
		return false;
	if ((key->sk_flags & SK_SEARCHARRAY) == 0)
		return DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, value, key->sk_argument));
	array = DatumGetArrayTypeP(key->sk_argument);
	iterator = array_create_iterator(array, 0, NULL);
	while (!holds && array_iterate(iterator, &element, &element_isnull))
		holds = !element_isnull &&
			DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, value, element));
	array_free_iterator(iterator);
	return holds;
}

/* The slow twin, for vectron.verify_scan: do the keys hold for an index's values? */
bool
conditions_hold(Relation index, ScanKey keys, int nkeys, const Datum *values, const bool *isnull)
{
	for (int i = 0; i < nkeys; i++)
	{
		int			column = keys[i].sk_attno - 1;

		if (!key_holds(&keys[i], values[column], isnull[column]))
			return false;
	}
	return true;
}
