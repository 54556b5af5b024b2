/*-------------------------------------------------------------------------
 *
 * worker_split.c
 *	  A worker splits a shard: through its log, with real files.
 *
 * What goes wrong between two steps of it, with replicas that lag and machines that
 * lose their power, is the simulator's (build/sim --splits); here is that the files,
 * the threads and the door do what the model of them does.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_children.h"

/* Propose a put of one id to a shard by a route of this version. */
static VtStatus
try_put(Worker *worker, uint64_t id, uint32_t range_ver, uint8_t row)
{
	Shard	   *s = worker_find_shard(worker, id);
	float		vector[2] = {row, 1};
	WireWrite	write = {.type = WRITE_PUT};
	WireRecord	record = {.id = bytes_of(&row, 1), .dim = dimensions, .vector = (const uint8_t *) vector};
	Written		written = written_new();
	ReplicaStatus replica = {0};
	Buf			command = {0};
	size_t		begin;

	assert_non_null(s);
	while (!replica.serving)
	{
		usleep(1000);
		replica_status(s->replica, &replica);
	}
	write.route.generation = s->desc.generation;
	write.route.owner = s->desc.owner;
	write.route.shard = id;
	write.route.range_ver = range_ver;
	begin = wire_write_begin(&command, &write);
	wire_record_put(&command, WRITE_PUT, &record);
	wire_write_end(&command, begin, 1);
	replica_propose(s->replica, buf_bytes(&command), on_written, &written);
	await(&written);
	buf_free(&command);
	shard_release(s);
	return written.status;
}

/* What the parent lends goes when the child serves. */
static void
wait_for_end_of_loan(Worker *worker)
{
	Shard	   *s = worker_find_shard(worker, PARENT);

	while (atomic_load(&s->lent) != 0)
	{
		chores_look(worker);
		usleep(1000);
	}
	loan_end(s);				/* who ends it is done, too */
	shard_release(s);
}

static void
check_halves(Worker *worker)
{
	uint64_t	of_child = 0;

	wait_for_end_of_loan(worker);

	for (int i = 0; i < ROWS; i++)
		of_child += is_of_child((uint8_t) i);
	assert_in_range(of_child, 1, ROWS - 1);
	assert_int_equal(records_of(worker, PARENT), ROWS - of_child);
	assert_int_equal(records_of(worker, CHILD), of_child);
	for (int i = 0; i < ROWS; i++)
	{
		uint8_t		id = (uint8_t) i;
		Shard	   *s = worker_find_shard(worker, is_of_child(id) ? CHILD : PARENT);

		assert_int_not_equal(records_version(s->records, bytes_of(&id, 1)), 0);
		shard_release(s);
	}
}

/*
 * Whoever looked at the members just before they were changed made the child for others:
 * what he proposes then comes behind the change, and is refused.
 */
static void
not_for_members_of_a_moment_ago(void **state)
{
	Worker	   *worker = start_as_one();
	Written		changed = written_new();
	Written		splits = written_new();
	ReplicaMembers members;
	RaftConf	target = {.n = 2};
	WireRoute	route = {.shard = PARENT, .range_ver = 1};
	Buf			command = {0};
	uint64_t	before;
	Shard	   *shard;

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);
	shard = worker_find_shard(worker, PARENT);
	replica_members(shard->replica, &members);
	assert_int_equal(members.n, 1);
	target.members[0] = members.members[0].member;
	target.members[1] = (RaftMember) {.id = 12, .node = 2, .roles = RAFT_LEARNER};
	replica_change(shard->replica, &target, members.conf_index, on_written, &changed);
	route.generation = shard->desc.generation;
	route.owner = shard->desc.owner;
	wire_split_put(&command, &route, child_of());
	replica_propose_under(shard->replica, buf_bytes(&command), members.conf_index, on_written, &splits);
	assert_int_equal(await(&splits), VT_FENCED);
	assert_int_equal(await(&changed), VT_OK);
	shard_release(shard);
	buf_free(&command);

	/* The change was told before it is shown. */
	before = members.conf_index;
	while (members.n != 2)
	{
		usleep(1000);
		shard = worker_find_shard(worker, PARENT);
		replica_members(shard->replica, &members);
		shard_release(shard);
	}
	assert_int_equal(splits_propose(worker, child_of(), before, on_written, &splits, NULL), VT_BUSY);

	/* For those that there are it is done. */
	assert_int_equal(split(worker, child_of()), VT_OK);
	wait_for_shard(worker, CHILD);
	worker_stop(worker);
}

