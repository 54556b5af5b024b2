/*-------------------------------------------------------------------------
 *
 * cluster.h
 *	  A cluster of its own for a measurement: a placement driver and workers as
 *	  processes on this machine, and one collection.
 *
 *	   cluster.c	daemons, the collection, who leads what
 *	   failover.c	leaders killed while clients write and search
 *	   goodput.c	ever more clients that search
 *	   main.c		options
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLUSTER_BENCH_H
#define CLUSTER_BENCH_H

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
	uint32_t	replicas;
	uint32_t	dim;
	uint32_t	records;		/* loaded before anything is measured */
	uint32_t	kills;
	uint32_t	writers;
	uint32_t	searchers;
	uint32_t	most_clients;
	double		seconds;		/* of each number of clients */
	double		median_ms;		/* fail when writes resume later; 0: only report */
	double		worst_ms;
	double		share;			/* fail below this share of the best goodput; 0: only report */

	/* The cluster */
	char		pd[128];
	int			pd_pid;
	int			pids[WORKERS_MAX + 1];
	VtId		generation;
	WireOwner	owner;

	/* What the threads of a server would share */
	pthread_mutex_t lock;
	ClientMarkTable *marks;
	ClientPace *pace;
} Bench;

/* Words and exit. */
extern void give_up(Bench *bench, const char *fmt,...) __attribute__((noreturn, format(printf, 2, 3)));

extern void cluster_start(Bench *bench);
extern void cluster_stop(Bench *bench);
extern void worker_start(Bench *bench, uint32_t n);
extern void worker_kill(Bench *bench, uint32_t n);
extern Client *bench_client(Bench *bench);

/* The vector of a record, and its id. */
extern void vector_of(const Bench *bench, uint64_t number, float *out);
extern Bytes id_of(uint64_t number, uint8_t out[WIRE_TID_SIZE]);

/* Load the records first..first + n - 1; their marks are noted. */
extern void put_records(Bench *bench, Client *client, uint64_t first, uint32_t n);

/* Which worker leads each shard; waits until every replica is up and near its leader. */
typedef struct Leaders
{
	uint32_t	n;
	uint64_t	shard[SHARDS_OF_BENCH];
	uint32_t	worker[SHARDS_OF_BENCH];
} Leaders;

extern void wait_whole(Bench *bench, Client *client, Leaders *leaders);

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
extern void search_learn(Bench *bench, Search *search);

/* Order statistics. */
extern void sort_times(int64_t *times, size_t n);
extern double ms_at(const int64_t *sorted, size_t n, double share);

extern int	failover(Bench *bench);
extern int	goodput(Bench *bench);

#endif							/* CLUSTER_BENCH_H */
