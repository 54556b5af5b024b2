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
 * asker has the time to go elsewhere, and how long one would wait.  Without that a
 * queue that is too long would serve everybody just too late.  In number and bytes, too,
 * the queues are bounded.
 *
 *-------------------------------------------------------------------------
 */
#include "queues.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define QUEUED_MAX 8192			/* of each kind */
#define QUEUED_BYTES_MAX (64u << 20)

/* Searches of one connection that wait, and are answered, as one: so many, and bytes of two. */
#define MATES_MAX 8
#define MATES_BYTES (64u << 10)

/* Who is turned away is told to stay so long, at least and at most. */
#define AWAY_LEAST_MS 1
#define AWAY_MOST_MS 10000
#define AWAY_MS 50				/* where nobody knows */

void
request_free(Request *request)
{
	many_free(request);
	if (request->shard)
	{
		shard_stir(request->shard); /* searches are counted there */
		shard_release(request->shard);
	}
	net_conn_requests(request->conn, -(int) request->places);
	net_conn_release(request->conn);
	buf_free(&request->payload);
	atomic_fetch_sub_explicit(&request->worker->request_bytes, request->counted, memory_order_relaxed);
	free(request);
}

/* What is said to one that is turned away, without a look at its shard; ends it. */
static void
put_refusal(Buf *out, Request *request, VtStatus status, uint32_t away_ms, const char *words)
{
	size_t		begin = wire_frame_begin(out, WIRE_REPLY, request->type, request->request);

	if (request->type == WIRE_CONTROL)
	{
		char	   *text = status_refusal_json(status);

		buf_put(out, text, strlen(text));
		free(text);
	}
	else
	{
		WireReply	reply = {.status = status, .last = UINT64_MAX, .retry_after_ms = away_ms, .message = bytes_str(words)};

		wire_reply_put(out, &reply);
	}
	wire_frame_end(out, begin);
	stats_reply(&request->worker->stats, request->type, status, request->received_us);
	request_free(request);
}

void
request_turn_away(Request *request, VtStatus status, uint32_t away_ms, const char *words)
{
	NetConn    *conn = net_conn_ref(request->conn);
	Buf			out = {0};

	while (request)
	{
		Request    *mates = request->mates;

		put_refusal(&out, request, status, away_ms, words);
		request = mates;
	}
	net_reply(conn, &out);
	net_conn_release(conn);
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

/* May it wait, with its mates?  Under the lock, as the next ones. */
static bool
may_wait(const Worker *worker, const Request *request)
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
		waiting_in_time(&worker->searches, request->lane, worker->npool - 1, request->until_us - request->received_us);
}

static void
add(Worker *worker, Request *request)
{
	request->foreseen_us = waiting_work_us(&worker->searches, request->lane, worker->npool - 1);
	request->added_us = clock_now_us();
	waiting_add(&worker->searches, request);
	for (Request *r = request; r; r = r->mates)
		r->waited = true;
}

/* How many wait, and for how long one that comes now would. */
typedef struct Crowd
{
	uint32_t	waiting;
	int64_t		time_us;
} Crowd;

static Crowd
crowd_of(const Worker *worker, const Request *request)
{
	if (!request_is_long(request))
		return (Crowd) {(uint32_t) worker->at_door, AWAY_MS * 1000};
	return (Crowd) {worker->searches.n, waiting_time_us(&worker->searches, request->lane, worker->npool - 1)};
}

/* The worker has too much to do; who is told stays away for as long as that takes. */
static void
turn_away_busy(Request *request, Crowd crowd)
{
	int64_t		ms = crowd.time_us / 1000;
	char		words[96];

	snprintf(words, sizeof(words), "%u questions wait at this worker, one more would for about %" PRId64 " ms", crowd.waiting, ms);
	ms = ms < AWAY_LEAST_MS ? AWAY_LEAST_MS : ms < AWAY_MOST_MS ? ms : AWAY_MOST_MS;
	request_turn_away(request, VT_BUSY, (uint32_t) ms, words);
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
	Crowd		crowd = {0};

	pthread_mutex_lock(&worker->lock);
	if (worker->stopping)
		refused = VT_STOPPING;
	else if (bounded && !may_wait(worker, request))
	{
		refused = VT_BUSY;
		crowd = crowd_of(worker, request);
		for (const Request *r = request; r; r = r->mates)
			worker->turned_away++;
	}
	else if (request_is_long(request))
	{
		add(worker, request);
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
	pthread_mutex_unlock(&worker->lock);
	if (refused == VT_BUSY)
		turn_away_busy(request, crowd);
	else if (refused != VT_OK)
		request_turn_away(request, refused, AWAY_MS, vt_status_words(refused));
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

/* How long it waited tells how long others will; of a request of many queries the first is asked. */
static void
learn(Worker *worker, Request *request)
{
	if (request->added_us != 0)
		waiting_waited(&worker->searches, request->foreseen_us, clock_now_us() - request->added_us);
	request->added_us = 0;
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
		learn(worker, request);
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
