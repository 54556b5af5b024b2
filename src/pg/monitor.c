/*-------------------------------------------------------------------------
 *
 * monitor.c
 *	  What views are made of: an index's own state, and the cluster's reports.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "index.h"
#include "json.h"

PG_FUNCTION_INFO_V1(vectron_report);
PG_FUNCTION_INFO_V1(vectron_index_meta);

/* What the cluster says is UTF-8: in another encoding its ASCII is left. */
text *
monitor_text(const char *said)
{
	text	   *out = cstring_to_text(said);

	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
		for (int i = 0; i < VARSIZE_ANY_EXHDR(out); i++)
			if (IS_HIGHBIT_SET(VARDATA_ANY(out)[i]))
				VARDATA_ANY(out)[i] = '?';
	return out;
}

/* A report: the question it asks, without its last bracket, and the member with rows of an answer in pages. */
typedef struct Report
{
	const char *name;
	const char *question;
	const char *rows;			/* NULL = it comes in one */
} Report;

static const Report reports[] = {
	{"collections", "{\"op\":\"collections\",\"page\":true", "collections"},
	{"workers", "{\"op\":\"workers\",\"tombstones\":false", NULL},
	{"tombstones", "{\"op\":\"workers\",\"tombstones\":true", NULL},
	{"shards", "{\"op\":\"shards\",\"page\":true", "shards"},
	{"pds", "{\"op\":\"pds\"", NULL},
	{"status", "{\"op\":\"status\"", NULL},
	{"operators", "{\"op\":\"operators\"", NULL},
	{"check", "{\"op\":\"check\"", NULL},
};

/*
 * There may be more than goes into one answer: page after page, put together.  The reply is in
 * the current memory context.  Nothing that has to be freed is held where something may be
 * thrown.  *answered: something came, whatever became of the rest.
 */
static VtStatus
ask_pages(const Report *report, int64 deadline_us, const char **reply, bool *answered, VtError *err)
{
	ClientPage	now = {.whole = false};
	StringInfoData out;
	size_t		len = 0;
	int			head;

	initStringInfo(&out);
	appendStringInfo(&out, "{\"status\":0,\"%s\":[", report->rows);
	head = out.len;
	do
	{
		const char *after = now.next[0] ? psprintf(",\"after\":\"%s\"", now.next) : "";
		const char *page;
		VtStatus	status = client_control(cluster_client(), psprintf("%s%s}", report->question, after), deadline_us, &page, err);

		cluster_rethrow();
		if (status != VT_OK)
			return status;
		*answered = true;
		enlargeStringInfo(&out, (int) strlen(page));
		if (!json_page(page, report->rows, &now, out.data + head, &len))
			return vt_fail(err, VT_PROTOCOL, "the placement driver's answer makes no sense");
		out.len = head + (int) len;
	} while (now.next[0]);
	appendStringInfoString(&out, "]}");
	*reply = out.data;
	return VT_OK;
}

/*
 * Ask PD one of the questions that change nothing; the answer is JSON.  When
 * PD cannot be reached the answer says so instead of an error: a view must
 * work at that hour of all.
 */
Datum
vectron_report(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const Report *report = NULL;
	const char *reply;
	int64		deadline_us;
	VtError		err = {0};
	VtStatus	status;
	bool		answered = false;

	for (int i = 0; i < (int) lengthof(reports); i++)
		if (strcmp(name, reports[i].name) == 0)
			report = &reports[i];
	if (!report)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized report \"%s\"", name)));
	deadline_us = cluster_deadline(Min(vectron_read_timeout, 5000));
	status = report->rows ? ask_pages(report, deadline_us, &reply, &answered, &err) :
		client_control(cluster_client(), psprintf("%s}", report->question), deadline_us, &reply, &err);
	cluster_rethrow();
	if (status != VT_OK)
	{
		StringInfoData out;

		/* Too little time for all pages says nothing of the cluster. */
		if (!answered)
			cluster_note_failure(status, NULL, NULL);
		initStringInfo(&out);
		appendStringInfo(&out, "{\"status\":%d,\"message\":", (int) status);
		/* Words of ours: printable, but a quote or backslash must not break it. */
		appendStringInfoChar(&out, '"');
		for (const char *p = vt_error_words(&err); *p; p++)
			if (*p == '"' || *p == '\\')
				appendStringInfo(&out, "\\%c", *p);
			else if ((unsigned char) *p >= ' ')
				appendStringInfoChar(&out, *p);
		appendStringInfoString(&out, "\"}");
		PG_RETURN_TEXT_P(monitor_text(out.data));
	}
	PG_RETURN_TEXT_P(monitor_text(reply));
}

