/*-------------------------------------------------------------------------
 *
 * pd_questions.c
 *	  However many ask, workers and drivers are heard in the next round, and who is
 *	  refused is told for how long.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../../src/pd/service.h"
#include "base/prng.h"

#define MANY 10000

static Question all[MANY];

/* A question's number, by its place. */
static size_t
number(const Question *q)
{
	return (size_t) (q - all);
}

static size_t
length(const Question *list)
{
	size_t		n = 0;

	for (; list; list = list->next)
		n++;
	return n;
}

static void
a_flood_holds_up_no_worker(void **state)
{
	Questions	questions;
	Question   *list;
	size_t		n = 0;

	(void) state;
	questions_init(&questions);
	assert_null(questions_take(&questions, NULL));
	while (questions_put(&questions, &all[n], false))
		n++;
	assert_int_equal(n, QUESTIONS_MAX);

	/* It is full for others; a worker comes last and is the first. */
	assert_true(questions_put(&questions, &all[n], true));
	assert_int_equal(questions_count(&questions), QUESTIONS_MAX + 1);
	list = questions_take(&questions, NULL);
	assert_int_equal(number(list), n);
	assert_int_equal(length(list), 1 + QUESTIONS_ROUND);
	assert_int_equal(questions_count(&questions), QUESTIONS_MAX - QUESTIONS_ROUND);

	/* So it is in every round, and all are answered in the order they came. */
	for (size_t next = QUESTIONS_ROUND; next < n;)
	{
		assert_true(questions_put(&questions, &all[n + 1], true));
		assert_true(questions_put(&questions, &all[n + 2], true));
		list = questions_take(&questions, NULL);
		assert_int_equal(number(list), n + 1);
		assert_int_equal(number(list->next), n + 2);
		for (list = list->next->next; list; list = list->next)
			assert_int_equal(number(list), next++);
	}
	assert_int_equal(questions_count(&questions), 0);
	assert_null(questions_take(&questions, NULL));
}

/* Beside two lists of numbers. */
static void
nobody_is_lost(void **state)
{
	Prng		prng = {11};
	Questions	questions;
	size_t		waiting[2][MANY];
	size_t		front[2] = {0};
	size_t		end[2] = {0};

	(void) state;
	questions_init(&questions);
	for (size_t next = 0; next < MANY || questions_count(&questions) > 0;)
	{
		size_t		more = prng_below(&prng, 600);

		for (; more > 0 && next < MANY; more--, next++)
		{
			int			daemon = prng_below(&prng, 3) == 0;

			assert_true(questions_put(&questions, &all[next], daemon));
			waiting[daemon][end[daemon]++] = next;
		}
		for (Question *q = questions_take(&questions, NULL); q; q = q->next)
		{
			int			daemon = front[1] < end[1];

			assert_int_equal(number(q), waiting[daemon][front[daemon]++]);
		}
		assert_int_equal(questions_count(&questions), end[0] - front[0]);
		assert_int_equal(front[1], end[1]);
	}
	assert_int_equal(front[0] + front[1], MANY);
}

