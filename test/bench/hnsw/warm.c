/*-------------------------------------------------------------------------
 *
 * warm.c
 *	  The first searches after a start: what they cost more than later ones, and
 *	  whether searches nobody has asked for, before them, take that away.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "hnsw/hnsw.h"

#define TRIALS 5
#define FIRST 4					/* stages of the searches after a start */

/* Searches of a stage end here; the last is what it costs when all is warm. */
static const uint32_t ends[FIRST] = {10, 50, 200, 1000};

/* More than the caches of a core hold, and much of what cores share. */
static void
clear_caches(void)
{
	enum {BYTES = 256 << 20};
	volatile uint8_t *bytes = vt_alloc(BYTES);

	for (size_t i = 0; i < BYTES; i += 64)
		bytes[i] = (uint8_t) i;
	free((void *) bytes);
}

static double
spend(Hnsw *h, const float *query)
{
	double		begin = thread_us();
	HnswSearch	s = {.query = query, .k = K, .ef = EF};
	HnswHit		hits[K];

	hnsw_search(h, &s, hits);
	return thread_us() - begin;
}

/* warm: searches for vectors of the graph before the first that is asked for. */
static void
warm_line(const Set *set, Hnsw *h, const char *name, uint32_t warm)
{
	double		us[FIRST][TRIALS];
	double		before[TRIALS];
	uint32_t	query = 0;

	for (uint32_t trial = 0; trial < TRIALS; trial++)
	{
		clear_caches();
		before[trial] = 0;
		for (uint32_t i = 0; i < warm; i++)
			before[trial] += spend(h, set->base + (size_t) ((uint64_t) set->n * i / warm) * set->dim);
		for (uint32_t stage = 0, i = 0; stage < FIRST; stage++)
		{
			uint32_t	first = i;

			us[stage][trial] = 0;
			for (; i < ends[stage]; i++, query++)
				us[stage][trial] += spend(h, set->queries + (size_t) (query % set->nqueries) * set->dim);
			us[stage][trial] /= i - first;
		}
	}
	printf("%-17s %8u %9.1f", name, warm, median(before, TRIALS) / 1000);
	for (uint32_t stage = 0; stage < FIRST; stage++)
		printf(" %9.0f", median(us[stage], TRIALS));
	printf("\n");
	fflush(stdout);
}

void
mode_warm(const Settings *settings, const Set *set)
{
	static const uint32_t warm[] = {0, 100, 1000};

	printf("\nsearches after the caches were cleared, ef %d, microseconds of the processor each\n%-17s %8s %9s", EF, "engine",
		   "warm-up", "takes ms");
	for (uint32_t stage = 0; stage < FIRST; stage++)
		printf("  %s %5u", stage ? "to" : "..", ends[stage]);
	printf("\n");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = index_make(settings, set, set->n, settings->ours[e]);

		for (size_t i = 0; i < sizeof(warm) / sizeof(warm[0]); i++)
			warm_line(set, engine_graph(index), settings->ours[e]->name, warm[i]);
		settings->ours[e]->destroy(index);
	}
}
