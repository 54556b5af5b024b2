/*-------------------------------------------------------------------------
 *
 * script.c
 *	  Scenarios: a command a line.
 *
 *	   spread KEYS					what replicas are spread over; before stores
 *	   option NAME NUMBER			moves, store_moves, down_after (s), plan_timeout (s), balance, search_replicas,
 *									split_bytes (MiB), loss (%), doubled (%), delay (ms), wait (ms), bandwidth (MiB/s)
 *	   stores N [ZONES [RACKS]]		workers for data, in turn over zones, and racks of each
 *	   search N						workers for searches only
 *	   collections N SHARDS REPLICAS LOW HIGH	founded, of LOW to HIGH MiB a shard
 *	   run S
 *	   settle S						until all is whole and nothing under way; in so many seconds at most
 *	   quiet S						nothing is decided for so long
 *	   even PERCENT					replicas, bytes, leaders differ by no more from the mean
 *	   zones						no shard is in fewer zones than it could be
 *	   learners N					each shard has so many
 *	   kill I [J], revive I [J], wipe I, slow I TIMES, stuck I, free I, flap I S (0: no more), drain I [J], undrain I [J]
 *	   killzone Z, revivezone Z
 *	   hot I N RATE					N shards that store I leads are written to
 *	   cool PERCENT					no store has more writes than so much over the mean
 *	   searched I N CORES			N shards that store I has are searched, which takes so many processors for each
 *	   calm PERCENT					no store's searches take more than so much over the mean
 *	   grow N MIB					so many shards have so many more
 *	   small MIB					no shard has more
 *	   pages						how long the driver takes to tell of all
 *	   driver						another one leads from now on
 *	   reign						the same, and how long it takes to read what all workers tell it
 *	   measure						figures count from here
 *	   moved LOW HIGH, moved_gib LOW HIGH, transfers LOW HIGH	since then
 *	   plans LOW HIGH				so many were under way at a time, at most, since then
 *
 * A line "----" ends it; what is behind is what the trace is to be.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

#include "../../src/pd/window.h"

#define SETTLED (60 * SECOND)

typedef struct Line
{
	char		name[32];
	char		text[64];		/* the first argument as it is */
	int			n;				/* arguments */
	double		args[6];
} Line;

static bool
parse(const char *text, Line *line)
{
	char		words[6][32];

	memset(line, 0, sizeof(*line));
	memset(words, 0, sizeof(words));
	line->n = sscanf(text, "%31s %31s %31s %31s %31s %31s", line->name, words[0], words[1], words[2], words[3], words[4]) - 1;
	if (line->n < 0 || line->name[0] == '#')
		return false;
	memcpy(line->text, words[0], sizeof(words[0]));
	for (int i = 0; i < 5; i++)
		line->args[i] = strtod(words[i], NULL);
	return true;
}

static void
set_option(Sim *sim, const char *name, double value)
{
	if (strcmp(name, "moves") == 0)
		sim->options.moves = (uint32_t) value;
	else if (strcmp(name, "store_moves") == 0)
		sim->options.store_moves = (uint32_t) value;
	else if (strcmp(name, "down_after") == 0)
		sim->options.down_after_us = (int64_t) (value * 1e6);
	else if (strcmp(name, "plan_timeout") == 0)
		sim->options.plan_timeout_us = (int64_t) (value * 1e6);
	else if (strcmp(name, "balance") == 0)
		sim->options.balance = value != 0;
	else if (strcmp(name, "search_replicas") == 0)
		sim->options.search_replicas = (uint32_t) value;
	else if (strcmp(name, "split_bytes") == 0)
		sim->options.split_bytes = (uint64_t) (value * 1048576);
	else if (strcmp(name, "loss") == 0)
		sim->loss = (uint32_t) value;
	else if (strcmp(name, "doubled") == 0)
		sim->doubled = (uint32_t) value;
	else if (strcmp(name, "delay") == 0)
		sim->delay_us = (int64_t) (value * 1000);
	else if (strcmp(name, "wait") == 0)
		sim->wait_us = (int64_t) (value * 1000);
	else if (strcmp(name, "bandwidth") == 0)
		sim->bandwidth = (uint64_t) (value * 1048576);
	else
		sim_fail(sim, "no option \"%s\"", name);
	sim->pd.options = sim->options;
}

static void
add_stores(Sim *sim, uint32_t n, uint32_t zones, uint32_t racks, bool search_only)
{
	if (!sim->rows)
		sim_open(sim);
	for (uint32_t i = 0; i < n; i++)
	{
		char		labels[LABELS_MAX] = "";
		unsigned	at = (unsigned) sim->nstores;

		if (zones > 0 && racks > 0)
			snprintf(labels, sizeof(labels), "zone=%u,rack=%u", at % zones, at / zones % racks);
		else if (zones > 0)
			snprintf(labels, sizeof(labels), "zone=%u", at % zones);
		sim_add_store(sim, labels, search_only);
	}
	sim_run(sim, 3 * SECOND);
}

