/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  One shard's part of a scan: what it has given, and what is in hand.
 *
 * The ids that came are kept as a search message carries them, so that a
 * question which begins anew can exclude them.  If the shards themselves
 * change, ids and hits in hand move to the streams of the new shards by their
 * hash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* qsort_r */
#endif
#include <math.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/hash.h"
#include "scan.h"
#include "share.h"

/* -- Order ----------------------------------------------------------------- */

/* As numbers, and NaN after all of them, as PostgreSQL sorts. */
int
distance_compare(double a, double b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) - isnan(b);
	return a < b ? -1 : a > b;
}

Bytes
seen_id(const IdSet *seen, uint32_t at)
{
	return bytes_of(seen->ids.data + at + 2, get_le16(seen->ids.data + at));
}

int
hit_compare(const Stream *a, const StreamHit *x, const Stream *b, const StreamHit *y)
{
	int			c = distance_compare(x->distance, y->distance);

	return c ? c : bytes_compare(seen_id(&a->seen, x->at), seen_id(&b->seen, y->at));
}

static int
hit_sorter(const void *a, const void *b, void *stream)
{
	const Stream *s = (const Stream *) stream;

	return hit_compare(s, (const StreamHit *) a, s, (const StreamHit *) b);
}

/* Sort what is in hand, if it did not come so. */
void
stream_sort(Stream *s)
{
	for (uint32_t i = s->next + 1; i < s->n; i++)
		if (hit_compare(s, &s->hits[i - 1], s, &s->hits[i]) > 0)
		{
			qsort_r(s->hits + s->next, s->n - s->next, sizeof(StreamHit), hit_sorter, s);
			return;
		}
}

/* -- Ids ------------------------------------------------------------------- */

static void
seen_grow(IdSet *seen)
{
	uint32_t	room = seen->room ? seen->room * 2 : 64;
	size_t		at = 0;
	Bytes		id;

	free(seen->slots);
	seen->slots = vt_alloc0(sizeof(uint32_t) * room);
	seen->room = room;
	for (;;)
	{
		size_t		begin = at;
		uint32_t	slot;

		if (!wire_id_next(buf_bytes(&seen->ids), &at, &id))
			break;
		slot = (uint32_t) hash_checksum(id) & (room - 1);
		while (seen->slots[slot])
			slot = (slot + 1) & (room - 1);
		seen->slots[slot] = (uint32_t) begin + 1;
	}
}

/* False when the id is there already; else *at is its place. */
bool
seen_add(IdSet *seen, Bytes id, uint32_t *at)
{
	uint32_t	slot;

	if (seen->n >= seen->room / 2)
		seen_grow(seen);
	slot = (uint32_t) hash_checksum(id) & (seen->room - 1);
	for (; seen->slots[slot]; slot = (slot + 1) & (seen->room - 1))
		if (bytes_equal(seen_id(seen, seen->slots[slot] - 1), id))
			return false;
	*at = (uint32_t) seen->ids.len;
	seen->slots[slot] = *at + 1;
	seen->n++;
	wire_id_put(&seen->ids, id);
	return true;
}

/* -- Streams --------------------------------------------------------------- */

void
stream_add(Stream *s, double distance, uint32_t at)
{
	if (s->n == s->room)
	{
		s->room = s->room ? s->room * 2 : 64;
		s->hits = vt_realloc(s->hits, sizeof(StreamHit) * s->room);
	}
	s->hits[s->n].distance = distance;
	s->hits[s->n++].at = at;
}

/* Tell the worker to forget the state, if it can be told; never waits. */
void
stream_let_go(ClientScan *scan, Stream *s)
{
	Conn	   *conn = s->lease ? conn_by_serial(scan->client, s->lease_conn) : NULL;

	if (conn)
	{
		WireSearch	question;
		Buf			payload = {0};

		memset(&question, 0, sizeof(question));
		question.route = route_of(&s->shard.desc, &scan->owner, clock_now_us() + 1000000);
		question.consistency = s->consistency;
		question.flags = SEARCH_CLOSE;
		question.lease = s->lease;
		wire_search_put(&payload, &question);
		request_send_unheard(scan->client, conn, WIRE_SEARCH, buf_bytes(&payload));
		buf_free(&payload);
	}
	s->lease = 0;
}

