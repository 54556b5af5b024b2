/*-------------------------------------------------------------------------
 *
 * modes.c
 *	  What a graph is asked besides plain searches: to be searched by two
 *	  threads, while it grows, with filters, and while its rows are turned over.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "bench.h"
#include "hnsw/hnsw.h"

#define EF 80

static Plan
plan_of(const Settings *settings, const Set *set, uint32_t n)
{
	Plan		plan = {set->base, n, set->dim, (int) set->metric, settings->m,
		settings->ef_construction, settings->threads, NULL};

	return plan;
}

static void
add_row(Hnsw *h, const Set *set, uint32_t row)
{
	uint32_t	slot;
	VtError		err;

	if (hnsw_reserve(h, &slot, &err) != VT_OK)
		abort();
	hnsw_add(h, slot, row, set->base + (size_t) row * set->dim);
}

/* -- Threads --------------------------------------------------------------- */

typedef struct Searcher
{
	const Set  *set;
	Hnsw	   *h;
	atomic_int *stop;			/* NULL: `searches` and done */
	uint64_t	searches;
	double		us;
} Searcher;

static void *
search_on(void *arg)
{
	Searcher   *s = arg;
	uint64_t	goal = s->searches;
	double		begin = thread_us();
	uint64_t	done = 0;
	HnswHit		hits[K];

	for (; s->stop ? !atomic_load(s->stop) : done < goal; done++)
	{
		HnswSearch	search = {.query = s->set->queries + done % s->set->nqueries * s->set->dim,
			.k = K, .ef = EF};

		hnsw_search(s->h, &search, hits);
	}
	s->us = thread_us() - begin;
	s->searches = done;
	return NULL;
}

double
mode_rate(const Set *set, Hnsw *h, uint32_t threads, uint64_t searches)
{
	Searcher	s[8];
	pthread_t	t[8];
	double		sum = 0;

	for (uint32_t i = 0; i < threads; i++)
	{
		s[i] = (Searcher) {set, h, NULL, searches, 0};
		if (pthread_create(&t[i], NULL, search_on, &s[i]) != 0)
			abort();
	}
	for (uint32_t i = 0; i < threads; i++)
	{
		pthread_join(t[i], NULL);
		sum += (double) s[i].searches / s[i].us * 1e6;
	}
	return sum;
}

void
mode_threads(const Settings *settings, const Set *set)
{
	Plan		plan = plan_of(settings, set, set->n);

	printf("\nsearch by two threads, ef %d, searches a second of processor time\n%-17s %9s %9s %8s\n", EF, "engine", "one", "two", "ratio");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = settings->ours[e]->build(&plan);
		double		best[2] = {0, 0};

		for (uint32_t round = 0; round < settings->rounds; round++)
			for (uint32_t t = 1; t <= 2; t++)
			{
				double		qps = mode_rate(set, engine_graph(index), t, 20000);

				best[t - 1] = qps > best[t - 1] ? qps : best[t - 1];
			}
		printf("%-17s %9.0f %9.0f %7.2fx\n", settings->ours[e]->name, best[0], best[1], best[1] / best[0]);
		settings->ours[e]->destroy(index);
	}
}

/* -- Searching while it grows ---------------------------------------------- */

void
mode_insert(const Settings *settings, const Set *set)
{
	uint32_t	half = set->n / 2;
	Plan		plan = plan_of(settings, set, half);

	printf("\none thread searches (ef %d, a second of processor time) while another inserts the second half\n"
		   "%-17s %9s %9s %9s %8s %10s\n", EF, "engine", "half", "meanwhile", "all", "loss", "inserts/s");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = settings->ours[e]->build(&plan);
		Hnsw	   *h = engine_graph(index);
		double		before = mode_rate(set, h, 1, 20000);
		atomic_int	stop = 0;
		Searcher	s = {set, h, &stop, 0, 0};
		pthread_t	t;
		int64_t		begin = clock_now_us();
		double		spent;
		double		after;
		double		rate;
		double		quiet;

		if (pthread_create(&t, NULL, search_on, &s) != 0)
			abort();
		for (uint32_t row = half; row < set->n; row++)
		{
			add_row(h, set, row);
			hnsw_link_next(h);
		}
		spent = (double) (clock_now_us() - begin);
		atomic_store(&stop, 1);
		pthread_join(t, NULL);
		after = mode_rate(set, h, 1, 20000);
		rate = (double) s.searches / s.us * 1e6;
		/* A larger graph is slower by itself: compare with the middle of both. */
		quiet = (before + after) / 2;
		printf("%-17s %9.0f %9.0f %9.0f %7.1f%% %10.0f\n", settings->ours[e]->name, before, rate, after,
			   100 * (1 - rate / quiet), (set->n - half) / spent * 1e6);
		settings->ours[e]->destroy(index);
	}
}

