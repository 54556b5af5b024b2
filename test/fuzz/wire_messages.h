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

#include <stdlib.h>

#include "base/hash.h"
#include "wire/wire.h"

typedef struct WireMessage
{
	const char *name;
	void		(*sample) (Buf *out);
	VtStatus	(*recode) (Bytes in, Buf *out);
} WireMessage;

/* Bytes that are easy to see in a dump: 10 11 12 ... */
static inline VtId
sample_id(uint8_t first)
{
	VtId		id;

	for (int i = 0; i < 16; i++)
		id.b[i] = (uint8_t) (first + i);
	return id;
}

static inline WireOwner
sample_owner(void)
{
	WireOwner	owner = {0x0102030405060708, sample_id(0x20), 16384};

	return owner;
}

static inline WireRoute
sample_route(void)
{
	WireRoute	route = {sample_id(0x10), 0x1122334455667788, 3, sample_owner(), 30000};

	return route;
}

static const float sample_vector[3] = {1.0f, -2.5f, 0.0f};

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

/* -- Writes ---------------------------------------------------------------- */

static inline WireWrite
sample_write(WireWriteType type)
{
	WireWrite	write = {.type = type, .route = sample_route(), .fence = 9, .timeline = 2,
		.lsn = 0x0000000116B374D8};

	if (type == WRITE_RAISE)
		write.fence_to = 10;
	return write;
}

static inline void
sample_put(Buf *out)
{
	WireWrite	write = sample_write(WRITE_PUT);
	size_t		begin = wire_write_begin(out, &write);
	uint8_t		tid[WIRE_TID_SIZE];
	WireRecord	record = {0};

	wire_tid_put(tid, 0x01020304, 0x0506);
	record.id = bytes_of(tid, sizeof(tid));
	record.dim = 3;
	record.vector = (const uint8_t *) sample_vector;
	wire_record_put(out, WRITE_PUT, &record);
	record.id = bytes_str("name");
	record.attributes = bytes_str("AT");
	record.metadata = bytes_str("{}");
	wire_record_put(out, WRITE_PUT, &record);
	wire_write_end(out, begin, 2);
}

/* 1, -2 and the largest there is. */
static inline void
sample_put_halves(Buf *out)
{
	static const uint8_t vector[] = {0x00, 0x3C, 0x00, 0xC0, 0xFF, 0x7B};
	WireWrite	write = sample_write(WRITE_PUT);
	WireRecord	record = {.id = bytes_str("name"), .dim = 3, .element = WIRE_FLOAT16, .vector = vector};
	size_t		begin;

	write.element = WIRE_FLOAT16;
	begin = wire_write_begin(out, &write);
	wire_record_put(out, WRITE_PUT, &record);
	wire_write_end(out, begin, 1);
}

/* Nineteen bits; the five behind them are zero. */
static const uint8_t sample_bits[] = {0xA5, 0x0F, 0xE0};

static inline void
sample_put_bits(Buf *out)
{
	WireWrite	write = sample_write(WRITE_PUT);
	WireRecord	record = {.id = bytes_str("name"), .dim = 19, .element = WIRE_BIT, .vector = sample_bits};
	size_t		begin;

	write.element = WIRE_BIT;
	begin = wire_write_begin(out, &write);
	wire_record_put(out, WRITE_PUT, &record);
	wire_write_end(out, begin, 1);
}

static inline void
sample_delete(Buf *out)
{
	WireWrite	write = sample_write(WRITE_DELETE);
	size_t		begin = wire_write_begin(out, &write);
	WireRecord	record = {.id = bytes_str("name"), .version = 77};

	wire_record_put(out, WRITE_DELETE, &record);
	wire_write_end(out, begin, 1);
}

static inline void
sample_raise(Buf *out)
{
	WireWrite	write = sample_write(WRITE_RAISE);

	wire_write_end(out, wire_write_begin(out, &write), 0);
}

static inline void
sample_split(Buf *out)
{
	WireRoute	route = sample_route();
	WireShardDesc child = {.generation = route.generation, .owner = route.owner,
		.shard = 0x99, .incarnation = 1, .first = 0x6000000000000000, .last = 0x7fffffffffffffff,
		.conf_ver = 1, .range_ver = route.range_ver + 1, .parent = route.shard,
		.hash_kind = HASH_XXH3_64, .hash_seed = 0xFEDCBA9876543210, .dim = 784, .metric = 3,
		.element = 1, .m = 16, .ef_construction = 200, .nreplicas = 2,
		.replicas = {{1, 0x9a, 1}, {2, 0x9b, 1}}};

	wire_split_put(out, &route, &child);
}

