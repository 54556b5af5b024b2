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
 * among its candidates, and those that were linked since it began, which its walk
 * may have passed before.  A node can therefore have links before its own list
 * is written: writing merges.
 *
 * A slot whose row equals one in the graph becomes its twin; see graph.h.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

void
link_write(atomic_uint *links, uint32_t limit, const uint32_t *slots, uint32_t n)
{
	for (uint32_t i = 0; i < limit; i++)
		atomic_store_explicit(&links[i], i < n ? slots[i] : NO_SLOT, memory_order_release);
}

static bool
has(const uint32_t *slots, uint32_t n, uint32_t slot)
{
	uint32_t	i = 0;

	while (i < n && slots[i] != slot)
		i++;
	return i < n;
}

/* `from` chose among its list and `to`: who finds out the same elsewhere need not choose. */
static void
trace(HnswFound *found, uint32_t from, uint32_t to, const uint32_t *list, uint32_t n, const uint32_t *chosen, uint32_t left)
{
	hnsw_found_link(found, from, has(chosen, left, to));
	for (uint32_t i = 0; i < n; i++)
		if (list[i] != to && !has(chosen, left, list[i]))
			hnsw_found_drop(found, list[i]);
}

/* Who was linked meanwhile, and has linked to the slot, is a neighbour as well. */
static void
trace_others(Hnsw *h, Ctx *ctx, uint32_t slot, int level, const uint32_t *chosen, uint32_t n)
{
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	all = graph_copy_links(h, slot, level, list);

	for (uint32_t i = 0; i < all; i++)
		if (!has(chosen, n, list[i]))
			hnsw_found_link(&ctx->found, list[i], true);
}

/* Enter `to` into the list of `from`, choosing anew when it is full. */
static void
add_link(Hnsw *h, Ctx *ctx, uint32_t from, uint32_t to, int level)
{
	Meta	   *meta = graph_meta(h, from);
	uint32_t	limit;
	atomic_uint *links = graph_links(h, from, level, &limit);
	uint32_t	list[2 * HNSW_MAX_M + 1];
	uint32_t	chosen[2 * HNSW_MAX_M];
	uint32_t	n;
	uint32_t	left = 0;
	bool		full;

	if (links == NULL)
		return;
	graph_lock_node(meta);
	n = graph_copy_links(h, from, level, list);
	for (uint32_t i = 0; i < n; i++)
		if (list[i] == to)
		{
			graph_unlock_node(meta);
			if (ctx->tracing)
				hnsw_found_link(&ctx->found, from, true);
			return;
		}
	full = n == limit;
	if (!full)
		atomic_store_explicit(&links[n], to, memory_order_release);
	else
	{
		list[n++] = to;
		left = choose_again(h, ctx, from, list, n, level == 0 ? meta->agreed : 0, limit, chosen);
		link_write(links, limit, chosen, left);
		if (level == 0)
			meta->agreed = (uint16_t) left;
	}
	graph_unlock_node(meta);
	if (ctx->tracing && !full)
		hnsw_found_link(&ctx->found, from, true);
	else if (ctx->tracing)
		trace(&ctx->found, from, to, list, n, chosen, left);
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

void
link_write_own(Hnsw *h, uint32_t slot, int level, const uint32_t *chosen, uint32_t n, uint32_t agreed)
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
		link_write(links, limit, list, all);
	}
	else
	{
		link_write(links, limit, chosen, n);
		if (level == 0)
			meta->agreed = (uint16_t) agreed;
	}
	graph_unlock_node(meta);
}

/* Another that may be a neighbour, though the walk has not met it. */
static void
add_candidate(Hnsw *h, Walk *walk, uint32_t slot, uint32_t other, int level, Candidate *candidates, uint32_t *n)
{
	const uint8_t *row;

	if (other == NO_SLOT || other == slot || !visited_add(walk->visited, other) ||
		atomic_load(&graph_meta(h, other)->level) < level || graph_fate(h, other) != FATE_LIVE)
		return;
	row = graph_row(h, other);
	query_score(h, walk->query, &other, &row, 1, &candidates[*n].score);
	candidates[(*n)++].slot = other;
}

