/*-------------------------------------------------------------------------
 *
 * bench.h
 *	  What the parts of hnsw_bench share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine.h"
#include "set.h"

#define K 10
#define EF 80					/* of the modes that are no curves */
#define MAX_POINTS 24
#define ROUNDS_MOST 31

/* All queries once; queries a second are those of processor time. */
typedef struct Round
{
	double		qps;
	double		p50_us;
	double		p95_us;
	double		p99_us;
} Round;

/* One ef of one engine. */
typedef struct Point
{
	uint32_t	ef;
	double		recall;
	double		recall_p5;		/* one query of twenty finds less */
	double		nothing;		/* share of queries that find none of the neighbours */
	double		distances;		/* a query; 0 = not counted */
	Round		rounds[ROUNDS_MOST];
	uint32_t	nrounds;
	Round		median;			/* by queries a second, of the rounds so far */
} Point;

typedef struct Curve
{
	const Engine *engine;
	double		build_s;
	uint32_t	build_threads;
	double		cpu_s;			/* processor time of the build */
	double		memory;			/* bytes a vector, resident */
	Point		points[MAX_POINTS];
	uint32_t	n;
} Curve;

typedef struct Settings
{
	uint32_t	m;
	uint32_t	ef_construction;
	uint32_t	threads;		/* of the build */
	uint32_t	rounds;
	uint32_t	k;				/* neighbours wanted by curves */
	uint32_t	limit;			/* rows of a set at most; 0 = all */
	double		share;			/* the only one of the filters; 0 = all */
	const char *kind;			/* the only one of the ways to turn rows over; NULL = all */
	VecMetric	metric;			/* of sets from files; 0 = their own */
	const char *out;			/* folder for JSON and SVG; NULL: none */
	const char *keep;			/* folder for indexes; NULL: built each time */
	bool		one_lock;		/* threads and insert: everything behind one mutex, to see their bars missed */
	const Engine *ours[8];		/* what modes other than curves run on */
	uint32_t	nours;
	int			argc;
	char	  **argv;
} Settings;

/* Seconds this process has used the processor, and bytes it holds in memory. */
extern double usage_cpu_s(void);
extern double usage_rss(void);

/*
 * Time of the processor this thread has had: what threads take from each other
 * by their work shows in it, what others on the machine take does not.
 */
extern double thread_us(void);

extern int	compare_doubles(const void *a, const void *b);
extern double median(double *values, uint32_t n);	/* which it puts in order */

/* An index of the first n rows: built, or kept by an earlier run. */
extern void *index_make(const Settings *settings, const Set *set, uint32_t n, const Engine *engine);

/* Queries a second at a recall, between the measured points; 0: not reached. */
extern double curve_qps_at(const Curve *curve, double recall);

/* All queries once: one more round of the point. */
extern void point_measure(const Set *set, const Engine *engine, void *index, uint32_t k, Point *point);

/* -- report.c -------------------------------------------------------------- */

extern void report_machine(const Settings *settings);
extern void report_set(const Set *set);
extern void report_curves(const Settings *settings, const Curve *curves, uint32_t n);
extern void report_write(const Settings *settings, const Set *set, const Curve *curves, uint32_t n);

/* -- bars.c: false: one was missed ------------------------------------------- */

extern bool bars_of_curves(const Settings *settings, const Set *set, const Curve *curves, uint32_t n);

/* One bar; relation: "at least" or "at most". */
extern bool bar_line(const char *set, const char *engine, const char *what, double is, const char *relation, double bar);

/* -- beside.c: each prints its own lines; false: a bar was missed ---------- */

extern bool mode_insert(const Settings *settings, const Set *set);
extern bool mode_threads(const Settings *settings, const Set *set);

/* Searches a second of processor time, by this thread. */
extern double mode_rate(const Set *set, struct Hnsw *h);

/* -- modes.c --------------------------------------------------------------- */

/* false: a bar was missed */
extern bool mode_churn(const Settings *settings, const Set *set);

/* Recall of the first queries against the graph's own exact scan. */
extern double mode_recall(const Set *set, struct Hnsw *h, uint32_t ef);

/* A row into a graph, not linked yet. */
extern void mode_add_row(struct Hnsw *h, const Set *set, uint32_t row);

/* -- follow.c -------------------------------------------------------------- */

/* false: a bar was missed */
extern bool mode_follow(const Settings *settings, const Set *set);

/* -- warm.c ---------------------------------------------------------------- */

extern void mode_warm(const Settings *settings, const Set *set);

/* -- filter.c -------------------------------------------------------------- */

/* false: a bar was missed */
extern bool mode_filter(const Settings *settings, const Set *set);

/* -- bits.c ---------------------------------------------------------------- */

extern void mode_bits(const Settings *settings, const Set *set);

/* -- shards.c -------------------------------------------------------------- */

/* false: a bar was missed */
extern bool mode_shards(const Settings *settings, const Set *set);

/* -- shrink.c -------------------------------------------------------------- */

extern void mode_shrink(const Settings *settings, const Set *set);

#endif							/* BENCH_H */
