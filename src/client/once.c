/*-------------------------------------------------------------------------
 *
 * once.c
 *	  Writes that are done once: which session and number a record goes by.
 *
 * A session belongs to a shard and is opened when the first record goes there.
 * The records of a command get one session and one number when they are first
 * sent, and keep them as long as the call tries: whoever has done it says so.
 *
 * When a shard was split meanwhile, the parts go to who owns them now.  A child knows
 * the sessions that its parent had at the split, which are those up to the child's
 * base; so a part keeps its number on the way to such a child.  A session that was
 * opened later was opened when the shard did not own those records any more: they
 * were done nowhere, and are numbered anew.  Their old number must not be used
 * there, where it may be the number of somebody else.
 *
 * The copies of a session in a parent and its children count on for themselves.  That is
 * sound as long as the client knows of the children: by a route of before the split a
 * parent's session would give a number that a child's has given, and the child, to whom the
 * record belongs, would say that it was done.  So when a route is forgotten, or one is taken
 * that does not go on from it, the sessions are left (law E1-back).  And a number from
 * beyond a route is kept as it is: who is asked by that was split since, and refuses.
 *
 * A session that is refused as over, for a command that was sent for the first
 * time, has cost nothing: another one is opened.  For one that was sent before it
 * is the end of the call, since nobody can say any more whether it was done.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/breaks.h"
#include "private.h"

#define SESSIONS_KEPT 4096		/* of a client; what is forgotten ends by itself */

struct ClientSession
{
	ClientSession *next;		/* the last used first */
	VtId		generation;
	uint64_t	shard;
	uint64_t	incarnation;
	uint64_t	id;
	uint64_t	sequence;		/* the next one's */
};

static ClientSession **
find(Client *client, const WireShardDesc *desc)
{
	ClientSession **p = &client->sessions;

	while (*p && !((*p)->shard == desc->shard && (*p)->incarnation == desc->incarnation &&
				   vt_id_equal(&(*p)->generation, &desc->generation)))
		p = &(*p)->next;
	return p;
}

static ClientSession *
add(Client *client, const WireShardDesc *desc, uint64_t id, uint64_t sequence)
{
	ClientSession *session = vt_alloc0(sizeof(ClientSession));

	session->generation = desc->generation;
	session->shard = desc->shard;
	session->incarnation = desc->incarnation;
	session->id = id;
	session->sequence = sequence;
	session->next = client->sessions;
	client->sessions = session;
	client->nsessions++;
	return session;
}

static const ClientShard *
shard_of(const ClientCollection *route, uint64_t shard)
{
	for (uint32_t i = 0; i < route->nshards; i++)
		if (route->shards[i].desc.shard == shard)
			return &route->shards[i];
	return NULL;
}

OnceKin
once_kin(const ClientCollection *route, const WireShardDesc *desc, uint64_t home, uint64_t session)
{
	bool		heir = true;

	/* A chain cannot be longer than there are shards. */
	for (uint32_t i = 0; i <= route->nshards; i++)
	{
		const ClientShard *parent = NULL;

		if (desc->shard == home)
			return heir ? ONCE_HEIR : ONCE_STRANGER;
		if (desc->parent != 0)
			parent = shard_of(route, desc->parent);
		if (!parent)
			break;
		heir = heir && session <= desc->base_index;
		desc = &parent->desc;
	}
	return ONCE_OLDER;
}

ClientSession *
once_session(Client *client, const ClientCollection *route, const WireShardDesc *desc)
{
	const WireShardDesc *from = desc;
	ClientSession **p = find(client, desc);
	ClientSession *session = *p;

	if (session)
	{
		*p = session->next;
		session->next = client->sessions;
		client->sessions = session;
		return session;
	}
	/* What an ancestor had when it was split. */
	for (uint32_t i = 0; i < route->nshards && from->parent != 0; i++)
	{
		const ClientShard *parent = shard_of(route, from->parent);

		if (!parent)
			return NULL;
		from = &parent->desc;
		session = *find(client, from);
		if (session)
			return once_kin(route, desc, from->shard, session->id) == ONCE_HEIR ?
				add(client, desc, session->id, session->sequence) : NULL;
	}
	return NULL;
}

ClientSession *
once_opened(Client *client, const WireShardDesc *desc, uint64_t id)
{
	return add(client, desc, id, 1);
}

static void
forget(Client *client, const VtId *generation, uint64_t id)
{
	for (ClientSession **p = &client->sessions; *p;)
	{
		ClientSession *session = *p;

		if ((id != 0 && session->id != id) || !vt_id_equal(&session->generation, generation))
		{
			p = &session->next;
			continue;
		}
		*p = session->next;
		client->nsessions--;
		free(session);
	}
}

/*
 * With those of shards that were split off, or that this one was split off: a number
 * that one of them has been asked for must never be begun with again there.
 */
void
once_forget(Client *client, const VtId *generation, uint64_t id)
{
	forget(client, generation, id);
}

/* All of a generation, whose route is forgotten or goes back (law E1-back). */
void
once_forget_all(Client *client, const VtId *generation)
{
	if (!vt_broken("E1-back"))
		forget(client, generation, 0);
}

/* Between calls. */
void
once_make_room(Client *client)
{
	while (client->nsessions > SESSIONS_KEPT)
	{
		const ClientSession *last = client->sessions;
		VtId		generation;

		while (last->next)
			last = last->next;
		generation = last->generation;
		once_forget(client, &generation, last->id);
	}
}

OnceNumber
once_number(ClientSession *session, uint64_t home)
{
	return (OnceNumber) {.home = home, .session = session->id, .sequence = session->sequence++};
}

void
once_free_all(Client *client)
{
	while (client->sessions)
	{
		ClientSession *session = client->sessions;

		client->sessions = session->next;
		free(session);
	}
	client->nsessions = 0;
}

/* By shard; there first what has a number, command by command in their order. */
static int
compare(const void *a, const void *b)
{
	const OncePlace *x = a;
	const OncePlace *y = b;

	if (x->where != y->where)
		return x->where < y->where ? -1 : 1;
	if ((x->number.sequence == 0) != (y->number.sequence == 0))
		return x->number.sequence == 0 ? 1 : -1;
	if (x->number.session != y->number.session)
		return x->number.session < y->number.session ? -1 : 1;
	if (x->number.sequence != y->number.sequence)
		return x->number.sequence < y->number.sequence ? -1 : 1;
	return x->record < y->record ? -1 : 1;
}

void
once_sort(OncePlace *places, size_t n)
{
	qsort(places, n, sizeof(OncePlace), compare);
}
