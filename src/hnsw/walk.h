/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  Private to hnsw: the walk through the graph, shared by searches, cursors
 *	  and linking.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_WALK_H
#define HNSW_WALK_H

#include "hnsw/ctx.h"

typedef struct Walk
{
	Hnsw	   *h;
	Ctx		   *ctx;
	const Query *query;
	Visited    *visited;
	Pool	   *pool;
	Heap	   *discards;		/* cursor: what falls out of the pool; else NULL */

	uint64_t	start;			/* queue's end when the walk began */
	int			level;
	bool		linking;		/* every live slot counts */
	bool		twins;			/* there are some, and they count */
	HnswFilter	filter;
	void	   *filter_arg;

	uint64_t	distances;
	uint64_t	hops;
} Walk;

/* Greedily from the entry point down to level `to`. */
extern Entry walk_descend(Walk *walk, uint64_t entry, int to);

/* Put slots into the pool that are not visited yet; n at most WALK_BATCH. */
#define WALK_BATCH 256
extern void walk_offer(Walk *walk, const uint32_t *slots, uint32_t n);

/* Expand until the best `want` are expanded. */
extern void walk_run(Walk *walk);

/* From the entry point, and over the waiting slots: how a search begins. */
extern void walk_start(Walk *walk);

extern void walk_insert(Walk *walk, Entry e);

/* Would an entry, whichever, find a place without another giving way? */
extern bool walk_has_room(const Walk *walk);

#endif							/* HNSW_WALK_H */
