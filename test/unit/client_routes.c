/*-------------------------------------------------------------------------
 *
 * client_routes.c
 *	  Routes that the processes of a server share: what comes out is what was put
 *	  in last, whole, or nothing; and the newest are there.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_pair.h"

#include "base/prng.h"

#define ROOM 4096
#define GENERATIONS 3000		/* more than there are places */

static VtId
generation(uint32_t n)
{
	VtId		id;

	memset(&id, 0, sizeof(id));
	put_le64(id.b, n + 1);
	return id;
}

/* Words that say whose they are, which version, and how long. */
static void
words_of(uint32_t n, uint32_t version, size_t len, Buf *out)
{
	buf_clear(out);
	while (out->len < len)
		buf_put_u8(out, (uint8_t) (n * 31 + version * 7 + out->len));
}

static void
what_comes_out_was_put_in(void **state)
{
	Prng		prng = {.state = 5};
	uint32_t   *version = vt_alloc0(sizeof(uint32_t) * GENERATIONS);
	size_t	   *len = vt_alloc0(sizeof(size_t) * GENERATIONS);	/* 0 = forgotten, or never there */
	ClientRouteTable *table = client_route_table_init(vt_alloc(client_route_table_size(ROOM)), ROOM);
	Buf			words = {0};
	Buf			got = {0};
	uint32_t	found = 0;

	(void) state;
	for (uint32_t step = 0; step < 200000; step++)
	{
		uint32_t	n = prng_below(&prng, step % 2 ? 10 : GENERATIONS);
		VtId		id = generation(n);

		if (prng_below(&prng, 3) > 0)
		{
			bool		there;

			buf_clear(&got);
			there = client_route_get(table, &id, &got);
			assert_int_equal(there, client_route_has(table, &id));
			if (!there)
				continue;
			found++;
			words_of(n, version[n], len[n], &words);
			assert_int_equal(got.len, words.len);
			assert_memory_equal(got.data, words.data, words.len);
			continue;
		}
		/* Now and then: forgotten, too long, or the same again. */
		if (prng_below(&prng, 4) > 0)
			version[n]++;
		if (prng_below(&prng, 4) > 0)
			len[n] = prng_below(&prng, 10) == 0 ? 0 : prng_below(&prng, 50) == 0 ? ROOM + 1 : 1 + prng_below(&prng, 300);
		words_of(n, version[n], len[n], &words);
		client_route_put(table, &id, buf_bytes(&words));
		buf_clear(&got);
		assert_int_equal(client_route_get(table, &id, &got), len[n] > 0 && len[n] <= ROOM);
	}
	assert_true(found > 1000);
	buf_free(&words);
	buf_free(&got);
	free(table);
	free(version);
	free(len);
}

/* More generations than places, or than bytes: the oldest go. */
static void
the_newest_are_there(void **state)
{
	size_t		room = 1 << 20;
	ClientRouteTable *table = client_route_table_init(vt_alloc(client_route_table_size(room)), room);
	Buf			words = {0};
	VtId		id;

	(void) state;
	for (uint32_t n = 0; n < GENERATIONS; n++)
	{
		id = generation(n);
		words_of(n, 0, 100, &words);
		client_route_put(table, &id, buf_bytes(&words));
	}
	for (uint32_t n = 0; n < GENERATIONS; n++)
	{
		id = generation(n);
		assert_int_equal(client_route_has(table, &id), n >= GENERATIONS - 1024);
	}
	id = generation(0);
	words_of(0, 0, room, &words);
	client_route_put(table, &id, buf_bytes(&words));
	assert_true(client_route_has(table, &id));
	id = generation(GENERATIONS - 1);
	assert_false(client_route_has(table, &id));
	buf_free(&words);
	free(table);
}

/* -- Clients that share it ----------------------------------------------------- */

static VtError err;

static void
keep(void *arg, const VtId *id, Bytes words)
{
	client_route_put((ClientRouteTable *) arg, id, words);
}

static bool
kept(void *arg, const VtId *id, Buf *out)
{
	return client_route_get((ClientRouteTable *) arg, id, out);
}

static Client *
sharing(const char *pd, ClientRouteTable *table)
{
	ClientOptions options = {.pd_endpoints = pd, .role = WIRE_ROLE_GATEWAY, .ops = client_poll_ops};
	Client	   *client;

	options.ops.keep_route = keep;
	options.ops.kept_route = kept;
	options.ops.arg = table;
	assert_ok(client_open(&options, &client, &err));
	return client;
}

static VtStatus
count(Client *client, World *w, int64_t ms, uint64_t *records)
{
	ClientMarks marks = {0};
	VtStatus	status = client_read_index(client, &w->generation, &w->owner, in_ms(ms), &marks, records, NULL, &err);

	client_marks_free(&marks);
	return status;
}

/* PD told one client the way, and is gone: another goes by it, and only by what agrees. */
static void
a_new_client_goes_on_without_pd(void **state)
{
	ClientRouteTable *table = client_route_table_init(vt_alloc(client_route_table_size(ROOM)), ROOM);
	World		w;
	Fake		pd;
	Fake		worker;
	Client	   *client;
	uint64_t	records;
	Buf			words = {0};

	(void) state;
	world_init(&w, 3);
	world_fill(&w, 50, 42);
	fake_start(&pd, &w);
	fake_start(&worker, &w);
	world_home(&w, &worker);
	client = sharing(pd.endpoint, table);
	assert_ok(count(client, &w, LONG_MS, &records));
	client_close(client);
	fake_stop(&pd);

	client = sharing(pd.endpoint, table);
	assert_ok(count(client, &w, LONG_MS, &records));
	assert_int_equal(records, 50);
	client_close(client);

	/* Words that make no route are as if there were none. */
	assert_true(client_route_get(table, &w.generation, &words));
	words.len /= 2;
	client_route_put(table, &w.generation, buf_bytes(&words));
	client = sharing(pd.endpoint, table);
	assert_int_equal(count(client, &w, 300, &records), VT_UNAVAILABLE);
	client_close(client);
	fake_stop(&worker);
	world_free(&w);
	buf_free(&words);
	free(table);
}

