/*-------------------------------------------------------------------------
 *
 * report.c
 *	  The questions that change nothing: what views and people ask.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "service.h"
#include "vec_names.h"

/* Voters that its owner wants, also when we cannot make so many. */
uint32_t
replicas_asked(Pd *pd, const CatalogCollection *c)
{
	return c->replicas_wanted ? c->replicas_wanted : pd->options.default_replicas;
}

uint32_t
voters_up(Pd *pd, const CatalogShard *shard)
{
	uint32_t	n = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];

		n += r->role == ROLE_VOTER &&
			replica_health(pd, r->store, shard->desc.shard, r->replica, shard->seen >> i & 1) == HEALTH_UP;
	}
	return n;
}

/* The report that says most of a shard: its leader's, else that of who has applied most. */
static Report *
fullest(Pd *pd, const CatalogShard *shard)
{
	uint64_t	store;
	Report	   *best = leader_of(pd, shard, &store);

	for (int i = 0; i < shard->desc.nreplicas && store == 0; i++)
	{
		Report	   *report = report_of(pd, shard->desc.replicas[i].store, shard->desc.shard);

		if (report && (!best || report->applied > best->applied))
			best = report;
	}
	return best;
}

const char *
collection_state(const CatalogCollection *c)
{
	return c->state == COLLECTION_DOOMED ? "doomed" : c->state == COLLECTION_HIDDEN ? "hidden" :
		collection_is_up(c) ? "live" : "creating";
}

static size_t
one_row(const CatalogCollection *c)
{
	(void) c;
	return 1;
}

/* One collection as a row. */
static json_t *
collection_row(Pd *pd, const CatalogCollection *c)
{
	json_t	   *row = json_object();
	uint64_t	records = 0;
	uint64_t	unindexed = 0;
	uint64_t	bytes = 0;
	bool		whole = true;

	for (uint32_t j = 0; j < c->nshards; j++)
	{
		Report	   *report = fullest(pd, &c->shards[j]);

		records += report ? report->records : 0;
		unindexed += report ? report->unindexed : 0;
		bytes += report ? report->bytes : 0;
		whole &= voters_up(pd, &c->shards[j]) >= replicas_asked(pd, c);
	}
	json_object_set_new(row, "generation", json_id(&c->generation));
	json_object_set_new(row, "owner", json_owner(&c->owner));
	json_object_set_new(row, "label", json_string(c->label));
	json_object_set_new(row, "dim", json_integer(c->dim));
	json_object_set_new(row, "metric", json_string(metric_name(c->metric)));
	json_object_set_new(row, "m", json_integer(c->m));
	json_object_set_new(row, "ef_construction", json_integer(c->ef_construction));
	json_object_set_new(row, "element", json_string(element_name(c->element)));
	json_object_set_new(row, "quantization", json_string(quantization_name(c->quantization)));
	json_object_set_new(row, "distances", json_string(distances_name(c->quantization)));
	if (c->nattributes > 0)
		json_object_set_new(row, "attributes", json_attributes(c));
	json_object_set_new(row, "state", json_string(collection_state(c)));
	json_object_set_new(row, "nshards", json_integer(c->nshards));
	json_object_set_new(row, "replicas_wanted", json_integer(replicas_asked(pd, c)));
	json_object_set_new(row, "under_replicated", json_boolean(!whole));
	json_object_set_new(row, "xid", json_u64(c->xid));
	json_object_set_new(row, "records", json_u64(records));
	json_object_set_new(row, "unindexed", json_u64(unindexed));
	json_object_set_new(row, "bytes", json_u64(bytes));
	json_object_set_new(row, "created_us", json_integer(c->created_us));
	json_object_set_new(row, "dropped_us", json_integer(c->state == COLLECTION_LIVE ? 0 : pd_wall_us(pd) - (pd_lived_us(pd) - c->unused_us)));
	return row;
}

/* Of those that may be seen. */
json_t *
collections_page(Pd *pd, const Question *q, Page *page)
{
	json_t	   *list = json_array();
	CatalogCollection *c;

	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		if (!q || rights_see(q, &pd->catalog->collections[i]->owner))
			page_offer(page, pd->catalog->collections[i]);
	while ((c = page_next(page, one_row)) != NULL)
		json_array_append_new(list, collection_row(pd, c));
	return json_pack("{s:o}", "collections", list);
}

/* "suspect" is silent, "down" so long that its replicas are made anew elsewhere. */
const char *
store_state(Pd *pd, const CatalogStore *store)
{
	switch (store_health(pd, store))
	{
		case HEALTH_UP:
			return store->draining ? "draining" : "up";
		case HEALTH_SUSPECT:
			return "suspect";
		default:
			return "down";
	}
}

/*
 * Workers that were forgotten.  They stay for good: it is by them that what comes with their number or
 * directory is refused.
 */
