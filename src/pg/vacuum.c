/*-------------------------------------------------------------------------
 *
 * vacuum.c
 *	  ambulkdelete and amvacuumcleanup (law W5).
 *
 * When ambulkdelete returns, the heap frees the TIDs it asked about.  So by
 * then no entry may name them, and no message that names them, however late,
 * may still do anything.  In this order:
 *
 *	1.	Raise the fence of the whole generation to one new number through every
 *		shard's log.  A put that was stamped before is refused from here on.
 *	2.	List every entry at the leaders, at or after the raise, from streams
 *		that are complete and counted.
 *	3.	Flush WAL up to now (W3), then delete what the callback calls dead, each
 *		by its version as listed, under the new fence; wait for all of it.
 *	4.	Store marks that cover the listing and the deletes (R3).
 *
 * Anything short of that is an error: VACUUM fails, the line pointers stay
 * dead, and nothing is wrong.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xlog.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/breaks.h"

#include "index.h"

/* A listing that is given up begins again so often. */
#define PASSES_MAX 10

/* Dead entries are deleted in lots of so many. */
#define LOT 16384

typedef struct Lot
{
	ClientRecord records[LOT];
	uint8_t		ids[LOT][WIRE_TID_SIZE];
	int			n;
} Lot;

static ClientWriter
vacuum_writer(const VectronMeta *meta, uint64 fence)
{
	ClientWriter writer;

	memset(&writer, 0, sizeof(writer));
	writer.generation = meta->generation;
	writer.owner = meta->owner;
	writer.fence = fence;
	writer.timeline = GetWALInsertionTimeLine();
	writer.deadline_us = cluster_deadline(vectron_write_timeout);
	return writer;
}

static void
lot_delete(Relation index, const VectronMeta *meta, Lot *lot, uint64 fence)
{
	ClientWriter writer;
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;
	uint64_t	hits = 0;

	if (lot->n == 0)
		return;
	writer = vacuum_writer(meta, fence);
	if (!vt_broken("W3-delete"))
		writer.lsn = wal_flush_all();
	if (vt_broken("W5-delete"))
		status = VT_OK;
	else
		status = client_delete(cluster_client(), &writer, lot->records, lot->n, &hits, &marks, &err);
	client_marks_free(&marks);
	cluster_check(status, &err, "could not delete from", index);
	lot->n = 0;
}

/* What one pass over a listing needs. */
typedef struct Pass
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	const VectronMeta *meta;
	uint64		fence;
	IndexBulkDeleteCallback callback;
	void	   *state;
	Lot		   *lot;
	ClientList *list;
} Pass;

/*
 * Walk the listing and delete what is dead.  False: the shard gave the listing
 * up (it was idle too long), so it has to begin again.
 */
static bool
pass_walk(Pass *pass)
{
	Relation	index = pass->info->index;
	Lot		   *lot = pass->lot;
	double		live = 0;

	lot->n = 0;
	for (;;)
	{
		WireListItem item;
		ItemPointerData tid;
		VtError		err = {0};
		VtStatus	status;
		uint32_t	block;
		uint16_t	offset;

		vacuum_delay_point();
		status = client_list_next(pass->list, cluster_deadline(vectron_write_timeout), &item, &err);
		if (status == VT_LEASE_GONE)
		{
			pass->stats->tuples_removed -= lot->n;
			return false;
		}
		cluster_check(status, &err, "could not list the entries of", index);
		if (item.id.len == 0)
			break;
		if (!wire_tid_get(item.id, &block, &offset))
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" holds an entry that is no tuple identifier",
							RelationGetRelationName(index)),
					 errhint("REINDEX it.")));
		ItemPointerSet(&tid, block, offset);
		if (!pass->callback(&tid, pass->state))
		{
			live++;
			continue;
		}
		memcpy(lot->ids[lot->n], item.id.data, WIRE_TID_SIZE);
		lot->records[lot->n].id = bytes_of(lot->ids[lot->n], WIRE_TID_SIZE);
		lot->records[lot->n].version = item.version;
		lot->records[lot->n].vector = NULL;
		lot->n++;
		pass->stats->tuples_removed++;
		if (lot->n == LOT)
			lot_delete(index, pass->meta, lot, pass->fence);
	}
	lot_delete(index, pass->meta, lot, pass->fence);
	pass->stats->num_index_tuples = live;
	return true;
}

/* Steps 2 and 3 once; what pass_walk() says. */
static bool
vacuum_pass(Pass *pass, const ClientMarks *marks)
{
	const VectronMeta *meta = pass->meta;
	VtError		err = {0};
	uint64		epoch;
	volatile bool whole = false;

	cluster_check(client_list_open(cluster_client(), &meta->generation, &meta->owner, marks, 0,
								   cluster_deadline(vectron_write_timeout), &pass->list, &err),
				  &err, "could not list the entries of", pass->info->index);
	epoch = cluster_epoch();
	PG_TRY();
	{
		whole = pass_walk(pass);
	}
	PG_FINALLY();
	{
		cluster_close_list(pass->list, epoch);
	}
	PG_END_TRY();
	return whole;
}

/*
 * Steps 2 and 3.  The client's marks are moved into our memory first, which an
 * error gives back.
 */
