/*-------------------------------------------------------------------------
 *
 * worker_hints.c
 *	  A follower links by what its leader says, waits for it while it is worth it, and
 *	  never longer; and takes any bytes.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/worker/hints.h"
#include "worker_rows.h"

#define N 600
#define SECOND INT64_C(1000000)
#define HEAD 13

/* One replica of a shard: its records, and what goes between it and the others. */
typedef struct Side
{
	Records    *records;
	Hints	   *hints;
	int64_t		now_us;
	uint32_t	waited;			/* times that it was told to */
} Side;

static Side
side(void)
{
	Side		s = {.records = make_records(VEC_L2, 0), .hints = hints_new(), .now_us = SECOND};

	return s;
}

static void
side_free(Side *s)
{
	records_free(s->records);
	hints_free(s->hints);
}

static void
on_found(void *arg, uint32_t slot, const HnswFound *found)
{
	Side	   *s = arg;

	hints_note(s->hints, s->records, slot, found);
}

static HnswAdvice
on_ask(void *arg, uint32_t slot)
{
	Side	   *s = arg;
	HnswAdvice	advice = hints_advise(s->hints, records_name(s->records, slot), records_waiting(s->records), s->now_us);

	s->waited += advice == HNSW_WAIT;
	return advice;
}

static bool
on_find(void *arg, uint32_t slot, HnswFound *found)
{
	Side	   *s = arg;

	return hints_find(s->hints, s->records, records_name(s->records, slot), found);
}

/* How many it links. */
static uint32_t
lead(Side *s, uint32_t n)
{
	HnswHelp	help = {.found = on_found, .arg = s};
	uint32_t	linked = 0;

	while (linked < n && hnsw_link_next_with(records_graph(s->records), &help) == HNSW_LINKED)
		linked++;
	return linked;
}

/* As hints_begin() does; nothing is so old that it goes. */
static void
read_told(Hints *hints, int64_t now_us)
{
	(void) hints_trim(hints, now_us);
}

static uint32_t
follow(Side *s)
{
	HnswHelp	help = {.ask = on_ask, .find = on_find, .arg = s};
	uint32_t	linked = 0;

	read_told(s->hints, s->now_us);
	while (hnsw_link_next_with(records_graph(s->records), &help) == HNSW_LINKED)
		linked++;
	return linked;
}

/* False: there was nothing to say. */
static bool
tell(Side *from, Side *to)
{
	Buf			words = {0};
	bool		any = hints_words(from->hints, from->records, &words);

	if (any)
		hints_take(to->hints, buf_bytes(&words), to->now_us);
	buf_free(&words);
	return any;
}

static uint64_t
found(const Side *s)
{
	HnswStats	stats;

	hnsw_stats(records_graph(s->records), &stats);
	return stats.found;
}

/* Three commands in four have a record, one has two. */
static uint64_t
version_of(uint32_t n)
{
	return n / 5 * 4 + n % 5 - (n % 5 == 4);
}

/* What the leader links is not looked for again, whichever comes first, the record or the hint. */
static void
linked_once(void **state)
{
	Side		leader = side();
	Side		follower = side();
	HnswReport	report;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
	{
		bool		early = i % 20 < 10;

		put(leader.records, i, version_of(i) + 1, i, NULL);
		if (!early)
			put(follower.records, i, version_of(i) + 1, i, NULL);
		if (i % 10 == 9)
		{
			if (!early)
				(void) follow(&follower);
			assert_int_equal(lead(&leader, 100), 10);
			assert_true(tell(&leader, &follower));
			assert_false(tell(&leader, &follower));
			for (uint32_t j = i - 9; early && j <= i; j++)
				put(follower.records, j, version_of(j) + 1, j, NULL);
			(void) follow(&follower);
			assert_int_equal(records_waiting(follower.records), 0);
		}
	}
	assert_true(follower.waited > 0);
	assert_true(found(&follower) > N * 8 / 10);
	assert_int_equal(found(&leader), 0);
	if (!hnsw_check(records_graph(follower.records), &report))
		fail_msg("%s", report.first);
	assert_false(hints_trim(follower.hints, follower.now_us + 60 * SECOND));
	side_free(&leader);
	side_free(&follower);
}

