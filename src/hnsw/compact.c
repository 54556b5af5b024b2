/*-------------------------------------------------------------------------
 *
 * compact.c
 *	  Giving back the memory of slots that have become free.
 *
 * Free slots lie anywhere.  When a fifth of all is free, a limit is drawn a
 * little above what is still needed: free slots beyond it are not handed out, and
 * what lives there is moved into free ones before it, from the end downwards.
 * Then the end is cut off.
 *
 * A move copies the row.  The new slot supersedes the old one and hangs behind it
 * as a twin, so walks that come to the old one find it, and those that began
 * before are shown it in the old one's stead (graph.h); nothing is linked or
 * measured.  A repair follows, whose batch has the old slots in it: each new
 * slot takes over the links of its old one, and a sweep turns the links to
 * this into links to that (repair.c).  The graph is the same afterwards, with
 * other numbers.  In a table (no dimensions) nothing leads anywhere: what was moved is
 * superseded, and that is all.
 *
 * Cutting moves `used` down.  Whoever has read it before may still look beyond,
 * so the memory goes back when every guard of that moment is left.  If slots are
 * wanted meanwhile, those just cut off are handed out again, the first of them
 * first, and what is left to give back begins behind.
 *
 * What lies at the end may have been no one's to move: it waited to be linked, it was
 * reserved, or it died too late.  Then nothing is cut, and it is not tried again
 * until something has happened, to which counts what has since it began.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"

/* What stays free, one of so many: slots that are wanted soon. */
#define ROOM_SHARE 32

/* No time to shrink while more than these wait to be linked: it grows. */
#define WAITING_MOST 256

/* Slots up to the limit stay: leave the rest out of the list of free ones.  Under h->lock. */
static void
draw_limit(Hnsw *h, uint32_t limit)
{
	uint32_t	kept = 0;

	h->limit = limit;
	for (uint32_t i = 0; i < h->free.n; i++)
		if (h->free.slots[i] < limit)
			h->free.slots[kept++] = h->free.slots[i];
	h->free.n = kept;
}

void
compact_end(Hnsw *h)
{
	uint32_t	used = atomic_load(&h->used);

	for (uint32_t slot = h->limit; slot < used; slot++)
		if (atomic_load(&graph_meta(h, slot)->state) == SLOT_FREE)
			slot_list_push(&h->free, slot);
	h->limit = NO_SLOT;
	h->stuck = false;
}

bool
compact_begin(Hnsw *h)
{
	uint32_t	used;
	uint32_t	spare;
	uint32_t	needed;
	bool		begin;

	if (h->opt.move == NULL)
		return false;
	pthread_mutex_lock(&h->lock);
	used = atomic_load(&h->used);

	/* What is dead is still in the graph: no place to move to before it is mended. */
	spare = h->free.n;
	needed = used - spare - h->died.n;
	needed += needed / ROOM_SHARE;
	begin = h->loading == 0 && spare >= HNSW_SPARE_LEAST && (uint64_t) spare * HNSW_SPARE_SHARE >= used && needed < used &&
		h->cut_from == h->cut_to && hnsw_waiting(h) <= WAITING_MOST && !h->stuck;
	if (begin)
	{
		draw_limit(h, needed);
		h->move_at = used;
		h->stuck = true;
	}
	pthread_mutex_unlock(&h->lock);
	return begin;
}

static bool
is_movable(Hnsw *h, uint32_t slot)
{
	return atomic_load(&graph_meta(h, slot)->state) >= SLOT_LINKED && graph_fate(h, slot) == FATE_LIVE;
}

/* A place that was taken in vain: nothing has happened. */
static void
put_back(Hnsw *h, uint32_t slot)
{
	pthread_mutex_lock(&h->lock);
	slot_set_free(h, slot);
	pthread_mutex_unlock(&h->lock);
}

bool
compact_move(Hnsw *h, uint32_t *steps)
{
	for (; *steps > 0; --*steps)
	{
		uint32_t	from;
		uint32_t	to;
		bool		ready;

		pthread_mutex_lock(&h->lock);
		/* Not when it was ended, is done, has no place left to move to, or others are in a hurry. */
		ready = h->limit != NO_SLOT && h->move_at > h->limit && h->free.n > 0 &&
			hnsw_waiting(h) <= WAITING_MOST;
		if (ready && is_movable(h, h->move_at - 1))
			slot_take_free(h, &to);
		else
			to = NO_SLOT;
		pthread_mutex_unlock(&h->lock);
		if (!ready)
			return false;
		from = --h->move_at;
		if (to != NO_SLOT && !h->opt.move(h->opt.move_arg, from, to))
			put_back(h, to);
	}
	return true;
}

void
hnsw_move(Hnsw *h, uint32_t from, uint32_t to)
{
	Meta	   *old = graph_meta(h, from);
	Meta	   *meta = graph_meta(h, to);
	atomic_uint *links = graph_ground(h, to);

	graph_copy_row(h, from, to);
	for (uint32_t i = 0; i < h->m0; i++)
		atomic_store_explicit(&links[i], NO_SLOT, memory_order_relaxed);
	meta->label = old->label;
	atomic_store_explicit(&meta->level, atomic_load(&old->level), memory_order_relaxed);
	if (graph_is_table(h))
	{
		slot_publish(h, from, to, true);
		return;
	}
	old->moved = true;

	graph_lock_node(old);
	atomic_store_explicit(&meta->twin, atomic_load(&old->twin), memory_order_relaxed);
	atomic_store_explicit(&old->twin, to, memory_order_release);
	graph_set_head(h, from, true);
	graph_unlock_node(old);
	slot_publish(h, from, to, true);
}

/* Is a slot beyond the limit still waiting for its grace?  Under h->lock. */
static bool
is_awaited(const Hnsw *h)
{
	for (size_t i = 0; i < h->limbo_n; i++)
		if (h->limbo[h->limbo_at + i].slot >= h->limit)
			return true;
	return false;
}

bool
compact_cut(Hnsw *h)
{
	bool		done = true;

	pthread_mutex_lock(&h->lock);
	graph_reclaim(h);			/* in a table what was moved has died just now */
	if (h->limit != NO_SLOT && is_awaited(h))
		done = false;
	else if (h->limit != NO_SLOT)
	{
		uint32_t	used = atomic_load(&h->used);
		uint32_t	top = used;
		bool		stuck;

		while (top > h->limit && atomic_load(&graph_meta(h, top - 1)->state) == SLOT_FREE)
			top--;
		if (top < used)
		{
			atomic_store(&h->used, top);
			graph_account(h, -(int64_t) (h->slot_bytes * (used - top)));
			h->cut_from = top;
			h->cut_to = used;
			h->cut_epoch = epoch_next(h);
		}
		stuck = h->stuck && top == used;
		compact_end(h);
		h->stuck = stuck;
	}
	pthread_mutex_unlock(&h->lock);
	return done;
}

void
compact_give_back(Hnsw *h)
{
	bool		more = true;

	/* A chunk at a time: others want the lock, too. */
	while (more)
	{
		pthread_mutex_lock(&h->lock);
		more = h->cut_from < h->cut_to && epoch_oldest(h) > h->cut_epoch;
		if (more)
		{
			uint32_t	from = (h->cut_to - 1) & ~h->mask;

			if (from < h->cut_from)
				from = h->cut_from;
			memory_give_back(h, from, h->cut_to);
			h->cut_to = from;
		}
		pthread_mutex_unlock(&h->lock);
	}
}
