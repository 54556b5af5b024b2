/*-------------------------------------------------------------------------
 *
 * wire_codec.c
 *	  Decoders against what they must take and what they must not.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../fuzz/wire_messages.h"
#include "base/prng.h"

static VtError err;

/* Decode a private copy of exactly this size, so that reading past its end shows. */
static VtStatus
recode_copy(const WireMessage *m, const uint8_t *data, size_t len, Buf *out)
{
	uint8_t    *copy = vt_alloc(len);
	VtStatus	status;

	if (len)
		memcpy(copy, data, len);
	buf_clear(out);
	status = m->recode(bytes_of(copy, len), out);
	if (status == VT_OK)
		assert_true(bytes_equal(bytes_of(data, len), buf_bytes(out)));
	else
		/* A predicate may be well formed and not fit the attributes. */
		assert_true(status == VT_PROTOCOL || status == VT_VERSION ||
					(status == VT_INVALID && m->recode == recode_predicate));
	free(copy);
	return status;
}

static void
messages_come_out_as_they_went_in(void **state)
{
	(void) state;
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		Buf			in = {0};
		Buf			out = {0};

		wire_messages[i].sample(&in);
		assert_int_equal(recode_copy(&wire_messages[i], in.data, in.len, &out), VT_OK);
		buf_free(&in);
		buf_free(&out);
	}
}

/* A reply's body is whatever follows its head. */
static size_t
open_tail(const WireMessage *m)
{
	return strcmp(m->name, "reply") == 0 ? 4 : 0;
}

static void
messages_cut_anywhere_are_refused(void **state)
{
	(void) state;
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		Buf			in = {0};
		Buf			out = {0};

		wire_messages[i].sample(&in);
		for (size_t len = 0; len < in.len - open_tail(&wire_messages[i]); len++)
			assert_int_equal(recode_copy(&wire_messages[i], in.data, len, &out), VT_PROTOCOL);
		buf_free(&in);
		buf_free(&out);
	}
}

static void
messages_with_something_behind_are_refused(void **state)
{
	(void) state;
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		Buf			in = {0};
		Buf			out = {0};

		if (open_tail(&wire_messages[i]))
			continue;
		wire_messages[i].sample(&in);
		buf_put_u8(&in, 0);
		assert_int_equal(recode_copy(&wire_messages[i], in.data, in.len, &out), VT_PROTOCOL);
		buf_free(&in);
		buf_free(&out);
	}
}

/* Each bit, then some bytes at random: refused, or understood as what it is. */
static void
damaged_messages_never_confuse(void **state)
{
	Prng		prng = {1};
	size_t		refused = 0;

	(void) state;
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		Buf			in = {0};
		Buf			out = {0};

		wire_messages[i].sample(&in);
		for (size_t bit = 0; bit < in.len * 8; bit++)
		{
			in.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
			if (recode_copy(&wire_messages[i], in.data, in.len, &out) != VT_OK)
				refused++;
			else
				assert_string_not_equal(wire_messages[i].name, "frame");
			in.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
		}
		for (int round = 0; round < 2000; round++)
		{
			Buf			bad = {0};

			buf_put(&bad, in.data, in.len);
			for (uint32_t n = 1 + prng_below(&prng, 6); n > 0; n--)
				bad.data[prng_below(&prng, (uint32_t) bad.len)] = (uint8_t) prng_next(&prng);
			recode_copy(&wire_messages[i], bad.data, bad.len - prng_below(&prng, 2), &out);
			buf_free(&bad);
		}
		buf_free(&in);
		buf_free(&out);
	}
	assert_true(refused > 1000);
}

/* -- Frames ---------------------------------------------------------------- */

static void
frames_of_another_kind_are_told_apart(void **state)
{
	static const struct
	{
		size_t		at;
		uint8_t		byte;
		VtStatus	status;
	}			changes[] = {
		{0, 'v', VT_PROTOCOL},	/* magic */
		{4, 2, VT_VERSION}, {4, 0x7B, VT_VERSION}, {4, 0, VT_VERSION},
		{5, 0, VT_PROTOCOL}, {5, 5, VT_PROTOCOL},	/* kind */
		{6, 99, VT_PROTOCOL}, {7, 1, VT_PROTOCOL},	/* type */
		{19, 2, VT_PROTOCOL},	/* length over the limit */
		{20, 1, VT_VERSION},	/* flags */
	};
	Buf			frame = {0};
	WireHeader	header;

	(void) state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		buf_clear(&frame);
		sample_frame(&frame);
		assert_int_equal(wire_header_get(frame.data, &header, &err), VT_OK);
		frame.data[changes[i].at] = changes[i].byte;
		assert_int_equal(wire_header_get(frame.data, &header, &err), changes[i].status);
		assert_int_equal(err.code, changes[i].status);
	}
	buf_free(&frame);
}

