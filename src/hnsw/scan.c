/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Instead of walking: all that may be a hit is measured, by its row.
 *
 * Members of a set are measured first, and only those near enough are asked
 * whether they live and pass: most never are.  Without a set the filter is asked
 * first, as it is what makes the rows few.
 *
 * A cursor gathers the nearest of them for later.
 *
 * Rows of members lie apart, and each costs a wait for memory that only many
 * requests at once make short.  A set that is scanned again has its rows copied
 * side by side, some after each search (set.c), and waits no more.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* Rows side by side that are measured at a time. */
#define ROWS_AT_ONCE 128

/* Of 2 n entries, in which none is twice, the n least come first; the greatest of them. */
static Entry
select_least(Entry *e, uint32_t n)
{
	uint32_t	low = 0;
	uint32_t	high = 2 * n - 1;

	/* Hoare's: what is before `low` is less, what is behind `high` greater, than all between. */
	while (low < high)
	{
		Entry		pivot = e[low + (high - low) / 2];
		uint32_t	i = low;
		uint32_t	j = high;

		for (;;)
		{
			Entry		swap;

			while (e[i] < pivot)
				i++;
			while (e[j] > pivot)
				j--;
			if (i >= j)
				break;
			swap = e[i];
			e[i++] = e[j];
			e[j--] = swap;
		}

		/* low .. j are at most the pivot, those behind at least. */
		if (n - 1 <= j)
			high = j;
		else
			low = j + 1;
	}
	return e[n - 1];
}

static void
gather(Gather *g, Entry e)
{
	if (g->n == 2 * g->least)
	{
		g->bound = select_least(g->e, g->least);
		g->n = g->least;
		if (e >= g->bound)
			return;
	}
	g->e[g->n++] = e;
}

/* Into the pool with those that are near enough, and hits. */
static void
keep(Walk *walk, const uint32_t *slots, const uint8_t *const *rows, uint32_t n)
{
	Pool	   *pool = walk->pool;
	float		scores[ROWS_AT_ONCE];

	if (n == 0)
		return;
	query_score(walk->h, walk->query, slots, rows, n, scores);
	walk->distances += n;
	for (uint32_t i = 0; i < n; i++)
	{
		Entry		e = entry_make(scores[i], slots[i], 0);

		if (walk->gather ? e >= walk->gather->bound || visited_has(walk->visited, slots[i]) :
			pool->n >= pool->want && e >= pool->e[pool->n - 1])
			continue;
		if (walk->set && ((!walk_all_stand(walk) && set_stand_in(walk->set, slots[i]) == NO_SLOT) ||
						  !walk_filter(walk, slots[i])))
			continue;
		if (walk->gather)
			gather(walk->gather, e);
		else
			walk_insert(walk, e);
	}
}

static void
scan_rows(Walk *walk, const SetRows *set, uint32_t all)
{
	const uint8_t *rows[ROWS_AT_ONCE];

	for (uint32_t at = 0; at < all; at += ROWS_AT_ONCE)
	{
		uint32_t	n = all - at < ROWS_AT_ONCE ? all - at : ROWS_AT_ONCE;

		if (at % STOP_EVERY == 0 && at > 0 && walk_stopped(walk))
			return;
		for (uint32_t i = 0; i < n; i++)
			rows[i] = set->rows + set->stride * (at + i);
		keep(walk, set->slots + at, rows, n);
	}
}

/* Some rows that are being asked for, and those that were asked for before. */
typedef struct Ahead
{
	uint32_t	slots[2][ROWS_AHEAD];
	const uint8_t *rows[2][ROWS_AHEAD];
	uint32_t	n;
	uint32_t	before;
	int			now;
} Ahead;

static inline void
ahead_add(Walk *walk, Ahead *ahead, uint32_t slot)
{
	const Hnsw *h = walk->h;
	const uint8_t *row = graph_row(h, slot);
	int			now = ahead->now;

	if (h->row_lines <= SHORT_ROW)
		prefetch_lines_l2(row, h->row_lines);
	ahead->slots[now][ahead->n] = slot;
	ahead->rows[now][ahead->n++] = row;
	if (ahead->n == ROWS_AHEAD)
	{
		keep(walk, ahead->slots[!now], ahead->rows[!now], ahead->before);
		ahead->before = ahead->n;
		ahead->n = 0;
		ahead->now = !now;
	}
}

static void
ahead_end(Walk *walk, Ahead *ahead)
{
	keep(walk, ahead->slots[!ahead->now], ahead->rows[!ahead->now], ahead->before);
	keep(walk, ahead->slots[ahead->now], ahead->rows[ahead->now], ahead->n);
}

/* Members from this slot on. */
static void
scan_members(Walk *walk, uint32_t from, uint32_t used)
{
	const HnswSet *set = walk->set;
	uint32_t	words = (set->nbits < used ? set->nbits : (used + 63) / 64 * 64) / 64;
	uint32_t	looked = 0;
	Ahead		ahead = {.n = 0};

	for (uint32_t word = from >> 6; word < words; word++)
		for (uint64_t bits = set->bits[word] & (word == from >> 6 ? UINT64_MAX << (from & 63) : UINT64_MAX); bits;
			 bits &= bits - 1)
		{
			if (++looked % STOP_EVERY == 0 && walk_stopped(walk))
				return;
			ahead_add(walk, &ahead, word * 64 + (uint32_t) __builtin_ctzll(bits));
		}
	ahead_end(walk, &ahead);
}

static void
scan_passing(Walk *walk, uint32_t used)
{
	Ahead		ahead = {.n = 0};

	for (uint32_t slot = 0; slot < used; slot++)
	{
		if ((slot + 1) % STOP_EVERY == 0 && walk_stopped(walk))
			return;
		if (graph_stand_in(walk->h, slot, walk->start) != NO_SLOT && walk_filter(walk, slot))
			ahead_add(walk, &ahead, slot);
	}
	ahead_end(walk, &ahead);
}

void
walk_all(Walk *walk)
{
	Hnsw	   *h = walk->h;
	const SetRows *rows = walk->set ? atomic_load_explicit(&walk->set->rows, memory_order_acquire) : NULL;
	uint32_t	copied = rows ? atomic_load_explicit(&rows->n, memory_order_acquire) : 0;
	uint32_t	used;

	walk->start = atomic_load_explicit(&h->tail, memory_order_acquire);
	used = atomic_load_explicit(&h->used, memory_order_acquire);
	if (walk->set == NULL)
	{
		scan_passing(walk, used);
		return;
	}
	if (copied > 0)
		scan_rows(walk, rows, copied);
	if (copied < walk->set->size)
		scan_members(walk, copied > 0 ? rows->slots[copied - 1] + 1 : 0, used);
	set_copy_some(walk->set);
}
