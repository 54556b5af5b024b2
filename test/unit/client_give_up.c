/*-------------------------------------------------------------------------
 *
 * client_give_up.c
 *	  What is given up, and what is not: an acknowledgement that is here when the time is
 *	  over, and others who wait for the same greeting.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_pair.h"

#include "../../src/client/conn.h"

static VtError err;

/* The worker that was asked has answered, and the time is over: the call sees both when this returns. */
static void
stand_still(void *arg)
{
	Setup	   *s = (Setup *) arg;
	struct pollfd there = {.fd = s->client->epoll, .events = POLLIN};

	assert_int_equal(poll(&there, 1, PATIENCE_MS), 1);
	s->writer.deadline_us = clock_now_us();
}

/* What was acknowledged in time is, whenever it is read. */
static void
an_acknowledgement_that_is_here_is_one(void **state)
{
	Setup		s;
	Batch		b = batch_of(0, 40);
	const ClientCollection *route;
	size_t		acknowledged = 0;

	(void) state;
	set_up(&s, 2, 0);
	assert_ok(client_route(s.client, &s.w.generation, false, in_ms(LONG_MS), &route, &err));

	/* The second worker, which does not greet, is dialled when the first was asked. */
	fake_freeze(&s.b, true);
	s.watch.on_dial = stand_still;
	s.watch.dial_arg = &s;
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_TIMEOUT);
	s.watch.on_dial = NULL;
	pthread_mutex_lock(&s.w.lock);
	for (size_t i = 0; i < b.n; i++)
		if (world_place(&s.w, b.records[i].id)->home == &s.a)
		{
			assert_true(b.done[i]);
			assert_non_null(shard_record(&s.w.shards[0], b.records[i].id));
			acknowledged++;
		}
		else
			assert_false(b.done[i]);
	pthread_mutex_unlock(&s.w.lock);
	assert_in_range(acknowledged, 1, b.n - 1);

	/* Nothing is sent when the time is over. */
	assert_int_equal(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err), VT_TIMEOUT);
	assert_int_equal(world_count(&s.w, WIRE_WRITE), 1);
	s.writer.deadline_us = in_ms(LONG_MS);
	fake_freeze(&s.b, false);
	assert_ok(client_put(s.client, &s.writer, b.records, b.n, b.done, NULL, &err));
	assert_all_there(&s, &b);
	for (size_t i = 0; i < b.n; i++)
		if (world_place(&s.w, b.records[i].id)->home == &s.a)
			assert_int_equal(shard_record(&s.w.shards[0], b.records[i].id)->times, 2);
	batch_free(&b);
	tear_down(&s);
}

enum
{
	WAITERS = 5
};

static void
ask(Setup *s, Request *request, int number)
{
	Conn	   *conn = conn_of(s->client, s->b.endpoint, &err);
	char		text[32];
	Buf		   *out;
	size_t		frame;

	assert_non_null(conn);
	frame = request_begin(s->client, conn, request, WIRE_CONTROL, &out);
	/* None as long as another. */
	buf_put(out, text, (size_t) snprintf(text, sizeof(text), "{\"op\":\"%.*s\"}", number, "status"));
	request_send(request, frame);
}

/* A question that is given up before the greeting is answered was never asked; the others are. */
static void
who_waits_for_a_greeting_waits_on(void **state)
{
	Setup		s;

	(void) state;
	for (int first = 0; first < WAITERS; first++)
		for (int second = 0; second < WAITERS; second++)
		{
			Request		requests[WAITERS] = {{0}};
			uint32_t	left = 0;

			set_up(&s, 2, 0);
			fake_freeze(&s.b, true);
			for (int i = 0; i < WAITERS; i++)
				ask(&s, &requests[i], i);
			/* However long the machine stood still. */
			s.client->conns->begun_us = in_ms(LONG_MS);
			request_drop(&requests[first]);
			request_drop(&requests[second]);
			fake_freeze(&s.b, false);
			for (int i = 0; i < WAITERS; i++)
				if (i != first && i != second)
				{
					left++;
					assert_ok(request_wait(s.client, &requests[i], in_ms(LONG_MS), &err));
					assert_int_equal(requests[i].status, VT_OK);
					request_drop(&requests[i]);
				}
			assert_int_equal(world_count(&s.w, WIRE_HELLO), 1);
			assert_int_equal(world_count(&s.w, WIRE_CONTROL), left);
			assert_int_equal(s.w.cancels, 0);
			tear_down(&s);
		}
}

/* For who is silent for long there is no greeting to be waited for, and none where nobody does. */
static void
who_does_not_greet_is_dialled_again(void **state)
{
	Setup		s;
	Request		requests[2] = {{0}};

	(void) state;
	set_up(&s, 2, 0);
	fake_freeze(&s.b, true);
	for (int i = 0; i < 2; i++)
		ask(&s, &requests[i], i);
	s.client->conns->begun_us = 0;
	request_drop(&requests[0]);
	assert_true(requests[1].done);
	assert_int_equal(requests[1].status, VT_UNAVAILABLE);
	assert_false(requests[1].definite);
	assert_int_equal(client_connections(s.client), 0);
	request_drop(&requests[1]);

	ask(&s, &requests[0], 0);
	request_drop(&requests[0]);
	assert_int_equal(client_connections(s.client), 0);
	fake_freeze(&s.b, false);
	ask(&s, &requests[0], 0);
	assert_ok(request_wait(s.client, &requests[0], in_ms(LONG_MS), &err));
	assert_int_equal(requests[0].status, VT_OK);
	request_drop(&requests[0]);
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), 1);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_acknowledgement_that_is_here_is_one),
		cmocka_unit_test(who_waits_for_a_greeting_waits_on),
		cmocka_unit_test(who_does_not_greet_is_dialled_again),
	};

	return cmocka_run_group_tests_name("client_give_up", tests, NULL, NULL);
}
