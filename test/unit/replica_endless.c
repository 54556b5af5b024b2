/*-------------------------------------------------------------------------
 *
 * replica_endless.c
 *	  Events that never end: who has brought one does not handle the others for ever, the
 *	  log is written, and time goes on.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "patience.h"
#include "replica_alone.h"

#include "base/clock.h"

#define NEVER_MS 3600000		/* a tick that does not come */
#define LINKS 100000

/* A question whose answer is the next one. */
typedef struct Chain
{
	Replica    *replica;
	pthread_t	asker;
	atomic_uint links;			/* so many have been answered, */
	atomic_uint by_asker;		/* by the thread that has begun */
	atomic_uint most;			/* until they end */
	atomic_bool ended;
} Chain;

static void
go_on(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Chain	   *chain = (Chain *) arg;

	(void) index;
	(void) reply;
	Assert(status == VT_OK);
	if (pthread_equal(pthread_self(), chain->asker))
		atomic_fetch_add(&chain->by_asker, 1);
	if (atomic_fetch_add(&chain->links, 1) + 1 >= atomic_load(&chain->most))
		atomic_store(&chain->ended, true);
	else
		replica_read(chain->replica, go_on, chain);
}

static Machine *
set_up(Fixture *f, Chain *chain, uint32_t tick_ms)
{
	Machine    *m = machine_new(BASE);

	memset(f, 0, sizeof(*f));
	f->options.tick_ms = tick_ms;
	f->options.watch_ms = NEVER_MS;
	start(f);
	found(f, GROUP, REPLICA);
	chain->replica = open_group(f, GROUP, REPLICA, m, BASE);
	wait_until_serving(chain->replica);
	assert_int_equal(ask(chain->replica, "first", NULL), VT_OK);
	chain->asker = pthread_self();
	return m;
}

static void
tear_down(Fixture *f, Chain *chain, Machine *m)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (!atomic_load(&chain->ended))
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
	stop(f);
	machine_free(m);
}

static void
who_has_asked_goes_its_way(void **state)
{
	Fixture		f;
	Chain		chain = {.most = LINKS};
	Machine    *m = set_up(&f, &chain, NEVER_MS);

	(void) state;
	replica_read(chain.replica, go_on, &chain);
	assert_in_range(atomic_load(&chain.by_asker), 0, LINKS / 100);
	tear_down(&f, &chain, m);
	assert_int_equal(atomic_load(&chain.links), LINKS);
}

/* The raft thread is who handles them, and who says that a tick is due; the log has a writer of its own. */
static void
time_goes_on(void **state)
{
	Fixture		f;
	Chain		chain = {.most = UINT32_MAX};
	Machine    *m = set_up(&f, &chain, 2);
	Event	   *event = vt_alloc0(sizeof(Event));
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	beats;

	(void) state;
	event->kind = EVENT_READ;
	event->replica = chain.replica;
	event->done = go_on;
	event->arg = &chain;
	host_post_later(f.host, event);
	while (atomic_load(&chain.links) < 1000)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
	beats = atomic_load(&f.host->ticking.beats);
	while (atomic_load(&f.host->ticking.beats) < beats + 20)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
	assert_int_equal(ask(chain.replica, "second", NULL), VT_OK);
	atomic_store(&chain.most, 0);
	tear_down(&f, &chain, m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_has_asked_goes_its_way, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(time_goes_on, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("replica_endless", tests, NULL, NULL);
}
