/*-------------------------------------------------------------------------
 *
 * hnsw_sets.c
 *	  Searches that may return members of a set only.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include <pthread.h>
#include <stdatomic.h>

#include "hnsw/doors.h"
#include "hnsw/kernels.h"

#define ROWS 6000

static const uint32_t one_of[] = {1, 2, 7, 30, 200, 2000};

/* A label passes when it can be divided. */
static bool
divides(void *arg, uint64_t label, uint32_t slot)
{
	(void) slot;
	return label % *(const uint32_t *) arg == 0;
}

/*
 * Whatever share is in the set, hits are members, k come whenever k are there,
 * and they are about the nearest.
 */
static void
members_only(VecMetric metric, HnswCodes codes)
{
	float	   *rows = clustered(31, ROWS);
	uint8_t    *gone = calloc(1, ROWS);
	float	   *queries = clustered(77, QUERIES);
	Hnsw	   *h = create(metric, codes);

	assert_non_null(gone);
	for (uint32_t i = 0; i < ROWS; i++)
	{
		uint32_t	slot = add(h, i, rows + (size_t) i * DIM);

		if (i % 11 == 5)
		{
			gone[i] = 1;
			assert_true(hnsw_delete(h, slot));
		}
	}
	link_all(h);
	for (size_t c = 0; c < sizeof(one_of) / sizeof(one_of[0]); c++)
	{
		uint32_t	divisor = one_of[c];
		HnswSet    *set = hnsw_set_open(h);
		uint8_t    *out = malloc(ROWS);
		uint32_t	size = 0;
		int			right = 0;
		int			wanted = 0;

		assert_non_null(out);
		for (uint32_t i = 0; i < ROWS; i++)
			size += !(out[i] = gone[i] || i % divisor != 0);
		hnsw_set_add_passing(set, divides, &divisor);
		assert_int_equal(hnsw_set_size(set), size);
		for (int q = 0; q < QUERIES; q++)
		{
			const float *query = queries + q * DIM;
			HnswSearch	s = {.query = query, .k = K, .ef = 60, .set = set};
			HnswHit		truth[K];
			HnswHit		hits[K];
			uint32_t	want = nearest(metric, rows, ROWS, query, out, K, truth);

			assert_int_equal(hnsw_search(h, &s, hits), want);
			assert_hits(h, metric, query, hits, want);
			for (uint32_t i = 0; i < want; i++)
			{
				assert_false(out[hits[i].label]);
				right += hits[i].distance <= truth[want - 1].distance;
			}
			wanted += (int) want;
			assert_int_equal(hnsw_scan_exact(h, &s, hits), want);
			for (uint32_t i = 0; i < want; i++)
				assert_int_equal(hits[i].label, truth[i].label);

			/* A filter says the same as the set. */
			s.set = NULL;
			s.filter = divides;
			s.filter_arg = &divisor;
			assert_int_equal(hnsw_search(h, &s, hits), want);
			for (uint32_t i = 0; i < want; i++)
				assert_false(out[hits[i].label]);
		}
		assert_true(right >= wanted * 0.95);
		hnsw_set_close(set);
		free(out);
	}
	hnsw_destroy(h);
	free(queries);
	free(gone);
	free(rows);
}

static void
members_only_on_floats(void **state)
{
	(void) state;
	members_only(VEC_L2, HNSW_CODES_NONE);
}

static void
members_only_on_codes(void **state)
{
	(void) state;
	members_only(VEC_COSINE, HNSW_CODES_INT8);
	members_only(VEC_L2, HNSW_CODES_INT8);
}

/* A set that lies on the far side of everything is found all the same. */
static void
far_members_are_found(void **state)
{
	float	   *rows = clustered(41, ROWS);
	float		query[DIM];
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	HnswSet    *set;
	HnswHit		truth[K];
	HnswHit		hits[K];
	uint8_t    *out = calloc(1, ROWS);
	HnswSearch	s = {.query = query, .k = K, .ef = 60};

	(void) state;
	assert_non_null(out);
	for (uint32_t i = 0; i < ROWS; i++)
		for (int d = 0; d < DIM; d++)
			rows[(size_t) i * DIM + d] += i < 5000 ? 0 : 100;
	link_rows(h, rows, ROWS);
	set = hnsw_set_open(h);
	for (uint32_t i = 0; i < ROWS; i++)
		if (i >= 5000)
			hnsw_set_add(set, i);
		else
			out[i] = 1;
	memcpy(query, rows, sizeof(query));
	s.set = set;
	assert_int_equal(hnsw_search(h, &s, hits), K);
	assert_int_equal(nearest(VEC_L2, rows, ROWS, query, out, K, truth), K);
	for (int i = 0; i < K; i++)
		assert_true(hits[i].label >= 5000);
	assert_true(hits[0].distance == truth[0].distance);
	hnsw_set_close(set);
	hnsw_destroy(h);
	free(out);
	free(rows);
}

