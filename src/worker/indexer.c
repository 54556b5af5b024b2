/*-------------------------------------------------------------------------
 *
 * indexer.c
 *	  The threads that take vectors into the graphs.
 *
 * Half of the threads work as long as something waits; the others join them
 * when much does in a shard (hot.h): those who work call them.  They are niced, so searches and writes
 * go first.  What to do is found by looking at the shards one after the other,
 * a few vectors of each at a time, with a little mending in between; a thread
 * that finds nothing to link mends, and sleeps when there is nothing to mend
 * either.  Beside searches it mends with rests in between (background.h).  Now and then one finds out how many candidates searches need
 * (tune.c); for that they have a tenth of one thread's processor time.
 *
 * A shard is held (users) only while a thread works on it.
 *
 *-------------------------------------------------------------------------
 */
#include "indexer.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/thread.h"
#include "background.h"
#include "filters.h"
#include "hot.h"
#include "private.h"
#include "tune.h"

#define NICE 10
#define LINK_SLICE 32			/* vectors of one shard before the next one's turn */
#define MEND_SLICE 2048			/* steps of mending for so many linked: with them what has died is gone before much more has; */
#define MEND_STEPS 32			/* and in one go, beside searches, */
#define MEND_RESTS 4			/* with so many rests before the next shard's turn */
#define MEND_PAUSE_MS 500		/* look for something to do, though nobody called */
#define HINT_PAUSE_MS 50		/* the same while a hint is waited for */

/* Trials of searches: so much processor time in one go, and so many times that without. */
#define TUNE_US 50000
#define TUNE_REST 9

#define WAIT_MAX_MS 200
#define LINK_US_FIRST 300		/* a guess until the first was linked */

typedef struct IndexThread
{
	Indexer    *indexer;
	uint32_t	number;
	pthread_t	thread;
} IndexThread;

struct Indexer
{
	Worker	   *worker;
	IndexThread *threads;
	uint32_t	n;
	uint32_t	always;			/* the first so many work whenever something waits */
	uint64_t	turn;			/* id of the shard looked at last; worker->lock */
	atomic_llong tune_at;		/* not before this time */
	atomic_uint link_us;		/* what linking a vector took lately, by one thread */

	/* Who finds nothing to do sleeps until calls has moved; helpers until they are needed */
	pthread_mutex_t lock;
	pthread_cond_t called;
	pthread_cond_t needed;
	atomic_uint calls;
	atomic_uint sleeping;
	atomic_uint resting;		/* helpers that sleep */
	atomic_bool awaits;			/* nothing can be linked, but what waits for a hint (hints_hold_up) */
	atomic_bool stopping;
};

uint32_t
indexer_wait_ms(const Indexer *indexer, Shard *shard)
{
	uint64_t	fresh = hot_fresh(shard);
	uint64_t	limit = hot_limit(shard);
	uint64_t	ms;

	if (fresh < limit || atomic_load(&shard->ingesting))
		return 0;
	ms = (fresh - limit / 2) * atomic_load(&indexer->link_us) / indexer->n / 1000;
	return ms < 1 ? 1 : ms > WAIT_MAX_MS ? WAIT_MAX_MS : (uint32_t) ms;
}

/* With worker->lock. */
static bool
has_waiting(Shard *shard)
{
	if (!shard_take_stir(shard, LOOK_WAITING) || shard_figures(shard).waiting == 0)
		return false;
	shard_stir_for(shard, LOOK_WAITING);	/* until nothing waits */
	return true;
}

/*
 * The next shard after the last one, in the order of the list, where something
 * waits, and not for its leader's hints; held.  NULL = nowhere, or not for this thread.
 */
static Shard *
next_shard(Indexer *indexer, bool helper)
{
	Worker	   *worker = indexer->worker;
	Shard	   *first = NULL;
	Shard	   *found = NULL;
	bool		past = false;
	bool		held_up = false;
	int64_t		now_us = clock_now_us();

	pthread_mutex_lock(&worker->lock);
	for (Shard *s = shards_take_stir(worker, LOOK_WAITING) ? worker->shards : NULL; s && !found; s = s->next)
	{
		bool		fits = has_waiting(s) && !atomic_load(&s->installing) && (!helper || hot_presses(s));

		if (fits && hints_hold_up(s, now_us))
		{
			held_up = true;
			fits = false;
		}
		if (fits && past)
			found = s;
		else if (fits && !first)
			first = s;
		past |= s->desc.shard == indexer->turn;
	}
	if (!found)
		found = first;
	if (!found)
		atomic_store(&indexer->awaits, held_up);
	if (found)
	{
		indexer->turn = found->desc.shard;
		if (!shard_hold(found))
			found = NULL;
	}
	pthread_mutex_unlock(&worker->lock);
	return found;
}

