/*-------------------------------------------------------------------------
 *
 * hnsw_door.c
 *	  What hnsw.h promises, by one thread: each test is a paragraph of it.
 *
 * Corners that were once turned wrongly are in hnsw_corners.c.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#define ROWS 4000

static const VecMetric metrics[] = {VEC_L2, VEC_IP, VEC_COSINE, VEC_L1};
static const HnswCodes codings[] = {HNSW_CODES_NONE, HNSW_CODES_INT8};

static void
finds_what_a_scan_finds(void **state)
{
	float	   *rows = clustered(1, ROWS);

	(void) state;
	for (size_t c = 0; c < sizeof(codings) / sizeof(codings[0]); c++)
		for (size_t m = 0; m < sizeof(metrics) / sizeof(metrics[0]); m++)
		{
			Hnsw	   *h = create(metrics[m], codings[c]);
			HnswReport	report;
			double		r;

			link_rows(h, rows, ROWS);
			assert_sound(h);
			assert_true(hnsw_check(h, &report));
			assert_int_equal(report.nodes, ROWS);
			/* By inner product short vectors are nobody's neighbours. */
			assert_true(report.unreachable * (metrics[m] == VEC_IP ? 20 : 1000) <= ROWS);
			r = recall(h, metrics[m], rows, ROWS, NULL, 100);
			if (r < 0.95)
				fail_msg("%s, coding %d: recall %.3f", vec_metric_name(metrics[m]), codings[c], r);
			hnsw_destroy(h);
		}
	free(rows);
}

/* Before any linking, and half way, what was added is found, exactly. */
static void
added_is_found_at_once(void **state)
{
	float	   *rows = clustered(2, 600);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);

	(void) state;
	for (uint32_t i = 0; i < 600; i++)
	{
		HnswHit		hit;

		add(h, i, rows + (size_t) i * DIM);
		assert_int_equal(search(h, rows + (size_t) i * DIM, 1, 10, &hit), 1);
		assert_int_equal(hit.label, i);
		if (i % 3 == 0)
			assert_true(hnsw_link_next(h));
	}
	assert_true(recall(h, VEC_L2, rows, 600, NULL, 100) >= 0.99);
	link_all(h);
	assert_false(hnsw_link_next(h));
	assert_true(recall(h, VEC_L2, rows, 600, NULL, 100) >= 0.99);
	assert_sound(h);
	hnsw_destroy(h);
	free(rows);
}

static bool
label_is_none(void *arg, uint64_t label, uint32_t slot)
{
	(void) arg;
	(void) label;
	(void) slot;
	return false;
}

/* Fewer than k only when no more were live and passed, however rare they are. */
static void
filter_starves_nobody(void **state)
{
	float	   *rows = clustered(5, ROWS);
	float	   *queries = clustered(6, 20);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);

	(void) state;
	link_rows(h, rows, ROWS);
	for (int q = 0; q < 20; q++)
	{
		uint64_t	many = 2;
		HnswSearch	s = {.query = queries + q * DIM, .k = K, .ef = 50, .filter = label_is_one_of, .filter_arg = &many};
		HnswHit		hits[K];

		assert_int_equal(hnsw_search(h, &s, hits), K);
		for (int i = 0; i < K; i++)
			assert_int_equal(hits[i].label % 2, 1);
		many = 500;				/* 8 of 4000 */
		assert_int_equal(hnsw_search(h, &s, hits), ROWS / 500);
		for (int i = 0; i < ROWS / 500; i++)
			assert_int_equal(hits[i].label % 500, 3);
		assert_hits(h, VEC_L2, s.query, hits, ROWS / 500);
		s.filter = label_is_none;
		assert_int_equal(hnsw_search(h, &s, hits), 0);
	}
	hnsw_destroy(h);
	free(rows);
	free(queries);
}

