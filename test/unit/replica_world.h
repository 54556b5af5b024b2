/*-------------------------------------------------------------------------
 *
 * replica_world.h
 *	  Groups of three over hosts of their own in one process, and a network that
 *	  loses, delays, cuts off and kills.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_REPLICA_WORLD_H
#define TEST_REPLICA_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/prng.h"
#include "replica/replica.h"
#include "patience.h"
#include "replica_machine.h"
#include "scratch.h"

#define GROUP 7
#define NODES 4

typedef struct Node
{
	int			number;			/* from 1 */
	bool		up;
	Store	   *log;
	ReplicaHost *host;
	Replica    *replica;
	Machine     machine;
} Node;

typedef struct Net
{
	pthread_mutex_t lock;
	pthread_mutex_t stage_lock; /* before lock; held by whoever stops a node */
	Prng		prng;
	atomic_uint loss;			/* percent */
	atomic_bool lose_questions; /* those of reads away from the leader, and answers */
	bool		cut[NODES + 1][NODES + 1];
	atomic_ullong chunks;
	atomic_bool hold_chunks;	/* whoever sends one waits, until he is interrupted */
	atomic_uint interrupted;	/* times */
	atomic_int	holds[NODES + 1];	/* sends of a node that wait so */
	atomic_ullong chunks_lost_after;	/* so many; 0 = none */
	uint64_t	streams[16];	/* that were begun */
	uint32_t	nstreams;
} Net;

static Node nodes[NODES + 1];
static Net	net;

/* For hosts that are started from now on: the log of all groups. */
static uint64_t log_bound;
static uint64_t checkpoint_bytes = 4096;
static uint64_t snapshot_first;
static uint64_t resident_bound;
static uint64_t lag_entries;
static uint64_t lag_bytes;

static void
pause_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

/* -- The network ----------------------------------------------------------- */

static bool
gets_through(int from, uint64_t to)
{
	bool		through;

	pthread_mutex_lock(&net.lock);
	through = to >= 1 && to <= NODES && nodes[to].up && !net.cut[from][to] &&
		prng_below(&net.prng, 100) >= atomic_load(&net.loss);
	pthread_mutex_unlock(&net.lock);
	return through;
}

/* Notes of reads away from the leader are among them (docs/wire.md). */
static bool
has_questions(Bytes messages)
{
	for (size_t i = 0; i + 4 <= messages.len; i++)
		if (memcmp(messages.data + i, "VRDX", 4) == 0)
			return true;
	return false;
}

static void
net_send(void *arg, uint64_t to, Buf *messages)
{
	Node	   *from = (Node *) arg;

	bool		lost = atomic_load(&net.lose_questions) && has_questions(buf_bytes(messages));

	/* The lock keeps the receiver from being stopped in the middle. */
	if (!lost && gets_through(from->number, to))
	{
		pthread_mutex_lock(&net.lock);
		if (nodes[to].up)
			replica_host_receive(nodes[to].host, messages);
		pthread_mutex_unlock(&net.lock);
	}
	buf_free(messages);
}

static void
note_stream(uint64_t stream)
{
	uint32_t	i = 0;

	pthread_mutex_lock(&net.lock);
	while (i < net.nstreams && net.streams[i] != stream)
		i++;
	if (i == net.nstreams && i < 16)
		net.streams[net.nstreams++] = stream;
	pthread_mutex_unlock(&net.lock);
}

/* What a node has still to hear from another. */
typedef struct Answers
{
	WireChunkResult results[16];
	bool		lost[16];
	uint32_t	n;
	uint32_t	heard;
} Answers;

static Answers answers[NODES + 1][NODES + 1];	/* of the thread that sends from one to the other */

static VtStatus
net_chunk(void *arg, uint64_t to, Bytes bytes, VtError *err)
{
	Node	   *from = (Node *) arg;
	Answers    *to_come = &answers[from->number][to];
	WireChunkResult result = {0};
	WireChunk	chunk;
	unsigned	interrupted;
	bool		there;

	assert_int_equal(wire_chunk_get(bytes, &chunk), VT_OK);
	atomic_fetch_add(&net.chunks, 1);
	interrupted = atomic_load(&net.interrupted);
	atomic_fetch_add(&net.holds[from->number], 1);
	while (atomic_load(&net.hold_chunks) && atomic_load(&net.interrupted) == interrupted)
		pause_ms(1);
	atomic_fetch_sub(&net.holds[from->number], 1);
	if (atomic_load(&net.interrupted) != interrupted)
		return vt_fail(err, VT_UNAVAILABLE, "interrupted");
	note_stream(chunk.stream);
	there = gets_through(from->number, to) &&
		(atomic_load(&net.chunks_lost_after) == 0 ||
		 atomic_load(&net.chunks) <= atomic_load(&net.chunks_lost_after));
	/* Who takes a chunk may step its cores, and they may speak. */
	pthread_mutex_lock(&net.stage_lock);
	there = there && nodes[to].up && nodes[to].replica;
	if (there)
		replica_stage(nodes[to].replica, &chunk, &result);
	pthread_mutex_unlock(&net.stage_lock);

	/* The answer may be lost, too. */
	assert_true(to_come->n - to_come->heard < 16);
	to_come->lost[to_come->n % 16] = !there || !gets_through(nodes[to].number, (uint64_t) from->number);
	to_come->results[to_come->n++ % 16] = result;
	return VT_OK;
}

