/*-------------------------------------------------------------------------
 *
 * route_told.c
 *	  What a worker says of a split, taken into a route.
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
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

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
