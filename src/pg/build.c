/*-------------------------------------------------------------------------
 *
 * build.c
 *	  ambuild: a new generation, filled from the table.
 *
 * Each build makes a new random generation, so a REINDEX or TRUNCATE that is
 * rolled back finds the old one untouched (law W1).  Over an empty table
 * nothing is asked of the cluster at all.  Otherwise: scan the table and send
 * as we go, between INGEST BEGIN and END, so that the workers keep no batch away
 * however far the graph is behind; wait until every vector is in the
 * graph of more than half of each shard's replicas, its leader among them; then compare the number of records with the number of tuples sent.
 *
 * A concurrent build comes here in a transaction of its own, with a snapshot; no
 * writer sees the index before that transaction has committed, so no entry is
 * in the generation but ours.  What the snapshot did not see is added by
 * PostgreSQL afterwards: it lists the index through ambulkdelete, which raises
 * the fence on the way, and calls aminsert for the rest.  VACUUM is locked out
 * all the while.
 *
 * Phases of pg_stat_progress_create_index: scan (blocks done of total), send
 * (the last batch), build (tuples done of total), sync.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class_d.h"
#include "commands/defrem.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/breaks.h"

#include "attributes.h"
#include "elements.h"
#include "index.h"
#include "json.h"
#include "patience.h"

#define PHASE_SCAN 2
#define PHASE_SEND 3
#define PHASE_BUILD 4
#define PHASE_SYNC 5

/* A batch goes out when its vectors reach this size. */
#define BATCH_BYTES (8 * 1024 * 1024)

/* Or when there are so many of them. */
#define BATCH_RECORDS (128 * 1024)

/* How often a build asks whether the graph is done. */
#define BUILD_POLL_MS 100

typedef struct BuildState
{
	Relation	index;
	VectronMeta meta;
	bool		ingesting;

	/* The batch */
	uint8_t    *vectors;		/* room times so many bytes: */
	Size		vector_bytes;
	uint8_t    *ids;			/* room x WIRE_TID_SIZE */
	MemoryContext attributes;	/* the records' attributes, until they are sent */
	ClientRecord *records;
	int			n;
	int			room;

	/* Statistics */
	TimestampTz begun;
	double		scanned;
	uint64		sent;
} BuildState;

char *
vtbuildphasename(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case PHASE_SCAN:
			return "scan";
		case PHASE_SEND:
			return "send";
		case PHASE_BUILD:
			return "build";
		case PHASE_SYNC:
			return "sync";
		default:
			return NULL;
	}
}

static ClientWriter
build_writer(const BuildState *build, XLogRecPtr lsn)
{
	ClientWriter writer;

	memset(&writer, 0, sizeof(writer));
	writer.generation = build->meta.generation;
	writer.owner = build->meta.owner;
	writer.fence = 0;			/* nobody vacuums what nobody has seen */
	writer.timeline = GetWALInsertionTimeLine();
	writer.lsn = lsn;
	writer.deadline_us = cluster_deadline(vectron_write_timeout);
	return writer;
}

static void
build_ingest(BuildState *build, bool begin)
{
	ClientWriter writer = build_writer(build, 0);
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status = client_ingest(cluster_client(), &writer, begin, &marks, &err);

	client_marks_free(&marks);
	cluster_check(status, &err, begin ? "could not begin to load" : "could not finish loading",
				  build->index);
	build->ingesting = begin;
}

static void
build_send(BuildState *build)
{
	ClientWriter writer;
	ClientMarks marks = {0};
	VtError		err = {0};
	VtStatus	status;

	if (build->n == 0)
		return;
	if (build->meta.state == VECTRON_EMPTY && !meta_ensure_live(build->index, &build->meta))
		elog(ERROR, "a new generation of index \"%s\" is stale",
			 RelationGetRelationName(build->index));
	if (!build->ingesting)
		build_ingest(build, true);

	/* Law W3: the heap tuples first. */
	writer = build_writer(build, wal_flush_all());
	status = client_put(cluster_client(), &writer, build->records, build->n, NULL, &marks, &err);
	client_marks_free(&marks);
	cluster_check(status, &err, "could not fill", build->index);
	build->sent += build->n;
	build->n = 0;
	MemoryContextReset(build->attributes);
}

