/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  Attributes of records in memory, a column each.
 *
 * In a chunk lie, for one attribute after the other, the values, then a bit for
 * each that is NULL; the value of a NULL is 0.
 *
 *-------------------------------------------------------------------------
 */
#include "columns.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "chunks.h"

struct Columns
{
	uint32_t	n;
	_Atomic(uint64_t *) chunks[CHUNKS];
};

/* Words of one attribute in a chunk. */
static size_t
words_of(int chunk)
{
	size_t		slots = (size_t) FIRST << chunk;

	return slots + slots / 64;
}

Columns *
columns_new(uint32_t attributes)
{
	Columns    *columns = vt_alloc0(sizeof(Columns));

	columns->n = attributes;
	return columns;
}

void
columns_free(Columns *columns)
{
	if (!columns)
		return;
	for (int k = 0; k < CHUNKS; k++)
		free(atomic_load(&columns->chunks[k]));
	free(columns);
}

size_t
columns_width(const Columns *columns)
{
	return sizeof(int64_t) * columns->n;
}

void
columns_make(Columns *columns, int chunk)
{
	if (!atomic_load_explicit(&columns->chunks[chunk], memory_order_relaxed))
		atomic_store_explicit(&columns->chunks[chunk], vt_alloc0(sizeof(uint64_t) * words_of(chunk) * columns->n),
							  memory_order_release);
}

/* Where the values of an attribute begin in a chunk; NULL: it is not there. */
static uint64_t *
values_in(const Columns *columns, uint32_t attribute, int chunk)
{
	uint64_t   *words = atomic_load_explicit(&columns->chunks[chunk], memory_order_acquire);

	return words ? words + words_of(chunk) * attribute : NULL;
}

void
columns_write(Columns *columns, uint32_t slot, const WireAttributes *attributes)
{
	int			chunk = chunk_of(slot);
	uint32_t	place = chunk_place(chunk, slot);
	uint64_t	bit = UINT64_C(1) << (place % 64);

	Assert(attributes->n == columns->n);
	for (uint32_t i = 0; i < columns->n; i++)
	{
		uint64_t   *values = values_in(columns, i, chunk);
		uint64_t   *nulls = values + ((size_t) FIRST << chunk) + place / 64;

		__atomic_store_n(&values[place], (uint64_t) attributes->value[i], __ATOMIC_RELAXED);
		/* The word is shared with slots of other threads. */
		if (attributes->nulls >> i & 1)
			__atomic_fetch_or(nulls, bit, __ATOMIC_RELAXED);
		else if (__atomic_load_n(nulls, __ATOMIC_RELAXED) & bit)
			__atomic_fetch_and(nulls, ~bit, __ATOMIC_RELAXED);
	}
}

void
columns_read(const Columns *columns, uint32_t slot, WireAttributes *out)
{
	int			chunk = chunk_of(slot);
	uint32_t	place = chunk_place(chunk, slot);

	*out = (WireAttributes) {.n = columns->n};
	for (uint32_t i = 0; i < columns->n; i++)
	{
		const uint64_t *values = values_in(columns, i, chunk);
		uint64_t	nulls = __atomic_load_n(values + ((size_t) FIRST << chunk) + place / 64, __ATOMIC_RELAXED);

		out->value[i] = (int64_t) __atomic_load_n(&values[place], __ATOMIC_RELAXED);
		out->nulls |= (uint32_t) (nulls >> (place % 64) & 1) << i;
	}
}

const int64_t *
columns_values(const Columns *columns, uint32_t attribute, uint32_t first, uint64_t *nulls)
{
	int			chunk = chunk_of(first);
	uint32_t	place = chunk_place(chunk, first);
	const uint64_t *values = values_in(columns, attribute, chunk);

	if (!values)
		return NULL;
	*nulls = __atomic_load_n(values + ((size_t) FIRST << chunk) + place / 64, __ATOMIC_RELAXED);
	return (const int64_t *) values + place;
}
