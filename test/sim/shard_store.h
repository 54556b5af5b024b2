/*-------------------------------------------------------------------------
 *
 * shard_store.h
 *	  LevelDB as it loses data: what the world does to the stores that the
 *	  machines open by src/store's door.
 *
 * What is modelled of LevelDB 1.23 (cluster hazards 2 and 3): a batch is one
 * record of the current log.  A log that is full is closed without a sync and the
 * next one begun; its content becomes durable when its memtable has been written
 * to a table and the manifest is synced, later or by store_flush().  A synced
 * write makes the current log durable, and nothing of the older ones.  When the
 * power fails each log that is not durable keeps a first part, each its own: so
 * later batches may stand where earlier ones are gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SHARD_STORE_H
#define SIM_SHARD_STORE_H

#include "base/prng.h"
#include "store/store.h"

/* Of the machine that calls come from, set before they do. */
extern void model_store_enter(uint64_t boot, Prng *prng);

/* The power fails; harsh: any batch may be lost, wherever it stood. */
extern void model_store_lose_power(const char *path, Prng *prng, bool harsh);

/* A table is written in the background: the oldest log is durable now. */
extern void model_store_compact(const char *path);

/* All rows between two keys, as one string of lengths and bytes. */
extern Buf	model_store_read(const char *path, Bytes first, Bytes after);

/* Gone, or replaced by such rows, durably. */
extern void model_store_forget(const char *path);
extern void model_store_replace(const char *path, Bytes rows);
extern bool model_store_exists(const char *path);

/* Batches lost by power failures so far in this process. */
extern uint64_t model_store_lost(void);

/* Forget all stores. */
extern void model_store_reset(void);

#endif							/* SIM_SHARD_STORE_H */
