/*-------------------------------------------------------------------------
 *
 * worker_heirs.c
 *	  Rows of a child that are copied before the split, while they change: by a
 *	  shard in this thread, and by a worker.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_children.h"

#include <fcntl.h>

#include "hnsw/hnsw.h"

#define MANY 3000

/* -- A shard, and commands of its log one by one ------------------------------------- */

typedef struct Alone
{
	WireShardDesc desc;
	Shard	   *shard;
	uint64_t	index;
	char		directory[256];
} Alone;

static Alone
alone_new(void)
{
	Alone		a = {.desc = desc_of(PARENT, 11)};
	uint64_t	replay;

	snprintf(a.directory, sizeof(a.directory), "%s", scratch);
	assert_int_equal(shard_create(a.directory, &a.desc, 11, NULL), VT_OK);
	assert_int_equal(shard_open(a.directory, PARENT, false, &a.shard, &replay, NULL), VT_OK);
	return a;
}

static void
apply(Alone *a, const Buf *bytes)
{
	ReplicaCommand command = {.index = ++a->index, .term = 1, .bytes = buf_bytes(bytes)};

	assert_int_equal(shard_apply(a->shard, &command, 1, a->index, NULL), VT_OK);
	assert_int_equal(command.status, VT_OK);
	buf_free(&command.reply);
}

static Bytes
id_of_number(uint32_t number, uint8_t id[4])
{
	id[0] = (uint8_t) (number >> 24);
	id[1] = (uint8_t) (number >> 16);
	id[2] = (uint8_t) (number >> 8);
	id[3] = (uint8_t) number;
	return bytes_of(id, 4);
}

/* version: of what is to be deleted; 0: a put. */
static void
change(Alone *a, uint32_t number, uint64_t version)
{
	uint8_t		id[4];
	float		vector[2] = {(float) (number % 61), (float) (number / 61) + (float) a->index / 65536};
	WireWrite	write = {.type = version ? WRITE_DELETE : WRITE_PUT,
		.route = {.generation = a->desc.generation, .owner = a->desc.owner, .shard = PARENT, .range_ver = 1}
	};
	WireRecord	record = {.id = id_of_number(number, id), .version = version, .dim = 2, .vector = (const uint8_t *) vector};
	Buf			bytes = {0};
	size_t		begin = wire_write_begin(&bytes, &write);

	wire_record_put(&bytes, write.type, &record);
	wire_write_end(&bytes, begin, 1);
	apply(a, &bytes);
	buf_free(&bytes);
}

static ShardChild
split_alone(Alone *a)
{
	WireRoute	route = {.generation = a->desc.generation, .owner = a->desc.owner, .shard = PARENT, .range_ver = 1};
	ShardChild	child;
	Buf			bytes = {0};

	wire_split_put(&bytes, &route, child_of());
	apply(a, &bytes);
	buf_free(&bytes);
	assert_true(shard_find_child(a->shard, CHILD, &child));
	return child;
}

static void
link_all(Shard *shard)
{
	while (hnsw_link_next(records_graph(shard->records)))
		;
}

static void
copy_until_done(Heir *heir)
{
	bool		done = false;

	while (!done)
		assert_int_equal(heir_copy(heir, 1000, &done, NULL), VT_OK);
}

/* The child's rows are those of the parent that are its, byte by byte. */
static uint64_t
assert_inherited(Store *parent, Store *child)
{
	StoreIter  *from = store_iter_open(parent, bytes_of("v", 1), bytes_of("w", 1));
	StoreIter  *to = store_iter_open(child, bytes_of("v", 1), bytes_of("w", 1));
	Bytes		key;
	Bytes		value;
	Bytes		its_key;
	Bytes		its_value;
	uint64_t	n = 0;

	while (store_iter_next(from, &key, &value))
	{
		if (wire_place(child_of(), bytes_of(key.data + 1, key.len - 1)) < child_of()->first)
			continue;
		assert_true(store_iter_next(to, &its_key, &its_value));
		assert_true(bytes_equal(key, its_key));
		assert_true(bytes_equal(value, its_value));
		n++;
	}
	assert_false(store_iter_next(to, &its_key, &its_value));
	store_iter_close(from);
	store_iter_close(to);
	return n;
}

