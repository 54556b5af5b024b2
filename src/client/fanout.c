/*-------------------------------------------------------------------------
 *
 * fanout.c
 *	  One question to every shard of a generation, and the end of waiting only
 *	  when all of one route have answered (law D1).
 *
 * Rounds: whoever has not answered is asked, all at once, or as many as a worker
 * takes from one connection and the others as these answer; then all answers are
 * waited for; then, if some were no answers, a pause, a look at the route, and
 * the next round.  When a round finds that the shards are others than before,
 * everything is asked anew: answers of two routes do not add up to one.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/breaks.h"
#include "private.h"

void
fanout_free(FanOut *fan)
{
	for (uint32_t i = 0; i < fan->n; i++)
		request_drop(&fan->requests[i]);
	free(fan->shards);
	free(fan->requests);
	free(fan->answers);
	memset(fan, 0, sizeof(*fan));
}

static void
begin(FanOut *fan, const ClientCollection *route)
{
	fan->n = route->nshards;
	fan->route_version = route->route_version;
	fan->shards = vt_alloc(sizeof(ClientShard) * fan->n);
	memcpy(fan->shards, route->shards, sizeof(ClientShard) * fan->n);
	fan->requests = vt_alloc0(sizeof(Request) * fan->n);
	fan->answers = vt_alloc0(sizeof(Answer) * fan->n);
}

/*
 * Ask those that have not been asked in this round, as many as their connections take;
 * *left: so many it was not.  A shard without a connection is noted.
 */
static VtStatus
send_some(Client *client, FanOut *fan, bool *asked, uint32_t *left, const WireOwner *owner, WireType type,
		  FanOutEncode encode, void *arg, int64_t deadline_us, Retry *retry, VtError *err)
{
	*left = 0;
	for (uint32_t i = 0; i < fan->n; i++)
	{
		Request    *request = &fan->requests[i];
		VtError		failure = {0};
		WireRoute	route;
		Conn	   *conn;
		Buf		   *out;
		size_t		frame;

		if (asked[i])
			continue;

		/* It still waits for the answer of a round before. */
		if (request->conn)
		{
			asked[i] = true;
			continue;
		}
		conn = conn_of(client, fan->shards[i].endpoint, &failure);
		if (conn && conn_is_full(conn, 1))
		{
			++*left;
			continue;
		}
		asked[i] = true;
		request->done = false;
		if (!conn)
		{
			if (!status_is_passing(failure.code))
			{
				if (err)
					*err = failure;
				return failure.code;
			}
			retry_note_lost(client, retry, &fan->shards[i], failure.code, &failure);
			continue;
		}
		route = route_of(&fan->shards[i].desc, owner, deadline_us);
		frame = request_begin(client, conn, request, type, &out);
		encode(out, &route, arg);
		request_send(request, frame);
		request->until_us = try_until(retry, &fan->shards[i], deadline_us);
	}
	return VT_OK;
}

VtStatus
fanout(Client *client, const VtId *generation, const WireOwner *owner, WireType type,
	   FanOutEncode encode, void *arg, int64_t deadline_us, FanOut *fan, uint64_t *fence,
	   VtError *err)
{
	const ClientCollection *route;
	Retry		retry = {0};
	bool	   *answered = NULL;
	bool	   *asked = NULL;
	VtStatus	status;

	memset(fan, 0, sizeof(*fan));
	status = client_route(client, generation, false, deadline_us, &route, err);
	while (status == VT_OK)
	{
		uint32_t	left = 0;
		uint32_t	to_ask;

		if (!fan->n || !route_same_shape(route, fan->shards, fan->n))
		{
			fanout_free(fan);
			begin(fan, route);
			if (type == WIRE_WRITE && vt_broken("W5-shards"))
				fan->n = 1;
			free(answered);
			free(asked);
			answered = vt_alloc0(sizeof(bool) * fan->n);
			asked = vt_alloc(sizeof(bool) * fan->n);
		}
		for (uint32_t i = 0; i < fan->n; i++)
			shard_take_places(&fan->shards[i], &route->shards[i]);

		retry.refresh = false;
		memcpy(asked, answered, sizeof(bool) * fan->n);
		status = send_some(client, fan, asked, &to_ask, owner, type, encode, arg, deadline_us, &retry, err);
		for (uint32_t i = 0; i < fan->n && status == VT_OK; i++)
		{
			Request    *request = &fan->requests[i];
			Advice		advice;

			if (answered[i])
				continue;
			left++;
			if (!request->conn && !request->done)
				continue;		/* it was not sent */
			status = request_wait(client, request, deadline_us, err);
			if (status == VT_TIMEOUT)
				status = unanswered(&retry, &fan->shards[i], err);
			if (status != VT_OK)
				break;
			advice = answer_get(request, &fan->shards[i].desc, true, &fan->answers[i]);
			if (fan->answers[i].head.fence > *fence)
				*fence = fan->answers[i].head.fence;
			if (advice == ADVICE_DONE)
			{
				answered[i] = true;
				left--;
			}
			else if (advice == ADVICE_FAIL)
			{
				if (err)
					*err = fan->answers[i].err;
				status = fan->answers[i].head.status;
			}
			else
				retry_note(client, &retry, &fan->shards[i], advice, &fan->answers[i]);
			if (status == VT_OK && to_ask > 0)
				status = send_some(client, fan, asked, &to_ask, owner, type, encode, arg, deadline_us, &retry, err);
		}
		if (status != VT_OK || left == 0)
			break;
		status = retry_wait(client, &retry, deadline_us, err);
		if (status == VT_OK)
			status = route_again(client, generation, &retry, deadline_us, &route, err);
	}
	free(answered);
	free(asked);
	if (status != VT_OK)
		fanout_free(fan);
	return status;
}
