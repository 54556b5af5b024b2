/*-------------------------------------------------------------------------
 *
 * worker_many.c
 *	  A search of many queries: each is answered as if it were alone, all or none, and
 *	  who asks one query is not behind all of them.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_place.h"

#include <poll.h>

#define ROWS 3000
#define ROUNDS 200				/* a race is lost now and then; not so often */

static int
set_up_rows(void **state, uint32_t threads)
{
	Place	   *place;
	Gateway		g;
	Shard	   *shard;
	int64_t		until;

	search_threads = threads;
	if (set_up_with(state, VEC_FLOAT32, 2) != 0)
		return -1;
	place = *state;
	dial(&g, place);
	g.attributes = true;
	for (uint32_t i = 0; i < ROWS; i += 1000)
		put(&g, place, i, 1000);
	hang_up(&g);

	/* What a walk finds changes while the graph grows. */
	shard = worker_find_shard(place->worker, SHARD);
	until = clock_now_us() + 300 * INT64_C(1000000);
	while (records_waiting(shard->records) > 0)
	{
		if (clock_now_us() > until)
			fail_msg("the records are not indexed");
		poll(NULL, 0, 1);
	}
	shard_release(shard);
	return 0;
}

static int
set_up(void **state)
{
	return set_up_rows(state, 3);
}

static int
set_up_one_thread(void **state)
{
	return set_up_rows(state, 1);
}

/* Queries n: nearest to some row each, no two to the same. */
static const uint8_t *
queries_of(uint32_t n)
{
	static uint8_t vectors[WIRE_QUERIES_MAX * DIM * 4];

	assert_true(n <= WIRE_QUERIES_MAX);
	for (uint32_t i = 0; i < n; i++)
		vector_of((float) (i * 23 % ROWS) + 0.25f, vectors + (size_t) i * DIM * 4);
	return vectors;
}

static WireSearch
many(const Place *place, uint32_t n, uint32_t k)
{
	WireSearch	s = question(place, queries_of(n), k);

	s.flags = SEARCH_MANY | SEARCH_ONCE;
	s.nqueries = n;
	return s;
}

static Buf
encoded(const WireSearch *s)
{
	Buf			payload = {0};

	wire_search_put(&payload, s);
	return payload;
}

/* Nothing of any request is left behind. */
static void
is_at_rest(const Place *place)
{
	int64_t		until = clock_now_us() + 30 * INT64_C(1000000);
	PoolFigures figures;
	bool		left;

	do
	{
		figures = pool_figures(place->worker);
		if (clock_now_us() > until)
			fail_msg("%u wait, %u are served, %zu bytes of requests", figures.waiting, figures.searching,
					 (size_t) atomic_load(&place->worker->request_bytes));
		poll(NULL, 0, 1);
	} while (figures.waiting > 0 || figures.searching > 0 || atomic_load(&place->worker->request_bytes) > 0);
	pthread_mutex_lock(&place->worker->lock);
	left = place->worker->leases != NULL || place->worker->nleases != 0;
	pthread_mutex_unlock(&place->worker->lock);
	assert_false(left);
}

/* All queries of s in one request, and each alone: the same hits. */
static void
compare(Gateway *g, const WireSearch *s)
{
	static WireSearchResult results[WIRE_QUERIES_MAX];
	Buf			payload = encoded(s);
	Buf			all = {0};

	assert_int_equal(ask(g, WIRE_SEARCH, &payload), VT_OK);
	assert_int_equal(g->head.first, 0);
	assert_int_equal(g->head.last, UINT64_MAX);
	buf_put(&all, g->body.data, g->body.len);
	assert_int_equal(wire_search_results_get(buf_bytes(&all), results, s->nqueries), VT_OK);
	for (uint32_t i = 0; i < s->nqueries; i++)
	{
		WireSearch	one = *s;
		WireSearchResult alone;

		one.flags &= ~(uint32_t) SEARCH_MANY;
		one.vector += (size_t) i * DIM * 4;
		assert_int_equal(search(g, &one, &alone), VT_OK);
		assert_int_equal(results[i].lease, 0);
		assert_int_equal(results[i].nhits, alone.nhits);
		assert_true(bytes_equal(results[i].hits, alone.hits));
		assert_int_equal(results[i].exact, alone.exact);
		assert_int_equal(results[i].exhausted, alone.exhausted);
		assert_int_equal(results[i].leader, alone.leader);
		assert_int_equal(results[i].says_unindexed, alone.says_unindexed);
		assert_true(results[i].distances > 0);
	}
	buf_free(&all);
	buf_free(&payload);
}

