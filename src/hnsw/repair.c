/*-------------------------------------------------------------------------
 *
 * repair.c
 *	  Mending the graph around dead slots, and making them free.
 *
 * In batches.  A batch is what is dead now.  First wait until every guard of
 * now is left: from then on nobody links to a slot of the batch (graph.h).
 * Then sweep through all nodes: one that links to the batch keeps its live links,
 * and for the places of the dead ones chooses among the live links of these, by
 * the rule of link.c.  The idea is that of FreshDiskANN's consolidation (Singh et al.,
 * 2021), which chooses among all of them: but a list that has grown holds links
 * which the rule would not choose, and walks miss them when they go.  Then
 * nothing leads to the batch, and after one more grace its slots are free.
 *
 * A sweep reads the links of every node once, so a pass waits until the dead
 * are worth it.  What is dead takes memory until its pass is over, so that is soon: to look at a node costs
 * a hundredth of linking one.  Where living twins hang behind a dead node, the first of them
 * is linked in its place before the sweep.
 *
 * Slots that compaction has moved (compact.c) are part of the next batch: there
 * the slot they were moved to takes over their links and the links to them, and
 * nothing is chosen.
 *
 * The walk through the batch is by slot number; nodes linked while it goes on
 * have no links to the batch.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/ctx.h"

/* A pass begins when one of so many linked nodes is dead, or many are. */
#define DEAD_SHARE 100
#define DEAD_MANY 50000

/* It would end a look for what no walk comes to (connect.c), which has to come to its end now and then: wait until it is one of so many. */
#define DEAD_URGENT 20

/* Candidates for one list at most. */
#define POOL_MAX 1024

static bool
in_batch(const Hnsw *h, uint32_t slot)
{
	return slot < h->batch_used && (h->in_batch[slot >> 3] >> (slot & 7) & 1);
}

static void
set_in_batch(Hnsw *h, uint32_t slot, bool in)
{
	if (in)
		h->in_batch[slot >> 3] |= (uint8_t) (1 << (slot & 7));
	else
		h->in_batch[slot >> 3] &= (uint8_t) ~(1 << (slot & 7));
}

/* Are the dead worth a pass?  Under h->lock. */
static bool
is_due(const Hnsw *h)
{
	uint64_t	linked = atomic_load(&h->linked);

	if (h->connect || h->connect_due)
		return (uint64_t) h->died.n * DEAD_URGENT >= linked;
	return h->died.n >= DEAD_MANY || (uint64_t) h->died.n * DEAD_SHARE >= linked;
}

/* Take the dead of now as the batch; false: not worth it. */
static bool
begin_batch(Hnsw *h, bool eager)
{
	bool		begin;

	pthread_mutex_lock(&h->lock);
	begin = h->died.n > 0 && (eager || is_due(h));
	if (begin)
	{
		SlotList	empty = h->batch;

		h->batch = h->died;
		h->died = empty;
		h->died.n = 0;
		h->batch_epoch = epoch_next(h);
		h->batch_used = atomic_load(&h->used);
	}
	pthread_mutex_unlock(&h->lock);
	if (!begin)
		return false;
	connect_end(h);				/* the lists it has followed are about to change */
	h->in_batch = vt_alloc0((size_t) h->batch_used / 8 + 1);
	h->batch_moved = false;
	for (uint32_t i = 0; i < h->batch.n; i++)
	{
		set_in_batch(h, h->batch.slots[i], true);
		h->batch_moved |= graph_meta(h, h->batch.slots[i])->moved;
	}
	h->phase = REPAIR_GRACE;
	return true;
}

/* The first twin behind a node that stays; NO_SLOT: none. */
static uint32_t
heir_of(const Hnsw *h, uint32_t slot)
{
	uint32_t	twin = atomic_load_explicit(&graph_meta(h, slot)->twin, memory_order_acquire);

	while (twin != NO_SLOT && in_batch(h, twin))
		twin = atomic_load_explicit(&graph_meta(h, twin)->twin, memory_order_acquire);
	return twin;
}

/* The node that has taken the place of a moved slot, links and all; NO_SLOT: none has. */
static uint32_t
moved_to(const Hnsw *h, uint32_t slot)
{
	uint32_t	to = h->batch_moved && graph_meta(h, slot)->moved ? graph_fate(h, slot) - FATE_SUPERSEDED : NO_SLOT;

	return to != NO_SLOT && !in_batch(h, to) && atomic_load(&graph_meta(h, to)->state) == SLOT_LINKED ? to : NO_SLOT;
}

