/*-------------------------------------------------------------------------
 *
 * worker_columns.c
 *	  Predicates ask whole columns what they would ask of records one by one, whatever the
 *	  processor can do.
 *
 *-------------------------------------------------------------------------
 */
#include "some_predicates.h"
#include "vec/vec.h"

/* Both kernels, and one record at a time, say what the slow twin says. */
static void
columns_are_asked_as_records_are(void **state)
{
	Prng		prng = {11};
	Columns    *columns = columns_new(2);
	WireAttributes *model = vt_alloc0(sizeof(WireAttributes) * 2048);
	uint64_t	words[32];
	uint64_t	passing = 0;
	Buf			encoded = {0};

	(void) state;
	/* Slots 0..1791 are in three chunks; there is no room for the others. */
	for (int k = 0; k < 3; k++)
		columns_make(columns, k);
	for (int round = 0; round < 2; round++)
		for (uint32_t slot = 0; slot < 1792; slot++)
		{
			WireAttributes got;

			model[slot] = some_attributes(&prng);
			columns_write(columns, slot, &model[slot]);
			columns_read(columns, slot, &got);
			assert_memory_equal(&got, &model[slot], sizeof(got));
		}
	for (int round = 0; round < 600; round++)
	{
		WirePredicate twin;
		Predicate  *predicate;

		some_predicate(&prng, &encoded);
		predicate = predicate_of(&encoded);
		assert_int_equal(wire_predicate_get(buf_bytes(&encoded), kinds, 2, &twin, NULL), VT_OK);
		for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
		{
			if (!vec_force_cpu((VecCpu) cpu))
				continue;
			predicate_words(predicate, columns, 0, 32, words);
			for (uint32_t slot = 0; slot < 2048; slot++)
			{
				bool		expected = slot < 1792 && wire_predicate_passes(&twin, &model[slot]);

				assert_int_equal(words[slot / 64] >> (slot % 64) & 1, expected);
				if (slot < 1792)
					assert_int_equal(predicate_passes(predicate, &model[slot]), expected);
				passing += expected;
			}
		}
		predicate_free(predicate);
	}
	assert_true(passing > 10000);
	columns_free(columns);
	buf_free(&encoded);
	free(model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_asked_as_records_are),
	};

	return cmocka_run_group_tests_name("worker_columns", tests, NULL, NULL);
}
