/*-------------------------------------------------------------------------
 *
 * chores.c
 *	  Making, opening, closing and dropping shards, on two threads of their own.
 *
 * Some take long: all rows of a shard are read when it is opened, and copied when
 * it is split.  These have the second thread, so that the others do not wait for them.
 * All that splits leave to do is among them, and so is done one after the other: what a child
 * is copied from is not let go of meanwhile.  Heartbeats
 * go on, so PD does not take the worker for dead; it gives a task again
 * until a heartbeat shows that it is done, and for a shard that has a chore
 * already the task is not taken twice.  What fails is dropped: PD will ask again.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "private.h"

#define COMPLAIN_US (30 * INT64_C(1000000))	/* between log lines about chores that fail */

static const char *
words(ChoreKind kind)
{
	switch (kind)
	{
		case CHORE_CREATE:
			return "create_shard";
		case CHORE_OPEN:
			return "open_shard";
		case CHORE_CLOSE:
			return "close_shard";
		case CHORE_DROP:
			return "drop_shard";
		case CHORE_CHILD:
			return "a shard that was split off";
		case CHORE_SETTLE:
			return "settle_split";
		case CHORE_PURGE:
			return "removing the rows that a split has left";
		case CHORE_ASIDE:
			return "set_aside";
		case CHORE_RECOVER:
			return "recover_shard";
	}
	return "?";
}

/* Does it read all rows of a shard, or may it not be done beside one that does? */
static bool
is_long(ChoreKind kind)
{
	switch (kind)
	{
		case CHORE_OPEN:
		case CHORE_RECOVER:
		case CHORE_CHILD:
		case CHORE_SETTLE:
		case CHORE_PURGE:
			return true;
		default:
			return false;
	}
}

void
chores_tell(Worker *worker)
{
	uint64_t	one = 1;

	if (write(worker->chore_fd, &one, sizeof(one)) != sizeof(one))
		log_warn("could not wake the housekeeping thread");
}

static VtStatus
run(Worker *worker, const Chore *chore, VtError *err)
{
	switch (chore->kind)
	{
		case CHORE_CREATE:
			return worker_create_shard(worker, &chore->desc, chore->replica, chore->found, err);
		case CHORE_OPEN:
			return worker_reopen_shard(worker, chore->shard, err);
		case CHORE_CLOSE:
			return worker_hide_shard(worker, chore->shard, chore->replica, err);
		case CHORE_DROP:
			return worker_drop_shard(worker, chore->shard, chore->replica, chore->whole, err);
		case CHORE_CHILD:
			return splits_make_child(worker, chore, err);
		case CHORE_SETTLE:
			return splits_settle(worker, chore, err);
		case CHORE_PURGE:
			return splits_purge(worker, chore, err);
		case CHORE_ASIDE:
			return worker_set_aside(worker, chore->shard, chore->replica, err);
		case CHORE_RECOVER:
			return worker_recover_shard(worker, chore, err);
	}
	return VT_INVALID;
}

/* The thread's own: when the next failure is logged. */
static void
do_chore(Worker *worker, const Chore *chore, int64_t *complain_us)
{
	VtError		err = {0};
	VtStatus	status = run(worker, chore, &err);

	pthread_mutex_lock(&worker->lock);
	if (status == VT_OK && chore->kind == CHORE_DROP)
	{
		worker->dropped = vt_realloc(worker->dropped, sizeof(uint64_t) * (worker->ndropped + 1));
		worker->dropped[worker->ndropped++] = chore->shard;
	}
	pthread_mutex_unlock(&worker->lock);
	if (status != VT_OK && status != VT_BUSY && clock_now_us() > *complain_us)
	{
		*complain_us = clock_now_us() + COMPLAIN_US;
		log_error("shard=%llu: %s: %s", (unsigned long long) chore->shard, words(chore->kind),
				  vt_error_words(&err));
	}
	if (status == VT_OK)
		chores_tell(worker);
}

/* The next one for this thread; with the lock held.  NULL: there is none. */
static Chore *
next_chore(Worker *worker, bool slow)
{
	Chore	   *chore = worker->chores;

	while (chore && is_long(chore->kind) != slow)
		chore = chore->next;
	return chore;
}

