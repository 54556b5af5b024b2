/*-------------------------------------------------------------------------
 *
 * peers.c
 *	  Messages to and from other stores; on the raft thread.
 *
 * What the cores of a cycle have to say is gathered by node and leaves at the
 * end of it: one frame carries messages of many groups.  Where a replica lives
 * stands in the configuration; of one that is in none (it was removed, or we
 * were not told yet) we know where it was heard from.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "private.h"

#define OUT_BYTES (1u << 20)	/* a frame is sent before the cycle ends */
#define INBOX_BYTES (64u << 20)
#define PUBLISH_TICKS 10
#define HEIR_TRIES 5

/* -- Groups by number ------------------------------------------------------ */

static Replica **
chain_of(ReplicaHost *host, uint64_t group)
{
	return &host->groups[prng_mix(group) & (host->ngroups - 1)];
}

void
peers_add(ReplicaHost *host, Replica *replica)
{
	Replica   **chain;

	replica->next = host->replicas;
	host->replicas = replica;
	if (++host->nreplicas > host->ngroups)
	{
		host->ngroups = host->ngroups ? 2 * host->ngroups : 64;
		free(host->groups);
		host->groups = vt_alloc0(sizeof(Replica *) * host->ngroups);
		for (Replica *r = replica->next; r; r = r->next)
		{
			chain = chain_of(host, r->group);
			r->hash_next = *chain;
			*chain = r;
		}
	}
	chain = chain_of(host, replica->group);
	replica->hash_next = *chain;
	*chain = replica;
}

void
peers_remove(ReplicaHost *host, Replica *replica)
{
	room_loading(replica, false);
	for (Replica **p = &host->replicas; *p; p = &(*p)->next)
		if (*p == replica)
		{
			*p = replica->next;
			host->nreplicas--;
			break;
		}
	for (Replica **p = &host->dirty; *p; p = &(*p)->dirty_next)
		if (*p == replica)
		{
			*p = replica->dirty_next;
			break;
		}
	for (Replica **p = host->ngroups ? chain_of(host, replica->group) : NULL; p && *p; p = &(*p)->hash_next)
		if (*p == replica)
		{
			*p = replica->hash_next;
			break;
		}
}

Replica *
peers_find(ReplicaHost *host, uint64_t group)
{
	Replica    *replica = host->ngroups ? *chain_of(host, group) : NULL;

	while (replica && replica->group != group)
		replica = replica->hash_next;
	return replica;
}

/* -- Where a replica lives ------------------------------------------------- */

uint64_t
peers_node(const Replica *replica, uint64_t id)
{
	const RaftMember *member = raft_conf_find(raft_get_conf(replica->raft), id);

	if (member && member->node)
		return member->node;
	for (int i = 0; i < RAFT_MAX_MEMBERS && replica->heard[i].id; i++)
		if (replica->heard[i].id == id)
			return replica->heard[i].node;
	return 0;
}

static void
note_heard(Replica *replica, uint64_t id, uint64_t node)
{
	int			i = 0;

	if (replica->heard[0].id == id && replica->heard[0].node == node)
		return;
	while (i < RAFT_MAX_MEMBERS - 1 && replica->heard[i].id && replica->heard[i].id != id)
		i++;
	memmove(&replica->heard[1], &replica->heard[0], sizeof(replica->heard[0]) * (size_t) i);
	replica->heard[0].id = id;
	replica->heard[0].node = node;
}

/* -- Out ------------------------------------------------------------------- */

static void
send_outbox(ReplicaHost *host, Outbox *box)
{
	if (box->messages.len == 0)
		return;
	host->options.transport.send(host->options.transport.arg, box->node, &box->messages);
	buf_free(&box->messages);
}

