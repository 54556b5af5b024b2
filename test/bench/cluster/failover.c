/*-------------------------------------------------------------------------
 *
 * failover.c
 *	  Leaders killed by -9 while clients write and search: how long until writes
 *	  of their shards are acknowledged again, and what searches notice.
 *
 * A write counts as resumed with the first acknowledgement, on a shard that the
 * dead worker led, of a write begun after the kill.  Each search must find the newest
 * record that was acknowledged before it began (rule R3), so often at a mark that
 * nobody but the dead leader had applied: then it waits for the next leader.  Of those
 * under way or begun within a second of a kill the slowest is kept, apart for those
 * that found their marks applied.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#define KILLS_MAX 1000
#define NOTICED_US SECOND

typedef struct Run
{
	Bench	   *bench;
	atomic_bool over;
	atomic_uint_fast64_t next;	/* record to be written */
	atomic_uint_fast64_t newest;	/* acknowledged */
	atomic_uint_fast64_t writes;
	atomic_uint_fast64_t searches;

	pthread_mutex_t lock;
	int64_t		killed_us;		/* the last kill */
	Leaders		leaders;		/* when it happened */
	uint32_t	victim;
	int64_t		resumed_us[SHARDS_OF_BENCH];
	int64_t		slowest_us;		/* search, of those that found their marks applied */
	int64_t		waited_us;		/* of those that were told that it was not */
	uint64_t	hedged;
	uint64_t	hedges_won;
	uint64_t	behind;
	uint64_t	by_leader;
	uint64_t	by_follower;
	int64_t	   *quiet;			/* searches far from a kill */
	size_t		nquiet;
} Run;

#define QUIET_MAX 1000000

static void *
write_steadily(void *arg)
{
	Run		   *run = arg;
	Client	   *client = bench_client(run->bench);
	const ClientCollection *route;
	VtError		err = {0};

	while (!atomic_load(&run->over))
	{
		uint64_t	number = atomic_fetch_add(&run->next, 1);
		uint8_t		id[WIRE_TID_SIZE];
		uint64_t	newest = atomic_load(&run->newest);
		int64_t		begun = clock_now_us();
		uint64_t	place;

		put_records(run->bench, client, number, 1);
		while (newest < number && !atomic_compare_exchange_weak(&run->newest, &newest, number))
			;
		atomic_fetch_add(&run->writes, 1);
		if (client_route(client, &run->bench->generation, false, begun + SECOND, &route, &err) != VT_OK)
			continue;
		place = wire_place(&route->shards[0].desc, id_of(number, id));
		pthread_mutex_lock(&run->lock);
		for (uint32_t i = 0; i < route->nshards && begun > run->killed_us; i++)
			for (uint32_t k = 0; k < run->leaders.n; k++)
				if (place >= route->shards[i].desc.first && place <= route->shards[i].desc.last &&
					run->leaders.shard[k] == route->shards[i].desc.shard && run->resumed_us[k] == 0)
					run->resumed_us[k] = clock_now_us();
		pthread_mutex_unlock(&run->lock);
	}
	client_close(client);
	return NULL;
}

/* The newest record, by its own vector. */
static void
search_once(Run *run, Client *client, float *query)
{
	uint64_t	number = atomic_load(&run->newest);
	int64_t		begun = clock_now_us();
	Search		search;
	ClientScanStats stats;
	ClientHit	hit;
	bool		found = false;
	bool		asked;
	uint8_t		id[WIRE_TID_SIZE];
	VtError		err = {0};
	VtStatus	status;
	int64_t		took;

	vector_of(run->bench, number, query);
	status = search_open(run->bench, client, &search, query, 10, begun + 30 * SECOND, &err);
	if (status == VT_OK)
		status = client_scan_next(search.scan, begun + 30 * SECOND, &hit, &found, &err);
	if (status != VT_OK)
		give_up(run->bench, "a search failed: %s", vt_error_words(&err));
	if (!found || !bytes_equal(hit.id, id_of(number, id)))
		give_up(run->bench, "record %" PRIu64 " was acknowledged and is not found", number);
	asked = search.asks;
	search_learn(run->bench, &search);
	took = clock_now_us() - begun;
	client_scan_stats(search.scan, &stats);
	client_scan_close(search.scan);
	atomic_fetch_add(&run->searches, 1);
	pthread_mutex_lock(&run->lock);
	run->hedged += stats.hedged;
	run->hedges_won += stats.hedges_won;
	run->behind += stats.behind;
	run->by_leader += stats.by_leader;
	run->by_follower += stats.by_follower;
	if (begun + took >= run->killed_us && begun <= run->killed_us + NOTICED_US)
	{
		int64_t    *slowest = stats.behind == 0 && !asked ? &run->slowest_us : &run->waited_us;

		*slowest = took > *slowest ? took : *slowest;
	}
	else if (run->nquiet < QUIET_MAX)
		run->quiet[run->nquiet++] = took;
	pthread_mutex_unlock(&run->lock);
}

static void *
search_steadily(void *arg)
{
	Run		   *run = arg;
	Client	   *client = bench_client(run->bench);
	float	   *query = vt_alloc(sizeof(float) * run->bench->dim);

	while (!atomic_load(&run->over))
		search_once(run, client, query);
	free(query);
	client_close(client);
	return NULL;
}

