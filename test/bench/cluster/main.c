/*-------------------------------------------------------------------------
 *
 * main.c
 *	  cluster_bench: measurements of a whole cluster at the door of src/client.
 *
 *	   cluster_bench MODE [options]
 *
 * Each mode has options that suit it, and bars, which are those that the project set
 * itself; 0 takes one away.  Status 1 when a bar was missed.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <unistd.h>

/* Clients at a pace that leaves room, and what they may notice. */
#define PACED "--dim 128 --records 50000 --searchers 8 --writers 2 --pause 20 --seconds 20 --down-after 5 --times 2 --share 0.8 --p99 1000"

/* Options as they would be written behind it; what is written there has the last word. */
static const struct Mode
{
	const char *name;
	void		(*run) (Bench *bench);
	const char *options;
	const char *help;
}			modes[] = {
	{"failover", failover, "--median 300 --p99 1000 --delays 1",
		"leaders are killed while clients write and search"},
	{"goodput", goodput, "--clients 200 --from 1 --seconds 2 --share 0.8 --p99 50 --haste 20 --memory-limit 128",
		"one client searches, then two, and so on"},
	{"etcd", rival, "--shards 1 --clients 64 --records 1 --rounds 3 --seconds 4 --times 2 --share 0.8",
		"writes, beside etcd"},
	{"busy", busy, "--workers 4 --searchers 8 --writers 2 --dim 128 --records 20000 --bulk 20000 --checkpoint 1 --seconds 60 --p99 100",
		"all cores busy with everything for a while"},
	{"catchup", catchup, "--workers 3 --replicas 2 --shards 1 --dim 768 --m 2 --ef-construction 4 --records 100000 --checkpoint 8"
		" --rounds 5 --share 0.5",
		"a new replica, beside a plain copy"},
	{"repair", repair, PACED,
		"searches and writes while replicas are made anew"},
	{"moves", moves, PACED,
		"searches and writes while replicas move and shards are split"},
	{"many", many, "--workers 1 --replicas 1 --dim 128 --records 20000 --seconds 2 --rounds 5 --times 1",
		"one client searches for one query at a time, for several, for many"},
	{"idle", idle, "--groups 2000 --dim 2 --seconds 20 --percent 2",
		"many groups of three replicas in which nothing happens, and one worker killed"},
};

#define MODES (sizeof(modes) / sizeof(modes[0]))

typedef struct Option
{
	const char *name;
	uint32_t   *number;
	double	   *real;
	const char **text;
	const char *help;
} Option;

static void
usage(const Option *options, size_t n)
{
	fprintf(stderr, "usage: cluster_bench MODE [OPTION VALUE]...\n");
	for (size_t i = 0; i < MODES; i++)
		fprintf(stderr, "  %-18s %s\n", modes[i].name, modes[i].help);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "  %-18s %s\n", options[i].name, options[i].help);
}

/* False: there is no such option. */
static bool
set_option(const Option *options, size_t n, const char *name, const char *value)
{
	const Option *o = NULL;

	for (size_t i = 0; i < n; i++)
		if (strcmp(options[i].name, name) == 0)
			o = &options[i];
	if (o && o->number)
		*o->number = (uint32_t) atoi(value);
	if (o && o->real)
		*o->real = atof(value);
	if (o && o->text)
		*o->text = value;
	return o != NULL;
}

/* Those of a mode, with a space between any two words. */
static bool
set_options(const Option *options, size_t n, const char *line)
{
	static char words[256];		/* options keep pointers */
	char	   *rest = words;
	bool		good = snprintf(words, sizeof(words), "%s", line) < (int) sizeof(words);

	for (char *name; good && (name = strsep(&rest, " ")) != NULL;)
	{
		char	   *value = strsep(&rest, " ");

		good = value && set_option(options, n, name, value);
	}
	return good;
}