static void
each_is_answered_as_if_alone(void **state)
{
	Place	   *place = *state;
	static const uint32_t numbers[] = {1, 2, 3, 64, WIRE_QUERIES_MAX};
	Gateway		g;
	Buf			filter = {0};
	WireClause	clause = {.op = WIRE_CLAUSE_BETWEEN, .lo = 2, .hi = 4};
	size_t		begin = wire_predicate_begin(&filter);
	uint64_t	mark;

	wire_clause_put(&filter, &clause);
	wire_predicate_end(&filter, begin, 1);
	dial(&g, place);
	count(&g, place);
	mark = g.head.applied;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
	{
		WireSearch	s = many(place, numbers[i], 10);

		compare(&g, &s);
		s.consistency = WIRE_AT_MARK;
		s.mark = mark;
		compare(&g, &s);
		s.filter = buf_bytes(&filter);
		compare(&g, &s);
		s.flags |= SEARCH_EXACT;
		compare(&g, &s);
		s.k = 1;
		s.ef = WIRE_EF_RECALL | 9900;
		compare(&g, &s);
	}
	hang_up(&g);
	buf_free(&filter);
	is_at_rest(place);
}

static void
all_are_refused_or_none(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireSearch	s = many(place, 5, 10);
	Buf			payload;
	Buf			malformed = {0};

	dial(&g, place);
	count(&g, place);

	/* A mark that is not applied, a predicate that makes no sense, no rows. */
	s.consistency = WIRE_AT_MARK;
	s.mark = g.head.applied + 1000;
	payload = encoded(&s);
	assert_int_equal(ask(&g, WIRE_SEARCH, &payload), VT_BEHIND);
	assert_int_equal(g.body.len, 0);
	buf_free(&payload);
	s.mark = 0;
	s.filter = bytes_str("no predicate");
	payload = encoded(&s);
	assert_int_not_equal(ask(&g, WIRE_SEARCH, &payload), VT_OK);
	buf_free(&payload);
	s.filter.len = 0;
	s.k = 0;
	payload = encoded(&s);
	assert_int_equal(ask(&g, WIRE_SEARCH, &payload), VT_INVALID);
	buf_free(&payload);

	/* More, or fewer, than there are; and one that is not finite, in the midst. */
	s.k = 10;
	for (int what = 0; what < 3; what++)
	{
		malformed = encoded(&s);
		if (what < 2)
			put_le64(malformed.data + 64 + 1 + 8 + 4 + 4 + 4, what == 0 ? 4 : UINT64_MAX);
		else
			put_le32(malformed.data + malformed.len - 3 * DIM * 4, 0x7F800000u);
		assert_int_equal(ask(&g, WIRE_SEARCH, &malformed), VT_PROTOCOL);
		buf_free(&malformed);
	}
	compare(&g, &s);
	hang_up(&g);
	is_at_rest(place);
}

/* k is more than the answer has room for: each query gets a part of it, and is not said to be at its end. */
static void
an_answer_is_bounded(void **state)
{
	Place	   *place = *state;
	static WireSearchResult results[WIRE_QUERIES_MAX];
	WireSearch	s = many(place, WIRE_QUERIES_MAX, WIRE_SEARCH_K_MAX);
	Buf			payload = encoded(&s);
	Gateway		g;

	dial(&g, place);
	assert_int_equal(ask(&g, WIRE_SEARCH, &payload), VT_OK);
	assert_true(g.payload.len < WIRE_PAYLOAD_MAX * 5 / 8);
	assert_int_equal(wire_search_results_get(g.body, results, WIRE_QUERIES_MAX), VT_OK);
	for (uint32_t i = 0; i < WIRE_QUERIES_MAX; i++)
	{
		assert_in_range(results[i].nhits, 1000, ROWS - 1);
		assert_false(results[i].exhausted);
	}
	hang_up(&g);
	buf_free(&payload);
	is_at_rest(place);
}

