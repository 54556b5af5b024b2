/*-------------------------------------------------------------------------
 *
 * vec_kernels.c
 *	  Every kernel gives the same bits on every path, and the right number.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/prng.h"
#include "vec/vec.h"

#define ROOM 16008

static float a[ROOM];
static float b[ROOM];
static Prng prng = {42};

static float
some_float(int kind)
{
	float		u = (float) (prng_double(&prng) * 2 - 1);

	switch (kind)
	{
		case 0:
			return u;
		case 1:
			return u * 1e18f;
		case 2:
			return u * 1e-40f;	/* denormal */
		case 3:
			return u * FLT_MAX; /* sums overflow, inner products become NaN */
		default:
			return prng_below(&prng, 3) ? u : 0;
	}
}

#define KINDS 5

static void
fill(int kind)
{
	for (int i = 0; i < ROOM; i++)
	{
		a[i] = some_float(kind);
		b[i] = some_float(kind);
	}
}

static const size_t lengths[] = {784, 1536, 4097, 16000};

static size_t
length_at(size_t i)
{
	return i < 70 ? i + 1 : lengths[i - 70];
}

#define LENGTHS (70 + sizeof(lengths) / sizeof(lengths[0]))

static void
same_bits(float x, float y)
{
	assert_memory_equal(&x, &y, sizeof(x));
}

static void
paths_agree(void **state)
{
	(void) state;
	if (!vec_force_cpu(VEC_CPU_AVX2))
		skip();
	for (int kind = 0; kind < KINDS; kind++)
	{
		fill(kind);
		for (size_t i = 0; i < LENGTHS; i++)
		{
			size_t		n = length_at(i);
			const float *x = a + i % 8; /* unaligned on purpose */
			const float *y = b + i % 5;
			float		plain[3];
			VecDots		plain_dots;
			VecDots		dots;

			vec_force_cpu(VEC_CPU_PLAIN);
			assert_int_equal(vec_cpu(), VEC_CPU_PLAIN);
			plain[0] = vec_l2_squared(x, y, n);
			plain[1] = vec_dot(x, y, n);
			plain[2] = vec_l1(x, y, n);
			plain_dots = vec_dots(x, y, n);
			vec_force_cpu(VEC_CPU_AVX2);
			assert_int_equal(vec_cpu(), VEC_CPU_AVX2);
			same_bits(plain[0], vec_l2_squared(x, y, n));
			same_bits(plain[1], vec_dot(x, y, n));
			same_bits(plain[2], vec_l1(x, y, n));
			dots = vec_dots(x, y, n);
			assert_memory_equal(&plain_dots, &dots, sizeof(dots));
			same_bits(dots.ab, plain[1]);
		}
	}
}

/* The order of summation as vec.h words it, one rounding at a time. */
static float
twin_fold(volatile float *lane)
{
	for (int width = 8; width >= 1; width /= 2)
		for (int i = 0; i < width; i++)
			lane[i] = lane[i] + lane[i + width];
	return lane[0];
}

static VecDots
twin_dots(const float *x, const float *y, size_t n)
{
	volatile float ab[16] = {0};
	volatile float aa[16] = {0};
	volatile float bb[16] = {0};
	volatile float product;
	VecDots		dots;

	for (size_t i = 0; i < n; i++)
	{
		product = x[i] * y[i];
		ab[i % 16] = ab[i % 16] + product;
		product = x[i] * x[i];
		aa[i % 16] = aa[i % 16] + product;
		product = y[i] * y[i];
		bb[i % 16] = bb[i % 16] + product;
	}
	dots.ab = twin_fold(ab);
	dots.aa = twin_fold(aa);
	dots.bb = twin_fold(bb);
	return dots;
}

