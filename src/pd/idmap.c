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

	while (map->slots[slot].key != 0 && map->slots[slot].key != key)
		slot = (slot + 1) & (map->room - 1);
	return slot;
}

bool
idmap_get(const IdMap *map, uint64_t key, uint64_t *value)
{
	const IdMapSlot *found;

	if (map->n == 0 || key == 0)
		return false;
	found = &map->slots[slot_of(map, key)];
	if (found->key != key)
		return false;
	*value = found->value;
	return true;
}

static void
grow(IdMap *map)
{
	IdMap		old = *map;

	map->room = old.room ? old.room * 2 : 64;
	map->slots = vt_alloc0(sizeof(IdMapSlot) * map->room);
	for (size_t i = 0; i < old.room; i++)
		if (old.slots[i].key != 0)
			map->slots[slot_of(map, old.slots[i].key)] = old.slots[i];
	free(old.slots);
}

void
idmap_put(IdMap *map, uint64_t key, uint64_t value)
{
	size_t		slot;

	if (key == 0)
		return;
	if (map->n * 2 >= map->room)
		grow(map);
	slot = slot_of(map, key);
	map->n += map->slots[slot].key == 0;
	map->slots[slot] = (IdMapSlot) {key, value};
}

/* What stands behind in the same run moves up, unless it would come before its own place. */
void
idmap_remove(IdMap *map, uint64_t key)
{
	size_t		mask = map->room - 1;
	size_t		hole;

	if (map->n == 0 || key == 0 || map->slots[hole = slot_of(map, key)].key != key)
		return;
	map->n--;
	for (size_t next = (hole + 1) & mask; map->slots[next].key != 0; next = (next + 1) & mask)
	{
		size_t		home = prng_mix(map->slots[next].key) & mask;

		if (((next - home) & mask) < ((next - hole) & mask))
			continue;
		map->slots[hole] = map->slots[next];
		hole = next;
	}
	map->slots[hole].key = 0;
}

void
idmap_free(IdMap *map)
{
	free(map->slots);
	memset(map, 0, sizeof(*map));
}

uint64_t
idmap_key(const VtId *id)
{
	uint64_t	key = prng_mix(get_be64(id->b)) ^ get_be64(id->b + 8);

	return key ? key : 1;
}
