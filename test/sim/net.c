/*-------------------------------------------------------------------------
 *
 * net.c
 *	  Messages: as text, and on a wire that loses, doubles and delays them.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#include "base/hash.h"

#define LLU(x) ((unsigned long long) (x))

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

void
sim_format_message(const RaftMessage *m, char *out, size_t size)
{
	int			n = snprintf(out, size, "%llu>%llu %s term=%llu", LLU(m->from), LLU(m->to),
							 raft_message_name(m->type), LLU(m->term));

#define ADD(...) n += snprintf(out + n, size - (size_t) n, __VA_ARGS__)
	switch (m->type)
	{
		case RAFT_APP:
			ADD(" after=%llu/%llu commit=%llu", LLU(m->index), LLU(m->log_term), LLU(m->commit));
			for (uint32_t i = 0; i < m->n && (size_t) n + 60 < size; i++)
			{
				if (i == 3 && m->n > 4)
				{
					ADD(" ..%llu", LLU(m->entries[m->n - 1].index));
					break;
				}
				ADD(" %llu/%llu%s", LLU(m->entries[i].index), LLU(m->entries[i].term),
					m->entries[i].type == RAFT_NOOP ? "noop" :
					m->entries[i].type == RAFT_CONF ? "conf" : "");
			}
			break;
		case RAFT_APP_RESP:
			if ((m->flags & RAFT_FLAG_REJECT) != 0)
				ADD(" reject=%llu hint=%llu/%llu", LLU(m->index), LLU(m->hint), LLU(m->log_term));
			else
				ADD(" index=%llu", LLU(m->index));
			break;
		case RAFT_HEARTBEAT:
			ADD(" commit=%llu read=%llu%s", LLU(m->commit), LLU(m->read_seq),
				(m->flags & RAFT_FLAG_QUIET) != 0 ? " quiet" : "");
			break;
		case RAFT_HEARTBEAT_RESP:
			ADD(" read=%llu", LLU(m->read_seq));
			break;
		case RAFT_PREVOTE:
		case RAFT_VOTE:
			ADD(" last=%llu/%llu%s", LLU(m->index), LLU(m->log_term),
				(m->flags & RAFT_FLAG_TRANSFER) != 0 ? " transfer" : "");
			break;
		case RAFT_PREVOTE_RESP:
		case RAFT_VOTE_RESP:
			ADD(" %s", (m->flags & RAFT_FLAG_REJECT) != 0 ? "refused" : "granted");
			break;
		case RAFT_SNAP:
			ADD(" at=%llu/%llu", LLU(m->snapshot->index), LLU(m->snapshot->term));
			break;
		case RAFT_PEER_GONE:
			ADD(" conf=%llu", LLU(m->index));
			break;
		default:
			break;
	}
#undef ADD
}

static void
deliver_later(Sim *sim, uint32_t store, const Packet *packet)
{
	uint64_t	delay = sim_delay(sim, sim->opt.delay);
	Packet	   *copy = must(malloc(sizeof(Packet) + packet->len));

	if (sim_chance(sim, sim->opt.late))
		delay += sim_below(sim, 60 * TICK_TIME);
	memcpy(copy, packet, sizeof(Packet) + packet->len);
	sim_schedule(sim, delay, (Event) {.type = EVENT_DELIVER, .store = store, .packet = copy});
}

/* A message on the wire: encoded, checked, perhaps lost, perhaps doubled. */
void
sim_send(Sim *sim, Replica *r, const RaftMessage *m)
{
	Group	   *group = &sim->groups[r->group];
	size_t		len = raft_message_size(m);
	Packet	   *packet = must(malloc(sizeof(Packet) + len));
	Replica    *to = m->to <= group->replicas_n ? &group->replicas[m->to - 1] : NULL;

	packet->group = r->group;
	packet->from_store = r->store;
	packet->on_its_way = sim_chance(sim, 500);
	packet->from = m->from;
	packet->to = m->to;
	packet->len = len;
	raft_message_encode(m, packet->bytes);
	sim_note(sim, hash_checksum(bytes_of(packet->bytes, len)));
	if (m->type == RAFT_PREVOTE)
		sim->counts.prevotes++;
	if (sim->trace != NULL)
	{
		char		text[600];

		sim_format_message(m, text, sizeof(text));
		sim_trace(sim, "g%u send %s", r->group, text);
	}

	if (to == NULL || !to->exists)
		;
	else if (sim->cut[r->store][to->store] || sim_chance(sim, sim->opt.drop))
	{
		sim->counts.dropped++;
		if (m->type == RAFT_SNAP)
		{
			sim->counts.snapshots_lost++;
			sim_schedule_for(sim, r, EVENT_SNAPSHOT, sim_delay(sim, sim->opt.delay), m->to, 2);
		}
	}
	else
	{
		deliver_later(sim, to->store, packet);
		if (sim_chance(sim, sim->opt.duplicate))
		{
			sim->counts.doubled++;
			deliver_later(sim, to->store, packet);
		}
		if (m->type == RAFT_SNAP)
			sim_schedule_for(sim, r, EVENT_SNAPSHOT, sim_delay(sim, 4 * sim->opt.delay), m->to, 1);
	}
	free(packet);
}
