/*-------------------------------------------------------------------------
 *
 * columns.h
 *	  Private to worker: attributes of records in memory, a column each.
 *
 * A slot's attributes are written once, before it is published, by the thread that
 * has reserved it, and stay until it is used again: who sees the slot live under a
 * guard reads them as they are.  Who looks at slots of which that is not known may
 * read anything for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_COLUMNS_H
#define WORKER_COLUMNS_H

#include "wire/wire.h"

typedef struct Columns Columns;

extern Columns *columns_new(uint32_t attributes);
extern void columns_free(Columns *columns); /* NULL is fine */

/* Bytes that a slot takes. */
extern size_t columns_width(const Columns *columns);

/* There is room for these slots from now on; one thread at a time. */
extern void columns_make(Columns *columns, int chunk);

extern void columns_write(Columns *columns, uint32_t slot, const WireAttributes *attributes);
extern void columns_read(const Columns *columns, uint32_t slot, WireAttributes *out);

/*
 * 64 values of an attribute from a slot on that is a multiple of 64, and a bit for
 * each that is NULL.  NULL: there is no room for these slots.
 */
extern const int64_t *columns_values(const Columns *columns, uint32_t attribute, uint32_t first, uint64_t *nulls);

#endif							/* WORKER_COLUMNS_H */
