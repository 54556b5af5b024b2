/*-------------------------------------------------------------------------
 *
 * worker_power.c
 *	  A shard, its sessions and what is split off it, when the machine loses its power
 *	  at one moment that matters (laws S2, S3, D1, E1).
 *
 * At random moments it does in worker_crash.c, and in `sim --shards`, on such a disk
 * (store_model.h).
 *
 *-------------------------------------------------------------------------
 */
#include "one_shard.h"
#include "store_model.h"

#define NOTHING 0				/* of what was not durable survives, of 8 */
#define ALL 8

static Shard *
lose_power(Shard *shard, uint32_t keep, uint64_t *replay)
{
	uint64_t	id = shard->desc.shard;
	char		path[256];

	snprintf(path, sizeof(path), "%s", store_path(shard->rows));
	shard_close(shard);
	model_lose_power(path, &(Prng) {1}, keep);
	return open_shard(id, replay);
}

static void
put_some(Shard *shard, const char *ids)
{
	WireWriteResult result;

	for (const char *id = ids; *id; id++)
		assert_int_equal(put(shard, 0, 0, 0, (char[]) {*id, 0}, &result), VT_OK);
}

static void
raise_fence(Shard *shard, uint64_t to)
{
	WireWrite	write = write_of(shard, WRITE_RAISE);
	WireWriteResult result;
	Buf			bytes = {0};

	write.fence_to = to;
	wire_write_end(&bytes, wire_write_begin(&bytes, &write), 0);
	assert_int_equal(apply(shard, &bytes, &result), VT_OK);
}

/*
 * A command that cannot be applied ends the replica, and a checkpoint is made before it has ended: nothing of
 * its batch was written, so all of it is replayed.
 */
static void
what_was_not_written_is_replayed(void **state)
{
	Shard	   *shard = fresh();
	WireWrite	write = write_of(shard, WRITE_RAISE);
	ReplicaCommand commands[2] = {{.index = 3, .term = 1}, {.index = 4, .term = 1, .bytes = bytes_str("rubbish")}};
	Buf			bytes = {0};
	uint64_t	index;
	uint64_t	replay;

	(void) state;
	put_some(shard, "ab");
	write.fence_to = 9;
	wire_write_end(&bytes, wire_write_begin(&bytes, &write), 0);
	commands[0].bytes = buf_bytes(&bytes);
	assert_int_not_equal(shard_apply(shard, commands, 2, 4, NULL), VT_OK);
	assert_int_equal(shard_checkpoint(shard, &index, NULL), VT_OK);
	assert_int_equal(index, 2);
	shard_close(shard);
	shard = open_shard(desc.shard, &replay);
	assert_int_equal(replay, 2);
	assert_int_equal(atomic_load(&shard->fence), 0);
	shard_close(shard);
	buf_free(&commands[0].reply);
	buf_free(&commands[1].reply);
	buf_free(&bytes);
}

static Shard *beside;

static void
end_one(void)
{
	WireWriteResult result;

	assert_int_equal(forget(beside, 0, 0, 1, "a", &result), VT_OK);
	assert_int_equal(result.done, 1);
}

/* A row ends between a checkpoint's flush and its marker: what is on disk never says that it is to end still. */
static void
applied_beside_a_checkpoint(void **state)
{
	Shard	   *shard = beside = fresh();
	void	   *stream;
	uint64_t	index;
	uint64_t	replay;

	(void) state;
	put_some(shard, "ab");
	model_flushed = end_one;
	assert_int_equal(shard_checkpoint(shard, &index, NULL), VT_OK);
	assert_int_equal(index, 2);
	assert_int_equal(shard_snapshot_open(shard, &stream, &index, NULL), VT_OK);
	assert_int_equal(index, 3);
	shard_snapshot_close(stream);
	shard_close(shard);
	shard = open_shard(desc.shard, &replay);
	assert_int_equal(replay, 3);
	assert_int_equal(records_count(shard->records), 1);

	/* The end is lost and the index is not: it is replayed, and nothing is compared before. */
	shard = lose_power(shard, NOTHING, &replay);
	assert_int_equal(replay, 2);
	assert_int_equal(shard->newest, 3);
	assert_int_equal(records_count(shard->records), 2);
	at = 2;
	beside = shard;
	end_one();
	assert_int_equal(records_count(shard->records), 1);
	shard_close(shard);
}

/* Up to a checkpoint at 2; then a row, which is lost, and the end of another, which survives. */
static Shard *
beyond_a_hole(uint64_t *replay)
{
	Shard	   *shard = fresh();
	WireWriteResult result;
	char		path[256];
	uint64_t	index;

	put_some(shard, "ab");
	assert_int_equal(shard_checkpoint(shard, &index, NULL), VT_OK);
	assert_int_equal(index, 2);
	put_some(shard, "c");
	assert_int_equal(forget(shard, 0, 0, 1, "a", &result), VT_OK);
	assert_int_equal(result.done, 1);
	snprintf(path, sizeof(path), "%s", store_path(shard->rows));
	shard_close(shard);
	model_lose_all_but_newest(path);
	shard = open_shard(desc.shard, replay);
	assert_int_equal(*replay, 2);
	assert_int_equal(records_version(shard->records, bytes_str("a")), 0);
	assert_int_equal(records_version(shard->records, bytes_str("c")), 0);
	return shard;
}

