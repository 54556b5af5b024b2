/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Searching all shards, merged in order of (distance, id), until no record
 *	  is left (rule R1).
 *
 * Each shard is a stream that gives batches; a hit goes out when every stream
 * has its nearest in hand, or is exhausted.  The first batch is as large as the
 * caller hopes to need; later ones are asked for when a stream runs dry, and
 * grow.
 *
 * Most scans end within their first batch, so a worker keeps nothing for it
 * and there is nothing to close: one message each way.  The second question
 * begins anew, with what came excluded.  From then on the worker keeps the state
 * of the stream under a lease, on one connection.  If the lease, the connection
 * or the answer to a pull is lost, nobody knows how far the worker's state has
 * moved: it is left behind, and the next question begins anew with the ids that
 * the stream has given so far (returned or still in hand) excluded.
 *
 * Every id is returned at most once, whatever the workers send.  A hit that is
 * nearer than one returned before is returned all the same, and marked late.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "scan.h"

#define BATCH_GROWN_MIN 32
#define BATCH_GROWN_MAX 2048
#define EMPTY_BATCHES_MAX 4

/* Ask a stream for its next batch. */
static VtStatus
stream_ask(ClientScan *scan, Stream *s, int64_t deadline_us, Retry *retry, VtError *err)
{
	VtError		failure = {0};
	Conn	   *conn = conn_of(scan->client, s->shard.endpoint, &failure);
	WireSearch	question;
	Buf		   *out;
	size_t		frame;

	if (!conn)
	{
		s->lease = 0;
		if (status_is_passing(failure.code))
		{
			retry_note_lost(scan->client, retry, &s->shard, failure.code, &failure);
			return VT_OK;
		}
		if (err)
			*err = failure;
		return failure.code;
	}
	if (conn_serial(conn) != s->lease_conn)
		s->lease = 0;
	memset(&question, 0, sizeof(question));
	question.route = route_of(&s->shard.desc, &scan->owner, deadline_us);
	question.consistency = s->consistency;
	question.mark = s->mark;
	question.flags = (s->exact ? SEARCH_EXACT : 0) | (s->seen.n == 0 ? SEARCH_ONCE : 0);
	question.k = s->k;
	question.ef = scan->ef;
	question.lease = s->lease;
	question.route_version = scan->route_version;
	question.dim = scan->dim;
	question.vector = scan->query;
	if (s->lease == 0)
	{
		question.nexcluded = s->seen.n;
		question.excluded = buf_bytes(&s->seen.ids);
		if (question.nexcluded > WIRE_EXCLUDED_MAX ||
			question.excluded.len + scan->dim * 4 + 1024 > WIRE_PAYLOAD_MAX)
			return vt_fail(err, VT_FULL, "shard %" PRIu64 " at %s lost the state of a scan that has returned too many rows (%u) to go on without it",
						   s->shard.desc.shard, s->shard.endpoint, s->seen.n);
	}
	frame = request_begin(scan->client, conn, &s->request, WIRE_SEARCH, &out);
	wire_search_put(out, &question);
	request_send(&s->request, frame);
	s->request.until_us = try_until(retry, &s->shard, deadline_us);
	return VT_OK;
}

/* A batch that is VT_OK and covers the shard. */
static VtStatus
stream_take(ClientScan *scan, Stream *s, const Answer *answer, VtError *err)
{
	WireSearchResult result;
	WireHit		hit;
	size_t		at = 0;
	uint32_t	place;

	if (wire_search_result_get(answer->body, &result) != VT_OK)
		return malformed(&s->shard, err);
	scan->stats.batches++;
	scan->stats.exact_batches += result.exact;
	scan->stats.distances += result.distances;
	scan->stats.hops += result.hops;
	s->next = s->n = 0;
	while (wire_hit_next(&result, &at, &hit))
	{
		uint64_t	hash = wire_place(&s->shard.desc, hit.id);

		if (hash < s->shard.desc.first || hash > s->shard.desc.last)
			return vt_fail(err, VT_CORRUPT, "shard %" PRIu64 " at %s found a record that is not its own",
						   s->shard.desc.shard, s->shard.endpoint);
		if (s->seen.ids.len > UINT32_MAX - WIRE_ID_MAX - 8)
			return vt_fail(err, VT_FULL, "the scan has returned too many rows");
		if (seen_add(&s->seen, hit.id, &place))
			stream_add(s, hit.distance, place);
	}
	stream_sort(s);
	s->exhausted = result.exhausted;
	s->lease = result.lease;
	s->lease_conn = s->request.conn_serial;
	/* Later batches are never older than this one. */
	s->answered = true;
	if (s->consistency == WIRE_LINEARIZABLE)
		s->consistency = WIRE_AT_MARK;
	if (s->consistency == WIRE_AT_MARK && answer->head.applied > s->mark)
		s->mark = answer->head.applied;
	s->k = s->k < BATCH_GROWN_MIN / 2 ? BATCH_GROWN_MIN : s->k * 2;
	s->k = s->k < BATCH_GROWN_MAX ? s->k : BATCH_GROWN_MAX;
	if (s->n > 0)
		s->empty = 0;
	else if (!s->exhausted)
	{
		/* The graph gives no more: the rest is to be scanned. */
		s->exact = true;
		if (++s->empty > EMPTY_BATCHES_MAX)
			return vt_fail(err, VT_PROTOCOL, "shard %" PRIu64 " at %s says it has more records and gives none",
						   s->shard.desc.shard, s->shard.endpoint);
	}
	return VT_OK;
}

