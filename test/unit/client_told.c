/*-------------------------------------------------------------------------
 *
 * client_told.c
 *	  A refusal that says how the shard was split: calls go on by that, and nobody
 *	  asks the placement driver.
 *
 *-------------------------------------------------------------------------
 */
#define WORLD_SHARDS 16
#include "fake_truth.h"

#define N 200

static VtError err;
static Setup setup;
static Fake pd;					/* none of the workers */
static Batch batch;
static Buf	words;				/* of a PD that has stood still */

static Setup *
begin(uint32_t nshards, uint32_t records)
{
	Setup	   *s = &setup;
	const ClientCollection *route;

	set_up_with_pd(s, nshards, records, &pd);
	s->w.tells = true;
	batch = batch_of(100000, N);
	assert_ok(client_route(s->client, &s->w.generation, false, in_ms(LONG_MS), &route, &err));
	return s;
}

/* From here on nobody answers for PD. */
static void
pd_goes(void)
{
	fake_stop(&pd);
	pd.world = NULL;
}

static void
end(Setup *s)
{
	if (pd.world)
		fake_stop(&pd);
	batch_free(&batch);
	tear_down(s);
	buf_free(&words);
}

static VtStatus
put(Setup *s, ClientMarks *marks)
{
	return client_put(s->client, &s->writer, batch.records, N, batch.done, marks, &err);
}

/* Both shards, one of them twice, and a child as well. */
static void
split_all(World *w)
{
	pthread_mutex_lock(&w->lock);
	world_split(w, 0);
	world_split(w, 1);
	world_split(w, 0);
	world_split(w, 2);
	pthread_mutex_unlock(&w->lock);
}

static uint32_t
told_ver(const ClientMarks *marks, uint64_t shard)
{
	for (uint32_t i = 0; i < marks->ntold; i++)
		if (marks->told[i].shard == shard)
			return marks->told[i].range_ver;
	return 0;
}

/* Each shard that was split refuses once; what goes with the marks is by which intervals was written. */
static void
writes_go_on(void **state)
{
	Setup	   *s = begin(2, 0);
	ClientMarks marks;
	uint32_t	before;

	(void) state;
	split_all(&s->w);
	pd_goes();
	assert_ok(put(s, &marks));
	assert_all_there(s, &batch);
	assert_int_equal(world_records(&s->w), N);
	assert_int_equal(marks.route_version, 1);
	assert_int_equal(marks.ntold, 3);
	assert_int_equal(told_ver(&marks, 100), 3);
	assert_int_equal(told_ver(&marks, 101), 2);
	assert_int_equal(told_ver(&marks, 102), 3);
	client_marks_free(&marks);

	/* From now on they are known. */
	before = world_count(&s->w, WIRE_WRITE);
	assert_ok(put(s, &marks));
	assert_int_equal(world_count(&s->w, WIRE_WRITE), before + s->w.nshards);
	assert_int_equal(marks.ntold, 3);
	client_marks_free(&marks);
	end(s);
}

/* In the middle of a call, too: commands of its round are under way to the others. */
static void
split_the_second(World *w, WireType type)
{
	if (type == WIRE_WRITE && w->nshards == 2)
		world_split(w, 1);
}

static void
a_round_goes_to_its_end(void **state)
{
	Setup	   *s = begin(2, 0);

	(void) state;
	pd_goes();
	s->w.on_request = split_the_second;
	assert_ok(put(s, NULL));
	assert_all_there(s, &batch);
	end(s);
}

static void
searches_go_on(void **state)
{
	(void) state;
	for (size_t before = 0; before < 60; before += 13)
	{
		Setup	   *s = begin(2, 300);
		float		query[DIM] = {1, 2, 1, 0};
		Truth		t = truth_of(&s->w, query);
		ClientMark	mark[2] = {{100, 1, 1, 1}, {101, 1, 1, 1}};
		ClientMarks marks = {.n = 2, .items = mark};
		ClientMarks answered;
		ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query, .dim = DIM, .batch = 10,
			.ef = 40, .consistency = WIRE_AT_MARK, .marks = &marks};
		ClientScan *scan;
		size_t		at = 0;

		pd_goes();
		assert_ok(client_scan_open(s->client, &search, in_ms(LONG_MS), &scan, &err));
		if (before)
			assert_hits(scan, &t, &at, before);
		split_all(&s->w);
		assert_hits(scan, &t, &at, 0);

		/* Nobody had written by a route with the new ones when the marks were read. */
		assert_int_equal(s->w.linearizable, 0);
		client_scan_marks(scan, &answered);
		assert_int_equal(answered.n, s->w.nshards);
		assert_int_equal(answered.route_version, 1);
		for (uint32_t i = 0; i < answered.n; i++)
			assert_int_equal(answered.items[i].range_ver, s->w.shards[answered.items[i].shard - 100].desc.range_ver);
		client_marks_free(&answered);
		client_scan_close(scan);
		truth_free(&t);
		end(s);
	}
}

