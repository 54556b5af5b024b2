/*-------------------------------------------------------------------------
 *
 * pd_operate.c
 *	  Replicas are made, lost, replaced, added and moved: the placement driver's
 *	  own code against a model of workers (pd_world.h).
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

static uint32_t
replicas_on(PdWorld *w, uint32_t i)
{
	return w->stores[i].n;
}

/* Leaders, replicas: nobody has more than his share. */
static void
a_collection_is_spread(void **state)
{
	PdWorld    *w = cluster(1, 4);
	CatalogCollection *c = create(w, 8, 3);

	(void) state;
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		assert_int_equal(c->shards[i].desc.nreplicas, 3);
		for (int a = 0; a < 3; a++)
			for (int b = 0; b < a; b++)
				assert_true(c->shards[i].desc.replicas[a].store != c->shards[i].desc.replicas[b].store);
	}
	settle(w, 3, 10);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(replicas_on(w, i), 6);
	assert_int_equal(w->changes, 0);
	cluster_end(w);
}

static void
fewer_workers_than_wanted_grow_later(void **state)
{
	PdWorld    *w = cluster(2, 1);

	(void) state;
	create(w, 4, 3);
	settle(w, 1, 10);
	for (uint32_t i = 1; i < 3; i++)
	{
		snprintf(w->stores[i].endpoint, sizeof(w->stores[i].endpoint), "unix:/w%u", i);
		vt_id_random(&w->stores[i].data_id);
		w->stores[i].alive = true;
		w->nstores++;
		settle(w, i + 1, 60);
	}
	run_seconds(w, 30);
	assert_int_equal(w->dropped, 0);
	cluster_end(w);
}

static void
a_restart_moves_nothing(void **state)
{
	PdWorld    *w = cluster(3, 5);

	(void) state;
	create(w, 8, 3);
	settle(w, 3, 10);
	store_dies(w, 2);
	run_seconds(w, 50);			/* less than down_after */
	w->stores[2].alive = true;
	run_seconds(w, 120);
	assert_int_equal(unsettled(w, 3, true), 0);
	assert_int_equal(w->changes, 0);
	assert_int_equal(w->created, 24);
	cluster_end(w);
}

static void
a_lost_store_is_replaced(void **state)
{
	PdWorld    *w = cluster(4, 5);
	uint32_t	had;

	(void) state;
	create(w, 8, 3);
	settle(w, 3, 10);
	had = replicas_on(w, 2);
	assert_true(had > 0);
	store_dies(w, 2);
	run_seconds(w, 55);
	assert_int_equal(w->created, 24);
	settle(w, 3, 90);
	assert_int_equal(w->created, 24 + had);

	/* It comes back too late: what it had is deleted, nothing else moves. */
	w->stores[2].alive = true;
	run_seconds(w, 60);
	assert_int_equal(replicas_on(w, 2), 0);
	assert_int_equal(w->dropped, had);
	assert_int_equal(unsettled(w, 3, true), 0);
	cluster_end(w);
}

/* An empty disk is another store; the old one will not be back, whatever down_after says. */
static void
an_empty_disk_is_filled_at_once(void **state)
{
	PdWorld    *w = cluster(5, 3);

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	run_seconds(w, 11);
	store_is_replaced(w, 1);
	/* Not even for the time in which the old one only seems silent. */
	settle(w, 3, 9);
	assert_int_equal(replicas_on(w, 1), 4);
	cluster_end(w);
}

