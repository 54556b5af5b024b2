/*-------------------------------------------------------------------------
 *
 * shard_net.c
 *	  Requests of servers and the answers of shards, on a bad network.
 *
 * A message may be lost, doubled, or come after everything it was sent for is
 * over; the sender asks again, elsewhere.  Nothing here knows a law, except that
 * the intervals answered for must tile the hash space (D1).
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

/* After so long without an answer it is asked again. */
#define PATIENCE (6 * TICK_TIME)

void
message_free(ShardMessage *m)
{
	buf_free(&m->command);
}

/* -- On the way ---------------------------------------------------------------------- */

static ShardMessage *
copy_of(const ShardMessage *m)
{
	ShardMessage *copy = vt_alloc(sizeof(ShardMessage));

	*copy = *m;
	memset(&copy->command, 0, sizeof(Buf));
	buf_put(&copy->command, m->command.data, m->command.len);
	return copy;
}

static void
send_one(Sim *sim, const ShardMessage *m)
{
	ShardWorld *w = shard_world(sim);
	uint64_t	delay = sim_delay(sim, 40);

	if (sim_chance(sim, w->late))
		delay += sim_below(sim, sim_below(sim, 2) == 0 ? 6 * TICK_TIME : 80 * TICK_TIME);
	sim_schedule(sim, delay, (Event) {.type = EVENT_GUEST, .guest = copy_of(m)});
}

void
net_send(Sim *sim, const ShardMessage *m)
{
	ShardWorld *w = shard_world(sim);

	sim_note(sim, m->request * 3 + m->answer);
	if (sim->trace != NULL)
		sim_trace(sim, "g%u %s %s of server %d to %llu: %s", m->group, m->answer ? "answer to" : "request",
				  (const char *const[]) {"write", "read", "list", "search", "get", "index"}[m->kind], m->server,
				  (unsigned long long) m->replica, vt_status_words(m->status));
	if (sim_chance(sim, w->drop))
		return;
	send_one(sim, m);
	if (sim_chance(sim, w->duplicate))
		send_one(sim, m);
}

void
net_drop(void *guest)
{
	ShardMessage *m = guest;

	if (m == NULL)
		return;
	message_free(m);
	free(m);
}

static bool
is_passing(VtStatus status)
{
	return status == VT_NOT_LEADER || status == VT_BUSY || status == VT_UNAVAILABLE || status == VT_BEHIND ||
		status == VT_NOMEM;
}

static uint64_t
any_replica(Sim *sim, uint32_t group)
{
	Replica    *r = chaos_any_replica(sim, &sim->groups[group], false);

	return r != NULL ? r->id : 1;
}

/* Of a child also where it is to be: its parent may lend it. */
static uint64_t
any_place(Sim *sim, uint32_t group)
{
	const ShardWorld *w = shard_world(sim);

	if (w->split[group].committed && sim_below(sim, 2) == 0)
		return 1 + sim_below(sim, sim->groups[group].replicas_n);
	return any_replica(sim, group);
}

/* Who lends what an absent replica of a child is to have; NULL: nobody in its store. */
static Replica *
lender_of(Sim *sim, const Replica *child)
{
	const ShardWorld *w = shard_world(sim);
	Group	   *parents = &sim->groups[w->split[child->group].parent];

	for (uint32_t i = 0; w->split[child->group].committed && i < parents->replicas_n; i++)
	{
		Replica    *r = &parents->replicas[i];

		if (r->store == child->store && machine_is_open(r) &&
			atomic_load(&machine_shard(r)->lent) == w->descs[child->group].shard)
			return r;
	}
	return NULL;
}

void
net_take_answer(Sim *sim, Asks *asks, const ShardMessage *m)
{
	Ask		   *a = &asks->ask[m->group];

	if (!a->used || a->question.request != m->request)
		return;
	if (a->answered)
	{
		/* The other of two that were asked. */
		shard_world(sim)->counts.hedges_late += m->kind == ASK_SEARCH;
		return;
	}
	if (is_passing(m->status))
	{
		a->asked_at = 0;
		if (m->status != VT_BEHIND)
			shard_world(sim)->leader[m->group] = any_replica(sim, m->group);
		return;
	}
	/* A replica that is left behind knows an older interval: the next one may know more. */
	if (m->status == VT_WRONG_SHARD && shard_world(sim)->splits > 0)
		shard_world(sim)->leader[m->group] = any_replica(sim, m->group);
	a->answered = true;
	a->reply = *m;
	memset(&a->reply.command, 0, sizeof(Buf));
}

