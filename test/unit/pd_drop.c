/*-------------------------------------------------------------------------
 *
 * pd_drop.c
 *	  How long the data of a dropped collection is kept (law W8), and that it
 *	  goes everywhere, also where nobody was at home.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static PdWorld *
driver_with(VtId *generation)
{
	PdWorld    *w = cluster(1, 3);

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
set_state(PdWorld *w, const VtId *generation, CollectionState state, int64_t unused_us)
{
	CatalogCollection changed = *catalog_collection(w->pd.catalog, generation);
	Buf			command = {0};

	changed.state = state;
	changed.unused_us = unused_us;
	command_begin(&command);
	command_lived(&command, pd_lived_us(&w->pd));
	command_collection(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
}

static void
hide(PdWorld *w, const VtId *generation)
{
	set_state(w, generation, COLLECTION_HIDDEN, pd_lived_us(&w->pd));
}

static void
unhide(PdWorld *w, const VtId *generation)
{
	set_state(w, generation, COLLECTION_LIVE, 0);
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
	cluster_end(w);
}

/* Another driver begins to lead, whose wall clock is somewhere else. */
static void
succeed(PdWorld *w, int64_t wall_ahead_s)
{
	pd_end(w);
	pd_begin(w);
	w->pd.wall_ahead_us = wall_ahead_s * SECOND_US;
	drops_reign(&w->pd);
}

/* What drivers counted before counts, but for the last minute. */
static void
the_time_before_this_driver_counts(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);

	(void) state;
	hide(w, &generation);
	assert_int_equal(state_after(w, &generation, 3000), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 59), COLLECTION_HIDDEN);
	succeed(w, 0);
	assert_int_equal(state_after(w, &generation, 598), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 4), COLLECTION_DOOMED);
	cluster_end(w);
}

/* Nobody's wall clock counts, neither one that is years ahead nor one that is behind. */
static void
a_successor_with_another_clock_dooms_nothing_early(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);

	(void) state;
	succeed(w, 0);
	hide(w, &generation);
	assert_int_equal(state_after(w, &generation, 1000), COLLECTION_HIDDEN);
	succeed(w, 100000000);
	assert_int_equal(state_after(w, &generation, 1000), COLLECTION_HIDDEN);
	succeed(w, -900);
	assert_int_equal(state_after(w, &generation, 1000), COLLECTION_HIDDEN);
	succeed(w, 100000000);
	assert_int_equal(state_after(w, &generation, 590), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 20), COLLECTION_DOOMED);
	cluster_end(w);
}

/* A long reign in which nothing waited is not counted as waiting, whoever noted what of it. */
static void
a_reign_before_the_drop_does_not_count(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);

	(void) state;
	hide(w, &generation);		/* the count is noted, and then nothing waits */
	assert_int_equal(state_after(w, &generation, 1), COLLECTION_HIDDEN);
	unhide(w, &generation);
	state_after(w, &generation, 50000);
	hide(w, &generation);
	succeed(w, 0);
	assert_int_equal(state_after(w, &generation, 3590), COLLECTION_HIDDEN);
	assert_int_equal(state_after(w, &generation, 20), COLLECTION_DOOMED);
	cluster_end(w);
}

/* Ticks of the workers, with the driver's looks at what is dropped. */
static void
run_drops(PdWorld *w, int seconds)
{
	for (int64_t until = w->now + seconds * SECOND_US; w->now < until;)
	{
		tick(w);
		drops_look(&w->pd);
	}
}

static bool
is_gone(PdWorld *w, const VtId *generation)
{
	return catalog_collection(w->pd.catalog, generation) == NULL;
}

static size_t
owed_by(PdWorld *w, uint64_t store)
{
	size_t		n;

	catalog_owed(w->pd.catalog, store, &n);
	return n;
}

/* A store is away, for long or for good: the others do not wait for it. */
static void
a_lost_store_holds_no_drop_up(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);
	WStore	   *away = &w->stores[1];

	(void) state;
	w->pd.options.keep_dropped_us = 5 * SECOND_US;
	assert_int_equal(away->n, 2);
	store_dies(w, 1);
	hide(w, &generation);
	run_drops(w, 20);
	assert_int_equal(w->stores[0].n, 0);
	assert_int_equal(w->stores[2].n, 0);
	assert_false(is_gone(w, &generation));	/* it may be restarting */
	run_drops(w, 60);
	assert_true(is_gone(w, &generation));
	assert_int_equal(owed_by(w, away->id), 2);

	/* Another driver leads when it comes back: nothing of it lives on. */
	pd_end(w);
	pd_begin(w);
	run_drops(w, 5);
	away->alive = true;
	run_drops(w, 10);
	assert_int_equal(away->n, 0);
	assert_int_equal(owed_by(w, away->id), 0);
	cluster_end(w);
}

/* Its disk was replaced; then the old one is put back in its place. */
static void
a_disk_that_is_put_back_is_emptied(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);
	WStore		old = w->stores[1];

	(void) state;
	w->pd.options.keep_dropped_us = 5 * SECOND_US;
	hide(w, &generation);
	store_is_replaced(w, 1);
	run_drops(w, 20);
	assert_true(is_gone(w, &generation));
	w->stores[1] = old;
	w->stores[1].beat_due = w->now;
	run_drops(w, 10);
	assert_int_equal(w->stores[1].n, 0);
	assert_int_equal(w->pd.catalog->nowed, 0);
	cluster_end(w);
}