json_t *
json_tombstones(Pd *pd)
{
	json_t	   *list = json_array();

	for (size_t i = 0; i < pd->catalog->ngone; i++)
	{
		const CatalogGone *g = pd->catalog->gone[i];

		json_array_append_new(list, json_pack("{s:o,s:s,s:o,s:s,s:I}", "store", json_u64(g->id), "state", "tombstone", "data_id", json_id(&g->data_id),
											  "endpoint", g->endpoint, "since_us", (json_int_t) g->since_us));
	}
	return list;
}

json_t *
json_workers(Pd *pd, json_t *body)
{
	json_t	   *list = json_array();
	json_t	   *reply = json_object();

	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		CatalogStore *store = pd->catalog->stores[i];
		Beat	   *beat = beat_of(pd, store->id);
		json_t	   *row = json_object();
		size_t		shards = beat ? beat->nreports : 0;
		uint64_t	leaders = 0;
		uint64_t	records = 0;
		uint64_t	bytes = 0;

		bool		down = store_health(pd, store) == HEALTH_DOWN;

		/* What it said last of its replicas is no longer so: those count that it still is to have. */
		if (down)
			shards_of_store(pd, store->id, &shards);
		for (size_t j = 0; beat && !down && j < beat->nreports; j++)
		{
			leaders += beat->reports[j].leader;
			records += beat->reports[j].records;
			bytes += beat->reports[j].bytes;
		}
		json_object_set_new(row, "store", json_u64(store->id));
		json_object_set_new(row, "endpoint", json_string(store->endpoint));
		json_object_set_new(row, "state", json_string(store_state(pd, store)));
		json_object_set_new(row, "role", json_string(store->search_only ? "search-only" : "data"));
		json_object_set_new(row, "labels", json_string(store->labels));
		json_object_set_new(row, "last_heartbeat_ms",
							json_integer(beat ? (pd->now_us - beat->at_us) / 1000 : -1));
		json_object_set_new(row, "shards", json_u64(shards));
		json_object_set_new(row, "leaders", json_u64(leaders));
		json_object_set_new(row, "records", json_u64(records));
		json_object_set_new(row, "bytes", json_u64(bytes));
		json_object_set_new(row, "disk_free", json_u64(beat ? beat->disk_free : 0));
		json_object_set_new(row, "memory", json_u64(beat ? beat->memory : 0));
		json_object_set_new(row, "memory_limit", json_u64(beat ? beat->facts.memory_limit : 0));
		if (beat)
			json_object_set_new(row, "memory_of", facts_memory(&beat->facts));
		json_object_set_new(row, "version", json_string(beat ? beat->version : ""));
		level_show_store(pd, store->id, row);
		json_array_append_new(list, row);
	}
	json_object_set_new(reply, "workers", list);
	/* Who does not say whether he wants these, as earlier releases do not, gets them. */
	if (!json_is_false(json_object_get(body, "tombstones")))
		json_object_set_new(reply, "tombstones", json_tombstones(pd));
	return reply;
}

void
op_workers(Pd *pd, Question *q)
{
	answer(q, VT_OK, json_workers(pd, q->body), NULL);
}

/* One replica of a shard, as a row. */
static json_t *
replica_row(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, const WireReplica *r,
			bool seen)
{
	CatalogStore *home = catalog_store(pd->catalog, r->store);
	Report	   *report = report_of(pd, r->store, shard->desc.shard);
	uint64_t	leads;
	Report	   *leader = leader_of(pd, shard, &leads);
	Health		health = replica_health(pd, r->store, shard->desc.shard, r->replica, seen);
	uint64_t	match = 0;
	char		words[VERIFY_WORDS];
	json_t	   *row = json_object();

	if (report && report->replica != r->replica)
		report = NULL;
	for (uint32_t i = 0; leader && i < leader->nmembers; i++)
		if (leader->members[i].replica.replica == r->replica)
			match = leader->members[i].match;
	verify_words(pd, shard, r, words);
	json_object_set_new(row, "shard", json_u64(shard->desc.shard));
	json_object_set_new(row, "generation", json_id(&c->generation));
	json_object_set_new(row, "label", json_string(c->label));
	json_object_set_new(row, "first", json_u64(shard->desc.first));
	json_object_set_new(row, "last", json_u64(shard->desc.last));
	json_object_set_new(row, "store", json_u64(r->store));
	json_object_set_new(row, "endpoint", json_string(home ? home->endpoint : ""));
	json_object_set_new(row, "replica", json_u64(r->replica));
	json_object_set_new(row, "role", json_string(r->role == ROLE_LEARNER ? "learner" :
												 leader && leader == report ? "leader" :
												 report ? "follower" : "unknown"));
	json_object_set_new(row, "term", json_u64(report ? report->term : 0));
	json_object_set_new(row, "match", json_u64(match));
	json_object_set_new(row, "applied", json_u64(report ? report->applied : 0));
	json_object_set_new(row, "records", json_u64(report ? report->records : 0));
	json_object_set_new(row, "unindexed", json_u64(report ? report->unindexed : 0));
	json_object_set_new(row, "bytes", json_u64(report ? report->bytes : 0));
	json_object_set_new(row, "verified_us", json_integer(report ? report->verified.wall_us : 0));
	json_object_set_new(row, "verdict", json_string(words));
	for (int i = 0; i < REPORT_FIGURES; i++)
		json_object_set_new(row, report_figures[i], json_u64(report ? report->figures[i] : 0));
	json_object_set_new(row, "state",
						json_string(c->state != COLLECTION_LIVE ? "dropped" :
									!shard->bootstrapped || !seen ? "creating" :
									r->replica == shard->plan.remove ? "leaving" :
									health == HEALTH_UP ? "up" :
									replica_is_damaged(pd, r->store, shard->desc.shard) ? "damaged" : "down"));
	return row;
}