/* Dead at once, linked or waiting, and only once; k is still filled. */
static void
deleted_is_hidden_at_once(void **state)
{
	float	   *rows = clustered(7, ROWS);
	uint8_t    *gone = calloc(ROWS, 1);
	uint32_t   *slots = malloc(ROWS * sizeof(*slots));
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	HnswStats	stats;
	Prng		prng = {8};

	(void) state;
	assert_true(gone && slots);
	for (uint32_t i = 0; i < ROWS; i++)
		slots[i] = add(h, i, rows + (size_t) i * DIM);
	for (uint32_t i = 0; i < ROWS - 200; i++)	/* 200 go on waiting */
		assert_true(hnsw_link_next(h));
	for (uint32_t n = 0; n < ROWS / 2; n++)
	{
		uint32_t	i = prng_below(&prng, ROWS);
		HnswHit		hits[K];
		uint32_t	found;

		assert_int_equal(hnsw_live(h, slots[i]), !gone[i]);
		assert_int_equal(hnsw_delete(h, slots[i]), !gone[i]);
		gone[i] = 1;
		assert_false(hnsw_live(h, slots[i]));
		found = search(h, rows + (size_t) i * DIM, K, 20, hits);
		assert_int_equal(found, K);
		for (uint32_t j = 0; j < found; j++)
			assert_false(gone[hits[j].label]);
	}
	link_all(h);
	assert_sound(h);
	assert_true(recall(h, VEC_L2, rows, ROWS, gone, 100) >= 0.95);

	/* A repair makes the slots free and loses nothing. */
	while (hnsw_repair(h, 500, true))
		;
	hnsw_stats(h, &stats);
	assert_int_equal(stats.dead, 0);
	assert_true(stats.free > 0);
	assert_int_equal(stats.live + stats.free, stats.used);
	assert_sound(h);
	assert_true(recall(h, VEC_L2, rows, ROWS, gone, 100) >= 0.95);

	/* Freed slots serve again; the graph grows no further. */
	for (uint32_t i = 0; i < ROWS; i++)
		if (gone[i])
		{
			add(h, i, rows + (size_t) i * DIM);
			gone[i] = 0;
		}
	link_all(h);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.used, ROWS);
	assert_int_equal(stats.live, ROWS);
	assert_sound(h);
	assert_true(recall(h, VEC_L2, rows, ROWS, gone, 100) >= 0.95);
	hnsw_destroy(h);
	free(slots);
	free(gone);
	free(rows);
}

/* A caller who knows how many pass is asked about fewer slots, and is told the same. */
static void
passes_as_the_caller_says(void **state)
{
	float	   *rows = clustered(63, ROWS);
	float	   *queries = clustered(64, 20);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	uint64_t	asked[2] = {0, 0};

	(void) state;
	link_rows(h, rows, ROWS);
	for (int q = 0; q < 20; q++)
	{
		HnswHit		hits[2][K];

		for (int knows = 0; knows < 2; knows++)
		{
			HnswCost	cost = {0};
			uint64_t	many = 2;
			HnswSearch	s = {.query = queries + q * DIM, .k = K, .ef = 50, .filter = label_is_one_of, .filter_arg = &many, .passes = 0.5 * knows,
				.cost = &cost};

			assert_int_equal(hnsw_search(h, &s, hits[knows]), K);
			asked[knows] += cost.asked;
		}
		assert_memory_equal(hits[0], hits[1], sizeof(hits[0]));
	}
	assert_true(asked[1] + 20 * 256 <= asked[0]);
	hnsw_destroy(h);
	free(queries);
	free(rows);
}

/* Calibrated searches find what they should; asking for more costs more. */
static void
calibrated_to_a_recall(void **state)
{
	float	   *rows = clustered(61, 8000);

	(void) state;
	for (int codes = HNSW_CODES_NONE; codes <= HNSW_CODES_INT8; codes++)
	{
		HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 5, .ef_construction = 40,
			.codes = (HnswCodes) codes, .seed = 7};
		Hnsw	   *h;
		VtError		err;
		uint32_t	some;
		uint32_t	most;

		assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
		assert_int_equal(hnsw_calibrate(h, K, 0.99), K);
		link_rows(h, rows, 8000);
		some = hnsw_calibrate(h, K, 0.90);
		most = hnsw_calibrate(h, K, 0.99);
		assert_true(some >= K && most > some && most <= 600);
		assert_true(recall(h, VEC_L2, rows, 8000, NULL, some) >= 0.87);
		assert_true(recall(h, VEC_L2, rows, 8000, NULL, some) < 0.99);
		assert_true(recall(h, VEC_L2, rows, 8000, NULL, most) >= 0.98);

		/* Even all of them are too few for certainty that cannot be. */
		assert_true(hnsw_calibrate(h, K, 1.1) >= 550);
		hnsw_destroy(h);
	}
	free(rows);
}

