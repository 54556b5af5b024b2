/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  What must hold at each step and in the end; traces; figures.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdarg.h>

#include "base/hash.h"
#include "pdsim.h"

#define TRACED_MAX 1000			/* shards, when decisions are traced */
#define EACH_STEP_MAX 2000		/* that are all looked at at each step */

bool
watch_is_wide(const Sim *sim)
{
	return sim->ngroups > TRACED_MAX;
}

void
watch_sum_up(Sim *sim)
{
	fprintf(sim->trace, "%" PRIu64 " commands, what followed of digest %016" PRIx64 ", %" PRIu64 " replicas made, %" PRIu64 " transfers\n",
			sim->figures.commits, sim->decisions, sim->figures.created, sim->figures.transfers);
}

/* -- At each change of members ------------------------------------------------ */

static void
check_stores(Sim *sim, const SimGroup *group)
{
	for (uint32_t i = 0; i < group->nnext; i++)
	{
		SimStore   *store = sim_store(sim, group->next[i].store);

		if (!store)
			sim_fail(sim, "shard %" PRIu64 " is to have a member on a store that is not known", group->shard);
		if (store->search_only && group->next[i].role == ROLE_VOTER)
		{
			bool		was = false;

			for (uint32_t k = 0; k < group->n; k++)
				was |= group->members[k].replica == group->next[i].replica && group->members[k].role == ROLE_VOTER;
			if (!was)
				sim_fail(sim, "shard %" PRIu64 " is to have a voter on a store for searches only", group->shard);
		}
		for (uint32_t k = 0; k < i; k++)
			if (group->next[i].store == group->next[k].store)
				sim_fail(sim, "shard %" PRIu64 " is to have two members on one store", group->shard);
	}
}

/* Somebody died just now: the driver may not know it yet. */
static bool
just_died(Sim *sim)
{
	for (size_t i = 0; i < sim->nstores; i++)
		if (!sim->stores[i].alive && sim->now - sim->stores[i].died_us < sim->options.down_after_us + 30 * SECOND)
			return true;
	return false;
}

/* Voters that live, in so many zones. */
static uint32_t
zones_of(Sim *sim, const SimGroup *group, const WireReplica *members, uint32_t n)
{
	Site		sites[WIRE_REPLICAS_MAX];
	uint32_t	zones = 0;
	uint32_t	seen = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		bool		is_new = true;

		if (members[i].role != ROLE_VOTER || !sim_live(sim, group->shard, &members[i]))
			continue;
		sites[seen] = spread_site(&sim->options.spread, sim_store(sim, members[i].store)->labels);
		for (uint32_t k = 0; k < seen; k++)
			is_new &= sites[k].at[0] != sites[seen].at[0];
		zones += is_new;
		seen++;
	}
	return zones;
}

static const WireReplica *
member_of(const WireReplica *members, uint32_t n, uint64_t replica)
{
	for (uint32_t i = 0; i < n; i++)
		if (members[i].replica == replica)
			return &members[i];
	return NULL;
}

/* Who gets a vote has the log, and what was moved for evenness stays where it is. */
static void
check_members(Sim *sim, const SimGroup *group, const CatalogShard *shard)
{
	for (uint32_t i = 0; i < group->nnext; i++)
	{
		const WireReplica *was = member_of(group->members, group->n, group->next[i].replica);
		const SimReplica *r = sim_live(sim, group->shard, &group->next[i]);

		if (group->next[i].role == ROLE_VOTER && !(was && was->role == ROLE_VOTER) && r && r->ready_us > sim->now)
			sim_fail(sim, "shard %" PRIu64 ": replica %" PRIu64 " is to have a vote and has not the log", group->shard, r->replica);
	}
	for (uint32_t i = 0; i < group->n; i++)
	{
		const SimReplica *r = sim_live(sim, group->shard, &group->members[i]);

		sim->figures.again += shard->plan.kind == PLAN_BALANCE && r && r->evened && shard->plan.remove == r->replica &&
			!member_of(group->next, group->nnext, r->replica);
	}
}