static void
one_becomes_two(void **state)
{
	Worker	   *worker = start_as_one();
	WireShardDesc wrong = *child_of();
	uint8_t		left = 0;
	uint8_t		right = 0;
	Chore		settle = {.kind = CHORE_SETTLE, .shard = PARENT, .other = CHILD};

	(void) state;
	while (is_of_child(left))
		left++;
	while (!is_of_child(right))
		right++;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	for (int i = 0; i < ROWS; i++)
		put(worker, PARENT, (uint8_t) i);

	/* What does not fit is refused, at the door or at apply. */
	wrong.last--;
	assert_int_equal(split(worker, &wrong), VT_INVALID);
	wrong = *child_of();
	wrong.replicas[0].store = 2;
	assert_int_equal(split(worker, &wrong), VT_INVALID);
	wrong = *child_of();
	wrong.range_ver = 3;
	assert_int_equal(split(worker, &wrong), VT_PROTOCOL);

	assert_int_equal(split(worker, child_of()), VT_OK);
	assert_int_not_equal(split(worker, child_of()), VT_OK);
	wait_for_shard(worker, CHILD);
	check_halves(worker);

	/* Law D1: at apply, whatever the door saw. */
	assert_int_equal(try_put(worker, PARENT, 1, left), VT_WRONG_SHARD);
	assert_int_equal(try_put(worker, PARENT, 2, right), VT_WRONG_SHARD);
	assert_int_equal(try_put(worker, CHILD, 2, left), VT_WRONG_SHARD);
	assert_int_equal(try_put(worker, PARENT, 2, left), VT_OK);
	assert_int_equal(try_put(worker, CHILD, 2, right), VT_OK);
	check_halves(worker);

	/* What is owed is kept, also over a start. */
	assert_int_equal(rows_of(worker, PARENT), ROWS);
	worker_stop(worker);
	worker = start();
	check_halves(worker);
	assert_int_equal(rows_of(worker, PARENT), ROWS);

	/* And goes when it is not: asked for again and again, since another chore of the shard may be under way. */
	while (rows_of(worker, PARENT) != records_of(worker, PARENT))
	{
		chores_put(worker, &settle);
		usleep(1000);
	}
	worker_stop(worker);
	worker = start();
	check_halves(worker);
	assert_int_equal(rows_of(worker, PARENT), records_of(worker, PARENT));
	worker_stop(worker);
}

static void
codes_alone_become_two(void **state)
{
	quantization = QUANTIZATION_INT8_ONLY;
	one_becomes_two(state);
	quantization = QUANTIZATION_NONE;
}

static void
records_without_vectors_become_two(void **state)
{
	dimensions = 0;
	one_becomes_two(state);
	dimensions = 2;
}

/* A crash came before the child was founded: what lies there is made anew. */
static void
begun_and_begun_again(void **state)
{
	Worker	   *worker = start_as_one();
	StoreOptions options = {0};
	Store	   *rows;
	StoreBatch *batch = store_batch_new();
	char		path[256];

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	for (int i = 0; i < ROWS; i++)
		put(worker, PARENT, (uint8_t) i);
	snprintf(path, sizeof(path), "%s/shards/%016x", scratch, CHILD);
	assert_int_equal(store_open(path, &options, &rows, NULL), VT_OK);
	store_batch_put(batch, bytes_of("vx", 2), bytes_of("rest", 4));
	assert_int_equal(store_write(rows, batch, true, NULL), VT_OK);
	store_batch_free(batch);
	store_close(rows);
	worker_stop(worker);

	worker = start();
	put(worker, PARENT, 0);
	assert_int_equal(split(worker, child_of()), VT_OK);
	wait_for_shard(worker, CHILD);
	check_halves(worker);
	assert_int_equal(rows_of(worker, CHILD), records_of(worker, CHILD));
	worker_stop(worker);
}

/* A replica that joins a child has to wait for the parent that is to make it. */
static void
not_empty_beside_the_parent(void **state)
{
	Worker	   *worker = start_as_one();
	WireShardDesc child = *child_of();

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);
	child.base_index = 1000000;
	assert_int_equal(worker_create_shard(worker, &child, 21, false, NULL), VT_BUSY);
	child.parent = 12345;
	assert_int_equal(worker_create_shard(worker, &child, 21, false, NULL), VT_OK);
	worker_stop(worker);
}

