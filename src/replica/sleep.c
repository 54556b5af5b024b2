/*-------------------------------------------------------------------------
 *
 * sleep.c
 *	  Groups in which nothing happens are not ticked, and cost next to nothing.
 *
 * Heartbeats of thousands of idle groups would keep a core busy.  So a leader
 * in whose group nothing has happened for a while asks its live peers whether
 * they could sleep: ASK(term, index).  Who follows it in that term, and has
 * *applied* all up to that index, which is its last, says READY.  When all have,
 * the leader falls asleep and says SLEEP; who is still as it was falls asleep
 * too.  Peers that are dead are not waited for.
 *
 *	 leader	   idle --ASK--> ... READY from every live peer --SLEEP--> asleep
 *	 follower  (applied all of it) --READY-->			SLEEP comes --> asleep
 *
 * Asleep, they go on telling each other so, some times in a second and for all
 * groups of two stores together in a frame: SLEEP from the leader, READY from
 * those who follow.  Who has not heard that for long wakes: then heartbeats and
 * elections go on as ever, and tell whether the other one is dead.  Who hears
 * what does not fit, wakes and says WAKE.  Any message of Raft's wakes its
 * receiver, but for late answers, and so does any question to a leader.
 *
 * The core knows nothing of this: time stands still for it.  So nothing here can
 * hurt safety; a leader that was cut off in its sleep is like one that was cut
 * off a moment ago, and reads and writes ask the quorum as always.  What could
 * be lost is liveness, and for that a sleep is never trusted for longer than
 * LOST_TICKS.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include "base/clock.h"
#include "private.h"

#define QUIET_TICKS 20			/* nothing has happened for so long */
#define BEAT_TICKS 10			/* between two signs of sleep */
#define LOST_TICKS 40			/* without one the sleep is over */

/* Notes: x is the term, y the index */
typedef enum NoteKind
{
	NOTE_ASK = 1,				/* leader: could you sleep at (term, index)? */
	NOTE_READY = 2,				/* follower: yes, or: I do */
	NOTE_SLEEP = 3,				/* leader: I do */
	NOTE_WAKE = 4				/* I do not */
} NoteKind;

static void
send_note(Replica *replica, NoteKind kind, uint64_t to, uint64_t node)
{
	Note		note = {NOTE_OF_SLEEP, (uint8_t) kind, replica->group, replica->id, to, replica->sleep_term, replica->sleep_index};

	(void) note_send(replica->host, &note, node);
}

static void
note_to_all(Replica *replica, NoteKind kind)
{
	const RaftConf *conf = raft_get_conf(replica->raft);

	for (uint32_t i = 0; i < conf->n; i++)
		if (conf->members[i].id != replica->id)
			send_note(replica, kind, conf->members[i].id, conf->members[i].node);
}

/* -- Falling asleep, waking ------------------------------------------------- */

void
sleep_add(Replica *replica)
{
	ReplicaHost *host = replica->host;

	replica->awake_next = host->awake;
	replica->awake_prev = &host->awake;
	if (host->awake)
		host->awake->awake_prev = &replica->awake_next;
	host->awake = replica;
}

static void
leave_awake(Replica *replica)
{
	*replica->awake_prev = replica->awake_next;
	if (replica->awake_next)
		replica->awake_next->awake_prev = replica->awake_prev;
	replica->awake_prev = NULL;
}

/* It is being closed; fine to be told twice. */
void
sleep_remove(Replica *replica)
{
	if (replica->asleep)
		atomic_fetch_sub(&replica->host->asleep, 1);
	else if (replica->awake_prev)
		leave_awake(replica);
	replica->asleep = false;
}

static void
fall_asleep(Replica *replica)
{
	leave_awake(replica);
	replica->asleep = true;
	replica->sleep_heard = replica->host->ticks;
	replica->sleep_node = peers_node(replica, replica->sleep_leader);
	atomic_fetch_add(&replica->host->asleep, 1);
	raft_evict(replica->raft, replica->sleep_index);
	compact_count(replica);
	if (replica->sleep_leads)
		peers_publish(replica);
	lag_end(replica);
}

