/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows of the catalog: to bytes, and back into memory.
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
 *	   n					lived_us
 *	   h					digest of all rows; only in commands
 *	   a, k, w				applied index, checkpoint, unsure_to; only in LevelDB
 *	   t <key>, u			a snapshot that is coming in (transfer.c); the same
 *
 * In a command an empty value takes the row of that key away; only collections,
 * drivers, stores and what is owed ever go.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog.h"

#include <stdlib.h>

#include "base/hash.h"

/* -- Rows to bytes and back ------------------------------------------------ */

static void
put_text(Buf *out, const char *text)
{
	buf_put_string(out, bytes_str(text));
}

static void
get_text(Cursor *c, char *out, size_t size)
{
	Bytes		text = cursor_string(c);

	if (text.len >= size)
	{
		c->failed = true;
		return;
	}
	if (text.len)
		memcpy(out, text.data, text.len);
	out[text.len] = '\0';
}

static void
put_owner(Buf *out, const WireOwner *owner)
{
	buf_put_u64(out, owner->system);
	buf_put_id(out, &owner->incarnation);
	buf_put_u32(out, owner->database);
}

static WireOwner
get_owner(Cursor *c)
{
	WireOwner	owner;

	owner.system = cursor_u64(c);
	owner.incarnation = cursor_id(c);
	owner.database = cursor_u32(c);
	return owner;
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
		/* A split has no replica that comes: its numbers stand in these places. */
		buf_put_u64(&value, shard->plan.kind == PLAN_SPLIT ? shard->plan.split_at : shard->plan.add_store);
		buf_put_u64(&value, shard->plan.kind == PLAN_SPLIT ? shard->plan.child : shard->plan.add_replica);
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

void
catalog_collection_free(CatalogCollection *collection)
{
	if (!collection)
		return;
	free(collection->shards);
	free(collection);
}

static CatalogCollection *
get_collection(Cursor *c)
{
	CatalogCollection *out = vt_alloc0(sizeof(CatalogCollection));

	out->generation = cursor_id(c);
	out->owner = get_owner(c);
	out->state = (CollectionState) cursor_u8(c);
	out->dim = cursor_u32(c);
	out->metric = cursor_u8(c);
	out->m = cursor_u16(c);
	out->ef_construction = cursor_u16(c);
	out->replicas_wanted = cursor_u32(c);
	out->xid = cursor_u64(c);
	out->route_version = cursor_u64(c);
	out->created_us = (int64_t) cursor_u64(c);
	out->unused_us = (int64_t) cursor_u64(c);
	get_text(c, out->label, sizeof(out->label));
	out->nshards = cursor_u32(c);
	if (out->nshards > cursor_left(c))
		c->failed = true;
	if (c->failed)
		out->nshards = 0;
	out->shards = vt_alloc0(sizeof(CatalogShard) * (out->nshards ? out->nshards : 1));
	for (uint32_t i = 0; i < out->nshards; i++)
	{
		CatalogShard *shard = &out->shards[i];

		if (wire_desc_get(c, &shard->desc) != VT_OK)
			c->failed = true;
		shard->conf_index = cursor_u64(c);
		shard->bootstrapped = cursor_u8(c) != 0;
		shard->seen = cursor_u16(c);
		shard->plan.kind = (PlanKind) cursor_u8(c);
		shard->plan.add_store = cursor_u64(c);
		shard->plan.add_replica = cursor_u64(c);
		shard->plan.remove = cursor_u64(c);
		shard->plan.add_seen = cursor_u8(c) != 0;
		if (shard->plan.kind >= PLAN_KINDS)
			c->failed = true;
		if (shard->plan.kind == PLAN_SPLIT)
		{
			shard->plan.split_at = shard->plan.add_store;
			shard->plan.child = shard->plan.add_replica;
			shard->plan.add_store = shard->plan.add_replica = 0;
		}
	}
	out->element = out->nshards > 0 ? out->shards[0].desc.element : 1;
	out->quantization = out->nshards > 0 ? out->shards[0].desc.quantization : QUANTIZATION_NONE;
	return out;
}

/* -- Into memory ----------------------------------------------------------- */

#define GROW(array, n) ((array) = vt_realloc((array), sizeof(*(array)) * ((n) + 1)))

static bool
dismiss_row(Catalog *catalog, uint64_t id)
{
	for (size_t i = 0; i < catalog->ndrivers; i++)
		if (catalog->drivers[i]->id == id)
		{
			free(catalog->drivers[i]);
			catalog->drivers[i] = catalog->drivers[--catalog->ndrivers];
			break;
		}
	return true;
}

static CatalogOwed
owed_of_key(Bytes key)
{
	CatalogOwed owed = {get_be64(key.data + 1), get_be64(key.data + 9), get_be64(key.data + 17)};

	return owed;
}

/* Is this row where it would be? */
static bool
is_owed_at(const Catalog *catalog, size_t place, const CatalogOwed *owed)
{
	return place < catalog->nowed && memcmp(&catalog->owed[place], owed, sizeof(*owed)) == 0;
}

static bool
owe(Catalog *catalog, Bytes key)
{
	CatalogOwed owed = owed_of_key(key);
	size_t		place = catalog_owed_place(catalog, &owed);

	if (is_owed_at(catalog, place, &owed))
		return true;
	GROW(catalog->owed, catalog->nowed);
	memmove(catalog->owed + place + 1, catalog->owed + place, sizeof(owed) * (catalog->nowed++ - place));
	catalog->owed[place] = owed;
	return true;
}

static bool
settle_row(Catalog *catalog, Bytes key)
{
	CatalogOwed owed = owed_of_key(key);
	size_t		place = catalog_owed_place(catalog, &owed);

	if (is_owed_at(catalog, place, &owed))
		memmove(catalog->owed + place, catalog->owed + place + 1, sizeof(owed) * (--catalog->nowed - place));
	return true;
}

static bool
forget_store_row(Catalog *catalog, uint64_t id)
{
	size_t		place = catalog_store_place(catalog, id);

	if (place < catalog->nstores && catalog->stores[place]->id == id)
	{
		free(catalog->stores[place]);
		memmove(catalog->stores + place, catalog->stores + place + 1,
				sizeof(CatalogStore *) * (--catalog->nstores - place));
	}
	return true;
}

/* A row is gone for good; that it was never there is fine (law S3). */
static bool
forget_row(Catalog *catalog, Bytes key)
{
	if (key.len == 25 && key.data[0] == 'o')
		return settle_row(catalog, key);
	if (key.len == 9 && key.data[0] == 'p')
		return dismiss_row(catalog, get_be64(key.data + 1));
	if (key.len == 9 && key.data[0] == 's')
		return forget_store_row(catalog, get_be64(key.data + 1));
	if (key.len != 17 || key.data[0] != 'c')
		return false;
	for (size_t i = 0; i < catalog->ncollections; i++)
		if (memcmp(catalog->collections[i]->generation.b, key.data + 1, 16) == 0)
		{
			places_remove(catalog, i);
			catalog_collection_free(catalog->collections[i]);
			catalog->collections[i] = catalog->collections[--catalog->ncollections];
			break;
		}
	return true;
}

bool
catalog_is_row(Bytes key)
{
	return key.len > 0 && memchr("Mcginops", key.data[0], 8) != NULL;
}

bool
catalog_take_row(Catalog *catalog, Bytes key, Bytes value)
{
	Cursor		c = cursor_of(value);
	uint8_t		format;

	if (key.len > 0 && value.len == 0)
		return forget_row(catalog, key);
	if (key.len == 0)
		return false;
	format = cursor_u8(&c);
	if (format != PD_ROW_FORMAT && (format != PD_STORE_FORMAT || key.data[0] != 's'))
		return false;
	switch (key.data[0])
	{
		case 'M':
			catalog->meta.cluster = cursor_id(&c);
			catalog->meta.next_id = cursor_u64(&c);
			catalog->meta.peers_version = cursor_u64(&c);
			return cursor_done(&c);
		case 'p':
			{
				CatalogDriver row;
				CatalogDriver *driver;

				memset(&row, 0, sizeof(row));
				row.id = cursor_u64(&c);
				get_text(&c, row.endpoint, sizeof(row.endpoint));
				if (!cursor_done(&c))
					return false;
				driver = catalog_driver(catalog, row.id);
				if (!driver)
				{
					GROW(catalog->drivers, catalog->ndrivers);
					driver = catalog->drivers[catalog->ndrivers++] = vt_alloc0(sizeof(row));
				}
				*driver = row;
				return true;
			}
		case 'n':
			catalog->lived_us = (int64_t) cursor_u64(&c);
			return cursor_done(&c);
		case 'o':
			return key.len == 25 && cursor_done(&c) && owe(catalog, key);
		case 's':
			{
				CatalogStore row;
				CatalogStore *store;

				memset(&row, 0, sizeof(row));
				row.id = cursor_u64(&c);
				row.data_id = cursor_id(&c);
				row.draining = cursor_u8(&c) != 0;
				get_text(&c, row.endpoint, sizeof(row.endpoint));
				if (format == PD_STORE_FORMAT)
				{
					row.search_only = cursor_u8(&c) != 0;
					get_text(&c, row.labels, sizeof(row.labels));
					get_text(&c, row.name, sizeof(row.name));
				}
				if (!cursor_done(&c))
					return false;
				store = catalog_store(catalog, row.id);
				if (!store)
				{
					size_t		place = catalog_store_place(catalog, row.id);

					GROW(catalog->stores, catalog->nstores);
					memmove(catalog->stores + place + 1, catalog->stores + place,
							sizeof(CatalogStore *) * (catalog->nstores++ - place));
					store = catalog->stores[place] = vt_alloc0(sizeof(row));
				}
				*store = row;
				return true;
			}
		case 'g':
			{
				CatalogGone row;
				CatalogGone *gone;

				memset(&row, 0, sizeof(row));
				row.id = cursor_u64(&c);
				row.data_id = cursor_id(&c);
				row.since_us = (int64_t) cursor_u64(&c);
				get_text(&c, row.endpoint, sizeof(row.endpoint));
				if (!cursor_done(&c))
					return false;
				gone = catalog_gone(catalog, row.id, NULL);
				if (!gone)
				{
					GROW(catalog->gone, catalog->ngone);
					gone = catalog->gone[catalog->ngone++] = vt_alloc0(sizeof(row));
				}
				*gone = row;
				return true;
			}
		case 'i':
			{
				CatalogLease row;
				CatalogLease *lease;

				memset(&row, 0, sizeof(row));
				row.system = cursor_u64(&c);
				row.incarnation = cursor_id(&c);
				row.holder = cursor_id(&c);
				row.session = cursor_id(&c);
				row.place = cursor_u64(&c);
				row.timeline = cursor_u32(&c);
				if (!cursor_done(&c))
					return false;
				lease = catalog_lease(catalog, row.system, &row.incarnation);
				if (!lease)
				{
					GROW(catalog->leases, catalog->nleases);
					lease = catalog->leases[catalog->nleases++] = vt_alloc0(sizeof(row));
				}
				*lease = row;
				return true;
			}
		case 'c':
			{
				CatalogCollection *row = get_collection(&c);

				if (!cursor_done(&c))
				{
					catalog_collection_free(row);
					return false;
				}
				for (size_t i = 0; i < catalog->ncollections; i++)
					if (vt_id_equal(&catalog->collections[i]->generation, &row->generation))
					{
						CatalogCollection *before = catalog->collections[i];

						catalog->collections[i] = row;
						places_put(catalog, i, before);
						catalog_collection_free(before);
						return true;
					}
				GROW(catalog->collections, catalog->ncollections);
				catalog->collections[catalog->ncollections++] = row;
				places_put(catalog, catalog->ncollections - 1, NULL);
				return true;
			}
		default:
			return false;
	}
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
