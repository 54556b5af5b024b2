/*-------------------------------------------------------------------------
 *
 * chaos.c
 *	  What happens to the world: clients and faults.
 *
 * Each seed draws its own swarm: how many stores and groups, which faults and
 * how often, and limits down to one message or one entry.  Most seeds lack some
 * faults altogether, since a fault that is always on hides what happens
 * without it.
 *
 * Changes of members are in members.c, the end when all is repaired in calm.c.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

static uint32_t
one_of(Sim *sim, const uint32_t *values, uint32_t n)
{
	return values[sim_below(sim, n)];
}

#define ONE_OF(sim, ...) \
	one_of(sim, (const uint32_t[]) {__VA_ARGS__}, \
		   (uint32_t) (sizeof((const uint32_t[]) {__VA_ARGS__}) / sizeof(uint32_t)))

/* -- The swarm -------------------------------------------------------------------- */

/*
 * In every third world; told by its seed alone, so that the others stay as they are
 * known.
 */
static uint64_t
snapshot_first(const Sim *sim)
{
	static const uint64_t bytes[] = {0, 300, 5000};
	uint64_t	kind = prng_mix(sim->world.seed ^ 0x5f1e);

	return kind % 3 == 0 ? bytes[kind / 3 % 3] : UINT64_MAX;
}

static void
draw_limits(Sim *sim, RaftOptions *o)
{
	raft_options_init(o);
	if (!shrink_keeps_limits(sim))
		return;
	o->election_ticks = ONE_OF(sim, 5, 10, 10, 20);
	o->heartbeat_ticks = ONE_OF(sim, 1, 2, 3);
	o->max_entry_bytes = 400;
	o->max_message_bytes = ONE_OF(sim, 0, 100, 500, 100000);
	o->max_message_entries = ONE_OF(sim, 1, 2, 5, 1000);
	o->max_inflight_messages = ONE_OF(sim, 1, 2, 4, 64);
	o->max_inflight_bytes = ONE_OF(sim, 1, 500, 100000);
	o->max_uncommitted_bytes = ONE_OF(sim, 1, 500, 2000, 1000000);
	o->max_apply_bytes = ONE_OF(sim, 1, 300, 1000000);
	o->max_reads = ONE_OF(sim, 1, 8, 1000);
	o->transfer_max_lag = ONE_OF(sim, 0, 3, 1000);
	o->promote_max_lag = ONE_OF(sim, 0, 5, 1000, UINT32_MAX);
	o->snapshot_first_bytes = snapshot_first(sim);
}

static void
draw_faults(Sim *sim)
{
	SimOptions *o = &sim->opt;

	o->drop = ONE_OF(sim, 0, 0, 10, 50, 200);
	o->duplicate = ONE_OF(sim, 0, 0, 20, 200);
	o->delay = ONE_OF(sim, 20, 100, 500, 1500);
	o->late = ONE_OF(sim, 0, 0, 10, 50);
	o->disk_delay = ONE_OF(sim, 5, 100, 600, 2500);
	o->disk_stall = ONE_OF(sim, 0, 0, 20);
	o->apply_delay = ONE_OF(sim, 5, 200, 3000);
	o->crash_point = ONE_OF(sim, 0, 0, 1, 3);
	o->disk_error = ONE_OF(sim, 0, 0, 0, 2);
	o->alloc_failure = ONE_OF(sim, 0, 0, 0, 20);
	o->lazy_ready = ONE_OF(sim, 0, 0, 200, 600);
	o->fault_every = ONE_OF(sim, 1500, 4000, 10000, 25000);
	o->client_every = ONE_OF(sim, 300, 1000, 3000);
	o->crash_weight = ONE_OF(sim, 0, 2, 10);
	o->cut_weight = ONE_OF(sim, 0, 5, 15);
	o->pause_weight = ONE_OF(sim, 0, 0, 5);
	o->conf_weight = ONE_OF(sim, 0, 5, 15, 60);
	o->transfer_weight = ONE_OF(sim, 0, 2, 6);
	o->compact_weight = ONE_OF(sim, 0, 5, 30);
	o->forget_weight = ONE_OF(sim, 0, 0, 4);
	o->campaign_weight = ONE_OF(sim, 0, 0, 4);
	o->skew = sim_below(sim, 3) == 0;
}

/*
 * What src/replica does with cores besides: in every fourth world, told by its seed
 * alone, so that the others stay as they are known.
 */
