/*-------------------------------------------------------------------------
 *
 * hnsw_rows.c
 *	  Rows of codes of all lengths, with what lies behind them, and with codes alone:
 *	  a life of a graph each, judged by the vectors it says it has.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include <pthread.h>
#include <stdatomic.h>

#include "scratch.h"

#define N 300
#define ALL (N + N / 2)			/* rows there ever are */
#define MANY 2600				/* so many that compaction is worth it */

/* With room behind a row for all of a slot, for a part of it, for none; of no round length. */
static const uint32_t dims[] = {3, 100, 511, 512, 752, 768, 784, 787, 1000};

static const struct
{
	VecMetric	metric;
	HnswCodes	codes;
}			kinds[] = {
	{VEC_L2, HNSW_CODES_INT8},
	{VEC_L2, HNSW_CODES_INT8_ONLY},
	{VEC_COSINE, HNSW_CODES_INT8_ONLY},
	{VEC_IP, HNSW_CODES_INT8_ONLY},
	{VEC_L1, HNSW_CODES_INT8},
	{VEC_L1, HNSW_CODES_INT8_ONLY},
};

/* A graph, what it is made of, and which slot each label has. */
typedef struct Life
{
	Hnsw	   *h;
	VecMetric	metric;
	HnswCodes	codes;
	uint32_t	dim;
	float	   *rows;			/* of label i from i * dim on */
	float	   *read;			/* the same, as the graph has them */
	uint32_t	slot_of[MANY];	/* HNSW_NO_SLOT: dead */
	uint32_t	all;
	uint32_t	moves;
} Life;

static bool
on_move(void *arg, uint32_t from, uint32_t to)
{
	Life	   *life = arg;
	uint64_t	label = hnsw_label(life->h, from);

	if (life->slot_of[label] != from)
		return false;
	hnsw_move(life->h, from, to);
	life->slot_of[label] = to;
	life->moves++;
	return true;
}

static HnswOptions
options_of(Life *life)
{
	return (HnswOptions) {
		.dim = life->dim, .metric = life->metric, .m = 8, .ef_construction = 40, .codes = life->codes, .seed = 7,
		.move = on_move, .move_arg = life
	};
}

static Life *
life_new(VecMetric metric, HnswCodes codes, uint32_t dim, uint32_t all)
{
	Life	   *life = calloc(1, sizeof(Life));
	Prng		prng = {dim};
	HnswOptions options;
	VtError		err;

	assert_non_null(life);
	life->metric = metric;
	life->codes = codes;
	life->dim = dim;
	life->all = all;
	life->rows = malloc(sizeof(float) * dim * all);
	life->read = malloc(sizeof(float) * dim * all);
	assert_true(life->rows && life->read);
	for (uint32_t i = 0; i < all; i++)
	{
		float		place[4];

		/* In four dimensions, nearly. */
		for (int j = 0; j < 4; j++)
			place[j] = (float) prng_double(&prng) * 2 - 1;
		life->slot_of[i] = HNSW_NO_SLOT;
		for (uint32_t j = 0; j < dim; j++)
			life->rows[(size_t) i * dim + j] = place[j % 4] * (float) (1 + j / 4 % 5) + 0.2f * (float) prng_double(&prng);
	}
	options = options_of(life);
	assert_int_equal(hnsw_create(&options, &life->h, &err), VT_OK);
	return life;
}

static void
life_free(Life *life)
{
	hnsw_destroy(life->h);
	free(life->rows);
	free(life->read);
	free(life);
}

static void
put(Life *life, uint32_t label)
{
	life->slot_of[label] = add(life->h, label, life->rows + (size_t) label * life->dim);
}

static void
end(Life *life, uint32_t label)
{
	assert_true(hnsw_delete(life->h, life->slot_of[label]));
	life->slot_of[label] = HNSW_NO_SLOT;
}

/* What the graph says of each vector: the vector, or as near as a code can be. */
static void
assert_vectors(Life *life)
{
	for (uint32_t i = 0; i < life->all; i++)
	{
		const float *row = life->rows + (size_t) i * life->dim;
		float	   *read = life->read + (size_t) i * life->dim;
		float		least = row[0];
		float		most = row[0];

		if (life->slot_of[i] == HNSW_NO_SLOT)
			continue;
		assert_int_equal(hnsw_label(life->h, life->slot_of[i]), i);
		hnsw_read_vector(life->h, life->slot_of[i], read);
		if (life->codes == HNSW_CODES_INT8)
			assert_memory_equal(read, row, sizeof(float) * life->dim);
		for (uint32_t j = 0; j < life->dim; j++)
		{
			least = row[j] < least ? row[j] : least;
			most = row[j] > most ? row[j] : most;
		}
		for (uint32_t j = 0; j < life->dim; j++)
			assert_true(fabsf(read[j] - row[j]) <= (most - least) / 255 * 0.501f);
	}
}

