/*-------------------------------------------------------------------------
 *
 * failover.c
 *	  Leaders killed by -9 while clients write and search: how long until writes
 *	  of their shards are acknowledged again, and what searches notice.
 *
 * A write counts as resumed with the first acknowledgement, on a shard that the
 * dead worker led, of a write begun after the kill.  Each search must find the newest
 * record that was acknowledged before it began (rule R3), so often at a mark that
 * nobody but the dead leader had applied: then it waits for the next leader.
 *
 * Searches that found their marks applied elsewhere are judged, all that were under way
 * or begun while the worker was dead, beside those that began and ended while the
 * cluster was whole, in the second before each kill: the machine does to them what it does to
 * the others.  They may take a hedge delay longer, so at no share from the middle to the slowest in a thousand
 * is the one beyond the other by more than that, the median of the delays in force when they
 * began.  The slowest of all is one search, at rest as well, and differs twofold from run to run: it
 * may be twice the slowest at rest and a delay besides, which one that waited for anybody is not.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#include "client/private.h"		/* pace_hedge_us() */

#define KILLS_MAX 1000
#define REST_US SECOND			/* before each kill, when all is whole */
#define DEAD_US SECOND			/* at least, until it is started again */
#define SOON_US 50000

/* Searches, by how the cluster was and what they found. */
typedef enum Situation
{
	AT_REST,
	DEAD_APPLIED,				/* the worker was dead, and others had applied the marks */
	DEAD_WAITED,				/* it was, and they were told that somebody had not */
	BETWEEN,					/* it is back, and catches up */
	SITUATIONS
} Situation;

typedef struct One
{
	int64_t		took_us;
	int64_t		hedge_us;		/* the delay when it began */
	int64_t		since_us;		/* the kill; at rest: the moment, from which it began, which may be before */
	ClientScanStats stats;
} One;

typedef struct Asked
{
	One		   *ones;
	size_t		n;
	size_t		room;
} Asked;

typedef struct Run
{
	Bench	   *bench;
	atomic_bool over;
	atomic_uint_fast64_t next;	/* record to be written */
	atomic_uint_fast64_t newest;	/* acknowledged */
	atomic_uint_fast64_t writes;
	atomic_uint_fast64_t searches;

	pthread_mutex_t lock;
	int64_t		whole_us;		/* since then all replicas are there; INT64_MAX: they are not */
	int64_t		moment_us;		/* at rest, when nothing happens */
	int64_t		killed_us;		/* the last kill */
	int64_t		back_us;		/* when that worker was started again; INT64_MAX: it is dead */
	Leaders		leaders;		/* when it happened */
	uint32_t	victim;
	int64_t		resumed_us[SHARDS_OF_BENCH];
	uint64_t	hedged;
	uint64_t	hedges_won;
	uint64_t	behind;
	uint64_t	by_leader;
	uint64_t	by_follower;
	Asked		asked[SITUATIONS];
} Run;

static void
note(Asked *asked, One one)
{
	if (asked->n == asked->room)
	{
		asked->room = asked->room ? 2 * asked->room : 1024;
		asked->ones = vt_realloc(asked->ones, sizeof(One) * asked->room);
	}
	asked->ones[asked->n++] = one;
}

/* One that began and ended then; under the lock. */
static Situation
situation_of(const Run *run, int64_t begun, int64_t ended, bool applied)
{
	if (ended >= run->killed_us && begun <= run->back_us)
		return applied ? DEAD_APPLIED : DEAD_WAITED;
	return begun >= run->whole_us ? AT_REST : BETWEEN;
}

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
	int64_t		hedge = pace_hedge_us(run->bench->pace, begun);
	int64_t		ended;
	bool		applied;
	Situation	situation;

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
	ended = clock_now_us();
	client_scan_stats(search.scan, &stats);
	client_scan_close(search.scan);

	/* Followers say at once that they have not applied it, a leader waits until it has. */
	applied = !asked && (stats.behind == 0 || (stats.behind == 1 && stats.by_leader == 0));
	atomic_fetch_add(&run->searches, 1);
	pthread_mutex_lock(&run->lock);
	run->hedged += stats.hedged;
	run->hedges_won += stats.hedges_won;
	run->behind += stats.behind;
	run->by_leader += stats.by_leader;
	run->by_follower += stats.by_follower;
	situation = situation_of(run, begun, ended, applied);
	note(&run->asked[situation],
		 (One) {ended - begun, hedge, begun - (situation == AT_REST ? run->moment_us : run->killed_us), stats});
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
	run->killed_us = clock_now_us();
	run->back_us = run->whole_us = INT64_MAX;
	worker_kill(bench, run->victim);
	pthread_mutex_unlock(&run->lock);
	while (waits)
	{
		if (clock_now_us() > until)
			give_up(bench, "writes do not resume after a kill");
		usleep(2000);
		pthread_mutex_lock(&run->lock);
		waits = clock_now_us() < run->killed_us + DEAD_US;
		for (uint32_t k = 0; k < run->leaders.n; k++)
			waits = waits || (run->leaders.worker[k] == run->victim && run->resumed_us[k] == 0);
		pthread_mutex_unlock(&run->lock);
	}
	pthread_mutex_lock(&run->lock);
	run->back_us = clock_now_us();
	for (uint32_t k = 0; k < run->leaders.n; k++)
		if (run->leaders.worker[k] == run->victim)
			resumed[(*n)++] = run->resumed_us[k] - run->killed_us;
	pthread_mutex_unlock(&run->lock);
}

