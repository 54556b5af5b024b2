/*-------------------------------------------------------------------------
 *
 * waiting.c
 *	  Long requests that wait for a thread: a heap by the time they have.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting.h"

#include <stdlib.h>

#include "private.h"

static bool
comes_before(const Request *a, const Request *b)
{
	return a->until_us != b->until_us ? a->until_us < b->until_us : a->arrival < b->arrival;
}

/* Put a request where it belongs, at or above `at`. */
static void
sift_up(WaitingList *list, uint32_t at, Request *request)
{
	while (at > 0 && comes_before(request, list->heap[(at - 1) / 2]))
	{
		list->heap[at] = list->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	list->heap[at] = request;
}

/* The same at or below. */
static void
sift_down(WaitingList *list, uint32_t at, Request *request)
{
	for (;;)
	{
		uint32_t	child = 2 * at + 1;

		if (child >= list->n)
			break;
		if (child + 1 < list->n && comes_before(list->heap[child + 1], list->heap[child]))
			child++;
		if (comes_before(request, list->heap[child]))
			break;
		list->heap[at] = list->heap[child];
		at = child;
	}
	list->heap[at] = request;
}

void
waiting_add(WaitingList *list, Request *request)
{
	if (list->n == list->room)
	{
		list->room = list->room ? list->room * 2 : 64;
		list->heap = vt_realloc(list->heap, sizeof(Request *) * list->room);
	}
	request->arrival = ++list->arrivals;
	list->bytes += request->payload.len;
	sift_up(list, list->n++, request);
}

static Request *
take_at(WaitingList *list, uint32_t at)
{
	Request    *taken = list->heap[at];
	Request    *last = list->heap[--list->n];

	list->bytes -= taken->payload.len;
	if (at == list->n)
		return taken;
	if (at > 0 && comes_before(last, list->heap[(at - 1) / 2]))
		sift_up(list, at, last);
	else
		sift_down(list, at, last);
	return taken;
}

Request *
waiting_take(WaitingList *list)
{
	return list->n > 0 ? take_at(list, 0) : NULL;
}

Request *
waiting_find(WaitingList *list, uint64_t conn, uint64_t id)
{
	for (uint32_t i = 0; i < list->n; i++)
		if (list->heap[i]->request == id && net_conn_id(list->heap[i]->conn) == conn)
			return take_at(list, i);
	return NULL;
}

void
waiting_free(WaitingList *list)
{
	free(list->heap);
}
