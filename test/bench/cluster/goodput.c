/*-------------------------------------------------------------------------
 *
 * goodput.c
 *	  Ever more clients that search, each with one question at a time: how many
 *	  answers a second come within their deadline.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <stdatomic.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define TIMES_MAX 200000		/* of a client */
#define DEADLINE_US SECOND

typedef struct Crowd
{
	Bench	   *bench;
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
} Member;

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
		VtStatus	status;

		vector_of(bench, (uint64_t) prng_below(&prng, bench->records) + 1000000000, query);
		status = search_open(bench, client, &search, query, 10, begun + DEADLINE_US, &err);
		for (int i = 0; i < 10 && status == VT_OK; i++)
			status = client_scan_next(search.scan, begun + DEADLINE_US, &hit, &found, &err);
		if (status == VT_OK)
			search_learn(bench, &search);
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

/* Answers a second with so many clients. */
static double
measure(Bench *bench, uint32_t clients)
{
	static Member members[CLIENTS_MAX];
	Crowd		crowd = {.bench = bench};
	pthread_t	threads[CLIENTS_MAX];
	int64_t    *times;
	size_t		n = 0;
	size_t		failed = 0;
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
	atomic_store(&crowd.begun, true);
	usleep((useconds_t) (bench->seconds * 1e6));
	atomic_store(&crowd.over, true);
	for (uint32_t i = 0; i < clients; i++)
	{
		pthread_join(threads[i], NULL);
		n += members[i].n;
		failed += members[i].failed;
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
	fflush(stdout);
	free(times);
	return rate;
}

void
goodput(Bench *bench)
{
	static const uint32_t steps[] = {1, 2, 4, 8, 16, 32, 64, 128, 200, 256};
	double		best = 0;
	double		last = 0;

	collection_start(bench);
	printf("%u records of %u dimensions, %u workers, %u shards of %u replicas, deadline %d ms\n", bench->records, bench->dim,
		   bench->workers, bench->shards, bench->replicas, (int) (DEADLINE_US / 1000));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && steps[i] <= bench->clients; i++)
	{
		last = measure(bench, steps[i]);
		best = last > best ? last : best;
	}
	bar_least(bench, "with most clients, of the best", best > 0 ? last / best : 0, bench->share);
}