static void
vacuum_entries(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, const VectronMeta *meta,
			   uint64 fence, ClientMarks *marks, IndexBulkDeleteCallback callback,
			   void *state)
{
	Lot		   *lot = palloc(sizeof(Lot));
	ClientMarks ours = *marks;
	Pass		pass;

	ours.items = palloc(sizeof(ClientMark) * Max(marks->n, 1));
	memcpy(ours.items, marks->items, sizeof(ClientMark) * marks->n);
	client_marks_free(marks);
	pass.info = info;
	pass.stats = stats;
	pass.meta = meta;
	pass.fence = fence;
	pass.callback = callback;
	pass.state = state;
	pass.lot = lot;
	for (int n = 1; !vacuum_pass(&pass, &ours); n++)
	{
		CHECK_FOR_INTERRUPTS();
		if (n == PASSES_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("could not list the entries of index \"%s\": the listing was given up %d times before its end",
							RelationGetRelationName(info->index), n),
					 errdetail("The connection to a worker was lost each time, or the listing was idle for too long."),
					 errhint("Check the workers in the view vectron.workers; lower vacuum_cost_delay if it is large.")));
	}
	pfree(ours.items);
	pfree(lot);
}

/*
 * A replica that has not applied what the listing saw and what was deleted may
 * still hold entries of TIDs that the heap is about to free: no scan may be
 * answered by it any more (R3).
 */
static void
vacuum_mark(Relation index, const VectronMeta *meta)
{
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;

	if (!marks_are_shared() || vt_broken("R3-vacuum"))
		return;
	status = client_read_index(cluster_client(), &meta->generation, &meta->owner,
							   cluster_deadline(vectron_write_timeout), &marks, NULL, NULL, &err);
	if (status == VT_OK)
		marks_keep(&meta->generation, &marks);
	client_marks_free(&marks);
	cluster_check(status, &err, "could not mark the end of a vacuum of", index);
}

/* Step 1.  False: the index is not ours any more. */
static bool
vacuum_raise(Relation index, const VectronMeta *meta, ClientMarks *marks, uint64_t *fence)
{
	ClientWriter writer = vacuum_writer(meta, pending_known_fence(&meta->generation));
	VtError		err = {0};
	VtStatus	status;
	bool		ours;

	settle_raising(index);
	status = client_raise(cluster_client(), &writer, fence, marks, &err);
	ours = !cluster_refused(status);
	if (!ours)
		meta_set_stale(index, &meta->generation, vt_error_words(&err));
	else
	{
		cluster_check(status, &err, "could not raise the fence of", index);
		ours = settle_fence(index, &meta->generation, *fence - 1);
	}
	if (ours)
		settle_raised(index, meta, *fence);
	settle_raise_over(index);
	return ours;
}

IndexBulkDeleteResult *
vtbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *earlier, IndexBulkDeleteCallback callback,
			 void *state)
{
	VectronMeta meta;
	ClientMarks marks = {0};
	uint64_t	fence = 0;
	IndexBulkDeleteResult *stats = earlier ? earlier : palloc0(sizeof(IndexBulkDeleteResult));

	stats->num_pages = 1;

	meta_read(info->index, &meta);
	if (meta.state == VECTRON_LIVE && !meta_ensure_live(info->index, &meta))
		meta.state = VECTRON_STALE;
	if (meta.state != VECTRON_LIVE)
	{
		/* EMPTY holds nothing; STALE is never read again before a rebuild. */
		stats->num_index_tuples = meta.state == VECTRON_EMPTY ? 0 : info->num_heap_tuples;
		stats->estimated_count = meta.state != VECTRON_EMPTY;
		return stats;
	}

	if (!vacuum_raise(info->index, &meta, &marks, &fence))
	{
		client_marks_free(&marks);
		return stats;
	}
	vacuum_entries(info, stats, &meta, fence, &marks, callback, state);
	vacuum_mark(info->index, &meta);
	return stats;
}

/* How many entries a live index has; false: nobody says. */
static bool
ask_count(const VectronMeta *meta, uint64_t *records)
{
	ClientMarks marks = {0};
	VtError		err = {0};
	uint64_t	unindexed = 0;
	VtStatus	status;

	if (!IsUnderPostmaster || !identity_may_be_ours(&meta->owner))
		return false;
	status = client_read_index(cluster_client(), &meta->generation, &meta->owner,
							   cluster_deadline(Min(vectron_read_timeout, 2000)), &marks, records, &unindexed, &err);
	client_marks_free(&marks);
	cluster_rethrow();
	return status == VT_OK;
}

/* The same, and an error is no answer either, unless it is that of a cancel. */
static bool
count_entries(const VectronMeta *meta, uint64_t *records)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool counted = false;

	PG_TRY();
	{
		counted = ask_count(meta, records);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return counted;
}

/*
 * Called after the deletions, or alone when there was nothing to delete and by
 * ANALYZE: numbers only, no work, so that nothing here may fail a VACUUM.
 */
IndexBulkDeleteResult *
vtvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	VectronMeta meta;
	uint64_t	records = 0;

	if (info->analyze_only)
		return stats;
	if (stats)
		return stats;
	stats = palloc0(sizeof(IndexBulkDeleteResult));
	stats->num_pages = 1;
	meta_read(info->index, &meta);
	if (meta.state == VECTRON_EMPTY)
		return stats;
	stats->num_index_tuples = info->num_heap_tuples;
	stats->estimated_count = true;
	if (meta.state == VECTRON_LIVE && count_entries(&meta, &records))
	{
		stats->num_index_tuples = (double) records;
		stats->estimated_count = false;
	}
	return stats;
}
