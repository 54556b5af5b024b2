/*-------------------------------------------------------------------------
 *
 * search.c
 *	  One search: by the graph, or by looking at everything.
 *
 * The walk's pool comes ordered by scores, which round and may be those of
 * codes.  The first of them, some more than k, are measured exactly and
 * ordered by that.
 *
 * With a filter the share that passes decides how: a walk has to pass by
 * ef / share nodes, each of them a dozen distances; a scan asks the filter
 * about every slot and measures those that pass.  The share comes from a
 * sample.  Whatever the walk finds, if it is fewer than k although more could
 * be there, the scan has the last word.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "hnsw/hits.h"
#include "hnsw/walk.h"

#define SAMPLE 256

/* What a filter call costs, in distances; distances of a node that is expanded. */
#define FILTER_COST 0.1
#define NODE_COST 12.0

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
hits_make(const Hnsw *h, const float *query, uint32_t slot)
{
	HnswHit		hit = {vec_distance(h->opt.metric, query, graph_vector(h, slot), h->opt.dim),
		graph_meta(h, slot)->label, slot};

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
	uint64_t	start = atomic_load_explicit(&h->tail, memory_order_acquire);
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);
	uint32_t	n = 0;
	uint64_t	distances = 0;

	for (uint32_t slot = 0; slot < used; slot++)
	{
		uint32_t	shown = graph_stand_in(h, slot, start);
		HnswHit		hit;

		if (shown == NO_SLOT ||
			(search->filter && !search->filter(search->filter_arg, graph_meta(h, shown)->label, shown)))
			continue;
		hit = hits_make(h, search->query, shown);
		distances++;
		hits_keep(hits, &n, search->k, &hit);
	}
	hits_sort(hits, n);
	if (search->cost)
		search->cost->distances += distances;
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

/* Does so little pass the filter that a scan is cheaper than a walk? */
static bool
scan_is_cheaper(Hnsw *h, const HnswSearch *search, uint32_t ef)
{
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);
	uint32_t	step = used / SAMPLE + 1;
	uint32_t	live = 0;
	uint32_t	pass = 0;
	double		share;

	for (uint64_t i = (uint64_t) step * 7 % (used + 1), k = 0; k < SAMPLE && k < used; k++)
	{
		uint32_t	slot = (uint32_t) ((i + k * step) % used);

		if (graph_fate(h, slot) != FATE_LIVE)
			continue;
		live++;
		pass += search->filter(search->filter_arg, graph_meta(h, slot)->label, slot);
	}
	if (live == 0)
		return false;
	share = ((double) pass + 0.5) / (live + 1);
	return used * (FILTER_COST + share) < NODE_COST * ef / share;
}

static inline void
prefetch_vector(const Hnsw *h, uint32_t slot)
{
	const float *vector = graph_vector(h, slot);

	for (uint32_t i = 0; i < h->dim16; i += 16)
		__builtin_prefetch(vector + i);
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
 * Exact distances of the best of the pool: with codes, of so many that no other
 * can be nearer than the k-th, as far as scores can be trusted (query_error);
 * floats are rounded so little that a few more than k do.
 */
static uint32_t
refine(Walk *walk, const HnswSearch *search, HnswHit *hits)
{
	Hnsw	   *h = walk->h;
	const Pool *pool = walk->pool;
	uint32_t	most = h->coded ? 4 * search->k + 100 : search->k + (search->k / 2 > 10 ? search->k / 2 : 10);
	uint32_t	ahead = h->dim16 >= 512 ? 1 : 4;
	uint32_t	n = 0;
	uint32_t	measured = 0;
	Entry		last = 0;

	for (uint32_t i = 0; h->coded && i < ahead && i < pool->n; i++)
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

			if (measured >= most || (h->coded &&
									 score - query_error(h, walk->query, slot, score) > exact_score(h, hits[0].distance)))
				break;
		}
		last = pool->e[i];
		if (h->coded && i + ahead < pool->n)
			prefetch_vector(h, entry_slot(pool->e[i + ahead]));
		slot = graph_stand_in(h, slot, walk->start);
		if (slot == NO_SLOT)
			continue;
		if (slot != entry_slot(pool->e[i]) && search->filter &&
			!search->filter(search->filter_arg, graph_meta(h, slot)->label, slot))
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

uint32_t
hnsw_search(Hnsw *h, const HnswSearch *search, HnswHit *hits)
{
	uint32_t	ef = search->ef > search->k ? search->ef : search->k;
	uint32_t	guard;
	uint32_t	n = 0;
	bool		exact;

	if (search->k == 0)
		return 0;
	guard = hnsw_enter(h);
	exact = search->filter && scan_is_cheaper(h, search, ef);
	if (!exact)
	{
		Ctx		   *ctx = ctx_take(h);
		Walk		walk = {.h = h, .ctx = ctx, .query = &ctx->query, .visited = &ctx->visited,
			.pool = &ctx->pool, .filter = search->filter, .filter_arg = search->filter_arg};

		query_set(h, &ctx->query, search->query);
		pool_begin(walk.pool, ef);
		walk_start(&walk);
		n = refine(&walk, search, hits);
		if (search->cost)
		{
			search->cost->distances += walk.distances;
			search->cost->hops += walk.hops;
		}
		ctx_give(h, ctx);
		exact = n < search->k && (search->filter || n < atomic_load(&h->live));
	}
	if (exact)
	{
		n = scan(h, search, hits);
		if (search->cost)
			search->cost->exact++;
	}
	hnsw_leave(h, guard);
	return n;
}
