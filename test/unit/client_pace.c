/*-------------------------------------------------------------------------
 *
 * client_pace.c
 *	  The p95 of the last minute, how many hedges it pays for, which workers are in
 *	  doubt, and who is kept back where one has too much to do.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_cluster.h"

#include "../../src/client/private.h"

#define SECOND INT64_C(1000000)

static int
compare(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

/* Beside the same by sorting: at most a bucket, a quarter, too high. */
static void
the_quantile(void **state)
{
	Prng		prng = {5};
	int64_t	   *all = vt_alloc(sizeof(int64_t) * 3000);

	(void) state;
	for (int round = 0; round < 40; round++)
	{
		ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
		uint32_t	n = 20 + prng_below(&prng, 2900);
		uint32_t	top = 2000 + prng_below(&prng, 400000);
		int64_t		now = 500 * SECOND;
		int64_t		truth;
		int64_t		told;

		for (uint32_t i = 0; i < n; i++)
		{
			all[i] = 1000 + (int64_t) (prng_below(&prng, top) * prng_double(&prng));
			pace_took(pace, all[i], now + (int64_t) i * 50 * SECOND / n);
		}
		qsort(all, n, sizeof(int64_t), compare);
		truth = all[n - 1 - n / 20];
		told = pace_hedge_us(pace, now + 50 * SECOND);
		if (truth > 500000)
			truth = 500000;
		assert_true(told >= truth || told == 500000);
		assert_true(told <= truth + truth / 4 + 1);
		free(pace);
	}
	free(all);
}

static void
only_the_last_minute_counts(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int64_t		now = 1000 * SECOND;
	int64_t		unknown = pace_hedge_us(pace, now);

	(void) state;
	assert_true(unknown > 0);
	for (int i = 0; i < 19; i++)
		pace_took(pace, 200000, now);
	now += SECOND;
	assert_int_equal(pace_hedge_us(pace, now), unknown);
	pace_took(pace, 200000, now);
	now += SECOND;
	assert_in_range(pace_hedge_us(pace, now), 200000, 250000);
	/* It is not looked up at each question. */
	for (int i = 0; i < 2000; i++)
		pace_took(pace, 5000, now);
	assert_in_range(pace_hedge_us(pace, now), 200000, 250000);
	now += SECOND;
	assert_in_range(pace_hedge_us(pace, now), 5000, 6250);
	now += 59 * SECOND;
	assert_in_range(pace_hedge_us(pace, now), 5000, 6250);
	now += 20 * SECOND;
	assert_int_equal(pace_hedge_us(pace, now), unknown);

	/* Neither no time nor for ever. */
	for (int i = 0; i < 100; i++)
		pace_took(pace, 3, now);
	assert_in_range(pace_hedge_us(pace, now + SECOND), 500, 2000);
	for (int i = 0; i < 10000; i++)
		pace_took(pace, INT64_MAX / 2, now);
	assert_in_range(pace_hedge_us(pace, now + 2 * SECOND), 100000, SECOND);
	free(pace);
}

static void
hedges_are_paid_for(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int			reserve = 0;
	int			hedged = 0;

	(void) state;
	while (pace_may_hedge(pace, false))
		reserve++;
	assert_in_range(reserve, 1, 100);
	for (int i = 0; i < 10000; i++)
	{
		pace_asked(pace);
		hedged += pace_may_hedge(pace, false);
	}
	assert_in_range(hedged, 490, 500);
	/* What is not used is not kept for ever. */
	for (int i = 0; i < 10000; i++)
		pace_asked(pace);
	for (hedged = 0; pace_may_hedge(pace, false);)
		hedged++;
	assert_in_range(hedged, reserve - 1, reserve + 1);
	/* What would be an error else has as many again, and no more. */
	for (hedged = 0; pace_may_hedge(pace, true);)
		hedged++;
	assert_in_range(hedged, reserve - 1, reserve + 1);
	assert_false(pace_may_hedge(pace, false));
	free(pace);
}

