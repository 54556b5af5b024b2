/*-------------------------------------------------------------------------
 *
 * wire_lists.c
 *	  Listings: what is asked for, and what is in a page.  Round trips, cuts and flipped
 *	  bits of them are in wire_codec.c, as those of all messages.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fuzz/wire_messages.h"

/* Items have metadata when the page says so, and then each has some bytes or none. */
static void
metadata_is_in_the_page_that_says_so(void **state)
{
	WireList	asks;
	WireListResult page;
	WireListItem item;
	Buf			in = {0};
	size_t		at = 0;
	size_t		bits_at = 8;		/* behind the lease */

	(void) state;
	sample_list_asks(&in);
	assert_int_equal(wire_list_get(buf_bytes(&in), &asks, NULL), VT_OK);
	assert_int_equal(asks.flags, LIST_VECTORS | LIST_METADATA);
	put_le32(in.data + in.len - 8, 8);
	assert_int_equal(wire_list_get(buf_bytes(&in), &asks, NULL), VT_PROTOCOL);

	buf_clear(&in);
	sample_list_metadata(&in);
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_OK);
	assert_true(page.metadata && !page.attributes && !page.bits);
	assert_true(wire_list_item_next(&page, &at, &item));
	assert_true(bytes_equal(item.id, bytes_str("name")));
	assert_int_equal(item.dim, 0);
	assert_true(bytes_equal(item.metadata, bytes_str("{\"a\": 1}")));
	assert_int_equal(item.attributes.len, 0);
	assert_true(wire_list_item_next(&page, &at, &item));
	assert_true(bytes_equal(item.id, bytes_str("another")));
	assert_int_equal(item.metadata.len, 0);
	assert_false(wire_list_item_next(&page, &at, &item));
	/* One byte more than there is. */
	put_le32(in.data + in.len - 4, 1);
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_PROTOCOL);
	put_le32(in.data + in.len - 4, UINT32_MAX);
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_PROTOCOL);
	put_le32(in.data + in.len - 4, 0);
	/* Without the bit the same bytes are none, and nobody knows others. */
	in.data[bits_at] = 0;
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_PROTOCOL);
	in.data[bits_at] = 8 | 16;
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_PROTOCOL);

	/* Behind the attributes, where there are such. */
	buf_clear(&in);
	sample_list_all(&in);
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_OK);
	at = 0;
	assert_true(wire_list_item_next(&page, &at, &item));
	assert_memory_equal(item.vector, sample_bits, 3);
	assert_true(item.attributes.len > 0);
	assert_true(bytes_equal(item.metadata, bytes_str("{}")));

	/* A page that does not say so has none. */
	buf_clear(&in);
	sample_list_attributes(&in);
	assert_int_equal(wire_list_result_get(buf_bytes(&in), &page), VT_OK);
	at = 0;
	memset(&item, 0xFF, sizeof(item));
	assert_true(wire_list_item_next(&page, &at, &item));
	assert_int_equal(item.metadata.len, 0);
	buf_free(&in);
}

static void
page_sizes_are_bounded(void **state)
{
	WireList	list = {.route = sample_route(), .limit_bytes = WIRE_PAYLOAD_MAX / 2};
	WireList	got;
	Buf			in = {0};

	(void) state;
	wire_list_put(&in, &list);
	assert_int_equal(wire_list_get(buf_bytes(&in), &got, NULL), VT_OK);
	buf_clear(&in);
	list.limit_bytes++;
	wire_list_put(&in, &list);
	assert_int_equal(wire_list_get(buf_bytes(&in), &got, NULL), VT_PROTOCOL);
	buf_free(&in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metadata_is_in_the_page_that_says_so),
		cmocka_unit_test(page_sizes_are_bounded),
	};

	return cmocka_run_group_tests_name("wire_lists", tests, NULL, NULL);
}
