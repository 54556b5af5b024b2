/*-------------------------------------------------------------------------
 *
 * raft.h
 *	  Consensus as a function: events in, a list of duties out.
 *
 * A Raft is one replica of one group, held in memory.  It touches no disk, no
 * clock, no socket, no thread and no log; what has to be done is described in a
 * RaftReady, and the caller (src/replica, or the simulator under test/sim) does
 * it.  The same calls give the same duties, byte for byte.
 *
 * Conventions
 *
 *	1.	A Raft is owned by one thread at a time; no call blocks.  Only RaftBuf
 *		may be shared between threads (its count is atomic).
 *	2.	Integers are u64 unless small by nature.  Group and replica ids are never
 *		0 and never used twice, not even after a disk was wiped [P9].  0 stands
 *		for "none".
 *	3.	Indexes start after the base: a group may begin at any index (a shard
 *		split off another begins where its parent stood).  Nothing assumes 1.
 *	4.	Every function that may allocate returns VtStatus.  On VT_NOMEM nothing
 *		has changed: call again, or treat a message as lost.
 *	5.	What a RaftReady points to belongs to the Raft and stays valid until the
 *		next call on the same Raft, except the raft_get_* readers.  Keep an
 *		entry's payload longer with raft_buf_ref().
 *	6.	A message that cannot be used is dropped without harm; raft_step() says
 *		VT_OK.  It says VT_PROTOCOL only for messages no correct peer sends.
 *	7.	Comments name the rules of persistence P1 to P10 of README.md here.
 *
 * The caller's loop, for every group that has_ready:
 *
 *		while (raft_has_ready(raft))
 *		{
 *			raft_ready(raft, &rd);				   VT_NOMEM: try again later
 *			send rd.messages;					   (a)
 *			start rd.fetch, rd.snapshots_to;	   (b)
 *			if (rd.seq != 0) write rd;			   (c)  later: raft_persisted()
 *			hand rd.committed to the applier;	   (d)  later: raft_applied()
 *			answer rd.reads once applied >= index; (e)
 *		}
 *
 *	(a)	Every message of a Ready may leave at once.  Those that have to wait for
 *		the disk (votes, vote requests, acknowledgements: P1, P2) are held inside
 *		and appear in a Ready after raft_persisted().  Messages may be lost,
 *		doubled, delayed and reordered.
 *	(b)	rd.fetch: entries whose payload is no longer resident and that a peer
 *		needs; read them from the log and hand them to raft_fetched().
 *		rd.snapshots_to: peers too far behind for the log; prepare a snapshot,
 *		call raft_send_snapshot(), stream its data beside the SNAP message.
 *	(c)	One atomic, synced batch, in this order: when rd.snapshot, the
 *		installed state and the new base in place of the whole log; when
 *		rd.truncate_from, remove every stored entry with index >= it; write
 *		rd.append; write rd.hard [P5].  Batches go to the disk in the order of
 *		seq; several may be under way.  raft_persisted(seq) says that this and
 *		all earlier ones are durable.  If a write fails the process stops: there
 *		is no way to take a Ready back [P8].
 *	(d)	Entries come in order, once per life of the Raft, and only when they are
 *		committed and durable here [P4].  Those with size > 0 and no data are to
 *		be read from the log.  NOOP and CONF entries are handed out too, so that
 *		the applied index has no gaps; the state machine skips them.  At most
 *		max_apply_bytes are out at a time.
 *	(e)	A read may be served once the state machine has applied its index.
 *
 * A proposal is known by (index, term) as raft_propose() returned them.  When
 * the entry applied at that index has another term the proposal is lost; when
 * the leader has lost its role before, its fate is unknown.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

/*
 * Memory.  alloc may return NULL.  free gets the size that was asked for.
 * Payloads (RaftBuf) may be freed on another thread: an allocator whose bufs
 * travel must be thread-safe.  It outlives every Raft and RaftBuf made with it.
 */
typedef struct RaftAllocator
{
	void	   *(*alloc) (void *state, size_t size);
	void		(*free) (void *state, void *p, size_t size);
	void	   *state;
} RaftAllocator;

/*
 * A payload: bytes that never change, shared by the log, messages, the log
 * writer and the applier.  Made with one reference.
 */
typedef struct RaftBuf
{
	uint32_t	refs;			/* atomic */
	uint32_t	len;
	const RaftAllocator *allocator;
	uint8_t		data[];
} RaftBuf;