static void
a_frame_written_in_place_is_the_same(void **state)
{
	Buf			one = {0};
	Buf			two = {0};
	size_t		begin;
	WireHeader	header;

	(void) state;
	buf_put(&one, "before", 6);
	buf_put(&two, "before", 6);
	wire_frame_put(&one, WIRE_REPLY, WIRE_LIST, 9, bytes_str("payload"));
	begin = wire_frame_begin(&two, WIRE_REPLY, WIRE_LIST, 9);
	buf_put(&two, "payload", 7);
	wire_frame_end(&two, begin);
	assert_true(bytes_equal(buf_bytes(&one), buf_bytes(&two)));
	assert_int_equal(wire_header_get(one.data + 6, &header, NULL), VT_OK);
	assert_int_equal(header.kind, WIRE_REPLY);
	assert_int_equal(header.type, WIRE_LIST);
	assert_int_equal(header.request, 9);
	assert_int_equal(header.length, 7);
	/* The checksum covers the header: a reply moved to another request is damage. */
	one.data[6 + 8]++;
	assert_int_equal(wire_header_get(one.data + 6, &header, NULL), VT_OK);
	assert_int_equal(wire_payload_check(one.data + 6, &header, bytes_str("payload"), NULL), VT_PROTOCOL);
	buf_free(&one);
	buf_free(&two);
}

/* -- Write commands -------------------------------------------------------- */

/* A put of n records of so many dimensions with one number everywhere. */
static void
put_of(Buf *out, uint32_t n, uint32_t dim, size_t id_len, float number)
{
	WireWrite	write = sample_write(WRITE_PUT);
	size_t		begin;
	uint8_t    *id = vt_alloc0(id_len + 1);
	float	   *vector = vt_alloc(sizeof(float) * (dim + 1));

	buf_clear(out);
	begin = wire_write_begin(out, &write);
	for (uint32_t i = 0; i < dim; i++)
		vector[i] = number;
	for (uint32_t i = 0; i < n; i++)
	{
		WireRecord	record = {.id = bytes_of(id, id_len), .dim = dim, .vector = (const uint8_t *) vector};

		wire_record_put(out, WRITE_PUT, &record);
	}
	wire_write_end(out, begin, n);
	free(id);
	free(vector);
}

static void
write_commands_are_checked_whole(void **state)
{
	Buf			in = {0};
	WireWrite	write;

	(void) state;
	put_of(&in, 3, 16000, WIRE_ID_MAX, 1);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_OK);
	assert_int_equal(write.nrecords, 3);
	put_of(&in, 3, 16001, 4, 1);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	put_of(&in, 3, 0, 4, 1);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_OK);
	assert_int_equal(write.nrecords, 3);
	in.data[0] = WIRE_WRITE_HALVES;
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	in.data[0] = WIRE_WRITE_BITS;
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	put_of(&in, 0, 4, 4, 1);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);

	/* Numbers that are none. */
	put_of(&in, 2, 4, 4, INFINITY);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	put_of(&in, 2, 4, 4, -INFINITY);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	put_of(&in, 2, 4, 4, NAN);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	put_of(&in, 2, 4, 4, -3.4e38f);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_OK);

	/* One byte more than the limit. */
	put_of(&in, 66, 15000, 4, 1);
	assert_true(in.len < WIRE_COMMAND_MAX);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_OK);
	put_of(&in, 70, 15000, 4, 1);
	assert_true(in.len > WIRE_COMMAND_MAX);
	assert_int_equal(wire_write_get(buf_bytes(&in), &write, &err), VT_PROTOCOL);
	buf_free(&in);
}

static void
write_commands_have_the_parts_of_their_type(void **state)
{
	Buf			in = {0};
	WireWrite	write = sample_write(WRITE_RAISE);
	WireWrite	got;

	(void) state;
	write.fence_to = 0;
	wire_write_end(&in, wire_write_begin(&in, &write), 0);
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);
	buf_clear(&in);
	write.type = WRITE_DELETE;
	wire_write_end(&in, wire_write_begin(&in, &write), 0);
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);

	/* Mixed dimensions. */
	buf_clear(&in);
	write.type = WRITE_PUT;
	{
		size_t		begin = wire_write_begin(&in, &write);
		WireRecord	record = {.id = bytes_str("x"), .dim = 3, .vector = (const uint8_t *) sample_vector};

		wire_record_put(&in, WRITE_PUT, &record);
		record.dim = 2;
		wire_record_put(&in, WRITE_PUT, &record);
		wire_write_end(&in, begin, 2);
		assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);
		buf_clear(&in);
		begin = wire_write_begin(&in, &write);
		record.dim = 0;
		wire_record_put(&in, WRITE_PUT, &record);
		record.dim = 3;
		wire_record_put(&in, WRITE_PUT, &record);
		wire_write_end(&in, begin, 2);
	}
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);

	/* Newer than we are: not the same as damaged. */
	buf_clear(&in);
	sample_put(&in);
	in.data[0] = WIRE_WRITE_BITS + 1;
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_VERSION);
	in.data[0] = '{';
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_VERSION);
	in.data[0] = WIRE_WRITE_FORMAT;
	in.data[1] = WRITE_EXPIRE + 1;
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_VERSION);
	buf_free(&in);
}

