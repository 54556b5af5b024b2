/*-------------------------------------------------------------------------
 *
 * rebalance.c
 *	  Stores that have more than others: replicas, bytes, leaderships, writes.
 *
 * A look goes over all shards and asks what would be gained by moving one replica,
 * or one leadership, from where it is to where there is less (balance.h says what
 * a gain is, and why this ends).  The best moves are begun, few at a time.
 *
 * Nothing that is fine where it is moves while something is lost or missing, while
 * many stores are silent, or to where it would share more with the others of its
 * shard, or to a store that was away a moment ago and may go again; of one store no more leave at once than may come to one.  Before anything
 * is evened out, replicas that share more than they need to are spread.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "balance.h"
#include "service.h"

#define LOOK_US INT64_C(1000000)	/* between two looks, and for each shard */
#define LOOK_SHARD_US 20
#define BYTES_LEAST (16.0 * 1024 * 1024)	/* on a store, before bytes matter */
#define RATE_LEAST 50.0			/* writes a second on a store, the same */
#define UNINDEXED_MAX 20000		/* a replica with more to index does not lead or move */
#define STORE_HANDOVERS 4		/* of one store at a time */
#define TRIES_MAX 200000		/* moves that are weighed in a look */
#define SPREAD_MAX 2000			/* shards whose spread is looked at in a look */
#define GROUP_TAKERS 8			/* of a site, that are weighed for each replica */

/* A shard as its leader tells. */
typedef struct Weighed
{
	const CatalogCollection *collection;
	const CatalogShard *shard;
	const Report *leader;		/* NULL: not known, or it is not to be touched */
	uint64_t	leads;			/* store */
} Weighed;

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
	uint32_t   *handovers;
} Scales;

static size_t
store_at(const Scales *scales, uint64_t store)
{
	const PlanStore *found = survey_store(scales->survey, store);

	return found ? (size_t) (found - scales->survey->stores) : SIZE_MAX;
}

/* -- Weighing ---------------------------------------------------------------- */

static bool
is_member(const CatalogShard *shard, uint64_t store, uint64_t replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].store == store)
			return shard->desc.replicas[i].replica == replica;
	return false;
}

/* What leaders say of their shards; of two that claim to lead the one with the higher term. */
static void
find_leaders(Scales *scales)
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
			CatalogShard *shard = report->leader ? find_shard(pd, report->shard, &c) : NULL;
			Weighed    *weighed;
			ShardPlace	place;

			if (!shard || !places_find(pd->catalog, report->shard, &place) || !is_member(shard, beat->store, report->replica))
				continue;
			weighed = &scales->shards[scales->first[place.collection] + place.place];
			if (weighed->leader && weighed->leader->term > report->term)
				continue;
			weighed->leader = report;
			weighed->leads = beat->store;
		}
	}
}

static void
carry(Scales *scales, Carried *carried, uint64_t store, double n, double weight)
{
	size_t		at = store_at(scales, store);

	if (at == SIZE_MAX)
		return;
	carried[at].n += n;
	carried[at].weight += weight;
}

/* Where a shard's replicas and leadership are, or will be when what is under way is done. */
static void
weigh_shard(Scales *scales, const Weighed *w)
{
	const Plan *plan = &w->shard->plan;
	double		bytes = shard_bytes(scales->pd, w->shard->desc.shard);
	bool		arrives = plan->add_replica != 0;

	for (int i = 0; i < w->shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &w->shard->desc.replicas[i];

		arrives &= r->replica != plan->add_replica;
		if (r->replica != plan->remove)
			carry(scales, scales->replicas, r->store, 1, bytes);
	}
	if (arrives)
		carry(scales, scales->replicas, plan->add_store, 1, bytes);
	if (w->leader)
		carry(scales, scales->leaders, w->leads, 1, shard_rate(scales->pd, w->shard->desc.shard));
}

static void
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
			scales->shards[scales->n].collection = catalog->collections[i];
			scales->shards[scales->n++].shard = &catalog->collections[i]->shards[j];
		}
	}
	find_leaders(scales);
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
			double		rate = shard_rate(pd, h->shard);

			carry(scales, scales->leaders, h->from_store, -1, -rate);
			carry(scales, scales->leaders, h->to_store, 1, rate);
			if (store_at(scales, h->from_store) != SIZE_MAX)
				scales->handovers[store_at(scales, h->from_store)]++;
			if (store_at(scales, h->to_store) != SIZE_MAX)
				scales->handovers[store_at(scales, h->to_store)]++;
		}
		w->leader = NULL;		/* left alone */
	}
}

