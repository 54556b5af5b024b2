/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  Chunks of snapshots that come in, written by a thread of their own.
 *
 * Several chunks of a stream are under way, so they are taken in the order in which
 * they were read from the connection, and answered in it; while one is written the
 * next ones come in.  They take no thread from searches.
 *
 * What waits is bounded.  A chunk that finds no room is emptied and keeps its place,
 * so that its refusal comes in its turn, too.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/thread.h"
#include "private.h"

#define INTAKE_BYTES (64u << 20)

struct Intake
{
	Worker	   *worker;
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t ready;
	RequestQueue queue;
	size_t		bytes;			/* in the queue */
	bool		stopping;
};

static void
answer(Request *request, const WireChunkResult *result)
{
	Buf			out = {0};

	wire_chunk_result_put(&out, result);
	net_reply_frame(request->conn, WIRE_CHUNK, request->request, buf_bytes(&out));
	buf_free(&out);
	request_free(request);
}

static void
serve_chunk(Worker *worker, Request *request)
{
	WireChunk	chunk;
	WireChunkResult result = {0};
	Shard	   *shard = NULL;

	result.status = request->payload.len == 0 ? VT_BUSY : wire_chunk_get(buf_bytes(&request->payload), &chunk);
	if (result.status == VT_OK)
		shard = worker_find_shard(worker, chunk.group);
	if (result.status == VT_OK && (!shard || shard->replica_id != chunk.to))
		result.status = VT_NOT_FOUND;
	if (result.status == VT_OK && atomic_load(&worker->disk_low))
	{
		result.status = VT_FULL;	/* before the log, too, finds no room */
		replica_unstage(shard->replica);
	}
	if (result.status == VT_OK)
		replica_stage(shard->replica, &chunk, &result);
	if (shard)
		shard_release(shard);
	answer(request, &result);
}

void
intake_put(Intake *intake, Request *request)
{
	WireChunkResult stopping = {.status = VT_STOPPING};
	bool		taken;

	pthread_mutex_lock(&intake->lock);
	taken = !intake->stopping;
	if (taken && intake->bytes + request->payload.len > INTAKE_BYTES)
		buf_free(&request->payload);
	if (taken)
	{
		intake->bytes += request->payload.len;
		request_queue_add(&intake->queue, request);
		pthread_cond_signal(&intake->ready);
	}
	pthread_mutex_unlock(&intake->lock);
	if (!taken)
		answer(request, &stopping);
}

static void *
intake_main(void *arg)
{
	Intake	   *intake = (Intake *) arg;
	Request    *request;

	thread_name("intake");
	for (;;)
	{
		pthread_mutex_lock(&intake->lock);
		while (!intake->queue.first && !intake->stopping)
			pthread_cond_wait(&intake->ready, &intake->lock);
		request = intake->stopping ? NULL : request_queue_take(&intake->queue);
		if (request)
			intake->bytes -= request->payload.len;
		pthread_mutex_unlock(&intake->lock);
		if (!request)
			return NULL;
		serve_chunk(intake->worker, request);
	}
}

Intake *
intake_start(Worker *worker)
{
	Intake	   *intake = vt_alloc0(sizeof(Intake));

	intake->worker = worker;
	intake->queue.end = &intake->queue.first;
	pthread_mutex_init(&intake->lock, NULL);
	pthread_cond_init(&intake->ready, NULL);
	if (pthread_create(&intake->thread, NULL, intake_main, intake) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	return intake;
}

void
intake_stop(Intake *intake)
{
	WireChunkResult stopping = {.status = VT_STOPPING};
	Request    *request;

	pthread_mutex_lock(&intake->lock);
	intake->stopping = true;
	pthread_cond_signal(&intake->ready);
	pthread_mutex_unlock(&intake->lock);
	pthread_join(intake->thread, NULL);
	while ((request = request_queue_take(&intake->queue)) != NULL)
		answer(request, &stopping);
	pthread_mutex_destroy(&intake->lock);
	pthread_cond_destroy(&intake->ready);
	free(intake);
}
