/*-------------------------------------------------------------------------
 *
 * replica_gather.c
 *	  What is proposed while a batch is being written is one batch, of all groups, which
 *	  is answered when it is durable and not before, and nobody waits for ever for it to grow.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "patience.h"
#include "replica_alone.h"

#include <limits.h>

#include "base/clock.h"

static atomic_int syncs;
static atomic_int disk_answers = INT_MAX;	/* so many of them */

/* In the place of libc's, for LevelDB: a disk that answers when it is told to. */
extern int	fdatasync(int fd) __attribute__((visibility("default")));

int
fdatasync(int fd)
{
	int			sync = atomic_fetch_add(&syncs, 1) + 1;

	while (sync > atomic_load(&disk_answers))
		usleep(1000);
	return fsync(fd);
}

static void
disk_goes_on(void)
{
	atomic_store(&disk_answers, INT_MAX);
}

#define NEVER_MS 3600000		/* a tick that does not come */
#define CROWD 12
#define GROUPS 20

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

	disk_goes_on();
	f->options.tick_ms = tick_ms;
	f->options.watch_ms = NEVER_MS; /* who watches a clock that stands still syncs a file of its own */
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

	atomic_store(&disk_answers, before);
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

/* How many batches it takes to write a crowd, and a large one, that were proposed while the disk hung. */
static int
batches_of_a_crowd(Replica *replica)
{
	static uint8_t large[20 << 10] = {'l'};
	Question	hung = {0};
	Question	q[CROWD + 1] = {{0}};
	uint64_t	last;
	int			before;

	hang(replica, &hung);
	last = last_of(replica);
	for (int i = 0; i < CROWD; i++)
		replica_propose(replica, bytes_str("small"), on_done, &q[i]);
	assert_int_equal(last_of(replica), last);

	/* A large one is made ready for the disk at once. */
	replica_propose(replica, bytes_of(large, sizeof(large)), on_done, &q[CROWD]);
	assert_int_equal(last_of(replica), last + 1);

	before = atomic_load(&syncs);
	disk_goes_on();
	all_are_done(&hung, 1);
	all_are_done(q, CROWD + 1);
	assert_int_equal(last_of(replica), last + 1 + CROWD);
	return atomic_load(&syncs) - before;
}

/* One, and two where another thread steps when the batch begins and gets no processor just then. */
static void
small_ones_are_one_batch(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, NEVER_MS);
	int			batches;
	int			rounds = 0;

	(void) state;
	while ((batches = batches_of_a_crowd(replica)) != 1)
	{
		assert_int_equal(batches, 2);
		assert_true(++rounds < 20);
	}
	stop(&f);
	machine_free(m);
}

/* So many jobs wait for the writer. */
static void
await_jobs(ReplicaHost *host, int n)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			waiting = 0;

	while (waiting != n)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
		waiting = 0;
		pthread_mutex_lock(&host->writer_lock);
		for (const WriteJob *job = host->jobs; job; job = job->next)
			waiting++;
		pthread_mutex_unlock(&host->writer_lock);
	}
}

/* Each has a command that is ready for the disk while that hangs: they are a batch together, and cost one sync. */
static void
all_groups_share_a_sync(void **state)
{
	static uint8_t large[20 << 10] = {'l'};
	Fixture		f = {0};
	Machine    *m[GROUPS];
	Replica    *replicas[GROUPS];
	Question	hung = {0};
	Question	q[GROUPS] = {{0}};
	int			before;

	(void) state;
	m[0] = machine_new(BASE);
	replicas[0] = begin(&f, m[0], NEVER_MS);
	for (uint64_t g = 1; g < GROUPS; g++)
	{
		m[g] = machine_new(BASE);
		found(&f, GROUP + g, REPLICA);
		replicas[g] = open_group(&f, GROUP + g, REPLICA, m[g], BASE);
		wait_until_serving(replicas[g]);
	}
	hang(replicas[0], &hung);
	for (int g = 0; g < GROUPS; g++)
		replica_propose(replicas[g], bytes_of(large, sizeof(large)), on_done, &q[g]);
	await_jobs(f.host, GROUPS);
	before = atomic_load(&syncs);
	disk_goes_on();
	all_are_done(&hung, 1);
	all_are_done(q, GROUPS);
	assert_in_range(atomic_load(&syncs) - before, 1, 2);
	stop(&f);
	for (int g = 0; g < GROUPS; g++)
		machine_free(m[g]);
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
	disk_goes_on();
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

/* [S1] The disk has answered for the first command, and not for those that gathered meanwhile. */
static void
none_is_answered_before_it_is_durable(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, NEVER_MS);
	Question	hung = {0};
	Question	read = {0};
	Question	q[CROWD] = {{0}};
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			before = atomic_load(&syncs);

	(void) state;
	hang(replica, &hung);
	for (int i = 0; i < CROWD; i++)
		replica_propose(replica, bytes_str("small"), on_done, &q[i]);
	atomic_fetch_add(&disk_answers, 1);
	wait_for(&hung, 1);
	while (atomic_load(&syncs) < before + 2 && clock_now_us() < until)
	{
		/* What is committed by now is what was durable. */
		memset(&read, 0, sizeof(read));
		replica_read(replica, on_done, &read);
		wait_for(&read, 1);
		assert_int_equal(read.status, VT_OK);
		assert_int_equal(read.index, hung.index);
	}
	memset(&read, 0, sizeof(read));
	replica_read(replica, on_done, &read);
	wait_for(&read, 1);
	assert_int_equal(read.index, hung.index);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(q[i].calls, 0);
	assert_int_equal(atomic_load(&syncs), before + 2);
	disk_goes_on();
	all_are_done(q, CROWD);
	stop(&f);
	machine_free(m);
}

