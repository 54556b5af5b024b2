/*-------------------------------------------------------------------------
 *
 * worker_records.c
 *	  Records in memory: scans are ordered, whole and without repetition, also
 *	  while a writer is at work.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/worker/scan.h"
#include "worker_rows.h"

static RecordScan *
open_scan(Records *records, const uint8_t *query, Bytes excluded, uint32_t expected, bool exact)
{
	RecordScanOptions options = {.query = query, .excluded = excluded, .expected = expected, .ef = 20, .exact = exact};

	return record_scan_open(records, &options);
}

static void
link_all(Records *records)
{
	while (hnsw_link_next(records_graph(records)))
		;
}

static void
in_order_and_whole(void **state)
{
	Records    *records = make_records(VEC_L2, 0);
	uint8_t		query[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	Buf			excluded = {0};
	bool		seen[3000] = {false};
	RecordScan *scan;
	double		distance;
	double		last = -1;
	uint64_t	version;
	Bytes		got;
	uint32_t	block;
	uint16_t	offset;
	uint32_t	last_block = 0;
	int			n = 0;

	(void) state;
	for (uint32_t i = 0; i < 3000; i++)
		put(records, i, i + 1, i / 3, NULL);	/* three of each: ties */
	for (uint32_t i = 0; i < 3000; i += 5)
		records_delete(records, id_of(i, id));
	for (uint32_t i = 1; i < 3000; i += 5)
		put(records, i, 10000 + i, i + 7, NULL);
	for (uint32_t i = 2; i < 3000; i += 5)
		wire_id_put(&excluded, id_of(i, id));
	assert_int_equal(records_count(records), 2400);

	link_all(records);
	vector_of(77, query);
	scan = open_scan(records, query, buf_bytes(&excluded), 10, true);
	while (record_scan_next(scan, &distance, &version, &got))
	{
		assert_true(wire_tid_get(got, &block, &offset));
		assert_true(distance > last || (distance == last && block > last_block));
		assert_false(seen[block]);
		assert_true(block % 5 != 0 && block % 5 != 2);
		assert_int_equal(version, block % 5 == 1 ? 10000 + block : block + 1);
		seen[block] = true;
		last = distance;
		last_block = block;
		n++;
	}
	assert_int_equal(n, 1800);
	assert_true(record_scan_is_exact(scan));
	record_scan_close(scan);
	buf_free(&excluded);
	records_free(records);
}

static bool
at_the_third_time(void *asked)
{
	return ++*(int *) asked >= 3;
}

/* Nobody waits any more: a scan of everything ends early, and says so. */
static void
stopped_in_the_middle(void **state)
{
	Records    *records = make_records(VEC_L2, 0);
	uint8_t		query[DIM * 4];
	int			asked = 0;
	RecordScanOptions options = {.query = query, .expected = 10, .ef = 20, .exact = true, .stop = at_the_third_time, .stop_arg = &asked};
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	Bytes		got;

	(void) state;
	for (uint32_t i = 0; i < 20000; i++)
		put(records, i, i + 1, i, NULL);
	vector_of(77, query);
	scan = record_scan_open(records, &options);
	assert_true(record_scan_stopped(scan));
	assert_false(record_scan_next(scan, &distance, &version, &got));
	assert_true(record_scan_cost(scan)->distances < 20000 / 2);
	record_scan_close(scan);

	/* Where nothing asks for it, it does not end. */
	options.stop = NULL;
	scan = record_scan_open(records, &options);
	assert_false(record_scan_stopped(scan));
	assert_true(record_scan_next(scan, &distance, &version, &got));
	record_scan_close(scan);
	records_free(records);
}

