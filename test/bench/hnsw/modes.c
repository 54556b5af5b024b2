/*-------------------------------------------------------------------------
 *
 * modes.c
 *	  What a graph is while its rows are turned over.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "hnsw/hnsw.h"

#define TURNS 10				/* of a window */

/* Bars, against a graph that never saw other rows */
#define LOSS_MOST 0.01			/* of recall */
#define UNREACHABLE_MOST 0.0005
#define MEMORY_MOST 1.05		/* a hundredth may be dead before it is mended around */

void
mode_add_row(Hnsw *h, const Set *set, uint32_t row)
{
	uint32_t	slot;
	VtError		err;

	if (hnsw_reserve(h, &slot, &err) != VT_OK)
		abort();
	hnsw_add(h, slot, row, set->base + (size_t) row * set->dim);
}

double
mode_recall(const Set *set, Hnsw *h, uint32_t ef)
{
	uint32_t	nq = set->nqueries < 200 ? set->nqueries : 200;
	uint64_t	right = 0;
	uint64_t	wanted = 0;

	for (uint32_t q = 0; q < nq; q++)
	{
		HnswHit		hits[K];
		HnswHit		truth[K];
		HnswSearch	s = {.query = set->queries + (size_t) q * set->dim, .k = K, .ef = ef};
		uint32_t	n = hnsw_search(h, &s, hits);
		uint32_t	want = hnsw_scan_exact(h, &s, truth);

		wanted += want;
		for (uint32_t i = 0; i < n; i++)
			right += want > 0 && hits[i].distance <= truth[want - 1].distance;
	}
	return wanted ? (double) right / (double) wanted : 0;
}

/* What a graph is after a turn. */
typedef struct State
{
	double		recall;
	double		unreachable;	/* share of the nodes */
	double		bytes;			/* of memory, a vector */
	bool		sound;
} State;

static State
churn_line(const Set *set, Hnsw *h, const char *name, int turn)
{
	HnswReport	report;
	HnswStats	stats;
	State		state;

	while (hnsw_link_next(h))
		;
	hnsw_stats(h, &stats);
	state.recall = mode_recall(set, h, EF);
	if (!(state.sound = hnsw_check(h, &report)))
		printf("BROKEN: %s\n", report.first);
	state.unreachable = (double) report.unreachable / (double) report.nodes;
	state.bytes = (double) stats.bytes / (double) stats.live;
	printf("%-22s %5d %8.4f %8llu %8.3f%% %8llu %9.0f\n", name, turn, state.recall,
		   (unsigned long long) stats.live, 100 * state.unreachable,
		   (unsigned long long) stats.used, state.bytes);
	fflush(stdout);
	return state;
}

/* The rows of the window after a turn, in a graph that never saw others. */
static State
churn_fresh(const Settings *settings, const Set *set, const Engine *engine, const uint32_t *order, int turn)
{
	uint32_t	window = set->n / 2;
	void	   *fresh = index_make(settings, set, 0, engine);
	char		name[64];
	State		state;

	for (uint32_t i = 0; i < window; i++)
	{
		mode_add_row(engine_graph(fresh), set, order[(uint32_t) (turn % 2) * window + i]);
		hnsw_link_next(engine_graph(fresh));
	}
	snprintf(name, sizeof(name), "%s fresh", engine->name + 8);
	state = churn_line(set, engine_graph(fresh), name, turn);
	engine->destroy(fresh);
	return state;
}

enum
{
	SLIDING,					/* the oldest go, the next come */
	CLUSTERED,					/* by class, so that whole regions empty and fill */
	REPLACE,					/* the record stays and its vector changes */
	KINDS
};

static const char *const kinds[KINDS] = {"sliding", "clustered", "replace"};

/* A window of half the rows turned over ten times. */
static bool
churn(const Settings *settings, const Set *set, const Engine *engine, int kind)
{
	uint32_t	window = set->n / 2;
	uint32_t   *order = vt_alloc(sizeof(uint32_t) * set->n);
	uint32_t   *slots = vt_alloc(sizeof(uint32_t) * set->n);
	char		name[64];
	void	   *index = index_make(settings, set, 0, engine);
	Hnsw	   *h = engine_graph(index);
	State		states[TURNS + 1];
	State		fresh[2];
	State		worst = {.sound = true};
	bool		held;
	uint32_t	n = 0;

	snprintf(name, sizeof(name), "%s %s", engine->name + 8, kinds[kind]);
	if (kind == CLUSTERED)
	{
		for (uint32_t class = 0; n < set->n; class++)
			for (uint32_t i = 0; i < set->n; i++)
				if (set->classes[i] == class)
					order[n++] = i;
	}
	else
		for (; n < set->n; n++)
			order[n] = n;
	for (uint64_t at = 0; at < (TURNS + 1) * (uint64_t) window; at++)
	{
		uint64_t	place = at % (2 * (uint64_t) window);
		uint32_t	old = slots[(at + window) % (2 * (uint64_t) window)];
		uint32_t	row = order[place];
		uint32_t	slot;
		VtError		err;

		if (hnsw_reserve(h, &slot, &err) != VT_OK)
			abort();
		if (at >= window && kind == REPLACE)
			hnsw_replace(h, old, slot, row, set->base + (size_t) row * set->dim);
		else
		{
			if (at >= window)
				hnsw_delete(h, old);
			hnsw_add(h, slot, row, set->base + (size_t) row * set->dim);
		}
		slots[place] = slot;
		hnsw_link_next(h);
		hnsw_repair(h, 64, false);
		if ((at + 1) % window == 0)
		{
			int			turn = (int) ((at + 1) / window) - 1;

			states[turn] = churn_line(set, h, name, turn);
		}
	}
	for (int turn = 0; turn < 2; turn++)
		fresh[turn] = churn_fresh(settings, set, engine, order, turn);
	for (int turn = 0; turn <= TURNS; turn++)
	{
		double		loss = fresh[turn % 2].recall - states[turn].recall;
		double		more = states[turn].bytes / fresh[turn % 2].bytes;

		worst.recall = loss > worst.recall ? loss : worst.recall;
		worst.unreachable = states[turn].unreachable > worst.unreachable ? states[turn].unreachable : worst.unreachable;
		worst.bytes = more > worst.bytes ? more : worst.bytes;
		worst.sound &= states[turn].sound;
	}
	printf("%-22s at worst: %.4f of recall less than fresh, %.4f%% unreachable, %.2f times its memory\n", name,
		   worst.recall, 100 * worst.unreachable, worst.bytes);
	held = bar_line(set->name, name, "recall lost", worst.recall, "at most", LOSS_MOST);
	held &= bar_line(set->name, name, "share unreachable", worst.unreachable, "at most", UNREACHABLE_MOST);
	held &= bar_line(set->name, name, "times its memory", worst.bytes, "at most", MEMORY_MOST);
	engine->destroy(index);
	free(order);
	free(slots);
	return held && worst.sound;
}

bool
mode_churn(const Settings *settings, const Set *set)
{
	bool		held = true;

	printf("\na window of %u turned over %d times, ef %d\n%-22s %5s %8s %8s %9s %8s %9s\n", set->n / 2, TURNS, EF,
		   "engine", "turn", "recall", "live", "unreach.", "slots", "B/vector");
	for (int kind = 0; kind < KINDS; kind++)
		if ((kind != CLUSTERED || set->classes) && (settings->kind == NULL || strcmp(settings->kind, kinds[kind]) == 0))
			held &= churn(settings, set, &engine_int8, kind);
	return held;
}
