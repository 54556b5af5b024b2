/*-------------------------------------------------------------------------
 *
 * hnsw_file.c
 *	  A graph goes into a file and comes back: the same when nothing happened in
 *	  between, and sound whatever did.  Files that are not what was written are in hnsw_lies.c.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_saved.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "golden.h"

static void
comes_back_the_same(void **state)
{
	float	   *rows = rows_with_twins(N);
	const char *path = scratch_path("graph");

	(void) state;
	for (size_t k = 0; k < GRAPH_KINDS; k++)
	{
		HnswOptions options = kind(k);
		Hnsw	   *h = built(&options, rows, N);
		Told		told;
		Hnsw	   *back;
		HnswStats	before;
		HnswStats	after;

		assert_int_equal(save(h, path), VT_OK);
		assert_int_equal(load(path, &options, &told, &back), VT_OK);
		assert_int_equal(told.n, N);
		restore(back, &told, rows, NULL);
		assert_sound(back);
		assert_same_answers(h, back, QUERIES);
		hnsw_stats(h, &before);
		hnsw_stats(back, &after);
		assert_int_equal(after.live, before.live);
		assert_int_equal(after.linked, before.linked);
		assert_int_equal(after.levels, before.levels);
		assert_int_equal(after.waiting, 0);

		/* And it goes on: more come, some go, it is mended. */
		for (uint32_t i = 0; i < N; i += 3)
			assert_true(hnsw_delete(back, told.slots[i]));
		for (uint32_t i = 0; i < 300; i++)
			add(back, N + i, rows + (size_t) (i * 7 % N) * DIM);
		link_all(back);
		while (hnsw_repair(back, 1000, true))
			;
		assert_sound(back);
		hnsw_destroy(back);
		hnsw_destroy(h);
	}
	free(rows);
}

static void
an_empty_one_too(void **state)
{
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_NONE, 16);
	Hnsw	   *h;
	Hnsw	   *back;
	Told		told;
	HnswHit		hit;
	VtError		err;
	float		query[DIM] = {0};

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	assert_int_equal(save(h, scratch_path("graph")), VT_OK);
	assert_int_equal(load(scratch_path("graph"), &options, &told, &back), VT_OK);
	hnsw_loaded(back);
	assert_int_equal(search(back, query, 1, 10, &hit), 0);
	assert_int_equal(add(back, 5, query), 0);
	assert_int_equal(search(back, query, 1, 10, &hit), 1);
	link_all(back);
	assert_sound(back);
	hnsw_destroy(back);
	hnsw_destroy(h);
}

/* Inner products have hubs, and codes alone are not the rows: recall is another then. */
static bool
is_judged(size_t k)
{
	return graph_kinds[k].metric != VEC_IP && graph_kinds[k].codes != HNSW_CODES_INT8_ONLY;
}

/* What is not restored is dead: no hit, but it leads on until it is mended around. */
static void
some_are_gone(void **state)
{
	float	   *rows = rows_with_twins(N);
	uint8_t		gone[N] = {0};

	(void) state;
	for (uint32_t i = 0; i < N; i++)
		gone[i] = i % 5 == 0 || (i > 1000 && i < 1200);
	for (size_t k = 0; k < GRAPH_KINDS; k++)
	{
		HnswOptions options = kind(k);
		Hnsw	   *h = built(&options, rows, N);
		Told		told;
		Hnsw	   *back;
		HnswReport	report;
		HnswStats	stats;

		assert_int_equal(save(h, scratch_path("graph")), VT_OK);
		assert_int_equal(load(scratch_path("graph"), &options, &told, &back), VT_OK);
		restore(back, &told, rows, gone);
		assert_sound(back);
		if (is_judged(k))
			assert_true(recall(back, graph_kinds[k].metric, rows, N, gone, 60) > 0.97);
		link_all(back);
		while (hnsw_repair(back, 1000, true))
			;
		assert_true(hnsw_check(back, &report));
		assert_int_equal(report.unreachable, 0);
		if (is_judged(k))
			assert_true(recall(back, graph_kinds[k].metric, rows, N, gone, 60) > 0.97);
		hnsw_stats(back, &stats);
		assert_int_equal(stats.dead, 0);
		hnsw_destroy(back);
		hnsw_destroy(h);
	}
	free(rows);
}

