/*-------------------------------------------------------------------------
 *
 * wire_messages.h
 *	  One sample of every message, and a way to read it and write it again.
 *
 * Shared by the golden bytes, the tests of the decoders and the fuzzer.  A
 * recoder decodes everything there is in a message, walks its lists, and
 * encodes what it understood: whatever a decoder accepts must come out byte for
 * byte as it came in, so nothing is guessed, skipped or lost.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_MESSAGES_H
#define WIRE_MESSAGES_H

#include "wire_reads.h"
#include "wire_writes.h"

typedef struct WireMessage
{
	const char *name;
	void		(*sample) (Buf *out);
	VtStatus	(*recode) (Bytes in, Buf *out);
} WireMessage;

/* -- Frame ----------------------------------------------------------------- */

static inline void
sample_frame(Buf *out)
{
	wire_frame_put(out, WIRE_REQUEST, WIRE_CONTROL, 0x0A0B0C0D0E0F1011, bytes_str("{\"op\":\"status\"}"));
}

static inline VtStatus
recode_frame(Bytes in, Buf *out)
{
	WireHeader	header;
	Bytes		payload;
	VtStatus	status;

	if (in.len < WIRE_HEADER_SIZE)
		return VT_PROTOCOL;
	status = wire_header_get(in.data, &header, NULL);
	if (status != VT_OK)
		return status;
	payload = bytes_of(in.data + WIRE_HEADER_SIZE, in.len - WIRE_HEADER_SIZE);
	status = wire_payload_check(in.data, &header, payload, NULL);
	if (status == VT_OK)
		wire_frame_put(out, header.kind, header.type, header.request, payload);
	return status;
}

static inline void
sample_hello(Buf *out)
{
	WireHello	hello = {1, 2, WIRE_ROLE_WORKER, sample_id(0x30), 7, 1700000000000000, 5,
		sample_id(0x40), bytes_str("0123456789abcdef0123456789ABCDEF")};

	wire_hello_put(out, &hello);
}

static inline VtStatus
recode_hello(Bytes in, Buf *out)
{
	WireHello	hello;
	VtStatus	status = wire_hello_get(in, &hello);

	if (status == VT_OK)
		wire_hello_put(out, &hello);
	return status;
}

/* -- Replies --------------------------------------------------------------- */

static inline void
sample_reply(Buf *out)
{
	WireReply	reply = {VT_BUSY, 0x1122334455667788, 2, 3, 0, UINT64_MAX / 2, 1000, 9, 250,
		bytes_str("too many requests")};

	wire_reply_put(out, &reply);
	buf_put(out, "body", 4);
}

static inline VtStatus
recode_reply(Bytes in, Buf *out)
{
	WireReply	reply;
	Bytes		body;
	VtStatus	status = wire_reply_get(in, &reply, &body);

	if (status == VT_OK)
	{
		wire_reply_put(out, &reply);
		buf_put(out, body.data, body.len);
	}
	return status;
}

/* -- Descriptor ------------------------------------------------------------ */

static inline void
sample_desc(Buf *out)
{
	WireShardDesc desc = {.generation = sample_id(0x10), .owner = sample_owner(),
		.shard = 0x1122334455667788, .incarnation = 1, .first = 0x4000000000000000,
		.last = 0x7fffffffffffffff, .conf_ver = 2, .range_ver = 3, .parent = 5, .base_index = 6,
		.hash_kind = HASH_XXH3_64, .hash_seed = 0xFEDCBA9876543210, .dim = 784, .metric = 3,
		.element = 1, .m = 16, .ef_construction = 200, .nreplicas = 2,
		.replicas = {{1, 11, 1}, {2, 12, 2}}};

	wire_desc_put(out, &desc);
}

static inline void
sample_desc_attributes(Buf *out)
{
	WireShardDesc desc = {.generation = sample_id(0x10), .owner = sample_owner(),
		.shard = 0x1122334455667788, .incarnation = 1, .last = UINT64_MAX, .conf_ver = 1, .range_ver = 1,
		.hash_kind = HASH_XXH3_64, .hash_seed = 0xFEDCBA9876543210, .dim = 784, .metric = 3,
		.element = 1, .m = 16, .ef_construction = 200, .nattributes = 3,
		.attributes = {WIRE_ATTR_ORDERED, WIRE_ATTR_HASHED, WIRE_ATTR_ORDERED}, .nreplicas = 1,
		.replicas = {{1, 11, 1}}};

	wire_desc_put(out, &desc);
}

static inline VtStatus
recode_desc(Bytes in, Buf *out)
{
	Cursor		c = cursor_of(in);
	WireShardDesc desc;
	VtStatus	status = wire_desc_get(&c, &desc);

	if (status == VT_OK && !cursor_done(&c))
		status = VT_PROTOCOL;
	if (status == VT_OK)
		wire_desc_put(out, &desc);
	return status;
}

