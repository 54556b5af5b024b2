/*-------------------------------------------------------------------------
 *
 * shard.h
 *	  Private to worker: one shard, its state machine and its files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SHARD_H
#define WORKER_SHARD_H

#include <pthread.h>
#include <stdatomic.h>

#include "hints.h"
#include "hot.h"
#include "idset.h"
#include "notice.h"
#include "records.h"
#include "replica/replica.h"
#include "sessions.h"
#include "wire/wire.h"

/* A raise of the fence that replay may still have to look back at. */
typedef struct FenceRaise
{
	uint64_t	index;			/* of the log entry */
	uint64_t	fence;
} FenceRaise;

/*
 * What apply decides by, beside the rows (rules.c); but for the fence digests.  Who
 * changes what is in one raises the version: only those of the same one are compared.
 */
#define SHARD_RULES_VERSION 2

/* A bulk load has ended where an older version applied it: before all that is still to come. */
#define LOAD_OVER_BEFORE 1

typedef struct ShardRules
{
	uint64_t	fence;			/* in force */
	uint64_t	sessions;
	uint64_t	interval;
	uint64_t	load;
	uint64_t	properties;
} ShardRules;

/* What a replica held when it was compared with others last; id 0 = never. */
typedef struct ShardVerified
{
	uint64_t	id;				/* of the comparison */
	uint64_t	index;
	uint64_t	rows;
	uint64_t	digest;			/* of the rows */
	ShardRules	rules;
	bool		damaged;		/* a row could not be read: there is no digest */
	int64_t		wall_us;		/* when */
} ShardVerified;

/*
 * A shard that was split off this one, at the end of its interval (split.c).  What
 * it got is frozen here from index on, and kept while it is owed: until the child
 * has its own.
 */
typedef struct ShardChild
{
	uint64_t	index;			/* of the SPLIT; where the child's log begins */
	bool		owed;
	bool		sessions;		/* as they were then lie frozen, too */
	uint64_t	fence;			/* in force at the split */
	WireShardDesc desc;			/* as it was founded, base_index included */
} ShardChild;

/* Ids that change while what a child is to have is copied before the split (heir.c). */
typedef struct ShardWatch ShardWatch;

/*
 * A shard.  rows and records may be replaced while it is open, when a snapshot
 * is installed: whoever uses them holds the shard (shard_hold), or only wants
 * figures (shard_figures).  Apply needs neither, it rests meanwhile.
 */
