/*-------------------------------------------------------------------------
 *
 * hnsw_threads.c
 *	  Everything at once: what hnsw.h promises while others are at work.
 *
 * Labels fall into four classes: two stay, one dies, one is replaced.  Writers
 * note beside each label how far it is, before and after they act; readers look
 * at the notes before they search and hold the answer against them.  Which
 * threads meet when is up to the machine; what must hold does not depend on it.
 * Most worth running under the thread sanitizer (make tsan).
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "hnsw/hnsw.h"

#define DIM 16
#define LABELS 1200
#define LEAST_SEARCHES 300		/* of each searcher, however quick the writers are */
#define CURSORS 6

enum
{
	UNBORN,
	ALIVE,						/* added: to be found from now on */
	CHANGING,					/* deleted or replaced, or about to be */
	CHANGED						/* deleted or replaced for certain */
};

enum
{
	STAYS,
	STAYS_TOO,
	DIES,
	IS_REPLACED
};

static Hnsw *h;
static VecMetric metric;
static float old_rows[LABELS][DIM];
static float new_rows[LABELS][DIM];
static atomic_int phase[LABELS];
static atomic_uint slot_of[LABELS];
static atomic_int adders;
static atomic_int writers;		/* adders, killer, replacer */
static atomic_int lost;			/* not found by their own vector: the graph is approximate */
static atomic_int looked;
static pthread_mutex_t complaint_lock = PTHREAD_MUTEX_INITIALIZER;
static char complaint[300];		/* the first; cmocka asserts in its own thread only */

static void
complain(const char *what, uint64_t label)
{
	pthread_mutex_lock(&complaint_lock);
	if (complaint[0] == 0)
		snprintf(complaint, sizeof(complaint), "%s: label %llu", what, (unsigned long long) label);
	pthread_mutex_unlock(&complaint_lock);
}

static int
class_of(uint64_t label)
{
	return (int) (label % 4);
}

static void
fill(float *row, Prng *prng)
{
	double		centre = prng_below(prng, 20);

	for (int i = 0; i < DIM; i++)
		row[i] = (float) (((int) centre >> (i % 5) & 1) + prng_double(prng) * 0.8);
}

/* -- Writers --------------------------------------------------------------- */

/* Even labels or odd ones. */
static void *
add_labels(void *arg)
{
	VtError		err;

	for (uint32_t label = *(uint32_t *) arg; label < LABELS; label += 2)
	{
		uint32_t	slot;

		if (hnsw_reserve(h, &slot, &err) != VT_OK)
		{
			complain(err.msg, label);
			break;
		}
		hnsw_add(h, slot, label, old_rows[label]);
		atomic_store(&slot_of[label], slot);
		atomic_store(&phase[label], ALIVE);
	}
	atomic_fetch_sub(&adders, 1);
	atomic_fetch_sub(&writers, 1);
	return NULL;
}

/* Wait for its birth; false when it cannot come any more. */
static bool
born(uint32_t label)
{
	while (atomic_load(&phase[label]) == UNBORN)
	{
		if (atomic_load(&adders) == 0 && atomic_load(&phase[label]) == UNBORN)
			return false;
		sched_yield();
	}
	return true;
}

static void *
kill_labels(void *arg)
{
	(void) arg;
	for (uint32_t label = DIES; label < LABELS && born(label); label += 4)
	{
		atomic_store(&phase[label], CHANGING);
		if (!hnsw_delete(h, atomic_load(&slot_of[label])))
			complain("was not live when deleted", label);
		atomic_store(&phase[label], CHANGED);
	}
	atomic_fetch_sub(&writers, 1);
	return NULL;
}

static void *
replace_labels(void *arg)
{
	VtError		err;

	(void) arg;
	for (uint32_t label = IS_REPLACED; label < LABELS && born(label); label += 4)
	{
		uint32_t	slot;

		if (hnsw_reserve(h, &slot, &err) != VT_OK)
		{
			complain(err.msg, label);
			break;
		}
		atomic_store(&phase[label], CHANGING);
		hnsw_replace(h, atomic_load(&slot_of[label]), slot, label, new_rows[label]);
		atomic_store(&slot_of[label], slot);
		atomic_store(&phase[label], CHANGED);
	}
	atomic_fetch_sub(&writers, 1);
	return NULL;
}

static void *
link_waiting(void *arg)
{
	(void) arg;
	while (atomic_load(&writers) > 0)
		if (!hnsw_link_next(h))
			sched_yield();
	while (hnsw_link_next(h))
		;
	return NULL;
}

