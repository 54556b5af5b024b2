/*-------------------------------------------------------------------------
 *
 * pd_catalog.c
 *	  The catalog's rows on disk, its replay over whatever survived, and where
 *	  shards are placed.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "../../src/pd/catalog.h"
#include "../../src/pd/schedule.h"
#include "base/hash.h"
#include "base/prng.h"
#include "scratch.h"

/* -- Rows ------------------------------------------------------------------ */

static VtId
id_of(uint64_t n)
{
	VtId		id;

	put_be64(id.b, prng_mix(n + 1));
	put_be64(id.b + 8, n);
	return id;
}

static CatalogStore
store_of(uint64_t id, uint64_t version)
{
	CatalogStore store;

	memset(&store, 0, sizeof(store));
	store.id = id;
	store.data_id = id_of(version);
	snprintf(store.endpoint, sizeof(store.endpoint), "unix:/run/worker%llu-%llu",
			 (unsigned long long) id, (unsigned long long) version);
	return store;
}

static CatalogLease
lease_of(uint64_t n, uint64_t version)
{
	CatalogLease lease;

	memset(&lease, 0, sizeof(lease));
	lease.system = 100 + n;
	lease.incarnation = id_of(1000 + n);
	lease.holder = id_of(version);
	lease.timeline = (uint32_t) version;
	return lease;
}

/* The caller frees shards. */
static CatalogCollection
collection_of(uint64_t n, uint64_t version)
{
	CatalogCollection c;

	memset(&c, 0, sizeof(c));
	c.generation = id_of(2000 + n);
	c.owner.system = 100 + n;
	c.owner.incarnation = id_of(1000 + n);
	c.owner.database = 5;
	c.state = version % 2 ? COLLECTION_LIVE : COLLECTION_HIDDEN;
	c.dim = 3;
	c.metric = 1;
	c.m = 16;
	c.ef_construction = 200;
	c.replicas_wanted = 3;
	c.xid = version;
	c.route_version = version;
	c.created_us = -5;
	c.unused_us = (int64_t) version;
	snprintf(c.label, sizeof(c.label), "postgres.public.t%llu_v", (unsigned long long) n);
	c.nshards = (uint32_t) (version % 4);
	c.shards = vt_alloc0(sizeof(CatalogShard) * (c.nshards + 1));
	for (uint32_t i = 0; i < c.nshards; i++)
	{
		WireShardDesc *desc = &c.shards[i].desc;

		desc->shard = 10 * n + i;
		desc->incarnation = version;
		desc->generation = c.generation;
		desc->owner = c.owner;
		schedule_interval(i, c.nshards, &desc->first, &desc->last);
		desc->range_ver = 1;
		desc->conf_ver = 1;
		desc->dim = c.dim;
		desc->metric = c.metric;
		desc->hash_kind = HASH_XXH3_64;
		desc->element = 1;
		desc->nreplicas = 1;
		desc->replicas[0].role = 1;
		desc->replicas[0].replica = 500 + i;
		desc->replicas[0].store = 1 + i;
		c.shards[i].bootstrapped = version % 3 == 0;
		c.shards[i].conf_index = version + i;
		c.shards[i].seen = (uint16_t) (version % 2);
		c.shards[i].plan = (Plan) {(PlanKind) (version % 5), 7, 700 + version, 500 + i, version % 2 == 0};
	}
	return c;
}

/* A command of some rows, as the leader would decide it. */
static void
random_command(Prng *prng, uint64_t version, Buf *out)
{
	uint32_t	rows = 1 + prng_below(prng, 3);

	command_begin(out);
	while (rows-- > 0)
		switch (prng_below(prng, 5))
		{
			case 0:
				{
					CatalogMeta meta = {id_of(1), version, version + 1};

					command_meta(out, &meta);
					break;
				}
			case 1:
				{
					CatalogStore store = store_of(prng_below(prng, 4), version);

					command_store(out, &store);
					break;
				}
			case 2:
				{
					CatalogLease lease = lease_of(prng_below(prng, 4), version);

					command_lease(out, &lease);
					break;
				}
			case 3:
				{
					CatalogCollection c = collection_of(prng_below(prng, 4), version);

					command_collection(out, &c);
					free(c.shards);
					break;
				}
			case 4:
				{
					VtId		generation = id_of(2000 + prng_below(prng, 4));

					command_forget(out, &generation);
					break;
				}
		}
}

