/*-------------------------------------------------------------------------
 *
 * room.c
 *	  Stores whose disk or memory is nearly used up tell the others, so that leaders
 *	  take no new data that most of their group have no room for.
 *
 * A store that is short says so a few times in a second to all it speaks with, in a note
 * for all groups together, and once when it no longer is; who says nothing has room. So
 * it costs nothing until it matters.  A note that is not repeated is forgotten: the
 * store may have died, and whether the group can do without it is Raft's matter.
 *
 * This is advice for admission.  What is in the log is applied by everybody, and deletes,
 * changes of members and repair go on [P8b].
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "private.h"

#define SAY_TICKS 10
#define FORGET_TICKS 60

/* -- Notes: kind 1 the sender is short, 0 it no longer is --------------------- */

static void
say(ReplicaHost *host, bool is_short)
{
	Note		note = {.about = NOTE_OF_ROOM, .kind = is_short};

	for (size_t i = 0; i < host->noutboxes; i++)
		(void) note_send(host, &note, host->outboxes[i].node);
}

void
room_note(ReplicaHost *host, const Note *note, uint64_t node)
{
	ShortNode  *known = NULL;

	if (note->kind > 1 || node == 0)
		return;
	for (size_t i = 0; i < host->nshort && !known; i++)
		if (host->short_nodes[i].node == node)
			known = &host->short_nodes[i];
	if (known && !note->kind)
		*known = host->short_nodes[--host->nshort];
	else if (known)
		known->heard = host->ticks;
	else if (note->kind)
	{
		host->short_nodes = vt_realloc(host->short_nodes, sizeof(ShortNode) * (host->nshort + 1));
		host->short_nodes[host->nshort++] = (ShortNode) {node, host->ticks};
	}
}

/* -- Who asks ----------------------------------------------------------------- */

void
replica_host_set_short(ReplicaHost *host, bool is_short)
{
	atomic_store(&host->is_short, is_short);
}

bool
replica_is_crowded(const Replica *replica)
{
	return atomic_load(&replica->crowded);
}

static bool
is_short(ReplicaHost *host, uint64_t node)
{
	for (size_t i = 0; i < host->nshort; i++)
		if (host->short_nodes[i].node == node)
			return true;
	return false;
}

/*
 * A leader's: are those that vote and have room too few to commit without the others?
 * Then whatever is committed fills the disk of somebody who is short.
 */
static void
look(Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	bool		crowded = false;

	/* By who votes, and while members change by who did, too. */
	for (int half = 0; half < (conf->joint ? 2 : 1); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	voters = 0;
		uint32_t	shorts = 0;

		for (uint32_t i = 0; i < conf->n; i++)
			if (conf->members[i].roles & role)
			{
				voters++;
				shorts += conf->members[i].id == replica->id ? atomic_load(&replica->host->is_short) :
					is_short(replica->host, peers_node(replica, conf->members[i].id));
			}
		/* Who is alone is asked at the door, and knows at once. */
		crowded |= voters > 1 && shorts > 0 && 2 * (voters - shorts) <= voters;
	}
	atomic_store(&replica->crowded, crowded);
}

/* All leaders are looked at, also those that sleep: what is refused does not wake them. */
void
room_tick(ReplicaHost *host)
{
	bool		own = atomic_load(&host->is_short);
	bool		some;

	if (host->ticks % SAY_TICKS != 0)
		return;
	if (own || host->said_short)
		say(host, own);
	host->said_short = own;
	for (size_t i = host->nshort; i-- > 0;)
		if (host->ticks - host->short_nodes[i].heard > FORGET_TICKS)
			host->short_nodes[i] = host->short_nodes[--host->nshort];
	some = own || host->nshort > 0;
	for (Replica *r = some || host->some_short ? host->replicas : NULL; r; r = r->next)
		if (atomic_load(&r->serving_from) != 0)
			look(r);
	host->some_short = some;
}
