/*-------------------------------------------------------------------------
 *
 * worker_table.c
 *	  A shard of records without vectors, asked over its socket as a gateway asks.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_place.h"

#define N 300

static int
set_up_table(void **state)
{
	Place	   *place = vt_alloc0(sizeof(Place));

	lay(place, VEC_FLOAT32, 2);
	place->desc.dim = 0;
	start(place);
	make_shard(place);
	*state = place;
	return 0;
}

static VtStatus
put_some(Gateway *g, const Place *place, uint32_t first, uint32_t n, uint32_t dim)
{
	Change		c = {WRITE_PUT, route(place), 0, 0, first, n, 0, dim, 0, 0, 0};
	WireWriteResult result;

	return change(g, &c, &result);
}

/* Delete record n as it was listed. */
static uint32_t
delete_one(Gateway *g, const Place *place, uint32_t n, uint64_t version)
{
	Change		c = {WRITE_DELETE, route(place), 0, 0, n, 1, version, 0, 0, 0, 0};
	WireWriteResult result;

	assert_int_equal(change(g, &c, &result), VT_OK);
	return result.done;
}

#define METADATA 50				/* bytes of a record, at most */

/* All but those before `from` are listed, with their attributes and metadata; versions[] of each. */
static void
assert_listed(Gateway *g, const Place *place, uint32_t from, uint64_t versions[N])
{
	WireList	l = {.route = route(place), .flags = LIST_VECTORS | LIST_METADATA};
	WireListResult page;
	WireListItem item;
	size_t		at = 0;
	uint32_t	n = 0;

	assert_int_equal(list(g, &l, &page), VT_OK);
	for (; wire_list_item_next(&page, &at, &item); n++)
	{
		uint32_t	number = number_of(item.id);
		WireAttributes expected = attributes_of(number);
		WireAttributes got;

		assert_in_range(number, from, N - 1);
		assert_int_equal(item.dim, 0);
		assert_int_equal(wire_attributes_get(item.attributes, 2, &got), VT_OK);
		assert_memory_equal(got.value, expected.value, sizeof(uint64_t) * 2);
		assert_true(bytes_equal(item.metadata, metadata_of(number, METADATA)));
		versions[number] = item.version;
	}
	assert_true(page.last);
	assert_int_equal(n, N - from);
	assert_int_equal(count(g, place), N - from);
}

static void
records_are_kept(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	uint64_t	versions[N];
	uint64_t	before;

	dial(&g, place);
	g.attributes = true;
	g.metadata = METADATA;
	assert_int_equal(put_some(&g, place, 0, N, 0), VT_OK);
	assert_listed(&g, place, 0, versions);
	before = versions[17];

	/* What is put again is another version, and the old one cannot be deleted. */
	assert_int_equal(put_some(&g, place, 17, 1, 0), VT_OK);
	assert_listed(&g, place, 0, versions);
	assert_true(versions[17] > before);
	assert_int_equal(delete_one(&g, place, 17, before), 0);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(delete_one(&g, place, i, versions[i]), 1);
	assert_listed(&g, place, 100, versions);
	hang_up(&g);

	worker_stop(place->worker);
	start(place);
	dial(&g, place);
	assert_listed(&g, place, 100, versions);
	hang_up(&g);
}

/*
 * Metadata comes when it is asked for, with or without the rest, and a page ends with the
 * record that comes to its limit, however long that is.
 */
