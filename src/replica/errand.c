/*-------------------------------------------------------------------------
 *
 * errand.c
 *	  Slow work away from the raft thread.
 *
 * Three queues: entries from the log for a peer that waits are not to stand
 * behind a snapshot that is installed, which may take minutes, nor either behind
 * one that is sent.  A finished errand goes back to the stepper as an event.
 *
 * Snapshots are read and sent by several threads, to a node by one of them at a
 * time.  An errand of theirs may come back to its queue to be gone on with later
 * (send.c), and the others have their turn meanwhile.
 *
 * One that is open keeps old rows, the log from there on, and perhaps a graph that
 * is written into a file.  So few are, one for a node, and hundreds of groups that a
 * peer lags behind in wait for their turn with nothing open.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/clock.h"
#include "private.h"

#define FETCH_BYTES (4u << 20)

static void
turn_over(Errand *errand)
{
	ReplicaHost *host = errand->replica->host;

	if (!errand->turn)
		return;
	errand->turn = false;
	pthread_mutex_lock(&host->sends.lock);
	for (int i = 0; i < OPEN_MAX; i++)
		if (host->open[i] == errand->node)
			host->open[i] = 0;
	pthread_cond_broadcast(&host->sends.ready);
	pthread_mutex_unlock(&host->sends.lock);
}

void
errand_free(Errand *errand)
{
	for (size_t i = 0; i < errand->n; i++)
		raft_buf_release(errand->entries[i].data);
	free(errand->entries);
	buf_free(&errand->message);
	send_close(errand);
	turn_over(errand);
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

/*
 * The log begins with the snapshot now; what apply had in hand goes first, and
 * then it is this thread's turn until the new state is loaded.
 */
static void
run_install(Errand *errand)
{
	Replica    *replica = errand->replica;
	VtError		err = {0};

	pthread_mutex_lock(&replica->lock);
	while (replica->queued)
		pthread_cond_wait(&replica->idle, &replica->lock);
	replica->queued = true;
	pthread_mutex_unlock(&replica->lock);
	if (replica->machine.install(replica->machine.state, errand->id, errand->index, &err) != VT_OK)
		host_die("install a snapshot", &err);
}

/*
 * The core knows that the snapshot is in place, and votes and takes entries
 * again, while it is loaded, which may take minutes.
 */