static void
halves_are_checked_like_floats(void **state)
{
	static const uint8_t no_numbers[][2] = {{0x00, 0x7C}, {0x00, 0xFC}, {0x01, 0x7C}, {0xFF, 0x7F}};
	Buf			in = {0};
	WireWrite	got;
	WireRecord	record;
	size_t		at = 0;

	(void) state;
	sample_put_halves(&in);
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_OK);
	assert_int_equal(got.element, WIRE_FLOAT16);
	assert_true(wire_record_next(&got, &at, &record));
	assert_int_equal(record.element, WIRE_FLOAT16);
	assert_int_equal(record.dim, 3);
	assert_int_equal(get_le16(record.vector + 2), 0xC000);
	assert_false(wire_record_next(&got, &at, &record));
	for (size_t i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++)
	{
		memcpy(in.data + in.len - 2, no_numbers[i], 2);
		assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);
	}

	/* Only a put has vectors. */
	buf_clear(&in);
	sample_raise(&in);
	in.data[0] = WIRE_WRITE_HALVES;
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);
	buf_free(&in);
}

/* Of what is left of the last byte nothing may be set: equal vectors are equal bytes. */
static void
bits_are_checked(void **state)
{
	Buf			in = {0};
	WireWrite	got;
	WireRecord	record;
	WireSearch	search;
	WireListResult list;
	WireListItem item;
	size_t		at = 0;

	(void) state;
	sample_put_bits(&in);
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_OK);
	assert_int_equal(got.element, WIRE_BIT);
	assert_true(wire_record_next(&got, &at, &record));
	assert_int_equal(record.element, WIRE_BIT);
	assert_int_equal(record.dim, 19);
	assert_memory_equal(record.vector, sample_bits, 3);
	for (int bit = 0; bit < 5; bit++)
	{
		in.data[in.len - 1] = (uint8_t) (sample_bits[2] | 1 << bit);
		assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);
		assert_non_null(strstr(vt_error_words(&err), "behind its end"));
	}
	in.data[in.len - 1] = sample_bits[2];
	/* 64 000 at most: here is room for 24. */
	put_le32(in.data + in.len - 7, 64001);
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);
	put_le32(in.data + in.len - 7, 25);
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);

	/* Only a put has vectors. */
	buf_clear(&in);
	sample_raise(&in);
	in.data[0] = WIRE_WRITE_BITS;
	assert_int_equal(wire_write_get(buf_bytes(&in), &got, &err), VT_PROTOCOL);

	buf_clear(&in);
	sample_search_bits(&in);
	assert_int_equal(wire_search_get(buf_bytes(&in), &search, &err), VT_OK);
	assert_int_equal(search.dim, 19);
	assert_memory_equal(search.vector, sample_bits, 3);
	in.data[in.len - 1] |= 1;
	assert_int_equal(wire_search_get(buf_bytes(&in), &search, &err), VT_PROTOCOL);
	assert_non_null(strstr(vt_error_words(&err), "behind its end"));

	buf_clear(&in);
	sample_list_bits(&in);
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &list), VT_OK);
	assert_true(list.bits);
	at = 0;
	assert_true(wire_list_item_next(&list, &at, &item));
	assert_int_equal(item.dim, 19);
	assert_memory_equal(item.vector, sample_bits, 3);
	buf_free(&in);
}

static void
a_command_is_stamped_again_in_place(void **state)
{
	Buf			in = {0};
	WireWrite	before;
	WireWrite	after;
	WireRoute	route = sample_route();

	(void) state;
	sample_put(&in);
	assert_int_equal(wire_write_get(buf_bytes(&in), &before, NULL), VT_OK);
	route.shard = 5;
	route.range_ver = 6;
	route.deadline_ms = 7;
	wire_write_restamp(in.data, in.len, &route, 8);
	assert_int_equal(wire_write_get(buf_bytes(&in), &after, NULL), VT_OK);
	assert_int_equal(after.route.shard, 5);
	assert_int_equal(after.route.range_ver, 6);
	assert_int_equal(after.route.deadline_ms, 7);
	assert_int_equal(after.fence, 8);
	assert_true(wire_owner_equal(&after.route.owner, &before.route.owner));
	assert_true(after.lsn == before.lsn && after.timeline == before.timeline);
	assert_true(bytes_equal(after.records, before.records));
	buf_free(&in);
}

static void
owners_differ_in_every_part(void **state)
{
	WireOwner	a = sample_owner();
	WireOwner	b = a;

	(void) state;
	assert_true(wire_owner_equal(&a, &b));
	b.system++;
	assert_false(wire_owner_equal(&a, &b));
	b = a;
	b.incarnation.b[15]++;
	assert_false(wire_owner_equal(&a, &b));
	b = a;
	b.database++;
	assert_false(wire_owner_equal(&a, &b));
}

