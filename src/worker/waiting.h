/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  Private to worker: long requests that wait for a thread, the one whose time
 *	  is over first in front.
 *
 * No locks; the caller has one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_WAITING_H
#define WORKER_WAITING_H

#include <stddef.h>
#include <stdint.h>

struct Request;

typedef struct WaitingList
{
	struct Request **heap;
	uint32_t	n;
	uint32_t	room;
	uint64_t	arrivals;		/* of those with the same time the first comes first */
	size_t		bytes;			/* of their payloads */
} WaitingList;

extern void waiting_add(WaitingList *list, struct Request *request);
extern struct Request *waiting_take(WaitingList *list);	/* NULL = none waits */

/* Take a request of a connection out; NULL = it is not there. */
extern struct Request *waiting_find(WaitingList *list, uint64_t conn, uint64_t id);
extern void waiting_free(WaitingList *list);	/* it is empty */

#endif							/* WORKER_WAITING_H */
