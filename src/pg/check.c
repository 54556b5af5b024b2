/*-------------------------------------------------------------------------
 *
 * check.c
 *	  vectron.check_index(): does the cluster hold what the table says?
 *
 * Missing: a row visible to the snapshot, with a vector to index, without an
 * entry.  Extra: an entry whose line pointer is unused or beyond the table's
 * end.  Wrong: an entry of a visible row with another vector or other attributes.  Entries of dead,
 * aborted and running transactions are neither: an index may hold too much.
 *
 * Runs online.  The table is locked against VACUUM only, which alone could free
 * a line pointer between the listing and the look at the heap.  What is kept in
 * memory is one TID and one checksum for each entry.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/hash.h"
#include "catalog/index.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "attributes.h"
#include "index.h"

PG_FUNCTION_INFO_V1(vectron_check_index);

typedef struct CheckEntry
{
	ItemPointerData tid;		/* hash key, sizeof(ItemPointerData) bytes */
	bool		seen;
	uint64		checksum;		/* of the bytes of vector and attributes */
} CheckEntry;

typedef struct Finding
{
	int64		n;
	ItemPointerData first;
} Finding;

typedef struct CheckState
{
	VecMetric	metric;
	VecElement	element;
	HTAB	   *entries;
	int64		tuples;
	Finding		missing;
	Finding		extra;
	Finding		wrong;
} CheckState;

static void
found(Finding *finding, ItemPointer tid)
{
	if (finding->n++ == 0)
		finding->first = *tid;
}

static void
check_stale(Relation index) pg_attribute_noreturn();

static void
check_stale(Relation index)
{
	VectronMeta meta;

	meta_read(index, &meta);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" is stale: %s", RelationGetRelationName(index), meta.stale_reason),
			 errhint("REINDEX it.")));
}

/* Every entry the cluster holds. */
static int64
check_list(Relation index, const VectronMeta *meta, CheckState *check)
{
	ClientList *list = NULL;
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;
	uint64_t	records;
	uint64_t	unindexed;
	uint64_t	fence;
	uint64		epoch;
	volatile int64 n = 0;

	status = client_read_index(cluster_client(), &meta->generation, &meta->owner,
							   cluster_deadline(vectron_read_timeout), &marks, &records, &unindexed, &err);
	if (status == VT_OK)
		status = client_list_open(cluster_client(), &meta->generation, &meta->owner, &marks, LIST_VECTORS,
								  cluster_deadline(vectron_read_timeout), &list, &err);
	fence = marks.fence;
	epoch = cluster_epoch();
	client_marks_free(&marks);
	cluster_check(status, &err, "could not list the entries of", index);
	PG_TRY();
	{
		if (!settle_fence(index, &meta->generation, fence))
			check_stale(index);
		for (;;)
		{
			WireListItem item;
			CheckEntry *entry;
			ItemPointerData tid;
			uint32_t	block;
			uint16_t	offset;
			bool		twice;

			CHECK_FOR_INTERRUPTS();
			status = client_list_next(list, cluster_deadline(vectron_read_timeout), &item, &err);
			cluster_check(status, &err, "could not list the entries of", index);
			if (item.id.len == 0)
				break;
			if (!wire_tid_get(item.id, &block, &offset))
				ereport(ERROR,
						(errcode(ERRCODE_INDEX_CORRUPTED),
						 errmsg("index \"%s\" holds an entry that is no tuple identifier",
								RelationGetRelationName(index))));
			ItemPointerSet(&tid, block, offset);
			entry = hash_search(check->entries, &tid, HASH_ENTER, &twice);
			if (twice)
				ereport(ERROR,
						(errcode(ERRCODE_INDEX_CORRUPTED),
						 errmsg("index \"%s\" holds two entries for tuple (%u,%u)",
								RelationGetRelationName(index), block, offset)));
			entry->seen = false;
			entry->checksum = hash_checksum2(bytes_of(item.vector, vec_given_bytes(check->element, item.dim)), item.attributes);
			n++;
		}
	}
	PG_FINALLY();
	{
		cluster_close_list(list, epoch);
	}
	PG_END_TRY();
	return n;
}

