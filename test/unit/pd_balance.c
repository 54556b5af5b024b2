/*-------------------------------------------------------------------------
 *
 * pd_balance.c
 *	  What moves gain, and that they end; the table of ids; what people ask to be
 *	  moved.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

#include "../../src/pd/balance.h"

#define STORES 20
#define THINGS 400

/* What balance.h says that a move lowers. */
static double
unevenness(const BalanceMeans *means, const Carried *stores, size_t n)
{
	double		sum = 0;

	for (size_t i = 0; i < n; i++)
	{
		sum += stores[i].n * stores[i].n / (means->n * means->n);
		if (means->weight > 0)
			sum += stores[i].weight * stores[i].weight / (means->weight * means->weight);
		if (means->searches > 0)
			sum += stores[i].searches * stores[i].searches / (means->searches * means->searches);
	}
	return sum;
}

static void
put(Carried *carried, const Carried *what, double sign)
{
	carried->n += sign * what->n;
	carried->weight += sign * what->weight;
	carried->searches += sign * what->searches;
}

/* Any moves that gain enough, in any order: they end, and each lowers the unevenness. */
static void
moves_end(void **state)
{
	Prng		prng = {3};

	(void) state;
	for (int round = 0; round < 200; round++)
	{
		Carried		stores[STORES] = {{0}};
		Carried		total = {0};
		Carried		floor = {.weight = round % 2 ? 0 : 1e9, .searches = round % 3 ? 1 : 1e9};
		Carried		heaviest = {1, 20000, 4};
		Carried		weights[THINGS];
		size_t		at[THINGS];
		size_t		n = 2 + prng_below(&prng, STORES - 1);
		size_t		things = n + prng_below(&prng, THINGS - STORES);
		BalanceMeans means;
		double		now;
		int			moves = 0;
		int			misses = 0;

		for (size_t i = 0; i < things; i++)
		{
			weights[i] = (Carried) {1, prng_below(&prng, 2) ? 1000 : prng_below(&prng, 20000),
				prng_below(&prng, 10) ? 0 : 4 * prng_double(&prng)};
			at[i] = prng_below(&prng, prng_below(&prng, 3) ? 2 : (uint32_t) n);
			put(&stores[at[i]], &weights[i], 1);
			put(&total, &weights[i], 1);
		}
		means = balance_means(&total, n, &floor);
		assert_true((means.weight > 0) == (round % 2));
		assert_true(means.searches >= floor.searches);
		now = unevenness(&means, stores, n);
		while (misses < 100000)
		{
			size_t		i = prng_below(&prng, (uint32_t) things);
			size_t		to = prng_below(&prng, (uint32_t) n);
			double		gain = balance_gain(&means, &stores[at[i]], &stores[to], &weights[i]);
			double		then;

			assert_true(gain <= balance_gain_most(&means, &stores[at[i]], &stores[to], &heaviest) + 1e-9);
			misses++;
			if (to == at[i] || gain <= BALANCE_TOLERANCE)
				continue;
			put(&stores[at[i]], &weights[i], -1);
			at[i] = to;
			put(&stores[to], &weights[i], 1);
			then = unevenness(&means, stores, n);
			assert_true(then < now - 2 * BALANCE_TOLERANCE / means.n + 1e-6);
			now = then;
			misses = 0;
			assert_true(moves++ < 100000);
		}
		/* Counts alone come as near as the tolerance lets them. */
		for (size_t i = 0; round % 6 == 0 && i < n; i++)
			for (size_t k = 0; k < i; k++)
				assert_true(stores[i].n - stores[k].n <= 1 + BALANCE_TOLERANCE * means.n + 1e-9 ||
							stores[i].n - stores[k].n < 2);
	}
}

