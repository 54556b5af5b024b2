/*-------------------------------------------------------------------------
 *
 * pd_stall.c
 *	  Splits that are not made yet and come no further: they give way to what else has
 *	  to be done to their shard, and to nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static void
run_on(PdWorld *w, int seconds)
{
	for (int64_t until = w->now + seconds * SECOND_US; w->now < until;)
	{
		tick(w);
		operators_look(&w->pd);
	}
}

static CatalogShard *
shard_of(PdWorld *w, uint64_t id, CatalogCollection **c)
{
	CatalogShard *shard = find_shard(&w->pd, id, c);

	assert_non_null(shard);
	return shard;
}

static PlanKind
plan_of(PdWorld *w, uint64_t id)
{
	CatalogCollection *c;

	return shard_of(w, id, &c)->plan.kind;
}

static uint64_t
begin_split(PdWorld *w, uint64_t id)
{
	CatalogCollection *c;
	CatalogShard *shard = shard_of(w, id, &c);
	Changes		changes;
	uint64_t	child;

	assert_null(split_objection(&w->pd, c, shard));
	changes_begin(&w->pd, &changes);
	child = split_begin(&changes, c, shard);
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	return child;
}

/* So many stores that prepare splits, of which one of the shard's never comes to an end; one shard, which is being split. */
static PdWorld *
cluster_with_a_split(uint32_t stores, bool stuck, uint64_t *id, uint64_t *child)
{
	PdWorld    *w = cluster(1, stores);
	CatalogCollection *c = create(w, 1, 3);

	*id = c->shards[0].desc.shard;
	settle(w, 3, 10);
	for (uint32_t i = 0; i < stores; i++)
	{
		w->stores[i].prepares = true;
		w->stores[i].stuck = stuck && w->stores[i].id == shard_of(w, *id, &c)->desc.replicas[1].store;
	}
	run_on(w, 2);
	*child = begin_split(w, *id);
	return w;
}

static void
end(PdWorld *w)
{
	assert_int_equal(w->lost, 0);
	cluster_end(w);
}

static void
drain(PdWorld *w, uint64_t store)
{
	CatalogStore changed = *catalog_store(w->pd.catalog, store);
	Buf			command = {0};

	changed.draining = true;
	command_begin(&command);
	command_store(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
}

static void
want(PdWorld *w, uint64_t id, uint32_t replicas)
{
	CatalogCollection *c;
	Changes		changes;

	shard_of(w, id, &c);
	changes_begin(&w->pd, &changes);
	changes_of(&changes, c)->replicas_wanted = replicas;
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	w->wanted = replicas;
}

/* How the last change ended, and how many splits were given up. */
static void
expect_given_up(PdWorld *w, uint64_t times)
{
	assert_int_equal(w->pd.ended[PLAN_SPLIT][ENDING_GIVEN_UP], times);
	assert_int_equal(w->pd.ended[PLAN_SPLIT][ENDING_DONE], 0);
}

/* Half an hour is as long as it may take, where nobody waits. */
static void
nobody_waits(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);

	(void) state;
	run_on(w, 600);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	assert_int_equal(w->splits_asked, 0);
	expect_given_up(w, 0);
	end(w);
}

static void
a_drain_waits(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);
	CatalogCollection *c;

	(void) state;
	run_on(w, 60);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	drain(w, shard_of(w, id, &c)->desc.replicas[0].store);
	run_on(w, 2);
	expect_given_up(w, 1);
	assert_int_equal(w->pd.last_ended[0].kind, PLAN_SPLIT);
	assert_true(w->pd.last_ended[0].at_us - w->pd.last_ended[0].since_us >= 60 * SECOND_US);
	assert_int_equal(plan_of(w, id), PLAN_DRAIN);
	settle(w, 3, 30);
	assert_int_equal(w->splits_asked, 0);

	/* By size it is not begun again at once, by somebody's word it may be. */
	for (size_t i = 0; i < w->pd.nbeats; i++)
	{
		Report	   *report = report_in(w->pd.beats[i], id);

		if (report && report->leader)
		{
			report->records = 1001;
			load_take(&w->pd, w->pd.beats[i]->store, report);
		}
	}
	w->pd.options.split_rows = 1000;
	w->pd.splits_due_us = 0;
	splits_look(&w->pd);
	assert_int_equal(plan_of(w, id), PLAN_NONE);
	w->pd.now_us += 300 * SECOND_US;	/* since then none of its reports is too old */
	w->pd.splits_due_us = 0;
	for (size_t i = 0; i < w->pd.nbeats; i++)
		w->pd.beats[i]->at_us = w->pd.now_us;
	splits_look(&w->pd);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	w->pd.now_us = w->now;
	end(w);
}

/* What has just begun has its half minute, in which it would be ready as a rule. */
static void
more_replicas_are_wanted(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);

	(void) state;
	want(w, id, 4);
	run_on(w, 28);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	run_on(w, 5);
	expect_given_up(w, 1);
	settle(w, 4, 30);
	end(w);
}

/* It helps nobody to give it up where there is no other store. */
static void
there_is_nowhere_to_go(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(3, true, &id, &child);
	CatalogCollection *c;

	(void) state;
	drain(w, shard_of(w, id, &c)->desc.replicas[0].store);
	run_on(w, 120);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	expect_given_up(w, 0);
	end(w);
}