/* The new version is found at its place, the old one nowhere, linked or not. */
static void
replaced_comes_once(void **state)
{
	float	   *rows = clustered(9, 1000);
	float	   *later = clustered(10, 1000);
	uint32_t   *slots = malloc(1000 * sizeof(*slots));
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	HnswStats	stats;
	VtError		err;

	(void) state;
	assert_non_null(slots);
	for (uint32_t i = 0; i < 1000; i++)
		slots[i] = add(h, i, rows + (size_t) i * DIM);
	for (uint32_t i = 0; i < 700; i++)
		assert_true(hnsw_link_next(h));
	for (uint32_t i = 0; i < 1000; i++)
	{
		uint32_t	slot;
		HnswHit		hits[3];

		assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
		hnsw_replace(h, slots[i], slot, i, later + (size_t) i * DIM);
		assert_false(hnsw_live(h, slots[i]));
		assert_true(hnsw_live(h, slot));
		assert_int_equal(search(h, later + (size_t) i * DIM, 3, 50, hits), 3);
		assert_int_equal(hits[0].slot, slot);
		assert_true(hits[1].label != i && hits[2].label != i);
		assert_int_equal(search(h, rows + (size_t) i * DIM, 1, 50, hits), 1);
		assert_true(hits[0].distance > 0);
	}
	link_all(h);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.live, 1000);
	assert_sound(h);
	assert_true(recall(h, VEC_L2, later, 1000, NULL, 100) >= 0.95);
	hnsw_destroy(h);
	free(slots);
	free(later);
	free(rows);
}

/*
 * Read to its end, a cursor returns everything that lived all the time, once;
 * batches are ordered.  Some rows wait, some die in the middle of it.
 */
