/*-------------------------------------------------------------------------
 *
 * pd_verify.c
 *	  Whether replicas hold the same: who is told to say it, how many at a time, and
 *	  what becomes of one that differs.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static Verdict
verdict_on(PdWorld *w, uint32_t store, uint64_t shard)
{
	CatalogCollection *c;
	const CatalogShard *s = find_shard(&w->pd, shard, &c);

	for (int i = 0; i < s->desc.nreplicas; i++)
		if (s->desc.replicas[i].store == w->stores[store].id)
			return verify_verdict(&w->pd, s, &s->desc.replicas[i]);
	return VERDICT_NONE;
}

static const char *
words_on(PdWorld *w, uint32_t store, uint64_t shard)
{
	static char words[VERIFY_WORDS];
	CatalogCollection *c;
	const CatalogShard *s = find_shard(&w->pd, shard, &c);

	words[0] = 0;
	for (int i = 0; i < s->desc.nreplicas; i++)
		if (s->desc.replicas[i].store == w->stores[store].id)
			verify_words(&w->pd, s, &s->desc.replicas[i], words);
	return words;
}

static uint32_t
ask_verify(PdWorld *w, const char *what)
{
	json_t	   *body = what ? json_pack("{s:s}", "what", what) : json_object();
	VtError		err = {0};
	uint32_t	n;

	if (verify_ask(&w->pd, body, &n, &err) != VT_OK)
		n = 0;
	json_decref(body);
	return n;
}

static void
replicas_that_agree_are_left_alone(void **state)
{
	PdWorld    *w = cluster(20, 4);
	CatalogCollection *c = create(w, 6, 3);
	uint64_t	shard = c->shards[0].desc.shard;
	char		name[24];
	uint32_t	created;
	uint64_t	first;

	(void) state;
	settle(w, 3, 10);
	created = w->created;
	snprintf(name, sizeof(name), "%" PRIu64, shard);
	assert_int_equal(ask_verify(w, "nobody"), 0);
	assert_int_equal(ask_verify(w, name), 1);
	run_seconds(w, 5);
	for (uint32_t i = 0; i < 4; i++)
		if (replica_on(&w->stores[i], shard))
			assert_int_equal(verdict_on(w, i, shard), VERDICT_AGREES);
	assert_int_equal(ask_verify(w, NULL), 6);
	run_seconds(w, 20);
	assert_int_equal(w->pd.nwanted, 0);
	for (uint32_t i = 0; i < 4; i++)
		for (uint32_t k = 0; k < w->stores[i].n; k++)
			assert_int_equal(verdict_on(w, i, w->stores[i].replicas[k].shard), VERDICT_AGREES);
	assert_int_equal(w->created, created);

	/* Asked for while one is under way, it begins after that. */
	assert_int_equal(ask_verify(w, name), 1);
	for (int i = 0; i < 50 && group_of(w, shard)->verify != w->pd.wanted[0].id; i++)
		tick(w);
	first = group_of(w, shard)->verify_at;
	assert_int_equal(ask_verify(w, name), 1);
	run_seconds(w, 10);
	assert_true(group_of(w, shard)->verify_at > first);
	assert_int_equal(w->pd.nwanted, 0);

	/* One that is away is not waited for when it comes to a majority. */
	store_dies(w, 0);
	run_seconds(w, 12);
	assert_int_equal(ask_verify(w, NULL), 6);
	run_seconds(w, 20);
	assert_int_equal(w->pd.nwanted, 0);
	cluster_end(w);
}

