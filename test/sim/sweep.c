/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  VACUUM's pass over the index, repair, and the build of a new index.
 *
 * The first two raise the fence, list the index, compare the listing with the heap
 * and write by TID (laws W5, W7); they exclude each other.  They may be cancelled
 * at any step; what they sent stays on its way.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#define SWEEP_TIMES 10
#define MAX_ROUNDS 8

void
sweep_reset(Server *s)
{
	asks_clear(&s->sweep.asks);
	memset(&s->sweep, 0, sizeof(s->sweep));
}

static void
cancel(Sim *sim, Server *s)
{
	if (s->sweep.kind == SWEEP_VACUUM && s->sweep.step == STEP_SEND)
		COUNT(sim, vacuums_cancelled);
	sweep_reset(s);
}

/* -- Beginning ----------------------------------------------------------------------- */

static uint32_t
dead_tids(const ShardWorld *w, const Server *s, bool dead[MAX_TIDS])
{
	uint32_t	n = 0;

	for (uint32_t t = 0; t < w->tids; t++)
	{
		dead[t] = s->now.tuple[t] != NO_ROW && heap_is_dead(w, s, s->now.tuple[t]);
		n += dead[t];
	}
	return n;
}

static void
free_tids(Sim *sim, Server *s, const bool dead[MAX_TIDS])
{
	for (uint32_t t = 0; t < shard_world(sim)->tids; t++)
		if (dead[t])
		{
			sim_trace(sim, "TID %u of row %d is free", t, s->now.tuple[t]);
			s->now.tuple[t] = NO_ROW;
			COUNT(sim, tids_freed);
		}
}

static void
begin_vacuum(Sim *sim, Server *s)
{
	bool		dead[MAX_TIDS] = {false};

	if (dead_tids(shard_world(sim), s, dead) == 0)
		return;
	if (s->now.meta == META_LIVE)
	{
		s->sweep.kind = SWEEP_VACUUM;
		s->sweep.route = (int) sim_below(sim, (uint32_t) shard_world(sim)->routes_n);
		memcpy(s->sweep.dead, dead, sizeof(dead));
		s->sweep.began = sim->now;
		/* W5: the raise belongs to each call, not to a number kept from an earlier one. */
		if (vt_broken("W5-each") && s->kept_number != 0)
		{
			s->sweep.number = s->kept_number;
			s->sweep.step = STEP_LIST;
		}
	}
	else if (s->now.meta == META_EMPTY || (s->now.meta == META_STALE && s->disk.meta != META_LIVE))
	{
		/* No index to speak of: the heap frees what it likes. */
		COUNT(sim, blind_vacuums);
		free_tids(sim, s, dead);
	}
}

static bool
anybody_runs(const Server *s)
{
	for (int b = 0; b < MAX_BACKENDS; b++)
		if (s->backends[b].txn >= 0 || s->backends[b].scan != NO_SCAN)
			return true;
	return false;
}

static bool
owns(const ShardWorld *w, const Server *s, uint32_t collection)
{
	return wire_owner_equal(&s->owner, &w->collections[collection].desc.owner);
}

static void
begin(Sim *sim, Server *s)
{
	ShardWorld *w = shard_world(sim);
	bool		stale = s->now.meta == META_STALE || s->now.meta == META_REPAIRING;

	if (sim->calm && !stale)
		return;
	if (stale && owns(w, s, s->now.collection) && sim_below(sim, 2) == 0)
	{
		s->sweep.kind = SWEEP_REPAIR;
		s->sweep.route = (int) sim_below(sim, (uint32_t) shard_world(sim)->routes_n);
		/* W7: the raise comes before inserts maintain the index again. */
		if (vt_broken("W7-raise"))
			s->sweep.step = STEP_WAIT;
	}
	else if (stale && s->now.collection == 0 && w->collections_n > 1 && owns(w, s, 1) && !anybody_runs(s) &&
			 (!w->built || vt_broken("W1-generation")))
	{
		/* W1: each build makes a generation of its own; one that failed is not used again. */
		w->built = true;
		s->sweep.kind = SWEEP_BUILD;
		s->sweep.route = newest_route(sim);
		s->sweep.step = STEP_SEND;
	}
	else if (!sim->calm)
		begin_vacuum(sim, s);
	s->sweep.began = sim->now;
}

