/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows of the catalog as bytes: put into commands, and digested.
 *
 * Keys in LevelDB and in commands:
 *
 *	   M					CatalogMeta
 *	   s <store u64>		CatalogStore
 *	   g <store u64>		CatalogGone
 *	   i <incarnation id>	CatalogLease
 *	   c <generation id>	CatalogCollection
 *	   p <driver u64>		CatalogDriver
 *	   o <store u64> <shard u64> <replica u64>	CatalogOwed
 *	   l					feature level
 *	   n					lived_us
 *	   h					digest of all rows; only in commands
 *	   a, k, w				applied index, checkpoint, unsure_to; only in LevelDB
 *	   t <key>, u			a snapshot that is coming in (transfer.c); the same
 *
 * In a command an empty value takes the row of that key away; only collections,
 * drivers, stores and what is owed ever go.  unrows.c reads them.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog.h"

#include "base/hash.h"

static void
put_text(Buf *out, const char *text)
{
	buf_put_string(out, bytes_str(text));
}

static void
put_owner(Buf *out, const WireOwner *owner)
{
	buf_put_u64(out, owner->system);
	buf_put_id(out, &owner->incarnation);
	buf_put_u32(out, owner->database);
}

/* Add one row to a command: key, value. */
static void
add_row(Buf *out, Bytes key, const Buf *value)
{
	buf_put_string(out, key);
	buf_put_string(out, buf_bytes(value));
}

void
command_begin(Buf *out)
{
	buf_clear(out);
	buf_put_u8(out, PD_COMMAND_FORMAT);
	buf_put_u64(out, 0);
}

void
command_set_term(Buf *command, uint64_t term)
{
	buf_set_u64(command, 1, term);
}

void
command_meta(Buf *out, const CatalogMeta *meta)
{
	Buf			value = {0};

	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_id(&value, &meta->cluster);
	buf_put_u64(&value, meta->next_id);
	buf_put_u64(&value, meta->peers_version);
	add_row(out, bytes_of("M", 1), &value);
	buf_free(&value);
}