/* Found, set aside, replaced; whoever leads, also after a change of drivers. */
static void
one_that_differs_is_replaced(void **state)
{
	(void) state;
	for (uint32_t victim = 0; victim < 3; victim++)
	{
		PdWorld    *w = cluster(30 + victim, 4);
		uint64_t	shard = create(w, 1, 3)->shards[0].desc.shard;
		uint32_t	at = 0;
		uint64_t	wrong;

		settle(w, 3, 10);
		for (uint32_t n = 0; at < 4; at++)
			if (replica_on(&w->stores[at], shard) && n++ == victim)
				break;
		replica_on(&w->stores[at], shard)->wrong = true;
		wrong = replica_on(&w->stores[at], shard)->replica;
		run_seconds(w, 10);
		assert_int_equal(verdict_on(w, at, shard), VERDICT_NONE);	/* nobody has looked */
		assert_int_equal(ask_verify(w, NULL), 1);
		for (int i = 0; i < 100 && verdict_on(w, at, shard) != VERDICT_DIFFERS && w->stores[at].damaged.shard == 0; i++)
			tick(w);
		if (victim == 1)
			another_driver(w);
		run_seconds(w, 20);
		settle(w, 3, 60);
		for (uint32_t i = 0; i < 4; i++)
			assert_true(!replica_on(&w->stores[i], shard) || replica_on(&w->stores[i], shard)->replica != wrong);
		cluster_end(w);
	}
}

/* A heartbeat by hand: is the store to set something aside? */
static bool
is_to_set_aside(PdWorld *w, uint32_t store)
{
	json_t	   *body = beat_body(w, &w->stores[store]);
	VtError		err = {0};
	json_t	   *reply;
	json_t	   *task;
	size_t		i;
	bool		is = false;

	assert_int_equal(heartbeat_take(&w->pd, body, &err), VT_OK);
	reply = heartbeat_answer(&w->pd, body);
	json_array_foreach(json_object_get(reply, "tasks"), i, task)
	{
		is |= strcmp(json_string_value(json_object_get(task, "task")), "set_aside") == 0;
	}
	json_decref(reply);
	json_decref(body);
	return is;
}

/* What another one says makes a replica the one that differs: its store hears of that in its next heartbeat. */
static void
what_others_say_is_judged_at_once(void **state)
{
	PdWorld    *w = cluster(71, 3);
	uint64_t	shard = create(w, 1, 3)->shards[0].desc.shard;

	(void) state;
	settle(w, 3, 10);
	replica_on(&w->stores[0], shard)->wrong = true;
	for (uint32_t i = 0; i < 3; i++)
	{
		replica_on(&w->stores[i], shard)->verified = 5;
		assert_false(is_to_set_aside(w, i));
		assert_true(beat_of(&w->pd, w->stores[i].id)->judged);
		assert_false(i < 2 && is_to_set_aside(w, 0));
	}
	assert_true(is_to_set_aside(w, 0));
	assert_false(beat_of(&w->pd, w->stores[0].id)->judged);
	assert_false(is_to_set_aside(w, 1));
	assert_true(beat_of(&w->pd, w->stores[1].id)->judged);
	cluster_end(w);
}

/* Two of three differ from each other and from the third: people decide. */
static void
without_a_majority_nothing_is_done(void **state)
{
	PdWorld    *w = cluster(40, 2);
	uint64_t	shard = create(w, 1, 2)->shards[0].desc.shard;

	(void) state;
	settle(w, 2, 10);
	replica_on(&w->stores[1], shard)->wrong = true;
	assert_int_equal(ask_verify(w, NULL), 1);
	run_seconds(w, 10);
	assert_int_equal(verdict_on(w, 0, shard), VERDICT_SPLIT);
	assert_int_equal(verdict_on(w, 1, shard), VERDICT_SPLIT);
	assert_string_equal(words_on(w, 1, shard), "no majority in rows");
	assert_true(has_finding(w, "no_agreement", "critical"));
	assert_int_equal(unsettled(w, 2, true), 0);
	cluster_end(w);
}

