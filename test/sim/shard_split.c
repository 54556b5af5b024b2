/*-------------------------------------------------------------------------
 *
 * shard_split.c
 *	  Shards are split while everything else goes on.
 *
 * The placement driver in model asks a leader for one split at a time, and again
 * until it is committed.  A child is a new group of the world; who makes its
 * replicas, and when, is src/worker/split.c's business, one step at a time here, with
 * a crash or a loss of power between any two:
 *
 *	  a store that has a replica of what is to be split			may copy rows before
 *	  a store that has a replica of the parent and owes the child	copies the rows, or what
 *																is left of them
 *	  one whose replica of the parent owes nothing, or is gone		begins empty
 *	  when a majority of the child's voters, or all, were heard of	nobody owes
 *
 * While that is not so the members of the parent stay as they are: they are one
 * operator's business at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#define LLU(x) ((unsigned long long) (x))

#define CALM_ASKS 30

/* -- The table of routes -------------------------------------------------------------- */

static RouteRow
row_of(const ShardWorld *w, uint32_t group)
{
	uint32_t	c = w->collections_n > 1 && vt_id_equal(&w->descs[group].generation,
														 &w->collections[1].desc.generation);

	return (RouteRow) {
		.collection = c, .group = group, .first = w->descs[group].first, .last = w->descs[group].last,
		.range_ver = w->descs[group].range_ver
	};
}

void
split_start(Sim *sim)
{
	static const uint32_t rates[] = {2, 10, 40};
	static const uint32_t idle[] = {0, 500, 950, 990};
	ShardWorld *w = shard_world(sim);

	memcpy(w->born, w->descs, sizeof(w->born));
	for (uint32_t c = 0; c < w->collections_n; c++)
	{
		uint32_t	first = w->collections[c].first_group;
		RouteRow	all = row_of(w, first);

		/* There was one shard at first, and one division. */
		all.last = UINT64_MAX;
		w->routes[1].rows[w->routes[1].n++] = all;
		all.range_ver = 1;
		w->routes[0].rows[w->routes[0].n++] = all;
		for (uint32_t g = first; g < first + w->collections[c].groups; g++)
			w->routes[2].rows[w->routes[2].n++] = row_of(w, g);
	}
	if (!sim->world.splits)
		return;
	w->splits = rates[sim_below(sim, 3)];
	/* Stores that take their time; marks that stay. */
	w->idle = idle[sim_below(sim, 4)];
	if (sim_below(sim, 2) == 0)
		w->evict = 0;
	/* Servers that live, and write much. */
	if (sim_below(sim, 2) == 0)
	{
		w->crash = w->stale = w->abort = w->promote = 0;
		w->tids = MAX_TIDS;
		w->backends = MAX_BACKENDS;
		w->scans = 4;
		w->standby.meta = META_LIVE;
	}
}

/* A split is known: half of it first, the parent's version without the child. */
static void
add_routes(ShardWorld *w, uint32_t parent, uint32_t child)
{
	Routes	   *half = &w->routes[w->routes_n];
	Routes	   *all = &w->routes[w->routes_n + 1];

	*half = w->routes[w->routes_n - 1];
	for (uint32_t i = 0; i < half->n; i++)
		if (half->rows[i].group == parent)
			half->rows[i].range_ver = w->descs[parent].range_ver;
	*all = *half;
	for (uint32_t i = 0; i < all->n; i++)
		if (all->rows[i].group == parent)
			all->rows[i].last = w->descs[parent].last;
	all->rows[all->n++] = row_of(w, child);
	w->routes_n += 2;
}

/* -- The placement driver --------------------------------------------------------------- */

/* Nothing else is done to a group, or to one that was split off it, before a split has settled. */
bool
split_may_change(Sim *sim, uint32_t group)
{
	const ShardWorld *w = shard_world(sim);

	if (w->splitting && w->split_group == group)
		return false;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		if (w->split[g].committed && !w->split[g].settled && w->split[g].parent == group)
			return false;
	return true;
}

