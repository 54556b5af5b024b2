/*-------------------------------------------------------------------------
 *
 * shard_world.c
 *	  A world with shards and servers in it: how it begins, what is drawn for it,
 *	  and what the simulator's core is told (SimGuest).
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include "base/hash.h"

#define LLU(x) ((unsigned long long) (x))

Bytes
shard_id_of(int tid, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, (uint32_t) tid, 1);
	return bytes_of(out, WIRE_TID_SIZE);
}

int
shard_tid_of(Bytes id)
{
	uint32_t	block = 0;
	uint16_t	offset = 0;

	if (!wire_tid_get(id, &block, &offset) || block >= MAX_TIDS)
		abort();
	return (int) block;
}

int
shard_row_of(const uint8_t *vector)
{
	uint32_t	bits = get_le32(vector);
	float		x;

	memcpy(&x, &bits, sizeof(x));
	return (int) x;
}

/* Every third one's first is NULL. */
WireAttributes
shard_attributes_of(int row)
{
	WireAttributes attributes = {.n = 2, .nulls = row % 3 == 0, .value = {row % 3 == 0 ? 0 : row, -row}};

	return attributes;
}

static void
describe(Sim *sim, uint32_t c, uint32_t first_group, uint32_t groups, uint8_t incarnation)
{
	ShardWorld *w = shard_world(sim);
	Collection *collection = &w->collections[c];
	WireShardDesc *desc = &collection->desc;

	collection->first_group = first_group;
	collection->groups = groups;
	memset(desc, 0, sizeof(*desc));
	memset(desc->generation.b, (int) (7 + c), 16);
	desc->owner.system = 42;
	memset(desc->owner.incarnation.b, 1 + incarnation, 16);
	desc->owner.database = 5;
	desc->incarnation = 1;
	desc->conf_ver = 1;
	/* There was one shard at first, and one division. */
	desc->range_ver = groups > 1 ? 2 : 1;
	desc->hash_kind = HASH_XXH3_64;
	desc->hash_seed = sim->world.seed;
	desc->dim = 1;
	desc->metric = VEC_L2;
	desc->element = VEC_FLOAT32;
	desc->m = 16;
	desc->ef_construction = 200;
	desc->nattributes = 2;
	desc->attributes[0] = WIRE_ATTR_ORDERED;
	desc->attributes[1] = WIRE_ATTR_HASHED;
	desc->nreplicas = 1;
	desc->replicas[0] = (WireReplica) {.store = 1, .replica = 1, .role = 1};
	for (uint32_t i = 0; i < groups; i++)
	{
		WireShardDesc *d = &w->descs[first_group + i];
		uint64_t	width = UINT64_MAX / groups;

		*d = *desc;
		d->shard = 1000 + first_group + i;
		d->first = i * width + (i > 0);
		d->last = i + 1 == groups ? UINT64_MAX : (i + 1) * width;
	}
}

static void
shard_start(Sim *sim)
{
	static const uint32_t rates[] = {0, 5, 20, 60};
	static const uint32_t late[] = {0, 50, 200, 400};
	static const uint32_t every[] = {60, 150, 400};
	static const uint32_t evict[] = {0, 10, 30, 80};
	static const uint32_t rare[] = {0, 0, 4, 16};
	ShardWorld *w = vt_alloc0(sizeof(ShardWorld));
	uint32_t	first = sim->opt.groups > 1 ? 1 + sim_below(sim, sim->opt.groups - 1) : 1;

	model_store_reset();
	sim->guest_state = w;
	w->routes_n = 3;
	w->may_promote = sim_below(sim, 3) == 0;
	w->collections_n = sim->opt.groups > 1 ? 2 : 1;
	describe(sim, 0, 0, first, 0);
	if (w->collections_n > 1)
		describe(sim, 1, first, sim->opt.groups - first, w->may_promote);
	w->harsh = sim_below(sim, 4) == 0;
	w->tids = 2 + sim_below(sim, MAX_TIDS - 1);
	w->backends = 1 + sim_below(sim, MAX_BACKENDS);
	w->late = late[sim_below(sim, 4)];
	w->drop = rates[sim_below(sim, 4)];
	w->duplicate = rates[sim_below(sim, 4)] * 3;
	w->step_every = every[sim_below(sim, 3)];
	w->crash = rare[sim_below(sim, 4)];
	w->stale = rare[sim_below(sim, 4)];
	w->flush = rates[sim_below(sim, 4)];
	w->scans = 2 + 2 * sim_below(sim, 4);
	w->sync = sim_below(sim, 2) == 0 ? 500 : 50;
	w->evict = evict[sim_below(sim, 4)];
	w->promote = w->may_promote ? 2 : 0;
	w->abort = rates[sim_below(sim, 4)];
	/*
	 * Not from the world's own numbers, and by an offset that leaves out the rarest seeds
	 * of shard_zoo.c: those worlds stay what they were.
	 */
	w->paged = prng_mix(sim->world.seed + 43737) & 1;
	w->framed = prng_mix(sim->world.seed + 43739) & 1;
	for (int t = 0; t < MAX_TIDS; t++)
		w->standby.tuple[t] = NO_ROW;
	w->standby.meta = sim_below(sim, 2) == 0 ? META_EMPTY : META_LIVE;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		ShardTruth *truth = &w->truth[g];

		truth->front = sim->groups[g].base;
		for (int t = 0; t < MAX_TIDS; t++)
			truth->row[t] = NO_ROW;
	}
	split_start(sim);
	w->back = w->splits > 0 && (prng_mix(sim->world.seed + 43741) & 3) == 0;
	w->servers[0].exists = true;
	w->servers[0].owner = w->collections[0].desc.owner;
	w->servers[0].now = w->servers[0].disk = w->standby;
	for (int i = 0; i < MAX_SERVERS; i++)
	{
		for (int b = 0; b < MAX_BACKENDS; b++)
		{
			backend_reset(&w->servers[i].backends[b]);
			w->servers[i].backends[b].route = (int) sim_below(sim, 3);
		}
		sweep_reset(&w->servers[i]);
	}
	if (sim->world.sessions)
		session_start(sim);
	sim_schedule(sim, w->step_every, (Event) {.type = EVENT_GUEST});
}