/* -- A catalog ------------------------------------------------------------- */

typedef struct Place
{
	Store	   *rows;
	Catalog    *catalog;
	ReplicaMachine machine;
	uint64_t	replay;			/* where the catalog says it stands */
} Place;

static VtStatus
try_open(Place *p, const char *name, VtError *err)
{
	StoreOptions options = {.write_buffer = 1 << 20, .replayed = true};
	VtStatus	status;

	if (store_open(scratch_path(name), &options, &p->rows, err) != VT_OK)
		fail_msg("%s", vt_error_words(err));
	status = catalog_open(p->rows, &p->catalog, &p->replay, err);
	if (status == VT_OK)
		p->machine = catalog_machine(p->catalog);
	else
		store_close(p->rows);
	return status;
}

static void
open_place(Place *p, const char *name)
{
	VtError		err = {0};

	if (try_open(p, name, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

static void
close_place(Place *p)
{
	catalog_close(p->catalog);
	store_close(p->rows);
}

static VtStatus
apply(Place *p, uint64_t index, Bytes command, VtError *err)
{
	ReplicaCommand c;
	VtStatus	status;

	memset(&c, 0, sizeof(c));
	c.index = index;
	c.bytes = command;
	status = p->machine.apply(p->machine.state, &c, 1, index, err);
	buf_free(&c.reply);
	return status;
}

/* Everything on disk but where it stands. */
static void
dump_disk(Place *p, Buf *out)
{
	StoreIter  *iter = store_iter_open(p->rows, bytes_of("", 0), bytes_of("\xff", 1));
	Bytes		key;
	Bytes		value;

	buf_clear(out);
	while (store_iter_next(iter, &key, &value))
		if (!(key.len == 1 && (key.data[0] == 'a' || key.data[0] == 'k')))
		{
			buf_put_string(out, key);
			buf_put_string(out, value);
		}
	assert_int_equal(store_iter_status(iter, NULL), VT_OK);
	store_iter_close(iter);
}

/* Everything in memory, in an order of its own: rows are sought one by one. */
static void
dump_memory(Place *p, Buf *out)
{
	Catalog    *c = p->catalog;

	command_begin(out);
	pthread_mutex_lock(&c->lock);
	command_meta(out, &c->meta);
	for (uint64_t n = 0; n < 4; n++)
	{
		VtId		incarnation = id_of(1000 + n);
		VtId		generation = id_of(2000 + n);
		const CatalogStore *store = catalog_store(c, n);
		const CatalogLease *lease = catalog_lease(c, 100 + n, &incarnation);
		const CatalogCollection *collection = catalog_collection(c, &generation);

		if (store)
			command_store(out, store);
		if (lease)
			command_lease(out, lease);
		if (collection)
			command_collection(out, collection);
	}
	buf_put_u64(out, c->nstores);
	buf_put_u64(out, c->nleases);
	buf_put_u64(out, c->ncollections);
	pthread_mutex_unlock(&c->lock);
}

/* -- Tests ----------------------------------------------------------------- */

static void
rows_survive(void **state)
{
	Place		p;
	Buf			command = {0};
	Buf			before = {0};
	Buf			after = {0};
	Prng		prng = {5};
	VtError		err = {0};
	uint64_t	index;
	CatalogCollection c = collection_of(2, 7);
	const CatalogCollection *got;

	(void) state;
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 0);
	for (uint64_t i = 1; i <= 200; i++)
	{
		random_command(&prng, i, &command);
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	}
	command_begin(&command);
	command_collection(&command, &c);
	assert_int_equal(apply(&p, 201, buf_bytes(&command), &err), VT_OK);
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	assert_int_equal(index, 201);
	dump_memory(&p, &before);
	close_place(&p);

	open_place(&p, "catalog");
	assert_int_equal(p.replay, 201);
	dump_memory(&p, &after);
	assert_true(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
	got = catalog_collection(p.catalog, &c.generation);
	assert_non_null(got);
	assert_int_equal(got->state, c.state);
	assert_int_equal(got->nshards, 3);
	assert_int_equal(got->created_us, -5);
	assert_string_equal(got->label, c.label);
	assert_true(wire_owner_equal(&got->owner, &c.owner));
	for (uint32_t i = 0; i < 3; i++)
	{
		assert_true(got->shards[i].desc.first == c.shards[i].desc.first);
		assert_true(got->shards[i].desc.last == c.shards[i].desc.last);
		assert_int_equal(got->shards[i].desc.replicas[0].replica, 500 + i);
		assert_false(got->shards[i].bootstrapped);
		assert_int_equal(got->shards[i].conf_index, 7 + i);
		assert_int_equal(got->shards[i].seen, 1);
		assert_int_equal(got->shards[i].plan.kind, PLAN_SHRINK - 1);
		assert_int_equal(got->shards[i].plan.add_replica, 707);
	}
	close_place(&p);
	free(c.shards);
	buf_free(&command);
	buf_free(&before);
	buf_free(&after);
}

/*
 * Law S3: a random part of later commands survived, then all are replayed from
 * the checkpoint.  Disk and memory end as if nothing had happened.
 */
static void
replay_over_what_survived(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 40; seed++)
	{
		Place		whole;
		Place		torn;
		Prng		prng = {seed};
		Buf			commands[60] = {{0}};
		Buf			a = {0};
		Buf			b = {0};
		uint64_t	checkpoint = 1 + prng_below(&prng, 60);
		VtError		err = {0};

		open_place(&whole, "whole");
		open_place(&torn, "torn");
		for (uint64_t i = 1; i <= 60; i++)
		{
			random_command(&prng, seed * 100 + i, &commands[i - 1]);
			assert_int_equal(apply(&whole, i, buf_bytes(&commands[i - 1]), &err), VT_OK);
			if (i <= checkpoint || prng_below(&prng, 2))
				assert_int_equal(apply(&torn, i, buf_bytes(&commands[i - 1]), &err), VT_OK);
		}
		close_place(&torn);
		open_place(&torn, "torn");
		for (uint64_t i = checkpoint + 1; i <= 60; i++)
			assert_int_equal(apply(&torn, i, buf_bytes(&commands[i - 1]), &err), VT_OK);
		dump_disk(&whole, &a);
		dump_disk(&torn, &b);
		assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
		dump_memory(&whole, &a);
		dump_memory(&torn, &b);
		assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
		close_place(&whole);
		close_place(&torn);
		assert_int_equal(store_destroy(scratch_path("whole"), &err), VT_OK);
		assert_int_equal(store_destroy(scratch_path("torn"), &err), VT_OK);
		for (int i = 0; i < 60; i++)
			buf_free(&commands[i]);
		buf_free(&a);
		buf_free(&b);
	}
}

static void
put_marker(Place *p, uint64_t index, const VtId *boot)
{
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};

	buf_put_u64(&value, index);
	buf_put_id(&value, boot);
	store_batch_put(batch, bytes_of("k", 1), buf_bytes(&value));
	assert_int_equal(store_write(p->rows, batch, false, NULL), VT_OK);
	store_batch_free(batch);
	buf_free(&value);
}

/* Law S2. */
static void
after_a_boot_only_the_checkpoint_counts(void **state)
{
	Place		p;
	Buf			command = {0};
	VtError		err = {0};
	Prng		prng = {9};
	VtId		other = id_of(77);
	uint64_t	index;

	(void) state;
	random_command(&prng, 1, &command);
	open_place(&p, "catalog");
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	close_place(&p);

	/* Before the first checkpoint nothing is known to have lasted. */
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 0);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	for (uint64_t i = 11; i <= 20; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	close_place(&p);

	/* The process died: what is visible counts. */
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 20);
	put_marker(&p, 10, &other);
	close_place(&p);

	/* The machine did. */
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 10);

	/*
	 * A checkpoint taken before anything was replayed covers what it began with
	 * and nothing of what survived beyond.
	 */
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	assert_int_equal(index, 10);
	close_place(&p);
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 10);
	close_place(&p);
	buf_free(&command);
}

