/*-------------------------------------------------------------------------
 *
 * hnsw_table.c
 *	  A graph of no dimensions: records come, go, are replaced, moved and kept in a
 *	  file, as in any other, and nothing waits for them.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_owner.h"

#include "scratch.h"

#include <stdatomic.h>

#define MANY 5000
#define FEW 400

/* A vector that nobody may look at. */
static const float *const nothing = (const float *) 8;

static void
put_all(Owner *owner, uint32_t from, uint32_t to)
{
	for (uint32_t label = from; label < to; label++)
		put(owner, label, label, nothing);
}

static HnswStats
stats_of(Owner *owner)
{
	HnswStats	stats;

	hnsw_stats(owner->h, &stats);
	return stats;
}

/* Each label that should be there lives in its slot, and no other does. */
static void
assert_there(Owner *owner, uint32_t labels)
{
	HnswReport	report;
	uint32_t	live = 0;

	for (uint32_t label = 0; label < labels; label++)
		if (owner->slot_of[label] != NOWHERE)
		{
			live++;
			assert_true(hnsw_live(owner->h, owner->slot_of[label]));
			assert_int_equal(hnsw_label(owner->h, owner->slot_of[label]), label);
		}
	assert_int_equal(stats_of(owner).live, live);
	if (!hnsw_check(owner->h, &report))
		fail_msg("%s", report.first);
}

static void
options_of_others_are_refused(void **state)
{
	HnswOptions options = {.dim = 0, .metric = VEC_L2, .m = 16, .codes = HNSW_CODES_INT8};
	Hnsw	   *h;
	VtError		err;

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_INVALID);
	options.codes = HNSW_CODES_NONE;
	options.element = VEC_FLOAT16;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_INVALID);
	options.element = VEC_BIT;
	options.metric = VEC_HAMMING;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_INVALID);
}

static void
nothing_waits(void **state)
{
	Owner	   *owner = owner_new(0, 16, HNSW_CODES_NONE);

	(void) state;
	put_all(owner, 0, MANY);
	assert_int_equal(hnsw_waiting(owner->h), 0);
	assert_false(hnsw_link_next(owner->h));
	assert_int_equal(stats_of(owner).linked, MANY);
	assert_int_equal(stats_of(owner).link_distances, 0);
	assert_there(owner, MANY);

	/* Replaced and deleted: their slots are used again, though nobody has mended. */
	for (int round = 0; round < 5; round++)
		put_all(owner, 0, MANY);
	assert_true(stats_of(owner).used < 2 * MANY);
	for (uint32_t label = 0; label < MANY; label += 2)
		drop(owner, label);
	assert_there(owner, MANY);
	owner_free(owner);
}

/* Who has seen a slot may look at it until he leaves. */
static void
a_guard_holds_slots(void **state)
{
	Owner	   *owner = owner_new(0, 16, HNSW_CODES_NONE);
	uint32_t	guard = hnsw_enter(owner->h);
	uint32_t	seen;

	(void) state;
	put_all(owner, 0, FEW);
	seen = owner->slot_of[7];
	put_all(owner, 0, FEW);
	drop(owner, 7);
	mend(owner);
	for (int round = 0; round < 3; round++)
		put_all(owner, 8, FEW);
	assert_false(hnsw_live(owner->h, seen));
	assert_int_equal(hnsw_label(owner->h, seen), 7);
	assert_int_equal(stats_of(owner).free, 0);
	hnsw_leave(owner->h, guard);
	mend(owner);
	assert_int_equal(stats_of(owner).dead, 0);
	assert_there(owner, FEW);
	owner_free(owner);
}

static void
memory_comes_back(void **state)
{
	Owner	   *owner = owner_new(0, 16, HNSW_CODES_NONE);
	HnswStats	before;

	(void) state;
	put_all(owner, 0, MANY);
	before = stats_of(owner);
	for (uint32_t label = 0; label < MANY; label++)
		if (label < FEW || label >= 2 * FEW)
			drop(owner, label);
	mend(owner);				/* until there is nothing to do: once is enough */
	assert_true(stats_of(owner).moved > 0);
	assert_true(stats_of(owner).used < before.used / 2);
	assert_true(stats_of(owner).bytes < before.bytes / 2);
	assert_there(owner, MANY);
	hnsw_look_over(owner->h);
	mend(owner);
	assert_int_equal(stats_of(owner).looks, 1);
	assert_int_equal(stats_of(owner).unreachable, 0);
	owner_free(owner);
}

static bool
note(void *arg, uint32_t slot, Buf *out)
{
	buf_put_u64(out, hnsw_label(((Owner *) arg)->h, slot));
	return true;
}

