/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of replica share.
 *
 * Locks, in the order they may be taken: host->step_lock; host->inbox_lock;
 * replica->lock; host->writer_lock; host->apply_lock.  None but the step lock is
 * held while a core is stepped or a done callback runs, and none at all while
 * LevelDB is called.
 *
 *-------------------------------------------------------------------------
 */
#ifndef REPLICA_PRIVATE_H
#define REPLICA_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "figures.h"
#include "note.h"
#include "replica/replica.h"

/* What the cores are told. */
typedef enum EventKind
{
	EVENT_PROPOSE,
	EVENT_PROPOSE_UNDER,		/* number = index of the configuration that is to hold */
	EVENT_READ,
	EVENT_READ_ANYWHERE,		/* or by asking the leader */
	EVENT_FAR,					/* payload: a note for node number; no replica */
	EVENT_PERSISTED,			/* number = seq */
	EVENT_APPLIED,				/* number = index */
	EVENT_CHECKPOINTED,			/* number = index */
	EVENT_BASE_DURABLE,			/* number = index */
	EVENT_MESSAGES,				/* payload: a WireRaft; no replica */
	EVENT_SNAP,					/* payload: a Raft message whose data is staged; number = stream */
	EVENT_NODE_DOWN,			/* number = node; no replica */
	EVENT_CHANGE,				/* payload: RaftConf; number = its conf_index */
	EVENT_TRANSFER,				/* number = replica */
	EVENT_CAMPAIGN,
	EVENT_TELL,					/* payload: words for the other replicas' machines */
	EVENT_CEASE,				/* no snapshot that was begun is sent to its end */
	EVENT_ERRAND,				/* errand: it has come back */
	EVENT_LOADED,				/* what was installed can be used */
	EVENT_OPEN,
	EVENT_CLOSE
} EventKind;

typedef struct Event
{
	struct Event *next;
	EventKind	kind;
	Replica    *replica;
	uint64_t	number;
	RaftBuf    *command;		/* PROPOSE, PROPOSE_UNDER */
	Buf			payload;
	struct Errand *errand;
	ReplicaDone done;
	void	   *arg;
} Event;

#define SEND_WINDOW 6			/* chunks of a snapshot under way */

/*
 * Slow work for a replica, away from the raft thread; it comes back there as
 * an EVENT_ERRAND.  Owned by its queue, then by whoever runs it, then by the
 * event.
 */
typedef enum ErrandKind
{
	ERRAND_FETCH,				/* entries first..last from the log */
	ERRAND_INSTALL,				/* and load the snapshot that the log begins with now */
	ERRAND_OPEN,				/* a snapshot for peer `to` */
	ERRAND_SEND					/* stream it */
} ErrandKind;

typedef struct Errand
{
	struct Errand *next;
	ErrandKind	kind;
	Replica    *replica;

	/* FETCH */
	uint64_t	first;
	uint64_t	last;
	RaftEntry  *entries;
	size_t		n;

	/* INSTALL */
	uint64_t	id;				/* of the stream */
	uint64_t	index;			/* also OPEN: where the snapshot stands */

	/* OPEN, SEND */
	uint64_t	to;
	uint64_t	node;
	bool		turn;			/* it is one of host->open */
	int64_t		begun_us;		/* sending; 0: not yet */
	uint64_t	bytes;			/* that left, also again */
	uint32_t	ceased;			/* replica->ceased when it began */
	void	   *stream;
	struct Ahead *ahead;		/* reads it; NULL: not yet */
	Buf			message;
	bool		ok;
	Buf			pending[SEND_WINDOW];	/* chunks read and not yet acknowledged */
	uint32_t	npending;
	uint32_t	seq;			/* of the first of them, or of the next */
	bool		ends;			/* the last of them is the last of all */
	uint32_t	asked;			/* the oldest whose answer is still to come, */
	uint32_t	under_way;		/* and how many answers are */
	int64_t		broken_us;		/* since when nothing gets through; 0: it does */
	int64_t		not_before_us;	/* in its queue: not to be run before */
} Errand;

