/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  Private to worker: long requests that wait for a thread.
 *
 * Fair by collection: each collection has a lane, by a hash of its id, and the next
 * request is one of the lane whose requests have had the least time of threads.  In a
 * lane the one whose time is over first is in front.  So who asks much waits behind his
 * own questions; collections that share a lane share its turns.
 *
 * Requests that are mates (of one connection, read at once) come, wait and are taken
 * together.
 *
 * No locks; the caller has one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_WAITING_H
#define WORKER_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct Request;

#define WAITING_LANES 64		/* bits of a word */

typedef struct WaitingLane
{
	struct Request **heap;
	uint32_t	n;
	uint32_t	room;
	uint32_t	requests;		/* those in the heap and their mates; a query each */
	uint32_t	behind;			/* ... of which so many are queries behind another one of their request */
	size_t		bytes;			/* of their payloads */

	/*
	 * Time of threads that requests which waited here have had.  Where nobody waits it
	 * stands still, and begins again where the others are.
	 */
	int64_t		had_us;
	double		service_us;		/* a request takes, smoothed; 0 = not known */
} WaitingLane;

typedef struct WaitingList
{
	WaitingLane lanes[WAITING_LANES];
	uint64_t	used;			/* bit i: somebody waits in lane i */
	uint32_t	n;				/* requests in all lanes */
	size_t		bytes;
	uint64_t	arrivals;		/* of those with the same time the first comes first */
	int64_t		turn_us;		/* had_us of the lane that had the last turn */
	double		service_us;		/* a request of any lane takes, smoothed */

	/* Of those that were taken last: how long there was to do before them, and how long they waited; smoothed */
	double		foreseen_us;
	double		waited_us;
	uint64_t	salt;			/* nobody knows who shares a lane */
} WaitingList;

/* The lane of a collection. */
extern uint32_t waiting_lane(const WaitingList *list, const VtId *collection);

/*
 * Is there room for n more, of so many bytes together?  Of what is left free a lane gets
 * at most as much as it has: one that fills the list leaves half of it to others.
 */
extern bool waiting_has_room(const WaitingList *list, uint32_t lane, uint32_t n, size_t bytes, uint32_t most,
							 size_t most_bytes);

/*
 * What so many threads have to do before one that came now would be served, by what
 * requests take; and how long it would wait, by how long that took of late: threads do
 * not get all of the machine.  Of many queries of one request in its lane the next one is
 * before it: the others make way for what comes later.
 */
extern int64_t waiting_work_us(const WaitingList *list, uint32_t lane, uint32_t threads);
extern int64_t waiting_time_us(const WaitingList *list, uint32_t lane, uint32_t threads);

/* Would one that comes now, and has so much time, be served in it?  As far as that can be foreseen. */
extern bool waiting_in_time(const WaitingList *list, uint32_t lane, uint32_t threads, int64_t left_us);

/* It comes, or is taken (NULL = none waits), with its mates. */
extern void waiting_add(WaitingList *list, struct Request *request);
extern struct Request *waiting_take(WaitingList *list);

/* One that was taken waited so long, where so much was foreseen. */
extern void waiting_waited(WaitingList *list, int64_t foreseen_us, int64_t waited_us);

/*
 * One query of a request that was taken is served: the others (request->more of them, at
 * least one) go on waiting.  Their turn is as if they came one after the other, as fast
 * as one thread serves them: what comes later and has as much time is not behind all of
 * them.
 */
extern void waiting_put_back(WaitingList *list, struct Request *request);

/* A request of a lane took so long; it had waited here or not. */
extern void waiting_served(WaitingList *list, uint32_t lane, int64_t took_us, bool had_waited);

/* Take a request of a connection out, alone; NULL = it is not there. */
extern struct Request *waiting_find(WaitingList *list, uint64_t conn, uint64_t id);
extern void waiting_free(WaitingList *list);	/* it is empty */

#endif							/* WORKER_WAITING_H */
