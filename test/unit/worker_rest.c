/*-------------------------------------------------------------------------
 *
 * worker_rest.c
 *	  Shards are found by number, and a look goes only to those where something happened.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "worker/private.h"

#define N 300
#define ROUNDS 20000

/* A worker with shards that do nothing; the first of them added last. */
static int
setup(void **state)
{
	Worker	   *worker = vt_alloc0(sizeof(Worker));

	pthread_mutex_init(&worker->lock, NULL);
	for (uint64_t i = N; i > 0; i--)
	{
		Shard	   *shard = vt_alloc0(sizeof(Shard));

		shard->desc.shard = i << 32;
		shard->stirred_all = &worker->stirred;
		shards_add(worker, shard);
	}
	*state = worker;
	return 0;
}

static int
teardown(void **state)
{
	Worker	   *worker = *state;

	while (worker->shards)
	{
		Shard	   *shard = worker->shards;

		shards_remove(worker, shard);
		free(shard);
	}
	assert_int_equal(worker->nshards, 0);
	free(worker->by_id);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
	return 0;
}

static Shard *
shard_of(Worker *worker, uint64_t i)
{
	return shards_find(worker, i << 32);
}

static void
test_find(void **state)
{
	Worker	   *worker = *state;
	Shard	   *shard;

	assert_null(shard_of(worker, 0));
	assert_null(shard_of(worker, N + 1));
	for (uint64_t i = 1; i <= N; i++)
		assert_true(shard_of(worker, i)->desc.shard == i << 32);

	/* Every third goes and comes back. */
	for (int round = 0; round < 3; round++)
		for (uint64_t i = 3; i <= N; i += 3)
		{
			shard = shard_of(worker, i);
			shards_remove(worker, shard);
			assert_null(worker_find_shard(worker, i << 32));
			assert_non_null(shard_of(worker, i - 1));
			shards_add(worker, shard);
		}
	assert_int_equal(worker->nshards, N);
	shard = worker_find_shard(worker, UINT64_C(6) << 32);
	assert_int_equal(atomic_load(&shard->users), 1);
	shard_release(shard);
}

/* What such a look goes to; how many. */
static size_t
look(Worker *worker, ShardLook what, bool seen[N + 1])
{
	size_t		n = 0;

	memset(seen, 0, sizeof(bool) * (N + 1));
	if (!shards_take_stir(worker, what))
		return 0;
	for (Shard *s = worker->shards; s; s = s->next)
		if (shard_take_stir(s, what))
		{
			seen[s->desc.shard >> 32] = true;
			n++;
		}
	return n;
}

static void
test_looks(void **state)
{
	Worker	   *worker = *state;
	Shard	   *shard;
	bool		seen[N + 1];

	/* All are new, to each look of its own; then they rest. */
	assert_int_equal(look(worker, LOOK_TOLD, seen), N);
	assert_int_equal(look(worker, LOOK_TOLD, seen), 0);
	assert_int_equal(look(worker, LOOK_MEMORY, seen), N);
	assert_false(shards_take_stir(worker, LOOK_MEMORY));

	/* Something happens to two of them, to one of them more than once. */
	shard_stir(shard_of(worker, 7));
	shard_stir(shard_of(worker, 200));
	shard_stir(shard_of(worker, 7));
	assert_int_equal(look(worker, LOOK_TOLD, seen), 2);
	assert_true(seen[7] && seen[200]);
	assert_int_equal(look(worker, LOOK_TOLD, seen), 0);
	assert_int_equal(look(worker, LOOK_MEMORY, seen), 2);

	/* A look comes again for itself alone. */
	shard_stir_for(shard_of(worker, 9), LOOK_TOLD);
	assert_false(shards_take_stir(worker, LOOK_MEMORY));
	assert_int_equal(look(worker, LOOK_TOLD, seen), 1);
	assert_true(seen[9]);

	/* One that stops early comes again to the rest, if it says so of the one it stopped at. */
	for (uint64_t i = 1; i <= N; i++)
		shard_stir(shard_of(worker, i));
	assert_true(shards_take_stir(worker, LOOK_DAMAGE));
	assert_true(shard_take_stir(worker->shards, LOOK_DAMAGE));
	shard_stir_for(worker->shards, LOOK_DAMAGE);
	assert_int_equal(look(worker, LOOK_DAMAGE, seen), N);

	/* What goes and comes back is new, whatever had been seen of it. */
	(void) look(worker, LOOK_TOLD, seen);
	shard = shard_of(worker, 5);
	shards_remove(worker, shard);
	shard_stir(shard);
	(void) look(worker, LOOK_TOLD, seen);
	assert_false(seen[5]);
	shards_add(worker, shard);
	assert_int_equal(look(worker, LOOK_TOLD, seen), 1);
	assert_true(seen[5]);

	/* Once in a while all are, the first time at once. */
	shards_stir_all(worker);
	assert_int_equal(look(worker, LOOK_TOLD, seen), N);
	worker->stir_us = INT64_MAX;
	shards_stir_all(worker);
	assert_int_equal(look(worker, LOOK_TOLD, seen), 0);
}

/* The sum that the room goes by stays that of the parts. */
static void
test_counted(void **state)
{
	Worker	   *worker = *state;
	Shard	   *shard = shard_of(worker, 3);

	worker->counted_bytes = 5000;
	worker->digests = 77;
	shard->counted_bytes = 1000;
	shard->digest = 70;
	shards_remove(worker, shard);
	assert_int_equal(worker->counted_bytes, 4000);
	assert_int_equal(worker->digests, 7);
	shards_add(worker, shard);
	assert_int_equal(worker->counted_bytes, 4000);
	assert_int_equal(worker->digests, 7);
	assert_int_equal(shard->counted_bytes + shard->digest, 0);
}

/* A thread that changes shards, and stirs those it has changed. */
typedef struct Changer
{
	Worker	   *worker;
	uint64_t	seed;
	atomic_uint_fast64_t *values;
	pthread_t	thread;
} Changer;

static void *
change(void *arg)
{
	Changer    *changer = arg;
	Prng		prng = {changer->seed};

	for (int i = 0; i < ROUNDS; i++)
	{
		uint64_t	at = 1 + prng_next(&prng) % N;

		atomic_fetch_add_explicit(&changer->values[at], 1, memory_order_relaxed);
		shard_stir(shard_of(changer->worker, at));
	}
	return NULL;
}

/* What is seen last of each is what it came to. */
static void
test_threads(void **state)
{
	static atomic_uint_fast64_t values[N + 1];
	static uint64_t seen[N + 1];
	Worker	   *worker = *state;
	Changer		changers[2];
	bool		there[N + 1];

	for (int i = 0; i < 2; i++)
	{
		changers[i] = (Changer) {.worker = worker, .seed = 11 + (uint64_t) i, .values = values};
		assert_int_equal(pthread_create(&changers[i].thread, NULL, change, &changers[i]), 0);
	}
	for (int round = 0; round < 1000; round++)
	{
		if (round == 999)
			for (int i = 0; i < 2; i++)
				pthread_join(changers[i].thread, NULL);
		(void) look(worker, LOOK_MEMORY, there);
		for (int i = 1; i <= N; i++)
			if (there[i])
				seen[i] = atomic_load_explicit(&values[i], memory_order_relaxed);
	}
	for (int i = 1; i <= N; i++)
		assert_int_equal(seen[i], atomic_load(&values[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_looks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