/* Kill whoever leads the shard whose turn it is; returns when its writes go on. */
static void
kill_a_leader(Run *run, uint32_t round, int64_t *resumed, size_t *n)
{
	Bench	   *bench = run->bench;
	int64_t		until = clock_now_us() + 60 * SECOND;
	bool		waits = true;

	pthread_mutex_lock(&run->lock);
	run->victim = run->leaders.worker[round % run->leaders.n];
	memset(run->resumed_us, 0, sizeof(run->resumed_us));
	run->slowest_us = run->waited_us = 0;
	worker_kill(bench, run->victim);
	run->killed_us = clock_now_us();
	pthread_mutex_unlock(&run->lock);
	while (waits)
	{
		if (clock_now_us() > until)
			give_up(bench, "writes do not resume after a kill");
		usleep(2000);
		pthread_mutex_lock(&run->lock);
		waits = clock_now_us() < run->killed_us + NOTICED_US;
		for (uint32_t k = 0; k < run->leaders.n; k++)
			waits = waits || (run->leaders.worker[k] == run->victim && run->resumed_us[k] == 0);
		pthread_mutex_unlock(&run->lock);
	}
	pthread_mutex_lock(&run->lock);
	for (uint32_t k = 0; k < run->leaders.n; k++)
		if (run->leaders.worker[k] == run->victim)
			resumed[(*n)++] = run->resumed_us[k] - run->killed_us;
	pthread_mutex_unlock(&run->lock);
}

void
failover(Bench *bench)
{
	Run			run = {.bench = bench};
	pthread_t	threads[64];
	uint32_t	nthreads = bench->writers + bench->searchers;
	int64_t    *resumed = vt_alloc(sizeof(int64_t) * KILLS_MAX * SHARDS_OF_BENCH);
	int64_t    *slowest = vt_alloc(sizeof(int64_t) * KILLS_MAX);
	int64_t    *waited = vt_alloc(sizeof(int64_t) * KILLS_MAX);
	size_t		n = 0;
	Client	   *client;

	collection_start(bench);
	client = bench_client(bench);
	pthread_mutex_init(&run.lock, NULL);
	run.quiet = vt_alloc(sizeof(int64_t) * QUIET_MAX);
	atomic_init(&run.next, bench->records);
	atomic_init(&run.newest, bench->records - 1);
	wait_whole(bench, client, &run.leaders);
	for (uint32_t i = 0; i < nthreads; i++)
		if (pthread_create(&threads[i], NULL, i < bench->writers ? write_steadily : search_steadily, &run) != 0)
			give_up(bench, "no thread");
	for (uint32_t i = 0; i < bench->kills; i++)
	{
		Leaders		now;

		wait_whole(bench, client, &now);
		pthread_mutex_lock(&run.lock);
		run.leaders = now;
		pthread_mutex_unlock(&run.lock);
		kill_a_leader(&run, i, resumed, &n);
		slowest[i] = run.slowest_us;
		waited[i] = run.waited_us;
		worker_start(bench, run.victim);
	}
	atomic_store(&run.over, true);
	for (uint32_t i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	client_close(client);
	sort_times(resumed, n);
	sort_times(slowest, bench->kills);
	sort_times(waited, bench->kills);
	sort_times(run.quiet, run.nquiet);
	printf("%u kills of a leader's process, %u writers, %u searchers, %u workers, %u shards of %u replicas, %u records of %u dimensions\n",
		   bench->kills, bench->writers, bench->searchers, bench->workers, bench->shards, bench->replicas,
		   bench->records, bench->dim);
	printf("writes resume, %zu shards: median %.0f ms, p90 %.0f, p99 %.0f, worst %.0f\n", n, ms_at(resumed, n, 0.5),
		   ms_at(resumed, n, 0.9), ms_at(resumed, n, 0.99), ms_at(resumed, n, 1));
	printf("searches about a kill, the slowest of each: at marks applied elsewhere median %.1f ms, p90 %.1f, worst %.1f; "
		   "at others median %.1f, worst %.1f\n",
		   ms_at(slowest, bench->kills, 0.5), ms_at(slowest, bench->kills, 0.9), ms_at(slowest, bench->kills, 1),
		   ms_at(waited, bench->kills, 0.5), ms_at(waited, bench->kills, 1));
	printf("searches at rest: p50 %.2f ms, p95 %.2f, p99 %.2f\n",
		   ms_at(run.quiet, run.nquiet, 0.5), ms_at(run.quiet, run.nquiet, 0.95), ms_at(run.quiet, run.nquiet, 0.99));
	printf("%" PRIuFAST64 " writes and %" PRIuFAST64 " searches, none failed, each found the newest record; by leader %" PRIu64
		   ", by follower %" PRIu64 ", behind %" PRIu64 ", hedged %" PRIu64 ", hedges won %" PRIu64 "\n",
		   atomic_load(&run.writes), atomic_load(&run.searches), run.by_leader, run.by_follower, run.behind, run.hedged,
		   run.hedges_won);
	bar_most(bench, "writes resume, median, ms", ms_at(resumed, n, 0.5), bench->median_ms);
	bar_most(bench, "writes resume, p99, ms", ms_at(resumed, n, 0.99), bench->worst_ms);
	free(resumed);
	free(slowest);
	free(waited);
	free(run.quiet);
}
