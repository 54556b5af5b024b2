/*-------------------------------------------------------------------------
 *
 * read.c
 *	  Replies, searches, listings and index reads.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#include "private.h"

void
wire_reply_put(Buf *out, const WireReply *reply)
{
	buf_put_u16(out, (uint16_t) reply->status);
	buf_put_u64(out, reply->shard);
	buf_put_u64(out, reply->incarnation);
	buf_put_u32(out, reply->range_ver);
	buf_put_u64(out, reply->first);
	buf_put_u64(out, reply->last);
	buf_put_u64(out, reply->applied);
	buf_put_u64(out, reply->fence);
	buf_put_u32(out, reply->retry_after_ms);
	buf_put_string(out, reply->message);
}

VtStatus
wire_reply_get(Bytes payload, WireReply *out, Bytes *body)
{
	Cursor		c = cursor_of(payload);
	uint16_t	status = cursor_u16(&c);

	out->shard = cursor_u64(&c);
	out->incarnation = cursor_u64(&c);
	out->range_ver = cursor_u32(&c);
	out->first = cursor_u64(&c);
	out->last = cursor_u64(&c);
	out->applied = cursor_u64(&c);
	out->fence = cursor_u64(&c);
	out->retry_after_ms = cursor_u32(&c);
	out->message = cursor_string(&c);
	if (c.failed || !vt_status_valid(status) || out->first > out->last)
		return VT_PROTOCOL;
	out->status = (VtStatus) status;
	*body = bytes_of(c.p, cursor_left(&c));
	return VT_OK;
}

static bool
id_valid(Bytes id)
{
	return id.len >= 1 && id.len <= WIRE_ID_MAX;
}

void
wire_id_put(Buf *out, Bytes id)
{
	buf_put_u16(out, (uint16_t) id.len);
	buf_put(out, id.data, id.len);
}

bool
wire_id_next(Bytes ids, size_t *at, Bytes *id)
{
	Cursor		c;

	if (*at >= ids.len)
		return false;
	c = cursor_of(bytes_of(ids.data + *at, ids.len - *at));
	*id = cursor_bytes(&c, cursor_u16(&c));
	if (c.failed || !id_valid(*id))
		return false;
	*at = (size_t) (c.p - ids.data);
	return true;
}

/* The vectors of a search; in the place of its lease, which it cannot have then, stands how many there are. */
static uint32_t
queries_of(const WireSearch *search)
{
	return search->flags & SEARCH_MANY ? search->nqueries : 1;
}

static WireElement
search_element(const WireSearch *search)
{
	return search->flags & SEARCH_BITS ? WIRE_BIT : WIRE_FLOAT32;
}

void
wire_search_put(Buf *out, const WireSearch *search)
{
	route_put(out, &search->route);
	buf_put_u8(out, (uint8_t) search->consistency);
	buf_put_u64(out, search->mark);
	buf_put_u32(out, search->flags);
	buf_put_u32(out, search->k);
	buf_put_u32(out, search->ef);
	buf_put_u64(out, search->flags & SEARCH_MANY ? search->nqueries : search->lease);
	buf_put_u64(out, search->route_version);
	buf_put_string(out, search->filter);
	buf_put_u32(out, search->nexcluded);
	buf_put_string(out, search->excluded);
	buf_put_u32(out, search->dim);
	buf_put(out, search->vector, wire_vector_bytes(search_element(search), search->dim) * queries_of(search));
}

/* What a search of many queries may be; its lease is still how many it has. */
static VtStatus
many_get(WireSearch *search, VtError *err)
{
	if (search->lease < 1 || search->lease > WIRE_QUERIES_MAX)
		return vt_fail(err, VT_PROTOCOL, "search has %llu queries", (unsigned long long) search->lease);
	if ((search->flags & SEARCH_CLOSE) || !(search->flags & SEARCH_ONCE) || search->nexcluded > 0 || search->dim == 0)
		return vt_fail(err, VT_PROTOCOL, "a search of many queries keeps no state and excludes nothing");
	search->nqueries = (uint32_t) search->lease;
	search->lease = 0;
	return VT_OK;
}

static bool
queries_valid(const WireSearch *search)
{
	if (!(search->flags & SEARCH_BITS))
		return wire_floats_finite(search->vector, search->dim * search->nqueries);
	for (uint32_t i = 0; i < search->nqueries; i++)
		if (!wire_bits_end(search->vector + wire_vector_bytes(WIRE_BIT, search->dim) * i, search->dim))
			return false;
	return true;
}

