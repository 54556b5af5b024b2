/*-------------------------------------------------------------------------
 *
 * pd_drop.c
 *	  How long the data of a dropped collection is kept (law W8).
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static PdWorld *
driver_with(VtId *generation)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));

	world_begin(w, 1, 3);
	run_seconds(w, 3);
	*generation = create(w, 2, 3)->generation;
	settle(w, 3, 10);
	return w;
}

static CollectionState
state_after(PdWorld *w, const VtId *generation, int64_t seconds)
{
	w->now += seconds * SECOND_US;
	w->pd.now_us = w->now;
	drops_look(&w->pd);
	return catalog_collection(w->pd.catalog, generation)->state;
}

static void
hide(PdWorld *w, const VtId *generation)
{
	CatalogCollection changed = *catalog_collection(w->pd.catalog, generation);
	Buf			command = {0};

	changed.state = COLLECTION_HIDDEN;
	changed.unused_us = pd_wall_us(&w->pd);
	command_begin(&command);
	command_collection(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
}

/* The wall clock of the machine that runs this is decades ahead of the driver's. */
static void
a_clock_that_is_set_ahead_deletes_nothing(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);

	(void) state;
	hide(w, &generation);
	assert_int_equal(state_after(w, &generation, 2), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 3590), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 10), COLLECTION_DOOMED);
	world_end(w);
	free(w);
}

/* A driver that begins to lead goes by the wall clock as it finds it then. */
static void
the_time_before_this_driver_counts(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);

	(void) state;
	hide(w, &generation);
	pd_end(w);
	pd_begin(w);
	w->pd.wall_ahead_us = 3590 * SECOND_US;
	assert_int_equal(state_after(w, &generation, 2), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 10), COLLECTION_DOOMED);
	world_end(w);
	free(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_clock_that_is_set_ahead_deletes_nothing),
		TEST(the_time_before_this_driver_counts),
	};

	return cmocka_run_group_tests_name("pd_drop", tests, NULL, NULL);
}
