/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The simulator as a program.
 *
 *		sim --seed N --runs M		random worlds, seeds N .. N+M-1
 *		sim --seed N --trace		one world, its whole conversation as text
 *			--variant V, --max-events E, --without KIND,...
 *								... or one made smaller after a failure (shrink.c)
 *		sim --scenarios DIR			text scenarios against their golden traces
 *		sim --scenarios DIR --update	write the golden traces anew
 *		sim --zoo [--bug N]			deliberate bugs (built with -DRAFT_BUGS)
 *		sim --shards ...			shards and PostgreSQL servers in the same world
 *		sim --recover ...			... of Raft alone, with majorities that are lost for good
 *		sim --splits ...			... and shards that are split meanwhile
 *		sim --sessions ...			... with clients of collections in place of servers
 *		sim --shards --zoo [--law NAME]	their laws broken (built with -DVT_BREAKS)
 *		sim --bench					how fast the core alone is
 *
 * The last line of the others is "P passed, F failed, S skipped".  Exit code 1: a
 * violation, or a run that exercised nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include <signal.h>
#include <unistd.h>

#define LLU(x) ((unsigned long long) (x))

static volatile uint64_t current_seed;

/* A broken Assert inside: say which world it was. */
static void
on_abort(int signo)
{
	char		text[64];
	int			n = snprintf(text, sizeof(text), "aborted in seed %llu\n", LLU(current_seed));

	(void) signo;
	if (write(STDERR_FILENO, text, (size_t) n) < 0)
		_exit(3);
	_exit(2);
}

static void
add_counts(SimCounts *sum, const SimCounts *one)
{
#define X(name) sum->name += one->name;
	SIM_COUNTS(X)
#undef X
}

/* The same seed must give the same world [27]. */
static bool
replays(SimWorld world, uint64_t digest, SimCounts *sum)
{
	Sim		   *sim = sim_run(world, NULL);
	bool		same = sim->digest == digest;

	sim_free(sim);
	sum->replayed++;
	if (!same)
		printf("seed %llu: [27] runs differently the second time\n", LLU(world.seed));
	return same;
}

static bool
leaks(Sim *sim)
{
	uint64_t	seed = sim->world.seed;
	int64_t		live;

	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		{
			raft_close(sim->groups[g].replicas[i].raft);
			sim->groups[g].replicas[i].raft = NULL;
		}
	live = sim->memory.live;
	if (live != 0)
		printf("seed %llu: [26] %lld bytes are left\n", LLU(seed), (long long) live);
	return live != 0;
}

static int
run_seeds(SimWorld world, uint64_t runs)
{
	SimCounts	sum = {0};
	uint64_t	first = world.seed;
	uint64_t	failed = 0;
	uint64_t	idle = 0;

	for (uint64_t seed = first; seed < first + runs; seed++)
	{
		Sim		   *sim;
		bool		bad;

		current_seed = world.seed = seed;
		sim = sim_run(world, NULL);
		bad = sim->failed;
		add_counts(&sum, &sim->counts);
		if (bad)
		{
			printf("seed %llu: %s\n", LLU(seed), sim->violation);
			if (failed == 0)
				shrink_show(shrink(world), 120);
		}
		else
			bad = leaks(sim) || (seed % 50 == 0 && !replays(world, sim->digest, &sum));
		failed += bad;
		sim_free(sim);
		if (failed >= 10)
		{
			runs = seed - first + 1;
			break;
		}
	}

#define X(name) printf("%-20s %llu\n", #name, LLU(sum.name));
	SIM_COUNTS(X)
#undef X

	if (world.guest != NULL)
		idle += shard_print_counts(runs, &world);

	/* What many worlds never met was not tested. */
	if (runs >= 500)
	{
#define X(name) \
		if (sum.name == 0 && (world.guest == NULL || !SIM_RAFT_ALONE(#name)) && (world.recover || !SIM_RECOVERY(#name))) \
		{ \
			printf("never exercised: %s\n", #name); \
			idle++; \
		}
		SIM_COUNTS(X)
#undef X
	}
	else if (sum.elections == 0 || sum.written == 0)
		idle++;
	printf("%llu passed, %llu failed, 0 skipped\n", LLU(runs - failed), LLU(failed + idle));
	return failed + idle > 0;
}

static int
usage(void)
{
	fputs("usage: sim --seed N [--runs M | --trace [--variant V] [--max-events E] [--without KIND,...]]\n"
		  "       sim --scenarios DIR [--update]\n"
		  "       sim --bench\n"
		  "       sim --zoo [--bug N] [--seed N] [--runs M]\n"
		  "       sim --recover ...; --shards ...; --splits ...; --sessions ...; --shards --zoo [--law NAME]\n", stderr);
	return 2;
}

int
main(int argc, char **argv)
{
	SimWorld	world = {.seed = 1};
	uint64_t	runs = 1;
	const char *scenarios = NULL;
	const char *law = NULL;
	bool		trace = false;
	bool		update = false;
	bool		zoo = false;
	bool		have_runs = false;
	bool		have_seed = false;
	int			bug = 0;

	for (int i = 1; i < argc; i++)
	{
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--trace") == 0)
			trace = true;
		else if (strcmp(argv[i], "--shards") == 0)
			world.guest = &shard_guest;
		else if (strcmp(argv[i], "--splits") == 0 || strcmp(argv[i], "--sessions") == 0)
		{
			world.guest = &shard_guest;
			world.splits = true;
			world.sessions |= strcmp(argv[i], "--sessions") == 0;
		}
		else if (strcmp(argv[i], "--recover") == 0)
			world.recover = true;
		else if (strcmp(argv[i], "--bench") == 0)
			return bench_run();
		else if (strcmp(argv[i], "--update") == 0)
			update = true;
		else if (strcmp(argv[i], "--zoo") == 0)
			zoo = true;
		else if (value == NULL)
			return usage();
		else if (strcmp(argv[i], "--seed") == 0)
		{
			world.seed = strtoull(argv[++i], NULL, 0);
			have_seed = true;
		}
		else if (strcmp(argv[i], "--variant") == 0)
			world.variant = (uint32_t) strtoul(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--max-events") == 0)
			world.max_events = (uint32_t) strtoul(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--without") == 0)
		{
			if (!shrink_parse(argv[++i], &world.without))
				return usage();
		}
		else if (strcmp(argv[i], "--runs") == 0)
		{
			runs = strtoull(argv[++i], NULL, 0);
			have_runs = true;
		}
		else if (strcmp(argv[i], "--law") == 0)
			law = argv[++i];
		else if (strcmp(argv[i], "--bug") == 0)
			bug = atoi(argv[++i]);
		else if (strcmp(argv[i], "--scenarios") == 0)
			scenarios = argv[++i];
		else
			return usage();
	}
	if (world.recover && world.guest != NULL)
		return usage();
	if (zoo && world.guest != NULL)
		return shard_zoo_run(law, have_seed ? world.seed : 0, have_runs ? runs : 60000);
	if (zoo)
		return zoo_run(bug, world.seed, have_runs ? runs : 5000);
	if (scenarios != NULL)
		return scenario_run_all(scenarios, update);
#ifdef RAFT_BUGS
	raft_bug = bug;
#endif
	signal(SIGABRT, on_abort);
	if (trace)
	{
		Sim		   *sim = sim_run(world, stdout);
		bool		bad = sim->failed;

		printf("%s\n", bad ? sim->violation : "no violation");
		sim_free(sim);
		return bad;
	}
	return run_seeds(world, runs);
}
