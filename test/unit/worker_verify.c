/*-------------------------------------------------------------------------
 *
 * worker_verify.c
 *	  Replicas of a shard digest what they hold at one index: the same when they
 *	  hold the same, whatever came before and after and however it was batched;
 *	  and one that is set aside is never opened again.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../../src/worker/verify.h"
#include "base/log.h"
#include "base/prng.h"
#include "scratch.h"
#include "shard_desc.h"

#define DIM 3
#define SHARD 9
#define COMMANDS 120

static Buf	commands[COMMANDS + 1]; /* by index */
static WireShardDesc desc;
static uint32_t dimensions = DIM;	/* DIM, or none */

static void
describe(void)
{
	desc = shard_alone(SHARD, 11, dimensions);
	desc.nattributes = 1;
	desc.attributes[0] = WIRE_ATTR_ORDERED;
}

#define SESSION 6				/* by the entry that opens it */
#define FENCE 20

static void
make_command(Buf *out, WireWriteType type, uint64_t index, Prng *prng)
{
	WireWrite	write = {.type = type, .lsn = index * 10, .fence = FENCE};
	uint32_t	n = type == WRITE_PUT || type == WRITE_DELETE ? 1 + prng_below(prng, 5) : 0;
	size_t		begin;

	if (type == WRITE_VERIFY || type == WRITE_EXPIRE)
		write.sequence = index;
	if (type == WRITE_RAISE)
		write.fence_to = index;
	if (type == WRITE_PUT && index > SESSION && index % 7 == 0)
	{
		write.session = SESSION;
		write.sequence = index / 7;
		write.settled = index / 14 + 1;
	}

	write.route.generation = desc.generation;
	write.route.owner = desc.owner;
	write.route.shard = SHARD;
	write.route.range_ver = 1;
	begin = wire_write_begin(out, &write);
	for (uint32_t i = 0; i < n; i++)
	{
		WireRecord	record = {.dim = dimensions};
		WireAttributes attributes = {.n = 1, .value = {prng_below(prng, 10)}};
		Buf			encoded = {0};
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4] = {0};

		wire_tid_put(id, prng_below(prng, 60), 1);
		put_le32(vector, prng_below(prng, 1000));
		record.id = bytes_of(id, sizeof(id));
		record.vector = vector;
		record.version = 1 + prng_below(prng, (uint32_t) index);
		wire_attributes_put(&encoded, &attributes);
		record.attributes = buf_bytes(&encoded);
		record.metadata = bytes_of(id, sizeof(id));
		wire_record_put(out, type, &record);
		buf_free(&encoded);
	}
	wire_write_end(out, begin, n);
}

static WireWriteType
type_at(uint64_t index)
{
	static const struct
	{
		uint64_t	index;
		WireWriteType type;
	}			rare[] = {{3, WRITE_RAISE}, {SESSION, WRITE_OPEN}, {8, WRITE_INGEST_BEGIN}, {11, WRITE_INGEST_END},
		{13, WRITE_EXPIRE}, {16, WRITE_RAISE}, {17, WRITE_OPEN}, {53, WRITE_INGEST_BEGIN}, {93, WRITE_EXPIRE}};

	for (size_t i = 0; i < sizeof(rare) / sizeof(*rare); i++)
		if (rare[i].index == index)
			return rare[i].type;
	return index % 40 == 0 ? WRITE_VERIFY : index % 5 == 0 ? WRITE_DELETE : WRITE_PUT;
}

/* The history of one shard: puts, deletes, comparisons; a fence that is raised, sessions, a bulk load. */
static int
set_up(void **state)
{
	Prng		prng = {7};

	log_setup("worker", LOG_LEVEL_ERROR + 1);
	describe();
	for (uint64_t i = 1; i <= COMMANDS; i++)
		make_command(&commands[i], type_at(i), i, &prng);
	return scratch_make(state);
}

static int
tear_down(void **state)
{
	for (int i = 1; i <= COMMANDS; i++)
		buf_free(&commands[i]);
	return scratch_remove(state);
}

static int
set_up_table(void **state)
{
	dimensions = 0;
	return set_up(state);
}

static int
tear_down_table(void **state)
{
	dimensions = DIM;
	return tear_down(state);
}

typedef struct Place
{
	const char *path;
	Shard	   *shard;
	Verifier   *verifier;
} Place;

static VtStatus
try_open(Place *p, VtError *err)
{
	uint64_t	replay;
	VtStatus	status = shard_open(p->path, SHARD, false, &p->shard, &replay, err);

	if (status != VT_OK)
		return status;
	p->verifier = verifier_start();
	p->shard->on_verify = verifier_take;
	p->shard->on_verify_arg = p->verifier;
	return VT_OK;
}

