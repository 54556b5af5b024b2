/*-------------------------------------------------------------------------
 *
 * service.h
 *	  Private to pd: what service.c, drop.c, members.c and report.c share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_SERVICE_H
#define PD_SERVICE_H

#include <jansson.h>

#include "catalog.h"
#include "pd.h"

/* A question, in the queue or parked. */
typedef struct Question
{
	struct Question *next;
	NetConn    *conn;
	uint64_t	request;
	json_t	   *body;
	int64_t		until_us;		/* parked: answer by then */
} Question;

/* What heartbeats say of a shard; not in the log. */
typedef struct Report
{
	uint64_t	shard;
	uint64_t	store;
	uint64_t	term;
	uint64_t	applied;
	uint64_t	records;
	uint64_t	unindexed;
	uint64_t	bytes;
	bool		leader;
	int64_t		at_us;
} Report;

/* What heartbeats say of a store; not in the log. */
typedef struct Beat
{
	uint64_t	store;
	int64_t		at_us;
	uint64_t	disk_free;
	uint64_t	memory;
	bool		disk_short;		/* it will soon refuse new data */
	char		version[32];
} Beat;

struct Pd
{
	Catalog    *catalog;
	ReplicaHost *host;
	Replica    *replica;
	NetServer  *server;
	int64_t		started_us;
	int64_t		keep_dropped_us;

	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t ready;
	Question   *queue;
	Question  **queue_end;
	size_t		queued;
	bool		stopping;

	/* The service thread's */
	Question   *parked;
	Report	   *reports;
	size_t		nreports;
	Beat	   *beats;
	size_t		nbeats;
	int64_t		drops_due_us;	/* next look for what is to be deleted */
};

/* members.c: reading questions, making answers */
extern void question_free(Question *q);

/* Send body (taken; NULL = none) with a status; frees the question. */
extern void answer(Question *q, VtStatus status, json_t *body, const char *message);
extern void refuse(Question *q, VtStatus status, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* False: missing or malformed. */
extern bool get_u64(json_t *body, const char *name, uint64_t *out);
extern bool get_int(json_t *body, const char *name, int64_t low, int64_t high, int64_t *out);
extern bool get_id(json_t *body, const char *name, VtId *out);	/* "" is the zero id */
extern bool get_owner(json_t *body, WireOwner *out);

extern json_t *json_u64(uint64_t v);
extern json_t *json_id(const VtId *id);
extern json_t *json_owner(const WireOwner *owner);
extern json_t *json_desc(const WireShardDesc *desc);

/* service.c */
extern VtStatus commit(Pd *pd, const Buf *command);
extern CatalogShard *find_shard(Pd *pd, uint64_t id, CatalogCollection **collection);
extern Beat *beat_of(Pd *pd, uint64_t store);
extern bool store_is_up(Pd *pd, uint64_t store);
extern Report *report_of(Pd *pd, uint64_t shard);
extern bool collection_is_up(const CatalogCollection *c);

/* drop.c */
extern void op_drop(Pd *pd, Question *q, CollectionState to);
extern void op_owned(Pd *pd, Question *q);
extern void op_unused(Pd *pd, Question *q);
extern VtStatus drops_take(Pd *pd, uint64_t store, json_t *dropped);
extern void drops_look(Pd *pd);

/* report.c */
extern void op_collections(Pd *pd, Question *q);
extern void op_workers(Pd *pd, Question *q);
extern void op_shards(Pd *pd, Question *q);
extern void op_status(Pd *pd, Question *q);

#endif							/* PD_SERVICE_H */
