/*-------------------------------------------------------------------------
 *
 * worker_limits.c
 *	  A worker whose disk or memory comes to its end: new data is refused before,
 *	  and everything else goes on.
 *
 * The placement driver here takes connections and says nothing, so whoever asks
 * it waits; the worker must notice by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "disk_room.h"
#include "worker_place.h"

#include <sched.h>

typedef struct Silent
{
	Place		place;
	int			fd;				/* the driver's socket */
} Silent;

static void
listen_at(Silent *s)
{
	struct sockaddr_un addr;

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", s->place.pd + 5);
	s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(listen(s->fd, 8), 0);
}

static int
set_up_limits(void **state)
{
	Silent	   *s = vt_alloc0(sizeof(Silent));

	lay(&s->place, VEC_FLOAT32, 0);
	listen_at(s);
	start(&s->place);
	make_shard(&s->place);
	*state = s;
	return 0;
}

#define LITTLE (8 << 20)
#define MUCH (256 << 20)

static int
set_up_little(void **state)
{
	memory_limit = LITTLE;
	return set_up_limits(state);
}

static int
set_up_much(void **state)
{
	memory_limit = MUCH;
	return set_up_limits(state);
}

static int
tear_down_limits(void **state)
{
	Silent	   *s = *state;
	int			rc;

	if (s->fd >= 0)
		close(s->fd);			/* whoever waits for the driver ends */
	rc = clear(&s->place);
	memory_limit = 0;
	free(s);
	return rc;
}

/* Write until it is refused, and at most 64 MiB; how many records came in. */
static uint32_t
write_until_full(Gateway *g, const Place *place, uint32_t first)
{
	for (uint32_t n = 0; n < (64u << 20) / 40;)
	{
		Change		c = {WRITE_PUT, route(place), 0, 0, first + n, 5000, 0, DIM, 0, 0, 0};
		WireWriteResult result;
		VtStatus	status = change(g, &c, &result);

		if (status == VT_FULL)
			return n;
		if (status == VT_BUSY)
		{
			usleep(1000);		/* what LevelDB has not written out leaves first */
			continue;
		}
		assert_int_equal(status, VT_OK);
		n += c.n;
	}
	fail_msg("nothing was refused");
	return 0;
}

/* What goes on at the limit.  How many records came in all the same, in the room that was made meanwhile. */
static uint32_t
all_but_new_data(Gateway *g, const Place *place, uint32_t n)
{
	Change		raise = {WRITE_RAISE, route(place), 0, 1, 0, 0, 0, 0, 0, 0, 0};
	Change		gone = {WRITE_DELETE, route(place), 1, 0, 0, 1, 0, 0, 0, 0, 0};
	WireWriteResult result;
	WireSearchResult found;
	WireSearch	s;
	WireHit		hit;
	uint8_t		vector[DIM * 4];
	size_t		at = 0;

	vector_of(0, vector);
	s = question(place, vector, 1);
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_true(wire_hit_next(&found, &at, &hit));
	assert_int_equal(number_of(hit.id), 0);
	gone.version = hit.version;
	assert_int_equal(count(g, place), n);
	assert_int_equal(change(g, &raise, &result), VT_OK);
	assert_int_equal(change(g, &gone, &result), VT_OK);
	assert_int_equal(result.done, 1);
	assert_int_equal(count(g, place), n - 1);
	return write_until_full(g, place, n + 1);
}

static void
the_disk(void **state)
{
	Silent	   *s = *state;
	Gateway		g;
	uint32_t	n;

	dial(&g, &s->place);
	put(&g, &s->place, 0, 100);
	atomic_store(&disk_is_full, true);
	n = 100 + write_until_full(&g, &s->place, 100);
	assert_int_equal(all_but_new_data(&g, &s->place, n), 0);

	/* There is room again: it is noticed, by the thread that waited for the driver. */
	atomic_store(&disk_is_full, false);
	close(s->fd);
	s->fd = -1;
	for (;;)
	{
		Change		c = {WRITE_PUT, route(&s->place), 1, 0, n, 1, 0, DIM, 0, 0, 0};
		WireWriteResult result;
		VtStatus	status = change(&g, &c, &result);

		if (status == VT_OK)
			break;
		assert_int_equal(status, VT_FULL);
		usleep(1000);
	}
	hang_up(&g);
}

/* Whoever comes first meets a worker that has looked. */
static void
full_from_the_start(void **state)
{
	Silent	   *s = *state;

	worker_stop(s->place.worker);
	atomic_store(&disk_is_full, true);
	start(&s->place);
	assert_true(atomic_load(&s->place.worker->disk_low));
	atomic_store(&disk_is_full, false);
}

static Worker *looked_at;
static atomic_bool be_slow;
static atomic_bool others_looked;

