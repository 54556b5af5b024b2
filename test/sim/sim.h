/*-------------------------------------------------------------------------
 *
 * sim.h
 *	  A world of stores, replicas and a bad network, in one thread.
 *
 * One 64-bit seed decides everything: sizes, limits, faults, and the order of
 * events.  Time is a number; events lie in a heap by (time, order).  The core is
 * the real one, messages and entries go through its codec, and memory comes from
 * an allocator that can fail.
 *
 *	  world.c		the event loop; stores and replicas
 *	  disk.c		what survives a crash
 *	  oracle.c		what must be true, looked at after every event
 *	  chains.c		... of logs, compared with each other
 *	  confs.c		... of configurations
 *	  net.c			messages on the wire
 *	  settle.c		the caller's loop
 *	  chaos.c		clients and faults
 *	  members.c		changes of members
 *	  recover.c		lost majorities, and who goes on
 *	  calm.c		the end, when all is repaired
 *	  scenario.c	text scenarios with golden traces
 *	  shrink.c		a smaller world with the same violation
 *	  zoo.c			deliberate bugs, each to be caught
 *	  bench.c		how fast the core alone is
 *	  main.c		the program
 *
 * Three layers of knowledge: the core's own (volatile), the Disk (what a crash
 * leaves), and the Oracle (what was ever committed).  The state machine is an
 * append-only register: what a write returns is its position in the one order of
 * all writes, what a read returns is how many writes there are.  So the oracle
 * needs no search to find a history that is not linearizable.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "raft/raft.h"

#define SIM_MAX_STORES 7
#define SIM_MAX_GROUPS 8			/* a guest may add some to those a world begins with */
#define SIM_MAX_REPLICAS 40		/* of one group, over all time */

#define TICK_TIME 1000			/* units of virtual time per tick */

typedef struct Sim Sim;

/* Deliberate bugs of the caller's side; see RAFT_BUG in src/raft/internal.h. */
#ifdef RAFT_BUGS
extern int	raft_bug;
#define SIM_BUG(n) (raft_bug == (n))
#else
#define SIM_BUG(n) 0
#endif

/* -- disk.c ------------------------------------------------------------------ */

typedef struct DiskEntry
{
	uint64_t	term;
	uint8_t    *bytes;			/* as encoded */
	size_t		len;
} DiskEntry;

/* What a crash leaves of one replica. */
typedef struct Disk
{
	uint8_t		hard[RAFT_HARD_STATE_SIZE];
	bool		has_hard;
	RaftSnapshot base;
	DiskEntry  *entries;		/* entries[i] has index base.index + 1 + i */
	size_t		n;
	size_t		size;
	uint64_t	checkpoint;		/* the state machine is durable up to here */
} Disk;

/* A Ready on its way to the disk: a deep copy. */
typedef struct DiskJob
{
	struct DiskJob *next;
	struct Replica *replica;
	uint64_t	seq;
	RaftHardState hard;
	uint64_t	truncate_from;
	bool		install;
	RaftSnapshot snapshot;
	uint64_t	first;
	DiskEntry  *entries;
	size_t		n;
} DiskJob;

extern DiskJob *disk_job_new(struct Replica *replica, const RaftReady *rd);
extern void disk_job_free(DiskJob *job);
extern void disk_job_apply(Sim *sim, Disk *disk, const DiskJob *job);
extern void disk_compact(Disk *disk, const RaftSnapshot *base);
extern RaftHardState disk_hard(const Disk *disk);
extern uint64_t disk_last(const Disk *disk);
extern bool disk_term(const Disk *disk, uint64_t index, uint64_t *term);
extern VtStatus disk_read_entry(const Disk *disk, uint64_t index, bool payload,
								const RaftAllocator *a, RaftEntry *out);
extern VtStatus disk_open(const Disk *disk, const RaftOptions *options, uint64_t applied,
						  Raft **raft, VtError *err);
extern void disk_free(Disk *disk);

