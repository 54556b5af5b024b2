/*-------------------------------------------------------------------------
 *
 * groups.c
 *	  Raft groups, reduced: who is a member, who leads, who has the log.
 *
 * A replica has the log from ready_us on; before that it is behind.  A new one
 * gets it as soon as it is a member, in the time that its bytes need.  A leader
 * that is lost is replaced after a second or two if a majority lives.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

SimStore *
sim_store(Sim *sim, uint64_t id)
{
	uint64_t	at;

	return id && idmap_get(&sim->store_at, id, &at) ? &sim->stores[at] : NULL;
}

SimGroup *
sim_group(Sim *sim, uint64_t shard)
{
	uint64_t	at;

	return idmap_get(&sim->group_at, shard, &at) ? &sim->groups[at] : NULL;
}

SimReplica *
sim_replica(SimStore *store, uint64_t shard)
{
	uint64_t	at;

	return idmap_get(&store->at, shard, &at) ? &store->replicas[at] : NULL;
}

SimReplica *
sim_live(Sim *sim, uint64_t shard, const WireReplica *member)
{
	SimStore   *store = sim_store(sim, member->store);
	SimReplica *replica = store && store->alive ? sim_replica(store, shard) : NULL;

	return replica && replica->replica == member->replica ? replica : NULL;
}

uint64_t
sim_last(const Sim *sim, const SimGroup *group)
{
	return group->last + (uint64_t) ((double) group->rate * (double) (sim->now - group->since_us) / 1e6);
}

uint64_t
sim_match(const Sim *sim, const SimGroup *group, const SimReplica *replica)
{
	return replica && sim->now >= replica->ready_us ? sim_last(sim, group) : 0;
}

double
sim_share(Sim *sim, const SimGroup *group)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < group->n; i++)
	{
		const SimReplica *r = sim_live(sim, group->shard, &group->members[i]);

		n += r && r->ready_us <= sim->now;
	}
	return n > 0 ? group->searches / n : 0;
}

void
sim_touch(Sim *sim, SimGroup *group)
{
	SimStore   *leader = sim_store(sim, group->leads);

	if (leader)
		leader->changes++;
}

/* -- Stores ------------------------------------------------------------------ */

SimStore *
sim_add_store(Sim *sim, const char *labels, bool search_only)
{
	SimStore   *store;

	if ((sim->nstores & (sim->nstores - 1)) == 0)
		sim->stores = vt_realloc(sim->stores, sizeof(SimStore) * (sim->nstores ? sim->nstores * 2 : 1));
	store = &sim->stores[sim->nstores];
	memset(store, 0, sizeof(*store));
	put_be64(store->data_id.b, prng_next(&sim->prng));
	put_be64(store->data_id.b + 8, sim->nstores + 1);
	snprintf(store->endpoint, sizeof(store->endpoint), "unix:/s%zu", sim->nstores);
	snprintf(store->labels, sizeof(store->labels), "%s", labels);
	store->search_only = search_only;
	store->alive = true;
	store->slow = 1;
	store->changes = 1;
	sim_at(sim, sim->now + 1000 + prng_below(&sim->prng, 900000), EVENT_BEAT, (uint32_t) sim->nstores, 0, NULL);
	return &sim->stores[sim->nstores++];
}

SimReplica *
sim_make_replica(Sim *sim, SimStore *store, uint64_t shard, uint64_t replica)
{
	SimReplica *made;

	if (store->n == store->room)
	{
		store->room = store->room ? store->room * 2 : 16;
		store->replicas = vt_realloc(store->replicas, sizeof(SimReplica) * store->room);
	}
	made = &store->replicas[store->n];
	*made = (SimReplica) {.shard = shard, .replica = replica, .ready_us = INT64_MAX, .searched_at = sim->now};
	idmap_put(&store->at, shard, store->n++);
	store->changes++;
	sim->figures.created++;
	return made;
}

void
sim_lose_replica(SimStore *store, uint64_t shard)
{
	uint64_t	at;

	if (!idmap_get(&store->at, shard, &at))
		return;
	idmap_remove(&store->at, shard);
	store->lost = vt_realloc(store->lost, sizeof(uint64_t) * (store->nlost + 1));
	store->lost[store->nlost++] = shard;
	store->replicas[at] = store->replicas[--store->n];
	if (at < store->n)
		idmap_put(&store->at, store->replicas[at].shard, at);
	store->changes++;
}

void
sim_store_dies(Sim *sim, SimStore *store)
{
	store->alive = false;
	store->died_us = sim->now;
	store->letter++;			/* no answer is waited for */
	for (size_t i = 0; i < store->n; i++)
	{
		SimGroup   *group = sim_group(sim, store->replicas[i].shard);

		if (group->leads == store->id)
			sim_leader_is_gone(sim, group);
		else
			sim_touch(sim, group);
	}
}

