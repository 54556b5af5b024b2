/*-------------------------------------------------------------------------
 *
 * client_write.c
 *	  Routes, puts, deletes: what is acknowledged, what is asked again, what is
 *	  refused.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_pair.h"

static VtError err;

static void
records_go_to_the_shards_of_their_hash(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 500);
	ClientMarks marks;

	(void) state;
	set_up(&s, 5, 0);
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, &marks, &err));
	assert_all_there(&s, &b);
	assert_int_equal(world_records(&s.w), b.n);
	assert_int_equal(marks.n, 5);
	assert_int_equal(marks.route_version, 1);
	for (uint32_t i = 0; i < marks.n; i++)
	{
		assert_int_equal(marks.items[i].incarnation, 1);
		assert_int_equal(marks.items[i].index, s.w.shards[marks.items[i].shard - 100].index);
	}
	client_marks_free(&marks);
	/* One connection to each worker, one question to PD. */
	assert_int_equal(client_connections(s.client), 2);
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), 1);

	/* Nothing to do is done. */
	assert_ok(client_put(s.client, &s.writer, NULL, 0, NULL, &marks, &err));
	assert_int_equal(marks.n, 0);
	batch_free(&b);
	tear_down(&s);
}

static void
commands_are_small_and_four_are_under_way(void **state)
{
	enum
	{
		N = 160000
	};
	Setup		s;
	Batch		b = batch_of(0, N);

	(void) state;
	set_up(&s, 1, 0);
	/* None of them is answered before four have come. */
	s.w.hold_writes = 4;
	for (int i = 0; i < 4; i++)
		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, VT_FULL);
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_FULL);
	assert_int_equal(s.w.held, 4);
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 4);
	/* The largest is near the limit, never over it. */
	assert_in_range(s.w.shards[0].largest, (1 << 20) - 2048, 1 << 20);
	batch_free(&b);
	tear_down(&s);
}

static void
bad_records_are_refused_before_anything_is_sent(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 10);

	(void) state;
	set_up(&s, 2, 0);
	b.records[7].id.len = 0;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	b.records[7].id.len = WIRE_ID_MAX + 1;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 0);
	batch_free(&b);
	tear_down(&s);
}

/* A vector goes to a collection that has some, and to no other. */
static void
records_may_have_no_vectors(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 20);
	ClientSearch search = {.batch = 3, .dim = DIM};
	ClientScan *scan;

	(void) state;
	set_up(&s, 2, 0);
	search.generation = s.writer.generation;
	search.owner = s.writer.owner;
	search.query = b.vectors;
	b.records[7].vector = NULL;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	assert_string_equal(vt_error_words(&err), "record 7 has no vector");
	tear_down(&s);

	set_up(&s, 2, 0);
	for (uint32_t i = 0; i < s.w.nshards; i++)
		s.w.shards[i].desc.dim = 0;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	assert_string_equal(vt_error_words(&err), "record 0 has a vector, and the collection is of records without");
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 0);
	for (size_t i = 0; i < b.n; i++)
		b.records[i].vector = NULL;
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	assert_int_equal(world_records(&s.w), b.n);
	search.generation = s.writer.generation;
	search.dim = 0;
	assert_int_equal(client_scan_open(s.client, &search, s.writer.deadline_us, &scan, &err), VT_INVALID);
	assert_non_null(strstr(vt_error_words(&err), "have no vectors"));
	assert_int_equal(world_count(&s.w, WIRE_SEARCH), 0);
	batch_free(&b);
	tear_down(&s);
}

