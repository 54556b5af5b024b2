/*-------------------------------------------------------------------------
 *
 * list.c
 *	  Listing every record of a generation, or failing.
 *
 * One shard after the other, in order of their intervals.  A shard's stream
 * comes from one snapshot taken at or after the mark, page by page; while the
 * caller reads a page the next one is on its way.  VACUUM frees TIDs by what
 * this says (law W5), so everything is checked: that each page is for the whole
 * interval of the shard as routed, and the intervals tile the space (D1); that
 * the snapshot is not older than the mark; that each id belongs to the shard it
 * came from; that the last page's count is the number of items that came.
 *
 * A stream cannot be entered in its middle: only the question for a first page
 * is asked again.  Whatever else goes wrong ends the listing for good, with
 * VT_LEASE_GONE where beginning again may help.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>

#include "private.h"

#define PAGE_US INT64_C(30000000)

struct ClientList
{
	ClientList *next;			/* of the client */
	Client	   *client;
	VtId		generation;
	WireOwner	owner;
	uint32_t	flags;			/* LIST_VECTORS, LIST_METADATA */

	uint32_t	n;
	ClientShard *shards;
	uint64_t   *marks;

	/* Where it stands */
	uint32_t	current;		/* shard; n = at the end */
	uint64_t	count;			/* items of this shard so far */
	uint64_t	lease;			/* 0 = its first page is still to be asked for */
	uint64_t	lease_conn;
	bool		reading;		/* page is valid */
	WireListResult page;
	size_t		at;
	Request		here;			/* owns the page's bytes */
	Request		ahead;			/* the next page, under way */

	VtStatus	broken;
	VtError		why;
};

/* The shard of a route with this id, or NULL. */
static const WireShardDesc *
desc_of(const ClientCollection *route, uint64_t shard)
{
	for (uint32_t i = 0; i < route->nshards; i++)
		if (route->shards[i].desc.shard == shard)
			return &route->shards[i].desc;
	return NULL;
}

/*
 * The mark for this life of a shard; false: there is none.  One that was split off
 * since has the mark of its parent, if that lies before the split: what was raised
 * and answered for there holds for the child, whose log begins at the split.
 */
static bool
mark_of(const ClientMarks *marks, const ClientCollection *route, const WireShardDesc *desc, uint64_t *out)
{
	uint64_t	bound = UINT64_MAX;

	for (uint32_t depth = 0; desc && depth <= route->nshards; depth++)
	{
		for (uint32_t i = 0; i < marks->n; i++)
			if (marks->items[i].shard == desc->shard && marks->items[i].incarnation == desc->incarnation)
			{
				*out = marks->items[i].index;
				return *out <= bound;
			}
		bound = desc->base_index;
		desc = desc->parent != 0 ? desc_of(route, desc->parent) : NULL;
	}
	return false;
}

VtStatus
client_list_open(Client *client, const VtId *generation, const WireOwner *owner,
				 const ClientMarks *marks, uint32_t flags, int64_t deadline_us, ClientList **out,
				 VtError *err)
{
	const ClientCollection *route;
	ClientList *list;
	uint64_t	mark;
	VtStatus	status;

	*out = NULL;
	if ((flags & ~(uint32_t) (LIST_VECTORS | LIST_METADATA)) != 0)
		return vt_fail(err, VT_INVALID, "a listing cannot be asked for with flags %u", flags);
	status = client_route(client, generation, false, deadline_us, &route, err);
	if (status == VT_OK && marks && marks->route_version > route->route_version)
		status = client_route(client, generation, true, deadline_us, &route, err);
	if (status != VT_OK)
		return status;
	/* A shard that is not the one of the mark may know nothing of what it covers. */
	for (uint32_t i = 0; marks && i < route->nshards; i++)
		if (!mark_of(marks, route, &route->shards[i].desc, &mark))
			return vt_fail(err, VT_WRONG_SHARD, "shard %" PRIu64 " at %s: the shards changed before the listing",
						   route->shards[i].desc.shard, route->shards[i].endpoint);
	list = vt_alloc0(sizeof(ClientList));
	list->client = client;
	list->generation = *generation;
	list->owner = *owner;
	list->flags = flags;
	list->n = route->nshards;
	list->shards = vt_alloc(sizeof(ClientShard) * list->n);
	memcpy(list->shards, route->shards, sizeof(ClientShard) * list->n);
	list->marks = vt_alloc0(sizeof(uint64_t) * list->n);
	for (uint32_t i = 0; marks && i < list->n; i++)
		mark_of(marks, route, &list->shards[i].desc, &list->marks[i]);
	list->next = client->lists;
	client->lists = list;
	*out = list;
	return VT_OK;
}

/* Is that a worker of before metadata was listed, which is wanted?  Not as far as is known: it may not have greeted. */
static bool
is_too_old(const ClientList *list, const Conn *conn)
{
	return (list->flags & LIST_METADATA) != 0 && conn && !conn_knows(conn, WIRE_FEATURE_METADATA);
}

/* A further page, which nobody else has: as long as it takes a slow link, not a worker that stands still. */
static int64_t
page_until(int64_t deadline_us)
{
	int64_t		until = clock_now_us() + PAGE_US;

	return until > deadline_us ? 0 : until;
}

