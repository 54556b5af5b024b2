/*-------------------------------------------------------------------------
 *
 * replica_far.c
 *	  Linearizable reads away from the leader end, whatever happens to the replica:
 *	  who asks holds its machine, and others wait for that.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include <sys/syscall.h>

#include "replica_world.h"

static bool
is_answered(Question *q)
{
	bool		done;

	pthread_mutex_lock(&q->lock);
	done = q->done;
	pthread_mutex_unlock(&q->lock);
	return done;
}

/* The answer, which must come though the machine is held all the time. */
static VtStatus
answer_of(Question *q)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (!is_answered(q))
	{
		if (clock_now_us() > until)
			fail_msg("a read waits for ever");
		pause_ms(1);
	}
	return q->status;
}

static VtStatus
read_at(int number)
{
	Question	q = QUESTION;

	replica_read_anywhere(nodes[number].replica, on_done, &q);
	return answer_of(&q);
}

/* Until a question is on its way to the leader; it is lost. */
static void
ask_in_vain(int number, Question *q)
{
	Replica    *replica = nodes[number].replica;
	bool		asked = false;

	atomic_store(&net.lose_questions, true);
	while (!asked)
	{
		*q = (Question) QUESTION;
		replica_read_anywhere(replica, on_done, q);
		pthread_mutex_lock(&replica->host->step_lock);
		asked = replica->far != NULL;
		pthread_mutex_unlock(&replica->host->step_lock);
		if (!asked)
			assert_int_not_equal(answer_of(q), VT_OK);
	}
}

/* What was asked before a snapshot is installed ends, and nothing is asked before it is. */
static void
a_snapshot_waits_for_no_read(void **state)
{
	Question	q = QUESTION;
	uint64_t	last = 0;
	Machine    *m;
	Replica    *replica;
	int			away;

	(void) state;
	log_bound = 16384;
	world_begin(3, 51);
	away = leave_behind(&last);
	m = &nodes[away].machine;
	m->hold = true;
	atomic_store(&net.hold_chunks, true);
	node_start(away);
	node_open(away, NULL);
	replica = nodes[away].replica;
	ask_in_vain(away, &q);
	atomic_store(&net.hold_chunks, false);
	machine_await_held(m);
	pthread_mutex_lock(&replica->host->step_lock);
	assert_null(replica->far);
	pthread_mutex_unlock(&replica->host->step_lock);
	assert_int_equal(answer_of(&q), VT_NOT_LEADER);

	atomic_store(&net.lose_questions, false);
	for (int i = 0; i < 5; i++)
		assert_int_equal(read_at(away), VT_NOT_LEADER);
	machine_go_on(m);
	await_agreement(last);
	world_end();
}

static bool
leads(int number)
{
	ReplicaStatus status;

	replica_status(nodes[number].replica, &status);
	return status.leader;
}

/* False: the slow one, who applies nothing, leads by now, and there is no answer before it goes on. */
static bool
answered_beside(int slow, Question *q)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (!is_answered(q))
	{
		if (leads(slow))
			return false;
		if (clock_now_us() > until)
			fail_msg("a question waits for ever");
		pause_ms(1);
	}
	return true;
}

/*
 * What a follower that does not come to what the leader says tells who asks.  False:
 * it has come to lead, and the story is told once more.
 */
static bool
lags_and_says_so(uint64_t seed)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	Question	write = QUESTION;
	Question	read = QUESTION;
	uint8_t		bytes[8] = {1};
	uint64_t	last;
	bool		told;
	int			slow;
	Machine    *m;

	world_begin(3, seed);
	last = write_one(0);
	await_agreement(last);
	slow = await_leader() % 3 + 1;
	m = &nodes[slow].machine;
	pthread_mutex_lock(&m->lock);
	m->hold_apply = true;
	pthread_mutex_unlock(&m->lock);
	replica_propose(nodes[await_leader()].replica, bytes_of(bytes, sizeof(bytes)), on_done, &write);
	told = answered_beside(slow, &write) && write.status == VT_OK;

	/* As long as it knows nobody who leads it says so, and at once. */
	while (told && read.status != VT_BEHIND && clock_now_us() < until)
	{
		read = (Question) QUESTION;
		replica_read_anywhere(nodes[slow].replica, on_done, &read);
		told = answered_beside(slow, &read);
		if (told)
			assert_int_not_equal(read.status, VT_OK);
		pause_ms(1);
	}
	machine_go_on(m);
	if (told)
		assert_int_equal(read.status, VT_BEHIND);
	(void) answer_of(&write);
	last = write_one(1);
	await_agreement(last);
	while (read_at(slow) != VT_OK)
		;
	world_end();
	return told;
}

static void
who_lags_says_so(void **state)
{
	bool		told = false;

	(void) state;
	for (uint64_t seed = 60; seed < 70 && !told; seed++)
		told = lags_and_says_so(seed);
	assert_true(told);
}

static atomic_uint sync_us;		/* what a sync of a log takes at least */

extern int	fdatasync(int fd) __attribute__((visibility("default")));

int
fdatasync(int fd)
{
	usleep(atomic_load(&sync_us));
	return (int) syscall(SYS_fdatasync, fd);
}

/*
 * A leader that nobody hears any more is stopped, which has been asked for an index, while its log is
 * written: what comes after the last step is nobody's, and so is the answer to that question.
 */
static void
the_end_of_who_was_asked(void **state)
{
	(void) state;
	for (uint32_t round = 0; round < 10; round++)
	{
		Question	write = QUESTION;
		Question	read = QUESTION;
		int			leader;
		int			follower;

		world_begin(3, 3);
		(void) write_one(round);
		leader = await_leader();
		follower = leader % 3 + 1;
		pthread_mutex_lock(&net.lock);
		for (int i = 1; i <= 3; i++)
			net.cut[leader][i] = i != leader;
		pthread_mutex_unlock(&net.lock);
		replica_read_anywhere(nodes[follower].replica, on_done, &read);
		atomic_store(&sync_us, 50000);
		replica_propose(nodes[leader].replica, bytes_str("x"), on_done, &write);
		pause_ms(20);			/* the question comes there, most times */
		node_stop(leader, false);
		atomic_store(&sync_us, 0);
		assert_int_not_equal(await(&write), VT_OK);
		assert_int_not_equal(await(&read), VT_OK);
		world_end();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_snapshot_waits_for_no_read, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(who_lags_says_so, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(the_end_of_who_was_asked, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_far", tests, NULL, NULL);
}