/*
 * A replica's place was taken while its store was away, and then the whole
 * collection was dropped: the store still has it, and nothing else says so.
 */
static void
a_replica_that_was_replaced_does_not_outlive_its_collection(void **state)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));
	VtId		generation;

	(void) state;
	world_begin(w, 2, 4);
	run_seconds(w, 3);
	generation = create(w, 4, 3)->generation;
	settle(w, 3, 10);
	w->pd.options.keep_dropped_us = 5 * SECOND_US;
	assert_true(w->stores[1].n > 0);
	store_dies(w, 1);
	settle(w, 3, 120);
	hide(w, &generation);
	run_drops(w, 20);
	assert_true(is_gone(w, &generation));
	w->stores[1].alive = true;
	run_drops(w, 10);
	assert_int_equal(w->stores[1].n, 0);
	assert_int_equal(w->pd.catalog->nowed, 0);
	cluster_end(w);
}

/*
 * A disk that was short when its store was heard last: nothing is freed there while it is
 * away, and one dropped index after the other would go for that.
 */
static void
a_lost_store_with_a_short_disk_dooms_no_more(void **state)
{
	(void) state;
	for (int forgotten = 0; forgotten < 2; forgotten++)
	{
		VtId		first;
		VtId		second;
		PdWorld    *w = driver_with(&first);
		uint64_t	away = w->stores[1].id;

		second = create(w, 2, 3)->generation;
		settle(w, 3, 10);
		hide(w, &first);
		run_drops(w, 1);
		hide(w, &second);
		w->stores[1].disk_short = true;
		for (int i = 0; i < 100 && !beat_of(&w->pd, away)->disk_short; i++)
			tick(w);
		store_dies(w, 1);
		run_seconds(w, 2);		/* what it sent has come */
		assert_true(beat_of(&w->pd, away)->disk_short);
		if (!forgotten)
		{
			run_drops(w, 1);
			assert_int_equal(catalog_collection(w->pd.catalog, &first)->state, COLLECTION_DOOMED);
			run_drops(w, 100);
			assert_true(is_gone(w, &first));
		}
		else
		{
			const CatalogStore *row = catalog_store(w->pd.catalog, away);
			Buf			command = {0};

			command_begin(&command);
			store_goes(&w->pd, row, &command);
			world_commit(&w->pd, &command);
			buf_free(&command);
			run_drops(w, 100);
			assert_false(is_gone(w, &first));
			assert_int_equal(catalog_collection(w->pd.catalog, &first)->state, COLLECTION_HIDDEN);
		}
		assert_false(is_gone(w, &second));
		assert_int_equal(catalog_collection(w->pd.catalog, &second)->state, COLLECTION_HIDDEN);
		cluster_end(w);
	}
}

/* A replica on its way to a store that was forgotten meanwhile: nobody owes it, since nobody comes back to say that it went. */
static void
a_forgotten_store_owes_nothing(void **state)
{
	VtId		generation;
	PdWorld    *w = driver_with(&generation);
	CatalogCollection changed;
	uint64_t	away = w->stores[2].id;
	Buf			command = {0};

	(void) state;
	store_dies(w, 2);
	run_seconds(w, 2);
	changed = *catalog_collection(w->pd.catalog, &generation);
	changed.shards = vt_alloc(sizeof(CatalogShard) * changed.nshards);
	memcpy(changed.shards, catalog_collection(w->pd.catalog, &generation)->shards, sizeof(CatalogShard) * changed.nshards);
	for (uint32_t i = 0; i < changed.nshards; i++)
	{
		WireShardDesc *desc = &changed.shards[i].desc;
		uint8_t		n = 0;

		for (int k = 0; k < desc->nreplicas; k++)
			if (desc->replicas[k].store != away)
				desc->replicas[n++] = desc->replicas[k];
		desc->nreplicas = n;
		changed.shards[i].plan = (Plan) {.kind = PLAN_GROW, .add_store = away, .add_replica = 70000 + i};
	}
	changed.state = COLLECTION_DOOMED;
	command_begin(&command);
	command_collection(&command, &changed);
	store_goes(&w->pd, catalog_store(w->pd.catalog, away), &command);
	world_commit(&w->pd, &command);
	buf_free(&command);
	free(changed.shards);
	run_drops(w, 20);
	assert_true(is_gone(w, &generation));
	assert_int_equal(w->pd.catalog->nowed, 0);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_clock_that_is_set_ahead_deletes_nothing),
		TEST(the_time_before_this_driver_counts),
		TEST(a_successor_with_another_clock_dooms_nothing_early),
		TEST(a_reign_before_the_drop_does_not_count),
		TEST(a_lost_store_holds_no_drop_up),
		TEST(a_disk_that_is_put_back_is_emptied),
		TEST(a_replica_that_was_replaced_does_not_outlive_its_collection),
		TEST(a_lost_store_with_a_short_disk_dooms_no_more),
		TEST(a_forgotten_store_owes_nothing),
	};

	return cmocka_run_group_tests_name("pd_drop", tests, NULL, NULL);
}
