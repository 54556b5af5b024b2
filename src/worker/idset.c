/*-------------------------------------------------------------------------
 *
 * idset.c
 *	  A set of ids: an open-addressing table over one buffer.
 *
 *-------------------------------------------------------------------------
 */
#include "idset.h"

#include <stdlib.h>

#include "base/hash.h"

static IdSetEntry *
find(const IdSet *set, Bytes id, uint64_t hash)
{
	for (uint32_t i = (uint32_t) hash & (set->size - 1);; i = (i + 1) & (set->size - 1))
	{
		IdSetEntry *e = &set->table[i];

		if (e->len == 0 || (e->hash == hash &&
							bytes_equal(bytes_of(set->bytes.data + e->at, e->len), id)))
			return e;
	}
}

bool
idset_has(const IdSet *set, Bytes id)
{
	return set->n > 0 && find(set, id, hash_checksum(id))->len != 0;
}

bool
idset_add(IdSet *set, Bytes id)
{
	uint64_t	hash = hash_checksum(id);
	IdSetEntry *e;

	if (2 * (set->n + 1) > set->size)
	{
		IdSetEntry *old = set->table;
		uint32_t	old_size = set->size;

		set->size = old_size ? 2 * old_size : 64;
		set->table = vt_alloc0(sizeof(*set->table) * set->size);
		for (uint32_t i = 0; i < old_size; i++)
			if (old[i].len)
				*find(set, bytes_of(set->bytes.data + old[i].at, old[i].len), old[i].hash) = old[i];
		free(old);
	}
	e = find(set, id, hash);
	if (e->len)
		return false;
	e->hash = hash;
	e->at = (uint32_t) set->bytes.len;
	e->len = (uint32_t) id.len;
	buf_put(&set->bytes, id.data, id.len);
	set->n++;
	return true;
}

void
idset_free(IdSet *set)
{
	buf_free(&set->bytes);
	free(set->table);
	memset(set, 0, sizeof(*set));
}
