/*-------------------------------------------------------------------------
 *
 * vec_bits.c
 *	  Distances of bit strings: every path counts what is counted here bit by bit.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/prng.h"
#include "vec/vec.h"

#define ROWS 9
#define BYTES VEC_BITS_BYTES(VEC_MAX_BITS)

static const char *const paths[] = {"plain", "popcnt", "avx512"};

#define PATHS (sizeof(paths) / sizeof(paths[0]))

static Prng prng = {7};
static uint8_t query[BYTES + 16];
static uint8_t room[ROWS][BYTES + 16];

static const size_t lengths[] = {784, 1023, 1024, 1536, 4097, 12345, VEC_MAX_BITS};

static size_t
length_at(size_t i)
{
	return i < 600 ? i + 1 : lengths[i - 600];
}

#define LENGTHS (600 + sizeof(lengths) / sizeof(lengths[0]))

/* Random bits, of which about one in `every` is set, and zeros to the end of the last byte. */
static void
fill(uint8_t *out, size_t n, uint32_t every)
{
	memset(out, 0, VEC_BITS_BYTES(n));
	for (size_t i = 0; i < n; i++)
		if (prng_below(&prng, every) == 0)
			out[i / 8] |= (uint8_t) (0x80 >> i % 8);
}

static bool
bit(const uint8_t *a, size_t i)
{
	return a[i / 8] >> (7 - i % 8) & 1;
}

static VecShared
twin_shared(const uint8_t *a, const uint8_t *b, size_t n)
{
	VecShared	shared = {0, 0};

	for (size_t i = 0; i < n; i++)
	{
		shared.both += bit(a, i) && bit(b, i);
		shared.either += bit(a, i) || bit(b, i);
	}
	return shared;
}

static void
paths_count_what_is_there(void **state)
{
	(void) state;
	for (size_t l = 0; l < LENGTHS; l++)
	{
		size_t		n = length_at(l);
		const uint8_t *q = query + l % 7;	/* unaligned on purpose */
		const uint8_t *rows[ROWS];
		VecShared	want[ROWS];
		uint32_t	some = 1 + (uint32_t) (l % ROWS);

		fill(query + l % 7, n, 2);
		for (uint32_t r = 0; r < some; r++)
		{
			fill(room[r] + r % 5, n, 1 + r % 4);
			rows[r] = room[r] + r % 5;
			want[r] = twin_shared(q, rows[r], n);
			assert_true(vec_bits_valid(rows[r], n));
		}
		for (size_t p = 0; p < PATHS; p++)
		{
			VecShared	shared[ROWS + 1];
			uint32_t	differ[ROWS + 1];

			if (!vec_bits_force_cpu(paths[p]))
				continue;
			assert_string_equal(vec_bits_cpu_name(), paths[p]);
			memset(shared, 0x55, sizeof(shared));
			memset(differ, 0x55, sizeof(differ));
			vec_bits_share(q, rows, some, VEC_BITS_BYTES(n), shared);
			vec_bits_differ(q, rows, some, VEC_BITS_BYTES(n), differ);
			for (uint32_t r = 0; r < some; r++)
			{
				assert_int_equal(shared[r].both, want[r].both);
				assert_int_equal(shared[r].either, want[r].either);
				assert_int_equal(differ[r], want[r].either - want[r].both);
				assert_true(vec_distance(VEC_HAMMING, q, rows[r], n) == want[r].either - want[r].both);
				assert_true(vec_distance(VEC_JACCARD, q, rows[r], n) == vec_jaccard(want[r]));
			}
			/* Nothing is written behind. */
			assert_int_equal(shared[some].both, 0x55555555);
			assert_int_equal(differ[some], 0x55555555);
		}
	}
}

