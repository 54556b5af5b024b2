/*-------------------------------------------------------------------------
 *
 * worker_waiting.c
 *	  What waits for a thread is served by deadline, takes none when its time is
 *	  over, and does not wait where that is no use.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_gateway.h"

#include "base/clock.h"
#include "base/prng.h"

/* -- The heap, beside a list ------------------------------------------------ */

static Request *
first_of(Request **all, size_t n)
{
	Request    *first = NULL;

	for (size_t i = 0; i < n; i++)
		if (all[i] && (!first || all[i]->until_us < first->until_us ||
					   (all[i]->until_us == first->until_us && all[i]->arrival < first->arrival)))
			first = all[i];
	return first;
}

static void
in_order_of_time(void **state)
{
	Prng		prng = {3};
	Request		requests[200];
	Request    *in[200] = {NULL};
	WaitingList list = {0};
	size_t		n = 0;
	size_t		bytes = 0;

	(void) state;
	memset(requests, 0, sizeof(requests));
	for (int step = 0; step < 20000; step++)
	{
		size_t		i = prng_below(&prng, 200);
		Request    *expected = first_of(in, 200);

		if (!in[i] && prng_below(&prng, 3) > 0)
		{
			requests[i].until_us = prng_below(&prng, 50);
			requests[i].payload.len = prng_below(&prng, 1000);
			waiting_add(&list, &requests[i]);
			in[i] = &requests[i];
			bytes += requests[i].payload.len;
			n++;
		}
		else
		{
			Request    *taken = waiting_take(&list);

			assert_ptr_equal(taken, expected);
			if (taken)
			{
				bytes -= taken->payload.len;
				in[taken - requests] = NULL;
				n--;
			}
		}
		assert_int_equal(list.n, n);
		assert_int_equal(list.bytes, bytes);
	}
	while (waiting_take(&list))
		n--;
	assert_int_equal(n, 0);
	waiting_free(&list);
}

/* -- In a worker ------------------------------------------------------------- */

static int
set_up(void **state)
{
	Place	   *place = vt_alloc0(sizeof(Place));
	WireShardDesc *desc = &place->desc;
	WorkerOptions options;
	VtError		err = {0};

	log_setup("test", LOG_LEVEL_ERROR);
	snprintf(place->directory, sizeof(place->directory), "/tmp/vectron-waiting.XXXXXX");
	if (!mkdtemp(place->directory))
		return -1;
	snprintf(place->data, sizeof(place->data), "%s/data", place->directory);
	snprintf(place->endpoint, sizeof(place->endpoint), "unix:%s/w", place->directory);
	snprintf(place->pd, sizeof(place->pd), "unix:%s/pd", place->directory);
	if (mkdir(place->data, 0700) != 0)
		return -1;
	memset(desc->generation.b, 7, 16);
	desc->owner.system = 42;
	desc->shard = SHARD;
	desc->incarnation = 1;
	desc->last = UINT64_MAX;
	desc->conf_ver = desc->range_ver = 1;
	desc->hash_kind = HASH_XXH3_64;
	desc->dim = DIM;
	desc->metric = VEC_L2;
	desc->element = VEC_FLOAT32;
	desc->m = 16;
	desc->ef_construction = 40;
	desc->nreplicas = 1;
	desc->replicas[0].store = 1;
	desc->replicas[0].replica = 77;
	desc->replicas[0].role = 1;
	memset(&options, 0, sizeof(options));
	options.data = place->data;
	memset(options.data_id.b, 1, 16);
	options.listen = options.advertise = place->endpoint;
	options.pd = place->pd;
	options.search_threads = 1;
	options.boot_epoch = 1;
	if (worker_start(&options, &place->worker, &err) != VT_OK ||
		worker_create_shard(place->worker, desc, 77, true, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	Place	   *place = *state;
	char		command[128];
	int			rc;

	worker_stop(place->worker);
	snprintf(command, sizeof(command), "rm -rf %s", place->directory);
	rc = system(command);
	free(place);
	return rc;
}

/* Send n searches at a time; returns how many of each status came back. */
static void
flood(Place *place, uint32_t n, uint32_t deadline_ms, uint32_t *answered)
{
	enum
	{
		GATEWAYS = 16
	};
	Gateway		g[GATEWAYS];
	uint8_t		vector[DIM * 4];
	Buf			payload = {0};
	WireSearch	s;

	vector_of(0, vector);
	s = question(place, vector, 1);
	s.consistency = WIRE_AT_MARK;
	s.flags = SEARCH_EXACT | SEARCH_ONCE;
	s.route.deadline_ms = deadline_ms;
	wire_search_put(&payload, &s);
	for (int i = 0; i < GATEWAYS; i++)
		dial(&g[i], place);
	for (uint32_t k = 0; k < n; k++)
		send_frame(&g[k % GATEWAYS], WIRE_REQUEST, WIRE_SEARCH, ++g[k % GATEWAYS].requests, &payload);
	memset(answered, 0, sizeof(uint32_t) * 64);
	for (uint32_t k = 0; k < n; k++)
	{
		Gateway    *from = &g[k % GATEWAYS];

		read_frame(from);
		assert_int_equal(wire_reply_get(buf_bytes(&from->payload), &from->head, &from->body), VT_OK);
		assert_true(from->head.status < 64);
		answered[from->head.status]++;
	}
	for (int i = 0; i < GATEWAYS; i++)
		hang_up(&g[i]);
	buf_free(&payload);
}

static void
nobody_is_served_too_late(void **state)
{
	Place	   *place = *state;
	uint32_t	answered[64];
	PoolFigures before;
	PoolFigures after;
	Gateway		g;

	dial(&g, place);
	for (uint32_t i = 0; i < 20000; i += 1000)
		put(&g, place, i, 1000);
	hang_up(&g);

	/* With time enough all are served, however many come at once. */
	flood(place, 400, 600000, answered);
	assert_int_equal(answered[VT_OK], 400);

	/* Without, whoever is not served has not taken a thread either. */
	before = pool_figures(place->worker);
	assert_int_equal(before.waiting, 0);
	assert_true(before.service_us > 0);
	flood(place, 800, 1, answered);
	after = pool_figures(place->worker);
	assert_int_equal(answered[VT_OK] + answered[VT_TIMEOUT] + answered[VT_BUSY], 800);
	assert_true(answered[VT_TIMEOUT] + answered[VT_BUSY] > 0);
	assert_int_equal(after.turned_away - before.turned_away, answered[VT_BUSY]);
	assert_true(after.expired - before.expired <= answered[VT_TIMEOUT]);
	assert_int_equal(after.waiting, 0);

	/* And it goes on as before. */
	flood(place, 100, 600000, answered);
	assert_int_equal(answered[VT_OK], 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_of_time),
		cmocka_unit_test_setup_teardown(nobody_is_served_too_late, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_waiting", tests, NULL, NULL);
}
