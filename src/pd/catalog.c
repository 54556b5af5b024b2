/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  The catalog: applying commands, checkpoints, opening; finding rows.
 *
 * What a row is in bytes stands in rows.c and unrows.c, how all of them travel in transfer.c.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/log.h"

/* -- Finding --------------------------------------------------------------- */

size_t
catalog_store_place(const Catalog *catalog, uint64_t id)
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
	size_t		place = catalog_store_place(catalog, id);

	return place < catalog->nstores && catalog->stores[place]->id == id ? catalog->stores[place] : NULL;
}

static int
owed_compare(const CatalogOwed *a, const CatalogOwed *b)
{
	if (a->store != b->store)
		return a->store < b->store ? -1 : 1;
	if (a->shard != b->shard)
		return a->shard < b->shard ? -1 : 1;
	return a->replica < b->replica ? -1 : a->replica > b->replica;
}

size_t
catalog_owed_place(const Catalog *catalog, const CatalogOwed *owed)
{
	size_t		low = 0;
	size_t		high = catalog->nowed;

	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;

		if (owed_compare(&catalog->owed[middle], owed) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const CatalogOwed *
catalog_owed(const Catalog *catalog, uint64_t store, size_t *n)
{
	CatalogOwed first = {.store = store};
	size_t		begin = catalog_owed_place(catalog, &first);
	size_t		end = begin;

	while (end < catalog->nowed && catalog->owed[end].store == store)
		end++;
	*n = end - begin;
	return catalog->owed + begin;
}

CatalogDriver *
catalog_driver(Catalog *catalog, uint64_t id)
{
	for (size_t i = 0; i < catalog->ndrivers; i++)
		if (catalog->drivers[i]->id == id)
			return catalog->drivers[i];
	return NULL;
}

CatalogGone *
catalog_gone(Catalog *catalog, uint64_t id, const VtId *data_id)
{
	for (size_t i = 0; i < catalog->ngone; i++)
		if (catalog->gone[i]->id == id || (data_id && vt_id_equal(&catalog->gone[i]->data_id, data_id)))
			return catalog->gone[i];
	return NULL;
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
	size_t		at = places_collection(catalog, generation);

	return at != SIZE_MAX ? catalog->collections[at] : NULL;
}

/* -- Applying -------------------------------------------------------------- */

/*
 * The leader had this digest when it had applied what we have.  Its command is
 * the only one on its way, so nothing came in between.
 */
static VtStatus
check_digest(Catalog *catalog, Bytes value, uint64_t index, VtError *err)
{
	Cursor		c = cursor_of(value);
	uint8_t		format = cursor_u8(&c);
	uint64_t	theirs = cursor_u64(&c);
	uint64_t	ours;

	if (!cursor_done(&c) || format != PD_ROW_FORMAT)
		return vt_fail(err, VT_VERSION, "a digest of the catalog has a format this program does not know");
	if (index <= catalog->unsure_to || vt_broken("PD-digest"))
		return VT_OK;
	ours = catalog_digest(catalog);
	if (ours == theirs)
	{
		catalog->agreed_at = index;
		return VT_OK;
	}
	return vt_fail(err, VT_CORRUPT, "the catalog differs from its leader's at entry %" PRIu64
				   ": digest %016" PRIx64 " here, %016" PRIx64 " there", index, ours, theirs);
}

VtStatus
catalog_check_level(const Catalog *catalog, VtError *err)
{
	return vt_level_check("this placement driver", VT_LEVEL_LOW, vt_level_high(), catalog_level(catalog), err);
}

/*
 * One command: every row into the batch and into memory.  One that was decided in
 * another term than it was proposed in is refused: another leader may have changed
 * in between what it was decided on.
 */
static VtStatus
apply_command(Catalog *catalog, StoreBatch *batch, ReplicaCommand *command, VtError *err)
{
	Cursor		c = cursor_of(command->bytes);
	uint8_t		format = cursor_u8(&c);
	uint64_t	term = format == PD_COMMAND_TERMLESS ? command->term : cursor_u64(&c);

	if (format != PD_COMMAND_FORMAT && format != PD_COMMAND_TERMLESS)
		return vt_fail(err, VT_VERSION, "a catalog command has format %u, this program knows %u",
					   format, PD_COMMAND_FORMAT);
	if (!c.failed && term != command->term && !vt_broken("PD-term"))
	{
		command->status = VT_NOT_LEADER;
		return VT_OK;
	}
	while (!c.failed && !cursor_done(&c))
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);

		if (!c.failed && key.len == 1 && key.data[0] == 'h')
		{
			VtStatus	status = check_digest(catalog, value, command->index, err);

			if (status != VT_OK)
				return status;
			continue;
		}
		if (c.failed || !catalog_take_row(catalog, key, value))
			return vt_fail(err, VT_VERSION, "a catalog command holds a row this program does not know");
		if (value.len > 0)
			store_batch_put(batch, key, value);
		else
			store_batch_delete(batch, key);
	}
	if (!c.failed && catalog_check_level(catalog, err) != VT_OK)
		return VT_VERSION;
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
		status = apply_command(catalog, batch, &commands[i], err);
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

	/* A snapshot put in place meanwhile would be ahead of what is written here. */
	pthread_mutex_lock(&catalog->files_lock);
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
	pthread_mutex_lock(&catalog->lock);
	put_le64(number, catalog->applied);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	if (*index >= catalog->unsure_to)
		store_batch_delete(batch, bytes_of("w", 1));
	if (status == VT_OK)
		status = store_write(catalog->rows, batch, true, err);
	if (status == VT_OK)
		store_note_whole(catalog->rows);
	pthread_mutex_unlock(&catalog->lock);
	pthread_mutex_unlock(&catalog->files_lock);
	buf_free(&value);
	store_batch_free(batch);
	return status;
}