/* Rows are the same, and something else is not: that is named, and the replica replaced. */
static void
it_is_said_in_what_one_differs(void **state)
{
	(void) state;
	for (int part = 0; part <= VERIFIED_PARTS; part++)
	{
		PdWorld    *w = cluster(60 + (uint32_t) part, 4);
		uint64_t	shard = create(w, 1, 3)->shards[0].desc.shard;
		uint32_t	at = 0;
		WReplica   *r;
		char		words[64];
		uint64_t	wrong;

		settle(w, 3, 10);
		while (!replica_on(&w->stores[at], shard))
			at++;
		r = replica_on(&w->stores[at], shard);
		wrong = r->replica;
		r->wrong = part == VERIFIED_PARTS;
		r->other = part == VERIFIED_PARTS ? verified_parts[1] : verified_parts[part];
		snprintf(words, sizeof(words), "differs in %s%s", r->wrong ? "rows, " : "", r->other);
		assert_int_equal(ask_verify(w, NULL), 1);
		for (int i = 0; i < 200 && strcmp(words_on(w, at, shard), words) != 0; i++)
			tick(w);
		assert_string_equal(words_on(w, at, shard), words);
		for (uint32_t i = at + 1; i < 4; i++)
			assert_string_equal(words_on(w, i, shard), replica_on(&w->stores[i], shard) ? "agrees" : "");
		run_seconds(w, 20);
		settle(w, 3, 60);
		assert_true(!replica_on(&w->stores[at], shard) || replica_on(&w->stores[at], shard)->replica != wrong);
		cluster_end(w);
	}
}

/* A worker of another release tells less: it is compared in what it tells, with whom it may. */
static void
releases_are_compared_in_what_both_tell(void **state)
{
	PdWorld    *w = cluster(70, 3);
	uint64_t	shard = create(w, 1, 3)->shards[0].desc.shard;

	(void) state;
	settle(w, 3, 10);
	replica_on(&w->stores[1], shard)->older = true;
	assert_int_equal(ask_verify(w, NULL), 1);
	run_seconds(w, 10);
	for (uint32_t i = 0; i < 3; i++)
		assert_string_equal(words_on(w, i, shard), "agrees");

	/* Two differ, and the third could be with either of them. */
	replica_on(&w->stores[2], shard)->other = "fence";
	assert_int_equal(ask_verify(w, NULL), 1);
	run_seconds(w, 10);
	for (uint32_t i = 0; i < 3; i++)
		assert_string_equal(words_on(w, i, shard), "agrees");

	/* Its rows are told as ever. */
	replica_on(&w->stores[2], shard)->other = NULL;
	replica_on(&w->stores[1], shard)->wrong = true;
	assert_int_equal(ask_verify(w, NULL), 1);
	for (int i = 0; i < 200 && verdict_on(w, 1, shard) != VERDICT_DIFFERS; i++)
		tick(w);
	assert_string_equal(words_on(w, 1, shard), "differs in rows");
	cluster_end(w);
}

static void
what_is_long_ago_is_compared_again(void **state)
{
	PdWorld    *w = cluster(50, 3);
	uint64_t	shard = create(w, 2, 3)->shards[1].desc.shard;
	uint64_t	first;

	(void) state;
	settle(w, 3, 10);
	w->pd.options.verify_us = 100 * SECOND_US;
	run_seconds(w, 60);
	assert_int_equal(replica_on(&w->stores[0], shard)->verified, 0);
	run_seconds(w, 60);
	first = replica_on(&w->stores[0], shard)->verified;
	assert_true(first != 0);
	run_seconds(w, 60);
	assert_true(replica_on(&w->stores[0], shard)->verified == first);
	run_seconds(w, 60);
	assert_true(replica_on(&w->stores[0], shard)->verified != first);
	cluster_end(w);
}

/* How often a shard is compared in so long, by what is in its group's log. */
static uint32_t
compared(PdWorld *w, uint64_t shard, int seconds)
{
	uint64_t	last = group_of(w, shard)->verify;
	uint32_t	n = 0;

	for (int64_t until = w->now + seconds * SECOND_US; w->now < until;)
	{
		tick(w);
		n += group_of(w, shard)->verify != last;
		last = group_of(w, shard)->verify;
	}
	return n;
}