static void
build_tuple(Relation index, ItemPointer tid, Datum *values, bool *isnull,
			bool alive pg_attribute_unused(), void *arg)
{
	BuildState *build = (BuildState *) arg;
	uint32		dim = build->meta.dim;
	ClientRecord *record;
	const void *vector;
	Pointer		to_free = NULL;
	Bytes		attributes;
	uint8_t    *id;
	int			n;

	build->scanned++;
	if (!vectron_index_vector(values[0], isnull[0], (VecMetric) build->meta.metric,
							  meta_element(&build->meta), &vector, &n, &to_free))
		return;
	if (n != (int) dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %u dimensions, not %d", dim, n)));

	record = &build->records[build->n];
	id = build->ids + (Size) build->n * WIRE_TID_SIZE;
	wire_tid_put(id, ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid));
	memcpy(build->vectors + build->n * build->vector_bytes, vector, build->vector_bytes);
	record->id = bytes_of(id, WIRE_TID_SIZE);
	record->version = 0;
	record->vector = build->vectors + build->n * build->vector_bytes;
	attributes = attributes_encode(index, values, isnull);
	if (attributes.len > 0)
		attributes.data = memcpy(MemoryContextAlloc(build->attributes, attributes.len), attributes.data,
								 attributes.len);
	record->attributes = attributes;
	record->metadata = bytes_of(NULL, 0);
	if (to_free)
		pfree(to_free);
	if (++build->n == build->room)
		build_send(build);
}

/*
 * What the cluster holds now, by the leaders.  *unindexed counts vectors that are not in
 * their graphs yet.  Free the marks.
 */
static uint64
build_count(BuildState *build, uint64 *unindexed, ClientMarks *marks)
{
	VtError		err = {0};
	uint64_t	records = 0;
	uint64_t	left = 0;
	VtStatus	status = client_read_index(cluster_client(), &build->meta.generation,
										   &build->meta.owner,
										   cluster_deadline(vectron_write_timeout), marks,
										   &records, &left, &err);

	if (status != VT_OK)
		client_marks_free(marks);
	cluster_check(status, &err, "could not count the records of", build->index);
	*unindexed = left;
	return records;
}

/*
 * The same of those replicas that come second: as many as more than half of each shard's
 * have, at the marks, by what they have told the placement driver.  If it cannot be
 * asked the leaders have to do.
 */
static uint64
build_count_others(BuildState *build, const ClientMarks *marks)
{
	const char *reply;
	char		generation[VT_ID_TEXT];
	uint64_t	left = 0;
	VtError		err = {0};
	VtStatus	status;

	vt_id_format(&build->meta.generation, generation);
	status = client_control(cluster_client(), psprintf("{\"op\":\"shards\",\"collection\":\"%s\"}", generation),
							cluster_deadline(Min(vectron_read_timeout, 5000)), &reply, &err);
	cluster_rethrow();
	return status == VT_OK && json_unindexed(reply, marks, &left) ? left : 0;
}

/* Memory of the transaction's, so that an error leaves nothing behind; *marks are freed. */
static void
build_keep_marks(ClientMarks *kept, ClientMarks *marks)
{
	if (!patience_same_shards(kept, marks))
	{
		kept->items = palloc(sizeof(ClientMark) * Max(marks->n, 1));
		memcpy(kept->items, marks->items, sizeof(ClientMark) * marks->n);
		kept->n = marks->n;
	}
	client_marks_free(marks);
}

/*
 * Wait until every vector is in the graph: of leaders as long as it takes, of others as
 * long as patience.h says, at the marks that were read when the leaders were done.
 */