/*
 * A snapshot for a peer: being opened, waiting for its message, being sent, or
 * delivered and not yet acknowledged.
 */
typedef struct Sending
{
	struct Sending *next;
	uint64_t	to;
	uint64_t	index;			/* where it stands; 0: not known yet */
	bool		delivered;
	Errand	   *opened;			/* while it waits for its message */
} Sending;

#define SENDERS 2				/* snapshots that are sent at a time */
#define OPEN_MAX 4				/* and so many are open: one may be to a node that has just died */

typedef struct ErrandThread
{
	struct ErrandQueue *queue;
	pthread_t	thread;
	Replica    *busy;			/* whose errand it runs */
	uint64_t	node;			/* that it sends to */
} ErrandThread;

typedef struct ErrandQueue
{
	pthread_mutex_t lock;
	pthread_cond_t ready;
	pthread_cond_t idle;
	Errand	   *first;
	Errand	  **end;
	bool		stop;
	ErrandThread threads[SENDERS];
	uint32_t	nthreads;
} ErrandQueue;

/* A proposal or read that waits for its index. */
typedef struct FarRead FarRead; /* far.c */

typedef struct Waiter
{
	struct Waiter *next;
	uint64_t	index;
	uint64_t	term;			/* proposals; 0 for reads */
	uint32_t	bytes;
	bool		ends;			/* a read whose index another replica said: waits until */
	uint32_t	until;			/* this tick at most */
	bool		awaited;		/* a proposal that the writer waits for: gather.c, */
	uint32_t	round;			/* in this round */
	ReplicaDone done;
	void	   *arg;
} Waiter;

/* A committed entry on its way to the state machine. */
typedef struct ApplyItem
{
	struct ApplyItem *next;
	uint64_t	index;
	uint64_t	term;
	uint8_t		type;
	uint32_t	size;
	RaftBuf    *data;			/* NULL: empty, or to be read from the log */
} ApplyItem;

/* Log entries below a durable base that are to be deleted. */
typedef struct LogRange
{
	struct LogRange *next;
	uint64_t	first;
	uint64_t	last;
} LogRange;

/* One group's share of a write cycle. */
typedef struct WriteJob
{
	struct WriteJob *next;
	Replica    *replica;
	StoreBatch *batch;
	uint64_t	seq;			/* 0: not a Ready */
	uint64_t	base;			/* durable afterwards; 0: none */
	bool	   *finished;		/* somebody waits on writer_done, or NULL */
} WriteJob;

/* What a leader knows of a member that sleeps, or could. */
typedef struct Sleeper
{
	uint64_t	id;
	uint64_t	term;			/* it is at rest at this index of this term */
	uint64_t	index;
	uint32_t	heard;			/* tick */
	bool		counts;			/* it lived when the leader fell asleep */
} Sleeper;

#define LOADS 3					/* peers whose state is being replaced; more are not known */

struct Replica
{
	ReplicaHost *host;
	Replica    *next;			/* in host->replicas; the stepper's, as all up to the machine */
	uint64_t	group;
	uint64_t	id;

	/* Thousands that sleep are asked for these some times in a second: side by side */
	Replica    *hash_next;		/* in host->groups */
	bool		gone;			/* being destroyed: nothing of it is written any more */
	bool		asleep;
	bool		sleep_leads;	/* these four: as of the last time it was at rest */
	uint32_t	sleep_heard;	/* tick of the leader's last sign */
	uint64_t	sleep_leader;
	uint64_t	sleep_term;
	uint64_t	sleep_index;
	uint64_t	sleep_node;		/* where its leader was when it fell asleep */
	atomic_int_fast64_t led_us; /* when it heard from that one, led, or was opened; read by anyone */

