/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  Finding collections that no index needs any more (law W8).
 *
 * Nothing tells us for certain that an index is gone: its DROP may have run in a
 * session that crashed, its transaction may have rolled back after the first
 * write, its database may be dropped.  So from time to time each database is
 * looked at, and what it owns in the cluster is compared with what its catalog
 * has.  In this order, which is what makes it a proof:
 *
 *	1.	Ask PD what lives there of this system, incarnation and database, and
 *		which transaction made each.
 *	2.	Leave out what a transaction made that still runs or is prepared.
 *	3.	Take a fresh snapshot and read the metapage of every vectron index it
 *		shows, each locked conditionally, so that nobody is in the middle of
 *		replacing it.  Anything that fails ends the look, and it counts for
 *		nothing.
 *	4.	What was left in step 2 and not met in step 3 is unused.  A transaction
 *		that could make it used again would have to be one that still runs, and
 *		would hold a lock we met or be left out.  Tell PD; it drops what a second
 *		look, vectron.sweep_interval later, finds unused again.
 *
 * Who does it: the processes of sweeper.c, which never enter templates or
 * databases that allow no connections; or a person, with vectron.sweep().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/breaks.h"

#include "index.h"
#include "json.h"

PG_FUNCTION_INFO_V1(vectron_sweep);
PG_FUNCTION_INFO_V1(vectron_undrop);
PG_FUNCTION_INFO_V1(vectron_retire);

/* A collection of ours in the cluster. */
typedef struct Owned
{
	char		generation[VT_ID_TEXT];
	char		label[160];
	uint32		database;
	bool		marked;			/* an earlier look found it unused */
	bool		provable;		/* who made it has ended */
	bool		used;
	const char *outcome;		/* "noted" or "dropped" by this look, or NULL */
} Owned;

typedef struct OwnedList
{
	Owned	   *items;
	int			n;
} OwnedList;

/* May the transaction still commit?  Also true when that is not known. */
bool
sweep_xid_may_run(uint64 xid)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (vt_broken("W8-xid"))
		return false;
	if (xid < FirstNormalTransactionId || xid >= next)
		return true;
	return next - xid < PG_INT32_MAX && TransactionIdIsInProgress((TransactionId) xid);
}

static char *
owner_json(const WireOwner *owner)
{
	char		incarnation[VT_ID_TEXT];

	vt_id_format(&owner->incarnation, incarnation);
	return psprintf("{\"system\":\"" UINT64_FORMAT "\",\"incarnation\":\"%s\",\"database\":%u}",
					owner->system, incarnation, owner->database);
}

static const char *
ask(const char *request, int timeout_ms)
{
	const char *reply;
	VtError		err = {0};

	cluster_check(client_control(cluster_client(), request, cluster_deadline(timeout_ms), &reply, &err),
				  &err, "could not sweep", NULL);
	return reply;
}

