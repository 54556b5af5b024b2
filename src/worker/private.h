/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of worker share.
 *
 * Locks: worker->lock guards the list of shards, the lease table and the queues;
 * it is held for a moment and never together with another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_PRIVATE_H
#define WORKER_PRIVATE_H

#include "indexer.h"
#include "net/net.h"
#include "saver.h"
#include "scan.h"
#include "shard.h"
#include "stats.h"
#include "verify.h"
#include "waiting.h"
#include "worker.h"

#define WORKER_VERSION "1.0"

struct Request;

/* What to do with a request when this replica has applied index. */
typedef void (*RequestThen) (struct Request *request, uint64_t index);

/* A request on its way through the service threads. */
typedef struct Request
{
	struct Request *next;
	NetConn    *conn;
	WireType	type;
	uint64_t	request;
	Buf			payload;
	int64_t		received_us;
	int64_t		until_us;		/* its deadline */
	uint64_t	asked;			/* the shard that its route names: this one, or what is lent of it */
	uint32_t	range_ver;		/* of its route, which held when it was let in */
	ShardSpan	view;			/* ... for this interval */
	uint64_t	arrival;		/* where it waits: how many came before */
	uint32_t	lane;			/* of its collection, there */
	int64_t		added_us;		/* since when it is there */
	int64_t		foreseen_us;	/* what threads had to do before it then */
	bool		waited;			/* it was there */
	bool		closes;			/* it only lets go of a lease, and is in no count */

	/* A search of many queries (many.c) */
	uint32_t	more;			/* so many wait with it, besides one */
	uint32_t	places;			/* it has of those of its connection; 0 = it closes, and needs none */
	int64_t		after_us;		/* and have their turn as if their time were over so much later */
	struct Many *many;			/* they are being served, one by one; NULL = not yet */

	/* Read with it from the same connection: they wait as one, and are served one after the other */
	struct Request *mates;
	Buf		   *out;			/* its reply goes there; NULL = to the connection, at once */
	size_t		counted;		/* bytes in worker->request_bytes */
	struct Worker *worker;
	Shard	   *shard;			/* held (users) while not NULL */

	/* It waited for an index and goes on; NULL = it is new */
	RequestThen then;
	uint64_t	index;
} Request;

typedef struct RequestQueue
{
	Request    *first;
	Request   **end;
} RequestQueue;

typedef struct Intake Intake;

/* Something to do with a whole shard (chores.c). */
typedef enum ChoreKind
{
	CHORE_CREATE,
	CHORE_OPEN,
	CHORE_CLOSE,
	CHORE_DROP,
	CHORE_CHILD,				/* make a shard that was split off one here */
	CHORE_SETTLE,				/* a child is owed no longer */
	CHORE_PURGE,				/* rows that a split has left */
	CHORE_ASIDE,
	CHORE_RECOVER				/* its majority is lost (recover.c) */
} ChoreKind;

typedef struct Chore
{
	struct Chore *next;
	ChoreKind	kind;
	uint64_t	shard;
	uint64_t	replica;
	WireShardDesc desc;			/* CREATE, CHILD */
	uint64_t	other;			/* CHILD: the parent; SETTLE: the child; RECOVER: the life */
	RaftConf	members;		/* RECOVER: in which replica alone votes; n 0 = not this one */
	bool		found;			/* CREATE: with the replicas in desc */
	bool		whole;			/* DROP: the collection is deleted */
} Chore;

/* A shard that is here but damaged (broken.c). */
typedef struct Broken
{
	struct Broken *next;
	uint64_t	shard;
	uint64_t	replica;		/* 0 = that is not known any more */
	VtError		err;
} Broken;