static atomic_bool steps;
static int	one_too_late;

/* On the thread that steps: it goes on when the writer is about to begin a batch, or has. */
static void
step_until_writer_begins(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	ReplicaHost *host = arg;

	(void) status;
	(void) index;
	(void) reply;
	atomic_store(&steps, true);
	while (!atomic_load(&host->writer_begins) && atomic_load(&syncs) < one_too_late)
		;
}

static void *
ask_to_step(void *replica)
{
	replica_transfer(replica, 0, step_until_writer_begins, ((Replica *) replica)->host);
	return NULL;
}

/* How many batches it took to write a command and a crowd that gathered while another thread steps. */
static int
batches_beside_a_stepper(Replica *replica)
{
	static uint8_t large[20 << 10] = {'l'};
	Question	q[CROWD + 2] = {{0}};
	int			before = atomic_load(&syncs);
	pthread_t	thread;

	hang(replica, &q[0]);
	replica_propose(replica, bytes_of(large, sizeof(large)), on_done, &q[1]);
	for (int i = 0; i < CROWD; i++)
		replica_propose(replica, bytes_str("small"), on_done, &q[2 + i]);
	one_too_late = before + 2;
	atomic_store(&steps, false);
	assert_int_equal(pthread_create(&thread, NULL, ask_to_step, replica), 0);
	while (!atomic_load(&steps))
		usleep(100);
	disk_goes_on();
	pthread_join(thread, NULL);
	all_are_done(q, CROWD + 2);
	return atomic_load(&syncs) - before;
}

/*
 * Who steps when a batch begins takes what has gathered along, and the writer waits
 * for that, though not long: one that gets no processor then misses the batch.  If it did
 * not wait, hardly one in hundreds would be in time.
 */
static void
another_that_steps_is_waited_for(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *replica = begin(&f, m, NEVER_MS);
	int			rounds = 0;
	int			in_time = 0;

	(void) state;
	while (in_time < 5)
	{
		in_time += batches_beside_a_stepper(replica) == 2;
		assert_true(++rounds < 400);
	}
	stop(&f);
	machine_free(m);
}

static Waiter *
propose_to(Replica *replica)
{
	Waiter	   *waiter = vt_alloc0(sizeof(Waiter));

	gather_await(replica, waiter);
	*replica->proposals_end = waiter;
	replica->proposals_end = &waiter->next;
	return waiter;
}

static void
answer_oldest(Replica *replica)
{
	Waiter	   *waiter = replica->proposals;

	gather_answered(replica->host, waiter);
	replica->proposals = waiter->next;
	if (!replica->proposals)
		replica->proposals_end = &replica->proposals;
	free(waiter);
}

/* A group that does not answer costs one wait; another, which does, is awaited as before. */
static void
who_is_late_is_not_waited_for(void **state)
{
	ReplicaHost *host = vt_alloc0(sizeof(ReplicaHost));
	Replica		lost = {.host = host, .proposals_end = &lost.proposals};
	Replica		well = {.host = host, .proposals_end = &well.proposals};

	(void) state;
	pthread_mutex_init(&host->writer_lock, NULL);
	host_cond_init(&host->writer_ready);

	propose_to(&lost);
	propose_to(&lost);
	assert_false(gather_is_enough(host));
	gather_more(host);
	assert_true(gather_is_enough(host));
	for (int i = 0; i < 3; i++)
	{
		propose_to(&lost);
		assert_true(gather_is_enough(host));
		propose_to(&well);
		assert_false(gather_is_enough(host));
		atomic_store(&host->gathered, 1);
		assert_true(gather_is_enough(host));
		atomic_store(&host->gathered, 0);
		answer_oldest(&well);
		assert_true(gather_is_enough(host));
	}

	/* When what it owed is answered it has another chance. */
	for (int i = 0; i < 2; i++)
		answer_oldest(&lost);
	propose_to(&lost);
	assert_false(gather_is_enough(host));
	while (lost.proposals)
		answer_oldest(&lost);
	assert_true(gather_is_enough(host));
	assert_int_equal((uint32_t) host->awaited, 0);
	pthread_cond_destroy(&host->writer_ready);
	pthread_mutex_destroy(&host->writer_lock);
	free(host);
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
	disk_goes_on();
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
		cmocka_unit_test_setup_teardown(all_groups_share_a_sync, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_tick_takes_what_gathers, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(few_do_not_wait_for_many, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(none_is_answered_before_it_is_durable, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(another_that_steps_is_waited_for, scratch_make, scratch_remove),
		cmocka_unit_test(who_is_late_is_not_waited_for),
		cmocka_unit_test_setup_teardown(what_gathers_is_answered_at_the_end, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("replica_gather", tests, NULL, NULL);
}
