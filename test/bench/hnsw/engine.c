/*-------------------------------------------------------------------------
 *
 * engine.c
 *	  Our own engines: the graph on floats, on halves, on codes of either, and the
 *	  exact scan.
 *
 *-------------------------------------------------------------------------
 */
#include "engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "hnsw/hnsw.h"

typedef struct Index
{
	Hnsw	   *h;
	HnswCost	cost;
} Index;

struct Hnsw *
engine_graph(void *index)
{
	return ((Index *) index)->h;
}

static void *
link_all(void *arg)
{
	while (hnsw_link_next(arg))
		;
	return NULL;
}

/* Rows are added a little ahead of those that are linked. */
typedef struct Feed
{
	Hnsw	   *h;
	const Plan *plan;
	pthread_mutex_t lock;
	uint32_t	next;
} Feed;

static void *
feed(void *arg)
{
	enum {SOME = 64};
	Feed	   *f = arg;

	for (;;)
	{
		uint32_t	from;
		VtError		err;

		pthread_mutex_lock(&f->lock);
		from = f->next;
		f->next += SOME;
		pthread_mutex_unlock(&f->lock);
		if (from >= f->plan->n)
			break;
		for (uint32_t i = from; i < from + SOME && i < f->plan->n; i++)
		{
			uint32_t	slot;

			if (hnsw_reserve(f->h, &slot, &err) != VT_OK)
				abort();
			hnsw_add(f->h, slot, i, f->plan->base + (size_t) i * f->plan->dim);
		}
		for (uint32_t i = 0; i < SOME; i++)
			hnsw_link_next(f->h);
	}
	return link_all(f->h);
}

/* -- A graph in a file ----------------------------------------------------- */

static Bytes
tag_of(const Plan *plan)
{
	return bytes_of(&plan->n, sizeof(plan->n));
}

/* The label tells the vector. */
static bool
no_note(void *arg, uint32_t slot, Buf *out)
{
	(void) arg;
	(void) slot;
	(void) out;
	return true;
}

static void
keep(Hnsw *h, const Plan *plan)
{
	HnswSave	save = {.path = plan->keep, .tag = tag_of(plan), .note = no_note};
	VtError		err;

	if (hnsw_save(h, &save, &err) != VT_OK)
		fprintf(stderr, "hnsw_bench: %s\n", err.msg);
}

typedef struct Kept
{
	const Plan *plan;
	uint32_t   *slots;
	uint64_t   *labels;
	uint32_t	n;
} Kept;

static bool
take_kept(void *arg, uint32_t slot, uint64_t label, Bytes note)
{
	Kept	   *kept = arg;

	(void) note;
	if (label >= kept->plan->n || kept->n == kept->plan->n)
		return false;
	kept->slots[kept->n] = slot;
	kept->labels[kept->n++] = label;
	return true;
}

/* The graph kept by an earlier run; NULL: there is none. */
static Hnsw *
load_kept(const HnswOptions *options, const Plan *plan)
{
	Kept		kept = {plan, vt_alloc(sizeof(uint32_t) * plan->n), vt_alloc(sizeof(uint64_t) * plan->n), 0};
	HnswLoad	load = {.path = plan->keep, .tag = tag_of(plan), .each = take_kept, .arg = &kept};
	Hnsw	   *h = NULL;
	VtError		err;

	if (hnsw_load(options, &load, &h, &err) == VT_OK)
	{
		for (uint32_t i = 0; i < kept.n; i++)
			hnsw_restore(h, kept.slots[i], plan->base + kept.labels[i] * plan->dim);
		hnsw_loaded(h);
		if (kept.n != plan->n)
			abort();
	}
	free(kept.slots);
	free(kept.labels);
	return h;
}