/* A zero vector has no cosine: NaN, and last. */
static void
nan_is_last(void **state)
{
	Records    *records = make_records(VEC_COSINE, 0);
	uint8_t		zero[DIM * 4] = {0};
	uint8_t		query[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	Bytes		got;
	VtError		err = {0};
	int			n = 0;

	(void) state;
	assert_int_equal(records_put(records, id_of(5, id), 1, zero, bytes_of(NULL, 0), &err), VT_OK);
	for (uint32_t i = 10; i < 20; i++)
		put(records, i, i, i, NULL);
	vector_of(3, query);
	scan = open_scan(records, query, bytes_of(NULL, 0), 10, false);
	while (record_scan_next(scan, &distance, &version, &got))
		assert_int_equal(isnan(distance) != 0, ++n == 11);
	assert_int_equal(n, 11);
	record_scan_close(scan);
	records_free(records);
}

static uint64_t
slots_used(const Records *records)
{
	HnswStats	stats;

	hnsw_stats(records_graph(records), &stats);
	return stats.used;
}

/* Index threads at work: what waits is linked, what died is let go. */
static void
tidy(Records *records)
{
	link_all(records);
	while (hnsw_repair(records_graph(records), 1000, true))
		;
}

/* Memory follows what is live, also while somebody is in the middle of a scan. */
static void
dead_slots_are_used_again(void **state)
{
	Records    *records = make_records(VEC_L2, 0);
	uint8_t		query[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	uint64_t	slots;
	Bytes		got;
	uint32_t	entered;
	int			n = 0;

	(void) state;
	for (uint32_t i = 0; i < 1000; i++)
		put(records, i, i + 1, i, NULL);
	tidy(records);
	vector_of(7, query);
	scan = open_scan(records, query, bytes_of(NULL, 0), 10, false);
	assert_true(record_scan_next(scan, &distance, &version, &got));
	for (uint32_t i = 0; i < 20000; i++)
	{
		put(records, i % 1000, 2000 + i, i, NULL);
		if (i % 100 == 99)
			tidy(records);
	}
	assert_true(slots_used(records) < 2000);
	while (record_scan_next(scan, &distance, &version, &got))
		n++;
	assert_int_equal(n, 999);
	record_scan_close(scan);

	/* Not what somebody may be looking at. */
	entered = records_enter(records);
	slots = slots_used(records);
	for (uint32_t i = 0; i < 3000; i++)
		put(records, i % 1000, 100000 + i, i, NULL);
	tidy(records);
	assert_true(slots_used(records) >= slots + 2000);
	records_leave(records, entered);
	tidy(records);
	assert_true(slots_used(records) < slots + 1000);
	for (uint32_t i = 0; i < 1000; i++)
		records_delete(records, id_of(i, id));
	assert_int_equal(records_count(records), 0);
	tidy(records);
	for (uint32_t i = 0; i < 2000; i++)
		put(records, i, 200000 + i, i, NULL);
	assert_int_equal(slots_used(records), 2000);
	records_free(records);
}

/* Walks come to everything too, nearly in order, and say that they walked. */
static void
walks_are_whole(void **state)
{
	Records    *records = make_records(VEC_L2, 0);
	uint8_t		query[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	bool		seen[5000] = {false};
	RecordScan *scan;
	RecordScan *truth;
	double		distance;
	double		nearest;
	uint64_t	version;
	Bytes		got;
	uint32_t	block;
	uint16_t	offset;
	int			n = 0;

	(void) state;
	for (uint32_t i = 0; i < 5000; i++)
		put(records, i, i + 1, i, NULL);
	for (uint32_t i = 0; i < 4500; i++)
		hnsw_link_next(records_graph(records));
	assert_int_equal(records_waiting(records), 500);
	for (uint32_t i = 0; i < 5000; i += 10)
		records_delete(records, id_of(i, id));
	vector_of(1234567, query);
	truth = open_scan(records, query, bytes_of(NULL, 0), 1, true);
	assert_true(record_scan_next(truth, &nearest, &version, &got));
	record_scan_close(truth);
	scan = open_scan(records, query, bytes_of(NULL, 0), 10, false);
	while (record_scan_next(scan, &distance, &version, &got))
	{
		assert_true(wire_tid_get(got, &block, &offset));
		assert_false(seen[block]);
		assert_true(block % 10 != 0 && version == block + 1);
		assert_true(n > 0 || distance == nearest);
		seen[block] = true;
		n++;
	}
	assert_int_equal(n, 4500);
	assert_false(record_scan_is_exact(scan));
	assert_true(record_scan_cost(scan)->hops > 0);
	record_scan_close(scan);
	records_free(records);
}

/* Ids that begin alike share a label; among equal distances they come in order. */
static void
long_ids_in_order(void **state)
{
	Records    *records = make_records(VEC_L2, 0);
	uint8_t		v[DIM * 4];
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	Bytes		got;
	char		last[32] = "";
	int			n = 0;

	(void) state;
	vector_of(1, v);
	for (uint32_t i = 0; i < 500; i++)
	{
		char		id[32];
		VtError		err = {0};

		snprintf(id, sizeof(id), "collection/%05u", i * 7919 % 500);
		assert_int_equal(records_put(records, bytes_str(id), i + 1, v, bytes_of(NULL, 0), &err), VT_OK);
	}
	link_all(records);
	scan = open_scan(records, v, bytes_of(NULL, 0), 600, false);
	while (record_scan_next(scan, &distance, &version, &got))
	{
		assert_int_equal(got.len, 16);
		assert_true(n++ == 0 || memcmp(got.data, last, 16) > 0);
		memcpy(last, got.data, 16);
	}
	assert_int_equal(n, 500);
	record_scan_close(scan);
	records_free(records);
}

/*
 * The records of one command have one version.  Compaction moves one of them to
 * where another was that a scan has in hand: that one is dead all the same.
 */
static void
moved_while_scanned(void **state)
{
	enum {N = 6000, VERSION = 77};
	uint8_t		query[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];

	(void) state;
	vector_of(123456, query);
	for (int taken = 1; taken < 600; taken += 97)
	{
		Records    *records = make_records(VEC_L2, 0);
		bool	   *seen = calloc(N, 1);
		RecordScan *scan;
		HnswStats	stats;
		double		distance;
		uint64_t	version;
		Bytes		got;
		uint32_t	block;
		uint16_t	offset;

		assert_non_null(seen);
		for (uint32_t i = 0; i < N; i++)
			put(records, i, VERSION, i, NULL);
		tidy(records);
		scan = open_scan(records, query, bytes_of(NULL, 0), 3000, false);
		for (int i = 0; i < taken; i++)
		{
			assert_true(record_scan_next(scan, &distance, &version, &got));
			assert_true(wire_tid_get(got, &block, &offset));
			seen[block] = true;
		}
		for (uint32_t i = 0; i < N; i++)
			if (i % 3 != 0)
				records_delete(records, id_of(i, id));
		tidy(records);
		hnsw_stats(records_graph(records), &stats);
		assert_true(stats.moved > 1000 && slots_used(records) < N / 2);
		while (record_scan_next(scan, &distance, &version, &got))
		{
			assert_true(wire_tid_get(got, &block, &offset));
			assert_true(block % 3 == 0 && version == VERSION);
			assert_false(seen[block]);
			seen[block] = true;
		}
		for (uint32_t i = 0; i < N; i += 3)
		{
			uint32_t	slot;

			assert_true(seen[i]);
			assert_true(records_find(records, id_of(i, id), &slot, &version));
			assert_int_equal(version, VERSION);
			assert_true(bytes_equal(records_slot_id(records, slot), id_of(i, id)));
		}
		record_scan_close(scan);
		free(seen);
		records_free(records);
	}
}

/* Out of the way of all that vector_of() makes. */
static void
put_far(Records *records, uint32_t n, uint64_t version)
{
	uint8_t		id[WIRE_TID_SIZE];
	uint8_t		v[DIM * 4];
	float		far = 50;
	uint32_t	bits;
	VtError		err = {0};

	memcpy(&bits, &far, sizeof(bits));
	for (int i = 0; i < DIM; i++)
		put_le32(v + 4 * i, bits);
	assert_int_equal(records_put(records, id_of(n, id), version, v, bytes_of(NULL, 0), &err), VT_OK);
}

/* Read so many, none of them seen before; how many have come. */
static uint32_t
read_some(RecordScan *scan, bool *seen, uint32_t n, double *farthest)
{
	double		distance;
	uint64_t	version;
	Bytes		got;
	uint32_t	block;
	uint16_t	offset;
	uint32_t	come = 0;

	*farthest = 0;
	while (come < n && record_scan_next(scan, &distance, &version, &got))
	{
		assert_true(wire_tid_get(got, &block, &offset));
		assert_false(seen[block]);
		seen[block] = true;
		*farthest = distance > *farthest ? distance : *farthest;
		come++;
	}
	return come;
}

/*
 * Passes after the first go on with one walk, while records come and are superseded.  When
 * slots that it knows have been given up, and hold other records by now, another begins.
 */
static void
a_walk_goes_on(void **state)
{
	enum {N = 20000, FIRST = 4, GONE = 300};
	Records    *records = make_records(VEC_L2, 0);
	bool	   *seen = calloc(2 * N, sizeof(bool));
	uint8_t		query[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	RecordScan *scan;
	RecordScan *truth;
	HnswStats	stats;
	size_t		bytes;
	uint64_t	passes;
	double		distance;
	uint64_t	version;
	Bytes		got;
	uint32_t	block;
	uint32_t	slot;
	uint16_t	offset;

	(void) state;
	assert_non_null(seen);
	for (uint32_t i = 0; i < N; i++)
		put(records, i, i + 1, i, NULL);
	tidy(records);
	vector_of(4711, query);
	scan = open_scan(records, query, bytes_of(NULL, 0), FIRST, false);
	assert_int_equal(read_some(scan, seen, FIRST, &distance), FIRST);
	bytes = record_scan_bytes(scan);
	assert_int_equal(read_some(scan, seen, 4 * FIRST, &distance), 4 * FIRST);
	assert_true(record_scan_bytes(scan) > bytes + N / 8);	/* of the walk that rests */

	passes = records_stat(records, RECORD_PASSES);
	for (uint32_t i = 0; i < 100; i++)
		put(records, N - 1 - i, 2 * N + i, N - 1 - i, NULL);
	link_all(records);
	assert_int_equal(read_some(scan, seen, 16 * FIRST, &distance), 16 * FIRST);
	assert_int_equal(records_stat(records, RECORD_PASSES), passes);
	assert_true(distance < 10);

	/* What would come next goes; what takes the places is far away. */
	truth = open_scan(records, query, bytes_of(NULL, 0), 1000, true);
	for (uint32_t gone = 0; gone < GONE;)
	{
		assert_true(record_scan_next(truth, &distance, &version, &got));
		assert_true(wire_tid_get(got, &block, &offset));
		if (seen[block])
			continue;
		records_delete(records, id_of(block, id));
		gone++;
	}
	record_scan_close(truth);
	tidy(records);
	for (uint32_t i = 0; i < GONE; i++)
		put_far(records, N + i, 3 * N + i);
	link_all(records);
	hnsw_stats(records_graph(records), &stats);
	assert_true(stats.used <= N + 100);
	passes = records_stat(records, RECORD_PASSES);
	assert_int_equal(read_some(scan, seen, 64 * FIRST, &distance), 64 * FIRST);
	assert_int_equal(records_stat(records, RECORD_PASSES), passes + 1);
	assert_true(distance < 10);

	/* Most go, and what is left moves together: each that stays has come once in the end. */
	for (uint32_t i = 0; i < N; i++)
		if (i % 3 != 0 && records_find(records, id_of(i, id), &slot, &version))
			records_delete(records, id_of(i, id));
	tidy(records);
	hnsw_stats(records_graph(records), &stats);
	assert_true(stats.moved > 1000);
	(void) read_some(scan, seen, UINT32_MAX, &distance);
	for (uint32_t i = 0; i < N + GONE; i++)
		assert_true(seen[i] || !records_find(records, id_of(i, id), &slot, &version));
	record_scan_close(scan);
	free(seen);
	records_free(records);
}

/* -- With a writer --------------------------------------------------------- */

#define STEADY 500				/* ids 0.. are always live; versions change */
#define COMING 3000				/* ids after them come and go */

typedef struct Shared
{
	Records    *records;
	atomic_bool stop;
	uint64_t	version;
} Shared;

static void *
writer(void *arg)
{
	Shared	   *shared = (Shared *) arg;
	Prng		prng = {99};
	bool		there[COMING] = {false};
	uint8_t		id[WIRE_TID_SIZE];

	/* In waves, so that there is something to compact; a hundred of one version. */
	for (uint64_t i = 0; !atomic_load(&shared->stop); i++)
	{
		uint32_t	n = prng_below(&prng, STEADY + COMING);
		bool		rising = i / 20000 % 2 == 0;

		shared->version += i % 100 == 0;
		if (n < STEADY)
			put(shared->records, n, shared->version, prng_below(&prng, 1000), NULL);
		else if (!rising && there[n - STEADY])
		{
			records_delete(shared->records, id_of(n, id));
			there[n - STEADY] = false;
		}
		else if (rising)
		{
			put(shared->records, n, shared->version, prng_below(&prng, 1000), NULL);
			there[n - STEADY] = true;
		}
		if (i % 64 == 0 && records_waiting(shared->records) > 100)
			sched_yield();
	}
	return NULL;
}

static void *
link_and_mend(void *arg)
{
	Shared	   *shared = (Shared *) arg;

	while (!atomic_load(&shared->stop))
		if (!hnsw_link_next(records_graph(shared->records)))
			hnsw_repair(records_graph(shared->records), 100, true);
	return NULL;
}

static void
whole_beside_a_writer(void **state)
{
	Shared		shared = {make_records(VEC_L2, 0), false, STEADY};
	pthread_t	thread;
	pthread_t	linker;
	HnswReport	report;
	uint8_t		query[DIM * 4];

	(void) state;
	for (uint32_t i = 0; i < STEADY; i++)
		put(shared.records, i, i + 1, i, NULL);
	assert_int_equal(pthread_create(&thread, NULL, writer, &shared), 0);
	assert_int_equal(pthread_create(&linker, NULL, link_and_mend, &shared), 0);
	for (int round = 0; round < 300; round++)
	{
		bool		seen[STEADY + COMING] = {false};
		RecordScan *scan;
		double		distance;
		uint64_t	version;
		Bytes		got;
		uint32_t	block;
		uint16_t	offset;
		int			steady = 0;

		vector_of((uint32_t) round, query);
		scan = open_scan(shared.records, query, bytes_of(NULL, 0), 1 + (uint32_t) round % 300, false);
		while (record_scan_next(scan, &distance, &version, &got))
		{
			assert_true(wire_tid_get(got, &block, &offset));
			assert_true(block < STEADY + COMING);
			assert_false(seen[block]);
			seen[block] = true;
			steady += block < STEADY;
		}
		record_scan_close(scan);
		assert_int_equal(steady, STEADY);
	}
	atomic_store(&shared.stop, true);
	pthread_join(thread, NULL);
	pthread_join(linker, NULL);
	link_all(shared.records);
	if (!hnsw_check(records_graph(shared.records), &report))
		fail_msg("%s", report.first);
	records_free(shared.records);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_and_whole),
		cmocka_unit_test(stopped_in_the_middle),
		cmocka_unit_test(nan_is_last),
		cmocka_unit_test(dead_slots_are_used_again),
		cmocka_unit_test(walks_are_whole),
		cmocka_unit_test(long_ids_in_order),
		cmocka_unit_test(moved_while_scanned),
		cmocka_unit_test(a_walk_goes_on),
		cmocka_unit_test(whole_beside_a_writer),
	};

	return cmocka_run_group_tests_name("worker_records", tests, NULL, NULL);
}