/* -- Replicas ------------------------------------------------------------------ */

typedef struct Pending
{
	bool		is_read;
	uint64_t	index;			/* write: its entry; read: to be applied, 0: not
								 * confirmed */
	uint64_t	term;
	uint64_t	cookie;			/* read */
	uint64_t	floor;			/* length seen by anybody before this began */
} Pending;

typedef struct Applying
{
	uint64_t	index;
	uint64_t	term;
	uint64_t	hash;			/* of the content */
	uint8_t    *bytes;			/* of a command, for a guest; else NULL */
	size_t		len;
} Applying;

typedef struct Replica
{
	uint32_t	group;			/* number in the world */
	uint32_t	store;
	uint64_t	id;
	bool		exists;			/* false: destroyed for good, or awaited */
	bool		awaited;		/* a guest's: of a group that was added, not made yet */
	Disk		disk;

	/* Volatile */
	Raft	   *raft;			/* NULL: its store is down */
	uint64_t	sm_applied;
	Applying   *queue;			/* handed out, not yet applied */
	size_t		queue_n;
	size_t		queue_size;
	bool		apply_scheduled;
	bool		ready_scheduled;
	Pending    *pending;
	size_t		pending_n;
	size_t		pending_size;
	void	   *guest;			/* what a guest keeps with it */
	bool		loading;		/* what it has installed: it is passive, and applies nothing */
	uint64_t	asleep_until;	/* its core has no ticks, unless something happens to it */

	/* For the oracle */
	uint64_t   *chain;			/* prefix digests by index - group base */
	uint64_t	chain_last;		/* known up to here */
	size_t		chain_size;
	uint64_t	written_term;	/* with what was given to the disk last */
	uint64_t	written_vote;
	uint64_t	seen_commit;
	uint64_t	seen_term;
	uint64_t	seen_conf;
	uint64_t	judged_conf;	/* index of the one held against all others */
	uint64_t	seen_quorum;	/* commit index whose quorum was looked at */
	uint64_t	lead_term;		/* led in this term, with a log up to lead_last */
	uint64_t	lead_last;
	uint64_t	match_seen[SIM_MAX_REPLICAS + 1];	/* by replica id, in lead_term */
} Replica;

typedef struct Store
{
	bool		up;
	bool		frozen;			/* for good: left out of the liveness phase */
	uint64_t	epoch;			/* counts boots */
	uint64_t	paused_until;
	uint32_t	tick_time;		/* its clock's idea of a tick */
	DiskJob    *jobs;			/* in order */
	DiskJob   **jobs_tail;
	bool		disk_busy;
} Store;

/* -- Oracle --------------------------------------------------------------------- */

typedef struct Committed
{
	uint64_t	term;
	uint64_t	chain;
	uint64_t	hash;
	uint64_t	length;			/* writes up to and including this entry */
	uint64_t	conf_index;		/* newest configuration up to here */
	uint64_t	by_term;		/* of the replica that first knew it committed */
} Committed;

typedef struct TermChain
{
	uint64_t	index;
	uint64_t	term;
	uint64_t	chain;
} TermChain;

typedef struct TermLeader
{
	uint64_t	term;
	uint64_t	id;
} TermLeader;

typedef struct Group
{
	uint64_t	id;
	uint64_t	base;			/* where it began */
	RaftSnapshot origin;
	RaftOptions options;
	Replica		replicas[SIM_MAX_REPLICAS]; /* id - 1 */
	uint32_t	replicas_n;

	Committed  *committed;		/* by index - base; [0] stands for the base */
	uint64_t	committed_last;
	size_t		committed_size;
	RaftConf   *confs;			/* committed ones, by order */
	uint64_t   *confs_index;
	size_t		confs_n;
	uint64_t	forced;			/* the last configuration that came by force; 0: none */
	uint64_t	lives;			/* so often */

	TermChain  *chains;			/* hash table by (index, term) */
	size_t		chains_n;
	size_t		chains_size;
	TermLeader *leaders;
	size_t		leaders_n;
	size_t		leaders_size;

	uint64_t	next_op;
	uint64_t	next_cookie;
	uint64_t	floor;			/* greatest length any finished operation saw */
	uint64_t	finished;		/* operations, for the liveness phase */
	uint64_t	reads_finished;
} Group;