/* One is held up between seeing and noting, unless all others wait for it, until another has looked. */
static void
hold_up(void)
{
	if (!atomic_exchange(&be_slow, false) || pthread_mutex_trylock(&looked_at->look_lock) != 0)
		return;
	pthread_mutex_unlock(&looked_at->look_lock);
	while (!atomic_load(&others_looked))
		sched_yield();
}

static void *
look(void *worker)
{
	worker_look(worker);
	return NULL;
}

/* Whoever saw first has not the last word. */
static void
two_look_at_once(void **state)
{
	Worker	   *worker = ((Silent *) *state)->place.worker;

	looked_at = worker;
	atomic_store(&disk_was_seen, hold_up);
	for (int round = 0; round < 10; round++)
	{
		bool		full = round % 2 == 0;
		pthread_t	slow;

		atomic_store(&others_looked, false);
		atomic_store(&be_slow, true);
		assert_int_equal(pthread_create(&slow, NULL, look, worker), 0);
		while (atomic_load(&be_slow))
			sched_yield();
		atomic_store(&disk_is_full, full);
		worker_look(worker);
		atomic_store(&others_looked, true);
		pthread_join(slow, NULL);
		assert_int_equal(atomic_load(&worker->disk_low), full);
	}
	atomic_store(&disk_was_seen, NULL);
}

/*
 * What comes from leaders elsewhere takes room as well: it is looked at while the house
 * thread waits for the driver.  Whether it does can be told afterwards, so there are some tries.
 */
static void
what_leaders_elsewhere_send(void **state)
{
	Silent	   *s = *state;
	Worker	   *worker = s->place.worker;
	NetPeerOptions options = {.endpoint = s->place.endpoint, .role = WIRE_ROLE_WORKER, .expected = WIRE_ROLE_WORKER, .store = 2};
	NetPeer    *peer = net_peer_new(&options);
	Buf			message = {0};
	Buf			frame = {0};
	Bytes		bytes;
	int			seen = 0;

	buf_put_zeros(&message, 1 << 20);
	wire_raft_begin(&frame, options.store);
	wire_raft_put(&frame, buf_bytes(&message));
	bytes = buf_bytes(&frame);
	for (int round = 0; round < 12 && seen < 2; round++)
	{
		bool		full = round % 2 == 0;
		int64_t		turned_us = atomic_load(&worker->stats.turned_us);

		atomic_store(&disk_is_full, full);
		while (atomic_load(&worker->disk_low) != full)
			assert_int_equal(net_peer_send(peer, WIRE_RAFT, &bytes, 1, 60000), VT_OK);
		seen += atomic_load(&worker->stats.turned_us) == turned_us;
	}
	assert_int_equal(seen, 2);
	net_peer_free(peer);
	buf_free(&frame);
	buf_free(&message);
}

static void
the_memory(void **state)
{
	Silent	   *s = *state;
	int64_t		until = clock_now_us() + PATIENCE_US;
	Gateway		g;
	Shard	   *shard;
	uint64_t	bound;
	uint32_t	n;

	dial(&g, &s->place);
	put(&g, &s->place, 0, 100);
	n = 100 + write_until_full(&g, &s->place, 100);
	(void) all_but_new_data(&g, &s->place, n);
	assert_true(atomic_load(&s->place.worker->memory_of[MEMORY_RECORDS]) > 6 << 20);

	/* What LevelDB had not written out goes, long before the log asks for a checkpoint. */
	bound = worker_memory_bounds(LITTLE).tables;
	shard = worker_find_shard(s->place.worker, SHARD);
	for (;;)
	{
		worker_look(s->place.worker);
		if (shard_figures(shard).tables <= bound)
			break;
		if (clock_now_us() > until)
			fail_msg("the memtables stay");
		usleep(1000);
	}
	shard_release(shard);
	hang_up(&g);
}

/*
 * Something else takes the memory, which will go: writes wait, and meanwhile more of the
 * memtables is written out than is where nobody waits, or nothing would make them less.
 */
static void
what_goes_by_itself(void **state)
{
	const uint64_t limit = MUCH;
	const uint64_t others = UINT64_C(400) << 20;
	uint64_t	bound = worker_memory_bounds(limit).tables;
	int64_t		until = clock_now_us() + PATIENCE_US;
	Silent	   *s = *state;
	Worker	   *worker = s->place.worker;
	const char *words;
	Gateway		g;
	Shard	   *shard;

	dial(&g, &s->place);
	shard = worker_find_shard(worker, SHARD);
	for (uint32_t n = 0; shard_figures(shard).tables <= bound / 4; n += 2000)
		put(&g, &s->place, n, 2000);
	worker_look(worker);
	assert_int_equal(worker_admit(worker, shard, 1, &words), VT_OK);
	assert_in_range(shard_figures(shard).tables, bound / 4 + 1, bound);

	atomic_fetch_add(&worker->request_bytes, others);
	while (worker_look(worker), shard_figures(shard).tables > bound / 4)
	{
		assert_int_equal(worker_admit(worker, shard, 1, &words), VT_BUSY);
		assert_non_null(strstr(words, "has to leave"));
		if (clock_now_us() > until)
			fail_msg("the memtables stay");
		usleep(1000);
	}

	/* It has gone: writes go on. */
	atomic_fetch_sub(&worker->request_bytes, others);
	worker_look(worker);
	assert_int_equal(worker_admit(worker, shard, 1, &words), VT_OK);
	shard_release(shard);
	hang_up(&g);
}

