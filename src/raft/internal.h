/*-------------------------------------------------------------------------
 *
 * internal.h
 *	  What the files of the core share.
 *
 * Who writes what:
 *	  log.c			RaftLog: entries, durability, configurations in the log
 *	  quorum.c		majorities, as pure functions
 *	  conf.c		configurations: rules, entering and leaving joint ones
 *	  progress.c	Progress: what a leader knows of a peer
 *	  election.c	terms, roles, votes
 *	  replication.c	appending, acknowledging, committing, choosing what to send
 *	  read.c		reads confirmed by a round of heartbeats
 *	  snapshot.c	bases, installing, compaction
 *	  transfer.c	handing leadership over
 *	  open.c		what is stored is looked at; life
 *	  step.c		dispatch of events, terms
 *	  raft.c		memory, members, messages to send
 *	  ready.c		collecting the duties
 *
 * Memory is reserved first: an event reserves all it can need (raft_reserve),
 * and what follows cannot fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RAFT_INTERNAL_H
#define RAFT_INTERNAL_H

#include "base/prng.h"
#include "raft/raft.h"

/*
 * Deliberate bugs, for the tests that must notice them (docs/raft-tests.md).
 * A normal build has none: the macro is the constant 0.
 */
#ifdef RAFT_BUGS
extern int	raft_bug __attribute__((visibility("default")));
#define RAFT_BUG(n) (raft_bug == (n))
#else
#define RAFT_BUG(n) 0
#endif

/* A write on its way to the disk: the log is durable up to last when it is. */
typedef struct LogWrite
{
	uint64_t	seq;
	uint64_t	last;
} LogWrite;

/*
 * The log.
 *
 *	1.	entries[start + i] has index base + 1 + i, for i < n.
 *	2.	base <= stable <= emitted <= last: durable, given to the writer, known;
 *		but while a snapshot is being installed base itself is not yet durable.
 *	3.	writes are in order of seq, and each one's last is still the same entry
 *		that was written: truncation lowers it (the guard against A-B-A: an
 *		acknowledgement of a replaced entry must not count for its successor).
 *	4.	confs are the indexes of all CONF entries in the log, ascending; conf is
 *		the one of the last, or else base_conf [dissertation 4.1: a configuration
 *		holds from the moment it is in the log].
 */
typedef struct RaftLog
{
	const RaftAllocator *allocator;

	uint64_t	base;
	uint64_t	base_term;
	uint64_t	base_conf_index;
	RaftConf	base_conf;

	RaftEntry  *entries;
	size_t		start;
	size_t		n;
	size_t		size;			/* allocated */

	uint64_t	stable;
	uint64_t	emitted;
	uint64_t	truncate_from;	/* for the next Ready; 0: nothing */
	LogWrite   *writes;
	size_t		writes_n;
	size_t		writes_size;

	uint64_t   *confs;
	size_t		confs_n;
	size_t		confs_size;
	RaftConf	conf;
	uint64_t	conf_index;

	uint64_t	bytes;			/* payloads, whether resident or not */
	uint64_t	resident_bytes;
	uint64_t	evicted;		/* up to here only configurations are resident */
} RaftLog;

extern uint64_t log_last(const RaftLog *log);
extern uint64_t log_last_term(const RaftLog *log);
extern bool log_term(const RaftLog *log, uint64_t index, uint64_t *term);
extern bool log_matches(const RaftLog *log, uint64_t index, uint64_t term);
extern RaftEntry *log_entry(const RaftLog *log, uint64_t index);
extern VtStatus log_reserve(RaftLog *log, size_t entries, size_t confs);
extern VtStatus log_reserve_write(RaftLog *log);
extern void log_append(RaftLog *log, const RaftEntry *entry);
extern void log_truncate(RaftLog *log, uint64_t from);
extern void log_reset(RaftLog *log, const RaftSnapshot *snapshot);
extern void log_compact(RaftLog *log, uint64_t index);
extern void log_evict(RaftLog *log, uint64_t index);
extern void log_restore(RaftLog *log, uint64_t index, RaftBuf *data);
extern void log_written(RaftLog *log, uint64_t seq);
extern void log_persisted(RaftLog *log, uint64_t seq);
extern uint64_t log_hint(const RaftLog *log, uint64_t index, uint64_t term);
extern void log_conf_at(const RaftLog *log, uint64_t index, RaftConf *conf, uint64_t *conf_index);
extern void log_free(RaftLog *log);

/* -- quorum.c: values and votes stand parallel to conf->members ------------ */

typedef enum Vote
{
	VOTE_NONE,
	VOTE_GRANTED,
	VOTE_REFUSED
} Vote;

