/*-------------------------------------------------------------------------
 *
 * filter.c
 *	  Searches for which only a part of the rows counts: at random, or whole
 *	  classes; as a set, or as a function that is called.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "bench.h"
#include "hnsw/hnsw.h"

#define TRIED 1000				/* queries whose recall is measured */

/* Bars of searches with a set: recall, and speed as part of that without a condition */
#define RECALL_LEAST 0.95
#define SPEED_LEAST (1.0 / 3)

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

/* Rows that pass: at random, or whole classes as far as they go, or the first of one that is larger. */
static uint32_t
choose_rows(const Set *set, double share, bool by_class, uint8_t *bits)
{
	Prng		prng = {7};
	uint32_t	pass = 0;
	uint32_t	most = (uint32_t) (share * set->n);
	uint32_t	members[UINT16_MAX + 1] = {0};
	uint32_t	whole = 0;		/* classes below are in */
	uint32_t	rows = 0;

	for (uint32_t i = 0; by_class && i < set->n; i++)
		members[set->classes[i]]++;
	while (by_class && whole < UINT16_MAX && rows + members[whole] <= most)
		rows += members[whole++];
	memset(bits, 0, set->n / 8 + 1);
	for (uint32_t i = 0; i < set->n; i++)
		if (!by_class ? prng_double(&prng) < share :
			set->classes[i] < whole || (rows == 0 && set->classes[i] == whole && pass < most))
		{
			bits[i >> 3] |= (uint8_t) (1 << (i & 7));
			pass++;
		}
	return pass;
}

/* Microseconds of the processor for these searches, one after the other. */
static double
spend(const Set *set, Hnsw *h, HnswSearch s, uint32_t nq)
{
	double		begin = thread_us();

	for (uint32_t q = 0; q < nq; q++)
	{
		HnswHit		hits[K];

		s.query = set->queries + (size_t) q * set->dim;
		hnsw_search(h, &s, hits);
	}
	return thread_us() - begin;
}

/* Rows that may be hits, and how near the last true neighbour of each query is. */
typedef struct Part
{
	bool		by_class;
	uint32_t	pass;
	uint8_t    *bits;
	uint32_t	want[TRIED];
	double		last[TRIED];
} Part;

static Part *
part_make(const Set *set, Hnsw *h, double share, bool by_class)
{
	Part	   *part = vt_alloc0(sizeof(Part));
	Allowed		allowed;
	HnswSet    *members = hnsw_set_open(h);

	part->by_class = by_class;
	part->bits = vt_alloc(set->n / 8 + 1);
	part->pass = choose_rows(set, share, by_class, part->bits);
	allowed.bits = part->bits;
	hnsw_set_add_passing(members, is_allowed, &allowed);
	for (uint32_t q = 0; q < TRIED && q < set->nqueries; q++)
	{
		HnswSearch	s = {.query = set->queries + (size_t) q * set->dim, .k = K, .set = members};
		HnswHit		truth[K];

		part->want[q] = hnsw_scan_exact(h, &s, truth);
		part->last[q] = part->want[q] ? truth[part->want[q] - 1].distance : 0;
	}
	hnsw_set_close(members);
	return part;
}

static void
part_free(Part *part)
{
	free(part->bits);
	free(part);
}

static double
recall_of(const Set *set, Hnsw *h, HnswSearch s, const Part *part)
{
	uint64_t	right = 0;
	uint64_t	wanted = 0;

	for (uint32_t q = 0; q < TRIED && q < set->nqueries; q++)
	{
		HnswHit		hits[K];
		uint32_t	n;

		s.query = set->queries + (size_t) q * set->dim;
		n = hnsw_search(h, &s, hits);
		wanted += part->want[q];
		for (uint32_t i = 0; i < n; i++)
			right += hits[i].distance <= part->last[q];
	}
	return (double) right / (double) wanted;
}

/* What a set costs before it is used often: medians, in microseconds of the processor. */
typedef struct Beginnings
{
	double		fill;
	double		free;			/* a search without a condition, when a set has just been filled */
	double		first;			/* the same search with the set, in its place */
	double		second;
} Beginnings;

static double
spend_one(Hnsw *h, HnswSearch s, const float *query)
{
	double		begin = thread_us();
	HnswHit		hits[K];

	s.query = query;
	hnsw_search(h, &s, hits);
	return thread_us() - begin;
}

/*
 * To fill a set is to look at all rows, and leaves nothing of the graph in the caches.  So a
 * first search is compared with one without a condition in the same place.
 */
