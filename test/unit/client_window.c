/*-------------------------------------------------------------------------
 *
 * client_window.c
 *	  One worker has more shards than it takes questions from a connection: the
 *	  client holds back, and asks each once all the same.
 *
 *-------------------------------------------------------------------------
 */
#define WORLD_SHARDS 150
#define FAKE_DONE 16

#include "fake_cluster.h"

#include "../../src/client/private.h"

static VtError err;

typedef struct Setup
{
	World		w;
	Fake		worker;
	Watch		watch;
	Client	   *client;
	bool		frozen;			/* until the client waits */
	uint32_t	most;			/* requests under way then */
} Setup;

static VtStatus
count_and_wait(void *arg, int fd, bool want_read, bool want_write, int64_t until_us)
{
	Setup	   *s = (Setup *) arg;
	uint32_t	n = conn_under_way(s->client, s->worker.endpoint);

	s->most = n > s->most ? n : s->most;
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
	s->most = 0;
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
		.dim = DIM, .batch = 20, .ef = 100, .consistency = WIRE_AT_MARK};
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_question_to_all_shards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_scan_of_all_shards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(records_for_all_shards, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("client_window", tests, NULL, NULL);
}
