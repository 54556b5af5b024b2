/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Is the graph what it should be?
 *
 * Rules: every link leads to a linked node of that level, not to itself and to
 * nobody twice; lists have no holes; a node has upper lists exactly when it
 * has a level; twins equal the node they hang behind, and each that lives hangs
 * in one chain; the entry point is a linked node and no node stands
 * higher; counters agree with what is counted; versions lead to each other and
 * back.
 *
 * Reachability is counted from the entry point over all levels, as a walk
 * goes, through dead nodes too.  The list of free slots names each once.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>

#include "hnsw/graph.h"

typedef struct Check
{
	const Hnsw *h;
	HnswReport *report;
	uint32_t	used;
	uint8_t    *reached;
	uint8_t    *linked_to;
	uint8_t    *hangs;			/* twins found in a chain */
} Check;

__attribute__((format(printf, 2, 3))) static void
complain(Check *check, const char *fmt,...)
{
	va_list		args;

	if (check->report->first[0])
		return;
	va_start(args, fmt);
	vsnprintf(check->report->first, sizeof(check->report->first), fmt, args);
	va_end(args);
}

static SlotState
state_of(const Hnsw *h, uint32_t slot)
{
	return atomic_load(&graph_meta(h, slot)->state);
}

static void
check_list(Check *check, uint32_t slot, int level)
{
	const Hnsw *h = check->h;
	uint32_t	limit;
	atomic_uint *links = graph_links(h, slot, level, &limit);
	bool		ended = false;

	if (links == NULL)
	{
		complain(check, "slot %u has level %d but no list there", slot, level);
		return;
	}
	for (uint32_t i = 0; i < limit; i++)
	{
		uint32_t	to = atomic_load(&links[i]);

		if (to == NO_SLOT)
		{
			ended = true;
			continue;
		}
		if (ended)
			complain(check, "slot %u: a hole in its list of level %d", slot, level);
		if (to >= check->used)
		{
			complain(check, "slot %u links to %u of %u on level %d", slot, to, check->used, level);
			continue;
		}
		if (to == slot)
			complain(check, "slot %u links to itself on level %d", slot, level);
		if (state_of(h, to) != SLOT_LINKED)
			complain(check, "slot %u links to %u, state %d, on level %d", slot, to, state_of(h, to),
					 level);
		if (atomic_load(&graph_meta(h, to)->level) < level)
			complain(check, "slot %u links to %u, too low for level %d", slot, to, level);
		for (uint32_t j = 0; j < i; j++)
			if (atomic_load(&links[j]) == to)
				complain(check, "slot %u links to %u twice on level %d", slot, to, level);
		if (level == 0)
		{
			check->linked_to[to] = 1;
			if (graph_fate(h, slot) == FATE_LIVE)
				check->report->links++;
		}
	}
}

static void
check_twins(Check *check, uint32_t slot)
{
	const Hnsw *h = check->h;
	uint32_t	twin = atomic_load(&graph_meta(h, slot)->twin);

	while (twin != NO_SLOT)
	{
		/* A repair has put the twin into the place of its dead node. */
		if (twin < check->used && state_of(h, twin) == SLOT_LINKED &&
			graph_fate(h, slot) != FATE_LIVE)
			return;
		if (twin >= check->used || state_of(h, twin) != SLOT_TWIN)
		{
			complain(check, "slot %u: %u in its chain is no twin", slot, twin);
			return;
		}
		if (check->hangs[twin])
		{
			complain(check, "twin %u hangs in two chains", twin);
			return;
		}
		check->hangs[twin] = 1;
		if (!graph_same_row(h, slot, twin))
			complain(check, "twin %u does not equal slot %u", twin, slot);
		twin = atomic_load(&graph_meta(h, twin)->twin);
	}
}

static void
check_versions(Check *check, uint32_t slot)
{
	const Hnsw *h = check->h;
	uint32_t	fate = graph_fate(h, slot);
	uint32_t	prev = graph_meta(h, slot)->prev;

	if (fate >= FATE_SUPERSEDED)
	{
		uint32_t	next = fate - FATE_SUPERSEDED;

		if (next >= check->used || graph_meta(h, next)->prev != slot)
			complain(check, "slot %u is superseded by %u, which does not know", slot, next);
	}
	if (prev != NO_SLOT && (prev >= check->used || graph_fate(h, prev) != FATE_SUPERSEDED + slot))
		complain(check, "slot %u superseded %u, which does not know", slot, prev);
}

static void
check_entry(Check *check)
{
	const Hnsw *h = check->h;
	uint64_t	entry = atomic_load(&h->entry);
	uint64_t	nodes = 0;

	for (uint32_t slot = 0; slot < check->used; slot++)
		if (state_of(h, slot) == SLOT_LINKED)
		{
			nodes++;
			if (entry != NO_ENTRY && graph_fate(h, slot) == FATE_LIVE &&
				atomic_load(&graph_meta(h, slot)->level) > (int) (entry >> 32))
				complain(check, "slot %u stands higher than the entry point", slot);
		}
	if (entry == NO_ENTRY)
	{
		if (nodes && !graph_is_table(h))
			complain(check, "%llu nodes and no entry point", (unsigned long long) nodes);
		return;
	}
	if ((uint32_t) entry >= check->used || state_of(h, (uint32_t) entry) != SLOT_LINKED ||
		atomic_load(&graph_meta(h, (uint32_t) entry)->level) != (int) (entry >> 32))
		complain(check, "the entry point %u is no node of level %d", (uint32_t) entry,
				 (int) (entry >> 32));
}