/* When nearly all died at once, what is left has few links of its own; walks find it still. */
static void
few_are_left(void **state)
{
	static const uint32_t left[] = {16, 24, 40};
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_INT8, 8);
	float	   *rows = rows_with_twins(N);
	Hnsw	   *h = built(&options, rows, N);

	(void) state;
	assert_int_equal(save(h, scratch_path("graph")), VT_OK);
	for (uint64_t seed = 1; seed <= 60; seed++)
		for (int i = 0; i < 3; i++)
		{
			Prng		prng = {seed};
			uint8_t		gone[N];
			Told		told;
			Hnsw	   *back;

			memset(gone, 1, N);
			for (uint32_t k = 0; k < left[i]; k++)
				gone[prng_below(&prng, N)] = 0;
			assert_int_equal(load(scratch_path("graph"), &options, &told, &back), VT_OK);
			restore(back, &told, rows, gone);
			link_all(back);
			while (hnsw_repair(back, 1000, true))
				;
			assert_sound(back);
			assert_true(recall(back, VEC_L2, rows, N, gone, 100) > 0.99);
			hnsw_destroy(back);
		}
	hnsw_destroy(h);
	free(rows);
}

/* -- While it runs --------------------------------------------------------- */

typedef struct Running
{
	Hnsw	   *h;
	const float *rows;
	atomic_bool stop;
	uint32_t	slot_of[N];		/* the writer's */
	uint8_t		there[N];
} Running;

static void *
write_on(void *arg)
{
	Running    *r = (Running *) arg;
	Prng		prng = {5};

	while (!atomic_load(&r->stop))
	{
		uint32_t	i = prng_below(&prng, N);
		uint32_t	slot;
		VtError		err;

		if (r->there[i] && prng_below(&prng, 3) > 0)
		{
			assert_int_equal(hnsw_reserve(r->h, &slot, &err), VT_OK);
			hnsw_replace(r->h, r->slot_of[i], slot, i, r->rows + (size_t) i * DIM);
			r->slot_of[i] = slot;
		}
		else if (r->there[i])
			assert_true(hnsw_delete(r->h, r->slot_of[i]));
		else
			r->slot_of[i] = add(r->h, i, r->rows + (size_t) i * DIM);
		r->there[i] = hnsw_live(r->h, r->slot_of[i]);
	}
	return NULL;
}

static void *
link_on(void *arg)
{
	Running    *r = (Running *) arg;

	while (!atomic_load(&r->stop))
		if (!hnsw_link_next(r->h))
			hnsw_repair(r->h, 200, true);
	return NULL;
}

static void *
search_on(void *arg)
{
	Running    *r = (Running *) arg;
	HnswHit		hits[K];

	for (uint32_t q = 0; !atomic_load(&r->stop); q = (q + 1) % N)
		search(r->h, r->rows + (size_t) q * DIM, K, 30, hits);
	return NULL;
}

static void
saved_while_it_runs(void **state)
{
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_INT8, 8);
	Running		r = {.rows = rows_with_twins(N)};
	pthread_t	threads[3];
	VtError		err;

	(void) state;
	assert_int_equal(hnsw_create(&options, &r.h, &err), VT_OK);
	for (uint32_t i = 0; i < N; i += 2)
	{
		r.slot_of[i] = add(r.h, i, r.rows + (size_t) i * DIM);
		r.there[i] = 1;
	}
	link_all(r.h);
	assert_int_equal(pthread_create(&threads[0], NULL, write_on, &r), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, link_on, &r), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, search_on, &r), 0);
	for (int round = 0; round < 10; round++)
	{
		uint8_t		gone[N] = {0};
		bool		seen[N] = {false};
		Told		told;
		Hnsw	   *back;

		assert_int_equal(save(r.h, scratch_path("graph")), VT_OK);
		assert_int_equal(load(scratch_path("graph"), &options, &told, &back), VT_OK);

		/* A record that was replaced meanwhile may be there in two versions: one counts. */
		for (uint32_t i = 0; i < told.n; i++)
		{
			uint64_t	label = told.labels[i];

			gone[label] = label % 11 == 0;
			if (!seen[label] && !gone[label])
				hnsw_restore(back, told.slots[i], r.rows + label * DIM);
			seen[label] = true;
		}
		for (uint32_t i = 0; i < N; i++)
			gone[i] |= !seen[i];
		hnsw_loaded(back);
		assert_sound(back);
		/*
		 * What was written amid so many deletes may have few links left; mended,
		 * it finds nearly everything.
		 */
		link_all(back);
		while (hnsw_repair(back, 1000, true))
			;
		assert_sound(back);
		assert_true(recall(back, VEC_L2, r.rows, N, gone, 100) > 0.95);
		hnsw_destroy(back);
	}
	atomic_store(&r.stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	link_all(r.h);
	assert_sound(r.h);
	hnsw_destroy(r.h);
	free((void *) r.rows);
}

