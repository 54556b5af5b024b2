/*-------------------------------------------------------------------------
 *
 * client_many.c
 *	  Scans that are asked together give what each would have given alone, whatever
 *	  happens in between, with one question to a shard.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_truth.h"

#define SCANS 20

static VtError err;
static float queries[WIRE_QUERIES_MAX * DIM];
static Truth truths[SCANS];
static ClientScan *scans[WIRE_QUERIES_MAX];
static uint32_t opened;

static void
begin(Setup *s, uint32_t nshards, uint32_t records)
{
	set_up(s, nshards, records);
	opened = 0;
	for (uint32_t i = 0; i < WIRE_QUERIES_MAX * DIM; i++)
		queries[i] = (float) (i * 7 % 11);
	for (uint32_t i = 0; i < SCANS; i++)
		truths[i] = truth_of(&s->w, queries + i * DIM);
}

static void
close_all(void)
{
	for (uint32_t i = 0; i < opened; i++)
		client_scan_close(scans[i]);
	opened = 0;
}

static void
end(Setup *s)
{
	close_all();
	for (uint32_t i = 0; i < SCANS; i++)
		truth_free(&truths[i]);
	tear_down(s);
}

static VtStatus
open_many(Setup *s, uint32_t n, uint32_t batch, const ClientMarks *marks)
{
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = queries,
		.dim = DIM, .batch = batch, .ef = 100, .consistency = WIRE_AT_MARK, .marks = marks, .filter = s->w.filter};

	return client_scan_open_many(s->client, &search, n, in_ms(LONG_MS), scans, &opened, &err);
}

/* All are read in turns, so many at a time, to their ends. */
static void
assert_all_hits(uint32_t n, size_t each)
{
	size_t		at[SCANS] = {0};

	assert_int_equal(opened, n);
	for (bool more = true; more;)
	{
		more = false;
		for (uint32_t i = 0; i < n; i++)
		{
			size_t		left = truths[i].n - at[i];

			if (left > 0)
				assert_hits(scans[i], &truths[i], &at[i], each < left ? each : left);
			more = more || at[i] < truths[i].n;
		}
	}
	for (uint32_t i = 0; i < n; i++)
		assert_hits(scans[i], &truths[i], &at[i], 0);
}

static void
each_gives_what_it_would_alone(void **state)
{
	static const uint32_t nshards[] = {1, 2, 7};
	static const uint32_t batches[] = {1, 10, 1000};

	(void) state;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
		{
			Setup		s;

			begin(&s, nshards[i], 300);
			assert_ok(open_many(&s, SCANS, batches[j], NULL));
			assert_int_equal(s.w.many, nshards[i]);
			assert_int_equal(world_count(&s.w, WIRE_SEARCH), nshards[i]);
			assert_all_hits(SCANS, 7);
			if (batches[j] == 1000)
				assert_int_equal(world_count(&s.w, WIRE_SEARCH), nshards[i]);
			end(&s);
		}
}

/* What all hope to need costs no more questions than there are shards, and leaves nothing to close. */
static void
the_first_batches_are_one_question_a_shard(void **state)
{
	Setup		s;
	ClientScanStats stats;

	(void) state;
	begin(&s, 4, 200);
	s.w.filter = bytes_of(NULL, 0);
	assert_ok(open_many(&s, SCANS, 10, NULL));
	for (uint32_t i = 0; i < SCANS; i++)
	{
		size_t		at = 0;

		assert_hits(scans[i], &truths[i], &at, 10);
		client_scan_stats(scans[i], &stats);
		assert_int_equal(stats.batches, 4);
		assert_int_equal(stats.hits, 10);
	}
	assert_int_equal(world_count(&s.w, WIRE_SEARCH), 4);
	assert_int_equal(s.w.unfiltered, 0);
	close_all();
	assert_int_equal(s.w.closes, 0);

	/* One alone is asked as ever. */
	assert_ok(open_many(&s, 1, 10, NULL));
	assert_int_equal(opened, 1);
	assert_int_equal(s.w.many, 4);
	end(&s);
}