/* -- What was exercised ----------------------------------------------------------- */

#define SIM_COUNTS(X) \
	X(events) X(elections) X(prevotes) X(transfers) X(partitions) X(one_way) X(pauses) \
	X(crashes) X(crash_points) X(disk_errors) X(lost_batches) X(lost_applied) \
	X(dropped) X(doubled) X(delivered) X(alloc_failures) X(forgotten_leaders) \
	X(conf_changes) X(joint_committed) X(conf_rollbacks) X(learners_promoted) \
	X(peers_gone) X(snapshots_sent) X(snapshots_installed) X(snapshots_lost) \
	X(compactions) X(evictions) X(fetches) X(truncations) X(proposed) X(written) \
	X(reads) X(reads_failed) X(liveness) X(frozen_stores) X(replayed) X(loads) X(sleeps) \
	X(recoveries) X(recovered_less) X(halves_lost)

/* Of these worlds of shards have none: there replicas neither load nor sleep. */
#define SIM_RAFT_ALONE(name) (strcmp(name, "loads") == 0 || strcmp(name, "sleeps") == 0)

/* And these only worlds that lose majorities. */
#define SIM_RECOVERY(name) (strcmp(name, "recoveries") == 0 || strcmp(name, "recovered_less") == 0 || strcmp(name, "halves_lost") == 0)

typedef struct SimCounts
{
#define X(name) uint64_t name;
	SIM_COUNTS(X)
#undef X
} SimCounts;

/* -- The world --------------------------------------------------------------------- */

typedef enum EventType
{
	EVENT_TICK,
	EVENT_DELIVER,
	EVENT_DISK,
	EVENT_APPLY,
	EVENT_READY,
	EVENT_RESTART,
	EVENT_CLIENT,
	EVENT_FAULT,
	EVENT_FETCH,
	EVENT_SNAPSHOT,
	EVENT_LOADED,
	EVENT_GUEST,
	EVENT_NOTHING
} EventType;

typedef struct Packet
{
	uint32_t	group;
	uint32_t	from_store;
	bool		on_its_way;		/* a cut does not stop it any more */
	uint64_t	from;
	uint64_t	to;
	size_t		len;
	uint8_t		bytes[];
} Packet;

typedef struct Event
{
	uint64_t	time;
	uint64_t	order;
	EventType	type;
	uint32_t	store;
	uint64_t	epoch;
	Replica    *replica;
	uint64_t	arg;
	uint64_t	arg2;
	Packet	   *packet;
	void	   *guest;			/* EVENT_GUEST: its own, freed by it */
} Event;

/* The swarm: which faults, how often.  Rates are per mille of an occasion. */
typedef struct SimOptions
{
	uint32_t	stores;
	uint32_t	groups;
	uint32_t	events;			/* of the safety phase */
	uint32_t	drop;
	uint32_t	duplicate;
	uint32_t	delay;			/* mean, in time units */
	uint32_t	late;			/* per mille of messages: delayed by elections */
	uint32_t	disk_delay;
	uint32_t	disk_stall;
	uint32_t	apply_delay;
	uint32_t	crash_point;
	uint32_t	disk_error;
	uint32_t	alloc_failure;
	uint32_t	lazy_ready;
	uint32_t	fault_every;	/* time between faults; 0: none */
	uint32_t	client_every;
	uint32_t	crash_weight;
	uint32_t	cut_weight;
	uint32_t	pause_weight;
	uint32_t	conf_weight;
	uint32_t	transfer_weight;
	uint32_t	compact_weight;
	uint32_t	forget_weight;
	uint32_t	campaign_weight;
	uint32_t	sleep_weight;
	bool		passive;		/* what is installed has to be loaded */
	bool		skew;
} SimOptions;

