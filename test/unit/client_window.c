/*-------------------------------------------------------------------------
 *
 * client_window.c
 *	  One worker has more shards than it takes questions from a connection: the
 *	  client holds back, asks others that may answer, and asks each once all the same.
 *
 *-------------------------------------------------------------------------
 */
#define WORLD_SHARDS 150
#define FAKE_DONE 16

#include "fake_cluster.h"

#include "../../src/client/conn.h"

static VtError err;

typedef struct Setup
{
	World		w;
	Fake		worker;
	Watch		watch;
	Client	   *client;
	bool		frozen;			/* until the client waits */
	uint32_t	most;			/* requests under way then */
	uint32_t	most_places;	/* and their places, as the client counts them */
} Setup;

static VtStatus
count_and_wait(void *arg, int fd, bool want_read, bool want_write, int64_t until_us)
{
	Setup	   *s = (Setup *) arg;
	uint32_t	places = conn_under_way(s->client, s->worker.endpoint);
	uint32_t	n = 0;

	for (const Conn *c = s->client->conns; c; c = c->next)
		for (const Request *r = c->requests; r && strcmp(c->endpoint, s->worker.endpoint) == 0; r = r->next)
			n++;
	s->most = n > s->most ? n : s->most;
	s->most_places = places > s->most_places ? places : s->most_places;
	if (s->frozen)
		fake_freeze(&s->worker, false);
	s->frozen = false;
	return client_poll_ops.wait(NULL, fd, want_read, want_write, until_us);
}

static int
set_up(void **state)
{
	Setup	   *s = vt_alloc0(sizeof(Setup));
	ClientOptions options = {.pd_endpoints = s->worker.endpoint, .role = WIRE_ROLE_GATEWAY,
		.ops = {.wait = count_and_wait, .arg = s}};
	uint64_t	records;
	uint64_t	unindexed;

	world_init(&s->w, WORLD_SHARDS);
	world_fill(&s->w, 1000, 42);
	fake_start(&s->worker, &s->w);
	world_home(&s->w, &s->worker);
	*state = s;
	if (client_open(&options, &s->client, &err) != VT_OK ||
		client_read_index(s->client, &s->w.generation, &s->w.owner, in_ms(LONG_MS), NULL, &records, &unindexed, &err) != VT_OK)
		return -1;

	/* It knows the shards: what comes now is sent before anything can be answered. */
	memset(s->w.count, 0, sizeof(s->w.count));
	s->most = s->most_places = 0;
	s->frozen = true;
	fake_freeze(&s->worker, true);
	return 0;
}

static int
tear_down(void **state)
{
	Setup	   *s = *state;

	client_close(s->client);
	fake_stop(&s->worker);
	world_free(&s->w);
	free(s);
	return 0;
}

/* Each shard was asked once, and many at a time: never so many that one could be refused. */
static void
assert_held_back(Setup *s, WireType type)
{
	assert_int_equal(world_count(&s->w, type), WORLD_SHARDS);
	assert_in_range(s->most, WIRE_OUTSTANDING_MAX / 2, WIRE_OUTSTANDING_MAX - 1);
}

static void
a_question_to_all_shards(void **state)
{
	Setup	   *s = *state;
	ClientMarks marks = {0};
	uint64_t	records;
	uint64_t	unindexed;

	assert_ok(client_read_index(s->client, &s->w.generation, &s->w.owner, in_ms(LONG_MS), &marks, &records, &unindexed, &err));
	assert_int_equal(records, 1000);
	assert_int_equal(marks.n, WORLD_SHARDS);
	assert_held_back(s, WIRE_READ_INDEX);
	client_marks_free(&marks);
}

static void
a_scan_of_all_shards(void **state)
{
	static const float query[DIM] = {1, 2, 0, 3};
	Setup	   *s = *state;
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query,
		.dim = DIM, .batch = 1000, .ef = 100, .consistency = WIRE_AT_MARK};
	ClientScan *scan;
	ClientHit	hit;
	bool		found = true;
	uint32_t	n = 0;

	assert_ok(client_scan_open(s->client, &search, in_ms(LONG_MS), &scan, &err));
	while (found)
	{
		assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
		n += found;
	}
	assert_int_equal(n, 1000);
	assert_held_back(s, WIRE_SEARCH);
	client_scan_close(scan);
}