/* A collection of float16: numbers go as halves, and one that is none is refused here. */
static void
halves_are_sent_and_their_range_is_checked(void **state)
{
	Setup		s;
	Batch		b = batch_of(2040, 20);

	(void) state;
	set_up(&s, 2, 0);
	for (uint32_t i = 0; i < s.w.nshards; i++)
		s.w.shards[i].desc.element = VEC_FLOAT16;
	b.vectors[7 * DIM] = 65520;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	assert_non_null(strstr(vt_error_words(&err), "record 7"));
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 0);
	b.vectors[7 * DIM] = 65519;
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	for (size_t i = 0; i < b.n; i++)
	{
		VecHalf		halves[DIM];

		assert_true(vec_to_half(halves, &b.vectors[i * DIM], DIM));
		vec_from_half(&b.vectors[i * DIM], halves, DIM);
	}
	assert_all_there(&s, &b);
	batch_free(&b);
	tear_down(&s);
}

/* A collection of bits: they go as they are, and what stands behind their end is refused here. */
static void
bits_are_sent_and_their_end_is_checked(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 20);

	(void) state;
	set_up(&s, 2, 0);
	for (uint32_t i = 0; i < s.w.nshards; i++)
	{
		s.w.shards[i].desc.element = VEC_BIT;
		s.w.shards[i].desc.metric = VEC_HAMMING;
	}
	memset(b.vectors, 0, sizeof(float) * DIM * b.n);
	for (size_t i = 0; i < b.n; i++)
		*(uint8_t *) &b.vectors[i * DIM] = (uint8_t) (i << 4);
	*(uint8_t *) &b.vectors[7 * DIM] |= 1;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	assert_non_null(strstr(vt_error_words(&err), "record 7"));
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 0);
	*(uint8_t *) &b.vectors[7 * DIM] &= 0xFE;
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	assert_all_there(&s, &b);
	batch_free(&b);
	tear_down(&s);
}

/* Attributes go with each record, and others than are declared are refused here. */
static void
attributes_are_sent_and_checked(void **state)
{
	WireAttributes one = {.n = 1, .value = {5}};
	Setup		s;
	Batch		b = batch_of(0, 20);
	Buf			encoded = {0};

	(void) state;
	set_up(&s, 2, 0);
	for (uint32_t i = 0; i < s.w.nshards; i++)
	{
		s.w.shards[i].desc.nattributes = 1;
		s.w.shards[i].desc.attributes[0] = WIRE_ATTR_HASHED;
	}
	wire_attributes_put(&encoded, &one);
	for (size_t i = 0; i < b.n; i++)
		if (i != 7)
			b.records[i].attributes = buf_bytes(&encoded);
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_INVALID);
	assert_non_null(strstr(vt_error_words(&err), "record 7"));
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 0);
	b.records[7].attributes = buf_bytes(&encoded);
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	assert_all_there(&s, &b);
	buf_free(&encoded);
	batch_free(&b);
	tear_down(&s);
}

/* Everything that passes, at every place of a call over three shards. */
static void
passing_trouble_is_survived(void **state)
{
	static const Trick kinds[] = {
		{WIRE_WRITE, 0, CLOSE_BEFORE, VT_OK}, {WIRE_WRITE, 0, CLOSE_AFTER, VT_OK},
		{WIRE_WRITE, 0, CLOSE_IN_MIDDLE, VT_OK}, {WIRE_WRITE, 0, BAD_CHECKSUM, VT_OK},
		{WIRE_WRITE, 0, STALE_FIRST, VT_OK},
		{WIRE_WRITE, 0, REFUSE, VT_BUSY}, {WIRE_WRITE, 0, REFUSE, VT_NOT_LEADER},
		{WIRE_WRITE, 0, REFUSE, VT_WRONG_SHARD}, {WIRE_WRITE, 0, REFUSE, VT_UNAVAILABLE},
		{WIRE_WRITE, 0, REFUSE, VT_STOPPING}, {WIRE_WRITE, 0, REFUSE, VT_TIMEOUT},
		{WIRE_WRITE, 0, REFUSE, VT_UNKNOWN_GENERATION}, {WIRE_WRITE, 0, REFUSE, VT_GONE},
		{WIRE_WRITE, 0, OTHER_LIFE, VT_OK},
		{WIRE_CONTROL, 0, CLOSE_BEFORE, VT_OK}, {WIRE_CONTROL, 0, REFUSE, VT_NOT_LEADER},
	};
	Setup		s;
	size_t		from = 0;

	(void) state;
	set_up(&s, 3, 0);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int after = 0; after < 3; after++)
		{
			Batch		b = batch_of(from, 30);
			ClientMarks marks;

			world_trick(&s.w, kinds[k].type, kinds[k].type == WIRE_WRITE ? after : 0, kinds[k].what,
						kinds[k].status);
			client_route_forget(s.client, &s.w.generation);
			s.writer.deadline_us = in_ms(LONG_MS);
			assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, &marks, &err));
			assert_all_there(&s, &b);
			assert_int_equal(marks.n, 3);
			client_marks_free(&marks);
			from += b.n;
			batch_free(&b);
		}
	assert_int_equal(s.w.ntricks, 0);
	tear_down(&s);
}

