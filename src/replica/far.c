/*-------------------------------------------------------------------------
 *
 * far.c
 *	  Linearizable reads away from the leader (ReadIndex through a follower).
 *
 *	 follower --ASK(number)--> leader, who does ReadIndex
 *	 follower <--SAY(number, index)--
 *
 * and when the follower has applied that index, it knows everything that was
 * acknowledged before it was asked: it asked after that, and the leader made sure
 * that it still led after it was asked.
 *
 * So an answer must belong to its question.  Numbers come from one counter of the
 * process, which begins at random: what was said to an earlier life of the replica,
 * or comes twice, belongs to nobody.  Notes may be lost like any message; a question
 * that is not answered ends after some ticks, or with the leader it was put to, and so
 * does one whose index is not applied here by then: whoever asked turns to somebody else.
 *
 * Whoever asks holds the machine meanwhile, and a snapshot that is installed waits
 * until nobody does.  So once the log has a new base nothing is asked any more, and
 * what was asked ends (snapshot_install).
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "private.h"

#define PATIENCE_TICKS 20		/* for the answer, and then for its index to be applied */

/* Notes: x is the number, y the index */
typedef enum FarKind
{
	FAR_ASK = 1,
	FAR_SAY = 2					/* index 0: not the leader */
} FarKind;

/* A question put to a leader. */
struct FarRead
{
	FarRead    *next;
	uint64_t	number;
	uint64_t	leader;
	uint32_t	asked;			/* tick */
	ReplicaDone done;
	void	   *arg;
};

/* A question that this leader looks into. */
typedef struct FarErrand
{
	ReplicaHost *host;
	uint64_t	node;
	Note		answer;
} FarErrand;

/* -- Who asks ------------------------------------------------------------------ */

bool
far_ask(Replica *replica, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;
	RaftStatus	status;
	Note		note = {.about = NOTE_OF_FAR, .kind = FAR_ASK, .group = replica->group, .from = replica->id};
	FarRead    *read;

	raft_get_status(replica->raft, &status);
	if (status.leader == 0 || status.leader == replica->id || replica->gone || replica->install_seq)
		return false;
	if (host->far_number == 0)
	{
		VtId		random;

		vt_id_random(&random);
		host->far_number = get_le64(random.b) | 1;
	}
	note.to = status.leader;
	note.x = ++host->far_number;
	if (!note_send(host, &note, peers_node(replica, status.leader)))
		return false;
	sleep_disturb(replica);
	read = vt_alloc0(sizeof(FarRead));
	*read = (FarRead) {
		.next = replica->far, .number = note.x, .leader = status.leader, .asked = host->ticks, .done = done, .arg = arg
	};
	replica->far = read;
	return true;
}

static void
take_answer(Replica *replica, const Note *note)
{
	FarRead   **p = &replica->far;
	FarRead    *read;
	Waiter	   *waiter;

	while (*p && (*p)->number != note->x)
		p = &(*p)->next;
	read = *p;
	if (!read)
		return;
	*p = read->next;
	if (note->y == 0)
		read->done(read->arg, VT_NOT_LEADER, 0, bytes_of(NULL, 0));
	else
	{
		waiter = vt_alloc0(sizeof(Waiter));
		waiter->index = vt_broken("RI-wait") ? 1 : note->y;
		waiter->done = read->done;
		waiter->arg = read->arg;
		waiter->ends = replica->far_waits = true;
		waiter->until = replica->host->ticks + PATIENCE_TICKS;
		pthread_mutex_lock(&replica->lock);
		waiter->next = replica->reads;
		replica->reads = waiter;
		pthread_mutex_unlock(&replica->lock);
		apply_reads(replica, atomic_load(&replica->applied));
	}
	free(read);
}

/* Those questions that nobody will answer; or all. */
static void
end_questions(Replica *replica, VtStatus status, bool all)
{
	RaftStatus	now;

	if (!replica->far)
		return;
	raft_get_status(replica->raft, &now);
	for (FarRead **p = &replica->far; *p;)
	{
		FarRead    *read = *p;

		if (!all && read->leader == now.leader && replica->host->ticks - read->asked < PATIENCE_TICKS)
		{
			p = &read->next;
			continue;
		}
		*p = read->next;
		read->done(read->arg, status, 0, bytes_of(NULL, 0));
		free(read);
	}
}

/* Their index was not applied in time: this replica lags. */
static void
end_waits(Replica *replica)
{
	Waiter	   *over = NULL;

	if (!replica->far_waits)
		return;
	replica->far_waits = false;
	pthread_mutex_lock(&replica->lock);
	for (Waiter **p = &replica->reads; *p;)
	{
		Waiter	   *waiter = *p;
		bool		is_over = waiter->ends && (int32_t) (replica->host->ticks - waiter->until) >= 0;

		replica->far_waits |= waiter->ends && !is_over;
		if (!is_over)
		{
			p = &waiter->next;
			continue;
		}
		*p = waiter->next;
		waiter->next = over;
		over = waiter;
	}
	pthread_mutex_unlock(&replica->lock);
	while (over)
	{
		Waiter	   *waiter = over;

		over = waiter->next;
		waiter->done(waiter->arg, VT_BEHIND, 0, bytes_of(NULL, 0));
		free(waiter);
	}
}

/* Those whose time is over, or whose leader is not the leader any more. */
void
far_tick(Replica *replica)
{
	end_questions(replica, VT_NOT_LEADER, false);
	end_waits(replica);
}

void
far_give_up(Replica *replica, VtStatus status)
{
	end_questions(replica, status, true);
}

/* -- Who is asked -------------------------------------------------------------- */

/* On any thread: the answer leaves with the next step. */
static void
on_index(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	FarErrand  *errand = arg;
	Event	   *event = vt_alloc0(sizeof(Event));
	uint8_t		bytes[NOTE_SIZE];

	(void) reply;
	errand->answer.y = status == VT_OK ? index : 0;
	note_encode(&errand->answer, bytes);
	event->kind = EVENT_FAR;
	event->number = errand->node;
	buf_put(&event->payload, bytes, sizeof(bytes));
	host_post_later(errand->host, event);
	free(errand);
}

void
far_answer(ReplicaHost *host, Bytes note, uint64_t node)
{
	uint8_t    *room = peers_room(host, node, note.len);

	if (room)
		memcpy(room, note.data, note.len);
}

void
far_note(ReplicaHost *host, const Note *note, uint64_t node)
{
	Replica    *replica = peers_find(host, note->group);
	FarErrand  *errand;

	if (!replica || replica->gone || note->to != replica->id || note->kind < FAR_ASK || note->kind > FAR_SAY)
		return;
	if (note->kind == FAR_SAY)
	{
		take_answer(replica, note);
		return;
	}
	sleep_disturb(replica);
	errand = vt_alloc0(sizeof(FarErrand));
	errand->host = host;
	errand->node = node;
	errand->answer = (Note) {.about = NOTE_OF_FAR, .kind = FAR_SAY, .group = note->group, .from = note->to, .to = note->from, .x = note->x};
	group_read(replica, on_index, errand);
	host_mark_dirty(replica);
}
