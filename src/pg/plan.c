/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  A distance nobody reads is not computed; and plans that are kept are made anew
 *	  when what they count on has changed.
 *
 * In "SELECT id FROM t ORDER BY v <-> $1 LIMIT 10" the distance is a column of
 * the index scan that is thrown away at the top of the plan.  The scan comes in
 * order and needs it for nothing, yet the executor computes it for each row,
 * and for that fetches the vector from its TOAST table: for ten rows of 784
 * dimensions, two fifths of what the query costs a backend.
 *
 * So where a SELECT is an index scan of ours, alone or under a plain LIMIT, and
 * such a column is thrown away, it becomes a NULL.  Everything that might look
 * at it (ties, sorting, merging, locking, a subquery's caller) means another
 * node above the scan, and then the plan stays as it is.
 *
 * A prepared statement keeps its plan as long as PostgreSQL knows of no change to
 * its tables.  That an index has become stale, or cannot be reached, is such a
 * change: without word of it the statement would fail each time it is executed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "storage/sinval.h"
#include "utils/syscache.h"

#include "index.h"

static planner_hook_type planner_before = NULL;

static bool
is_ours(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	Oid			am = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		am = ((Form_pg_class) GETSTRUCT(tuple))->relam;
		ReleaseSysCache(tuple);
	}
	return OidIsValid(am) && handler_is_am(am);
}

/* Does the node above hand column resno on to somebody who sees it? */
static bool
is_seen(const Plan *above, AttrNumber resno)
{
	ListCell   *cell;

	foreach(cell, above->targetlist)
	{
		const TargetEntry *entry = lfirst_node(TargetEntry, cell);
		const Var  *var = (const Var *) entry->expr;

		if (!IsA(var, Var) || var->varno != OUTER_VAR || (var->varattno == resno && !entry->resjunk))
			return true;
	}
	return false;
}

static void
drop_distances(IndexScan *scan, const Plan *above)
{
	ListCell   *cell;

	foreach(cell, scan->scan.plan.targetlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->resjunk && list_member(scan->indexorderbyorig, entry->expr) &&
			!(above && is_seen(above, entry->resno)))
			entry->expr = (Expr *) makeNullConst(exprType((Node *) entry->expr), -1, InvalidOid);
	}
}

static PlannedStmt *
plan(Query *query, const char *text, int options, ParamListInfo params)
{
	PlannedStmt *stmt = planner_before ? planner_before(query, text, options, params) :
		standard_planner(query, text, options, params);
	Plan	   *top = stmt->planTree;
	Plan	   *scan = top;

	if (stmt->commandType != CMD_SELECT || stmt->rowMarks != NIL || top == NULL)
		return stmt;
	if (IsA(top, Limit) && ((Limit *) top)->limitOption == LIMIT_OPTION_COUNT)
		scan = top->lefttree;
	if (scan && IsA(scan, IndexScan) && ((IndexScan *) scan)->indexorderbyorig != NIL &&
		is_ours(((IndexScan *) scan)->indexid))
		drop_distances((IndexScan *) scan, scan == top ? NULL : top);
	return stmt;
}

/*
 * In every session what was planned with this table, or with 0 any table, is planned
 * anew at its next use.  What has changed was in no transaction, so neither is this:
 * it also holds if the one at hand fails, as it mostly will.
 */
void
plan_forget(Oid table)
{
	SharedInvalidationMessage message;

	memset(&message, 0, sizeof(message));
	message.rc.id = SHAREDINVALRELCACHE_ID;
	message.rc.dbId = OidIsValid(table) ? MyDatabaseId : InvalidOid;
	message.rc.relId = table;
	SendSharedInvalidMessages(&message, 1);
}

void
plan_setup(void)
{
	planner_before = planner_hook;
	planner_hook = plan;
}
