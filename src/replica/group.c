/*-------------------------------------------------------------------------
 *
 * group.c
 *	  One group, stepped: events in, duties out.
 *
 * group_duties() is the caller's loop of raft.h, in its order.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"

#define SCRATCH_BYTES (64u << 10)	/* kept for the next entry; larger ones are rare */

/* Answer, outside every lock. */
static void
answer(Waiter *waiter, VtStatus status, uint64_t index, Bytes reply)
{
	waiter->done(waiter->arg, status, index, reply);
	free(waiter);
}

/* Answer all that wait for something that will not come. */
void
group_fail_waiters(Replica *replica, VtStatus status, bool all)
{
	Waiter	   *proposals = NULL;
	Waiter	   *reads;

	pthread_mutex_lock(&replica->lock);
	reads = replica->reads;
	replica->reads = NULL;
	if (all)
	{
		proposals = replica->proposals;
		replica->proposals = NULL;
		replica->proposals_end = &replica->proposals;
	}
	pthread_mutex_unlock(&replica->lock);
	while (reads)
	{
		Waiter	   *waiter = reads;

		reads = waiter->next;
		answer(waiter, status, 0, bytes_of(NULL, 0));
	}
	while (proposals)
	{
		Waiter	   *waiter = proposals;

		proposals = waiter->next;
		replica_end_flight(replica, waiter->bytes);
		gather_answered(replica->host, waiter);
		answer(waiter, status, 0, bytes_of(NULL, 0));
	}
	gather_news(replica->host);
}

/* Is what the command was made for what the log says of the members now? */
static bool
is_under(Replica *replica, const Event *event)
{
	RaftStatus	status;

	raft_get_status(replica->raft, &status);
	return status.conf_index == event->number && !raft_get_conf(replica->raft)->joint;
}

static void
propose(Replica *replica, Event *event)
{
	Waiter	   *waiter = vt_alloc0(sizeof(Waiter));
	uint32_t	bytes = event->command->len;
	uint64_t	index;
	uint64_t	term;
	VtStatus	status;

	waiter->done = event->done;
	waiter->arg = event->arg;
	waiter->bytes = bytes;
	if (event->kind == EVENT_PROPOSE_UNDER && !is_under(replica, event))
		status = VT_FENCED;
	else
		status = raft_propose(replica->raft, &event->command, 1, &index, &term);
	raft_buf_release(event->command);
	if (status != VT_OK)
	{
		replica_end_flight(replica, bytes);
		answer(waiter, status, 0, bytes_of(NULL, 0));
		return;
	}
	waiter->index = index;
	waiter->term = term;
	pthread_mutex_lock(&replica->lock);
	gather_await(replica, waiter);
	*replica->proposals_end = waiter;
	replica->proposals_end = &waiter->next;
	pthread_mutex_unlock(&replica->lock);
}

void
group_read(Replica *replica, ReplicaDone done, void *arg)
{
	Waiter	   *waiter = vt_alloc0(sizeof(Waiter));
	VtStatus	status;

	waiter->done = done;
	waiter->arg = arg;
	status = raft_read(replica->raft, (uint64_t) (uintptr_t) waiter);
	if (status != VT_OK)
	{
		answer(waiter, status, 0, bytes_of(NULL, 0));
		return;
	}
	*replica->asked_end = waiter;
	replica->asked_end = &waiter->next;
}

/* The core has answered: it mostly answers the oldest first. */
static void
forget_asked(Replica *replica, const Waiter *waiter)
{
	for (Waiter **p = &replica->asked; *p; p = &(*p)->next)
		if (*p == waiter)
		{
			*p = waiter->next;
			if (!*p)
				replica->asked_end = p;
			return;
		}
}

/* The core will answer no more: do it for it. */
void
group_fail_asked(Replica *replica, VtStatus status)
{
	far_give_up(replica, status);
	while (replica->asked)
	{
		Waiter	   *waiter = replica->asked;

		replica->asked = waiter->next;
		answer(waiter, status, 0, bytes_of(NULL, 0));
	}
	replica->asked_end = &replica->asked;
}

