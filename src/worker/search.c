/*-------------------------------------------------------------------------
 *
 * search.c
 *	  Searches of gateways: whether this replica may answer, and the next hits.
 *
 * A search is opened when everything it must find has been applied here (rule R3,
 * door.h), as a lease that the client may come back to, and stops when nobody wants its
 * answer any more.
 *
 *-------------------------------------------------------------------------
 */
#include "base/breaks.h"
#include "base/clock.h"
#include "door.h"
#include "hot.h"
#include "serve.h"

void
search_take(const Request *request, RecordScan *scan, uint32_t k, size_t bytes, SearchPage *page)
{
	WireHit		hit;

	memset(page, 0, sizeof(*page));
	page->more = true;
	while (page->n < k && page->hits.len < bytes &&
		   (page->more = record_scan_next(scan, &hit.distance, &hit.version, &hit.id)))
	{
		if (!serve_is_own(request->shard, request->view.first, request->view.last, hit.id))
			continue;
		wire_hit_put(&page->hits, &hit);
		page->n++;
	}
}

void
search_result_put(const Request *request, const RecordScan *scan, const SearchPage *page, WireSearchResult *result,
				  Buf *out)
{
	Shard	   *shard = request->shard;
	ReplicaStatus replica;
	uint64_t	unindexed = shard_figures(shard).waiting;
	size_t		begin;

	replica_status(shard->replica, &replica);
	result->exhausted = !page->more;
	result->exact = record_scan_is_exact(scan) && shard->desc.quantization != QUANTIZATION_INT8_ONLY;
	result->leader = replica.serving && !request->view.base;
	result->waiting = pool_figures(request->worker).waiting;
	result->says_unindexed = (net_conn_features(request->conn) & WIRE_FEATURE_UNINDEXED) != 0;
	result->unindexed = unindexed < UINT32_MAX ? (uint32_t) unindexed : UINT32_MAX;
	result->meant = (uint32_t) hot_limit(shard);
	begin = wire_search_result_begin(out, result);
	buf_put(out, page->hits.data, page->hits.len);
	wire_search_result_end(out, begin, page->n);
}

/* The next k hits of a lease; ends the request and puts the lease back, if it is to be kept. */
static void
answer_search(Request *request, Lease *lease, uint32_t k, bool keep)
{
	WireReply	head = request_head(request, VT_OK);
	WireSearchResult result;
	SearchPage	page;
	const HnswCost *cost = record_scan_cost(lease->scan);
	Buf			body = {0};

	/* What holds at the end: it may be split while this goes on. */
	head.range_ver = request->view.range_ver;
	head.last = request->view.last;
	search_take(request, lease->scan, k, WIRE_PAYLOAD_MAX / 2, &page);
	if (record_scan_stopped(lease->scan))
	{
		lease_put_back(request->worker, lease, false);
		buf_free(&page.hits);
		request_refuse(request, VT_TIMEOUT, NULL);
		return;
	}
	if (!shard_view_holds(lease->shard, &request->view, lease->applied))
	{
		lease_put_back(request->worker, lease, false);
		buf_free(&page.hits);
		request_refuse(request, VT_WRONG_SHARD, "the shard was split meanwhile");
		return;
	}
	memset(&result, 0, sizeof(result));
	keep = keep && page.more;
	result.lease = keep ? lease->id : 0;
	result.distances = (uint32_t) (cost->distances + cost->refined - lease->told_distances);
	result.hops = (uint32_t) (cost->hops - lease->told_hops);
	lease->told_distances += result.distances;
	lease->told_hops += result.hops;
	search_result_put(request, lease->scan, &page, &result, &body);
	head.applied = lease->applied;
	lease_put_back(request->worker, lease, keep);
	request_finish(request, &head, buf_bytes(&body));
	buf_free(&body);
	buf_free(&page.hits);
}

bool
search_is_in_vain(void *arg)
{
	const Lease *lease = (const Lease *) arg;

	return atomic_load(&lease->condemned) || clock_now_us() >= lease->until_us;
}

RecordScan *
search_open(const Request *request, const WireSearch *search, uint32_t query, Predicate *predicate, Lease *lease)
{
	Shard	   *shard = request->shard;
	RecordScanOptions options;

	options.stop = search_is_in_vain;
	options.stop_arg = lease;
	options.query = search->vector + query * wire_vector_bytes(search->flags & SEARCH_BITS ? WIRE_BIT : WIRE_FLOAT32, search->dim);
	options.excluded = search->excluded;
	options.predicate = predicate;
	options.expected = search->k;
	options.ef = search->ef & WIRE_EF_RECALL ? 0 : search->ef;
	loan_keep(shard, &request->view, &options.expected, &options.ef);
	options.recall = search->ef & WIRE_EF_RECALL ? (search->ef & ~WIRE_EF_RECALL) / 10000.0 : 0;
	options.exact = (search->flags & SEARCH_EXACT) != 0;
	return record_scan_open(shard->records, &options);
}