/*
 * What a slot was moved to takes over its links.  Nobody writes these any more,
 * and nobody links to a twin yet.
 */
static void
inherit(Hnsw *h, uint32_t slot, uint32_t heir)
{
	link_make_upper(h, heir);
	for (int level = atomic_load(&graph_meta(h, heir)->level); level >= 0; level--)
	{
		uint32_t	list[2 * HNSW_MAX_M];
		uint32_t	n = graph_copy_links(h, slot, level, list);
		uint32_t	limit;
		atomic_uint *links = graph_links(h, heir, level, &limit);

		for (uint32_t i = 0; i < n; i++)
			atomic_store_explicit(&links[i], list[i], memory_order_release);
	}
	graph_set_head(h, heir, true);
	atomic_fetch_add_explicit(&h->hung, 1, memory_order_release);
	pthread_mutex_lock(&h->lock);
	link_become_node(h, heir);
	pthread_mutex_unlock(&h->lock);
}

/*
 * The grace is over, nobody hangs behind a slot of the batch any more: where
 * twins are left behind one, the first of them becomes a node in its place, and
 * the rest of the chain hangs behind that.  Some of them; false: all done.
 */
static bool
promote_heirs(Hnsw *h, Ctx *ctx, uint32_t *steps)
{
	for (; h->sweep_at < h->batch.n; h->sweep_at++)
	{
		uint32_t	slot = h->batch.slots[h->sweep_at];
		uint32_t	heir;

		if (atomic_load(&graph_meta(h, slot)->state) != SLOT_LINKED ||
			(heir = heir_of(h, slot)) == NO_SLOT ||
			atomic_load(&graph_meta(h, heir)->state) != SLOT_TWIN)
			continue;
		if (*steps == 0)
			return true;
		--*steps;
		if (graph_meta(h, slot)->moved && graph_fate(h, slot) == FATE_SUPERSEDED + heir)
			inherit(h, slot, heir);
		else
			link_promote(h, ctx, heir);
	}
	return false;
}

/* Take twins of the batch out of a node's chain. */
static void
mend_twins(Hnsw *h, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, slot);
	atomic_uint *place = &meta->twin;
	uint32_t	twin;

	if (atomic_load_explicit(place, memory_order_acquire) == NO_SLOT)
		return;
	graph_lock_node(meta);
	while ((twin = atomic_load_explicit(place, memory_order_acquire)) != NO_SLOT)
	{
		Meta	   *other = graph_meta(h, twin);

		if (in_batch(h, twin))
			atomic_store_explicit(place, atomic_load_explicit(&other->twin, memory_order_acquire),
								  memory_order_release);
		else
			place = &other->twin;
	}
	graph_unlock_node(meta);
}

/* Add the slots of a list that may be linked to, once each. */
static uint32_t
collect(Hnsw *h, Ctx *ctx, const uint32_t *list, uint32_t n, uint32_t *out, uint32_t have)
{
	for (uint32_t i = 0; i < n && have < POOL_MAX; i++)
	{
		uint32_t	slot = in_batch(h, list[i]) ? moved_to(h, list[i]) : list[i];

		if (slot != NO_SLOT && graph_fate(h, slot) == FATE_LIVE && visited_add(&ctx->visited, slot))
			out[have++] = slot;
	}
	return have;
}

/* Link to where the slots of a list were moved to; true: nothing else of the batch is in it. */
static bool
follow_moves(Hnsw *h, uint32_t from, uint32_t *list, uint32_t *n)
{
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < *n; i++)
	{
		uint32_t	to = in_batch(h, list[i]) ? moved_to(h, list[i]) : list[i];
		bool		known = to == from;

		if (to == NO_SLOT)
			return false;
		for (uint32_t j = 0; j < kept && !known; j++)
			known = list[j] == to;
		if (!known)
			list[kept++] = to;
	}
	*n = kept;
	return true;
}

/*
 * Any live node of this level, for one whose neighbourhood has died out; the
 * best entry the sweep has come across or the graph's own.
 */