static void
load_installed(Replica *replica, uint64_t index)
{
	VtError		err = {0};

	if (replica->machine.load && replica->machine.load(replica->machine.state, index, &err) != VT_OK)
		host_die("load a snapshot", &err);
	atomic_store_explicit(&replica->applied, index, memory_order_release);
	replica_changed(replica);
	apply_reads(replica, index);
	apply_turn_over(replica);
	host_event(replica->host, EVENT_LOADED, replica, 0);
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

/* False: it is not over, and goes back to its queue. */
static bool
run(Errand *errand)
{
	Replica    *replica = errand->replica;
	ErrandKind	kind = errand->kind;
	uint64_t	index = errand->index;

	switch (errand->kind)
	{
		case ERRAND_FETCH:
			run_fetch(errand);
			break;
		case ERRAND_INSTALL:
			run_install(errand);
			break;
		case ERRAND_OPEN:
			send_open(errand);
			break;
		case ERRAND_SEND:
			if (!send_go_on(errand))
				return false;
			break;
	}
	come_back(errand);
	if (kind == ERRAND_INSTALL)
		load_installed(replica, index);
	return true;
}

static bool
is_busy_with(const ErrandQueue *queue, const Replica *replica, uint64_t node)
{
	for (uint32_t i = 0; i < queue->nthreads; i++)
		if ((replica && queue->threads[i].busy == replica) || (node && queue->threads[i].node == node))
			return true;
	return false;
}

/* May a snapshot be opened for this node?  With the lock of host->sends held. */
static bool
is_its_turn(ReplicaHost *host, uint64_t node)
{
	uint64_t   *free_place = NULL;

	for (uint64_t *open = host->open; open < host->open + OPEN_MAX; open++)
	{
		if (*open == node)
			return false;
		if (*open == 0)
			free_place = open;
	}
	if (free_place)
		*free_place = node;
	return free_place != NULL;
}

/* The first that may be run now; NULL: none, and *wait_us says for how long. */
static Errand *
take_next(ErrandQueue *queue, int64_t *wait_us)
{
	int64_t		now = clock_now_us();

	*wait_us = INT64_MAX;
	for (Errand **p = &queue->first; *p; p = &(*p)->next)
	{
		Errand	   *errand = *p;

		if (errand->kind == ERRAND_SEND && is_busy_with(queue, NULL, errand->node))
			continue;			/* whoever is busy looks again */
		if (errand->not_before_us > now)
		{
			if (errand->not_before_us - now < *wait_us)
				*wait_us = errand->not_before_us - now;
			continue;
		}
		if (errand->kind == ERRAND_OPEN && !(errand->turn = is_its_turn(errand->replica->host, errand->node)))
			continue;			/* until another is over */
		*p = errand->next;
		if (!*p)
			queue->end = p;
		return errand;
	}
	return NULL;
}

static void
wait_for_work(ErrandQueue *queue, int64_t wait_us)
{
	struct timespec until;

	if (wait_us == INT64_MAX)
	{
		pthread_cond_wait(&queue->ready, &queue->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_us / 1000000;
	until.tv_nsec += wait_us % 1000000 * 1000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&queue->ready, &queue->lock, &until);
}

static void *
errand_main(void *arg)
{
	ErrandThread *self = (ErrandThread *) arg;
	ErrandQueue *queue = self->queue;

	pthread_mutex_lock(&queue->lock);
	while (!queue->stop)
	{
		int64_t		wait_us;
		Errand	   *errand = take_next(queue, &wait_us);
		bool		over;

		if (!errand)
		{
			wait_for_work(queue, wait_us);
			continue;
		}
		self->busy = errand->replica;
		self->node = errand->kind == ERRAND_SEND ? errand->node : 0;
		pthread_mutex_unlock(&queue->lock);
		over = run(errand);
		if (!over)
			errand_put(queue, errand);
		pthread_mutex_lock(&queue->lock);
		self->busy = NULL;
		self->node = 0;
		pthread_cond_broadcast(&queue->idle);
		pthread_cond_broadcast(&queue->ready);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

static void
queue_start(ErrandQueue *queue, uint32_t nthreads)
{
	queue->end = &queue->first;
	queue->nthreads = nthreads;
	pthread_mutex_init(&queue->lock, NULL);
	host_cond_init(&queue->ready);
	host_cond_init(&queue->idle);
	for (uint32_t i = 0; i < nthreads; i++)
	{
		queue->threads[i].queue = queue;
		host_start_thread(&queue->threads[i].thread, errand_main, &queue->threads[i]);
	}
}

void
errands_start(ReplicaHost *host)
{
	queue_start(&host->fetches, 1);
	queue_start(&host->installs, 1);
	queue_start(&host->sends, SENDERS);
}

static void
queue_stop(ErrandQueue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->stop = true;
	pthread_cond_broadcast(&queue->ready);
	pthread_mutex_unlock(&queue->lock);
	for (uint32_t i = 0; i < queue->nthreads; i++)
		pthread_join(queue->threads[i].thread, NULL);
	while (queue->first)
	{
		Errand	   *errand = queue->first;

		queue->first = errand->next;
		errand_free(errand);
	}
}

static void
queue_free(ErrandQueue *queue)
{
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

void
errands_free(ReplicaHost *host)
{
	queue_free(&host->fetches);
	queue_free(&host->installs);
	queue_free(&host->sends);
}

/* With the queue's lock held. */
static Errand *
take_all(ErrandQueue *queue, const Replica *replica)
{
	Errand	   *taken = NULL;

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
	return taken;
}

Errand *
errands_take(ErrandQueue *queue, const Replica *replica)
{
	Errand	   *taken;

	pthread_mutex_lock(&queue->lock);
	taken = take_all(queue, replica);
	pthread_mutex_unlock(&queue->lock);
	return taken;
}

void
errands_interrupt(ReplicaHost *host, const Replica *replica)
{
	const ReplicaTransport *transport = &host->options.transport;
	ErrandQueue *queue = &host->sends;
	uint64_t	nodes[SENDERS] = {0};

	pthread_mutex_lock(&queue->lock);
	for (uint32_t i = 0; i < queue->nthreads; i++)
		if (queue->threads[i].busy == replica)
			nodes[i] = queue->threads[i].node;
	pthread_mutex_unlock(&queue->lock);
	for (uint32_t i = 0; i < SENDERS; i++)
		if (nodes[i] != 0 && transport->interrupt)
			transport->interrupt(transport->arg, nodes[i]);
}

static bool
has_some(const ErrandQueue *queue, const Replica *replica)
{
	for (const Errand *errand = queue->first; errand; errand = errand->next)
		if (errand->replica == replica)
			return true;
	return false;
}

/* What is being run is over soon, since it is cancelled, but may come back once more. */
static void
queue_cancel(ErrandQueue *queue, Replica *replica)
{
	bool		busy = true;

	pthread_mutex_lock(&queue->lock);
	while (busy)
	{
		Errand	   *taken = take_all(queue, replica);

		pthread_mutex_unlock(&queue->lock);
		while (taken)
		{
			Errand	   *errand = taken;

			taken = errand->next;
			errand_free(errand);
		}
		pthread_mutex_lock(&queue->lock);
		busy = is_busy_with(queue, replica, 0);
		if (busy)
			pthread_cond_wait(&queue->idle, &queue->lock);
		else
			busy = has_some(queue, replica);
	}
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