static void *
repair_always(void *arg)
{
	(void) arg;
	while (atomic_load(&writers) > 0)
		if (!hnsw_repair(h, 50, true))
			sched_yield();
	return NULL;
}

/* -- Readers --------------------------------------------------------------- */

/* What must be true of one hit, given what was noted before the search. */
static void
judge(const HnswHit *hit, const float *query, const uint8_t *before)
{
	uint32_t	label = (uint32_t) hit->label;
	float		vector[DIM];
	bool		is_old;
	bool		is_new;

	if (hit->label >= LABELS)
	{
		complain("a label nobody gave", hit->label);
		return;
	}
	hnsw_read_vector(h, hit->slot, vector);
	is_old = memcmp(vector, old_rows[label], sizeof(old_rows[label])) == 0;
	is_new = memcmp(vector, new_rows[label], sizeof(new_rows[label])) == 0;
	if (hit->distance != vec_distance(metric, query, vector, DIM))
		complain("wrong distance", label);
	if (hnsw_label(h, hit->slot) != label)
		complain("slot was used again under a guard", label);
	if (class_of(label) == IS_REPLACED ? !is_old && !is_new : !is_old)
		complain("somebody else's vector", label);
	if (before[label] == CHANGED && (class_of(label) == DIES || is_old))
		complain("came back from the dead", label);
}

static void
note_phases(uint8_t *before)
{
	for (int label = 0; label < LABELS; label++)
		before[label] = (uint8_t) atomic_load(&phase[label]);
}

static bool
is_label(void *arg, uint64_t label, uint32_t slot)
{
	(void) slot;
	return label == *(uint32_t *) arg;
}

/* By its own vector, among all others. */
static void
look_near(uint32_t label, const uint8_t *before)
{
	HnswSearch	s = {.query = old_rows[label], .k = 5, .ef = 60};
	HnswHit		hits[5];
	uint32_t	n = hnsw_search(h, &s, hits);

	for (uint32_t i = 0; i < n; i++)
	{
		judge(&hits[i], s.query, before);
		for (uint32_t j = 0; j < i; j++)
			if (hits[j].label == hits[i].label)
				complain("twice in one answer", hits[i].label);
		if (i > 0 && hits[i - 1].distance > hits[i].distance)
			complain("out of order", hits[i].label);
	}
	if (before[label] == ALIVE && class_of(label) <= STAYS_TOO)
	{
		atomic_fetch_add(&looked, 1);
		atomic_fetch_add(&lost, n == 0 || hits[0].label != label);
	}
}

/* By name: nothing can excuse that it is not found, or found twice. */
static void
look_for(uint32_t label, const uint8_t *before)
{
	HnswSearch	s = {
		.query = old_rows[(label + 1) % LABELS], .k = 2, .ef = 20,
		.filter = is_label, .filter_arg = &label
	};
	HnswHit		hits[2];
	uint32_t	n = hnsw_search(h, &s, hits);
	int			class = class_of(label);

	for (uint32_t i = 0; i < n; i++)
		judge(&hits[i], s.query, before);
	if (n > 1)
		complain("two versions in one answer", label);
	if (n == 0 && before[label] != UNBORN && class != DIES)
		complain("lost", label);
}

static bool
is_of_class(void *arg, uint64_t label, uint32_t slot)
{
	(void) slot;
	return class_of(label) == class_of(*(uint32_t *) arg);
}

/* In a set: whoever was there when it was filled comes, as many as are wanted. */
static void
look_in_set(uint32_t label, const uint8_t *before)
{
	HnswSet    *set = hnsw_set_open(h);
	HnswSearch	s = {.query = old_rows[label], .k = LABELS, .ef = LABELS, .set = set};
	HnswHit		hits[LABELS];
	uint8_t		seen[LABELS] = {0};
	uint32_t	n;

	hnsw_set_add_passing(set, is_of_class, &label);
	if (label % 3 == 0)
		s.k = s.ef = 8;
	n = hnsw_search(h, &s, hits);
	for (uint32_t i = 0; i < n; i++)
	{
		judge(&hits[i], s.query, before);
		if (class_of(hits[i].label) != class_of(label))
			complain("no member", hits[i].label);
		if (hits[i].label < LABELS && seen[hits[i].label]++)
			complain("twice in one answer of a set", hits[i].label);
	}
	for (uint32_t i = 0; i < LABELS && s.k == LABELS; i++)
		if (before[i] != UNBORN && class_of(i) == class_of(label) && class_of(i) != DIES && !seen[i])
			complain("missed in a set", i);
	hnsw_set_close(set);
}

