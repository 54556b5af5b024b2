/*-------------------------------------------------------------------------
 *
 * cursor.c
 *	  A search that goes on.
 *
 * It keeps what a search throws away: candidates that fell out of the pool or
 * never got in go to a heap.  The next call fills the pool from the heap and
 * walks on.  When the walk has nothing left, slots it never came to (the graph
 * may have lost some, and twins of passed-by nodes) are measured one by one;
 * so a cursor read to its end is a full scan.
 *
 * Among the members of a set it goes the way that a search would (search.c): a walk,
 * one through what is no member, or all members are measured, and the nearest wait in the
 * heap.  A walk that has come so far that measuring them would have cost as much does that, too.
 *
 * A cursor that rests has left its guard.  Slots it knows were not given up (graph_retire)
 * when it saw them, so as long as none has been given up since it was opened they are
 * what they were.  The number is looked at inside of a guard, before the first walk and
 * when it goes on: a slot that is given up later waits for that guard.
 *
 * Each slot is visited once, and what is superseded meanwhile is shown by the
 * slot that stood for it when the cursor was opened: nothing comes twice.
 *
 *-------------------------------------------------------------------------
 */
#include "base/breaks.h"
#include "hnsw/hits.h"
#include "hnsw/walk.h"

/* Of members that are all measured at least so many are kept, until they have come. */
#define GATHER_LEAST 256

struct HnswCursor
{
	Hnsw	   *h;
	uint32_t	guard;
	bool		rests;			/* outside of the guard */
	uint64_t	retired;		/* Hnsw.retired when it was opened */
	uint32_t	ef;
	double		more;			/* a walk keeps so many times that */
	uint32_t	taken;			/* hits that have come */
	uint32_t	used;			/* when it was opened */
	void	   *query;
	Query		prepared;
	Visited		visited;
	Pool		pool;
	Heap		discards;
	Walk		walk;
	HnswCost   *cost;
	bool		measured;		/* all members have been: the walk is over */
	bool		swept;			/* the slots the walk missed are in the heap */
	bool		stopped;		/* for good */
};

/* It has no condition but to be in a set: there are several ways. */
static bool
cursor_chooses(const HnswCursor *cursor)
{
	return cursor->walk.set && !cursor->walk.filter;
}

/*
 * Of all members of the set that it never came to the nearest, into the heap.  What is left
 * out then is farther than those, and found once they have come.
 */
static void
measure_members(HnswCursor *cursor)
{
	HnswCost   *cost = cursor->cost;
	uint64_t	begin = cost ? walk_clock_ns() : 0;
	Gather		gather = {.least = 2 * cursor->pool.want, .bound = UINT64_MAX};

	if (gather.least < GATHER_LEAST)
		gather.least = GATHER_LEAST;
	gather.e = vt_alloc(sizeof(Entry) * 2 * gather.least);
	cursor->walk.gather = &gather;
	walk_all(&cursor->walk);
	cursor->walk.gather = NULL;
	for (uint32_t i = 0; i < gather.n; i++)
	{
		visited_add(&cursor->visited, entry_slot(gather.e[i]));
		heap_push(&cursor->discards, gather.e[i] | ENTRY_EXPANDED);
	}
	free(gather.e);
	cursor->swept = gather.bound == UINT64_MAX;

	/* There is nowhere to go any more. */
	cursor->measured = true;
	for (uint32_t i = 0; i < cursor->pool.n; i++)
		cursor->pool.e[i] |= ENTRY_EXPANDED;
	if (walk_stopped(&cursor->walk))
		cursor->stopped = true;
	if (cost)
	{
		cost->exact++;
		cost->exact_ns += walk_clock_ns() - begin;
	}
}

/* The way to so many members; how many candidates a walk keeps for them. */
static Way
way_to(const HnswCursor *cursor, uint32_t candidates, uint32_t *keep)
{
	HnswSearch	search = {.set = cursor->walk.set};

	*keep = candidates;
	return walk_way(cursor->h, &search, keep);
}

/* The first steps among the members of a set. */
static void
begin_among(HnswCursor *cursor)
{
	Walk	   *walk = &cursor->walk;
	uint32_t	keep;
	Way			way;

	set_use(walk->set);
	way = way_to(cursor, cursor->ef, &keep);
	walk->through = way == WAY_THROUGH;
	cursor->more = way == WAY_THROUGH ? (double) keep / cursor->ef : 1;
	pool_begin(&cursor->pool, keep);
	if (way != WAY_ALL)
		walk_start(walk);
	else
	{
		visited_begin(&cursor->visited, atomic_load_explicit(&cursor->h->used, memory_order_acquire));
		measure_members(cursor);
	}
}

