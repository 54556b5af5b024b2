/*-------------------------------------------------------------------------
 *
 * replica_machine.h
 *	  The state machine of the tests of replicas.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_REPLICA_MACHINE_H
#define TEST_REPLICA_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/prng.h"
#include "replica/replica.h"

#define HISTORY 20000

/*
 * A state machine that keeps a running hash after each index.  Its durable
 * half is what a checkpoint or a snapshot left; a new life begins there.
 */
typedef struct Machine
{
	pthread_mutex_t lock;
	uint64_t	chain[HISTORY]; /* after index i; 0 = not known (in a snapshot) */
	uint64_t	applied;
	uint64_t	state;			/* chain at applied */
	uint64_t	durable;
	uint64_t	durable_state;

	/* A snapshot on its way in: three numbers, a byte a chunk */
	uint64_t	stream;
	uint32_t	next;
	uint8_t		staged[16];
	uint64_t	installs;
	uint64_t	unstaged;		/* times */
	uint64_t	led;			/* commands that were proposed here */

	/* A test stands in the middle of an installation */
	pthread_cond_t changed;
	bool		hold;
	bool		held;
	bool		hold_load;		/* the same, of the loading after it */
	bool		loading;
	bool		hold_apply;		/* nothing is applied */
	bool		closed;			/* may not be called any more */
	atomic_bool full;			/* no room for a snapshot */

	/* What other replicas' machines said */
	uint64_t	ntold;			/* times */
	uint64_t	told_by;		/* last */
	uint64_t	told_hash;
} Machine;

static inline void
machine_told(void *arg, uint64_t from, Bytes words)
{
	Machine    *m = (Machine *) arg;

	pthread_mutex_lock(&m->lock);
	Assert(!m->closed);
	m->ntold++;
	m->told_by = from;
	m->told_hash = hash_checksum(words);
	pthread_mutex_unlock(&m->lock);
}

static VtStatus
machine_apply(void *arg, ReplicaCommand *commands, size_t n, uint64_t applied, VtError *err)
{
	Machine    *m = (Machine *) arg;

	(void) err;
	pthread_mutex_lock(&m->lock);
	while (m->hold_apply)
		pthread_cond_wait(&m->changed, &m->lock);
	for (size_t i = 0; i < n; i++)
	{
		uint64_t	hash = hash_checksum(commands[i].bytes);

		Assert(commands[i].index > m->applied && commands[i].index < HISTORY);
		m->state = prng_mix(m->state ^ hash ^ commands[i].index);
		m->applied = commands[i].index;
		m->led += commands[i].led;
		m->chain[m->applied] = m->state;
	}
	Assert(applied >= m->applied && applied < HISTORY);
	m->applied = applied;
	m->chain[applied] = m->state;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

/* Let go of it, wherever it is held. */
static inline void
machine_go_on(Machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->hold = m->hold_load = m->hold_apply = false;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

/* It stands in the middle of an installation (hold). */
static inline void
machine_await_held(Machine *m)
{
	pthread_mutex_lock(&m->lock);
	while (!m->held)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

static VtStatus
machine_checkpoint(void *arg, uint64_t *index, VtError *err)
{
	Machine    *m = (Machine *) arg;

	(void) err;
	pthread_mutex_lock(&m->lock);
	if (m->applied > m->durable)	/* else: installed and not yet loaded */
	{
		m->durable = m->applied;
		m->durable_state = m->state;
	}
	*index = m->durable;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

typedef struct Stream
{
	uint8_t		bytes[16];
	size_t		at;
} Stream;

static VtStatus
machine_snapshot_open(void *arg, void **out, uint64_t *index, VtError *err)
{
	Machine    *m = (Machine *) arg;
	Stream	   *stream = vt_alloc0(sizeof(Stream));

	(void) err;
	pthread_mutex_lock(&m->lock);
	*index = m->applied;
	put_le64(stream->bytes, m->applied);
	put_le64(stream->bytes + 8, m->state);
	pthread_mutex_unlock(&m->lock);
	*out = stream;
	return VT_OK;
}

static VtStatus
machine_snapshot_read(void *arg, size_t bytes, Buf *out, bool *last, VtError *err)
{
	Stream	   *stream = (Stream *) arg;

	(void) bytes;
	(void) err;
	buf_put_u8(out, stream->bytes[stream->at++]);
	*last = stream->at == sizeof(stream->bytes);
	return VT_OK;
}

static void
machine_snapshot_close(void *arg)
{
	free(arg);
}

static VtStatus
machine_stage(void *arg, const WireChunk *chunk, uint32_t *next, VtError *err)
{
	Machine    *m = (Machine *) arg;

	if (atomic_load(&m->full))
		return vt_fail(err, VT_FULL, "the disk is full");
	if (chunk->seq == 0 && chunk->stream != m->stream)
	{
		m->stream = chunk->stream;
		m->next = 0;
	}
	if (chunk->stream != m->stream)
		return vt_fail(err, VT_LEASE_GONE, "another stream");
	if (chunk->seq == m->next)
	{
		assert_int_equal(chunk->data.len, 1);
		m->staged[m->next++] = chunk->data.data[0];
	}
	*next = m->next;
	return VT_OK;
}

static VtStatus
machine_unstage(void *arg, VtError *err)
{
	Machine    *m = (Machine *) arg;

	(void) err;
	m->stream = 0;
	m->next = 0;
	pthread_mutex_lock(&m->lock);
	m->unstaged++;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

static VtStatus
machine_install(void *arg, uint64_t stream, uint64_t index, VtError *err)
{
	Machine    *m = (Machine *) arg;

	pthread_mutex_lock(&m->lock);
	Assert(!m->closed);
	m->held = m->hold;
	pthread_cond_broadcast(&m->changed);
	while (m->hold)
		pthread_cond_wait(&m->changed, &m->lock);
	m->held = false;
	if (stream != m->stream || m->next != sizeof(m->staged) || get_le64(m->staged) != index)
	{
		pthread_mutex_unlock(&m->lock);
		return vt_fail(err, VT_CORRUPT, "what is staged is not what is installed");
	}
	Assert(index > m->applied);
	m->durable = index;
	m->durable_state = get_le64(m->staged + 8);
	m->stream = 0;				/* nothing is staged any more */
	m->next = 0;
	m->installs++;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

static VtStatus
machine_load(void *arg, uint64_t index, VtError *err)
{
	Machine    *m = (Machine *) arg;

	(void) err;
	pthread_mutex_lock(&m->lock);
	m->loading = m->hold_load;
	pthread_cond_broadcast(&m->changed);
	while (m->hold_load)
		pthread_cond_wait(&m->changed, &m->lock);
	m->loading = false;
	Assert(index == m->durable);
	m->applied = m->durable;
	m->state = m->durable_state;
	m->chain[index] = m->state;
	pthread_mutex_unlock(&m->lock);
	return VT_OK;
}

#endif							/* TEST_REPLICA_MACHINE_H */