/* Time that searches have taken becomes processors, in the mean of five minutes. */
static void
searches_are_weighed(void **state)
{
	Pd		   *pd = vt_alloc0(sizeof(Pd));
	Report		before = {.shard = 7, .replica = 8};
	Report		now = before;

	(void) state;
	load_take_searches(pd, NULL, &before);
	for (int i = 0; i < 3000; i++)
	{
		pd->now_us += SECOND_US;
		now.figures[REPORT_TIMES] += 200000;
		now.figures[REPORT_TIMES_END - 1] += 100000;
		load_take_searches(pd, &before, &now);
		before = now;
		assert_true(replica_searches(pd, &now) < 0.301);
		assert_true(i > 150 || replica_searches(pd, &now) < 0.2);
	}
	assert_true(replica_searches(pd, &now) > 0.29);

	/* Two that come together are no measure; a worker that begins anew has done nothing less. */
	now.figures[REPORT_TIMES] += 1000000;
	load_take_searches(pd, &before, &now);
	assert_true(replica_searches(pd, &now) < 0.301);
	before = now;
	pd->now_us += SECOND_US;
	memset(now.figures, 0, sizeof(now.figures));
	load_take_searches(pd, &before, &now);
	assert_true(replica_searches(pd, &now) > 0.29 && replica_searches(pd, &now) < 0.301);

	/* Of one that nothing is said of any more, less and less; another replica begins with nothing. */
	pd->now_us += 3000 * SECOND_US;
	assert_true(replica_searches(pd, &now) < 0.05);
	before = now;
	now.replica = 9;
	load_take_searches(pd, &before, &now);
	assert_true(replica_searches(pd, &now) == 0);
	free(pd);
}

static void
ids_are_found(void **state)
{
	Prng		prng = {11};
	IdMap		map = {0};
	uint64_t	values[600] = {0};	/* 0: not there */
	size_t		n = 0;

	(void) state;
	for (int step = 0; step < 200000; step++)
	{
		uint64_t	key = 1 + prng_below(&prng, 599);
		uint64_t	got = 77;

		/* 0 is nobody's id: an empty slot is not its. */
		assert_false(idmap_get(&map, 0, &got));
		assert_int_equal(got, 77);
		if (step % 1000 == 0)
		{
			idmap_put(&map, 0, 5);
			idmap_remove(&map, 0);
			assert_int_equal(map.n, n);
		}

		switch (prng_below(&prng, step / 20000 % 2 ? 3 : 4))
		{
			case 0:
				assert_int_equal(idmap_get(&map, key, &got), values[key] != 0);
				assert_true(got == (values[key] ? values[key] : 77));
				break;
			case 1:
				idmap_remove(&map, key);
				n -= values[key] != 0;
				values[key] = 0;
				break;
			default:
				n += values[key] == 0;
				values[key] = 1 + prng_next(&prng) % 1000;
				idmap_put(&map, key, values[key]);
				break;
		}
		assert_int_equal(map.n, n);
	}
	for (uint64_t key = 1; key < 600; key++)
	{
		uint64_t	got = 77;

		assert_int_equal(idmap_get(&map, key, &got), values[key] != 0);
		assert_true(got == (values[key] ? values[key] : 77));
	}
	idmap_free(&map);
}

/* -- What people ask for ---------------------------------------------------- */

static PdWorld *
whole_cluster(uint32_t nstores)
{
	PdWorld    *w = cluster(3, nstores);

	create(w, 4, 3);
	settle(w, 3, 10);
	return w;
}

/* The store of a replica, or one that has none of the shard. */
static uint64_t
store_with(PdWorld *w, const CatalogShard *shard, bool with)
{
	uint64_t	replica;

	for (uint32_t i = 0; i < w->nstores; i++)
		if (operate_has_replica(shard, w->stores[i].id, &replica) == with)
			return w->stores[i].id;
	return 0;
}

static void
a_replica_is_moved(void **state)
{
	PdWorld    *w = whole_cluster(5);
	uint64_t	id = w->pd.catalog->collections[0]->shards[1].desc.shard;
	CatalogCollection *c;
	CatalogShard *shard = find_shard(&w->pd, id, &c);
	uint64_t	from = store_with(w, shard, true);
	uint64_t	to = store_with(w, shard, false);
	uint64_t	replica;
	VtError		err = {0};

	(void) state;
	assert_int_equal(operate_move(&w->pd, id + 1000, from, to, &err), VT_NOT_FOUND);
	assert_int_equal(operate_move(&w->pd, id, to, from, &err), VT_NOT_FOUND);
	assert_int_equal(operate_move(&w->pd, id, from, 4711, &err), VT_NOT_FOUND);
	assert_int_equal(operate_move(&w->pd, id, from, from, &err), VT_EXISTS);
	assert_int_equal(operate_move(&w->pd, id, from, to, &err), VT_OK);
	assert_int_equal(operate_move(&w->pd, id, from, to, &err), VT_BUSY);
	settle(w, 3, 30);
	shard = find_shard(&w->pd, id, &c);
	assert_true(operate_has_replica(shard, to, &replica));
	assert_false(operate_has_replica(shard, from, &replica));

	/* A store that is away takes nothing. */
	for (uint32_t i = 0; i < w->nstores; i++)
		if (w->stores[i].id == from)
			store_dies(w, i);
	run_seconds(w, 15);
	assert_int_equal(operate_move(&w->pd, id, to, from, &err), VT_FULL);
	cluster_end(w);
}

