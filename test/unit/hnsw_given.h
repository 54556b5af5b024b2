/*-------------------------------------------------------------------------
 *
 * hnsw_given.h
 *	  What the tests of the graph share: data, a graph, and a judge.
 *
 * Data is clustered, as real vectors are, and comes from fixed seeds.  The judge
 * is a plain scan written here, not the module's own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_GIVEN_H
#define HNSW_GIVEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "hnsw/hnsw.h"

#define DIM 24
#define QUERIES 100
#define K 10

/* -- Given ----------------------------------------------------------------- */

/* n rows around 50 centres that the seed decides. */
static inline float *
clustered(uint64_t seed, uint32_t n)
{
	Prng		centres = {99};
	Prng		prng = {seed};
	float		centre[50][DIM];
	float	   *rows = malloc((size_t) n * DIM * sizeof(float));

	assert_non_null(rows);
	for (int c = 0; c < 50; c++)
		for (int i = 0; i < DIM; i++)
			centre[c][i] = (float) (prng_double(&centres) * 2 - 1);
	for (uint32_t row = 0; row < n; row++)
	{
		uint32_t	c = prng_below(&prng, 50);

		for (int i = 0; i < DIM; i++)
			rows[(size_t) row * DIM + i] = centre[c][i] +
				(float) (prng_double(&prng) + prng_double(&prng) - 1) * 0.5f;
	}
	return rows;
}

/* Graphs of all kinds, for tests that are of the graph and not of distances. */
static const struct
{
	VecMetric	metric;
	HnswCodes	codes;
	VecElement	element;
}			graph_kinds[] __attribute__((unused)) = {
	{VEC_L2, HNSW_CODES_NONE, VEC_FLOAT32},
	{VEC_L2, HNSW_CODES_INT8, VEC_FLOAT32},
	{VEC_L2, HNSW_CODES_INT8_ONLY, VEC_FLOAT32},
	{VEC_COSINE, HNSW_CODES_NONE, VEC_FLOAT32},
	{VEC_COSINE, HNSW_CODES_INT8, VEC_FLOAT32},
	{VEC_IP, HNSW_CODES_INT8, VEC_FLOAT32},
	{VEC_L1, HNSW_CODES_NONE, VEC_FLOAT32},
	{VEC_L1, HNSW_CODES_INT8, VEC_FLOAT32},
	{VEC_L2, HNSW_CODES_INT8, VEC_FLOAT16},
	{VEC_COSINE, HNSW_CODES_NONE, VEC_FLOAT16},
};

#define GRAPH_KINDS (sizeof(graph_kinds) / sizeof(graph_kinds[0]))

static inline Hnsw *
create(VecMetric metric, HnswCodes codes)
{
	HnswOptions options = {
		.dim = DIM, .metric = metric, .m = 16, .ef_construction = 100, .codes = codes, .seed = 7
	};
	Hnsw	   *h;
	VtError		err;

	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	return h;
}

/* Each number as the nearest half. */
static inline void
round_to_halves(float *rows, uint32_t n)
{
	VecHalf		row[DIM];

	for (uint32_t i = 0; i < n; i++)
	{
		assert_true(vec_to_half(row, rows + (size_t) i * DIM, DIM));
		vec_from_half(rows + (size_t) i * DIM, row, DIM);
	}
}

static inline uint32_t
add(Hnsw *h, uint64_t label, const float *vector)
{
	uint32_t	slot;
	VtError		err;

	assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
	hnsw_add(h, slot, label, vector);
	return slot;
}

static inline void
link_all(Hnsw *h)
{
	HnswStats	stats;

	while (hnsw_link_next(h))
		;
	hnsw_stats(h, &stats);
	assert_int_equal(stats.waiting, 0);
}

/* All of these, their labels from 0 on, and linked. */
static inline void
link_rows(Hnsw *h, const float *rows, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		add(h, i, rows + (size_t) i * DIM);
	link_all(h);
}

/* A filter: one label of so many passes, *(uint64_t *) arg. */
static inline bool
label_is_one_of(void *arg, uint64_t label, uint32_t slot)
{
	uint64_t	many = *(const uint64_t *) arg;

	(void) slot;
	return label % many == 3 % many;
}

static inline uint32_t
search(Hnsw *h, const float *query, uint32_t k, uint32_t ef, HnswHit *hits)
{
	HnswSearch	s = {.query = query, .k = k, .ef = ef};

	return hnsw_search(h, &s, hits);
}

/* -- Then ------------------------------------------------------------------ */

static inline void
assert_sound(Hnsw *h)
{
	HnswReport	report;

	if (!hnsw_check(h, &report))
		fail_msg("%s", report.first);
}

/* Ordered, none twice, distances to the last bit. */
static inline void
assert_hits(Hnsw *h, VecMetric metric, const float *query, const HnswHit *hits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		float		vector[DIM];
		double		d;

		hnsw_read_vector(h, hits[i].slot, vector);
		d = vec_distance(metric, query, vector, DIM);
		assert_memory_equal(&d, &hits[i].distance, sizeof(d));
		assert_int_equal(hits[i].label, hnsw_label(h, hits[i].slot));
		if (i > 0 && !(hits[i - 1].distance < hits[i].distance))
		{
			assert_true(hits[i - 1].distance == hits[i].distance);
			assert_true(hits[i - 1].label < hits[i].label ||
						(hits[i - 1].label == hits[i].label && hits[i - 1].slot < hits[i].slot));
		}
	}
}

static inline int
by_distance(const void *a, const void *b)
{
	const HnswHit *x = a;
	const HnswHit *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return (x->label > y->label) - (x->label < y->label);
}

/* The k nearest of the rows whose label passes; rows[i] has label i. */
static inline uint32_t
nearest(VecMetric metric, const float *rows, uint32_t n, const float *query, const uint8_t *gone,
		uint32_t k, HnswHit *out)
{
	HnswHit    *all = malloc((size_t) n * sizeof(*all));
	uint32_t	count = 0;

	assert_non_null(all);
	for (uint32_t i = 0; i < n; i++)
		if (gone == NULL || !gone[i])
		{
			all[count].distance = vec_distance(metric, query, rows + (size_t) i * DIM, DIM);
			all[count++].label = i;
		}
	qsort(all, count, sizeof(*all), by_distance);
	if (count > k)
		count = k;
	memcpy(out, all, count * sizeof(*all));
	free(all);
	return count;
}

/* Mean recall of searches against the plain scan, ties allowed. */
static inline double
recall(Hnsw *h, VecMetric metric, const float *rows, uint32_t n, const uint8_t *gone, uint32_t ef)
{
	float	   *queries = clustered(1234, QUERIES);
	int			right = 0;
	int			wanted = 0;

	for (int q = 0; q < QUERIES; q++)
	{
		HnswHit		truth[K];
		HnswHit		hits[K];
		uint32_t	want = nearest(metric, rows, n, queries + q * DIM, gone, K, truth);
		uint32_t	got = search(h, queries + q * DIM, K, ef, hits);

		assert_int_equal(got, want);
		assert_hits(h, metric, queries + q * DIM, hits, got);
		wanted += (int) want;
		for (uint32_t i = 0; i < got; i++)
		{
			assert_false(gone && gone[hits[i].label]);
			right += hits[i].distance <= truth[want - 1].distance;
		}
	}
	free(queries);
	return wanted ? (double) right / wanted : 1;
}

#endif							/* HNSW_GIVEN_H */