/* State a client comes back to: a scan or a listing of one shard. */
typedef struct Lease
{
	struct Lease *next;
	uint64_t	id;
	uint64_t	conn;			/* connection it belongs to */
	uint64_t	request;		/* that used it last */
	Shard	   *shard;			/* held */
	int64_t		used_us;
	bool		busy;			/* a thread works with it */
	atomic_bool condemned;		/* free it when the thread is done; a search stops */
	int64_t		until_us;		/* so does it then */

	RecordScan *scan;			/* a search */
	size_t		bytes;			/* of memory that it holds between requests; worker->lock */
	uint64_t	told_distances; /* to the client, so far */
	uint64_t	told_hops;
	StoreIter  *iter;			/* a listing */
	uint32_t	list_flags;		/* LIST_*, as it began */
	uint64_t	listed;
	uint64_t	applied;
} Lease;

/* What memory goes for (room.c). */
typedef enum MemoryKind
{
	MEMORY_RECORDS,				/* vectors, links, codes, ids, columns, sets: what stays */
	MEMORY_SHARDS,				/* what each has besides; so do these */
	MEMORY_TABLES,				/* LevelDB's memtables */
	MEMORY_LOG,					/* entries of Raft logs, and messages of peers */
	MEMORY_SCANS,				/* that clients may come back to */
	MEMORY_SNAPSHOTS,			/* chunks that come or go */
	MEMORY_REQUESTS				/* that wait, or are being served */
} MemoryKind;

#define MEMORY_KINDS 7

extern const char *const memory_names[MEMORY_KINDS];

typedef enum MemoryRoom
{
	MEMORY_ENOUGH,
	MEMORY_BUSY,				/* it will have gone down soon */
	MEMORY_FULL
} MemoryRoom;

/* How much of each may be at a limit for all; 0 = there is none. */
typedef struct MemoryBounds
{
	uint64_t	tables;			/* memtables of shards */
	uint64_t	log_tables;		/* of the Raft log */
	uint64_t	log;			/* entries that peers may need, and as much of proposals */
	uint64_t	scans;
} MemoryBounds;

struct Worker
{
	WorkerOptions options;
	uint64_t	store_id;
	VtId		cluster;
	Store	   *log;
	ReplicaHost *host;
	NetServer  *server;
	NetServer  *exposed;		/* the second endpoint's; NULL = none */
	char	   *shards_path;
	int64_t		started_us;

	pthread_mutex_t lock;
	Shard	   *shards;
	Shard	  **by_id;			/* the same: hash chains */
	size_t		nchains;		/* a power of two */
	size_t		nshards;
	uint64_t	counted_bytes;	/* of memory for their records, and */
	uint64_t	digests;		/* sum of those of their rows (status.c), as last seen */
	Shard	   *leaving;		/* being closed: found by nobody, held by some still */
	Lease	   *leases;
	Lease	   *dead_leases;	/* unlinked; the house thread frees them */
	uint64_t	lease_ids;
	size_t		nleases;		/* that rest: nobody works with them */
	size_t		lease_bytes;
	RequestQueue door;			/* short requests */
	size_t		at_door;
	WaitingList searches;
	uint32_t	searching;		/* threads that serve long requests */
	uint64_t	expired;		/* whose time was over before a thread was free */
	uint64_t	turned_away;	/* for want of room */
	int64_t		overran_us;		/* the longest that one kept a thread beyond its deadline */
	uint64_t	forgotten;		/* cancelled when a thread was about to begin */
	bool		stopping;

	ReplicaLinks *links;		/* to other workers */
	_Atomic uint32_t level;		/* that the cluster works at, as last heard; written by the same thread */
	uint64_t	peers_version;	/* of PD's list of them; the house thread's */
	int64_t		notices_us;		/* when they were looked for last; the same */
	int64_t		aside_us;		/* when what is set aside was tried to be closed; the same */
	int64_t		hurry_until_us; /* heartbeats are not held: PD waits for what comes of a task; the same */

	pthread_t  *pool;
	uint32_t	npool;
	Indexer    *indexer;
	Saver	   *saver;			/* NULL: graphs are not saved */
	Verifier   *verifier;
	Intake	   *intake;
	pthread_t	house;
	int			wake_fd;		/* eventfd: stop the house thread's wait */

	/* With lock: shards dropped since PD was last told, and such as are damaged */
	uint64_t   *dropped;
	size_t		ndropped;
	Broken	   *broken;