static void
counts_and_listings_begin_anew(void **state)
{
	Setup	   *s = begin(2, 300);
	ClientMarks marks;
	ClientList *list;
	WireListItem item;
	uint64_t	records;
	uint64_t	fence = 0;
	size_t		n = 0;

	(void) state;
	split_all(&s->w);
	pd_goes();
	assert_ok(client_list_open(s->client, &s->w.generation, &s->w.owner, NULL, 0, in_ms(LONG_MS), &list, &err));
	assert_int_equal(client_list_next(list, in_ms(LONG_MS), &item, &err), VT_LEASE_GONE);
	client_list_close(list);
	assert_ok(client_raise(s->client, &s->writer, &fence, &marks, &err));
	assert_int_equal(marks.n, s->w.nshards);
	assert_int_equal(told_ver(&marks, 100), 3);
	client_marks_free(&marks);
	assert_ok(client_read_index(s->client, &s->w.generation, &s->w.owner, in_ms(LONG_MS), &marks, &records, NULL, &err));
	assert_int_equal(records, 300);
	assert_int_equal(told_ver(&marks, 101), 2);
	assert_ok(client_list_open(s->client, &s->w.generation, &s->w.owner, &marks, 0, in_ms(LONG_MS), &list, &err));
	while (client_list_next(list, in_ms(LONG_MS), &item, &err) == VT_OK && item.id.len > 0)
		n++;
	assert_int_equal(n, 300);
	client_list_close(list);
	client_marks_free(&marks);
	end(s);
}

/* What does not fit is as if nothing was said; PD is asked. */
static void
nonsense_is_not_believed(void **state)
{
	Setup	   *s = begin(2, 0);
	ClientMarks marks;

	(void) state;
	s->w.tells_nonsense = true;
	pthread_mutex_lock(&s->w.lock);
	world_split(&s->w, 0);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(put(s, &marks));
	assert_all_there(s, &batch);
	assert_int_equal(marks.ntold, 0);
	assert_int_equal(marks.route_version, 2);
	client_marks_free(&marks);
	assert_int_equal(world_count(&s->w, WIRE_CONTROL), 2);
	end(s);
}

/* Not so many that they could not be named with the marks: then PD is asked. */
static void
of_a_few_at_a_time(void **state)
{
	Setup	   *s = begin(CLIENT_TOLD_MAX + 2, 0);
	ClientMarks marks;
	uint32_t	before = world_count(&s->w, WIRE_CONTROL);

	(void) state;
	pthread_mutex_lock(&s->w.lock);
	for (uint32_t i = 0; i < CLIENT_TOLD_MAX + 2; i++)
		world_split(&s->w, i);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(put(s, &marks));
	assert_all_there(s, &batch);
	assert_int_equal(world_count(&s->w, WIRE_CONTROL), before + 1);
	assert_int_equal(marks.route_version, 1 + CLIENT_TOLD_MAX + 2);
	client_marks_free(&marks);
	end(s);
}

/* -- Words of before ---------------------------------------------------------- */

/* What PD says now it says from now on. */
static void
pd_stands_still(World *w)
{
	pthread_mutex_lock(&w->lock);
	w->route_words = NULL;
	buf_clear(&words);
	put_route(w, &words);
	w->route_words = &words;
	pthread_mutex_unlock(&w->lock);
}

static void
pd_hears_of_it(World *w)
{
	pthread_mutex_lock(&w->lock);
	w->route_words = NULL;
	pthread_mutex_unlock(&w->lock);
}

static const ClientShard *
shard_in(const ClientCollection *route, uint64_t shard)
{
	for (uint32_t i = 0; i < route->nshards; i++)
		if (route->shards[i].desc.shard == shard)
			return &route->shards[i];
	fail_msg("there is no shard %d", (int) shard);
	return NULL;
}

static const ClientCollection *
refreshed(Setup *s)
{
	const ClientCollection *route;

	assert_ok(client_route(s->client, &s->w.generation, true, in_ms(LONG_MS), &route, &err));
	return route;
}

/*
 * A row is committed in a child that PD has not heard of, and a scan that knows is not answered
 * for a while: PD is asked, and says what it said before.  A replica that is as old would answer
 * by that for the child too.  forgotten: the client itself knows no better.
 */
