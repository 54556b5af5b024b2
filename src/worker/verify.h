/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  Private to worker: the thread that digests the rows of shards.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_VERIFY_H
#define WORKER_VERIFY_H

#include "shard.h"
#include "worker.h"

typedef struct Verifier Verifier;

extern Verifier *verifier_start(void);
extern void verifier_stop(Verifier *verifier);	/* NULL is fine */

/* A shard's on_verify. */
extern void verifier_take(void *verifier, Shard *shard, StoreIter *rows, uint64_t id, uint64_t index);

/* To the leader: have all replicas digest what they hold, under this name. */
extern void worker_verify_shard(Worker *worker, uint64_t id, uint64_t verification);

/* This replica differs from the others: it is closed, for good. */
extern VtStatus worker_set_aside(Worker *worker, uint64_t id, uint64_t replica, VtError *err);

/*
 * Those that somebody held then are tried again.  PD does not say it twice where replicas
 * are compared anew meanwhile: one that leaves does not answer, so it does not differ.
 */
extern void worker_close_aside(Worker *worker);
extern bool worker_leaves_aside(Worker *worker, uint64_t id);	/* is it such a one? */

#endif							/* WORKER_VERIFY_H */