/* The only shard falls asleep, with which it forgets whether copies lag. */
static void
await_sleep(Worker *worker)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	ReplicaHostFigures figures = {0};

	while (figures.asleep == 0)
	{
		if (clock_now_us() > until)
			fail_msg("the shard does not fall asleep");
		usleep(1000);
		replica_host_figures(worker->host, &figures);
	}
}

/* While its shard says that most copies lag, which it forgets when it falls asleep. */
static VtStatus
change_while_they_lag(Gateway *g, Shard *shard, const Change *c)
{
	Buf			payload = change_encode(g, c);

	do
	{
		atomic_store(&shard->replica->lagging, true);
		send_frame(g, WIRE_REQUEST, WIRE_WRITE, ++g->requests, &payload);
		assert_int_equal(read_frame(g), g->requests);
		assert_int_equal(wire_reply_get(buf_bytes(&g->payload), &g->head, &g->body), VT_OK);
	} while (!atomic_load(&shard->replica->lagging));
	buf_free(&payload);
	return g->head.status;
}

/* Whoever makes the log longer has to wait, and is told for how long; the fence rises, and all is read. */
static void
most_copies_lag(void **state)
{
	Silent	   *s = *state;
	Worker	   *worker = s->place.worker;
	Shard	   *shard = worker_find_shard(worker, SHARD);
	Change		more = {WRITE_PUT, route(&s->place), 0, 0, 100, 1, 0, DIM, 0, 0, 0};
	Change		less = {WRITE_DELETE, route(&s->place), 0, 0, 0, 1, 1, 0, 0, 0, 0};
	Change		raise = {WRITE_RAISE, route(&s->place), 0, 1, 0, 0, 0, 0, 0, 0, 0};
	WireWriteResult result;
	const char *status;
	Gateway		g;

	dial(&g, &s->place);
	put(&g, &s->place, 0, 100);
	await_sleep(worker);		/* not in the middle of it, or the record is put */
	assert_int_equal(change_while_they_lag(&g, shard, &more), VT_BUSY);
	assert_true(g.head.retry_after_ms > 0);
	assert_true(g.head.message.len > 11 && memcmp(g.head.message.data, "most copies", 11) == 0);
	assert_int_equal(change_while_they_lag(&g, shard, &less), VT_BUSY);
	assert_true(g.head.retry_after_ms > 0);
	assert_in_range(atomic_load(&worker->stats.held_back), 2, UINT64_MAX);
	do
	{
		atomic_store(&shard->replica->lagging, true);
		status = control(&g, "{\"op\":\"status\"}");
	} while (!atomic_load(&shard->replica->lagging));
	assert_non_null(strstr(status, "\"held_back\":true"));
	assert_int_equal(change_while_they_lag(&g, shard, &raise), VT_OK);
	assert_int_equal(count(&g, &s->place), 100);

	atomic_store(&shard->replica->lagging, false);
	more.fence = 1;
	assert_int_equal(change(&g, &more, &result), VT_OK);
	assert_int_equal(count(&g, &s->place), 101);
	shard_release(shard);
	hang_up(&g);
}

/* Of the memory there is each kind that goes by itself may have a part. */
static void
parts_of_memory(void **state)
{
	const uint64_t mib = 1 << 20;

	(void) state;
	assert_int_equal(worker_memory_share(1000 * mib, 75), 750 * mib);
	assert_int_equal(worker_memory_share(0, 75), 0);
	for (uint64_t limit = 256 * mib; limit <= 4096 * mib; limit *= 2)
	{
		MemoryBounds bounds = worker_memory_bounds(limit);

		assert_true(bounds.tables + bounds.log_tables + bounds.log + bounds.scans <= limit / 3);
		assert_true(bounds.tables >= 32 * mib);
	}
	assert_int_equal(worker_memory_bounds(0).tables, 256 * mib);
}

