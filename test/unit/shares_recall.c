/*-------------------------------------------------------------------------
 *
 * shares_recall.c
 *	  Shards that are asked for their share find together what one graph finds.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/prng.h"
#include "client/share.h"
#include "hnsw/hnsw.h"

#define DIM 24
#define ROWS 9000
#define QUERIES 400
#define SHARDS_MOST 9
#define K 10

static float *rows;
static float *queries;
static double farthest[QUERIES];	/* of the K nearest */

static void
fill(Prng *prng, float *out)
{
	for (uint32_t i = 0; i < DIM; i++)
		out[i] = (float) (prng_double(prng) + prng_double(prng) + prng_double(prng));
}

static int
ascending(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static int
set_up(void **state)
{
	double	   *distances = vt_alloc(sizeof(double) * ROWS);
	Prng		prng = {31};

	(void) state;
	rows = vt_alloc(sizeof(float) * DIM * ROWS);
	queries = vt_alloc(sizeof(float) * DIM * QUERIES);
	for (uint32_t i = 0; i < ROWS; i++)
		fill(&prng, rows + i * DIM);
	for (uint32_t q = 0; q < QUERIES; q++)
	{
		fill(&prng, queries + q * DIM);
		for (uint32_t i = 0; i < ROWS; i++)
			distances[i] = vec_distance(VEC_L2, queries + q * DIM, rows + i * DIM, DIM);
		qsort(distances, ROWS, sizeof(double), ascending);
		farthest[q] = distances[K - 1];
	}
	free(distances);
	return 0;
}

static int
tear_down(void **state)
{
	(void) state;
	free(rows);
	free(queries);
	return 0;
}

static void
build(Hnsw **graphs, uint32_t n)
{
	VtError		err;

	for (uint32_t i = 0; i < n; i++)
	{
		HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 8, .ef_construction = 60, .seed = i + 1};

		assert_int_equal(VT_OK, hnsw_create(&options, &graphs[i], &err));
	}
	for (uint32_t i = 0; i < ROWS; i++)
	{
		Hnsw	   *h = graphs[hash_checksum(bytes_of(&i, sizeof(i))) % n];
		uint32_t	slot;

		assert_int_equal(VT_OK, hnsw_reserve(h, &slot, &err));
		hnsw_add(h, slot, i, rows + i * DIM);
		hnsw_link_next(h);
	}
}

/* How much of the nearest is found, with ef candidates in each; *distances are compared for that. */
static double
recall(Hnsw **graphs, uint32_t n, uint32_t ef, uint64_t *distances)
{
	HnswHit		hits[SHARDS_MOST * K];
	HnswCost	cost = {0};
	uint32_t	found = 0;

	for (uint32_t q = 0; q < QUERIES; q++)
	{
		HnswSearch	search = {.query = queries + q * DIM, .k = share_batch(K, 1.0 / n), .ef = ef, .cost = &cost};

		for (uint32_t i = 0; i < n; i++)
		{
			uint32_t	some = hnsw_search(graphs[i], &search, hits);

			for (uint32_t h = 0; h < some; h++)
				found += hits[h].distance <= farthest[q];
		}
	}
	*distances = cost.distances;
	return found / (double) (QUERIES * K);
}

static void
together_they_find_as_much(void **state)
{
	static const uint32_t counts[] = {2, 3, SHARDS_MOST};
	static const uint32_t efs[] = {20, 40, 80};
	Hnsw	   *one[1];
	uint32_t	too_few = 0;

	(void) state;
	build(one, 1);
	for (uint32_t c = 0; c < 3; c++)
	{
		uint32_t	n = counts[c];
		Hnsw	   *graphs[SHARDS_MOST];

		build(graphs, n);
		for (uint32_t e = 0; e < 3; e++)
		{
			double		share = 1.0 / n;
			uint64_t	of_one;
			uint64_t	of_shares;
			uint64_t	of_all;
			uint64_t	of_less;
			double		alone = recall(one, 1, efs[e], &of_one);
			double		shares = recall(graphs, n, share_ef(efs[e], share), &of_shares);

			assert_true(alone > 0.3 && alone < 1);
			assert_true(shares >= alone - 0.005);
			/* For less than what each would do for itself. */
			recall(graphs, n, efs[e], &of_all);
			assert_true(of_shares < of_all);
			/* The share itself would be too few. */
			too_few += recall(graphs, n, share_ef(efs[e], share * share), &of_less) < alone - 0.005;
		}
		for (uint32_t i = 0; i < n; i++)
			hnsw_destroy(graphs[i]);
	}
	assert_true(too_few > 0);
	hnsw_destroy(one[0]);
}

static void
one_shard_is_asked_for_all(void **state)
{
	(void) state;
	assert_true(share_of(0, UINT64_MAX) == 1);
	assert_true(share_of(0, INT64_MAX) == 0.5);
	assert_true(share_of(7, 7) > 0);
	for (uint32_t n = 1; n < 3000; n = n * 3 / 2 + 1)
	{
		assert_int_equal(share_ef(n, 1), n);
		assert_int_equal(share_batch(n, 1), n);
	}
}

static void
no_less_than_a_few_and_no_more_than_all(void **state)
{
	(void) state;
	for (uint32_t shards = 1; shards <= 1024; shards *= 2)
		for (uint32_t n = 1; n < 100000; n = n * 3 / 2 + 1)
		{
			uint32_t	ef = share_ef(n, 1.0 / shards);
			uint32_t	batch = share_batch(n, 1.0 / shards);

			assert_true(ef >= (n < 10 ? n : 10) && ef <= n);
			assert_true(batch >= 1 && batch <= n && (uint64_t) batch * shards >= n);
		}
	/* Next to nothing of the hashes. */
	assert_int_equal(share_batch(100, share_of(9, 9)), 2);
	assert_int_equal(share_ef(100, share_of(9, 9)), 10);
}

/* How often more than so many of n are of a part, by adding up what is less. */
static double
at_least(uint32_t n, double share, uint32_t most)
{
	double		term = exp(n * log1p(-share));
	double		less = 0;

	for (uint32_t i = 0; i < most; i++)
	{
		less += term;
		term *= (n - i) / (i + 1.0) * share / (1 - share);
	}
	return 1 - less;
}

/* More of the nearest lie in a shard than it is asked for: that takes another question. */
static void
few_are_asked_again(void **state)
{
	(void) state;
	for (uint32_t shards = 2; shards <= 1024; shards += 1 + shards / 8)
		for (uint32_t batch = 1; batch <= 1000; batch += 1 + batch / 16)
		{
			uint32_t	most = share_batch(batch, 1.0 / shards);
			double		again = most < batch ? shards * at_least(batch, 1.0 / shards, most) : 0;

			/* One in a hundred, and what adding up in doubles leaves. */
			assert_true(again <= 0.01 + 1e-9);
		}
}

/* But no shard is asked for much that none of the nearest will be: in the mean of few rows. */
static void
no_more_than_it_takes(void **state)
{
	(void) state;
	assert_int_equal(share_batch(10, 1.0 / 3), 10);
	assert_int_equal(share_batch(100, 1.0 / 3), 54);
	assert_int_equal(share_batch(100, 1.0 / 12), 21);
	assert_int_equal(share_batch(10, 1.0 / 32), 4);
	assert_int_equal(share_batch(50, 1.0 / 1024), 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_shard_is_asked_for_all),
		cmocka_unit_test(no_less_than_a_few_and_no_more_than_all),
		cmocka_unit_test(few_are_asked_again),
		cmocka_unit_test(no_more_than_it_takes),
		cmocka_unit_test(together_they_find_as_much),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
