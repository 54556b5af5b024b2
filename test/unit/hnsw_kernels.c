/*-------------------------------------------------------------------------
 *
 * hnsw_kernels.c
 *	  The kernels of every CPU against those in plain C: what is made of
 *	  integers is the same to the last bit, sums of floats nearly so.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/prng.h"
#include "hnsw/kernels.h"
#include "vec/vec.h"

#define MOST 1024
#define ROWS 11

static const char *const names[] = {"avx2", "avx512", "avx512vnni"};

/* Rows of codes or floats, a query in two parts, and the same as floats. */
typedef struct Given
{
	_Alignas(64) uint8_t codes[ROWS][MOST];
	_Alignas(64) float floats[ROWS][MOST];
	_Alignas(64) VecHalf halves[ROWS][MOST];
	_Alignas(64) float vector[MOST];
	_Alignas(64) int8_t high[MOST];
	_Alignas(64) int8_t low[MOST];
	const uint8_t *code_rows[ROWS];
	const uint8_t *float_rows[ROWS];
	const uint8_t *half_rows[ROWS];
} Given;

/* extreme: every number the largest there is, so that sums overflow if any can. */
static Given *
given(uint64_t seed, float size, int extreme)
{
	Given	   *g = aligned_alloc(64, sizeof(Given));
	Prng		prng = {seed};

	assert_non_null(g);
	for (int i = 0; i < MOST; i++)
	{
		g->vector[i] = (float) (prng_double(&prng) * 2 - 1) * size;
		g->high[i] = extreme ? CODE_QUERY_MAX * extreme : (int8_t) prng_below(&prng, 127) - CODE_QUERY_MAX;
		g->low[i] = extreme ? CODE_QUERY_MAX * extreme : (int8_t) prng_below(&prng, 127) - CODE_QUERY_MAX;
		for (int r = 0; r < ROWS; r++)
		{
			g->codes[r][i] = extreme ? 255 : (uint8_t) prng_below(&prng, 256);
			g->floats[r][i] = (float) (prng_double(&prng) * 2 - 1) * size;
		}
	}
	for (int r = 0; r < ROWS; r++)
	{
		g->code_rows[r] = g->codes[r];
		g->float_rows[r] = (const uint8_t *) g->floats[r];
		g->half_rows[r] = (const uint8_t *) g->halves[r];
		(void) vec_to_half(g->halves[r], g->floats[r], MOST);
	}
	return g;
}

static void
codes_are_equal(void **state)
{
	(void) state;
	for (size_t c = 0; c < sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = kernels_by_name(names[c]);

		for (int extreme = -1; k && extreme <= 1; extreme++)
		{
			Given	   *g = given(1 + (uint64_t) (extreme + 1), 1, extreme);
			CodeQuery	query = {g->high, g->low, 0.37f, 0.0029f, 0};

			for (uint32_t len = 4; len <= MOST; len += 4)
				for (uint32_t n = 1; n <= ROWS; n += 1 + (len % 64 != 0))
				{
					float		plain[ROWS];
					float		fast[ROWS + 1];

					query.row_bytes = len + n;
					fast[n] = 12345;
					kernels_plain.code(&query, g->code_rows, n, len, plain);
					k->code(&query, g->code_rows, n, len, fast);
					assert_memory_equal(plain, fast, sizeof(float) * n);
					assert_true(fast[n] == 12345);
				}
			free(g);
		}
	}
}

/* Taxicab distances to codes: near the true ones, and the same everywhere, whatever stands behind the codes. */
static void
taxicab_on_codes_is_equal(void **state)
{
	Given	   *g = given(3, 100, 0);
	Prng		prng = {4};

	(void) state;
	for (uint32_t dim = 1; dim <= MOST - 64; dim += dim < 70 ? 1 : 13)
	{
		uint32_t	params = (dim + 3) / 4 * 4;
		uint32_t	n = 1 + dim % ROWS;
		float		plain[ROWS];

		for (int r = 0; r < ROWS; r++)
		{
			CodeParams	p = {(float) prng_double(&prng), (float) prng_double(&prng) * 50 - 25, NAN, NAN};

			for (int i = 0; i < MOST; i++)
				g->codes[r][i] = (uint8_t) prng_below(&prng, 256);
			memcpy(g->codes[r] + params, &p, sizeof(p));
		}
		kernels_plain.code_l1(g->vector, g->code_rows, n, dim, params, plain);
		for (uint32_t r = 0; r < n; r++)
		{
			CodeParams	p;
			double		want = 0;

			memcpy(&p, g->codes[r] + params, sizeof(p));
			for (uint32_t i = 0; i < dim; i++)
				want += fabs(g->vector[i] - ((double) p.scale * g->codes[r][i] + p.offset));
			assert_true(fabs(plain[r] - want) <= 1e-4 * want + 1e-4);
		}
		for (size_t c = 0; c < sizeof(names) / sizeof(names[0]); c++)
		{
			const Kernels *k = kernels_by_name(names[c]);
			float		fast[ROWS + 1];

			if (k == NULL)
				continue;
			fast[n] = 12345;
			k->code_l1(g->vector, g->code_rows, n, dim, params, fast);
			assert_memory_equal(plain, fast, sizeof(float) * n);
			assert_true(fast[n] == 12345);
		}
	}
	free(g);
}

