/*-------------------------------------------------------------------------
 *
 * replica_sleep.c
 *	  Many groups over three hosts in one process: those in which nothing happens
 *	  fall asleep, whatever happens wakes them, and whoever dies in their sleep is
 *	  replaced.
 *
 *	  build/unit/replica_sleep --bench [groups]	 what that costs
 *
 *-------------------------------------------------------------------------
 */
#include <sys/resource.h>

#include "replica_groups.h"

static atomic_ullong frames;
static atomic_ullong frame_bytes;

/* -- Who sleeps ------------------------------------------------------------ */

static uint64_t
asleep(int number)
{
	ReplicaHostFigures figures;

	replica_host_figures(nodes[number].host, &figures);
	return figures.asleep;
}

/* All groups sleep wherever they are up. */
static void
await_sleep(void)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (int i = 1; i <= NODES; i++)
		while (nodes[i].up && asleep(i) < ngroups)
		{
			if (clock_now_us() > until)
				fail_msg("node %d: %llu of %u sleep", i, (unsigned long long) asleep(i), ngroups);
			pause_ms(10);
			i = 1;				/* all at once */
		}
}

/* Nobody sleeps any more. */
static void
await_awake(void)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (int i = 1; i <= NODES; i++)
		while (asleep(i) > 0)
		{
			if (clock_now_us() > until)
				fail_msg("node %d: %llu sleep", i, (unsigned long long) asleep(i));
			pause_ms(1);
		}
}

/* -- Asking ---------------------------------------------------------------- */

typedef struct Question
{
	atomic_bool done;
	VtStatus	status;
	uint64_t	index;
} Question;

static void
on_done(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Question   *q = (Question *) arg;

	(void) reply;
	q->status = status;
	q->index = index;
	atomic_store(&q->done, true);
}

static VtStatus
await(Question *q)
{
	while (!atomic_load(&q->done))
		usleep(200);
	return q->status;
}

static int
leader_of(uint32_t g, uint64_t *term)
{
	int			leader = 0;

	*term = 0;
	for (int i = 1; i <= NODES; i++)
	{
		ReplicaStatus status;

		if (!nodes[i].up)
			continue;
		replica_status(nodes[i].replicas[g], &status);
		if (status.serving && status.term > *term)
		{
			leader = i;
			*term = status.term;
		}
	}
	return leader;
}

/* Write to a group until somebody acknowledges. */
static uint64_t
write_to(uint32_t g)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		Question	q = {0};
		uint64_t	term;
		int			leader = leader_of(g, &term);

		if (leader)
		{
			replica_propose(nodes[leader].replicas[g], bytes_str("x"), on_done, &q);
			if (await(&q) == VT_OK)
				return q.index;
		}
		if (clock_now_us() > until)
			fail_msg("group %u takes no write", g);
		pause_ms(5);
	}
}

static void
await_applied(uint32_t g, uint64_t index)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (int i = 1; i <= NODES; i++)
		while (nodes[i].up && atomic_load(&nodes[i].machines[g].applied) < index)
		{
			if (clock_now_us() > until)
				fail_msg("node %d does not apply %llu of group %u", i, (unsigned long long) index, g);
			pause_ms(5);
		}
}

/* -- The machine beneath ------------------------------------------------------ */

#define LATE_US 20000			/* a clock that is so late may have others elect, or wake */
#define AGAIN_US (40 * INT64_C(1000000))	/* for so long it is tried again */

static uint64_t
lateness(void)
{
	uint64_t	n = 0;

	for (int i = 1; i <= NODES; i++)
		n += host_lateness(nodes[i].host, LATE_US);
	return n;
}

/* All are up.  Has one stood still since? */
static bool
one_was_late(uint64_t since)
{
	for (int i = 1; i <= NODES; i++)
		host_await_turns(nodes[i].host);
	return lateness() > since;
}

/* -- Stories --------------------------------------------------------------- */

