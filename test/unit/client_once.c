/*-------------------------------------------------------------------------
 *
 * client_once.c
 *	  Writes that are done once: what is sent again goes by the same session and
 *	  number, in parts after a split; sessions are opened when they are needed, and
 *	  when one is over that is told only if it matters.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_cluster.h"

#define N 60

static VtError err;

typedef struct Setup
{
	World		w;
	Fake		a;
	Fake		b;
	Watch		watch;
	Client	   *client;
	ClientWriter writer;
	ClientRecord records[N];
	uint8_t		ids[N][WIRE_TID_SIZE];
	float		vectors[N][DIM];
	bool		done[N];
} Setup;

static void
set_up(Setup *s, uint32_t nshards)
{
	memset(s, 0, sizeof(*s));
	world_init(&s->w, nshards);
	fake_start(&s->a, &s->w);
	fake_start(&s->b, &s->w);
	for (uint32_t i = 0; i < nshards; i++)
		s->w.shards[i].home = i % 2 ? &s->b : &s->a;
	s->client = client_for(s->a.endpoint, NULL, &s->watch);
	s->writer.generation = s->w.generation;
	s->writer.owner = s->w.owner;
	s->writer.once = true;
	s->writer.deadline_us = in_ms(LONG_MS);
}

static void
tear_down(Setup *s)
{
	client_end(s->client, &s->watch);
	fake_stop(&s->a);
	fake_stop(&s->b);
	world_free(&s->w);
}

/* Records of N ids from there on. */
static void
fill(Setup *s, uint32_t from)
{
	for (uint32_t i = 0; i < N; i++)
	{
		wire_tid_put(s->ids[i], from + i, 1);
		s->records[i] = (ClientRecord) {.id = bytes_of(s->ids[i], WIRE_TID_SIZE), .vector = s->vectors[i]};
		s->vectors[i][0] = (float) (from + i);
	}
}

static void
assert_put_once(Setup *s)
{
	for (uint32_t i = 0; i < N; i++)
	{
		FakeRecord *r = shard_record(world_place(&s->w, s->records[i].id), s->records[i].id);

		assert_non_null(r);
		assert_int_equal(r->times, 1);
		assert_true(s->done[i]);
	}
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
	set_up(&s, 3);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int after = 0; after < 4; after++, from += N)
		{
			fill(&s, from);
			if (kinds[k].what != AS_IT_SHOULD)
				world_trick(&s.w, WIRE_WRITE, after % 3, kinds[k].what, kinds[k].status);
			assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
			assert_put_once(&s);
		}
	/* Sessions stay; and the answers that were lost have been given again. */
	assert_int_equal(opened(&s.w), 3);
	for (uint32_t i = 0; i < 3; i++)
		repeated += s.w.shards[i].repeated;
	assert_true(repeated > 0);
	tear_down(&s);
}

/*
 * The shard becomes two: the child has what lies in its interval, and the
 * sessions and what they did.
 */
static void
split(World *w)
{
	FakeShard  *parent = &w->shards[0];
	FakeShard  *child = &w->shards[1];
	uint64_t	middle = parent->desc.first + (parent->desc.last - parent->desc.first) / 2;

	world_shard(w, 1, 101, middle + 1, parent->desc.last);
	child->home = parent->home;
	child->desc.parent = parent->desc.shard;
	child->desc.base_index = child->index = ++parent->index;
	child->desc.range_ver = parent->desc.range_ver = 2;
	memcpy(child->sessions, parent->sessions, sizeof(child->sessions));
	memcpy(child->settled, parent->settled, sizeof(child->settled));
	memcpy(child->done, parent->done, sizeof(child->done));
	child->nsessions = parent->nsessions;
	child->ndone = parent->ndone;
	parent->desc.last = middle;
	for (size_t i = parent->n; i-- > 0;)
		if (wire_place(&parent->desc, bytes_of(parent->records[i].id, parent->records[i].id_len)) > middle)
		{
			child->records = vt_realloc(child->records, sizeof(FakeRecord) * (child->n + 1));
			child->records[child->n++] = parent->records[i];
			parent->records[i] = parent->records[--parent->n];
		}
	w->nshards = 2;
	w->route_version++;
}

