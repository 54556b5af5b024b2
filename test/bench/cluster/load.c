/*-------------------------------------------------------------------------
 *
 * load.c
 *	  Clients that write and search until they are told to stop, and how long each
 *	  question took.
 *
 * A search is for the nearest ten of a point that no record has, at the marks of all
 * that was written before.  One that fails ends the program.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#define PATIENCE_US (30 * SECOND)
#define FAR UINT64_C(1000000000000)	/* numbers of points that are no records */

typedef struct Member
{
	Load	   *load;
	pthread_t	thread;
	uint64_t	seed;
	bool		writes;
	Times		times[PHASES];
} Member;

struct Load
{
	Bench	   *bench;
	LoadOptions options;
	atomic_bool over;
	atomic_uint phase;
	atomic_uint_fast64_t next;	/* record to be written */
	uint32_t	n;
	Member	   *members;
};

void
times_add(Times *times, int64_t us)
{
	if (times->n == times->room)
	{
		times->room = times->room ? 2 * times->room : 1024;
		times->us = vt_realloc(times->us, sizeof(int64_t) * times->room);
	}
	times->us[times->n++] = us;
}

void
times_append(Times *times, const Times *more)
{
	for (size_t i = 0; i < more->n; i++)
		times_add(times, more->us[i]);
}

void
times_sort(Times *times)
{
	sort_times(times->us, times->n);
}

double
times_ms(const Times *sorted, double share)
{
	return ms_at(sorted->us, sorted->n, share);
}

void
times_free(Times *times)
{
	free(times->us);
	memset(times, 0, sizeof(*times));
}

static void
search_once(Load *load, Client *client, Prng *prng, float *query)
{
	int64_t		deadline = clock_now_us() + PATIENCE_US;
	Search		search;
	ClientHit	hit;
	bool		found = true;
	VtError		err = {0};
	VtStatus	status;

	vector_of(load->bench, FAR + prng_next(prng) % FAR, query);
	status = search_open(load->bench, client, &search, query, 10, deadline, &err);
	for (int i = 0; i < 10 && status == VT_OK && found; i++)
		status = client_scan_next(search.scan, deadline, &hit, &found, &err);
	if (status != VT_OK)
		give_up(load->bench, "a search failed: %s", vt_error_words(&err));
	search_learn(load->bench, &search);
	client_scan_close(search.scan);
}

static void *
run(void *arg)
{
	Member	   *member = arg;
	Load	   *load = member->load;
	Client	   *client = bench_client(load->bench);
	float	   *query = vt_alloc(sizeof(float) * load->bench->dim);
	int64_t		pause_us = (int64_t) (load->options.pause_ms * 1000);
	Prng		prng = {member->seed};

	/* They do not all begin at once. */
	if (pause_us)
		usleep(prng_below(&prng, (uint32_t) pause_us));
	while (!atomic_load(&load->over))
	{
		uint32_t	phase = atomic_load(&load->phase);
		int64_t		begun = clock_now_us();

		if (member->writes)
			put_records(load->bench, client, atomic_fetch_add(&load->next, load->options.batch), load->options.batch);
		else
			search_once(load, client, &prng, query);
		times_add(&member->times[phase], clock_now_us() - begun);
		if (pause_us)
			usleep((useconds_t) (pause_us / 2 + prng_below(&prng, (uint32_t) pause_us)));
	}
	free(query);
	client_close(client);
	return NULL;
}

Load *
load_start(Bench *bench, const LoadOptions *options)
{
	Load	   *load = vt_alloc0(sizeof(Load));

	load->bench = bench;
	load->options = *options;
	load->n = options->searchers + options->writers;
	load->members = vt_alloc0(sizeof(Member) * (load->n + 1));
	atomic_init(&load->next, options->first);
	for (uint32_t i = 0; i < load->n; i++)
	{
		Member	   *member = &load->members[i];

		member->load = load;
		member->seed = prng_mix(options->first + i);
		member->writes = i < options->writers;
		if (pthread_create(&member->thread, NULL, run, member) != 0)
			give_up(bench, "no thread");
	}
	return load;
}

void
load_phase(Load *load, uint32_t phase)
{
	atomic_store(&load->phase, phase);
}

uint64_t
load_stop(Load *load)
{
	atomic_store(&load->over, true);
	for (uint32_t i = 0; i < load->n; i++)
		pthread_join(load->members[i].thread, NULL);
	return atomic_load(&load->next);
}

void
load_times(Load *load, uint32_t phase, Times *searches, Times *writes)
{
	for (uint32_t i = 0; i < load->n; i++)
		times_append(load->members[i].writes ? writes : searches, &load->members[i].times[phase]);
	times_sort(searches);
	times_sort(writes);
}

Noticed
load_noticed(Load *load, uint32_t phase, const char *words, double seconds)
{
	Times		searches = {0};
	Times		writes = {0};
	Noticed		noticed;

	load_times(load, phase, &searches, &writes);
	noticed = (Noticed) {times_ms(&searches, 0.99), (double) writes.n / seconds, times_ms(&writes, 1)};
	printf("%s, %.1f s: %zu searches, p50 %.2f ms, p95 %.2f, p99 %.2f, worst %.1f; %zu writes, p50 %.2f ms, p99 %.2f, worst %.1f\n",
		   words, seconds, searches.n, times_ms(&searches, 0.5), times_ms(&searches, 0.95), noticed.p99_ms,
		   times_ms(&searches, 1), writes.n, times_ms(&writes, 0.5), times_ms(&writes, 0.99), noticed.slowest_ms);
	times_free(&searches);
	times_free(&writes);
	return noticed;
}

void
load_bars(Bench *bench, const char *what, const Noticed *before, const Noticed *during)
{
	char		words[100];

	snprintf(words, sizeof(words), "p99 of searches, times that before, %s", what);
	if (bench->searchers > 0)
		bar_most(bench, words, during->p99_ms / before->p99_ms, bench->times);
	snprintf(words, sizeof(words), "writes a second, of those before, %s", what);
	bar_least(bench, words, during->writes / before->writes, bench->share);
	snprintf(words, sizeof(words), "slowest write in ms, %s", what);
	bar_most(bench, words, during->slowest_ms, bench->worst_ms);
}

void
load_free(Load *load)
{
	for (uint32_t i = 0; i < load->n; i++)
		for (int k = 0; k < PHASES; k++)
			times_free(&load->members[i].times[k]);
	free(load->members);
	free(load);
}
