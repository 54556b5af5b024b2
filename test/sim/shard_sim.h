/*-------------------------------------------------------------------------
 *
 * shard_sim.h
 *	  Shards and PostgreSQL servers as guests of the simulated world.
 *
 * Groups of the world are shards: the state machine is the real one
 * (src/worker/apply.c and shard.c, compiled in), over a LevelDB that loses what it
 * may lose (shard_store.c).  Their clients are model PostgreSQL servers: a heap
 * whose TIDs are used again, transactions, VACUUM, crashes, a standby that is
 * promoted while its old primary goes on, marks in shared memory, and backends
 * whose routes are out of date.
 *
 *	  shard_world.c		how a world begins, and what is drawn for it
 *	  shard_machine.c	a shard's life in a replica; what a worker answers
 *	  shard_split.c		splits: the placement driver in model, the stores' chores
 *	  shard_net.c		requests and answers on the way, late, doubled, lost
 *	  shard_oracle.c	what must be true (docs/shard-tests.md has the list)
 *	  heap.c			heap, WAL, crash, promotion; who sees what
 *	  gateway.c			backends: insert, flush, commit
 *	  scan.c			their scans
 *	  shard_session.c	instead of them: clients of collections
 *	  sweep.c			VACUUM, repair, REINDEX
 *	  shard_zoo.c		every law broken once
 *	  shard_store.c		LevelDB
 *	  shard_records.c	records.h without a graph
 *
 * A row's number stands for its vector.  Everything a law demands is written
 * `if (!vt_broken("NAME"))`, like in src.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SHARD_SIM_H
#define SIM_SHARD_SIM_H

#include "sim.h"

#include "../../src/worker/shard.h"
#include "base/breaks.h"
#include "shard_store.h"

#define MAX_TIDS 8
#define MAX_ROWS 512
#define MAX_TXNS 512
#define MAX_SERVERS 2
#define MAX_BACKENDS 3
#define MAX_ENTRIES 6			/* of a transaction */
#define MAX_ANSWER 16
#define MAX_ROUTES 16			/* states of the table of routes, over all time */

#define NO_ROW (-1)

/* -- Records ---------------------------------------------------------------------- */

typedef struct ShardRow
{
	int			tid;
	uint64_t	version;
	int			row;
	WireAttributes attributes;	/* of records; everywhere else those of the row */
} ShardRow;

extern Bytes shard_id_of(int tid, uint8_t out[WIRE_TID_SIZE]);
extern int	shard_tid_of(Bytes id);
extern int	shard_row_of(const uint8_t *vector);
extern WireAttributes shard_attributes_of(int row);
extern size_t shard_records(const Records *records, const ShardRow **out);

/* -- Requests ----------------------------------------------------------------------- */

typedef enum AskKind
{
	ASK_WRITE,
	ASK_READ,					/* ReadIndex: fence and mark */
	ASK_LIST,					/* linearizable */
	ASK_SEARCH,					/* at a mark */
	ASK_GET,					/* a record */
	ASK_INDEX					/* a follower asks its leader: ReadIndex */
} AskKind;

/* A request or its answer, on the way. */
typedef struct ShardMessage
{
	AskKind		kind;
	bool		answer;
	bool		anywhere;		/* a law is broken: list at any replica, as it stands */
	uint64_t	request;
	int			server;			/* who asks; -1: nobody waits, or: */
	uint64_t	client;			/* a hand of shard_session.c; 0: none */
	uint64_t	asker;			/* ASK_INDEX: the replica that wants to know */
	bool		opens;			/* ASK_WRITE: a session */
	bool		repeated;		/* it was done before, for all of the interval */
	WireConsistency consistency;	/* ASK_GET */
	int			tid;
	uint64_t	life;			/* of the server */
	uint32_t	group;
	uint64_t	replica;
	WireRoute	route;
	uint64_t	mark;
	uint32_t	k;				/* rows wanted of a search; 0: all */
	uint32_t	excluded;		/* TIDs that came before, a bit each */
	Buf			command;		/* ASK_WRITE */

	VtStatus	status;
	uint64_t	index;			/* the mark */
	uint64_t	fence;
	uint64_t	first;			/* interval covered */
	uint64_t	last;
	bool		took;			/* a raise */
	bool		lagged;			/* the replica knew less than is committed */
	bool		exhausted;		/* it had no more rows than these */
	size_t		n;
	ShardRow	rows[MAX_TIDS];
} ShardMessage;