static void
add_collections(Sim *sim, uint32_t n, int shards, int replicas, double low, double high)
{
	for (uint32_t i = 0; i < n; i++)
	{
		char		generation[VT_ID_TEXT];
		VtId		id;
		json_t	   *body;
		CatalogCollection *c;
		VtError		err = {0};

		put_be64(id.b, prng_next(&sim->prng));
		put_be64(id.b + 8, prng_next(&sim->prng));
		vt_id_format(&id, generation);
		body = json_pack("{s:s,s:{s:s,s:s,s:i},s:i,s:s,s:i,s:i,s:i,s:i,s:s}", "generation", generation,
						 "owner", "system", "7", "incarnation", generation, "database", 5,
						 "dim", 3, "metric", "l2", "m", 16, "ef_construction", 100,
						 "shards", shards, "replicas", replicas, "xid", "1");
		if (collection_create(&sim->pd, body, &c, &err) != VT_OK)
			sim_fail(sim, "%s", vt_error_words(&err));
		json_decref(body);
		sim_found(sim, c, (uint64_t) (low * 1048576), (uint64_t) (high * 1048576));
	}
}

static void
settle(Sim *sim, double seconds)
{
	int64_t		begin = sim->now;
	int64_t		since = -1;
	uint64_t	commits = 0;

	/*
	 * For so long nothing is decided and nothing is missing: the time before counts.
	 * A store that is back gets nothing for the sake of balance for half a minute.
	 */
	while (since < 0 || sim->now - since < SETTLED)
	{
		if ((double) (sim->now - begin) > seconds * 1e6 + SETTLED)
		{
			watch_settled(sim, true);
			watch_report(sim, stderr);
			sim_fail(sim, "it has not settled in %.0f s", seconds);
		}
		sim_run(sim, SECOND / 2);
		if (sim->figures.commits != commits || !watch_settled(sim, false))
			since = -1;
		else if (since < 0)
			since = sim->now;
		commits = sim->figures.commits;
	}
	printf("# %s: settled after %.0f s\n", sim->scenario, (double) (since - begin) / 1e6);
}

static void
quiet(Sim *sim, double seconds)
{
	uint64_t	commits = sim->figures.commits;
	uint64_t	transfers = sim->figures.transfers;

	for (double s = 0; s < seconds; s++)
	{
		sim_run(sim, SECOND);
		if (sim->figures.commits != commits || sim->figures.transfers != transfers || sim->pd.nhandovers > 0)
			sim_fail(sim, "something is decided though nothing has happened");
	}
}

static void
drain(Sim *sim, SimStore *store, bool draining)
{
	CatalogStore changed = *catalog_store(sim->pd.catalog, store->id);
	Buf			command = {0};

	changed.draining = draining;
	command_begin(&command);
	command_store(&command, &changed);
	sim_commit(&sim->pd, &command);
	buf_free(&command);
}

static void
heat(Sim *sim, const SimStore *store, uint32_t n, uint64_t rate)
{
	for (size_t i = 0; i < sim->ngroups && n > 0; i++)
		if (sim->groups[i].leads == store->id)
		{
			SimGroup   *group = &sim->groups[i];

			group->last = sim_last(sim, group);
			group->since_us = sim->now;
			group->rate = rate;
			sim->hot = true;
			n--;
		}
}

static void
search(Sim *sim, SimStore *store, uint32_t n, double processors)
{
	for (size_t i = 0; i < store->n && i < n; i++)
	{
		SimGroup   *group = sim_group(sim, store->replicas[i].shard);

		for (uint32_t k = 0; k < group->n; k++)
		{
			SimReplica *r = sim_live(sim, group->shard, &group->members[k]);

			if (r)
				r->searched_at = sim->now;
		}
		group->searches = processors;
	}
	sim->hot = true;
}

/* No store carries more than so much over the mean; what for. */
static void
check_no_more(Sim *sim, const double *carried, double total, double percent, const char *what)
{
	size_t		n = 0;

	for (size_t i = 0; i < sim->nstores; i++)
		n += sim->stores[i].alive && !sim->stores[i].search_only;
	for (size_t i = 0; i < sim->nstores; i++)
		if (carried[i] > total / (double) n * (1 + percent / 100))
			sim_fail(sim, "store %zu has %.2f %s, the mean is %.2f", i, carried[i], what, total / (double) n);
}