/*
 * Which world: a seed, and how it differs from the world of that seed alone.
 * without is a set of faults (bits by shrink.c's table) that do not happen here;
 * variant draws other chances under the same options.
 */
typedef struct SimWorld
{
	uint64_t	seed;
	uint32_t	without;
	uint32_t	variant;
	uint32_t	max_events;		/* of the safety phase; 0: as drawn */
	const struct SimGuest *guest;	/* NULL: none */
	bool		splits;			/* the guest's shards are split */
	bool		sessions;		/* its clients are of collections, not of indexes */
	bool		recover;		/* majorities are lost for good; without a guest */
} SimWorld;

/*
 * A guest: a real state machine in place of the register, with its own clients.
 * The world goes on as without it; this is where it is asked.
 */
typedef struct SimGuest
{
	void		(*start) (Sim *sim);	/* groups are made, stores not yet started */
	void		(*end) (Sim *sim);
	void		(*step) (Sim *sim, const Event *event);	/* EVENT_GUEST */
	void		(*drop) (void *guest);	/* of an event that never comes */
	bool		(*looks_well) (Sim *sim, const char **words);	/* in the end */
	bool		(*may_change) (Sim *sim, uint32_t group);	/* its members, now? */

	/* The machine of a replica.  open: from where its log is to be replayed */
	uint64_t	(*open) (Sim *sim, Replica *r);
	void		(*close) (Sim *sim, Replica *r);
	void		(*destroy) (Sim *sim, Replica *r);
	void		(*crash) (Sim *sim, uint32_t store);	/* after its machines are closed */
	void		(*apply) (Sim *sim, Replica *r, const Applying *entries, size_t n);
	void		(*read) (Sim *sim, Replica *r, const Pending *p);	/* may be answered now */
	uint64_t	(*checkpoint) (Sim *sim, Replica *r);	/* durable up to */

	/* Its data travels with the snapshot's id. */
	bool		(*snapshot) (Sim *sim, Replica *r, RaftSnapshot *snapshot);	/* false: not now */
	void		(*install) (Sim *sim, Replica *r, const RaftSnapshot *snapshot);
} SimGuest;

typedef struct SimAllocator
{
	RaftAllocator vtable;
	int64_t		live;
	uint64_t	fail_in;		/* 0: never; 1: the next one */
	uint64_t	failures;
} SimAllocator;

struct Sim
{
	SimWorld	world;
	Prng		prng;
	SimOptions	opt;
	SimAllocator memory;

	uint64_t	now;
	uint64_t	order;
	Event	   *heap;
	size_t		heap_n;
	size_t		heap_size;

	Store		stores[SIM_MAX_STORES];
	bool		cut[SIM_MAX_STORES][SIM_MAX_STORES];	/* from, to */
	Group		groups[SIM_MAX_GROUPS];
	bool		calm;			/* liveness phase: no faults */
	const SimGuest *guest;		/* NULL: machines are registers */
	void	   *guest_state;

	SimCounts	counts;
	uint64_t	digest;			/* of everything that happened */
	bool		failed;
	char		violation[512];
	FILE	   *trace;			/* NULL: none */
};