/* Room for a message of this size that leaves at the end of the cycle; NULL: nothing can. */
uint8_t *
peers_room(ReplicaHost *host, uint64_t node, size_t size)
{
	Outbox	   *box = NULL;

	if (!host->options.transport.send)
		return NULL;
	for (size_t i = 0; i < host->noutboxes && !box; i++)
		if (host->outboxes[i].node == node)
			box = &host->outboxes[i];
	if (!box)
	{
		host->outboxes = vt_realloc(host->outboxes, sizeof(Outbox) * (host->noutboxes + 1));
		box = &host->outboxes[host->noutboxes++];
		memset(box, 0, sizeof(*box));
		box->node = node;
	}
	if (box->messages.len > 0 && box->messages.len + size > OUT_BYTES)
		send_outbox(host, box);
	if (box->messages.len == 0)
		wire_raft_begin(&box->messages, atomic_load(&host->node));
	return wire_raft_room(&box->messages, size);
}

/* False: nobody knows where that peer lives. */
bool
peers_send(Replica *replica, const RaftMessage *message)
{
	uint64_t	node = peers_node(replica, message->to);
	uint8_t    *room = node ? peers_room(replica->host, node, raft_message_size(message)) : NULL;

	if (!room)
		return false;
	raft_message_encode(message, room);
	return true;
}

void
peers_flush(ReplicaHost *host)
{
	for (size_t i = 0; i < host->noutboxes; i++)
		send_outbox(host, &host->outboxes[i]);
}

/* -- In -------------------------------------------------------------------- */

/* NULL: there is no room for it. */
static Event *
event_of(ReplicaHost *host, Buf *messages)
{
	Event	   *event;

	if (atomic_fetch_add(&host->inbox_bytes, messages->len) > INBOX_BYTES)
	{
		atomic_fetch_sub(&host->inbox_bytes, messages->len);
		atomic_fetch_add(&host->dropped, 1);
		return NULL;
	}
	event = vt_alloc0(sizeof(Event));
	event->kind = EVENT_MESSAGES;
	event->payload = *messages;
	memset(messages, 0, sizeof(*messages));
	return event;
}

void
replica_host_receive(ReplicaHost *host, Buf *messages)
{
	Event	   *event = event_of(host, messages);

	if (event)
		host_post_later(host, event);
}

void
replica_host_take(ReplicaHost *host, Buf *messages)
{
	Event	   *event = event_of(host, messages);

	if (event)
		host_push(host, event);
}

void
replica_host_step(ReplicaHost *host)
{
	step_all(host);
}

static void
step(Replica *replica, const RaftMessage *message)
{
	if (raft_step(replica->raft, message) == VT_PROTOCOL)
		log_warn("group=%llu: replica %llu sent a message no correct replica sends",
				 (unsigned long long) replica->group, (unsigned long long) message->from);
	host_mark_dirty(replica);
}

/*
 * One message.  What does not decode, finds no memory or no replica here is
 * lost on the way.  A snapshot is stepped only when its data is staged.
 */
static void
receive(ReplicaHost *host, Bytes bytes, uint64_t node)
{
	RaftMessage message;
	Replica    *replica;

	if (raft_message_decode(bytes, &host->allocator, &message) != VT_OK)
		return;
	replica = peers_find(host, message.group);
	if (replica && !replica->gone && message.to == replica->id && message.type != RAFT_SNAP)
	{
		note_heard(replica, message.from, node);
		sleep_message(replica, &message);
		step(replica, &message);
		if (message.from == atomic_load(&replica->leader))
			atomic_store(&replica->led_us, clock_now_us());
	}
	raft_message_free(&message, &host->allocator);
}

void
peers_receive(ReplicaHost *host, Bytes payload)
{
	WireRaft	raft;
	size_t		at = 0;
	Bytes		bytes;

	atomic_fetch_sub(&host->inbox_bytes, payload.len);
	if (wire_raft_get(payload, &raft) != VT_OK)
		return;
	while (wire_raft_next(&raft, &at, &bytes))
		if (!note_take(host, bytes, raft.store) && !tell_take(host, bytes))
			receive(host, bytes, raft.store);
}

