/*-------------------------------------------------------------------------
 *
 * replica_room.c
 *	  A leader hears which stores have no room left, and until when.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_world.h"

/* Whoever leads says so of the group, in the end. */
static void
await_crowded(bool crowded)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		int			leader = leader_now();

		if (leader && replica_is_crowded(nodes[leader].replica) == crowded)
			return;
		if (clock_now_us() > until)
			fail_msg("the group is %scrowded", crowded ? "not " : "");
		pause_ms(20);
	}
}

/* While many notes would have come. */
static void
stays(bool crowded)
{
	for (int i = 0; i < 20; i++)
	{
		int			leader = await_leader();

		assert_int_equal(replica_is_crowded(nodes[leader].replica), crowded);
		(void) write_one(2);
		pause_ms(60);
	}
}

static void
most_have_no_room(void **state)
{
	uint64_t	last;
	int			leader;
	int			others[2];

	(void) state;
	world_begin(3, 81);
	last = write_one(0);
	await_agreement(last);
	leader = await_leader();
	others[0] = leader % 3 + 1;
	others[1] = others[0] % 3 + 1;

	/* One of three lags at most; of two it can do without neither. */
	replica_host_set_short(nodes[others[0]].host, true);
	stays(false);
	replica_host_set_short(nodes[others[1]].host, true);
	await_crowded(true);
	last = write_one(3);		/* what is proposed all the same is applied by everybody */
	await_agreement(last);
	replica_host_set_short(nodes[others[0]].host, false);
	await_crowded(false);

	/* The leader's own counts, too. */
	replica_host_set_short(nodes[leader].host, true);
	await_crowded(true);

	/* Who was short and has died says nothing any more. */
	node_stop(others[1], false);
	await_crowded(false);
	node_start(others[1]);
	node_open(others[1], NULL);
	last = write_one(4);
	await_agreement(last);
	world_end();
}

/* What both must have, one alone can refuse. */
static void
one_of_two_has_no_room(void **state)
{
	int			leader;

	(void) state;
	world_begin(2, 82);
	await_agreement(write_one(0));
	leader = await_leader();
	replica_host_set_short(nodes[3 - leader].host, true);
	await_crowded(true);
	replica_host_set_short(nodes[3 - leader].host, false);
	await_crowded(false);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(most_have_no_room, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(one_of_two_has_no_room, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_room", tests, NULL, NULL);
}
