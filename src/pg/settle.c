/*-------------------------------------------------------------------------
 *
 * settle.c
 *	  Is what the cluster holds of an index the past of this server's own heap
 *	  (law W7)?
 *
 * The lease says who goes on with an incarnation; it does not say that the heap
 * of whoever does is as new as the index.  A directory that was restored from a
 * snapshot, or a copy that outlived its original, would delete entries of rows
 * that it does not know, and take TIDs anew that entries still name.
 *
 * So the first use of an index after each start of the server settles it, under
 * a lock on its only page:
 *
 *	1.	The shards must have heard of no WAL position beyond what this directory
 *		shares with the session that used the index last (session.c).  W3 makes
 *		that hold after any crash: what a shard hears of was flushed before.
 *	2.	PD has this session as the one that goes on.  It is asked each time, so that
 *		who was superseded does not spoil the index for its successor; if it
 *		does not answer, that stops nobody as long as the shards have no fence
 *		that the page does not know.
 *	3.	The fence is raised, so that nothing of an earlier session, however late,
 *		is applied any more (W6).  If another raise turns out to have come
 *		between, PD is asked about that one.
 *	4.	Looked at again, since something may have come between.
 *	5.	The page says that the index was settled in this session, and what the
 *		fence is.
 *
 * The other side of it: a server that was superseded, lives and does not know
 * yet, meets a fence that it did not raise, in any answer that its successor may
 * have a part in.  Then it asks PD who has the incarnation before it believes
 * the answer, or sends anything under that fence.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/wait_event.h"

#include "base/breaks.h"

#include "index.h"

/* The names of locks on an index; there is only one page. */
#define SETTLING 0
#define RAISING 1

#define RAISE_LOOK_MS 2
#define PATIENCE_MS 50			/* PD is asked for this long where it need not answer */

#define SUPERSEDED "another server has gone on with the indexes of this one"

/*
 * What the shards have heard of, and their highest fence.  False: they refuse,
 * and the index is stale.
 */
static bool
ask_heard(Relation index, const VectronMeta *meta, uint64 *heard, uint64 *fence)
{
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status = client_read_index(cluster_client(), &meta->generation, &meta->owner,
										   cluster_deadline(vectron_write_timeout), &marks, NULL, NULL,
										   &err);

	*heard = marks.lsn;
	*fence = marks.fence;
	client_marks_free(&marks);
	if (cluster_refused(status))
	{
		meta_set_stale(index, &meta->generation, vt_error_words(&err));
		return false;
	}
	cluster_check(status, &err, "could not ask the shards of", index);
	return true;
}

static bool
is_past(Relation index, const VectronMeta *meta, uint64 shared_until, uint64 *fence)
{
	uint64		heard;
	char		reason[sizeof(meta->stale_reason)];

	if (!ask_heard(index, meta, &heard, fence))
		return false;
	if (heard <= shared_until || vt_broken("W7-back"))
		return true;
	snprintf(reason, sizeof(reason), "this server is a copy, or has gone back in time: entries up to WAL position %X/%X, own history up to %X/%X",
			 LSN_FORMAT_ARGS((XLogRecPtr) heard), LSN_FORMAT_ARGS((XLogRecPtr) shared_until));
	meta_set_stale(index, &meta->generation, reason);
	return false;
}

/*
 * May this server raise the fence over one it found?  One that the page does not
 * know was raised by a successor, or by us in vain: that is for PD to say.
 */
static bool
may_raise_over(Relation index, const VectronMeta *meta, uint64 found)
{
	bool		ours = true;

	if (vt_broken("W7-settle"))
		return true;
	if (found > meta->fence)
		ours = identity_confirm();
	else
		(void) identity_ask(PATIENCE_MS, &ours);
	if (!ours)
		meta_set_stale(index, &meta->generation, SUPERSEDED);
	return ours;
}

/* Steps 1 to 5; *meta is what the page says. */
static void
settle_locked(Relation index, const VectronMeta *meta)
{
	uint64		shared_until = session_shared_until(&meta->session);
	VectronMeta now = *meta;
	VectronMeta settled = *meta;
	ClientWriter writer;
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;
	uint64_t	fence = 0;
	uint64		found;

	if (shared_until == 0 && !vt_broken("W7-back"))
	{
		meta_set_stale(index, &meta->generation, "the server was started and stopped without vectron after a crash: it may have been a copy");
		return;
	}
	if (!is_past(index, meta, shared_until, &found) || !may_raise_over(index, meta, found))
		return;
	memset(&writer, 0, sizeof(writer));
	writer.generation = meta->generation;
	writer.owner = meta->owner;
	writer.timeline = GetWALInsertionTimeLine();
	writer.deadline_us = cluster_deadline(vectron_write_timeout);
	status = client_raise(cluster_client(), &writer, &fence, &marks, &err);
	client_marks_free(&marks);
	cluster_check(status, &err, "could not raise the fence of", index);
	if (fence - 1 > found && !may_raise_over(index, meta, fence - 1))
		return;
	if (!is_past(index, meta, shared_until, &found))
		return;
	settled.session = *identity_session();
	settled.fence = fence;
	(void) meta_change(index, &now, VECTRON_LIVE, &settled);
}

