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

#include "scan.h"

/* The streams as the route has them now; they are others when the shards are. */
static VtStatus
follow_route(ClientScan *scan, int64_t deadline_us, VtError *err)
{
	Retry		ask = {.refresh = !scan->told, .replicated = scan->streams[0].shard.nplaces > 1};
	const ClientCollection *route;
	ClientShard *now;
	bool		same;
	VtStatus	status = route_again(scan->client, &scan->generation, &ask, deadline_us, &route, err);

	if (status != VT_OK)
		return status;
	scan->told = false;
	now = vt_alloc(sizeof(ClientShard) * scan->n);
	for (uint32_t i = 0; i < scan->n; i++)
		now[i] = scan->streams[i].shard;
	same = route_same_shape(route, now, scan->n);
	free(now);
	if (!same && scan->nmates > 0)
		for (uint32_t i = 0; i < scan->nmates; i++)
			streams_begin_anew(scan->mates[i], route);
	else if (!same)
		streams_rebuild(scan, route);
	else
		for (uint32_t i = 0; i < scan->n; i++)
			scan->streams[i].wants_route = false;
	return VT_OK;
}

/* A stream was dry until the deadline: who has not answered, and what was said before. */
static VtStatus
too_late(const Stream *s, VtError *err)
{
	const VtError *last = &s->retry.last;
	const Try  *asked = NULL;

	for (int i = 0; i < TRIES; i++)
		if (s->tries[i].request.conn && (!asked || s->tries[i].sent_us < asked->sent_us))
			asked = &s->tries[i];
	if (asked)
		return vt_fail(err, last->code != VT_OK ? last->code : VT_TIMEOUT,
					   "shard %" PRIu64 " at %s was asked %" PRId64 " ms ago and has not answered%s%s", s->shard.desc.shard,
					   asked->request.endpoint, (clock_now_us() - asked->sent_us) / 1000, last->code != VT_OK ? "; before that: " : "",
					   last->code != VT_OK ? vt_error_words(last) : "");
	if (last->code == VT_OK)
		return vt_fail(err, VT_TIMEOUT, "shard %" PRIu64 " at %s did not answer in time",
					   s->shard.desc.shard, s->shard.endpoint);
	if (err)
		*err = *last;
	return last->code;
}

static bool
has_news(const ClientScan *scan)
{
	for (uint32_t i = 0; i < scan->n; i++)
		if (stream_has_news(&scan->streams[i]))
			return true;
	return false;
}

VtStatus
scan_fetch(ClientScan *scan, int64_t deadline_us, VtError *err)
{
	VtStatus	status = VT_OK;
	bool		late = false;

	scan->deadline_us = deadline_us;
	while (status == VT_OK)
	{
		const Stream *dry = NULL;
		int64_t		next_us = deadline_us;
		bool		lost = false;

		conns_hold(scan->client);
		for (uint32_t i = 0; i < scan->n && status == VT_OK; i++)
		{
			Stream	   *s = &scan->streams[i];

			if (!stream_is_dry(scan, s))
				continue;
			status = stream_step(scan, s, deadline_us, &next_us, err);
			if (!stream_is_dry(scan, s))
				continue;
			dry = s;
			lost = lost || (s->wants_route && clock_now_us() >= s->again_us);
		}
		conns_let_go(scan->client);
		if (!dry || status != VT_OK)
			break;
		if (has_news(scan))
			next_us = 0;
		if (clock_now_us() >= deadline_us)
		{
			/* Once: an answer that is here is an answer, however long we stood still. */
			if (!late)
				status = pump_late(scan->client, err);
			if (status == VT_OK && (late || !has_news(scan)))
				status = too_late(dry, err);
			late = true;
		}
		else if (lost)
			status = follow_route(scan, deadline_us, err);
		else
		{
			status = pump(scan->client, next_us, err);
			if (status == VT_TIMEOUT)
				status = VT_OK;
		}
	}
	for (uint32_t i = 0; status != VT_OK && i < scan->n; i++)
		stream_stop(scan, &scan->streams[i]);
	return status;
}

