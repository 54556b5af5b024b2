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

#define WEIGHED_AHEAD 32		/* shards whose loads are asked for together */
#define RATE_WRITTEN 1.0		/* writes a second; with fewer hardly one finds its leader just leaving */

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

/* What stores say of their replicas: how much they are searched. */
static void
hear_searches(Scales *scales, const Beat *beat)
{
	for (size_t j = 0; j < beat->nreports; j++)
	{
		const Report *report = &beat->reports[j];
		const CatalogShard *shard;
		ShardPlace	place;

		if (report->searches <= 0 || !places_find(scales->pd->catalog, report->shard, &place))
			continue;
		shard = &scales->pd->catalog->collections[place.collection]->shards[place.place];
		if (is_member(shard, beat->store, report->replica))
			weigh_searches(scales, shard, beat->store, report);
	}
}

const Report *
scales_leader(const Scales *scales, const Weighed *w)
{
	const Report *report = w->leads ? report_of(scales->pd, w->leads, w->shard->desc.shard) : NULL;

	return report && report->leader && report->replica == w->leader && is_member(w->shard, w->leads, w->leader) ? report : NULL;
}

Carried
scales_replica(const Scales *scales, const Weighed *w, uint64_t store)
{
	size_t		at = scales_at(scales, store);
	bool		searched = at != SIZE_MAX && scales->replicas[at].searches > 0;
	const Report *report = searched ? report_of(scales->pd, store, w->shard->desc.shard) : NULL;

	return (Carried) {1, w->bytes, report ? replica_searches(scales->pd, report) : 0};
}

Carried
scales_leadership(const Weighed *w)
{
	return (Carried) {1, w->rate, 0};
}

bool
scales_is_written(const Weighed *w)
{
	return w->rate >= RATE_WRITTEN;
}

void
scales_hand(Scales *scales, const Weighed *w, uint64_t store)
{
	size_t		at = scales_at(scales, store);

	if (at == SIZE_MAX)
		return;
	scales->handovers[at].n++;
	scales->handovers[at].written += scales_is_written(w);
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
	if (w->leads)
	{
		Carried		leadership = scales_leadership(w);

		scales_put(scales, scales->leaders, w->leads, &leadership);
	}
}

/* What is being handed over counts where it will be, and is left alone. */
static void
weigh_handover(Scales *scales, const Handover *h)
{
	ShardPlace	place;
	Weighed    *w;

	if (!places_find(scales->pd->catalog, h->shard, &place))
		return;
	w = &scales->shards[scales->first[place.collection] + place.place];
	if (!h->given_up && w->leads && w->leader == h->from)
	{
		Carried		leadership = scales_leadership(w);

		scales_take(scales, scales->leaders, h->from_store, &leadership);
		scales_put(scales, scales->leaders, h->to_store, &leadership);
		scales_hand(scales, w, h->from_store);
		scales_hand(scales, w, h->to_store);
	}
	w->leads = 0;
}

static void
weigh(Scales *scales, const CatalogCollection *c, const CatalogShard *shard, const ShardLoad *load)
{
	const Pd   *pd = scales->pd;
	Weighed    *w = &scales->shards[scales->n++];
	size_t		at;

	w->collection = c;
	w->shard = shard;
	if (load)
	{
		w->bytes = (double) load->bytes;
		w->rate = load_rate(pd, load);
		w->leader = load->leader;
		w->asked = load_is_asked(pd, load);
		at = scales_at(scales, load->leads);
		w->leads = at != SIZE_MAX && scales->up[at] ? load->leads : 0;
	}
	if (c->state != COLLECTION_LIVE || !w->shard->bootstrapped)
		w->leads = 0;
	else
		weigh_shard(scales, w);
	if (load && load_rests(pd, load))
		w->leads = 0;
}

/*
 * Loads lie as they were heard first, far from each other: some are on their way from
 * memory while others are weighed, which halves the time of a look.
 */
static void
weigh_collection(Scales *scales, const CatalogCollection *c)
{
	const ShardLoad *loads[WEIGHED_AHEAD];

	for (uint32_t from = 0; from < c->nshards; from += WEIGHED_AHEAD)
	{
		uint32_t	n = c->nshards - from < WEIGHED_AHEAD ? c->nshards - from : WEIGHED_AHEAD;

		for (uint32_t i = 0; i < n; i++)
		{
			loads[i] = shard_load(scales->pd, c->shards[from + i].desc.shard);
			__builtin_prefetch(loads[i]);
		}
		for (uint32_t i = 0; i < n; i++)
			weigh(scales, c, &c->shards[from + i], loads[i]);
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
	scales->handovers = vt_alloc0(sizeof(Handed) * (survey->nstores + 1));
	scales->up = vt_alloc0(survey->nstores + 1);
	for (size_t i = 0; i < survey->nstores; i++)
		scales->up[i] = store_is_up(pd, survey->stores[i].store);
	for (size_t i = 0; i < catalog->ncollections; i++)
	{
		scales->first[i] = scales->n;
		weigh_collection(scales, catalog->collections[i]);
	}
	for (size_t i = 0; i < pd->nbeats; i++)
		if (pd->beats[i]->searched && store_is_up(pd, pd->beats[i]->store))
			hear_searches(scales, pd->beats[i]);
	for (size_t i = 0; i < pd->nhandovers; i++)
		weigh_handover(scales, &pd->handovers[i]);
}

void
scales_end(Scales *scales)
{
	free(scales->first);
	free(scales->shards);
	free(scales->replicas);
	free(scales->leaders);
	free(scales->handovers);
	free(scales->up);
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
