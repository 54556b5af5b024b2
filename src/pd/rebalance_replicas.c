/*-------------------------------------------------------------------------
 *
 * rebalance_replicas.c
 *	  Replicas that go from stores that have much to those that have little.
 *
 * Stores of one role at one site are as good as each other, so for each replica only
 * the emptiest of them are weighed.  The stores with most to gain give first.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "scales.h"

#define BYTES_LEAST (16.0 * 1024 * 1024)	/* on a store, before bytes matter */
#define SEARCHES_LEAST 0.25		/* processors of a store that are searching; fewer matter less and less, */
#define SEARCHES_HOT 0.5		/* and only a store with more gives something away for their sake */
#define SEARCH_NOISE 0.25		/* of what a store carries of it: so exactly it is not known */
#define TRIES_MAX 200000		/* moves that are weighed in a look */
#define GROUP_TAKERS 8			/* of a site, that are weighed for each replica */

/* Stores of one role at one site, those with the least first. */
typedef struct Group
{
	bool		search_only;
	Site		site;
	uint32_t   *stores;
	size_t		n;
	Carried		least;			/* that any of them carries, in each kind */
} Group;

typedef struct Groups
{
	Group	   *groups;
	size_t		n;
	BalanceMeans means[2];		/* of stores for data, and for searches only */
	Carried		least[2];		/* that any taker of them carries, in each kind */
	Carried		heaviest;		/* in each of its kinds */
} Groups;

static bool
is_of_group(const Group *group, const PlanStore *store)
{
	return group->search_only == store->search_only && memcmp(&group->site, &store->site, sizeof(Site)) == 0;
}

