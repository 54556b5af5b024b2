/*-------------------------------------------------------------------------
 *
 * worker_turns.c
 *	  The list of those who wait for a thread, without a worker: turns of the
 *	  collections, deadlines, room, and what is foreseen.  And how long who works beside
 *	  them rests.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../src/worker/background.h"
#include "../../src/worker/private.h"
#include "base/clock.h"
#include "base/prng.h"

/* -- The list, beside one without order --------------------------------------- */

#define MANY 200
#define FEW_LANES 5

/* The one of a lane whose time is over first. */
static Request *
first_of(Request **all, uint32_t lane)
{
	Request    *first = NULL;

	for (size_t i = 0; i < MANY; i++)
		if (all[i] && all[i]->lane == lane &&
			(!first || all[i]->until_us < first->until_us ||
			 (all[i]->until_us == first->until_us && all[i]->arrival < first->arrival)))
			first = all[i];
	return first;
}

/* Whatever lane has its turn, it had no more than any other in which somebody waits. */
static void
in_order_of_time(void **state)
{
	Prng		prng = {3};
	Request		requests[MANY];
	Request    *in[MANY] = {NULL};
	int64_t		had[FEW_LANES] = {0};
	uint32_t	waits[FEW_LANES] = {0};
	int64_t		turn = 0;
	WaitingList list = {0};
	size_t		n = 0;
	size_t		bytes = 0;

	(void) state;
	memset(requests, 0, sizeof(requests));
	for (int step = 0; step < 20000; step++)
	{
		size_t		i = prng_below(&prng, MANY);
		Request    *r = &requests[i];

		if (!in[i] && prng_below(&prng, step / 1000 % 2 ? 3 : 2) > 0)
		{
			r->until_us = prng_below(&prng, 50);
			r->payload.len = prng_below(&prng, 1000);
			r->lane = prng_below(&prng, FEW_LANES);
			r->mates = NULL;
			/* With the one beside it, now and then. */
			if (i % 2 == 0 && !in[i + 1] && prng_below(&prng, 2))
			{
				r->mates = &requests[i + 1];
				requests[i + 1].payload.len = prng_below(&prng, 1000);
				requests[i + 1].mates = NULL;
				requests[i + 1].lane = FEW_LANES;	/* nobody looks at it */
				in[i + 1] = &requests[i + 1];
				bytes += requests[i + 1].payload.len;
				n++;
			}
			if (waits[r->lane]++ == 0 && had[r->lane] < turn)
				had[r->lane] = turn;
			waiting_add(&list, r);
			in[i] = r;
			bytes += r->payload.len;
			n++;
		}
		else if ((r = waiting_take(&list)) != NULL)
		{
			int64_t		took = 1 + prng_below(&prng, 100) * (r->lane + 1);

			assert_ptr_equal(in[r - requests], r);
			assert_ptr_equal(r, first_of(in, r->lane));
			for (uint32_t lane = 0; lane < FEW_LANES; lane++)
				assert_true(waits[lane] == 0 || had[lane] >= had[r->lane]);
			turn = had[r->lane] > turn ? had[r->lane] : turn;
			had[r->lane] += took;
			waits[r->lane]--;
			waiting_served(&list, r->lane, took, true);
			for (; r; r = r->mates)
			{
				bytes -= r->payload.len;
				in[r - requests] = NULL;
				n--;
			}
		}
		else
			assert_int_equal(n, 0);
		assert_int_equal(list.n, n);
		assert_int_equal(list.bytes, bytes);
	}
	for (Request *r; (r = waiting_take(&list)) != NULL;)
		for (; r; r = r->mates)
			n--;
	assert_int_equal(n, 0);
	assert_int_equal(list.bytes, 0);
	waiting_free(&list);
}

/* Serve what waits for so long; how much of that a lane had. */
static int64_t
serve_for(WaitingList *list, int64_t us, const int64_t *takes, uint32_t lane)
{
	int64_t		own = 0;

	while (us > 0)
	{
		Request    *r = waiting_take(list);

		assert_non_null(r);
		waiting_served(list, r->lane, takes[r->lane], true);
		us -= takes[r->lane];
		own += r->lane == lane ? takes[r->lane] : 0;
	}
	return own;
}