/* -- Searches and lists ---------------------------------------------------- */

/* A search with these excluded bytes and this count. */
static VtStatus
search_with(Bytes excluded, uint32_t n, uint32_t flags, uint32_t k, Bytes filter, float number)
{
	float		vector[2] = {number, 1};
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_EVENTUAL, .flags = flags, .k = k,
		.filter = filter, .nexcluded = n, .excluded = excluded, .dim = 2,
		.vector = (const uint8_t *) vector};
	WireSearch	got;
	Buf			in = {0};
	VtStatus	status;

	wire_search_put(&in, &search);
	status = wire_search_get(buf_bytes(&in), &got, &err);
	buf_free(&in);
	return status;
}

static void
searches_are_checked(void **state)
{
	Buf			ids = {0};
	Bytes		none = {0};

	(void) state;
	wire_id_put(&ids, bytes_str("a"));
	wire_id_put(&ids, bytes_str("b"));
	assert_int_equal(search_with(buf_bytes(&ids), 2, 0, 1, none, 0), VT_OK);
	assert_int_equal(search_with(buf_bytes(&ids), 1, 0, 1, none, 0), VT_PROTOCOL);
	assert_int_equal(search_with(buf_bytes(&ids), 3, 0, 1, none, 0), VT_PROTOCOL);
	/* Something behind the last id: as many bytes as were announced are read. */
	buf_put_u8(&ids, 9);
	assert_int_equal(search_with(buf_bytes(&ids), 2, 0, 1, none, 0), VT_PROTOCOL);
	/* An id of no bytes. */
	buf_clear(&ids);
	buf_put_u16(&ids, 0);
	assert_int_equal(search_with(buf_bytes(&ids), 1, 0, 1, none, 0), VT_PROTOCOL);
	assert_int_equal(search_with(buf_bytes(&ids), 0, 0, 1, none, 0), VT_PROTOCOL);

	assert_int_equal(search_with(none, 0, 0, WIRE_SEARCH_K_MAX, none, 0), VT_OK);
	assert_int_equal(search_with(none, 0, 0, WIRE_SEARCH_K_MAX + 1, none, 0), VT_PROTOCOL);
	assert_int_equal(search_with(none, 0, SEARCH_EXACT | SEARCH_CLOSE | SEARCH_ONCE, 1, none, 0), VT_OK);
	assert_int_equal(search_with(none, 0, 32, 1, none, 0), VT_PROTOCOL);
	/* What a filter says is checked by who knows the attributes. */
	assert_int_equal(search_with(none, 0, 0, 1, bytes_str("f"), 0), VT_OK);
	assert_int_equal(search_with(none, 0, 0, 1, none, NAN), VT_PROTOCOL);
	buf_free(&ids);
}

/* A search of n queries of two dimensions each, of which `sent` are there. */
static VtStatus
search_of_many(uint32_t n, uint32_t sent, uint32_t flags, uint32_t nexcluded, WireSearch *got)
{
	static float vectors[2 * (WIRE_QUERIES_MAX + 1)];
	static Buf	in;
	Buf			ids = {0};
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_AT_MARK, .flags = flags, .k = 1, .nqueries = sent,
		.nexcluded = nexcluded, .dim = 2, .vector = (const uint8_t *) vectors};

	for (uint32_t i = 0; i < nexcluded; i++)
		wire_id_put(&ids, bytes_str("a"));
	search.excluded = buf_bytes(&ids);
	buf_clear(&in);
	wire_search_put(&in, &search);
	if (flags & SEARCH_MANY)
		put_le64(in.data + 64 + 1 + 8 + 4 + 4 + 4, n);
	buf_free(&ids);
	assert_int_equal(wire_peek_queries(buf_bytes(&in)), !(flags & SEARCH_MANY) || n < 1 ? 1 : n > WIRE_QUERIES_MAX ? WIRE_QUERIES_MAX : n);
	return wire_search_get(buf_bytes(&in), got, &err);
}