	ReplicaMachine machine;
	atomic_uint_fast64_t inflight_bytes;	/* its share of the host's */

	/* The stepper's */
	Raft	   *raft;
	uint64_t	stored_last;	/* highest index in the store */
	uint64_t	stored_base;	/* L keys up to here are gone or going */
	uint64_t	stale_first;	/* L keys that the snapshot being installed replaces */
	uint64_t	stale_last;
	uint64_t	log_bytes;		/* written since the last checkpoint */
	bool		checkpointing;
	uint64_t	checkpoint;		/* where the machine was durable at the last one */
	bool		cut;			/* whatever peers need: the host's logs are too large */
	uint64_t	counted_log;	/* its share of host->log_bytes */
	uint64_t	counted_resident;
	uint64_t	counted_entries;
	bool		dirty;			/* in host->dirty */
	Replica    *dirty_next;
	bool		fetching;
	Sending    *sending;
	uint64_t	install_seq;	/* the Ready that installs a snapshot; 0: none */
	uint64_t	held_seq;		/* durable, but not to be reported before that is done */
	RaftSnapshot installing;	/* valid while install_seq */
	struct
	{
		uint64_t	id;
		uint64_t	node;
	}			heard[RAFT_MAX_MEMBERS];	/* where replicas were heard from, latest first */
	bool		loading;		/* a snapshot takes the place of its state: it cannot lead */
	struct
	{
		uint64_t	id;			/* of a peer that says so of itself; 0: none */
		uint32_t	heard;		/* tick */
	}			loads[LOADS];
	uint64_t	room_term;		/* a leader's: these two are of this term */
	uint64_t	room_last[2];	/* entry of its log, when it was looked for room last and before; 0: not yet */
	uint64_t	lag_term;		/* a leader's: these two are of this term */
	uint64_t	lag_last[2];	/* entry of its log, when it was looked who lags last and before; 0: not yet */
	uint32_t	lag_tick;		/* when most no longer lagged; 0: they never did */
	uint64_t	gave_to;		/* for want of room it was to hand its leadership over, to this peer */
	uint32_t	gave_tick;		/* then */
	uint32_t	heir_ticks;		/* its leader's store died: to campaign after so many; 0 = no */
	uint32_t	heir_tries;
	Waiter	   *asked;			/* reads the core has not answered, oldest first */
	Waiter	  **asked_end;
	FarRead    *far;			/* questions put to the leader */
	bool		far_waits;		/* some of `reads` may have an end */

	/* The stepper's, too: sleep.c */
	Replica    *awake_next;		/* in host->awake, unless asleep or closed */
	Replica   **awake_prev;
	uint32_t	quiet_ticks;	/* since anything happened */
	Sleeper		sleepers[RAFT_MAX_MEMBERS]; /* a leader's; parallel to the members */

	/* Published by the stepper and the apply threads */
	atomic_uint_fast64_t applied;
	atomic_uint_fast64_t term;
	atomic_uint_fast64_t last;	/* entry of the log, written or about to be, */
	atomic_uint_fast64_t last_term; /* and its term */
	atomic_uint_fast64_t serving_from;	/* first index of this leader's term; 0 = not leader */
	atomic_bool sole_voter;
	atomic_uint_fast64_t leader;	/* replica; 0 = not known */
	atomic_bool current;		/* has led or followed since it was opened */
	atomic_bool told_gone;
	atomic_bool crowded;		/* a leader's: most voters have no room for new data */
	atomic_bool lagging;		/* a leader's: it, or most voters, have too much to apply */
	atomic_bool cancelled;		/* being destroyed: errands end early */
	atomic_uint ceased;			/* so often its state was wanted for itself: snapshots begun before end */

