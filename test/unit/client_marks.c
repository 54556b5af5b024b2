/*-------------------------------------------------------------------------
 *
 * client_marks.c
 *	  The table of marks beside a plain record of what was acknowledged.
 *
 * Writers, readers, other generations that press for room, shards that begin
 * another life or are split, and routes that change take steps in random order; between any
 * two steps of one of them the others may do anything.  A mark that is known
 * must cover everything that was acknowledged to somebody who has told the
 * table (rule R3).
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "client/client.h"

#define SHARDS 3
#define SHARDS_MOST 9
#define WRITERS 3
#define READERS 3
#define NOISE 40
#define STEPS 4000
#define SEEDS 200

static VtId
generation(int n)
{
	VtId		id;

	memset(&id, 0, sizeof(id));
	for (int i = 0; i < 8; i++)
		id.b[i] = (uint8_t) (n * 37 + i * 11 + 1);
	id.b[15] = (uint8_t) n;
	return id;
}

/* -- The plain record ------------------------------------------------------ */

typedef struct Truth
{
	uint64_t	incarnation;
	uint64_t	index;			/* of the log */
	uint64_t	owed;			/* highest that somebody may count on */
	int			parent;			/* that it was split off; -1 = none */
	uint64_t	born;			/* version of the route with which it came */
	uint32_t	born_ver;		/* of its interval then */
	uint64_t	base;			/* where its log begins */
} Truth;

typedef struct Writer
{
	bool		busy;
	ClientMark	mark;			/* acknowledged, the table does not know yet */
	uint64_t	version;
	int			shard;
} Writer;

typedef struct Reader
{
	bool		busy;
	uint64_t	ticket;
	ClientMark	items[SHARDS_MOST];
	uint32_t	n;
	uint64_t	version;
} Reader;

typedef struct World
{
	uint64_t	seed;
	Prng		prng;
	ClientMarkTable *table;
	Truth		shards[SHARDS_MOST];
	int			nshards;
	uint64_t	untouched;		/* marks that were read of shards that nobody had learned */
	uint64_t	version;		/* of the route now */
	uint64_t	owed_version;
	Writer		writers[WRITERS];
	Reader		readers[READERS];
	uint64_t	known;			/* marks that were read */
} World;

/* The shards in the route of a version; how many. */
static uint32_t
shards_at(const World *w, uint64_t version, ClientShard out[SHARDS_MOST])
{
	uint32_t	n = 0;

	memset(out, 0, sizeof(ClientShard) * SHARDS_MOST);
	for (int i = 0; i < w->nshards && w->shards[i].born <= version; i++)
	{
		const Truth *t = &w->shards[i];
		WireShardDesc *desc = &out[n++].desc;

		desc->shard = 100 + (uint64_t) i;
		desc->incarnation = t->incarnation;
		desc->parent = t->parent < 0 ? 0 : 100 + (uint64_t) t->parent;
		desc->first = (uint64_t) i;	/* a child begins behind its parent */
		desc->base_index = t->base;
		desc->range_ver = t->born_ver;
		for (int k = 0; k < w->nshards; k++)
			desc->range_ver += w->shards[k].parent == i && w->shards[k].born <= version;
	}
	return n;
}

static void
split_step(World *w)
{
	int			parent = (int) prng_below(&w->prng, (uint32_t) w->nshards);
	ClientShard shards[SHARDS_MOST];
	Truth	   *t = &w->shards[w->nshards];

	if (w->nshards == SHARDS_MOST)
		return;
	(void) shards_at(w, w->version, shards);
	*t = (Truth) {.incarnation = 1, .parent = parent, .born = ++w->version, .born_ver = shards[parent].desc.range_ver + 1,
		.base = ++w->shards[parent].index
	};
	t->index = t->owed = t->base;
	w->nshards++;
}

static void
write_step(World *w, Writer *writer)
{
	VtId		id = generation(0);

	if (!writer->busy)
	{
		Truth	   *t;

		writer->shard = (int) prng_below(&w->prng, (uint32_t) w->nshards);
		t = &w->shards[writer->shard];
		writer->mark.shard = 100 + (uint64_t) writer->shard;
		writer->mark.incarnation = t->incarnation;
		writer->mark.index = ++t->index;
		writer->version = w->version;
		writer->busy = true;
	}
	else
	{
		ClientMarks marks = {.n = 1, .items = &writer->mark, .route_version = writer->version};
		Truth	   *t = &w->shards[writer->shard];

		client_mark_note(w->table, &id, &marks);
		if (t->incarnation == writer->mark.incarnation && writer->mark.index > t->owed)
			t->owed = writer->mark.index;
		if (writer->version > w->owed_version)
			w->owed_version = writer->version;
		writer->busy = false;
	}
}

/* What a scan goes on with: marks as it read them, others as they are answered now. */
static void
ask_others(World *w, Reader *reader, uint32_t nread)
{
	ClientMark	read[SHARDS_MOST];
	ClientShard shards[SHARDS_MOST];

	memcpy(read, reader->items, sizeof(read));
	reader->n = shards_at(w, w->version, shards);
	for (uint32_t i = 0; i < reader->n; i++)
	{
		reader->items[i] = (ClientMark) {shards[i].desc.shard, shards[i].desc.incarnation, w->shards[i].index, 0};
		for (uint32_t k = 0; k < nread; k++)
			if (read[k].shard == shards[i].desc.shard && read[k].incarnation == shards[i].desc.incarnation)
				reader->items[i].index = read[k].index;
		reader->items[i].range_ver = shards[i].desc.range_ver;
	}
	reader->version = w->version;
	reader->busy = true;
}