/* A message has arrived. */
void
net_step(Sim *sim, void *guest)
{
	ShardWorld *w = shard_world(sim);
	ShardMessage *m = guest;
	Replica    *r = &sim->groups[m->group].replicas[m->replica - 1];
	Server	   *s;

	if (!m->answer)
	{
		if (!machine_is_open(r) && lender_of(sim, r) != NULL)
			r = lender_of(sim, r);
		if (machine_is_open(r) && sim->stores[r->store].paused_until > sim->now)
		{
			sim_schedule(sim, sim->stores[r->store].paused_until - sim->now + sim_below(sim, TICK_TIME),
						 (Event) {.type = EVENT_GUEST, .guest = m});
			return;
		}
		if (machine_is_open(r))
			machine_answer(sim, r, m);
	}
	else if (m->kind == ASK_INDEX)
	{
		r = &sim->groups[m->group].replicas[m->asker - 1];
		if (machine_is_open(r) && sim->stores[r->store].paused_until <= sim->now)
			machine_take_index(sim, r, m);
	}
	else if (m->client != 0)
		session_take(sim, m);
	else if (m->server >= 0 && w->servers[m->server].life == m->life)
	{
		s = &w->servers[m->server];
		for (int b = 0; b < MAX_BACKENDS; b++)
			net_take_answer(sim, &s->backends[b].asks, m);
		net_take_answer(sim, &s->sweep.asks, m);
	}
	net_drop(m);
}

/* -- Routes ----------------------------------------------------------------------------- */

/* The groups that a client with such a route believes there are. */
uint32_t
targets(const Sim *sim, uint32_t collection, int route, uint32_t groups[SIM_MAX_GROUPS])
{
	const Routes *routes = &shard_world(sim)->routes[route];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < routes->n; i++)
		if (routes->rows[i].collection == collection)
			groups[n++] = routes->rows[i].group;
	return n;
}

uint32_t
target_of(const Sim *sim, uint32_t collection, int route, int tid)
{
	const ShardWorld *w = shard_world(sim);
	const Routes *routes = &w->routes[route];
	uint8_t		id[WIRE_TID_SIZE];
	uint64_t	place = wire_place(&w->collections[collection].desc, shard_id_of(tid, id));
	uint32_t	i = 0;

	while (routes->rows[i].collection != collection || place < routes->rows[i].first ||
		   place > routes->rows[i].last)
		i++;
	return routes->rows[i].group;
}

/* The version of a group's interval in a route. */
uint32_t
range_in(const Sim *sim, int route, uint32_t group)
{
	const ShardWorld *w = shard_world(sim);

	for (uint32_t i = 0; i < w->routes[route].n; i++)
		if (w->routes[route].rows[i].group == group)
			return w->routes[route].rows[i].range_ver;
	return w->descs[group].range_ver;
}

/* server -1: whoever owns the group. */
static WireRoute
route_to(const Sim *sim, int server, uint32_t group, int route)
{
	const ShardWorld *w = shard_world(sim);
	const WireShardDesc *desc = &w->descs[group];

	return (WireRoute) {
		.generation = desc->generation,
		.shard = desc->shard,
		.range_ver = range_in(sim, route, group),
		.owner = server >= 0 ? w->servers[server].owner : desc->owner,
		.deadline_ms = 1000,
	};
}

Buf
command_of(const Sim *sim, int server, uint32_t group, int route, WireWriteType type, uint64_t fence,
		   uint64_t fence_to, const ShardRow *rows, size_t n)
{
	WireWrite	write;
	Buf			out = {0};
	Buf			encoded = {0};
	size_t		begin;

	memset(&write, 0, sizeof(write));
	write.type = type;
	write.route = route_to(sim, server, group, route);
	write.fence = fence;
	write.fence_to = fence_to;
	begin = wire_write_begin(&out, &write);
	for (size_t i = 0; i < n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		float		x = (float) rows[i].row;
		uint32_t	bits;
		uint8_t		vector[4];
		WireRecord	record = {.version = rows[i].version};
		WireAttributes attributes = shard_attributes_of(rows[i].row);

		memcpy(&bits, &x, sizeof(bits));
		put_le32(vector, bits);
		record.id = shard_id_of(rows[i].tid, id);
		record.dim = 1;
		record.vector = vector;
		buf_clear(&encoded);
		wire_attributes_put(&encoded, &attributes);
		record.attributes = buf_bytes(&encoded);
		wire_record_put(&out, type, &record);
	}
	buf_free(&encoded);
	wire_write_end(&out, begin, (uint32_t) n);
	return out;
}