/* -- Asking all shards ---------------------------------------------------------------- */

static void
ask_all(Sim *sim, int server, AskKind kind, uint64_t fence_to)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n = targets(sim, s->now.collection, w->route, groups);

	asks_clear(&w->asks);
	for (uint32_t k = 0; k < n; k++)
	{
		Buf			command = {0};

		if (kind == ASK_WRITE)
			command = command_of(sim, server, groups[k], w->route, WRITE_RAISE, fence_to - 1, fence_to, NULL, 0);
		ask(sim, server, &w->asks, groups[k], kind, w->route, 0, &command);
		/* W5: on every shard of the generation. */
		if (kind == ASK_WRITE && vt_broken("W5-shards"))
			return;
	}
}

/*
 * The shards are others than those that were raised.  Where each of them was, or was
 * split off from one that was, behind its raise, the child has the raise as well: only
 * the listing begins again.
 */
static bool
raises_hold(Sim *sim, const Sweep *w, uint32_t collection)
{
	const ShardWorld *world = shard_world(sim);
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n = targets(sim, collection, w->route, groups);

	for (uint32_t k = 0; k < n; k++)
	{
		uint32_t	g = groups[k];

		while (w->marks[g] == 0 && world->split[g].committed)
		{
			uint32_t	parent = world->split[g].parent;

			if (w->marks[parent] > world->split[g].index)
				return false;
			g = parent;
		}
		if (w->marks[g] == 0)
			return false;
	}
	return true;
}

/* False: begin again with a fresh route, or give up. */
static bool
answers_are_good(Sim *sim, int server)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	bool		again = false;

	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
	{
		const ShardMessage *reply = &w->asks.ask[g].reply;

		if (!w->asks.ask[g].used || reply->status == VT_OK)
			continue;
		if (definite_no(reply->status))
		{
			heap_set_stale(sim, server);
			cancel(sim, s);
			return false;
		}
		if (reply->status == VT_WRONG_SHARD)
			w->route = newest_route(sim);
		else if (reply->status != VT_FENCED || w->kind == SWEEP_REPAIR)
		{
			cancel(sim, s);
			return false;
		}
		again = true;
	}
	if (!again && !(vt_broken("W5-shards") && w->step == STEP_RAISE) && w->step != STEP_SEND &&
		!asks_tile(sim, &w->asks))
	{
		w->route = newest_route(sim);
		again = true;
	}
	if (!again)
		return true;
	asks_clear(&w->asks);
	if (++w->rounds > MAX_ROUNDS || w->step == STEP_SEND)
		cancel(sim, s);
	else if (w->step == STEP_LIST && shard_world(sim)->splits > 0 && raises_hold(sim, w, s->now.collection))
		COUNT(sim, listed_again);
	else if (w->kind != SWEEP_REPAIR || !w->open)
		w->step = STEP_READ;
	return false;
}

/* -- The steps -------------------------------------------------------------------------- */

static void
take_fences(Sim *sim, int server)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	uint64_t	highest = 0;

	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
		if (w->asks.ask[g].used && w->asks.ask[g].reply.fence > highest)
			highest = w->asks.ask[g].reply.fence;
	w->number = highest + 1;
	w->step = STEP_RAISE;
	/* W5: a number from a cache does only if all shards take it as news. */
	if (vt_broken("W5-strict"))
		w->number = s->kept_number + 1;
	/* W5: raising is what ambulkdelete begins with. */
	if ((vt_broken("W5-raise") || vt_broken("W5-order")) && w->kind == SWEEP_VACUUM)
	{
		w->number = vt_broken("W5-raise") ? highest : w->number;
		asks_clear(&w->asks);
		w->step = STEP_LIST;
		return;
	}
	ask_all(sim, server, ASK_WRITE, w->number);
}

