/*-------------------------------------------------------------------------
 *
 * hnsw_corners.c
 *	  Corners of the graph: what only goes wrong when several rare things meet.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

/*
 * 1 500 vectors so alike that their codes are the same: no trap either, and
 * each can be reached.
 */
static void
equal_codes_are_no_trap(void **state)
{
	float	   *rows = clustered(23, 600);
	float	   *alike = clustered(24, 1);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	uint32_t	least = 0;
	uint32_t	most = 0;
	HnswReport	report;
	HnswHit		hits[1600];

	(void) state;
	for (uint32_t i = 1; i < DIM; i++)
	{
		least = alike[i] < alike[least] ? i : least;
		most = alike[i] > alike[most] ? i : most;
	}
	for (uint32_t i = 0; i < 300; i++)
		add(h, i, rows + (size_t) i * DIM);
	for (uint32_t i = 0; i < 1500; i++)
	{
		float		row[DIM];

		memcpy(row, alike, sizeof(row));
		for (uint32_t j = 0; j < DIM; j++)
			if (j != least && j != most)
				row[j] += (float) i * 1e-7f;
		add(h, 10000 + i, row);
	}
	for (uint32_t i = 300; i < 600; i++)
		add(h, i, rows + (size_t) i * DIM);
	link_all(h);
	assert_sound(h);
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.unreachable, 0);
	for (uint32_t i = 0; i < 600; i++)
	{
		assert_int_equal(search(h, rows + (size_t) i * DIM, 1, 64, hits), 1);
		assert_int_equal(hits[0].label, i);
	}
	assert_int_equal(search(h, alike, 1500, 1600, hits), 1500);
	for (uint32_t i = 0; i < 1500; i++)
		assert_true(hits[i].label >= 10000);
	hnsw_destroy(h);
	free(rows);
	free(alike);
}

/*
 * Vectors of ones and zeros: distances are few, many are equal, and those that
 * share one are different vectors.
 */
static void
few_distances_are_enough(void **state)
{
	enum {BITS = 6000};
	float	   *rows = malloc(BITS * DIM * sizeof(float));
	Prng		prng = {31};

	(void) state;
	assert_non_null(rows);
	for (uint32_t i = 0; i < BITS * DIM; i++)
		rows[i] = (float) prng_below(&prng, 2);
	for (int codes = HNSW_CODES_NONE; codes <= HNSW_CODES_INT8; codes++)
	{
		Hnsw	   *h = create(VEC_L2, (HnswCodes) codes);
		HnswReport	report;
		int			right = 0;

		link_rows(h, rows, BITS);
		assert_sound(h);
		assert_true(hnsw_check(h, &report));
		assert_int_equal(report.unreachable, 0);
		for (int q = 0; q < QUERIES; q++)
		{
			float		query[DIM];
			HnswHit		truth[K];
			HnswHit		hits[K];

			for (int i = 0; i < DIM; i++)
				query[i] = (float) prng_below(&prng, 2);
			nearest(VEC_L2, rows, BITS, query, NULL, K, truth);
			assert_int_equal(search(h, query, K, 100, hits), K);
			for (int i = 0; i < K; i++)
				right += hits[i].distance <= truth[K - 1].distance;
		}
		if (right < QUERIES * K * 95 / 100)
			fail_msg("coding %d: recall %d of %d", codes, right, QUERIES * K);
		hnsw_destroy(h);
	}
	free(rows);
}

/*
 * One number is so large that the steps between codes hide what tells the vectors
 * apart.  Exact distances are measured as far as that goes, so the right ones come.
 */
