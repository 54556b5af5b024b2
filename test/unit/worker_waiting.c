/*-------------------------------------------------------------------------
 *
 * worker_waiting.c
 *	  What waits for a thread of a worker takes none when its time is over or nobody
 *	  wants it, and does not wait where that is no use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* memmem */
#endif
#include "worker_place.h"
#include "../../src/worker/queues.h"

#include <poll.h>
#include <sys/ioctl.h>

#include "base/clock.h"

static int
set_up(void **state)
{
	search_threads = 1;
	return set_up_floats(state);
}

/* For the record nearest to each of so many vectors. */
static Buf
exact_questions(const Place *place, uint32_t nqueries, uint32_t deadline_ms)
{
	static uint8_t vectors[WIRE_QUERIES_MAX * DIM * 4];
	Buf			payload = {0};
	WireSearch	s;

	for (uint32_t i = 0; i < nqueries; i++)
		vector_of((float) i, vectors + i * DIM * 4);
	s = question(place, vectors, 1);
	s.consistency = WIRE_AT_MARK;
	s.flags = SEARCH_EXACT | SEARCH_ONCE | (nqueries > 1 ? SEARCH_MANY : 0);
	s.nqueries = nqueries;
	s.route.deadline_ms = deadline_ms;
	wire_search_put(&payload, &s);
	return payload;
}