static double
fullness(const Scales *scales, const BalanceMeans *means, size_t store)
{
	const Carried *c = &scales->replicas[store];

	return (means->n > 0 ? c->n / means->n : 0) + (means->weight > 0 ? c->weight / means->weight : 0) +
		(means->searches > 0 ? c->searches / means->searches : 0);
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

static const Carried nothing_yet = {DBL_MAX, DBL_MAX, DBL_MAX};

static void
note_least(Carried *least, const Carried *has)
{
	least->n = fmin(least->n, has->n);
	least->weight = fmin(least->weight, has->weight);
	least->searches = fmin(least->searches, has->searches);
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
		Carried		total = scales_total(scales, scales->replicas, role, &n);

		groups->means[role] = balance_means(&total, n, &(Carried) {.weight = BYTES_LEAST, .searches = SEARCHES_LEAST});
		groups->least[role] = nothing_yet;
	}
	for (size_t i = 0; i < scales->n; i++)
		groups->heaviest.weight = fmax(groups->heaviest.weight, scales->shards[i].bytes);
	groups->heaviest.searches = DBL_MAX;
	for (size_t i = 0; i < survey->nstores; i++)
	{
		const PlanStore *store = &survey->stores[i];
		Group	   *group = groups->groups;

		if (!store->takes || !store->steady)
			continue;
		while (group < groups->groups + groups->n && !is_of_group(group, store))
			group++;
		if (group == groups->groups + groups->n)
		{
			groups->n++;
			group->search_only = store->search_only;
			group->site = store->site;
			group->least = nothing_yet;
		}
		group->stores = vt_realloc(group->stores, sizeof(uint32_t) * (group->n + 1));
		group->stores[group->n++] = (uint32_t) i;
		note_least(&group->least, &scales->replicas[i]);
		note_least(&groups->least[store->search_only], &scales->replicas[i]);
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

/*
 * What a store would carry, with as much more searches as they may vary: clients ask
 * another replica from one moment to the next, and what is gained by less is nothing.
 */
static Carried
taker(const Scales *scales, size_t from, const Carried *to)
{
	Carried		there = *to;

	there.searches += SEARCH_NOISE * scales->replicas[from].searches;
	return there;
}

typedef double (*Gain) (const BalanceMeans *means, const Carried *from, const Carried *to, const Carried *replica);

/*
 * What a move from one store to another gains (balance_gain), or could gain at most
 * (balance_gain_most); from one that is not hot, also without a look at searches.
 */
static double
gain_of(Gain gain, const Scales *scales, const BalanceMeans *means, size_t from, const Carried *to, const Carried *replica)
{
	const Carried *here = &scales->replicas[from];
	Carried		there = taker(scales, from, to);
	BalanceMeans plain = {means->n, means->weight, 0};
	double		whole = gain(means, here, &there, replica);

	return here->searches < SEARCHES_HOT ? fmin(whole, gain(&plain, here, &there, replica)) : whole;
}

/*
 * What moving anything away from this store could gain at most; 0: not enough.  No taker
 * gives more than one would that has as little of each kind as any: mostly that says it.
 */
static double
most_from(const Scales *scales, const Groups *groups, size_t from)
{
	const PlanStore *store = &scales->survey->stores[from];
	double		most = 0;

	if (gain_of(balance_gain_most, scales, &groups->means[store->search_only], from, &groups->least[store->search_only],
				&groups->heaviest) <= BALANCE_TOLERANCE)
		return 0;
	for (size_t i = 0; i < groups->n; i++)
		for (size_t k = 0; groups->groups[i].search_only == store->search_only && k < groups->groups[i].n && k < GROUP_TAKERS; k++)
		{
			double		gain = gain_of(balance_gain_most, scales, &groups->means[store->search_only], from,
									   &scales->replicas[groups->groups[i].stores[k]], &groups->heaviest);

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

/* The best store for one shard's replica on another, if its leader says that it may move. */
static void
weigh_move(const Scales *scales, const Groups *groups, const Weighed *w, size_t from, const PlanLimits *limits, Offer *best)
{
	const PlanStore *here = &scales->survey->stores[from];
	const BalanceMeans *means = &groups->means[here->search_only];
	Carried		replica = scales_replica(scales, w, here->store);
	const Report *leader;
	Site		others[WIRE_REPLICAS_MAX];
	size_t		nothers = 0;
	uint32_t	crowding;

	/* None gains more than one to a store that has as little of each kind as any: mostly that is all. */
	if (gain_of(balance_gain, scales, means, from, &groups->least[here->search_only], &replica) < best->gain)
		return;
	leader = scales_leader(scales, w);
	if (!leader || leader->unindexed > UNINDEXED_MAX)
		return;
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

		if (group->search_only != here->search_only || site_crowding(&group->site, others, nothers) > crowding ||
			gain_of(balance_gain, scales, means, from, &group->least, &replica) < best->gain)
			continue;
		for (size_t k = 0; k < group->n && k < GROUP_TAKERS; k++)
		{
			size_t		to = group->stores[k];
			double		gain;

			if (!plan_has_room(limits, scales->survey->stores[to].arriving, scales->survey->stores[to].arriving_bytes) ||
				has_replica_on(w->shard, scales->survey->stores[to].store))
				continue;
			gain = gain_of(balance_gain, scales, means, from, &scales->replicas[to], &replica);

			/* Of equals one that need not hand leadership over first. */
			gain -= w->leads == here->store ? BALANCE_TOLERANCE / 100 : 0;
			if (gain > best->gain ||
				(best->weighed && gain == best->gain && w->shard->desc.shard < best->weighed->shard->desc.shard))
				*best = (Offer) {w, (uint32_t) to, (uint32_t) from, gain};
		}
	}
}

bool
rebalance_is_whole(const PlanShard *shard)
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
	Carried		replica = scales_replica(scales, w, from->store);
	PlanShard	picture;
	Plan		plan = {.kind = PLAN_BALANCE, .add_store = to->store};

	operate_picture(scales->pd, w->collection, w->shard, &picture);
	stall_shun(scales->pd, &picture);
	if (!rebalance_is_whole(&picture) || plan_is_holder(&picture, to->store) ||
		operate_is_held(scales->pd, w->shard, to->store, &picture) || !operate_has_replica(w->shard, from->store, &plan.remove))
		return false;
	operate_begin(scales->pd, scales->survey, changes, w->collection, w->shard, &plan);
	scales_take(scales, scales->replicas, from->store, &replica);
	scales_put(scales, scales->replicas, to->store, &replica);
	return true;
}

/* Move the replicas of one store that gain most. */
static void
relieve(Scales *scales, Groups *groups, size_t from, size_t *tries, Changes *changes)
{
	PlanLimits	limits = operate_limits(scales->pd);
	PlanStore  *store = &scales->survey->stores[from];
	uint32_t	misses = 0;

	while (rebalance_has_room(scales, PLAN_BALANCE) && plan_has_room(&limits, store->leaving, store->leaving_bytes) &&
		   misses < limits.per_store && *tries < TRIES_MAX && most_from(scales, groups, from) > BALANCE_TOLERANCE)
	{
		size_t		n;
		const ShardPlace *places = shards_of_store(scales->pd, store->store, &n);
		Offer		best = {.gain = BALANCE_TOLERANCE};

		for (size_t i = 0; i < n; i++)
		{
			const Weighed *w = &scales->shards[scales->first[places[i].collection] + places[i].place];

			if (w->leads && !w->asked && w->shard->plan.kind == PLAN_NONE)
				weigh_move(scales, groups, w, from, &limits, &best);
		}
		*tries += n * groups->n;
		if (!best.weighed)
			break;
		misses += !begin_move(scales, &best, changes);
		scales->shards[best.weighed - scales->shards].leads = 0;
		note_least(&groups->least[store->search_only], &scales->replicas[from]);
		for (size_t i = 0; i < groups->n; i++)
		{
			Group	   *group = &groups->groups[i];

			if (is_of_group(group, store))
				note_least(&group->least, &scales->replicas[from]);
			if (memcmp(&group->site, &scales->survey->stores[best.member].site, sizeof(Site)) == 0)
				sort_group(scales, &groups->means[group->search_only], group);
		}
	}
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

void
rebalance_replicas(Scales *scales, Changes *changes)
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
	for (size_t i = 0; i < n && tries < TRIES_MAX; i++)
		relieve(scales, &groups, donors[i].store, &tries, changes);
	groups_end(&groups);
	free(donors);
}
