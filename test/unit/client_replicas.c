/*-------------------------------------------------------------------------
 *
 * client_replicas.c
 *	  Shards with several replicas: the leader is found, a replica that is gone,
 *	  silent or behind is passed by, and only answers that count are counted.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_cluster.h"

#define REPLICAS 3
#define SHARDS 2

static VtError err;

typedef struct Setup
{
	World		w;
	Fake		pd;
	Fake		worker[REPLICAS];
	bool		runs[REPLICAS];
	Watch		watch;
	Client	   *client;
	ClientWriter writer;
	uint32_t	next;
} Setup;

/* Each shard on all workers, led by the first. */
static void
set_up(Setup *s)
{
	memset(s, 0, sizeof(*s));
	world_init(&s->w, SHARDS);
	fake_start(&s->pd, &s->w);
	for (int i = 0; i < REPLICAS; i++)
	{
		fake_start(&s->worker[i], &s->w);
		s->runs[i] = true;
	}
	for (uint32_t i = 0; i < SHARDS; i++)
	{
		s->w.shards[i].home = &s->worker[0];
		s->w.shards[i].followers[0] = &s->worker[1];
		s->w.shards[i].followers[1] = &s->worker[2];
	}
	s->client = client_for(s->pd.endpoint, NULL, &s->watch);
	s->writer.generation = s->w.generation;
	s->writer.owner = s->w.owner;
	s->writer.timeline = 1;
	s->writer.deadline_us = in_ms(LONG_MS);
}

static void
stop_worker(Setup *s, int i)
{
	fake_stop(&s->worker[i]);
	s->runs[i] = false;
}

static void
tear_down(Setup *s)
{
	client_end(s->client, &s->watch);
	for (int i = 0; i < REPLICAS; i++)
		if (s->runs[i])
			fake_stop(&s->worker[i]);
	fake_stop(&s->pd);
	world_free(&s->w);
}

/* Leadership of all shards moves to a worker. */
static void
lead(Setup *s, int leader)
{
	pthread_mutex_lock(&s->w.lock);
	for (uint32_t i = 0; i < SHARDS; i++)
	{
		FakeShard  *shard = &s->w.shards[i];

		shard->home = &s->worker[leader];
		shard->followers[0] = &s->worker[(leader + 1) % REPLICAS];
		shard->followers[1] = &s->worker[(leader + 2) % REPLICAS];
	}
	pthread_mutex_unlock(&s->w.lock);
}

/* PD thinks that a worker leads. */
static void
tell(Setup *s, int leader)
{
	pthread_mutex_lock(&s->w.lock);
	for (uint32_t i = 0; i < SHARDS; i++)
		s->w.shards[i].told = &s->worker[leader];
	pthread_mutex_unlock(&s->w.lock);
}

/* Put n new records. */
static VtStatus
put(Setup *s, uint32_t n, ClientMarks *marks)
{
	ClientRecord *records = vt_alloc0(sizeof(ClientRecord) * n);
	uint8_t    *ids = vt_alloc(WIRE_TID_SIZE * n);
	float		vector[DIM] = {1, 2, 3, 4};
	VtStatus	status;

	for (uint32_t i = 0; i < n; i++, s->next++)
	{
		wire_tid_put(ids + WIRE_TID_SIZE * i, s->next / 100, (uint16_t) (s->next % 100 + 1));
		records[i].id = bytes_of(ids + WIRE_TID_SIZE * i, WIRE_TID_SIZE);
		records[i].vector = vector;
	}
	status = client_put(s->client, &s->writer, records, n, NULL, marks, &err);
	free(records);
	free(ids);
	return status;
}

/* Hits of a whole scan. */
static VtStatus
count(Setup *s, WireConsistency consistency, const ClientMarks *marks, int64_t deadline_us, uint32_t *n)
{
	static const float query[DIM] = {0, 0, 0, 0};
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query,
		.dim = DIM, .batch = 10, .ef = 100, .consistency = consistency, .marks = marks};
	ClientScan *scan;
	ClientHit	hit;
	bool		found = true;
	VtStatus	status;

	*n = 0;
	status = client_scan_open(s->client, &search, deadline_us, &scan, &err);
	while (status == VT_OK && found)
	{
		status = client_scan_next(scan, deadline_us, &hit, &found, &err);
		*n += found && status == VT_OK;
	}
	if (scan)
		client_scan_close(scan);
	return status;
}