/* Whoever's clock is years away, the workers' (0) or this driver's (1, 2): a shard's turn comes as often as it should. */
static void
nobodys_clock_stops_or_drives_comparisons(void **state)
{
	const int64_t years = INT64_C(10) * 365 * 86400 * SECOND_US;

	(void) state;
	for (int whose = 0; whose < 4; whose++)
	{
		PdWorld    *w = cluster(60 + (uint64_t) whose, 3);
		uint64_t	shard = create(w, 1, 3)->shards[0].desc.shard;
		uint32_t	n;

		settle(w, 3, 10);
		for (int i = 0; i < 3; i++)
			w->stores[i].wall_ahead_us = whose == 0 ? years : 0;
		w->pd.wall_ahead_us = whose == 1 ? years : whose == 2 ? -years : 0;
		w->pd.options.verify_us = 100 * SECOND_US;
		n = compared(w, shard, 1000);
		assert_in_range(n, 8, 10);
		cluster_end(w);
	}
}

/*
 * All is asked for, twice: each shard waits once, a few are compared at a time, and whoever has no leader holds up
 * nobody.  What is looked at in a heartbeat is what was taken up.
 */
static void
what_waits_waits_for_its_turn(void **state)
{
	PdWorld    *w = cluster(80, 5);
	VtId		generation = create(w, 30, 3)->generation;
	const CatalogCollection *c;
	size_t		led = 0;
	bool		began[32] = {false};

	(void) state;
	settle(w, 3, 30);
	store_dies(w, 0);
	store_dies(w, 1);
	run_seconds(w, 12);
	assert_int_equal(ask_verify(w, NULL), 30);
	assert_int_equal(ask_verify(w, NULL), 30);
	assert_int_equal(w->pd.nwanted, COMPARISONS_MAX);
	assert_int_equal(w->pd.waiting.n, 30 - COMPARISONS_MAX);
	c = catalog_collection(w->pd.catalog, &generation);
	for (uint32_t i = 0; i < 30; i++)
	{
		uint64_t	store;

		led += leader_of(&w->pd, &c->shards[i], &store) != NULL;
	}
	assert_in_range(led, 10, 29);
	for (int i = 0; i < 400; i++)
	{
		size_t		under_way = 0;

		tick(w);
		for (uint32_t k = 0; k < 30; k++)
		{
			WGroup	   *g = group_of(w, c->shards[k].desc.shard);

			began[k] |= g->verify != 0;
		}
		for (size_t k = 0; k < w->pd.nwanted; k++)
			under_way += w->pd.wanted[k].told_us != 0;
		assert_true(under_way <= COMPARISONS_MAX && w->pd.nwanted + w->pd.waiting.n <= 30);
	}
	for (uint32_t i = 0; i < 30; i++)
	{
		uint64_t	store;

		assert_int_equal(began[i], leader_of(&w->pd, &c->shards[i], &store) != NULL);
	}

	/* Those without a leader wait still, and are compared when they have one. */
	assert_int_equal(w->pd.nwanted, 0);
	assert_int_equal(w->pd.waiting.n, 30 - led);
	w->stores[0].alive = w->stores[1].alive = true;
	run_seconds(w, 40);
	assert_int_equal(w->pd.nwanted, 0);
	assert_int_equal(w->pd.waiting.n, 0);
	for (uint32_t i = 0; i < 30; i++)
		assert_true(group_of(w, c->shards[i].desc.shard)->verify != 0);

	/* What was dropped meanwhile is not waited for. */
	assert_int_equal(ask_verify(w, NULL), 30);
	verify_forget(&w->pd);
	assert_int_equal(w->pd.nwanted + w->pd.waiting.n, 0);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(replicas_that_agree_are_left_alone),
		TEST(one_that_differs_is_replaced),
		TEST(what_others_say_is_judged_at_once),
		TEST(without_a_majority_nothing_is_done),
		TEST(it_is_said_in_what_one_differs),
		TEST(releases_are_compared_in_what_both_tell),
		TEST(what_is_long_ago_is_compared_again),
		TEST(nobodys_clock_stops_or_drives_comparisons),
		TEST(what_waits_waits_for_its_turn),
	};

	return cmocka_run_group_tests_name("pd_verify", tests, NULL, NULL);
}
