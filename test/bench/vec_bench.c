/*-------------------------------------------------------------------------
 *
 * vec_bench.c
 *	  How long a distance takes: each kernel, on each path this CPU has.
 *
 * Prints nanoseconds a call and the bytes of vectors read in a second, for
 * vectors that stay in the nearest cache ("cache") and for a walk over many
 * of them ("memory"), as a search over a table makes it.  A figure is the best
 * of several rounds: what other work on the machine adds is not ours.
 *
 *	  vec_bench [dim ...]
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/prng.h"
#include "vec/vec.h"

#define ROUNDS 5
#define ROUND_US 20000
#define FLOATS ((size_t) 1 << 25)	/* 128 MB: larger than a cache */

static float *room;
static VecHalf *halves;
static volatile float sink;

static float
dots_ab(const float *a, const float *b, size_t n)
{
	VecDots		dots = vec_dots(a, b, n);

	return dots.ab + dots.aa + dots.bb;
}

static float
norm(const float *a, const float *b, size_t n)
{
	(void) b;
	return (float) vec_norm(a, n);
}

/* b points among the floats; the halves beside them lie at the same place. */
static float
half_l2(const float *a, const float *b, size_t n)
{
	return (float) vec_distance_half(VEC_L2, a, halves + (b - room), n);
}

static float
half_cosine(const float *a, const float *b, size_t n)
{
	return (float) vec_distance_half(VEC_COSINE, a, halves + (b - room), n);
}

static float
to_half(const float *a, const float *b, size_t n)
{
	static VecHalf out[VEC_MAX_DIM];

	(void) a;
	return vec_to_half(out, b, n) ? out[0] : 0;
}

static const struct
{
	const char *name;
	VecKernel	run;
	size_t		size;			/* of an element that is read */
}			kernels[] = {
	{"l2_squared", vec_l2_squared, sizeof(float)},
	{"dot", vec_dot, sizeof(float)},
	{"l1", vec_l1, sizeof(float)},
	{"dots", dots_ab, sizeof(float)},
	{"norm", norm, sizeof(float)},
	{"half l2", half_l2, sizeof(VecHalf)},
	{"half cos", half_cosine, sizeof(VecHalf)},
	{"to half", to_half, sizeof(float)},
};

/* Nanoseconds a call over the first count vectors, the best round. */
static double
measure(VecKernel run, size_t dim, size_t count)
{
	double		best = 0;

	for (int round = 0; round < ROUNDS; round++)
	{
		int64_t		begin = clock_now_us();
		int64_t		spent;
		size_t		calls = 0;
		size_t		at = 0;
		double		ns;

		do
		{
			for (int i = 0; i < 256; i++)
			{
				sink = run(room, room + at * dim, dim);
				if (++at == count)
					at = 0;
			}
			calls += 256;
			spent = clock_now_us() - begin;
		} while (spent < ROUND_US);
		ns = (double) spent * 1000 / (double) calls;
		if (round == 0 || ns < best)
			best = ns;
	}
	return best;
}

static void
report(size_t dim)
{
	for (int cpu = VEC_CPU_PLAIN; cpu <= VEC_CPU_AVX2; cpu++)
	{
		if (!vec_force_cpu((VecCpu) cpu))
			continue;
		for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
		{
			double		cache = measure(kernels[i].run, dim, 1);
			double		memory = measure(kernels[i].run, dim, FLOATS / dim);
			double		bytes = (double) (dim * kernels[i].size);

			printf("%6zu %-6s %-10s %10.1f %8.1f %10.1f %8.1f\n", dim, vec_cpu_name((VecCpu) cpu),
				   kernels[i].name, cache, bytes / cache, memory, bytes / memory);
		}
	}
}

int
main(int argc, char **argv)
{
	static const size_t usual[] = {3, 100, 128, 784, 1536};
	Prng		prng = {1};

	room = malloc(FLOATS * sizeof(float));
	halves = malloc(FLOATS * sizeof(VecHalf));
	if (room == NULL || halves == NULL)
	{
		fprintf(stderr, "vec_bench: out of memory\n");
		return 1;
	}
	for (size_t i = 0; i < FLOATS; i++)
		room[i] = (float) prng_double(&prng);
	(void) vec_to_half(halves, room, FLOATS);
	printf("%6s %-6s %-10s %10s %8s %10s %8s\n", "dim", "path", "kernel", "cache ns", "GB/s", "memory ns", "GB/s");
	if (argc > 1)
		for (int i = 1; i < argc; i++)
		{
			char	   *end;
			unsigned long dim = strtoul(argv[i], &end, 10);

			if (*end != '\0' || dim < 1 || dim > VEC_MAX_DIM)
			{
				fprintf(stderr, "vec_bench: \"%s\" is no number of dimensions from 1 to %d\n", argv[i], VEC_MAX_DIM);
				free(room);
				free(halves);
				return 2;
			}
			report(dim);
		}
	else
		for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
			report(usual[i]);
	free(room);
	free(halves);
	return 0;
}