/* Is it time to look for what splits left to do?  With the lock. */
static bool
is_to_look(const Worker *worker)
{
	return worker->splits || (worker->splits_us != 0 && clock_now_us() >= worker->splits_us);
}

/* Until there is a chore, or it is time to look; with the lock. */
static void
wait_for_chore(Worker *worker, bool slow)
{
	int64_t		left_us = worker->splits_us - clock_now_us();
	struct timespec until = cond_moment(left_us > 0 ? left_us : 0);

	if (!slow || worker->splits_us == 0)
		pthread_cond_wait(&worker->chores_ready, &worker->lock);
	else
		pthread_cond_timedwait(&worker->chores_ready, &worker->lock, &until);
}

static void
do_chores(Worker *worker, bool slow)
{
	int64_t		complain_us = 0;

	pthread_mutex_lock(&worker->lock);
	while (!worker->chores_stop)
	{
		Chore	   *chore = next_chore(worker, slow);
		Chore	  **p;

		if (slow && is_to_look(worker))
		{
			worker->splits = false;
			worker->splits_us = 0;
			pthread_mutex_unlock(&worker->lock);
			splits_look(worker);
			pthread_mutex_lock(&worker->lock);
			continue;
		}
		if (!chore)
		{
			wait_for_chore(worker, slow);
			continue;
		}
		/* It stays in the list until it is done: nothing else is done to the shard. */
		pthread_mutex_unlock(&worker->lock);
		do_chore(worker, chore, &complain_us);
		pthread_mutex_lock(&worker->lock);
		for (p = &worker->chores; *p != chore;)
			p = &(*p)->next;
		*p = chore->next;
		free(chore);
	}
	pthread_mutex_unlock(&worker->lock);
}

static void *
short_main(void *arg)
{
	do_chores((Worker *) arg, false);
	return NULL;
}

static void *
long_main(void *arg)
{
	do_chores((Worker *) arg, true);
	return NULL;
}

void
chores_put(Worker *worker, const Chore *chore)
{
	Chore	  **p = &worker->chores;

	pthread_mutex_lock(&worker->lock);
	while (*p && (*p)->shard != chore->shard)
		p = &(*p)->next;
	if (!*p)
	{
		*p = vt_alloc(sizeof(Chore));
		**p = *chore;
		(*p)->next = NULL;
		pthread_cond_broadcast(&worker->chores_ready);
	}
	pthread_mutex_unlock(&worker->lock);
}

bool
chores_wait(Worker *worker)
{
	bool		some;

	pthread_mutex_lock(&worker->lock);
	some = worker->chores != NULL;
	pthread_mutex_unlock(&worker->lock);
	return some;
}

/* On any thread that holds no lock. */
void
chores_look(void *arg)
{
	Worker	   *worker = (Worker *) arg;

	pthread_mutex_lock(&worker->lock);
	worker->splits = true;
	pthread_cond_broadcast(&worker->chores_ready);
	pthread_mutex_unlock(&worker->lock);
}

/* A split was applied here: there is a child to make, and PD is waited for. */
void
chores_split(void *arg)
{
	chores_look(arg);
	chores_tell((Worker *) arg);
}

bool
chores_end(Worker *worker)
{
	bool		end;

	pthread_mutex_lock(&worker->lock);
	end = worker->chores_stop;
	pthread_mutex_unlock(&worker->lock);
	return end;
}

VtStatus
chores_start(Worker *worker, VtError *err)
{
	if (pthread_create(&worker->chores_threads[0], NULL, short_main, worker) != 0 ||
		pthread_create(&worker->chores_threads[1], NULL, long_main, worker) != 0)
		return vt_fail(err, VT_NOMEM, "could not start a thread");
	return VT_OK;
}

/* Those that are being done come to their end. */
void
chores_stop(Worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->chores_stop = true;
	pthread_cond_broadcast(&worker->chores_ready);
	pthread_mutex_unlock(&worker->lock);
	for (int i = 0; i < 2; i++)
		pthread_join(worker->chores_threads[i], NULL);
	while (worker->chores)
	{
		Chore	   *chore = worker->chores;

		worker->chores = chore->next;
		free(chore);
	}
}