static uint32_t
any_node(Hnsw *h, uint32_t not, int level)
{
	uint64_t	entries[2] = {atomic_load(&h->sweep_best), atomic_load(&h->entry)};

	for (int i = 0; i < 2; i++)
		if (entries[i] != NO_ENTRY && (int) (entries[i] >> 32) >= level &&
			(uint32_t) entries[i] != not && graph_fate(h, (uint32_t) entries[i]) == FATE_LIVE)
			return (uint32_t) entries[i];
	return NO_SLOT;
}

/* Make a node's list of one level free of the batch; true: it was chosen anew. */
static bool
mend_links(Hnsw *h, Ctx *ctx, uint32_t slot, int level)
{
	Meta	   *meta = graph_meta(h, slot);
	uint32_t	limit;
	atomic_uint *links = graph_links(h, slot, level, &limit);
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	second[2 * HNSW_MAX_M];
	uint32_t	near[POOL_MAX];
	uint32_t	chosen[2 * HNSW_MAX_M];
	uint32_t	n;
	uint32_t	own;			/* links that stay */
	uint32_t	agreed;			/* of those */
	uint32_t	have;
	bool		choose;
	bool		hit = false;

	if (links == NULL)
		return false;
	n = graph_copy_links(h, slot, level, list);
	for (uint32_t i = 0; i < n && !hit; i++)
		hit = in_batch(h, list[i]);
	if (!hit)
		return false;

	graph_lock_node(meta);
	n = graph_copy_links(h, slot, level, list);
	memcpy(chosen, list, sizeof(uint32_t) * n);
	choose = !follow_moves(h, slot, chosen, &n);
	agreed = 0;
	if (choose)
	{
		uint32_t	before = level == 0 ? meta->agreed : 0;

		visited_begin(&ctx->visited, atomic_load(&h->used));
		visited_add(&ctx->visited, slot);
		agreed = collect(h, ctx, list, before, near, 0);
		own = have = collect(h, ctx, list + before, n - before, near, agreed);
		for (uint32_t i = 0; i < n; i++)
			if (in_batch(h, list[i]) && moved_to(h, list[i]) == NO_SLOT)
				have = collect(h, ctx, second, graph_copy_links(h, list[i], level, second), near, have);
		if (have == 0)
		{
			uint32_t	any = any_node(h, slot, level);

			if (any != NO_SLOT)
				near[have++] = any;
		}
		memcpy(chosen, near, sizeof(uint32_t) * own);
		if (n < h->opt.m)
			n = h->opt.m;
		n = choose_near(h, ctx, slot, near + own, have - own, n, chosen, own);
	}
	for (uint32_t i = 0; i < limit; i++)
		atomic_store_explicit(&links[i], i < n ? chosen[i] : NO_SLOT, memory_order_release);
	if (level == 0)
		meta->agreed = (uint16_t) agreed;
	graph_unlock_node(meta);
	return choose;
}

/* True: some list of it was chosen anew. */
static bool
mend_node(Hnsw *h, Ctx *ctx, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, slot);
	int			level = atomic_load(&meta->level);
	bool		changed = false;

	mend_twins(h, slot);
	for (int at = level; at >= 0; at--)
		changed |= mend_links(h, ctx, slot, at);
	if (changed)
		atomic_fetch_add_explicit(&h->repaired, 1, memory_order_relaxed);
	if (atomic_load(&meta->state) == SLOT_LINKED)
		link_raise(&h->sweep_best, slot, level);
	return changed;
}

/* The entry point is not of the batch afterwards.  Under h->lock. */
static void
mend_entry(Hnsw *h)
{
	unsigned long long entry = atomic_load(&h->entry);

	while (entry != NO_ENTRY && in_batch(h, (uint32_t) entry) &&
		   !atomic_compare_exchange_weak(&h->entry, &entry, atomic_load(&h->sweep_best)))
		;
}

static void
end_batch(Hnsw *h)
{
	pthread_mutex_lock(&h->lock);
	mend_entry(h);
	for (uint32_t i = 0; i < h->batch.n; i++)
	{
		uint32_t	slot = h->batch.slots[i];

		if (atomic_load(&graph_meta(h, slot)->state) == SLOT_TWIN)
			atomic_fetch_sub(&h->twins, 1);
		atomic_fetch_sub(&h->linked, 1);
		graph_retire(h, slot, true);
	}
	h->batch.n = 0;
	h->phase = h->limit == NO_SLOT ? REPAIR_IDLE : REPAIR_CUT;
	pthread_mutex_unlock(&h->lock);
	free(h->in_batch);
	h->in_batch = NULL;
	h->connect_due = true;
}

