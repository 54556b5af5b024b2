/*-------------------------------------------------------------------------
 *
 * bytes.c
 *	  Growing buffers and bounded readers.
 *
 *-------------------------------------------------------------------------
 */
#include "base/bytes.h"

#include <stdlib.h>

int
bytes_compare(Bytes a, Bytes b)
{
	size_t		n = a.len < b.len ? a.len : b.len;
	int			c = n ? memcmp(a.data, b.data, n) : 0;

	if (c != 0)
		return c;
	return a.len < b.len ? -1 : a.len > b.len;
}

void
buf_free(Buf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

void
buf_reserve(Buf *buf, size_t extra)
{
	size_t		size = buf->size ? buf->size : 64;

	Assert(extra <= SIZE_MAX / 2 - buf->len);
	if (buf->len + extra <= buf->size)
		return;
	while (size < buf->len + extra)
		size *= 2;
	buf->data = vt_realloc(buf->data, size);
	buf->size = size;
}

void
buf_put(Buf *buf, const void *data, size_t len)
{
	if (len == 0)
		return;
	buf_reserve(buf, len);
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

void
buf_put_zeros(Buf *buf, size_t len)
{
	if (len == 0)
		return;
	buf_reserve(buf, len);
	memset(buf->data + buf->len, 0, len);
	buf->len += len;
}

void
buf_put_u8(Buf *buf, uint8_t v)
{
	buf_put(buf, &v, 1);
}

void
buf_put_u16(Buf *buf, uint16_t v)
{
	uint8_t		b[2];

	put_le16(b, v);
	buf_put(buf, b, sizeof(b));
}

void
buf_put_u32(Buf *buf, uint32_t v)
{
	uint8_t		b[4];

	put_le32(b, v);
	buf_put(buf, b, sizeof(b));
}

void
buf_put_u64(Buf *buf, uint64_t v)
{
	uint8_t		b[8];

	put_le64(b, v);
	buf_put(buf, b, sizeof(b));
}

void
buf_put_f32(Buf *buf, float v)
{
	uint32_t	bits;

	memcpy(&bits, &v, sizeof(bits));
	buf_put_u32(buf, bits);
}

void
buf_put_f64(Buf *buf, double v)
{
	uint64_t	bits;

	memcpy(&bits, &v, sizeof(bits));
	buf_put_u64(buf, bits);
}

void
buf_put_id(Buf *buf, const VtId *id)
{
	buf_put(buf, id->b, sizeof(id->b));
}

void
buf_put_string(Buf *buf, Bytes s)
{
	Assert(s.len <= UINT32_MAX);
	buf_put_u32(buf, (uint32_t) s.len);
	buf_put(buf, s.data, s.len);
}

void
buf_set_u32(Buf *buf, size_t at, uint32_t v)
{
	Assert(at + 4 <= buf->len);
	put_le32(buf->data + at, v);
}

void
buf_set_u64(Buf *buf, size_t at, uint64_t v)
{
	Assert(at + 8 <= buf->len);
	put_le64(buf->data + at, v);
}

Cursor
cursor_of(Bytes b)
{
	Cursor		c = {b.data, b.data ? b.data + b.len : NULL, false};

	return c;
}

/* The next len bytes, or NULL and failure. */
static const uint8_t *
take(Cursor *c, size_t len)
{
	const uint8_t *p = c->p;

	if (c->failed || (size_t) (c->end - c->p) < len)
	{
		c->failed = true;
		return NULL;
	}
	if (len)
		c->p += len;
	return p;
}

uint8_t
cursor_u8(Cursor *c)
{
	const uint8_t *p = take(c, 1);

	return p ? *p : 0;
}

uint16_t
cursor_u16(Cursor *c)
{
	const uint8_t *p = take(c, 2);

	return p ? get_le16(p) : 0;
}

uint32_t
cursor_u32(Cursor *c)
{
	const uint8_t *p = take(c, 4);

	return p ? get_le32(p) : 0;
}

uint64_t
cursor_u64(Cursor *c)
{
	const uint8_t *p = take(c, 8);

	return p ? get_le64(p) : 0;
}

float
cursor_f32(Cursor *c)
{
	uint32_t	bits = cursor_u32(c);
	float		v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

double
cursor_f64(Cursor *c)
{
	uint64_t	bits = cursor_u64(c);
	double		v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

VtId
cursor_id(Cursor *c)
{
	const uint8_t *p = take(c, 16);
	VtId		id;

	memset(&id, 0, sizeof(id));
	if (p)
		memcpy(id.b, p, sizeof(id.b));
	return id;
}

Bytes
cursor_bytes(Cursor *c, size_t len)
{
	const uint8_t *p = take(c, len);

	return bytes_of(p, p ? len : 0);
}

Bytes
cursor_string(Cursor *c)
{
	uint32_t	len = cursor_u32(c);

	return cursor_bytes(c, len);
}
