/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  The apply threads and the io thread.
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

#include "base/log.h"
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

static ApplyItem *
take_items(Replica *replica, ReplicaCommand *commands, size_t *n, uint64_t *last)
{
	ApplyItem  *taken = NULL;
	ApplyItem **end = &taken;
	size_t		bytes = 0;

	*n = 0;
	pthread_mutex_lock(&replica->lock);
	while (replica->items && *n < APPLY_COMMANDS && bytes < APPLY_BYTES)
	{
		ApplyItem  *item = replica->items;

		replica->items = item->next;
		if (!replica->items)
			replica->items_end = &replica->items;
		item->next = NULL;
		*end = item;
		end = &item->next;
		*last = item->index;
		if (item->type != RAFT_COMMAND)
			continue;
		memset(&commands[*n], 0, sizeof(commands[*n]));
		commands[*n].index = item->index;
		commands[*n].term = item->term;
		/* Payloads leave memory only after they were applied (raft_evict). */
		Assert(item->data != NULL || item->size == 0);
		commands[*n].bytes = item->data ? bytes_of(item->data->data, item->data->len) :
			bytes_of(NULL, 0);
		(*n)++;
		bytes += item->size;
	}
	pthread_mutex_unlock(&replica->lock);
	return taken;
}

static void
apply_some(Replica *replica)
{
	ReplicaCommand commands[APPLY_COMMANDS];
	size_t		n;
	uint64_t	last = 0;
	ApplyItem  *items = take_items(replica, commands, &n, &last);
	VtError		err = {0};

	if (!items)
		return;
	if (replica->machine.apply(replica->machine.state, commands, n, last, &err) != VT_OK)
		host_die("apply the Raft log", &err);
	atomic_store_explicit(&replica->applied, last, memory_order_release);

	for (size_t i = 0; i < n; i++)
	{
		Waiter	   *waiter;

		while ((waiter = take_waiter(replica, commands[i].index)) != NULL)
		{
			bool		ours = waiter->index == commands[i].index && waiter->term == commands[i].term;

			atomic_fetch_sub(&replica->host->inflight_bytes, waiter->bytes);
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

void *
apply_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;

	for (;;)
	{
		Replica    *replica;
		bool		more;

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

		apply_some(replica);
		pthread_mutex_lock(&replica->lock);
		more = replica->items != NULL && !replica->closed;
		if (!more)
		{
			replica->queued = false;
			pthread_cond_broadcast(&replica->idle);
		}
		pthread_mutex_unlock(&replica->lock);
		if (more)
			host_run(host, replica);
	}
}

/* -- Checkpoints ----------------------------------------------------------- */

void
io_ask(ReplicaHost *host, Replica *replica)
{
	pthread_mutex_lock(&host->io_lock);
	if (host->io_n == host->io_room)
	{
		host->io_room = host->io_room ? host->io_room * 2 : 16;
		host->io_queue = vt_realloc(host->io_queue, sizeof(Replica *) * host->io_room);
	}
	host->io_queue[host->io_n++] = replica;
	pthread_cond_signal(&host->io_ready);
	pthread_mutex_unlock(&host->io_lock);
}

void *
io_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;

	pthread_mutex_lock(&host->io_lock);
	while (!host->io_stop)
	{
		Replica    *replica = NULL;

		while (host->io_n > 0 && !replica)
			replica = host->io_queue[--host->io_n];
		if (!replica)
		{
			pthread_cond_wait(&host->io_ready, &host->io_lock);
			continue;
		}
		host->io_busy = replica;
		pthread_mutex_unlock(&host->io_lock);
		{
			VtError		err = {0};
			uint64_t	index = 0;

			if (replica->machine.checkpoint(replica->machine.state, &index, &err) != VT_OK)
				host_die("write a checkpoint", &err);
			host_event(host, EVENT_CHECKPOINTED, replica, index);
		}
		pthread_mutex_lock(&host->io_lock);
		host->io_busy = NULL;
		pthread_cond_broadcast(&host->io_idle);
	}
	pthread_mutex_unlock(&host->io_lock);
	return NULL;
}
