/*-------------------------------------------------------------------------
 *
 * tune.c
 *	  The ef of a shard, found by trial and found again as its records change.
 *
 * A trial (hnsw_trial_begin) searches for some of the shard's own vectors with
 * more and more candidates.  That is done for two k; in between the ef that is
 * needed lies on a line, and beyond it grows with k.
 *
 * When: at first when a graph is worth walking through at all, then each time
 * that a third as many changes have come as there were records.  So a shard that
 * grows is tried a number of times that goes with the logarithm of its size, and
 * one that stands still is left alone.  A trial waits until most of what is
 * there is in the graph.
 *
 * Points are published one by one: who meets some of the old curve and some of
 * the new one gets an ef between the two.
 *
 *-------------------------------------------------------------------------
 */
#include "tune.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Fewer are measured one by one anyway (scan.c). */
#define RECORDS_LEAST 1000

/* Changes since the last trial: one for so many records. */
#define CHANGED_SHARE 3

/* Waiting to be linked: one of so many at most. */
#define WAITING_SHARE 16

#define CURVES 2

static const uint32_t ks[CURVES] = {10, 100};

struct Tune
{
	_Atomic(uint64_t) points[CURVES][HNSW_CURVE_POINTS];	/* ef << 32 | recall, a float; 0 = none */

	pthread_mutex_t lock;
	HnswTrial  *trial;
	int			curve;			/* that it is for */
	uint64_t	began;			/* records_changes() when the first of the trials began */
	uint64_t	changes;		/* and of those whose curves are known */
	uint64_t	records;		/* there were then; 0 = never */
	atomic_bool known;
};

Tune *
tune_new(void)
{
	Tune	   *tune = vt_alloc0(sizeof(Tune));

	pthread_mutex_init(&tune->lock, NULL);
	return tune;
}

void
tune_free(Tune *tune)
{
	if (!tune)
		return;
	hnsw_trial_end(tune->trial, NULL);
	pthread_mutex_destroy(&tune->lock);
	free(tune);
}

static bool
is_due(const Tune *tune, const Records *records)
{
	uint64_t	live = records_count(records);

	return records_dim(records) > 0 && live >= RECORDS_LEAST && records_waiting(records) * WAITING_SHARE <= live &&
		(tune->records == 0 || (records_changes(records) - tune->changes) * CHANGED_SHARE >= tune->records);
}

static void
publish(Tune *tune, int curve, const HnswCurve *found)
{
	for (uint32_t i = 0; i < HNSW_CURVE_POINTS; i++)
	{
		uint32_t	bits = 0;

		if (i < found->n)
			memcpy(&bits, &found->recall[i], sizeof(bits));
		atomic_store_explicit(&tune->points[curve][i],
							  i < found->n ? (uint64_t) found->ef[i] << 32 | bits : 0, memory_order_relaxed);
	}
}

/* The trial of one curve is over: on to the next, or done. */
static void
finish_trial(Tune *tune, Records *records)
{
	HnswCurve	found;

	hnsw_trial_end(tune->trial, &found);
	tune->trial = NULL;
	publish(tune, tune->curve, &found);
	if (++tune->curve < CURVES)
		tune->trial = hnsw_trial_begin(records_graph(records), ks[tune->curve]);
	else
	{
		tune->changes = tune->began;
		tune->records = records_count(records) + 1;
		atomic_store(&tune->known, true);
	}
}

static int64_t
processor_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

bool
tune_some(Tune *tune, Records *records, int64_t us, int64_t *took)
{
	int64_t		begin = processor_us();
	bool		due;

	*took = 0;
	if (pthread_mutex_trylock(&tune->lock) != 0)
		return false;
	due = tune->trial != NULL || is_due(tune, records);
	if (due && tune->trial == NULL)
	{
		tune->began = records_changes(records);
		tune->curve = 0;
		tune->trial = hnsw_trial_begin(records_graph(records), ks[0]);
	}
	while (tune->trial)
	{
		if (!hnsw_trial_go_on(tune->trial))
			finish_trial(tune, records);
		if ((*took = processor_us() - begin) >= us)
			break;
	}
	pthread_mutex_unlock(&tune->lock);
	return due;
}

static uint32_t
curve_ef(const Tune *tune, int curve, double recall)
{
	HnswCurve	copy = {.k = ks[curve]};

	for (; copy.n < HNSW_CURVE_POINTS; copy.n++)
	{
		uint64_t	point = atomic_load_explicit(&tune->points[curve][copy.n], memory_order_relaxed);
		uint32_t	bits = (uint32_t) point;

		if (point == 0)
			break;
		copy.ef[copy.n] = (uint32_t) (point >> 32);
		memcpy(&copy.recall[copy.n], &bits, sizeof(bits));
	}
	return hnsw_curve_ef(&copy, recall);
}

uint32_t
tune_ef(const Tune *tune, uint32_t k, double recall)
{
	double		few;
	double		many;

	if (!atomic_load(&tune->known))
		return 0;
	few = curve_ef(tune, 0, recall);
	if (k <= ks[0])
		return (uint32_t) few;
	many = curve_ef(tune, 1, recall);
	if (k > ks[1])
		return (uint32_t) fmin(many / ks[1] * k, HNSW_MAX_EF);
	return (uint32_t) ceil(few + (fmax(many, few) - few) * (k - ks[0]) / (ks[1] - ks[0]));
}
