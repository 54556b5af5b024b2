/*-------------------------------------------------------------------------
 *
 * errand.c
 *	  Slow work away from the raft thread.
 *
 * Three queues, a thread each: entries from the log for a peer that waits are
 * not to stand behind a snapshot that is installed, which may take minutes, nor
 * either behind one that is sent.  A finished errand goes back to the stepper
 * as an event.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/log.h"
#include "private.h"

#define FETCH_BYTES (4u << 20)
#define CHUNK_BYTES (1u << 20)
#define CHUNK_TRIES 3

void
errand_free(Errand *errand)
{
	for (size_t i = 0; i < errand->n; i++)
		raft_buf_release(errand->entries[i].data);
	free(errand->entries);
	buf_free(&errand->message);
	if (errand->stream)
		errand->replica->machine.snapshot_close(errand->stream);
	free(errand);
}

void
errand_put(ErrandQueue *queue, Errand *errand)
{
	pthread_mutex_lock(&queue->lock);
	errand->next = NULL;
	*queue->end = errand;
	queue->end = &errand->next;
	pthread_cond_signal(&queue->ready);
	pthread_mutex_unlock(&queue->lock);
}

/* -- Entries from the log -------------------------------------------------- */

typedef struct Fetching
{
	Errand	   *errand;
	uint64_t	bytes;
} Fetching;

static VtStatus
fetch_entry(void *arg, uint64_t index, Bytes bytes)
{
	Fetching   *fetching = (Fetching *) arg;
	Errand	   *errand = fetching->errand;
	RaftEntry  *entry = &errand->entries[errand->n];
	size_t		used;
	VtStatus	status = raft_entry_decode(bytes, true, &errand->replica->host->allocator, entry, &used);

	if (status != VT_OK)
		return status;
	errand->n++;
	fetching->bytes += entry->size;
	return entry->index != index || used != bytes.len ? VT_CORRUPT :
		fetching->bytes > FETCH_BYTES ? VT_FULL : VT_OK;
}

/* Compacted meanwhile, or enough: whatever was read is of use. */
static void
run_fetch(Errand *errand)
{
	Replica    *replica = errand->replica;
	Fetching	fetching = {errand, 0};

	errand->entries = vt_alloc0(sizeof(RaftEntry) * (size_t) (errand->last - errand->first + 1));
	(void) log_load_entries(replica->host->log, replica->group, errand->first, errand->last,
							fetch_entry, &fetching, NULL);
}

/* -- Installing ------------------------------------------------------------ */

/* The log begins with the snapshot now; what apply had in hand goes first. */
static void
run_install(Errand *errand)
{
	Replica    *replica = errand->replica;
	VtError		err = {0};

	pthread_mutex_lock(&replica->lock);
	while (replica->queued)
		pthread_cond_wait(&replica->idle, &replica->lock);
	pthread_mutex_unlock(&replica->lock);
	if (replica->machine.install(replica->machine.state, errand->id, errand->index, &err) != VT_OK)
		host_die("install a snapshot", &err);
	atomic_store_explicit(&replica->applied, errand->index, memory_order_release);
	apply_reads(replica, errand->index);
}

/* -- Sending --------------------------------------------------------------- */

static void
run_open(Errand *errand)
{
	Replica    *replica = errand->replica;
	VtError		err = {0};
	VtStatus	status = replica->machine.snapshot_open(replica->machine.state, &errand->stream,
														&errand->index, &err);

	errand->ok = status == VT_OK;
	if (!errand->ok)
	{
		errand->stream = NULL;
		log_warn("group=%llu: could not read a snapshot: %s", (unsigned long long) replica->group,
				 vt_error_words(&err));
	}
}

/*
 * Send one chunk until the peer wants the next.  The peer may have taken it
 * already when the answer was lost; anything else it wants, we no longer have.
 */
static bool
send_chunk(Errand *errand, const WireChunk *chunk, VtError *err)
{
	const ReplicaTransport *transport = &errand->replica->host->options.transport;
	Buf			payload = {0};
	bool		ok = false;

	wire_chunk_put(&payload, chunk);
	for (int i = 0; i < CHUNK_TRIES && !ok && !atomic_load(&errand->replica->cancelled); i++)
	{
		WireChunkResult result = {0};
		VtStatus	status = transport->chunk(transport->arg, errand->node, buf_bytes(&payload),
											  &result, err);

		if (status == VT_OK && result.next == chunk->seq + 1)
			ok = true;
		else if (status == VT_OK)
		{
			vt_fail(err, result.status != VT_OK ? result.status : VT_LEASE_GONE, "it says: %s",
					vt_status_words(result.status != VT_OK ? result.status : VT_LEASE_GONE));
			break;
		}
	}
	buf_free(&payload);
	return ok;
}