/* One shard's part of what somebody asks. */
typedef struct Ask
{
	bool		used;
	bool		answered;
	bool		taken;			/* by a scan */
	uint64_t	served;			/* replica that gave the batch before */
	ShardMessage question;		/* to ask it again; owns the command */
	ShardMessage reply;
	uint64_t	asked_at;
	uint32_t	times;
} Ask;

typedef struct Asks
{
	Ask			ask[SIM_MAX_GROUPS];	/* by group */
} Asks;

/* -- Heap ------------------------------------------------------------------------------ */

typedef enum Meta
{
	META_EMPTY,
	META_LIVE,
	META_STALE,
	META_REPAIRING				/* maintained, not scanned */
} Meta;

/* What WAL describes: in shared buffers, on disk, on the standby. */
typedef struct Heap
{
	int			tuple[MAX_TIDS];	/* row or NO_ROW */
	uint8_t		committed[MAX_TXNS];
	uint8_t		deleted[MAX_ROWS];	/* its deleter has committed */
	Meta		meta;
	uint32_t	collection;		/* whose generation the metapage names */
} Heap;

typedef struct HeapRow
{
	int			txn;
	int			tid;
	bool		unindexed;		/* NULL: the index has no entry for it */
	bool		sub;			/* made in a subtransaction that may abort */
	bool		spec;			/* speculative: ON CONFLICT may undo it silently */
	bool		killed;			/* undone while its transaction goes on */
} HeapRow;

/* -- Servers ----------------------------------------------------------------------------- */

typedef struct Entry
{
	int			row;
	uint64_t	stamp;
	bool		acked;
	bool		sent;			/* in the flush under way, to group */
	uint32_t	group;
} Entry;

typedef enum ScanStep
{
	NO_SCAN,
	SCAN_FLUSH,					/* own entries go out first */
	SCAN_EARLY,					/* a law is broken: read before the snapshot */
	SCAN_SNAPSHOT,
	SCAN_ASKS,					/* marks that are not known */
	SCAN_SEARCH
} ScanStep;

typedef struct Backend
{
	int			txn;			/* -1: none */
	Entry		entries[MAX_ENTRIES];
	size_t		n;
	bool		flushing;
	bool		committing;
	bool		aborted;		/* a law is broken: goes on sending */
	uint64_t	fence;			/* newest it has seen */
	int			route;			/* which state of the table it has */
	uint64_t	marks[SIM_MAX_GROUPS];
	bool		unmarked;		/* a law is broken: to be stored after the commit */
	Asks		asks;
	uint64_t	began;

	ScanStep	scan;
	bool		scan_own;
	uint8_t		sees[MAX_ROWS];
	Meta		scan_meta;
	uint32_t	scan_collection;
	uint64_t	scan_marks[SIM_MAX_GROUPS];
	bool		scan_known[SIM_MAX_GROUPS];
	uint32_t	scan_range[SIM_MAX_GROUPS]; /* version of the interval by which the mark was read */
	bool		scan_back;		/* its route went back */
	uint64_t	scan_evictions;
	uint32_t	scan_k;			/* of a batch; 0: one batch brings all */
	size_t		found_n[SIM_MAX_GROUPS];
	ShardRow	found[SIM_MAX_GROUPS][MAX_TIDS];
} Backend;

typedef enum SweepKind
{
	SWEEP_NONE,
	SWEEP_VACUUM,
	SWEEP_REPAIR,
	SWEEP_BUILD
} SweepKind;

typedef enum SweepStep
{
	STEP_READ,
	STEP_RAISE,
	STEP_WAIT,					/* repair: for those who skipped the index */
	STEP_LIST,
	STEP_SEND
} SweepStep;

/* What is sent of a bulk load, each to all shards: its begin, the rows, its end. */
typedef enum LoadPhase
{
	LOAD_BEGIN,
	LOAD_ROWS,
	LOAD_END
} LoadPhase;

typedef struct Sweep
{
	SweepKind	kind;
	SweepStep	step;
	int			route;
	uint64_t	number;			/* the fence it raised to */
	uint64_t	marks[SIM_MAX_GROUPS];
	bool		dead[MAX_TIDS];
	uint64_t	version[MAX_TIDS];	/* as listed; 0: not there */
	int			listed[MAX_TIDS];	/* row, or NO_ROW */
	bool		open;			/* repair */
	uint8_t		wait[MAX_TXNS];
	uint32_t	rounds;
	LoadPhase	phase;			/* REINDEX, where loads are framed */
	Asks		asks;
	uint64_t	began;
} Sweep;