/* How many. */
static uint32_t
link_some(Indexer *indexer, Shard *shard)
{
	int64_t		begin = clock_now_us();
	bool		looked;
	uint32_t	n = hot_link(shard, LINK_SLICE, &looked);
	uint32_t	before = atomic_load(&indexer->link_us);

	/* Writers are kept away from shards that look for neighbours. */
	if (n > 0 && looked)
		atomic_store(&indexer->link_us, (3 * before + (uint32_t) ((clock_now_us() - begin) / n)) / 4);
	return n;
}

/* The shards to which something has happened, or is still to be done, each held; free() the array. */
static Shard **
hold_some(Worker *worker, size_t *n)
{
	Shard	  **some = NULL;

	*n = 0;
	if (!shards_take_stir(worker, LOOK_MEND))
		return NULL;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
		if (shard_take_stir(s, LOOK_MEND))
		{
			/* One whose state is being replaced: later */
			if (!shard_hold(s))
			{
				shard_stir_for(s, LOOK_MEND);
				continue;
			}
			if ((*n & (*n - 1)) == 0)
				some = vt_realloc(some, sizeof(Shard *) * (*n ? 2 * *n : 1));
			some[(*n)++] = s;
		}
	pthread_mutex_unlock(&worker->lock);
	return some;
}

/* Find out a little about a shard's searches, if it is time; false: there is nothing to find out. */
static bool
tune_some_of(Indexer *indexer, Shard *shard)
{
	int64_t		now = clock_now_us();
	long long	at = atomic_load(&indexer->tune_at);
	int64_t		took;
	bool		due;

	if (now < at || !atomic_compare_exchange_strong(&indexer->tune_at, &at, INT64_MAX))
		return true;
	due = tune_some(records_tune(shard->records), shard->records, TUNE_US, &took);
	atomic_store(&indexer->tune_at, clock_now_us() + took * TUNE_REST);
	if (due)
		shard_stir(shard);
	return due;
}

/* Sleep for a while; false: somebody has called since `calls` was read. */
static bool
pause_us(Indexer *indexer, unsigned calls, int64_t us)
{
	struct timespec until = cond_moment(us);
	bool		called;

	pthread_mutex_lock(&indexer->lock);
	atomic_fetch_add(&indexer->sleeping, 1);
	while (!atomic_load(&indexer->stopping) && atomic_load(&indexer->calls) == calls &&
		   pthread_cond_timedwait(&indexer->called, &indexer->lock, &until) == 0)
		;
	called = atomic_load(&indexer->stopping) || atomic_load(&indexer->calls) != calls;
	atomic_fetch_sub(&indexer->sleeping, 1);
	pthread_mutex_unlock(&indexer->lock);
	return !called;
}

/* Does somebody wait for the shard to be let go of? */
static bool
is_wanted_back(Shard *shard)
{
	return atomic_load(&shard->installing) || atomic_load(&shard->leaving);
}

/* May mending rest?  Not where memory is short, nor where the dead are so many that they cost more than rests save. */
static bool
may_rest(const Indexer *indexer, const Hnsw *graph)
{
	HnswStats	stats;

	hnsw_stats(graph, &stats);
	return stats.dead <= 2 * stats.live && atomic_load(&indexer->worker->room) == MEMORY_ENOUGH;
}

/* Mend a little in a shard, until called; true: there is more to mend.  *again: it is to be looked at again. */
static bool
mend(Indexer *indexer, Shard *shard, unsigned calls, bool *again)
{
	Records    *records = shard->records;
	uint64_t	bytes = records_bytes(records);
	Hnsw	   *graph = records_graph(records);
	bool		rests = may_rest(indexer, graph);
	bool		more = true;
	bool		called = false;
	int			rested = 0;

	*again = filters_trim(records);
	for (uint32_t steps = 0; steps < MEND_SLICE && more && !called && rested < MEND_RESTS && !is_wanted_back(shard); steps += MEND_STEPS)
	{
		int64_t		begun_us = clock_now_us();
		int64_t		rest_us;

		more = hnsw_repair(graph, MEND_STEPS, false);
		rest_us = more && rests ? background_rest_us(indexer->worker, begun_us) : 0;
		called = rest_us > 0 && !pause_us(indexer, calls, rest_us);
		rested += rest_us > 0;
	}
	if (more || records_bytes(records) != bytes)
		shard_stir(shard);
	return more;
}

/* Mend a little in each shard that wants it; false = nothing to mend anywhere. */
static bool
mend_some(Indexer *indexer, unsigned calls)
{
	size_t		n;
	Shard	  **some = hold_some(indexer->worker, &n);
	bool		more = false;
	bool		again;

	for (size_t i = 0; i < n; i++)
	{
		more |= mend(indexer, some[i], calls, &again);
		if (hints_trim(some[i]->hints, clock_now_us()) || again)
			shard_stir_for(some[i], LOOK_MEND);
	}

	/* Trials come last: where threads seldom run, they would keep mending from its end. */
	for (size_t i = 0; i < n; i++)
	{
		if (more || tune_some_of(indexer, some[i]))
			shard_stir_for(some[i], LOOK_MEND);
		shard_release(some[i]);
	}
	free(some);
	return more;
}