static void
open_place(Place *p, const char *name, uint64_t replica)
{
	VtError		err = {0};

	p->path = vt_strdup(scratch_path(name));
	mkdir(p->path, 0700);
	assert_int_equal(shard_create(p->path, &desc, replica, &err), VT_OK);
	assert_int_equal(try_open(p, &err), VT_OK);
}

static void
close_place(Place *p)
{
	verifier_stop(p->verifier);
	assert_int_equal(atomic_load(&p->shard->users), 0);
	shard_close(p->shard);
	free((char *) p->path);
}

/* Apply entries first..last, in batches of at most so many. */
static void
apply(Place *p, uint64_t first, uint64_t last, uint64_t batch)
{
	while (first <= last)
	{
		ReplicaCommand now[COMMANDS];
		VtError		err = {0};
		size_t		n = 0;

		memset(now, 0, sizeof(now));
		for (; first <= last && n < batch; first++, n++)
		{
			now[n].index = first;
			now[n].term = 1;
			now[n].bytes = buf_bytes(&commands[first]);
		}
		assert_int_equal(shard_apply(p->shard, now, n, first - 1, &err), VT_OK);
		for (size_t i = 0; i < n; i++)
			buf_free(&now[i].reply);
	}
}

/* What it held at the comparison at index, when that has been digested. */
static ShardVerified
verified_at(Place *p, uint64_t index)
{
	ShardVerified verified;

	for (int i = 0; i < 3000; i++)
	{
		struct timespec nap = {0, 10000000};

		pthread_mutex_lock(&p->shard->verified_lock);
		verified = p->shard->verified;
		pthread_mutex_unlock(&p->shard->verified_lock);
		if (verified.index == index)
		{
			assert_int_equal(verified.id, index);
			return verified;
		}
		nanosleep(&nap, NULL);
	}
	fail_msg("nothing was digested at %d", (int) index);
	return verified;
}

static void
same(const ShardVerified *a, const ShardVerified *b, bool wanted)
{
	bool		is_same = a->rows == b->rows && a->digest == b->digest && memcmp(&a->rules, &b->rules, sizeof(a->rules)) == 0;

	assert_false(a->damaged || b->damaged);
	if (is_same != wanted)
		fail_msg("%d rows with %016llx, %d rows with %016llx", (int) a->rows, (unsigned long long) a->digest,
				 (int) b->rows, (unsigned long long) b->digest);
}

static void
replicas_with_the_same_agree(void **state)
{
	Place		a;
	Place		b;
	ShardVerified at[2];
	ShardVerified earlier;

	(void) state;
	open_place(&a, "a", 11);
	open_place(&b, "b", 12);
	/* One goes on at once, the other stops there; batches differ. */
	apply(&a, 1, 79, 7);
	at[0] = verified_at(&a, 40);
	apply(&b, 1, 40, 1);
	at[1] = verified_at(&b, 40);
	assert_true(at[0].rows > 10);
	same(&at[0], &at[1], true);
	earlier = at[0];
	apply(&a, 80, 80, 1);
	apply(&b, 41, 80, 100);
	at[0] = verified_at(&a, 80);
	at[1] = verified_at(&b, 80);
	same(&at[0], &at[1], true);
	same(&at[0], &earlier, false);
	close_place(&a);
	close_place(&b);
}

