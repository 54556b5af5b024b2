/*-------------------------------------------------------------------------
 *
 * bits.c
 *	  Distances of bit strings, eight bytes at a time, and the choice of the
 *	  instructions that count bits.
 *
 * The same loops are compiled twice, for any processor and for those that count
 * the bits of a word in one instruction.  All that have AVX2 do; counting with
 * AVX2 itself, by looking nibbles up, takes about as long and needs its tails
 * handled apart.
 *
 *-------------------------------------------------------------------------
 */
#include "bits.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* Chosen on the first call; every thread would choose the same. */
static _Atomic(const BitsKernels *) chosen;

/* Up to eight bytes, with zeros behind. */
static inline __attribute__((always_inline)) uint64_t
word_at(const uint8_t *p, size_t left)
{
	uint64_t	word = 0;

	if (left >= sizeof(word))
		memcpy(&word, p, sizeof(word));
	else
		memcpy(&word, p, left);
	return word;
}

/* What is to come lies apart, and is asked for line by line. */
#define ASK_FOR(next, i) \
	do { \
		if ((i) % 64 == 0) \
			__builtin_prefetch((next) + (i)); \
	} while (0)

#define KERNELS(prefix, target) \
target static void \
prefix##_differ(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes, uint32_t *differ) \
{ \
	for (uint32_t r = 0; r < n; r++) \
	{ \
		const uint8_t *next = BITS_NEXT(rows, n, r); \
		uint32_t	sum = 0; \
 \
		for (size_t i = 0; i < bytes; i += 8) \
		{ \
			ASK_FOR(next, i); \
			sum += (uint32_t) __builtin_popcountll(word_at(query + i, bytes - i) ^ word_at(rows[r] + i, bytes - i)); \
		} \
		differ[r] = sum; \
	} \
} \
 \
target static void \
prefix##_share(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes, VecShared *shared) \
{ \
	for (uint32_t r = 0; r < n; r++) \
	{ \
		const uint8_t *next = BITS_NEXT(rows, n, r); \
		VecShared	sum = {0, 0}; \
 \
		for (size_t i = 0; i < bytes; i += 8) \
		{ \
			uint64_t	a = word_at(query + i, bytes - i); \
			uint64_t	b = word_at(rows[r] + i, bytes - i); \
 \
			ASK_FOR(next, i); \
			sum.both += (uint32_t) __builtin_popcountll(a & b); \
			sum.either += (uint32_t) __builtin_popcountll(a | b); \
		} \
		shared[r] = sum; \
	} \
}

KERNELS(plain, )

const BitsKernels bits_plain = {"plain", plain_differ, plain_share};

#ifdef __x86_64__
KERNELS(popcnt, __attribute__((target("popcnt"))))

const BitsKernels bits_popcnt = {"popcnt", popcnt_differ, popcnt_share};
#endif

static const BitsKernels *
by_name(const char *name)
{
#ifdef __x86_64__
	if (strcmp(name, "popcnt") == 0)
		return __builtin_cpu_supports("popcnt") ? &bits_popcnt : NULL;
	if (strcmp(name, "avx512") == 0)
		return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
			__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq") ? &bits_avx512 : NULL;
#endif
	return strcmp(name, "plain") == 0 ? &bits_plain : NULL;
}

/* The wish is a set of instructions for vectors of numbers. */
static const BitsKernels *
choose(void)
{
	const char *wish = getenv("VECTRON_CPU");
	const BitsKernels *k = NULL;

	if (wish && strcmp(wish, "plain") == 0)
		k = &bits_plain;
	else if (!wish || strcmp(wish, "avx2") != 0)
		k = by_name("avx512");
	if (k == NULL)
		k = by_name("popcnt");
	if (k == NULL)
		k = &bits_plain;
	atomic_store(&chosen, k);
	return k;
}

static inline const BitsKernels *
kernels(void)
{
	const BitsKernels *k = atomic_load_explicit(&chosen, memory_order_acquire);

	return k ? k : choose();
}

const char *
vec_bits_cpu_name(void)
{
	return kernels()->name;
}

bool
vec_bits_force_cpu(const char *name)
{
	const BitsKernels *k = by_name(name);

	if (k)
		atomic_store(&chosen, k);
	return k != NULL;
}

void
vec_bits_differ(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes, uint32_t *differ)
{
	kernels()->differ(query, rows, n, bytes, differ);
}

void
vec_bits_share(const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes, VecShared *shared)
{
	kernels()->share(query, rows, n, bytes, shared);
}

double
vec_bits_distance(VecMetric metric, const uint8_t *a, const uint8_t *b, size_t n)
{
	VecShared	shared;
	uint32_t	differ;

	if (metric == VEC_JACCARD)
	{
		vec_bits_share(a, &b, 1, VEC_BITS_BYTES(n), &shared);
		return vec_jaccard(shared);
	}
	vec_bits_differ(a, &b, 1, VEC_BITS_BYTES(n), &differ);
	return (double) differ;
}

bool
vec_bits_valid(const uint8_t *a, size_t n)
{
	return n % 8 == 0 || (a[n / 8] & (0xFF >> n % 8)) == 0;
}
