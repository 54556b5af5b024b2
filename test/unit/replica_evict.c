/*-------------------------------------------------------------------------
 *
 * replica_evict.c
 *	  A machine that does not get on, while the others go on writing: what it has
 *	  still to apply is on disk, and only a bounded part of it in memory.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "replica_world.h"

#define BOUND (256u << 10)
#define WRITES 300
#define WRITE_BYTES 8192

/* Whose machine stands still serves nobody: if it was elected, on a busy machine, it hands over. */
static int
await_another(int still)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			leader;

	while ((leader = leader_now()) == 0 || leader == still)
	{
		ReplicaStatus status;
		Question	q = QUESTION;

		if (clock_now_us() > until)
			fail_msg("nobody else leads");
		replica_status(nodes[still].replica, &status);
		for (int i = 1; status.leader && i <= 3; i++)
			if (i != still && nodes[i].up)
			{
				replica_transfer(nodes[still].replica, (uint64_t) i * 10, on_done, &q);
				(void) await(&q);
				break;
			}
		pause_ms(5);
	}
	return leader;
}

/* Write many at once and wait for all; the index of the last.  All of it once more if leadership moved. */
static uint64_t
write_many(int still)
{
	static Question questions[WRITES];
	static uint8_t bytes[WRITE_BYTES];
	uint64_t	last = 0;
	uint32_t	done = 0;
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (done < WRITES)
	{
		int			leader = await_another(still);

		if (clock_now_us() > until)
			fail_msg("the writes do not end");
		done = 0;
		for (uint32_t i = 0; i < WRITES; i++)
		{
			questions[i] = (Question) QUESTION;
			put_le32(bytes, i);
			put_le64(bytes + WRITE_BYTES - 8, prng_mix(i));
			replica_propose(nodes[leader].replica, bytes_of(bytes, sizeof(bytes)), on_done, &questions[i]);
		}
		for (uint32_t i = 0; i < WRITES; i++)
			if (await(&questions[i]) == VT_OK)
			{
				done++;
				last = questions[i].index > last ? questions[i].index : last;
			}
	}
	return last;
}

static void
hold_apply(int number, bool hold)
{
	Machine    *m = &nodes[number].machine;

	if (!hold)
	{
		machine_go_on(m);
		return;
	}
	pthread_mutex_lock(&m->lock);
	m->hold_apply = true;
	pthread_mutex_unlock(&m->lock);
}

/* It has all of the log. */
static void
await_log(int number, uint64_t last)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	ReplicaStatus status = {0};

	while (status.last < last)
	{
		if (clock_now_us() > until)
			fail_msg("node %d has the log up to %llu only", number, (unsigned long long) status.last);
		pause_ms(1);
		replica_status(nodes[number].replica, &status);
	}
}

/* Payloads in the log and before the apply threads; those of both are counted twice. */
static uint64_t
held_bytes(int number)
{
	Replica    *replica = nodes[number].replica;
	ReplicaHostFigures figures;
	uint64_t	bytes = 0;

	replica_host_figures(nodes[number].host, &figures);
	pthread_mutex_lock(&replica->lock);
	for (const ApplyItem *item = replica->items; item; item = item->next)
		bytes += item->data ? item->data->len : 0;
	pthread_mutex_unlock(&replica->lock);
	return figures.resident_bytes + bytes;
}

/* Its leader knows that it has all of the log, and that it has applied it, or has not. */
static void
await_known(int number, uint64_t last, bool applied)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		ReplicaMembers members;

		replica_members(nodes[await_leader()].replica, &members);
		for (uint32_t i = 0; i < members.n; i++)
		{
			const ReplicaMember *m = &members.members[i];

			if (m->member.id == (uint64_t) number * 10 && m->match >= last &&
				(applied ? m->applied >= last : m->applied > 0 && m->applied < last - WRITES / 2))
				return;
		}
		if (clock_now_us() > until)
			fail_msg("what node %d has applied is not known", number);
		pause_ms(1);
	}
}

static void
expect_bounded(int number)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	ReplicaHostFigures figures;

	replica_host_figures(nodes[number].host, &figures);
	assert_true(figures.log_bytes > WRITES * WRITE_BYTES / 2);
	while (held_bytes(number) > 2 * BOUND)
	{
		if (clock_now_us() > until)
			fail_msg("node %d keeps %llu bytes in memory", number, (unsigned long long) held_bytes(number));
		pause_ms(1);
	}
}

static int
follower_of(int leader)
{
	return leader % 3 + 1;
}

static void
begin(uint64_t seed)
{
	resident_bound = BOUND;
	world_begin(3, seed);
	await_agreement(write_one(0));
}

/* It has the log and stood still meanwhile: what is applied in the end is all of it, in order.  The last index. */
static uint64_t
go_on(int still)
{
	uint64_t	last;

	expect_bounded(still);
	hold_apply(still, false);
	last = write_one(1);
	await_agreement(last);
	return last;
}

/* It applies all of it in the end, in order, and the log is read for that. */
static void
a_machine_stands_still(void **state)
{
	uint64_t	last;
	int			still;

	(void) state;
	begin(31);
	still = follower_of(await_leader());
	hold_apply(still, true);
	last = write_many(still);
	await_log(still, last);
	await_known(still, last, false);
	last = go_on(still);
	for (int i = 1; i <= 3; i++)
		await_known(i, last, true);
	world_end();
}

/* Who has it in its log alone leads, and sends it to one that has nothing of it. */
static void
it_leads_and_sends(void **state)
{
	uint64_t	last;
	int			leader;
	int			still;
	int			away;

	(void) state;
	begin(32);
	leader = await_leader();
	still = follower_of(leader);
	away = follower_of(still);
	node_stop(away, false);
	hold_apply(still, true);
	last = write_many(still);
	await_log(still, last);
	node_stop(leader, false);
	node_start(away);
	node_open(away, NULL);
	await_log(away, last);
	(void) go_on(still);
	world_end();
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_machine_stands_still),
		TEST(it_leads_and_sends),
	};

	return cmocka_run_group_tests_name("replica_evict", tests, NULL, NULL);
}