static void
a_flood_takes_no_more_than_its_share(void **state)
{
	static Request requests[2 * MANY];
	const int64_t takes[2] = {1000, 100};
	WaitingList list = {0};
	int64_t		own;

	(void) state;

	/* Questions of collection 0 take ten times as long, and it has had all threads so far. */
	for (int i = 0; i < 2 * MANY; i++)
	{
		requests[i].lane = i < MANY ? 0 : 1;
		requests[i].until_us = i < MANY ? 1000 : 2000;
	}
	for (int i = 0; i < MANY; i++)
		waiting_add(&list, &requests[i]);
	assert_int_equal(serve_for(&list, 100000, takes, 0), 100000);

	/* From now on 1 has half, although it comes late and has more time: no less, nor more. */
	for (int i = MANY; i < 2 * MANY; i++)
		waiting_add(&list, &requests[i]);
	own = serve_for(&list, 20000, takes, 1);
	assert_in_range(own, 9000, 11000);

	/* What would one of 1 wait for?  Those of 1, and as much of 0. */
	assert_in_range(waiting_time_us(&list, 1, 1), 2 * 100 * (list.lanes[1].n + 1) - 1000, 2 * 100 * (list.lanes[1].n + 1) + 1000);
	while (waiting_take(&list))
		;
	waiting_free(&list);
}

static void
a_flood_leaves_room(void **state)
{
	static Request requests[MANY];
	WaitingList list = {0};
	uint32_t	n = 0;

	(void) state;
	for (; waiting_has_room(&list, 0, 1, 0, MANY, 100); n++)
		waiting_add(&list, &requests[n]);
	assert_int_equal(n, MANY / 2);
	assert_true(waiting_has_room(&list, 1, 1, 100, MANY, 100));
	assert_false(waiting_has_room(&list, 1, 1, 101, MANY, 100));
	while (waiting_take(&list))
		;
	requests[0].payload.len = 40;
	waiting_add(&list, &requests[0]);
	assert_true(waiting_has_room(&list, 0, 1, 20, MANY, 100));
	assert_false(waiting_has_room(&list, 0, 1, 21, MANY, 100));
	assert_true(waiting_has_room(&list, 1, 1, 60, MANY, 100));
	assert_ptr_equal(waiting_take(&list), &requests[0]);
	waiting_free(&list);
}

/*
 * A request of many queries counts as so many.  What comes while they wait and has as
 * much time is behind those that would have had their turn by then, not behind all.
 */
static void
queries_of_one_request_make_way(void **state)
{
	static Request many;
	static Request one[3];
	WaitingList list = {0};
	Request    *r;

	(void) state;
	waiting_served(&list, 0, 100, false);
	many.until_us = 100000;
	many.more = 255;
	many.payload.len = 50;
	assert_true(waiting_has_room(&list, 0, 256, 50, 256, 100));
	assert_false(waiting_has_room(&list, 0, 257, 50, 256, 100));
	waiting_add(&list, &many);
	assert_int_equal(list.n, 256);
	assert_int_equal(list.lanes[0].requests, 256);
	assert_int_equal(list.bytes, 50);

	/* So one that comes now would wait for one of them, of another lane for as many as it has turns. */
	assert_int_equal(waiting_work_us(&list, 0, 1), 200);
	assert_int_equal(waiting_work_us(&list, 1, 1), 200);
	for (int i = 0; i < 3; i++)
	{
		one[i].until_us = 100000 + 250 * (i + 1);
		waiting_add(&list, &one[i]);
	}

	/* 250, 500 and 750 us later, where a query takes 100. */
	for (int served = 0, next = 0; next < 3; served++)
	{
		r = waiting_take(&list);
		assert_ptr_equal(r, &many);
		waiting_put_back(&list, r);
		assert_int_equal(list.n, 256 - 1 - served + 3 - next);
		if (100 * (served + 1) >= 250 * (next + 1))
		{
			assert_ptr_equal(waiting_take(&list), &one[next]);
			next++;
		}
	}
	assert_int_equal(list.bytes, 50);
	assert_int_equal(list.lanes[0].behind, many.more);
	while (many.more > 0)
	{
		assert_ptr_equal(waiting_take(&list), &many);
		waiting_put_back(&list, &many);
	}
	assert_ptr_equal(waiting_take(&list), &many);
	assert_int_equal(list.n, 0);
	assert_int_equal(list.lanes[0].behind, 0);
	assert_int_equal(list.bytes, 0);
	assert_null(waiting_take(&list));
	waiting_free(&list);
}

/* -- A worker and its clients, without either --------------------------------- */

enum
{
	CLIENTS = 400,
	THREADS = 2,
	SERVICE_US = 100,
	DEADLINE_US = 20000,
	DAY_US = 3000000
};

typedef struct Outcome
{
	uint32_t	served;			/* in time */
	uint32_t	late;
	uint32_t	refused;
} Outcome;

/*
 * Each client asks again when it is answered, or has been refused and the time is over that it
 * had.  Threads get the machine for one of so many microseconds, which the time a search
 * takes does not show: other threads have the machine between two of them.
 */
