/*-------------------------------------------------------------------------
 *
 * pd_recover.c
 *	  Majorities that are lost for good: what is refused, what is planned, and that
 *	  what is left comes to be whole again, whoever dies on the way.
 *
 * The model (pd_world.h) fails when a replica goes on that has less than another which
 * is left, when one still serves the life before, or when two go on in one life.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_recover.h"

/* Shards in a later life than the first, or under a plan to be recovered. */
static uint32_t
gone_back(PdWorld *w, const CatalogCollection *c, bool under_way)
{
	uint32_t	n = 0;

	(void) w;
	for (uint32_t i = 0; i < c->nshards; i++)
		n += under_way ? c->shards[i].plan.kind == PLAN_RECOVER : c->shards[i].desc.incarnation > 1;
	return n;
}

static bool
operator_says(PdWorld *w, const char *kind, const char *step)
{
	json_t	   *list = json_operators(&w->pd, NULL);
	bool		says = false;
	size_t		i;
	json_t	   *row;

	json_array_foreach(list, i, row)
	{
		says |= strcmp(json_string_value(json_object_get(row, "kind")), kind) == 0 &&
			strcmp(json_string_value(json_object_get(row, "step")), step) == 0;
	}
	json_decref(list);
	return says;
}

/* Those that are left had not all that the lost acknowledged, and not the same. */
static void
fall_behind(PdWorld *w, uint64_t shard)
{
	for (uint32_t i = 0; i < w->nstores; i++)
	{
		WReplica   *r = w->stores[i].alive ? replica_on(&w->stores[i], shard) : NULL;

		if (r && r->match > 100)
			r->match -= prng_below(&w->prng, 100);
	}
}

/* -- Plans ----------------------------------------------------------------------- */

static void
what_is_refused(void **state)
{
	PdWorld    *w = new_cluster(1, 5);
	char		plan[17];
	char		other[17];
	uint64_t	before;
	int			beyond;

	(void) state;
	create(w, 5, 3);
	settle(w, 3, 10);
	refused(w, "", NULL, VT_INVALID, "which stores");
	refused(w, "7,", NULL, VT_INVALID, "no list");
	refused(w, "seven", NULL, VT_INVALID, "no list");
	refused(w, "7", NULL, VT_NOT_FOUND, "no store 7");
	refused(w, names(w, 1), NULL, VT_EXISTS, "is up");
	stores_die(w, 3);
	run_seconds(w, 30);
	refused(w, names(w, 3), NULL, VT_EXISTS, "not for as long");
	run_seconds(w, 31);
	before = catalog_digest(w->pd.catalog);
	beyond = beyond_without(w, 3, false);
	assert_true(beyond > 0);
	plan_of(w, names(w, 3), plan, beyond, 0);
	assert_int_equal(catalog_digest(w->pd.catalog), before);

	/* A plan is for these stores and this state of things. */
	plan_of(w, names(w, 2), other, 0, 0);
	assert_string_not_equal(plan, other);
	refused(w, names(w, 2), other, VT_EXISTS, "no shard has lost its majority");
	refused(w, names(w, 3), other, VT_FENCED, "look at it first");
	another_driver(w);
	refused(w, names(w, 3), plan, VT_BUSY, "just begun");
	run_seconds(w, 11);
	refused(w, names(w, 3), plan, VT_EXISTS, "not for as long");
	run_seconds(w, 60);
	plan_of(w, names(w, 3), other, beyond, 0);
	assert_string_equal(plan, other);

	/* Whoever is silent has to be named, too, or to come back. */
	store_dies(w, 2);
	run_seconds(w, 15);
	plan_of(w, names(w, 3), other, -1, 0);
	assert_string_not_equal(plan, other);
	refused(w, names(w, 3), plan, VT_FENCED, NULL);
	refused(w, names(w, 3), other, VT_EXISTS, "is silent: start it");
	assert_int_equal(catalog_digest(w->pd.catalog), before);
	w->stores[2].alive = true;
	run_seconds(w, 5);
	apply(w, names(w, 3), plan);
	refused(w, names(w, 3), plan, VT_FENCED, NULL);
	plan_of(w, names(w, 3), other, 0, 0);
	cluster_end(w);
}