static void
workers_in_doubt(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int64_t		now = 50 * SECOND;

	(void) state;
	assert_false(pace_is_doubted(pace, "unix:/a"));
	pace_heard(pace, "unix:/a", now);
	/* Others hear from it. */
	assert_false(pace_silent(pace, "unix:/a", now - 10, now));
	assert_false(pace_is_doubted(pace, "unix:/a"));
	assert_true(pace_silent(pace, "unix:/a", now + 1, now + 10));
	assert_true(pace_is_doubted(pace, "unix:/a"));
	assert_false(pace_is_doubted(pace, "unix:/b"));

	/* One asks whether it is back, in a while, and nobody else at the same time. */
	assert_false(pace_may_probe(pace, "unix:/a", now + 10));
	assert_true(pace_may_probe(pace, "unix:/a", now + SECOND));
	assert_false(pace_may_probe(pace, "unix:/a", now + SECOND));
	assert_true(pace_may_probe(pace, "unix:/a", now + 2 * SECOND));
	assert_false(pace_may_probe(pace, "unix:/b", now + 2 * SECOND));
	pace_heard(pace, "unix:/a", now + 2 * SECOND);
	assert_false(pace_is_doubted(pace, "unix:/a"));
	free(pace);
}

static void
the_faster_one(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int64_t		now = 50 * SECOND;

	(void) state;
	pace_heard(pace, "unix:/a", now);
	pace_heard(pace, "unix:/b", now);
	pace_answered(pace, "unix:/a", 1000, 0);
	pace_answered(pace, "unix:/b", 3000, 0);
	assert_true(pace_score(pace, "unix:/a", 0, now) < pace_score(pace, "unix:/b", 0, now));
	assert_true(pace_score(pace, "unix:/a", 5, now) > pace_score(pace, "unix:/b", 0, now));
	pace_answered(pace, "unix:/a", 1000, 10);
	assert_true(pace_score(pace, "unix:/a", 0, now) > pace_score(pace, "unix:/b", 0, now));
	/* A queue is soon another one, and so is everything. */
	assert_true(pace_score(pace, "unix:/a", 0, now + SECOND) < pace_score(pace, "unix:/b", 0, now + SECOND));
	assert_true(pace_score(pace, "unix:/b", 0, now + 30 * SECOND) <= 1);
	pace_heard(pace, "unix:/a", now + 30 * SECOND);
	assert_true(pace_score(pace, "unix:/b", 0, now + 30 * SECOND) < pace_score(pace, "unix:/a", 0, now + 30 * SECOND));

	/* More workers than there is room for: the table stays a table. */
	for (int i = 0; i < 5000; i++)
	{
		char		endpoint[32];

		snprintf(endpoint, sizeof(endpoint), "unix:/%d", i);
		pace_heard(pace, endpoint, now + i);
		pace_silent(pace, endpoint, now + i + 1, now + i + 1);
		assert_true(pace_is_doubted(pace, endpoint));
	}
	free(pace);
}

/* What it said last counts, for a moment. */
static void
where_searches_wait(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int64_t		now = 50 * SECOND;

	(void) state;
	assert_false(pace_is_busy(pace, "unix:/a", now));
	pace_heard(pace, "unix:/a", now);
	pace_answered(pace, "unix:/a", 1000, 1);
	assert_false(pace_is_busy(pace, "unix:/a", now));
	pace_answered(pace, "unix:/a", 1000, 30);
	assert_true(pace_is_busy(pace, "unix:/a", now + 1000));
	assert_false(pace_is_busy(pace, "unix:/b", now + 1000));
	assert_false(pace_is_busy(pace, "unix:/a", now + SECOND));
	pace_heard(pace, "unix:/a", now + SECOND);
	pace_answered(pace, "unix:/a", 1000, 0);
	assert_false(pace_is_busy(pace, "unix:/a", now + SECOND));
	free(pace);
}

/* Many at a time; nothing is locked, and nothing gets out of bounds. */
static void *
one_of_many(void *arg)
{
	ClientPace *pace = arg;

	for (int i = 0; i < 20000; i++)
	{
		int64_t		now = (int64_t) i * 5000;

		pace_asked(pace);
		pace_took(pace, i % 3000, now);
		pace_heard(pace, i % 3 ? "unix:/a" : "unix:/b", now);
		pace_answered(pace, "unix:/a", i % 3000, (uint32_t) i % 7);
		if (pace_silent(pace, "unix:/b", now + 1, now))
			pace_may_probe(pace, "unix:/b", now);
		pace_may_hedge(pace, false);
		pace_score(pace, "unix:/a", 1, now);
		if (pace_hedge_us(pace, now) > SECOND)
			return arg;
	}
	return NULL;
}

