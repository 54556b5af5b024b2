/*-------------------------------------------------------------------------
 *
 * store_rows.c
 *	  The exact bytes of a record on disk, as kept in test/golden, and that none that
 *	  is cut, longer or damaged is taken for one.
 *
 * Rows are read for ever, so these files change only together with a format.
 * `store_rows --write` writes them; run it from the top of the tree, look at the
 * difference, and say in the commit how old meets new.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../fuzz/row_samples.h"
#include "base/hash.h"
#include "golden.h"

static void
path_of(const RowSample *sample, char *out, size_t size)
{
	snprintf(out, size, "test/golden/%s.hex", sample->name);
}

static int
write_all(void)
{
	for (size_t i = 0; i < ROW_SAMPLES; i++)
	{
		Buf			bytes = {0};
		char		path[128];
		char		about[128];

		path_of(&row_samples[i], path, sizeof(path));
		row_sample_put(&row_samples[i], &bytes);
		snprintf(about, sizeof(about), "%s, %zu bytes; the fields are those of docs/disk.md", row_samples[i].name, bytes.len);
		if (!write_hex(path, about, buf_bytes(&bytes)))
			return 1;
		buf_free(&bytes);
	}
	return 0;
}

static void
rows_are_as_ever(void **state)
{
	(void) state;
	for (size_t i = 0; i < ROW_SAMPLES; i++)
	{
		StoreRow	want = row_of_sample(&row_samples[i]);
		StoreRow	row;
		char		path[128];
		Buf			golden;
		Buf			now = {0};

		path_of(&row_samples[i], path, sizeof(path));
		golden = read_hex(path);
		row_sample_put(&row_samples[i], &now);
		if (!bytes_equal(buf_bytes(&golden), buf_bytes(&now)))
			fail_msg("%s is written otherwise than in %s", row_samples[i].name, path);
		assert_int_equal(row_get(buf_bytes(&golden), &row, NULL), VT_OK);
		assert_true(row.timeline == want.timeline && row.index == want.index && row.fence == want.fence && row.lsn == want.lsn);
		assert_true(bytes_equal(row.attributes, want.attributes));
		assert_true(bytes_equal(row.metadata, want.metadata));
		assert_int_equal(row.dim, want.dim);
		assert_int_equal(row.element, want.element);
		/* The vector is what is left before the checksum. */
		assert_ptr_equal(row.vector + row_samples[i].vector_bytes, golden.data + golden.len - 8);
		if (want.dim > 0)
			assert_memory_equal(row.vector, want.vector, row_samples[i].vector_bytes);
		buf_free(&golden);
		buf_free(&now);
	}
}

/* Under the right checksum, so that it is the fields that are looked at. */
static VtStatus
get_sealed(Buf *row, size_t len)
{
	StoreRow	out;
	Buf			copy = {0};
	VtStatus	status;

	buf_put(&copy, row->data, len);
	buf_put_u64(&copy, hash_checksum(buf_bytes(&copy)));
	status = row_get(buf_bytes(&copy), &out, NULL);
	buf_free(&copy);
	return status;
}

static void
others_are_none(void **state)
{
	(void) state;
	for (size_t i = 0; i < ROW_SAMPLES; i++)
	{
		Buf			row = {0};
		StoreRow	out;
		size_t		len;

		row_sample_put(&row_samples[i], &row);
		len = row.len - 8;
		for (size_t n = 0; n < row.len; n++)
			assert_int_equal(row_get(bytes_of(row.data, n), &out, NULL), VT_CORRUPT);
		for (size_t bit = 0; bit < row.len * 8; bit++)
		{
			row.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
			assert_int_equal(row_get(buf_bytes(&row), &out, NULL), VT_CORRUPT);
			row.data[bit / 8] ^= (uint8_t) (1 << bit % 8);
		}
		assert_int_equal(get_sealed(&row, len), VT_OK);
		for (size_t n = 1; n < len; n++)
			assert_int_not_equal(get_sealed(&row, n), VT_OK);
		/* A byte behind it is none of it. */
		row.data[len] = 0;
		assert_int_equal(get_sealed(&row, len + 1), VT_CORRUPT);
		/* Of a format, or with a flag, that is not known. */
		row.data[0]++;
		assert_int_equal(get_sealed(&row, len), VT_VERSION);
		row.data[0]--;
		row.data[1] = 0x3;
		assert_int_equal(get_sealed(&row, len), VT_VERSION);
		buf_free(&row);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_as_ever),
		cmocka_unit_test(others_are_none),
	};

	if (argc == 2 && strcmp(argv[1], "--write") == 0)
		return write_all();
	return cmocka_run_group_tests_name("store_rows", tests, NULL, NULL);
}
