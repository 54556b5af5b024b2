/*-------------------------------------------------------------------------
 *
 * ctx.h
 *	  Private to hnsw: scratch memory of one walk at a time.
 *
 * Pool	   what a walk has found: an array ordered by score.  For the hundred
 *		   entries of a usual search, moving the tail is cheaper than a heap.
 * Visited a bit for each slot.  A word counts only if its tag is the present
 *		   walk's, so nothing is cleared between walks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_CTX_H
#define HNSW_CTX_H

#include "hnsw/graph.h"
#include "hnsw/query.h"

/*
 * An entry of a pool in one word, so that a comparison is one: the score as a
 * number that orders like it, the slot, and two flags.
 */
typedef uint64_t Entry;

#define ENTRY_EXPANDED 1u		/* its links have been followed */
#define ENTRY_PASS_BY 2u		/* no hit: dead, filtered out; leads on all the same */
#define ENTRY_FLAGS 3u

static inline Entry
entry_make(float score, uint32_t slot, uint32_t flags)
{
	uint32_t	bits;

	memcpy(&bits, &score, sizeof(bits));
	bits ^= (bits >> 31) ? UINT32_MAX : UINT32_C(1) << 31;
	return (Entry) bits << 32 | (Entry) slot << 2 | flags;
}

static inline uint32_t
entry_slot(Entry e)
{
	return (uint32_t) e >> 2;
}

static inline float
entry_score(Entry e)
{
	uint32_t	bits = (uint32_t) (e >> 32);
	float		score;

	bits ^= (bits >> 31) ? UINT32_C(1) << 31 : UINT32_MAX;
	memcpy(&score, &bits, sizeof(score));
	return score;
}

typedef struct Pool
{
	Entry	   *e;
	uint32_t	n;
	uint32_t	room;
	uint32_t	want;			/* hits it keeps; passed-by entries come on top */
	uint32_t	passed_by;		/* entries with ENTRY_PASS_BY */
	uint32_t	at;				/* everything before is expanded */
} Pool;

typedef struct Visited
{
	uint64_t   *bits;
	uint16_t   *tags;
	size_t		words;
	uint16_t	tag;
} Visited;

/* Room for a slot that came into being after the walk began. */
extern void visited_grow(Visited *v, size_t word);

/* True: it was not there before. */
static inline bool
visited_add(Visited *v, uint32_t slot)
{
	size_t		word = slot >> 6;
	uint64_t	bit = UINT64_C(1) << (slot & 63);

	uint64_t	seen;

	if (__builtin_expect(word >= v->words, 0))
		visited_grow(v, word);
	seen = v->tags[word] == v->tag ? v->bits[word] : 0;
	v->tags[word] = v->tag;
	v->bits[word] = seen | bit;
	return !(seen & bit);
}

static inline bool
visited_has(const Visited *v, uint32_t slot)
{
	return slot >> 6 < v->words && v->tags[slot >> 6] == v->tag && (v->bits[slot >> 6] >> (slot & 63) & 1);
}

/* A min-heap of what did not find room in a cursor's pool. */
typedef struct Heap
{
	Entry	   *e;
	size_t		n;
	size_t		room;
} Heap;

extern void heap_push(Heap *heap, Entry e);
extern Entry heap_pop(Heap *heap);

struct Ctx
{
	Query		query;
	Query		pair;			/* a stored row as query */
	Visited		visited;
	Visited		refused;
	Pool		pool;
	Candidate  *candidates;
	uint32_t	ncandidates_room;
	HnswHit    *hits;
	uint32_t	hits_room;
	uint64_t	distances;		/* of the work under way */
	uint64_t	hops;
	HnswFound	found;			/* how a slot was linked, ... */
	bool		tracing;		/* ... if somebody wants to know */
	int			place;			/* among those in flight (link_enter) */
};

extern Ctx *ctx_take(Hnsw *h);
extern void ctx_give(Hnsw *h, Ctx *ctx);
extern void ctx_free(Ctx *ctx);
extern Candidate *ctx_candidates(Ctx *ctx, uint32_t n);
extern HnswHit *ctx_hits(Ctx *ctx, uint32_t n);

/* A new walk, over slots below n as far as is known. */
extern void visited_begin(Visited *v, uint32_t n);
extern void visited_free(Visited *v);

extern void pool_begin(Pool *pool, uint32_t want);

/* Room for entries beyond what the pool keeps. */
extern void pool_grow(Pool *pool);

#endif							/* HNSW_CTX_H */