/*
 * Of equal vectors, those in the set come, whichever of them is the node: when
 * few are members and all are measured, and when a walk goes through the others.
 */
static void
twins_are_members_by_themselves(void **state)
{
	static const char *const ends[] = {"7", "137"};
	float	   *rows = clustered(43, ROWS);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);

	(void) state;
	for (uint32_t i = 0; i < ROWS; i++)
		add(h, i, rows + (size_t) (i / 100 * 100) * DIM + (i % 100 < 50 ? 0 : (size_t) (i % 100) * DIM));
	link_all(h);
	assert_sound(h);
	for (size_t e = 0; e < 2; e++)
	{
		HnswCost	cost = {0};

		for (uint32_t group = 0; group < ROWS / 100; group++)
		{
			HnswSet    *set = hnsw_set_open(h);	/* one that is used again would be measured whole */
			HnswHit		hits[5];
			HnswSearch	s = {.query = rows + (size_t) group * 100 * DIM, .k = 5, .ef = 20, .set = set, .cost = &cost};

			for (uint32_t i = 0; i < ROWS; i++)
				if (strchr(ends[e], (int) ('0' + i % 10)))
					hnsw_set_add(set, i);
			assert_int_equal(hnsw_search(h, &s, hits), 5);
			for (uint32_t i = 0; i < 5; i++)
			{
				assert_true(hits[i].distance == 0);
				assert_in_range(hits[i].label, group * 100, group * 100 + 49);
				assert_non_null(strchr(ends[e], (int) ('0' + hits[i].label % 10)));
				assert_true(i == 0 || hits[i].label > hits[i - 1].label);
			}
			hnsw_set_close(set);
		}
		assert_int_equal(cost.exact, e == 0 ? ROWS / 100 : 0);
		assert_true((cost.looked > 0) == (e == 1));
	}
	hnsw_destroy(h);
	free(rows);
}

/* Members that hang behind another node than when the set was first walked through. */
static void
twins_hung_later_are_found(void **state)
{
	enum {LATE = 20};
	float	   *rows = clustered(44, ROWS);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	uint32_t	divisor = 3;			/* so many that a walk is cheaper than all of them */
	HnswCost	cost = {0};

	(void) state;
	link_rows(h, rows, ROWS);

	/* First they wait, then they become twins of nodes that are no members; then others hang before them. */
	for (int turn = 0; turn < 2; turn++)
	{
		HnswSet    *set;
		HnswHit		hit;
		HnswSearch	s = {.k = 1, .ef = 5, .cost = &cost};

		for (uint32_t i = 0; turn == 1 && i < LATE; i++)
		{
			add(h, 2 * ROWS + i, rows + (size_t) (3 * i + 1) * DIM);
			link_all(h);
			assert_true(hnsw_delete(h, 3 * i + 1));
		}
		if (turn == 1)
			assert_true(hnsw_repair(h, 0, true));	/* which begins with the nodes that have just died */
		s.set = set = hnsw_set_open(h);
		hnsw_set_add_passing(set, divides, &divisor);
		for (uint32_t i = 0; i < LATE; i++)
			hnsw_set_add(set, turn == 0 ? add(h, ROWS + i, rows + (size_t) (3 * i + 1) * DIM) : ROWS + i);
		for (int again = 0; again < 2; again++)
		{
			for (uint32_t i = 0; i < LATE; i++)
			{
				s.query = rows + (size_t) (3 * i + 1) * DIM;
				assert_int_equal(hnsw_search(h, &s, &hit), 1);
				assert_int_equal(hit.label, ROWS + i);
				assert_true(hit.distance == 0);
			}
			link_all(h);
			if (turn == 1)
				while (hnsw_repair(h, 1000, true))
					;
		}
		hnsw_set_close(set);
	}
	assert_int_equal(cost.exact, 0);
	assert_sound(h);
	hnsw_destroy(h);
	free(rows);
}

/*
 * Members that are superseded while the set is open are stood for by their new
 * version, once, though several versions may be members; deleted ones are gone.
 */
