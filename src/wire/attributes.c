/*-------------------------------------------------------------------------
 *
 * attributes.c
 *	  Scalar attributes of records, and predicates on them, to bytes and back.
 *
 * Attributes of a record:
 *
 *		u8 format (1)   u8 number   u8 bits: i = the i-th is NULL   number times i64 (0: NULL)
 *
 * and nothing at all where a collection declares none.  A predicate:
 *
 *		u8 format (1)   u16 number of clauses, then each: u8 attribute   u8 op, and
 *		IN, NOT_IN: u32 number, then i64 each; BETWEEN: i64 lo   i64 hi
 *
 * One set of values has one encoding, so bytes may be compared.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#define ATTRIBUTES_FORMAT 1
#define PREDICATE_FORMAT 1
#define AT_NCLAUSES 1

static const char *const kind_names[] = {NULL, "ordered", "hashed"};

#define KINDS (sizeof(kind_names) / sizeof(kind_names[0]))

const char *
wire_attribute_name(uint8_t kind)
{
	return kind < KINDS ? kind_names[kind] : NULL;
}

bool
wire_attribute_kind(const char *name, uint8_t *kind)
{
	for (*kind = 1; *kind < KINDS; ++*kind)
		if (strcmp(name, kind_names[*kind]) == 0)
			return true;
	return false;
}

void
wire_attributes_put(Buf *out, const WireAttributes *attributes)
{
	Assert(attributes->n <= WIRE_ATTRIBUTES_MAX);
	if (attributes->n == 0)
		return;
	buf_put_u8(out, ATTRIBUTES_FORMAT);
	buf_put_u8(out, (uint8_t) attributes->n);
	buf_put_u8(out, (uint8_t) attributes->nulls);
	for (uint32_t i = 0; i < attributes->n; i++)
		buf_put_u64(out, attributes->nulls >> i & 1 ? 0 : (uint64_t) attributes->value[i]);
}

VtStatus
wire_attributes_get(Bytes encoded, uint32_t expected, WireAttributes *out)
{
	Cursor		c = cursor_of(encoded);

	memset(out, 0, sizeof(*out));
	if (expected == 0)
		return encoded.len == 0 ? VT_OK : VT_PROTOCOL;
	if (cursor_u8(&c) != ATTRIBUTES_FORMAT || cursor_u8(&c) != expected)
		return VT_PROTOCOL;
	out->n = expected;
	out->nulls = cursor_u8(&c);
	if (out->nulls >> expected != 0)
		return VT_PROTOCOL;
	for (uint32_t i = 0; i < expected; i++)
	{
		out->value[i] = (int64_t) cursor_u64(&c);
		if ((out->nulls >> i & 1) && out->value[i] != 0)
			return VT_PROTOCOL;
	}
	return cursor_done(&c) ? VT_OK : VT_PROTOCOL;
}

size_t
wire_predicate_begin(Buf *out)
{
	size_t		begin = out->len;

	buf_put_u8(out, PREDICATE_FORMAT);
	buf_put_u16(out, 0);
	return begin;
}

static bool
has_values(WireClauseOp op)
{
	return op == WIRE_CLAUSE_IN || op == WIRE_CLAUSE_NOT_IN;
}

void
wire_clause_put(Buf *out, const WireClause *clause)
{
	buf_put_u8(out, clause->attribute);
	buf_put_u8(out, (uint8_t) clause->op);
	if (has_values(clause->op))
	{
		buf_put_u32(out, clause->nvalues);
		for (uint32_t i = 0; i < clause->nvalues; i++)
			buf_put_u64(out, (uint64_t) clause->values[i]);
	}
	else if (clause->op == WIRE_CLAUSE_BETWEEN)
	{
		buf_put_u64(out, (uint64_t) clause->lo);
		buf_put_u64(out, (uint64_t) clause->hi);
	}
}

void
wire_predicate_end(Buf *out, size_t begin, uint32_t nclauses)
{
	Assert(nclauses >= 1 && nclauses <= WIRE_CLAUSES_MAX);
	put_le16(out->data + begin + AT_NCLAUSES, (uint16_t) nclauses);
}

/* What follows attribute and op. */
static void
operands_get(Cursor *c, WireClause *out)
{
	if (has_values(out->op))
	{
		out->nvalues = cursor_u32(c);
		if (out->nvalues > WIRE_CLAUSE_VALUES_MAX)
			c->failed = true;
		out->encoded = cursor_bytes(c, 8 * (size_t) out->nvalues);
		for (uint32_t i = 1; i < out->nvalues && !c->failed; i++)
			c->failed = wire_clause_value(out, i - 1) >= wire_clause_value(out, i);
	}
	else if (out->op == WIRE_CLAUSE_BETWEEN)
	{
		out->lo = (int64_t) cursor_u64(c);
		out->hi = (int64_t) cursor_u64(c);
	}
}