/* A loss breaks the connection: no answer comes any more. */
static VtStatus
net_answer(void *arg, uint64_t to, WireChunkResult *result, VtError *err)
{
	Answers    *to_come = &answers[((Node *) arg)->number][to];
	uint32_t	i = to_come->heard++ % 16;

	assert_true(!result || to_come->heard <= to_come->n);
	if (!result || to_come->lost[i])
	{
		to_come->heard = to_come->n;
		return result ? vt_fail(err, VT_UNAVAILABLE, "lost") : VT_OK;
	}
	*result = to_come->results[i];
	return VT_OK;
}

static void
net_interrupt(void *arg, uint64_t to)
{
	(void) arg;
	(void) to;
	atomic_fetch_add(&net.interrupted, 1);
}

/* -- Nodes ----------------------------------------------------------------- */

static RaftConf
conf_of(int n)
{
	RaftConf	conf;

	memset(&conf, 0, sizeof(conf));
	for (int i = 1; i <= n; i++)
	{
		conf.members[conf.n].id = (uint64_t) i * 10;
		conf.members[conf.n].node = (uint64_t) i;
		conf.members[conf.n++].roles = RAFT_VOTER;
	}
	return conf;
}

static void
node_start(int number)
{
	Node	   *node = &nodes[number];
	ReplicaHostOptions options = {
		.transport = {net_send, net_chunk, net_answer, node, net_interrupt}, .node = (uint64_t) number, .checkpoint_bytes = checkpoint_bytes,
		.log_bytes = log_bound, .snapshot_first_bytes = snapshot_first,
		.resident_bytes = resident_bound, .lag_entries = lag_entries, .lag_bytes = lag_bytes
	};
	char		name[16];
	StoreOptions store = {0};
	VtError		err = {0};

	snprintf(name, sizeof(name), "log%d", number);
	node->number = number;
	if (store_open(scratch_path(name), &store, &node->log, &err) != VT_OK ||
		replica_host_start(node->log, &options, &node->host, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

/* Begin a life of its machine where the durable half stands. */
static void
node_open(int number, const RaftConf *founders)
{
	Node	   *node = &nodes[number];
	Machine    *m = &node->machine;
	RaftSnapshot base;
	ReplicaMachine machine = {
		.apply = machine_apply, .checkpoint = machine_checkpoint,
		.snapshot_open = machine_snapshot_open, .snapshot_read = machine_snapshot_read, .snapshot_close = machine_snapshot_close,
		.stage = machine_stage, .unstage = machine_unstage, .install = machine_install, .load = machine_load,
		.told = machine_told, .state = m
	};
	VtError		err = {0};
	VtStatus	status = replica_create(node->host, GROUP, (uint64_t) number * 10, founders, 0, &err);

	if (status != VT_OK && status != VT_EXISTS)
		fail_msg("%s", vt_error_words(&err));
	m->closed = false;
	m->applied = m->durable;
	m->state = m->durable_state;
	assert_int_equal(replica_stored_base(node->host, GROUP, &base, &err), VT_OK);
	if (base.index > m->durable)
	{
		/* What a crash interrupted. */
		if (machine_install(m, base.id, base.index, &err) != VT_OK ||
			machine_load(m, base.index, &err) != VT_OK)
			fail_msg("%s", vt_error_words(&err));
	}
	if (replica_open(node->host, GROUP, (uint64_t) number * 10, &machine, m->applied,
					 &node->replica, &err) != VT_OK)
		fail_msg("node %d: %s", number, vt_error_words(&err));
	pthread_mutex_lock(&net.lock);
	node->up = true;
	pthread_mutex_unlock(&net.lock);
}

/* From now on nothing comes in, and nothing is coming in when it returns. */
static void
node_down(int number)
{
	pthread_mutex_lock(&net.stage_lock);
	pthread_mutex_lock(&net.lock);
	nodes[number].up = false;
	pthread_mutex_unlock(&net.lock);
	pthread_mutex_unlock(&net.stage_lock);
}

/* Stop; what the machine had applied since its last checkpoint may be lost. */
static void
node_stop(int number, bool lose)
{
	Node	   *node = &nodes[number];
	uint64_t	durable;
	uint64_t	state;
	uint64_t	installs;

	pthread_mutex_lock(&node->machine.lock);
	durable = node->machine.durable;
	state = node->machine.durable_state;
	installs = node->machine.installs;
	pthread_mutex_unlock(&node->machine.lock);
	node_down(number);
	replica_host_stop(node->host);
	store_close(node->log);
	node->host = NULL;
	node->replica = NULL;
	if (lose && node->machine.installs == installs)
	{
		node->machine.durable = durable;
		node->machine.durable_state = state;
	}
}

static void
world_begin(int n, uint64_t seed)
{
	RaftConf	conf = conf_of(n);

	log_setup("test", LOG_LEVEL_ERROR);
	memset(&net, 0, sizeof(net));
	memset(nodes, 0, sizeof(nodes));
	pthread_mutex_init(&net.lock, NULL);
	pthread_mutex_init(&net.stage_lock, NULL);
	net.prng.state = seed;
	for (int i = 1; i <= NODES; i++)
	{
		pthread_mutex_init(&nodes[i].machine.lock, NULL);
		pthread_cond_init(&nodes[i].machine.changed, NULL);
	}
	for (int i = 1; i <= n; i++)
		node_start(i);
	for (int i = 1; i <= n; i++)
		node_open(i, &conf);
}

static void
world_end(void)
{
	for (int i = 1; i <= NODES; i++)
		if (nodes[i].up)
			node_stop(i, false);
	log_bound = 0;
	checkpoint_bytes = 4096;
	snapshot_first = 0;
	resident_bound = 0;
	lag_entries = lag_bytes = 0;
}

/* -- Asking ---------------------------------------------------------------- */

typedef struct Question
{
	pthread_mutex_t lock;
	pthread_cond_t ready;
	bool		done;
	VtStatus	status;
	uint64_t	index;
} Question;

static void
on_done(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Question   *q = (Question *) arg;

	(void) reply;
	pthread_mutex_lock(&q->lock);
	q->done = true;
	q->status = status;
	q->index = index;
	pthread_cond_signal(&q->ready);
	pthread_mutex_unlock(&q->lock);
}

static VtStatus
await(Question *q)
{
	pthread_mutex_lock(&q->lock);
	while (!q->done)
		pthread_cond_wait(&q->ready, &q->lock);
	pthread_mutex_unlock(&q->lock);
	return q->status;
}

#define QUESTION {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VT_OK, 0}

static int
leader_now(void)
{
	uint64_t	term = 0;
	int			leader = 0;

	for (int i = 1; i <= NODES; i++)
	{
		ReplicaStatus status;

		if (!nodes[i].up)
			continue;
		replica_status(nodes[i].replica, &status);
		if (status.serving && status.term > term)
		{
			term = status.term;
			leader = i;
		}
	}
	return leader;
}

static int
await_leader(void)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			leader;

	while ((leader = leader_now()) == 0)
	{
		if (clock_now_us() > until)
			fail_msg("nobody leads");
		pause_ms(5);
	}
	return leader;
}

static inline uint64_t
term_now(void)
{
	ReplicaStatus status;

	replica_status(nodes[await_leader()].replica, &status);
	return status.term;
}

/* Write until somebody acknowledges; the index. */
static uint64_t
write_one(uint32_t number)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		Question	q = QUESTION;
		uint8_t		bytes[200];

		memset(bytes, 0, sizeof(bytes));
		put_le32(bytes, number);
		replica_propose(nodes[await_leader()].replica, bytes_of(bytes, sizeof(bytes)), on_done, &q);
		if (await(&q) == VT_OK)
			return q.index;
		if (clock_now_us() > until)
			fail_msg("write %u: %s", number, vt_status_words(q.status));
		pause_ms(5);
	}
}