typedef struct Shard
{
	struct Shard *next;
	struct Shard *id_next;		/* in worker->by_id */
	atomic_uint stirred;		/* looks that have not been here since something happened: shard_stir() */
	atomic_uint *stirred_all;	/* and of all shards; NULL = nobody looks */
	WireShardDesc desc;			/* last and range_ver are the apply thread's: see range_ver */
	uint64_t	replica_id;

	/*
	 * The interval as it is in force.  Apply changes it, last first, then the version,
	 * and then lets go of records: who has read records and still finds the version
	 * it was asked for has seen all of the interval.
	 */
	atomic_uint_fast64_t last;
	atomic_uint range_ver;
	uint64_t	born_last;		/* before the first split */
	pthread_mutex_t children_lock;
	ShardChild *children;		/* in order of index, as of what is applied */
	size_t		nchildren;		/* of them, those whose batch is written: others may act on them */
	size_t		nsplit;			/* all */
	atomic_uint_fast64_t lent;	/* lend.c: the child whose records are still found here; 0 = none */
	ShardChild	loan;			/* it; this and the next two with children_lock */
	uint32_t	loan_before;	/* version of the interval of both */
	int64_t		loan_fresh_until_us;
	pthread_mutex_t loan_lock;	/* whoever ends it */
	atomic_uint campaigns;		/* of a child without a leader: how often it asked for votes, and when */
	int64_t		campaign_us;	/* it may again; splits.c */
	pthread_mutex_t watch_lock;	/* apply holds it from the first command of a batch until that is written */
	ShardWatch *watch;			/* NULL = nobody copies */
	atomic_uint_fast64_t prepared;	/* the child that this store is ready to make, or makes as it is */
	atomic_bool strays;			/* rows of others are on disk, or may be */
	Buf			purge;			/* where purging goes on; of the thread that does it */
	uint64_t	purged;			/* rows; its, too */
	void		(*on_split) (void *arg);	/* told when there is something to do, and it is on disk; NULL = nobody */
	void	   *on_split_arg;
	Store	   *rows;
	Records    *records;
	Replica    *replica;		/* NULL until the group is open */
	char	   *directory;		/* that its own lies in */
	bool		mapped;			/* vectors lie in a mapped file, where there are codes */

	/* Holding it */
	atomic_int	users;			/* requests, leases, threads that hold it */
	atomic_bool installing;		/* nobody new may */
	atomic_bool leaving;		/* about to be closed: no snapshot of it is sent */
	pthread_mutex_t gate_lock;	/* for the wait until nobody does */
	pthread_cond_t gate;
	void		(*quiesce) (void *arg, struct Shard *shard);	/* make holders let go */
	void	   *quiesce_arg;

	/* A snapshot on its way in; one chunk at a time (replica_stage) */
	Store	   *staged;
	uint64_t	staged_stream;
	uint32_t	staged_next;	/* chunk wanted */
	bool		staged_whole;
	int			staged_graph;	/* file of its graph; -1 = none came, or it could not be written */
	uint64_t	staged_graph_bytes;

	/*
	 * The highest log index of which anything was on disk at open.  Nothing is
	 * served before the log has been replayed beyond it; a log that ends below it
	 * has lost what was acknowledged.
	 */
	uint64_t	newest;
	atomic_bool whole;			/* that has happened */

	/* The apply thread's; fence is read by anyone */
	FenceRaise *raises;			/* in order of index */
	size_t		nraises;
	atomic_uint_fast64_t fence;
	atomic_uint_fast64_t lsn;	/* highest WAL position of any write applied */
	uint64_t	applied;
	atomic_bool ingesting;
	uint64_t	load_over;		/* index of the first end of a bulk load, or LOAD_OVER_BEFORE; 0 = none has ended */
	Sessions   *sessions;
	int64_t		watched_us;		/* logtime.c; the house thread's */
	uint64_t	watched_term;	/* 0 = somebody else watches */
	ShardNotice notice;
	uint64_t	verify;			/* the command at hand asks for a comparison of this id; 0 = no */

	/*
	 * All rows, pinned at the index of a WRITE_VERIFY with this id; the callee closes
	 * the iterator (verify.c).  NULL = nobody compares
	 */
	void		(*on_verify) (void *arg, struct Shard *shard, StoreIter *rows, uint64_t id, uint64_t index);
	void	   *on_verify_arg;
	pthread_mutex_t verified_lock;	/* of verified */
	ShardVerified verified;
	atomic_bool aside;			/* it is never to be opened again */
	atomic_bool suspect;		/* something of it could not be read; until it is compared and is well */
	int64_t		ask_us;			/* PD is asked for that, not before; the house thread's */

	/* Taking vectors into the graph */
	void		(*on_waiting) (void *arg);	/* told after puts; NULL = nobody */
	void		(*on_told) (void *arg);	/* after hints have come, where nobody may be waited for; NULL = nobody */
	void	   *on_waiting_arg;	/* of both */
	atomic_uint_fast64_t backlog;	/* of the waiting: no writer's, see hot.h */
	HotPrices	prices;
	Hints	   *hints;			/* between the replicas, of linking; the worker's.  NULL: nobody gives any */

	/* The file of the graph */
	pthread_mutex_t graph_lock; /* whoever writes it */
	atomic_bool disk_low;		/* it is not the time to */
	atomic_uint_fast64_t saved_changes;	/* records_changes() that are in it */
	atomic_uint_fast64_t seen_changes;	/* when it was last looked at */
	int64_t		save_not_before_us;
	int64_t		flush_until_us; /* a checkpoint was asked for, since memtables take too much; worker->lock */

	/* What looks saw last; worker->lock */
	uint64_t	counted_bytes;	/* of memory, in worker->counted_bytes */
	uint64_t	digest;			/* of its row (status.c), as it was said; 0 = not yet */

	/* Law S2 */
	pthread_mutex_t checkpoint_lock;	/* guards applied for the io thread */
	pthread_mutex_t files_lock; /* of these three; not held while files are worked on */
	pthread_cond_t files_free;
	enum
	{
		FILES_FREE,
		FILES_CHECKPOINT,
		FILES_INSTALL			/* until the new state is loaded */
	}			files;
	uint64_t	installing_at;	/* where the snapshot stands that is being installed */
	pthread_mutex_t content_lock;	/* guards records and rows for shard_figures() */
} Shard;