/*
 * Before a live index that is ours is used: *meta is brought up to date.  False:
 * it has become stale.
 */
bool
settle(Relation index, VectronMeta *meta)
{
	if (vt_id_equal(&meta->session, identity_session()))
		return true;
	LockPage(index, SETTLING, ExclusiveLock);
	meta_read(index, meta);
	if (meta->state == VECTRON_LIVE && !vt_id_equal(&meta->session, identity_session()))
	{
		settle_locked(index, meta);
		meta_read(index, meta);
	}
	UnlockPage(index, SETTLING, ExclusiveLock);
	return meta->state == VECTRON_LIVE;
}

/* Does a backend of this server raise the fence just now? */
static bool
is_being_raised(Relation index)
{
	if (!ConditionalLockPage(index, RAISING, ShareLock))
		return true;
	UnlockPage(index, RAISING, ShareLock);
	return false;
}

/*
 * PD has said that a fence is ours which the page does not know: a raise that ended
 * before all shards had it.  From now on the page knows it, as after any other raise,
 * so that nobody asks again, least of all when there is no PD.  Only in the session that has settled
 * the page, of which PD has spoken.
 */
static void
note_on_page(Relation index, const VtId *generation, uint64 fence)
{
	VectronMeta now;
	VectronMeta raised;

	meta_read(index, &now);
	if (now.state != VECTRON_LIVE || !vt_id_equal(&now.generation, generation) || now.fence >= fence ||
		!vt_id_equal(&now.session, identity_session()))
		return;
	raised = now;
	raised.fence = fence;
	(void) meta_change(index, &now, VECTRON_LIVE, &raised);
}

/*
 * The fence is not on the page.  While one of us raises it may come there any
 * moment, with or without PD; else it is for PD to say.  Whether it is ours, or
 * the index is another one by now.
 */
static bool
ask_whose(Relation index, const VtId *generation, uint64 fence)
{
	int64_t		until = cluster_deadline(vectron_write_timeout);
	VectronMeta meta;
	bool		ours;

	for (;;)
	{
		/* In this order: what was raised by then is on the page. */
		bool		raising = is_being_raised(index);

		meta_read(index, &meta);
		if (fence <= meta.fence || !vt_id_equal(&meta.generation, generation))
			return true;
		if (!raising || clock_now_us() >= until)
			ours = identity_confirm();
		else if (!identity_ask(PATIENCE_MS, &ours))
		{
			CHECK_FOR_INTERRUPTS();
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RAISE_LOOK_MS,
							 PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			continue;
		}
		if (ours)
			note_on_page(index, generation, fence);
		return ours;
	}
}

/*
 * An answer told of this fence.  True: this server raised it, or may go on under
 * it.  False: another server has gone on, and the index is stale.
 */
bool
settle_fence(Relation index, const VtId *generation, uint64 fence)
{
	VectronMeta meta;

	if (fence <= pending_known_fence(generation))
		return true;
	meta_read(index, &meta);
	if (!vt_id_equal(&meta.generation, generation))
		return true;			/* replaced meanwhile: nobody reads it any more */
	if (fence > meta.fence && !ask_whose(index, generation, fence))
	{
		meta_set_stale(index, generation, SUPERSEDED);
		return false;
	}
	pending_note_fence(generation, fence);
	return true;
}

/* From here to the end of the raise others wait for the page, too, not for PD alone. */
void
settle_raising(Relation index)
{
	LockPage(index, RAISING, ExclusiveLock);
}

void
settle_raise_over(Relation index)
{
	UnlockPage(index, RAISING, ExclusiveLock);
}

/* We have raised the fence, under *meta: others need not ask for it. */
void
settle_raised(Relation index, const VectronMeta *meta, uint64 fence)
{
	VectronMeta now = *meta;
	VectronMeta raised = *meta;

	raised.fence = fence;
	pending_note_fence(&meta->generation, fence);
	(void) meta_change(index, &now, VECTRON_LIVE, &raised);
}