static void
cursor_returns_all_once(void **state)
{
	float	   *rows = clustered(11, 3000);
	uint32_t   *slots = malloc(3000 * sizeof(*slots));
	uint8_t    *seen = calloc(3001, 1);
	Hnsw	   *h = create(VEC_COSINE, HNSW_CODES_INT8);
	HnswSearch	s = {.query = rows + 17 * DIM, .k = 20, .ef = 20};
	HnswHit		hits[64];
	HnswHit		first[20];
	HnswCursor *cursor;
	uint32_t	n;
	uint32_t	batches = 0;

	(void) state;
	assert_true(slots && seen);
	for (uint32_t i = 0; i < 3000; i++)
		slots[i] = add(h, i, rows + (size_t) i * DIM);
	for (uint32_t i = 0; i < 2900; i++)
		assert_true(hnsw_link_next(h));
	for (uint32_t i = 0; i < 100; i++)
		assert_true(hnsw_delete(h, slots[i * 30 + 1]));

	cursor = hnsw_cursor_open(h, &s);
	do
	{
		uint32_t	want = 1 + batches++ % 64;

		n = hnsw_cursor_next(cursor, hits, want);
		assert_true(n <= want);
		assert_hits(h, VEC_COSINE, s.query, hits, n);
		for (uint32_t i = 0; i < n; i++)
		{
			assert_false(seen[hits[i].label]);
			seen[hits[i].label] = 1;
			assert_true(hnsw_live(h, hits[i].slot));
		}
		if (batches == 1)
			assert_int_equal(hits[0].label, 17);
		if (batches == 10)
		{
			for (uint32_t i = 0; i < 100; i++)
				hnsw_delete(h, slots[i * 30 + 2]);
			add(h, 3000, rows);	/* comes too late for this cursor */
			link_all(h);
		}
		if (n < want)
			break;
	} while (batches < 10000);
	assert_int_equal(hnsw_cursor_next(cursor, hits, 64), 0);
	hnsw_cursor_close(cursor);
	for (uint32_t i = 0; i < 3000; i++)
	{
		if (i % 30 == 1)
			assert_false(seen[i]);
		else if (i % 30 != 2)
			assert_true(seen[i]);
	}
	assert_false(seen[3000]);

	/* The first batch of a cursor is what a search returns. */
	n = search(h, s.query, 20, 100, first);
	s.ef = 100;
	cursor = hnsw_cursor_open(h, &s);
	assert_int_equal(hnsw_cursor_next(cursor, hits, 20), n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(hits[i].slot, first[i].slot);
	hnsw_cursor_close(cursor);
	hnsw_destroy(h);
	free(slots);
	free(seen);
	free(rows);
}

/* Adds, deletes, replacements, links and repairs at random; exact scans agree. */
static void
random_life_keeps_the_books(void **state)
{
	enum {IDS = 800, STEPS = 12000};
	float	   *rows = calloc(IDS * DIM, sizeof(float));
	float	   *fresh = clustered(13, STEPS);
	uint32_t   *slots = malloc(IDS * sizeof(*slots));
	uint8_t    *gone = malloc(IDS);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	Prng		prng = {14};
	uint32_t	live = 0;
	VtError		err;
	HnswStats	stats;

	(void) state;
	assert_true(rows && slots && gone);
	memset(gone, 1, IDS);
	for (uint32_t step = 0; step < STEPS; step++)
	{
		uint32_t	id = prng_below(&prng, IDS);
		const float *vector = fresh + (size_t) step * DIM;
		uint32_t	what = prng_below(&prng, 100);
		uint32_t	slot;

		if (what < 15 && step > 100)	/* an equal vector, now and then */
			vector = rows + (size_t) prng_below(&prng, IDS) * DIM;
		if (what < 60)
		{
			if (gone[id] && vector >= rows && vector < rows + IDS * DIM)
				vector = fresh + (size_t) step * DIM;
			assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
			if (gone[id])
				hnsw_add(h, slot, id, vector);
			else
				hnsw_replace(h, slots[id], slot, id, vector);
			live += gone[id];
			gone[id] = 0;
			slots[id] = slot;
			hnsw_read_vector(h, slot, rows + (size_t) id * DIM);
		}
		else if (what < 80 && !gone[id])
		{
			assert_true(hnsw_delete(h, slots[id]));
			gone[id] = 1;
			live--;
		}
		else if (what < 82)
			hnsw_repair(h, 200, prng_below(&prng, 2));
		if (prng_below(&prng, 100) < 70)
			hnsw_link_next(h);
		if (step % 50 == 0)
		{
			HnswHit		want[K];
			HnswHit		hits[K];
			HnswSearch	s = {.query = vector, .k = K, .ef = 200};
			uint32_t	n = nearest(VEC_L2, rows, IDS, vector, gone, K, want);

			assert_int_equal(hnsw_scan_exact(h, &s, hits), n);
			for (uint32_t i = 0; i < n; i++)
			{
				assert_int_equal(hits[i].label, want[i].label);
				assert_int_equal(hits[i].slot, slots[want[i].label]);
			}
			assert_int_equal(hnsw_search(h, &s, hits), n);
			assert_hits(h, VEC_L2, vector, hits, n);
			for (uint32_t i = 0; i < n; i++)
				assert_int_equal(hits[i].slot, slots[hits[i].label]);
		}
		if (step % 1000 == 0)
			assert_sound(h);
	}
	hnsw_stats(h, &stats);
	assert_int_equal(stats.live, live);
	link_all(h);
	assert_true(recall(h, VEC_L2, rows, IDS, gone, 100) >= 0.95);
	while (hnsw_repair(h, 1000, true))
		;
	assert_sound(h);
	assert_true(recall(h, VEC_L2, rows, IDS, gone, 100) >= 0.95);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.dead, 0);
	hnsw_destroy(h);
	free(gone);
	free(slots);
	free(fresh);
	free(rows);
}

