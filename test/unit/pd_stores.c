/*-------------------------------------------------------------------------
 *
 * pd_stores.c
 *	  Whose word counts for a store: that of the certificate it came with first.
 *	  Where it may listen, whose silence says nothing, and who took its place.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static PdWorld *
driver(void)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));

	world_begin(w, 1, 0);
	return w;
}

static void
end(PdWorld *w)
{
	cluster_end(w);
}

/* Register with a certificate of this name; the number it gets, or has. */
static VtStatus
comes(PdWorld *w, const char *name, const VtId *directory, uint64_t *store)
{
	char		text[VT_ID_TEXT];
	char		number[24];
	VtError		err = {0};
	json_t	   *body;
	json_t	   *reply = NULL;
	VtStatus	status;

	vt_id_format(directory, text);
	snprintf(number, sizeof(number), "%" PRIu64, *store);
	body = json_pack("{s:s,s:s,s:s,s:s}", "store", number, "cluster", "", "data_id", text, "endpoint", "tcp://10.0.0.1:1");
	status = register_store(&w->pd, name, body, &reply, &err);
	if (status == VT_OK)
		assert_true(get_u64(reply, "store", store));
	else
		assert_non_null(strstr(err.msg, "does not speak for it"));
	json_decref(reply);
	json_decref(body);
	return status;
}

static void
a_store_is_bound_to_its_certificate(void **state)
{
	PdWorld    *w = driver();
	VtId		directory;
	uint64_t	store = 0;
	uint64_t	unnamed = 0;
	VtError		err = {0};

	(void) state;
	vt_id_random(&directory);
	assert_int_equal(comes(w, "w1", &directory, &store), VT_OK);

	/* Another worker's does not speak for it, with the number or with the directory alone. */
	assert_int_equal(comes(w, "w2", &directory, &store), VT_DENIED);
	assert_int_equal(comes(w, "w2", &directory, &unnamed), VT_DENIED);
	assert_int_equal(store_bound(catalog_store(w->pd.catalog, store), "w2", &err), VT_DENIED);

	/* A renewed one has the same name; also for another driver. */
	pd_end(w);
	pd_begin(w);
	assert_int_equal(comes(w, "w1", &directory, &store), VT_OK);
	assert_int_equal(comes(w, "w2", &directory, &store), VT_DENIED);

	/* Our own user comes without one, and unbinds nothing. */
	assert_int_equal(comes(w, "", &directory, &store), VT_OK);
	assert_int_equal(comes(w, "w2", &directory, &store), VT_DENIED);
	end(w);
}

/* One that came over a unix socket is bound when it first shows a certificate. */
static void
the_first_certificate_counts(void **state)
{
	PdWorld    *w = driver();
	VtId		directory;
	uint64_t	store = 0;

	(void) state;
	vt_id_random(&directory);
	assert_int_equal(comes(w, "", &directory, &store), VT_OK);
	assert_int_equal(comes(w, "w7", &directory, &store), VT_OK);
	assert_int_equal(comes(w, "w8", &directory, &store), VT_DENIED);
	end(w);
}

/* A driver that nobody could reach does not take the workers for lost. */
static void
a_frozen_driver_listens_anew(void **state)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));
	CatalogCollection *c;

	(void) state;
	world_begin(w, 1, 3);
	w->pd.leads = true;
	run_seconds(w, 3);
	pd_pass_time(&w->pd, 0, w->now + 900000);
	assert_true(reports_are_in(&w->pd));

	/* One of them is heard again at once. */
	w->now += 12 * SECOND_US;
	pd_pass_time(&w->pd, 0, w->now);
	assert_false(reports_are_in(&w->pd));
	w->stores[1].beat_due = w->stores[2].beat_due = w->now + 2 * SECOND_US;
	run_seconds(w, 1);
	assert_true(store_is_up(&w->pd, w->stores[0].id));
	assert_false(reports_are_in(&w->pd));

	/* What is asked for then is placed on all. */
	run_seconds(w, 2);
	assert_true(reports_are_in(&w->pd));
	c = create(w, 1, 3);
	assert_int_equal(c->shards[0].desc.nreplicas, 3);
	end(w);
}

static bool
is_superseded(PdWorld *w, uint64_t store)
{
	return store_is_superseded(&w->pd, catalog_store(w->pd.catalog, store));
}