/* data may be NULL to leave the bytes for the caller to fill.  NULL: no memory. */
extern RaftBuf *raft_buf_new(const RaftAllocator *allocator, const void *data, uint32_t len);
extern RaftBuf *raft_buf_ref(RaftBuf *buf); /* NULL is fine */
extern void raft_buf_release(RaftBuf *buf); /* NULL is fine */

/* -- Entries -------------------------------------------------------------- */

/*
 * Numbers go to disk and wire.  What a COMMAND means (write, split, fence, ...)
 * is the state machine's own format.  An unrecognized type stops the replica:
 * it was written by a newer version whose rules we do not know.
 */
typedef enum RaftEntryType
{
	RAFT_NOOP = 1,				/* a leader's first entry; no payload */
	RAFT_COMMAND = 2,
	RAFT_CONF = 3				/* payload: raft_conf_encode() */
} RaftEntryType;

typedef struct RaftEntry
{
	uint64_t	index;
	uint64_t	term;
	uint32_t	size;			/* bytes of payload */
	uint8_t		type;			/* RaftEntryType */
	RaftBuf    *data;			/* NULL: empty, or not resident */
} RaftEntry;

/* -- Configuration -------------------------------------------------------- */

#define RAFT_MAX_MEMBERS 32

/* Roles of a member, a set of bits. */
#define RAFT_VOTER		0x01	/* votes in the (new) configuration */
#define RAFT_VOTER_OLD	0x02	/* votes in the old one, while joint */
#define RAFT_LEARNER	0x04	/* receives the log, does not vote (later) */

typedef struct RaftMember
{
	uint64_t	id;				/* replica */
	uint64_t	node;			/* where it lives; opaque here */
	uint8_t		roles;
} RaftMember;

/*
 * Who belongs to the group.
 *
 *	1.	Members are in ascending order of id, without repetition.
 *	2.	Not joint: each member is VOTER or LEARNER.  Joint: there are VOTER_OLD
 *		and VOTER members, and decisions need a majority of each.
 *	3.	While joint, a voter on its way out is VOTER_OLD only, one that becomes
 *		a learner VOTER_OLD | LEARNER.
 *	4.	A replica not yet contacted has no members at all.
 */
typedef struct RaftConf
{
	uint32_t	n;
	bool		joint;
	RaftMember	members[RAFT_MAX_MEMBERS];
} RaftConf;

extern const RaftMember *raft_conf_find(const RaftConf *conf, uint64_t id);
extern VtStatus raft_conf_check(const RaftConf *conf, VtError *err);

/* -- What is stored ------------------------------------------------------- */

/*
 * Term and vote must be durable before anybody hears of them.  commit is a hint
 * and never a reason to sync [P6].  last_* describe the log as of this batch, so
 * that an entry missing at load time is known to be damage.
 */
typedef struct RaftHardState
{
	uint64_t	term;
	uint64_t	vote;			/* replica voted for in term, or 0 */
	uint64_t	commit;
	uint64_t	last_index;
	uint64_t	last_term;
} RaftHardState;

/*
 * A point in the log that stands for everything up to it: the base of a
 * compacted log, or a snapshot that travels.  Index and term are of the last
 * entry it includes; conf is the committed configuration as of there.
 */
typedef struct RaftSnapshot
{
	uint64_t	index;
	uint64_t	term;
	uint64_t	conf_index;		/* index conf was written at */
	RaftConf	conf;

	/* For the transport of its data; opaque here. */
	uint64_t	id;				/* of this stream */
	uint64_t	bytes;
	uint32_t	chunk_bytes;
	uint64_t	checksum;
} RaftSnapshot;

/*
 * What was loaded from the store.  A new group: hard all zero, no entries, and a
 * base with the first configuration (index 0 and term 0, or where a split
 * begins; the caller has made the base durable).  A replica that joins an
 * existing group: base with index 0 and no members.
 *
 * Entries continue the base without a gap.  Payloads may be left out (data
 * NULL, size right) except those of CONF entries.
 */
typedef struct RaftStored
{
	RaftHardState hard;
	RaftSnapshot base;
	const RaftEntry *entries;
	size_t		n;
	uint64_t	applied;		/* of the state machine, >= base.index */
} RaftStored;

/* -- Messages ------------------------------------------------------------- */

