/*-------------------------------------------------------------------------
 *
 * idmap.h
 *	  Private to pd: a table from ids to numbers.
 *
 * Ids are never 0: that one is never there, nor comes to be (people and rows may ask for it).  Open addressing in a power of two that is at most half full;
 * a zeroed one is empty.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_IDMAP_H
#define PD_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct IdMapSlot
{
	uint64_t	key;			/* 0 = empty */
	uint64_t	value;
} IdMapSlot;

typedef struct IdMap
{
	IdMapSlot  *slots;
	size_t		room;
	size_t		n;
} IdMap;

/* False: it is not there, and *value is left alone. */
extern bool idmap_get(const IdMap *map, uint64_t key, uint64_t *value);
extern void idmap_put(IdMap *map, uint64_t key, uint64_t value);
extern void idmap_remove(IdMap *map, uint64_t key);
extern void idmap_free(IdMap *map);

/* A number for a long id, never 0.  Two may have the same: whoever finds one looks whether it is it. */
extern uint64_t idmap_key(const VtId *id);

#endif							/* PD_IDMAP_H */
