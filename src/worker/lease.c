/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  Scans and listings that a client will come back to.
 *
 * A lease belongs to one connection and goes with it, or when the request that
 * used it last is cancelled, or after a minute without use, or when there are too many,
 * by number or by memory, and it was used longest ago.  A client whose lease is gone
 * starts again with what it has already returned excluded, so nothing is lost with it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/clock.h"
#include "private.h"

#define LEASES_MAX 256
#define LEASE_IDLE_US (60 * INT64_C(1000000))

static void
lease_free(Lease *lease)
{
	record_scan_close(lease->scan);
	store_iter_close(lease->iter);
	shard_stir(lease->shard);	/* what it kept in the graph can go */
	shard_release(lease->shard);
	free(lease);
}

/* Take it out of the table, where *place is; nobody works with it.  Under the lock. */
static Lease *
unlink_at(Worker *worker, Lease **place)
{
	Lease	   *lease = *place;

	*place = lease->next;
	worker->nleases--;
	worker->lease_bytes -= lease->bytes;
	return lease;
}

static void
unlink_lease(Worker *worker, const Lease *lease)
{
	for (Lease **p = &worker->leases; *p; p = &(*p)->next)
		if (*p == lease)
		{
			unlink_at(worker, p);
			return;
		}
}

/* It ends, but is freed by the house thread; under the lock. */
static void
condemn_at(Worker *worker, Lease **place)
{
	Lease	   *lease = unlink_at(worker, place);

	lease->next = worker->dead_leases;
	worker->dead_leases = lease;
}

/* Take out of the table what was used longest ago, as long as there is too much; a list. */
static Lease *
unlink_surplus(Worker *worker)
{
	uint64_t	most = worker_memory_bounds(worker->options.memory_limit).scans;
	Lease	   *surplus = NULL;

	while (worker->nleases > LEASES_MAX || worker->lease_bytes > most)
	{
		Lease	  **oldest = NULL;
		Lease	   *lease;

		for (Lease **p = &worker->leases; *p; p = &(*p)->next)
			if (!(*p)->busy && (!oldest || (*p)->used_us < (*oldest)->used_us))
				oldest = p;
		if (!oldest)
			break;
		lease = unlink_at(worker, oldest);
		lease->next = surplus;
		surplus = lease;
	}
	return surplus;
}

static void
free_list(Lease *leases)
{
	while (leases)
	{
		Lease	   *lease = leases;

		leases = lease->next;
		lease_free(lease);
	}
}

/* A new lease on the request's shard, which the caller works with. */
Lease *
lease_new(const Request *request)
{
	Worker	   *worker = request->worker;
	Lease	   *lease = vt_alloc0(sizeof(Lease));

	atomic_fetch_add(&request->shard->users, 1);
	lease->conn = net_conn_id(request->conn);
	lease->request = request->request;
	lease->shard = request->shard;
	lease->busy = true;
	lease->used_us = clock_now_us();
	pthread_mutex_lock(&worker->lock);
	lease->id = ++worker->lease_ids;
	lease->condemned = net_conn_is_cancelled(request->conn, request->request);
	lease->next = worker->leases;
	worker->leases = lease;
	pthread_mutex_unlock(&worker->lock);
	return lease;
}

/* Find one of this connection's and work with it; NULL = gone. */
Lease *
lease_take(const Request *request, uint64_t id)
{
	Worker	   *worker = request->worker;
	uint64_t	conn = net_conn_id(request->conn);
	Lease	   *found = NULL;

	pthread_mutex_lock(&worker->lock);
	for (Lease *l = worker->leases; l; l = l->next)
		if (l->id == id && l->conn == conn && !l->busy)
		{
			l->busy = true;
			worker->nleases--;
			l->request = request->request;
			l->condemned = net_conn_is_cancelled(request->conn, request->request);
			found = l;
			break;
		}
	pthread_mutex_unlock(&worker->lock);
	return found;
}

void
lease_put_back(Worker *worker, Lease *lease, bool keep)
{
	size_t		bytes = keep && lease->scan ? record_scan_bytes(lease->scan) : 0;
	Lease	   *surplus = NULL;
	bool		gone;

	pthread_mutex_lock(&worker->lock);
	lease->busy = false;
	worker->nleases++;
	lease->used_us = clock_now_us();
	worker->lease_bytes += bytes - lease->bytes;
	lease->bytes = bytes;
	gone = !keep || lease->condemned;
	if (gone)
		unlink_lease(worker, lease);
	else
		surplus = unlink_surplus(worker);
	pthread_mutex_unlock(&worker->lock);
	if (gone)
		lease_free(lease);
	free_list(surplus);
}

/* End those that match; busy ones end when their thread is done. */
static void
drop_where(Worker *worker, uint64_t conn, const Shard *shard, int64_t before_us, bool all)
{
	pthread_mutex_lock(&worker->lock);
	for (Lease **p = &worker->leases; *p;)
	{
		Lease	   *l = *p;
		bool		match = all || (conn ? l->conn == conn : shard ? l->shard == shard :
									l->used_us < before_us);

		if (!match)
			p = &l->next;
		else if (l->busy)
		{
			l->condemned = conn != 0 || shard || all;
			p = &l->next;
		}
		else
			condemn_at(worker, p);
	}
	pthread_mutex_unlock(&worker->lock);
}

/* Free those that were dropped: not in nng's callbacks, it may take a while. */
void
lease_bury(Worker *worker)
{
	Lease	   *dead;

	pthread_mutex_lock(&worker->lock);
	dead = worker->dead_leases;
	worker->dead_leases = NULL;
	pthread_mutex_unlock(&worker->lock);
	free_list(dead);
}

/* In an nng callback. */
void
lease_drop_conn(Worker *worker, uint64_t conn)
{
	drop_where(worker, conn, NULL, 0, false);
}

/* All scans of a shard, at once. */
void
lease_drop_shard(Worker *worker, const Shard *shard)
{
	drop_where(worker, 0, shard, 0, false);
	lease_bury(worker);
}

/*
 * The client has dropped the answer to this request, so it does not know how
 * far the lease has moved, or that there is one.  In an nng callback.
 */
void
lease_cancel(Worker *worker, uint64_t conn, uint64_t request)
{
	pthread_mutex_lock(&worker->lock);
	for (Lease **p = &worker->leases; *p; p = &(*p)->next)
	{
		Lease	   *l = *p;

		if (l->conn != conn || l->request != request)
			continue;
		if (l->busy)
			l->condemned = true;
		else
			condemn_at(worker, p);
		break;
	}
	pthread_mutex_unlock(&worker->lock);
}

void
lease_expire(Worker *worker, int64_t now_us, bool all)
{
	drop_where(worker, 0, NULL, now_us - LEASE_IDLE_US, all);
}