static void
scales_end(Scales *scales)
{
	free(scales->first);
	free(scales->shards);
	free(scales->replicas);
	free(scales->leaders);
	free(scales->handovers);
}

/* All that is carried by stores for data, or for searches only; *stores: how many are there. */
static Carried
total_of(const Scales *scales, const Carried *carried, bool search_only, size_t *stores)
{
	Carried		total = {0, 0};

	*stores = 0;
	for (size_t i = 0; i < scales->survey->nstores; i++)
	{
		const PlanStore *store = &scales->survey->stores[i];

		if (store->search_only != search_only || store->health == HEALTH_DOWN || store->draining)
			continue;
		++*stores;
		total.n += carried[i].n;
		total.weight += carried[i].weight;
	}
	return total;
}

/* -- Leaderships ------------------------------------------------------------- */

/* A store's leaders may be given to it. */
static bool
may_take_leaders(const PlanStore *store)
{
	return store->takes && store->steady && !store->search_only;
}

typedef struct Offer
{
	const Weighed *weighed;
	uint32_t	member;			/* of the leader's members; or place of the store that is to have it */
	uint32_t	from;			/* place of the store that has it */
	double		gain;
} Offer;

static int
offer_compare(const void *a, const void *b)
{
	const Offer *x = (const Offer *) a;
	const Offer *y = (const Offer *) b;

	if (x->gain != y->gain)
		return x->gain > y->gain ? -1 : 1;
	return x->weighed->shard->desc.shard < y->weighed->shard->desc.shard ? -1 : 1;
}

static double
lead_gain(const Scales *scales, const BalanceMeans *means, const Weighed *w, size_t from, size_t to)
{
	/* A disk that is short refuses writes: whoever can lead, is to. */
	if (scales->survey->stores[from].takes || scales->survey->stores[from].draining)
		return balance_gain(means, &scales->leaders[from], &scales->leaders[to], shard_rate(scales->pd, w->shard->desc.shard));
	return 1e6;
}

