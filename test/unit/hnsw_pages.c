/*-------------------------------------------------------------------------
 *
 * hnsw_pages.c
 *	  Members of a set page by page: each comes once, about in order, and for less than
 *	  searches that begin anew for each page, however a cursor goes about it.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#define ROWS 8000
#define TRIED 10				/* queries */
#define PAGE 10
#define NEAREST 100				/* come first */

typedef struct Given
{
	float	   *rows;
	float	   *queries;
	Hnsw	   *h;
} Given;

static int
given(void **state)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 16, .ef_construction = 40, .codes = HNSW_CODES_INT8, .seed = 7};
	Given	   *g = malloc(sizeof(Given));
	VtError		err;

	assert_non_null(g);
	g->rows = clustered(31, ROWS);
	g->queries = clustered(77, TRIED);
	assert_int_equal(hnsw_create(&options, &g->h, &err), VT_OK);
	for (uint32_t i = 0; i < ROWS; i++)
		add(g->h, i, g->rows + (size_t) i * DIM);
	link_all(g->h);
	*state = g;
	return 0;
}

static int
not_given(void **state)
{
	Given	   *g = *state;

	hnsw_destroy(g->h);
	free(g->queries);
	free(g->rows);
	free(g);
	return 0;
}

static bool
divides(void *arg, uint64_t label, uint32_t slot)
{
	(void) slot;
	return label % *(const uint32_t *) arg == 0;
}

/*
 * Read to its end: the first pages bring what is nearest, all of them every member.
 * *cost: of the first pages; *anew: of searches that begin again for each of them.
 */
static void
read_all(Given *g, HnswSet *set, uint32_t divisor, const float *query, uint32_t page, HnswCost *cost, uint64_t *anew, int *right)
{
	uint8_t    *seen = calloc(1, ROWS);
	uint8_t    *out = malloc(ROWS);
	HnswHit		truth[NEAREST];
	HnswHit		hits[NEAREST];
	HnswCost	own = {0};
	HnswSearch	s = {.query = query, .k = page, .ef = 2 * page, .set = set, .cost = &own};
	HnswCursor *cursor;
	uint32_t	members = hnsw_set_size(set);
	uint32_t	come = 0;
	uint32_t	want;
	uint32_t	n;

	assert_non_null(seen);
	assert_non_null(out);
	for (uint32_t i = 0; i < ROWS; i++)
		out[i] = i % divisor != 0;
	want = nearest(VEC_L2, g->rows, ROWS, query, out, NEAREST, truth);
	cursor = hnsw_cursor_open(g->h, &s);
	while ((n = hnsw_cursor_next(cursor, hits, page)) > 0)
	{
		assert_hits(g->h, VEC_L2, query, hits, n);
		for (uint32_t i = 0; i < n; i++)
		{
			assert_false(out[hits[i].label]);
			assert_false(seen[hits[i].label]++);
			*right += come + i < want && hits[i].distance <= truth[want - 1].distance;
		}
		come += n;
		assert_true(n == page || come == members);
		if (come <= NEAREST)
			*cost = own;
		hnsw_cursor_rest(cursor);
		assert_true(hnsw_cursor_wake(cursor));
	}
	assert_int_equal(come, members);
	hnsw_cursor_close(cursor);

	own = (HnswCost) {0};
	for (s.k = page; s.k <= NEAREST; s.k += page)
		(void) hnsw_search(g->h, &s, hits);
	*anew += own.distances;
	free(out);
	free(seen);
}