ReplicaMachine
catalog_machine(Catalog *catalog)
{
	ReplicaMachine machine = {
		.apply = machine_apply, .checkpoint = machine_checkpoint,
		.snapshot_open = transfer_open, .snapshot_read = transfer_read,
		.snapshot_close = transfer_close, .stage = transfer_stage, .install = transfer_install,
		.state = catalog
	};

	return machine;
}

/* A number under a key of one byte; 0 when there is none. */
static VtStatus
get_number(Store *rows, const char *key, uint64_t *out, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(rows, bytes_of(key, 1), &value, err);

	*out = 0;
	if (status == VT_OK && value.len == 8)
		*out = get_le64(value.data);
	else if (status == VT_OK)
		status = vt_fail(err, VT_CORRUPT, "key \"%s\" of the catalog is damaged", key);
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

/* Remember, before anything is applied, how far rows may have survived. */
static VtStatus
note_unsure(Catalog *catalog, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	uint8_t		number[8];
	VtStatus	status;

	put_le64(number, catalog->unsure_to);
	store_batch_put(batch, bytes_of("w", 1), bytes_of(number, sizeof(number)));
	status = store_write(catalog->rows, batch, true, err);
	store_batch_free(batch);
	return status;
}

/*
 * Where replay begins: at the visible applied index if the machine has not
 * rebooted since the checkpoint marker and nothing is damaged, else at the checkpoint (law S2).
 */
static VtStatus
replay_from(Catalog *catalog, uint64_t *out, VtError *err)
{
	Buf			value = {0};
	VtId		boot = store_boot_id();
	uint64_t	checkpoint = 0;
	uint64_t	visible = 0;
	bool		believed = false;
	bool		went_on = false;
	VtStatus	status = store_get(catalog->rows, bytes_of("k", 1), &value, err);

	*out = 0;
	if (status == VT_OK)
	{
		Cursor		c = cursor_of(buf_bytes(&value));
		VtId		then;

		checkpoint = cursor_u64(&c);
		then = cursor_id(&c);
		if (!cursor_done(&c))
			status = vt_fail(err, VT_CORRUPT, "the checkpoint marker of the catalog is damaged");
		went_on = vt_id_equal(&boot, &then) && !vt_id_is_zero(&boot);
		believed = went_on && !store_is_torn(catalog->rows);
	}
	buf_free(&value);
	if (status == VT_OK || status == VT_NOT_FOUND)
		status = get_number(catalog->rows, "a", &visible, err);
	if (status == VT_OK)
		status = get_number(catalog->rows, "w", &catalog->unsure_to, err);
	if (store_is_torn(catalog->rows))
		log_write(went_on ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
				  "what was written last into the catalog %s: it is applied again from entry %" PRIu64 " on",
				  went_on ? "is damaged on disk, though the machine went on" : "did not outlive the machine's restart", checkpoint);
	*out = believed ? visible : checkpoint;
	if (status != VT_OK || believed || visible <= checkpoint || visible <= catalog->unsure_to)
		return status;
	catalog->unsure_to = visible;
	return note_unsure(catalog, err);
}

VtStatus
catalog_open(Store *rows, Catalog **out, uint64_t *applied, VtError *err)
{
	Catalog    *catalog = vt_alloc0(sizeof(Catalog));
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	VtStatus	status;

	catalog->rows = rows;
	pthread_mutex_init(&catalog->lock, NULL);
	pthread_mutex_init(&catalog->files_lock, NULL);
	status = replay_from(catalog, applied, err);
	catalog->applied = *applied;
	iter = store_iter_open(rows, bytes_of("", 0), bytes_of("\xff", 1));
	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		if (key.len == 1 && strchr("akw", key.data[0]))
			continue;
		if (!catalog_is_row(key) || !catalog_take_row(catalog, key, value))
			status = vt_fail(err, VT_CORRUPT, "a row of the catalog is damaged or of a newer version");
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	if (status == VT_OK)
		status = catalog_check_level(catalog, err);
	if (status != VT_OK)
	{
		catalog_close(catalog);
		return status;
	}
	*out = catalog;
	return VT_OK;
}

void
catalog_clear(Catalog *catalog)
{
	places_free(catalog);
	for (size_t i = 0; i < catalog->ndrivers; i++)
		free(catalog->drivers[i]);
	for (size_t i = 0; i < catalog->nstores; i++)
		free(catalog->stores[i]);
	for (size_t i = 0; i < catalog->ngone; i++)
		free(catalog->gone[i]);
	for (size_t i = 0; i < catalog->nleases; i++)
		free(catalog->leases[i]);
	for (size_t i = 0; i < catalog->ncollections; i++)
		catalog_collection_free(catalog->collections[i]);
	free(catalog->drivers);
	free(catalog->stores);
	free(catalog->gone);
	free(catalog->leases);
	free(catalog->collections);
	free(catalog->owed);
	catalog->drivers = NULL;
	catalog->stores = NULL;
	catalog->gone = NULL;
	catalog->leases = NULL;
	catalog->collections = NULL;
	catalog->owed = NULL;
	catalog->nowed = 0;
	catalog->level = 0;
	catalog->lived_us = 0;
	catalog->ndrivers = catalog->nstores = catalog->ngone = catalog->nleases = catalog->ncollections = 0;
	memset(&catalog->meta, 0, sizeof(catalog->meta));
}

void
catalog_close(Catalog *catalog)
{
	if (!catalog)
		return;
	if (catalog->incoming)
		catalog_clear(catalog->incoming);
	free(catalog->incoming);
	catalog_clear(catalog);
	pthread_mutex_destroy(&catalog->lock);
	pthread_mutex_destroy(&catalog->files_lock);
	free(catalog);
}
