/*-------------------------------------------------------------------------
 *
 * main.c
 *	  cluster_bench: measurements of a whole cluster at the door of src/client.
 *
 *	   cluster_bench failover [options]		leaders are killed under load
 *	   cluster_bench goodput [options]		1 to 200 clients search
 *
 * Status 1 when a limit that was given is not kept.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <unistd.h>

typedef struct Option
{
	const char *name;
	uint32_t   *number;
	double	   *real;
	const char **text;
	const char *help;
} Option;

int
main(int argc, char **argv)
{
	static char directory[64];
	Bench		b = {.programs = "build", .workers = 3, .shards = 3, .replicas = 3, .dim = 32, .records = 10000,
		.kills = 50, .writers = 4, .searchers = 4, .most_clients = 200, .seconds = 4};
	const Option options[] = {
		{"--programs", NULL, NULL, &b.programs, "folder of the daemons"},
		{"--directory", NULL, NULL, &b.directory, "for data and logs; made, and removed at the end"},
		{"--keep", &b.keep, NULL, NULL, "1: data and logs stay"},
		{"--workers", &b.workers, NULL, NULL, "1 to 9"},
		{"--shards", &b.shards, NULL, NULL, "1 to 16"},
		{"--replicas", &b.replicas, NULL, NULL, "of each shard"},
		{"--dim", &b.dim, NULL, NULL, "of the vectors"},
		{"--records", &b.records, NULL, NULL, "loaded first"},
		{"--kills", &b.kills, NULL, NULL, "failover: at most 1000"},
		{"--writers", &b.writers, NULL, NULL, "failover: at most 32"},
		{"--searchers", &b.searchers, NULL, NULL, "failover: at most 32"},
		{"--clients", &b.most_clients, NULL, NULL, "goodput: at most 256"},
		{"--seconds", NULL, &b.seconds, NULL, "goodput: of each number of clients"},
		{"--median", NULL, &b.median_ms, NULL, "failover: limit, ms"},
		{"--p99", NULL, &b.worst_ms, NULL, "failover: limit, ms"},
		{"--share", NULL, &b.share, NULL, "goodput: limit, of the best"},
	};
	const char *mode = argc > 1 ? argv[1] : "";
	bool		good = strcmp(mode, "failover") == 0 || strcmp(mode, "goodput") == 0;
	int			code;

	for (int i = 2; i < argc && good; i += 2)
	{
		const Option *o = NULL;

		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++)
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
	good = good && b.workers >= 1 && b.workers <= WORKERS_MAX && b.shards >= 1 && b.shards <= SHARDS_OF_BENCH &&
		b.dim >= 1 && b.dim <= 4096 && b.records >= 1 && b.kills <= 1000 && b.writers <= 32 && b.searchers <= 32 &&
		b.most_clients <= 256 && b.seconds > 0;
	if (!good)
	{
		fprintf(stderr, "usage: cluster_bench failover|goodput\n");
		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++)
			fprintf(stderr, "  %-12s %s\n", options[k].name, options[k].help);
		return 2;
	}
	if (!b.directory)
	{
		snprintf(directory, sizeof(directory), "/tmp/vectron-bench.%d", (int) getpid());
		b.directory = directory;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	cluster_start(&b);
	code = strcmp(mode, "failover") == 0 ? failover(&b) : goodput(&b);
	cluster_stop(&b);
	return code;
}
