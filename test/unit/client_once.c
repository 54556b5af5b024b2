/*-------------------------------------------------------------------------
 *
 * client_once.c
 *	  Writes that are done once: what is sent again goes by the same session and
 *	  number, in parts after a split; sessions are opened when they are needed, and
 *	  when one is over that is told only if it matters.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_pair.h"

#define N 60

static VtError err;
static Batch batch;

static void
begin(Setup *s, uint32_t nshards)
{
	set_up(s, nshards, 0);
	s->writer.once = true;
}

static void
end(Setup *s)
{
	batch_free(&batch);
	tear_down(s);
}

/* N others are to be put. */
static void
fill(uint32_t from)
{
	batch_free(&batch);
	batch = batch_of(from, N);
}

static VtStatus
put(Setup *s)
{
	s->writer.deadline_us = in_ms(LONG_MS);
	return client_put(s->client, &s->writer, batch.records, N, batch.done, NULL, &err);
}

static void
assert_put_once(Setup *s)
{
	assert_all_there(s, &batch);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(shard_record(world_place(&s->w, batch.records[i].id), batch.records[i].id)->times, 1);
}

static uint32_t
opened(const World *w)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < w->nshards; i++)
		n += w->shards[i].opened;
	return n;
}

static void
once_whatever_is_lost(void **state)
{
	static const Trick kinds[] = {
		{WIRE_WRITE, 0, AS_IT_SHOULD, VT_OK}, {WIRE_WRITE, 0, CLOSE_BEFORE, VT_OK}, {WIRE_WRITE, 0, CLOSE_AFTER, VT_OK},
		{WIRE_WRITE, 0, CLOSE_IN_MIDDLE, VT_OK}, {WIRE_WRITE, 0, BAD_CHECKSUM, VT_OK}, {WIRE_WRITE, 0, STALE_FIRST, VT_OK},
		{WIRE_WRITE, 0, REFUSE, VT_BUSY}, {WIRE_WRITE, 0, REFUSE, VT_NOT_LEADER}, {WIRE_WRITE, 0, REFUSE, VT_UNAVAILABLE},
		{WIRE_WRITE, 0, OTHER_LIFE, VT_OK},
	};
	Setup		s;
	uint32_t	from = 0;
	uint32_t	repeated = 0;

	(void) state;
	begin(&s, 3);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int after = 0; after < 4; after++, from += N)
		{
			fill(from);
			if (kinds[k].what != AS_IT_SHOULD)
				world_trick(&s.w, WIRE_WRITE, after % 3, kinds[k].what, kinds[k].status);
			assert_ok(put(&s));
			assert_put_once(&s);
		}
	/* Sessions stay; and the answers that were lost have been given again. */
	assert_int_equal(opened(&s.w), 3);
	for (uint32_t i = 0; i < 3; i++)
		repeated += s.w.shards[i].repeated;
	assert_true(repeated > 0);
	end(&s);
}

static int	writes;				/* since it was set */

/* With the first write after the one that is lost. */
static void
split_after_it(World *w, WireType type)
{
	if (type == WIRE_WRITE && ++writes == 2)
		world_split(w, 0);
}

/* Its answer is lost, and it is sent again to two. */
static void
in_parts_after_a_split(void **state)
{
	Setup		s;

	(void) state;
	for (int lost = 0; lost < 2; lost++)
	{
		begin(&s, 1);
		fill(0);
		assert_ok(put(&s));
		/* The answer is lost, or the question. */
		fill(N);
		world_trick(&s.w, WIRE_WRITE, 0, lost ? CLOSE_AFTER : CLOSE_BEFORE, VT_OK);
		writes = 0;
		s.w.on_request = split_after_it;
		assert_ok(put(&s));
		assert_put_once(&s);
		fill(2 * N);
		assert_ok(put(&s));
		assert_put_once(&s);
		assert_int_equal(s.w.nshards, 2);
		assert_int_equal(s.w.shards[1].opened, 0);
		assert_true(s.w.shards[1].n > 0);
		assert_int_equal(s.w.shards[0].repeated + s.w.shards[1].repeated > 0, lost);
		end(&s);
	}
}

static void
sessions_end(World *w)
{
	for (uint32_t i = 0; i < w->nshards; i++)
		w->shards[i].nsessions = 0;
}

/* The second write that comes, and none before. */
static void
end_with_the_second(World *w, WireType type)
{
	if (type == WIRE_WRITE && w->shards[0].ndone > 0)
		sessions_end(w);
}

static void
a_session_that_is_over(void **state)
{
	Setup		s;

	(void) state;
	begin(&s, 2);
	fill(0);
	assert_ok(put(&s));
	sessions_end(&s.w);
	fill(N);
	assert_ok(put(&s));
	assert_put_once(&s);
	assert_int_equal(opened(&s.w), 4);
	end(&s);

	/* With an answer missing it is told, and nothing is done again. */
	begin(&s, 1);
	s.w.on_request = end_with_the_second;
	world_trick(&s.w, WIRE_WRITE, 1, CLOSE_AFTER, VT_OK);
	fill(0);
	assert_int_equal(put(&s), VT_SESSION_OVER);
	assert_non_null(strstr(err.msg, "60 records"));
	for (uint32_t i = 0; i < N; i++)
	{
		assert_int_equal(shard_record(&s.w.shards[0], batch.records[i].id)->times, 1);
		assert_false(batch.done[i]);
	}
	s.w.on_request = NULL;
	fill(N);
	assert_ok(put(&s));
	assert_put_once(&s);
	end(&s);
}

