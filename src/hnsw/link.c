/*-------------------------------------------------------------------------
 *
 * link.c
 *	  Taking a slot into the graph.
 *
 * For each level from the node's own downwards: walk with ef_construction
 * candidates, choose neighbours among them, write the node's list, then enter
 * the node into theirs.  A neighbour whose list is full chooses anew among its
 * links and the newcomer, by the same rule (choose.c): keeping just the nearest would
 * cut off clusters.
 *
 * Several threads link at once.  They do not find each other by walking, so
 * each puts its slot in a place that the others look at, and counts the others
 * among its candidates.  A node can therefore have links before its own list
 * is written: writing merges.
 *
 * A slot whose row equals one in the graph becomes its twin; see graph.h.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* Replace a node's list; under its lock. */
static void
write_links(atomic_uint *links, uint32_t limit, const uint32_t *slots, uint32_t n)
{
	for (uint32_t i = 0; i < limit; i++)
		atomic_store_explicit(&links[i], i < n ? slots[i] : NO_SLOT, memory_order_release);
}

/* Enter `to` into the list of `from`, choosing anew when it is full. */
static void
add_link(Hnsw *h, Ctx *ctx, uint32_t from, uint32_t to, int level)
{
	Meta	   *meta = graph_meta(h, from);
	uint32_t	limit;
	atomic_uint *links = graph_links(h, from, level, &limit);
	uint32_t	list[2 * HNSW_MAX_M + 1];
	uint32_t	n;

	if (links == NULL)
		return;
	graph_lock_node(meta);
	n = graph_copy_links(h, from, level, list);
	for (uint32_t i = 0; i < n; i++)
		if (list[i] == to)
		{
			graph_unlock_node(meta);
			return;
		}
	if (n < limit)
		atomic_store_explicit(&links[n], to, memory_order_release);
	else
	{
		uint32_t	chosen[2 * HNSW_MAX_M];

		list[n++] = to;
		n = choose_again(h, ctx, from, list, n, level == 0 ? meta->agreed : 0, limit, chosen);
		write_links(links, limit, chosen, n);
		if (level == 0)
			meta->agreed = (uint16_t) n;
	}
	graph_unlock_node(meta);
}

/*
 * No node that lives is near: everything has died, and is not mended yet.  Then the
 * nearest dead ones lead to the slot, at the cost of a link of theirs, or no walk
 * would come to it.
 */
static void
lead_from_dead(Walk *walk, uint32_t to, int level)
{
	const Pool *pool = walk->pool;

	for (uint32_t i = 0; i < pool->n && i < walk->h->opt.m; i++)
	{
		uint32_t	from = entry_slot(pool->e[i]);
		Meta	   *meta = graph_meta(walk->h, from);
		uint32_t	list[2 * HNSW_MAX_M];
		uint32_t	limit;
		atomic_uint *links = graph_links(walk->h, from, level, &limit);
		uint32_t	n;
		bool		known = false;

		if (links == NULL || from == to)
			continue;
		graph_lock_node(meta);
		n = graph_copy_links(walk->h, from, level, list);
		for (uint32_t j = 0; j < n; j++)
			known |= list[j] == to;
		if (!known)
			atomic_store_explicit(&links[n < limit ? n : limit - 1], to, memory_order_release);
		if (level == 0 && meta->agreed == limit)
			meta->agreed--;
		graph_unlock_node(meta);
	}
}

/* A node's own list: what was chosen, and who has linked to it meanwhile. */
static void
write_own(Hnsw *h, uint32_t slot, int level, const uint32_t *chosen, uint32_t n)
{
	Meta	   *meta = graph_meta(h, slot);
	uint32_t	limit;
	atomic_uint *links = graph_links(h, slot, level, &limit);
	uint32_t	list[4 * HNSW_MAX_M];
	uint32_t	old;

	graph_lock_node(meta);
	old = graph_copy_links(h, slot, level, list);
	if (old > 0)
	{
		uint32_t	all = old;

		for (uint32_t i = 0; i < n; i++)
		{
			bool		known = false;

			for (uint32_t j = 0; j < old; j++)
				known |= list[j] == chosen[i];
			if (!known && all < limit)
				list[all++] = chosen[i];
		}
		write_links(links, limit, list, all);
	}
	else
	{
		write_links(links, limit, chosen, n);
		if (level == 0)
			meta->agreed = (uint16_t) n;
	}
	graph_unlock_node(meta);
}