static Replica *
leader_of(Sim *sim, uint32_t group)
{
	Replica    *r = chaos_any_replica(sim, &sim->groups[group], true);

	return r != NULL && machine_is_open(r) ? r : NULL;
}

/* The voters, each in a store of its own; false: not now. */
static bool
describe_members(const Sim *sim, const RaftConf *conf, WireShardDesc *child)
{
	if (conf->joint)
		return false;
	child->nreplicas = 0;
	for (uint32_t i = 0; i < conf->n; i++)
	{
		uint64_t	store = conf->members[i].node;

		if (conf->members[i].roles != RAFT_VOTER)
			continue;
		for (uint8_t k = 0; k < child->nreplicas; k++)
			if (child->replicas[k].store == store)
				return false;
		child->replicas[child->nreplicas] =
			(WireReplica) {.store = store, .replica = (uint64_t) child->nreplicas + 1, .role = 1};
		child->nreplicas++;
	}
	(void) sim;
	return child->nreplicas > 0;
}

/* Decide on a split: whose, and where; between two rows that there may be. */
static void
plan_split(Sim *sim)
{
	ShardWorld *w = shard_world(sim);
	uint32_t	group = sim_below(sim, sim->opt.groups);
	Replica    *r = leader_of(sim, group);
	WireShardDesc child = w->descs[group];
	uint8_t		id[WIRE_TID_SIZE];

	if (r == NULL || sim->opt.groups == SIM_MAX_GROUPS || w->routes_n + 2 > MAX_ROUTES ||
		!split_may_change(sim, group) || (w->split[group].committed && !w->split[group].settled) ||
		!describe_members(sim, raft_get_conf(r->raft), &child))
		return;
	child.first = wire_place(&w->collections[0].desc, shard_id_of((int) sim_below(sim, w->tids), id)) +
		sim_below(sim, 2);
	if (child.first <= w->descs[group].first || child.first > child.last)
		return;
	child.shard = 1000 + sim->opt.groups;
	child.parent = w->descs[group].shard;
	child.range_ver++;
	child.base_index = 0;
	w->splitting = true;
	w->split_group = group;
	w->split_child = child;
}

static void
ask_for_split(Sim *sim)
{
	ShardWorld *w = shard_world(sim);
	const WireShardDesc *desc = &w->descs[w->split_group];
	Replica    *r = leader_of(sim, w->split_group);
	WireRoute	route = {.generation = desc->generation, .shard = desc->shard, .range_ver = desc->range_ver,
		.owner = desc->owner
	};
	uint64_t	fail_in = sim->memory.fail_in;
	uint64_t	index;
	uint64_t	term;
	Buf			command = {0};
	RaftStatus	status;
	RaftBuf    *buf;

	if (r == NULL)
		return;
	raft_get_status(r->raft, &status);
	if (sim->calm && r->sm_applied < status.last)
		return;					/* what was asked before is not decided yet */
	/* As of this configuration: the entry comes behind it in the log. */
	if (!describe_members(sim, raft_get_conf(r->raft), &w->split_child))
		return;
	wire_split_put(&command, &route, &w->split_child);
	sim->memory.fail_in = 0;
	buf = raft_buf_new(&sim->memory.vtable, command.data, (uint32_t) command.len);
	sim->memory.fail_in = fail_in;
	if (raft_propose(r->raft, &buf, 1, &index, &term) == VT_OK)
	{
		sim_trace(sim, "g%u %llu is asked to split, at %llu", r->group, LLU(r->id), LLU(index));
		COUNT(sim, splits_asked);
		sim->counts.proposed++;
		/* Each of these was applied, and the first that is must be taken. */
		if (sim->calm && ++w->asked_in_calm > CALM_ASKS)
			sim_fail(sim, "[D1] group %u is asked in vain to split", r->group);
	}
	raft_buf_release(buf);
	buf_free(&command);
	sim_settle(sim, r);
}

