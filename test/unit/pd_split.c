/*-------------------------------------------------------------------------
 *
 * pd_split.c
 *	  A split in the eyes of the placement driver: decided, asked for, reported,
 *	  settled; and given up before, but not after.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static CatalogShard *
shard_of(PdWorld *w, uint64_t id, CatalogCollection **c)
{
	CatalogShard *shard = find_shard(&w->pd, id, c);

	assert_non_null(shard);
	return shard;
}

/* Its leader says that it has so much. */
static void
weigh(PdWorld *w, uint64_t shard, uint64_t rows, uint64_t bytes)
{
	for (size_t i = 0; i < w->pd.nbeats; i++)
	{
		Report	   *report = report_in(w->pd.beats[i], shard);

		if (!report)
			continue;
		report->records = rows;
		report->bytes = bytes;
		if (report->leader)
			load_take(&w->pd, w->pd.beats[i]->store, report);
	}
}

/* A cluster of three with one shard, which is beyond the size at which it is split. */
static PdWorld *
cluster_with_a_large_shard(uint64_t *parent)
{
	PdWorld    *w = cluster(1, 3);
	CatalogCollection *c;

	c = create(w, 1, 3);
	*parent = c->shards[0].desc.shard;	/* settling makes another row of it */
	settle(w, 3, 10);
	weigh(w, *parent, 1001, 0);
	return w;
}

static void
begin_split(PdWorld *w)
{
	w->pd.options.split_rows = 1000;
	w->pd.splits_due_us = 0;
	splits_look(&w->pd);
	w->pd.options.split_rows = 0;
}

/* What the leader is asked to make; false: it is asked nothing. */
static bool
asked_for(PdWorld *w, uint64_t parent, WireShardDesc *child)
{
	CatalogCollection *c;
	CatalogShard *shard = shard_of(w, parent, &c);
	json_t	   *task = split_task(c, shard);

	if (!task)
		return false;
	assert_true(get_desc(json_object_get(task, "desc"), child));
	json_decref(task);
	return true;
}

/* A store says that it has applied this. */
static void
report(PdWorld *w, const WireShardDesc *child)
{
	Beat		beat = {.children = vt_alloc(sizeof(WireShardDesc)), .nchildren = 1};
	Changes		changes;

	beat.children[0] = *child;
	changes_begin(&w->pd, &changes);
	splits_learn(&w->pd, &changes, &beat);
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	free(beat.children);
}

/* So many of its replicas have been reported by their stores. */
static void
see(PdWorld *w, uint64_t id, uint16_t seen)
{
	CatalogCollection *c;
	CatalogShard *shard = shard_of(w, id, &c);
	Changes		changes;

	changes_begin(&w->pd, &changes);
	changes_of_shard(&changes, c, shard)->seen = seen;
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
}

/* Each store reports its replica of the child, with so much of its log; a child's id comes behind all others. */
static void
hear(PdWorld *w, const WireShardDesc *child, uint64_t applied, int stores)
{
	for (int i = 0; i < stores; i++)
	{
		Beat	   *beat = beat_of(&w->pd, child->replicas[i].store);
		Report	   *report = report_in(beat, child->shard);

		if (!report)
		{
			beat->reports = vt_realloc(beat->reports, sizeof(Report) * (beat->nreports + 1));
			report = &beat->reports[beat->nreports++];
			memset(report, 0, sizeof(*report));
			report->shard = child->shard;
			report->replica = child->replicas[i].replica;
		}
		report->applied = applied;
	}
}

static bool
is_over(PdWorld *w, uint64_t id)
{
	CatalogCollection *c;
	CatalogShard *shard = shard_of(w, id, &c);
	PlanShard	picture;

	return operate_step(&w->pd, c, shard, &picture).kind == STEP_END;
}

