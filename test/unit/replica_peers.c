/*-------------------------------------------------------------------------
 *
 * replica_peers.c
 *	  Whatever the network does and whoever dies: what was acknowledged is on
 *	  whoever leads afterwards, and all machines end with the same history.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_world.h"

/* -- Stories --------------------------------------------------------------- */

/* What it says to a write, or a read. */
static Question
asked(int number, bool write)
{
	Question	q = QUESTION;

	if (write)
		replica_propose(nodes[number].replica, bytes_str("x"), on_done, &q);
	else
		replica_read(nodes[number].replica, on_done, &q);
	(void) await(&q);
	return q;
}

/* A follower takes no writes and no reads.  False: another was elected meanwhile. */
static bool
who_leads_alone_answers(uint64_t last)
{
	int			leader = await_leader();
	int			follower = leader % 3 + 1;
	uint64_t	term = term_now();
	Question	write = asked(follower, true);
	Question	read = asked(follower, false);
	Question	led = asked(leader, false);

	if (await_leader() != leader || term_now() != term)
		return false;
	assert_int_equal(write.status, VT_NOT_LEADER);
	assert_int_equal(read.status, VT_NOT_LEADER);
	assert_int_equal(led.status, VT_OK);
	assert_true(led.index >= last);
	return true;
}

static void
three_agree(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	last = 0;
	uint64_t	led = 0;

	(void) state;
	world_begin(3, 1);
	for (uint32_t i = 0; i < 200; i++)
		last = write_one(i);
	await_agreement(last);

	/* Who proposed a command is told so, the others are not. */
	for (int i = 1; i <= 3; i++)
	{
		pthread_mutex_lock(&nodes[i].machine.lock);
		led += nodes[i].machine.led;
		pthread_mutex_unlock(&nodes[i].machine.lock);
	}
	assert_in_range(led, 1, last);
	while (!who_leads_alone_answers(last))
		assert_true(clock_now_us() < until);
	world_end();
}

/* The leader is cut off: another takes over, and it learns what it missed. */
static void
a_leader_cut_off(void **state)
{
	uint64_t	last = 0;

	(void) state;
	world_begin(3, 2);
	for (int round = 0; round < 3; round++)
	{
		int			old;
		int64_t		until = clock_now_us() + PATIENCE_US;

		last = write_one(100);
		old = await_leader();
		pthread_mutex_lock(&net.lock);
		for (int i = 1; i <= 3; i++)
			net.cut[old][i] = net.cut[i][old] = true;
		pthread_mutex_unlock(&net.lock);
		while (await_leader() == old && clock_now_us() < until)
			pause_ms(5);
		assert_int_not_equal(await_leader(), old);
		for (uint32_t i = 0; i < 20; i++)
			last = write_one(i);
		pthread_mutex_lock(&net.lock);
		memset(net.cut, 0, sizeof(net.cut));
		pthread_mutex_unlock(&net.lock);
		await_agreement(last);
	}
	world_end();
}

/* A follower that was away for long gets a snapshot, over a network that loses. */
static void
a_snapshot_for_one_that_was_away(void **state)
{
	uint64_t	last = 0;
	uint64_t	was;
	int			away;

	(void) state;
	log_bound = 16384;
	world_begin(3, 3);
	last = write_one(0);
	await_agreement(last);
	away = await_leader() % 3 + 1;
	node_stop(away, true);
	was = last;

	/* More than is kept for those who lag. */
	for (uint32_t i = 0; i < 400; i++)
		last = write_one(i);
	for (int i = 1; i <= 3; i++)
		if (nodes[i].up)
			await_base(i, was);
	atomic_store(&net.loss, 10);
	node_start(away);
	node_open(away, NULL);
	await_agreement(last);
	assert_true(nodes[away].machine.installs > 0);
	assert_true(atomic_load(&net.chunks) >= 16);
	atomic_store(&net.loss, 0);

	/* And it goes on from there after a new start, whatever it lost. */
	node_stop(away, true);
	last = write_one(7);
	node_start(away);
	node_open(away, NULL);
	last = write_one(8);
	await_agreement(last);
	world_end();
}

/* Whoever follows forgets its log, too, nobody asking, but not to the very end. */
static void
a_follower_forgets(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	last = 0;

	(void) state;
	world_begin(3, 7);
	for (uint32_t i = 0; i < 200; i++)
		last = write_one(i);
	await_agreement(last);
	for (int i = 1; i <= 3; i++)
	{
		RaftSnapshot base = {0};
		ReplicaStatus status;
		VtError		err = {0};

		/* Where one checkpoint came so late that it stands at the end, the next has to come. */
		for (uint32_t k = 1; base.index == 0; k++)
		{
			if (clock_now_us() > until)
				fail_msg("node %d keeps its log for ever", i);
			assert_int_equal(replica_stored_base(nodes[i].host, GROUP, &base, &err), VT_OK);
			pause_ms(5);
			if (k % 20 == 0)
				(void) write_one(k);
		}
		replica_status(nodes[i].replica, &status);
		assert_true(base.index < status.last);
	}
	world_end();
}

static void
change_to(const RaftConf *target)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		Question	q = QUESTION;
		ReplicaMembers members;
		Replica    *leader = nodes[await_leader()].replica;

		replica_members(leader, &members);
		replica_change(leader, target, members.conf_index, on_done, &q);
		if (await(&q) == VT_OK)
			return;
		if (clock_now_us() > until)
			fail_msg("change: %s", vt_status_words(q.status));
		pause_ms(5);
	}
}

