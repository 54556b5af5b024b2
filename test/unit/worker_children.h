/*-------------------------------------------------------------------------
 *
 * worker_children.h
 *	  A worker in this process that is store 1, with a shard and what is split off it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_WORKER_CHILDREN_H
#define TEST_WORKER_CHILDREN_H

#include "identity.h"
#include "worker_shards.h"

#define ROWS 100
#define PARENT 10
#define CHILD 20

static inline const WireShardDesc *
child_of(void)
{
	static WireShardDesc child;

	child = desc_of(PARENT, 11);
	child.shard = CHILD;
	child.parent = PARENT;
	child.first = UINT64_MAX / 2 + 1;
	child.range_ver = 2;
	child.replicas[0].replica = 21;
	return &child;
}

static inline bool
is_of_child(uint8_t id)
{
	return wire_place(child_of(), bytes_of(&id, 1)) >= child_of()->first;
}

/* A worker that knows already that it is store 1. */
static inline Worker *
start_as_one(void)
{
	keep_identity(scratch, 1);
	return start();
}

static inline Written
written_new(void)
{
	return (Written) {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VT_OK};
}

static inline VtStatus
await(Written *written)
{
	pthread_mutex_lock(&written->lock);
	while (!written->finished)
		pthread_cond_wait(&written->done, &written->lock);
	pthread_mutex_unlock(&written->lock);
	return written->status;
}

static inline VtStatus
split(Worker *worker, const WireShardDesc *child)
{
	Shard	   *shard = worker_find_shard(worker, PARENT);
	ReplicaMembers members;
	Written		written = written_new();
	VtStatus	status;

	replica_members(shard->replica, &members);
	shard_release(shard);
	status = splits_propose(worker, child, members.conf_index, on_written, &written, NULL);
	return status == VT_OK ? await(&written) : status;
}

static inline uint64_t
records_of(Worker *worker, uint64_t id)
{
	Shard	   *s = worker_find_shard(worker, id);
	uint64_t	n = s ? shard_figures(s).records : 0;

	if (s)
		shard_release(s);
	return n;
}

static inline uint64_t
rows_of(Worker *worker, uint64_t id)
{
	Shard	   *s = worker_find_shard(worker, id);
	StoreIter  *iter = store_iter_open(s->rows, bytes_of("v", 1), bytes_of("w", 1));
	Bytes		key;
	Bytes		value;
	uint64_t	n = 0;

	while (store_iter_next(iter, &key, &value))
		n++;
	store_iter_close(iter);
	shard_release(s);
	return n;
}

/* Until the thread of chores has done it; a broken one is found by the runner's time limit. */
static inline void
wait_for_shard(Worker *worker, uint64_t id)
{
	Shard	   *s;

	while ((s = worker_find_shard(worker, id)) == NULL)
		usleep(1000);
	shard_release(s);
}

#endif							/* TEST_WORKER_CHILDREN_H */
