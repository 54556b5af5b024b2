/*-------------------------------------------------------------------------
 *
 * shrink.c
 *	  A smaller world with the same violation.
 *
 * A random world meets many faults, and most of them have nothing to do with
 * what went wrong.  shrink() takes one kind after the other away, and whatever
 * else can be simpler, as long as some world without it still breaks the same
 * invariant; then it looks for the one that does so earliest.  What is left is
 * told by the names below, and its conversation is short enough to be read.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#include <stddef.h>

#define LLU(x) ((unsigned long long) (x))

/* Other chances tried under the same options, for each kind and in the end. */
#define VARIANTS 40
#define LAST_VARIANTS 1500

/* All worlds together may take so many events: some ten seconds. */
#define MAX_EVENTS UINT64_C(6000000)

typedef struct Kind
{
	const char *name;
	size_t		rate;			/* in SimOptions, to be 0; or one of the next */
} Kind;

enum
{
	NO_SKEW = 10000,
	ONE_GROUP,
	THREE_STORES,
	NO_LIMITS
};

#define RATE(name) {#name, offsetof(SimOptions, name)}

static const Kind kinds[] = {
	{"groups", ONE_GROUP}, {"stores", THREE_STORES}, {"limits", NO_LIMITS}, {"skew", NO_SKEW},
	RATE(late), RATE(duplicate), RATE(drop), RATE(lazy_ready), RATE(alloc_failure),
	RATE(disk_stall), RATE(disk_error), RATE(crash_point), RATE(pause_weight),
	RATE(forget_weight), RATE(campaign_weight), RATE(transfer_weight), RATE(compact_weight),
	RATE(conf_weight), RATE(cut_weight), RATE(crash_weight), RATE(sleep_weight)
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool
is_without(const Sim *sim, size_t kind)
{
	return (sim->world.without >> kind & 1) != 0;
}

/* The options were drawn: take away what this world is to be without. */
void
shrink_options(Sim *sim)
{
	for (size_t i = 0; i < KINDS; i++)
	{
		if (!is_without(sim, i))
			continue;
		if (kinds[i].rate < sizeof(SimOptions))
			memset((char *) &sim->opt + kinds[i].rate, 0, sizeof(uint32_t));
		else if (kinds[i].rate == ONE_GROUP)
			sim->opt.groups = 1;
		else if (kinds[i].rate == THREE_STORES && sim->opt.stores > 3)
			sim->opt.stores = 3;
		else if (kinds[i].rate == NO_SKEW)
			sim->opt.skew = false;
	}
	if (sim->world.max_events != 0 && sim->opt.events > sim->world.max_events)
		sim->opt.events = sim->world.max_events;
	if (sim->world.variant != 0)
		sim->prng.state = prng_mix(sim->prng.state + sim->world.variant);
}

/* Tiny limits as drawn, rather than the defaults? */
bool
shrink_keeps_limits(const Sim *sim)
{
	for (size_t i = 0; i < KINDS; i++)
		if (kinds[i].rate == NO_LIMITS)
			return !is_without(sim, i);
	return true;
}

/* Names with commas between; false: one of them is none. */
bool
shrink_parse(const char *names, uint32_t *without)
{
	while (*names != '\0')
	{
		size_t		len = strcspn(names, ",");
		size_t		i = 0;

		while (i < KINDS && (strlen(kinds[i].name) != len || strncmp(kinds[i].name, names, len) != 0))
			i++;
		if (i == KINDS)
			return false;
		*without |= UINT32_C(1) << i;
		names += len + (names[len] == ',');
	}
	return true;
}

Sim *
sim_run(SimWorld world, FILE *trace)
{
	Sim		   *sim = sim_new(world, trace);

	chaos_run(sim);
	return sim;
}

/* -- Looking for it ------------------------------------------------------------- */

typedef struct Search
{
	SimWorld	best;
	uint64_t	best_events;
	char		invariant[64];
	uint64_t	spent;
} Search;

/* Violations begin with the invariant, and numbers come after. */
static void
name_invariant(const char *violation, char *out, size_t size)
{
	size_t		len = *violation == '[' ? strcspn(violation, "]") : strcspn(violation, "0123456789");

	snprintf(out, size, "%.*s", (int) len, violation);
}

static bool
try_world(Search *search, SimWorld world, bool must_be_shorter)
{
	Sim		   *sim;
	bool		good;
	char		invariant[64];

	/* The repaired end is part of a world only if that is where it failed. */
	world.max_events = must_be_shorter && search->best_events < UINT32_MAX ?
		(uint32_t) search->best_events : 0;
	sim = sim_run(world, NULL);
	search->spent += sim->counts.events;
	name_invariant(sim->violation, invariant, sizeof(invariant));
	good = sim->failed && strcmp(invariant, search->invariant) == 0 &&
		(!must_be_shorter || sim->counts.events < search->best_events);
	if (good)
	{
		search->best = world;
		search->best_events = sim->counts.events;
	}
	sim_free(sim);
	return good;
}

SimWorld
shrink(SimWorld world)
{
	Sim		   *sim = sim_run(world, NULL);
	Search		search = {.best = world, .best_events = sim->counts.events};

	name_invariant(sim->violation, search.invariant, sizeof(search.invariant));
	sim_free(sim);
	for (size_t i = 0; i < KINDS; i++)
		for (uint32_t v = 0; v < VARIANTS && search.spent < MAX_EVENTS / 2; v++)
		{
			SimWorld	less = search.best;

			less.without |= UINT32_C(1) << i;
			less.variant = v;
			if (try_world(&search, less, false))
				break;
		}
	for (uint32_t v = 0; v < LAST_VARIANTS && search.spent < MAX_EVENTS; v++)
	{
		SimWorld	other = search.best;

		other.variant = v;
		(void) try_world(&search, other, true);
	}
	return search.best;
}

/* -- Showing it ------------------------------------------------------------------ */

/* Lines begin with the time; then comes the group, if it is about one. */
static bool
is_about(const char *line, long group)
{
	const char *words = strchr(line, ']');

	if (group < 0 || words == NULL || words[1] != ' ' || words[2] != 'g')
		return true;
	return strtol(words + 3, NULL, 10) == group;
}

/*
 * Tell a world that fails: how to see it again, and the last lines of the
 * conversation of the group it is about.
 */
void
shrink_show(SimWorld world, int lines)
{
	FILE	   *file = tmpfile();
	Sim		   *sim;
	char		line[1024];
	const char *comma = "";
	const char *about;
	long		group = -1;
	long		total = 0;
	long		n = 0;

	if (file == NULL)
		return;
	sim = sim_run(world, file);
	about = strstr(sim->violation, "group ");
	if (about != NULL)
		group = strtol(about + 6, NULL, 10);
	printf("%s\nafter %llu events: sim --trace%s --seed %llu --variant %u --max-events %u --without '",
		   sim->violation, LLU(sim->counts.events), world.recover ? " --recover" : "", LLU(world.seed), world.variant, world.max_events);
	for (size_t i = 0; i < KINDS; i++)
		if ((world.without >> i & 1) != 0)
		{
			printf("%s%s", comma, kinds[i].name);
			comma = ",";
		}
	printf("'\n");
	sim_free(sim);

	rewind(file);
	while (fgets(line, sizeof(line), file) != NULL)
		total += is_about(line, group);
	rewind(file);
	if (total > lines)
		printf("... %ld lines before\n", total - lines);
	while (fgets(line, sizeof(line), file) != NULL)
		if (is_about(line, group) && n++ >= total - lines)
			fputs(line, stdout);
	fclose(file);
}
