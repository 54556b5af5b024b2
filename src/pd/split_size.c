/*-------------------------------------------------------------------------
 *
 * split_size.c
 *	  Shards that have become large are split unasked: --split-bytes, --split-rows.
 *
 * Bytes are memory, as the shard's leader counts it.  Of that, what was deleted or has
 * left with a child is given back only when the graph is compacted, and nothing is
 * gained by splitting it once more: a shard is taken for as large as its rows would be
 * in that shard of its collection which needs least for a row.
 *
 * Bytes are a reason only where half of the shard could go somewhere else: where more
 * stores take replicas than the shard has.  Else the same machines would have the same
 * bytes afterwards, and each search one shard more to ask.  Rows are a reason anywhere:
 * somebody has named their number.
 *
 * The largest goes first.  No store takes part in two splits at a time, and few go on
 * at once; none while something is lost.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "service.h"

#define LOOK_US 1000000			/* between two looks, and for each shard */
#define LOOK_SHARD_US 20
#define ROWS_LEAST 1000			/* in a shard that tells what a row needs */
#define STORES_A_SPLIT 16		/* one split goes on anywhere, and one more for each so many stores */

typedef struct Large
{
	const CatalogCollection *collection;
	const CatalogShard *shard;
	double		size;			/* of what it may have; more than 1 */
} Large;

typedef struct Look
{
	Pd		   *pd;
	size_t		takers;			/* stores that take replicas */
	size_t		most;			/* splits at once */
	size_t		under_way;
	IdMap		busy;			/* stores that take part in one */
	Large	   *large;
	size_t		n;
} Look;

static void
note_busy(Look *look, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		idmap_put(&look->busy, shard->desc.replicas[i].store, 1);
	look->under_way++;
}

static bool
is_busy(const Look *look, const CatalogShard *shard)
{
	uint64_t	unused;

	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (idmap_get(&look->busy, shard->desc.replicas[i].store, &unused))
			return true;
	return false;
}

/* Bytes for a row, where they are fewest; 0 = no shard tells. */
static double
bytes_of_row(const Pd *pd, const CatalogCollection *c)
{
	double		least = 0;

	for (uint32_t i = 0; i < c->nshards; i++)
	{
		double		rows = shard_rows(pd, c->shards[i].desc.shard);
		double		each = rows >= ROWS_LEAST ? shard_bytes(pd, c->shards[i].desc.shard) / rows : 0;

		if (each > 0 && (least == 0 || each < least))
			least = each;
	}
	return least;
}

static double
size_of(const Look *look, const CatalogShard *shard, double each)
{
	const PdOptions *options = &look->pd->options;
	double		rows = shard_rows(look->pd, shard->desc.shard);
	double		by_rows = options->split_rows ? rows / (double) options->split_rows : 0;
	double		by_bytes = options->split_bytes && look->takers > (size_t) shard->desc.nreplicas ?
		rows * each / (double) options->split_bytes : 0;

	return by_rows > by_bytes ? by_rows : by_bytes;
}

static void
look_at(Look *look, const CatalogCollection *c)
{
	double		each = bytes_of_row(look->pd, c);

	for (uint32_t i = 0; i < c->nshards; i++)
	{
		const CatalogShard *shard = &c->shards[i];
		double		size = size_of(look, shard, each);

		if (shard->plan.kind == PLAN_SPLIT)
			note_busy(look, shard);
		if (shard->plan.kind != PLAN_NONE || size <= 1)
			continue;
		if ((look->n & (look->n - 1)) == 0)
			look->large = vt_realloc(look->large, sizeof(Large) * (look->n ? look->n * 2 : 1));
		look->large[look->n++] = (Large) {c, shard, size};
	}
}

static int
large_compare(const void *a, const void *b)
{
	const Large *x = (const Large *) a;
	const Large *y = (const Large *) b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return x->shard->desc.shard < y->shard->desc.shard ? -1 : 1;
}

static void
look_begin(Look *look, Pd *pd)
{
	memset(look, 0, sizeof(*look));
	look->pd = pd;
	look->most = 1 + pd->catalog->nstores / STORES_A_SPLIT;
	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		PlanStore	store;

		look->takers += operate_store(pd, pd->catalog->stores[i]->id, &store) && store.takes && !store.search_only;
	}
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		if (pd->catalog->collections[i]->state == COLLECTION_LIVE)
			look_at(look, pd->catalog->collections[i]);
	if (look->n > 0)
		qsort(look->large, look->n, sizeof(Large), large_compare);
}

/*
 * Is any shard that is known beyond one of the limits?  Its rows, as large as they are
 * where they are smallest, have no more bytes than it has.
 */
static bool
any_is_large(const Pd *pd)
{
	uint64_t	rows = pd->options.split_rows ? pd->options.split_rows : UINT64_MAX;
	uint64_t	bytes = pd->options.split_bytes ? pd->options.split_bytes : UINT64_MAX;

	for (size_t i = 0; i < pd->load_at.n; i++)
		if (pd->loads[i].rows > rows || pd->loads[i].bytes > bytes)
			return true;
	return false;
}

void
splits_look(Pd *pd)
{
	Look		look;
	Changes		changes;

	if ((pd->options.split_rows == 0 && pd->options.split_bytes == 0) || pd->now_us < pd->splits_due_us ||
		!reports_are_in(pd) || pd->repairing || pd->now_us < pd->braked_until_us)
		return;
	pd->splits_due_us = pd->now_us + LOOK_US + (int64_t) catalog_nshards(pd->catalog) * LOOK_SHARD_US;
	if (!any_is_large(pd))
		return;
	look_begin(&look, pd);
	changes_begin(pd, &changes);
	for (size_t i = 0; i < look.n && look.under_way < look.most; i++)
	{
		const Large *large = &look.large[i];

		if (is_busy(&look, large->shard) || stall_split_rests(pd, large->shard->desc.shard) || split_objection(pd, large->collection, large->shard))
			continue;
		split_begin(&changes, large->collection, large->shard);
		note_busy(&look, large->shard);
	}
	idmap_free(&look.busy);
	free(look.large);
	changes_commit(pd, &changes);
}
