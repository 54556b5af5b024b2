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
#define REST_US (10 * INT64_C(1000000))	/* after a split */
#define ASKED_US (600 * INT64_C(1000000))	/* what somebody asked for is not evened out again for so long */

/* What is known of a shard, or NULL. */
static ShardLoad *
load_of(const Pd *pd, uint64_t shard)
{
	uint64_t	at;

	return idmap_get(&pd->load_at, shard, &at) ? &pd->loads[at] : NULL;
}

static void
load_put(Pd *pd, uint64_t shard, const ShardLoad *load)
{
	size_t		at = pd->load_at.n;

	if ((at & (at - 1)) == 0)
		pd->loads = vt_realloc(pd->loads, sizeof(ShardLoad) * (at ? at * 2 : 1));
	pd->loads[at] = *load;
	idmap_put(&pd->load_at, shard, at);
}

/*
 * What a shard carries is remembered from its leaders, whoever they are and also
 * while none is heard: else it would seem to be gone whenever one is.  How fast it
 * is written to: what its leader has applied since a leader of it reported last,
 * over the time, smoothed over RATE_US.  What a replica applies that catches up is
 * no measure of it.
 */
void
load_take(Pd *pd, uint64_t store, const Report *leader)
{
	ShardLoad  *load = load_of(pd, leader->shard);
	double		passed;

	if (!load)
	{
		load_put(pd, leader->shard, &(ShardLoad) {.bytes = leader->bytes, .rows = leader->records, .at_us = pd->now_us,
			.applied = leader->applied, .leads = store, .leader = leader->replica, .term = leader->term});
		return;
	}
	if (leader->term >= load->term || load->leads == 0 || !store_is_up(pd, load->leads))
	{
		load->leads = store;
		load->leader = leader->replica;
		load->term = leader->term;
	}
	load->bytes = leader->bytes;
	load->rows = leader->records;
	passed = (double) (pd->now_us - load->at_us);
	if (passed < RATE_LEAST_US || leader->applied < load->applied)
		return;
	load->rate = (load->rate * RATE_US + (double) (leader->applied - load->applied) * 1e6) / (RATE_US + passed);
	load->at_us = pd->now_us;
	load->applied = leader->applied;
}

void
load_left(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica)
{
	ShardLoad  *load = load_of(pd, shard);

	if (load && load->leads == store && (replica == 0 || load->leader == replica))
		load->leads = 0;
}

/*
 * Half of the writes are the child's from now on, which would be seen in half a minute
 * otherwise: what is evened out until then would be evened out again.
 */
void
load_split(Pd *pd, const WireShardDesc *child)
{
	ShardLoad  *parent = load_of(pd, child->parent);
	ShardLoad  *known = load_of(pd, child->shard);
	ShardLoad	half;

	if (!parent)
		return;
	parent->rate /= 2;
	parent->split_us = pd->now_us;
	half = (ShardLoad) {.bytes = parent->bytes / 2, .rows = parent->rows / 2, .at_us = pd->now_us, .applied = child->base_index};
	if (known)
		half = *known;			/* its leader was heard first */
	half.rate = parent->rate;
	half.split_us = pd->now_us;
	if (known)
		*known = half;
	else
		load_put(pd, child->shard, &half);
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
	const ShardLoad *load = load_of(pd, shard);

	return load ? (double) load->bytes : 0;
}

double
shard_rows(const Pd *pd, uint64_t shard)
{
	const ShardLoad *load = load_of(pd, shard);

	return load ? (double) load->rows : 0;
}

const ShardLoad *
shard_load(const Pd *pd, uint64_t shard)
{
	return load_of(pd, shard);
}

/*
 * How fast one is written to that nothing new is said of: less and less.  Not at once:
 * what was heard a moment ago must not seem to be more than what was heard some seconds
 * ago, or leaderships would go round after it.
 */
double
load_rate(const Pd *pd, const ShardLoad *load)
{
	double		silent = (double) (pd->now_us - load->at_us) - RATE_HOLDS_US;

	return load->rate * RATE_US / (RATE_US + (silent > 0 ? silent : 0));
}

bool
load_rests(const Pd *pd, const ShardLoad *load)
{
	return load->split_us != 0 && pd->now_us - load->split_us < REST_US;
}

void
load_ask(Pd *pd, uint64_t shard)
{
	ShardLoad  *load = load_of(pd, shard);

	if (load)
		load->asked_us = pd->now_us;
}

void
load_compared(Pd *pd, uint64_t shard)
{
	ShardLoad  *load = load_of(pd, shard);

	if (load)
		load->compared_us = pd->now_us;
}

bool
load_is_asked(const Pd *pd, const ShardLoad *load)
{
	return load->asked_us != 0 && pd->now_us - load->asked_us < ASKED_US;
}

double
replica_searches(const Pd *pd, const Report *report)
{
	double		silent = (double) (pd->now_us - report->searches_us) - RATE_HOLDS_US;

	return report->searches * SEARCHES_US / (SEARCHES_US + (silent > 0 ? silent : 0));
}