/* All that a walk from the entry point can come to. */
static void
reach(Check *check)
{
	const Hnsw *h = check->h;
	uint64_t	entry = atomic_load(&h->entry);
	uint32_t   *queue = vt_alloc(sizeof(uint32_t) * ((size_t) check->used + 1));
	uint32_t	list[2 * HNSW_MAX_M];
	size_t		at = 0;
	size_t		n = 0;

	if (entry != NO_ENTRY && (uint32_t) entry < check->used)
	{
		check->reached[(uint32_t) entry] = 1;
		queue[n++] = (uint32_t) entry;
	}
	while (at < n)
	{
		uint32_t	slot = queue[at++];

		for (int level = atomic_load(&graph_meta(h, slot)->level); level >= 0; level--)
		{
			uint32_t	len = graph_copy_links(h, slot, level, list);

			for (uint32_t i = 0; i < len; i++)
				if (list[i] < check->used && !check->reached[list[i]])
				{
					check->reached[list[i]] = 1;
					queue[n++] = list[i];
				}
		}
	}
	free(queue);
}

static void
check_counts(Check *check)
{
	const Hnsw *h = check->h;
	uint64_t	live = 0;
	uint64_t	dead = 0;
	uint64_t	linked = 0;
	uint64_t	twins = 0;

	for (uint32_t slot = 0; slot < check->used; slot++)
	{
		SlotState	state = state_of(h, slot);
		uint32_t	fate = graph_fate(h, slot);

		live += fate == FATE_LIVE;
		dead += fate > FATE_LIVE;
		linked += state == SLOT_LINKED || state == SLOT_TWIN;
		twins += state == SLOT_TWIN;
		if ((state == SLOT_FREE || state == SLOT_RESERVED) != (fate == FATE_NONE))
			complain(check, "slot %u: state %d and fate %u", slot, state, fate);
		if (state == SLOT_TWIN && fate == FATE_LIVE && !check->hangs[slot])
			complain(check, "twin %u hangs nowhere", slot);
	}
	if (live != atomic_load(&h->live) || dead != atomic_load(&h->dead) ||
		linked != atomic_load(&h->linked) || twins != atomic_load(&h->twins))
		complain(check, "counted %llu live, %llu dead, %llu linked, %llu twins; "
				 "noted %llu, %llu, %llu, %llu",
				 (unsigned long long) live, (unsigned long long) dead,
				 (unsigned long long) linked, (unsigned long long) twins,
				 (unsigned long long) atomic_load(&h->live),
				 (unsigned long long) atomic_load(&h->dead),
				 (unsigned long long) atomic_load(&h->linked),
				 (unsigned long long) atomic_load(&h->twins));
}

static void
check_free(Check *check)
{
	const Hnsw *h = check->h;
	uint8_t    *listed = vt_alloc0((size_t) check->used + 1);

	for (uint32_t i = 0; i < h->free.n; i++)
	{
		uint32_t	slot = h->free.slots[i];

		if (slot >= check->used || state_of(h, slot) != SLOT_FREE || listed[slot])
			complain(check, "slot %u of %u is no free one, or listed twice", slot, check->used);
		else
			listed[slot] = 1;
	}
	for (uint32_t slot = 0; slot < check->used && slot < h->limit; slot++)
		if (state_of(h, slot) == SLOT_FREE && !listed[slot])
			complain(check, "slot %u is free and not listed", slot);
	free(listed);
}

bool
hnsw_check(const Hnsw *h, HnswReport *report)
{
	Check		check = {h, report, atomic_load(&h->used), NULL, NULL, NULL};

	memset(report, 0, sizeof(*report));
	check.reached = vt_alloc0((size_t) check.used + 1);
	check.linked_to = vt_alloc0((size_t) check.used + 1);
	check.hangs = vt_alloc0((size_t) check.used + 1);
	for (uint32_t slot = 0; slot < check.used; slot++)
	{
		SlotState	state = state_of(h, slot);

		if (state != SLOT_FREE && state != SLOT_RESERVED && state != SLOT_RETIRED)
			check_versions(&check, slot);
		if (state != SLOT_LINKED)
			continue;
		for (int level = atomic_load(&graph_meta(h, slot)->level); level >= 0; level--)
			check_list(&check, slot, level);
		check_twins(&check, slot);
	}
	check_entry(&check);
	check_counts(&check);
	check_free(&check);
	reach(&check);
	for (uint32_t slot = 0; slot < check.used; slot++)
		if (state_of(h, slot) == SLOT_LINKED && graph_fate(h, slot) == FATE_LIVE)
		{
			report->nodes++;
			report->unreachable += !check.reached[slot];
			report->no_inlink += !check.linked_to[slot];
		}
	free(check.reached);
	free(check.linked_to);
	free(check.hangs);
	return report->first[0] == '\0';
}