void
command_store(Buf *out, const CatalogStore *store)
{
	uint8_t		key[9] = {'s'};
	Buf			value = {0};

	put_be64(key + 1, store->id);
	buf_put_u8(&value, PD_STORE_FORMAT);
	buf_put_u64(&value, store->id);
	buf_put_id(&value, &store->data_id);
	buf_put_u8(&value, store->draining);
	put_text(&value, store->endpoint);
	buf_put_u8(&value, store->search_only);
	put_text(&value, store->labels);
	put_text(&value, store->name);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_lease(Buf *out, const CatalogLease *lease)
{
	uint8_t		key[17] = {'i'};
	Buf			value = {0};

	memcpy(key + 1, lease->incarnation.b, 16);
	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_u64(&value, lease->system);
	buf_put_id(&value, &lease->incarnation);
	buf_put_id(&value, &lease->holder);
	buf_put_id(&value, &lease->session);
	buf_put_u64(&value, lease->place);
	buf_put_u32(&value, lease->timeline);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_collection(Buf *out, const CatalogCollection *c)
{
	uint8_t		key[17] = {'c'};
	Buf			value = {0};

	memcpy(key + 1, c->generation.b, 16);
	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_id(&value, &c->generation);
	put_owner(&value, &c->owner);
	buf_put_u8(&value, (uint8_t) c->state);
	buf_put_u32(&value, c->dim);
	buf_put_u8(&value, c->metric);
	buf_put_u16(&value, c->m);
	buf_put_u16(&value, c->ef_construction);
	buf_put_u32(&value, c->replicas_wanted);
	buf_put_u64(&value, c->xid);
	buf_put_u64(&value, c->route_version);
	buf_put_u64(&value, (uint64_t) c->created_us);
	buf_put_u64(&value, (uint64_t) c->unused_us);
	put_text(&value, c->label);
	buf_put_u32(&value, c->nshards);
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		const CatalogShard *shard = &c->shards[i];

		wire_desc_put(&value, &shard->desc);
		buf_put_u64(&value, shard->conf_index);
		buf_put_u8(&value, shard->bootstrapped);
		buf_put_u16(&value, shard->seen);
		buf_put_u8(&value, (uint8_t) shard->plan.kind);
		/* Where no replica comes, other numbers stand in these places. */
		buf_put_u64(&value, shard->plan.kind == PLAN_SPLIT ? shard->plan.split_at : shard->plan.add_store);
		buf_put_u64(&value, shard->plan.kind == PLAN_SPLIT ? shard->plan.child :
					shard->plan.kind == PLAN_RECOVER ? shard->plan.chosen : shard->plan.add_replica);
		buf_put_u64(&value, shard->plan.remove);
		buf_put_u8(&value, shard->plan.add_seen);
	}
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_forget(Buf *out, const VtId *generation)
{
	uint8_t		key[17] = {'c'};
	Buf			nothing = {0};

	memcpy(key + 1, generation->b, 16);
	add_row(out, bytes_of(key, sizeof(key)), &nothing);
}

void
command_driver(Buf *out, const CatalogDriver *driver)
{
	uint8_t		key[9] = {'p'};
	Buf			value = {0};

	put_be64(key + 1, driver->id);
	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_u64(&value, driver->id);
	put_text(&value, driver->endpoint);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_dismiss(Buf *out, uint64_t driver)
{
	uint8_t		key[9] = {'p'};
	Buf			nothing = {0};

	put_be64(key + 1, driver);
	add_row(out, bytes_of(key, sizeof(key)), &nothing);
}

static void
put_owed(Buf *out, const CatalogOwed *owed, bool is_owed)
{
	uint8_t		key[25] = {'o'};
	Buf			value = {0};

	put_be64(key + 1, owed->store);
	put_be64(key + 9, owed->shard);
	put_be64(key + 17, owed->replica);
	if (is_owed)
		buf_put_u8(&value, PD_ROW_FORMAT);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_owed(Buf *out, const CatalogOwed *owed)
{
	put_owed(out, owed, true);
}

void
command_settled(Buf *out, const CatalogOwed *owed)
{
	put_owed(out, owed, false);
}

void
command_lived(Buf *out, int64_t lived_us)
{
	Buf			value = {0};

	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_u64(&value, (uint64_t) lived_us);
	add_row(out, bytes_of("n", 1), &value);
	buf_free(&value);
}

void
command_level(Buf *out, uint32_t level)
{
	Buf			value = {0};

	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_u32(&value, level);
	add_row(out, bytes_of("l", 1), &value);
	buf_free(&value);
}

void
command_gone(Buf *out, const CatalogGone *gone)
{
	uint8_t		key[9] = {'s'};
	Buf			value = {0};

	put_be64(key + 1, gone->id);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	key[0] = 'g';
	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_u64(&value, gone->id);
	buf_put_id(&value, &gone->data_id);
	buf_put_u64(&value, (uint64_t) gone->since_us);
	put_text(&value, gone->endpoint);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_digest(Buf *out, uint64_t digest)
{
	Buf			value = {0};

	buf_put_u8(&value, PD_ROW_FORMAT);
	buf_put_u64(&value, digest);
	add_row(out, bytes_of("h", 1), &value);
	buf_free(&value);
}

/* -- All of them ----------------------------------------------------------- */

/* The rows that were written to scratch, and scratch is empty again. */
static uint64_t
digest_of(Buf *scratch)
{
	uint64_t	digest = hash_checksum(buf_bytes(scratch));

	buf_clear(scratch);
	return digest;
}

/* A sum, since two drivers may keep the same rows in another order. */
uint64_t
catalog_digest(const Catalog *catalog)
{
	Buf			row = {0};
	uint64_t	sum;

	command_meta(&row, &catalog->meta);
	sum = digest_of(&row);
	if (catalog->lived_us != 0)
	{
		command_lived(&row, catalog->lived_us);
		sum += digest_of(&row);
	}
	if (catalog->level != 0)
	{
		command_level(&row, catalog->level);
		sum += digest_of(&row);
	}
	for (size_t i = 0; i < catalog->ndrivers; i++)
	{
		command_driver(&row, catalog->drivers[i]);
		sum += digest_of(&row);
	}
	for (size_t i = 0; i < catalog->nstores; i++)
	{
		command_store(&row, catalog->stores[i]);
		sum += digest_of(&row);
	}
	for (size_t i = 0; i < catalog->ngone; i++)
	{
		command_gone(&row, catalog->gone[i]);
		sum += digest_of(&row);
	}
	for (size_t i = 0; i < catalog->nleases; i++)
	{
		command_lease(&row, catalog->leases[i]);
		sum += digest_of(&row);
	}
	for (size_t i = 0; i < catalog->ncollections; i++)
	{
		command_collection(&row, catalog->collections[i]);
		sum += digest_of(&row);
	}
	for (size_t i = 0; i < catalog->nowed; i++)
	{
		command_owed(&row, &catalog->owed[i]);
		sum += digest_of(&row);
	}
	buf_free(&row);
	return sum;
}
