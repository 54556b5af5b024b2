/*-------------------------------------------------------------------------
 *
 * goodput.c
 *	  Ever more clients that search, each with one question at a time: how many
 *	  answers a second come within their deadline, whether threads work for those whose
 *	  deadline is over, and what memory that takes.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <stdatomic.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define TIMES_MAX 200000		/* of a client */
#define ROUNDS_MAX 20
#define DEADLINE_US SECOND

typedef struct Crowd
{
	Bench	   *bench;
	int64_t		deadline_us;	/* of each question that counts */
	atomic_bool begun;
	atomic_bool over;
	atomic_uint ready;
} Crowd;

typedef struct Member
{
	Crowd	   *crowd;
	uint64_t	seed;
	int64_t    *times;
	size_t		n;
	size_t		failed;
	ClientScanStats stats;		/* of the searches that count */
} Member;

/* What all processes have used so far: daemons, and this one, in which the clients are. */
typedef struct Spent
{
	Usage		daemons;
	Usage		clients;
} Spent;

static Spent
spent(const Bench *bench)
{
	return (Spent) {usage_of_all(bench), usage_of((int) getpid())};
}

static void
add_stats(ClientScanStats *sum, const ClientScanStats *one)
{
	sum->batches += one->batches;
	sum->behind += one->behind;
	sum->hedged += one->hedged;
	sum->hedges_won += one->hedges_won;
}

static void *
search_steadily(void *arg)
{
	Member	   *member = arg;
	Bench	   *bench = member->crowd->bench;
	Client	   *client = bench_client(bench);
	float	   *query = vt_alloc(sizeof(float) * bench->dim);
	Prng		prng = {member->seed};
	VtError		err = {0};

	atomic_fetch_add(&member->crowd->ready, 1);
	while (!atomic_load(&member->crowd->over))
	{
		int64_t		begun = clock_now_us();
		Search		search;
		ClientHit	hit;
		bool		found = false;
		bool		counts = atomic_load(&member->crowd->begun);
		int64_t		until = begun + (counts ? member->crowd->deadline_us : DEADLINE_US);
		VtStatus	status;

		vector_of(bench, (uint64_t) prng_below(&prng, bench->records) + 1000000000, query);
		status = search_open(bench, client, &search, query, 10, until, &err);
		for (int i = 0; i < 10 && status == VT_OK; i++)
			status = client_scan_next(search.scan, until, &hit, &found, &err);
		if (status == VT_OK)
			search_learn(bench, &search);
		if (search.scan && counts)
		{
			ClientScanStats stats;

			client_scan_stats(search.scan, &stats);
			add_stats(&member->stats, &stats);
		}
		client_scan_close(search.scan);
		if (!counts)
			continue;
		if (status != VT_OK)
			member->failed++;
		else if (member->n < TIMES_MAX)
			member->times[member->n++] = clock_now_us() - begun;
	}
	free(query);
	client_close(client);
	return NULL;
}

/* What an answer costs, in microseconds of processor and in switches, and what its questions led to. */
static void
print_cost(Spent before, Spent after, const ClientScanStats *stats, size_t answers)
{
	double		n = answers > 0 ? (double) answers : 1;

	printf("              each: daemons %4.0f us and %4.1f switches, clients %4.0f us and %4.1f; of 1000 questions %.0f hedged, %.0f won, %.0f behind\n",
		   (after.daemons.seconds - before.daemons.seconds) * 1e6 / n,
		   (double) (after.daemons.switches - before.daemons.switches) / n,
		   (after.clients.seconds - before.clients.seconds) * 1e6 / n,
		   (double) (after.clients.switches - before.clients.switches) / n,
		   1000.0 * stats->hedged / (stats->batches + 1), 1000.0 * stats->hedges_won / (stats->batches + 1),
		   1000.0 * stats->behind / (stats->batches + 1));
}