/* A store says from now on that it is there. */
static void
moves(PdWorld *w, uint64_t store, const char *endpoint)
{
	CatalogStore row = *catalog_store(w->pd.catalog, store);
	Buf			command = {0};

	snprintf(row.endpoint, sizeof(row.endpoint), "%s", endpoint);
	command_begin(&command);
	command_store(&command, &row);
	world_commit(&w->pd, &command);
	buf_free(&command);
}

static Health
health(PdWorld *w, uint64_t store)
{
	return store_health(&w->pd, catalog_store(w->pd.catalog, store));
}

/* Who speaks where another has been silent took its place; but not who speaks from elsewhere by now. */
static void
another_speaks_from_its_place(void **state)
{
	PdWorld    *w = cluster(21, 3);
	WStore	   *s = &w->stores[1];
	uint64_t	old = s->id;

	(void) state;
	for (int i = 0; i < 3; i++)
		assert_false(is_superseded(w, w->stores[i].id));
	store_is_replaced(w, 1);
	for (int64_t until = w->now + SECOND_US / 2; w->now < until;)
	{
		tick(w);
		assert_false(is_superseded(w, old));
	}
	run_seconds(w, 4);
	assert_int_not_equal(s->id, old);
	assert_true(is_superseded(w, old));
	run_seconds(w, 10);
	assert_int_equal(health(w, old), HEALTH_DOWN);
	assert_false(is_superseded(w, s->id));
	assert_false(is_superseded(w, w->stores[2].id));

	/* The name decides: what was kept of a place may be of another by now. */
	moves(w, s->id, "unix:/elsewhere");
	assert_false(is_superseded(w, old));
	assert_int_equal(health(w, old), HEALTH_SUSPECT);
	moves(w, s->id, s->endpoint);
	assert_true(is_superseded(w, old));

	/* It speaks again: then neither is gone. */
	store_spoke(&w->pd, old);
	assert_false(is_superseded(w, old));
	assert_false(is_superseded(w, s->id));
	end(w);
}

/* Where others are on other machines, a socket is no place to come to. */
static void
places_that_others_reach(void **state)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));
	CatalogDriver self = {.id = 5, .endpoint = "unix:/pd"};
	CatalogDriver other = {.id = 6, .endpoint = "tcp://10.0.0.2:7400"};
	Buf			command = {0};
	VtId		directory;
	uint64_t	store = 0;
	VtError		err = {0};
	char		text[VT_ID_TEXT];
	json_t	   *body;
	json_t	   *reply = NULL;

	(void) state;
	world_begin(w, 1, 1);
	run_seconds(w, 1);
	w->pd.id = self.id;
	w->pd.options.advertise = self.endpoint;
	command_begin(&command);
	command_driver(&command, &self);
	world_commit(&w->pd, &command);
	assert_int_equal(drivers_check_place(&w->pd, &err), VT_OK);
	command_begin(&command);
	command_driver(&command, &other);
	world_commit(&w->pd, &command);
	assert_int_equal(drivers_check_place(&w->pd, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "tcp://10.0.0.2:7400 could not come"));
	w->pd.options.advertise = "tcp://10.0.0.1:7400";
	assert_int_equal(drivers_check_place(&w->pd, &err), VT_OK);
	buf_free(&command);

	/* The same of a store, which is alone until another one comes by tcp. */
	vt_id_random(&directory);
	assert_int_equal(comes(w, "w1", &directory, &store), VT_OK);
	vt_id_format(&w->stores[0].data_id, text);
	body = json_pack("{s:s,s:s,s:s,s:s}", "store", "0", "cluster", "", "data_id", text, "endpoint", w->stores[0].endpoint);
	assert_int_equal(register_store(&w->pd, "", body, &reply, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "could not come to this one"));
	json_decref(body);

	/* And of a driver that is alone again, while another worker than ours may be there. */
	command_begin(&command);
	command_dismiss(&command, other.id);
	world_commit(&w->pd, &command);
	buf_free(&command);
	w->pd.options.advertise = self.endpoint;
	assert_int_equal(drivers_check_place(&w->pd, &err), VT_OK);
	vt_id_random(&directory);
	store = 0;
	assert_int_equal(comes(w, "w2", &directory, &store), VT_OK);
	assert_int_equal(drivers_check_place(&w->pd, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "2 workers listen on tcp"));
	end(w);
}