static void
searches_of_many_are_bounded(void **state)
{
	const uint32_t many = SEARCH_MANY | SEARCH_ONCE;
	WireSearch	got;

	(void) state;
	for (uint32_t n = 1; n <= WIRE_QUERIES_MAX; n++)
	{
		assert_int_equal(search_of_many(n, n, many, 0, &got), VT_OK);
		assert_int_equal(got.nqueries, n);
		assert_int_equal(got.lease, 0);
	}
	assert_int_equal(search_of_many(0, 0, many, 0, &got), VT_PROTOCOL);
	assert_int_equal(search_of_many(WIRE_QUERIES_MAX + 1, WIRE_QUERIES_MAX + 1, many, 0, &got), VT_PROTOCOL);
	assert_int_equal(search_of_many(UINT32_MAX, 4, many, 0, &got), VT_PROTOCOL);
	/* Fewer than are announced, and more. */
	assert_int_equal(search_of_many(5, 4, many, 0, &got), VT_PROTOCOL);
	assert_int_equal(search_of_many(3, 4, many, 0, &got), VT_PROTOCOL);
	/* No state, nothing excluded. */
	assert_int_equal(search_of_many(2, 2, SEARCH_MANY, 0, &got), VT_PROTOCOL);
	assert_int_equal(search_of_many(2, 2, many | SEARCH_CLOSE, 0, &got), VT_PROTOCOL);
	assert_int_equal(search_of_many(2, 2, many, 1, &got), VT_PROTOCOL);
	assert_int_equal(search_of_many(2, 2, many | SEARCH_EXACT, 0, &got), VT_OK);
	/* Without the bit there is one, and the number is a lease. */
	assert_int_equal(search_of_many(7, 1, SEARCH_ONCE, 0, &got), VT_OK);
	assert_int_equal(got.nqueries, 1);
	assert_int_equal(wire_peek_queries(bytes_of("short", 5)), 1);
}

/* -- Attributes ------------------------------------------------------------ */

static VtStatus
predicate_of(const WireClause *clauses, uint32_t n, uint32_t count, WirePredicate *out)
{
	static Buf	in;

	buf_clear(&in);
	wire_predicate_begin(&in);
	for (uint32_t i = 0; i < n; i++)
		wire_clause_put(&in, &clauses[i]);
	put_le16(in.data + 1, (uint16_t) count);
	return wire_predicate_get(buf_bytes(&in), sample_kinds, 3, out, &err);
}

static void
attributes_are_checked(void **state)
{
	WireAttributes given = {.n = 2, .nulls = 1, .value = {99, INT64_MIN}};
	WireAttributes got;
	Buf			in = {0};

	(void) state;
	wire_attributes_put(&in, &given);
	assert_int_equal(wire_attributes_get(buf_bytes(&in), 2, &got), VT_OK);
	assert_int_equal(got.nulls, 1);
	assert_int_equal(got.value[0], 0);	/* what stands in the place of a NULL is not told */
	assert_true(got.value[1] == INT64_MIN);
	assert_int_equal(wire_attributes_get(buf_bytes(&in), 1, &got), VT_PROTOCOL);
	assert_int_equal(wire_attributes_get(buf_bytes(&in), 3, &got), VT_PROTOCOL);
	assert_int_equal(wire_attributes_get(buf_bytes(&in), 0, &got), VT_PROTOCOL);
	assert_int_equal(wire_attributes_get(bytes_of(NULL, 0), 0, &got), VT_OK);
	assert_int_equal(wire_attributes_get(bytes_of(NULL, 0), 2, &got), VT_PROTOCOL);
	in.data[3] = 5;				/* the value of a NULL */
	assert_int_equal(wire_attributes_get(buf_bytes(&in), 2, &got), VT_PROTOCOL);
	in.data[3] = 0;
	in.data[2] = 4;				/* a NULL beyond the last one */
	assert_int_equal(wire_attributes_get(buf_bytes(&in), 2, &got), VT_PROTOCOL);
	buf_clear(&in);
	wire_attributes_put(&in, &(WireAttributes) {0});
	assert_int_equal(in.len, 0);
	buf_free(&in);
}

static void
predicates_are_checked(void **state)
{
	static const int64_t sorted[] = {-3, 5};
	static const int64_t twice[] = {5, 5};
	static int64_t many[WIRE_CLAUSE_VALUES_MAX + 1];
	const WireClause null = {.attribute = 2, .op = WIRE_CLAUSE_IS_NULL};
	WireClause	in = {.attribute = 0, .op = WIRE_CLAUSE_IN, .nvalues = 2, .values = sorted};
	WireClause	clauses[WIRE_CLAUSES_MAX + 1];
	WirePredicate got;

	(void) state;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_OK);
	assert_int_equal(predicate_of(&in, 1, 0, &got), VT_PROTOCOL);
	assert_int_equal(predicate_of(&in, 1, 2, &got), VT_PROTOCOL);
	in.values = twice;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_PROTOCOL);
	in.values = sorted;
	in.attribute = 3;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_INVALID);

	/* A hash says nothing about order, and "not this hash" would leave out too much. */
	in.attribute = 1;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_OK);
	in.op = WIRE_CLAUSE_NOT_IN;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_INVALID);
	in.op = WIRE_CLAUSE_BETWEEN;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_INVALID);
	in.op = (WireClauseOp) 6;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_VERSION);

	for (uint32_t i = 0; i <= WIRE_CLAUSES_MAX; i++)
		clauses[i] = null;
	assert_int_equal(predicate_of(clauses, WIRE_CLAUSES_MAX, WIRE_CLAUSES_MAX, &got), VT_OK);
	assert_int_equal(predicate_of(clauses, WIRE_CLAUSES_MAX + 1, WIRE_CLAUSES_MAX + 1, &got), VT_PROTOCOL);
	for (int i = 0; i <= WIRE_CLAUSE_VALUES_MAX; i++)
		many[i] = i;
	in = (WireClause) {.op = WIRE_CLAUSE_IN, .nvalues = WIRE_CLAUSE_VALUES_MAX, .values = many};
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_OK);
	in.nvalues++;
	assert_int_equal(predicate_of(&in, 1, 1, &got), VT_PROTOCOL);
	in.nvalues = WIRE_CLAUSE_VALUES_MAX / 2 + 1;
	clauses[0] = clauses[1] = in;
	assert_int_equal(predicate_of(clauses, 2, 2, &got), VT_PROTOCOL);
}