/* Of the leader of a group, or of one that follows; nobody answers while nobody leads. */
static VtStatus
read_of(uint32_t g, bool follower)
{
	Question	q = {0};
	uint64_t	term;
	int			leader = leader_of(g, &term);

	if (leader == 0)
		return VT_UNAVAILABLE;
	replica_read(nodes[follower ? leader % NODES + 1 : leader].replicas[g], on_done, &q);
	return await(&q);
}

/* A write and a read wake their group and no other, who is asked and follows says no and sleeps on, and nobody is elected. */
static bool
one_wakes_alone(void)
{
	uint64_t	terms[40];
	uint64_t	term;
	bool		alone = true;
	int			leader;

	await_sleep();
	for (uint32_t g = 0; g < ngroups; g++)
		alone &= leader_of(g, &terms[g]) > 0;
	await_applied(7, write_to(7));
	for (int i = 1; i <= NODES; i++)
		alone &= asleep(i) >= ngroups - 1;
	await_sleep();
	alone &= read_of(9, false) == VT_OK;
	await_sleep();
	alone &= read_of(9, true) == VT_NOT_LEADER;
	leader = leader_of(9, &term);
	alone &= leader > 0 && asleep(leader) == ngroups;
	for (uint32_t g = 0; g < ngroups; g++)
	{
		leader_of(g, &term);
		alone &= term == terms[g];
	}
	return alone;
}

/* QS1, QS3, QS7.  A clock that stood still, as no group's may, has signs of sleep missed: then it is tried again. */
static void
idle_groups_sleep(void **state)
{
	int64_t		until = clock_now_us() + AGAIN_US;

	(void) state;
	begin(40);
	for (uint32_t round = 0; round < 3;)
	{
		uint64_t	since = lateness();

		if (one_wakes_alone())
			round++;
		else
			assert_true(one_was_late(since) && clock_now_us() < until);
	}
	end();
}

/* QS5, QS4, QS6: a node dies in their sleep, and comes back. */
static void
one_dies_in_its_sleep(void **state)
{
	(void) state;
	begin(30);
	for (int dead = 1; dead <= NODES; dead++)
	{
		uint64_t	last[30];

		await_sleep();
		node_stop(dead);
		for (uint32_t g = 0; g < ngroups; g++)
			last[g] = write_to(g);
		await_sleep();			/* the dead are not waited for */
		for (uint32_t g = 0; g < ngroups; g += 2)
			last[g] = write_to(g);
		node_start(dead, false);
		for (uint32_t g = 0; g < ngroups; g++)
			await_applied(g, last[g]);
	}
	await_sleep();
	end();
}

/* Cut off in its sleep, a leader is found out, and another one is elected. */
static void
one_is_cut_off_in_its_sleep(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	term;
	uint64_t	old_term;
	int			old;
	int			now;

	(void) state;
	begin(5);
	await_sleep();
	old = leader_of(0, &old_term);
	pthread_mutex_lock(&net_lock);
	for (int i = 1; i <= NODES; i++)
		cut[old][i] = cut[i][old] = true;
	pthread_mutex_unlock(&net_lock);
	while ((now = leader_of(0, &term)) == old || now == 0)
	{
		if (clock_now_us() > until)
			fail_msg("nobody misses the leader");
		pause_ms(5);
	}
	assert_true(term > old_term);
	(void) write_to(0);
	pthread_mutex_lock(&net_lock);
	memset(cut, 0, sizeof(cut));
	pthread_mutex_unlock(&net_lock);
	await_applied(0, write_to(0));
	await_sleep();
	end();
}

/* Signs of sleep get lost: they wake and sleep again, and lead on. */
static void
signs_are_lost(void **state)
{
	(void) state;
	begin(20);
	loss = 30;
	for (uint32_t round = 0; round < 10; round++)
		for (uint32_t g = round % 3; g < ngroups; g += 3)
			(void) write_to(g);
	loss = 0;
	await_sleep();
	for (uint32_t g = 0; g < ngroups; g++)
		await_applied(g, write_to(g));
	end();
}

