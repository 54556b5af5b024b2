/*-------------------------------------------------------------------------
 *
 * cost.c
 *	  amcostestimate: what a search costs, without asking anybody (R5).
 *
 * The index has one page, so PostgreSQL's usual formula would think it free.
 * We count what a search does: distances computed on the way to the first
 * batch, a round trip, and then, if every row is wanted, an exact scan of those
 * that meet the conditions.  A walk goes through rows that do not meet them, too, and
 * is no longer for it: where few are left, they are compared all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/selfuncs.h"
#include "utils/rel.h"

#include "index.h"

/*
 * In units of a sequential page read, about 10 us.  A distance is counted as if
 * of 100 dimensions, whatever it has, since the sort it competes with counts one
 * operator for it, whatever it has.  A row beyond the first batch is measured
 * again, excluded from the next and merged.
 */
#define ROUND_TRIP_COST 20.0
#define DISTANCE_OPERATORS 8
#define COLUMN_OPERATORS 0.125	/* 3 ns a row, with what is made of it */
#define ROW_COST 0.1

/*
 * What a path that must not be used costs.  Finite, since paths are built upon
 * paths, and the difference of two infinite costs compares with nothing.
 */
#define NEVER_COST 1e30

/* IS NULL on the vector: the index knows no such row. */
static bool
wants_no_vector(const IndexPath *path)
{
	ListCell   *cell;

	foreach(cell, path->indexclauses)
	{
		const IndexClause *clause = lfirst_node(IndexClause, cell);
		const RestrictInfo *qual = linitial_node(RestrictInfo, clause->indexquals);

		if (clause->indexcol == 0 &&
			!(IsA(qual->clause, NullTest) && ((NullTest *) qual->clause)->nulltesttype == IS_NOT_NULL))
			return true;
	}
	return false;
}

/* May this path be used at all? */
static bool
path_is_possible(const IndexPath *path)
{
	VectronMeta meta;
	Relation	index;
	bool		possible;

	/*
	 * R1: exactly one ORDER BY distance.  A path with parameters of another table is in no
	 * order to its user, who would miss rows without a vector for nothing.
	 */
	if (list_length(path->indexorderbys) != 1 || path->path.param_info || wants_no_vector(path))
		return false;
	if (RecoveryInProgress())
		return false;
	/* W7: a stale index, or one that will turn out to be, is not chosen. */
	index = index_open(path->indexinfo->indexoid, NoLock);
	meta_read(index, &meta);
	index_close(index, NoLock);
	possible = meta.state == VECTRON_EMPTY ||
		(meta.state == VECTRON_LIVE && identity_may_be_ours(&meta.owner) &&
		 !(vectron_fallback_scan && cluster_believed_down(&meta.generation)));
	return possible;
}

void
vtcostestimate(PlannerInfo *root, IndexPath *path, double loop_count pg_attribute_unused(),
			   Cost *startup, Cost *total, Selectivity *selectivity, double *correlation,
			   double *pages)
{
	double		tuples = Max(path->indexinfo->tuples, 1.0);
	double		matching;
	double		visited;
	double		per_distance;

	*selectivity = clauselist_selectivity(root, get_quals_from_indexclauses(path->indexclauses),
										  (int) path->indexinfo->rel->relid, JOIN_INNER, NULL);
	*correlation = 0.0;
	*pages = 1.0;
	if (!path_is_possible(path))
	{
		*startup = NEVER_COST;
		*total = NEVER_COST;
		return;
	}

	/* A one-page partial index is estimated as empty: take the table's share. */
	if (path->indexinfo->indpred != NIL)
		tuples = Max(tuples, path->indexinfo->rel->rows);
	matching = Max(1.0, tuples * *selectivity);
	visited = Min(matching, names_ef_search() * Max(1.0, log(tuples)));
	per_distance = cpu_operator_cost * DISTANCE_OPERATORS;
	*startup = ROUND_TRIP_COST + visited * per_distance;
	/* A condition that was not asked lately is held against the columns of all rows first. */
	if (path->indexclauses != NIL)
		*startup += tuples * COLUMN_OPERATORS * cpu_operator_cost;
	*total = *startup + matching * (per_distance + ROW_COST);

	/* Virtual pages: what a graph in PostgreSQL's pages would take. */
	*pages = Max(1.0, tuples * 512 / BLCKSZ);
}
