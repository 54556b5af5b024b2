/*-------------------------------------------------------------------------
 *
 * worker_sessions.c
 *	  Sessions of a collection: once, in their limits, and over a start, a
 *	  checkpoint, a snapshot and a split.  What random worlds do with them is
 *	  `sim --sessions`.
 *
 *-------------------------------------------------------------------------
 */
#include "one_shard.h"

static void
expire(Shard *shard, uint64_t now, uint64_t before)
{
	WireWrite	write = write_of(shard, WRITE_EXPIRE);
	WireWriteResult result;
	Buf			bytes = {0};

	write.sequence = now;
	write.settled = before;
	wire_write_end(&bytes, wire_write_begin(&bytes, &write), 0);
	assert_int_equal(apply(shard, &bytes, &result), VT_OK);
}

static Shard *
reopen(Shard *shard)
{
	uint64_t	id = shard->desc.shard;
	uint64_t	digest = sessions_digest(shard->sessions);

	shard_close(shard);
	shard = open_shard(id, NULL);
	assert_int_equal(sessions_digest(shard->sessions), digest);
	return shard;
}

/* -------------------------------------------------------------------------- */

static void
a_command_is_done_once(void **state)
{
	Shard	   *shard = fresh();
	WireWriteResult first;
	WireWriteResult again;
	uint64_t	session;
	uint64_t	version;

	(void) state;
	assert_int_equal(open_session(shard, &session), VT_OK);
	assert_int_equal(put(shard, session, 1, 1, "a", &first), VT_OK);
	assert_int_equal(put(shard, session, 2, 1, "a", &again), VT_OK);
	version = records_version(shard->records, bytes_str("a"));
	for (int i = 0; i < 3; i++)
	{
		assert_int_equal(put(shard, session, 1, 1, "a", &again), VT_OK);
		assert_true(again.repeated);
		assert_int_equal(again.index, first.index);
		assert_int_equal(again.done, 1);
		assert_int_equal(again.first, 0);
		assert_true(again.last == UINT64_MAX);
		assert_int_equal(records_version(shard->records, bytes_str("a")), version);
		shard = reopen(shard);
	}
	/* What it has left behind is never done again, nor told about. */
	assert_int_equal(put(shard, session, 3, 3, "b", &again), VT_OK);
	assert_int_equal(put(shard, session, 1, 1, "a", &again), VT_SESSION_OVER);
	/* And nothing runs away from what is still open. */
	assert_int_equal(put(shard, session, 3 + SESSION_WINDOW, 3, "c", &again), VT_INVALID);
	assert_int_equal(put(shard, session, 2 + SESSION_WINDOW, 3, "c", &again), VT_OK);
	shard_close(shard);
}

static void
deletions_of_any_version(void **state)
{
	Shard	   *shard = fresh();
	WireWriteResult result;
	uint64_t	session;

	(void) state;
	assert_int_equal(open_session(shard, &session), VT_OK);
	assert_int_equal(put(shard, session, 1, 1, "a", &result), VT_OK);
	assert_int_equal(forget(shard, 0, 0, 0, "a", &result), VT_OK);
	assert_int_equal(result.done, 0);
	assert_int_equal(forget(shard, session, 2, 0, "a", &result), VT_OK);
	assert_int_equal(result.done, 1);
	assert_int_equal(records_count(shard->records), 0);
	assert_int_equal(put(shard, session, 3, 2, "a", &result), VT_OK);
	assert_int_equal(forget(shard, session, 2, 0, "a", &result), VT_OK);
	assert_true(result.repeated);
	assert_int_equal(records_count(shard->records), 1);
	shard_close(shard);
}

static void
sessions_end_by_log_time(void **state)
{
	Shard	   *shard = fresh();
	WireWriteResult result;
	uint64_t	old;
	uint64_t	used;

	(void) state;
	assert_int_equal(open_session(shard, &old), VT_OK);
	assert_int_equal(open_session(shard, &used), VT_OK);
	expire(shard, 100, 0);
	assert_int_equal(put(shard, used, 1, 1, "a", &result), VT_OK);
	expire(shard, 150, 50);
	assert_int_equal(sessions_count(shard->sessions), 1);
	assert_int_equal(put(shard, old, 1, 1, "b", &result), VT_SESSION_OVER);
	assert_int_equal(records_count(shard->records), 1);
	/* Time does not go back. */
	expire(shard, 20, 10);
	assert_int_equal(sessions_clock(shard->sessions), 150);
	shard = reopen(shard);
	assert_int_equal(put(shard, old, 1, 1, "b", &result), VT_SESSION_OVER);
	assert_int_equal(put(shard, used, 2, 1, "b", &result), VT_OK);
	shard_close(shard);
}

