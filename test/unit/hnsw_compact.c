/*-------------------------------------------------------------------------
 *
 * hnsw_compact.c
 *	  Memory of what was deleted is given back: the graph finds the same as
 *	  before, cursors and sets do not notice.  With others at work meanwhile: hnsw_moved.c.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_owner.h"

#include <stdio.h>
#include <unistd.h>

static uint64_t
resident(void)
{
	FILE	   *in = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	assert_non_null(in);
	assert_int_equal(fscanf(in, "%*u %lu", &pages), 1);
	fclose(in);
	return (uint64_t) pages * (uint64_t) sysconf(_SC_PAGESIZE);
}

/* The last chunk of memory is in use as far as there are slots, whatever the size of pages. */
static void
unused_slots_hold_no_memory(void **state)
{
	enum {D = 512, N = 4096 + 300};
	float		row[D];
	Owner	   *owner = owner_new(D, 4, HNSW_CODES_INT8);
	uint64_t	rss = resident();
	Prng		prng = {5};
	HnswStats	stats;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
	{
		for (int j = 0; j < D; j++)
			row[j] = (float) prng_double(&prng);
		put(owner, i, i, row);
	}
	hnsw_stats(owner->h, &stats);
	rss = resident() - rss;
	assert_in_range(rss, stats.bytes - stats.bytes / 16, stats.bytes + stats.bytes / 16);
	owner_free(owner);
}

/* Many chunks of memory, of which most go; the last slot is one of those that stay. */
static void
memory_goes_back(void **state)
{
	enum {D = 512, N = LABELS, KEPT = N / 5};
	float	   *rows = malloc(sizeof(float) * D * N);
	Owner	   *owner = owner_new(D, 4, HNSW_CODES_INT8);
	Prng		prng = {5};
	HnswStats	before;
	HnswStats	after;
	uint64_t	rss;

	(void) state;
	assert_non_null(rows);
	for (size_t i = 0; i < (size_t) D * N; i++)
		rows[i] = (float) prng_double(&prng);
	for (uint32_t i = 0; i < N; i++)
		put(owner, i, i, rows + (size_t) i * D);
	link_all(owner->h);
	mend(owner);
	hnsw_stats(owner->h, &before);
	rss = resident();
	for (uint32_t i = 0; i < N; i++)
		if (i % 5 != 4)
			drop(owner, i);
	mend(owner);
	assert_sound(owner->h);
	hnsw_stats(owner->h, &after);
	assert_true(after.moved > 0);
	assert_true(after.used >= KEPT && after.used <= KEPT + KEPT / 4);
	assert_true(after.bytes < before.bytes / 3);
	assert_true(resident() < rss - (before.bytes - after.bytes) / 2);
	assert_all_there(owner, rows, D, N);

	/* It grows again, into what was given back. */
	for (uint32_t i = 0; i < N; i++)
		if (i % 5 != 4)
			put(owner, i, i, rows + (size_t) i * D);
	link_all(owner->h);
	assert_sound(owner->h);
	assert_int_equal(used(owner), N);
	assert_all_there(owner, rows, D, N);

	/* And everything goes. */
	for (uint32_t i = 0; i < N; i++)
		drop(owner, i);
	mend(owner);
	assert_sound(owner->h);
	assert_int_equal(used(owner), 0);
	put(owner, 3, 3, rows + 3 * D);
	link_all(owner->h);
	assert_all_there(owner, rows, D, 10);
	owner_free(owner);
	free(rows);
}

