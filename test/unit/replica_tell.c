/*-------------------------------------------------------------------------
 *
 * replica_tell.c
 *	  What a machine says to the others beside the log comes to all of them as it was said, or
 *	  is lost; and wakes nobody.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_world.h"

#define WORDS 100000

static void
say(int from, uint32_t seed, size_t len)
{
	Buf			words = {0};
	Prng		prng = {seed};

	while (words.len < len)
		buf_put_u8(&words, (uint8_t) prng_below(&prng, 256));
	replica_tell(nodes[from].replica, &words);
	assert_int_equal(words.len, 0);
	assert_null(words.data);
}

static uint64_t
hash_said(uint32_t seed, size_t len)
{
	Buf			words = {0};
	Prng		prng = {seed};
	uint64_t	hash;

	while (words.len < len)
		buf_put_u8(&words, (uint8_t) prng_below(&prng, 256));
	hash = hash_checksum(buf_bytes(&words));
	buf_free(&words);
	return hash;
}

static uint64_t
times_told(int node)
{
	uint64_t	n;

	pthread_mutex_lock(&nodes[node].machine.lock);
	n = nodes[node].machine.ntold;
	pthread_mutex_unlock(&nodes[node].machine.lock);
	return n;
}

static void
await_told(int node, uint64_t n)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (times_told(node) < n)
	{
		assert_true(clock_now_us() < until);
		pause_ms(1);
	}
	assert_int_equal(times_told(node), n);
}

/* Whoever speaks, both others hear it, and he does not. */
static void
the_others_hear_it(void **state)
{
	static const size_t lengths[] = {0, 1, 16, WORDS};	/* with 16 it is as long as a note */
	uint64_t	told[NODES + 1] = {0};

	(void) state;
	world_begin(3, 1);
	(void) write_one(1);
	for (int from = 1; from <= 3; from++)
		for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		{
			say(from, i, lengths[i]);
			for (int to = 1; to <= 3; to++)
			{
				if (to != from)
					await_told(to, ++told[to]);
				pthread_mutex_lock(&nodes[to].machine.lock);
				if (to != from)
				{
					assert_int_equal(nodes[to].machine.told_by, from * 10);
					assert_true(nodes[to].machine.told_hash == hash_said(i, lengths[i]));
				}
				assert_int_equal(nodes[to].machine.ntold, told[to]);
				pthread_mutex_unlock(&nodes[to].machine.lock);
			}
		}

	/* One that is not there, or whose machine is closed, hears nothing, and the other all the same. */
	node_stop(3, false);
	say(1, 7, 50);
	await_told(2, ++told[2]);
	assert_int_equal(times_told(3), told[3]);
	assert_true(write_one(2) > 0);

	/* What was said just before the end is nobody's. */
	for (uint32_t i = 0; i < 50; i++)
		say(1, i, 1000);
	world_end();
}

static uint64_t
asleep(void)
{
	uint64_t	n = 0;

	for (int i = 1; i <= 3; i++)
	{
		ReplicaHostFigures figures;

		replica_host_figures(nodes[i].host, &figures);
		n += figures.asleep;
	}
	return n;
}

/* A group that sleeps goes on sleeping: had it woken for what was said, it would be awake for some ticks after that. */
static void
nobody_wakes(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint32_t	slept_on = 0;

	(void) state;
	world_begin(3, 2);
	(void) write_one(1);
	for (uint32_t i = 1; i <= 20; i++)
	{
		while (asleep() < 3)
		{
			assert_true(clock_now_us() < until);
			pause_ms(5);
		}
		say(1, i, 500);
		await_told(2, i);
		await_told(3, i);
		slept_on += asleep() == 3;
	}
	assert_true(slept_on > 0);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_others_hear_it, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(nobody_wakes, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_tell", tests, NULL, NULL);
}