static void
twin_differences(const float *x, const float *y, size_t n, float *l2, float *l1)
{
	volatile float squares[16] = {0};
	volatile float sizes[16] = {0};
	volatile float square;

	for (size_t i = 0; i < n; i++)
	{
		volatile float d = x[i] - y[i];

		square = d * d;
		squares[i % 16] = squares[i % 16] + square;
		sizes[i % 16] = sizes[i % 16] + (d < 0 ? -d : d);
	}
	*l2 = twin_fold(squares);
	*l1 = twin_fold(sizes);
}

static void
order_is_as_promised(void **state)
{
	(void) state;
	for (int kind = 0; kind < KINDS; kind++)
	{
		fill(kind);
		for (size_t i = 0; i < LENGTHS; i++)
		{
			size_t		n = length_at(i);
			VecDots		want = twin_dots(a, b, n);
			float		l2;
			float		l1;

			twin_differences(a, b, n, &l2, &l1);
			for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
			{
				VecDots		got;

				if (!vec_force_cpu((VecCpu) cpu))
					continue;
				got = vec_dots(a, b, n);
				assert_memory_equal(&got, &want, sizeof(want));
				same_bits(vec_dot(a, b, n), want.ab);
				same_bits(vec_l2_squared(a, b, n), l2);
				same_bits(vec_l1(a, b, n), l1);
			}
		}
	}
}

/* A vector may end where the mapped memory ends. */
static void
nothing_is_read_behind(void **state)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	char	   *x_map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char	   *y_map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void) state;
	assert_true(x_map != MAP_FAILED && y_map != MAP_FAILED);
	assert_int_equal(mprotect(x_map + page, page, PROT_NONE), 0);
	assert_int_equal(mprotect(y_map + page, page, PROT_NONE), 0);
	for (size_t n = 1; n <= 70; n++)
	{
		float	   *x = (float *) (void *) (x_map + page) - n;
		float	   *y = (float *) (void *) (y_map + page) - n;

		for (size_t i = 0; i < n; i++)
		{
			x[i] = 1;
			y[i] = 3;
		}
		for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
		{
			if (!vec_force_cpu((VecCpu) cpu))
				continue;
			assert_true(vec_l2_squared(x, y, n) == 4 * (float) n);
			assert_true(vec_dot(x, y, n) == 3 * (float) n);
			assert_true(vec_l1(x, y, n) == 2 * (float) n);
			assert_true(vec_dots(x, y, n).bb == 9 * (float) n);
		}
	}
	munmap(x_map, 2 * page);
	munmap(y_map, 2 * page);
}

static void
near(double got, double want, double scale)
{
	assert_true(fabs(got - want) <= 1e-5 * (fabs(scale) + 1e-30));
}

static void
sums_are_right(void **state)
{
	(void) state;
	fill(0);
	for (size_t i = 0; i < LENGTHS; i++)
	{
		size_t		n = length_at(i);
		double		l2 = 0;
		double		dot = 0;
		double		size = 0;
		double		l1 = 0;
		double		aa = 0;
		double		bb = 0;

		for (size_t j = 0; j < n; j++)
		{
			double		d = (double) a[j] - b[j];

			l2 += d * d;
			l1 += fabs(d);
			dot += (double) a[j] * b[j];
			size += fabs((double) a[j] * b[j]);
			aa += (double) a[j] * a[j];
			bb += (double) b[j] * b[j];
		}
		near(vec_l2_squared(a, b, n), l2, l2);
		near(vec_dot(a, b, n), dot, size);
		near(vec_l1(a, b, n), l1, l1);
		near(vec_distance(VEC_L2, a, b, n), sqrt(l2), sqrt(l2));
		near(vec_distance(VEC_IP, a, b, n), -dot, size);
		near(vec_distance(VEC_COSINE, a, b, n), 1 - dot / sqrt(aa * bb), 1);
		near(vec_distance(VEC_L1, a, b, n), l1, l1);
		near(vec_norm(a, n), sqrt(aa), sqrt(aa));
	}
}