/* Answers a second that come in time, with so many clients. */
static double
measure(Bench *bench, uint32_t clients, int64_t deadline_us)
{
	static Member members[CLIENTS_MAX];
	Crowd		crowd = {.bench = bench, .deadline_us = deadline_us};
	pthread_t	threads[CLIENTS_MAX];
	int64_t    *times;
	size_t		n = 0;
	size_t		failed = 0;
	ClientScanStats stats = {0};
	Spent		before;
	Spent		after;
	double		rate;

	for (uint32_t i = 0; i < clients; i++)
	{
		members[i] = (Member) {.crowd = &crowd, .seed = 77 + i, .times = vt_alloc(sizeof(int64_t) * TIMES_MAX)};
		if (pthread_create(&threads[i], NULL, search_steadily, &members[i]) != 0)
			give_up(bench, "no thread");
	}
	while (atomic_load(&crowd.ready) < clients)
		usleep(1000);
	usleep(500000);
	before = spent(bench);
	atomic_store(&crowd.begun, true);
	usleep((useconds_t) (bench->seconds * 1e6));
	after = spent(bench);
	atomic_store(&crowd.over, true);
	for (uint32_t i = 0; i < clients; i++)
	{
		pthread_join(threads[i], NULL);
		n += members[i].n;
		failed += members[i].failed;
		add_stats(&stats, &members[i].stats);
	}
	times = vt_alloc(sizeof(int64_t) * (n + 1));
	n = 0;
	for (uint32_t i = 0; i < clients; i++)
	{
		memcpy(times + n, members[i].times, sizeof(int64_t) * members[i].n);
		n += members[i].n;
		free(members[i].times);
	}
	sort_times(times, n);
	rate = (double) n / bench->seconds;
	printf("%4u clients: %8.0f answers/s, p50 %7.2f ms, p95 %7.2f, p99 %7.2f, worst %7.2f; %zu not in time\n", clients, rate,
		   ms_at(times, n, 0.5), ms_at(times, n, 0.95), ms_at(times, n, 0.99), ms_at(times, n, 1), failed);
	print_cost(before, after, &stats, n);
	fflush(stdout);
	free(times);
	return rate;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/*
 * Most clients again, with less time than a search waits now and then: how many are
 * answered all the same, and nobody may be at work for a question whose time is over.
 */
static void
in_haste(Bench *bench, double best)
{
	Client	   *client = bench_client(bench);
	uint64_t	expired = 0;
	uint64_t	turned_away = 0;
	int64_t		overran_us = 0;
	double		rate;

	printf("with a deadline of %.0f ms\n", bench->haste_ms);
	rate = measure(bench, bench->clients, (int64_t) (bench->haste_ms * 1000));
	printf("of the best: %.2f\n", best > 0 ? rate / best : 0);
	for (uint32_t n = 1; n <= bench->workers; n++)
	{
		json_t	   *answer = ask(client, worker_endpoint(bench, n), "{\"op\":\"status\"}");
		json_t	   *searches = json_object_get(answer, "searches");
		int64_t		one = json_integer_value(json_object_get(searches, "overran_us"));

		if (!searches)
			give_up(bench, "worker %u says nothing of its searches", n);
		expired += number_of(searches, "expired");
		turned_away += number_of(searches, "turned_away");
		overran_us = one > overran_us ? one : overran_us;
		json_decref(answer);
	}
	client_close(client);
	printf("questions to a shard: %lu were over before a thread was free, %lu were turned away at the door\n",
		   (unsigned long) expired, (unsigned long) turned_away);
	bar_most(bench, "longest that a search kept a thread beyond its deadline, ms", (double) overran_us / 1000, bench->worst_ms);
}

/* What each worker had at most, beside its limit. */
static void
memory_bars(Bench *bench)
{
	double		most = 0;

	for (uint32_t n = 1; n <= bench->workers; n++)
	{
		double		one = (double) usage_of(bench->pids[n]).memory_most / (1 << 20);

		most = one > most ? one : most;
	}
	bar_most(bench, "memory of a worker at most, MiB", most, bench->memory_limit);
}

/*
 * All steps in each round, and the middle one of the rounds for each step: the best of
 * many would be a lucky one.
 */
void
goodput(Bench *bench)
{
	static const uint32_t steps[] = {1, 2, 4, 8, 16, 32, 64, 128, 200, 256};
	double		rates[sizeof(steps) / sizeof(steps[0])][ROUNDS_MAX];
	double		best = 0;
	double		last = 0;
	size_t		n = 0;

	if (bench->rounds > ROUNDS_MAX)
		give_up(bench, "at most %d rounds", ROUNDS_MAX);
	collection_start(bench);
	printf("%u records of %u dimensions, %u workers, %u shards of %u replicas, deadline %d ms\n", bench->records, bench->dim,
		   bench->workers, bench->shards, bench->replicas, (int) (DEADLINE_US / 1000));
	while (n < sizeof(steps) / sizeof(steps[0]) && steps[n] <= bench->clients)
		n++;
	for (uint32_t round = 0; round < bench->rounds; round++)
		for (size_t i = 0; i < n; i++)
			if (steps[i] >= bench->from)
				rates[i][round] = measure(bench, steps[i], DEADLINE_US);
	printf("middle ones of %u rounds:", bench->rounds);
	for (size_t i = 0; i < n; i++)
	{
		if (steps[i] < bench->from)
			continue;
		qsort(rates[i], bench->rounds, sizeof(double), compare);
		last = rates[i][bench->rounds / 2];
		best = last > best ? last : best;
		printf(" %u: %.0f", steps[i], last);
	}
	printf("\n");
	bar_least(bench, "with most clients, of the best", best > 0 ? last / best : 0, bench->share);
	in_haste(bench, best);
	memory_bars(bench);
}
