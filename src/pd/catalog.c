/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  The catalog: rows, their bytes, and applying commands.
 *
 * Keys in LevelDB and in commands:
 *
 *	   M					CatalogMeta
 *	   s <store u64>		CatalogStore
 *	   i <incarnation id>	CatalogLease
 *	   c <generation id>	CatalogCollection
 *	   a					applied index; only in LevelDB
 *
 * In a command an empty value takes the row of that key away; only collections
 * ever go.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog.h"

#include <stdlib.h>

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
}

void
command_meta(Buf *out, const CatalogMeta *meta)
{
	Buf			value = {0};

	buf_put_u8(&value, PD_COMMAND_FORMAT);
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
	buf_put_u8(&value, PD_COMMAND_FORMAT);
	buf_put_u64(&value, store->id);
	buf_put_id(&value, &store->data_id);
	buf_put_u8(&value, store->draining);
	put_text(&value, store->endpoint);
	add_row(out, bytes_of(key, sizeof(key)), &value);
	buf_free(&value);
}

void
command_lease(Buf *out, const CatalogLease *lease)
{
	uint8_t		key[17] = {'i'};
	Buf			value = {0};

	memcpy(key + 1, lease->incarnation.b, 16);
	buf_put_u8(&value, PD_COMMAND_FORMAT);
	buf_put_u64(&value, lease->system);
	buf_put_id(&value, &lease->incarnation);
	buf_put_id(&value, &lease->holder);
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
	buf_put_u8(&value, PD_COMMAND_FORMAT);
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
		buf_put_u64(&value, shard->plan.add_store);
		buf_put_u64(&value, shard->plan.add_replica);
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
		if (shard->plan.kind > PLAN_DRAIN)
			c->failed = true;
	}
	out->quantization = out->nshards > 0 ? out->shards[0].desc.quantization : QUANTIZATION_NONE;
	return out;
}

/* -- Finding --------------------------------------------------------------- */

/* Place of a store, or where it would be. */
static size_t
store_place(const Catalog *catalog, uint64_t id)
{
	size_t		low = 0;
	size_t		high = catalog->nstores;

	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;

		if (catalog->stores[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

CatalogStore *
catalog_store(Catalog *catalog, uint64_t id)
{
	size_t		place = store_place(catalog, id);

	return place < catalog->nstores && catalog->stores[place]->id == id ? catalog->stores[place] : NULL;
}

CatalogLease *
catalog_lease(Catalog *catalog, uint64_t system, const VtId *incarnation)
{
	for (size_t i = 0; i < catalog->nleases; i++)
		if (catalog->leases[i]->system == system &&
			vt_id_equal(&catalog->leases[i]->incarnation, incarnation))
			return catalog->leases[i];
	return NULL;
}

CatalogCollection *
catalog_collection(Catalog *catalog, const VtId *generation)
{
	for (size_t i = 0; i < catalog->ncollections; i++)
		if (vt_id_equal(&catalog->collections[i]->generation, generation))
			return catalog->collections[i];
	return NULL;
}

/* -- Applying -------------------------------------------------------------- */

#define GROW(array, n) ((array) = vt_realloc((array), sizeof(*(array)) * ((n) + 1)))

/* A collection is gone for good; that it was never there is fine (law S3). */
static bool
forget_row(Catalog *catalog, Bytes key)
{
	if (key.len != 17 || key.data[0] != 'c')
		return false;
	for (size_t i = 0; i < catalog->ncollections; i++)
		if (memcmp(catalog->collections[i]->generation.b, key.data + 1, 16) == 0)
		{
			catalog_collection_free(catalog->collections[i]);
			catalog->collections[i] = catalog->collections[--catalog->ncollections];
			break;
		}
	return true;
}

/* Take one row into memory. */
static bool
take_row(Catalog *catalog, Bytes key, Bytes value)
{
	Cursor		c = cursor_of(value);

	if (key.len > 0 && value.len == 0)
		return forget_row(catalog, key);
	if (key.len == 0 || cursor_u8(&c) != PD_COMMAND_FORMAT)
		return false;
	switch (key.data[0])
	{
		case 'M':
			catalog->meta.cluster = cursor_id(&c);
			catalog->meta.next_id = cursor_u64(&c);
			catalog->meta.peers_version = cursor_u64(&c);
			return cursor_done(&c);
		case 's':
			{
				CatalogStore row;
				CatalogStore *store;

				memset(&row, 0, sizeof(row));
				row.id = cursor_u64(&c);
				row.data_id = cursor_id(&c);
				row.draining = cursor_u8(&c) != 0;
				get_text(&c, row.endpoint, sizeof(row.endpoint));
				if (!cursor_done(&c))
					return false;
				store = catalog_store(catalog, row.id);
				if (!store)
				{
					size_t		place = store_place(catalog, row.id);

					GROW(catalog->stores, catalog->nstores);
					memmove(catalog->stores + place + 1, catalog->stores + place,
							sizeof(CatalogStore *) * (catalog->nstores++ - place));
					store = catalog->stores[place] = vt_alloc0(sizeof(row));
				}
				*store = row;
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
						catalog_collection_free(catalog->collections[i]);
						catalog->collections[i] = row;
						return true;
					}
				GROW(catalog->collections, catalog->ncollections);
				catalog->collections[catalog->ncollections++] = row;
				return true;
			}
		default:
			return false;
	}
}

/* One command: every row into the batch and into memory. */
static VtStatus
apply_command(Catalog *catalog, StoreBatch *batch, Bytes command, VtError *err)
{
	Cursor		c = cursor_of(command);
	uint8_t		format = cursor_u8(&c);

	if (format != PD_COMMAND_FORMAT)
		return vt_fail(err, VT_VERSION, "a catalog command has format %u, this program knows %u",
					   format, PD_COMMAND_FORMAT);
	while (!c.failed && !cursor_done(&c))
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);

		if (c.failed || !take_row(catalog, key, value))
			return vt_fail(err, VT_VERSION, "a catalog command holds a row this program does not know");
		if (value.len > 0)
			store_batch_put(batch, key, value);
		else
			store_batch_delete(batch, key);
	}
	return c.failed ? vt_fail(err, VT_CORRUPT, "a catalog command is malformed") : VT_OK;
}

