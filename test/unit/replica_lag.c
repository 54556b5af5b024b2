/*-------------------------------------------------------------------------
 *
 * replica_lag.c
 *	  Whose leader holds writers back, since most of its copies have too much to apply:
 *	  not for one of three, whether it is slow or lost, for two of them and for the
 *	  leader itself, and until they have applied it, for which nobody has to write.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "replica_still.h"

#define LAG 100					/* entries; a third of what write_many() writes */

/* What a leader sees, at one moment. */
typedef struct Seen
{
	bool		leads;
	bool		lagging;
	uint64_t	term;
	uint64_t	last;
	uint64_t	commit;
	uint64_t	applied[NODES + 1]; /* 0: not known */
} Seen;

static Seen
see(int leader)
{
	ReplicaHost *host = nodes[leader].host;
	Replica    *replica = nodes[leader].replica;
	Seen		seen = {0};
	RaftStatus	status;

	pthread_mutex_lock(&host->step_lock);
	raft_get_status(replica->raft, &status);
	seen.leads = status.role == RAFT_LEADER && atomic_load(&replica->serving_from) != 0;
	if (seen.leads)
		lag_look(replica, false);
	seen.lagging = replica_lags(replica);
	seen.term = status.term;
	seen.last = status.last;
	seen.commit = status.commit;
	for (int i = 1; i <= 3; i++)
	{
		RaftPeer	peer;

		if (i == leader)
			seen.applied[i] = status.applied;
		else if (raft_get_peer(replica->raft, (uint64_t) i * 10, &peer))
			seen.applied[i] = peer.applied;
	}
	pthread_mutex_unlock(&host->step_lock);
	return seen;
}

/*
 * Its leader knows that these lag and that the others do not, and what follows from that it
 * does.  numbers: a bit for each node that lags.
 */
static void
await_lags(unsigned numbers, bool lagging)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		int			leader = await_moving_leader();
		Seen		seen = see(leader);
		bool		known = seen.leads;

		for (int i = 1; i <= 3; i++)
			known &= (seen.applied[i] != 0 || !nodes[i].up) && (seen.commit > seen.applied[i] + LAG) == ((numbers >> i & 1) != 0);
		if (known)
		{
			assert_int_equal(seen.lagging, lagging);
			return;
		}
		if (clock_now_us() > until)
			fail_msg("what the leader knows is something else");
		pause_ms(1);
	}
}

/* It has applied that much, and no more from now on. */
static void
hold_at(int number, uint64_t index)
{
	Machine    *m = &nodes[number].machine;
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	applied;

	do
	{
		pthread_mutex_lock(&m->lock);
		applied = m->applied;
		pthread_mutex_unlock(&m->lock);
		if (clock_now_us() > until)
			fail_msg("node %d stands at %llu", number, (unsigned long long) applied);
		pause_ms(1);
	} while (applied < index);
	hold_apply(number, true);
}

/* It comes to that by itself, with the ticks. */
static void
await_lagging(bool lagging)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (replica_lags(nodes[await_moving_leader()].replica) != lagging)
	{
		if (clock_now_us() > until)
			fail_msg("writers are %sheld back", lagging ? "not " : "");
		pause_ms(5);
	}
}

/* Who lags gets on, and nobody writes meanwhile: the leader takes writes again. */
static void
nobody_writes_until(int goes_on)
{
	Seen		before = see(await_moving_leader());
	Seen		after;

	hold_apply(goes_on, false);
	await_lagging(false);
	after = see(await_moving_leader());
	if (before.leads && after.leads && after.term == before.term)
		assert_int_equal(after.last, before.last);
}

/* Three, and two of them that follow.  Who leads. */
static int
begin(uint64_t seed, int *first, int *second)
{
	int			leader;

	world_begin(3, seed);
	await_agreement(write_one(0));
	leader = await_leader();
	*first = leader % 3 + 1;
	*second = *first % 3 + 1;
	return leader;
}

static void
one_of_three_and_two(void **state)
{
	uint64_t	last;
	int			first;
	int			second;

	(void) state;
	lag_entries = LAG;
	(void) begin(91, &first, &second);
	hold_apply(first, true);
	last = write_many();
	await_lags(1u << first, false);

	/* Not for the other one either, as long as it has little to apply. */
	hold_at(second, last);
	(void) write_beside(1);
	await_lags(1u << first, false);
	(void) write_many();
	await_lags(1u << first | 1u << second, true);
	await_lagging(true);
	nobody_writes_until(second);
	await_lags(1u << first, false);
	hold_apply(first, false);
	last = write_one(2);
	await_agreement(last);
	await_lags(0, false);
	world_end();
}