/* Another vector, or other metadata, under a checksum that fits: nothing but a comparison finds that. */
static void
change_a_row(Place *p)
{
	StoreIter  *iter = store_iter_open(p->shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	StoreRow	row;
	uint8_t		vector[DIM * 4];
	uint8_t		metadata[WIRE_TID_SIZE];
	Bytes		key;
	Bytes		there;

	assert_true(store_iter_next(iter, &key, &there));
	assert_int_equal(row_get(there, &row, NULL), VT_OK);
	assert_int_equal(row.dim, dimensions);
	assert_int_equal(row.metadata.len, sizeof(metadata));
	memcpy(metadata, row.metadata.data, sizeof(metadata));
	if (row.dim > 0)
	{
		memcpy(vector, row.vector, sizeof(vector));
		vector[1] ^= 1;
		row.vector = vector;
	}
	else
		metadata[1] ^= 1;
	row.metadata = bytes_of(metadata, sizeof(metadata));
	row_put(&value, &row);
	store_batch_put(batch, key, buf_bytes(&value));
	assert_int_equal(store_write(p->shard->rows, batch, false, NULL), VT_OK);
	store_iter_close(iter);
	store_batch_free(batch);
	buf_free(&value);
}

static void
one_that_differs_is_found_and_set_aside(void **state)
{
	Place		a;
	Place		b;
	ShardVerified at[2];
	VtError		err = {0};

	(void) state;
	open_place(&a, "a", 11);
	open_place(&b, "b", 12);
	apply(&a, 1, 40, 100);
	apply(&b, 1, 39, 100);
	change_a_row(&b);
	apply(&b, 40, 40, 1);
	at[0] = verified_at(&a, 40);
	at[1] = verified_at(&b, 40);
	assert_int_equal(at[0].rows, at[1].rows);
	same(&at[0], &at[1], false);

	/* Set aside, it is closed for good; its rows stay. */
	assert_int_equal(shard_mark_aside(b.shard, &err), VT_OK);
	verifier_stop(b.verifier);
	shard_close(b.shard);
	assert_int_equal(try_open(&b, &err), VT_CORRUPT);
	assert_non_null(strstr(vt_error_words(&err), SHARD_ASIDE_WORDS));
	free((char *) b.path);
	close_place(&a);
}

static void
a_row_that_is_damaged_is_said(void **state)
{
	Place		a;
	StoreBatch *batch = store_batch_new();
	uint8_t		id[WIRE_TID_SIZE];
	Buf			key = {0};

	(void) state;
	open_place(&a, "a", 11);
	apply(&a, 1, 39, 100);
	wire_tid_put(id, 3, 1);
	row_key(&key, bytes_of(id, sizeof(id)));
	store_batch_put(batch, buf_bytes(&key), bytes_str("this is no row"));
	assert_int_equal(store_write(a.shard->rows, batch, false, NULL), VT_OK);
	apply(&a, 40, 40, 1);
	assert_true(verified_at(&a, 40).damaged);
	store_batch_free(batch);
	buf_free(&key);
	close_place(&a);
}

/* The rows are right, and what searches find is not: one too few, in another version, with other attributes. */
static void
memory_that_differs_is_said(void **state)
{
	(void) state;
	for (int k = 0; k < 3; k++)
	{
		WireAttributes other = {.n = 1, .value = {77}};
		Buf			attributes = {0};
		Place		a;
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4] = {0};
		uint64_t	version = 0;

		open_place(&a, k == 0 ? "a" : k == 1 ? "b" : "c", 11);
		apply(&a, 1, 39, 100);
		for (uint32_t n = 0; version == 0; n++)
		{
			wire_tid_put(id, n, 1);
			version = records_version(a.shard->records, bytes_of(id, sizeof(id)));
		}
		records_delete(a.shard->records, bytes_of(id, sizeof(id)));
		wire_attributes_put(&attributes, &other);
		if (k > 0)
			assert_int_equal(records_put(a.shard->records, bytes_of(id, sizeof(id)), k == 2 ? version : version == 39 ? 38 : 39, vector,
										 buf_bytes(&attributes), NULL), VT_OK);
		apply(&a, 40, 40, 1);
		assert_true(verified_at(&a, 40).damaged);
		close_place(&a);
		buf_free(&attributes);
	}
}

/*
 * What replay finds may be ahead of the entry: that is no state which others
 * had, and nothing is said of it.  From then on it is as good as any.
 */
static void
replay_over_later_rows_says_nothing(void **state)
{
	Place		a;
	Place		b;
	ShardVerified at[2];
	VtError		err = {0};

	(void) state;
	open_place(&a, "a", 11);
	open_place(&b, "b", 12);
	apply(&a, 1, 120, 10);
	at[0] = verified_at(&a, 120);
	apply(&b, 1, 79, 10);
	verifier_stop(b.verifier);
	shard_close(b.shard);
	assert_int_equal(try_open(&b, &err), VT_OK);
	apply(&b, 1, 119, 10);		/* as after a loss of power: from the checkpoint, which is none */
	assert_true(b.shard->verified.index == 0 || b.shard->verified.index == 80);
	apply(&b, 120, 120, 1);
	at[1] = verified_at(&b, 120);
	same(&at[0], &at[1], true);
	close_place(&a);
	close_place(&b);
}

/* -- What apply decides by, beside rows ---------------------------------------- */

static void
write_number(Shard *shard, char kind, uint64_t index, uint64_t value)
{
	StoreBatch *batch = store_batch_new();
	uint8_t		key[9] = {(uint8_t) kind};
	uint8_t		number[8];

	put_be64(key + 1, index);
	put_le64(number, value);
	store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(number, sizeof(number)));
	assert_int_equal(store_write(shard->rows, batch, false, NULL), VT_OK);
	store_batch_free(batch);
}

