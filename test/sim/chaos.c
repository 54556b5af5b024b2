/*-------------------------------------------------------------------------
 *
 * chaos.c
 *	  What happens to the world: clients, membership, faults; and the end.
 *
 * Each seed draws its own swarm: how many stores and groups, which faults and
 * how often, and limits down to one message or one entry.  Most seeds lack some
 * faults altogether, since a fault that is always on hides what happens
 * without it.
 *
 * After the safety phase everything is repaired, except perhaps some stores that
 * are frozen for good so that a quorum is still left.  Then every group must
 * elect a leader, write, read and converge within a bounded time.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

/* Election timeouts that the repaired world may rest without getting further. */
#define LIVENESS_TIMEOUTS 40

static uint32_t
one_of(Sim *sim, const uint32_t *values, uint32_t n)
{
	return values[sim_below(sim, n)];
}

#define ONE_OF(sim, ...) \
	one_of(sim, (const uint32_t[]) {__VA_ARGS__}, \
		   (uint32_t) (sizeof((const uint32_t[]) {__VA_ARGS__}) / sizeof(uint32_t)))

/* -- The swarm -------------------------------------------------------------------- */

static void
draw_limits(Sim *sim, RaftOptions *o)
{
	raft_options_init(o);
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
	sim->opt.groups = ONE_OF(sim, 1, 1, 1, 2, 3);
	sim->opt.events = ONE_OF(sim, 1500, 3000, 6000);
	draw_faults(sim);
	for (uint32_t i = 0; i < sim->opt.stores; i++)
		sim->stores[i].tick_time = sim->opt.skew ? TICK_TIME / 2 + sim_below(sim, TICK_TIME * 3 / 2) :
			TICK_TIME;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		make_group(sim, g);
	for (uint32_t i = 0; i < sim->opt.stores; i++)
		sim_restart(sim, i);
	sim_schedule(sim, 1, (Event) {.type = EVENT_CLIENT});
	sim_schedule(sim, sim->opt.fault_every, (Event) {.type = EVENT_FAULT});
}

/* -- Choosing replicas --------------------------------------------------------------- */

static Replica *
any_replica(Sim *sim, Group *group, bool leader)
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
		r = any_replica(sim, &sim->groups[sim_below(sim, sim->opt.groups)], true);
	return r != NULL ? r->store : sim_below(sim, sim->opt.stores);
}