static void
check_calm(Sim *sim, double percent)
{
	double	   *carried = vt_alloc0(sizeof(double) * (sim->nstores + 1));
	double		total = 0;

	for (size_t i = 0; i < sim->nstores; i++)
		for (size_t k = 0; k < sim->stores[i].n; k++)
		{
			double		share = sim_share(sim, sim_group(sim, sim->stores[i].replicas[k].shard));

			carried[i] += share;
			total += share;
		}
	check_no_more(sim, carried, total, percent, "processors that search");
	free(carried);
}

static void
check_cool(Sim *sim, double percent)
{
	double	   *rates = vt_alloc0(sizeof(double) * (sim->nstores + 1));
	double		total = 0;

	for (size_t i = 0; i < sim->ngroups; i++)
		if (sim->groups[i].leads)
		{
			rates[sim_store(sim, sim->groups[i].leads) - sim->stores] += (double) sim->groups[i].rate;
			total += (double) sim->groups[i].rate;
		}
	check_no_more(sim, rates, total, percent, "writes a second");
	free(rates);
}

static void
check_learners(Sim *sim, uint32_t wanted)
{
	for (size_t i = 0; i < sim->ngroups; i++)
	{
		const SimGroup *g = &sim->groups[i];
		uint32_t	n = 0;

		for (uint32_t k = 0; k < g->n; k++)
			n += g->members[k].role == ROLE_LEARNER && sim_store(sim, g->members[k].store)->search_only;
		if (n != wanted)
			sim_fail(sim, "shard %" PRIu64 " has %u learners for searches, not %u", g->shard, n, wanted);
	}
}

static void
grow(Sim *sim, size_t n, double mib)
{
	for (size_t i = 0; i < n && i < sim->ngroups; i++)
	{
		sim->groups[i].bytes += (uint64_t) (mib * 1048576);
		sim->heaviest = sim->groups[i].bytes > sim->heaviest ? sim->groups[i].bytes : sim->heaviest;
		sim_touch(sim, &sim->groups[i]);
	}
}

static void
check_small(Sim *sim, double mib)
{
	for (size_t i = 0; i < sim->ngroups; i++)
		if ((double) sim->groups[i].bytes > mib * 1048576)
			sim_fail(sim, "shard %" PRIu64 " still has %.0f MiB", sim->groups[i].shard, (double) sim->groups[i].bytes / 1048576);
}

/* What holds the service thread up while somebody asks: a scrape, vectronctl check, a view. */
static void
pages(Sim *sim)
{
	Buf			page = {0};
	double		begin = sim_clock();
	double		scraped;
	double		checked;
	json_t	   *findings;
	json_t	   *operators;

	window_put_cluster(&sim->pd, &page);
	scraped = sim_clock();
	findings = json_findings(&sim->pd, NULL);
	checked = sim_clock();
	operators = json_operators(&sim->pd, NULL);
	printf("# %s: metrics %.1f ms, %zu bytes; check %.1f ms, %zu findings; operators %.1f ms, %zu rows\n", sim->scenario,
		   (scraped - begin) * 1e3, page.len, (checked - scraped) * 1e3, json_array_size(findings), (sim_clock() - checked) * 1e3,
		   json_array_size(operators));
	buf_free(&page);
	json_decref(findings);
	json_decref(operators);
}

static bool
is_in_zone(const SimStore *store, unsigned zone)
{
	unsigned	its;

	return sscanf(store->labels, "zone=%u", &its) == 1 && its == zone;
}

static void
check_count(Sim *sim, const char *what, double n, const Line *line)
{
	if (n < line->args[0] || n > line->args[1])
		sim_fail(sim, "%.1f %s, expected are %g to %g", n, what, line->args[0], line->args[1]);
}

