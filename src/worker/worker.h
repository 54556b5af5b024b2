/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  vectron-worker: shards, each a Raft group over LevelDB with its records
 *	  in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_H
#define WORKER_H

#include "base/status.h"
#include "net/net.h"

typedef struct Worker Worker;

typedef struct WorkerOptions
{
	const char *data;			/* directory, already locked */
	VtId		data_id;
	const char *listen;			/* endpoint */
	const char *expose;			/* a second endpoint, for others than our own machine; NULL = none */
	const char *advertise;		/* what PD tells gateways */
	const char *pd;				/* endpoints of PDs, separated by commas */
	const char *labels;			/* "zone=a,rack=r1"; NULL = none */
	const char *role;			/* "data" or "search-only"; NULL = data */
	uint32_t	search_threads;	/* for searches and listings; 0 = as many as cores */
	uint32_t	index_threads;	/* take vectors into the graphs; 0 = as many as cores */
	uint64_t	memory_limit;	/* bytes above which new data is refused; 0 = none */
	uint64_t	checkpoint_bytes;	/* log of a shard before a checkpoint cuts it; 0 = 64 MiB */
	uint64_t	log_bytes;		/* of all shards; see ReplicaHostOptions; 0 = by the disk */
	uint64_t	snapshot_rate;	/* bytes a second sent; 0 = no limit */
	uint64_t	disk_reserve;	/* refuse new data when less is free */
	uint64_t	lag_entries;	/* as of ReplicaHostOptions: more refuse writes; 0 = no limit */
	uint64_t	lag_bytes;
	bool		no_hints;		/* leaders do not say how they have linked vectors, and followers look for neighbours themselves */
	bool		mapped;			/* full-precision vectors of quantized shards in mapped files */
	uint64_t	graph_save;		/* changed records of a shard before its graph is saved; 0 = never */
	uint64_t	session_ms;		/* of log time a session lives unused; 0 = ten minutes */
	uint64_t	replica_grace_ms;	/* a replica that hears nobody answers *eventual* so long; 0 = without end */
	uint64_t	boot_epoch;
	NetTls	   *tls;			/* for tcp; NULL = none; the caller's */
} WorkerOptions;

/* Exit status when PD has given its data directory up, or refused its release: starting it again is of no use. */
#define WORKER_GIVEN_UP 78

/* Opens every shard; serves when it returns.  PD is looked for meanwhile. */
extern VtStatus worker_start(const WorkerOptions *options, Worker **out, VtError *err);
extern void worker_stop(Worker *worker);

/* Bytes of Raft logs on a disk of this size, where so many were asked for; 0 = nobody asked. */
extern uint64_t worker_log_limit(uint64_t asked, uint64_t disk);

/* The limit of memory that a percentage of all there is makes: whole MiB. */
extern uint64_t worker_memory_share(uint64_t whole, uint32_t percent);

/* Certificates may have changed: read them again, and have everybody come anew. */
extern void worker_reload(void *worker);

#endif							/* WORKER_H */
