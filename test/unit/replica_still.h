/*-------------------------------------------------------------------------
 *
 * replica_still.h
 *	  Machines of the world's that stand still: their replicas take entries and apply
 *	  none.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_REPLICA_STILL_H
#define TEST_REPLICA_STILL_H

#include "replica_world.h"

#define WRITES 300
#define WRITE_BYTES 8192

static bool
stands_still(int number)
{
	Machine    *m = &nodes[number].machine;
	bool		still;

	pthread_mutex_lock(&m->lock);
	still = m->hold_apply;
	pthread_mutex_unlock(&m->lock);
	return still;
}

static inline void
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

/* Whose machine stands still serves nobody: if it was elected, on a busy machine, it hands over. */
static void
hand_over(int still)
{
	ReplicaStatus status;
	Question	q = QUESTION;

	replica_status(nodes[still].replica, &status);
	for (int i = 1; status.leader && i <= 3; i++)
		if (nodes[i].up && !stands_still(i))
		{
			replica_transfer(nodes[still].replica, (uint64_t) i * 10, on_done, &q);
			(void) await(&q);
			return;
		}
}

static int
await_moving_leader(void)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			leader;

	while ((leader = leader_now()) == 0 || stands_still(leader))
	{
		if (clock_now_us() > until)
			fail_msg("nobody leads who gets on");
		for (int i = 1; i <= 3; i++)
			if (nodes[i].up && stands_still(i))
				hand_over(i);
		pause_ms(5);
	}
	return leader;
}

/* As write_one(), where one of those that stand still may be elected. */
static inline uint64_t
write_beside(uint32_t number)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		Question	q = QUESTION;
		uint8_t		bytes[200] = {0};

		put_le32(bytes, number);
		replica_propose(nodes[await_moving_leader()].replica, bytes_of(bytes, sizeof(bytes)), on_done, &q);
		if (await(&q) == VT_OK)
			return q.index;
		if (clock_now_us() > until)
			fail_msg("write %u: %s", number, vt_status_words(q.status));
		pause_ms(5);
	}
}

/* Write many at once and wait for all; the index of the last.  All of it once more if leadership moved. */
static inline uint64_t
write_many(void)
{
	static Question questions[WRITES];
	static uint8_t bytes[WRITE_BYTES];
	uint64_t	last = 0;
	uint32_t	done = 0;
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (done < WRITES)
	{
		int			leader = await_moving_leader();

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

/* It has all of the log. */
static inline void
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

#endif							/* TEST_REPLICA_STILL_H */
