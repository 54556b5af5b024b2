/*-------------------------------------------------------------------------
 *
 * worker_tune.c
 *	  The ef of a shard: found by trial, and again when the records have changed; and
 *	  when none is needed, since all records are measured.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "../../src/worker/scan.h"
#include "../../src/worker/tune.h"
#include "base/prng.h"
#include "wire/wire.h"

#define DIM 12
#define FOREVER 3600000000

/* Numbers without any order: a hard set, so that recall costs something. */
static void
vector_of(uint64_t n, uint8_t out[DIM * 4])
{
	Prng		prng = {n + 1};

	for (int i = 0; i < DIM; i++)
	{
		float		x = (float) prng_double(&prng);
		uint32_t	bits;

		memcpy(&bits, &x, sizeof(bits));
		put_le32(out + 4 * i, bits);
	}
}

static void
put(Records *records, uint32_t n, uint64_t version)
{
	uint8_t		id[WIRE_TID_SIZE];
	uint8_t		v[DIM * 4];
	VtError		err = {0};

	vector_of(n * UINT64_C(1000003) + version, v);
	wire_tid_put(id, n, 1);
	assert_int_equal(records_put(records, bytes_of(id, sizeof(id)), version, v, bytes_of(NULL, 0), &err), VT_OK);
}

static Records *
given(uint32_t n)
{
	RecordsOptions options = {.metric = VEC_L2, .dim = DIM, .m = 4, .ef_construction = 30, .codes = HNSW_CODES_INT8};
	Records    *records;
	VtError		err = {0};

	assert_int_equal(records_new(&options, &records, &err), VT_OK);
	for (uint32_t i = 0; i < n; i++)
		put(records, i, 1);
	return records;
}

static void
link_all(Records *records)
{
	while (hnsw_link_next(records_graph(records)))
		;
}

/* What a scan finds of the ten nearest, measured against all. */
static double
recall_of(Records *records, double recall)
{
	int			right = 0;

	for (uint32_t q = 0; q < 100; q++)
	{
		uint8_t		query[DIM * 4];
		RecordScanOptions options = {.query = query, .expected = 10, .recall = recall};
		RecordScanOptions all = {.query = query, .expected = 10, .exact = true};
		RecordScan *scan;
		RecordScan *truth;
		double		last = 0;
		double		distance;
		uint64_t	version;
		Bytes		id;

		vector_of(UINT64_C(99000000007) + q, query);
		truth = record_scan_open(records, &all);
		scan = record_scan_open(records, &options);
		assert_false(record_scan_is_exact(scan));
		for (int i = 0; i < 10; i++)
			assert_true(record_scan_next(truth, &last, &version, &id));
		for (int i = 0; i < 10; i++)
		{
			assert_true(record_scan_next(scan, &distance, &version, &id));
			right += distance <= last;
		}
		record_scan_close(truth);
		record_scan_close(scan);
	}
	return right / 1000.0;
}

static void
found_by_trial(void **state)
{
	Records    *records = given(900);
	Tune	   *tune = records_tune(records);
	uint32_t	some;
	int64_t		took;

	(void) state;
	link_all(records);

	/* So few are compared one by one. */
	assert_false(tune_some(tune, records, FOREVER, &took));
	assert_int_equal(tune_ef(tune, 10, 0.9), 0);

	/* Not while much waits. */
	for (uint32_t i = 900; i < 20000; i++)
		put(records, i, 2);
	assert_false(tune_some(tune, records, FOREVER, &took));
	link_all(records);

	/* A search or so at a time. */
	assert_true(tune_some(tune, records, 0, &took));
	assert_int_equal(tune_ef(tune, 10, 0.9), 0);
	assert_true(tune_some(tune, records, FOREVER, &took));
	assert_false(tune_some(tune, records, FOREVER, &took));
	some = tune_ef(tune, 10, 0.8);
	assert_true(some >= 10);
	assert_true(tune_ef(tune, 10, 0.97) > some);
	assert_true(tune_ef(tune, 1, 0.97) == tune_ef(tune, 10, 0.97));
	assert_true(tune_ef(tune, 40, 0.9) > tune_ef(tune, 10, 0.9));
	assert_true(tune_ef(tune, 40, 0.9) <= tune_ef(tune, 100, 0.9));
	assert_true(tune_ef(tune, 1000, 0.9) >= 1000);
	assert_true(tune_ef(tune, 10, 0.9999) <= 600);

	/* And searches that name a recall find it. */
	assert_true(recall_of(records, 0.8) >= 0.78);
	assert_true(recall_of(records, 0.8) < 0.92);
	assert_true(recall_of(records, 0.97) >= 0.96);
	records_free(records);
}

