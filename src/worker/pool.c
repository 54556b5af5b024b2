/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  The service threads and their queues.
 *
 * nng's callbacks only put requests here (law T1).  Raft has threads of its
 * own, so searches never run where it does; a request that had to wait for an
 * index comes back through pool_put().
 *
 * Two queues.  What is short (writes up to the proposal, index reads, control)
 * goes to the door thread and never waits behind a search; searches and
 * listings go to the search threads.  Both are bounded together: beyond that a
 * request is answered VT_BUSY at once.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "private.h"

#define QUEUED_MAX 8192

void
request_free(Request *request)
{
	if (request->shard)
		worker_release_shard(request->shard);
	net_conn_release(request->conn);
	buf_free(&request->payload);
	free(request);
}

/* Refuse at the door, with the head that belongs to the type. */
static void
turn_away(Request *request, VtStatus status)
{
	if (request->type == WIRE_CONTROL)
	{
		char	   *text = status_refusal_json(status);

		net_reply_frame(request->conn, WIRE_CONTROL, request->request, bytes_str(text));
		free(text);
	}
	else
	{
		WireReply	reply = {.status = status, .last = UINT64_MAX, .retry_after_ms = 50};
		Buf			out = {0};

		wire_reply_put(&out, &reply);
		net_reply_frame(request->conn, request->type, request->request, buf_bytes(&out));
		buf_free(&out);
	}
	request_free(request);
}

static RequestQueue *
queue_of(Worker *worker, WireType type)
{
	return type == WIRE_SEARCH || type == WIRE_LIST ? &worker->searches : &worker->door;
}

static void
queue_add(RequestQueue *queue, Request *request)
{
	request->next = NULL;
	*queue->end = request;
	queue->end = &request->next;
	pthread_cond_signal(&queue->ready);
}

static Request *
queue_take(RequestQueue *queue)
{
	Request    *request = queue->first;

	if (request)
	{
		queue->first = request->next;
		if (!queue->first)
			queue->end = &queue->first;
	}
	return request;
}

/* A request that waited elsewhere goes on; it was counted when it came. */
void
pool_put(Worker *worker, Request *request)
{
	bool		stopping;

	pthread_mutex_lock(&worker->lock);
	stopping = worker->stopping;
	if (!stopping)
	{
		worker->queued++;
		queue_add(queue_of(worker, request->type), request);
	}
	pthread_mutex_unlock(&worker->lock);
	if (stopping)
		turn_away(request, VT_STOPPING);
}

/* The asker has lost interest: drop the request, or what it left behind. */
static void
cancel(Worker *worker, WireType type, uint64_t conn, uint64_t id)
{
	RequestQueue *queue = queue_of(worker, type);
	Request    *found = NULL;

	pthread_mutex_lock(&worker->lock);
	for (Request **p = &queue->first; *p; p = &(*p)->next)
	{
		Request    *request = *p;

		if (request->request != id || net_conn_id(request->conn) != conn)
			continue;
		found = request;
		*p = request->next;
		if (!*p)
			queue->end = p;
		worker->queued--;
		break;
	}
	pthread_mutex_unlock(&worker->lock);
	if (found)
		request_free(found);
	else
		lease_cancel(worker, conn, id);
}

void
pool_take_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Worker	   *worker = (Worker *) arg;
	Request    *request;
	VtStatus	refused = VT_OK;

	if (header->kind == WIRE_CANCEL)
		cancel(worker, header->type, net_conn_id(conn), header->request);
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
	if (worker->stopping)
		refused = VT_STOPPING;
	else if (worker->queued >= QUEUED_MAX)
		refused = VT_BUSY;
	else
	{
		worker->queued++;
		queue_add(queue_of(worker, request->type), request);
	}
	pthread_mutex_unlock(&worker->lock);
	if (refused != VT_OK)
		turn_away(request, refused);
}

static void
run(Worker *worker, RequestQueue *queue)
{
	for (;;)
	{
		Request    *request;

		pthread_mutex_lock(&worker->lock);
		while (!queue->first && !worker->stopping)
			pthread_cond_wait(&queue->ready, &worker->lock);
		request = queue_take(queue);
		if (request)
			worker->queued--;
		pthread_mutex_unlock(&worker->lock);
		if (!request)
			return;
		if (request->then)
			request->then(request, request->index);
		else
			serve(worker, request);
	}
}

static void *
door_main(void *arg)
{
	Worker	   *worker = (Worker *) arg;

	run(worker, &worker->door);
	return NULL;
}

static void *
search_main(void *arg)
{
	Worker	   *worker = (Worker *) arg;

	run(worker, &worker->searches);
	return NULL;
}

void
pool_start(Worker *worker)
{
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);

	worker->npool = 1 + (worker->options.search_threads ? worker->options.search_threads :
						 (uint32_t) (cores > 2 ? cores : 2));
	worker->pool = vt_alloc(sizeof(pthread_t) * worker->npool);
	for (uint32_t i = 0; i < worker->npool; i++)
		if (pthread_create(&worker->pool[i], NULL, i == 0 ? door_main : search_main, worker) != 0)
			vt_assert_fail("pthread_create", __FILE__, __LINE__);
}

void
pool_stop(Worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->stopping = true;
	pthread_cond_broadcast(&worker->door.ready);
	pthread_cond_broadcast(&worker->searches.ready);
	pthread_mutex_unlock(&worker->lock);
	for (uint32_t i = 0; i < worker->npool; i++)
		pthread_join(worker->pool[i], NULL);
	free(worker->pool);
}
