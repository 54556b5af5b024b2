/*-------------------------------------------------------------------------
 *
 * hnsw_connect.c
 *	  What walks do not come to, or hardly, is linked once more.
 *
 * Tight groups and few links are what loses nodes.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/prng.h"
#include "hnsw/graph.h"

#define DIM 4
#define N 3000

static float vectors[N][DIM];

static void
add(Hnsw *h, Prng *prng, uint32_t i)
{
	uint32_t	slot;
	VtError		err = {0};

	for (int k = 0; k < DIM; k++)
		vectors[i][k] = (float) (i % 30 * 100 * (k == 0) + prng_double(prng));
	assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
	hnsw_add(h, slot, i, vectors[i]);
	assert_true(hnsw_link_next(h));
}

static uint32_t
missed(Hnsw *h, uint32_t n)
{
	uint32_t	misses = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		HnswHit		hit[20];
		HnswSearch	search = {.query = vectors[i], .k = 20, .ef = 20};

		misses += hnsw_search(h, &search, hit) == 0 || hit[0].label != i;
	}
	return misses;
}

static void
mend(Hnsw *h)
{
	/* Twice: a graph that stands still is seen by the second. */
	for (int i = 0; i < 2; i++)
		while (hnsw_repair(h, 100, false))
			;
}

static void
found_again(void **state)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 2, .ef_construction = 10, .seed = 3};
	Prng		prng = {9};
	HnswReport	report;
	uint32_t	before;
	Hnsw	   *h;
	VtError		err = {0};

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < N - 50; i++)
		add(h, &prng, i);
	assert_true(hnsw_check(h, &report));
	assert_true(report.unreachable > 0);
	before = missed(h, N - 50);
	mend(h);
	print_message("%u of %d not found by themselves, %u after mending\n", before, N - 50, missed(h, N - 50));
	assert_true(missed(h, N - 50) < before);
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.unreachable, 0);

	/* A few more, less than an eighth: seen to when they stop coming. */
	for (uint32_t i = N - 50; i < N; i++)
		add(h, &prng, i);
	mend(h);
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.unreachable, 0);
	hnsw_destroy(h);
}

/*
 * A pass reads the whole graph, so single vectors that come one after the other do
 * not get one each.
 */
static void
trickle_rests(void **state)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 8, .ef_construction = 40, .seed = 3};
	Prng		prng = {10};
	uint32_t	passes = 0;
	uint64_t	tries = 0;
	Hnsw	   *h;
	VtError		err = {0};

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < N - 200; i++)
		add(h, &prng, i);
	mend(h);
	for (uint32_t i = N - 200; i < N - 1; i++)
	{
		add(h, &prng, i);
		for (int k = 0; k < 2; k++)
			if (hnsw_repair(h, UINT32_MAX, false))
			{
				passes++;
				while (hnsw_repair(h, UINT32_MAX, false))
					;
			}
	}
	print_message("%u passes for 199 vectors, one by one\n", passes);
	assert_in_range(passes, 3, 60);

	/* The last of them is seen to after a rest. */
	add(h, &prng, N - 1);
	(void) hnsw_repair(h, UINT32_MAX, false);
	while (!hnsw_repair(h, UINT32_MAX, false))
		assert_true(++tries < UINT32_MAX);
	hnsw_destroy(h);
}

/* What a pass could do it has done: another, over the same graph, finds next to nothing. */
static void
once_is_enough(void **state)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 2, .ef_construction = 10, .seed = 3};
	Prng		prng = {9};
	HnswStats	before;
	HnswStats	first;
	HnswStats	second;
	Hnsw	   *h;
	VtError		err = {0};

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < N; i++)
		add(h, &prng, i);
	hnsw_stats(h, &before);
	mend(h);
	hnsw_stats(h, &first);
	h->connect_due = true;
	mend(h);
	hnsw_stats(h, &second);
	print_message("linked again: %llu, then %llu\n", (unsigned long long) (first.repaired - before.repaired),
				  (unsigned long long) (second.repaired - first.repaired));
	assert_true(first.repaired > before.repaired);
	assert_true((second.repaired - first.repaired) * 20 <= first.repaired - before.repaired);
	hnsw_destroy(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_again),
		cmocka_unit_test(trickle_rests),
		cmocka_unit_test(once_is_enough),
	};

	return cmocka_run_group_tests_name("hnsw_connect", tests, NULL, NULL);
}