static void
wake(Replica *replica)
{
	replica->asleep = false;
	atomic_fetch_sub(&replica->host->asleep, 1);
	sleep_add(replica);
}

/* Something happens to this replica. */
void
sleep_disturb(Replica *replica)
{
	replica->quiet_ticks = 0;
	if (!replica->asleep)
		return;
	wake(replica);
	if (!replica->sleep_leads)
		send_note(replica, NOTE_WAKE, replica->sleep_leader, peers_node(replica, replica->sleep_leader));
}

/* Somebody here asks: who follows says no, and sleeps on. */
void
sleep_asked(Replica *replica)
{
	if (!replica->asleep || replica->sleep_leads)
		sleep_disturb(replica);
}

/*
 * A message is about to be stepped.  Heartbeats and their answers are no reason
 * to stay awake, and what comes late from somebody who sleeps by now none to
 * wake.
 */
void
sleep_message(Replica *replica, const RaftMessage *message)
{
	bool		answer = message->type == RAFT_HEARTBEAT_RESP ||
		(message->type == RAFT_APP_RESP && (message->flags & RAFT_FLAG_REJECT) == 0);

	if (message->type != RAFT_HEARTBEAT && message->type != RAFT_HEARTBEAT_RESP)
		replica->quiet_ticks = 0;
	if (replica->asleep && !(answer && replica->sleep_leads && message->term == replica->sleep_term))
		wake(replica);
}

/* -- May it sleep? ---------------------------------------------------------- */

static bool
nobody_waits(Replica *replica)
{
	bool		nobody;

	pthread_mutex_lock(&replica->lock);
	nobody = !replica->proposals && !replica->reads && !replica->items && replica->staged == 0;
	pthread_mutex_unlock(&replica->lock);
	return nobody && !replica->asked && !replica->far && !replica->sending && !replica->fetching &&
		!replica->install_seq;
}

/* All is done here, up to the end of the log; sets what its notes say. */
static bool
is_at_rest(Replica *replica, RaftStatus *status)
{
	const RaftConf *conf = raft_get_conf(replica->raft);

	raft_get_status(replica->raft, status);
	if (status->leader == 0 || (status->role != RAFT_LEADER && status->role != RAFT_FOLLOWER) ||
		status->commit != status->last || status->stable != status->last ||
		status->applied != status->last || status->conf_index > status->commit || conf->joint ||
		status->transfer_to != 0 || status->installing || replica->gone ||
		atomic_load(&replica->applied) != status->last || raft_has_ready(replica->raft) ||
		!nobody_waits(replica))
		return false;
	replica->sleep_term = status->term;
	replica->sleep_index = status->last;
	replica->sleep_leader = status->leader;
	replica->sleep_leads = status->role == RAFT_LEADER;
	return true;
}

static Sleeper *
sleeper_of(Replica *replica, uint64_t id)
{
	for (uint32_t i = 0; i < RAFT_MAX_MEMBERS; i++)
	{
		Sleeper    *sleeper = &replica->sleepers[i];

		if (sleeper->id == id)
			return sleeper;
	}
	return NULL;
}

/* A leader's: everybody who lives has said that he is at rest at this index. */
static bool
peers_are_ready(Replica *replica, const RaftStatus *status)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	uint32_t	voters = 0;
	uint32_t	live = 0;
	bool		ready = true;

	for (uint32_t i = conf->n; i < RAFT_MAX_MEMBERS; i++)
		replica->sleepers[i] = (Sleeper) {0};
	for (uint32_t i = 0; i < conf->n; i++)
	{
		const RaftMember *member = &conf->members[i];
		bool		voter = (member->roles & RAFT_VOTER) != 0;
		Sleeper    *sleeper = &replica->sleepers[i];
		RaftPeer	peer;

		voters += voter;
		if (sleeper->id != member->id)
			*sleeper = (Sleeper) {.id = member->id};
		sleeper->counts = false;
		if (member->id == replica->id)
		{
			live += voter;
			continue;
		}
		if (!raft_get_peer(replica->raft, member->id, &peer) || !peer.active)
			continue;
		live += voter;
		if (peer.state != RAFT_REPLICATE || peer.match != status->last || peer.inflight_messages > 0)
			return false;
		sleeper->counts = true;
		if (sleeper->term == status->term && sleeper->index == status->last)
			continue;
		ready = false;
		send_note(replica, NOTE_ASK, member->id, member->node);
	}
	return ready && 2 * live > voters;
}

