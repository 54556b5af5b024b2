/*-------------------------------------------------------------------------
 *
 * bytes.h
 *	  Byte strings: borrowed, owned, and read with a bound.
 *
 * Bytes   a view of somebody else's memory.
 * Buf     owned memory that grows; what writes disk and wire formats.
 * Cursor  a bounded reader over Bytes.  A read past the end sets failed, and
 *		   from then on every read returns zero or an empty view: a decoder may
 *		   read a whole message and ask cursor_done() once.
 *
 * All integers are little-endian unless the name says be.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

typedef struct Bytes
{
	const uint8_t *data;
	size_t		len;
} Bytes;

static inline Bytes
bytes_of(const void *data, size_t len)
{
	Bytes		b = {(const uint8_t *) data, len};

	return b;
}

static inline Bytes
bytes_str(const char *s)
{
	return bytes_of(s, strlen(s));
}

static inline bool
bytes_equal(Bytes a, Bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* As memcmp; a prefix sorts first. */
extern int	bytes_compare(Bytes a, Bytes b);

/* Zero-initialised is empty.  buf_free() leaves it empty and reusable. */
typedef struct Buf
{
	uint8_t    *data;
	size_t		len;
	size_t		size;			/* allocated */
} Buf;

extern void buf_free(Buf *buf);
extern void buf_reserve(Buf *buf, size_t extra);	/* room for extra more bytes */
extern void buf_put(Buf *buf, const void *data, size_t len);
extern void buf_put_u8(Buf *buf, uint8_t v);
extern void buf_put_u16(Buf *buf, uint16_t v);
extern void buf_put_u32(Buf *buf, uint32_t v);
extern void buf_put_u64(Buf *buf, uint64_t v);
extern void buf_put_f32(Buf *buf, float v);
extern void buf_put_f64(Buf *buf, double v);
extern void buf_put_id(Buf *buf, const VtId *id);
extern void buf_put_zeros(Buf *buf, size_t len);

/* u32 length, then the bytes. */
extern void buf_put_string(Buf *buf, Bytes s);

/* Overwrite four bytes written before. */
extern void buf_set_u32(Buf *buf, size_t at, uint32_t v);
extern void buf_set_u64(Buf *buf, size_t at, uint64_t v);

static inline void
buf_clear(Buf *buf)
{
	buf->len = 0;
}

static inline Bytes
buf_bytes(const Buf *buf)
{
	return bytes_of(buf->data, buf->len);
}

typedef struct Cursor
{
	const uint8_t *p;
	const uint8_t *end;
	bool		failed;
} Cursor;

extern Cursor cursor_of(Bytes b);
extern uint8_t cursor_u8(Cursor *c);
extern uint16_t cursor_u16(Cursor *c);
extern uint32_t cursor_u32(Cursor *c);
extern uint64_t cursor_u64(Cursor *c);
extern float cursor_f32(Cursor *c);
extern double cursor_f64(Cursor *c);
extern VtId cursor_id(Cursor *c);
extern Bytes cursor_bytes(Cursor *c, size_t len);	/* a view */
extern Bytes cursor_string(Cursor *c);	/* u32 length, then a view */

static inline size_t
cursor_left(const Cursor *c)
{
	return c->failed ? 0 : (size_t) (c->end - c->p);
}

/* Everything read, nothing failed, nothing left over? */
static inline bool
cursor_done(const Cursor *c)
{
	return !c->failed && c->p == c->end;
}

/* Plain memory. */
static inline void
put_le16(void *p, uint16_t v)
{
	uint8_t    *b = (uint8_t *) p;

	b[0] = (uint8_t) v;
	b[1] = (uint8_t) (v >> 8);
}

static inline void
put_le32(void *p, uint32_t v)
{
	put_le16(p, (uint16_t) v);
	put_le16((uint8_t *) p + 2, (uint16_t) (v >> 16));
}

static inline void
put_le64(void *p, uint64_t v)
{
	put_le32(p, (uint32_t) v);
	put_le32((uint8_t *) p + 4, (uint32_t) (v >> 32));
}

static inline uint16_t
get_le16(const void *p)
{
	const uint8_t *b = (const uint8_t *) p;

	return (uint16_t) (b[0] | b[1] << 8);
}

static inline uint32_t
get_le32(const void *p)
{
	return get_le16(p) | (uint32_t) get_le16((const uint8_t *) p + 2) << 16;
}

static inline uint64_t
get_le64(const void *p)
{
	return get_le32(p) | (uint64_t) get_le32((const uint8_t *) p + 4) << 32;
}

static inline void
put_be16(void *p, uint16_t v)
{
	uint8_t    *b = (uint8_t *) p;

	b[0] = (uint8_t) (v >> 8);
	b[1] = (uint8_t) v;
}

static inline void
put_be32(void *p, uint32_t v)
{
	put_be16(p, (uint16_t) (v >> 16));
	put_be16((uint8_t *) p + 2, (uint16_t) v);
}

static inline void
put_be64(void *p, uint64_t v)
{
	put_be32(p, (uint32_t) (v >> 32));
	put_be32((uint8_t *) p + 4, (uint32_t) v);
}

static inline uint16_t
get_be16(const void *p)
{
	const uint8_t *b = (const uint8_t *) p;

	return (uint16_t) (b[0] << 8 | b[1]);
}

static inline uint32_t
get_be32(const void *p)
{
	return (uint32_t) get_be16(p) << 16 | get_be16((const uint8_t *) p + 2);
}

static inline uint64_t
get_be64(const void *p)
{
	return (uint64_t) get_be32(p) << 32 | get_be32((const uint8_t *) p + 4);
}

#endif							/* BASE_BYTES_H */
