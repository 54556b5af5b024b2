/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  The service threads: they move the frames of gateways and serve them.
 *
 * All are alike.  Each waits in net_server_poll(), reads what came, gives the
 * connection free, and serves what it read, so that a request wakes one thread
 * and no other.  Raft has threads of its own, so searches never run where it
 * does.
 *
 * Searches and listings may take long.  At most search_threads are under way at
 * a time, which is one fewer than there are threads: somebody always reads, and
 * what is short (writes up to the proposal, index reads, control, cancels)
 * never waits behind a search.  What finds no room waits, fair by collection and
 * of one collection the one whose time is over first in front (waiting.h), and is
 * looked at when a search ends.  A request that had to wait for an index comes back
 * through pool_put(), by the same queue.
 *
 * Messages of peers and what writers propose are stepped by the thread that has read
 * them: none has to be woken for them.  Each step ends in messages, in a batch for the
 * log and in wakes, so who has read something of that kind looks what else is there
 * first, and steps once for all of it.  Chunks of snapshots are not for these threads
 * (intake.c).
 *
 * What is past its deadline takes no thread: it is answered VT_TIMEOUT instead.
 * Who may wait says queues.c; the requests of one gateway's connection are bounded.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "queues.h"

#define NO_DEADLINE_US INT64_C(60000000)	/* of requests that name none */
#define CROWDED_MS 50			/* a connection that has too many under way stays away so long */

/* An answer is held so long, and so many bytes of them, for mates that are still to be served. */
#define HELD_US 2000
#define HELD_BYTES (64u << 10)

/* What is read before it is stepped, at most: looks for more, and bytes of requests. */
#define TOGETHER 4
#define TOGETHER_BYTES (256u << 10)

/* What this thread has read and not served yet, in the order of coming. */
static _Thread_local RequestQueue taken;
static _Thread_local bool took_messages;	/* of peers */

/*
 * The asker has lost interest: drop the request, or what it left behind.  Where it is in
 * the hands of another thread, or waits for an index, it is met by what its connection
 * remembers: before it begins (run), or when its lease is made, which is under the lock
 * that this one looks for leases under.
 */
static void
cancel(Worker *worker, WireType type, NetConn *from, uint64_t id)
{
	uint64_t	conn = net_conn_id(from);
	Request    *found = request_queue_find(&taken, conn, id);

	net_conn_cancel(from, id);
	if (!found)
	{
		pthread_mutex_lock(&worker->lock);
		if (type == WIRE_SEARCH || type == WIRE_LIST)
			found = waiting_find(&worker->searches, conn, id);
		else
		{
			found = request_queue_find(&worker->door, conn, id);
			worker->at_door -= found != NULL;
		}
		pthread_mutex_unlock(&worker->lock);
	}
	if (found && !found->many)
	{
		request_free(found);
		return;
	}
	lease_cancel(worker, conn, id);
	if (found)
		many_cancel(found);
}

/* Raft messages are believed to come from the store that its HELLO named. */
static bool
speaks_for_itself(const NetConn *conn, Bytes payload)
{
	return net_conn_role(conn) == WIRE_ROLE_WORKER &&
		wire_raft_store(payload) == net_conn_store(conn);
}

/* What a frame asks, or that its asker has lost interest in; NULL = nothing that is answered. */
static Request *
request_of(Worker *worker, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Request    *request;
	uint32_t	deadline_ms = UINT32_MAX;

	if (header->kind == WIRE_CANCEL)
		cancel(worker, header->type, conn, header->request);
	if (header->kind != WIRE_REQUEST)
		return NULL;
	request = vt_alloc0(sizeof(Request));
	request->conn = net_conn_ref(conn);
	request->type = header->type;
	request->request = header->request;
	request->payload = *payload;
	memset(payload, 0, sizeof(*payload));
	request->received_us = clock_now_us();
	request->closes = wire_peek_close(header->type, buf_bytes(&request->payload));
	if (request_is_long(request))
	{
		VtId		collection = wire_peek_generation(buf_bytes(&request->payload));

		request->lane = waiting_lane(&worker->searches, &collection);
		if (request->type == WIRE_SEARCH)
			request->more = wire_peek_queries(buf_bytes(&request->payload)) - 1;
		deadline_ms = wire_peek_deadline_ms(buf_bytes(&request->payload));
	}
	request->until_us = request->received_us +
		(deadline_ms == UINT32_MAX ? NO_DEADLINE_US : (int64_t) deadline_ms * 1000);
	request->worker = worker;
	request->counted = request->payload.len;
	atomic_fetch_add_explicit(&worker->request_bytes, request->counted, memory_order_relaxed);

	/* Served at once, and it frees: as many as come. */
	if (request->closes)
		return request;
	request->places = wire_search_places(1 + request->more);
	if (net_conn_requests(conn, (int) request->places) <= WIRE_OUTSTANDING_MAX || net_conn_role(conn) == WIRE_ROLE_WORKER)
		return request;
	pthread_mutex_lock(&worker->lock);
	worker->turned_away++;
	pthread_mutex_unlock(&worker->lock);
	request_turn_away(request, VT_BUSY, CROWDED_MS, "as many requests of this connection as may be are under way");
	return NULL;
}

