/*-------------------------------------------------------------------------
 *
 * replica_staged.c
 *	  What becomes of a snapshot that has come: it is installed, or let go of.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "replica_world.h"

#define ALL 1000

/* Give a node a snapshot of another's state, as its leader would, but no more than so many chunks. */
static void
stage_by_hand(int from, int to, uint64_t stream, uint32_t nchunks)
{
	Machine    *m = &nodes[from].machine;
	RaftSnapshot snapshot;
	RaftMessage message;
	ReplicaStatus leader;
	WireChunkResult result;
	uint8_t		bytes[16];
	uint8_t		encoded[4096];

	replica_status(nodes[from].replica, &leader);
	pthread_mutex_lock(&m->lock);
	put_le64(bytes, m->applied);
	put_le64(bytes + 8, m->state);
	pthread_mutex_unlock(&m->lock);
	memset(&snapshot, 0, sizeof(snapshot));
	snapshot.index = get_le64(bytes);
	snapshot.term = leader.term;
	snapshot.conf = conf_of(3);
	snapshot.id = stream;
	memset(&message, 0, sizeof(message));
	message.type = RAFT_SNAP;
	message.group = GROUP;
	message.from = (uint64_t) from * 10;
	message.to = (uint64_t) to * 10;
	message.term = leader.term;
	message.index = snapshot.index;
	message.log_term = snapshot.term;
	message.snapshot = &snapshot;
	assert_true(raft_message_size(&message) <= sizeof(encoded));
	raft_message_encode(&message, encoded);
	for (uint32_t i = 0; i < nchunks && i < sizeof(bytes); i++)
	{
		WireChunk	chunk = {.group = GROUP, .to = message.to, .stream = stream, .seq = i};

		chunk.data = bytes_of(bytes + i, 1);
		chunk.last = i + 1 == sizeof(bytes);
		if (chunk.last)
			chunk.message = bytes_of(encoded, raft_message_size(&message));
		replica_stage(nodes[to].replica, &chunk, &result);
		assert_int_equal(result.status, VT_OK);
		assert_int_equal(result.next, i + 1);
	}
}

/* Closed while the log's new base is on its way to the disk: the next life installs. */
static void
closed_before_it_is_installed(void **state)
{
	uint64_t	last = 0;
	int			leader;
	int			away;

	(void) state;
	world_begin(3, 9);
	for (uint64_t round = 1; round <= 10; round++)
	{
		Machine    *m;

		last = write_one(0);
		await_agreement(last);
		leader = await_leader();
		away = leader % 3 + 1;
		m = &nodes[away].machine;
		pthread_mutex_lock(&net.lock);
		for (int i = 1; i <= 3; i++)
			net.cut[away][i] = net.cut[i][away] = true;
		pthread_mutex_unlock(&net.lock);
		for (uint32_t i = 0; i < 5; i++)
			last = write_one(i);
		stage_by_hand(await_leader(), away, round, ALL);
		node_down(away);
		replica_close(nodes[away].replica);
		pthread_mutex_lock(&m->lock);
		m->closed = true;
		pthread_mutex_unlock(&m->lock);
		replica_host_stop(nodes[away].host);
		store_close(nodes[away].log);
		node_start(away);
		node_open(away, NULL);
		pthread_mutex_lock(&net.lock);
		memset(net.cut, 0, sizeof(net.cut));
		pthread_mutex_unlock(&net.lock);
		last = write_one(1);
		await_agreement(last);
	}
	world_end();
}

static uint64_t
unstaged(int number)
{
	Machine    *m = &nodes[number].machine;
	uint64_t	n;

	pthread_mutex_lock(&m->lock);
	n = m->unstaged;
	pthread_mutex_unlock(&m->lock);
	return n;
}

static void
await_unstaged(int number, uint64_t n)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (unstaged(number) < n)
	{
		if (clock_now_us() > until)
			fail_msg("what was staged stays, though nobody will install it");
		pause_ms(1);
	}
	assert_int_equal(unstaged(number), n);
}

/* The log has caught up while it was on its way. */
static void
one_that_is_not_wanted_goes(void **state)
{
	uint64_t	last;
	int			leader;
	int			follower;

	(void) state;
	world_begin(3, 71);
	last = write_one(0);
	await_agreement(last);
	leader = await_leader();
	follower = leader % 3 + 1;
	for (uint64_t stream = 1; stream <= 3; stream++)
	{
		stage_by_hand(leader, follower, stream, ALL);
		await_unstaged(follower, stream);
	}
	assert_int_equal(nodes[follower].machine.installs, 0);
	last = write_one(1);
	await_agreement(last);
	world_end();
}

/* What the host does from time to time, now. */
static void
look_at_staged(int number)
{
	ReplicaHost *host = nodes[number].host;

	pthread_mutex_lock(&host->step_lock);
	snapshot_look_at_staged(host);
	pthread_mutex_unlock(&host->step_lock);
}

/* Its sender has died in the middle. */
static void
half_of_one_goes(void **state)
{
	uint64_t	last;
	int			leader;
	int			follower;

	(void) state;
	world_begin(3, 72);
	last = write_one(0);
	await_agreement(last);
	leader = await_leader();
	follower = leader % 3 + 1;
	stage_by_hand(leader, follower, 1, 5);
	look_at_staged(follower);
	stage_by_hand(leader, follower, 2, 5);
	look_at_staged(follower);
	assert_int_equal(unstaged(follower), 0);
	look_at_staged(follower);
	await_unstaged(follower, 1);

	/* There is no room for it. */
	stage_by_hand(leader, follower, 3, 5);
	replica_unstage(nodes[follower].replica);
	await_unstaged(follower, 2);
	look_at_staged(follower);
	look_at_staged(follower);
	last = write_one(1);
	await_agreement(last);
	assert_int_equal(unstaged(follower), 2);
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(closed_before_it_is_installed, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(one_that_is_not_wanted_goes, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(half_of_one_goes, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_staged", tests, NULL, NULL);
}
