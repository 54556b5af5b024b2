/*-------------------------------------------------------------------------
 *
 * worker_drop.c
 *	  The end of a shard and of a worker, and every state that a crash can
 *	  leave of one.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_shards.h"

/* What the log store knows of a group; the worker is down. */
static void
look_at_log(uint64_t group, uint64_t replica, bool *founded, bool *dead, uint64_t *entries)
{
	StoreOptions options = {.must_exist = true};
	StoreBatch *batch = store_batch_new();
	Buf			state = {0};
	Store	   *log;

	assert_int_equal(store_open(scratch_path("log"), &options, &log, NULL), VT_OK);
	*founded = log_load_state(log, group, &state, NULL) == VT_OK;
	assert_int_equal(log_has_tombstone(log, group, replica, dead, NULL), VT_OK);
	assert_int_equal(log_batch_drop_up_to(log, batch, group, UINT64_MAX - 1, UINT64_MAX, entries, NULL), VT_OK);
	store_batch_free(batch);
	buf_free(&state);
	store_close(log);
}

/* -- Tests ----------------------------------------------------------------- */

static void
nothing_is_left_and_nothing_comes_back(void **state)
{
	Worker	   *worker = start();
	bool		founded;
	bool		dead;
	uint64_t	entries;

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	assert_int_equal(create(worker, 8, 80), VT_OK);
	for (uint8_t i = 1; i < 20; i++)
	{
		put(worker, 7, i);
		put(worker, 8, i);
	}
	drop(worker, 7, 70);
	assert_false(is_open(worker, 7));
	assert_false(is_there("0000000000000007"));
	assert_false(is_there("0000000000000007.dropped"));

	/* Told again, and told of what never was. */
	drop(worker, 7, 70);
	drop(worker, 9, 90);

	/* A task to create that comes late. */
	assert_int_equal(create(worker, 7, 70), VT_GONE);
	assert_int_equal(create(worker, 9, 90), VT_GONE);
	assert_false(is_there("0000000000000007"));
	assert_false(is_there("0000000000000009"));

	/* Another replica's end is not this one's; neither is nobody's. */
	assert_int_equal(worker_drop_shard(worker, 8, 81, false, NULL), VT_INVALID);
	assert_int_equal(worker_drop_shard(worker, 8, 0, false, NULL), VT_INVALID);
	assert_true(is_open(worker, 8));
	put(worker, 8, 20);
	worker_stop(worker);

	look_at_log(7, 70, &founded, &dead, &entries);
	assert_false(founded);
	assert_true(dead);
	assert_int_equal(entries, 0);

	worker = start();
	assert_false(is_open(worker, 7));
	assert_true(is_open(worker, 8));
	put(worker, 8, 21);
	worker_stop(worker);
}

static void
who_holds_a_shard_ends_first(void **state)
{
	Worker	   *worker = start();
	Shard	   *held;

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	put(worker, 7, 1);
	held = worker_find_shard(worker, 7);
	assert_int_equal(worker_drop_shard(worker, 7, 70, false, NULL), VT_BUSY);
	assert_false(is_open(worker, 7));	/* nobody else gets it */
	assert_int_equal(worker_drop_shard(worker, 7, 70, false, NULL), VT_BUSY);
	assert_int_equal(worker_drop_shard(worker, 7, 71, false, NULL), VT_INVALID);	/* as long as it is this one */
	assert_int_equal(worker_close_shard(worker, 7, 71, NULL), VT_INVALID);
	assert_true(is_there("0000000000000007"));
	shard_release(held);
	assert_int_equal(worker_drop_shard(worker, 7, 71, false, NULL), VT_INVALID);
	assert_true(is_there("0000000000000007"));
	drop(worker, 7, 70);
	assert_false(is_there("0000000000000007"));

	/* Stopped while somebody held it: the next start has it again. */
	assert_int_equal(create(worker, 8, 80), VT_OK);
	put(worker, 8, 1);
	held = worker_find_shard(worker, 8);
	assert_int_equal(worker_drop_shard(worker, 8, 80, false, NULL), VT_BUSY);
	shard_release(held);
	worker_stop(worker);
	worker = start();
	assert_true(is_open(worker, 8));
	drop(worker, 8, 80);
	worker_stop(worker);
}