/* One row for each replica of a shard, also one that is still to be made. */
static void
add_replicas(Pd *pd, json_t *list, const CatalogCollection *c, const CatalogShard *shard)
{
	WireReplica arriving = {shard->plan.add_store, shard->plan.add_replica, ROLE_LEARNER};

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		if (shard->desc.replicas[i].replica == arriving.replica)
			arriving.replica = 0;
		json_array_append_new(list, replica_row(pd, c, shard, &shard->desc.replicas[i], shard->seen >> i & 1));
	}
	if (arriving.replica)
		json_array_append_new(list, replica_row(pd, c, shard, &arriving, shard->plan.add_seen));
}

/* Does a word that somebody typed name this collection, dropped or not? */
static bool
is_meant(const CatalogCollection *c, const char *name)
{
	VtId		generation;

	return !name || strcmp(c->label, name) == 0 ||
		(vt_id_parse(name, &generation) && vt_id_equal(&c->generation, &generation));
}

/* So many rows has a collection among shards. */
size_t
replicas_of(const CatalogCollection *c)
{
	size_t		n = 0;

	for (uint32_t i = 0; i < c->nshards; i++)
		n += c->shards[i].desc.nreplicas + (c->shards[i].plan.add_replica != 0);
	return n;
}

/* A row for each replica, of those collections that may be seen, all or what has a name. */
json_t *
shards_page(Pd *pd, const Question *q, const char *name, Page *page)
{
	json_t	   *list = json_array();
	CatalogCollection *c;

	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		if ((!q || rights_see(q, &pd->catalog->collections[i]->owner)) && is_meant(pd->catalog->collections[i], name))
			page_offer(page, pd->catalog->collections[i]);
	while ((c = page_next(page, replicas_of)) != NULL)
		for (uint32_t j = 0; j < c->nshards; j++)
			add_replicas(pd, list, c, &c->shards[j]);
	return json_pack("{s:o}", "shards", list);
}

/* The last warnings and errors of this process. */
static json_t *
json_recent(void)
{
	char		lines[LOG_RECENT][LOG_RECENT_SIZE];
	int			n = log_recent(lines);
	json_t	   *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_string(lines[i]));
	return list;
}

json_t *
json_status(Pd *pd, bool whole)
{
	json_t	   *reply = json_object();
	Replica    *replica = atomic_load(&pd->replica);
	ReplicaStatus status = {0};

	if (replica)
		replica_status(replica, &status);
	json_object_set_new(reply, "cluster", json_id(&pd->catalog->meta.cluster));
	json_object_set_new(reply, "id", json_u64(pd->id));
	json_object_set_new(reply, "role", json_string(!replica ? "founding" : status.leader ? "leader" :
												   catalog_driver(pd->catalog, pd->id) && !pd->is_removed ? "follower" : "waiting"));
	json_object_set_new(reply, "leader", json_string(leader_endpoint(pd)));
	json_object_set_new(reply, "term", json_u64(status.term));
	json_object_set_new(reply, "applied", json_u64(status.applied));
	json_object_set_new(reply, "agreed_at", json_u64(pd->catalog->agreed_at));
	json_object_set_new(reply, "pds", json_drivers(pd));
	json_object_set_new(reply, "version", json_string(PD_VERSION));
	json_object_set_new(reply, "level", json_integer(catalog_level(pd->catalog)));
	json_object_set_new(reply, "level_low", json_integer(VT_LEVEL_LOW));
	json_object_set_new(reply, "level_high", json_integer(vt_level_high()));
	if (pd->options.tls)
		json_object_set_new(reply, "certificate_until", json_integer(net_tls_until(pd->options.tls)));
	json_object_set_new(reply, "uptime_ms", json_integer((pd->now_us - pd->started_us) / 1000));
	if (whole)
	{
		json_object_set_new(reply, "ended", json_ended(pd));
		json_object_set_new(reply, "recent", json_recent());
	}
	return reply;
}

void
op_status(Pd *pd, Question *q)
{
	/* Who sees one server's alone gets nothing that tells of others'. */
	answer(q, VT_OK, json_status(pd, net_conn_system(q->conn) == 0), NULL);
}