static uint64_t
store_of_leader(PdWorld *w, uint64_t id)
{
	CatalogCollection *c;
	CatalogShard *shard = find_shard(&w->pd, id, &c);
	uint64_t	store;

	return leader_of(&w->pd, shard, &store) ? store : 0;
}

static void
leadership_is_moved(void **state)
{
	PdWorld    *w = whole_cluster(5);
	uint64_t	id = w->pd.catalog->collections[0]->shards[1].desc.shard;
	CatalogCollection *c;
	CatalogShard *shard = find_shard(&w->pd, id, &c);
	uint64_t	to = 0;
	VtError		err = {0};

	(void) state;
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].store != store_of_leader(w, id))
			to = shard->desc.replicas[i].store;
	assert_int_equal(operate_transfer(&w->pd, id, store_with(w, shard, false), &err), VT_NOT_FOUND);
	assert_int_equal(operate_transfer(&w->pd, id, store_of_leader(w, id), &err), VT_OK);
	assert_null(operate_handover(&w->pd, id));	/* it leads already */
	assert_int_equal(operate_transfer(&w->pd, id, to, &err), VT_OK);
	assert_non_null(operate_handover(&w->pd, id));
	for (int i = 0; i < 10 && store_of_leader(w, id) != to; i++)
	{
		run_seconds(w, 1);
		handovers_look(&w->pd);
	}
	assert_true(store_of_leader(w, id) == to);
	handovers_look(&w->pd);
	assert_null(operate_handover(&w->pd, id));
	cluster_end(w);
}

/*
 * The store that is to lead is gone by then: after a while it is let be, and later
 * forgotten.  The leader, whose writes wait while it hands over, is not asked again and again.
 */
static void
leadership_that_does_not_move_is_let_be(void **state)
{
	PdWorld    *w = whole_cluster(3);
	uint64_t	id = w->pd.catalog->collections[0]->shards[1].desc.shard;
	uint64_t	leader = store_of_leader(w, id);
	uint32_t	victim = 0;
	VtError		err = {0};

	(void) state;
	while (w->stores[victim].id == leader)
		victim++;
	assert_int_equal(operate_transfer(&w->pd, id, w->stores[victim].id, &err), VT_OK);
	store_dies(w, victim);
	run_seconds(w, 16);
	handovers_look(&w->pd);
	assert_true(operate_handover(&w->pd, id)->given_up);
	assert_in_range(w->transfers_in_vain, 0, 2);
	run_seconds(w, 60);
	handovers_look(&w->pd);
	assert_null(operate_handover(&w->pd, id));
	assert_true(store_of_leader(w, id) == leader);
	cluster_end(w);
}

/* -- What the driver moves for evenness ------------------------------------------ */

static uint32_t
moves_under_way(PdWorld *w, uint64_t bytes)
{
	const CatalogCollection *c;
	uint32_t	n = 0;

	for (size_t i = 0; i < w->pd.load_at.n; i++)
		w->pd.loads[i].bytes = bytes;
	w->pd.options.balance = true;
	w->pd.balance_due_us = 0;
	rebalance_look(&w->pd);
	w->pd.options.balance = false;
	c = w->pd.catalog->collections[0];
	for (uint32_t i = 0; i < c->nshards; i++)
		n += c->shards[i].plan.kind == PLAN_BALANCE;
	return n;
}

/* A fourth store gets a quarter of all: in so small a cluster one replica after the other, but tiny ones. */
static void
moves_leave_stores_in_peace(void **state)
{
	PdWorld    *w = whole_cluster(3);

	(void) state;
	w->nstores = 4;
	snprintf(w->stores[3].endpoint, sizeof(w->stores[3].endpoint), "unix:/w3");
	store_is_replaced(w, 3);
	run_seconds(w, 40);
	assert_int_equal(moves_under_way(w, 20 << 20), 1);
	assert_int_equal(moves_under_way(w, 20 << 20), 1);
	assert_int_equal(moves_under_way(w, 1000), 3);
	cluster_end(w);
}

/* Handovers to this store that a look begins when all shards are written to so much. */
static size_t
handovers_to(PdWorld *w, uint64_t store, double rate)
{
	size_t		n = 0;

	w->pd.nhandovers = 0;
	for (size_t i = 0; i < w->pd.load_at.n; i++)
		w->pd.loads[i].rate = rate;
	w->pd.options.balance = true;
	w->pd.balance_due_us = 0;
	rebalance_look(&w->pd);
	w->pd.options.balance = false;
	for (size_t i = 0; i < w->pd.nhandovers; i++)
		n += w->pd.handovers[i].to_store == store;
	return n;
}