/* No more than a message takes; the caller goes on from there. */
static void
as_many_as_are_opened_are_told(void **state)
{
	static float queries[(WIRE_QUERIES_MAX + 9) * DIM];
	ClientScan *scans[WIRE_QUERIES_MAX + 9] = {NULL};
	Setup		s;
	uint32_t	opened;

	(void) state;
	begin(&s, 2, 20);
	{
		ClientSearch search = {.generation = s.w.generation, .owner = s.w.owner, .query = queries, .dim = DIM, .batch = 3,
			.ef = 100, .consistency = WIRE_AT_MARK};

		assert_ok(client_scan_open_many(s.client, &search, WIRE_QUERIES_MAX + 9, in_ms(LONG_MS), scans, &opened, &err));
		assert_int_equal(opened, WIRE_QUERIES_MAX);
		assert_null(scans[WIRE_QUERIES_MAX]);
		for (uint32_t i = 0; i < opened; i++)
			client_scan_close(scans[i]);

		/* Nor than there is memory for what they may find. */
		search.batch = WIRE_SEARCH_K_MAX;
		assert_ok(client_scan_open_many(s.client, &search, WIRE_QUERIES_MAX, in_ms(LONG_MS), scans, &opened, &err));
		assert_int_equal(opened, 8);
		for (uint32_t i = 0; i < opened; i++)
			client_scan_close(scans[i]);
		search.batch = 3;
		search.dim = DIM + 1;
		assert_int_equal(client_scan_open_many(s.client, &search, 3, in_ms(LONG_MS), scans, &opened, &err), VT_INVALID);
		assert_int_equal(opened, 0);
	}
	end(&s);
}

/* Workers of before take one query at a time, whether they were met or not. */
static void
workers_of_before_are_asked_one_by_one(void **state)
{
	Setup		s;
	uint32_t	many;

	(void) state;
	for (int met = 0; met < 2; met++)
	{
		begin(&s, 3, 200);
		s.w.lacks = WIRE_FEATURE_MANY;
		if (met)
		{
			assert_ok(open_many(&s, 1, 5, NULL));
			close_all();
		}
		many = s.w.many;
		assert_ok(open_many(&s, SCANS, 5, NULL));
		assert_all_hits(SCANS, 9);
		assert_true(met ? s.w.many == many : s.w.many <= 3);
		end(&s);
	}

	/* One of two. */
	for (int met = 0; met < 2; met++)
	{
		begin(&s, 4, 200);
		s.w.lacks = WIRE_FEATURE_MANY;
		s.w.newer = &s.b;
		if (met)
		{
			assert_ok(open_many(&s, 1, 5, NULL));
			close_all();
		}
		assert_ok(open_many(&s, SCANS, 5, NULL));
		assert_all_hits(SCANS, 9);
		end(&s);
	}
}

/* A split before they are asked, and between the answers of two shards. */
static void
a_split_in_between_changes_nothing(void **state)
{
	(void) state;
	for (int after = 0; after < 2; after++)
	{
		Setup		s;

		begin(&s, 2, 300);
		assert_ok(open_many(&s, SCANS, 5, NULL));
		close_all();
		if (after)
			world_trick(&s.w, WIRE_SEARCH, 0, REFUSE, VT_BUSY);
		pthread_mutex_lock(&s.w.lock);
		world_split_both(&s.w, &s.b, &s.a);
		pthread_mutex_unlock(&s.w.lock);
		assert_ok(open_many(&s, SCANS, 5, NULL));
		assert_all_hits(SCANS, 9);
		end(&s);
	}
}

static Setup *splitting;

/* Under the world's lock, at the second question of a round. */
static void
split_at_second(World *w, WireType type)
{
	if (type != WIRE_SEARCH || w->count[WIRE_SEARCH] != 2)
		return;
	w->on_request = NULL;
	world_split_both(w, &splitting->b, &splitting->a);
}