/* -- The way ---------------------------------------------------------------------- */

static void
what_is_left_goes_on(void **state)
{
	PdWorld    *w = new_cluster(2, 5);
	const CatalogCollection *c = create(w, 5, 3);
	VtId		generation = c->generation;
	uint64_t	id = w->stores[0].id;
	VtId		data_id = w->stores[0].data_id;
	char		text[VT_ID_TEXT];
	char		plan[17];
	uint64_t	shard;
	json_t	   *body;
	json_t	   *reply;
	VtError		err = {0};
	int			beyond;

	(void) state;
	settle(w, 3, 10);
	beyond = beyond_without(w, 3, false);
	assert_true(beyond > 0);
	stores_die(w, 3);
	run_seconds(w, 61);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_false(collection_went_back(c, &shard));
	plan_of(w, names(w, 3), plan, beyond, 0);
	apply(w, names(w, 3), plan);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(gone_back(w, c, false), beyond);
	assert_int_equal(gone_back(w, c, true), beyond);
	assert_true(collection_went_back(c, &shard));
	assert_true(operator_says(w, "recover", "tell its survivors of a new life"));
	body = json_pack("{s:o}", "shard", json_u64(shard));
	expect(cancel_operator(&w->pd, body, &err), VT_EXISTS, &err, "only goes forward");
	json_decref(body);
	settle(w, 3, 200);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(gone_back(w, c, false), beyond);
	assert_int_equal(gone_back(w, c, true), 0);
	for (uint32_t i = 0; i < c->nshards; i++)
		assert_in_range(c->shards[i].desc.incarnation, 1, 2);

	/* Who was given up never comes back, under its number or without. */
	for (int known = 0; known < 2; known++)
	{
		vt_id_format(&data_id, text);
		body = json_pack("{s:i,s:o,s:s,s:s,s:s}", "level_high", VT_LEVEL_NEWEST, "store", json_u64(known ? id : 0), "cluster", "", "data_id", text, "endpoint", "unix:/w0");
		expect(register_store(&w->pd, "", body, &reply, &err), VT_GONE, &err, "was forgotten");
		json_decref(body);
	}
	cluster_end(w);
}

static void
nothing_is_left(void **state)
{
	PdWorld    *w = new_cluster(3, 5);
	const CatalogCollection *c = create(w, 10, 3);
	VtId		generation = c->generation;
	char		plan[17];
	uint32_t	whole = 0;
	uint32_t	lost = 0;
	uint64_t	shard;
	int			beyond;
	int			nothing;

	(void) state;
	settle(w, 3, 10);
	for (uint32_t i = 0; i < w->nstores; i++)
		if (replica_on(&w->stores[i], w->groups[0].shard))
			lost |= 1u << i;
	beyond = beyond_without(w, lost, false);
	nothing = beyond_without(w, lost, true);
	assert_true(nothing > 0);
	stores_die(w, lost);
	run_seconds(w, 61);
	plan_of(w, names(w, lost), plan, beyond, nothing);
	apply(w, names(w, lost), plan);
	run_seconds(w, 200);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_true(collection_went_back(c, &shard));
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		uint64_t	store;
		bool		is_whole = leader_of(&w->pd, &c->shards[i], &store) != NULL;

		whole += is_whole;
		assert_true(is_whole || c->shards[i].desc.incarnation == 2);
		assert_int_equal(c->shards[i].plan.kind, PLAN_NONE);
	}
	assert_int_equal(whole, c->nshards - (uint32_t) nothing);
	cluster_end(w);
}

