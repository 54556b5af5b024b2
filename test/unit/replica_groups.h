/*-------------------------------------------------------------------------
 *
 * replica_groups.h
 *	  Many groups over three hosts in one process, whose machines are no more than how
 *	  far they are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_REPLICA_GROUPS_H
#define TEST_REPLICA_GROUPS_H

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
#include "base/log.h"
#include "base/prng.h"
#include "patience.h"
#include "replica_clocks.h"
#include "scratch.h"

#define NODES 3

typedef struct Machine
{
	atomic_uint_fast64_t applied;
	atomic_bool *shut;			/* apply waits, of all groups of a node */
} Machine;

typedef struct Node
{
	int			number;			/* from 1 */
	bool		up;
	Store	   *log;
	ReplicaHost *host;
	Replica   **replicas;
	Machine    *machines;
	atomic_bool shut;
} Node;

static Node nodes[NODES + 1];
static uint32_t ngroups;
static uint32_t tick_ms = 15;	/* idle for long is soon, then */
static pthread_mutex_t net_lock = PTHREAD_MUTEX_INITIALIZER;
static bool cut[NODES + 1][NODES + 1];
static atomic_uint loss;
static Prng dice;
static void (*look_at) (int from, int to, Bytes frame);	/* one that gets through; net_lock */

/* -- Machine and network --------------------------------------------------- */

static VtStatus
machine_apply(void *arg, ReplicaCommand *commands, size_t n, uint64_t applied, VtError *err)
{
	Machine    *m = (Machine *) arg;

	(void) commands;
	(void) n;
	(void) err;
	while (atomic_load(m->shut))
		usleep(1000);
	atomic_store(&m->applied, applied);
	return VT_OK;
}

static VtStatus
machine_checkpoint(void *arg, uint64_t *index, VtError *err)
{
	(void) err;
	*index = atomic_load(&((Machine *) arg)->applied);
	return VT_OK;
}

static void
net_send(void *arg, uint64_t to, Buf *messages)
{
	Node	   *from = (Node *) arg;

	pthread_mutex_lock(&net_lock);
	if (nodes[to].up && !cut[from->number][to] && prng_below(&dice, 100) >= loss)
	{
		if (look_at)
			look_at(from->number, (int) to, buf_bytes(messages));
		replica_host_receive(nodes[to].host, messages);
	}
	pthread_mutex_unlock(&net_lock);
	buf_free(messages);
}

/* -- Nodes ----------------------------------------------------------------- */

static void
node_start(int number, bool found)
{
	Node	   *node = &nodes[number];
	ReplicaHostOptions options = {.transport = {.send = net_send, .arg = node}, .node = (uint64_t) number,
		.tick_ms = tick_ms
	};
	StoreOptions store = {0};
	RaftConf	conf = {.n = NODES};
	char		name[16];
	VtError		err = {0};

	for (int i = 0; i < NODES; i++)
		conf.members[i] = (RaftMember) {.id = (uint64_t) i + 1, .node = (uint64_t) i + 1, .roles = RAFT_VOTER};
	snprintf(name, sizeof(name), "log%d", number);
	node->number = number;
	if (store_open(scratch_path(name), &store, &node->log, &err) != VT_OK ||
		replica_host_start(node->log, &options, &node->host, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	node->replicas = vt_alloc0(sizeof(Replica *) * ngroups);
	if (!node->machines)
		node->machines = vt_alloc0(sizeof(Machine) * ngroups);
	pthread_mutex_lock(&net_lock);
	node->up = true;
	pthread_mutex_unlock(&net_lock);
	for (uint32_t g = 0; g < ngroups; g++)
	{
		ReplicaMachine machine = {.apply = machine_apply, .checkpoint = machine_checkpoint,
			.state = &node->machines[g]
		};

		node->machines[g].shut = &node->shut;
		if ((found && replica_create(node->host, g + 1, (uint64_t) number, &conf, 0, &err) != VT_OK) ||
			replica_open(node->host, g + 1, (uint64_t) number, &machine,
						 atomic_load(&node->machines[g].applied), &node->replicas[g], &err) != VT_OK)
			fail_msg("%s", vt_error_words(&err));
	}
}

static inline void
node_stop(int number)
{
	Node	   *node = &nodes[number];

	pthread_mutex_lock(&net_lock);
	node->up = false;
	pthread_mutex_unlock(&net_lock);
	replica_host_stop(node->host);
	store_close(node->log);
	free(node->replicas);
}

static void
begin(uint32_t groups)
{
	ngroups = groups;
	memset(cut, 0, sizeof(cut));
	loss = 0;
	dice.state = 1;
	for (int i = 1; i <= NODES; i++)
		node_start(i, true);
}

static void
end(void)
{
	for (int i = 1; i <= NODES; i++)
	{
		if (nodes[i].up)
			node_stop(i);
		free(nodes[i].machines);
		nodes[i].machines = NULL;
	}
}

static inline void
pause_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

#endif							/* TEST_REPLICA_GROUPS_H */
