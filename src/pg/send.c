/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Sending the pending entries of one generation (laws W4, W6, W7).
 *
 * Rules 1 and 4 of pending.c are kept here: no relation is opened unless a shard
 * refuses, and a newer stamp is given only to what is still true in the heap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"

#include "base/breaks.h"

#include "attributes.h"
#include "pending.h"

/*
 * Is the tuple at the entry's TID still the one it was made for?  Inserted by
 * this transaction, not undone by a subtransaction or a speculative conflict,
 * and giving this vector and these attributes.
 */
static bool
entry_is_current(Relation heap, Relation index, IndexInfo *info, EState *estate, TupleTableSlot *slot,
				 const PendingGroup *group, const PendingEntry *entry)
{
	HeapTupleData tuple;
	Buffer		buffer;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	const void *vector;
	Pointer		to_free = NULL;
	int			dim;
	bool		same = false;

	if (ItemPointerGetBlockNumber(&entry->tid) >= RelationGetNumberOfBlocks(heap))
		return false;
	tuple.t_self = entry->tid;
	if (!heap_fetch(heap, SnapshotAny, &tuple, &buffer, false))
		return false;
	/* A speculative tuple that met its conflict has no xmin any more. */
	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple.t_data)))
	{
		ExecStoreBufferHeapTuple(&tuple, slot, buffer);
		FormIndexDatum(info, slot, estate, values, isnull);
		same = vectron_index_vector(values[0], isnull[0], group->metric, group->element, &vector, &dim,
									&to_free) &&
			dim == (int) group->dim &&
			memcmp(vector, entry->vector, vec_given_bytes(group->element, dim)) == 0 &&
			bytes_equal(attributes_encode(index, values, isnull), entry->attributes);
		if (to_free)
			pfree(to_free);
		ExecClearTuple(slot);
		ResetExprContext(GetPerTupleExprContext(estate));
	}
	ReleaseBuffer(buffer);
	return same;
}

/*
 * The shards have a higher fence than some entries carry: look at the heap and
 * stamp anew what is still true, drop what is not (law W6).  When the
 * relations are not there any more, or of another generation, nothing of this
 * generation can be committed: at the end its entries are dropped; before the
 * end they stay as they are, since ROLLBACK TO may bring it back.
 */
static void
group_restamp(PendingGroup *group, uint64 fence, bool at_end)
{
	Relation	heap = try_relation_open(group->heap, AccessShareLock);
	Relation	index = heap ? try_relation_open(group->index, AccessShareLock) : NULL;
	bool		same = false;

	if (index)
	{
		VectronMeta meta;

		meta_read(index, &meta);
		same = vt_id_equal(&meta.generation, &group->generation);
	}
	if (same)
	{
		IndexInfo  *info = BuildIndexInfo(index);
		EState	   *estate = CreateExecutorState();
		TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(heap),
														&TTSOpsBufferHeapTuple);

		GetPerTupleExprContext(estate)->ecxt_scantuple = slot;
		PushActiveSnapshot(GetTransactionSnapshot());
		for (int i = 0; i < group->n; i++)
		{
			PendingEntry *entry = &group->entries[i];

			if (entry->done || entry->stamp >= fence)
				continue;

			/*
			 * A concurrent build keeps VACUUM out, so its last step meets no
			 * newer fence; if it did, the TID might mean anything by now.
			 */
			if (entry->validating)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("index \"%s\" was vacuumed while it was built concurrently",
								RelationGetRelationName(index)),
						 errhint("Drop the index and build it again.")));
			if (vt_broken("W6-restamp") || entry_is_current(heap, index, info, estate, slot, group, entry))
				entry->stamp = fence;
			else
				entry->done = true;
		}
		PopActiveSnapshot();
		ExecDropSingleTupleTableSlot(slot);
		FreeExecutorState(estate);
	}
	else if (at_end)
	{
		for (int i = 0; i < group->n; i++)
			group->entries[i].done = true;
	}
	if (index)
		relation_close(index, NoLock);
	if (heap)
		relation_close(heap, NoLock);
}

/* Nothing of it is to be sent any more. */
static void
group_drop(PendingGroup *group)
{
	for (int i = 0; i < group->n; i++)
		group->entries[i].done = true;
}