static Pending *
add_pending(Replica *r)
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

	sim->memory.fail_in = 0;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	len = 8 + sim_below(sim, sim_below(sim, 3) == 0 ? 380 : 20);
		uint64_t	op = ++group->next_op;

		commands[i] = raft_buf_new(&sim->memory.vtable, NULL, len);
		memset(commands[i]->data, (int) op, len);
		put_le64(commands[i]->data, op);
	}
	sim->memory.fail_in = fail_in;
	if (raft_propose(r->raft, commands, n, &first, &term) == VT_OK)
	{
		sim_trace(sim, "g%u %llu propose %llu..%llu", r->group, LLU(r->id), LLU(first),
				  LLU(first + n - 1));
		sim->counts.proposed += n;
		for (uint32_t i = 0; i < n; i++)
		{
			Pending    *p = add_pending(r);

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

	if (raft_read(r->raft, cookie) == VT_OK)
	{
		Pending    *p = add_pending(r);

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
	Replica    *r = any_replica(sim, group, sim_below(sim, 10) != 0);

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

static void
heal(Sim *sim)
{
	memset(sim->cut, 0, sizeof(sim->cut));
}

static void
cut_network(Sim *sim)
{
	uint32_t	n = sim->opt.stores;
	uint32_t	side = sim_below(sim, 1u << n);
	uint32_t	a = pick_store(sim);

	visit_later(sim, a, sim_below(sim, 40 * TICK_TIME));
	switch (sim_below(sim, 5))
	{
		case 0:
			heal(sim);
			return;
		case 1:
			/* In two. */
			for (uint32_t i = 0; i < n; i++)
				for (uint32_t k = 0; k < n; k++)
					sim->cut[i][k] = ((side >> i) & 1) != ((side >> k) & 1);
			break;
		case 2:
			/* One hears nobody, or nobody hears it. */
			heal(sim);
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
			heal(sim);
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

/* -- Membership --------------------------------------------------------------------------- */

static bool
remove_member(RaftConf *conf, uint32_t at)
{
	memmove(&conf->members[at], &conf->members[at + 1],
			(conf->n - at - 1) * sizeof(RaftMember));
	conf->n--;
	memset(&conf->members[conf->n], 0, sizeof(RaftMember));
	return true;
}

static uint32_t
count_role(const RaftConf *conf, uint8_t role)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < conf->n; i++)
		n += (conf->members[i].roles & role) != 0;
	return n;
}

/* One to three learners, on any stores. */
static bool
add_learners(Sim *sim, Group *group, uint32_t g, RaftConf *conf)
{
	uint32_t	n = 1 + sim_below(sim, 3);

	if (conf->n + n > 8 || group->replicas_n + n > SIM_MAX_REPLICAS)
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		Replica    *r = sim_create_replica(sim, g, sim_below(sim, sim->opt.stores), false);
		RaftMember *m = &conf->members[conf->n++];

		memset(m, 0, sizeof(*m));
		m->id = r->id;
		m->node = r->store + 1;
		m->roles = RAFT_LEARNER;
		if (sim_below(sim, 6) == 0)
		{
			m->roles |= RAFT_FILTERED;
			m->hash_lo = 1;
			m->hash_hi = UINT64_MAX / 2;
		}
	}
	return true;
}

/* Turn conf into something else; false: nothing came to mind. */
static bool
change_conf(Sim *sim, Group *group, uint32_t g, RaftConf *conf)
{
	uint32_t	at = sim_below(sim, conf->n);
	RaftMember *m = &conf->members[at];

	switch (sim_below(sim, 7))
	{
		case 0:
		case 1:
			return add_learners(sim, group, g, conf);
		case 2:
			if (m->roles != RAFT_LEARNER)
				return false;
			m->roles = RAFT_VOTER;
			sim->counts.learners_promoted++;
			return true;
		case 3:
			return remove_member(conf, at) && count_role(conf, RAFT_VOTER) > 0;
		case 4:
			if (m->roles != RAFT_VOTER || count_role(conf, RAFT_VOTER) == 1)
				return false;
			m->roles = RAFT_LEARNER;
			return true;
		default:
			/* All unfiltered learners become voters, some others leave. */
			for (uint32_t i = 0; i < conf->n; i++)
				if (conf->members[i].roles == RAFT_LEARNER)
					conf->members[i].roles = RAFT_VOTER;
			for (uint32_t k = 1 + sim_below(sim, 3); k > 0 && conf->n > 1; k--)
				remove_member(conf, sim_below(sim, conf->n));
			return count_role(conf, RAFT_VOTER) > 0;
	}
}

static void
change_members_of(Sim *sim, uint32_t g, Replica *r)
{
	Group	   *group = &sim->groups[g];
	uint32_t	known = group->replicas_n;
	RaftStatus	status;
	RaftConf	target;
	VtStatus	result;

	raft_get_status(r->raft, &status);
	target = *raft_get_conf(r->raft);
	if (target.joint)
	{
		/* Asking while joint must be refused; ask for anything. */
		uint32_t	only = sim_below(sim, target.n);

		target.joint = false;
		for (uint32_t i = 0; i < target.n; i++)
			target.members[i].roles = i == only || sim_below(sim, 2) == 0 ? RAFT_VOTER : RAFT_LEARNER;
	}
	else if (!change_conf(sim, group, g, &target))
		return;
	for (uint32_t i = 0; i < target.n; i++)
		if ((target.members[i].roles & RAFT_FILTERED) == 0)
			target.members[i].hash_lo = target.members[i].hash_hi = 0;
	result = raft_propose_conf(r->raft, &target, status.conf_index, NULL);
	sim_trace(sim, "g%u %llu propose conf of %u members: %s", g, LLU(r->id), target.n,
			  vt_status_words(result));
	if (result == VT_OK)
		sim->counts.conf_changes++;
	for (uint32_t i = known; result != VT_OK && i < group->replicas_n; i++)
		sim_destroy_replica(sim, &group->replicas[i]);
}

/* Often twice at once: the second must wait for the first. */
static void
change_members(Sim *sim)
{
	uint32_t	g = sim_below(sim, sim->opt.groups);
	Replica    *r = any_replica(sim, &sim->groups[g], true);

	if (r == NULL)
		return;
	change_members_of(sim, g, r);
	if (sim_below(sim, 3) == 0)
		change_members_of(sim, g, r);
	if (sim->opt.cut_weight > 0 && sim_below(sim, 4) == 0)
		cut_network(sim);
	sim_settle(sim, r);
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
		raft_evict(r->raft, status.applied);
		sim->counts.evictions++;
	}
	if (sim_below(sim, 2) == 0)
		r->disk.checkpoint = r->sm_applied;
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
		cut_network(sim);
		sim_trace(sim, "network changes");
		return;
	}
	sim->stores[store].paused_until = sim->now + sim_below(sim, 80 * TICK_TIME);
	visit_later(sim, store, sim->stores[store].paused_until - sim->now + 1);
	sim_trace(sim, "store %u pauses", store);
	sim->counts.pauses++;
}

