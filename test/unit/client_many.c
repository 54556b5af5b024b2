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

typedef struct Setup
{
	World		w;
	Fake		a;
	Fake		b;
	Watch		watch;
	Client	   *client;
	float		queries[WIRE_QUERIES_MAX * DIM];
	Truth		truths[SCANS];
	ClientScan *scans[WIRE_QUERIES_MAX];
	uint32_t	opened;
} Setup;

static void
set_up(Setup *s, uint32_t nshards, uint32_t records)
{
	s->opened = 0;
	world_init(&s->w, nshards);
	world_fill(&s->w, records, 42);
	fake_start(&s->a, &s->w);
	fake_start(&s->b, &s->w);
	for (uint32_t i = 0; i < nshards; i++)
		s->w.shards[i].home = i % 2 ? &s->b : &s->a;
	s->client = client_for(s->a.endpoint, NULL, &s->watch);
	for (uint32_t i = 0; i < WIRE_QUERIES_MAX * DIM; i++)
		s->queries[i] = (float) (i * 7 % 11);
	for (uint32_t i = 0; i < SCANS; i++)
		s->truths[i] = truth_of(&s->w, s->queries + i * DIM);
}

static void
close_all(Setup *s)
{
	for (uint32_t i = 0; i < s->opened; i++)
		client_scan_close(s->scans[i]);
	s->opened = 0;
}

static void
tear_down(Setup *s)
{
	close_all(s);
	for (uint32_t i = 0; i < SCANS; i++)
		truth_free(&s->truths[i]);
	client_end(s->client, &s->watch);
	fake_stop(&s->a);
	fake_stop(&s->b);
	world_free(&s->w);
}

static VtStatus
open_many(Setup *s, uint32_t n, uint32_t batch, const ClientMarks *marks)
{
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = s->queries,
		.dim = DIM, .batch = batch, .ef = 100, .consistency = WIRE_AT_MARK, .marks = marks, .filter = s->w.filter};

	return client_scan_open_many(s->client, &search, n, in_ms(LONG_MS), s->scans, &s->opened, &err);
}

/* All are read in turns, so many at a time, to their ends. */
static void
assert_all_hits(Setup *s, uint32_t n, size_t each)
{
	size_t		at[SCANS] = {0};

	assert_int_equal(s->opened, n);
	for (bool more = true; more;)
	{
		more = false;
		for (uint32_t i = 0; i < n; i++)
		{
			size_t		left = s->truths[i].n - at[i];

			if (left > 0)
				assert_hits(s->scans[i], &s->truths[i], &at[i], each < left ? each : left);
			more = more || at[i] < s->truths[i].n;
		}
	}
	for (uint32_t i = 0; i < n; i++)
		assert_hits(s->scans[i], &s->truths[i], &at[i], 0);
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

			set_up(&s, nshards[i], 300);
			assert_ok(open_many(&s, SCANS, batches[j], NULL));
			assert_int_equal(s.w.many, nshards[i]);
			assert_int_equal(world_count(&s.w, WIRE_SEARCH), nshards[i]);
			assert_all_hits(&s, SCANS, 7);
			if (batches[j] == 1000)
				assert_int_equal(world_count(&s.w, WIRE_SEARCH), nshards[i]);
			tear_down(&s);
		}
}

/* What all hope to need costs no more questions than there are shards, and leaves nothing to close. */
static void
the_first_batches_are_one_question_a_shard(void **state)
{
	Setup		s;
	ClientScanStats stats;

	(void) state;
	set_up(&s, 4, 200);
	s.w.filter = bytes_of(NULL, 0);
	assert_ok(open_many(&s, SCANS, 10, NULL));
	for (uint32_t i = 0; i < SCANS; i++)
	{
		size_t		at = 0;

		assert_hits(s.scans[i], &s.truths[i], &at, 10);
		client_scan_stats(s.scans[i], &stats);
		assert_int_equal(stats.batches, 4);
		assert_int_equal(stats.hits, 10);
	}
	assert_int_equal(world_count(&s.w, WIRE_SEARCH), 4);
	assert_int_equal(s.w.unfiltered, 0);
	close_all(&s);
	assert_int_equal(s.w.closes, 0);

	/* One alone is asked as ever. */
	assert_ok(open_many(&s, 1, 10, NULL));
	assert_int_equal(s.opened, 1);
	assert_int_equal(s.w.many, 4);
	tear_down(&s);
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
	set_up(&s, 2, 20);
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
	tear_down(&s);
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
		set_up(&s, 3, 200);
		s.w.takes_one = true;
		if (met)
		{
			assert_ok(open_many(&s, 1, 5, NULL));
			close_all(&s);
		}
		many = s.w.many;
		assert_ok(open_many(&s, SCANS, 5, NULL));
		assert_all_hits(&s, SCANS, 9);
		assert_true(met ? s.w.many == many : s.w.many <= 3);
		tear_down(&s);
	}

	/* One of two. */
	for (int met = 0; met < 2; met++)
	{
		set_up(&s, 4, 200);
		s.w.takes_one = true;
		s.w.takes_many = &s.b;
		if (met)
		{
			assert_ok(open_many(&s, 1, 5, NULL));
			close_all(&s);
		}
		assert_ok(open_many(&s, SCANS, 5, NULL));
		assert_all_hits(&s, SCANS, 9);
		tear_down(&s);
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

		set_up(&s, 2, 300);
		assert_ok(open_many(&s, SCANS, 5, NULL));
		close_all(&s);
		if (after)
			world_trick(&s.w, WIRE_SEARCH, 0, REFUSE, VT_BUSY);
		pthread_mutex_lock(&s.w.lock);
		world_split_both(&s.w, &s.b, &s.a);
		pthread_mutex_unlock(&s.w.lock);
		assert_ok(open_many(&s, SCANS, 5, NULL));
		assert_all_hits(&s, SCANS, 9);
		tear_down(&s);
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
	set_up(&s, 2, 300);
	splitting = &s;
	s.w.on_request = split_at_second;
	assert_ok(open_many(&s, SCANS, 5, NULL));
	assert_int_equal(s.w.nshards, 4);
	assert_all_hits(&s, SCANS, 9);
	tear_down(&s);
}

