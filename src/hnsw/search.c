/*-------------------------------------------------------------------------
 *
 * search.c
 *	  One search: by the graph, or by looking at everything.
 *
 * The walk's pool comes ordered by scores, which round and may be those of
 * codes.  The first of them, some more than k, are measured exactly and
 * ordered by that.
 *
 * With a filter or a set the share that passes decides how.  Where most pass, a
 * walk keeps what does not beside the hits, and so becomes longer by 1 / share.
 * Where fewer do, it goes from hit to hit through what is none (walk.c).  Where
 * few do, all of them are measured.  The share of a filter comes from the caller, or a sample.
 * Whatever a walk finds, if it is fewer than k although more could be there,
 * measuring all has the last word.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "hnsw/hits.h"
#include "hnsw/walk.h"

#define SAMPLE 256
#define SAMPLE_ROUNDS 4

/*
 * What things cost, in distances of a walk: to expand a node, or one that is
 * walked through; to measure rows in their order, and side by side; to ask a set
 * or a filter while walking; to ask a filter about slots in their order.
 */
#define NODE_COST 16.0
#define THROUGH_COST 26.0
#define ROW_COST 0.4
#define COPIED_ROW_COST 0.15
#define SET_COST 0.02
#define FILTER_COST 0.3
#define SCAN_FILTER_COST 0.1

/*
 * A hop through what is no hit must lead to so many hits, or many are missed.  With
 * fewer than the second number a walk keeps more of them.  As such a walk finds a
 * little less than one that measures all, it must be cheaper than that.
 */
#define THROUGH_LEAST 5.0
#define THROUGH_FULL 12.8
#define THROUGH_MISSES 1.25

int
hits_compare(const void *pa, const void *pb)
{
	const HnswHit *a = pa;
	const HnswHit *b = pb;

	if (a->distance != b->distance)
	{
		bool		a_nan = isnan(a->distance);
		bool		b_nan = isnan(b->distance);

		if (a_nan != b_nan)
			return a_nan ? 1 : -1;
		if (!a_nan)
			return a->distance < b->distance ? -1 : 1;
	}
	if (a->label != b->label)
		return a->label < b->label ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

HnswHit
hits_make(const Hnsw *h, const void *query, uint32_t slot)
{
	HnswHit		hit = {hnsw_distance(h, query, slot), graph_meta(h, slot)->label, slot};

	return hit;
}

void
hits_keep(HnswHit *hits, uint32_t *n, uint32_t k, const HnswHit *hit)
{
	uint32_t	i;

	if (*n < k)
	{
		i = (*n)++;
		while (i > 0 && hits_compare(&hits[(i - 1) / 2], hit) < 0)
		{
			hits[i] = hits[(i - 1) / 2];
			i = (i - 1) / 2;
		}
		hits[i] = *hit;
		return;
	}
	if (k == 0 || hits_compare(hit, &hits[0]) >= 0)
		return;
	for (i = 0;;)
	{
		uint32_t	child = 2 * i + 1;

		if (child >= k)
			break;
		if (child + 1 < k && hits_compare(&hits[child], &hits[child + 1]) < 0)
			child++;
		if (hits_compare(&hits[child], hit) <= 0)
			break;
		hits[i] = hits[child];
		i = child;
	}
	hits[i] = *hit;
}

void
hits_sort(HnswHit *hits, uint32_t n)
{
	qsort(hits, n, sizeof(HnswHit), hits_compare);
}

/* Every live vector; the caller is inside a guard. */
static uint32_t
scan(Hnsw *h, const HnswSearch *search, HnswHit *hits)
{
	Walk		what = {.h = h, .start = atomic_load_explicit(&h->tail, memory_order_acquire),
		.set = search->set, .filter = search->filter, .filter_arg = search->filter_arg, .timed = search->cost};
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);
	uint64_t	begin = search->cost ? walk_clock_ns() : 0;
	uint32_t	n = 0;
	uint32_t	looked = 0;
	uint64_t	distances = 0;

	for (uint32_t slot = 0; slot < used; slot++)
	{
		uint32_t	shown;
		HnswHit		hit;

		if (search->set && (slot = set_next(search->set, slot)) >= used)
			break;
		if (search->stop && ++looked % STOP_EVERY == 0 && search->stop(search->stop_arg))
			break;
		shown = walk_stand_in(&what, slot);
		if (shown == NO_SLOT || !walk_filter(&what, shown))
			continue;
		hit = hits_make(h, search->query, shown);
		distances++;
		hits_keep(hits, &n, search->k, &hit);
	}
	hits_sort(hits, n);
	if (search->cost)
	{
		search->cost->distances += distances;
		search->cost->exact_ns += walk_clock_ns() - begin;
	}
	return n;
}