/*
 * Make a shard's directory and write its descriptor and the id of the replica
 * it is, durably.  Doing it again with the same is fine; with others it is
 * VT_EXISTS.
 */
static inline WireElement
shard_element(const WireShardDesc *desc)
{
	return desc->element ? (WireElement) desc->element : WIRE_FLOAT32;
}

extern VtStatus shard_create(const char *directory, const WireShardDesc *desc, uint64_t replica,
							 VtError *err);

/*
 * Open a shard that was created: rows are loaded into memory.  *replay is
 * where its log has to be replayed from (law S2).
 */
extern VtStatus shard_open(const char *directory, uint64_t id, bool mapped, Shard **out,
						   uint64_t *replay, VtError *err);

/*
 * The same of one whose rows are open, and are the shard's from here on, or closed.  So
 * are records, unless they are NULL: what the rows hold, no more and no less, with no index beyond
 * that of its base.
 */
extern VtStatus shard_open_with(const char *directory, Store *rows, Records *records, bool mapped, Shard **out,
								uint64_t *replay, VtError *err);
extern void shard_close(Shard *shard);

/* Use rows and records until released; false while a snapshot is installed. */
extern bool shard_hold(Shard *shard);
extern void shard_release(Shard *shard);

typedef struct ShardFigures
{
	uint64_t	records;
	uint64_t	waiting;		/* not in the graph yet */
	uint64_t	bytes;			/* of memory for records, */
	uint64_t	tables;			/* and for what is not in its tables yet */
	uint64_t	changes;		/* records_changes() */
} ShardFigures;

extern ShardFigures shard_figures(Shard *shard);

/*
 * Thousands of shards rest.  Who looks at all of them again and again for something to do looks
 * only at those where something has happened since it was there, and at none while nothing has.
 */
typedef enum ShardLook
{
	LOOK_MEMORY = 1,			/* room.c */
	LOOK_TOLD = 2,				/* the placement driver is told: status.c */
	LOOK_SESSIONS = 4,			/* logtime.c */
	LOOK_SPLITS = 8,			/* splits.c */
	LOOK_NOTICES = 16,			/* notice.c */
	LOOK_DAMAGE = 32,			/* house.c */
	LOOK_GRAPH = 64,			/* is it to be saved? saver.c */
	LOOK_WAITING = 128,			/* vectors to be linked: indexer.c */
	LOOK_MEND = 256,			/* its graph, its sets, what is known of its searches: the same */
	LOOK_ALL = 511
} ShardLook;

/*
 * Whatever is seen of the shard from outside (its figures, its replica's status and members,
 * children, what searches have cost) may be different: after that was changed, on any thread, with any lock held.
 */
extern void shard_stir(void *shard);

/* The same for one of the looks, which is to come again. */
extern void shard_stir_for(Shard *shard, ShardLook look);

/* Has anything happened since?  A look's own: before it reads what it looks at. */
extern bool shard_take_stir(Shard *shard, ShardLook look);

/* Is this the version of the interval that holds?  After what was read under it. */
extern bool shard_route_holds(const Shard *shard, uint32_t range_ver);

/*
 * For which interval a search is answered: that in force, or one that is lent
 * (lend.c).  asked: the index that was asked for before the records were read.
 */
typedef struct ShardSpan
{
	uint64_t	shard;
	uint64_t	incarnation;
	uint32_t	range_ver;
	uint64_t	first;
	uint64_t	last;
	uint64_t	lent;			/* index of the split that lends it; 0 = it is in force */
	uint64_t	base;			/* of a child: where it stands, and its fence; else 0 */
	uint64_t	fence;
	bool		old;			/* it was lent a while ago: not for who may be answered of any age */
} ShardSpan;

/* Of the shard with that id, by a route of that version; false: neither is here. */
extern bool shard_view(Shard *shard, uint64_t id, uint32_t range_ver, ShardSpan *out);