static void
a_definite_no_is_not_asked_twice(void **state)
{
	static const VtStatus no[] = {VT_NOT_OWNER, VT_FULL, VT_DENIED, VT_VERSION, VT_CORRUPT, VT_INVALID};
	Setup		s;

	(void) state;
	set_up(&s, 3, 0);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
	{
		Batch		b = batch_of(0, 30);
		uint32_t	before = world_count(&s.w, WIRE_WRITE);
		size_t		done = 0;

		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, no[i]);
		assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), no[i]);
		assert_int_equal(world_count(&s.w, WIRE_WRITE), before + 3);
		/* Words with shard and endpoint; what the others acknowledged is known. */
		assert_non_null(strstr(err.msg, "shard 10"));
		assert_non_null(strstr(err.msg, "unix:"));
		for (size_t j = 0; j < b.n; j++)
			done += b.done[j];
		assert_in_range(done, 1, b.n - 1);
		batch_free(&b);
	}
	tear_down(&s);
}

static void
only_pd_says_that_a_generation_is_gone(void **state)
{
	static const VtStatus no[] = {VT_UNKNOWN_GENERATION, VT_GONE};
	Setup		s;
	Batch		b = batch_of(0, 10);

	(void) state;
	set_up(&s, 2, 0);
	for (int i = 0; i < 2; i++)
	{
		const ClientCollection *route;

		s.w.route_status = VT_OK;
		assert_ok(client_route(s.client, &s.w.generation, true, in_ms(LONG_MS), &route, &err));
		s.w.route_status = no[i];
		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, VT_UNKNOWN_GENERATION);
		assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), no[i]);
		/* It is forgotten, so PD is asked at once the next time. */
		assert_int_equal(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err), no[i]);
	}
	/* PD knows it, a worker insists: not a definite no, however long it lasts. */
	s.w.route_status = VT_OK;
	for (int i = 0; i < 60; i++)
		world_trick(&s.w, WIRE_WRITE, 0, REFUSE, no[i % 2]);
	assert_told(VT_UNAVAILABLE, (s.writer.deadline_us = in_ms(40), client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err)));
	batch_free(&b);
	tear_down(&s);
}

static void
a_fence_stops_the_call_and_is_told(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 60);
	ClientMarks marks;
	size_t		left = 0;

	(void) state;
	set_up(&s, 3, 0);
	s.w.shards[1].fence = 8;
	s.writer.fence = 7;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, &marks, &err), VT_FENCED);
	assert_int_equal(marks.fence, 8);
	client_marks_free(&marks);
	for (size_t i = 0; i < b.n; i++)
	{
		bool		fenced = world_place(&s.w, b.records[i].id) == &s.w.shards[1];

		assert_int_equal(b.done[i], !fenced);
		left += fenced;
	}
	assert_true(left > 0);
	assert_int_equal(s.w.shards[1].n, 0);

	/* The caller looks at its heap, and sends again with the new fence. */
	s.writer.fence = 8;
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, &marks, &err));
	assert_all_there(&s, &b);
	client_marks_free(&marks);
	batch_free(&b);
	tear_down(&s);
}

