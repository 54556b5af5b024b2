/*-------------------------------------------------------------------------
 *
 * hnsw_bits.c
 *	  A graph of bit strings: distances are few numbers, so masses are equally far.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"
#include "hnsw_given.h"

#include "scratch.h"

#define N 2600
#define ROOM 256				/* bytes of a string at most */

/* Strings of one length, and a graph of some of them: string i has label i. */
typedef struct World
{
	Hnsw	   *h;
	VecMetric	metric;
	uint32_t	dim;
	size_t		bytes;
	uint32_t	n;
	uint8_t    *rows;
	uint32_t	slot_of[2 * N];
	uint8_t		gone[2 * N];
} World;

static const uint8_t *
row_of(const World *w, uint32_t label)
{
	return w->rows + w->bytes * label;
}

/* n strings near one of 40; about one bit of `flips` is another.  0: all bits by chance. */
static uint8_t *
given_strings(uint64_t seed, uint32_t n, uint32_t dim, uint32_t flips)
{
	Prng		centres = {17};
	Prng		prng = {seed};
	size_t		bytes = VEC_BITS_BYTES(dim);
	uint8_t		centre[40][ROOM];
	uint8_t    *rows = calloc(n, bytes);

	assert_non_null(rows);
	for (int c = 0; c < 40; c++)
		for (size_t i = 0; i < bytes; i++)
			centre[c][i] = (uint8_t) prng_below(&centres, 256);
	for (uint32_t row = 0; row < n; row++)
	{
		const uint8_t *from = centre[prng_below(&prng, 40)];

		for (uint32_t i = 0; i < dim; i++)
		{
			uint8_t		bit = (uint8_t) (0x80 >> i % 8);
			bool		set = flips ? !!(from[i / 8] & bit) != (prng_below(&prng, flips) == 0) : prng_below(&prng, 2);

			rows[bytes * row + i / 8] |= set ? bit : 0;
		}
	}
	return rows;
}

static bool
on_move(void *arg, uint32_t from, uint32_t to)
{
	World	   *w = arg;
	uint64_t	label = hnsw_label(w->h, from);

	if (w->slot_of[label] != from || !hnsw_live(w->h, from))
		return false;
	hnsw_move(w->h, from, to);
	w->slot_of[label] = to;
	return true;
}

static HnswOptions
options_of(World *w)
{
	HnswOptions options = {
		.dim = w->dim, .metric = w->metric, .m = 16, .ef_construction = 60, .element = VEC_BIT, .seed = 7,
		.move = on_move, .move_arg = w
	};

	return options;
}

static World *
world_new(VecMetric metric, uint32_t dim, uint32_t flips)
{
	World	   *w = calloc(1, sizeof(World));
	HnswOptions options;
	VtError		err;

	assert_non_null(w);
	w->metric = metric;
	w->dim = dim;
	w->bytes = VEC_BITS_BYTES(dim);
	w->n = N;
	w->rows = given_strings(5, 2 * N, dim, flips);
	options = options_of(w);
	assert_int_equal(hnsw_create(&options, &w->h, &err), VT_OK);
	return w;
}

static void
world_free(World *w)
{
	hnsw_destroy(w->h);
	free(w->rows);
	free(w);
}

static void
put(World *w, uint32_t label)
{
	VtError		err;

	assert_int_equal(hnsw_reserve(w->h, &w->slot_of[label], &err), VT_OK);
	hnsw_add(w->h, w->slot_of[label], label, row_of(w, label));
}

static void
put_all(World *w)
{
	for (uint32_t i = 0; i < N; i++)
		put(w, i);
}

static void
mend(World *w)
{
	while (hnsw_repair(w->h, 500, true))
		;
}

/* The k nearest of the first n that are there, by distances counted in this file. */
static double
plain_distance(const World *w, const uint8_t *a, const uint8_t *b)
{
	uint32_t	both = 0;
	uint32_t	either = 0;

	for (size_t i = 0; i < w->bytes; i += 8)
	{
		size_t		some = w->bytes - i < 8 ? w->bytes - i : 8;
		uint64_t	x = 0;
		uint64_t	y = 0;

		memcpy(&x, a + i, some);
		memcpy(&y, b + i, some);
		both += (uint32_t) __builtin_popcountll(x & y);
		either += (uint32_t) __builtin_popcountll(x | y);
	}
	if (w->metric == VEC_HAMMING)
		return either - both;
	return both ? 1 - (double) both / either : 1;
}

