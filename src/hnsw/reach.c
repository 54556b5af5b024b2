/*-------------------------------------------------------------------------
 *
 * reach.c
 *	  How far a walk goes.
 *
 * A walk that keeps the ef nearest it has met goes as far for a query whose
 * neighbours stand out as for one that has hundreds nearly as near, although the
 * first is done early and the second would need more.  So a search ends by distance
 * instead: what is farther than `stretch` times the k-th hit is not followed.
 * The idea is that of adaptive beam search (Al-Jazzazi and others, 2025).
 *
 * Callers say ef all the same.  Distances grow with rank by a power that is much
 * the same all over a graph: the j-th neighbour is about (j / i) ^ spread times as
 * far as the i-th.  With a stretch of (ef / k) ^ spread a search costs on the
 * average what one that keeps ef costs, and finds more.  Twice ef are kept at most,
 * so none costs much more than twice as much.
 *
 * The spread is learnt from the walks of linking: each has the neighbours of
 * a node in their order.  It is their median, since where many are equal the
 * quotient of two distances can be anything.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "hnsw/walk.h"

/* Ranks whose distances are compared. */
#define RANK_NEAR 10
#define RANK_FAR 64

/* Samples until the median moves as little at a time as it ever does. */
#define SETTLED 1000

#define POOL_FACTOR 2

/* Scores of these are distances from somewhere, or become so by adding one. */
static inline float
distance_of(const Hnsw *h, Entry e)
{
	return entry_score(e) + (h->opt.metric == VEC_COSINE ? 1 : 0);
}

static uint32_t
within_bounds(uint32_t spread)
{
	return spread < SPREAD_LEAST ? SPREAD_LEAST : spread > SPREAD_MOST ? SPREAD_MOST : spread;
}

void
reach_learn(Hnsw *h, const Pool *pool)
{
	float		near;
	float		far;
	double		sample;
	uint32_t	spread;
	uint32_t	seen;
	uint32_t	step;

	if (pool->n < RANK_FAR || h->opt.metric == VEC_IP)
		return;
	near = distance_of(h, pool->e[RANK_NEAR - 1]);
	far = distance_of(h, pool->e[RANK_FAR - 1]);
	if (!(near > 0) || !(far < INFINITY))
		return;
	sample = log(far / near) / log((double) RANK_FAR / RANK_NEAR) * SPREAD_ONE;
	spread = atomic_load_explicit(&h->spread, memory_order_relaxed);
	seen = atomic_load_explicit(&h->spread_seen, memory_order_relaxed);

	/* Two threads at once may lose one of their samples. */
	step = SPREAD_ONE / 5 / (10 + seen);
	if (seen == 0)
		spread = sample < SPREAD_MOST ? (uint32_t) sample : SPREAD_MOST;
	else if (sample > spread)
		spread += step;
	else
		spread -= step < spread ? step : spread;
	atomic_store_explicit(&h->spread, within_bounds(spread), memory_order_relaxed);
	if (seen < SETTLED)
		atomic_store_explicit(&h->spread_seen, seen + 1, memory_order_relaxed);
}

void
reach_restore(Hnsw *h, uint32_t spread)
{
	if (spread == 0)
		return;
	atomic_store(&h->spread, within_bounds(spread));
	atomic_store(&h->spread_seen, SETTLED);
}

uint32_t
reach_begin(Walk *walk, uint32_t k, uint32_t ef)
{
	uint32_t	spread = atomic_load_explicit(&walk->h->spread, memory_order_relaxed);

	if (spread == 0)
		return ef;
	walk->k = k;
	walk->kth = NO_PLACE;
	walk->reach = UINT64_MAX;
	walk->stretch = (float) pow((double) ef / k, (double) spread / SPREAD_ONE);
	return POOL_FACTOR * ef;
}

/* The k-th hit is another, or in another place. */
static void
measure_reach(Walk *walk)
{
	const Hnsw *h = walk->h;
	Entry		kth = walk->pool->e[walk->kth];
	float		score = entry_score(kth);
	float		distance = distance_of(h, kth);
	float		far = distance > 0 ? distance * (walk->stretch - 1) : 0;

	if (h->coded && !h->bare)
	{
		/* What rounding to codes may hide lies within reach. */
		float		error = query_error(h, walk->query, entry_slot(kth), score);

		far = far > error ? far : error;
	}
	walk->reach = entry_make(score + far, 0, 0) | UINT32_MAX;
}

void
reach_note(Walk *walk, uint32_t place)
{
	const Pool *pool = walk->pool;

	if (walk->kth == NO_PLACE)
	{
		uint32_t	hits = 0;
		uint32_t	at = 0;

		if (pool->n - pool->passed_by < walk->k)
			return;
		for (; hits < walk->k; at++)
			hits += !(pool->e[at] & ENTRY_PASS_BY);
		walk->kth = at - 1;
	}
	else
	{
		if (place > walk->kth)
			return;

		/* What comes before it moves it back; and if that is a hit, the one before is the k-th now. */
		walk->kth++;
		if (!(pool->e[place] & ENTRY_PASS_BY))
			do
				walk->kth--;
			while (pool->e[walk->kth] & ENTRY_PASS_BY);
	}
	measure_reach(walk);
}

void
reach_forget(Walk *walk)
{
	walk->kth = NO_PLACE;
	walk->reach = UINT64_MAX;
}