/* What goes by itself makes nothing full, nor anything that is full have room again and again. */
static void
full_until_it_is_less(void **state)
{
	const uint64_t limit = UINT64_C(1000) << 20;
	const uint64_t percent = limit / 100;
	const struct
	{
		uint64_t	stays;
		uint64_t	all;
		MemoryRoom	room;
	}			steps[] = {
		{80, 99, MEMORY_ENOUGH}, {80, 101, MEMORY_FULL}, {80, 97, MEMORY_FULL}, {80, 100, MEMORY_FULL}, {80, 94, MEMORY_ENOUGH},
		{80, 97, MEMORY_ENOUGH}, {80, 101, MEMORY_FULL}, {70, 101, MEMORY_BUSY}, {70, 97, MEMORY_ENOUGH}, {70, 120, MEMORY_BUSY},
		{80, 101, MEMORY_FULL}, {70, 97, MEMORY_ENOUGH},
	};
	MemoryRoom	room = MEMORY_ENOUGH;

	(void) state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		room = worker_memory_room(room, limit, steps[i].stays * percent, steps[i].all * percent);
		assert_int_equal(room, steps[i].room);
		assert_int_equal(worker_memory_room(room, 0, steps[i].stays * percent, steps[i].all * percent), MEMORY_ENOUGH);
	}
}

/* So many snapshots come in at a time; who is silent for long makes room for another. */
static void
snapshots_come_in_turns(void **state)
{
	Incoming	incoming[INCOMING_MAX] = {{0}};
	uint64_t	evicted;
	int64_t		now = 1;

	(void) state;
	for (uint64_t shard = 1; shard <= INCOMING_MAX; shard++)
	{
		assert_true(incoming_take(incoming, shard, 7, now, &evicted));
		assert_int_equal(evicted, 0);
	}
	assert_false(incoming_take(incoming, 100, 7, now, &evicted));
	assert_true(incoming_take(incoming, 2, 7, now, &evicted));	/* its next chunk, */
	assert_true(incoming_take(incoming, 2, 8, now, &evicted));	/* another stream in place of the first */
	incoming_end(incoming, 2);
	assert_true(incoming_take(incoming, 100, 7, now, &evicted));
	assert_int_equal(evicted, 0);
	assert_false(incoming_take(incoming, 101, 7, now, &evicted));

	/* All but one go on. */
	now += 60 * INT64_C(1000000);
	for (uint64_t shard = 1; shard <= INCOMING_MAX; shard++)
		if (shard != 2 && shard != 3)
			assert_true(incoming_take(incoming, shard, 7, now, &evicted));
	assert_true(incoming_take(incoming, 100, 7, now, &evicted));
	assert_true(incoming_take(incoming, 101, 7, now, &evicted));
	assert_int_equal(evicted, 3);
	assert_false(incoming_take(incoming, 3, 7, now, &evicted));
}

/* Of Raft logs: what was asked for, else a twentieth of the disk within bounds. */
static void
the_logs(void **state)
{
	const uint64_t mib = 1 << 20;

	(void) state;
	assert_int_equal(worker_log_limit(7 * mib, 1000 * mib), 7 * mib);
	assert_int_equal(worker_log_limit(0, 0), 64 * mib);
	assert_int_equal(worker_log_limit(0, 1000 * mib), 64 * mib);
	assert_int_equal(worker_log_limit(0, 10000 * mib), 500 * mib);
	assert_int_equal(worker_log_limit(0, 1000000 * mib), 1024 * mib);
}

/* Who is not known to PD asks less and less often; who does not reach it asks on. */
static void
one_that_is_not_known_asks_seldom(void **state)
{
	int			ms = 0;
	int			hour = 0;
	uint32_t	asked = 0;

	(void) state;
	for (; hour < 3600 * 1000; hour += ms, asked++)
		ms = house_pause_ms(VT_DENIED, ms);
	assert_in_range(asked, 100, 1000);
	assert_int_equal(house_pause_ms(VT_DENIED, 0), house_pause_ms(VT_UNAVAILABLE, ms));
	assert_true(house_pause_ms(VT_UNAVAILABLE, ms) < ms);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_disk, set_up_limits, tear_down_limits),
		cmocka_unit_test_setup_teardown(full_from_the_start, set_up_limits, tear_down_limits),
		cmocka_unit_test_setup_teardown(what_leaders_elsewhere_send, set_up_limits, tear_down_limits),
		cmocka_unit_test_setup_teardown(two_look_at_once, set_up_limits, tear_down_limits),
		cmocka_unit_test_setup_teardown(the_memory, set_up_little, tear_down_limits),
		cmocka_unit_test_setup_teardown(what_goes_by_itself, set_up_much, tear_down_limits),
		cmocka_unit_test_setup_teardown(most_copies_lag, set_up_limits, tear_down_limits),
		cmocka_unit_test(the_logs),
		cmocka_unit_test(parts_of_memory),
		cmocka_unit_test(full_until_it_is_less),
		cmocka_unit_test(snapshots_come_in_turns),
		cmocka_unit_test(one_that_is_not_known_asks_seldom),
	};

	return cmocka_run_group_tests_name("worker_limits", tests, NULL, NULL);
}