/* Enough of them have the child, or all: PD knows by their heartbeats. */
static void
look_for_settled(Sim *sim, uint32_t g)
{
	ShardWorld *w = shard_world(sim);
	const Group *group = &sim->groups[g];
	const RaftConf *conf = &group->confs[group->confs_n - 1];
	uint32_t	voters = 0;
	uint32_t	there = 0;

	if (!w->split[g].committed || w->split[g].settled || conf->joint)
		return;
	for (uint32_t i = 0; i < conf->n; i++)
	{
		const Replica *r = &group->replicas[conf->members[i].id - 1];

		if ((conf->members[i].roles & RAFT_VOTER) == 0)
			continue;
		voters++;
		there += machine_is_open(r) && r->sm_applied >= group->base && machine_is_whole(r);
	}
	/* D1: one replica is not enough for what has been durable on a majority. */
	if (there == voters || (there > voters / 2 && sim_below(sim, 3) == 0) ||
		(there > 0 && vt_broken("D1-keep")))
	{
		sim_trace(sim, "g%u is settled", g);
		w->split[g].settled = true;
		COUNT(sim, children_settled);
	}
}

/* -- The entry --------------------------------------------------------------------------- */

/* What the child has to begin with: rows that are frozen now. */
static void
truth_of_child(Sim *sim, const Replica *r, uint32_t g)
{
	ShardWorld *w = shard_world(sim);
	ShardTruth *truth = &w->truth[g];
	char		path[64];
	char		directory[32];
	Buf			rows;
	Cursor		c;

	machine_directory(r, directory);
	snprintf(path, sizeof(path), "%s/%016llx", directory, LLU(w->descs[r->group].shard));
	rows = model_store_read(path, bytes_of("v", 1), bytes_of("w", 1));
	c = cursor_of(buf_bytes(&rows));
	truth->front = sim->groups[g].base;
	for (int t = 0; t < MAX_TIDS; t++)
		truth->row[t] = NO_ROW;
	while (cursor_left(&c) > 0)
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);
		Bytes		id = bytes_of(key.data + 1, key.len - 1);
		uint64_t	place = wire_place(&w->descs[g], id);
		StoreRow	row;

		if (place < w->descs[g].first || place > w->descs[g].last || row_get(value, &row, NULL) != VT_OK)
			continue;
		truth->row[shard_tid_of(id)] = shard_row_of(row.vector);
		truth->version[shard_tid_of(id)] = row.index;
		w->split[g].version[shard_tid_of(id)] = row.index;
		w->truth[r->group].row[shard_tid_of(id)] = NO_ROW;
	}
	buf_free(&rows);
}

/* A replica has applied a split; the first to do so makes it true. */
void
split_applied(Sim *sim, Replica *r, const WireWrite *write, uint64_t index)
{
	ShardWorld *w = shard_world(sim);
	WireShardDesc child = wire_split_child(write);
	uint32_t	g = (uint32_t) (child.shard - 1000);
	Group	   *group = &sim->groups[g];
	RaftSnapshot *origin = &group->origin;
	ShardChild	its = {0};

	if (g < sim->opt.groups)
	{
		if (w->split[g].parent != r->group || w->split[g].index != index)
			sim_fail(sim, "[D1] group %u is split off twice", g);
		return;
	}
	sim_trace(sim, "g%u is split at %llu: g%u from %llx on", r->group, LLU(index), g, LLU(child.first));
	COUNT(sim, splits_done);
	child.base_index = index;
	w->splitting = false;
	w->descs[g] = w->born[g] = child;
	w->descs[r->group].last = child.first - 1;
	w->descs[r->group].range_ver = child.range_ver;
	(void) shard_find_child(machine_shard(r), child.shard, &its);
	w->split[g] = (Splitting) {.committed = true, .parent = r->group, .index = index, .fence = its.fence,
		.sessions = sessions_digest(machine_shard(r)->sessions)
	};

	group->id = g + 1;
	group->options = sim->groups[r->group].options;
	group->options.group = group->id;
	group->base = index;
	memset(origin, 0, sizeof(*origin));
	origin->index = origin->conf_index = index;
	origin->conf.n = child.nreplicas;
	for (uint8_t i = 0; i < child.nreplicas; i++)
	{
		origin->conf.members[i].id = child.replicas[i].replica;
		origin->conf.members[i].node = child.replicas[i].store;
		origin->conf.members[i].roles = RAFT_VOTER;
	}
	oracle_start(sim, group);
	for (uint8_t i = 0; i < child.nreplicas; i++)
		sim_await_replica(sim, g, (uint32_t) child.replicas[i].store - 1);
	sim->opt.groups++;
	truth_of_child(sim, r, g);
	add_routes(w, r->group, g);
}

