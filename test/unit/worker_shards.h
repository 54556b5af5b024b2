/*-------------------------------------------------------------------------
 *
 * worker_shards.h
 *	  A worker in this process with shards made by hand, and no placement
 *	  driver.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_WORKER_SHARDS_H
#define TEST_WORKER_SHARDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/worker/private.h"
#include "base/clock.h"
#include "scratch.h"
#include "shard_desc.h"

static inline Worker *
start(void)
{
	static char listen[128];
	static char pd[128];
	WorkerOptions options = {0};
	VtError		err = {0};
	Worker	   *worker;

	snprintf(listen, sizeof(listen), "unix:%s", scratch_path("w"));
	snprintf(pd, sizeof(pd), "unix:%s", scratch_path("nobody"));
	options.data = scratch;
	options.listen = listen;
	options.advertise = listen;
	options.pd = pd;
	options.search_threads = 1;
	options.index_threads = 1;
	vt_id_random(&options.data_id);
	if (worker_start(&options, &worker, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	return worker;
}

static WireQuantization quantization;	/* these two of the shards described from now on */
static uint32_t dimensions = 2; /* 2, or none */

static inline WireShardDesc
desc_of(uint64_t shard, uint64_t replica)
{
	WireShardDesc desc = shard_alone(shard, replica, dimensions);

	memset(desc.generation.b, (int) shard, sizeof(desc.generation.b));
	desc.quantization = (uint8_t) quantization;
	return desc;
}

static inline VtStatus
create(Worker *worker, uint64_t shard, uint64_t replica)
{
	WireShardDesc desc = desc_of(shard, replica);

	return worker_create_shard(worker, &desc, replica, true, NULL);
}

typedef struct Written
{
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool		finished;
	VtStatus	status;
} Written;

static inline void
on_written(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Written    *written = (Written *) arg;

	(void) index;
	(void) reply;
	pthread_mutex_lock(&written->lock);
	written->status = status;
	written->finished = true;
	pthread_cond_signal(&written->done);
	pthread_mutex_unlock(&written->lock);
}

/* Put one record into a shard, through its log. */
static inline void
put(Worker *worker, uint64_t shard, uint8_t id)
{
	Shard	   *s = worker_find_shard(worker, shard);
	float		vector[2] = {id, 1};
	WireWrite	write;
	WireRecord	record;
	Buf			command = {0};
	ReplicaStatus replica = {0};
	size_t		begin;

	assert_non_null(s);
	while (!replica.serving)
	{
		usleep(1000);
		replica_status(s->replica, &replica);
	}
	memset(&write, 0, sizeof(write));
	memset(&record, 0, sizeof(record));
	write.type = WRITE_PUT;
	write.route.generation = s->desc.generation;
	write.route.owner = s->desc.owner;
	write.route.shard = shard;
	write.route.range_ver = 1;
	record.id = bytes_of(&id, 1);
	record.dim = dimensions;
	record.vector = (const uint8_t *) vector;
	begin = wire_write_begin(&command, &write);
	wire_record_put(&command, WRITE_PUT, &record);
	wire_write_end(&command, begin, 1);
	{
		Written		written = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VT_OK};

		replica_propose(s->replica, buf_bytes(&command), on_written, &written);
		pthread_mutex_lock(&written.lock);
		while (!written.finished)
			pthread_cond_wait(&written.done, &written.lock);
		pthread_mutex_unlock(&written.lock);
		assert_int_equal(written.status, VT_OK);
	}
	buf_free(&command);
	shard_release(s);
}

static inline bool
is_there(const char *name)
{
	char		path[96];

	snprintf(path, sizeof(path), "shards/%s", name);
	return access(scratch_path(path), F_OK) == 0;
}

static inline bool
is_open(Worker *worker, uint64_t shard)
{
	Shard	   *found = worker_find_shard(worker, shard);

	if (found)
		shard_release(found);
	return found != NULL;
}

/* The index threads may hold it for a moment. */
static inline void
drop(Worker *worker, uint64_t shard, uint64_t replica)
{
	VtError		err = {0};
	VtStatus	status;

	while ((status = worker_drop_shard(worker, shard, replica, false, &err)) == VT_BUSY)
		usleep(1000);
	if (status != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

#endif							/* TEST_WORKER_SHARDS_H */
