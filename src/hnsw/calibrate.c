/*-------------------------------------------------------------------------
 *
 * calibrate.c
 *	  How many candidates a search must keep to find what it should.
 *
 * Vectors of the graph, from all over it, are the queries, and each is searched for
 * as if it were not there: a walk that finds the query itself in the graph finds
 * its neighbours by its links, which no real query has.  What a search with very
 * many candidates finds for each is taken for the truth.  Then all of them
 * are searched for with more and more candidates, until nothing is missed: a
 * curve, from which the ef for any share of the truth is read.  A point of it
 * says the mean less a standard error, since other samples would tell less.
 *
 * A trial goes on a few searches at a time.  It holds no guard between them: what
 * changes meanwhile makes its numbers a little worse, not wrong, so it copies
 * the vectors it asks for.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "hnsw/walk.h"

#define SAMPLES 200
#define TRUTH_EF 600
#define TRUTH_FACTOR 8
#define STEP 1.35				/* from one point of the curve to the next */
#define ALL_FOUND 0.9998

typedef struct Sample
{
	uint32_t	slot;			/* that the vector was in: no neighbour of itself */
	uint32_t	want;			/* neighbours there are, k at most */
	double		last;			/* distance of the farthest of them */
} Sample;

struct HnswTrial
{
	Hnsw	   *h;
	uint32_t	k;
	uint32_t	most;			/* the truth's ef, and the last of the curve */
	uint32_t	at;				/* next sample: to be taken, then to be searched for */
	bool		taken;			/* all samples are */
	uint32_t	n;
	Sample		samples[SAMPLES];
	uint8_t    *vectors;		/* of the samples, so many bytes each: */
	size_t		bytes;
	HnswHit    *hits;			/* room for k */
	uint32_t	ef;				/* of the point under way */
	double		sum;
	double		squares;
	HnswCurve	curve;
};

HnswTrial *
hnsw_trial_begin(Hnsw *h, uint32_t k)
{
	HnswTrial  *trial = vt_alloc0(sizeof(HnswTrial));

	trial->h = h;
	trial->k = k;
	trial->curve.k = k;
	trial->ef = k;
	trial->most = k > TRUTH_EF / TRUTH_FACTOR ? TRUTH_FACTOR * k : TRUTH_EF;
	trial->bytes = vec_given_bytes(h->opt.element, h->opt.dim);
	trial->vectors = vt_alloc(trial->bytes * SAMPLES);
	trial->hits = vt_alloc(sizeof(HnswHit) * k);
	return trial;
}

/* The k nearest of a sample. */
static uint32_t
neighbours(HnswTrial *trial, uint32_t sample, uint32_t ef)
{
	HnswSearch	search = {.query = trial->vectors + sample * trial->bytes, .k = trial->k, .ef = ef};

	return search_without(trial->h, &search, trial->samples[sample].slot, trial->hits);
}

/* A slot as sample: live, and no node that the way down leads through. */
static bool
is_sample(Hnsw *h, uint32_t slot)
{
	return graph_fate(h, slot) == FATE_LIVE && atomic_load(&graph_meta(h, slot)->level) == 0;
}

/* The next sample and its truth, if there is a vector for one near that place. */
static void
take_sample(HnswTrial *trial)
{
	Hnsw	   *h = trial->h;
	Sample	   *sample = &trial->samples[trial->n];
	uint32_t	guard = hnsw_enter(h);
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);
	uint32_t	samples = used < SAMPLES ? used : SAMPLES;
	uint32_t	slot = samples ? (uint32_t) ((uint64_t) used * trial->at / samples) : used;
	uint32_t	end = samples ? (uint32_t) ((uint64_t) used * (trial->at + 1) / samples) : used;
	bool		live;

	while (slot < end && !is_sample(h, slot))
		slot++;
	live = slot < end;
	if (live)
	{
		sample->slot = slot;
		vectors_read(h, slot, trial->vectors + trial->n * trial->bytes);
	}
	hnsw_leave(h, guard);
	if (live && (sample->want = neighbours(trial, trial->n, trial->most)) > 0)
	{
		sample->last = trial->hits[sample->want - 1].distance;
		trial->n++;
	}
	if (++trial->at >= samples)
	{
		trial->taken = true;
		trial->at = 0;
	}
}

static void
search_sample(HnswTrial *trial)
{
	const Sample *sample = &trial->samples[trial->at];
	uint32_t	got = neighbours(trial, trial->at, trial->ef);
	uint32_t	right = 0;
	double		share;

	for (uint32_t i = 0; i < got; i++)
		right += !(trial->hits[i].distance > sample->last);
	share = (double) (right < sample->want ? right : sample->want) / sample->want;
	trial->sum += share;
	trial->squares += share * share;
	trial->at++;
}

/* A point of the curve is known; false: it was the last. */
static bool
next_point(HnswTrial *trial)
{
	HnswCurve  *curve = &trial->curve;
	double		mean = trial->sum / trial->n;
	double		recall = mean - sqrt(fmax(0, trial->squares / trial->n - mean * mean) / trial->n);
	uint32_t	next = (uint32_t) (trial->ef * STEP) + 1;

	curve->ef[curve->n] = trial->ef;
	curve->recall[curve->n++] = (float) recall;
	trial->ef = next < trial->most ? next : trial->most;
	trial->at = 0;
	trial->sum = 0;
	trial->squares = 0;
	return recall < ALL_FOUND && curve->ef[curve->n - 1] < trial->most && curve->n < HNSW_CURVE_POINTS;
}

bool
hnsw_trial_go_on(HnswTrial *trial)
{
	if (!trial->taken)
		take_sample(trial);
	else if (trial->at < trial->n)
		search_sample(trial);
	if (!trial->taken || trial->at < trial->n)
		return true;
	return trial->n > 0 && next_point(trial);
}

void
hnsw_trial_end(HnswTrial *trial, HnswCurve *curve)
{
	if (trial == NULL)
		return;
	if (curve)
		*curve = trial->curve;
	free(trial->vectors);
	free(trial->hits);
	free(trial);
}

uint32_t
hnsw_curve_ef(const HnswCurve *curve, double recall)
{
	for (uint32_t i = 0; i < curve->n; i++)
		if (curve->recall[i] >= recall)
		{
			double		part;

			if (i == 0)
				return curve->ef[0];

			/* It rises less and less: a straight line lies below it. */
			part = (recall - curve->recall[i - 1]) / (curve->recall[i] - curve->recall[i - 1]);
			return curve->ef[i - 1] + (uint32_t) ceil(part * (curve->ef[i] - curve->ef[i - 1]));
		}
	return curve->k > TRUTH_EF / TRUTH_FACTOR ? TRUTH_FACTOR * curve->k : TRUTH_EF;
}

uint32_t
hnsw_calibrate(Hnsw *h, uint32_t k, double recall)
{
	HnswTrial  *trial = hnsw_trial_begin(h, k);
	HnswCurve	curve;

	while (hnsw_trial_go_on(trial))
		;
	hnsw_trial_end(trial, &curve);
	return curve.n ? hnsw_curve_ef(&curve, recall) : k;
}
