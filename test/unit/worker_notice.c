/*-------------------------------------------------------------------------
 *
 * worker_notice.c
 *	  What the log says of a shard that goes wrong for long: once, and when it is over.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/notice.h"

#define S INT64_C(1000000)

static const ShardView well = {.has_leader = true};
static const ShardView headless = {0};

static void
test_no_leader(void **state)
{
	ShardNotice n = {0};

	(void) state;
	assert_int_equal(notice_next(&n, &well, 100 * S), NOTICE_NONE);

	/* An election is no news. */
	assert_int_equal(notice_next(&n, &headless, 101 * S), NOTICE_NONE);
	assert_int_equal(notice_next(&n, &headless, 105 * S), NOTICE_NONE);
	assert_int_equal(notice_next(&n, &well, 105 * S), NOTICE_NONE);

	/* It begins anew; then it is told, once. */
	assert_int_equal(notice_next(&n, &headless, 107 * S), NOTICE_NONE);
	assert_int_equal(notice_next(&n, &headless, 112 * S - 1), NOTICE_NONE);
	assert_int_equal(notice_next(&n, &headless, 112 * S), NOTICE_LEADERLESS);
	assert_int_equal(notice_next(&n, &headless, 500 * S), NOTICE_NONE);
	assert_int_equal(notice_next(&n, &well, 501 * S), NOTICE_LED_AGAIN);
	assert_int_equal(n.leaderless_us, 107 * S);
	assert_int_equal(notice_next(&n, &well, 502 * S), NOTICE_NONE);
	assert_int_equal(n.leaderless_us, 0);
}

static void
test_lag(void **state)
{
	ShardNotice n = {0};
	ShardView	view = {.has_leader = true, .leads = true, .laggard = 7, .behind = NOTICE_BEHIND - 1};

	(void) state;
	assert_int_equal(notice_next(&n, &view, S), NOTICE_NONE);
	view.behind = NOTICE_BEHIND;
	assert_int_equal(notice_next(&n, &view, 2 * S), NOTICE_LAGS);
	assert_int_equal(n.laggard, 7);

	/* It goes up and down; another one that lags as well is not told of meanwhile. */
	view.told_behind = NOTICE_BEHIND + 5;
	assert_int_equal(notice_next(&n, &view, 3 * S), NOTICE_NONE);
	view = (ShardView) {.has_leader = true, .leads = true, .laggard = 8, .behind = 5 * NOTICE_BEHIND, .told_behind = NOTICE_CAUGHT_UP + 1};
	assert_int_equal(notice_next(&n, &view, 4 * S), NOTICE_NONE);
	view.told_behind = NOTICE_CAUGHT_UP;
	assert_int_equal(notice_next(&n, &view, 5 * S), NOTICE_LAGS_NO_MORE);
	n.laggard = 0;
	assert_int_equal(notice_next(&n, &view, 6 * S), NOTICE_LAGS);
	assert_int_equal(n.laggard, 8);

	/* Who leads no more says nothing of it. */
	view.leads = false;
	assert_int_equal(notice_next(&n, &view, 7 * S), NOTICE_NONE);
	assert_int_equal(n.laggard, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_leader),
		cmocka_unit_test(test_lag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