	/* Protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t idle;		/* apply has let go of a closed replica */
	Waiter	   *proposals;		/* in order of index */
	Waiter	  **proposals_end;
	Waiter	   *reads;
	ApplyItem  *items;
	ApplyItem **items_end;
	uint64_t	items_bytes;	/* payloads that they hold */
	bool		queued;			/* in the run queue, being applied, or installed and loaded */
	bool		staging;		/* a chunk is being taken */
	uint64_t	staged;			/* a whole stream: the core decides, or it is being installed */
	uint32_t	staged_chunks;
	uint64_t	installed;		/* stream that was installed last, or that the base named at the start; 0: none */
	uint64_t	held;			/* stream of which the machine has some staged; 0: none */
	bool		held_lately;	/* a chunk has come since it was looked at last */
	int64_t		held_us;		/* when its first chunk came, and bytes since */
	uint64_t	held_bytes;
	ReplicaMembers members;
	bool		closed;

	/* In the run queue; host->apply_lock */
	Replica    *run_next;

	/* For the io thread; host->io_lock */
	Replica    *io_next;
	bool		io_queued;
	bool		io_checkpoint;
	uint64_t	io_unstage;		/* stream that is not wanted; 0: none */
	LogRange   *io_drops;
};

/* Messages for a node that leave at the end of the cycle. */
typedef struct Outbox
{
	uint64_t	node;
	Buf			messages;
} Outbox;

/* A node that refused a snapshot for want of room on its disk: it gets none before then. */
#define FULL_NODES 16

typedef struct FullNode
{
	uint64_t	node;
	int64_t		until_us;
} FullNode;

/* A store that has no room for new data. */
typedef struct ShortNode
{
	uint64_t	node;
	uint32_t	heard;			/* tick */
} ShortNode;

/* Work that must get on: watch.c. */
typedef struct Pulse
{
	atomic_bool busy;
	atomic_uint_fast64_t beats; /* times that it has got on */
	uint64_t	seen;			/* these two: the watch's */
	uint32_t	rounds;			/* in which it did not */
} Pulse;

struct ReplicaHost
{
	Store	   *log;
	ReplicaHostOptions options;
	RaftAllocator allocator;
	atomic_uint_fast64_t inflight_bytes;
	atomic_uint_fast64_t gathered;	/* commands in proposals, */
	atomic_uint_fast64_t awaited;	/* and such as were there and are to be answered soon: gather.c */
	atomic_uint_fast64_t node;
	atomic_uint_fast64_t inbox_bytes;	/* of messages not yet stepped */
	atomic_uint_fast64_t dropped;	/* messages, for want of room */
	atomic_uint_fast64_t asleep;	/* groups */
	atomic_uint_fast64_t log_bytes; /* in the logs of all groups */
	atomic_uint_fast64_t resident_bytes;	/* of them, in memory */
	atomic_uint_fast64_t entries;	/* in all logs */
	atomic_uint_fast64_t sending_bytes; /* pending chunks of all errands */
	atomic_bool is_short;		/* this store has no room for new data */
	HostCounts	counts;

	/* Events that no stepper has taken yet */
	pthread_mutex_t inbox_lock;
	pthread_cond_t raft_ready;	/* the raft thread shall end, or step */
	Event	   *inbox;
	Event	  **inbox_end;
	Event	   *proposals;		/* small ones, which may wait for the writer: gather.c */
	Event	  **proposals_end;
	bool		called;			/* there is something for the raft thread */
	bool		stopping;		/* the raft thread shall end */

	/* The stepper's: whoever holds the lock */
	pthread_mutex_t step_lock;
	bool		stopped;		/* no core is stepped any more */
	Replica    *replicas;
	Replica    *awake;			/* those that are ticked */
	Replica    *dirty;			/* those whose cores may have duties */
	Replica   **groups;			/* the same by group: hash chains */
	size_t		ngroups;		/* chains, a power of two */
	size_t		nreplicas;
	Outbox	   *outboxes;
	size_t		noutboxes;
	Buf			scratch;		/* group.c: an entry as it is stored */
	uint64_t	seeds;
	uint32_t	ticks;
	bool		said_short;		/* the others were told so */
	bool		some_short;		/* a store was, when leaders were looked at last, */
	bool		short_news;		/* and others are since */
	uint32_t	nloading;		/* replicas */
	bool		some_load;		/* a peer of some replica's */
	ShortNode  *short_nodes;
	size_t		nshort;
	uint64_t	far_number;		/* of the last question to a leader; 0: there was none */
	atomic_llong tick_due_us;	/* when it was: the raft thread asks for one; 0 = none is */
	atomic_uint_fast64_t tick_counts[REPLICA_TICK_KINDS];

