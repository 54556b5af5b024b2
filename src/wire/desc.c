/*-------------------------------------------------------------------------
 *
 * desc.c
 *	  Shard descriptors, the place of an id, and ids of heap tuples.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#include "base/hash.h"
#include "private.h"

/* The numbers of VecMetric, VecElement, WireQuantization and WireReplica.role that exist. */
#define METRIC_LAST 6
#define METRIC_OF_BITS 5		/* from here on */
#define QUANTIZATION_LAST QUANTIZATION_INT8_ONLY
#define ROLE_LAST 2

#define SPLITS_FORMAT 1

void
wire_desc_put(Buf *out, const WireShardDesc *desc)
{
	Assert(desc->nattributes <= WIRE_ATTRIBUTES_MAX);
	buf_put_u8(out, desc->nattributes ? WIRE_DESC_ATTRIBUTES : WIRE_DESC_FORMAT);
	buf_put_id(out, &desc->generation);
	owner_put(out, &desc->owner);
	buf_put_u64(out, desc->shard);
	buf_put_u64(out, desc->incarnation);
	buf_put_u64(out, desc->first);
	buf_put_u64(out, desc->last);
	buf_put_u32(out, desc->conf_ver);
	buf_put_u32(out, desc->range_ver);
	buf_put_u64(out, desc->parent);
	buf_put_u64(out, desc->base_index);
	buf_put_u8(out, desc->hash_kind);
	buf_put_u64(out, desc->hash_seed);
	buf_put_u32(out, desc->dim);
	buf_put_u8(out, desc->metric);
	buf_put_u8(out, desc->element);
	buf_put_u8(out, desc->quantization);
	buf_put_u16(out, desc->m);
	buf_put_u16(out, desc->ef_construction);
	if (desc->nattributes)
	{
		buf_put_u8(out, desc->nattributes);
		buf_put(out, desc->attributes, desc->nattributes);
	}
	buf_put_u8(out, desc->nreplicas);
	for (int i = 0; i < desc->nreplicas; i++)
	{
		buf_put_u64(out, desc->replicas[i].store);
		buf_put_u64(out, desc->replicas[i].replica);
		buf_put_u8(out, desc->replicas[i].role);
	}
}

/* The declared attributes, in a descriptor of the format that has some. */
static VtStatus
attributes_get(Cursor *c, WireShardDesc *out)
{
	out->nattributes = cursor_u8(c);
	if (c->failed || out->nattributes < 1 || out->nattributes > WIRE_ATTRIBUTES_MAX)
		return VT_PROTOCOL;
	for (int i = 0; i < out->nattributes; i++)
	{
		out->attributes[i] = cursor_u8(c);
		if (!c->failed && !wire_attribute_name(out->attributes[i]))
			return VT_VERSION;
	}
	return c->failed ? VT_PROTOCOL : VT_OK;
}

VtStatus
wire_desc_get(Cursor *c, WireShardDesc *out)
{
	uint8_t		format = cursor_u8(c);
	VtStatus	status = VT_OK;

	memset(out, 0, sizeof(*out));
	if (!c->failed && format != WIRE_DESC_FORMAT && format != WIRE_DESC_ATTRIBUTES)
		return VT_VERSION;
	out->generation = cursor_id(c);
	out->owner = owner_get(c);
	out->shard = cursor_u64(c);
	out->incarnation = cursor_u64(c);
	out->first = cursor_u64(c);
	out->last = cursor_u64(c);
	out->conf_ver = cursor_u32(c);
	out->range_ver = cursor_u32(c);
	out->parent = cursor_u64(c);
	out->base_index = cursor_u64(c);
	out->hash_kind = cursor_u8(c);
	out->hash_seed = cursor_u64(c);
	out->dim = cursor_u32(c);
	out->metric = cursor_u8(c);
	out->element = cursor_u8(c);
	out->quantization = cursor_u8(c);
	out->m = cursor_u16(c);
	out->ef_construction = cursor_u16(c);
	if (format == WIRE_DESC_ATTRIBUTES)
		status = attributes_get(c, out);
	if (status != VT_OK)
		return status;
	out->nreplicas = cursor_u8(c);
	if (c->failed || out->nreplicas > WIRE_REPLICAS_MAX || out->first > out->last ||
		out->dim > WIRE_BITS_MAX)
		return VT_PROTOCOL;
	/* Numbers of a kind we do not know: newer than we are, never to be guessed. */
	if (out->hash_kind != HASH_XXH3_64 || out->metric < 1 || out->metric > METRIC_LAST ||
		out->element < WIRE_FLOAT32 || out->element > WIRE_BIT || out->quantization > QUANTIZATION_LAST)
		return VT_VERSION;
	if (out->dim > wire_max_dim((WireElement) out->element) ||
		(out->metric >= METRIC_OF_BITS) != (out->element == WIRE_BIT) ||
		(out->element == WIRE_BIT && out->quantization != QUANTIZATION_NONE) ||
		(out->dim == 0 && (out->element != WIRE_FLOAT32 || out->quantization != QUANTIZATION_NONE)))
		return VT_PROTOCOL;
	for (int i = 0; i < out->nreplicas; i++)
	{
		out->replicas[i].store = cursor_u64(c);
		out->replicas[i].replica = cursor_u64(c);
		out->replicas[i].role = cursor_u8(c);
		if (!c->failed && (out->replicas[i].role < 1 || out->replicas[i].role > ROLE_LAST))
			return VT_VERSION;
	}
	return c->failed ? VT_PROTOCOL : VT_OK;
}

void
wire_splits_put(Buf *out, const WireShardDesc *children, uint32_t n)
{
	Assert(n >= 1 && n <= WIRE_SPLITS_MAX);
	buf_put_u8(out, SPLITS_FORMAT);
	buf_put_u8(out, (uint8_t) n);
	for (uint32_t i = 0; i < n; i++)
		wire_desc_put(out, &children[i]);
}

VtStatus
wire_splits_get(Bytes body, WireShardDesc children[WIRE_SPLITS_MAX], uint32_t *n)
{
	Cursor		c = cursor_of(body);
	uint8_t		format;
	uint8_t		number;

	*n = 0;
	format = cursor_u8(&c);
	number = cursor_u8(&c);
	if (!c.failed && format != SPLITS_FORMAT)
		return VT_VERSION;
	if (c.failed || number < 1 || number > WIRE_SPLITS_MAX)
		return VT_PROTOCOL;
	for (uint8_t i = 0; i < number; i++)
	{
		VtStatus	status = wire_desc_get(&c, &children[i]);

		if (status != VT_OK)
			return status;
	}
	if (!cursor_done(&c))
		return VT_PROTOCOL;
	*n = number;
	return VT_OK;
}

uint64_t
wire_place(const WireShardDesc *desc, Bytes id)
{
	return hash_place(id, desc->hash_seed);
}

void
wire_tid_put(uint8_t out[WIRE_TID_SIZE], uint32_t block, uint16_t offset)
{
	put_be32(out, block);
	put_be16(out + 4, offset);
}

bool
wire_tid_get(Bytes id, uint32_t *block, uint16_t *offset)
{
	if (id.len != WIRE_TID_SIZE)
		return false;
	*block = get_be32(id.data);
	*offset = get_be16(id.data + 4);
	return true;
}
