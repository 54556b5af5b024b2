/*-------------------------------------------------------------------------
 *
 * shard_session.c
 *	  Clients of collections: sessions, commands done once, reads.
 *
 * In these worlds there is no PostgreSQL.  Each client has a session in every shard
 * it writes to, opened through that shard's log, and two hands that put, delete and
 * read at the same time.  A command that is not answered is sent again, under the
 * same number, to whoever owns its records by then: after a split its parts go
 * different ways.  The network doubles, delays and loses; clients give up, and die.
 *
 * What must be true (E1):
 *
 *	- a put is done at one place of one log, whatever is sent again;
 *	- a shard that says it was done before says where, and there it was;
 *	- what clients saw is linearizable, register by register (test/lin): of their
 *	  writes, and of reads at the leader and at others that asked it (ReadIndex).
 *	  A read that asks nobody finds what was there once.
 *
 * The values of puts are never used twice, so a put that is done again later, over
 * somebody else's, shows.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include "../lin/lin.h"

#define LLU(x) ((unsigned long long) (x))

#define CLIENTS 3
#define HANDS 2
#define HAND_RECORDS 3
#define MAX_OPS 600
#define GIVE_UP 12				/* questions asked so often */
#define LIN_BUDGET 2000000

typedef struct HandRecord
{
	int			tid;
	uint32_t	value;			/* 0: a deletion */
	bool		done;
	bool		sent;			/* in the question under way, to group */
	uint32_t	group;
	uint32_t	home;			/* the group whose session it is numbered in */
	uint64_t	session;		/* 0: it has no number yet */
	uint64_t	sequence;
	size_t		op;				/* in the history */
} HandRecord;

typedef struct Hand
{
	bool		busy;
	bool		read;
	WireConsistency consistency;
	uint32_t	collection;
	bool		remove;
	HandRecord	records[HAND_RECORDS];
	uint32_t	n;
	Asks		asks;
} Hand;

typedef struct ClientSession
{
	uint64_t	id;				/* 0: none is open */
	uint64_t	next;
} ClientSession;

typedef struct SessionClient
{
	int			route;
	uint64_t	life;
	ClientSession sessions[SIM_MAX_GROUPS];
	Hand		hands[HANDS];
	uint32_t	calm_reads;
} SessionClient;

/* Where a put was done. */
typedef struct Deed
{
	uint32_t	group;
	uint64_t	index;
} Deed;

struct SessionWorld
{
	SessionClient clients[CLIENTS];
	LinOp		ops[MAX_OPS];
	size_t		n;
	uint32_t	values;
	Deed		deeds[MAX_OPS + 1]; /* by value */
	uint64_t	ttl;			/* in log time */
	bool		checked;
};

static SessionWorld *
state_of(const Sim *sim)
{
	return shard_world(sim)->sessions;
}

void
session_start(Sim *sim)
{
	static const uint64_t ttls[] = {500, 4000, UINT64_MAX};
	SessionWorld *s = vt_alloc0(sizeof(SessionWorld));

	shard_world(sim)->sessions = s;
	shard_world(sim)->servers[0].exists = false;
	s->ttl = ttls[sim_below(sim, 3)];
	for (int c = 0; c < CLIENTS; c++)
		s->clients[c].route = (int) sim_below(sim, 3);
}

void
session_end(Sim *sim)
{
	SessionWorld *s = state_of(sim);

	for (int c = 0; s != NULL && c < CLIENTS; c++)
		for (int h = 0; h < HANDS; h++)
			asks_clear(&s->clients[c].hands[h].asks);
	free(s);
}

/* -- What must be true ---------------------------------------------------------------- */