/* Ids of any length, and records that hang behind others. */
static void
all_kinds_of_ids(void **state)
{
	Side		leader = side();
	Side		follower = side();

	(void) state;
	for (uint32_t i = 0; i < N; i++)
	{
		char		id[40];
		uint8_t		v[DIM * 4];
		VtError		err = {0};

		snprintf(id, sizeof(id), "%.*s%u", (int) (i % 25), "a long name of a document ", i);
		vector_of(i / 4, v);
		assert_int_equal(records_put(leader.records, bytes_str(id), i + 1, v, (Bytes) {0}, &err), VT_OK);
		assert_int_equal(records_put(follower.records, bytes_str(id), i + 1, v, (Bytes) {0}, &err), VT_OK);
	}
	assert_int_equal(lead(&leader, N), N);
	assert_true(tell(&leader, &follower));
	assert_int_equal(follow(&follower), N);
	assert_true(found(&follower) > N * 8 / 10);
	side_free(&leader);
	side_free(&follower);
}

/* -- Waiting ---------------------------------------------------------------------- */

static Buf
words_of(uint64_t passed, uint32_t waiting)
{
	Buf			words = {0};

	buf_put_u8(&words, 1);
	buf_put_u64(&words, passed);
	buf_put_u32(&words, waiting);
	return words;
}

static void
say(Hints *hints, uint64_t passed, uint32_t waiting, int64_t now_us)
{
	Buf			words = words_of(passed, waiting);

	hints_take(hints, buf_bytes(&words), now_us);
	read_told(hints, now_us);
	buf_free(&words);
}

/* A hint of no lists, for that name. */
static void
give(Hints *hints, RecordName name, int64_t now_us)
{
	Buf			words = words_of(0, 0);
	Buf			hint = {0};

	buf_put_u64(&hint, name.version);
	buf_put_u32(&hint, name.sum);
	buf_put_u8(&hint, 0);
	buf_put_u32(&hint, 17);
	buf_put_u32(&hint, 1);
	buf_put_string(&words, buf_bytes(&hint));
	hints_take(hints, buf_bytes(&words), now_us);
	read_told(hints, now_us);
	buf_free(&hint);
	buf_free(&words);
}

static void
how_long_it_waits(void **state)
{
	Hints	   *hints = hints_new();
	RecordName	name = {.version = 100, .sum = 5};
	RecordName	other = {.version = 100, .sum = 6};
	int64_t		now = 50 * SECOND;

	(void) state;

	/* Nobody has said anything. */
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_ALONE);
	assert_false(hints_awaited(hints, now));

	/* The leader is at work before it: for half a second, ... */
	say(hints, 90, 12, now);
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_WAIT);
	assert_true(hints_awaited(hints, now));
	assert_true(hints_awaited(hints, now + SECOND / 2 - 1));
	assert_false(hints_awaited(hints, now + SECOND / 2));

	/* ... and whatever comes is a reason to ask anew, with what is left of it. */
	say(hints, 96, 12, now += SECOND / 4);
	assert_false(hints_awaited(hints, now));
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_WAIT);
	assert_false(hints_awaited(hints, now + SECOND / 4));

	/* The leader has come past it, and has said how, or nothing of it was to be said. */
	say(hints, 100, 12, now);
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_WAIT);
	say(hints, 101, 12, now);
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_ALONE);
	assert_false(hints_awaited(hints, now));

	/* It has much more to do than this one: a backlog that is no concern of ours. */
	say(hints, 90, 2 * 10 + 257, now);
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_ALONE);
	assert_int_equal(hints_advise(hints, name, 11, now), HNSW_WAIT);

	/* It has been silent for a second. */
	assert_int_equal(hints_advise(hints, other, 11, now + SECOND - 1), HNSW_WAIT);
	assert_int_equal(hints_advise(hints, other, 11, now + SECOND), HNSW_ALONE);
	assert_false(hints_awaited(hints, now + SECOND));
	hints_free(hints);
}

/* So many hints, for others. */
static void
come(Hints *hints, uint32_t n, int64_t now)
{
	static uint32_t sum;

	for (uint32_t i = 0; i < n; i++)
		give(hints, (RecordName) {.version = 1000000, .sum = sum++}, now);
}

/*
 * Where a leader speaks of others all the time, as one does that links in another order, few
 * are waited for: after the first in vain sixteen hints have to come, then twice as many, ...
 */