/* The graph is the same afterwards: the same links, so the same answers for the same work. */
static void
finds_the_same(void **state)
{
	for (int codes = 0; codes <= 1; codes++)
	{
		float	   *rows = clustered(3, LABELS);
		float	   *queries = clustered(4, QUERIES);
		uint8_t		gone[LABELS] = {0};
		Owner	   *owner = owner_new(DIM, 16, codes ? HNSW_CODES_INT8 : HNSW_CODES_NONE);
		HnswHit		before[QUERIES][K];
		HnswCost	cost = {0};
		HnswCost	again = {0};
		double		found;

		(void) state;
		for (uint32_t i = 0; i < LABELS; i++)
			put(owner, i, i, rows + (size_t) i * DIM);
		link_all(owner->h);
		for (uint32_t i = 0; i < LABELS; i++)
			if ((gone[i] = i % 3 != 0))
				drop(owner, i);
		owner->refuse = true;
		mend(owner);
		assert_true(used(owner) >= LABELS - 2);	/* the last two were dropped */
		found = recall(owner->h, VEC_L2, rows, LABELS, gone, 30);
		for (uint32_t q = 0; q < QUERIES; q++)
		{
			HnswSearch	s = {.query = queries + q * DIM, .k = K, .ef = 30, .cost = &cost};

			assert_int_equal(hnsw_search(owner->h, &s, before[q]), K);
		}

		owner->refuse = false;
		put(owner, 1, 1, rows + DIM);	/* something happens: it is tried again */
		link_all(owner->h);
		drop(owner, 1);
		mend(owner);
		assert_sound(owner->h);
		assert_true(used(owner) < LABELS / 2);
		assert_true(recall(owner->h, VEC_L2, rows, LABELS, gone, 30) >= found - 0.01);
		for (uint32_t q = 0; q < QUERIES; q++)
		{
			HnswHit		hits[K];
			HnswSearch	s = {.query = queries + q * DIM, .k = K, .ef = 30, .cost = &again};

			assert_int_equal(hnsw_search(owner->h, &s, hits), K);
		}
		assert_true(again.distances < cost.distances + cost.distances / 10);
		assert_all_there(owner, rows, DIM, LABELS);
		owner_free(owner);
		free(rows);
		free(queries);
	}
}

/* What is promised of the memory, however much is left when it is asked for: neither less nor more. */
static void
little_stays_as_it_is(void **state)
{
	enum {N = 2500, FEW = 300};
	float	   *rows = clustered(3, LABELS);

	(void) state;
	for (uint32_t left = FEW; left <= N; left += 400)
	{
		Owner	   *owner = owner_new(DIM, 4, HNSW_CODES_NONE);
		bool		enough;

		for (uint32_t i = 0; i < N; i++)
			put(owner, i, i, rows + (size_t) i * DIM);
		link_all(owner->h);
		for (uint32_t i = left; i < N; i++)
			drop(owner, i);
		enough = !is_tight(owner, left);
		mend(owner);
		assert_true(is_tight(owner, left));
		assert_int_equal(used(owner) < N, enough);
		for (uint32_t i = FEW; i < left; i++)
			drop(owner, i);
		mend(owner);
		assert_true(is_tight(owner, FEW));
		assert_sound(owner->h);
		owner_free(owner);
	}
	free(rows);
}

/* What was at the end waited to be linked while all else was moved, and is linked before the end would be cut. */
static void
linked_meanwhile(void **state)
{
	enum {N = 2500, GONE = 1200};
	float	   *rows = clustered(3, LABELS);
	Owner	   *owner = owner_new(DIM, 8, HNSW_CODES_NONE);
	HnswStats	stats;
	uint32_t	guard;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
		put(owner, i, i, rows + (size_t) i * DIM);
	link_all(owner->h);
	put(owner, N, N, rows + (size_t) N * DIM);
	for (uint32_t i = 0; i < GONE; i++)
		drop(owner, i);
	do
	{
		assert_true(hnsw_repair(owner->h, 10, true));
		hnsw_stats(owner->h, &stats);
	} while (stats.moved == 0);
	guard = hnsw_enter(owner->h);
	mend(owner);
	assert_int_equal(used(owner), N + 1);
	link_all(owner->h);
	hnsw_leave(owner->h, guard);
	mend(owner);
	assert_true(is_tight(owner, N + 1 - GONE));
	assert_sound(owner->h);
	assert_all_there(owner, rows, DIM, N + 1);
	owner_free(owner);
	free(rows);
}

/* Nothing could be moved; then as many die as become free, and everything can. */
static void
died_meanwhile(void **state)
{
	enum {N = 2500, GONE = 1200};
	float	   *rows = clustered(3, LABELS);
	Owner	   *owner = owner_new(DIM, 8, HNSW_CODES_NONE);
	uint32_t	guard;
	uint32_t	later;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
		put(owner, i, i, rows + (size_t) i * DIM);
	link_all(owner->h);
	for (uint32_t i = 0; i < GONE; i++)
		drop(owner, i);
	owner->refuse = true;
	mend(owner);
	guard = hnsw_enter(owner->h);
	drop(owner, GONE);
	mend(owner);
	later = hnsw_enter(owner->h);
	drop(owner, GONE + 1);
	hnsw_leave(owner->h, guard);
	while (hnsw_repair(owner->h, 200, true))
		;
	assert_int_equal(used(owner), N);
	owner->refuse = false;
	hnsw_leave(owner->h, later);
	mend(owner);
	assert_true(is_tight(owner, N - GONE - 2));
	assert_sound(owner->h);
	assert_all_there(owner, rows, DIM, N);
	owner_free(owner);
	free(rows);
}

