/*-------------------------------------------------------------------------
 *
 * shard_store.c
 *	  The LevelDB half of store.h in memory; see shard_store.h for what it loses.
 *
 * Each store keeps two images, sorted by key: what is visible, and what is
 * durable in tables.  Batches since then are kept one by one, with the log they
 * lie in.  Stores live on, by path, after they are closed.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One in so many writes fills a log. */
#define ROTATE_ONE_IN 6

typedef struct Row
{
	Buf			key;
	Buf			value;
} Row;

typedef struct Image
{
	Row		   *rows;
	size_t		n;
	size_t		size;
} Image;

typedef struct Op
{
	Buf			key;
	Buf			value;
	bool		put;			/* else delete */
} Op;

struct StoreBatch
{
	Op		   *ops;
	size_t		n;
	uint32_t	log;
	bool		synced;
};

struct Store
{
	Store	   *next;
	char		path[64];
	Image		visible;
	Image		durable;
	StoreBatch *batches;		/* since the durable image, in order */
	size_t		n;
	size_t		size;
	uint32_t	log;
};

struct StoreIter
{
	Image		image;
	size_t		at;
};

static Store *stores;
static VtId boot_id;
static Prng *prng;
static uint64_t lost;

/* -- Images --------------------------------------------------------------------- */

static void
row_free(Row *row)
{
	buf_free(&row->key);
	buf_free(&row->value);
}

static void
image_free(Image *image)
{
	for (size_t i = 0; i < image->n; i++)
		row_free(&image->rows[i]);
	free(image->rows);
	memset(image, 0, sizeof(*image));
}

