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

static void
failover_options(Bench *b)
{
	b->median_ms = 300;
	b->worst_ms = 1000;
}

static void
goodput_options(Bench *b)
{
	b->clients = 200;
	b->from = 1;
	b->seconds = 2;
	b->share = 0.8;
	b->worst_ms = 50;
	b->haste_ms = 20;
	b->memory_limit = 128;
}

static void
rival_options(Bench *b)
{
	b->shards = 1;
	b->clients = 64;
	b->records = 1;
	b->rounds = 3;
	b->seconds = 4;
	b->times = 2;
	b->share = 0.8;
}

static void
busy_options(Bench *b)
{
	b->workers = 4;
	b->searchers = 8;
	b->writers = 2;
	b->dim = 128;
	b->records = 20000;
	b->checkpoint = 1;
	b->seconds = 60;
	b->worst_ms = 100;
}

static void
catchup_options(Bench *b)
{
	b->workers = 3;
	b->replicas = 2;
	b->shards = 1;
	b->dim = 768;
	b->m = 2;
	b->ef_construction = 4;
	b->records = 100000;
	b->checkpoint = 8;
	b->snapshot_rate = 0;
	b->rounds = 5;
	b->share = 0.5;
}

static void
repair_options(Bench *b)
{
	b->dim = 128;
	b->records = 50000;
	b->searchers = 8;
	b->writers = 2;
	b->pause_ms = 20;
	b->seconds = 20;
	b->down_after = 5;
	b->times = 2;
	b->share = 0.8;
	b->worst_ms = 1000;
}

static void
many_options(Bench *b)
{
	b->workers = 1;
	b->replicas = 1;
	b->dim = 128;
	b->records = 20000;
	b->seconds = 2;
	b->rounds = 5;
	b->times = 1;
}

static const struct Mode
{
	const char *name;
	void		(*run) (Bench *bench);
	void		(*options) (Bench *bench);
	const char *help;
}			modes[] = {
	{"failover", failover, failover_options, "leaders are killed while clients write and search"},
	{"goodput", goodput, goodput_options, "one client searches, then two, and so on"},
	{"etcd", rival, rival_options, "writes, beside etcd"},
	{"busy", busy, busy_options, "all cores busy with everything for a while"},
	{"catchup", catchup, catchup_options, "a new replica, beside a plain copy"},
	{"repair", repair, repair_options, "searches and writes while replicas are made anew"},
	{"moves", moves, repair_options, "searches and writes while replicas move and shards are split"},
	{"many", many, many_options, "one client searches for one query at a time, for several, for many"},
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

int
main(int argc, char **argv)
{
	static char directory[64];
	Bench		b = {.programs = "build", .workers = 3, .shards = 3, .replicas = 3, .dim = 32, .m = 16, .ef_construction = 100,
		.snapshot_rate = 256, .checkpoint = 64, .down_after = 600, .records = 10000, .kills = 50, .writers = 4, .searchers = 4, .clients = 64,
		.rounds = 3, .seconds = 4};
	const Option options[] = {
		{"--programs", NULL, NULL, &b.programs, "folder of the daemons"},
		{"--directory", NULL, NULL, &b.directory, "for data and logs; made, and removed at the end"},
		{"--keep", &b.keep, NULL, NULL, "1: data and logs stay"},
		{"--workers", &b.workers, NULL, NULL, "1 to 9"},
		{"--shards", &b.shards, NULL, NULL, "1 to 16"},
		{"--replicas", &b.replicas, NULL, NULL, "of each shard"},
		{"--dim", &b.dim, NULL, NULL, "of the vectors"},
		{"--m", &b.m, NULL, NULL, "of the graphs"},
		{"--ef-construction", &b.ef_construction, NULL, NULL, "of the graphs"},
		{"--snapshot-rate", &b.snapshot_rate, NULL, NULL, "of workers, MiB a second; 0: no limit"},
		{"--checkpoint", &b.checkpoint, NULL, NULL, "of workers, MiB of log of a shard: what is older comes by snapshot"},
		{"--memory-limit", &b.memory_limit, NULL, NULL, "of workers, MiB; 0: none. goodput: bar of what each uses"},
		{"--records", &b.records, NULL, NULL, "loaded first"},
		{"--kills", &b.kills, NULL, NULL, "failover: at most 1000"},
		{"--writers", &b.writers, NULL, NULL, "at most 32"},
		{"--searchers", &b.searchers, NULL, NULL, "at most 32"},
		{"--pause", NULL, &b.pause_ms, NULL, "repair, moves: of each client, ms"},
		{"--clients", &b.clients, NULL, NULL, "goodput, etcd: at most 256"},
		{"--from", &b.from, NULL, NULL, "goodput: leaves out steps with fewer clients"},
		{"--rounds", &b.rounds, NULL, NULL, "goodput, etcd, catchup, many: medians are of so many"},
		{"--haste", NULL, &b.haste_ms, NULL, "goodput: deadline of the last step, ms"},
		{"--seconds", NULL, &b.seconds, NULL, "of each measurement"},
		{"--median", NULL, &b.median_ms, NULL, "bar of failover, ms"},
		{"--p99", NULL, &b.worst_ms, NULL, "bar of failover, of busy's ticks, of the slowest write in repair and moves, of a thread kept too long in goodput, ms"},
		{"--share", NULL, &b.share, NULL, "bar: of the best goodput, a graph's speed, a copy's, the writes before"},
		{"--times", NULL, &b.times, NULL, "bar: etcd's rate, or that of one query at a time, at least, or the p99 before at most, so often"},
	};
	const size_t noptions = sizeof(options) / sizeof(options[0]);
	const struct Mode *mode = NULL;
	bool		good = true;

	for (size_t i = 0; i < MODES && argc > 1; i++)
		if (strcmp(modes[i].name, argv[1]) == 0)
			mode = &modes[i];
	if (mode)
		mode->options(&b);
	for (int i = 2; i < argc && good; i += 2)
	{
		const Option *o = NULL;

		for (size_t k = 0; k < noptions; k++)
			if (strcmp(options[k].name, argv[i]) == 0)
				o = &options[k];
		good = o && i + 1 < argc;
		if (good && o->number)
			*o->number = (uint32_t) atoi(argv[i + 1]);
		if (good && o->real)
			*o->real = atof(argv[i + 1]);
		if (good && o->text)
			*o->text = argv[i + 1];
	}
	good = good && mode && b.workers >= 1 && b.workers < WORKERS_MAX && b.shards >= 1 && b.shards <= SHARDS_OF_BENCH &&
		b.dim >= 1 && b.dim <= 4096 && b.records >= 1 && b.kills >= 1 && b.kills <= 1000 && b.writers <= 32 &&
		b.searchers <= 32 && b.clients >= 1 && b.clients <= 256 && b.rounds >= 1 && b.seconds > 0 && b.pause_ms >= 0;
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