/* What stores have said and was not read yet is no silence: nothing is decided before it is, for a minute. */
static void
what_is_not_read_is_waited_for(void **state)
{
	PdWorld    *w = cluster(1, 4);

	(void) state;
	w->stores[3].alive = false;
	another_driver(w);
	w->pd.behind_us = w->now;
	run_seconds(w, 20);
	assert_false(reports_are_in(&w->pd));
	w->pd.behind_us = 0;
	assert_true(reports_are_in(&w->pd));
	w->pd.behind_us = w->now - 20 * SECOND_US;
	run_seconds(w, 39);
	assert_false(reports_are_in(&w->pd));
	run_seconds(w, 2);
	assert_true(reports_are_in(&w->pd));
	cluster_end(w);
}

/* A heartbeat of a store by hand; list: what it has, or NULL: that is as its digest says. */
static VtStatus
says(PdWorld *w, uint32_t store, const char *digest, json_t *list)
{
	json_t	   *body = json_pack("{s:o,s:i,s:s,s:i,s:i}", "store", json_u64(w->stores[store].id), "wait_ms", 0, "digest", digest,
								 "level_low", VT_LEVEL_LOW, "level_high", VT_LEVEL_NEWEST);
	VtError		err = {0};
	VtStatus	status;

	if (list)
		json_object_set_new(body, "shards", list);
	status = heartbeat_take(&w->pd, body, &err);
	json_decref(body);
	return status;
}

static Health
health_of(PdWorld *w, uint32_t store)
{
	return store_health(&w->pd, catalog_store(w->pd.catalog, w->stores[store].id));
}

static void
passes(PdWorld *w, int seconds)
{
	w->now += seconds * SECOND_US;
	w->pd.now_us = w->now;
}

/* Heartbeats of these stores, a bit for each, wait to be asked for all: who is, in one look at them? */
static unsigned
asked(PdWorld *w, unsigned waiting)
{
	unsigned	are = 0;

	for (uint32_t i = 0; i < w->nstores; i++)
		if (waiting >> i & 1)
		{
			untold_spoke(&w->pd, w->stores[i].id);
			assert_true(untold_waits(&w->pd, w->stores[i].id));
		}
	untold_ask(&w->pd);
	for (uint32_t i = 0; i < w->nstores; i++)
		if (waiting >> i & 1)
			are |= (unsigned) untold_is_asked(&w->pd, w->stores[i].id) << i;
	return are;
}

/*
 * Who speaks and has not told what it has is neither up nor down, however long that takes: what it
 * has is not known, and it is not gone.
 */
static void
who_was_not_read_is_not_silent(void **state)
{
	PdWorld    *w = cluster(1, 4);
	int			seconds = 0;

	(void) state;
	assert_int_equal(health_of(w, 0), HEALTH_UP);
	another_driver(w);
	w->pd.options.down_after_us = 20 * SECOND_US;
	for (; seconds < 30; seconds += 2)
	{
		for (uint32_t i = 0; i < 3; i++)
		{
			assert_int_equal(says(w, i, "77", NULL), VT_BEHIND);
			untold_spoke(&w->pd, w->stores[i].id);
		}
		passes(w, 2);
	}
	assert_int_equal(health_of(w, 0), HEALTH_SUSPECT);
	assert_int_equal(health_of(w, 1), HEALTH_SUSPECT);
	assert_int_equal(health_of(w, 3), HEALTH_DOWN);
	assert_false(store_is_up(&w->pd, w->stores[0].id));

	/* None of them comes to its end, so they are waited for no more; else they are. */
	assert_true(reports_are_in(&w->pd));
	assert_int_equal(says(w, 0, "77", json_array()), VT_OK);
	assert_int_equal(health_of(w, 0), HEALTH_UP);
	assert_false(reports_are_in(&w->pd));

	/* What is known, and goes on from something else, stays what it is until it is told, and is not up by that. */
	assert_int_equal(says(w, 0, "77", NULL), VT_OK);
	assert_int_equal(untold_heard_us(&w->pd, w->stores[0].id), 0);
	for (seconds = 0; seconds < 30; seconds += 2)
	{
		assert_int_equal(says(w, 0, "78", NULL), VT_BEHIND);
		assert_int_equal(asked(w, 1), 1);
		passes(w, 2);
	}
	assert_int_equal(health_of(w, 0), HEALTH_SUSPECT);
	assert_false(store_is_up(&w->pd, w->stores[0].id));
	assert_int_equal(says(w, 0, "78", json_array()), VT_OK);
	assert_int_equal(health_of(w, 0), HEALTH_UP);

	/* Then it falls silent. */
	passes(w, 30);
	assert_int_equal(health_of(w, 0), HEALTH_DOWN);
	cluster_end(w);
}