static uint32_t
truth_of(const World *w, const uint8_t *query, uint32_t k, HnswHit *out)
{
	uint32_t	count = 0;

	for (uint32_t label = 0; label < w->n; label++)
	{
		HnswHit		hit = {.label = label};
		uint32_t	i;

		if (w->gone[label])
			continue;
		hit.distance = plain_distance(w, query, row_of(w, label));
		if (count == k && by_distance(&hit, &out[k - 1]) > 0)
			continue;
		i = count < k ? count++ : k - 1;
		for (; i > 0 && by_distance(&hit, &out[i - 1]) < 0; i--)
			out[i] = out[i - 1];
		out[i] = hit;
	}
	return count;
}

/* Ordered, each once, at the distance it is at, and what is said of it is true. */
static void
assert_bit_hits(World *w, const uint8_t *query, const HnswHit *hits, uint32_t n)
{
	uint8_t		vector[ROOM];

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	label = (uint32_t) hits[i].label;

		assert_true(label < w->n && !w->gone[label]);
		assert_true(hits[i].distance == plain_distance(w, query, row_of(w, label)));
		hnsw_read_vector(w->h, hits[i].slot, vector);
		assert_memory_equal(vector, row_of(w, label), w->bytes);
		assert_true(hnsw_distance(w->h, query, hits[i].slot) == hits[i].distance);
		if (i > 0)
			assert_true(by_distance(&hits[i - 1], &hits[i]) < 0);
	}
}

/* Hits as near as the tenth, of searches with ef and of the scan, which misses none. */
static double
bit_recall(World *w, uint32_t ef, uint32_t flips)
{
	uint8_t    *queries = given_strings(77, QUERIES, w->dim, flips);
	int			right = 0;
	int			wanted = 0;

	for (uint32_t q = 0; q < QUERIES; q++)
	{
		const uint8_t *query = queries + w->bytes * q;
		HnswHit		truth[K];
		HnswHit		hits[K];
		HnswSearch	s = {.query = query, .k = K, .ef = ef};
		uint32_t	want = truth_of(w, query, K, truth);

		assert_int_equal(hnsw_search(w->h, &s, hits), want);
		assert_bit_hits(w, query, hits, want);
		for (uint32_t i = 0; i < want; i++)
			right += hits[i].distance <= truth[want - 1].distance;
		wanted += (int) want;
		assert_int_equal(hnsw_scan_exact(w->h, &s, hits), want);
		for (uint32_t i = 0; i < want; i++)
			assert_true(hits[i].distance == truth[i].distance && hits[i].label == truth[i].label);
	}
	free(queries);
	return (double) right / wanted;
}

