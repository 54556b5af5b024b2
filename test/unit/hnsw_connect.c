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
#include "hnsw/walk.h"

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
	uint64_t	begin;
	Hnsw	   *h;
	VtError		err = {0};

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < N - 200; i++)
		add(h, &prng, i);
	mend(h);
	for (uint32_t i = N - 200; i < N - 1; i++)
	{
		h->connect_rest = UINT64_MAX;	/* however slow this machine is */
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

	/* The last of them is seen to after a rest, and there is another one then. */
	add(h, &prng, N - 1);
	h->connect_rest = UINT64_MAX;
	for (int i = 0; i < 10; i++)
		assert_false(hnsw_repair(h, UINT32_MAX, false));
	begin = walk_clock_ns();
	h->connect_rest = begin;
	assert_true(hnsw_repair(h, UINT32_MAX, false));
	mend(h);
	assert_in_range(h->connect_rest, begin + 1, walk_clock_ns() + 100 * (walk_clock_ns() - begin));
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

static Hnsw *
small(uint32_t n)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 4, .ef_construction = 40, .seed = 3};
	Prng		prng = {11};
	Hnsw	   *h;
	VtError		err = {0};

	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < n; i++)
		add(h, &prng, i);
	mend(h);
	return h;
}

static void
put_link(Hnsw *h, uint32_t from, uint32_t place, uint32_t to)
{
	atomic_store(&graph_ground(h, from)[place], to);
}

/* Nobody links to it any more, as if memory had failed. */
static void
lose(Hnsw *h, uint32_t n, uint32_t lost)
{
	for (uint32_t slot = 0; slot < n; slot++)
	{
		uint32_t	list[2 * HNSW_MAX_M];
		uint32_t	kept = 0;
		uint32_t	len = graph_copy_links(h, slot, 0, list);

		for (uint32_t i = 0; i < len; i++)
			if (list[i] != lost)
				put_link(h, slot, kept++, list[i]);
		while (kept < h->m0)
			put_link(h, slot, kept++, NO_SLOT);
	}
}

/* Damage in memory: it is found when somebody has the graph looked over, and mended. */
static void
looked_over(void **state)
{
	Hnsw	   *h = small(1000);
	uint32_t	empty;
	HnswReport	report;
	HnswStats	before;
	HnswStats	after;
	VtError		err = {0};

	(void) state;
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.unreachable, 0);
	hnsw_stats(h, &before);
	assert_true(before.looks > 0);
	assert_int_equal(before.broken_links, 0);
	lose(h, 1000, 500);
	assert_int_equal(hnsw_reserve(h, &empty, &err), VT_OK);
	put_link(h, 700, 0, empty);
	put_link(h, 701, 0, UINT32_MAX - 1);
	put_link(h, 500, 0, UINT32_MAX - 1);
	assert_false(hnsw_check(h, &report));
	mend(h);
	hnsw_stats(h, &after);
	assert_int_equal(after.looks, before.looks);

	hnsw_look_over(h);
	mend(h);
	hnsw_stats(h, &after);
	assert_int_equal(after.looks, before.looks + 1);
	assert_int_equal(after.broken_links, 3);
	assert_int_equal(after.unreachable, 0);
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.unreachable, 0);

	hnsw_look_over(h);
	mend(h);
	hnsw_stats(h, &after);
	assert_int_equal(after.broken_links, 0);
	hnsw_destroy(h);
}

/* Nowhere is a place for a link to it: it is counted. */
static void
cannot_be_led_to(void **state)
{
	const uint32_t n = 60;
	const uint32_t lost = 30;
	Hnsw	   *h = small(n);
	HnswReport	report;
	HnswStats	stats;

	(void) state;
	for (uint32_t slot = 0; slot < n; slot++)
		for (uint32_t i = 0, to = slot; i < h->m0; i++)
		{
			do
				to = (to + 1) % n;
			while (to == lost);
			put_link(h, slot, i, to);
		}
	assert_true((uint32_t) atomic_load(&h->entry) != lost);
	hnsw_look_over(h);
	mend(h);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.unreachable, 1);
	assert_int_equal(stats.broken_links, 0);
	(void) hnsw_check(h, &report);
	assert_int_equal(report.no_inlink, 1);
	hnsw_destroy(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_again),
		cmocka_unit_test(trickle_rests),
		cmocka_unit_test(once_is_enough),
		cmocka_unit_test(looked_over),
		cmocka_unit_test(cannot_be_led_to),
	};

	return cmocka_run_group_tests_name("hnsw_connect", tests, NULL, NULL);
}
