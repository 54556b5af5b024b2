/*-------------------------------------------------------------------------
 *
 * patience.c
 *	  How long a build waits for replicas that index after their leaders.
 *
 *-------------------------------------------------------------------------
 */
#include "patience.h"

bool
patience_left(Patience *patience, uint64_t unindexed, int64_t now_us, int64_t worked_us, int64_t pause_us)
{
	if (!patience->begun)
	{
		patience->begun = true;
		patience->until_us = now_us + worked_us + pause_us;
	}
	else if (unindexed >= patience->least)
		return unindexed > 0 && now_us - patience->since_us < pause_us && now_us < patience->until_us;
	patience->least = unindexed;
	patience->since_us = now_us;
	return unindexed > 0 && now_us < patience->until_us;
}

bool
patience_same_shards(const ClientMarks *a, const ClientMarks *b)
{
	uint32_t	i = 0;

	if (a->n != b->n)
		return false;
	while (i < a->n && a->items[i].shard == b->items[i].shard && a->items[i].incarnation == b->items[i].incarnation)
		i++;
	return i == a->n;
}