/* -- What stores have to do --------------------------------------------------------------- */

static Replica *
awaited_in(Sim *sim, uint32_t g, uint32_t store)
{
	for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		if (sim->groups[g].replicas[i].awaited && sim->groups[g].replicas[i].store == store)
			return &sim->groups[g].replicas[i];
	return NULL;
}

static void
drop_heir(Sim *sim, const Replica *r)
{
	uint32_t   *group;
	Heir	  **heir = machine_heir(r, &group);

	shard_world(sim)->maker[*group][r->store] = NULL;
	heir_drop(*heir);
	*heir = NULL;
}

/* Another step of the rows of a child of r's; it is founded with the last. */
static void
go_on_with_heir(Sim *sim, Replica *r)
{
	uint32_t   *g;
	Heir	  **heir = machine_heir(r, &g);
	Replica    *child = awaited_in(sim, *g, r->store);
	bool		done = false;

	if (child == NULL)
	{
		COUNT(sim, heirs_dropped);
		drop_heir(sim, r);
		return;
	}
	machine_enter(sim, r);
	if (heir_copy(*heir, 1 + sim_below(sim, 100), &done, NULL) != VT_OK)
		abort();
	if (!done || sim_crash_point(sim, r))
		return;
	if (heir_end(*heir, NULL) != VT_OK)
		abort();
	if (sim_crash_point(sim, r))
		return;
	sim_trace(sim, "g%u %llu is made in store %u", child->group, LLU(child->id), child->store);
	COUNT(sim, heirs_done);
	drop_heir(sim, r);
	sim_make_awaited(sim, child, true);
	if (!sim->failed && atomic_load(&machine_shard(child)->fence) != shard_world(sim)->split[child->group].fence)
		sim_fail(sim, "[S3] group %u replica %llu does not begin with the fence of its parent at the split",
				 child->group, LLU(child->id));
	if (!sim->failed && sim->world.sessions &&
		sessions_digest(machine_shard(child)->sessions) != shard_world(sim)->split[child->group].sessions)
		sim_fail(sim, "[E1] group %u replica %llu does not begin with the sessions of its parent at the split",
				 child->group, LLU(child->id));
	sim_settle(sim, child);
}

/* What was prepared in a store, by whichever replica of the parent was there then. */
static void
forget_prepared(Sim *sim, uint32_t parent, uint32_t store)
{
	const Group *parents = &sim->groups[parent];

	for (uint32_t i = 0; i < parents->replicas_n; i++)
		if (parents->replicas[i].store == store && machine_is_open(&parents->replicas[i]))
			machine_forget_prepared(sim, &parents->replicas[i]);
}

/*
 * Before the entry, or when it is not known here: some of the rows, as they are by now,
 * and those that have changed since.
 */
