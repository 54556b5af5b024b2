/*-------------------------------------------------------------------------
 *
 * queues.h
 *	  Private to worker: between pool.c, whose threads serve, and the queues where
 *	  requests wait for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_QUEUES_H
#define WORKER_QUEUES_H

#include "private.h"

/* Bytes of replies, held for so long: may they wait for a search that takes as long as the last did? (pool.c) */
extern bool reply_may_wait(size_t bytes, int64_t held_us, int64_t took_us);

/* It may take long: a search or a listing. */
extern bool request_is_long(const Request *request);

/*
 * many.c: one of a request's queries was taken; are others to be served as well?  If not,
 * they have ended.  Under the lock.
 */
extern bool many_goes_on(Request *request);

/*
 * many.c: the asker has no use for the answer.  The request was waiting and does no
 * more; who serves one of its queries ends it.
 */
extern void many_cancel(Request *request);

/*
 * Refuse a request and its mates at the door, with the head that belongs to the type: of
 * no shard, so whoever is told knows that it is the worker's word for all of them.
 */
extern void request_turn_away(Request *request, VtStatus status, uint32_t away_ms, const char *words);

/* Take the request of a connection out of a queue; NULL = it is not there. */
extern Request *request_queue_find(RequestQueue *queue, uint64_t conn, uint64_t id);

/* Let a request, with its mates, wait for a thread, or turn it away. */
extern void queues_put(Worker *worker, Request *request, bool bounded);

/* The same for all of a queue; those that are mates wait as one, if they must. */
extern void queues_put_all(Worker *worker, RequestQueue *queue);

/*
 * The next request.  *searching: the caller counts as one who searches, before and
 * after.
 */
extern Request *queues_next(Worker *worker, bool *searching);

/* From now on the caller counts as one who searches; false: as many as may do. */
extern bool queues_begin_searching(Worker *worker);

#endif							/* WORKER_QUEUES_H */
