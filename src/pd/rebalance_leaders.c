/*-------------------------------------------------------------------------
 *
 * rebalance_leaders.c
 *	  Leaderships that go from stores that lead much to those that lead little.
 *
 * Each shard offers the handover that gains most; the best offers are begun, as
 * long as they still gain something with those begun before.  Shards of stores that
 * could gain nothing, whatever they gave to whom, are not looked at: mostly that is all.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <stdlib.h>

#include "scales.h"

#define RATE_LEAST 50.0			/* writes a second on a store, before they matter */
#define RATE_NOISE 0.1			/* of what a store carries: so exactly it is not known */
#define STORE_HANDOVERS 4		/* of one store at a time */

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

	/* A disk that is short refuses writes: whoever can lead, is to. */
	if (!scales->survey->stores[from].takes && !scales->survey->stores[from].draining)
		return 1e6;
	there.weight += RATE_NOISE * scales->leaders[from].weight;
	return balance_gain(means, &scales->leaders[from], &there, &leadership);
}

/*
 * Could it gain anything to take some leadership from this store?  By what would be
 * gained if one store led as little as any, was written to as little as any, and took one of the
 * best weight: no store and no shard offer more.
 */
static bool
may_give(const Scales *scales, const BalanceMeans *means, const Carried *least, size_t from)
{
	const PlanStore *store = &scales->survey->stores[from];
	Carried		there = *least;
	Carried		any = {1, DBL_MAX, 0};

	if (!store->takes && !store->draining)
		return true;
	there.weight += RATE_NOISE * scales->leaders[from].weight;
	return balance_gain_most(means, &scales->leaders[from], &there, &any) > BALANCE_TOLERANCE;
}

/* Which stores may, by place; the caller frees it.  NULL: none. */
static bool *
find_givers(const Scales *scales, const BalanceMeans *means)
{
	size_t		n = scales->survey->nstores;
	bool	   *givers = vt_alloc0(n + 1);
	Carried		least = {DBL_MAX, DBL_MAX, 0};
	bool		takers = false;
	bool		any = false;

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
		any |= givers[i] = may_give(scales, means, &least, i);
	if (any)
		return givers;
	free(givers);
	return NULL;
}

/* Who would best lead a shard instead, and what that gains. */
static Offer
offer_of(const Scales *scales, const BalanceMeans *means, const bool *givers, const Weighed *w)
{
	size_t		from = scales_at(scales, w->leads);
	Offer		best = {.from = (uint32_t) from, .gain = BALANCE_TOLERANCE};
	const Report *leader = from != SIZE_MAX && givers[from] ? scales_leader(scales, w) : NULL;

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

	if (scales->handovers[offer->from] >= STORE_HANDOVERS || scales->handovers[to] >= STORE_HANDOVERS ||
		lead_gain(scales, means, w, offer->from, to) <= BALANCE_TOLERANCE ||
		!there || there->replica != to_replica->replica || there->unindexed > UNINDEXED_MAX)
		return;
	if (!scales->survey->stores[offer->from].takes)
		handover.why = HANDOVER_DISK;
	if (!handover_begin(scales->pd, &handover))
		return;
	scales->handovers[offer->from]++;
	scales->handovers[to]++;
	scales_take(scales, scales->leaders, handover.from_store, &leadership);
	scales_put(scales, scales->leaders, handover.to_store, &leadership);
}

void
rebalance_leaders(Scales *scales)
{
	size_t		stores;
	Carried		total = scales_total(scales, scales->leaders, false, &stores);
	BalanceMeans means = balance_means(&total, stores, &(Carried) {.weight = RATE_LEAST});
	bool	   *givers = scales->pd->nhandovers < HANDOVERS_MAX ? find_givers(scales, &means) : NULL;
	Offer	   *offers;
	size_t		n = 0;

	if (!givers)
		return;
	offers = vt_alloc(sizeof(Offer) * (scales->n + 1));
	for (size_t i = 0; i < scales->n; i++)
		if (scales->shards[i].leads)
		{
			offers[n] = offer_of(scales, &means, givers, &scales->shards[i]);
			n += offers[n].weighed != NULL;
		}
	if (n > 0)
		qsort(offers, n, sizeof(Offer), offer_compare);
	for (size_t i = 0; i < n && scales->pd->nhandovers < HANDOVERS_MAX; i++)
		hand_over(scales, &means, &offers[i]);
	free(offers);
	free(givers);
}