/* Does a record with these attributes pass one clause? */
static bool
passes(WireClause clause, WireAttributes attributes)
{
	WirePredicate predicate;

	assert_int_equal(predicate_of(&clause, 1, 1, &predicate), VT_OK);
	return wire_predicate_passes(&predicate, &attributes);
}

static void
null_passes_is_null_alone(void **state)
{
	static const int64_t zero[] = {0};
	const WireAttributes null = {.n = 3, .nulls = 1};
	const WireAttributes none = {.n = 3};
	const WireClause in = {.op = WIRE_CLAUSE_IN, .nvalues = 1, .values = zero};
	const WireClause out = {.op = WIRE_CLAUSE_NOT_IN, .nvalues = 1, .values = zero};
	const WireClause all = {.op = WIRE_CLAUSE_BETWEEN, .lo = INT64_MIN, .hi = INT64_MAX};

	(void) state;
	assert_false(passes(in, null));
	assert_false(passes(out, null));
	assert_false(passes(all, null));
	assert_false(passes((WireClause) {.op = WIRE_CLAUSE_NOT_NULL}, null));
	assert_true(passes((WireClause) {.op = WIRE_CLAUSE_IS_NULL}, null));
	assert_true(passes(in, none));
	assert_false(passes(out, none));
	assert_true(passes(all, none));
	assert_true(passes((WireClause) {.op = WIRE_CLAUSE_NOT_NULL}, none));
	assert_false(passes((WireClause) {.op = WIRE_CLAUSE_IS_NULL}, none));
	assert_false(passes((WireClause) {.op = WIRE_CLAUSE_IN}, none));
	assert_true(passes((WireClause) {.op = WIRE_CLAUSE_NOT_IN}, none));
	assert_false(passes((WireClause) {.op = WIRE_CLAUSE_BETWEEN, .lo = 1, .hi = -1}, none));
	assert_true(passes((WireClause) {.op = WIRE_CLAUSE_BETWEEN, .lo = 0, .hi = 0}, none));
}

/* -- Hits ------------------------------------------------------------------ */

/* Distances may be anything a kernel gives. */
static void
hits_keep_their_distances(void **state)
{
	static const double distances[] = {0, -0.0, -1e300, INFINITY, 1e-310};
	WireSearchResult result = {.exhausted = 1};
	WireHit		hit;
	Buf			in = {0};
	size_t		begin = wire_search_result_begin(&in, &result);
	size_t		at = 0;

	(void) state;
	for (int i = 0; i < 5; i++)
	{
		hit = (WireHit) {distances[i], (uint64_t) i, bytes_str("id")};
		wire_hit_put(&in, &hit);
	}
	hit.distance = NAN;
	wire_hit_put(&in, &hit);
	wire_search_result_end(&in, begin, 6);
	assert_int_equal(wire_search_result_get(buf_bytes(&in), &result), VT_OK);
	for (int i = 0; i < 5; i++)
	{
		assert_true(wire_hit_next(&result, &at, &hit));
		assert_memory_equal(&hit.distance, &distances[i], sizeof(double));
	}
	assert_true(wire_hit_next(&result, &at, &hit));
	assert_true(isnan(hit.distance));
	assert_false(wire_hit_next(&result, &at, &hit));

	/* One less is announced than comes, and one more. */
	wire_search_result_end(&in, begin, 5);
	assert_int_equal(wire_search_result_get(buf_bytes(&in), &result), VT_PROTOCOL);
	wire_search_result_end(&in, begin, 7);
	assert_int_equal(wire_search_result_get(buf_bytes(&in), &result), VT_PROTOCOL);

	/* With the unindexed records and without; and bits that nobody knows. */
	for (int bits = 0; bits < 4; bits++)
	{
		WireSearchResult put = {.exact = bits & 1, .says_unindexed = bits & 2, .unindexed = 77, .meant = 78, .waiting = 5};

		buf_clear(&in);
		begin = wire_search_result_begin(&in, &put);
		hit = (WireHit) {1, 2, bytes_str("id")};
		wire_hit_put(&in, &hit);
		wire_search_result_end(&in, begin, 1);
		assert_int_equal(wire_search_result_get(buf_bytes(&in), &result), VT_OK);
		assert_int_equal(result.exact, bits & 1);
		assert_int_equal(result.says_unindexed, (bits & 2) != 0);
		assert_int_equal(result.unindexed, bits & 2 ? 77 : 0);
		assert_int_equal(result.meant, bits & 2 ? 78 : 0);
		assert_int_equal(result.waiting, 5);
		assert_int_equal(result.nhits, 1);
		in.data[begin + 9] |= 4;
		assert_int_equal(wire_search_result_get(buf_bytes(&in), &result), VT_PROTOCOL);
		in.data[begin + 9] &= (uint8_t) ~4;
		if (bits & 2)
		{
			/* Nothing is meant to wait: that would be a division by zero. */
			memset(in.data + begin + 27, 0, 4);
			assert_int_equal(wire_search_result_get(buf_bytes(&in), &result), VT_PROTOCOL);
		}
	}
	buf_free(&in);
}

