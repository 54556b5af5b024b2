/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  What a gateway may ask of a shard.
 *
 * Every reply begins with the shard's identity, interval, applied index and
 * fence (law D1).  What is refused here is refused early, to save work; the
 * state machine decides again at apply.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "door.h"
#include "hot.h"
#include "private.h"

#define PAGE_BYTES (1u << 20)
#define FULL_WAIT_MS 50			/* before it is asked again whether memory has gone down */
#define HEAD_BYTES 256			/* of a frame and a reply: room, not a limit */

/* Fill the head of a reply about the request's shard, if it was found, or what is lent of it. */
static WireReply
reply_head(const Request *request, VtStatus status)
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

/* Send head and body, and end the request. */
static void
finish(Request *request, const WireReply *head, Bytes body)
{
	Buf			frame = {0};
	Buf		   *out = request->out ? request->out : &frame;
	size_t		begin;

	buf_reserve(out, HEAD_BYTES + head->message.len + body.len);
	begin = wire_frame_begin(out, WIRE_REPLY, request->type, request->request);
	wire_reply_put(out, head);
	buf_put(out, body.data, body.len);
	wire_frame_end(out, begin);
	if (out == &frame)
		net_reply(request->conn, &frame);
	stats_reply(&request->worker->stats, request->type, head->status, request->received_us);
	request_free(request);
}

static void
refuse_for(Request *request, VtStatus status, const char *words, uint32_t retry_after_ms)
{
	WireReply	reply = reply_head(request, status);

	reply.message = bytes_str(words ? words : vt_status_words(status));
	reply.retry_after_ms = retry_after_ms;
	finish(request, &reply, bytes_of(NULL, 0));
}

static void
refuse(Request *request, VtStatus status, const char *words)
{
	refuse_for(request, status, words, status == VT_BUSY || status == VT_NOT_LEADER ? 10 : 0);
}

VtStatus
shard_is_whole(Shard *shard)
{
	ReplicaStatus replica;

	if (atomic_load(&shard->whole))
		return VT_OK;
	replica_status(shard->replica, &replica);
	if (replica.leader ? !replica.serving : !replica.current)
		return VT_BUSY;
	if (replica.applied < shard->newest)
		return replica.leader ? VT_CORRUPT : VT_BUSY;
	atomic_store(&shard->whole, true);
	return VT_OK;
}

/* A child that serves nobody yet, if what it is to have is lent; else the shard itself.  Held; NULL: neither is here. */
static Shard *
find_or_lender(Worker *worker, Request *request, uint64_t id, bool *lent)
{
	Shard	   *shard = worker_find_shard(worker, id);
	Shard	   *lender = NULL;

	if (!shard || (request->type == WIRE_SEARCH && shard_is_whole(shard) != VT_OK))
		lender = worker_find_lender(worker, id);
	*lent = lender != NULL;
	if (lender && shard)
		shard_release(shard);
	return lender ? lender : shard;
}

/*
 * Find the shard a request names and check that it is the asker's; for a search also
 * what is lent of one.  False: the request has been answered.
 */
static bool
find_shard(Worker *worker, Request *request, const WireRoute *route)
{
	bool		lent;
	Shard	   *shard = find_or_lender(worker, request, route->shard, &lent);
	VtStatus	status = VT_OK;

	request->shard = shard;
	request->range_ver = route->range_ver;
	if (!shard)
		status = VT_WRONG_SHARD;
	else if (atomic_load(&shard->installing))
		status = VT_BUSY;
	else if (!net_conn_may_own(request->conn, shard->desc.owner.system))
		status = VT_DENIED;
	else if (!vt_id_equal(&shard->desc.generation, &route->generation))
		status = VT_UNKNOWN_GENERATION;
	else if (!wire_owner_equal(&shard->desc.owner, &route->owner) && !vt_broken("W7-owner"))
		status = VT_NOT_OWNER;
	else if (shard_went_back(&shard->desc) && !vt_broken("W7-life"))
		status = VT_LOST;
	else if (!shard_view(shard, route->shard, route->range_ver, &request->view))
		status = VT_WRONG_SHARD;
	else if (request->view.lent && request->type != WIRE_SEARCH)
		status = lent ? VT_NOT_LEADER : VT_WRONG_SHARD;
	else if (clock_now_us() - request->received_us > (int64_t) route->deadline_ms * 1000)
		status = VT_TIMEOUT;
	else
		status = shard_is_whole(shard);
	if (status == VT_OK)
		return true;
	refuse(request, status, status == VT_LOST ? SHARD_WENT_BACK_WORDS :
		   status == VT_CORRUPT ? "the shard's log ends before its rows: acknowledged writes are lost" : NULL);
	return false;
}