/* world.c */
extern Sim *sim_new(SimWorld world, FILE *trace);
extern void sim_free(Sim *sim);
extern bool sim_step(Sim *sim); /* false: no event left */
extern void sim_fail(Sim *sim, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern void sim_trace(Sim *sim, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern void sim_note(Sim *sim, uint64_t value);
extern bool sim_chance(Sim *sim, uint32_t per_mille);
extern uint32_t sim_below(Sim *sim, uint32_t n);
extern uint64_t sim_delay(Sim *sim, uint32_t mean);
extern void sim_schedule(Sim *sim, uint64_t delay, Event event);
extern Replica *sim_create_replica(Sim *sim, uint32_t group, uint32_t store, bool founder);
extern void sim_destroy_replica(Sim *sim, Replica *r);
extern void sim_await_replica(Sim *sim, uint32_t group, uint32_t store);
extern void sim_make_awaited(Sim *sim, Replica *r, bool founder);
extern void sim_crash(Sim *sim, uint32_t store);
extern void sim_restart(Sim *sim, uint32_t store);
extern void sim_hasten(Sim *sim, uint64_t delay);
extern void sim_schedule_for(Sim *sim, Replica *r, EventType type, uint64_t delay, uint64_t arg,
							 uint64_t arg2);
extern uint64_t sim_entry_hash(uint8_t type, const uint8_t *data, size_t len);

/* net.c */
extern void sim_format_message(const RaftMessage *m, char *out, size_t size);
extern void sim_send(Sim *sim, Replica *r, const RaftMessage *m);

/* settle.c */
extern void sim_settle(Sim *sim, Replica *r);
extern bool sim_crash_point(Sim *sim, Replica *r);
extern void sim_start_disk(Sim *sim, uint32_t store);
extern void sim_finish_pending(Sim *sim, Replica *r);

/* oracle.c */
extern void oracle_start(Sim *sim, Group *group);
extern void oracle_sending(Sim *sim, Replica *r, const RaftMessage *m);
extern void oracle_look(Sim *sim, Replica *r, bool drained);
extern void oracle_crashing(Sim *sim, Replica *r);
extern void oracle_durable(Sim *sim, Replica *r, const RaftHardState *before,
						   const RaftHardState *after);
extern void oracle_applied(Sim *sim, Replica *r, const Applying *entry);
extern void oracle_snapshot(Sim *sim, Replica *r, const RaftSnapshot *snapshot);
extern void oracle_gone(Sim *sim, Replica *r);
extern void oracle_forced(Sim *sim, Replica *r, uint64_t fork);
extern const Committed *oracle_at(const Group *group, uint64_t index);
extern void oracle_free(Group *group);

/* chains.c */
extern uint64_t oracle_next_chain(uint64_t chain, uint64_t index, uint64_t term, uint64_t hash);
extern void oracle_appended(Sim *sim, Replica *r, const RaftReady *rd);
extern void oracle_reopened(Sim *sim, Replica *r);

/* confs.c */
extern void confs_committed(Sim *sim, Replica *r, const RaftConf *before, const RaftConf *conf);
extern void confs_pending(Sim *sim, Replica *r, const RaftStatus *status);
extern void confs_intersect(Sim *sim, Replica *r);

/* chaos.c */
extern void chaos_options(Sim *sim);
extern void chaos_client(Sim *sim, Replica *old_leader);
extern void chaos_fault(Sim *sim);
extern void chaos_finish(Sim *sim, Replica *r, const Pending *p);
extern Pending *chaos_add_pending(Replica *r);
extern Replica *chaos_any_replica(Sim *sim, Group *group, bool leader);
extern void chaos_heal(Sim *sim);
extern void chaos_cut_network(Sim *sim);

/* recover.c */
extern void chaos_recover(Sim *sim);

/* members.c, calm.c */
extern void chaos_change_members(Sim *sim);
extern void chaos_run(Sim *sim);

/* shrink.c */
extern Sim *sim_run(SimWorld world, FILE *trace);
extern void shrink_options(Sim *sim);
extern bool shrink_keeps_limits(const Sim *sim);
extern bool shrink_parse(const char *names, uint32_t *without);
extern SimWorld shrink(SimWorld world);
extern void shrink_show(SimWorld world, int lines);

/* scenario.c, zoo.c, bench.c */
extern int	scenario_run_all(const char *path, bool update);
extern int	zoo_run(int only, uint64_t first_seed, uint64_t budget);

/* The process ends by SIGPROF when it has worked so long: whatever else the machine has to do is not counted. */
extern void zoo_limit(int seconds);

extern int	bench_run(void);

#endif							/* SIM_SIM_H */