static void
coarse_codes_hide_nothing(void **state)
{
	enum {FEW = 100};
	static const VecMetric metrics[] = {VEC_L2, VEC_L1};
	Prng		prng = {37};
	float		rows[FEW * DIM];

	(void) state;
	for (int m = 0; m < 2; m++)
		for (int turn = 0; turn < 50; turn++)
		{
			Hnsw	   *h = create(metrics[m], HNSW_CODES_INT8);
			HnswHit		truth[5];
			HnswHit		hits[5];

			/* A step is 4 wide; from turn to turn the others are apart from a part of it to several. */
			for (uint32_t i = 0; i < FEW; i++)
			{
				for (int d = 0; d < DIM; d++)
					rows[i * DIM + (uint32_t) d] = d == 0 ? 1020 : (float) (prng_double(&prng) * (1 + turn % 10));
				add(h, i, rows + (size_t) i * DIM);
			}
			link_all(h);
			while (hnsw_repair(h, 1000, true))
				;
			for (int q = 0; q < 10; q++)
			{
				const float *query = rows + (size_t) q * DIM;

				nearest(metrics[m], rows, FEW, query, NULL, 5, truth);
				assert_int_equal(search(h, query, 5, 200, hits), 5);
				for (int i = 0; i < 5; i++)
					assert_int_equal(hits[i].label, truth[i].label);
			}
			hnsw_destroy(h);
		}
}

/*
 * Vectors far from zero, beside which their differences are small, are told apart by
 * their codes as well as those around zero.
 */
static void
far_from_zero_is_as_near(void **state)
{
	enum {MANY = 4000};
	static const HnswCodes codes[] = {HNSW_CODES_INT8, HNSW_CODES_INT8_ONLY};
	float	   *rows = clustered(5, MANY);
	float	   *queries = clustered(1234, QUERIES);
	float		before = 0;

	(void) state;
	for (int far = 0; far < 3; far++)
	{
		float		to = (float[]) {0, 1000, -3000}[far];

		for (int i = 0; i < MANY * DIM; i++)
			rows[i] += to - before;
		for (int i = 0; i < QUERIES * DIM; i++)
			queries[i] += to - before;
		before = to;
		for (int c = 0; c < 2; c++)
		{
			Hnsw	   *h = create(VEC_L2, codes[c]);
			int			right = 0;

			link_rows(h, rows, MANY);
			for (int q = 0; q < QUERIES; q++)
			{
				HnswHit		truth[K];
				HnswHit		hits[K];

				nearest(VEC_L2, rows, MANY, queries + q * DIM, NULL, K, truth);
				assert_int_equal(search(h, queries + q * DIM, K, 100, hits), K);
				for (int i = 0; i < K; i++)
					for (int k = 0; k < K; k++)
						right += hits[i].label == truth[k].label;
			}
			/* Codes alone order what lies closely together by what they stand for. */
			assert_in_range(right, codes[c] == HNSW_CODES_INT8 ? QUERIES * K * 98 / 100 : QUERIES * K * 90 / 100, QUERIES * K);
			hnsw_destroy(h);
		}
	}
	free(queries);
	free(rows);
}

/*
 * In tight groups far apart lists lose the last link to a node now and then; a
 * repair finds those and links them once more, while others die as well.
 */
static void
lost_nodes_are_linked_again(void **state)
{
	enum {GROUPS = 100, MEMBERS = 80};
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 4, .ef_construction = 20, .seed = 3};
	Hnsw	   *h;
	HnswReport	report;
	Prng		prng = {5};
	float		centres[GROUPS][DIM];
	VtError		err;

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (int g = 0; g < GROUPS; g++)
		for (int i = 0; i < DIM; i++)
			centres[g][i] = (float) prng_double(&prng) * 100;
	for (uint32_t row = 0; row < GROUPS * MEMBERS; row++)
	{
		float		vector[DIM];

		for (int i = 0; i < DIM; i++)
			vector[i] = centres[row % GROUPS][i] + (float) prng_double(&prng);
		add(h, row, vector);
	}
	link_all(h);
	assert_true(hnsw_check(h, &report));
	assert_true(report.unreachable > 0);
	while (hnsw_repair(h, 500, false))
		;
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.nodes, GROUPS * MEMBERS);
	assert_int_equal(report.unreachable, 0);

	/* Small batches of dead: mended each time, and what mending loses. */
	for (uint32_t slot = 0; slot < GROUPS * MEMBERS; slot += 3)
	{
		assert_true(hnsw_delete(h, slot));
		if (slot % 600 == 0)
			while (hnsw_repair(h, 500, true))
				;
	}
	while (hnsw_repair(h, 500, true))
		;
	assert_sound(h);
	assert_true(hnsw_check(h, &report));
	assert_int_equal(report.unreachable, 0);
	hnsw_destroy(h);
}