static void
take_raises(Sim *sim, Server *s)
{
	Sweep	   *w = &s->sweep;

	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
	{
		const Ask  *a = &w->asks.ask[g];

		if (!a->used)
			continue;
		if (!a->reply.took && !vt_broken("W5-strict"))
		{
			/* It had that number already: another raise, or ours whose answer was lost. */
			COUNT(sim, raises_repeated);
			asks_clear(&w->asks);
			w->step = STEP_READ;
			if (++w->rounds > MAX_ROUNDS)
				cancel(sim, s);
			return;
		}
		if (a->reply.index > w->marks[g])
			w->marks[g] = a->reply.index;
	}
	asks_clear(&w->asks);
	w->step = w->kind == SWEEP_REPAIR ? STEP_WAIT : vt_broken("W5-order") ? STEP_SEND : STEP_LIST;
}

/* Repair: inserts maintain the index from here on; those running now may not have. */
static void
open_and_wait(Server *s)
{
	Sweep	   *w = &s->sweep;

	if (!w->open)
	{
		s->now.meta = META_REPAIRING;
		w->open = true;
		for (int b = 0; b < MAX_BACKENDS && !vt_broken("W7-wait"); b++)
			if (s->backends[b].txn >= 0)
				w->wait[s->backends[b].txn] = true;
	}
	for (int b = 0; b < MAX_BACKENDS; b++)
		if (s->backends[b].txn >= 0 && w->wait[s->backends[b].txn])
			return;
	w->step = STEP_LIST;
}

static void
take_listing(Sim *sim, Server *s)
{
	Sweep	   *w = &s->sweep;

	for (int t = 0; t < MAX_TIDS; t++)
	{
		w->version[t] = 0;
		w->listed[t] = NO_ROW;
	}
	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
	{
		const ShardMessage *reply = &w->asks.ask[g].reply;

		if (!w->asks.ask[g].used)
			continue;
		for (size_t i = 0; i < reply->n; i++)
		{
			w->version[reply->rows[i].tid] = reply->rows[i].version;
			w->listed[reply->rows[i].tid] = reply->rows[i].row;
		}
		/* R3: VACUUM's mark covers its listing, not only its deletes. */
		if (reply->index > w->marks[g] && !vt_broken("R3-listing"))
			w->marks[g] = reply->index;
		if (vt_broken("R3-listing"))
			w->marks[g] = 0;
	}
	asks_clear(&w->asks);
	w->step = STEP_SEND;
	(void) sim;
}

/* Old and wrong entries go, missing ones come: one command of each kind to a shard. */
static void
send_changes(Sim *sim, int server, const ShardRow *deletes, size_t ndeletes, const ShardRow *puts,
			 size_t nputs)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n = targets(sim, s->now.collection, w->route, groups);

	for (uint32_t k = 0; k < n; k++)
		for (int kind = 0; kind < 2; kind++)
		{
			const ShardRow *from = kind == 0 ? deletes : puts;
			size_t		nfrom = kind == 0 ? ndeletes : nputs;
			ShardRow	rows[MAX_TIDS];
			size_t		nrows = 0;
			Buf			command;

			for (size_t i = 0; i < nfrom; i++)
				if (target_of(sim, s->now.collection, w->route, from[i].tid) == groups[k])
					rows[nrows++] = from[i];
			/* One at a time: the other kind is sent when the sweep looks again. */
			if (nrows == 0 || w->asks.ask[groups[k]].used)
				continue;
			command = command_of(sim, server, groups[k], w->route, kind == 0 ? WRITE_DELETE : WRITE_PUT,
								 w->number, 0, rows, nrows);
			ask(sim, server, &w->asks, groups[k], ASK_WRITE, w->route, 0, &command);
			for (size_t i = 0; i < nrows; i++)
			{
				w->version[rows[i].tid] = 0;
				w->listed[rows[i].tid] = kind == 0 ? NO_ROW : rows[i].row;
			}
		}
}

static bool
any_ask(const Sweep *w)
{
	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
		if (w->asks.ask[g].used)
			return true;
	return false;
}

/* True: something is to be sent, or the heap's WAL is not on disk yet. */
static bool
vacuum_sends(Sim *sim, int server)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	ShardRow	deletes[MAX_TIDS];
	size_t		n = 0;

	for (int t = 0; t < MAX_TIDS; t++)
		if (w->dead[t] && w->version[t] != 0)
			deletes[n++] = (ShardRow) {.tid = t, .version = w->version[t]};
	if (n == 0)
		return false;
	/* W3: before deletes, WAL up to now. */
	if (!vt_broken("W3-delete"))
		heap_flush(s);
	send_changes(sim, server, deletes, n, NULL, 0);
	return any_ask(w);
}

