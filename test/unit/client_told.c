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

/* PD is none of the workers. */
typedef struct Setup
{
	World		w;
	Fake		pd;
	Fake		a;
	Fake		b;
	Watch		watch;
	Client	   *client;
	ClientWriter writer;
	ClientRecord records[N];
	uint8_t		ids[N][WIRE_TID_SIZE];
	float		vectors[N][DIM];
	bool		done[N];
} Setup;

static Setup *
set_up(uint32_t nshards, uint32_t records)
{
	Setup	   *s = vt_alloc0(sizeof(Setup));
	const ClientCollection *route;

	world_init(&s->w, nshards);
	world_fill(&s->w, records, 42);
	s->w.tells = true;
	fake_start(&s->pd, &s->w);
	fake_start(&s->a, &s->w);
	fake_start(&s->b, &s->w);
	for (uint32_t i = 0; i < nshards; i++)
		s->w.shards[i].home = i % 2 ? &s->b : &s->a;
	s->client = client_for(s->pd.endpoint, NULL, &s->watch);
	s->writer = (ClientWriter) {.generation = s->w.generation, .owner = s->w.owner, .timeline = 1, .lsn = 99,
		.deadline_us = in_ms(LONG_MS)};
	for (uint32_t i = 0; i < N; i++)
	{
		wire_tid_put(s->ids[i], 1000 + i / 50, (uint16_t) (i % 50 + 1));
		s->vectors[i][0] = (float) i;
		s->records[i].id = bytes_of(s->ids[i], WIRE_TID_SIZE);
		s->records[i].vector = s->vectors[i];
	}
	assert_ok(client_route(s->client, &s->w.generation, false, in_ms(LONG_MS), &route, &err));
	return s;
}

/* From here on nobody answers for PD. */
static void
pd_goes(Setup *s)
{
	fake_stop(&s->pd);
	s->pd.world = NULL;
}

static void
tear_down(Setup *s)
{
	client_end(s->client, &s->watch);
	if (s->pd.world)
		fake_stop(&s->pd);
	fake_stop(&s->a);
	fake_stop(&s->b);
	world_free(&s->w);
	free(s);
}

/* The upper two thirds of a shard become another one, where it is. */
static void
split(World *w, uint32_t i)
{
	FakeShard  *from = &w->shards[i];
	FakeShard  *to = &w->shards[w->nshards];
	uint64_t	middle = from->desc.first + (from->desc.last - from->desc.first) / 3;
	size_t		kept = 0;

	world_shard(w, w->nshards, 100 + w->nshards, middle + 1, from->desc.last);
	w->nshards++;
	to->home = from->home;
	to->index = to->desc.base_index = ++from->index;
	to->desc.parent = from->desc.shard;
	to->born_last = from->desc.last;
	to->desc.range_ver = ++from->desc.range_ver;
	from->desc.last = middle;
	for (size_t k = 0; k < from->n; k++)
	{
		FakeRecord	r = from->records[k];
		Bytes		id = bytes_of(r.id, r.id_len);

		if (wire_place(&from->desc, id) <= middle)
			from->records[kept++] = r;
		else
			shard_put(to, id, (const uint8_t *) r.vector, WIRE_FLOAT32);
	}
	from->n = kept;
	w->route_version++;
}

/* Both shards, one of them twice, and a child as well. */
static void
split_all(World *w)
{
	pthread_mutex_lock(&w->lock);
	split(w, 0);
	split(w, 1);
	split(w, 0);
	split(w, 2);
	pthread_mutex_unlock(&w->lock);
}

static void
assert_put(Setup *s)
{
	for (uint32_t i = 0; i < N; i++)
	{
		assert_true(s->done[i]);
		assert_non_null(shard_record(world_place(&s->w, s->records[i].id), s->records[i].id));
	}
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
	Setup	   *s = set_up(2, 0);
	ClientMarks marks;
	uint32_t	before;

	(void) state;
	split_all(&s->w);
	pd_goes(s);
	assert_ok(client_put(s->client, &s->writer, s->records, N, s->done, &marks, &err));
	assert_put(s);
	assert_int_equal(world_records(&s->w), N);
	assert_int_equal(marks.route_version, 1);
	assert_int_equal(marks.ntold, 3);
	assert_int_equal(told_ver(&marks, 100), 3);
	assert_int_equal(told_ver(&marks, 101), 2);
	assert_int_equal(told_ver(&marks, 102), 3);
	client_marks_free(&marks);

	/* From now on they are known. */
	before = world_count(&s->w, WIRE_WRITE);
	assert_ok(client_put(s->client, &s->writer, s->records, N, s->done, &marks, &err));
	assert_int_equal(world_count(&s->w, WIRE_WRITE), before + s->w.nshards);
	assert_int_equal(marks.ntold, 3);
	client_marks_free(&marks);
	tear_down(s);
}

