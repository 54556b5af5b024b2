/*-------------------------------------------------------------------------
 *
 * report.c
 *	  The questions that change nothing: what views and people ask.
 *
 *-------------------------------------------------------------------------
 */
#include "base/clock.h"
#include "service.h"
#include "vec_names.h"

void
op_collections(Pd *pd, Question *q)
{
	json_t	   *list = json_array();
	json_t	   *reply = json_object();

	for (size_t i = 0; i < pd->catalog->ncollections; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];
		json_t	   *row = json_object();
		uint64_t	records = 0;
		uint64_t	unindexed = 0;
		uint64_t	bytes = 0;

		for (uint32_t j = 0; j < c->nshards; j++)
		{
			Report	   *report = report_of(pd, c->shards[j].desc.shard);

			records += report ? report->records : 0;
			unindexed += report ? report->unindexed : 0;
			bytes += report ? report->bytes : 0;
		}
		json_object_set_new(row, "generation", json_id(&c->generation));
		json_object_set_new(row, "owner", json_owner(&c->owner));
		json_object_set_new(row, "label", json_string(c->label));
		json_object_set_new(row, "dim", json_integer(c->dim));
		json_object_set_new(row, "metric", json_string(metric_name(c->metric)));
		json_object_set_new(row, "m", json_integer(c->m));
		json_object_set_new(row, "ef_construction", json_integer(c->ef_construction));
		json_object_set_new(row, "quantization", json_string(quantization_name(c->quantization)));
		json_object_set_new(row, "state", json_string(c->state == COLLECTION_DOOMED ? "doomed" :
													  c->state == COLLECTION_HIDDEN ? "hidden" :
													  collection_is_up(c) ? "live" : "creating"));
		json_object_set_new(row, "nshards", json_integer(c->nshards));
		json_object_set_new(row, "replicas_wanted", json_integer(c->replicas_wanted));
		json_object_set_new(row, "under_replicated",
							json_boolean(c->replicas_wanted > 1 || (c->replicas_wanted == 0 && pd->catalog->nstores > 1)));
		json_object_set_new(row, "xid", json_u64(c->xid));
		json_object_set_new(row, "records", json_u64(records));
		json_object_set_new(row, "unindexed", json_u64(unindexed));
		json_object_set_new(row, "bytes", json_u64(bytes));
		json_object_set_new(row, "created_us", json_integer(c->created_us));
		json_object_set_new(row, "dropped_us", json_integer(c->state == COLLECTION_LIVE ? 0 : c->unused_us));
		json_array_append_new(list, row);
	}
	json_object_set_new(reply, "collections", list);
	answer(q, VT_OK, reply, NULL);
}

void
op_workers(Pd *pd, Question *q)
{
	json_t	   *list = json_array();
	json_t	   *reply = json_object();

	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		CatalogStore *store = pd->catalog->stores[i];
		Beat	   *beat = beat_of(pd, store->id);
		json_t	   *row = json_object();
		uint64_t	shards = 0;
		uint64_t	records = 0;
		uint64_t	bytes = 0;

		for (size_t j = 0; j < pd->nreports; j++)
			if (pd->reports[j].store == store->id)
			{
				shards++;
				records += pd->reports[j].records;
				bytes += pd->reports[j].bytes;
			}
		json_object_set_new(row, "store", json_u64(store->id));
		json_object_set_new(row, "endpoint", json_string(store->endpoint));
		json_object_set_new(row, "state", json_string(store_is_up(pd, store->id) ? "up" : "down"));
		json_object_set_new(row, "last_heartbeat_ms",
							json_integer(beat ? (clock_now_us() - beat->at_us) / 1000 : -1));
		json_object_set_new(row, "shards", json_u64(shards));
		json_object_set_new(row, "records", json_u64(records));
		json_object_set_new(row, "bytes", json_u64(bytes));
		json_object_set_new(row, "disk_free", json_u64(beat ? beat->disk_free : 0));
		json_object_set_new(row, "memory", json_u64(beat ? beat->memory : 0));
		json_object_set_new(row, "version", json_string(beat ? beat->version : ""));
		json_array_append_new(list, row);
	}
	json_object_set_new(reply, "workers", list);
	answer(q, VT_OK, reply, NULL);
}

void
op_shards(Pd *pd, Question *q)
{
	json_t	   *list = json_array();
	json_t	   *reply = json_object();

	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
		{
			CatalogCollection *c = pd->catalog->collections[i];
			CatalogShard *shard = &c->shards[j];
			uint64_t	store_id = shard->desc.replicas[0].store;
			CatalogStore *store = catalog_store(pd->catalog, store_id);
			Report	   *report = report_of(pd, shard->desc.shard);
			json_t	   *row = json_object();

			json_object_set_new(row, "shard", json_u64(shard->desc.shard));
			json_object_set_new(row, "generation", json_id(&c->generation));
			json_object_set_new(row, "label", json_string(c->label));
			json_object_set_new(row, "first", json_u64(shard->desc.first));
			json_object_set_new(row, "last", json_u64(shard->desc.last));
			json_object_set_new(row, "store", json_u64(store_id));
			json_object_set_new(row, "endpoint", json_string(store ? store->endpoint : ""));
			json_object_set_new(row, "role", json_string(!report ? "unknown" : report->leader ? "leader" : "follower"));
			json_object_set_new(row, "term", json_u64(report ? report->term : 0));
			json_object_set_new(row, "applied", json_u64(report ? report->applied : 0));
			json_object_set_new(row, "records", json_u64(report ? report->records : 0));
			json_object_set_new(row, "unindexed", json_u64(report ? report->unindexed : 0));
			json_object_set_new(row, "bytes", json_u64(report ? report->bytes : 0));
			json_object_set_new(row, "state",
								json_string(c->state != COLLECTION_LIVE ? "dropped" :
											!shard->bootstrapped ? "creating" :
											store_is_up(pd, store_id) ? "up" : "down"));
			json_array_append_new(list, row);
		}
	json_object_set_new(reply, "shards", list);
	answer(q, VT_OK, reply, NULL);
}

void
op_status(Pd *pd, Question *q)
{
	json_t	   *reply = json_object();
	ReplicaStatus status;

	replica_status(pd->replica, &status);
	json_object_set_new(reply, "cluster", json_id(&pd->catalog->meta.cluster));
	json_object_set_new(reply, "role", json_string(status.leader ? "leader" : "follower"));
	json_object_set_new(reply, "term", json_u64(status.term));
	json_object_set_new(reply, "applied", json_u64(status.applied));
	json_object_set_new(reply, "uptime_ms", json_integer((clock_now_us() - pd->started_us) / 1000));
	answer(q, VT_OK, reply, NULL);
}
