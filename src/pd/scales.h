/*-------------------------------------------------------------------------
 *
 * scales.h
 *	  Private to rebalancing: what each store carries, in one look at everything.
 *
 * Made for one look, of what the catalog and reports say then; what is begun in
 * that look is put on the scales as well, so that the next move counts with it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_SCALES_H
#define PD_SCALES_H

#include "balance.h"
#include "service.h"

#define UNINDEXED_MAX 20000		/* a replica with more to index does not lead or move */

/* A shard as its leaders have told. */
typedef struct Weighed
{
	const CatalogCollection *collection;
	const CatalogShard *shard;
	uint64_t	leads;			/* store; 0 = none that is up, or the shard is not to be touched */
	uint64_t	leader;			/* its replica there */
	double		bytes;
	double		rate;			/* writes a second */
	bool		asked;			/* it is where somebody wants it: not to be moved for evenness */
} Weighed;

/* Leaderships that are on their way from a store, or to it. */
typedef struct Handed
{
	uint32_t	n;
	uint32_t	written;		/* of them, those of shards that are written to */
} Handed;

typedef struct Scales
{
	Pd		   *pd;
	Survey	   *survey;
	size_t	   *first;			/* of each collection, among the shards */
	Weighed    *shards;
	size_t		n;

	/* By store, as in the survey */
	Carried    *replicas;
	Carried    *leaders;
	Handed	   *handovers;
	bool	   *up;				/* it is heard, and may lead something */
} Scales;

/* A leadership, or a replica, that may move. */
typedef struct Offer
{
	const Weighed *weighed;
	uint32_t	member;			/* of the leader's members; or place of the store that is to have it */
	uint32_t	from;			/* place of the store that has it */
	double		gain;
} Offer;

extern void scales_begin(Scales *scales, Pd *pd, Survey *survey);
extern void scales_end(Scales *scales);

/* What the leader of a shard says now; NULL: it leads no more, or the shard is not to be touched. */
extern const Report *scales_leader(const Scales *scales, const Weighed *w);

/* Place of a store among the survey's; SIZE_MAX = not known. */
extern size_t scales_at(const Scales *scales, uint64_t store);

/* Put this onto a store, or take it away. */
extern void scales_put(Scales *scales, Carried *carried, uint64_t store, const Carried *what);
extern void scales_take(Scales *scales, Carried *carried, uint64_t store, const Carried *what);

/* What the replica on this store weighs, and what leading the shard does. */
extern Carried scales_replica(const Scales *scales, const Weighed *w, uint64_t store);
extern Carried scales_leadership(const Weighed *w);

/* One more leadership of this shard is on its way from a store, or to it. */
extern void scales_hand(Scales *scales, const Weighed *w, uint64_t store);

/* Is it written to so often that somebody waits while its leadership moves? */
extern bool scales_is_written(const Weighed *w);

/* All that is carried by stores for data, or for searches only; *stores: how many are there. */
extern Carried scales_total(const Scales *scales, const Carried *carried, bool search_only, size_t *stores);

/* rebalance_leaders.c: begin handovers, as far as there is room for them */
extern void rebalance_leaders(Scales *scales);

/* rebalance_replicas.c: begin moves, the same */
extern void rebalance_replicas(Scales *scales, Changes *changes);

/* May one more of this kind be begun? */
extern bool rebalance_has_room(const Scales *scales, PlanKind kind);

/* Is everything as it should be with this shard, so that it can be moved? */
extern bool rebalance_is_whole(const PlanShard *shard);

#endif							/* PD_SCALES_H */