/* A replica has decided to do this, or that it was done. */
void
session_decided(Sim *sim, const Replica *r, const WireWrite *write, uint64_t index, const WireWriteResult *result)
{
	SessionWorld *s = state_of(sim);
	WireRecord	record;
	size_t		at = 0;

	if (s == NULL || write->type != WRITE_PUT)
		return;
	while (wire_record_next(write, &at, &record) && !sim->failed)
	{
		Deed	   *deed = &s->deeds[shard_row_of(record.vector)];

		if (result->repeated && deed->index != result->index)
			sim_fail(sim, "[E1] group %u replica %llu says that value %d was put at %llu; it was at %llu", r->group,
					 LLU(r->id), shard_row_of(record.vector), LLU(result->index), LLU(deed->index));
		else if (result->repeated || (deed->index == index && deed->group == r->group))
			continue;
		else if (deed->index != 0)
			sim_fail(sim, "[E1] group %u replica %llu puts value %d at %llu; it was put at %llu of group %u", r->group,
					 LLU(r->id), shard_row_of(record.vector), LLU(index), LLU(deed->index), deed->group);
		else
			*deed = (Deed) {.group = r->group, .index = index};
	}
}

static void
check_history(Sim *sim)
{
	SessionWorld *s = state_of(sim);
	uint32_t	key = 0;

	s->checked = true;
	switch (lin_check(s->ops, s->n, LIN_BUDGET, &key))
	{
		case LIN_GOOD:
			COUNT(sim, histories);
			break;
		case LIN_BAD:
			sim_fail(sim, "[E1] what clients saw of collection %u, TID %u is not linearizable", key / MAX_TIDS,
					 key % MAX_TIDS);
			for (size_t i = 0; sim->trace != NULL && i < s->n; i++)
				if (s->ops[i].key == key)
					sim_trace(sim, "history: %llu %lld %s %llu", LLU(s->ops[i].start),
							  s->ops[i].end == LIN_NEVER ? -1LL : (long long) s->ops[i].end,
							  s->ops[i].kind == LIN_READ ? "read" : "write", LLU(s->ops[i].value));
			break;
		case LIN_UNKNOWN:
			COUNT(sim, histories_unknown);
			break;
	}
}

/* -- Clients --------------------------------------------------------------------------- */

/* The session of a shard that was split off another is the parent's, as it was then. */
static ClientSession *
session_of(const Sim *sim, SessionClient *client, uint32_t group)
{
	const ShardWorld *w = shard_world(sim);
	ClientSession *own = &client->sessions[group];

	if (own->id == 0 && w->split[group].committed)
	{
		const ClientSession *parents = session_of(sim, client, w->split[group].parent);

		if (parents->id != 0 && parents->id <= w->split[group].index)
			*own = *parents;
	}
	return own;
}

/* Does a group know this session of another's?  It was split off that one later. */
static bool
is_heir(const Sim *sim, uint32_t group, uint32_t home, uint64_t session)
{
	const ShardWorld *w = shard_world(sim);

	while (group != home && w->split[group].committed && session <= w->split[group].index)
		group = w->split[group].parent;
	return group == home || vt_broken("E1-heir");
}

/* The lowest of a session's numbers that may be asked again. */
static uint64_t
settled_of(const SessionClient *client, uint64_t session, uint64_t next)
{
	uint64_t	lowest = next;

	for (int h = 0; h < HANDS; h++)
		for (uint32_t i = 0; client->hands[h].busy && i < client->hands[h].n; i++)
		{
			const HandRecord *r = &client->hands[h].records[i];

			if (!r->done && r->session == session && r->sequence != 0 && r->sequence < lowest)
				lowest = r->sequence;
		}
	return lowest;
}

static Buf
encode(const WireWrite *write, const HandRecord *records, uint32_t n, uint32_t group)
{
	Buf			out = {0};
	Buf			encoded = {0};
	size_t		begin = wire_write_begin(&out, write);
	uint32_t	k = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[4];
		float		x = (float) records[i].value;
		uint32_t	bits;
		WireRecord	record = {.dim = 1, .vector = vector};
		WireAttributes attributes = shard_attributes_of(records[i].value);

		if (!records[i].sent || records[i].group != group)
			continue;
		memcpy(&bits, &x, sizeof(bits));
		put_le32(vector, bits);
		record.id = shard_id_of(records[i].tid, id);
		buf_clear(&encoded);
		wire_attributes_put(&encoded, &attributes);
		record.attributes = buf_bytes(&encoded);
		wire_record_put(&out, write->type, &record);
		k++;
	}
	wire_write_end(&out, begin, k);
	buf_free(&encoded);
	return out;
}

