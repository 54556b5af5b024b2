/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  Scans and listings that a client will come back to.
 *
 * A lease belongs to one connection and goes with it, or when the request that
 * used it last is cancelled, or after a minute without use.  A client whose lease is gone starts again with what it has
 * already returned excluded, so nothing is lost with it.
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
	shard_release(lease->shard);
	free(lease);
}

/* Take it out of the table; under the lock. */
static void
unlink_lease(Worker *worker, Lease *lease)
{
	for (Lease **p = &worker->leases; *p; p = &(*p)->next)
		if (*p == lease)
		{
			*p = lease->next;
			worker->nleases--;
			return;
		}
}

/* A new lease on the request's shard, which the caller works with. */
Lease *
lease_new(const Request *request)
{
	Worker	   *worker = request->worker;
	Lease	   *lease = vt_alloc0(sizeof(Lease));
	Lease	   *oldest = NULL;

	atomic_fetch_add(&request->shard->users, 1);
	lease->conn = net_conn_id(request->conn);
	lease->request = request->request;
	lease->shard = request->shard;
	lease->busy = true;
	lease->used_us = clock_now_us();
	pthread_mutex_lock(&worker->lock);
	lease->id = ++worker->lease_ids;
	if (worker->nleases >= LEASES_MAX)
	{
		for (Lease *l = worker->leases; l; l = l->next)
			if (!l->busy && (!oldest || l->used_us < oldest->used_us))
				oldest = l;
		if (oldest)
			unlink_lease(worker, oldest);
	}
	lease->next = worker->leases;
	worker->leases = lease;
	worker->nleases++;
	pthread_mutex_unlock(&worker->lock);
	if (oldest)
		lease_free(oldest);
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
			l->request = request->request;
			found = l;
			break;
		}
	pthread_mutex_unlock(&worker->lock);
	return found;
}

void
lease_put_back(Worker *worker, Lease *lease, bool keep)
{
	bool		gone;

	pthread_mutex_lock(&worker->lock);
	lease->busy = false;
	lease->used_us = clock_now_us();
	gone = !keep || lease->condemned;
	if (gone)
		unlink_lease(worker, lease);
	pthread_mutex_unlock(&worker->lock);
	if (gone)
		lease_free(lease);
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
		{
			*p = l->next;
			worker->nleases--;
			l->next = worker->dead_leases;
			worker->dead_leases = l;
		}
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
	while (dead)
	{
		Lease	   *l = dead;

		dead = l->next;
		lease_free(l);
	}
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
		{
			*p = l->next;
			worker->nleases--;
			l->next = worker->dead_leases;
			worker->dead_leases = l;
		}
		break;
	}
	pthread_mutex_unlock(&worker->lock);
}

void
lease_expire(Worker *worker, int64_t now_us, bool all)
{
	drop_where(worker, 0, NULL, now_us - LEASE_IDLE_US, all);
}