VtStatus
wire_search_get(Bytes payload, WireSearch *out, VtError *err)
{
	Cursor		c = cursor_of(payload);
	uint8_t		consistency;
	uint32_t	n = 0;
	size_t		at = 0;
	Bytes		id;

	route_get(&c, &out->route);
	consistency = cursor_u8(&c);
	out->mark = cursor_u64(&c);
	out->flags = cursor_u32(&c);
	out->k = cursor_u32(&c);
	out->ef = cursor_u32(&c);
	out->lease = cursor_u64(&c);
	out->route_version = cursor_u64(&c);
	out->filter = cursor_string(&c);
	out->nexcluded = cursor_u32(&c);
	out->excluded = cursor_string(&c);
	out->dim = cursor_u32(&c);
	if (out->dim > wire_max_dim(search_element(out)))
		return vt_fail(err, VT_PROTOCOL, "search has %u dimensions", out->dim);
	out->nqueries = 1;
	if ((out->flags & SEARCH_MANY) && many_get(out, err) != VT_OK)
		return VT_PROTOCOL;
	out->vector = cursor_bytes(&c, wire_vector_bytes(search_element(out), out->dim) * out->nqueries).data;
	if (!cursor_done(&c) || consistency < WIRE_AT_MARK || consistency > WIRE_EVENTUAL ||
		(out->flags & ~(uint32_t) (SEARCH_EXACT | SEARCH_CLOSE | SEARCH_ONCE | SEARCH_MANY | SEARCH_BITS)))
		return vt_fail(err, VT_PROTOCOL, "search is malformed");
	out->consistency = (WireConsistency) consistency;
	if ((out->ef & WIRE_EF_RECALL) && (out->ef & ~WIRE_EF_RECALL) > 10000)
		return vt_fail(err, VT_PROTOCOL, "search asks for a recall of %u in 10000", out->ef & ~WIRE_EF_RECALL);
	if (out->k > WIRE_SEARCH_K_MAX || out->nexcluded > WIRE_EXCLUDED_MAX)
		return vt_fail(err, VT_PROTOCOL, "search asks for %u rows and excludes %u: over the limit",
					   out->k, out->nexcluded);
	if (!queries_valid(out))
		return vt_fail(err, VT_PROTOCOL, "search for a vector that %s",
					   out->flags & SEARCH_BITS ? "has bits behind its end" : "is not finite");
	while (wire_id_next(out->excluded, &at, &id))
		n++;
	if (n != out->nexcluded || at != out->excluded.len)
		return vt_fail(err, VT_PROTOCOL, "search excludes %u ids, %u were sent", out->nexcluded, n);
	return VT_OK;
}

/* Counts are filled in at the end; this is where they are. */
#define SEARCH_RESULT_COUNT 23

/* Bits of a search result */
#define RESULT_EXACT 1
#define RESULT_UNINDEXED 2		/* their number, and how many are meant to be, come before that of the hits */
#define RESULT_UNINDEXED_SIZE 8
#define RESULT_BITS_AT 9

size_t
wire_search_result_begin(Buf *out, const WireSearchResult *result)
{
	size_t		begin = out->len;

	buf_put_u64(out, result->lease);
	buf_put_u8(out, result->exhausted);
	buf_put_u8(out, (uint8_t) ((result->exact ? RESULT_EXACT : 0) | (result->says_unindexed ? RESULT_UNINDEXED : 0)));
	buf_put_u32(out, result->distances);
	buf_put_u32(out, result->hops);
	buf_put_u8(out, result->leader);
	buf_put_u32(out, result->waiting);
	Assert(out->len - begin == SEARCH_RESULT_COUNT);
	if (result->says_unindexed)
	{
		buf_put_u32(out, result->unindexed);
		buf_put_u32(out, result->meant);
	}
	buf_put_u32(out, 0);
	return begin;
}

void
wire_hit_put(Buf *out, const WireHit *hit)
{
	buf_put_f64(out, hit->distance);
	buf_put_u64(out, hit->version);
	wire_id_put(out, hit->id);
}

void
wire_search_result_end(Buf *out, size_t begin, uint32_t nhits)
{
	buf_set_u32(out, begin + SEARCH_RESULT_COUNT + (out->data[begin + RESULT_BITS_AT] & RESULT_UNINDEXED ? RESULT_UNINDEXED_SIZE : 0), nhits);
}

