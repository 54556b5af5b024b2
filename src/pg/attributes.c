/*-------------------------------------------------------------------------
 *
 * attributes.c
 *	  Scalar columns beside the vector: what their values are in the cluster (R6).
 *
 * An index has one vector, its first column, and up to eight scalar columns
 * after it, which the workers know as attributes: numbers, compared during a
 * search.  A type is taken where such numbers can mean exactly what PostgreSQL's
 * operators mean.  Of types with an order the numbers have the same order, and
 * the same for values that are equal; of the others they are a hash of the
 * value's bytes, which tells equal values only, and not for sure, so that
 * PostgreSQL looks at the value again.
 *
 * Not taken: numeric, which has more values than there are numbers; char(n),
 * whose trailing blanks do not count; text under a nondeterministic collation,
 * where other bytes may be equal.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "base/hash.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "attributes.h"

/* What a type's values become; false: it cannot be an attribute. */
bool
attribute_type(Oid type, WireAttributeKind *kind)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*kind = WIRE_ATTR_ORDERED;
			return true;
		case UUIDOID:
		case TEXTOID:
		case BYTEAOID:
			*kind = WIRE_ATTR_HASHED;
			return true;
		default:
			return false;
	}
}

/*
 * Floats in the order of their type: as bits, of which the negative ones count
 * down.  -0 is 0, and any NaN is greater than everything else.
 */
static int64
number_of_float(float8 value)
{
	int64		bits;

	if (isnan(value))
		return PG_INT64_MAX;
	if (value == 0)
		return 0;
	memcpy(&bits, &value, sizeof(bits));
	return bits < 0 ? bits ^ PG_INT64_MAX : bits;
}

static int64
number_of_bytes(Datum value)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);
	uint64		hash = hash_checksum(bytes_of(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)));

	if ((Pointer) bytes != DatumGetPointer(value))
		pfree(bytes);
	return (int64) hash;
}

/* The number of a value that is not NULL. */
int64
attribute_number(Oid type, Datum value)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(value);
		case CHAROID:
			return (uint8) DatumGetChar(value);
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		case OIDOID:
			return DatumGetObjectId(value);
		case FLOAT4OID:
			return number_of_float(DatumGetFloat4(value));
		case FLOAT8OID:
			return number_of_float(DatumGetFloat8(value));
		case DATEOID:
			return DatumGetDateADT(value);
		case TIMEOID:
			return DatumGetTimeADT(value);
		case TIMESTAMPOID:
			return DatumGetTimestamp(value);
		case TIMESTAMPTZOID:
			return DatumGetTimestampTz(value);
		case UUIDOID:
			return (int64) hash_checksum(bytes_of(DatumGetUUIDP(value)->data, UUID_LEN));
		case TEXTOID:
		case BYTEAOID:
			return number_of_bytes(value);
		default:
			elog(ERROR, "type %u cannot be an attribute", type);
	}
}

static bool
is_vector(Relation index, int column)
{
	return OidIsValid(index_getprocid(index, (AttrNumber) (column + 1), VECTRON_METRIC_PROC));
}

/* An index whose columns are not what they can be is refused, before it is made. */
void
attributes_check(Relation index)
{
	TupleDesc	desc = RelationGetDescr(index);

	if (!is_vector(index, 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the first column of a vectron index must be a vector"),
				 errhint("Name the vector first, then the columns for conditions.")));
	if (desc->natts > 1 + WIRE_ATTRIBUTES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("a vectron index can have at most %d columns beside the vector", WIRE_ATTRIBUTES_MAX),
				 errhint("Conditions on other columns are evaluated by PostgreSQL.")));
	for (int i = 1; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		Oid			collation = index->rd_indcollation[i];
		WireAttributeKind kind;

		if (is_vector(index, i))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a vectron index has one vector column"),
					 errhint("Make an index for each vector.")));
		if (!attribute_type(index->rd_opcintype[i], &kind))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" has type %s, which cannot be beside the vector in a vectron index",
							name, format_type_be(index->rd_opcintype[i])),
					 errhint("Leave it out: conditions on it are evaluated by PostgreSQL.")));
		if (OidIsValid(collation) && !get_collation_isdeterministic(collation))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("nondeterministic collations are not supported in vectron indexes"),
					 errdetail("Column \"%s\" has collation \"%s\".", name, get_collation_name(collation)),
					 errhint("Leave it out: conditions on it are evaluated by PostgreSQL.")));
	}
}

/* The kinds of an index's attributes; kinds has room for all.  Returns how many. */
uint32
attributes_declare(Relation index, uint8 *kinds)
{
	uint32		n = (uint32) RelationGetDescr(index)->natts - 1;

	for (uint32 i = 0; i < n; i++)
	{
		WireAttributeKind kind;

		if (i >= WIRE_ATTRIBUTES_MAX || !attribute_type(index->rd_opcintype[i + 1], &kind))
			elog(ERROR, "index \"%s\" has columns that cannot be attributes", RelationGetRelationName(index));
		kinds[i] = (uint8) kind;
	}
	return n;
}

/*
 * What a record carries of an index's values, of which the first is the vector.
 * Until the next call; empty where there is nothing but the vector.
 */
Bytes
attributes_encode(Relation index, const Datum *values, const bool *isnull)
{
	static Buf	encoded;
	WireAttributes attributes = {0};

	attributes.n = (uint32) RelationGetDescr(index)->natts - 1;
	if (attributes.n == 0)
		return bytes_of(NULL, 0);
	Assert(attributes.n <= WIRE_ATTRIBUTES_MAX);
	for (uint32 i = 0; i < attributes.n; i++)
	{
		if (isnull[i + 1])
			attributes.nulls |= UINT32_C(1) << i;
		else
			attributes.value[i] = attribute_number(index->rd_opcintype[i + 1], values[i + 1]);
	}
	buf_clear(&encoded);
	wire_attributes_put(&encoded, &attributes);
	return buf_bytes(&encoded);
}