static uint64_t
records_of(Worker *worker, uint64_t shard)
{
	Shard	   *s = worker_find_shard(worker, shard);
	uint64_t	n;

	assert_non_null(s);
	n = records_count(s->records);
	shard_release(s);
	return n;
}

static void
close_it(Worker *worker, uint64_t shard, uint64_t replica)
{
	VtStatus	status;

	while ((status = worker_close_shard(worker, shard, replica, NULL)) == VT_BUSY)
		usleep(1000);
	assert_int_equal(status, VT_OK);
}

/* Closed, a shard takes no memory, and comes back with everything. */
static void
closed_and_opened_again(void **state)
{
	Worker	   *worker = start();
	Shard	   *held;
	uint8_t		n = 0;

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	for (int round = 0; round < 5; round++)
	{
		put(worker, 7, ++n);
		close_it(worker, 7, 70);
		close_it(worker, 7, 70);	/* told again */
		assert_false(is_open(worker, 7));
		assert_true(is_there("0000000000000007"));
		assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
		assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
		assert_int_equal(records_of(worker, 7), n);
	}

	/* Brought back before the last one let go. */
	held = worker_find_shard(worker, 7);
	assert_int_equal(worker_close_shard(worker, 7, 70, NULL), VT_BUSY);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
	assert_true(is_open(worker, 7));
	shard_release(held);
	put(worker, 7, ++n);

	/* What was never founded is not founded by opening it. */
	assert_int_not_equal(worker_reopen_shard(worker, 9, NULL), VT_OK);
	assert_false(is_there("0000000000000009"));

	/* Closed, it is not opened as another replica. */
	close_it(worker, 7, 70);
	assert_int_equal(create(worker, 7, 71), VT_EXISTS);
	assert_false(is_open(worker, 7));

	/* A start has it again; dropped while closed, it is gone. */
	worker_stop(worker);
	worker = start();
	assert_int_equal(records_of(worker, 7), n);
	close_it(worker, 7, 70);
	assert_int_equal(worker_drop_shard(worker, 7, 71, false, NULL), VT_INVALID);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
	assert_int_equal(records_of(worker, 7), n);
	close_it(worker, 7, 70);
	drop(worker, 7, 70);
	assert_false(is_there("0000000000000007"));
	assert_int_not_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
	worker_stop(worker);
	worker = start();
	assert_false(is_open(worker, 7));
	worker_stop(worker);
}

/* As the task close_shard does. */
static void
hide(Worker *worker, uint64_t shard, uint64_t replica)
{
	VtStatus	status;

	while ((status = worker_hide_shard(worker, shard, replica, NULL)) == VT_BUSY)
		usleep(1000);
	assert_int_equal(status, VT_OK);
}

static size_t
marks(void)
{
	StoreOptions options = {.must_exist = true};
	Store	   *log;
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	size_t		n = 0;

	assert_int_equal(store_open(scratch_path("log"), &options, &log, NULL), VT_OK);
	iter = store_iter_open(log, bytes_of("C", 1), bytes_of("D", 1));
	while (store_iter_next(iter, &key, &value))
		n++;
	store_iter_close(iter);
	store_close(log);
	return n;
}

