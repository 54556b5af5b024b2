/*-------------------------------------------------------------------------
 *
 * client_marks.c
 *	  The table of marks beside a plain record of what was acknowledged.
 *
 * Writers, readers, other generations that press for room, shards that begin
 * another life or are split, and routes that change take steps in random order; between any
 * two steps of one of them the others may do anything.  A mark that is known
 * must cover everything that was acknowledged to somebody who has told the
 * table (rule R3), also where that one heard of splits that the version of his route does not
 * have (law R3-told).
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
#include "client/private.h"

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
	uint64_t	born;			/* version of the route with which it came; UINT64_MAX: PD has not heard of it */
	uint32_t	born_ver;		/* of its interval then */
	uint64_t	base;			/* where its log begins */
} Truth;

typedef struct Writer
{
	bool		busy;
	ClientMark	mark;			/* acknowledged, the table does not know yet */
	ClientMarks marks;
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
	uint64_t	told;			/* writes by what only workers had said */
	Writer		writers[WRITERS];
	Reader		readers[READERS];
	uint64_t	known;			/* marks that were read */
} World;

/* The shards that are in a route: those of a version of PD's, and what workers have told. */
typedef struct Known
{
	uint64_t	version;
	bool		has[SHARDS_MOST];
} Known;

static Known
known_at(const World *w, uint64_t version)
{
	Known		k = {.version = version};

	for (int i = 0; i < w->nshards; i++)
		k.has[i] = w->shards[i].born <= version;
	return k;
}

/* A shard with what it was split off, and all that were split off that before. */
static void
tell(const World *w, Known *k, int shard)
{
	int			parent = w->shards[shard].parent;

	if (k->has[shard])
		return;
	k->has[shard] = true;
	for (int i = 0; i < shard; i++)
		if (i == parent || w->shards[i].parent == parent)
			tell(w, k, i);
}

static void
tell_children(const World *w, Known *k, int shard)
{
	for (int i = shard + 1; i < w->nshards; i++)
		if (w->shards[i].parent == shard)
			tell(w, k, i);
}

/* Some know more than PD has said. */
static void
tell_some(World *w, Known *k)
{
	while (prng_below(&w->prng, 4) == 0)
		tell(w, k, (int) prng_below(&w->prng, (uint32_t) w->nshards));
}

static uint32_t
version_of(const World *w, const Known *k, int shard)
{
	uint32_t	version = w->shards[shard].born_ver;

	for (int i = 0; i < w->nshards; i++)
		version += w->shards[i].parent == shard && k->has[i];
	return version;
}

/* The route; how many shards it has. */
static uint32_t
shards_of(const World *w, const Known *k, ClientShard out[SHARDS_MOST])
{
	uint32_t	n = 0;

	memset(out, 0, sizeof(ClientShard) * SHARDS_MOST);
	for (int i = 0; i < w->nshards; i++)
	{
		const Truth *t = &w->shards[i];
		WireShardDesc *desc = &out[n].desc;

		if (!k->has[i])
			continue;
		n++;
		desc->shard = 100 + (uint64_t) i;
		desc->incarnation = t->incarnation;
		desc->parent = t->parent < 0 ? 0 : 100 + (uint64_t) t->parent;
		desc->first = (uint64_t) i;	/* a child begins behind its parent */
		desc->base_index = t->base;
		desc->range_ver = version_of(w, k, i);
	}
	return n;
}

/* PD hears of it later. */
static void
split_step(World *w)
{
	int			parent = (int) prng_below(&w->prng, (uint32_t) w->nshards);
	Known		all = known_at(w, UINT64_MAX);

	if (w->nshards == SHARDS_MOST)
		return;
	w->shards[w->nshards] = (Truth) {.incarnation = 1, .parent = parent, .born = UINT64_MAX,
		.born_ver = version_of(w, &all, parent) + 1, .base = ++w->shards[parent].index
	};
	w->shards[w->nshards].index = w->shards[w->nshards].owed = w->shards[w->nshards].base;
	w->nshards++;
}

/* One of those of which it knows what they were split off, and what came off that before. */
static void
hear_step(World *w)
{
	int			begin = (int) prng_below(&w->prng, (uint32_t) w->nshards);

	for (int n = 0; n < w->nshards; n++)
	{
		int			shard = (begin + n) % w->nshards;
		Known		with = known_at(w, w->version);
		uint32_t	others = 0;

		if (with.has[shard])
			continue;
		tell(w, &with, shard);
		for (int i = 0; i < w->nshards; i++)
			others += with.has[i] && w->shards[i].born > w->version;
		if (others > 1)
			continue;
		w->shards[shard].born = ++w->version;
		return;
	}
}

