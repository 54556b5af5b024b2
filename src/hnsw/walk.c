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

/* Rows of so many lines are asked for all at once, longer ones by the kernels. */
#define SHORT_ROW 5

/* Lists of links that are asked for before they are looked through. */
#define LISTS_AHEAD 8

/* Rows in their order that are asked for before the last as many are measured. */
#define ROWS_AHEAD 24

/* Members a walk through a set begins with, besides the nearest node. */
#define SEEDS 16

static inline void
prefetch_lines(const void *p, int lines)
{
	for (int i = 0; i < lines; i++)
		__builtin_prefetch((const char *) p + 64 * (size_t) i);
}

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
all_stand(const Walk *walk)
{
	const Hnsw *h = walk->h;

	return atomic_load_explicit(&h->dead, memory_order_relaxed) == 0 &&
		(walk->set || atomic_load_explicit(&h->tail, memory_order_relaxed) == walk->start);
}

/* Is the slot no hit of this walk? */
static inline bool
passes_by(const Walk *walk, uint32_t slot)
{
	const Hnsw *h = walk->h;

	if (walk->linking)
		return atomic_load_explicit(&h->dead, memory_order_relaxed) != 0 &&
			graph_fate(h, slot) != FATE_LIVE;
	if (walk->set && !set_has(walk->set, slot))
		return true;
	if (!all_stand(walk) && walk_stand_in(walk, slot) == NO_SLOT)
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
	while (pool->n > pool_limit(pool))
		drop_last(walk);
}

static inline void
prefetch_links(const Walk *walk, uint32_t slot)
{
	if (walk->level > 0)
		return;
	prefetch_lines(graph_ground(walk->h, slot), 2);
	if (walk->twins)
		prefetch_lines(graph_meta(walk->h, slot), 1);
}

/* A scored slot: into the pool if it is good enough. */
static inline void
consider(Walk *walk, uint32_t slot, float score)
{
	Pool	   *pool = walk->pool;
	Entry		e = entry_make(score, slot, 0);

	if (pool->n >= pool_limit(pool) && e >= pool->e[pool->n - 1])
	{
		if (walk->discards)
			heap_push(walk->discards, passes_by(walk, slot) ? e | ENTRY_PASS_BY : e);
		return;
	}
	prefetch_links(walk, slot);
	if (passes_by(walk, slot))
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

/* Slots that have just been marked as visited. */
static void
measure(Walk *walk, const uint32_t *slots, uint32_t n)
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
	measure(walk, fresh, nfresh);
}

/* Is the node, or one of its twins, a hit of this walk? */
static bool
node_passes(const Walk *walk, uint32_t slot)
{
	if (!passes_by(walk, slot))
		return true;
	if (!walk->twins || !graph_is_head(walk->h, slot))
		return false;
	while ((slot = atomic_load_explicit(&graph_meta(walk->h, slot)->twin, memory_order_acquire)) != NO_SLOT)
		if (!passes_by(walk, slot))
			return true;
	return false;
}

/*
 * Where few are hits: those among the links, and if they are few, those among the
 * links of links that are none.  So the walk goes from hit to hit, and what is
 * none costs a look at its links.  With fewer than m at a time hits are missed,
 * more find little more and cost much.
 */
static void
offer_through(Walk *walk, const uint32_t *links, uint32_t n)
{
	const Hnsw *h = walk->h;
	const uint64_t *doors = walk->doors;
	bool		bits_tell = doors && !walk->filter;
	uint32_t	fresh[WALK_BATCH];
	uint32_t	others[2 * HNSW_MAX_M];
	uint32_t	nfresh = 0;
	uint32_t	nothers = 0;

	walk->looked += n;
	for (uint32_t i = 0; i < n; i++)
	{
		if (visited_has(walk->visited, links[i]))
			continue;
		if ((!doors || set_opens(walk->set, doors, links[i])) && (bits_tell || node_passes(walk, links[i])))
		{
			visited_add(walk->visited, links[i]);
			fresh[nfresh++] = links[i];
		}
		else
			others[nothers++] = links[i];
	}
	for (uint32_t i = 0; i < LISTS_AHEAD && i < nothers; i++)
		prefetch_lines(graph_ground(h, others[i]), 2);
	for (uint32_t i = 0; i < nothers && nfresh < h->opt.m; i++)
	{
		const atomic_uint *second = graph_ground(h, others[i]);
		uint32_t	behind[2 * HNSW_MAX_M];
		uint32_t	nbehind = 0;
		uint32_t	j;

		if (i + LISTS_AHEAD < nothers)
			prefetch_lines(graph_ground(h, others[i + LISTS_AHEAD]), 2);

		/* Looked through once, whichever node led here. */
		visited_add(walk->visited, others[i]);

		/* Which pass cannot be foretold: no branch depends on it. */
		for (j = 0; j < h->m0; j++)
		{
			uint32_t	to = atomic_load_explicit(&second[j], memory_order_acquire);

			if (to == NO_SLOT)
				break;
			behind[nbehind] = to;
			nbehind += !doors || set_opens(walk->set, doors, to);
		}
		walk->looked += j;
		for (j = 0; j < nbehind && nfresh < WALK_BATCH; j++)
			if (!visited_has(walk->visited, behind[j]) && (bits_tell || node_passes(walk, behind[j])))
			{
				visited_add(walk->visited, behind[j]);
				fresh[nfresh++] = behind[j];
			}
	}
	measure(walk, fresh, nfresh);
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
	uint32_t	twin = atomic_load_explicit(&graph_meta(walk->h, entry_slot(e))->twin,
											memory_order_acquire);
	Pool	   *pool = walk->pool;

	for (; twin != NO_SLOT;
		 twin = atomic_load_explicit(&graph_meta(walk->h, twin)->twin, memory_order_acquire))
	{
		Entry		t = (e & ~(Entry) UINT32_MAX) | (Entry) twin << 2 | ENTRY_EXPANDED;

		if (!walk->discards && pool->n >= pool_limit(pool) && t >= pool->e[pool->n - 1])
			break;
		if (!visited_add(walk->visited, twin))
			continue;
		if (passes_by(walk, twin))
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
		pool->e[pool->at++] |= ENTRY_EXPANDED;
		walk->hops++;
		if (walk->twins)
			offer_twins(walk, e);
		n = graph_copy_links(h, entry_slot(e), walk->level, links);
		if (walk->through)
			offer_through(walk, links, n);
		else
			walk_offer(walk, links, n);
	}
}