/* In net_server_poll(), on the thread that will serve it or queue it. */
void
pool_take_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Worker	   *worker = (Worker *) arg;
	Request    *request = request_of(worker, conn, header, payload);

	if (header->kind == WIRE_ONEWAY && speaks_for_itself(conn, buf_bytes(payload)))
	{
		worker_note_taken(worker, payload->len);
		replica_host_take(worker->host, payload);
		took_messages = true;
	}
	else if (header->kind == WIRE_ONEWAY)
		atomic_fetch_add(&worker->foreign, 1);
	if (request && header->type == WIRE_CHUNK)
		intake_put(worker->intake, request);
	else if (request)
		request_queue_add(&taken, request);
}

/*
 * On a thread that serves nobody and must not step the cores.  It may still come
 * when the pool has stopped, and intake and host are about to.
 */
void
pool_take_exposed(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Worker	   *worker = (Worker *) arg;
	Request    *request = request_of(worker, conn, header, payload);
	bool		ours = header->kind == WIRE_ONEWAY && speaks_for_itself(conn, buf_bytes(payload));

	if (header->kind == WIRE_ONEWAY && !ours)
		atomic_fetch_add(&worker->foreign, 1);
	pthread_mutex_lock(&worker->lock);
	if (ours && !worker->stopping)
	{
		worker_note_taken(worker, payload->len);
		replica_host_receive(worker->host, payload);
	}
	if (request && header->type == WIRE_CHUNK && !worker->stopping)
	{
		intake_put(worker->intake, request);
		request = NULL;
	}
	pthread_mutex_unlock(&worker->lock);
	if (request)
		queues_put(worker, request, true);
}

/* Nobody wants it any more, as was said while it was where cancel() does not look. */
static bool
is_cancelled(Worker *worker, Request *request)
{
	/* Of one of many queries that is told by the lease. */
	if (!request_is_long(request) || request->many || !net_conn_is_cancelled(request->conn, request->request))
		return false;
	pthread_mutex_lock(&worker->lock);
	worker->forgotten++;
	pthread_mutex_unlock(&worker->lock);
	request_free(request);
	return true;
}

static void
run(Worker *worker, Request *request)
{
	int64_t		begun_us = request_is_long(request) ? clock_now_us() : 0;
	uint32_t	lane = request->lane;
	bool		waited = request->waited;
	int64_t		until_us = request->until_us;

	if (is_cancelled(worker, request))
		return;
	if (request->then)
		request->then(request, request->index);
	else
		serve(worker, request);
	if (begun_us)
	{
		int64_t		took = clock_now_us() - begun_us;
		int64_t		over = begun_us + took - (until_us > begun_us ? until_us : begun_us);

		atomic_store(&worker->searched_us, begun_us + took);
		pthread_mutex_lock(&worker->lock);
		waiting_served(&worker->searches, lane, took, waited);
		if (over > worker->overran_us)
			worker->overran_us = over;
		pthread_mutex_unlock(&worker->lock);
	}
}

/* Its time was over while it waited. */
static bool
is_expired(Worker *worker, Request *request)
{
	if (!request_is_long(request) || clock_now_us() < request->until_us)
		return false;
	pthread_mutex_lock(&worker->lock);
	worker->expired++;
	pthread_mutex_unlock(&worker->lock);
	request_turn_away(request, VT_TIMEOUT, 0, "its time was over before a thread was free");
	return true;
}

static void
step_once(Worker *worker, bool *unstepped)
{
	if (*unstepped)
		replica_host_step(worker->host);
	*unstepped = false;
}

