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
 * what comes is taken for advice.  Links go to nodes that live here; where a list has no place
 * though it had one there, it chooses by itself; where less than half of the neighbours
 * on the ground are here, the slot's neighbours are looked for.
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

/* May the slot lead to this one on that level?  In a guard: one that dies now is mended around later. */
static bool
is_node(Hnsw *h, uint32_t slot, uint32_t other, int level)
{
	const Meta *meta;

	if (other == slot || other >= atomic_load_explicit(&h->used, memory_order_acquire))
		return false;
	meta = graph_meta(h, other);
	return atomic_load(&meta->state) == SLOT_LINKED && graph_fate(h, other) == FATE_LIVE &&
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
 * A neighbour's own list takes the slot in: in the place of those that it gave up for it there.
 * What is left of links that agree agrees; whether the slot agrees with them is not known.
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
	{
		graph_unlock_node(meta);
		return;
	}
	agreed = level == 0 ? meta->agreed : 0;
	for (uint32_t i = 0, then = agreed; i < n; i++)
		if (is_among(dropped, link->ndropped, list[i]))
			agreed -= i < then;
		else
			list[left++] = list[i];
	n = left;
	if (n < limit)
		list[n++] = slot;
	else if (link->entered)
	{
		list[n++] = slot;
		agreed = n = choose_again(h, ctx, link->slot, list, n, agreed, limit, chosen);
		memcpy(list, chosen, sizeof(uint32_t) * n);
	}
	link_write(links, limit, list, n);
	if (level == 0)
		meta->agreed = (uint16_t) agreed;
	graph_unlock_node(meta);
}

/* Those of a list that are nodes here, none twice; how many. */
static uint32_t
take_nodes(Hnsw *h, uint32_t slot, int level, const HnswLink *links, uint32_t n, uint32_t *out)
{
	uint32_t	taken = 0;

	for (uint32_t i = 0; i < n && taken < h->opt.m; i++)
		if (is_node(h, slot, links[i].slot, level) && !is_among(out, taken, links[i].slot))
			out[taken++] = links[i].slot;
	return taken;
}

static void
link_list(Hnsw *h, Ctx *ctx, uint32_t slot, int level, const HnswLink *links, uint32_t n, const uint32_t *dropped)
{
	uint32_t	chosen[HNSW_MAX_M];
	uint32_t	nchosen = take_nodes(h, slot, level, links, n, chosen);

	link_write_own(h, slot, level, chosen, nchosen);
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

bool
link_as_found(Hnsw *h, Ctx *ctx, uint32_t slot, const HnswFound *found, SlotState *state)
{
	const HnswLink *links = found->links;
	const uint32_t *dropped = found->dropped;
	uint32_t	nodes[HNSW_MAX_M];
	uint32_t	ground;
	int			level = atomic_load(&graph_meta(h, slot)->level);
	int			place;

	if (learns(h) || atomic_load(&h->entry) == NO_ENTRY)
		return false;
	if (found->twin != NO_SLOT)
	{
		if (!hang(h, slot, found->twin))
			return false;
		*state = SLOT_TWIN;
		return true;
	}
	ground = found->nlists > 0 ? found->n[found->nlists - 1] : 0;
	if (ground == 0 || 2 * take_nodes(h, slot, 0, links + found->nlinks - ground, ground, nodes) < ground)
		return false;

	link_make_upper(h, slot);
	place = link_enter(h, slot);
	for (uint32_t i = 0; i < found->nlists; i++)
	{
		int			at = (int) (found->nlists - 1 - i);

		if (at <= level)
			link_list(h, ctx, slot, at, links, found->n[i], dropped);
		for (uint32_t j = 0; j < found->n[i]; j++)
			dropped += links[j].ndropped;
		links += found->n[i];
	}
	link_leave(h, place);
	return true;
}
