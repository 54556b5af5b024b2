/*-------------------------------------------------------------------------
 *
 * unrows.c
 *	  Rows of the catalog from bytes into memory, or away from there.
 *
 * rows.c has their keys and writes them.  Whatever is read was in a command, a
 * snapshot or LevelDB: what makes no sense is refused as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog.h"

#include <stdlib.h>

#define SHARD_BYTES 37			/* a shard of a collection takes, at least */

/* -- One row ----------------------------------------------------------------- */

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

static WireOwner
get_owner(Cursor *c)
{
	WireOwner	owner;

	owner.system = cursor_u64(c);
	owner.incarnation = cursor_id(c);
	owner.database = cursor_u32(c);
	return owner;
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
	if (out->nshards > cursor_left(c) / SHARD_BYTES)
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
		if (shard->plan.kind == PLAN_RECOVER)
		{
			shard->plan.chosen = shard->plan.add_replica;
			shard->plan.add_replica = 0;
		}
		if (shard->plan.kind == PLAN_SPLIT)
		{
			shard->plan.split_at = shard->plan.add_store;
			shard->plan.child = shard->plan.add_replica;
			shard->plan.add_store = shard->plan.add_replica = 0;
		}
	}
	out->element = out->nshards > 0 ? out->shards[0].desc.element : 1;
	out->quantization = out->nshards > 0 ? out->shards[0].desc.quantization : QUANTIZATION_NONE;
	if (out->nshards > 0)
	{
		out->nattributes = out->shards[0].desc.nattributes;
		memcpy(out->attributes, out->shards[0].desc.attributes, sizeof(out->attributes));
	}
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
	VtId		generation;
	size_t		at;

	if (key.len == 25 && key.data[0] == 'o')
		return settle_row(catalog, key);
	if (key.len == 9 && key.data[0] == 'p')
		return dismiss_row(catalog, get_be64(key.data + 1));
	if (key.len == 9 && key.data[0] == 's')
		return forget_store_row(catalog, get_be64(key.data + 1));
	if (key.len != 17 || key.data[0] != 'c')
		return false;
	memcpy(generation.b, key.data + 1, sizeof(generation.b));
	at = places_collection(catalog, &generation);
	if (at != SIZE_MAX)
	{
		places_remove(catalog, at);
		catalog_collection_free(catalog->collections[at]);
		catalog->collections[at] = catalog->collections[--catalog->ncollections];
	}
	return true;
}

bool
catalog_is_row(Bytes key)
{
	return key.len > 0 && memchr("Mcgilnops", key.data[0], 9) != NULL;
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
		case 'l':
			catalog->level = cursor_u32(&c);
			return cursor_done(&c);
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
				size_t		at;

				if (!cursor_done(&c))
				{
					catalog_collection_free(row);
					return false;
				}
				at = places_collection(catalog, &row->generation);
				if (at != SIZE_MAX)
				{
					CatalogCollection *before = catalog->collections[at];

					catalog->collections[at] = row;
					places_put(catalog, at, before);
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
