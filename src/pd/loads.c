/*-------------------------------------------------------------------------
 *
 * loads.c
 *	  What shards weigh: their bytes, how fast they are written to, how much they are searched.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "service.h"

#define RATE_US 30e6
#define SEARCHES_US 300e6
#define RATE_HOLDS_US 5e6		/* who is written to is heard oftener */
#define RATE_LEAST_US 200e3

/*
 * What a shard carries is remembered from its leaders, whoever they are and also
 * while none is heard: else it would seem to be gone whenever one is.  How fast it
 * is written to: what its leader has applied since a leader of it reported last,
 * over the time, smoothed over RATE_US.  What a replica applies that catches up is
 * no measure of it.
 */
void
load_take(Pd *pd, const Report *leader)
{
	ShardLoad  *load;
	uint64_t	at;
	double		passed;

	if (!idmap_get(&pd->load_at, leader->shard, &at))
	{
		at = pd->load_at.n;
		if ((at & (at - 1)) == 0)
			pd->loads = vt_realloc(pd->loads, sizeof(ShardLoad) * (at ? at * 2 : 1));
		pd->loads[at] = (ShardLoad) {.bytes = leader->bytes, .rows = leader->records, .at_us = pd->now_us, .applied = leader->applied};
		idmap_put(&pd->load_at, leader->shard, at);
		return;
	}
	load = &pd->loads[at];
	load->bytes = leader->bytes;
	load->rows = leader->records;
	passed = (double) (pd->now_us - load->at_us);
	if (passed < RATE_LEAST_US || leader->applied < load->applied)
		return;
	load->rate = (load->rate * RATE_US + (double) (leader->applied - load->applied) * 1e6) / (RATE_US + passed);
	load->at_us = pd->now_us;
	load->applied = leader->applied;
}

static uint64_t
searched(const Report *report)
{
	uint64_t	sum = 0;

	for (int i = REPORT_TIMES; i < REPORT_TIMES_END; i++)
		sum += report->figures[i];
	return sum;
}

/*
 * The same for the time that searches of a replica take.  Clients share them out anew
 * all the time, and who takes one away moves its bytes: smoothed over longer.  A worker
 * that was started anew counts from nothing.
 */
void
load_take_searches(const Pd *pd, const Report *before, Report *now)
{
	double		passed;

	now->searches = 0;
	now->searches_us = pd->now_us;
	now->searched_us = searched(now);
	if (!before || before->replica != now->replica)
		return;
	now->searches = before->searches;
	if (now->searched_us < before->searched_us)
		return;
	passed = (double) (pd->now_us - before->searches_us);
	if (passed < RATE_LEAST_US)
	{
		now->searches_us = before->searches_us;
		now->searched_us = before->searched_us;
		return;
	}
	now->searches = (before->searches * SEARCHES_US + (double) (now->searched_us - before->searched_us)) / (SEARCHES_US + passed);
}

/* Forget what shards carried that are gone. */
void
loads_prune(Pd *pd)
{
	IdMap		left = {0};
	ShardLoad  *loads;

	if (pd->load_at.n <= 2 * catalog_nshards(pd->catalog) + 1000)
		return;
	loads = vt_alloc(sizeof(ShardLoad) * pd->load_at.n * 2);	/* load_take() doubles at powers of two */
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
		{
			uint64_t	shard = pd->catalog->collections[i]->shards[j].desc.shard;
			uint64_t	at;

			if (!idmap_get(&pd->load_at, shard, &at))
				continue;
			loads[left.n] = pd->loads[at];
			idmap_put(&left, shard, left.n);
		}
	idmap_free(&pd->load_at);
	free(pd->loads);
	pd->load_at = left;
	pd->loads = loads;
}

double
shard_bytes(const Pd *pd, uint64_t shard)
{
	uint64_t	at;

	return idmap_get(&pd->load_at, shard, &at) ? (double) pd->loads[at].bytes : 0;
}

double
shard_rows(const Pd *pd, uint64_t shard)
{
	uint64_t	at;

	return idmap_get(&pd->load_at, shard, &at) ? (double) pd->loads[at].rows : 0;
}

/*
 * How fast one is written to that nothing new is said of: less and less.  Not at once:
 * what was heard a moment ago must not seem to be more than what was heard some seconds
 * ago, or leaderships would go round after it.
 */
void
shard_load(const Pd *pd, uint64_t shard, double *bytes, double *rate)
{
	uint64_t	at;
	double		silent;

	*bytes = *rate = 0;
	if (!idmap_get(&pd->load_at, shard, &at))
		return;
	silent = (double) (pd->now_us - pd->loads[at].at_us) - RATE_HOLDS_US;
	*bytes = (double) pd->loads[at].bytes;
	*rate = pd->loads[at].rate * RATE_US / (RATE_US + (silent > 0 ? silent : 0));
}

double
replica_searches(const Pd *pd, const Report *report)
{
	double		silent = (double) (pd->now_us - report->searches_us) - RATE_HOLDS_US;

	return report->searches * SEARCHES_US / (SEARCHES_US + (silent > 0 ? silent : 0));
}