	/* Looks that have not been here since something happened to a shard: shards.c */
	atomic_uint stirred;
	int64_t		stir_us;		/* when all are looked at again; the house thread's */
	int64_t		logtime_us;		/* when log time is due in some shard; the same */

	/* With lock: of each kind, those that take long and others, the first is being done */
	Chore	   *chores;
	pthread_cond_t chores_ready;
	bool		chores_stop;
	pthread_t	chores_threads[2];
	struct Heirs *heirs;
	bool		splits;			/* with lock: shards are to be looked at for what splits left to do, */
	int64_t		splits_us;		/* or then; 0: only when told */
	int			chore_fd;		/* eventfd: one is done */

	/* What worker_look() saw, and bytes let in since, for admission */
	pthread_mutex_t look_lock;	/* of who looks: before lock */
	atomic_uint_fast64_t admitted;
	atomic_bool disk_low;
	atomic_uint room;			/* MemoryRoom */
	atomic_uint_fast64_t memory;
	atomic_uint_fast64_t memory_of[MEMORY_KINDS];
	atomic_uint_fast64_t request_bytes; /* payloads of requests */
	atomic_int_fast64_t searched_us;	/* when a search was answered last */
	atomic_uint_fast64_t foreign;	/* frames from peers that spoke for another store */
	WorkerStats stats;
};

/* shards.c; add, remove and find with worker->lock held, and find holds nothing */
extern void shards_add(Worker *worker, Shard *shard);
extern void shards_remove(Worker *worker, Shard *shard);
extern Shard *shards_find(Worker *worker, uint64_t id);
extern bool shards_take_stir(Worker *worker, ShardLook look);	/* may some shard have something for it? */
extern void shards_stir_all(Worker *worker);	/* now and then */
extern Shard *worker_find_shard(Worker *worker, uint64_t id);	/* held */
extern Shard *worker_find_lender(Worker *worker, uint64_t child);	/* held: the child's records are lent there */

/* worker.c */
extern bool worker_has_group(Worker *worker, uint64_t id);
extern void worker_free_shard(Shard *shard);
extern VtStatus worker_open_shard(Worker *worker, uint64_t id, VtError *err);
extern VtStatus worker_open_with(Worker *worker, uint64_t id, Store *rows, Records *records, VtError *err);	/* takes both */
extern RaftConf worker_founders_of(const WireShardDesc *desc);
/* found: with the replicas in desc; else the group exists and will be heard from. */
extern VtStatus worker_create_shard(Worker *worker, const WireShardDesc *desc, uint64_t replica,
									bool found, VtError *err);

/* opening.c: before anybody is served */
extern VtStatus worker_open_all(Worker *worker, VtError *err);

/* drop.c */
extern VtStatus worker_close_shard(Worker *worker, uint64_t id, uint64_t replica, VtError *err);
extern VtStatus worker_hide_shard(Worker *worker, uint64_t id, uint64_t replica, VtError *err);
extern VtStatus worker_reopen_shard(Worker *worker, uint64_t id, VtError *err);
extern VtStatus worker_drop_shard(Worker *worker, uint64_t id, uint64_t replica, bool whole, VtError *err);
extern VtStatus worker_finish_drops(Worker *worker, VtError *err);

/* hidden.c: to forget one that is not is fine */
extern void hidden_note(Worker *worker, uint64_t shard);
extern VtStatus hidden_find(Worker *worker, uint64_t shard, bool *hidden, VtError *err);
extern VtStatus hidden_forget(Worker *worker, uint64_t shard, VtError *err);
extern VtStatus hidden_prune(Worker *worker, VtError *err); /* marks of shards that are not here */

/* pool.c */
extern void pool_start(Worker *worker);
extern void pool_stop(Worker *worker);
extern void pool_put(Worker *worker, Request *request);

/* What service threads have to do, for answers and the status. */
typedef struct PoolFigures
{
	uint32_t	waiting;		/* long requests for a thread */
	uint32_t	at_door;		/* short ones */
	uint32_t	searching;
	int64_t		service_us;
	uint64_t	expired;
	uint64_t	turned_away;
	int64_t		overran_us;
	uint64_t	forgotten;
} PoolFigures;

