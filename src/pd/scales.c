/*-------------------------------------------------------------------------
 *
 * scales.c
 *	  What each store carries: replicas, bytes and searches, leaderships and writes.
 *
 * What is under way counts where it will be when it is done.
 *
 *-------------------------------------------------------------------------
 */
#include "scales.h"

#include <stdlib.h>
#include <string.h>

size_t
scales_at(const Scales *scales, uint64_t store)
{
	const PlanStore *found = survey_store(scales->survey, store);

	return found ? (size_t) (found - scales->survey->stores) : SIZE_MAX;
}

static void
add(Scales *scales, Carried *carried, uint64_t store, const Carried *what, double sign)
{
	size_t		at = scales_at(scales, store);

	if (at == SIZE_MAX)
		return;
	carried[at].n += sign * what->n;
	carried[at].weight += sign * what->weight;
	carried[at].searches += sign * what->searches;
}

void
scales_put(Scales *scales, Carried *carried, uint64_t store, const Carried *what)
{
	add(scales, carried, store, what, 1);
}

void
scales_take(Scales *scales, Carried *carried, uint64_t store, const Carried *what)
{
	add(scales, carried, store, what, -1);
}

static bool
is_member(const CatalogShard *shard, uint64_t store, uint64_t replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].store == store)
			return shard->desc.replicas[i].replica == replica;
	return false;
}

/* Where a replica's searches are, or will be asked when what is under way is done. */
static void
weigh_searches(Scales *scales, const CatalogShard *shard, uint64_t store, const Report *report)
{
	const Plan *plan = &shard->plan;
	bool		leaves = plan->remove == report->replica;

	if (!leaves || plan->add_store)
		scales_put(scales, scales->replicas, leaves ? plan->add_store : store,
				   &(Carried) {.searches = replica_searches(scales->pd, report)});
}

/*
 * What stores say of their replicas: how much they are searched, and of those that
 * lead, all; of two that claim to lead the one with the higher term.
 */
static void
hear_reports(Scales *scales)
{
	Pd		   *pd = scales->pd;

	for (size_t i = 0; i < pd->nbeats; i++)
	{
		const Beat *beat = pd->beats[i];

		if (!store_is_up(pd, beat->store))
			continue;
		for (size_t j = 0; j < beat->nreports; j++)
		{
			const Report *report = &beat->reports[j];
			CatalogCollection *c;
			bool		matters = report->leader || report->searches > 0;
			CatalogShard *shard = matters ? find_shard(pd, report->shard, &c) : NULL;
			Weighed    *weighed;
			ShardPlace	place;

			if (!shard || !places_find(pd->catalog, report->shard, &place) || !is_member(shard, beat->store, report->replica))
				continue;
			weigh_searches(scales, shard, beat->store, report);
			if (!report->leader)
				continue;
			weighed = &scales->shards[scales->first[place.collection] + place.place];
			if (weighed->leader && weighed->leader->term > report->term)
				continue;
			weighed->leader = report;
			weighed->leads = beat->store;
		}
	}
}

Carried
scales_replica(const Scales *scales, const Weighed *w, uint64_t store)
{
	const Report *report = report_of(scales->pd, store, w->shard->desc.shard);

	return (Carried) {1, w->bytes, report ? replica_searches(scales->pd, report) : 0};
}

Carried
scales_leadership(const Weighed *w)
{
	return (Carried) {1, w->rate, 0};
}

/* Where a shard's replicas and leadership are, or will be when what is under way is done. */
static void
weigh_shard(Scales *scales, const Weighed *w)
{
	const Plan *plan = &w->shard->plan;
	Carried		replica = {1, w->bytes, 0};
	bool		arrives = plan->add_replica != 0;

	for (int i = 0; i < w->shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &w->shard->desc.replicas[i];

		arrives &= r->replica != plan->add_replica;
		if (r->replica != plan->remove)
			scales_put(scales, scales->replicas, r->store, &replica);
	}
	if (arrives)
		scales_put(scales, scales->replicas, plan->add_store, &replica);
	if (w->leader)
	{
		Carried		leadership = scales_leadership(w);

		scales_put(scales, scales->leaders, w->leads, &leadership);
	}
}

void
scales_begin(Scales *scales, Pd *pd, Survey *survey)
{
	Catalog    *catalog = pd->catalog;

	memset(scales, 0, sizeof(*scales));
	scales->pd = pd;
	scales->survey = survey;
	scales->first = vt_alloc(sizeof(size_t) * (catalog->ncollections + 1));
	scales->shards = vt_alloc0(sizeof(Weighed) * (catalog_nshards(catalog) + 1));
	scales->replicas = vt_alloc0(sizeof(Carried) * (survey->nstores + 1));
	scales->leaders = vt_alloc0(sizeof(Carried) * (survey->nstores + 1));
	scales->handovers = vt_alloc0(sizeof(uint32_t) * (survey->nstores + 1));
	for (size_t i = 0; i < catalog->ncollections; i++)
	{
		scales->first[i] = scales->n;
		for (uint32_t j = 0; j < catalog->collections[i]->nshards; j++)
		{
			Weighed    *w = &scales->shards[scales->n++];

			w->collection = catalog->collections[i];
			w->shard = &catalog->collections[i]->shards[j];
			shard_load(pd, w->shard->desc.shard, &w->bytes, &w->rate);
		}
	}
	hear_reports(scales);
	for (size_t i = 0; i < scales->n; i++)
		if (scales->shards[i].collection->state == COLLECTION_LIVE && scales->shards[i].shard->bootstrapped)
			weigh_shard(scales, &scales->shards[i]);
		else
			scales->shards[i].leader = NULL;
	for (size_t i = 0; i < pd->nhandovers; i++)
	{
		const Handover *h = &pd->handovers[i];
		ShardPlace	place;
		Weighed    *w;

		if (!places_find(catalog, h->shard, &place))
			continue;
		w = &scales->shards[scales->first[place.collection] + place.place];
		if (!h->given_up && w->leader && w->leader->replica == h->from)
		{
			Carried		leadership = scales_leadership(w);

			scales_take(scales, scales->leaders, h->from_store, &leadership);
			scales_put(scales, scales->leaders, h->to_store, &leadership);
			if (scales_at(scales, h->from_store) != SIZE_MAX)
				scales->handovers[scales_at(scales, h->from_store)]++;
			if (scales_at(scales, h->to_store) != SIZE_MAX)
				scales->handovers[scales_at(scales, h->to_store)]++;
		}
		w->leader = NULL;		/* left alone */
	}
}

void
scales_end(Scales *scales)
{
	free(scales->first);
	free(scales->shards);
	free(scales->replicas);
	free(scales->leaders);
	free(scales->handovers);
}

Carried
scales_total(const Scales *scales, const Carried *carried, bool search_only, size_t *stores)
{
	Carried		total = {0};

	*stores = 0;
	for (size_t i = 0; i < scales->survey->nstores; i++)
	{
		const PlanStore *store = &scales->survey->stores[i];

		if (store->search_only != search_only || store->health == HEALTH_DOWN || store->draining)
			continue;
		++*stores;
		total.n += carried[i].n;
		total.weight += carried[i].weight;
		total.searches += carried[i].searches;
	}
	return total;
}