/* A survivor dies for good before anybody was chosen, or the chosen one does: one more life. */
static void
a_survivor_dies_on_the_way(void **state)
{
	(void) state;
	for (int when = 0; when < 2; when++)
	{
		PdWorld    *w = new_cluster((uint64_t) (4 + when), 7);
		const CatalogCollection *c = create(w, 1, 5);
		VtId		generation = c->generation;
		const CatalogShard *shard;
		char		plan[17];
		uint32_t	lost = 0;
		uint32_t	next = 0;
		uint32_t	seen = 0;

		settle(w, 5, 20);
		shard = &catalog_collection(w->pd.catalog, &generation)->shards[0];
		for (uint32_t i = 0; i < w->nstores; i++)
			if (replica_on(&w->stores[i], shard->desc.shard) && seen++ < 3)
				lost |= 1u << i;
		stores_die(w, lost);
		run_seconds(w, 61);
		plan_of(w, names(w, lost), plan, 1, 0);
		apply(w, names(w, lost), plan);
		shard = &catalog_collection(w->pd.catalog, &generation)->shards[0];
		for (int tries = 0; when == 1 && !shard->plan.chosen && tries < 100; tries++)
		{
			tick(w);
			shard = &catalog_collection(w->pd.catalog, &generation)->shards[0];
		}
		assert_int_equal(shard->plan.chosen != 0, when);
		for (uint32_t i = 0; i < w->nstores; i++)
			if (w->stores[i].alive && replica_on(&w->stores[i], shard->desc.shard) &&
				(when == 0 || replica_on(&w->stores[i], shard->desc.shard)->replica == shard->plan.chosen))
				next = 1u << i;
		stores_die(w, next);
		run_seconds(w, 61);
		shard = &catalog_collection(w->pd.catalog, &generation)->shards[0];
		assert_int_equal(shard->plan.kind, PLAN_RECOVER);
		plan_of(w, names(w, next), plan, 1, 0);
		apply(w, names(w, next), plan);
		shard = &catalog_collection(w->pd.catalog, &generation)->shards[0];
		assert_int_equal(shard->desc.incarnation, 3);
		w->wanted = 3;
		for (int tries = 0; shard->plan.kind != PLAN_NONE && tries < 1000; tries++)
		{
			tick(w);
			shard = &catalog_collection(w->pd.catalog, &generation)->shards[0];
		}
		assert_true(shard->plan.kind != PLAN_RECOVER);
		cluster_end(w);
	}
}

/* A leader that sleeps has not noticed that it is alone: the next plan takes its shard, though the stores are forgotten by then. */
static void
a_leader_has_not_noticed(void **state)
{
	PdWorld    *w = new_cluster(6, 3);
	const CatalogCollection *c = create(w, 2, 3);
	VtId		generation = c->generation;
	uint64_t	shard = c->shards[0].desc.shard;
	Report	   *report;
	char		plan[17];
	char		again[17];

	(void) state;
	settle(w, 3, 20);
	stores_die(w, 6);
	run_seconds(w, 61);
	report = report_of(&w->pd, w->stores[0].id, shard);
	report->leader = true;
	plan_of(w, names(w, 6), plan, 1, 0);
	apply(w, names(w, 6), plan);
	report->leader = false;
	plan_of(w, names(w, 6), again, 1, 0);
	assert_string_not_equal(plan, again);
	apply(w, names(w, 6), again);
	plan_of(w, names(w, 6), again, 0, 0);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(c->shards[0].desc.incarnation, 2);
	assert_int_equal(c->shards[1].desc.incarnation, 2);
	cluster_end(w);
}

/* -- Shards that were being split ------------------------------------------------- */

/* The one shard of this index is split in the model: all that the stores of this set have applied it say so.  The child's id. */
static uint64_t
split(PdWorld *w, const VtId *generation, uint32_t stores)
{
	const CatalogCollection *c = catalog_collection(w->pd.catalog, generation);
	WGroup	   *parent = group_of(w, c->shards[0].desc.shard);
	WGroup	   *group = group_of(w, 0);
	WireShardDesc child;
	Changes		changes;
	json_t	   *task;

	changes_begin(&w->pd, &changes);
	split_begin(&changes, c, &c->shards[0]);
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	c = catalog_collection(w->pd.catalog, generation);
	task = split_task(c, &c->shards[0]);
	assert_non_null(task);
	assert_true(get_desc(json_object_get(task, "desc"), &child));
	json_decref(task);
	child.base_index = ++parent->last;
	memset(group, 0, sizeof(*group));
	group->shard = child.shard;
	group->conf_index = group->last = group->acked = child.base_index;
	group->n = child.nreplicas;
	memcpy(group->members, child.replicas, sizeof(child.replicas));
	for (uint32_t i = 0; i < w->nstores; i++)
		for (int k = 0; k < child.nreplicas; k++)
			if ((stores >> i & 1) && child.replicas[k].store == w->stores[i].id)
				w->stores[i].replicas[w->stores[i].n++] = (WReplica) {.shard = child.shard, .replica = child.replicas[k].replica,
					.match = child.base_index, .conf_index = child.base_index, .life = 1};
	if (stores)
	{
		Beat		beat = {.children = &child, .nchildren = 1};

		changes_begin(&w->pd, &changes);
		splits_learn(&w->pd, &changes, &beat);
		assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	}
	return child.shard;
}