/* -- Writes ---------------------------------------------------------------- */

static void
on_written(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Request    *request = (Request *) arg;
	WireReply	head = reply_head(request, status);

	if (index)
		head.applied = index;
	if (status != VT_OK)
		head.message = bytes_str(vt_status_words(status));
	if (status == VT_BUSY || status == VT_NOT_LEADER)
		head.retry_after_ms = 10;
	finish(request, &head, reply);
}

static void
serve_write(Worker *worker, Request *request)
{
	WireWrite	write;
	VtError		err = {0};
	VtStatus	status = wire_write_get(buf_bytes(&request->payload), &write, &err);

	if (status != VT_OK)
	{
		refuse(request, status, err.msg);
		return;
	}
	if (write.type == WRITE_VERIFY || write.type == WRITE_EXPIRE)
	{
		refuse(request, VT_INVALID, "that is for the leader of the shard to write");
		return;
	}
	if (!find_shard(worker, request, &write.route))
		return;
	if (write.type == WRITE_SPLIT)
	{
		refuse(request, VT_DENIED, "shards are split by the placement driver");
		return;
	}
	if (!shard_attributes_fit(request->shard, &write))
	{
		refuse(request, VT_INVALID, "the attributes of a record are not those that the collection declares");
		return;
	}
	if (write.type == WRITE_PUT)
	{
		const char *words;
		uint32_t	wait_ms;

		status = worker_admit(worker, request->shard, request->payload.len, &words);
		if (status != VT_OK)
		{
			refuse_for(request, status, words, status == VT_BUSY ? FULL_WAIT_MS : 0);
			return;
		}
		wait_ms = indexer_wait_ms(worker->indexer, request->shard);
		if (wait_ms > 0)
		{
			refuse_for(request, VT_BUSY, "the shard's graph has to catch up first", wait_ms);
			return;
		}
	}
	/* A fence too low now will be too low at apply: fences only rise. */
	if ((write.type == WRITE_PUT || write.type == WRITE_DELETE) &&
		write.fence < atomic_load(&request->shard->fence) && !vt_broken("W6-fence"))
	{
		refuse(request, VT_FENCED, NULL);
		return;
	}
	replica_propose_soon(request->shard->replica, buf_bytes(&request->payload), on_written, request);
}

/*
 * Law D1: what was read is for the interval of the route only if that still holds
 * when it has been read.  False: the request has been answered.
 */
static bool
still_holds(Request *request)
{
	if (shard_route_holds(request->shard, request->range_ver))
		return true;
	refuse(request, VT_WRONG_SHARD, "the shard was split meanwhile");
	return false;
}

/* Is this id of the interval?  Rows of a child may be there for a while. */
static bool
is_own(const Shard *shard, uint64_t first, uint64_t last, Bytes id)
{
	uint64_t	place;

	if (first == shard->desc.first && last == shard->born_last)
		return true;
	place = wire_place(&shard->desc, id);
	return place >= first && place <= last;
}

/* -- Reads ----------------------------------------------------------------- */

