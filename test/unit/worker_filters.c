/*-------------------------------------------------------------------------
 *
 * worker_filters.c
 *	  Searches with a predicate on attributes: they find what passes, all of it, and
 *	  nothing else, whatever was put, changed and deleted since their set was made.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../src/worker/scan.h"
#include "../../src/worker/filters.h"
#include "hnsw/graph.h"
#include "some_predicates.h"
#include "worker_rows.h"

#define IDS 4000

typedef struct Model
{
	uint64_t	version;		/* 0 = it is not there */
	uint32_t	vector;
	WireAttributes attributes;
} Model;

static Records *
new_records(void)
{
	return make_records(VEC_L2, 2);
}

static void
change_something(Prng *prng, Records *records, Model *model, uint64_t *version)
{
	uint32_t	n = prng_below(prng, IDS);
	uint8_t		id[WIRE_TID_SIZE];
	uint32_t	what = prng_below(prng, 10);

	if (what < 2 && model[n].version != 0)
	{
		records_delete(records, id_of(n, id));
		model[n].version = 0;
		return;
	}
	/* Often only the vector, or only the attributes, of what is there. */
	if (what < 4 || model[n].version == 0)
		model[n].attributes = some_attributes(prng);
	if (what >= 4 || model[n].version == 0)
		model[n].vector = (uint32_t) prng_next(prng);
	model[n].version = ++*version;
	put(records, n, model[n].version, model[n].vector, &model[n].attributes);
}

static double
distance_of(const uint8_t *query, uint32_t vector)
{
	uint8_t		v[DIM * 4];
	float		a[DIM];
	float		b[DIM];

	vector_of(vector, v);
	memcpy(a, query, sizeof(a));
	memcpy(b, v, sizeof(b));
	return vec_distance(VEC_L2, a, b, DIM);
}

typedef struct Answer
{
	double		distance;
	uint32_t	n;
} Answer;

static int
answer_sorter(const void *pa, const void *pb)
{
	const Answer *a = (const Answer *) pa;
	const Answer *b = (const Answer *) pb;

	return a->distance != b->distance ? (a->distance < b->distance ? -1 : 1) : a->n < b->n ? -1 : 1;
}

/* All that passes, nearest first. */
static uint32_t
truth(const Model *model, const WirePredicate *predicate, const uint8_t *query, Answer *out)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < IDS; i++)
		if (model[i].version != 0 && wire_predicate_passes(predicate, &model[i].attributes))
			out[n++] = (Answer) {distance_of(query, model[i].vector), i};
	qsort(out, n, sizeof(Answer), answer_sorter);
	return n;
}

/*
 * One search, with some of the first answers left out as if they had come before:
 * exact ones are the truth, others bring every record that passes once, and many of the
 * nearest first.  How many of the first ten they found is added up.
 */
static void
search(Prng *prng, Records *records, const Model *model, const Buf *encoded, uint64_t *right, uint64_t *wanted)
{
	static Answer all[IDS];
	static bool seen[IDS];
	WirePredicate twin;
	Predicate  *predicate = predicate_of(encoded);
	uint8_t		query[DIM * 4];
	uint8_t		tid[WIRE_TID_SIZE];
	Buf			excluded = {0};
	bool		exact = prng_below(prng, 2) == 0;
	RecordScanOptions options = {.query = query, .predicate = predicate, .expected = 10, .ef = 40, .exact = exact};
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	Bytes		id;
	uint32_t	n;
	uint32_t	skip;
	uint32_t	at;

	vector_of((uint32_t) prng_next(prng), query);
	assert_int_equal(wire_predicate_get(buf_bytes(encoded), kinds, 2, &twin, NULL), VT_OK);
	n = truth(model, &twin, query, all);
	skip = n > 5 && prng_below(prng, 3) == 0 ? 5 : 0;
	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < skip; i++)
	{
		seen[all[i].n] = true;
		wire_id_put(&excluded, id_of(all[i].n, tid));
	}
	options.excluded = buf_bytes(&excluded);
	scan = record_scan_open(records, &options);
	for (at = skip; record_scan_next(scan, &distance, &version, &id); at++)
	{
		uint32_t	block;
		uint16_t	offset;

		assert_true(at < n);
		assert_true(wire_tid_get(id, &block, &offset));
		assert_false(seen[block]);
		seen[block] = true;
		assert_int_equal(version, model[block].version);
		assert_true(wire_predicate_passes(&twin, &model[block].attributes));
		if (exact)
		{
			assert_int_equal(block, all[at].n);
			assert_true(distance == all[at].distance);
		}
		if (at - skip < 10 && !exact)
		{
			++*wanted;
			*right += distance <= all[skip + 10 < n ? skip + 9 : n - 1].distance;
		}
	}
	assert_int_equal(at, n);
	record_scan_close(scan);
	buf_free(&excluded);
	predicate_free(predicate);
}

/*
 * A few predicates again and again, as applications have them, and new ones, while
 * records come, change and go, are linked, mended around and moved.
 */
