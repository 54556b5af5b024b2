/*-------------------------------------------------------------------------
 *
 * predicate.h
 *	  Private to worker: a predicate on attributes, made ready to be asked often.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_PREDICATE_H
#define WORKER_PREDICATE_H

#include "columns.h"

/* Never changes; shared by scans and sets. */
typedef struct Predicate Predicate;

/* From a search message, for these kinds of attributes; errors are those of wire_predicate_get(). */
extern VtStatus predicate_new(Bytes encoded, const uint8_t *kinds, uint32_t nkinds, Predicate **out, VtError *err);
extern Predicate *predicate_share(Predicate *predicate);
extern void predicate_free(Predicate *predicate);	/* NULL is fine; the last of those who share it */

/* The message's. */
extern Bytes predicate_bytes(const Predicate *predicate);

extern bool predicate_passes(const Predicate *predicate, const WireAttributes *attributes);

/*
 * Which slots pass: n words of a bit for each, from a slot on that is a multiple of
 * 64.  Where there is no room for slots they do not.
 */
extern void predicate_words(const Predicate *predicate, const Columns *columns, uint32_t first, uint32_t n,
							uint64_t *out);

/* -- Kernels: over 64 values, a bit for each ---------------------------------- */

typedef struct PredicateKernels
{
	uint64_t	(*between) (const int64_t *values, int64_t lo, int64_t hi);

	/* Equal to one of n, 1 to KERNEL_ANY_MAX? */
	uint64_t	(*any) (const int64_t *values, const int64_t *wanted, uint32_t n);
} PredicateKernels;

#define KERNEL_ANY_MAX 8

extern const PredicateKernels predicate_kernels_plain;
extern const PredicateKernels predicate_kernels_avx2;

#endif							/* WORKER_PREDICATE_H */
