/*-------------------------------------------------------------------------
 *
 * leveldb.c
 *	  The only file that includes LevelDB.
 *
 * Checksums are verified on every read, and at open too (paranoid checks),
 * unless the store says that what a log loses is replayed: without them LevelDB
 * skips damaged log records silently, and so these are looked for before (torn.c).  Compression is off: vectors do not
 * compress and log entries are short-lived.
 *
 * All stores share one block cache, of no size: what lies in a mapped table uncompressed
 * LevelDB never puts there, and a cache of 8 MiB for each of thousands of stores is what
 * it would make by itself (docs/decisions/0013).  So what a store has in memory is its
 * memtables, and LevelDB can say how large these are.  It does so with the lock that it
 * holds while it opens, closes and lists files, which may take long where a disk does.
 * So one thread at a time asks, holding nothing that others want, and only those stores
 * where something may have changed, since there are thousands that rest; all others read
 * what was answered last.
 *
 *-------------------------------------------------------------------------
 */
#include "base/breaks.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <leveldb/c.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "torn.h"

#define TORN "TORN"

struct Store
{
	leveldb_t  *db;
	leveldb_options_t *options;
	leveldb_readoptions_t *read;
	leveldb_writeoptions_t *plain;
	leveldb_writeoptions_t *synced;
	pthread_mutex_t writing;	/* held from a write until failed tells of it */
	atomic_bool failed;
	atomic_bool torn;			/* there is a file that says so */
	size_t		buffer;			/* a memtable is full then */
	atomic_bool changed;		/* since LevelDB was asked for memory: it is to be asked again, or just is */
	atomic_uint_fast64_t memory;
	Store	   *next;			/* among those that are to be asked; all_lock */
	char	   *path;
};

static pthread_mutex_t look_lock = PTHREAD_MUTEX_INITIALIZER;	/* who asks LevelDB; before all_lock */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t looked = PTHREAD_COND_INITIALIZER;
static Store *changed;			/* these four: all_lock.  To be asked, */
static Store *turn;				/* to be asked in this round, */
static Store *asked;			/* and being asked: not to be closed now */
static uint64_t memory_all;
static leveldb_cache_t *no_cache;	/* all_lock */

struct StoreBatch
{
	StoreBatch *next;			/* in idle */
	leveldb_writebatch_t *batch;
	size_t		bytes;			/* about what is in it, */
	size_t		most;			/* and what was at most */
};

/*
 * Batches that nobody needs at the moment: LevelDB grows a new one from nothing, a copy
 * of all there is at each doubling, and most batches are like the last.
 */
#define IDLE_BATCHES 16
#define IDLE_BYTES (256u << 10)	/* one that has grown larger is given back */
#define BATCH_OVERHEAD 16

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static StoreBatch *idle;
static uint32_t nidle;

struct StoreIter
{
	Store	   *store;
	leveldb_iterator_t *it;
	const leveldb_snapshot_t *snapshot;
	leveldb_readoptions_t *read;
	Buf			after;
	bool		started;
};

/* Too many files are open: that says nothing of this store, and must not look like damage. */
static bool
is_limit(const char *words)
{
	return strstr(words, strerror(EMFILE)) || strstr(words, strerror(ENFILE));
}

/* Take LevelDB's words and free them. */
static VtStatus
fail(VtError *err, const Store *store, const char *doing, char *words)
{
	VtStatus	status = strstr(words, "orruption") ? VT_CORRUPT : is_limit(words) ? VT_FULL : VT_IO;

	vt_fail(err, status, "could not %s \"%s\": %s", doing, store->path, words);
	leveldb_free(words);
	return status;
}

/* What all stores share; never freed. */
static leveldb_cache_t *
shared_cache(void)
{
	leveldb_cache_t *cache;

	pthread_mutex_lock(&all_lock);
	if (!no_cache)
		no_cache = leveldb_cache_create_lru(0);
	cache = no_cache;
	pthread_mutex_unlock(&all_lock);
	return cache;
}

