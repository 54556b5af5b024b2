/*-------------------------------------------------------------------------
 *
 * gateway.c
 *	  A PostgreSQL server as the index sees it: backends that insert, flush
 *	  and commit.
 *
 * Laws W1 to W4, W6, W7 and R3 as src/pg keeps them, one step at a time; between
 * two steps anything may happen.  Scans are in scan.c,
 * VACUUM and repair in sweep.c.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

/* Commands asked so often that the transaction fails: vectron.write_timeout. */
#define WRITE_TIMES 6

void
backend_reset(Backend *b)
{
	int			route = b->route;
	uint64_t	fence = b->fence;

	asks_clear(&b->asks);
	memset(b, 0, sizeof(*b));
	b->txn = -1;
	b->route = route;
	b->fence = fence;
}

void
learn_route(Sim *sim, int *route)
{
	/* Sometimes one shard's descriptor comes before the others'. */
	if (*route < newest_route(sim) - 1 && sim_below(sim, 2) == 0)
		(*route)++;
	else
		*route = newest_route(sim);
}

bool
definite_no(VtStatus status)
{
	return status == VT_NOT_OWNER || status == VT_UNKNOWN_GENERATION;
}

void
store_mark(Server *s, uint32_t group, uint64_t index)
{
	if (index > s->marks[group])
		s->marks[group] = index;
	/* A flush that finds no mark makes none known. */
	if (vt_broken("R3-fill"))
		s->mark_known[group] = true;
}

/*
 * R3: with the marks goes the version of the route that the writes went by.  A shard
 * that was split off since an older one has marks of its own, and replicas of its
 * parent that have not applied the split know nothing of what it acknowledged.
 */
void
store_route(Server *s, int route)
{
	if (route > s->route && !vt_broken("R3-route"))
		s->route = route;
}

/* -- Flushing --------------------------------------------------------------------- */

static bool
all_acked(const Backend *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (!b->entries[i].acked)
			return false;
	return true;
}

static void
remove_entry(Backend *b, size_t at)
{
	b->n--;
	memmove(&b->entries[at], &b->entries[at + 1], (b->n - at) * sizeof(Entry));
}

static void
drop_unacked(Backend *b)
{
	for (size_t i = b->n; i-- > 0;)
		if (!b->entries[i].acked)
			remove_entry(b, i);
}

/* One command to every shard that has something to get: entries of one stamp. */
static void
send_round(Sim *sim, int server, Backend *b)
{
	ShardWorld *w = shard_world(sim);
	Server	   *s = &w->servers[server];
	uint32_t	groups[SIM_MAX_GROUPS];
	uint32_t	n = targets(sim, s->now.collection, b->route, groups);

	asks_clear(&b->asks);
	for (uint32_t k = 0; k < n; k++)
	{
		ShardRow	rows[MAX_ENTRIES];
		size_t		nrows = 0;
		uint64_t	stamp = 0;
		Buf			command;

		for (size_t i = 0; i < b->n; i++)
		{
			Entry	   *e = &b->entries[i];

			if (k == 0)
				e->sent = false;
			if (e->acked || target_of(sim, s->now.collection, b->route, w->rows[e->row].tid) != groups[k] ||
				(nrows > 0 && e->stamp != stamp))
				continue;
			stamp = e->stamp;
			e->sent = true;
			e->group = groups[k];
			rows[nrows++] = (ShardRow) {.tid = w->rows[e->row].tid, .row = e->row};
		}
		if (nrows == 0)
			continue;
		command = command_of(sim, server, groups[k], b->route, WRITE_PUT, stamp, 0, rows, nrows);
		ask(sim, server, &b->asks, groups[k], ASK_WRITE, b->route, 0, &command);
	}
}

/*
 * W1: with the first entry the collection is there, and live is logged and flushed
 * before anything is sent.  Not later than that: an empty index does not keep VACUUM
 * from freeing a TID that an entry names already.
 */
static void
begin_life(Server *s)
{
	s->now.meta = META_LIVE;
	if (!vt_broken("W1-live"))
		heap_flush(s);
}

