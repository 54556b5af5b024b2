/*-------------------------------------------------------------------------
 *
 * replica.h
 *	  Raft groups alive in a process: one host loop for many of them.
 *
 * A ReplicaHost owns the shared Raft log and the threads that serve it:
 *
 *	   raft thread		ticks.  A core is stepped by whoever brings it news, one
 *						thread at a time; none touches LevelDB meanwhile
 *	   log writer		one synced batch per cycle for all groups
 *	   apply threads	a run queue of groups; call the state machines
 *	   io thread		checkpoints and log truncation
 *	   errands			a thread each: old log entries for slow peers; installing
 *						snapshots; reading and sending them
 *	   watch			looks whether the others get on
 *
 * A Replica is one group's replica with its state machine.  Peers are reached
 * through two functions of the caller's (ReplicaTransport).
 *
 * Conventions
 *
 * 1. Any thread may call; nothing blocks except open, create, destroy and stop.
 * 2. A done callback comes exactly once, on an apply thread or on one that
 *	  steps the cores, the caller's own perhaps.  It must be short and take no
 *	  lock under which this module is called: fill in an answer and hand it on.
 * 3. Acknowledged means durable on a majority and applied here (law S1).
 * 4. A write that fails stops the process with a log line (laws S4, P8), and so does
 *	  one that does not end.
 * 5. Without a transport only groups with this one voter can be served.
 *
 *-------------------------------------------------------------------------
 */
#ifndef REPLICA_H
#define REPLICA_H

#include "base/metrics.h"
#include "net/net.h"
#include "raft/raft.h"
#include "store/store.h"
#include "wire/wire.h"

typedef struct ReplicaHost ReplicaHost;
typedef struct Replica Replica;

/* A committed command, for the state machine. */
typedef struct ReplicaCommand
{
	uint64_t	index;
	uint64_t	term;
	Bytes		bytes;
	bool		led;			/* proposed here, as leader: this replica does not just catch up */
	VtStatus	status;			/* the decision, for whoever proposed it */
	Buf			reply;			/* what goes with it; freed by the host */
} ReplicaCommand;

typedef struct ReplicaMachine
{
	/*
	 * Apply commands in order and remember applied as the new applied index,
	 * all in one batch of the machine's own store (law S2).  Commands may be
	 * refused (status), but not fail: a status other than VT_OK from apply
	 * itself stops the process.
	 */
	VtStatus	(*apply) (void *state, ReplicaCommand *commands, size_t n, uint64_t applied,
						  VtError *err);

	/* Make everything applied so far durable; *index is what is covered. */
	VtStatus	(*checkpoint) (void *state, uint64_t *index, VtError *err);

	/*
	 * Snapshots, on an errand thread, beside apply; NULL in a machine that never
	 * has peers.  open pins the state as of *index, read appends about `bytes`
	 * of it to out and says when that was the last.
	 */
	VtStatus	(*snapshot_open) (void *state, void **stream, uint64_t *index, VtError *err);
	VtStatus	(*snapshot_read) (void *stream, size_t bytes, Buf *out, bool *last, VtError *err);
	void		(*snapshot_close) (void *stream);

	/*
	 * Take a chunk of a snapshot that a peer sends, beside the state in force.
	 * Chunks of a stream come in order from 0; *next is the one wanted, whatever
	 * came.  When the last has come all of it is durable.  On any thread, one at
	 * a time for a replica.
	 */
	VtStatus	(*stage) (void *state, const WireChunk *chunk, uint32_t *next, VtError *err);

	/* What is staged will not be installed: let go of it.  NULL: it stays until the next stream. */
	VtStatus	(*unstage) (void *state, VtError *err);

	/*
	 * Put a staged stream, which stands at index, in the place of the state,
	 * durably.  After a crash the machine, when opened, finds that the base of its
	 * log names this stream, and does the same.  From then on the replica votes
	 * and takes entries, while load brings the state into memory (NULL: nothing
	 * to do).  Nothing is applied before that has ended.
	 */
	VtStatus	(*install) (void *state, uint64_t stream, uint64_t index, VtError *err);
	VtStatus	(*load) (void *state, uint64_t index, VtError *err);

	/*
	 * replica_status() or replica_members() may say something else than before; it does
	 * already.  On any thread, with locks held: it must be short.  NULL: nobody wants to know.
	 */
	void		(*changed) (void *state);

	/*
	 * Another replica's machine says this (replica_tell), which may be of any age, or come
	 * twice; whether that one leads is not looked at.  One call at a time, with locks held: it must be short and
	 * call nothing here but replica_status().  NULL: nobody wants to know.
	 */
	void		(*told) (void *state, uint64_t from, Bytes words);
	void	   *state;
} ReplicaMachine;

