/*-------------------------------------------------------------------------
 *
 * paths.c
 *	  Conditions that PostgreSQL 15 does not bring to an ordered index scan by
 *	  itself (R6): IN lists, and columns of type boolean.
 *
 * "tenant = 7" or "price < 20" become conditions of the index by its operator
 * classes alone.  But = ANY (array) is kept away from an ordered scan unless it is
 * on the first column, and "flag", "NOT flag" and "flag IS TRUE" are recognised for
 * B-trees and hash indexes only.  So when the paths of a table are made, each
 * ordered path of ours is made once more with these conditions as well, and the
 * cheaper one stays.  OR, NOT IN and everything else remain filters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "attributes.h"

static set_rel_pathlist_hook_type next_set_rel_pathlist = NULL;

/* Something that is the same for each row of the table? */
static bool
is_constant(PlannerInfo *root, Node *node)
{
	return bms_is_empty(pull_varnos(root, node)) && !contain_volatile_functions(node);
}

static bool
has_collation(const IndexOptInfo *index, int column, Oid collation)
{
	return !OidIsValid(index->indexcollations[column]) || index->indexcollations[column] == collation;
}

/* A list of more values than are sent: the workers would not look at it. */
static bool
is_too_long(const Node *list)
{
	const Const *array = (const Const *) list;
	ArrayType  *values;

	if (!IsA(list, Const) || array->constisnull)
		return false;
	values = DatumGetArrayTypeP(array->constvalue);
	return ArrayGetNItems(ARR_NDIM(values), ARR_DIMS(values)) > WIRE_CLAUSE_VALUES_MAX;
}

/* column = ANY (something that does not depend on the table)? */
static bool
is_in_list(PlannerInfo *root, const IndexOptInfo *index, int column, const Expr *clause)
{
	const ScalarArrayOpExpr *op = (const ScalarArrayOpExpr *) clause;
	Node	   *list;

	if (!IsA(clause, ScalarArrayOpExpr) || !op->useOr)
		return false;
	list = (Node *) lsecond(op->args);
	return match_index_to_operand((Node *) linitial(op->args), column, (IndexOptInfo *) index) &&
		get_op_opfamily_strategy(op->opno, index->opfamily[column]) == BTEqualStrategyNumber &&
		has_collation(index, column, op->inputcollid) && is_constant(root, list) && !is_too_long(list);
}

/*
 * What PostgreSQL itself makes a condition: column operator constant, or the other
 * way round, and tests for NULL.  As "column ...", or NULL.
 */
static Expr *
plain_condition(PlannerInfo *root, const IndexOptInfo *index, int column, Expr *clause)
{
	OpExpr	   *op = (OpExpr *) clause;

	if (IsA(clause, NullTest))
		return !((NullTest *) clause)->argisrow &&
			match_index_to_operand((Node *) ((NullTest *) clause)->arg, column, (IndexOptInfo *) index) ? clause : NULL;
	if (!IsA(clause, OpExpr) || list_length(op->args) != 2 || !has_collation(index, column, op->inputcollid))
		return NULL;
	if (!match_index_to_operand((Node *) linitial(op->args), column, (IndexOptInfo *) index))
	{
		if (!OidIsValid(get_commutator(op->opno)))
			return NULL;
		op = copyObject(op);
		CommuteOpExpr(op);
	}
	return match_index_to_operand((Node *) linitial(op->args), column, (IndexOptInfo *) index) &&
		get_op_opfamily_strategy(op->opno, index->opfamily[column]) != 0 &&
		is_constant(root, (Node *) lsecond(op->args)) ? (Expr *) op : NULL;
}

/* A condition that is a boolean column, as "column = true" or "= false"; else NULL. */
static Expr *
boolean_condition(const IndexOptInfo *index, int column, Expr *clause)
{
	Node	   *operand = (Node *) clause;
	bool		wanted = true;

	if (index->opcintype[column] != BOOLOID)
		return NULL;
	if (is_notclause(clause))
	{
		operand = (Node *) get_notclausearg(clause);
		wanted = false;
	}
	else if (IsA(clause, BooleanTest))
	{
		const BooleanTest *test = (const BooleanTest *) clause;

		if (test->booltesttype != IS_TRUE && test->booltesttype != IS_FALSE)
			return NULL;
		operand = (Node *) test->arg;
		wanted = test->booltesttype == IS_TRUE;
	}
	if (!match_index_to_operand(operand, column, (IndexOptInfo *) index))
		return NULL;
	return make_opclause(BooleanEqualOperator, BOOLOID, false, (Expr *) operand,
						 (Expr *) makeBoolConst(wanted, false), InvalidOid, InvalidOid);
}