typedef enum RaftMessageType
{
	RAFT_APP = 1,				/* entries after (index, log_term); commit */
	RAFT_APP_RESP = 2,			/* index: matched up to; or REJECT with hints */
	RAFT_HEARTBEAT = 3,			/* commit (already clipped), read_seq */
	RAFT_HEARTBEAT_RESP = 4,	/* read_seq as received */
	RAFT_PREVOTE = 5,			/* term: the one it would campaign in */
	RAFT_PREVOTE_RESP = 6,
	RAFT_VOTE = 7,				/* (index, log_term): last durable entry */
	RAFT_VOTE_RESP = 8,
	RAFT_SNAP = 9,				/* snapshot; the data travels beside it */
	RAFT_TIMEOUT_NOW = 10,		/* campaign now: leadership transfer */
	RAFT_PEER_GONE = 11			/* receiver is not in configuration at index */
} RaftMessageType;

#define RAFT_FLAG_REJECT	0x01	/* in responses */
#define RAFT_FLAG_TRANSFER	0x02	/* VOTE: on behalf of the old leader */
#define RAFT_FLAG_QUIET		0x04	/* HEARTBEAT: no answer wanted */

typedef struct RaftMessage
{
	uint8_t		type;			/* RaftMessageType */
	uint8_t		flags;
	uint64_t	group;
	uint64_t	from;
	uint64_t	to;
	uint64_t	term;
	uint64_t	index;
	uint64_t	log_term;
	uint64_t	commit;			/* of an answer: applied there; 0 = it does not say */
	uint64_t	hint;			/* APP_RESP REJECT: last index that may match */
	uint64_t	read_seq;
	const RaftEntry *entries;
	uint32_t	n;
	const RaftSnapshot *snapshot;
} RaftMessage;

/* -- A replica ------------------------------------------------------------ */

typedef enum RaftRole
{
	RAFT_FOLLOWER,
	RAFT_PRECANDIDATE,			/* asks whether it would be elected */
	RAFT_CANDIDATE,
	RAFT_LEADER
} RaftRole;

typedef struct RaftOptions
{
	uint64_t	group;
	uint64_t	id;
	uint64_t	seed;			/* of election timeouts; differs per replica */
	const RaftAllocator *allocator;

	/* Time, in calls of raft_tick() */
	uint32_t	election_ticks; /* timeouts are uniform in [1x, 2x) of this */
	uint32_t	heartbeat_ticks;

	/* Limits */
	uint32_t	max_entry_bytes;	/* one payload */
	uint32_t	max_message_bytes;	/* payload of one APP; one entry always fits */
	uint32_t	max_message_entries;
	uint32_t	max_inflight_messages;	/* unacknowledged APPs per peer */
	uint64_t	max_inflight_bytes;
	uint64_t	max_uncommitted_bytes;	/* leader's tail; then VT_BUSY */
	uint64_t	max_apply_bytes;	/* committed handed out, not yet applied */
	uint32_t	max_reads;		/* waiting raft_read() calls; then VT_BUSY */
	uint64_t	transfer_max_lag;	/* entries; a target further behind: VT_BEHIND */
	uint64_t	promote_max_lag;	/* entries a learner may lack to become voter */
	uint64_t	snapshot_first_bytes;	/* a peer that has nothing gets a log up to this; else a snapshot */
} RaftOptions;

typedef struct Raft Raft;

/* The defaults of README.md; the caller sets group, id, seed, allocator. */
extern void raft_options_init(RaftOptions *options);

/*
 * Bring a replica to life from what is stored.  VT_CORRUPT when that cannot have
 * been written by a correct replica (a gap, falling terms, applied beyond the
 * log: part of it is lost [do not vote; rejoin under a new id]); VT_VERSION for
 * an entry type this version does not know; VT_INVALID for options out of
 * range.  Payload references are taken; everything else is copied.
 */
extern VtStatus raft_open(const RaftOptions *options, const RaftStored *stored, Raft **out,
						  VtError *err);
extern void raft_close(Raft *raft);

/*
 * A group that has lost its majority for good begins another life (force.c).  Each
 * has terms of its own: what is said in one is never taken for what was said in another.
 */
#define RAFT_LIFE_TERMS (UINT64_C(1) << 20)	/* no elections need so many */