/* How messages reach other stores; a node is a store's number. */
typedef struct ReplicaTransport
{
	/* Send a WireRaft or lose it; never waits.  Takes *messages. */
	void		(*send) (void *arg, uint64_t node, Buf *messages);

	/*
	 * Send a WireChunk, and wait for the answer to the oldest that has none yet: several
	 * are under way.  After a failure of either no answer comes any more; result NULL:
	 * none is wanted.  One thread at a time for a node.
	 */
	VtStatus	(*chunk) (void *arg, uint64_t node, Bytes chunk, VtError *err);
	VtStatus	(*answer) (void *arg, uint64_t node, WireChunkResult *result, VtError *err);
	void	   *arg;

	/* Who waits in one of these two fails soon.  From any thread, which may step; NULL: they never wait. */
	void		(*interrupt) (void *arg, uint64_t node);
} ReplicaTransport;

/*
 * The transport that processes use: links to the nodes whose endpoints are
 * noted.  One process of a role speaks to others of the same.
 */
typedef struct ReplicaLinks ReplicaLinks;

typedef struct ReplicaLinksOptions
{
	WireRole	role;
	VtId		cluster;		/* zero and 0: not known yet */
	uint64_t	node;
	uint64_t	boot_epoch;
	NetTls	   *tls;			/* for tcp; NULL = none */
} ReplicaLinksOptions;

extern ReplicaLinks *replica_links_new(const ReplicaLinksOptions *options);
extern void replica_links_set_identity(ReplicaLinks *links, const VtId *cluster, uint64_t node);
extern ReplicaTransport replica_links_transport(ReplicaLinks *links);

/* The host that has this transport, before anybody is noted. */
extern void replica_links_serve(ReplicaLinks *links, ReplicaHost *host);

/* A node listens there, from now on.  Any thread. */
extern void replica_links_note(ReplicaLinks *links, uint64_t node, const char *endpoint);

/* Tell the log who cannot be reached, and who can be again; now and then. */
extern void replica_links_look(ReplicaLinks *links);

/* The same as numbers for Prometheus: vectron_peers. */
extern void replica_links_metrics(ReplicaLinks *links, Buf *out);

/* A node's connection to us is gone.  In a callback of net's. */
extern void replica_links_lost(ReplicaLinks *links, uint64_t node);

/*
 * Before the host ends: nothing is sent any more, what waits for a peer's answer
 * ends, and so do the links' threads, which tell the host who is dead.  Free them
 * after the host.
 */
extern void replica_links_stop(ReplicaLinks *links);
extern void replica_links_free(ReplicaLinks *links);