/* The first shard has answered when the second is split: nothing of the first answer counts twice, or is lost. */
static void
a_split_between_two_answers_begins_anew(void **state)
{
	Setup		s;

	(void) state;
	begin(&s, 2, 300);
	splitting = &s;
	s.w.on_request = split_at_second;
	assert_ok(open_many(&s, SCANS, 5, NULL));
	assert_int_equal(s.w.nshards, 4);
	assert_all_hits(SCANS, 9);
	end(&s);
}

/* What is definite ends all, and leaves none. */
static void
all_fail_together(void **state)
{
	Setup		s;
	ClientMark	mark = {100, 1, 1000, 1};
	ClientMarks marks = {.n = 1, .items = &mark};

	(void) state;
	begin(&s, 3, 100);
	world_trick(&s.w, WIRE_SEARCH, 1, REFUSE, VT_NOT_OWNER);
	assert_int_equal(open_many(&s, SCANS, 5, NULL), VT_NOT_OWNER);
	assert_int_equal(opened, 0);
	assert_null(scans[0]);
	assert_null(scans[SCANS - 1]);

	/* What was on its way then has come before the next trick. */
	assert_ok(open_many(&s, SCANS, 5, NULL));
	close_all();

	/* A record of another shard, in any of the lists. */
	world_trick(&s.w, WIRE_SEARCH, 1, FOREIGN_RECORD, VT_OK);
	assert_int_equal(open_many(&s, SCANS, 5, NULL), VT_CORRUPT);

	/* Nobody has applied the mark. */
	{
		ClientSearch search = {.generation = s.w.generation, .owner = s.w.owner, .query = queries, .dim = DIM, .batch = 5,
			.ef = 100, .consistency = WIRE_AT_MARK, .marks = &marks};

		assert_told(VT_BEHIND, client_scan_open_many(s.client, &search, SCANS, in_ms(150), scans, &opened, &err));
	}
	assert_ok(open_many(&s, SCANS, 5, NULL));
	assert_all_hits(SCANS, 50);
	end(&s);
}

/* Marks are those of the answer, for each; a leader that was asked is not asked again. */
static void
marks_are_those_of_the_answer(void **state)
{
	Setup		s;
	ClientMarks marks;

	(void) state;
	begin(&s, 3, 100);
	assert_ok(open_many(&s, SCANS, 5, NULL));
	assert_int_equal(s.w.linearizable, 3);
	for (uint32_t i = 0; i < SCANS; i++)
	{
		client_scan_marks(scans[i], &marks);
		assert_int_equal(marks.n, 3);
		for (uint32_t k = 0; k < 3; k++)
			assert_int_equal(marks.items[k].index, s.w.shards[k].index);
		client_marks_free(&marks);
	}
	assert_all_hits(SCANS, 9);
	assert_int_equal(s.w.linearizable, 3);
	end(&s);
}

static void
random_trouble_changes_nothing(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 15; seed++)
	{
		Prng		prng = {seed};
		Setup		s;
		uint32_t	n;

		begin(&s, 1 + prng_below(&prng, 5), 150);
		n = 2 + prng_below(&prng, SCANS - 1);
		world_trouble(&s.w, &prng, 8);
		assert_ok(open_many(&s, n, 1 + prng_below(&prng, 20), NULL));
		assert_all_hits(n, 1 + prng_below(&prng, 40));
		end(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_gives_what_it_would_alone),
		cmocka_unit_test(the_first_batches_are_one_question_a_shard),
		cmocka_unit_test(as_many_as_are_opened_are_told),
		cmocka_unit_test(workers_of_before_are_asked_one_by_one),
		cmocka_unit_test(a_split_in_between_changes_nothing),
		cmocka_unit_test(a_split_between_two_answers_begins_anew),
		cmocka_unit_test(all_fail_together),
		cmocka_unit_test(marks_are_those_of_the_answer),
		cmocka_unit_test(random_trouble_changes_nothing),
	};

	return cmocka_run_group_tests_name("scans that are asked together", tests, NULL, NULL);
}
