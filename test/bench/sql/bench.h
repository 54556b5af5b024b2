/*-------------------------------------------------------------------------
 *
 * bench.h
 *	  What the parts of sql_bench share.
 *
 *	   sync_count.c		preloaded into the servers: counts and times their syncs
 *	   db.c				tables, indexes and rows of one engine
 *	   load.c			clients that search or insert, and their latencies
 *	   usage.c			what the servers cost meanwhile
 *	   modes.c			search, copy, insert: who is measured when
 *	   report.c			tables for people, JSON for programs
 *
 *-------------------------------------------------------------------------
 */
#ifndef SQL_BENCH_H
#define SQL_BENCH_H

#include <libpq-fe.h>
#include <stdio.h>

#include "../hnsw/set.h"
#include "base/clock.h"
#include "base/status.h"
#include "sync_count.h"

#define K 10
#define MAX_POINTS 16
#define MAX_ROUNDS 15
#define MAX_CLIENTS 64
#define ENGINES 2

/* An extension with a type vector and an index, in a database of its own. */
typedef struct Engine
{
	const char *name;
	const char *database;
	const char *extension;
	const char *method;
	const char *ef_setting;
	bool		ours;
	bool		present;
	char		version[32];
} Engine;

typedef struct Settings
{
	const char *host;			/* folder of the server's socket */
	const char *root;			/* its programs lie below this */
	const char *data;			/* the data directory, to be named */
	const char *out;			/* folder for JSON; NULL: none */
	const char *command;
	const SyncCount *syncs;		/* NULL: not counted */
	bool		tmpfs;			/* both data directories */
	uint32_t	sync_us;		/* added to each sync; 0: the disk as it is */
	uint32_t	m;
	uint32_t	ef_construction;
	uint32_t	rounds;
	uint32_t	queries;
	uint32_t	inserts;		/* a round, an engine and a number of clients */
	uint32_t	clients;		/* that insert, besides one alone */
	double		seconds;		/* a round of searches */
	Engine		engines[ENGINES];
} Settings;

/* Everything that ends the benchmark. */
extern void die(const char *fmt,...) __attribute__((noreturn, format(printf, 1, 2)));

/* -- db.c ------------------------------------------------------------------ */

extern PGconn *db_open(const Settings *settings, const Engine *engine);
extern void db_run(PGconn *conn, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern double db_number(PGconn *conn, const char *fmt,...) __attribute__((format(printf, 2, 3)));

/* Which of the engines the server has, and their databases made anew. */
extern void db_prepare(Settings *settings);

/* The empty table t (id, v). */
extern void db_table(PGconn *conn, const Set *set);
extern void db_index(PGconn *conn, const Settings *settings, const Engine *engine, const Set *set);

/* Rows first..after-1, in one transaction; seconds. */
extern double db_copy(PGconn *conn, const Set *set, uint32_t first, uint32_t after);

/* Vectors of t's index that no graph holds yet. */
extern double db_backlog(PGconn *conn, const Engine *engine);

/* Wait until that is none; seconds. */
extern double db_drain(PGconn *conn, const Engine *engine);
extern const char *db_operator(VecMetric metric);

/* -- usage.c --------------------------------------------------------------- */

typedef enum Program
{
	PROGRAM_POSTGRES,
	PROGRAM_WORKER,
	PROGRAM_PD,
	PROGRAMS
} Program;

typedef struct Usage
{
	double		cpu_s[PROGRAMS];
	double		memory[PROGRAMS];	/* bytes: shared pages are divided among who shares them */
	double		client_cpu_s;
	SyncCount	syncs;
} Usage;

extern void usage_take(const Settings *settings, Usage *out);

/* after - before, of what grows. */
extern void usage_add(Usage *sum, const Usage *before, const Usage *after);
extern double usage_server_cpu(const Usage *usage);
extern uint64_t usage_syncs(const Usage *usage);

/* Microseconds of the syncs of the program class at a quantile. */
extern double usage_sync_us(const Usage *usage, double quantile);

/* -- load.c ---------------------------------------------------------------- */

typedef enum Work
{
	WORK_SEARCH,				/* for some seconds */
	WORK_RECALL,				/* each query once */
	WORK_INSERT,				/* rows first..after-1, a commit each */
	WORK_FIND					/* the same, and search for each right after its commit */
} Work;

/* What some clients did at the same time. */
typedef struct Load
{
	const Settings *settings;
	const Engine *engine;
	const Set  *set;
	Work		work;
	bool		exact;			/* sequential scans */
	uint32_t	clients;
	uint32_t	ef;
	double		seconds;
	uint32_t	first;
	uint32_t	after;

	/* Comes out; latencies are added to what is there */
	double		elapsed_s;
	uint64_t	done;
	uint64_t	hits;			/* RECALL: neighbours found; FIND: rows found */
	float	   *latency_us;
	size_t		nlatencies;
	Usage		usage;			/* added */
} Load;

extern void load_run(Load *load);

/* Sorts the latencies. */
extern double load_latency(Load *load, double quantile);
extern double median(const double *values, uint32_t n);

/* -- modes.c --------------------------------------------------------------- */

/* Of one ef, or of single-row commits: by one client and by several. */
typedef struct Speed
{
	uint32_t	clients;
	uint64_t	ops;
	double		rates[MAX_ROUNDS];
	uint32_t	nrates;
	double		rate;			/* their median */
	double		p50_us;
	double		p95_us;
	double		p99_us;
	double		cpu_ms;			/* an operation, all servers */
	double		client_cpu_ms;
	double		syncs;			/* an operation */
	double		sync_p50_us;
	double		sync_p99_us;
	double		backlog;		/* inserts: vectors no graph held at the end */
	double		rate_drained;	/* the time to index them counted in */
} Speed;

typedef struct Point
{
	uint32_t	ef;
	double		recall;
	Speed		speeds[2];		/* one client, two clients */
} Point;

typedef struct Built
{
	double		seconds;		/* CREATE INDEX, or COPY */
	double		drain_s;		/* until all is in the graph */
	double		cpu_s;
	double		postgres_memory;
	double		worker_memory;
	double		found;			/* COPY: part of the rows found right after */
} Built;

typedef struct Result
{
	bool		searched;
	bool		copied;
	bool		inserted;
	Built		build;
	Built		copy;
	Point		points[MAX_POINTS];
	uint32_t	npoints;
	Speed		inserts[2];		/* one client, Settings.clients */
	uint64_t	checked;		/* rows searched for right after their commit */
	uint64_t	missed;
} Result;

typedef struct Results
{
	Result		engines[ENGINES];
	Speed		exact;
} Results;

extern void mode_search(const Settings *settings, const Set *set, Results *results);
extern void mode_copy(const Settings *settings, const Set *set, Results *results);
extern void mode_insert(const Settings *settings, const Set *set, Results *results);

/* -- report.c -------------------------------------------------------------- */

extern void report_machine(const Settings *settings);
extern void report_set(const Set *set);
extern void report_search(const Settings *settings, const Results *results);
extern void report_copy(const Settings *settings, const Set *set, const Results *results);
extern void report_insert(const Settings *settings, const Results *results);
extern void report_write(const Settings *settings, const Set *set, const Results *results);

#endif							/* SQL_BENCH_H */