static bool
repair_sends(Sim *sim, int server)
{
	ShardWorld *world = shard_world(sim);
	Server	   *s = &world->servers[server];
	Sweep	   *w = &s->sweep;
	ShardRow	deletes[MAX_TIDS];
	ShardRow	puts[MAX_TIDS];
	size_t		ndeletes = 0;
	size_t		nputs = 0;

	heap_flush(s);
	for (uint32_t t = 0; t < world->tids; t++)
	{
		int			row = s->now.tuple[t];
		bool		running = row != NO_ROW && heap_is_active(s, world->rows[row].txn);
		bool		wanted = row != NO_ROW && !world->rows[row].unindexed && !heap_is_dead(world, s, row) &&
			!running;
		bool		wrong = w->listed[t] != NO_ROW &&
			(vt_broken("W7-vectors") ? row == NO_ROW : w->listed[t] != row);

		if (wanted && (w->listed[t] == NO_ROW || wrong))
			puts[nputs++] = (ShardRow) {.tid = (int) t, .row = row};
		else if (wrong && w->version[t] != 0)
			deletes[ndeletes++] = (ShardRow) {.tid = (int) t, .version = w->version[t]};
	}
	send_changes(sim, server, deletes, ndeletes, puts, nputs);
	return any_ask(w);
}

/* REINDEX: a new generation, with everything that is not dead. */
static void
build(Sim *sim, int server)
{
	ShardWorld *world = shard_world(sim);
	Server	   *s = &world->servers[server];
	Sweep	   *w = &s->sweep;
	uint32_t	old = s->now.collection;
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n_groups = targets(sim, 1, w->route, groups);

	/* Exclusive lock: nobody runs, nobody scans. */
	s->now.collection = 1;
	for (uint32_t k = 0; k < n_groups; k++)
	{
		uint32_t	g = groups[k];
		bool		frame = world->framed && w->phase != LOAD_ROWS;
		ShardRow	rows[MAX_TIDS];
		size_t		n = 0;
		Buf			command;

		for (uint32_t t = 0; t < world->tids && !frame; t++)
		{
			int			row = s->now.tuple[t];

			if (row != NO_ROW && !world->rows[row].unindexed && !heap_is_dead(world, s, row) &&
				target_of(sim, 1, w->route, (int) t) == g)
				rows[n++] = (ShardRow) {.tid = (int) t, .row = row};
		}
		command = command_of(sim, server, g, w->route, n > 0 ? WRITE_PUT :
							 frame && w->phase == LOAD_BEGIN ? WRITE_INGEST_BEGIN : WRITE_INGEST_END, 0, 0, rows, n);
		ask(sim, server, &w->asks, g, ASK_WRITE, w->route, 0, &command);
	}
	s->now.collection = old;
}

static void
finish(Sim *sim, Server *s)
{
	Sweep	   *w = &s->sweep;

	if (w->kind == SWEEP_BUILD)
	{
		s->now.collection = 1;
		s->now.meta = META_LIVE;
		heap_flush(s);
		memset(s->mark_known, 0, sizeof(s->mark_known));
		memset(s->marks, 0, sizeof(s->marks));
		s->route = 0;
		s->route_known = false;
		s->evictions++;
		for (int b = 0; b < MAX_BACKENDS; b++)
			s->backends[b].fence = 0;
		COUNT(sim, reindexes);
	}
	/* R3: the mark is stored before TIDs are free again. */
	for (uint32_t g = 0; g < SIM_MAX_GROUPS && w->kind != SWEEP_BUILD; g++)
		if (vt_broken("R3-free"))
			s->sweep_marks[g] = w->marks[g];
		else if (w->marks[g] != 0)
			store_mark(s, g, w->marks[g]);
	if (w->kind != SWEEP_BUILD)
		store_route(s, w->route);
	s->sweep_unmarked = vt_broken("R3-free");
	if (w->kind == SWEEP_VACUUM)
	{
		COUNT(sim, vacuums);
		free_tids(sim, s, w->dead);
		s->kept_number = w->number;
	}
	else if (w->kind == SWEEP_REPAIR && s->now.meta == META_REPAIRING)
	{
		COUNT(sim, repairs);
		s->now.meta = META_LIVE;
	}
	sweep_reset(s);
}

