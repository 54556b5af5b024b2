/*-------------------------------------------------------------------------
 *
 * ended.c
 *	  Changes of shards that have ended: how many in which way, and the last of them.
 *
 * Of this process and of what it saw while it led; nothing follows from it.
 *
 *-------------------------------------------------------------------------
 */
#include "service.h"

const char *const ending_names[ENDINGS] = {"done", "undone", "given_up", "cancelled"};

void
operator_ended(Pd *pd, const CatalogShard *shard, Ending how)
{
	const Operator *op = operator_of(pd, shard->desc.shard);

	pd->ended[shard->plan.kind][how]++;
	pd->last_ended[pd->nended++ % ENDED_MAX] = (Ended) {
		.shard = shard->desc.shard, .kind = shard->plan.kind, .how = how, .to_store = shard->plan.add_store,
		.since_us = op && op->plan.kind == shard->plan.kind ? op->since_us : pd->now_us, .at_us = pd->now_us,
	};
}

/* The last one first. */
json_t *
json_ended(const Pd *pd)
{
	json_t	   *list = json_array();

	for (uint64_t i = pd->nended; i > 0 && i + ENDED_MAX > pd->nended; i--)
	{
		const Ended *e = &pd->last_ended[(i - 1) % ENDED_MAX];
		json_t	   *row = json_object();

		json_object_set_new(row, "shard", json_u64(e->shard));
		json_object_set_new(row, "kind", json_string(operator_name(e->kind)));
		json_object_set_new(row, "result", json_string(ending_names[e->how]));
		json_object_set_new(row, "to_store", json_u64(e->to_store));
		json_object_set_new(row, "took_ms", json_integer((e->at_us - e->since_us) / 1000));
		json_object_set_new(row, "ago_ms", json_integer((pd->now_us - e->at_us) / 1000));
		json_array_append_new(list, row);
	}
	return list;
}
