/*-------------------------------------------------------------------------
 *
 * status.h
 *	  Private to worker: its state as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_STATUS_H
#define WORKER_STATUS_H

#include <jansson.h>

#include "private.h"

extern json_t *status_u64(uint64_t v);	/* as a decimal string */
extern json_t *status_id(const VtId *id);

/* with_leaving: also what waits to be closed or dropped. */
extern json_t *status_shards(Worker *worker, bool with_leaving);
extern json_t *status_broken(Worker *worker);

/* Differs, never 0, whenever the two lists would; *settling: a shard still looks for its leader. */
extern uint64_t status_digest(Worker *worker, bool *settling);

#endif							/* WORKER_STATUS_H */
