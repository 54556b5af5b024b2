/*-------------------------------------------------------------------------
 *
 * set.h
 *	  What a benchmark runs on: vectors, queries, and the true neighbours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_SET_H
#define BENCH_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vec/vec.h"

#define TRUTH 10				/* neighbours that count, unless set_want() says otherwise */
#define TRUTH_MOST 100			/* and that are known, but for files that have fewer */

typedef struct Set
{
	char		name[64];
	VecMetric	metric;
	uint32_t	dim;
	uint32_t	n;
	uint32_t	nqueries;
	float	   *base;
	float	   *queries;

	uint32_t   *truth;			/* for each query so many rows, nearest first */
	uint32_t	truth_known;
	double	   *truth_last;		/* for each query, how far the last that counts is */
	bool		truth_read;		/* from a file, else computed here */

	uint16_t   *classes;		/* one for each row; NULL: the set has none */
} Set;

/* n vectors around centres, in a space of fewer dimensions than they have. */
extern Set *set_generate(const char *name, VecMetric metric, uint32_t dim, uint32_t n,
						 uint32_t nqueries, uint64_t seed);

/* The films of the demonstration; NULL when the files are not there. */
extern Set *set_demo(const char *folder);

/*
 * A folder with base.* and query.* (u8.raw, f16.raw or bvecs) and
 * groundtruth.ivecs or groundtruth_cosine.ivecs; NULL when it is none.  At most
 * limit rows (0 = all), by another metric than that of the file (0 = by that); then
 * truth is computed.
 */
extern Set *set_read(const char *folder, uint32_t limit, VecMetric metric);
extern void set_free(Set *set);

/* So many neighbours count, 1 to TRUTH_MOST; false: fewer are known. */
extern bool set_want(Set *set, uint32_t k);

/* How many of the answer's rows are as near as the true ones (ties count). */
extern uint32_t set_hits(const Set *set, uint32_t query, const uint32_t *rows, uint32_t k);

#endif							/* BENCH_SET_H */
