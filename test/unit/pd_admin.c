/*-------------------------------------------------------------------------
 *
 * pd_admin.c
 *	  What people ask of the placement driver: operators and their end, replicas of
 *	  a collection, stores that are forgotten, what is wrong, everything at once.
 *
 *-------------------------------------------------------------------------
 */
#include "base/clock.h"
#include "pd_world.h"
#include "../../src/pd/findings.h"

/* Ask for a change; words: what the refusal says, NULL = it is none. */
static void
ask(PdWorld *w, VtStatus (*change) (Pd *, json_t *, VtError *), json_t *body, VtStatus wanted, const char *words)
{
	VtError		err = {0};
	VtStatus	status = change(&w->pd, body, &err);

	expect(status, wanted, &err, words);
	json_decref(body);
}

static json_t *
store_body(uint64_t store)
{
	return json_pack("{s:o}", "store", json_u64(store));
}

static json_t *
replicas_body(const char *collection, int replicas)
{
	return json_pack("{s:s,s:i}", "collection", collection, "replicas", replicas);
}

/* Registration of a store of the world's, as it would come. */
static VtStatus
registers(PdWorld *w, uint64_t id, const VtId *data_id, const char *endpoint)
{
	char		text[VT_ID_TEXT];
	char		number[24];
	json_t	   *body;
	json_t	   *reply = NULL;
	VtError		err = {0};
	VtStatus	status;

	vt_id_format(data_id, text);
	snprintf(number, sizeof(number), "%" PRIu64, id);
	body = json_pack("{s:i,s:s,s:s,s:s,s:s}", "level_high", VT_LEVEL_NEWEST, "store", number, "cluster", "", "data_id", text, "endpoint", endpoint);
	status = register_store(&w->pd, "", body, &reply, &err);
	if (status != VT_OK && !strstr(vt_error_words(&err), "was forgotten"))
		fail_msg("%s", vt_error_words(&err));
	json_decref(reply);
	json_decref(body);
	return status;
}

/* -- Stores ------------------------------------------------------------------ */

/* What is said of a store among workers, or among those that were forgotten; "" = nothing. */
static const char *
state_among(PdWorld *w, const char *rows, uint64_t store)
{
	static char out[32];
	json_t	   *reply = json_workers(&w->pd, NULL);
	json_t	   *row;
	size_t		i;

	out[0] = '\0';
	json_array_foreach(json_object_get(reply, rows), i, row)
		if (strtoull(json_string_value(json_object_get(row, "store")), NULL, 10) == store)
		{
			assert_int_equal(out[0], '\0');
			snprintf(out, sizeof(out), "%s", json_string_value(json_object_get(row, "state")));
		}
	json_decref(reply);
	return out;
}

/* Who says nothing of them is of an earlier release. */
static void
tombstones_are_told_unless_nobody_wants_them(PdWorld *w)
{
	static const char *const questions[] = {"{\"op\":\"workers\"}", "{\"op\":\"workers\",\"tombstones\":true}", "{\"op\":\"workers\",\"tombstones\":false}"};

	for (int i = 0; i < 3; i++)
	{
		json_t	   *body = json_loads(questions[i], 0, NULL);
		json_t	   *reply = json_workers(&w->pd, body);

		assert_int_equal(json_array_size(json_object_get(reply, "workers")), w->pd.catalog->nstores);
		assert_int_equal(json_array_size(json_object_get(reply, "tombstones")), i < 2 ? w->pd.catalog->ngone : 0);
		assert_true((json_object_get(reply, "tombstones") != NULL) == (i < 2));
		json_decref(reply);
		json_decref(body);
	}
}

static void
is_a_tombstone(PdWorld *w, uint64_t store)
{
	assert_string_equal(state_among(w, "workers", store), "");
	assert_string_equal(state_among(w, "tombstones", store), "tombstone");
	tombstones_are_told_unless_nobody_wants_them(w);
}

