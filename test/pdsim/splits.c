/*-------------------------------------------------------------------------
 *
 * splits.c
 *	  Groups that are split in two.
 *
 * The leader splits its shard when it is told to; each member's store then has a
 * replica of the child, and owes it what it begins with until the driver has heard of
 * enough of them.  A store that is away hears of it in its log when it is back.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

static bool
somebody_owes(Sim *sim, const SimGroup *group)
{
	for (uint32_t i = 0; i < group->n; i++)
	{
		SimStore   *store = sim_store(sim, group->members[i].store);
		SimReplica *r = store ? sim_replica(store, group->shard) : NULL;

		if (r && r->owes)
			return true;
	}
	return false;
}

/* The store's replica of the child, made of what its parent has there. */
static void
make_child(Sim *sim, const WireShardDesc *child, const WireReplica *who)
{
	SimStore   *store = sim_store(sim, who->store);
	SimReplica *parent = sim_replica(store, child->parent);
	SimReplica *made;
	bool		ready = parent && parent->ready_us <= sim->now;

	if (parent)
	{
		parent->owes = true;
		store->changes++;
	}
	if (sim_replica(store, child->shard))
		return;
	made = sim_make_replica(sim, store, child->shard, who->replica);
	made->ready_us = ready ? 0 : sim->now + 2 * SECOND;	/* its leader sends it what it lacks */
	if (!ready)
		sim_at(sim, made->ready_us, EVENT_READY, 0, child->shard, NULL);
	made->conf_index = child->base_index;
	sim->figures.created--;		/* it was not copied from anywhere */
}

void
sim_split(Sim *sim, SimStore *store, uint64_t shard, json_t *task)
{
	SimGroup   *group = sim_group(sim, shard);
	SimGroup   *half;
	SimReplica *r = sim_replica(store, shard);
	WireShardDesc child;
	uint64_t	conf_index;

	if (!get_desc(json_object_get(task, "desc"), &child) || !get_u64(task, "conf_index", &conf_index))
		sim_fail(sim, "a split without a child");
	if (!r || group->leader != r->replica || group->joint || group->conf_index != conf_index ||
		sim_group(sim, child.shard) || somebody_owes(sim, group))
		return;
	group->last = sim_last(sim, group) + 1;
	child.base_index = group->last;
	group->since_us = sim->now;
	group->bytes /= 2;
	group->rate /= 2;
	group->child = child;
	half = sim_add_group(sim, child.shard, group->bytes);	/* group may be elsewhere now */
	group = sim_group(sim, shard);
	half->last = half->conf_index = child.base_index;
	half->rate = group->rate;
	half->n = child.nreplicas;
	memcpy(half->members, child.replicas, sizeof(half->members));
	for (uint32_t i = 0; i < half->n; i++)
	{
		half->members[i].role = ROLE_VOTER;
		make_child(sim, &child, &half->members[i]);
		if (half->members[i].store == group->leads)
		{
			half->leader = half->members[i].replica;
			half->leads = half->led_by = group->leads;
		}
	}
	sim_touch(sim, group);
	sim->figures.splits++;
}

void
sim_settle_split(SimStore *store, uint64_t shard, json_t *task)
{
	SimReplica *r = sim_replica(store, shard);
	uint64_t	child;

	if (!r || !get_u64(task, "child", &child))
		return;
	r->owes = false;
	store->changes++;
}

/* What this replica owes, as in a report; NULL: nothing. */
json_t *
sim_owes(const SimGroup *group, const SimReplica *r)
{
	static const char digits[] = "0123456789abcdef";
	Buf			bytes = {0};
	Buf			hex = {0};
	json_t	   *list;

	if (!r->owes)
		return NULL;
	wire_desc_put(&bytes, &group->child);
	for (size_t i = 0; i < bytes.len; i++)
	{
		buf_put_u8(&hex, (uint8_t) digits[bytes.data[i] >> 4]);
		buf_put_u8(&hex, (uint8_t) digits[bytes.data[i] & 15]);
	}
	list = json_array();
	json_array_append_new(list, json_stringn((const char *) hex.data, hex.len));
	buf_free(&bytes);
	buf_free(&hex);
	return list;
}