/* As many results as there were queries, whole, and nothing behind them. */
static void
results_of_many_are_as_many(void **state)
{
	WireSearchResult results[3];
	Buf			in = {0};

	(void) state;
	sample_search_results(&in);
	assert_int_equal(wire_search_results_get(buf_bytes(&in), results, 2), VT_OK);
	assert_int_equal(results[0].nhits, 2);
	assert_int_equal(results[1].nhits, 0);
	assert_true(results[1].exhausted);
	assert_int_equal(wire_search_results_get(buf_bytes(&in), results, 1), VT_PROTOCOL);
	assert_int_equal(wire_search_results_get(buf_bytes(&in), results, 3), VT_PROTOCOL);
	buf_put_u8(&in, 0);
	assert_int_equal(wire_search_results_get(buf_bytes(&in), results, 2), VT_PROTOCOL);
	for (size_t len = 0; len < in.len - 1; len++)
		assert_int_equal(wire_search_results_get(bytes_of(in.data, len), results, 2), VT_PROTOCOL);
	buf_free(&in);
}

/* -- Descriptors, places, ids ---------------------------------------------- */

static VtStatus
desc_with(void (*change) (WireShardDesc *desc))
{
	WireShardDesc desc;
	Buf			in = {0};
	Cursor		c;
	VtStatus	status;

	sample_desc(&in);
	c = cursor_of(buf_bytes(&in));
	assert_int_equal(wire_desc_get(&c, &desc), VT_OK);
	change(&desc);
	buf_clear(&in);
	wire_desc_put(&in, &desc);
	c = cursor_of(buf_bytes(&in));
	status = wire_desc_get(&c, &desc);
	buf_free(&in);
	return status;
}

static void nothing(WireShardDesc *d) { (void) d; }
static void no_vectors(WireShardDesc *d) { d->dim = 0; d->element = WIRE_FLOAT32; d->quantization = QUANTIZATION_NONE; }
static void no_halves(WireShardDesc *d) { no_vectors(d); d->element = WIRE_FLOAT16; }
static void no_codes(WireShardDesc *d) { no_vectors(d); d->quantization = QUANTIZATION_INT8; }
static void large_dim(WireShardDesc *d) { d->dim = 16001; }
static void backwards(WireShardDesc *d) { d->first = d->last + 1; }
static void other_hash(WireShardDesc *d) { d->hash_kind = 2; }
static void other_metric(WireShardDesc *d) { d->metric = 7; }
static void metric_of_bits(WireShardDesc *d) { d->metric = 5; }
static void no_metric(WireShardDesc *d) { d->metric = 0; }
static void quantized(WireShardDesc *d) { d->quantization = QUANTIZATION_INT8; }
static void halves(WireShardDesc *d) { d->element = 2; }
static void other_element(WireShardDesc *d) { d->element = 4; }
static void bits(WireShardDesc *d) { d->element = WIRE_BIT; d->metric = 6; d->quantization = QUANTIZATION_NONE; d->dim = 64000; }
static void no_bits(WireShardDesc *d) { bits(d); d->dim = 0; }
static void too_many_bits(WireShardDesc *d) { bits(d); d->dim++; }
static void bits_in_codes(WireShardDesc *d) { bits(d); d->quantization = QUANTIZATION_INT8; }
static void metric_of_numbers(WireShardDesc *d) { bits(d); d->metric = 4; }
static void codes_alone(WireShardDesc *d) { d->quantization = QUANTIZATION_INT8_ONLY; }
static void other_quantization(WireShardDesc *d) { d->quantization = 3; }
static void other_role(WireShardDesc *d) { d->replicas[1].role = 3; }