/* A worker that was away leads nothing: its share comes at once where nobody writes, and else four at a time. */
static void
leadership_comes_back_soon(void **state)
{
	PdWorld    *w = cluster(3, 3);
	uint64_t	away;

	(void) state;
	create(w, 36, 3);
	settle(w, 3, 10);
	away = w->stores[0].id;
	store_dies(w, 0);
	run_seconds(w, 15);
	w->stores[0].alive = true;
	run_seconds(w, 15);
	assert_int_equal(handovers_to(w, away, 0), 0);	/* it may go again */
	run_seconds(w, 30);
	assert_int_equal(handovers_to(w, away, 100), 4);
	assert_in_range(handovers_to(w, away, 0), 10, 12);
	cluster_end(w);
}

/* A while in which the driver evens out what is uneven. */
static void
even_out(PdWorld *w, int seconds)
{
	w->pd.options.balance = true;
	run_seconds(w, seconds);
	w->pd.options.balance = false;
}

/* The first shard that a store leads; 0 = none. */
static uint64_t
led_by(PdWorld *w, uint64_t store)
{
	const CatalogCollection *c = w->pd.catalog->collections[0];

	for (uint32_t i = 0; i < c->nshards; i++)
		if (store_of_leader(w, c->shards[i].desc.shard) == store)
			return c->shards[i].desc.shard;
	return 0;
}

static bool
is_on(PdWorld *w, uint64_t id, uint64_t store)
{
	CatalogCollection *c;
	uint64_t	replica;

	return operate_has_replica(find_shard(&w->pd, id, &c), store, &replica);
}

/*
 * Four stores have a shard each, and somebody moves one: what is uneven then is not made even by
 * moving that back, but by moving the other.  After a while it is like any other.
 */
static void
what_was_moved_by_hand_stays(void **state)
{
	PdWorld    *w = cluster(5, 4);
	uint64_t	from;
	uint64_t	to;
	uint64_t	moved;
	uint64_t	other;
	VtError		err = {0};

	(void) state;
	create(w, 4, 1);
	settle(w, 1, 10);
	run_seconds(w, 40);
	moved = w->pd.catalog->collections[0]->shards[0].desc.shard;
	other = w->pd.catalog->collections[0]->shards[1].desc.shard;
	from = w->pd.catalog->collections[0]->shards[0].desc.replicas[0].store;
	to = w->pd.catalog->collections[0]->shards[1].desc.replicas[0].store;
	assert_int_equal(operate_move(&w->pd, moved, from, to, &err), VT_OK);
	settle(w, 1, 20);
	assert_true(is_on(w, moved, to) && !is_on(w, moved, from));
	even_out(w, 60);
	assert_true(is_on(w, moved, to));
	assert_true(is_on(w, other, from));
	cluster_end(w);
}

/* The same of who leads; but where the disk is short nobody leads for that. */
static void
who_leads_by_somebodys_word_leads_on(void **state)
{
	PdWorld    *w = cluster(6, 3);
	uint64_t	from = 0;
	uint64_t	moved;
	VtError		err = {0};

	(void) state;
	create(w, 3, 3);
	settle(w, 3, 10);
	run_seconds(w, 40);
	even_out(w, 5);
	from = w->stores[0].id;
	moved = led_by(w, from);
	assert_true(moved != 0);
	assert_int_equal(operate_transfer(&w->pd, moved, w->stores[1].id, &err), VT_OK);
	run_seconds(w, 5);
	even_out(w, 60);
	assert_true(store_of_leader(w, moved) == w->stores[1].id);
	assert_true(led_by(w, from) != 0);
	w->stores[1].disk_short = true;
	even_out(w, 10);
	assert_true(store_of_leader(w, moved) != w->stores[1].id);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_end),
		cmocka_unit_test(searches_are_weighed),
		cmocka_unit_test(ids_are_found),
		TEST(a_replica_is_moved),
		TEST(leadership_is_moved),
		TEST(leadership_that_does_not_move_is_let_be),
		TEST(moves_leave_stores_in_peace),
		TEST(leadership_comes_back_soon),
		TEST(what_was_moved_by_hand_stays),
		TEST(who_leads_by_somebodys_word_leads_on),
	};

	return cmocka_run_group_tests_name("pd_balance", tests, NULL, NULL);
}
