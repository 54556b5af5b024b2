/*-------------------------------------------------------------------------
 *
 * attributes.h
 *	  Scalar attributes of records, and predicates on them; part of wire/wire.h.
 *
 * A collection may declare up to WIRE_ATTRIBUTES_MAX attributes, in its shards'
 * descriptors, from feature level 3 on (base/level.h).  Each value is one int64, or
 * NULL.  What it stands for only its owner knows; workers compare numbers.
 *
 * A predicate is a conjunction of clauses, each about one attribute.  NULL passes
 * WIRE_CLAUSE_IS_NULL and nothing else.  A search without a predicate has an empty
 * filter; there is no predicate without clauses.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_ATTRIBUTES_H
#define WIRE_ATTRIBUTES_H

#include "base/bytes.h"

#define WIRE_ATTRIBUTES_MAX 8
#define WIRE_CLAUSES_MAX 64
#define WIRE_CLAUSE_VALUES_MAX 16384	/* in all clauses of a predicate */

/* On disk and on the wire: never renumber. */
typedef enum WireAttributeKind
{
	/* Signed order and equality of the numbers are exactly those of the values. */
	WIRE_ATTR_ORDERED = 1,

	/*
	 * XXH3-64 of the value's bytes.  Equal values have equal numbers, others may: a
	 * clause may let too much pass, and who asks looks at the value again.
	 */
	WIRE_ATTR_HASHED = 2
} WireAttributeKind;

/* "ordered", "hashed"; NULL, or false: there is no such kind. */
extern const char *wire_attribute_name(uint8_t kind);
extern bool wire_attribute_kind(const char *name, uint8_t *kind);

/* The attributes of one record, in the order of their declaration. */
typedef struct WireAttributes
{
	uint32_t	n;
	uint32_t	nulls;			/* bit i: the i-th is NULL, and its value 0 */
	int64_t		value[WIRE_ATTRIBUTES_MAX];
} WireAttributes;

/* What a record carries; nothing when there are none. */
extern void wire_attributes_put(Buf *out, const WireAttributes *attributes);

/* VT_PROTOCOL: it is not the attributes of a record in a collection with so many. */
extern VtStatus wire_attributes_get(Bytes encoded, uint32_t expected, WireAttributes *out);

typedef enum WireClauseOp
{
	WIRE_CLAUSE_IN = 1,			/* no values: nothing passes */
	WIRE_CLAUSE_NOT_IN = 2,		/* not of HASHED, which would leave out too much */
	WIRE_CLAUSE_BETWEEN = 3,	/* lo to hi inclusive, nothing where lo > hi; not of HASHED */
	WIRE_CLAUSE_IS_NULL = 4,
	WIRE_CLAUSE_NOT_NULL = 5
} WireClauseOp;

typedef struct WireClause
{
	uint8_t		attribute;		/* its place in the declaration, from 0 */
	WireClauseOp op;
	int64_t		lo;				/* BETWEEN */
	int64_t		hi;
	uint32_t	nvalues;		/* IN, NOT_IN: ascending, none twice */
	const int64_t *values;		/* to encode */
	Bytes		encoded;		/* as decoded: 8 bytes each, unaligned */
} WireClause;

/* The i-th value of a clause that was decoded. */
static inline int64_t
wire_clause_value(const WireClause *clause, uint32_t i)
{
	return (int64_t) get_le64(clause->encoded.data + 8 * (size_t) i);
}

/* Encoding: begin, each clause, end. */
extern size_t wire_predicate_begin(Buf *out);
extern void wire_clause_put(Buf *out, const WireClause *clause);
extern void wire_predicate_end(Buf *out, size_t begin, uint32_t nclauses);

typedef struct WirePredicate
{
	uint32_t	nclauses;
	WireClause	clauses[WIRE_CLAUSES_MAX];
} WirePredicate;

/*
 * Decode and check everything, for a collection with these kinds of attributes.
 * VT_PROTOCOL: malformed, or over a limit; VT_INVALID: an attribute that is not
 * declared, or a clause that its kind cannot answer; VT_VERSION: newer.
 */
extern VtStatus wire_predicate_get(Bytes encoded, const uint8_t *kinds, uint32_t nkinds,
								   WirePredicate *out, VtError *err);

/* Do these attributes pass?  The slow, plain way. */
extern bool wire_predicate_passes(const WirePredicate *predicate, const WireAttributes *attributes);

#endif							/* WIRE_ATTRIBUTES_H */