static void
change_fence(Shard *shard)
{
	FenceRaise *last = &shard->raises[shard->nraises - 1];

	assert_int_equal(last->index, 16);
	atomic_store(&shard->fence, ++last->fence);
	write_number(shard, 'f', last->index, last->fence);
}

/* One that the others have not; or another answer for a command that comes again. */
static void
change_sessions(Shard *shard)
{
	StoreBatch *batch = store_batch_new();

	sessions_open(shard->sessions, batch, 39);
	assert_int_equal(store_write(shard->rows, batch, false, NULL), VT_OK);
	store_batch_free(batch);
}

static void
change_answer(Shard *shard)
{
	StoreBatch *batch = store_batch_new();
	WireWrite	write = {.type = WRITE_PUT, .session = SESSION, .sequence = 30, .settled = 1};
	SessionDone done = {.sequence = 30, .index = 39, .last = UINT64_MAX};

	sessions_note(shard->sessions, batch, &write, &done);
	assert_int_equal(store_write(shard->rows, batch, false, NULL), VT_OK);
	store_batch_free(batch);
}

static void
change_time(Shard *shard)
{
	StoreBatch *batch = store_batch_new();
	WireWrite	write = {.type = WRITE_EXPIRE, .sequence = 1000};

	sessions_expire(shard->sessions, batch, &write, 39);
	assert_int_equal(store_write(shard->rows, batch, false, NULL), VT_OK);
	store_batch_free(batch);
}

static void
change_interval(Shard *shard)
{
	shard->desc.last--;
}

static void
change_version(Shard *shard)
{
	shard->desc.range_ver++;
}

static void
change_load(Shard *shard)
{
	shard->load_over = 0;
}

static void
change_ingesting(Shard *shard)
{
	atomic_store(&shard->ingesting, true);
}

static void
change_seed(Shard *shard)
{
	shard->desc.hash_seed++;
}

static void
change_attributes(Shard *shard)
{
	shard->desc.attributes[0] ^= 1;
}

/* The parts that are not the same, by their letters. */
static const char *
parts_that_differ(const ShardRules *a, const ShardRules *b)
{
	static char words[8];

	snprintf(words, sizeof(words), "%s%s%s%s%s", a->fence != b->fence ? "f" : "", a->sessions != b->sessions ? "s" : "",
			 a->interval != b->interval ? "i" : "", a->load != b->load ? "l" : "", a->properties != b->properties ? "p" : "");
	return words;
}

static void
each_part_that_differs_is_told(void **state)
{
	static const struct
	{
		const char *part;
		void		(*change) (Shard *shard);
	}			cases[] = {{"", NULL}, {"f", change_fence}, {"s", change_sessions}, {"s", change_answer}, {"s", change_time},
		{"i", change_interval}, {"i", change_version}, {"l", change_load}, {"l", change_ingesting}, {"p", change_seed},
		{"p", change_attributes}};
	Place		a;
	ShardVerified at[2];

	(void) state;
	open_place(&a, "a", 11);
	apply(&a, 1, 40, 7);
	at[0] = verified_at(&a, 40);
	assert_int_equal(at[0].rules.fence, 16);
	for (size_t k = 0; k < sizeof(cases) / sizeof(*cases); k++)
	{
		char		name[8];
		Place		b;

		snprintf(name, sizeof(name), "b%zu", k);
		open_place(&b, name, 12);
		apply(&b, 1, 39, 100);
		if (cases[k].change)
			cases[k].change(b.shard);
		apply(&b, 40, 40, 1);
		at[1] = verified_at(&b, 40);
		assert_false(at[1].damaged);
		assert_true(at[0].digest == at[1].digest || cases[k].change == change_seed);
		assert_string_equal(parts_that_differ(&at[0].rules, &at[1].rules), cases[k].part);
		close_place(&b);
	}
	close_place(&a);
}

/* A checkpoint lets go of what only a replay could ask for, and a start reads what is left: no difference. */
static void
checkpoints_and_starts_are_no_difference(void **state)
{
	Place		a;
	Place		b;
	ShardVerified at[2];
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	open_place(&a, "a", 11);
	open_place(&b, "b", 12);
	apply(&a, 1, 120, 10);
	at[0] = verified_at(&a, 120);
	for (uint64_t next = 1; next < 120; next += 17)
	{
		apply(&b, next, next + 16, 5);
		assert_int_equal(shard_checkpoint(b.shard, &index, &err), VT_OK);
		assert_int_equal(index, next + 16);
		verifier_stop(b.verifier);
		shard_close(b.shard);
		assert_int_equal(try_open(&b, &err), VT_OK);
	}
	apply(&b, 120, 120, 1);
	at[1] = verified_at(&b, 120);
	assert_string_equal(parts_that_differ(&at[0].rules, &at[1].rules), "");
	same(&at[0], &at[1], true);
	close_place(&a);
	close_place(&b);
}