/* PD had its data deleted before it was made: it is never to be, whoever comes late. */
static void
not_after_it_was_dropped(void **state)
{
	Worker	   *worker = start_as_one();
	Chore		late = {.kind = CHORE_CHILD, .shard = CHILD, .replica = 21, .desc = *child_of(), .other = PARENT};
	ShardChild	child;
	Shard	   *parent;

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	for (int i = 0; i < 10; i++)
		put(worker, PARENT, (uint8_t) i);
	assert_int_equal(worker_drop_shard(worker, CHILD, 21, false, NULL), VT_OK);
	assert_int_equal(split(worker, child_of()), VT_OK);
	parent = worker_find_shard(worker, PARENT);
	assert_true(shard_find_child(parent, CHILD, &child) && child.owed);
	shard_release(parent);
	assert_int_equal(splits_make_child(worker, &late, NULL), VT_OK);
	assert_false(worker_has_group(worker, CHILD));
	worker_stop(worker);
}

/* As PD does: again and again, until it hears that it was done. */
static void
drop_with_all(Worker *worker, uint64_t shard, uint64_t replica)
{
	while (worker_drop_shard(worker, shard, replica, true, NULL) == VT_BUSY)
		usleep(1000);
	assert_false(worker_has_group(worker, shard));
}

/*
 * A collection is deleted, and PD has never heard of a child that was split off in vain:
 * what there is of it goes with its parent, open or closed since a start.
 */
static void
gone_with_its_parent(void **state)
{
	(void) state;
	for (int closed = 0; closed < 2; closed++)
	{
		Worker	   *worker = start_as_one();
		Shard	   *held;

		assert_int_equal(create(worker, PARENT, 11), VT_OK);
		for (int i = 0; i < 10; i++)
			put(worker, PARENT, (uint8_t) i);
		assert_int_equal(split(worker, child_of()), VT_OK);
		wait_for_shard(worker, CHILD);
		if (closed)
		{
			while (worker_hide_shard(worker, PARENT, 11, NULL) == VT_BUSY)
				usleep(1000);
			worker_stop(worker);
			worker = start();
			assert_false(is_open(worker, PARENT));
			assert_true(is_open(worker, CHILD));
		}

		/* Somebody holds it: the parent, which alone knows of it, waits. */
		held = worker_find_shard(worker, CHILD);
		for (int i = 0; i < 20; i++)
		{
			assert_int_equal(worker_drop_shard(worker, PARENT, 11, true, NULL), VT_BUSY);
			usleep(1000);
		}
		assert_true(worker_has_group(worker, PARENT));
		shard_release(held);
		drop_with_all(worker, PARENT, 11);
		assert_false(worker_has_group(worker, CHILD));
		assert_false(is_open(worker, CHILD));
		worker_stop(worker);
		assert_int_equal(scratch_remove(NULL), 0);
		assert_int_equal(scratch_make(NULL), 0);
	}
}

/* A replica that leaves its group takes no child with it, which others may know of. */
static void
not_gone_with_a_replica_that_leaves(void **state)
{
	Worker	   *worker = start_as_one();

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	for (int i = 0; i < 10; i++)
		put(worker, PARENT, (uint8_t) i);
	assert_int_equal(split(worker, child_of()), VT_OK);
	wait_for_shard(worker, CHILD);
	drop(worker, PARENT, 11);
	assert_true(is_open(worker, CHILD));
	worker_stop(worker);
}

typedef struct Told
{
	Shard	   *shard;
	char		directory[256];
	uint64_t	rows;			/* of the child that was made when it was told */
} Told;

/* The fastest there can be: the child is made while apply has not gone on. */
static void
make_at_once(void *arg)
{
	Told	   *told = (Told *) arg;
	StoreOptions options = {.must_exist = true};
	ShardChild	child;
	StoreIter  *iter;
	Store	   *rows;
	Heir	   *heir;
	bool		done = false;
	char		path[512];
	Bytes		key;
	Bytes		value;

	/* Apply has this lock until the batch is written, and whoever copies wants it. */
	assert_int_equal(pthread_mutex_trylock(&told->shard->watch_lock), 0);
	pthread_mutex_unlock(&told->shard->watch_lock);
	assert_true(shard_find_child(told->shard, CHILD, &child));
	assert_int_equal(heir_begin(told->shard, &child, told->directory, 21, &heir, NULL), VT_OK);
	while (!done)
		assert_int_equal(heir_copy(heir, 1 << 20, &done, NULL), VT_OK);
	assert_int_equal(heir_end(heir, NULL), VT_OK);
	heir_drop(heir);
	shard_path(path, sizeof(path), told->directory, CHILD);
	assert_int_equal(store_open(path, &options, &rows, NULL), VT_OK);
	iter = store_iter_open(rows, bytes_of("v", 1), bytes_of("w", 1));
	while (store_iter_next(iter, &key, &value))
		told->rows++;
	store_iter_close(iter);
	store_close(rows);
}

