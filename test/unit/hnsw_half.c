/*-------------------------------------------------------------------------
 *
 * hnsw_half.c
 *	  A graph that keeps its vectors in halves: to the last bit the graph of floats
 *	  that were rounded before, in half the room.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include "scratch.h"

#define N 3000

/* A graph, and which slot each label has. */
typedef struct Owner
{
	Hnsw	   *h;
	uint32_t	slot_of[2 * N];
} Owner;

static bool
on_move(void *arg, uint32_t from, uint32_t to)
{
	Owner	   *owner = arg;
	uint64_t	label = hnsw_label(owner->h, from);

	if (owner->slot_of[label] != from || !hnsw_live(owner->h, from))
		return false;
	hnsw_move(owner->h, from, to);
	owner->slot_of[label] = to;
	return true;
}

static Owner *
owner_new(VecMetric metric, HnswCodes codes, VecElement element, const char *folder)
{
	Owner	   *owner = calloc(1, sizeof(*owner));
	HnswOptions options = {
		.dim = DIM, .metric = metric, .m = 12, .ef_construction = 80, .codes = codes, .element = element,
		.seed = 7, .vectors = folder, .move = on_move, .move_arg = owner
	};
	VtError		err;

	assert_non_null(owner);
	assert_int_equal(hnsw_create(&options, &owner->h, &err), VT_OK);
	return owner;
}

static void
owner_free(Owner *owner)
{
	hnsw_destroy(owner->h);
	free(owner);
}

static void
put(Owner *owner, uint32_t label, const float *rows)
{
	owner->slot_of[label] = add(owner->h, label, rows + (size_t) label * DIM);
}

static void
mend(Owner *owner)
{
	while (hnsw_repair(owner->h, 500, true))
		;
}