/*
 * A Ready is durable.  One that installs a snapshot is so only when the machine
 * has taken its state over, and those after it wait for that, too.
 */
static void
persisted(Replica *replica, uint64_t seq)
{
	if (replica->gone)
		return;					/* whoever opens it finds what the log says */
	if (replica->install_seq && seq >= replica->install_seq)
	{
		if (replica->held_seq == 0)
			snapshot_install(replica);
		replica->held_seq = seq;
		return;
	}
	while (raft_persisted(replica->raft, seq) == VT_NOMEM)
		;
	compact_evict(replica);
}

static void
change(Replica *replica, Event *event)
{
	RaftConf	target;
	uint64_t	index;
	VtStatus	status;

	memcpy(&target, event->payload.data, sizeof(target));
	status = raft_propose_conf(replica->raft, &target, event->number, &index);
	event->done(event->arg, status, status == VT_OK ? index : 0, bytes_of(NULL, 0));
}

void
group_handle(Replica *replica, Event *event)
{
	switch (event->kind)
	{
		case EVENT_PROPOSE:
		case EVENT_PROPOSE_UNDER:
			propose(replica, event);
			break;
		case EVENT_READ:
			group_read(replica, event->done, event->arg);
			break;
		case EVENT_READ_ANYWHERE:
			if (!far_ask(replica, event->done, event->arg))
				group_read(replica, event->done, event->arg);
			break;
		case EVENT_PERSISTED:
			persisted(replica, event->number);
			break;
		case EVENT_APPLIED:
			while (raft_applied(replica->raft, event->number) == VT_NOMEM)
				;
			compact_evict(replica);
			break;
		case EVENT_CHECKPOINTED:
			compact_checkpointed(replica, event->number);
			break;
		case EVENT_BASE_DURABLE:
			compact_base_durable(replica, event->number);
			break;
		case EVENT_SNAP:
			snapshot_staged(replica, buf_bytes(&event->payload), event->number);
			break;
		case EVENT_CHANGE:
			change(replica, event);
			break;
		case EVENT_TRANSFER:
			event->done(event->arg, raft_transfer(replica->raft, event->number), 0, bytes_of(NULL, 0));
			break;
		case EVENT_LOADED:
			raft_set_passive(replica->raft, false);
			room_loading(replica, false);
			break;
		case EVENT_CAMPAIGN:
			(void) raft_campaign(replica->raft);
			break;
		case EVENT_CEASE:
			snapshot_cease(replica);
			break;
		case EVENT_ERRAND:
			snapshot_errand(replica, event->errand);
			break;
		case EVENT_CLOSE:
			replica->gone = true;
			compact_count(replica);
			snapshot_forget_all(replica);
			atomic_store(&replica->serving_from, 0);
			group_fail_asked(replica, VT_UNAVAILABLE);
			group_fail_waiters(replica, VT_UNAVAILABLE, true);
			pthread_mutex_lock(&replica->lock);
			replica->closed = true;
			pthread_cond_broadcast(&replica->idle);
			pthread_mutex_unlock(&replica->lock);
			break;
		case EVENT_OPEN:
		case EVENT_MESSAGES:
		case EVENT_FAR:
		case EVENT_NODE_DOWN:
		case EVENT_TELL:
			break;
	}
}