static void
only_an_empty_silent_store_is_forgotten(void **state)
{
	PdWorld    *w = cluster(1, 4);
	uint64_t	gone = w->stores[1].id;
	VtId		gone_data = w->stores[1].data_id;
	uint64_t	peers;
	json_t	   *body;
	VtError		err = {0};

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	ask(w, forget_store, store_body(gone), VT_EXISTS, "is up");
	ask(w, forget_store, store_body(12345), VT_NOT_FOUND, "no such store");
	store_dies(w, 1);
	run_seconds(w, 30);
	ask(w, forget_store, store_body(gone), VT_EXISTS, "no successor elsewhere");
	run_seconds(w, 31);			/* it is down, and nothing is repaired yet */
	settle(w, 3, 60);
	run_seconds(w, 5);
	another_driver(w);
	ask(w, forget_store, store_body(gone), VT_BUSY, "just begun");
	run_seconds(w, 30);
	ask(w, forget_store, store_body(gone), VT_EXISTS, "not for as long");
	run_seconds(w, 60);
	peers = w->pd.catalog->meta.peers_version;
	assert_string_equal(state_among(w, "workers", gone), "down");
	assert_string_equal(state_among(w, "tombstones", gone), "");
	ask(w, forget_store, store_body(gone), VT_OK, NULL);
	ask(w, forget_store, store_body(gone), VT_OK, NULL);
	is_a_tombstone(w, gone);
	assert_null(catalog_store(w->pd.catalog, gone));
	assert_int_equal(w->pd.catalog->meta.peers_version, peers + 1);
	assert_int_equal(w->pd.catalog->nstores, 3);

	/* It comes back: under its number, as if new, by a heartbeat; and to another driver. */
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(registers(w, gone, &gone_data, "unix:/w1"), VT_GONE);
		assert_int_equal(registers(w, 0, &gone_data, "unix:/elsewhere"), VT_GONE);
		body = json_pack("{s:o,s:i,s:[]}", "store", json_u64(gone), "wait_ms", 0, "shards");
		assert_int_equal(heartbeat_take(&w->pd, body, &err), VT_GONE);
		assert_non_null(strstr(vt_error_words(&err), "was forgotten"));
		json_decref(body);
		another_driver(w);
		is_a_tombstone(w, gone);
	}

	/* The same place with an empty directory is another store. */
	store_is_replaced(w, 1);
	run_seconds(w, 5);
	assert_true(w->stores[1].id != gone);
	assert_int_equal(w->pd.catalog->nstores, 4);
	is_a_tombstone(w, gone);
	assert_string_equal(state_among(w, "tombstones", w->stores[1].id), "");
	assert_int_equal(unsettled(w, 3, true), 0);
	cluster_end(w);
}