static bool
prepare(Sim *sim, Replica *r)
{
	ShardWorld *w = shard_world(sim);
	Prepared   *prepared = machine_prepared(r);
	uint8_t		k = 0;
	bool		done;
	char		directory[32];

	machine_enter(sim, r);
	if (prepared->heir != NULL && prepared->group < sim->opt.groups && awaited_in(sim, prepared->group, r->store) == NULL)
		machine_forget_prepared(sim, r);	/* the child is here, or will never be */
	if (prepared->heir != NULL)
	{
		if (heir_go_on(prepared->heir, machine_shard(r), NULL) != VT_OK ||
			heir_copy(prepared->heir, 1 + sim_below(sim, 100), &done, NULL) != VT_OK)
			abort();
		if (sim_below(sim, 2) == 0)
			heir_rest(prepared->heir);
		return true;
	}
	while (k < w->split_child.nreplicas && w->split_child.replicas[k].store != r->store + 1)
		k++;
	if (!w->splitting || w->split_group != r->group || !machine_is_whole(r) || k == w->split_child.nreplicas)
		return false;
	forget_prepared(sim, r->group, r->store);
	prepared->replica = w->split_child.replicas[k].replica;
	prepared->group = sim->opt.groups;
	snprintf(directory, sizeof(directory), "s%u.g%u.r%llu", r->store, prepared->group, LLU(prepared->replica));
	/* One that is behind does not know of the split before, or knows of this one already. */
	if (heir_prepare(machine_shard(r), &w->split_child, directory, &prepared->heir, NULL) != VT_OK)
	{
		prepared->heir = NULL;
		return false;
	}
	COUNT(sim, heirs_prepared);
	return true;
}

/* Begin with what was prepared, or with nothing. */
static void
begin_heir(Sim *sim, Replica *r, const ShardChild *child, const Replica *awaited, Heir **heir)
{
	Prepared   *prepared = machine_prepared(r);
	char		directory[32];

	if (prepared->heir != NULL && prepared->group == awaited->group && prepared->replica == awaited->id)
	{
		if (heir_succeed(prepared->heir, machine_shard(r), child, awaited->id, NULL) != VT_OK)
			abort();
		*heir = prepared->heir;
		prepared->heir = NULL;
		forget_prepared(sim, r->group, r->store);
		COUNT(sim, heirs_succeeded);
		shard_world(sim)->counts.copied_again += heir_left(*heir) != UINT64_MAX ? heir_left(*heir) : 0;
		return;
	}
	forget_prepared(sim, r->group, r->store);
	machine_directory(awaited, directory);
	if (heir_begin(machine_shard(r), child, directory, awaited->id, heir, NULL) != VT_OK)
		abort();
	COUNT(sim, heirs_begun);
}

/* Begin with a child that is owed and not here, or let go of one that is settled. */
static void
look_at_children(Sim *sim, Replica *r)
{
	ShardWorld *w = shard_world(sim);
	Shard	   *shard = machine_shard(r);
	ShardChild	child;

	for (size_t i = 0; shard_child(shard, i, &child); i++)
	{
		uint32_t	g = (uint32_t) (child.desc.shard - 1000);
		Replica    *awaited = awaited_in(sim, g, r->store);
		uint32_t   *heir_group;
		Heir	  **heir = machine_heir(r, &heir_group);

		if (!child.owed)
			continue;
		machine_enter(sim, r);
		if (awaited != NULL && w->maker[g][r->store] == NULL)
		{
			begin_heir(sim, r, &child, awaited, heir);
			*heir_group = g;
			w->maker[g][r->store] = r;
			return;
		}
		if (w->split[g].settled && machine_is_whole(r))
		{
			if (shard_settle(shard, child.desc.shard, NULL) != VT_OK)
				abort();
			return;
		}
	}
}

static uint64_t
rows_on_disk(const Sim *sim, const Replica *r)
{
	char		directory[32];
	char		path[64];
	Buf			rows;
	Cursor		c;
	uint64_t	n = 0;

	machine_directory(r, directory);
	snprintf(path, sizeof(path), "%s/%016llx", directory, LLU(shard_world(sim)->descs[r->group].shard));
	rows = model_store_read(path, bytes_of("v", 1), bytes_of("w", 1));
	c = cursor_of(buf_bytes(&rows));
	while (cursor_left(&c) > 0)
	{
		(void) cursor_string(&c);
		(void) cursor_string(&c);
		n++;
	}
	buf_free(&rows);
	return n;
}