	ErrandQueue fetches;
	ErrandQueue installs;
	ErrandQueue sends;
	int64_t		send_free_us;	/* when the rate lets the next chunk go; sends.lock */
	uint64_t	open[OPEN_MAX]; /* nodes that a snapshot is open for, 0: none; sends.lock */
	FullNode	full[FULL_NODES];	/* the latest; sends.lock */

	/* The writer */
	pthread_mutex_t writer_lock;
	pthread_cond_t writer_ready;
	pthread_cond_t writer_done;
	WriteJob   *jobs;
	WriteJob  **jobs_end;
	bool		writer_stop;
	atomic_bool writer_owes;	/* these two are written under the lock: it will step when it has written, */
	atomic_bool gathering;		/* and waits for more before */
	atomic_bool writer_begins;	/* a batch: what has gathered is to be in it */

	/* The apply threads */
	pthread_mutex_t apply_lock;
	pthread_cond_t apply_ready;
	Replica    *run;
	Replica   **run_end;
	bool		apply_stop;

	/* The io thread: replicas that want a checkpoint, or something deleted */
	pthread_mutex_t io_lock;
	pthread_cond_t io_ready;
	pthread_cond_t io_idle;
	Replica    *io_first;
	Replica   **io_end;
	Replica    *io_busy;
	bool		io_stop;

	/* Who looks whether all that gets on */
	Pulse		writing;
	Pulse		ticking;
	Pulse	   *applying;		/* one for each thread */
	atomic_uint appliers;		/* of these, taken by threads */
	pthread_mutex_t watch_lock;
	pthread_cond_t watch_ready;
	bool		watch_stop;
	unsigned	stalled_now;	/* the watch's: in this round */
	pthread_t	watch_thread;
	Pulse		probing;		/* a small file, beside the log's: does the disk answer? */
	pthread_cond_t probe_ready;
	bool		probe_wanted;	/* under watch_lock */
	char	   *probe_path;
	pthread_t	probe_thread;
	pid_t		probe_task;		/* its number, under watch_lock */

	pthread_t	raft_thread;
	pthread_t	writer_thread;
	pthread_t	io_thread;
	pthread_t  *apply_pool;
};

/* A failure that must stop the process (laws S4, P8). */
extern void host_die(const char *doing, const VtError *err) __attribute__((noreturn));
extern void host_cond_init(pthread_cond_t *cond);
extern void host_start_thread(pthread_t *thread, void *(*run) (void *), void *arg);

/* step.c.  Tell the cores something, and step them unless another thread does. */
extern void host_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number);
extern void host_post(ReplicaHost *host, Event *event);

/* The same, but for the raft thread: the caller must not step. */
extern void host_post_later(ReplicaHost *host, Event *event);

/* The same, and step_all() must follow. */
extern void host_push(ReplicaHost *host, Event *event);
extern void host_push_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number);
extern void step_all(ReplicaHost *host);
extern void step_held(ReplicaHost *host);	/* with the step lock held, as the next two; step_all() must follow */
extern void step_to_the_end(ReplicaHost *host); /* for a host that stops */
extern void host_mark_dirty(Replica *replica);
extern void *raft_main(void *host);

/* watch.c */
extern void pulse_begin(Pulse *pulse);
extern void pulse_end(Pulse *pulse);
extern void watch_start(ReplicaHost *host);
extern void watch_stop(ReplicaHost *host);