/* Half of the writes are the child's, from when it is known; both are left in peace for a while. */
static void
halves_carry_half_each(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	const ShardLoad *load;
	WireShardDesc child;
	double		whole;

	(void) state;
	run_seconds(w, 60);
	weigh(w, parent, 1001, 8000);
	load = shard_load(&w->pd, parent);
	whole = load_rate(&w->pd, load);
	assert_true(whole > 100 && !load_rests(&w->pd, load));
	begin_split(w);
	assert_true(asked_for(w, parent, &child));
	child.base_index = 77;
	report(w, &child);
	load = shard_load(&w->pd, parent);
	assert_true(load_rate(&w->pd, load) == whole / 2 && load_rests(&w->pd, load));
	load = shard_load(&w->pd, child.shard);
	assert_true(load_rate(&w->pd, load) == whole / 2 && load_rests(&w->pd, load) && load->bytes == 4000);

	/* Told once more it is not halved again; what it is written to counts from where it began. */
	report(w, &child);
	w->pd.now_us += SECOND_US;
	load_take(&w->pd, child.replicas[0].store, &(Report) {.shard = child.shard, .applied = 77, .bytes = 5000});
	load = shard_load(&w->pd, child.shard);
	assert_true(load->rate < whole / 2 && load->rate > whole / 2 * .9 && load->bytes == 5000);
	w->pd.now_us += 10 * SECOND_US;
	assert_false(load_rests(&w->pd, load));
	cluster_end(w);
}

static void
one_shard_becomes_two(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	CatalogCollection *c;
	CatalogShard *shard;
	WireShardDesc child;
	WireShardDesc again;
	WireShardDesc born;
	json_t	   *task;
	uint64_t	version;

	(void) state;
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_NONE);
	version = c->route_version;
	begin_split(w);
	shard = shard_of(w, parent, &c);
	assert_int_equal(shard->plan.kind, PLAN_SPLIT);
	assert_false(is_over(w, parent));

	/* It is asked for in the same words until it is done. */
	assert_true(asked_for(w, parent, &child));
	assert_true(asked_for(w, parent, &again));
	assert_memory_equal(&child, &again, sizeof(child));
	assert_int_equal(child.parent, parent);
	assert_int_equal(child.first, UINT64_MAX / 2 + 1);
	assert_int_equal(child.last, UINT64_MAX);
	assert_int_equal(child.range_ver, shard->desc.range_ver + 1);
	assert_int_equal(child.nreplicas, 3);
	for (int i = 0; i < 3; i++)
	{
		assert_int_equal(child.replicas[i].store, shard->desc.replicas[i].store);
		assert_true(child.replicas[i].replica > child.shard && child.replicas[i].replica < w->pd.catalog->meta.next_id);
	}

	/* Reported, twice as well as once. */
	child.base_index = 77;
	report(w, &child);
	report(w, &child);
	shard = shard_of(w, parent, &c);
	assert_int_equal(c->nshards, 2);
	assert_int_equal(c->route_version, version + 1);
	assert_int_equal(shard->desc.last, child.first - 1);
	assert_int_equal(shard->desc.range_ver, child.range_ver);
	shard = shard_of(w, child.shard, &c);
	assert_true(shard->bootstrapped);
	assert_int_equal(shard->conf_index, 77);
	assert_false(asked_for(w, parent, &again));
	assert_false(is_over(w, parent));

	/* Over when all of its replicas are there, and not before. */
	assert_null(split_settle_task(&w->pd, &child));
	see(w, child.shard, 3);
	assert_false(is_over(w, parent));
	assert_null(split_settle_task(&w->pd, &child));
	see(w, child.shard, 7);

	/* Law D1: replicas that were made empty have nothing of it yet. */
	hear(w, &child, 0, 3);
	assert_false(is_over(w, parent));
	assert_null(split_settle_task(&w->pd, &child));
	hear(w, &child, 77, 1);
	assert_false(is_over(w, parent));
	assert_null(split_settle_task(&w->pd, &child));
	hear(w, &child, 77, 2);
	assert_true(is_over(w, parent));
	task = split_settle_task(&w->pd, &child);
	assert_non_null(task);
	json_decref(task);

	/* Who joins either begins with what it was founded with. */
	shard = shard_of(w, parent, &c);
	born = split_born(c, shard);
	assert_int_equal(born.last, UINT64_MAX);
	assert_int_equal(born.range_ver, shard->desc.range_ver - 1);
	shard = shard_of(w, child.shard, &c);
	born = split_born(c, shard);
	assert_int_equal(born.range_ver, child.range_ver);
	assert_int_equal(born.first, child.first);

	/* Also after a start: all of it is in the catalog. */
	pd_end(w);
	pd_begin(w);
	shard = shard_of(w, parent, &c);
	assert_int_equal(shard->plan.kind, PLAN_SPLIT);
	assert_int_equal(shard->plan.child, child.shard);
	assert_int_equal(shard->plan.split_at, child.first);
	cluster_end(w);
}