static void
begin_flush(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];

	b->flushing = true;
	b->began = sim->now;
	if (s->now.meta == META_STALE)
		drop_unacked(b);		/* others know by now: it is on disk */
	if (all_acked(b))
		return;
	if (s->now.meta == META_EMPTY)
		begin_life(s);
	/* W3 */
	if (!vt_broken("W3-put") && !vt_broken("W1-live"))
		heap_flush(s);
	send_round(sim, server, b);
}

/*
 * W6: a newer stamp only for an entry whose tuple is still the one it was made for,
 * inserted by this transaction and not undone.
 */
static void
stamp_anew(Sim *sim, const Server *s, Backend *b)
{
	ShardWorld *w = shard_world(sim);

	for (size_t i = b->n; i-- > 0;)
	{
		Entry	   *e = &b->entries[i];
		const HeapRow *row = &w->rows[e->row];

		if (e->acked || e->stamp >= b->fence)
			continue;
		if (!vt_broken("W6-restamp") && !vt_broken("W2-subabort") &&
			!(b->aborted && vt_broken("W6-abort")) &&
			(s->now.tuple[row->tid] != e->row || row->killed || b->aborted))
		{
			w->counts.dropped_entries++;
			remove_entry(b, i);
			continue;
		}
		w->counts.restamped++;
		e->stamp = b->fence;
	}
}

static void
take_write_answers(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];
	bool		fenced = false;
	bool		refused = false;
	bool		failed = false;

	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
	{
		const Ask  *a = &b->asks.ask[g];

		if (!a->used)
			continue;
		if (a->reply.fence > b->fence)
			b->fence = a->reply.fence;
		if (a->reply.status == VT_OK)
		{
			for (size_t i = 0; i < b->n; i++)
				if (b->entries[i].sent && b->entries[i].group == g)
					b->entries[i].acked = true;
			if (a->reply.index > b->marks[g])
				b->marks[g] = a->reply.index;
			continue;
		}
		failed = true;
		fenced |= a->reply.status == VT_FENCED;
		refused |= definite_no(a->reply.status);
		if (a->reply.status == VT_WRONG_SHARD)
			learn_route(sim, &b->route);
	}
	asks_clear(&b->asks);
	if (refused)
	{
		heap_set_stale(sim, server);
		drop_unacked(b);
	}
	if (fenced)
		stamp_anew(sim, s, b);
	/* W2: a failed flush keeps what was not acknowledged. */
	if (failed && vt_broken("W2-kept"))
		drop_unacked(b);
}

static void
commit(Sim *sim, Server *s, Backend *b)
{
	/* R3: marks first, then the commit record. */
	if (vt_broken("R3-commit"))
		b->unmarked = true;
	else
	{
		for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
			if (b->marks[g] != 0)
				store_mark(s, g, b->marks[g]);
		store_route(s, b->route);
	}
	s->now.committed[b->txn] = true;
	COUNT(sim, commits);
	b->txn = -1;
	b->n = 0;
	b->flushing = b->committing = false;
	if (!b->unmarked)
		memset(b->marks, 0, sizeof(b->marks));
	if (sim_chance(sim, shard_world(sim)->sync) && !vt_broken("W3-put") && !vt_broken("W1-live"))
		heap_flush(s);
}

/* Nothing is sent any more; what was sent may still arrive. */
void
backend_abort(Sim *sim, int server, Backend *b)
{
	(void) server;
	COUNT(sim, aborts);
	if (vt_broken("W6-abort") && b->flushing && !b->aborted && b->n > 0)
	{
		b->aborted = true;
		return;
	}
	backend_reset(b);
}

void
flush_step(Sim *sim, int server, Backend *b)
{
	Server	   *s = &shard_world(sim)->servers[server];
	bool		gave_up;

	if (asks_pending(sim, &b->asks, WRITE_TIMES, &gave_up))
	{
		if (gave_up || (!b->aborted && sim_chance(sim, shard_world(sim)->abort)))
			backend_abort(sim, server, b);
		return;
	}
	take_write_answers(sim, server, b);
	if (s->now.meta == META_STALE)
		drop_unacked(b);
	/* W4: no commit before every shard has applied what it was sent. */
	if (!all_acked(b) && !(vt_broken("W4-commit") && b->committing))
	{
		send_round(sim, server, b);
		return;
	}
	if (b->aborted)
		backend_reset(b);
	else if (b->committing)
		commit(sim, s, b);
	else
		b->flushing = false;
}