/* writer.c */
extern void host_write(ReplicaHost *host, WriteJob *job);
extern void host_write_and_wait(ReplicaHost *host, StoreBatch *batch);
extern void *writer_main(void *host);

/* gather.c */
extern bool gather_takes(const Event *event);
extern void gather_add(ReplicaHost *host, Event *event);
extern void gather_end(ReplicaHost *host);
extern bool gather_is_due(ReplicaHost *host);
extern void gather_news(ReplicaHost *host);
extern void gather_more(ReplicaHost *host);
extern void gather_for_batch(ReplicaHost *host);
extern void gather_await(Replica *replica, Waiter *waiter);
extern void gather_answered(ReplicaHost *host, const Waiter *waiter);
extern bool gather_is_enough(ReplicaHost *host);

/* ask.c: a command of so many bytes is answered */
extern void replica_end_flight(Replica *replica, uint64_t bytes);

/* life.c */
extern void replica_free(Replica *replica);

/* Whoever looks at it from outside may see something new. */
static inline void
replica_changed(Replica *replica)
{
	if (replica->machine.changed)
		replica->machine.changed(replica->machine.state);
}

/* peers.c, with the step lock held */
extern void peers_add(ReplicaHost *host, Replica *replica);
extern void peers_remove(ReplicaHost *host, Replica *replica);
extern uint64_t peers_node(const Replica *replica, uint64_t id);
extern bool peers_send(Replica *replica, const RaftMessage *message);
extern uint8_t *peers_room(ReplicaHost *host, uint64_t node, size_t size);
extern Replica *peers_find(ReplicaHost *host, uint64_t group);
extern void peers_flush(ReplicaHost *host);
extern void peers_receive(ReplicaHost *host, Bytes payload);
extern void peers_staged(Replica *replica, Bytes message, uint64_t stream);
extern void peers_node_down(ReplicaHost *host, uint64_t node);
extern void peers_inherit(Replica *replica);	/* when heir_ticks are over */
extern void peers_publish(Replica *replica);

/* snapshot.c, with the step lock held */
extern const Sending *snapshot_sending(const Replica *replica, uint64_t to);
extern void snapshot_wanted(Replica *replica, uint64_t to);
extern bool snapshot_message(Replica *replica, const RaftMessage *message);
extern void snapshot_install(Replica *replica);
extern void snapshot_fetch(Replica *replica, const RaftFetch *fetch);
extern void snapshot_errand(Replica *replica, Errand *errand);
extern void snapshot_staged(Replica *replica, Bytes message, uint64_t stream);
extern void snapshot_cease(Replica *replica);
extern void snapshot_look_at_staged(ReplicaHost *host);
extern void snapshot_unstage(Replica *replica, uint64_t stream);	/* on the io thread */
extern void snapshot_forget_unsent(Replica *replica);
extern void snapshot_forget_all(Replica *replica);

/* errand.c */
extern void errands_start(ReplicaHost *host);
extern void errands_stop(ReplicaHost *host);
extern void errands_free(ReplicaHost *host);	/* no errand is left */
extern void errand_put(ErrandQueue *queue, Errand *errand);
extern void errand_free(Errand *errand);

/* Take those of a replica's that nobody has begun out of a queue; a list. */
extern Errand *errands_take(ErrandQueue *queue, const Replica *replica);

/* Whoever waits for the answer to a chunk of this replica's waits no longer. */
extern void errands_interrupt(ReplicaHost *host, const Replica *replica);

/* No errand of this replica is waiting or being run when it returns. */
extern void errands_cancel(Replica *replica);

/* sleep.c, with the step lock held */
extern void sleep_add(Replica *replica);
extern void sleep_remove(Replica *replica);
extern void sleep_disturb(Replica *replica);
extern void sleep_asked(Replica *replica);
extern void sleep_message(Replica *replica, const RaftMessage *message);
extern void sleep_tick(ReplicaHost *host);
extern void sleep_note(ReplicaHost *host, const Note *note, uint64_t node);