/* Each row is in memory, as it is on disk. */
static void
assert_in_memory(Shard *shard)
{
	StoreIter  *iter = store_iter_open(shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	Bytes		key;
	Bytes		value;

	while (store_iter_next(iter, &key, &value))
	{
		StoreRow	row;

		assert_int_equal(row_get(value, &row, NULL), VT_OK);
		assert_int_equal(records_version(shard->records, bytes_of(key.data + 1, key.len - 1)), row.index);
	}
	store_iter_close(iter);
}

static bool
go_on(void *arg, size_t bytes)
{
	(void) arg;
	(void) bytes;
	return true;
}

/* How many of the ten nearest of records a walk finds, of those an exact search does. */
static double
recall_of(Shard *shard)
{
	Hnsw	   *graph = records_graph(shard->records);
	uint32_t	found = 0;
	uint32_t	wanted = 0;

	for (uint32_t q = 0; q < 200; q++)
	{
		float		query[2] = {(float) (q % 59) + 0.3f, (float) (q / 4) + 0.6f};
		HnswHit		exact[10];
		HnswHit		hits[10];
		HnswSearch	search = {.query = query, .k = 10, .ef = 40};
		uint32_t	n = hnsw_search(graph, &search, hits);
		uint32_t	m = hnsw_scan_exact(graph, &search, exact);

		wanted += m;
		for (uint32_t i = 0; i < m; i++)
			for (uint32_t j = 0; j < n; j++)
				found += exact[i].slot == hits[j].slot;
	}
	return (double) found / wanted;
}

/*
 * What is put, superseded and deleted while rows are copied, while nobody copies, and until the split, is
 * in the child as it is in the parent; and the child has the parent's graph.
 */
static void
succeed(bool loads)
{
	Alone		a = alone_new();
	Heir	   *heir;
	Store	   *rows;
	Records    *records;
	Shard	   *child;
	ShardChild	entry;
	bool		done = false;
	uint64_t	replay;
	uint64_t	n;

	for (uint32_t i = 0; i < MANY; i++)
		change(&a, i, 0);
	link_all(a.shard);
	assert_int_equal(heir_prepare(a.shard, child_of(), a.directory, &heir, NULL), VT_OK);
	assert_int_equal(heir_copy(heir, 10000, &done, NULL), VT_OK);
	assert_false(done);
	for (uint32_t i = 0; i < MANY; i += 100)
		change(&a, i, 0);
	for (uint32_t i = 50; i < MANY; i += 100)
		change(&a, i, records_version(a.shard->records, id_of_number(i, (uint8_t[4]) {0})));
	copy_until_done(heir);
	assert_int_equal(heir_flush(heir, NULL), VT_OK);
	heir_graph(heir, NULL, NULL);
	if (loads)
	{
		assert_int_equal(heir_load(heir, false, go_on, NULL, NULL), VT_OK);
		while (heir_mend(heir))
			;
	}
	heir_rest(heir);
	for (uint32_t i = 20; i < MANY; i += 100)
		change(&a, i, 0);
	for (uint32_t i = 0; i < MANY; i += 1000)
		change(&a, i, records_version(a.shard->records, id_of_number(i, (uint8_t[4]) {0})));
	change(&a, MANY, 0);
	entry = split_alone(&a);
	assert_int_equal(heir_succeed(heir, a.shard, &entry, 21, NULL), VT_OK);
	assert_in_range(heir_left(heir), 1, 40);
	copy_until_done(heir);
	assert_int_equal(heir_end(heir, NULL), VT_OK);
	rows = heir_take(heir, &records);
	heir_drop(heir);
	assert_null(a.shard->watch);
	assert_int_equal(records != NULL, loads);

	/* What the file did not have, or had in another version, is put. */
	assert_int_equal(shard_open_with(a.directory, rows, records, false, &child, &replay, NULL), VT_OK);
	assert_int_equal(replay, entry.index);
	assert_true(child->newest <= replay);
	n = assert_inherited(a.shard->rows, child->rows);
	assert_in_range(n, MANY / 3, MANY);
	assert_int_equal(records_count(child->records), n);
	assert_in_memory(child);
	assert_in_range(records_waiting(child->records), 1, 40);
	link_all(child);
	while (hnsw_repair(records_graph(child->records), 1000, true))
		;
	assert_true(recall_of(child) > 0.95);
	shard_close(child);
	shard_close(a.shard);
}

static void
what_changes_meanwhile_is_copied_again(void **state)
{
	(void) state;
	succeed(false);
}

static void
and_loaded_before(void **state)
{
	(void) state;
	succeed(true);
}

/* A split that is replayed over what was on disk is of some time ago: an eventual read gets nothing lent. */
static void
a_loan_of_before_is_old(void **state)
{
	Alone		a = alone_new();
	ShardSpan	view;
	uint64_t	replay;

	(void) state;
	for (int life = 0; life < 2; life++)
	{
		a.index = 0;
		for (uint32_t i = 0; i < 10; i++)
			change(&a, i, 0);
		(void) split_alone(&a);
		assert_true(shard_view(a.shard, CHILD, 2, &view));
		assert_int_equal(view.lent, 11);
		assert_int_equal(view.old, life == 1);
		shard_close(a.shard);
		assert_int_equal(shard_open(a.directory, PARENT, false, &a.shard, &replay, NULL), VT_OK);
		assert_int_equal(replay, 0);
	}
	shard_close(a.shard);
}

/* What has changed is not known any more, or it is another child: all is copied after the entry. */
static void
of_no_use_any_more(void **state)
{
	Alone		a = alone_new();
	WireShardDesc other = *child_of();
	ShardChild	entry;
	Heir	   *heir;
	Heir	   *second;

	(void) state;
	for (uint32_t i = 0; i < 10; i++)
		change(&a, i, 0);
	assert_int_equal(heir_prepare(a.shard, child_of(), a.directory, &heir, NULL), VT_OK);
	copy_until_done(heir);
	heir_rest(heir);
	other.shard++;
	assert_int_equal(heir_prepare(a.shard, &other, a.directory, &second, NULL), VT_OK);
	assert_int_equal(heir_go_on(heir, a.shard, NULL), VT_GONE);
	entry = split_alone(&a);
	assert_int_equal(heir_succeed(heir, a.shard, &entry, 21, NULL), VT_GONE);
	assert_int_equal(heir_succeed(second, a.shard, &entry, 21, NULL), VT_GONE);
	heir_drop(heir);
	heir_drop(second);
	assert_null(a.shard->watch);
	assert_int_equal(atomic_load(&a.shard->users), 0);
	shard_close(a.shard);
}

/* The watch goes while its rows are copied for the first time: it is not done with what it has then. */
static void
the_watch_goes_while_rows_are_copied(void **state)
{
	Alone		a = alone_new();
	WireShardDesc other = *child_of();
	VtStatus	status = VT_OK;
	ShardChild	entry;
	Heir	   *heir;
	Heir	   *second;
	bool		done = false;

	(void) state;
	for (uint32_t i = 0; i < MANY; i++)
		change(&a, i, 0);
	assert_int_equal(heir_prepare(a.shard, child_of(), a.directory, &heir, NULL), VT_OK);
	assert_int_equal(heir_copy(heir, 10000, &done, NULL), VT_OK);
	assert_false(done);
	other.shard++;
	assert_int_equal(heir_prepare(a.shard, &other, a.directory, &second, NULL), VT_OK);
	for (uint32_t i = 0; i < MANY; i += 10)
		change(&a, i, 0);
	entry = split_alone(&a);
	assert_int_equal(heir_succeed(heir, a.shard, &entry, 21, NULL), VT_OK);
	while (status == VT_OK && !done)
		status = heir_copy(heir, 10000, &done, NULL);
	assert_int_equal(status, VT_GONE);
	heir_drop(heir);
	heir_drop(second);
	assert_null(a.shard->watch);
	shard_close(a.shard);
}

/* The entry says what the child is, not who had it prepared. */
static void
of_another_kind(void **state)
{
	Alone		a = alone_new();
	WireShardDesc other = *child_of();
	ShardChild	entry;
	Heir	   *heir;

	(void) state;
	other.metric = other.metric == VEC_L2 ? VEC_COSINE : VEC_L2;
	assert_int_equal(heir_prepare(a.shard, &other, a.directory, &heir, NULL), VT_OK);
	copy_until_done(heir);
	heir_rest(heir);
	entry = split_alone(&a);
	assert_int_equal(heir_succeed(heir, a.shard, &entry, 21, NULL), VT_GONE);
	heir_drop(heir);
	shard_close(a.shard);
}

static bool
refuse(void *arg, size_t bytes)
{
	(void) bytes;
	++*(int *) arg;
	return false;
}

/* Whoever waits for the parent need not wait until all of its graph is written. */
static void
a_graph_is_given_up(void **state)
{
	Alone		a = alone_new();
	ShardChild	entry;
	Heir	   *heir;
	char		path[300];
	int			asked = 0;

	(void) state;
	for (uint32_t i = 0; i < MANY; i++)
		change(&a, i, 0);
	link_all(a.shard);
	entry = split_alone(&a);
	assert_int_equal(heir_begin(a.shard, &entry, a.directory, 21, &heir, NULL), VT_OK);
	copy_until_done(heir);
	snprintf(path, sizeof(path), "%s/%016x/graph", a.directory, CHILD);
	heir_graph(heir, refuse, &asked);
	assert_int_equal(asked, 1);
	assert_int_equal(access(path, F_OK), -1);
	heir_graph(heir, go_on, NULL);
	assert_int_equal(access(path, F_OK), 0);
	heir_drop(heir);
	shard_close(a.shard);
}

/* So many ids of what changes are not kept, nor such long ones: all is copied after the entry, as if nothing was prepared. */
static void
too_much_has_changed(void **state)
{
	static const size_t lens[] = {4, WIRE_ID_MAX};

	(void) state;
	for (int k = 0; k < 2; k++)
	{
		WireShardDesc all = desc_of(PARENT, 11);
		Alone		a = {.desc = all};
		uint8_t		id[WIRE_ID_MAX] = {0};
		uint64_t	replay;
		uint64_t	noted = 0;
		ShardChild	entry;
		Heir	   *heir;

		snprintf(a.directory, sizeof(a.directory), "%s/%d", scratch, k);
		assert_int_equal(mkdir(a.directory, 0700), 0);
		assert_int_equal(shard_create(a.directory, &a.desc, 11, NULL), VT_OK);
		assert_int_equal(shard_open(a.directory, PARENT, false, &a.shard, &replay, NULL), VT_OK);
		for (uint32_t i = 0; i < 100; i++)
			change(&a, i, 0);
		assert_int_equal(heir_prepare(a.shard, child_of(), a.directory, &heir, NULL), VT_OK);
		copy_until_done(heir);
		heir_rest(heir);
		for (uint32_t i = 0; noted < (k == 0 ? 1u << 18 : 16u << 10); i++)
		{
			(void) id_of_number(i, id);
			noted += wire_place(child_of(), bytes_of(id, lens[k])) >= child_of()->first;
			/* One before the last it is still known. */
			if (noted == (k == 0 ? (1u << 18) - 1 : (16u << 10) - 1))
				assert_int_equal(heir_go_on(heir, a.shard, NULL), VT_OK);
			watch_note(a.shard, bytes_of(id, lens[k]));
			heir_rest(heir);
		}
		assert_int_equal(heir_go_on(heir, a.shard, NULL), VT_GONE);
		entry = split_alone(&a);
		assert_int_equal(heir_succeed(heir, a.shard, &entry, 21, NULL), VT_GONE);
		heir_drop(heir);
		assert_int_equal(heir_begin(a.shard, &entry, a.directory, 21, &heir, NULL), VT_OK);
		copy_until_done(heir);
		assert_int_equal(heir_end(heir, NULL), VT_OK);
		heir_drop(heir);
		shard_close(a.shard);
	}
}

/* -- A worker --------------------------------------------------------------------------- */

static void
prepare(Worker *worker, const WireShardDesc *child)
{
	Shard	   *parent = worker_find_shard(worker, PARENT);

	while (atomic_load(&parent->prepared) != child->shard)
	{
		heirs_ask(worker, child);
		usleep(1000);
	}
	shard_release(parent);
}

static struct timespec
made_at(const char *name)
{
	struct stat st;
	char		path[96];

	snprintf(path, sizeof(path), "shards/%s", name);
	assert_int_equal(stat(scratch_path(path), &st), 0);
	return st.st_mtim;
}

static void
a_child_begins_with_what_was_prepared(void **state)
{
	Worker	   *worker = start_as_one();
	struct timespec before;
	struct timespec after;
	Shard	   *parent;
	Shard	   *child;

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	for (int i = 0; i < ROWS; i++)
		put(worker, PARENT, (uint8_t) i);
	prepare(worker, child_of());
	assert_true(is_there("0000000000000014.heir"));
	before = made_at("0000000000000014/LOCK");
	for (int i = 0; i < 2 * ROWS; i += 2)
	{
		put(worker, PARENT, (uint8_t) i);
		heirs_ask(worker, child_of());	/* or it is forgotten, on a slow disk */
	}
	assert_int_equal(split(worker, child_of()), VT_OK);
	wait_for_shard(worker, CHILD);
	after = made_at("0000000000000014/LOCK");
	assert_true(before.tv_sec == after.tv_sec && before.tv_nsec == after.tv_nsec);
	assert_false(is_there("0000000000000014.heir"));
	parent = worker_find_shard(worker, PARENT);
	child = worker_find_shard(worker, CHILD);

	assert_in_range(assert_inherited(parent->rows, child->rows), 1, 2 * ROWS);

	/* Asked for once more, late: what lies there is the child's. */
	atomic_store(&parent->prepared, 0);
	prepare(worker, child_of());
	assert_false(is_there("0000000000000014.heir"));
	assert_int_equal(worker_close_shard(worker, CHILD, 21, NULL), VT_BUSY);
	shard_release(child);
	while (worker_close_shard(worker, CHILD, 21, NULL) == VT_BUSY)
		usleep(1000);
	heirs_forget(worker, CHILD);
	atomic_store(&parent->prepared, 0);
	prepare(worker, child_of());
	shard_release(parent);
	worker_stop(worker);
	worker = start();
	assert_true(is_open(worker, CHILD));
	worker_stop(worker);
}

/* A crash, or another one in its place: what was prepared is nobody's, and goes. */
static void
what_nobody_takes_goes(void **state)
{
	Worker	   *worker = start_as_one();
	WireShardDesc other = *child_of();
	StoreOptions options = {0};
	Store	   *rows;
	Shard	   *parent;

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);
	prepare(worker, child_of());
	other.shard++;
	prepare(worker, &other);
	heirs_forget(worker, other.shard);
	assert_false(is_there("0000000000000015"));
	assert_false(is_there("0000000000000015.heir"));

	/* As it stands after a crash; and that of a child that was founded just before one. */
	worker_stop(worker);
	assert_false(is_there("0000000000000014.heir"));
	assert_int_equal(store_open(scratch_path("shards/0000000000000014"), &options, &rows, NULL), VT_OK);
	store_close(rows);
	close(open(scratch_path("shards/0000000000000014.heir"), O_CREAT | O_WRONLY, 0600));
	close(open(scratch_path("shards/000000000000000a.heir"), O_CREAT | O_WRONLY, 0600));
	worker = start();
	assert_false(is_there("0000000000000014"));
	assert_false(is_there("0000000000000014.heir"));
	assert_false(is_there("000000000000000a.heir"));
	assert_true(is_open(worker, PARENT));

	/* Of a shard that goes. */
	prepare(worker, child_of());
	parent = worker_find_shard(worker, PARENT);
	assert_int_equal(atomic_load(&parent->prepared), CHILD);
	shard_release(parent);
	drop(worker, PARENT, 11);
	drop(worker, CHILD, 21);
	assert_false(is_there("0000000000000014"));
	worker_stop(worker);
}

