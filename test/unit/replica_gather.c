/*-------------------------------------------------------------------------
 *
 * replica_gather.c
 *	  What is proposed while a batch is being written is one batch, and nobody waits
 *	  for ever for it to grow.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_alone.h"

#include "base/clock.h"

static atomic_bool disk_hangs;
static atomic_int syncs;

/* In the place of libc's, for LevelDB: a disk that answers when it is told to. */
extern int	fdatasync(int fd) __attribute__((visibility("default")));

int
fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	while (atomic_load(&disk_hangs))
		usleep(1000);
	return fsync(fd);
}

#define PATIENCE_US (60 * INT64_C(1000000))
#define NEVER_MS 3600000		/* a tick that does not come */
#define CROWD 12

static uint64_t
last_of(Replica *replica)
{
	ReplicaStatus status;

	replica_status(replica, &status);
	return status.last;
}

static void
await_last(Replica *replica, uint64_t index)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (last_of(replica) < index)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
}

static Replica *
begin(Fixture *f, Machine *m, uint32_t tick_ms)
{
	Replica    *replica;

	f->options.tick_ms = tick_ms;
	start(f);
	found(f, GROUP, REPLICA);
	replica = open_group(f, GROUP, REPLICA, m, BASE);
	wait_until_serving(replica);
	assert_int_equal(ask(replica, "first", NULL), VT_OK);
	return replica;
}

/* The disk hangs with one command in it. */
static void
hang(Replica *replica, Question *q)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			before = atomic_load(&syncs);

	atomic_store(&disk_hangs, true);
	replica_propose(replica, bytes_str("hangs"), on_done, q);
	while (atomic_load(&syncs) == before)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
}

static void
all_are_done(Question *q, size_t n)
{
	wait_for(q, n);
	for (size_t i = 0; i < n; i++)
	{
		assert_int_equal(q[i].calls, 1);
		assert_int_equal(q[i].status, VT_OK);
	}
}

static void
small_ones_are_one_batch(void **state)
{
	static uint8_t large[20 << 10] = {'l'};
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, NEVER_MS);
	Question	hung = {0};
	Question	q[CROWD + 1] = {{0}};
	uint64_t	last;
	int			before;

	(void) state;
	hang(replica, &hung);
	last = last_of(replica);
	for (int i = 0; i < CROWD; i++)
		replica_propose(replica, bytes_str("small"), on_done, &q[i]);
	assert_int_equal(last_of(replica), last);

	/* A large one is made ready for the disk at once. */
	replica_propose(replica, bytes_of(large, sizeof(large)), on_done, &q[CROWD]);
	assert_int_equal(last_of(replica), last + 1);

	before = atomic_load(&syncs);
	atomic_store(&disk_hangs, false);
	all_are_done(&hung, 1);
	all_are_done(q, CROWD + 1);
	assert_int_equal(last_of(replica), last + 1 + CROWD);
	assert_int_equal(atomic_load(&syncs), before + 1);
	stop(&f);
	machine_free(m);
}

/* So a disk that stands still keeps nothing from the peers for longer than that. */
static void
a_tick_takes_what_gathers(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, 5);
	Question	hung = {0};
	Question	q = {0};
	uint64_t	last;

	(void) state;
	hang(replica, &hung);
	last = last_of(replica);
	replica_propose(replica, bytes_str("small"), on_done, &q);
	await_last(replica, last + 1);
	assert_int_equal(q.calls, 0);
	atomic_store(&disk_hangs, false);
	all_are_done(&hung, 1);
	all_are_done(&q, 1);
	stop(&f);
	machine_free(m);
}

/* Many are on their way and come to no end: fewer than these are written all the same. */
static void
few_do_not_wait_for_many(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, NEVER_MS);
	Question	q[CROWD + 3] = {{0}};
	uint64_t	last = last_of(replica);

	(void) state;
	machine_shut(m, true);
	for (int i = 0; i < CROWD; i++)
		replica_propose(replica, bytes_str("one of many"), on_done, &q[i]);
	await_last(replica, last + CROWD);
	for (int i = 0; i < 3; i++)
	{
		replica_propose(replica, bytes_str("one of few"), on_done, &q[CROWD + i]);
		await_last(replica, last + CROWD + 1 + (uint64_t) i);
	}
	machine_shut(m, false);
	all_are_done(q, CROWD + 3);
	stop(&f);
	machine_free(m);
}

static void *
destroy(void *replica)
{
	VtError		err = {0};

	assert_int_equal(replica_destroy(replica, &err), VT_OK);
	return NULL;
}

/* What was proposed to a replica is answered before that is gone. */
static void
what_gathers_is_answered_at_the_end(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, NEVER_MS);
	Question	hung = {0};
	Question	q[CROWD] = {{0}};
	pthread_t	thread;

	(void) state;
	hang(replica, &hung);
	for (int i = 0; i < CROWD; i++)
		replica_propose(replica, bytes_str("small"), on_done, &q[i]);
	assert_int_equal(q[0].calls, 0);
	assert_int_equal(pthread_create(&thread, NULL, destroy, replica), 0);
	wait_for(q, CROWD);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(q[i].status, VT_UNAVAILABLE);
	atomic_store(&disk_hangs, false);
	wait_for(&hung, 1);
	pthread_join(thread, NULL);
	stop(&f);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(q[i].calls, 1);
	machine_free(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(small_ones_are_one_batch, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_tick_takes_what_gathers, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(few_do_not_wait_for_many, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_gathers_is_answered_at_the_end, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("replica_gather", tests, NULL, NULL);
}
