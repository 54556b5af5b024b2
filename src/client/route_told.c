/*-------------------------------------------------------------------------
 *
 * route_told.c
 *	  What a worker says of a split, taken into a route; and what PD says that is older.
 *
 * Whoever is asked by a route of before a split refuses, and says what was split off
 * the shard since (docs/wire.md).  With that the call goes on at once, also when PD is out of
 * reach.  It is believed as far as PD would be: what comes out is a route that tiles the
 * space (law D1), and whoever is not who he was taken for refuses.
 *
 * A child begins where its parent's replicas are (decision 0009), so that is where it is
 * looked for.
 *
 * PD's version of the route stays, since only PD counts versions.  For law R3 the
 * intervals themselves are noted with the marks of what is written so (marks.c); to
 * keep that short, a route is told of few splits before PD is asked again.
 *
 * A route never goes back (law D1-back).  PD may not have heard yet of a split that a worker
 * told of, and one driver may be behind another that was asked before.  By an interval of
 * before the split a replica that is as old would answer for the whole of it, at a mark that
 * was read by a newer one, without what was written to the child since (R3); and a writer
 * would take a child's records for its parent's (E1).  So where PD's words are older than
 * what is known, only the places are taken from them.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/breaks.h"
#include "private.h"

static uint32_t
told(const ClientCollection *route)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < route->nshards; i++)
		n += route->shards[i].told;
	return n;
}

bool
route_adopt(const ClientCollection *route, const WireShardDesc *child, ClientCollection *out)
{
	const ClientShard *parent;
	ClientShard *shards;
	uint32_t	at = 0;

	while (at < route->nshards && route->shards[at].desc.shard != child->parent)
		at++;
	if (at == route->nshards || route->nshards == SHARDS_MAX)
		return false;
	parent = &route->shards[at];
	if (child->range_ver != parent->desc.range_ver + 1 || child->first <= parent->desc.first ||
		child->last != parent->desc.last || (!parent->told && told(route) == CLIENT_TOLD_MAX))
		return false;
	shards = vt_alloc0(sizeof(ClientShard) * ((size_t) route->nshards + 1));
	memcpy(shards, route->shards, sizeof(ClientShard) * ((size_t) at + 1));
	memcpy(shards + at + 2, route->shards + at + 1, sizeof(ClientShard) * (route->nshards - at - 1));
	shards[at].desc.last = child->first - 1;
	shards[at].desc.range_ver = child->range_ver;
	shards[at].told = true;
	shards[at + 1].desc = *child;
	shard_take_places(&shards[at + 1], parent);
	*out = *route;
	out->shards = shards;
	out->nshards = route->nshards + 1;
	if (route_agrees(out))
		return true;
	free(shards);
	return false;
}

/* The shards from this one on up to where one of another route ends; false: none ends there. */
static bool
take_up_to(ClientCollection *out, const ClientCollection *from, uint32_t *at, uint64_t last)
{
	while (*at < from->nshards && out->nshards < SHARDS_MAX && from->shards[*at].desc.last <= last)
	{
		ClientShard *to = &out->shards[out->nshards++];

		*to = from->shards[(*at)++];
		to->misses = 0;
		if (to->desc.last == last)
			return true;
	}
	return false;
}

/*
 * A shard's interval only gets narrower, and what it loses is split among its children.  So of
 * two routes either is older in parts, and there one of its shards is several of the other.
 */
bool
route_go_on(const ClientCollection *known, ClientCollection *said)
{
	ClientCollection out = *said;
	uint32_t	k = 0;
	uint32_t	s = 0;
	bool		good = true;

	if (vt_broken("D1-back"))
		return true;
	out.shards = vt_alloc0(sizeof(ClientShard) * ((size_t) known->nshards + said->nshards));
	out.nshards = 0;
	while (good && k < known->nshards && s < said->nshards)
	{
		const WireShardDesc *ours = &known->shards[k].desc;
		const WireShardDesc *theirs = &said->shards[s].desc;
		ClientShard *first = &out.shards[out.nshards];

		if (ours->shard == theirs->shard && ours->incarnation == theirs->incarnation && ours->range_ver > theirs->range_ver)
		{
			good = take_up_to(&out, known, &k, theirs->last);
			if (good)
				shard_take_places(first, &said->shards[s++]);
		}
		else
		{
			good = take_up_to(&out, said, &s, ours->last);
			k++;
		}
	}
	if (!good || !route_agrees(&out))
	{
		free(out.shards);
		return false;
	}
	if (known->route_version > out.route_version)
		out.route_version = known->route_version;
	free(said->shards);
	*said = out;
	return true;
}
