/*-------------------------------------------------------------------------
 *
 * found.c
 *	  Linking by what another graph of the same vectors has found.
 *
 * Nearly all of the work of linking is distances: to find who is near, and for each
 * neighbour to choose anew whom it goes on leading to.  A replica's graph need not do that
 * again.  It gets the outcome, its neighbours and whom they gave up for the newcomer, and
 * writes the same into its own lists.
 *
 * Graphs of replicas are alike, not the same: they link in other orders, mend by
 * themselves, and one may not have yet, or not have any more, what the other was told of.  So
 * what comes is taken for advice.  Links go to nodes that live here; a list that has no place
 * though it had one there chooses by itself; where too few of the neighbours
 * are here, the slot's neighbours are looked for.
 *
 * Searches need to know how distances grow with rank, which is learnt by looking
 * (reach.c): so some are looked for all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* Looked for though they were found: one of so many, and more often while the graph is small. */
#define LOOK_SMALL 16
#define LOOK 64
#define SMALL 4096

/* -- What was found ---------------------------------------------------------- */

void
hnsw_found_begin(HnswFound *found)
{
	found->twin = NO_SLOT;
	found->nlists = found->nlinks = found->ndropped = 0;
}

void
hnsw_found_list(HnswFound *found)
{
	Assert(found->nlists < HNSW_LISTS_MAX);
	found->n[found->nlists++] = 0;
}

void
hnsw_found_link(HnswFound *found, uint32_t slot, bool entered)
{
	Assert(found->nlists > 0);
	if (found->nlinks == found->links_room)
	{
		found->links_room = found->links_room ? 2 * found->links_room : 64;
		found->links = vt_realloc(found->links, sizeof(HnswLink) * found->links_room);
	}
	found->links[found->nlinks++] = (HnswLink) {.slot = slot, .entered = entered};
	found->n[found->nlists - 1]++;
}

void
hnsw_found_drop(HnswFound *found, uint32_t slot)
{
	Assert(found->nlinks > 0);
	if (found->ndropped == found->dropped_room)
	{
		found->dropped_room = found->dropped_room ? 2 * found->dropped_room : 64;
		found->dropped = vt_realloc(found->dropped, sizeof(uint32_t) * found->dropped_room);
	}
	found->dropped[found->ndropped++] = slot;
	found->links[found->nlinks - 1].ndropped++;
}

void
hnsw_found_free(HnswFound *found)
{
	free(found->links);
	free(found->dropped);
	memset(found, 0, sizeof(*found));
}

/* -- Taking it in ------------------------------------------------------------ */

/* Does another thread link it as a node right now?  Then it is certain to become one. */
static bool
is_in_flight(Hnsw *h, uint32_t slot)
{
	int			i = 0;

	while (i < INFLIGHT_PLACES && atomic_load_explicit(&h->inflight[i], memory_order_acquire) != slot)
		i++;
	return i < INFLIGHT_PLACES;
}

/* May the slot lead to this one on that level?  In a guard: one that dies now is mended around later. */
static bool
is_node(Hnsw *h, uint32_t slot, uint32_t other, int level)
{
	const Meta *meta;

	if (other == slot || other >= atomic_load_explicit(&h->used, memory_order_acquire))
		return false;
	meta = graph_meta(h, other);
	return (atomic_load(&meta->state) == SLOT_LINKED || is_in_flight(h, other)) && graph_fate(h, other) == FATE_LIVE &&
		atomic_load_explicit(&meta->level, memory_order_acquire) >= level;
}

static bool
is_among(const uint32_t *slots, uint32_t n, uint32_t slot)
{
	uint32_t	i = 0;

	while (i < n && slots[i] != slot)
		i++;
	return i < n;
}

/*
 * A neighbour's own list takes the slot in.  Where it is full, in the place of those that it gave up
 * for it there, if it took it in there.  What is left of links that agree agrees; whether the slot agrees with
 * them is not known.
 */