typedef struct Server
{
	bool		exists;
	uint64_t	life;			/* counts starts */
	WireOwner	owner;
	Heap		now;
	Heap		disk;
	Backend		backends[MAX_BACKENDS];
	Sweep		sweep;
	uint64_t	kept_number;	/* a law is broken: the raise of an earlier VACUUM */
	bool		sweep_unmarked; /* a law is broken */
	uint64_t	sweep_marks[SIM_MAX_GROUPS];

	/* Shared memory */
	bool		mark_known[SIM_MAX_GROUPS];
	uint64_t	marks[SIM_MAX_GROUPS];
	uint32_t	mark_range[SIM_MAX_GROUPS]; /* version of the shard in the route by which it was learned */
	uint64_t	mark_at[SIM_MAX_GROUPS];	/* evictions then */
	uint64_t	evictions;
	int			route;			/* the newest that acknowledged writes went by */
	bool		route_known;

	uint32_t	calm_scans;
} Server;

/* -- Oracle -------------------------------------------------------------------------------- */

typedef struct ShardTruth
{
	uint8_t    *decided;		/* by index - base: status + 1, 0: nobody applied it */
	uint8_t    *took;
	uint64_t   *digest;			/* of all rows and the fence after it; 0: not known */
	size_t		size;
	uint64_t	front;			/* newest state known */
	uint64_t	fence;
	uint64_t	version[MAX_TIDS];
	int			row[MAX_TIDS];
} ShardTruth;

/* -- The world --------------------------------------------------------------------------------- */

/* What was exercised; a run of many worlds without one of them fails. */
#define SHARD_COUNTS(X) \
	X(transactions) X(commits) X(aborts) X(puts) X(late_puts) X(fenced_out) X(restamped) \
	X(dropped_entries) X(killed) X(tids_reused) X(tids_freed) X(vacuums) X(vacuums_cancelled) \
	X(blind_vacuums) X(raises_repeated) X(deletes_hit) X(repairs) X(reindexes) X(bulk_loads) X(bulk_loads_late) X(set_stale) \
	X(server_crashes) X(lost_tuples) X(lost_deletions) X(promotions) X(foreign_refused) \
	X(misrouted) X(not_tiled) X(scans) X(scans_own) X(scans_asked) X(scans_lagging) X(behind) \
	X(scans_paged) X(scans_moved) X(hedged) X(hedges_late) \
	X(evictions) X(power_losses) X(process_deaths) X(lost_store_batches) X(replays) \
	X(replays_over_holes) X(checkpoints) X(snapshots_read) \
	X(snapshots_kept)

/* The same, of worlds with splits. */
#define SPLIT_COUNTS(X) \
	X(splits_asked) X(splits_refused) X(splits_done) X(heirs_prepared) X(heirs_in_vain) X(heirs_succeeded) X(copied_again) X(heirs_begun) X(heirs_dropped) X(heirs_done) X(children_empty) \
	X(children_settled) X(owed_by_snapshot) X(purges) X(rows_purged) X(listed_again) \
	X(lent_halves) X(lent_children) X(loans_ended) X(marks_untouched) X(routes_back)

/* The same, of worlds with sessions. */
#define SESSION_COUNTS(X) \
	X(sessions_opened) X(sessions_lost) X(session_writes) X(session_timeouts) X(clients_died) X(repeats) \
	X(repeats_by_children) X(linearizable_reads) X(follower_reads) X(eventual_reads) X(histories) \
	X(expiries)

typedef struct ShardCounts
{
#define X(name) uint64_t name;
	SHARD_COUNTS(X)
	SPLIT_COUNTS(X)
	SESSION_COUNTS(X)
	X(histories_unknown)
#undef X
} ShardCounts;

/*
 * What a client may believe: the table of routes as it was once.  The first two are
 * old and half new, then comes what the world begins with; each split adds a half new
 * and a new one.
 */
typedef struct RouteRow
{
	uint32_t	collection;
	uint32_t	group;
	uint64_t	first;
	uint64_t	last;
	uint32_t	range_ver;
} RouteRow;

typedef struct Routes
{
	RouteRow	rows[SIM_MAX_GROUPS];
	uint32_t	n;
} Routes;

/* A group that was split off another, by its number. */
typedef struct Splitting
{
	bool		committed;
	bool		settled;		/* enough of its members have been heard of */
	uint32_t	parent;			/* group */
	uint64_t	index;
	uint64_t	fence;			/* in force there */
	uint64_t	sessions;		/* digest of them; where there are some */
	uint64_t	version[MAX_TIDS];	/* of the rows it begins with; 0: none */
} Splitting;

typedef struct Collection
{
	WireShardDesc desc;			/* shard, first and last apart */
	uint32_t	first_group;
	uint32_t	groups;
} Collection;