static void
send_open(Sim *sim, Hand *hand, uint32_t group, int route, uint64_t who)
{
	WireWrite	write = {.type = WRITE_OPEN};
	Ask		   *a = ask_prepare(sim, -1, &hand->asks, group, ASK_WRITE, route, 0);

	write.route = a->question.route;
	a->question.client = who;
	a->question.opens = true;
	wire_write_end(&a->question.command, wire_write_begin(&a->question.command, &write), 0);
	ask_send(sim, a);
}

/* What is not done to the shards that own it, or a question for a session first. */
static void
send_round_of(Sim *sim, SessionClient *client, Hand *hand, uint64_t who)
{
	bool		used[SIM_MAX_GROUPS] = {false};

	asks_clear(&hand->asks);
	for (uint32_t i = 0; i < hand->n; i++)
	{
		HandRecord *r = &hand->records[i];

		r->sent = false;
		r->group = target_of(sim, hand->collection, client->route, r->tid);
		/*
		 * Numbered in a session of a shard that had let go of it before: so it was done
		 * nowhere, and that number means something else here.
		 */
		if ((r->session != 0 && !is_heir(sim, r->group, r->home, r->session)) || vt_broken("E1-number"))
			r->session = r->sequence = 0;
	}
	for (uint32_t i = 0; i < hand->n; i++)
	{
		HandRecord *r = &hand->records[i];
		uint32_t	group = r->group;
		ClientSession *session = session_of(sim, client, group);
		WireWrite	write = {.type = hand->remove ? WRITE_DELETE : WRITE_PUT};
		Ask		   *a;

		if (r->done || used[group])
			continue;
		used[group] = true;
		if (r->session == 0 && session->id == 0)
		{
			send_open(sim, hand, group, client->route, who);
			continue;
		}
		if (r->session == 0)
		{
			r->home = group;
			r->session = session->id;
			r->sequence = session->next++;
		}
		/* All that one shard gets has one number: it had one owner then, and has now. */
		for (uint32_t k = i; k < hand->n; k++)
		{
			HandRecord *other = &hand->records[k];

			if (other->done || other->group != group || (other->session != 0 && other->sequence != r->sequence))
				continue;
			other->home = r->home;
			other->session = r->session;
			other->sequence = r->sequence;
			other->sent = true;
		}
		a = ask_prepare(sim, -1, &hand->asks, group, ASK_WRITE, client->route, 0);
		write.route = a->question.route;
		write.session = r->session;
		write.sequence = r->sequence;
		write.settled = settled_of(client, r->session, r->sequence);
		a->question.client = who;
		for (uint32_t k = i; sim->trace != NULL && k < hand->n; k++)
			if (hand->records[k].sent && hand->records[k].group == group)
				sim_trace(sim, "g%u hand %llu: value %u at TID %d is command %llu of session %llu, settled before %llu", group,
						  LLU(who), hand->records[k].value, hand->records[k].tid, LLU(r->sequence), LLU(r->session),
						  LLU(write.settled));
		a->question.command = encode(&write, hand->records, hand->n, group);
		ask_send(sim, a);
	}
}

/* What became of it nobody knows. */
static void
abandon(Sim *sim, Hand *hand)
{
	(void) sim;
	asks_clear(&hand->asks);
	hand->busy = false;
}

static void
record_done(Sim *sim, HandRecord *r)
{
	SessionWorld *s = state_of(sim);

	if (r->done)
		return;
	r->done = true;
	s->ops[r->op].end = sim->now;
	COUNT(sim, session_writes);
	/* The other half of "once". */
	if (r->value != 0 && s->deeds[r->value].index == 0)
		sim_fail(sim, "[E1] value %u was acknowledged and not put", r->value);
}

