/*-------------------------------------------------------------------------
 *
 * rebalance_leaders.c
 *	  Leaderships that go from stores that lead much to those that lead little.
 *
 * Stores with most to gain give first.  Each of their shards offers the handover that
 * gains most; the best offers are begun, as long as they still gain something with those
 * begun before.  Stores that could gain nothing, whatever they gave to whom, are not
 * looked at: mostly that is all.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <stdlib.h>

#include "scales.h"

#define RATE_LEAST 50.0			/* writes a second on a store, before they matter */
#define RATE_NOISE 0.1			/* of what a store carries: so exactly it is not known */
#define STORE_HANDOVERS 32		/* of one store at a time, */
#define STORE_WRITTEN 4			/* and of them, of shards that are written to */
#define LOOKED_MAX 20000		/* shards that are looked at in a look */

/* A store's leaders may be given to it. */
static bool
may_take_leaders(const PlanStore *store)
{
	return store->takes && store->steady && !store->search_only;
}

static int
offer_compare(const void *a, const void *b)
{
	const Offer *x = (const Offer *) a;
	const Offer *y = (const Offer *) b;

	if (x->gain != y->gain)
		return x->gain > y->gain ? -1 : 1;
	return x->weighed->shard->desc.shard < y->weighed->shard->desc.shard ? -1 : 1;
}

/* A disk that is short refuses writes: whoever can lead, is to. */
static bool
must_give(const PlanStore *store)
{
	return !store->takes && !store->draining;
}

/*
 * Writes a second are measured, and never the same twice.  What is gained by less
 * than they vary is nothing, or the leadership of a busy shard would go round and
 * round.
 */
static double
lead_gain(const Scales *scales, const BalanceMeans *means, const Weighed *w, size_t from, size_t to)
{
	Carried		there = scales->leaders[to];
	Carried		leadership = scales_leadership(w);

	if (must_give(&scales->survey->stores[from]))
		return 1e6;
	there.weight += RATE_NOISE * scales->leaders[from].weight;
	return balance_gain(means, &scales->leaders[from], &there, &leadership);
}

/* A store that has leaderships to give away, and what one of them could gain at most. */
typedef struct Giver
{
	size_t		store;
	double		most;
} Giver;

/*
 * What could it gain to take some leadership from this store?  No more than would be
 * gained if one store led as little as any, was written to as little as any, and took one of the
 * best weight: no store and no shard offer more.
 */
static double
most_of(const Scales *scales, const BalanceMeans *means, const Carried *least, size_t from)
{
	Carried		there = *least;
	Carried		any = {1, DBL_MAX, 0};

	if (must_give(&scales->survey->stores[from]))
		return 1e6;
	there.weight += RATE_NOISE * scales->leaders[from].weight;
	return balance_gain_most(means, &scales->leaders[from], &there, &any);
}

static int
giver_compare(const void *a, const void *b)
{
	const Giver *x = (const Giver *) a;
	const Giver *y = (const Giver *) b;

	return x->most != y->most ? (x->most > y->most ? -1 : 1) : x->store < y->store ? -1 : 1;
}

/* Which stores may, those with most to gain first; the caller frees them. */
static Giver *
find_givers(const Scales *scales, const BalanceMeans *means, size_t *found)
{
	size_t		n = scales->survey->nstores;
	Giver	   *givers = vt_alloc(sizeof(Giver) * (n + 1));
	Carried		least = {DBL_MAX, DBL_MAX, 0};
	bool		takers = false;

	*found = 0;
	for (size_t i = 0; i < n; i++)
	{
		const Carried *has = &scales->leaders[i];

		if (!may_take_leaders(&scales->survey->stores[i]))
			continue;
		least.n = has->n < least.n ? has->n : least.n;
		least.weight = has->weight < least.weight ? has->weight : least.weight;
		takers = true;
	}
	for (size_t i = 0; i < n && takers; i++)
	{
		double		most = most_of(scales, means, &least, i);

		if (most > BALANCE_TOLERANCE && scales->handovers[i].n < STORE_HANDOVERS)
			givers[(*found)++] = (Giver) {i, most};
	}
	if (*found > 0)
		qsort(givers, *found, sizeof(Giver), giver_compare);
	return givers;
}

