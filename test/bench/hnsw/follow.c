/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  A graph that links by what another one has found (hnsw_link_next_with), while the rows
 *	  of both are turned over: what it costs, and what it finds.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "hnsw/hnsw.h"

#define TURNS 10				/* of a window of half the rows */
#define BATCH 64				/* the first one is so far ahead */
#define STEPS 64				/* of mending for each row */

/* Bars, against the graph that finds for itself */
#define LOSS_MOST 0.01			/* of recall */
#define UNREACHABLE_MOST 0.0005

/* Bytes that a worker sends for a link, and for one that was dropped for it (src/worker/hints.c) */
#define LINK_BYTES 10
#define DROPPED_BYTES 8
#define HINT_BYTES 18

typedef struct Follow
{
	Hnsw	   *first;
	Hnsw	   *second;
	uint32_t   *first_slots;	/* of each row */
	uint32_t   *second_slots;
	HnswFound	found[BATCH];	/* by the first, in rows */
	uint32_t	rows[BATCH];
	uint32_t	nfound;
	uint32_t	batches;
	uint32_t	at;				/* the second one's, in these */
	uint64_t	nlinks;
	uint64_t	ndropped;
	double		us[2];			/* of the processor, linking */
} Follow;

static void
note(void *arg, uint32_t slot, const HnswFound *found)
{
	Follow	   *f = (Follow *) arg;
	HnswFound  *out = &f->found[f->nfound];
	const HnswLink *link = found->links;
	const uint32_t *dropped = found->dropped;

	hnsw_found_begin(out);
	out->twin = found->twin == HNSW_NO_SLOT ? HNSW_NO_SLOT : (uint32_t) hnsw_label(f->first, found->twin);
	for (uint32_t list = 0; list < found->nlists; list++)
	{
		hnsw_found_list(out);
		for (uint32_t i = 0; i < found->n[list]; i++, link++)
		{
			hnsw_found_link(out, (uint32_t) hnsw_label(f->first, link->slot), link->entered);
			for (uint32_t j = 0; j < link->ndropped; j++)
				hnsw_found_drop(out, (uint32_t) hnsw_label(f->first, *dropped++));
		}
	}
	f->nlinks += out->nlinks;
	f->ndropped += out->ndropped;
	f->rows[f->nfound++] = (uint32_t) hnsw_label(f->first, slot);
}

/* Both link in the same order. */
static HnswAdvice
ask(void *arg, uint32_t slot)
{
	Follow	   *f = (Follow *) arg;
	uint64_t	row = hnsw_label(f->second, slot);

	while (f->at < f->nfound && f->rows[f->at] != row)
		f->at++;
	return f->at < f->nfound ? HNSW_FOUND : HNSW_ALONE;
}

static bool
find(void *arg, uint32_t slot, HnswFound *found)
{
	Follow	   *f = (Follow *) arg;
	const HnswFound *in = &f->found[f->at];
	const HnswLink *link = in->links;
	const uint32_t *dropped = in->dropped;

	(void) slot;
	found->twin = in->twin == HNSW_NO_SLOT ? HNSW_NO_SLOT : f->second_slots[in->twin];
	for (uint32_t list = 0; list < in->nlists; list++)
	{
		hnsw_found_list(found);
		for (uint32_t i = 0; i < in->n[list]; i++, link++)
		{
			hnsw_found_link(found, f->second_slots[link->slot], link->entered);
			for (uint32_t j = 0; j < link->ndropped; j++)
				hnsw_found_drop(found, f->second_slots[*dropped++]);
		}
	}
	return true;
}

static void
link_batch(Follow *f)
{
	HnswHelp	first = {.found = note, .arg = f};
	HnswHelp	second = {.ask = ask, .find = find, .arg = f};
	double		begun = thread_us();

	f->nfound = f->at = 0;
	while (hnsw_link_next_with(f->first, &first) == HNSW_LINKED)
		;
	f->us[0] += thread_us() - begun;
	begun = thread_us();
	while (hnsw_link_next_with(f->second, &second) == HNSW_LINKED)
		;
	f->us[1] += thread_us() - begun;
	/* Each mends when it comes to it. */
	(void) hnsw_repair(f->first, BATCH * STEPS, false);
	if (++f->batches % 3 == 0)
		(void) hnsw_repair(f->second, 3 * BATCH * STEPS, false);
}