/* The lengths there are: tails of bytes and words, one word, some lines. */
static const struct
{
	VecMetric	metric;
	uint32_t	dim;
	uint32_t	flips;
	double		least;
}			kinds[] = {
	{VEC_HAMMING, 768, 10, 0.99},
	{VEC_HAMMING, 200, 8, 0.99},
	{VEC_HAMMING, 131, 0, 0.80},	/* all by chance: neighbours hardly nearer than others */
	{VEC_HAMMING, 13, 0, 0.99},	/* hundreds of equal distances, and equal strings */
	{VEC_JACCARD, 768, 10, 0.99},
	{VEC_JACCARD, 61, 6, 0.99},
	{VEC_JACCARD, 13, 0, 0.99},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* -- Stories ----------------------------------------------------------------- */

/* Waiting, linked, thinned out, mended, moved together, grown again: what is near is found. */
static void
what_is_near_is_found(void **state)
{
	(void) state;
	for (size_t k = 0; k < KINDS; k++)
	{
		World	   *w = world_new(kinds[k].metric, kinds[k].dim, kinds[k].flips);
		HnswStats	stats;
		double		found;

		put_all(w);
		assert_true(bit_recall(w, 60, kinds[k].flips) == 1);	/* all of them waiting */
		link_all(w->h);
		assert_sound(w->h);
		found = bit_recall(w, 60, kinds[k].flips);
		if (found < kinds[k].least)
			fail_msg("%s of %u bits: %.3f found", vec_metric_name(w->metric), w->dim, found);
		for (uint32_t i = 0; i < N; i++)
			if (i % 5 < 2)
			{
				hnsw_delete(w->h, w->slot_of[i]);
				w->gone[i] = true;
			}
		mend(w);
		assert_sound(w->h);
		hnsw_stats(w->h, &stats);
		assert_true(stats.moved > 0 && stats.used < N);
		found = bit_recall(w, 60, kinds[k].flips);
		if (found < kinds[k].least)
			fail_msg("%s of %u bits: %.3f found when others were gone", vec_metric_name(w->metric), w->dim, found);
		for (w->n = N; w->n < 2 * N; w->n++)
			put(w, w->n);
		link_all(w->h);
		assert_sound(w->h);
		found = bit_recall(w, 60, kinds[k].flips);
		if (found < kinds[k].least)
			fail_msg("%s of %u bits: %.3f found when others had come", vec_metric_name(w->metric), w->dim, found);
		world_free(w);
	}
}

/* A cursor that is read to its end has been everywhere, and comes nowhere twice. */
static void
assert_cursor_comes_to_all(World *w)
{
	static HnswHit hits[50];
	HnswSearch	s = {.query = row_of(w, 0), .k = 50, .ef = 50};
	HnswCursor *cursor = hnsw_cursor_open(w->h, &s);
	uint8_t		seen[N] = {0};
	uint32_t	all = 0;
	uint32_t	n;

	assert_true(hnsw_cursor_bytes(cursor) > 0);
	while ((n = hnsw_cursor_next(cursor, hits, 50)) > 0)
	{
		assert_bit_hits(w, s.query, hits, n);
		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(seen[hits[i].label]++, 0);
		all += n;
	}
	assert_int_equal(all, N);
	hnsw_cursor_close(cursor);
}

static bool
passes(void *arg, uint64_t label, uint32_t slot)
{
	(void) slot;
	return label % *(const uint32_t *) arg == 0;
}

/* All of them by a cursor; a third, one of forty, one of five hundred: by a filter and as a set. */
static void
all_and_some_of_them(void **state)
{
	static const uint32_t parts[] = {3, 40, 500};

	(void) state;
	for (size_t k = 0; k < KINDS; k++)
	{
		World	   *w = world_new(kinds[k].metric, kinds[k].dim, kinds[k].flips);

		put_all(w);
		link_all(w->h);
		assert_cursor_comes_to_all(w);
		for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++)
		{
			uint32_t	part = parts[p];
			HnswSet    *set = hnsw_set_open(w->h);
			int			right[2] = {0};
			int			wanted = 0;

			hnsw_set_add_passing(set, passes, &part);
			for (uint32_t i = 0; i < N; i++)
				w->gone[i] = i % part != 0;
			for (uint32_t q = 0; q < 30; q++)
			{
				const uint8_t *query = row_of(w, N + q);
				HnswHit		truth[K];
				HnswHit		hits[K];
				uint32_t	want = truth_of(w, query, K, truth);

				wanted += (int) want;
				for (int way = 0; way < 2; way++)
				{
					HnswSearch	s = {.query = query, .k = K, .ef = 60, .filter = way ? NULL : passes,
						.filter_arg = &part, .set = way ? set : NULL};

					assert_int_equal(hnsw_search(w->h, &s, hits), want);
					assert_bit_hits(w, query, hits, want);
					for (uint32_t i = 0; i < want; i++)
						right[way] += hits[i].distance <= truth[want - 1].distance;
				}
			}
			for (int way = 0; way < 2; way++)
				if (right[way] < kinds[k].least * wanted)
					fail_msg("%s of %u bits, one of %u: %d of %d found", vec_metric_name(w->metric), w->dim, part,
							 right[way], wanted);
			hnsw_set_close(set);
		}
		world_free(w);
	}
}