/* A cursor that was opened before or in the middle returns everything once; memory waits for it. */
static void
cursors_see_it_all(void **state)
{
	float	   *rows = clustered(3, LABELS);

	(void) state;
	for (int moment = 0; moment < 28; moment += 3)
	{
		Owner	   *owner = owner_new(DIM, 8, moment % 2 ? HNSW_CODES_INT8 : HNSW_CODES_NONE);
		HnswSearch	s = {.query = rows, .k = 10, .ef = 20};
		HnswCursor *cursor;
		HnswHit		hits[64];
		uint8_t		seen[LABELS] = {0};
		uint32_t	n;
		uint32_t	all = 0;

		for (uint32_t i = 0; i < 2000; i++)
			put(owner, i, i / 2, rows + (size_t) (i / 2) * DIM);	/* twins */
		link_all(owner->h);
		for (uint32_t i = 0; i < 2000; i++)
			if (i % 3 != 0)
				drop(owner, i);
		for (int i = 0; i < moment; i++)
			hnsw_repair(owner->h, 100, true);
		cursor = hnsw_cursor_open(owner->h, &s);
		n = hnsw_cursor_next(cursor, hits, 64);
		for (int i = 0; i < 100; i++)
			hnsw_repair(owner->h, 100, true);
		do
		{
			for (uint32_t i = 0; i < n; i++)
			{
				assert_true(hits[i].label < 2000 && hits[i].label % 3 == 0);
				assert_false(seen[hits[i].label]);
				assert_int_equal(hnsw_label(owner->h, hits[i].slot), hits[i].label);
				seen[hits[i].label] = 1;
				all++;
			}
			n = hnsw_cursor_next(cursor, hits, 64);
		} while (n > 0);
		assert_int_equal(all, 667);
		hnsw_cursor_close(cursor);
		mend(owner);
		assert_sound(owner->h);
		assert_true(used(owner) < 1000);
		assert_all_there(owner, rows, DIM, 2000);
		owner_free(owner);
	}
	free(rows);
}

/*
 * A set that has measured its members and copied their rows finds them wherever
 * they are moved, deleted or replaced, and nobody else; memory waits for it.
 */
static void
sets_see_it_all(void **state)
{
	enum {N = 3000};
	float	   *rows = clustered(3, LABELS);

	(void) state;
	/* What a row changes into is near to it: members are looked for where they were. */
	memcpy(rows + N * DIM, rows, sizeof(float) * N * DIM);
	for (int i = 0; i < N; i++)
		rows[(N + i) * DIM + i % DIM] += 0.01f;
	for (int codes = 0; codes <= 1; codes++)
	{
		Owner	   *owner = owner_new(DIM, 8, codes ? HNSW_CODES_INT8 : HNSW_CODES_NONE);
		uint8_t		out[LABELS];
		HnswHit    *hits = malloc(sizeof(*hits) * N);
		HnswSet    *set;
		HnswStats	stats;
		uint64_t	moved;

		assert_non_null(hits);
		for (uint32_t i = 0; i < N; i++)
			put(owner, i, i, rows + (size_t) i * DIM);
		link_all(owner->h);
		set = hnsw_set_open(owner->h);
		for (uint32_t i = 0; i < LABELS; i++)
			if (!(out[i] = i >= N || i % 3 != 0))
				hnsw_set_add(set, owner->slot_of[i]);
		for (int turn = 0; turn < 30; turn++)
		{
			HnswCost	cost = {0};
			HnswHit		truth[K];
			HnswSearch	s = {.query = rows + DIM, .k = N, .ef = 10, .set = set, .cost = &cost};
			uint32_t	want = 0;
			uint32_t	n = hnsw_search(owner->h, &s, hits);

			for (uint32_t i = 0; i < N; i++)
				want += !out[i];
			assert_int_equal(n, want);
			assert_int_equal(cost.exact, 1);
			for (uint32_t i = 0; i < n; i++)
			{
				float		vector[DIM];

				assert_false(out[hits[i].label]);
				assert_int_equal(hits[i].slot, owner->slot_of[hits[i].label]);
				hnsw_read_vector(owner->h, hits[i].slot, vector);
				assert_memory_equal(vector, rows + (size_t) owner->row_of[hits[i].label] * DIM, sizeof(vector));
			}
			s.k = K;
			s.ef = 200;
			assert_int_equal(hnsw_search(owner->h, &s, hits), K);
			assert_int_equal(hnsw_scan_exact(owner->h, &s, truth), K);
			for (int i = 0; i < K; i++)
				assert_int_equal(hits[i].slot, truth[i].slot);

			/* Others die and make room; some members die, some change, all others move. */
			for (uint32_t i = (uint32_t) turn; i < N && turn < 10; i += 10)
				if (i % 3 != 0)
					drop(owner, i);
				else if (i % 7 == 1)
				{
					drop(owner, i);
					out[i] = 1;
				}
				else if (i % 7 == 2)
					put(owner, i, N + i, rows + (size_t) (N + i) * DIM);
			link_all(owner->h);
			for (int i = 0; i < 20; i++)
				hnsw_repair(owner->h, 100, true);
		}
		hnsw_stats(owner->h, &stats);
		moved = stats.moved;
		hnsw_set_close(set);
		mend(owner);
		assert_sound(owner->h);
		hnsw_stats(owner->h, &stats);
		assert_true(moved + stats.moved > 0);
		assert_true(used(owner) < N / 2);
		assert_all_there(owner, rows, DIM, N);
		owner_free(owner);
		free(hits);
	}
	free(rows);
}