void
sim_store_lives(Sim *sim, SimStore *store)
{
	store->alive = true;
	store->changes++;
	store->told = 0;
	store->waits = false;
	for (size_t i = 0; i < store->n; i++)
	{
		SimReplica *r = &store->replicas[i];
		SimGroup   *group = sim_group(sim, r->shard);

		/* What was written meanwhile comes in some seconds. */
		if (r->ready_us != INT64_MAX)
		{
			r->ready_us = sim->now + SECOND + prng_below(&sim->prng, 2000000);
			sim_at(sim, r->ready_us, EVENT_READY, 0, r->shard, NULL);
		}
		if (group->leader == 0)
			sim_at(sim, sim->now + SECOND, EVENT_ELECT, 0, group->shard, NULL);
	}
	sim_at(sim, sim->now + 1000 + prng_below(&sim->prng, 300000), EVENT_BEAT, (uint32_t) (store - sim->stores), 0, NULL);
}

/* It comes back with an empty disk, as another store at the same place. */
void
sim_store_wiped(Sim *sim, SimStore *store)
{
	if (store->alive)
		sim_store_dies(sim, store);
	store->n = 0;
	idmap_free(&store->at);
	idmap_free(&store->dead);
	store->ndropped = 0;
	store->id = 0;
	put_be64(store->data_id.b, prng_next(&sim->prng));
	sim_store_lives(sim, store);
}

/* -- Groups ------------------------------------------------------------------ */

SimGroup *
sim_add_group(Sim *sim, uint64_t shard, uint64_t bytes)
{
	SimGroup   *group;

	if ((sim->ngroups & (sim->ngroups - 1)) == 0)
		sim->groups = vt_realloc(sim->groups, sizeof(SimGroup) * (sim->ngroups ? sim->ngroups * 2 : 1));
	group = &sim->groups[sim->ngroups];
	memset(group, 0, sizeof(*group));
	group->shard = shard;
	group->bytes = bytes;
	sim->heaviest = bytes > sim->heaviest ? bytes : sim->heaviest;
	group->since_us = sim->now;
	group->last = 100000;
	group->conf_index = 1;
	group->term = 1;
	idmap_put(&sim->group_at, shard, sim->ngroups++);
	return group;
}

/* The shards of a collection that was just created are there and have a leader. */
void
sim_found(Sim *sim, const CatalogCollection *c, uint64_t low, uint64_t high)
{
	CatalogCollection founded = *c;
	Buf			command = {0};

	founded.shards = vt_alloc(sizeof(CatalogShard) * (c->nshards + 1));
	memcpy(founded.shards, c->shards, sizeof(CatalogShard) * c->nshards);
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		CatalogShard *shard = &founded.shards[i];
		SimGroup   *group = sim_add_group(sim, shard->desc.shard,
										  low + (uint64_t) ((double) (high - low) * prng_double(&sim->prng)));

		group->n = shard->desc.nreplicas;
		memcpy(group->members, shard->desc.replicas, sizeof(group->members));
		group->leader = group->members[0].replica;
		group->leads = group->led_by = group->members[0].store;
		for (uint32_t k = 0; k < group->n; k++)
		{
			SimReplica *r = sim_make_replica(sim, sim_store(sim, group->members[k].store), group->shard, group->members[k].replica);

			r->ready_us = 0;
			r->conf_index = 1;
		}
		shard->bootstrapped = true;
		shard->conf_index = 1;
		shard->seen = (uint16_t) ((1u << group->n) - 1);
	}
	sim->figures.created -= (uint64_t) c->nshards * founded.shards[0].desc.nreplicas;
	command_begin(&command);
	command_collection(&command, &founded);
	sim_commit(&sim->pd, &command);
	buf_free(&command);
	free(founded.shards);
}

uint32_t
sim_live_voters(Sim *sim, uint64_t shard, const WireReplica *members, uint32_t n, uint32_t *voters)
{
	uint32_t	alive = 0;

	*voters = 0;
	for (uint32_t i = 0; i < n; i++)
		if (members[i].role == ROLE_VOTER)
		{
			++*voters;
			alive += sim_live(sim, shard, &members[i]) != NULL;
		}
	return alive;
}

static bool
has_majority(Sim *sim, uint64_t shard, const WireReplica *members, uint32_t n)
{
	uint32_t	voters;
	uint32_t	alive = sim_live_voters(sim, shard, members, n, &voters);

	return alive > voters / 2;
}

void
sim_leader_is_gone(Sim *sim, SimGroup *group)
{
	group->last = sim_last(sim, group);
	group->since_us = sim->now;
	group->leader = group->leads = 0;
	sim_at(sim, sim->now + SECOND + prng_below(&sim->prng, 1000000), EVENT_ELECT, 0, group->shard, NULL);
}

