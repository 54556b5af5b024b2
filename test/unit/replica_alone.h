/*-------------------------------------------------------------------------
 *
 * replica_alone.h
 *	  Groups of one replica in a host, around a state machine that only writes
 *	  down what it was told.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_REPLICA_ALONE_H
#define TEST_REPLICA_ALONE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/prng.h"
#include "replica/replica.h"
#include "scratch.h"

#define GROUP 7
#define REPLICA 70
#define BASE 5					/* a group's log begins here */
#define HISTORY 8192

/* -- The state machine ----------------------------------------------------- */

typedef struct Machine
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t	hash[HISTORY];	/* of the command at BASE + 1 + i; 0 = none came */
	uint64_t	applied;
	uint64_t	ncommands;
	uint64_t	checkpoints;
	uint64_t	durable;		/* so far and no further, whatever it has applied; 0 = all of that */
	bool		shut;			/* apply waits */
	bool		dead;			/* must not be called again */
} Machine;

static inline uint64_t
hash_of(Bytes bytes)
{
	return hash_checksum(bytes) | 1;
}

/* A command that begins with 'r' is refused; the reply is the command. */
static inline VtStatus
machine_apply(void *state, ReplicaCommand *commands, size_t n, uint64_t applied, VtError *err)
{
	Machine    *m = (Machine *) state;

	(void) err;
	pthread_mutex_lock(&m->lock);
	while (m->shut)
		pthread_cond_wait(&m->changed, &m->lock);
	Assert(!m->dead);
	for (size_t i = 0; i < n; i++)
	{
		Bytes		bytes = commands[i].bytes;

		Assert(commands[i].index > m->applied && commands[i].index <= applied);
		m->applied = commands[i].index;
		Assert(m->applied - BASE <= HISTORY);
		m->hash[m->applied - BASE - 1] = hash_of(bytes);
		m->ncommands++;
		commands[i].status = bytes.len && bytes.data[0] == 'r' ? VT_DENIED : VT_OK;
		buf_put(&commands[i].reply, bytes.data, bytes.len);
	}
	Assert(applied >= m->applied);
	m->applied = applied;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

static inline VtStatus
machine_checkpoint(void *state, uint64_t *index, VtError *err)
{
	Machine    *m = (Machine *) state;

	(void) err;
	pthread_mutex_lock(&m->lock);
	Assert(!m->dead);
	*index = m->durable ? m->durable : m->applied;
	m->checkpoints++;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

static inline Machine *
machine_new(uint64_t applied)
{
	Machine    *m = vt_alloc0(sizeof(Machine));

	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	m->applied = applied;
	return m;
}

static inline void
machine_free(Machine *m)
{
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->changed);
	free(m);
}

static inline void
machine_shut(Machine *m, bool shut)
{
	pthread_mutex_lock(&m->lock);
	m->shut = shut;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

/* -- A host ---------------------------------------------------------------- */

typedef struct Fixture
{
	Store	   *log;
	ReplicaHost *host;
	ReplicaHostOptions options;
} Fixture;

static inline void
start(Fixture *f)
{
	StoreOptions options = {0};
	VtError		err = {0};

	if (store_open(scratch_path("log"), &options, &f->log, &err) != VT_OK ||
		replica_host_start(f->log, &f->options, &f->host, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

static inline void
stop(Fixture *f)
{
	replica_host_stop(f->host);
	store_close(f->log);
}

static inline Replica *
open_group(Fixture *f, uint64_t group, uint64_t replica, Machine *m, uint64_t applied)
{
	ReplicaMachine machine = {.apply = machine_apply, .checkpoint = machine_checkpoint, .state = m};
	Replica    *out = NULL;
	VtError		err = {0};

	if (replica_open(f->host, group, replica, &machine, applied, &out, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	return out;
}

static inline VtStatus
open_refused(Fixture *f, uint64_t applied, VtError *err)
{
	Machine    *m = machine_new(applied);
	ReplicaMachine machine = {.apply = machine_apply, .checkpoint = machine_checkpoint, .state = m};
	Replica    *out = NULL;
	VtStatus	status = replica_open(f->host, GROUP, REPLICA, &machine, applied, &out, err);

	assert_null(out);
	machine_free(m);
	return status;
}

/* -- Questions ------------------------------------------------------------- */

typedef struct Question
{
	int			calls;
	VtStatus	status;
	uint64_t	index;
	uint64_t	hash;			/* of the reply */
} Question;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

static inline void
on_done(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Question   *q = (Question *) arg;

	pthread_mutex_lock(&lock);
	q->calls++;
	q->status = status;
	q->index = index;
	q->hash = hash_of(reply);
	pthread_cond_broadcast(&answered);
	pthread_mutex_unlock(&lock);
}

static inline void
wait_for(Question *q, size_t n)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n; i++)
		while (q[i].calls == 0)
			pthread_cond_wait(&answered, &lock);
	pthread_mutex_unlock(&lock);
}

static inline VtStatus
ask(Replica *replica, const char *text, uint64_t *index)
{
	Question	q = {0};

	replica_propose(replica, bytes_str(text), on_done, &q);
	wait_for(&q, 1);
	if (index)
		*index = q.index;
	return q.status;
}

/* Wait until the replica leads and has replayed its log. */
static inline uint64_t
wait_until_serving(Replica *replica)
{
	for (;;)
	{
		Question	q = {0};

		replica_read(replica, on_done, &q);
		wait_for(&q, 1);
		if (q.status == VT_OK)
			return q.index;
		assert_int_equal(q.status, VT_NOT_LEADER);
	}
}

static inline void
found(Fixture *f, uint64_t group, uint64_t replica)
{
	VtError		err = {0};
	RaftConf	alone = {.n = 1, .members = {{.id = replica, .node = 1, .roles = RAFT_VOTER}}};

	if (replica_create(f->host, group, replica, &alone, BASE, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

/* How many keys there are of one kind of a group, and the lowest index. */
static inline uint64_t
count_keys(Store *log, char kind, uint64_t group, uint64_t *lowest)
{
	uint8_t		first[9] = {(uint8_t) kind};
	uint8_t		after[9] = {(uint8_t) kind};
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	uint64_t	n = 0;

	put_be64(first + 1, group);
	put_be64(after + 1, group + 1);
	iter = store_iter_open(log, bytes_of(first, 9), bytes_of(after, 9));
	while (store_iter_next(iter, &key, &value))
		if (n++ == 0 && lowest && key.len == 17)
			*lowest = get_be64(key.data + 9);
	store_iter_close(iter);
	return n;
}

static inline uint64_t
base_of(Store *log, uint64_t group)
{
	Buf			value = {0};
	RaftSnapshot base;

	assert_int_equal(log_load_base(log, group, &value, NULL), VT_OK);
	assert_int_equal(raft_snapshot_decode(buf_bytes(&value), &base), VT_OK);
	buf_free(&value);
	return base.index;
}

#endif							/* TEST_REPLICA_ALONE_H */