/* So many that copying them takes a tenth of a second or longer, at the rate that is allowed. */
static void
put_large(Shard *parent)
{
	static const uint8_t value[64 << 10] = {1};

	for (uint32_t i = 0; i < 400; i++)
	{
		StoreBatch *batch = store_batch_new();
		uint8_t		id[4];
		Buf			key = {0};

		row_key(&key, id_of_number(i, id));
		store_batch_put(batch, buf_bytes(&key), bytes_of(value, sizeof(value)));
		assert_int_equal(store_write(parent->rows, batch, false, NULL), VT_OK);
		store_batch_free(batch);
		buf_free(&key);
	}
}

static Shard *
begin_to_prepare(Worker *worker)
{
	Shard	   *parent;
	bool		begun = false;

	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);
	parent = worker_find_shard(worker, PARENT);
	put_large(parent);
	while (!begun)
	{
		heirs_ask(worker, child_of());	/* again and again, as a driver does: what nobody asks for is forgotten */
		usleep(1000);
		pthread_mutex_lock(&parent->watch_lock);
		begun = parent->watch != NULL;
		pthread_mutex_unlock(&parent->watch_lock);
	}
	return parent;
}

/* Who installs a snapshot waits for all that hold the shard: also one that is still asked to prepare. */
static void
an_install_has_not_to_wait(void **state)
{
	Worker	   *worker = start_as_one();
	Shard	   *parent = begin_to_prepare(worker);

	(void) state;
	atomic_store(&parent->installing, true);
	for (int i = 0; atomic_load(&parent->users) > 1; i++)
	{
		assert_in_range(i, 0, 60000);
		heirs_ask(worker, child_of());
		usleep(1000);
	}
	atomic_store(&parent->installing, false);
	shard_release(parent);
	worker_stop(worker);
}

