/*-------------------------------------------------------------------------
 *
 * worker_gateway.h
 *	  A gateway for tests: asks a worker over its socket, as PostgreSQL does.
 *
 * One shard of DIM dimensions, whose record n has the number n for an id and
 * lies at (n, 0, 0).
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_WORKER_GATEWAY_H
#define TEST_WORKER_GATEWAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/worker/private.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "patience.h"

#define DIM 3
#define SHARD 7

/* A worker, and where it is. */
typedef struct Place
{
	char		directory[64];
	char		data[80];
	char		endpoint[96];
	char		pd[96];
	Worker	   *worker;
	WireShardDesc desc;
} Place;

/* -- A gateway ------------------------------------------------------------- */

typedef struct Gateway
{
	int			fd;
	uint64_t	requests;
	Buf			payload;		/* of the last reply */
	WireReply	head;
	Bytes		body;
	bool		halves;			/* puts are rounded to float16 */
	bool		attributes;		/* and have attributes_of() them, */
	size_t		metadata;		/* and metadata_of() them of at most so many bytes */
} Gateway;

static inline void
read_fully(int fd, uint8_t *out, size_t n)
{
	while (n > 0)
	{
		ssize_t		got = read(fd, out, n);

		assert_true(got > 0);
		out += got;
		n -= (size_t) got;
	}
}

static inline void
send_frame(Gateway *g, WireKind kind, WireType type, uint64_t request, const Buf *payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, kind, type, request, buf_bytes(payload));
	assert_int_equal(write(g->fd, frame.data, frame.len), frame.len);
	buf_free(&frame);
}

static inline uint64_t
read_frame(Gateway *g)
{
	uint8_t		head[WIRE_HEADER_SIZE];
	WireHeader	header;

	read_fully(g->fd, head, sizeof(head));
	assert_int_equal(wire_header_get(head, &header, NULL), VT_OK);
	buf_clear(&g->payload);
	buf_reserve(&g->payload, header.length + 1);
	read_fully(g->fd, g->payload.data, header.length);
	g->payload.len = header.length;
	assert_int_equal(wire_payload_check(head, &header, buf_bytes(&g->payload), NULL), VT_OK);
	return header.request;
}

/* As a gateway that knows these features. */
static inline void
dial_with(Gateway *g, const Place *place, uint64_t features)
{
	struct sockaddr_un addr;
	WireHello	hello;
	Buf			payload = {0};

	memset(g, 0, sizeof(*g));
	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", place->endpoint + 5);
	g->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(g->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = WIRE_ROLE_GATEWAY;
	hello.features = features;
	wire_hello_put(&payload, &hello);
	send_frame(g, WIRE_REQUEST, WIRE_HELLO, ++g->requests, &payload);
	read_frame(g);
	assert_int_equal(wire_hello_get(buf_bytes(&g->payload), &hello), VT_OK);
	assert_int_equal(hello.role, WIRE_ROLE_WORKER);
	buf_free(&payload);
}

static inline void
dial(Gateway *g, const Place *place)
{
	dial_with(g, place, WIRE_FEATURE_UNINDEXED);
}

static inline void
hang_up(Gateway *g)
{
	close(g->fd);
	buf_free(&g->payload);
}

/* Ask until the shard is ready; a started one says BUSY for a moment. */
static inline VtStatus
ask(Gateway *g, WireType type, const Buf *payload)
{
	int64_t		until = clock_now_us() + 30 * INT64_C(1000000);

	do
	{
		if (clock_now_us() > until)
			fail_msg("the shard is not ready");
		send_frame(g, WIRE_REQUEST, type, ++g->requests, payload);
		assert_int_equal(read_frame(g), g->requests);
		assert_int_equal(wire_reply_get(buf_bytes(&g->payload), &g->head, &g->body), VT_OK);
	} while (g->head.status == VT_BUSY);
	return g->head.status;
}

/* A question in JSON; the answer lives until the next. */
static inline const char *
control(Gateway *g, const char *text)
{
	Buf			payload = {0};

	buf_put(&payload, text, strlen(text));
	send_frame(g, WIRE_REQUEST, WIRE_CONTROL, ++g->requests, &payload);
	assert_int_equal(read_frame(g), g->requests);
	buf_put_u8(&g->payload, 0);
	buf_free(&payload);
	return (const char *) g->payload.data;
}

static inline WireRoute
route(const Place *place)
{
	WireRoute	r;

	memset(&r, 0, sizeof(r));
	r.generation = place->desc.generation;
	r.owner = place->desc.owner;
	r.shard = place->desc.shard;
	r.range_ver = place->desc.range_ver;
	r.deadline_ms = PATIENCE_MS;
	return r;
}

static inline Bytes
id_of(uint32_t n, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, n, 1);
	return bytes_of(out, WIRE_TID_SIZE);
}

static inline uint32_t
number_of(Bytes id)
{
	uint32_t	block;
	uint16_t	offset;

	assert_true(wire_tid_get(id, &block, &offset));
	return block;
}

static inline void
vector_of(float x, uint8_t out[DIM * 4])
{
	for (int i = 0; i < DIM; i++)
	{
		float		y = i == 0 ? x : 0;
		uint32_t	bits;

		memcpy(&bits, &y, sizeof(bits));
		put_le32(out + 4 * i, bits);
	}
}