static bool
tell(void *arg, uint32_t slot, uint64_t label, Bytes text)
{
	Owner	   *owner = arg;

	if (text.len != 8 || get_le64(text.data) != label || label >= LABELS)
		return false;
	owner->slot_of[label] = slot;
	return true;
}

static void
a_file_brings_all_back(void **state)
{
	Owner	   *owner = owner_new(0, 16, HNSW_CODES_NONE);
	Owner		again;
	HnswOptions options = {.dim = 0, .metric = VEC_L2, .m = 16, .ef_construction = 60, .seed = 7};
	const char *path = scratch_path("table");
	HnswSave	save = {.path = path, .tag = bytes_str("mine"), .note = note, .arg = owner};
	HnswLoad	load = {.path = path, .tag = bytes_str("mine"), .each = tell, .arg = &again};
	VtError		err;

	(void) state;
	put_all(owner, 0, MANY);
	for (uint32_t label = 0; label < MANY; label += 5)
		drop(owner, label);
	assert_int_equal(hnsw_save(owner->h, &save, &err), VT_OK);
	owner_free(owner);

	memset(&again, 0, sizeof(again));
	memset(again.slot_of, 0xff, sizeof(again.slot_of));
	pthread_mutex_init(&again.lock, NULL);
	options.dim = 4;
	assert_int_equal(hnsw_load(&options, &load, &again.h, &err), VT_INVALID);
	options.dim = 0;
	assert_int_equal(hnsw_load(&options, &load, &again.h, &err), VT_OK);
	for (uint32_t label = 0; label < MANY; label++)
	{
		assert_int_equal(again.slot_of[label] != NOWHERE, label % 5 != 0);
		if (label % 5 == 1)
			again.slot_of[label] = NOWHERE;		/* gone meanwhile: a claim that nobody makes */
		else if (label % 5 != 0)
			hnsw_restore(again.h, again.slot_of[label], nothing);
	}
	hnsw_loaded(again.h);
	assert_there(&again, MANY);
	put_all(&again, 0, MANY);
	mend(&again);
	assert_int_equal(stats_of(&again).dead, 0);
	assert_there(&again, MANY);
	hnsw_destroy(again.h);
	pthread_mutex_destroy(&again.lock);
}

static atomic_int working;

static void *
put_and_mend(void *arg)
{
	Owner	   *owner = arg;

	while (atomic_load(&working))
	{
		put_all(owner, 0, FEW);
		(void) hnsw_repair(owner->h, 100, true);
	}
	return NULL;
}

/* What is written while records come and go: those that live, and nothing that is dead or not yet there. */
static void
a_file_of_a_table_at_work(void **state)
{
	Owner	   *owner = owner_new(0, 16, HNSW_CODES_NONE);
	HnswOptions options = {.dim = 0, .metric = VEC_L2, .m = 16, .ef_construction = 60, .seed = 7};
	const char *path = scratch_path("at_work");
	HnswSave	save = {.path = path, .tag = bytes_str("mine"), .note = note, .arg = owner};
	pthread_t	thread;
	VtError		err;

	(void) state;
	put_all(owner, 0, FEW);
	atomic_store(&working, 1);
	assert_int_equal(pthread_create(&thread, NULL, put_and_mend, owner), 0);
	for (int round = 0; round < 20; round++)
	{
		Owner		again;
		HnswLoad	load = {.path = path, .tag = bytes_str("mine"), .each = tell, .arg = &again};

		memset(again.slot_of, 0xff, sizeof(again.slot_of));
		assert_int_equal(hnsw_save(owner->h, &save, &err), VT_OK);
		assert_int_equal(hnsw_load(&options, &load, &again.h, &err), VT_OK);
		for (uint32_t label = 0; label < FEW; label++)
			if (again.slot_of[label] != NOWHERE)
				hnsw_restore(again.h, again.slot_of[label], nothing);
		hnsw_loaded(again.h);
		/* A label may be there twice, as two versions; of those only the last one is restored. */
		assert_true(stats_of(&again).dead <= FEW);
		assert_int_equal(stats_of(&again).dead + stats_of(&again).live, stats_of(&again).linked);
		hnsw_destroy(again.h);
	}
	atomic_store(&working, 0);
	pthread_join(thread, NULL);
	assert_there(owner, FEW);
	owner_free(owner);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_of_others_are_refused),
		cmocka_unit_test(nothing_waits),
		cmocka_unit_test(a_guard_holds_slots),
		cmocka_unit_test(memory_comes_back),
		cmocka_unit_test_setup_teardown(a_file_brings_all_back, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_file_of_a_table_at_work, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("hnsw_table", tests, NULL, NULL);
}
