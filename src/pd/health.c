/*-------------------------------------------------------------------------
 *
 * health.c
 *	  What follows from heartbeats: who is alive, what is lost, who leads.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "base/hash.h"
#include "service.h"

Report *
report_of(Pd *pd, uint64_t store, uint64_t shard)
{
	return report_in(beat_of(pd, store), shard);
}

static bool
is_heard(Pd *pd, const Beat *beat)
{
	return beat && pd->now_us - beat->at_us < SUSPECT_AFTER_US;
}

bool
store_is_up(Pd *pd, uint64_t store)
{
	Beat	   *beat = beat_of(pd, store);

	return is_heard(pd, beat) && !beat->challenged;
}

/* When it spoke last, read or not, or we began to listen. */
static int64_t
heard_us(Pd *pd, uint64_t store)
{
	const Beat *beat = beat_of(pd, store);
	int64_t		us = untold_heard_us(pd, store);

	if (beat && beat->at_us > us)
		us = beat->at_us;
	return us > pd->led_since_us ? us : pd->led_since_us;
}

static uint64_t
endpoint_key(const CatalogStore *store)
{
	return hash_checksum(bytes_str(store->endpoint)) | 1;	/* never 0 */
}

void
store_spoke(Pd *pd, uint64_t store)
{
	const CatalogStore *row = catalog_store(pd->catalog, store);

	if (row)
		idmap_put(&pd->spoke_last, endpoint_key(row), store);
}

/*
 * Does another directory live where this store did?  That is heard: one place has
 * one process, and this one has been silent while the other spoke.  Neither ids nor
 * registrations tell, which may be of a directory that is gone again.  Only who spoke
 * there last can have spoken for long enough after this one.  Two endpoints with one
 * key, or a store that has moved, cost a look at a name: the answer is no, until
 * whoever lives there speaks again.
 */
bool
store_is_superseded(Pd *pd, const CatalogStore *store)
{
	const CatalogStore *other;
	const Beat *beat;
	uint64_t	last;

	if (!idmap_get(&pd->spoke_last, endpoint_key(store), &last) || last == store->id)
		return false;
	beat = beat_of(pd, last);
	other = catalog_store(pd->catalog, last);
	return is_heard(pd, beat) && beat->at_us >= heard_us(pd, store->id) + SUPERSEDED_AFTER_US &&
		other && strcmp(other->endpoint, store->endpoint) == 0;
}

Health
store_health(Pd *pd, const CatalogStore *store)
{
	Beat	   *beat = beat_of(pd, store->id);
	Health		health = plan_health(pd->now_us - heard_us(pd, store->id), SUSPECT_AFTER_US, pd->options.down_after_us);

	/* We have only just begun to listen, or it could not be read yet; or another has come to its place. */
	if (health == HEALTH_UP && (!is_heard(pd, beat) || beat->challenged))
		health = HEALTH_SUSPECT;
	/* An empty disk is a new store: what the old one had is gone with it. */
	return health == HEALTH_SUSPECT && store_is_superseded(pd, store) ? HEALTH_DOWN : health;
}

bool
replica_is_damaged(Pd *pd, uint64_t store, uint64_t shard)
{
	Beat	   *beat = beat_of(pd, store);

	for (size_t i = 0; beat && i < beat->ndamaged; i++)
		if (beat->damaged[i].shard == shard)
			return true;
	return false;
}

/*
 * A replica is as healthy as its store; but one that the store says is damaged is
 * lost, and so is one that a store which is up has for long not mentioned.
 */
Health
replica_health(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool seen)
{
	CatalogStore *home = catalog_store(pd->catalog, store);
	Health		health = home ? store_health(pd, home) : HEALTH_DOWN;
	Beat	   *beat = beat_of(pd, store);
	Report	   *report = report_in(beat, shard);
	Missing    *missing = missing_of(beat, shard);

	if (health != HEALTH_UP || (report && report->replica == replica))
		return health;
	if (replica_is_damaged(pd, store, shard))
		return HEALTH_DOWN;		/* no waiting: it will not come back */
	return seen && missing && pd->now_us - missing->since_us >= pd->options.down_after_us ?
		HEALTH_DOWN : HEALTH_SUSPECT;
}

Report *
leader_of(Pd *pd, const CatalogShard *shard, uint64_t *store)
{
	Report	   *best = NULL;

	*store = 0;
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		uint64_t	at = shard->desc.replicas[i].store;
		Beat	   *beat = beat_of(pd, at);
		Report	   *report = is_heard(pd, beat) ? report_in(beat, shard->desc.shard) : NULL;

		if (report && report->leader && report->replica == shard->desc.replicas[i].replica &&
			(!best || report->term > best->term))
		{
			best = report;
			*store = at;
		}
	}
	return best;
}

/*
 * Is a replica that we have not among the members certainly none?  It may know a newer
 * configuration than we, and be one there.  Not if that is of an earlier term than the
 * leader's, who has not got it: then it was never committed, nor will it be.
 */
bool
replica_is_no_member(Pd *pd, const CatalogShard *shard, const Report *report)
{
	uint64_t	leads;
	const Report *leader = leader_of(pd, shard, &leads);

	if (!report->says_conf || report->conf_index <= shard->conf_index)
		return report->says_conf;
	return leader && shard->plan.kind != PLAN_RECOVER && leader->nmembers > 0 && !leader->joint && leader->conf_index == shard->conf_index &&
		leader->incarnation == shard->desc.incarnation && report->incarnation == shard->desc.incarnation &&
		report->last_term > 0 && report->last_term < leader->term;
}