/* More commands than a session may have unsettled: each settles those before it. */
static void
many_commands(void **state)
{
	enum
	{
		CALLS = 70,				/* of one command each, but the last */
		LARGE = 12,				/* commands of the last, four at a time */
		BYTES = 600000
	};
	static uint8_t metadata[BYTES];
	Setup		s;

	(void) state;
	begin(&s, 1);
	for (uint32_t call = 0; call < CALLS; call++)
	{
		fill(call * N);
		for (uint32_t i = 0; call + 1 == CALLS && i < LARGE; i++)
			batch.records[i].metadata = bytes_of(metadata, sizeof(metadata));
		for (int i = 0; call + 1 == CALLS && i < 8; i++)
			world_trick(&s.w, WIRE_WRITE, 9 * i % 5, i % 2 ? CLOSE_AFTER : CLOSE_BEFORE, VT_OK);
		assert_ok(put(&s));
		assert_put_once(&s);
	}
	assert_true(s.w.shards[0].repeated > 0);
	end(&s);
}

static void
deletions(void **state)
{
	Setup		s;
	uint64_t	hits;

	(void) state;
	begin(&s, 2);
	fill(0);
	assert_ok(put(&s));
	assert_ok(client_delete(s.client, &s.writer, batch.records, N / 2, &hits, NULL, &err));
	assert_int_equal(hits, N / 2);
	assert_int_equal(world_records(&s.w), N / 2);
	/* A hit whose answer was lost is not counted. */
	for (int i = 0; i < 2; i++)
		world_trick(&s.w, WIRE_WRITE, 0, CLOSE_AFTER, VT_OK);
	assert_ok(client_delete(s.client, &s.writer, batch.records + N / 2, N / 2, &hits, NULL, &err));
	assert_int_equal(world_records(&s.w), 0);
	assert_true(hits < N / 2);
	end(&s);
}

/* -- Beside a PD that has not heard of a split ------------------------------- */

static Buf	words;

/* What PD says from now on; in another life nothing of it is known to be older. */
static void
pd_stands_still(World *w, uint64_t incarnation)
{
	buf_clear(&words);
	w->shards[0].desc.incarnation = incarnation;
	put_route(w, &words);
	w->shards[0].desc.incarnation = 1;
	w->route_words = &words;
}

/* After it was put in by a split that a worker told of, the client forgets the route. */
static void
numbers_are_not_begun_with_again(void **state)
{
	Setup		s;

	(void) state;
	for (uint32_t calls = 1; calls < 5; calls++)
	{
		begin(&s, 1);
		fill(0);
		assert_ok(put(&s));
		pthread_mutex_lock(&s.w.lock);
		s.w.tells = true;
		pd_stands_still(&s.w, 1);
		world_split(&s.w, 0);
		pthread_mutex_unlock(&s.w.lock);
		for (uint32_t call = 1; call <= calls; call++)
		{
			fill(call * N);
			assert_ok(put(&s));
			assert_put_once(&s);
		}
		client_route_forget(s.client, &s.w.generation);
		fill(10 * N);
		assert_ok(put(&s));
		assert_put_once(&s);
		end(&s);
	}
	buf_free(&words);
}

static uint32_t	told_again;		/* since it was set: questions to PD */

/* It has been asked once by that: now it knows. */
static void
pd_hears_of_it(World *w, WireType type)
{
	if (type == WIRE_CONTROL && ++told_again == 2)
		w->route_words = NULL;
}

/* The child has done it, the answer is lost, and PD is asked: what it says does not know the child. */
static void
done_by_whom_the_route_does_not_know(void **state)
{
	Setup		s;

	(void) state;
	for (uint64_t incarnation = 1; incarnation <= 2; incarnation++)
		for (int lost = 0; lost < 2; lost++)
		{
			begin(&s, 1);
			fill(0);
			assert_ok(put(&s));
			pthread_mutex_lock(&s.w.lock);
			s.w.tells = true;
			pd_stands_still(&s.w, incarnation);
			world_split(&s.w, 0);
			pthread_mutex_unlock(&s.w.lock);
			fill(N);
			assert_ok(put(&s));
			told_again = 0;
			s.w.on_request = pd_hears_of_it;
			world_trick(&s.w, WIRE_WRITE, 1, lost ? CLOSE_AFTER : CLOSE_BEFORE, VT_OK);
			fill(2 * N);
			assert_ok(put(&s));
			assert_put_once(&s);
			assert_true(told_again > 0);
			assert_int_equal(s.w.shards[1].repeated > 0, lost);
			end(&s);
		}
	buf_free(&words);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(once_whatever_is_lost),
		cmocka_unit_test(in_parts_after_a_split),
		cmocka_unit_test(a_session_that_is_over),
		cmocka_unit_test(many_commands),
		cmocka_unit_test(deletions),
		cmocka_unit_test(numbers_are_not_begun_with_again),
		cmocka_unit_test(done_by_whom_the_route_does_not_know),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
