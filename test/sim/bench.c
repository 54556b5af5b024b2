/*-------------------------------------------------------------------------
 *
 * bench.c
 *	  How fast the core alone is: no disk, no network, one thread.
 *
 * Three replicas in one process hand messages to each other through the codec;
 * writes are durable at once.  And many idle groups, each the leader of three,
 * tick and have their heartbeats answered.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#include <time.h>

#define LLU(x) ((unsigned long long) (x))
#define PROPOSALS 400000
#define IDLE_GROUPS 10000

static void *
plain_alloc(void *state, size_t size)
{
	*(size_t *) state += size;
	return malloc(size);
}

static void
plain_free(void *state, void *p, size_t size)
{
	*(size_t *) state -= size;
	free(p);
}

static size_t live_bytes;
static const RaftAllocator plain = {plain_alloc, plain_free, &live_bytes};

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static Raft *
open_member(uint64_t group, uint64_t id)
{
	RaftStored	stored;
	RaftOptions options;
	Raft	   *raft = NULL;

	memset(&stored, 0, sizeof(stored));
	stored.base.conf.n = 3;
	for (uint32_t i = 0; i < 3; i++)
		stored.base.conf.members[i] = (RaftMember) {.id = i + 1, .node = i + 1, .roles = RAFT_VOTER};
	raft_options_init(&options);
	options.group = group;
	options.id = id;
	options.seed = group * 4 + id;
	options.allocator = &plain;
	if (raft_open(&options, &stored, &raft, NULL) != VT_OK)
		abort();
	return raft;
}

/* Hand a message over as bytes. */
static void
hand_over(Raft *const *members, const RaftMessage *m, uint8_t *bytes, size_t size)
{
	size_t		len = raft_message_size(m);
	RaftMessage copy;

	if (len > size)
		abort();
	raft_message_encode(m, bytes);
	if (raft_message_decode(bytes_of(bytes, len), &plain, &copy) != VT_OK ||
		raft_step(members[m->to - 1], &copy) != VT_OK)
		abort();
	raft_message_free(&copy, &plain);
}

/* All duties of one replica; returns how many messages left. */
static size_t
serve(Raft *const *members, int at, uint8_t *bytes, size_t size)
{
	size_t		sent = 0;

	while (raft_has_ready(members[at]))
	{
		RaftReady	rd;
		uint64_t	applied = 0;

		if (raft_ready(members[at], &rd) != VT_OK)
			abort();
		for (size_t i = 0; i < rd.messages_n; i++)
			hand_over(members, &rd.messages[i], bytes, size);
		sent += rd.messages_n;
		if (rd.committed_n > 0)
			applied = rd.committed[rd.committed_n - 1].index;
		if (rd.seq != 0 && raft_persisted(members[at], rd.seq) != VT_OK)
			abort();
		if (raft_applied(members[at], applied) != VT_OK)
			abort();
	}
	return sent;
}

static void
serve_all(Raft *const *members, uint8_t *bytes, size_t size)
{
	while (serve(members, 0, bytes, size) + serve(members, 1, bytes, size) +
		   serve(members, 2, bytes, size) > 0)
		continue;
}

static void
bench_proposals(uint32_t batch)
{
	Raft	   *members[3];
	size_t		size = 8 << 20;
	uint8_t    *bytes = malloc(size);
	RaftBuf    *command = raft_buf_new(&plain, NULL, 256);
	double		start;
	RaftStatus	status;

	memset(command->data, 1, 256);
	for (int i = 0; i < 3; i++)
		members[i] = open_member(1, (uint64_t) i + 1);
	(void) raft_campaign(members[0]);
	serve_all(members, bytes, size);
	start = seconds();
	for (uint32_t done = 0; done < PROPOSALS; done += batch)
	{
		for (uint32_t i = 0; i < batch; i++)
			if (raft_propose(members[0], &command, 1, NULL, NULL) != VT_OK)
				abort();
		serve_all(members, bytes, size);
		if (done % 4096 < batch)
			for (int i = 0; i < 3; i++)
			{
				raft_get_status(members[i], &status);
				(void) raft_compact(members[i], status.applied);
			}
	}
	raft_get_status(members[0], &status);
	if (status.commit < PROPOSALS)
		abort();
	printf("three replicas, 256 bytes, %3u at a time: %10.0f proposals/s\n", batch,
		   PROPOSALS / (seconds() - start));
	for (int i = 0; i < 3; i++)
		raft_close(members[i]);
	raft_buf_release(command);
	free(bytes);
}

static void
answer(Raft *raft, const RaftMessage *m)
{
	RaftMessage resp = {.group = m->group, .from = m->to, .to = m->from, .term = m->term,
	.read_seq = m->read_seq};

	switch (m->type)
	{
		case RAFT_PREVOTE:
			resp.type = RAFT_PREVOTE_RESP;
			break;
		case RAFT_VOTE:
			resp.type = RAFT_VOTE_RESP;
			break;
		case RAFT_APP:
			resp.type = RAFT_APP_RESP;
			resp.index = m->index + m->n;
			break;
		default:
			resp.type = RAFT_HEARTBEAT_RESP;
			break;
	}
	(void) raft_step(raft, &resp);
}

static uint64_t
serve_idle(Raft *raft)
{
	uint64_t	steps = 0;

	while (raft_has_ready(raft))
	{
		RaftMessage copies[16];
		RaftReady	rd;
		uint64_t	applied = 0;
		size_t		n = 0;

		if (raft_ready(raft, &rd) != VT_OK)
			abort();
		for (; n < rd.messages_n && n < 16; n++)
			copies[n] = rd.messages[n];
		if (rd.committed_n > 0)
			applied = rd.committed[rd.committed_n - 1].index;
		if (rd.seq != 0)
			(void) raft_persisted(raft, rd.seq);
		(void) raft_applied(raft, applied);
		for (size_t i = 0; i < n; i++)
			if ((copies[i].flags & RAFT_FLAG_QUIET) == 0)
				answer(raft, &copies[i]);
		steps += n + 1;
	}
	return steps;
}

static void
bench_idle(void)
{
	Raft	  **leaders = calloc(IDLE_GROUPS, sizeof(Raft *));
	size_t		before = live_bytes;
	uint64_t	steps = 0;
	double		start;
	double		took;

	for (uint32_t g = 0; g < IDLE_GROUPS; g++)
	{
		leaders[g] = open_member(g + 1, 1);
		(void) raft_campaign(leaders[g]);
		(void) serve_idle(leaders[g]);
	}
	start = seconds();
	for (int tick = 0; tick < 100; tick++)
		for (uint32_t g = 0; g < IDLE_GROUPS; g++)
		{
			(void) raft_tick(leaders[g]);
			steps += 1 + serve_idle(leaders[g]);
		}
	took = seconds() - start;
	printf("%d idle leaders: %10.0f steps/s, %.1f us per group and tick, %zu bytes per group\n",
		   IDLE_GROUPS, (double) steps / took, took * 1e6 / IDLE_GROUPS / 100,
		   (live_bytes - before) / IDLE_GROUPS);
	for (uint32_t g = 0; g < IDLE_GROUPS; g++)
		raft_close(leaders[g]);
	free(leaders);
}

int
bench_run(void)
{
	bench_proposals(1);
	bench_proposals(64);
	bench_idle();
	return live_bytes != 0;
}