/* A question of many queries has the places of several. */
static void
many_queries_to_all_shards(void **state)
{
	enum
	{
		N = 4 * WIRE_QUERIES_A_PLACE
	};
	static float queries[N * DIM];
	Setup	   *s = *state;
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = queries,
		.dim = DIM, .batch = 2, .ef = 100, .consistency = WIRE_AT_MARK};
	ClientScan *scans[N];
	uint32_t	opened;

	for (int i = 0; i < N * DIM; i++)
		queries[i] = (float) (i % 7);
	assert_ok(client_scan_open_many(s->client, &search, N, in_ms(LONG_MS), scans, &opened, &err));
	assert_int_equal(opened, N);
	assert_int_equal(world_count(&s->w, WIRE_SEARCH), WORLD_SHARDS);
	assert_int_equal(s->w.many, WORLD_SHARDS);
	assert_in_range(s->most, WIRE_OUTSTANDING_MAX / 2 / 4, (WIRE_OUTSTANDING_MAX - 1) / 4);
	assert_int_equal(s->most_places, s->most * 4);
	for (uint32_t i = 0; i < opened; i++)
		client_scan_close(scans[i]);
}

static void
records_for_all_shards(void **state)
{
	Setup	   *s = *state;
	static ClientRecord records[3000];
	static uint8_t ids[3000][8];
	static const float vector[DIM] = {1, 2, 3, 4};
	ClientWriter writer = {.generation = s->w.generation, .owner = s->w.owner, .deadline_us = in_ms(LONG_MS)};
	uint64_t	before = world_records(&s->w);

	for (size_t i = 0; i < 3000; i++)
	{
		put_le64(ids[i], UINT64_C(1) << 40 | i);
		records[i] = (ClientRecord) {.id = bytes_of(ids[i], 8), .vector = vector};
	}
	assert_ok(client_put(s->client, &writer, records, 3000, NULL, NULL, &err));
	assert_int_equal(world_records(&s->w), before + 3000);
	assert_held_back(s, WIRE_WRITE);
}

/* -- Three replicas ---------------------------------------------------------- */

#define REPLICAS 3
#define FULL (WIRE_OUTSTANDING_MAX * 3 / 4)

typedef struct Three
{
	World		w;
	Fake		worker[REPLICAS];
	Client	   *client;
	bool		frozen;			/* until the client waits, */
	uint32_t	under_way[REPLICAS];	/* where then so many are */
} Three;

static VtStatus
count_all_and_wait(void *arg, int fd, bool want_read, bool want_write, int64_t until_us)
{
	Three	   *t = (Three *) arg;

	for (int i = 0; i < REPLICAS && t->frozen; i++)
	{
		t->under_way[i] = conn_under_way(t->client, t->worker[i].endpoint);
		fake_freeze(&t->worker[i], false);
	}
	t->frozen = false;
	return client_poll_ops.wait(NULL, fd, want_read, want_write, until_us);
}

/* That somebody answers late is forgotten when he is heard of: here, or by the client that looks for him. */
static bool
somebody_is_in_doubt(const Three *t)
{
	for (int i = 0; i < REPLICAS; i++)
		if (pace_is_doubted(t->client->pace, t->worker[i].endpoint))
			return true;
	return false;
}

static void
scan_ten(Three *t)
{
	static const float query[DIM] = {1, 2, 0, 3};
	ClientSearch search = {.generation = t->w.generation, .owner = t->w.owner, .query = query,
		.dim = DIM, .batch = 10, .ef = 100, .consistency = WIRE_EVENTUAL};
	ClientScan *scan;
	ClientHit	hit;
	bool		found;

	assert_ok(client_scan_open(t->client, &search, in_ms(LONG_MS), &scan, &err));
	for (int i = 0; i < 10; i++)
		assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
	client_scan_close(scan);
}

/*
 * Where searches wait everywhere a question goes to one worker, as far as that takes it:
 * for the rest nobody waits while others would take it.
 */
static void
what_one_does_not_take_others_do(void **state)
{
	Three	   *t = vt_alloc0(sizeof(Three));
	ClientOptions options = {.pd_endpoints = t->worker[0].endpoint, .role = WIRE_ROLE_GATEWAY,
		.ops = {.wait = count_all_and_wait, .arg = t}};

	(void) state;
	world_init(&t->w, WORLD_SHARDS);
	world_fill(&t->w, 1000, 42);
	for (int i = 0; i < REPLICAS; i++)
		fake_start(&t->worker[i], &t->w);
	for (uint32_t i = 0; i < WORLD_SHARDS; i++)
	{
		t->w.shards[i].home = &t->worker[0];
		t->w.shards[i].followers[0] = &t->worker[1];
		t->w.shards[i].followers[1] = &t->worker[2];
	}
	t->w.waiting = 10;
	assert_ok(client_open(&options, &t->client, &err));
	for (int i = 0; i < 20; i++)
		scan_ten(t);
	for (int round = 0; round < 20; round++)
	{
		/* Who got no processor for a while would be asked last. */
		for (int64_t until = in_ms(LONG_MS); somebody_is_in_doubt(t) && clock_now_us() < until;)
			scan_ten(t);
		for (int i = 0; i < REPLICAS; i++)
			fake_freeze(&t->worker[i], true);
		t->frozen = true;
		scan_ten(t);
		for (int i = 0; i < REPLICAS; i++)
			assert_int_equal(t->under_way[i], FULL);
	}
	client_close(t->client);
	for (int i = 0; i < REPLICAS; i++)
		fake_stop(&t->worker[i]);
	world_free(&t->w);
	free(t);
}

