/*-------------------------------------------------------------------------
 *
 * replica_bounds.c
 *	  What a host may use of disk and memory, whatever its groups do.
 *
 *-------------------------------------------------------------------------
 */
#include "base/clock.h"
#include "patience.h"
#include "replica_alone.h"

#define MANY 300

/* Write n commands of so many bytes. */
static void
fill(Replica *replica, uint32_t n, size_t size)
{
	char	   *text = vt_alloc(size + 1);

	memset(text, 'x', size);
	text[size] = '\0';
	for (uint32_t i = 0; i < n; i++)
	{
		text[i % size] = (char) ('A' + i % 26);
		assert_int_equal(ask(replica, text, NULL), VT_OK);
	}
	free(text);
}

/* No group has written enough for a checkpoint, but all together too much. */
static void
the_fullest_are_cut(void **state)
{
	Fixture		f = {.options = {.checkpoint_bytes = UINT64_C(1) << 30, .log_bytes = 65536}};
	ReplicaHostFigures figures = {.log_bytes = UINT64_MAX};
	Machine    *m[4];
	uint64_t	lowest;

	(void) state;
	start(&f);
	for (uint64_t g = 0; g < 4; g++)
	{
		Replica    *replica;

		m[g] = machine_new(BASE);
		found(&f, GROUP + g, REPLICA);
		replica = open_group(&f, GROUP + g, REPLICA, m[g], BASE);
		wait_until_serving(replica);
		fill(replica, g == 2 ? 40 : 20, 2000);
	}
	while (figures.log_bytes > f.options.log_bytes)
	{
		usleep(1000);
		replica_host_figures(f.host, &figures);
	}
	stop(&f);

	/* They are gone from the disk, too: at the next start at the latest. */
	start(&f);
	(void) open_group(&f, GROUP + 2, REPLICA, m[2], m[2]->applied);
	stop(&f);
	assert_int_equal(store_open(scratch_path("log"), &(StoreOptions) {0}, &f.log, NULL), VT_OK);
	assert_true(count_keys(f.log, 'L', GROUP + 2, &lowest) <= f.options.log_bytes / 2000);
	store_close(f.log);
	for (int g = 0; g < 4; g++)
		machine_free(m[g]);
}

/* None of hundreds has much: those with most go, as many as it takes, and soon. */
static void
many_small_logs(void **state)
{
	Fixture		f = {.options = {.log_bytes = 400000}};
	ReplicaHostFigures figures;
	static Machine *m[MANY];
	uint64_t	lowest;
	int64_t		until;

	(void) state;
	start(&f);
	for (uint64_t g = 0; g < MANY; g++)
	{
		Replica    *replica;

		m[g] = machine_new(BASE);
		found(&f, GROUP + g, REPLICA);
		replica = open_group(&f, GROUP + g, REPLICA, m[g], BASE);
		wait_until_serving(replica);
		fill(replica, 1, g < 3 ? 100 : 6000);
	}
	until = clock_now_us() + PATIENCE_US;
	do
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
		replica_host_figures(f.host, &figures);
	}
	while (figures.log_bytes > f.options.log_bytes);
	stop(&f);

	/* Those with little were spared. */
	assert_int_equal(store_open(scratch_path("log"), &(StoreOptions) {0}, &f.log, NULL), VT_OK);
	for (uint64_t g = 0; g < MANY; g++)
	{
		if (g < 3)
			assert_true(count_keys(f.log, 'L', GROUP + g, &lowest) >= 2);
		machine_free(m[g]);
	}
	store_close(f.log);
}

/* A long replay needs no more memory than a short one. */
static void
a_replay_within_bounds(void **state)
{
	Fixture		f = {.options = {.resident_bytes = 65536}};
	ReplicaHostFigures figures;
	Machine    *before = machine_new(BASE);
	Machine    *after = machine_new(BASE);
	Replica    *replica;

	(void) state;
	start(&f);
	found(&f, GROUP, REPLICA);
	replica = open_group(&f, GROUP, REPLICA, before, BASE);
	wait_until_serving(replica);
	fill(replica, 600, 1000);
	stop(&f);

	start(&f);
	machine_shut(after, true);
	replica = open_group(&f, GROUP, REPLICA, after, BASE);
	do
		replica_host_figures(f.host, &figures);
	while (figures.log_bytes == 0);
	assert_true(figures.log_bytes >= 600000);
	assert_true(figures.resident_bytes < 80000);
	machine_shut(after, false);
	wait_until_serving(replica);
	assert_int_equal(after->ncommands, 600);
	for (int i = 0; i < HISTORY; i++)
		assert_true(i >= 600 + 1 || after->hash[i] == before->hash[i]);
	stop(&f);
	machine_free(before);
	machine_free(after);
}

/* Ticks of the clock are counted, each once. */
static void
ticks_are_counted(void **state)
{
	Fixture		f = {.options = {.tick_ms = 5}};
	ReplicaHostFigures figures;
	int64_t		begin = clock_now_us();
	uint64_t	n;

	(void) state;
	start(&f);
	do
	{
		usleep(1000);
		replica_host_figures(f.host, &figures);
		n = 0;
		for (int i = 0; i < REPLICA_TICK_KINDS; i++)
			n += figures.ticks[i];
	}
	while (n < 5);
	assert_true(n <= (uint64_t) (clock_now_us() - begin) / 5000 + 1);
	stop(&f);
}

/* More deletions than one batch takes, of a group that is destroyed or forgotten. */
static void
long_logs_go(void **state)
{
	Fixture		f = {0};
	Machine    *m[2];
	Replica    *replica[2];
	uint64_t	lowest;

	(void) state;
	start(&f);
	for (uint64_t g = 0; g < 2; g++)
	{
		m[g] = machine_new(BASE);
		found(&f, GROUP + g, REPLICA);
		replica[g] = open_group(&f, GROUP + g, REPLICA, m[g], BASE);
		wait_until_serving(replica[g]);
		fill(replica[g], 1200, 10);
	}
	assert_true(count_keys(f.log, 'L', GROUP, &lowest) > 1200);
	assert_int_equal(replica_destroy(replica[0], NULL), VT_OK);
	replica_close(replica[1]);
	assert_int_equal(replica_forget(f.host, GROUP + 1, REPLICA, NULL), VT_OK);
	for (uint64_t g = 0; g < 2; g++)
	{
		assert_int_equal(count_keys(f.log, 'L', GROUP + g, &lowest), 0);
		assert_int_equal(count_keys(f.log, 'H', GROUP + g, &lowest), 0);
		machine_free(m[g]);
	}
	stop(&f);
}

/* Who joins has nothing of the group, wherever that began. */
static void
who_joins_has_nothing(void **state)
{
	Fixture		f = {0};
	VtError		err = {0};

	(void) state;
	start(&f);
	assert_int_equal(replica_create(f.host, GROUP, REPLICA, NULL, BASE, &err), VT_INVALID);
	assert_int_equal(replica_create(f.host, GROUP, REPLICA, NULL, 0, &err), VT_OK);
	stop(&f);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(the_fullest_are_cut),
		TEST(many_small_logs),
		TEST(a_replay_within_bounds),
		TEST(ticks_are_counted),
		TEST(long_logs_go),
		TEST(who_joins_has_nothing),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("replica_bounds", tests, NULL, NULL);
}