static void
small_graphs(void **state)
{
	float		zero[DIM] = {0};
	float	   *rows = clustered(15, 3);
	Hnsw	   *h = create(VEC_COSINE, HNSW_CODES_NONE);
	HnswHit		hits[8];
	HnswStats	stats;
	uint32_t	slot;
	VtError		err;

	(void) state;
	assert_int_equal(search(h, rows, 8, 8, hits), 0);
	assert_false(hnsw_link_next(h));
	assert_false(hnsw_repair(h, 100, true));
	assert_sound(h);

	/* The zero vector has no direction: it comes, and comes last. */
	add(h, 0, zero);
	add(h, 1, rows);
	add(h, 2, rows + DIM);
	for (int pass = 0; pass < 2; pass++)
	{
		assert_int_equal(search(h, rows, 8, 1, hits), 3);
		assert_int_equal(hits[0].label, 1);
		assert_int_equal(hits[2].label, 0);
		assert_true(isnan(hits[2].distance));
		link_all(h);
	}
	assert_sound(h);

	/* What was reserved and given back was never there. */
	assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
	assert_false(hnsw_live(h, slot));
	hnsw_unreserve(h, slot);
	assert_int_equal(search(h, rows, 8, 8, hits), 3);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.live, 3);

	/* The last one dies, another comes. */
	for (uint32_t i = 0; i < 3; i++)
		assert_true(hnsw_delete(h, hits[i].slot));
	assert_int_equal(search(h, rows, 8, 8, hits), 0);
	while (hnsw_repair(h, 100, true))
		;
	assert_sound(h);
	add(h, 5, rows + 2 * DIM);
	link_all(h);
	assert_int_equal(search(h, rows, 8, 8, hits), 1);
	assert_int_equal(hits[0].label, 5);
	assert_sound(h);
	hnsw_destroy(h);
	hnsw_destroy(NULL);
	free(rows);
}

static void
limits_are_kept(void **state)
{
	HnswOptions good = {.dim = DIM, .metric = VEC_L2, .m = 4, .ef_construction = 10, .max_slots = 3};
	HnswOptions bad;
	float		zero[DIM] = {0};
	uint32_t	slot;
	Hnsw	   *h;
	VtError		err;

	(void) state;
#define REFUSED(field, value) \
	do { \
		bad = good; \
		bad.field = (value); \
		assert_int_equal(hnsw_create(&bad, &h, &err), VT_INVALID); \
		assert_true(err.msg[0] != 0); \
	} while (0)
	REFUSED(dim, VEC_MAX_DIM + 1);
	REFUSED(metric, (VecMetric) 0);
	REFUSED(metric, (VecMetric) 5);
	REFUSED(m, HNSW_MIN_M - 1);
	REFUSED(m, HNSW_MAX_M + 1);
	REFUSED(codes, (HnswCodes) 3);
	REFUSED(max_slots, HNSW_MAX_SLOTS + 1);

	/* Where there are no vectors there are no codes, and no elements of another kind. */
	good.dim = 0;
	REFUSED(codes, HNSW_CODES_INT8);
	REFUSED(element, VEC_FLOAT16);
	good.dim = DIM;
#undef REFUSED

	assert_int_equal(hnsw_create(&good, &h, &err), VT_OK);
	for (int i = 0; i < 3; i++)
		add(h, (uint64_t) i, zero);
	assert_int_equal(hnsw_reserve(h, &slot, &err), VT_FULL);
	link_all(h);
	assert_sound(h);
	hnsw_destroy(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(small_graphs),
		cmocka_unit_test(added_is_found_at_once),
		cmocka_unit_test(finds_what_a_scan_finds),
		cmocka_unit_test(filter_starves_nobody),
		cmocka_unit_test(deleted_is_hidden_at_once),
		cmocka_unit_test(passes_as_the_caller_says),
		cmocka_unit_test(calibrated_to_a_recall),
		cmocka_unit_test(replaced_comes_once),
		cmocka_unit_test(cursor_returns_all_once),
		cmocka_unit_test(random_life_keeps_the_books),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
