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
	};

	return cmocka_run_group_tests_name("client_told", tests, NULL, NULL);
}
