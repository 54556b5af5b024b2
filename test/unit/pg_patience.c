/*-------------------------------------------------------------------------
 *
 * pg_patience.c
 *	  How long CREATE INDEX waits for replicas that index after their leaders.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../src/pg/patience.c"

#define POLL 100
#define PAUSE 30000
#define WORKED 5000

/* How long one waits when look() tells how many are not indexed. */
static int64_t
waits(uint64_t (*look) (int64_t now))
{
	Patience	patience = {0};
	int64_t		now = 0;

	while (patience_left(&patience, look(now), 1000000 + now, WORKED, PAUSE))
	{
		now += POLL;
		assert_true(now < 100 * PAUSE);
	}
	return now;
}

static uint64_t
nothing(int64_t now)
{
	(void) now;
	return 0;
}

static uint64_t
soon(int64_t now)
{
	return now < 1000 ? UINT64_MAX : now < 20000 ? 20000 - (uint64_t) now : 0;
}

static uint64_t
always_the_same(int64_t now)
{
	(void) now;
	return 17;
}

/* Told in turns, by one who is heard of and then behind a log that moves. */
static uint64_t
by_turns(int64_t now)
{
	return now / POLL % 2 ? UINT64_MAX : 17;
}

static uint64_t
slower_and_slower(int64_t now)
{
	return 1000000 - (uint64_t) now / 1000;
}

static void
as_long_as_something_comes_nearer(void **state)
{
	(void) state;
	assert_int_equal(waits(nothing), 0);
	assert_int_equal(waits(soon), 20000);
	assert_int_equal(waits(always_the_same), PAUSE);
	assert_int_equal(waits(by_turns), PAUSE);
	assert_int_equal(waits(slower_and_slower), WORKED + PAUSE);
}

static void
marks_of_the_same_shards(void **state)
{
	ClientMark	items[2] = {{.shard = 7, .incarnation = 1, .index = 100}, {.shard = 8, .incarnation = 1, .index = 50}};
	ClientMark	later[3] = {{.shard = 7, .incarnation = 1, .index = 130}, {.shard = 8, .incarnation = 1, .index = 51}, {.shard = 9}};
	ClientMarks a = {.n = 2, .items = items};
	ClientMarks b = {.n = 2, .items = later};
	ClientMarks none = {0};

	(void) state;
	assert_true(patience_same_shards(&a, &b));
	assert_true(patience_same_shards(&none, &none));
	assert_false(patience_same_shards(&none, &a));
	b.n = 3;
	assert_false(patience_same_shards(&a, &b));
	b.n = 2;
	later[1].incarnation = 2;
	assert_false(patience_same_shards(&a, &b));
	later[1].incarnation = 1;
	later[0].shard = 6;
	assert_false(patience_same_shards(&a, &b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_long_as_something_comes_nearer),
		cmocka_unit_test(marks_of_the_same_shards),
	};

	return cmocka_run_group_tests_name("pg_patience", tests, NULL, NULL);
}