static VtStatus
machine_apply(void *state, ReplicaCommand *commands, size_t n, uint64_t applied, VtError *err)
{
	Catalog    *catalog = (Catalog *) state;
	StoreBatch *batch = store_batch_new();
	uint8_t		number[8];
	VtStatus	status = VT_OK;

	pthread_mutex_lock(&catalog->lock);
	for (size_t i = 0; i < n && status == VT_OK; i++)
		status = apply_command(catalog, batch, commands[i].bytes, err);
	put_le64(number, applied);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	if (status == VT_OK)
		status = store_write(catalog->rows, batch, false, err);
	catalog->applied = applied;
	pthread_mutex_unlock(&catalog->lock);
	store_batch_free(batch);
	return status;
}

/* Law S2: first the memtable, then a marker that says so. */
static VtStatus
machine_checkpoint(void *state, uint64_t *index, VtError *err)
{
	Catalog    *catalog = (Catalog *) state;
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	VtId		boot = store_boot_id();
	uint8_t		number[8];
	VtStatus	status;

	pthread_mutex_lock(&catalog->lock);
	*index = catalog->applied;
	pthread_mutex_unlock(&catalog->lock);
	status = store_flush(catalog->rows, err);
	buf_put_u64(&value, *index);
	buf_put_id(&value, &boot);
	store_batch_put(batch, bytes_of("k", 1), buf_bytes(&value));

	/*
	 * From now on the applied index is believed (replay_from), so it must be of
	 * this boot: one that survived a power loss may stand beyond holes that
	 * replay has not filled yet.
	 */
	put_le64(number, *index);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	if (status == VT_OK)
		status = store_write(catalog->rows, batch, true, err);
	buf_free(&value);
	store_batch_free(batch);
	return status;
}

ReplicaMachine
catalog_machine(Catalog *catalog)
{
	ReplicaMachine machine = {
		.apply = machine_apply, .checkpoint = machine_checkpoint, .state = catalog
	};

	return machine;
}

/*
 * Where replay begins: at the visible applied index if the machine has not
 * rebooted since the checkpoint marker, else at the checkpoint (law S2).
 */
static VtStatus
replay_from(Store *rows, uint64_t *out, VtError *err)
{
	Buf			value = {0};
	VtId		boot = store_boot_id();
	uint64_t	checkpoint = 0;
	bool		same_boot = false;
	VtStatus	status = store_get(rows, bytes_of("k", 1), &value, err);

	*out = 0;
	if (status == VT_OK)
	{
		Cursor		c = cursor_of(buf_bytes(&value));
		VtId		then;

		checkpoint = cursor_u64(&c);
		then = cursor_id(&c);
		if (!cursor_done(&c))
			status = vt_fail(err, VT_CORRUPT, "the checkpoint marker of the catalog is damaged");
		same_boot = vt_id_equal(&boot, &then) && !vt_id_is_zero(&boot);
	}
	if (status == VT_OK || status == VT_NOT_FOUND)
	{
		*out = checkpoint;
		if (same_boot)
		{
			status = store_get(rows, bytes_of("a", 1), &value, err);
			if (status == VT_OK && value.len == 8)
				*out = get_le64(value.data);
		}
		if (status == VT_NOT_FOUND)
			status = VT_OK;
	}
	buf_free(&value);
	return status;
}

VtStatus
catalog_open(Store *rows, Catalog **out, uint64_t *applied, VtError *err)
{
	Catalog    *catalog = vt_alloc0(sizeof(Catalog));
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	VtStatus	status = replay_from(rows, applied, err);

	catalog->rows = rows;
	catalog->applied = *applied;
	pthread_mutex_init(&catalog->lock, NULL);
	iter = store_iter_open(rows, bytes_of("", 0), bytes_of("\xff", 1));
	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		if (key.len == 1 && (key.data[0] == 'a' || key.data[0] == 'k'))
			continue;
		if (!take_row(catalog, key, value))
			status = vt_fail(err, VT_CORRUPT, "a row of the catalog is damaged or of a newer version");
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	if (status != VT_OK)
	{
		catalog_close(catalog);
		return status;
	}
	*out = catalog;
	return VT_OK;
}

void
catalog_close(Catalog *catalog)
{
	if (!catalog)
		return;
	for (size_t i = 0; i < catalog->nstores; i++)
		free(catalog->stores[i]);
	for (size_t i = 0; i < catalog->nleases; i++)
		free(catalog->leases[i]);
	for (size_t i = 0; i < catalog->ncollections; i++)
		catalog_collection_free(catalog->collections[i]);
	free(catalog->stores);
	free(catalog->leases);
	free(catalog->collections);
	pthread_mutex_destroy(&catalog->lock);
	free(catalog);
}
