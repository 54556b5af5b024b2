/*-------------------------------------------------------------------------
 *
 * client_followers.c
 *	  Scans at marks: any replica that has applied them answers, one that is
 *	  frozen costs a hedge delay, one that has too much to do is passed by, and a scan
 *	  goes on wherever it can.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_cluster.h"
#include "../../src/client/private.h"

#define REPLICAS 3
#define SHARDS 2
#define RECORDS 300

static VtError err;

typedef struct Setup
{
	World		w;
	Fake		pd;
	Fake		worker[REPLICAS];
	Watch		watch;
	Client	   *client;
	ClientMark	mark[SHARDS];
	ClientMarks marks;
	int64_t		time_ms;		/* for a scan */
	ClientScanStats stats;		/* of all scans */
} Setup;

/* Each shard on all workers, led by the first; the marks are what it has. */
static void
set_up(Setup *s)
{
	memset(s, 0, sizeof(*s));
	world_init(&s->w, SHARDS);
	world_fill(&s->w, RECORDS, 42);
	fake_start(&s->pd, &s->w);
	for (int i = 0; i < REPLICAS; i++)
		fake_start(&s->worker[i], &s->w);
	for (uint32_t i = 0; i < SHARDS; i++)
	{
		s->w.shards[i].home = &s->worker[0];
		s->w.shards[i].followers[0] = &s->worker[1];
		s->w.shards[i].followers[1] = &s->worker[2];
		s->mark[i] = (ClientMark) {s->w.shards[i].desc.shard, 1, s->w.shards[i].index, 0};
	}
	s->marks = (ClientMarks) {.n = SHARDS, .items = s->mark};
	s->time_ms = LONG_MS;
	s->client = client_for(s->pd.endpoint, NULL, &s->watch);
}

static void
tear_down(Setup *s)
{
	client_end(s->client, &s->watch);
	for (int i = 0; i < REPLICAS; i++)
		fake_stop(&s->worker[i]);
	fake_stop(&s->pd);
	world_free(&s->w);
}

/*
 * A scan of `rows` rows in batches: nearest first, each id once.  between(s, n) is
 * called after each.
 */
static VtStatus
scan(Setup *s, uint32_t batch, uint32_t rows, void (*between) (Setup *s, uint32_t n))
{
	static const float query[DIM] = {0, 1, 2, 3};
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query,
		.dim = DIM, .batch = batch, .ef = 100, .consistency = WIRE_AT_MARK, .marks = &s->marks};
	bool	   *seen = vt_alloc0(RECORDS);
	int64_t		deadline = in_ms(s->time_ms);
	ClientScan *scan;
	ClientScanStats stats;
	ClientHit	hit;
	bool		found = true;
	double		last = -1;
	uint32_t	n = 0;
	VtStatus	status = client_scan_open(s->client, &search, deadline, &scan, &err);

	assert_int_equal(status, VT_OK);
	while (status == VT_OK && found && n < rows)
	{
		uint32_t	block;
		uint16_t	offset;

		status = client_scan_next(scan, deadline, &hit, &found, &err);
		if (status != VT_OK || !found)
			break;
		assert_true(wire_tid_get(hit.id, &block, &offset));
		assert_false(seen[block * 50 + offset - 1]);
		seen[block * 50 + offset - 1] = true;
		assert_true(hit.distance >= last && !hit.late);
		last = hit.distance;
		n++;
		if (between)
			between(s, n);
	}
	if (status == VT_OK && n < rows)
		assert_int_equal(n, RECORDS);
	client_scan_stats(scan, &stats);
	s->stats.by_leader += stats.by_leader;
	s->stats.by_follower += stats.by_follower;
	s->stats.behind += stats.behind;
	s->stats.hedged += stats.hedged;
	s->stats.hedges_won += stats.hedges_won;
	client_scan_close(scan);
	free(seen);
	return status;
}

static void
scan_often(Setup *s, int times)
{
	memset(&s->stats, 0, sizeof(s->stats));
	for (int i = 0; i < times; i++)
		assert_ok(scan(s, 10, 10, NULL));
}

/* Answered by a worker, which may answer another one just now. */
static uint32_t
searches_of(Setup *s, int worker)
{
	uint32_t	n;

	pthread_mutex_lock(&s->w.lock);
	n = s->worker[worker].searches;
	pthread_mutex_unlock(&s->w.lock);
	return n;
}

