/*-------------------------------------------------------------------------
 *
 * replica_frames.c
 *	  Heartbeats of all groups of two stores, and their answers, travel together: what
 *	  leaves a host in a tick is a frame for each peer, however many groups there are.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_groups.h"

#define GROUPS 120
#define TICKS 10				/* for so long frames are counted */
#define MANY 4					/* times as many heartbeats as frames they may travel in: nobody sleeps */

typedef struct Counts
{
	uint64_t	beats;			/* heartbeats of groups */
	uint64_t	beat_frames[NODES + 1]; /* frames with such, of a host */
	uint64_t	beat_frames_to[NODES + 1];	/* and to one */
	uint64_t	answer_frames[NODES + 1];	/* with answers to them and no more, of a host */
} Counts;

static Counts counts;			/* net_lock */

static void
count_frame(int from, int to, Bytes frame)
{
	const RaftAllocator *allocator = &nodes[from].host->allocator;
	WireRaft	raft;
	RaftMessage message;
	Bytes		bytes;
	size_t		at = 0;
	uint64_t	beats = 0;
	bool		answers = false;

	if (wire_raft_get(frame, &raft) != VT_OK)
		return;
	while (wire_raft_next(&raft, &at, &bytes))
	{
		if (raft_message_decode(bytes, allocator, &message) != VT_OK)
			continue;			/* a note */

		/* A quiet one says that something was committed, and waits for no tick. */
		beats += message.type == RAFT_HEARTBEAT && (message.flags & RAFT_FLAG_QUIET) == 0;
		answers |= message.type == RAFT_HEARTBEAT_RESP;
		raft_message_free(&message, allocator);
	}
	counts.beats += beats;
	counts.beat_frames[from] += beats > 0;
	counts.beat_frames_to[to] += beats > 0;
	counts.answer_frames[from] += answers && beats == 0;
}

static Counts
counts_now(void)
{
	Counts		now;

	pthread_mutex_lock(&net_lock);
	now = counts;
	pthread_mutex_unlock(&net_lock);
	return now;
}

/*
 * For some ticks of each host.  One may be in the middle of a tick when that begins, and who
 * is slow has fewer ticks.  False: too few groups had a leader to say anything of many.
 */
static bool
many_share_a_frame(int64_t until)
{
	uint64_t	ticks[NODES + 1];
	uint64_t	allowed = 0;
	Counts		before;
	Counts		after;

	for (int i = 1; i <= NODES; i++)
		ticks[i] = host_ticks(nodes[i].host);
	before = counts_now();
	for (int i = 1; i <= NODES; i++)
		while (host_ticks(nodes[i].host) < ticks[i] + TICKS)
		{
			if (clock_now_us() > until)
				fail_msg("time stands still for node %d", i);
			pause_ms(1);
		}
	after = counts_now();
	for (int i = 1; i <= NODES; i++)
	{
		uint64_t	most = (NODES - 1) * (host_ticks(nodes[i].host) - ticks[i] + 1);

		assert_in_range(after.beat_frames[i] - before.beat_frames[i], 0, most);
		assert_in_range(after.answer_frames[i], 0, after.beat_frames_to[i]);
		allowed += most;
	}
	return after.beats - before.beats >= MANY * allowed;
}

static void
heartbeats_share_frames(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	(void) state;
	tick_ms = 50;
	look_at = count_frame;

	/* Of no group all have applied all, so none falls asleep. */
	atomic_store(&nodes[NODES].shut, true);
	begin(GROUPS);
	while (!many_share_a_frame(until))
		if (clock_now_us() > until)
			fail_msg("hardly any group is led");
	atomic_store(&nodes[NODES].shut, false);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(heartbeats_share_frames, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("replica_frames", tests, NULL, NULL);
}
