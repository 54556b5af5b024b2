/*-------------------------------------------------------------------------
 *
 * idmap.h
 *	  Private to pd: a table from ids to numbers.
 *
 * Ids are never 0.  Open addressing in a power of two that is at most half full;
 * a zeroed one is empty.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_IDMAP_H
#define PD_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct IdMap
{
	uint64_t   *keys;
	uint64_t   *values;
	size_t		room;
	size_t		n;
} IdMap;

/* False: it is not there, and *value is left alone. */
extern bool idmap_get(const IdMap *map, uint64_t key, uint64_t *value);
extern void idmap_put(IdMap *map, uint64_t key, uint64_t value);
extern void idmap_remove(IdMap *map, uint64_t key);
extern void idmap_free(IdMap *map);

#endif							/* PD_IDMAP_H */