/* A server's routes are of now or of a little before. */
static uint64_t
some_version(World *w)
{
	return w->version - (w->version > 1 && prng_below(&w->prng, 8) == 0);
}

/* Whoever writes to a shard goes by its interval, or is refused; and so knows what it was split off. */
static void
write_step(World *w, Writer *writer)
{
	VtId		id = generation(0);
	Known		by;
	Known		pd;
	Truth	   *t;

	if (writer->busy)
	{
		t = &w->shards[writer->shard];
		writer->marks.n = 1;
		writer->marks.items = &writer->mark;
		client_mark_note(w->table, &id, &writer->marks);
		if (t->incarnation == writer->mark.incarnation && writer->mark.index > t->owed)
			t->owed = writer->mark.index;
		writer->busy = false;
		return;
	}
	writer->shard = (int) prng_below(&w->prng, (uint32_t) w->nshards);
	t = &w->shards[writer->shard];
	writer->mark = (ClientMark) {.shard = 100 + (uint64_t) writer->shard, .incarnation = t->incarnation, .index = ++t->index};
	pd = by = known_at(w, some_version(w));
	tell(w, &by, writer->shard);
	tell_children(w, &by, writer->shard);
	tell_some(w, &by);
	writer->marks = (ClientMarks) {.route_version = by.version};
	for (int i = 0; i < w->nshards; i++)
		if (by.has[i] && (!pd.has[i] || version_of(w, &by, i) > version_of(w, &pd, i)))
		{
			/* What is new, and was not split since, nobody knows by an older version. */
			if (version_of(w, &by, i) == w->shards[i].born_ver)
				continue;
			if (writer->marks.ntold < CLIENT_TOLD_MAX)
				writer->marks.told[writer->marks.ntold] = (ClientMark) {.shard = 100 + (uint64_t) i,
					.incarnation = w->shards[i].incarnation, .range_ver = version_of(w, &by, i)};
			writer->marks.ntold++;
		}
	w->told += writer->marks.ntold > 0;
	writer->busy = true;
}

/* What a scan goes on with: marks as it read them, others as they are answered now, by the interval of now. */
static void
ask_others(World *w, Reader *reader, Known *by, uint32_t nread)
{
	ClientMark	read[SHARDS_MOST];
	ClientShard shards[SHARDS_MOST];

	memcpy(read, reader->items, sizeof(read));
	for (int i = 0; i < w->nshards; i++)
	{
		bool		known = false;

		for (uint32_t k = 0; k < nread; k++)
			known = known || read[k].shard == 100 + (uint64_t) i;
		if (by->has[i] && !known)
			tell_children(w, by, i);
	}
	reader->n = shards_of(w, by, shards);
	for (uint32_t i = 0; i < reader->n; i++)
	{
		const WireShardDesc *desc = &shards[i].desc;

		reader->items[i] = (ClientMark) {desc->shard, desc->incarnation, w->shards[desc->shard - 100].index, desc->range_ver};
		for (uint32_t k = 0; k < nread; k++)
			if (read[k].shard == desc->shard && read[k].incarnation == desc->incarnation)
				reader->items[i].index = read[k].index;
	}
	reader->version = by->version;
	reader->busy = true;
}

/* Whoever may answer for the shard by this route knows nothing of those that were split off it since. */
static void
check_intervals(const World *w, const Known *by, const Reader *reader, uint32_t n)
{
	for (int i = 0; i < w->nshards; i++)
	{
		int			holder = i;

		while (!by->has[holder])
			holder = w->shards[holder].parent;
		if (holder == i || w->shards[i].owed <= w->shards[i].base)
			continue;
		for (uint32_t k = 0; k < n; k++)
			if (reader->items[k].shard == 100 + (uint64_t) holder)
				fail_msg("seed %llu: shard %d is said to be read at %llu by a route without shard %d, which was written to",
						 (unsigned long long) w->seed, 100 + holder, (unsigned long long) reader->items[k].index, 100 + i);
	}
}