/* Who would best lead a shard instead, and what that gains. */
static Offer
offer_of(const Scales *scales, const BalanceMeans *means, const Weighed *w)
{
	const Report *leader = w->leader;
	size_t		from = store_at(scales, w->leads);
	Offer		best = {.weighed = w, .from = (uint32_t) from, .gain = BALANCE_TOLERANCE};

	best.weighed = NULL;
	if (from == SIZE_MAX || leader->joint || w->shard->plan.kind != PLAN_NONE || leader->unindexed > UNINDEXED_MAX)
		return best;
	for (uint32_t i = 0; i < leader->nmembers; i++)
	{
		const ReportMember *m = &leader->members[i];
		size_t		to = store_at(scales, m->replica.store);
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
	const WireReplica *to_replica = &w->leader->members[offer->member].replica;
	size_t		to = store_at(scales, to_replica->store);
	const Report *there = report_of(scales->pd, to_replica->store, w->shard->desc.shard);
	double		rate = shard_rate(scales->pd, w->shard->desc.shard);
	Handover	handover = {.shard = w->shard->desc.shard, .from_store = w->leads, .from = w->leader->replica,
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
	carry(scales, scales->leaders, handover.from_store, -1, -rate);
	carry(scales, scales->leaders, handover.to_store, 1, rate);
}

static void
even_out_leaders(Scales *scales)
{
	size_t		stores;
	Carried		total = total_of(scales, scales->leaders, false, &stores);
	BalanceMeans means = balance_means(&total, stores, RATE_LEAST);
	Offer	   *offers = vt_alloc(sizeof(Offer) * (scales->n + 1));
	size_t		n = 0;

	for (size_t i = 0; i < scales->n; i++)
		if (scales->shards[i].leader)
		{
			offers[n] = offer_of(scales, &means, &scales->shards[i]);
			n += offers[n].weighed != NULL;
		}
	if (n > 0)
		qsort(offers, n, sizeof(Offer), offer_compare);
	for (size_t i = 0; i < n && scales->pd->nhandovers < HANDOVERS_MAX; i++)
		hand_over(scales, &means, &offers[i]);
	free(offers);
}

/* -- Replicas ---------------------------------------------------------------- */

/* Stores of one role at one site, those with the least first. */
typedef struct Group
{
	bool		search_only;
	Site		site;
	uint32_t   *stores;
	size_t		n;
} Group;

typedef struct Groups
{
	Group	   *groups;
	size_t		n;
	BalanceMeans means[2];		/* of stores for data, and for searches only */
	double		heaviest;		/* shard */
} Groups;

static double
fullness(const Scales *scales, const BalanceMeans *means, size_t store)
{
	const Carried *c = &scales->replicas[store];

	return (means->n > 0 ? c->n / means->n : 0) + (means->weight > 0 ? c->weight / means->weight : 0);
}

static void
sort_group(const Scales *scales, const BalanceMeans *means, Group *group)
{
	/* By insertion: it is sorted but for what has just been given to one. */
	for (size_t i = 1; i < group->n; i++)
		for (size_t j = i; j > 0 && fullness(scales, means, group->stores[j]) < fullness(scales, means, group->stores[j - 1]); j--)
		{
			uint32_t	store = group->stores[j];

			group->stores[j] = group->stores[j - 1];
			group->stores[j - 1] = store;
		}
}

static void
groups_begin(Groups *groups, const Scales *scales)
{
	const Survey *survey = scales->survey;

	memset(groups, 0, sizeof(*groups));
	groups->groups = vt_alloc0(sizeof(Group) * (survey->nstores + 1));
	for (int role = 0; role < 2; role++)
	{
		size_t		n;
		Carried		total = total_of(scales, scales->replicas, role, &n);

		groups->means[role] = balance_means(&total, n, BYTES_LEAST);
	}
	for (size_t i = 0; i < scales->n; i++)
	{
		double		bytes = shard_bytes(scales->pd, scales->shards[i].shard->desc.shard);

		groups->heaviest = bytes > groups->heaviest ? bytes : groups->heaviest;
	}
	for (size_t i = 0; i < survey->nstores; i++)
	{
		const PlanStore *store = &survey->stores[i];
		Group	   *group = groups->groups;

		if (!store->takes || !store->steady)
			continue;
		while (group < groups->groups + groups->n &&
			   (group->search_only != store->search_only || memcmp(&group->site, &store->site, sizeof(Site)) != 0))
			group++;
		if (group == groups->groups + groups->n)
		{
			groups->n++;
			group->search_only = store->search_only;
			group->site = store->site;
		}
		group->stores = vt_realloc(group->stores, sizeof(uint32_t) * (group->n + 1));
		group->stores[group->n++] = (uint32_t) i;
		sort_group(scales, &groups->means[store->search_only], group);
	}
}

static void
groups_end(Groups *groups)
{
	for (size_t i = 0; i < groups->n; i++)
		free(groups->groups[i].stores);
	free(groups->groups);
}

/* What moving anything away from this store could gain at most. */
static double
most_from(const Scales *scales, const Groups *groups, size_t from)
{
	const PlanStore *store = &scales->survey->stores[from];
	double		most = 0;

	for (size_t i = 0; i < groups->n; i++)
		for (size_t k = 0; groups->groups[i].search_only == store->search_only && k < groups->groups[i].n && k < GROUP_TAKERS; k++)
		{
			double		gain = balance_gain_most(&groups->means[store->search_only], &scales->replicas[from],
												 &scales->replicas[groups->groups[i].stores[k]], groups->heaviest);

			most = gain > most ? gain : most;
		}
	return most;
}

static bool
has_replica_on(const CatalogShard *shard, uint64_t store)
{
	uint64_t	replica;

	return operate_has_replica(shard, store, &replica);
}

/* The best store for one shard's replica on another. */
static void
weigh_move(const Scales *scales, const Groups *groups, const Weighed *w, size_t from, uint32_t per_store, Offer *best)
{
	const PlanStore *here = &scales->survey->stores[from];
	const BalanceMeans *means = &groups->means[here->search_only];
	double		bytes = shard_bytes(scales->pd, w->shard->desc.shard);
	Site		others[WIRE_REPLICAS_MAX];
	size_t		nothers = 0;
	uint32_t	crowding;

	for (int i = 0; i < w->shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &w->shard->desc.replicas[i];
		const PlanStore *store = survey_store(scales->survey, r->store);

		if (r->store == here->store && (r->role == ROLE_VOTER) == here->search_only)
			return;				/* it is to go from there anyway */
		if (r->store != here->store && store && (here->search_only || r->role == ROLE_VOTER))
			others[nothers++] = store->site;
	}
	crowding = site_crowding(&here->site, others, nothers);
	for (size_t i = 0; i < groups->n; i++)
	{
		const Group *group = &groups->groups[i];

		if (group->search_only != here->search_only || site_crowding(&group->site, others, nothers) > crowding)
			continue;
		for (size_t k = 0; k < group->n && k < GROUP_TAKERS; k++)
		{
			size_t		to = group->stores[k];
			double		gain;

			if (scales->survey->stores[to].arriving >= per_store || has_replica_on(w->shard, scales->survey->stores[to].store))
				continue;
			gain = balance_gain(means, &scales->replicas[from], &scales->replicas[to], bytes);

			/* Of equals one that need not hand leadership over first. */
			gain -= w->leads == here->store ? BALANCE_TOLERANCE / 100 : 0;
			if (gain > best->gain ||
				(best->weighed && gain == best->gain && w->shard->desc.shard < best->weighed->shard->desc.shard))
				*best = (Offer) {w, (uint32_t) to, (uint32_t) from, gain};
		}
	}
}

/* Is everything as it should be with this shard, so that it can be moved? */
static bool
is_whole(const PlanShard *shard)
{
	uint32_t	voters = 0;

	for (uint32_t i = 0; i < shard->n; i++)
	{
		if (shard->members[i].health != HEALTH_UP || !shard->members[i].active)
			return false;
		voters += shard->members[i].voter;
	}
	return shard->settled && shard->plan.kind == PLAN_NONE && voters == shard->wanted && shard->n < WIRE_REPLICAS_MAX;
}

static bool
begin_move(Scales *scales, const Offer *offer, Changes *changes)
{
	const Weighed *w = offer->weighed;
	const PlanStore *from = &scales->survey->stores[offer->from];
	const PlanStore *to = &scales->survey->stores[offer->member];
	PlanShard	picture;
	Plan		plan = {.kind = PLAN_BALANCE, .add_store = to->store};

	operate_picture(scales->pd, w->collection, w->shard, &picture);
	operate_holders(scales->pd, w->shard, &picture);
	if (!is_whole(&picture) || plan_is_holder(&picture, to->store) || !operate_has_replica(w->shard, from->store, &plan.remove))
		return false;
	operate_begin(scales->survey, changes, w->collection, w->shard, &plan);
	scales->survey->stores[offer->from].leaving++;
	carry(scales, scales->replicas, from->store, -1, -shard_bytes(scales->pd, w->shard->desc.shard));
	carry(scales, scales->replicas, to->store, 1, shard_bytes(scales->pd, w->shard->desc.shard));
	return true;
}

/* Move the replicas of one store that gain most; how many are begun. */
static uint32_t
relieve(Scales *scales, Groups *groups, size_t from, uint32_t room, size_t *tries, Changes *changes)
{
	PlanLimits	limits = operate_limits(scales->pd);
	PlanStore  *store = &scales->survey->stores[from];
	uint32_t	begun = 0;
	uint32_t	misses = 0;

	while (begun < room && store->leaving < limits.per_store && misses < limits.per_store && *tries < TRIES_MAX &&
		   most_from(scales, groups, from) > BALANCE_TOLERANCE)
	{
		size_t		n;
		const ShardPlace *places = shards_of_store(scales->pd, store->store, &n);
		Offer		best = {.gain = BALANCE_TOLERANCE};

		for (size_t i = 0; i < n; i++)
		{
			const Weighed *w = &scales->shards[scales->first[places[i].collection] + places[i].place];

			if (w->leader && w->shard->plan.kind == PLAN_NONE && w->leader->unindexed <= UNINDEXED_MAX)
				weigh_move(scales, groups, w, from, limits.per_store, &best);
		}
		*tries += n * groups->n;
		if (!best.weighed)
			break;
		if (begin_move(scales, &best, changes))
			begun++;
		else
			misses++;
		scales->shards[best.weighed - scales->shards].leader = NULL;
		for (size_t i = 0; i < groups->n; i++)
			if (memcmp(&groups->groups[i].site, &scales->survey->stores[best.member].site, sizeof(Site)) == 0)
				sort_group(scales, &groups->means[groups->groups[i].search_only], &groups->groups[i]);
	}
	return begun;
}

typedef struct Donor
{
	size_t		store;
	double		most;
} Donor;

static int
donor_compare(const void *a, const void *b)
{
	const Donor *x = (const Donor *) a;
	const Donor *y = (const Donor *) b;

	return x->most != y->most ? (x->most > y->most ? -1 : 1) : x->store < y->store ? -1 : 1;
}

static void
even_out_replicas(Scales *scales, uint32_t room, Changes *changes)
{
	Groups		groups;
	Donor	   *donors = vt_alloc(sizeof(Donor) * (scales->survey->nstores + 1));
	size_t		n = 0;
	size_t		tries = 0;

	groups_begin(&groups, scales);
	for (size_t i = 0; i < scales->survey->nstores; i++)
	{
		double		most = scales->survey->stores[i].health == HEALTH_UP ? most_from(scales, &groups, i) : 0;

		if (most > BALANCE_TOLERANCE)
			donors[n++] = (Donor) {i, most};
	}
	if (n > 0)
		qsort(donors, n, sizeof(Donor), donor_compare);

	/* Those that cannot give anything away must not be in the way of others for ever. */
	for (size_t i = 0; i < n && room > 0 && tries < TRIES_MAX; i++)
		room -= relieve(scales, &groups, donors[i].store, room, &tries, changes);
	groups_end(&groups);
	free(donors);
}

/* -- Spreading --------------------------------------------------------------- */

/* Do two voters share the first key? */
static bool
shares_site(const Scales *scales, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		for (int k = 0; k < i; k++)
		{
			const PlanStore *a = survey_store(scales->survey, shard->desc.replicas[i].store);
			const PlanStore *b = survey_store(scales->survey, shard->desc.replicas[k].store);

			for (uint32_t level = 0; a && b && level < scales->pd->options.spread.n; level++)
				if (a->site.at[level] == b->site.at[level])
					return true;
		}
	return false;
}

/* Some shards in each look; returns how many plans were begun. */
static uint32_t
spread(Scales *scales, uint32_t room, Changes *changes)
{
	Pd		   *pd = scales->pd;
	PlanLimits	limits = operate_limits(pd);
	uint32_t	begun = 0;
	size_t		looked = 0;
	size_t		i = 0;

	if (pd->options.spread.n == 0 || scales->n == 0)
		return 0;
	for (; i < scales->n && looked < SPREAD_MAX && begun < room; i++)
	{
		Weighed    *w = &scales->shards[(pd->spread_from + i) % scales->n];
		PlanShard	picture;
		Plan		plan;

		if (!w->leader || w->shard->plan.kind != PLAN_NONE || !shares_site(scales, w->shard))
			continue;
		looked++;
		operate_picture(pd, w->collection, w->shard, &picture);
		operate_holders(pd, w->shard, &picture);
		if (!is_whole(&picture) ||
			!plan_spread(&picture, scales->survey->stores, scales->survey->nstores, &limits, &plan))
			continue;
		operate_begin(scales->survey, changes, w->collection, w->shard, &plan);
		w->leader = NULL;
		begun++;
	}
	pd->spread_from = (pd->spread_from + i) % scales->n;
	return begun;
}

/* -- The look ---------------------------------------------------------------- */

/* How many plans may be begun for the sake of evenness: a quarter of all, no repair being at hand. */
static uint32_t
room_for_moves(Pd *pd, const Survey *survey)
{
	uint32_t	most = (operate_limits(pd).plans + 3) / 4;
	uint32_t	now = survey->kinds[PLAN_BALANCE] + survey->kinds[PLAN_SPREAD];

	if (pd->repairing || survey->plans >= operate_limits(pd).plans || now >= most)
		return 0;
	return most - now < operate_limits(pd).plans - survey->plans ? most - now : operate_limits(pd).plans - survey->plans;
}

void
rebalance_look(Pd *pd)
{
	Survey		survey;
	Scales		scales;
	Changes		changes;
	uint32_t	room;

	if (!pd->options.balance || pd->now_us < pd->balance_due_us || !reports_are_in(pd))
		return;
	pd->balance_due_us = pd->now_us + LOOK_US + (int64_t) catalog_nshards(pd->catalog) * LOOK_SHARD_US;
	loads_prune(pd);
	survey_begin(pd, &survey);
	changes_begin(pd, &changes);
	if (!operate_brake(pd, &survey))
	{
		scales_begin(&scales, pd, &survey);
		room = room_for_moves(pd, &survey);
		room -= room > 0 ? spread(&scales, room, &changes) : 0;
		if (room > 0)
			even_out_replicas(&scales, room, &changes);
		even_out_leaders(&scales);
		scales_end(&scales);
	}
	survey_end(&survey);
	changes_commit(pd, &changes);
}