/* PD has too much to do: who knows a way asks once, and goes on by it. */
static void
a_busy_driver_is_not_waited_for(void **state)
{
	ClientRouteTable *table = client_route_table_init(vt_alloc(client_route_table_size(ROOM)), ROOM);
	World		w;
	Fake		pd;
	Client	   *client;
	uint64_t	records;

	(void) state;
	world_init(&w, 1);
	world_fill(&w, 50, 42);
	fake_start(&pd, &w);
	world_home(&w, &pd);
	client = sharing(pd.endpoint, table);
	assert_ok(count(client, &w, LONG_MS, &records));
	client_close(client);
	w.later_ms = 5;
	for (int i = 0; i < 5; i++)
		world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_BUSY);
	client = sharing(pd.endpoint, table);
	assert_ok(count(client, &w, LONG_MS, &records));
	assert_int_equal(records, 50);
	assert_int_equal(world_count(&w, WIRE_CONTROL), 2);

	/* Who knows none waits. */
	client_close(client);
	client_route_put(table, &w.generation, bytes_of("", 0));
	client = sharing(pd.endpoint, table);
	assert_ok(count(client, &w, LONG_MS, &records));
	assert_int_equal(world_count(&w, WIRE_CONTROL), 1 + 5 + 1);
	client_close(client);
	fake_stop(&pd);
	world_free(&w);
	free(table);
}

/* PD says that it is gone: nobody goes by what it said before. */
static void
what_pd_forgot_is_forgotten(void **state)
{
	ClientRouteTable *table = client_route_table_init(vt_alloc(client_route_table_size(ROOM)), ROOM);
	World		w;
	Fake		pd;
	Client	   *client;
	uint64_t	records;

	(void) state;
	world_init(&w, 1);
	fake_start(&pd, &w);
	world_home(&w, &pd);
	client = sharing(pd.endpoint, table);
	assert_ok(count(client, &w, LONG_MS, &records));
	assert_true(client_route_has(table, &w.generation));
	client_close(client);
	w.route_status = VT_GONE;
	client = sharing(pd.endpoint, table);
	assert_int_equal(count(client, &w, LONG_MS, &records), VT_GONE);
	assert_false(client_route_has(table, &w.generation));
	client_close(client);
	fake_stop(&pd);
	world_free(&w);
	free(table);
}

/* What is known of a shard's replica here; NULL: no such shard. */
static const ClientKnown *
known_of(const ClientCollection *route, uint64_t shard)
{
	for (uint32_t i = 0; i < route->nshards; i++)
		if (route->shards[i].desc.shard == shard)
			return &route->shards[i].known[0];
	return NULL;
}

/* A split gives the shards behind it other positions in the route, and no other replicas. */
static void
what_was_known_of_replicas_stays(void **state)
{
	static const float query[DIM] = {1, 2, 1, 0};
	ClientMark	mark[3] = {{100, 1, 1, 1}, {101, 1, 1, 1}, {102, 1, 1, 1}};
	ClientMarks marks = {.n = 3, .items = mark};
	const ClientCollection *route;
	ClientSearch search;
	ClientScan *scan;
	ClientHit	hit;
	bool		found;
	uint64_t	applied[3];
	Setup		s;

	(void) state;
	set_up(&s, 3, 100);
	search = (ClientSearch) {.generation = s.w.generation, .owner = s.w.owner, .query = query, .dim = DIM, .batch = 10,
		.ef = 40, .consistency = WIRE_AT_MARK, .marks = &marks};
	assert_ok(client_scan_open(s.client, &search, in_ms(LONG_MS), &scan, &err));
	assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
	client_scan_close(scan);
	assert_ok(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err));
	for (uint32_t i = 0; i < 3; i++)
	{
		applied[i] = known_of(route, 100 + i)->applied;
		assert_int_equal(applied[i], s.w.shards[i].index);
	}

	pthread_mutex_lock(&s.w.lock);
	world_split(&s.w, 0);
	world_split(&s.w, 1);
	s.w.shards[2].desc.incarnation++;
	pthread_mutex_unlock(&s.w.lock);
	assert_ok(client_route(s.client, &s.w.generation, true, in_ms(LONG_MS), &route, &err));
	assert_int_equal(route->nshards, 5);
	assert_int_equal(known_of(route, 100)->applied, applied[0]);
	assert_int_equal(known_of(route, 101)->applied, applied[1]);

	/* In another life it is another one, and so is a child. */
	assert_int_equal(known_of(route, 102)->applied, 0);
	assert_int_equal(known_of(route, 103)->applied, 0);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_out_was_put_in),
		cmocka_unit_test(the_newest_are_there),
		cmocka_unit_test(a_new_client_goes_on_without_pd),
		cmocka_unit_test(a_busy_driver_is_not_waited_for),
		cmocka_unit_test(what_pd_forgot_is_forgotten),
		cmocka_unit_test(what_was_known_of_replicas_stays),
	};

	return cmocka_run_group_tests_name("client_routes", tests, NULL, NULL);
}