static void
draw_host(Sim *sim)
{
	uint64_t	kind = prng_mix(sim->world.seed ^ 0x5eef);

	if (sim->guest != NULL || kind % 4 != 0)
		return;
	sim->opt.passive = true;
	sim->opt.sleep_weight = kind / 4 % 2 == 0 ? 8 : 0;
}

static void
make_group(Sim *sim, uint32_t g)
{
	Group	   *group = &sim->groups[g];
	uint32_t	voters = ONE_OF(sim, 1, 2, 3, 3, 3, 3, 4, 5, 5, 7);
	uint32_t	learners = ONE_OF(sim, 0, 0, 0, 1);
	RaftSnapshot *origin = &group->origin;

	if (voters > sim->opt.stores)
		voters = sim->opt.stores;
	if (voters + learners > sim->opt.stores)
		learners = 0;
	group->id = g + 1;
	draw_limits(sim, &group->options);
	group->options.group = group->id;
	group->base = ONE_OF(sim, 0, 0, 0, 1000);
	origin->index = group->base;
	origin->term = group->base > 0 ? 7 : 0;
	origin->conf_index = group->base;
	origin->conf.n = voters + learners;
	for (uint32_t i = 0; i < origin->conf.n; i++)
	{
		origin->conf.members[i].id = i + 1;
		origin->conf.members[i].node = (i + g) % sim->opt.stores + 1;
		origin->conf.members[i].roles = i < voters ? RAFT_VOTER : RAFT_LEARNER;
	}
	oracle_start(sim, group);
	for (uint32_t i = 0; i < origin->conf.n; i++)
		sim_create_replica(sim, g, (i + g) % sim->opt.stores, true);
}

void
chaos_options(Sim *sim)
{
	sim->opt.stores = ONE_OF(sim, 1, 3, 3, 4, 5, 5, 7);
	sim->opt.groups = sim->guest != NULL ? ONE_OF(sim, 1, 2, 2, 3, 4) : ONE_OF(sim, 1, 1, 1, 2, 3);
	sim->opt.events = ONE_OF(sim, 1500, 3000, 6000);
	draw_faults(sim);
	draw_host(sim);
	shrink_options(sim);
	for (uint32_t i = 0; i < sim->opt.stores; i++)
		sim->stores[i].tick_time = sim->opt.skew ? TICK_TIME / 2 + sim_below(sim, TICK_TIME * 3 / 2) :
			TICK_TIME;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		make_group(sim, g);
	if (sim->guest != NULL)
		sim->guest->start(sim);
	for (uint32_t i = 0; i < sim->opt.stores; i++)
		sim_restart(sim, i);
	if (sim->guest == NULL)
		sim_schedule(sim, 1, (Event) {.type = EVENT_CLIENT});
	sim_schedule(sim, sim->opt.fault_every, (Event) {.type = EVENT_FAULT});
}

/* -- Choosing replicas --------------------------------------------------------------- */

Replica *
chaos_any_replica(Sim *sim, Group *group, bool leader)
{
	Replica    *found = NULL;
	uint32_t	n = 0;

	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		Replica    *r = &group->replicas[i];
		RaftStatus	status;

		if (!r->exists || r->raft == NULL || sim->stores[r->store].paused_until > sim->now)
			continue;
		raft_get_status(r->raft, &status);
		if (leader && status.role != RAFT_LEADER)
			continue;
		if (sim_below(sim, ++n) == 0)
			found = r;
	}
	return found;
}

/* Where it hurts: half of the time the store of a leader. */
static uint32_t
pick_store(Sim *sim)
{
	Replica    *r = NULL;

	if (sim_below(sim, 2) == 0)
		r = chaos_any_replica(sim, &sim->groups[sim_below(sim, sim->opt.groups)], true);
	return r != NULL ? r->store : sim_below(sim, sim->opt.stores);
}

Pending *
chaos_add_pending(Replica *r)
{
	if (r->pending_n == r->pending_size)
	{
		r->pending_size = r->pending_size == 0 ? 16 : r->pending_size * 2;
		r->pending = realloc(r->pending, r->pending_size * sizeof(Pending));
		if (r->pending == NULL)
			abort();
	}
	memset(&r->pending[r->pending_n], 0, sizeof(Pending));
	return &r->pending[r->pending_n++];
}

/* -- Clients ---------------------------------------------------------------------------- */