typedef enum VoteResult
{
	VOTES_PENDING,
	VOTES_WON,
	VOTES_LOST
} VoteResult;

extern uint64_t quorum_index(const RaftConf *conf, const uint64_t *values);
extern VoteResult quorum_votes(const RaftConf *conf, const Vote *votes);

/* -- progress.c ------------------------------------------------------------ */

typedef struct Inflight
{
	uint64_t	last;			/* last entry of the message */
	uint64_t	bytes;
} Inflight;

/*
 * What is known of a member.
 *
 *	1.	match < next.  match never falls while the term lasts.
 *	2.	The leader's own match is what is durable here.
 *	3.	A PROBE sends one APP and rests until an answer or a heartbeat's answer;
 *		REPLICATE sends until the window is full; SNAPSHOT sends nothing.
 */
typedef struct Progress
{
	uint64_t	id;
	RaftPeerState state;
	uint64_t	match;
	uint64_t	next;
	uint64_t	applied;		/* as it said last; 0 = it has not */
	uint64_t	sent_commit;	/* highest commit index it was told of */
	uint64_t	read_seq;		/* newest round of heartbeats it answered */

	bool		active;			/* heard from since the last quorum check */
	uint32_t	silent;			/* ticks since it was heard from, as far as that matters: transfer.c */
	bool		paused;			/* PROBE: one is out */
	bool		poke;			/* send one empty APP although the window is full */
	bool		beat;			/* a heartbeat is due */
	bool		unfit;			/* to lead, by the caller's word */
	Vote		vote;

	/* SNAPSHOT */
	bool		snapshot_asked; /* the caller knows */
	bool		snapshot_sent;
	RaftSnapshot *snapshot;		/* what the caller gave, or NULL */

	/* Window: a ring */
	Inflight   *inflight;
	uint32_t	inflight_head;
	uint32_t	inflight_n;
	uint32_t	inflight_size;
	uint64_t	inflight_bytes;
} Progress;

extern void progress_probe(Progress *pr, const RaftAllocator *a, uint64_t next);
extern void progress_replicate(Progress *pr, const RaftAllocator *a);
extern void progress_snapshot(Progress *pr, const RaftAllocator *a);
extern void progress_reset(Progress *pr, const RaftAllocator *a, uint64_t next);
extern void progress_free(Progress *pr, const RaftAllocator *a);
extern bool progress_full(const Progress *pr, const RaftOptions *opt);
extern VtStatus progress_reserve(Progress *pr, const RaftAllocator *a, uint32_t more);
extern void progress_sent(Progress *pr, uint64_t last, uint64_t bytes);
extern void progress_acked(Progress *pr, uint64_t index);

/* -- The replica ----------------------------------------------------------- */

/* A message without entries or snapshot, kept until seq after is durable. */
typedef struct Queued
{
	RaftMessage message;
	uint64_t	after;
} Queued;

typedef struct Read
{
	uint64_t	cookie;
	uint64_t	index;
	uint64_t	seq;			/* 0: waits for the first commit of the term */
} Read;

struct Raft
{
	RaftOptions opt;
	const RaftAllocator *allocator;
	Prng		prng;

	/* Durable */
	uint64_t	term;
	uint64_t	vote;
	RaftLog		log;

	/* Role */
	RaftRole	role;
	uint64_t	leader;
	bool		gone;
	bool		passive;		/* never campaigns, by its caller's wish */
	bool		asked;			/* no voter, yet somebody behind us wanted our vote */
	uint64_t	self_vote_after;	/* candidate: own vote counts when durable; 0:
									 * counted */

	/* Time */
	uint32_t	election_elapsed;
	uint32_t	heartbeat_elapsed;
	uint32_t	election_timeout;
	uint32_t	stalled_ticks;	/* something is on its way to the disk, and for so long nothing arrived */

	/* Committing and applying */
	uint64_t	commit;
	uint64_t	handed_out;
	uint64_t	applied;
	uint64_t	applying_bytes;
	uint64_t	uncommitted_bytes;	/* leader */
	uint64_t	term_start;		/* leader: index of its NOOP */

	/* Writing */
	uint64_t	seq_emitted;
	uint64_t	seq_persisted;
	bool		hard_dirty;		/* term or vote differ from what was emitted */
	bool		install;		/* snapshot waits for a Ready */
	uint64_t	installing;		/* seq of the Ready it left in, else 0 */
	RaftSnapshot *incoming;		/* of interest while one of the two above is set */

	/* Members: parallel to log.conf.members, this replica included */
	uint32_t	peers_n;
	Progress	peers[RAFT_MAX_MEMBERS];

	/* Transfer */
	uint64_t	transfer_to;
	uint32_t	transfer_elapsed;