static void
seldom_in_vain(void **state)
{
	Hints	   *hints = hints_new();
	RecordName	lost = {.version = 100, .sum = 1};
	HintsFigures figures;
	int64_t		now = 50 * SECOND;

	(void) state;
	for (uint32_t owed = 16, i = 1; i <= 4; i++, owed *= 2)
	{
		lost.sum++;
		say(hints, 90, 12, now);
		assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_WAIT);
		now += SECOND / 2;
		say(hints, 90, 12, now);
		assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_ALONE);
		hints_figures(hints, &figures);
		assert_int_equal(figures.vain, i);
		for (uint32_t j = 0; j < 100; j++)
		{
			lost.sum++;
			assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_ALONE);
		}
		come(hints, owed - 1, now);
		lost.sum++;
		say(hints, 90, 12, now);
		assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_ALONE);
		come(hints, 1, now);
	}

	/* ... until one comes that was waited for. */
	lost.sum++;
	say(hints, 90, 12, now);
	assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_WAIT);
	give(hints, lost, now);
	assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_FOUND);
	lost.sum++;
	say(hints, 90, 12, now);
	assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_WAIT);
	now += SECOND / 2;
	say(hints, 90, 12, now);
	assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_ALONE);
	come(hints, 16, now);
	lost.sum++;
	say(hints, 90, 12, now);
	assert_int_equal(hints_advise(hints, lost, 10, now), HNSW_WAIT);
	hints_free(hints);
}

/* What comes while somebody finds out that he has to wait is not overlooked. */
static void
nothing_is_overlooked(void **state)
{
	Hints	   *hints = hints_new();
	RecordName	name = {.version = 100, .sum = 5};
	Buf			words = words_of(90, 12);
	int64_t		now = 50 * SECOND;

	(void) state;
	say(hints, 90, 12, now);
	hints_take(hints, buf_bytes(&words), now);	/* nobody has read it */
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_WAIT);
	assert_false(hints_awaited(hints, now));
	read_told(hints, now);
	assert_int_equal(hints_advise(hints, name, 10, now), HNSW_WAIT);
	assert_true(hints_awaited(hints, now));
	buf_free(&words);
	hints_free(hints);
}

/* How far it has come, as it says it, is never beyond what still waits, or was not said. */
static void
how_far_the_leader_is(void **state)
{
	Side		leader = side();
	Buf			words = {0};

	(void) state;
	for (uint32_t i = 0; i < 20; i++)
		put(leader.records, i, 100 + i, i, NULL);
	assert_false(hints_words(leader.hints, leader.records, &words));
	assert_int_equal(lead(&leader, 7), 7);
	assert_true(hints_words(leader.hints, leader.records, &words));
	assert_int_equal(words.data[0], 1);
	assert_int_equal(get_le64(words.data + 1), 107);
	assert_int_equal(get_le32(words.data + 9), 13);
	buf_free(&words);
	assert_int_equal(lead(&leader, 20), 13);
	assert_true(hints_words(leader.hints, leader.records, &words));
	assert_int_equal(get_le64(words.data + 1), 120);
	assert_int_equal(get_le32(words.data + 9), 0);
	buf_free(&words);
	side_free(&leader);
}

/* -- What is kept ------------------------------------------------------------------ */

