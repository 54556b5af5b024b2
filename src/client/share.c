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
#define AGAIN 0.01				/* of all searches, at most, ask a shard again for that */

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

/*
 * No less than the probability that most or more of n are of a part, for most beyond the mean: the
 * terms from there on fall faster than those of a geometric series.
 */
static double
tail(uint32_t n, double share, uint32_t most)
{
	double		odds = share / (1 - share);
	double		falls = (n - most) / (most + 1.0) * odds;
	int			sign;

	return exp(lgamma_r(n + 1.0, &sign) - lgamma_r(most + 1.0, &sign) - lgamma_r(n - most + 1.0, &sign) +
			   most * log(share) + (n - most) * log1p(-share)) / (1 - falls);
}

uint32_t
share_batch(uint32_t batch, double share)
{
	double		mean = batch * share;
	double		about = ceil(mean + DEVIATIONS * sqrt(mean * (1 - share))) + 1;
	uint32_t	most = about < batch ? (uint32_t) about : batch;

	/* Of many small parts one is often far from the mean: there are 1 / share of them. */
	while (most < batch && tail(batch, share, most) > AGAIN * share)
		most++;
	return most;
}
