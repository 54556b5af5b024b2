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
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
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

static uint64_t
look_at(Store *store)
{
	(void) store_memory_all();
	return store_memory(store);
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
	assert_in_range(store_memory_all(), written, written + written / 4);
	assert_in_range(store_memory(a), written, written + written / 4);
	assert_true(store_memory(b) <= 8192);
	assert_int_equal(store_flush(a, NULL), VT_OK);
	assert_true(look_at(a) <= 8192);

	/* Who looks often and finds no change asks no more, and hears of the next write. */
	for (int i = 0; i < 100; i++)
		(void) look_at(a);
	fill(a, N, 10);
	assert_true(look_at(a) >= 10 * VALUE);
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
		assert_true(look_at(store) < 2 * (256 << 10) + 4 * VALUE);
	}
	store_close(store);
}

/* -- A disk that stands still ---------------------------------------------------- */

#define PATIENCE_US (60 * INT64_C(1000000))	/* then it goes on, and who waited is found out */

static atomic_bool disk_stalls; /* of the store "a": whoever makes a log there waits */
static atomic_bool disk_waits;	/* somebody does */

static bool
disk_stands_still(void)
{
	return atomic_load(&disk_stalls);
}

static bool
is_log_of_a(const char *path)
{
	size_t		len = strlen(path);

	return strstr(path, "/a/") && len > 4 && strcmp(path + len - 4, ".log") == 0;
}

/* In place of the system's: LevelDB calls it for its next log with its lock held. */
__attribute__((visibility("default"))) int
open(const char *path, int flags, ...)
{
	va_list		args;
	int			mode;

	va_start(args, flags);
	mode = (flags & O_CREAT) ? va_arg(args, int) : 0;
	va_end(args);
	if (is_log_of_a(path))
	{
		int64_t		until = clock_now_us() + PATIENCE_US;

		while (disk_stands_still())
		{
			atomic_store(&disk_waits, true);
			if (clock_now_us() > until)
				atomic_store(&disk_stalls, false);
			usleep(1000);
		}
	}
	return (int) syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static void *
write_on(void *store)
{
	fill(store, 2, N);
	return NULL;
}

static void *
look_on(void *started)
{
	atomic_store((atomic_bool *) started, true);
	(void) store_memory_all();
	return NULL;
}

/*
 * LevelDB of one store stands still at its disk, and somebody waits there for its figure:
 * nobody else has to, not for that one's, nor for other stores.
 */
static void
nobody_waits_for_figures(void **state)
{
	Store	   *a = open_one("a", 256 << 10);
	Store	   *b = open_one("b", 0);
	uint64_t	before;
	pthread_t	writer;
	pthread_t	looker;
	atomic_bool started = false;

	(void) state;
	fill(a, 0, 1);
	before = look_at(a);
	fill(a, 1, 1);				/* so there is something to ask for */
	atomic_store(&disk_stalls, true);
	assert_int_equal(pthread_create(&writer, NULL, write_on, a), 0);
	for (int64_t until = clock_now_us() + PATIENCE_US; !atomic_load(&disk_waits);)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
	assert_int_equal(store_memory(a), before);
	assert_true(disk_stands_still());
	assert_int_equal(pthread_create(&looker, NULL, look_on, &started), 0);
	while (!atomic_load(&started))
		usleep(1000);
	for (int i = 0; i < 200; i++)
	{
		assert_int_equal(store_memory(a), before);
		fill(b, (uint32_t) i, 1);
		if (i % 20 == 0)
		{
			store_close(b);
			b = open_one("b", 0);
		}
		usleep(100);
	}
	assert_true(disk_stands_still());
	atomic_store(&disk_stalls, false);
	store_close(b);
	pthread_join(writer, NULL);
	pthread_join(looker, NULL);

	/* What was being written out goes though nobody writes, and that is seen. */
	for (int64_t until = clock_now_us() + PATIENCE_US; look_at(a) > (256 << 10) + 4 * VALUE;)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
	store_close(a);
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
	assert_true(look_at(store) <= 8192);
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
		TEST(nobody_waits_for_figures),
		TEST(reading_takes_nothing),
	};

	return cmocka_run_group_tests_name("store_memory", tests, NULL, NULL);
}