/* -- Transactions ------------------------------------------------------------------- */

static void
insert(Sim *sim, Server *s, Backend *b)
{
	ShardWorld *w = shard_world(sim);
	int			tid = heap_free_tid(sim, s);
	int			row;

	if (tid < 0 || b->n == MAX_ENTRIES || w->rows_n == MAX_ROWS)
		return;
	row = heap_insert(sim, s, b->txn, tid);
	sim_trace(sim, "server %d: row %d at TID %d", (int) (s - w->servers), row, tid);
	if (w->rows[row].unindexed || s->now.meta == META_STALE)
		return;
	if (s->now.meta == META_EMPTY && !vt_broken("W1-late"))
		begin_life(s);
	b->entries[b->n++] = (Entry) {.row = row, .stamp = b->fence};
}

/* ROLLBACK TO, or a conflict that undoes a speculative tuple. */
static void
undo_a_row(Sim *sim, Server *s, Backend *b)
{
	ShardWorld *w = shard_world(sim);

	for (uint32_t t = 0; t < w->tids; t++)
	{
		int			r = s->now.tuple[t];
		HeapRow    *row = r != NO_ROW ? &w->rows[r] : NULL;

		if (row == NULL || row->txn != b->txn || row->killed || !(row->sub || row->spec))
			continue;
		row->killed = true;
		w->counts.killed++;
		/* W2: of a subtransaction the buffer is told, of a conflict it is not. */
		for (size_t i = b->n; i-- > 0 && row->sub && !vt_broken("W2-subabort");)
			if (b->entries[i].row == r)
				remove_entry(b, i);
		return;
	}
}

static void
delete_a_row(Sim *sim, Server *s)
{
	ShardWorld *w = shard_world(sim);
	int			row = s->now.tuple[sim_below(sim, w->tids)];

	if (row != NO_ROW && heap_is_visible(w, s, row))
		s->now.deleted[row] = true;
}

static void
run_transaction(Sim *sim, int server, Backend *b)
{
	ShardWorld *w = shard_world(sim);
	Server	   *s = &w->servers[server];
	uint32_t	dice = sim->calm ? 12 : sim_below(sim, 13);

	if (dice < 4)
		insert(sim, s, b);
	else if (dice < 6)
		undo_a_row(sim, s, b);
	else if (dice == 6)
	{
		b->scan = SCAN_FLUSH;
		b->scan_own = true;
		begin_flush(sim, server, b);
	}
	else if (dice == 7 && sim_below(sim, 3) == 0)
		backend_abort(sim, server, b);
	else if (dice > 8)
	{
		b->committing = true;
		begin_flush(sim, server, b);
	}
}

static void
backend_step(Sim *sim, int server, Backend *b)
{
	ShardWorld *w = shard_world(sim);
	Server	   *s = &w->servers[server];
	uint32_t	dice;

	if (b->unmarked)
	{
		for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
			if (b->marks[g] != 0)
				store_mark(s, g, b->marks[g]);
		store_route(s, b->route);
		memset(b->marks, 0, sizeof(b->marks));
		b->unmarked = false;
	}
	else if (b->scan != NO_SCAN)
		scan_step(sim, server, b);
	else if (b->flushing)
		flush_step(sim, server, b);
	else if (b->txn >= 0)
		run_transaction(sim, server, b);
	else if (s->sweep.kind != SWEEP_BUILD)
	{
		dice = sim_below(sim, 10);
		if (sim->calm ? s->calm_scans == 0 : dice < w->scans)
		{
			b->scan_own = false;
			begin_scan(sim, server, b);
		}
		else if (!sim->calm && dice < w->scans + 2)
			delete_a_row(sim, s);
		else if (!sim->calm && w->txns_n < MAX_TXNS)
		{
			b->txn = w->txns_n++;
			w->counts.transactions++;
			insert(sim, s, b);
		}
	}
}