static void
metadata_is_listed_page_by_page(void **state)
{
	enum
	{
		RECORDS = 8,
		LARGE = 3000000			/* bytes; a command has 4 MiB */
	};
	static const uint32_t limits[] = {1, 1000, 0, WIRE_PAYLOAD_MAX / 2};
	Place	   *place = *state;
	Gateway		g;
	bool		longer = false; /* a page of one record was more than twice as long as it was to be */

	dial(&g, place);
	g.attributes = true;
	g.metadata = LARGE;
	for (uint32_t i = 0; i < RECORDS; i++)
		assert_int_equal(put_some(&g, place, i, 1, 0), VT_OK);
	for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++)
		for (uint32_t flags = 0; flags <= (LIST_VECTORS | LIST_METADATA); flags++)
		{
			WireList	l = {.route = route(place), .flags = flags, .limit_bytes = limits[k]};
			size_t		limit = limits[k] ? limits[k] : 1 << 20;
			WireListResult page;
			uint32_t	n = 0;
			uint32_t	before_page = 0;

			if (flags & LIST_CLOSE)
				continue;
			do
			{
				WireListItem item;
				size_t		at = 0;
				size_t		before = 0;

				assert_int_equal(list(&g, &l, &page), VT_OK);
				assert_int_equal(page.metadata, (flags & LIST_METADATA) != 0);
				for (; before = at, wire_list_item_next(&page, &at, &item); n++)
				{
					assert_true(before < limit);
					assert_int_equal(number_of(item.id), n);
					assert_int_equal(item.attributes.len > 0, (flags & LIST_VECTORS) != 0);
					assert_true(bytes_equal(item.metadata, flags & LIST_METADATA ? metadata_of(n, LARGE) : bytes_of(NULL, 0)));
				}
				assert_true(page.last || at >= limit);
				longer |= limits[k] == 0 && n == before_page + 1 && at > 2 * limit;
				before_page = n;
				l.lease = page.lease;
				l.flags = 0;	/* as it began */
			} while (!page.last);
			assert_int_equal(n, RECORDS);
			assert_int_equal(page.total, RECORDS);
		}
	assert_true(longer);
	hang_up(&g);
}

static void
nothing_waits_for_a_graph(void **state)
{
	Place	   *place = *state;
	WireRead	read = {route(place)};
	WireReadResult result;
	Buf			payload = {0};
	Gateway		g;

	dial(&g, place);
	g.attributes = true;
	for (uint32_t i = 0; i < 10 * N; i += N)
		assert_int_equal(put_some(&g, place, i, N, 0), VT_OK);
	wire_read_put(&payload, &read);
	assert_int_equal(ask(&g, WIRE_READ_INDEX, &payload), VT_OK);
	assert_int_equal(wire_read_result_get(g.body, &result), VT_OK);
	assert_int_equal(result.records, 10 * N);
	assert_int_equal(result.unindexed, 0);
	buf_free(&payload);
	hang_up(&g);
}

/* There is nothing to search for, and no vector is taken in. */
static void
no_vectors_among_them(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	uint8_t		numbers[4 * DIM] = {0};
	WireSearch	s = question(place, numbers, 3);
	WireSearchResult found;

	dial(&g, place);
	g.attributes = true;
	assert_int_equal(put_some(&g, place, 0, 3, DIM), VT_INVALID);
	assert_int_equal(count(&g, place), 0);
	assert_int_equal(put_some(&g, place, 0, 3, 0), VT_OK);
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	s.dim = 0;
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	s.flags = SEARCH_EXACT;
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	assert_int_equal(count(&g, place), 3);
	hang_up(&g);
}

static void
not_among_vectors(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	uint8_t		numbers[4 * DIM] = {0};
	WireSearch	s = question(place, numbers, 3);
	WireSearchResult found;
	uint64_t	before;

	dial(&g, place);
	assert_int_equal(count(&g, place), 0);
	before = g.head.applied;
	assert_int_equal(put_some(&g, place, 0, 3, 0), VT_INVALID);
	assert_int_equal(count(&g, place), 0);
	assert_int_equal(g.head.applied, before);	/* nothing came into the log: others may not know such puts */
	s.dim = 0;
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	hang_up(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_are_kept, set_up_table, tear_down),
		cmocka_unit_test_setup_teardown(metadata_is_listed_page_by_page, set_up_table, tear_down),
		cmocka_unit_test_setup_teardown(nothing_waits_for_a_graph, set_up_table, tear_down),
		cmocka_unit_test_setup_teardown(no_vectors_among_them, set_up_table, tear_down),
		cmocka_unit_test_setup_teardown(not_among_vectors, set_up_floats, tear_down),
	};

	return cmocka_run_group_tests_name("worker_table", tests, NULL, NULL);
}