static void
later_versions_stand_for_members(void **state)
{
	float	   *rows = clustered(47, 3000);
	float	   *later = clustered(48, 3000);
	uint32_t   *slots = malloc(3000 * sizeof(*slots));
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	HnswSet    *set;
	HnswSearch	s = {.query = rows, .k = 1000, .ef = 1000};
	HnswHit    *hits = malloc(1000 * sizeof(*hits));
	uint8_t    *seen = calloc(1, 3000);
	uint32_t	n = 0;
	uint32_t	got;
	HnswCursor *cursor;

	(void) state;
	assert_non_null(slots);
	assert_non_null(hits);
	assert_non_null(seen);
	for (uint32_t i = 0; i < 3000; i++)
		slots[i] = add(h, i, rows + (size_t) i * DIM);
	link_all(h);
	set = hnsw_set_open(h);
	for (uint32_t i = 0; i < 600; i++)
		hnsw_set_add(set, slots[i]);
	for (uint32_t i = 0; i < 600; i += 2)
	{
		VtError		err;
		uint32_t	slot;

		assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
		hnsw_replace(h, slots[i], slot, i, later + (size_t) i * DIM);
		slots[i] = slot;
		if (i % 6 == 0)
			hnsw_set_add(set, slot);
		if (i % 4 == 0)
		{
			assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
			hnsw_replace(h, slots[i], slot, i, rows + (size_t) i * DIM);
			slots[i] = slot;
		}
	}
	for (uint32_t i = 1; i < 600; i += 100)
		assert_true(hnsw_delete(h, slots[i]));
	link_all(h);

	/* A repair in between must leave what the set names. */
	for (int i = 0; i < 10; i++)
		hnsw_repair(h, 100000, true);
	s.set = set;
	got = hnsw_search(h, &s, hits);
	assert_int_equal(got, 594);
	assert_hits(h, VEC_L2, rows, hits, got);
	for (uint32_t i = 0; i < got; i++)
	{
		assert_false(seen[hits[i].label]++);
		assert_int_equal(hits[i].slot, slots[hits[i].label]);
	}
	memset(seen, 0, 3000);
	s.k = 50;
	s.ef = 50;
	cursor = hnsw_cursor_open(h, &s);
	while ((got = hnsw_cursor_next(cursor, hits, 100)) > 0)
		for (uint32_t i = 0; i < got; i++, n++)
		{
			assert_false(seen[hits[i].label]++);
			assert_int_equal(hits[i].slot, slots[hits[i].label]);
		}
	assert_int_equal(n, 594);
	hnsw_cursor_close(cursor);
	hnsw_set_close(set);
	while (hnsw_repair(h, 100000, true))
		;
	assert_sound(h);
	hnsw_destroy(h);
	free(seen);
	free(hits);
	free(slots);
	free(later);
	free(rows);
}

/* The longest lists there are. */
static void
wide_lists(void **state)
{
	float	   *rows = clustered(59, 4000);
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = HNSW_MAX_M, .ef_construction = 150, .seed = 7};
	Hnsw	   *h;
	VtError		err;

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	link_rows(h, rows, 4000);
	for (uint32_t divisor = 1; divisor < 60; divisor += 3)
	{
		HnswSet    *set = hnsw_set_open(h);
		HnswSearch	s = {.query = rows + DIM, .k = K, .ef = 20, .set = set};
		HnswHit		hits[K];

		hnsw_set_add_passing(set, divides, &divisor);
		assert_int_equal(hnsw_search(h, &s, hits), K);
		assert_hits(h, VEC_L2, s.query, hits, K);
		for (int i = 0; i < K; i++)
			assert_int_equal(hits[i].label % divisor, 0);
		hnsw_set_close(set);
	}
	hnsw_destroy(h);
	free(rows);
}

/* An empty set, and one with fewer members than are wanted. */
static void
small_sets(void **state)
{
	float	   *rows = clustered(53, 500);
	Hnsw	   *h = create(VEC_IP, HNSW_CODES_INT8);
	HnswSet    *set = hnsw_set_open(h);
	HnswHit		hits[K];
	HnswSearch	s = {.query = rows, .k = K, .ef = 50, .set = set};

	(void) state;
	assert_int_equal(hnsw_search(h, &s, hits), 0);
	for (uint32_t i = 0; i < 500; i++)
		add(h, i, rows + (size_t) i * DIM);
	assert_int_equal(hnsw_search(h, &s, hits), 0);
	hnsw_set_add(set, 499);
	hnsw_set_add(set, 3);
	hnsw_set_add(set, 3);
	assert_int_equal(hnsw_set_size(set), 2);
	assert_int_equal(hnsw_search(h, &s, hits), 2);
	link_all(h);
	assert_int_equal(hnsw_search(h, &s, hits), 2);
	assert_true(hits[0].label + hits[1].label == 502);

	/* What was found out so far is no longer true when there are more. */
	for (uint32_t i = 0; i < 5; i++)
	{
		uint32_t	slots[] = {17, 18, 19, 20, 21};

		hnsw_set_add(set, slots[i]);
		for (int j = 0; j < 4; j++)
			assert_int_equal(hnsw_search(h, &s, hits), 3 + i);
	}
	hnsw_set_close(set);
	hnsw_set_close(NULL);
	hnsw_destroy(h);
	free(rows);
}

