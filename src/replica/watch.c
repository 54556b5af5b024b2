/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  Who looks whether the host gets on: the ticks, the log writer, the apply threads.
 *
 * A disk that fails ends the process (law S4); one that does not answer at all would
 * let it stand there for ever, holding its groups' replicas without doing anything
 * for them.  So what does not move for long is written into the log, and when the disk
 * does not answer the process stops: others have led since (transfer.c of raft), and
 * PD can tell.
 *
 * What does not move may be waiting for something else: LevelDB lets a write wait until
 * it has compacted enough, for minutes on a slow disk, and begins anew after a
 * restart.  So a thread of its own writes and syncs a small file where the log is.
 * Only when that does not come back either is the disk to blame.
 *
 * Time is counted in rounds of this thread's own, in which nothing moved.  A process
 * that was stopped or starved of processors has seen none of them, and its
 * disk is not to blame.  Nor is it where the thread of the small file alone has to wait
 * for a processor: rounds in which that could run do not count.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* gettid */
#endif
#include "replica/replica.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "private.h"

#define SAY_ROUNDS 5			/* and again after as many */
#define LAST_ROUND 30
#define SLOW_ROUNDS 10			/* between two words about slow writes */

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

/* In how many rounds has it not moved? */
static uint32_t
rounds_without(Pulse *pulse)
{
	uint64_t	beats = atomic_load(&pulse->beats);

	if (!atomic_load(&pulse->busy) || beats != pulse->seen)
	{
		pulse->seen = beats;
		pulse->rounds = 0;
	}
	else
		pulse->rounds++;
	return pulse->rounds;
}

/* Does the thread run, or could it, if there were a processor for it? */
static bool
is_runnable(pid_t thread)
{
	char		path[48];
	char		line[64];
	const char *name_end;
	FILE	   *file;
	size_t		n = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int) thread);
	file = fopen(path, "re");
	if (file)
	{
		n = fread(line, 1, sizeof(line) - 1, file);
		fclose(file);
	}
	line[n] = '\0';
	name_end = strrchr(line, ')');	/* of "TID (NAME) STATE ..." */
	return name_end && strncmp(name_end, ") R", 3) == 0;
}

/* Of the small file: in how many rounds has the disk kept it waiting? */
static void
look_at_probe(ReplicaHost *host)
{
	if (rounds_without(&host->probing) > 0 && is_runnable(host->probe_task))
		host->probing.rounds = 0;
}

/* Writes that end, but take long: told here, since whoever writes must not wait for a log line. */
static void
tell_slow_writes(ReplicaHost *host, uint64_t *told, uint32_t *quiet)
{
	uint64_t	slow = atomic_load(&host->counts.slow_writes);

	if (*quiet > 0)
		--*quiet;
	if (slow == *told || *quiet > 0)
		return;
	log_warn("the disk is slow: %" PRIu64 " writes of the Raft log took a second or more, the longest %.1f s",
			 slow - *told, (double) atomic_exchange(&host->counts.worst_write_us, 0) / 1e6);
	*told = slow;
	*quiet = SLOW_ROUNDS;
}

/* Under watch_lock. */
static void
look(ReplicaHost *host, Pulse *pulse, StalledWork work, const char *what)
{
	uint32_t	before = pulse->rounds;
	uint32_t	rounds = rounds_without(pulse);
	bool		waits = host->probing.rounds > 0;	/* for what was asked before now */
	bool		cannot_tell = atomic_load(&host->probing.busy) || host->probe_wanted;

	if (rounds >= SAY_ROUNDS)
		host->stalled_now |= work;
	if (rounds == 0)
	{
		if (before >= SAY_ROUNDS)
			log_info("%s goes on", what);
		return;
	}
	/* A round before something is said: by then the disk has answered, if it does. */
	if (rounds >= SAY_ROUNDS - 1 && !host->probe_wanted && !atomic_load(&host->probing.busy))
	{
		host->probe_wanted = true;
		pthread_cond_signal(&host->probe_ready);
	}
	if (host->probing.rounds >= LAST_ROUND - SAY_ROUNDS)
	{
		VtError		err = {0};

		vt_fail(&err, VT_IO, "nothing moves: the disk does not answer");
		host_die(what, &err);
	}
	if (rounds % SAY_ROUNDS == 0)
		log_warn("%s does not get on, %u times looked at; %s", what, rounds,
				 waits ? "the disk may hang" : cannot_tell ? "nor does who tries the disk: the machine may be too busy" :
				 "the disk answers, what is before this takes long");
}

static char *
probe_path_of(const ReplicaHost *host)
{
	const char *log = store_path(host->log);
	size_t		size = strlen(log) + sizeof(".probe");
	char	   *path = vt_alloc(size);

	snprintf(path, size, "%s.probe", log);
	return path;
}

/* Does the disk answer?  That it fails, or is full, is an answer. */
static void
probe(const char *path)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	if (write(fd, "?", 1) == 1)
		(void) fdatasync(fd);
	close(fd);
	unlink(path);
}

static void *
probe_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;

	thread_name("probe");
	pthread_mutex_lock(&host->watch_lock);
	host->probe_task = gettid();
	for (;;)
	{
		while (!host->probe_wanted && !host->watch_stop)
			pthread_cond_wait(&host->probe_ready, &host->watch_lock);
		if (host->watch_stop)
			break;
		host->probe_wanted = false;
		pulse_begin(&host->probing);
		pthread_mutex_unlock(&host->watch_lock);
		probe(host->probe_path);
		pthread_mutex_lock(&host->watch_lock);
		pulse_end(&host->probing);
	}
	pthread_mutex_unlock(&host->watch_lock);
	return NULL;
}

static void *
watch_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;
	uint32_t	ms = host->options.watch_ms;
	uint64_t	told = 0;
	uint32_t	quiet = 0;

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
		look_at_probe(host);
		host->stalled_now = 0;
		look(host, &host->writing, STALLED_LOG, "write the Raft log");
		look(host, &host->ticking, STALLED_STEP, "step the groups");
		for (uint32_t i = 0; i < host->options.apply_threads; i++)
			look(host, &host->applying[i], STALLED_APPLY, "apply the Raft log");
		atomic_store(&host->counts.stalled, host->stalled_now);
		atomic_store(&host->counts.watched_us, clock_now_us());
		tell_slow_writes(host, &told, &quiet);
	}
	pthread_mutex_unlock(&host->watch_lock);
	return NULL;
}

void
watch_start(ReplicaHost *host)
{
	pthread_mutex_init(&host->watch_lock, NULL);
	host_cond_init(&host->watch_ready);
	host_cond_init(&host->probe_ready);
	host->probe_path = probe_path_of(host);
	pulse_begin(&host->ticking);	/* time never stands still */
	host_start_thread(&host->probe_thread, probe_main, host);
	host_start_thread(&host->watch_thread, watch_main, host);
}

void
watch_stop(ReplicaHost *host)
{
	pthread_mutex_lock(&host->watch_lock);
	host->watch_stop = true;
	pthread_cond_broadcast(&host->watch_ready);
	pthread_cond_broadcast(&host->probe_ready);
	pthread_mutex_unlock(&host->watch_lock);
	pthread_join(host->watch_thread, NULL);
	pthread_join(host->probe_thread, NULL);
	free(host->probe_path);
	pthread_mutex_destroy(&host->watch_lock);
	pthread_cond_destroy(&host->watch_ready);
	pthread_cond_destroy(&host->probe_ready);
}
