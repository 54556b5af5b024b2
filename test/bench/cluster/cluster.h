/*-------------------------------------------------------------------------
 *
 * cluster.h
 *	  A cluster of its own for a measurement: a placement driver and workers as
 *	  processes on this machine, and one collection.
 *
 *	   cluster.c	daemons, the collection, who leads what
 *	   load.c		clients that write and search until they are told to stop
 *	   bulk.c		collections that are loaded in bulk meanwhile
 *	   usage.c		what processes use, what the disk gives
 *	   etcd.c		the same load on etcd, by gRPC
 *	   main.c		options and modes
 *
 * A mode is a file: failover.c, goodput.c, rival.c, busy.c, catchup.c, repair.c, moves.c, many.c, idle.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLUSTER_BENCH_H
#define CLUSTER_BENCH_H

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "client/client.h"

#define WORKERS_MAX 9
#define SHARDS_OF_BENCH 16
#define SECOND INT64_C(1000000)

typedef struct Bench
{
	/* Options */
	const char *programs;		/* folder of vectron-pd and vectron-worker */
	const char *directory;		/* data, logs and sockets; made, and removed at the end */
	uint32_t	keep;			/* it is not removed */
	uint32_t	workers;
	uint32_t	shards;
	uint32_t	groups;			/* of idle */
	uint32_t	replicas;
	uint32_t	dim;
	uint32_t	m;
	uint32_t	ef_construction;
	uint32_t	metadata;		/* bytes of each record beside its vector */
	uint32_t	snapshot_rate;	/* of the workers, MiB a second */
	uint32_t	checkpoint;		/* of the workers, MiB of log */
	uint32_t	memory_limit;	/* of the workers, MiB; 0: none */
	uint32_t	down_after;		/* of the placement driver, seconds */
	uint32_t	records;		/* loaded before anything is measured */
	uint32_t	bulk;			/* of each bulk load of busy; 0: there is none */
	uint32_t	kills;
	uint32_t	writers;
	uint32_t	searchers;
	uint32_t	clients;
	uint32_t	from;			/* of the steps of goodput, the first */
	uint32_t	rounds;
	double		seconds;		/* of each measurement */
	double		pause_ms;		/* of each client between two questions */

	/* Bars; 0: only report */
	double		median_ms;
	double		worst_ms;		/* p99, or p99.9 */
	double		share;
	double		haste_ms;
	double		times;
	double		delays;
	double		percent;

	/* The cluster */
	char		pd[128];
	int			pd_pid;
	int			pids[WORKERS_MAX + 1];
	VtId		generation;
	WireOwner	owner;
	bool		failed;			/* a bar was missed */

	/* What the threads of a server would share */
	pthread_mutex_t lock;
	ClientMarkTable *marks;
	ClientPace *pace;
} Bench;

/* Words and exit. */
extern void give_up(Bench *bench, const char *fmt,...) __attribute__((noreturn, format(printf, 2, 3)));

/*
 * Say PASS or FAIL: the value is to be at most, or at least, the limit.  A limit of 0
 * says nothing.
 */
extern void bar_most(Bench *bench, const char *what, double value, double limit);
extern void bar_least(Bench *bench, const char *what, double value, double limit);

/* Processes; the collection is made and loaded by the second.  The third only makes one, and its generation is bench's then. */
extern void cluster_start(Bench *bench);
extern void collection_start(Bench *bench);
extern void collection_create(Bench *bench, Client *client, uint32_t shards);
extern void cluster_stop(Bench *bench);
extern void worker_start(Bench *bench, uint32_t n);
extern void worker_kill(Bench *bench, uint32_t n);
extern const char *worker_endpoint(const Bench *bench, uint32_t n);	/* until the next call */
extern uint32_t worker_says(const Bench *bench, uint32_t n, const char *words);	/* in so many lines of its log */
extern int	process_start(Bench *bench, const char *name, char *const argv[]);
extern void process_end(int *pid, int signal);
extern Client *bench_client(Bench *bench);

/* A question to the placement driver, or (an endpoint) to a worker; NULL: no answer. */
extern json_t *ask(Client *client, const char *endpoint, const char *fmt,...) __attribute__((format(printf, 3, 4)));
extern uint64_t number_of(const json_t *row, const char *name);

/* The store of a worker; 0: it is not known yet. */
extern uint64_t store_of(Bench *bench, Client *client, uint32_t n);

/* The vector of a record, and its id. */
extern void vector_of(const Bench *bench, uint64_t number, float *out);
extern Bytes id_of(uint64_t number, uint8_t out[WIRE_TID_SIZE]);

/* Load the records first..first + n - 1; their marks are noted. */
extern void put_records(Bench *bench, Client *client, uint64_t first, uint32_t n);

/* List the records 0..n - 1, which are all that there are: each once, with what it was put with.  when: for the words. */
extern void read_back(Bench *bench, Client *client, uint64_t n, const char *when);

/* Until no replica has a record that its graph does not hold. */
extern void wait_indexed(Bench *bench, Client *client);