/* A shard's replicas were made by all but one store, which is lost then, and after it another: neither the split nor the recovery waits for the other. */
static void
a_shard_that_was_split_is_recovered(void **state)
{
	PdWorld    *w = new_cluster(7, 3);
	VtId		generation = create(w, 1, 3)->generation;
	const CatalogCollection *c;
	const CatalogShard *shard;
	char		plan[17];
	uint64_t	id;
	uint64_t	child;
	json_t	   *task;

	(void) state;
	settle(w, 3, 10);
	store_dies(w, 1);
	run_seconds(w, 2);			/* what it sent has come */
	child = split(w, &generation, 5);
	run_seconds(w, 70);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(c->nshards, 2);
	assert_int_equal(c->shards[0].plan.kind, PLAN_SPLIT);
	id = c->shards[0].desc.shard;
	store_dies(w, 0);
	run_seconds(w, 61);
	plan_of(w, names(w, 3), plan, 2, 0);
	apply(w, names(w, 3), plan);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(gone_back(w, c, true), 2);
	for (int tries = 0; gone_back(w, c, true) > 0 && tries < 1000; tries++)
	{
		tick(w);
		c = catalog_collection(w->pd.catalog, &generation);
	}
	assert_int_equal(gone_back(w, c, true), 0);
	assert_int_equal(gone_back(w, c, false), 2);

	/* With new workers in the place of those that were lost both are whole, and the child is settled. */
	store_is_replaced(w, 0);
	store_is_replaced(w, 1);
	settle(w, 3, 200);
	run_seconds(w, 5);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(c->nshards, 2);
	shard = find_shard(&w->pd, child, (CatalogCollection **) &c);
	assert_non_null(shard);
	task = split_settle_task(&w->pd, &shard->desc);
	assert_non_null(task);
	json_decref(task);
	assert_int_equal(find_shard(&w->pd, id, (CatalogCollection **) &c)->desc.last, shard->desc.first - 1);
	cluster_end(w);
}

/*
 * Who is left of a shard applies a split only then, which had been asked for and given up: the child
 * takes its place in the catalog, and its parent goes on to be recovered.
 */
static void
a_split_that_comes_late_ends_no_recovery(void **state)
{
	PdWorld    *w = new_cluster(8, 3);
	VtId		generation = create(w, 1, 3)->generation;
	const CatalogCollection *c;
	WireShardDesc child;
	Beat		beat = {.children = &child, .nchildren = 1};
	Changes		changes;
	char		plan[17];
	json_t	   *task;

	(void) state;
	settle(w, 3, 10);
	(void) split(w, &generation, 0);
	c = catalog_collection(w->pd.catalog, &generation);
	task = split_task(c, &c->shards[0]);
	assert_true(get_desc(json_object_get(task, "desc"), &child));
	json_decref(task);
	stores_die(w, 6);
	run_seconds(w, 61);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(c->shards[0].plan.kind, PLAN_NONE);
	plan_of(w, names(w, 6), plan, 1, 0);
	apply(w, names(w, 6), plan);
	child.base_index = 77;
	changes_begin(&w->pd, &changes);
	splits_learn(&w->pd, &changes, &beat);
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(c->nshards, 2);
	assert_int_equal(c->shards[0].desc.last, child.first - 1);
	assert_int_equal(c->shards[0].plan.kind, PLAN_RECOVER);
	assert_int_equal(c->shards[0].desc.incarnation, 2);
	run_seconds(w, 10);
	c = catalog_collection(w->pd.catalog, &generation);
	assert_int_equal(c->shards[0].plan.kind, PLAN_NONE);
	cluster_end(w);
}