/* PD is wrong about the leader: it is found without asking PD again. */
static void
the_leader_is_found(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	tell(&s, 1);
	assert_ok(put(&s, 100, NULL));
	assert_int_equal(world_records(&s.w), 100);
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), 1);
	assert_in_range(s.w.at_followers, 1, 4 * SHARDS);

	/* And remembered. */
	s.w.at_followers = 0;
	assert_ok(put(&s, 100, NULL));
	assert_int_equal(s.w.at_followers, 0);
	tear_down(&s);
}

static void
leadership_moves(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	for (int i = 0; i < 12; i++)
	{
		lead(&s, i * 7 % REPLICAS);
		assert_ok(put(&s, 50, NULL));
		assert_int_equal(world_records(&s.w), (size_t) (i + 1) * 50);
	}
	tear_down(&s);
}

/* The leader's process is gone; the next one takes its place, whatever PD thinks. */
static void
a_leader_dies(void **state)
{
	Setup		s;
	ClientMarks marks;
	uint64_t	fence = 0;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 100, NULL));
	tell(&s, 0);
	stop_worker(&s, 0);
	lead(&s, 2);
	for (uint32_t i = 0; i < SHARDS; i++)
		s.w.shards[i].followers[0] = &s.worker[1];
	assert_ok(put(&s, 100, &marks));
	assert_int_equal(world_records(&s.w), 200);
	client_marks_free(&marks);
	assert_ok(client_read_index(s.client, &s.w.generation, &s.w.owner, in_ms(LONG_MS), &marks, NULL, NULL, &err));
	assert_int_equal(marks.n, SHARDS);
	client_marks_free(&marks);
	assert_ok(client_raise(s.client, &s.writer, &fence, NULL, &err));
	assert_true(fence > 0);
	tear_down(&s);
}

/* Nobody leads for a while: it is waited for. */
static void
an_election_is_waited_for(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 10, NULL));
	for (int i = 0; i < 30; i++)
		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, VT_NOT_LEADER);
	assert_ok(put(&s, 100, NULL));
	assert_int_equal(world_records(&s.w), 110);
	forget_tricks(&s.w);

	/* But not for ever. */
	for (int i = 0; i < 60; i++)
		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, VT_NOT_LEADER);
	assert_told(VT_NOT_LEADER, (s.writer.deadline_us = in_ms(150), put(&s, 1, NULL)));
	tear_down(&s);
}

/* A leader that is frozen holds nobody until his deadline. */
static void
a_silent_leader_is_left(void **state)
{
	Setup		s;
	int64_t		begin;
	uint32_t	n;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 10, NULL));
	lead(&s, 1);
	/* What still goes to the old one is not answered. */
	world_trick(&s.w, WIRE_WRITE, 0, SAY_NOTHING, VT_OK);
	world_trick(&s.w, WIRE_WRITE, 0, SAY_NOTHING, VT_OK);
	begin = clock_now_us();
	assert_ok(put(&s, 100, NULL));
	assert_int_equal(world_records(&s.w), 110);
	assert_true(clock_now_us() - begin < LONG_MS * 1000 / 2);
	world_trick(&s.w, WIRE_SEARCH, 0, SAY_NOTHING, VT_OK);
	assert_ok(count(&s, WIRE_AT_MARK, NULL, in_ms(LONG_MS), &n));
	assert_int_equal(n, 110);
	tear_down(&s);
}

/* All known replicas are gone: PD knows others. */
static void
the_whole_group_has_moved(void **state)
{
	Setup		s;
	Fake		other;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 10, NULL));
	for (int i = 0; i < REPLICAS; i++)
		stop_worker(&s, i);
	fake_start(&other, &s.w);
	pthread_mutex_lock(&s.w.lock);
	for (uint32_t i = 0; i < SHARDS; i++)
	{
		s.w.shards[i].home = &other;
		memset(s.w.shards[i].followers, 0, sizeof(s.w.shards[i].followers));
	}
	pthread_mutex_unlock(&s.w.lock);
	assert_ok(put(&s, 100, NULL));
	assert_int_equal(world_records(&s.w), 110);
	fake_stop(&other);
	tear_down(&s);
}

