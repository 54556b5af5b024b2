/*-------------------------------------------------------------------------
 *
 * pack.c
 *	  The data of a chunk made smaller: zstd at its fastest level.
 *
 * A packed chunk says how large it was.  That is held against the most that a chunk
 * may have before memory is taken for it, and must turn out to be so.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>
#include <zstd.h>

#include "private.h"

#define LEVEL 1

struct Packer
{
	ZSTD_CCtx  *context;
};

Packer *
packer_new(void)
{
	Packer	   *packer = vt_alloc0(sizeof(Packer));

	packer->context = ZSTD_createCCtx();	/* NULL: nothing is packed */
	return packer;
}

void
packer_free(Packer *packer)
{
	ZSTD_freeCCtx(packer->context);
	free(packer);
}

bool
packer_pack(Packer *packer, Bytes in, Buf *out)
{
	size_t		room = ZSTD_compressBound(in.len);
	size_t		n;

	if (!packer->context || in.len == 0)
		return false;
	buf_clear(out);
	buf_reserve(out, room);
	n = ZSTD_compressCCtx(packer->context, out->data, room, in.data, in.len, LEVEL);
	if (ZSTD_isError(n) || n >= in.len)
	{
		buf_free(out);
		return false;
	}
	out->len = n;
	return true;
}

/* By a fifth at least: less is not worth the time. */
bool
packer_shrinks(Packer *packer, Bytes in)
{
	Buf			out = {0};
	bool		shrinks = packer_pack(packer, in, &out) && out.len <= in.len / 5 * 4;

	buf_free(&out);
	return shrinks;
}

VtStatus
chunk_unpack(const WireChunk *chunk, Buf *out, VtError *err)
{
	size_t		n;

	Assert(chunk->raw > 0 && chunk->raw <= WIRE_PAYLOAD_MAX);
	buf_clear(out);
	buf_reserve(out, chunk->raw);
	n = ZSTD_decompress(out->data, chunk->raw, chunk->data.data, chunk->data.len);
	if (ZSTD_isError(n) || n != chunk->raw)
		return vt_fail(err, VT_PROTOCOL, "a packed chunk of a snapshot is damaged");
	out->len = n;
	return VT_OK;
}
