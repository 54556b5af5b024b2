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
 * And so are the snapshots that come in at a time: each is a database with a memtable
 * and files beside those in use, and after a zone has come back every worker may have
 * one to send.  Those beyond are answered BUSY; their senders ask again, and the first to
 * find a free place has it.  A sender that has died leaves its place after a while.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"
#include "private.h"

#define INTAKE_BYTES (64u << 20)
#define SILENT_US (10 * INT64_C(1000000))	/* a sender asks again ten times in a second */

struct Intake
{
	Worker	   *worker;
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t ready;
	RequestQueue queue;
	size_t		bytes;			/* in the queue */
	bool		stopping;
	Incoming	incoming[INCOMING_MAX]; /* the thread's */
};

bool
incoming_take(Incoming *incoming, uint64_t shard, uint64_t stream, int64_t now_us, uint64_t *evicted)
{
	Incoming   *place = incoming;

	*evicted = 0;
	for (Incoming *i = incoming; i < incoming + INCOMING_MAX; i++)
	{
		if (i->shard == shard)
		{
			place = i;			/* another stream of its takes the first one's place */
			break;
		}
		if (i->heard_us < place->heard_us)
			place = i;
	}
	if (place->shard != 0 && place->shard != shard)
	{
		if (now_us - place->heard_us < SILENT_US)
			return false;
		*evicted = place->shard;
	}
	*place = (Incoming) {shard, stream, now_us};
	return true;
}

void
incoming_end(Incoming *incoming, uint64_t shard)
{
	for (Incoming *i = incoming; i < incoming + INCOMING_MAX; i++)
		if (i->shard == shard)
			memset(i, 0, sizeof(*i));
}

/* VT_BUSY: there are as many as may be. */
static VtStatus
let_in(Worker *worker, const WireChunk *chunk)
{
	uint64_t	evicted;
	Shard	   *silent;

	if (!incoming_take(worker->intake->incoming, chunk->group, chunk->stream, clock_now_us(), &evicted))
		return VT_BUSY;
	silent = evicted ? worker_find_shard(worker, evicted) : NULL;
	if (silent)
	{
		replica_unstage(silent->replica);
		shard_release(silent);
	}
	return VT_OK;
}

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
		result.status = let_in(worker, &chunk);
	if (result.status == VT_OK)
	{
		replica_stage(shard->replica, &chunk, &result);
		if (result.status != VT_BUSY && (result.status != VT_OK || chunk.last))
			incoming_end(worker->intake->incoming, chunk.group);
	}
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

size_t
intake_bytes(Intake *intake)
{
	size_t		bytes;

	pthread_mutex_lock(&intake->lock);
	bytes = intake->bytes;
	pthread_mutex_unlock(&intake->lock);
	return bytes;
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