static inline void
sample_ingest(Buf *out)
{
	WireWrite	write = sample_write(WRITE_INGEST_BEGIN);

	write.session = 4;
	write.sequence = 5;
	wire_write_end(out, wire_write_begin(out, &write), 0);
}

static inline void
sample_verify(Buf *out)
{
	WireWrite	write = sample_write(WRITE_VERIFY);

	write.sequence = 6;
	wire_write_end(out, wire_write_begin(out, &write), 0);
}

static inline void
sample_open(Buf *out)
{
	WireWrite	write = sample_write(WRITE_OPEN);

	wire_write_end(out, wire_write_begin(out, &write), 0);
}

static inline void
sample_expire(Buf *out)
{
	WireWrite	write = sample_write(WRITE_EXPIRE);

	write.sequence = 900000;
	write.settled = 300000;
	wire_write_end(out, wire_write_begin(out, &write), 0);
}

/* One of a session's. */
static inline void
sample_session(Buf *out)
{
	WireWrite	write = sample_write(WRITE_DELETE);
	size_t		begin;
	WireRecord	record = {.id = bytes_str("name")};

	write.session = 1017;
	write.sequence = 9;
	write.settled = 7;
	begin = wire_write_begin(out, &write);
	wire_record_put(out, WRITE_DELETE, &record);
	wire_write_end(out, begin, 1);
}

static inline VtStatus
recode_write(Bytes in, Buf *out)
{
	WireWrite	write;
	WireRecord	record;
	size_t		at = 0;
	size_t		begin;
	uint32_t	n = 0;
	VtStatus	status = wire_write_get(in, &write, NULL);

	if (status != VT_OK)
		return status;
	begin = wire_write_begin(out, &write);
	if (write.type == WRITE_SPLIT)
	{
		WireShardDesc child = wire_split_child(&write);

		wire_desc_put(out, &child);
	}
	while (wire_record_next(&write, &at, &record))
	{
		wire_record_put(out, write.type, &record);
		n++;
	}
	wire_write_end(out, begin, n);
	return status;
}

static inline void
sample_write_result(Buf *out)
{
	WireWriteResult result = {.index = 123456789, .done = 500, .took = 1};

	wire_write_result_put(out, &result);
}

static inline void
sample_write_repeated(Buf *out)
{
	WireWriteResult result = {.index = 123456789, .done = 500, .repeated = true, .first = 0x4000000000000000,
		.last = 0x7fffffffffffffff};

	wire_write_result_put(out, &result);
}

static inline VtStatus
recode_write_result(Bytes in, Buf *out)
{
	WireWriteResult result;
	VtStatus	status = wire_write_result_get(in, &result);

	if (status == VT_OK)
		wire_write_result_put(out, &result);
	return status;
}

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

/* -- Attributes ------------------------------------------------------------ */

static inline void
sample_attributes(Buf *out)
{
	WireAttributes attributes = {.n = 3, .nulls = 2, .value = {-5, 0, INT64_MAX}};

	wire_attributes_put(out, &attributes);
}

static inline VtStatus
recode_attributes(Bytes in, Buf *out)
{
	WireAttributes attributes;
	VtStatus	status = wire_attributes_get(in, in.len > 1 ? in.data[1] % (WIRE_ATTRIBUTES_MAX + 1) : 1, &attributes);

	if (status == VT_OK)
		wire_attributes_put(out, &attributes);
	return status;
}

/* One of each kind of clause. */
static inline void
sample_predicate(Buf *out)
{
	static const int64_t some[] = {INT64_MIN, -1, 7};
	const WireClause clauses[] = {
		{.attribute = 0, .op = WIRE_CLAUSE_IN, .nvalues = 3, .values = some},
		{.attribute = 0, .op = WIRE_CLAUSE_NOT_IN, .nvalues = 1, .values = some + 1},
		{.attribute = 2, .op = WIRE_CLAUSE_BETWEEN, .lo = -10, .hi = INT64_MAX},
		{.attribute = 1, .op = WIRE_CLAUSE_IS_NULL},
		{.attribute = 1, .op = WIRE_CLAUSE_NOT_NULL},
		{.attribute = 1, .op = WIRE_CLAUSE_IN},
	};
	size_t		begin = wire_predicate_begin(out);

	for (size_t i = 0; i < sizeof(clauses) / sizeof(clauses[0]); i++)
		wire_clause_put(out, &clauses[i]);
	wire_predicate_end(out, begin, sizeof(clauses) / sizeof(clauses[0]));
}