/* far.c, with the step lock held */
extern bool far_ask(Replica *replica, ReplicaDone done, void *arg);	/* false: nobody can be asked */
extern void far_note(ReplicaHost *host, const Note *note, uint64_t node);
extern void far_answer(ReplicaHost *host, Bytes note, uint64_t node);
extern void far_tick(Replica *replica);
extern void far_give_up(Replica *replica, VtStatus status);

/* tell.c, with the step lock held */
extern void tell_send(Replica *replica, Bytes words);
extern bool tell_take(ReplicaHost *host, Bytes bytes);	/* false: it is something else */

/* room.c, with the step lock held */
extern void room_note(ReplicaHost *host, const Note *note, uint64_t node);
extern void room_tick(ReplicaHost *host);
extern void room_loading(Replica *replica, bool loading);

/* lag.c, with the step lock held */
extern void lag_look(Replica *replica, bool due);
extern void lag_end(Replica *replica);

/* compact.c, with the step lock held */
#define RESIDENT_BYTES (32u << 20)	/* payloads of one group that peers may need */

extern void compact_checkpointed(Replica *replica, uint64_t index);
extern void compact_base_durable(Replica *replica, uint64_t index);
extern void compact_count(Replica *replica);
extern void compact_ask(Replica *replica);
extern void compact_bound(ReplicaHost *host);
extern void compact_evict(Replica *replica);

/* pack.c */
typedef struct Packer Packer;

extern Packer *packer_new(void);
extern void packer_free(Packer *packer);
extern bool packer_shrinks(Packer *packer, Bytes in);
extern bool packer_pack(Packer *packer, Bytes in, Buf *out);	/* false: it would not be smaller */
extern VtStatus chunk_unpack(const WireChunk *chunk, Buf *out, VtError *err);	/* one that is packed */

/* ahead.c */
typedef struct Ahead Ahead;

typedef struct AheadChunk
{
	Buf			data;
	uint32_t	raw;			/* bytes that are packed in it; 0: as they are */
	bool		last;
} AheadChunk;

extern Ahead *ahead_start(const ReplicaMachine *machine, void *stream);
extern VtStatus ahead_take(Ahead *ahead, AheadChunk *out, VtError *err);
extern void ahead_stop(Ahead *ahead);	/* NULL is fine */

/* send.c */
extern void send_open(Errand *errand);
extern bool send_go_on(Errand *errand);
extern bool send_is_full(ReplicaHost *host, uint64_t node);	/* its disk is */
extern void send_close(Errand *errand); /* its stream, if it is open */

/* group.c, with the step lock held */
extern void group_handle(Replica *replica, Event *event);
extern void group_duties(Replica *replica);
extern void group_fail_waiters(Replica *replica, VtStatus status, bool all);
extern void group_read(Replica *replica, ReplicaDone done, void *arg);
extern void group_fail_asked(Replica *replica, VtStatus status);

/* apply.c */
extern void host_run(ReplicaHost *host, Replica *replica);
extern void *apply_main(void *host);
extern void apply_forget_payloads(Replica *replica);
extern void apply_turn_over(Replica *replica);
extern void apply_reads(Replica *replica, uint64_t applied);

/* io.c */
#define LOG_SLICE 512			/* deletions in one batch */

extern void *io_main(void *host);
extern void io_checkpoint(Replica *replica);
extern void io_unstage(Replica *replica, uint64_t stream);
extern void io_drop_later(Replica *replica, uint64_t first, uint64_t last);
extern void io_cancel(Replica *replica);
extern void io_drop(ReplicaHost *host, uint64_t group, uint64_t first, uint64_t last);
extern void io_drop_all(Replica *replica, LogRange *ranges);

#endif							/* REPLICA_PRIVATE_H */
