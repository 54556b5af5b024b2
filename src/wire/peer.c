/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  What stores say to each other: Raft messages in batches, snapshots in
 *	  chunks.  The messages themselves are src/raft's.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#define RAFT_FORMAT 1
#define RAFT_COUNT_AT 9
#define CHUNK_FORMAT 1
#define CHUNK_PACKED 2			/* format of a chunk with packed data */

void
wire_raft_begin(Buf *out, uint64_t store)
{
	buf_put_u8(out, RAFT_FORMAT);
	buf_put_u64(out, store);
	buf_put_u32(out, 0);
}

uint8_t *
wire_raft_room(Buf *out, size_t len)
{
	buf_set_u32(out, RAFT_COUNT_AT, get_le32(out->data + RAFT_COUNT_AT) + 1);
	buf_put_u32(out, (uint32_t) len);
	buf_reserve(out, len);
	out->len += len;
	return out->data + out->len - len;
}

void
wire_raft_put(Buf *out, Bytes message)
{
	memcpy(wire_raft_room(out, message.len), message.data, message.len);
}

uint64_t
wire_raft_store(Bytes payload)
{
	return payload.len > RAFT_COUNT_AT ? get_le64(payload.data + 1) : 0;
}

VtStatus
wire_raft_get(Bytes payload, WireRaft *out)
{
	Cursor		c = cursor_of(payload);
	uint8_t		format = cursor_u8(&c);

	uint32_t	n;

	out->store = cursor_u64(&c);
	n = cursor_u32(&c);
	if (c.failed)
		return VT_PROTOCOL;
	if (format != RAFT_FORMAT)
		return VT_VERSION;
	out->messages = bytes_of(c.p, cursor_left(&c));
	for (; n > 0 && !c.failed; n--)
		cursor_string(&c);
	return cursor_done(&c) ? VT_OK : VT_PROTOCOL;
}

bool
wire_raft_next(const WireRaft *raft, size_t *at, Bytes *message)
{
	Cursor		c;

	if (*at >= raft->messages.len)
		return false;
	c = cursor_of(bytes_of(raft->messages.data + *at, raft->messages.len - *at));
	*message = cursor_string(&c);
	if (c.failed)
		return false;
	*at = (size_t) (c.p - raft->messages.data);
	return true;
}

void
wire_chunk_put(Buf *out, const WireChunk *chunk)
{
	buf_put_u8(out, chunk->raw ? CHUNK_PACKED : CHUNK_FORMAT);
	buf_put_u64(out, chunk->group);
	buf_put_u64(out, chunk->to);
	buf_put_u64(out, chunk->stream);
	buf_put_u32(out, chunk->seq);
	buf_put_u8(out, chunk->last);
	if (chunk->raw)
		buf_put_u32(out, chunk->raw);
	buf_put_string(out, chunk->message);
	buf_put_string(out, chunk->data);
}

VtStatus
wire_chunk_get(Bytes payload, WireChunk *out)
{
	Cursor		c = cursor_of(payload);
	uint8_t		format = cursor_u8(&c);
	uint8_t		last;

	out->group = cursor_u64(&c);
	out->to = cursor_u64(&c);
	out->stream = cursor_u64(&c);
	out->seq = cursor_u32(&c);
	last = cursor_u8(&c);
	out->raw = format == CHUNK_PACKED ? cursor_u32(&c) : 0;
	out->message = cursor_string(&c);
	out->data = cursor_string(&c);
	out->last = last == 1;
	if (!c.failed && format != CHUNK_FORMAT && format != CHUNK_PACKED)
		return VT_VERSION;
	if (format == CHUNK_PACKED && (out->raw == 0 || out->raw > WIRE_PAYLOAD_MAX))
		return VT_PROTOCOL;
	return cursor_done(&c) && last <= 1 && out->stream != 0 ? VT_OK : VT_PROTOCOL;
}

void
wire_chunk_result_put(Buf *out, const WireChunkResult *result)
{
	buf_put_u16(out, (uint16_t) result->status);
	buf_put_u32(out, result->next);
}

VtStatus
wire_chunk_result_get(Bytes payload, WireChunkResult *out)
{
	Cursor		c = cursor_of(payload);

	out->status = (VtStatus) cursor_u16(&c);
	out->next = cursor_u32(&c);
	return cursor_done(&c) ? VT_OK : VT_PROTOCOL;
}