/* -- The servers' turn ------------------------------------------------------------------ */

static void
evict_marks(Server *s)
{
	memset(s->mark_known, 0, sizeof(s->mark_known));
	memset(s->marks, 0, sizeof(s->marks));
	s->route = 0;
	s->route_known = false;
	s->evictions++;
}

/* Room for another one was needed. */
static void
evict_mark(Server *s, uint32_t group)
{
	s->mark_known[group] = false;
	s->marks[group] = 0;
	s->evictions++;
}

/* What befalls a server from outside. */
static bool
server_event(Sim *sim, int server)
{
	ShardWorld *w = shard_world(sim);
	Server	   *s = &w->servers[server];

	if (sim_chance(sim, w->crash))
		heap_crash(sim, server);
	else if (sim_chance(sim, w->flush))
		heap_flush(s);
	else if (sim_chance(sim, w->evict))
	{
		if (w->splits > 0 && sim_below(sim, 2) == 0)
			evict_mark(s, sim_below(sim, sim->opt.groups));
		else
			evict_marks(s);
		w->counts.evictions++;
	}
	else if (sim_chance(sim, w->stale) && s->now.meta != META_STALE)
		heap_set_stale(sim, server);
	else if (server == 0 && w->may_promote && !w->servers[1].exists && sim_chance(sim, 50))
		w->standby = s->disk;
	else if (server == 0 && w->may_promote && !w->servers[1].exists && sim_chance(sim, w->promote))
		heap_promote(sim);
	else
		return false;
	return true;
}

/* In the end every group is asked something until it has answered enough. */
static void
ping(Sim *sim)
{
	for (uint32_t g = 0; g < sim->opt.groups; g++)
	{
		Group	   *group = &sim->groups[g];
		Asks		asks;

		if (group->finished > 6 && group->reads_finished > 2)
			continue;
		memset(&asks, 0, sizeof(asks));
		shard_world(sim)->leader[g] = 0;
		for (uint32_t i = 0; i < group->replicas_n; i++)
		{
			RaftStatus	status = {0};

			if (machine_is_open(&group->replicas[i]))
				raft_get_status(group->replicas[i].raft, &status);
			if (status.role == RAFT_LEADER)
				shard_world(sim)->leader[g] = i + 1;
		}
		if (group->reads_finished > 2)
		{
			Buf			command = command_of(sim, -1, g, newest_route(sim), WRITE_INGEST_END, 0, 0, NULL, 0);

			ask(sim, -1, &asks, g, ASK_WRITE, newest_route(sim), 0, &command);
		}
		else
			ask(sim, -1, &asks, g, ASK_READ, newest_route(sim), 0, NULL);
		asks_clear(&asks);
	}
}

void
gateway_step(Sim *sim)
{
	ShardWorld *w = shard_world(sim);

	if (sim->calm)
		ping(sim);
	for (int i = 0; i < MAX_SERVERS; i++)
	{
		Server	   *s = &w->servers[i];
		uint32_t	who = sim_below(sim, w->backends + 1);

		if (!s->exists || server_event(sim, i))
			continue;
		if (who == w->backends)
			sweep_step(sim, i);
		else
			backend_step(sim, i, &s->backends[who]);
	}
}

/* In the end: nothing under way, and whoever may scan has done so. */
bool
gateway_is_idle(const Sim *sim)
{
	const ShardWorld *w = shard_world(sim);

	for (int i = 0; i < MAX_SERVERS; i++)
	{
		const Server *s = &w->servers[i];

		if (!s->exists)
			continue;
		for (uint32_t b = 0; b < w->backends; b++)
			if (s->backends[b].txn >= 0 || s->backends[b].scan != NO_SCAN || s->backends[b].flushing)
				return false;
		if (s->sweep.kind != SWEEP_NONE)
			return false;
		if (s->calm_scans == 0 && (s->now.meta == META_LIVE || s->now.meta == META_EMPTY))
			return false;
	}
	return true;
}