VtStatus
wire_search_result_get(Bytes body, WireSearchResult *out)
{
	Cursor		c = cursor_of(body);
	uint8_t		bits;
	uint32_t	n = 0;
	size_t		at = 0;
	WireHit		hit;

	out->lease = cursor_u64(&c);
	out->exhausted = cursor_u8(&c);
	bits = cursor_u8(&c);
	out->exact = bits & RESULT_EXACT;
	out->says_unindexed = (bits & RESULT_UNINDEXED) != 0;
	out->distances = cursor_u32(&c);
	out->hops = cursor_u32(&c);
	out->leader = cursor_u8(&c);
	out->waiting = cursor_u32(&c);
	out->unindexed = out->says_unindexed ? cursor_u32(&c) : 0;
	out->meant = out->says_unindexed ? cursor_u32(&c) : 0;
	out->nhits = cursor_u32(&c);
	if (c.failed || out->exhausted > 1 || out->leader > 1 || bits > (RESULT_EXACT | RESULT_UNINDEXED) ||
		(out->says_unindexed && out->meant == 0))
		return VT_PROTOCOL;
	out->hits = bytes_of(c.p, cursor_left(&c));
	while (wire_hit_next(out, &at, &hit))
		n++;
	return n == out->nhits && at == out->hits.len ? VT_OK : VT_PROTOCOL;
}

bool
wire_hit_next(const WireSearchResult *result, size_t *at, WireHit *out)
{
	Cursor		c;

	if (*at >= result->hits.len)
		return false;
	c = cursor_of(bytes_of(result->hits.data + *at, result->hits.len - *at));
	out->distance = cursor_f64(&c);
	out->version = cursor_u64(&c);
	out->id = cursor_bytes(&c, cursor_u16(&c));
	if (c.failed || !id_valid(out->id))
		return false;
	*at = (size_t) (c.p - result->hits.data);
	return true;
}

void
wire_search_results_put(Buf *out, const Bytes *results, uint32_t n)
{
	buf_put_u32(out, n);
	for (uint32_t i = 0; i < n; i++)
		buf_put_string(out, results[i]);
}

VtStatus
wire_search_results_get(Bytes body, WireSearchResult *out, uint32_t n)
{
	Cursor		c = cursor_of(body);

	if (cursor_u32(&c) != n)
		return VT_PROTOCOL;
	for (uint32_t i = 0; i < n; i++)
	{
		Bytes		result = cursor_string(&c);

		if (c.failed || wire_search_result_get(result, &out[i]) != VT_OK)
			return VT_PROTOCOL;
	}
	return cursor_done(&c) ? VT_OK : VT_PROTOCOL;
}

/* In a search: behind consistency and mark; behind flags, k and ef. */
#define SEARCH_FLAGS_AT (WIRE_ROUTE_SIZE + 1 + 8)
#define SEARCH_LEASE_AT (SEARCH_FLAGS_AT + 4 + 4 + 4)

uint32_t
wire_peek_queries(Bytes payload)
{
	uint64_t	n;

	if (payload.len < SEARCH_LEASE_AT + 8 || !(get_le32(payload.data + SEARCH_FLAGS_AT) & SEARCH_MANY))
		return 1;
	n = get_le64(payload.data + SEARCH_LEASE_AT);
	return n < 1 ? 1 : n > WIRE_QUERIES_MAX ? WIRE_QUERIES_MAX : (uint32_t) n;
}

bool
wire_peek_close(WireType type, Bytes payload)
{
	const size_t at_flags = type == WIRE_SEARCH ? SEARCH_FLAGS_AT : WIRE_ROUTE_SIZE + 8 + 8;

	return payload.len >= at_flags + 4 &&
		((type == WIRE_SEARCH && (get_le32(payload.data + at_flags) & SEARCH_CLOSE) != 0) ||
		 (type == WIRE_LIST && (get_le32(payload.data + at_flags) & LIST_CLOSE) != 0));
}

void
wire_list_put(Buf *out, const WireList *list)
{
	route_put(out, &list->route);
	buf_put_u64(out, list->mark);
	buf_put_u64(out, list->lease);
	buf_put_u32(out, list->flags);
	buf_put_u32(out, list->limit_bytes);
}

VtStatus
wire_list_get(Bytes payload, WireList *out, VtError *err)
{
	Cursor		c = cursor_of(payload);

	route_get(&c, &out->route);
	out->mark = cursor_u64(&c);
	out->lease = cursor_u64(&c);
	out->flags = cursor_u32(&c);
	out->limit_bytes = cursor_u32(&c);
	if (!cursor_done(&c) || (out->flags & ~(uint32_t) (LIST_VECTORS | LIST_CLOSE | LIST_METADATA)) ||
		out->limit_bytes > WIRE_PAYLOAD_MAX / 2)
		return vt_fail(err, VT_PROTOCOL, "listing request is malformed");
	return VT_OK;
}