/* A loan ends when the child serves in this store, or when it has lasted long. */
static void
look_at_loan(Sim *sim, const Replica *r)
{
	ShardChild	loan;
	const Group *group;
	bool		serves = false;

	if (!loan_of(machine_shard(r), &loan))
		return;
	group = &sim->groups[loan.desc.shard - 1000];
	for (uint32_t i = 0; i < group->replicas_n; i++)
		serves = serves || (group->replicas[i].store == r->store && machine_is_open(&group->replicas[i]) &&
							machine_is_whole(&group->replicas[i]));
	if (!serves && sim_below(sim, 300) != 0)
		return;
	loan_end(machine_shard(r));
	COUNT(sim, loans_ended);
}

static void
chore(Sim *sim, Replica *r)
{
	uint32_t   *group;
	bool		more;
	uint64_t	before;

	look_at_loan(sim, r);

	if (*machine_heir(r, &group) != NULL)
		go_on_with_heir(sim, r);
	else if (sim_below(sim, 2) == 0)
		look_at_children(sim, r);
	else if (sim_below(sim, 3) != 0 && prepare(sim, r))
		return;
	else if (atomic_load(&machine_shard(r)->strays) || machine_shard(r)->purge.len > 0)
	{
		before = rows_on_disk(sim, r);
		machine_enter(sim, r);
		if (shard_purge(machine_shard(r), 1 + sim_below(sim, 3), &more, NULL) != VT_OK)
			abort();
		COUNT(sim, purges);
		shard_world(sim)->counts.rows_purged += before - rows_on_disk(sim, r);
	}
}

/*
 * PD asks a store for its replica of a child.  It begins with nothing where nobody
 * can make it: the parent's replica is gone, or has come beyond the split and owes
 * nothing.
 */
static void
give_empty(Sim *sim, uint32_t g)
{
	ShardWorld *w = shard_world(sim);
	const Group *group = &sim->groups[g];
	const RaftConf *conf = &group->confs[group->confs_n - 1];
	Replica    *child = NULL;
	const Group *parents = &sim->groups[w->split[g].parent];
	char		directory[32];
	char		path[64];

	for (uint32_t i = 0; i < conf->n; i++)
	{
		Replica    *r = &sim->groups[g].replicas[conf->members[i].id - 1];

		if (r->awaited && sim->stores[r->store].up && (child == NULL || sim_below(sim, 2) == 0))
			child = r;
	}
	if (child == NULL || w->maker[g][child->store] != NULL)
		return;
	for (uint32_t i = 0; i < parents->replicas_n; i++)
	{
		const Replica *r = &parents->replicas[i];
		ShardChild	its;

		/* One that is no member learns nothing more, and is taken away some time. */
		if (!r->exists || r->store != child->store ||
			raft_conf_find(&parents->confs[parents->confs_n - 1], r->id) == NULL)
			continue;
		if (!machine_is_open(r) || r->sm_applied < w->split[g].index || !machine_is_whole(r))
			return;
		for (size_t k = 0; shard_child(machine_shard(r), k, &its); k++)
			if (its.index == w->split[g].index && its.owed)
				return;
	}
	sim_trace(sim, "g%u %llu begins empty in store %u", g, LLU(child->id), child->store);
	/* Rows without a group: what an attempt to make it has left. */
	forget_prepared(sim, w->split[g].parent, child->store);
	machine_directory(child, directory);
	snprintf(path, sizeof(path), "%s/%016llx", directory, LLU(w->descs[g].shard));
	model_store_forget(path);
	COUNT(sim, children_empty);
	sim_make_awaited(sim, child, false);
	sim_settle(sim, child);
}