/* The pool's live entries as candidates, and who is being linked as well. */
static uint32_t
gather(Hnsw *h, Walk *walk, uint32_t slot, int level, Candidate **out)
{
	const Pool *pool = walk->pool;
	Candidate  *candidates = ctx_candidates(walk->ctx, pool->n + INFLIGHT_PLACES);
	uint32_t	n = 0;
	uint32_t	before;

	for (uint32_t i = 0; i < pool->n; i++)
		if (!(pool->e[i] & ENTRY_PASS_BY) && entry_slot(pool->e[i]) != slot)
		{
			candidates[n].score = entry_score(pool->e[i]);
			candidates[n++].slot = entry_slot(pool->e[i]);
		}
	before = n;
	for (int i = 0; i < INFLIGHT_PLACES; i++)
	{
		uint32_t	other = atomic_load_explicit(&h->inflight[i], memory_order_acquire);

		if (other != NO_SLOT && other != slot && visited_add(walk->visited, other) &&
			atomic_load(&graph_meta(h, other)->level) >= level && graph_fate(h, other) == FATE_LIVE)
		{
			const uint8_t *row = graph_row(h, other);

			query_score(h, walk->query, &other, &row, 1, &candidates[n].score);
			candidates[n++].slot = other;
		}
	}
	if (n > before)
		choose_sort(candidates, n);
	*out = candidates;
	return n;
}

/* Is a live node of the graph equal to this slot?  Then hang the slot behind it. */
static bool
become_twin(Hnsw *h, Walk *walk, uint32_t slot)
{
	const Pool *pool = walk->pool;
	const uint8_t *row = graph_row(h, slot);
	float		self;

	query_score(h, walk->query, &slot, &row, 1, &self);
	for (uint32_t i = 0; i < pool->n; i++)
	{
		uint32_t	other = entry_slot(pool->e[i]);
		Meta	   *meta;

		if (pool->e[i] & ENTRY_PASS_BY || other == slot || entry_score(pool->e[i]) != self ||
			!graph_same_row(h, slot, other))
			continue;
		meta = graph_meta(h, other);
		if (atomic_load(&meta->state) == SLOT_TWIN)
			continue;
		atomic_fetch_add(&h->twins, 1);
		graph_lock_node(meta);
		atomic_store_explicit(&graph_meta(h, slot)->twin,
							  atomic_load_explicit(&meta->twin, memory_order_relaxed),
							  memory_order_relaxed);
		atomic_store_explicit(&meta->twin, slot, memory_order_release);
		graph_set_head(h, other, true);
		graph_unlock_node(meta);
		atomic_fetch_add_explicit(&h->hung, 1, memory_order_release);
		return true;
	}
	return false;
}

void
link_raise(atomic_ullong *entry, uint32_t slot, int level)
{
	unsigned long long now = atomic_load(entry);
	unsigned long long mine = (unsigned long long) level << 32 | slot;

	while ((now == NO_ENTRY || (int) (now >> 32) < level) &&
		   !atomic_compare_exchange_weak(entry, &now, mine))
		;
}

/* A place where other threads see what this one is linking. */
static int
inflight_enter(Hnsw *h, uint32_t slot)
{
	for (int i = 0; i < INFLIGHT_PLACES; i++)
	{
		unsigned int none = NO_SLOT;

		if (atomic_compare_exchange_strong(&h->inflight[i], &none, slot))
			return i;
	}
	return -1;					/* more threads than places: some do not see each other */
}

void
link_make_upper(Hnsw *h, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, slot);
	size_t		n = (size_t) atomic_load(&meta->level) * h->opt.m;
	atomic_uint *upper;

	if (n == 0)
		return;
	upper = vt_alloc(sizeof(atomic_uint) * n);
	for (size_t i = 0; i < n; i++)
		atomic_init(&upper[i], NO_SLOT);
	graph_account(h, (int64_t) (sizeof(atomic_uint) * n));
	atomic_store_explicit(&meta->upper, upper, memory_order_release);
}