/* Law L1: it is over, whatever of it is still on its way. */
static void
note_load(Sim *sim, const Sweep *w)
{
	ShardWorld *world = shard_world(sim);

	if (!world->framed)
		return;
	COUNT(sim, bulk_loads);
	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
		if (w->asks.ask[g].used)
			world->load_over[g] = w->asks.ask[g].reply.index;
}

static void
changes(Sim *sim, int server)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	bool		more = false;

	/* The acknowledgements' marks. */
	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
		if (w->asks.ask[g].used && w->asks.ask[g].reply.index > w->marks[g])
			w->marks[g] = w->asks.ask[g].reply.index;
	if (w->kind == SWEEP_BUILD && any_ask(w) && (!shard_world(sim)->framed || w->phase == LOAD_END))
	{
		note_load(sim, w);
		finish(sim, s);
		return;
	}
	if (w->kind == SWEEP_BUILD && any_ask(w))
		w->phase = w->phase == LOAD_BEGIN ? LOAD_ROWS : LOAD_END;
	asks_clear(&w->asks);
	if (w->kind == SWEEP_VACUUM)
		more = vacuum_sends(sim, server);
	else if (w->kind == SWEEP_REPAIR)
		more = repair_sends(sim, server);
	else
	{
		build(sim, server);
		more = true;
	}
	/* W5: VACUUM waits for its deletes. */
	if (!more || vt_broken("W5-wait"))
		finish(sim, s);
}

static void
next_step(Sim *sim, int server)
{
	static const char *const kinds[] = {"nothing", "VACUUM", "repair", "REINDEX"};
	static const char *const steps[] = {"read", "raise", "wait", "list", "send"};
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	bool		asked = any_ask(w);

	sim_trace(sim, "server %d: %s goes on with %s, number=%llu", server, kinds[w->kind], steps[w->step],
			  (unsigned long long) w->number);

	switch (w->step)
	{
		case STEP_READ:
			if (asked)
				take_fences(sim, server);
			else
				ask_all(sim, server, ASK_READ, 0);
			break;
		case STEP_RAISE:
			if (asked)
				take_raises(sim, s);
			else
				ask_all(sim, server, ASK_WRITE, w->number);
			break;
		case STEP_WAIT:
			open_and_wait(s);
			break;
		case STEP_LIST:
			if (!asked)
				ask_all(sim, server, ASK_LIST, 0);
			else
			{
				take_listing(sim, s);
				/* A law is broken: the raise comes after the listing. */
				if (vt_broken("W5-order") && w->kind == SWEEP_VACUUM)
				{
					w->step = STEP_RAISE;
					ask_all(sim, server, ASK_WRITE, w->number);
				}
			}
			break;
		case STEP_SEND:
			changes(sim, server);
			break;
	}
}

void
sweep_step(Sim *sim, int server)
{
	Server	   *s = &shard_world(sim)->servers[server];
	Sweep	   *w = &s->sweep;
	bool		gave_up;

	if (s->sweep_unmarked)
	{
		for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
			if (s->sweep_marks[g] != 0)
				store_mark(s, g, s->sweep_marks[g]);
		s->sweep_unmarked = false;
		return;
	}
	if (w->kind == SWEEP_NONE)
	{
		begin(sim, s);
		return;
	}
	if (w->kind == SWEEP_REPAIR && w->open && s->now.meta != META_REPAIRING)
	{
		cancel(sim, s);			/* found stale again meanwhile */
		return;
	}
	if (sim_chance(sim, w->step == STEP_SEND ? 80 : 15))
	{
		cancel(sim, s);
		return;
	}
	if (asks_pending(sim, &w->asks, SWEEP_TIMES, &gave_up))
	{
		if (gave_up && w->kind != SWEEP_BUILD)
			cancel(sim, s);
		return;
	}
	if (any_ask(w) && !answers_are_good(sim, server))
		return;
	next_step(sim, server);
}
