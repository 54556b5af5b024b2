/*-------------------------------------------------------------------------
 *
 * step.c
 *	  Stepping the cores: the inbox, the stepper, the raft thread and its ticks.
 *
 * Whatever happens comes into the inbox as an event.  Whoever brought it then
 * tries to become the stepper: it handles all events there are, lets the groups
 * concerned do their duties, and goes on.  Who finds the place taken may leave,
 * since the stepper looks into the inbox once more after it has let go.  So a
 * core is stepped by one thread at a time, and an event never waits for another
 * thread to wake up; the raft thread is left with the ticks.
 *
 * Handling events brings others, and threads bring more meanwhile.  A thread that has
 * something else to do (the writer, one that serves) leaves what is left after so many passes to the raft
 * thread, which after as many looks whether a tick is due.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>
#include <time.h>

#include "base/thread.h"
#include "private.h"

#define PUBLISH_TICKS 10		/* replica_members() of a leader is that old at most */
#define STEP_PASSES 16			/* with all cores busy one step in 5 000 takes more than three */
#define STAGED_TICKS 2400		/* what is staged and gets no chunk for so long is let go of; much more than send.c tries */

const uint32_t replica_ticks_late_us[REPLICA_TICK_KINDS] = {
	100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 5000000, UINT32_MAX
};

void
host_push(ReplicaHost *host, Event *event)
{
	bool		gathers = gather_takes(event);

	event->next = NULL;
	pthread_mutex_lock(&host->inbox_lock);
	if (gathers)
		gather_add(host, event);
	else
	{
		/* What was proposed to it comes before its end. */
		if (event->kind == EVENT_CLOSE)
			gather_end(host);
		Assert(host->inbox || host->inbox_end == &host->inbox);
		*host->inbox_end = event;
		host->inbox_end = &event->next;
	}
	pthread_mutex_unlock(&host->inbox_lock);
	if (gathers)
		gather_news(host);
}

void
host_push_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = kind;
	event->replica = replica;
	event->number = number;
	host_push(host, event);
}

void
host_post(ReplicaHost *host, Event *event)
{
	host_push(host, event);
	step_all(host);
}

/* The raft thread steps the cores, from here on if this is it. */
static void
call_raft_thread(ReplicaHost *host)
{
	pthread_mutex_lock(&host->inbox_lock);
	host->called = true;
	pthread_mutex_unlock(&host->inbox_lock);
	pthread_cond_signal(&host->raft_ready);
}

void
host_post_later(ReplicaHost *host, Event *event)
{
	host_push(host, event);
	call_raft_thread(host);
}

void
host_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number)
{
	host_push_event(host, kind, replica, number);
	step_all(host);
}

void
host_mark_dirty(Replica *replica)
{
	if (replica->dirty || replica->gone)
		return;
	replica->dirty = true;
	replica->dirty_next = replica->host->dirty;
	replica->host->dirty = replica;
}

static void
tick_all(ReplicaHost *host)
{
	bool		publish = ++host->ticks % PUBLISH_TICKS == 0;

	compact_bound(host);
	if (host->ticks % STAGED_TICKS == 0)
		snapshot_look_at_staged(host);
	for (Replica *r = host->awake; r; r = r->awake_next)
	{
		/* Before the tick: one of a leader's may begin to listen to its peers anew. */
		if (publish && atomic_load(&r->serving_from) != 0)
			peers_publish(r);
		if ((publish || atomic_load(&r->lagging)) && atomic_load(&r->serving_from) != 0)
			lag_look(r, publish);
		if (r->heir_ticks > 0 && --r->heir_ticks == 0)
			peers_inherit(r);
		far_tick(r);
		if (raft_tick(r->raft) == VT_OK && raft_has_ready(r->raft))
			host_mark_dirty(r);
	}
	sleep_tick(host);
	room_tick(host);
}

static int64_t
us_of(const struct timespec *t)
{
	return (int64_t) t->tv_sec * 1000000 + t->tv_nsec / 1000;
}

/* A tick that was due then is done now. */
static void
note_lateness(ReplicaHost *host, int64_t due_us)
{
	struct timespec now;
	int64_t		late;
	int			kind = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	late = us_of(&now) - due_us;
	host_count(&host->counts.ticks_late_us, late > 0 ? (uint64_t) late : 0);
	while (kind < REPLICA_TICK_KINDS - 1 && late > replica_ticks_late_us[kind])
		kind++;
	atomic_fetch_add(&host->tick_counts[kind], 1);
	atomic_fetch_add(&host->ticking.beats, 1);
}

static Event *
take_events(ReplicaHost *host, bool all)
{
	Event	   *events;

	pthread_mutex_lock(&host->inbox_lock);
	if (all || gather_is_due(host))
		gather_end(host);
	events = host->inbox;
	host->inbox = NULL;
	host->inbox_end = &host->inbox;
	pthread_mutex_unlock(&host->inbox_lock);
	return events;
}

/*
 * Should a replica that was just opened stand for election at once?  Alone it
 * need not wait for anybody; in a group that was just founded the first voter
 * begins, so that not all do.
 */
static bool
begins(const Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	RaftStatus	status;
	uint64_t	first = 0;
	uint32_t	voters = 0;

	raft_get_status(replica->raft, &status);
	for (uint32_t i = 0; i < conf->n; i++)
		if (conf->members[i].roles & RAFT_VOTER)
			first = voters++ == 0 ? conf->members[i].id : first;
	return first == replica->id && (voters == 1 || status.term == 0);
}