static void
nothing_is_read_behind(void **state)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	uint8_t    *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void) state;
	assert_true(map != MAP_FAILED);
	memset(map, 0xFF, page);
	assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
	for (size_t bytes = 1; bytes <= 200; bytes++)
	{
		const uint8_t *y = map + page - bytes;

		for (size_t p = 0; p < PATHS; p++)
			if (vec_bits_force_cpu(paths[p]))
			{
				assert_true(vec_distance(VEC_HAMMING, y, map, 8 * bytes) == 0);
				assert_true(vec_distance(VEC_HAMMING, map, y, 8 * bytes) == 0);
				assert_true(vec_distance(VEC_JACCARD, y, map, 8 * bytes) == 0);
				assert_true(vec_distance(VEC_JACCARD, map, y, 8 * bytes) == 0);
			}
	}
	munmap(map, 2 * page);
}

static void
edges(void **state)
{
	static uint8_t ones[BYTES];
	static uint8_t none[BYTES];

	(void) state;
	memset(ones, 0xFF, sizeof(ones));
	for (size_t p = 0; p < PATHS; p++)
	{
		if (!vec_bits_force_cpu(paths[p]))
			continue;
		assert_true(vec_distance(VEC_HAMMING, ones, none, VEC_MAX_BITS) == VEC_MAX_BITS);
		/* What has nothing in common is as far apart as can be, and so is nothing from itself. */
		assert_true(vec_distance(VEC_JACCARD, ones, none, VEC_MAX_BITS) == 1);
		assert_true(vec_distance(VEC_JACCARD, none, none, VEC_MAX_BITS) == 1);
		assert_true(vec_distance(VEC_JACCARD, ones, ones, VEC_MAX_BITS) == 0);
		assert_true(vec_distance(VEC_HAMMING, ones, none, 0) == 0);
		assert_true(vec_distance(VEC_JACCARD, ones, ones, 0) == 1);
	}
	assert_false(vec_bits_force_cpu("abacus"));
}

static void
what_is_left_of_a_byte_is_zero(void **state)
{
	(void) state;
	for (size_t n = 1; n <= 24; n++)
		for (size_t set = 0; set < 24; set++)
		{
			uint8_t		a[3] = {0};

			a[set / 8] = (uint8_t) (0x80 >> set % 8);
			/* Bytes beyond the last one are nobody's. */
			assert_int_equal(vec_bits_valid(a, n), set < n || set >= 8 * VEC_BITS_BYTES(n));
		}
}

static void
metrics_and_elements_go_together(void **state)
{
	(void) state;
	for (uint32_t metric = 0; metric <= VEC_JACCARD + 1; metric++)
	{
		bool		valid = metric >= VEC_L2 && metric <= VEC_JACCARD;
		bool		of_bits = metric == VEC_HAMMING || metric == VEC_JACCARD;

		assert_int_equal(vec_metric_valid(metric), valid);
		assert_int_equal(vec_metric_fits((VecMetric) metric, VEC_BIT), of_bits);
		assert_int_equal(vec_metric_fits((VecMetric) metric, VEC_FLOAT32), valid && !of_bits);
		assert_int_equal(vec_metric_fits((VecMetric) metric, VEC_FLOAT16), valid && !of_bits);
	}
	assert_false(vec_element_valid(0));
	assert_false(vec_element_valid(VEC_BIT + 1));
	assert_string_equal(vec_element_name(VEC_BIT), "bit");
	assert_string_equal(vec_metric_name(VEC_HAMMING), "hamming");
	assert_string_equal(vec_metric_name(VEC_JACCARD), "jaccard");
	assert_null(vec_score_kernel(VEC_HAMMING));
	assert_int_equal(vec_given_bytes(VEC_BIT, 13), 2);
	assert_int_equal(vec_kept_bytes(VEC_BIT, 16), 2);
	assert_int_equal(vec_given_bytes(VEC_FLOAT16, 3), 12);
	assert_int_equal(vec_kept_bytes(VEC_FLOAT16, 3), 6);
	assert_int_equal(vec_max_dim(VEC_BIT), 64000);
	assert_int_equal(vec_max_dim(VEC_FLOAT16), 16000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_count_what_is_there),
		cmocka_unit_test(nothing_is_read_behind),
		cmocka_unit_test(edges),
		cmocka_unit_test(what_is_left_of_a_byte_is_zero),
		cmocka_unit_test(metrics_and_elements_go_together),
	};

	return cmocka_run_group_tests_name("vec_bits", tests, NULL, NULL);
}