static void
given_up_before_and_not_after(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	CatalogCollection *c;
	WireShardDesc child;
	VtError		err = {0};
	json_t	   *body;
	char		id[24];

	(void) state;
	snprintf(id, sizeof(id), "%" PRIu64, parent);
	body = json_pack("{s:s}", "shard", id);
	begin_split(w);
	assert_true(asked_for(w, parent, &child));
	assert_int_equal(cancel_operator(&w->pd, body, &err), VT_OK);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_NONE);

	/* The leader had done it all the same. */
	child.base_index = 5;
	report(w, &child);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_SPLIT);
	assert_int_equal(c->nshards, 2);
	assert_int_equal(cancel_operator(&w->pd, body, &err), VT_EXISTS);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_SPLIT);

	/* What does not fit is no split of ours. */
	child.shard++;
	report(w, &child);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_SPLIT);
	assert_int_equal(c->nshards, 2);
	json_decref(body);
	cluster_end(w);
}

/* Is a store told to delete this replica?  *whole: and what was split off it. */
static bool
is_among(json_t *tasks, uint64_t shard, uint64_t replica, bool *whole)
{
	json_t	   *task;
	size_t		i;
	bool		told = false;

	*whole = false;
	json_array_foreach(tasks, i, task)
	{
		uint64_t	s;
		uint64_t	r;

		if (strcmp(json_string_value(json_object_get(task, "task")), "drop_shard") != 0 ||
			!get_u64(task, "shard", &s) || !get_u64(task, "replica", &r) || s != shard || r != replica)
			continue;
		told = true;
		*whole = json_is_true(json_object_get(task, "whole"));
	}
	json_decref(tasks);
	return told;
}

static bool
is_told_to_drop(PdWorld *w, uint64_t store, uint64_t shard, uint64_t replica)
{
	json_t	   *tasks = json_array();
	bool		whole;

	drops_tell(&w->pd, beat_of(&w->pd, store), tasks);
	return is_among(tasks, shard, replica, &whole);
}

/* Dropped, and its time is over. */
static void
doom(PdWorld *w, const CatalogCollection *c)
{
	CatalogCollection changed = *c;
	VtId		generation = c->generation;
	Buf			command = {0};

	changed.state = COLLECTION_HIDDEN;
	changed.unused_us = 1;
	command_begin(&command);
	command_collection(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
	w->pd.options.keep_dropped_us = 1;
	w->pd.drops_due_us = 0;
	drops_look(&w->pd);
	assert_int_equal(catalog_collection(w->pd.catalog, &generation)->state, COLLECTION_DOOMED);
}

/*
 * A split is given up, and the index deleted before a store has said that it did it all the
 * same: only the stores know of the child, and are told to look.
 */
static void
deleted_with_a_child_of_no_plan(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	CatalogCollection *c;
	CatalogShard *shard;
	Changes		changes;
	CatalogOwed owed;
	Buf			command = {0};
	json_t	   *tasks;
	bool		whole;

	(void) state;
	begin_split(w);
	shard = shard_of(w, parent, &c);
	changes_begin(&w->pd, &changes);
	memset(&changes_of_shard(&changes, c, shard)->plan, 0, sizeof(Plan));
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);

	/* And what a store still owes of a shard that is in no catalog. */
	shard = shard_of(w, parent, &c);
	owed = (CatalogOwed) {shard->desc.replicas[0].store, 4711, 4712};
	command_begin(&command);
	command_owed(&command, &owed);
	world_commit(&w->pd, &command);
	buf_free(&command);
	doom(w, c);
	for (int i = 0; i < 3; i++)
	{
		uint64_t	store;
		uint64_t	replica;

		tasks = json_array();
		shard = shard_of(w, parent, &c);
		store = shard->desc.replicas[i].store;
		replica = shard->desc.replicas[i].replica;
		tasks_for(&w->pd, beat_of(&w->pd, store), tasks);
		assert_true(is_among(tasks, parent, replica, &whole));
		assert_true(whole);
	}

	tasks = json_array();
	drops_tell(&w->pd, beat_of(&w->pd, owed.store), tasks);
	assert_true(is_among(tasks, owed.shard, owed.replica, &whole));
	assert_true(whole);
	cluster_end(w);
}