static void
lag(Setup *s, uint64_t by)
{
	pthread_mutex_lock(&s->w.lock);
	for (uint32_t i = 0; i < SHARDS; i++)
		s->w.shards[i].lag = by;
	pthread_mutex_unlock(&s->w.lock);
}

static void
all_replicas_answer(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	scan_often(&s, 200);
	assert_int_equal(s.stats.by_leader + s.stats.by_follower, 200 * SHARDS);
	assert_int_equal(s.stats.behind, 0);
	for (int i = 0; i < REPLICAS; i++)
		for (int k = 0; searches_of(&s, i) < 50; k++)
		{
			assert_true(k < 100000);
			scan_often(&s, 1);
		}
	tear_down(&s);
}

/* Of 100 scans, those that asked one worker for all shards. */
static uint32_t
asked_one(Setup *s, uint32_t waiting)
{
	uint32_t	n = 0;

	pthread_mutex_lock(&s->w.lock);
	s->w.waiting = waiting;
	pthread_mutex_unlock(&s->w.lock);
	for (int i = 0; i < 100; i++)
	{
		uint32_t	before[REPLICAS];
		bool		one = false;

		for (int k = 0; k < REPLICAS; k++)
			before[k] = searches_of(s, k);
		scan_often(s, 1);
		for (int k = 0; k < REPLICAS; k++)
			one = one || searches_of(s, k) - before[k] == SHARDS;
		n += one;
	}
	return n;
}

/* Where searches wait everywhere a question goes to one worker, else to whoever seems fastest. */
static void
where_all_are_busy_one_is_asked(void **state)
{
	Setup		s;
	uint32_t	n;
	uint32_t	asked[REPLICAS];
	int64_t		until = in_ms(LONG_MS);

	(void) state;
	set_up(&s);

	/*
	 * Workers that get no processor for a moment are in doubt, and what one said counts for a fifth of
	 * a second: a slow machine may need several goes.
	 */
	for (n = 100; n > 90 && clock_now_us() < until; n = asked_one(&s, 0))
		;
	assert_in_range(n, 0, 90);
	for (until = in_ms(LONG_MS); n < 95 && clock_now_us() < until;)
	{
		for (int i = 0; i < REPLICAS; i++)
			asked[i] = searches_of(&s, i);
		n = asked_one(&s, 10);
	}
	assert_in_range(n, 95, 100);

	/* Not always the same one. */
	for (int i = 0; i < REPLICAS; i++)
		for (int k = 0; searches_of(&s, i) == asked[i]; k++)
		{
			assert_true(k < 100000);
			scan_often(&s, 1);
		}

	/* Nobody waits any more. */
	for (until = in_ms(LONG_MS); n > 90 && clock_now_us() < until;)
		n = asked_one(&s, 0);
	assert_in_range(n, 0, 90);
	tear_down(&s);
}

/* So many workers turn searches away for so long; 0 ms: none. */
static void
fill_up(Setup *s, int workers, uint32_t ms)
{
	pthread_mutex_lock(&s->w.lock);
	for (int i = 0; i < REPLICAS; i++)
		s->worker[i].full_ms = i < workers ? ms : 0;
	pthread_mutex_unlock(&s->w.lock);
}

/* Nobody waits for it, and that it turns searches away is remembered for a while. */
static void
who_has_too_much_to_do_is_passed_by(void **state)
{
	Setup		s;
	uint32_t	before;

	(void) state;
	set_up(&s);
	s.time_ms = 10000;			/* of what a worker wishes no more is heard */
	fill_up(&s, 1, 10 * LONG_MS);
	scan_often(&s, 100);
	assert_int_equal(s.stats.by_follower, 100 * SHARDS);
	for (int round = 0;; round++)
	{
		assert_true(round < 1000);
		before = searches_of(&s, 0);
		scan_often(&s, 10);
		if (searches_of(&s, 0) == before)
			break;
	}

	/* Nor does its refusal say anything of its shards: it is asked again like the others. */
	fill_up(&s, 0, 0);
	scan_often(&s, 1);
	for (int i = 0; s.stats.by_leader < 20 && i < 100000; i++)
		assert_ok(scan(&s, 10, 10, NULL));
	assert_in_range(s.stats.by_leader, 20, 100000);
	tear_down(&s);
}

static Setup *room_again;

/* After so many refusals that each has been asked some times. */
static void
make_room(World *w, WireType type)
{
	if (type == WIRE_SEARCH && w->count[WIRE_SEARCH] > 10 * REPLICAS * SHARDS)
		for (int i = 0; i < REPLICAS; i++)
			room_again->worker[i].full_ms = 0;
}

