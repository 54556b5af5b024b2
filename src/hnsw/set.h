/*-------------------------------------------------------------------------
 *
 * set.h
 *	  Private to hnsw: sets of slots, as a bit for each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_SET_H
#define HNSW_SET_H

#include "hnsw/graph.h"

struct HnswSet
{
	Hnsw	   *h;
	uint32_t	guard;
	uint32_t	nbits;			/* what is beyond is no member */
	uint32_t	size;
	uint64_t   *bits;
	_Atomic(uint64_t *) doors;	/* NULL until a walk asks for them */
};

static inline bool
set_has(const HnswSet *set, uint32_t slot)
{
	return slot < set->nbits && (set->bits[slot >> 6] >> (slot & 63) & 1);
}

/*
 * The nodes that lead to members: those that are some, and those with one among
 * their twins; as bits, found once.
 */
extern const uint64_t *set_doors(const HnswSet *set);

static inline uint32_t
set_opens(const HnswSet *set, const uint64_t *doors, uint32_t slot)
{
	/* Behind the last word is an empty one, for what was not there yet. */
	uint32_t	word = slot < set->nbits ? slot >> 6 : set->nbits >> 6;

	return doors[word] >> (slot & 63) & 1;
}

/* The first member from this slot on; NO_SLOT: none. */
extern uint32_t set_next(const HnswSet *set, uint32_t from);

/*
 * The version that stands for a member now: itself, or the live one that
 * superseded it and is no member; NO_SLOT when it is dead or another member
 * stands nearer to the living one.
 */
static inline uint32_t
set_stand_in(const HnswSet *set, uint32_t slot)
{
	uint32_t	fate = graph_fate(set->h, slot);

	while (fate >= FATE_SUPERSEDED)
	{
		slot = fate - FATE_SUPERSEDED;
		if (set_has(set, slot))
			return NO_SLOT;
		fate = graph_fate(set->h, slot);
	}
	return fate == FATE_LIVE ? slot : NO_SLOT;
}

#endif							/* HNSW_SET_H */
