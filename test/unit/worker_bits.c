/*-------------------------------------------------------------------------
 *
 * worker_bits.c
 *	  A shard of bit strings, asked over its socket as a gateway asks.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_place.h"

#define N 300

static int
set_up_bits(void **state)
{
	return set_up_with(state, VEC_BIT, 0);
}

/* Record n has the bits of n * 1777 in its nineteen. */
static void
bits_of(uint32_t n, uint8_t out[3])
{
	uint32_t	all = n * 1777 << (32 - BITS);

	put_be16(out, (uint16_t) (all >> 16));
	out[2] = (uint8_t) (all >> 8);
}

static uint32_t
apart(const uint8_t a[3], const uint8_t b[3])
{
	uint32_t	n = 0;

	for (int i = 0; i < 3; i++)
		n += (uint32_t) __builtin_popcount(a[i] ^ b[i]);
	return n;
}

/* A put of records first to first + n - 1, in the form of an element. */
static VtStatus
put_bits(Gateway *g, const Place *place, uint32_t first, uint32_t n, WireElement element, uint32_t dim)
{
	WireWrite	write = {.type = WRITE_PUT, .route = route(place), .element = element};
	Buf			payload = {0};
	size_t		begin = wire_write_begin(&payload, &write);
	VtStatus	status;

	for (uint32_t i = first; i < first + n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[4 * BITS] = {0};
		WireRecord	record = {.id = id_of(i, id), .dim = dim, .element = element, .vector = vector};

		bits_of(i, vector);
		if (element != WIRE_BIT)
			memset(vector, 0, sizeof(vector));
		wire_record_put(&payload, WRITE_PUT, &record);
	}
	wire_write_end(&payload, begin, n);
	status = ask(g, WIRE_WRITE, &payload);
	buf_free(&payload);
	return status;
}

static WireSearch
bits_question(const Place *place, const uint8_t *bits, uint32_t k)
{
	WireSearch	s = question(place, bits, k);

	s.dim = BITS;
	s.flags = SEARCH_BITS;
	return s;
}

/* The k nearest of the first n, at the distances they are at. */
static void
assert_nearest(Gateway *g, const Place *place, uint32_t n, uint32_t like, uint32_t k)
{
	uint8_t		query[3];
	uint32_t	at_distance[BITS + 1] = {0};
	WireSearch	s;
	WireSearchResult found;
	WireHit		hit;
	size_t		at = 0;
	uint32_t	distance = 0;

	bits_of(like, query);
	s = bits_question(place, query, k);
	for (uint32_t i = 0; i < n; i++)
	{
		uint8_t		bits[3];

		bits_of(i, bits);
		at_distance[apart(query, bits)]++;
	}
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, k);
	while (wire_hit_next(&found, &at, &hit))
	{
		uint8_t		bits[3];

		while (at_distance[distance] == 0)
			distance++;
		at_distance[distance]--;
		bits_of(number_of(hit.id), bits);
		assert_true(hit.distance == apart(query, bits));
		assert_true(hit.distance == distance);
	}
}

/* Written, found, listed, on disk as they are, and there again. */
static void
bits_are_kept(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireList	l = {.route = route(place), .flags = LIST_VECTORS};
	WireListResult page;
	WireListItem item;
	size_t		at = 0;
	uint32_t	n = 0;
	Store	   *rows;
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;

	dial(&g, place);
	assert_int_equal(put_bits(&g, place, 0, N, WIRE_BIT, BITS), VT_OK);
	assert_int_equal(count(&g, place), N);
	assert_nearest(&g, place, N, 7, 20);
	assert_nearest(&g, place, N, 5000, 20);

	assert_int_equal(list(&g, &l, &page), VT_OK);
	assert_true(page.bits);
	for (; wire_list_item_next(&page, &at, &item); n++)
	{
		uint8_t		bits[3];

		bits_of(number_of(item.id), bits);
		assert_int_equal(item.dim, BITS);
		assert_memory_equal(item.vector, bits, 3);
	}
	assert_int_equal(n, N);
	hang_up(&g);
	worker_stop(place->worker);

	rows = open_rows(place);
	iter = store_iter_open(rows, bytes_of("v", 1), bytes_of("w", 1));
	for (n = 0; store_iter_next(iter, &key, &value); n++)
	{
		StoreRow	row;
		uint8_t		bits[3];

		assert_int_equal(row_get(value, &row, NULL), VT_OK);
		assert_int_equal(row.element, ROW_BIT);
		assert_int_equal(row.dim, BITS);
		bits_of(number_of(bytes_of(key.data + 1, key.len - 1)), bits);
		assert_memory_equal(row.vector, bits, 3);
	}
	assert_int_equal(n, N);
	store_iter_close(iter);
	store_close(rows);
	start(place);
	dial(&g, place);
	assert_int_equal(count(&g, place), N);
	assert_nearest(&g, place, N, 7, 20);
	hang_up(&g);
}

/* What is of another element is refused, by whoever reads it first, and nothing of it is there. */
static void
nothing_else_among_bits(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	uint8_t		numbers[4 * BITS] = {0};
	WireSearch	s = bits_question(place, numbers, 3);
	WireSearchResult found;

	dial(&g, place);
	assert_int_equal(put_bits(&g, place, 0, 3, WIRE_FLOAT32, BITS), VT_INVALID);
	assert_int_equal(put_bits(&g, place, 0, 3, WIRE_FLOAT16, BITS), VT_INVALID);
	assert_int_equal(put_bits(&g, place, 0, 3, WIRE_BIT, BITS + 1), VT_INVALID);
	assert_int_equal(count(&g, place), 0);
	assert_int_equal(search(&g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, 0);
	s.flags = 0;
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	s.flags = SEARCH_BITS;
	s.dim = BITS + 1;
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	hang_up(&g);
}

static void
no_bits_among_floats(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	uint8_t		bits[3] = {0};
	WireSearch	s = bits_question(place, bits, 3);
	WireSearchResult found;

	dial(&g, place);
	assert_int_equal(put_bits(&g, place, 0, 1, WIRE_BIT, DIM), VT_INVALID);
	assert_int_equal(count(&g, place), 0);
	s.dim = DIM;
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	hang_up(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bits_are_kept, set_up_bits, tear_down),
		cmocka_unit_test_setup_teardown(nothing_else_among_bits, set_up_bits, tear_down),
		cmocka_unit_test_setup_teardown(no_bits_among_floats, set_up_floats, tear_down),
	};

	return cmocka_run_group_tests_name("worker_bits", tests, NULL, NULL);
}
