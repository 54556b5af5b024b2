/*-------------------------------------------------------------------------
 *
 * many.c
 *	  A search of many queries: each is served alone, by whoever has a thread, and
 *	  all are answered as one.
 *
 * When the replica may answer (search.c), at one applied index for all of them, the
 * request goes back to where searches wait, and stays there until each of its queries
 * was taken (waiting_put_back()).  So many threads work for it as are free; a query
 * takes its turn among other searches, and counts as one wherever these are counted.
 * Whoever ends with the last one that was left answers.
 *
 * One lease is for all of them, for as long as they take: it is how a cancel, the end of
 * the connection and of the shard reach them.  The client comes back to none.
 *
 * All or nothing: when one is stopped no other counts, and law D1 is looked at once,
 * after the last record was read.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "queues.h"
#include "serve.h"

typedef struct Many
{
	WireSearch	search;			/* points into the request's payload */
	Predicate  *predicate;
	Lease	   *lease;
	atomic_uint next;			/* query to be served next */
	atomic_uint left;			/* queries whose end is not known */
	atomic_int	status;			/* VtStatus: why there will be no answer */
	atomic_size_t bytes;		/* of results */
	Buf		   *results;		/* encoded, of each query */
} Many;

void
many_free(Request *request)
{
	Many	   *many = request->many;

	if (!many)
		return;
	for (uint32_t i = 0; i < many->search.nqueries; i++)
		buf_free(&many->results[i]);
	atomic_fetch_sub_explicit(&request->worker->request_bytes, atomic_load(&many->bytes), memory_order_relaxed);
	lease_put_back(request->worker, many->lease, false);
	predicate_free(many->predicate);
	free(many->results);
	free(many);
	request->many = NULL;
}

static void
answer(Request *request)
{
	Many	   *many = request->many;
	WireReply	head = request_head(request, VT_OK);
	Bytes	   *results;
	Buf			body = {0};

	if (atomic_load(&many->status) != VT_OK)
	{
		request_refuse(request, (VtStatus) atomic_load(&many->status), NULL);
		return;
	}
	if (!shard_view_holds(request->shard, &request->view, many->lease->applied))
	{
		request_refuse(request, VT_WRONG_SHARD, "the shard was split meanwhile");
		return;
	}
	head.range_ver = request->view.range_ver;
	head.last = request->view.last;
	head.applied = many->lease->applied;
	results = vt_alloc(sizeof(Bytes) * many->search.nqueries);
	for (uint32_t i = 0; i < many->search.nqueries; i++)
		results[i] = buf_bytes(&many->results[i]);
	wire_search_results_put(&body, results, many->search.nqueries);
	free(results);
	request_finish(request, &head, buf_bytes(&body));
	buf_free(&body);
}

/* The end of n queries is known; with that of the last one the request ends. */
static bool
is_last(Many *many, uint32_t n)
{
	return atomic_fetch_sub(&many->left, n) == n;
}

bool
many_goes_on(Request *request)
{
	Many	   *many = request->many;

	if (request->more == 0)
		return false;
	if (atomic_load(&many->status) == VT_OK && !search_is_in_vain(many->lease))
		return true;
	/* Not by this: the one that was taken is left. */
	atomic_fetch_sub(&many->left, request->more);
	request->more = 0;
	return false;
}

/* One query; any thread that serves. */
static void
serve_one(Request *request, uint64_t index)
{
	Many	   *many = request->many;
	uint32_t	query = atomic_fetch_add(&many->next, 1);
	Buf		   *out = &many->results[query];
	WireSearchResult result;
	RecordScan *scan;
	SearchPage	page;

	(void) index;
	if (search_is_in_vain(many->lease))
		atomic_store(&many->status, VT_TIMEOUT);
	if (atomic_load(&many->status) == VT_OK)
	{
		scan = search_open(request, &many->search, query, many->predicate, many->lease);
		search_take(request, scan, many->search.k, WIRE_PAYLOAD_MAX / 2 / many->search.nqueries, &page);
		if (record_scan_stopped(scan))
			atomic_store(&many->status, VT_TIMEOUT);
		else
		{
			const HnswCost *cost = record_scan_cost(scan);

			memset(&result, 0, sizeof(result));
			result.distances = (uint32_t) (cost->distances + cost->refined);
			result.hops = (uint32_t) cost->hops;
			search_result_put(request, scan, &page, &result, out);
			atomic_fetch_add(&many->bytes, out->len);
			atomic_fetch_add_explicit(&request->worker->request_bytes, out->len, memory_order_relaxed);
		}
		record_scan_close(scan);
		buf_free(&page.hits);
	}
	if (is_last(many, 1))
		answer(request);
}

void
many_begin(Request *request, const WireSearch *search, Predicate *predicate, Lease *lease)
{
	Many	   *many = vt_alloc0(sizeof(Many));

	many->search = *search;
	many->predicate = predicate;
	many->lease = lease;
	many->results = vt_alloc0(sizeof(Buf) * search->nqueries);
	atomic_init(&many->left, search->nqueries);
	request->many = many;
	request->then = serve_one;
	request->out = NULL;

	/* If that comes later, it meets the lease. */
	if (net_conn_is_closed(request->conn))
		request_free(request);
	else
		pool_put(request->worker, request);
}

void
many_cancel(Request *request)
{
	Many	   *many = request->many;

	/* Before the others can be the last. */
	atomic_store(&many->status, VT_CANCELLED);
	if (is_last(many, 1 + request->more))
		request_free(request);
}
