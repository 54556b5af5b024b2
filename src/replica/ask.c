/*-------------------------------------------------------------------------
 *
 * ask.c
 *	  What other threads ask a replica.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "private.h"

/* step_all() must follow. */
static void
push_question(Replica *replica, EventKind kind, uint64_t number, RaftBuf *command, ReplicaDone done, void *arg)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = kind;
	event->replica = replica;
	event->number = number;
	event->command = command;
	event->done = done;
	event->arg = arg;
	host_push(replica->host, event);
}

/*
 * Is there room for one more command?  Of what is left a group gets at most as much as
 * it has: one that does not get on, and which others still write to, leaves half of it to
 * the other groups.  One command may stand over the limit.
 */
static bool
begin_flight(Replica *replica, uint64_t bytes)
{
	ReplicaHost *host = replica->host;
	uint64_t	own = atomic_fetch_add(&replica->inflight_bytes, bytes);
	uint64_t	all = atomic_fetch_add(&host->inflight_bytes, bytes);

	if (own + all <= host->options.max_inflight_bytes)
		return true;
	replica_end_flight(replica, bytes);
	return false;
}

void
replica_end_flight(Replica *replica, uint64_t bytes)
{
	atomic_fetch_sub(&replica->inflight_bytes, bytes);
	atomic_fetch_sub(&replica->host->inflight_bytes, bytes);
}

static void
push_command(Replica *replica, EventKind kind, uint64_t number, Bytes command, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;
	RaftBuf    *buf;

	if (atomic_load_explicit(&replica->serving_from, memory_order_acquire) == 0)
	{
		done(arg, VT_NOT_LEADER, 0, bytes_of(NULL, 0));
		return;
	}
	if (!begin_flight(replica, command.len))
	{
		host_count(&host->counts.refused, 1);
		done(arg, VT_BUSY, 0, bytes_of(NULL, 0));
		return;
	}
	buf = raft_buf_new(&host->allocator, command.data, (uint32_t) command.len);
	if (!buf)
	{
		replica_end_flight(replica, command.len);
		done(arg, VT_NOMEM, 0, bytes_of(NULL, 0));
		return;
	}
	host_count(&host->counts.proposals, 1);
	push_question(replica, kind, number, buf, done, arg);
}

void
replica_propose_soon(Replica *replica, Bytes command, ReplicaDone done, void *arg)
{
	push_command(replica, EVENT_PROPOSE, 0, command, done, arg);
}

void
replica_propose(Replica *replica, Bytes command, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;	/* who has its answer may let go of the replica */

	replica_propose_soon(replica, command, done, arg);
	step_all(host);
}

void
replica_propose_under(Replica *replica, Bytes command, uint64_t conf_index, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;	/* who has its answer may let go of the replica */

	push_command(replica, EVENT_PROPOSE_UNDER, conf_index, command, done, arg);
	step_all(host);
}

void
replica_change(Replica *replica, const RaftConf *target, uint64_t conf_index, ReplicaDone done,
			   void *arg)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = EVENT_CHANGE;
	event->replica = replica;
	event->number = conf_index;
	buf_put(&event->payload, target, sizeof(*target));
	event->done = done;
	event->arg = arg;
	host_post(replica->host, event);
}

void
replica_transfer(Replica *replica, uint64_t to, ReplicaDone done, void *arg)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = EVENT_TRANSFER;
	event->replica = replica;
	event->number = to;
	event->done = done;
	event->arg = arg;
	host_post(replica->host, event);
}

void
replica_read(Replica *replica, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;	/* who has its answer may let go of the replica */

	push_question(replica, EVENT_READ, 0, NULL, done, arg);
	step_all(host);
}

void
replica_read_anywhere(Replica *replica, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;	/* who has its answer may let go of the replica */

	push_question(replica, EVENT_READ_ANYWHERE, 0, NULL, done, arg);
	step_all(host);
}

bool
replica_read_now(Replica *replica, uint64_t *index)
{
	uint64_t	from = atomic_load_explicit(&replica->serving_from, memory_order_acquire);
	uint64_t	applied = atomic_load_explicit(&replica->applied, memory_order_acquire);

	if (!atomic_load_explicit(&replica->sole_voter, memory_order_acquire) || from == 0 || applied < from)
		return false;
	*index = applied;
	return true;
}

void
replica_status(const Replica *replica, ReplicaStatus *out)
{
	uint64_t	from = atomic_load(&replica->serving_from);

	out->group = replica->group;
	out->replica = replica->id;
	out->term = atomic_load(&replica->term);
	out->applied = atomic_load(&replica->applied);
	out->last = atomic_load(&replica->last);
	out->last_term = atomic_load(&replica->last_term);
	out->leader = from != 0;
	out->serving = from != 0 && out->applied >= from;
	out->leader_replica = atomic_load(&replica->leader);
	out->alone = atomic_load(&replica->sole_voter);
	out->current = atomic_load(&replica->current);
	out->led_us = from != 0 ? 0 : atomic_load(&replica->led_us);
	out->gone = atomic_load(&replica->told_gone);
}

void
replica_campaign(Replica *replica)
{
	host_event(replica->host, EVENT_CAMPAIGN, replica, 0);
}

void
replica_cease_sending(Replica *replica)
{
	host_event(replica->host, EVENT_CEASE, replica, 0);
}

void
replica_checkpoint(Replica *replica)
{
	io_checkpoint(replica);
}