/* -- A round that passes somebody by ----------------------------------------- */

typedef struct Late
{
	World		w;
	Fake		full;			/* of shard 0 */
	Fake		other;			/* of shard 1 */
	Client	   *client;
	ClientList *lists[FULL];
	bool		makes_room;		/* when the client waits next */
	bool		frozen;			/* until it waits for an answer, after a pause */
	bool		paused;
} Late;

static VtStatus
make_room_and_wait(void *arg, int fd, bool want_read, bool want_write, int64_t until_us)
{
	Late	   *l = (Late *) arg;

	bool		is_pause = until_us - clock_now_us() < LONG_MS * 500;

	l->paused = l->paused || (l->frozen && is_pause);
	if (l->frozen && l->paused && !is_pause)
	{
		fake_freeze(&l->full, false);
		l->frozen = false;
	}
	if (l->makes_room)
	{
		l->makes_room = false;
		/* One place for the question, and one in which it could be asked again. */
		for (int i = 0; i < 2; i++)
		{
			client_list_close(l->lists[i]);
			l->lists[i] = NULL;
		}
		fake_freeze(&l->full, true);
		l->frozen = true;
	}
	return client_poll_ops.wait(NULL, fd, want_read, want_write, until_us);
}

/*
 * Shard 0 cannot be asked, since listings wait for as much as its worker takes, and is
 * when two of them end: after its turn in the round, so it is met under way by the next.
 */
static void
who_is_asked_late_is_asked_once(void **state)
{
	Late	   *l = vt_alloc0(sizeof(Late));
	ClientOptions options = {.pd_endpoints = l->other.endpoint, .role = WIRE_ROLE_GATEWAY,
		.ops = {.wait = make_room_and_wait, .arg = l}};
	uint64_t	records;
	uint64_t	unindexed;

	(void) state;
	world_init(&l->w, 2);
	world_fill(&l->w, 100, 42);
	fake_start(&l->full, &l->w);
	fake_start(&l->other, &l->w);
	l->w.shards[0].home = &l->full;
	l->w.shards[1].home = &l->other;
	assert_ok(client_open(&options, &l->client, &err));
	assert_ok(client_read_index(l->client, &l->w.generation, &l->w.owner, in_ms(LONG_MS), NULL, &records, &unindexed, &err));
	for (int i = 0; i < FULL; i++)
	{
		WireListItem item;

		world_trick(&l->w, WIRE_LIST, 1, SAY_NOTHING, VT_OK);
		assert_ok(client_list_open(l->client, &l->w.generation, &l->w.owner, NULL, 0, in_ms(LONG_MS), &l->lists[i], &err));
		assert_ok(client_list_next(l->lists[i], in_ms(LONG_MS), &item, &err));
	}
	assert_int_equal(conn_under_way(l->client, l->full.endpoint), FULL);
	l->w.count[WIRE_READ_INDEX] = 0;
	l->makes_room = true;
	assert_ok(client_read_index(l->client, &l->w.generation, &l->w.owner, in_ms(LONG_MS), NULL, &records, &unindexed, &err));
	assert_int_equal(records, 100);
	assert_int_equal(world_count(&l->w, WIRE_READ_INDEX), 2);
	assert_false(l->frozen);
	for (int i = 0; i < FULL; i++)
		client_list_close(l->lists[i]);
	client_close(l->client);
	fake_stop(&l->full);
	fake_stop(&l->other);
	world_free(&l->w);
	free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_question_to_all_shards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_scan_of_all_shards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_queries_to_all_shards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(records_for_all_shards, set_up, tear_down),
		cmocka_unit_test(what_one_does_not_take_others_do),
		cmocka_unit_test(who_is_asked_late_is_asked_once),
	};

	return cmocka_run_group_tests_name("client_window", tests, NULL, NULL);
}