static void
fault_at_replica(Sim *sim, uint32_t pick)
{
	SimOptions *o = &sim->opt;
	Group	   *group = &sim->groups[sim_below(sim, o->groups)];
	bool		transfer = pick < o->transfer_weight;
	Replica    *r = any_replica(sim, group, transfer);

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
		o->campaign_weight + 2;
	uint32_t	pick;

	if (sim->calm)
		return;
	sim_schedule(sim, sim_delay(sim, o->fault_every), (Event) {.type = EVENT_FAULT});
	pick = sim_below(sim, at_stores + at_replicas + o->conf_weight);
	if (pick < at_stores)
		fault_at_store(sim, pick);
	else if (pick < at_stores + at_replicas)
		fault_at_replica(sim, pick - at_stores);
	else
		change_members(sim);
}

/* -- The end: all is repaired ------------------------------------------------------------------ */

static bool
has_quorum(const Sim *sim, const Group *group, const RaftConf *conf)
{
	for (int half = 0; half <= (conf->joint ? 1 : 0); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	n = 0;
		uint32_t	up = 0;

		for (uint32_t i = 0; i < conf->n; i++)
		{
			const Replica *r = &group->replicas[conf->members[i].id - 1];

			if ((conf->members[i].roles & role) == 0)
				continue;
			n++;
			up += r->exists && !sim->stores[r->store].frozen;
		}
		if (n > 0 && up <= n / 2)
			return false;
	}
	return true;
}

/*
 * May a store stay away for good?  Not if any configuration that some replica
 * may still count with would lose its quorum.
 */
static bool
quorums_remain(const Sim *sim)
{
	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		const Group *group = &sim->groups[g];

		for (uint32_t i = 0; i < group->replicas_n; i++)
		{
			const Replica *r = &group->replicas[i];

			if (!r->exists || r->raft == NULL || raft_get_conf(r->raft)->n == 0)
				continue;
			if (!has_quorum(sim, group, raft_get_conf(r->raft)))
				return false;
		}
		/* Whoever is elected must be able to go on. */
		for (size_t i = 0; i < group->confs_n; i++)
			if (i + 2 >= group->confs_n && !has_quorum(sim, group, &group->confs[i]))
				return false;
	}
	return true;
}

/*
 * Leave some stores away for good.  What is still on the network is lost with
 * them: it may hold a configuration that nobody else knows any more.
 */
static void
freeze_stores(Sim *sim)
{
	bool		any = false;

	for (uint32_t k = 0; k < 2 && sim_below(sim, 2) == 0; k++)
	{
		uint32_t	store = sim_below(sim, sim->opt.stores);

		sim->stores[store].frozen = true;
		if (quorums_remain(sim))
			any = true;
		else
			sim->stores[store].frozen = false;
	}
	if (!any)
		return;
	for (size_t i = 0; i < sim->heap_n; i++)
		if (sim->heap[i].type == EVENT_DELIVER)
		{
			free(sim->heap[i].packet);
			sim->heap[i].packet = NULL;
			sim->heap[i].type = EVENT_NOTHING;
		}
	for (uint32_t i = 0; i < sim->opt.stores; i++)
		if (sim->stores[i].frozen)
		{
			sim_trace(sim, "store %u is frozen", i);
			sim_crash(sim, i);
			sim->counts.frozen_stores++;
		}
}

static void
repair(Sim *sim)
{
	heal(sim);
	sim->calm = true;
	sim->memory.fail_in = 0;
	for (uint32_t i = 0; i < sim->opt.stores; i++)
	{
		sim->stores[i].tick_time = TICK_TIME;
		sim->stores[i].paused_until = 0;
		sim_restart(sim, i);
	}
	freeze_stores(sim);
	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		sim->groups[g].finished = 0;
		sim->groups[g].reads_finished = 0;
	}
	/* Delays of the safety phase must not stretch the calm one. */
	if (sim->opt.delay > 100)
		sim->opt.delay = 100;
	if (sim->opt.disk_delay > 100)
		sim->opt.disk_delay = 100;
	if (sim->opt.apply_delay > 100)
		sim->opt.apply_delay = 100;
	sim->opt.client_every = 500;
	sim_trace(sim, "all is repaired");
}

