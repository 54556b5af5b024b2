/*-------------------------------------------------------------------------
 *
 * hits.h
 *	  Private to hnsw: exact distances, in order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_HITS_H
#define HNSW_HITS_H

#include "hnsw/graph.h"

/* By (distance, label, slot), NaN last. */
extern int	hits_compare(const void *a, const void *b);

/* The exact distance of a slot to a query as the caller gave it. */
extern HnswHit hits_make(const Hnsw *h, const void *query, uint32_t slot);

/*
 * Keep the k best: hits is a heap with the worst on top while it is filled;
 * hits_sort puts it in order.
 */
extern void hits_keep(HnswHit *hits, uint32_t *n, uint32_t k, const HnswHit *hit);
extern void hits_sort(HnswHit *hits, uint32_t n);

#endif							/* HNSW_HITS_H */