/* How many keys there are of sessions. */
static size_t
kept_on_disk(Shard *shard)
{
	StoreIter  *iter = store_iter_open(shard->rows, bytes_of("s", 1), bytes_of("u", 1));
	Bytes		key;
	Bytes		value;
	size_t		n = 0;

	while (store_iter_next(iter, &key, &value))
		n++;
	store_iter_close(iter);
	return n;
}

static void
checkpoints_let_go(void **state)
{
	Shard	   *shard = fresh();
	WireWriteResult result;
	uint64_t	session;
	uint64_t	ended;
	uint64_t	index;

	(void) state;
	assert_int_equal(open_session(shard, &ended), VT_OK);
	assert_int_equal(put(shard, ended, 1, 1, "e", &result), VT_OK);
	expire(shard, 100, 50);
	expire(shard, 101, 50);
	assert_int_equal(open_session(shard, &session), VT_OK);
	for (uint64_t i = 1; i <= 500; i++)
		assert_int_equal(put(shard, session, i, i > 3 ? i - 3 : 1, "a", &result), VT_OK);
	assert_true(kept_on_disk(shard) > 500);
	assert_int_equal(shard_checkpoint(shard, &index, NULL), VT_OK);
	/* Opened, settled, four that may come again; one time. */
	assert_int_equal(kept_on_disk(shard), 2 + 4 + 1);
	shard = reopen(shard);
	assert_int_equal(put(shard, session, 497, 497, "a", &result), VT_OK);
	assert_true(result.repeated);
	assert_int_equal(put(shard, session, 400, 400, "a", &result), VT_SESSION_OVER);
	assert_int_equal(shard_checkpoint(shard, &index, NULL), VT_OK);
	assert_int_equal(kept_on_disk(shard), 2 + 4 + 1);
	shard_close(shard);
}

static void
there_is_a_limit(void **state)
{
	Shard	   *shard = fresh();
	uint64_t	session;

	(void) state;
	for (int i = 0; i < SESSIONS_MAX; i++)
		assert_int_equal(open_session(shard, &session), VT_OK);
	assert_int_equal(open_session(shard, &session), VT_FULL);
	expire(shard, 100, 0);
	assert_int_equal(sessions_count(shard->sessions), SESSIONS_MAX);
	expire(shard, 100, 1);
	assert_int_equal(sessions_count(shard->sessions), 0);
	assert_int_equal(open_session(shard, &session), VT_OK);
	shard_close(shard);
}

/* A child knows what was done before the split, and tells for which interval. */
static void
a_child_inherits(void **state)
{
	Shard	   *shard = fresh();
	Shard	   *born;
	WireWriteResult result;
	uint64_t	session;
	uint64_t	late;
	uint64_t	digest;

	(void) state;
	assert_int_equal(open_session(shard, &session), VT_OK);
	assert_int_equal(put(shard, session, 1, 1, "a", &result), VT_OK);
	digest = sessions_digest(shard->sessions);
	split_off(shard);
	/* The parent goes on, and is cut; none of it is the child's. */
	assert_int_equal(open_session(shard, &late), VT_OK);
	(void) put(shard, session, 2, 2, "a", &result);
	assert_int_equal(shard_checkpoint(shard, &late, NULL), VT_OK);
	shard = reopen(shard);
	make_child(shard);
	born = open_shard(CHILD, NULL);
	assert_int_equal(sessions_digest(born->sessions), digest);
	assert_int_equal(put(born, session, 1, 1, is_of_child("a") ? "a" : "b", &result), VT_OK);
	assert_true(result.repeated);
	assert_int_equal(result.index, 2);
	assert_int_equal(result.first, 0);
	assert_true(result.last == UINT64_MAX);
	shard_close(born);
	assert_int_equal(shard_settle(shard, CHILD, NULL), VT_OK);
	shard_close(shard);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_command_is_done_once),
		TEST(deletions_of_any_version),
		TEST(sessions_end_by_log_time),
		TEST(checkpoints_let_go),
		TEST(there_is_a_limit),
		TEST(a_child_inherits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
