/*-------------------------------------------------------------------------
 *
 * many.c
 *	  One client that asks for one query at a time, for several and for many: how many
 *	  queries a second are answered, and what one costs in processor time.
 *
 * The steps take turns, and what counts is the middle one of the rounds of each.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <unistd.h>

#define ROWS 10
#define ROUNDS_MAX 50

static const uint32_t steps[] = {1, 8, 64, 256};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

typedef struct Step
{
	double		rate;			/* queries a second */
	double		daemons_us;		/* of processor, for a query */
	double		client_us;
	double		switches;		/* of context, of all, for a query */
} Step;

/* So many queries at a time, for a while. */
static Step
measure(Bench *bench, Client *client, uint32_t n, Prng *prng)
{
	float	   *queries = vt_alloc(sizeof(float) * bench->dim * n);
	ClientScan *scans[WIRE_QUERIES_MAX];
	Usage		daemons = usage_of_all(bench);
	Usage		own = usage_of((int) getpid());
	int64_t		begun = clock_now_us();
	int64_t		until = begun + (int64_t) (bench->seconds * 1e6);
	size_t		answered = 0;
	VtError		err = {0};
	Step		step;
	double		took;

	while (clock_now_us() < until)
	{
		uint32_t	opened;

		for (uint32_t i = 0; i < n; i++)
			vector_of(bench, (uint64_t) prng_below(prng, bench->records) + 1000000000, queries + (size_t) i * bench->dim);
		for (uint32_t done = 0; done < n; done += opened)
		{
			int64_t		deadline = clock_now_us() + 10 * SECOND;
			Search		search;
			ClientHit	hit;
			bool		found;
			VtStatus	status = search_open_many(bench, client, &search, queries + (size_t) done * bench->dim, n - done, ROWS, deadline,
												  scans, &opened, &err);

			for (uint32_t i = 0; status == VT_OK && i < opened; i++)
				for (int row = 0; status == VT_OK && row < ROWS; row++)
					status = client_scan_next(scans[i], deadline, &hit, &found, &err);
			if (status != VT_OK)
				give_up(bench, "could not search: %s", vt_error_words(&err));
			search_learn(bench, &search);
			for (uint32_t i = 0; i < opened; i++)
				client_scan_close(scans[i]);
			answered += opened;
		}
	}
	took = (double) (clock_now_us() - begun) / 1e6;
	step.rate = (double) answered / took;
	step.daemons_us = (usage_of_all(bench).seconds - daemons.seconds) * 1e6 / (double) answered;
	step.client_us = (usage_of((int) getpid()).seconds - own.seconds) * 1e6 / (double) answered;
	step.switches = (double) (usage_of_all(bench).switches - daemons.switches + usage_of((int) getpid()).switches - own.switches) /
		(double) answered;
	free(queries);
	return step;
}

static int
by_rate(const void *a, const void *b)
{
	double		x = ((const Step *) a)->rate;
	double		y = ((const Step *) b)->rate;

	return x < y ? -1 : x > y;
}

void
many(Bench *bench)
{
	Step		all[STEPS][ROUNDS_MAX];
	Client	   *client;
	Prng		prng = {5};
	double		one = 0;
	double		most = 0;

	if (bench->rounds > ROUNDS_MAX)
		give_up(bench, "at most %d rounds", ROUNDS_MAX);
	collection_start(bench);
	client = bench_client(bench);
	wait_indexed(bench, client);
	printf("%u records of %u dimensions, %u workers, %u shards of %u replicas, one client, %d rows a query\n", bench->records, bench->dim,
		   bench->workers, bench->shards, bench->replicas, ROWS);
	for (uint32_t round = 0; round < bench->rounds; round++)
		for (size_t i = 0; i < STEPS; i++)
			all[i][round] = measure(bench, client, steps[i], &prng);
	for (size_t i = 0; i < STEPS; i++)
	{
		const Step *middle;

		qsort(all[i], bench->rounds, sizeof(Step), by_rate);
		middle = &all[i][bench->rounds / 2];
		one = i == 0 ? middle->rate : one;
		most = middle->rate > most ? middle->rate : most;
		printf("%4u queries at a time: %8.0f queries/s (%.2fx; %.0f to %.0f), each %4.0f us in the daemons, %3.0f in the client, %.2f switches\n",
			   steps[i], middle->rate, middle->rate / one, all[i][0].rate, all[i][bench->rounds - 1].rate, middle->daemons_us,
			   middle->client_us, middle->switches);
	}
	client_close(client);
	bar_least(bench, "queries a second with many at a time, of those with one", most / one, bench->times);
}
