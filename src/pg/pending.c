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
 *	  still the one it was made for, with that vector and attributes, inserted by this
 *	  transaction and not undone: else the TID may mean another row by now.
 * 5. After our PRE_COMMIT or PRE_PREPARE callback has run, aminsert writes
 *	  through: another extension's callback may still insert.
 * 6. Nothing is sent after an abort, ever, and nothing calls out or allocates
 *	  in COMMIT and ABORT callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/breaks.h"

#include "pending.h"

/* The newest fence of a generation that is known to be this server's; outlives transactions. */
typedef struct KnownFence
{
	VtId		generation;		/* hash key */
	uint64		fence;
} KnownFence;

/* So many generations are remembered; then it begins anew. */
#define FENCES_MAX 4096

static MemoryContext pending_context;	/* dies with the top-level transaction */
static HTAB *groups;			/* in pending_context */
static Size pending_bytes;
static XLogRecPtr pending_lsn;	/* end of WAL of the heap tuples, and of what their indexes are */
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

	/* What is forgotten is on a page, or asked for again. */
	if (fences && hash_get_num_entries(fences) >= FENCES_MAX)
	{
		hash_destroy(fences);
		fences = NULL;
	}
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
		group->element = meta_element(meta);
		group->n = 0;
		group->room = 64;
		group->entries = NULL;	/* valid also if the next line fails */
		group->entries = MemoryContextAlloc(pending_context, sizeof(PendingEntry) * group->room);
	}
	else if (group->entries == NULL)
		group->entries = MemoryContextAlloc(pending_context, sizeof(PendingEntry) * group->room);
	return group;
}

static Size
entry_bytes(const PendingGroup *group, Bytes attributes)
{
	return sizeof(PendingEntry) + vec_given_bytes(group->element, group->dim) + attributes.len;
}

/*
 * Take an entry.  Vector and attributes are copied.  May flush, and then fail as a flush
 * does: the entry is kept all the same.
 *
 * logged: up to where WAL tells what the index is.  Who has logged that it is live may not
 * have flushed it yet, and in a crash it must not be lost and the entry be left (W1).
 *
 * validating: the tuple is not ours, but one that the snapshot of a concurrent
 * build shows and its index lacks.
 */
void
pending_add(Relation index, Relation heap, const VectronMeta *meta, ItemPointer tid,
			XLogRecPtr logged, const void *vector, Bytes attributes, bool validating)
{
	PendingGroup *group = group_of(index, heap, meta);
	PendingEntry *entry;
	Size		bytes = vec_given_bytes(group->element, group->dim);
	uint8	   *copy;

	if (group->n == group->room)
	{
		group->entries = repalloc_huge(group->entries, sizeof(PendingEntry) * group->room * 2);
		group->room *= 2;
	}
	copy = MemoryContextAlloc(pending_context, bytes + attributes.len);
	memcpy(copy, vector, bytes);
	if (attributes.len > 0)
		memcpy(copy + bytes, attributes.data, attributes.len);

	entry = &group->entries[group->n++];
	entry->tid = *tid;
	entry->subid = GetCurrentSubTransactionId();
	entry->stamp = Max(pending_known_fence(&group->generation), meta->fence);
	entry->validating = validating;
	entry->done = false;
	entry->vector = copy;
	entry->attributes = bytes_of(copy + bytes, attributes.len);

	pending_bytes += entry_bytes(group, attributes);
	if (heap->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
	{
		if (validating || XLogRecPtrIsInvalid(XactLastRecEnd))
			lsn_unknown = true;
		else
			pending_lsn = Max(pending_lsn, Max(XactLastRecEnd, logged));
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
		pending_bytes -= entry_bytes(group, entry->attributes);
		pfree(entry->vector);
	}
	group->n = n;
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
			pending_send(group, pending_lsn, deadline, at_end);
			group_compact(group);
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
