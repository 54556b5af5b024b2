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

#include "base/log.h"
#include "private.h"

#define LOG_KEPT 4				/* log of lagging peers, in checkpoints' worth */
#define RESIDENT_BYTES (32u << 20)

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
		atomic_fetch_sub(&replica->host->inflight_bytes, waiter->bytes);
		answer(waiter, status, 0, bytes_of(NULL, 0));
	}
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
	status = raft_propose(replica->raft, &event->command, 1, &index, &term);
	raft_buf_release(event->command);
	if (status != VT_OK)
	{
		atomic_fetch_sub(&replica->host->inflight_bytes, bytes);
		answer(waiter, status, 0, bytes_of(NULL, 0));
		return;
	}
	waiter->index = index;
	waiter->term = term;
	pthread_mutex_lock(&replica->lock);
	*replica->proposals_end = waiter;
	replica->proposals_end = &waiter->next;
	pthread_mutex_unlock(&replica->lock);
}

static void
read_index(Replica *replica, Event *event)
{
	Waiter	   *waiter = vt_alloc0(sizeof(Waiter));
	VtStatus	status;

	waiter->done = event->done;
	waiter->arg = event->arg;
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
	while (replica->asked)
	{
		Waiter	   *waiter = replica->asked;

		replica->asked = waiter->next;
		answer(waiter, status, 0, bytes_of(NULL, 0));
	}
	replica->asked_end = &replica->asked;
}

/*
 * Where the log may begin when the machine is durable up to here.  In a group
 * with peers it goes back to the checkpoint before: one that was away for a
 * moment, or lags behind a new leader, is not to need a snapshot for that.  A
 * leader keeps what live peers have not got yet, within a bound.
 */
static uint64_t
compaction_point(Replica *replica, uint64_t durable)
{
	uint64_t	before = replica->checkpoint;
	uint64_t	point = durable;
	RaftStatus	status;

	replica->checkpoint = durable;
	if (raft_get_conf(replica->raft)->n > 1 && before < point)
		point = before;
	raft_get_status(replica->raft, &status);
	if (status.role == RAFT_LEADER && status.min_match < point &&
		status.log_bytes < LOG_KEPT * replica->host->options.checkpoint_bytes)
		point = status.min_match;
	return point;
}

/*
 * The machine is durable up to index: make that the base of the log.  First
 * the base is made durable, then the core forgets, then the store (P7).
 */
static void
compact(Replica *replica, uint64_t index)
{
	RaftSnapshot base;
	size_t		size;
	uint8_t    *bytes;
	WriteJob   *job;

	index = compaction_point(replica, index);
	if (replica->gone || replica->install_seq || index <= replica->stored_base ||
		raft_snapshot_at(replica->raft, index, &base) != VT_OK)
	{
		replica->checkpointing = false;
		return;
	}
	size = raft_snapshot_size(&base);
	bytes = vt_alloc(size);
	raft_snapshot_encode(&base, bytes);
	job = vt_alloc0(sizeof(WriteJob));
	job->replica = replica;
	job->batch = store_batch_new();
	job->base = index;
	log_batch_base(job->batch, replica->group, bytes_of(bytes, size));
	free(bytes);
	host_write(replica->host, job);
}

static void
base_durable(Replica *replica, uint64_t index)
{
	WriteJob   *job;

	replica->checkpointing = false;
	if (replica->gone || index <= replica->stored_base)
		return;
	job = vt_alloc0(sizeof(WriteJob));
	job->replica = replica;
	job->batch = store_batch_new();
	for (uint64_t i = replica->stored_base + 1; i <= index; i++)
		log_batch_drop(job->batch, replica->group, i);
	replica->stored_base = index;
	if (raft_compact(replica->raft, index) != VT_OK)
		log_warn("group=%llu could not forget its log up to %llu; the next checkpoint tries again",
				 (unsigned long long) replica->group, (unsigned long long) index);
	host_write(replica->host, job);
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
}

