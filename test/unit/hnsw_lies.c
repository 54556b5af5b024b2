/*-------------------------------------------------------------------------
 *
 * hnsw_lies.c
 *	  The file of a graph that is not what was written: damaged, made up with a right
 *	  checksum, or of another graph.  It is refused, or does no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_saved.h"

#include "../fuzz/hnsw_seal.h"

static void
damage_is_refused(void **state)
{
	float	   *rows = rows_with_twins(FEW);
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_NONE, 3);
	Hnsw	   *h = built(&options, rows, FEW);
	char		path[192];
	uint8_t    *file;
	size_t		size;
	size_t		accepted = 0;

	(void) state;
	snprintf(path, sizeof(path), "%s", scratch_path("graph"));
	assert_int_equal(save(h, path), VT_OK);
	file = read_file(path, &size);

	/* Every end that a file could have been cut to, and one that has grown. */
	for (size_t cut = 0; cut < size; cut++)
	{
		Told		told;
		Hnsw	   *back;

		write_file(path, file, cut);
		assert_int_equal(load(path, &options, &told, &back), VT_CORRUPT);
		assert_null(back);
	}
	file[size] = 0;
	for (int more = 0; more < 2; more++)
	{
		Told		told;
		Hnsw	   *back;

		write_file(path, file, size + (size_t) more);
		assert_int_equal(load(path, &options, &told, &back), more ? VT_CORRUPT : VT_OK);
		hnsw_destroy(back);
	}

	/* Every byte changed: it is noticed, or it means nothing. */
	for (size_t at = 0; at < size; at++)
		for (int bit = 0; bit < 8; bit += 7)
		{
			Told		told;
			Hnsw	   *back;
			VtStatus	status;

			file[at] ^= (uint8_t) (1 << bit);
			write_file(path, file, size);
			status = load(path, &options, &told, &back);
			file[at] ^= (uint8_t) (1 << bit);
			if (status != VT_OK)
			{
				assert_true(status == VT_CORRUPT || status == VT_VERSION);
				assert_null(back);
				continue;
			}
			accepted++;
			restore(back, &told, rows, NULL);
			assert_sound(back);
			assert_same_answers(h, back, 5);
			hnsw_destroy(back);
		}
	/* Between blocks lies what aligns them. */
	assert_true(accepted <= 2 * 2 * FILE_ALIGN);
	free(file);
	free(rows);
	hnsw_destroy(h);
}

/* Damage that fits its checksums: refused, or a sound graph with nothing in it that was not restored. */
static void
lies_do_no_harm(void **state)
{
	float	   *rows = rows_with_twins(200);
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_INT8, 3);
	Hnsw	   *h = built(&options, rows, 200);
	Prng		prng = {17};
	char		path[192];
	uint8_t    *file;
	uint8_t    *lie;
	size_t		size;
	int			taken = 0;

	(void) state;
	snprintf(path, sizeof(path), "%s", scratch_path("graph"));
	assert_int_equal(save(h, path), VT_OK);
	file = read_file(path, &size);
	lie = malloc(size);
	assert_non_null(lie);
	for (int round = 0; round < 800; round++)
	{
		uint8_t		gone[200] = {0};
		bool		seen[200] = {false};
		Told		told;
		Hnsw	   *back;
		VtStatus	status;

		memcpy(lie, file, size);
		for (uint32_t i = prng_below(&prng, 40); i < 40; i++)
		{
			/* Mostly in the low bytes of twins and links: other slots. */
			size_t		links = FILE_HEAD + FILE_ALIGN + 200 * FILE_SLOT;
			size_t		at = prng_below(&prng, 20) == 0 ? prng_below(&prng, (uint32_t) (size - FILE_HEAD)) + FILE_HEAD :
				prng_below(&prng, 3) ? links + 4 * prng_below(&prng, 200 * 6) :
				FILE_HEAD + FILE_ALIGN + FILE_SLOT * prng_below(&prng, 200) + 8;

			lie[at] = (uint8_t) prng_below(&prng, 256);
		}
		seal(lie, size);
		write_file(path, lie, size);
		status = load(path, &options, &told, &back);
		if (status != VT_OK)
			continue;
		taken++;
		for (uint32_t i = 0; i < told.n; i++)
			if (told.labels[i] < 200 && !seen[told.labels[i]] && prng_below(&prng, 4))
			{
				seen[told.labels[i]] = true;
				hnsw_restore(back, told.slots[i], rows + told.labels[i] * DIM);
			}
		hnsw_loaded(back);
		assert_sound(back);
		for (uint32_t i = 0; i < 200; i++)
			gone[i] = !seen[i];
		(void) recall(back, VEC_L2, rows, 200, gone, 200);
		link_all(back);
		while (hnsw_repair(back, 1000, true))
			;
		assert_sound(back);
		hnsw_destroy(back);
	}
	assert_true(taken > 200);
	free(file);
	free(lie);
	free(rows);
	hnsw_destroy(h);
}

static void
of_another_graph(void **state)
{
	float	   *rows = clustered(1, FEW);
	HnswOptions options = options_of(VEC_L2, HNSW_CODES_NONE, 8);
	Hnsw	   *h = built(&options, rows, FEW);
	const char *path = scratch_path("graph");
	HnswOptions other[7];
	Told		told = {.n = 0};
	HnswLoad	how = {.path = path, .tag = bytes_str("another"), .each = tell, .arg = &told};
	Hnsw	   *back;
	VtError		err = {0};

	(void) state;
	assert_int_equal(save(h, path), VT_OK);
	for (int i = 0; i < 7; i++)
		other[i] = options;
	other[0].dim++;
	other[1].metric = VEC_COSINE;
	other[2].m++;
	other[3].codes = HNSW_CODES_INT8;
	other[4].seed++;
	other[5].ef_construction++;
	other[6].element = VEC_FLOAT16;
	for (int i = 0; i < 7; i++)
		assert_int_equal(load(path, &other[i], &told, &back), VT_INVALID);
	assert_int_equal(hnsw_load(&options, &how, &back, &err), VT_INVALID);
	options.max_slots = FEW - 1;
	assert_int_equal(load(path, &options, &told, &back), VT_CORRUPT);
	assert_int_equal(load(scratch_path("nothing"), &options, &told, &back), VT_NOT_FOUND);
	free(rows);
	hnsw_destroy(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(lies_do_no_harm),
		cmocka_unit_test(of_another_graph),
	};

	return cmocka_run_group_tests_name("hnsw_lies", tests, scratch_make, scratch_remove);
}
