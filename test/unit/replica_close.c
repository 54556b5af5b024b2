/*-------------------------------------------------------------------------
 *
 * replica_close.c
 *	  What comes with the step in which a replica is closed is not done any more: who
 *	  closes it may free it as soon as nobody is at work for it.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "replica_alone.h"

#include <sched.h>

static void *
close_it(void *replica)
{
	replica_close((Replica *) replica);
	return NULL;
}

/* Is the end of a replica in the inbox? */
static bool
is_closing(ReplicaHost *host)
{
	bool		found = false;

	pthread_mutex_lock(&host->inbox_lock);
	for (const Event *event = host->inbox; event && !found; event = event->next)
		found = event->kind == EVENT_CLOSE;
	pthread_mutex_unlock(&host->inbox_lock);
	return found;
}

/* Proposed and closed in one step: neither written nor applied, and answered once. */
static void
proposed_with_its_end(void **state)
{
	static uint8_t large[32 << 10];	/* it does not gather */
	Fixture		f = {0};
	StoreOptions options = {0};
	Machine    *m = machine_new(BASE);
	Question	q = {0};
	Replica    *replica;
	pthread_t	closer;
	uint64_t	index;
	uint64_t	entries;

	(void) state;
	start(&f);
	found(&f, GROUP, REPLICA);
	replica = open_group(&f, GROUP, REPLICA, m, BASE);
	wait_until_serving(replica);
	assert_int_equal(ask(replica, "first", &index), VT_OK);
	entries = count_keys(f.log, 'L', GROUP, NULL);
	assert_true(entries > 0);

	/* Nobody steps until both are there. */
	pthread_mutex_lock(&f.host->step_lock);
	replica_propose(replica, bytes_of(large, sizeof(large)), on_done, &q);
	assert_int_equal(pthread_create(&closer, NULL, close_it, replica), 0);
	while (!is_closing(f.host))
		sched_yield();
	assert_int_equal(q.calls, 0);
	pthread_mutex_unlock(&f.host->step_lock);
	step_all(f.host);
	pthread_join(closer, NULL);
	assert_int_equal(q.calls, 1);
	assert_int_equal(q.status, VT_UNAVAILABLE);
	stop(&f);
	assert_int_equal(m->applied, index);
	assert_int_equal(store_open(scratch_path("log"), &options, &f.log, NULL), VT_OK);
	assert_int_equal(count_keys(f.log, 'L', GROUP, NULL), entries);
	store_close(f.log);
	machine_free(m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(proposed_with_its_end, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_close", tests, NULL, NULL);
}
