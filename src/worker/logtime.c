/*-------------------------------------------------------------------------
 *
 * logtime.c
 *	  Sessions that nobody uses any more end: by the log, not by a clock.
 *
 * Whoever leads a shard with sessions writes into its log, now and then, how much
 * time has passed while it led: the log time before, and what its own clock, which
 * only runs, has measured since (WRITE_EXPIRE).  With it goes the decision, the log
 * time before which a session must have been used to live on, so that apply only
 * compares numbers and workers may be set differently.
 *
 * What was measured and did not get into the log is lost.  So log time is never
 * ahead of time.  Nor does it go on in longer steps than the promise allows for: a
 * session is used at the log time of the step before, and may have been used a moment ago.
 * So a session lives at least as long as it was promised; with a leader that changes
 * often, or that is held up, it lives longer.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/clock.h"
#include "private.h"

#define TICKS 8					/* of a session's life */
#define SHORT_MS 1000			/* a step of a short life may take as long */

/* It is in the log, or it is not: there is a next time. */
static void
on_done(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	(void) arg;
	(void) status;
	(void) index;
	(void) reply;
}

/* Less than this is not worth an entry. */
static uint64_t
least_ms(uint64_t life_ms)
{
	return (life_ms + TICKS - 1) / TICKS;
}

bool
logtime_step(uint64_t clock, uint64_t passed_ms, uint64_t life_ms, uint64_t *next, uint64_t *oldest)
{
	uint64_t	least = least_ms(life_ms);
	uint64_t	most = life_ms < SHORT_MS ? life_ms : SHORT_MS;

	if (passed_ms < least)
		return false;
	if (most < least)
		most = least;
	*next = clock + (passed_ms < most ? passed_ms : most);
	*oldest = *next > life_ms + most ? *next - life_ms - most : 0;
	return true;
}

static void
expire(Shard *shard, uint64_t time, uint64_t oldest)
{
	WireWrite	write = {.type = WRITE_EXPIRE};
	Buf			command = {0};

	write.route.generation = shard->desc.generation;
	write.route.owner = shard->desc.owner;
	write.route.shard = shard->desc.shard;
	write.route.range_ver = atomic_load(&shard->range_ver);
	write.sequence = time;
	write.settled = oldest;
	wire_write_end(&command, wire_write_begin(&command, &write), 0);
	replica_propose(shard->replica, buf_bytes(&command), on_done, NULL);
	buf_free(&command);
}

static void
look_at(Shard *shard, uint64_t life_ms)
{
	int64_t		now = clock_now_us();
	uint64_t	passed_ms = (uint64_t) (now - shard->watched_us) / 1000;
	uint64_t	time;
	uint64_t	oldest;
	ReplicaStatus replica;

	replica_status(shard->replica, &replica);
	if (!replica.serving || sessions_count(shard->sessions) == 0)
	{
		shard->watched_term = 0;
		return;
	}
	if (replica.term != shard->watched_term)
	{
		shard->watched_us = now;
		shard->watched_term = replica.term;
		return;
	}
	if (!logtime_step(sessions_clock(shard->sessions), passed_ms, life_ms, &time, &oldest))
		return;
	shard->watched_us = now;
	expire(shard, time, oldest);
}

/* Shards with sessions, held, of which something may be new or time has passed; free() the array. */
static Shard **
hold_due(Worker *worker, int64_t step_us, size_t *n)
{
	Shard	  **due = NULL;
	int64_t		now_us = clock_now_us();

	*n = 0;
	if (!shards_take_stir(worker, LOOK_SESSIONS) && now_us < worker->logtime_us)
		return NULL;
	worker->logtime_us = INT64_MAX;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
	{
		bool		stirred = shard_take_stir(s, LOOK_SESSIONS);

		if (stirred ? s->watched_term != 0 || sessions_count(s->sessions) > 0 :
			s->watched_term != 0 && now_us >= s->watched_us + step_us)
		{
			due = vt_realloc(due, sizeof(Shard *) * (*n + 1));
			due[(*n)++] = s;
			atomic_fetch_add(&s->users, 1);
		}
		else if (s->watched_term != 0 && s->watched_us + step_us < worker->logtime_us)
			worker->logtime_us = s->watched_us + step_us;
	}
	pthread_mutex_unlock(&worker->lock);
	return due;
}

void
logtime_pass(Worker *worker)
{
	int64_t		step_us = (int64_t) least_ms(worker->options.session_ms) * 1000;
	size_t		n;
	Shard	  **due = hold_due(worker, step_us, &n);

	for (size_t i = 0; i < n; i++)
	{
		if (!atomic_load(&due[i]->installing))
			look_at(due[i], worker->options.session_ms);
		else
			shard_stir_for(due[i], LOOK_SESSIONS);
		if (due[i]->watched_term != 0 && due[i]->watched_us + step_us < worker->logtime_us)
			worker->logtime_us = due[i]->watched_us + step_us;
		shard_release(due[i]);
	}
	free(due);
}