/*
 * A question asks one of them and waits: others are asked only by who does not know yet
 * that they are full, too.  That is told at its deadline, not before it.
 */
static void
where_all_have_too_much_to_do_nobody_goes_round(void **state)
{
	Setup		s;
	uint32_t	asked = 0;

	(void) state;
	set_up(&s);
	scan_often(&s, 1);
	fill_up(&s, REPLICAS, 10 * LONG_MS);
	s.time_ms = 25;
	for (int round = 0; asked != SHARDS; round++)
	{
		int64_t		begun = clock_now_us();
		uint32_t	before = world_count(&s.w, WIRE_SEARCH);

		assert_true(round < 1000);
		if (scan(&s, 10, 10, NULL) == VT_TIMEOUT)
			continue;			/* not even refused: the machine is slow */
		assert_int_equal(err.code, VT_BUSY);
		assert_non_null(strstr(vt_error_words(&err), "too much to do"));
		assert_true(clock_now_us() - begun >= s.time_ms * 1000);
		asked = world_count(&s.w, WIRE_SEARCH) - before;
	}

	/* With time enough it is asked again, PD after some rounds, too, and answered when there is room. */
	s.time_ms = LONG_MS;
	asked = world_count(&s.w, WIRE_CONTROL);
	fill_up(&s, REPLICAS, 2);
	pthread_mutex_lock(&s.w.lock);
	s.w.count[WIRE_SEARCH] = 0;
	room_again = &s;
	s.w.on_request = make_room;
	pthread_mutex_unlock(&s.w.lock);
	scan_often(&s, 1);
	assert_int_equal(s.stats.by_leader + s.stats.by_follower, SHARDS);
	assert_true(world_count(&s.w, WIRE_CONTROL) > asked);
	tear_down(&s);
}

/* What each of two may have been asked more often, by who waits for the third with pauses of 25 to 50 ms. */
static uint32_t
pauses_since(int64_t begun)
{
	return (uint32_t) ((clock_now_us() - begun) / 25000) * 2;
}

/* All but one turn searches away as soon as a worker has the state of the scan. */
static void
fill_up_later(Setup *s, uint32_t n)
{
	fill_up(s, n >= RECORDS / 4 ? REPLICAS - 1 : 0, 10 * LONG_MS);
}

static void
who_has_the_state_and_no_time_is_passed_by(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	for (int i = 0; i < 20; i++)
	{
		uint32_t	before = world_count(&s.w, WIRE_SEARCH);
		int64_t		begun = clock_now_us();

		/* While the one with time is not heard of, the others are asked again after pauses. */
		assert_ok(scan(&s, 10, RECORDS, fill_up_later));
		assert_in_range(world_count(&s.w, WIRE_SEARCH) - before, SHARDS, 30 * SHARDS + pauses_since(begun) * SHARDS);
	}
	tear_down(&s);
}

/* Those that are behind say so at once, are asked seldom, and again when they may have caught up. */
static void
who_is_behind_is_passed_by(void **state)
{
	Setup		s;
	int64_t		begun;

	(void) state;
	set_up(&s);
	lag(&s, 1);
	begun = clock_now_us();
	scan_often(&s, 200);
	assert_int_equal(s.stats.by_leader, 200 * SHARDS);

	/* More often only where the leader was silent: after pauses, and him himself after seconds. */
	assert_in_range(s.stats.behind, 0, 100 + pauses_since(begun) * SHARDS);
	assert_in_range(searches_of(&s, 0), 200 * SHARDS, 200 * SHARDS + (uint32_t) ((clock_now_us() - begun) / 1000000) * SHARDS);
	for (int i = 0; s.stats.behind == 0; i++)
	{
		assert_true(i < 100000);
		scan_often(&s, 1);
	}

	lag(&s, 0);
	for (int i = 0; s.stats.by_follower == 0; i++)
	{
		assert_true(i < 100000);
		scan_often(&s, 1);
	}

	/* The leader is gone: whoever has the mark is found, and waited for if need be. */
	fake_freeze(&s.worker[0], true);
	scan_often(&s, 50);
	assert_int_equal(s.stats.by_follower, 50 * SHARDS);
	fake_freeze(&s.worker[0], false);
	tear_down(&s);
}