/* group->next is about to take the place of group->members. */
void
watch_change(Sim *sim, SimGroup *group)
{
	uint32_t	voters;
	uint32_t	before = sim_live_voters(sim, group->shard, group->members, group->n, &voters);
	uint32_t	after = sim_live_voters(sim, group->shard, group->next, group->nnext, &voters);
	uint32_t	wanted = sim->options.default_replicas;
	CatalogCollection *c;
	const CatalogShard *shard = find_shard(&sim->pd, group->shard, &c);

	check_stores(sim, group);
	check_members(sim, group, shard);
	if (c->replicas_wanted)
		wanted = c->replicas_wanted;
	if (after < before && after < wanted && !just_died(sim))
		sim_fail(sim, "shard %" PRIu64 " goes from %u to %u live voters of %u", group->shard, before, after, wanted);

	/* What is moved without need never comes to share more. */
	if (sim->options.spread.n > 0 && (shard->plan.kind == PLAN_BALANCE || shard->plan.kind == PLAN_SPREAD) && after == before &&
		zones_of(sim, group, group->next, group->nnext) < zones_of(sim, group, group->members, group->n) && !just_died(sim))
		sim_fail(sim, "shard %" PRIu64 " is in fewer zones after it was moved", group->shard);
}

/* -- At each look ------------------------------------------------------------- */

static unsigned
place_of(Sim *sim, uint64_t store)
{
	SimStore   *found = sim_store(sim, store);

	return found ? (unsigned) (found - sim->stores) : 9999;
}

static const char *
plan_name(PlanKind kind)
{
	static const char *const names[PLAN_KINDS] = {
		"nothing", "repair", "grow", "shrink", "drain", "move", "balance", "spread", "search", "split"
	};

	return names[kind];
}

static uint64_t
store_of_member(const CatalogShard *shard, uint64_t replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].replica == replica)
			return shard->desc.replicas[i].store;
	return 0;
}

/* A line of the trace, or of what its digest is of. */
static void __attribute__((format(printf, 2, 3)))
trace(Sim *sim, const char *format,...)
{
	char		line[128];
	int			n = snprintf(line, sizeof(line), "%7.1f ", (double) (sim->now - 1000 * SECOND) / 1e6);
	va_list		args;

	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - (size_t) n, format, args);
	va_end(args);
	if (watch_is_wide(sim))
		sim->decisions = prng_mix(sim->decisions ^ hash_checksum(bytes_str(line)));
	else if (sim->trace)
		fprintf(sim->trace, "%s\n", line);
}

/* What has changed with a shard since the last step. */
static void
trace_shard(Sim *sim, SimGroup *group, const CatalogShard *shard, unsigned ordinal)
{
	if (group->plan != shard->plan.kind || (shard->plan.add_replica && group->add_store != shard->plan.add_store))
	{
		char		from[32] = "";
		char		to[32] = "";

		sim->figures.plans[shard->plan.kind]++;
		group->plan = shard->plan.kind;
		group->add_store = shard->plan.add_store;
		if (shard->plan.remove)
			snprintf(from, sizeof(from), " from %u", place_of(sim, store_of_member(shard, shard->plan.remove)));
		if (shard->plan.add_store)
			snprintf(to, sizeof(to), " to %u", place_of(sim, shard->plan.add_store));
		trace(sim, "shard %u %s%s%s", ordinal, shard->plan.kind == PLAN_NONE ? "done" : plan_name(shard->plan.kind), from, to);
	}
	if (group->leads && group->leads != group->led_by)
	{
		trace(sim, "shard %u led by %u", ordinal, place_of(sim, group->leads));
		group->led_by = group->leads;
	}
}

/* How many plans may be under way, as --moves is documented (src/pd/main.c): what the driver makes of it is on trial. */
static uint32_t
plans_allowed(const Sim *sim)
{
	size_t		stores = sim->pd.catalog->nstores;

	if (sim->options.moves > 0)
		return sim->options.moves;
	return stores > 64 ? (uint32_t) stores : 64;
}

/* Limits, over the whole catalog. */
static void
check_limits(Sim *sim)
{
	PlanLimits	limits = operate_limits(&sim->pd);
	Survey		survey;

	survey_begin(&sim->pd, &survey);
	twin_check(sim, &survey);

	/* Splits have a limit of their own: they begin whatever else is under way, and keep others waiting. */
	if (survey.plans - survey.kinds[PLAN_SPLIT] > plans_allowed(sim))
		sim_fail(sim, "%u plans are under way, %u of them splits, %u may be",
				 survey.plans, survey.kinds[PLAN_SPLIT], plans_allowed(sim));
	if (survey.plans > sim->figures.most_plans)
		sim->figures.most_plans = survey.plans;
	for (size_t i = 0; i < survey.nstores; i++)
	{
		const PlanStore *store = &survey.stores[i];

		uint64_t	before = store->arriving_bytes > sim->heaviest ? store->arriving_bytes - sim->heaviest : 0;

		/* There was room before the last one came, which is as large as it is. */
		if (store->arriving > 0 && !plan_has_room(&limits, store->arriving - 1, before))
			sim_fail(sim, "%u replicas are on their way to a store", store->arriving);
		if (survey.stores[i].arriving > sim->figures.most_arriving)
			sim->figures.most_arriving = survey.stores[i].arriving;
	}
	survey_end(&survey);
}