/* After the records were read: have all of the interval been there? */
extern bool shard_view_holds(Shard *shard, const ShardSpan *view, uint64_t asked);

/* The child with this id; false: there is none, or its entry is not applied here. */
extern bool shard_find_child(Shard *shard, uint64_t child, ShardChild *out);

extern ReplicaMachine shard_machine(Shard *shard);

/*
 * Of a shard that is not open: its life is to be this one from now on, durably; one
 * that is there already stays.  VT_NOT_FOUND: it is not here as this replica.
 */
extern VtStatus shard_raise_life(const char *directory, uint64_t id, uint64_t replica, uint64_t life, VtError *err);

/*
 * Shards begin in life 1.  One that was recovered after the loss of its majority is in
 * a later one, and serves no gateway: law W7, a store that went back in time.
 */
static inline bool
shard_went_back(const WireShardDesc *desc)
{
	return desc->incarnation != 1;
}
#define SHARD_WENT_BACK_WORDS "recovered by force after a lost majority: acknowledged writes may be missing"

/* Mark it as one that no start opens, durably. */
extern VtStatus shard_mark_aside(Shard *shard, VtError *err);

/* Something of it was read and is damaged, if status says so: it is to be compared with the others. */
extern void shard_note_damage(Shard *shard, VtStatus status, const VtError *err);
#define SHARD_ASIDE_WORDS "it differed from the other replicas of its shard"

/* What the state machine says to a decoded command at this index; pure. */
typedef struct Verdict
{
	VtStatus	status;
	uint64_t	fence;			/* in force at this index */
	bool		repeated;		/* VT_OK, but it was done before: */
	SessionDone done;
} Verdict;

/* -- shard.c, shard_load.c and transfer.c share these ----------------------- */

extern void shard_path(char *out, size_t size, const char *directory, uint64_t id);
extern VtStatus shard_sync_directory(const char *directory, VtError *err);

/* Whose rows these are, and which replica's; VT_NOT_FOUND: those of an unfinished shard. */
extern VtStatus shard_read_descriptor(Store *rows, WireShardDesc *out, VtError *err);
extern VtStatus shard_read_replica(Store *rows, uint64_t *out, VtError *err);

/* The last checkpoint: where it stands, and in which boot it was made.  VT_NOT_FOUND: there is none. */
extern VtStatus shard_read_marker(Store *rows, uint64_t *index, VtId *boot, VtError *err);

/* Read everything from shard->rows; see shard_open(). */
extern VtStatus shard_load(Shard *shard, uint64_t *replay, VtError *err);

/* Each key that is left, or those with this first letter, in order, until take() says something else than VT_OK. */
typedef VtStatus (*ShardTake) (void *arg, Bytes key, Bytes value, VtError *err);

extern VtStatus shard_each(StoreIter *iter, ShardTake take, void *arg, VtError *err);
extern VtStatus shard_each_of(Store *rows, char letter, ShardTake take, void *arg, VtError *err);

/* VT_CORRUPT: it is none. */
extern VtStatus shard_read_raise(Bytes key, Bytes value, FenceRaise *out, VtError *err);

/* A row of a shard with this descriptor, or VT_CORRUPT; and what its records are to be like. */
extern VtStatus shard_read_row(const WireShardDesc *desc, Bytes value, StoreRow *row, VtError *err);
extern RecordsOptions shard_records_options(const WireShardDesc *desc);

/* The marker of law S2 at index, and with it the applied index, that or a higher one; synced. */
extern VtStatus shard_write_marker(Store *rows, StoreBatch *batch, uint64_t index, uint64_t applied, VtError *err);

extern VtStatus shard_open_rows(const char *directory, uint64_t id, Store **out, VtError *err);
extern VtStatus shard_checkpoint(void *shard, uint64_t *index, VtError *err);

/* Bytes may be written now?  False: give up. */
typedef bool (*ShardPace) (void *arg, size_t bytes);

/* -- split.c: a shard becomes two ---------------------------------------------- */

/* Is this id in the interval in force?  The apply thread's, and of who loads. */
extern bool shard_owns(const Shard *shard, Bytes id);

/* The children whose entries are applied by now: the interval is what they left. */
extern VtStatus shard_load_children(Shard *shard, uint64_t applied, VtError *err);

