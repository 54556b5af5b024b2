/*-------------------------------------------------------------------------
 *
 * room.c
 *	  Stores whose disk or memory is nearly used up tell the others, so that leaders
 *	  take no new data that most of their group have no room for.
 *
 * A store that is short says so to all it speaks with, in a note for all groups together:
 * with the next tick, and from then on a few times in a second; and once when it no longer
 * is; who says nothing has room. So it costs nothing until it matters.  Who hears of it
 * looks at its groups with the next tick.  A note that is not repeated is forgotten: the
 * store may have died, and whether the group can do without it is Raft's matter.
 *
 * This is advice for admission.  What is in the log is applied by everybody, and deletes,
 * changes of members and repair go on [P8b].
 *
 * The rule: new data may be proposed if the voters that have room and keep up can commit
 * it by themselves.  If they cannot, one that is short would have to hold it, and those
 * that are lost hold nothing: of three with one lost, two must have room.  Whether a peer
 * is alive the core forgets with each check of its quorum, so what counts is that it has
 * what was in the log a second ago; who is lost has not, soon after something is written.
 *
 * A leader on a store that is short hands over to a voter that has room and keeps up: its
 * own admission refuses what the others have room for.  PD does so too, when it is there.
 * And who cannot lead well says so to those who might ask it to: such stores by the note
 * above, a replica whose state a snapshot is just replacing by one of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/log.h"
#include "private.h"

#define SAY_TICKS 10
#define FORGET_TICKS 60

#define GIVE_TICKS 60			/* between two attempts to hand over */
#define GIVE_MAX 16				/* groups with one look */

/* -- Notes: docs/wire.md ---------------------------------------------------- */

typedef enum RoomKind
{
	ROOM_AGAIN,					/* the store that sends it has some */
	ROOM_SHORT,					/* and has none */
	ROOM_LOADING				/* replica `from` of the group cannot lead */
} RoomKind;

static void
say(ReplicaHost *host, bool is_short)
{
	Note		note = {.about = NOTE_OF_ROOM, .kind = is_short ? ROOM_SHORT : ROOM_AGAIN};

	for (size_t i = 0; i < host->noutboxes; i++)
		(void) note_send(host, &note, host->outboxes[i].node);
}

static void
note_short(ReplicaHost *host, uint64_t node, bool is_short)
{
	ShortNode  *known = NULL;

	for (size_t i = 0; i < host->nshort && !known; i++)
		if (host->short_nodes[i].node == node)
			known = &host->short_nodes[i];
	host->short_news |= (known != NULL) != is_short;
	if (known && !is_short)
		*known = host->short_nodes[--host->nshort];
	else if (known)
		known->heard = host->ticks;
	else if (is_short)
	{
		host->short_nodes = vt_realloc(host->short_nodes, sizeof(ShortNode) * (host->nshort + 1));
		host->short_nodes[host->nshort++] = (ShortNode) {node, host->ticks};
	}
}

/* Of a member that lives on the node that says so. */
static void
note_loading(ReplicaHost *host, uint64_t node, uint64_t group, uint64_t from)
{
	Replica    *replica = peers_find(host, group);
	int			at = 0;

	if (!replica || replica->gone || from == 0 || peers_node(replica, from) != node)
		return;
	while (at < LOADS && replica->loads[at].id != from)
		at++;
	for (int i = 0; i < LOADS && at == LOADS; i++)
		if (replica->loads[i].id == 0)
			at = i;
	if (at == LOADS)
		return;
	replica->loads[at].id = from;
	replica->loads[at].heard = host->ticks;
	raft_set_unfit(replica->raft, from, true);
	host->some_load = true;
}

void
room_note(ReplicaHost *host, const Note *note, uint64_t node)
{
	if (node == 0 || note->kind > ROOM_LOADING)
		return;
	if (note->kind == ROOM_LOADING)
		note_loading(host, node, note->group, note->from);
	else
		note_short(host, node, note->kind == ROOM_SHORT);
}

/* A snapshot takes the place of this replica's state, or has done so. */
void
room_loading(Replica *replica, bool loading)
{
	if (replica->loading == loading)
		return;
	replica->loading = loading;
	replica->host->nloading += loading ? 1 : -1;
}