static void
again_when_changed(void **state)
{
	Records    *records = given(3000);
	Tune	   *tune = records_tune(records);
	uint32_t	before;
	int64_t		took;

	(void) state;
	link_all(records);
	assert_true(tune_some(tune, records, FOREVER, &took));
	before = tune_ef(tune, 10, 0.95);
	assert_true(before > 0);

	/* Some changes: left alone. */
	for (uint32_t i = 0; i < 900; i++)
		put(records, i, 2);
	link_all(records);
	assert_false(tune_some(tune, records, FOREVER, &took));

	/* A third of what there was: once more. */
	for (uint32_t i = 0; i < 300; i++)
		put(records, i, 3);
	link_all(records);
	assert_true(tune_some(tune, records, FOREVER, &took));
	assert_false(tune_some(tune, records, FOREVER, &took));

	/* A graph ten times as large takes more for the same. */
	for (uint32_t i = 3000; i < 30000; i++)
		put(records, i, 4);
	link_all(records);
	assert_true(tune_some(tune, records, FOREVER, &took));
	assert_true(tune_ef(tune, 10, 0.95) > before);
	records_free(records);
}

typedef struct Shared
{
	Records    *records;
	atomic_bool stop;
} Shared;

static void *
tune_on(void *arg)
{
	Shared	   *shared = arg;
	int64_t		took;

	while (!atomic_load(&shared->stop))
		tune_some(records_tune(shared->records), shared->records, 100, &took);
	return NULL;
}

static void *
mend_on(void *arg)
{
	Shared	   *shared = arg;

	while (!atomic_load(&shared->stop))
		if (!hnsw_link_next(records_graph(shared->records)))
			hnsw_repair(records_graph(shared->records), 100, true);
	return NULL;
}

/* Records come and go, move and are linked, while the trial goes on and scans read what it says. */
static void
while_all_else_goes_on(void **state)
{
	Shared		shared = {.records = given(3000)};
	pthread_t	threads[3];
	Prng		prng = {5};
	uint8_t		id[WIRE_TID_SIZE];

	(void) state;
	link_all(shared.records);
	assert_int_equal(pthread_create(&threads[0], NULL, tune_on, &shared), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, tune_on, &shared), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, mend_on, &shared), 0);
	for (uint64_t i = 0; i < 20000; i++)
	{
		uint32_t	n = prng_below(&prng, 3000);

		wire_tid_put(id, n, 1);
		if (i / 4000 % 2 == 0)
			put(shared.records, n, i + 2);
		else if (records_version(shared.records, bytes_of(id, sizeof(id))) != 0)
			records_delete(shared.records, bytes_of(id, sizeof(id)));
		if (i % 100 == 0)
		{
			uint8_t		query[DIM * 4];
			RecordScanOptions options = {.query = query, .expected = 10, .recall = 0.9};
			RecordScan *scan;
			double		distance;
			uint64_t	version;
			Bytes		got;

			vector_of(i, query);
			scan = record_scan_open(shared.records, &options);
			assert_true(record_scan_next(scan, &distance, &version, &got));
			record_scan_close(scan);
		}
	}
	atomic_store(&shared.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	records_free(shared.records);
}

/*
 * A search that keeps many candidates is a walk or not for what it costs, whether they
 * are to be returned or only looked at: the first page of an ef is judged like the next.
 */
static void
many_candidates_walk_where_it_pays(void **state)
{
	static const uint32_t sizes[] = {1, 10, 100, 2048, 2049, 5000, 10000, 16384, 16385, 100000};

	(void) state;
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		uint32_t	n = sizes[i];

		for (uint64_t live = 1; live < 100000000; live *= 3)
			assert_int_equal(scan_is_better(live, 128, 10, n), scan_is_better(live, 128, n, n < 10 ? 10 : n));
		assert_int_equal(scan_is_better(1000000, 128, 10, n), n > 16384);
		assert_int_equal(scan_is_better(1000000, 128, n, 100), n > 16384);
		assert_true(scan_is_better(n, 128, n, n));
	}
	assert_true(scan_is_better(100000, 128, 10, 10000));
	assert_false(scan_is_better(100000, 128, 10, 4000));
}

/* There is no ef for records that have no vectors, however many. */
static void
nothing_to_try(void **state)
{
	RecordsOptions options = {.metric = VEC_L2, .m = 4, .ef_construction = 30};
	Records    *records;
	int64_t		took;
	VtError		err = {0};

	(void) state;
	assert_int_equal(records_new(&options, &records, &err), VT_OK);
	for (uint32_t i = 0; i < 20000; i++)
		put(records, i, 1);
	assert_int_equal(records_count(records), 20000);
	assert_int_equal(records_waiting(records), 0);
	assert_false(tune_some(records_tune(records), records, FOREVER, &took));
	records_free(records);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_candidates_walk_where_it_pays),
		cmocka_unit_test(found_by_trial),
		cmocka_unit_test(again_when_changed),
		cmocka_unit_test(while_all_else_goes_on),
		cmocka_unit_test(nothing_to_try),
	};

	return cmocka_run_group_tests_name("worker_tune", tests, NULL, NULL);
}
