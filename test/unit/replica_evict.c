/*-------------------------------------------------------------------------
 *
 * replica_evict.c
 *	  A machine that does not get on, while the others go on writing: what it has
 *	  still to apply is on disk, and only a bounded part of it in memory.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "replica_still.h"

#define BOUND (256u << 10)

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

		replica_members(nodes[await_moving_leader()].replica, &members);
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
	last = write_many();
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
	last = write_many();
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