/* One that is too old may not be the one that leads: it is asked for something that tells. */
static void
ask_page(ClientList *list, Conn *conn, Request *request, const Retry *retry, int64_t deadline_us)
{
	WireList	question;
	Buf		   *out;
	size_t		frame;

	memset(&question, 0, sizeof(question));
	question.route = route_of(&list->shards[list->current].desc, &list->owner, deadline_us);
	question.mark = list->marks[list->current];
	question.lease = list->lease;
	question.flags = is_too_old(list, conn) ? 0 : list->flags;
	question.limit_bytes = is_too_old(list, conn) ? 1 : LIST_PAGE_BYTES;
	frame = request_begin(list->client, conn, request, WIRE_LIST, &out);
	wire_list_put(out, &question);
	request_send(request, frame);
	request->until_us = list->lease ? page_until(deadline_us) : try_until(retry, &list->shards[list->current], deadline_us);
}

/* The answer to list->ahead is VT_OK: is it what we asked for?  Then it is the page. */
static VtStatus
take_page(ClientList *list, const Answer *answer, int64_t deadline_us, VtError *err)
{
	const ClientShard *shard = &list->shards[list->current];
	const Retry fresh = {0};
	Request		spare = list->here;
	Conn	   *conn;

	if (wire_list_result_get(answer->body, &list->page) != VT_OK ||
		(!list->page.last && list->page.lease == 0) || list->page.metadata != ((list->flags & LIST_METADATA) != 0))
		return malformed(shard, err);
	if (answer->head.applied < list->marks[list->current])
		return vt_fail(err, VT_PROTOCOL, "shard %" PRIu64 " at %s listed at %" PRIu64 ", before the mark %" PRIu64,
					   shard->desc.shard, shard->endpoint, answer->head.applied,
					   list->marks[list->current]);
	/* Neither hangs on a connection now, so they may change places. */
	list->here = list->ahead;
	list->ahead = spare;
	list->ahead.done = false;
	list->at = 0;
	list->reading = true;
	list->lease = list->page.lease;
	list->lease_conn = list->here.conn_serial;
	conn = list->page.last ? NULL : conn_by_serial(list->client, list->lease_conn);
	if (conn)
		ask_page(list, conn, &list->ahead, &fresh, deadline_us);
	return VT_OK;
}

/* What a worker of before answers is not what was asked for, and says that it leads. */
static VtStatus
led_by_old(ClientList *list, const Answer *answer, VtError *err)
{
	const ClientShard *shard = &list->shards[list->current];

	/* Its stream is let go of with the list. */
	if (wire_list_result_get(answer->body, &list->page) == VT_OK)
		list->lease = list->page.lease;
	list->lease_conn = list->ahead.conn_serial;
	return vt_fail(err, VT_VERSION, "shard %" PRIu64 " at %s: the worker that leads it is of an older release, which lists no metadata: upgrade the workers first",
				   shard->desc.shard, answer->asked);
}

/* The first page of the current shard: may be asked for again and again. */
static VtStatus
first_page(ClientList *list, int64_t deadline_us, VtError *err)
{
	Retry		retry = {0};
	const ClientCollection *route;
	VtStatus	status;

	for (;;)
	{
		ClientShard *shard = &list->shards[list->current];
		VtError		failure = {0};
		Conn	   *conn = conn_of(list->client, shard->endpoint, &failure);
		bool		old = is_too_old(list, conn);
		Answer		answer;
		Advice		advice;

		retry.refresh = false;
		if (conn)
		{
			ask_page(list, conn, &list->ahead, &retry, deadline_us);
			status = request_wait(list->client, &list->ahead, deadline_us, err);
			if (status == VT_TIMEOUT)
				status = unanswered(&retry, shard, err);
			if (status != VT_OK)
				return status;
			advice = answer_get(&list->ahead, &shard->desc, true, &answer);
			if (advice == ADVICE_DONE)
				return old ? led_by_old(list, &answer, err) : take_page(list, &answer, deadline_us, err);
			/* It had not greeted when it was asked, and takes the flag for nonsense. */
			if (!old && answer.head.status == VT_PROTOCOL &&
				is_too_old(list, conn_by_serial(list->client, list->ahead.conn_serial)))
				continue;
			if (advice == ADVICE_FAIL)
			{
				if (err)
					*err = answer.err;
				return answer.head.status;
			}
			retry_note(list->client, &retry, shard, advice, &answer);
		}
		else if (status_is_passing(failure.code))
			retry_note_lost(list->client, &retry, shard, failure.code, &failure);
		else
		{
			if (err)
				*err = failure;
			return failure.code;
		}
		status = retry_wait(list->client, &retry, deadline_us, err);
		if (status == VT_OK)
			status = route_again(list->client, &list->generation, &retry, deadline_us, &route, err);
		if (status != VT_OK)
			return status;
		if (!route_same_shape(route, list->shards, list->n))
			return vt_fail(err, VT_LEASE_GONE, "the shards changed during the listing");
		shard_take_places(shard, &route->shards[list->current]);
	}
}