/* Everything dies, and before it is mended others come: they are found all the same. */
static void
a_new_crowd_among_the_dead(void **state)
{
	float	   *rows = clustered(23, 3000);
	uint8_t		gone[3000] = {0};

	(void) state;
	for (int codes = 0; codes < 2; codes++)
	{
		Hnsw	   *h = create(VEC_L2, codes ? HNSW_CODES_INT8 : HNSW_CODES_NONE);

		for (uint32_t i = 0; i < 1500; i++)
		{
			add(h, i, rows + (size_t) i * DIM);
			gone[i] = 1;
		}
		link_all(h);
		for (uint32_t i = 0; i < 1500; i++)
			assert_true(hnsw_delete(h, i));
		for (uint32_t i = 1500; i < 3000; i++)
			add(h, i, rows + (size_t) i * DIM);
		link_all(h);
		assert_sound(h);
		assert_true(recall(h, VEC_L2, rows, 3000, gone, 100) > 0.95);
		while (hnsw_repair(h, 1000, true))
			;
		assert_sound(h);
		assert_true(recall(h, VEC_L2, rows, 3000, gone, 100) > 0.95);
		hnsw_destroy(h);
	}
	free(rows);
}

/* What a search is asked while it is under way, and how often it may go on. */
typedef struct Patience
{
	Hnsw	   *h;
	uint32_t	calls;
	uint32_t	last;			/* call that ends it */
	uint64_t	bytes;			/* most memory seen */
} Patience;

static bool
patience_ends(void *arg)
{
	Patience   *patience = arg;
	HnswStats	stats;

	hnsw_stats(patience->h, &stats);
	patience->bytes = stats.bytes > patience->bytes ? stats.bytes : patience->bytes;
	return ++patience->calls >= patience->last;
}

/*
 * A search over what waits after a long load, and one that keeps very many, end when
 * nobody wants them any more; and what they remember meanwhile is counted.
 */
static void
long_searches_can_be_stopped(void **state)
{
	enum {MANY = 30000};
	float	   *rows = clustered(25, MANY);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	HnswHit		hit;
	HnswStats	before;
	HnswStats	after;

	(void) state;
	for (uint32_t i = 0; i < MANY; i++)
		add(h, i, rows + (size_t) i * DIM);
	for (int linked = 0; linked < 2; linked++)
	{
		Patience	patience = {.h = h, .last = 3};
		Patience	endless = {.h = h, .last = UINT32_MAX};
		HnswCost	cost = {0};
		HnswSearch	s = {.query = rows, .k = 1, .ef = linked ? MANY : 10, .cost = &cost,
			.stop = patience_ends, .stop_arg = &patience};

		if (linked)
			for (uint32_t i = 0; i < MANY / 4; i++)
				assert_true(hnsw_link_next(h));
		hnsw_stats(h, &before);
		(void) hnsw_search(h, &s, &hit);
		assert_in_range(patience.calls, 3, 5);
		assert_in_range(cost.distances, 1, linked ? MANY / 4 : 4096);
		if (!linked)
			assert_true(patience.bytes >= before.bytes + MANY * sizeof(uint32_t));

		s.stop_arg = &endless;
		assert_int_equal(hnsw_search(h, &s, &hit), 1);
		assert_int_equal(hit.label, 0);
		assert_true(endless.calls >= MANY / 2048);
		hnsw_stats(h, &after);
		assert_int_equal(after.bytes, before.bytes);
	}
	hnsw_destroy(h);
	free(rows);
}

/*
 * Whoever reads a cursor may lose patience at any time, in a walk or while all slots are
 * looked at: soon nothing more is done.
 */