static void
a_frozen_replica_costs_a_hedge(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	scan_often(&s, 100);
	for (int frozen = 0; frozen < REPLICAS; frozen++)
	{
		uint32_t	before;

		fake_freeze(&s.worker[frozen], true);
		before = searches_of(&s, frozen);

		/* Sooner or later one is sent there, and helped; then it is known. */
		s.stats.hedges_won = 0;
		for (int i = 0; s.stats.hedges_won == 0; i++)
		{
			assert_true(i < 100000);
			scan_often(&s, 1);
		}

		/* The others are hedged, too, where the machine makes them slow, until what is usual there is known. */
		s.stats.hedged = UINT32_MAX;
		for (int64_t until = in_ms(LONG_MS); s.stats.hedged > 120 && clock_now_us() < until;)
			scan_often(&s, 300);
		assert_int_equal(searches_of(&s, frozen), before);
		assert_in_range(s.stats.hedged, 0, 120);

		/* It is back: somebody notices. */
		fake_freeze(&s.worker[frozen], false);
		before = searches_of(&s, frozen);
		for (int i = 0; searches_of(&s, frozen) < before + 20; i++)
		{
			assert_true(i < 100000);
			scan_often(&s, 1);
		}
	}
	tear_down(&s);
}

/* Two of three, the leader among them. */
static void
one_is_enough(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	fake_freeze(&s.worker[0], true);
	fake_freeze(&s.worker[2], true);
	scan_often(&s, 100);
	assert_int_equal(s.stats.by_leader + s.stats.by_follower, 100 * SHARDS);
	assert_true(searches_of(&s, 1) >= 100 * SHARDS);
	fake_freeze(&s.worker[0], false);
	fake_freeze(&s.worker[2], false);
	tear_down(&s);
}

/* One that is silent once is hedged, and the silent question is cancelled. */
static void
the_loser_is_cancelled(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	scan_often(&s, 20);
	for (int i = 0; i < 5; i++)
	{
		uint32_t	cancels = s.w.cancels;

		/* Not one that lost before and comes only now. */
		s.stats.hedged = 0;
		for (int k = 0; s.stats.hedged == 0; k++)
		{
			assert_true(k < 1000);
			world_trick(&s.w, WIRE_SEARCH, 0, SAY_NOTHING, VT_OK);
			scan_often(&s, 1);
		}
		/* The cancel is on its way when the scan returns. */
		for (int k = 0; s.w.cancels == cancels; k++)
		{
			assert_true(k < 100000);
			scan_often(&s, 1);
		}
	}
	tear_down(&s);
}

static ClientPace *heard_by;
static const Setup *heard_from;

/* Somebody else hears from all of them while our question is there. */
static void
others_hear(World *w, WireType type)
{
	(void) w;
	for (int i = 0; type == WIRE_SEARCH && i < REPLICAS; i++)
		pace_heard(heard_by, heard_from->worker[i].endpoint, clock_now_us());
}

/*
 * Who has said something to another since we asked, and then no more, is in doubt
 * a hedge delay later, whether or not there may be a hedge just then.
 */
static void
who_spoke_to_others_and_dies_is_not_waited_for(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	scan_often(&s, 50);
	heard_by = s.client->pace;
	heard_from = &s;
	for (int i = 0; i < 5; i++)
	{
		pthread_mutex_lock(&s.w.lock);
		s.w.on_request = others_hear;
		pthread_mutex_unlock(&s.w.lock);
		/* Again where it was one that had lost before, or the machine stood still until its try ended. */
		s.stats.hedged = 0;
		for (int k = 0; k < 10 && s.stats.hedged == 0; k++)
		{
			while (pace_may_hedge(s.client->pace, true))
				;
			world_trick(&s.w, WIRE_SEARCH, 0, SAY_NOTHING, VT_OK);
			scan_often(&s, 1);
		}
		/* Its try did not have to end for that. */
		assert_true(s.stats.hedged > 0);
		pthread_mutex_lock(&s.w.lock);
		s.w.on_request = NULL;
		pthread_mutex_unlock(&s.w.lock);
		scan_often(&s, 20);
	}
	tear_down(&s);
}

/*
 * Who answers others and not us is in no doubt, and there may be no hedge just then: a
 * part of the time is left for another replica all the same.  (A try ends by itself after 2 s.)
 */