static void
scan_beside_an_older_pd(bool forgotten)
{
	Setup	   *s = begin(1, 300);
	float		query[DIM] = {1, 2, 1, 0};
	ClientMark	mark = {.shard = 100, .incarnation = 1, .range_ver = 2, .index = 1};
	ClientMarks marks = {.n = 1, .items = &mark, .route_version = 1};
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query, .dim = DIM, .batch = 10,
		.ef = 40, .consistency = WIRE_AT_MARK, .marks = &marks};
	uint32_t	asked = world_count(&s->w, WIRE_CONTROL);
	ClientScan *scan;
	size_t		at = 0;
	Truth		t;

	pd_stands_still(&s->w);
	pthread_mutex_lock(&s->w.lock);
	world_split(&s->w, 0);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(put(s, NULL));
	assert_true(s->w.shards[1].n > 0);
	t = truth_of(&s->w, query);
	assert_ok(client_scan_open(s->client, &search, in_ms(LONG_MS), &scan, &err));
	assert_int_equal(world_count(&s->w, WIRE_CONTROL), asked);
	if (forgotten)
		client_route_forget(s->client, &s->w.generation);
	for (int i = 0; i < 2; i++)
		world_trick(&s->w, WIRE_SEARCH, 0, REFUSE, VT_UNAVAILABLE);
	assert_hits(scan, &t, &at, 0);
	assert_true(world_count(&s->w, WIRE_CONTROL) > asked);
	client_scan_close(scan);
	truth_free(&t);
}

static void
a_route_does_not_go_back(void **state)
{
	(void) state;
	scan_beside_an_older_pd(false);
	assert_int_equal(setup.w.by_older, 0);
	end(&setup);
}

/* Then the leader is asked, who refuses. */
static void
a_mark_is_not_for_an_older_interval(void **state)
{
	(void) state;
	scan_beside_an_older_pd(true);
	assert_true(setup.w.by_older > 0);
	assert_int_equal(setup.w.marks_by_older, 0);
	end(&setup);
}

/* Of what PD says that is taken which is newer. */
static void
newer_in_parts(void **state)
{
	Setup	   *s = begin(2, 0);
	const ClientCollection *route;

	(void) state;
	/* PD has heard of one split, the client of the others. */
	pthread_mutex_lock(&s->w.lock);
	world_split(&s->w, 1);
	pthread_mutex_unlock(&s->w.lock);
	pd_stands_still(&s->w);
	pthread_mutex_lock(&s->w.lock);
	world_split(&s->w, 0);
	world_split(&s->w, 3);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(put(s, NULL));
	for (int i = 0; i < 2; i++)
	{
		route = refreshed(s);
		assert_int_equal(route->nshards, 5);
		assert_int_equal(route->route_version, 2);
		assert_int_equal(shard_in(route, 100)->desc.range_ver, 2);
		assert_int_equal(shard_in(route, 101)->desc.range_ver, 2);
		assert_int_equal(shard_in(route, 103)->desc.range_ver, 3);
		assert_true(shard_in(route, 100)->told && shard_in(route, 103)->told);
		assert_false(shard_in(route, 101)->told || shard_in(route, 102)->told);
	}

	/* It hears of all, and then a driver is asked that has not. */
	pd_hears_of_it(&s->w);
	for (int i = 0; i < 2; i++)
	{
		route = refreshed(s);
		assert_int_equal(route->nshards, 5);
		assert_int_equal(route->route_version, 4);
		for (uint32_t k = 0; k < route->nshards; k++)
			assert_false(route->shards[k].told);
		pthread_mutex_lock(&s->w.lock);
		s->w.route_words = &words;
		pthread_mutex_unlock(&s->w.lock);
	}
	end(s);
}

/* The places are PD's word, whatever it says of intervals. */
static void
places_are_pds(void **state)
{
	Setup	   *s = begin(1, 0);
	const ClientCollection *route;

	(void) state;
	pthread_mutex_lock(&s->w.lock);
	s->w.shards[0].home = &s->b;
	pthread_mutex_unlock(&s->w.lock);
	pd_stands_still(&s->w);
	pthread_mutex_lock(&s->w.lock);
	s->w.shards[0].home = &s->a;
	world_split(&s->w, 0);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(put(s, NULL));
	route = refreshed(s);
	assert_int_equal(route->nshards, 2);
	assert_string_equal(shard_in(route, 100)->places[0], s->b.endpoint);
	assert_string_equal(shard_in(route, 101)->places[0], s->a.endpoint);
	end(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_go_on),
		cmocka_unit_test(a_round_goes_to_its_end),
		cmocka_unit_test(searches_go_on),
		cmocka_unit_test(counts_and_listings_begin_anew),
		cmocka_unit_test(nonsense_is_not_believed),
		cmocka_unit_test(of_a_few_at_a_time),
		cmocka_unit_test(a_route_does_not_go_back),
		cmocka_unit_test(a_mark_is_not_for_an_older_interval),
		cmocka_unit_test(newer_in_parts),
		cmocka_unit_test(places_are_pds),
	};

	return cmocka_run_group_tests_name("client_told", tests, NULL, NULL);
}