	/* Reads */
	uint64_t	read_seq;		/* newest round sent */
	Read	   *reads;			/* in order of seq, those with 0 last */
	size_t		reads_n;
	size_t		reads_size;
	RaftRead   *reads_done;
	size_t		reads_done_n;
	size_t		reads_done_size;

	/* Messages */
	Queued	   *queue;
	size_t		queue_n;
	size_t		queue_size;
	RaftMessage *out;			/* of the last Ready */
	size_t		out_size;
	RaftRead   *out_reads;
	size_t		out_reads_size;
	uint64_t	out_snapshots[RAFT_MAX_MEMBERS];

	/* Entries asked for, 0: none; asked again with the heartbeat */
	uint64_t	fetch_first;
	uint64_t	fetch_last;

	/* What the last Ready told */
	RaftRole	told_role;
	uint64_t	told_term;
	uint64_t	told_leader;
	uint64_t	told_conf;
	bool		told_gone;
};

/* open.c */
extern VtStatus raft_check_entry(const RaftEntry *entry, uint64_t index, uint64_t term);

/* raft.c */
extern void *raft_alloc(const RaftAllocator *a, size_t size);
extern void raft_free(const RaftAllocator *a, void *p, size_t size);
extern VtStatus raft_grow(const RaftAllocator *a, void **p, size_t *size, size_t want,
						  size_t element);
extern VtStatus raft_reserve(Raft *raft, size_t entries, size_t confs);
extern void raft_queue(Raft *raft, RaftMessage *message);
extern void raft_queue_durable(Raft *raft, RaftMessage *message);
extern uint64_t raft_unwritten_seq(const Raft *raft);
extern Progress *raft_peer(Raft *raft, uint64_t id);
extern bool raft_is_voter(const Raft *raft, uint64_t id);
extern void raft_sync_peers(Raft *raft);
extern bool raft_installing(const Raft *raft);

/* election.c */
extern void raft_become_follower(Raft *raft, uint64_t term, uint64_t leader);
extern bool raft_promotable(const Raft *raft);
extern void raft_start_campaign(Raft *raft, bool ask_first, bool transfer);
extern void raft_handle_vote(Raft *raft, const RaftMessage *m);
extern void raft_handle_vote_resp(Raft *raft, const RaftMessage *m);
extern void raft_own_vote_durable(Raft *raft);
extern void raft_check_quorum(Raft *raft);
extern void raft_reset_timeout(Raft *raft);

/* replication.c */
extern VtStatus raft_handle_append(Raft *raft, const RaftMessage *m);
extern void raft_handle_append_resp(Raft *raft, const RaftMessage *m);
extern void raft_handle_heartbeat(Raft *raft, const RaftMessage *m);
extern void raft_handle_heartbeat_resp(Raft *raft, const RaftMessage *m);
extern void raft_append_own(Raft *raft, RaftEntryType type, RaftBuf *data);
extern void raft_maybe_commit(Raft *raft);
extern void raft_commit_to(Raft *raft, uint64_t index);
/* APPs to one peer in one Ready; more follow in the next. */
#define APPS_PER_READY 8

extern bool raft_wants_to_send(const Raft *raft);
extern size_t raft_send_limit(const Raft *raft);
extern void raft_send(Raft *raft, RaftMessage *out, size_t *n, uint64_t *snapshots, size_t *snapshots_n,
					  RaftFetch *fetch);
extern bool raft_term_committed(const Raft *raft);

/* conf.c */
extern bool conf_same_voters(const RaftConf *a, const RaftConf *b);
extern VtStatus conf_joint(const RaftConf *from, const RaftConf *to, RaftConf *out);
extern void conf_leave(const RaftConf *joint, RaftConf *out);
extern void raft_maybe_leave_joint(Raft *raft);

/* read.c */
extern void raft_reads_assign(Raft *raft);
extern void raft_reads_confirm(Raft *raft);
extern bool raft_reads_open(const Raft *raft);
extern void raft_reads_fail(Raft *raft);

/* snapshot.c */
extern VtStatus raft_reserve_snapshot(Raft *raft);
extern void raft_handle_snapshot(Raft *raft, const RaftMessage *m);

/* transfer.c */
extern void raft_transfer_progress(Raft *raft, const Progress *pr);
extern void raft_transfer_tick(Raft *raft);
extern void raft_transfer_abort(Raft *raft);
extern void raft_transfer_unreachable(Raft *raft, Progress *pr);
extern void raft_handle_timeout_now(Raft *raft);
extern void raft_step_down_when_removed(Raft *raft);
extern void raft_step_down_when_stalled(Raft *raft);

#endif							/* RAFT_INTERNAL_H */