static void
shared_by_many(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	pthread_t	threads[4];

	(void) state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, pace), 0);
	for (int i = 0; i < 4; i++)
	{
		void	   *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	free(pace);
}

static const VtId films = {{1}};
static const VtId shoes = {{2}};

/* How many in a row may try. */
static uint32_t
tries(ClientPace *pace, const char *endpoint, int64_t now)
{
	uint32_t	n = 0;

	while (n < 1000 && pace_may_try(pace, endpoint, &films, now))
		n++;
	return n;
}

static void
who_would_be_turned_away_is_kept_back(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int64_t		now = 500 * SECOND;
	uint32_t	reserve;

	(void) state;
	assert_int_equal(pace_full_us(pace, "a", &films, 1, now), 0);
	pace_full(pace, "a", &films, 30000, now);

	/* Who has the time is not, nor who goes elsewhere or asks for other things, nor when that was long ago. */
	assert_int_equal(pace_full_us(pace, "a", &films, 20000, now), 30000);
	assert_int_equal(pace_full_us(pace, "a", &films, -5, now), 30000);
	assert_int_equal(pace_full_us(pace, "a", &films, 40000, now), 0);
	assert_int_equal(pace_full_us(pace, "b", &films, 20000, now), 0);
	assert_int_equal(pace_full_us(pace, "a", &shoes, 20000, now), 0);
	assert_int_equal(pace_full_us(pace, "a", &films, 20000, now + SECOND), 0);

	/* Some are let through, then those that answers pay for, and one after a pause. */
	reserve = tries(pace, "a", now);
	assert_in_range(reserve, 4, 50);
	assert_int_equal(tries(pace, "a", now), 0);
	assert_true(pace_may_try(pace, "a", &shoes, now));
	pace_served(pace, "a", &shoes);
	assert_int_equal(tries(pace, "a", now), 0);
	for (int i = 0; i < 8; i++)
		pace_served(pace, "a", &films);
	assert_int_equal(tries(pace, "a", now), 10);
	assert_int_equal(tries(pace, "a", now + 10000), 1);
	assert_int_equal(tries(pace, "a", now + 20000), 1);

	/* Answers are saved up to a bound. */
	for (int i = 0; i < 1000; i++)
		pace_served(pace, "a", &films);
	assert_in_range(tries(pace, "a", now + 20000), reserve, reserve + 1);

	/* It goes on being full: there is no new reserve; later there is. */
	pace_full(pace, "a", &films, 30000, now + 25000);
	assert_int_equal(tries(pace, "a", now + 25000), 0);
	pace_full(pace, "a", &films, 30000, now + SECOND);
	assert_int_equal(tries(pace, "a", now + SECOND), reserve);
	free(pace);
}

/* Those that were told of last are remembered, however many there are. */
static void
many_queues(void **state)
{
	ClientPace *pace = client_pace_init(vt_alloc(client_pace_size()));
	int64_t		now = 500 * SECOND;
	VtId		id = {{0}};

	(void) state;
	for (int i = 0; i < 5000; i++)
	{
		id.b[0] = (uint8_t) i;
		id.b[15] = (uint8_t) (i >> 8);
		pace_full(pace, i % 2 ? "a" : "b", &id, 500000, now + i);
		assert_int_equal(pace_full_us(pace, i % 2 ? "a" : "b", &id, 20000, now + i), 500000);
		assert_int_equal(pace_full_us(pace, i % 2 ? "b" : "a", &id, 20000, now + i), 0);
		assert_true(pace_may_try(pace, i % 2 ? "a" : "b", &id, now + i));
	}
	free(pace);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_quantile),
		cmocka_unit_test(only_the_last_minute_counts),
		cmocka_unit_test(hedges_are_paid_for),
		cmocka_unit_test(workers_in_doubt),
		cmocka_unit_test(the_faster_one),
		cmocka_unit_test(where_searches_wait),
		cmocka_unit_test(shared_by_many),
		cmocka_unit_test(who_would_be_turned_away_is_kept_back),
		cmocka_unit_test(many_queues),
	};

	return cmocka_run_group_tests_name("client_pace", tests, NULL, NULL);
}