static inline uint64_t
raft_life_term(uint64_t life)
{
	return life * RAFT_LIFE_TERMS;
}

/* The term in which somebody is forced to lead. */
static inline uint64_t
raft_forced_term(uint64_t life)
{
	return raft_life_term(life) + RAFT_LIFE_TERMS / 2;
}

/*
 * Of a replica that is not open: the hard state with which it hears nothing of an
 * earlier life any more.  The caller writes it, synced.  VT_EXISTS: it is so already.
 */
extern VtStatus raft_outlive(const RaftStored *stored, uint64_t life, RaftHardState *hard);

/*
 * Of one that is not open either, the most advanced of those that are left, which have
 * all outlived the life before: the entry and the hard state that make members its group,
 * in which id alone votes.  The caller writes both in one synced batch and opens the
 * replica, which then elects itself.  Only one of a group in a life.  entry->data is the
 * caller's to release.
 *
 * VT_EXISTS: somebody was forced in that life, as id has heard, so there is nothing to
 * be done; VT_NOT_FOUND: it has nothing of its group; VT_INVALID: members.
 */
extern VtStatus raft_force(const RaftStored *stored, uint64_t id, const RaftConf *members, uint64_t life,
						   const RaftAllocator *allocator, RaftEntry *entry, RaftHardState *hard,
						   VtError *err);

/* -- Events --------------------------------------------------------------- */

/*
 * A message from a peer, already decoded and checked.  A SNAP is stepped when
 * all of its data has arrived and waits to be installed.
 */
extern VtStatus raft_step(Raft *raft, const RaftMessage *message);

/* One tick of time has passed. */
extern VtStatus raft_tick(Raft *raft);

/*
 * Append n commands, all or none.  The payloads' references are taken by the
 * Raft itself; the caller keeps its own.  VT_NOT_LEADER; VT_BUSY while
 * leadership is being handed over or too much is uncommitted; VT_FULL for a
 * payload over max_entry_bytes.  *first is the index of commands[0], *term the
 * term of all.
 */
extern VtStatus raft_propose(Raft *raft, RaftBuf *const *commands, size_t n, uint64_t *first,
							 uint64_t *term);

/*
 * Change the members to target (not joint), which was computed from the
 * configuration at conf_index: VT_FENCED when another one holds by now.  A change
 * of voters goes through a joint configuration that is left by itself; a change
 * of learners takes one entry.  A configuration holds from the moment it is in
 * the log, and falls back when its entry is replaced.
 *
 * VT_NOT_LEADER; VT_BUSY while an earlier change or the first entry of the term
 * is not committed, or when no more than half of those who are to vote were heard
 * from within an election timeout; VT_BEHIND when a new voter is not yet a learner
 * that has answered and is caught up; VT_INVALID for a target without voters, with repeated ids, ...
 */
extern VtStatus raft_propose_conf(Raft *raft, const RaftConf *target, uint64_t conf_index,
								  uint64_t *index);

/*
 * Ask for an index such that a state machine that has applied it shows every
 * write acknowledged before this call (ReadIndex).  Leader only.  The cookie
 * comes back in some Ready's reads, never twice, and never travels.  When the
 * role is lost before, the read comes back with index 0: ask elsewhere.
 */
extern VtStatus raft_read(Raft *raft, uint64_t cookie);

/*
 * Hand leadership to a voter.  Proposals are refused meanwhile; given up after
 * one election timeout, or when it is silent for two heartbeats or unreachable.
 * VT_NOT_LEADER; VT_INVALID when it is no voter or this replica; VT_BEHIND when it
 * lags too far, or is silent.
 */
extern VtStatus raft_transfer(Raft *raft, uint64_t to);

/* Campaign now instead of at the next timeout (asks first, as always). */
extern VtStatus raft_campaign(Raft *raft);

/*
 * The leader's node is known to be dead: stop defending it, so that others are
 * granted votes at once.  Term and timer stay.  Only a follower does anything.
 */
extern void raft_forget_leader(Raft *raft);

/*
 * Passive, a replica votes and follows, but never campaigns: its state machine is
 * there and not ready, so that nobody would be served by its leading.
 */
extern void raft_set_passive(Raft *raft, bool passive);

/*
 * A peer that is to be asked to lead only if no other voter can: its caller knows that it
 * has no room, or nothing to serve from yet.  It is no less a voter.  Holds until it is
 * taken back, or the peer is no member.
 */