/* The first row whose key is not before. */
static size_t
image_find(const Image *image, Bytes key)
{
	size_t		low = 0;
	size_t		high = image->n;

	while (low < high)
	{
		size_t		middle = (low + high) / 2;

		if (bytes_compare(buf_bytes(&image->rows[middle].key), key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
image_has(const Image *image, size_t at, Bytes key)
{
	return at < image->n && bytes_equal(buf_bytes(&image->rows[at].key), key);
}

static void
image_put(Image *image, Bytes key, Bytes value)
{
	size_t		at = image_find(image, key);
	Row		   *row;

	if (!image_has(image, at, key))
	{
		if (image->n == image->size)
		{
			image->size = image->size ? image->size * 2 : 16;
			image->rows = vt_realloc(image->rows, image->size * sizeof(Row));
		}
		memmove(&image->rows[at + 1], &image->rows[at], (image->n - at) * sizeof(Row));
		image->n++;
		memset(&image->rows[at], 0, sizeof(Row));
		buf_put(&image->rows[at].key, key.data, key.len);
	}
	row = &image->rows[at];
	buf_clear(&row->value);
	buf_put(&row->value, value.data, value.len);
}

static void
image_delete(Image *image, Bytes key)
{
	size_t		at = image_find(image, key);

	if (!image_has(image, at, key))
		return;
	row_free(&image->rows[at]);
	image->n--;
	memmove(&image->rows[at], &image->rows[at + 1], (image->n - at) * sizeof(Row));
}

static void
image_apply(Image *image, const StoreBatch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		if (batch->ops[i].put)
			image_put(image, buf_bytes(&batch->ops[i].key), buf_bytes(&batch->ops[i].value));
		else
			image_delete(image, buf_bytes(&batch->ops[i].key));
}

/* -- Batches -------------------------------------------------------------------- */

StoreBatch *
store_batch_new(void)
{
	return vt_alloc0(sizeof(StoreBatch));
}

void
store_batch_clear(StoreBatch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
	{
		buf_free(&batch->ops[i].key);
		buf_free(&batch->ops[i].value);
	}
	free(batch->ops);
	batch->ops = NULL;
	batch->n = 0;
}

void
store_batch_free(StoreBatch *batch)
{
	if (!batch)
		return;
	store_batch_clear(batch);
	free(batch);
}

static Op *
add_op(StoreBatch *batch, Bytes key)
{
	Op		   *op;

	batch->ops = vt_realloc(batch->ops, (batch->n + 1) * sizeof(Op));
	op = &batch->ops[batch->n++];
	memset(op, 0, sizeof(*op));
	buf_put(&op->key, key.data, key.len);
	return op;
}

void
store_batch_put(StoreBatch *batch, Bytes key, Bytes value)
{
	Op		   *op = add_op(batch, key);

	op->put = true;
	buf_put(&op->value, value.data, value.len);
}

void
store_batch_delete(StoreBatch *batch, Bytes key)
{
	(void) add_op(batch, key);
}

/* -- Stores ---------------------------------------------------------------------- */

static Store *
find_store(const char *path)
{
	Store	   *store = stores;

	while (store && strcmp(store->path, path) != 0)
		store = store->next;
	return store;
}

VtStatus
store_open(const char *path, const StoreOptions *options, Store **out, VtError *err)
{
	Store	   *store = find_store(path);

	if (!store)
	{
		if (options->must_exist)
			return vt_fail(err, VT_IO, "no store \"%s\"", path);
		store = vt_alloc0(sizeof(Store));
		snprintf(store->path, sizeof(store->path), "%s", path);
		store->next = stores;
		stores = store;
	}
	*out = store;
	return VT_OK;
}

const char *
store_path(const Store *store)
{
	return store->path;
}

void
store_close(Store *store)
{
	(void) store;
}

VtStatus
store_destroy(const char *path, VtError *err)
{
	(void) err;
	model_store_forget(path);
	return VT_OK;
}

bool
store_failed(const Store *store)
{
	(void) store;
	return false;
}

uint64_t
store_memory(Store *store)
{
	(void) store;
	return 0;
}

bool
store_is_torn(const Store *store)
{
	(void) store;
	return false;
}

void
store_note_whole(Store *store)
{
	(void) store;
}

VtId
store_boot_id(void)
{
	return boot_id;
}

VtStatus
store_get(Store *store, Bytes key, Buf *value, VtError *err)
{
	size_t		at = image_find(&store->visible, key);

	(void) err;
	if (!image_has(&store->visible, at, key))
		return VT_NOT_FOUND;
	buf_clear(value);
	buf_put(value, store->visible.rows[at].value.data, store->visible.rows[at].value.len);
	return VT_OK;
}

/* The n oldest batches are in tables now. */
static void
settle_batches(Store *store, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		image_apply(&store->durable, &store->batches[i]);
		store_batch_clear(&store->batches[i]);
	}
	store->n -= n;
	if (store->n > 0)
		memmove(store->batches, store->batches + n, store->n * sizeof(StoreBatch));
}

VtStatus
store_write(Store *store, StoreBatch *batch, bool sync, VtError *err)
{
	StoreBatch *kept;

	(void) err;
	if (prng_below(prng, ROTATE_ONE_IN) == 0)
		store->log++;
	image_apply(&store->visible, batch);
	if (store->n == store->size)
	{
		store->size = store->size ? store->size * 2 : 16;
		store->batches = vt_realloc(store->batches, store->size * sizeof(StoreBatch));
	}
	kept = &store->batches[store->n++];
	memset(kept, 0, sizeof(*kept));
	kept->log = store->log;
	for (size_t i = 0; i < batch->n; i++)
		if (batch->ops[i].put)
			store_batch_put(kept, buf_bytes(&batch->ops[i].key), buf_bytes(&batch->ops[i].value));
		else
			store_batch_delete(kept, buf_bytes(&batch->ops[i].key));
	for (size_t i = 0; sync && i < store->n; i++)
		if (store->batches[i].log == store->log)
			store->batches[i].synced = true;
	return VT_OK;
}

VtStatus
store_flush(Store *store, VtError *err)
{
	(void) err;
	settle_batches(store, store->n);
	store->log++;
	return VT_OK;
}

/* -- Iterators ---------------------------------------------------------------------- */

StoreIter *
store_iter_open(Store *store, Bytes first, Bytes after)
{
	StoreIter  *iter = vt_alloc0(sizeof(StoreIter));

	for (size_t i = image_find(&store->visible, first);
		 i < store->visible.n && bytes_compare(buf_bytes(&store->visible.rows[i].key), after) < 0; i++)
		image_put(&iter->image, buf_bytes(&store->visible.rows[i].key),
				  buf_bytes(&store->visible.rows[i].value));
	return iter;
}

bool
store_iter_next(StoreIter *iter, Bytes *key, Bytes *value)
{
	if (iter->at == iter->image.n)
		return false;
	*key = buf_bytes(&iter->image.rows[iter->at].key);
	*value = buf_bytes(&iter->image.rows[iter->at++].value);
	return true;
}

VtStatus
store_iter_status(StoreIter *iter, VtError *err)
{
	(void) iter;
	(void) err;
	return VT_OK;
}

void
store_iter_close(StoreIter *iter)
{
	if (!iter)
		return;
	image_free(&iter->image);
	free(iter);
}

/* -- What the world does ------------------------------------------------------------- */

void
model_store_enter(uint64_t boot, Prng *chances)
{
	memset(&boot_id, 0, sizeof(boot_id));
	put_le64(boot_id.b, boot);
	boot_id.b[15] = 1;
	prng = chances;
}

void
model_store_lose_power(const char *path, Prng *chances, bool harsh)
{
	Store	   *store = find_store(path);
	uint32_t	log = UINT32_MAX;
	bool		gone = false;

	if (!store)
		return;
	/* Of each log a first part stays; after a batch that is lost all of it is. */
	for (size_t i = 0; i < store->n; i++)
	{
		StoreBatch *batch = &store->batches[i];

		if (batch->log != log)
			gone = false;
		log = batch->log;
		if (!batch->synced && prng_below(chances, harsh ? 2 : 3) == 0)
			gone = true;
		if (batch->synced || !gone)
			image_apply(&store->durable, batch);
		else
			lost++;
		if (harsh)
			gone = false;
		store_batch_clear(batch);
	}
	store->n = 0;
	store->log++;
	image_free(&store->visible);
	for (size_t i = 0; i < store->durable.n; i++)
		image_put(&store->visible, buf_bytes(&store->durable.rows[i].key),
				  buf_bytes(&store->durable.rows[i].value));
}

void
model_store_compact(const char *path)
{
	Store	   *store = find_store(path);
	size_t		n = 0;

	if (!store || store->n == 0 || store->batches[0].log == store->log)
		return;
	while (n < store->n && store->batches[n].log == store->batches[0].log)
		n++;
	settle_batches(store, n);
}

Buf
model_store_read(const char *path, Bytes first, Bytes after)
{
	Store	   *store = find_store(path);
	Buf			out = {0};

	for (size_t i = 0; store && i < store->visible.n; i++)
	{
		const Row  *row = &store->visible.rows[i];

		if (bytes_compare(buf_bytes(&row->key), first) < 0 || bytes_compare(buf_bytes(&row->key), after) >= 0)
			continue;
		buf_put_string(&out, buf_bytes(&row->key));
		buf_put_string(&out, buf_bytes(&row->value));
	}
	return out;
}

bool
model_store_exists(const char *path)
{
	return find_store(path) != NULL;
}

void
model_store_forget(const char *path)
{
	for (Store **link = &stores; *link; link = &(*link)->next)
		if (strcmp((*link)->path, path) == 0)
		{
			Store	   *store = *link;

			*link = store->next;
			for (size_t i = 0; i < store->n; i++)
				store_batch_clear(&store->batches[i]);
			free(store->batches);
			image_free(&store->visible);
			image_free(&store->durable);
			free(store);
			return;
		}
}

void
model_store_replace(const char *path, Bytes rows)
{
	StoreOptions options = {0};
	Cursor		c = cursor_of(rows);
	Store	   *store;

	model_store_forget(path);
	(void) store_open(path, &options, &store, NULL);
	while (cursor_left(&c) > 0)
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);

		image_put(&store->visible, key, value);
		image_put(&store->durable, key, value);
	}
}

uint64_t
model_store_lost(void)
{
	return lost;
}

void
model_store_reset(void)
{
	while (stores)
		model_store_forget(stores->path);
}