static void *
forget(void *worker)
{
	heirs_forget(worker, CHILD);
	return NULL;
}

/* Some want the same one to be gone while it is in hand: one gets it. */
static void
several_take_it(void **state)
{
	Worker	   *worker = start_as_one();
	Shard	   *parent = begin_to_prepare(worker);
	pthread_t	threads[8];

	(void) state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, forget, worker), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	assert_false(is_there("0000000000000014.heir"));
	assert_null(parent->watch);
	shard_release(parent);
	worker_stop(worker);
}

static atomic_bool asked_enough;

static void *
ask_all_the_time(void *arg)
{
	Worker	   *worker = (Worker *) arg;
	WireShardDesc child = *child_of();

	while (!atomic_load(&asked_enough))
	{
		for (uint64_t i = 0; i < 20; i++)
		{
			child.shard = CHILD + i;
			heirs_ask(worker, &child);
		}
		usleep(100);
	}
	return NULL;
}

/*
 * Children that will not be are dropped, and a driver that is late has them prepared all the same: what
 * was begun before the tombstone is gone with the rest, and nothing is begun after it.
 */
static void
nothing_is_left_of_what_was_dropped(void **state)
{
	Worker	   *worker = start_as_one();
	pthread_t	thread;
	char		name[40];

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);
	assert_int_equal(pthread_create(&thread, NULL, ask_all_the_time, worker), 0);
	for (int i = 0; i < 20; i++)
		drop(worker, CHILD + (uint64_t) i, 21);
	atomic_store(&asked_enough, true);
	pthread_join(thread, NULL);
	for (int i = 0; i < 20; i++)
	{
		snprintf(name, sizeof(name), "%016x", CHILD + i);
		assert_false(is_there(name));
		snprintf(name, sizeof(name), "%016x.dropped", CHILD + i);
		assert_false(is_there(name));
		snprintf(name, sizeof(name), "%016x.heir", CHILD + i);
		assert_false(is_there(name));
	}
	worker_stop(worker);
}