/* Duty (c): one atomic batch [P5]. */
static void
write_ready(Replica *replica, const RaftReady *rd)
{
	WriteJob   *job = vt_alloc0(sizeof(WriteJob));
	Buf		   *scratch = &replica->host->scratch;
	uint8_t		state[RAFT_HARD_STATE_SIZE];

	job->replica = replica;
	job->batch = store_batch_new();
	job->seq = rd->seq;
	if (rd->snapshot)
	{
		size_t		size = raft_snapshot_size(rd->snapshot);
		uint8_t    *bytes = vt_alloc(size);

		/* What the base does not cover goes with it [P5]; the rest may be dropped later. */
		for (uint64_t i = rd->snapshot->index + 1; i <= replica->stored_last; i++)
			log_batch_drop(job->batch, replica->group, i);
		replica->stale_first = replica->stored_base + 1;
		replica->stale_last = replica->stored_last < rd->snapshot->index ? replica->stored_last :
			rd->snapshot->index;
		raft_snapshot_encode(rd->snapshot, bytes);
		log_batch_base(job->batch, replica->group, bytes_of(bytes, size));
		free(bytes);
		replica->stored_base = replica->stored_last = rd->snapshot->index;
		replica->installing = *rd->snapshot;
		replica->install_seq = rd->seq;
	}
	if (rd->truncate_from)
	{
		for (uint64_t i = rd->truncate_from; i <= replica->stored_last; i++)
			log_batch_drop(job->batch, replica->group, i);
		replica->stored_last = rd->truncate_from - 1;
	}
	for (size_t i = 0; i < rd->append_n; i++)
	{
		const RaftEntry *entry = &rd->append[i];
		size_t		size = raft_entry_size(entry);

		buf_clear(scratch);
		buf_reserve(scratch, size);
		raft_entry_encode(entry, scratch->data);
		log_batch_entry(job->batch, replica->group, entry->index, bytes_of(scratch->data, size));
		replica->stored_last = entry->index;
		replica->log_bytes += size;
	}
	if (scratch->size > SCRATCH_BYTES)
		buf_free(scratch);
	raft_hard_state_encode(&rd->hard, state);
	log_batch_state(job->batch, replica->group, bytes_of(state, sizeof(state)));
	atomic_store(&replica->last_term, rd->hard.last_term);
	atomic_store(&replica->last, rd->hard.last_index);
	host_write(replica->host, job);
}

/* Duty (d): hand committed entries to the apply threads. */
static void
apply_later(Replica *replica, const RaftReady *rd)
{
	bool		run;

	pthread_mutex_lock(&replica->lock);
	for (size_t i = 0; i < rd->committed_n; i++)
	{
		const RaftEntry *entry = &rd->committed[i];
		ApplyItem  *item = vt_alloc0(sizeof(ApplyItem));

		item->index = entry->index;
		item->term = entry->term;
		item->type = entry->type;
		item->size = entry->size;
		item->data = raft_buf_ref(entry->data);
		replica->items_bytes += item->data ? item->size : 0;
		*replica->items_end = item;
		replica->items_end = &item->next;
	}
	run = !replica->queued;
	replica->queued = true;
	pthread_mutex_unlock(&replica->lock);
	if (run)
		host_run(replica->host, replica);
}

/* Duty (e): reads wait for their index to be applied. */
static void
take_reads(Replica *replica, const RaftReady *rd)
{
	for (size_t i = 0; i < rd->reads_n; i++)
	{
		Waiter	   *waiter = (Waiter *) (uintptr_t) rd->reads[i].cookie;

		forget_asked(replica, waiter);
		waiter->index = rd->reads[i].index;
		if (waiter->index == 0)
		{
			answer(waiter, VT_NOT_LEADER, 0, bytes_of(NULL, 0));
			continue;
		}
		pthread_mutex_lock(&replica->lock);
		waiter->next = replica->reads;
		replica->reads = waiter;
		pthread_mutex_unlock(&replica->lock);
	}
	apply_reads(replica, atomic_load(&replica->applied));
}

static bool
is_sole_voter(const Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);

	return !conf->joint && conf->n == 1 && conf->members[0].id == replica->id &&
		conf->members[0].roles == RAFT_VOTER;
}

