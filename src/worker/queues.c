/*-------------------------------------------------------------------------
 *
 * queues.c
 *	  Requests that wait for a service thread: who may, and who is next.
 *
 * What is short waits in the order of its coming, which it does only when it comes
 * where nobody serves.  Searches and listings wait in waiting.c's list when as many are
 * under way as may be; searches of one connection that were read at once wait, and are
 * answered, as one.
 *
 * What would hardly be served in time is not even let in: VT_BUSY says so while the
 * asker has the time to go elsewhere.  Without that a queue that is too long would
 * serve everybody just too late.  In number and bytes, too, the queues are bounded.
 *
 *-------------------------------------------------------------------------
 */
#include "queues.h"

#include <stdlib.h>

#define QUEUED_MAX 8192			/* of each kind */
#define QUEUED_BYTES_MAX (64u << 20)

/* Searches of one connection that wait, and are answered, as one: so many, and bytes of two. */
#define MATES_MAX 8
#define MATES_BYTES (64u << 10)

/* With fewer than so many for each thread in front, no wait is too long. */
#define ESTIMATE_FROM 4

void
request_free(Request *request)
{
	many_free(request);
	if (request->shard)
		shard_release(request->shard);
	if (!request->closes)
		net_conn_requests(request->conn, -1);
	net_conn_release(request->conn);
	buf_free(&request->payload);
	atomic_fetch_sub_explicit(&request->worker->request_bytes, request->counted, memory_order_relaxed);
	free(request);
}

void
request_turn_away(Request *request, VtStatus status)
{
	stats_reply(&request->worker->stats, request->type, status, request->received_us);
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

bool
request_is_long(const Request *request)
{
	return (request->type == WIRE_SEARCH || request->type == WIRE_LIST) && !request->closes;
}

void
request_queue_add(RequestQueue *queue, Request *request)
{
	request->next = NULL;
	*queue->end = request;
	queue->end = &request->next;
}

Request *
request_queue_take(RequestQueue *queue)
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

/*
 * Would a long request that comes now wait for more than half of its time?  The
 * other half is for what the estimate does not know.  Under the lock.
 */
static bool
would_be_late(const Worker *worker, const Request *request)
{
	uint32_t	threads = worker->npool - 1;

	return worker->searches.n >= threads * ESTIMATE_FROM &&
		waiting_time_us(&worker->searches, request->lane, threads) > (request->until_us - request->received_us) / 2;
}

static bool
has_room(const Worker *worker, const Request *request)
{
	size_t		bytes = 0;
	uint32_t	n = 0;

	if (!request_is_long(request))
		return worker->at_door < QUEUED_MAX;
	for (const Request *r = request; r; r = r->mates)
	{
		bytes += r->payload.len;
		n += 1 + r->more;
	}
	return waiting_has_room(&worker->searches, request->lane, n, bytes, QUEUED_MAX, QUEUED_BYTES_MAX) &&
		!would_be_late(worker, request);
}

/*
 * Whoever searches looks at the queue before he ends: where as many do as may, nobody
 * has to be woken for one more.  The queries of one request are for several threads.
 */
void
queues_put(Worker *worker, Request *request, bool bounded)
{
	VtStatus	refused = VT_OK;
	uint32_t	wake = 0;

	pthread_mutex_lock(&worker->lock);
	if (worker->stopping)
		refused = VT_STOPPING;
	else if (bounded && !has_room(worker, request))
		refused = VT_BUSY;
	else if (request_is_long(request))
	{
		waiting_add(&worker->searches, request);
		for (Request *r = request; r; r = r->mates)
			r->waited = true;
		wake = request->many ? 1 + request->more : 1;
		if (wake > worker->npool - 1 - worker->searching)
			wake = worker->npool - 1 - worker->searching;
	}
	else
	{
		worker->at_door++;
		request_queue_add(&worker->door, request);
		wake = 1;
	}
	for (Request *r = request; r && refused == VT_BUSY; r = r->mates)
		worker->turned_away++;
	pthread_mutex_unlock(&worker->lock);
	while (refused != VT_OK && request)
	{
		Request    *mates = request->mates;

		request_turn_away(request, refused);
		request = mates;
	}
	while (wake-- > 0)
		net_server_wake(worker->server);
}

/* A request that waited elsewhere goes on; it was counted when it came. */
void
pool_put(Worker *worker, Request *request)
{
	queues_put(worker, request, false);
}

Request *
request_queue_find(RequestQueue *queue, uint64_t conn, uint64_t id)
{
	for (Request **p = &queue->first; *p; p = &(*p)->next)
	{
		Request    *request = *p;

		if (request->request != id || net_conn_id(request->conn) != conn)
			continue;
		*p = request->next;
		if (!*p)
			queue->end = p;
		return request;
	}
	return NULL;
}

/* What is short comes first and needs no room. */
Request *
queues_next(Worker *worker, bool *searching)
{
	Request    *request;

	pthread_mutex_lock(&worker->lock);
	request = request_queue_take(&worker->door);
	worker->at_door -= request != NULL;
	if (!request && worker->searches.n > 0 && (*searching || worker->searching < worker->npool - 1))
	{
		worker->searching += !*searching;
		*searching = true;
		request = waiting_take(&worker->searches);
		if (request->many && many_goes_on(request))
			waiting_put_back(&worker->searches, request);
	}
	if (!request && *searching)
	{
		worker->searching--;
		*searching = false;
	}
	pthread_mutex_unlock(&worker->lock);
	return request;
}

bool
queues_begin_searching(Worker *worker)
{
	bool		room;

	pthread_mutex_lock(&worker->lock);
	room = worker->searching < worker->npool - 1 && !worker->stopping;
	worker->searching += room;
	pthread_mutex_unlock(&worker->lock);
	return room;
}

static bool
all_search(Worker *worker)
{
	bool		all;

	pthread_mutex_lock(&worker->lock);
	all = worker->searching == worker->npool - 1;
	pthread_mutex_unlock(&worker->lock);
	return all;
}

/* Do two requests, read one after the other, wait together? */
static bool
are_mates(const Request *a, const Request *b)
{
	return a->conn == b->conn && a->type == WIRE_SEARCH && b->type == WIRE_SEARCH && a->lane == b->lane &&
		a->payload.len + b->payload.len <= MATES_BYTES;
}

void
queues_put_all(Worker *worker, RequestQueue *queue)
{
	Request    *request;

	while ((request = request_queue_take(queue)) != NULL)
	{
		Request    *last = request;

		for (uint32_t n = 1; n < MATES_MAX && queue->first && are_mates(last, queue->first) && all_search(worker); n++)
			last = last->mates = request_queue_take(queue);
		queues_put(worker, request, true);
	}
}