uint32_t
hnsw_scan_exact(Hnsw *h, const HnswSearch *search, HnswHit *hits)
{
	uint32_t	guard = hnsw_enter(h);
	uint32_t	n = scan(h, search, hits);

	hnsw_leave(h, guard);
	return n;
}

/* Ask the filter about slots from all over the graph, in each round about others. */
static void
ask_sample(Hnsw *h, const HnswSearch *search, uint32_t used, uint32_t round, uint32_t *live, uint32_t *pass)
{
	uint32_t	step = used / SAMPLE + 1;
	uint64_t	first = (uint64_t) step * 7 + step * round / SAMPLE_ROUNDS;

	for (uint32_t k = 0; k < SAMPLE && k < used; k++)
	{
		uint32_t	slot = (uint32_t) ((first + (uint64_t) k * step) % used);
		uint32_t	later = (uint32_t) ((first + (uint64_t) (k + 8) * step) % used);

		__builtin_prefetch(graph_life(h, later));
		__builtin_prefetch(graph_meta(h, later));
		if (graph_fate(h, slot) != FATE_LIVE)
			continue;
		(*live)++;
		*pass += walk_ask(search->filter, search->filter_arg, search->cost, graph_meta(h, slot)->label, slot);
	}
}

/* The share of live slots that may be hits, about. */
static double
share_of(Hnsw *h, const HnswSearch *search)
{
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);
	uint32_t	live = 0;
	uint32_t	pass = 0;
	double		share = 1;

	if (search->set)
		share = (double) search->set->size / ((double) atomic_load(&h->live) + 1);
	if (search->filter == NULL || search->passes > 0)
	{
		share *= search->filter ? search->passes : 1;
		return share < 1 ? share : 1;
	}
	/* Where few pass much depends on how few. */
	for (uint32_t round = 0; round < SAMPLE_ROUNDS && (round == 0 || pass < SAMPLE / 32); round++)
		ask_sample(h, search, used, round, &live, &pass);
	share *= ((double) pass + 0.5) / (live + 1);
	return share < 1 ? share : 1;
}

Way
walk_way(Hnsw *h, const HnswSearch *search, uint32_t *keep)
{
	uint32_t	ef = *keep;
	double		share;
	double		ask = (search->set ? SET_COST : 0) + (search->filter ? FILTER_COST : 0);
	double		lists = (double) h->opt.m * h->opt.m;	/* links of links, those that are many times there once */
	double		more;
	double		walk;
	double		through;
	double		all;

	if (search->filter == NULL && search->set == NULL)
		return WAY_WALK;
	share = share_of(h, search);
	if (share <= 0)
		return WAY_ALL;
	walk = NODE_COST * ef / share;
	more = fmax(1, THROUGH_FULL / (share * lists));
	through = THROUGH_MISSES * more * ef * (THROUGH_COST + ask * fmin(1.9 * lists, 1.4 * h->opt.m / share));
	if (share * lists < THROUGH_LEAST)
		through = INFINITY;
	all = search->set ? (set_copies(search->set) ? COPIED_ROW_COST : ROW_COST) * search->set->size :
		atomic_load_explicit(&h->used, memory_order_relaxed) * (SCAN_FILTER_COST + share);
	if (all < walk && all < through)
		return WAY_ALL;
	if (walk <= through)
		return WAY_WALK;
	*keep = (uint32_t) (more * ef);
	return WAY_THROUGH;
}

static inline void
prefetch_vector(const Hnsw *h, uint32_t slot)
{
	const uint8_t *vector = graph_vector(h, slot);

	for (size_t at = 0; at < h->vec_row; at += 64)
		__builtin_prefetch(vector + at);
}

/* What a score would be without rounding. */
static double
exact_score(const Hnsw *h, double distance)
{
	if (h->opt.metric == VEC_L2)
		return distance * distance;
	return h->opt.metric == VEC_COSINE ? distance - 1 : distance;
}

/*
 * Exact distances of the best of the pool: with codes beside the vectors, of so many that
 * no other can be nearer than the k-th, as far as scores can be trusted (query_error);
 * floats are rounded so little that a few more than k do, and so is a query on codes alone.
 */