static Outcome
a_day(uint32_t times)
{
	static Request requests[CLIENTS];
	int64_t		asks_us[CLIENTS];
	int64_t		free_us[THREADS] = {0};
	WaitingList list = {0};
	Outcome		out = {0};
	int64_t		now_us = 0;

	memset(requests, 0, sizeof(requests));
	for (uint32_t i = 0; i < CLIENTS; i++)
		asks_us[i] = i * 50;
	while (now_us < DAY_US)
	{
		uint32_t	next = 0;
		uint32_t	idle = free_us[0] <= free_us[1] ? 0 : 1;
		Request    *r;

		for (uint32_t i = 1; i < CLIENTS; i++)
			if (asks_us[i] < asks_us[next])
				next = i;
		if (list.n > 0 && free_us[idle] <= asks_us[next])
		{
			now_us = free_us[idle] > now_us ? free_us[idle] : now_us;
			r = waiting_take(&list);
			waiting_waited(&list, r->foreseen_us, now_us - r->added_us);
			free_us[idle] = now_us + SERVICE_US * times;
			waiting_served(&list, 0, SERVICE_US, true);
			asks_us[r - requests] = free_us[idle];
			/* The first third of the day is for learning. */
			if (now_us > DAY_US / 3 && free_us[idle] <= r->until_us)
				out.served++;
			else if (now_us > DAY_US / 3)
				out.late++;
			continue;
		}
		now_us = asks_us[next] > now_us ? asks_us[next] : now_us;
		r = &requests[next];
		if (!waiting_in_time(&list, 0, THREADS, DEADLINE_US))
		{
			asks_us[next] = now_us + DEADLINE_US;
			out.refused += now_us > DAY_US / 3;
			continue;
		}
		r->until_us = now_us + DEADLINE_US;
		r->added_us = now_us;
		r->foreseen_us = waiting_work_us(&list, 0, THREADS);
		asks_us[next] = INT64_MAX;
		waiting_add(&list, r);
	}
	while (waiting_take(&list))
		;
	waiting_free(&list);
	return out;
}

/* However little of the machine threads get, they work, and for nobody who has gone. */
static void
what_is_foreseen_is_learnt(void **state)
{
	(void) state;
	for (uint32_t times = 1; times <= 6; times++)
	{
		Outcome		o = a_day(times);
		uint32_t	most = (DAY_US - DAY_US / 3) / (SERVICE_US * times) * THREADS;

		assert_int_equal(o.late, 0);
		assert_in_range(o.served, most * 98 / 100, most + THREADS);
		assert_true(times == 1 || o.refused > 0);
	}
}

/* Where 200 wait, and each takes 100 us, nobody who has a second is turned away for one that took long. */
static void
one_that_took_long_tells_little(void **state)
{
	static Request requests[MANY];
	WaitingList list = {0};

	(void) state;
	/* The first one reads what is not in memory. */
	waiting_served(&list, 0, 50000, true);
	for (int i = 0; i < MANY; i++)
		waiting_add(&list, &requests[i]);
	for (int i = 0; i < 50; i++)
		waiting_served(&list, 0, 100, true);
	assert_true(waiting_in_time(&list, 0, THREADS, 1000000));
	for (int i = 0; i < 100; i++)
	{
		waiting_served(&list, 0, 100, true);
		waiting_waited(&list, 10000, 10000);
	}
	assert_in_range(waiting_time_us(&list, 0, THREADS), 9000, 12000);

	/* A thread does not get the machine for a tenth of a second. */
	waiting_served(&list, 0, 100000, true);
	waiting_waited(&list, 10000, 100000);
	assert_true(waiting_in_time(&list, 0, THREADS, 1000000));

	/* That all of them take so long is soon known. */
	for (int i = 0; i < 100; i++)
	{
		waiting_served(&list, 0, 100000, true);
		waiting_waited(&list, 1000000, 1000000);
	}
	assert_false(waiting_in_time(&list, 0, THREADS, 1000000));
	while (waiting_take(&list))
		;
	waiting_free(&list);
}

/* -- Work that nobody waits for ------------------------------------------------ */

static void
rests_beside_searches(void **state)
{
	static Worker worker;
	int64_t		now_us = clock_now_us();
	int64_t		much = now_us - INT64_C(3600000000);

	(void) state;
	atomic_store(&worker.searched_us, now_us + INT64_C(3600000000));
	assert_in_range(background_rest_us(&worker, much), 1, 1000000);
	assert_int_equal(background_rest_us(&worker, now_us + INT64_C(3600000000)), 0);	/* too little was done */

	/* Nobody has searched in a while. */
	atomic_store(&worker.searched_us, now_us - INT64_C(3600000000));
	assert_int_equal(background_rest_us(&worker, much), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_of_time),
		cmocka_unit_test(a_flood_takes_no_more_than_its_share),
		cmocka_unit_test(a_flood_leaves_room),
		cmocka_unit_test(queries_of_one_request_make_way),
		cmocka_unit_test(what_is_foreseen_is_learnt),
		cmocka_unit_test(one_that_took_long_tells_little),
		cmocka_unit_test(rests_beside_searches),
	};

	return cmocka_run_group_tests_name("worker_turns", tests, NULL, NULL);
}
