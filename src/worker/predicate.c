/*-------------------------------------------------------------------------
 *
 * predicate.c
 *	  Predicates on attributes: over columns, 64 slots at a time, and of one record.
 *
 * A clause makes a word of 64 bits out of 64 values; the words of all clauses are
 * joined by "and", and when nothing is left the others are not looked at.  Few
 * values are compared with one by one, many by a hash table, whose empty places hold
 * a number that is none of them.
 *
 * wire_predicate_passes() is the slow twin of all this.
 *
 *-------------------------------------------------------------------------
 */
#include "predicate.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "vec/vec.h"

typedef struct Clause
{
	uint8_t		attribute;
	WireClauseOp op;
	int64_t		lo;
	int64_t		hi;
	uint32_t	n;
	int64_t    *wanted;			/* n up to KERNEL_ANY_MAX */
	int64_t    *table;			/* more: 1 << bits places */
	int			bits;
	int64_t		empty;
} Clause;

struct Predicate
{
	atomic_uint shared;
	Buf			bytes;
	uint32_t	n;
	Clause		clauses[];
};

/* -- Making ---------------------------------------------------------------- */

static uint32_t
table_place(const Clause *clause, int64_t value)
{
	return (uint32_t) ((uint64_t) value * UINT64_C(0x9e3779b97f4a7c15) >> (64 - clause->bits));
}

static bool
table_has(const Clause *clause, int64_t value)
{
	uint32_t	mask = (1u << clause->bits) - 1;

	if (value == clause->empty)
		return false;
	for (uint32_t i = table_place(clause, value);; i = (i + 1) & mask)
		if (clause->table[i] == value || clause->table[i] == clause->empty)
			return clause->table[i] == value;
}

static void
make_table(Clause *clause, const WireClause *wire)
{
	/* Values ascend: the first number from 0 on that none of them is. */
	for (uint32_t i = 0; i < wire->nvalues; i++)
		clause->empty += wire_clause_value(wire, i) == clause->empty;
	for (clause->bits = 1; 1u << clause->bits < 2 * wire->nvalues;)
		clause->bits++;
	clause->table = vt_alloc(sizeof(int64_t) << clause->bits);
	for (uint32_t i = 0; i < 1u << clause->bits; i++)
		clause->table[i] = clause->empty;
	for (uint32_t i = 0; i < wire->nvalues; i++)
	{
		int64_t		value = wire_clause_value(wire, i);
		uint32_t	at = table_place(clause, value);

		while (clause->table[at] != clause->empty)
			at = (at + 1) & ((1u << clause->bits) - 1);
		clause->table[at] = value;
	}
}

VtStatus
predicate_new(Bytes encoded, const uint8_t *kinds, uint32_t nkinds, Predicate **out, VtError *err)
{
	WirePredicate wire;
	Predicate  *predicate;
	VtStatus	status = wire_predicate_get(encoded, kinds, nkinds, &wire, err);

	if (status != VT_OK)
		return status;
	predicate = vt_alloc0(sizeof(Predicate) + sizeof(Clause) * wire.nclauses);
	atomic_init(&predicate->shared, 1);
	buf_put(&predicate->bytes, encoded.data, encoded.len);
	predicate->n = wire.nclauses;
	for (uint32_t i = 0; i < wire.nclauses; i++)
	{
		const WireClause *from = &wire.clauses[i];
		Clause	   *clause = &predicate->clauses[i];

		*clause = (Clause) {.attribute = from->attribute, .op = from->op, .lo = from->lo, .hi = from->hi, .n = from->nvalues};
		if (from->nvalues > KERNEL_ANY_MAX)
			make_table(clause, from);
		else if (from->nvalues > 0)
		{
			clause->wanted = vt_alloc(sizeof(int64_t) * from->nvalues);
			for (uint32_t k = 0; k < from->nvalues; k++)
				clause->wanted[k] = wire_clause_value(from, k);
		}
	}
	*out = predicate;
	return VT_OK;
}

Predicate *
predicate_share(Predicate *predicate)
{
	atomic_fetch_add(&predicate->shared, 1);
	return predicate;
}

void
predicate_free(Predicate *predicate)
{
	if (!predicate || atomic_fetch_sub(&predicate->shared, 1) > 1)
		return;
	for (uint32_t i = 0; i < predicate->n; i++)
	{
		free(predicate->clauses[i].wanted);
		free(predicate->clauses[i].table);
	}
	buf_free(&predicate->bytes);
	free(predicate);
}