/* Steps 1 and 2. */
static OwnedList
sweep_owned(const WireOwner *owner, int timeout_ms)
{
	const char *reply = ask(psprintf("{\"op\":\"owned\",\"owner\":%s}", owner_json(owner)), timeout_ms);
	JsonOwned  *rows;
	size_t		n;
	OwnedList	list;

	if (!json_owned(reply, &rows, &n))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the placement driver's answer to a sweep makes no sense")));
	list.n = (int) n;
	list.items = palloc_extended(sizeof(Owned) * (n + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO | MCXT_ALLOC_NO_OOM);
	for (int i = 0; list.items && i < list.n; i++)
	{
		Owned	   *owned = &list.items[i];

		strlcpy(owned->generation, rows[i].generation, sizeof(owned->generation));
		strlcpy(owned->label, rows[i].label, sizeof(owned->label));
		owned->database = rows[i].database;
		owned->marked = rows[i].unused;
		owned->provable = !sweep_xid_may_run(rows[i].xid);
	}
	free(rows);
	if (list.items == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return list;
}

/* Access methods whose indexes are ours, under whatever names. */
static List *
our_access_methods(Snapshot snapshot)
{
	Relation	catalog = table_open(AccessMethodRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple;
	List	   *found = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_am	am = (Form_pg_am) GETSTRUCT(tuple);

		if (am->amtype == AMTYPE_INDEX && GetIndexAmRoutine(am->amhandler)->ambuild == vtbuild)
			found = lappend_oid(found, am->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static List *
our_indexes(Snapshot snapshot)
{
	List	   *methods = our_access_methods(snapshot);
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *found = NIL;

	if (methods == NIL)
		return NIL;
	catalog = table_open(RelationRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

		if (class->relkind == RELKIND_INDEX && list_member_oid(methods, class->relam))
			found = lappend_oid(found, class->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Step 3 for one index. */
static void
note_used(Oid oid, OwnedList *list)
{
	Relation	index;
	VectronMeta meta;
	char		generation[VT_ID_TEXT];

	if (!ConditionalLockRelationOid(oid, AccessShareLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on index with OID %u", oid),
				 errdetail("A look at a database counts only when every vectron index could be read."),
				 errhint("Try again when nobody builds, drops or truncates it.")));
	index = try_relation_open(oid, NoLock);
	if (index == NULL)
	{
		UnlockRelationOid(oid, AccessShareLock);
		return;					/* dropped since the snapshot */
	}
	if (meta_read_built(index, &meta))
	{
		vt_id_format(&meta.generation, generation);
		for (int i = 0; i < list->n; i++)
			if (strcmp(list->items[i].generation, generation) == 0)
				list->items[i].used = true;
	}
	relation_close(index, AccessShareLock);
}

static void
note_outcome(OwnedList *list, const char *generation, const char *outcome)
{
	for (int i = 0; i < list->n; i++)
		if (strcmp(list->items[i].generation, generation) == 0)
			list->items[i].outcome = outcome;
}

static void
each_noted(void *arg, const char *generation)
{
	note_outcome((OwnedList *) arg, generation, "noted");
}

static void
each_dropped(void *arg, const char *generation)
{
	note_outcome((OwnedList *) arg, generation, "dropped");
}

/* Step 4: tell PD what is unused of one database; a list of Owned. */
static List *
report_unused(const WireOwner *owner, OwnedList *list, int timeout_ms)
{
	StringInfoData request;
	List	   *outcomes = NIL;
	const char *reply;
	bool		worth = false;
	bool		first = true;

	initStringInfo(&request);
	appendStringInfo(&request, "{\"op\":\"unused\",\"owner\":%s,\"session\":\"%s\",\"interval_ms\":" INT64_FORMAT ",\"generations\":[",
					 owner_json(owner), identity_session_text(), (int64) vectron_sweep_interval * 1000);
	for (int i = 0; i < list->n; i++)
	{
		const Owned *owned = &list->items[i];

		if (owned->database != owner->database)
			continue;
		worth |= owned->marked;
		if (owned->used || !owned->provable)
			continue;
		worth = true;
		appendStringInfo(&request, "%s\"%s\"", first ? "" : ",", owned->generation);
		first = false;
	}
	appendStringInfoString(&request, "]}");
	if (!worth)
		return NIL;
	reply = ask(request.data, timeout_ms);
	json_list_each(reply, "noted", each_noted, list);
	json_list_each(reply, "dropped", each_dropped, list);
	for (int i = 0; i < list->n; i++)
		if (list->items[i].database == owner->database && list->items[i].outcome)
			outcomes = lappend(outcomes, &list->items[i]);
	return outcomes;
}

/* One look at the database we are connected to. */
List *
sweep_database(int timeout_ms)
{
	const WireOwner *owner = identity_owner();
	OwnedList	list = sweep_owned(owner, timeout_ms);
	Snapshot	snapshot;
	ListCell   *lc;

	if (list.n == 0)
		return NIL;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	foreach(lc, our_indexes(snapshot))
	{
		CHECK_FOR_INTERRUPTS();
		note_used(lfirst_oid(lc), &list);
	}
	UnregisterSnapshot(snapshot);
	return report_unused(owner, &list, timeout_ms);
}

/*
 * Databases that own something, each once.  What belonged to a database that is
 * gone is reported here and now: nobody can need it.  The others are returned,
 * if they may be entered.
 */
List *
sweep_databases(List **outcomes)
{
	WireOwner	owner = *identity_owner();
	OwnedList	list;
	List	   *seen = NIL;
	List	   *enter = NIL;
	Relation	catalog;
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	tuple;

	owner.database = InvalidOid;	/* of all */
	list = sweep_owned(&owner, vectron_read_timeout);

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		bool		owns = false;

		for (int i = 0; i < list.n; i++)
			owns |= list.items[i].database == database->oid;
		if (owns)
			seen = lappend_oid(seen, database->oid);
		if (owns && database->datallowconn && !database->datistemplate)
			enter = lappend_oid(enter, database->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	UnregisterSnapshot(snapshot);

	for (int i = 0; i < list.n; i++)
	{
		if (list_member_oid(seen, list.items[i].database))
			continue;
		seen = lappend_oid(seen, list.items[i].database);
		owner.database = list.items[i].database;
		*outcomes = list_concat(*outcomes, report_unused(&owner, &list, vectron_read_timeout));
	}
	return enter;
}

/* In the log, what the background dropped. */
void
sweep_log(List *outcomes)
{
	ListCell   *lc;

	foreach(lc, outcomes)
	{
		const Owned *owned = (const Owned *) lfirst(lc);

		if (strcmp(owned->outcome, "dropped") == 0)
			ereport(LOG,
					(errmsg("dropped the data of vectron index \"%s\", which no longer exists",
							owned->label)));
	}
}

/* -- By hand ----------------------------------------------------------------- */

static void
put_outcomes(ReturnSetInfo *result, List *outcomes)
{
	ListCell   *lc;

	foreach(lc, outcomes)
	{
		const Owned *owned = (const Owned *) lfirst(lc);
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = CStringGetTextDatum(owned->generation);
		values[1] = PointerGetDatum(monitor_text(owned->label));
		values[2] = CStringGetTextDatum(owned->outcome);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/*
 * One look, here and now: at this database, and for databases that are gone.
 * (generation, index, outcome): noted the first time, dropped the second.
 */
Datum
vectron_sweep(PG_FUNCTION_ARGS)
{
	List	   *outcomes = NIL;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to sweep the cluster")));

	/* What this transaction dropped is gone for us, and may come back. */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("vectron.sweep() cannot run in a transaction that has written")));
	InitMaterializedSRF(fcinfo, 0);
	drops_send();
	(void) sweep_databases(&outcomes);
	outcomes = list_concat(outcomes, sweep_database(vectron_read_timeout));
	put_outcomes((ReturnSetInfo *) fcinfo->resultinfo, outcomes);
	return (Datum) 0;
}

/* Bring back a dropped generation of this database whose data is still kept. */
Datum
vectron_undrop(PG_FUNCTION_ARGS)
{
	char	   *generation = text_to_cstring(PG_GETARG_TEXT_PP(0));
	VtId		id;
	const char *reply;
	VtError		err = {0};

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to bring back a dropped index")));
	if (!vt_id_parse(generation, &id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid generation \"%s\"", generation)));
	vt_id_format(&id, generation);
	cluster_check(client_control(cluster_client(),
								 psprintf("{\"op\":\"undrop_collection\",\"generation\":\"%s\",\"owner\":%s,\"session\":\"%s\"}",
										  generation, owner_json(identity_owner()), identity_session_text()),
								 cluster_deadline(vectron_write_timeout), &reply, &err),
				  &err, "could not bring back the generation", NULL);
	PG_RETURN_VOID();
}

static void
count_dropped(void *arg, const char *generation pg_attribute_unused())
{
	(*(int64 *) arg)++;
}

/*
 * Drop everything of an earlier life of this server, or of a copy of it, that
 * is gone for good; returns how many.
 */
Datum
vectron_retire(PG_FUNCTION_ARGS)
{
	char	   *incarnation = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const WireOwner *owner;
	VtId		id;
	int64		n = 0;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to retire an incarnation")));
	if (!vt_id_parse(incarnation, &id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid incarnation \"%s\"", incarnation)));
	owner = identity_owner();
	if (vt_id_equal(&id, &owner->incarnation))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("incarnation \"%s\" is this server's own", incarnation),
				 errhint("DROP its indexes.")));
	vt_id_format(&id, incarnation);
	json_list_each(ask(psprintf("{\"op\":\"retire\",\"system\":\"" UINT64_FORMAT "\",\"incarnation\":\"%s\"}",
								owner->system, incarnation), vectron_write_timeout),
				   "dropped", count_dropped, &n);
	PG_RETURN_INT64(n);
}