/* -- Doors ----------------------------------------------------------------- */

VtStatus
scan_route(Client *client, const ClientSearch *search, int64_t deadline_us, const ClientCollection **route, VtError *err)
{
	VtStatus	status = client_route(client, &search->generation, false, deadline_us, route, err);

	if (status == VT_OK && search->marks && search->marks->route_version > (*route)->route_version)
		status = client_route(client, &search->generation, true, deadline_us, route, err);
	return status;
}

VtStatus
scan_check(const ClientSearch *search, uint32_t n, const ClientCollection *route, VtError *err)
{
	WirePredicate predicate;

	if (route->dim == 0)
		return vt_fail(err, VT_INVALID, "the records of the collection have no vectors: there is nothing to search for");
	if (search->dim != route->dim)
		return vt_fail(err, VT_INVALID, "search for a vector of %u dimensions among those of %u",
					   search->dim, route->dim);
	for (uint32_t i = 0; i < n && route->element == VEC_BIT; i++)
		if (!vec_bits_valid((const uint8_t *) search->query + i * VEC_BITS_BYTES(search->dim), search->dim))
			return vt_fail(err, VT_INVALID, "search for bits that have others behind them");
	if (search->batch < 1)
		return vt_fail(err, VT_INVALID, "search for no rows");
	if (search->filter.len > 0)
		return wire_predicate_get(search->filter, route->attributes, route->nattributes, &predicate, err);
	return VT_OK;
}

ClientScan *
scan_new(Client *client, const ClientSearch *search, const ClientCollection *route)
{
	ClientScan *scan = vt_alloc0(sizeof(ClientScan));
	Buf			scratch = {0};

	scan->client = client;
	scan->generation = search->generation;
	scan->owner = search->owner;
	scan->consistency = search->consistency;
	scan->batch = search->batch < WIRE_SEARCH_K_MAX ? search->batch : WIRE_SEARCH_K_MAX;
	scan->ef = search->ef;
	scan->exact = search->exact;
	scan->dim = search->dim;
	scan->bits = route->element == VEC_BIT;
	scan->query_bytes = vec_given_bytes(route->element, scan->dim);
	scan->query = vt_alloc(scan->query_bytes);
	memcpy(scan->query, vector_on_wire(&scratch, scan->bits ? VEC_BIT : VEC_FLOAT32, search->query, scan->dim), scan->query_bytes);
	buf_free(&scratch);
	buf_put(&scan->filter, search->filter.data, search->filter.len);
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
	return scan;
}

VtStatus
client_scan_open(Client *client, const ClientSearch *search, int64_t deadline_us, ClientScan **out,
				 VtError *err)
{
	const ClientCollection *route;
	VtStatus	status = scan_route(client, search, deadline_us, &route, err);

	*out = NULL;
	if (status == VT_OK)
		status = scan_check(search, 1, route, err);
	if (status == VT_OK)
		*out = scan_new(client, search, route);
	return status;
}

VtStatus
client_scan_next(ClientScan *scan, int64_t deadline_us, ClientHit *hit, bool *found, VtError *err)
{
	Stream	   *best = NULL;
	const StreamHit *nearest;
	VtStatus	status;

	*found = false;
	memset(hit, 0, sizeof(*hit));
	status = scan_fetch(scan, deadline_us, err);
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

uint64_t
client_scan_fence(const ClientScan *scan)
{
	return scan->fence;
}

void
client_scan_marks(const ClientScan *scan, ClientMarks *out)
{
	marks_reset(out);
	out->route_version = scan->route_version;
	for (uint32_t i = 0; i < scan->n; i++)
	{
		const Stream *s = &scan->streams[i];

		if (!s->answered || s->consistency != WIRE_AT_MARK)
			continue;
		marks_note(out, s->shard.desc.shard, s->shard.desc.incarnation, s->mark);
		out->items[out->n - 1].range_ver = s->shard.desc.range_ver;
	}
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
	buf_free(&scan->filter);
	free(scan);
}

void
scan_free_all(Client *client)
{
	while (client->scans)
		client_scan_close(client->scans);
}