/* Somebody moves a replica. */
static void
a_move_is_asked_for(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);
	CatalogCollection *c;
	uint64_t	from;
	uint64_t	to = 0;
	uint64_t	unused;
	VtError		err = {0};

	(void) state;
	from = shard_of(w, id, &c)->desc.replicas[0].store;
	for (uint32_t i = 0; i < w->nstores; i++)
		if (!operate_has_replica(shard_of(w, id, &c), w->stores[i].id, &unused))
			to = w->stores[i].id;
	run_on(w, 10);
	expect(operate_move(&w->pd, id, from, to, &err), VT_BUSY, &err, "vectronctl cancel");
	run_on(w, 30);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);

	/* Who leads is no matter of a split's, and not worth one. */
	expect(operate_transfer(&w->pd, id, from, &err), VT_BUSY, &err, "is being split");

	/* What cannot be done ends nothing. */
	expect(operate_move(&w->pd, id, from, from, &err), VT_EXISTS, &err, NULL);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	expect_given_up(w, 0);
	expect(operate_move(&w->pd, id, from, to, &err), VT_OK, &err, NULL);
	assert_int_equal(plan_of(w, id), PLAN_MOVE);
	expect_given_up(w, 1);
	settle(w, 3, 30);
	assert_false(operate_has_replica(shard_of(w, id, &c), from, &unused));
	end(w);
}

/* A lost replica waits for nothing; and it is no split that is done. */
static void
a_replica_is_lost(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);
	CatalogCollection *c;

	(void) state;
	run_on(w, 1);
	for (uint32_t i = 0; i < w->nstores; i++)
		if (w->stores[i].id == shard_of(w, id, &c)->desc.replicas[0].store)
			store_dies(w, i);
	run_on(w, 65);
	expect_given_up(w, 1);
	settle(w, 3, 60);
	end(w);
}

/* A leader that was asked may have done it: it has its time from then on. */
static void
its_leader_refuses(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);
	CatalogCollection *c;

	(void) state;
	run_on(w, 60);
	for (uint32_t i = 0; i < w->nstores; i++)
		w->stores[i].stuck = false;

	/* Also before it has been noted that it is asked. */
	run_seconds(w, 5);
	assert_true(w->splits_asked > 0);
	drain(w, shard_of(w, id, &c)->desc.replicas[0].store);
	run_seconds(w, 2);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	run_on(w, 20);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	run_on(w, 15);
	expect_given_up(w, 1);
	settle(w, 3, 30);
	end(w);
}

/* Where nobody waits it is asked for plan_timeout. */
static void
its_leader_refuses_and_nobody_waits(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, false, &id, &child);

	(void) state;
	w->pd.options.plan_timeout_us = 120 * SECOND_US;
	run_on(w, 110);
	assert_true(w->splits_asked > 0);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	run_on(w, 20);
	assert_int_equal(plan_of(w, id), PLAN_NONE);
	expect_given_up(w, 1);
	assert_int_equal(unsettled(w, 3, true), 0);
	end(w);
}

/* Law D1: what was made goes forward, whoever waits. */
static void
it_was_made(void **state)
{
	uint64_t	id;
	uint64_t	made;
	PdWorld    *w = cluster_with_a_split(4, false, &id, &made);
	CatalogCollection *c;
	CatalogShard *shard;
	Beat		beat = {.children = vt_alloc0(sizeof(WireShardDesc)), .nchildren = 1};
	Changes		changes;
	WireShardDesc *child = &beat.children[0];
	uint64_t	from;
	VtError		err = {0};

	(void) state;
	run_on(w, 60);
	shard = shard_of(w, id, &c);
	*child = shard->desc;
	child->shard = made;
	child->parent = id;
	child->first = shard->plan.split_at;
	child->range_ver++;
	child->base_index = 77;
	for (int i = 0; i < child->nreplicas; i++)
		child->replicas[i].replica = made + 1 + (uint64_t) i;
	from = child->replicas[0].store;
	changes_begin(&w->pd, &changes);
	splits_learn(&w->pd, &changes, &beat);
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	free(beat.children);
	drain(w, from);
	want(w, id, 4);
	w->pd.options.plan_timeout_us = 60 * SECOND_US;

	/* Nobody has the child's replicas in this model, so it is never over. */
	for (int i = 0; i < 300; i++)
	{
		w->now += SECOND_US;
		w->pd.now_us = w->now;
		for (size_t k = 0; k < w->pd.nbeats; k++)
			w->pd.beats[k]->at_us = w->now;
		plans_look(&w->pd);
		operators_look(&w->pd);
		assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	}

	/* A replica is lost. */
	w->now += 100 * SECOND_US;
	w->pd.now_us = w->now;
	for (size_t k = 0; k < w->pd.nbeats; k++)
		if (w->pd.beats[k]->store != from)
			w->pd.beats[k]->at_us = w->now;
	plans_look(&w->pd);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	expect(operate_move(&w->pd, id, from, w->stores[3].id, &err), VT_BUSY, &err, "is being split");
	expect_given_up(w, 0);
	assert_int_equal(shard_of(w, made, &c)->desc.parent, id);
	end(w);
}

/* Another driver gives it its time anew, and no more. */
static void
another_driver_leads(void **state)
{
	uint64_t	id;
	uint64_t	child;
	PdWorld    *w = cluster_with_a_split(4, true, &id, &child);
	CatalogCollection *c;

	(void) state;
	run_on(w, 60);
	drain(w, shard_of(w, id, &c)->desc.replicas[0].store);
	another_driver(w);
	run_on(w, 20);
	assert_int_equal(plan_of(w, id), PLAN_SPLIT);
	run_on(w, 25);
	expect_given_up(w, 1);
	settle(w, 3, 30);
	end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_waits, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_drain_waits, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(more_replicas_are_wanted, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(there_is_nowhere_to_go, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_move_is_asked_for, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_replica_is_lost, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(its_leader_refuses, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(its_leader_refuses_and_nobody_waits, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(it_was_made, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(another_driver_leads, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("pd_stall", tests, NULL, NULL);
}
