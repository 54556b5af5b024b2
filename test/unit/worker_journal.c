/*-------------------------------------------------------------------------
 *
 * worker_journal.c
 *	  What many sets of predicates cost those who put records: nothing, until somebody
 *	  searches with one of them again.
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

#include "../../src/worker/filters.h"
#include "worker_rows.h"

#define SETS 200
#define FIRST 2000				/* records when the sets are made; */
#define LATE 3000				/* so many come then */
#define VALUES 400				/* record n has n % VALUES */

static const uint8_t kinds[] = {WIRE_ATTR_ORDERED};

/* 0 to hi. */
static Predicate *
up_to(int64_t hi)
{
	WireClause	clause = {.attribute = 0, .op = WIRE_CLAUSE_BETWEEN, .lo = 0, .hi = hi};
	Buf			encoded = {0};
	size_t		begin = wire_predicate_begin(&encoded);
	Predicate  *predicate;
	VtError		err = {0};

	wire_clause_put(&encoded, &clause);
	wire_predicate_end(&encoded, begin, 1);
	assert_int_equal(predicate_new(buf_bytes(&encoded), kinds, 1, &predicate, &err), VT_OK);
	buf_free(&encoded);
	return predicate;
}

static FilterSet *
take(Records *records, int64_t hi)
{
	Predicate  *predicate = up_to(hi);
	FilterSet  *filter = filters_take(records, predicate, NULL, NULL);

	assert_non_null(filter);
	predicate_free(predicate);
	return filter;
}

static void
put_some(Records *records, uint32_t from, uint32_t to)
{
	for (uint32_t n = from; n < to; n++)
	{
		WireAttributes attributes = {.n = 1, .value = {n % VALUES}};

		put(records, n, n + 1, n, &attributes);
	}
}

/* How many of the records from..to - 1 have 0 to hi. */
static uint32_t
count(uint32_t from, uint32_t to, int64_t hi)
{
	uint32_t	n = 0;

	for (uint32_t i = from; i < to; i++)
		n += i % VALUES <= hi;
	return n;
}

static void
late_ones_are(Records *records, int64_t hi, uint32_t wanted)
{
	FilterSet  *filter = take(records, hi);
	uint32_t	n;
	uint32_t   *late = filter_late(records, filter, &n);

	assert_int_equal(n, wanted);
	free(late);
	filters_give(records, filter);
}

static Records *
records_and_sets(void)
{
	Records    *records = make_records(VEC_L2, 1);

	put_some(records, 0, FIRST);
	for (int64_t hi = 0; hi < SETS; hi++)
		filters_give(records, take(records, hi));
	assert_int_equal(filters_figures(records).sets, SETS);
	return records;
}

static void
who_puts_asks_no_predicate(void **state)
{
	Records    *records = records_and_sets();
	uint64_t	before = filters_figures(records).asked;

	(void) state;
	put_some(records, FIRST, FIRST + LATE);
	assert_int_equal(filters_figures(records).asked, before);

	/* Who searches asks his own, about what is new, once. */
	late_ones_are(records, 20, count(FIRST, FIRST + LATE, 20));
	assert_int_equal(filters_figures(records).asked, before + LATE);
	late_ones_are(records, 20, count(FIRST, FIRST + LATE, 20));
	assert_int_equal(filters_figures(records).asked, before + LATE);
	put_some(records, FIRST + LATE, FIRST + LATE + 100);
	late_ones_are(records, 20, count(FIRST, FIRST + LATE + 100, 20));
	assert_int_equal(filters_figures(records).asked, before + LATE + 100);
	late_ones_are(records, 5, count(FIRST, FIRST + LATE + 100, 5));
	records_free(records);
}

/* Of one that half of all pass too much came late: the next search makes it anew. */
static void
too_many_late_ones_make_a_set_anew(void **state)
{
	Records    *records = records_and_sets();
	uint64_t	made = filters_figures(records).made;

	(void) state;
	put_some(records, FIRST, FIRST + LATE);
	late_ones_are(records, SETS - 1, 0);
	assert_int_equal(filters_figures(records).made, made + 1);
	assert_int_equal(filters_figures(records).sets, SETS);
	records_free(records);
}

/* The journal is as long as what some set has to ask about yet, and gone with the last. */
static void
a_journal_does_not_grow(void **state)
{
	Records    *records = make_records(VEC_L2, 1);
	FilterSet  *filter;

	(void) state;
	put_some(records, 0, FIRST);
	filter = take(records, 5);
	for (uint32_t i = 0; i < 20000; i++)
	{
		WireAttributes attributes = {.n = 1, .value = {VALUES - 1}};

		put(records, i % 10, FIRST + i, i, &attributes);
		if (i % 500 == 0)
		{
			uint32_t	n;

			free(filter_late(records, filter, &n));
			assert_int_equal(n, 0);
		}
	}
	assert_true(filters_figures(records).asked >= 19000);
	assert_in_range(filters_figures(records).journal, 500, 2048);
	filters_give(records, filter);
	assert_int_equal(filters_figures(records).journal, 0);
	records_free(records);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_puts_asks_no_predicate),
		cmocka_unit_test(too_many_late_ones_make_a_set_anew),
		cmocka_unit_test(a_journal_does_not_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