typedef struct ReplicaHostOptions
{
	ReplicaTransport transport; /* all zero: no peers */
	uint64_t	node;			/* this store; see replica_host_set_node() */
	uint32_t	apply_threads;	/* 0 = half of the cores, at least 2 */
	uint32_t	tick_ms;		/* Raft counts time in these; 0 = 50 */
	uint64_t	checkpoint_bytes;	/* log bytes of a group before one; 0 = 64 MiB */
	uint64_t	snapshot_first_bytes;	/* of log: a peer with nothing gets a snapshot in its place; 0 = 1 MiB */

	/* Proposals accepted and not applied, all groups; one alone gets half of it; 0 = 256 MiB */
	uint64_t	max_inflight_bytes;

	/* Of all groups; the log of the fullest is cut, whoever needs it; 0 = 1 GiB */
	uint64_t	log_bytes;

	uint64_t	snapshot_rate;	/* bytes a second of all snapshots sent; 0 = no limit */

	/* Log entries kept in memory since they are not applied or peers may need them, of all groups; 0 = 256 MiB */
	uint64_t	resident_bytes;

	/*
	 * Of a group, committed and not applied, by the leader or by more than half of the
	 * voters, before new data is not to be proposed (replica_lags); 0 = no limit
	 */
	uint64_t	lag_entries;
	uint64_t	lag_bytes;		/* by the mean of the entries in the log */

	/*
	 * How often it is looked whether writing, applying and ticking get on; what did not
	 * is told, and when the disk did not answer 30 times in a row the process stops.  0 = 1000
	 */
	uint32_t	watch_ms;
} ReplicaHostOptions;

/* log stays the caller's and must outlive the host. */
extern VtStatus replica_host_start(Store *log, const ReplicaHostOptions *options,
								   ReplicaHost **out, VtError *err);

/* Close all replicas: checkpoint each, stop the threads. */
extern void replica_host_stop(ReplicaHost *host);

#define REPLICA_TICK_KINDS 15

typedef struct ReplicaHostFigures
{
	uint64_t	log_bytes;		/* in the logs of all groups */
	uint64_t	resident_bytes; /* of them, in memory */
	uint64_t	inflight_bytes; /* proposals accepted and not applied */
	uint64_t	inbox_bytes;	/* messages not yet stepped */
	uint64_t	memory_bytes;	/* entries in memory, whether their payload is, and messages not stepped yet */
	uint64_t	sending_bytes;	/* chunks of snapshots that are kept until they are acknowledged */
	uint64_t	dropped;		/* frames from peers, for want of room */
	uint64_t	asleep;			/* groups in which nothing happens: sleep.c */
	uint64_t	ticks[REPLICA_TICK_KINDS];	/* so many that late, and no less */
} ReplicaHostFigures;

/* Ticks of Raft's clock by how late they came: at most so many microseconds. */
extern const uint32_t replica_ticks_late_us[REPLICA_TICK_KINDS];

extern void replica_host_figures(ReplicaHost *host, ReplicaHostFigures *out);

/* What does not get on, in words; NULL = all does.  Neither this nor the figures wait for anybody. */
extern const char *replica_host_stalled(const ReplicaHost *host);

/* All that is counted here, as Prometheus reads it; vectron_raft_... and vectron_snapshot... */
extern void replica_host_metrics(ReplicaHost *host, Buf *out);

/* The number of this store, once it is known. */
extern void replica_host_set_node(ReplicaHost *host, uint64_t node);

/* A WireRaft from a peer; takes *messages.  Never waits; too much is dropped. */
extern void replica_host_receive(ReplicaHost *host, Buf *messages);

/*
 * The same where the caller may do work: no other thread has to wake for it, but the
 * caller must call step() soon, which it may do once for several.
 */
extern void replica_host_take(ReplicaHost *host, Buf *messages);
extern void replica_host_step(ReplicaHost *host);

/*
 * A store is known to be dead (its connection was reset and a new one refused):
 * followers of leaders there elect at once instead of waiting.  A hint: when
 * it is wrong, only an election is wasted.
 */
extern void replica_host_node_down(ReplicaHost *host, uint64_t node);