int
main(int argc, char **argv)
{
	static char directory[64];
	Bench		b = {.programs = "build", .workers = 3, .shards = 3, .replicas = 3, .dim = 32, .m = 16, .ef_construction = 100,
		.snapshot_rate = 0, .checkpoint = 64, .down_after = 600, .records = 10000, .kills = 50, .writers = 4, .searchers = 4, .clients = 64,
		.rounds = 3, .seconds = 4};
	const Option options[] = {
		{"--programs", NULL, NULL, &b.programs, "folder of the daemons"},
		{"--directory", NULL, NULL, &b.directory, "for data and logs; made, and removed at the end"},
		{"--keep", &b.keep, NULL, NULL, "1: data and logs stay"},
		{"--workers", &b.workers, NULL, NULL, "1 to 9"},
		{"--shards", &b.shards, NULL, NULL, "1 to 16"},
		{"--groups", &b.groups, NULL, NULL, "idle: at most 10000"},
		{"--replicas", &b.replicas, NULL, NULL, "of each shard"},
		{"--dim", &b.dim, NULL, NULL, "of the vectors; 0: records without, and no searchers"},
		{"--metadata", &b.metadata, NULL, NULL, "bytes of each record beside its vector; etcd has its own"},
		{"--m", &b.m, NULL, NULL, "of the graphs"},
		{"--ef-construction", &b.ef_construction, NULL, NULL, "of the graphs"},
		{"--snapshot-rate", &b.snapshot_rate, NULL, NULL, "of workers, MiB a second; 0: no limit"},
		{"--checkpoint", &b.checkpoint, NULL, NULL, "of workers, MiB of log of a shard: what is older comes by snapshot"},
		{"--memory-limit", &b.memory_limit, NULL, NULL, "of workers, MiB; 0: none. goodput: bar of what each uses"},
		{"--records", &b.records, NULL, NULL, "loaded first"},
		{"--bulk", &b.bulk, NULL, NULL, "busy: of each collection that is loaded in bulk meanwhile; 0: none"},
		{"--kills", &b.kills, NULL, NULL, "failover: at most 1000"},
		{"--writers", &b.writers, NULL, NULL, "at most 32"},
		{"--searchers", &b.searchers, NULL, NULL, "at most 32"},
		{"--pause", NULL, &b.pause_ms, NULL, "repair, moves: of each client, ms"},
		{"--clients", &b.clients, NULL, NULL, "goodput, etcd: at most 256"},
		{"--from", &b.from, NULL, NULL, "goodput: leaves out steps with fewer clients"},
		{"--rounds", &b.rounds, NULL, NULL, "goodput, etcd, catchup, many: medians are of so many"},
		{"--haste", NULL, &b.haste_ms, NULL, "goodput: deadline of the last step, ms"},
		{"--delays", NULL, &b.delays, NULL, "bar of failover: hedge delays that a search may take longer than at rest"},
		{"--percent", NULL, &b.percent, NULL, "bar of idle: of a core, that a worker uses"},
		{"--seconds", NULL, &b.seconds, NULL, "of each measurement"},
		{"--median", NULL, &b.median_ms, NULL, "bar of failover, ms"},
		{"--p99", NULL, &b.worst_ms, NULL, "bar of failover, of busy's ticks, of the slowest write in repair and moves, of a thread kept too long in goodput, ms"},
		{"--down-after", &b.down_after, NULL, NULL, "of the placement driver, seconds"},
		{"--share", NULL, &b.share, NULL, "bar: of the best goodput, a graph's speed, a copy's, the writes before"},
		{"--times", NULL, &b.times, NULL, "bar: etcd's rate, or that of one query at a time, at least, or the p99 before at most, so often"},
	};
	const size_t noptions = sizeof(options) / sizeof(options[0]);
	const struct Mode *mode = NULL;
	bool		good;

	for (size_t i = 0; i < MODES && argc > 1; i++)
		if (strcmp(modes[i].name, argv[1]) == 0)
			mode = &modes[i];
	good = mode && set_options(options, noptions, mode->options);
	for (int i = 2; i < argc && good; i += 2)
		good = i + 1 < argc && set_option(options, noptions, argv[i], argv[i + 1]);
	good = good && b.workers >= 1 && b.workers < WORKERS_MAX && b.shards >= 1 && b.shards <= SHARDS_OF_BENCH &&
		(b.dim >= 1 || b.searchers == 0) && b.dim <= 4096 && b.records >= 1 && b.kills >= 1 && b.kills <= 1000 && b.writers <= 32 &&
		b.searchers <= 32 && b.clients >= 1 && b.clients <= 256 && b.rounds >= 1 && b.groups <= 10000 && b.seconds > 0 && b.pause_ms >= 0;
	if (!good)
	{
		usage(options, noptions);
		return 2;
	}
	if (!b.directory)
	{
		snprintf(directory, sizeof(directory), "/tmp/vectron-bench.%d", (int) getpid());
		b.directory = directory;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	cluster_start(&b);
	mode->run(&b);
	cluster_stop(&b);
	return b.failed;
}