VtStatus
wire_predicate_get(Bytes encoded, const uint8_t *kinds, uint32_t nkinds, WirePredicate *out, VtError *err)
{
	Cursor		c = cursor_of(encoded);
	uint8_t		format = cursor_u8(&c);
	uint32_t	nvalues = 0;

	memset(out, 0, sizeof(*out));
	if (!c.failed && format != PREDICATE_FORMAT)
		return vt_fail(err, VT_VERSION, "the filter has format %u, this side knows %u", format, PREDICATE_FORMAT);
	out->nclauses = cursor_u16(&c);
	if (c.failed || out->nclauses == 0 || out->nclauses > WIRE_CLAUSES_MAX)
		return vt_fail(err, VT_PROTOCOL, "the filter is cut off, or has %u clauses: 1 to %u are possible",
					   out->nclauses, WIRE_CLAUSES_MAX);
	for (uint32_t i = 0; i < out->nclauses; i++)
	{
		WireClause *clause = &out->clauses[i];
		uint8_t		op;

		clause->attribute = cursor_u8(&c);
		op = cursor_u8(&c);
		if (!c.failed && (op < WIRE_CLAUSE_IN || op > WIRE_CLAUSE_NOT_NULL))
			return vt_fail(err, VT_VERSION, "the filter has a clause of unrecognized kind %u", op);
		clause->op = (WireClauseOp) op;
		operands_get(&c, clause);
		nvalues += clause->nvalues;
		if (c.failed || nvalues > WIRE_CLAUSE_VALUES_MAX)
			return vt_fail(err, VT_PROTOCOL, "the filter is malformed, or has more than %u values", WIRE_CLAUSE_VALUES_MAX);
		if (clause->attribute >= nkinds)
			return vt_fail(err, VT_INVALID, "the filter asks about attribute %u of %u", clause->attribute, nkinds);
		if (kinds[clause->attribute] != WIRE_ATTR_ORDERED && (op == WIRE_CLAUSE_NOT_IN || op == WIRE_CLAUSE_BETWEEN))
			return vt_fail(err, VT_INVALID, "attribute %u is hashed: it can be asked for equality only", clause->attribute);
	}
	if (!cursor_done(&c))
		return vt_fail(err, VT_PROTOCOL, "the filter has something behind its last clause");
	return VT_OK;
}

static bool
clause_has(const WireClause *clause, int64_t value)
{
	for (uint32_t i = 0; i < clause->nvalues; i++)
		if (wire_clause_value(clause, i) == value)
			return true;
	return false;
}

bool
wire_predicate_passes(const WirePredicate *predicate, const WireAttributes *attributes)
{
	bool		passes = true;

	for (uint32_t i = 0; i < predicate->nclauses && passes; i++)
	{
		const WireClause *clause = &predicate->clauses[i];
		bool		null = attributes->nulls >> clause->attribute & 1;
		int64_t		value = attributes->value[clause->attribute];

		switch (clause->op)
		{
			case WIRE_CLAUSE_IN:
				passes = !null && clause_has(clause, value);
				break;
			case WIRE_CLAUSE_NOT_IN:
				passes = !null && !clause_has(clause, value);
				break;
			case WIRE_CLAUSE_BETWEEN:
				passes = !null && clause->lo <= value && value <= clause->hi;
				break;
			case WIRE_CLAUSE_IS_NULL:
				passes = null;
				break;
			case WIRE_CLAUSE_NOT_NULL:
				passes = !null;
				break;
		}
	}
	return passes;
}
