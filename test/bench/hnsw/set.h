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

#define TRUTH 10				/* neighbours known for each query */

typedef struct Set
{
	char		name[64];
	VecMetric	metric;
	uint32_t	dim;
	uint32_t	n;
	uint32_t	nqueries;
	float	   *base;
	float	   *queries;

	/* TRUTH for each query: rows, and the distance of the last */
	uint32_t   *truth;
	double	   *truth_last;
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

/* How many of the answer's rows are as near as the true ones (ties count). */
extern uint32_t set_hits(const Set *set, uint32_t query, const uint32_t *rows, uint32_t k);

#endif							/* BENCH_SET_H */