/* On a thread of Raft's: the work itself goes back to the service threads. */
static void
on_read(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Request    *request = (Request *) arg;

	(void) reply;
	if (status != VT_OK)
	{
		refuse(request, status, NULL);
		return;
	}
	request->index = index;
	pool_put(request->worker, request);
}

/*
 * Call then(request, index) when this replica has applied everything that was
 * acknowledged before now.  A search may be anywhere, what VACUUM and marks are made
 * from is the leader's (law W5).
 */
static void
when_current(Request *request, RequestThen then, bool anywhere)
{
	uint64_t	index;

	if (replica_read_now(request->shard->replica, &index))
	{
		then(request, index);
		return;
	}
	request->then = then;
	request->out = NULL;
	(anywhere ? replica_read_anywhere : replica_read) (request->shard->replica, on_read, request);
}

static void
answer_read(Request *request, uint64_t index)
{
	WireReply	head = reply_head(request, VT_OK);
	WireReadResult result = {records_count(request->shard->records),
		records_waiting(request->shard->records), atomic_load(&request->shard->lsn)};
	Buf			body = {0};

	if (!still_holds(request))
		return;
	head.applied = index;
	wire_read_result_put(&body, &result);
	finish(request, &head, buf_bytes(&body));
	buf_free(&body);
}

static void
serve_read(Worker *worker, Request *request)
{
	WireRead	read;
	VtError		err = {0};
	VtStatus	status = wire_read_get(buf_bytes(&request->payload), &read, &err);

	if (status != VT_OK)
		refuse(request, status, err.msg);
	else if (find_shard(worker, request, &read.route))
		when_current(request, answer_read, false);
}

/* -- Searches -------------------------------------------------------------- */

/* The next k hits of a lease; ends the request and puts the lease back, if it is to be kept. */
static void
answer_search(Request *request, Lease *lease, uint32_t k, bool keep)
{
	WireReply	head = reply_head(request, VT_OK);
	WireSearchResult result;
	ReplicaStatus replica;
	uint64_t	unindexed;
	const HnswCost *cost = record_scan_cost(lease->scan);
	Buf			hits = {0};
	Buf			body = {0};
	uint32_t	n = 0;
	size_t		begin;
	WireHit		hit;
	bool		more = true;

	/* What holds at the end: it may be split while this goes on. */
	head.range_ver = request->view.range_ver;
	head.last = request->view.last;
	while (n < k && hits.len < WIRE_PAYLOAD_MAX / 2 &&
		   (more = record_scan_next(lease->scan, &hit.distance, &hit.version, &hit.id)))
	{
		if (!is_own(lease->shard, head.first, head.last, hit.id))
			continue;
		wire_hit_put(&hits, &hit);
		n++;
	}
	if (record_scan_stopped(lease->scan))
	{
		lease_put_back(request->worker, lease, false);
		buf_free(&hits);
		refuse(request, VT_TIMEOUT, NULL);
		return;
	}
	if (!shard_view_holds(lease->shard, &request->view, lease->applied))
	{
		lease_put_back(request->worker, lease, false);
		buf_free(&hits);
		refuse(request, VT_WRONG_SHARD, "the shard was split meanwhile");
		return;
	}
	memset(&result, 0, sizeof(result));
	keep = keep && more;
	result.lease = keep ? lease->id : 0;
	result.exhausted = !more;
	result.exact = record_scan_is_exact(lease->scan) && lease->shard->desc.quantization != QUANTIZATION_INT8_ONLY;
	replica_status(lease->shard->replica, &replica);
	result.leader = replica.serving && !request->view.base;
	result.waiting = pool_figures(request->worker).waiting;
	result.says_unindexed = (net_conn_features(request->conn) & WIRE_FEATURE_UNINDEXED) != 0;
	unindexed = shard_figures(lease->shard).waiting;
	result.unindexed = unindexed < UINT32_MAX ? (uint32_t) unindexed : UINT32_MAX;
	result.meant = (uint32_t) hot_limit(lease->shard);
	result.distances = (uint32_t) (cost->distances + cost->refined - lease->told_distances);
	result.hops = (uint32_t) (cost->hops - lease->told_hops);
	lease->told_distances += result.distances;
	lease->told_hops += result.hops;
	begin = wire_search_result_begin(&body, &result);
	buf_put(&body, hits.data, hits.len);
	wire_search_result_end(&body, begin, n);
	head.applied = lease->applied;
	lease_put_back(request->worker, lease, keep);
	finish(request, &head, buf_bytes(&body));
	buf_free(&body);
	buf_free(&hits);
}