extern void raft_set_unfit(Raft *raft, uint64_t id, bool unfit);

/* Messages to that peer were dropped: go back to probing. */
extern void raft_report_unreachable(Raft *raft, uint64_t id);

/* -- Duties --------------------------------------------------------------- */

typedef struct RaftRead
{
	uint64_t	cookie;
	uint64_t	index;			/* 0: leadership lost, nothing is known */
} RaftRead;

typedef struct RaftFetch
{
	uint64_t	first;			/* 0: nothing to fetch */
	uint64_t	last;
} RaftFetch;

typedef struct RaftReady
{
	/* To write; nothing when seq is 0 */
	uint64_t	seq;			/* grows by one with every Ready that writes */
	RaftHardState hard;			/* write it with every batch */
	uint64_t	truncate_from;	/* 0: nothing stored is replaced */
	const RaftEntry *append;
	size_t		append_n;
	const RaftSnapshot *snapshot;	/* install this; NULL: none */

	/* To send */
	const RaftMessage *messages;
	size_t		messages_n;
	const uint64_t *snapshots_to;
	size_t		snapshots_to_n;
	RaftFetch	fetch;

	/* To apply and to answer */
	const RaftEntry *committed;
	size_t		committed_n;
	const RaftRead *reads;
	size_t		reads_n;

	/* To know */
	RaftRole	role;
	uint64_t	term;
	uint64_t	leader;			/* 0: not known */
	bool		role_changed;	/* any of the three, or conf, since last Ready */
	bool		gone;			/* a leader says we are no member: ask the PD,
								 * then destroy this replica */
} RaftReady;

extern bool raft_has_ready(const Raft *raft);
extern VtStatus raft_ready(Raft *raft, RaftReady *ready);

/* Everything up to this seq is durable.  In order, cumulative. */
extern VtStatus raft_persisted(Raft *raft, uint64_t seq);

/*
 * The state machine has applied up to index.  Beyond what was handed out:
 * VT_INVALID.
 */
extern VtStatus raft_applied(Raft *raft, uint64_t index);

/* -- Log, snapshots, compaction ------------------------------------------- */

/*
 * Describe a snapshot of the state machine at index: base <= index <= applied.
 * Fills index, term and configuration; the rest is zero.  VT_INVALID: index out
 * of range; VT_BUSY: a snapshot is being installed; VT_BEHIND: this replica
 * joined by the log alone and does not know the configuration as of there (it
 * will, as of the entry that added it).
 */
extern VtStatus raft_snapshot_at(const Raft *raft, uint64_t index, RaftSnapshot *out);

/*
 * Forget the log up to index, which becomes the base.  Only after the state
 * machine is durable there, not merely applied [P7], and after the new base (as
 * from raft_snapshot_at) is durable in the store.  Fails as that one does; an
 * index at or before the base is no work and VT_OK.
 */
extern VtStatus raft_compact(Raft *raft, uint64_t index);

/*
 * Drop payloads up to index from memory, as far as they are durable; terms stay.
 * Peers that need them later get them by rd.fetch, and what is not applied yet is
 * handed out without, to be read from the log (d).
 */
extern void raft_evict(Raft *raft, uint64_t index);

/*
 * The answer to rd.fetch: entries with payload, as stored.  May be fewer; none at
 * all is asked for again with the next heartbeat.
 */
extern VtStatus raft_fetched(Raft *raft, const RaftEntry *entries, size_t n);

/*
 * Send this snapshot to a peer named in snapshots_to: the SNAP message is in the
 * next Ready; the caller streams the data with it.  Progress of that peer
 * rests until it acknowledges or raft_report_snapshot() says it failed.
 * VT_NOT_FOUND when the peer no longer wants one.
 */
extern VtStatus raft_send_snapshot(Raft *raft, uint64_t to, const RaftSnapshot *snapshot);
extern void raft_report_snapshot(Raft *raft, uint64_t id, bool sent);

/* -- Looking at it -------------------------------------------------------- */