static void
a_shard_that_moved_is_found(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 60);
	Batch		c = batch_of(60, 60);

	(void) state;
	set_up(&s, 3, 0);
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	/* The old home answers WRONG_SHARD by itself. */
	pthread_mutex_lock(&s.w.lock);
	s.w.shards[1].home = &s.a;
	s.w.route_version++;
	pthread_mutex_unlock(&s.w.lock);
	assert_ok(client_put(s.client, &s.writer, c.records, c.n, c.done, NULL, &err));
	assert_all_there(&s, &c);
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), 2);
	batch_free(&b);
	batch_free(&c);
	tear_down(&s);
}

/* With the first write the second shard becomes two. */
static void
split_the_second(World *w, WireType type)
{
	if (type == WIRE_WRITE && w->nshards == 2)
		world_split(w, 1);
}

static void
records_are_grouped_again_when_a_shard_splits(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 200);
	ClientMarks marks;

	(void) state;
	set_up(&s, 2, 0);
	s.w.on_request = split_the_second;
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, &marks, &err));
	assert_all_there(&s, &b);
	assert_true(s.w.shards[2].n > 0);
	assert_int_equal(world_records(&s.w), b.n);
	assert_int_equal(marks.route_version, 2);
	client_marks_free(&marks);
	batch_free(&b);
	tear_down(&s);
}

static void
a_route_with_a_hole_is_no_route(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 10);
	const ClientCollection *route;

	(void) state;
	set_up(&s, 3, 0);
	s.w.route_with_hole = true;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_PROTOCOL);
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 0);
	s.w.route_with_hole = false;
	assert_ok(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err));
	assert_int_equal(route->nshards, 3);
	assert_int_equal(route->shards[0].desc.first, 0);
	assert_true(route->shards[2].desc.last == UINT64_MAX);
	assert_int_equal(route->dim, DIM);
	assert_int_equal(route->metric, VEC_L2);
	batch_free(&b);
	tear_down(&s);
}

/* PD is away, the route is known: data goes on. */
static void
writes_go_on_without_pd(void **state)
{
	Setup		s;
	Fake		pd;
	Batch		b = batch_of(0, 30);
	const ClientCollection *route;

	(void) state;
	set_up(&s, 2, 0);
	fake_start(&pd, &s.w);
	client_end(s.client, &s.watch);
	s.client = client_for(pd.endpoint, NULL, &s.watch);
	assert_ok(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err));
	fake_stop(&pd);
	world_trick(&s.w, WIRE_WRITE, 0, REFUSE, VT_NOT_LEADER);
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	assert_all_there(&s, &b);
	batch_free(&b);
	tear_down(&s);
}

static void
a_write_ends_at_its_deadline(void **state)
{
	static const VtStatus why[] = {VT_BUSY, VT_NOT_LEADER};
	Setup		s;
	Batch		b = batch_of(0, 30);

	(void) state;
	set_up(&s, 2, 0);
	/* The way is known, so it is a write that the deadline ends. */
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	world_trick(&s.w, WIRE_WRITE, 0, SAY_NOTHING, VT_OK);
	s.writer.deadline_us = in_ms(50);
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_TIMEOUT);
	assert_true(clock_now_us() >= s.writer.deadline_us);
	assert_non_null(strstr(err.msg, "shard 10"));

	/* Refused for as long as it lasted: the last refusal is the reason. */
	for (int i = 0; i < 2; i++)
	{
		pthread_mutex_lock(&s.w.lock);
		for (s.w.ntricks = 0; s.w.ntricks < 60; s.w.ntricks++)
			s.w.tricks[s.w.ntricks] = (Trick) {WIRE_WRITE, 0, REFUSE, why[i]};
		pthread_mutex_unlock(&s.w.lock);
		assert_told(why[i], (s.writer.deadline_us = in_ms(50), client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err)));
	}
	batch_free(&b);
	tear_down(&s);
}