void
watch_step(Sim *sim)
{
	unsigned	ordinal = 0;

	/* All shards at each step while there are few, else now and then. */
	if (sim->ngroups > EACH_STEP_MAX && sim->now % (10 * SECOND) >= SECOND / 10)
		return;
	check_limits(sim);
	for (size_t i = 0; i < sim->ngroups; i++)
	{
		CatalogCollection *c;
		const CatalogShard *shard = find_shard(&sim->pd, sim->groups[i].shard, &c);

		if (shard)
			trace_shard(sim, &sim->groups[i], shard, ordinal++);
	}
}

/* -- In the end --------------------------------------------------------------- */

/* As many voters as are wanted and possible, all of them live, nothing under way and nothing put off. */
bool
watch_settled(Sim *sim, bool say)
{
	size_t		able = 0;
	size_t		bad = 0;

	for (size_t i = 0; i < sim->nstores; i++)
	{
		CatalogStore *store = catalog_store(sim->pd.catalog, sim->stores[i].id);

		able += sim->stores[i].alive && store && !store->draining && !store->search_only;
		if (sim->stores[i].alive && !store)
			return false;
	}
	for (size_t i = 0; i < sim->ngroups; i++)
	{
		SimGroup   *group = &sim->groups[i];
		CatalogCollection *c;
		const CatalogShard *shard = find_shard(&sim->pd, group->shard, &c);
		uint32_t	wanted = shard && c->replicas_wanted ? c->replicas_wanted : sim->options.default_replicas;
		uint32_t	voters;
		uint32_t	live = sim_live_voters(sim, group->shard, group->members, group->n, &voters);

		if (!shard)
			return false;		/* split off, and the driver has not heard of it */
		if (wanted > able)
			wanted = (uint32_t) able;
		if (group->leader && !group->joint && live == wanted && voters == wanted && shard->plan.kind == PLAN_NONE &&
			shard->conf_index == group->conf_index)
			continue;
		if (say && bad < 5)
			fprintf(stderr, "shard %" PRIu64 ": leader %" PRIu64 ", %u of %u voters live, %u wanted, plan %s, conf %" PRIu64 " known %" PRIu64 "\n",
					group->shard, group->leader, live, voters, wanted, plan_name(shard->plan.kind), group->conf_index, shard->conf_index);
		bad++;
	}
	for (size_t i = 0; i < sim->pd.nhandovers; i++)
		bad += !sim->pd.handovers[i].given_up;
	return bad == 0 && sim->now >= sim->pd.braked_until_us;
}

typedef struct Load
{
	double		replicas;
	double		bytes;
	double		leaders;
	double		rate;
} Load;

/* Of those sites that can have anything: how far from the mean the worst store is, over the mean. */
void
watch_even(Sim *sim, double tolerance)
{
	Load	   *loads = vt_alloc0(sizeof(Load) * (sim->nstores + 1));
	Load		mean = {0};
	size_t		n = 0;

	for (size_t i = 0; i < sim->ngroups; i++)
	{
		SimGroup   *g = &sim->groups[i];

		for (uint32_t k = 0; k < g->n; k++)
		{
			loads[place_of(sim, g->members[k].store)].replicas++;
			loads[place_of(sim, g->members[k].store)].bytes += (double) g->bytes;
		}
		if (g->leads)
		{
			loads[place_of(sim, g->leads)].leaders++;
			loads[place_of(sim, g->leads)].rate += (double) g->rate;
		}
	}
	for (size_t i = 0; i < sim->nstores; i++)
		if (sim->stores[i].alive && !sim->stores[i].search_only)
		{
			n++;
			mean.replicas += loads[i].replicas;
			mean.bytes += loads[i].bytes;
			mean.leaders += loads[i].leaders;
			mean.rate += loads[i].rate;
		}
	mean.replicas /= (double) n;
	mean.bytes /= (double) n;
	mean.leaders /= (double) n;
	mean.rate /= (double) n;
	for (size_t i = 0; i < sim->nstores; i++)
	{
		const char *what = NULL;

		if (!sim->stores[i].alive || sim->stores[i].search_only)
			continue;
		if (fabs(loads[i].replicas - mean.replicas) > 1 + tolerance * mean.replicas)
			what = "replicas";
		else if (mean.bytes > 16e6 && fabs(loads[i].bytes - mean.bytes) > tolerance * mean.bytes + 2 * mean.bytes / mean.replicas)
			what = "bytes";
		else if (fabs(loads[i].leaders - mean.leaders) > 1.5 + tolerance * mean.leaders)
			what = "leaders";
		if (what)
			sim_fail(sim, "store %zu has too many or too few %s: %.0f replicas (mean %.1f), %.0f MiB (%.0f), %.0f leaders (%.1f), %.0f writes/s (%.0f)",
					 i, what, loads[i].replicas, mean.replicas, loads[i].bytes / 1048576, mean.bytes / 1048576,
					 loads[i].leaders, mean.leaders, loads[i].rate, mean.rate);
	}
	free(loads);
}