/* 1 000 equal ones hang behind one node, and the others are found as if they were not there. */
static void
equal_strings_are_no_trap(void **state)
{
	static HnswHit hits[1100];
	World	   *w = world_new(VEC_HAMMING, 200, 8);
	HnswSearch	s = {.k = 1100, .ef = 1100};
	uint32_t	nodes = 0;

	(void) state;
	for (uint32_t i = 0; i < 1000; i++)
		memcpy(w->rows + w->bytes * (500 + i), row_of(w, 0), w->bytes);
	put_all(w);
	link_all(w->h);
	assert_sound(w->h);
	for (uint32_t i = 0; i < 1000; i++)
		nodes += atomic_load(&graph_meta(w->h, w->slot_of[500 + i])->state) == SLOT_LINKED &&
			atomic_load(&graph_meta(w->h, w->slot_of[500 + i])->level) == 0;
	assert_int_equal(nodes, 0);
	s.query = row_of(w, 0);
	assert_int_equal(hnsw_search(w->h, &s, hits), 1100);
	assert_bit_hits(w, s.query, hits, 1100);
	assert_true(hits[1000].distance == 0 && hits[1001].distance > 0);
	s.k = 1;
	s.ef = 40;
	for (uint32_t i = 1; i < 500; i++)
	{
		s.query = row_of(w, i);
		assert_int_equal(hnsw_search(w->h, &s, hits), 1);
		assert_true(hits[0].distance == 0);
	}
	world_free(w);
}

/* Without a bit set it is as far from everything as can be, itself too: it comes all the same. */
static void
nothing_in_common(void **state)
{
	static HnswHit hits[N];
	World	   *w = world_new(VEC_JACCARD, 61, 6);
	uint8_t		none[ROOM] = {0};
	HnswSearch	s = {.query = none, .k = N, .ef = N};

	(void) state;
	for (uint32_t i = 0; i < N; i += 3)
		memset(w->rows + w->bytes * i, 0, w->bytes);
	put_all(w);
	link_all(w->h);
	assert_sound(w->h);
	assert_int_equal(hnsw_search(w->h, &s, hits), N);
	for (uint32_t i = 0; i < N; i++)
		assert_true(hits[i].distance == 1 && hits[i].label == i);
	s.query = row_of(w, 1);
	assert_int_equal(hnsw_search(w->h, &s, hits), N);
	assert_bit_hits(w, s.query, hits, N);
	world_free(w);
}

/* What a string takes: its bits in words, and what every slot has. */
static void
memory_is_that_of_bits(void **state)
{
	World	   *bits = world_new(VEC_HAMMING, 768, 10);
	Hnsw	   *floats = create(VEC_L2, HNSW_CODES_NONE);
	HnswStats	a;
	HnswStats	b;
	float		zero[DIM] = {0};

	(void) state;
	put_all(bits);
	for (uint32_t i = 0; i < N; i++)
		add(floats, i, zero);
	hnsw_stats(bits->h, &a);
	hnsw_stats(floats, &b);
	/* Of floats a row has 32 numbers. */
	assert_int_equal(a.bytes - N * (768 / 8), b.bytes - N * 32 * sizeof(float));
	world_free(bits);
	hnsw_destroy(floats);
}

static bool
note(void *arg, uint32_t slot, Buf *out)
{
	buf_put_u64(out, hnsw_label(((World *) arg)->h, slot));
	return true;
}

static bool
each(void *arg, uint32_t slot, uint64_t label, Bytes note_of)
{
	World	   *w = arg;

	w->slot_of[label] = slot;
	return note_of.len == 8 && get_le64(note_of.data) == label;
}

