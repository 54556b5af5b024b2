/*-------------------------------------------------------------------------
 *
 * dump.c
 *	  All that is known, for whoever has to find out what happened: the catalog,
 *	  and beside each row what stores say now.
 *
 * It comes in pages (pages.c): the first has what there is but once, each has
 * collections.  Keys are not here to be told; of leases neither who holds them nor the
 * session, with which one could pass for another server.
 *
 *-------------------------------------------------------------------------
 */
#include "service.h"
#include "vec_names.h"

static json_t *
json_plan(const Plan *plan)
{
	return json_pack("{s:i,s:o,s:o,s:o,s:b,s:o,s:o,s:o}", "kind", (int) plan->kind, "add_store", json_u64(plan->add_store),
					 "add_replica", json_u64(plan->add_replica), "remove", json_u64(plan->remove),
					 "add_seen", (int) plan->add_seen, "chosen", json_u64(plan->chosen),
					 "child", json_u64(plan->child), "split_at", json_u64(plan->split_at));
}

/* What a store says of its replica. */
static json_t *
json_report(const Report *r)
{
	json_t	   *members = json_array();
	json_t	   *row = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:b,s:o,s:b}", "replica", json_u64(r->replica),
								"term", json_u64(r->term), "applied", json_u64(r->applied),
								"records", json_u64(r->records), "unindexed", json_u64(r->unindexed),
								"bytes", json_u64(r->bytes), "leader", (int) r->leader, "leaving", (int) r->leaving,
								"conf_index", json_u64(r->conf_index), "joint", (int) r->joint);

	for (uint32_t i = 0; i < r->nmembers; i++)
	{
		const ReportMember *m = &r->members[i];

		json_array_append_new(members, json_pack("{s:o,s:o,s:i,s:o,s:b}", "replica", json_u64(m->replica.replica),
												 "store", json_u64(m->replica.store), "role", (int) m->replica.role,
												 "match", json_u64(m->match), "active", (int) m->active));
	}
	json_object_set_new(row, "members", members);
	return row;
}

static json_t *
json_replica(Pd *pd, const CatalogShard *shard, const WireReplica *r, bool seen)
{
	static const char *const health[] = {"up", "suspect", "down"};
	Report	   *report = report_of(pd, r->store, shard->desc.shard);
	json_t	   *row = json_pack("{s:o,s:o,s:i,s:b,s:s,s:b}", "replica", json_u64(r->replica), "store", json_u64(r->store),
								"role", (int) r->role, "seen", (int) seen,
								"health", health[replica_health(pd, r->store, shard->desc.shard, r->replica, seen)],
								"damaged", (int) replica_is_damaged(pd, r->store, shard->desc.shard));

	if (report)
		json_object_set_new(row, "report", json_report(report));
	return row;
}

static json_t *
json_shard(Pd *pd, const CatalogShard *shard)
{
	const WireShardDesc *d = &shard->desc;
	json_t	   *replicas = json_array();
	json_t	   *row = json_pack("{s:o,s:o,s:o,s:o,s:i,s:i,s:o,s:o,s:o,s:b,s:o}", "shard", json_u64(d->shard),
								"incarnation", json_u64(d->incarnation), "first", json_u64(d->first),
								"last", json_u64(d->last), "conf_ver", (int) d->conf_ver, "range_ver", (int) d->range_ver,
								"parent", json_u64(d->parent), "base_index", json_u64(d->base_index),
								"conf_index", json_u64(shard->conf_index), "bootstrapped", (int) shard->bootstrapped,
								"plan", json_plan(&shard->plan));

	for (int i = 0; i < d->nreplicas; i++)
		json_array_append_new(replicas, json_replica(pd, shard, &d->replicas[i], shard->seen >> i & 1));
	json_object_set_new(row, "replicas", replicas);
	return row;
}

static json_t *
json_collection(Pd *pd, const CatalogCollection *c)
{
	json_t	   *shards = json_array();
	json_t	   *row = json_pack("{s:o,s:o,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:o,s:o,s:I,s:I}",
								"generation", json_id(&c->generation), "owner", json_owner(&c->owner),
								"state", collection_state(c), "dim", (int) c->dim,
								"metric", (int) c->metric, "quantization", (int) c->quantization, "m", (int) c->m,
								"ef_construction", (int) c->ef_construction, "replicas_wanted", (int) c->replicas_wanted,
								"xid", json_u64(c->xid), "route_version", json_u64(c->route_version),
								"created_us", (json_int_t) c->created_us, "unused_us", (json_int_t) c->unused_us);

	json_object_set_new(row, "label", json_string(c->label));
	json_object_set_new(row, "element", json_string(element_name(c->element)));
	if (c->nattributes > 0)
		json_object_set_new(row, "attributes", json_attributes(c));
	for (uint32_t i = 0; i < c->nshards; i++)
		json_array_append_new(shards, json_shard(pd, &c->shards[i]));
	json_object_set_new(row, "shards", shards);
	return row;
}

