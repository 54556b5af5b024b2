/*-------------------------------------------------------------------------
 *
 * hnsw_reach.c
 *	  A search ends by distance: for what ef costs it finds more, it never costs
 *	  much more than twice that, and the graph learns how far is far.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include "hnsw/walk.h"

#define N 6000
#define EF 13

/* The k-th hit by counting: what reach_note() keeps without. */
static uint32_t
kth_of(const Pool *pool, uint32_t k)
{
	uint32_t	hits = 0;

	for (uint32_t i = 0; i < pool->n; i++)
		if (!(pool->e[i] & ENTRY_PASS_BY) && ++hits == k)
			return i;
	return NO_PLACE;
}

static void
the_kth_is_kept(void **state)
{
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	Pool		pool = {0};
	Prng		prng = {3};

	(void) state;
	reach_restore(h, SPREAD_ONE / 10);
	for (int round = 0; round < 300; round++)
	{
		Walk		walk = {.h = h, .pool = &pool};
		uint32_t	k = 1 + prng_below(&prng, 12);
		uint32_t	ef = k + prng_below(&prng, 30);
		uint32_t	share = prng_below(&prng, 10);	/* of ten that are no hits */

		assert_int_equal(reach_begin(&walk, k, ef), 2 * ef);
		pool_begin(&pool, 2 * ef);
		for (uint32_t i = 0; i < 400; i++)
		{
			float		score = (float) prng_below(&prng, 1000) / (float) (1 + i / 20);
			uint32_t	kth;

			walk_insert(&walk, entry_make(score, i, prng_below(&prng, 10) < share ? ENTRY_PASS_BY : 0));
			kth = kth_of(&pool, k);
			assert_int_equal(walk.kth, kth);
			if (kth == NO_PLACE)
				assert_true(walk.reach == UINT64_MAX);
			else
			{
				float		reach = entry_score(walk.reach);
				float		want = entry_score(pool.e[kth]) * powf((float) ef / (float) k, 0.1f);

				assert_true(walk.reach > pool.e[kth]);
				assert_true(fabsf(reach - want) <= 1e-4f * want);
			}
		}
	}
	free(pool.e);
	hnsw_destroy(h);
}

/* Of n points that fill a space of so many dimensions evenly the j-th is j ^ (1 / dimensions) as far as the first. */
static void
the_spread_is_learnt(void **state)
{
	static const int dims[] = {4, 8, 16};
	Prng		prng = {8};
	uint32_t	before = SPREAD_MOST;

	(void) state;
	for (int d = 0; d < 3; d++)
	{
		Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
		uint32_t	even;

		for (uint32_t i = 0; i < N; i++)
		{
			float		row[DIM] = {0};

			for (int j = 0; j < dims[d]; j++)
				row[j] = (float) prng_double(&prng);
			add(h, i, row);
			hnsw_link_next(h);
		}
		even = 2 * SPREAD_ONE / (uint32_t) dims[d]; /* scores are squares */
		assert_in_range(atomic_load(&h->spread), even * 6 / 10, even * 16 / 10);
		assert_true(atomic_load(&h->spread) < before);
		before = atomic_load(&h->spread);
		hnsw_destroy(h);
	}
}

/* Equal vectors, and inner products: nothing is learnt from these. */
static void
what_has_no_spread(void **state)
{
	Hnsw	   *equal = create(VEC_L2, HNSW_CODES_INT8);
	Hnsw	   *product = create(VEC_IP, HNSW_CODES_NONE);
	float	   *rows = clustered(1, 500);
	float		row[DIM] = {1, 2, 3};
	HnswHit		hits[K];

	(void) state;
	for (uint32_t i = 0; i < 500; i++)
	{
		add(equal, i, row);
		add(product, i, rows + (size_t) i * DIM);
	}
	link_all(equal);
	link_all(product);
	assert_int_equal(atomic_load(&equal->spread), 0);
	assert_int_equal(atomic_load(&product->spread), 0);
	assert_int_equal(search(equal, row, K, 20, hits), K);
	assert_true(hits[K - 1].distance == 0);
	assert_int_equal(search(product, rows, K, 20, hits), K);

	/* Nor does one that was learnt before do harm among equal ones. */
	reach_restore(equal, SPREAD_ONE / 10);
	assert_int_equal(search(equal, row, K, 20, hits), K);
	assert_int_equal(search(equal, rows, K, 20, hits), K);
	hnsw_destroy(equal);
	hnsw_destroy(product);
	free(rows);
}

/* What all queries cost together, and the most that one did. */
static double
costs(Hnsw *h, const float *queries, uint32_t ef, uint64_t *most)
{
	uint64_t	sum = 0;

	*most = 0;
	for (int q = 0; q < QUERIES; q++)
	{
		HnswCost	cost = {0};
		HnswHit		hits[K];
		HnswSearch	s = {.query = queries + q * DIM, .k = K, .ef = ef, .cost = &cost};

		assert_int_equal(hnsw_search(h, &s, hits), K);
		sum += cost.distances;
		*most = cost.distances > *most ? cost.distances : *most;
	}
	return (double) sum / QUERIES;
}

static void
finds_more_for_the_same(void **state)
{
	static const struct
	{
		VecMetric	metric;
		HnswCodes	codes;
	}			kinds[] = {
		{VEC_L2, HNSW_CODES_NONE}, {VEC_COSINE, HNSW_CODES_INT8}, {VEC_L1, HNSW_CODES_NONE},
		{VEC_L1, HNSW_CODES_INT8},
	};
	float	   *rows = clustered(1, N);
	float	   *queries = clustered(1234, QUERIES);
	uint8_t    *gone = calloc(N, 1);
	double		all_plain = 0;
	double		all_now = 0;

	(void) state;
	assert_non_null(gone);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int dying = 0; dying < 2; dying++)
		{
			Hnsw	   *h = create(kinds[k].metric, kinds[k].codes);
			uint32_t	spread;
			uint64_t	most_plain;
			uint64_t	most;
			double		plain;
			double		mean;
			double		recall_plain;
			double		recall_now;

			link_rows(h, rows, N);
			for (uint32_t i = 0; i < N; i++)
				if ((gone[i] = dying && i % 3 == 0))
					assert_true(hnsw_delete(h, i));
			spread = atomic_load(&h->spread);
			assert_in_range(spread, SPREAD_LEAST, SPREAD_MOST);
			atomic_store(&h->spread, 0);
			plain = costs(h, queries, EF, &most_plain);
			recall_plain = recall(h, kinds[k].metric, rows, N, gone, EF);
			atomic_store(&h->spread, spread);
			mean = costs(h, queries, EF, &most);
			recall_now = recall(h, kinds[k].metric, rows, N, gone, EF);
			assert_true(mean < 1.1 * plain);
			assert_true(recall_now > recall_plain - 0.003);
			all_plain += recall_plain;
			all_now += recall_now;
			assert_true(most < 1.5 * (double) most_plain);
			hnsw_destroy(h);
		}
	assert_true(all_now > all_plain);
	free(rows);
	free(queries);
	free(gone);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_kth_is_kept),
		cmocka_unit_test(the_spread_is_learnt),
		cmocka_unit_test(what_has_no_spread),
		cmocka_unit_test(finds_more_for_the_same),
	};

	return cmocka_run_group_tests_name("hnsw_reach", tests, NULL, NULL);
}