static void
do_line(Sim *sim, const Line *line)
{
	const char *name = line->name;
	size_t		first = (size_t) line->args[0];
	size_t		last = line->n > 1 ? (size_t) line->args[1] : first;
	SimStore   *store = first < sim->nstores ? &sim->stores[first] : NULL;
	VtError		err = {0};

	if (strcmp(name, "spread") == 0)
	{
		if (spread_parse(line->text, &sim->options.spread, &err) != VT_OK)
			sim_fail(sim, "%s", vt_error_words(&err));
	}
	else if (strcmp(name, "option") == 0)
		set_option(sim, line->text, line->args[1]);
	else if (strcmp(name, "stores") == 0 || strcmp(name, "search") == 0)
		add_stores(sim, (uint32_t) line->args[0], (uint32_t) line->args[1], (uint32_t) line->args[2], name[1] == 'e');
	else if (strcmp(name, "collections") == 0)
		add_collections(sim, (uint32_t) line->args[0], (int) line->args[1], (int) line->args[2], line->args[3], line->args[4]);
	else if (strcmp(name, "run") == 0)
		sim_run(sim, (int64_t) (line->args[0] * 1e6));
	else if (strcmp(name, "settle") == 0)
		settle(sim, line->args[0]);
	else if (strcmp(name, "quiet") == 0)
		quiet(sim, line->args[0]);
	else if (strcmp(name, "even") == 0)
		watch_even(sim, line->args[0] / 100);
	else if (strcmp(name, "zones") == 0)
		watch_spread(sim);
	else if (strcmp(name, "learners") == 0)
		check_learners(sim, (uint32_t) line->args[0]);
	else if (strcmp(name, "kill") == 0 || strcmp(name, "revive") == 0)
	{
		for (size_t i = first; i <= last && i < sim->nstores; i++)
			if (sim->stores[i].alive != (name[0] == 'r'))
				(name[0] == 'r' ? sim_store_lives : sim_store_dies) (sim, &sim->stores[i]);
	}
	else if (strcmp(name, "killzone") == 0 || strcmp(name, "revivezone") == 0)
	{
		for (size_t i = 0; i < sim->nstores; i++)
			if (is_in_zone(&sim->stores[i], (unsigned) first) && sim->stores[i].alive != (name[0] == 'r'))
				(name[0] == 'r' ? sim_store_lives : sim_store_dies) (sim, &sim->stores[i]);
	}
	else if (strcmp(name, "pages") == 0)
		pages(sim);
	else if (strcmp(name, "reign") == 0)
		sim_reign(sim);
	else if (strcmp(name, "driver") == 0)
		sim_new_driver(sim);
	else if (strcmp(name, "measure") == 0)
	{
		sim->base = sim->figures;
		memset(sim->figures.look_most_s, 0, sizeof(sim->figures.look_most_s));
		sim->figures.most_plans = sim->figures.most_arriving = 0;
		sim->measured_us = sim->now;
		for (size_t i = 0; i < sim->ngroups; i++)
			sim->groups[i].handed = 0;
	}
	else if (strcmp(name, "moved") == 0)
		check_count(sim, "replicas were made", (double) (sim->figures.created - sim->base.created), line);
	else if (strcmp(name, "moved_gib") == 0)
		check_count(sim, "GiB were moved", (double) (sim->figures.moved_bytes - sim->base.moved_bytes) / 1073741824, line);
	else if (strcmp(name, "transfers") == 0)
		check_count(sim, "transfers", (double) (sim->figures.transfers - sim->base.transfers), line);
	else if (strcmp(name, "plans") == 0)
		check_count(sim, "plans were under way at a time", sim->figures.most_plans, line);
	else if (strcmp(name, "cool") == 0)
		check_cool(sim, line->args[0]);
	else if (strcmp(name, "calm") == 0)
		check_calm(sim, line->args[0]);
	else if (strcmp(name, "grow") == 0)
		grow(sim, first, line->args[1]);
	else if (strcmp(name, "small") == 0)
		check_small(sim, line->args[0]);
	else if (!store)
		sim_fail(sim, "no command \"%s\", or no such store", name);
	else if (strcmp(name, "wipe") == 0)
		sim_store_wiped(sim, store);
	else if (strcmp(name, "stuck") == 0 || strcmp(name, "free") == 0)
		store->stuck = name[0] == 's';
	else if (strcmp(name, "slow") == 0)
		store->slow = (int) line->args[1];
	else if (strcmp(name, "flap") == 0)
	{
		if (store->period_us == 0)
			sim_at(sim, sim->now, EVENT_FLAP, (uint32_t) first, 0, NULL);
		store->period_us = (int64_t) (line->args[1] * 1e6);
		if (store->period_us == 0 && !store->alive)
			sim_store_lives(sim, store);
	}
	else if (strcmp(name, "drain") == 0 || strcmp(name, "undrain") == 0)
	{
		for (size_t i = first; i <= last && i < sim->nstores; i++)
			drain(sim, &sim->stores[i], name[0] == 'd');
	}
	else if (strcmp(name, "searched") == 0)
		search(sim, store, (uint32_t) line->args[1], line->args[2]);
	else if (strcmp(name, "hot") == 0)
		heat(sim, store, (uint32_t) line->args[1], (uint64_t) line->args[2]);
	else
		sim_fail(sim, "no command \"%s\"", name);
}

/* True: a trace is expected, which is what is left of the file. */
bool
script_run(Sim *sim, FILE *script)
{
	char		text[256];
	Line		line;

	while (fgets(text, sizeof(text), script))
	{
		if (strncmp(text, "----", 4) == 0)
			return true;
		if (!parse(text, &line))
			continue;
		if (sim->verbose)
		{
			printf("%7.1f %s", (double) (sim->now - 1000 * SECOND) / 1e6, text);
			fflush(stdout);
		}
		do_line(sim, &line);
	}
	return false;
}