static void
descriptors_are_checked(void **state)
{
	Buf			in = {0};
	Cursor		c;
	WireShardDesc desc;

	(void) state;
	assert_int_equal(desc_with(nothing), VT_OK);
	assert_int_equal(desc_with(no_vectors), VT_OK);
	assert_int_equal(desc_with(no_halves), VT_PROTOCOL);
	assert_int_equal(desc_with(no_codes), VT_PROTOCOL);
	assert_int_equal(desc_with(large_dim), VT_PROTOCOL);
	assert_int_equal(desc_with(backwards), VT_PROTOCOL);
	/* What we do not know is newer, and is not guessed. */
	assert_int_equal(desc_with(other_hash), VT_VERSION);
	assert_int_equal(desc_with(other_metric), VT_VERSION);
	assert_int_equal(desc_with(no_metric), VT_VERSION);
	assert_int_equal(desc_with(other_element), VT_VERSION);
	assert_int_equal(desc_with(quantized), VT_OK);
	assert_int_equal(desc_with(codes_alone), VT_OK);
	assert_int_equal(desc_with(other_quantization), VT_VERSION);
	assert_int_equal(desc_with(halves), VT_OK);
	assert_int_equal(desc_with(bits), VT_OK);
	assert_int_equal(desc_with(too_many_bits), VT_PROTOCOL);
	assert_int_equal(desc_with(no_bits), VT_PROTOCOL);
	assert_int_equal(desc_with(bits_in_codes), VT_PROTOCOL);
	assert_int_equal(desc_with(metric_of_numbers), VT_PROTOCOL);
	assert_int_equal(desc_with(metric_of_bits), VT_PROTOCOL);
	assert_int_equal(desc_with(other_role), VT_VERSION);

	sample_desc(&in);
	in.data[0] = WIRE_DESC_FORMAT + 1;
	c = cursor_of(buf_bytes(&in));
	assert_int_equal(wire_desc_get(&c, &desc), VT_VERSION);
	buf_free(&in);
}

/* Where ids lie is a format: these numbers never change. */
static void
places_are_for_ever(void **state)
{
	WireShardDesc desc = {.hash_seed = 0};
	uint8_t		tid[WIRE_TID_SIZE];

	(void) state;
	wire_tid_put(tid, 1, 2);
	assert_true(wire_place(&desc, bytes_str("vectron")) == UINT64_C(0x53CF0E346ABA0ACC));
	assert_true(wire_place(&desc, bytes_of(tid, sizeof(tid))) == UINT64_C(0xAF6050A91790B578));
	desc.hash_seed = UINT64_C(0xFEDCBA9876543210);
	assert_true(wire_place(&desc, bytes_of(tid, sizeof(tid))) == UINT64_C(0x625F17F8C6B792E6));
}

static void
tids_sort_as_the_heap_does(void **state)
{
	static const struct
	{
		uint32_t	block;
		uint16_t	offset;
	}			tids[] = {{0, 1}, {0, 255}, {0, 256}, {1, 1}, {255, 9}, {256, 1}, {65536, 1}, {UINT32_MAX, UINT16_MAX}};
	uint8_t		last[WIRE_TID_SIZE] = {0};

	(void) state;
	for (size_t i = 0; i < sizeof(tids) / sizeof(tids[0]); i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		uint32_t	block;
		uint16_t	offset;

		wire_tid_put(id, tids[i].block, tids[i].offset);
		assert_true(memcmp(last, id, sizeof(id)) < 0);
		assert_true(wire_tid_get(bytes_of(id, sizeof(id)), &block, &offset));
		assert_int_equal(block, tids[i].block);
		assert_int_equal(offset, tids[i].offset);
		assert_false(wire_tid_get(bytes_of(id, 5), &block, &offset));
		memcpy(last, id, sizeof(id));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_come_out_as_they_went_in),
		cmocka_unit_test(messages_cut_anywhere_are_refused),
		cmocka_unit_test(messages_with_something_behind_are_refused),
		cmocka_unit_test(damaged_messages_never_confuse),
		cmocka_unit_test(frames_of_another_kind_are_told_apart),
		cmocka_unit_test(a_frame_written_in_place_is_the_same),
		cmocka_unit_test(write_commands_are_checked_whole),
		cmocka_unit_test(write_commands_have_the_parts_of_their_type),
		cmocka_unit_test(halves_are_checked_like_floats),
		cmocka_unit_test(bits_are_checked),
		cmocka_unit_test(a_command_is_stamped_again_in_place),
		cmocka_unit_test(owners_differ_in_every_part),
		cmocka_unit_test(searches_are_checked),
		cmocka_unit_test(searches_of_many_are_bounded),
		cmocka_unit_test(results_of_many_are_as_many),
		cmocka_unit_test(attributes_are_checked),
		cmocka_unit_test(predicates_are_checked),
		cmocka_unit_test(null_passes_is_null_alone),
		cmocka_unit_test(hits_keep_their_distances),
		cmocka_unit_test(descriptors_are_checked),
		cmocka_unit_test(places_are_for_ever),
		cmocka_unit_test(tids_sort_as_the_heap_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