static const uint8_t sample_kinds[3] = {WIRE_ATTR_ORDERED, WIRE_ATTR_HASHED, WIRE_ATTR_ORDERED};

static inline VtStatus
recode_predicate(Bytes in, Buf *out)
{
	WirePredicate predicate;
	VtStatus	status = wire_predicate_get(in, sample_kinds, 3, &predicate, NULL);
	size_t		begin;

	if (status != VT_OK)
		return status;
	begin = wire_predicate_begin(out);
	for (uint32_t i = 0; i < predicate.nclauses; i++)
	{
		WireClause	clause = predicate.clauses[i];
		int64_t    *values = vt_alloc(sizeof(int64_t) * (clause.nvalues + 1));

		for (uint32_t k = 0; k < clause.nvalues; k++)
			values[k] = wire_clause_value(&clause, k);
		clause.values = values;
		wire_clause_put(out, &clause);
		free(values);
	}
	wire_predicate_end(out, begin, predicate.nclauses);
	return status;
}

/* -- Reads ----------------------------------------------------------------- */

static inline void
sample_search(Buf *out)
{
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_AT_MARK, .mark = 55,
		.flags = SEARCH_EXACT, .k = 10, .ef = 100, .lease = 0, .route_version = 4, .nexcluded = 2,
		.dim = 3, .vector = (const uint8_t *) sample_vector};
	Buf			ids = {0};

	wire_id_put(&ids, bytes_str("name"));
	wire_id_put(&ids, bytes_str("other"));
	search.excluded = buf_bytes(&ids);
	wire_search_put(out, &search);
	buf_free(&ids);
}

static inline void
sample_search_filter(Buf *out)
{
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_EVENTUAL, .k = 10, .ef = 100,
		.route_version = 4, .dim = 3, .vector = (const uint8_t *) sample_vector};
	Buf			filter = {0};

	sample_predicate(&filter);
	search.filter = buf_bytes(&filter);
	wire_search_put(out, &search);
	buf_free(&filter);
}

static inline void
sample_search_many(Buf *out)
{
	static const float vectors[6] = {1.0f, -2.5f, 0.0f, 3.0f, 0.25f, -1.0f};
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_AT_MARK, .mark = 55,
		.flags = SEARCH_ONCE | SEARCH_MANY, .k = 10, .ef = 100, .nqueries = 2, .route_version = 4, .dim = 3,
		.vector = (const uint8_t *) vectors};

	wire_search_put(out, &search);
}

static inline void
sample_search_bits(Buf *out)
{
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_EVENTUAL, .flags = SEARCH_ONCE | SEARCH_BITS, .k = 10,
		.ef = 100, .route_version = 4, .dim = 19, .vector = sample_bits};

	wire_search_put(out, &search);
}

static inline VtStatus
recode_search(Bytes in, Buf *out)
{
	WireSearch	search;
	Buf			ids = {0};
	Bytes		id;
	size_t		at = 0;
	VtStatus	status = wire_search_get(in, &search, NULL);

	if (status != VT_OK)
		return status;
	while (wire_id_next(search.excluded, &at, &id))
		wire_id_put(&ids, id);
	search.excluded = buf_bytes(&ids);
	wire_search_put(out, &search);
	buf_free(&ids);
	return status;
}

static inline void
sample_search_result(Buf *out)
{
	WireSearchResult result = {.lease = 8, .exhausted = 0, .exact = 1, .distances = 2000, .hops = 40,
		.leader = 1, .waiting = 3};
	size_t		begin = wire_search_result_begin(out, &result);
	WireHit		hit = {0.5, 77, bytes_str("name")};

	wire_hit_put(out, &hit);
	hit.distance = 1.25;
	hit.id = bytes_str("other");
	wire_hit_put(out, &hit);
	wire_search_result_end(out, begin, 2);
}

