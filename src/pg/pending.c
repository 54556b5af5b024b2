/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  Index entries of a transaction on their way to the cluster.
 *
 * aminsert leaves a copy of its vector here; entries go out together when the
 * buffer is full, before an own scan, before a parallel plan and at PRE_COMMIT or
 * PRE_PREPARE (laws W2, W4).  The rules, each of which once lost somebody's rows:
 *
 * 1. Entries are kept per generation, with all that a flush needs.  A flush
 *	  opens no relation on its normal path.  After TRUNCATE or REINDEX in the
 *	  same transaction the entries of the older generation stay: a ROLLBACK TO
 *	  may bring it back.
 * 2. Only the end of the top-level transaction empties the buffer.  The abort
 *	  of a subtransaction drops the entries made in it, nothing else.
 * 3. A failed flush keeps every entry that was not acknowledged, and the
 *	  transaction cannot commit before a later flush got them all through.
 * 4. An entry is stamped with the fence this backend knew when it was made
 *	  (law W6); 0, if it knew none, is refused by any generation that was ever
 *	  vacuumed.  A newer stamp is given only to an entry whose heap tuple is
 *	  still the one it was made for, with that vector, inserted by this
 *	  transaction and not undone: else the TID may mean another row by now.
 * 5. After our PRE_COMMIT or PRE_PREPARE callback has run, aminsert writes
 *	  through: another extension's callback may still insert.
 * 6. Nothing is sent after an abort, ever, and nothing calls out or allocates
 *	  in COMMIT and ABORT callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/breaks.h"

#include "index.h"

typedef struct PendingEntry
{
	ItemPointerData tid;
	SubTransactionId subid;
	uint64		stamp;			/* fence it will be sent with */
	bool		validating;		/* of a tuple of another, committed transaction */
	bool		done;			/* acknowledged */
	float	   *vector;			/* dim of its group, in pending_context */
} PendingEntry;

/* All entries of one generation. */
typedef struct PendingGroup
{
	VtId		generation;		/* hash key */

	/* Where it goes */
	WireOwner	owner;
	Oid			index;			/* to look again, or to mark it stale */
	Oid			heap;
	uint32		dim;
	VecMetric	metric;

	/* What it holds, in the order of insertion */
	PendingEntry *entries;
	int			n;
	int			room;
} PendingGroup;

/* The newest fence of a generation that is known to be this server's; outlives transactions. */
typedef struct KnownFence
{
	VtId		generation;		/* hash key */
	uint64		fence;
} KnownFence;

static MemoryContext pending_context;	/* dies with the top-level transaction */
static HTAB *groups;			/* in pending_context */
static Size pending_bytes;
static XLogRecPtr pending_lsn;	/* end of WAL of the heap tuples */
static bool lsn_unknown;		/* some tuple's WAL position is not known */
static bool write_through;		/* PRE_COMMIT or PRE_PREPARE has run */
static HTAB *fences;