/* One shard's answer to a part of a command; false: the hand gives up. */
static bool
take_write(Sim *sim, SessionClient *client, Hand *hand, uint32_t group, const ShardMessage *reply, bool opens)
{
	const ShardWorld *w = shard_world(sim);
	uint64_t	session = 0;
	uint64_t	sequence = 0;

	for (uint32_t i = 0; i < hand->n; i++)
		if (hand->records[i].sent && hand->records[i].group == group)
		{
			session = hand->records[i].session;
			sequence = hand->records[i].sequence;
		}
	if (reply->status == VT_WRONG_SHARD)
		learn_route(sim, &client->route);
	else if (reply->status == VT_SESSION_OVER)
	{
		COUNT(sim, sessions_lost);
		for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
			if (client->sessions[g].id == session)
				client->sessions[g].id = 0;
		return false;
	}
	else if (reply->status == VT_INVALID)
		sim_fail(sim, "[E1] group %u finds command %llu of session %llu too far ahead", group, LLU(sequence),
				 LLU(session));
	if (reply->status != VT_OK)
		return true;
	if (opens)
	{
		COUNT(sim, sessions_opened);
		if (client->sessions[group].id == 0)
			client->sessions[group] = (ClientSession) {.id = reply->index, .next = 1};
		return true;
	}
	/* What was done before a split was done for both parts. */
	for (uint32_t i = 0; i < hand->n; i++)
	{
		HandRecord *r = &hand->records[i];
		uint8_t		id[WIRE_TID_SIZE];
		uint64_t	place = wire_place(&w->collections[hand->collection].desc, shard_id_of(r->tid, id));

		if ((r->sent && r->group == group) ||
			(reply->repeated && r->session == session && r->sequence == sequence && place >= reply->first &&
			 place <= reply->last))
			record_done(sim, r);
	}
	return true;
}

static void
take_read(Sim *sim, SessionClient *client, Hand *hand)
{
	SessionWorld *s = state_of(sim);
	HandRecord *r = &hand->records[0];
	const Ask  *a = &hand->asks.ask[r->group];
	LinOp	   *op = &s->ops[r->op];

	if (a->reply.status == VT_WRONG_SHARD)
		learn_route(sim, &client->route);
	if (a->reply.status != VT_OK)
		return;
	r->done = true;
	op->value = a->reply.n > 0 ? (uint64_t) a->reply.rows[0].row : 0;
	if (op->value > s->values)
		sim_fail(sim, "[E1] a read finds value %llu, which nobody has put", LLU(op->value));
	if (hand->consistency == WIRE_EVENTUAL)
		COUNT(sim, eventual_reads);
	else
	{
		op->end = sim->now;
		COUNT(sim, linearizable_reads);
	}
}

static void
ask_read(Sim *sim, SessionClient *client, Hand *hand, uint64_t who)
{
	HandRecord *r = &hand->records[0];
	Ask		   *a;

	asks_clear(&hand->asks);
	r->group = target_of(sim, hand->collection, client->route, r->tid);
	a = ask_prepare(sim, -1, &hand->asks, r->group, ASK_GET, client->route, 0);
	a->question.client = who;
	a->question.consistency = hand->consistency;
	a->question.tid = r->tid;
	ask_send(sim, a);
}

static void
begin_hand(Sim *sim, SessionClient *client, Hand *hand, uint64_t who)
{
	SessionWorld *s = state_of(sim);
	ShardWorld *w = shard_world(sim);
	uint32_t	first = sim_below(sim, w->tids);
	uint32_t	n = 1 + sim_below(sim, HAND_RECORDS);

	memset(hand, 0, sizeof(*hand));
	hand->collection = w->collections_n > 1 ? sim_below(sim, 2) : 0;
	hand->read = sim->calm || sim_below(sim, 5) < 2;
	hand->remove = !hand->read && sim_below(sim, 4) == 0;
	hand->consistency = !sim->calm && sim_below(sim, 4) == 0 ? WIRE_EVENTUAL : WIRE_LINEARIZABLE;
	if (hand->read)
		n = 1;
	if (n > w->tids)
		n = w->tids;
	if (s->n + n > MAX_OPS - (sim->calm ? 0 : 40))
		return;
	hand->busy = true;
	for (uint32_t i = 0; i < n; i++)
	{
		HandRecord *r = &hand->records[hand->n++];

		r->tid = (int) ((first + i) % w->tids);
		r->value = hand->read || hand->remove ? 0 : ++s->values;
		r->op = s->n++;
		s->ops[r->op] = (LinOp) {
			.key = hand->collection * MAX_TIDS + (uint32_t) r->tid, .kind = hand->read ? LIN_READ : LIN_WRITE,
			.start = sim->now, .end = LIN_NEVER, .value = r->value
		};
	}
	if (hand->read)
		ask_read(sim, client, hand, who);
	else
		send_round_of(sim, client, hand, who);
}