static void
some_are_kept(void **state)
{
	Hints	   *hints = hints_new();
	Records    *records = make_records(VEC_L2, 0);
	HnswFound	found = {0};
	HintsFigures figures;
	RecordName	first = {.version = 1, .sum = 7};
	uint64_t	kept = 0;
	int64_t		now = SECOND;

	(void) state;
	for (uint64_t v = 1; v <= 200000; v++)
	{
		RecordName	name = {.version = v, .sum = (uint32_t) v * 7};

		give(hints, name, now);
		give(hints, name, now);	/* it came twice */
	}

	/* The first ones, which are wanted first, as many as there is room for. */
	while (hints_advise(hints, (RecordName) {.version = kept + 1, .sum = (uint32_t) (kept + 1) * 7}, 0, now) == HNSW_FOUND)
		kept++;
	assert_in_range(kept, 10000, 199999);
	hints_figures(hints, &figures);
	assert_in_range(figures.bytes, 3 << 20, 4 << 20);
	assert_true(figures.refused >= 200000 - kept);

	/* A hint is given once.  The record that it hangs behind is not here. */
	hnsw_found_begin(&found);
	assert_false(hints_find(hints, records, first, &found));
	assert_int_not_equal(hints_advise(hints, first, 0, now), HNSW_FOUND);
	assert_false(hints_find(hints, records, first, &found));

	/* What nobody has asked for in ten seconds goes, also while others come. */
	assert_true(hints_trim(hints, now + 10 * SECOND));
	give(hints, (RecordName) {.version = 200001, .sum = 1}, now + 10 * SECOND + 1);
	hints_figures(hints, &figures);
	assert_in_range(figures.bytes, 1, 1000);
	assert_false(hints_trim(hints, now + 20 * SECOND + 2));
	hints_figures(hints, &figures);
	assert_int_equal(figures.bytes, 0);
	give(hints, first, now + 25 * SECOND);
	assert_true(hints_trim(hints, now + 30 * SECOND));
	assert_int_equal(hints_advise(hints, first, 0, now), HNSW_FOUND);
	assert_false(hints_trim(hints, now + 40 * SECOND));
	assert_false(hints_trim(NULL, now));
	assert_false(hints_awaited(NULL, now));
	hnsw_found_free(&found);
	records_free(records);
	hints_free(hints);
}

/* Nor do words that nobody looks at take more. */
static void
words_have_a_bound(void **state)
{
	Hints	   *hints = hints_new();
	HintsFigures figures;
	Buf			words = words_of(90, 12);

	(void) state;
	buf_put_zeros(&words, 100000);
	for (int i = 0; i < 100; i++)
		hints_take(hints, buf_bytes(&words), SECOND);
	hints_figures(hints, &figures);
	assert_in_range(figures.bytes, 3 << 20, 4 << 20);
	assert_in_range(figures.refused, 50, 99);
	assert_false(hints_trim(hints, SECOND));
	hints_figures(hints, &figures);
	assert_int_equal(figures.bytes, 0);
	buf_free(&words);
	hints_free(hints);
}

/* -- Damage ------------------------------------------------------------------------ */

/* Words cut short or changed anywhere: nothing is linked that is not here, and the graph is one. */
static void
any_bytes(void **state)
{
	Side		leader = side();
	Buf			words = {0};
	Prng		prng = {3};
	uint32_t	some = 0;

	(void) state;
	for (uint32_t i = 0; i < 60; i++)
		put(leader.records, i, i + 1, i, NULL);
	assert_int_equal(lead(&leader, 60), 60);
	assert_true(hints_words(leader.hints, leader.records, &words));
	for (uint32_t turn = 0; turn < 400; turn++)
	{
		Side		follower = side();
		HnswReport	report;
		uint8_t    *changed = malloc(words.len);
		size_t		len = turn % 2 == 0 ? words.len : prng_below(&prng, (uint32_t) words.len + 1);

		assert_non_null(changed);
		memcpy(changed, words.data, words.len);
		for (uint32_t i = turn % 2 == 0 ? 1 + prng_below(&prng, 20) : 0; i > 0; i--)
			changed[1 + prng_below(&prng, (uint32_t) words.len - 1)] = (uint8_t) prng_below(&prng, 256);
		for (uint32_t i = 0; i < 60; i++)
			put(follower.records, i, i + 1, i, NULL);
		hints_take(follower.hints, bytes_of(changed, len), follower.now_us);
		(void) follow(&follower);
		follower.now_us += 10 * SECOND;
		(void) follow(&follower);
		assert_int_equal(records_waiting(follower.records), 0);
		if (!hnsw_check(records_graph(follower.records), &report))
			fail_msg("%s", report.first);
		some += found(&follower) > 0;
		side_free(&follower);
		free(changed);
	}
	assert_true(some > 100);
	buf_free(&words);
	side_free(&leader);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linked_once),
		cmocka_unit_test(all_kinds_of_ids),
		cmocka_unit_test(how_long_it_waits),
		cmocka_unit_test(seldom_in_vain),
		cmocka_unit_test(nothing_is_overlooked),
		cmocka_unit_test(how_far_the_leader_is),
		cmocka_unit_test(some_are_kept),
		cmocka_unit_test(words_have_a_bound),
		cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