/* Payloads that live peers still need stay, within a bound. */
static uint64_t
eviction_point(const Replica *replica, uint64_t applied)
{
	RaftStatus	status;

	raft_get_status(replica->raft, &status);
	if (status.role == RAFT_LEADER && status.min_match < applied && status.resident_bytes < RESIDENT_BYTES)
		return status.min_match;
	return applied;
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
			propose(replica, event);
			break;
		case EVENT_READ:
			read_index(replica, event);
			break;
		case EVENT_PERSISTED:
			persisted(replica, event->number);
			break;
		case EVENT_APPLIED:
			while (raft_applied(replica->raft, event->number) == VT_NOMEM)
				;
			raft_evict(replica->raft, eviction_point(replica, event->number));
			break;
		case EVENT_CHECKPOINTED:
			compact(replica, event->number);
			break;
		case EVENT_BASE_DURABLE:
			base_durable(replica, event->number);
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
		case EVENT_CEASE:
			snapshot_cease(replica);
			break;
		case EVENT_ERRAND:
			snapshot_errand(replica, event->errand);
			break;
		case EVENT_CLOSE:
			replica->gone = true;
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
		case EVENT_NODE_DOWN:
			break;
	}
}

/* Duty (c): one atomic batch [P5]. */
static void
write_ready(Replica *replica, const RaftReady *rd)
{
	WriteJob   *job = vt_alloc0(sizeof(WriteJob));
	uint8_t		state[RAFT_HARD_STATE_SIZE];

	job->replica = replica;
	job->batch = store_batch_new();
	job->seq = rd->seq;
	if (rd->snapshot)
	{
		size_t		size = raft_snapshot_size(rd->snapshot);
		uint8_t    *bytes = vt_alloc(size);

		for (uint64_t i = replica->stored_base + 1; i <= replica->stored_last; i++)
			log_batch_drop(job->batch, replica->group, i);
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
		uint8_t    *bytes = vt_alloc(size);

		raft_entry_encode(entry, bytes);
		log_batch_entry(job->batch, replica->group, entry->index, bytes_of(bytes, size));
		free(bytes);
		replica->stored_last = entry->index;
		replica->log_bytes += size;
	}
	raft_hard_state_encode(&rd->hard, state);
	log_batch_state(job->batch, replica->group, bytes_of(state, sizeof(state)));
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
	if (rd->role == RAFT_LEADER)
	{
		/* Its term's first entry is the last of the log at this moment. */
		if (atomic_load(&replica->serving_from) == 0)
		{
			atomic_store_explicit(&replica->serving_from, status.last, memory_order_release);
			log_info("group=%llu term=%llu became leader", (unsigned long long) replica->group,
					 (unsigned long long) rd->term);
		}
	}
	else if (atomic_exchange(&replica->serving_from, 0) != 0)
	{
		/* What was proposed may still be committed by another leader. */
		group_fail_waiters(replica, VT_UNAVAILABLE, true);
		log_info("group=%llu term=%llu is no longer leader", (unsigned long long) replica->group,
				 (unsigned long long) rd->term);
	}

	/* Last: who is asked because of this says rightly whether it leads. */
	if (rd->leader)
		atomic_store(&replica->current, true);
}

void
group_duties(Replica *replica)
{
	RaftReady	rd;

	while (raft_has_ready(replica->raft))
	{
		if (raft_ready(replica->raft, &rd) != VT_OK)
		{
			host_mark_dirty(replica);	/* no memory: with the next step */
			return;
		}
		if (rd.role_changed)
			publish_role(replica, &rd);
		for (size_t i = 0; i < rd.messages_n; i++)
			if (rd.messages[i].type == RAFT_SNAP)
				snapshot_message(replica, &rd.messages[i]);
			else
				peers_send(replica, &rd.messages[i]);
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
	}
	snapshot_forget_unsent(replica);
	if (replica->log_bytes > replica->host->options.checkpoint_bytes && !replica->checkpointing)
	{
		replica->checkpointing = true;
		replica->log_bytes = 0;
		io_ask(replica->host, replica);
	}
}