/* Are these of one collection, whose rows, vectors and columns are read alike? */
extern bool shard_is_of_kind(const WireShardDesc *a, const WireShardDesc *b);

/* May this be split off at this moment? */
extern bool shard_split_fits(const Shard *shard, const WireShardDesc *child);
extern void shard_split(Shard *shard, StoreBatch *batch, const WireWrite *write, uint64_t index, uint64_t fence);

/* Records of a child are found until the loan is ended, on any thread that holds the shard. */
extern void loan_begin(Shard *shard, const ShardChild *child, uint32_t before);
extern void loan_end(Shard *shard);
extern bool loan_is_none(Shard *shard, uint64_t *records);
extern bool loan_of(Shard *shard, ShardChild *out); /* false: there is none */

/*
 * What a walk for that interval is to keep, where it would keep k hits and ef candidates in a
 * graph of its own: it passes by what else is in the graph as long as that is lent.  So it keeps
 * more, by the part of the graph's hashes that the interval is: hits by that part, and candidates by its
 * root, which is what the client's rule would have given this graph (docs/decisions/0015).
 */
extern void loan_keep(Shard *shard, const ShardSpan *view, uint32_t *k, uint32_t *ef);

/* The batches of what was applied are written: its children may be made. */
extern void shard_tell_children(Shard *shard);

/* The i-th child; false: there are not so many, on disk. */
extern bool shard_child(Shard *shard, size_t i, ShardChild *out);

/* Those that are owed what a shard has that is not open; the caller frees them, whatever comes back. */
extern VtStatus shard_owed_children(const char *directory, uint64_t id, ShardChild **out, size_t *n, VtError *err);

/* -- heir.c: a child's rows ---------------------------------------------------- */

/*
 * Making a child's rows in directory, from those that are frozen here: begin, copy
 * until done, end; then it may be founded, at the index of the split.  begin
 * removes what an earlier attempt left, so it is for a child that has no group in
 * this store, and never had.  Between any two steps it may be dropped, or a crash
 * may come.  VT_BUSY: a snapshot takes the parent's place; begin again later.
 *
 * Most of it can be done before the split: prepare instead of begin, with what the child
 * is to be like, and copy; succeed when the split is applied, and copy until
 * done once more.  In between it can rest, when all was copied once, and go on: only then does
 * nobody wait for the shard to be let go of.  VT_GONE: what was prepared is of no use any
 * more.  VT_EXISTS: the split was applied.
 */
typedef struct Heir Heir;
extern VtStatus heir_begin(Shard *shard, const ShardChild *child, const char *directory, uint64_t replica,
						   Heir **out, VtError *err);
extern VtStatus heir_prepare(Shard *shard, const WireShardDesc *child, const char *directory, Heir **out,
							 VtError *err);
extern void heir_rest(Heir *heir);
extern VtStatus heir_go_on(Heir *heir, Shard *shard, VtError *err);
extern VtStatus heir_succeed(Heir *heir, Shard *shard, const ShardChild *child, uint64_t replica, VtError *err);
extern VtStatus heir_copy(Heir *heir, size_t bytes, bool *done, VtError *err);
extern uint64_t heir_left(Heir *heir);	/* ids to be copied again; UINT64_MAX = not all were copied once */

/* What was copied is durable, and there is less to do at the end. */
extern VtStatus heir_flush(Heir *heir, VtError *err);

/* The parent's graph for the child, as far as it goes: a file in its directory; pace is asked between blocks. */
extern void heir_graph(Heir *heir, ShardPace pace, void *arg);

/*
 * What was copied, into memory, and kept as the rows are from then on; mapped as in shard_open(), pace
 * is asked between rows.  Then mend takes what is new into the graph and goes around what is dead,
 * a little at a time; false: nothing is left to do.
 */
extern VtStatus heir_load(Heir *heir, bool mapped, ShardPace pace, void *arg, VtError *err);
extern bool heir_mend(Heir *heir);
extern uint64_t heir_bytes(const Heir *heir);	/* of memory, also while it loads */
extern VtStatus heir_end(Heir *heir, VtError *err);
extern Store *heir_take(Heir *heir, Records **records);	/* after end: for shard_open_with(); NULL: it did not load */
extern void heir_drop(Heir *heir);	/* after end, too */