typedef struct RaftStatus
{
	uint64_t	group;
	uint64_t	id;
	RaftRole	role;
	uint64_t	term;
	uint64_t	vote;
	uint64_t	leader;
	uint64_t	base;			/* entries base+1 .. last are in the log */
	uint64_t	last;
	uint64_t	stable;			/* durable here up to */
	uint64_t	commit;
	uint64_t	handed_out;		/* committed, given to the applier */
	uint64_t	applied;
	uint64_t	conf_index;
	uint64_t	transfer_to;	/* 0: none under way */
	uint64_t	min_match;		/* leader: least match of live members */
	uint64_t	uncommitted_bytes;
	uint64_t	resident_bytes; /* payloads kept in memory */
	uint64_t	log_bytes;		/* payloads of base+1 .. last */
	bool		term_committed; /* leader: an entry of its term is committed */
	bool		installing;		/* a snapshot waits for raft_persisted() */
} RaftStatus;

typedef enum RaftPeerState
{
	RAFT_PROBE,					/* where it matches is not known: one at a time */
	RAFT_REPLICATE,				/* optimistic, pipelined */
	RAFT_SNAPSHOT				/* rests until a snapshot is there */
} RaftPeerState;

typedef struct RaftPeer
{
	uint64_t	id;
	RaftPeerState state;
	uint64_t	match;
	uint64_t	next;
	uint64_t	applied;		/* as it said last, which decides nothing; 0 = not known */
	bool		active;			/* heard from within an election timeout */
	uint32_t	inflight_messages;
	uint64_t	inflight_bytes;
	uint64_t	snapshot;		/* index on its way, 0: none */
} RaftPeer;

extern void raft_get_status(const Raft *raft, RaftStatus *out);
extern const RaftConf *raft_get_conf(const Raft *raft);

/* Leader: what is known of a peer.  False: not the leader, or no such peer. */
extern bool raft_get_peer(const Raft *raft, uint64_t id, RaftPeer *out);

/* Entry at an index in (base, last], else NULL. */
extern const RaftEntry *raft_get_entry(const Raft *raft, uint64_t index);

/* The structure's own invariants; VT_CORRUPT with words.  For tests. */
extern VtStatus raft_check(const Raft *raft, VtError *err);

extern const char *raft_role_name(RaftRole role);
extern const char *raft_message_name(uint8_t type);

/* -- Bytes on disk and wire (codec.c; layouts in README.md) ---------------- */

/*
 * Encoders write exactly *_size() bytes to out.  Decoders trust nothing: every
 * length is checked before it meets the allocator, checksums before content.
 * VT_PROTOCOL: malformed; VT_CORRUPT: checksum; VT_VERSION: newer than we are.
 */
#define RAFT_ENTRY_HEADER 32	/* bytes before an entry's payload */
#define RAFT_HARD_STATE_SIZE 56

extern size_t raft_entry_size(const RaftEntry *entry);
extern void raft_entry_encode(const RaftEntry *entry, uint8_t *out);	/* resident only */

/*
 * Decode one entry from the front of bytes; *used is its length.  With payload
 * it is copied into a new RaftBuf (release it); without, data stays NULL but for
 * CONF entries.
 */
extern VtStatus raft_entry_decode(Bytes bytes, bool payload, const RaftAllocator *allocator,
								  RaftEntry *out, size_t *used);

extern void raft_hard_state_encode(const RaftHardState *hard, uint8_t out[RAFT_HARD_STATE_SIZE]);
extern VtStatus raft_hard_state_decode(Bytes bytes, RaftHardState *out);

extern size_t raft_conf_size(const RaftConf *conf);
extern void raft_conf_encode(const RaftConf *conf, uint8_t *out);
extern VtStatus raft_conf_decode(Bytes bytes, RaftConf *out);

extern size_t raft_snapshot_size(const RaftSnapshot *snapshot);
extern void raft_snapshot_encode(const RaftSnapshot *snapshot, uint8_t *out);
extern VtStatus raft_snapshot_decode(Bytes bytes, RaftSnapshot *out);

/* Limits of a message: entries RAFT_MAX_MESSAGE_ENTRIES, bytes by the caller. */
#define RAFT_MAX_MESSAGE_ENTRIES 65536

extern size_t raft_message_size(const RaftMessage *message);
extern void raft_message_encode(const RaftMessage *message, uint8_t *out);

/* On VT_OK the message owns memory: raft_message_free() it after stepping. */
extern VtStatus raft_message_decode(Bytes bytes, const RaftAllocator *allocator,
									RaftMessage *out);
extern void raft_message_free(RaftMessage *message, const RaftAllocator *allocator);

#endif							/* RAFT_RAFT_H */