static const struct
{
	VecMetric	metric;
	HnswCodes	codes;
}			kinds[] = {
	{VEC_L2, HNSW_CODES_NONE},
	{VEC_COSINE, HNSW_CODES_NONE},
	{VEC_IP, HNSW_CODES_NONE},
	{VEC_L1, HNSW_CODES_NONE},
	{VEC_L2, HNSW_CODES_INT8},
	{VEC_COSINE, HNSW_CODES_INT8},
	{VEC_IP, HNSW_CODES_INT8},
	{VEC_L1, HNSW_CODES_INT8},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* Rows with twins, and the same rounded to halves. */
static void
given_rows(float **rows, float **rounded)
{
	*rows = clustered(1, 2 * N);
	for (uint32_t i = 10; i < 2 * N; i += 10)
		memcpy(*rows + (size_t) i * DIM, *rows + (size_t) (i % 70) * DIM, DIM * sizeof(float));
	*rounded = malloc((size_t) 2 * N * DIM * sizeof(float));
	assert_non_null(*rounded);
	memcpy(*rounded, *rows, (size_t) 2 * N * DIM * sizeof(float));
	round_to_halves(*rounded, 2 * N);
	assert_memory_not_equal(*rows, *rounded, (size_t) N * DIM * sizeof(float));
}

static void
assert_same_answers(Owner *a, Owner *b, VecMetric metric)
{
	float	   *queries = clustered(1234, QUERIES);

	for (int q = 0; q < QUERIES; q++)
	{
		HnswHit		x[K];
		HnswHit		y[K];
		HnswSearch	s = {.query = queries + q * DIM, .k = K};
		uint32_t	n = search(a->h, queries + q * DIM, K, 40, x);

		assert_int_equal(search(b->h, queries + q * DIM, K, 40, y), n);
		assert_memory_equal(x, y, n * sizeof(HnswHit));
		assert_hits(a->h, metric, queries + q * DIM, x, n);
		n = hnsw_scan_exact(a->h, &s, x);
		assert_int_equal(hnsw_scan_exact(b->h, &s, y), n);
		assert_memory_equal(x, y, n * sizeof(HnswHit));
	}
	free(queries);
}

/* -- Stories ----------------------------------------------------------------- */

/* Through a life with deletes, repair and compaction; folder: of the one of halves. */
static void
live_alike(VecMetric metric, HnswCodes codes, const char *folder)
{
	Owner	   *halves = owner_new(metric, codes, VEC_FLOAT16, folder);
	Owner	   *floats = owner_new(metric, codes, VEC_FLOAT32, NULL);
	float	   *rows;
	float	   *rounded;
	HnswStats	a;
	HnswStats	b;

	given_rows(&rows, &rounded);
	for (uint32_t i = 0; i < N; i++)
	{
		put(halves, i, rows);
		put(floats, i, rounded);
	}
	assert_same_answers(halves, floats, metric);	/* all of them waiting */
	link_all(halves->h);
	link_all(floats->h);
	assert_sound(halves->h);
	assert_same_answers(halves, floats, metric);
	hnsw_stats(halves->h, &a);
	hnsw_stats(floats->h, &b);
	assert_int_equal(a.bytes, b.bytes - (folder ? 4 : 2) * (DIM + 8) * (uint64_t) N);
	for (uint32_t i = 0; i < N; i++)
		if (i % 5 < 2)
		{
			hnsw_delete(halves->h, halves->slot_of[i]);
			hnsw_delete(floats->h, floats->slot_of[i]);
		}
	mend(halves);
	mend(floats);
	assert_same_answers(halves, floats, metric);

	/* Others come, and what is free now is enough for compaction. */
	put(halves, N, rows);
	put(floats, N, rounded);
	link_all(halves->h);
	link_all(floats->h);
	hnsw_delete(halves->h, halves->slot_of[N]);
	hnsw_delete(floats->h, floats->slot_of[N]);
	mend(halves);
	mend(floats);
	hnsw_stats(halves->h, &a);
	assert_true(a.moved > 0 && a.used < N);
	for (uint32_t i = N + 1; i < 2 * N; i++)
	{
		put(halves, i, rows);
		put(floats, i, rounded);
	}
	link_all(halves->h);
	link_all(floats->h);
	assert_sound(halves->h);
	assert_same_answers(halves, floats, metric);
	free(rows);
	free(rounded);
	owner_free(halves);
	owner_free(floats);
}

static void
as_if_rounded_before(void **state)
{
	(void) state;
	for (size_t k = 0; k < KINDS; k++)
		live_alike(kinds[k].metric, kinds[k].codes, NULL);
}

static void
in_a_mapped_file_too(void **state)
{
	(void) state;
	for (size_t k = 0; k < KINDS; k++)
		if (kinds[k].codes != HNSW_CODES_NONE)
			live_alike(kinds[k].metric, kinds[k].codes, scratch_path("."));
}

/* What is asked for is not rounded. */
static void
queries_stay_floats(void **state)
{
	Owner	   *owner = owner_new(VEC_L2, HNSW_CODES_NONE, VEC_FLOAT16, NULL);
	float		row[DIM] = {1};
	float		query[DIM] = {1 + 1e-5f};
	HnswHit		hit;
	double		want = (double) query[0] - 1;

	(void) state;
	add(owner->h, 1, row);
	assert_int_equal(search(owner->h, query, 1, 10, &hit), 1);
	assert_true(fabs(hit.distance - want) < 1e-9);
	owner_free(owner);
}

/* What becomes zero by rounding has no direction: last of all, as zero vectors are. */
static void
too_small_for_halves(void **state)
{
	Owner	   *owner = owner_new(VEC_COSINE, HNSW_CODES_NONE, VEC_FLOAT16, NULL);
	float		row[DIM] = {1e-9f};
	float		other[DIM] = {-1};
	float		query[DIM] = {1};
	HnswHit		hits[2];

	(void) state;
	add(owner->h, 1, row);
	add(owner->h, 2, other);
	link_all(owner->h);
	assert_int_equal(search(owner->h, query, 2, 10, hits), 2);
	assert_int_equal(hits[0].label, 2);
	assert_true(isnan(hits[1].distance));
	owner_free(owner);
}

static void
an_element_there_is(void **state)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 8, .ef_construction = 50, .element = (VecElement) (VEC_BIT + 1)};
	Hnsw	   *h;
	VtError		err;

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_INVALID);
	assert_non_null(strstr(vt_error_words(&err), "element"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_if_rounded_before),
		cmocka_unit_test(in_a_mapped_file_too),
		cmocka_unit_test(queries_stay_floats),
		cmocka_unit_test(too_small_for_halves),
		cmocka_unit_test(an_element_there_is),
	};

	return cmocka_run_group_tests_name("hnsw_half", tests, scratch_make, scratch_remove);
}
