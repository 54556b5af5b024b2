/*-------------------------------------------------------------------------
 *
 * io.c
 *	  The io thread: checkpoints, and the deletion of what was cut off a log or staged
 *	  in vain.
 *
 * What lies below a log's durable base means nothing any more, so it is deleted
 * in slices and without a sync: LevelDB has no deletion of ranges, and one batch
 * of it all would hold everybody up.  A crash leaves some, and whoever opens the
 * group deletes that (life.c).
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "private.h"

/* Delete a closed range of a group's log entries. */
void
io_drop(ReplicaHost *host, uint64_t group, uint64_t first, uint64_t last)
{
	StoreBatch *batch = store_batch_new();
	VtError		err = {0};

	while (first <= last)
	{
		store_batch_clear(batch);
		for (uint32_t n = 0; n < LOG_SLICE && first <= last; n++)
			log_batch_drop(batch, group, first++);
		if (store_write(host->log, batch, false, &err) != VT_OK)
			host_die("delete from the Raft log", &err);
	}
	store_batch_free(batch);
}

/* With io_lock held.  A replica is in the queue once at most. */
static void
enqueue(ReplicaHost *host, Replica *replica)
{
	if (replica->io_queued)
		return;
	replica->io_queued = true;
	replica->io_next = NULL;
	*host->io_end = replica;
	host->io_end = &replica->io_next;
	pthread_cond_signal(&host->io_ready);
}

void
io_checkpoint(Replica *replica)
{
	ReplicaHost *host = replica->host;

	pthread_mutex_lock(&host->io_lock);
	replica->io_checkpoint = true;
	enqueue(host, replica);
	pthread_mutex_unlock(&host->io_lock);
}

/* What is staged of a stream is not wanted. */
void
io_unstage(Replica *replica, uint64_t stream)
{
	ReplicaHost *host = replica->host;

	pthread_mutex_lock(&host->io_lock);
	replica->io_unstage = stream;
	enqueue(host, replica);
	pthread_mutex_unlock(&host->io_lock);
}

/* Entries first..last, which are in the store, lie below the durable base. */
void
io_drop_later(Replica *replica, uint64_t first, uint64_t last)
{
	ReplicaHost *host = replica->host;
	LogRange   *range;

	if (first > last)
		return;
	range = vt_alloc0(sizeof(LogRange));
	range->first = first;
	range->last = last;
	pthread_mutex_lock(&host->io_lock);
	range->next = replica->io_drops;
	replica->io_drops = range;
	enqueue(host, replica);
	pthread_mutex_unlock(&host->io_lock);
}

/* No io is done for a replica any more when it returns. */
void
io_cancel(Replica *replica)
{
	ReplicaHost *host = replica->host;

	pthread_mutex_lock(&host->io_lock);
	for (Replica **p = &host->io_first; *p; p = &(*p)->io_next)
		if (*p == replica)
		{
			*p = replica->io_next;
			if (!*p)
				host->io_end = p;
			break;
		}
	while (host->io_busy == replica)
		pthread_cond_wait(&host->io_idle, &host->io_lock);
	pthread_mutex_unlock(&host->io_lock);
}

/* Drop what waits for it. */
void
io_drop_all(Replica *replica, LogRange *ranges)
{
	while (ranges)
	{
		LogRange   *range = ranges;

		ranges = range->next;
		io_drop(replica->host, replica->group, range->first, range->last);
		free(range);
	}
}

static void
serve(Replica *replica, bool checkpoint, uint64_t unstage, LogRange *drops)
{
	ReplicaHost *host = replica->host;
	VtError		err = {0};
	uint64_t	index = 0;

	if (checkpoint)
	{
		if (replica->machine.checkpoint(replica->machine.state, &index, &err) != VT_OK)
			host_die("write a checkpoint", &err);
		host_event(host, EVENT_CHECKPOINTED, replica, index);
	}
	if (unstage)
		snapshot_unstage(replica, unstage);
	io_drop_all(replica, drops);
}

void *
io_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;

	pthread_mutex_lock(&host->io_lock);
	while (!host->io_stop)
	{
		Replica    *replica = host->io_first;
		LogRange   *drops;
		uint64_t	unstage;
		bool		checkpoint;

		if (!replica)
		{
			pthread_cond_wait(&host->io_ready, &host->io_lock);
			continue;
		}
		host->io_first = replica->io_next;
		if (!host->io_first)
			host->io_end = &host->io_first;
		checkpoint = replica->io_checkpoint;
		unstage = replica->io_unstage;
		drops = replica->io_drops;
		replica->io_drops = NULL;
		replica->io_unstage = 0;
		replica->io_checkpoint = replica->io_queued = false;
		host->io_busy = replica;
		pthread_mutex_unlock(&host->io_lock);
		serve(replica, checkpoint, unstage, drops);
		pthread_mutex_lock(&host->io_lock);
		host->io_busy = NULL;
		pthread_cond_broadcast(&host->io_idle);
	}
	pthread_mutex_unlock(&host->io_lock);
	return NULL;
}