/* The page that is under way, of a stream that has begun. */
static VtStatus
next_page(ClientList *list, int64_t deadline_us, VtError *err)
{
	Retry		retry = {0};
	VtStatus	status;

	for (;;)
	{
		ClientShard *shard = &list->shards[list->current];
		Conn	   *conn = conn_by_serial(list->client, list->lease_conn);
		Answer		answer;
		Advice		advice;

		if (!list->ahead.conn && !list->ahead.done)
		{
			if (!conn)
				return vt_fail(err, VT_LEASE_GONE, "shard %" PRIu64 " at %s: the connection was lost during the listing",
							   shard->desc.shard, shard->endpoint);
			ask_page(list, conn, &list->ahead, &retry, deadline_us);
		}
		status = request_wait(list->client, &list->ahead, deadline_us, err);
		if (status == VT_TIMEOUT)
			status = unanswered(&retry, shard, err);
		if (status != VT_OK)
			return status;
		advice = answer_get(&list->ahead, &shard->desc, true, &answer);
		if (advice == ADVICE_DONE)
			return take_page(list, &answer, deadline_us, err);
		if (answer.head.status != VT_BUSY)
		{
			if (advice == ADVICE_FAIL)
				vt_fail(err, answer.head.status, "%s", vt_error_words(&answer.err));
			else
				vt_fail(err, VT_LEASE_GONE, "%s", vt_error_words(&answer.err));
			return advice == ADVICE_FAIL ? answer.head.status : VT_LEASE_GONE;
		}
		/* It was refused at the door, so the stream has not moved. */
		list->ahead.done = false;
		retry_note(list->client, &retry, shard, advice, &answer);
		status = retry_wait(list->client, &retry, deadline_us, err);
		if (status != VT_OK)
			return status;
	}
}

static VtStatus
list_step(ClientList *list, int64_t deadline_us, WireListItem *item, VtError *err)
{
	bool		vectors = (list->flags & LIST_VECTORS) != 0;

	while (list->current < list->n)
	{
		const ClientShard *shard = &list->shards[list->current];
		VtStatus	status;

		if (!list->reading)
		{
			status = list->lease == 0 ? first_page(list, deadline_us, err) :
				next_page(list, deadline_us, err);
			if (status != VT_OK)
				return status;
		}
		if (wire_list_item_next(&list->page, &list->at, item))
		{
			uint64_t	place = wire_place(&shard->desc, item->id);
			WireAttributes attributes;

			if (place < shard->desc.first || place > shard->desc.last)
				return vt_fail(err, VT_CORRUPT, "shard %" PRIu64 " at %s listed a record that is not its own",
							   shard->desc.shard, shard->endpoint);
			if (item->dim != (vectors ? shard->desc.dim : 0) ||
				(vectors && list->page.bits != (shard->desc.element == VEC_BIT)) ||
				wire_attributes_get(item->attributes, vectors ? shard->desc.nattributes : 0, &attributes) != VT_OK)
				return malformed(shard, err);
			list->count++;
			return VT_OK;
		}
		list->reading = false;
		if (!list->page.last)
			continue;
		if (list->page.total != list->count)
			return vt_fail(err, VT_CORRUPT, "shard %" PRIu64 " at %s: %" PRIu64 " records came of %" PRIu64,
						   shard->desc.shard, shard->endpoint, list->count, list->page.total);
		list->current++;
		list->count = 0;
		list->lease = 0;
	}
	memset(item, 0, sizeof(*item));
	return VT_OK;
}

VtStatus
client_list_next(ClientList *list, int64_t deadline_us, WireListItem *item, VtError *err)
{
	VtError		failure = {0};

	memset(item, 0, sizeof(*item));
	if (list->broken == VT_OK)
	{
		VtStatus	status = list_step(list, deadline_us, item, &failure);

		if (status == VT_OK)
			return VT_OK;
		memset(item, 0, sizeof(*item));
		list->broken = status;
		list->why = failure;
	}
	if (err)
		*err = list->why;
	return list->broken;
}

void
client_list_close(ClientList *list)
{
	Client	   *client;
	Conn	   *conn;

	if (!list)
		return;
	client = list->client;
	request_drop(&list->ahead);
	request_drop(&list->here);
	conn = list->lease ? conn_by_serial(client, list->lease_conn) : NULL;
	if (conn)
	{
		WireList	question;
		Buf			payload = {0};

		memset(&question, 0, sizeof(question));
		question.route = route_of(&list->shards[list->current].desc, &list->owner,
								  clock_now_us() + 1000000);
		question.lease = list->lease;
		question.flags = LIST_CLOSE;
		wire_list_put(&payload, &question);
		request_send_unheard(client, conn, WIRE_LIST, buf_bytes(&payload));
		buf_free(&payload);
	}
	for (ClientList **p = &client->lists; *p; p = &(*p)->next)
		if (*p == list)
		{
			*p = list->next;
			break;
		}
	free(list->shards);
	free(list->marks);
	free(list);
}

void
list_free_all(Client *client)
{
	while (client->lists)
		client_list_close(client->lists);
}
