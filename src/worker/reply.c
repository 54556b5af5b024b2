/*-------------------------------------------------------------------------
 *
 * reply.c
 *	  What a gateway is told about its request.
 *
 * Every reply of a shard begins with the shard's identity, interval, applied index
 * and fence (law D1).
 *
 *-------------------------------------------------------------------------
 */
#include "base/clock.h"
#include "serve.h"

#define HEAD_BYTES 256			/* of a frame and a reply: room, not a limit */

/* Fill the head of a reply about the request's shard, if it was found, or what is lent of it. */
WireReply
request_head(const Request *request, VtStatus status)
{
	const Shard *shard = request->shard;
	const ShardSpan *view = &request->view;
	WireReply	reply;
	ReplicaStatus replica;

	memset(&reply, 0, sizeof(reply));
	reply.status = status;
	reply.last = UINT64_MAX;
	if (shard)
	{
		reply.shard = shard->desc.shard;
		reply.incarnation = shard->desc.incarnation;
		reply.range_ver = atomic_load(&shard->range_ver);
		reply.first = shard->desc.first;
		reply.last = atomic_load(&shard->last);
		reply.fence = atomic_load(&shard->fence);
		replica_status(shard->replica, &replica);
		reply.applied = replica.applied;
	}
	if (shard && view->lent)
	{
		reply.shard = view->shard;
		reply.incarnation = view->incarnation;
		reply.range_ver = view->range_ver;
		reply.first = view->first;
		reply.last = view->last;
		reply.applied = view->base ? view->base : reply.applied;
		reply.fence = view->base ? view->fence : reply.fence;
	}
	return reply;
}

/* What was split off the shard since the version that was asked for, as far as it was the shard itself that was asked. */
static void
put_splits(const Request *request, Buf *out)
{
	WireShardDesc since[WIRE_SPLITS_MAX];
	uint32_t	n = 0;
	ShardChild	child;

	if (!request->shard || request->asked != request->shard->desc.shard)
		return;
	for (size_t i = 0; n < WIRE_SPLITS_MAX && shard_child(request->shard, i, &child); i++)
		if (child.desc.range_ver > request->range_ver)
			since[n++] = child.desc;
	if (n > 0)
		wire_splits_put(out, since, n);
}

/* Send head and body, and end the request. */
void
request_finish(Request *request, const WireReply *head, Bytes body)
{
	Buf			frame = {0};
	Buf			splits = {0};
	Buf		   *out = request->out ? request->out : &frame;
	size_t		begin;

	if (head->status == VT_WRONG_SHARD)
	{
		put_splits(request, &splits);
		body = buf_bytes(&splits);
	}
	buf_reserve(out, HEAD_BYTES + head->message.len + body.len);
	begin = wire_frame_begin(out, WIRE_REPLY, request->type, request->request);
	wire_reply_put(out, head);
	buf_put(out, body.data, body.len);
	wire_frame_end(out, begin);
	if (out == &frame)
		net_reply(request->conn, &frame);
	stats_reply(&request->worker->stats, request->type, head->status, request->received_us);
	request_free(request);
	buf_free(&splits);
}

void
request_refuse_for(Request *request, VtStatus status, const char *words, uint32_t retry_after_ms)
{
	WireReply	reply = request_head(request, status);

	reply.message = bytes_str(words ? words : vt_status_words(status));
	reply.retry_after_ms = retry_after_ms;
	request_finish(request, &reply, bytes_of(NULL, 0));
}

void
request_refuse(Request *request, VtStatus status, const char *words)
{
	request_refuse_for(request, status, words, status == VT_BUSY || status == VT_NOT_LEADER ? 10 : 0);
}
