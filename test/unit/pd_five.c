/*-------------------------------------------------------------------------
 *
 * pd_five.c
 *	  Five placement drivers, as many as may be: two may be away, and no third.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_drivers.h"

#define FIVE PD_DRIVERS_MAX

/* The worker that listens there, as this driver's own catalog has it; 0 = it has none. */
static uint64_t
store_at(int i, const char *endpoint)
{
	Catalog    *catalog = drivers[i].pd->catalog;
	uint64_t	store = 0;

	pthread_mutex_lock(&catalog->lock);
	for (size_t k = 0; k < catalog->nstores; k++)
		if (strcmp(catalog->stores[k]->endpoint, endpoint) == 0)
			store = catalog->stores[k]->id;
	pthread_mutex_unlock(&catalog->lock);
	return store;
}

/* Until all that run have what was decided. */
static void
await_held(const char *endpoint, uint64_t store)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (int i = 0; i < FIVE; i++)
		for (; drivers[i].pd && store_at(i, endpoint) != store; pause_ms(20))
			if (clock_now_us() > until)
				fail_msg("driver %d has store %" PRIu64 " at %s, not %" PRIu64, i, store_at(i, endpoint), endpoint, store);
}

/*
 * Register a worker with one driver, until it says that too few are up.  It may wait before, or take
 * itself for the leader or follow another one, but never say yes.
 */
static void
await_too_few(int i, uint32_t n, const char *endpoint)
{
	char		question[300];

	registration(n, endpoint, question, sizeof(question));
	for (int64_t until = clock_now_us() + PATIENCE_US;; pause_ms(20))
	{
		json_t	   *answer = ask_as(WIRE_ROLE_WORKER, i, question);
		VtStatus	status = status_of(answer);
		const char *words = json_string_value(json_object_get(answer, "message"));
		bool		knows = status == VT_NOT_LEADER && words && strstr(words, "more than half of the 5");

		if ((status != VT_NOT_LEADER && status != VT_UNAVAILABLE) || (!knows && clock_now_us() > until))
			fail_msg("two of five answer with %d: %s", (int) status, words ? words : "");
		json_decref(answer);
		if (knows)
			return;
	}
}

static void
two_may_be_away(void **state)
{
	uint64_t	stores[3];
	int			first;
	int			gone[2];
	int			third = -1;

	(void) state;
	world_begin();
	for (int i = 0; i < FIVE; i++)
		driver_start(i, FIVE);
	first = leader();
	await_count(FIVE - 1, "follower", "up");

	/* Two die, of whom one leads: three decide. */
	gone[0] = first;
	gone[1] = (first + 1) % FIVE;
	for (int k = 0; k < 2; k++)
		driver_stop(gone[k]);
	stores[0] = register_worker(1, "unix:/w1");
	await_held("unix:/w1", stores[0]);

	/* A third one that does not lead: who leads is asked before it knows, and whoever is left until they do. */
	first = leader();
	for (int i = 0; i < FIVE; i++)
		if (drivers[i].pd && i != first)
			third = i;
	driver_stop(third);
	await_too_few(first, 2, "unix:/w2");
	for (int i = 0; i < FIVE; i++)
		if (drivers[i].pd)
			await_too_few(i, 2, "unix:/w2");
	for (int i = 0; i < FIVE; i++)
		if (drivers[i].pd)
		{
			assert_int_equal(store_at(i, "unix:/w1"), stores[0]);
			assert_int_equal(store_at(i, "unix:/w2"), 0);
		}

	/* With it they decide again, and nothing is lost. */
	driver_start(third, FIVE);
	stores[1] = register_worker(2, "unix:/w2");
	assert_true(stores[1] != stores[0]);
	await_held("unix:/w1", stores[0]);
	await_held("unix:/w2", stores[1]);

	/* The two come back to all of it, */
	for (int k = 0; k < 2; k++)
		driver_start(gone[k], FIVE);
	await_held("unix:/w1", stores[0]);
	await_held("unix:/w2", stores[1]);
	await_count(FIVE - 1, "follower", "up");

	/* and it stands with them where two of those that decided it are away. */
	driver_stop(third);
	for (int i = 0; i < FIVE; i++)
		if (drivers[i].pd && i != gone[0] && i != gone[1])
		{
			driver_stop(i);
			break;
		}
	assert_int_equal(register_worker(1, "unix:/w1"), stores[0]);
	assert_int_equal(register_worker(2, "unix:/w2"), stores[1]);
	stores[2] = register_worker(3, "unix:/w3");
	assert_true(stores[2] != stores[0] && stores[2] != stores[1]);
	await_held("unix:/w3", stores[2]);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(two_may_be_away, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("pd_five", tests, NULL, NULL);
}