static Buf
exact_question(const Place *place, uint32_t deadline_ms)
{
	return exact_questions(place, 1, deadline_ms);
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
	Buf			payload = exact_question(place, deadline_ms);

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
		if (from->head.status == VT_BUSY)
		{
			/* The worker's word, and not the shard's. */
			assert_int_equal(from->head.shard, 0);
			assert_in_range(from->head.retry_after_ms, 1, 10000);
			assert_non_null(memmem(from->head.message.data, from->head.message.len, "wait at this worker", 19));
		}
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

/* A second collection in the same worker, with the record 0.  By chance it might share a lane with the first. */
static Place
another(const Place *place)
{
	const WaitingList *list = &place->worker->searches;
	Place		other = *place;
	VtError		err = {0};
	Gateway		g;

	for (int i = 8; waiting_lane(list, &other.desc.generation) == waiting_lane(list, &place->desc.generation); i++)
		memset(other.desc.generation.b, i, 16);
	other.desc.shard = SHARD + 1;
	other.desc.replicas[0].replica = 78;
	if (worker_create_shard(place->worker, &other.desc, 78, true, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	dial(&g, &other);
	put(&g, &other, 0, 1);
	hang_up(&g);
	return other;
}

/* How many questions waited when one of `few` was answered that came after a flood of `many`. */
static uint32_t
waited_beside(const Place *few, const Place *many)
{
	enum
	{
		GATEWAYS = 20,
		EACH = 50
	};
	Gateway		g[GATEWAYS + 1];
	Gateway    *last = &g[GATEWAYS];
	Buf			flood = exact_question(many, 600000);
	Buf			one = exact_question(few, 600000);
	WireSearchResult result;

	for (int i = 0; i <= GATEWAYS; i++)
		dial(&g[i], few);
	for (int i = 0; i < GATEWAYS; i++)
	{
		Buf			frames = {0};

		for (int k = 0; k < EACH; k++)
			wire_frame_put(&frames, WIRE_REQUEST, WIRE_SEARCH, ++g[i].requests, buf_bytes(&flood));
		assert_int_equal(write(g[i].fd, frames.data, frames.len), frames.len);
		buf_free(&frames);
	}
	send_frame(last, WIRE_REQUEST, WIRE_SEARCH, ++last->requests, &one);
	read_frame(last);
	assert_int_equal(wire_reply_get(buf_bytes(&last->payload), &last->head, &last->body), VT_OK);
	assert_int_equal(last->head.status, VT_OK);
	assert_int_equal(wire_search_result_get(last->body, &result), VT_OK);
	for (int k = 0; k < GATEWAYS * EACH; k++)
	{
		Gateway    *from = &g[k % GATEWAYS];

		read_frame(from);
		assert_int_equal(wire_reply_get(buf_bytes(&from->payload), &from->head, &from->body), VT_OK);
		assert_int_equal(from->head.status, VT_OK);
	}
	for (int i = 0; i <= GATEWAYS; i++)
		hang_up(&g[i]);
	buf_free(&flood);
	buf_free(&one);
	return result.waiting;
}

/* With the same time to live, and nobody turned away. */
static void
a_flood_does_not_hold_up_others(void **state)
{
	Place	   *place = *state;
	Place		other = another(place);
	uint32_t	waited = 0;
	Gateway		g;

	dial(&g, place);
	for (uint32_t i = 0; i < 20000; i += 1000)
		put(&g, place, i, 1000);
	hang_up(&g);

	/* The flood may be over before the one comes: then it shows nothing. */
	for (int round = 0; round < 100 && waited < 100; round++)
		waited = waited_beside(&other, place);
	assert_true(waited >= 100);
}

/*
 * Six questions that come together to a worker with enough to do, one of which is
 * cancelled, in the same piece or apart: the others are answered, each once.  Returns
 * whether they had waited, and came back together.
 */
static bool
asked_together(const Place *few, const Place *many, bool apart)
{
	enum
	{
		FLOOD = 60,
		N = 6
	};
	Gateway		flood;
	Gateway		g;
	Buf			payload = exact_question(many, 600000);
	Buf			one = exact_question(few, 600000);
	Buf			frames = {0};
	uint64_t	first;
	uint64_t	seen = 0;
	uint32_t	waited = 0;
	int			there = 0;
	struct pollfd poll_for;
	WireSearchResult result;

	dial(&flood, many);
	dial(&g, few);
	for (int i = 0; i < FLOOD; i++)
		wire_frame_put(&frames, WIRE_REQUEST, WIRE_SEARCH, ++flood.requests, buf_bytes(&payload));
	assert_int_equal(write(flood.fd, frames.data, frames.len), frames.len);
	buf_clear(&frames);
	first = g.requests + 1;
	for (int i = 0; i < N; i++)
		wire_frame_put(&frames, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, buf_bytes(&one));
	if (!apart)
		wire_frame_put(&frames, WIRE_CANCEL, WIRE_SEARCH, first + 2, bytes_of(NULL, 0));
	assert_int_equal(write(g.fd, frames.data, frames.len), frames.len);
	if (apart)
		send_frame(&g, WIRE_CANCEL, WIRE_SEARCH, first + 2, &(Buf) {0});
	poll_for = (struct pollfd) {.fd = g.fd, .events = POLLIN};
	assert_int_equal(poll(&poll_for, 1, PATIENCE_MS), 1);
	assert_int_equal(ioctl(g.fd, FIONREAD, &there), 0);
	for (int i = 0; i < N - 1;)
	{
		uint64_t	id = read_frame(&g);

		if (apart && id == first + 2)
			continue;			/* the cancel came too late */
		i++;
		there -= (int) (WIRE_HEADER_SIZE + g.payload.len);
		assert_in_range(id, first, first + N - 1);
		assert_int_equal(seen >> (id - first) & 1, 0);
		seen |= UINT64_C(1) << (id - first);
		assert_int_equal(wire_reply_get(buf_bytes(&g.payload), &g.head, &g.body), VT_OK);
		assert_int_equal(g.head.status, VT_OK);
		assert_int_equal(wire_search_result_get(g.body, &result), VT_OK);
		waited += result.waiting;
	}
	assert_int_equal(seen, ((1 << N) - 1) & ~4);
	for (int i = 0; i < FLOOD; i++)
		read_frame(&flood);
	hang_up(&flood);
	hang_up(&g);
	buf_free(&frames);
	buf_free(&payload);
	buf_free(&one);
	return waited > 0 && (there == 0 || apart);
}

/*
 * Questions that a thread has taken together are cancelled, or their asker hangs up, when
 * it has begun with them: so many it did not begin with.
 */
static uint64_t
given_up(Place *place, bool hangs_up)
{
	enum
	{
		N = 40
	};
	Buf			payload = exact_question(place, 600000);
	Buf			frames = {0};
	PoolFigures before = pool_figures(place->worker);
	uint64_t	forgotten;
	uint32_t	answers = 0;
	Gateway		g;
	Gateway		other;
	uint64_t	first;

	dial(&g, place);
	first = g.requests + 1;
	for (int i = 0; i < N; i++)
		wire_frame_put(&frames, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, buf_bytes(&payload));
	assert_int_equal(write(g.fd, frames.data, frames.len), frames.len);
	buf_clear(&frames);
	for (int i = 0; i < N; i++)
		wire_frame_put(&frames, WIRE_CANCEL, WIRE_SEARCH, first + (uint64_t) i, bytes_of(NULL, 0));
	read_frame(&g);
	if (hangs_up)
		hang_up(&g);
	else
		assert_int_equal(write(g.fd, frames.data, frames.len), frames.len);

	/* Served when all of those are gone: those who ask have turns, and these are of one collection. */
	dial(&other, place);
	send_frame(&other, WIRE_REQUEST, WIRE_SEARCH, ++other.requests, &payload);
	read_frame(&other);
	hang_up(&other);
	forgotten = pool_figures(place->worker).forgotten - before.forgotten;
	if (!hangs_up)
	{
		/* One that was not cancelled ends what comes. */
		send_frame(&g, WIRE_REQUEST, WIRE_SEARCH, ++g.requests, &payload);
		while (read_frame(&g) != g.requests)
			answers++;
		assert_true(1 + answers + forgotten <= N);
		hang_up(&g);
	}
	buf_free(&frames);
	buf_free(&payload);
	return forgotten;
}

static void
what_nobody_wants_is_not_begun(void **state)
{
	Place	   *place = *state;
	Gateway		g;

	dial(&g, place);
	for (uint32_t i = 0; i < 20000; i += 1000)
		put(&g, place, i, 1000);
	hang_up(&g);
	for (int hangs_up = 0; hangs_up < 2; hangs_up++)
	{
		uint64_t	forgotten = 0;

		for (int round = 0; round < 100 && forgotten == 0; round++)
			forgotten = given_up(place, hangs_up);
		assert_true(forgotten > 0);
	}
	/* And nothing waits for anybody. */
	assert_int_equal(pool_figures(place->worker).waiting, 0);
}

/* What is held is not held for longer by a mate that takes long itself. */
static void
a_reply_waits_for_quick_mates_alone(void **state)
{
	(void) state;
	assert_true(reply_may_wait(100, 0, 300));
	assert_true(reply_may_wait(100, 1500, 300));
	assert_false(reply_may_wait(100, 1900, 300));
	assert_false(reply_may_wait(100, 0, 3000));
	assert_false(reply_may_wait(1 << 20, 0, 300));
}

static void
who_asks_together_is_answered_together(void **state)
{
	Place	   *place = *state;
	Place		other = another(place);
	bool		together = false;
	Gateway		g;

	dial(&g, place);
	for (uint32_t i = 0; i < 20000; i += 1000)
		put(&g, place, i, 1000);
	hang_up(&g);

	/* A round may come too late to wait, and be interrupted between two of its answers. */
	for (int round = 0; round < 100 && !together; round++)
		together = asked_together(&other, place, false);
	assert_true(together);

	/* One that waits with others, too, can be cancelled. */
	together = false;
	for (int round = 0; round < 100 && !together; round++)
		together = asked_together(&other, place, true);
	assert_true(together);
}

/* Ask that n times at once; answered[status] of them so. */
static void
ask_at_once(Gateway *g, const Buf *payload, uint32_t n, uint32_t answered[64])
{
	Buf			frames = {0};

	memset(answered, 0, sizeof(uint32_t) * 64);
	for (uint32_t i = 0; i < n; i++)
		wire_frame_put(&frames, WIRE_REQUEST, WIRE_SEARCH, ++g->requests, buf_bytes(payload));
	assert_int_equal(write(g->fd, frames.data, frames.len), frames.len);
	for (uint32_t i = 0; i < n; i++)
	{
		read_frame(g);
		assert_int_equal(wire_reply_get(buf_bytes(&g->payload), &g->head, &g->body), VT_OK);
		assert_true(g->head.status < 64);
		answered[g->head.status]++;
	}
	assert_int_equal(answered[VT_OK] + answered[VT_BUSY], n);
	buf_free(&frames);
}

/* A connection that asks without end is refused at once, and heard still. */
static void
a_connection_has_so_many_at_a_time(void **state)
{
	enum
	{
		N = 200
	};
	Place	   *place = *state;
	Buf			payload = exact_question(place, 600000);
	uint32_t	answered[64];
	PoolFigures before = pool_figures(place->worker);
	Gateway		g;

	dial(&g, place);
	put(&g, place, 0, 1000);
	ask_at_once(&g, &payload, N, answered);
	/* That the put is done is told before its place is free. */
	assert_in_range(answered[VT_OK], WIRE_OUTSTANDING_MAX - 1, N - 1);
	assert_int_equal(pool_figures(place->worker).turned_away - before.turned_away, answered[VT_BUSY]);

	/* Who was answered may ask again. */
	put(&g, place, 1000, 1);
	hang_up(&g);
	buf_free(&payload);
}

/* A search of many queries is no single one of them: 60 of these would be 15 360 queries. */
static void
many_queries_have_many_places(void **state)
{
	enum
	{
		N = 60
	};
	Place	   *place = *state;
	uint32_t	together = WIRE_OUTSTANDING_MAX / wire_search_places(WIRE_QUERIES_MAX);
	Buf			payload = exact_questions(place, WIRE_QUERIES_MAX, 600000);
	Buf			few = exact_questions(place, WIRE_QUERIES_A_PLACE, 600000);
	uint32_t	answered[64];
	Gateway		g;

	dial(&g, place);
	put(&g, place, 0, 1000);
	ask_at_once(&g, &payload, N, answered);
	assert_in_range(answered[VT_OK], together - 1, N - 1);

	/* Of few they are as many as of one, and a place is free again when its search is served. */
	ask_at_once(&g, &few, N, answered);
	assert_in_range(answered[VT_OK], WIRE_OUTSTANDING_MAX - 1 - wire_search_places(WIRE_QUERIES_MAX), N);
	ask_at_once(&g, &payload, 1, answered);
	assert_int_equal(answered[VT_OK], 1);
	hang_up(&g);
	buf_free(&payload);
	buf_free(&few);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_is_served_too_late, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_flood_does_not_hold_up_others, set_up, tear_down),
		cmocka_unit_test(a_reply_waits_for_quick_mates_alone),
		cmocka_unit_test_setup_teardown(who_asks_together_is_answered_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_nobody_wants_is_not_begun, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_connection_has_so_many_at_a_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_queries_have_many_places, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_waiting", tests, NULL, NULL);
}
