/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  The apply threads.
 *
 * A group is applied by one thread at a time: it is in the run queue or with a
 * thread, never both (Replica.queued).  A thread takes what has gathered, lets
 * the machine apply it in one batch, publishes the applied index, and only then
 * answers (law S1).
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/log.h"
#include "base/thread.h"
#include "private.h"

/* At most so much is given to a machine at once. */
#define APPLY_COMMANDS 256
#define APPLY_BYTES (4 << 20)

/* Put a replica into the run queue of the apply threads. */
void
host_run(ReplicaHost *host, Replica *replica)
{
	pthread_mutex_lock(&host->apply_lock);
	replica->run_next = NULL;
	*host->run_end = replica;
	host->run_end = &replica->run_next;
	pthread_mutex_unlock(&host->apply_lock);
	pthread_cond_signal(&host->apply_ready);
}

/* Answer the reads that applied covers. */
void
apply_reads(Replica *replica, uint64_t applied)
{
	Waiter	   *ready = NULL;

	pthread_mutex_lock(&replica->lock);
	for (Waiter **p = &replica->reads; *p;)
	{
		Waiter	   *waiter = *p;

		if (waiter->index > applied)
		{
			p = &waiter->next;
			continue;
		}
		*p = waiter->next;
		waiter->next = ready;
		ready = waiter;
	}
	pthread_mutex_unlock(&replica->lock);
	while (ready)
	{
		Waiter	   *waiter = ready;

		ready = waiter->next;
		waiter->done(waiter->arg, VT_OK, waiter->index, bytes_of(NULL, 0));
		free(waiter);
	}
}

/* The waiter of the proposal that became this entry, if it was made here. */
static Waiter *
take_waiter(Replica *replica, uint64_t index)
{
	Waiter	   *waiter;

	pthread_mutex_lock(&replica->lock);
	waiter = replica->proposals;
	if (waiter && waiter->index <= index)
	{
		replica->proposals = waiter->next;
		if (!replica->proposals)
			replica->proposals_end = &replica->proposals;
	}
	else
		waiter = NULL;
	pthread_mutex_unlock(&replica->lock);
	return waiter;
}

/* What has gathered, up to the limits. */
static ApplyItem *
take_items(Replica *replica)
{
	ApplyItem  *taken = NULL;
	ApplyItem **end = &taken;
	size_t		bytes = 0;

	pthread_mutex_lock(&replica->lock);
	for (size_t n = 0; replica->items && n < APPLY_COMMANDS && bytes < APPLY_BYTES; n++)
	{
		ApplyItem  *item = replica->items;

		replica->items = item->next;
		if (!replica->items)
			replica->items_end = &replica->items;
		item->next = NULL;
		*end = item;
		end = &item->next;
		bytes += item->size;
		replica->items_bytes -= item->data ? item->size : 0;
	}
	pthread_mutex_unlock(&replica->lock);
	return taken;
}

/*
 * What waits to be applied is read from the log when it is taken: it is durable there [P4].
 * After that the group is below its bound, so all that waits is looked at once for each
 * half of the bound that comes: with 160 000 entries waiting a write costs no more.
 */
void
apply_forget_payloads(Replica *replica)
{
	pthread_mutex_lock(&replica->lock);
	if (replica->items_bytes > 0)
		for (ApplyItem *item = replica->items; item; item = item->next)
		{
			if (item->type != RAFT_COMMAND || !item->data)
				continue;
			replica->items_bytes -= item->size;
			raft_buf_release(item->data);
			item->data = NULL;
		}
	pthread_mutex_unlock(&replica->lock);
}

static bool
is_missing(const ApplyItem *item)
{
	return item->type == RAFT_COMMAND && item->size > 0 && !item->data;
}

typedef struct Filling
{
	const RaftAllocator *allocator;
	ApplyItem  *item;			/* of the next index */
} Filling;

static VtStatus
fill_item(void *arg, uint64_t index, Bytes bytes)
{
	Filling    *filling = (Filling *) arg;
	ApplyItem  *item = filling->item;
	RaftEntry	entry;
	size_t		used;
	VtStatus	status;

	filling->item = item->next;
	if (!is_missing(item))
		return VT_OK;
	status = raft_entry_decode(bytes, true, filling->allocator, &entry, &used);
	if (status != VT_OK)
		return status;
	if (entry.index != index || entry.term != item->term || entry.size != item->size || !entry.data)
	{
		raft_buf_release(entry.data);
		return VT_CORRUPT;
	}
	item->data = entry.data;
	return VT_OK;
}

