/*-------------------------------------------------------------------------
 *
 * vec.c
 *	  The choice of kernels, and the distances made of them.
 *
 *-------------------------------------------------------------------------
 */
#include "vec/vec.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "kernels.h"

/* Chosen on the first call; every thread would choose the same. */
static _Atomic(const VecKernels *) chosen;

bool
vec_cpu_has_f16c(void)
{
#ifdef __x86_64__
	unsigned	a,
				b,
				c,
				d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#else
	return false;
#endif
}

static const VecKernels *
kernels_of(VecCpu cpu)
{
#ifdef __x86_64__
	if (cpu == VEC_CPU_AVX2)
		return __builtin_cpu_supports("avx2") && vec_cpu_has_f16c() ? &vec_kernels_avx2 : NULL;
#endif
	return cpu == VEC_CPU_PLAIN ? &vec_kernels_plain : NULL;
}

static const VecKernels *
choose(void)
{
	const char *wish = getenv("VECTRON_CPU");
	const VecKernels *k = kernels_of(VEC_CPU_AVX2);

	if (k == NULL || (wish && strcmp(wish, "plain") == 0))
		k = &vec_kernels_plain;
	atomic_store(&chosen, k);
	return k;
}

static inline const VecKernels *
kernels(void)
{
	const VecKernels *k = atomic_load_explicit(&chosen, memory_order_acquire);

	return k ? k : choose();
}

VecCpu
vec_cpu(void)
{
	return kernels()->cpu;
}

bool
vec_force_cpu(VecCpu cpu)
{
	const VecKernels *k = kernels_of(cpu);

	if (k)
		atomic_store(&chosen, k);
	return k != NULL;
}

const char *
vec_cpu_name(VecCpu cpu)
{
	return cpu == VEC_CPU_AVX2 ? "avx2" : "plain";
}

float
vec_l2_squared(const float *a, const float *b, size_t n)
{
	return kernels()->l2_squared(a, b, n);
}

float
vec_dot(const float *a, const float *b, size_t n)
{
	return kernels()->dot(a, b, n);
}

float
vec_l1(const float *a, const float *b, size_t n)
{
	return kernels()->l1(a, b, n);
}

VecDots
vec_dots(const float *a, const float *b, size_t n)
{
	return kernels()->dots(a, b, n);
}

double
vec_cosine(VecDots d)
{
	double		similarity = (double) d.ab / sqrt((double) d.aa * (double) d.bb);

	/* Rounding may step outside; NaN of a zero vector stays. */
	if (similarity > 1)
		similarity = 1;
	else if (similarity < -1)
		similarity = -1;
	return 1 - similarity;
}

double
vec_distance(VecMetric metric, const void *a, const void *b, size_t n)
{
	switch (metric)
	{
		case VEC_L2:
			return sqrt((double) vec_l2_squared(a, b, n));
		case VEC_IP:
			return -(double) vec_dot(a, b, n);
		case VEC_L1:
			return (double) vec_l1(a, b, n);
		case VEC_COSINE:
			return vec_cosine(vec_dots(a, b, n));
		case VEC_HAMMING:
		case VEC_JACCARD:
			return vec_bits_distance(metric, a, b, n);
	}
	return NAN;
}

double
vec_distance_half(VecMetric metric, const float *a, const VecHalf *b, size_t n)
{
	switch (metric)
	{
		case VEC_L2:
			return sqrt((double) kernels()->half_l2_squared(a, b, n));
		case VEC_IP:
			return -(double) kernels()->half_dot(a, b, n);
		case VEC_L1:
			return (double) kernels()->half_l1(a, b, n);
		case VEC_COSINE:
			return vec_cosine(kernels()->half_dots(a, b, n));
		case VEC_HAMMING:
		case VEC_JACCARD:
			break;
	}
	return NAN;
}

bool
vec_to_half(VecHalf *out, const float *a, size_t n)
{
	return kernels()->to_half(out, a, n);
}

void
vec_from_half(float *out, const VecHalf *a, size_t n)
{
	kernels()->from_half(out, a, n);
}

static float
negative_dot(const float *a, const float *b, size_t n)
{
	return -vec_dot(a, b, n);
}

VecKernel
vec_score_kernel(VecMetric metric)
{
	switch (metric)
	{
		case VEC_L2:
			return kernels()->l2_squared;
		case VEC_L1:
			return kernels()->l1;
		case VEC_IP:
		case VEC_COSINE:
			return negative_dot;
		case VEC_HAMMING:
		case VEC_JACCARD:
			break;
	}
	return NULL;
}

double
vec_norm(const float *a, size_t n)
{
	double		sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double) a[i] * (double) a[i];
	return sqrt(sum);
}

bool
vec_normalize(float *out, const float *a, size_t n)
{
	double		norm = vec_norm(a, n);

	for (size_t i = 0; i < n; i++)
		out[i] = norm > 0 ? (float) ((double) a[i] / norm) : 0;
	return norm > 0;
}

bool
vec_all_finite(const float *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(a[i]))
			return false;
	return true;
}

bool
vec_metric_valid(uint32_t metric)
{
	return metric >= VEC_L2 && metric <= VEC_JACCARD;
}

const char *
vec_metric_name(VecMetric metric)
{
	static const char *const names[] = {"l2", "ip", "cosine", "l1", "hamming", "jaccard"};

	return vec_metric_valid((uint32_t) metric) ? names[metric - 1] : NULL;
}

bool
vec_element_valid(uint32_t element)
{
	return element >= VEC_FLOAT32 && element <= VEC_BIT;
}

const char *
vec_element_name(VecElement element)
{
	static const char *const names[] = {"float32", "float16", "bit"};

	return vec_element_valid((uint32_t) element) ? names[element - 1] : NULL;
}

bool
vec_metric_fits(VecMetric metric, VecElement element)
{
	return vec_metric_valid((uint32_t) metric) && (metric >= VEC_HAMMING) == (element == VEC_BIT);
}

uint32_t
vec_max_dim(VecElement element)
{
	return element == VEC_BIT ? VEC_MAX_BITS : VEC_MAX_DIM;
}

size_t
vec_given_bytes(VecElement element, size_t n)
{
	return element == VEC_BIT ? VEC_BITS_BYTES(n) : sizeof(float) * n;
}

size_t
vec_kept_bytes(VecElement element, size_t n)
{
	return element == VEC_FLOAT16 ? sizeof(VecHalf) * n : vec_given_bytes(element, n);
}