static void
what_passes_comes_and_nothing_else(void **state)
{
	Prng		prng = {5};
	Records    *records = new_records();
	Model	   *model = vt_alloc0(sizeof(Model) * IDS);
	Buf			often[4] = {{0}};
	Buf			once = {0};
	uint64_t	version = 0;
	uint64_t	right = 0;
	uint64_t	wanted = 0;
	FilterFigures figures;

	(void) state;
	for (int i = 0; i < 4; i++)
		some_predicate(&prng, &often[i]);
	for (uint32_t i = 0; i < IDS * 2; i++)
		change_something(&prng, records, model, &version);
	for (int round = 0; round < 400; round++)
	{
		uint32_t	changes = prng_below(&prng, 3) == 0 ? 0 : prng_below(&prng, 200);

		for (uint32_t i = 0; i < changes; i++)
			change_something(&prng, records, model, &version);
		for (uint32_t i = prng_below(&prng, 300); i > 0 && hnsw_link_next(records_graph(records)); i--)
			;
		if (prng_below(&prng, 4) == 0)
			hnsw_repair(records_graph(records), 200, true);
		if (prng_below(&prng, 5) > 0)
			search(&prng, records, model, &often[prng_below(&prng, 4)], &right, &wanted);
		else
		{
			some_predicate(&prng, &once);
			search(&prng, records, model, &once, &right, &wanted);
		}
	}
	figures = filters_figures(records);
	assert_true(figures.found > 200);	/* most found a set that others had made, ... */
	assert_true(figures.made > 50);		/* ... and sets were worn out by changes */
	assert_true(right >= wanted * 95 / 100);
	for (int i = 0; i < 4; i++)
		buf_free(&often[i]);
	buf_free(&once);
	free(model);
	records_free(records);
}

/* Nobody asks again: sets are closed by who changes much, and hold nothing back. */
static void
changes_close_sets(void **state)
{
	Prng		prng = {7};
	Records    *records = new_records();
	WireAttributes attributes = {.n = 2};
	uint8_t		query[DIM * 4] = {0};
	uint8_t		id[WIRE_TID_SIZE];
	Buf			encoded = {0};
	Predicate  *predicate;
	RecordScanOptions options = {.query = query, .expected = 10, .ef = 20};

	(void) state;
	for (uint32_t i = 0; i < 10000; i++)
		put(records, i, i + 1, i, &attributes);
	for (uint32_t i = 0; i < 50; i++)
	{
		some_predicate(&prng, &encoded);
		options.predicate = predicate = predicate_of(&encoded);
		record_scan_close(record_scan_open(records, &options));
		predicate_free(predicate);
	}
	assert_true(filters_figures(records).sets > 40);	/* there is memory for all, or nearly */
	for (uint32_t i = 0; i < 9000; i++)
		records_delete(records, id_of(i, id));
	assert_int_equal(filters_figures(records).sets, 0);
	buf_free(&encoded);
	records_free(records);
}

/* Many sets take few guards: a search steps over each of those. */
static void
sets_share_guards(void **state)
{
	enum {SETS = 2 * GUARDS_PER_BLOCK};
	Prng		prng = {11};
	Records    *records = new_records();
	WireAttributes attributes = {.n = 2};
	Hnsw	   *h = records_graph(records);
	FilterSet  *sets[SETS];
	uint8_t		id[WIRE_TID_SIZE];
	Buf			encoded = {0};
	HnswStats	stats;

	(void) state;
	for (uint32_t i = 0; i < 1000; i++)
		put(records, i, i + 1, i, &attributes);
	for (uint32_t i = 0; i < SETS; i++)
	{
		Predicate  *predicate;

		some_predicate(&prng, &encoded);
		predicate = predicate_of(&encoded);
		sets[i] = filters_take(records, predicate, NULL, NULL);
		assert_non_null(sets[i]);
		predicate_free(predicate);
	}
	assert_null(atomic_load(&h->guards.next));

	/* What they know is kept until the last of them is closed. */
	while (hnsw_link_next(h))
		;
	for (uint32_t i = 0; i < 1000; i++)
		records_delete(records, id_of(i, id));
	for (uint32_t i = 0; i < SETS; i++)
	{
		while (hnsw_repair(h, 1000, true))
			;
		hnsw_stats(h, &stats);
		assert_int_equal(stats.used, 1000);
		filters_give(records, sets[i]);
	}
	for (uint32_t i = 0; i < 10000; i++)
	{
		put(records, i % 10, 2000 + i, i, &attributes);
		while (hnsw_link_next(h))
			;
	}
	while (hnsw_repair(h, 1000, true))
		;
	assert_int_equal(filters_figures(records).sets, 0);
	hnsw_stats(h, &stats);
	assert_true(stats.used < 1000);
	buf_free(&encoded);
	records_free(records);
}

static bool
at_once(void *asked)
{
	++*(int *) asked;
	return true;
}

static bool
never(void *asked)
{
	++*(int *) asked;
	return false;
}

static bool
at_the_third_time(void *asked)
{
	return ++*(int *) asked >= 3;
}

