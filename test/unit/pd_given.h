/*-------------------------------------------------------------------------
 *
 * pd_given.h
 *	  Catalogs that tests begin with: random rows, and a place on disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_PD_GIVEN_H
#define TEST_PD_GIVEN_H

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

static inline VtId
id_of(uint64_t n)
{
	VtId		id;

	put_be64(id.b, prng_mix(n + 1));
	put_be64(id.b + 8, n);
	return id;
}

static inline CatalogStore
store_of(uint64_t id, uint64_t version)
{
	CatalogStore store;

	memset(&store, 0, sizeof(store));
	store.id = id;
	store.data_id = id_of(version);
	snprintf(store.endpoint, sizeof(store.endpoint), "unix:/run/worker%llu-%llu",
			 (unsigned long long) id, (unsigned long long) version);
	store.search_only = version % 2;
	snprintf(store.labels, sizeof(store.labels), "zone=%llu", (unsigned long long) version);
	return store;
}

static inline CatalogGone
gone_of(uint64_t id, uint64_t version)
{
	CatalogGone gone;

	memset(&gone, 0, sizeof(gone));
	gone.id = id;
	gone.data_id = id_of(version);
	gone.since_us = (int64_t) version;
	snprintf(gone.endpoint, sizeof(gone.endpoint), "unix:/run/gone%llu-%llu",
			 (unsigned long long) id, (unsigned long long) version);
	return gone;
}

static inline CatalogLease
lease_of(uint64_t n, uint64_t version)
{
	CatalogLease lease;

	memset(&lease, 0, sizeof(lease));
	lease.system = 100 + n;
	lease.incarnation = id_of(1000 + n);
	lease.holder = id_of(version);
	lease.session = id_of(version + 7);
	lease.place = version * 3;
	lease.timeline = (uint32_t) version;
	return lease;
}

static inline CatalogDriver
driver_of(uint64_t id, uint64_t version)
{
	CatalogDriver driver;

	memset(&driver, 0, sizeof(driver));
	driver.id = id;
	snprintf(driver.endpoint, sizeof(driver.endpoint), "unix:/run/pd%llu-%llu",
			 (unsigned long long) id, (unsigned long long) version);
	return driver;
}

/* The caller frees shards. */
static inline CatalogCollection
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
		c.shards[i].plan = version % 7 == 6 ? (Plan) {.kind = PLAN_RECOVER, .chosen = version % 2 ? 500 + i : 0} : version % 6 == 5 ? (Plan) {.kind = PLAN_SPLIT, .child = 800 + version, .split_at = UINT64_MAX / 3} :
			(Plan) {.kind = (PlanKind) (version % 5), .add_store = 7, .add_replica = 700 + version, .remove = 500 + i,
			.add_seen = version % 2 == 0};
	}
	return c;
}

/* A command of some rows, as the leader would decide it. */
static inline void
random_command(Prng *prng, uint64_t version, Buf *out)
{
	uint32_t	rows = 1 + prng_below(prng, 3);

	command_begin(out);
	while (rows-- > 0)
		switch (prng_below(prng, 10))
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
			case 5:
				{
					CatalogDriver driver = driver_of(prng_below(prng, 4), version);

					command_driver(out, &driver);
					break;
				}
			case 6:
				command_dismiss(out, prng_below(prng, 4));
				break;
			case 8:
				command_lived(out, (int64_t) version);
				break;
			case 7:
				{
					CatalogOwed owed = {prng_below(prng, 4), prng_below(prng, 3), prng_below(prng, 2)};

					if (version % 3 == 0)
						command_settled(out, &owed);
					else
						command_owed(out, &owed);
					break;
				}
			case 9:
				{
					CatalogGone gone = gone_of(prng_below(prng, 4), version);

					command_gone(out, &gone);
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

static inline VtStatus
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

static inline void
open_place(Place *p, const char *name)
{
	VtError		err = {0};

	if (try_open(p, name, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

static inline void
close_place(Place *p)
{
	catalog_close(p->catalog);
	store_close(p->rows);
}

static inline VtStatus
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

/* Everything on disk but where it stands; what is coming in, too. */
static inline void
dump_disk(Place *p, Buf *out)
{
	StoreIter  *iter = store_iter_open(p->rows, bytes_of("", 0), bytes_of("\xff", 1));
	Bytes		key;
	Bytes		value;

	buf_clear(out);
	while (store_iter_next(iter, &key, &value))
		if (!(key.len == 1 && strchr("akw", key.data[0])))
		{
			buf_put_string(out, key);
			buf_put_string(out, value);
		}
	assert_int_equal(store_iter_status(iter, NULL), VT_OK);
	store_iter_close(iter);
}

/* Everything in memory, in an order of its own: rows are sought one by one. */
static inline void
dump_memory(Place *p, Buf *out)
{
	Catalog    *c = p->catalog;

	command_begin(out);
	pthread_mutex_lock(&c->lock);
	command_meta(out, &c->meta);
	command_lived(out, c->lived_us);
	for (uint64_t n = 0; n < 4; n++)
	{
		VtId		incarnation = id_of(1000 + n);
		VtId		generation = id_of(2000 + n);
		const CatalogStore *store = catalog_store(c, n);
		const CatalogLease *lease = catalog_lease(c, 100 + n, &incarnation);
		const CatalogCollection *collection = catalog_collection(c, &generation);

		size_t		nowed;
		const CatalogOwed *owed = catalog_owed(c, n, &nowed);

		for (size_t i = 0; i < nowed; i++)
			command_owed(out, &owed[i]);
		if (catalog_driver(c, n))
			command_driver(out, catalog_driver(c, n));
		if (store)
			command_store(out, store);
		if (catalog_gone(c, n, NULL))
			command_gone(out, catalog_gone(c, n, NULL));
		if (lease)
			command_lease(out, lease);
		if (collection)
			command_collection(out, collection);
	}
	buf_put_u64(out, c->ndrivers);
	buf_put_u64(out, c->nowed);
	buf_put_u64(out, c->nstores);
	buf_put_u64(out, c->ngone);
	buf_put_u64(out, c->nleases);
	buf_put_u64(out, c->ncollections);
	pthread_mutex_unlock(&c->lock);
}

#endif							/* TEST_PD_GIVEN_H */
