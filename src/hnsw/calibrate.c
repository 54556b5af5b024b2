/*-------------------------------------------------------------------------
 *
 * calibrate.c
 *	  How many candidates a search must keep to find what it should.
 *
 * Vectors of the graph, from all over it, are the queries; what a search with
 * very many candidates finds for each is taken for the truth.  The smallest ef
 * that finds the share wanted is sought by halving; the share counts as found
 * when it is by a standard error more, since other samples would tell less.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "hnsw/graph.h"

#define SAMPLES 200
#define TRUTH_EF 600
#define TRUTH_FACTOR 8

typedef struct Sample
{
	uint32_t	slot;
	uint32_t	want;			/* neighbours there are, k at most */
	double		last;			/* distance of the farthest of them */
} Sample;

/* The k nearest of a sample, itself left out: room for k + 1. */
static uint32_t
neighbours(Hnsw *h, const Sample *sample, uint32_t k, uint32_t ef, HnswHit *hits)
{
	HnswSearch	search = {.query = hnsw_vector(h, sample->slot), .k = k + 1, .ef = ef};
	uint32_t	n = hnsw_search(h, &search, hits);
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < n; i++)
		if (hits[i].slot != sample->slot)
			hits[kept++] = hits[i];
	return kept < k ? kept : k;
}

static uint32_t
take_samples(Hnsw *h, uint32_t k, uint32_t truth_ef, Sample *samples, HnswHit *hits)
{
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);
	uint32_t	n = 0;

	for (uint32_t i = 0; i < SAMPLES && i < used; i++)
	{
		Sample	   *sample = &samples[n];

		sample->slot = (uint32_t) ((uint64_t) used * i / (used < SAMPLES ? used : SAMPLES));
		if (graph_fate(h, sample->slot) != FATE_LIVE)
			continue;
		sample->want = neighbours(h, sample, k, truth_ef, hits);
		if (sample->want == 0)
			continue;
		sample->last = hits[sample->want - 1].distance;
		n++;
	}
	return n;
}

static bool
is_enough(Hnsw *h, const Sample *samples, uint32_t n, uint32_t k, double recall, uint32_t ef,
		  HnswHit *hits)
{
	double		sum = 0;
	double		squares = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	got = neighbours(h, &samples[i], k, ef, hits);
		uint32_t	right = 0;
		double		share;

		for (uint32_t j = 0; j < got; j++)
			right += !(hits[j].distance > samples[i].last);
		share = (double) (right < samples[i].want ? right : samples[i].want) / samples[i].want;
		sum += share;
		squares += share * share;
	}
	sum /= n;
	return sum - sqrt(fmax(0, squares / n - sum * sum) / n) >= recall;
}

uint32_t
hnsw_calibrate(Hnsw *h, uint32_t k, double recall)
{
	uint32_t	low = k;		/* not known to be enough */
	uint32_t	high = k > TRUTH_EF / TRUTH_FACTOR ? TRUTH_FACTOR * k : TRUTH_EF;
	uint32_t	guard = hnsw_enter(h);
	Sample	   *samples = vt_alloc(sizeof(Sample) * SAMPLES);
	HnswHit    *hits = vt_alloc(sizeof(HnswHit) * ((size_t) k + 1));
	uint32_t	n = take_samples(h, k, high, samples, hits);

	if (n == 0 || is_enough(h, samples, n, k, recall, low, hits))
		high = low;
	while (high - low > 1 + low / 16)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (is_enough(h, samples, n, k, recall, middle, hits))
			high = middle;
		else
			low = middle;
	}
	hnsw_leave(h, guard);
	free(hits);
	free(samples);
	return high;
}