static uint64_t
bytes_of_graph(const Hnsw *h)
{
	HnswStats	stats;

	hnsw_stats(h, &stats);
	return stats.bytes;
}

/* Rows of members are copied some at a time, and at every time all members count. */
static void
copied_piece_by_piece(void **state)
{
	enum {SEARCHES = 6};
	float	   *rows = clustered(58, ROWS);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);	/* 2 048 rows are one piece */
	uint32_t	divisors[] = {2, 1};

	(void) state;
	link_rows(h, rows, ROWS);
	for (int d = 0; d < 2; d++)
	{
		HnswSet    *set = hnsw_set_open(h);
		HnswCost	cost = {0};

		hnsw_set_add_passing(set, divides, &divisors[d]);
		for (uint32_t i = 0; i < SEARCHES; i++)
		{
			HnswSearch	s = {.query = rows + (size_t) i * 991 * DIM, .k = 300, .ef = 1000, .set = set, .cost = &cost};
			HnswHit		hits[300];
			HnswHit		truth[300];

			assert_int_equal(hnsw_search(h, &s, hits), 300);
			s.cost = NULL;
			assert_int_equal(hnsw_scan_exact(h, &s, truth), 300);
			for (int j = 0; j < 300; j++)
			{
				assert_int_equal(hits[j].slot, truth[j].slot);
				assert_true(hits[j].distance == truth[j].distance);
			}
		}
		assert_int_equal(cost.exact, SEARCHES);
		hnsw_set_close(set);
	}
	hnsw_destroy(h);
	free(rows);
}

/* One set, searched by several threads while twins of its members are hung and rows are copied. */
typedef struct Crowd
{
	Hnsw	   *h;
	HnswSet    *set;
	const float *rows;
	atomic_int	failed;
	atomic_int	left;
} Crowd;

static void *
search_together(void *arg)
{
	Crowd	   *crowd = arg;

	for (uint32_t i = 0; i < 60; i++)
	{
		HnswHit		hit;
		HnswSearch	s = {.query = crowd->rows + (size_t) 3 * i * DIM, .k = 1, .ef = i % 2 ? 5 : 500, .set = crowd->set};

		/* Few candidates: a walk through; many: all members are measured. */
		if (hnsw_search(crowd->h, &s, &hit) != 1 || hit.distance != 0)
			atomic_fetch_add(&crowd->failed, 1);
	}
	atomic_fetch_sub(&crowd->left, 1);
	return NULL;
}

static void
used_by_many_threads(void **state)
{
	enum {THREADS = 3};
	float	   *rows = clustered(60, ROWS);
	Crowd		crowd = {.h = create(VEC_L2, HNSW_CODES_NONE), .rows = rows, .left = THREADS};
	uint32_t	divisor = 3;
	pthread_t	threads[THREADS];
	uint32_t	late = 0;

	(void) state;
	for (uint32_t i = 0; i < ROWS; i++)
		add(crowd.h, i, rows + (size_t) i * DIM);
	link_all(crowd.h);
	crowd.set = hnsw_set_open(crowd.h);
	hnsw_set_add_passing(crowd.set, divides, &divisor);
	for (int t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, search_together, &crowd), 0);
	for (; atomic_load(&crowd.left) > 0 && late < 5000; late++)
	{
		add(crowd.h, ROWS + late, rows + (size_t) (late % 200) * DIM);
		assert_true(hnsw_link_next(crowd.h));
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	assert_int_equal(atomic_load(&crowd.failed), 0);
	hnsw_set_close(crowd.set);
	assert_sound(crowd.h);
	hnsw_destroy(crowd.h);
	free(rows);
}