/* A directory registers at the place of a store, and is not heard of again. */
static void
ghost_registers(PdWorld *w, uint32_t i)
{
	char		text[VT_ID_TEXT];
	VtId		data_id;
	VtError		err = {0};
	json_t	   *body;
	json_t	   *reply;

	vt_id_random(&data_id);
	vt_id_format(&data_id, text);
	body = json_pack("{s:s,s:s,s:s,s:s}", "store", "0", "cluster", "", "data_id", text,
					 "endpoint", w->stores[i].endpoint);
	if (register_store(&w->pd, "", body, &reply, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	json_decref(reply);
	json_decref(body);
}

/*
 * The registration of a directory that was emptied comes late, when the one it
 * had replaced is back: that one lives, restarts and changes its driver as if nothing had come.
 */
static void
a_late_registration_moves_nothing(void **state)
{
	PdWorld    *w = cluster(20, 4);

	(void) state;
	create(w, 8, 3);
	settle(w, 3, 10);
	ghost_registers(w, 1);
	run_seconds(w, 3);
	assert_int_equal(store_health(&w->pd, catalog_store(w->pd.catalog, w->stores[1].id)), HEALTH_UP);
	store_dies(w, 1);
	run_seconds(w, 30);			/* less than down_after */
	ghost_registers(w, 1);
	run_seconds(w, 10);
	pd_end(w);
	pd_begin(w);
	run_seconds(w, 30);
	w->stores[1].alive = true;
	run_seconds(w, 20);
	assert_int_equal(w->created, 24);
	assert_int_equal(w->changes, 0);
	assert_int_equal(unsettled(w, 3, true), 0);
	cluster_end(w);
}

/* The disk that was taken out is put back: now it is the newer store that is gone. */
static void
a_disk_that_is_put_back_lives(void **state)
{
	PdWorld    *w = cluster(21, 4);
	WStore		old;
	uint64_t	newer;
	uint32_t	created;

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	old = w->stores[1];
	store_is_replaced(w, 1);
	settle(w, 3, 20);
	newer = w->stores[1].id;
	w->stores[1] = old;
	w->stores[1].beat_due = w->now;
	settle(w, 3, 20);
	assert_int_equal(store_health(&w->pd, catalog_store(w->pd.catalog, newer)), HEALTH_DOWN);
	created = w->created;
	store_dies(w, 1);
	run_seconds(w, 40);			/* a restart */
	assert_int_equal(store_health(&w->pd, catalog_store(w->pd.catalog, old.id)), HEALTH_SUSPECT);
	w->stores[1].alive = true;
	run_seconds(w, 10);
	assert_int_equal(w->created, created);
	cluster_end(w);
}

/* A founder loses its disk before it has reported [cluster-hazards 14]. */
static void
a_founder_wiped_before_it_spoke(void **state)
{
	for (uint32_t victim = 0; victim < 3; victim++)
	{
		PdWorld    *w = cluster(60 + victim, 3);
		CatalogCollection *c = create(w, 2, 3);
		uint64_t	old = w->stores[victim].id;

		(void) state;
		store_is_replaced(w, victim);
		settle(w, 3, 60);
		for (uint32_t i = 0; i < 2; i++)
		{
			c = w->pd.catalog->collections[0];
			for (int k = 0; k < 3; k++)
				assert_true(c->shards[i].desc.replicas[k].store != old);
		}
		cluster_end(w);
	}
}

/* Nothing new goes to a store that spoke a moment ago, and whose disk was replaced since. */
static void
a_disk_that_is_gone_founds_nothing(void **state)
{
	PdWorld    *w = cluster(7, 3);
	uint64_t	old = w->stores[1].id;
	CatalogCollection *c;

	(void) state;
	run_seconds(w, 11);
	store_is_replaced(w, 1);
	while (w->stores[1].id == 0 || w->stores[1].id == old)
		tick(w);
	c = create(w, 4, 3);
	for (uint32_t i = 0; i < c->nshards; i++)
		for (int k = 0; k < c->shards[i].desc.nreplicas; k++)
			assert_true(c->shards[i].desc.replicas[k].store != old);
	settle(w, 3, 30);
	cluster_end(w);
}

/* Its index is dropped; its data may come back for a day. */
static void
hide(PdWorld *w, const CatalogCollection *c)
{
	CatalogCollection hidden = *c;
	Buf			command = {0};

	hidden.state = COLLECTION_HIDDEN;
	hidden.unused_us = pd_lived_us(&w->pd);
	command_begin(&command);
	command_collection(&command, &hidden);
	assert_int_equal(w->pd.commit(&w->pd, &command), VT_OK);
	buf_free(&command);
}

/*
 * What was dropped before a disk was lost has replicas on that disk for as long as it
 * may be brought back.  They are no sign that many stores are silent.
 */
static void
what_was_dropped_holds_up_nothing(void **state)
{
	PdWorld    *w = cluster(8, 3);

	(void) state;
	run_seconds(w, 11);
	create(w, 4, 3);
	settle(w, 3, 10);
	hide(w, w->pd.catalog->collections[0]);
	create(w, 4, 3);
	settle(w, 3, 10);
	for (uint32_t victim = 0; victim < 3; victim++)
	{
		store_is_replaced(w, victim);
		settle(w, 3, 20);
	}
	cluster_end(w);
}

/* A founder that is late finds the group founded, and gets an empty replica. */
static void
a_late_founder_waits_for_the_leader(void **state)
{
	PdWorld    *w = cluster(7, 3);
	json_t	   *tasks = json_array();
	json_t	   *task;
	size_t		i;

	(void) state;
	create(w, 2, 3);
	store_dies(w, 0);
	run_seconds(w, 5);
	assert_true(w->pd.catalog->collections[0]->shards[0].bootstrapped);
	tasks_for(&w->pd, beat_of(&w->pd, w->stores[0].id), tasks);
	assert_int_equal(json_array_size(tasks), 2);
	json_array_foreach(tasks, i, task)
	{
		assert_true(json_is_false(json_object_get(task, "bootstrap")));
	}
	json_decref(tasks);
	w->stores[0].alive = true;
	settle(w, 3, 10);
	assert_int_equal(w->changes, 0);
	cluster_end(w);
}

/* A store that is up and no longer has what it had: never made again, but replaced. */
static void
a_replica_that_was_lost_is_not_made_again(void **state)
{
	PdWorld    *w = cluster(8, 4);
	WStore	   *s;

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	s = &w->stores[0];
	assert_true(s->n > 0);
	s->lost = s->replicas[0].replica;
	s->replicas[0] = s->replicas[--s->n];
	settle(w, 3, 90);
	cluster_end(w);
}

/* It says itself that it is lost: no waiting for that; then it is deleted. */
static void
a_damaged_replica_is_replaced_at_once(void **state)
{
	PdWorld    *w = cluster(18, 4);
	WStore	   *s;

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	s = &w->stores[0];
	assert_true(s->n > 0);
	s->damaged = s->replicas[0];
	s->replicas[0] = s->replicas[--s->n];
	settle(w, 3, 50);			/* less than down_after */
	for (int i = 0; i < 60 && s->damaged.shard; i++)
		run_seconds(w, 1);
	assert_int_equal(s->damaged.shard, 0);
	assert_int_equal(w->dropped, 1);
	cluster_end(w);
}

/* Nobody else can have one: it leaves and is deleted, and then another is made where it was. */
static void
a_damaged_replica_is_replaced_where_it_was(void **state)
{
	PdWorld    *w = cluster(21, 3);
	uint64_t	damaged;
	WStore	   *s;

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	s = &w->stores[0];
	assert_true(s->n > 0);
	s->damaged = s->replicas[0];
	damaged = s->damaged.replica;
	s->replicas[0] = s->replicas[--s->n];
	settle(w, 3, 50);			/* less than down_after */
	assert_int_equal(s->damaged.shard, 0);
	assert_int_equal(w->dropped, 1);
	assert_int_equal(w->created, 4 * 3 + 1);
	for (uint32_t i = 0; i < s->n; i++)
		assert_true(s->replicas[i].replica != damaged);
	cluster_end(w);
}

/* A heartbeat without a list stands for the last one, and only where that was heard. */
static void
what_was_told_is_not_told_again(void **state)
{
	PdWorld    *w = cluster(19, 3);
	uint64_t	store = w->stores[0].id;
	json_t	   *all;
	json_t	   *same = json_object();
	size_t		n;
	VtError		err = {0};

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	json_object_set_new(same, "store", json_u64(store));
	json_object_set_new(same, "digest", json_u64(77));
	json_object_set_new(same, "wait_ms", json_integer(0));
	assert_int_equal(heartbeat_take(&w->pd, same, &err), VT_BEHIND);
	all = beat_body(w, &w->stores[0]);
	json_object_set_new(all, "digest", json_u64(77));
	assert_int_equal(heartbeat_take(&w->pd, all, &err), VT_OK);
	n = beat_of(&w->pd, store)->nreports;
	assert_true(n > 0);
	w->pd.now_us += 5;
	assert_int_equal(heartbeat_take(&w->pd, same, &err), VT_OK);
	assert_int_equal(beat_of(&w->pd, store)->nreports, n);
	assert_true(beat_of(&w->pd, store)->at_us == w->pd.now_us);

	/* Another list, or a driver that has just begun to lead. */
	json_object_set_new(same, "digest", json_u64(78));
	assert_int_equal(heartbeat_take(&w->pd, same, &err), VT_BEHIND);
	json_object_set_new(same, "digest", json_u64(77));
	beats_free(&w->pd);
	assert_int_equal(heartbeat_take(&w->pd, same, &err), VT_BEHIND);
	json_decref(same);
	json_decref(all);
	cluster_end(w);
}

/* A report of the list, with another figure. */
static json_t *
report_with(json_t *row, uint64_t bytes)
{
	json_t	   *copy = json_deep_copy(row);

	json_object_set_new(copy, "bytes", json_u64(bytes));
	return copy;
}

/* Tell what has changed: one report with a figure, or none, and one shard that is gone, or none. */
static VtStatus
tell_change(PdWorld *w, uint64_t since, uint64_t digest, json_t *row, uint64_t gone)
{
	json_t	   *body = json_object();
	json_t	   *changed = json_array();
	json_t	   *left = json_array();
	VtError		err = {0};
	VtStatus	status;

	json_object_set_new(body, "store", json_u64(w->stores[0].id));
	json_object_set_new(body, "wait_ms", json_integer(0));
	json_object_set_new(body, "since", json_u64(since));
	json_object_set_new(body, "digest", json_u64(digest));
	if (row)
		json_array_append_new(changed, row);
	if (gone)
		json_array_append_new(left, json_u64(gone));
	json_object_set_new(body, "changed", changed);
	json_object_set_new(body, "gone", left);
	status = heartbeat_take(&w->pd, body, &err);
	json_decref(body);
	return status;
}

/* Changes are added to what was told before, if it is that, and once. */
static void
what_has_changed_is_enough(void **state)
{
	PdWorld    *w = cluster(23, 3);
	uint64_t	store = w->stores[0].id;
	json_t	   *all;
	json_t	   *rows;
	json_t	   *row;
	uint64_t	first;
	uint64_t	second;
	size_t		n;
	VtError		err = {0};

	(void) state;
	create(w, 4, 3);
	settle(w, 3, 10);
	all = beat_body(w, &w->stores[0]);
	rows = json_object_get(all, "shards");
	assert_true(get_u64(json_array_get(rows, 0), "shard", &first) && get_u64(json_array_get(rows, 1), "shard", &second));
	beats_free(&w->pd);

	/* To who knows nothing a change says nothing. */
	assert_int_equal(tell_change(w, 1, 2, report_with(json_array_get(rows, 0), 4711), 0), VT_BEHIND);
	json_object_set_new(all, "digest", json_u64(1));
	assert_int_equal(heartbeat_take(&w->pd, all, &err), VT_OK);
	n = beat_of(&w->pd, store)->nreports;
	assert_true(n >= 2);

	assert_int_equal(tell_change(w, 1, 2, report_with(json_array_get(rows, 0), 4711), 0), VT_OK);
	assert_int_equal(beat_of(&w->pd, store)->nreports, n);
	assert_int_equal(report_in(beat_of(&w->pd, store), first)->bytes, 4711);
	assert_int_not_equal(report_in(beat_of(&w->pd, store), second)->bytes, 4711);

	/* The same once more is known; what was before it is not believed to be the last word. */
	assert_int_equal(tell_change(w, 1, 2, report_with(json_array_get(rows, 0), 1), 0), VT_OK);
	assert_int_equal(tell_change(w, 1, 3, report_with(json_array_get(rows, 0), 1), 0), VT_BEHIND);
	assert_int_equal(report_in(beat_of(&w->pd, store), first)->bytes, 4711);

	/* One is gone, and missed from then on; it comes back, and another copy of it with it. */
	assert_int_equal(tell_change(w, 2, 3, NULL, first), VT_OK);
	assert_int_equal(beat_of(&w->pd, store)->nreports, n - 1);
	assert_null(report_in(beat_of(&w->pd, store), first));
	assert_int_equal(beat_of(&w->pd, store)->nmissing, 1);
	assert_int_equal(tell_change(w, 3, 4, report_with(json_array_get(rows, 0), 5), 0), VT_OK);
	assert_int_equal(beat_of(&w->pd, store)->nreports, n);
	assert_int_equal(report_in(beat_of(&w->pd, store), first)->bytes, 5);
	assert_int_equal(beat_of(&w->pd, store)->nmissing, 0);

	/* What makes no sense changes nothing. */
	row = report_with(json_array_get(rows, 0), 6);
	json_object_set_new(row, "replica", json_string("x"));
	assert_int_equal(tell_change(w, 4, 5, row, 0), VT_INVALID);
	assert_int_equal(report_in(beat_of(&w->pd, store), first)->bytes, 5);
	json_decref(all);
	cluster_end(w);
}

static void
a_store_is_drained(void **state)
{
	PdWorld    *w = cluster(9, 4);
	CatalogStore changed;
	Buf			command = {0};

	(void) state;
	create(w, 8, 3);
	settle(w, 3, 10);
	changed = *catalog_store(w->pd.catalog, w->stores[1].id);
	changed.draining = true;
	command_begin(&command);
	command_store(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
	for (int i = 0; i < 120 && replicas_on(w, 1) > 0; i++)
		run_seconds(w, 1);
	assert_int_equal(replicas_on(w, 1), 0);
	settle(w, 3, 30);
	assert_true(w->transfers > 0);
	cluster_end(w);
}

/* The only replica of a shard moves, too. */
static void
a_store_with_sole_replicas_is_drained(void **state)
{
	PdWorld    *w = cluster(10, 2);
	CatalogStore changed;
	Buf			command = {0};

	(void) state;
	create(w, 4, 1);
	settle(w, 1, 10);
	changed = *catalog_store(w->pd.catalog, w->stores[0].id);
	changed.draining = true;
	command_begin(&command);
	command_store(&command, &changed);
	world_commit(&w->pd, &command);
	buf_free(&command);
	for (int i = 0; i < 120 && replicas_on(w, 0) > 0; i++)
		run_seconds(w, 1);
	assert_int_equal(replicas_on(w, 0), 0);
	settle(w, 1, 30);
	cluster_end(w);
}

/* Half of the cluster is away: nobody copies everything to the rest. */
static void
mass_failure_moves_nothing(void **state)
{
	PdWorld    *w = cluster(11, 9);

	(void) state;
	create(w, 12, 3);
	settle(w, 3, 10);
	for (uint32_t i = 0; i < 4; i++)
		store_dies(w, i);
	run_seconds(w, 300);
	assert_int_equal(w->created, 36);
	for (uint32_t i = 0; i < 4; i++)
		w->stores[i].alive = true;
	settle(w, 3, 30);
	assert_int_equal(w->changes, 0);
	cluster_end(w);
}

/* A driver that has just begun counts silence from its beginning. */
static void
a_new_driver_waits_for_reports(void **state)
{
	PdWorld    *w = cluster(12, 5);

	(void) state;
	create(w, 8, 3);
	settle(w, 3, 10);
	store_dies(w, 0);
	run_seconds(w, 50);
	pd_end(w);
	pd_begin(w);
	run_seconds(w, 50);			/* 100 s of silence, but only 50 were heard */
	assert_int_equal(w->created, 24);
	settle(w, 3, 60);
	cluster_end(w);
}

/* How many replicas are on their way to one store. */
static uint32_t
arriving(PdWorld *w, uint64_t store)
{
	uint32_t	n = 0;

	for (size_t i = 0; i < w->pd.catalog->ncollections; i++)
		for (uint32_t j = 0; j < w->pd.catalog->collections[i]->nshards; j++)
			n += w->pd.catalog->collections[i]->shards[j].plan.add_store == store;
	return n;
}

/* The most that are on their way to one store while one is made anew. */
static uint32_t
most_arriving(uint32_t store_moves)
{
	PdWorld    *w = cluster(13, 4);
	uint32_t	most = 0;

	w->pd.options.store_moves = store_moves;
	create(w, 30, 3);
	settle(w, 3, 10);
	store_is_replaced(w, 2);
	for (int i = 0; i < 1200 && unsettled(w, 3, false) > 0; i++)
	{
		tick(w);
		for (uint32_t k = 0; k < 4; k++)
			most = arriving(w, w->stores[k].id) > most && w->stores[k].id ? arriving(w, w->stores[k].id) : most;
	}
	settle(w, 3, 1);
	cluster_end(w);
	return most;
}

static void
a_store_is_not_flooded(void **state)
{
	(void) state;
	assert_int_equal(most_arriving(2), 2);
	assert_int_equal(most_arriving(0), 8);	/* they are small */
}

/* -- Anything may happen --------------------------------------------------- */

/* One disaster at a time, so that nothing is lost for good. */
static void
disaster(PdWorld *w, uint32_t *down)
{
	uint32_t	i = prng_below(&w->prng, w->nstores);

	switch (prng_below(&w->prng, 6))
	{
		case 0:
		case 1:
			pd_end(w);
			pd_begin(w);
			break;
		case 2:
			w->loss = prng_below(&w->prng, 40);
			w->delay_ms = prng_below(&w->prng, 2000);
			break;
		case 3:
			if (*down < w->nstores)
			{
				/* With its disk, or without when everything else is well. */
				if (unsettled(w, 3, false) <= w->pd.catalog->collections[0]->nshards && prng_below(&w->prng, 3) > 0)
					w->stores[*down].alive = true;
				*down = w->stores[*down].alive ? w->nstores : *down;
			}
			else
			{
				store_dies(w, i);
				*down = i;
			}
			break;
		case 4:
			if (*down == w->nstores && unsettled(w, 3, false) == 0)
				store_is_replaced(w, i);
			break;
		case 5:
			if (w->stores[i].id)
			{
				CatalogStore changed = *catalog_store(w->pd.catalog, w->stores[i].id);
				Buf			command = {0};

				changed.draining = !changed.draining;
				command_begin(&command);
				command_store(&command, &changed);
				world_commit(&w->pd, &command);
				buf_free(&command);
			}
			break;
	}
}

static uint64_t
chaos(uint64_t seed)
{
	PdWorld    *w = cluster(seed, 5 + seed % 3);
	uint32_t	down = w->nstores;
	uint64_t	trace;
	Buf			command = {0};

	create(w, 6 + seed % 5, 3);
	settle(w, 3, 20);
	w->balance = w->pd.options.balance = seed % 2;
	for (int round = 0; round < 25; round++)
	{
		disaster(w, &down);
		run_seconds(w, (int) prng_below(&w->prng, 60));
	}
	w->loss = 0;
	w->delay_ms = 50;
	if (down < w->nstores)
		w->stores[down].alive = true;
	for (size_t i = 0; i < w->pd.catalog->nstores; i++)
	{
		CatalogStore changed = *w->pd.catalog->stores[i];

		changed.draining = false;
		command_begin(&command);
		command_store(&command, &changed);
		world_commit(&w->pd, &command);
	}
	buf_free(&command);
	settle(w, 3, 600);
	trace = w->trace;
	cluster_end(w);
	return trace;
}

static void
all_is_well_in_the_end(void **state)
{
	const char *seeds = getenv("VECTRON_PD_SEEDS");
	uint64_t	n = seeds ? strtoull(seeds, NULL, 10) : 12;

	(void) state;
	for (uint64_t seed = 1; seed <= n; seed++)
	{
		print_message("seed %" PRIu64 "\n", seed);
		chaos(seed);
	}
}

static void
a_seed_decides_everything(void **state)
{
	(void) state;
	assert_true(chaos(5) == chaos(5));
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_collection_is_spread),
		TEST(fewer_workers_than_wanted_grow_later),
		TEST(a_restart_moves_nothing),
		TEST(a_lost_store_is_replaced),
		TEST(an_empty_disk_is_filled_at_once),
		TEST(a_late_registration_moves_nothing),
		TEST(a_disk_that_is_put_back_lives),
		TEST(a_founder_wiped_before_it_spoke),
		TEST(a_disk_that_is_gone_founds_nothing),
		TEST(what_was_dropped_holds_up_nothing),
		TEST(a_late_founder_waits_for_the_leader),
		TEST(a_replica_that_was_lost_is_not_made_again),
		TEST(a_damaged_replica_is_replaced_at_once),
		TEST(a_damaged_replica_is_replaced_where_it_was),
		TEST(what_was_told_is_not_told_again),
		TEST(what_has_changed_is_enough),
		TEST(a_store_is_drained),
		TEST(a_store_with_sole_replicas_is_drained),
		TEST(mass_failure_moves_nothing),
		TEST(a_new_driver_waits_for_reports),
		TEST(a_store_is_not_flooded),
		TEST(all_is_well_in_the_end),
		TEST(a_seed_decides_everything),
	};

	return cmocka_run_group_tests_name("pd_operate", tests, NULL, NULL);
}