/* Has this thread read enough?  A search or listing is. */
static bool
took_enough(void)
{
	size_t		bytes = 0;

	for (const Request *r = taken.first; r; r = r->next)
	{
		bytes += r->payload.len;
		if (request_is_long(r) || bytes > TOGETHER_BYTES)
			return true;
	}
	return false;
}

/* What is to be stepped is read before that is done, as far as it is there. */
static void
read_more(Worker *worker)
{
	int			n = 0;

	if (taken.first || took_messages)
		while (n++ < TOGETHER && !took_enough() && net_server_poll_more(worker->server))
			;
}

/*
 * Serve what was read: what is short at once, then one search.  Further ones,
 * of a gateway that asks several shards at a time, are for other threads; where these
 * have enough to do they wait together.
 */
static void
serve_taken(Worker *worker, bool *searching)
{
	Request    *own = NULL;
	Request    *request;
	RequestQueue others = {NULL, &others.first};
	bool		unstepped = took_messages;

	took_messages = false;
	while ((request = request_queue_take(&taken)) != NULL)
	{
		if (request->type == WIRE_WRITE)
		{
			run(worker, request);
			unstepped = true;
		}
		else if (!request_is_long(request))
		{
			step_once(worker, &unstepped);
			run(worker, request);
		}
		else if (!own && queues_begin_searching(worker))
		{
			own = request;
			*searching = true;
		}
		else
			request_queue_add(&others, request);
	}
	step_once(worker, &unstepped);
	worker_look_if_due(worker);
	queues_put_all(worker, &others);
	if (own)
		run(worker, own);
}

bool
reply_may_wait(size_t bytes, int64_t held_us, int64_t took_us)
{
	return bytes <= HELD_BYTES && held_us + took_us <= HELD_US;
}

static void
serve_queued(Worker *worker, Request *request)
{
	bool		unstepped = request->type == WIRE_WRITE;
	NetConn    *conn;
	Buf			out = {0};
	int64_t		since_us = 0;

	/* One query of many; others of them may be served now, or wait. */
	if (request->many)
	{
		run(worker, request);
		return;
	}
	conn = request->mates ? net_conn_ref(request->conn) : NULL;

	/* Replies to mates leave together: their asker is woken once. */
	while (request)
	{
		Request    *mates = request->mates;
		int64_t		begun_us = clock_now_us();
		int64_t		now_us;

		request->mates = NULL;
		request->out = conn ? &out : NULL;
		if (!is_expired(worker, request))
			run(worker, request);
		now_us = clock_now_us();
		if (out.len > 0 && since_us == 0)
			since_us = now_us;
		if (out.len > 0 && (!mates || !reply_may_wait(out.len, now_us - since_us, now_us - begun_us)))
		{
			net_reply(conn, &out);
			since_us = 0;
		}
		request = mates;
	}
	if (conn)
		net_conn_release(conn);
	step_once(worker, &unstepped);
}

static void *
pool_main(void *arg)
{
	Worker	   *worker = (Worker *) arg;
	bool		searching = false;
	bool		stopping = false;

	thread_name("serve");
	taken.end = &taken.first;
	while (!stopping)
	{
		Request    *request;

		net_server_poll(worker->server);
		read_more(worker);
		serve_taken(worker, &searching);
		while ((request = queues_next(worker, &searching)) != NULL)
			serve_queued(worker, request);
		pthread_mutex_lock(&worker->lock);
		stopping = worker->stopping;
		pthread_mutex_unlock(&worker->lock);
	}
	return NULL;
}

PoolFigures
pool_figures(Worker *worker)
{
	PoolFigures figures;

	pthread_mutex_lock(&worker->lock);
	figures.waiting = worker->searches.n;
	figures.at_door = (uint32_t) worker->at_door;
	figures.searching = worker->searching;
	figures.service_us = (int64_t) worker->searches.service_us;
	figures.expired = worker->expired;
	figures.turned_away = worker->turned_away;
	figures.overran_us = worker->overran_us;
	figures.forgotten = worker->forgotten;
	pthread_mutex_unlock(&worker->lock);
	return figures;
}

void
pool_start(Worker *worker)
{
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);

	worker->npool = 1 + (worker->options.search_threads ? worker->options.search_threads :
						 (uint32_t) (cores > 2 ? cores : 2));
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
	pthread_mutex_unlock(&worker->lock);
	for (uint32_t i = 0; i < worker->npool; i++)
		net_server_wake(worker->server);
	for (uint32_t i = 0; i < worker->npool; i++)
		pthread_join(worker->pool[i], NULL);
	free(worker->pool);
}
