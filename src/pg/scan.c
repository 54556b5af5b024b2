/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Index scans: rows by distance, batch by batch, until none is left.
 *
 * The planner comes here for exactly one ORDER BY distance on the vector
 * column (R1), and conditions on columns beside it (R6), which the workers keep to.  The first batch is as large as ef_search, or somewhat larger
 * than what the last scans of the index took in this backend, which is mostly
 * their LIMIT: whatever is not asked for is neither measured exactly nor sent.
 * The executor takes rows from it, hides what its snapshot does not see or a filter does not
 * pass, and comes back.  Later batches exclude what was returned and end with
 * an exact scan of the rest, so a scan ends only when no row is left.
 *
 * A scan sees every write this server was acknowledged (R3): every batch is
 * read at or after the mark of its shard, which is looked up after the snapshot
 * was taken, or, where it is not known, asked of the leader then.
 * The state of the index is read again here, after the snapshot, since it may
 * have become stale after the plan was made (W7).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "attributes.h"
#include "elements.h"
#include "index.h"

#define FIRST_BATCH_SPARE 8		/* for rows that the snapshot does not see */

typedef struct VectronScan
{
	/* What is asked */
	VectronMeta meta;
	void	   *query;			/* meta.dim floats, or bits, in context */
	bool		have_query;
	bool		started;
	bool		recheck;		/* of the conditions: workers let more pass */

	/* What comes */
	ClientScan *scan;
	uint64		epoch;			/* of the client it belongs to */
	BlockNumber blocks;			/* of the table, after the snapshot (R4) */
	uint64		returned;
	uint64		taken;			/* returned, and those that were left out */
	uint64		skipped;		/* by vectron.strict_order */
	double		distance;		/* of what was returned last */
	bool		no_distance;	/* the query has none to anything: any order is right */
	bool		asks;			/* some mark was not known: to be learned, with */
	uint64		ticket;

	/* vectron.verify_scan */
	IndexInfo  *info;
	EState	   *estate;
	TupleTableSlot *slot;
	IndexFetchTableData *fetch;

	MemoryContext context;
	MemoryContextCallback on_reset;
} VectronScan;

/* What the last scans took, of which index. */
static VtId usual_generation;
static uint32 usual_taken;

/* A scan took so many; fewer than usual lowers the expectation slowly. */
static void
note_taken(const VtId *generation, uint64 taken)
{
	uint32		faded = vt_id_equal(generation, &usual_generation) ? usual_taken - usual_taken / 8 : 0;

	usual_generation = *generation;
	usual_taken = (uint32) Max(Min(taken, PG_INT32_MAX), faded);
}

static uint32
first_batch(const VtId *generation)
{
	uint64		expected = (uint64) usual_taken + usual_taken / 4 + FIRST_BATCH_SPARE;

	if (!vt_id_equal(generation, &usual_generation))
		return (uint32) names_ef_search();
	return (uint32) Min(expected, (uint64) names_ef_search());
}

static void
scan_forget(VectronScan *vs)
{
	if (vs->scan)
		note_taken(&vs->meta.generation, vs->taken);
	if (vs->scan && vs->epoch == cluster_epoch())
	{
		ClientScanStats stats;

		client_scan_stats(vs->scan, &stats);
		scan_count(SCAN_BATCHES, stats.batches);
		scan_count(SCAN_EXACT_BATCHES, stats.exact_batches);
		scan_count(SCAN_DISTANCES, stats.distances);
		scan_count(SCAN_ROWS, vs->returned);
		scan_count(SCAN_LATE, stats.late);
		scan_count(SCAN_SKIPPED, vs->skipped);
		scan_count(SCAN_BY_LEADER, stats.by_leader);
		scan_count(SCAN_BY_FOLLOWER, stats.by_follower);
		scan_count(SCAN_BEHIND, stats.behind);
		scan_count(SCAN_HEDGED, stats.hedged);
		scan_count(SCAN_HEDGES_WON, stats.hedges_won);
		cluster_close_scan(vs->scan, vs->epoch);
	}
	vs->scan = NULL;
	vs->started = false;
	vs->asks = false;
	vs->returned = 0;
	vs->taken = 0;
	vs->skipped = 0;
}

static void
on_context_reset(void *arg)
{
	scan_forget((VectronScan *) arg);
}

IndexScanDesc
vtbeginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "vectron scan",
												  ALLOCSET_DEFAULT_SIZES);
	VectronScan *vs = MemoryContextAllocZero(context, sizeof(VectronScan));

	/* An error deletes the context, and with it the scan at the workers. */
	vs->context = context;
	vs->on_reset.func = on_context_reset;
	vs->on_reset.arg = vs;
	MemoryContextRegisterResetCallback(context, &vs->on_reset);
	scan->opaque = vs;
	return scan;
}

