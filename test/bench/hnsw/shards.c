/*-------------------------------------------------------------------------
 *
 * shards.c
 *	  A set in one graph and shared out to several, as a collection is to its shards:
 *	  what is found of the nearest, and what that costs.
 *
 * Each of several graphs is asked for what src/client/share.h says of the same question.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "bench.h"
#include "client/share.h"
#include "hnsw/hnsw.h"

#define SHARDS_MOST 12
#define QUERIES_MOST 1000
#define LOST_MOST 0.005			/* bar: found less than in one graph */

typedef struct Shards
{
	const Set  *set;
	uint32_t	n;
	Hnsw	   *graphs[SHARDS_MOST];
} Shards;

/* What one question to all shards came to, in the mean. */
typedef struct Outcome
{
	double		recall;
	double		distances;
	double		again;			/* share of questions of which a shard would be asked a second time */
} Outcome;

static void
shards_build(const Settings *settings, Shards *shards)
{
	const Set  *set = shards->set;

	for (uint32_t i = 0; i < shards->n; i++)
	{
		HnswOptions options = {.dim = set->dim, .metric = set->metric, .m = settings->m,
			.ef_construction = settings->ef_construction, .codes = HNSW_CODES_INT8, .seed = i + 1};
		VtError		err;

		if (hnsw_create(&options, &shards->graphs[i], &err) != VT_OK)
		{
			fprintf(stderr, "hnsw_bench: %s\n", err.msg);
			exit(2);
		}
	}
	for (uint32_t row = 0; row < set->n; row++)
	{
		Hnsw	   *h = shards->graphs[hash_checksum(bytes_of(&row, sizeof(row))) % shards->n];

		mode_add_row(h, set, row);
		hnsw_link_next(h);
	}
}

static int
nearer(const void *a, const void *b)
{
	double		x = ((const HnswHit *) a)->distance;
	double		y = ((const HnswHit *) b)->distance;

	return (x > y) - (x < y);
}

/* For the k nearest, ef candidates in each graph and so many hits from it. */
static Outcome
ask(const Shards *shards, uint32_t k, uint32_t ef, uint32_t batch)
{
	const Set  *set = shards->set;
	uint32_t	nqueries = set->nqueries < QUERIES_MOST ? set->nqueries : QUERIES_MOST;
	HnswHit    *hits = vt_alloc(sizeof(HnswHit) * shards->n * batch);
	uint32_t   *rows = vt_alloc(sizeof(uint32_t) * k);
	HnswCost	cost = {0};
	uint64_t	found = 0;
	uint32_t	again = 0;

	for (uint32_t q = 0; q < nqueries; q++)
	{
		uint32_t	n = 0;
		uint32_t	from[SHARDS_MOST + 1] = {0};
		bool		dry = false;

		for (uint32_t i = 0; i < shards->n; i++)
		{
			HnswSearch	search = {.query = set->queries + (size_t) q * set->dim, .k = batch, .ef = ef, .cost = &cost};

			n += hnsw_search(shards->graphs[i], &search, hits + n);
			from[i + 1] = n;
		}
		/* Where the last that a shard gave is among the nearest, it may have more of them. */
		for (uint32_t i = 0; i < shards->n; i++)
			if (from[i + 1] > from[i])
				hits[from[i + 1] - 1].slot = HNSW_NO_SLOT;
		qsort(hits, n, sizeof(HnswHit), nearer);
		if (n > k)
			n = k;
		for (uint32_t i = 0; i < n; i++)
		{
			rows[i] = (uint32_t) hits[i].label;
			dry |= i + 1 < k && hits[i].slot == HNSW_NO_SLOT;
		}
		again += dry;
		found += set_hits(set, q, rows, n);
	}
	free(rows);
	free(hits);
	return (Outcome) {(double) found / ((double) nqueries * k), (double) (cost.distances + cost.refined) / nqueries,
		(double) again / nqueries};
}

bool
mode_shards(const Settings *settings, const Set *set)
{
	static const uint32_t counts[] = {1, 2, 3, 6, SHARDS_MOST};
	static const uint32_t efs[] = {10, 20, 40, 100, 200, 400};
	enum {COUNTS = sizeof(counts) / sizeof(counts[0]), EFS = sizeof(efs) / sizeof(efs[0])};
	double		alone[EFS] = {0};
	bool		held = true;

	printf("shards: k %u; of each its share is asked, and beside it all that is asked of one\n", settings->k);
	printf("%8s %6s %9s %7s %9s %11s %9s %11s\n", "shards", "ef", "of each", "again", "recall", "distances", "recall", "distances");
	for (uint32_t c = 0; c < COUNTS; c++)
	{
		Shards		shards = {.set = set, .n = counts[c]};
		double		share = 1.0 / counts[c];
		double		worst = 1;
		char		name[32];

		shards_build(settings, &shards);
		for (uint32_t e = 0; e < EFS; e++)
		{
			uint32_t	ef = efs[e];
			Outcome		own;
			Outcome		whole;

			if (ef < settings->k)
				continue;
			own = ask(&shards, settings->k, share_ef(ef, share), share_batch(settings->k, share));
			whole = ask(&shards, settings->k, ef, settings->k);

			printf("%8u %6u %9u %7.4f %9.4f %11.0f %9.4f %11.0f\n", counts[c], ef, share_ef(ef, share), own.again, own.recall,
				   own.distances, whole.recall, whole.distances);
			if (c == 0)
				alone[e] = own.recall;
			if (own.recall - alone[e] < worst)
				worst = own.recall - alone[e];
		}
		snprintf(name, sizeof(name), "%u shards", counts[c]);
		held &= bar_line(set->name, name, "recall beyond that of one", worst, "at least", -LOST_MOST);
		for (uint32_t i = 0; i < shards.n; i++)
			hnsw_destroy(shards.graphs[i]);
	}
	return held;
}
