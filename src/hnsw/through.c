/*-------------------------------------------------------------------------
 *
 * through.c
 *	  A step of a walk where few are hits: through what is none.
 *
 * Of a node's links those that are hits, and if they are few, of the links of the
 * others, too.  So the walk goes from hit to hit, and what is none costs a look at
 * its links.  How many are enough for a step is a bargain: where a tenth of a
 * million may be hits, m of them lead to 0.957 to 0.970 of the neighbours, half as
 * many again to 0.980 to 0.989 and take a quarter longer.
 *
 * A set tells by bits which nodes lead to hits: they are members, or one of their
 * twins is.  A filter is asked, of some nodes about their twins, too; what it has
 * refused is remembered for the rest of the search.  Its label waits for memory,
 * so labels are asked for while the filter answers for others.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* Lists of links that are asked for before they are looked through. */
#define LISTS_AHEAD 8

/* Members a walk through a set begins with, besides the nearest node. */
#define SEEDS 16

/* Slots, with room for what the kernels write beyond. */
typedef struct Some
{
	uint32_t	slots[2 * HNSW_MAX_M + DOORS_SLACK];
	uint32_t	n;
} Some;

/* Is the node, or one of its twins, a hit of this walk? */
static bool
node_passes(const Walk *walk, uint32_t slot)
{
	if (!walk_passes_by(walk, slot))
		return true;
	if (!walk->twins || !graph_is_head(walk->h, slot))
		return false;
	while ((slot = atomic_load_explicit(&graph_meta(walk->h, slot)->twin, memory_order_acquire)) != NO_SLOT)
		if (!walk_passes_by(walk, slot))
			return true;
	return false;
}

/* Those that are neither visited nor refused stay; their labels are asked for. */
static void
leave_unknown(const Walk *walk, Some *some)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < some->n; i++)
	{
		uint32_t	slot = some->slots[i];

		if (visited_has(walk->visited, slot) || visited_has(walk->refused, slot))
			continue;
		prefetch_lines(graph_meta(walk->h, slot), 1);
		some->slots[n++] = slot;
	}
	some->n = n;
}

/* Ask about slots: those that pass are visited, and fresh. */
static uint32_t
ask(Walk *walk, const Some *some, uint32_t *fresh, uint32_t nfresh)
{
	for (uint32_t i = 0; i < some->n && nfresh < WALK_BATCH; i++)
	{
		uint32_t	slot = some->slots[i];

		if (node_passes(walk, slot))
		{
			fresh[nfresh] = slot;
			nfresh += visited_add(walk->visited, slot);
		}
		else
			visited_add(walk->refused, slot);
	}
	return nfresh;
}

/* The links of a node, of a set's only those that lead to members. */
static void
look_behind(Walk *walk, uint32_t slot, Some *behind)
{
	const Hnsw *h = walk->h;
	uint32_t	n;

	if (walk->doors)
		behind->n = walk->set->kernel(walk->doors, walk->set->nbits, graph_ground(h, slot), h->m0,
									  behind->slots, &n);
	else
		behind->n = n = graph_copy_links(h, slot, 0, behind->slots);
	walk->looked += n;
}

void
walk_through(Walk *walk, const uint32_t *links, uint32_t n)
{
	const Hnsw *h = walk->h;
	bool		bits_tell = walk->doors && !walk->filter;
	uint32_t	enough = h->opt.m + h->opt.m / 4;
	Some		some[2];
	uint32_t	others[2 * HNSW_MAX_M];
	uint32_t	fresh[WALK_BATCH];
	uint32_t	nothers = 0;
	uint32_t	nfresh = 0;

	walk->looked += n;
	some[0].n = some[1].n = 0;
	for (uint32_t i = 0; i < n; i++)
	{
		if (visited_has(walk->visited, links[i]))
			continue;
		others[nothers++] = links[i];
		if (walk->doors == NULL || set_opens(walk->set, walk->doors, links[i]))
			some[0].slots[some[0].n++] = links[i];
	}
	if (bits_tell)
		for (uint32_t i = 0; i < some[0].n; i++)
		{
			visited_add(walk->visited, some[0].slots[i]);
			fresh[nfresh++] = some[0].slots[i];
		}
	else
	{
		leave_unknown(walk, &some[0]);
		nfresh = ask(walk, &some[0], fresh, nfresh);
		some[0].n = 0;
	}

	/* What is fresh has been visited by now. */
	n = nothers;
	nothers = 0;
	for (uint32_t i = 0; i < n; i++)
		if (!visited_has(walk->visited, others[i]))
		{
			if (nothers < LISTS_AHEAD)
				prefetch_lines(graph_ground(h, others[i]), 2);
			others[nothers++] = others[i];
		}
	for (uint32_t i = 0; i < nothers && nfresh < enough; i++)
	{
		Some	   *behind = &some[i % 2];

		if (i + LISTS_AHEAD < nothers)
			prefetch_lines(graph_ground(h, others[i + LISTS_AHEAD]), 2);

		/* Looked through once, whichever node led here. */
		visited_add(walk->visited, others[i]);
		look_behind(walk, others[i], behind);
		if (!bits_tell)
		{
			leave_unknown(walk, behind);
			nfresh = ask(walk, &some[1 - i % 2], fresh, nfresh);
			continue;
		}
		for (uint32_t j = 0; j < behind->n && nfresh < WALK_BATCH; j++)
		{
			fresh[nfresh] = behind->slots[j];
			nfresh += visited_add(walk->visited, behind->slots[j]);
		}
	}
	if (!bits_tell && nothers > 0 && nfresh < enough)
		nfresh = ask(walk, &some[(nothers - 1) % 2], fresh, nfresh);
	walk_measure(walk, fresh, nfresh);
}

void
walk_seeds(Walk *walk)
{
	/* Where no hit is near the query, links of links may not lead to one. */
	uint32_t	seeds[SEEDS];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < SEEDS; i++)
	{
		uint32_t	slot = set_next(walk->set, (uint32_t) ((uint64_t) walk->set->nbits * i / SEEDS));

		/* What is not in the graph leads nowhere. */
		if (slot != NO_SLOT &&
			atomic_load_explicit(&graph_meta(walk->h, slot)->state, memory_order_acquire) == SLOT_LINKED)
			seeds[n++] = slot;
	}
	walk_offer(walk, seeds, n);
}