/* The apply thread's, of each id that a command changes, with watch_lock; and nobody copies any more, without it. */
extern void watch_note(Shard *shard, Bytes id);
extern void watch_end(Shard *shard);

/*
 * The child stands on its own in as many stores as it needs: what is kept for it
 * here is owed no longer.  VT_BUSY: a snapshot is being installed.  Then purge takes what is not of the interval from the
 * disk, so many rows at a time; more: it goes on from there.
 */
extern VtStatus shard_settle(Shard *shard, uint64_t child, VtError *err);
extern VtStatus shard_purge(Shard *shard, size_t rows, bool *more, VtError *err);

/* -- graph.c: the file of a shard's graph ------------------------------------ */


/* Write the graph into its file; the shard is held. */
extern VtStatus shard_save_graph(Shard *shard, ShardPace pace, void *arg, VtError *err);

/* Records to be claimed (records_load); false: there is no file that can be used. */
extern bool shard_load_graph(Shard *shard, const RecordsOptions *options, Records **out);

/* The part of it that a child is to have, into the child's directory; the shard is held. */
extern VtStatus shard_bequeath_graph(Shard *shard, const WireShardDesc *child, const char *path, ShardPace pace,
									 void *arg, VtError *err);

/* Records to be claimed by the rows of that child, as shard_load_graph(). */
extern bool shard_load_bequeathed(const WireShardDesc *child, const char *directory, const RecordsOptions *options,
								  Records **out);

/* Is its graph worth sending? */
extern bool shard_sends_graph(Shard *shard);

/*
 * A descriptor of the file as it is to be sent, not much older than the records; it is
 * written first where it must be.  -1: there is none.  The shard is held.
 */
extern int	shard_open_graph(Shard *shard, ShardPace pace, void *arg);

/* A descriptor to write one that was sent into a shard's directory; -1: see errno. */
extern int	shard_make_graph(const char *directory);

/* Remove what graph.c has put into a shard's directory, if that is there. */
extern VtStatus shard_remove_graph(const char *path, VtError *err);

/* -- transfer.c, install.c: snapshots to and from peers ------------------------ */

extern VtStatus shard_snapshot_open(void *shard, void **stream, uint64_t *index, VtError *err);
extern VtStatus shard_snapshot_read(void *stream, size_t bytes, Buf *out, bool *last, VtError *err);
extern void shard_snapshot_close(void *stream);
extern VtStatus shard_stage(void *shard, const WireChunk *chunk, uint32_t *next, VtError *err);
extern VtStatus shard_unstage(void *shard, VtError *err);

/* Where a stream is staged; a directory of rows, if it is there, goes. */
extern void shard_staged_path(char *out, size_t size, const char *directory, uint64_t id, uint64_t stream);
extern VtStatus shard_remove_store(const char *path, VtError *err);

extern VtStatus shard_install(void *shard, uint64_t stream, uint64_t index, VtError *err);
extern VtStatus shard_load_installed(void *shard, uint64_t index, VtError *err);

/*
 * Before a shard is opened: if the base of its log is a snapshot that was staged
 * and not yet put in place, do that; remove what else was staged, a part of one that
 * is in place included.  stream 0: the base is no snapshot of a peer's.  index: where it
 * stands.  VT_CORRUPT: neither what is staged nor what is in place is it; both stay.
 */
extern VtStatus shard_finish_install(const char *directory, uint64_t id, uint64_t stream, uint64_t index,
									 VtError *err);

extern Verdict shard_decide(const Shard *shard, const WireWrite *write, uint64_t index);

/* Have its records vectors?  Where they have none a graph's file would spare no work. */
static inline bool
shard_has_graph(const Shard *shard)
{
	return shard->desc.dim > 0;
}

/* Have all records of a put vectors as those of the shard, or none? */
extern bool shard_vectors_fit(const Shard *shard, const WireWrite *write);

/* Have all records of a put the attributes that the collection declares? */
extern bool shard_attributes_fit(const Shard *shard, const WireWrite *write);

/* apply.c; for shard_machine and for tests */
extern VtStatus shard_apply(void *shard, ReplicaCommand *commands, size_t n, uint64_t applied,
							VtError *err);

#endif							/* WORKER_SHARD_H */