/* The nearest of the live, odd labels only if `odd`. */
static uint32_t
judge(const Life *life, const float *query, bool odd, HnswHit *out)
{
	static HnswHit all[MANY];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < life->all; i++)
		if (life->slot_of[i] != HNSW_NO_SLOT && (!odd || i % 2))
			all[n++] = (HnswHit) {vec_distance(life->metric, query, life->read + (size_t) i * life->dim, life->dim),
								  i, life->slot_of[i]};
	qsort(all, n, sizeof(HnswHit), by_distance);
	n = n < K ? n : K;
	memcpy(out, all, sizeof(HnswHit) * n);
	return n;
}

static void
assert_same(const HnswHit *a, const HnswHit *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		assert_int_equal(a[i].label, b[i].label);
		assert_int_equal(a[i].slot, b[i].slot);
		assert_memory_equal(&a[i].distance, &b[i].distance, sizeof(double));
	}
}

/* Searches find nearly all; scans, and searches among few, all; distances are right to the last bit. */
static void
assert_answers(Life *life, uint32_t queries)
{
	HnswSet    *set = hnsw_set_open(life->h);
	uint32_t	right = 0;

	for (uint32_t i = 1; i < life->all; i += 2)
		if (life->slot_of[i] != HNSW_NO_SLOT)
			hnsw_set_add(set, life->slot_of[i]);
	assert_sound(life->h);
	assert_vectors(life);
	for (uint32_t q = 0; q < queries; q++)
	{
		const float *query = life->rows + (size_t) (q * 17 % life->all) * life->dim;
		HnswSearch	s = {.query = query, .k = K, .ef = 60};
		HnswHit		truth[K];
		HnswHit		hits[K];
		uint32_t	n;

		n = judge(life, query, false, truth);
		assert_int_equal(hnsw_scan_exact(life->h, &s, hits), n);
		assert_same(hits, truth, n);
		assert_int_equal(hnsw_search(life->h, &s, hits), n);
		for (uint32_t i = 0; i < n; i++)
		{
			double		d = vec_distance(life->metric, query, life->read + (size_t) hits[i].label * life->dim, life->dim);

			assert_memory_equal(&d, &hits[i].distance, sizeof(d));
			right += d <= truth[n - 1].distance;
		}
		s.set = set;			/* from the second time on from a copy of its rows */
		n = judge(life, query, true, truth);
		assert_int_equal(hnsw_search(life->h, &s, hits), n);
		assert_same(hits, truth, n);
	}
	hnsw_set_close(set);
	if (right < 0.95 * K * queries)
		fail_msg("%u of %u found, %u dimensions", right, K * queries, life->dim);
}

static bool
note(void *arg, uint32_t slot, Buf *out)
{
	(void) arg;
	(void) slot;
	(void) out;
	return true;
}

static bool
each(void *arg, uint32_t slot, uint64_t label, Bytes words)
{
	Life	   *life = arg;

	(void) words;
	if (life->slot_of[label] == HNSW_NO_SLOT)
		return false;
	life->slot_of[label] = slot;
	return true;
}

/* Away and back; a graph that keeps other things of its vectors does not take it. */
static void
save_and_load(Life *life)
{
	const char *path = scratch_path("graph");
	Bytes		tag = bytes_of("rows", 4);
	HnswSave	save = {.path = path, .tag = tag, .note = note};
	HnswLoad	load = {.path = path, .tag = tag, .each = each, .arg = life};
	HnswOptions options = options_of(life);
	Hnsw	   *other;
	VtError		err = {0};

	assert_int_equal(hnsw_save(life->h, &save, &err), VT_OK);
	hnsw_destroy(life->h);
	options.codes = life->codes == HNSW_CODES_INT8 ? HNSW_CODES_INT8_ONLY : HNSW_CODES_INT8;
	assert_int_equal(hnsw_load(&options, &load, &other, &err), VT_INVALID);
	options.codes = life->codes;
	assert_int_equal(hnsw_load(&options, &load, &life->h, &err), VT_OK);
	for (uint32_t i = 0; i < life->all; i++)
		if (life->slot_of[i] != HNSW_NO_SLOT)
			hnsw_restore(life->h, life->slot_of[i], life->rows + (size_t) i * life->dim);
	hnsw_loaded(life->h);
}

static void
live(VecMetric metric, HnswCodes codes, uint32_t dim)
{
	Life	   *life = life_new(metric, codes, dim, ALL);

	for (uint32_t i = 0; i < N; i++)
		put(life, i);
	assert_answers(life, 4);	/* all of them waiting */
	link_all(life->h);
	assert_answers(life, 30);
	for (uint32_t i = 0; i < N; i += 2)
		end(life, i);
	while (hnsw_repair(life->h, 1000, true))
		;
	assert_answers(life, 20);
	save_and_load(life);
	assert_answers(life, 20);
	for (uint32_t i = N; i < ALL; i++)
		put(life, i);
	link_all(life->h);
	assert_answers(life, 30);
	life_free(life);
}