static void
propose(Sim *sim, Group *group, Replica *r)
{
	RaftBuf    *commands[8] = {NULL};
	uint32_t	n = 1 + sim_below(sim, sim_below(sim, 4) == 0 ? 8 : 1);
	uint64_t	first = 0;
	uint64_t	term = 0;
	uint64_t	fail_in = sim->memory.fail_in;
	uint64_t	bytes = 0;
	RaftStatus	before;

	r->asleep_until = 0;
	raft_get_status(r->raft, &before);
	sim->memory.fail_in = 0;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	len = 8 + sim_below(sim, sim_below(sim, 3) == 0 ? 380 : 20);
		uint64_t	op = ++group->next_op;

		commands[i] = raft_buf_new(&sim->memory.vtable, NULL, len);
		memset(commands[i]->data, (int) op, len);
		put_le64(commands[i]->data, op);
		bytes += len;
	}
	sim->memory.fail_in = fail_in;
	if (raft_propose(r->raft, commands, n, &first, &term) == VT_OK)
	{
		sim_trace(sim, "g%u %llu propose %llu..%llu", r->group, LLU(r->id), LLU(first),
				  LLU(first + n - 1));
		sim->counts.proposed += n;
		if (before.uncommitted_bytes > 0 &&
			before.uncommitted_bytes + bytes > group->options.max_uncommitted_bytes)
			sim_fail(sim, "[13] group %u leader %llu takes %llu bytes on top of %llu that are not committed",
					 r->group, LLU(r->id), LLU(bytes), LLU(before.uncommitted_bytes));
		for (uint32_t i = 0; i < n; i++)
		{
			Pending    *p = chaos_add_pending(r);

			p->index = first + i;
			p->term = term;
			p->floor = group->floor;
		}
	}
	for (uint32_t i = 0; i < n; i++)
		raft_buf_release(commands[i]);
}

static void
read_length(Sim *sim, Group *group, Replica *r)
{
	uint64_t	cookie = ++group->next_cookie;

	r->asleep_until = 0;
	if (raft_read(r->raft, cookie) == VT_OK)
	{
		Pending    *p = chaos_add_pending(r);

		p->is_read = true;
		p->cookie = cookie;
		p->floor = group->floor;
		sim_trace(sim, "g%u %llu read %llu floor=%llu", r->group, LLU(r->id), LLU(cookie),
				  LLU(p->floor));
	}
}

/*
 * An operation has its answer: a write its position, a read the length.  Both
 * must lie beyond what anybody knew before it began ([16], [25]).
 */
void
chaos_finish(Sim *sim, Replica *r, const Pending *p)
{
	Group	   *group = &sim->groups[r->group];
	uint64_t	at = p->is_read ? r->sm_applied : p->index;
	const Committed *c = oracle_at(group, at);
	uint64_t	length;

	if (sim->guest != NULL)
	{
		sim->guest->read(sim, r, p);
		return;
	}
	if (c == NULL)
		return;
	if (!p->is_read && c->term != p->term)
		return;					/* replaced: the client learns that it is lost */
	length = c->length;
	if (p->is_read ? length < p->floor : length <= p->floor)
		sim_fail(sim, "[%s] group %u replica %llu: a %s returns %llu, %llu was known before it began",
				 p->is_read ? "16" : "25", r->group, LLU(r->id), p->is_read ? "read" : "write",
				 LLU(length), LLU(p->floor));
	if (group->floor < length)
		group->floor = length;
	group->finished++;
	if (p->is_read)
	{
		sim->counts.reads++;
		group->reads_finished++;
	}
	else
		sim->counts.written++;
}

/*
 * A client that stays with a leader it knows: reads as soon as that one is back
 * from a pause, or some time after it was cut off (etcd#20418).
 */
static void
visit_later(Sim *sim, uint32_t store, uint64_t delay)
{
	if (sim->guest != NULL)
		return;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		{
			Replica    *r = &sim->groups[g].replicas[i];
			RaftStatus	status;

			if (!r->exists || r->raft == NULL || r->store != store)
				continue;
			raft_get_status(r->raft, &status);
			if (status.role != RAFT_LEADER)
				continue;
			for (int k = 0; k < 3; k++)
				sim_schedule(sim, delay + sim_below(sim, 2 * TICK_TIME),
							 (Event) {.type = EVENT_CLIENT, .store = store, .replica = r});
		}
}