/* Readers may have an older route in hand. */
static void
read_step(World *w, Reader *reader)
{
	ClientShard shards[SHARDS_MOST];
	ClientCollection route;
	Known		by;
	uint32_t	n;

	if (reader->busy)
	{
		ClientMarks marks = {.n = reader->n, .items = reader->items, .route_version = reader->version};
		VtId		id = generation(0);

		client_mark_learn(w->table, &id, reader->ticket, &marks);
		reader->busy = false;
		return;
	}
	by = known_at(w, some_version(w));
	tell_some(w, &by);
	memset(&route, 0, sizeof(route));
	route.generation = generation(0);
	route.route_version = by.version;
	route.nshards = shards_of(w, &by, shards);
	route.shards = shards;
	n = client_mark_read(w->table, &route, reader->items, &reader->version, &reader->ticket);
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
	check_intervals(w, &by, reader, n);
	w->known += n;
	ask_others(w, reader, &by, n);
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
	uint64_t	told = 0;

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
			else if (dice < 992)
				w.version++;
			else if (dice < 994)
				hear_step(&w);
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
		told += w.told;
		free(memory);
	}
	/* A table that knew nothing would be right as well. */
	assert_true(known > SEEDS * 100);
	assert_true(untouched > SEEDS);
	assert_true(told > SEEDS * 100);
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

	/* A shard's other life is not known. */
	shard.desc.incarnation = 2;
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);
	free(memory);
}

/* A route older than that of a write does not know all shards that were written to: it is told so. */
static void
not_by_a_route_from_before_a_write(void **state)
{
	void	   *memory = malloc(client_mark_table_size(100));
	ClientMarkTable *table = client_mark_table_init(memory, 100);
	ClientShard shard = {.desc = {.shard = 100, .incarnation = 1}};
	ClientCollection route = {.generation = generation(0), .route_version = 3, .nshards = 1, .shards = &shard};
	ClientMark	answered = {100, 1, 10, 0};
	ClientMark	item;
	ClientMarks marks = {.n = 1, .items = &answered, .route_version = 3};
	uint64_t	version;
	uint64_t	ticket;

	(void) state;
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);
	client_mark_learn(table, &route.generation, ticket, &marks);
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 1);

	/* Another shard is written to, of which it knows nothing. */
	answered = (ClientMark) {101, 1, 20, 0};
	marks.route_version = 4;
	client_mark_note(table, &route.generation, &marks);
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 0);
	assert_int_equal(version, 4);
	route.route_version = 4;
	assert_int_equal(client_mark_read(table, &route, &item, &version, &ticket), 1);
	assert_int_equal(item.index, 10);
	free(memory);
}

/* A call whose rounds go by other routes than the one before it, one of them older. */
static void
the_newest_of_its_routes(void **state)
{
	const VtId	id = generation(1);
	ClientMarkTable *table = client_mark_table_init(vt_alloc(client_mark_table_size(64)), 64);
	ClientMarks marks = {0};
	ClientMark	items[1];
	WireShardDesc desc = {.generation = id, .shard = 7, .incarnation = 1, .range_ver = 1, .last = UINT64_MAX};
	ClientShard shard = {.desc = desc};
	ClientCollection route = {.generation = id, .route_version = 4, .nshards = 1, .shards = &shard};
	ClientMarks answered = {.n = 1, .items = items, .route_version = 4};
	uint64_t	version;
	uint64_t	ticket;

	(void) state;
	assert_int_equal(client_mark_read(table, &route, items, &version, &ticket), 0);
	items[0] = (ClientMark) {.shard = 7, .incarnation = 1, .index = 3, .range_ver = 1};
	client_mark_learn(table, &id, ticket, &answered);
	assert_int_equal(client_mark_read(table, &route, items, &version, &ticket), 1);
	marks_note_route(&marks, 5, &shard, 1);
	marks_note(&marks, 8, 1, 9);
	marks_note_route(&marks, 4, &shard, 1);
	marks_note(&marks, 7, 1, 4);
	client_mark_note(table, &id, &marks);
	assert_int_equal(client_mark_read(table, &route, items, &version, &ticket), 0);
	assert_int_equal(version, 5);
	client_marks_free(&marks);
	free(table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_until_somebody_has_asked),
		cmocka_unit_test(not_by_a_route_from_before_a_write),
		cmocka_unit_test(the_newest_of_its_routes),
		cmocka_unit_test(a_known_mark_covers_what_was_acknowledged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