static void
bytes_count_as_well(void **state)
{
	const size_t large = 15 << 20;
	const size_t others = QUESTIONS_BYTES / large;
	const size_t daemons = QUESTIONS_DAEMON_BYTES / large;
	Questions	questions;
	Question   *list;
	size_t		n = 0;

	(void) state;
	questions_init(&questions);
	for (size_t i = 0; i < MANY; i++)
		all[i].payload.size = large;
	while (questions_put(&questions, &all[n], false))
		n++;
	assert_int_equal(n, others);
	assert_int_equal(questions_bytes(&questions), others * large);
	while (questions_put(&questions, &all[n], true))
		n++;
	assert_int_equal(n, others + daemons);

	/* A round has one of daemons, and one of others, that are larger than they should be. */
	for (size_t i = 0; i < others || i < daemons; i++)
	{
		bool		behind;

		list = questions_take(&questions, &behind);
		assert_int_equal(length(list), (i < daemons) + (i < others));
		assert_int_equal(behind, i + 1 < daemons);
		if (i < daemons)
			assert_int_equal(number(list), others + i);
	}
	assert_int_equal(questions_bytes(&questions), 0);
	assert_null(questions_take(&questions, NULL));

	/* Of smaller ones as many as fit; behind them comes one that does not, alone. */
	for (size_t i = 0; i < 20; i++)
	{
		all[i].payload.size = i < 19 ? QUESTIONS_ROUND_BYTES / 10 : large;
		assert_true(questions_put(&questions, &all[i], false));
	}
	assert_int_equal(length(questions_take(&questions, NULL)), 10);
	assert_int_equal(length(questions_take(&questions, NULL)), 9);
	list = questions_take(&questions, NULL);
	assert_int_equal(number(list), 19);
	assert_int_equal(questions_bytes(&questions), 0);
	memset(all, 0, sizeof(all));
}

static void
who_is_refused_is_told_for_how_long(void **state)
{
	Questions	questions;
	size_t		n = 0;
	uint32_t	unknown;

	(void) state;
	questions_init(&questions);
	assert_true(questions_wait_ms(&questions) > 0);
	while (questions_put(&questions, &all[n], false))
		n++;
	unknown = questions_wait_ms(&questions);
	assert_true(unknown > 0);
	questions_served(&questions, 0, 5);
	assert_int_equal(questions_wait_ms(&questions), unknown);
	for (int i = 0; i < 100; i++)
		questions_served(&questions, 100, 100 * 200);
	assert_in_range(questions_wait_ms(&questions), QUESTIONS_MAX / 5, QUESTIONS_MAX / 5 * 11 / 10);

	/* Within bounds: it may be that one waited for the disk. */
	for (int i = 0; i < 100; i++)
		questions_served(&questions, 1, 60 * INT64_C(1000000));
	assert_int_equal(questions_wait_ms(&questions), 10000);
}

/* A thousand workers tell a new leader everything; who asks for a way waits for a few of them, not for all. */
static void
telling_of_all_holds_up_nobody(void **state)
{
	const size_t large = 300 << 10;
	const size_t fit = QUESTIONS_DAEMON_ROUND_BYTES / large;
	Questions	questions;
	size_t		daemons = 0;
	size_t		taken = 0;

	(void) state;
	memset(all, 0, sizeof(all));
	questions_init(&questions);
	for (size_t i = 0; i < 500; i++)
		all[i].payload.size = large;
	while (daemons < 500 && questions_put(&questions, &all[daemons], true))
		daemons++;
	assert_true(daemons > 10 * fit);
	while (taken < daemons)
	{
		bool		behind;
		size_t		n = 0;
		Question   *q;

		assert_true(questions_put(&questions, &all[500], false));
		for (q = questions_take(&questions, &behind); q && number(q) < 500; q = q->next, n++)
			assert_int_equal(number(q), taken++);
		assert_int_equal(n, taken < daemons || daemons % fit == 0 ? fit : daemons % fit);
		assert_ptr_equal(q, &all[500]);
		assert_null(q->next);
		assert_int_equal(behind, taken < daemons);
	}
	assert_int_equal(questions_bytes(&questions), 0);

	/* What says little comes with all others. */
	for (size_t i = 0; i < 3000; i++)
	{
		all[i].payload.size = 512;
		assert_true(questions_put(&questions, &all[i], true));
	}
	assert_int_equal(length(questions_take(&questions, NULL)), 3000);
	memset(all, 0, sizeof(all));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_holds_up_no_worker),
		cmocka_unit_test(nobody_is_lost),
		cmocka_unit_test(bytes_count_as_well),
		cmocka_unit_test(telling_of_all_holds_up_nobody),
		cmocka_unit_test(who_is_refused_is_told_for_how_long),
	};

	return cmocka_run_group_tests_name("pd_questions", tests, NULL, NULL);
}
