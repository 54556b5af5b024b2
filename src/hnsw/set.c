/*-------------------------------------------------------------------------
 *
 * set.c
 *	  Sets of slots that may be hits.
 *
 * A set is a guard: from when it is opened until it is closed none of its
 * members is used again, and those that die are still in the graph.  So a
 * search finds a member that was superseded since, and shows what superseded
 * it.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/set.h"

HnswSet *
hnsw_set_open(Hnsw *h)
{
	HnswSet    *set = vt_alloc0(sizeof(HnswSet));

	set->h = h;
	set->guard = hnsw_enter(h);
	set->nbits = (atomic_load_explicit(&h->used, memory_order_acquire) + 63) / 64 * 64;
	set->bits = vt_alloc0(sizeof(uint64_t) * (set->nbits / 64 + 1));
	return set;
}

void
hnsw_set_close(HnswSet *set)
{
	if (set == NULL)
		return;
	hnsw_leave(set->h, set->guard);
	free(atomic_load(&set->doors));
	free(set->bits);
	free(set);
}

void
hnsw_set_add(HnswSet *set, uint32_t slot)
{
	if (slot >= set->nbits)
	{
		uint32_t	nbits = (slot + slot / 4) / 64 * 64 + 64;
		uint64_t   *bits = vt_alloc0(sizeof(uint64_t) * (nbits / 64 + 1));

		memcpy(bits, set->bits, sizeof(uint64_t) * (set->nbits / 64));
		free(set->bits);
		set->bits = bits;
		set->nbits = nbits;
	}
	set->size += !set_has(set, slot);
	set->bits[slot >> 6] |= UINT64_C(1) << (slot & 63);
}

void
hnsw_set_add_passing(HnswSet *set, HnswFilter filter, void *arg)
{
	Hnsw	   *h = set->h;
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);

	for (uint32_t slot = 0; slot < used; slot++)
	{
		uint32_t	now = slot;
		uint32_t	fate;

		/* What superseded it may have a place that was looked at before. */
		while ((fate = graph_fate(h, now)) >= FATE_SUPERSEDED)
			now = fate - FATE_SUPERSEDED;
		if (fate == FATE_LIVE && filter(arg, graph_meta(h, now)->label, now))
			hnsw_set_add(set, now);
	}
}

const uint64_t *
set_doors(const HnswSet *set)
{
	Hnsw	   *h = set->h;
	HnswSet    *own = (HnswSet *) set;
	uint64_t   *doors = atomic_load_explicit(&own->doors, memory_order_acquire);
	uint64_t   *other = NULL;
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);

	if (doors)
		return doors;
	doors = vt_alloc(sizeof(uint64_t) * (set->nbits / 64 + 1));
	memcpy(doors, set->bits, sizeof(uint64_t) * (set->nbits / 64 + 1));
	if (used > set->nbits)
		used = set->nbits;
	for (uint32_t slot = 0; slot < used; slot++)
	{
		uint32_t	twin = slot;

		if (slot % 8 == 0 && atomic_load_explicit(graph_heads(h, slot), memory_order_relaxed) == 0)
		{
			slot += 7;
			continue;
		}
		if (!graph_is_head(h, slot) || set_has(set, slot))
			continue;
		while ((twin = atomic_load_explicit(&graph_meta(h, twin)->twin, memory_order_acquire)) != NO_SLOT)
			if (set_has(set, twin))
			{
				doors[slot >> 6] |= UINT64_C(1) << (slot & 63);
				break;
			}
	}
	/* Two walks may find them at once. */
	if (atomic_compare_exchange_strong(&own->doors, &other, doors))
		return doors;
	free(doors);
	return other;
}

uint32_t
hnsw_set_size(const HnswSet *set)
{
	return set->size;
}

uint32_t
set_next(const HnswSet *set, uint32_t from)
{
	uint32_t	word = from >> 6;
	uint64_t	bits;

	if (from >= set->nbits)
		return NO_SLOT;
	bits = set->bits[word] >> (from & 63) << (from & 63);
	while (bits == 0)
		if (++word >= set->nbits / 64)
			return NO_SLOT;
		else
			bits = set->bits[word];
	return word * 64 + (uint32_t) __builtin_ctzll(bits);
}
