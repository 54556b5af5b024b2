/*-------------------------------------------------------------------------
 *
 * shrink.c
 *	  What compaction costs and gives: rows are deleted at random, then the
 *	  graph is repaired, then its memory is given back.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/prng.h"
#include "bench.h"
#include "hnsw/hnsw.h"


typedef struct Owner
{
	Hnsw	   *h;
	uint32_t   *slot_of;		/* of a row */
	bool		refuse;
} Owner;

static bool
on_move(void *arg, uint32_t from, uint32_t to)
{
	Owner	   *owner = arg;
	uint64_t	row = hnsw_label(owner->h, from);

	if (owner->refuse)
		return false;
	hnsw_move(owner->h, from, to);
	owner->slot_of[row] = to;
	return true;
}

static void
line(const Set *set, Hnsw *h, const char *when, double share, double cpu_s)
{
	HnswStats	stats;
	HnswReport	report;

	hnsw_stats(h, &stats);
	if (!hnsw_check(h, &report))
		printf("BROKEN: %s\n", report.first);
	printf("%-10s %7.0f%% %9.3f %9llu %9llu %9.1f %9.1f %8.4f %9.0f\n", when, 100 * share, cpu_s,
		   (unsigned long long) stats.used, (unsigned long long) stats.moved, (double) stats.bytes / 1048576,
		   usage_rss() / 1048576, mode_recall(set, h, EF), mode_rate(set, h));
	fflush(stdout);
}

static double
repair_all(Hnsw *h)
{
	double		begin = thread_us();

	while (hnsw_repair(h, 512, false))
		;
	return (thread_us() - begin) / 1e6;
}

static void
shrink(const Settings *settings, const Set *set, double share)
{
	Owner		owner = {.slot_of = vt_alloc(sizeof(uint32_t) * set->n), .refuse = true};
	HnswOptions options = {
		.dim = set->dim, .metric = set->metric, .m = settings->m,
		.ef_construction = settings->ef_construction, .codes = HNSW_CODES_INT8, .seed = 1,
		.move = on_move, .move_arg = &owner
	};
	Prng		prng = {11};
	VtError		err;
	double		cpu;

	if (hnsw_create(&options, &owner.h, &err) != VT_OK)
		abort();
	for (uint32_t row = 0; row < set->n; row++)
	{
		if (hnsw_reserve(owner.h, &owner.slot_of[row], &err) != VT_OK)
			abort();
		hnsw_add(owner.h, owner.slot_of[row], row, set->base + (size_t) row * set->dim);
		hnsw_link_next(owner.h);
	}
	repair_all(owner.h);
	line(set, owner.h, "whole", share, 0);
	for (uint32_t row = 0; row < set->n; row++)
		if (prng_double(&prng) < share)
			hnsw_delete(owner.h, owner.slot_of[row]);
	cpu = repair_all(owner.h);
	line(set, owner.h, "repaired", share, cpu);

	/* A row comes and goes: compaction is thought of again. */
	owner.refuse = false;
	if (hnsw_reserve(owner.h, &owner.slot_of[0], &err) != VT_OK)
		abort();
	hnsw_add(owner.h, owner.slot_of[0], 0, set->base);
	hnsw_link_next(owner.h);
	hnsw_delete(owner.h, owner.slot_of[0]);
	cpu = repair_all(owner.h);
	line(set, owner.h, "compacted", share, cpu);
	hnsw_destroy(owner.h);
	free(owner.slot_of);
}

void
mode_shrink(const Settings *settings, const Set *set)
{
	static const double shares[] = {0.3, 0.8};

	printf("\nrows deleted at random, ef %d\n%-10s %8s %9s %9s %9s %9s %9s %8s %9s\n", EF, "when", "deleted",
		   "cpu s", "slots", "moved", "MiB", "resident", "recall", "QPS");
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		shrink(settings, set, shares[i]);
}