/* The pool's live entries as candidates, and who is being linked as well, or has been since this thread began (`landed`). */
static uint32_t
gather(Hnsw *h, Walk *walk, uint32_t slot, int level, unsigned long long landed, Candidate **out)
{
	const Pool *pool = walk->pool;
	Candidate  *candidates = ctx_candidates(walk->ctx, pool->n + INFLIGHT_PLACES + LANDED_PLACES);
	uint32_t	n = 0;
	uint32_t	before;
	unsigned long long end;

	for (uint32_t i = 0; i < pool->n; i++)
		if (!(pool->e[i] & ENTRY_PASS_BY) && entry_slot(pool->e[i]) != slot)
		{
			candidates[n].score = entry_score(pool->e[i]);
			candidates[n++].slot = entry_slot(pool->e[i]);
		}
	before = n;
	for (int i = 0; i < INFLIGHT_PLACES; i++)
		add_candidate(h, walk, slot, atomic_load(&h->inflight[i]), level, candidates, &n);
	end = atomic_load(&h->nlanded);
	if (end - landed > LANDED_PLACES)
		landed = end - LANDED_PLACES;
	for (; landed < end; landed++)
	{
		unsigned long long other = atomic_load(&h->landed[landed % LANDED_PLACES]);

		/* Another number: its place is another's by now, or is about to be its own, and then it is in flight. */
		if (other >> 32 == (landed & UINT32_MAX))
			add_candidate(h, walk, slot, (uint32_t) other, level, candidates, &n);
	}
	if (n > before)
		choose_sort(candidates, n);
	*out = candidates;
	return n;
}

void
link_hang(Hnsw *h, uint32_t node, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, node);

	atomic_fetch_add(&h->twins, 1);
	graph_lock_node(meta);
	atomic_store_explicit(&graph_meta(h, slot)->twin,
						  atomic_load_explicit(&meta->twin, memory_order_relaxed),
						  memory_order_relaxed);
	atomic_store_explicit(&meta->twin, slot, memory_order_release);
	graph_set_head(h, node, true);
	graph_unlock_node(meta);
	atomic_fetch_add_explicit(&h->hung, 1, memory_order_release);
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

		if (pool->e[i] & ENTRY_PASS_BY || other == slot || entry_score(pool->e[i]) != self ||
			!graph_same_row(h, slot, other) || atomic_load(&graph_meta(h, other)->state) == SLOT_TWIN)
			continue;
		link_hang(h, other, slot);
		walk->ctx->found.twin = other;
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

int
link_enter(Hnsw *h, uint32_t slot)
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
link_leave(Hnsw *h, int place, uint32_t slot)
{
	/* First there, then no longer here: who looks here and then there meets it. */
	unsigned long long n = atomic_fetch_add(&h->nlanded, 1);

	atomic_store(&h->landed[n % LANDED_PLACES], n << 32 | slot);
	if (place >= 0)
		atomic_store(&h->inflight[place], NO_SLOT);
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

/*
 * Link a slot, as a node in any case if so wanted; false: it has become a twin.  A node stays in flight
 * until the caller has said that it is one.
 */
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
	unsigned long long landed = atomic_load(&h->nlanded);
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
		if (ctx->place == NO_PLACE_YET)
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
			ctx->place = link_enter(h, slot);
		}
		if (walk.pool->n > 0)
			best = walk.pool->e[0];
		n = gather(h, &walk, slot, at, landed, &candidates);
		n = choose_links(h, ctx, candidates, n, h->opt.m, chosen);
		link_write_own(h, slot, at, chosen, n, n);
		if (ctx->tracing)
			hnsw_found_list(&ctx->found);
		for (uint32_t i = 0; i < n; i++)
			add_link(h, ctx, chosen[i], slot, at);
		if (ctx->tracing)
			trace_others(h, ctx, slot, at, chosen, n);
		if (n == 0)
			lead_from_dead(&walk, slot, at);
	}
	ctx->distances += walk.distances;
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
	ctx->place = NO_PLACE_YET;
	(void) link_slot(h, ctx, slot, true);
	pthread_mutex_lock(&h->lock);
	link_become_node(h, slot);
	pthread_mutex_unlock(&h->lock);
	link_leave(h, ctx->place, slot);
}

