/*-------------------------------------------------------------------------
 *
 * saver.h
 *	  Private to worker: the thread that writes graphs into their files.
 *
 * A graph that was saved need not be built anew at the next start (graph.c).  That
 * is all it is for: saving can be late, slow, or given up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SAVER_H
#define WORKER_SAVER_H

#include <stdint.h>

typedef struct Saver Saver;
struct Worker;

/* changes: see WorkerOptions.graph_save; 0 = NULL comes back, nothing is saved. */
extern Saver *saver_start(struct Worker *worker, uint64_t changes);

/*
 * The worker stops since begin_us, and nobody but the caller uses its shards any
 * more: save what is worth it and can be written within the time a stop may take.
 */
extern void saver_stop(Saver *saver, int64_t begin_us);

#endif							/* WORKER_SAVER_H */