/* It may take more or less memory than LevelDB said last. */
static void
note_change(Store *store)
{
	if (atomic_exchange(&store->changed, true))
		return;
	pthread_mutex_lock(&all_lock);
	store->next = changed;
	changed = store;
	pthread_mutex_unlock(&all_lock);
}

static void
take_out(Store **list, const Store *store)
{
	while (*list && *list != store)
		list = &(*list)->next;
	if (*list)
		*list = store->next;
}

static void
delist(Store *store)
{
	pthread_mutex_lock(&all_lock);
	while (asked == store)
		pthread_cond_wait(&looked, &all_lock);
	take_out(&changed, store);
	take_out(&turn, store);
	memory_all -= atomic_load(&store->memory);
	pthread_mutex_unlock(&all_lock);
}

/*
 * Where there is more than one memtable holds, one that is full is being written out,
 * and will be gone though nobody writes.
 */
static void
look(Store *store)
{
	uint64_t	before = atomic_load(&store->memory);
	uint64_t	now = before;
	char	   *words;

	atomic_store(&store->changed, false);
	words = leveldb_property_value(store->db, "leveldb.approximate-memory-usage");
	if (words)
		now = strtoull(words, NULL, 10);
	pthread_mutex_lock(&all_lock);
	atomic_store(&store->memory, now);
	memory_all += now - before;
	pthread_mutex_unlock(&all_lock);
	if (!words || now > store->buffer)
		note_change(store);
	leveldb_free(words);
}

static void
look_at_changed(void)
{
	pthread_mutex_lock(&all_lock);
	turn = changed;
	changed = NULL;
	while ((asked = turn) != NULL)
	{
		turn = asked->next;
		pthread_mutex_unlock(&all_lock);
		look(asked);
		pthread_mutex_lock(&all_lock);
		asked = NULL;
		pthread_cond_broadcast(&looked);
	}
	pthread_mutex_unlock(&all_lock);
}

uint64_t
store_memory(Store *store)
{
	return atomic_load(&store->memory);
}

uint64_t
store_memory_all(void)
{
	uint64_t	sum;

	if (pthread_mutex_trylock(&look_lock) == 0)
	{
		look_at_changed();
		pthread_mutex_unlock(&look_lock);
	}
	pthread_mutex_lock(&all_lock);
	sum = memory_all;
	pthread_mutex_unlock(&all_lock);
	return sum;
}

/*
 * What LevelDB makes of a damaged log looks whole afterwards, so that it is damaged
 * is kept first: in a file, of which LevelDB knows nothing.  It need not outlive the boot.
 */
static char *
torn_path_of(const char *path)
{
	char	   *torn = vt_alloc(strlen(path) + sizeof("/" TORN));

	sprintf(torn, "%s/%s", path, TORN);
	return torn;
}

