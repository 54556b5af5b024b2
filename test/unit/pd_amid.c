/*-------------------------------------------------------------------------
 *
 * pd_amid.c
 *	  Stores that die for good while the voters of a shard change: who is left elects
 *	  nobody, though the catalog knows of no majority that is lost.
 *
 * The model (pd_world.h) fails when a replica goes on that has less than another which
 * is left.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_recover.h"

static void
drain(PdWorld *w, uint64_t store, bool draining)
{
	CatalogStore changed = *catalog_store(w->pd.catalog, store);
	Buf			command = {0};

	changed.draining = draining;
	command_begin(&command);
	command_store(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
}

static void
want(PdWorld *w, const VtId *generation, uint32_t replicas)
{
	Changes		changes;

	changes_begin(&w->pd, &changes);
	changes_of(&changes, catalog_collection(w->pd.catalog, generation))->replicas_wanted = replicas;
	assert_int_equal(changes_commit(&w->pd, &changes), VT_OK);
	w->wanted = replicas;
}

static bool
is_voter(const WireReplica *members, uint32_t n, uint64_t replica)
{
	for (uint32_t i = 0; i < n; i++)
		if (members[i].replica == replica)
			return members[i].role == ROLE_VOTER;
	return false;
}

/* Run until the voters of the group are about to change. */
static void
until_voters_change(PdWorld *w, const WGroup *g)
{
	for (int tries = 0; tries < 1000; tries++)
	{
		for (uint32_t i = 0; g->joint && i < g->n; i++)
			if (is_voter(g->members, g->n, g->members[i].replica) != is_voter(g->next, g->nnext, g->members[i].replica))
				return;
		tick(w);
	}
	fail_msg("the voters do not change");
}

/* Stores of those that are to vote then, but for the leader: those that vote now, or those that do not. */
static uint32_t
to_vote(PdWorld *w, const WGroup *g, bool now)
{
	uint32_t	stores = 0;

	for (uint32_t i = 0; i < w->nstores; i++)
	{
		const WReplica *r = replica_on(&w->stores[i], g->shard);

		if (r && r->replica != g->leader && is_voter(g->next, g->nnext, r->replica) && is_voter(g->members, g->n, r->replica) == now)
			stores |= 1u << i;
	}
	return stores;
}

static bool
is_critical(PdWorld *w, const char *finding)
{
	json_t	   *list = json_findings(&w->pd, NULL);
	bool		is = false;
	size_t		i;
	json_t	   *row;

	json_array_foreach(list, i, row)
	{
		is |= strcmp(json_string_value(json_object_get(row, "finding")), finding) == 0 &&
			strcmp(json_string_value(json_object_get(row, "severity")), "critical") == 0;
	}
	json_decref(list);
	return is;
}

/* Of the one shard so many of so many voters are lost, which are those of a change that stands still. */
static void
stands_still(PdWorld *w, uint32_t lost, int of, int voters)
{
	json_t	   *reply = recover(w, names(w, lost), NULL, VT_OK, NULL);
	json_t	   *shard = json_array_get(json_object_get(reply, "shards"), 0);

	assert_int_equal(json_array_size(json_object_get(reply, "shards")), 1);
	assert_int_equal(json_integer_value(json_object_get(shard, "lost")), of);
	assert_int_equal(json_integer_value(json_object_get(shard, "voters")), voters);
	assert_true(json_is_true(json_object_get(shard, "changing")));
	json_decref(reply);
}

/*
 * Those who are to vote die while the voters change, before anybody but the leader has heard of the
 * change or after: the catalog knows of no lost majority, and nobody is elected.
 */
