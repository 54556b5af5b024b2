/*-------------------------------------------------------------------------
 *
 * store.h
 *	  LevelDB behind a narrow door, and the shapes of what lies in it.
 *	  docs/disk.md shows every key with an example.
 *
 * Conventions
 *
 * 1. A Store is one LevelDB directory.  All functions may be called from any
 *	  thread; batches and iterators belong to one thread at a time.
 * 2. A failed write marks the store failed for ever: LevelDB 1.23 may lose
 *	  later writes after a failed append without saying so.  The process must
 *	  stop (law S4); store_failed() tells, and every later write refuses.
 * 3. An unsynced write survives the death of the process, not of the machine.
 *	  A synced write makes only the current LevelDB log durable: an older one
 *	  may have been closed unsynced.  store_flush() is what makes everything
 *	  before it durable (law S2).
 * 4. Nothing here knows what a vector is, or Raft's rules.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STORE_H
#define STORE_H

#include "base/bytes.h"

typedef struct Store Store;
typedef struct StoreBatch StoreBatch;
typedef struct StoreIter StoreIter;

typedef struct StoreOptions
{
	size_t		write_buffer;	/* bytes of a memtable at most; 0 = 32 MiB.  Of two, while one is written out */
	bool		must_exist;		/* else created when absent */

	/*
	 * What is not durable here is replayed from elsewhere (rows, from the Raft
	 * log).  Then a damaged end of LevelDB's log, which a power loss leaves, is
	 * dropped, records after it may be kept, and law S3 makes that right; store_is_torn()
	 * tells.  Otherwise it is VT_CORRUPT.
	 */
	bool		replayed;
} StoreOptions;

/* path's parent must exist.  VT_IO, VT_CORRUPT (checksums are on). */
extern VtStatus store_open(const char *path, const StoreOptions *options, Store **out,
						   VtError *err);

/* As it was opened with. */
extern const char *store_path(const Store *store);
extern void store_close(Store *store);	/* NULL is fine */

/* Remove a closed store's files. */
extern VtStatus store_destroy(const char *path, VtError *err);

extern bool store_failed(const Store *store);

/*
 * Is, or was, its log damaged before its end?  Then later batches may be there without
 * earlier ones even in the same boot, and only what a checkpoint made durable is to be believed (law S2).  It
 * says so after any number of restarts, until it is told that what was missing
 * is there and durable.
 */
extern bool store_is_torn(const Store *store);
extern void store_note_whole(Store *store);

/*
 * What it has in memory that is not in its tables yet: its memtables.  They begin with
 * 4 KiB; store_flush() empties them.  As store_memory_all() saw it last, which looks at
 * all stores that are open in this process, and adds up.
 *
 * store_memory() waits for nobody.  store_memory_all() waits as long as a disk takes for
 * a file, so it is called with no lock held; if another thread is looking, it takes what
 * there is.
 */
extern uint64_t store_memory(Store *store);
extern uint64_t store_memory_all(void);

/* Replace *value's content.  VT_NOT_FOUND is no error text. */
extern VtStatus store_get(Store *store, Bytes key, Buf *value, VtError *err);

extern StoreBatch *store_batch_new(void);
extern void store_batch_free(StoreBatch *batch);
extern void store_batch_clear(StoreBatch *batch);
extern void store_batch_put(StoreBatch *batch, Bytes key, Bytes value);
extern void store_batch_delete(StoreBatch *batch, Bytes key);

/* Everything of more behind what is in batch. */
extern void store_batch_append(StoreBatch *batch, const StoreBatch *more);

/* All of a batch or nothing of it; see conventions 2 and 3. */
extern VtStatus store_write(Store *store, StoreBatch *batch, bool sync, VtError *err);

/*
 * Make every write that returned before this call durable: LevelDB writes its
 * memtable to a synced table and a synced manifest.
 */
extern VtStatus store_flush(Store *store, VtError *err);

/*
 * Walk keys first <= key < after in order, over a snapshot taken here.  Views
 * live until the next call.
 */
extern StoreIter *store_iter_open(Store *store, Bytes first, Bytes after);
extern bool store_iter_next(StoreIter *iter, Bytes *key, Bytes *value);
extern VtStatus store_iter_status(StoreIter *iter, VtError *err);
extern void store_iter_close(StoreIter *iter);

/*
 * Data directory of a daemon: a lock against a second process, and an identity
 * that tells a copy (law W7): the file `identity` holds a random id and the
 * inode and birth time it was written under.
 */