extern PoolFigures pool_figures(Worker *worker);
extern void pool_take_frame(void *worker, NetConn *conn, const WireHeader *header, Buf *payload);

/* The same in a callback of a server that is not polled. */
extern void pool_take_exposed(void *worker, NetConn *conn, const WireHeader *header, Buf *payload);
extern void request_free(Request *request);

/* many.c: what it has of the request; nothing is fine. */
extern void many_free(Request *request);
extern void request_queue_add(RequestQueue *queue, Request *request);
extern Request *request_queue_take(RequestQueue *queue);	/* NULL = it is empty */

/* intake.c: chunks of snapshots; put never waits, and is told of them in order */
extern Intake *intake_start(Worker *worker);
extern void intake_put(Intake *intake, Request *request);
extern size_t intake_bytes(Intake *intake);	/* that wait */

/* Snapshots that are coming in; slots that are free are zero. */
#define INCOMING_MAX 4

typedef struct Incoming
{
	uint64_t	shard;
	uint64_t	stream;
	int64_t		heard_us;
} Incoming;

/*
 * May a chunk of this stream be taken?  *evicted: a shard whose stream had to give way,
 * since nothing of it came for long; 0 = none.
 */
extern bool incoming_take(Incoming *incoming, uint64_t shard, uint64_t stream, int64_t now_us, uint64_t *evicted);
extern void incoming_end(Incoming *incoming, uint64_t shard);
extern void intake_stop(Intake *intake);

/* serve.c */
extern void serve(Worker *worker, Request *request);

/*
 * May the shard be asked?  Not before its log has been replayed (VT_BUSY), and never if
 * the log ends before what its rows have seen (VT_CORRUPT): then acknowledged writes are
 * lost, and new ones would be taken for old.
 */
extern VtStatus shard_is_whole(Shard *shard);

/* lease.c */
extern Lease *lease_new(const Request *request);	/* busy */
extern Lease *lease_take(const Request *request, uint64_t id);
extern void lease_put_back(Worker *worker, Lease *lease, bool keep);
extern void lease_drop_shard(Worker *worker, const Shard *shard);
extern void lease_drop_conn(Worker *worker, uint64_t conn);
extern void lease_cancel(Worker *worker, uint64_t conn, uint64_t request);
extern void lease_expire(Worker *worker, int64_t now_us, bool all);
extern void lease_bury(Worker *worker);

/* task.c: what PD gives to do */
struct json_t;
extern void task_do(Worker *worker, const struct json_t *task);

/* chores.c */
extern VtStatus chores_start(Worker *worker, VtError *err);
extern void chores_stop(Worker *worker);
extern void chores_put(Worker *worker, const Chore *chore);
extern bool chores_wait(Worker *worker);	/* are there any? */

extern void chores_look(void *worker);	/* at what splits have left to do, soon */
extern void chores_split(void *worker);	/* ... of one that was applied just now; tells PD */
extern void chores_tell(Worker *worker);	/* PD, by a heartbeat */
extern bool chores_end(Worker *worker);	/* the worker stops: what takes long is given up */

/* splits.c: on the thread of long chores */
extern void splits_look(Worker *worker);
extern VtStatus splits_make_child(Worker *worker, const Chore *chore, VtError *err);
extern VtStatus splits_settle(Worker *worker, const Chore *chore, VtError *err);
extern VtStatus splits_purge(Worker *worker, const Chore *chore, VtError *err);

/* The replica of a child that is to live here, 0 = none is; is it here, or was it, and will never be again? */
extern uint64_t splits_own_replica(const Worker *worker, const WireShardDesc *child);
extern bool splits_was_made(Worker *worker, const WireShardDesc *child, uint64_t replica);

/* VT_BUSY: the parent is here and is to make it, or may be before long. */
extern VtStatus splits_may_begin_empty(Worker *worker, const WireShardDesc *desc, VtError *err);