static void
lead(Sim *sim, SimGroup *group, const WireReplica *who)
{
	sim_touch(sim, group);		/* who led has that to say */
	group->last = sim_last(sim, group);
	group->since_us = sim->now;
	group->leader = who->replica;
	group->leads = who->store;
	group->term++;
	sim_touch(sim, group);
	for (uint32_t i = 0; i < group->n; i++)
	{
		SimReplica *r = sim_live(sim, group->shard, &group->members[i]);

		/* An entry of the new term carries the configuration to all. */
		if (r)
			r->conf_index = group->conf_index;
	}
}

void
sim_elect(Sim *sim, SimGroup *group)
{
	uint32_t	from = prng_below(&sim->prng, WIRE_REPLICAS_MAX);

	if (group->leader || !has_majority(sim, group->shard, group->members, group->n) ||
		(group->joint && !has_majority(sim, group->shard, group->next, group->nnext)))
		return;
	for (uint32_t k = 0; k < group->n; k++)
	{
		const WireReplica *m = &group->members[(from + k) % group->n];
		SimReplica *r = m->role == ROLE_VOTER ? sim_live(sim, group->shard, m) : NULL;

		if (r && r->ready_us <= sim->now)
		{
			lead(sim, group, m);
			return;
		}
	}
	sim_at(sim, sim->now + SECOND, EVENT_ELECT, 0, group->shard, NULL);
}

static bool
is_in(const WireReplica *members, uint32_t n, uint64_t replica)
{
	for (uint32_t i = 0; i < n; i++)
		if (members[i].replica == replica)
			return true;
	return false;
}

void
sim_change(Sim *sim, SimStore *store, SimGroup *group, json_t *task)
{
	json_t	   *members = json_object_get(task, "members");
	SimReplica *r = sim_replica(store, group->shard);
	uint64_t	conf_index;
	size_t		i;
	json_t	   *member;

	if (!get_u64(task, "conf_index", &conf_index))
		sim_fail(sim, "a change without a configuration");
	if (!r || group->leader != r->replica || group->joint || group->conf_index != conf_index)
		return;					/* as Raft would refuse it */
	json_array_foreach(members, i, member)
	{
		get_u64(member, "replica", &group->next[i].replica);
		get_u64(member, "store", &group->next[i].store);
		group->next[i].role = strcmp(json_string_value(json_object_get(member, "role")), "voter") == 0 ?
			ROLE_VOTER : ROLE_LEARNER;
	}
	group->nnext = (uint32_t) i;
	if (!is_in(group->next, group->nnext, group->leader))
		sim_fail(sim, "shard %" PRIu64 ": the leader is to be removed", group->shard);
	watch_change(sim, group);
	group->joint = true;
	sim_touch(sim, group);
	sim_at(sim, sim->now + 20000 + prng_below(&sim->prng, 200000), EVENT_JOINT_END, 0, group->shard, NULL);
}

/* The new members get what they lack, in the time that it takes. */
static void
send_log(Sim *sim, SimGroup *group)
{
	for (uint32_t i = 0; i < group->n; i++)
	{
		SimReplica *r = sim_live(sim, group->shard, &group->members[i]);
		SimStore   *to = sim_store(sim, group->members[i].store);
		SimStore   *from = sim_store(sim, group->leads);

		if (!r)
			continue;
		r->conf_index = group->conf_index;
		to->changes++;
		if (r->ready_us != INT64_MAX || to->stuck)
			continue;
		r->ready_us = sim->now + SECOND / 10 + (int64_t) ((double) group->bytes * 1e6 / (double) sim->bandwidth) *
			(to->slow > (from ? from->slow : 1) ? to->slow : from ? from->slow : 1);
		sim_at(sim, r->ready_us, EVENT_READY, 0, group->shard, NULL);
		sim->figures.moved_bytes += group->bytes;
	}
}

void
sim_joint_end(Sim *sim, SimGroup *group)
{
	if (!group->joint)
		return;
	if (group->leader == 0 || !has_majority(sim, group->shard, group->members, group->n) ||
		!has_majority(sim, group->shard, group->next, group->nnext))
	{
		sim_at(sim, sim->now + SECOND, EVENT_JOINT_END, 0, group->shard, NULL);
		return;
	}
	memcpy(group->members, group->next, sizeof(group->members));
	group->n = group->nnext;
	group->joint = false;
	group->last = sim_last(sim, group) + 1;
	group->since_us = sim->now;
	group->conf_index = group->last;
	sim->figures.changes++;
	send_log(sim, group);
	sim_touch(sim, group);
}

void
sim_transfer(Sim *sim, SimStore *store, SimGroup *group, uint64_t replica)
{
	SimReplica *r = sim_replica(store, group->shard);

	if (!r || r->replica != group->leader || group->joint)
		return;
	for (uint32_t i = 0; i < group->n; i++)
	{
		SimReplica *to = sim_live(sim, group->shard, &group->members[i]);

		if (group->members[i].replica != replica || group->members[i].role != ROLE_VOTER || !to || to->ready_us > sim->now)
			continue;
		lead(sim, group, &group->members[i]);
		sim->figures.transfers++;
		group->handed++;
		return;
	}
}