static void
publish_role(Replica *replica, const RaftReady *rd)
{
	RaftStatus	status;

	raft_get_status(replica->raft, &status);
	atomic_store(&replica->term, rd->term);
	atomic_store(&replica->sole_voter, is_sole_voter(replica));
	atomic_store(&replica->leader, rd->leader);
	peers_publish(replica);
	if (rd->role == RAFT_CANDIDATE)
		host_count(&replica->host->counts.campaigns, 1);
	if (rd->role == RAFT_LEADER)
	{
		/* Its term's first entry is the last of the log at this moment. */
		if (atomic_load(&replica->serving_from) == 0)
		{
			atomic_store_explicit(&replica->serving_from, status.last, memory_order_release);
			host_count(&replica->host->counts.elected, 1);
			log_info("group=%llu term=%llu became leader", (unsigned long long) replica->group,
					 (unsigned long long) rd->term);
		}
	}
	else if (atomic_exchange(&replica->serving_from, 0) != 0)
	{
		atomic_store(&replica->crowded, false);
		lag_end(replica);
		host_count(&replica->host->counts.deposed, 1);
		atomic_store(&replica->led_us, clock_now_us());
		/* What was proposed may still be committed by another leader. */
		group_fail_waiters(replica, VT_UNAVAILABLE, true);
		log_info("group=%llu term=%llu is no longer leader", (unsigned long long) replica->group,
				 (unsigned long long) rd->term);
	}

	/* Last: who is asked because of this says rightly whether it leads. */
	if (rd->leader)
		atomic_store(&replica->current, true);
}

/*
 * Duty (a).  What a Ready points to lives until the core is called again, so it
 * hears of what could not be sent when the Ready is done with.
 */
typedef struct Unsent
{
	uint64_t	peers[RAFT_MAX_MEMBERS];	/* not reachable */
	size_t		npeers;
	uint64_t	snapshots[RAFT_MAX_MEMBERS];	/* nobody streams what was offered */
	size_t		nsnapshots;
} Unsent;

static void
note(uint64_t *list, size_t *n, uint64_t id)
{
	for (size_t i = 0; i < *n; i++)
		if (list[i] == id)
			return;
	if (*n < RAFT_MAX_MEMBERS)
		list[(*n)++] = id;
}

static void
send_messages(Replica *replica, const RaftReady *rd, Unsent *unsent)
{
	unsent->npeers = unsent->nsnapshots = 0;
	for (size_t i = 0; i < rd->messages_n; i++)
	{
		const RaftMessage *message = &rd->messages[i];

		if (message->type == RAFT_SNAP)
		{
			if (!snapshot_message(replica, message))
				note(unsent->snapshots, &unsent->nsnapshots, message->to);
		}
		else if (!peers_send(replica, message))
			note(unsent->peers, &unsent->npeers, message->to);
	}
}

static void
report_unsent(Replica *replica, const Unsent *unsent)
{
	for (size_t i = 0; i < unsent->npeers; i++)
		raft_report_unreachable(replica->raft, unsent->peers[i]);
	for (size_t i = 0; i < unsent->nsnapshots; i++)
		raft_report_snapshot(replica->raft, unsent->snapshots[i], false);
}

void
group_duties(Replica *replica)
{
	RaftReady	rd;
	Unsent		unsent;

	while (raft_has_ready(replica->raft))
	{
		if (raft_ready(replica->raft, &rd) != VT_OK)
		{
			host_mark_dirty(replica);	/* no memory: with the next step */
			return;
		}
		if (rd.role_changed)
			publish_role(replica, &rd);
		send_messages(replica, &rd, &unsent);
		for (size_t i = 0; i < rd.snapshots_to_n; i++)
			snapshot_wanted(replica, rd.snapshots_to[i]);
		if (rd.fetch.first)
			snapshot_fetch(replica, &rd.fetch);
		if (rd.gone)
			atomic_store(&replica->told_gone, true);
		if (rd.seq != 0)
			write_ready(replica, &rd);
		if (rd.committed_n > 0)
			apply_later(replica, &rd);
		if (rd.reads_n > 0)
			take_reads(replica, &rd);
		report_unsent(replica, &unsent);
		replica_changed(replica);
	}
	snapshot_forget_unsent(replica);
	compact_count(replica);
}
