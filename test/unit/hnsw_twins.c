/*-------------------------------------------------------------------------
 *
 * hnsw_twins.c
 *	  Equal vectors: they find each other while they are linked, and are no trap.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"
#include "hnsw_given.h"
#include "scratch.h"

static const HnswCodes codings[] = {HNSW_CODES_NONE, HNSW_CODES_INT8};

/*
 * 2 000 equal vectors among others, some of which come after them: each of the
 * others is its own nearest, and the equal ones come in order of label.
 */
static void
equal_vectors_are_no_trap(void **state)
{
	float	   *rows = clustered(3, 1000);
	float	   *same = clustered(4, 1);
	uint32_t	lost = 0;

	(void) state;
	for (size_t c = 0; c < sizeof(codings) / sizeof(codings[0]); c++)
	{
		Hnsw	   *h = create(VEC_L2, codings[c]);
		HnswHit		hits[2100];

		for (uint32_t i = 0; i < 500; i++)
			add(h, i, rows + (size_t) i * DIM);
		for (uint32_t i = 0; i < 2000; i++)
			add(h, 10000 + i, same);
		for (uint32_t i = 500; i < 1000; i++)
			add(h, i, rows + (size_t) i * DIM);
		link_all(h);
		assert_sound(h);
		for (uint32_t i = 0; i < 1000; i++)
		{
			assert_int_equal(search(h, rows + (size_t) i * DIM, 1, 64, hits), 1);
			lost += hits[0].label != i;
		}
		assert_int_equal(lost, 0);
		assert_int_equal(search(h, same, 2100, 2100, hits), 2100);
		for (uint32_t i = 0; i < 2000; i++)
			assert_int_equal(hits[i].label, 10000 + i);
		assert_true(hits[2000].distance > 0);

		/* They die one by one: one of the rest is found each time. */
		for (uint32_t i = 0; i < 1999; i++)
		{
			assert_int_equal(search(h, same, 1, 10, hits), 1);
			assert_true(hits[0].distance == 0);
			assert_true(hnsw_delete(h, hits[0].slot));
			if (i % 100 == 0)
				while (hnsw_repair(h, 1000, true))
					;
		}
		assert_sound(h);
		hnsw_destroy(h);
	}
	free(rows);
	free(same);
}

/*
 * Equal vectors hang behind one node, whatever they are compared by and kept in: each
 * comes at 10 places of the queue, among others.
 */
static void
equal_vectors_find_each_other(void **state)
{
	enum {DIFFERENT = 100, TIMES = 10};
	static const VecMetric metrics[] = {VEC_L2, VEC_COSINE, VEC_IP, VEC_L1};
	static const VecElement elements[] = {VEC_FLOAT32, VEC_FLOAT16};
	static const uint32_t dims[] = {5, 17, 24, 100};
	Prng		prng = {41};

	(void) state;
	for (uint32_t turn = 0; turn < 4 * 4 * 2 * 2; turn++)
	{
		HnswOptions options = {.dim = dims[turn % 4], .metric = metrics[turn / 4 % 4],
			.element = elements[turn / 16 % 2], .codes = turn / 32 ? HNSW_CODES_INT8 : HNSW_CODES_NONE,
			.m = 16, .ef_construction = 100, .seed = 7};
		float		rows[DIFFERENT][100];
		uint32_t	nodes[DIFFERENT] = {0};
		Hnsw	   *h;
		VtError		err;

		assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
		for (uint32_t i = 0; i < DIFFERENT; i++)
		{
			double		norm = 0;

			for (uint32_t d = 0; d < options.dim; d++)
			{
				rows[i][d] = (float) (prng_double(&prng) * 2 - 1);
				norm += rows[i][d] * rows[i][d];
			}
			for (uint32_t d = 0; d < options.dim; d++)
				rows[i][d] /= (float) sqrt(norm);
		}
		for (uint32_t i = 0; i < DIFFERENT * TIMES; i++)
			add(h, i, rows[i % DIFFERENT]);
		link_all(h);
		assert_sound(h);

		/* Those of higher levels look for each other there. */
		for (uint32_t slot = 0; slot < DIFFERENT * TIMES; slot++)
			if (atomic_load(&graph_meta(h, slot)->state) == SLOT_LINKED && atomic_load(&graph_meta(h, slot)->level) == 0 &&
				++nodes[hnsw_label(h, slot) % DIFFERENT] > 1)
				fail_msg("turn %u: two nodes are equal", turn);
		hnsw_destroy(h);
	}
}

static bool
every_other(void *arg, uint32_t slot, Buf *out)
{
	uint64_t	label = hnsw_label((const Hnsw *) arg, slot);

	buf_put_u64(out, label);
	return label % 2 == 1;
}

static bool
none_yet(void *arg, uint32_t slot, uint64_t label, Bytes note)
{
	((uint64_t *) arg)[slot] = label;
	return note.len == 8;
}

/* A file for half of the records, as a shard's that is split off: a chain leads on to those that are in it, and nothing waits. */
static void
half_of_a_chain(void **state)
{
	enum {EQUAL = 300, OTHERS = 300};
	float	   *rows = clustered(3, OTHERS);
	float	   *same = clustered(4, 1);
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .element = VEC_FLOAT32, .m = 8, .ef_construction = 100, .seed = 7};

	(void) state;
	/* The one that the others hang behind is in it, or is not. */
	for (uint64_t first = 0; first < 2; first++)
	{
		uint64_t	labels[EQUAL + OTHERS];
		HnswSave	how = {.path = scratch_path("graph"), .tag = bytes_str("mine"), .note = every_other};
		HnswLoad	back = {.path = how.path, .tag = how.tag, .each = none_yet, .arg = labels};
		HnswHit		hits[EQUAL];
		Hnsw	   *h;
		Hnsw	   *half;
		VtError		err = {0};

		memset(labels, 0, sizeof(labels));
		assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
		for (uint64_t i = 0; i < EQUAL; i++)
			add(h, 1000 + first + i, same);
		for (uint64_t i = 0; i < OTHERS; i++)
			add(h, i, rows + i * DIM);
		link_all(h);
		how.arg = h;
		assert_int_equal(hnsw_save(h, &how, &err), VT_OK);
		hnsw_destroy(h);
		assert_int_equal(hnsw_load(&options, &back, &half, &err), VT_OK);
		for (uint32_t slot = 0; slot < EQUAL + OTHERS; slot++)
			if (labels[slot] != 0)
				hnsw_restore(half, slot, labels[slot] >= 1000 ? same : rows + labels[slot] * DIM);
		hnsw_loaded(half);
		link_all(half);
		assert_sound(half);
		assert_int_equal(atomic_load(&half->link_distances), 0);	/* none was linked anew */
		while (hnsw_repair(half, 1000, true))
			;
		assert_sound(half);
		assert_int_equal(search(half, same, EQUAL, EQUAL, hits), EQUAL);
		for (uint32_t i = 0; i < EQUAL / 2; i++)
			assert_int_equal(hits[i].label, 1001 + 2 * i);
		assert_true(hits[EQUAL / 2].distance > 0);
		hnsw_destroy(half);
	}
	free(rows);
	free(same);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_vectors_are_no_trap),
		cmocka_unit_test(equal_vectors_find_each_other),
		cmocka_unit_test(half_of_a_chain),
	};

	return cmocka_run_group_tests_name("hnsw_twins", tests, scratch_make, scratch_remove);
}