/* One that speaks and never tells what it has is as good as silent after a minute, and is taken back when it does. */
static void
who_never_tells_is_down_at_last(void **state)
{
	PdWorld    *w = cluster(1, 3);

	(void) state;
	another_driver(w);
	w->pd.options.down_after_us = 20 * SECOND_US;
	for (int seconds = 0; seconds < 90; seconds += 2)
	{
		assert_int_equal(says(w, 0, "77", NULL), VT_BEHIND);
		if (seconds % 4 == 0)
			(void) asked(w, 1);
		else
			untold_spoke(&w->pd, w->stores[0].id);
		assert_true(untold_speaks(&w->pd, w->stores[0].id));
		assert_int_equal(health_of(w, 0), seconds < 60 ? HEALTH_SUSPECT : seconds >= 80 ? HEALTH_DOWN : health_of(w, 0));
		passes(w, 2);
	}
	assert_int_equal(says(w, 0, "77", json_array()), VT_OK);
	assert_int_equal(health_of(w, 0), HEALTH_UP);
	cluster_end(w);
}

/* Who has stopped is not counted among those that are still to tell what they have, and one that is forgotten is not waited for. */
static void
who_is_gone_is_not_counted(void **state)
{
	PdWorld    *w = cluster(1, 3);
	json_t	   *body = json_pack("{s:o}", "store", json_u64(w->stores[0].id));
	VtError		err = {0};

	(void) state;
	another_driver(w);
	w->pd.options.down_after_us = 20 * SECOND_US;
	assert_int_equal(asked(w, 1 | 2), 1 | 2);
	assert_int_equal(untold_count(&w->pd), 2);
	passes(w, 11);
	assert_int_equal(asked(w, 2), 2);
	assert_int_equal(untold_count(&w->pd), 1);
	assert_int_equal(w->pd.nuntold, 2);
	assert_int_equal(says(w, 1, "7", json_array()), VT_OK);
	passes(w, 20);
	assert_int_equal(health_of(w, 0), HEALTH_DOWN);
	assert_int_equal(forget_store(&w->pd, body, &err), VT_OK);
	assert_int_equal(w->pd.nuntold, 0);
	assert_int_equal(w->pd.untold_bytes, 0);
	json_decref(body);
	cluster_end(w);
}

/*
 * Each store has as much as may be on its way: they are asked one after the other, and who does not come with it
 * holds up the next one for a moment only.
 */
static void
few_are_asked_at_a_time(void **state)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));
	size_t		n;

	(void) state;
	world_begin(w, 1, 3);
	w->pd.leads = true;
	run_seconds(w, 3);
	for (int i = 0; i < 10; i++)
		assert_int_equal(create(w, 1000, 1)->nshards, 1000);
	for (uint32_t i = 0; i < 3; i++)
	{
		(void) shards_of_store(&w->pd, w->stores[i].id, &n);
		assert_true(n > 3000);
	}
	another_driver(w);

	/* One is asked, however often it says so; the others are not. */
	for (int times = 0; times < 3; times++)
	{
		assert_int_equal(asked(w, 1 | 2 | 4), 1);
		passes(w, 1);
	}
	/* A heartbeat of who would not be asked now is no reason to look at all that wait. */
	assert_false(untold_has_room(&w->pd, w->stores[1].id));
	/* It does not come with it: another one is asked. */
	assert_int_equal(asked(w, 1 | 2 | 4), 2);
	assert_int_equal(asked(w, 1 | 2 | 4), 2);

	/* That one does: there is room for the next at once, and who waits is looked at. */
	w->pd.woken = false;
	assert_int_equal(says(w, 1, "7", json_array()), VT_OK);
	assert_true(w->pd.woken);
	assert_true(untold_has_room(&w->pd, w->stores[2].id));

	/* An older heartbeat of it that waits still asks for nothing more. */
	assert_false(untold_waits(&w->pd, w->stores[1].id));
	assert_int_equal(w->pd.nuntold, 2);
	assert_int_equal(asked(w, 1 | 4), 4);

	/* Who tells it unasked has told it, too. */
	assert_int_equal(says(w, 0, "7", json_array()), VT_OK);
	assert_int_equal(untold_heard_us(&w->pd, w->stores[0].id), 0);
	assert_int_equal(says(w, 2, "7", json_array()), VT_OK);
	assert_int_equal(w->pd.untold_bytes, 0);
	assert_int_equal(asked(w, 2), 2);
	assert_int_equal(says(w, 1, "7", json_array()), VT_OK);
	assert_int_equal(w->pd.nuntold, 0);
	assert_true(reports_are_in(&w->pd));
	cluster_end(w);
}

