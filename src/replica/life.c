/*-------------------------------------------------------------------------
 *
 * life.c
 *	  The life of a replica: founding, opening, closing, destroying.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "private.h"

static void
put_base(StoreBatch *batch, uint64_t group, const RaftSnapshot *base)
{
	size_t		size = raft_snapshot_size(base);
	uint8_t    *bytes = vt_alloc(size);

	raft_snapshot_encode(base, bytes);
	log_batch_base(batch, group, bytes_of(bytes, size));
	free(bytes);
}

VtStatus
replica_create(ReplicaHost *host, uint64_t group, uint64_t replica, const RaftConf *founders,
			   uint64_t base_index, VtError *err)
{
	Buf			old = {0};
	bool		dead = false;
	VtStatus	status = log_load_base(host->log, group, &old, err);
	RaftSnapshot base;
	RaftHardState hard;
	uint8_t		state[RAFT_HARD_STATE_SIZE];
	StoreBatch *batch;

	buf_free(&old);
	if (status == VT_OK)
		return vt_fail(err, VT_EXISTS, "Raft group %llu exists", (unsigned long long) group);
	if (status == VT_NOT_FOUND)
		status = log_has_tombstone(host->log, group, replica, &dead, err);
	if (status != VT_OK)
		return status;
	if (dead && !vt_broken("P9-tombstone"))
		return vt_fail(err, VT_DENIED, "replica %llu of Raft group %llu was destroyed here",
					   (unsigned long long) replica, (unsigned long long) group);

	memset(&base, 0, sizeof(base));
	memset(&hard, 0, sizeof(hard));
	if (!founders && base_index != 0)
		return vt_fail(err, VT_INVALID, "a replica that joins Raft group %llu has nothing of it yet",
					   (unsigned long long) group);
	if (founders)
	{
		if (!raft_conf_find(founders, replica))
			return vt_fail(err, VT_INVALID, "replica %llu is no founder of Raft group %llu",
						   (unsigned long long) replica, (unsigned long long) group);
		status = raft_conf_check(founders, err);
		if (status != VT_OK)
			return status;
		base.index = base_index;
		base.conf_index = base_index;
		base.conf = *founders;
		hard.last_index = base_index;
	}
	raft_hard_state_encode(&hard, state);
	batch = store_batch_new();
	put_base(batch, group, &base);
	log_batch_state(batch, group, bytes_of(state, sizeof(state)));
	host_write_and_wait(host, batch);
	return VT_OK;
}

typedef struct Loading
{
	ReplicaHost *host;
	RaftEntry  *entries;
	size_t		n;
	size_t		room;
	uint64_t	applied;
	uint64_t	bytes;
	uint64_t	resident;		/* payloads in memory */
	VtError    *err;
} Loading;

/*
 * Payloads that are still to be applied are read with the entries, within the
 * bounds of compact.c; the apply threads read the others when it is their turn.
 */
static bool
wants_payload(const Loading *loading, uint64_t index)
{
	const ReplicaHost *host = loading->host;

	return index > loading->applied && loading->resident < RESIDENT_BYTES &&
		atomic_load(&host->resident_bytes) + loading->resident < host->options.resident_bytes;
}

static VtStatus
load_entry(void *arg, uint64_t index, Bytes bytes)
{
	Loading    *loading = (Loading *) arg;
	RaftEntry  *entry;
	size_t		used;
	VtStatus	status;

	if (loading->n == loading->room)
	{
		loading->room = loading->room ? loading->room * 2 : 64;
		loading->entries = vt_realloc(loading->entries, sizeof(RaftEntry) * loading->room);
	}
	entry = &loading->entries[loading->n];
	status = raft_entry_decode(bytes, wants_payload(loading, index), &loading->host->allocator, entry,
							   &used);
	if (status != VT_OK || used != bytes.len || entry->index != index)
		return vt_fail(loading->err, status == VT_OK ? VT_CORRUPT : status,
					   "entry %llu of the Raft log: %s", (unsigned long long) index,
					   vt_status_words(status == VT_OK ? VT_CORRUPT : status));
	loading->bytes += entry->size;
	if (entry->data)
		loading->resident += entry->size;
	loading->n++;
	return VT_OK;
}

VtStatus
replica_stored_base(ReplicaHost *host, uint64_t group, RaftSnapshot *out, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = log_load_base(host->log, group, &value, err);

	if (status == VT_OK)
		status = raft_snapshot_decode(buf_bytes(&value), out);
	if (status != VT_OK && err && err->msg[0] == '\0')
		vt_fail(err, status, "base of Raft group %llu: %s", (unsigned long long) group,
				vt_status_words(status));
	buf_free(&value);
	return status;
}

