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
#include "base/hash.h"
#include "base/log.h"
#include "base/prng.h"
#include "scratch.h"

#define DIM 3
#define SHARD 9
#define COMMANDS 120

static Buf	commands[COMMANDS + 1]; /* by index */
static WireShardDesc desc;

static void
describe(void)
{
	memset(&desc, 0, sizeof(desc));
	memset(desc.generation.b, 5, 16);
	desc.shard = SHARD;
	desc.incarnation = 1;
	desc.last = UINT64_MAX;
	desc.conf_ver = desc.range_ver = 1;
	desc.hash_kind = HASH_XXH3_64;
	desc.dim = DIM;
	desc.metric = VEC_L2;
	desc.element = VEC_FLOAT32;
	desc.m = 8;
	desc.ef_construction = 40;
	desc.nattributes = 1;
	desc.attributes[0] = WIRE_ATTR_ORDERED;
	desc.nreplicas = 1;
	desc.replicas[0].store = 1;
	desc.replicas[0].replica = 11;
	desc.replicas[0].role = 1;
}

static void
make_command(Buf *out, WireWriteType type, uint64_t index, Prng *prng)
{
	WireWrite	write = {.type = type, .lsn = index * 10, .sequence = type == WRITE_VERIFY ? index : 0};
	uint32_t	n = type == WRITE_VERIFY ? 0 : 1 + prng_below(prng, 5);
	size_t		begin;

	write.route.generation = desc.generation;
	write.route.shard = SHARD;
	write.route.range_ver = 1;
	begin = wire_write_begin(out, &write);
	for (uint32_t i = 0; i < n; i++)
	{
		WireRecord	record = {.dim = DIM};
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
		wire_record_put(out, type, &record);
		buf_free(&encoded);
	}
	wire_write_end(out, begin, n);
}

/* The history of one shard: puts, deletes, comparisons. */
static int
set_up(void **state)
{
	Prng		prng = {7};

	log_setup("worker", LOG_LEVEL_ERROR + 1);
	describe();
	for (uint64_t i = 1; i <= COMMANDS; i++)
		make_command(&commands[i], i % 40 == 0 ? WRITE_VERIFY : i % 5 == 0 ? WRITE_DELETE : WRITE_PUT, i, &prng);
	return scratch_make(state);
}

static int
tear_down(void **state)
{
	for (int i = 1; i <= COMMANDS; i++)
		buf_free(&commands[i]);
	return scratch_remove(state);
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
	bool		is_same = a->rows == b->rows && a->digest == b->digest;

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

/* Another vector under a checksum that fits: nothing but a comparison finds that. */
static void
change_a_row(Place *p)
{
	StoreIter  *iter = store_iter_open(p->shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	StoreRow	row;
	uint8_t		vector[DIM * 4];
	Bytes		key;
	Bytes		there;

	assert_true(store_iter_next(iter, &key, &there));
	assert_int_equal(row_get(there, &row, NULL), VT_OK);
	memcpy(vector, row.vector, sizeof(vector));
	vector[1] ^= 1;
	row.vector = vector;
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
		TEST(one_that_is_being_closed_is_not_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