/* Puts that were applied in one batch with the split are the child's as well. */
static void
all_that_came_before(void **state)
{
	WireShardDesc parent = desc_of(PARENT, 11);
	WireRoute	route = {.generation = parent.generation, .owner = parent.owner, .shard = PARENT, .range_ver = 1};
	ReplicaCommand commands[ROWS + 1];
	Buf			bytes[ROWS + 1];
	Told		told = {0};
	uint64_t	of_child = 0;
	uint64_t	replay;

	(void) state;
	memset(commands, 0, sizeof(commands));
	memset(bytes, 0, sizeof(bytes));
	snprintf(told.directory, sizeof(told.directory), "%s", scratch);
	assert_int_equal(shard_create(told.directory, &parent, 11, NULL), VT_OK);
	assert_int_equal(shard_open(told.directory, PARENT, false, &told.shard, &replay, NULL), VT_OK);
	told.shard->on_split = make_at_once;
	told.shard->on_split_arg = &told;
	for (int i = 0; i < ROWS; i++)
	{
		uint8_t		id = (uint8_t) i;
		float		vector[2] = {id, 1};
		WireWrite	write = {.type = WRITE_PUT, .route = route};
		WireRecord	record = {.id = bytes_of(&id, 1), .dim = 2, .vector = (const uint8_t *) vector};
		size_t		begin = wire_write_begin(&bytes[i], &write);

		wire_record_put(&bytes[i], WRITE_PUT, &record);
		wire_write_end(&bytes[i], begin, 1);
		of_child += is_of_child(id);
	}
	wire_split_put(&bytes[ROWS], &route, child_of());
	for (int i = 0; i <= ROWS; i++)
		commands[i] = (ReplicaCommand) {.index = (uint64_t) i + 1, .term = 1, .bytes = buf_bytes(&bytes[i])};
	assert_int_equal(shard_apply(told.shard, commands, ROWS + 1, ROWS + 1, NULL), VT_OK);
	assert_int_equal(commands[ROWS].status, VT_OK);
	assert_int_not_equal(of_child, 0);
	assert_int_equal(told.rows, of_child);
	for (int i = 0; i <= ROWS; i++)
	{
		buf_free(&bytes[i]);
		buf_free(&commands[i].reply);
	}
	shard_close(told.shard);
}

static bool
is_to_look_again(Worker *worker)
{
	bool		will;

	pthread_mutex_lock(&worker->lock);
	will = worker->splits_us != 0;
	pthread_mutex_unlock(&worker->lock);
	return will;
}

/* Half a shard whose other replicas are not made yet does not wait for an election's timeout: it asks them for votes until they are, whether or not a heartbeat has it looked at. */
static void
votes_are_asked_for_again(void **state)
{
	Worker	   *worker = start_as_one();
	bool		again = false;
	WireShardDesc desc = *child_of();
	Shard	   *child;

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);		/* it has a leader, that is */
	for (int i = 1; i < 3; i++)
		desc.replicas[i] = (WireReplica) {.replica = 21 + (uint64_t) i, .store = 1 + (uint64_t) i, .role = 1};
	desc.nreplicas = 3;
	assert_int_equal(worker_create_shard(worker, &desc, 21, true, NULL), VT_OK);
	assert_int_equal(split(worker, child_of()), VT_OK);
	child = worker_find_shard(worker, CHILD);
	for (int ms = 0; (atomic_load(&child->campaigns) < 4 || !again) && ms < 60000; ms++)
	{
		again = again || is_to_look_again(worker);
		usleep(1000);
	}
	assert_true(again);
	assert_in_range(atomic_load(&child->campaigns), 4, UINT32_MAX);
	shard_release(child);
	worker_stop(worker);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(not_for_members_of_a_moment_ago, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(one_becomes_two, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(codes_alone_become_two, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(records_without_vectors_become_two, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(begun_and_begun_again, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(gone_with_its_parent, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(not_gone_with_a_replica_that_leaves, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(not_after_it_was_dropped, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(all_that_came_before, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(not_empty_beside_the_parent, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(votes_are_asked_for_again, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