/*
 * A restriction as a condition on that column; NULL: it is none, or one that PostgreSQL
 * itself has made a condition, unless plain ones are wanted as well.
 */
static IndexClause *
condition_of(PlannerInfo *root, const IndexOptInfo *index, int column, RestrictInfo *restriction, bool plain)
{
	IndexClause *clause;
	Expr	   *derived;
	List	   *quals;

	if (restriction->pseudoconstant || !restriction_is_securely_promotable(restriction, index->rel))
		return NULL;
	derived = boolean_condition(index, column, restriction->clause);
	if (!derived && plain)
		derived = plain_condition(root, index, column, restriction->clause);
	if (derived == restriction->clause)
		quals = list_make1(restriction);
	else if (derived)
		quals = list_make1(make_simple_restrictinfo(root, derived));
	else if (is_in_list(root, index, column, restriction->clause))
		quals = list_make1(restriction);
	else
		return NULL;
	clause = makeNode(IndexClause);
	clause->rinfo = restriction;
	clause->indexquals = quals;
	clause->lossy = false;
	clause->indexcol = (AttrNumber) column;
	clause->indexcols = NIL;
	return clause;
}

/* An index's conditions, which a path of its has, and those that it lacks, by column; NIL: it lacks none. */
static List *
all_conditions(PlannerInfo *root, const IndexOptInfo *index, const IndexPath *path)
{
	bool		own = path->indexinfo == index;
	List	   *has = own ? path->indexclauses : NIL;
	List	   *all = NIL;
	bool		more = false;

	for (int column = 0; column < index->nkeycolumns; column++)
	{
		ListCell   *cell;

		foreach(cell, has)
		{
			if (lfirst_node(IndexClause, cell)->indexcol == column)
				all = lappend(all, lfirst(cell));
		}
		if (column == 0)
			continue;
		foreach(cell, index->indrestrictinfo)
		{
			IndexClause *clause = condition_of(root, index, column, lfirst_node(RestrictInfo, cell), !own);

			if (clause)
			{
				all = lappend(all, clause);
				more = true;
			}
		}
	}
	return more ? all : NIL;
}

static bool
is_ours(const IndexOptInfo *index)
{
	return index->amcostestimate == vtcostestimate;
}

/*
 * An ordered path of that index; or, if it has none, of one that orders alike: where
 * conditions are what tells two indexes apart, the path of one without them has driven out
 * the other's.
 */
static IndexPath *
ordered_path(const RelOptInfo *rel, IndexOptInfo *index)
{
	IndexPath  *alike = NULL;
	ListCell   *cell;

	foreach(cell, rel->pathlist)
	{
		IndexPath  *path = (IndexPath *) lfirst(cell);
		OpExpr	   *order;

		if (!IsA(path, IndexPath) || !is_ours(path->indexinfo) || path->path.param_info ||
			list_length(path->indexorderbys) != 1)
			continue;
		if (path->indexinfo == index)
			return path;
		order = linitial_node(OpExpr, path->indexorderbys);
		if (OidIsValid(get_op_opfamily_sortfamily(order->opno, index->opfamily[0])) &&
			match_index_to_operand((Node *) linitial(order->args), 0, index))
			alike = path;
	}
	return alike;
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	List	   *added = NIL;
	ListCell   *cell;

	if (next_set_rel_pathlist)
		next_set_rel_pathlist(root, rel, rti, rte);
	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *index = lfirst_node(IndexOptInfo, cell);
		IndexPath  *path = is_ours(index) && (index->indpred == NIL || index->predOK) ? ordered_path(rel, index) : NULL;
		List	   *conditions = path ? all_conditions(root, index, path) : NIL;

		if (conditions)
			added = lappend(added, create_index_path(root, index, conditions, path->indexorderbys,
													 path->indexorderbycols, path->path.pathkeys,
													 path->indexscandir, false, NULL, 1.0, false));
	}
	foreach(cell, added)
		add_path(rel, (Path *) lfirst(cell));
	list_free(added);
}

void
paths_setup(void)
{
	next_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
}