static void
handle(ReplicaHost *host, Event *event)
{
	switch (event->kind)
	{
		case EVENT_OPEN:
			peers_add(host, event->replica);
			sleep_add(event->replica);
			peers_publish(event->replica);
			if (begins(event->replica))
				raft_campaign(event->replica->raft);
			host_mark_dirty(event->replica);
			break;
		case EVENT_MESSAGES:
			peers_receive(host, buf_bytes(&event->payload));
			break;
		case EVENT_FAR:
			far_answer(host, buf_bytes(&event->payload), event->number);
			break;
		case EVENT_TELL:
			tell_send(event->replica, buf_bytes(&event->payload));
			break;
		case EVENT_NODE_DOWN:
			peers_node_down(host, event->number);
			break;
		case EVENT_CLOSE:
			/* Whoever waits for this may free the replica at once. */
			peers_remove(host, event->replica);
			sleep_remove(event->replica);
			group_handle(event->replica, event);
			break;
		case EVENT_PROPOSE:
		case EVENT_PROPOSE_UNDER:
		case EVENT_READ:
		case EVENT_READ_ANYWHERE:
		case EVENT_CHANGE:
		case EVENT_TRANSFER:
			sleep_asked(event->replica);
			group_handle(event->replica, event);
			host_mark_dirty(event->replica);
			break;
		case EVENT_SNAP:
		case EVENT_ERRAND:
			sleep_disturb(event->replica);
			/* FALLTHROUGH */
		default:
			group_handle(event->replica, event);
			host_mark_dirty(event->replica);
			break;
	}
	buf_free(&event->payload);
	free(event);
}

/* One that is marked anew meanwhile has its turn with the next step. */
static void
do_duties(ReplicaHost *host)
{
	Replica    *dirty = host->dirty;

	host->dirty = NULL;
	while (dirty)
	{
		Replica    *replica = dirty;

		dirty = replica->dirty_next;
		replica->dirty = false;
		group_duties(replica);
	}
	peers_flush(host);
}

/*
 * Handle all there is, and what that brings, in so many passes at most, which are counted
 * down; the step lock is held.  A tick that is due comes first: others do not get the lock meanwhile.
 * all: and what gathers for the writer; so does a tick.
 */
static void
step_passes(ReplicaHost *host, bool all, uint32_t *passes)
{
	for (; !host->stopped && *passes > 0; --*passes)
	{
		int64_t		due_us = atomic_exchange(&host->tick_due_us, 0);
		Event	   *events;

		if (due_us)
		{
			all = true;
			note_lateness(host, due_us);
			tick_all(host);
			do_duties(host);
		}
		events = take_events(host, all);
		all = false;
		if (!events)
			break;
		while (events)
		{
			Event	   *event = events;

			events = event->next;
			handle(host, event);
		}
		do_duties(host);
	}
}

/* All of it, which ends when nobody brings anything any more. */
void
step_to_the_end(ReplicaHost *host)
{
	uint32_t	passes = UINT32_MAX;

	step_passes(host, true, &passes);
}

void
step_held(ReplicaHost *host)
{
	uint32_t	passes = STEP_PASSES;

	step_passes(host, false, &passes);
}

static bool
nothing_to_step(ReplicaHost *host)
{
	bool		empty;

	pthread_mutex_lock(&host->inbox_lock);
	empty = host->inbox == NULL && !gather_is_due(host);
	pthread_mutex_unlock(&host->inbox_lock);
	return empty && atomic_load(&host->tick_due_us) == 0;
}

/*
 * See to it that what is in the inbox is handled: here, by the raft thread, or by the thread that
 * holds the step lock.  That may be this one, further up: a core's duties bring
 * events too.
 */
void
step_all(ReplicaHost *host)
{
	uint32_t	passes = STEP_PASSES;
	bool		done = nothing_to_step(host);

	while (!done && passes > 0 && pthread_mutex_trylock(&host->step_lock) == 0)
	{
		step_passes(host, false, &passes);
		done = host->stopped;
		pthread_mutex_unlock(&host->step_lock);
		/* Who came since the last look found the lock taken and left. */
		done = done || nothing_to_step(host);
	}
	if (!done && passes == 0)
		call_raft_thread(host);
}

static void
add_ms(struct timespec *t, int ms)
{
	t->tv_sec += ms / 1000;
	t->tv_nsec += ms % 1000 * 1000000L;
	t->tv_sec += t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
}

static bool
is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* The raft thread: ticks, and messages from peers. */
void *
raft_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;
	int			tick_ms = (int) host->options.tick_ms;
	struct timespec tick_at;

	thread_name("raft");
	clock_gettime(CLOCK_MONOTONIC, &tick_at);
	add_ms(&tick_at, tick_ms);
	for (;;)
	{
		struct timespec now;
		bool		stopping;

		pthread_mutex_lock(&host->inbox_lock);
		while (!host->stopping && !host->called &&
			   pthread_cond_timedwait(&host->raft_ready, &host->inbox_lock, &tick_at) == 0)
			;
		stopping = host->stopping;
		host->called = false;
		pthread_mutex_unlock(&host->inbox_lock);
		if (stopping)
			return NULL;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (is_later(&now, &tick_at))
		{
			long long	none = 0;

			/* One that still waits is the later one. */
			atomic_compare_exchange_strong(&host->tick_due_us, &none, us_of(&tick_at));

			/* Ticks that were missed are not made up for. */
			add_ms(&tick_at, tick_ms);
			if (is_later(&now, &tick_at))
			{
				tick_at = now;
				add_ms(&tick_at, tick_ms);
			}
		}
		step_all(host);
	}
}
