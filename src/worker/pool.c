/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  The service threads and their queue.
 *
 * nng's callbacks only put requests here (law T1).  Raft has threads of its
 * own, so searches never run where it does.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "private.h"

#define QUEUE_MAX 8192

void
request_free(Request *request)
{
	if (request->shard)
		worker_release_shard(request->shard);
	net_conn_release(request->conn);
	buf_free(&request->payload);
	free(request);
}

void
pool_take_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Worker	   *worker = (Worker *) arg;
	Request    *request;
	bool		full;

	/* Work that was cancelled ends by its deadline; its reply is dropped. */
	if (header->kind != WIRE_REQUEST)
		return;
	request = vt_alloc0(sizeof(Request));
	request->conn = net_conn_ref(conn);
	request->type = header->type;
	request->request = header->request;
	request->payload = *payload;
	memset(payload, 0, sizeof(*payload));
	request->received_us = clock_now_us();
	request->worker = worker;
	pthread_mutex_lock(&worker->lock);
	full = worker->queued >= QUEUE_MAX || worker->stopping;
	if (!full)
	{
		*worker->queue_end = request;
		worker->queue_end = &request->next;
		worker->queued++;
		pthread_cond_signal(&worker->ready);
	}
	pthread_mutex_unlock(&worker->lock);
	if (full)
	{
		WireReply	reply = {.status = VT_BUSY, .last = UINT64_MAX, .retry_after_ms = 50};
		Buf			out = {0};

		wire_reply_put(&out, &reply);
		net_reply_frame(conn, header->type, header->request, buf_bytes(&out));
		buf_free(&out);
		request_free(request);
	}
}

static void *
pool_main(void *arg)
{
	Worker	   *worker = (Worker *) arg;

	for (;;)
	{
		Request    *request;

		pthread_mutex_lock(&worker->lock);
		while (!worker->queue && !worker->stopping)
			pthread_cond_wait(&worker->ready, &worker->lock);
		request = worker->queue;
		if (request)
		{
			worker->queue = request->next;
			worker->queued--;
			if (!worker->queue)
				worker->queue_end = &worker->queue;
		}
		pthread_mutex_unlock(&worker->lock);
		if (!request)
			return NULL;
		serve(worker, request);
	}
}

void
pool_start(Worker *worker)
{
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);

	worker->npool = worker->options.threads ? worker->options.threads :
		(uint32_t) (cores > 2 ? cores : 2);
	worker->pool = vt_alloc(sizeof(pthread_t) * worker->npool);
	for (uint32_t i = 0; i < worker->npool; i++)
		if (pthread_create(&worker->pool[i], NULL, pool_main, worker) != 0)
			vt_assert_fail("pthread_create", __FILE__, __LINE__);
}

void
pool_stop(Worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->stopping = true;
	pthread_cond_broadcast(&worker->ready);
	pthread_mutex_unlock(&worker->lock);
	for (uint32_t i = 0; i < worker->npool; i++)
		pthread_join(worker->pool[i], NULL);
	free(worker->pool);
}