/* Take the vector to search for from the ORDER BY argument. */
static void
scan_set_query(IndexScanDesc scan, VectronScan *vs)
{
	bool		isnull = (scan->orderByData->sk_flags & SK_ISNULL) != 0;
	VecElement	element = meta_element(&vs->meta);
	int			dim = (int) vs->meta.dim;
	Pointer		to_free;
	const void *vector;
	int			n;
	bool		found;

	if (vs->query)
		pfree(vs->query);
	vs->query = MemoryContextAllocZero(vs->context, vec_given_bytes(element, dim));
	found = vectron_index_vector(scan->orderByData->sk_argument, isnull, (VecMetric) vs->meta.metric, element,
								 &vector, &n, &to_free);
	if (!isnull && element == VEC_BIT)
		bits_check_same_length(dim, n);
	else if (!isnull)
		elements_check_same_dim(elements_type(element), dim, n);

	/*
	 * A NULL argument, or a zero vector under cosine distance, makes every
	 * distance NULL or NaN: any order is the right one, so take some vector.
	 */
	vs->no_distance = !found;
	if (found)
	{
		memcpy(vs->query, vector, vec_given_bytes(element, dim));
		if (to_free)
			pfree(to_free);
	}
	else if (element != VEC_BIT)
		*(float *) vs->query = 1;
	vs->have_query = true;
}

void
vtrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	VectronScan *vs = (VectronScan *) scan->opaque;

	if (scan->numberOfOrderBys != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot scan vectron index without order")));
	scan_forget(vs);
	if (keys && nkeys > 0)
		memmove(scan->keyData, keys, sizeof(ScanKeyData) * nkeys);
	if (orderbys && norderbys > 0)
		memmove(scan->orderByData, orderbys, sizeof(ScanKeyData) * norderbys);
	vs->have_query = false;
}

/*
 * Look up the marks that the scan is to be read at (R3); after the snapshot.
 * search borrows *marks, whose items are palloc'd.
 */
static VtStatus
scan_recall(VectronScan *vs, ClientSearch *search, ClientMarks *marks, VtError *err)
{
	const ClientCollection *route;
	VtStatus	status;

	if (!marks_are_shared() || vectron_consistency == CONSISTENCY_LINEARIZABLE)
		return VT_OK;
	status = client_route(cluster_client(), &search->generation, false,
						  cluster_deadline(vectron_read_timeout), &route, err);
	if (status != VT_OK)
		return status;
	vs->asks = !marks_recall(route, marks, &vs->ticket);
	if (marks->route_version > route->route_version)
	{
		/* Others have written by a newer route: what is known is known for that one. */
		status = client_route(cluster_client(), &search->generation, true,
							  cluster_deadline(vectron_read_timeout), &route, err);
		if (status != VT_OK)
			return status;
		pfree(marks->items);
		vs->asks = !marks_recall(route, marks, &vs->ticket);
	}
	search->consistency = WIRE_AT_MARK;
	search->marks = marks;
	return VT_OK;
}

static void
scan_is_stale(Relation index) pg_attribute_noreturn();

static void
scan_is_stale(Relation index)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" became stale after the query was planned",
					RelationGetRelationName(index)),
			 errhint("Run the query again: it will be planned without the index. REINDEX makes the index live.")));
}

/*
 * What is to be asked, but for the batch; search borrows from vs.  False: nothing, there
 * is nothing to be found.
 */
static bool
scan_prepare(IndexScanDesc scan, VectronScan *vs, ClientSearch *search)
{
	Relation	index = scan->indexRelation;
	Conditions	conditions;

	if (!IsMVCCSnapshot(scan->xs_snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("non-MVCC snapshots are not supported with vectron indexes")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("vectron indexes are not used on a standby"),
				 errhint("SET enable_indexscan = off for an exact scan.")));
	pgstat_count_index_scan(index);
	pending_flush();

	meta_read(index, &vs->meta);
	meta_test_snapshot(index, scan->xs_snapshot);
	scan_set_query(scan, vs);
	vs->started = true;
	vs->blocks = scan->heapRelation ? RelationGetNumberOfBlocks(scan->heapRelation) : MaxBlockNumber;
	conditions_of(index, scan->keyData, scan->numberOfKeys, &conditions);
	vs->recheck = conditions.recheck;
	if (vs->meta.state == VECTRON_EMPTY || conditions.nothing)
		return false;
	if (vs->meta.state == VECTRON_STALE || !meta_ensure_live(index, &vs->meta))
		scan_is_stale(index);

	memset(search, 0, sizeof(*search));
	search->generation = vs->meta.generation;
	search->owner = vs->meta.owner;
	search->query = vs->query;
	search->dim = vs->meta.dim;
	search->ef = vectron_recall_target > 0 ? WIRE_EF_RECALL | (uint32) rint(vectron_recall_target * 10000) :
		(uint32) names_ef_search();
	search->consistency = WIRE_LINEARIZABLE;
	search->filter = conditions.filter;
	return true;
}

