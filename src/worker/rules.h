/*-------------------------------------------------------------------------
 *
 * rules.h
 *	  Private to worker: what apply decides by, beside the rows, in numbers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_RULES_H
#define WORKER_RULES_H

#include "shard.h"

/* As it is on disk, pinned. */
typedef struct RulesOnDisk
{
	StoreIter  *raises;
	SessionsOnDisk sessions;
} RulesOnDisk;

/* On the apply thread, when all that was applied is written, replay is over and nobody has come to a later entry. */
extern void rules_take(const Shard *shard, ShardRules *out, RulesOnDisk *pinned);

/* Does what was pinned say the same as the memory of then?  Once, on any thread; VT_CORRUPT: no. */
extern VtStatus rules_check(RulesOnDisk *pinned, const ShardRules *rules, uint64_t index, VtError *err);
extern void rules_unpin(RulesOnDisk *pinned);

#endif							/* WORKER_RULES_H */
