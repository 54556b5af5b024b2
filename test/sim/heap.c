/*-------------------------------------------------------------------------
 *
 * heap.c
 *	  A heap with TIDs that are used again: what PostgreSQL sees, writes to WAL
 *	  and loses in a crash.
 *
 * WAL is flushed as a whole, at any time: so what is on disk is always the heap of
 * some earlier moment.  Commits are asynchronous; a synchronous one is a commit
 * followed by a flush.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

bool
heap_is_active(const Server *s, int txn)
{
	for (int b = 0; b < MAX_BACKENDS; b++)
		if (s->backends[b].txn == txn && !s->backends[b].aborted)
			return s->exists;
	return false;
}

/* To a snapshot taken now. */
bool
heap_is_visible(const ShardWorld *w, const Server *s, int row)
{
	return s->now.committed[w->rows[row].txn] && !w->rows[row].killed && !s->now.deleted[row];
}

/* VACUUM may remove it: nobody sees it, nor ever will. */
bool
heap_is_dead(const ShardWorld *w, const Server *s, int row)
{
	int			txn = w->rows[row].txn;

	if (w->rows[row].killed || (!s->now.committed[txn] && !heap_is_active(s, txn)))
		return true;
	if (!s->now.deleted[row])
		return false;
	for (int b = 0; b < MAX_BACKENDS; b++)
		if (s->backends[b].scan >= SCAN_EARLY && s->backends[b].sees[row])
			return false;
	return true;
}

void
heap_flush(Server *s)
{
	s->disk = s->now;
}

/* What begins anew when a server does. */
static void
start(Sim *sim, Server *s, const Heap *heap)
{
	s->now = *heap;
	s->life++;
	for (int b = 0; b < MAX_BACKENDS; b++)
	{
		backend_reset(&s->backends[b]);
		s->backends[b].fence = 0;
		s->backends[b].route = (int) sim_below(sim, (uint32_t) shard_world(sim)->routes_n);
	}
	sweep_reset(s);
	s->kept_number = 0;
	s->sweep_unmarked = false;
	memset(s->mark_known, 0, sizeof(s->mark_known));
	memset(s->marks, 0, sizeof(s->marks));
	s->route = 0;
	s->route_known = false;
	s->evictions++;
}

void
heap_crash(Sim *sim, int server)
{
	ShardWorld *w = shard_world(sim);
	Server	   *s = &w->servers[server];

	w->counts.server_crashes++;
	for (uint32_t t = 0; t < w->tids; t++)
		w->counts.lost_tuples += s->now.tuple[t] != NO_ROW && s->now.tuple[t] != s->disk.tuple[t];
	for (int r = 0; r < w->rows_n; r++)
		w->counts.lost_deletions += s->now.deleted[r] && !s->disk.deleted[r];
	sim_trace(sim, "server %d crashes", server);
	start(sim, s, &s->disk);
}

/* The standby becomes a server of its own; the old primary does not know. */
void
heap_promote(Sim *sim)
{
	ShardWorld *w = shard_world(sim);
	Server	   *s = &w->servers[1];

	w->counts.promotions++;
	s->exists = true;
	s->owner = w->servers[0].owner;
	memset(s->owner.incarnation.b, 2, 16);
	s->disk = w->standby;
	start(sim, s, &w->standby);
	sim_trace(sim, "the standby is promoted");
}

int
heap_free_tid(Sim *sim, const Server *s)
{
	ShardWorld *w = shard_world(sim);
	uint32_t	begin = sim_below(sim, w->tids);

	for (uint32_t i = 0; i < w->tids; i++)
		if (s->now.tuple[(begin + i) % w->tids] == NO_ROW)
			return (int) ((begin + i) % w->tids);
	return -1;
}

int
heap_insert(Sim *sim, Server *s, int txn, int tid)
{
	ShardWorld *w = shard_world(sim);
	int			row = w->rows_n++;
	HeapRow    *r = &w->rows[row];
	uint32_t	dice = sim_below(sim, 10);

	*r = (HeapRow) {.txn = txn, .tid = tid, .unindexed = dice < 2, .sub = dice == 2 || dice == 3,
		.spec = dice > 3 && dice < 8};
	s->now.tuple[tid] = row;
	w->counts.tids_reused += w->touched[tid];
	w->touched[tid] = true;
	return row;
}

/* A definite refusal: the index is not used any more, and everybody knows. */
void
heap_set_stale(Sim *sim, int server)
{
	Server	   *s = &shard_world(sim)->servers[server];

	if (s->now.meta == META_STALE || s->now.meta == META_EMPTY)
		return;
	COUNT(sim, set_stale);
	sim_trace(sim, "server %d: the index is stale", server);
	s->now.meta = META_STALE;
	heap_flush(s);
}