static void
hand_step(Sim *sim, SessionClient *client, Hand *hand, uint64_t who)
{
	bool		gave_up;
	bool		done = true;

	if (asks_pending(sim, &hand->asks, GIVE_UP, &gave_up))
	{
		if (gave_up)
		{
			COUNT(sim, session_timeouts);
			abandon(sim, hand);
		}
		return;
	}
	if (hand->read)
		take_read(sim, client, hand);
	for (uint32_t g = 0; g < SIM_MAX_GROUPS && !hand->read; g++)
		if (hand->asks.ask[g].used &&
			!take_write(sim, client, hand, g, &hand->asks.ask[g].reply, hand->asks.ask[g].question.opens))
		{
			abandon(sim, hand);
			return;
		}
	for (uint32_t i = 0; i < hand->n; i++)
		done &= hand->records[i].done;
	if (done)
	{
		client->calm_reads += sim->calm;
		abandon(sim, hand);
	}
	else if (hand->read)
		ask_read(sim, client, hand, who);
	else
		send_round_of(sim, client, hand, who);
}

/* A leader's log time goes on, and what was not used for long ends. */
static void
pass_time(Sim *sim)
{
	SessionWorld *s = state_of(sim);
	const ShardWorld *w = shard_world(sim);
	uint32_t	group = sim_below(sim, sim->opt.groups);
	Replica    *r = chaos_any_replica(sim, &sim->groups[group], true);
	WireWrite	write = {.type = WRITE_EXPIRE};
	Buf			command = {0};

	if (sim->calm || r == NULL || !machine_is_open(r))
		return;
	write.route = (WireRoute) {.generation = w->descs[group].generation, .shard = w->descs[group].shard,
		.range_ver = w->descs[group].range_ver, .owner = w->descs[group].owner
	};
	write.sequence = sessions_clock(machine_shard(r)->sessions) + 1 + sim_below(sim, 200);
	write.settled = write.sequence > s->ttl ? write.sequence - s->ttl : 0;
	wire_write_end(&command, wire_write_begin(&command, &write), 0);
	machine_propose(sim, r, buf_bytes(&command));
	buf_free(&command);
}

void
session_step(Sim *sim)
{
	SessionWorld *s = state_of(sim);
	uint32_t	c;
	uint32_t	h;
	SessionClient *client;

	if (s == NULL)
		return;
	c = sim_below(sim, CLIENTS);
	h = sim_below(sim, HANDS);
	client = &s->clients[c];
	if (sim_below(sim, 30) == 0)
		pass_time(sim);
	if (!sim->calm && sim_below(sim, 400) == 0)
	{
		/* It dies, and another one comes. */
		for (int k = 0; k < HANDS; k++)
			abandon(sim, &client->hands[k]);
		memset(client->sessions, 0, sizeof(client->sessions));
		COUNT(sim, clients_died);
	}
	else if (client->hands[h].busy)
		hand_step(sim, client, &client->hands[h], 1 + c * HANDS + h);
	else if (!sim->calm || client->calm_reads < 4)
		begin_hand(sim, client, &client->hands[h], 1 + c * HANDS + h);
}

void
session_take(Sim *sim, const ShardMessage *m)
{
	SessionWorld *s = state_of(sim);
	uint64_t	who = m->client - 1;

	net_take_answer(sim, &s->clients[who / HANDS].hands[who % HANDS].asks, m);
}

bool
session_is_idle(Sim *sim)
{
	SessionWorld *s = state_of(sim);

	if (s == NULL)
		return true;
	for (int c = 0; c < CLIENTS; c++)
	{
		if (s->clients[c].calm_reads < 4 && s->n < MAX_OPS)
			return false;
		for (int h = 0; h < HANDS; h++)
			if (s->clients[c].hands[h].busy)
				return false;
	}
	if (!s->checked)
		check_history(sim);
	return !sim->failed;
}
