/*-------------------------------------------------------------------------
 *
 * idset.h
 *	  Private to worker: a set of ids, each copied.
 *
 * Zero-initialised is empty.  Not thread-safe.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_IDSET_H
#define WORKER_IDSET_H

#include "base/bytes.h"

typedef struct IdSetEntry
{
	uint64_t	hash;
	uint32_t	at;				/* in bytes */
	uint32_t	len;			/* 0 = empty */
} IdSetEntry;

typedef struct IdSet
{
	Buf			bytes;			/* the ids, one after the other */
	IdSetEntry *table;
	uint32_t	size;			/* 0 or a power of two */
	uint32_t	n;
} IdSet;

extern bool idset_has(const IdSet *set, Bytes id);

/* False: it was there. */
extern bool idset_add(IdSet *set, Bytes id);
extern void idset_free(IdSet *set);

#endif							/* WORKER_IDSET_H */
