/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  A backend's index scan: snapshot, state and marks, every shard, and what the
 *	  oracle says of the answer (laws D1, W7, R3).
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

/* Questions asked so often that the scan fails, an error for its user. */
#define SCAN_TIMES 12

static void
end_scan(Backend *b)
{
	asks_clear(&b->asks);
	b->scan = NO_SCAN;
	b->scan_back = false;
	memset(b->sees, 0, sizeof(b->sees));
	memset(b->found_n, 0, sizeof(b->found_n));
}

static void
read_meta(const Server *s, Backend *b)
{
	b->scan_meta = s->now.meta;
	b->scan_collection = s->now.collection;
}

/*
 * R3: was nothing written to a shard that has no mark?  What it was split off was learned
 * when nothing had been, and no mark of its own can have been lost since.
 */
static bool
is_untouched(Sim *sim, const Server *s, uint32_t g)
{
	const ShardWorld *w = shard_world(sim);

	if (s->marks[g] != 0 && !vt_broken("R3-noted"))
		return false;
	for (uint32_t p; w->split[g].committed; g = p)
	{
		p = w->split[g].parent;
		if (s->marks[p] != 0 || s->mark_known[p])
			return s->mark_known[p] && s->mark_range[p] > 0 && s->mark_range[p] < w->born[g].range_ver &&
				s->mark_at[p] == s->evictions;
	}
	return false;
}

static void
read_marks(Sim *sim, const Server *s, Backend *b)
{
	const ShardWorld *w = shard_world(sim);
	bool		route_known = w->splits == 0 || s->route_known || vt_broken("R3-unknown");

	/* An older route than that of the writes is not used. */
	if (w->splits > 0 && s->route > b->route)
		b->route = s->route;
	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
	{
		b->scan_known[g] = (s->mark_known[g] && route_known) || vt_broken("R3-unknown");
		b->scan_marks[g] = s->mark_known[g] ? s->marks[g] : 0;
		b->scan_range[g] = range_in(sim, b->route, g);
		if (!b->scan_known[g] && w->splits > 0 && route_known && is_untouched(sim, s, g))
		{
			b->scan_known[g] = true;
			b->scan_marks[g] = sim->groups[g].base;
			COUNT(sim, marks_untouched);
		}
		if (b->scan_own && b->marks[g] > b->scan_marks[g] && !vt_broken("R3-own"))
			b->scan_marks[g] = b->marks[g];
	}
	b->scan_evictions = s->evictions;
}

static void
take_snapshot(Sim *sim, Server *s, Backend *b)
{
	ShardWorld *w = shard_world(sim);

	memset(b->sees, 0, sizeof(b->sees));
	for (uint32_t t = 0; t < w->tids; t++)
	{
		int			row = s->now.tuple[t];

		if (row != NO_ROW)
			b->sees[row] = heap_is_visible(w, s, row) ||
				(b->scan_own && w->rows[row].txn == b->txn && !w->rows[row].killed);
	}
	b->scan = SCAN_SNAPSHOT;
}

/* A mark is not for an older interval than it was read by. */
static bool
is_known(Sim *sim, const Backend *b, uint32_t g)
{
	return b->scan_known[g] && (b->scan_range[g] <= range_in(sim, b->route, g) || vt_broken("R3-back"));
}

/* Marks that are not known are asked for; then all shards are searched. */
static void
ask_marks_or_search(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n = targets(sim, b->scan_collection, b->route, groups);
	bool		all_known = true;

	asks_clear(&b->asks);
	memset(b->found_n, 0, sizeof(b->found_n));
	b->scan_k = shard_world(sim)->paged ? 1 + sim_below(sim, 4) : 0;
	for (uint32_t k = 0; k < n; k++)
		all_known = all_known && is_known(sim, b, groups[k]);
	for (uint32_t k = 0; k < n; k++)
		if (all_known)
			ask_search(sim, server, b, groups[k]);
		else if (!is_known(sim, b, groups[k]))
			ask(sim, server, &b->asks, groups[k], ASK_READ, b->route, 0, NULL);
	if (!all_known)
	{
		COUNT(sim, scans_asked);
		b->scan_evictions = s->evictions;
	}
	b->scan = all_known ? SCAN_SEARCH : SCAN_ASKS;
}

void
begin_scan(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];

	if (b->scan == NO_SCAN || b->scan == SCAN_FLUSH)
	{
		/* R3, W7: marks and the index' state are read after the snapshot. */
		if (vt_broken("R3-snapshot") || vt_broken("W7-snapshot"))
		{
			read_meta(s, b);
			read_marks(sim, s, b);
			b->scan = SCAN_EARLY;
			return;
		}
	}
	take_snapshot(sim, s, b);
}