HnswCursor *
hnsw_cursor_open(Hnsw *h, const HnswSearch *search)
{
	HnswCursor *cursor = vt_alloc0(sizeof(HnswCursor));
	Walk	   *walk = &cursor->walk;
	uint64_t	begin = search->cost ? walk_clock_ns() : 0;
	uint64_t	apart = search->cost ? search->cost->waiting_ns + search->cost->exact_ns : 0;

	cursor->h = h;
	cursor->guard = hnsw_enter(h);
	cursor->retired = atomic_load(&h->retired);
	cursor->ef = search->ef > search->k ? search->ef : search->k;
	if (cursor->ef == 0)
		cursor->ef = 1;
	cursor->query = vt_alloc(vec_given_bytes(h->opt.element, h->opt.dim));
	memcpy(cursor->query, search->query, vec_given_bytes(h->opt.element, h->opt.dim));
	cursor->cost = search->cost;
	query_init(h, &cursor->prepared);
	query_set(h, &cursor->prepared, cursor->query);

	walk->h = h;
	walk->query = &cursor->prepared;
	walk->visited = &cursor->visited;
	walk->pool = &cursor->pool;
	walk->discards = &cursor->discards;
	walk->set = search->set;
	walk->filter = search->filter;
	walk->filter_arg = search->filter_arg;
	walk->stop = search->stop;
	walk->stop_arg = search->stop_arg;
	walk->timed = search->cost;
	cursor->more = 1;
	if (cursor_chooses(cursor))
		begin_among(cursor);
	else
	{
		pool_begin(&cursor->pool, cursor->ef);
		walk_start(walk);
	}
	if (search->cost)
	{
		search->cost->waiting += walk->waiting;
		search->cost->walk_ns += walk_clock_ns() - begin - (search->cost->waiting_ns + search->cost->exact_ns - apart);
	}
	cursor->used = atomic_load_explicit(&h->used, memory_order_acquire);
	return cursor;
}

/* After `looked` of something: is nobody waiting any more? */
static bool
stops(HnswCursor *cursor, uint32_t looked)
{
	if (looked % STOP_EVERY == STOP_EVERY - 1 && walk_stopped(&cursor->walk))
		cursor->stopped = true;
	return cursor->stopped;
}

/* The pool as full as it can be. */
static void
fill(HnswCursor *cursor)
{
	uint32_t	looked = 0;

	/* An entry that is no hit, once expanded, has done what it was for. */
	while (cursor->discards.n > 0 && walk_has_room(&cursor->walk) && !stops(cursor, looked++))
	{
		Entry		e = heap_pop(&cursor->discards);

		if (!(e & ENTRY_FLAGS) && walk_passes_by(&cursor->walk, entry_slot(e)))
			e |= ENTRY_PASS_BY;
		if (cursor->measured)
			e |= ENTRY_EXPANDED;
		if ((e & ENTRY_FLAGS) != ENTRY_FLAGS)
			walk_insert(&cursor->walk, e);
	}
}

/* What the walk never came to, as entries that lead nowhere. */
static void
sweep(HnswCursor *cursor)
{
	Hnsw	   *h = cursor->h;
	Walk	   *walk = &cursor->walk;
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);

	if (walk->set)
	{
		measure_members(cursor);
		return;
	}

	/* While it rested memory may have been given back. */
	cursor->swept = true;
	used = used < cursor->used ? used : cursor->used;
	for (uint32_t slot = 0; slot < used && !stops(cursor, slot); slot++)
	{
		const uint8_t *row;
		float		score;

		if (visited_has(&cursor->visited, slot) ||
			graph_stand_in(h, slot, walk->start) == NO_SLOT || !walk_filter(walk, slot))
			continue;
		visited_add(&cursor->visited, slot);
		row = graph_row(h, slot);
		query_score(h, walk->query, &slot, &row, 1, &score);
		walk->distances++;
		heap_push(&cursor->discards, entry_make(score, slot, ENTRY_EXPANDED));
	}
}