static VtStatus
look_for_damage(Store *store, VtError *err)
{
	char	   *torn = torn_path_of(store->path);
	VtStatus	status = VT_OK;
	int			fd = -1;

	store->torn = access(torn, F_OK) == 0;
	if (!store->torn && torn_look(store->path))
	{
		fd = open(torn, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			status = vt_fail_errno(err, VT_IO, "could not create \"%s\"", torn);
		else
			close(fd);
		store->torn = true;
	}
	free(torn);
	return status;
}

bool
store_is_torn(const Store *store)
{
	return atomic_load(&store->torn);
}

/* As long as it cannot be removed more is replayed than need be. */
void
store_note_whole(Store *store)
{
	char	   *torn;

	if (!store_is_torn(store))
		return;
	torn = torn_path_of(store->path);
	store->torn = unlink(torn) != 0;
	free(torn);
}

VtStatus
store_open(const char *path, const StoreOptions *options, Store **out, VtError *err)
{
	Store	   *store = vt_alloc0(sizeof(Store));
	VtStatus	status;
	char	   *words = NULL;

	pthread_mutex_init(&store->writing, NULL);
	store->path = vt_strdup(path);
	status = options->replayed ? look_for_damage(store, err) : VT_OK;
	store->options = leveldb_options_create();
	leveldb_options_set_create_if_missing(store->options, !options->must_exist);
	leveldb_options_set_paranoid_checks(store->options, !options->replayed);
	leveldb_options_set_compression(store->options, leveldb_no_compression);
	leveldb_options_set_max_open_files(store->options, 256);
	leveldb_options_set_cache(store->options, shared_cache());
	store->buffer = options->write_buffer ? options->write_buffer : 32 << 20;
	leveldb_options_set_write_buffer_size(store->options, store->buffer);
	store->read = leveldb_readoptions_create();
	leveldb_readoptions_set_verify_checksums(store->read, 1);
	store->plain = leveldb_writeoptions_create();
	store->synced = leveldb_writeoptions_create();
	leveldb_writeoptions_set_sync(store->synced, 1);
	if (status == VT_OK)
		store->db = leveldb_open(store->options, path, &words);
	if (words)
		status = fail(err, store, "open", words);
	if (status != VT_OK)
	{
		store_close(store);
		return status;
	}
	note_change(store);
	*out = store;
	return VT_OK;
}

void
store_close(Store *store)
{
	if (!store)
		return;
	delist(store);
	if (store->db)
		leveldb_close(store->db);
	leveldb_writeoptions_destroy(store->synced);
	leveldb_writeoptions_destroy(store->plain);
	leveldb_readoptions_destroy(store->read);
	leveldb_options_destroy(store->options);
	pthread_mutex_destroy(&store->writing);
	free(store->path);
	free(store);
}

const char *
store_path(const Store *store)
{
	return store->path;
}

VtStatus
store_destroy(const char *path, VtError *err)
{
	leveldb_options_t *options = leveldb_options_create();
	char	   *torn = torn_path_of(path);
	char	   *words = NULL;
	VtStatus	status = VT_OK;

	(void) unlink(torn);		/* LevelDB removes the folder only when there is nothing else in it */
	free(torn);
	leveldb_destroy_db(options, path, &words);
	if (words)
	{
		status = vt_fail(err, VT_IO, "could not remove \"%s\": %s", path, words);
		leveldb_free(words);
	}
	leveldb_options_destroy(options);
	return status;
}

bool
store_failed(const Store *store)
{
	return atomic_load(&store->failed);
}

VtStatus
store_get(Store *store, Bytes key, Buf *value, VtError *err)
{
	char	   *words = NULL;
	size_t		len;
	char	   *got = leveldb_get(store->db, store->read, (const char *) key.data, key.len, &len,
								  &words);

	if (words)
		return fail(err, store, "read from", words);
	if (!got)
		return VT_NOT_FOUND;
	buf_clear(value);
	buf_put(value, got, len);
	leveldb_free(got);
	return VT_OK;
}

StoreBatch *
store_batch_new(void)
{
	StoreBatch *batch;

	pthread_mutex_lock(&idle_lock);
	batch = idle;
	if (batch)
	{
		idle = batch->next;
		nidle--;
	}
	pthread_mutex_unlock(&idle_lock);
	if (batch)
		return batch;
	batch = vt_alloc0(sizeof(StoreBatch));
	batch->batch = leveldb_writebatch_create();
	return batch;
}

void
store_batch_free(StoreBatch *batch)
{
	if (!batch)
		return;
	store_batch_clear(batch);
	if (batch->most <= IDLE_BYTES)
	{
		pthread_mutex_lock(&idle_lock);
		if (nidle < IDLE_BATCHES)
		{
			batch->next = idle;
			idle = batch;
			batch = NULL;
			nidle++;
		}
		pthread_mutex_unlock(&idle_lock);
	}
	if (!batch)
		return;
	leveldb_writebatch_destroy(batch->batch);
	free(batch);
}

void
store_batch_clear(StoreBatch *batch)
{
	if (batch->bytes > batch->most)
		batch->most = batch->bytes;
	batch->bytes = 0;
	leveldb_writebatch_clear(batch->batch);
}

void
store_batch_put(StoreBatch *batch, Bytes key, Bytes value)
{
	batch->bytes += key.len + value.len + BATCH_OVERHEAD;
	leveldb_writebatch_put(batch->batch, (const char *) key.data, key.len,
						   (const char *) value.data, value.len);
}

void
store_batch_delete(StoreBatch *batch, Bytes key)
{
	batch->bytes += key.len + BATCH_OVERHEAD;
	leveldb_writebatch_delete(batch->batch, (const char *) key.data, key.len);
}

void
store_batch_append(StoreBatch *batch, const StoreBatch *more)
{
	batch->bytes += more->bytes;
	leveldb_writebatch_append(batch->batch, more->batch);
}

/*
 * One at a time: a write that waited in LevelDB behind one that failed there would be appended to a log whose
 * framing is broken, and be called written.  LevelDB writes one after the other anyway; what it would
 * put together of several that wait is one writer's batch already.
 */
VtStatus
store_write(Store *store, StoreBatch *batch, bool sync, VtError *err)
{
	char	   *words = NULL;
	VtStatus	status = VT_OK;

	pthread_mutex_lock(&store->writing);
	if (store_failed(store))
	{
		pthread_mutex_unlock(&store->writing);
		return vt_fail(err, VT_IO, "\"%s\" has failed before and takes no more writes", store->path);
	}
	leveldb_write(store->db, sync ? store->synced : store->plain, batch->batch, &words);
	if (words && vt_broken("S4-write"))
		leveldb_free(words);
	else if (words)
	{
		atomic_store(&store->failed, true);
		status = fail(err, store, "write to", words);
	}
	pthread_mutex_unlock(&store->writing);
	note_change(store);
	return status;
}

VtStatus
store_flush(Store *store, VtError *err)
{
	static const char beyond[] = "\xff\xff";

	if (store_failed(store))
		return vt_fail(err, VT_IO, "\"%s\" has failed before", store->path);

	/*
	 * A compaction of an empty range above all keys: LevelDB first writes out
	 * the memtable, waits for it, and syncs table and manifest.
	 */
	leveldb_compact_range(store->db, beyond, 2, beyond, 2);
	note_change(store);
	return VT_OK;
}

StoreIter *
store_iter_open(Store *store, Bytes first, Bytes after)
{
	StoreIter  *iter = vt_alloc0(sizeof(StoreIter));

	iter->store = store;
	iter->snapshot = leveldb_create_snapshot(store->db);
	iter->read = leveldb_readoptions_create();
	leveldb_readoptions_set_verify_checksums(iter->read, 1);
	leveldb_readoptions_set_fill_cache(iter->read, 0);
	leveldb_readoptions_set_snapshot(iter->read, iter->snapshot);
	iter->it = leveldb_create_iterator(store->db, iter->read);
	leveldb_iter_seek(iter->it, (const char *) first.data, first.len);
	buf_put(&iter->after, after.data, after.len);
	return iter;
}

bool
store_iter_next(StoreIter *iter, Bytes *key, Bytes *value)
{
	const char *data;
	size_t		len;

	if (iter->started && leveldb_iter_valid(iter->it))
		leveldb_iter_next(iter->it);
	iter->started = true;
	if (!leveldb_iter_valid(iter->it))
		return false;
	data = leveldb_iter_key(iter->it, &len);
	*key = bytes_of(data, len);
	if (bytes_compare(*key, buf_bytes(&iter->after)) >= 0)
		return false;
	data = leveldb_iter_value(iter->it, &len);
	*value = bytes_of(data, len);
	return true;
}

VtStatus
store_iter_status(StoreIter *iter, VtError *err)
{
	char	   *words = NULL;

	leveldb_iter_get_error(iter->it, &words);
	return words ? fail(err, iter->store, "read from", words) : VT_OK;
}

void
store_iter_close(StoreIter *iter)
{
	if (!iter)
		return;
	leveldb_iter_destroy(iter->it);
	leveldb_readoptions_destroy(iter->read);
	leveldb_release_snapshot(iter->store->db, iter->snapshot);
	buf_free(&iter->after);
	free(iter);
}
