/*-------------------------------------------------------------------------
 *
 * idle.c
 *	  Many groups in which nothing happens: three workers that have a replica of each
 *	  of them, what they use, and how soon all have a leader again when one is killed.
 *
 * A group is asleep when all its live replicas have applied all there is: then no
 * heartbeat of its own is sent.  Workers say how many are.  Each shard has a few
 * records, since one that was never written to is no index.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <unistd.h>

#define SHARDS_MOST 1000		/* of a collection */
#define RECORDS_EACH 4			/* in the mean */
#define PATIENCE_US (300 * SECOND)
#define LOOK_US 20000

/* What workers say of their groups. */
typedef struct Groups
{
	uint32_t	n;
	uint32_t	led;
	uint32_t	asleep;
} Groups;

/* False: it does not answer. */
static bool
groups_at(Bench *bench, Client *client, uint32_t worker, Groups *out)
{
	json_t	   *answer = ask(client, worker_endpoint(bench, worker), "{\"op\":\"status\"}");
	json_t	   *row;
	size_t		i;

	memset(out, 0, sizeof(*out));
	if (!answer)
		return false;
	json_array_foreach(json_object_get(answer, "shards"), i, row)
	{
		out->n++;
		out->led += json_is_true(json_object_get(row, "leader"));
	}
	out->asleep = (uint32_t) number_of(answer, "groups_asleep");
	json_decref(answer);
	return true;
}

/* Until all groups have a leader among the workers from this one on, and, if asked, all that live there are asleep; how long it took. */
static double
wait_for(Bench *bench, Client *client, uint32_t groups, uint32_t first, bool asleep, const char *what)
{
	int64_t		begun = clock_now_us();

	for (bool good = false; !good;)
	{
		uint32_t	led = 0;

		good = true;
		for (uint32_t i = first; i <= bench->workers; i++)
		{
			Groups		at;

			good = groups_at(bench, client, i, &at) && at.n == groups && (!asleep || at.asleep == groups) && good;
			led += at.led;
		}
		good = good && led >= groups;
		if (!good && clock_now_us() - begun > PATIENCE_US)
			give_up(bench, "%s: not within %d s", what, (int) (PATIENCE_US / SECOND));
		if (!good)
			usleep(LOOK_US);
	}
	return (double) (clock_now_us() - begun) / 1e6;
}

/* What the daemons use meanwhile: of a core, in percent; the most that a worker does. */
static double
watch(Bench *bench, double seconds, const char *when)
{
	Usage		pd = usage_of(bench->pd_pid);
	Usage		before[WORKERS_MAX + 1];
	int64_t		begun = clock_now_us();
	double		took;
	double		most = 0;

	for (uint32_t i = 1; i <= bench->workers; i++)
		before[i] = usage_of(bench->pids[i]);
	usleep((useconds_t) (seconds * 1e6));
	took = (double) (clock_now_us() - begun) / 1e6;
	printf("%s, %.0f s: of a core, placement driver %.2f %%, workers", when, took,
		   100 * (usage_of(bench->pd_pid).seconds - pd.seconds) / took);
	for (uint32_t i = 1; i <= bench->workers; i++)
	{
		Usage		now = usage_of(bench->pids[i]);
		double		percent = bench->pids[i] > 0 ? 100 * (now.seconds - before[i].seconds) / took : 0;

		if (bench->pids[i] > 0)
			printf(" %.2f %% (%.0f switches/s)", percent, (double) (now.switches - before[i].switches) / took);
		most = percent > most ? percent : most;
	}
	printf("\n");
	return most;
}

/* Collections whose shards are the groups, with records. */
static void
make_groups(Bench *bench, Client *client, uint32_t groups)
{
	uint32_t	made = 0;

	while (made < groups)
	{
		uint32_t	shards = groups - made < SHARDS_MOST ? groups - made : SHARDS_MOST;

		collection_create(bench, client, shards);
		made += shards;
		(void) wait_for(bench, client, made, 1, false, "groups are founded");
		for (uint32_t i = 0; i < shards * RECORDS_EACH; i += 500)
			put_records(bench, client, i, shards * RECORDS_EACH - i < 500 ? shards * RECORDS_EACH - i : 500);
	}
}

void
idle(Bench *bench)
{
	Client	   *client = bench_client(bench);
	uint32_t	groups = bench->groups;
	double		memory[WORKERS_MAX + 1];
	double		most_memory = 0;
	double		percent;
	double		took;
	Groups		dead;
	int64_t		begun;

	for (uint32_t i = 1; i <= bench->workers; i++)
		while (store_of(bench, client, i) == 0)
			usleep(LOOK_US);
	for (uint32_t i = 1; i <= bench->workers; i++)
		memory[i] = (double) usage_of(bench->pids[i]).memory;
	begun = clock_now_us();
	make_groups(bench, client, groups);
	printf("%u groups of %u replicas on %u workers, %u records of %u dimensions in each: founded, elected and written to in %.1f s\n",
		   groups, bench->replicas, bench->workers, RECORDS_EACH, bench->dim, (double) (clock_now_us() - begun) / 1e6);
	took = wait_for(bench, client, groups, 1, true, "all fall asleep");
	printf("all asleep after %.1f s more\n", took);
	for (uint32_t i = 1; i <= bench->workers; i++)
	{
		double		kb = ((double) usage_of(bench->pids[i]).memory - memory[i]) / 1024 / groups;

		most_memory = kb > most_memory ? kb : most_memory;
	}
	printf("memory of a group in a worker: %.0f kB at most\n", most_memory);
	percent = watch(bench, bench->seconds, "idle");

	/* One of the three dies. */
	if (!groups_at(bench, client, 1, &dead))
		give_up(bench, "worker 1 does not say how it is");
	worker_kill(bench, 1);
	took = wait_for(bench, client, groups, 2, false, "all have leaders again");
	printf("worker 1, which led %u, killed: all have leaders again after %.2f s\n", dead.led, took);
	took = wait_for(bench, client, groups, 2, true, "all fall asleep without one");
	printf("all asleep without it after %.1f s more\n", took);
	(void) watch(bench, bench->seconds, "without it");
	begun = clock_now_us();
	worker_start(bench, 1);
	printf("worker 1 listens %.1f s after it was started", (double) (clock_now_us() - begun) / 1e6);
	took = wait_for(bench, client, groups, 1, true, "all fall asleep with it");
	printf(", and all are asleep with it after %.1f s more\n", took);
	client_close(client);
	bar_most(bench, "of a core, a worker with these groups, percent", percent, bench->percent);
}
