/*-------------------------------------------------------------------------
 *
 * fake_pair.h
 *	  Shards on two workers in turns, a client, and what it puts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_FAKE_PAIR_H
#define TEST_FAKE_PAIR_H

#include "fake_cluster.h"

typedef struct Setup
{
	World		w;
	Fake		a;
	Fake		b;
	Watch		watch;
	Client	   *client;
	ClientWriter writer;
} Setup;

/* pd answers for PD; NULL: a does. */
static inline void
set_up_with_pd(Setup *s, uint32_t nshards, uint32_t records, Fake *pd)
{
	world_init(&s->w, nshards);
	world_fill(&s->w, records, 42);
	fake_start(&s->a, &s->w);
	fake_start(&s->b, &s->w);
	if (pd)
		fake_start(pd, &s->w);
	for (uint32_t i = 0; i < nshards; i++)
		s->w.shards[i].home = i % 2 ? &s->b : &s->a;
	s->client = client_for(pd ? pd->endpoint : s->a.endpoint, NULL, &s->watch);
	s->writer = (ClientWriter) {.generation = s->w.generation, .owner = s->w.owner, .timeline = 1, .lsn = 99,
		.deadline_us = in_ms(LONG_MS)};
}

static inline void
set_up(Setup *s, uint32_t nshards, uint32_t records)
{
	set_up_with_pd(s, nshards, records, NULL);
}

static inline void
tear_down(Setup *s)
{
	client_end(s->client, &s->watch);
	fake_stop(&s->a);
	fake_stop(&s->b);
	world_free(&s->w);
}

/* n records with ids from..from+n and vectors of their number. */
typedef struct Batch
{
	size_t		n;
	ClientRecord *records;
	float	   *vectors;
	uint8_t    *ids;
	bool	   *done;
} Batch;

static inline Batch
batch_of(size_t from, size_t n)
{
	Batch		b = {n, vt_alloc0(sizeof(ClientRecord) * n), vt_alloc(sizeof(float) * DIM * n),
		vt_alloc(WIRE_TID_SIZE * n), vt_alloc0(sizeof(bool) * n)};

	for (size_t i = 0; i < n; i++)
	{
		wire_tid_put(b.ids + WIRE_TID_SIZE * i, (uint32_t) ((from + i) / 100), (uint16_t) ((from + i) % 100 + 1));
		for (int d = 0; d < DIM; d++)
			b.vectors[i * DIM + (size_t) d] = (float) (from + i);
		b.records[i].id = bytes_of(b.ids + WIRE_TID_SIZE * i, WIRE_TID_SIZE);
		b.records[i].vector = &b.vectors[i * DIM];
	}
	return b;
}

static inline void
batch_free(Batch *b)
{
	free(b->records);
	free(b->vectors);
	free(b->ids);
	free(b->done);
	memset(b, 0, sizeof(*b));
}

/* Everything in the batch is in the shard of its hash, as sent. */
static inline void
assert_all_there(Setup *s, const Batch *b)
{
	for (size_t i = 0; i < b->n; i++)
	{
		FakeRecord *r = shard_record(world_place(&s->w, b->records[i].id), b->records[i].id);

		assert_non_null(r);
		assert_memory_equal(r->vector, b->records[i].vector, sizeof(r->vector));
		assert_true(b->done[i]);
	}
}

#endif							/* TEST_FAKE_PAIR_H */
