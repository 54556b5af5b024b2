/*-------------------------------------------------------------------------
 *
 * gather.c
 *	  Small proposals gather until the log writer is ready for them.
 *
 * A step that finds a proposal makes a message for each peer and a job for the writer,
 * and each of those wakes somebody here and in the other stores, which makes messages,
 * jobs and a sync of its own in turn.  For a small command all that costs many times what the
 * command does.  While something is being written nothing is won by it either: what is
 * proposed now would wait for the next batch.  So small commands have an inbox of their own,
 * which is emptied when the writer owes nothing, and by the writer as the last thing
 * before it begins a batch.
 *
 * Nor does it begin the next one at once: where many propose, those that were just answered
 * are about to propose again.  It waits until at least as many have gathered as are
 * still on their way before them, or others have something to be written, and not
 * long.  Who proposes alone, or as one of two, never waits for that.  Nor does anybody wait
 * again and again for a group that answers late (its peers are far away) or not at all (they
 * are lost): what was waited for in vain is not counted any more, and what is proposed to its
 * group is not until that is answered.
 *
 * A tick steps all there is, so that a disk that stands still does not keep proposals from
 * peers (and the leader from handing over).
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE				/* pthread_mutex_clocklock() */

#include "replica/replica.h"

#include <sched.h>

#include "base/cond.h"
#include "private.h"

#define SMALL_BYTES (16u << 10) /* larger ones are made ready while the disk is at work */
#define GATHER_US 500

bool
gather_takes(const Event *event)
{
	return event->kind == EVENT_PROPOSE && event->command->len <= SMALL_BYTES;
}

/* With the inbox lock held, as the next two. */
void
gather_add(ReplicaHost *host, Event *event)
{
	*host->proposals_end = event;
	host->proposals_end = &event->next;
	atomic_fetch_add(&host->gathered, 1);
}

/* What has gathered is among the events from here on, behind those that are there. */
void
gather_end(ReplicaHost *host)
{
	if (!host->proposals)
		return;
	*host->inbox_end = host->proposals;
	host->inbox_end = host->proposals_end;
	host->proposals = NULL;
	host->proposals_end = &host->proposals;
	atomic_store(&host->gathered, 0);
}

/* Is anything to be stepped that may be stepped now? */
bool
gather_is_due(ReplicaHost *host)
{
	return host->proposals != NULL && (!atomic_load(&host->writer_owes) || atomic_load(&host->writer_begins));
}

/* False: another has it for that long. */
static bool
lock_until(pthread_mutex_t *lock, const struct timespec *until)
{
#ifdef __SANITIZE_THREAD__
	/* Of gcc's, up to 12 at least, the sanitizer does not know the call below. */
	struct timespec now;

	do
	{
		if (pthread_mutex_trylock(lock) == 0)
			return true;
		sched_yield();
		now = cond_moment(0);
	} while (now.tv_sec < until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec < until->tv_nsec));
	return false;
#else
	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, until) == 0;
#endif
}

/*
 * The writer is about to begin, and what has gathered is to be in its batch.  Another thread
 * that steps is done soon, and takes it along if it goes on; one that does not come to
 * its end keeps the writer from the disk no longer than that.
 */
void
gather_for_batch(ReplicaHost *host)
{
	struct timespec until;

	if (atomic_load(&host->gathered) == 0)
		return;
	until = cond_moment(GATHER_US);
	atomic_store(&host->writer_begins, true);
	if (lock_until(&host->step_lock, &until))
	{
		step_held(host);
		pthread_mutex_unlock(&host->step_lock);
	}
	/* Who came meanwhile found the lock taken. */
	step_all(host);
	atomic_store(&host->writer_begins, false);
}

/* -- Who is waited for --------------------------------------------------------- */

/* Host.awaited: how many there are, and above them in which round. */
static uint32_t
round_of(uint64_t awaited)
{
	return (uint32_t) (awaited >> 32);
}

static uint32_t
number_of(uint64_t awaited)
{
	return (uint32_t) awaited;
}

/* A command is about to be the last of its group's proposals; the replica's lock is held. */
void
gather_await(Replica *replica, Waiter *waiter)
{
	ReplicaHost *host = replica->host;
	const Waiter *oldest = replica->proposals;

	waiter->round = round_of(atomic_load(&host->awaited));
	waiter->awaited = !oldest || oldest->round == waiter->round;
	if (waiter->awaited)
		waiter->round = round_of(atomic_fetch_add(&host->awaited, 1));
}

/* It is answered. */
void
gather_answered(ReplicaHost *host, const Waiter *waiter)
{
	uint64_t	awaited = atomic_load(&host->awaited);

	while (waiter->awaited && round_of(awaited) == waiter->round &&
		   !atomic_compare_exchange_weak(&host->awaited, &awaited, awaited - 1))
		;
}

/* The time is over: another round begins, in which nobody is waited for. */
static void
forget_awaited(ReplicaHost *host)
{
	uint64_t	awaited = atomic_load(&host->awaited);

	while (!atomic_compare_exchange_weak(&host->awaited, &awaited, ((uint64_t) round_of(awaited) + 1) << 32))
		;
}

bool
gather_is_enough(ReplicaHost *host)
{
	return atomic_load(&host->gathered) >= number_of(atomic_load(&host->awaited));
}

/* More has gathered, or less is on its way: the writer may wait for that. */
void
gather_news(ReplicaHost *host)
{
	if (!atomic_load(&host->gathering) || !gather_is_enough(host))
		return;
	pthread_mutex_lock(&host->writer_lock);
	pthread_cond_signal(&host->writer_ready);
	pthread_mutex_unlock(&host->writer_lock);
}

/*
 * What the writer took is durable.  It waits for more, and then owes nothing, unless there are jobs
 * again; step_all() must follow, since what has gathered until then is nobody else's.
 */
void
gather_more(ReplicaHost *host)
{
	struct timespec until = cond_moment(GATHER_US);

	pthread_mutex_lock(&host->writer_lock);
	atomic_store(&host->gathering, true);
	while (!host->jobs && !host->writer_stop && !gather_is_enough(host))
		if (pthread_cond_timedwait(&host->writer_ready, &host->writer_lock, &until) != 0)
		{
			forget_awaited(host);
			break;
		}
	atomic_store(&host->gathering, false);
	atomic_store(&host->writer_owes, host->jobs != NULL);
	pthread_mutex_unlock(&host->writer_lock);
}