static void
enter(Hnsw *h, Ctx *ctx, uint32_t slot, int level, const HnswLink *link, const uint32_t *dropped)
{
	Meta	   *meta = graph_meta(h, link->slot);
	uint32_t	limit;
	atomic_uint *links = graph_links(h, link->slot, level, &limit);
	uint32_t	list[2 * HNSW_MAX_M + 1];
	uint32_t	chosen[2 * HNSW_MAX_M];
	uint32_t	agreed;
	uint32_t	n;
	uint32_t	left = 0;

	if (links == NULL)
		return;
	graph_lock_node(meta);
	n = graph_copy_links(h, link->slot, level, list);
	if (is_among(list, n, slot))
		;						/* it is there */
	else if (n < limit)
		atomic_store_explicit(&links[n], slot, memory_order_release);
	else if (link->entered)
	{
		agreed = level == 0 ? meta->agreed : 0;
		for (uint32_t i = 0, then = agreed; i < n; i++)
			if (is_among(dropped, link->ndropped, list[i]))
				agreed -= i < then;
			else
				list[left++] = list[i];
		list[left++] = slot;
		if (left > limit)
		{
			agreed = left = choose_again(h, ctx, link->slot, list, left, agreed, limit, chosen);
			memcpy(list, chosen, sizeof(uint32_t) * left);
		}
		link_write(links, limit, list, left);
		if (level == 0)
			meta->agreed = (uint16_t) agreed;
	}
	graph_unlock_node(meta);
}

/* Those of a list that are nodes here, none twice, at most as many as a list holds; how many. */
static uint32_t
take_nodes(Hnsw *h, uint32_t slot, int level, const HnswLink *links, uint32_t n, uint32_t *out)
{
	uint32_t	limit = level == 0 ? h->m0 : h->opt.m;
	uint32_t	taken = 0;

	for (uint32_t i = 0; i < n && taken < limit; i++)
		if (is_node(h, slot, links[i].slot, level) && !is_among(out, taken, links[i].slot))
			out[taken++] = links[i].slot;
	return taken;
}

/* -- Neighbours that wait themselves ------------------------------------------- */

/*
 * What was linked at the same time there may come one after the other here, and only the hint of the one that comes
 * first may name the other.  So the other one is owed a link.  `owed` is as much advice as the
 * rest: what it forgets, or says of a slot that is another's by now, is a link less or one to somewhere else.
 */
static void
owe(Hnsw *h, uint32_t waiting, uint32_t slot)
{
	unsigned long long n = atomic_fetch_add_explicit(&h->nowed, 1, memory_order_relaxed);

	atomic_store(&h->owed[n % OWED_PLACES], (unsigned long long) waiting << 32 | slot);
}

static bool
waits(Hnsw *h, uint32_t other)
{
	return other < atomic_load_explicit(&h->used, memory_order_acquire) &&
		atomic_load(&graph_meta(h, other)->state) == SLOT_ADDED && graph_fate(h, other) == FATE_LIVE;
}

/* Those of a ground list that wait will have their link; one that begins to be linked meanwhile has it now. */
static uint32_t
owe_all(Hnsw *h, uint32_t slot, const HnswLink *links, uint32_t n, uint32_t *chosen, uint32_t nchosen)
{
	for (uint32_t i = 0; i < n && nchosen < h->m0; i++)
	{
		uint32_t	other = links[i].slot;

		if (other == slot || is_among(chosen, nchosen, other) || !waits(h, other))
			continue;
		owe(h, other, slot);
		if (is_node(h, slot, other, 0))
			chosen[nchosen++] = other;
	}
	return nchosen;
}

/* What the slot is owed becomes a neighbour, and links back. */
static uint32_t
collect(Hnsw *h, Ctx *ctx, uint32_t slot, uint32_t *chosen, uint32_t nchosen)
{
	for (int i = 0; i < OWED_PLACES; i++)
	{
		unsigned long long owed = atomic_load(&h->owed[i]);
		HnswLink	link = {.slot = (uint32_t) owed, .entered = true};

		if (owed >> 32 != slot || !atomic_compare_exchange_strong(&h->owed[i], &owed, UINT64_MAX) ||
			!is_node(h, slot, link.slot, 0) || is_among(chosen, nchosen, link.slot) || nchosen == h->m0)
			continue;
		chosen[nchosen++] = link.slot;
		enter(h, ctx, slot, 0, &link, NULL);
	}
	return nchosen;
}