/* Whatever comes in whatever order, between any two steps, each label is found once, as it is. */
static void
in_any_order(void **state)
{
	enum {N = 3000};
	float	   *rows = clustered(3, LABELS);

	(void) state;
	for (uint64_t seed = 1; seed <= 4; seed++)
	{
		Prng		prng = {seed};
		Owner	   *owner = owner_new(DIM, 6, seed % 2 ? HNSW_CODES_INT8 : HNSW_CODES_NONE);
		HnswStats	stats;

		for (int wave = 0; wave < 4; wave++)
		{
			/* It grows in even waves and shrinks in odd ones. */
			for (int i = 0; i < 4000; i++)
			{
				uint32_t	label = prng_below(&prng, N);
				uint32_t	row = prng_below(&prng, LABELS / 2);
				bool		there = owner->slot_of[label] != NOWHERE;

				if (wave % 2 == 0 || prng_below(&prng, 8) == 0)
					put(owner, label, row, rows + (size_t) row * DIM);
				else if (there)
					drop(owner, label);
				owner->refuse = prng_below(&prng, 20) == 0;
				if (prng_below(&prng, 16) != 0)
					hnsw_link_next(owner->h);
				if (prng_below(&prng, 2) == 0)
					hnsw_repair(owner->h, 1 + prng_below(&prng, 100), prng_below(&prng, 50) == 0);
				if (i % 20 == 0)
				{
					uint32_t	any = prng_below(&prng, N);
					HnswHit		hits[2];
					HnswSearch	s = {.query = rows, .k = 2, .ef = 10, .filter = is_label, .filter_arg = &any};
					uint32_t	n = hnsw_search(owner->h, &s, hits);

					assert_int_equal(n, owner->slot_of[any] != NOWHERE);
					if (n == 1)
					{
						float		vector[DIM];

						hnsw_read_vector(owner->h, hits[0].slot, vector);
						assert_memory_equal(vector, rows + (size_t) owner->row_of[any] * DIM, sizeof(vector));
					}
				}
				if (i % 500 == 0)
					assert_sound(owner->h);
			}
			assert_sound(owner->h);
		}
		owner->refuse = false;
		link_all(owner->h);
		mend(owner);
		assert_sound(owner->h);
		assert_all_there(owner, rows, DIM, N);
		hnsw_stats(owner->h, &stats);
		assert_true(stats.moved > 0);
		owner_free(owner);
	}
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unused_slots_hold_no_memory),
		cmocka_unit_test(memory_goes_back),
		cmocka_unit_test(finds_the_same),
		cmocka_unit_test(little_stays_as_it_is),
		cmocka_unit_test(linked_meanwhile),
		cmocka_unit_test(died_meanwhile),
		cmocka_unit_test(cursors_see_it_all),
		cmocka_unit_test(sets_see_it_all),
		cmocka_unit_test(in_any_order),
	};

	return cmocka_run_group_tests_name("hnsw_compact", tests, NULL, NULL);
}