static Beginnings
set_beginnings(const Set *set, Hnsw *h, Allowed *allowed)
{
	enum {TRIALS = 11};
	double		us[4][TRIALS];

	for (uint32_t i = 0; i < 2 * TRIALS; i++)
	{
		double		begin = thread_us();
		HnswSet    *members = hnsw_set_open(h);
		HnswSearch	s = {.k = K, .ef = EF};
		const float *query = set->queries + (size_t) (i / 2) * set->dim;

		hnsw_set_add_passing(members, is_allowed, allowed);
		us[0][i / 2] = thread_us() - begin;
		if (i % 2 == 0)
			us[1][i / 2] = spend_one(h, s, query);
		else
		{
			s.set = members;
			us[2][i / 2] = spend_one(h, s, query);
			us[3][i / 2] = spend_one(h, s, query + (size_t) TRIALS * set->dim);
		}
		hnsw_set_close(members);
	}
	for (int what = 0; what < 4; what++)
		qsort(us[what], TRIALS, sizeof(double), compare_doubles);
	return (Beginnings) {us[0][TRIALS / 2], us[1][TRIALS / 2], us[2][TRIALS / 2], us[3][TRIALS / 2]};
}

/*
 * as_set: what passes is put into a set once, as for a predicate that comes
 * often or an index that knows the rows; else the search asks for each row.
 * Searches without a condition take turns with it, so that both have the same
 * machine.
 */
static bool
filter_line(const Settings *settings, const Set *set, Hnsw *h, const char *name, const Part *part,
			bool as_set)
{
	Allowed		allowed = {part->bits};
	uint32_t	nq = set->nqueries < 500 ? set->nqueries : 500;
	double		rates[ROUNDS_MOST];
	double		free_rates[ROUNDS_MOST];
	double		rate;
	double		free_rate;
	Beginnings	begin = {0};
	double		recall;
	bool		held = true;
	HnswCost	cost = {0};
	HnswSet    *members = NULL;
	HnswSearch	all = {.k = K, .ef = EF};
	HnswSearch	s = {.k = K, .ef = EF, .filter = is_allowed, .filter_arg = &allowed};

	if (as_set)
	{
		begin = set_beginnings(set, h, &allowed);
		s.set = members = hnsw_set_open(h);
		hnsw_set_add_passing(members, is_allowed, &allowed);
		s.filter = NULL;
	}
	for (uint32_t round = 0; round < settings->rounds; round++)
	{
		free_rates[round] = nq / spend(set, h, all, nq) * 1e6;
		rates[round] = nq / spend(set, h, s, nq) * 1e6;
	}
	rate = median(rates, settings->rounds);
	free_rate = median(free_rates, settings->rounds);
	s.cost = &cost;
	spend(set, h, s, nq);
	s.cost = NULL;
	recall = recall_of(set, h, s, part);
	printf("%-17s %-6s %-6s %8.2f%% %8.4f %9.0f %9.0f %7.2fx %9.0f %8.0f %6.0f%% %8.1f %8.0f %8.0f %8.0f\n", name,
		   part->by_class ? "class" : "random", as_set ? "set" : "filter", 100.0 * part->pass / set->n,
		   recall, free_rate, rate, rate / free_rate,
		   (double) cost.distances / nq, (double) cost.looked / nq, 100.0 * (double) cost.exact / nq,
		   begin.fill / 1000, begin.free, begin.first, begin.second);
	if (as_set)
	{
		held = bar_line(set->name, name, "recall", recall, "at least", RECALL_LEAST);
		held &= bar_line(set->name, name, "speed as part of that without a condition", rate / free_rate, "at least", SPEED_LEAST);
	}
	fflush(stdout);
	hnsw_set_close(members);
	return held;
}

bool
mode_filter(const Settings *settings, const Set *set)
{
	static const double shares[] = {0.5, 0.1, 0.05, 0.01, 0.001};
	bool		held = true;

	printf("\nfilters, ef %d; speed as part of that without\n%-17s %-6s %-6s %9s %8s %9s %9s %8s %9s %8s %7s %8s %8s %8s %8s\n",
		   EF, "engine", "rows", "as", "pass", "recall", "free QPS", "QPS", "of free", "distances", "looked",
		   "all", "fill ms", "free us", "1st us", "2nd us");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = index_make(settings, set, set->n, settings->ours[e]);
		Hnsw	   *h = engine_graph(index);

		for (size_t i = 0; i < (settings->share > 0 ? 1 : sizeof(shares) / sizeof(shares[0])); i++)
			for (int by_class = 0; by_class <= (set->classes != NULL); by_class++)
			{
				Part	   *part = part_make(set, h, settings->share > 0 ? settings->share : shares[i], by_class);

				for (int as_set = 1; as_set >= 0 && part->pass > 0; as_set--)
					held &= filter_line(settings, set, h, settings->ours[e]->name, part, as_set);
				part_free(part);
			}
		settings->ours[e]->destroy(index);
	}
	return held;
}