/* Which worker leads each shard; waits until every replica is up and near its leader. */
typedef struct Leaders
{
	uint32_t	n;
	uint64_t	shard[SHARDS_OF_BENCH];
	uint32_t	worker[SHARDS_OF_BENCH];
} Leaders;

extern void wait_whole(Bench *bench, Client *client, Leaders *leaders);

/* Replicas of all shards that a store has, by what the driver says. */
extern uint32_t replicas_at(Client *client, uint64_t store);

/* Changes of replicas under way, by what the driver says. */
extern uint32_t changes_under_way(Client *client);

/* Open a scan at the marks that are known; learn() after its first answer. */
typedef struct Search
{
	ClientMark	items[SHARDS_OF_BENCH];
	uint64_t	ticket;
	bool		asks;
	ClientScan *scan;
} Search;

extern VtStatus search_open(Bench *bench, Client *client, Search *search, const float *query,
							uint32_t rows, int64_t deadline_us, VtError *err);

/* The same of n queries, asked together if there are more than one; as client_scan_open_many(). */
extern VtStatus search_open_many(Bench *bench, Client *client, Search *search, const float *queries, uint32_t n, uint32_t rows,
								 int64_t deadline_us, ClientScan **scans, uint32_t *opened, VtError *err);
extern void search_learn(Bench *bench, Search *search);

/* -- load.c ---------------------------------------------------------------- */

/* Times of what was done, in microseconds. */
typedef struct Times
{
	int64_t    *us;
	size_t		n;
	size_t		room;
} Times;

extern void times_add(Times *times, int64_t us);
extern void times_append(Times *times, const Times *more);
extern void times_sort(Times *times);
extern double times_ms(const Times *sorted, double share);
extern void times_free(Times *times);

#define PHASES 7

typedef struct LoadOptions
{
	uint32_t	searchers;		/* clients that search, */
	uint32_t	writers;		/* and that write */
	uint32_t	batch;			/* records that a writer puts at a time */
	double		pause_ms;		/* of each client between two questions */
	uint64_t	first;			/* record to be written first */
} LoadOptions;

/* Clients at work until load_stop(); what they begin counts for the phase in force. */
typedef struct Load Load;
extern Load *load_start(Bench *bench, const LoadOptions *options);
extern void load_phase(Load *load, uint32_t phase);
extern uint64_t load_stop(Load *load);	/* returns the number of the next record */
extern void load_times(Load *load, uint32_t phase, Times *searches, Times *writes);	/* sorted */
extern void load_free(Load *load);

/* What clients noticed in a phase that took so long; it is said, too. */
typedef struct Noticed
{
	double		p99_ms;			/* of searches */
	double		writes;			/* a second */
	double		slowest_ms;		/* write */
} Noticed;

extern Noticed load_noticed(Load *load, uint32_t phase, const char *words, double seconds);

/* The bars of what goes on beside clients: searches, number of writes, and the slowest of them. */
extern void load_bars(Bench *bench, const char *what, const Noticed *before, const Noticed *during);

/* -- bulk.c ---------------------------------------------------------------- */

/* What bulk loads came to. */
typedef struct BulkDone
{
	uint32_t	begun;
	uint32_t	linked;			/* to the last record, in the graphs of the leaders */
	uint64_t	records;		/* acknowledged */
} BulkDone;

/* Collections of so many records, each loaded in bulk, one after the other, until bulk_stop(). */
typedef struct Bulk Bulk;
extern Bulk *bulk_start(Bench *bench, uint32_t records);
extern BulkDone bulk_stop(Bulk *bulk);

/* -- usage.c --------------------------------------------------------------- */

typedef struct Usage
{
	double		seconds;		/* of processor time */
	uint64_t	switches;		/* of context, by all threads */
	uint64_t	memory;			/* resident */
	uint64_t	memory_most;	/* at any time */
} Usage;

extern Usage usage_of(int pid);
extern Usage usage_of_all(const Bench *bench);	/* workers and placement driver */

/* What a sync of 4 kB at the end of a file in the bench's directory takes, in microseconds. */
extern void disk_probe(Bench *bench, double *p50_us, double *p99_us);

/* -- etcd.c ---------------------------------------------------------------- */

typedef struct Etcd Etcd;
extern const char *etcd_missing(void);	/* why it cannot be asked; NULL: it can */
extern Etcd *etcd_start(Bench *bench);	/* three members */
extern void etcd_stop(Etcd *etcd);
extern Usage etcd_usage(const Etcd *etcd);

/* So many clients put values of `bytes` for so long, over so many connections. */
extern void etcd_put(Etcd *etcd, uint32_t clients, uint32_t connections, uint32_t bytes, double seconds, Times *times);

/* Order statistics. */
extern void sort_times(int64_t *times, size_t n);
extern double ms_at(const int64_t *sorted, size_t n, double share);

/* -- Modes ----------------------------------------------------------------- */

extern void failover(Bench *bench);
extern void goodput(Bench *bench);
extern void rival(Bench *bench);
extern void busy(Bench *bench);
extern void catchup(Bench *bench);
extern void repair(Bench *bench);
extern void moves(Bench *bench);
extern void many(Bench *bench);
extern void idle(Bench *bench);

#endif							/* CLUSTER_BENCH_H */
