/*-------------------------------------------------------------------------
 *
 * share.h
 *	  What one shard is asked for, of what a search asks of all (docs/decisions/0015).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_SHARE_H
#define CLIENT_SHARE_H

#include <stdint.h>

/* The part of all hashes, above 0 up to 1, that lie from first to last, both inclusive. */
extern double share_of(uint64_t first, uint64_t last);

/*
 * The candidates a walk through the graph of such a part keeps, where one through the
 * graph of all would keep ef: what is found of the nearest of all is no less then.
 */
extern uint32_t share_ef(uint32_t ef, double share);

/*
 * More than the batch nearest of all have in such a part, but for one search in a
 * hundred at most, of all shards together: a shard that has given no more is asked again.
 */
extern uint32_t share_batch(uint32_t batch, double share);

#endif							/* CLIENT_SHARE_H */