/* -- What there is but once ---------------------------------------------------- */

static json_t *
json_stores(Pd *pd)
{
	json_t	   *list = json_array();

	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		const CatalogStore *s = pd->catalog->stores[i];
		Beat	   *beat = beat_of(pd, s->id);
		json_t	   *row = json_pack("{s:o,s:o,s:s,s:b,s:b,s:s,s:s}", "store", json_u64(s->id), "data_id", json_id(&s->data_id),
									"endpoint", s->endpoint, "draining", (int) s->draining,
									"search_only", (int) s->search_only, "labels", s->labels, "state", store_state(pd, s));

		if (beat)
			json_object_set_new(row, "heartbeat",
								json_pack("{s:I,s:o,s:o,s:o,s:b,s:b,s:I,s:I,s:s,s:I,s:I,s:I}",
										  "age_ms", (json_int_t) ((pd->now_us - beat->at_us) / 1000),
										  "disk_free", json_u64(beat->disk_free), "memory", json_u64(beat->memory),
										  "memory_limit", json_u64(beat->facts.memory_limit),
										  "disk_short", (int) beat->disk_short, "disk_full", (int) beat->facts.disk_full,
										  "clock_ahead_us", (json_int_t) beat->facts.clock_ahead_us,
										  "certificate_until", (json_int_t) beat->facts.cert_until,
										  "version", beat->version, "reports", (json_int_t) beat->nreports,
										  "missing", (json_int_t) beat->nmissing, "damaged", (json_int_t) beat->ndamaged));
		json_array_append_new(list, row);
	}
	return list;
}

static json_t *
json_leases(Pd *pd)
{
	json_t	   *list = json_array();

	for (size_t i = 0; i < pd->catalog->nleases; i++)
	{
		const CatalogLease *l = pd->catalog->leases[i];

		json_array_append_new(list, json_pack("{s:o,s:o,s:I}", "system", json_u64(l->system), "incarnation", json_id(&l->incarnation),
											  "timeline", (json_int_t) l->timeline));
	}
	return list;
}

static void
add_head(Pd *pd, json_t *reply)
{
	const PdOptions *o = &pd->options;

	json_object_set_new(reply, "meta", json_pack("{s:o,s:o,s:o,s:o}", "cluster", json_id(&pd->catalog->meta.cluster),
												 "next_id", json_u64(pd->catalog->meta.next_id),
												 "peers_version", json_u64(pd->catalog->meta.peers_version),
												 "applied", json_u64(pd->catalog->applied)));
	json_object_set_new(reply, "driver", json_pack("{s:o,s:s,s:o,s:I,s:I}", "id", json_u64(pd->id), "version", PD_VERSION,
												   "term", json_u64(pd->led_term),
												   "leads_for_ms", (json_int_t) ((pd->now_us - pd->led_since_us) / 1000),
												   "wall_us", (json_int_t) pd_wall_us(pd)));
	json_object_set_new(reply, "settings", json_pack("{s:I,s:I,s:I,s:i,s:i,s:i,s:I}", "keep_dropped_us", (json_int_t) o->keep_dropped_us,
													 "lease_us", (json_int_t) o->lease_us, "down_after_us", (json_int_t) o->down_after_us,
													 "default_replicas", (int) o->default_replicas, "replicas_max", (int) o->replicas_max,
													 "page_rows", (int) o->page_rows,
													 "checkpoint_bytes", (json_int_t) o->checkpoint_bytes));
	json_object_set_new(reply, "pds", json_drivers(pd));
	json_object_set_new(reply, "stores", json_stores(pd));
	json_object_set_new(reply, "gone", json_tombstones(pd));
	json_object_set_new(reply, "leases", json_leases(pd));
	json_object_set_new(reply, "operators", json_operators(pd, NULL));
}

/* Each is less than a kilobyte. */
static size_t
rows_of(const CatalogCollection *c)
{
	return 1 + c->nshards + replicas_of(c);
}

json_t *
dump_page(Pd *pd, Page *page)
{
	json_t	   *reply = json_object();
	json_t	   *list = json_array();
	CatalogCollection *c;

	if (vt_id_is_zero(&page->after))
		add_head(pd, reply);
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		page_offer(page, pd->catalog->collections[i]);
	while ((c = page_next(page, rows_of)) != NULL)
		json_array_append_new(list, json_collection(pd, c));
	json_object_set_new(reply, "collections", list);
	return reply;
}
