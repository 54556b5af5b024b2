/*-------------------------------------------------------------------------
 *
 * set.h
 *	  Private to hnsw: sets of slots, as a bit for each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_SET_H
#define HNSW_SET_H

#include "hnsw/doors.h"
#include "hnsw/graph.h"

/*
 * The rows of the first n members side by side, in the order of their slots: read in
 * one stream, where those in the graph cost a wait each.  Rows never change, and the
 * set keeps its members from being used again, so a copy stays true.
 */
typedef struct SetRows
{
	atomic_uint n;				/* grows until all are there */
	size_t		stride;			/* bytes from one to the next */
	size_t		bytes;			/* of all this */
	uint32_t   *slots;
	uint8_t    *rows;
} SetRows;

/* A guard of one set or of several. */
typedef struct SetGuard
{
	uint32_t	guard;
	atomic_uint sets;
} SetGuard;

struct HnswSet
{
	Hnsw	   *h;
	SetGuard   *guard;
	uint32_t	nbits;			/* what is beyond is no member */
	uint32_t	size;
	bool		alone;			/* members do not stand for what supersedes them */
	uint64_t   *bits;
	DoorsKernel kernel;
	_Atomic(atomic_ullong *) doors; /* NULL until a walk asks for them */
	atomic_ullong doors_hung;	/* Hnsw.hung of when they were looked for */
	_Atomic(SetRows *) rows;	/* NULL until a scan makes them */
	atomic_bool copying;		/* one does */
	atomic_uint uses;			/* searches so far, counted up to SET_REUSED */
};

static inline bool
set_has(const HnswSet *set, uint32_t slot)
{
	return slot < set->nbits && (set->bits[slot >> 6] >> (slot & 63) & 1);
}

/*
 * The nodes that lead to members: those that are some, and those with one among
 * their twins; as bits.  Found by the first walk that asks, and others added when
 * twins have been hung elsewhere since.
 */
extern const atomic_ullong *set_doors(const HnswSet *set);

static inline uint32_t
set_opens(const HnswSet *set, const atomic_ullong *doors, uint32_t slot)
{
	/* Behind the last word is an empty one, for what was not there yet. */
	uint32_t	word = slot < set->nbits ? slot >> 6 : set->nbits >> 6;

	return atomic_load_explicit(&doors[word], memory_order_relaxed) >> (slot & 63) & 1;
}

/*
 * Is the set used again, and are its members few enough for their rows to be
 * copied?  set_use() counts the searches.
 */
#define SET_REUSED 2

extern void set_use(const HnswSet *set);
extern bool set_copies(const HnswSet *set);

/* All members have been measured: copy the rows of some more, if the set copies. */
extern void set_copy_some(const HnswSet *set);

/* The first member from this slot on; NO_SLOT: none. */
extern uint32_t set_next(const HnswSet *set, uint32_t from);

/*
 * The version that stands for a member now: itself, or, unless members stand alone,
 * the live one that superseded it and is no member; NO_SLOT when it is dead or another
 * member stands nearer to the living one.
 */
static inline uint32_t
set_stand_in(const HnswSet *set, uint32_t slot)
{
	uint32_t	fate = graph_fate(set->h, slot);

	while (fate >= FATE_SUPERSEDED && !set->alone)
	{
		slot = fate - FATE_SUPERSEDED;
		if (set_has(set, slot))
			return NO_SLOT;
		fate = graph_fate(set->h, slot);
	}
	return fate == FATE_LIVE ? slot : NO_SLOT;
}

#endif							/* HNSW_SET_H */