/* Nobody wants the answer any more. */
static bool
is_in_vain(void *arg)
{
	const Lease *lease = (const Lease *) arg;

	return atomic_load(&lease->condemned) || clock_now_us() >= lease->until_us;
}

static void
begin_search(Request *request, uint64_t index)
{
	WireSearch	search;
	RecordScanOptions options;
	Predicate  *predicate = NULL;
	Lease	   *lease;
	Shard	   *shard = request->shard;
	VtError		err = {0};
	VtStatus	status = VT_OK;

	/* Decoded before; this copy of it points into the same payload. */
	if (wire_search_get(buf_bytes(&request->payload), &search, NULL) != VT_OK ||
		(search.consistency == WIRE_AT_MARK && index < search.mark && !vt_broken("R3-behind")))
	{
		refuse(request, VT_BEHIND, NULL);
		return;
	}
	if (search.filter.len > 0)
		status = predicate_new(search.filter, shard->desc.attributes, shard->desc.nattributes, &predicate, &err);
	if (status != VT_OK)
	{
		refuse(request, status, err.msg);
		return;
	}
	lease = lease_new(request);
	lease->applied = index;
	lease->until_us = request->until_us;
	options.stop = is_in_vain;
	options.stop_arg = lease;
	options.query = search.vector;
	options.excluded = search.excluded;
	options.predicate = predicate;
	/* Half of what is found may be of the other shard. */
	options.expected = atomic_load(&shard->lent) ? 2 * search.k : search.k;
	options.ef = search.ef & WIRE_EF_RECALL ? 0 : search.ef;
	options.recall = search.ef & WIRE_EF_RECALL ? (search.ef & ~WIRE_EF_RECALL) / 10000.0 : 0;
	options.exact = (search.flags & SEARCH_EXACT) != 0;
	lease->scan = record_scan_open(shard->records, &options);
	predicate_free(predicate);
	answer_search(request, lease, search.k, !(search.flags & SEARCH_ONCE) && !request->view.base);
}

/* Of what is lent, and so of the moment of a split: no more than a mark, and that not beyond. */
static void
serve_lent(Request *request, const WireSearch *search, uint64_t applied)
{
	const ShardSpan *view = &request->view;
	uint64_t	stands = view->base ? view->base : applied;

	if (door_lent(search->consistency, search->mark, stands) == DOOR_SERVE)
		begin_search(request, stands);
	else if (search->consistency == WIRE_AT_MARK)
		refuse(request, VT_BEHIND, NULL);
	else
		refuse(request, view->base ? VT_NOT_LEADER : VT_WRONG_SHARD, NULL);
}

/*
 * Nobody has said for long that it belongs to its shard and knows what is in it: it
 * may have been replaced, and be as old as that.
 */
static bool
is_left_alone(Worker *worker, const ReplicaStatus *replica)
{
	int64_t		grace_us = (int64_t) worker->options.replica_grace_ms * 1000;
	int64_t		now_us = clock_now_us();

	return grace_us > 0 && replica->led_us != 0 && now_us - replica->led_us > grace_us &&
		now_us - atomic_load(&worker->stats.beat_us) > grace_us;
}