static void
rows_of_all_lengths(void **state)
{
	(void) state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
			live(kinds[k].metric, kinds[k].codes, dims[d]);
}

/* What is left moves together, with what lies behind its row, and memory goes back. */
static void
moved_together(void **state)
{
	(void) state;
	for (int only = 0; only <= 1; only++)
	{
		Life	   *life = life_new(VEC_L2, only ? HNSW_CODES_INT8_ONLY : HNSW_CODES_INT8, 784, MANY);
		HnswStats	before;
		HnswStats	after;

		for (uint32_t i = 0; i < MANY; i++)
			put(life, i);
		link_all(life->h);
		hnsw_stats(life->h, &before);
		for (uint32_t i = 0; i < MANY; i++)
			if (i % 7 < 4)
				end(life, i);
		while (hnsw_repair(life->h, 1000, true))
			;
		hnsw_stats(life->h, &after);
		assert_true(life->moves > 0);
		assert_true(after.bytes < before.bytes / 2 + before.bytes / 10);
		assert_answers(life, 30);
		for (uint32_t i = 0; i < MANY; i += 7)
			put(life, i);
		link_all(life->h);
		assert_answers(life, 30);
		life_free(life);
	}
}

/*
 * A vector, with its codes and links, stays below 1.25 times what it is, or a quarter
 * with codes alone, and 256 bytes; of these 50 are for what the caller keeps beside.
 */
static void
memory_of_a_vector(void **state)
{
	static const uint32_t some[] = {128, 256, 512, 768, 784, 1024, 1536};

	(void) state;
	for (size_t d = 0; d < sizeof(some) / sizeof(some[0]); d++)
		for (int only = 0; only <= 1; only++)
		{
			enum {ROWS = 1000};
			HnswOptions options = {
				.dim = some[d], .metric = VEC_L2, .m = 16, .ef_construction = 1,
				.codes = only ? HNSW_CODES_INT8_ONLY : HNSW_CODES_INT8, .seed = 7
			};
			float	   *row = calloc(some[d], sizeof(float));
			HnswStats	stats;
			Hnsw	   *h;
			VtError		err;

			assert_non_null(row);
			assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
			for (uint32_t i = 0; i < ROWS; i++)
			{
				row[0] = (float) i;
				(void) add(h, i, row);
				hnsw_link_next(h);
			}
			hnsw_stats(h, &stats);
			assert_true((double) stats.bytes / ROWS <= (only ? 0.25 : 1.25) * 4 * some[d] + 256 - 50);
			hnsw_destroy(h);
			free(row);
		}
}

/* -- Threads ----------------------------------------------------------------- */

typedef struct Busy
{
	Life	   *life;
	atomic_bool done;
} Busy;

/* What lies behind the rows changes while the rows are read. */
static void *
search_on(void *arg)
{
	Busy	   *busy = arg;
	Life	   *life = busy->life;

	for (uint32_t q = 0; !atomic_load(&busy->done) || q < 50; q++)
	{
		HnswSet    *set = hnsw_set_open(life->h);
		HnswHit		hits[K];
		HnswSearch	s = {.query = life->rows + (size_t) (q % ALL) * life->dim, .k = K, .ef = 30};

		assert_in_range(hnsw_search(life->h, &s, hits), 1, K);
		for (uint32_t slot = 0; slot < N / 4; slot += 2)
			hnsw_set_add(set, slot);
		s.set = set;
		for (int i = 0; i < 4; i++)
			assert_in_range(hnsw_search(life->h, &s, hits), 1, K);
		hnsw_set_close(set);
	}
	return NULL;
}

static void
beside_a_writer(void **state)
{
	static const uint32_t some[] = {768, 784};

	(void) state;
	for (size_t d = 0; d < sizeof(some) / sizeof(some[0]); d++)
		for (size_t k = 0; k < 2; k++)
		{
			Busy		busy = {.life = life_new(kinds[k].metric, kinds[k].codes, some[d], ALL)};
			pthread_t	other;

			for (uint32_t i = 0; i < N / 4; i++)
				put(busy.life, i);
			assert_int_equal(pthread_create(&other, NULL, search_on, &busy), 0);
			for (uint32_t i = N / 4; i < ALL; i++)
			{
				put(busy.life, i);
				hnsw_link_next(busy.life->h);
				if (i % 3 == 0)
					end(busy.life, i);
				if (i % 10 == 0)
					hnsw_repair(busy.life->h, 200, true);
			}
			atomic_store(&busy.done, true);
			pthread_join(other, NULL);
			while (hnsw_repair(busy.life->h, 1000, true))
				;
			link_all(busy.life->h);
			assert_answers(busy.life, 30);
			life_free(busy.life);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_all_lengths),
		cmocka_unit_test(moved_together),
		cmocka_unit_test(memory_of_a_vector),
		cmocka_unit_test(beside_a_writer),
	};

	return cmocka_run_group_tests_name("hnsw_rows", tests, scratch_make, scratch_remove);
}
