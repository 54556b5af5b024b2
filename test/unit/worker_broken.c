/*-------------------------------------------------------------------------
 *
 * worker_broken.c
 *	  A worker with a shard that is damaged on disk: it serves the others, says
 *	  so, and neither opens nor empties that one.
 *
 *-------------------------------------------------------------------------
 */
#include "identity.h"
#include "patience.h"
#include "worker_shards.h"

#include "../../src/worker/status.h"
#include <jansson.h>
#include <sys/resource.h>

#include "base/log.h"

typedef void (*Damage) (void);

/* All that LevelDB wrote of shard 7. */
static void
rubbish_in_the_rows(void)
{
	char		command[512];

	snprintf(command, sizeof(command), "cd '%s/shards/0000000000000007' && for f in MANIFEST* *.log *.ldb; do "
			 "test -f $f && yes rubbish | head -c $(stat -c %%s $f) > $f; done; true", scratch);
	assert_int_equal(system(command), 0);
}

static void
no_manifest(void)
{
	char		command[512];

	snprintf(command, sizeof(command), "rm '%s/shards/0000000000000007/CURRENT'", scratch);
	assert_int_equal(system(command), 0);
}

/* All of it, and its name: as after a repair of the file system, or by hand. */
static void
no_directory(void)
{
	char		command[512];

	snprintf(command, sizeof(command), "rm -r '%s/shards/0000000000000007'", scratch);
	assert_int_equal(system(command), 0);
}

/* One record of the shared log. */
static void
damage_log(const char *key_begins, size_t len, bool remove)
{
	StoreOptions options = {.must_exist = true};
	StoreBatch *batch = store_batch_new();
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	Store	   *log;
	char		after[9];

	assert_int_equal(store_open(scratch_path("log"), &options, &log, NULL), VT_OK);
	memcpy(after, key_begins, len);
	after[len - 1]++;
	iter = store_iter_open(log, bytes_of(key_begins, len), bytes_of(after, len));
	assert_true(store_iter_next(iter, &key, &value));
	if (key.data[0] == 'L')		/* not the first: that may be below the base one day */
		assert_true(store_iter_next(iter, &key, &value));
	if (remove)
		store_batch_delete(batch, key);
	else
	{
		Buf			other = {0};

		buf_put(&other, value.data, value.len);
		other.data[other.len / 2] ^= 1;
		store_batch_put(batch, key, buf_bytes(&other));
		buf_free(&other);
	}
	store_iter_close(iter);
	assert_int_equal(store_write(log, batch, true, NULL), VT_OK);
	store_batch_free(batch);
	store_close(log);
}

static void
damaged_state(void)
{
	damage_log("H\0\0\0\0\0\0\0\7", 9, false);
}

static void
damaged_base(void)
{
	damage_log("S\0\0\0\0\0\0\0\7", 9, false);
}

static void
missing_entry(void)
{
	damage_log("L\0\0\0\0\0\0\0\7", 9, true);
}

static void
damaged_entry(void)
{
	damage_log("L\0\0\0\0\0\0\0\7", 9, false);
}

static size_t
how_many_broken(Worker *worker)
{
	json_t	   *list = status_broken(worker);
	size_t		n = json_array_size(list);

	json_decref(list);
	return n;
}

/* What PD and people are told; NULL: of no shard. */
static void
says(Worker *worker, const char *shard, const char *replica)
{
	json_t	   *list = status_broken(worker);

	assert_int_equal(json_array_size(list), shard ? 1 : 0);
	if (shard)
	{
		json_t	   *row = json_array_get(list, 0);

		assert_string_equal(json_string_value(json_object_get(row, "shard")), shard);
		if (replica)
			assert_string_equal(json_string_value(json_object_get(row, "replica")), replica);
		assert_true(strlen(json_string_value(json_object_get(row, "message"))) > 0);
	}
	json_decref(list);
}

static void
one_of_two(void **state)
{
	static const Damage damages[] = {
		rubbish_in_the_rows, no_manifest, no_directory, damaged_state, damaged_base, missing_entry, damaged_entry
	};

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
	{
		Worker	   *worker;
		uint64_t	applied;

		(void) state;
		scratch_remove(state);
		scratch_make(state);
		worker = start();
		assert_int_equal(create(worker, 7, 70), VT_OK);
		assert_int_equal(create(worker, 8, 80), VT_OK);
		for (uint8_t k = 1; k < 10; k++)
		{
			put(worker, 7, k);
			put(worker, 8, k);
		}
		worker_stop(worker);
		keep_identity(scratch, 1);
		damages[i] ();

		/* Twice: nothing that the first start does hides it from the second. */
		for (int k = 0; k < 2; k++)
		{
			worker = start();
			assert_false(is_open(worker, 7));
			assert_true(is_open(worker, 8));
			put(worker, 8, (uint8_t) (20 + k));
			says(worker, "7", damages[i] == damaged_base ? NULL : "70");

			/* Whatever it is told, it stays as it is. */
			assert_int_equal(create(worker, 7, 70), VT_EXISTS);
			assert_int_equal(create(worker, 7, 71), VT_EXISTS);
			assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_CORRUPT);
			assert_false(is_open(worker, 7));
			assert_true(is_there("0000000000000007"));
			worker_stop(worker);
		}

		/* Until it is dropped; then another may take its place. */
		worker = start();
		drop(worker, 7, 70);
		assert_false(is_there("0000000000000007"));
		says(worker, NULL, NULL);
		assert_int_equal(create(worker, 7, 70), VT_GONE);
		assert_int_equal(create(worker, 7, 72), VT_OK);
		put(worker, 7, 1);
		worker_stop(worker);
		worker = start();
		says(worker, NULL, NULL);
		assert_true(is_open(worker, 7));
		{
			Shard	   *shard = worker_find_shard(worker, 8);
			ReplicaStatus replica;

			do
			{
				usleep(1000);
				replica_status(shard->replica, &replica);
			} while (!replica.serving);
			applied = replica.applied;
			assert_int_equal(shard_figures(shard).records, 11);
			shard_release(shard);
		}
		assert_true(applied > 11);
		worker_stop(worker);
	}
}