/* Take up to n hits out of the pool, the best by exact distance. */
static uint32_t
emit(HnswCursor *cursor, HnswHit *hits, uint32_t n)
{
	Hnsw	   *h = cursor->h;
	Walk	   *walk = &cursor->walk;
	Pool	   *pool = &cursor->pool;
	uint32_t	slack = n / 2 > 10 ? n / 2 : 10;
	uint32_t	look = n > UINT32_MAX - slack ? UINT32_MAX : n + slack;
	HnswHit    *found = vt_alloc(sizeof(HnswHit) * (pool->n + 1));
	uint32_t   *places = vt_alloc(sizeof(uint32_t) * (pool->n + 1));
	HnswHit		last;
	uint32_t	nfound = 0;
	uint32_t	nhits = 0;
	uint32_t	kept = 0;
	uint32_t	seen;

	/* Measure the first of the pool; keep the best n of them. */
	for (seen = 0; seen < pool->n && nfound < look && !stops(cursor, seen); seen++)
	{
		Entry		e = pool->e[seen];
		uint32_t	slot = entry_slot(e);
		uint32_t	shown;

		if (e & ENTRY_PASS_BY || (shown = walk_stand_in(walk, slot)) == NO_SLOT ||
			(shown != slot && !walk_filter(walk, shown)))
			continue;
		found[nfound] = hits_make(h, cursor->query, shown);
		places[nfound++] = seen;
	}
	for (uint32_t i = 0; i < nfound; i++)
		hits_keep(hits, &nhits, n, &found[i]);
	hits_sort(hits, nhits);
	if (nhits > 0)
		last = hits[nhits - 1];

	/* The others stay in the pool, and what was not looked at. */
	for (uint32_t i = 0; i < nfound; i++)
		if (nhits > 0 && hits_compare(&found[i], &last) > 0)
			pool->e[kept++] = pool->e[places[i]];
	for (; seen < pool->n; seen++)
		pool->e[kept++] = pool->e[seen];
	pool->n = kept;
	pool->at = 0;
	pool->passed_by = 0;
	for (uint32_t i = 0; i < kept; i++)
		pool->passed_by += (pool->e[i] & ENTRY_PASS_BY) != 0;
	if (cursor->cost)
		cursor->cost->refined += nfound;
	free(found);
	free(places);
	return nhits;
}

/* Before it goes on among the members of a set: is there a better way by now? */
static void
look_about(HnswCursor *cursor)
{
	Walk	   *walk = &cursor->walk;
	uint32_t	keep;

	if (cursor->measured || cursor->stopped)
		return;
	if (way_to(cursor, cursor->taken + cursor->ef, &keep) == WAY_ALL)
		measure_members(cursor);
	else if (walk->through)
		walk->doors = set_doors(walk->set);
}

uint32_t
hnsw_cursor_next(HnswCursor *cursor, HnswHit *hits, uint32_t n)
{
	Walk	   *walk = &cursor->walk;
	Pool	   *pool = &cursor->pool;
	uint64_t	begin = cursor->cost ? walk_clock_ns() : 0;
	uint64_t	apart = cursor->cost ? cursor->cost->exact_ns : 0;
	uint32_t	got = 0;

	Assert(!cursor->rests);
	/* A walk that keeps fewer candidates than are wanted finds poor ones. */
	if (n > cursor->ef && n <= HNSW_MAX_EF)
		cursor->ef = n;
	pool->want = (uint32_t) (cursor->more * cursor->ef);
	if (cursor_chooses(cursor))
		look_about(cursor);
	while (got < n && !cursor->stopped)
	{
		fill(cursor);
		walk_run(walk);

		/* A walk that was stopped leaves something to expand. */
		if (pool->at < pool->n)
			cursor->stopped = true;
		else if (pool->n > 0)
			got += emit(cursor, hits + got, n - got);
		else if (cursor->discards.n == 0)
		{
			if (cursor->swept)
				break;
			sweep(cursor);
		}
	}
	if (got > 0)
		hits_sort(hits, got);
	cursor->taken += got;
	if (cursor->cost)
	{
		cursor->cost->distances += walk->distances;
		cursor->cost->hops += walk->hops;
		cursor->cost->looked += walk->looked;
		cursor->cost->walk_ns += walk_clock_ns() - begin - (cursor->cost->exact_ns - apart);
	}
	walk->distances = 0;
	walk->hops = 0;
	walk->looked = 0;
	return got;
}

void
hnsw_cursor_rest(HnswCursor *cursor)
{
	Assert(!cursor->rests);
	cursor->rests = true;
	hnsw_leave(cursor->h, cursor->guard);
}

bool
hnsw_cursor_wake(HnswCursor *cursor)
{
	Assert(cursor->rests);
	cursor->guard = hnsw_enter(cursor->h);
	cursor->rests = false;
	return atomic_load(&cursor->h->retired) == cursor->retired || vt_broken("S5-cursor");
}

size_t
hnsw_cursor_bytes(const HnswCursor *cursor)
{
	const Hnsw *h = cursor->h;

	return sizeof(HnswCursor) + vec_given_bytes(h->opt.element, h->opt.dim) + query_bytes(h) +
		cursor->visited.words * (sizeof(uint64_t) + sizeof(uint16_t)) +
		sizeof(Entry) * (cursor->pool.room + cursor->discards.room);
}

void
hnsw_cursor_close(HnswCursor *cursor)
{
	if (cursor == NULL)
		return;
	if (!cursor->rests)
		hnsw_leave(cursor->h, cursor->guard);
	query_free(&cursor->prepared);
	visited_free(&cursor->visited);
	free(cursor->pool.e);
	free(cursor->discards.e);
	free(cursor->query);
	free(cursor);
}
