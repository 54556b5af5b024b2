/*-------------------------------------------------------------------------
 *
 * client_fence.c
 *	  What is asked of all shards of a generation, or none: marks, fences and counts,
 *	  raising the fence, framing a bulk load; and making them.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_pair.h"

static VtError err;

static void
reading_gives_marks_fence_and_counts(void **state)
{
	static const Mischief kinds[] = {LEAVE_HOLE, OTHER_LIFE, CLOSE_AFTER, BAD_CHECKSUM};
	Setup		s;
	ClientMarks marks;
	uint64_t	records;
	uint64_t	unindexed;

	(void) state;
	set_up(&s, 4, 0);
	world_fill(&s.w, 100, 1);
	s.w.shards[2].fence = 12;
	for (int i = 0; i < 4; i++)
	{
		/* A part of an answer, or one from another life, does not count. */
		uint32_t	before = world_count(&s.w, WIRE_READ_INDEX);

		world_trick(&s.w, WIRE_READ_INDEX, i, kinds[i], VT_OK);
		assert_ok(client_read_index(s.client, &s.w.generation, &s.w.owner, in_ms(LONG_MS), &marks,
									&records, &unindexed, &err));
		assert_true(world_count(&s.w, WIRE_READ_INDEX) > before + 4);
		assert_int_equal(records, 100);
		assert_int_equal(unindexed, 4);
		assert_int_equal(marks.fence, 12);
		assert_int_equal(marks.n, 4);
		for (uint32_t j = 0; j < 4; j++)
			assert_int_equal(marks.items[j].index, s.w.shards[marks.items[j].shard - 100].index);
		client_marks_free(&marks);
	}
	assert_int_equal(s.w.ntricks, 0);

	/* And a hole that stays is an error, not a smaller answer. */
	for (int i = 0; i < 40; i++)
		world_trick(&s.w, WIRE_READ_INDEX, 0, LEAVE_HOLE, VT_OK);
	assert_told(VT_WRONG_SHARD, client_read_index(s.client, &s.w.generation, &s.w.owner, in_ms(40), &marks, &records,
												  &unindexed, &err));
	assert_int_equal(marks.n, 0);
	tear_down(&s);
}

static void
a_raise_gives_all_shards_one_new_number(void **state)
{
	Setup		s;
	ClientMarks marks;
	uint64_t	fence = 0;

	(void) state;
	set_up(&s, 4, 0);
	s.w.shards[0].fence = 3;
	s.w.shards[2].fence = 41;
	assert_ok(client_raise(s.client, &s.writer, &fence, &marks, &err));
	assert_int_equal(fence, 42);
	for (int i = 0; i < 4; i++)
		assert_int_equal(s.w.shards[i].fence, 42);
	assert_int_equal(marks.fence, 42);
	assert_int_equal(marks.n, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(marks.items[i].index, s.w.shards[i].index);
	client_marks_free(&marks);
	tear_down(&s);
}

/* Somebody raises between our look and our raise; or our answer is lost. */
static void
a_raise_that_was_not_taken_everywhere_starts_again(void **state)
{
	static const Mischief kinds[] = {RAISE_BEFORE, CLOSE_AFTER};
	Setup		s;

	(void) state;
	set_up(&s, 3, 0);
	for (int k = 0; k < 2; k++)
	{
		ClientMarks marks;
		uint64_t	before = s.w.shards[0].fence;
		uint64_t	fence = 0;

		world_trick(&s.w, WIRE_WRITE, 1, kinds[k], VT_OK);
		assert_ok(client_raise(s.client, &s.writer, &fence, &marks, &err));
		/* The first number was not the last. */
		assert_true(fence > before + 1);
		for (int i = 0; i < 3; i++)
			assert_int_equal(s.w.shards[i].fence, fence);
		assert_int_equal(marks.n, 3);
		client_marks_free(&marks);
	}
	tear_down(&s);
}

static void
a_bulk_load_is_framed_on_every_shard(void **state)
{
	Setup		s;
	ClientMarks marks;

	(void) state;
	set_up(&s, 3, 0);
	world_trick(&s.w, WIRE_WRITE, 1, CLOSE_BEFORE, VT_OK);
	assert_ok(client_ingest(s.client, &s.writer, true, &marks, &err));
	assert_int_equal(marks.n, 3);
	client_marks_free(&marks);
	assert_ok(client_ingest(s.client, &s.writer, false, NULL, &err));
	for (int i = 0; i < 3; i++)
		assert_int_equal(s.w.shards[i].ingest, 2);
	tear_down(&s);
}

static void
creating_waits_for_workers(void **state)
{
	Setup		s;
	ClientCreate create = {.dim = DIM, .metric = VEC_L2, .m = 16, .ef_construction = 200, .xid = 7,
		.label = "public.\"films\"_idx"};
	const ClientCollection *route;

	(void) state;
	set_up(&s, 2, 0);
	create.generation = s.w.generation;
	create.owner = s.w.owner;
	world_trick(&s.w, WIRE_CONTROL, 0, REFUSE, VT_UNAVAILABLE);
	world_trick(&s.w, WIRE_CONTROL, 0, REFUSE, VT_BUSY);
	assert_ok(client_create(s.client, &create, in_ms(LONG_MS), &err));
	/* The answer is the route. */
	assert_ok(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err));
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), 3);

	world_trick(&s.w, WIRE_CONTROL, 0, REFUSE, VT_EXISTS);
	assert_int_equal(client_create(s.client, &create, in_ms(LONG_MS), &err), VT_EXISTS);
	create.label = "\xff";
	assert_int_equal(client_create(s.client, &create, in_ms(LONG_MS), &err), VT_INVALID);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_gives_marks_fence_and_counts),
		cmocka_unit_test(a_raise_gives_all_shards_one_new_number),
		cmocka_unit_test(a_raise_that_was_not_taken_everywhere_starts_again),
		cmocka_unit_test(a_bulk_load_is_framed_on_every_shard),
		cmocka_unit_test(creating_waits_for_workers),
	};

	return cmocka_run_group_tests_name("client_fence", tests, NULL, NULL);
}