static inline void
sample_splits(Buf *out)
{
	WireShardDesc children[2] = {{.generation = sample_id(0x10), .owner = sample_owner(),
		.shard = 0x1122334455667788, .incarnation = 1, .first = 0x4000000000000000,
		.last = 0x7fffffffffffffff, .conf_ver = 2, .range_ver = 3, .parent = 5, .base_index = 6,
		.hash_kind = HASH_XXH3_64, .hash_seed = 0xFEDCBA9876543210, .dim = 784, .metric = 3,
		.element = 1, .m = 16, .ef_construction = 200, .nreplicas = 1,
		.replicas = {{1, 11, 1}}}};

	children[1] = children[0];
	children[1].shard++;
	children[1].first = 0x2000000000000000;
	children[1].last = 0x3fffffffffffffff;
	children[1].range_ver = 4;
	children[1].base_index = 9;
	wire_splits_put(out, children, 2);
}

static inline VtStatus
recode_splits(Bytes in, Buf *out)
{
	WireShardDesc children[WIRE_SPLITS_MAX];
	uint32_t	n;
	VtStatus	status = wire_splits_get(in, children, &n);

	if (status == VT_OK)
		wire_splits_put(out, children, n);
	return status;
}

/* -- Between stores --------------------------------------------------------- */

static inline void
sample_raft(Buf *out)
{
	wire_raft_begin(out, 4);
	wire_raft_put(out, bytes_str("a message"));
	wire_raft_put(out, bytes_str("another"));
}

static inline VtStatus
recode_raft(Bytes in, Buf *out)
{
	WireRaft	raft;
	Bytes		message;
	size_t		at = 0;
	VtStatus	status = wire_raft_get(in, &raft);

	if (status != VT_OK)
		return status;
	wire_raft_begin(out, raft.store);
	while (wire_raft_next(&raft, &at, &message))
		wire_raft_put(out, message);
	return status;
}

static inline void
sample_chunk(Buf *out)
{
	WireChunk	chunk = {.group = 7, .to = 12, .stream = 0x1122334455667789, .seq = 3, .last = true,
		.message = bytes_str("the offer"), .data = bytes_str("keys and values")};

	wire_chunk_put(out, &chunk);
}

static inline void
sample_chunk_packed(Buf *out)
{
	WireChunk	chunk = {.group = 7, .to = 12, .stream = 0x1122334455667789, .seq = 3, .raw = 4000,
		.message = bytes_of(NULL, 0), .data = bytes_str("keys and values, packed")};

	wire_chunk_put(out, &chunk);
}

static inline VtStatus
recode_chunk(Bytes in, Buf *out)
{
	WireChunk	chunk;
	VtStatus	status = wire_chunk_get(in, &chunk);

	if (status == VT_OK)
		wire_chunk_put(out, &chunk);
	return status;
}

static inline void
sample_chunk_result(Buf *out)
{
	WireChunkResult result = {VT_BUSY, 4};

	wire_chunk_result_put(out, &result);
}

static inline VtStatus
recode_chunk_result(Bytes in, Buf *out)
{
	WireChunkResult result;
	VtStatus	status = wire_chunk_result_get(in, &result);

	if (status == VT_OK)
		wire_chunk_result_put(out, &result);
	return status;
}

static const WireMessage wire_messages[] = {
	{"frame", sample_frame, recode_frame},
	{"hello", sample_hello, recode_hello},
	{"write_put", sample_put, recode_write},
	{"write_put_halves", sample_put_halves, recode_write},
	{"write_put_bits", sample_put_bits, recode_write},
	{"write_put_no_vectors", sample_put_no_vectors, recode_write},
	{"write_delete", sample_delete, recode_write},
	{"write_raise", sample_raise, recode_write},
	{"write_ingest", sample_ingest, recode_write},
	{"write_open", sample_open, recode_write},
	{"write_expire", sample_expire, recode_write},
	{"write_session", sample_session, recode_write},
	{"write_repeated", sample_write_repeated, recode_write_result},
	{"write_split", sample_split, recode_write},
	{"write_verify", sample_verify, recode_write},
	{"write_result", sample_write_result, recode_write_result},
	{"reply", sample_reply, recode_reply},
	{"search", sample_search, recode_search},
	{"search_filter", sample_search_filter, recode_search},
	{"search_many", sample_search_many, recode_search},
	{"search_bits", sample_search_bits, recode_search},
	{"search_result", sample_search_result, recode_search_result},
	{"search_results", sample_search_results, recode_search_results},
	{"list", sample_list, recode_list},
	{"list_asks", sample_list_asks, recode_list},
	{"list_result", sample_list_result, recode_list_result},
	{"list_attributes", sample_list_attributes, recode_list_result},
	{"list_bits", sample_list_bits, recode_list_result},
	{"list_metadata", sample_list_metadata, recode_list_result},
	{"list_all", sample_list_all, recode_list_result},
	{"attributes", sample_attributes, recode_attributes},
	{"predicate", sample_predicate, recode_predicate},
	{"read", sample_read, recode_read},
	{"read_result", sample_read_result, recode_read_result},
	{"desc", sample_desc, recode_desc},
	{"desc_attributes", sample_desc_attributes, recode_desc},
	{"splits", sample_splits, recode_splits},
	{"raft", sample_raft, recode_raft},
	{"chunk", sample_chunk, recode_chunk},
	{"chunk_packed", sample_chunk_packed, recode_chunk},
	{"chunk_result", sample_chunk_result, recode_chunk_result},
};

#define WIRE_MESSAGES (sizeof(wire_messages) / sizeof(wire_messages[0]))

#endif							/* WIRE_MESSAGES_H */