static void *
search_often(void *arg)
{
	Prng		prng = {*(uint32_t *) arg};
	uint8_t		before[LABELS];

	for (int i = 0; i < LEAST_SEARCHES || (atomic_load(&writers) > 0 && i < 100000); i++)
	{
		uint32_t	guard = hnsw_enter(h);

		note_phases(before);
		if (i % 8 == 0)
			look_for(prng_below(&prng, LABELS), before);
		else if (i % 8 == 1)
			look_in_set(prng_below(&prng, LABELS), before);
		else
			look_near(prng_below(&prng, LABELS), before);
		hnsw_leave(h, guard);
	}
	return NULL;
}

/*
 * A set that lives all the time and that many search at once: with the rows that
 * are copied by and by, with walks in between.
 */
static HnswSet *shared;

static void *
search_shared(void *arg)
{
	uint8_t		before[LABELS];
	HnswHit		hits[LABELS];

	for (uint32_t i = 0; i < LEAST_SEARCHES || (atomic_load(&writers) > 0 && i < 100000); i++)
	{
		uint32_t	label = (*(uint32_t *) arg * 31 + i) % LABELS;
		HnswSearch	s = {.query = old_rows[label], .k = i % 3 ? 8 : LABELS, .ef = 8, .set = shared};
		uint8_t		seen[LABELS] = {0};
		uint32_t	n;

		note_phases(before);
		n = hnsw_search(h, &s, hits);
		for (uint32_t j = 0; j < n; j++)
		{
			judge(&hits[j], s.query, before);
			if (hits[j].label >= LABELS / 2)
				complain("no member", hits[j].label);
			else if (seen[hits[j].label]++)
				complain("twice in one answer of a set that lives long", hits[j].label);
		}
		for (uint32_t j = 0; j < LABELS / 2 && s.k == LABELS; j++)
			if (class_of(j) != DIES && !seen[j])
				complain("missed in a set that lives long", j);
	}
	return NULL;
}

/* From open to the end: all that stays comes once, and nothing twice. */
static void *
read_cursors(void *arg)
{
	uint8_t		before[LABELS];
	uint8_t		seen[LABELS];
	HnswHit		hits[32];

	(void) arg;
	for (int i = 0; i < CURSORS; i++)
	{
		HnswSearch	s = {.query = new_rows[i * 100], .k = 10, .ef = 30};
		HnswCursor *cursor;
		uint32_t	n;

		note_phases(before);
		memset(seen, 0, sizeof(seen));
		cursor = hnsw_cursor_open(h, &s);
		do
		{
			n = hnsw_cursor_next(cursor, hits, 32);
			for (uint32_t j = 0; j < n; j++)
			{
				judge(&hits[j], s.query, before);
				if (hits[j].label < LABELS && seen[hits[j].label]++)
					complain("twice from one cursor", hits[j].label);
			}
		} while (n == 32);
		hnsw_cursor_close(cursor);
		for (uint32_t label = 0; label < LABELS; label++)
			if (before[label] != UNBORN && class_of(label) != DIES && !seen[label])
				complain("missed by a cursor", label);
	}
	return NULL;
}

/* -- Test ------------------------------------------------------------------ */

static void
all_at_once(HnswCodes codes, VecMetric by)
{
	static uint32_t parts[] = {0, 1, 11, 12};
	HnswOptions options = {
		.dim = DIM, .metric = by, .m = 8, .ef_construction = 40, .codes = codes, .seed = 3
	};
	const struct
	{
		void	   *(*run) (void *);
		void	   *arg;
	}			jobs[] = {
		{add_labels, &parts[0]}, {add_labels, &parts[1]}, {kill_labels, NULL},
		{replace_labels, NULL}, {link_waiting, NULL}, {link_waiting, NULL},
		{repair_always, NULL}, {search_often, &parts[2]}, {search_often, &parts[3]},
		{read_cursors, NULL},
	};
	enum {JOBS = sizeof(jobs) / sizeof(jobs[0])};
	pthread_t	threads[JOBS];
	Prng		prng = {17};
	HnswReport	report;
	HnswStats	stats;
	uint8_t		before[LABELS];
	VtError		err;

	metric = by;
	for (int label = 0; label < LABELS; label++)
	{
		fill(old_rows[label], &prng);
		fill(new_rows[label], &prng);
		atomic_store(&phase[label], UNBORN);
	}
	atomic_store(&adders, 2);
	atomic_store(&writers, 4);
	atomic_store(&lost, 0);
	atomic_store(&looked, 0);
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, jobs[i].run, jobs[i].arg), 0);
	for (int i = 0; i < JOBS; i++)
		pthread_join(threads[i], NULL);
	if (complaint[0])
		fail_msg("%s", complaint);

	/*
	 * A walk through a graph in the making may miss one; how often depends on how
	 * the threads were scheduled, a handful in a hundred at worst.
	 */
	if (atomic_load(&lost) * 8 > atomic_load(&looked))
		fail_msg("%d of %d not found by their own vector", atomic_load(&lost),
				 atomic_load(&looked));

	/* At rest: nothing waits, nothing is broken, everybody is there. */
	while (hnsw_link_next(h))
		;
	if (!hnsw_check(h, &report))
		fail_msg("%s", report.first);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.live, LABELS / 4 * 3);
	assert_true(report.unreachable * 100 <= report.nodes);
	note_phases(before);
	for (uint32_t label = 0; label < LABELS; label++)
	{
		assert_int_equal(before[label], class_of(label) <= STAYS_TOO ? ALIVE : CHANGED);
		look_for(label, before);
	}
	if (complaint[0])
		fail_msg("%s", complaint);
	while (hnsw_repair(h, 1000, true))
		;
	if (!hnsw_check(h, &report))
		fail_msg("after the repair: %s", report.first);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.dead, 0);
	assert_int_equal(stats.live, LABELS / 4 * 3);
	hnsw_destroy(h);
}

