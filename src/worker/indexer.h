/*-------------------------------------------------------------------------
 *
 * indexer.h
 *	  Private to worker: the threads that take vectors into the graphs.
 *
 * A vector that was applied is searchable at once: it waits in the hot tier,
 * which every search compares with one by one.  These threads link the waiting
 * ones into the graph, and mend the graph around what has died.  None of it is
 * needed for right answers, only for fast ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_INDEXER_H
#define WORKER_INDEXER_H

#include <stdint.h>

typedef struct Indexer Indexer;
struct Shard;
struct Worker;

/* threads: 0 = as many as cores. */
extern Indexer *indexer_start(struct Worker *worker, uint32_t threads);

/* Its threads end, while the shards' replicas are still open; then, when nobody wakes it any more, it can be freed. */
extern void indexer_stop(Indexer *indexer);
extern void indexer_free(Indexer *indexer);

/* There may be something to do for this Indexer.  Any thread, cheap, never waits. */
extern void indexer_wake(void *indexer);

/* The same for whoever may not wait for an index thread that holds a lock: then it is seen a little later. */
extern void indexer_wake_now(void *indexer);

/*
 * Admission: how long a put for this shard should stay away because too much
 * waits already, in ms; 0 = it may come in.  Does not count a backlog (hot.h).
 */
extern uint32_t indexer_wait_ms(const Indexer *indexer, struct Shard *shard);

#endif							/* WORKER_INDEXER_H */
