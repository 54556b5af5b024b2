/*-------------------------------------------------------------------------
 *
 * pd_room.c
 *	  Stores whose disk or memory is nearly used up get nothing new.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static Beat *
beat(PdWorld *w, int i)
{
	return beat_of(&w->pd, w->stores[i].id);
}

/* Replicas of a collection that a store is to have. */
static size_t
replicas_at(const CatalogCollection *c, uint64_t store)
{
	size_t		n = 0;

	for (uint32_t i = 0; i < c->nshards; i++)
		for (int k = 0; k < c->shards[i].desc.nreplicas; k++)
			n += c->shards[i].desc.replicas[k].store == store;
	return n;
}

/* What create() makes a refusal of. */
static VtStatus
try_to_create(PdWorld *w, VtError *err)
{
	char		generation[VT_ID_TEXT];
	VtId		id;
	json_t	   *body;
	CatalogCollection *c;
	VtStatus	status;

	vt_id_random(&id);
	vt_id_format(&id, generation);
	body = json_pack("{s:s,s:{s:s,s:s,s:i},s:i,s:s,s:i,s:i,s:i,s:i,s:s}", "generation", generation,
					 "owner", "system", "7", "incarnation", generation, "database", 5,
					 "dim", 3, "metric", "l2", "m", 16, "ef_construction", 100,
					 "shards", 2, "replicas", 3, "xid", "1");
	status = collection_create(&w->pd, body, &c, err);
	json_decref(body);
	return status;
}

static void
set_limit(PdWorld *w, int i, uint64_t memory, uint64_t limit)
{
	beat(w, i)->memory = memory;
	beat(w, i)->facts.memory_limit = limit;
	beat_weigh_memory(beat(w, i));
}

static void
new_collections_go_where_there_is_room(void **state)
{
	PdWorld    *w = cluster(31, 5);
	CatalogCollection *c;
	VtError		err = {0};

	(void) state;
	beat(w, 0)->disk_short = true;
	set_limit(w, 1, 95, 100);
	c = create(w, 6, 3);
	assert_int_equal(replicas_at(c, w->stores[0].id), 0);
	assert_int_equal(replicas_at(c, w->stores[1].id), 0);
	assert_int_equal(replicas_at(c, w->stores[2].id), 6);

	/* Rather fewer replicas, which more are added to later, than on disks that fill up. */
	beat(w, 2)->disk_short = beat(w, 3)->disk_short = true;
	c = create(w, 2, 3);
	assert_int_equal(replicas_at(c, w->stores[4].id), 2);
	assert_int_equal(c->shards[0].desc.nreplicas, 1);

	/* But rather there than nowhere. */
	beat(w, 4)->disk_short = beat(w, 4)->facts.disk_full = true;
	beat(w, 0)->facts.disk_full = true;
	set_limit(w, 1, 100, 100);
	c = create(w, 4, 3);
	assert_int_equal(c->shards[0].desc.nreplicas, 2);
	assert_int_equal(replicas_at(c, w->stores[2].id), 4);
	assert_int_equal(replicas_at(c, w->stores[3].id), 4);

	set_limit(w, 2, 101, 100);
	beat(w, 3)->facts.disk_full = true;
	expect(try_to_create(w, &err), VT_FULL, &err, "has room");
	for (int i = 0; i < 5; i++)
		beat(w, i)->at_us = w->pd.now_us - 100 * SECOND_US;
	expect(try_to_create(w, &err), VT_UNAVAILABLE, &err, "no worker is up");
	cluster_end(w);
}

/* Nor do replicas move there. */
static void
nothing_moves_where_there_is_none(void **state)
{
	PdWorld    *w = cluster(32, 2);
	PlanStore	store;

	(void) state;
	run_seconds(w, 60);
	assert_true(operate_store(&w->pd, w->stores[0].id, &store) && store.takes);
	set_limit(w, 0, 89, 100);
	assert_true(operate_store(&w->pd, w->stores[0].id, &store) && store.takes);
	set_limit(w, 0, 90, 100);
	assert_true(operate_store(&w->pd, w->stores[0].id, &store) && !store.takes);
	set_limit(w, 0, 90, 0);
	beat(w, 0)->disk_short = true;
	assert_true(operate_store(&w->pd, w->stores[0].id, &store) && !store.takes);
	cluster_end(w);
}

/* A store says so many of 1000 MiB are records, and so many all. */
static bool
takes_with(PdWorld *w, int i, int records, int all)
{
	char		limit[32];
	char		stays[32];
	json_t	   *body;
	PlanStore	store;

	snprintf(limit, sizeof(limit), "%d", 1000 << 20);
	snprintf(stays, sizeof(stays), "%d", records << 20);
	body = json_pack("{s:s,s:{s:s,s:s}}", "memory_limit", limit, "memory_of", "records", stays, "shards", "0");
	beat(w, i)->memory = (uint64_t) all << 20;
	facts_take(beat(w, i), body);
	json_decref(body);
	assert_true(operate_store(&w->pd, w->stores[i].id, &store));
	assert_int_equal(store.takes, store_room(beat(w, i)) == ROOM_ENOUGH);
	return store.takes;
}

/* What comes and goes with leaders moves none: only what stays counts, and its limit has a gap. */
static void
what_goes_by_itself_moves_no_leaders(void **state)
{
	PdWorld    *w = cluster(33, 2);

	(void) state;
	run_seconds(w, 60);
	for (int i = 0; i < 4; i++)
		assert_true(takes_with(w, 0, 600, i % 2 ? 920 : 650));
	assert_true(takes_with(w, 0, 670, 1001));
	assert_false(takes_with(w, 0, 675, 700));
	assert_false(takes_with(w, 0, 670, 700));
	assert_false(takes_with(w, 0, 600, 700));
	assert_int_equal(store_room(beat(w, 0)), ROOM_LITTLE);
	assert_true(takes_with(w, 0, 599, 700));
	assert_true(takes_with(w, 0, 670, 700));
	assert_false(takes_with(w, 0, 750, 760));
	assert_int_equal(store_room(beat(w, 0)), ROOM_NONE);
	cluster_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(new_collections_go_where_there_is_room, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(nothing_moves_where_there_is_none, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_goes_by_itself_moves_no_leaders, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("pd_room", tests, NULL, NULL);
}
