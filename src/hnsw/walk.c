/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  From the entry point to the neighbourhood of a query.
 *
 * Algorithms 2 and 5 of Malkov and Yashunin, "Efficient and robust approximate
 * nearest neighbor search using Hierarchical Navigable Small World graphs",
 * with one ordered pool in the place of two heaps.  A step takes the nearest
 * node that is not expanded, gathers those of its links that were not visited,
 * scores them in one call and puts the good ones into the pool.  The walk ends
 * when the best `want` of the pool are expanded.
 *
 * Dead and filtered slots lead on but are no hits: they are kept in the pool
 * on top of the `want`, so they do not crowd the others out.  Where most are no
 * hits, a walk `through` does not measure them, but goes on to the hits behind.
 *
 * A hop waits for memory: for the links, then for the rows.  Links are asked for
 * when a node enters the pool; short rows while links are gathered, of long ones
 * only the first lines, and the kernel goes on at the pace of its work.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/*
 * Passed-by entries beyond this many times the wanted ones (and some) push
 * each other out; a search that then finds too little scans.
 */
#define PASS_BY_FACTOR 32
#define PASS_BY_FLOOR 1024

bool
walk_passes_by(const Walk *walk, uint32_t slot)
{
	const Hnsw *h = walk->h;

	if (walk->linking)
		return atomic_load_explicit(&h->dead, memory_order_relaxed) != 0 &&
			graph_fate(h, slot) != FATE_LIVE;
	if (walk->set && !set_has(walk->set, slot))
		return true;
	if (!walk_all_stand(walk) && walk_stand_in(walk, slot) == NO_SLOT)
		return true;
	return !walk_filter(walk, slot);
}

/* The last entry gives way. */
static inline void
drop_last(Walk *walk)
{
	Pool	   *pool = walk->pool;
	Entry		last = pool->e[--pool->n];

	if (last & ENTRY_PASS_BY)
		pool->passed_by--;
	if (walk->discards)
		heap_push(walk->discards, last);
}

static inline uint32_t
pass_by_most(const Pool *pool)
{
	return PASS_BY_FACTOR * pool->want + PASS_BY_FLOOR;
}

/* Entries the pool holds at most now. */
static inline uint32_t
pool_limit(const Pool *pool)
{
	uint32_t	most = pass_by_most(pool);

	return pool->want + (pool->passed_by < most ? pool->passed_by : most);
}

bool
walk_has_room(const Walk *walk)
{
	const Pool *pool = walk->pool;

	return pool->n - pool->passed_by < pool->want && pool->n < pool->want + pass_by_most(pool);
}

void
walk_insert(Walk *walk, Entry e)
{
	Pool	   *pool = walk->pool;
	uint32_t	low = 0;
	uint32_t	len = pool->n;

	/* The first entry not below e, without a branch that cannot be foretold. */
	while (len > 0)
	{
		uint32_t	half = len / 2;

		low += (len - half) & -(uint32_t) (pool->e[low + half] < e);
		len = half;
	}
	if (e & ENTRY_PASS_BY)
		pool->passed_by++;
	if (pool->n == pool->room)
		pool_grow(pool);
	memmove(pool->e + low + 1, pool->e + low, sizeof(Entry) * (pool->n - low));
	pool->e[low] = e;
	pool->n++;
	if (low < pool->at)
		pool->at = low;
	if (walk->k > 0)
		reach_note(walk, low);
	while (pool->n > pool_limit(pool))
		drop_last(walk);
	if (walk->k > 0 && walk->kth != NO_PLACE && walk->kth >= pool->n)
		reach_forget(walk);
}

static inline void
prefetch_links(const Walk *walk, uint32_t slot)
{
	if (walk->level > 0)
		return;
	prefetch_lines(graph_ground(walk->h, slot), 2);
}

/* A scored slot: into the pool if it is good enough. */
static inline void
consider(Walk *walk, uint32_t slot, float score)
{
	Pool	   *pool = walk->pool;
	Entry		e = entry_make(score, slot, 0);

	if (walk->k > 0 && e > walk->reach)
		return;
	if (pool->n >= pool_limit(pool) && e >= pool->e[pool->n - 1])
	{
		if (walk->discards)
			heap_push(walk->discards, e);	/* whether it is a hit is asked when it is wanted */
		return;
	}
	prefetch_links(walk, slot);
	if (walk_passes_by(walk, slot))
		e |= ENTRY_PASS_BY;
	walk_insert(walk, e);
}