Bytes
predicate_bytes(const Predicate *predicate)
{
	return buf_bytes(&predicate->bytes);
}

/* -- One record ------------------------------------------------------------ */

static bool
clause_has(const Clause *clause, int64_t value)
{
	if (clause->table)
		return table_has(clause, value);
	for (uint32_t i = 0; i < clause->n; i++)
		if (clause->wanted[i] == value)
			return true;
	return false;
}

static bool
clause_passes(const Clause *clause, const WireAttributes *attributes)
{
	bool		null = attributes->nulls >> clause->attribute & 1;
	int64_t		value = attributes->value[clause->attribute];

	switch (clause->op)
	{
		case WIRE_CLAUSE_IN:
			return !null && clause_has(clause, value);
		case WIRE_CLAUSE_NOT_IN:
			return !null && !clause_has(clause, value);
		case WIRE_CLAUSE_BETWEEN:
			return !null && clause->lo <= value && value <= clause->hi;
		case WIRE_CLAUSE_IS_NULL:
			return null;
		case WIRE_CLAUSE_NOT_NULL:
			return !null;
	}
	return false;
}

bool
predicate_passes(const Predicate *predicate, const WireAttributes *attributes)
{
	for (uint32_t i = 0; i < predicate->n; i++)
		if (!clause_passes(&predicate->clauses[i], attributes))
			return false;
	return true;
}

/* -- Columns --------------------------------------------------------------- */

/*
 * Values of slots that others are just writing are read, too: whole, but perhaps
 * neither the old nor the new record's.
 */
static inline int64_t
value_at(const int64_t *values, uint32_t i)
{
	return __atomic_load_n(&values[i], __ATOMIC_RELAXED);
}

static uint64_t
between_plain(const int64_t *values, int64_t lo, int64_t hi)
{
	uint64_t	word = 0;

	for (uint32_t i = 0; i < 64; i++)
	{
		int64_t		value = value_at(values, i);

		word |= (uint64_t) (lo <= value && value <= hi) << i;
	}
	return word;
}

static uint64_t
any_plain(const int64_t *values, const int64_t *wanted, uint32_t n)
{
	uint64_t	word = 0;

	for (uint32_t i = 0; i < 64; i++)
	{
		int64_t		value = value_at(values, i);
		bool		has = false;

		for (uint32_t k = 0; k < n; k++)
			has |= value == wanted[k];
		word |= (uint64_t) has << i;
	}
	return word;
}

const PredicateKernels predicate_kernels_plain = {between_plain, any_plain};

static uint64_t
word_in(const PredicateKernels *kernels, const Clause *clause, const int64_t *values)
{
	uint64_t	word = 0;

	if (clause->n == 0)
		return 0;
	if (!clause->table)
		return kernels->any(values, clause->wanted, clause->n);
	for (uint32_t i = 0; i < 64; i++)
		word |= (uint64_t) table_has(clause, value_at(values, i)) << i;
	return word;
}

static uint64_t
clause_word(const PredicateKernels *kernels, const Clause *clause, const Columns *columns, uint32_t first)
{
	uint64_t	nulls;
	const int64_t *values = columns_values(columns, clause->attribute, first, &nulls);

	if (!values)
		return 0;
	switch (clause->op)
	{
		case WIRE_CLAUSE_IN:
			return word_in(kernels, clause, values) & ~nulls;
		case WIRE_CLAUSE_NOT_IN:
			return ~word_in(kernels, clause, values) & ~nulls;
		case WIRE_CLAUSE_BETWEEN:
			return kernels->between(values, clause->lo, clause->hi) & ~nulls;
		case WIRE_CLAUSE_IS_NULL:
			return nulls;
		case WIRE_CLAUSE_NOT_NULL:
			return ~nulls;
	}
	return 0;
}

static const PredicateKernels *
kernels_now(void)
{
#ifdef __x86_64__
	if (vec_cpu() == VEC_CPU_AVX2)
		return &predicate_kernels_avx2;
#endif
	return &predicate_kernels_plain;
}

void
predicate_words(const Predicate *predicate, const Columns *columns, uint32_t first, uint32_t n, uint64_t *out)
{
	const PredicateKernels *kernels = kernels_now();

	for (uint32_t w = 0; w < n; w++)
	{
		out[w] = UINT64_MAX;
		for (uint32_t i = 0; i < predicate->n && out[w] != 0; i++)
			out[w] &= clause_word(kernels, &predicate->clauses[i], columns, first + 64 * w);
	}
}
