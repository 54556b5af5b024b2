/*-------------------------------------------------------------------------
 *
 * hnsw_cursor.c
 *	  What a cursor shows while the graph changes, rests in between, and passes by
 *	  what its filter leaves out.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

/*
 * One record changes twice while a cursor is open, and the version between is
 * never linked: the last version comes once, though two old ones lead to it.
 */
static void
cursor_shows_one_version(void **state)
{
	float	   *rows = clustered(21, 1000);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_NONE);
	HnswSearch	s = {.query = rows, .k = 1, .ef = 1};
	float		far[DIM];
	uint32_t	slots[3];
	uint32_t	seen = 0;
	HnswHit		hits[16];
	HnswCursor *cursor;
	uint32_t	n;
	VtError		err;

	(void) state;
	for (int i = 0; i < DIM; i++)
		far[i] = 50;
	for (uint32_t i = 0; i < 1000; i++)
		add(h, i, rows + (size_t) i * DIM);
	slots[0] = add(h, 5000, far);
	link_all(h);
	assert_int_equal(hnsw_reserve(h, &slots[1], &err), VT_OK);
	hnsw_replace(h, slots[0], slots[1], 5000, rows);
	cursor = hnsw_cursor_open(h, &s);
	assert_int_equal(hnsw_reserve(h, &slots[2], &err), VT_OK);
	hnsw_replace(h, slots[1], slots[2], 5000, rows + DIM);
	link_all(h);
	while (hnsw_repair(h, 1000, true))
		;
	while ((n = hnsw_cursor_next(cursor, hits, 16)) > 0)
		for (uint32_t i = 0; i < n; i++)
			if (hits[i].label == 5000)
			{
				assert_int_equal(hits[i].slot, slots[2]);
				seen++;
			}
	assert_int_equal(seen, 1);
	hnsw_cursor_close(cursor);

	/* Once nobody looks any more, the versions between are free again. */
	while (hnsw_repair(h, 1000, true))
		;
	(void) hnsw_repair(h, 1000, true);
	{
		HnswStats	stats;

		hnsw_stats(h, &stats);
		assert_int_equal(stats.dead, 0);
		assert_int_equal(stats.live, 1001);
	}
	assert_sound(h);
	hnsw_destroy(h);
	free(rows);
}

/*
 * Between its batches a cursor rests: it holds nothing back, goes on when slots have only
 * come, to the end, and says so when some may be others by now.
 */
static void
cursor_rests(void **state)
{
	float	   *rows = clustered(31, 3000);
	bool	   *seen = calloc(2000, sizeof(bool));
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	HnswSearch	s = {.query = rows + 17 * DIM, .k = 20, .ef = 20};
	HnswHit		hits[64];
	HnswStats	stats;
	HnswCursor *cursor;
	size_t		bytes;
	uint32_t	more = 2000;
	uint32_t	total = 0;
	uint32_t	n;

	(void) state;
	assert_non_null(seen);
	link_rows(h, rows, 2000);
	cursor = hnsw_cursor_open(h, &s);
	bytes = hnsw_cursor_bytes(cursor);
	assert_true(bytes > 2000 / 8);
	while ((n = hnsw_cursor_next(cursor, hits, 64)) > 0)
	{
		assert_hits(h, VEC_L2, s.query, hits, n);
		for (uint32_t i = 0; i < n; i++)
		{
			assert_true(hits[i].label < 2000 && !seen[hits[i].label]);
			seen[hits[i].label] = true;
		}
		total += n;
		hnsw_cursor_rest(cursor);
		if (more < 3000)
			for (int i = 0; i < 20; i++, more++)
				add(h, more, rows + (size_t) more * DIM);
		link_all(h);
		assert_true(hnsw_cursor_wake(cursor));
	}
	assert_true(hnsw_cursor_bytes(cursor) > bytes);
	assert_int_equal(total, 2000);
	hnsw_cursor_close(cursor);

	cursor = hnsw_cursor_open(h, &s);
	assert_int_equal(hnsw_cursor_next(cursor, hits, 20), 20);
	for (uint32_t i = 0; i < 2000; i += 3)
		hnsw_delete(h, i);
	hnsw_cursor_rest(cursor);
	assert_true(hnsw_cursor_wake(cursor));	/* dead, but not given up */
	assert_int_equal(hnsw_cursor_next(cursor, hits, 20), 20);
	hnsw_cursor_rest(cursor);
	while (hnsw_repair(h, 1000, true))
		;
	(void) add(h, 5000, rows);	/* takes what is free by now */
	hnsw_stats(h, &stats);
	assert_int_equal(stats.dead, 0);
	assert_false(hnsw_cursor_wake(cursor));
	hnsw_cursor_close(cursor);

	/* Closed while it rests. */
	cursor = hnsw_cursor_open(h, &s);
	hnsw_cursor_rest(cursor);
	hnsw_cursor_close(cursor);
	hnsw_destroy(h);
	free(seen);
	free(rows);
}

/* A cursor comes to its end however much it has to pass by. */
static void
cursor_passes_by_many(void **state)
{
	float	   *rows = clustered(22, 20000);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	uint64_t	many;
	HnswSearch	s = {.query = rows, .k = 10, .ef = 40, .filter = label_is_one_of, .filter_arg = &many};
	HnswHit		hits[16];
	HnswCursor *cursor;
	uint32_t	n;
	uint32_t	total = 0;

	(void) state;
	link_rows(h, rows, 20000);
	for (int pass = 0; pass < 2; pass++)
	{
		total = 0;
		many = pass == 0 ? 500 : 50;
		cursor = hnsw_cursor_open(h, &s);
		while ((n = hnsw_cursor_next(cursor, hits, 16)) > 0)
			total += n;
		assert_int_equal(total, 20000 / many);
		hnsw_cursor_close(cursor);
	}
	hnsw_destroy(h);
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cursor_shows_one_version),
		cmocka_unit_test(cursor_rests),
		cmocka_unit_test(cursor_passes_by_many),
	};

	return cmocka_run_group_tests_name("hnsw_cursor", tests, NULL, NULL);
}