static void
run_send(Errand *errand)
{
	Replica    *replica = errand->replica;
	WireChunk	chunk = {.group = replica->group, .to = errand->to, .stream = errand->id};
	Buf			data = {0};
	VtError		err = {0};

	errand->ok = true;
	while (errand->ok && !chunk.last)
	{
		buf_clear(&data);
		errand->ok = replica->machine.snapshot_read(errand->stream, CHUNK_BYTES, &data, &chunk.last,
													&err) == VT_OK;
		chunk.data = buf_bytes(&data);
		if (chunk.last)
			chunk.message = buf_bytes(&errand->message);
		errand->ok = errand->ok && send_chunk(errand, &chunk, &err);
		chunk.seq++;
	}
	if (errand->ok)
		log_info("group=%llu: snapshot at %llu sent to replica %llu in %u chunks",
				 (unsigned long long) replica->group, (unsigned long long) errand->index,
				 (unsigned long long) errand->to, chunk.seq);
	else
		log_warn("group=%llu: could not send a snapshot to replica %llu: %s",
				 (unsigned long long) replica->group, (unsigned long long) errand->to,
				 vt_error_words(&err));
	replica->machine.snapshot_close(errand->stream);
	errand->stream = NULL;
	buf_free(&data);
}

/* -- The threads ----------------------------------------------------------- */

static void
come_back(Errand *errand)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = EVENT_ERRAND;
	event->replica = errand->replica;
	event->errand = errand;
	host_post(errand->replica->host, event);
}

static void
run(Errand *errand)
{
	switch (errand->kind)
	{
		case ERRAND_FETCH:
			run_fetch(errand);
			break;
		case ERRAND_INSTALL:
			run_install(errand);
			break;
		case ERRAND_OPEN:
			run_open(errand);
			break;
		case ERRAND_SEND:
			run_send(errand);
			break;
	}
	come_back(errand);
}

static void *
errand_main(void *arg)
{
	ErrandQueue *queue = (ErrandQueue *) arg;

	pthread_mutex_lock(&queue->lock);
	while (!queue->stop)
	{
		Errand	   *errand = queue->first;

		if (!errand)
		{
			pthread_cond_wait(&queue->ready, &queue->lock);
			continue;
		}
		queue->first = errand->next;
		if (!queue->first)
			queue->end = &queue->first;
		queue->busy = errand->replica;
		pthread_mutex_unlock(&queue->lock);
		run(errand);
		pthread_mutex_lock(&queue->lock);
		queue->busy = NULL;
		pthread_cond_broadcast(&queue->idle);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

static void
queue_start(ReplicaHost *host, ErrandQueue *queue)
{
	queue->host = host;
	queue->end = &queue->first;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->ready, NULL);
	pthread_cond_init(&queue->idle, NULL);
	host_start_thread(&queue->thread, errand_main, queue);
}

void
errands_start(ReplicaHost *host)
{
	queue_start(host, &host->fetches);
	queue_start(host, &host->installs);
	queue_start(host, &host->sends);
}

static void
queue_stop(ErrandQueue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->stop = true;
	pthread_cond_broadcast(&queue->ready);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(queue->thread, NULL);
	while (queue->first)
	{
		Errand	   *errand = queue->first;

		queue->first = errand->next;
		errand_free(errand);
	}
	pthread_mutex_destroy(&queue->lock);
	pthread_cond_destroy(&queue->ready);
	pthread_cond_destroy(&queue->idle);
}

/* Replicas must be cancelled before, or a snapshot is sent to its end. */
void
errands_stop(ReplicaHost *host)
{
	queue_stop(&host->fetches);
	queue_stop(&host->installs);
	queue_stop(&host->sends);
}

Errand *
errands_take(ErrandQueue *queue, const Replica *replica)
{
	Errand	   *taken = NULL;

	pthread_mutex_lock(&queue->lock);
	for (Errand **p = &queue->first; *p;)
	{
		Errand	   *errand = *p;

		if (errand->replica != replica)
		{
			p = &errand->next;
			continue;
		}
		*p = errand->next;
		if (!*p)
			queue->end = p;
		errand->next = taken;
		taken = errand;
	}
	pthread_mutex_unlock(&queue->lock);
	return taken;
}

static void
queue_cancel(ErrandQueue *queue, Replica *replica)
{
	Errand	   *taken = errands_take(queue, replica);

	while (taken)
	{
		Errand	   *errand = taken;

		taken = errand->next;
		errand_free(errand);
	}
	pthread_mutex_lock(&queue->lock);
	while (queue->busy == replica)
		pthread_cond_wait(&queue->idle, &queue->lock);
	pthread_mutex_unlock(&queue->lock);
}

void
errands_cancel(Replica *replica)
{
	atomic_store(&replica->cancelled, true);
	queue_cancel(&replica->host->fetches, replica);
	queue_cancel(&replica->host->installs, replica);
	queue_cancel(&replica->host->sends, replica);
}