/* No shard is in fewer zones than there are live ones with a store for data. */
void
watch_spread(Sim *sim)
{
	uint64_t	zones[256];
	uint32_t	n = 0;

	for (size_t i = 0; i < sim->nstores; i++)
	{
		CatalogStore *store = catalog_store(sim->pd.catalog, sim->stores[i].id);
		Site		site = spread_site(&sim->options.spread, sim->stores[i].labels);
		bool		is_new = sim->stores[i].alive && store && !store->draining && !store->search_only;

		for (uint32_t k = 0; k < n; k++)
			is_new &= zones[k] != site.at[0];
		if (is_new && n < 256)
			zones[n++] = site.at[0];
	}
	for (size_t i = 0; i < sim->ngroups; i++)
	{
		SimGroup   *g = &sim->groups[i];
		uint32_t	voters;
		uint32_t	live = sim_live_voters(sim, g->shard, g->members, g->n, &voters);
		uint32_t	most = live < n ? live : n;

		if (zones_of(sim, g, g->members, g->n) < most)
			sim_fail(sim, "shard %" PRIu64 " is in %u zones and could be in %u", g->shard,
					 zones_of(sim, g, g->members, g->n), most);
	}
}

void
watch_report(Sim *sim, FILE *out)
{
	SimFigures *f = &sim->figures;
	SimFigures *b = &sim->base;
	uint64_t	beats = f->beats - b->beats;
	uint64_t	handed = 0;

	for (size_t i = 0; i < sim->ngroups; i++)
		handed += sim->groups[i].handed > 1 ? sim->groups[i].handed - 1 : 0;
	fprintf(out, "# %s: %.0f s simulated, %" PRIu64 " replicas made, %.1f GiB moved, %" PRIu64 " moved again, %" PRIu64 " changes of members, %" PRIu64
			" transfers, %" PRIu64 " of them again, %" PRIu64 " commits; at most %u plans, %u to one store\n",
			sim->scenario, (double) (sim->now - sim->measured_us) / 1e6, f->created - b->created,
			(double) (f->moved_bytes - b->moved_bytes) / 1073741824, f->again - b->again, f->changes - b->changes,
			f->transfers - b->transfers, handed, f->commits - b->commits, f->most_plans, f->most_arriving);
	fprintf(out, "# %s: %" PRIu64 " looks; at plans %.1f ms in all, worst %.1f, at balance %.1f, worst %.1f, at the rest %.1f, worst %.1f\n",
			sim->scenario, f->looks - b->looks, (f->look_s[LOOK_PLANS] - b->look_s[LOOK_PLANS]) * 1e3, f->look_most_s[LOOK_PLANS] * 1e3,
			(f->look_s[LOOK_BALANCE] - b->look_s[LOOK_BALANCE]) * 1e3, f->look_most_s[LOOK_BALANCE] * 1e3,
			(f->look_s[LOOK_REST] - b->look_s[LOOK_REST]) * 1e3, f->look_most_s[LOOK_REST] * 1e3);
	fprintf(out, "# %s: applying %.3f ms each; heartbeats %" PRIu64 " (%" PRIu64 " whole, %" PRIu64 " rows), %.3f ms each\n",
			sim->scenario, f->commits > b->commits ? (f->commit_s - b->commit_s) * 1e3 / (double) (f->commits - b->commits) : 0,
			beats, f->full_beats - b->full_beats, f->rows - b->rows, beats ? (f->beat_s - b->beat_s) * 1e3 / (double) beats : 0);
}