/* Into a file and back, with some that are not there any more; other graphs do not take it. */
static void
through_a_file(void **state)
{
	World	   *w = world_new(VEC_HAMMING, 131, 8);
	char		path[4096];
	HnswSave	save = {.path = path, .tag = bytes_str("bits"), .note = note, .arg = w};
	HnswLoad	load = {.path = path, .tag = bytes_str("bits"), .each = each, .arg = w};
	HnswOptions options = options_of(w);
	HnswOptions other = options;
	Hnsw	   *h;
	VtError		err;

	(void) state;
	snprintf(path, sizeof(path), "%s", scratch_path("graph"));
	put_all(w);
	link_all(w->h);
	assert_int_equal(hnsw_save(w->h, &save, &err), VT_OK);
	hnsw_destroy(w->h);
	w->h = NULL;
	other.metric = VEC_JACCARD;
	assert_int_equal(hnsw_load(&other, &load, &h, &err), VT_INVALID);
	other.metric = VEC_L2;
	other.element = VEC_FLOAT32;
	assert_int_equal(hnsw_load(&other, &load, &h, &err), VT_INVALID);
	assert_int_equal(hnsw_load(&options, &load, &w->h, &err), VT_OK);
	for (uint32_t i = 0; i < N; i++)
	{
		w->gone[i] = i % 4 == 0;
		if (!w->gone[i])
			hnsw_restore(w->h, w->slot_of[i], row_of(w, i));
	}
	hnsw_loaded(w->h);
	assert_sound(w->h);
	assert_true(bit_recall(w, 60, 8) >= 0.99);
	mend(w);
	assert_sound(w->h);
	assert_true(bit_recall(w, 60, 8) >= 0.99);
	world_free(w);
}

/* The ef that is said to be needed is enough, and little where distances are few numbers. */
static void
calibration_knows_ties(void **state)
{
	World	   *w = world_new(VEC_HAMMING, 13, 0);
	World	   *long_ones = world_new(VEC_HAMMING, 200, 8);
	uint32_t	ef;

	(void) state;
	put_all(w);
	link_all(w->h);
	ef = hnsw_calibrate(w->h, K, 0.98);
	assert_true(ef >= K && ef <= 100);
	assert_true(bit_recall(w, ef, 0) >= 0.97);
	put_all(long_ones);
	link_all(long_ones->h);
	ef = hnsw_calibrate(long_ones->h, K, 0.95);
	assert_true(bit_recall(long_ones, ef, 8) >= 0.93);
	world_free(w);
	world_free(long_ones);
}

#define REFUSED(word, change) \
	do { \
		HnswOptions options = {.dim = 100, .metric = VEC_HAMMING, .m = 8, .ef_construction = 50, .element = VEC_BIT}; \
		Hnsw	   *h; \
		VtError		err; \
 \
		options.change; \
		assert_int_equal(hnsw_create(&options, &h, &err), VT_INVALID); \
		assert_non_null(strstr(vt_error_words(&err), word)); \
	} while (0)

static void
what_does_not_go_together(void **state)
{
	(void) state;
	REFUSED("metric", metric = VEC_L2);
	REFUSED("metric", element = VEC_FLOAT32);
	REFUSED("metric", element = 0);
	REFUSED("dimensions", dim = VEC_MAX_BITS + 1);
	REFUSED("elements", dim = 0);	/* a table */
	REFUSED("codes", codes = HNSW_CODES_INT8);
	REFUSED("codes", codes = HNSW_CODES_INT8_ONLY);
}

/* The longest there are. */
static void
long_strings(void **state)
{
	HnswOptions options = {.dim = VEC_MAX_BITS, .metric = VEC_HAMMING, .m = 4, .ef_construction = 20, .element = VEC_BIT};
	static uint8_t row[VEC_BITS_BYTES(VEC_MAX_BITS)];
	HnswHit		hits[3];
	HnswSearch	s = {.query = row, .k = 3, .ef = 20};
	Hnsw	   *h;
	VtError		err;
	uint32_t	slot;

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < 50; i++)
	{
		row[i * 160] = 0xFF;
		assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
		hnsw_add(h, slot, i, row);
	}
	link_all(h);
	assert_int_equal(hnsw_search(h, &s, hits), 3);
	assert_true(hits[0].label == 49 && hits[0].distance == 0);
	assert_true(hits[1].label == 48 && hits[1].distance == 8);
	assert_true(hits[2].label == 47 && hits[2].distance == 16);
	hnsw_destroy(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_near_is_found),
		cmocka_unit_test(all_and_some_of_them),
		cmocka_unit_test(equal_strings_are_no_trap),
		cmocka_unit_test(nothing_in_common),
		cmocka_unit_test(memory_is_that_of_bits),
		cmocka_unit_test(through_a_file),
		cmocka_unit_test(calibration_knows_ties),
		cmocka_unit_test(what_does_not_go_together),
		cmocka_unit_test(long_strings),
	};

	return cmocka_run_group_tests_name("hnsw_bits", tests, scratch_make, scratch_remove);
}
