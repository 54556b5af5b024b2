/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  A record of a shard as it lies on disk.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "base/hash.h"

void
row_key(Buf *out, Bytes id)
{
	buf_clear(out);
	buf_put_u8(out, 'v');
	buf_put(out, id.data, id.len);
}

static size_t
vector_bytes(const StoreRow *row)
{
	return row->element == ROW_BIT ? ((size_t) row->dim + 7) / 8 : (size_t) row->dim * (row->element == ROW_FLOAT16 ? 2 : 4);
}

void
row_put(Buf *out, const StoreRow *row)
{
	size_t		begin = out->len;

	buf_reserve(out, 64 + row->attributes.len + row->metadata.len + vector_bytes(row));
	buf_put_u8(out, ROW_FORMAT);
	buf_put_u8(out, row->element == ROW_BIT ? ROW_BITS : row->element == ROW_FLOAT16 ? ROW_HALVES : 0);
	buf_put_u16(out, 0);
	buf_put_u32(out, row->timeline);
	buf_put_u64(out, row->index);
	buf_put_u64(out, row->fence);
	buf_put_u64(out, row->lsn);
	buf_put_string(out, row->attributes);
	buf_put_string(out, row->metadata);
	buf_put_u32(out, row->dim);
	buf_put(out, row->vector, vector_bytes(row));
	buf_put_u64(out, hash_checksum(bytes_of(out->data + begin, out->len - begin)));
}

VtStatus
row_get(Bytes value, StoreRow *out, VtError *err)
{
	Cursor		c;
	uint8_t		format;
	uint8_t		flags;

	if (value.len < 8 ||
		get_le64(value.data + value.len - 8) != hash_checksum(bytes_of(value.data, value.len - 8)))
		return vt_fail(err, VT_CORRUPT, "a row is damaged: its checksum does not match");
	c = cursor_of(bytes_of(value.data, value.len - 8));
	format = cursor_u8(&c);
	flags = cursor_u8(&c);
	cursor_u16(&c);
	if (format != ROW_FORMAT || flags > ROW_BITS)
		return vt_fail(err, VT_VERSION, "a row has format %u with flags 0x%x, this program knows format %u",
					   format, flags, ROW_FORMAT);
	out->element = flags == ROW_BITS ? ROW_BIT : flags == ROW_HALVES ? ROW_FLOAT16 : ROW_FLOAT32;
	out->timeline = cursor_u32(&c);
	out->index = cursor_u64(&c);
	out->fence = cursor_u64(&c);
	out->lsn = cursor_u64(&c);
	out->attributes = cursor_string(&c);
	out->metadata = cursor_string(&c);
	out->dim = cursor_u32(&c);
	out->vector = cursor_bytes(&c, vector_bytes(out)).data;
	return cursor_done(&c) ? VT_OK : vt_fail(err, VT_CORRUPT, "a row makes no sense");
}
