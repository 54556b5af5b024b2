/*-------------------------------------------------------------------------
 *
 * worker_level1.c
 *	  What a worker of the first release with feature levels has left when it was
 *	  killed is served (test/golden/level1), and written on.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "worker_place.h"

#define RECORDS 110				/* ids are below */
#define FENCE 1

typedef struct Old
{
	uint8_t		generation;
	uint64_t	shard;
	uint32_t	range_ver;
} Old;

/* The third was split off the first. */
static const Old shards[] = {
	{1, UINT64_C(0x1152488d00000002), 2}, {1, UINT64_C(0x1152488d00000004), 1}, {1, UINT64_C(0x1152488d00000008), 2},
	{2, UINT64_C(0x1152488d00000006), 1}
};

#define SHARDS ((int) (sizeof(shards) / sizeof(shards[0])))

/* Where record n lies; -1: there is none. */
static float
where_is(uint32_t n)
{
	if (n >= 20 && n < 25)
		return (float) (n + 100);
	return (n < 40 && (n < 10 || n > 12)) || n >= 100 ? (float) n : -1;
}

static void
go_to(Place *place, int i)
{
	memset(place->desc.generation.b, shards[i].generation, 16);
	place->desc.shard = shards[i].shard;
	place->desc.range_ver = shards[i].range_ver;
}

static int
set_up(void **state)
{
	Place	   *place = vt_alloc0(sizeof(Place));
	char		command[300];

	lay(place, VEC_FLOAT32, 0);
	snprintf(command, sizeof(command), "cp -r test/golden/level1/worker/. %s/", place->data);
	if (system(command) != 0)
		fail_msg("test/golden is not here; tests run from the top of the tree");
	start(place);
	*state = place;
	return 0;
}

/* It leads its shards as soon as it has elected itself. */
static void
await_leader(Gateway *g, const Place *place)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	WireRead	read = {route(place)};
	Buf			payload = {0};

	wire_read_put(&payload, &read);
	while (ask(g, WIRE_READ_INDEX, &payload) != VT_OK)
	{
		if (clock_now_us() > until)
			fail_msg("shard %llu is not led: status %d", (unsigned long long) place->desc.shard, (int) g->head.status);
		usleep(1000);
	}
	buf_free(&payload);
}

/* The records of a shard, each as it was written; seen: by generation and number.  How many. */
static uint32_t
look_at_all(Gateway *g, Place *place, const Old *shard, bool seen[3][RECORDS])
{
	WireList	l = {.route = route(place), .flags = LIST_VECTORS};
	WireListResult page;
	WireListItem item;
	size_t		at = 0;
	uint32_t	n = 0;

	assert_int_equal(list(g, &l, &page), VT_OK);
	for (; wire_list_item_next(&page, &at, &item); n++)
	{
		uint8_t		vector[DIM * 4];
		uint32_t	number = number_of(item.id);

		assert_true(number < RECORDS && where_is(number) >= 0);
		assert_false(seen[shard->generation][number]);
		seen[shard->generation][number] = true;
		vector_of(where_is(number), vector);
		assert_int_equal(item.dim, DIM);
		assert_memory_equal(item.vector, vector, sizeof(vector));
	}
	return n;
}

/* A search finds the nearest of those that the listing had. */
static void
assert_nearest(Gateway *g, Place *place, float x, bool of_shard[RECORDS], uint32_t k)
{
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	WireSearchResult found;
	WireHit		hit;
	size_t		at = 0;
	uint32_t	n = 0;
	double		last = 0;

	vector_of(x, vector);
	s = question(place, vector, k);
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, k);
	for (; wire_hit_next(&found, &at, &hit); n++)
	{
		uint32_t	number = number_of(hit.id);

		assert_true(number < RECORDS && of_shard[number]);
		assert_true(hit.distance == fabs(where_is(number) - x) && hit.distance >= last);
		of_shard[number] = false;
		last = hit.distance;
	}
	for (uint32_t i = 0; i < RECORDS; i++)
		assert_false(of_shard[i] && fabs(where_is(i) - x) < last);
}

static void
all_is_there(Place *place)
{
	bool		seen[3][RECORDS] = {{false}};
	Gateway		g;

	dial(&g, place);
	for (int i = 0; i < SHARDS; i++)
	{
		bool		before[3][RECORDS];
		bool		of_shard[RECORDS];
		uint32_t	n;

		go_to(place, i);
		await_leader(&g, place);
		assert_int_equal(g.head.fence, FENCE);
		memcpy(before, seen, sizeof(seen));
		n = look_at_all(&g, place, &shards[i], seen);
		assert_true(n > 5);
		assert_int_equal(count(&g, place), n);
		for (uint32_t k = 0; k < RECORDS; k++)
			of_shard[k] = seen[shards[i].generation][k] && !before[shards[i].generation][k];
		assert_nearest(&g, place, 21.25f, of_shard, 5);
	}
	for (uint32_t n = 0; n < RECORDS; n++)
		for (int generation = 1; generation <= 2; generation++)
			assert_int_equal(seen[generation][n], where_is(n) >= 0);
	hang_up(&g);
}

static void
what_was_written_is_there(void **state)
{
	Place	   *place = *state;

	all_is_there(place);

	/* And again, with what this release has made of it. */
	worker_stop(place->worker);
	start(place);
	all_is_there(place);
}

/* Fences hold, a route of before the split is refused, and new records come in. */
static void
it_is_written_on(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Change		c;
	WireWriteResult result;
	uint64_t	before;

	dial(&g, place);
	for (int i = 0; i < SHARDS; i++)
	{
		go_to(place, i);
		await_leader(&g, place);
		before = count(&g, place);
		g.halves = shards[i].generation == 2;
		c = (Change) {WRITE_PUT, route(place), FENCE - 1, 0, 0, 0, 0, DIM, 0, 0, 0};
		/* Any of its own: a put of a record that lies elsewhere is refused. */
		for (c.first = 1000, c.n = 1;; c.first++)
		{
			VtStatus	status;

			c.fence = FENCE - 1;
			assert_int_equal(change(&g, &c, &result), VT_FENCED);
			c.fence = FENCE;
			status = change(&g, &c, &result);
			if (status == VT_OK)
				break;
			assert_int_equal(status, VT_WRONG_SHARD);
			assert_true(c.first < 2000);
		}
		assert_int_equal(count(&g, place), before + 1);
	}
	go_to(place, 0);
	place->desc.range_ver--;
	c.route = route(place);
	assert_int_equal(change(&g, &c, &result), VT_WRONG_SHARD);
	hang_up(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_is_written_on, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_level1", tests, NULL, NULL);
}
