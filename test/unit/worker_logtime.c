/*-------------------------------------------------------------------------
 *
 * worker_logtime.c
 *	  Sessions end by log time: not before they have not been used for as long as was
 *	  promised, whoever is late, and not for ever after.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_place.h"

#include "base/prng.h"

/* A leader that looks now and then, and sometimes not for long; a session that is used now and then. */
static void
live_and_end(uint64_t seed, uint64_t life)
{
	Prng		prng = {.state = prng_mix(seed)};
	uint64_t	now = 0;
	uint64_t	seen = 0;		/* when log time went on last */
	uint64_t	clock = 0;
	uint64_t	used = 0;		/* log time */
	uint64_t	used_at = 0;
	int			ends = 0;

	for (int i = 0; i < 20000; i++)
	{
		uint64_t	next;
		uint64_t	oldest;

		now += prng_below(&prng, prng_below(&prng, 20) == 0 ? (uint32_t) (3 * life) : (uint32_t) (life / 20 + 2));
		if (prng_below(&prng, 40) == 0)
		{
			used = clock;
			used_at = now;
		}
		if (!logtime_step(clock, now - seen, life, &next, &oldest))
			continue;
		assert_true(next > clock && next - clock <= now - seen);
		clock = next;
		seen = now;
		if (used >= oldest)
			continue;
		assert_true(now - used_at >= life);
		ends++;
		used = clock;
		used_at = now;
	}
	assert_true(clock <= now);
	assert_true(ends > 0);
}

static void
never_before_its_time(void **state)
{
	static const uint64_t lives[] = {1, 7, 100, 1000, 3000, 60000, 600000};

	(void) state;
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		for (uint64_t seed = 1; seed <= 5; seed++)
			live_and_end(seed, lives[i]);
}

/* One who looks every second, as the house thread does: a session of a minute ends in a little more. */
static void
and_soon_after(void **state)
{
	uint64_t	clock = 0;
	uint64_t	seen = 0;
	uint64_t	next;
	uint64_t	oldest = 0;
	uint64_t	now = 0;

	(void) state;
	for (; oldest == 0; now += 1000)
		if (logtime_step(clock, now - seen, 60000, &next, &oldest))
		{
			clock = next;
			seen = now;
		}
	assert_true(now >= 60000 && now <= 90000);
}

/* The first command of a new session, which may end at once where nobody gets a processor. */
static Change
put_in_new_session(Gateway *g, const Place *place)
{
	Change		open = {.type = WRITE_OPEN, .route = route(place)};
	Change		c = {WRITE_PUT, open.route, 0, 0, 1, 1, 0, DIM, 0, 1, 1};
	int64_t		until = clock_now_us() + PATIENCE_US;
	WireWriteResult result;
	VtStatus	status;

	do
	{
		assert_true(clock_now_us() < until);
		assert_int_equal(change(g, &open, &result), VT_OK);
		assert_true(result.index > c.session);
		c.session = result.index;
		status = change(g, &c, &result);
	} while (status == VT_SESSION_OVER);
	assert_int_equal(status, VT_OK);
	assert_false(result.repeated);
	return c;
}

/* A worker says clearly that a session is over, and another can be opened. */
static void
a_worker_ends_a_session(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireWriteResult result;
	int64_t		until = clock_now_us() + PATIENCE_US;
	VtStatus	status = VT_OK;
	Change		c;

	dial(&g, place);
	c = put_in_new_session(&g, place);

	/* Said again it is not done, and does not keep the session alive. */
	while (status == VT_OK)
	{
		assert_true(clock_now_us() < until);
		status = change(&g, &c, &result);
		assert_true(status != VT_OK || result.repeated);
		usleep(5000);
	}
	assert_int_equal(status, VT_SESSION_OVER);
	assert_true(bytes_equal(g.head.message, bytes_str(vt_status_words(VT_SESSION_OVER))));
	c.sequence = 2;
	assert_int_equal(change(&g, &c, &result), VT_SESSION_OVER);
	assert_true(put_in_new_session(&g, place).session > c.session);
	hang_up(&g);
}

static int
set_up(void **state)
{
	session_ms = 100;
	return set_up_floats(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_before_its_time),
		cmocka_unit_test(and_soon_after),
		cmocka_unit_test_setup_teardown(a_worker_ends_a_session, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_logtime", tests, NULL, NULL);
}