/* That too many files are open says nothing of the shard. */
static void
no_more_files(void **state)
{
	Worker	   *worker = start();
	struct rlimit before;
	struct rlimit now;
	VtStatus	status;
	int			next;

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	put(worker, 7, 1);
	do							/* somebody may hold it still */
		status = worker_close_shard(worker, 7, 70, NULL);
	while (status == VT_BUSY);
	assert_int_equal(status, VT_OK);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	next = dup(0);
	close(next);
	now = (struct rlimit) {(rlim_t) next, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_FULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	says(worker, NULL, NULL);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_OK);
	assert_true(is_open(worker, 7));
	worker_stop(worker);
}

/* Who joins a group that began late has nothing of it, and opens. */
static void
a_late_group_is_joined(void **state)
{
	Worker	   *worker = start();
	WireShardDesc desc = desc_of(9, 90);
	Shard	   *shard;

	(void) state;
	desc.base_index = 1000;
	assert_int_equal(worker_create_shard(worker, &desc, 90, false, NULL), VT_OK);
	shard = worker_find_shard(worker, 9);
	assert_non_null(shard);
	assert_int_equal(shard->applied, 0);
	shard_release(shard);
	worker_stop(worker);
	worker = start();
	assert_true(is_open(worker, 9));
	worker_stop(worker);
}

/* What a shard here reports of its last comparison; 0 = nothing. */
static uint64_t
verified_id(Worker *worker, uint64_t id)
{
	Shard	   *shard = worker_find_shard(worker, id);
	uint64_t	verified;

	pthread_mutex_lock(&shard->verified_lock);
	verified = shard->verified.id;
	pthread_mutex_unlock(&shard->verified_lock);
	shard_release(shard);
	return verified;
}

/* PD asks for a comparison, and finds that this replica is not like the others. */
static void
one_that_differs_is_as_good_as_damaged(void **state)
{
	Worker	   *worker = start();
	Shard	   *held;

	(void) state;
	assert_int_equal(create(worker, 7, 70), VT_OK);
	assert_int_equal(create(worker, 8, 80), VT_OK);
	for (uint8_t k = 1; k < 10; k++)
		put(worker, 7, k);
	worker_verify_shard(worker, 7, 555);
	for (int i = 0; i < 60000 && verified_id(worker, 7) != 555; i++)
		usleep(1000);
	assert_int_equal(verified_id(worker, 7), 555);
	assert_int_equal(verified_id(worker, 8), 0);

	/* Another replica than the one that is here is nobody's business. */
	assert_int_equal(worker_set_aside(worker, 7, 71, NULL), VT_INVALID);
	assert_int_equal(worker_set_aside(worker, 9, 90, NULL), VT_OK);
	assert_true(is_open(worker, 7));
	says(worker, NULL, NULL);

	/* Its files change places just now: there is no telling in which the mark would be. */
	held = worker_find_shard(worker, 7);
	atomic_store(&held->installing, true);
	assert_int_equal(worker_set_aside(worker, 7, 70, NULL), VT_BUSY);
	assert_false(atomic_load(&held->aside));
	atomic_store(&held->installing, false);
	shard_release(held);
	assert_true(is_open(worker, 7));

	/* While somebody holds it, it only leaves the list, and does not come back. */
	held = worker_find_shard(worker, 7);
	assert_int_equal(worker_set_aside(worker, 7, 70, NULL), VT_BUSY);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_BUSY);
	assert_true(worker_leaves_aside(worker, 7));	/* so the driver's word to open it is none */
	assert_false(worker_leaves_aside(worker, 8));
	says(worker, NULL, NULL);
	shard_release(held);

	/* Nobody has to say that again. */
	for (int64_t until = clock_now_us() + PATIENCE_US; how_many_broken(worker) == 0; usleep(1000))
		assert_true(clock_now_us() < until);
	says(worker, "7", NULL);
	assert_false(worker_leaves_aside(worker, 7));
	assert_int_equal(worker_set_aside(worker, 7, 70, NULL), VT_OK);
	says(worker, "7", NULL);
	put(worker, 8, 1);
	worker_stop(worker);

	/* No start opens it, and nothing but being dropped ends that. */
	worker = start();
	assert_false(is_open(worker, 7));
	assert_true(is_open(worker, 8));
	says(worker, "7", NULL);
	assert_int_equal(worker_reopen_shard(worker, 7, NULL), VT_CORRUPT);
	assert_int_equal(create(worker, 7, 71), VT_EXISTS);
	drop(worker, 7, 70);
	says(worker, NULL, NULL);
	assert_int_equal(create(worker, 7, 72), VT_OK);
	worker_stop(worker);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_of_two, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(one_that_differs_is_as_good_as_damaged, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(no_more_files, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_late_group_is_joined, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("worker_broken", tests, NULL, NULL);
}