/* The cluster was asked, or could not be. */
static void
scan_asked(Relation index, VectronScan *vs, const ClientSearch *search, VtStatus status, const VtError *err)
{
	if (cluster_refused(status))
		meta_set_stale(index, &vs->meta.generation, vt_error_words(err));
	cluster_check(status, err, "could not search", index);
	scan_count(SCAN_STARTED, 1);
	scan_count(SCAN_ASKED, vs->asks || search->consistency == WIRE_LINEARIZABLE);
}

/* The first call after a rescan: ask the cluster. */
static void
scan_start(IndexScanDesc scan, VectronScan *vs)
{
	ClientSearch search;
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;

	if (!scan_prepare(scan, vs, &search))
		return;
	search.batch = first_batch(&vs->meta.generation);
	status = scan_recall(vs, &search, &marks, &err);
	if (status == VT_OK)
		status = client_scan_open(cluster_client(), &search, cluster_deadline(vectron_read_timeout),
								  &vs->scan, &err);
	if (status != VT_OK)
		vs->scan = NULL;
	vs->epoch = cluster_epoch();
	scan_asked(scan->indexRelation, vs, &search, status, &err);
	if (marks.items)
		pfree(marks.items);
}

/* As scan_start(), of those that are opened together. */
int
vt_scan_together(IndexScanDesc *scans, int n, uint32 k)
{
	Relation	index = scans[0]->indexRelation;
	VectronScan *first = (VectronScan *) scans[0]->opaque;
	ClientScan *opened[WIRE_QUERIES_MAX];
	ClientSearch search;
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;
	uint32_t	nopened = 0;
	uint8	   *queries;
	Size		bytes;

	Assert(n >= 1 && n <= WIRE_QUERIES_MAX);
	if (!scan_prepare(scans[0], first, &search))
		return 1;
	bytes = vec_given_bytes(meta_element(&first->meta), search.dim);
	queries = palloc(bytes * n);
	for (int i = 0; i < n; i++)
	{
		VectronScan *vs = (VectronScan *) scans[i]->opaque;

		vs->meta = first->meta;
		if (i > 0)
			scan_set_query(scans[i], vs);
		memcpy(queries + i * bytes, vs->query, bytes);
	}
	search.query = queries;
	search.batch = k < WIRE_SEARCH_K_MAX - FIRST_BATCH_SPARE ? k + FIRST_BATCH_SPARE : WIRE_SEARCH_K_MAX;
	status = scan_recall(first, &search, &marks, &err);
	if (status == VT_OK)
		status = client_scan_open_many(cluster_client(), &search, n, cluster_deadline(vectron_read_timeout),
									   opened, &nopened, &err);
	for (uint32_t i = 0; i < nopened; i++)
	{
		VectronScan *vs = (VectronScan *) scans[i]->opaque;

		vs->scan = opened[i];
		vs->epoch = cluster_epoch();
		vs->started = true;
		vs->blocks = first->blocks;
		vs->asks = first->asks;
		vs->ticket = first->ticket;
	}
	if (status != VT_OK)
		scan_asked(index, first, &search, status, &err);
	for (uint32_t i = 0; i < nopened; i++)
	{
		if (i > 0)
			pgstat_count_index_scan(index);
		scan_asked(index, (VectronScan *) scans[i]->opaque, &search, VT_OK, &err);
	}
	pfree(queries);
	if (marks.items)
		pfree(marks.items);
	return (int) nopened;
}

double
vt_scan_distance(IndexScanDesc scan)
{
	const VectronScan *vs = (const VectronScan *) scan->opaque;

	return vs->no_distance ? get_float8_nan() : vs->distance;
}

/*
 * What has come tells of a fence that this server may not have raised: then
 * none of it is believed before it is known who did (law W7).
 */
static void
scan_check_fence(IndexScanDesc scan, VectronScan *vs)
{
	uint64		fence = client_scan_fence(vs->scan);

	if (fence <= vs->meta.fence)
		return;
	if (!settle_fence(scan->indexRelation, &vs->meta.generation, fence))
		scan_is_stale(scan->indexRelation);
	vs->meta.fence = fence;
}

/* The first answers are there: what was asked of leaders is known from now on. */
static void
scan_learn(VectronScan *vs)
{
	ClientMarks answered;

	client_scan_marks(vs->scan, &answered);
	marks_learn(&vs->meta.generation, vs->ticket, &answered);
	client_marks_free(&answered);
	vs->asks = false;
}