/*
 * Make this store's replica of a group.  founders: the group is founded with
 * these voters, base_index is where its log begins; every founder is told the
 * same, once in the life of the cluster.  NULL, with a base_index of 0: the group
 * exists, this replica waits for its leader, and its machine has nothing.  Durable on return.  VT_EXISTS when the group is there
 * already (with the same replica: fine to open it); VT_DENIED for a replica id
 * that was destroyed here.
 */
extern VtStatus replica_create(ReplicaHost *host, uint64_t group, uint64_t replica,
							   const RaftConf *founders, uint64_t base_index, VtError *err);

/*
 * The base of a group's log as it is stored, before the group is opened.  A
 * machine that stands before it was about to install the stream with that id.
 */
extern VtStatus replica_stored_base(ReplicaHost *host, uint64_t group, RaftSnapshot *out,
									VtError *err);

/*
 * Open a group that was created.  applied is where the machine stands after
 * law S2's choice between its applied index and its checkpoint; what follows
 * is replayed.  VT_CORRUPT when the log does not reach that far.
 */
extern VtStatus replica_open(ReplicaHost *host, uint64_t group, uint64_t replica,
							 const ReplicaMachine *machine, uint64_t applied, Replica **out,
							 VtError *err);

/* Forget the group and leave a tombstone.  The machine is not called again. */
extern VtStatus replica_destroy(Replica *replica, VtError *err);

/*
 * Checkpoint and close: the group and its log stay, and replica_open() brings it
 * back.  The machine is not called again; whoever waits gets VT_UNAVAILABLE.
 */
extern void replica_close(Replica *replica);

/*
 * As replica_destroy(), for a group that is not open here, or was never founded: whatever
 * the log has of it goes, and this replica can never be created again.  Fine to
 * be asked twice.
 */
extern VtStatus replica_forget(ReplicaHost *host, uint64_t group, uint64_t replica, VtError *err);

/*
 * Of a group whose majority is lost for good, and which is not open here; durable on
 * return, and fine to be asked twice.  outlive: this replica hears nothing of an earlier
 * life than this one any more (raft_outlive).  force: when all that are left have
 * outlived it, the group goes on with members, in which this replica alone votes
 * (raft_force).  VT_NOT_FOUND: there is nothing of the group here.
 */
extern VtStatus replica_outlive(ReplicaHost *host, uint64_t group, uint64_t replica, uint64_t life, VtError *err);
extern VtStatus replica_force(ReplicaHost *host, uint64_t group, uint64_t replica,
							  const RaftConf *members, uint64_t life, VtError *err);

/* status VT_OK: committed and applied at index, and the machine said this. */
typedef void (*ReplicaDone) (void *arg, VtStatus status, uint64_t index, Bytes reply);

/*
 * Propose a command (copied).  done gets the machine's status, or
 * VT_NOT_LEADER, VT_BUSY (too much in flight), VT_FULL (too large),
 * VT_STOPPING; after VT_UNAVAILABLE the command may still be applied.
 */
extern void replica_propose(Replica *replica, Bytes command, ReplicaDone done, void *arg);

/* The same, and the caller must call replica_host_step() soon, once for several. */
extern void replica_propose_soon(Replica *replica, Bytes command, ReplicaDone done, void *arg);

/*
 * The same for a command that was made for the members of the configuration at
 * conf_index: VT_FENCED when another one is in the log by now, or that one is joint.
 * The command then comes before any other configuration.
 */
extern void replica_propose_under(Replica *replica, Bytes command, uint64_t conf_index, ReplicaDone done,
								  void *arg);

/*
 * An index that covers every write acknowledged before this call, when this
 * replica has applied it (ReadIndex).  VT_NOT_LEADER otherwise.
 */
extern void replica_read(Replica *replica, ReplicaDone done, void *arg);

/*
 * The same at any replica: one that does not lead asks who does, and waits until it
 * has applied what that one says.  VT_NOT_LEADER when it knows none, none answers, or a
 * snapshot is to be installed here; VT_BEHIND when it does not apply that within a second.
 */