/* -- The bytes themselves --------------------------------------------------- */

static const struct
{
	const char *path;
	VecElement	element;
}			goldens[] = {
	{"test/golden/hnsw_file.hex", VEC_FLOAT32},
	{"test/golden/hnsw_file_half.hex", VEC_FLOAT16},
};

/* A few nodes of two levels, twins, one that is dead, one that waits. */
static Hnsw *
few(HnswOptions *options, VecElement element)
{
	Hnsw	   *h;
	float		row[DIM] = {0};
	VtError		err;

	*options = options_of(VEC_L2, HNSW_CODES_NONE, 2);
	options->element = element;
	assert_int_equal(hnsw_create(options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < 9; i++)
	{
		row[0] = (float) (i < 7 ? i * i : 9);
		add(h, i, row);
	}
	for (int i = 0; i < 8; i++)
		hnsw_link_next(h);
	assert_true(hnsw_delete(h, 4));
	return h;
}

static void
bytes_are_as_ever(void **state)
{
	char		path[192];

	(void) state;
	snprintf(path, sizeof(path), "%s", scratch_path("graph"));
	for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++)
	{
		HnswOptions options;
		Hnsw	   *h = few(&options, goldens[i].element);
		Buf			golden = read_hex(goldens[i].path);
		Told		told;
		Hnsw	   *back;
		uint8_t    *file;
		size_t		size;

		assert_int_equal(save(h, path), VT_OK);
		file = read_file(path, &size);
		assert_int_equal(size, golden.len);
		assert_memory_equal(file, golden.data, size);
		write_file(path, golden.data, golden.len);
		assert_int_equal(load(path, &options, &told, &back), VT_OK);
		assert_int_equal(told.n, 7);
		hnsw_destroy(back);
		hnsw_destroy(h);
		free(file);
		buf_free(&golden);
	}
}

/* hnsw_file --write, as wire_golden. */
static int
write_golden(void)
{
	bool		ok = scratch_make(NULL) == 0;

	for (size_t i = 0; ok && i < sizeof(goldens) / sizeof(goldens[0]); i++)
	{
		HnswOptions options;
		Hnsw	   *h = few(&options, goldens[i].element);
		uint8_t    *file;
		size_t		size;

		ok = save(h, scratch_path("graph")) == VT_OK;
		if (!ok)
			break;
		file = read_file(scratch_path("graph"), &size);
		ok = write_hex(goldens[i].path, "the file of a graph; the fields are those of docs/disk.md",
					   bytes_of(file, size));
		free(file);
		hnsw_destroy(h);
	}
	return scratch_remove(NULL) != 0 || !ok;
}

static bool
give_up(void *arg, size_t bytes)
{
	(void) arg;
	(void) bytes;
	return false;
}

static void
given_up_half_way(void **state)
{
	float	   *rows = clustered(1, FEW);
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_NONE, 8);
	Hnsw	   *h = built(&options, rows, FEW);
	char		path[192];
	char		fresh[200];
	HnswSave	how = {.path = path, .tag = bytes_str("mine"), .note = note, .pace = give_up, .arg = h};
	Told		told;
	Hnsw	   *back;
	VtError		err = {0};

	(void) state;
	snprintf(path, sizeof(path), "%s", scratch_path("graph"));
	snprintf(fresh, sizeof(fresh), "%s" HNSW_SAVE_SUFFIX, path);
	assert_int_equal(save(h, path), VT_OK);
	assert_true(hnsw_delete(h, 3));
	assert_int_equal(hnsw_save(h, &how, &err), VT_CANCELLED);
	assert_int_not_equal(access(fresh, F_OK), 0);
	assert_int_equal(load(path, &options, &told, &back), VT_OK);
	assert_int_equal(told.n, FEW);
	hnsw_destroy(back);
	how.path = scratch_path("no/such/folder");
	how.pace = NULL;
	assert_int_equal(hnsw_save(h, &how, &err), VT_IO);
	free(rows);
	hnsw_destroy(h);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_the_same),
		cmocka_unit_test(an_empty_one_too),
		cmocka_unit_test(some_are_gone),
		cmocka_unit_test(few_are_left),
		cmocka_unit_test(saved_while_it_runs),
		cmocka_unit_test(given_up_half_way),
		cmocka_unit_test(bytes_are_as_ever),
	};

	if (argc == 2 && strcmp(argv[1], "--write") == 0)
		return write_golden();
	return cmocka_run_group_tests_name("hnsw_file", tests, scratch_make, scratch_remove);
}