void
stream_free(ClientScan *scan, Stream *s)
{
	stream_stop(scan, s);
	for (int i = 0; i < TRIES; i++)
		request_drop(&s->tries[i].request);
	stream_let_go(scan, s);
	buf_free(&s->seen.ids);
	free(s->seen.slots);
	free(s->hits);
}

static const ClientMark *
mark_of(const ClientScan *scan, const WireShardDesc *desc)
{
	for (uint32_t i = 0; i < scan->nmarks; i++)
		if (scan->marks[i].shard == desc->shard && scan->marks[i].incarnation == desc->incarnation)
			return &scan->marks[i];
	return NULL;
}

/*
 * Was the shard split off, since marks were read, another one that a mark is known of?
 * No write had gone by a route with it then, so what the scan must find of it is what it
 * begins with.
 */
static bool
is_younger(const ClientScan *scan, const ClientCollection *route, const WireShardDesc *desc)
{
	const WireShardDesc *parent;

	for (; (parent = route_parent(route, desc)) != NULL; desc = parent)
	{
		const ClientMark *mark = mark_of(scan, parent);

		if (mark)
			return mark->range_ver > 0 && mark->range_ver < route_born_ver(route, desc);
	}
	return false;
}

/*
 * How the shard is to be asked first: at the mark we know, or by ReadIndex.  A mark that was
 * read by a newer interval says nothing of what was split off since (law R3-back).
 */
static void
stream_set_mark(const ClientScan *scan, const ClientCollection *route, Stream *s)
{
	const WireShardDesc *desc = &s->shard.desc;
	const ClientMark *mark = mark_of(scan, desc);

	s->consistency = scan->consistency;
	if (scan->consistency != WIRE_AT_MARK)
		return;
	if (mark ? mark->range_ver > desc->range_ver && !vt_broken("R3-back") : !is_younger(scan, route, desc))
		s->consistency = WIRE_LINEARIZABLE;
	else
		s->mark = mark ? mark->index : desc->base_index;
}

Stream *
streams_new(const ClientScan *scan, const ClientCollection *route)
{
	Stream	   *streams = vt_alloc0(sizeof(Stream) * route->nshards);

	for (uint32_t i = 0; i < route->nshards; i++)
	{
		const WireShardDesc *desc = &route->shards[i].desc;
		double		share = share_of(desc->first, desc->last);

		streams[i].shard = route->shards[i];
		streams[i].k = share_batch(scan->batch, share);
		streams[i].ef = scan->ef & WIRE_EF_RECALL ? scan->ef : share_ef(scan->ef, share);
		streams[i].exact = scan->exact;
		stream_set_mark(scan, route, &streams[i]);
	}
	return streams;
}

/* The shards are others now: share out what the old streams gave. */
void
streams_rebuild(ClientScan *scan, const ClientCollection *route)
{
	Stream	   *fresh = streams_new(scan, route);
	uint32_t	at;

	for (uint32_t i = 0; i < scan->n; i++)
	{
		Stream	   *old = &scan->streams[i];
		size_t		from = 0;
		Bytes		id;

		for (uint32_t h = old->next; h < old->n; h++)
		{
			Stream	   *to;

			id = seen_id(&old->seen, old->hits[h].at);
			to = &fresh[route_place(route, id)];
			if (seen_add(&to->seen, id, &at))
				stream_add(to, old->hits[h].distance, at);
		}
		while (wire_id_next(buf_bytes(&old->seen.ids), &from, &id))
			seen_add(&fresh[route_place(route, id)].seen, id, &at);
		stream_free(scan, old);
	}
	free(scan->streams);
	scan->streams = fresh;
	scan->n = route->nshards;
	scan->route_version = route->route_version;
	for (uint32_t i = 0; i < scan->n; i++)
		stream_sort(&fresh[i]);
}

void
streams_begin_anew(ClientScan *scan, const ClientCollection *route)
{
	Stream	   *fresh = streams_new(scan, route);

	for (uint32_t i = 0; i < scan->n; i++)
		stream_free(scan, &scan->streams[i]);
	free(scan->streams);
	scan->streams = fresh;
	scan->n = route->nshards;
	scan->route_version = route->route_version;
}

bool
stream_is_dry(const ClientScan *scan, const Stream *s)
{
	if (scan->nmates > 0)
		return !s->answered && !scan->apart;
	return s->next == s->n && !s->exhausted;
}