typedef struct ShardSnapshot
{
	struct ShardSnapshot *next;
	uint64_t	id;
	Buf			rows;
} ShardSnapshot;

typedef struct ShardWorld
{
	Collection	collections[2];
	uint32_t	collections_n;
	bool		built;			/* the second generation has been begun */
	WireShardDesc descs[SIM_MAX_GROUPS];	/* as it is by now */
	WireShardDesc born[SIM_MAX_GROUPS]; /* before the first split of it */
	Routes		routes[MAX_ROUTES];
	int			routes_n;

	/* Splits; one is asked for at a time, and asked again until it is done */
	uint32_t	splits;			/* per mille of a step; 0: none */
	uint32_t	idle;			/* per mille of the chores that splits leave: not now */
	Splitting	split[SIM_MAX_GROUPS];	/* by child */
	bool		splitting;		/* the next is not committed yet */
	uint32_t	split_group;	/* of whom */
	uint32_t	asked_in_calm;
	WireShardDesc split_child;
	const Replica *maker[SIM_MAX_GROUPS][SIM_MAX_STORES];	/* of a child's rows there */
	ShardTruth	truth[SIM_MAX_GROUPS];
	bool		framed;			/* REINDEX sends the begin and the end of its load, too */
	uint64_t	load_over[SIM_MAX_GROUPS];	/* index of the end that was acknowledged */
	uint64_t	boot[SIM_MAX_STORES];
	bool		harsh;			/* any batch may be lost */
	ShardSnapshot *snapshots;
	uint64_t	next_snapshot;

	uint32_t	tids;
	HeapRow		rows[MAX_ROWS];
	int			rows_n;
	int			txns_n;
	bool		touched[MAX_TIDS];
	Server		servers[MAX_SERVERS];
	Heap		standby;
	uint32_t	backends;

	/* Of the gateways' network, per mille */
	uint32_t	late;
	uint32_t	drop;
	uint32_t	duplicate;
	uint32_t	step_every;
	uint64_t	next_request;
	uint64_t	leader[SIM_MAX_GROUPS]; /* a guess, shared */
	bool		paged;			/* scans in batches, some questions hedged */
	bool		back;			/* the route of a scan may go back */

	/* What kinds of events there are in this world, per mille of a step */
	uint32_t	crash;
	uint32_t	flush;			/* of WAL, out of turn */
	uint32_t	sync;			/* of commits */
	uint32_t	stale;
	uint32_t	evict;
	uint32_t	promote;
	uint32_t	abort;
	uint32_t	scans;			/* of ten turns of an idle backend */
	bool		may_promote;

	struct SessionWorld *sessions;	/* NULL: there are none */
	ShardCounts counts;
} ShardWorld;

static inline ShardWorld *
shard_world(const Sim *sim)
{
	return (ShardWorld *) sim->guest_state;
}

#define COUNT(sim, name) (shard_world(sim)->counts.name++)

extern const SimGuest shard_guest;
extern ShardCounts shard_total; /* of all worlds of this process */
extern uint32_t shard_print_counts(uint64_t runs, const SimWorld *world);

/* shard_machine.c: what SimGuest asks for */
extern uint64_t machine_open(Sim *sim, Replica *r);
extern void machine_close(Sim *sim, Replica *r);
extern void machine_destroy(Sim *sim, Replica *r);
extern void machine_crash(Sim *sim, uint32_t store);
extern void machine_apply(Sim *sim, Replica *r, const Applying *entries, size_t n);
extern void machine_read(Sim *sim, Replica *r, const Pending *p);
extern uint64_t machine_checkpoint(Sim *sim, Replica *r);
extern bool machine_snapshot(Sim *sim, Replica *r, RaftSnapshot *snapshot);
extern void machine_install(Sim *sim, Replica *r, const RaftSnapshot *snapshot);
extern void machine_take_index(Sim *sim, Replica *r, const ShardMessage *m);
extern void machine_propose(Sim *sim, Replica *r, Bytes command);
extern void machine_answer(Sim *sim, Replica *r, ShardMessage *question);
extern bool machine_is_open(const Replica *r);
extern bool machine_is_whole(const Replica *r);
extern Shard *machine_shard(const Replica *r);
/* Rows of a child that is not split off yet */
typedef struct Prepared
{
	struct Heir *heir;			/* NULL: none */
	uint32_t	group;			/* what the child's would be */
	uint64_t	replica;
} Prepared;

