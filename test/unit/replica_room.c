/*-------------------------------------------------------------------------
 *
 * replica_room.c
 *	  A leader hears which stores have no room left, and until when.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_clocks.h"
#include "replica_world.h"

#define LATE_US 100000			/* who is so late may pass for one that lags, or be replaced */

/* How often somebody has been late so far, and been elected. */
typedef struct Calm
{
	uint64_t	late;
	uint64_t	terms;
} Calm;

static Calm
calm(void)
{
	Calm		c = {0};

	for (int i = 1; i <= 3; i++)
	{
		ReplicaStatus status;

		if (!nodes[i].up)
			continue;
		replica_status(nodes[i].replica, &status);
		c.late += host_lateness(nodes[i].host, LATE_US);
		c.terms += status.term;
	}
	return c;
}

/* Those that are up are the same: has one stood still since? */
static bool
one_was_late(Calm since)
{
	for (int i = 1; i <= 3; i++)
		if (nodes[i].up)
			host_await_turns(nodes[i].host);
	return calm().late != since.late;
}

/* Whoever leads says so of the group, in the end, while some is written. */
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
		(void) write_one(1);
		pause_ms(20);
	}
}

/* While many notes would have come; once more if somebody stood still or was elected meanwhile. */
static void
stays(bool crowded)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	Calm		since = calm();

	for (int i = 0; i < 15; i++)
	{
		if (replica_is_crowded(nodes[await_leader()].replica) != crowded)
		{
			assert_true((one_was_late(since) || calm().terms != since.terms) && clock_now_us() < until);
			await_crowded(crowded);
			since = calm();
			i = 0;
		}
		(void) write_one(2);
		pause_ms(60);
	}
}

/* It is said with the next tick, and who hears of it looks with the next: no data comes in meanwhile. */
static void
tell_with_the_next_tick(int teller, int leader)
{
	ReplicaHost *from = nodes[teller].host;
	ReplicaHost *to = nodes[leader].host;
	bool		said = false;
	bool		crowded = false;
	uint32_t	set_tick;
	uint32_t	heard_tick = 0;

	pthread_mutex_lock(&from->step_lock);
	replica_host_set_short(from, true);
	set_tick = from->ticks;
	pthread_mutex_unlock(&from->step_lock);
	while (!said)
	{
		pthread_mutex_lock(&from->step_lock);
		said = from->said_short;
		assert_true(said || from->ticks == set_tick);
		pthread_mutex_unlock(&from->step_lock);
		pause_ms(1);
	}
	while (!crowded && leader_now() == leader)
	{
		pthread_mutex_lock(&to->step_lock);
		crowded = replica_is_crowded(nodes[leader].replica);
		if (to->nshort == 2 && heard_tick == 0)
			heard_tick = to->ticks;
		if (leader_now() == leader)
			assert_true(crowded || heard_tick == 0 || to->ticks == heard_tick);
		pthread_mutex_unlock(&to->step_lock);
		pause_ms(1);
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
	tell_with_the_next_tick(others[1], leader);
	await_crowded(true);
	last = write_one(3);		/* what is proposed all the same is applied by everybody */
	await_agreement(last);
	replica_host_set_short(nodes[others[0]].host, false);
	await_crowded(false);

	/* The leader's own counts, too, wherever it leads from then on. */
	replica_host_set_short(nodes[leader].host, true);
	await_crowded(true);

	/* Who was short and has died says nothing any more, and holds nothing either. */
	node_stop(others[1], false);
	for (int i = 0; i < 60; i++)
	{
		(void) write_one(4);
		pause_ms(60);
	}
	stays(true);
	node_start(others[1]);
	node_open(others[1], NULL);
	last = write_one(4);
	await_agreement(last);
	await_crowded(false);
	world_end();
}

/* Of three one is lost and one is short: what is written would fill that one's disk. */
static void
one_is_lost_and_one_has_no_room(void **state)
{
	uint64_t	last;
	int			leader;
	int			lost;

	(void) state;
	world_begin(3, 83);
	await_agreement(write_one(0));
	leader = await_leader();
	lost = leader % 3 + 1;
	replica_host_set_short(nodes[lost % 3 + 1].host, true);
	stays(false);
	node_stop(lost, false);
	await_crowded(true);
	stays(true);

	/* What makes room goes on, and all is well when it is back. */
	last = write_one(5);
	await_agreement(last);
	node_start(lost);
	node_open(lost, NULL);
	await_crowded(false);
	await_agreement(write_one(6));
	world_end();
}

/* Somebody else leads, in the end. */
static void
await_other_leader(int than)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			leader;

	while ((leader = leader_now()) == 0 || leader == than)
	{
		if (clock_now_us() > until)
			fail_msg("node %d leads for ever", than);
		pause_ms(5);
	}
}

