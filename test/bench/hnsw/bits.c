/*-------------------------------------------------------------------------
 *
 * bits.c
 *	  The graph on the signs of a set's numbers, less their mean: what it finds of the
 *	  nearest by bits, and of the nearest by the set's own distance when it is
 *	  asked for more and those are sorted.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "hnsw/hnsw.h"

#define SORTED_MOST 400
#define QUERIES_MOST 1000

/* One bit for each number: is it above the mean of its dimension? */
typedef struct Signs
{
	size_t		bytes;
	uint8_t    *base;
	uint8_t    *queries;
	uint32_t	nqueries;
} Signs;

static void
take_signs(const Set *set, const double *mean, const float *rows, uint32_t n, size_t bytes, uint8_t *out)
{
	for (uint32_t row = 0; row < n; row++)
		for (uint32_t i = 0; i < set->dim; i++)
			if (rows[(size_t) row * set->dim + i] > mean[i])
				out[bytes * row + i / 8] |= (uint8_t) (0x80 >> i % 8);
}

static Signs
signs_of(const Set *set)
{
	Signs		signs = {.bytes = VEC_BITS_BYTES(set->dim)};
	double	   *mean = vt_alloc0(sizeof(double) * set->dim);

	for (uint32_t row = 0; row < set->n; row++)
		for (uint32_t i = 0; i < set->dim; i++)
			mean[i] += set->base[(size_t) row * set->dim + i] / (double) set->n;
	signs.nqueries = set->nqueries < QUERIES_MOST ? set->nqueries : QUERIES_MOST;
	signs.base = vt_alloc0(signs.bytes * set->n);
	signs.queries = vt_alloc0(signs.bytes * signs.nqueries);
	take_signs(set, mean, set->base, set->n, signs.bytes, signs.base);
	take_signs(set, mean, set->queries, signs.nqueries, signs.bytes, signs.queries);
	free(mean);
	return signs;
}

static Hnsw *
build(const Settings *settings, const Set *set, const Signs *signs)
{
	HnswOptions options = {
		.dim = set->dim, .metric = VEC_HAMMING, .element = VEC_BIT, .m = settings->m,
		.ef_construction = settings->ef_construction, .seed = 1
	};
	Hnsw	   *h;
	VtError		err;

	if (hnsw_create(&options, &h, &err) != VT_OK)
		vt_assert_fail(vt_error_words(&err), __FILE__, __LINE__);
	for (uint32_t i = 0; i < set->n; i++)
	{
		uint32_t	slot;

		if (hnsw_reserve(h, &slot, &err) != VT_OK)
			vt_assert_fail(vt_error_words(&err), __FILE__, __LINE__);
		hnsw_add(h, slot, i, signs->base + signs->bytes * i);
		hnsw_link_next(h);
	}
	return h;
}

/* Of the first `sorted` hits the ten nearest by the set's distance. */
static uint32_t
found_when_sorted(const Set *set, uint32_t query, const HnswHit *hits, uint32_t sorted)
{
	double		best[K];
	uint32_t	rows[K];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < sorted; i++)
	{
		uint32_t	row = (uint32_t) hits[i].label;
		double		d = vec_distance(set->metric, set->queries + (size_t) query * set->dim,
									 set->base + (size_t) row * set->dim, set->dim);
		uint32_t	at;

		if (n == K && !(d < best[K - 1]))
			continue;
		at = n < K ? n++ : K - 1;
		for (; at > 0 && d < best[at - 1]; at--)
		{
			best[at] = best[at - 1];
			rows[at] = rows[at - 1];
		}
		best[at] = d;
		rows[at] = row;
	}
	return set_hits(set, query, rows, n);
}

/* All queries with one ef for k bits; sorted for the set's distance as well if k is more than ten. */
static void
line(const Set *set, const Signs *signs, Hnsw *h, const double *tenth, uint32_t k, uint32_t ef)
{
	HnswHit		hits[SORTED_MOST];
	HnswCost	cost = {0};
	double		us = 0;
	uint64_t	near = 0;
	uint64_t	found = 0;

	for (uint32_t q = 0; q < signs->nqueries; q++)
	{
		HnswSearch	s = {.query = signs->queries + signs->bytes * q, .k = k, .ef = ef, .cost = &cost};
		double		begin = thread_us();
		uint32_t	n = hnsw_search(h, &s, hits);

		found += found_when_sorted(set, q, hits, n);
		us += thread_us() - begin;
		for (uint32_t i = 0; i < K && i < n; i++)
			near += hits[i].distance <= tenth[q];
	}
	printf("%7u %7u %9.4f %9.4f %9.0f %9.0f\n", k, ef, near / (double) K / signs->nqueries,
		   found / (double) K / signs->nqueries, cost.distances / (double) signs->nqueries, signs->nqueries / us * 1e6);
	fflush(stdout);
}

void
mode_bits(const Settings *settings, const Set *set)
{
	static const uint32_t efs[] = {10, 20, 40, 80, 160, 320};
	static const uint32_t sorted[] = {50, 100, 200, SORTED_MOST};
	Signs		signs = signs_of(set);
	double	   *tenth = vt_alloc(sizeof(double) * signs.nqueries);
	double		begin = thread_us();
	Hnsw	   *h = build(settings, set, &signs);
	double		took = (thread_us() - begin) / 1e6;
	HnswStats	stats;

	hnsw_stats(h, &stats);
	for (uint32_t q = 0; q < signs.nqueries; q++)
	{
		HnswHit		hits[K];
		HnswSearch	s = {.query = signs.queries + signs.bytes * q, .k = K};

		tenth[q] = hits[hnsw_scan_exact(h, &s, hits) - 1].distance;
	}
	printf("\nsigns of %u numbers: %.1f s of the processor to link %u, %.0f bytes a row, bits counted by %s\n"
		   "%7s %7s %9s %9s %9s %9s\n", set->dim, took, set->n, (double) stats.bytes / set->n, vec_bits_cpu_name(),
		   "asked", "ef", "by bits", "sorted", "distances", "a second");
	for (size_t i = 0; i < sizeof(efs) / sizeof(efs[0]); i++)
		line(set, &signs, h, tenth, K, efs[i]);
	for (size_t i = 0; i < sizeof(sorted) / sizeof(sorted[0]); i++)
		line(set, &signs, h, tenth, sorted[i], sorted[i]);
	hnsw_destroy(h);
	free(tenth);
	free(signs.base);
	free(signs.queries);
}