/* Open an index of ours, or complain. */
Relation
monitor_open_index(Oid oid, LOCKMODE lock)
{
	Relation	index = index_open(oid, lock);

	if (!handler_is_ours(index))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a vectron index", RelationGetRelationName(index))));
	return index;
}

/* A row of index_meta() that has only a state, and why; NULL = no need to say. */
static Datum
only_state(TupleDesc desc, const char *state, const char *why)
{
	Datum		values[9];
	bool		nulls[9];

	memset(nulls, true, sizeof(nulls));
	nulls[1] = false;
	values[1] = CStringGetTextDatum(state);
	nulls[7] = why == NULL;
	values[7] = why ? CStringGetTextDatum(why) : (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static bool
is_damage(int code)
{
	return code == ERRCODE_INDEX_CORRUPTED || code == ERRCODE_DATA_CORRUPTED || code == ERRCODE_IO_ERROR ||
		code == ERRCODE_FEATURE_NOT_SUPPORTED;
}

/*
 * As meta_read_built(), but a metapage that cannot be read is no error: *damage says why, and
 * is NULL else.  One index must not fail a view of all.
 */
static bool
look_at_meta(Relation index, VectronMeta *meta, const char **damage)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool built = false;

	*damage = NULL;
	if (IsInParallelMode())
		return meta_read_built(index, meta);
	/* What was pinned or begun when the error came goes with it. */
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		built = meta_read_built(index, meta);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (!is_damage(error->sqlerrcode))
			ReThrowError(error);
		*damage = error->message;
	}
	PG_END_TRY();
	return built;
}

/*
 * (generation, state, dim, m, ef_construction, quantization, stale_since, stale_reason, unreachable_since)
 *
 * Never waits: whoever looks wants to know while something goes on.
 */
Datum
vectron_index_meta(PG_FUNCTION_ARGS)
{
	Oid			oid = PG_GETARG_OID(0);
	Relation	index;
	VectronMeta meta;
	TupleDesc	desc;
	Datum		values[9];
	bool		nulls[9] = {false};
	TimestampTz down_since = 0;
	char		generation[VT_ID_TEXT];
	const char *damage;
	bool		built;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!ConditionalLockRelationOid(oid, AccessShareLock))
		PG_RETURN_DATUM(only_state(desc, "locked", NULL));
	/* It may be gone, and the snapshot by which it was found older. */
	index = try_relation_open(oid, NoLock);
	if (index == NULL)
	{
		UnlockRelationOid(oid, AccessShareLock);
		PG_RETURN_DATUM(only_state(desc, "dropped", NULL));
	}
	relation_close(index, NoLock);
	index = monitor_open_index(oid, NoLock);
	built = look_at_meta(index, &meta, &damage);
	index_close(index, AccessShareLock);
	if (damage)
		PG_RETURN_DATUM(only_state(desc, "damaged", damage));
	if (!built)
		PG_RETURN_DATUM(only_state(desc, "not built", NULL));
	vt_id_format(&meta.generation, generation);
	values[0] = CStringGetTextDatum(generation);
	values[1] = CStringGetTextDatum(meta.state == VECTRON_EMPTY ? "empty" :
									meta.state == VECTRON_LIVE ? "live" : "stale");
	values[2] = Int32GetDatum((int32) meta.dim);
	values[3] = Int32GetDatum(meta.m);
	values[4] = Int32GetDatum(meta.ef_construction);
	values[5] = CStringGetTextDatum(meta.quantization == QUANTIZATION_INT8 ? "int8" : "none");
	values[6] = TimestampTzGetDatum(meta.stale_since);
	values[7] = CStringGetTextDatum(meta.stale_reason);
	nulls[6] = nulls[7] = meta.state != VECTRON_STALE;
	nulls[8] = meta.state != VECTRON_LIVE || !health_down_since(&meta.generation, &down_since);
	values[8] = TimestampTzGetDatum(down_since);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