/* The fence is one that we did not know: is it this server's (settle.c)? */
static bool
group_may_go_on(PendingGroup *group, uint64 fence)
{
	Relation	index;
	bool		ours;

	if (fence <= pending_known_fence(&group->generation))
		return true;
	index = try_relation_open(group->index, AccessShareLock);
	if (index)
	{
		ours = settle_fence(index, &group->generation, fence);
		relation_close(index, NoLock);
	}
	else
		ours = identity_confirm();
	return ours;
}

/* A definite refusal: mark the index, and go on without it (law W7). */
static void
group_give_up(PendingGroup *group, const VtError *err)
{
	Relation	index = try_relation_open(group->index, AccessShareLock);

	if (index)
	{
		meta_set_stale(index, &group->generation, vt_error_words(err));
		relation_close(index, NoLock);
	}
	group_drop(group);
}

/*
 * Send the entries that carry one stamp, in one call.  Returns what the
 * cluster said; acknowledged entries are marked in any case.
 */
static VtStatus
group_send(PendingGroup *group, uint64 stamp, XLogRecPtr lsn, int64_t deadline, uint64 *fence,
		   VtError *err)
{
	ClientRecord *records = palloc_extended(sizeof(ClientRecord) * group->n, MCXT_ALLOC_HUGE);
	uint8	   *ids = palloc_extended((Size) WIRE_TID_SIZE * group->n, MCXT_ALLOC_HUGE);
	bool	   *done = palloc0(sizeof(bool) * group->n);
	int		   *which = palloc(sizeof(int) * group->n);
	ClientWriter writer;
	ClientMarks marks = {0};
	VtStatus	status;
	int			n = 0;

	for (int i = 0; i < group->n; i++)
	{
		PendingEntry *entry = &group->entries[i];
		uint8	   *id = ids + (Size) WIRE_TID_SIZE * n;

		if (entry->done || entry->stamp != stamp)
			continue;
		wire_tid_put(id, ItemPointerGetBlockNumber(&entry->tid),
					 ItemPointerGetOffsetNumber(&entry->tid));
		records[n].id = bytes_of(id, WIRE_TID_SIZE);
		records[n].version = 0;
		records[n].vector = entry->vector;
		records[n].attributes = entry->attributes;
		records[n].metadata = bytes_of(NULL, 0);
		which[n++] = i;
	}

	memset(&writer, 0, sizeof(writer));
	writer.generation = group->generation;
	writer.owner = group->owner;
	writer.fence = stamp;
	writer.timeline = GetWALInsertionTimeLine();
	writer.lsn = lsn;
	writer.deadline_us = deadline;
	status = client_put(cluster_client(), &writer, records, n, done, &marks, err);
	for (int i = 0; i < n; i++)
		if (done[i])
			group->entries[which[i]].done = true;
	/* Before the commit record, and also of what a failed call got through (R3). */
	if (!vt_broken("R3-flush"))
		marks_keep(&group->generation, &marks);
	*fence = marks.fence;
	client_marks_free(&marks);
	pfree(which);
	pfree(done);
	pfree(ids);
	pfree(records);
	return status;
}

/*
 * Send everything of one generation that may be sent now, with the WAL position
 * that was flushed for it.  Entries that must wait (group_restamp) stay; those
 * that are done, also when this fails, are marked.
 */
void
pending_send(PendingGroup *group, XLogRecPtr lsn, int64_t deadline, bool at_end)
{
	int			i = 0;

	while (i < group->n)
	{
		PendingEntry *entry = &group->entries[i];
		uint64		stamp = entry->stamp;
		uint64		fence = 0;
		VtError		err = {0};
		VtStatus	status;

		if (entry->done)
		{
			i++;
			continue;
		}
		status = group_send(group, stamp, lsn, deadline, &fence, &err);
		if (status == VT_FENCED && fence > stamp)
		{
			if (!group_may_go_on(group, fence))
			{
				group_drop(group);
				break;
			}
			group_restamp(group, fence, at_end);
			/* Not stamped anew, not dropped: it has to wait. */
			if (!entry->done && entry->stamp == stamp)
				break;
			continue;
		}
		if (cluster_refused(status))
		{
			group_give_up(group, &err);
			break;
		}
		cluster_check_generation(status, &err, "could not write to", &group->generation, &group->owner);
	}
}