static int
one_compare(const void *a, const void *b)
{
	const One  *x = (const One *) a;
	const One  *y = (const One *) b;

	return x->took_us < y->took_us ? -1 : x->took_us > y->took_us;
}

static double
took_ms(const Asked *sorted, double share)
{
	size_t		at = (size_t) (share * (double) sorted->n);

	return sorted->n == 0 ? 0 : (double) sorted->ones[at < sorted->n ? at : sorted->n - 1].took_us / 1000;
}

static int
hedge_compare(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

/* The median of the hedge delays that were in force. */
static double
hedge_ms(const Asked *asked)
{
	int64_t    *delays = vt_alloc(sizeof(int64_t) * (asked->n + 1));
	double		median;

	delays[0] = 1000;
	for (size_t i = 0; i < asked->n; i++)
		delays[i] = asked->ones[i].hedge_us;
	qsort(delays, asked->n, sizeof(int64_t), hedge_compare);
	median = (double) delays[asked->n / 2 < asked->n ? asked->n / 2 : 0] / 1000;
	free(delays);
	return median;
}

static void
tell_of(const char *what, const Asked *asked)
{
	printf("%s: %zu searches, p50 %.2f ms, p95 %.2f, p99 %.2f, p99.9 %.2f, worst %.1f\n", what, asked->n, took_ms(asked, 0.5),
		   took_ms(asked, 0.95), took_ms(asked, 0.99), took_ms(asked, 0.999), took_ms(asked, 1));
}

/* Searches that took longer than so much. */
static size_t
slower_than(const Asked *asked, double ms)
{
	size_t		n = 0;

	while (n < asked->n && (double) asked->ones[asked->n - 1 - n].took_us / 1000 > ms)
		n++;
	return n;
}

/* Those that were under way at the kill, or the moment, or begun soon after it, as sorted as all. */
static Asked
around(const Asked *sorted)
{
	Asked		some = {0};

	for (size_t i = 0; i < sorted->n; i++)
		if (sorted->ones[i].since_us <= SOON_US && sorted->ones[i].since_us + sorted->ones[i].took_us >= 0)
			note(&some, sorted->ones[i]);
	return some;
}

/* By how many delays the one took longer than the other, at most, at so many of these shares. */
static double
moved_by(const Asked *dead, const Asked *rest, double delay_ms, size_t nshares)
{
	static const double shares[] = {0.5, 0.95, 0.99, 0.999};
	double		moved = 0;

	for (size_t i = 0; i < nshares; i++)
	{
		double		by = (took_ms(dead, shares[i]) - took_ms(rest, shares[i])) / delay_ms;

		moved = by > moved ? by : moved;
	}
	return moved;
}

static void
judge_searches(Bench *bench, Run *run)
{
	const Asked *rest = &run->asked[AT_REST];
	const Asked *dead = &run->asked[DEAD_APPLIED];
	Asked		rest_soon;
	Asked		dead_soon;
	double		delay_ms = hedge_ms(dead);

	for (int i = 0; i < SITUATIONS; i++)
		if (run->asked[i].n > 0)
			qsort(run->asked[i].ones, run->asked[i].n, sizeof(One), one_compare);
	rest_soon = around(rest);
	dead_soon = around(dead);
	tell_of("at rest", rest);
	tell_of("a worker dead, marks applied elsewhere", dead);
	tell_of("a worker dead, marks not applied where they were asked", &run->asked[DEAD_WAITED]);
	tell_of("around a moment at rest", &rest_soon);
	tell_of("around a kill, marks applied elsewhere", &dead_soon);
	if (dead->n > 0)
	{
		const One  *worst = &dead->ones[dead->n - 1];

		printf("the slowest with a worker dead was begun %.1f ms after the kill: answers by leaders %u, by followers %u, %u behind, %u hedged\n",
			   (double) worst->since_us / 1000, worst->stats.by_leader, worst->stats.by_follower, worst->stats.behind, worst->stats.hedged);
	}
	printf("the hedge delay was %.1f ms; more than one beyond p99 at rest took %zu of %zu with a worker dead, %zu of %zu at rest\n", delay_ms,
		   slower_than(dead, took_ms(rest, 0.99) + delay_ms), dead->n, slower_than(rest, took_ms(rest, 0.99) + delay_ms), rest->n);
	bar_most(bench, "hedge delays by which searches at marks applied elsewhere took longer than at rest, at any share to p99.9",
			 moved_by(dead, rest, delay_ms, 4), bench->delays);
	bar_most(bench, "hedge delays by which those around a kill took longer than those around a moment at rest, at any share to p95",
			 moved_by(&dead_soon, &rest_soon, delay_ms, 2), bench->delays);
	bar_most(bench, "slowest search at marks applied elsewhere, ms", took_ms(dead, 1), 2 * took_ms(rest, 1) + bench->delays * delay_ms);
	free(rest_soon.ones);
	free(dead_soon.ones);
}

void
failover(Bench *bench)
{
	Run			run = {.bench = bench, .whole_us = INT64_MAX, .killed_us = INT64_MAX, .back_us = 0};
	pthread_t	threads[64];
	uint32_t	nthreads = bench->writers + bench->searchers;
	int64_t    *resumed = vt_alloc(sizeof(int64_t) * KILLS_MAX * SHARDS_OF_BENCH);
	size_t		n = 0;
	Client	   *client;

	collection_start(bench);
	client = bench_client(bench);
	pthread_mutex_init(&run.lock, NULL);
	atomic_init(&run.next, bench->records);
	atomic_init(&run.newest, bench->records - 1);
	wait_whole(bench, client, &run.leaders);
	wait_indexed(bench, client);	/* or writers wait for what was loaded, and not for leaders */
	for (uint32_t i = 0; i < nthreads; i++)
		if (pthread_create(&threads[i], NULL, i < bench->writers ? write_steadily : search_steadily, &run) != 0)
			give_up(bench, "no thread");
	for (uint32_t i = 0; i < bench->kills; i++)
	{
		Leaders		now;

		wait_whole(bench, client, &now);
		pthread_mutex_lock(&run.lock);
		run.leaders = now;
		run.whole_us = clock_now_us();
		run.moment_us = run.whole_us + REST_US / 2;
		pthread_mutex_unlock(&run.lock);
		usleep(REST_US);
		kill_a_leader(&run, i, resumed, &n);
		worker_start(bench, run.victim);
	}
	atomic_store(&run.over, true);
	for (uint32_t i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	client_close(client);
	sort_times(resumed, n);
	printf("%u kills of a leader's process, %u writers, %u searchers, %u workers, %u shards of %u replicas, %u records of %u dimensions\n",
		   bench->kills, bench->writers, bench->searchers, bench->workers, bench->shards, bench->replicas,
		   bench->records, bench->dim);
	printf("writes resume, %zu shards: median %.0f ms, p90 %.0f, p99 %.0f, worst %.0f\n", n, ms_at(resumed, n, 0.5),
		   ms_at(resumed, n, 0.9), ms_at(resumed, n, 0.99), ms_at(resumed, n, 1));
	printf("%" PRIuFAST64 " writes and %" PRIuFAST64 " searches, none failed, each found the newest record; by leader %" PRIu64
		   ", by follower %" PRIu64 ", behind %" PRIu64 ", hedged %" PRIu64 ", hedges won %" PRIu64 "\n",
		   atomic_load(&run.writes), atomic_load(&run.searches), run.by_leader, run.by_follower, run.behind, run.hedged,
		   run.hedges_won);
	judge_searches(bench, &run);
	bar_most(bench, "writes resume, median, ms", ms_at(resumed, n, 0.5), bench->median_ms);
	bar_most(bench, "writes resume, p99, ms", ms_at(resumed, n, 0.99), bench->worst_ms);
	free(resumed);
	for (int i = 0; i < SITUATIONS; i++)
		free(run.asked[i].ones);
}