/* A vector's bytes, rounded to float16 in the first half of its room. */
static inline void
halve(uint8_t vector[DIM * 4])
{
	float		floats[DIM];
	VecHalf		halves[DIM];

	vector_take(floats, vector, DIM, VEC_FLOAT32);
	assert_true(vec_to_half(halves, floats, DIM));
	for (int i = 0; i < DIM; i++)
		put_le16(vector + 2 * i, halves[i]);
}

/* Record n: n % 10, NULL for every seventh; and n. */
static inline WireAttributes
attributes_of(uint32_t n)
{
	WireAttributes attributes = {.n = 2, .nulls = n % 7 == 0, .value = {n % 7 == 0 ? 0 : n % 10, n}};

	return attributes;
}

/* Bytes of record n, from none to `most` of them; until the next call. */
static inline Bytes
metadata_of(uint32_t n, size_t most)
{
	static _Thread_local Buf bytes;
	size_t		len = n * UINT64_C(1299709) % (most + 1);

	buf_clear(&bytes);
	for (size_t i = 0; i < len; i++)
		buf_put_u8(&bytes, (uint8_t) (n + i));
	return buf_bytes(&bytes);
}

typedef struct Change
{
	WireWriteType type;
	WireRoute	route;
	uint64_t	fence;
	uint64_t	fence_to;
	uint32_t	first;			/* ids first .. first + n - 1, each at x = id */
	uint32_t	n;
	uint64_t	version;
	uint32_t	dim;
	uint64_t	session;
	uint64_t	sequence;
	uint64_t	settled;
} Change;

static inline Buf
change_encode(const Gateway *g, const Change *c)
{
	WireWrite	write;
	Buf			payload = {0};
	Buf			attributes = {0};
	size_t		begin;

	memset(&write, 0, sizeof(write));
	write.type = c->type;
	write.route = c->route;
	write.fence = c->fence;
	write.fence_to = c->fence_to;
	write.session = c->session;
	write.sequence = c->sequence;
	write.settled = c->settled;
	write.element = g->halves ? WIRE_FLOAT16 : WIRE_FLOAT32;
	begin = wire_write_begin(&payload, &write);
	for (uint32_t i = 0; i < c->n; i++)
	{
		WireRecord	record;
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4];

		memset(&record, 0, sizeof(record));
		vector_of((float) (c->first + i), vector);
		if (g->halves)
			halve(vector);
		record.id = id_of(c->first + i, id);
		record.version = c->version;
		record.dim = c->dim;
		record.element = write.element;
		record.vector = vector;
		if (g->attributes)
		{
			WireAttributes some = attributes_of(c->first + i);

			buf_clear(&attributes);
			wire_attributes_put(&attributes, &some);
			record.attributes = buf_bytes(&attributes);
		}
		record.metadata = metadata_of(c->first + i, g->metadata);
		wire_record_put(&payload, c->type, &record);
	}
	buf_free(&attributes);
	wire_write_end(&payload, begin, c->n);
	return payload;
}

static inline VtStatus
change(Gateway *g, const Change *c, WireWriteResult *result)
{
	Buf			payload = change_encode(g, c);
	VtStatus	status = ask(g, WIRE_WRITE, &payload);

	memset(result, 0, sizeof(*result));
	if (status == VT_OK)
	{
		assert_int_equal(wire_write_result_get(g->body, result), VT_OK);
		if (!result->repeated)
			assert_int_equal(result->index, g->head.applied);
	}
	buf_free(&payload);
	return status;
}

static inline WireWriteResult
put(Gateway *g, const Place *place, uint32_t first, uint32_t n)
{
	Change		c = {WRITE_PUT, route(place), 0, 0, first, n, 0, DIM, 0, 0, 0};
	WireWriteResult result;

	assert_int_equal(change(g, &c, &result), VT_OK);
	assert_int_equal(result.done, n);
	return result;
}

static inline uint64_t
count(Gateway *g, const Place *place)
{
	WireRead	read = {route(place)};
	WireReadResult result;
	Buf			payload = {0};

	wire_read_put(&payload, &read);
	assert_int_equal(ask(g, WIRE_READ_INDEX, &payload), VT_OK);
	assert_int_equal(wire_read_result_get(g->body, &result), VT_OK);
	buf_free(&payload);
	return result.records;
}

static inline WireSearch
question(const Place *place, const uint8_t *vector, uint32_t k)
{
	WireSearch	search;

	memset(&search, 0, sizeof(search));
	search.route = route(place);
	search.consistency = WIRE_LINEARIZABLE;
	search.k = k;
	search.ef = 100;
	search.dim = DIM;
	search.vector = vector;
	return search;
}

static inline VtStatus
search(Gateway *g, const WireSearch *s, WireSearchResult *result)
{
	Buf			payload = {0};
	VtStatus	status;

	wire_search_put(&payload, s);
	status = ask(g, WIRE_SEARCH, &payload);
	if (status == VT_OK && !(s->flags & SEARCH_CLOSE))
		assert_int_equal(wire_search_result_get(g->body, result), VT_OK);
	buf_free(&payload);
	return status;
}

static inline VtStatus
list(Gateway *g, const WireList *l, WireListResult *result)
{
	Buf			payload = {0};
	VtStatus	status;

	wire_list_put(&payload, l);
	status = ask(g, WIRE_LIST, &payload);
	if (status == VT_OK && !(l->flags & LIST_CLOSE))
		assert_int_equal(wire_list_result_get(g->body, result), VT_OK);
	buf_free(&payload);
	return status;
}

#endif							/* TEST_WORKER_GATEWAY_H */