static void
build_wait(BuildState *build)
{
	ClientMarks marks;
	ClientMarks kept = {0};
	Patience	patience = {0};
	int64		worked = 0;
	uint64		unindexed;
	uint64		most = 0;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, PHASE_BUILD);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, (int64) build->sent);
	for (;;)
	{
		uint64		done;

		build_count(build, &unindexed, &marks);
		if (unindexed > 0)
			client_marks_free(&marks);
		else
		{
			TimestampTz now = GetCurrentTimestamp();

			if (!patience.begun)
				worked = now - build->begun;
			build_keep_marks(&kept, &marks);
			unindexed = build_count_others(build, &kept);
			if (!patience_left(&patience, unindexed, now, worked, vectron_write_timeout * INT64CONST(1000)))
				unindexed = 0;
		}
		done = build->sent > unindexed ? build->sent - unindexed : 0;
		if (done > most)
			most = done;
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, (int64) most);
		if (unindexed == 0)
			break;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, BUILD_POLL_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* What cannot be right, or not yet, is refused before anything is made. */
static void
build_refuse(Relation heap, Relation index, const VectronMeta *meta)
{
	const char *what = NULL;
	const char *hint = NULL;

	if (heap->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		what = "temporary tables", hint = "Use a permanent table.";
	else if (heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		what = "tables of another access method than heap", hint = "Use a heap table.";
	if (what)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("vectron indexes do not support %s", what),
				 errhint("%s", hint)));
	if (meta->dim == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column does not have dimensions"),
				 errhint("Declare it as %s(n).", elements_type(meta_element(meta))->name)));
	if (meta->dim > (uint32) elements_type(meta_element(meta))->max_dim)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("column cannot have more than %d dimensions for %s index",
						elements_type(meta_element(meta))->max_dim, get_am_name(index->rd_rel->relam))));
}

IndexBuildResult *
vtbuild(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	BuildState	build;
	ClientMarks marks;
	uint64		records;
	uint64		unindexed;

	memset(&build, 0, sizeof(build));
	build.index = index;
	build.begun = GetCurrentTimestamp();
	attributes_check(index);
	meta_describe(index, &build.meta);
	build_refuse(heap, index, &build.meta);
	vt_id_random(&build.meta.generation);
	meta_create(index, MAIN_FORKNUM, &build.meta);

	build.vector_bytes = vec_given_bytes(meta_element(&build.meta), build.meta.dim);
	build.room = Min(BATCH_RECORDS, Max(1, BATCH_BYTES / (int) build.vector_bytes));
	build.vectors = palloc(build.room * build.vector_bytes);
	build.ids = palloc((Size) WIRE_TID_SIZE * build.room);
	build.attributes = AllocSetContextCreate(CurrentMemoryContext, "vectron build", ALLOCSET_DEFAULT_SIZES);
	build.records = palloc(sizeof(ClientRecord) * build.room);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, PHASE_SCAN);
	result->heap_tuples = table_index_build_scan(heap, index, info, true, true, build_tuple,
												 &build, NULL);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, PHASE_SEND);
	build_send(&build);
	if (build.ingesting)
	{
		build_ingest(&build, false);
		build_wait(&build);
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, PHASE_SYNC);
		records = build_count(&build, &unindexed, &marks);
		client_marks_free(&marks);
		if (records != build.sent)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("the shards of index \"%s\" hold " UINT64_FORMAT " records after " UINT64_FORMAT " were sent",
							RelationGetRelationName(index), records, build.sent)));
	}
	result->index_tuples = (double) build.sent;
	pfree(build.records);
	MemoryContextDelete(build.attributes);
	pfree(build.ids);
	pfree(build.vectors);
	return result;
}

/*
 * The init fork of an unlogged index, which becomes its only fork after a crash.
 * Its generation is zero: the entries made before the crash must not come back
 * with it, since the table begins again at its first TID.  The first write gives
 * it one of its own (meta_ensure_live).
 */
void
vtbuildempty(Relation index)
{
	VectronMeta meta;

	meta_describe(index, &meta);
	if (vt_broken("W1-zero"))
		memset(&meta.generation, 1, sizeof(meta.generation));
	meta_create(index, INIT_FORKNUM, &meta);
}