/*
 * A connection breaks while a command goes out, and nothing else is under way: it is
 * sent again at once, not after a wait that nothing would end before the deadline.
 */
static void
a_send_that_breaks_is_known_at_once(void **state)
{
	Setup		s;
	Batch		first = batch_of(0, 10);
	Batch		second = batch_of(10, 10);

	(void) state;
	set_up(&s, 1, 0);
	s.w.shards[0].home = &s.b;
	assert_ok(client_put(s.client, &s.writer, first.records, first.n, first.done, NULL, &err));
	/* The worker takes no more bytes, and does not close; its shard moves. */
	fake_freeze(&s.b, true);
	assert_int_equal(shutdown(s.b.conns[0].fd, SHUT_RD), 0);
	s.w.shards[0].home = &s.a;
	s.w.route_version++;
	assert_ok(client_put(s.client, &s.writer, second.records, second.n, second.done, NULL, &err));
	assert_all_there(&s, &first);
	assert_all_there(&s, &second);
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 2);
	tear_down(&s);
	batch_free(&first);
	batch_free(&second);
}

static void
a_cancelled_write_leaves_a_usable_client(void **state)
{
	Setup		s;

	(void) state;
	set_up(&s, 3, 0);
	for (int i = 0; i < 12; i++)
	{
		Batch		b = batch_of((size_t) i * 100, 50);
		VtStatus	status;

		s.watch.waits_left = i % 6;
		s.watch.then = VT_CANCELLED;
		status = client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err);
		assert_true(status == VT_OK || status == VT_CANCELLED);
		s.watch.waits_left = -1;
		assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
		pthread_mutex_lock(&s.w.lock);
		assert_all_there(&s, &b);
		pthread_mutex_unlock(&s.w.lock);
		batch_free(&b);
	}
	tear_down(&s);
}

static void
deletes_hit_only_the_version_listed(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 90);
	uint64_t	hits;
	ClientMarks marks;

	(void) state;
	set_up(&s, 3, 0);
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	for (size_t i = 0; i < b.n; i++)
		b.records[i].version = shard_record(world_place(&s.w, b.records[i].id), b.records[i].id)->version +
			(i % 3 == 0);
	assert_ok(client_delete(s.client, &s.writer, b.records, b.n, &hits, &marks, &err));
	assert_int_equal(hits, 60);
	assert_int_equal(world_records(&s.w), 30);
	assert_int_equal(marks.n, 3);
	client_marks_free(&marks);
	batch_free(&b);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_go_to_the_shards_of_their_hash),
		cmocka_unit_test(commands_are_small_and_four_are_under_way),
		cmocka_unit_test(bad_records_are_refused_before_anything_is_sent),
		cmocka_unit_test(records_may_have_no_vectors),
		cmocka_unit_test(halves_are_sent_and_their_range_is_checked),
		cmocka_unit_test(bits_are_sent_and_their_end_is_checked),
		cmocka_unit_test(attributes_are_sent_and_checked),
		cmocka_unit_test(passing_trouble_is_survived),
		cmocka_unit_test(a_definite_no_is_not_asked_twice),
		cmocka_unit_test(only_pd_says_that_a_generation_is_gone),
		cmocka_unit_test(a_fence_stops_the_call_and_is_told),
		cmocka_unit_test(a_shard_that_moved_is_found),
		cmocka_unit_test(records_are_grouped_again_when_a_shard_splits),
		cmocka_unit_test(a_route_with_a_hole_is_no_route),
		cmocka_unit_test(writes_go_on_without_pd),
		cmocka_unit_test(a_write_ends_at_its_deadline),
		cmocka_unit_test(a_send_that_breaks_is_known_at_once),
		cmocka_unit_test(a_cancelled_write_leaves_a_usable_client),
		cmocka_unit_test(deletes_hit_only_the_version_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