static void
serve_search(Worker *worker, Request *request)
{
	WireSearch	search;
	ReplicaStatus replica;
	VtError		err = {0};
	VtStatus	status = wire_search_get(buf_bytes(&request->payload), &search, &err);
	Lease	   *lease;

	if (status != VT_OK)
	{
		refuse(request, status, err.msg);
		return;
	}
	if (!find_shard(worker, request, &search.route))
		return;
	if (search.lease)
	{
		lease = lease_take(request, search.lease);
		if (search.flags & SEARCH_CLOSE)
		{
			WireReply	head = reply_head(request, VT_OK);

			if (lease)
				lease_put_back(worker, lease, false);
			finish(request, &head, bytes_of(NULL, 0));
		}
		else if (!lease || !lease->scan || lease->shard != request->shard || request->view.base)
		{
			if (lease)
				lease_put_back(worker, lease, true);
			refuse(request, VT_LEASE_GONE, NULL);
		}
		else
		{
			lease->until_us = request->until_us;
			answer_search(request, lease, search.k, true);
		}
		return;
	}
	if (search.dim != request->shard->desc.dim || search.k == 0)
	{
		refuse(request, VT_INVALID, "the search has other dimensions than the shard, or wants no rows");
		return;
	}
	replica_status(request->shard->replica, &replica);
	if (request->view.lent)
	{
		if ((replica.gone || request->view.old) && search.consistency == WIRE_EVENTUAL)
			refuse(request, VT_BEHIND, NULL);
		else
			serve_lent(request, &search, replica.applied);
		return;
	}
	switch (door_search(search.consistency, search.mark, replica.applied, replica.leader))
	{
		case DOOR_SERVE:
			/* Who is no member hears nothing any more; marks say whether that matters. */
			if (replica.gone && search.consistency == WIRE_EVENTUAL)
				refuse(request, VT_BEHIND, "the replica is no member of its shard any more");
			else if (search.consistency == WIRE_EVENTUAL && is_left_alone(worker, &replica))
				refuse(request, VT_BEHIND, "the replica has heard neither from its leader nor from a placement driver for replica_grace");
			else
				begin_search(request, replica.applied);
			break;
		case DOOR_ASK:
			when_current(request, begin_search, true);
			break;
		case DOOR_BEHIND:
			refuse(request, VT_BEHIND, NULL);
			break;
	}
}

/* -- Listings -------------------------------------------------------------- */

/* Listings are of float32, which every half is. */
static const uint8_t *
listed_vector(Buf *scratch, const StoreRow *row)
{
	if (!row->halves)
		return row->vector;
	buf_clear(scratch);
	for (uint32_t i = 0; i < row->dim; i++)
	{
		float		x;

		vector_take(&x, row->vector + 2 * (size_t) i, 1, VEC_FLOAT16);
		buf_put_f32(scratch, x);
	}
	return scratch->data;
}