/* Nothing changes, since the worker takes no writes: what it has prepared makes room. */
static void
what_is_ready_makes_room(void **state)
{
	Worker	   *worker = start_as_one();

	(void) state;
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	put(worker, PARENT, 1);
	prepare(worker, child_of());

	/* Both at once: where nobody says for a while that there is no room it is tried again. */
	for (int i = 0; is_there("0000000000000014.heir") || is_there("0000000000000014"); i++)
	{
		assert_in_range(i, 0, 60000);
		atomic_store(&worker->room, MEMORY_FULL);
		heirs_ask(worker, child_of());	/* it does not go for being forgotten */
		usleep(1000);
	}

	/* It is asked for still, and there is room again. */
	atomic_store(&worker->room, MEMORY_ENOUGH);
	for (int i = 0; !is_there("0000000000000014.heir"); i++)
	{
		assert_in_range(i, 0, 60000);
		heirs_ask(worker, child_of());
		usleep(1000);
	}
	worker_stop(worker);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_changes_meanwhile_is_copied_again, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(and_loaded_before, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_loan_of_before_is_old, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(the_watch_goes_while_rows_are_copied, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(of_no_use_any_more, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(of_another_kind, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_graph_is_given_up, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(too_much_has_changed, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(nothing_is_left_of_what_was_dropped, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_child_begins_with_what_was_prepared, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_nobody_takes_goes, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_is_ready_makes_room, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(an_install_has_not_to_wait, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(several_take_it, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
