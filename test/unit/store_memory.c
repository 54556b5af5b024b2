/*-------------------------------------------------------------------------
 *
 * store_memory.c
 *	  What stores have in memory is known, and not more than what is written.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "scratch.h"
#include "store/store.h"

#define VALUE 10000
#define N 300

static Store *
open_one(const char *name, size_t buffer)
{
	StoreOptions options = {.write_buffer = buffer};
	Store	   *store;

	assert_int_equal(store_open(scratch_path(name), &options, &store, NULL), VT_OK);
	return store;
}

static void
fill(Store *store, uint32_t first, uint32_t n)
{
	uint8_t		key[4];
	uint8_t		value[VALUE];

	memset(value, 'x', sizeof(value));
	for (uint32_t i = first; i < first + n; i++)
	{
		StoreBatch *batch = store_batch_new();

		put_be32(key, i);
		store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)));
		assert_int_equal(store_write(store, batch, false, NULL), VT_OK);
		store_batch_free(batch);
	}
}

static void
memtables_are_counted(void **state)
{
	Store	   *a = open_one("a", 0);
	Store	   *b = open_one("b", 0);
	uint64_t	written = (uint64_t) N * VALUE;

	(void) state;
	assert_true(store_memory(a) <= 8192 && store_memory(b) <= 8192);
	fill(a, 0, N);
	assert_in_range(store_memory(a), written, written + written / 4);
	assert_true(store_memory(b) <= 8192);
	assert_in_range(store_memory_all(), written, written + written / 4);
	assert_int_equal(store_flush(a, NULL), VT_OK);
	assert_true(store_memory(a) <= 8192);

	/* Who looks often and finds no change asks no more, and hears of the next write. */
	for (int i = 0; i < 100; i++)
		(void) store_memory(a);
	fill(a, N, 10);
	assert_true(store_memory(a) >= 10 * VALUE);
	store_close(b);
	assert_in_range(store_memory_all(), 10 * VALUE, 20 * VALUE);
	store_close(a);
	assert_int_equal(store_memory_all(), 0);
}

/* A memtable is never much larger than it was opened for; two are there at most. */
static void
memtables_are_bounded(void **state)
{
	Store	   *store = open_one("a", 256 << 10);

	(void) state;
	for (uint32_t i = 0; i < N; i++)
	{
		fill(store, i, 1);
		assert_true(store_memory(store) < 2 * (256 << 10) + 4 * VALUE);
	}
	store_close(store);
}

/* What is read is in no cache of the store's: the system has its files. */
static void
reading_takes_nothing(void **state)
{
	Store	   *store = open_one("a", 256 << 10);
	Buf			value = {0};
	uint8_t		key[4];

	(void) state;
	fill(store, 0, N);
	assert_int_equal(store_flush(store, NULL), VT_OK);
	for (uint32_t i = 0; i < N; i++)
	{
		put_be32(key, i);
		assert_int_equal(store_get(store, bytes_of(key, sizeof(key)), &value, NULL), VT_OK);
		assert_int_equal(value.len, VALUE);
	}
	assert_true(store_memory(store) <= 8192);
	buf_free(&value);
	store_close(store);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(memtables_are_counted),
		TEST(memtables_are_bounded),
		TEST(reading_takes_nothing),
	};

	return cmocka_run_group_tests_name("store_memory", tests, NULL, NULL);
}