/* The slots that wait to be linked; free() the answer. */
static uint32_t *
waiting_slots(Walk *walk, uint32_t *n)
{
	Hnsw	   *h = walk->h;
	uint64_t	head = atomic_load_explicit(&h->head, memory_order_acquire);
	uint32_t   *slots = NULL;
	const Ring *ring;

	walk->start = atomic_load_explicit(&h->tail, memory_order_acquire);
	ring = atomic_load_explicit(&h->ring, memory_order_acquire);
	*n = 0;
	if (head < walk->start)
		slots = vt_alloc(sizeof(uint32_t) * (walk->start - head));
	for (uint64_t i = head; i < walk->start; i++)
	{
		uint32_t	slot = atomic_load_explicit(&ring->slots[i & ring->mask], memory_order_acquire);

		if (slot != NO_SLOT)
			slots[(*n)++] = slot;
	}
	return slots;
}

/*
 * Some members of the set, from all over it: where no hit is near the query,
 * links of links may not lead to one.
 */
static void
offer_seeds(Walk *walk)
{
	uint32_t	seeds[SEEDS];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < SEEDS; i++)
	{
		uint32_t	slot = set_next(walk->set, (uint32_t) ((uint64_t) walk->set->nbits * i / SEEDS));

		/* What is not in the graph leads nowhere. */
		if (slot != NO_SLOT &&
			atomic_load_explicit(&graph_meta(walk->h, slot)->state, memory_order_acquire) == SLOT_LINKED)
			seeds[n++] = slot;
	}
	walk_offer(walk, seeds, n);
}

void
walk_all(Walk *walk)
{
	Hnsw	   *h = walk->h;
	uint32_t	some[2][ROWS_AHEAD];	/* rows being asked for, and those asked for before */
	uint32_t	n = 0;
	uint32_t	before = 0;
	uint32_t	looked = 0;
	int			now = 0;
	uint32_t	used;

	walk->start = atomic_load_explicit(&h->tail, memory_order_acquire);
	used = atomic_load_explicit(&h->used, memory_order_acquire);
	for (uint32_t slot = 0; slot < used; slot++)
	{
		if (walk->set && (slot = set_next(walk->set, slot)) >= used)
			break;
		if (walk->stop && ++looked % STOP_EVERY == 0 && walk->stop(walk->stop_arg))
			break;
		if (!(walk->set && all_stand(walk)) && walk_stand_in(walk, slot) == NO_SLOT)
			continue;
		if (!walk_filter(walk, slot))
			continue;
		if (h->row_lines <= SHORT_ROW)
			prefetch_lines_l2(graph_row(h, slot), h->row_lines);
		some[now][n++] = slot;
		if (n == ROWS_AHEAD)
		{
			now = !now;
			score_rows(walk, some[now], before);
			before = n;
			n = 0;
		}
	}
	score_rows(walk, some[!now], before);
	score_rows(walk, some[now], n);
}

void
walk_start(Walk *walk)
{
	Hnsw	   *h = walk->h;
	uint32_t	nwaiting;

	/*
	 * The queue is read before the graph: what leaves it meanwhile is in the
	 * graph by then.  It is measured after the walk, or its slots would take
	 * the places of those that lead through the graph.
	 */
	uint32_t   *waiting = waiting_slots(walk, &nwaiting);
	uint64_t	entry = atomic_load_explicit(&h->entry, memory_order_acquire);

	visited_begin(walk->visited, atomic_load_explicit(&h->used, memory_order_acquire));
	if (walk->through && walk->set)
		walk->doors = set_doors(walk->set);
	if (walk->holds_out)
		visited_add(walk->visited, walk->without);
	if (entry != NO_ENTRY)
	{
		uint32_t	slot = entry_slot(walk_descend(walk, entry, 0));

		walk_offer(walk, &slot, 1);
		if (walk->through && walk->set)
			offer_seeds(walk);
		walk_run(walk);
	}
	if (nwaiting > 0)
	{
		uint64_t	begin = walk->timed ? walk_clock_ns() : 0;
		uint64_t	before = walk->distances;

		for (uint32_t at = 0; at < nwaiting; at += WALK_BATCH)
			walk_offer(walk, waiting + at, nwaiting - at < WALK_BATCH ? nwaiting - at : WALK_BATCH);
		walk->waiting = walk->distances - before;
		if (walk->timed)
			walk->timed->waiting_ns += walk_clock_ns() - begin;
		walk_run(walk);
	}
	free(waiting);
}