/* Half of the labels are there and in a set before others come and all the rest begins. */
static void
one_set(HnswCodes codes)
{
	static uint32_t parts[] = {0, 1, LABELS / 2, LABELS / 2 + 1};
	HnswOptions options = {
		.dim = DIM, .metric = VEC_L2, .m = 8, .ef_construction = 40, .codes = codes, .seed = 3
	};
	const struct
	{
		void	   *(*run) (void *);
		void	   *arg;
	}			jobs[] = {
		{add_labels, &parts[2]}, {add_labels, &parts[3]}, {kill_labels, NULL}, {replace_labels, NULL},
		{link_waiting, NULL}, {repair_always, NULL}, {search_shared, &parts[0]},
		{search_shared, &parts[1]}, {search_shared, &parts[2]},
	};
	enum {JOBS = sizeof(jobs) / sizeof(jobs[0])};
	pthread_t	threads[JOBS];
	Prng		prng = {19};
	HnswReport	report;
	HnswStats	stats;
	VtError		err;

	metric = options.metric;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t label = 0; label < LABELS; label++)
	{
		uint32_t	slot;

		fill(old_rows[label], &prng);
		fill(new_rows[label], &prng);
		atomic_store(&phase[label], UNBORN);
		if (label >= LABELS / 2)
			continue;
		assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
		hnsw_add(h, slot, label, old_rows[label]);
		if (label % 5 != 0)
			hnsw_link_next(h);
		atomic_store(&slot_of[label], slot);
		atomic_store(&phase[label], ALIVE);
	}
	shared = hnsw_set_open(h);
	for (uint32_t label = 0; label < LABELS / 2; label++)
		hnsw_set_add(shared, atomic_load(&slot_of[label]));
	atomic_store(&adders, 2);
	atomic_store(&writers, 4);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, jobs[i].run, jobs[i].arg), 0);
	for (int i = 0; i < JOBS; i++)
		pthread_join(threads[i], NULL);
	if (complaint[0])
		fail_msg("%s", complaint);
	hnsw_set_close(shared);
	while (hnsw_link_next(h) || hnsw_repair(h, 1000, true))
		;
	if (!hnsw_check(h, &report))
		fail_msg("%s", report.first);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.dead, 0);
	assert_int_equal(stats.live, LABELS / 4 * 3);
	hnsw_destroy(h);
}

static void
one_set_on_floats(void **state)
{
	(void) state;
	one_set(HNSW_CODES_NONE);
}

static void
one_set_on_codes(void **state)
{
	(void) state;
	one_set(HNSW_CODES_INT8);
}

static void
all_at_once_on_floats(void **state)
{
	(void) state;
	all_at_once(HNSW_CODES_NONE, VEC_L2);
}

static void
all_at_once_on_codes(void **state)
{
	(void) state;
	all_at_once(HNSW_CODES_INT8, VEC_L2);
}

static void
all_at_once_by_angle(void **state)
{
	(void) state;
	all_at_once(HNSW_CODES_INT8, VEC_COSINE);
}

static void
all_at_once_in_taxis(void **state)
{
	(void) state;
	all_at_once(HNSW_CODES_NONE, VEC_L1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once_on_floats),
		cmocka_unit_test(all_at_once_on_codes),
		cmocka_unit_test(all_at_once_by_angle),
		cmocka_unit_test(all_at_once_in_taxis),
		cmocka_unit_test(one_set_on_floats),
		cmocka_unit_test(one_set_on_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