/* -- Filters --------------------------------------------------------------- */

typedef struct Allowed
{
	const uint8_t *bits;
} Allowed;

static bool
is_allowed(void *arg, uint64_t label, uint32_t slot)
{
	const uint8_t *bits = ((const Allowed *) arg)->bits;

	(void) slot;
	return bits[label >> 3] >> (label & 7) & 1;
}

/* Rows that pass: at random, or whole classes. */
static uint32_t
choose_rows(const Set *set, double share, bool by_class, uint8_t *bits)
{
	Prng		prng = {7};
	uint32_t	pass = 0;
	uint32_t	classes = 0;

	for (uint32_t i = 0; by_class && i < set->n; i++)
		classes = set->classes[i] >= classes ? set->classes[i] + 1u : classes;
	memset(bits, 0, set->n / 8 + 1);
	for (uint32_t i = 0; i < set->n; i++)
		if (by_class ? set->classes[i] < share * classes : prng_double(&prng) < share)
		{
			bits[i >> 3] |= (uint8_t) (1 << (i & 7));
			pass++;
		}
	return pass;
}

/*
 * as_set: what passes is put into a set once, as for a predicate that comes
 * often or an index that knows the rows; else the search asks for each row.
 */
static void
filter_line(const Set *set, Hnsw *h, const char *name, double share, bool by_class, bool as_set,
			double free_qps)
{
	uint8_t    *bits = vt_alloc(set->n / 8 + 1);
	uint32_t	pass = choose_rows(set, share, by_class, bits);
	Allowed		allowed = {bits};
	uint32_t	nq = set->nqueries < 500 ? set->nqueries : 500;
	uint64_t	right = 0;
	uint64_t	wanted = 0;
	double		best = 0;
	HnswCost	cost = {0};
	HnswSet    *members = NULL;
	HnswSearch	s = {.k = K, .ef = EF, .filter = is_allowed, .filter_arg = &allowed};

	if (pass == 0)
	{
		free(bits);
		return;
	}
	if (as_set)
	{
		s.set = members = hnsw_set_open(h);
		hnsw_set_add_passing(members, is_allowed, &allowed);
		s.filter = NULL;
	}
	for (int round = 0; round < 3; round++)
	{
		double		begin = thread_us();
		double		qps;

		memset(&cost, 0, sizeof(cost));
		for (uint32_t q = 0; q < nq; q++)
		{
			HnswHit		hits[K];

			s.query = set->queries + (size_t) q * set->dim;
			s.cost = &cost;
			hnsw_search(h, &s, hits);
		}
		qps = nq / (thread_us() - begin) * 1e6;
		best = qps > best ? qps : best;
	}
	for (uint32_t q = 0; q < nq && q < 200; q++)
	{
		HnswHit		hits[K];
		HnswHit		truth[K];
		uint32_t	n;
		uint32_t	want;

		s.query = set->queries + (size_t) q * set->dim;
		s.cost = NULL;
		n = hnsw_search(h, &s, hits);
		want = hnsw_scan_exact(h, &s, truth);
		wanted += want;
		for (uint32_t i = 0; i < n; i++)
			right += want > 0 && hits[i].distance <= truth[want - 1].distance;
	}
	printf("%-17s %-6s %-6s %8.2f%% %8.4f %9.0f %7.2fx %10.0f %8.0f %7.0f%%\n", name,
		   by_class ? "class" : "random", as_set ? "set" : "filter", 100.0 * pass / set->n,
		   (double) right / (double) wanted, best, best / free_qps, (double) cost.distances / nq,
		   (double) cost.looked / nq, 100.0 * (double) cost.exact / nq);
	fflush(stdout);
	hnsw_set_close(members);
	free(bits);
}