static void
what_is_not_known_stops_it(void **state)
{
	static const char *const rows[][2] = {
		{"M", ""},				/* only collections may go */
		{"c", ""},
		{"z", "\001"},			/* a kind of row from the future */
		{"M", "\002"},			/* another format */
		{"M", "\001short"},
		{"s\0\0\0\0\0\0\0\1", "\001"},
	};
	Place		p;
	Buf			command = {0};
	VtError		err = {0};

	(void) state;
	open_place(&p, "catalog");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		command_begin(&command);
		buf_put_string(&command, bytes_str(rows[i][0]));
		buf_put_string(&command, bytes_str(rows[i][1]));
		assert_int_equal(apply(&p, 1, buf_bytes(&command), &err), VT_VERSION);
		assert_true(err.msg[0] != '\0');
	}
	buf_clear(&command);
	buf_put_u8(&command, PD_COMMAND_FORMAT + 1);
	assert_int_equal(apply(&p, 1, buf_bytes(&command), &err), VT_VERSION);

	/* Cut anywhere but between two rows, a command is refused. */
	command_begin(&command);
	{
		CatalogCollection c = collection_of(1, 7);

		command_collection(&command, &c);
		free(c.shards);
	}
	for (size_t len = 2; len < command.len; len++)
		assert_int_not_equal(apply(&p, 1, bytes_of(command.data, len), &err), VT_OK);
	assert_int_equal(p.catalog->ncollections, 0);
	assert_int_equal(apply(&p, 1, buf_bytes(&command), &err), VT_OK);

	/* And so is a damaged row at open. */
	{
		StoreBatch *batch = store_batch_new();

		store_batch_put(batch, bytes_str("M"), bytes_str("\001short"));
		assert_int_equal(store_write(p.rows, batch, false, &err), VT_OK);
		store_batch_free(batch);
	}
	close_place(&p);
	memset(&err, 0, sizeof(err));
	assert_int_equal(try_open(&p, "catalog", &err), VT_CORRUPT);
	assert_true(err.msg[0] != '\0');
	buf_free(&command);
}