static inline VtStatus
recode_search_result(Bytes in, Buf *out)
{
	WireSearchResult result;
	WireHit		hit;
	size_t		at = 0;
	size_t		begin;
	uint32_t	n = 0;
	VtStatus	status = wire_search_result_get(in, &result);

	if (status != VT_OK)
		return status;
	begin = wire_search_result_begin(out, &result);
	while (wire_hit_next(&result, &at, &hit))
	{
		wire_hit_put(out, &hit);
		n++;
	}
	wire_search_result_end(out, begin, n);
	return status;
}

/* What two queries of one search found: something, and nothing. */
static inline void
sample_search_results(Buf *out)
{
	WireSearchResult nothing = {.exhausted = 1, .exact = 1, .leader = 1};
	Buf			first = {0};
	Buf			second = {0};

	sample_search_result(&first);
	wire_search_result_end(&second, wire_search_result_begin(&second, &nothing), 0);
	wire_search_results_put(out, (Bytes[]) {buf_bytes(&first), buf_bytes(&second)}, 2);
	buf_free(&first);
	buf_free(&second);
}

static inline VtStatus
recode_search_results(Bytes in, Buf *out)
{
	WireSearchResult results[2];
	Cursor		c = cursor_of(in);
	Buf			each[2] = {{0}, {0}};
	VtStatus	status = wire_search_results_get(in, results, 2);

	(void) cursor_u32(&c);
	for (int i = 0; i < 2 && status == VT_OK; i++)
		status = recode_search_result(cursor_string(&c), &each[i]);
	if (status == VT_OK)
		wire_search_results_put(out, (Bytes[]) {buf_bytes(&each[0]), buf_bytes(&each[1])}, 2);
	buf_free(&each[0]);
	buf_free(&each[1]);
	return status;
}

static inline void
sample_list(Buf *out)
{
	WireList	list = {sample_route(), 55, 6, LIST_VECTORS, 1 << 20};

	wire_list_put(out, &list);
}

static inline VtStatus
recode_list(Bytes in, Buf *out)
{
	WireList	list;
	VtStatus	status = wire_list_get(in, &list, NULL);

	if (status == VT_OK)
		wire_list_put(out, &list);
	return status;
}

static inline void
sample_list_result(Buf *out)
{
	WireListResult result = {.lease = 6, .last = 1, .total = 1002};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 3, .vector = (const uint8_t *) sample_vector};

	wire_list_item_put(out, &result, &item);
	item.dim = 0;
	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 2);
}

static inline void
sample_list_attributes(Buf *out)
{
	WireListResult result = {.lease = 6, .attributes = true};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 3, .vector = (const uint8_t *) sample_vector};
	Buf			attributes = {0};

	sample_attributes(&attributes);
	item.attributes = buf_bytes(&attributes);
	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 1);
	buf_free(&attributes);
}

static inline void
sample_list_bits(Buf *out)
{
	WireListResult result = {.lease = 6, .bits = true};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 19, .vector = sample_bits};

	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 1);
}

static inline VtStatus
recode_list_result(Bytes in, Buf *out)
{
	WireListResult result;
	WireListItem item;
	size_t		at = 0;
	size_t		begin;
	uint32_t	n = 0;
	VtStatus	status = wire_list_result_get(in, &result);

	if (status != VT_OK)
		return status;
	begin = wire_list_result_begin(out, &result);
	while (wire_list_item_next(&result, &at, &item))
	{
		wire_list_item_put(out, &result, &item);
		n++;
	}
	wire_list_result_end(out, begin, n);
	return status;
}

static inline void
sample_read(Buf *out)
{
	WireRead	read = {sample_route()};

	wire_read_put(out, &read);
}

static inline VtStatus
recode_read(Bytes in, Buf *out)
{
	WireRead	read;
	VtStatus	status = wire_read_get(in, &read, NULL);

	if (status == VT_OK)
		wire_read_put(out, &read);
	return status;
}

static inline void
sample_read_result(Buf *out)
{
	WireReadResult result = {60000, 12, 0x15D7A08};

	wire_read_result_put(out, &result);
}

static inline VtStatus
recode_read_result(Bytes in, Buf *out)
{
	WireReadResult result;
	VtStatus	status = wire_read_result_get(in, &result);

	if (status == VT_OK)
		wire_read_result_put(out, &result);
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
	{"list_result", sample_list_result, recode_list_result},
	{"list_attributes", sample_list_attributes, recode_list_result},
	{"list_bits", sample_list_bits, recode_list_result},
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