/* The index is dropped when its split was asked for and nobody has reported the child. */
static void
deleted_before_anybody_spoke_of_the_child(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	CatalogCollection *c;
	WireShardDesc child;

	(void) state;
	begin_split(w);
	assert_true(asked_for(w, parent, &child));
	shard_of(w, parent, &c);
	for (int i = 0; i < 3; i++)
		assert_false(is_told_to_drop(w, child.replicas[i].store, child.shard, child.replicas[i].replica));
	doom(w, c);

	/* Made or not: it is never to be, and what there is of it goes. */
	for (int i = 0; i < 3; i++)
		assert_true(is_told_to_drop(w, child.replicas[i].store, child.shard, child.replicas[i].replica));
	cluster_end(w);
}

/* How many stores are told to prepare it. */
static int
told_to_prepare(PdWorld *w, uint64_t parent)
{
	CatalogCollection *c;
	CatalogShard *shard = shard_of(w, parent, &c);
	int			n = 0;

	for (size_t i = 0; i < w->pd.nbeats; i++)
	{
		json_t	   *task = split_prepare_task(c, shard, w->pd.beats[i]);

		n += task != NULL;
		json_decref(task);
	}
	return n;
}

/* Who knows how is told of a split before it is asked for, and waited for, but not for ever. */
static void
prepared_before_it_is_asked_for(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	CatalogCollection *c;
	CatalogShard *shard;
	Plan		plan;

	(void) state;
	begin_split(w);
	shard = shard_of(w, parent, &c);
	assert_true(split_is_prepared(&w->pd, shard));	/* of older releases */
	assert_int_equal(told_to_prepare(w, parent), 0);
	w->pd.beats[0]->prepares = w->pd.beats[1]->prepares = true;
	assert_false(split_is_prepared(&w->pd, shard));
	assert_int_equal(told_to_prepare(w, parent), 2);

	/* Of another child it says nothing. */
	report_in(w->pd.beats[0], parent)->prepared = shard->plan.child + 1;
	report_in(w->pd.beats[1], parent)->prepared = shard->plan.child;
	assert_false(split_is_prepared(&w->pd, shard));
	report_in(w->pd.beats[0], parent)->prepared = shard->plan.child;
	assert_true(split_is_prepared(&w->pd, shard));

	/* As long as it takes, if that is not too long. */
	plan = shard->plan;
	report_in(w->pd.beats[0], parent)->prepared = 0;
	w->pd.operators = vt_realloc(w->pd.operators, sizeof(Operator) * (w->pd.noperators + 1));
	w->pd.operators[w->pd.noperators++] = (Operator) {.shard = parent, .plan = plan, .since_us = w->pd.now_us};
	assert_false(split_is_prepared(&w->pd, shard));
	w->pd.operators[w->pd.noperators - 1].since_us -= INT64_C(1801000000);
	assert_true(split_is_prepared(&w->pd, shard));
	world_end(w);
	free(w);
}

static void
not_while_somebody_is_away(void **state)
{
	uint64_t	parent;
	PdWorld    *w = cluster_with_a_large_shard(&parent);
	CatalogCollection *c;

	(void) state;
	see(w, parent, 3);
	begin_split(w);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_NONE);
	see(w, parent, 7);
	for (size_t i = 0; i < w->pd.nbeats; i++)
		report_in(w->pd.beats[i], parent)->ingesting = true;
	begin_split(w);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_NONE);
	for (size_t i = 0; i < w->pd.nbeats; i++)
		report_in(w->pd.beats[i], parent)->ingesting = false;
	beat_of(&w->pd, shard_of(w, parent, &c)->desc.replicas[1].store)->disk_short = true;
	begin_split(w);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_NONE);
	beat_of(&w->pd, shard_of(w, parent, &c)->desc.replicas[1].store)->disk_short = false;
	begin_split(w);
	assert_int_equal(shard_of(w, parent, &c)->plan.kind, PLAN_SPLIT);
	cluster_end(w);
}

