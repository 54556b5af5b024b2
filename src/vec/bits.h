/*-------------------------------------------------------------------------
 *
 * bits.h
 *	  Private to vec: bit strings compared, by each instruction set.
 *
 * A kernel compares a query with n rows of so many bytes, anywhere in memory, and
 * asks for the rows ahead while it works: rows of a graph lie apart.  What comes out
 * are counts, so every path gives the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VEC_BITS_H
#define VEC_BITS_H

#include "vec/vec.h"

typedef void (*BitsDiffer) (const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes,
							uint32_t *differ);
typedef void (*BitsShare) (const uint8_t *query, const uint8_t *const *rows, uint32_t n, size_t bytes,
						   VecShared *shared);

typedef struct BitsKernels
{
	const char *name;
	BitsDiffer	differ;
	BitsShare	share;
} BitsKernels;

extern const BitsKernels bits_plain;
#ifdef __x86_64__
extern const BitsKernels bits_popcnt;
extern const BitsKernels bits_avx512;
#endif

/* The row to ask for while row r is counted. */
#define BITS_NEXT(rows, n, r) ((rows)[(r) + 4 < (n) ? (r) + 4 : (n) - 1])

#endif							/* VEC_BITS_H */
