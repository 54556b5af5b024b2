/*-------------------------------------------------------------------------
 *
 * hot.c
 *	  What was applied and is not in the graph yet: how much, and whose it is.
 *
 * The graph links in the order of coming, and does not know whose a vector is: the
 * backlog is a number, which links lower.
 *
 *-------------------------------------------------------------------------
 */
#include "hot.h"

#include "shard.h"

#define HOT_BYTES (1u << 20)
#define HOT_MIN 64

uint64_t
hot_limit(const Shard *shard)
{
	uint32_t	size = shard->desc.quantization == QUANTIZATION_INT8 ? 1 : shard_halves(&shard->desc) ? 2 : 4;
	uint64_t	limit = HOT_BYTES / (size * shard->desc.dim);

	return limit > HOT_MIN ? limit : HOT_MIN;
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
hot_link(Shard *shard, uint32_t n)
{
	uint32_t	linked = 0;

	while (linked < n && hnsw_link_next(records_graph(shard->records)))
		if (linked++ % 2 == 0 || hot_fresh(shard) == 0)
			shrink_backlog(shard);
	if (linked == 0)
		/* Others have the last ones in hand: the backlog is theirs. */
		atomic_store(&shard->backlog, 0);
	return linked;
}
