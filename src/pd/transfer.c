/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  The catalog to and from other drivers.
 *
 * A snapshot is all rows, from one LevelDB snapshot taken between two commands.
 * Chunks are pairs of strings, key and value, one after the other.
 *
 * What comes in is kept beside the rows in force, under `t` and the row's key;
 * the key `u` names the stream when all of it is there and durable.  Putting it
 * in place is one batch: the old rows go, the new ones come, applied index and
 * checkpoint stand where the snapshot does.  The Raft log names the stream as its
 * base before that, so a start can tell whether the batch is still to be written.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog.h"

#include <stdlib.h>

/* -- Out ------------------------------------------------------------------- */

VtStatus
transfer_open(void *state, void **stream, uint64_t *index, VtError *err)
{
	Catalog    *catalog = (Catalog *) state;
	VtStatus	status = VT_OK;

	pthread_mutex_lock(&catalog->lock);
	if (catalog->applied < catalog->unsure_to)
		status = vt_fail(err, VT_BUSY, "the catalog is still being replayed here");
	else
		*stream = store_iter_open(catalog->rows, bytes_of("M", 1), bytes_of("t", 1));
	*index = catalog->applied;
	pthread_mutex_unlock(&catalog->lock);
	return status;
}

VtStatus
transfer_read(void *stream, size_t bytes, Buf *out, bool *last, VtError *err)
{
	StoreIter  *iter = (StoreIter *) stream;
	Bytes		key;
	Bytes		value;

	*last = false;
	while (out->len < bytes)
	{
		if (!store_iter_next(iter, &key, &value))
		{
			*last = true;
			return store_iter_status(iter, err);
		}
		if (!catalog_is_row(key))
			continue;
		buf_put_string(out, key);
		buf_put_string(out, value);
	}
	return VT_OK;
}

void
transfer_close(void *stream)
{
	store_iter_close((StoreIter *) stream);
}

/* -- In -------------------------------------------------------------------- */

/* Take away whatever is staged. */
static VtStatus
unstage(Store *rows, StoreBatch *batch, VtError *err)
{
	StoreIter  *iter = store_iter_open(rows, bytes_of("t", 1), bytes_of("v", 1));
	Bytes		key;
	Bytes		value;
	VtStatus	status;

	while (store_iter_next(iter, &key, &value))
		store_batch_delete(batch, key);
	status = store_iter_status(iter, err);
	store_iter_close(iter);
	return status;
}

/* The first chunk of a stream: whatever else was staged gives way. */
static VtStatus
stage_begin(Catalog *catalog, uint64_t stream, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	VtStatus	status = unstage(catalog->rows, batch, err);

	if (status == VT_OK)
		status = store_write(catalog->rows, batch, false, err);
	store_batch_free(batch);
	if (status != VT_OK)
		return status;
	if (!catalog->incoming)
		catalog->incoming = vt_alloc0(sizeof(Catalog));
	catalog_clear(catalog->incoming);
	catalog->staged_stream = stream;
	catalog->staged_next = 0;
	catalog->staged_whole = false;
	return VT_OK;
}

static VtStatus
stage_rows(Catalog *catalog, Bytes data, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	Buf			staged = {0};
	Cursor		c = cursor_of(data);
	VtStatus	status = VT_OK;

	while (status == VT_OK && cursor_left(&c) > 0)
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);

		if (c.failed)
			status = vt_fail(err, VT_PROTOCOL, "a chunk of a snapshot is malformed");
		else if (!catalog_is_row(key) || value.len == 0 || !catalog_take_row(catalog->incoming, key, value))
			status = vt_fail(err, VT_VERSION, "a snapshot has a row this program does not know");
		buf_clear(&staged);
		buf_put_u8(&staged, 't');
		buf_put(&staged, key.data, key.len);
		store_batch_put(batch, buf_bytes(&staged), value);
	}
	if (status == VT_OK)
		status = store_write(catalog->rows, batch, false, err);
	buf_free(&staged);
	store_batch_free(batch);
	return status;
}

/* All is there: durable first (law S2), then the word that it is. */
static VtStatus
stage_end(Catalog *catalog, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	uint8_t		number[8];
	VtStatus	status = store_flush(catalog->rows, err);

	put_le64(number, catalog->staged_stream);
	store_batch_put(batch, bytes_of("u", 1), bytes_of(number, sizeof(number)));
	if (status == VT_OK)
		status = store_write(catalog->rows, batch, true, err);
	store_batch_free(batch);
	catalog->staged_whole = status == VT_OK;
	return status;
}