static int	writes;				/* since it was set */

/* With the first write after the one that is lost. */
static void
split_after_it(World *w, WireType type)
{
	if (type == WIRE_WRITE && ++writes == 2)
		split(w);
}

/* Its answer is lost, and it is sent again to two. */
static void
in_parts_after_a_split(void **state)
{
	Setup		s;

	(void) state;
	for (int lost = 0; lost < 2; lost++)
	{
		set_up(&s, 1);
		fill(&s, 0);
		assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
		/* The answer is lost, or the question. */
		fill(&s, N);
		world_trick(&s.w, WIRE_WRITE, 0, lost ? CLOSE_AFTER : CLOSE_BEFORE, VT_OK);
		writes = 0;
		s.w.on_request = split_after_it;
		assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
		assert_put_once(&s);
		fill(&s, 2 * N);
		assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
		assert_put_once(&s);
		assert_int_equal(s.w.nshards, 2);
		assert_int_equal(s.w.shards[1].opened, 0);
		assert_true(s.w.shards[1].n > 0);
		assert_int_equal(s.w.shards[0].repeated + s.w.shards[1].repeated > 0, lost);
		tear_down(&s);
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
	set_up(&s, 2);
	fill(&s, 0);
	assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
	sessions_end(&s.w);
	fill(&s, N);
	assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
	assert_put_once(&s);
	assert_int_equal(opened(&s.w), 4);
	tear_down(&s);

	/* With an answer missing it is told, and nothing is done again. */
	set_up(&s, 1);
	s.w.on_request = end_with_the_second;
	world_trick(&s.w, WIRE_WRITE, 1, CLOSE_AFTER, VT_OK);
	fill(&s, 0);
	assert_int_equal(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err), VT_SESSION_OVER);
	assert_non_null(strstr(err.msg, "60 records"));
	for (uint32_t i = 0; i < N; i++)
	{
		assert_int_equal(shard_record(&s.w.shards[0], s.records[i].id)->times, 1);
		assert_false(s.done[i]);
	}
	s.w.on_request = NULL;
	fill(&s, N);
	assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
	assert_put_once(&s);
	tear_down(&s);
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
	set_up(&s, 1);
	for (uint32_t call = 0; call < CALLS; call++)
	{
		fill(&s, call * N);
		for (uint32_t i = 0; call + 1 == CALLS && i < LARGE; i++)
			s.records[i].metadata = bytes_of(metadata, sizeof(metadata));
		for (int i = 0; call + 1 == CALLS && i < 8; i++)
			world_trick(&s.w, WIRE_WRITE, 9 * i % 5, i % 2 ? CLOSE_AFTER : CLOSE_BEFORE, VT_OK);
		assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
		assert_put_once(&s);
	}
	assert_true(s.w.shards[0].repeated > 0);
	tear_down(&s);
}

static void
deletions(void **state)
{
	Setup		s;
	uint64_t	hits;

	(void) state;
	set_up(&s, 2);
	fill(&s, 0);
	assert_ok(client_put(s.client, &s.writer, s.records, N, s.done, NULL, &err));
	assert_ok(client_delete(s.client, &s.writer, s.records, N / 2, &hits, NULL, &err));
	assert_int_equal(hits, N / 2);
	assert_int_equal(world_records(&s.w), N / 2);
	/* A hit whose answer was lost is not counted. */
	for (int i = 0; i < 2; i++)
		world_trick(&s.w, WIRE_WRITE, 0, CLOSE_AFTER, VT_OK);
	assert_ok(client_delete(s.client, &s.writer, s.records + N / 2, N / 2, &hits, NULL, &err));
	assert_int_equal(world_records(&s.w), 0);
	assert_true(hits < N / 2);
	tear_down(&s);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
