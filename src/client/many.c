/*-------------------------------------------------------------------------
 *
 * many.c
 *	  Scans that are asked together: one question to each shard for the first batches
 *	  of all.
 *
 * They are scans as any others, one a query.  The first asks for all of them, so who
 * is asked, when somebody else is asked too, and what an answer is worth (fetch.c,
 * choose.c, answer.c) is what it is for one; an answer that counts gives each scan its
 * batch.  What comes later each asks for itself: few need it, and what is to be
 * excluded then is another list for each.
 *
 * When the shards have changed meanwhile all begin anew, since nothing has been
 * returned yet.  A worker of before takes one query at a time: then each scan asks for
 * itself what it does not have.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "scan.h"

#define QUESTION_BYTES (1u << 20)	/* vectors of a question */
#define STREAMS_MAX 16384		/* of all scans */
#define HITS_MAX (1u << 20)		/* of all scans, from all shards: some forty bytes each */

/* As many of n queries as are asked together, each for a batch from each shard. */
static uint32_t
together(uint32_t n, size_t bytes, uint32_t nshards, uint32_t batch)
{
	uint32_t	most = (uint32_t) (QUESTION_BYTES / bytes);

	if (most > STREAMS_MAX / nshards)
		most = STREAMS_MAX / nshards;
	if (most > HITS_MAX / nshards / batch)
		most = HITS_MAX / nshards / batch;
	if (most > WIRE_QUERIES_MAX)
		most = WIRE_QUERIES_MAX;
	if (most > n)
		most = n;
	return most > 1 ? most : 1;
}

/* The first batches of all, as far as they can be asked for together. */
static VtStatus
fetch_together(ClientScan **scans, uint32_t n, int64_t deadline_us, VtError *err)
{
	ClientScan *asks = scans[0];
	Buf			queries = {0};
	VtStatus	status;

	for (uint32_t i = 0; i < n; i++)
		buf_put(&queries, scans[i]->query, asks->query_bytes);
	asks->mates = scans;
	asks->nmates = n;
	asks->queries = queries.data;
	status = scan_fetch(asks, deadline_us, err);
	for (uint32_t i = 0; i < asks->n; i++)
		stream_stop(asks, &asks->streams[i]);
	asks->mates = NULL;
	asks->nmates = 0;
	asks->queries = NULL;
	buf_free(&queries);
	return status;
}

VtStatus
client_scan_open_many(Client *client, const ClientSearch *search, uint32_t n, int64_t deadline_us, ClientScan **out,
					  uint32_t *opened, VtError *err)
{
	const ClientCollection *route;
	VtStatus	status = scan_route(client, search, deadline_us, &route, err);
	size_t		bytes;

	Assert(n > 0);
	*opened = 0;
	if (status == VT_OK)
		status = scan_check(search, n, route, err);
	if (status != VT_OK)
		return status;
	bytes = vec_given_bytes(route->element, search->dim);
	n = together(n, bytes, route->nshards, search->batch);
	for (uint32_t i = 0; i < n; i++)
	{
		ClientSearch one = *search;

		one.query = (const uint8_t *) search->query + i * bytes;
		out[i] = scan_new(client, &one, route);
	}
	if (n > 1)
		status = fetch_together(out, n, deadline_us, err);
	else
		status = scan_fetch(out[0], deadline_us, err);
	if (status == VT_OK)
		*opened = n;
	for (uint32_t i = 0; i < n && status != VT_OK; i++)
	{
		client_scan_close(out[i]);
		out[i] = NULL;
	}
	return status;
}