/* The lost one lags with whoever else does, and holds back nobody alone. */
static void
one_is_lost(void **state)
{
	uint64_t	last;
	int			first;
	int			second;

	(void) state;
	lag_entries = LAG;
	(void) begin(92, &first, &second);
	node_stop(first, false);
	(void) write_many();
	await_lags(1u << first, false);
	hold_apply(second, true);
	(void) write_many();
	await_lagging(true);
	nobody_writes_until(second);
	last = write_one(1);
	node_start(first);
	node_open(first, NULL);
	await_agreement(last);
	await_lags(0, false);
	world_end();
}

/* Lost before this leader was elected: it has never said a word, and counts as well. */
static void
one_was_lost_before(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	term;
	int			leader;
	int			first;
	int			second;

	(void) state;
	lag_entries = LAG;
	leader = begin(93, &first, &second);
	node_stop(first, false);
	term = see(leader).term;
	while (see(leader = await_leader()).term == term)
	{
		Question	q = QUESTION;

		if (clock_now_us() > until)
			fail_msg("leadership stays");
		replica_transfer(nodes[leader].replica, (uint64_t) (6 - first - leader) * 10, on_done, &q);
		(void) await(&q);
		pause_ms(20);
	}
	hold_apply(6 - first - leader, true);
	(void) write_many();
	await_lagging(true);
	nobody_writes_until(6 - first - leader);
	(void) write_one(1);
	world_end();
}

static uint32_t answered;
static pthread_mutex_t answered_lock = PTHREAD_MUTEX_INITIALIZER;

static void
on_answered(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	(void) arg;
	(void) status;
	(void) index;
	(void) reply;
	pthread_mutex_lock(&answered_lock);
	answered++;
	pthread_mutex_unlock(&answered_lock);
}

static void
await_answered(uint32_t n)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint32_t	now;

	do
	{
		pthread_mutex_lock(&answered_lock);
		now = answered;
		pthread_mutex_unlock(&answered_lock);
		if (clock_now_us() > until)
			fail_msg("%u of %u are answered", now, n);
		pause_ms(1);
	} while (now < n);
}

/* Does it lead on until it knows that it alone lags?  False: it is no longer the leader. */
static bool
leads_and_lags(int leader)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	Seen		seen;
	bool		alone;

	do
	{
		if (clock_now_us() > until)
			fail_msg("the others do not get on");
		pause_ms(1);
		seen = see(leader);
		alone = seen.commit > seen.applied[leader] + LAG;
		for (int i = 1; i <= 3; i++)
			alone &= i == leader || (seen.applied[i] != 0 && seen.commit <= seen.applied[i] + LAG);
	} while (seen.leads && !alone);
	if (seen.leads)
		assert_true(seen.lagging);
	return seen.leads;
}

/* What it acknowledges it has applied, so the others are of no use to writers. */
static void
the_leader_itself(void **state)
{
	bool		seen = false;
	uint32_t	asked = 0;
	uint64_t	last;
	int			first;
	int			second;

	(void) state;
	lag_entries = LAG;
	(void) begin(94, &first, &second);
	for (int round = 0; round < 20 && !seen; round++)
	{
		int			leader = await_leader();

		hold_apply(leader, true);
		for (uint32_t i = 0; i < 2 * LAG; i++, asked++)
			replica_propose(nodes[leader].replica, bytes_str("x"), on_answered, NULL);
		seen = leads_and_lags(leader);
		hold_apply(leader, false);
		await_answered(asked);
	}
	assert_true(seen);
	await_lagging(false);
	last = write_one(1);
	await_agreement(last);
	world_end();
}

/* By bytes: the mean of what the log has, 8 KiB each. */
static void
large_ones(void **state)
{
	int			first;
	int			second;

	(void) state;
	lag_bytes = LAG * WRITE_BYTES;
	checkpoint_bytes = 64 << 20;
	(void) begin(95, &first, &second);
	hold_apply(first, true);
	(void) write_many();
	await_lags(1u << first, false);
	hold_apply(second, true);
	(void) write_many();
	await_lags(1u << first | 1u << second, true);
	await_lagging(true);
	nobody_writes_until(first);
	hold_apply(second, false);
	world_end();
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(one_of_three_and_two),
		TEST(one_is_lost),
		TEST(one_was_lost_before),
		TEST(the_leader_itself),
		TEST(large_ones),
	};

	return cmocka_run_group_tests_name("replica_lag", tests, NULL, NULL);
}