/* Nobody waits any more while a set is made: it is left, and the next search makes it. */
static void
stopped_while_a_set_is_made(void **state)
{
	Prng		prng = {7};
	Records    *records = new_records();
	WireAttributes attributes = {.n = 2};
	uint8_t		query[DIM * 4] = {0};
	int			asked = 0;
	Buf			encoded = {0};
	Predicate  *predicate;
	RecordScanOptions options = {.query = query, .expected = 10, .ef = 20, .stop = at_once, .stop_arg = &asked};
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	uint64_t	made;
	Bytes		id;

	(void) state;
	for (uint32_t i = 0; i < 10000; i++)
		put(records, i, i + 1, i, &attributes);
	some_predicate(&prng, &encoded);
	options.predicate = predicate = predicate_of(&encoded);
	assert_null(filters_take(records, predicate, at_once, &asked));
	assert_int_equal(asked, 1);
	assert_int_equal(filters_figures(records).sets, 0);
	scan = record_scan_open(records, &options);
	assert_true(record_scan_stopped(scan));
	assert_false(record_scan_next(scan, &distance, &version, &id));
	record_scan_close(scan);

	/* Most of it is there by then: the next finds it. */
	asked = 0;
	assert_null(filters_take(records, predicate, at_the_third_time, &asked));
	assert_int_equal(asked, 3);
	assert_int_equal(filters_figures(records).sets, 1);
	made = filters_figures(records).made;
	options.stop = never;
	scan = record_scan_open(records, &options);
	assert_false(record_scan_stopped(scan));
	record_scan_close(scan);
	assert_int_equal(filters_figures(records).sets, 1);
	assert_int_equal(filters_figures(records).made, made);
	predicate_free(predicate);
	buf_free(&encoded);
	records_free(records);
}

/* What came since a set was made does not wait for the graph, and says nothing of what waiting costs. */
static void
late_ones_are_not_hot(void **state)
{
	Records    *records = new_records();
	WireAttributes attributes = {.n = 2};
	WireClause	clause = {.attribute = 0, .op = WIRE_CLAUSE_BETWEEN, .lo = -1, .hi = 1};
	uint8_t		query[DIM * 4] = {0};
	Buf			encoded = {0};
	size_t		begin = wire_predicate_begin(&encoded);
	RecordScanOptions options = {.query = query, .expected = 10, .ef = 20};

	(void) state;
	wire_clause_put(&encoded, &clause);
	wire_predicate_end(&encoded, begin, 1);
	options.predicate = predicate_of(&encoded);
	for (uint32_t i = 0; i < 1000; i++)
	{
		put(records, i, i + 1, i, &attributes);
		if (i == 700)
			record_scan_close(record_scan_open(records, &options));
		while (i >= 700 && hnsw_link_next(records_graph(records)))
			;
	}
	begin = records_stat(records, RECORD_HOT_DISTANCES);
	record_scan_close(record_scan_open(records, &options));
	assert_int_equal(filters_figures(records).found, 1);
	assert_int_equal(records_stat(records, RECORD_HOT_DISTANCES), begin);
	predicate_free(options.predicate);
	buf_free(&encoded);
	records_free(records);
}

/* Between being found and being handed out. */
static void
superseded_before_they_come(void **state)
{
	static const int64_t one[] = {1};
	Records    *records = new_records();
	WireClause	clause = {.op = WIRE_CLAUSE_IN, .nvalues = 1, .values = one};
	WireAttributes passes = {.n = 2, .value = {1}};
	WireAttributes fails = {.n = 2, .value = {2}};
	uint8_t		query[DIM * 4] = {0};
	Buf			encoded = {0};
	size_t		begin = wire_predicate_begin(&encoded);
	Predicate  *predicate;
	RecordScanOptions options = {.query = query, .expected = 40, .ef = 40};
	RecordScan *scan;
	double		distance;
	uint64_t	version;
	Bytes		id;
	uint32_t	n = 0;

	(void) state;
	wire_clause_put(&encoded, &clause);
	wire_predicate_end(&encoded, begin, 1);
	options.predicate = predicate = predicate_of(&encoded);
	for (uint32_t i = 0; i < 40; i++)
		put(records, i, i + 1, i, i < 30 ? &passes : &fails);
	scan = record_scan_open(records, &options);
	for (uint32_t i = 0; i < 20; i++)
		put(records, i, 100 + i, 1000 + i, i < 10 ? &fails : &passes);
	while (record_scan_next(scan, &distance, &version, &id))
	{
		uint32_t	block;
		uint16_t	offset;

		assert_true(wire_tid_get(id, &block, &offset));
		assert_true(block >= 10 && block < 30);
		assert_int_equal(version, block < 20 ? 100 + block : block + 1);
		n++;
	}
	assert_int_equal(n, 20);
	record_scan_close(scan);
	predicate_free(predicate);
	buf_free(&encoded);
	records_free(records);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_passes_comes_and_nothing_else),
		cmocka_unit_test(changes_close_sets),
		cmocka_unit_test(sets_share_guards),
		cmocka_unit_test(stopped_while_a_set_is_made),
		cmocka_unit_test(late_ones_are_not_hot),
		cmocka_unit_test(superseded_before_they_come),
	};

	return cmocka_run_group_tests_name("worker_filters", tests, NULL, NULL);
}