/* All know of the two others that they are short. */
static void
await_all_short(void)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (int i = 1; i <= 3; i++)
	{
		ReplicaHost *host = nodes[i].host;
		size_t		known = 0;

		while (known < 2)
		{
			if (clock_now_us() > until)
				fail_msg("node %d knows of %zu others only", i, known);
			pause_ms(1);
			pthread_mutex_lock(&host->step_lock);
			known = host->nshort;
			pthread_mutex_unlock(&host->step_lock);
		}
	}
}

/* When it handed over last. */
static uint32_t
gave_tick(int number)
{
	ReplicaHost *host = nodes[number].host;
	uint32_t	tick;

	pthread_mutex_lock(&host->step_lock);
	tick = nodes[number].replica->gave_tick;
	pthread_mutex_unlock(&host->step_lock);
	return tick;
}

static void
who_has_no_room_hands_over(void **state)
{
	ReplicaHostFigures figures = {0};
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint32_t	gave[4];
	Calm		since;
	int			leader;

	(void) state;
	world_begin(3, 84);
	await_agreement(write_one(0));
	leader = await_leader();
	replica_host_set_short(nodes[leader].host, true);
	await_other_leader(leader);
	since = calm();
	for (int i = 0; i < 30; i++)
	{
		(void) write_one(2);
		/* Where others stand still it may be elected all the same. */
		if (leader_now() == leader)
		{
			assert_true(one_was_late(since) && clock_now_us() < until);
			await_other_leader(leader);
			since = calm();
			i = 0;
		}
		pause_ms(20);
	}
	stays(false);
	replica_host_set_short(nodes[leader].host, false);

	/* So does one whose group sleeps. */
	leader = await_leader();
	for (int i = 0; i < 2000 && figures.asleep == 0; i++)
	{
		pause_ms(20);
		replica_host_figures(nodes[leader].host, &figures);
	}
	assert_int_equal(figures.asleep, 1);
	replica_host_set_short(nodes[leader].host, true);
	await_other_leader(leader);
	await_agreement(write_one(3));

	/* Where nobody has room somebody leads all the same. */
	for (int i = 1; i <= 3; i++)
		replica_host_set_short(nodes[i].host, true);
	await_crowded(true);
	await_all_short();
	since = calm();
	for (int i = 1; i <= 3; i++)
		gave[i] = gave_tick(i);
	for (int i = 0; i < 20; i++)
	{
		(void) write_one(4);
		pause_ms(20);
	}
	for (int i = 1; i <= 3; i++)
		assert_true(gave_tick(i) == gave[i] || one_was_late(since));
	world_end();
}

/* Whom it has asked to lead in its place; 0: nobody yet. */
static uint64_t
gave_to(int number)
{
	ReplicaHost *host = nodes[number].host;
	uint64_t	to;

	pthread_mutex_lock(&host->step_lock);
	to = nodes[number].replica->gave_to;
	pthread_mutex_unlock(&host->step_lock);
	return to;
}

/* One whose state is being replaced votes, and has all there is, but is not asked to lead. */
static void
who_loads_is_no_heir(void **state)
{
	bool		told = false;

	(void) state;
	for (uint64_t seed = 85; seed < 95 && !told; seed++)
	{
		uint64_t	last = 0;
		uint64_t	asked = 0;
		Machine    *m;
		int			away;
		int			leader;
		int			other;

		log_bound = 16384;
		world_begin(3, seed);
		away = leave_behind(&last);
		m = &nodes[away].machine;
		m->hold_load = true;
		node_start(away);
		node_open(away, NULL);
		pthread_mutex_lock(&m->lock);
		while (!m->loading)
			pthread_cond_wait(&m->changed, &m->lock);
		pthread_mutex_unlock(&m->lock);
		for (int i = 0; i < 50; i++)
		{
			last = write_one(1);
			pause_ms(20);
		}
		leader = await_leader();
		other = 6 - leader - away;
		replica_host_set_short(nodes[leader].host, true);
		while (leader_now() == leader && asked == 0)
			asked = gave_to(leader);
		await_other_leader(leader);
		asked = gave_to(leader);
		/* Or another was elected before it asked, since it stood still. */
		assert_true(asked == 0 || asked == (uint64_t) other * 10);
		assert_int_not_equal(await_leader(), away);
		told = asked != 0 && away < other;	/* else it would not have been asked first */
		machine_go_on(m);
		await_agreement(last);
		world_end();
		(void) scratch_remove(state);
		assert_int_equal(scratch_make(state), 0);
	}
	assert_true(told);
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
		cmocka_unit_test_setup_teardown(one_is_lost_and_one_has_no_room, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(who_has_no_room_hands_over, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(who_loads_is_no_heir, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_room", tests, NULL, NULL);
}