/* What is missing?  NULL: this group is well. */
static const char *
ailing(Sim *sim, Group *group, uint64_t *who)
{
	Replica    *leader = NULL;
	RaftStatus	status = {0};
	const RaftConf *conf;

	*who = 0;
	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		Replica    *r = &group->replicas[i];
		RaftStatus	s;

		if (!r->exists || r->raft == NULL)
			continue;
		raft_get_status(r->raft, &s);
		if (s.role == RAFT_LEADER && (leader == NULL || s.term > status.term))
		{
			leader = r;
			status = s;
		}
	}
	if (leader == NULL)
		return "no leader";
	*who = leader->id;
	if (!status.term_committed)
		return "leader has committed nothing";
	if (group->finished <= 6)
		return "no operations finish";
	if (group->reads_finished <= 2)
		return "no reads finish";
	conf = raft_get_conf(leader->raft);
	if (conf->joint || status.conf_index > status.commit)
		return "configuration does not settle";
	if (status.commit != status.last || leader->sm_applied != status.last)
		return "leader does not apply its log";
	for (uint32_t i = 0; i < conf->n; i++)
	{
		Replica    *r = &group->replicas[conf->members[i].id - 1];

		*who = r->id;
		if (!r->exists)
			return "a member was destroyed";
		if (sim->stores[r->store].frozen)
			continue;
		if (r->sm_applied != status.last)
			return "a member does not catch up";
	}
	return NULL;
}

/* How everybody stands, for whoever reads the trace. */
static void
trace_group(Sim *sim, uint32_t g)
{
	for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
	{
		const Replica *r = &sim->groups[g].replicas[i];
		const RaftConf *conf;
		RaftStatus	s;
		char		members[300] = "";
		int			n = 0;

		if (!r->exists || r->raft == NULL)
			continue;
		raft_get_status(r->raft, &s);
		conf = raft_get_conf(r->raft);
		for (uint32_t k = 0; k < conf->n && n < 260; k++)
			n += snprintf(members + n, sizeof(members) - (size_t) n, " %llu/%x",
						  LLU(conf->members[k].id), conf->members[k].roles);
		sim_trace(sim, "g%u %llu store=%u %s term=%llu commit=%llu log=%llu..%llu durable=%llu conf=%llu%s%s",
				  g, LLU(r->id), r->store, raft_role_name(s.role), LLU(s.term), LLU(s.commit),
				  LLU(s.base + 1), LLU(s.last), LLU(s.stable), LLU(s.conf_index),
				  conf->joint ? " joint" : "", members);
	}
}

/* Grows as long as something is replicated, applied or answered. */
static uint64_t
progress(const Sim *sim)
{
	uint64_t	sum = 0;

	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		sum += sim->groups[g].committed_last + sim->groups[g].finished;
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
			sum += sim->groups[g].replicas[i].sm_applied +
				disk_last(&sim->groups[g].replicas[i].disk);
	}
	return sum;
}

static void
check_liveness(Sim *sim)
{
	uint64_t	timeouts = 0;
	uint64_t	limit;
	uint64_t	next_look = 0;
	uint64_t	reached = 0;
	const char *words = "nothing happens";
	uint32_t	g = 0;
	uint64_t	who = 0;

	for (uint32_t i = 0; i < sim->opt.groups; i++)
	{
		uint64_t	one = LIVENESS_TIMEOUTS * (uint64_t) sim->groups[i].options.election_ticks;

		if (timeouts < one * TICK_TIME)
			timeouts = one * TICK_TIME;
	}
	limit = sim->now + timeouts;
	while (sim->now < limit && sim_step(sim))
	{
		if (sim->now < next_look)
			continue;
		next_look = sim->now + TICK_TIME;
		if (progress(sim) > reached)
		{
			/* A long log through a window of one entry takes its time. */
			reached = progress(sim);
			limit = sim->now + timeouts;
		}
		for (g = 0; g < sim->opt.groups; g++)
		{
			words = ailing(sim, &sim->groups[g], &who);
			if (words != NULL)
				break;
		}
		if (g == sim->opt.groups)
		{
			sim->counts.liveness++;
			return;
		}
	}
	if (!sim->failed && g < sim->opt.groups)
		trace_group(sim, g);
	sim_fail(sim, "[liveness] group %u replica %llu: %s", g, LLU(who), words);
}

void
chaos_run(Sim *sim)
{
	chaos_options(sim);
	while (sim->counts.events < sim->opt.events && sim_step(sim))
		continue;
	if (!sim->failed)
	{
		repair(sim);
		check_liveness(sim);
	}
}