/* A set's memory is the graph's, what searches find out for it included, and goes with it. */
static void
memory_is_counted(void **state)
{
	float	   *rows = clustered(57, ROWS);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	HnswHit		hits[K];
	uint32_t	few = 100;
	uint32_t	many = 5;
	HnswSearch	s = {.query = rows, .k = K, .ef = 20};
	HnswSet    *set;
	uint64_t	without;
	uint64_t	fresh;
	uint64_t	copied;

	(void) state;
	link_rows(h, rows, ROWS);
	without = bytes_of_graph(h);
	s.set = set = hnsw_set_open(h);
	hnsw_set_add_passing(set, divides, &few);
	fresh = bytes_of_graph(h);
	assert_true(fresh >= without + ROWS / 8);

	/* Who uses it once keeps nothing, who uses it twice keeps rows. */
	assert_int_equal(hnsw_search(h, &s, hits), K);
	assert_true(bytes_of_graph(h) == fresh);
	assert_int_equal(hnsw_search(h, &s, hits), K);
	copied = bytes_of_graph(h) - fresh;
	assert_true(copied >= ROWS / few * DIM && copied <= ROWS / few * DIM * 4);
	assert_int_equal(hnsw_search(h, &s, hits), K);
	assert_true(bytes_of_graph(h) == fresh + copied);
	hnsw_set_close(set);
	assert_true(bytes_of_graph(h) == without);

	/* A walk keeps doors. */
	s.ef = K;
	s.set = set = hnsw_set_open(h);
	hnsw_set_add_passing(set, divides, &many);
	assert_int_equal(hnsw_search(h, &s, hits), K);
	assert_true(bytes_of_graph(h) >= fresh + ROWS / 8);
	hnsw_set_close(set);
	assert_true(bytes_of_graph(h) == without);
	hnsw_destroy(h);
	free(rows);
}

/* The same doors by every CPU's instructions, however lists end. */
static void
doors_by_any_cpu(void **state)
{
	static const char *const names[] = {"avx2", "avx512", "avx512vnni"};
	enum {NBITS = 64 * 50};
	atomic_ullong bits[NBITS / 64 + 1] = {0};
	_Alignas(64) atomic_uint links[2 * HNSW_MAX_M];
	uint32_t	out[2][2 * HNSW_MAX_M + DOORS_SLACK];
	Prng		prng = {61};

	(void) state;
	for (int i = 0; i < NBITS; i++)
		atomic_fetch_or(&bits[i / 64], (uint64_t) (prng_below(&prng, 10) == 0) << (i % 64));
	for (int turn = 0; turn < 20000; turn++)
	{
		uint32_t	limit = 1 + prng_below(&prng, 2 * HNSW_MAX_M);
		uint32_t	end = prng_below(&prng, limit + 10);
		uint32_t	n[2];
		uint32_t	found[2];

		if (turn % 4 != 0)
			limit = (limit + 15) / 16 * 16;
		for (uint32_t i = 0; i < limit; i++)
			atomic_store(&links[i], i == end ? HNSW_NO_SLOT : prng_below(&prng, NBITS + 200));
		if (turn % 3 == 0)
			atomic_store(&links[0], HNSW_MAX_SLOTS - 1);
		found[0] = doors_kernel("plain")(bits, NBITS, links, limit, out[0], &n[0]);
		assert_int_equal(n[0], turn % 3 == 0 && end == 0 ? n[0] : end < limit ? end : limit);
		for (size_t c = 0; c < sizeof(names) / sizeof(names[0]); c++)
		{
			if (kernels_by_name(names[c]) == NULL)
				continue;
			found[1] = doors_kernel(names[c])(bits, NBITS, links, limit, out[1], &n[1]);
			assert_int_equal(found[1], found[0]);
			assert_int_equal(n[1], n[0]);
			assert_memory_equal(out[1], out[0], sizeof(uint32_t) * found[0]);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_only_on_floats),
		cmocka_unit_test(members_only_on_codes),
		cmocka_unit_test(far_members_are_found),
		cmocka_unit_test(twins_are_members_by_themselves),
		cmocka_unit_test(twins_hung_later_are_found),
		cmocka_unit_test(later_versions_stand_for_members),
		cmocka_unit_test(wide_lists),
		cmocka_unit_test(small_sets),
		cmocka_unit_test(copied_piece_by_piece),
		cmocka_unit_test(used_by_many_threads),
		cmocka_unit_test(memory_is_counted),
		cmocka_unit_test(doors_by_any_cpu),
	};

	return cmocka_run_group_tests_name("hnsw_sets", tests, NULL, NULL);
}