/*
 * Any number of stores, any of them lost, letters lost and late, drivers that die at
 * any moment: in the end every shard that had anything left is whole, and none is in a
 * later life that had its majority.
 */
static void
all_is_whole_in_the_end(void **state)
{
	uint64_t	seeds = getenv("SEEDS") ? strtoull(getenv("SEEDS"), NULL, 10) : 15;
	uint64_t	lost_entries = 0;
	uint32_t	recovered = 0;

	(void) state;
	for (uint64_t seed = 1; seed <= seeds; seed++)
	{
		PdWorld    *w = new_cluster(seed, 8 + (uint32_t) (seed % 3));
		const CatalogCollection *c = create(w, 8, seed % 3 == 0 ? 5 : 3);
		VtId		generation = c->generation;
		uint32_t	wanted = seed % 3 == 0 ? 5 : 3;
		uint32_t	lost = 0;
		bool		beyond[16] = {false};
		bool		hopeless[16] = {false};
		char		plan[17];

		settle(w, wanted, 20);
		for (uint32_t i = 0; i < w->nstores && __builtin_popcount(lost) < (int) wanted / 2 + 1; i++)
			lost |= replica_on(&w->stores[i], w->groups[0].shard) ? 1u << i : 0;
		while (__builtin_popcount(lost) < 3)
			lost |= 1u << prng_below(&w->prng, w->nstores);
		stores_die(w, lost);
		c = catalog_collection(w->pd.catalog, &generation);
		for (uint32_t i = 0; i < c->nshards; i++)
		{
			uint32_t	voters;
			uint32_t	alive = live_voters(w, c->shards[i].desc.shard, c->shards[i].desc.replicas, c->shards[i].desc.nreplicas, &voters);

			beyond[i] = alive <= voters / 2;
			hopeless[i] = alive == 0;
			recovered += beyond[i] && !hopeless[i];
			if (beyond[i])
				fall_behind(w, c->shards[i].desc.shard);
		}
		w->loss = (uint32_t) (seed % 4) * 10;
		w->delay_ms = 200;
		run_seconds(w, 63);
		if (seed % 5 == 0)
			another_driver(w);
		run_seconds(w, seed % 5 == 0 ? 63 : 1);
		plan_of(w, names(w, lost), plan, -1, 0);
		refused(w, names(w, lost), "0123456789abcdef", VT_FENCED, NULL);
		apply(w, names(w, lost), plan);
		for (int i = 0; i < 10; i++)
		{
			for (uint32_t ticks = prng_below(&w->prng, 20); ticks > 0; ticks--)
				tick(w);
			if (prng_below(&w->prng, 3) == 0)
				another_driver(w);
		}
		w->loss = 0;
		run_seconds(w, 300);
		c = catalog_collection(w->pd.catalog, &generation);
		for (uint32_t i = 0; i < c->nshards; i++)
		{
			WGroup	   *g = group_of(w, c->shards[i].desc.shard);
			uint32_t	voters;

			assert_int_equal(c->shards[i].desc.incarnation, beyond[i] ? 2 : 1);
			assert_int_equal(c->shards[i].plan.kind, PLAN_NONE);
			if (!hopeless[i])
				assert_int_equal(live_voters(w, g->shard, g->members, g->n, &voters), wanted);
			assert_true(hopeless[i] || (g->n == wanted && g->leader));
		}
		lost_entries += w->lost;
		cluster_end(w);
	}
	/* It is about something: entries were lost, and shards came back. */
	assert_in_range(recovered, seeds, seeds * 8);
	assert_true(lost_entries > 0);
	print_message("%u shards recovered, %" PRIu64 " acknowledged entries were lost\n", recovered, lost_entries);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(what_is_refused),
		TEST(what_is_left_goes_on),
		TEST(nothing_is_left),
		TEST(a_survivor_dies_on_the_way),
		TEST(a_leader_has_not_noticed),
		TEST(a_shard_that_was_split_is_recovered),
		TEST(a_split_that_comes_late_ends_no_recovery),
		TEST(all_is_whole_in_the_end),
	};

	return cmocka_run_group_tests_name("pd_recover", tests, NULL, NULL);
}