/* While one applies nothing of what is written: the index of that.  0: it has come to lead, or somebody slept. */
static uint64_t
nobody_sleeps_beside(int slow)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	Question	q = {.status = VT_UNAVAILABLE};
	ReplicaStatus status;

	while (q.status != VT_OK)
	{
		uint64_t	term;
		int			leader = leader_of(0, &term);

		replica_status(nodes[slow].replicas[0], &status);
		if (status.leader)
			return 0;
		if (clock_now_us() > until)
			fail_msg("nobody takes a write");
		memset(&q, 0, sizeof(q));
		if (leader)
			replica_propose(nodes[leader].replicas[0], bytes_str("x"), on_done, &q);
		else
			on_done(&q, VT_UNAVAILABLE, 0, bytes_of(NULL, 0));
		(void) await(&q);
		pause_ms(1);
	}
	await_awake();
	for (int i = 0; i < 150; i++)
	{
		pause_ms(10);
		for (int k = 1; k <= NODES; k++)
			if (asleep(k) > 0)
				return 0;
	}
	return q.index;
}

/*
 * The rule: not before every live replica has applied all, not merely written it.  One whose
 * clock stood still passes for dead, and nobody waits for it: then it is tried again.
 */
static void
not_before_all_have_applied(void **state)
{
	int64_t		until = clock_now_us() + AGAIN_US;
	uint64_t	last = 0;

	(void) state;
	begin(1);
	while (last == 0)
	{
		uint64_t	since = lateness();
		uint64_t	term;
		int			slow;

		await_sleep();
		slow = leader_of(0, &term) % NODES + 1;
		atomic_store(&nodes[slow].shut, true);
		last = nobody_sleeps_beside(slow);
		atomic_store(&nodes[slow].shut, false);
		if (last == 0)
			assert_true(one_was_late(since) && clock_now_us() < until);
	}
	await_applied(0, last);
	await_sleep();
	end();
}

/* -- What it costs --------------------------------------------------------- */

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
count_frame(int from, int to, Bytes frame)
{
	(void) from;
	(void) to;
	atomic_fetch_add(&frames, 1);
	atomic_fetch_add(&frame_bytes, frame.len);
}

static long
resident_kb(void)
{
	FILE	   *f = fopen("/proc/self/statm", "r");
	long		pages = 0;

	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void
bench(uint32_t groups)
{
	long		before;
	double		cpu;
	int64_t		begun;
	int64_t		took;

	tick_ms = 0;
	look_at = count_frame;
	scratch_make(NULL);
	before = resident_kb();
	begun = clock_now_us();
	begin(groups);
	for (uint32_t g = 0; g < groups; g++)
		(void) write_to(g);
	printf("%u groups on 3 hosts: founded, elected and written to in %.1f s\n", groups,
		   (double) (clock_now_us() - begun) / 1e6);
	for (int round = 0; round < 2; round++)
	{
		unsigned long long sent;
		unsigned long long bytes;

		if (round)
			await_sleep();
		sent = atomic_load(&frames);
		bytes = atomic_load(&frame_bytes);
		cpu = cpu_seconds();
		begun = clock_now_us();
		pause_ms(round ? 10000 : 500);
		took = clock_now_us() - begun;
		cpu = (cpu_seconds() - cpu) / ((double) took / 1e6) / NODES;
		printf("%s: %.2f %% of a core a host, %.0f frames and %.0f kB a second in all\n",
			   round ? "asleep" : "awake ", cpu * 100,
			   (double) (atomic_load(&frames) - sent) / ((double) took / 1e6),
			   (double) (atomic_load(&frame_bytes) - bytes) / ((double) took / 1e6) / 1024);
	}
	printf("memory: %.1f kB for an idle replica\n",
		   (double) (resident_kb() - before) / (double) groups / NODES);
	end();
	scratch_remove(NULL);
}

int
main(int argc, char **argv)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(idle_groups_sleep),
		TEST(one_dies_in_its_sleep),
		TEST(one_is_cut_off_in_its_sleep),
		TEST(signs_are_lost),
		TEST(not_before_all_have_applied),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
	{
		bench(argc > 2 ? (uint32_t) atoi(argv[2]) : 2000);
		return 0;
	}
	return cmocka_run_group_tests_name("replica_sleep", tests, NULL, NULL);
}
