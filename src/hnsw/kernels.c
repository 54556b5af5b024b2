/*-------------------------------------------------------------------------
 *
 * kernels.c
 *	  The kernels in plain C, and which ones this CPU runs.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/kernels.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hnsw/hnsw.h"

#define LANES 16

#define FLOAT_KERNEL(name, halves, term) \
static void \
name(const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim, float *out) \
{ \
	for (uint32_t r = 0; r < n; r++) \
	{ \
		const float *row = (const float *) rows[r]; \
		float		some[LANES]; \
		float		lanes[LANES] = {0}; \
		float		sum = 0; \
 \
		for (uint32_t i = 0; i < dim; i += LANES) \
		{ \
			if (halves) \
				vec_from_half(some, (const VecHalf *) rows[r] + i, LANES); \
			for (int j = 0; j < LANES; j++) \
			{ \
				float		a = query[i + j]; \
				float		b = halves ? some[j] : row[i + j]; \
 \
				lanes[j] += (term); \
			} \
		} \
		for (int j = 0; j < LANES; j++) \
			sum += lanes[j]; \
		out[r] = sum; \
	} \
}

FLOAT_KERNEL(l2_plain, false, (a - b) * (a - b))
FLOAT_KERNEL(dot_plain, false, a * b)
FLOAT_KERNEL(l1_plain, false, fabsf(a - b))
FLOAT_KERNEL(half_l2_plain, true, (a - b) * (a - b))
FLOAT_KERNEL(half_dot_plain, true, a * b)
FLOAT_KERNEL(half_l1_plain, true, fabsf(a - b))

static void
code_plain(const CodeQuery *query, const uint8_t *const *rows, uint32_t n, uint32_t len, float *out)
{
	for (uint32_t r = 0; r < n; r++)
	{
		int32_t		high = 0;
		int32_t		low = 0;

		for (uint32_t i = 0; i < len; i++)
		{
			high += query->high[i] * rows[r][i];
			low += query->low[i] * rows[r][i];
		}
		out[r] = query->high_scale * (float) high + query->low_scale * (float) low;
	}
}

static void
code_l1_plain(const float *query, const uint8_t *const *rows, uint32_t n, uint32_t dim, uint32_t params,
			  float *out)
{
	for (uint32_t r = 0; r < n; r++)
	{
		const CodeParams *p = (const CodeParams *) (rows[r] + params);
		float		lanes[LANES] = {0};

		for (uint32_t i = 0; i < dim; i++)
			lanes[i % LANES] += fabsf(query[i] - (p->scale * (float) rows[r][i] + p->offset));
		out[r] = fold_lanes(lanes);
	}
}

static void
numbers_plain(const uint8_t *codes, const CodeParams *params, uint32_t len, float *out)
{
	for (uint32_t i = 0; i < len; i++)
		out[i] = params->scale * (float) codes[i] + params->offset;
}

static Split
split_plain(const float *vector, uint32_t len, int8_t *high, int8_t *low)
{
	Split		split;
	float		most = 0;
	float		high_inverse;
	float		low_inverse;
	float		sums[LANES] = {0};
	float		norms[LANES] = {0};

	for (uint32_t i = 0; i < len; i++)
		most = fabsf(vector[i]) > most ? fabsf(vector[i]) : most;
	split_scales(&split, most, &high_inverse, &low_inverse);
	for (uint32_t i = 0; i < len; i++)
	{
		float		x = vector[i];
		float		h = rintf(x * high_inverse);
		float		l = rintf((x - h * split.high_scale) * low_inverse);

		l = l > CODE_QUERY_MAX ? CODE_QUERY_MAX : l < -CODE_QUERY_MAX ? -CODE_QUERY_MAX : l;
		high[i] = (int8_t) h;
		low[i] = (int8_t) l;
		sums[i % LANES] += x;
		norms[i % LANES] += x * x;
	}
	split.sum = fold_lanes(sums);
	split.norm = fold_lanes(norms);
	return split;
}

static void
unpack_plain(const uint8_t *codes, uint32_t len, int8_t *high, int8_t *low)
{
	for (uint32_t i = 0; i < len; i++)
	{
		high[i] = (int8_t) (codes[i] >> 2);
		low[i] = (int8_t) (codes[i] & 3);
	}
}

const Kernels kernels_plain = {
	"plain", {l2_plain, dot_plain, l1_plain}, {half_l2_plain, half_dot_plain, half_l1_plain},
	code_plain, code_l1_plain, split_plain, unpack_plain, numbers_plain
};

const Kernels *
kernels_by_name(const char *name)
{
#ifdef __x86_64__
	if (strcmp(name, "avx2") == 0)
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
			vec_cpu_has_f16c() ? &kernels_avx2 : NULL;
	if (strncmp(name, "avx512", 6) == 0)
	{
		if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
			!__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("fma"))
			return NULL;
		if (strcmp(name, "avx512vnni") == 0)
			return __builtin_cpu_supports("avx512vnni") ? &kernels_avx512vnni : NULL;
		return &kernels_avx512;
	}
#endif
	return strcmp(name, "plain") == 0 ? &kernels_plain : NULL;
}

const Kernels *
kernels_choose(void)
{
	static const char *const names[] = {"avx512vnni", "avx512", "avx2", "plain"};
	const char *wish = getenv("VECTRON_CPU");
	const Kernels *k = wish ? kernels_by_name(wish) : NULL;

	for (size_t i = 0; k == NULL; i++)
		k = kernels_by_name(names[i]);
	return k;
}

const char *
hnsw_cpu_name(void)
{
	return kernels_choose()->name;
}