/* What was dropped takes no memory after a start either, and comes back when it is taken back. */
static void
hidden_until_it_is_taken_back(void **state)
{
	Worker	   *worker = start();
	Shard	   *held;

	(void) state;
	for (uint64_t shard = 7; shard < 10; shard++)
	{
		assert_int_equal(create(worker, shard, 10 * shard), VT_OK);
		put(worker, shard, 1);
	}

	/* One that somebody holds is not hidden yet, and taken back before it is. */
	held = worker_find_shard(worker, 7);
	assert_int_equal(worker_hide_shard(worker, 7, 70, NULL), VT_BUSY);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
	shard_release(held);
	hide(worker, 8, 80);
	hide(worker, 8, 80);
	hide(worker, 9, 90);
	hide(worker, 6, 60);		/* never was here */
	worker_stop(worker);
	assert_int_equal(marks(), 2);

	for (int round = 0; round < 2; round++)
	{
		worker = start();
		assert_true(is_open(worker, 7));
		assert_false(is_open(worker, 8));
		assert_false(is_open(worker, 9));
		assert_true(is_there("0000000000000008"));
		worker_stop(worker);
	}

	/* Taken back it is there after each start; dropped it is gone, and its mark with it. */
	worker = start();
	assert_int_equal(worker_reopen_shard(worker, 8, NULL), VT_OK);
	assert_int_equal(records_of(worker, 8), 1);
	put(worker, 8, 2);
	drop(worker, 9, 90);
	worker_stop(worker);
	assert_int_equal(marks(), 0);
	worker = start();
	assert_int_equal(records_of(worker, 8), 2);
	assert_false(is_open(worker, 9));
	assert_false(is_there("0000000000000009"));
	worker_stop(worker);
}

/* Died between the tombstone and the mark; then another replica of the shard comes here. */
static void
a_mark_without_its_group(void **state)
{
	(void) state;
	for (int again = 0; again < 2; again++)
	{
		Worker	   *worker = start();

		assert_int_equal(create(worker, 7, 70 + (uint64_t) again), VT_OK);
		put(worker, 7, 1);
		hide(worker, 7, 70 + (uint64_t) again);
		if (again)
		{
			/* It is made before a start has removed the mark. */
			drop(worker, 7, 71);
			hidden_note(worker, 7);
			assert_int_equal(create(worker, 7, 72), VT_OK);
			worker_stop(worker);
			assert_int_equal(marks(), 0);
			worker = start();
			assert_true(is_open(worker, 7));
			worker_stop(worker);
			continue;
		}
		assert_int_equal(replica_forget(worker->host, 7, 70, NULL), VT_OK);
		worker_stop(worker);
		assert_int_equal(marks(), 1);
		worker = start();
		assert_false(is_open(worker, 7));
		drop(worker, 7, 70);
		worker_stop(worker);
		assert_int_equal(marks(), 0);
	}
}

/* Died between the tombstone and the directory. */
static void
a_directory_without_its_group(void **state)
{
	Worker	   *worker = start();
	StoreOptions options = {.must_exist = true};
	StoreBatch *batch = store_batch_new();
	Store	   *log;

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	put(worker, 7, 1);
	worker_stop(worker);
	assert_int_equal(store_open(scratch_path("log"), &options, &log, NULL), VT_OK);
	log_batch_tombstone(batch, 7, 70);
	assert_int_equal(store_write(log, batch, true, NULL), VT_OK);
	store_batch_free(batch);
	store_close(log);

	worker = start();
	assert_false(is_open(worker, 7));
	assert_true(is_there("0000000000000007"));
	drop(worker, 7, 70);
	assert_false(is_there("0000000000000007"));
	worker_stop(worker);
}

/* Died in the middle of removing files: some are gone, CURRENT among them or not. */
static void
a_directory_in_pieces(void **state)
{
	(void) state;
	for (int current = 0; current < 2; current++)
	{
		Worker	   *worker = start();
		char		command[512];

		assert_int_equal(create(worker, 7 + current, 70), VT_OK);
		put(worker, 7 + current, 1);
		worker_stop(worker);
		snprintf(command, sizeof(command), "cd '%s/shards' && mv 000000000000000%d 000000000000000%d.dropped && "
				 "rm 000000000000000%d.dropped/%s", scratch, 7 + current, 7 + current, 7 + current,
				 current ? "CURRENT" : "MANIFEST*");
		assert_int_equal(system(command), 0);

		worker = start();
		assert_false(is_open(worker, 7 + current));
		assert_false(is_there(current ? "0000000000000008.dropped" : "0000000000000007.dropped"));
		drop(worker, 7 + current, 70);
		worker_stop(worker);
	}
}