static void
members_come_once(void **state)
{
	/* One of so many, read in pages of so many, with twice as many candidates: is it through others, and are all measured? */
	static const struct
	{
		uint32_t	divisor;
		uint32_t	page;
		bool		looks;
		bool		exact;
	}			cases[] = {{1, 10, false, false}, {2, 10, false, true}, {4, 5, true, true}, {10, 20, false, true}, {300, 10, false, true}, {2000, 10, false, true}};
	Given	   *g = *state;

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		uint32_t	divisor = cases[c].divisor;
		uint64_t	anew = 0;
		HnswCost	all = {0};
		int			right = 0;
		uint32_t	wanted = TRIED * (ROWS / divisor < NEAREST ? (ROWS + divisor - 1) / divisor : NEAREST);

		for (int q = 0; q < TRIED; q++)
		{
			HnswSet    *set = hnsw_set_open(g->h);
			HnswCost	cost = {0};

			hnsw_set_add_passing(set, divides, &divisor);
			read_all(g, set, divisor, g->queries + q * DIM, cases[c].page, &cost, &anew, &right);
			all.distances += cost.distances;
			all.looked += cost.looked;
			all.exact += cost.exact;
			hnsw_set_close(set);
		}
		assert_int_equal(all.looked > 0, cases[c].looks);
		assert_int_equal(all.exact > 0, cases[c].exact);
		assert_true(right >= (int) wanted * 95 / 100);
		assert_true(all.distances * 2 < anew || divisor == 2000);
	}
}

/* Members die and others come between two pages: those that stay come, once, and no other does. */
static void
members_die_meanwhile(void **state)
{
	static const uint32_t divisors[] = {2, 10, 300};
	Given	   *g = *state;

	for (size_t c = 0; c < sizeof(divisors) / sizeof(divisors[0]); c++)
	{
		uint32_t	divisor = divisors[c];
		HnswSet    *set = hnsw_set_open(g->h);
		HnswSearch	s = {.query = g->queries, .k = 5, .ef = 5, .set = set};
		uint8_t    *seen = calloc(1, ROWS);
		HnswHit		hits[PAGE];
		HnswCursor *cursor;
		uint32_t	come = 0;
		uint32_t	gone = 0;
		uint32_t	n;

		assert_non_null(seen);
		hnsw_set_add_passing(set, divides, (void *) &divisors[c]);
		cursor = hnsw_cursor_open(g->h, &s);
		while ((n = hnsw_cursor_next(cursor, hits, PAGE)) > 0)
		{
			for (uint32_t i = 0; i < n; i++)
			{
				assert_true(hits[i].label < ROWS && hits[i].label % divisor == 0);
				assert_false(seen[hits[i].label]++);
			}
			come += n;
			hnsw_cursor_rest(cursor);

			/* The slot of a row is its number. */
			for (uint32_t i = come * 37 % ROWS / divisor * divisor, left = 2; i < ROWS && left > 0; i += divisor)
				if (!seen[i] && hnsw_delete(g->h, i))
				{
					seen[i] = 1;
					gone++;
					left--;
				}
			add(g->h, (uint64_t) 600 * (ROWS + come) + 1, g->queries);	/* which is in none of the sets */
			hnsw_link_next(g->h);
			assert_true(hnsw_cursor_wake(cursor));
		}
		assert_true(gone > 1);
		assert_int_equal(come + gone, hnsw_set_size(set));
		hnsw_cursor_close(cursor);
		hnsw_set_close(set);
		free(seen);
	}
}

static bool
at_the_second_time(void *asked)
{
	return ++*(int *) asked >= 2;
}

/* Whoever waits may lose patience while all members are measured. */
static void
measuring_is_stopped(void **state)
{
	Given	   *g = *state;
	uint32_t	divisor = 2;
	int			asked = 0;
	HnswSet    *set = hnsw_set_open(g->h);
	HnswHit		hits[PAGE];
	HnswSearch	s = {.query = g->queries, .k = 5000, .ef = 5000, .set = set, .stop = at_the_second_time, .stop_arg = &asked};
	HnswCursor *cursor;

	hnsw_set_add_passing(set, divides, &divisor);
	cursor = hnsw_cursor_open(g->h, &s);
	assert_true(asked >= 2);
	assert_int_equal(hnsw_cursor_next(cursor, hits, PAGE), 0);
	hnsw_cursor_close(cursor);
	hnsw_set_close(set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_come_once),
		cmocka_unit_test(members_die_meanwhile),
		cmocka_unit_test(measuring_is_stopped),
	};

	return cmocka_run_group_tests_name("hnsw_pages", tests, given, not_given);
}
