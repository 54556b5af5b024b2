/*-------------------------------------------------------------------------
 *
 * idmap.c
 *	  A table from ids to numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "idmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/prng.h"

/* Where a key is, or the empty slot where it would be. */
static size_t
slot_of(const IdMap *map, uint64_t key)
{
	size_t		slot = prng_mix(key) & (map->room - 1);

	while (map->keys[slot] != 0 && map->keys[slot] != key)
		slot = (slot + 1) & (map->room - 1);
	return slot;
}

bool
idmap_get(const IdMap *map, uint64_t key, uint64_t *value)
{
	size_t		slot;

	if (map->n == 0)
		return false;
	slot = slot_of(map, key);
	if (map->keys[slot] != key)
		return false;
	*value = map->values[slot];
	return true;
}

static void
grow(IdMap *map)
{
	IdMap		old = *map;

	map->room = old.room ? old.room * 2 : 64;
	map->keys = vt_alloc0(sizeof(uint64_t) * map->room);
	map->values = vt_alloc(sizeof(uint64_t) * map->room);
	for (size_t i = 0; i < old.room; i++)
		if (old.keys[i] != 0)
		{
			size_t		slot = slot_of(map, old.keys[i]);

			map->keys[slot] = old.keys[i];
			map->values[slot] = old.values[i];
		}
	free(old.keys);
	free(old.values);
}

void
idmap_put(IdMap *map, uint64_t key, uint64_t value)
{
	size_t		slot;

	if (map->n * 2 >= map->room)
		grow(map);
	slot = slot_of(map, key);
	map->n += map->keys[slot] == 0;
	map->keys[slot] = key;
	map->values[slot] = value;
}

/* What stands behind in the same run moves up, unless it would come before its own place. */
void
idmap_remove(IdMap *map, uint64_t key)
{
	size_t		mask = map->room - 1;
	size_t		hole;

	if (map->n == 0 || map->keys[hole = slot_of(map, key)] != key)
		return;
	map->n--;
	for (size_t next = (hole + 1) & mask; map->keys[next] != 0; next = (next + 1) & mask)
	{
		size_t		home = prng_mix(map->keys[next]) & mask;

		if (((next - home) & mask) < ((next - hole) & mask))
			continue;
		map->keys[hole] = map->keys[next];
		map->values[hole] = map->values[next];
		hole = next;
	}
	map->keys[hole] = 0;
}

void
idmap_free(IdMap *map)
{
	free(map->keys);
	free(map->values);
	memset(map, 0, sizeof(*map));
}
