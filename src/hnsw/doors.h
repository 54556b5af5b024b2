/*-------------------------------------------------------------------------
 *
 * doors.h
 *	  Private to hnsw: which of a node's links lead to members of a set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_DOORS_H
#define HNSW_DOORS_H

#include <stdatomic.h>
#include <stdint.h>

/* Room beyond the answer: a register is written whole. */
#define DOORS_SLACK 16

/*
 * Of a list of links, at most `limit` of them, those whose bit is set go to out,
 * which has room for limit + DOORS_SLACK.  Returns how many; *n = how many links
 * there were.  Slots from nbits on have none; nbits is a multiple of 64, and the
 * word behind the last is 0.
 */
typedef uint32_t (*DoorsKernel) (const atomic_ullong *bits, uint32_t nbits, const atomic_uint *links,
								 uint32_t limit, uint32_t *out, uint32_t *n);

/* For the CPU whose kernels have this name (kernels.h). */
extern DoorsKernel doors_kernel(const char *name);

#endif							/* HNSW_DOORS_H */