/* A search at marks that a follower has is answered by it when the leader is gone. */
static void
a_follower_answers_at_its_marks(void **state)
{
	Setup		s;
	ClientMarks marks;
	uint32_t	n;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 300, &marks));
	stop_worker(&s, 0);
	assert_ok(count(&s, WIRE_AT_MARK, &marks, in_ms(LONG_MS), &n));
	assert_int_equal(n, 300);
	assert_true(s.w.at_followers > 0);

	/* Not what it has not: nobody has, and nobody answers. */
	s.w.shards[0].lag = 1;
	assert_told(VT_BEHIND, count(&s, WIRE_AT_MARK, &marks, in_ms(200), &n));
	s.w.shards[0].lag = 0;

	/* What must be asked of a leader is not answered by one who follows. */
	assert_int_not_equal(count(&s, WIRE_LINEARIZABLE, NULL, in_ms(200), &n), VT_OK);
	lead(&s, 1);
	assert_ok(count(&s, WIRE_LINEARIZABLE, NULL, in_ms(LONG_MS), &n));
	assert_int_equal(n, 300);
	client_marks_free(&marks);
	tear_down(&s);
}

/* Searches of a worker since it had so many. */
static uint32_t
searches_since(Setup *s, int worker, uint32_t before)
{
	uint32_t	n;

	pthread_mutex_lock(&s->w.lock);
	n = s->worker[worker].searches - before;
	pthread_mutex_unlock(&s->w.lock);
	return n;
}

/* Scans, 60 of them; then what each worker has answered. */
static void
scan_sixty(Setup *s, const ClientMarks *marks, uint32_t answered[REPLICAS])
{
	uint32_t	before[REPLICAS];
	uint32_t	n;

	for (int i = 0; i < REPLICAS; i++)
		before[i] = searches_since(s, i, 0);
	for (int i = 0; i < 60; i++)
	{
		assert_ok(count(s, WIRE_AT_MARK, marks, in_ms(LONG_MS), &n));
		assert_int_equal(n, 100);
	}
	for (int i = 0; i < REPLICAS; i++)
		answered[i] = searches_since(s, i, before[i]);
}

/*
 * Where much is not indexed, others are asked as long as there are some.  Again where the machine
 * was slow: others are in doubt that get no processor, and what a replica said counts for a second.
 */
static void
the_crowded_are_spared(void **state)
{
	Setup		s;
	ClientMarks marks;
	uint32_t	answered[REPLICAS];
	uint32_t	n;
	uint32_t	before;
	int64_t		until = in_ms(LONG_MS);

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 100, &marks));
	for (uint32_t i = 0; i < SHARDS; i++)
		s.w.shards[i].crowded[0] = &s.worker[1], s.w.shards[i].crowd = 3000;
	do
		scan_sixty(&s, &marks, answered);
	while (answered[1] * 6 >= answered[0] + answered[2] && clock_now_us() < until);
	assert_true(answered[1] * 6 < answered[0] + answered[2]);

	/* It is asked where there is no other, and again when it has caught up. */
	stop_worker(&s, 0);
	stop_worker(&s, 2);
	assert_ok(count(&s, WIRE_AT_MARK, &marks, in_ms(LONG_MS), &n));
	assert_int_equal(n, 100);
	client_marks_free(&marks);
	tear_down(&s);

	set_up(&s);
	assert_ok(put(&s, 100, &marks));
	for (uint32_t i = 0; i < SHARDS; i++)
		s.w.shards[i].crowded[0] = &s.worker[1], s.w.shards[i].crowd = 3000;
	for (until = in_ms(LONG_MS); searches_since(&s, 1, 0) < SHARDS;)
		assert_ok(count(&s, WIRE_AT_MARK, &marks, until, &n));
	for (uint32_t i = 0; i < SHARDS; i++)
		s.w.shards[i].crowded[0] = NULL;
	before = searches_since(&s, 1, 0);
	while (searches_since(&s, 1, before) < 20)
		assert_ok(count(&s, WIRE_AT_MARK, &marks, until, &n));
	client_marks_free(&marks);
	tear_down(&s);
}

/* Those at the limit of what is meant to wait are asked as well: the third does not get all, for long. */
static void
at_the_limit_nobody_is_cut(void **state)
{
	Setup		s;
	ClientMarks marks;
	uint32_t	answered[REPLICAS];
	uint32_t	limited;
	int64_t		until = in_ms(LONG_MS);

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 100, &marks));
	for (uint32_t i = 0; i < SHARDS; i++)
	{
		s.w.shards[i].crowded[0] = &s.worker[0];
		s.w.shards[i].crowded[1] = &s.worker[1];
		s.w.shards[i].crowd = 100;
	}
	do
	{
		scan_sixty(&s, &marks, answered);
		limited = answered[0] + answered[1];
	} while (limited * 8 <= limited + answered[2] && clock_now_us() < until);
	assert_true(limited * 8 > limited + answered[2]);
	client_marks_free(&marks);
	tear_down(&s);
}

