/*-------------------------------------------------------------------------
 *
 * cost.c
 *	  amcostestimate: what a search costs, without asking anybody (R5).
 *
 * The index has one page, so PostgreSQL's usual formula would think it free.
 * We count what a search does: distances computed on the way to the first
 * batch, a round trip, and then, if every row is wanted, an exact scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
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
#define ROW_COST 0.1

/* May this path be used at all? */
static bool
path_is_possible(const IndexPath *path)
{
	VectronMeta meta;
	Relation	index;
	bool		possible;

	/* R1: exactly one ORDER BY distance and no other condition. */
	if (list_length(path->indexorderbys) != 1 || path->indexclauses != NIL)
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
vtcostestimate(PlannerInfo *root pg_attribute_unused(), IndexPath *path,
			   double loop_count pg_attribute_unused(),
			   Cost *startup, Cost *total, Selectivity *selectivity, double *correlation,
			   double *pages)
{
	double		tuples = Max(path->indexinfo->tuples, 1.0);
	double		visited;
	double		per_distance;

	*selectivity = 1.0;
	*correlation = 0.0;
	*pages = 1.0;
	if (!path_is_possible(path))
	{
		*startup = get_float8_infinity();
		*total = get_float8_infinity();
		return;
	}

	/* A one-page partial index is estimated as empty: take the table's share. */
	if (path->indexinfo->indpred != NIL)
		tuples = Max(tuples, path->indexinfo->rel->rows);
	visited = Min(tuples, vectron_ef_search * Max(1.0, log(tuples)));
	per_distance = cpu_operator_cost * DISTANCE_OPERATORS;
	*startup = ROUND_TRIP_COST + visited * per_distance;
	*total = *startup + tuples * (per_distance + ROW_COST);

	/* Virtual pages: what a graph in PostgreSQL's pages would take. */
	*pages = Max(1.0, tuples * 512 / BLCKSZ);
}
