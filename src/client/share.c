/*-------------------------------------------------------------------------
 *
 * share.c
 *	  What one shard is asked for, of what a search asks of all.
 *
 * The ids of a collection are spread over its shards by a hash, so each has a random
 * sample of the rows, and of the nearest as well.  A walk that finds most of the
 * ten nearest of all needs to find fewer of each shard, in a graph of fewer rows, and a
 * row that it misses is missed in one shard only.  Measured (build/hnsw_bench shards):
 * with ef times the root of the share shards find together what one graph
 * finds with ef, or more; with ef times the share itself they find less.
 *
 *-------------------------------------------------------------------------
 */
#include "share.h"

#include <math.h>

#define EF_LEAST 10				/* with fewer walks are lost early, which no rule foretells */
#define DEVIATIONS 4			/* of a binomial distribution; and one more, since a shard of whose hits none is left is asked again */

double
share_of(uint64_t first, uint64_t last)
{
	return ((double) (last - first) + 1) / 0x1p64;
}

uint32_t
share_ef(uint32_t ef, double share)
{
	uint32_t	least = ef < EF_LEAST ? ef : EF_LEAST;
	uint32_t	part = (uint32_t) ceil(ef * sqrt(share));

	return part > least ? part : least;
}

uint32_t
share_batch(uint32_t batch, double share)
{
	double		mean = batch * share;
	double		most = ceil(mean + DEVIATIONS * sqrt(mean * (1 - share))) + 1;

	return most < batch ? (uint32_t) most : batch;
}