static void
edges(void **state)
{
	float		zero[3] = {0, 0, 0};
	float		one[3] = {1, 2, 3};
	float		two[3] = {2, 4, 6};
	float		minus[3] = {-1, -2, -3};
	float		out[3];
	float		bad[2] = {1, INFINITY};
	float		big[2] = {3e38f, 3e38f};
	float		tiny[2] = {1e-45f, 1e-45f};
	float		far[1] = {3e38f};
	float		near_by[1] = {-3e38f};

	(void) state;
	assert_true(isnan(vec_distance(VEC_COSINE, zero, one, 3)));
	assert_true(vec_distance(VEC_COSINE, one, two, 3) == 0);
	assert_true(vec_distance(VEC_COSINE, one, minus, 3) == 2);
	assert_true(vec_distance(VEC_L2, one, one, 3) == 0);
	assert_false(vec_normalize(out, zero, 3));
	assert_true(out[0] == 0 && out[2] == 0);
	assert_true(vec_normalize(out, one, 3));
	near(vec_norm(out, 3), 1, 1);
	assert_true(vec_all_finite(one, 3));
	assert_false(vec_all_finite(bad, 2));
	assert_string_equal(vec_metric_name(VEC_COSINE), "cosine");
	assert_null(vec_metric_name((VecMetric) 9));
	assert_false(vec_metric_valid(0));
	assert_false(vec_metric_valid(7));
	assert_string_equal(vec_element_name(VEC_FLOAT16), "float16");
	assert_null(vec_element_name((VecElement) 4));
	assert_false(vec_element_valid(0));
	/* in place, and where float alone would overflow or lose everything */
	assert_true(vec_normalize(big, big, 2));
	near(big[0], sqrt(0.5), 1);
	assert_true(vec_normalize(tiny, tiny, 2));
	near(tiny[1], sqrt(0.5), 1);
	assert_true(isinf(vec_distance(VEC_L2, far, near_by, 1)));
}

/* -- Halves ---------------------------------------------------------------- */

#define HALF_INFINITE 0x7C00

/* What a finite half stands for, by the book. */
static double
meaning(VecHalf h)
{
	int			exponent = h >> 10 & 31;
	double		size = exponent ? ldexp(1024 + (h & 1023), exponent - 25) : ldexp(h & 1023, -24);

	return h & 0x8000 ? -size : size;
}

static VecHalf
rounded(float x)
{
	VecHalf		many[11];
	float		same[11];

	/* Alone and among others: a path may treat them apart. */
	for (int i = 0; i < 11; i++)
		same[i] = x;
	assert_true(vec_to_half(many, same, 11));
	for (int i = 1; i < 11; i++)
		assert_int_equal(many[i], many[0]);
	return many[0];
}

static void
every_half_is_a_float(void **state)
{
	(void) state;
	for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
	{
		if (!vec_force_cpu((VecCpu) cpu))
			continue;
		for (uint32_t h = 0; h < 65536; h++)
		{
			VecHalf		some[9];
			float		x[9];

			for (int i = 0; i < 9; i++)
				some[i] = (VecHalf) h;
			vec_from_half(x, some, 9);
			assert_memory_equal(&x[0], &x[8], sizeof(float));
			if ((h & HALF_INFINITE) == HALF_INFINITE)
			{
				assert_int_equal(isnan(x[0]) != 0, (h & 1023) != 0);
				assert_false(vec_to_half(some, x, 9));
				assert_false(vec_to_half(some, x, 1));
				continue;
			}
			assert_true((double) x[0] == meaning((VecHalf) h));
			assert_int_equal(rounded(x[0]), h);
		}
	}
}