static void
a_change_stands_still(void **state)
{
	enum
	{
		SHRINK,					/* {A, B, C} becomes {A, B}, and B dies */
		REPLACE,				/* {A, B, C} becomes {A, B, D}, and B and D die */
		FIRST,					/* {A} becomes {A, D}, and D dies */
		SHAPES
	};

	(void) state;
	for (int round = 0; round < 6 * SHAPES; round++)
	{
		int			shape = round % SHAPES;
		uint32_t	wanted = shape == FIRST ? 1 : shape == SHRINK ? 2 : 3;
		PdWorld    *w = new_cluster((uint64_t) (100 + round), shape == FIRST ? 2 : shape == SHRINK ? 3 : 5);
		VtId		generation = create(w, 1, shape == FIRST ? 1 : 3)->generation;
		WGroup	   *g = &w->groups[0];
		uint64_t	leaves = 0;
		uint32_t	lost;
		char		plan[17];

		settle(w, shape == FIRST ? 1 : 3, 10);
		for (uint32_t i = 0; i < g->n && shape != SHRINK; i++)
			if (shape == FIRST || g->members[i].replica != g->leader)
				leaves = g->members[i].store;
		if (shape == SHRINK)
			want(w, &generation, 2);
		else
			drain(w, leaves, true);
		until_voters_change(w, g);
		if (round / SHAPES % 2 == 1)
			tick(w);
		assert_true(g->joint);
		lost = shape == SHRINK ? to_vote(w, g, true) : shape == FIRST ? to_vote(w, g, false) : to_vote(w, g, true) | to_vote(w, g, false);
		assert_int_equal(__builtin_popcount(lost), shape == REPLACE ? 2 : 1);
		stores_die(w, lost);
		run_seconds(w, 15);
		assert_int_equal(g->leader, 0);
		assert_true(is_critical(w, "change_stuck"));
		run_seconds(w, 50);
		assert_int_equal(g->leader, 0);
		if (round / SHAPES == 2)
		{
			another_driver(w);
			run_seconds(w, 65);
		}

		/* If they come back, nothing is lost. */
		if (round / SHAPES == 3)
		{
			for (uint32_t i = 0; i < w->nstores; i++)
				w->stores[i].alive = true;
			run_seconds(w, 5);
			assert_int_not_equal(g->leader, 0);
			cluster_end(w);
			continue;
		}
		stands_still(w, lost, shape == REPLACE ? 2 : 1, shape == REPLACE ? 3 : 2);
		plan_of(w, names(w, lost), plan, 1, 0);
		apply(w, names(w, lost), plan);
		if (shape != SHRINK)
			drain(w, leaves, false);
		settle(w, wanted, 300);
		assert_int_equal(catalog_collection(w->pd.catalog, &generation)->shards[0].desc.incarnation, 2);
		assert_false(is_critical(w, "change_stuck"));
		cluster_end(w);
	}
}

/* One of them dies, and there is a majority of both: somebody leads, and nothing is given up. */
static void
a_change_goes_on(void **state)
{
	(void) state;
	for (int which = 0; which < 3; which++)
	{
		PdWorld    *w = new_cluster((uint64_t) (200 + which), 5);
		uint32_t	lost = 0;
		WGroup	   *g = &w->groups[0];
		char		plan[17];

		create(w, 1, 3);
		settle(w, 3, 10);
		for (uint32_t i = 0; i < g->n; i++)
			if (g->members[i].replica != g->leader)
			{
				drain(w, g->members[i].store, true);
				break;
			}
		until_voters_change(w, g);
		lost = which < 2 ? to_vote(w, g, which == 0) : 0;
		for (uint32_t i = 0; which == 2 && i < w->nstores; i++)
			if (replica_on(&w->stores[i], g->shard) && replica_on(&w->stores[i], g->shard)->replica == g->leader)
				lost = 1u << i;
		assert_int_equal(__builtin_popcount(lost), 1);
		stores_die(w, lost);

		/* Also before anybody is elected. */
		for (int i = 0; i < 5; i++)
			tick(w);
		assert_false(is_critical(w, "change_stuck"));
		run_seconds(w, 61);
		assert_int_not_equal(g->leader, 0);
		plan_of(w, names(w, lost), plan, 0, 0);
		settle(w, 3, 100);
		cluster_end(w);
	}
}

/*
 * A leader is cut off with a configuration that nobody else has, and comes back when the group has
 * gone on without it: it may be told to go when a leader of a later term is known that has not got that.
 */
static void
what_was_never_committed_holds_up_nothing(void **state)
{
	PdWorld    *w = new_cluster(300, 4);
	WGroup	   *g = &w->groups[0];
	WReplica   *r = NULL;
	Report	   *report;
	uint32_t	was = 0;

	(void) state;
	create(w, 1, 3);
	settle(w, 3, 10);
	while (!(r = replica_on(&w->stores[was], g->shard)) || r->replica != g->leader)
		was++;
	store_dies(w, was);
	r->conf_index = g->last + 1000000;
	settle(w, 3, 120);
	assert_true(g->conf_index < r->conf_index && g->term > 1);

	/* It is of the term of whoever leads, as far as we know. */
	g->term = 1;
	run_seconds(w, 2);
	w->stores[was].alive = true;
	run_seconds(w, 10);
	report = report_of(&w->pd, w->stores[was].id, g->shard);
	assert_true(report && report->last_term == 1);
	assert_non_null(replica_on(&w->stores[was], g->shard));

	/* Of an earlier one. */
	g->term = 2;
	run_seconds(w, 10);
	assert_null(replica_on(&w->stores[was], g->shard));
	settle(w, 3, 20);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_change_stands_still),
		TEST(a_change_goes_on),
		TEST(what_was_never_committed_holds_up_nothing),
	};

	return cmocka_run_group_tests_name("pd_amid", tests, NULL, NULL);
}