/* Once a tick for each that is awake. */
static void
consider(Replica *replica)
{
	RaftStatus	status;

	if (++replica->quiet_ticks < QUIET_TICKS || atomic_load(&replica->serving_from) == 0 ||
		!is_at_rest(replica, &status) || !replica->sleep_leads || !peers_are_ready(replica, &status))
		return;
	for (uint32_t i = 0; i < RAFT_MAX_MEMBERS; i++)
		replica->sleepers[i].heard = replica->host->ticks;
	fall_asleep(replica);
	note_to_all(replica, NOTE_SLEEP);
}

/* -- Signs of sleep --------------------------------------------------------- */

static bool
is_lost(const ReplicaHost *host, uint32_t heard)
{
	return host->ticks - heard > LOST_TICKS;
}

static void
beat(Replica *replica)
{
	ReplicaHost *host = replica->host;
	bool		lost = false;

	if (!replica->sleep_leads)
	{
		if (is_lost(host, replica->sleep_heard))
		{
			wake(replica);
			raft_forget_leader(replica->raft);
			host_mark_dirty(replica);
		}
		else
			send_note(replica, NOTE_READY, replica->sleep_leader, replica->sleep_node);
		return;
	}
	for (uint32_t i = 0; i < RAFT_MAX_MEMBERS; i++)
		lost |= replica->sleepers[i].counts && is_lost(host, replica->sleepers[i].heard);
	if (lost)
		sleep_disturb(replica);
	else
		note_to_all(replica, NOTE_SLEEP);
}

/* After the cores that are awake had their tick. */
void
sleep_tick(ReplicaHost *host)
{
	Replica    *next;

	for (Replica *r = host->awake; r; r = next)
	{
		next = r->awake_next;
		consider(r);
	}
	if (host->ticks % BEAT_TICKS != 0 || atomic_load(&host->asleep) == 0)
		return;
	for (Replica *r = host->replicas; r; r = r->next)
		if (r->asleep)
			beat(r);
}

/* -- Notes that come -------------------------------------------------------- */

/* A follower's: is it where the leader says it is? */
static bool
agrees(Replica *replica, const Note *note)
{
	RaftStatus	status;

	if (replica->asleep)
		return replica->sleep_term == note->x && replica->sleep_index == note->y &&
			replica->sleep_leader == note->from;
	return is_at_rest(replica, &status) && !replica->sleep_leads && status.leader == note->from &&
		status.term == note->x && status.last == note->y;
}

static void
told_ready(Replica *replica, const Note *note)
{
	Sleeper    *sleeper = sleeper_of(replica, note->from);

	if (!sleeper)
		return;
	sleeper->term = note->x;
	sleeper->index = note->y;
	sleeper->heard = replica->host->ticks;
}

void
sleep_note(ReplicaHost *host, const Note *note, uint64_t node)
{
	Replica    *replica = peers_find(host, note->group);

	if (!replica || replica->gone || note->to != replica->id)
		return;
	switch (note->kind)
	{
		case NOTE_ASK:
			if (agrees(replica, note))
				send_note(replica, NOTE_READY, note->from, node);
			break;
		case NOTE_READY:
			told_ready(replica, note);
			break;
		case NOTE_SLEEP:
			if (!agrees(replica, note))
			{
				replica->quiet_ticks = 0;
				if (replica->asleep)
					wake(replica);
				send_note(replica, NOTE_WAKE, note->from, node);
			}
			else if (replica->asleep)
			{
				replica->sleep_heard = host->ticks;
				atomic_store(&replica->led_us, clock_now_us());
			}
			else
				fall_asleep(replica);
			break;
		case NOTE_WAKE:
			if (replica->asleep && replica->sleep_leads)
				sleep_disturb(replica);
			break;
	}
}