void
chaos_client(Sim *sim, Replica *old_leader)
{
	Group	   *group = &sim->groups[sim_below(sim, sim->opt.groups)];
	Replica    *r = chaos_any_replica(sim, group, sim_below(sim, 10) != 0);

	if (old_leader != NULL)
	{
		read_length(sim, &sim->groups[old_leader->group], old_leader);
		sim_settle(sim, old_leader);
		return;
	}
	sim_schedule(sim, sim_delay(sim, sim->opt.client_every), (Event) {.type = EVENT_CLIENT});
	if (r == NULL)
		return;
	if (sim_below(sim, 3) == 0)
	{
		if (sim->calm && group->reads_finished > 2)
			return;
		read_length(sim, group, r);
	}
	else
	{
		/* In the end there must be an end. */
		if (sim->calm && group->finished > 6)
			return;
		propose(sim, group, r);
	}
	sim_settle(sim, r);
}

/* -- The network's moods ------------------------------------------------------------------ */

void
chaos_heal(Sim *sim)
{
	memset(sim->cut, 0, sizeof(sim->cut));
}

void
chaos_cut_network(Sim *sim)
{
	uint32_t	n = sim->opt.stores;
	uint32_t	side = sim_below(sim, 1u << n);
	uint32_t	a = pick_store(sim);

	visit_later(sim, a, sim_below(sim, 40 * TICK_TIME));
	switch (sim_below(sim, 5))
	{
		case 0:
			chaos_heal(sim);
			return;
		case 1:
			/* In two. */
			for (uint32_t i = 0; i < n; i++)
				for (uint32_t k = 0; k < n; k++)
					sim->cut[i][k] = ((side >> i) & 1) != ((side >> k) & 1);
			break;
		case 2:
			/* One hears nobody, or nobody hears it. */
			chaos_heal(sim);
			for (uint32_t i = 0; i < n; i++)
				if (i != a && sim_below(sim, 4) != 0)
				{
					if ((side & 1) != 0)
						sim->cut[i][a] = true;
					else
						sim->cut[a][i] = true;
				}
			sim->counts.one_way++;
			break;
		case 3:
			/* One is alone. */
			chaos_heal(sim);
			for (uint32_t i = 0; i < n; i++)
				if (i != a)
					sim->cut[i][a] = sim->cut[a][i] = true;
			break;
		default:
			/* Any links. */
			for (uint32_t i = 0; i < n; i++)
				for (uint32_t k = 0; k < n; k++)
					sim->cut[i][k] = i != k && sim_below(sim, 4) == 0;
			break;
	}
	sim->counts.partitions++;
}

/* -- Faults -------------------------------------------------------------------------------- */

static void
compact(Sim *sim, Replica *r)
{
	RaftStatus	status;
	RaftSnapshot base;
	uint64_t	index;

	raft_get_status(r->raft, &status);
	if (status.installing)
		return;
	if (sim_below(sim, 3) == 0)
	{
		/* Beyond it, too, and beyond what the disk has: that the core keeps.  Not drawn, so that worlds stay as they are. */
		index = status.applied;
		if (status.role != RAFT_LEADER || sim->world.seed % 4 == 2)
			index += prng_mix(status.last) % (status.last - status.applied + 1);
		raft_evict(r->raft, index);
		sim->counts.evictions++;
	}
	if (sim_below(sim, 2) == 0)
		r->disk.checkpoint = sim->guest != NULL ? sim->guest->checkpoint(sim, r) : r->sm_applied;
	index = SIM_BUG(27) ? status.applied : r->disk.checkpoint;
	if (index > status.applied)
		index = status.applied;
	if (index <= status.base)
		return;
	index -= sim_below(sim, (uint32_t) (index - status.base));
	if (raft_snapshot_at(r->raft, index, &base) != VT_OK)
		return;
	oracle_snapshot(sim, r, &base);
	disk_compact(&r->disk, &base);
	if (raft_compact(r->raft, index) != VT_OK)
		sim_fail(sim, "group %u replica %llu does not compact to %llu", r->group, LLU(r->id),
				 LLU(index));
	sim->counts.compactions++;
}

static void
hand_over(Sim *sim, Replica *r)
{
	const RaftConf *conf = raft_get_conf(r->raft);
	uint64_t	to = conf->members[sim_below(sim, conf->n)].id;

	if (raft_transfer(r->raft, to) == VT_OK)
	{
		sim_trace(sim, "g%u %llu hands over to %llu", r->group, LLU(r->id), LLU(to));
		sim->counts.transfers++;
	}
}

