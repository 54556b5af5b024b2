/*-------------------------------------------------------------------------
 *
 * wire_writes.h
 *	  Samples of writes and of their results (wire_messages.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_WRITES_H
#define WIRE_WRITES_H

#include "wire_samples.h"

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

/* Of a collection without vectors: with metadata, and with none. */
static inline void
sample_put_no_vectors(Buf *out)
{
	WireWrite	write = sample_write(WRITE_PUT);
	size_t		begin = wire_write_begin(out, &write);
	WireRecord	record = {.id = bytes_str("name"), .metadata = bytes_str("{\"a\": 1}")};

	wire_record_put(out, WRITE_PUT, &record);
	record.id = bytes_str("another");
	record.metadata = bytes_of(NULL, 0);
	wire_record_put(out, WRITE_PUT, &record);
	wire_write_end(out, begin, 2);
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

#endif							/* WIRE_WRITES_H */