/* A snapshot whose data is staged, as this stream and no other. */
void
peers_staged(Replica *replica, Bytes bytes, uint64_t stream)
{
	const RaftAllocator *allocator = &replica->host->allocator;
	RaftMessage message;

	if (raft_message_decode(bytes, allocator, &message) != VT_OK)
		return;
	if (message.type == RAFT_SNAP && message.group == replica->group && message.to == replica->id &&
		message.snapshot->id == stream)
		step(replica, &message);
	raft_message_free(&message, allocator);
}

void
replica_host_node_down(ReplicaHost *host, uint64_t node)
{
	host_event(host, EVENT_NODE_DOWN, NULL, node);
}

/*
 * How many voters come before this one when a leader is to be replaced: all, if there is
 * no room for what would be written here.
 */
static uint32_t
rank_of(const Replica *replica, uint64_t dead)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	bool		is_short = atomic_load(&replica->host->is_short);
	uint32_t	rank = 0;

	for (uint32_t i = 0; i < conf->n; i++)
		rank += (conf->members[i].id < replica->id || (is_short && conf->members[i].id != replica->id)) &&
			conf->members[i].id != dead && (conf->members[i].roles & RAFT_VOTER) != 0;
	return rank;
}

/*
 * The store of a leader is dead.  Its followers hear of it at different moments, and
 * one that has not heard grants no vote; one whose log is being written may not ask
 * for any.  So they forget the leader, and then campaign one after the other, a tick
 * apart, again and again until somebody leads.
 */
void
peers_node_down(ReplicaHost *host, uint64_t node)
{
	for (Replica *r = host->replicas; r; r = r->next)
	{
		RaftStatus	status;

		raft_get_status(r->raft, &status);
		if (status.role == RAFT_LEADER || status.leader == 0 || status.leader == r->id ||
			peers_node(r, status.leader) != node)
			continue;
		sleep_disturb(r);
		raft_forget_leader(r->raft);
		r->heir_tries = HEIR_TRIES;
		r->heir_ticks = rank_of(r, status.leader);
		if (r->heir_ticks == 0)
			peers_inherit(r);
		else
			host_mark_dirty(r);
	}
}

void
peers_inherit(Replica *replica)
{
	RaftStatus	status;

	raft_get_status(replica->raft, &status);
	if (status.role == RAFT_LEADER || status.leader != 0)
		return;
	raft_campaign(replica->raft);
	host_mark_dirty(replica);
	if (--replica->heir_tries > 0)
		replica->heir_ticks = 2 + rank_of(replica, 0);
}

/* -- Telling others -------------------------------------------------------- */

/* What replica_members() answers. */
void
peers_publish(Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	ReplicaMembers members;
	RaftStatus	status;

	raft_get_status(replica->raft, &status);
	memset(&members, 0, sizeof(members));
	members.conf_index = status.conf_index;
	members.joint = conf->joint;
	members.n = conf->n;
	for (uint32_t i = 0; i < conf->n; i++)
	{
		RaftPeer	peer;

		members.members[i].member = conf->members[i];
		if (conf->members[i].id == replica->id)
		{
			members.members[i].match = status.stable;
			members.members[i].applied = status.applied;
			members.members[i].active = true;
		}
		else if (raft_get_peer(replica->raft, conf->members[i].id, &peer))
		{
			members.members[i].match = peer.match;
			members.members[i].applied = replica->asleep ? peer.match : peer.applied;	/* nobody speaks, since all have */
			members.members[i].active = peer.active;
		}
	}
	pthread_mutex_lock(&replica->lock);
	replica->members = members;
	pthread_mutex_unlock(&replica->lock);
	replica_changed(replica);
}

void
replica_members(Replica *replica, ReplicaMembers *out)
{
	pthread_mutex_lock(&replica->lock);
	*out = replica->members;
	pthread_mutex_unlock(&replica->lock);
}

void
replica_host_set_node(ReplicaHost *host, uint64_t node)
{
	atomic_store(&host->node, node);
}
