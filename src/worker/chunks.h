/*-------------------------------------------------------------------------
 *
 * chunks.h
 *	  Private to worker: where what belongs to a slot lies, beside the graph.
 *
 * In chunks that never move: the first has FIRST slots, each further one twice as
 * many as the one before.  So readers need no lock, and no 64 slots that begin at a
 * multiple of 64 lie in two chunks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_CHUNKS_H
#define WORKER_CHUNKS_H

#include <stdint.h>

#define FIRST_SHIFT 8
#define FIRST (1u << FIRST_SHIFT)
#define CHUNKS (31 - FIRST_SHIFT)	/* enough for HNSW_MAX_SLOTS */

/* Chunk k holds the slots from FIRST * (2^k - 1) on, FIRST * 2^k of them. */
static inline int
chunk_of(uint32_t slot)
{
	return 31 - __builtin_clz(slot + FIRST) - FIRST_SHIFT;
}

static inline uint32_t
chunk_place(int k, uint32_t slot)
{
	return slot + FIRST - (FIRST << k);
}

#endif							/* WORKER_CHUNKS_H */