extern void replica_read_anywhere(Replica *replica, ReplicaDone done, void *arg);

/*
 * The same without a hop, where that is possible: the sole voter of a group
 * has applied whatever was acknowledged.  False: use replica_read().
 */
extern bool replica_read_now(Replica *replica, uint64_t *index);

/*
 * Say something to the machines of the other replicas, members of all roles, beside the log: what
 * helps them but decides nothing, as it is lost like any message.  Takes *words.  Wakes nobody, and does
 * not wake a group that sleeps: it leaves with the next message, within a tick.  More than 1 MiB is lost.
 */
extern void replica_tell(Replica *replica, Buf *words);

/*
 * Change the members to target, computed from the configuration at conf_index
 * (raft_propose_conf).  done: VT_OK when the change is under way.
 */
extern void replica_change(Replica *replica, const RaftConf *target, uint64_t conf_index,
						   ReplicaDone done, void *arg);

/* Ask for votes now, not at the next timeout: of a group that nobody has led yet. */
extern void replica_campaign(Replica *replica);

/* Hand leadership to a voter; done: VT_OK when that is under way. */
extern void replica_transfer(Replica *replica, uint64_t to, ReplicaDone done, void *arg);

/*
 * A chunk of a snapshot for this replica.  *result is the answer, also when
 * the chunk is refused.
 */
extern void replica_stage(Replica *replica, const WireChunk *chunk, WireChunkResult *result);

/* There is no room for it: let go soon of what has come, unless it is whole. */
extern void replica_unstage(Replica *replica);

typedef struct ReplicaStatus
{
	uint64_t	group;
	uint64_t	replica;
	uint64_t	term;
	uint64_t	applied;
	uint64_t	last;			/* entry of its log, and that one's term; while it leads or */
	uint64_t	last_term;		/* follows they are of about now, and never of the same moment */
	uint64_t	leader_replica; /* as this one knows; 0 = none */
	bool		leader;
	bool		serving;		/* leader, and has applied an entry of its term */
	bool		alone;			/* it is the only member */
	bool		current;		/* leader, or has heard from one since it was opened */
	bool		gone;			/* a leader says it is no member */
	int64_t		led_us;			/* when it heard from its leader, led or was opened; 0 = it leads */
} ReplicaStatus;

extern void replica_status(const Replica *replica, ReplicaStatus *out);

typedef struct ReplicaMember
{
	RaftMember	member;
	uint64_t	match;			/* as the leader knows; else 0 */
	uint64_t	applied;		/* as it told the leader last, some ticks ago at most; 0 = not known */
	bool		active;			/* heard from lately, as the leader knows */
} ReplicaMember;

/* Who belongs to the group, as of about now. */
typedef struct ReplicaMembers
{
	uint64_t	conf_index;
	bool		joint;
	uint32_t	n;
	ReplicaMember members[RAFT_MAX_MEMBERS];
} ReplicaMembers;

extern void replica_members(Replica *replica, ReplicaMembers *out);

/* This store's disk or memory is nearly used up, or no longer: other stores are told. */
extern void replica_host_set_short(ReplicaHost *host, bool is_short);

/*
 * Of a leader, as of about now: most of its voters are on such stores, so no new data should
 * be proposed.  What makes room should be, and changes of members.
 */
extern bool replica_is_crowded(const Replica *replica);

/*
 * Of a leader, as of half a second ago at most: it, or more than half of the voters, has
 * more to apply than lag_entries and lag_bytes allow, so no new data should be proposed
 * until they have applied more.  That needs nothing to be proposed.
 */
extern bool replica_lags(const Replica *replica);

/* Let go of the machine's state that is pinned for snapshots: none that is under way is sent to its end. */
extern void replica_cease_sending(Replica *replica);

/* Ask for a checkpoint soon. */
extern void replica_checkpoint(Replica *replica);

#endif							/* REPLICA_H */