ShardCounts shard_total;

static void
shard_end(Sim *sim)
{
	ShardWorld *w = shard_world(sim);

	if (w == NULL)
		return;
#define X(name) shard_total.name += w->counts.name;
	SHARD_COUNTS(X)
	SPLIT_COUNTS(X)
	SESSION_COUNTS(X)
	X(histories_unknown)
#undef X
	session_end(sim);
	for (int s = 0; s < MAX_SERVERS; s++)
	{
		for (int b = 0; b < MAX_BACKENDS; b++)
			asks_clear(&w->servers[s].backends[b].asks);
		asks_clear(&w->servers[s].sweep.asks);
	}
	while (w->snapshots != NULL)
	{
		ShardSnapshot *s = w->snapshots;

		w->snapshots = s->next;
		buf_free(&s->rows);
		free(s);
	}
	truth_free(w);
	model_store_reset();
	free(w);
	sim->guest_state = NULL;
}

uint32_t
shard_print_counts(uint64_t runs, const SimWorld *world)
{
	uint32_t	idle = 0;
	bool		servers = !world->sessions;

#define PRINT(name) printf("%-20s %llu\n", #name, LLU(shard_total.name));
#define CHECK(name) if (runs >= 500 && shard_total.name == 0) { printf("never exercised: %s\n", #name); idle++; }
	if (servers)
	{
		SHARD_COUNTS(PRINT)
		SHARD_COUNTS(CHECK)
	}
	if (servers && world->splits)
	{
		SPLIT_COUNTS(PRINT)
		SPLIT_COUNTS(CHECK)
	}
	if (world->sessions)
	{
		SESSION_COUNTS(PRINT)
		PRINT(histories_unknown)
		PRINT(splits_done)
		PRINT(replays_over_holes)
		SESSION_COUNTS(CHECK)
		CHECK(splits_done)
		CHECK(heirs_done)
		CHECK(replays_over_holes)
		CHECK(snapshots_kept)
	}
#undef PRINT
#undef CHECK
	return idle;
}

/* An event is a message that arrives, or, without one, the servers' turn. */
static void
shard_step(Sim *sim, const Event *event)
{
	if (event->guest != NULL)
		net_step(sim, event->guest);
	else
	{
		gateway_step(sim);
		split_step(sim);
		session_step(sim);
		sim_schedule(sim, 1 + sim_below(sim, 2 * shard_world(sim)->step_every),
					 (Event) {.type = EVENT_GUEST});
	}
	if (!sim->failed)
		truth_look(sim);
}

static bool
shard_looks_well(Sim *sim, const char **words)
{
	*words = "a server does not come to rest, or cannot scan";
	if (!gateway_is_idle(sim))
		return false;
	*words = "a split is not brought to its end";
	if (!split_is_idle(sim))
		return false;
	*words = "a client does not come to rest";
	return session_is_idle(sim);
}

const SimGuest shard_guest = {
	.start = shard_start,
	.end = shard_end,
	.step = shard_step,
	.drop = net_drop,
	.looks_well = shard_looks_well,
	.may_change = split_may_change,
	.open = machine_open,
	.close = machine_close,
	.destroy = machine_destroy,
	.crash = machine_crash,
	.apply = machine_apply,
	.read = machine_read,
	.checkpoint = machine_checkpoint,
	.snapshot = machine_snapshot,
	.install = machine_install,
};