static uint64_t
base_of(int number)
{
	RaftSnapshot base;
	VtError		err = {0};

	assert_int_equal(replica_stored_base(nodes[number].host, GROUP, &base, &err), VT_OK);
	return base.index;
}

/* Its log begins beyond index. */
static void
await_base(int number, uint64_t index)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (base_of(number) <= index)
	{
		if (clock_now_us() > until)
			fail_msg("node %d keeps its log from %llu on", number, (unsigned long long) base_of(number));
		pause_ms(5);
	}
}

/* All that are up have applied index, and agree on what came before. */
static void
await_agreement(uint64_t index)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	chain = 0;

	for (int i = 1; i <= NODES; i++)
	{
		uint64_t	applied = 0;
		uint64_t	own;

		while (nodes[i].up && applied < index)
		{
			pthread_mutex_lock(&nodes[i].machine.lock);
			applied = nodes[i].machine.applied;
			own = nodes[i].machine.chain[index];
			pthread_mutex_unlock(&nodes[i].machine.lock);
			if (applied < index)
			{
				if (clock_now_us() > until)
					fail_msg("node %d stands at %llu, not at %llu", i, (unsigned long long) applied,
							 (unsigned long long) index);
				pause_ms(5);
			}
			else if (own != 0)
			{
				assert_true(chain == 0 || chain == own);
				chain = own;
			}
		}
	}
	assert_true(chain != 0);
}

/* Stop one that follows, and let the others go on until their logs do not reach back to it. */
static inline int
leave_behind(uint64_t *last)
{
	uint64_t	was = write_one(0);
	int			away;

	await_agreement(was);
	away = await_leader() % 3 + 1;
	node_stop(away, true);
	for (uint32_t i = 0; i < 400; i++)
		*last = write_one(i);
	for (int i = 1; i <= 3; i++)
		if (nodes[i].up)
			await_base(i, was);
	return away;
}

#endif							/* TEST_REPLICA_WORLD_H */
