/*-------------------------------------------------------------------------
 *
 * store_model.h
 *	  The LevelDB half of store.h as a model in memory that can lose power.
 *
 * A test program that includes this file links it in place of LevelDB.  Every
 * batch is kept in order.  A synced batch is durable by itself; the others
 * become durable with model_flush().  A power loss (model_lose_power) keeps
 * what is durable and any subset of the rest, at the choice of a seed: more
 * than LevelDB 1.23 can do to us, which loses the tails of its logs.
 *
 * Stores live on, by path, after they are closed, like directories.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STORE_MODEL_H
#define STORE_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "base/prng.h"
#include "store/store.h"

#define MODEL_STORES 16

typedef struct ModelOp
{
	Buf			key;
	Buf			value;
	bool		put;			/* else delete */
} ModelOp;

struct StoreBatch
{
	ModelOp    *ops;
	size_t		n;
	bool		durable;
};

struct Store
{
	char		path[256];
	bool		exists;
	StoreBatch *batches;		/* all there ever were and survived, in order */
	size_t		n;
	size_t		room;
};

/* A snapshot: sorted copies of what is there. */
struct StoreIter
{
	ModelOp    *rows;
	size_t		n;
	size_t		at;
};

static Store model_stores[MODEL_STORES];
static VtId model_boot = {{1}};
static void (*model_flushed) (void);	/* called once after the next flush; NULL = nobody is */

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
	return model_boot;
}

static void
op_free(ModelOp *op)
{
	buf_free(&op->key);
	buf_free(&op->value);
}

static void
ops_copy(StoreBatch *to, const StoreBatch *from)
{
	to->n = from->n;
	to->ops = vt_alloc0(sizeof(ModelOp) * (from->n + 1));
	for (size_t i = 0; i < from->n; i++)
	{
		to->ops[i].put = from->ops[i].put;
		buf_put(&to->ops[i].key, from->ops[i].key.data, from->ops[i].key.len);
		buf_put(&to->ops[i].value, from->ops[i].value.data, from->ops[i].value.len);
	}
}

static void
ops_free(StoreBatch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		op_free(&batch->ops[i]);
	free(batch->ops);
	batch->ops = NULL;
	batch->n = 0;
}

VtStatus
store_open(const char *path, const StoreOptions *options, Store **out, VtError *err)
{
	Store	   *unused = NULL;

	for (size_t i = 0; i < MODEL_STORES; i++)
	{
		if (model_stores[i].exists && strcmp(model_stores[i].path, path) == 0)
		{
			*out = &model_stores[i];
			return VT_OK;
		}
		if (!model_stores[i].exists && !unused)
			unused = &model_stores[i];
	}
	if (options->must_exist || !unused)
		return vt_fail(err, VT_IO, "no store \"%s\"", path);
	snprintf(unused->path, sizeof(unused->path), "%s", path);
	unused->exists = true;
	*out = unused;
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
	for (size_t i = 0; i < MODEL_STORES; i++)
		if (model_stores[i].exists && strcmp(model_stores[i].path, path) == 0)
		{
			for (size_t b = 0; b < model_stores[i].n; b++)
				ops_free(&model_stores[i].batches[b]);
			free(model_stores[i].batches);
			memset(&model_stores[i], 0, sizeof(Store));
		}
	return VT_OK;
}

bool
store_failed(const Store *store)
{
	(void) store;
	return false;
}

/* What a key holds now; NULL = nothing. */
static const ModelOp *
model_find(const Store *store, Bytes key)
{
	for (size_t b = store->n; b-- > 0;)
		for (size_t i = store->batches[b].n; i-- > 0;)
			if (bytes_equal(buf_bytes(&store->batches[b].ops[i].key), key))
				return store->batches[b].ops[i].put ? &store->batches[b].ops[i] : NULL;
	return NULL;
}

VtStatus
store_get(Store *store, Bytes key, Buf *value, VtError *err)
{
	const ModelOp *op = model_find(store, key);

	(void) err;
	if (!op)
		return VT_NOT_FOUND;
	buf_clear(value);
	buf_put(value, op->value.data, op->value.len);
	return VT_OK;
}

StoreBatch *
store_batch_new(void)
{
	return vt_alloc0(sizeof(StoreBatch));
}

void
store_batch_free(StoreBatch *batch)
{
	if (!batch)
		return;
	ops_free(batch);
	free(batch);
}