/* Who would best lead a shard instead, and what that gains. */
static Offer
offer_of(const Scales *scales, const BalanceMeans *means, size_t from, const Weighed *w)
{
	Offer		best = {.from = (uint32_t) from, .gain = BALANCE_TOLERANCE};
	const Report *leader = w->asked && !must_give(&scales->survey->stores[from]) ? NULL : scales_leader(scales, w);

	if (!leader || leader->joint || w->shard->plan.kind != PLAN_NONE || leader->unindexed > UNINDEXED_MAX)
		return best;
	for (uint32_t i = 0; i < leader->nmembers; i++)
	{
		const ReportMember *m = &leader->members[i];
		size_t		to = scales_at(scales, m->replica.store);
		double		gain;

		if (to == SIZE_MAX || to == from || m->replica.role != ROLE_VOTER || !m->active ||
			m->match + PLAN_CAUGHT_UP < leader->applied || !may_take_leaders(&scales->survey->stores[to]))
			continue;
		gain = lead_gain(scales, means, w, from, to);
		if (gain > best.gain)
		{
			best.weighed = w;
			best.member = i;
			best.gain = gain;
		}
	}
	return best;
}

/*
 * Writes wait while their leader hands over, so few of those go on at once.  Of others nobody
 * waits for there may be many: a worker that was away is to lead its share of thousands soon.
 */
static bool
has_room(const Scales *scales, const Weighed *w, size_t store)
{
	const Handed *handed = &scales->handovers[store];

	return handed->n < STORE_HANDOVERS && (handed->written < STORE_WRITTEN || !scales_is_written(w));
}

/* Begin it, if it still gains what it promised, by and large. */
static void
hand_over(Scales *scales, const BalanceMeans *means, const Offer *offer)
{
	const Weighed *w = offer->weighed;
	const WireReplica *to_replica = &scales_leader(scales, w)->members[offer->member].replica;
	size_t		to = scales_at(scales, to_replica->store);
	const Report *there = report_of(scales->pd, to_replica->store, w->shard->desc.shard);
	Carried		leadership = scales_leadership(w);
	Handover	handover = {.shard = w->shard->desc.shard, .from_store = w->leads, .from = w->leader,
		.to_store = to_replica->store, .to = to_replica->replica, .why = HANDOVER_BALANCE};

	if (!has_room(scales, w, offer->from) || !has_room(scales, w, to) ||
		lead_gain(scales, means, w, offer->from, to) <= BALANCE_TOLERANCE ||
		!there || there->replica != to_replica->replica || there->unindexed > UNINDEXED_MAX)
		return;
	if (!scales->survey->stores[offer->from].takes)
		handover.why = HANDOVER_DISK;
	if (!handover_begin(scales->pd, &handover))
		return;
	scales_hand(scales, w, handover.from_store);
	scales_hand(scales, w, handover.to_store);
	scales_take(scales, scales->leaders, handover.from_store, &leadership);
	scales_put(scales, scales->leaders, handover.to_store, &leadership);
}

/* Hand over what gains most of what a store leads; how many shards were looked at. */
static size_t
relieve(Scales *scales, const BalanceMeans *means, size_t from)
{
	size_t		n;
	size_t		noffers = 0;
	const ShardPlace *places = shards_of_store(scales->pd, scales->survey->stores[from].store, &n);
	Offer	   *offers = vt_alloc(sizeof(Offer) * (n + 1));

	for (size_t i = 0; i < n; i++)
	{
		const Weighed *w = &scales->shards[scales->first[places[i].collection] + places[i].place];

		if (w->leads != scales->survey->stores[from].store)
			continue;
		offers[noffers] = offer_of(scales, means, from, w);
		noffers += offers[noffers].weighed != NULL;
	}
	if (noffers > 0)
		qsort(offers, noffers, sizeof(Offer), offer_compare);
	for (size_t i = 0; i < noffers && scales->handovers[from].n < STORE_HANDOVERS && scales->pd->nhandovers < handovers_most(scales->pd); i++)
		hand_over(scales, means, &offers[i]);
	free(offers);
	return n;
}

void
rebalance_leaders(Scales *scales)
{
	Pd		   *pd = scales->pd;
	size_t		stores;
	Carried		total = scales_total(scales, scales->leaders, false, &stores);
	BalanceMeans means = balance_means(&total, stores, &(Carried) {.weight = RATE_LEAST});
	size_t		most = handovers_most(pd);
	size_t		n = 0;
	Giver	   *givers = pd->nhandovers < most ? find_givers(scales, &means, &n) : NULL;
	size_t		looked = 0;
	size_t		i = 0;

	/* When not all can be looked at, the next look goes on behind them: some may be able to give nothing. */
	for (; i < n && looked < LOOKED_MAX && pd->nhandovers < most; i++)
		looked += relieve(scales, &means, givers[(pd->givers_from + i) % n].store);
	pd->givers_from = i < n && looked >= LOOKED_MAX ? (pd->givers_from + i) % n : 0;
	free(givers);
}
