/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  Who looks whether the host gets on: the ticks, the log writer, the apply threads.
 *
 * A disk that fails ends the process (law S4); one that does not answer at all would
 * let it stand there for ever, holding its groups' replicas without doing anything
 * for them.  So what does not move for long is written into the log, and in the end
 * the process stops: others have led since (transfer.c of raft), and PD can tell.
 *
 * Time is counted in rounds of this thread's own, in which nothing moved.  A process
 * that was stopped or starved of processors has seen none of them, and its
 * disk is not to blame.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "private.h"

#define SAY_ROUNDS 5			/* and again after as many */
#define LAST_ROUND 30

void
pulse_begin(Pulse *pulse)
{
	atomic_store(&pulse->busy, true);
}

void
pulse_end(Pulse *pulse)
{
	atomic_store(&pulse->busy, false);
	atomic_fetch_add(&pulse->beats, 1);
}

static void
look(Pulse *pulse, const char *what)
{
	uint64_t	beats = atomic_load(&pulse->beats);

	if (!atomic_load(&pulse->busy) || beats != pulse->seen)
	{
		if (pulse->rounds >= SAY_ROUNDS)
			log_info("%s goes on", what);
		pulse->seen = beats;
		pulse->rounds = 0;
		return;
	}
	if (++pulse->rounds >= LAST_ROUND)
	{
		VtError		err = {0};

		vt_fail(&err, VT_IO, "nothing moves: the disk does not answer");
		host_die(what, &err);
	}
	if (pulse->rounds % SAY_ROUNDS == 0)
		log_warn("%s does not get on, %u times looked at; the disk may hang", what, pulse->rounds);
}

static void *
watch_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;
	uint32_t	ms = host->options.watch_ms;

	thread_name("watch");
	pthread_mutex_lock(&host->watch_lock);
	while (!host->watch_stop)
	{
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += ms / 1000;
		until.tv_nsec += (long) (ms % 1000) * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&host->watch_ready, &host->watch_lock, &until) == 0)
			continue;
		look(&host->writing, "write the Raft log");
		look(&host->ticking, "step the groups");
		for (uint32_t i = 0; i < host->options.apply_threads; i++)
			look(&host->applying[i], "apply the Raft log");
	}
	pthread_mutex_unlock(&host->watch_lock);
	return NULL;
}

void
watch_start(ReplicaHost *host)
{
	pthread_mutex_init(&host->watch_lock, NULL);
	host_cond_init(&host->watch_ready);
	pulse_begin(&host->ticking);	/* time never stands still */
	host_start_thread(&host->watch_thread, watch_main, host);
}

void
watch_stop(ReplicaHost *host)
{
	pthread_mutex_lock(&host->watch_lock);
	host->watch_stop = true;
	pthread_cond_broadcast(&host->watch_ready);
	pthread_mutex_unlock(&host->watch_lock);
	pthread_join(host->watch_thread, NULL);
	pthread_mutex_destroy(&host->watch_lock);
	pthread_cond_destroy(&host->watch_ready);
}
