/*-------------------------------------------------------------------------
 *
 * beside.c
 *	  What threads take from each other: two that search, and one that searches
 *	  while another inserts.
 *
 * Three clocks.  Processor time does not see a thread that waits for a lock.  The
 * clock on the wall does, but sees whatever else the machine does, too.  So bars
 * hold for a thread's own time: the wall's, less the time for which it could have run and
 * had no processor (schedstat of Linux).  --one-lock puts the graph behind
 * one mutex, and shows that the bars would be missed then.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench.h"
#include "hnsw/hnsw.h"

#define TWO_LEAST 1.8			/* two threads: so many times one */
#define LOSS_MOST 0.3			/* of searches beside inserts */
#define SEARCHES 20000
#define THREADS_MOST 2

/* Inserts between two looks for something to mend, and how far those go: as in a worker. */
#define LINK_SLICE 32
#define MEND_SLICE 2048

static pthread_mutex_t one_lock = PTHREAD_MUTEX_INITIALIZER;

typedef enum Clock
{
	PROCESSOR,
	OWN,
	WALL,
	CLOCKS
} Clock;

static const char *const clock_names[CLOCKS] = {"processor", "own", "wall"};

/* Microseconds. */
typedef struct Times
{
	double		us[CLOCKS];
} Times;

/* For which the calling thread could have run but had no processor; 0 where that is not told. */
static double
stolen_us(void)
{
	FILE	   *in = fopen("/proc/thread-self/schedstat", "r");
	double		waited = 0;

	if (in == NULL)
		return 0;
	if (fscanf(in, "%*s %lf", &waited) != 1)
		waited = 0;
	fclose(in);
	return waited / 1e3;
}

static Times
times_now(void)
{
	Times		t;

	t.us[PROCESSOR] = thread_us();
	t.us[WALL] = (double) clock_now_us();
	t.us[OWN] = t.us[WALL] - stolen_us();
	return t;
}

typedef struct Searcher
{
	const Set  *set;
	Hnsw	   *h;
	bool		one_lock;
	atomic_int *stop;			/* NULL: SEARCHES and done */
	uint64_t	searches;
	Times		took;
} Searcher;

static void *
search_on(void *arg)
{
	Searcher   *s = arg;
	Times		begin = times_now();
	Times		end;
	uint64_t	done = 0;
	HnswHit		hits[K];

	for (; s->stop ? !atomic_load(s->stop) : done < SEARCHES; done++)
	{
		HnswSearch	search = {.query = s->set->queries + done % s->set->nqueries * s->set->dim,
			.k = K, .ef = EF};

		if (s->one_lock)
			pthread_mutex_lock(&one_lock);
		hnsw_search(s->h, &search, hits);
		if (s->one_lock)
			pthread_mutex_unlock(&one_lock);
	}
	end = times_now();
	for (int c = 0; c < CLOCKS; c++)
		s->took.us[c] = end.us[c] - begin.us[c];
	s->searches = done;
	return NULL;
}

/* Searches a second, by each clock. */
static Times
rates_of(const Searcher *s, uint32_t n)
{
	Times		rates = {{0}};

	for (int c = 0; c < CLOCKS; c++)
		for (uint32_t i = 0; i < n; i++)
			rates.us[c] += (double) s[i].searches / s[i].took.us[c] * 1e6;
	return rates;
}

