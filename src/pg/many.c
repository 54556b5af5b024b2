/*-------------------------------------------------------------------------
 *
 * many.c
 *	  vectron.search_many(): the rows nearest to each of many vectors, by one index.
 *
 * It is what a join LATERAL of the queries with an index scan gives, but the workers
 * are asked for all of them at once (vt_scan_together()).  Beneath it is an index scan
 * for each query, by the access method's own callbacks, so all that holds for these
 * holds here: which writes a scan sees (R3), that it ends only when no row is left (R1),
 * that a row is one that the snapshot sees.
 *
 * Rows come whole and past the executor, so who calls must be allowed to read all of
 * the table, and no policy may hide rows from him.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "index.h"

PG_FUNCTION_INFO_V1(vectron_search_many);

typedef struct SearchMany
{
	Relation	heap;
	Relation	index;
	int32		k;
	int			n;
	Datum	   *queries;
	ReturnSetInfo *out;
	TupleTableSlot *slot;
	MemoryContext row_context;
} SearchMany;

/* May the caller be shown every row of the table? */
static void
check_rights(Oid heap_oid)
{
	AclResult	allowed = pg_class_aclcheck(heap_oid, GetUserId(), ACL_SELECT);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_TABLE, get_rel_name(heap_oid));
	if (check_enable_rls(heap_oid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("vectron.search_many() cannot be used on table \"%s\", whose row-level security policies apply to you",
						get_rel_name(heap_oid)),
				 errhint("Join the queries with a subquery LATERAL (SELECT ... ORDER BY ... LIMIT ...).")));
}

/* An index that a query might use now. */
static void
check_index(Relation index)
{
	VectronMeta meta;

	if (index->rd_rel->relkind != RELKIND_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is an index of a partitioned table", RelationGetRelationName(index)),
				 errhint("Name the index of a partition.")));
	if (!index->rd_index->indisvalid ||
		(index->rd_index->indcheckxmin &&
		 !TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" cannot be used by this query", RelationGetRelationName(index)),
				 errdetail("It is not valid, or not for transactions as old as this one.")));
	meta_read(index, &meta);
	if (meta.state == VECTRON_STALE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is stale: %s", RelationGetRelationName(index), meta.stale_reason),
				 errhint("REINDEX it.")));
}

static void
take_queries(SearchMany *many, ArrayType *array)
{
	Oid			type = ARR_ELEMTYPE(array);
	Oid			wanted = many->index->rd_opcintype[0];
	int16		length;
	bool		by_value;
	char		align;
	bool	   *nulls;

	if (type != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("index \"%s\" is searched for values of type %s, not %s", RelationGetRelationName(many->index),
						format_type_be(wanted), format_type_be(type)),
				 errhint("Cast the array to %s[].", format_type_be(wanted))));
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("queries must be an array of one dimension")));
	get_typlenbyvalalign(type, &length, &by_value, &align);
	deconstruct_array(array, type, length, by_value, align, &many->queries, &nulls, &many->n);
	for (int i = 0; i < many->n; i++)
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("query %d is null", i + 1)));
}

/* The row as a value by itself: it refers to nothing toasted, nor to the default of a column that it is older than. */
static Datum
whole_row(TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	return HeapTupleHeaderGetDatum(toast_build_flattened_tuple(slot->tts_tupleDescriptor, slot->tts_values,
															   slot->tts_isnull)->t_data);
}

/* The first k rows of a scan that was started. */
static void
put_rows(SearchMany *many, IndexScanDesc scan, int query)
{
	for (int32 row = 0; row < many->k && index_getnext_slot(scan, ForwardScanDirection, many->slot); row++)
	{
		MemoryContext before = MemoryContextSwitchTo(many->row_context);
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = Int32GetDatum(query + 1);
		values[1] = Float8GetDatum(vt_scan_distance(scan));
		values[2] = whole_row(many->slot);
		tuplestore_putvalues(many->out->setResult, many->out->setDesc, values, nulls);
		MemoryContextSwitchTo(before);
		MemoryContextReset(many->row_context);
		CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(many->slot);
}

/* Some of the queries, from one on; how many. */
static int
search_some(SearchMany *many, int from, int n)
{
	IndexScanDesc scans[WIRE_QUERIES_MAX];
	int			started;

	for (int i = 0; i < n; i++)
	{
		ScanKeyData key;

		/* The access method takes the value; which operator it is for, the index knows. */
		memset(&key, 0, sizeof(key));
		key.sk_flags = SK_ORDER_BY;
		key.sk_attno = 1;
		key.sk_strategy = 1;
		key.sk_argument = many->queries[from + i];
		scans[i] = index_beginscan(many->heap, many->index, GetActiveSnapshot(), 0, 1);
		index_rescan(scans[i], NULL, 0, &key, 1);
	}
	started = vt_scan_together(scans, n, many->k);
	for (int i = 0; i < n; i++)
	{
		if (i < started)
			put_rows(many, scans[i], from + i);
		index_endscan(scans[i]);
	}
	return started;
}

/* (query, distance, item): of each query, from 1 on, its k nearest rows. */
Datum
vectron_search_many(PG_FUNCTION_ARGS)
{
	SearchMany	many = {0};
	Oid			index_oid;
	Oid			heap_oid;
	int			together = WIRE_QUERIES_MAX;

	for (int i = 1; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("index, queries and k of vectron.search_many() must not be null")));
	index_oid = PG_GETARG_OID(1);
	many.k = PG_GETARG_INT32(3);
	if (many.k < 1 || many.k > WIRE_SEARCH_K_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d", WIRE_SEARCH_K_MAX)));
	heap_oid = IndexGetRelation(index_oid, true);
	if (!OidIsValid(heap_oid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an index",
						get_rel_name(index_oid) ? get_rel_name(index_oid) : psprintf("%u", index_oid))));
	InitMaterializedSRF(fcinfo, 0);
	many.out = (ReturnSetInfo *) fcinfo->resultinfo;
	many.heap = table_open(heap_oid, AccessShareLock);

	/* What holds now: who enables policies on the table has locked it until he commits. */
	check_rights(heap_oid);
	many.index = monitor_open_index(index_oid, AccessShareLock);
	check_index(many.index);
	if (get_fn_expr_argtype(fcinfo->flinfo, 0) != many.heap->rd_rel->reltype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first argument must be of the row type of table \"%s\"", RelationGetRelationName(many.heap)),
				 errhint("Write NULL::%s.", format_type_be(many.heap->rd_rel->reltype))));
	take_queries(&many, PG_GETARG_ARRAYTYPE_P(2));
	many.slot = table_slot_create(many.heap, NULL);
	many.row_context = AllocSetContextCreate(CurrentMemoryContext, "vectron search_many row", ALLOCSET_DEFAULT_SIZES);
	for (int done = 0; done < many.n;)
	{
		together = search_some(&many, done, Min(many.n - done, together));
		done += together;
	}
	MemoryContextDelete(many.row_context);
	ExecDropSingleTupleTableSlot(many.slot);
	index_close(many.index, AccessShareLock);
	table_close(many.heap, NoLock);
	return (Datum) 0;
}