static void
say_loading(ReplicaHost *host)
{
	for (Replica *r = host->nloading > 0 ? host->replicas : NULL; r; r = r->next)
	{
		const RaftConf *conf = raft_get_conf(r->raft);
		Note		note = {.about = NOTE_OF_ROOM, .kind = ROOM_LOADING, .group = r->group, .from = r->id};

		for (uint32_t i = 0; r->loading && i < conf->n; i++)
			if (conf->members[i].id != r->id)
				(void) note_send(host, &note, conf->members[i].node);
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

static bool
loads(const Replica *replica, uint64_t id)
{
	for (int i = 0; i < LOADS; i++)
		if (replica->loads[i].id == id)
			return true;
	return false;
}

static bool
has_room(Replica *replica, uint64_t id)
{
	return id == replica->id ? !atomic_load(&replica->host->is_short) :
		!is_short(replica->host, peers_node(replica, id));
}

/* Has it what was in the log two looks ago? */
static bool
keeps_up(const Replica *replica, uint64_t id)
{
	RaftPeer	peer;

	return id == replica->id ||
		(raft_get_peer(replica->raft, id, &peer) && peer.match >= replica->room_last[1]);
}

/* A leader's: can those that have room and keep up not commit without the others? */
static bool
is_crowded(Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	bool		crowded = false;

	/* By who votes, and while members change by who did, too. */
	for (int half = 0; half < (conf->joint ? 2 : 1); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	voters = 0;
		uint32_t	shorts = 0;
		uint32_t	able = 0;

		for (uint32_t i = 0; i < conf->n; i++)
			if (conf->members[i].roles & role)
			{
				bool		room = has_room(replica, conf->members[i].id);

				voters++;
				shorts += !room;
				able += room && keeps_up(replica, conf->members[i].id);
			}
		/* Who is alone is asked at the door, and knows at once. */
		crowded |= voters > 1 && shorts > 0 && 2 * able <= voters;
	}
	return crowded;
}

/* Who is to lead instead of this store, which is short; 0: nobody would do better. */
static uint64_t
find_heir(Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	uint64_t	heir = 0;
	uint64_t	most = 0;

	for (uint32_t i = 0; i < conf->n; i++)
	{
		uint64_t	id = conf->members[i].id;
		RaftPeer	peer;

		if (id == replica->id || !(conf->members[i].roles & RAFT_VOTER) || loads(replica, id) ||
			!has_room(replica, id) || !keeps_up(replica, id) || !raft_get_peer(replica->raft, id, &peer) ||
			peer.state != RAFT_REPLICATE)
			continue;

		/* Who was asked before and did not come may be dead. */
		if (heir == 0 || heir == replica->gave_to || (id != replica->gave_to && peer.match > most))
		{
			heir = id;
			most = peer.match;
		}
	}
	return heir;
}

/* True: it is under way. */
static bool
hand_over(Replica *replica)
{
	ReplicaHost *host = replica->host;
	uint64_t	heir;

	if (replica->room_last[1] == 0 || (replica->gave_to && host->ticks - replica->gave_tick < GIVE_TICKS))
		return false;
	heir = find_heir(replica);
	if (heir == 0)
		return false;
	replica->gave_to = heir;
	replica->gave_tick = host->ticks;
	sleep_disturb(replica);
	if (raft_transfer(replica->raft, heir) != VT_OK)
		return false;
	host_mark_dirty(replica);
	log_info("group=%llu: replica %llu is to lead, since there is no room here", (unsigned long long) replica->group,
			 (unsigned long long) heir);
	return true;
}

/* due: as often as keeps_up() counts by. */
static void
look(Replica *replica, bool due, uint32_t *given)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	RaftStatus	status;

	raft_get_status(replica->raft, &status);
	if (status.term != replica->room_term)
		replica->room_last[0] = replica->room_last[1] = 0;
	replica->room_term = status.term;
	for (uint32_t i = 0; i < conf->n; i++)
		raft_set_unfit(replica->raft, conf->members[i].id,
					   !has_room(replica, conf->members[i].id) || loads(replica, conf->members[i].id));
	atomic_store(&replica->crowded, is_crowded(replica));
	if (*given < GIVE_MAX && atomic_load(&replica->host->is_short) && hand_over(replica))
		(*given)++;
	if (due)
	{
		replica->room_last[1] = replica->room_last[0];
		replica->room_last[0] = status.last;
	}
}

/* Loading has ended where nobody says so any more. */
static void
forget_loads(ReplicaHost *host)
{
	bool		some = false;

	for (Replica *r = host->replicas; r; r = r->next)
		for (int i = 0; i < LOADS; i++)
			if (r->loads[i].id != 0 && host->ticks - r->loads[i].heard > FORGET_TICKS)
			{
				raft_set_unfit(r->raft, r->loads[i].id, false);
				r->loads[i].id = 0;
			}
			else
				some |= r->loads[i].id != 0;
	host->some_load = some;
}

/* All leaders are looked at, also those that sleep: what is refused does not wake them. */
void
room_tick(ReplicaHost *host)
{
	bool		own = atomic_load(&host->is_short);
	bool		due = host->ticks % SAY_TICKS == 0;
	uint32_t	given = 0;
	bool		some;

	if (!due && !host->short_news && own == host->said_short)
		return;
	host->short_news = false;
	if (own || host->said_short)
		say(host, own);
	say_loading(host);
	host->said_short = own;
	if (host->some_load)
		forget_loads(host);
	for (size_t i = host->nshort; i-- > 0;)
		if (host->ticks - host->short_nodes[i].heard > FORGET_TICKS)
			host->short_nodes[i] = host->short_nodes[--host->nshort];
	some = own || host->nshort > 0;
	for (Replica *r = some || host->some_short ? host->replicas : NULL; r; r = r->next)
		if (atomic_load(&r->serving_from) != 0)
			look(r, due, &given);
	host->some_short = some;
}