/* What is definite ends all, and leaves none. */
static void
all_fail_together(void **state)
{
	Setup		s;
	ClientMark	mark = {100, 1, 1000, 1};
	ClientMarks marks = {.n = 1, .items = &mark};

	(void) state;
	set_up(&s, 3, 100);
	world_trick(&s.w, WIRE_SEARCH, 1, REFUSE, VT_NOT_OWNER);
	assert_int_equal(open_many(&s, SCANS, 5, NULL), VT_NOT_OWNER);
	assert_int_equal(s.opened, 0);
	assert_null(s.scans[0]);
	assert_null(s.scans[SCANS - 1]);

	/* A record of another shard, in any of the lists. */
	world_trick(&s.w, WIRE_SEARCH, 1, FOREIGN_RECORD, VT_OK);
	assert_int_equal(open_many(&s, SCANS, 5, NULL), VT_CORRUPT);

	/* Nobody has applied the mark. */
	{
		ClientSearch search = {.generation = s.w.generation, .owner = s.w.owner, .query = s.queries, .dim = DIM, .batch = 5,
			.ef = 100, .consistency = WIRE_AT_MARK, .marks = &marks};

		assert_int_equal(client_scan_open_many(s.client, &search, SCANS, in_ms(150), s.scans, &s.opened, &err), VT_BEHIND);
	}
	assert_ok(open_many(&s, SCANS, 5, NULL));
	assert_all_hits(&s, SCANS, 50);
	tear_down(&s);
}

/* Marks are those of the answer, for each; a leader that was asked is not asked again. */
static void
marks_are_those_of_the_answer(void **state)
{
	Setup		s;
	ClientMarks marks;

	(void) state;
	set_up(&s, 3, 100);
	assert_ok(open_many(&s, SCANS, 5, NULL));
	assert_int_equal(s.w.linearizable, 3);
	for (uint32_t i = 0; i < SCANS; i++)
	{
		client_scan_marks(s.scans[i], &marks);
		assert_int_equal(marks.n, 3);
		for (uint32_t k = 0; k < 3; k++)
			assert_int_equal(marks.items[k].index, s.w.shards[k].index);
		client_marks_free(&marks);
	}
	assert_all_hits(&s, SCANS, 9);
	assert_int_equal(s.w.linearizable, 3);
	tear_down(&s);
}

static void
random_trouble_changes_nothing(void **state)
{
	static const Mischief kinds[] = {CLOSE_BEFORE, CLOSE_AFTER, CLOSE_IN_MIDDLE, BAD_CHECKSUM, STALE_FIRST,
		LEAVE_HOLE, OTHER_LIFE, OLD_VIEW, EMPTY_BATCH, REPEAT_BATCH, NO_LEASE, SHUFFLED, REFUSE};
	static const VtStatus passing[] = {VT_BUSY, VT_BEHIND, VT_NOT_LEADER, VT_WRONG_SHARD, VT_STOPPING};

	(void) state;
	for (uint64_t seed = 1; seed <= 15; seed++)
	{
		Prng		prng = {seed};
		Setup		s;
		uint32_t	n;

		set_up(&s, 1 + prng_below(&prng, 5), 150);
		n = 2 + prng_below(&prng, SCANS - 1);
		for (int i = 0; i < 8; i++)
			world_trick(&s.w, WIRE_SEARCH, (int) prng_below(&prng, 4), kinds[prng_below(&prng, sizeof(kinds) / sizeof(kinds[0]))],
						passing[prng_below(&prng, 5)]);
		assert_ok(open_many(&s, n, 1 + prng_below(&prng, 20), NULL));
		assert_all_hits(&s, n, 1 + prng_below(&prng, 40));
		tear_down(&s);
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