/* Slots whose rows were asked for: score them, keep the good ones. */
static void
score_rows(Walk *walk, const uint32_t *slots, uint32_t n)
{
	const Hnsw *h = walk->h;
	const uint8_t *rows[WALK_BATCH];
	float		scores[WALK_BATCH];

	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		rows[i] = graph_row(h, slots[i]);
	query_score(h, walk->query, slots, rows, n, scores);
	walk->distances += n;
	for (uint32_t i = 0; i < n; i++)
		consider(walk, slots[i], scores[i]);
}

void
walk_measure(Walk *walk, const uint32_t *slots, uint32_t n)
{
	const Hnsw *h = walk->h;

	for (uint32_t i = 0; i < n; i++)
	{
		if (h->row_lines <= SHORT_ROW)
			prefetch_lines_l2(graph_row(h, slots[i]), h->row_lines);
		else if (i < 4)
			prefetch_lines(graph_row(h, slots[i]), 4);
	}
	score_rows(walk, slots, n);
}

void
walk_offer(Walk *walk, const uint32_t *slots, uint32_t n)
{
	uint32_t	fresh[WALK_BATCH];
	uint32_t	nfresh = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		fresh[nfresh] = slots[i];
		nfresh += visited_add(walk->visited, slots[i]);
	}
	walk_measure(walk, fresh, nfresh);
}

static float
score_one(Walk *walk, uint32_t slot)
{
	const uint8_t *row = graph_row(walk->h, slot);
	float		score;

	query_score(walk->h, walk->query, &slot, &row, 1, &score);
	walk->distances++;
	return score;
}

Entry
walk_descend(Walk *walk, uint64_t entry, int to)
{
	const Hnsw *h = walk->h;
	Entry		best = entry_make(score_one(walk, (uint32_t) entry), (uint32_t) entry, 0);
	uint32_t	links[HNSW_MAX_M];
	const uint8_t *rows[HNSW_MAX_M];
	float		scores[HNSW_MAX_M];

	for (int level = (int) (entry >> 32); level > to; level--)
		for (bool moved = true; moved;)
		{
			uint32_t	n = graph_copy_links(h, entry_slot(best), level, links);

			moved = false;
			walk->hops++;
			for (uint32_t i = 0; i < n; i++)
			{
				rows[i] = graph_row(h, links[i]);
				prefetch_lines(rows[i], 2);
			}
			query_score(h, walk->query, links, rows, n, scores);
			walk->distances += n;
			for (uint32_t i = 0; i < n; i++)
			{
				Entry		e = entry_make(scores[i], links[i], 0);

				if (e < best)
				{
					best = e;
					moved = true;
				}
			}
		}
	return best;
}

/* The twins of a node that is a hit come with its score. */
static void
offer_twins(Walk *walk, Entry e)
{
	Pool	   *pool = walk->pool;
	uint32_t	twin;

	if (!graph_is_head(walk->h, entry_slot(e)))
		return;
	twin = atomic_load_explicit(&graph_meta(walk->h, entry_slot(e))->twin, memory_order_acquire);
	for (; twin != NO_SLOT;
		 twin = atomic_load_explicit(&graph_meta(walk->h, twin)->twin, memory_order_acquire))
	{
		Entry		t = (e & ~(Entry) UINT32_MAX) | (Entry) twin << 2 | ENTRY_EXPANDED;

		if (!walk->discards && pool->n >= pool_limit(pool) && t >= pool->e[pool->n - 1])
			break;
		if (!visited_add(walk->visited, twin))
			continue;
		if (walk_passes_by(walk, twin))
			t |= ENTRY_PASS_BY;
		walk_insert(walk, t);
	}
}

