/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Instead of walking: all that may be a hit is measured, by its row.
 *
 * Members of a set are measured first, and only those near enough are asked
 * whether they live and pass: most never are.  Without a set the filter is asked
 * first, as it is what makes the rows few.
 *
 * Rows of members lie apart, and each costs a wait for memory that only many
 * requests at once make short.  A set that is scanned a second time has its rows
 * copied side by side (set.c), and waits no more.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* Rows that are asked for before the last as many are measured. */
#define ROWS_AHEAD 24

/* Rows side by side that are measured at a time. */
#define ROWS_AT_ONCE 128

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

		if (pool->n >= pool->want && e >= pool->e[pool->n - 1])
			continue;
		if (walk->set && ((!walk_all_stand(walk) && set_stand_in(walk->set, slots[i]) == NO_SLOT) ||
						  !walk_filter(walk, slots[i])))
			continue;
		walk_insert(walk, e);
	}
}

static bool
stopped(const Walk *walk)
{
	return walk->stop && walk->stop(walk->stop_arg);
}

static void
scan_rows(Walk *walk, const SetRows *set)
{
	const uint8_t *rows[ROWS_AT_ONCE];

	for (uint32_t at = 0; at < set->n; at += ROWS_AT_ONCE)
	{
		uint32_t	n = set->n - at < ROWS_AT_ONCE ? set->n - at : ROWS_AT_ONCE;

		if (at % STOP_EVERY == 0 && at > 0 && stopped(walk))
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

static void
scan_members(Walk *walk, uint32_t used)
{
	const HnswSet *set = walk->set;
	uint32_t	words = (set->nbits < used ? set->nbits : (used + 63) / 64 * 64) / 64;
	uint32_t	looked = 0;
	Ahead		ahead = {.n = 0};

	for (uint32_t word = 0; word < words; word++)
		for (uint64_t bits = set->bits[word]; bits; bits &= bits - 1)
		{
			if (++looked % STOP_EVERY == 0 && stopped(walk))
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
		if ((slot + 1) % STOP_EVERY == 0 && stopped(walk))
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
	const SetRows *rows = walk->set ? set_rows(walk->set) : NULL;
	uint32_t	used;

	walk->start = atomic_load_explicit(&h->tail, memory_order_acquire);
	used = atomic_load_explicit(&h->used, memory_order_acquire);
	if (rows)
		scan_rows(walk, rows);
	else if (walk->set)
		scan_members(walk, used);
	else
		scan_passing(walk, used);
}