/* -- Asking -------------------------------------------------------------------------------- */

void
asks_clear(Asks *asks)
{
	for (int g = 0; g < SIM_MAX_GROUPS; g++)
		message_free(&asks->ask[g].question);
	memset(asks, 0, sizeof(*asks));
}

void
ask_send(Sim *sim, Ask *a)
{
	ShardWorld *w = shard_world(sim);
	ShardMessage *q = &a->question;

	if (w->leader[q->group] == 0)
		w->leader[q->group] = 1;
	/* Whoever does not answer may be gone. */
	if (a->times > 0 && a->asked_at != 0)
		w->leader[q->group] = any_replica(sim, q->group);
	q->replica = q->kind == ASK_SEARCH ? any_place(sim, q->group) :
		q->anywhere ? any_replica(sim, q->group) : w->leader[q->group];
	/* Half of the linearizable reads, too, go to somebody who has to ask. */
	if (q->kind == ASK_GET && (q->consistency == WIRE_EVENTUAL || sim_below(sim, 2) == 0))
		q->replica = any_replica(sim, q->group);
	a->times++;
	a->asked_at = sim->now;
	net_send(sim, q);
}

Ask *
ask_prepare(Sim *sim, int server, Asks *asks, uint32_t group, AskKind kind, int route, uint64_t mark)
{
	ShardWorld *w = shard_world(sim);
	Ask		   *a = &asks->ask[group];

	message_free(&a->question);
	memset(a, 0, sizeof(*a));
	a->used = true;
	a->question.kind = kind;
	a->question.request = ++w->next_request;
	a->question.server = server;
	a->question.life = server >= 0 ? w->servers[server].life : 0;
	a->question.group = group;
	a->question.route = route_to(sim, server, group, route);
	a->question.mark = mark;
	a->question.anywhere = kind == ASK_LIST && vt_broken("W5-leader");
	return a;
}

void
ask(Sim *sim, int server, Asks *asks, uint32_t group, AskKind kind, int route, uint64_t mark, Buf *command)
{
	Ask		   *a = ask_prepare(sim, server, asks, group, kind, route, mark);

	if (command != NULL)
		a->question.command = *command;
	ask_send(sim, a);
}

/*
 * The next batch of a shard: of any replica that has applied the scan's mark,
 * whoever gave the last.  Now and then two are asked, and the first answer counts.
 */
void
ask_search(Sim *sim, int server, Backend *b, uint32_t group)
{
	ShardWorld *w = shard_world(sim);
	uint64_t	served = b->asks.ask[group].reply.replica;
	/* R3: of every batch. */
	uint64_t	mark = b->found_n[group] > 0 && vt_broken("R3-batch") ? 0 : b->scan_marks[group];
	Ask		   *a = ask_prepare(sim, server, &b->asks, group, ASK_SEARCH, b->route, mark);

	a->served = served;
	a->question.k = b->scan_k;
	for (size_t i = 0; i < b->found_n[group]; i++)
		a->question.excluded |= 1u << b->found[group][i].tid;
	ask_send(sim, a);
	if (w->paged && sim_below(sim, 4) == 0)
	{
		w->counts.hedged++;
		a->question.replica = any_replica(sim, group);
		net_send(sim, &a->question);
	}
}

/* Is an answer missing?  Ask again in time, and give up after so many times. */
bool
asks_pending(Sim *sim, Asks *asks, uint32_t limit, bool *gave_up)
{
	bool		pending = false;

	*gave_up = false;
	for (int g = 0; g < SIM_MAX_GROUPS; g++)
	{
		Ask		   *a = &asks->ask[g];

		if (!a->used || a->answered)
			continue;
		pending = true;
		if (sim->now - a->asked_at < PATIENCE)
			continue;
		if (a->times >= limit && !sim->calm)
			*gave_up = true;
		else
			ask_send(sim, a);
	}
	return pending;
}

/* Do the answers cover every hash, and each once? */
bool
asks_tile(Sim *sim, const Asks *asks)
{
	uint64_t	next = 0;
	bool		found = true;

	if (vt_broken("D1-tiles"))
		return true;
	while (found)
	{
		found = false;
		for (int g = 0; g < SIM_MAX_GROUPS && !found; g++)
			if (asks->ask[g].used && asks->ask[g].reply.first == next)
			{
				if (asks->ask[g].reply.last == UINT64_MAX)
					return true;
				next = asks->ask[g].reply.last + 1;
				found = true;
			}
	}
	COUNT(sim, not_tiled);
	return false;
}
