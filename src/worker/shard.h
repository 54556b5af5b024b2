/*-------------------------------------------------------------------------
 *
 * shard.h
 *	  Private to worker: one shard, its state machine and its files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SHARD_H
#define WORKER_SHARD_H

#include <pthread.h>
#include <stdatomic.h>

#include "records.h"
#include "replica/replica.h"
#include "wire/wire.h"

/* A raise of the fence that replay may still have to look back at. */
typedef struct FenceRaise
{
	uint64_t	index;			/* of the log entry */
	uint64_t	fence;
} FenceRaise;

typedef struct Shard
{
	struct Shard *next;
	WireShardDesc desc;
	uint64_t	replica_id;
	Store	   *rows;
	Records    *records;
	Replica    *replica;		/* NULL until the group is open */
	atomic_int	users;			/* requests that hold it */
	char	   *path;

	/*
	 * The highest log index that a row or raise bore at open.  Nothing is served
	 * before the log has been replayed beyond it; a log that ends below it has
	 * lost what was acknowledged.
	 */
	uint64_t	newest;
	atomic_bool whole;			/* that has happened */

	/* The apply thread's; fence is read by anyone */
	FenceRaise *raises;			/* in order of index */
	size_t		nraises;
	atomic_uint_fast64_t fence;
	uint64_t	applied;
	atomic_bool ingesting;

	/* Taking vectors into the graph */
	void		(*on_waiting) (void *arg);	/* told after puts; NULL = nobody */
	void	   *on_waiting_arg;
	atomic_uint_fast64_t backlog;	/* of the waiting: loaded at open or by an ingest */

	/* Law S2 */
	pthread_mutex_t checkpoint_lock;	/* guards applied for the io thread */
} Shard;

/*
 * Make a shard's directory and write its descriptor, durably.  Doing it again
 * with the same descriptor is fine; with another one it is VT_EXISTS.
 */
extern VtStatus shard_create(const char *directory, const WireShardDesc *desc, VtError *err);

/*
 * Open a shard that was created: rows are loaded into memory.  *replay is
 * where its log has to be replayed from (law S2).
 */
extern VtStatus shard_open(const char *directory, uint64_t id, Shard **out, uint64_t *replay,
						   VtError *err);
extern void shard_close(Shard *shard);

extern ReplicaMachine shard_machine(Shard *shard);

/* What the state machine says to a decoded command at this index; pure. */
typedef struct Verdict
{
	VtStatus	status;
	uint64_t	fence;			/* in force at this index */
} Verdict;

extern Verdict shard_decide(const Shard *shard, const WireWrite *write, uint64_t index);

/* apply.c; for shard_machine and for tests */
extern VtStatus shard_apply(void *shard, ReplicaCommand *commands, size_t n, uint64_t applied,
							VtError *err);

#endif							/* WORKER_SHARD_H */