/* Intervals tile the space, in order, of nearly one size. */
static void
intervals_tile(void **state)
{
	(void) state;
	for (size_t n = 1; n <= 1024; n++)
	{
		uint64_t	next = 0;
		uint64_t	width = UINT64_MAX / n;

		for (size_t i = 0; i < n; i++)
		{
			uint64_t	first;
			uint64_t	last;

			schedule_interval(i, n, &first, &last);
			assert_true(first == next);
			assert_true(last >= first);
			assert_true(last - first >= width - 1 && last - first - (width - 1) <= n);
			next = last + 1;
			assert_true((next == 0) == (i + 1 == n));
		}
	}
}

static void
shards_are_spread(void **state)
{
	Prng		prng = {4};

	(void) state;
	for (int round = 0; round < 500; round++)
	{
		Candidate	candidates[12];
		Candidate	copy[12];
		uint64_t	before[12];
		uint64_t	stores[1000];
		uint64_t	again[1000];
		size_t		n = 1 + prng_below(&prng, 12);
		size_t		shards = 1 + prng_below(&prng, 200);
		size_t		r = 1 + prng_below(&prng, n < 5 ? (uint32_t) n : 5);
		uint64_t	given = 0;

		for (size_t i = 0; i < n; i++)
		{
			candidates[i].store = 100 - i;
			candidates[i].replicas = before[i] = prng_below(&prng, 20);
			candidates[i].firsts = 0;
		}
		memcpy(copy, candidates, sizeof(copy));
		schedule_place(candidates, n, stores, shards, r);
		for (size_t s = 0; s < shards; s++)
			for (size_t a = 0; a < r; a++)
				for (size_t b = 0; b < a; b++)
					assert_true(stores[s * r + a] != stores[s * r + b]);
		for (size_t i = 0; i < n; i++)
		{
			uint64_t	mine = 0;
			uint64_t	firsts = 0;

			for (size_t s = 0; s < shards * r; s++)
			{
				mine += stores[s] == candidates[i].store;
				firsts += s % r == 0 && stores[s] == candidates[i].store;
			}
			assert_int_equal(candidates[i].replicas, before[i] + mine);
			assert_int_equal(candidates[i].firsts, firsts);
			given += mine;
		}
		assert_int_equal(given, shards * r);

		/* With one replica each, whoever got one stands at most one above the lowest. */
		for (size_t i = 0; i < n && r == 1; i++)
			for (size_t j = 0; j < n; j++)
				if (candidates[i].replicas > before[i])
					assert_true(candidates[i].replicas <= candidates[j].replicas + 1);

		/* From an even start all have an even share, of first places too. */
		if (round % 2)
		{
			for (size_t i = 0; i < n; i++)
				candidates[i].replicas = candidates[i].firsts = 0;
			schedule_place(candidates, n, again, shards, r);
			for (size_t i = 0; i < n; i++)
			{
				assert_in_range(candidates[i].replicas, shards * r / n, shards * r / n + 1);
				assert_in_range(candidates[i].firsts, 0, shards / n + 1 + (r > 1));
			}
		}

		/* The order of the candidates makes no difference. */
		for (size_t i = 0; i < n / 2; i++)
		{
			Candidate	c = copy[i];

			copy[i] = copy[n - 1 - i];
			copy[n - 1 - i] = c;
		}
		schedule_place(copy, n, again, shards, r);
		assert_memory_equal(stores, again, sizeof(uint64_t) * shards * r);
	}
}

