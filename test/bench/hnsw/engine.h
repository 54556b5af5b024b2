/*-------------------------------------------------------------------------
 *
 * engine.h
 *	  One door for all engines a benchmark compares.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Plan
{
	const float *base;
	uint32_t	n;
	uint32_t	dim;
	int			metric;			/* VecMetric */
	uint32_t	m;
	uint32_t	ef_construction;
	uint32_t	threads;

	/* A file in which an engine may keep what it built, for the next run; NULL: none. */
	const char *keep;
} Plan;

typedef struct Engine
{
	const char *name;
	bool		exact;			/* ef means nothing */

	/* The rows of the plan, by that many threads; the rows stay where they are. */
	void	   *(*build) (const Plan *plan);
	uint32_t	(*search) (void *index, const float *query, uint32_t k, uint32_t ef, uint32_t *rows);

	/* Vectors compared by the searches so far; NULL: not counted. */
	uint64_t	(*distances) (void *index);
	void		(*destroy) (void *index);
} Engine;

extern const Engine engine_float;
extern const Engine engine_int8;
extern const Engine engine_int8_only;
extern const Engine engine_half;
extern const Engine engine_half_int8;
extern const Engine engine_mapped;
extern const Engine engine_exact;

/* NULL when the library was not there when this was built. */
extern const Engine *engine_hnswlib(void);

/* The graph inside the index of one of ours. */
struct Hnsw;
extern struct Hnsw *engine_graph(void *index);

#ifdef __cplusplus
}
#endif

#endif							/* BENCH_ENGINE_H */