static void
answer_list(Request *request, Lease *lease, uint32_t limit)
{
	WireReply	head = reply_head(request, VT_OK);
	WireListResult result;
	Buf			items = {0};
	Buf			body = {0};
	Buf			scratch = {0};
	Bytes		key;
	Bytes		value;
	uint32_t	n = 0;
	size_t		begin;
	VtError		err = {0};
	VtStatus	status = VT_OK;
	bool		more = true;
	bool		attributes = lease->vectors && lease->shard->desc.nattributes > 0;

	if (limit == 0 || limit > WIRE_PAYLOAD_MAX / 2)
		limit = PAGE_BYTES;
	while (status == VT_OK && items.len < limit && (more = store_iter_next(lease->iter, &key, &value)))
	{
		WireListItem item;
		StoreRow	row;

		status = row_get(value, &row, &err);
		if (status != VT_OK)
			break;
		item.id = bytes_of(key.data + 1, key.len - 1);
		if (!is_own(lease->shard, head.first, head.last, item.id))
			continue;
		item.version = row.index;
		item.dim = lease->vectors ? row.dim : 0;
		item.vector = lease->vectors ? listed_vector(&scratch, &row) : row.vector;
		item.attributes = row.attributes;
		wire_list_item_put(&items, &item, attributes);
		n++;
	}
	buf_free(&scratch);
	if (status == VT_OK && !more)
		status = store_iter_status(lease->iter, &err);
	if (status != VT_OK)
	{
		shard_note_damage(lease->shard, status, &err);
		lease_put_back(request->worker, lease, false);
		buf_free(&items);
		refuse(request, status, err.msg);
		return;
	}
	if (!shard_route_holds(lease->shard, request->range_ver))
	{
		lease_put_back(request->worker, lease, false);
		buf_free(&items);
		(void) still_holds(request);
		return;
	}
	lease->listed += n;
	memset(&result, 0, sizeof(result));
	result.lease = lease->id;
	result.last = !more;
	result.attributes = attributes;
	result.total = more ? 0 : lease->listed;
	begin = wire_list_result_begin(&body, &result);
	buf_put(&body, items.data, items.len);
	wire_list_result_end(&body, begin, n);
	head.applied = lease->applied;
	lease_put_back(request->worker, lease, more);
	finish(request, &head, buf_bytes(&body));
	buf_free(&body);
	buf_free(&items);
}

static void
begin_list(Request *request, uint64_t index)
{
	WireList	list;
	Lease	   *lease;
	Shard	   *shard = request->shard;

	/* Decoded before; this copy of it points into the same payload. */
	if (wire_list_get(buf_bytes(&request->payload), &list, NULL) != VT_OK || index < list.mark)
	{
		refuse(request, VT_BEHIND, NULL);
		return;
	}
	lease = lease_new(request);
	lease->applied = index;
	lease->vectors = (list.flags & LIST_VECTORS) != 0;
	lease->iter = store_iter_open(shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	answer_list(request, lease, list.limit_bytes);
}

static void
serve_list(Worker *worker, Request *request)
{
	WireList	list;
	VtError		err = {0};
	VtStatus	status = wire_list_get(buf_bytes(&request->payload), &list, &err);
	Lease	   *lease;

	if (status != VT_OK)
	{
		refuse(request, status, err.msg);
		return;
	}
	if (!find_shard(worker, request, &list.route))
		return;
	if (!list.lease)
	{
		when_current(request, begin_list, false);
		return;
	}
	lease = lease_take(request, list.lease);
	if (list.flags & LIST_CLOSE)
	{
		WireReply	head = reply_head(request, VT_OK);

		if (lease)
			lease_put_back(worker, lease, false);
		finish(request, &head, bytes_of(NULL, 0));
	}
	else if (!lease || !lease->iter || lease->shard != request->shard)
	{
		if (lease)
			lease_put_back(worker, lease, true);
		refuse(request, VT_LEASE_GONE, NULL);
	}
	else
		answer_list(request, lease, list.limit_bytes);
}

/* -- Control --------------------------------------------------------------- */

static void
serve_control(Worker *worker, Request *request)
{
	/* The status tells of everybody's shards. */
	char	   *text = net_conn_system(request->conn) == 0 ? status_answer_json(worker, buf_bytes(&request->payload)) :
		status_refusal_json(VT_DENIED);

	net_reply_frame(request->conn, WIRE_CONTROL, request->request, bytes_str(text));
	free(text);
	request_free(request);
}

void
serve(Worker *worker, Request *request)
{
	switch (request->type)
	{
		case WIRE_WRITE:
			serve_write(worker, request);
			break;
		case WIRE_SEARCH:
			serve_search(worker, request);
			break;
		case WIRE_LIST:
			serve_list(worker, request);
			break;
		case WIRE_READ_INDEX:
			serve_read(worker, request);
			break;
		case WIRE_CONTROL:
			serve_control(worker, request);
			break;
		default:
			refuse(request, VT_PROTOCOL, NULL);
			break;
	}
}