void
mode_filter(const Settings *settings, const Set *set)
{
	static const double shares[] = {0.5, 0.1, 0.05, 0.01, 0.001};
	Plan		plan = plan_of(settings, set, set->n);

	printf("\nfilters, ef %d; speed as part of the unfiltered\n%-17s %-6s %-6s %9s %8s %9s %8s %10s %8s %8s\n",
		   EF, "engine", "rows", "as", "pass", "recall", "QPS", "of free", "distances", "looked", "all");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = settings->ours[e]->build(&plan);
		Hnsw	   *h = engine_graph(index);
		double		free_qps = 0;

		for (int round = 0; round < 3; round++)
		{
			double		qps = mode_rate(set, h, 1, 5000);

			free_qps = qps > free_qps ? qps : free_qps;
		}
		printf("%-17s %-6s %-6s %9s %8s %9.0f\n", settings->ours[e]->name, "all", "none", "100%", "", free_qps);
		for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		{
			for (int as_set = 1; as_set >= 0; as_set--)
				for (int by_class = 0; by_class <= (set->classes != NULL); by_class++)
					filter_line(set, h, settings->ours[e]->name, shares[i], by_class, as_set, free_qps);
		}
		settings->ours[e]->destroy(index);
	}
}

/* -- Turning over ---------------------------------------------------------- */

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

static void
churn_line(const Set *set, Hnsw *h, const char *name, int turn)
{
	HnswReport	report;
	HnswStats	stats;
	double		recall;

	while (hnsw_link_next(h))
		;
	hnsw_stats(h, &stats);
	recall = mode_recall(set, h, EF);
	if (!hnsw_check(h, &report))
		printf("BROKEN: %s\n", report.first);
	printf("%-22s %5d %8.4f %8llu %8.3f%% %8llu %9.0f\n", name, turn, recall,
		   (unsigned long long) stats.live, 100.0 * (double) report.unreachable / (double) report.nodes,
		   (unsigned long long) stats.used, (double) stats.bytes / (double) stats.live);
}

/*
 * A window of half the rows turned over ten times.  kind 0: the oldest go, the
 * next come (sliding); 1: by class, so that whole regions empty and fill
 * (clustered); 2: the record stays and its vector changes (replace).
 */
static void
churn(const Settings *settings, const Set *set, const Engine *engine, int kind)
{
	static const char *const kinds[] = {"sliding", "clustered", "replace"};
	uint32_t	window = set->n / 2;
	uint32_t   *order = vt_alloc(sizeof(uint32_t) * set->n);
	uint32_t   *slots = vt_alloc(sizeof(uint32_t) * set->n);
	Plan		empty = plan_of(settings, set, 0);
	char		name[64];
	void	   *index = engine->build(&empty);
	void	   *fresh;
	Hnsw	   *h = engine_graph(index);
	uint32_t	n = 0;
	uint64_t	at;

	snprintf(name, sizeof(name), "%s %s", engine->name + 8, kinds[kind]);
	if (kind == 1)
	{
		for (uint32_t class = 0; n < set->n; class++)
			for (uint32_t i = 0; i < set->n; i++)
				if (set->classes[i] == class)
					order[n++] = i;
	}
	else
		for (; n < set->n; n++)
			order[n] = n;
	for (at = 0; at < 11 * (uint64_t) window; at++)
	{
		uint32_t	row = order[at % set->n];
		uint32_t	slot;
		VtError		err;

		if (hnsw_reserve(h, &slot, &err) != VT_OK)
			abort();
		if (at >= window && kind == 2)
			hnsw_replace(h, slots[(at - window) % set->n], slot, row, set->base + (size_t) row * set->dim);
		else
		{
			if (at >= window)
				hnsw_delete(h, slots[(at - window) % set->n]);
			hnsw_add(h, slot, row, set->base + (size_t) row * set->dim);
		}
		slots[at % set->n] = slot;
		hnsw_link_next(h);
		hnsw_repair(h, 64, false);
		if ((at + 1) % window == 0)
			churn_line(set, h, name, (int) ((at + 1) / window) - 1);
	}

	/* The same rows, in a graph that never saw others. */
	fresh = engine->build(&empty);
	for (at = 10 * (uint64_t) window; at < 11 * (uint64_t) window; at++)
	{
		add_row(engine_graph(fresh), set, order[at % set->n]);
		hnsw_link_next(engine_graph(fresh));
	}
	snprintf(name, sizeof(name), "%s fresh", engine->name + 8);
	churn_line(set, engine_graph(fresh), name, 10);
	engine->destroy(fresh);
	engine->destroy(index);
	free(order);
	free(slots);
}

void
mode_churn(const Settings *settings, const Set *set)
{
	printf("\na window of %u turned over ten times, ef %d\n%-22s %5s %8s %8s %9s %8s %9s\n", set->n / 2, EF,
		   "engine", "turn", "recall", "live", "unreach.", "slots", "B/vector");
	for (int kind = 0; kind < 3; kind++)
		if (kind != 1 || set->classes)
			churn(settings, set, &engine_int8, kind);
}