static Times
rates_by(const Settings *settings, const Set *set, Hnsw *h, uint32_t threads)
{
	Searcher	s[THREADS_MOST];
	pthread_t	t[THREADS_MOST];

	for (uint32_t i = 0; i < threads; i++)
	{
		s[i] = (Searcher) {.set = set, .h = h, .one_lock = settings->one_lock};
		if (pthread_create(&t[i], NULL, search_on, &s[i]) != 0)
			abort();
	}
	for (uint32_t i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return rates_of(s, threads);
}

double
mode_rate(const Set *set, Hnsw *h)
{
	Searcher	s = {.set = set, .h = h};

	(void) search_on(&s);
	return rates_of(&s, 1).us[PROCESSOR];
}

bool
mode_threads(const Settings *settings, const Set *set)
{
	uint32_t	rounds = settings->rounds;
	bool		held = true;

	printf("\nsearch by two threads, ef %d, searches a second by three clocks, medians of %u%s\n%-17s %-10s %9s %9s %8s\n",
		   EF, rounds, settings->one_lock ? ", behind one mutex" : "", "engine", "clock", "one", "two", "ratio");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = index_make(settings, set, set->n, settings->ours[e]);
		double		rates[2][CLOCKS][ROUNDS_MOST];

		for (uint32_t round = 0; round < rounds; round++)
			for (uint32_t t = 1; t <= 2; t++)
			{
				Times		now = rates_by(settings, set, engine_graph(index), t);

				for (int c = 0; c < CLOCKS; c++)
					rates[t - 1][c][round] = now.us[c];
			}
		for (int c = 0; c < CLOCKS; c++)
		{
			double		one = median(rates[0][c], rounds);
			double		two = median(rates[1][c], rounds);
			bool		missed = c == OWN && two < TWO_LEAST * one;

			printf("%-17s %-10s %9.0f %9.0f %7.2fx%s\n", settings->ours[e]->name, clock_names[c], one, two, two / one,
				   missed ? "  MISSED: less than 1.8x" : "");
			held &= !missed;
		}
		settings->ours[e]->destroy(index);
	}
	return held;
}

/* The rows from `from` on, one by one, mended in between. */
static void
insert_rest(const Settings *settings, const Set *set, Hnsw *h, uint32_t from)
{
	for (uint32_t row = from; row < set->n; row++)
	{
		if (settings->one_lock)
			pthread_mutex_lock(&one_lock);
		mode_add_row(h, set, row);
		hnsw_link_next(h);
		if (row % LINK_SLICE == 0)
			hnsw_repair(h, MEND_SLICE, false);
		if (settings->one_lock)
			pthread_mutex_unlock(&one_lock);
	}
}

bool
mode_insert(const Settings *settings, const Set *set)
{
	uint32_t	half = set->n / 2;
	bool		held = true;

	printf("\none thread searches (ef %d, searches a second by three clocks) while another inserts the second half%s\n"
		   "%-17s %-10s %9s %9s %9s %8s %10s\n", EF, settings->one_lock ? ", behind one mutex" : "",
		   "engine", "clock", "half", "meanwhile", "all", "loss", "inserts/s");
	for (uint32_t e = 0; e < settings->nours; e++)
	{
		void	   *index = index_make(settings, set, half, settings->ours[e]);
		Hnsw	   *h = engine_graph(index);
		Times		before = rates_by(settings, set, h, 1);
		Times		meanwhile;
		Times		after;
		atomic_int	stop = 0;
		Searcher	s = {.set = set, .h = h, .one_lock = settings->one_lock, .stop = &stop};
		pthread_t	t;
		Times		begin = times_now();
		Times		end;

		if (pthread_create(&t, NULL, search_on, &s) != 0)
			abort();
		insert_rest(settings, set, h, half);
		end = times_now();
		atomic_store(&stop, 1);
		pthread_join(t, NULL);
		meanwhile = rates_of(&s, 1);
		after = rates_by(settings, set, h, 1);
		for (int c = 0; c < CLOCKS; c++)
		{
			/* A larger graph is slower by itself: compare with the middle of both. */
			double		loss = 1 - meanwhile.us[c] / ((before.us[c] + after.us[c]) / 2);
			bool		missed = c == OWN && loss > LOSS_MOST;

			printf("%-17s %-10s %9.0f %9.0f %9.0f %7.1f%% %10.0f%s\n", settings->ours[e]->name, clock_names[c],
				   before.us[c], meanwhile.us[c], after.us[c], 100 * loss,
				   (set->n - half) / (end.us[c] - begin.us[c]) * 1e6, missed ? "  MISSED: more than 30 %" : "");
			held &= !missed;
		}
		settings->ours[e]->destroy(index);
	}
	return held;
}
