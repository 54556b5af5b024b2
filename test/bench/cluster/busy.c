/*-------------------------------------------------------------------------
 *
 * busy.c
 *	  All cores busy for a minute with searches, writes and snapshots: nobody is
 *	  elected who was not asked to be, and the clock of Raft runs on time.
 *
 * The snapshots come from moving replicas: a worker more than there are replicas is
 * there, and those of one worker after the other are moved away.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <unistd.h>

#define BUCKETS_MAX 64
#define LOOK_US 50000

/* Ticks of all workers by how late they were, as far as they say: cumulative. */
typedef struct Ticks
{
	uint64_t	all;
	uint64_t	late[BUCKETS_MAX];	/* at most limit_us[i] */
	uint64_t	limit_us[BUCKETS_MAX];
	uint32_t	n;
} Ticks;

static Ticks
ticks_now(Bench *bench, Client *client)
{
	Ticks		ticks = {0};

	for (uint32_t i = 1; i <= bench->workers; i++)
	{
		json_t	   *answer = ask(client, worker_endpoint(bench, i), "{\"op\":\"status\"}");
		json_t	   *row;
		size_t		k;

		if (!answer)
			give_up(bench, "worker %u does not say how it is", i);
		ticks.n = 0;
		json_array_foreach(json_object_get(answer, "ticks"), k, row)
		{
			uint64_t	n = number_of(row, "ticks");

			if (k == BUCKETS_MAX)
				break;
			ticks.n = (uint32_t) k + 1;
			ticks.limit_us[k] = number_of(row, "late_us");
			ticks.late[k] += n;
			ticks.all += n;
		}
		json_decref(answer);
	}
	return ticks;
}

/* The end of the bucket that the share of the ticks between two looks falls into. */
static double
lateness_ms(const Ticks *before, const Ticks *after, double share)
{
	uint64_t	all = after->all - before->all;
	uint64_t	n = 0;

	for (uint32_t i = 0; i < after->n; i++)
	{
		n += after->late[i] - before->late[i];
		if ((double) n >= share * (double) all)
			return (double) after->limit_us[i] / 1000;
	}
	return 1e9;
}

/* How often the workers' logs say this. */
static uint32_t
lines_with(const Bench *bench, const char *words)
{
	uint32_t	n = 0;

	for (uint32_t i = 1; i <= bench->workers; i++)
		n += worker_says(bench, i, words);
	return n;
}

/* Replicas move about until the time is over. */
static void
move_about(Bench *bench, Client *client, int64_t until)
{
	uint64_t	away = 0;

	for (uint32_t i = 0; clock_now_us() < until; i++)
	{
		uint64_t	store = store_of(bench, client, i % bench->workers + 1);

		if (store == 0)
			continue;
		json_decref(ask(client, NULL, "{\"op\":\"drain\",\"store\":\"%" PRIu64 "\"}", store));
		if (away != 0)
			json_decref(ask(client, NULL, "{\"op\":\"undrain\",\"store\":\"%" PRIu64 "\"}", away));
		away = store;
		while (replicas_at(client, store) > 0 && clock_now_us() < until)
			usleep(LOOK_US);
	}
}

void
busy(Bench *bench)
{
	LoadOptions options = {.searchers = bench->searchers, .writers = bench->writers, .batch = 50, .first = bench->records};
	Client	   *client;
	Leaders		leaders;
	Load	   *load;
	Ticks		before;
	Ticks		after;
	Usage		used;
	Usage		use;
	Times		searches = {0};
	Times		writes = {0};
	uint32_t	elected;
	uint32_t	handed;
	uint32_t	snapshots;
	int64_t		begun;
	double		seconds;
	double		cores = (double) sysconf(_SC_NPROCESSORS_ONLN);

	collection_start(bench);
	client = bench_client(bench);
	wait_whole(bench, client, &leaders);
	elected = lines_with(bench, "became leader");
	handed = lines_with(bench, "handing leadership over is under way");
	snapshots = lines_with(bench, " installed");
	before = ticks_now(bench, client);
	used = usage_of_all(bench);
	begun = clock_now_us();
	load = load_start(bench, &options);
	move_about(bench, client, begun + (int64_t) (bench->seconds * 1e6));
	seconds = (double) (clock_now_us() - begun) / 1e6;
	use = usage_of_all(bench);
	after = ticks_now(bench, client);
	(void) load_stop(load);
	elected = lines_with(bench, "became leader") - elected;
	handed = lines_with(bench, "handing leadership over is under way") - handed;
	snapshots = lines_with(bench, " installed") - snapshots;
	load_times(load, 0, &searches, &writes);
	printf("%.0f s, %u clients that search and %u that write 50 records at a time: daemons used %.0f %% of %.0f cores\n",
		   seconds, bench->searchers, bench->writers, 100 * (use.seconds - used.seconds) / seconds / cores, cores);
	printf("%.0f searches/s, p99 %.1f ms; %.0f records/s; %u snapshots; %u leaders, of which %u were handed over to\n",
		   (double) searches.n / seconds, times_ms(&searches, 0.99), 50 * (double) writes.n / seconds, snapshots, elected,
		   handed);
	printf("%" PRIu64 " ticks, late by at most: p50 %.3g ms, p99 %.3g, p99.9 %.3g, worst %.3g\n", after.all - before.all,
		   lateness_ms(&before, &after, 0.5), lateness_ms(&before, &after, 0.99), lateness_ms(&before, &after, 0.999),
		   lateness_ms(&before, &after, 1));
	bar_most(bench, "ticks late, p99.9, ms", lateness_ms(&before, &after, 0.999), bench->worst_ms);
	bar_most(bench, "leaders that nobody asked for, and one", 1.0 + (elected > handed ? elected - handed : 0), bench->worst_ms > 0 ? 1 : 0);
	bar_least(bench, "snapshots", snapshots, bench->worst_ms > 0 ? 1 : 0);
	times_free(&searches);
	times_free(&writes);
	load_free(load);
	client_close(client);
}