static void *
build(const Plan *plan, HnswCodes codes, VecElement element, const char *vectors)
{
	HnswOptions options = {
		.dim = plan->dim, .metric = (VecMetric) plan->metric, .m = plan->m,
		.ef_construction = plan->ef_construction, .codes = codes, .element = element, .seed = 1, .vectors = vectors
	};
	Index	   *index = vt_alloc0(sizeof(Index));
	Feed		f = {.plan = plan, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t	threads[64];
	VtError		err;

	if (plan->keep && (index->h = load_kept(&options, plan)) != NULL)
		return index;
	if (hnsw_create(&options, &index->h, &err) != VT_OK)
		abort();
	f.h = index->h;
	for (uint32_t i = 1; i < plan->threads; i++)
		if (pthread_create(&threads[i], NULL, feed, &f) != 0)
			abort();
	feed(&f);
	for (uint32_t i = 1; i < plan->threads; i++)
		pthread_join(threads[i], NULL);
	while (hnsw_repair(index->h, 100000, false))
		;
	if (plan->keep)
		keep(index->h, plan);
	return index;
}

static void *
build_float(const Plan *plan)
{
	return build(plan, HNSW_CODES_NONE, VEC_FLOAT32, NULL);
}

static void *
build_int8(const Plan *plan)
{
	return build(plan, HNSW_CODES_INT8, VEC_FLOAT32, NULL);
}

static void *
build_int8_only(const Plan *plan)
{
	return build(plan, HNSW_CODES_INT8_ONLY, VEC_FLOAT32, NULL);
}

static void *
build_half(const Plan *plan)
{
	return build(plan, HNSW_CODES_NONE, VEC_FLOAT16, NULL);
}

static void *
build_half_int8(const Plan *plan)
{
	return build(plan, HNSW_CODES_INT8, VEC_FLOAT16, NULL);
}

/* Vectors in a mapped file of the folder for temporary files. */
static void *
build_mapped(const Plan *plan)
{
	const char *folder = getenv("TMPDIR");

	return build(plan, HNSW_CODES_INT8, VEC_FLOAT32, folder ? folder : "/tmp");
}

static uint32_t
take_rows(const HnswHit *hits, uint32_t n, uint32_t *rows)
{
	for (uint32_t i = 0; i < n; i++)
		rows[i] = (uint32_t) hits[i].label;
	return n;
}

static uint32_t
search(void *arg, const float *query, uint32_t k, uint32_t ef, uint32_t *rows)
{
	Index	   *index = arg;
	HnswHit		hits[1000];
	HnswSearch	s = {.query = query, .k = k < 1000 ? k : 1000, .ef = ef, .cost = &index->cost};

	return take_rows(hits, hnsw_search(index->h, &s, hits), rows);
}

static uint32_t
scan(void *arg, const float *query, uint32_t k, uint32_t ef, uint32_t *rows)
{
	Index	   *index = arg;
	HnswHit		hits[1000];
	HnswSearch	s = {.query = query, .k = k < 1000 ? k : 1000, .cost = &index->cost};

	(void) ef;
	return take_rows(hits, hnsw_scan_exact(index->h, &s, hits), rows);
}

static uint64_t
distances(void *arg)
{
	return ((Index *) arg)->cost.distances;
}

static void
destroy(void *arg)
{
	Index	   *index = arg;

	hnsw_destroy(index->h);
	free(index);
}

/* The scan needs no links. */
static void *
build_exact(const Plan *plan)
{
	HnswOptions options = {
		.dim = plan->dim, .metric = (VecMetric) plan->metric, .m = plan->m, .seed = 1
	};
	Index	   *index = vt_alloc0(sizeof(Index));
	VtError		err;

	if (hnsw_create(&options, &index->h, &err) != VT_OK)
		abort();
	for (uint32_t i = 0; i < plan->n; i++)
	{
		uint32_t	slot;

		if (hnsw_reserve(index->h, &slot, &err) != VT_OK)
			abort();
		hnsw_add(index->h, slot, i, plan->base + (size_t) i * plan->dim);
	}
	return index;
}

const Engine engine_float = {"vectron float", false, build_float, search, distances, destroy};
const Engine engine_int8 = {"vectron int8", false, build_int8, search, distances, destroy};
const Engine engine_int8_only = {"vectron int8_only", false, build_int8_only, search, distances, destroy};
const Engine engine_half = {"vectron half", false, build_half, search, distances, destroy};
const Engine engine_half_int8 = {"vectron half-int8", false, build_half_int8, search, distances, destroy};
const Engine engine_mapped = {"vectron mapped", false, build_mapped, search, distances, destroy};
const Engine engine_exact = {"exact scan", true, build_exact, scan, distances, destroy};