/* A fourth joins, which has nothing; the log reaches back. */
static void
joins_with_nothing(uint64_t snapshot_first_bytes, uint64_t installs)
{
	RaftConf	target = conf_of(4);
	uint64_t	last = 0;
	uint64_t	term;
	RaftSnapshot base = {0};
	VtError		err = {0};

	checkpoint_bytes = 1 << 20;
	snapshot_first = snapshot_first_bytes;
	world_begin(3, 4);
	for (uint32_t i = 0; i < 100; i++)
		last = write_one(i);
	term = term_now();
	assert_int_equal(replica_stored_base(nodes[await_leader()].host, GROUP, &base, &err), VT_OK);
	assert_int_equal(base.index, 0);
	node_start(4);
	node_open(4, NULL);
	target.members[3].roles = RAFT_LEARNER;
	change_to(&target);
	await_agreement(last);
	if (term_now() == term)		/* or who was elected meanwhile may send another one */
		assert_int_equal(nodes[4].machine.installs, installs);

	/* What comes then is replicated. */
	last = write_one(1);
	await_agreement(last);
	if (term_now() == term)
		assert_int_equal(nodes[4].machine.installs, installs);
	assert_true((nodes[4].machine.installs > 0) == (installs > 0));
	world_end();
}

static void
a_short_log_for_who_has_nothing(void **state)
{
	(void) state;
	joins_with_nothing(0, 0);
}

static void
a_snapshot_for_who_has_nothing(void **state)
{
	(void) state;
	joins_with_nothing(1000, 1);
}

/* A fourth joins as a learner, becomes a voter, and takes the place of the first. */
static void
one_joins_and_one_leaves(void **state)
{
	RaftConf	target = conf_of(4);
	uint64_t	last = 0;
	int64_t		until = clock_now_us() + PATIENCE_US;
	ReplicaMembers members;
	VtError		err = {0};

	(void) state;
	world_begin(3, 4);
	for (uint32_t i = 0; i < 100; i++)
		last = write_one(i);
	node_start(4);
	node_open(4, NULL);
	target.members[3].roles = RAFT_LEARNER;
	change_to(&target);
	await_agreement(last);
	target.members[3].roles = RAFT_VOTER;
	change_to(&target);
	last = write_one(1);

	/* Without the first, leading or not. */
	target.members[0] = target.members[1];
	target.members[1] = target.members[2];
	target.members[2] = target.members[3];
	target.n = 3;
	change_to(&target);
	last = write_one(2);
	do
	{
		replica_members(nodes[await_leader()].replica, &members);
		if (clock_now_us() > until)
			fail_msg("the change does not end");
		pause_ms(5);
	} while (members.n != 3 || members.joint);
	assert_int_equal(replica_destroy(nodes[1].replica, &err), VT_OK);
	node_down(1);
	replica_host_stop(nodes[1].host);
	store_close(nodes[1].log);
	last = write_one(3);
	await_agreement(last);
	world_end();
}

/* Writers go on while nodes come and go and the network loses. */
static void
come_and_go(void **state)
{
	Prng		prng = {5};
	uint64_t	last = 0;

	(void) state;
	world_begin(3, 5);
	for (uint32_t round = 0; round < 6; round++)
	{
		int			victim = 1 + (int) prng_below(&prng, 3);

		atomic_store(&net.loss, prng_below(&prng, 20));
		for (uint32_t i = 0; i < 15; i++)
			last = write_one(round * 100 + i);
		node_stop(victim, prng_below(&prng, 2));
		for (uint32_t i = 0; i < 15; i++)
			last = write_one(round * 100 + 50 + i);
		if (prng_below(&prng, 3) == 0)
			for (int i = 1; i <= 3; i++)
				if (nodes[i].up)
					replica_checkpoint(nodes[i].replica);
		node_start(victim);
		node_open(victim, NULL);
	}
	atomic_store(&net.loss, 0);
	last = write_one(1);
	await_agreement(last);
	world_end();
}

/* Told that the leader's node is dead, the others do not wait for their timeouts. */
static void
a_death_is_told(void **state)
{
	uint64_t	last;
	int			old;

	(void) state;
	world_begin(3, 6);
	last = write_one(0);
	await_agreement(last);
	old = await_leader();
	node_stop(old, false);
	for (int i = 1; i <= 3; i++)
		if (nodes[i].up)
			replica_host_node_down(nodes[i].host, (uint64_t) old);
	last = write_one(1);
	await_agreement(last);

	/* Told to one long before the other, and twice; and to one only. */
	for (int round = 0; round < 3; round++)
	{
		node_start(old);
		node_open(old, NULL);
		await_agreement(last);
		old = await_leader();
		node_stop(old, false);
		for (int i = 1; i <= 3; i++)
			if (nodes[i].up)
			{
				replica_host_node_down(nodes[i].host, (uint64_t) old);
				usleep(150000);
				replica_host_node_down(nodes[i].host, (uint64_t) old);
				if (round == 2)
					break;
			}
		last = write_one(2 + (uint32_t) round);
		await_agreement(last);
	}
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(three_agree, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_leader_cut_off, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_snapshot_for_one_that_was_away, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_follower_forgets, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_short_log_for_who_has_nothing, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_snapshot_for_who_has_nothing, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(one_joins_and_one_leaves, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(come_and_go, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_death_is_told, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_peers", tests, NULL, NULL);
}