/* Where a bulk load ended an older version did not keep, but that it did: no difference, and it does not begin again. */
static void
an_older_version_has_seen_the_end(void **state)
{
	StoreBatch *batch = store_batch_new();
	uint8_t		over[1] = {0};
	Place		a;
	Place		b;
	ShardVerified at[2];
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	open_place(&a, "a", 11);
	open_place(&b, "b", 12);
	apply(&a, 1, 80, 10);
	at[0] = verified_at(&a, 80);
	apply(&b, 1, 39, 10);
	store_batch_put(batch, bytes_of("g", 1), bytes_of(over, sizeof(over)));
	assert_int_equal(store_write(b.shard->rows, batch, false, NULL), VT_OK);
	assert_int_equal(shard_checkpoint(b.shard, &index, &err), VT_OK);
	verifier_stop(b.verifier);
	shard_close(b.shard);
	assert_int_equal(try_open(&b, &err), VT_OK);
	apply(&b, 40, 80, 10);
	assert_false(atomic_load(&b.shard->ingesting));
	at[1] = verified_at(&b, 80);
	assert_string_equal(parts_that_differ(&at[0].rules, &at[1].rules), "");
	same(&at[0], &at[1], true);
	store_batch_free(batch);
	close_place(&a);
	close_place(&b);
}

/* Memory is right, and what a start would read is not. */
static void
what_is_other_on_disk_is_said(void **state)
{
	(void) state;
	for (int k = 0; k < 4; k++)
	{
		static const char *const names[] = {"a", "b", "c", "d"};
		StoreBatch *batch = store_batch_new();
		Place		a;

		open_place(&a, names[k], 11);
		apply(&a, 1, 39, 100);
		if (k == 0)
			write_number(a.shard, 'f', 16, 17);
		else if (k == 1)
			write_number(a.shard, 't', 13, 14);
		else if (k == 2)
		{
			/* Not the key of a raise, and a start would not take it for one. */
			uint8_t		key[8] = {'f', 0xff};
			uint8_t		number[8];

			put_le64(number, 16);
			store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(number, sizeof(number)));
			assert_int_equal(store_write(a.shard->rows, batch, false, NULL), VT_OK);
		}
		else
		{
			uint8_t		key[10] = {'s'};

			put_be64(key + 1, 17);
			key[9] = 'o';
			store_batch_delete(batch, bytes_of(key, sizeof(key)));
			assert_int_equal(store_write(a.shard->rows, batch, false, NULL), VT_OK);
		}
		apply(&a, 40, 40, 1);
		assert_true(verified_at(&a, 40).damaged);
		store_batch_free(batch);
		close_place(&a);
	}
}

/* Who closes it has seen that nobody holds it: no comparison may begin to. */
static void
one_that_is_being_closed_is_not_held(void **state)
{
	Place		a;

	(void) state;
	open_place(&a, "a", 11);
	atomic_store(&a.shard->leaving, true);
	for (uint64_t i = 0; i < 3; i++)
	{
		apply(&a, i * 40 + 1, i * 40 + 40, 100);
		assert_int_equal(atomic_load(&a.shard->users), 0);
	}
	close_place(&a);
}

static void
fresh_scratch(void **state)
{
	assert_int_equal(scratch_remove(state), 0);
	assert_int_equal(scratch_make(state), 0);
}

/* The same of records without vectors, all but what is of rules. */
static void
records_without_vectors(void **state)
{
	replicas_with_the_same_agree(state);
	fresh_scratch(state);
	one_that_differs_is_found_and_set_aside(state);
	fresh_scratch(state);
	memory_that_differs_is_said(state);
	fresh_scratch(state);
	replay_over_later_rows_says_nothing(state);
	fresh_scratch(state);
	checkpoints_and_starts_are_no_difference(state);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(replicas_with_the_same_agree),
		TEST(one_that_differs_is_found_and_set_aside),
		TEST(a_row_that_is_damaged_is_said),
		TEST(memory_that_differs_is_said),
		TEST(replay_over_later_rows_says_nothing),
		TEST(each_part_that_differs_is_told),
		TEST(checkpoints_and_starts_are_no_difference),
		TEST(an_older_version_has_seen_the_end),
		TEST(what_is_other_on_disk_is_said),
		TEST(one_that_is_being_closed_is_not_held),
		cmocka_unit_test_setup_teardown(records_without_vectors, set_up_table, tear_down_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
