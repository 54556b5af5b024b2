/*-------------------------------------------------------------------------
 *
 * some_predicates.h
 *	  Attributes and predicates on them, drawn by lot so that they meet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SOME_PREDICATES_H
#define SOME_PREDICATES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../../src/worker/predicate.h"
#include "base/prng.h"

static const uint8_t kinds[] = {WIRE_ATTR_ORDERED, WIRE_ATTR_HASHED};

/* Few numbers, so that they meet; now and then one from the ends. */
static inline int64_t
some_number(Prng *prng)
{
	static const int64_t ends[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT64_MAX, 0};

	return prng_below(prng, 10) == 0 ? ends[prng_below(prng, 5)] : (int64_t) prng_below(prng, 20) - 10;
}

static inline WireAttributes
some_attributes(Prng *prng)
{
	WireAttributes attributes = {.n = 2};

	for (int i = 0; i < 2; i++)
		if (prng_below(prng, 8) == 0)
			attributes.nulls |= 1u << i;
		else
			attributes.value[i] = some_number(prng);
	return attributes;
}

static inline int
number_sorter(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

/* Up to n different numbers, ascending. */
static inline uint32_t
some_values(Prng *prng, int64_t *out, uint32_t n)
{
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < n; i++)
		out[i] = n > 20 && i % 2 ? (int64_t) prng_next(prng) : some_number(prng);
	qsort(out, n, sizeof(int64_t), number_sorter);
	for (uint32_t i = 0; i < n; i++)
		if (kept == 0 || out[kept - 1] != out[i])
			out[kept++] = out[i];
	return kept;
}

static inline void
some_clause(Prng *prng, Buf *out)
{
	int64_t		values[40];
	uint32_t	most[] = {1, 3, KERNEL_ANY_MAX, 40};
	WireClause	clause = {
		.attribute = (uint8_t) prng_below(prng, 2), .op = (WireClauseOp) (1 + prng_below(prng, 5)), .values = values,
		.lo = some_number(prng), .hi = some_number(prng)
	};

	if (clause.op == WIRE_CLAUSE_NOT_IN || clause.op == WIRE_CLAUSE_BETWEEN)
		clause.attribute = 0;
	if (clause.op == WIRE_CLAUSE_IN || clause.op == WIRE_CLAUSE_NOT_IN)
		clause.nvalues = prng_below(prng, 12) == 0 ? 0 : some_values(prng, values, most[prng_below(prng, 4)]);
	wire_clause_put(out, &clause);
}

static inline Predicate *
predicate_of(const Buf *encoded)
{
	Predicate  *predicate;
	VtError		err = {0};

	if (predicate_new(buf_bytes(encoded), kinds, 2, &predicate, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	return predicate;
}

static inline void
some_predicate(Prng *prng, Buf *out)
{
	uint32_t	n = 1 + prng_below(prng, 3);
	size_t		begin;

	buf_clear(out);
	begin = wire_predicate_begin(out);
	for (uint32_t i = 0; i < n; i++)
		some_clause(prng, out);
	wire_predicate_end(out, begin, n);
}

#endif							/* SOME_PREDICATES_H */