extern Prepared *machine_prepared(const Replica *r);
extern void machine_forget_prepared(Sim *sim, const Replica *r);
extern struct Heir **machine_heir(const Replica *r, uint32_t **group);
extern void machine_directory(const Replica *r, char out[32]);
extern void machine_enter(Sim *sim, const Replica *r);

/* shard_split.c */
extern void split_start(Sim *sim);
extern void split_step(Sim *sim);
extern void split_applied(Sim *sim, Replica *r, const WireWrite *write, uint64_t index);
extern bool split_may_change(Sim *sim, uint32_t group);
extern bool split_is_idle(const Sim *sim);

/* The newest state of the table of routes, and a group's place in one. */
static inline int
newest_route(const Sim *sim)
{
	return shard_world(sim)->routes_n - 1;
}

/* shard_net.c */
extern void net_step(Sim *sim, void *guest);
extern void net_drop(void *guest);
extern void net_send(Sim *sim, const ShardMessage *m);	/* copies */
extern void message_free(ShardMessage *m);
extern void asks_clear(Asks *asks);
extern Ask *ask_prepare(Sim *sim, int server, Asks *asks, uint32_t group, AskKind kind, int route, uint64_t mark);
extern void ask_send(Sim *sim, Ask *a);
extern void net_take_answer(Sim *sim, Asks *asks, const ShardMessage *m);
extern void ask(Sim *sim, int server, Asks *asks, uint32_t group, AskKind kind, int route, uint64_t mark,
				Buf *command);	/* takes the command */
extern void ask_search(Sim *sim, int server, Backend *b, uint32_t group);
extern bool asks_pending(Sim *sim, Asks *asks, uint32_t limit, bool *gave_up);
extern bool asks_tile(Sim *sim, const Asks *asks);
extern uint32_t range_in(const Sim *sim, int route, uint32_t group);
extern Buf	command_of(const Sim *sim, int server, uint32_t group, int route, WireWriteType type,
					   uint64_t fence, uint64_t fence_to, const ShardRow *rows, size_t n);
extern uint32_t targets(const Sim *sim, uint32_t collection, int route, uint32_t groups[SIM_MAX_GROUPS]);
extern uint32_t target_of(const Sim *sim, uint32_t collection, int route, int tid);

/* shard_oracle.c */
extern void truth_applied(Sim *sim, Replica *r, Shard *shard, uint64_t applied, bool whole);
extern void truth_answered(Sim *sim, const Replica *r, const Shard *shard);
extern void truth_decided(Sim *sim, Replica *r, uint64_t index, VtStatus status, int took);
extern void truth_look(Sim *sim);
extern void truth_scan(Sim *sim, int server, const Backend *b);
extern void truth_free(ShardWorld *w);

/* shard_session.c */
typedef struct SessionWorld SessionWorld;
extern void session_start(Sim *sim);
extern void session_end(Sim *sim);
extern void session_step(Sim *sim);
extern void session_take(Sim *sim, const ShardMessage *m);
extern void session_decided(Sim *sim, const Replica *r, const WireWrite *write, uint64_t index,
							const WireWriteResult *result);
extern bool session_is_idle(Sim *sim);

/* heap.c */
extern bool heap_is_active(const Server *s, int txn);
extern bool heap_is_visible(const ShardWorld *w, const Server *s, int row);
extern bool heap_is_dead(const ShardWorld *w, const Server *s, int row);
extern void heap_flush(Server *s);
extern void heap_crash(Sim *sim, int server);
extern void heap_promote(Sim *sim);
extern int	heap_free_tid(Sim *sim, const Server *s);
extern int	heap_insert(Sim *sim, Server *s, int txn, int tid);
extern void heap_set_stale(Sim *sim, int server);

/* gateway.c, scan.c, sweep.c */
extern void learn_route(Sim *sim, int *route);
extern void flush_step(Sim *sim, int server, Backend *b);
extern void begin_scan(Sim *sim, int server, Backend *b);
extern void scan_step(Sim *sim, int server, Backend *b);
extern void gateway_step(Sim *sim);
extern bool gateway_is_idle(const Sim *sim);
extern void store_mark(Server *s, uint32_t group, uint64_t index);
extern void store_route(Server *s, int route);
extern void backend_reset(Backend *b);
extern void backend_abort(Sim *sim, int server, Backend *b);
extern void sweep_step(Sim *sim, int server);
extern void sweep_reset(Server *s);
extern bool definite_no(VtStatus status);

/* shard_zoo.c */
extern int	shard_zoo_run(const char *only, uint64_t first_seed, uint64_t budget);

#endif							/* SIM_SHARD_SIM_H */