static HTAB *
id_table(const char *name, Size entry, MemoryContext context)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(VtId);
	ctl.entrysize = entry;
	ctl.hcxt = context;
	return hash_create(name, 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

uint64
pending_known_fence(const VtId *generation)
{
	KnownFence *known = fences ? hash_search(fences, generation, HASH_FIND, NULL) : NULL;

	return known ? known->fence : 0;
}

void
pending_note_fence(const VtId *generation, uint64 fence)
{
	KnownFence *known;
	bool		found;

	if (fences == NULL)
		fences = id_table("vectron fences", sizeof(KnownFence), TopMemoryContext);
	known = hash_search(fences, generation, HASH_ENTER, &found);
	if (!found || known->fence < fence)
		known->fence = fence;
}

bool
pending_is_empty(void)
{
	return pending_bytes == 0;
}

static PendingGroup *
group_of(Relation index, Relation heap, const VectronMeta *meta)
{
	PendingGroup *group;
	bool		found;

	if (pending_context == NULL)
		pending_context = AllocSetContextCreate(TopMemoryContext, "vectron pending entries",
												ALLOCSET_DEFAULT_SIZES);
	if (groups == NULL)
		groups = id_table("vectron pending groups", sizeof(PendingGroup), pending_context);
	group = hash_search(groups, &meta->generation, HASH_ENTER, &found);
	if (!found)
	{
		group->owner = meta->owner;
		group->index = RelationGetRelid(index);
		group->heap = RelationGetRelid(heap);
		group->dim = meta->dim;
		group->metric = (VecMetric) meta->metric;
		group->n = 0;
		group->room = 64;
		group->entries = NULL;	/* valid also if the next line fails */
		group->entries = MemoryContextAlloc(pending_context, sizeof(PendingEntry) * group->room);
	}
	else if (group->entries == NULL)
		group->entries = MemoryContextAlloc(pending_context, sizeof(PendingEntry) * group->room);
	return group;
}

/*
 * Take an entry.  The vector is copied.  May flush, and then fail as a flush
 * does: the entry is kept all the same.
 *
 * validating: the tuple is not ours, but one that the snapshot of a concurrent
 * build shows and its index lacks.
 */
void
pending_add(Relation index, Relation heap, const VectronMeta *meta, ItemPointer tid,
			const float *vector, bool validating)
{
	PendingGroup *group = group_of(index, heap, meta);
	Size		bytes = sizeof(float) * group->dim;
	PendingEntry *entry;
	float	   *copy;

	if (group->n == group->room)
	{
		group->entries = repalloc_huge(group->entries, sizeof(PendingEntry) * group->room * 2);
		group->room *= 2;
	}
	copy = MemoryContextAlloc(pending_context, bytes);
	memcpy(copy, vector, bytes);

	entry = &group->entries[group->n++];
	entry->tid = *tid;
	entry->subid = GetCurrentSubTransactionId();
	entry->stamp = Max(pending_known_fence(&group->generation), meta->fence);
	entry->validating = validating;
	entry->done = false;
	entry->vector = copy;

	pending_bytes += bytes + sizeof(PendingEntry);
	if (heap->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
	{
		if (validating || XLogRecPtrIsInvalid(XactLastRecEnd))
			lsn_unknown = true;
		else if (XactLastRecEnd > pending_lsn)
			pending_lsn = XactLastRecEnd;
	}

	if (write_through || pending_bytes > (Size) vectron_insert_buffer * 1024)
		pending_flush();
}

/* Give back what was acknowledged or dropped. */
static void
group_compact(PendingGroup *group)
{
	int			n = 0;

	for (int i = 0; i < group->n; i++)
	{
		PendingEntry *entry = &group->entries[i];

		if (!entry->done)
		{
			group->entries[n++] = *entry;
			continue;
		}
		pending_bytes -= sizeof(float) * group->dim + sizeof(PendingEntry);
		pfree(entry->vector);
	}
	group->n = n;
}

/*
 * Is the tuple at the entry's TID still the one it was made for?  Inserted by
 * this transaction, not undone by a subtransaction or a speculative conflict,
 * and giving this vector.
 */
static bool
entry_is_current(Relation heap, IndexInfo *info, EState *estate, TupleTableSlot *slot,
				 const PendingGroup *group, const PendingEntry *entry)
{
	HeapTupleData tuple;
	Buffer		buffer;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	const float *vector;
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
		same = vectron_index_vector(values[0], isnull[0], group->metric, &vector, &dim, &to_free) &&
			dim == (int) group->dim &&
			memcmp(vector, entry->vector, sizeof(float) * dim) == 0;
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
			if (entry_is_current(heap, info, estate, slot, group, entry))
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
group_send(PendingGroup *group, uint64 stamp, int64_t deadline, uint64 *fence, VtError *err)
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
		which[n++] = i;
	}

	memset(&writer, 0, sizeof(writer));
	writer.generation = group->generation;
	writer.owner = group->owner;
	writer.fence = stamp;
	writer.timeline = GetWALInsertionTimeLine();
	writer.lsn = pending_lsn;
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
 * Send everything of one generation that may be sent now.  Entries that must
 * wait (group_restamp) stay.
 */
static void
group_flush(PendingGroup *group, int64_t deadline, bool at_end)
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
		status = group_send(group, stamp, deadline, &fence, &err);
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
	group_compact(group);
}

static void
flush_all(bool at_end)
{
	HASH_SEQ_STATUS seq;
	PendingGroup *group;
	int64_t		deadline;

	if (pending_bytes == 0)
		return;

	/*
	 * Law W3: nothing is sent whose heap tuple could be lost in a crash, and the
	 * generation not with it, as that of an unlogged table is.
	 */
	if (lsn_unknown)
		pending_lsn = Max(pending_lsn, wal_flush_all());
	else if (!XLogRecPtrIsInvalid(pending_lsn))
		wal_flush_own(pending_lsn);

	deadline = cluster_deadline(vectron_write_timeout);
	hash_seq_init(&seq, groups);
	while ((group = hash_seq_search(&seq)) != NULL)
	{
		if (group->n == 0)
			continue;
		PG_TRY();
		{
			group_flush(group, deadline, at_end);
		}
		PG_CATCH();
		{
			hash_seq_term(&seq);
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
}

/* Send what is there; on return it has been committed by the shards. */
void
pending_flush(void)
{
	flush_all(write_through);
}

/* Forget everything; allocates nothing, calls nobody. */
static void
pending_end(void)
{
	if (pending_context)
		MemoryContextDelete(pending_context);
	pending_context = NULL;
	groups = NULL;
	pending_bytes = 0;
	pending_lsn = InvalidXLogRecPtr;
	lsn_unknown = false;
	write_through = false;
}

static void
on_xact_event(XactEvent event, void *arg pg_attribute_unused())
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (!vt_broken("W4-commit"))
				flush_all(true);
			write_through = true;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			pending_end();
			break;
		default:
			break;
	}
}

static void
on_subxact_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
				 void *arg pg_attribute_unused())
{
	HASH_SEQ_STATUS seq;
	PendingGroup *group;

	if (groups == NULL || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	hash_seq_init(&seq, groups);
	while ((group = hash_seq_search(&seq)) != NULL)
	{
		for (int i = 0; i < group->n; i++)
		{
			PendingEntry *entry = &group->entries[i];

			if (entry->subid != mine)
				continue;
			if (event == SUBXACT_EVENT_COMMIT_SUB)
				entry->subid = parent;
			else
				entry->done = true;
			if (event == SUBXACT_EVENT_ABORT_SUB && vt_broken("W2-outer"))
				group->n = 0;
		}
		if (event == SUBXACT_EVENT_ABORT_SUB)
			group_compact(group);
	}
}

void
pending_setup(void)
{
	RegisterXactCallback(on_xact_event, NULL);
	RegisterSubXactCallback(on_subxact_event, NULL);
}