/* Whoever has no time, has lost interest or is gone: nothing goes on for him. */
static void
nobody_works_in_vain(void **state)
{
	Place	   *place = *state;
	WireSearch	s = many(place, WIRE_QUERIES_MAX, 10);
	Buf			payload;
	Gateway		g;
	bool		late = false;

	s.flags |= SEARCH_EXACT;
	dial(&g, place);
	for (int round = 0; round < ROUNDS && !late; round++)
	{
		s.route.deadline_ms = 1;
		payload = encoded(&s);
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, &payload);
		assert_int_equal(read_frame(&g), g.requests);
		assert_int_equal(wire_reply_get(buf_bytes(&g.payload), &g.head, &g.body), VT_OK);
		late = g.head.status == VT_TIMEOUT;
		buf_free(&payload);
	}
	assert_true(late);
	is_at_rest(place);

	/* Cancelled at some moment of its life: what is asked behind it is answered. */
	s.route.deadline_ms = 600000;
	payload = encoded(&s);
	for (int round = 0; round < 24; round++)
	{
		uint64_t	cancelled = ++g.requests;
		WireSearchResult result;
		WireSearch	one = question(place, queries_of(1), 1);
		uint64_t	id;
		Buf			behind;

		one.flags = SEARCH_ONCE;
		behind = encoded(&one);
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, cancelled, &payload);
		poll(NULL, 0, round / 5);
		send_frame(&g, WIRE_CANCEL, WIRE_SEARCH, cancelled, &(Buf) {0});
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, &behind);
		while ((id = read_frame(&g)) != g.requests)
			assert_in_range(id, 1, cancelled);	/* the cancel came too late for it */
		assert_int_equal(wire_reply_get(buf_bytes(&g.payload), &g.head, &g.body), VT_OK);
		assert_int_equal(g.head.status, VT_OK);
		assert_int_equal(wire_search_result_get(g.body, &result), VT_OK);
		buf_free(&behind);
	}
	is_at_rest(place);

	for (int round = 0; round < 20; round++)
	{
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, &payload);
		poll(NULL, 0, round % 4);
		hang_up(&g);
		dial(&g, place);
	}
	is_at_rest(place);
	hang_up(&g);
	buf_free(&payload);
}

/* Law D1: what was read counts only if the interval still stands when the last was read. */
static void
a_split_meanwhile_undoes_all(void **state)
{
	Place	   *place = *state;
	WireSearch	s = many(place, WIRE_QUERIES_MAX, 10);
	Buf			payload;
	Shard	   *shard = worker_find_shard(place->worker, SHARD);
	bool		seen = false;
	Gateway		g;

	s.flags |= SEARCH_EXACT;
	payload = encoded(&s);
	dial(&g, place);
	for (int round = 0; round < ROUNDS && !seen; round++)
	{
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, &payload);
		while (pool_figures(place->worker).waiting == 0 && poll(&(struct pollfd) {.fd = g.fd, .events = POLLIN}, 1, 0) == 0)
			;
		atomic_fetch_add(&shard->range_ver, 1);
		read_frame(&g);
		atomic_fetch_sub(&shard->range_ver, 1);
		assert_int_equal(wire_reply_get(buf_bytes(&g.payload), &g.head, &g.body), VT_OK);
		seen = g.head.status == VT_WRONG_SHARD && bytes_equal(g.head.message, bytes_str("the shard was split meanwhile"));
	}
	assert_true(seen);
	shard_release(shard);
	hang_up(&g);
	buf_free(&payload);
	is_at_rest(place);
}

/* One thread, and as much time for both: one query that comes later is answered first. */
static void
one_is_not_behind_all(void **state)
{
	Place	   *place = *state;
	WireSearch	s = many(place, WIRE_QUERIES_MAX, 10);
	WireSearch	one = question(place, queries_of(1), 1);
	Buf			payload;
	Buf			single;
	bool		first = false;
	Gateway		g;

	s.flags |= SEARCH_EXACT;
	payload = encoded(&s);
	one.flags = SEARCH_ONCE;
	single = encoded(&one);
	dial(&g, place);
	for (int round = 0; round < ROUNDS && !first; round++)
	{
		uint64_t	id = ++g.requests;

		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, id, &payload);
		while (pool_figures(place->worker).waiting == 0 && poll(&(struct pollfd) {.fd = g.fd, .events = POLLIN}, 1, 0) == 0)
			;
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, &single);
		first = read_frame(&g) == g.requests;
		read_frame(&g);
	}
	assert_true(first);
	hang_up(&g);
	buf_free(&payload);
	buf_free(&single);
	is_at_rest(place);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_is_answered_as_if_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(all_are_refused_or_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_answer_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_works_in_vain, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_works_in_vain, set_up_one_thread, tear_down),
		cmocka_unit_test_setup_teardown(a_split_meanwhile_undoes_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_is_not_behind_all, set_up_one_thread, tear_down),
	};

	return cmocka_run_group_tests_name("a search of many queries", tests, NULL, NULL);
}
