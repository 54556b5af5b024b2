/*-------------------------------------------------------------------------
 *
 * sessions.h
 *	  Private to worker: commands of a collection are done once.
 *
 * A session is opened by an entry of the shard's log, and its number is the index
 * of that entry.  Its commands are numbered by the client; which were done is part
 * of the shard's state, so every replica answers a command that comes again alike:
 * it was done, at this index.  The client says with each command which numbers it
 * will never ask again (settled), so little has to be kept.
 *
 * All functions but the two at the end are the apply thread's, or of who loads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SESSIONS_H
#define WORKER_SESSIONS_H

#include "store/store.h"
#include "wire/wire.h"

/*
 * Limits that apply decides by: of sessions of a shard, and of the numbers of one
 * that may be under way.  Replicas must agree in them.
 */
#define SESSIONS_MAX 1024
#define SESSION_WINDOW 64

typedef struct Sessions Sessions;

/* A command that was done. */
typedef struct SessionDone
{
	uint64_t	sequence;
	uint64_t	index;
	uint64_t	first;			/* for all of this interval, which was the shard's */
	uint64_t	last;
} SessionDone;

extern Sessions *sessions_new(void);
extern void sessions_free(Sessions *sessions);	/* NULL is fine */

/*
 * As of what is applied, whatever is on disk of later entries (law S3).  *newest is
 * raised to the highest index of which anything is there.
 */
extern VtStatus sessions_load(Sessions *sessions, Store *rows, uint64_t applied, uint64_t *newest, VtError *err);

/* The same in steps: what is on disk is pinned, and read later, once, on any thread. */
typedef struct SessionsOnDisk
{
	StoreIter  *facts;
	StoreIter  *times;
} SessionsOnDisk;

extern SessionsOnDisk sessions_pin(Store *rows);
extern VtStatus sessions_read(Sessions *sessions, SessionsOnDisk *pinned, uint64_t applied, uint64_t *newest, VtError *err);
extern void sessions_unpin(SessionsOnDisk *pinned);

/*
 * May this command of a session be done now?  VT_OK with *repeated: no, it was, as
 * *done says.  VT_SESSION_OVER: the session has ended, or never was, or the number is
 * behind what is settled; it is not done, and whether it was before nobody knows.
 */
extern VtStatus sessions_judge(const Sessions *sessions, const WireWrite *write, bool *repeated,
							   SessionDone *done);

/* Room for one more?  VT_FULL: not before another ends. */
extern VtStatus sessions_have_room(const Sessions *sessions);

/* What entries do: to memory, and to the batch of their rows. */
extern void sessions_open(Sessions *sessions, StoreBatch *batch, uint64_t index);
extern void sessions_note(Sessions *sessions, StoreBatch *batch, const WireWrite *write,
						  const SessionDone *done);
extern void sessions_expire(Sessions *sessions, StoreBatch *batch, const WireWrite *write, uint64_t index);

/*
 * A split at index: what the child is to begin with is frozen with its rows.  Later
 * it is written into the child's, and here forgotten.
 */
extern void sessions_freeze(const Sessions *sessions, StoreBatch *batch, uint64_t index);
extern VtStatus sessions_bequeath(Store *parent, uint64_t index, StoreBatch *child, VtError *err);
extern void sessions_thaw(StoreBatch *batch, uint64_t index);

/*
 * A checkpoint covers index: what only replays from before it could ask for goes,
 * with this batch.  On the thread of checkpoints, beside apply.
 */
extern VtStatus sessions_trim(Store *rows, uint64_t index, StoreBatch *batch, VtError *err);

/* Equal where all of it is: whoever answers, a command that comes again is answered alike. */
extern uint64_t sessions_digest(const Sessions *sessions);

/* Any thread: how many there are, and the log time. */
extern uint32_t sessions_count(const Sessions *sessions);
extern uint64_t sessions_clock(const Sessions *sessions);

#endif							/* WORKER_SESSIONS_H */