/* Link a slot, as a node in any case if so wanted; false: it has become a twin. */
static bool
link_slot(Hnsw *h, Ctx *ctx, uint32_t slot, bool as_node)
{
	Meta	   *meta = graph_meta(h, slot);
	int			level = atomic_load(&meta->level);
	unsigned long long entry = atomic_load(&h->entry);
	uint32_t	chosen[2 * HNSW_MAX_M];
	Walk		walk = {.h = h, .ctx = ctx, .query = &ctx->query, .visited = &ctx->visited,
		.pool = &ctx->pool, .linking = true};
	Entry		best;
	int			top;
	int			inflight = -1;
	bool		seen = false;	/* others may know this slot */

	if (entry == NO_ENTRY)
	{
		link_make_upper(h, slot);
		seen = true;
		if (atomic_compare_exchange_strong(&h->entry, &entry, (unsigned long long) level << 32 | slot))
			return true;
	}

	query_set_slot(h, &ctx->query, slot);
	best = walk_descend(&walk, entry, level);
	top = (int) (entry >> 32);
	for (int at = level < top ? level : top; at >= 0; at--)
	{
		uint32_t	start = entry_slot(best);
		Candidate  *candidates;
		uint32_t	n;

		walk.level = at;
		visited_begin(walk.visited, atomic_load_explicit(&h->used, memory_order_acquire));
		visited_add(walk.visited, slot);
		pool_begin(walk.pool, h->opt.ef_construction);
		walk_offer(&walk, &start, 1);
		walk_run(&walk);
		if (at == 0)
			reach_learn(h, walk.pool);
		if (inflight < 0)
		{
			/* The last moment to become a twin: nobody has linked to it. */
			if (!seen && !as_node && become_twin(h, &walk, slot))
			{
				ctx->distances += walk.distances;
				return false;
			}
			if (!seen)
				link_make_upper(h, slot);
			seen = true;
			inflight = inflight_enter(h, slot);
		}
		if (walk.pool->n > 0)
			best = walk.pool->e[0];
		n = gather(h, &walk, slot, at, &candidates);
		n = choose_links(h, ctx, candidates, n, h->opt.m, chosen);
		write_own(h, slot, at, chosen, n);
		for (uint32_t i = 0; i < n; i++)
			add_link(h, ctx, chosen[i], slot, at);
		if (n == 0)
			lead_from_dead(&walk, slot, at);
	}
	ctx->distances += walk.distances;
	if (inflight >= 0)
		atomic_store_explicit(&h->inflight[inflight], NO_SLOT, memory_order_release);
	return true;
}

/*
 * Under h->lock: a repair that looks for an entry point sees this node, or this
 * thread sees its choice.
 */
void
link_become_node(Hnsw *h, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, slot);

	if (atomic_exchange(&meta->state, SLOT_LINKED) == SLOT_TWIN)
		atomic_fetch_sub(&h->twins, 1);
	link_raise(&h->entry, slot, atomic_load(&meta->level));
	link_raise(&h->sweep_best, slot, atomic_load(&meta->level));
}

void
link_promote(Hnsw *h, Ctx *ctx, uint32_t slot)
{
	graph_set_head(h, slot, true);
	atomic_fetch_add_explicit(&h->hung, 1, memory_order_release);
	(void) link_slot(h, ctx, slot, true);
	pthread_mutex_lock(&h->lock);
	link_become_node(h, slot);
	pthread_mutex_unlock(&h->lock);
}

bool
hnsw_link_next(Hnsw *h)
{
	uint32_t	guard = hnsw_enter(h);
	uint32_t	slot = NO_SLOT;
	uint64_t	place = 0;
	Ring	   *ring;
	bool		linked = false;
	SlotState	state = SLOT_LINKED;

	pthread_mutex_lock(&h->lock);
	ring = atomic_load(&h->ring);
	while (slot == NO_SLOT && h->claim < atomic_load(&h->tail))
	{
		place = h->claim++;
		slot = atomic_load(&ring->slots[place & ring->mask]);
	}
	if (slot == NO_SLOT)
		queue_advance(h);
	pthread_mutex_unlock(&h->lock);
	if (slot == NO_SLOT)
	{
		hnsw_leave(h, guard);
		return false;
	}

	if (graph_fate(h, slot) == FATE_LIVE)
	{
		Ctx		   *ctx = ctx_take(h);

		linked = true;
		if (!link_slot(h, ctx, slot, false))
			state = SLOT_TWIN;
		atomic_fetch_add_explicit(&h->link_distances, ctx->distances, memory_order_relaxed);
		ctx_give(h, ctx);
	}

	pthread_mutex_lock(&h->lock);
	if (linked)
	{
		if (state == SLOT_LINKED)
			link_become_node(h, slot);
		else
			atomic_store(&graph_meta(h, slot)->state, SLOT_TWIN);
		atomic_fetch_add(&h->linked, 1);
		h->stuck = false;
		if (graph_fate(h, slot) != FATE_LIVE)
			slot_to_repair(h, slot);
	}

	/* Only now it leaves the queue: a search finds it here or there. */
	ring = atomic_load(&h->ring);
	atomic_store_explicit(&ring->slots[place & ring->mask], NO_SLOT, memory_order_release);
	queue_advance(h);

	/* And only now nothing leads to one that died: who enters after this does not find it. */
	if (!linked)
		graph_retire(h, slot, false);
	pthread_mutex_unlock(&h->lock);
	hnsw_leave(h, guard);
	return true;
}