/* What was dropped goes when it was kept long enough, or its disk is short. */
static void
dropped_data_goes_in_time(void **state)
{
	Kept		kept[4] = {{100, false}, {50, false}, {70, false}, {60, true}};

	(void) state;
	assert_int_equal(schedule_delete(kept, 0, 1000, 10), 0);
	assert_int_equal(schedule_delete(kept, 3, 149, 100), 3);	/* none is due */
	assert_int_equal(schedule_delete(kept, 3, 150, 100), 1);
	assert_int_equal(schedule_delete(kept, 3, 1000, 100), 1);	/* the oldest first */
	assert_int_equal(schedule_delete(kept, 4, 149, 100), 3);	/* a short disk does not wait */
	assert_int_equal(schedule_delete(kept, 4, 150, 100), 1);
	assert_int_equal(schedule_delete(kept, 3, 20, 100), 3);	/* the clock was set back */
	assert_int_equal(schedule_delete(kept, 1, 100, 0), 0);	/* kept for no time */
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(rows_survive),
		TEST(replay_over_what_survived),
		TEST(after_a_boot_only_the_checkpoint_counts),
		TEST(what_is_not_known_stops_it),
		cmocka_unit_test(intervals_tile),
		cmocka_unit_test(shards_are_spread),
		cmocka_unit_test(dropped_data_goes_in_time),
	};

	return cmocka_run_group_tests_name("pd_catalog", tests, NULL, NULL);
}