/* -- One slot -------------------------------------------------------------------- */

static void
link_list(Hnsw *h, Ctx *ctx, uint32_t slot, int level, const HnswLink *links, uint32_t n, const uint32_t *dropped)
{
	uint32_t	chosen[2 * HNSW_MAX_M];
	uint32_t	nchosen = take_nodes(h, slot, level, links, n, chosen);

	if (level == 0)
	{
		nchosen = owe_all(h, slot, links, n, chosen, nchosen);
		nchosen = collect(h, ctx, slot, chosen, nchosen);
	}
	link_write_own(h, slot, level, chosen, nchosen, 0);	/* not all of them were chosen together */
	for (uint32_t i = 0; i < n; dropped += links[i++].ndropped)
		if (is_among(chosen, nchosen, links[i].slot))
			enter(h, ctx, slot, level, &links[i], dropped);
}

static bool
hang(Hnsw *h, uint32_t slot, uint32_t node)
{
	if (!is_node(h, slot, node, 0) || !graph_same_row(h, slot, node))
		return false;
	link_hang(h, node, slot);
	return true;
}

/* Is it this one's turn to be looked for all the same? */
static bool
learns(const Hnsw *h)
{
	unsigned long long linked = atomic_load_explicit(&h->linked, memory_order_relaxed);

	return linked % (linked < SMALL ? LOOK_SMALL : LOOK) == 0;
}

/*
 * Is enough of it here?  Half of the neighbours on the ground, one of which leads back, some on each
 * higher level where there were some, and all levels that there are here.
 */
static bool
is_enough(Hnsw *h, uint32_t slot, const HnswFound *found)
{
	const HnswLink *links = found->links;
	uint32_t	nodes[2 * HNSW_MAX_M];
	unsigned long long entry = atomic_load(&h->entry);
	int			level = atomic_load(&graph_meta(h, slot)->level);
	int			top = entry == NO_ENTRY ? 0 : (int) (entry >> 32);
	uint32_t	back = 0;

	if ((int) found->nlists <= (level < top ? level : top))
		return false;
	for (uint32_t i = 0; i < found->nlists; links += found->n[i++])
	{
		int			at = (int) (found->nlists - 1 - i);
		uint32_t	n = found->n[i];
		uint32_t	here = at <= level ? take_nodes(h, slot, at, links, n, nodes) : n;

		if ((n > 0 && here == 0) || (at == 0 && 2 * here < n))
			return false;
		for (uint32_t j = 0; at == 0 && j < n; j++)
			back += links[j].entered && is_among(nodes, here, links[j].slot);
	}
	return back > 0;
}

bool
link_as_found(Hnsw *h, Ctx *ctx, uint32_t slot, const HnswFound *found, SlotState *state)
{
	const HnswLink *links = found->links;
	const uint32_t *dropped = found->dropped;
	int			level = atomic_load(&graph_meta(h, slot)->level);

	if (learns(h) || atomic_load(&h->entry) == NO_ENTRY)
		return false;
	if (found->twin != NO_SLOT)
	{
		if (!hang(h, slot, found->twin))
			return false;
		*state = SLOT_TWIN;
		return true;
	}
	if (!is_enough(h, slot, found))
		return false;

	link_make_upper(h, slot);
	ctx->place = link_enter(h, slot);
	for (uint32_t i = 0; i < found->nlists; i++)
	{
		int			at = (int) (found->nlists - 1 - i);

		if (at <= level)
			link_list(h, ctx, slot, at, links, found->n[i], dropped);
		for (uint32_t j = 0; j < found->n[i]; j++)
			dropped += links[j].ndropped;
		links += found->n[i];
	}
	return true;
}