/* Died when a snapshot was about to take the place of what was there. */
static void
a_snapshot_on_its_way(void **state)
{
	Worker	   *worker = start();
	StoreOptions options = {.must_exist = true};
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	RaftSnapshot base;
	Store	   *log;
	Store	   *rows;
	VtId		boot;
	char		command[512];
	char		path[300];

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	for (uint8_t i = 1; i < 5; i++)
		put(worker, 7, i);
	worker_stop(worker);
	assert_int_equal(store_open(scratch_path("log"), &options, &log, NULL), VT_OK);
	assert_int_equal(log_load_base(log, 7, &value, NULL), VT_OK);
	assert_int_equal(raft_snapshot_decode(buf_bytes(&value), &base), VT_OK);
	base.id = 0x4711;
	base.term = 1;
	snprintf(path, sizeof(path), "%s/shards/%016x", scratch, 7);
	assert_int_equal(store_open(path, &options, &rows, NULL), VT_OK);
	assert_int_equal(shard_read_marker(rows, &base.index, &boot, NULL), VT_OK);
	store_close(rows);
	buf_clear(&value);
	buf_reserve(&value, raft_snapshot_size(&base));
	raft_snapshot_encode(&base, value.data);
	log_batch_base(batch, 7, bytes_of(value.data, raft_snapshot_size(&base)));
	assert_int_equal(store_write(log, batch, true, NULL), VT_OK);
	store_batch_free(batch);
	store_close(log);
	buf_free(&value);
	snprintf(command, sizeof(command), "cd '%s/shards' && mv 0000000000000007 0000000000000007.in.0000000000004711 "
			 "&& cp -r 0000000000000007.in.0000000000004711 0000000000000007.old", scratch);
	assert_int_equal(system(command), 0);

	worker = start();
	assert_true(is_open(worker, 7));
	assert_int_equal(records_of(worker, 7), 4);
	assert_false(is_there("0000000000000007.old"));
	assert_false(is_there("0000000000000007.in.0000000000004711"));
	put(worker, 7, 5);
	worker_stop(worker);
}

/*
 * A peer's connection ends with our server, and then nobody is to tell a host
 * that is gone that the peer is dead.
 */
static void
stopped_beside_a_dead_peer(void **state)
{
	Worker	   *worker = start();
	ReplicaTransport transport = replica_links_transport(worker->links);
	NetPeerOptions options = {.endpoint = worker->options.listen, .role = WIRE_ROLE_WORKER, .store = 2};
	NetPeer    *peer = net_peer_new(&options);
	Buf			message = {0};

	(void) state;
	replica_links_note(worker->links, 2, worker->options.pd);	/* where nobody is */
	for (uint64_t shard = 1; shard < 9; shard++)
		assert_int_equal(create(worker, shard, 10 * shard), VT_OK);	/* takes a while to stop */
	wire_raft_begin(&message, 1);
	transport.send(transport.arg, 2, &message);
	assert_int_equal(net_peer_redial(peer, 60000), VT_OK);
	worker_stop(worker);
	net_peer_free(peer);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_left_and_nothing_comes_back),
		TEST(who_holds_a_shard_ends_first),
		TEST(closed_and_opened_again),
		TEST(hidden_until_it_is_taken_back),
		TEST(a_mark_without_its_group),
		TEST(a_directory_without_its_group),
		TEST(a_directory_in_pieces),
		TEST(a_snapshot_on_its_way),
		TEST(stopped_beside_a_dead_peer),
	};

	return cmocka_run_group_tests_name("worker_drop", tests, NULL, NULL);
}