static void
fault_at_store(Sim *sim, uint32_t pick)
{
	SimOptions *o = &sim->opt;
	uint32_t	store = pick_store(sim);

	if (pick < o->crash_weight)
	{
		if (!sim->stores[store].up)
			return;
		sim_crash(sim, store);
		sim_schedule(sim, sim_delay(sim, 20 * TICK_TIME),
					 (Event) {.type = EVENT_RESTART, .store = store});
		/* Sometimes everything at once. */
		for (uint32_t i = 0; i < o->stores && sim_below(sim, 10) == 0; i++)
			if (sim->stores[i].up)
			{
				sim_crash(sim, i);
				sim_schedule(sim, sim_delay(sim, 20 * TICK_TIME),
							 (Event) {.type = EVENT_RESTART, .store = i});
			}
		return;
	}
	pick -= o->crash_weight;
	if (pick < o->cut_weight)
	{
		chaos_cut_network(sim);
		sim_trace(sim, "network changes");
		return;
	}
	sim->stores[store].paused_until = sim->now + sim_below(sim, 80 * TICK_TIME);
	visit_later(sim, store, sim->stores[store].paused_until - sim->now + 1);
	sim_trace(sim, "store %u pauses", store);
	sim->counts.pauses++;
}

/*
 * A group falls asleep (src/replica/sleep.c): for some time its cores have no ticks,
 * but for those that a message, or somebody who asks, wakes.
 */
static void
fall_asleep(Sim *sim, Group *group)
{
	uint64_t	until = sim->now + sim_below(sim, 60 * TICK_TIME);

	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		Replica    *r = &group->replicas[i];
		RaftStatus	status;

		if (!r->exists || r->raft == NULL)
			continue;
		raft_get_status(r->raft, &status);
		if (status.applied == status.last && status.leader != 0 && !r->loading)
		{
			r->asleep_until = until;
			sim->counts.sleeps++;
		}
	}
}

static void
fault_at_replica(Sim *sim, uint32_t pick)
{
	SimOptions *o = &sim->opt;
	Group	   *group = &sim->groups[sim_below(sim, o->groups)];
	bool		transfer = pick < o->transfer_weight;
	Replica    *r = chaos_any_replica(sim, group, transfer);

	if (r == NULL)
		return;
	if (transfer)
		hand_over(sim, r);
	else if ((pick -= o->transfer_weight) < o->compact_weight)
		compact(sim, r);
	else if ((pick -= o->compact_weight) < o->forget_weight)
	{
		/* A hint that the leader's store died, true or not, at one or at all. */
		for (uint32_t i = 0; i < group->replicas_n; i++)
			if (group->replicas[i].raft != NULL && sim_below(sim, 3) != 0)
				raft_forget_leader(group->replicas[i].raft);
		raft_forget_leader(r->raft);
		(void) raft_campaign(r->raft);
		sim->counts.forgotten_leaders++;
	}
	else if ((pick -= o->forget_weight) < o->campaign_weight)
		(void) raft_campaign(r->raft);
	else if ((pick -= o->campaign_weight) < o->sleep_weight)
		fall_asleep(sim, group);
	else
	{
		raft_report_unreachable(r->raft, 1 + sim_below(sim, group->replicas_n));
		if (sim_below(sim, 1000) < o->alloc_failure * 20)
			sim->memory.fail_in = 1 + sim_below(sim, 40);
	}
	sim_settle(sim, r);
}

void
chaos_fault(Sim *sim)
{
	SimOptions *o = &sim->opt;
	uint32_t	at_stores = o->crash_weight + o->cut_weight + o->pause_weight;
	uint32_t	at_replicas = o->transfer_weight + o->compact_weight + o->forget_weight +
		o->campaign_weight + o->sleep_weight + 2;
	uint32_t	pick;

	if (sim->calm)
		return;
	sim_schedule(sim, sim_delay(sim, o->fault_every), (Event) {.type = EVENT_FAULT});
	if (sim->world.recover && sim_below(sim, 12) == 0)
	{
		chaos_recover(sim);
		return;
	}
	pick = sim_below(sim, at_stores + at_replicas + o->conf_weight);
	if (pick < at_stores)
		fault_at_store(sim, pick);
	else if (pick < at_stores + at_replicas)
		fault_at_replica(sim, pick - at_stores);
	else
		chaos_change_members(sim);
}