/* The task split_shard: propose it, if it is the moment. */
extern VtStatus splits_propose(Worker *worker, const WireShardDesc *child, uint64_t conf_index,
							   ReplicaDone done, void *arg, VtError *err);

/*
 * heirs.c: rows of a child that is to come.  ask: they are to be copied, or kept up with;
 * take: what there is of them, without anybody else at work on it (NULL: nothing); forget: it
 * is of no use any more; founded: they are the child's.  clear: at a start, before shards are opened.
 */
typedef struct Heirs Heirs;
extern VtStatus heirs_clear(Worker *worker, VtError *err);
extern VtStatus heirs_start(Worker *worker, VtError *err);
extern void heirs_stop(Worker *worker);
extern void heirs_free(Worker *worker);	/* when nobody asks for its bytes any more */
extern void heirs_ask(Worker *worker, const WireShardDesc *child);
extern Heir *heirs_take(Worker *worker, uint64_t child);
extern void heirs_forget(Worker *worker, uint64_t child);
extern void heirs_founded(Worker *worker, uint64_t child);
extern uint64_t heirs_bytes(Worker *worker);	/* of memory */

/* recover.c: VT_BUSY: try again */
extern VtStatus worker_recover_shard(Worker *worker, const Chore *chore, VtError *err);

/* broken.c */
/* The shard could not be opened; false: not because of damage. */
extern bool broken_note(Worker *worker, uint64_t shard, VtStatus status, const VtError *err);
extern bool broken_has(Worker *worker, uint64_t shard);
extern void broken_forget(Worker *worker, uint64_t shard);
extern void broken_free(Worker *worker);

/*
 * driver.c: ask the placement driver; takes question.  NULL: nobody answered, or
 * the answer was a no (*status; logged once per cause).
 */
typedef struct Drivers Drivers;
extern Drivers *drivers_new(Worker *worker);
extern struct json_t *drivers_ask(Drivers *drivers, struct json_t *question, int wait_ms,
								  VtStatus *status);

/*
 * The same, with more members for who answered last alone: they go on from what it was told, and another one leads since
 * less long and knows nothing.  Takes more, too (NULL = none); *told: it was sent them, heard or not.
 */
extern struct json_t *drivers_tell(Drivers *drivers, struct json_t *question, struct json_t *more, int wait_ms,
								   bool *told, VtStatus *status);
extern void drivers_free(Drivers *drivers);

/* logtime.c: log time goes on in the shards that we lead; the house thread's */
extern void logtime_pass(Worker *worker);

/*
 * So much has passed since the step before: what log time is next, and that of the oldest use for
 * which a session lives on.  False: not worth an entry yet.
 */
extern bool logtime_step(uint64_t clock, uint64_t passed_ms, uint64_t life_ms, uint64_t *next, uint64_t *oldest);

/* house.c */
extern void *house_main(void *worker);
extern int	house_pause_ms(VtStatus last, int before_ms);	/* before PD is asked again */

/*
 * room.c: looking how much room there is; any thread.  The house thread looks, but it may be
 * waiting for PD while much comes in: so who takes data notes how much, whoever
 * leads its shard, and looks when that was enough.
 */
extern void worker_look(Worker *worker);
extern void worker_note_taken(Worker *worker, size_t bytes);	/* never waits */
extern void worker_look_if_due(Worker *worker);
extern MemoryBounds worker_memory_bounds(uint64_t limit);
extern MemoryRoom worker_memory_room(MemoryRoom was, uint64_t limit, uint64_t stays, uint64_t all);

/* May so much new data come in?  Deletes, raises and markers always may.  *words: why not. */
extern VtStatus worker_admit(Worker *worker, const Shard *shard, size_t bytes, const char **words);

/* May it make the log longer, by its leader's and its copies' apply?  VT_BUSY if not. */
extern VtStatus worker_admit_entry(Worker *worker, const Shard *shard, const char **words);

/* status.c */
/* The answer to a control question; free() it. */
extern char *status_answer_json(Worker *worker, Bytes question);
extern char *status_refusal_json(VtStatus status);

#endif							/* WORKER_PRIVATE_H */
