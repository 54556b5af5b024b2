/*-------------------------------------------------------------------------
 *
 * operate.h
 *	  Private to pd: operators, as those see them who ask for one or look on.
 *
 * What changes a shard's replicas is its plan (plan.h, in the catalog).  What
 * changes who leads it is a handover: kept in memory alone, since one that is
 * forgotten leaves nothing behind and is decided again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_OPERATE_H
#define PD_OPERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct Pd;

typedef enum HandoverWhy
{
	HANDOVER_ASKED,				/* by somebody */
	HANDOVER_BALANCE,			/* its store leads more, or what is written more to, than others */
	HANDOVER_DISK				/* the leader's disk is short */
} HandoverWhy;

typedef struct Handover
{
	uint64_t	shard;
	uint64_t	from_store;
	uint64_t	from;			/* replica that led when it was decided */
	uint64_t	to_store;
	uint64_t	to;
	HandoverWhy why;
	int64_t		begun_us;

	/* It was not done in time: for a while the shard is left alone. */
	bool		given_up;
} Handover;

#define HANDOVERS_MAX 512		/* under way or given up; for evenness fewer, see handovers_most() */

/*
 * Move a shard's replica from one store to another; the plan is begun when this
 * returns VT_OK.  Refused with a reason: VT_NOT_FOUND (no such shard or replica),
 * VT_BUSY (something else is under way, or reports are not in), VT_EXISTS (there
 * is a replica on that store), VT_FULL (it takes none, or would share more with
 * the shard's other replicas).
 */
extern VtStatus operate_move(struct Pd *pd, uint64_t shard, uint64_t from_store, uint64_t to_store, VtError *err);

/*
 * Have the replica on a store lead its shard.  VT_OK: the leader will be told, or
 * it leads already.  Refused as above; VT_UNAVAILABLE: nobody leads now.
 */
extern VtStatus operate_transfer(struct Pd *pd, uint64_t shard, uint64_t to_store, VtError *err);

/* The shard's handover, also one given up; NULL = none. */
extern const Handover *operate_handover(const struct Pd *pd, uint64_t shard);

#endif							/* PD_OPERATE_H */