/* Take a live slot in, by what was found elsewhere or by what is found here. */
static SlotState
take_in(Hnsw *h, uint32_t slot, HnswAdvice advice, const HnswHelp *help, int *inflight)
{
	Ctx		   *ctx = ctx_take(h);
	SlotState	state = SLOT_LINKED;
	bool		given = false;

	ctx->place = NO_PLACE_YET;
	if (advice == HNSW_FOUND)
	{
		hnsw_found_begin(&ctx->found);
		given = help->find(help->arg, slot, &ctx->found) && link_as_found(h, ctx, slot, &ctx->found, &state);
	}
	if (given)
		atomic_fetch_add_explicit(&h->found, 1, memory_order_relaxed);
	else
	{
		ctx->tracing = help && help->found;
		hnsw_found_begin(&ctx->found);
		if (!link_slot(h, ctx, slot, false))
			state = SLOT_TWIN;
		if (ctx->tracing && (ctx->found.nlists > 0 || ctx->found.twin != NO_SLOT))
			help->found(help->arg, slot, &ctx->found);
		ctx->tracing = false;
	}
	atomic_fetch_add_explicit(&h->link_distances, ctx->distances, memory_order_relaxed);
	*inflight = ctx->place;
	ctx_give(h, ctx);
	return state;
}

/* The place whose turn it is, with h->lock, unless it is left; NO_SLOT: there is none. */
static uint32_t
claim(Hnsw *h, const HnswHelp *help, uint64_t *place, HnswAdvice *advice)
{
	Ring	   *ring = atomic_load(&h->ring);

	for (; h->claim < atomic_load(&h->tail); h->claim++)
	{
		uint32_t	slot = atomic_load(&ring->slots[h->claim & ring->mask]);

		if (slot == NO_SLOT)
			continue;
		if (help && help->ask && graph_fate(h, slot) == FATE_LIVE)
			*advice = help->ask(help->arg, slot);
		if (*advice != HNSW_WAIT)
			*place = h->claim++;
		return slot;
	}
	return NO_SLOT;
}

HnswNext
hnsw_link_next_with(Hnsw *h, const HnswHelp *help)
{
	uint32_t	guard = hnsw_enter(h);
	uint32_t	slot;
	uint64_t	place = 0;
	Ring	   *ring;
	bool		linked;
	SlotState	state = SLOT_LINKED;
	HnswAdvice	advice = HNSW_ALONE;
	int			inflight = NO_PLACE_YET;

	pthread_mutex_lock(&h->lock);
	slot = claim(h, help, &place, &advice);
	if (slot == NO_SLOT)
		queue_advance(h);
	pthread_mutex_unlock(&h->lock);
	if (slot == NO_SLOT || advice == HNSW_WAIT)
	{
		hnsw_leave(h, guard);
		return slot == NO_SLOT ? HNSW_NONE_WAITS : HNSW_LEFT;
	}
	linked = graph_fate(h, slot) == FATE_LIVE;
	if (linked)
		state = take_in(h, slot, advice, help, &inflight);

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
	if (linked && state == SLOT_LINKED)
		link_leave(h, inflight, slot);
	hnsw_leave(h, guard);
	return HNSW_LINKED;
}

bool
hnsw_link_next(Hnsw *h)
{
	return hnsw_link_next_with(h, NULL) == HNSW_LINKED;
}

uint32_t
hnsw_oldest_waiting(Hnsw *h)
{
	uint32_t	slot = NO_SLOT;
	Ring	   *ring;

	pthread_mutex_lock(&h->lock);
	ring = atomic_load(&h->ring);
	for (uint64_t at = atomic_load(&h->head); slot == NO_SLOT && at < atomic_load(&h->tail); at++)
		slot = atomic_load(&ring->slots[at & ring->mask]);
	pthread_mutex_unlock(&h->lock);
	return slot;
}