/* -- By bytes ---------------------------------------------------------------- */

#define MIB (UINT64_C(1) << 20)

/* How many shards are being split after a look that wants none of more than 100 MiB. */
static int
splits_after_a_look(PdWorld *w)
{
	int			n = 0;

	w->pd.options.split_bytes = 100 * MIB;
	w->pd.splits_due_us = 0;
	splits_look(&w->pd);
	for (size_t i = 0; i < w->pd.catalog->ncollections; i++)
		for (uint32_t j = 0; j < w->pd.catalog->collections[i]->nshards; j++)
			n += w->pd.catalog->collections[i]->shards[j].plan.kind == PLAN_SPLIT;
	return n;
}

/* A cluster with shards in one collection, all of which have 4 000 rows of 1 KiB. */
static PdWorld *
cluster_of_small_shards(uint32_t stores, uint32_t shards, uint64_t *ids)
{
	PdWorld    *w = cluster(1, stores);
	CatalogCollection *c = create(w, shards, 3);

	for (uint32_t i = 0; i < shards; i++)
		ids[i] = c->shards[i].desc.shard;
	settle(w, 3, 20);
	for (uint32_t i = 0; i < shards; i++)
		weigh(w, ids[i], 4000, 4000 * 1024);
	return w;
}

/* Half of it has nowhere to go but where it is already: then nothing is gained. */
static void
bytes_are_split_where_half_can_go_elsewhere(void **state)
{
	uint64_t	id;
	PdWorld    *w = cluster_of_small_shards(3, 1, &id);

	(void) state;
	weigh(w, id, 200000, 200 * MIB);
	assert_int_equal(splits_after_a_look(w), 0);
	cluster_end(w);

	w = cluster_of_small_shards(4, 1, &id);
	weigh(w, id, 100000, 99 * MIB);
	assert_int_equal(splits_after_a_look(w), 0);
	weigh(w, id, 200000, 200 * MIB);
	w->pd.repairing = true;
	assert_int_equal(splits_after_a_look(w), 0);
	w->pd.repairing = false;
	assert_int_equal(splits_after_a_look(w), 1);
	cluster_end(w);
}

/* What has left with a child counts no more, though the graph still has room for it. */
static void
what_was_split_off_is_not_counted_twice(void **state)
{
	uint64_t	ids[2];
	PdWorld    *w = cluster_of_small_shards(6, 2, ids);

	(void) state;
	weigh(w, ids[0], 80000, 160 * MIB);	/* 2 KiB a row: half of them are gone */
	assert_int_equal(splits_after_a_look(w), 0);
	weigh(w, ids[0], 110000, 160 * MIB);
	assert_int_equal(splits_after_a_look(w), 1);
	cluster_end(w);
}

/* The largest first; no store is in two of them, and few go on at once. */
static void
the_largest_is_split_first(void **state)
{
	uint64_t	ids[8];
	PdWorld    *w = cluster_of_small_shards(12, 8, ids);
	CatalogCollection *c;

	(void) state;
	for (int i = 0; i < 8; i++)
		weigh(w, ids[i], (200 + 10 * (uint64_t) i) * 1024, (200 + 10 * (uint64_t) i) * MIB);
	assert_int_equal(splits_after_a_look(w), 1);
	assert_int_equal(shard_of(w, ids[7], &c)->plan.kind, PLAN_SPLIT);
	assert_int_equal(splits_after_a_look(w), 1);
	cluster_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(halves_carry_half_each, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(one_shard_becomes_two, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(given_up_before_and_not_after, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(deleted_before_anybody_spoke_of_the_child, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(deleted_with_a_child_of_no_plan, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(prepared_before_it_is_asked_for, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(not_while_somebody_is_away, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(bytes_are_split_where_half_can_go_elsewhere, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_was_split_off_is_not_counted_twice, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(the_largest_is_split_first, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