/* Between two halves that are neighbours there is one point where rounding turns. */
static void
halves_are_the_nearest(void **state)
{
	(void) state;
	for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
	{
		if (!vec_force_cpu((VecCpu) cpu))
			continue;
		for (VecHalf h = 0; h + 1 < HALF_INFINITE; h++)
		{
			float		middle = (float) ((meaning(h) + meaning((VecHalf) (h + 1))) / 2);
			VecHalf		even = (VecHalf) (h + (h & 1));

			assert_true(middle > meaning(h) && middle < meaning((VecHalf) (h + 1)));
			assert_int_equal(rounded(middle), even);
			assert_int_equal(rounded(-middle), even | 0x8000);
			assert_int_equal(rounded(nextafterf(middle, 0)), h);
			assert_int_equal(rounded(-nextafterf(middle, 0)), h | 0x8000);
			assert_int_equal(rounded(nextafterf(middle, INFINITY)), h + 1);
			assert_int_equal(rounded(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
		}
		assert_int_equal(rounded(1e-45f), 0);
		assert_int_equal(rounded(-1e-45f), 0x8000);
		assert_int_equal(rounded(nextafterf(65520, 0)), HALF_INFINITE - 1);
	}
}

static void
too_large_is_refused(void **state)
{
	static const float large[] = {65520, 65536, 1e10f, FLT_MAX, INFINITY, NAN};
	float		x[40] = {0};
	VecHalf		out[40];

	(void) state;
	for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
	{
		if (!vec_force_cpu((VecCpu) cpu))
			continue;
		x[0] = VEC_HALF_MAX;
		assert_true(vec_to_half(out, x, 40));
		for (size_t k = 0; k < sizeof(large) / sizeof(large[0]); k++)
			for (int at = 0; at < 40; at++)
			{
				float		before = x[at];

				x[at] = at % 2 ? large[k] : -large[k];
				assert_false(vec_to_half(out, x, 40));
				assert_true(vec_to_half(out, x, (size_t) at));
				x[at] = before;
			}
	}
}

/* The distance to halves is that to the floats they stand for, on every path. */
static void
halves_are_as_far_as_their_floats(void **state)
{
	static const VecMetric metrics[] = {VEC_L2, VEC_IP, VEC_COSINE, VEC_L1};
	static VecHalf halves[ROOM];
	static float floats[ROOM];

	(void) state;
	for (int kind = 0; kind < 4; kind++)
	{
		fill(kind == 1 ? 4 : 0);
		for (int i = 0; i < ROOM; i++)
			halves[i] = (VecHalf) (kind < 2 ? (i % 3 ? 0x3000 : 0xB000) + prng_below(&prng, 0xC00) :
								   kind == 2 ? prng_below(&prng, 0x400) :	/* denormal */
								   prng_below(&prng, HALF_INFINITE) | (prng_below(&prng, 2) << 15));
		vec_from_half(floats, halves, ROOM);
		for (size_t i = 0; i < LENGTHS; i++)
		{
			size_t		n = length_at(i);
			const float *x = a + i % 8;
			size_t		at = i % 5;

			for (size_t m = 0; m < 4; m++)
			{
				double		want;

				vec_force_cpu(VEC_CPU_PLAIN);
				want = vec_distance(metrics[m], x, floats + at, n);
				for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
				{
					double		got;

					if (!vec_force_cpu((VecCpu) cpu))
						continue;
					got = vec_distance_half(metrics[m], x, halves + at, n);
					if (isnan(want))
						assert_true(isnan(got));
					else
						assert_memory_equal(&got, &want, sizeof(got));
				}
			}
		}
	}
}

static void
nothing_is_read_behind_halves(void **state)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	char	   *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	float		x[70];
	float		back[70];

	(void) state;
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
	for (size_t n = 1; n <= 70; n++)
	{
		VecHalf    *y = (VecHalf *) (void *) (map + page) - n;

		for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
		{
			if (!vec_force_cpu((VecCpu) cpu))
				continue;
			for (size_t i = 0; i < n; i++)
				x[i] = 3;
			assert_true(vec_to_half(y, x, n));
			vec_from_half(back, y, n);
			assert_memory_equal(back, x, n * sizeof(float));
			for (size_t i = 0; i < n; i++)
				x[i] = 1;
			assert_true(vec_distance_half(VEC_L2, x, y, n) == sqrt(4 * (double) n));
			assert_true(vec_distance_half(VEC_IP, x, y, n) == -3 * (double) n);
			assert_true(vec_distance_half(VEC_L1, x, y, n) == 2 * (double) n);
			assert_true(vec_distance_half(VEC_COSINE, x, y, n) < 1e-6);
		}
	}
	munmap(map, 2 * page);
}

/* A score orders as its distance does. */
static void
scores_order(void **state)
{
	static const VecMetric metrics[] = {VEC_L2, VEC_IP, VEC_COSINE, VEC_L1};
	float		q[32];
	float		x[32];
	float		y[32];

	(void) state;
	for (int round = 0; round < 2000; round++)
	{
		VecMetric	metric = metrics[round % 4];
		VecKernel	score = vec_score_kernel(metric);
		double		dx;
		double		dy;
		float		sx;
		float		sy;

		for (int i = 0; i < 32; i++)
		{
			q[i] = some_float(0);
			x[i] = some_float(0);
			y[i] = some_float(0);
		}
		dx = vec_distance(metric, q, x, 32);
		dy = vec_distance(metric, q, y, 32);
		if (metric == VEC_COSINE)
		{
			vec_normalize(q, q, 32);
			vec_normalize(x, x, 32);
			vec_normalize(y, y, 32);
		}
		sx = score(q, x, 32);
		sy = score(q, y, 32);
		if (fabs(dx - dy) > 1e-5)
			assert_int_equal(dx < dy, sx < sy);
	}
}

/* A vector of which few are left, and what is left of it. */
static VecSparse
thin(float *x, size_t n, int keep_one_of, int32_t *index, float *value)
{
	VecSparse	sparse = {index, value, 0};

	for (size_t i = 0; i < n; i++)
	{
		if (prng_below(&prng, (uint64_t) keep_one_of))
			x[i] = 0;
		if (x[i] != 0)
		{
			index[sparse.n] = (int32_t) i;
			value[sparse.n++] = x[i];
		}
	}
	return sparse;
}

static void
without_zeros_as_with_them(void **state)
{
	static int32_t index[2][ROOM];
	static float value[2][ROOM];

	(void) state;
	for (int kind = 0; kind < KINDS; kind++)
	{
		/* Where sums overflow, a NaN has whatever sign. */
		if (kind == 3)
			continue;
		for (size_t i = 0; i < LENGTHS; i++)
		{
			size_t		n = length_at(i);
			VecSparse	p;
			VecSparse	q;

			fill(kind);
			p = thin(a, n, i % 3 == 0 ? 1 : 5, index[0], value[0]);
			q = thin(b, n, i % 7 == 0 ? 1000000 : 3, index[1], value[1]);
			same_bits(vec_sparse_l2_squared(&p, &q), vec_l2_squared(a, b, n));
			same_bits(vec_sparse_dot(&p, &q), vec_dot(a, b, n));
			same_bits(vec_sparse_dot(&q, &p), vec_dot(b, a, n));
			for (VecMetric metric = VEC_L2; metric <= VEC_L1; metric++)
			{
				double		whole = vec_distance(metric, a, b, n);
				double		sparse = vec_sparse_distance(metric, &p, &q);

				if (isnan(whole))
					assert_true(isnan(sparse));
				else
					assert_memory_equal(&sparse, &whole, sizeof(whole));
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_agree),
		cmocka_unit_test(order_is_as_promised),
		cmocka_unit_test(nothing_is_read_behind),
		cmocka_unit_test(sums_are_right),
		cmocka_unit_test(edges),
		cmocka_unit_test(scores_order),
		cmocka_unit_test(every_half_is_a_float),
		cmocka_unit_test(halves_are_the_nearest),
		cmocka_unit_test(too_large_is_refused),
		cmocka_unit_test(halves_are_as_far_as_their_floats),
		cmocka_unit_test(nothing_is_read_behind_halves),
		cmocka_unit_test(without_zeros_as_with_them),
	};

	return cmocka_run_group_tests_name("vec_kernels", tests, NULL, NULL);
}