/* False: some answer ends the scan or makes it begin again. */
static bool
scan_answers_are_good(Sim *sim, int server, Backend *b)
{
	bool		refused = false;
	bool		moved = false;

	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
		if (b->asks.ask[g].used)
		{
			refused |= definite_no(b->asks.ask[g].reply.status);
			moved |= b->asks.ask[g].reply.status == VT_WRONG_SHARD;
		}
	if (refused)
	{
		heap_set_stale(sim, server);
		end_scan(b);
		return false;
	}
	if (moved || (b->scan == SCAN_SEARCH && !asks_tile(sim, &b->asks)))
	{
		learn_route(sim, &b->route);
		b->scan = SCAN_SNAPSHOT;
		return false;
	}
	return true;
}

/* What the answers brought; true: some shard has more, and is asked again. */
static bool
take_batches(Sim *sim, int server, Backend *b)
{
	ShardWorld *w = shard_world(sim);
	bool		more = false;

	for (uint32_t g = 0; g < SIM_MAX_GROUPS && !sim->failed; g++)
	{
		Ask		   *a = &b->asks.ask[g];

		if (!a->used || a->taken)
			continue;
		a->taken = true;
		w->counts.scans_lagging += a->reply.lagged;
		w->counts.scans_moved += a->served != 0 && a->served != a->reply.replica;
		if (b->found_n[g] + a->reply.n > MAX_TIDS)
			sim_fail(sim, "[R1] server %d: a shard gives more rows than there are", server);
		else if (a->reply.n > 0)
			memcpy(&b->found[g][b->found_n[g]], a->reply.rows, a->reply.n * sizeof(ShardRow));
		b->found_n[g] += a->reply.n;
		if (a->reply.exhausted || sim->failed)
			continue;
		w->counts.scans_paged++;
		more = true;
		ask_search(sim, server, b, g);
	}
	return more;
}

/* What was asked for is known now, and for all of them that no shard beyond this route had a write. */
static void
learn_marks(Sim *sim, Server *s, const Backend *b)
{
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n = targets(sim, b->scan_collection, b->route, groups);

	for (uint32_t k = 0; k < n; k++)
	{
		uint32_t	g = groups[k];

		if (!b->scan_known[g])
			continue;
		if (b->scan_marks[g] > s->marks[g])
			s->marks[g] = b->scan_marks[g];
		s->mark_known[g] = true;
		s->mark_range[g] = range_in(sim, b->route, g);
		s->mark_at[g] = s->evictions;
	}
}

static void
take_scan_answers(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];

	if (!scan_answers_are_good(sim, server, b))
		return;
	if (b->scan == SCAN_ASKS)
	{
		for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
		{
			if (!b->asks.ask[g].used)
				continue;
			if (b->asks.ask[g].reply.index > b->scan_marks[g])
				b->scan_marks[g] = b->asks.ask[g].reply.index;
			b->scan_known[g] = true;
			b->scan_range[g] = range_in(sim, b->route, g);
		}
		if (s->evictions == b->scan_evictions || vt_broken("R3-epoch"))
		{
			learn_marks(sim, s, b);
			store_route(s, b->route);
			s->route_known = true;
		}
		ask_marks_or_search(sim, server, b);
		return;
	}
	if (take_batches(sim, server, b) || sim->failed)
		return;
	truth_scan(sim, server, b);
	COUNT(sim, scans);
	shard_world(sim)->counts.scans_own += b->scan_own;
	s->calm_scans += sim->calm;
	end_scan(b);
}

/*
 * Once in a scan: nobody answers for a while, and the route is asked for again, by a client
 * that has forgotten its own, of a driver that has not heard of every split.
 */
static bool
goes_back(Sim *sim, const Backend *b)
{
	return shard_world(sim)->back && !b->scan_back && !sim->calm && b->scan == SCAN_SEARCH && b->route > 0 && sim_chance(sim, 100);
}

void
scan_step(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];
	bool		gave_up;

	switch (b->scan)
	{
		case SCAN_FLUSH:
			if (b->flushing)
				flush_step(sim, server, b);
			else
				begin_scan(sim, server, b);
			break;
		case SCAN_EARLY:
			take_snapshot(sim, s, b);
			break;
		case SCAN_SNAPSHOT:
			if (!vt_broken("W7-snapshot"))
				read_meta(s, b);
			if (!vt_broken("R3-snapshot"))
				read_marks(sim, s, b);
			if (b->scan_meta == META_STALE || b->scan_meta == META_REPAIRING)
				end_scan(b);	/* the heap is read instead */
			else if (b->scan_meta == META_EMPTY)
			{
				truth_scan(sim, server, b);
				s->calm_scans += sim->calm;
				end_scan(b);
			}
			else
				ask_marks_or_search(sim, server, b);
			break;
		default:
			if (goes_back(sim, b))
			{
				COUNT(sim, routes_back);
				b->scan_back = true;
				b->route = (int) sim_below(sim, (uint32_t) b->route);
				ask_marks_or_search(sim, server, b);
			}
			else if (!asks_pending(sim, &b->asks, SCAN_TIMES, &gave_up))
				take_scan_answers(sim, server, b);
			else if (gave_up)
				end_scan(b);	/* an error for its user */
			break;
	}
}