static void
begin_search(Request *request, uint64_t index)
{
	WireSearch	search;
	Predicate  *predicate = NULL;
	Lease	   *lease;
	Shard	   *shard = request->shard;
	VtError		err = {0};
	VtStatus	status = VT_OK;

	/* Decoded before; this copy of it points into the same payload. */
	if (wire_search_get(buf_bytes(&request->payload), &search, NULL) != VT_OK ||
		(search.consistency == WIRE_AT_MARK && index < search.mark && !vt_broken("R3-behind")))
	{
		request_refuse(request, VT_BEHIND, NULL);
		return;
	}
	if (search.filter.len > 0)
		status = predicate_new(search.filter, shard->desc.attributes, shard->desc.nattributes, &predicate, &err);
	if (status != VT_OK)
	{
		request_refuse(request, status, err.msg);
		return;
	}
	lease = lease_new(request);
	lease->applied = index;
	lease->until_us = request->until_us;
	if (search.flags & SEARCH_MANY)
	{
		many_begin(request, &search, predicate, lease);
		return;
	}
	lease->scan = search_open(request, &search, 0, predicate, lease);
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
		request_refuse(request, VT_BEHIND, NULL);
	else
		request_refuse(request, view->base ? VT_NOT_LEADER : VT_WRONG_SHARD, NULL);
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

void
serve_search(Worker *worker, Request *request)
{
	WireSearch	search;
	ReplicaStatus replica;
	VtError		err = {0};
	VtStatus	status = wire_search_get(buf_bytes(&request->payload), &search, &err);
	Lease	   *lease;

	if (status != VT_OK)
	{
		request_refuse(request, status, err.msg);
		return;
	}
	if (!serve_find_shard(worker, request, &search.route))
		return;
	if (search.lease)
	{
		lease = lease_take(request, search.lease);
		if (search.flags & SEARCH_CLOSE)
		{
			WireReply	head = request_head(request, VT_OK);

			if (lease)
				lease_put_back(worker, lease, false);
			request_finish(request, &head, bytes_of(NULL, 0));
		}
		else if (!lease || !lease->scan || lease->shard != request->shard || request->view.base)
		{
			if (lease)
				lease_put_back(worker, lease, true);
			request_refuse(request, VT_LEASE_GONE, NULL);
		}
		else
		{
			lease->until_us = request->until_us;
			answer_search(request, lease, search.k, true);
		}
		return;
	}
	if (request->shard->desc.dim == 0)
	{
		request_refuse(request, VT_INVALID, "the records have no vectors, there is nothing to search for");
		return;
	}
	if (search.dim != request->shard->desc.dim || search.k == 0 ||
		((search.flags & SEARCH_BITS) != 0) != (shard_element(&request->shard->desc) == WIRE_BIT))
	{
		request_refuse(request, VT_INVALID, "the search has other dimensions than the shard, another element, or wants no rows");
		return;
	}
	replica_status(request->shard->replica, &replica);
	if (request->view.lent)
	{
		if ((replica.gone || request->view.old || is_left_alone(worker, &replica)) && search.consistency == WIRE_EVENTUAL)
			request_refuse(request, VT_BEHIND, NULL);
		else
			serve_lent(request, &search, replica.applied);
		return;
	}
	switch (door_search(search.consistency, search.mark, replica.applied, replica.leader))
	{
		case DOOR_SERVE:
			/* Who is no member hears nothing any more; marks say whether that matters. */
			if (replica.gone && search.consistency == WIRE_EVENTUAL)
				request_refuse(request, VT_BEHIND, "the replica is no member of its shard any more");
			else if (search.consistency == WIRE_EVENTUAL && is_left_alone(worker, &replica))
				request_refuse(request, VT_BEHIND, "the replica has heard neither from its leader nor from a placement driver for replica_grace");
			else
				begin_search(request, replica.applied);
			break;
		case DOOR_ASK:
			serve_when_current(request, begin_search, true);
			break;
		case DOOR_BEHIND:
			request_refuse(request, VT_BEHIND, NULL);
			break;
	}
}
