/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  Private to hnsw: the walk through the graph, shared by searches, cursors
 *	  and linking.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_WALK_H
#define HNSW_WALK_H

#include <time.h>

#include "hnsw/ctx.h"
#include "hnsw/set.h"

#define STOP_EVERY 1024			/* slots, or nodes of a walk, between two questions whether to stop */

/* The nearest of what is measured all at once, at least `least` of them; in no order. */
typedef struct Gather
{
	Entry	   *e;				/* room for twice as many */
	uint32_t	n;
	uint32_t	least;
	Entry		bound;			/* from here on is left out; UINT64_MAX: nothing was */
} Gather;

typedef struct Walk
{
	Hnsw	   *h;
	Ctx		   *ctx;
	const Query *query;
	Visited    *visited;
	Visited    *refused;		/* of a walk through: what the filter has said no to */
	Pool	   *pool;
	Heap	   *discards;		/* cursor: what falls out of the pool; else NULL */
	Gather	   *gather;			/* of walk_all: not into the pool, and only what was not visited; else NULL */

	uint64_t	start;			/* queue's end when the walk began */
	int			level;
	bool		linking;		/* every live slot counts */
	bool		twins;			/* there are some, and they count */
	bool		through;		/* what is no hit is not measured, but looked through */
	bool		holds_out;		/* one node of the ground level, `without`, is as if it were not there */
	uint32_t	without;

	/* How far it goes (reach.c); k = 0: as far as the pool holds */
	uint32_t	k;
	uint32_t	kth;			/* place of the k-th hit in the pool; NO_PLACE: there are fewer */
	float		stretch;		/* so many times as far as that one */
	Entry		reach;			/* entries beyond are not followed */

	const HnswSet *set;
	const atomic_ullong *doors;	/* of the set, for a walk through; else NULL */
	HnswFilter	filter;
	void	   *filter_arg;
	bool		(*stop) (void *arg);	/* NULL = never */
	void	   *stop_arg;

	uint64_t	distances;
	uint64_t	hops;
	uint64_t	looked;
	uint64_t	waiting;		/* distances to what waits */
	HnswCost   *timed;			/* stages and calls of the filter are timed; NULL: nobody asks */
} Walk;

static inline uint64_t
walk_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

/* May it be a hit?  One call of 64 is timed. */
static inline bool
walk_ask(HnswFilter filter, void *arg, HnswCost *timed, uint64_t label, uint32_t slot)
{
	uint64_t	begin;
	bool		pass;

	if (timed == NULL)
		return filter(arg, label, slot);
	if (timed->asked++ % 64 != 0)
		return filter(arg, label, slot);
	begin = walk_clock_ns();
	pass = filter(arg, label, slot);
	timed->filter_ns += 64 * (walk_clock_ns() - begin);
	return pass;
}

static inline bool
walk_stopped(const Walk *walk)
{
	return walk->stop && walk->stop(walk->stop_arg);
}

/* What a search shows for a slot, NO_SLOT for nothing; the filter is asked apart. */
static inline uint32_t
walk_stand_in(const Walk *walk, uint32_t slot)
{
	if (walk->set == NULL)
		return graph_stand_in(walk->h, slot, walk->start);
	return set_has(walk->set, slot) ? set_stand_in(walk->set, slot) : NO_SLOT;
}

static inline bool
walk_filter(const Walk *walk, uint32_t slot)
{
	return walk->filter == NULL ||
		walk_ask(walk->filter, walk->filter_arg, walk->timed, graph_meta(walk->h, slot)->label, slot);
}

/* -- Asking memory --------------------------------------------------------- */

/* Rows of so many lines are asked for all at once, longer ones by the kernels. */
#define SHORT_ROW 5

static inline void
prefetch_lines(const void *p, int lines)
{
	for (int i = 0; i < lines; i++)
		__builtin_prefetch((const char *) p + 64 * (size_t) i);
}

/* Where rows are read one after the other, apart: so many are asked for before the last as many are used. */
#define ROWS_AHEAD 24

/* Into the nearest cache but one, which has room for more requests at once. */
static inline void
prefetch_lines_l2(const void *p, uint32_t lines)
{
	for (uint32_t i = 0; i < lines; i++)
		__builtin_prefetch((const char *) p + 64 * (size_t) i, 0, 2);
}

/*
 * Does each slot that may be a hit stand for itself?  Members of a set do while
 * nothing is dead; without one, what was added since the walk began does not.
 */
static inline bool
walk_all_stand(const Walk *walk)
{
	const Hnsw *h = walk->h;

	return atomic_load_explicit(&h->dead, memory_order_relaxed) == 0 &&
		(walk->set || atomic_load_explicit(&h->tail, memory_order_relaxed) == walk->start);
}

/* Greedily from the entry point down to level `to`. */
extern Entry walk_descend(Walk *walk, uint64_t entry, int to);

/* Put slots into the pool that are not visited yet; n at most WALK_BATCH. */
#define WALK_BATCH 256
extern void walk_offer(Walk *walk, const uint32_t *slots, uint32_t n);

/* The same for slots that have just been marked as visited. */
extern void walk_measure(Walk *walk, const uint32_t *slots, uint32_t n);

/* Is the slot no hit of this walk? */
extern bool walk_passes_by(const Walk *walk, uint32_t slot);

/* through.c: of a node's links, and the links of links, those that are hits. */
extern void walk_through(Walk *walk, const uint32_t *links, uint32_t n);

/* Some members of the set, from all over it. */
extern void walk_seeds(Walk *walk);

/* Expand until the best `want` are expanded. */
extern void walk_run(Walk *walk);

/* From the entry point, and over the waiting slots: how a search begins. */
extern void walk_start(Walk *walk);

/* scan.c: instead of walking, measure all that may be a hit; with `gather`, of a set. */
extern void walk_all(Walk *walk);

/* search.c: how the hits of a search with a condition are found best */
typedef enum Way
{
	WAY_WALK,
	WAY_THROUGH,				/* from hit to hit, through what is none */
	WAY_ALL						/* measure all that may be a hit */
} Way;

/* *keep: candidates wanted; then how many of them such a walk keeps. */
extern Way	walk_way(Hnsw *h, const HnswSearch *search, uint32_t *keep);

/* search.c: hnsw_search, as if a node of the ground level were not in the graph. */
extern uint32_t search_without(Hnsw *h, const HnswSearch *search, uint32_t without, HnswHit *hits);

extern void walk_insert(Walk *walk, Entry e);

/* -- reach.c ---------------------------------------------------------------- */

#define NO_PLACE UINT32_MAX

/* Of Hnsw.spread: one, and the bounds of what it can be. */
#define SPREAD_ONE 1000000
#define SPREAD_LEAST (SPREAD_ONE / 30)
#define SPREAD_MOST SPREAD_ONE

/* A walk of linking has filled this pool. */
extern void reach_learn(Hnsw *h, const Pool *pool);
extern void reach_restore(Hnsw *h, uint32_t spread);

/* For a walk over everything: end by distance.  What the pool is to hold. */
extern uint32_t reach_begin(Walk *walk, uint32_t k, uint32_t ef);

/* The pool has another entry, at this place. */
extern void reach_note(Walk *walk, uint32_t place);

/* The k-th hit has given way. */
extern void reach_forget(Walk *walk);

/* Would an entry, whichever, find a place without another giving way? */
extern bool walk_has_room(const Walk *walk);

#endif							/* HNSW_WALK_H */
