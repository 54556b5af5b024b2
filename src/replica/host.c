/*-------------------------------------------------------------------------
 *
 * host.c
 *	  The host: its threads from beginning to end.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "private.h"

void
host_die(const char *doing, const VtError *err)
{
	log_error("could not %s: %s; stopping, since nothing may be acknowledged after this", doing,
			  vt_error_words(err));
	log_exit(70);
}

static void *
buf_alloc(void *state, size_t size)
{
	(void) state;
	return malloc(size);
}

static void
buf_free_sized(void *state, void *p, size_t size)
{
	(void) state;
	(void) size;
	free(p);
}

/* For waits that end by the monotonic clock. */
void
host_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void
host_start_thread(pthread_t *thread, void *(*run) (void *), void *arg)
{
	int			rc = pthread_create(thread, NULL, run, arg);

	if (rc != 0)
	{
		VtError		err = {0};

		errno = rc;
		vt_fail_errno(&err, VT_NOMEM, "no thread");
		host_die("start a thread", &err);
	}
}

VtStatus
replica_host_start(Store *log, const ReplicaHostOptions *options, ReplicaHost **out, VtError *err)
{
	ReplicaHost *host = vt_alloc0(sizeof(ReplicaHost));
	VtId		seed;

	(void) err;
	host->log = log;
	host->options = *options;
	atomic_store(&host->node, options->node);
	if (host->options.apply_threads == 0)
	{
		long		cores = sysconf(_SC_NPROCESSORS_ONLN);

		host->options.apply_threads = cores > 4 ? (uint32_t) (cores / 2) : 2;
	}
	if (host->options.tick_ms == 0)
		host->options.tick_ms = 50;
	if (host->options.checkpoint_bytes == 0)
		host->options.checkpoint_bytes = 64 << 20;
	if (host->options.snapshot_first_bytes == 0)
		host->options.snapshot_first_bytes = 1 << 20;
	if (host->options.max_inflight_bytes == 0)
		host->options.max_inflight_bytes = 256 << 20;
	if (host->options.log_bytes == 0)
		host->options.log_bytes = UINT64_C(1) << 30;
	if (host->options.resident_bytes == 0)
		host->options.resident_bytes = 256 << 20;
	if (host->options.watch_ms == 0)
		host->options.watch_ms = 1000;
	host->applying = vt_alloc0(sizeof(Pulse) * host->options.apply_threads);
	host->allocator.alloc = buf_alloc;
	host->allocator.free = buf_free_sized;
	vt_id_random(&seed);
	host->seeds = get_le64(seed.b);

	pthread_mutex_init(&host->step_lock, NULL);
	pthread_mutex_init(&host->inbox_lock, NULL);
	pthread_mutex_init(&host->writer_lock, NULL);
	pthread_mutex_init(&host->apply_lock, NULL);
	pthread_mutex_init(&host->io_lock, NULL);
	host_cond_init(&host->raft_ready);
	host_cond_init(&host->writer_ready);
	host_cond_init(&host->writer_done);
	host_cond_init(&host->apply_ready);
	host_cond_init(&host->io_ready);
	host_cond_init(&host->io_idle);
	host->inbox_end = &host->inbox;
	host->proposals_end = &host->proposals;
	host->jobs_end = &host->jobs;
	host->run_end = &host->run;
	host->io_end = &host->io_first;

	host_start_thread(&host->writer_thread, writer_main, host);
	host_start_thread(&host->raft_thread, raft_main, host);
	host_start_thread(&host->io_thread, io_main, host);
	errands_start(host);
	host->apply_pool = vt_alloc(sizeof(pthread_t) * host->options.apply_threads);
	for (uint32_t i = 0; i < host->options.apply_threads; i++)
		host_start_thread(&host->apply_pool[i], apply_main, host);
	watch_start(host);
	*out = host;
	return VT_OK;
}

static void
stop_thread(pthread_mutex_t *lock, pthread_cond_t *cond, bool *flag, pthread_t *threads, uint32_t n)
{
	pthread_mutex_lock(lock);
	*flag = true;
	pthread_cond_broadcast(cond);
	pthread_mutex_unlock(lock);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/*
 * No core is stepped any more: whoever waits for what is in the inbox is told so, which
 * may bring more.
 */
static void
forget_inbox(ReplicaHost *host)
{
	gather_end(host);
	while (host->inbox)
	{
		Event	   *events = host->inbox;

		host->inbox = NULL;
		host->inbox_end = &host->inbox;
		while (events)
		{
			Event	   *event = events;

			events = event->next;
			if (event->kind == EVENT_OPEN)
			{
				event->replica->next = host->replicas;
				host->replicas = event->replica;
			}
			if (event->done)
				event->done(event->arg, VT_STOPPING, 0, bytes_of(NULL, 0));
			if (event->errand)
				errand_free(event->errand);
			raft_buf_release(event->command);
			buf_free(&event->payload);
			free(event);
		}
	}
}

void
replica_host_stop(ReplicaHost *host)
{
	if (!host)
		return;

	watch_stop(host);

	/*
	 * What was asked before is handled: an asker may hold what an installation
	 * waits for.  Then no core is stepped any more; what comes stays in the inbox.
	 */
	pthread_mutex_lock(&host->step_lock);
	step_to_the_end(host);
	host->stopped = true;
	pthread_mutex_unlock(&host->step_lock);
	stop_thread(&host->inbox_lock, &host->raft_ready, &host->stopping, &host->raft_thread, 1);
	for (Replica *r = host->replicas; r; r = r->next)
		errands_cancel(r);
	errands_stop(host);
	stop_thread(&host->writer_lock, &host->writer_ready, &host->writer_stop, &host->writer_thread, 1);
	stop_thread(&host->apply_lock, &host->apply_ready, &host->apply_stop, host->apply_pool,
				host->options.apply_threads);
	stop_thread(&host->io_lock, &host->io_ready, &host->io_stop, &host->io_thread, 1);

	forget_inbox(host);
	while (host->replicas)
	{
		Replica    *replica = host->replicas;
		VtError		err = {0};
		uint64_t	index;

		host->replicas = replica->next;
		if (replica->machine.checkpoint(replica->machine.state, &index, &err) != VT_OK)
			host_die("write a checkpoint", &err);
		replica_free(replica);
	}
	forget_inbox(host);			/* answers to questions that ended with the replicas */
	for (size_t i = 0; i < host->noutboxes; i++)
		buf_free(&host->outboxes[i].messages);
	errands_free(host);
	free(host->outboxes);
	free(host->short_nodes);
	buf_free(&host->scratch);
	free(host->groups);
	free(host->apply_pool);
	free(host->applying);
	free(host);
}