/* A helper sleeps until there is enough to do for it, or it is time to look. */
static void
rest(Indexer *indexer)
{
	struct timespec until = cond_moment(MEND_PAUSE_MS * 1000);

	pthread_mutex_lock(&indexer->lock);
	atomic_fetch_add(&indexer->resting, 1);
	if (!atomic_load(&indexer->stopping))
		pthread_cond_timedwait(&indexer->needed, &indexer->lock, &until);
	atomic_fetch_sub(&indexer->resting, 1);
	pthread_mutex_unlock(&indexer->lock);
}

static void
call_helpers(Indexer *indexer)
{
	if (atomic_load(&indexer->resting) == 0)
		return;
	pthread_mutex_lock(&indexer->lock);
	pthread_cond_broadcast(&indexer->needed);
	pthread_mutex_unlock(&indexer->lock);
}

/* Sleep until somebody has called since `calls` was read, or it is time to look. */
static void
wait_for_call(Indexer *indexer, unsigned calls)
{
	struct timespec until = cond_moment((atomic_load(&indexer->awaits) ? HINT_PAUSE_MS : MEND_PAUSE_MS) * 1000);

	pthread_mutex_lock(&indexer->lock);
	atomic_fetch_add(&indexer->sleeping, 1);
	if (!atomic_load(&indexer->stopping) && atomic_load(&indexer->calls) == calls)
		pthread_cond_timedwait(&indexer->called, &indexer->lock, &until);
	atomic_fetch_sub(&indexer->sleeping, 1);
	pthread_mutex_unlock(&indexer->lock);
}

void
indexer_wake(void *arg)
{
	Indexer    *indexer = (Indexer *) arg;

	atomic_fetch_add(&indexer->calls, 1);
	if (atomic_load(&indexer->sleeping) == 0)
		return;
	pthread_mutex_lock(&indexer->lock);
	pthread_cond_broadcast(&indexer->called);
	pthread_mutex_unlock(&indexer->lock);
}

void
indexer_wake_now(void *arg)
{
	Indexer    *indexer = (Indexer *) arg;

	atomic_fetch_add(&indexer->calls, 1);
	if (atomic_load(&indexer->sleeping) == 0 || pthread_mutex_trylock(&indexer->lock) != 0)
		return;
	pthread_cond_broadcast(&indexer->called);
	pthread_mutex_unlock(&indexer->lock);
}

static void *
index_main(void *arg)
{
	IndexThread *self = (IndexThread *) arg;
	Indexer    *indexer = self->indexer;
	bool		helper = self->number >= indexer->always;

	thread_name("index");
	/* Best effort: without it the threads only compete harder. */
	(void) setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), NICE);
	while (!atomic_load(&indexer->stopping))
	{
		unsigned	calls = atomic_load(&indexer->calls);
		Shard	   *shard = next_shard(indexer, helper);
		uint32_t	linked;

		if (shard)
		{
			if (!helper && hot_presses(shard))
				call_helpers(indexer);
			linked = link_some(indexer, shard);

			/* Mending does not wait for the end of a long queue. */
			filters_trim(shard->records);
			if (!helper && linked > 0)
				hnsw_repair(records_graph(shard->records), MEND_SLICE / LINK_SLICE * linked, false);
			shard_stir(shard);
			shard_release(shard);
		}
		else if (helper)
			rest(indexer);
		else if (!mend_some(indexer, calls))
			wait_for_call(indexer, calls);
	}
	return NULL;
}

Indexer *
indexer_start(Worker *worker, uint32_t threads)
{
	Indexer    *indexer = vt_alloc0(sizeof(Indexer));
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);

	indexer->worker = worker;
	indexer->n = threads ? threads : (uint32_t) (cores > 1 ? cores : 1);
	indexer->always = indexer->n > 1 ? indexer->n / 2 : 1;
	atomic_store(&indexer->link_us, LINK_US_FIRST);
	pthread_mutex_init(&indexer->lock, NULL);
	cond_init(&indexer->called);
	cond_init(&indexer->needed);
	indexer->threads = vt_alloc0(sizeof(IndexThread) * indexer->n);
	for (uint32_t i = 0; i < indexer->n; i++)
	{
		indexer->threads[i].indexer = indexer;
		indexer->threads[i].number = i;
		if (pthread_create(&indexer->threads[i].thread, NULL, index_main, &indexer->threads[i]) != 0)
			vt_assert_fail("pthread_create", __FILE__, __LINE__);
	}
	return indexer;
}

void
indexer_stop(Indexer *indexer)
{
	atomic_store(&indexer->stopping, true);
	indexer_wake(indexer);
	call_helpers(indexer);
	for (uint32_t i = 0; i < indexer->n; i++)
		pthread_join(indexer->threads[i].thread, NULL);
}

void
indexer_free(Indexer *indexer)
{
	pthread_mutex_destroy(&indexer->lock);
	pthread_cond_destroy(&indexer->called);
	pthread_cond_destroy(&indexer->needed);
	free(indexer->threads);
	free(indexer);
}