/* Rows of a child that lie frozen with a replica of its parent: as they were at the split? */
static bool
is_frozen_well(const Sim *sim, const Replica *parent, uint32_t g)
{
	const ShardWorld *w = shard_world(sim);
	const Splitting *split = &w->split[g];
	uint32_t	found = 0;
	uint32_t	wanted = 0;
	char		directory[32];
	char		path[64];
	Buf			rows;
	Cursor		c;

	machine_directory(parent, directory);
	snprintf(path, sizeof(path), "%s/%016llx", directory, LLU(w->descs[parent->group].shard));
	rows = model_store_read(path, bytes_of("v", 1), bytes_of("w", 1));
	c = cursor_of(buf_bytes(&rows));
	while (cursor_left(&c) > 0)
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);
		Bytes		id = bytes_of(key.data + 1, key.len - 1);
		uint64_t	place = wire_place(&w->born[g], id);
		StoreRow	row;

		if (place >= w->born[g].first && place <= w->born[g].last && row_get(value, &row, NULL) == VT_OK)
			found += split->version[shard_tid_of(id)] == row.index ? 1 : 100;
	}
	buf_free(&rows);
	for (int t = 0; t < MAX_TIDS; t++)
		wanted += split->version[t] != 0;
	return found == wanted;
}

/* Has this store what the child begins with, or does it owe it, or will it by its log? */
static bool
keeps(Sim *sim, uint32_t g, const WireReplica *member)
{
	const Group *parents = &sim->groups[shard_world(sim)->split[g].parent];
	const Replica *child = &sim->groups[g].replicas[member->replica - 1];
	bool		kept = !child->awaited && (child->disk.base.index >= sim->groups[g].base || !child->exists);

	for (uint32_t i = 0; i < parents->replicas_n && !sim->failed; i++)
	{
		const Replica *r = &parents->replicas[i];
		ShardChild	its;

		if (!r->exists || r->store + 1 != member->store)
			continue;
		if (!machine_is_open(r) || !machine_is_whole(r) || r->sm_applied < shard_world(sim)->split[g].index)
			kept = true;
		else if (shard_find_child(machine_shard(r), shard_world(sim)->born[g].shard, &its) && its.owed)
		{
			kept = true;
			if (!is_frozen_well(sim, r, g))
				sim_fail(sim, "[D1] group %u replica %llu owes group %u other rows than there were at the split",
						 r->group, LLU(r->id), g);
		}
	}
	return kept;
}

/*
 * D1: what a child begins with is kept by a majority of its members, until it goes on
 * by its own log with other ones.
 */
static void
look_at_kept(Sim *sim, uint32_t g)
{
	const ShardWorld *w = shard_world(sim);
	const WireShardDesc *born = &w->born[g];
	uint32_t	kept = 0;

	if (!w->split[g].committed || sim->groups[g].confs_n > 1)
		return;
	for (uint8_t i = 0; i < born->nreplicas && !sim->failed; i++)
		kept += keeps(sim, g, &born->replicas[i]);
	if (!sim->failed && kept <= born->nreplicas / 2u)
		sim_fail(sim, "[D1] what group %u begins with is kept by %u of %u", g, kept, born->nreplicas);
}

/* In the servers' turn. */
void
split_step(Sim *sim)
{
	ShardWorld *w = shard_world(sim);

	if (w->splits == 0)
		return;
	for (uint32_t k = 0; k < 2 && !sim->failed; k++)
	{
		uint32_t	g = sim_below(sim, sim->opt.groups);
		Replica    *r = chaos_any_replica(sim, &sim->groups[g], false);

		if (r != NULL && machine_is_open(r) && !sim_chance(sim, w->idle))
			chore(sim, r);
		look_for_settled(sim, g);
		look_at_kept(sim, g);
		if (w->split[g].committed && sim_below(sim, 4) == 0)
			give_empty(sim, g);
	}
	if (sim->failed)
		return;
	if (!w->splitting && !sim->calm && sim_chance(sim, w->splits))
		plan_split(sim);
	if (w->splitting && sim_below(sim, 6) == 0)
		ask_for_split(sim);
}

/* In the end: a split that was begun is committed, and who can make a child has done so. */
bool
split_is_idle(const Sim *sim)
{
	const ShardWorld *w = shard_world(sim);

	if (w->splitting)
		return false;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		{
			const Replica *r = &sim->groups[g].replicas[i];

			if (r->awaited && !sim->stores[r->store].frozen &&
				raft_conf_find(&sim->groups[g].confs[sim->groups[g].confs_n - 1], r->id) != NULL)
				return false;
		}
	return true;
}