/* Readers may have an older route in hand. */
static void
read_step(World *w, Reader *reader)
{
	ClientShard shards[SHARDS_MOST];
	ClientCollection route;
	uint32_t	n;

	if (reader->busy)
	{
		ClientMarks marks = {.n = reader->n, .items = reader->items, .route_version = reader->version};
		VtId		id = generation(0);

		client_mark_learn(w->table, &id, reader->ticket, &marks);
		reader->busy = false;
		return;
	}
	memset(&route, 0, sizeof(route));
	route.generation = generation(0);
	route.route_version = w->version - (w->version > 1 && prng_below(&w->prng, 8) == 0);
	route.nshards = shards_at(w, route.route_version, shards);
	route.shards = shards;
	n = client_mark_read(w->table, &route, reader->items, &reader->version, &reader->ticket);
	if (n > 0 && w->owed_version > route.route_version)
		fail_msg("seed %llu: marks for a route of version %llu, a write went by %llu",
				 (unsigned long long) w->seed, (unsigned long long) route.route_version,
				 (unsigned long long) w->owed_version);
	for (uint32_t i = 0; i < n; i++)
	{
		const Truth *t = &w->shards[reader->items[i].shard - 100];

		assert_int_equal(reader->items[i].incarnation, t->incarnation);
		if (reader->items[i].index < t->owed)
			fail_msg("seed %llu: shard %llu is said to be read at %llu, %llu was acknowledged",
					 (unsigned long long) w->seed, (unsigned long long) reader->items[i].shard,
					 (unsigned long long) reader->items[i].index, (unsigned long long) t->owed);
		w->untouched += t->parent >= 0 && reader->items[i].index == t->base;
	}
	w->known += n;
	ask_others(w, reader, n);
}

/* Another index is written, or read by somebody who learns its marks. */
static void
noise_step(World *w)
{
	VtId		id = generation(1 + (int) prng_below(&w->prng, NOISE));
	ClientMark	mark = {500 + prng_below(&w->prng, 3), 1, 7, 0};
	ClientMarks marks = {.n = 1, .items = &mark, .route_version = 1};

	client_mark_note(w->table, &id, &marks);
}

static void
a_known_mark_covers_what_was_acknowledged(void **state)
{
	static const uint32_t rooms[] = {1, 8, 16, 64, 4096};
	uint64_t	known = 0;
	uint64_t	untouched = 0;

	(void) state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
	{
		uint32_t	room = rooms[seed % 5];
		void	   *memory = malloc(client_mark_table_size(room));
		World		w;

		memset(&w, 0, sizeof(w));
		w.seed = seed;
		w.prng.state = seed;
		w.table = client_mark_table_init(memory, room);
		w.version = 1;
		w.nshards = SHARDS;
		for (int i = 0; i < SHARDS; i++)
			w.shards[i] = (Truth) {.incarnation = 1, .parent = -1, .born = 1, .born_ver = 1};
		for (int step = 0; step < STEPS; step++)
		{
			uint32_t	dice = prng_below(&w.prng, 1000);

			if (dice < 400)
				write_step(&w, &w.writers[prng_below(&w.prng, WRITERS)]);
			else if (dice < 900)
				read_step(&w, &w.readers[prng_below(&w.prng, READERS)]);
			else if (dice < 990)
				noise_step(&w);
			else if (dice < 994)
				w.version++;
			else if (dice < 996)
				split_step(&w);
			else
			{
				Truth	   *t = &w.shards[prng_below(&w.prng, SHARDS)];

				t->incarnation++;
				t->index = t->index / 2;
				t->owed = 0;
			}
		}
		known += w.known;
		untouched += w.untouched;
		free(memory);
	}
	/* A table that knew nothing would be right as well. */
	assert_true(known > SEEDS * 100);
	assert_true(untouched > SEEDS * 10);
}

static void
unknown_until_somebody_has_asked(void **state)
{
	void	   *memory = malloc(client_mark_table_size(100));
	ClientMarkTable *table = client_mark_table_init(memory, 100);
	ClientShard shard = {.desc = {.shard = 100, .incarnation = 1}};
	ClientCollection route = {.generation = generation(0), .route_version = 4, .nshards = 1, .shards = &shard};
	ClientMark	written = {100, 1, 15, 0};
	ClientMark	answered = {100, 1, 10, 0};
	ClientMark	item;
	ClientMarks marks = {.n = 1, .items = &written, .route_version = 4};
	uint64_t	version;
	uint64_t	ticket;

	(void) state;
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);
	client_mark_note(table, &route.generation, &marks);
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);

	/* An answer from before that write makes the mark known, at the write. */
	marks.items = &answered;
	client_mark_learn(table, &route.generation, ticket, &marks);
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 1);
	assert_int_equal(item.index, 15);
	assert_int_equal(version, 4);

	/* A route older than a write's is told so; a shard's other life is not known. */
	route.route_version = 3;
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);
	assert_int_equal(version, 4);
	route.route_version = 4;
	shard.desc.incarnation = 2;
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);
	free(memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_until_somebody_has_asked),
		cmocka_unit_test(a_known_mark_covers_what_was_acknowledged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