static void
one_lost_answer_is_no_error(void **state)
{
	Setup		s;
	bool		good = false;

	(void) state;
	set_up(&s);
	scan_often(&s, 50);
	s.time_ms = 1500;

	/* Again where the machine stood still for the rest of the time. */
	for (int i = 0; i < 10 && !good; i++)
	{
		ClientPace *pace = s.client->pace;

		/* The answers that are lost are the next ones, so nobody is heard of later than this. */
		for (int k = 0; k < REPLICAS; k++)
			pace_heard(pace, s.worker[k].endpoint, in_ms(LONG_MS));
		while (pace_may_hedge(pace, false))
			;
		while (!pace_may_hedge(pace, false))
			pace_asked(pace);
		forget_tricks(&s.w);
		s.stats.hedged = 0;
		for (int k = 0; k < SHARDS; k++)
			world_trick(&s.w, WIRE_SEARCH, 0, SAY_NOTHING, VT_OK);
		good = scan(&s, 10, 10, NULL) == VT_OK && s.stats.hedged >= SHARDS;
	}
	assert_true(good);
	forget_tricks(&s.w);

	/* Where nobody does, it is said who was asked. */
	for (int i = 0; i < REPLICAS; i++)
		fake_freeze(&s.worker[i], true);
	s.time_ms = 200;
	good = false;
	for (int i = 0; i < 20 && !good; i++)
	{
		assert_int_equal(scan(&s, 10, 10, NULL), VT_TIMEOUT);
		good = strstr(err.msg, "ms ago and has not answered") != NULL;
	}
	assert_true(good);
	for (int i = 0; i < REPLICAS; i++)
		fake_freeze(&s.worker[i], false);
	tear_down(&s);
}

/* A deadline that is near says nothing of workers: all who share what is known would go by it. */
static void
who_has_little_time_doubts_nobody(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	scan_often(&s, 5);			/* too few to tell what is usual: 30 ms of silence are a reason */
	for (int i = 0; i < REPLICAS; i++)
	{
		pace_heard(s.client->pace, s.worker[i].endpoint, clock_now_us());
		fake_freeze(&s.worker[i], true);
	}
	s.time_ms = 16;
	assert_int_not_equal(scan(&s, 10, 10, NULL), VT_OK);
	for (int i = 0; i < REPLICAS; i++)
	{
		assert_false(pace_is_doubted(s.client->pace, s.worker[i].endpoint));
		fake_freeze(&s.worker[i], false);
	}
	tear_down(&s);
}

/*
 * Where all are so slow that they are in doubt a question is let be long enough at last: each
 * would end the one before it else.  Of a fourth replica there are more than are asked at a time.
 */
static void
who_is_slow_is_waited_for_at_last(void **state)
{
	(void) state;
	for (int more = 0; more < 2; more++)
	{
		Setup		s;
		Fake		fourth;

		set_up(&s);
		fake_start(&fourth, &s.w);
		for (uint32_t i = 0; i < SHARDS && more; i++)
			s.w.shards[i].followers[2] = &fourth;
		scan_often(&s, 5);
		for (int i = 0; i < 2000; i++)
			pace_took(s.client->pace, 1000, clock_now_us());	/* that is usual */
		pthread_mutex_lock(&s.w.lock);
		fourth.slow_ms = 1600;
		for (int i = 0; i < REPLICAS; i++)
			s.worker[i].slow_ms = 1600;
		pthread_mutex_unlock(&s.w.lock);
		scan_often(&s, 1);
		assert_int_equal(s.stats.by_leader + s.stats.by_follower, SHARDS);
		fake_stop(&fourth);
		tear_down(&s);
	}
}

/* Who stood still until the deadline takes what is here, if it is all that is wanted. */
static void
an_answer_that_is_here_is_taken(void **state)
{
	Setup		s;
	bool		good = false;

	(void) state;
	set_up(&s);
	scan_often(&s, 50);
	s.time_ms = 50;
	for (int i = 0; i < 1000 && !good; i++)
	{
		s.watch.late_us = in_ms(s.time_ms + 50);
		good = scan(&s, 10, 10, NULL) == VT_OK && s.watch.late_us == 0;
	}
	assert_true(good);
	tear_down(&s);
}

/*
 * A worker that came back empty is two stores in one place, which a route names twice
 * until the lost replica has left.  When it is gone again, and nobody else was heard just
 * now, the others are asked all the same; and a leader that was missed once has its turn again.
 */