void
walk_run(Walk *walk)
{
	const Hnsw *h = walk->h;
	Pool	   *pool = walk->pool;

	walk->twins = !walk->linking && atomic_load_explicit(&h->twins, memory_order_relaxed) != 0;
	while (pool->at < pool->n)
	{
		Entry		e = pool->e[pool->at];
		uint32_t	links[2 * HNSW_MAX_M];
		uint32_t	n;

		if (e & ENTRY_EXPANDED)
		{
			pool->at++;
			continue;
		}
		if (walk->k > 0 && e > walk->reach)
			break;
		if (walk->hops % STOP_EVERY == STOP_EVERY - 1 && walk_stopped(walk))
			break;
		pool->e[pool->at++] |= ENTRY_EXPANDED;
		walk->hops++;
		if (walk->twins)
			offer_twins(walk, e);
		n = graph_copy_links(h, entry_slot(e), walk->level, links);
		if (walk->through)
			walk_through(walk, links, n);
		else
			walk_offer(walk, links, n);
	}
}

/* The slots that wait to be linked, when a search begins; of a set those that are members. */
typedef struct Waiting
{
	uint32_t   *slots;
	uint32_t	n;
	int64_t		bytes;			/* of memory for them; 0: they are in few */
	uint32_t	few[WALK_BATCH];
} Waiting;

static void
waiting_note(Walk *walk, Waiting *waiting)
{
	Hnsw	   *h = walk->h;
	uint64_t	head = atomic_load_explicit(&h->head, memory_order_acquire);
	const Ring *ring;

	walk->start = atomic_load_explicit(&h->tail, memory_order_acquire);
	ring = atomic_load_explicit(&h->ring, memory_order_acquire);
	waiting->slots = waiting->few;
	waiting->n = 0;
	waiting->bytes = 0;
	if (walk->start > head + WALK_BATCH)
	{
		waiting->bytes = (int64_t) (sizeof(uint32_t) * (walk->start - head));
		waiting->slots = vt_alloc((size_t) waiting->bytes);
		graph_account(h, waiting->bytes);
	}
	for (uint64_t i = head; i < walk->start; i++)
	{
		uint32_t	slot = atomic_load_explicit(&ring->slots[i & ring->mask], memory_order_acquire);

		if (slot != NO_SLOT && (walk->set == NULL || set_has(walk->set, slot)))
			waiting->slots[waiting->n++] = slot;
	}
}

static void
waiting_forget(Walk *walk, Waiting *waiting)
{
	if (waiting->bytes == 0)
		return;
	graph_account(walk->h, -waiting->bytes);
	free(waiting->slots);
}

/* After a long load that may be all there is, so whoever has no time left is heard. */
static void
measure_waiting(Walk *walk, const Waiting *waiting)
{
	uint64_t	begin = walk->timed ? walk_clock_ns() : 0;
	uint64_t	before = walk->distances;

	for (uint32_t at = 0; at < waiting->n; at += WALK_BATCH)
	{
		if (at % STOP_EVERY == 0 && at > 0 && walk_stopped(walk))
			break;
		walk_offer(walk, waiting->slots + at, waiting->n - at < WALK_BATCH ? waiting->n - at : WALK_BATCH);
	}
	walk->waiting = walk->distances - before;
	if (walk->timed)
		walk->timed->waiting_ns += walk_clock_ns() - begin;
}

void
walk_start(Walk *walk)
{
	Hnsw	   *h = walk->h;
	Waiting		waiting;
	uint64_t	entry;

	/*
	 * The queue is read before the graph: what leaves it meanwhile is in the
	 * graph by then.  It is measured after the walk, or its slots would take
	 * the places of those that lead through the graph.
	 */
	waiting_note(walk, &waiting);
	entry = atomic_load_explicit(&h->entry, memory_order_acquire);

	visited_begin(walk->visited, atomic_load_explicit(&h->used, memory_order_acquire));
	if (walk->through && walk->set)
		walk->doors = set_doors(walk->set);
	if (walk->through && walk->filter)
		visited_begin(walk->refused, atomic_load_explicit(&h->used, memory_order_acquire));
	if (walk->holds_out)
		visited_add(walk->visited, walk->without);
	if (entry != NO_ENTRY)
	{
		uint32_t	slot = entry_slot(walk_descend(walk, entry, 0));

		walk_offer(walk, &slot, 1);
		if (walk->through && walk->set)
			walk_seeds(walk);
		walk_run(walk);
	}
	if (waiting.n > 0)
	{
		measure_waiting(walk, &waiting);
		walk_run(walk);
	}
	waiting_forget(walk, &waiting);
}
