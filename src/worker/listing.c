/*-------------------------------------------------------------------------
 *
 * listing.c
 *	  Listings of gateways: a page of one snapshot of the rows at a time.
 *
 * The last page says how many rows there were in all, so that nobody takes a part for
 * the whole.  One that is past its deadline or cancelled ends as a search does.  Rows of others, which
 * a split has left for a while, are read and not listed: where there are many a page is short, or empty.
 *
 *-------------------------------------------------------------------------
 */
#include "serve.h"

#define PAGE_BYTES (1u << 20)
#define LOOK_ROWS 64			/* between two looks at whether somebody still waits */
#define PASSED_BYTES (8u << 20)	/* of rows that are not the shard's own, in one page; */
#define PASSED_ROW 256			/* and so much is one, besides what it has */

/* A page ends with the record that comes to its limit: a command's worth at most, floats of halves, and heads. */
_Static_assert(WIRE_PAYLOAD_MAX / 2 + WIRE_COMMAND_MAX + (1u << 20) <= WIRE_PAYLOAD_MAX, "a page fits into a frame");

/* Listings are of float32, which every half is, or of bits. */
static const uint8_t *
listed_vector(Buf *scratch, const StoreRow *row)
{
	if (row->element != ROW_FLOAT16)
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
	WireReply	head = request_head(request, VT_OK);
	WireListResult result = {0};
	Buf			items = {0};
	Buf			body = {0};
	Buf			scratch = {0};
	Bytes		key;
	Bytes		value;
	uint32_t	n = 0;
	uint32_t	looked = 0;
	size_t		passed = 0;
	size_t		begin;
	VtError		err = {0};
	VtStatus	status = VT_OK;
	bool		more = true;
	bool		vectors = (lease->list_flags & LIST_VECTORS) != 0;

	if (limit == 0 || limit > WIRE_PAYLOAD_MAX / 2)
		limit = PAGE_BYTES;
	result.attributes = vectors && lease->shard->desc.nattributes > 0;
	result.bits = vectors && shard_element(&lease->shard->desc) == WIRE_BIT;
	result.metadata = (lease->list_flags & LIST_METADATA) != 0;
	lease->until_us = request->until_us;
	while (status == VT_OK && items.len < limit && passed < PASSED_BYTES && (more = store_iter_next(lease->iter, &key, &value)))
	{
		WireListItem item;
		StoreRow	row;

		if (looked++ % LOOK_ROWS == 0 && search_is_in_vain(lease))
		{
			status = VT_TIMEOUT;
			break;
		}
		status = row_get(value, &row, &err);
		if (status != VT_OK)
			break;
		item.id = bytes_of(key.data + 1, key.len - 1);
		if (!serve_is_own(lease->shard, head.first, head.last, item.id))
		{
			passed += PASSED_ROW + value.len;
			continue;
		}
		item.version = row.index;
		item.dim = vectors ? row.dim : 0;
		item.vector = vectors ? listed_vector(&scratch, &row) : row.vector;
		item.attributes = row.attributes;
		item.metadata = row.metadata;
		wire_list_item_put(&items, &result, &item);
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
		request_refuse(request, status, status == VT_TIMEOUT ? NULL : err.msg);
		return;
	}
	if (!shard_route_holds(lease->shard, request->range_ver))
	{
		lease_put_back(request->worker, lease, false);
		buf_free(&items);
		(void) serve_still_holds(request);
		return;
	}
	lease->listed += n;
	result.lease = lease->id;
	result.last = !more;
	result.total = more ? 0 : lease->listed;
	begin = wire_list_result_begin(&body, &result);
	buf_put(&body, items.data, items.len);
	wire_list_result_end(&body, begin, n);
	head.applied = lease->applied;
	lease_put_back(request->worker, lease, more);
	request_finish(request, &head, buf_bytes(&body));
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
		request_refuse(request, VT_BEHIND, NULL);
		return;
	}
	lease = lease_new(request);
	lease->applied = index;
	lease->list_flags = list.flags;
	lease->iter = store_iter_open(shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	answer_list(request, lease, list.limit_bytes);
}

void
serve_list(Worker *worker, Request *request)
{
	WireList	list;
	VtError		err = {0};
	VtStatus	status = wire_list_get(buf_bytes(&request->payload), &list, &err);
	Lease	   *lease;

	if (status != VT_OK)
	{
		request_refuse(request, status, err.msg);
		return;
	}
	if (!serve_find_shard(worker, request, &list.route))
		return;
	if (!list.lease)
	{
		serve_when_current(request, begin_list, false);
		return;
	}
	lease = lease_take(request, list.lease);
	if (list.flags & LIST_CLOSE)
	{
		WireReply	head = request_head(request, VT_OK);

		if (lease)
			lease_put_back(worker, lease, false);
		request_finish(request, &head, bytes_of(NULL, 0));
	}
	else if (!lease || !lease->iter || lease->shard != request->shard)
	{
		if (lease)
			lease_put_back(worker, lease, true);
		request_refuse(request, VT_LEASE_GONE, NULL);
	}
	else
		answer_list(request, lease, list.limit_bytes);
}