static void
numbers_of_codes_are_equal(void **state)
{
	Given	   *g = given(6, 1, 0);
	CodeParams	p = {0.37f, -12.5f, 0, 0};
	_Alignas(64) float out[MOST];

	(void) state;
	for (size_t c = 0; c <= sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = c ? kernels_by_name(names[c - 1]) : &kernels_plain;

		for (uint32_t len = 16; k && len < MOST; len += 16)
		{
			out[len] = 12345;
			k->numbers(g->codes[1], &p, len, out);
			for (uint32_t i = 0; i < len; i++)
				assert_true(out[i] == p.scale * (float) g->codes[1][i] + p.offset);
			assert_true(out[len] == 12345);
		}
	}
	free(g);
}

static void
unpacked_codes_are_equal(void **state)
{
	Given	   *g = given(5, 1, 0);
	_Alignas(64) int8_t high[MOST];
	_Alignas(64) int8_t low[MOST];

	(void) state;
	for (size_t c = 0; c <= sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = c ? kernels_by_name(names[c - 1]) : &kernels_plain;

		if (k == NULL)
			continue;
		for (uint32_t len = MOST - 128; len <= MOST - 64; len += 4)
		{
			memset(high, -1, sizeof(high));
			memset(low, -1, sizeof(low));
			k->unpack(g->codes[0], len, high, low);
			for (uint32_t i = 0; i < len; i++)
				assert_int_equal(4 * high[i] + low[i], g->codes[0][i]);
			assert_int_equal(high[MOST - 64], -1);
			assert_int_equal(low[MOST - 64], -1);
		}
	}
	free(g);
}

/* What stands behind codes is written by others meanwhile: here it cannot even be read. */
static void
codes_are_read_to_their_end(void **state)
{
	Given	   *g = given(8, 1, 0);
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	uint8_t    *end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_Alignas(64) int8_t high[MOST];
	_Alignas(64) int8_t low[MOST];

	(void) state;
	assert_ptr_not_equal(end, MAP_FAILED);
	end += page;
	assert_int_equal(mprotect(end, page, PROT_NONE), 0);
	for (size_t c = 0; c <= sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = c ? kernels_by_name(names[c - 1]) : &kernels_plain;

		for (uint32_t len = 4; k && len <= MOST; len += 4)
		{
			CodeQuery	query = {g->high, g->low, 0.37f, 0.0029f, len};
			const uint8_t *row = end - len;
			float		score;
			float		want;

			memcpy(end - len, g->codes[0], len);
			k->code(&query, &row, 1, len, &score);
			kernels_plain.code(&query, g->code_rows, 1, len, &want);
			assert_memory_equal(&score, &want, sizeof(score));
			k->unpack(row, len, high, low);
			assert_int_equal(4 * high[len - 1] + low[len - 1], g->codes[0][len - 1]);
		}
	}
	assert_int_equal(munmap(end - page, 2 * page), 0);
	free(g);
}

/* A split says how near it comes, and is the same everywhere. */
static void
splits_are_equal(void **state)
{
	static const float sizes[] = {1, 255, 1e-3f, 1e-30f, 1e-42f, 1e17f, 0};

	(void) state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
	{
		Given	   *g = given(9 + s, sizes[s], 0);
		_Alignas(64) int8_t high[MOST];
		_Alignas(64) int8_t low[MOST];

		for (uint32_t len = 16; len <= MOST; len += 16)
		{
			Split		plain;

			memset(&plain, 0, sizeof(plain));
			plain = kernels_plain.split(g->vector, len, high, low);
			for (uint32_t i = 0; i < len && sizes[s] > 1e-20f; i++)
			{
				float		back = plain.high_scale * high[i] + plain.low_scale * low[i];

				assert_in_range(high[i] + 128, 128 - CODE_QUERY_MAX, 128 + CODE_QUERY_MAX);
				assert_true(fabsf(back - g->vector[i]) <= 0.51f * plain.low_scale);
			}
			for (size_t c = 0; c < sizeof(names) / sizeof(names[0]); c++)
			{
				const Kernels *k = kernels_by_name(names[c]);
				Split		fast;

				if (k == NULL)
					continue;
				fast = k->split(g->vector, len, g->high, g->low);
				assert_memory_equal(&plain, &fast, sizeof(plain));
				assert_memory_equal(high, g->high, len);
				assert_memory_equal(low, g->low, len);
			}
		}
		free(g);
	}
}