/* Payloads that are not in memory: what was not applied is in the log. */
static void
read_missing(Replica *replica, ApplyItem *items)
{
	ReplicaHost *host = replica->host;
	Filling		filling = {&host->allocator, items};
	uint64_t	last = 0;
	VtError		err = {0};
	VtStatus	status;

	while (filling.item && !is_missing(filling.item))
		filling.item = filling.item->next;
	for (ApplyItem *item = filling.item; item; item = item->next)
		last = is_missing(item) ? item->index : last;
	if (last == 0 || vt_broken("S1-evicted"))
		return;
	status = log_load_entries(host->log, replica->group, filling.item->index, last, fill_item,
							  &filling, &err);
	if (status == VT_OK)
		return;
	if (err.msg[0] == '\0')
		vt_fail(&err, status, "group %llu: %s", (unsigned long long) replica->group,
				vt_status_words(status));
	host_die("read the Raft log", &err);
}

/* The commands among them; how many. */
static size_t
commands_of(const Replica *replica, const ApplyItem *items, ReplicaCommand *commands, uint64_t *last)
{
	uint64_t	from = atomic_load(&replica->serving_from);
	size_t		n = 0;

	for (const ApplyItem *item = items; item; item = item->next)
	{
		*last = item->index;
		if (item->type != RAFT_COMMAND)
			continue;
		memset(&commands[n], 0, sizeof(commands[n]));
		commands[n].index = item->index;
		commands[n].term = item->term;
		commands[n].led = from != 0 && item->index >= from;
		commands[n].bytes = item->data ? bytes_of(item->data->data, item->data->len) :
			bytes_of(NULL, 0);
		n++;
	}
	return n;
}

static void
apply_some(Replica *replica)
{
	ReplicaCommand commands[APPLY_COMMANDS];
	size_t		n;
	uint64_t	last = 0;
	ApplyItem  *items = take_items(replica);
	VtError		err = {0};

	if (!items)
		return;
	read_missing(replica, items);
	n = commands_of(replica, items, commands, &last);
	if (replica->machine.apply(replica->machine.state, commands, n, last, &err) != VT_OK)
		host_die("apply the Raft log", &err);
	atomic_store_explicit(&replica->applied, last, memory_order_release);
	replica_changed(replica);
	host_count(&replica->host->counts.applied, n);

	for (size_t i = 0; i < n; i++)
	{
		Waiter	   *waiter;

		while ((waiter = take_waiter(replica, commands[i].index)) != NULL)
		{
			bool		ours = waiter->index == commands[i].index && waiter->term == commands[i].term;

			replica_end_flight(replica, waiter->bytes);
			gather_answered(replica->host, waiter);
			if (ours)
				waiter->done(waiter->arg, commands[i].status, commands[i].index,
							 buf_bytes(&commands[i].reply));
			else
				waiter->done(waiter->arg, VT_UNAVAILABLE, 0, bytes_of(NULL, 0));
			free(waiter);
			if (ours)
				break;
		}
		buf_free(&commands[i].reply);
	}
	gather_news(replica->host);
	apply_reads(replica, last);
	while (items)
	{
		ApplyItem  *item = items;

		items = item->next;
		raft_buf_release(item->data);
		free(item);
	}
	host_event(replica->host, EVENT_APPLIED, replica, last);
}

/* Whoever had its turn with the machine lets the next one have it. */
void
apply_turn_over(Replica *replica)
{
	bool		more;

	pthread_mutex_lock(&replica->lock);
	more = replica->items != NULL && !replica->closed;
	if (!more)
	{
		replica->queued = false;
		pthread_cond_broadcast(&replica->idle);
	}
	pthread_mutex_unlock(&replica->lock);
	if (more)
		host_run(replica->host, replica);
}

void *
apply_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;
	Pulse	   *pulse = &host->applying[atomic_fetch_add(&host->appliers, 1)];

	thread_name("apply");
	for (;;)
	{
		Replica    *replica;

		pthread_mutex_lock(&host->apply_lock);
		while (!host->run && !host->apply_stop)
			pthread_cond_wait(&host->apply_ready, &host->apply_lock);
		replica = host->run;
		if (replica)
		{
			host->run = replica->run_next;
			if (!host->run)
				host->run_end = &host->run;
		}
		pthread_mutex_unlock(&host->apply_lock);
		if (!replica)
			return NULL;

		pulse_begin(pulse);
		apply_some(replica);
		pulse_end(pulse);
		apply_turn_over(replica);
	}
}