/* A write that fails here is the catalog's own: the next command stops the process (S4). */
VtStatus
transfer_stage(void *state, const WireChunk *chunk, uint32_t *next, VtError *err)
{
	Catalog    *catalog = (Catalog *) state;
	VtStatus	status = VT_OK;

	if (chunk->seq == 0 && chunk->stream != catalog->staged_stream)
		status = stage_begin(catalog, chunk->stream, err);
	if (status != VT_OK)
		return status;			/* what is wanted next is of no stream */
	if (chunk->stream != catalog->staged_stream)
		return vt_fail(err, VT_LEASE_GONE, "another snapshot came in between");
	if (chunk->seq == catalog->staged_next && !catalog->staged_whole)
	{
		status = stage_rows(catalog, chunk->data, err);
		if (status == VT_OK && chunk->last)
			status = stage_end(catalog, err);
		if (status == VT_OK)
			catalog->staged_next++;
		else
			catalog->staged_stream = 0;	/* rows of it may be in memory: it begins anew */
	}
	*next = catalog->staged_next;
	return status;
}

/* -- Putting it in place --------------------------------------------------- */

static VtStatus
put_in_place(Store *rows, uint64_t index, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	StoreIter  *iter = store_iter_open(rows, bytes_of("M", 1), bytes_of("v", 1));
	VtId		boot = store_boot_id();
	Buf			mark = {0};
	uint8_t		number[8];
	Bytes		key;
	Bytes		value;
	VtStatus	status;

	/* In order of their keys: the rows in force come before those staged. */
	while (store_iter_next(iter, &key, &value))
	{
		if (catalog_is_row(key) || key.data[0] == 't' || key.data[0] == 'u')
			store_batch_delete(batch, key);
		if (key.data[0] == 't')
			store_batch_put(batch, bytes_of(key.data + 1, key.len - 1), value);
	}
	status = store_iter_status(iter, err);
	store_iter_close(iter);
	put_le64(number, index);
	buf_put_u64(&mark, index);
	buf_put_id(&mark, &boot);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	store_batch_put(batch, bytes_of("k", 1), buf_bytes(&mark));
	store_batch_delete(batch, bytes_of("w", 1));
	if (status == VT_OK)
		status = store_write(rows, batch, true, err);
	buf_free(&mark);
	store_batch_free(batch);
	return status;
}

/* The staged rows take the place of those in memory. */
static void
swap_rows(Catalog *catalog, Catalog *incoming)
{
	catalog_clear(catalog);
	catalog->meta = incoming->meta;
	catalog->drivers = incoming->drivers;
	catalog->ndrivers = incoming->ndrivers;
	catalog->stores = incoming->stores;
	catalog->nstores = incoming->nstores;
	catalog->gone = incoming->gone;
	catalog->ngone = incoming->ngone;
	catalog->leases = incoming->leases;
	catalog->nleases = incoming->nleases;
	catalog->collections = incoming->collections;
	catalog->ncollections = incoming->ncollections;
	catalog->owed = incoming->owed;
	catalog->nowed = incoming->nowed;
	catalog->level = incoming->level;
	catalog->lived_us = incoming->lived_us;
	catalog->places = incoming->places;
	free(incoming);
}

VtStatus
transfer_install(void *state, uint64_t stream, uint64_t index, VtError *err)
{
	Catalog    *catalog = (Catalog *) state;
	VtStatus	status;

	if (catalog->staged_stream != stream || !catalog->staged_whole)
		return vt_fail(err, VT_NOT_FOUND, "the snapshot of the catalog is not staged");
	pthread_mutex_lock(&catalog->files_lock);
	pthread_mutex_lock(&catalog->lock);
	status = catalog_check_level(catalog->incoming, err);
	if (status == VT_OK)
		status = put_in_place(catalog->rows, index, err);
	if (status == VT_OK)
	{
		swap_rows(catalog, catalog->incoming);
		catalog->incoming = NULL;
		catalog->applied = index;
		catalog->unsure_to = 0;
		catalog->staged_stream = 0;
		catalog->staged_whole = false;
	}
	pthread_mutex_unlock(&catalog->lock);
	pthread_mutex_unlock(&catalog->files_lock);
	return status;
}

VtStatus
catalog_finish_install(Store *rows, const RaftSnapshot *base, VtError *err)
{
	StoreBatch *batch;
	Buf			value = {0};
	VtStatus	status = store_get(rows, bytes_of("u", 1), &value, err);
	bool		wanted = status == VT_OK && value.len == 8 && base->id != 0 &&
		get_le64(value.data) == base->id;

	buf_free(&value);
	if (status != VT_OK && status != VT_NOT_FOUND)
		return status;
	if (wanted)
		return put_in_place(rows, base->index, err);
	batch = store_batch_new();
	status = unstage(rows, batch, err);
	if (status == VT_OK)
		status = store_write(rows, batch, false, err);
	store_batch_free(batch);
	return status;
}
