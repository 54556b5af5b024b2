/*-------------------------------------------------------------------------
 *
 * hot.c
 *	  What was applied and is not in the graph yet: how much, and whose it is.
 *
 * The graph links in the order of coming, and does not know whose a vector is: the
 * backlog is a number, which links lower.
 *
 * What a walk and a vector that waits cost is taken from the counters of the records,
 * whenever there is enough that is new, by the threads that link.
 *
 *-------------------------------------------------------------------------
 */
#include "hot.h"

#include "shard.h"

#define HOT_BYTES (1u << 20)
#define HOT_MIN 64

/* A look at the prices takes so many walks, and so many vectors that waited. */
#define LOOK_WALKS 32
#define LOOK_ROWS 4096

/* How much of the price comes from the last look. */
#define NEW_SHARE 0.25

uint64_t
hot_limit(const Shard *shard)
{
	uint64_t	size = shard->desc.quantization != QUANTIZATION_NONE ? shard->desc.dim :
		wire_vector_bytes(shard_element(&shard->desc), shard->desc.dim);
	uint64_t	most = size > 0 ? HOT_BYTES / size : HOT_BYTES;	/* nothing waits where there are no vectors */
	uint64_t	limit = atomic_load_explicit(&shard->prices.limit, memory_order_relaxed);

	if (limit == 0 || limit > most)
		limit = most;
	return limit > HOT_MIN ? limit : HOT_MIN;
}

static double
blend(double old, double now)
{
	return old > 0 ? old + (now - old) * NEW_SHARE : now;
}

/* What did searches cost since the last look? */
static void
look_at_prices(Shard *shard)
{
	HotPrices  *p = &shard->prices;
	const Records *records = shard->records;
	uint64_t	exact = records_stat(records, RECORD_EXACT_PASSES);	/* before all passes: never more than those */
	uint64_t	walks = records_stat(records, RECORD_PASSES) - exact;
	uint64_t	walk_us = records_stat(records, RECORD_WALK_US) + records_stat(records, RECORD_REFINE_US);
	uint64_t	rows = records_stat(records, RECORD_HOT_DISTANCES);
	uint64_t	row_us = records_stat(records, RECORD_HOT_US);

	if (walks < p->walks || walk_us < p->walk_us || rows < p->rows || row_us < p->row_us)
		/* Other records: those of a snapshot. */
		p->walks = p->walk_us = p->rows = p->row_us = 0;
	if (walks < p->walks + LOOK_WALKS || rows < p->rows + LOOK_ROWS)
		return;
	p->walk = blend(p->walk, (double) (walk_us - p->walk_us) / (double) (walks - p->walks));
	p->row = blend(p->row, (double) (row_us - p->row_us) / (double) (rows - p->rows));
	p->walks = walks;
	p->walk_us = walk_us;
	p->rows = rows;
	p->row_us = row_us;
	if (p->row > 0)
		atomic_store_explicit(&p->limit, (uint64_t) (p->walk / 2 / p->row) + 1, memory_order_relaxed);
}

uint64_t
hot_fresh(Shard *shard)
{
	uint64_t	waiting = shard_figures(shard).waiting;
	uint64_t	backlog = atomic_load(&shard->backlog);

	return waiting > backlog ? waiting - backlog : 0;
}

bool
hot_presses(Shard *shard)
{
	return shard_figures(shard).waiting > hot_limit(shard) / 2;
}

static void
shrink_backlog(Shard *shard)
{
	uint64_t	backlog = atomic_load(&shard->backlog);

	while (backlog > 0 && !atomic_compare_exchange_weak(&shard->backlog, &backlog, backlog - 1))
		;
}

uint32_t
hot_link(Shard *shard, uint32_t n, bool *looked)
{
	uint32_t	linked = 0;
	HnswNext	next = HNSW_LEFT;
	HnswHelp	help;

	if (!atomic_exchange(&shard->prices.busy, true))
	{
		look_at_prices(shard);
		atomic_store(&shard->prices.busy, false);
	}
	hints_begin(shard, &help);
	*looked = !help.ask;
	while (linked < n && (next = hnsw_link_next_with(records_graph(shard->records), &help)) == HNSW_LINKED)
		if (linked++ % 2 == 0 || hot_fresh(shard) == 0)
			shrink_backlog(shard);
	hints_end(shard, linked);
	if (linked == 0 && next == HNSW_NONE_WAITS)
		/* Others have the last ones in hand: the backlog is theirs. */
		atomic_store(&shard->backlog, 0);
	return linked;
}