/* In the place of another row, or NO_SLOT. */
static void
turn_row(const Set *set, Hnsw *h, uint32_t *slots, uint32_t row, uint32_t gone)
{
	VtError		err;

	if (gone != HNSW_NO_SLOT)
		hnsw_delete(h, slots[gone]);
	if (hnsw_reserve(h, &slots[row], &err) != VT_OK)
		abort();
	hnsw_add(h, slots[row], row, set->base + (size_t) row * set->dim);
}

/* Rows in their order, or class by class, so that whole regions empty and fill. */
static uint32_t *
order_of(const Set *set, bool by_class)
{
	uint32_t   *order = vt_alloc(sizeof(uint32_t) * set->n);
	uint32_t	n = 0;

	for (uint32_t class = 0; by_class && n < set->n; class++)
		for (uint32_t i = 0; i < set->n; i++)
			if (set->classes[i] == class)
				order[n++] = i;
	for (; n < set->n; n++)
		order[n] = n;
	return order;
}

static bool
follow(const Settings *settings, const Set *set, const Engine *engine, bool by_class)
{
	uint32_t   *order = order_of(set, by_class);
	char		name[64];
	uint32_t	window = set->n / 2;
	void	   *indexes[2] = {index_make(settings, set, 0, engine), index_make(settings, set, 0, engine)};
	Follow		f = {.first = engine_graph(indexes[0]), .second = engine_graph(indexes[1]),
		.first_slots = vt_alloc(sizeof(uint32_t) * set->n), .second_slots = vt_alloc(sizeof(uint32_t) * set->n)};
	double		loss = 0;
	double		unreachable = 0;
	bool		sound = true;
	bool		held;

	snprintf(name, sizeof(name), "%s%s", engine->name + 8, by_class ? " by class" : "");
	for (uint64_t at = 0; at < (TURNS + 1) * (uint64_t) window; at++)
	{
		uint32_t	row = order[at % (2 * (uint64_t) window)];
		uint32_t	gone = at < window ? HNSW_NO_SLOT : order[(at + window) % (2 * (uint64_t) window)];

		turn_row(set, f.first, f.first_slots, row, gone);
		turn_row(set, f.second, f.second_slots, row, gone);
		if ((at + 1) % BATCH == 0 || (at + 1) % window == 0)
			link_batch(&f);
		if ((at + 1) % window == 0)
		{
			double		one = mode_recall(set, f.first, EF);
			double		two = mode_recall(set, f.second, EF);
			HnswReport	report;
			HnswStats	stats;

			hnsw_stats(f.second, &stats);
			if (!hnsw_check(f.second, &report))
				printf("BROKEN: %s\n", report.first);
			sound &= report.first[0] == '\0';
			loss = one - two > loss ? one - two : loss;
			unreachable = (double) report.unreachable / (double) report.nodes > unreachable ?
				(double) report.unreachable / (double) report.nodes : unreachable;
			printf("%-14s %5u %9.4f %9.4f %9.3f%% %8.1f %8.1f %7.1f%% %8.0f\n", name, (uint32_t) (at / window), one, two,
				   100 * (double) report.unreachable / (double) report.nodes, f.us[0] / (double) (at + 1), f.us[1] / (double) (at + 1),
				   100 * (double) stats.found / (double) (at + 1),
				   HINT_BYTES + (double) (LINK_BYTES * f.nlinks + DROPPED_BYTES * f.ndropped) / (double) (at + 1));
			fflush(stdout);
		}
	}
	held = bar_line(set->name, name, "recall lost", loss, "at most", LOSS_MOST);
	held &= bar_line(set->name, name, "share unreachable", unreachable, "at most", UNREACHABLE_MOST);
	for (uint32_t i = 0; i < BATCH; i++)
		hnsw_found_free(&f.found[i]);
	engine->destroy(indexes[0]);
	engine->destroy(indexes[1]);
	free(order);
	free(f.first_slots);
	free(f.second_slots);
	return held && sound;
}

bool
mode_follow(const Settings *settings, const Set *set)
{
	bool		held = true;

	printf("\na window of %u turned over %d times in two graphs, ef %d; the second links by what the first has found\n"
		   "%-14s %5s %9s %9s %10s %8s %8s %8s %8s\n", set->n / 2, TURNS, EF,
		   "engine", "turn", "recall 1", "recall 2", "unreach. 2", "us 1", "us 2", "told", "bytes");
	for (uint32_t i = 0; i < settings->nours; i++)
		for (int by_class = 0; by_class <= (set->classes != NULL); by_class++)
			held &= follow(settings, set, settings->ours[i], by_class == 1);
	return held;
}