#define LIST_RESULT_COUNT 17

/* Beside last: items carry attributes; their vectors are of bits; they carry metadata. */
#define RESULT_LAST 0x1
#define RESULT_ATTRIBUTES 0x2
#define RESULT_BITS 0x4
#define RESULT_METADATA 0x8

size_t
wire_list_result_begin(Buf *out, const WireListResult *result)
{
	size_t		begin = out->len;

	buf_put_u64(out, result->lease);
	buf_put_u8(out, (uint8_t) ((result->last ? RESULT_LAST : 0) | (result->attributes ? RESULT_ATTRIBUTES : 0) |
							   (result->bits ? RESULT_BITS : 0) | (result->metadata ? RESULT_METADATA : 0)));
	buf_put_u64(out, result->total);
	Assert(out->len - begin == LIST_RESULT_COUNT);
	buf_put_u32(out, 0);
	return begin;
}

void
wire_list_item_put(Buf *out, const WireListResult *result, const WireListItem *item)
{
	buf_put_u64(out, item->version);
	wire_id_put(out, item->id);
	buf_put_u32(out, item->dim);
	buf_put(out, item->vector, wire_vector_bytes(result->bits ? WIRE_BIT : WIRE_FLOAT32, item->dim));
	if (result->attributes)
		buf_put_string(out, item->attributes);
	if (result->metadata)
		buf_put_string(out, item->metadata);
}

void
wire_list_result_end(Buf *out, size_t begin, uint32_t nitems)
{
	buf_set_u32(out, begin + LIST_RESULT_COUNT, nitems);
}

VtStatus
wire_list_result_get(Bytes body, WireListResult *out)
{
	Cursor		c = cursor_of(body);
	WireListItem item;
	uint32_t	n = 0;
	size_t		at = 0;
	uint8_t		flags;

	out->lease = cursor_u64(&c);
	flags = cursor_u8(&c);
	out->last = flags & RESULT_LAST;
	out->attributes = flags & RESULT_ATTRIBUTES;
	out->bits = flags & RESULT_BITS;
	out->metadata = flags & RESULT_METADATA;
	out->total = cursor_u64(&c);
	out->nitems = cursor_u32(&c);
	if (c.failed || (flags & ~(RESULT_LAST | RESULT_ATTRIBUTES | RESULT_BITS | RESULT_METADATA)))
		return VT_PROTOCOL;
	out->items = bytes_of(c.p, cursor_left(&c));
	while (wire_list_item_next(out, &at, &item))
		n++;
	return n == out->nitems && at == out->items.len ? VT_OK : VT_PROTOCOL;
}

bool
wire_list_item_next(const WireListResult *result, size_t *at, WireListItem *out)
{
	Cursor		c;

	if (*at >= result->items.len)
		return false;
	c = cursor_of(bytes_of(result->items.data + *at, result->items.len - *at));
	out->version = cursor_u64(&c);
	out->id = cursor_bytes(&c, cursor_u16(&c));
	out->dim = cursor_u32(&c);
	if (out->dim > wire_max_dim(result->bits ? WIRE_BIT : WIRE_FLOAT32))
		return false;
	out->vector = cursor_bytes(&c, wire_vector_bytes(result->bits ? WIRE_BIT : WIRE_FLOAT32, out->dim)).data;
	out->attributes = result->attributes ? cursor_string(&c) : bytes_of(NULL, 0);
	out->metadata = result->metadata ? cursor_string(&c) : bytes_of(NULL, 0);
	if (c.failed || !id_valid(out->id))
		return false;
	*at = (size_t) (c.p - result->items.data);
	return true;
}

void
wire_read_put(Buf *out, const WireRead *read)
{
	route_put(out, &read->route);
}

VtStatus
wire_read_get(Bytes payload, WireRead *out, VtError *err)
{
	Cursor		c = cursor_of(payload);

	route_get(&c, &out->route);
	return cursor_done(&c) ? VT_OK : vt_fail(err, VT_PROTOCOL, "read request is malformed");
}

void
wire_read_result_put(Buf *out, const WireReadResult *result)
{
	buf_put_u64(out, result->records);
	buf_put_u64(out, result->unindexed);
	buf_put_u64(out, result->lsn);
}

VtStatus
wire_read_result_get(Bytes body, WireReadResult *out)
{
	Cursor		c = cursor_of(body);

	out->records = cursor_u64(&c);
	out->unindexed = cursor_u64(&c);
	out->lsn = cursor_u64(&c);
	return cursor_done(&c) ? VT_OK : VT_PROTOCOL;
}