static uint32_t
refine(Walk *walk, const HnswSearch *search, HnswHit *hits)
{
	Hnsw	   *h = walk->h;
	const Pool *pool = walk->pool;
	bool		guesses = h->coded && !h->bare;	/* scores are not those of what is measured */
	uint32_t	most = guesses ? 4 * search->k + 100 : search->k + (search->k / 2 > 10 ? search->k / 2 : 10);
	uint32_t	ahead = h->vec_row >= 2048 ? 1 : 4;
	uint32_t	n = 0;
	uint32_t	measured = 0;
	Entry		last = 0;

	for (uint32_t i = 0; guesses && i < ahead && i < pool->n; i++)
		prefetch_vector(h, entry_slot(pool->e[i]));
	for (uint32_t i = 0; i < pool->n; i++)
	{
		uint32_t	slot = entry_slot(pool->e[i]);
		HnswHit		hit;

		if (pool->e[i] & ENTRY_PASS_BY)
			continue;

		/* Equal scores are measured together. */
		if (n == search->k && pool->e[i] >> 32 != last >> 32)
		{
			float		score = entry_score(pool->e[i]);

			if (measured >= most || (guesses &&
									 score - query_error(h, walk->query, slot, score) > exact_score(h, hits[0].distance)))
				break;
		}
		last = pool->e[i];
		if (guesses && i + ahead < pool->n)
			prefetch_vector(h, entry_slot(pool->e[i + ahead]));
		slot = walk_stand_in(walk, slot);
		if (slot == NO_SLOT || (slot != entry_slot(pool->e[i]) && !walk_filter(walk, slot)))
			continue;
		hit = hits_make(h, search->query, slot);
		measured++;
		hits_keep(hits, &n, search->k, &hit);
	}
	hits_sort(hits, n);
	if (search->cost)
		search->cost->refined += measured;
	return n;
}

static uint32_t
run(Hnsw *h, const HnswSearch *search, const uint32_t *without, HnswHit *hits)
{
	uint32_t	ef = search->ef > search->k ? search->ef : search->k;
	uint32_t	keep;
	bool		part = search->filter || search->set;
	HnswCost   *cost = search->cost;
	uint64_t	begin = cost ? walk_clock_ns() : 0;
	uint32_t	guard;
	uint32_t	n = 0;
	Ctx		   *ctx;
	Way			way;

	if (search->k == 0)
		return 0;
	guard = hnsw_enter(h);
	ctx = ctx_take(h);
	query_set(h, &ctx->query, search->query);
	if (search->set)
		set_use(search->set);
	keep = ef;
	way = walk_way(h, search, &keep);
	for (;;)
	{
		Walk		walk = {.h = h, .ctx = ctx, .query = &ctx->query, .visited = &ctx->visited, .refused = &ctx->refused,
			.pool = &ctx->pool, .through = way == WAY_THROUGH, .set = search->set,
			.filter = search->filter, .filter_arg = search->filter_arg, .timed = cost,
			.holds_out = without != NULL, .without = without ? *without : 0,
			.stop = search->stop, .stop_arg = search->stop_arg};
		uint64_t	waited = cost ? cost->waiting_ns : 0;

		pool_begin(walk.pool, part || way == WAY_ALL ? keep : reach_begin(&walk, search->k, ef));
		if (way == WAY_ALL)
			walk_all(&walk);
		else
			walk_start(&walk);
		if (cost)
		{
			uint64_t	now = walk_clock_ns();

			*(way == WAY_ALL ? &cost->exact_ns : &cost->walk_ns) += now - begin - (cost->waiting_ns - waited);
			begin = now;
		}
		n = refine(&walk, search, hits);
		if (cost)
		{
			uint64_t	now = walk_clock_ns();

			cost->refine_ns += now - begin;
			begin = now;
			cost->distances += walk.distances;
			cost->hops += walk.hops;
			cost->looked += walk.looked;
			cost->waiting += walk.waiting;
			cost->exact += way == WAY_ALL;
		}
		if (n == search->k || without || (!part && n >= atomic_load(&h->live)) ||
			(search->stop && search->stop(search->stop_arg)))
			break;
		if (way == WAY_ALL)
		{
			/* Some died since they were kept, others had given way to them. */
			if (walk.distances > walk.pool->n)
				n = scan(h, search, hits);
			break;
		}
		way = WAY_ALL;
	}
	ctx_give(h, ctx);
	hnsw_leave(h, guard);
	return n;
}

uint32_t
hnsw_search(Hnsw *h, const HnswSearch *search, HnswHit *hits)
{
	return run(h, search, NULL, hits);
}

uint32_t
search_without(Hnsw *h, const HnswSearch *search, uint32_t without, HnswHit *hits)
{
	return run(h, search, &without, hits);
}