/* The answer to a stream's question; *pause if the next needs one before it. */
static VtStatus
stream_answer(ClientScan *scan, Stream *s, Retry *retry, bool *pause, VtError *err)
{
	Answer		answer;
	Advice		advice = answer_get(&s->request, &s->shard.desc, true, &answer);
	VtStatus	status = VT_OK;

	if (advice == ADVICE_DONE && s->consistency == WIRE_AT_MARK && answer.head.applied < s->mark &&
		!vt_broken("R3-answer"))
	{
		answer.head.status = VT_BEHIND;
		vt_fail(&answer.err, VT_BEHIND, "shard %" PRIu64 " at %s answered at %" PRIu64 ", before the mark %" PRIu64,
				s->shard.desc.shard, s->shard.endpoint, answer.head.applied, s->mark);
		advice = ADVICE_RETRY;
	}
	if (advice == ADVICE_DONE)
		status = stream_take(scan, s, &answer, err);
	else if (answer.head.status == VT_LEASE_GONE && s->lease != 0)
		s->lease = 0;
	else if (advice == ADVICE_FAIL)
	{
		if (err)
			*err = answer.err;
		status = answer.head.status;
	}
	else
	{
		/* Only a refusal at the door leaves the worker's state where it was. */
		if (answer.head.status != VT_BUSY)
			s->lease = 0;
		retry_note(scan->client, retry, &s->shard, advice, &answer);
		*pause = true;
	}
	s->request.done = false;
	return status;
}

/* Until no stream is dry. */
static VtStatus
fetch(ClientScan *scan, int64_t deadline_us, VtError *err)
{
	Retry		retry = {0};
	const ClientCollection *route;
	VtStatus	status = VT_OK;

	for (;;)
	{
		bool		dry = false;
		bool		pause = false;

		retry.refresh = false;
		for (uint32_t i = 0; i < scan->n && status == VT_OK; i++)
			if (stream_is_dry(&scan->streams[i]))
			{
				dry = true;
				status = stream_ask(scan, &scan->streams[i], deadline_us, &retry, err);
				pause = pause || (!scan->streams[i].request.conn && !scan->streams[i].request.done);
			}
		if (!dry || status != VT_OK)
			break;
		for (uint32_t i = 0; i < scan->n && status == VT_OK; i++)
		{
			Stream	   *s = &scan->streams[i];

			if (!s->request.conn && !s->request.done)
				continue;
			status = request_wait(scan->client, &s->request, deadline_us, err);
			if (status == VT_TIMEOUT)
				status = unanswered(&retry, &s->shard, err);
			if (status == VT_OK)
				status = stream_answer(scan, s, &retry, &pause, err);
		}
		if (status != VT_OK)
			break;
		if (!pause)
			continue;
		status = retry_wait(scan->client, &retry, deadline_us, err);
		if (status == VT_OK)
			status = route_again(scan->client, &scan->generation, &retry, deadline_us, &route, err);
		if (status != VT_OK)
			break;
		if (scan->n != route->nshards)
			streams_rebuild(scan, route);
		else
		{
			ClientShard *now = vt_alloc(sizeof(ClientShard) * scan->n);

			for (uint32_t i = 0; i < scan->n; i++)
				now[i] = scan->streams[i].shard;
			if (!route_same_shape(route, now, scan->n))
				streams_rebuild(scan, route);
			else
				for (uint32_t i = 0; i < scan->n; i++)
					shard_take_places(&scan->streams[i].shard, &route->shards[i]);
			free(now);
		}
	}
	/* Whatever is still under way: nobody will know how far it got. */
	for (uint32_t i = 0; i < scan->n; i++)
	{
		Stream	   *s = &scan->streams[i];

		if (s->request.conn || s->request.done)
		{
			request_drop(&s->request);
			stream_let_go(scan, s);
		}
	}
	return status;
}