static void
cursor_is_stopped(void **state)
{
	enum {N = 8000, STOP_EVERY = 1024};
	float	   *rows = clustered(32, N);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	Patience	patience = {.h = h, .last = UINT32_MAX};
	HnswCost	cost = {0};
	HnswSearch	s = {.query = rows, .k = 20, .ef = 20, .stop = patience_ends, .stop_arg = &patience, .cost = &cost};
	HnswHit    *hits = calloc(N, sizeof(HnswHit));
	HnswCursor *cursor;
	uint32_t	whole;
	uint32_t	n;

	(void) state;
	assert_non_null(hits);
	link_rows(h, rows, N);
	cursor = hnsw_cursor_open(h, &s);
	assert_int_equal(hnsw_cursor_next(cursor, hits, N), N);
	patience.calls = 0;
	assert_int_equal(hnsw_cursor_next(cursor, hits, N), 0);
	assert_true(patience.calls >= N / STOP_EVERY);	/* while it looked at all slots */
	hnsw_cursor_close(cursor);

	patience.calls = 0;
	cursor = hnsw_cursor_open(h, &s);
	while (hnsw_cursor_next(cursor, hits, N / 2) > 0)
		;
	whole = patience.calls;
	hnsw_cursor_close(cursor);
	assert_true(whole > N / STOP_EVERY);

	for (uint32_t last = 1; last <= whole; last++)
	{
		patience = (Patience) {.h = h, .last = last};
		cursor = hnsw_cursor_open(h, &s);
		while (patience.calls < last)
			(void) hnsw_cursor_next(cursor, hits, N / 2);
		assert_true(patience.calls <= last + 2);	/* at opening, and then */
		patience.calls = 0;
		cost.distances = 0;
		n = hnsw_cursor_next(cursor, hits, N / 2);
		assert_int_equal(n, 0);
		assert_int_equal(cost.distances, 0);
		hnsw_cursor_close(cursor);
	}
	hnsw_destroy(h);
	free(hits);
	free(rows);
}

/* A long queue takes memory; when it is short again that goes back. */
static void
memory_of_the_queue_goes_back(void **state)
{
	enum {MANY = 20000};
	float	   *rows = clustered(26, MANY);
	HnswStats	stats[2];
	HnswStats	queued;
	uint32_t	guard = 0;

	(void) state;
	for (int all_first = 0; all_first < 2; all_first++)
	{
		Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);

		for (uint32_t i = 0; i < MANY; i++)
		{
			add(h, i, rows + (size_t) i * DIM);
			if (!all_first)
				link_all(h);
		}
		hnsw_stats(h, &queued);
		link_all(h);
		if (all_first)
			guard = hnsw_enter(h);
		while (hnsw_repair(h, UINT32_MAX, true))
			;
		hnsw_stats(h, &stats[all_first]);
		if (all_first)
		{
			/* Not while somebody may look at it. */
			assert_true(stats[1].bytes > stats[0].bytes + MANY * sizeof(uint32_t));
			hnsw_leave(h, guard);
			while (hnsw_repair(h, UINT32_MAX, true))
				;
			hnsw_stats(h, &stats[1]);
			assert_int_equal(stats[1].bytes, stats[0].bytes);
			assert_true(queued.bytes > stats[1].bytes + MANY * sizeof(uint32_t));
		}
		add(h, MANY, rows);
		link_all(h);
		assert_sound(h);
		hnsw_destroy(h);
	}
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_of_the_queue_goes_back),
		cmocka_unit_test(long_searches_can_be_stopped),
		cmocka_unit_test(cursor_is_stopped),
		cmocka_unit_test(equal_codes_are_no_trap),
		cmocka_unit_test(few_distances_are_enough),
		cmocka_unit_test(coarse_codes_hide_nothing),
		cmocka_unit_test(far_from_zero_is_as_near),
		cmocka_unit_test(lost_nodes_are_linked_again),
		cmocka_unit_test(a_new_crowd_among_the_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