/* Another life, another interval, a view from before the mark: no answers. */
static void
answers_that_do_not_count(void **state)
{
	static const Mischief wrong[] = {OTHER_LIFE, LEAVE_HOLE, OLD_VIEW};
	Setup		s;
	ClientMarks marks;
	uint32_t	n;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 100, &marks));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		for (int k = 0; k < 5; k++)
			world_trick(&s.w, WIRE_SEARCH, 0, wrong[i], VT_OK);
		assert_ok(count(&s, WIRE_AT_MARK, &marks, in_ms(LONG_MS), &n));
		assert_int_equal(n, 100);
		forget_tricks(&s.w);
	}
	world_trick(&s.w, WIRE_WRITE, 0, OTHER_LIFE, VT_OK);
	assert_ok(put(&s, 100, NULL));
	client_marks_free(&marks);

	/* A listing comes from the leader alone, and from one snapshot. */
	{
		ClientList *list;
		WireListItem item;

		s.w.at_followers = 0;
		tell(&s, 1);
		client_route_forget(s.client, &s.w.generation);
		assert_ok(client_list_open(s.client, &s.w.generation, &s.w.owner, NULL, 0, in_ms(LONG_MS), &list, &err));
		for (n = 0;; n++)
		{
			assert_ok(client_list_next(list, in_ms(LONG_MS), &item, &err));
			if (item.id.len == 0)
				break;
		}
		client_list_close(list);
		assert_int_equal(n, 200);
		assert_true(s.w.at_followers > 0);
	}
	tear_down(&s);
}

/* In the middle of an upgrade: it depends on who leads, whomever PD takes for the leader. */
static void
metadata_from_a_leader_that_lists_it(void **state)
{
	Setup		s;

	(void) state;
	for (int leader = 0; leader < 2; leader++)
	{
		ClientList *list;
		WireListItem item;
		VtStatus	status;
		uint32_t	n = 0;

		set_up(&s);
		s.w.lacks = WIRE_FEATURE_METADATA;
		s.w.newer = &s.worker[0];
		assert_ok(put(&s, 100, NULL));
		lead(&s, leader);
		tell(&s, 1 - leader);
		client_route_forget(s.client, &s.w.generation);
		assert_ok(client_list_open(s.client, &s.w.generation, &s.w.owner, NULL, LIST_METADATA, in_ms(LONG_MS), &list, &err));
		while ((status = client_list_next(list, in_ms(LONG_MS), &item, &err)) == VT_OK && item.id.len > 0)
		{
			assert_true(bytes_equal(item.metadata, item.id));
			n++;
		}
		client_list_close(list);
		assert_int_equal(status, leader == 0 ? VT_OK : VT_VERSION);
		assert_int_equal(n, leader == 0 ? 100 : 0);
		assert_true(leader == 0 || strstr(err.msg, "upgrade the workers"));
		tear_down(&s);
	}
}

/* PD is away: the replicas that are known are tried all the same. */
static void
without_pd(void **state)
{
	Setup		s;
	int64_t		begin;

	(void) state;
	set_up(&s);
	assert_ok(put(&s, 10, NULL));
	for (int i = 0; i < 30; i++)
		world_trick(&s.w, WIRE_CONTROL, 0, SAY_NOTHING, VT_OK);
	stop_worker(&s, 0);
	lead(&s, 1);
	for (uint32_t i = 0; i < SHARDS; i++)
		s.w.shards[i].followers[1] = NULL;
	for (int i = 0; i < 20; i++)
		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, VT_NOT_LEADER);
	begin = clock_now_us();
	assert_ok(put(&s, 100, NULL));
	assert_int_equal(world_records(&s.w), 110);
	assert_true(clock_now_us() - begin < LONG_MS * 1000 / 2);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_leader_is_found),
		cmocka_unit_test(leadership_moves),
		cmocka_unit_test(a_leader_dies),
		cmocka_unit_test(an_election_is_waited_for),
		cmocka_unit_test(a_silent_leader_is_left),
		cmocka_unit_test(the_whole_group_has_moved),
		cmocka_unit_test(a_follower_answers_at_its_marks),
		cmocka_unit_test(the_crowded_are_spared),
		cmocka_unit_test(at_the_limit_nobody_is_cut),
		cmocka_unit_test(answers_that_do_not_count),
		cmocka_unit_test(metadata_from_a_leader_that_lists_it),
		cmocka_unit_test(without_pd),
	};

	return cmocka_run_group_tests_name("client_replicas", tests, NULL, NULL);
}
