/*-------------------------------------------------------------------------
 *
 * waiting.c
 *	  Long requests that wait for a thread: a heap for each lane, by the time they
 *	  have, and turns of the lanes by the time of threads they had.
 *
 * That is start-time fair queueing (Goyal, Vin and Cheng), with lanes in place of
 * flows (McKenney's stochastic fairness): a fixed number of them needs no care when
 * collections come and go, or when somebody makes them up.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/prng.h"
#include "private.h"

/* What was foreseen is not believed to be wrong by more. */
#define TIMES_LEAST 0.5
#define TIMES_MOST 8

/* With fewer than so many for each thread in front, no wait is too long. */
#define ALWAYS 4

/* -- A heap ---------------------------------------------------------------- */

static bool
comes_before(const Request *a, const Request *b)
{
	int64_t		a_us = a->until_us + a->after_us;
	int64_t		b_us = b->until_us + b->after_us;

	return a_us != b_us ? a_us < b_us : a->arrival < b->arrival;
}

/* Put a request where it belongs, at or above `at`. */
static void
sift_up(WaitingLane *lane, uint32_t at, Request *request)
{
	while (at > 0 && comes_before(request, lane->heap[(at - 1) / 2]))
	{
		lane->heap[at] = lane->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	lane->heap[at] = request;
}

/* The same at or below. */
static void
sift_down(WaitingLane *lane, uint32_t at, Request *request)
{
	for (;;)
	{
		uint32_t	child = 2 * at + 1;

		if (child >= lane->n)
			break;
		if (child + 1 < lane->n && comes_before(lane->heap[child + 1], lane->heap[child]))
			child++;
		if (comes_before(request, lane->heap[child]))
			break;
		lane->heap[at] = lane->heap[child];
		at = child;
	}
	lane->heap[at] = request;
}

/* -- Lanes ----------------------------------------------------------------- */

uint32_t
waiting_lane(const WaitingList *list, const VtId *collection)
{
	uint64_t	mixed = prng_mix(get_le64(collection->b) ^ list->salt);

	return (uint32_t) (prng_mix(mixed ^ get_le64(collection->b + 8)) % WAITING_LANES);
}

static double
service_us(const WaitingList *list, const WaitingLane *lane)
{
	return lane->service_us ? lane->service_us : list->service_us;
}

bool
waiting_has_room(const WaitingList *list, uint32_t lane, uint32_t n, size_t bytes, uint32_t most, size_t most_bytes)
{
	const WaitingLane *l = &list->lanes[lane];

	return (uint64_t) l->requests + list->n + n <= most && l->bytes + list->bytes + bytes <= most_bytes;
}

int64_t
waiting_work_us(const WaitingList *list, uint32_t lane, uint32_t threads)
{
	const WaitingLane *own = &list->lanes[lane];
	double		until_turn = service_us(list, own) * (own->requests - own->behind + 1);
	double		ahead = until_turn;

	/* Meanwhile each other lane has as much at most. */
	for (uint64_t left = list->used & ~(UINT64_C(1) << lane); left; left &= left - 1)
	{
		const WaitingLane *l = &list->lanes[__builtin_ctzll(left)];
		double		work = service_us(list, l) * l->requests;

		ahead += work < until_turn ? work : until_turn;
	}
	return (int64_t) (ahead / threads);
}

int64_t
waiting_time_us(const WaitingList *list, uint32_t lane, uint32_t threads)
{
	double		times = list->foreseen_us > 0 ? list->waited_us / list->foreseen_us : 1;

	times = times < TIMES_LEAST ? TIMES_LEAST : times < TIMES_MOST ? times : TIMES_MOST;
	return (int64_t) (times * (double) waiting_work_us(list, lane, threads));
}

/* A quarter of its time is for its service and its ways. */
bool
waiting_in_time(const WaitingList *list, uint32_t lane, uint32_t threads, int64_t left_us)
{
	return list->n < threads * ALWAYS || waiting_time_us(list, lane, threads) <= left_us / 4 * 3;
}

/* Where the others are, at least: nobody saves up time in which he asked for nothing. */
static void
join(WaitingList *list, WaitingLane *lane)
{
	if (lane->had_us < list->turn_us)
		lane->had_us = list->turn_us;
}

/* The lane that had the least of those where somebody waits; the list is not empty. */
static uint32_t
next_lane(const WaitingList *list)
{
	uint32_t	best = (uint32_t) __builtin_ctzll(list->used);

	for (uint64_t left = list->used & (list->used - 1); left; left &= left - 1)
	{
		uint32_t	lane = (uint32_t) __builtin_ctzll(left);

		if (list->lanes[lane].had_us < list->lanes[best].had_us)
			best = lane;
	}
	return best;
}

/* -- Coming and going ------------------------------------------------------ */

/* So many requests and bytes more, with mates, or fewer (sign -1); each query is one. */
static void
count(WaitingList *list, WaitingLane *lane, const Request *request, int sign)
{
	for (const Request *r = request; r; r = r->mates)
	{
		lane->requests += (uint32_t) sign * (1 + r->more);
		lane->behind += (uint32_t) sign * r->more;
		list->n += (uint32_t) sign * (1 + r->more);
		lane->bytes += (size_t) sign * r->payload.len;
		list->bytes += (size_t) sign * r->payload.len;
	}
}

void
waiting_add(WaitingList *list, Request *request)
{
	WaitingLane *lane = &list->lanes[request->lane];

	if (lane->n == lane->room)
	{
		lane->room = lane->room ? lane->room * 2 : 16;
		lane->heap = vt_realloc(lane->heap, sizeof(Request *) * lane->room);
	}
	if (lane->n == 0)
		join(list, lane);
	list->used |= UINT64_C(1) << request->lane;
	request->arrival = ++list->arrivals;
	count(list, lane, request, 1);
	sift_up(lane, lane->n++, request);
}

void
waiting_put_back(WaitingList *list, Request *request)
{
	request->more--;
	request->after_us += (int64_t) service_us(list, &list->lanes[request->lane]);
	waiting_add(list, request);
}

static Request *
take_at(WaitingList *list, uint32_t lane_number, uint32_t at)
{
	WaitingLane *lane = &list->lanes[lane_number];
	Request    *taken = lane->heap[at];
	Request    *last = lane->heap[--lane->n];

	count(list, lane, taken, -1);
	if (lane->n == 0)
		list->used &= ~(UINT64_C(1) << lane_number);
	if (at == lane->n)
		return taken;
	if (at > 0 && comes_before(last, lane->heap[(at - 1) / 2]))
		sift_up(lane, at, last);
	else
		sift_down(lane, at, last);
	return taken;
}

Request *
waiting_take(WaitingList *list)
{
	uint32_t	lane;

	if (list->n == 0)
		return NULL;
	lane = next_lane(list);
	if (list->turn_us < list->lanes[lane].had_us)
		list->turn_us = list->lanes[lane].had_us;
	return take_at(list, lane, 0);
}

/* One alone counts for a 64th: it may have been kept from the machine. */
static double
smoothed(double before, double now)
{
	return before == 0 ? now : before + (now - before) / 64;
}

/* That searches take less than it seemed is learnt sooner: the first ones find nothing in memory. */
static double
service_smoothed(double before, double took_us)
{
	return took_us < before ? before + (took_us - before) / 16 : smoothed(before, took_us);
}

void
waiting_waited(WaitingList *list, int64_t foreseen_us, int64_t waited_us)
{
	list->foreseen_us = smoothed(list->foreseen_us, (double) foreseen_us);
	list->waited_us = smoothed(list->waited_us, (double) waited_us);
}

void
waiting_served(WaitingList *list, uint32_t lane, int64_t took_us, bool had_waited)
{
	WaitingLane *l = &list->lanes[lane];

	list->service_us = service_smoothed(list->service_us, (double) took_us);
	l->service_us = service_smoothed(l->service_us, (double) took_us);
	if (had_waited)
		l->had_us += took_us;
}

/* Where a request is among mates. */
static Request **
find_mate(Request **mates, uint64_t conn, uint64_t id)
{
	while (*mates && ((*mates)->request != id || net_conn_id((*mates)->conn) != conn))
		mates = &(*mates)->mates;
	return mates;
}

Request *
waiting_find(WaitingList *list, uint64_t conn, uint64_t id)
{
	for (uint64_t left = list->used; left; left &= left - 1)
	{
		uint32_t	lane = (uint32_t) __builtin_ctzll(left);

		for (uint32_t i = 0; i < list->lanes[lane].n; i++)
		{
			Request    *found = *find_mate(&list->lanes[lane].heap[i], conn, id);
			Request    *all;

			if (!found)
				continue;
			/* The others come back where they were, or nearly: they have the same time. */
			all = take_at(list, lane, i);
			*find_mate(&all, conn, id) = found->mates;
			found->mates = NULL;
			if (all)
				waiting_add(list, all);
			return found;
		}
	}
	return NULL;
}

void
waiting_free(WaitingList *list)
{
	for (uint32_t i = 0; i < WAITING_LANES; i++)
		free(list->lanes[i].heap);
}