void
store_batch_clear(StoreBatch *batch)
{
	ops_free(batch);
}

static ModelOp *
batch_add(StoreBatch *batch, Bytes key)
{
	ModelOp    *op;

	batch->ops = vt_realloc(batch->ops, sizeof(ModelOp) * (batch->n + 1));
	op = &batch->ops[batch->n++];
	memset(op, 0, sizeof(*op));
	buf_put(&op->key, key.data, key.len);
	return op;
}

void
store_batch_put(StoreBatch *batch, Bytes key, Bytes value)
{
	ModelOp    *op = batch_add(batch, key);

	op->put = true;
	buf_put(&op->value, value.data, value.len);
}

void
store_batch_delete(StoreBatch *batch, Bytes key)
{
	batch_add(batch, key);
}

VtStatus
store_write(Store *store, StoreBatch *batch, bool sync, VtError *err)
{
	(void) err;
	if (store->n == store->room)
	{
		store->room = store->room ? store->room * 2 : 64;
		store->batches = vt_realloc(store->batches, sizeof(StoreBatch) * store->room);
	}
	ops_copy(&store->batches[store->n], batch);
	store->batches[store->n++].durable = sync;
	return VT_OK;
}

VtStatus
store_flush(Store *store, VtError *err)
{
	(void) err;
	for (size_t i = 0; i < store->n; i++)
		store->batches[i].durable = true;
	if (model_flushed)
	{
		void		(*flushed) (void) = model_flushed;

		model_flushed = NULL;
		flushed();
	}
	return VT_OK;
}

static int
row_compare(const void *a, const void *b)
{
	return bytes_compare(buf_bytes(&((const ModelOp *) a)->key), buf_bytes(&((const ModelOp *) b)->key));
}

StoreIter *
store_iter_open(Store *store, Bytes first, Bytes after)
{
	StoreIter  *iter = vt_alloc0(sizeof(StoreIter));

	for (size_t b = 0; b < store->n; b++)
		for (size_t i = 0; i < store->batches[b].n; i++)
		{
			const ModelOp *op = &store->batches[b].ops[i];
			Bytes		key = buf_bytes(&op->key);
			ModelOp    *row;

			if (bytes_compare(key, first) < 0 || bytes_compare(key, after) >= 0 || model_find(store, key) != op)
				continue;
			iter->rows = vt_realloc(iter->rows, sizeof(ModelOp) * (iter->n + 1));
			row = &iter->rows[iter->n++];
			memset(row, 0, sizeof(*row));
			buf_put(&row->key, op->key.data, op->key.len);
			buf_put(&row->value, op->value.data, op->value.len);
		}
	if (iter->n)
		qsort(iter->rows, iter->n, sizeof(ModelOp), row_compare);
	return iter;
}

bool
store_iter_next(StoreIter *iter, Bytes *key, Bytes *value)
{
	if (iter->at == iter->n)
		return false;
	*key = buf_bytes(&iter->rows[iter->at].key);
	*value = buf_bytes(&iter->rows[iter->at++].value);
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
	for (size_t i = 0; i < iter->n; i++)
		op_free(&iter->rows[i]);
	free(iter->rows);
	free(iter);
}

/*
 * The machine goes down and comes up again: of what was not durable each batch
 * survives with probability keep / 8.
 */
static inline void
model_lose_power(const char *path, Prng *prng, uint32_t keep)
{
	model_boot.b[1]++;
	for (size_t s = 0; s < MODEL_STORES; s++)
	{
		Store	   *store = &model_stores[s];
		size_t		n = 0;

		if (!store->exists || strcmp(store->path, path) != 0)
			continue;
		for (size_t i = 0; i < store->n; i++)
		{
			if (store->batches[i].durable || prng_below(prng, 8) < keep)
			{
				store->batches[n] = store->batches[i];
				store->batches[n++].durable = true;
			}
			else
				ops_free(&store->batches[i]);
		}
		store->n = n;
	}
}

/* The same, but of what was not durable only the newest batch survives, beyond a hole. */
static inline void
model_lose_all_but_newest(const char *path)
{
	for (size_t s = 0; s < MODEL_STORES; s++)
		if (model_stores[s].exists && strcmp(model_stores[s].path, path) == 0)
			model_stores[s].batches[model_stores[s].n - 1].durable = true;
	model_lose_power(path, &(Prng) {1}, 0);
}

#endif							/* STORE_MODEL_H */