/* In the middle of a call, too: commands of its round are under way to the others. */
static void
split_the_second(World *w, WireType type)
{
	if (type == WIRE_WRITE && w->nshards == 2)
		split(w, 1);
}

static void
a_round_goes_to_its_end(void **state)
{
	Setup	   *s = set_up(2, 0);

	(void) state;
	pd_goes(s);
	s->w.on_request = split_the_second;
	assert_ok(client_put(s->client, &s->writer, s->records, N, s->done, NULL, &err));
	assert_put(s);
	tear_down(s);
}

static void
searches_go_on(void **state)
{
	(void) state;
	for (size_t before = 0; before < 60; before += 13)
	{
		Setup	   *s = set_up(2, 300);
		float		query[DIM] = {1, 2, 1, 0};
		Truth		t = truth_of(&s->w, query);
		ClientMark	mark[2] = {{100, 1, 1, 1}, {101, 1, 1, 1}};
		ClientMarks marks = {.n = 2, .items = mark};
		ClientMarks answered;
		ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query, .dim = DIM, .batch = 10,
			.ef = 40, .consistency = WIRE_AT_MARK, .marks = &marks};
		ClientScan *scan;
		size_t		at = 0;

		pd_goes(s);
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
		tear_down(s);
	}
}

static void
counts_and_listings_begin_anew(void **state)
{
	Setup	   *s = set_up(2, 300);
	ClientMarks marks;
	ClientList *list;
	WireListItem item;
	uint64_t	records;
	uint64_t	fence = 0;
	size_t		n = 0;

	(void) state;
	split_all(&s->w);
	pd_goes(s);
	assert_ok(client_list_open(s->client, &s->w.generation, &s->w.owner, NULL, false, in_ms(LONG_MS), &list, &err));
	assert_int_equal(client_list_next(list, in_ms(LONG_MS), &item, &err), VT_LEASE_GONE);
	client_list_close(list);
	assert_ok(client_raise(s->client, &s->writer, &fence, &marks, &err));
	assert_int_equal(marks.n, s->w.nshards);
	assert_int_equal(told_ver(&marks, 100), 3);
	client_marks_free(&marks);
	assert_ok(client_read_index(s->client, &s->w.generation, &s->w.owner, in_ms(LONG_MS), &marks, &records, NULL, &err));
	assert_int_equal(records, 300);
	assert_int_equal(told_ver(&marks, 101), 2);
	assert_ok(client_list_open(s->client, &s->w.generation, &s->w.owner, &marks, false, in_ms(LONG_MS), &list, &err));
	while (client_list_next(list, in_ms(LONG_MS), &item, &err) == VT_OK && item.id.len > 0)
		n++;
	assert_int_equal(n, 300);
	client_list_close(list);
	client_marks_free(&marks);
	tear_down(s);
}

/* What does not fit is as if nothing was said; PD is asked. */
static void
nonsense_is_not_believed(void **state)
{
	Setup	   *s = set_up(2, 0);
	ClientMarks marks;

	(void) state;
	s->w.tells_nonsense = true;
	pthread_mutex_lock(&s->w.lock);
	split(&s->w, 0);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(client_put(s->client, &s->writer, s->records, N, s->done, &marks, &err));
	assert_put(s);
	assert_int_equal(marks.ntold, 0);
	assert_int_equal(marks.route_version, 2);
	client_marks_free(&marks);
	assert_int_equal(world_count(&s->w, WIRE_CONTROL), 2);
	tear_down(s);
}

/* Not so many that they could not be named with the marks: then PD is asked. */
static void
of_a_few_at_a_time(void **state)
{
	Setup	   *s = set_up(CLIENT_TOLD_MAX + 2, 0);
	ClientMarks marks;
	uint32_t	before = world_count(&s->w, WIRE_CONTROL);

	(void) state;
	pthread_mutex_lock(&s->w.lock);
	for (uint32_t i = 0; i < CLIENT_TOLD_MAX + 2; i++)
		split(&s->w, i);
	pthread_mutex_unlock(&s->w.lock);
	assert_ok(client_put(s->client, &s->writer, s->records, N, s->done, &marks, &err));
	assert_put(s);
	assert_int_equal(world_count(&s->w, WIRE_CONTROL), before + 1);
	assert_int_equal(marks.route_version, 1 + CLIENT_TOLD_MAX + 2);
	client_marks_free(&marks);
	tear_down(s);
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