/*
 * The first of five has more than may be on its way besides others, the others nothing.  They are asked in the order they came: it
 * is not last, and holds up nobody for long when it is silent, or does not tell what it was asked for.
 */
static void
who_has_much_to_tell_comes_to_its_turn(void **state)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));
	size_t		n;

	(void) state;
	world_begin(w, 1, 5);
	w->pd.leads = true;
	run_seconds(w, 3);
	for (uint32_t i = 1; i < 5; i++)
		store_dies(w, i);
	run_seconds(w, 12);
	for (int i = 0; i < 3; i++)
		assert_int_equal(create(w, 1000, 1)->nshards, 1000);
	(void) shards_of_store(&w->pd, w->stores[0].id, &n);
	assert_int_equal(n, 3000);
	another_driver(w);

	/* While another one is to come with what it has, nobody who came later is asked before it. */
	assert_int_equal(asked(w, 2), 2);
	assert_int_equal(asked(w, 1), 0);
	assert_int_equal(asked(w, 4 | 8), 0);
	assert_int_equal(asked(w, 1 | 4 | 8), 0);
	assert_int_equal(says(w, 1, "7", json_array()), VT_OK);

	/* Now it is asked, and those when it has told it.  One that is not heard of at the moment is no reason to wait. */
	assert_int_equal(asked(w, 1 | 4 | 8), 1);
	assert_int_equal(asked(w, 4 | 8), 0);
	untold_spoke(&w->pd, w->stores[4].id);
	assert_int_equal(says(w, 0, "7", json_array()), VT_OK);
	assert_int_equal(asked(w, 8), 8);
	assert_int_equal(asked(w, 4 | 8), 4 | 8);
	for (uint32_t i = 2; i < 5; i++)
		assert_int_equal(says(w, i, "7", json_array()), VT_OK);
	assert_int_equal(w->pd.nuntold, 0);

	/* It has spoken, and waits no more: those behind it wait for it for as long as for what it was asked for. */
	another_driver(w);
	assert_int_equal(asked(w, 2), 2);
	assert_int_equal(asked(w, 1), 0);
	passes(w, 2);
	assert_int_equal(says(w, 1, "7", json_array()), VT_OK);
	assert_int_equal(asked(w, 4), 4);
	assert_int_equal(asked(w, 8), 0);
	passes(w, 1);
	assert_int_equal(asked(w, 8), 8);

	/* It waits again, is asked when there is room, and does not tell it: it is behind the others then. */
	for (uint32_t i = 2; i < 4; i++)
		assert_int_equal(says(w, i, "7", json_array()), VT_OK);
	assert_int_equal(asked(w, 1), 1);
	assert_int_equal(asked(w, 2 | 4), 0);
	passes(w, 3);
	assert_int_equal(asked(w, 1 | 2 | 4), 2 | 4);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_store_is_bound_to_its_certificate),
		TEST(the_first_certificate_counts),
		TEST(a_frozen_driver_listens_anew),
		TEST(another_speaks_from_its_place),
		TEST(places_that_others_reach),
		TEST(what_is_not_read_is_waited_for),
		TEST(who_was_not_read_is_not_silent),
		TEST(who_never_tells_is_down_at_last),
		TEST(who_is_gone_is_not_counted),
		TEST(few_are_asked_at_a_time),
		TEST(who_has_much_to_tell_comes_to_its_turn),
	};

	return cmocka_run_group_tests_name("pd_stores", tests, NULL, NULL);
}