/* An end of a row leaves nothing but the applied index: before it is reached again the shard is not whole, also when replay is cut short. */
static void
not_whole_before_what_survived(void **state)
{
	uint64_t	replay;
	Shard	   *shard = beyond_a_hole(&replay);
	WireWriteResult result;

	(void) state;
	assert_int_equal(shard->newest, 4);
	at = 2;
	put_some(shard, "c");
	shard_close(shard);
	shard = open_shard(desc.shard, &replay);
	assert_int_equal(replay, 2);
	assert_int_equal(shard->newest, 4);
	at = 2;
	put_some(shard, "c");
	assert_int_equal(forget(shard, 0, 0, 1, "a", &result), VT_OK);
	assert_int_equal(records_count(shard->records), 2);
	shard_close(shard);
}

static void
a_snapshot_stands_where_replay_begins(void **state)
{
	uint64_t	replay;
	Shard	   *shard = beyond_a_hole(&replay);
	void	   *stream;
	uint64_t	index;

	(void) state;
	assert_int_equal(shard_snapshot_open(shard, &stream, &index, NULL), VT_OK);
	assert_int_equal(index, 2);
	shard_snapshot_close(stream);
	shard_close(shard);
}

/* All that was done after the checkpoint is on disk; replay knows nothing of it, and does it as the first time. */
static void
sessions_as_they_were(void **state)
{
	Shard	   *shard = fresh();
	WireWriteResult first;
	WireWriteResult again;
	uint64_t	session;
	uint64_t	replay;
	uint64_t	before;
	uint64_t	digest;

	(void) state;
	assert_int_equal(open_session(shard, &session), VT_OK);
	assert_int_equal(put(shard, session, 1, 1, "a", &first), VT_OK);
	assert_int_equal(shard_checkpoint(shard, &before, NULL), VT_OK);
	digest = sessions_digest(shard->sessions);
	assert_int_equal(put(shard, session, 2, 2, "b", &first), VT_OK);
	shard = lose_power(shard, ALL, &replay);
	assert_int_equal(replay, before);
	assert_int_equal(sessions_digest(shard->sessions), digest);
	at = before;
	assert_int_equal(put(shard, session, 2, 2, "b", &again), VT_OK);
	assert_false(again.repeated);
	assert_int_equal(again.index, first.index);
	shard_close(shard);
}

/* The same of a split: what came before it is the parent's, wherever it lies. */
static void
the_interval_as_it_was(void **state)
{
	Shard	   *shard = fresh();
	ShardChild	child;
	uint64_t	replay;

	(void) state;
	put_some(shard, "abcdefgh");
	split_off(shard);
	shard = lose_power(shard, ALL, &replay);
	assert_int_equal(replay, 0);
	assert_false(shard_find_child(shard, CHILD, &child));
	at = 0;
	put_some(shard, "abcdefgh");
	split_off(shard);
	assert_true(shard_find_child(shard, CHILD, &child));
	shard_close(shard);
}

/* Where a child is there, its rows are. */
static void
a_child_with_its_rows(void **state)
{
	Shard	   *shard = fresh();
	uint64_t	rows = 0;
	uint64_t	replay;

	(void) state;
	put_some(shard, "abcdefgh");
	for (char id = 'a'; id <= 'h'; id++)
		rows += is_of_child((char[]) {id, 0});
	assert_in_range(rows, 1, 7);
	split_off(shard);
	make_child(shard);
	shard_close(lose_power(open_shard(CHILD, NULL), NOTHING, &replay));
	shard_close(shard);
	shard = open_shard(CHILD, &replay);
	assert_int_equal(replay, at);
	assert_int_equal(records_count(shard->records), rows);
	shard_close(shard);
}

/* The fence of the split, whatever the parent's is by then. */
static void
a_child_with_its_fence(void **state)
{
	Shard	   *shard = fresh();
	Shard	   *child;

	(void) state;
	put_some(shard, "abcdefgh");
	raise_fence(shard, 7);
	split_off(shard);
	raise_fence(shard, 9);
	make_child(shard);
	child = open_shard(CHILD, NULL);
	assert_int_equal(atomic_load(&child->fence), 7);
	assert_int_equal(atomic_load(&shard->fence), 9);
	shard_close(child);
	shard_close(shard);
}

/* What is owed to a child is let go when nothing before the split is replayed any more, whatever is lost. */
static void
nothing_is_let_go_before_a_checkpoint(void **state)
{
	Shard	   *shard = fresh();
	ShardChild	child;
	uint64_t	replay;

	(void) state;
	put_some(shard, "abcdefgh");
	split_off(shard);
	make_child(shard);
	assert_int_equal(shard_settle(shard, CHILD, NULL), VT_OK);
	shard = lose_power(shard, NOTHING, &replay);
	assert_int_equal(replay, at);
	assert_true(shard_find_child(shard, CHILD, &child));
	assert_false(child.owed);
	shard_close(shard);
}

/* On this disk stores live on by their paths; the next test's folder is another one. */
static int
forget_disks(void **state)
{
	for (size_t i = 0; i < MODEL_STORES; i++)
		if (model_stores[i].exists)
			(void) store_destroy(model_stores[i].path, NULL);
	return tear_down(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, forget_disks)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_not_written_is_replayed),
		TEST(applied_beside_a_checkpoint),
		TEST(not_whole_before_what_survived),
		TEST(a_snapshot_stands_where_replay_begins),
		TEST(sessions_as_they_were),
		TEST(the_interval_as_it_was),
		TEST(a_child_with_its_rows),
		TEST(a_child_with_its_fence),
		TEST(nothing_is_let_go_before_a_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