/*
 * Does the table agree?  If a tuple at the TID is visible, its vector must be
 * at exactly this distance, and the conditions must hold for it.
 */
static void
scan_verify(IndexScanDesc scan, VectronScan *vs, ItemPointer tid, double distance)
{
	Relation	heap = scan->heapRelation;
	ItemPointerData seen = *tid;
	bool		call_again = false;
	bool		all_dead = false;

	if (vs->fetch == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(vs->context);

		vs->info = BuildIndexInfo(scan->indexRelation);
		vs->estate = CreateExecutorState();
		vs->slot = table_slot_create(heap, NULL);
		GetPerTupleExprContext(vs->estate)->ecxt_scantuple = vs->slot;
		vs->fetch = table_index_fetch_begin(heap);
		MemoryContextSwitchTo(old);
	}
	if (table_index_fetch_tuple(vs->fetch, &seen, scan->xs_snapshot, vs->slot, &call_again, &all_dead))
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];
		const void *vector;
		Pointer		to_free = NULL;
		int			dim;
		double		truth;

		FormIndexDatum(vs->info, vs->slot, vs->estate, values, isnull);
		if (!vectron_index_vector(values[0], isnull[0], (VecMetric) vs->meta.metric, meta_element(&vs->meta),
								  &vector, &dim, &to_free) ||
			dim != (int) vs->meta.dim)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" has an entry for tuple (%u,%u), which has no vector",
							RelationGetRelationName(scan->indexRelation),
							ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid))));
		truth = vec_distance((VecMetric) vs->meta.metric, vs->query, vector, dim);
		if (memcmp(&truth, &distance, sizeof(truth)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" says that tuple (%u,%u) is at %.17g, the table says %.17g",
							RelationGetRelationName(scan->indexRelation),
							ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid),
							distance, truth)));
		if (!vs->recheck &&
			!conditions_hold(scan->indexRelation, scan->keyData, scan->numberOfKeys, values, isnull))
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" says that tuple (%u,%u) meets the conditions, the table says it does not",
							RelationGetRelationName(scan->indexRelation),
							ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid))));
		if (to_free)
			pfree(to_free);
		ResetExprContext(GetPerTupleExprContext(vs->estate));
	}
	ExecClearTuple(vs->slot);
	table_index_fetch_reset(vs->fetch);
}

bool
vtgettuple(IndexScanDesc scan, ScanDirection direction)
{
	VectronScan *vs = (VectronScan *) scan->opaque;

	if (direction != ForwardScanDirection)
		elog(ERROR, "vectron indexes are only scanned forward");
	if (!vs->started)
		scan_start(scan, vs);
	if (vs->scan && vs->epoch != cluster_epoch())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("vectron.pd_endpoints changed during a scan")));

	while (vs->scan)
	{
		ClientHit	hit;
		VtError		err = {0};
		VtStatus	status;
		uint32_t	block;
		uint16_t	offset;
		bool		found = false;

		if (vectron_max_scan_tuples > 0 && vs->returned >= (uint64) vectron_max_scan_tuples)
		{
			scan_count(SCAN_ENDED_EARLY, 1);
			return false;
		}
		status = client_scan_next(vs->scan, cluster_deadline(vectron_read_timeout), &hit, &found, &err);
		if (cluster_refused(status))
			meta_set_stale(scan->indexRelation, &vs->meta.generation, vt_error_words(&err));
		cluster_check(status, &err, "could not search", scan->indexRelation);
		scan_check_fence(scan, vs);
		meta_test_snapshot(scan->indexRelation, scan->xs_snapshot);
		if (vs->asks)
			scan_learn(vs);
		if (!found)
			return false;
		vs->taken++;
		if (!wire_tid_get(hit.id, &block, &offset))
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" holds an entry that is no tuple identifier",
							RelationGetRelationName(scan->indexRelation)),
					 errhint("REINDEX it.")));
		if (hit.late && names_strict_order())
		{
			vs->skipped++;
			continue;
		}
		if (block >= vs->blocks || !OffsetNumberIsValid(offset))
			continue;
		ItemPointerSet(&scan->xs_heaptid, block, offset);
		if (vectron_verify_scan && scan->heapRelation)
			scan_verify(scan, vs, &scan->xs_heaptid, hit.distance);
		scan->xs_recheck = vs->recheck;
		scan->xs_recheckorderby = false;
		vs->distance = hit.distance;
		vs->returned++;
		return true;
	}
	return false;
}

void
vtendscan(IndexScanDesc scan)
{
	VectronScan *vs = (VectronScan *) scan->opaque;

	if (vs->fetch)
	{
		table_index_fetch_end(vs->fetch);
		ExecDropSingleTupleTableSlot(vs->slot);
		FreeExecutorState(vs->estate);
	}
	MemoryContextDelete(vs->context);
	scan->opaque = NULL;
}