static void
floats_are_near(void **state)
{
	Given	   *g = given(20, 1, 0);

	(void) state;
	for (size_t c = 0; c < sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = kernels_by_name(names[c]);

		for (uint32_t len = 16; k && len <= MOST; len += 16)
			for (uint32_t n = 1; n <= ROWS; n++)
			{
				FloatKernel plain[] = {kernels_plain.floats.l2, kernels_plain.floats.dot, kernels_plain.floats.l1};
				FloatKernel fast[] = {k->floats.l2, k->floats.dot, k->floats.l1};

				for (int m = 0; m < 3; m++)
				{
					float		a[ROWS];
					float		b[ROWS + 1];

					b[n] = 12345;
					plain[m] (g->vector, g->float_rows, n, len, a);
					fast[m] (g->vector, g->float_rows, n, len, b);
					for (uint32_t i = 0; i < n; i++)
						assert_true(fabsf(a[i] - b[i]) < 1e-5f * (float) len);
					assert_true(b[n] == 12345);
				}
			}
	}
	free(g);
}

/*
 * A row has one score, alone or among others, so equal rows have equal ones: who is
 * linked finds its twin by that (link.c).
 */
static void
company_changes_nothing(void **state)
{
	Given	   *g = given(22, 1, 0);

	(void) state;
	for (size_t c = 0; c <= sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = c ? kernels_by_name(names[c - 1]) : &kernels_plain;

		for (uint32_t len = 16; k && len <= MOST; len += 16)
		{
			FloatKernel kernels[] = {k->floats.l2, k->floats.dot, k->floats.l1,
				k->halves.l2, k->halves.dot, k->halves.l1};

			for (int m = 0; m < 6; m++)
			{
				const uint8_t **rows = m < 3 ? g->float_rows : g->half_rows;
				float		alone[ROWS];
				float		all[ROWS];

				for (uint32_t i = 0; i < ROWS; i++)
					kernels[m] (g->vector, rows + i, 1, len, &alone[i]);
				for (uint32_t n = 2; n <= ROWS; n++)
				{
					kernels[m] (g->vector, rows, n, len, all);
					assert_memory_equal(all, alone, sizeof(float) * n);
				}
			}
		}
	}
	free(g);
}

/* A half counts as the float it stands for, to the last bit: on the same path both are summed alike. */
static void
halves_are_their_floats(void **state)
{
	Given	   *g = given(21, 1, 0);

	(void) state;
	for (int r = 0; r < ROWS; r++)
		vec_from_half(g->floats[r], g->halves[r], MOST);
	for (size_t c = 0; c <= sizeof(names) / sizeof(names[0]); c++)
	{
		const Kernels *k = c ? kernels_by_name(names[c - 1]) : &kernels_plain;

		for (uint32_t len = 16; k && len <= MOST; len += 16)
			for (uint32_t n = 1; n <= ROWS; n++)
			{
				FloatKernel floats[] = {k->floats.l2, k->floats.dot, k->floats.l1};
				FloatKernel halves[] = {k->halves.l2, k->halves.dot, k->halves.l1};

				for (int m = 0; m < 3; m++)
				{
					float		a[ROWS];
					float		b[ROWS + 1];

					b[n] = 12345;
					floats[m] (g->vector, g->float_rows, n, len, a);
					halves[m] (g->vector, g->half_rows, n, len, b);
					assert_memory_equal(a, b, sizeof(float) * n);
					assert_true(b[n] == 12345);
				}
			}
	}
	free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_are_equal),
		cmocka_unit_test(taxicab_on_codes_is_equal),
		cmocka_unit_test(numbers_of_codes_are_equal),
		cmocka_unit_test(unpacked_codes_are_equal),
		cmocka_unit_test(codes_are_read_to_their_end),
		cmocka_unit_test(splits_are_equal),
		cmocka_unit_test(floats_are_near),
		cmocka_unit_test(company_changes_nothing),
		cmocka_unit_test(halves_are_their_floats),
	};

	return cmocka_run_group_tests_name("hnsw_kernels", tests, NULL, NULL);
}
