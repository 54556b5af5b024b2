/*-------------------------------------------------------------------------
 *
 * worker_pages.c
 *	  Searches with a predicate that are read on: the walk goes on where it was, and each
 *	  record that passes comes once, whatever was put and deleted between two pages.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/worker/filters.h"
#include "../../src/worker/scan.h"
#include "base/clock.h"
#include "worker_rows.h"

#define N 12000
#define FIRST 4					/* records of the first pass; each later one looks for four times as many */
#define QUERY 471100

static const uint8_t kinds[] = {WIRE_ATTR_ORDERED, WIRE_ATTR_HASHED};

/* The first attribute is lo to hi. */
static Predicate *
between(int64_t lo, int64_t hi)
{
	WireClause	clause = {.op = WIRE_CLAUSE_BETWEEN, .lo = lo, .hi = hi};
	Buf			encoded = {0};
	size_t		begin = wire_predicate_begin(&encoded);
	Predicate  *predicate;
	VtError		err = {0};

	wire_clause_put(&encoded, &clause);
	wire_predicate_end(&encoded, begin, 1);
	if (predicate_new(buf_bytes(&encoded), kinds, 2, &predicate, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	buf_free(&encoded);
	return predicate;
}

static void
put_with(Records *records, uint32_t n, uint64_t version, uint32_t vector, int64_t number)
{
	WireAttributes attributes = {.n = 2, .value = {number}};

	put(records, n, version, vector, &attributes);
}

static void
link_all(Records *records)
{
	while (hnsw_link_next(records_graph(records)))
		;
}

/* Numbers 0 to 999, so that a predicate says how many in a thousand pass. */
static int64_t
number_of(uint32_t n)
{
	return (int64_t) (n * UINT32_C(7919) % 1000);
}

static Records *
given(void)
{
	Records    *records = make_records(VEC_L2, 2);

	for (uint32_t i = 0; i < N; i++)
		put_with(records, i, i + 1, i, number_of(i));
	link_all(records);
	return records;
}

typedef struct Reader
{
	RecordScan *scan;
	bool		seen[2 * N];
	double		farthest;		/* of the last page */
} Reader;

static Reader *
read_from(Records *records, Predicate *predicate, bool exact)
{
	Reader	   *reader = calloc(1, sizeof(Reader));
	uint8_t		query[DIM * 4];
	RecordScanOptions options = {.query = query, .predicate = predicate, .expected = FIRST, .ef = 20, .exact = exact};

	assert_non_null(reader);
	vector_of(QUERY, query);
	reader->scan = record_scan_open(records, &options);
	return reader;
}

/* The next page; each record in it for the first time. */
static uint32_t
page(Reader *reader, uint32_t n)
{
	double		distance;
	uint64_t	version;
	Bytes		id;
	uint32_t	come = 0;

	reader->farthest = 0;
	while (come < n && record_scan_next(reader->scan, &distance, &version, &id))
	{
		uint32_t	block;
		uint16_t	offset;

		assert_true(wire_tid_get(id, &block, &offset));
		assert_true(block < 2 * N);
		assert_false(reader->seen[block]);
		reader->seen[block] = true;
		reader->farthest = distance > reader->farthest ? distance : reader->farthest;
		come++;
	}
	return come;
}

static void
end(Reader *reader)
{
	record_scan_close(reader->scan);
	free(reader);
}

/* Where half pass, a tenth, and so few that all are measured: the twin compares with each. */
static void
a_walk_goes_on(void **state)
{
	static const int64_t most[] = {499, 99, 9};
	Records    *records = given();

	(void) state;
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++)
	{
		Predicate  *predicate = between(0, most[i]);
		Reader	   *twin = read_from(records, predicate, true);
		Reader	   *reader = read_from(records, predicate, false);
		const HnswCost *cost = record_scan_cost(reader->scan);
		uint32_t	pass = N / 1000 * ((uint32_t) most[i] + 1);
		uint32_t	right = 0;
		uint64_t	passes;
		uint64_t	before;

		assert_int_equal(page(twin, 21 * FIRST), 21 * FIRST);
		assert_int_equal(page(reader, FIRST), FIRST);
		before = cost->distances;
		assert_int_equal(page(reader, 4 * FIRST), 4 * FIRST);
		assert_true(cost->distances - before > 0);

		/* What comes next has been measured, most of it, or all where those that pass are few. */
		passes = records_stat(records, RECORD_PASSES);
		before = cost->distances - before;
		assert_int_equal(page(reader, 16 * FIRST), 16 * FIRST);
		assert_int_equal(records_stat(records, RECORD_PASSES), passes);
		if (pass < 1000)
			assert_true(cost->distances <= 2 * before);
		for (uint32_t n = 0; n < N; n++)
			right += reader->seen[n] && twin->seen[n];
		assert_true(right >= 21 * FIRST * 9 / 10);

		assert_int_equal(21 * FIRST + page(reader, UINT32_MAX), pass);
		assert_int_equal(21 * FIRST + page(twin, UINT32_MAX), pass);
		assert_memory_equal(reader->seen, twin->seen, sizeof(twin->seen));
		end(reader);
		end(twin);
		predicate_free(predicate);
	}
	records_free(records);
}

/* Of some vectors the one that is farthest away. */
static uint32_t
a_far_one(void)
{
	uint8_t		bytes[2][DIM * 4];
	float		v[2][DIM];
	double		most = 0;
	uint32_t	far = 0;

	vector_of(QUERY, bytes[0]);
	memcpy(v[0], bytes[0], sizeof(v[0]));
	for (uint32_t i = 0; i < 1000; i++)
	{
		double		distance;

		vector_of(i, bytes[1]);
		memcpy(v[1], bytes[1], sizeof(v[1]));
		distance = vec_distance(VEC_L2, v[0], v[1], DIM);
		far = distance > most ? i : far;
		most = distance > most ? distance : most;
	}
	return far;
}

/* What comes between two pages and is near comes with the next; what is far, in its turn. */
static void
what_comes_meanwhile(void **state)
{
	Records    *records = given();
	Predicate  *predicate = between(0, 499);
	Reader	   *twin = read_from(records, predicate, true);
	Reader	   *reader = read_from(records, predicate, false);
	uint64_t	version = N;
	uint32_t	later[3];
	uint32_t	n = 0;
	uint8_t		id[WIRE_TID_SIZE];

	(void) state;
	assert_int_equal(page(reader, FIRST), FIRST);
	assert_int_equal(page(reader, 4 * FIRST), 4 * FIRST);

	/* Of those that come later one is nearer now, one is in no set any more, and one is gone. */
	assert_int_equal(page(twin, 10 * FIRST), 10 * FIRST);
	for (uint32_t i = 0; n < 3; i++)
		if (number_of(i) < 500 && !twin->seen[i] && !reader->seen[i])
			later[n++] = i;
	put_with(records, later[0], ++version, QUERY, 0);
	put_with(records, later[1], ++version, later[1], 700);
	records_delete(records, id_of(later[2], id));

	/* Some have come already and are others now; one is new and near, one passes now that did not. */
	n = 0;
	for (uint32_t i = 0; i < N && n < 3; i++)
		if (reader->seen[i])
		{
			put_with(records, i, ++version, QUERY, 0);
			n++;
		}
	put_with(records, N, ++version, QUERY, 1);
	for (n = 0; number_of(n) < 500; n++)
		;
	put_with(records, n, ++version, QUERY, 499);

	/* And a crowd that is farther than what comes next. */
	for (uint32_t i = 1; i <= 100; i++)
		put_with(records, N + i, ++version, a_far_one(), 2);
	assert_int_equal(page(reader, 16 * FIRST), 16 * FIRST);
	assert_true(reader->seen[later[0]]);
	assert_true(reader->seen[N]);
	assert_true(reader->seen[n]);
	assert_int_equal(page(reader, 16 * FIRST), 16 * FIRST);
	for (uint32_t i = 1; i <= 100; i++)
		assert_false(reader->seen[N + i]);
	(void) page(reader, UINT32_MAX);
	for (uint32_t i = 0; i <= N + 100; i++)
	{
		bool		passes = i > N || i == n || number_of(i) < 500;

		if (i == later[1] || i == later[2])
			passes = false;
		assert_int_equal(reader->seen[i], passes);
	}
	end(reader);
	end(twin);
	predicate_free(predicate);
	records_free(records);
}

/* So much changes that the set is made anew: another walk begins, and brings nothing twice. */
static void
the_set_is_made_anew(void **state)
{
	Records    *records = given();
	Predicate  *predicate = between(0, 499);
	Reader	   *reader = read_from(records, predicate, false);
	uint64_t	made;
	uint64_t	passes;

	(void) state;
	assert_int_equal(page(reader, FIRST), FIRST);
	assert_int_equal(page(reader, 4 * FIRST), 4 * FIRST);
	made = filters_figures(records).made;
	for (uint32_t i = 0; i < N; i++)
		if (number_of(i) >= 100)
			put_with(records, i, N + i + 1, i, number_of(i) % 2 ? 700 : number_of(i));
	link_all(records);
	passes = records_stat(records, RECORD_PASSES);
	assert_int_equal(page(reader, 16 * FIRST), 16 * FIRST);
	assert_true(filters_figures(records).made > made);
	assert_int_equal(records_stat(records, RECORD_PASSES), passes + 1);
	assert_true(reader->farthest < 0.5);
	(void) page(reader, UINT32_MAX);
	for (uint32_t i = 0; i < N; i++)
		if (number_of(i) < 100 || (number_of(i) < 500 && number_of(i) % 2 == 0))
			assert_true(reader->seen[i]);
	end(reader);
	predicate_free(predicate);
	records_free(records);
}

/* -- Beside a writer ----------------------------------------------------------- */

#define SOME 50					/* records that pass now and then */

typedef struct Beside
{
	Records    *records;
	uint32_t	kept;			/* the first so many pass in every version; as many in none; behind them are some */
	atomic_bool stop;
	atomic_uint searches;
} Beside;

/* A version that passes is an even one. */
static void *
supersede(void *arg)
{
	Beside	   *b = (Beside *) arg;
	Prng		prng = {3};
	uint64_t	version = 1000000;

	while (!atomic_load(&b->stop))
	{
		uint32_t	n = prng_below(&prng, 3) == 0 ? 2 * b->kept + prng_below(&prng, SOME) : prng_below(&prng, 2 * b->kept);
		bool		passes = n < b->kept || (n >= 2 * b->kept && prng_below(&prng, 2) == 0);
		WireAttributes attributes = {.n = 2, .value = {passes ? 1 : 2, (int64_t) prng_below(&prng, 9)}};

		version += 2;
		put(b->records, n, passes ? version : version + 1, (uint32_t) prng_next(&prng), &attributes);
	}
	return NULL;
}

static void *
link_and_mend(void *arg)
{
	Beside	   *b = (Beside *) arg;

	while (!atomic_load(&b->stop))
	{
		hnsw_link_next(records_graph(b->records));
		hnsw_repair(records_graph(b->records), 50, true);
		filters_trim(b->records);
	}
	return NULL;
}

static void *
search_all(void *arg)
{
	Beside	   *b = (Beside *) arg;
	Predicate  *predicate = between(1, 1);
	bool	   *seen = vt_alloc(2 * b->kept + SOME);
	uint8_t		query[DIM * 4];
	uint32_t	round = 0;

	while (!atomic_load(&b->stop))
	{
		RecordScanOptions options = {.query = query, .predicate = predicate, .expected = 2 + round % 3 * 4, .ef = 20, .exact = round % 4 == 3};
		RecordScan *scan;
		uint32_t	n = 0;
		double		distance;
		uint64_t	version;
		Bytes		id;

		memset(seen, 0, 2 * b->kept + SOME);
		vector_of(round++, query);
		scan = record_scan_open(b->records, &options);
		while (record_scan_next(scan, &distance, &version, &id))
		{
			uint32_t	block;
			uint16_t	offset;

			assert_true(wire_tid_get(id, &block, &offset));
			assert_true(block < 2 * b->kept + SOME && !seen[block]);
			assert_true(version % 2 == 0);
			seen[block] = true;
			n += block < b->kept;
		}
		assert_int_equal(n, b->kept);
		record_scan_close(scan);
		atomic_fetch_add(&b->searches, 1);
	}
	predicate_free(predicate);
	free(seen);
	return NULL;
}

static void
beside_a_writer(uint32_t kept, uint32_t searches)
{
	Beside		b = {.records = make_records(VEC_L2, 2), .kept = kept};
	int64_t		until;
	pthread_t	threads[4];

	for (uint32_t i = 0; i < 2 * kept + SOME; i++)
		put_with(b.records, i, 2 * i + (i < kept ? 2 : 1), i, i < kept ? 1 : 2);
	link_all(b.records);
	until = clock_now_us() + 25 * INT64_C(1000000);
	pthread_create(&threads[0], NULL, supersede, &b);
	pthread_create(&threads[1], NULL, link_and_mend, &b);
	pthread_create(&threads[2], NULL, search_all, &b);
	pthread_create(&threads[3], NULL, search_all, &b);
	while (atomic_load(&b.searches) < searches)
		sched_yield();

	/* A writer that had no processor meanwhile gets one; for its age a set is made anew later. */
	while (filters_figures(b.records).made < 2)
	{
		assert_true(clock_now_us() < until);
		usleep(1000);
	}
	atomic_store(&b.stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	records_free(b.records);
}

/* So few that they are compared one by one. */
static void
nothing_is_missed_beside_a_writer(void **state)
{
	(void) state;
	beside_a_writer(300, 300);
}

/* Of more some passes walk on. */
static void
nor_by_walks(void **state)
{
	(void) state;
	beside_a_writer(1500, 60);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_walk_goes_on),
		cmocka_unit_test(what_comes_meanwhile),
		cmocka_unit_test(the_set_is_made_anew),
		cmocka_unit_test(nothing_is_missed_beside_a_writer),
		cmocka_unit_test(nor_by_walks),
	};

	return cmocka_run_group_tests_name("worker_pages", tests, NULL, NULL);
}