/* Mend the next nodes; true: that was the last. */
static bool
sweep(Hnsw *h, Ctx *ctx, uint32_t steps)
{
	uint32_t	used = atomic_load(&h->used);
	uint64_t	looks = (uint64_t) steps * LOOKS_A_STEP;

	for (; looks > 0 && h->sweep_at < used; h->sweep_at++)
	{
		uint32_t	slot = h->sweep_at;
		SlotState	state = atomic_load(&graph_meta(h, slot)->state);

		looks--;
		/* One that is being linked may have old links to the batch's twins. */
		if ((state == SLOT_LINKED || state == SLOT_ADDED) && !in_batch(h, slot) && mend_node(h, ctx, slot))
			looks -= looks < LOOKS_A_STEP ? looks : LOOKS_A_STEP;
	}
	return h->sweep_at >= used;
}

/* While there is nothing to mend: nodes no walk comes to are linked once more. */
static bool
connect(Hnsw *h, uint32_t steps)
{
	uint32_t	guard;
	Ctx		   *ctx;

	if (h->connect == NULL && !connect_begin(h))
		return false;
	guard = hnsw_enter(h);
	ctx = ctx_take(h);
	if (!connect_some(h, ctx, steps))
		connect_end(h);
	atomic_fetch_add_explicit(&h->link_distances, ctx->distances, memory_order_relaxed);
	ctx_give(h, ctx);
	hnsw_leave(h, guard);
	return true;
}

static bool
repair_some(Hnsw *h, uint32_t steps, bool eager)
{
	uint32_t	guard;
	Ctx		   *ctx;
	bool		more;

	pthread_mutex_lock(&h->lock);
	graph_reclaim(h);
	queue_shrink(h);
	pthread_mutex_unlock(&h->lock);
	compact_give_back(h);

	if (h->phase == REPAIR_IDLE && compact_begin(h))
	{
		connect_end(h);
		h->phase = REPAIR_MOVE;
	}
	if (h->phase == REPAIR_MOVE)
	{
		if (compact_move(h, &steps))
			return true;
		h->phase = begin_batch(h, true) ? REPAIR_GRACE : REPAIR_CUT;
	}
	if (h->phase == REPAIR_CUT)
	{
		if (!compact_cut(h))
			return false;		/* somebody still looks at what was moved: next time */
		h->phase = REPAIR_IDLE;
		return true;
	}
	if (h->phase == REPAIR_IDLE && !begin_batch(h, eager))
		return connect(h, steps);
	if (h->phase == REPAIR_GRACE)
	{
		if (epoch_oldest(h) <= h->batch_epoch)
			return false;		/* somebody is still inside: next time */
		h->sweep_at = 0;
		h->phase = REPAIR_PROMOTE;
	}

	guard = hnsw_enter(h);
	ctx = ctx_take(h);
	if (h->phase == REPAIR_PROMOTE && !promote_heirs(h, ctx, &steps))
	{
		h->sweep_at = 0;
		atomic_store(&h->sweep_best, NO_ENTRY);
		h->phase = REPAIR_SWEEP;
	}
	more = h->phase == REPAIR_PROMOTE || !sweep(h, ctx, steps);
	atomic_fetch_add_explicit(&h->link_distances, ctx->distances, memory_order_relaxed);
	ctx_give(h, ctx);
	hnsw_leave(h, guard);
	if (more)
		return true;
	end_batch(h);
	pthread_mutex_lock(&h->lock);
	graph_reclaim(h);
	pthread_mutex_unlock(&h->lock);
	return true;
}

void
hnsw_look_over(Hnsw *h)
{
	pthread_mutex_lock(&h->repair_lock);
	h->connect_due = true;
	pthread_mutex_unlock(&h->repair_lock);
}

bool
hnsw_repair(Hnsw *h, uint32_t steps, bool eager)
{
	bool		more;

	if (pthread_mutex_trylock(&h->repair_lock) != 0)
		return false;
	more = repair_some(h, steps, eager);
	pthread_mutex_unlock(&h->repair_lock);
	return more;
}
