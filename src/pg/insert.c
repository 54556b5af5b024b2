/*-------------------------------------------------------------------------
 *
 * insert.c
 *	  aminsert: one new heap tuple, left with pending.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "attributes.h"
#include "index.h"

/*
 * Called for each new tuple that is not a heap-only one.  Nothing is sent
 * before the buffer is full or the transaction commits, except the creation of
 * the collection on the first write of a generation.
 *
 * The last step of a concurrent build calls it too, for tuples of other
 * transactions; ii_Concurrent tells.
 */
bool
vtinsert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap,
		 IndexUniqueCheck check_unique pg_attribute_unused(),
		 bool index_unchanged pg_attribute_unused(), IndexInfo *info)
{
	VectronMeta meta;
	XLogRecPtr	logged;
	const void *vector;
	Pointer		to_free = NULL;
	int			dim;

	meta_read_logged(index, &meta, &logged);
	if (meta.state == VECTRON_STALE)
		return false;
	if (!vectron_index_vector(values[0], isnull[0], (VecMetric) meta.metric, meta_element(&meta), &vector, &dim,
							  &to_free))
		return false;
	if (dim != (int) meta.dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %u dimensions, not %d", meta.dim, dim)));
	if (meta_ensure_live(index, &meta))
		pending_add(index, heap, &meta, tid, logged, vector, attributes_encode(index, values, isnull),
					info->ii_Concurrent);
	if (to_free)
		pfree(to_free);
	return false;
}