/* Delete what there is of a group's log up to last, slice by slice. */
static VtStatus
drop_up_to(ReplicaHost *host, uint64_t group, uint64_t last, VtError *err)
{
	uint64_t	found;
	VtStatus	status;

	do
	{
		StoreBatch *batch = store_batch_new();

		status = log_batch_drop_up_to(host->log, batch, group, last, LOG_SLICE, &found, err);
		if (status == VT_OK && found > 0)
			host_write_and_wait(host, batch);
		else
			store_batch_free(batch);
	} while (status == VT_OK && found == LOG_SLICE);
	return status;
}

/*
 * What there is of a group on disk, entries included: they are in loading, which the
 * caller frees (loaded_free), whatever comes back.
 */
static VtStatus
load_stored(ReplicaHost *host, uint64_t group, Loading *loading, RaftStored *stored, VtError *err)
{
	Buf			value = {0};
	VtStatus	status;

	memset(stored, 0, sizeof(*stored));
	status = log_load_state(host->log, group, &value, err);
	if (status == VT_OK)
		status = raft_hard_state_decode(buf_bytes(&value), &stored->hard);
	if (status == VT_OK)
		status = log_load_base(host->log, group, &value, err);
	if (status == VT_OK)
		status = raft_snapshot_decode(buf_bytes(&value), &stored->base);
	if (status != VT_OK && err && err->msg[0] == '\0')
		vt_fail(err, status, "state of Raft group %llu: %s", (unsigned long long) group,
				vt_status_words(status));
	if (status == VT_OK)
		status = log_load_entries(host->log, group, stored->base.index + 1, stored->hard.last_index,
								  load_entry, loading, err);
	stored->entries = loading->entries;
	stored->n = loading->n;
	stored->applied = loading->applied;
	buf_free(&value);
	return status;
}

static void
loaded_free(Loading *loading)
{
	for (size_t i = 0; i < loading->n; i++)
		raft_buf_release(loading->entries[i].data);
	free(loading->entries);
}

VtStatus
replica_open(ReplicaHost *host, uint64_t group, uint64_t id, const ReplicaMachine *machine,
			 uint64_t applied, Replica **out, VtError *err)
{
	RaftOptions options;
	RaftStored	stored;
	Loading		loading = {.host = host, .applied = applied, .err = err};
	Replica    *replica;
	Raft	   *raft = NULL;
	VtStatus	status = load_stored(host, group, &loading, &stored, err);

	if (status == VT_OK)
		status = drop_up_to(host, group, stored.base.index, err);	/* what a crash left */
	if (status == VT_OK)
	{
		raft_options_init(&options);
		options.group = group;
		options.id = id;
		options.seed = prng_mix(host->seeds ^ group ^ id * 31);
		options.allocator = &host->allocator;
		options.max_entry_bytes = 8 << 20;
		options.max_uncommitted_bytes = 512 << 20;
		options.max_apply_bytes = 64 << 20;
		options.snapshot_first_bytes = host->options.snapshot_first_bytes;
		status = raft_open(&options, &stored, &raft, err);
	}
	loaded_free(&loading);
	if (status != VT_OK)
		return status;

	replica = vt_alloc0(sizeof(Replica));
	replica->host = host;
	replica->group = group;
	replica->id = id;
	replica->machine = *machine;
	replica->raft = raft;
	replica->stored_last = stored.hard.last_index;
	replica->stored_base = stored.base.index;
	replica->installed = stored.base.id;
	replica->log_bytes = loading.bytes;
	replica->proposals_end = &replica->proposals;
	replica->items_end = &replica->items;
	replica->asked_end = &replica->asked;
	atomic_store(&replica->applied, applied);
	atomic_store(&replica->term, stored.hard.term);
	atomic_store(&replica->last, stored.hard.last_index);
	atomic_store(&replica->last_term, stored.hard.last_term);
	atomic_store(&replica->led_us, clock_now_us());
	pthread_mutex_init(&replica->lock, NULL);
	pthread_cond_init(&replica->idle, NULL);
	*out = replica;				/* before its machine is told anything */
	host_event(host, EVENT_OPEN, replica, 0);
	return VT_OK;
}

/* One batch: the entry and the state that names it are there together or not at all [P5]. */
static void
batch_state(StoreBatch *batch, uint64_t group, const RaftHardState *hard)
{
	uint8_t		state[RAFT_HARD_STATE_SIZE];

	raft_hard_state_encode(hard, state);
	log_batch_state(batch, group, bytes_of(state, sizeof(state)));
}

VtStatus
replica_outlive(ReplicaHost *host, uint64_t group, uint64_t id, uint64_t life, VtError *err)
{
	RaftStored	stored;
	RaftHardState hard;
	Loading		loading = {.host = host, .applied = UINT64_MAX, .err = err};
	VtStatus	status = load_stored(host, group, &loading, &stored, err);

	if (status == VT_OK)
		status = raft_outlive(&stored, life, &hard);
	loaded_free(&loading);
	if (status == VT_OK)
	{
		StoreBatch *batch = store_batch_new();

		batch_state(batch, group, &hard);
		host_write_and_wait(host, batch);
		log_warn("group=%llu: replica %llu hears nothing of before term %llu any more", (unsigned long long) group,
				 (unsigned long long) id, (unsigned long long) hard.term);
	}
	return status == VT_EXISTS ? VT_OK : status;
}