typedef struct StoreDirectory
{
	VtId		id;				/* of this directory; never that of a copy */
	int			lock_fd;
} StoreDirectory;

/*
 * Make the directory if absent, lock it, and read or make its identity.
 * VT_BUSY: another process holds it.  VT_DENIED: it is a copy.
 */
extern VtStatus store_directory_open(const char *path, StoreDirectory *out, VtError *err);
extern void store_directory_close(StoreDirectory *directory);

/*
 * The shared Raft log: all groups of a process in one Store.
 *
 *	   H <group>			hard state
 *	   L <group> <index>	an entry
 *	   S <group>			the base of the log: snapshot descriptor
 *	   X <group> <replica>	tombstone: this replica must never speak again
 *
 * Numbers in keys are big-endian.  Values are encoded and sealed with a
 * checksum by src/raft's codec, which owns their format.  The hard state names
 * the last index and is in every batch with entries, so what lies between base
 * and last index must be there: a missing entry is damage, not a crash.
 */
extern void log_batch_state(StoreBatch *batch, uint64_t group, Bytes state);
extern void log_batch_base(StoreBatch *batch, uint64_t group, Bytes base);
extern void log_batch_entry(StoreBatch *batch, uint64_t group, uint64_t index, Bytes entry);
extern void log_batch_drop(StoreBatch *batch, uint64_t group, uint64_t index);

/*
 * Drop the entries up to and including last that are still there, max of them:
 * a crash comes between a new base and the deletions that follow it.  *found says
 * how many.
 */
extern VtStatus log_batch_drop_up_to(Store *store, StoreBatch *batch, uint64_t group,
									 uint64_t last, uint64_t max, uint64_t *found, VtError *err);

/* Forget a group's state and base, and remember that this replica is gone. */
extern void log_batch_tombstone(StoreBatch *batch, uint64_t group, uint64_t replica);

/* VT_NOT_FOUND when the group is not here. */
extern VtStatus log_load_state(Store *store, uint64_t group, Buf *out, VtError *err);
extern VtStatus log_load_base(Store *store, uint64_t group, Buf *out, VtError *err);
extern VtStatus log_has_tombstone(Store *store, uint64_t group, uint64_t replica, bool *out,
								  VtError *err);

/* Call each() for all groups that have a state.  What it returns other than VT_OK ends the walk. */
typedef VtStatus (*LogEachGroup) (void *arg, uint64_t group);
extern VtStatus log_each_group(Store *store, LogEachGroup each, void *arg, VtError *err);

/*
 * Call each() for the entries first..last, in order.  VT_CORRUPT when one is
 * missing.  What each() returns other than VT_OK ends the walk.
 */
typedef VtStatus (*LogEach) (void *arg, uint64_t index, Bytes entry);
extern VtStatus log_load_entries(Store *store, uint64_t group, uint64_t first, uint64_t last,
								 LogEach each, void *arg, VtError *err);

/*
 * A record of a shard, under the key 'v' + id.
 *
 *		 0	u8	 format			ROW_FORMAT
 *		 1	u8	 flags			ROW_HALVES, ROW_BITS or 0
 *		 2	u16	 reserved		0
 *		 4	u32	 timeline
 *		 8	u64	 index			log index that wrote it: its version
 *		16	u64	 fence			or session
 *		24	u64	 lsn
 *		32	u32	 attributes length, attributes
 *			u32	 metadata length, metadata
 *			u32	 dim, dim float32, float16 with ROW_HALVES, or bits with ROW_BITS, eight to a byte
 *			u64	 checksum of everything before
 */
#define ROW_FORMAT 1
#define ROW_HALVES 0x1
#define ROW_BITS 0x2

/* What a vector is of; as descriptors number it. */
typedef enum RowElement
{
	ROW_FLOAT32 = 1,
	ROW_FLOAT16 = 2,
	ROW_BIT = 3
} RowElement;

typedef struct StoreRow
{
	uint32_t	timeline;
	uint64_t	index;
	uint64_t	fence;
	uint64_t	lsn;
	Bytes		attributes;
	Bytes		metadata;
	uint32_t	dim;
	uint8_t		element;		/* RowElement; to row_put() 0 is ROW_FLOAT32 */
	const uint8_t *vector;		/* little-endian */
} StoreRow;

extern void row_put(Buf *out, const StoreRow *row);
extern VtStatus row_get(Bytes value, StoreRow *out, VtError *err);
extern void row_key(Buf *out, Bytes id);	/* replaces out's content */

/* The kernel's boot id; zero if it cannot be read. */
extern VtId store_boot_id(void);

#endif							/* STORE_H */