static void
a_place_that_is_named_twice(void **state)
{
	Setup		s;
	const ClientCollection *route;

	(void) state;
	set_up(&s);
	for (uint32_t i = 0; i < SHARDS; i++)
		s.w.shards[i].followers[2] = &s.worker[2];
	scan_often(&s, 20);
	assert_ok(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err));
	for (uint32_t i = 0; i < route->nshards; i++)
	{
		const ClientShard *shard = &route->shards[i];

		assert_int_equal(shard->nplaces, REPLICAS);
		for (int k = 0; k < REPLICAS; k++)
			route_miss(s.client, shard, shard->endpoint);
		assert_string_equal(shard->endpoint, s.worker[0].endpoint);
	}
	fake_stop(&s.worker[2]);
	scan_often(&s, 1);
	for (int i = 0; i < REPLICAS; i++)
		pace_silent(s.client->pace, s.worker[i].endpoint, INT64_MAX, clock_now_us());
	scan_often(&s, 1);
	fake_start(&s.worker[2], &s.w);
	tear_down(&s);
}

static void
freeze_another(Setup *s, uint32_t n)
{
	if (n % 20 != 0)
		return;
	for (uint32_t i = 0; i < REPLICAS; i++)
		fake_freeze(&s->worker[i], i == n / 20 % REPLICAS);
}

static void
lose_connections(Setup *s, uint32_t n)
{
	if (n % 25 == 0)
		world_trick(&s->w, WIRE_SEARCH, 0, n % 50 ? CLOSE_BEFORE : CLOSE_AFTER, VT_OK);
	if (n % 70 == 0)
		world_trick(&s->w, WIRE_SEARCH, 1, REFUSE, n % 140 ? VT_BUSY : VT_BEHIND);
}

/* The replica that keeps the state of a scan is gone: others go on, and nothing comes twice. */
static void
a_scan_goes_on_elsewhere(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	scan_often(&s, 30);
	for (uint32_t batch = 1; batch < 40; batch += 9)
	{
		assert_ok(scan(&s, batch, RECORDS + 1, freeze_another));
		for (uint32_t i = 0; i < REPLICAS; i++)
			fake_freeze(&s.worker[i], false);
		assert_ok(scan(&s, batch, RECORDS + 1, lose_connections));
		forget_tricks(&s.w);
	}
	tear_down(&s);
}

/* A replica that forgot, or whose disk does not read, is not the end. */
static void
a_broken_replica_is_left_out(void **state)
{
	static const VtStatus broken[] = {VT_CORRUPT, VT_IO, VT_NOMEM, VT_WRONG_SHARD, VT_UNKNOWN_GENERATION};
	Setup		s;

	(void) state;
	set_up(&s);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		world_trick(&s.w, WIRE_SEARCH, 0, REFUSE, broken[i]);
		scan_often(&s, 1);
	}

	/* A refusal that is meant is one, whoever says so first, and the route is not trusted any more. */
	for (int i = 0; i < SHARDS * REPLICAS; i++)
		world_trick(&s.w, WIRE_SEARCH, 0, REFUSE, VT_NOT_OWNER);
	assert_int_equal(scan(&s, 10, 10, NULL), VT_NOT_OWNER);
	forget_tricks(&s.w);
	{
		uint32_t	before = world_count(&s.w, WIRE_CONTROL);

		scan_often(&s, 1);
		assert_int_equal(world_count(&s.w, WIRE_CONTROL), before + 1);
		scan_often(&s, 1);
		assert_int_equal(world_count(&s.w, WIRE_CONTROL), before + 1);
	}
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_replicas_answer),
		cmocka_unit_test(where_all_are_busy_one_is_asked),
		cmocka_unit_test(who_has_too_much_to_do_is_passed_by),
		cmocka_unit_test(where_all_have_too_much_to_do_nobody_goes_round),
		cmocka_unit_test(who_has_the_state_and_no_time_is_passed_by),
		cmocka_unit_test(who_is_behind_is_passed_by),
		cmocka_unit_test(a_frozen_replica_costs_a_hedge),
		cmocka_unit_test(one_is_enough),
		cmocka_unit_test(the_loser_is_cancelled),
		cmocka_unit_test(who_spoke_to_others_and_dies_is_not_waited_for),
		cmocka_unit_test(one_lost_answer_is_no_error),
		cmocka_unit_test(who_has_little_time_doubts_nobody),
		cmocka_unit_test(who_is_slow_is_waited_for_at_last),
		cmocka_unit_test(an_answer_that_is_here_is_taken),
		cmocka_unit_test(a_place_that_is_named_twice),
		cmocka_unit_test(a_scan_goes_on_elsewhere),
		cmocka_unit_test(a_broken_replica_is_left_out),
	};

	return cmocka_run_group_tests_name("client_followers", tests, NULL, NULL);
}