/* A visible row; tid is the root of its chain. */
static void
check_tuple(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	CheckState *check = (CheckState *) state;
	const void *vector;
	Pointer		to_free = NULL;
	CheckEntry *entry;
	int			dim;

	if (!vectron_index_vector(values[0], isnull[0], check->metric, check->element, &vector, &dim, &to_free))
		return;
	check->tuples++;
	entry = hash_search(check->entries, tid, HASH_FIND, NULL);
	if (entry == NULL)
		found(&check->missing, tid);
	else
	{
		entry->seen = true;
		if (entry->checksum != hash_checksum2(bytes_of(vector, vec_given_bytes(check->element, dim)),
											  attributes_encode(index, values, isnull)))
			found(&check->wrong, tid);
	}
	if (to_free)
		pfree(to_free);
}

/* Entries that no visible row stands for: is there a line pointer at all? */
static void
check_rest(Relation heap, CheckState *check)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(heap);
	HASH_SEQ_STATUS seq;
	CheckEntry *entry;

	hash_seq_init(&seq, check->entries);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		BlockNumber block = ItemPointerGetBlockNumber(&entry->tid);
		OffsetNumber offset = ItemPointerGetOffsetNumber(&entry->tid);
		bool		used = false;

		if (entry->seen)
			continue;
		if (block < blocks)
		{
			Buffer		buffer = ReadBuffer(heap, block);
			Page		page;

			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			page = BufferGetPage(buffer);
			used = !PageIsNew(page) && offset <= PageGetMaxOffsetNumber(page) &&
				ItemIdIsUsed(PageGetItemId(page, offset));
			UnlockReleaseBuffer(buffer);
		}
		if (!used)
			found(&check->extra, &entry->tid);
	}
}

static void
put_finding(const Finding *finding, Datum *n, Datum *first, bool *isnull)
{
	ItemPointer tid = palloc(sizeof(ItemPointerData));

	*tid = finding->first;
	*n = Int64GetDatum(finding->n);
	*first = PointerGetDatum(tid);
	*isnull = finding->n == 0;
}

/* (entries, tuples, missing, extra, wrong, first_missing, first_extra, first_wrong) */
Datum
vectron_check_index(PG_FUNCTION_ARGS)
{
	Oid			index_oid = PG_GETARG_OID(0);
	Oid			heap_oid = IndexGetRelation(index_oid, true);
	Relation	heap;
	Relation	index;
	VectronMeta meta;
	CheckState	check;
	HASHCTL		ctl;
	IndexInfo  *info;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {false};
	int64		entries = 0;
	Oid			caller;
	int			security;
	int			guc_level;

	if (!OidIsValid(heap_oid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation with OID %u is not an index", index_oid)));
	if (!pg_class_ownercheck(heap_oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(heap_oid));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pending_flush();
	heap = table_open(heap_oid, ShareUpdateExclusiveLock);
	index = monitor_open_index(index_oid, AccessShareLock);

	/* What an index's expressions call is its owner's code, and runs as its owner. */
	GetUserIdAndSecContext(&caller, &security);
	SetUserIdAndSecContext(heap->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();

	if (!index->rd_index->indisvalid || !meta_read_built(index, &meta))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid", RelationGetRelationName(index)),
				 errdetail("It is being built or dropped concurrently, or that has failed."),
				 errhint("If it failed, REINDEX or DROP it.")));
	if (meta.state == VECTRON_LIVE && !meta_ensure_live(index, &meta))
		meta_read(index, &meta);
	if (meta.state == VECTRON_STALE)
		check_stale(index);

	memset(&check, 0, sizeof(check));
	check.metric = (VecMetric) meta.metric;
	check.element = meta_element(&meta);
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(ItemPointerData);
	ctl.entrysize = sizeof(CheckEntry);
	ctl.hcxt = CurrentMemoryContext;
	check.entries = hash_create("vectron index check", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	/* The snapshot first: what it sees had its entry acknowledged before. */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (meta.state == VECTRON_LIVE)
		entries = check_list(index, &meta, &check);
	info = BuildIndexInfo(index);
	info->ii_Concurrent = true;	/* the scan brings its snapshot */
	info->ii_Unique = false;
	scan = table_beginscan_strat(heap, snapshot, 0, NULL, true, true);
	table_index_build_scan(heap, index, info, true, false, check_tuple, &check, scan);
	check_rest(heap, &check);
	UnregisterSnapshot(snapshot);
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(caller, security);
	index_close(index, AccessShareLock);
	table_close(heap, NoLock);

	values[0] = Int64GetDatum(entries);
	values[1] = Int64GetDatum(check.tuples);
	put_finding(&check.missing, &values[2], &values[5], &nulls[5]);
	put_finding(&check.extra, &values[3], &values[6], &nulls[6]);
	put_finding(&check.wrong, &values[4], &values[7], &nulls[7]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