/* -- Doors ----------------------------------------------------------------- */

VtStatus
client_scan_open(Client *client, const ClientSearch *search, int64_t deadline_us, ClientScan **out,
				 VtError *err)
{
	const ClientCollection *route;
	ClientScan *scan;
	Buf			scratch = {0};
	VtStatus	status;

	*out = NULL;
	status = client_route(client, &search->generation, false, deadline_us, &route, err);
	if (status == VT_OK && search->marks && search->marks->route_version > route->route_version)
		status = client_route(client, &search->generation, true, deadline_us, &route, err);
	if (status != VT_OK)
		return status;
	if (search->dim != route->dim)
		return vt_fail(err, VT_INVALID, "search for a vector of %u dimensions among those of %u",
					   search->dim, route->dim);
	if (search->batch < 1)
		return vt_fail(err, VT_INVALID, "search for no rows");
	scan = vt_alloc0(sizeof(ClientScan));
	scan->client = client;
	scan->generation = search->generation;
	scan->owner = search->owner;
	scan->consistency = search->consistency;
	scan->batch = search->batch < WIRE_SEARCH_K_MAX ? search->batch : WIRE_SEARCH_K_MAX;
	scan->ef = search->ef;
	scan->exact = search->exact;
	scan->dim = search->dim;
	scan->query = vt_alloc((size_t) scan->dim * 4);
	memcpy(scan->query, floats_le(&scratch, search->query, scan->dim), (size_t) scan->dim * 4);
	buf_free(&scratch);
	if (search->marks && search->marks->n > 0)
	{
		scan->nmarks = search->marks->n;
		scan->marks = vt_alloc(sizeof(ClientMark) * scan->nmarks);
		memcpy(scan->marks, search->marks->items, sizeof(ClientMark) * scan->nmarks);
	}
	scan->n = route->nshards;
	scan->route_version = route->route_version;
	scan->streams = streams_new(scan, route);
	scan->next = client->scans;
	client->scans = scan;
	*out = scan;
	return VT_OK;
}

VtStatus
client_scan_next(ClientScan *scan, int64_t deadline_us, ClientHit *hit, bool *found, VtError *err)
{
	Stream	   *best = NULL;
	const StreamHit *nearest;
	VtStatus	status;

	*found = false;
	memset(hit, 0, sizeof(*hit));
	status = fetch(scan, deadline_us, err);
	if (status != VT_OK)
		return status;
	for (uint32_t i = 0; i < scan->n; i++)
	{
		Stream	   *s = &scan->streams[i];

		if (s->next < s->n &&
			(!best || hit_compare(s, &s->hits[s->next], best, &best->hits[best->next]) < 0))
			best = s;
	}
	if (!best)
		return VT_OK;
	nearest = &best->hits[best->next++];
	hit->distance = nearest->distance;
	hit->id = seen_id(&best->seen, nearest->at);
	hit->late = scan->any && distance_compare(hit->distance, scan->farthest) < 0;
	if (!hit->late)
		scan->farthest = hit->distance;
	scan->any = true;
	scan->stats.hits++;
	scan->stats.late += hit->late;
	*found = true;
	return VT_OK;
}

void
client_scan_stats(const ClientScan *scan, ClientScanStats *out)
{
	*out = scan->stats;
}

void
client_scan_marks(const ClientScan *scan, ClientMarks *out)
{
	marks_reset(out);
	out->route_version = scan->route_version;
	for (uint32_t i = 0; i < scan->n; i++)
		if (scan->streams[i].answered && scan->streams[i].consistency == WIRE_AT_MARK)
			marks_note(out, scan->streams[i].shard.desc.shard, scan->streams[i].shard.desc.incarnation,
					   scan->streams[i].mark);
}

void
client_scan_close(ClientScan *scan)
{
	Client	   *client;

	if (!scan)
		return;
	client = scan->client;
	for (uint32_t i = 0; i < scan->n; i++)
		stream_free(scan, &scan->streams[i]);
	for (ClientScan **p = &client->scans; *p; p = &(*p)->next)
		if (*p == scan)
		{
			*p = scan->next;
			break;
		}
	free(scan->streams);
	free(scan->marks);
	free(scan->query);
	free(scan);
}

void
scan_free_all(Client *client)
{
	while (client->scans)
		client_scan_close(client->scans);
}