VtStatus
replica_force(ReplicaHost *host, uint64_t group, uint64_t id, const RaftConf *members, uint64_t life,
			  VtError *err)
{
	RaftStored	stored;
	RaftHardState hard;
	RaftEntry	entry = {0};
	Loading		loading = {.host = host, .applied = UINT64_MAX, .err = err};
	VtStatus	status = load_stored(host, group, &loading, &stored, err);

	if (status == VT_OK)
		status = raft_force(&stored, id, members, life, &host->allocator, &entry, &hard, err);
	loaded_free(&loading);
	if (status == VT_OK)
	{
		StoreBatch *batch = store_batch_new();
		size_t		size = raft_entry_size(&entry);
		uint8_t    *bytes = vt_alloc(size);

		raft_entry_encode(&entry, bytes);
		log_batch_entry(batch, group, entry.index, bytes_of(bytes, size));
		free(bytes);
		batch_state(batch, group, &hard);
		host_write_and_wait(host, batch);
		log_warn("group=%llu goes on with replica %llu alone, from %llu in term %llu", (unsigned long long) group,
				 (unsigned long long) id, (unsigned long long) entry.index, (unsigned long long) entry.term);
	}
	raft_buf_release(entry.data);
	return status == VT_EXISTS ? VT_OK : status;
}

void
replica_free(Replica *replica)
{
	while (replica->items)
	{
		ApplyItem  *item = replica->items;

		replica->items = item->next;
		raft_buf_release(item->data);
		free(item);
	}

	/* What was proposed may be in the log by now, and be applied after a start. */
	group_fail_asked(replica, VT_UNAVAILABLE);
	while (replica->io_drops)	/* whoever opens it drops them */
	{
		LogRange   *range = replica->io_drops;

		replica->io_drops = range->next;
		free(range);
	}
	group_fail_waiters(replica, VT_UNAVAILABLE, true);
	snapshot_forget_all(replica);
	raft_close(replica->raft);
	pthread_mutex_destroy(&replica->lock);
	pthread_cond_destroy(&replica->idle);
	free(replica);
}

/* Wait until everything in the inbox before now has been handled. */
static void
close_round(Replica *replica)
{
	pthread_mutex_lock(&replica->lock);
	replica->closed = false;
	pthread_mutex_unlock(&replica->lock);
	host_event(replica->host, EVENT_CLOSE, replica, 0);
	pthread_mutex_lock(&replica->lock);
	while (!replica->closed)
		pthread_cond_wait(&replica->idle, &replica->lock);
	pthread_mutex_unlock(&replica->lock);
}

/* The steppers let go of it, then the apply and io threads. */
static void
let_go(Replica *replica)
{
	close_round(replica);
	pthread_mutex_lock(&replica->lock);
	while (replica->queued || replica->staging)
		pthread_cond_wait(&replica->idle, &replica->lock);
	pthread_mutex_unlock(&replica->lock);
	errands_cancel(replica);
	io_cancel(replica);
}

/* Write a batch as its last word, and free it. */
static void
finish_with(Replica *replica, StoreBatch *batch)
{
	host_write_and_wait(replica->host, batch);

	/* What the writer reported before is in the inbox: let it pass. */
	close_round(replica);
	replica_free(replica);
}

VtStatus
replica_destroy(Replica *replica, VtError *err)
{
	StoreBatch *batch = store_batch_new();

	(void) err;
	let_go(replica);

	/* Nothing of it is written any more, so these stand still. */
	log_batch_tombstone(batch, replica->group, replica->id);
	host_write_and_wait(replica->host, batch);
	io_drop_all(replica, replica->io_drops);
	replica->io_drops = NULL;
	io_drop(replica->host, replica->group, replica->stored_base + 1, replica->stored_last);
	if (replica->install_seq)
		io_drop(replica->host, replica->group, replica->stale_first, replica->stale_last);
	finish_with(replica, store_batch_new());
	return VT_OK;
}

void
replica_close(Replica *replica)
{
	VtError		err = {0};
	uint64_t	index;

	let_go(replica);
	if (replica->machine.checkpoint(replica->machine.state, &index, &err) != VT_OK)
		host_die("write a checkpoint", &err);
	finish_with(replica, store_batch_new());
}

VtStatus
replica_forget(ReplicaHost *host, uint64_t group, uint64_t replica, VtError *err)
{
	StoreBatch *batch = store_batch_new();

	log_batch_tombstone(batch, group, replica);
	host_write_and_wait(host, batch);
	return drop_up_to(host, group, UINT64_MAX - 1, err);
}