/* One that was emptied on purpose need not be waited for. */
static void
a_drained_store_is_forgotten_when_it_stops(void **state)
{
	PdWorld    *w = cluster(2, 4);
	CatalogStore changed;
	Buf			command = {0};

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	changed = *catalog_store(w->pd.catalog, w->stores[0].id);
	changed.draining = true;
	command_begin(&command);
	command_store(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
	run_seconds(w, 60);
	settle(w, 3, 60);
	assert_int_equal(w->stores[0].n, 0);
	assert_string_equal(state_among(w, "workers", w->stores[0].id), "draining");
	ask(w, forget_store, store_body(w->stores[0].id), VT_EXISTS, "is up");
	store_dies(w, 0);
	run_seconds(w, 11);
	assert_string_equal(state_among(w, "workers", w->stores[0].id), "suspect");
	ask(w, forget_store, store_body(w->stores[0].id), VT_OK, NULL);
	is_a_tombstone(w, w->stores[0].id);
	assert_int_equal(unsettled(w, 3, true), 0);
	cluster_end(w);
}

static void
to_state(PdWorld *w, const CatalogCollection *c, CollectionState to)
{
	CatalogCollection changed = *c;
	Buf			command = {0};

	changed.state = to;
	changed.unused_us = 1;
	command_begin(&command);
	command_collection(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
}

/* Nothing of the collection is on stores that are lost, and those that were forgotten owe nothing. */
static void
deletions_go_on(PdWorld *w, const VtId *generation, uint32_t left)
{
	CatalogCollection *c;

	for (int i = 0; i < 4; i++)
	{
		w->pd.drops_due_us = 0;
		drops_look(&w->pd);
	}
	c = catalog_collection(w->pd.catalog, generation);
	for (uint32_t i = 0; i < c->nshards; i++)
		assert_int_equal(c->shards[i].desc.nreplicas, left);
	for (size_t i = 0; i < w->pd.catalog->nowed; i++)
		assert_null(catalog_gone(w->pd.catalog, w->pd.catalog->owed[i].store, NULL));
}

/*
 * What was dropped does not hold a store back, except where nothing could bring
 * it back any more while it is still kept.
 */
static void
dropped_collections_and_forgotten_stores(void **state)
{
	PdWorld    *w = cluster(3, 3);
	VtId		kept = create(w, 2, 3)->generation;
	VtId		doomed = create(w, 2, 3)->generation;
	CatalogOwed owed = {.shard = 77, .replica = 78};
	Buf			command = {0};

	(void) state;
	settle(w, 3, 10);
	to_state(w, catalog_collection(w->pd.catalog, &kept), COLLECTION_HIDDEN);
	to_state(w, catalog_collection(w->pd.catalog, &doomed), COLLECTION_HIDDEN);
	store_dies(w, 2);
	owed.store = w->stores[2].id;
	command_begin(&command);
	command_owed(&command, &owed);
	world_commit(&w->pd, &command);
	buf_free(&command);
	run_seconds(w, 61);
	to_state(w, catalog_collection(w->pd.catalog, &doomed), COLLECTION_DOOMED);
	ask(w, forget_store, store_body(w->stores[2].id), VT_OK, NULL);
	assert_int_equal(w->pd.catalog->nowed, 0);
	deletions_go_on(w, &doomed, 2);
	to_state(w, catalog_collection(w->pd.catalog, &doomed), COLLECTION_HIDDEN);	/* workers of this world do not delete voters */

	/* The next one would take the majority of what is kept with it. */
	store_dies(w, 1);
	run_seconds(w, 61);
	ask(w, forget_store, store_body(w->stores[1].id), VT_EXISTS, "bring a dropped collection back");

	/* When it is no longer kept, it goes on without that one, too. */
	to_state(w, catalog_collection(w->pd.catalog, &kept), COLLECTION_DOOMED);
	to_state(w, catalog_collection(w->pd.catalog, &doomed), COLLECTION_DOOMED);
	ask(w, forget_store, store_body(w->stores[1].id), VT_OK, NULL);
	deletions_go_on(w, &kept, 1);
	cluster_end(w);
}

/* One store after the other, of which each alone could be spared: those that went before are not there to bring it back. */
static void
a_kept_collection_keeps_its_majority(void **state)
{
	PdWorld    *w = cluster(9, 3);
	VtId		kept = create(w, 2, 3)->generation;

	(void) state;
	settle(w, 3, 10);
	to_state(w, catalog_collection(w->pd.catalog, &kept), COLLECTION_HIDDEN);
	store_dies(w, 2);
	run_seconds(w, 61);
	ask(w, forget_store, store_body(w->stores[2].id), VT_OK, NULL);
	store_dies(w, 1);
	run_seconds(w, 61);
	ask(w, forget_store, store_body(w->stores[1].id), VT_EXISTS, "bring a dropped collection back");
	to_state(w, catalog_collection(w->pd.catalog, &kept), COLLECTION_DOOMED);
	ask(w, forget_store, store_body(w->stores[1].id), VT_OK, NULL);
	cluster_end(w);
}

/* -- Replicas ---------------------------------------------------------------- */

static void
replicas_follow_what_is_wanted(void **state)
{
	PdWorld    *w = cluster(4, 5);
	VtId		id = create(w, 4, 2)->generation;
	char		generation[VT_ID_TEXT];

	(void) state;
	vt_id_format(&id, generation);
	settle(w, 2, 10);
	ask(w, set_replicas, replicas_body(generation, 0), VT_INVALID, "from 1 to 9");
	ask(w, set_replicas, replicas_body(generation, 10), VT_INVALID, "from 1 to 9");
	ask(w, set_replicas, replicas_body("nobody", 3), VT_NOT_FOUND, "no collection");
	ask(w, set_replicas, replicas_body(generation, 4), VT_OK, NULL);
	w->wanted = 4;
	settle(w, 4, 120);
	another_driver(w);
	run_seconds(w, 5);
	ask(w, set_replicas, replicas_body(generation, 1), VT_OK, NULL);
	w->wanted = 1;
	settle(w, 1, 120);
	to_state(w, catalog_collection(w->pd.catalog, &id), COLLECTION_HIDDEN);
	ask(w, set_replicas, replicas_body(generation, 3), VT_GONE, "dropped");
	cluster_end(w);
}

/* -- Operators --------------------------------------------------------------- */

static json_t *
only_operator(PdWorld *w)
{
	json_t	   *list = json_operators(&w->pd, NULL);
	json_t	   *row = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : NULL;

	json_decref(list);
	return row;
}

static void
an_operator_says_how_far_it_is(void **state)
{
	PdWorld    *w = cluster(5, 3);
	CatalogCollection *c = create(w, 1, 1);
	uint64_t	shard = c->shards[0].desc.shard;
	char		generation[VT_ID_TEXT];
	bool		seen[3] = {false};
	json_int_t	since = -1;
	json_t	   *row;

	(void) state;
	vt_id_format(&c->generation, generation);
	settle(w, 1, 10);
	run_seconds(w, 5000 / GROWTH);	/* so much that a new replica takes a while */
	assert_null(only_operator(w));
	ask(w, cancel_operator, json_pack("{s:o}", "shard", json_u64(shard)), VT_NOT_FOUND, "no operator");
	ask(w, cancel_operator, json_pack("{s:s}", "shard", "77"), VT_NOT_FOUND, "no such shard");
	ask(w, set_replicas, replicas_body(generation, 2), VT_OK, NULL);
	for (int i = 0; i < 600 && !(since > 0 && unsettled(w, 2, false) == 0); i++)
	{
		const char *step;

		tick(w);
		operators_look(&w->pd);
		row = only_operator(w);
		if (!row)
			continue;
		assert_string_equal(json_string_value(json_object_get(row, "kind")), "grow");
		step = json_string_value(json_object_get(row, "step"));
		seen[0] |= strcmp(step, "make the new replica") == 0;
		seen[1] |= strcmp(step, "let it join as a learner") == 0;
		seen[2] |= strcmp(step, "give it a vote") == 0;
		assert_true(json_integer_value(json_object_get(row, "since_ms")) >= since);
		assert_true(json_integer_value(json_object_get(row, "step_since_ms")) <= json_integer_value(json_object_get(row, "since_ms")));
		since = json_integer_value(json_object_get(row, "since_ms"));
		json_decref(row);
	}
	for (int i = 0; i < 3; i++)
		assert_true(seen[i]);
	assert_true(since > 0);
	settle(w, 2, 10);
	cluster_end(w);
}

/* The last change that ended is this one, and was cancelled. */
static void
check_ended(PdWorld *w, uint64_t shard, json_t *operator)
{
	json_t	   *list = json_ended(&w->pd);
	json_t	   *row = json_array_get(list, 0);
	uint64_t	id = 0;

	assert_true(get_u64(row, "shard", &id) && id == shard);
	assert_string_equal(json_string_value(json_object_get(row, "result")), "cancelled");
	assert_string_equal(json_string_value(json_object_get(row, "kind")), json_string_value(json_object_get(operator, "kind")));
	json_decref(list);
}

/* At whichever moment it comes: nothing is left over, and a need is served anew. */
static void
a_cancelled_operator_leaves_nothing(void **state)
{
	(void) state;
	for (int moment = 0; moment < 30; moment++)
	{
		PdWorld    *w = cluster(100 + (uint64_t) moment, 4);
		CatalogCollection *c = create(w, 1, 2);
		uint64_t	shard = c->shards[0].desc.shard;
		char		generation[VT_ID_TEXT];
		json_t	   *row;

		vt_id_format(&c->generation, generation);
		settle(w, 2, 10);
		ask(w, set_replicas, replicas_body(generation, 3), VT_OK, NULL);
		for (int i = 0; i < moment; i++)
			tick(w);
		row = only_operator(w);
		ask(w, set_replicas, replicas_body(generation, 2), VT_OK, NULL);
		if (row)
		{
			ask(w, cancel_operator, json_pack("{s:o}", "shard", json_u64(shard)), VT_OK, NULL);
			check_ended(w, shard, row);
		}
		json_decref(row);
		settle(w, 2, 60);
		run_seconds(w, 10);
		assert_int_equal(unsettled(w, 2, true), 0);
		cluster_end(w);
	}
}

static void
is_no_shard(PdWorld *w)
{
	json_t	   *body = json_pack("{s:s}", "what", "0");
	VtError		err = {0};
	CatalogCollection *c;
	uint32_t	n;

	assert_null(find_shard(&w->pd, 0, &c));
	ask(w, cancel_operator, json_pack("{s:s}", "shard", "0"), VT_NOT_FOUND, "no such shard");
	expect(operate_move(&w->pd, 0, w->stores[0].id, w->stores[1].id, &err), VT_NOT_FOUND, &err, NULL);
	expect(operate_transfer(&w->pd, 0, w->stores[0].id, &err), VT_NOT_FOUND, &err, NULL);
	assert_int_equal(verify_ask(&w->pd, body, &n, &err), VT_NOT_FOUND);
	json_decref(body);
}

/* 0 is no shard: neither where there are some, nor where there were and what is left of them in an index leads nowhere. */
static void
shard_0_is_none(void **state)
{
	PdWorld    *w = cluster(8, 3);
	Buf			command = {0};

	(void) state;
	is_no_shard(w);
	for (int i = 0; i < 4; i++)
		create(w, 8, 3);
	settle(w, 3, 20);
	is_no_shard(w);
	while (w->pd.catalog->ncollections > 0)
	{
		VtId		last = w->pd.catalog->collections[0]->generation;

		command_begin(&command);
		command_forget(&command, &last);
		world_commit(&w->pd, &command);
		is_no_shard(w);
	}
	assert_int_equal(catalog_nshards(w->pd.catalog), 0);
	buf_free(&command);
	cluster_end(w);
}

/* -- What is wrong ------------------------------------------------------------- */

static void
findings_come_and_go(void **state)
{
	PdWorld    *w = cluster(6, 4);

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	/* Workers of this world say no version. */
	assert_int_equal(findings(w), 4);
	assert_true(has_finding(w, "version", "warning"));

	store_dies(w, 0);
	run_seconds(w, 12);
	assert_true(has_finding(w, "store_silent", "warning"));
	assert_true(has_finding(w, "one_loss_away", "warning"));
	assert_false(has_finding(w, "majority_lost", "critical"));
	store_dies(w, 1);
	run_seconds(w, 12);
	assert_true(has_finding(w, "majority_lost", "critical"));
	assert_true(has_finding(w, "mass_failure", "critical"));
	w->stores[0].alive = w->stores[1].alive = true;
	run_seconds(w, 12);
	assert_int_equal(findings(w), 4);

	w->stores[2].unreachable = 3;
	run_seconds(w, 1);
	assert_int_equal(findings(w), 5);
	assert_true(has_finding(w, "graph", "warning"));
	w->stores[2].unreachable = 0;
	run_seconds(w, 1);
	assert_int_equal(findings(w), 4);

	w->stores[2].damaged = w->stores[2].replicas[0];
	w->stores[2].replicas[0] = w->stores[2].replicas[--w->stores[2].n];
	run_seconds(w, 1);
	assert_true(has_finding(w, "damaged", "warning"));
	settle(w, 3, 90);
	run_seconds(w, 5);
	assert_int_equal(findings(w), 4);

	store_dies(w, 3);
	run_seconds(w, 120);
	assert_true(has_finding(w, "store_down", "warning"));
	ask(w, forget_store, store_body(w->stores[3].id), VT_OK, NULL);
	assert_false(has_finding(w, "store_down", "warning"));
	cluster_end(w);
}

/* An outage of many indexes: so many of a kind are told, of the others how many they are, and nothing else is left out. */
static void
what_is_wrong_many_times_is_told_briefly(void **state)
{
	PdWorld    *w = cluster(61, 3);
	CatalogCollection c = *create(w, 1, 3);
	CatalogShard shard = c.shards[0];
	Buf			command = {0};
	json_t	   *list;
	json_t	   *row;
	json_t	   *last = NULL;
	size_t		i;
	size_t		n = 0;

	(void) state;
	c.shards = &shard;
	shard.bootstrapped = true;
	for (uint64_t k = 0; k < 3 * FINDINGS_OF_A_KIND; k++)
	{
		vt_id_random(&c.generation);
		shard.desc.generation = c.generation;
		shard.desc.shard = 500000 + k;
		snprintf(c.label, sizeof(c.label), "postgres.public.t_%d", (int) k);
		command_begin(&command);
		command_collection(&command, &c);
		world_commit(&w->pd, &command);
	}
	buf_free(&command);
	for (uint32_t k = 0; k < 3; k++)
		beat_of(&w->pd, w->stores[k].id)->disk_short = true;
	list = json_findings(&w->pd, NULL);
	json_array_foreach(list, i, row)
	{
		if (strcmp(json_string_value(json_object_get(row, "finding")), "majority_lost") != 0)
			continue;
		n++;
		last = row;
	}
	assert_int_equal(n, FINDINGS_OF_A_KIND + 1);
	assert_string_equal(json_string_value(json_object_get(last, "subject")), "... and 200 more");
	assert_string_equal(json_string_value(json_object_get(last, "severity")), "critical");
	assert_non_null(strstr(json_string_value(json_object_get(last, "what")), "postgres.public.t_299"));
	assert_non_null(strstr(json_string_value(json_object_get(last, "advice")), "unsafe-recover"));
	json_decref(list);
	assert_true(has_finding(w, "disk_short", "warning"));
	cluster_end(w);
}

static void
a_store_tells_its_troubles(void **state)
{
	PdWorld    *w = cluster(7, 1);
	json_t	   *body = beat_body(w, &w->stores[0]);
	int64_t		wall = clock_wall_us();
	VtError		err = {0};

	(void) state;
	json_object_set_new(body, "version", json_string(PD_VERSION));
	json_object_set_new(body, "wall_us", json_integer(wall));
	json_object_set_new(body, "memory", json_u64(100));
	json_object_set_new(body, "memory_limit", json_u64(200));
	json_object_set_new(body, "certificate_until", json_integer(wall / 1000000 + 40 * 86400));
	assert_int_equal(heartbeat_take(&w->pd, body, &err), VT_OK);
	assert_int_equal(findings(w), 0);

	json_object_set_new(body, "wall_us", json_integer(wall - INT64_C(60000000)));
	json_object_set_new(body, "memory", json_u64(190));
	json_object_set_new(body, "disk_short", json_true());
	json_object_set_new(body, "certificate_until", json_integer(wall / 1000000 + 9 * 86400));
	assert_int_equal(heartbeat_take(&w->pd, body, &err), VT_OK);
	assert_true(has_finding(w, "clock", "warning"));
	assert_true(has_finding(w, "memory_short", "warning"));
	assert_true(has_finding(w, "disk_short", "warning"));
	assert_true(has_finding(w, "certificate", "warning"));

	json_object_set_new(body, "memory", json_u64(200));
	json_object_set_new(body, "disk_full", json_true());
	json_object_set_new(body, "certificate_until", json_integer(wall / 1000000 - 1));
	assert_int_equal(heartbeat_take(&w->pd, body, &err), VT_OK);
	assert_true(has_finding(w, "memory_full", "critical"));
	assert_true(has_finding(w, "disk_full", "critical"));
	assert_true(has_finding(w, "certificate", "critical"));
	json_decref(body);
	cluster_end(w);
}

/* -- Everything ---------------------------------------------------------------- */

static json_t *
dumped(PdWorld *w, const VtId *after)
{
	json_t	   *body = json_pack("{s:s}", "op", "dump");
	json_t	   *page;
	VtError		err = {0};

	if (after)
		json_object_set_new(body, "after", json_id(after));
	page = page_answer(&w->pd, NULL, body, &err);
	if (!page)
		fail_msg("%s", vt_error_words(&err));
	json_decref(body);
	return page;
}

/* How pages become one whole is in pages_joined.c. */
static void
a_dump_has_everything(void **state)
{
	PdWorld    *w = cluster(8, 3);
	VtId		after;
	json_t	   *page;
	json_t	   *rows;

	(void) state;
	for (int i = 0; i < 3; i++)
		create(w, 2, 3);
	settle(w, 3, 10);
	page = dumped(w, NULL);
	rows = json_object_get(page, "collections");
	assert_int_equal(json_array_size(rows), 3);
	assert_int_equal(json_array_size(json_object_get(page, "stores")), 3);
	assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(json_array_get(rows, 0), "shards"), 1), "replicas")), 3);
	assert_null(json_object_get(page, "next"));
	assert_true(get_id(json_array_get(rows, 1), "generation", &after));
	json_decref(page);

	page = dumped(w, &after);
	assert_int_equal(json_array_size(json_object_get(page, "collections")), 1);
	assert_null(json_object_get(page, "stores"));
	json_decref(page);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(only_an_empty_silent_store_is_forgotten),
		TEST(a_drained_store_is_forgotten_when_it_stops),
		TEST(dropped_collections_and_forgotten_stores),
		TEST(a_kept_collection_keeps_its_majority),
		TEST(replicas_follow_what_is_wanted),
		TEST(an_operator_says_how_far_it_is),
		TEST(a_cancelled_operator_leaves_nothing),
		TEST(findings_come_and_go),
		TEST(what_is_wrong_many_times_is_told_briefly),
		TEST(a_store_tells_its_troubles),
		TEST(shard_0_is_none),
		TEST(a_dump_has_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
