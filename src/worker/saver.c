/*-------------------------------------------------------------------------
 *
 * saver.c
 *	  When graphs are written into their files.
 *
 * A shard's is due when many changes are in the graph that are not in the file: so
 * many as the setting says, and a tenth of the records, so that a growing shard
 * writes each record some ten times at most.  Or when fewer are, but some, nothing
 * waits, and nothing has changed for a while: a build has come to its end.  Not
 * while a bulk load goes on, which changes it all.
 *
 * One graph at a time, at a bounded rate, by a thread that gives way to all others;
 * and a shard rests many times as long as its last save took.
 *
 *-------------------------------------------------------------------------
 */
#include "saver.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "private.h"

#define NICE 15
#define LOOK_MS 1000
#define RATE (64u << 20)		/* bytes a second */
#define SETTLED_SHARE 20		/* of the setting, when a shard has come to rest */
#define REST_FACTOR 20
#define REST_US 5000000
#define STOP_US 3000000			/* of the five seconds that a stop may take */

struct Saver
{
	Worker	   *worker;
	uint64_t	changes;
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t called;
	bool		stopping;		/* lock */
};

/* One save. */
typedef struct Job
{
	Saver	   *saver;
	Shard	   *shard;
	int64_t		begin_us;
	int64_t		until_us;		/* 0 = at RATE, and until the saver stops */
	uint64_t	bytes;
} Job;

static uint64_t
most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Is it worth saving a shard that nothing happens to any more? */
static bool
is_changed(const Saver *saver, Shard *shard, const ShardFigures *figures)
{
	return shard_has_graph(shard) && figures->changes - atomic_load(&shard->saved_changes) >=
		most(most(saver->changes / SETTLED_SHARE, figures->records / 100), 1);
}

/* *later: if not now, it may be without anything else happening to it. */
static bool
is_due(const Saver *saver, Shard *shard, int64_t now_us, bool *later)
{
	ShardFigures figures = shard_figures(shard);
	uint64_t	changed = figures.changes - atomic_load(&shard->saved_changes);
	bool		still = figures.waiting == 0 &&
		atomic_exchange(&shard->seen_changes, figures.changes) == figures.changes;

	*later = is_changed(saver, shard, &figures);
	if (!shard_has_graph(shard) || atomic_load(&shard->ingesting) || atomic_load(&shard->installing) || atomic_load(&shard->leaving) ||
		atomic_load(&saver->worker->disk_low) || now_us < shard->save_not_before_us)
		return false;
	if (changed >= figures.waiting + most(saver->changes, figures.records / 10))
		return true;
	return still && *later;
}

/* A shard that is due, held; NULL = none. */
static Shard *
next_due(Saver *saver)
{
	Worker	   *worker = saver->worker;
	int64_t		now_us = clock_now_us();
	Shard	   *found = NULL;

	if (!shards_take_stir(worker, LOOK_GRAPH))
		return NULL;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s && !found; s = s->next)
	{
		bool		later;

		if (!shard_take_stir(s, LOOK_GRAPH))
			continue;
		if (is_due(saver, s, now_us, &later) && shard_hold(s))
			found = s;
		if (found || later)
			shard_stir_for(s, LOOK_GRAPH);
	}
	pthread_mutex_unlock(&worker->lock);
	return found;
}

/* Wait so long, or until the saver stops; true: it does. */
static bool
pause_us(Saver *saver, int64_t us)
{
	struct timespec until = cond_moment(us > 0 ? us : 0);
	bool		stopping;

	pthread_mutex_lock(&saver->lock);
	while (!saver->stopping && us > 0 &&
		   pthread_cond_timedwait(&saver->called, &saver->lock, &until) == 0)
		;
	stopping = saver->stopping;
	pthread_mutex_unlock(&saver->lock);
	return stopping;
}

static bool
pace(void *arg, size_t bytes)
{
	Job		   *job = (Job *) arg;
	int64_t		due_us;

	if (job->until_us)
		return clock_now_us() < job->until_us;
	if (atomic_load(&job->shard->installing) || atomic_load(&job->shard->leaving))
		return false;
	due_us = job->begin_us + (int64_t) (job->bytes * 1000000 / RATE);
	job->bytes += bytes;
	return !pause_us(job->saver, due_us - clock_now_us());
}

/* until_us: see Job.  False: it was not saved. */
static bool
save(Saver *saver, Shard *shard, int64_t until_us)
{
	Job			job = {saver, shard, clock_now_us(), until_us, 0};
	VtError		err = {0};
	VtStatus	status = shard_save_graph(shard, pace, &job, &err);
	int64_t		took_us = clock_now_us() - job.begin_us;

	if (status == VT_OK)
		log_info("shard=%llu: its graph was saved in %lld ms", (unsigned long long) shard->desc.shard,
				 (long long) (took_us / 1000));
	else if (status != VT_CANCELLED)
		log_warn("shard=%llu: its graph could not be saved: %s", (unsigned long long) shard->desc.shard,
				 vt_error_words(&err));
	shard->save_not_before_us = clock_now_us() + (int64_t) most(REST_US, (uint64_t) took_us * REST_FACTOR);
	return status == VT_OK;
}

static void *
saver_main(void *arg)
{
	Saver	   *saver = (Saver *) arg;

	/* Best effort: without it the thread only competes harder. */
	(void) setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), NICE);
	while (!pause_us(saver, LOOK_MS * 1000))
	{
		Shard	   *shard = next_due(saver);

		if (!shard)
			continue;
		(void) save(saver, shard, 0);
		shard_release(shard);
	}
	return NULL;
}

Saver *
saver_start(Worker *worker, uint64_t changes)
{
	Saver	   *saver;

	if (changes == 0)
		return NULL;
	saver = vt_alloc0(sizeof(Saver));
	saver->worker = worker;
	saver->changes = changes;
	pthread_mutex_init(&saver->lock, NULL);
	cond_init(&saver->called);
	if (pthread_create(&saver->thread, NULL, saver_main, saver) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	return saver;
}

void
saver_stop(Saver *saver, int64_t begin_us)
{
	if (!saver)
		return;
	pthread_mutex_lock(&saver->lock);
	saver->stopping = true;
	pthread_cond_signal(&saver->called);
	pthread_mutex_unlock(&saver->lock);
	pthread_join(saver->thread, NULL);

	for (Shard *s = saver->worker->shards; s; s = s->next)
	{
		ShardFigures figures = shard_figures(s);
		bool		in_time = true;

		/* One that a snapshot was being put in place of has no records. */
		if (!shard_hold(s))
			continue;
		if (is_changed(saver, s, &figures) && !atomic_load(&s->ingesting))
			in_time = save(saver, s, begin_us + STOP_US);
		shard_release(s);
		if (!in_time)
			break;
	}
	pthread_mutex_destroy(&saver->lock);
	pthread_cond_destroy(&saver->called);
	free(saver);
}
