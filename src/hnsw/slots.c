/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  The life of a graph's slots.
 *
 * Everything that changes what a slot is worth (add, replace, delete, retire)
 * happens under h->lock, in an order that searches without the lock can rely
 * on; see graph.h.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"

#include <math.h>

#include "hnsw/query.h"

#define RING_FIRST 64
#define SHRINK_FROM (8 * RING_FIRST)

void
slot_list_push(SlotList *list, uint32_t slot)
{
	if (list->n == list->room)
	{
		list->room = list->room ? list->room * 2 : 64;
		list->slots = vt_realloc(list->slots, sizeof(uint32_t) * list->room);
	}
	list->slots[list->n++] = slot;
}

void
slot_set_free(Hnsw *h, uint32_t slot)
{
	atomic_store_explicit(&graph_meta(h, slot)->state, SLOT_FREE, memory_order_relaxed);
	if (slot < h->limit)
		slot_list_push(&h->free, slot);
}

void
slot_to_repair(Hnsw *h, uint32_t slot)
{
	h->stuck = false;
	slot_list_push(&h->died, slot);
}

static void
set_reserved(Hnsw *h, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, slot);

	meta->prev = NO_SLOT;
	meta->moved = false;
	meta->agreed = 0;
	graph_set_head(h, slot, false);
	atomic_store_explicit(&meta->twin, NO_SLOT, memory_order_relaxed);
	atomic_store_explicit(&meta->state, SLOT_RESERVED, memory_order_release);
}

bool
slot_take_free(Hnsw *h, uint32_t *slot)
{
	if (h->free.n == 0)
		return false;
	*slot = h->free.slots[--h->free.n];
	set_reserved(h, *slot);
	return true;
}

/* A slot that was never used, or that compaction has cut off.  Under h->lock. */
static VtStatus
take_fresh(Hnsw *h, uint32_t *slot, VtError *err)
{
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_relaxed);
	VtStatus	status;

	if (used == h->opt.max_slots)
		return vt_fail(err, VT_FULL, "the graph has all its %u slots in use", used);
	status = memory_make_room(h, used, used + 1, err);
	if (status != VT_OK)
		return status;
	if (used == h->cut_from && h->cut_from < h->cut_to)
		h->cut_from++;
	*slot = used;
	set_reserved(h, used);
	graph_account(h, (int64_t) h->slot_bytes);
	atomic_store_explicit(&h->used, used + 1, memory_order_release);
	return VT_OK;
}

VtStatus
hnsw_reserve(Hnsw *h, uint32_t *slot, VtError *err)
{
	VtStatus	status = VT_OK;
	bool		fresh = false;

	pthread_mutex_lock(&h->lock);
	if (h->free.n == 0 &&
		(h->limbo_n >= 64 || atomic_load_explicit(&h->used, memory_order_relaxed) == h->opt.max_slots))
		graph_reclaim(h);
	if (h->free.n == 0 && h->limit != NO_SLOT)
		compact_end(h);			/* it grows again */
	if (!slot_take_free(h, slot))
	{
		status = take_fresh(h, slot, err);
		fresh = status == VT_OK;
	}
	pthread_mutex_unlock(&h->lock);
	if (fresh)
		memory_filled(h, *slot + 1);
	return status;
}

void
hnsw_unreserve(Hnsw *h, uint32_t slot)
{
	pthread_mutex_lock(&h->lock);
	Assert(atomic_load(&graph_meta(h, slot)->state) == SLOT_RESERVED);
	h->stuck = false;
	slot_set_free(h, slot);
	pthread_mutex_unlock(&h->lock);
}

/* Level l with probability m^-l, the same for a label in every run. */
static int
level_of(const Hnsw *h, uint64_t label)
{
	uint64_t	z = label + h->opt.seed + UINT64_C(0x9e3779b97f4a7c15);
	double		u;
	int			level;

	if (graph_is_table(h))
		return 0;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	u = (double) ((z >> 11) + 1) * 0x1.0p-53;
	level = (int) (-log(u) * h->level_factor);
	return level < MAX_LEVEL ? level : MAX_LEVEL;
}

void
graph_write_row(Hnsw *h, uint32_t slot, const void *vector)
{
	float	   *rounded = NULL;

	vectors_write(h, slot, vector);
	if (h->halves)
	{
		/* Whatever is made of the vector is made of what is kept. */
		rounded = vt_alloc(sizeof(float) * h->opt.dim);
		vectors_read(h, slot, rounded);
		vector = rounded;
	}
	if (h->coded)
		query_encode(h, vector, graph_codes(h, slot));
	if (h->opt.metric == VEC_COSINE)
	{
		double		norm = vec_norm(vector, h->opt.dim);
		float		inverse = (float) (1 / norm);

		graph_life(h, slot)->inv_norm = norm > 0 && isfinite(inverse) ? inverse : 0;
	}
	free(rounded);
}

void
graph_copy_row(Hnsw *h, uint32_t from, uint32_t to)
{
	if (!h->bare)
		memcpy(graph_vector(h, to), graph_vector(h, from), h->vec_row);
	if (h->coded)
		memcpy(graph_codes(h, to), graph_codes(h, from), h->code_row);
	graph_life(h, to)->inv_norm = graph_life(h, from)->inv_norm;
}

/* All of a slot but its fate and its place in the queue. */
static void
write_slot(Hnsw *h, uint32_t slot, uint64_t label, const void *vector)
{
	Meta	   *meta = graph_meta(h, slot);
	atomic_uint *links = graph_ground(h, slot);

	Assert(atomic_load(&meta->state) == SLOT_RESERVED);
	graph_write_row(h, slot, vector);
	for (uint32_t i = 0; i < h->m0; i++)
		atomic_store_explicit(&links[i], NO_SLOT, memory_order_relaxed);
	meta->label = label;
	atomic_store_explicit(&meta->level, (unsigned char) level_of(h, label), memory_order_relaxed);
}

static size_t
ring_bytes(const Ring *ring)
{
	return sizeof(Ring) + sizeof(atomic_uint) * (ring->mask + 1);
}

/*
 * Go on in a ring of this size, a power of two that what waits fits into.  Who has
 * read which one is in use is inside a guard, so the old one stays for a while.
 */
static void
ring_replace(Hnsw *h, uint64_t size)
{
	Ring	   *old = atomic_load_explicit(&h->ring, memory_order_relaxed);
	Ring	   *ring = vt_alloc(sizeof(Ring) + sizeof(atomic_uint) * size);

	ring->mask = size - 1;
	for (uint64_t i = 0; i < size; i++)
		atomic_init(&ring->slots[i], NO_SLOT);
	if (old)
		for (uint64_t i = atomic_load(&h->head); i < atomic_load(&h->tail); i++)
			atomic_init(&ring->slots[i & ring->mask], atomic_load(&old->slots[i & old->mask]));
	graph_account(h, (int64_t) ring_bytes(ring));
	atomic_store_explicit(&h->ring, ring, memory_order_release);
	if (old)
	{
		old->older = h->old_rings;
		old->epoch = epoch_next(h);
		h->old_rings = old;
	}
}

/* An old ring, and those out of use before it. */
static void
rings_free(Hnsw *h, Ring *ring)
{
	while (ring)
	{
		Ring	   *older = ring->older;

		graph_account(h, -(int64_t) ring_bytes(ring));
		free(ring);
		ring = older;
	}
}

void
queue_shrink(Hnsw *h)
{
	const Ring *ring = atomic_load_explicit(&h->ring, memory_order_relaxed);
	uint64_t	waiting = atomic_load(&h->tail) - atomic_load(&h->head);
	uint64_t	oldest;

	if (ring && ring->mask >= SHRINK_FROM && waiting < ring->mask / 8)
	{
		uint64_t	size = RING_FIRST;

		while (size < 2 * waiting)
			size *= 2;
		ring_replace(h, size);
	}
	if (h->old_rings == NULL)
		return;
	oldest = epoch_oldest(h);
	for (Ring **place = &h->old_rings; *place; place = &(*place)->older)
		if ((*place)->epoch < oldest)
		{
			Ring	   *unused = *place;

			*place = NULL;
			rings_free(h, unused);
			break;
		}
}

void
queue_destroy(Hnsw *h)
{
	free(atomic_load(&h->ring));
	rings_free(h, h->old_rings);
}

/* The ring, with room for one more at the end of the queue.  Under h->lock. */
static Ring *
ring_with_room(Hnsw *h)
{
	Ring	   *ring = atomic_load_explicit(&h->ring, memory_order_relaxed);

	if (ring == NULL || atomic_load_explicit(&h->tail, memory_order_relaxed) -
		atomic_load_explicit(&h->head, memory_order_relaxed) > ring->mask)
	{
		ring_replace(h, ring ? 2 * (ring->mask + 1) : RING_FIRST);
		ring = atomic_load_explicit(&h->ring, memory_order_relaxed);
	}
	return ring;
}

void
queue_advance(Hnsw *h)
{
	const Ring *ring = atomic_load(&h->ring);
	uint64_t	head = atomic_load(&h->head);

	while (head < h->claim && atomic_load(&ring->slots[head & ring->mask]) == NO_SLOT)
		head++;
	atomic_store_explicit(&h->head, head, memory_order_release);
}

/* A slot has died: a repair will see to what leads to it, if anything can.  Under h->lock. */
static void
note_death(Hnsw *h, uint32_t slot)
{
	atomic_fetch_add(&h->dead, 1);
	if (atomic_load(&graph_meta(h, slot)->state) < SLOT_LINKED)
		return;
	if (graph_is_table(h))
	{
		atomic_fetch_sub(&h->linked, 1);
		graph_retire(h, slot, false);
	}
	else
		slot_to_repair(h, slot);
}

void
slot_publish(Hnsw *h, uint32_t old, uint32_t slot, bool moved)
{
	Life	   *life = graph_life(h, slot);
	Meta	   *meta = graph_meta(h, slot);
	bool		table = graph_is_table(h);
	bool		waits = !moved && !table;
	Ring	   *ring;
	uint64_t	place;

	pthread_mutex_lock(&h->lock);
	place = atomic_load_explicit(&h->tail, memory_order_relaxed);
	ring = ring_with_room(h);
	atomic_store_explicit(&life->born, place, memory_order_relaxed);
	atomic_store_explicit(&meta->state, table ? SLOT_LINKED : moved ? SLOT_TWIN : SLOT_ADDED, memory_order_relaxed);
	atomic_store_explicit(&life->fate, FATE_LIVE, memory_order_release);
	if (old == NO_SLOT)
		atomic_fetch_add(&h->live, 1);
	else
	{
		Assert(graph_fate(h, old) == FATE_LIVE);
		meta->prev = old;
		atomic_store_explicit(&graph_life(h, old)->fate, FATE_SUPERSEDED + slot,
							  memory_order_release);
		note_death(h, old);
	}
	if (moved && !table)
		atomic_fetch_add(&h->twins, 1);
	if (!waits)
	{
		atomic_fetch_add(&h->linked, 1);
		h->stuck = false;
	}
	h->moved += moved;
	/* A move needs a place in the queue to be told from what came before it, but does not wait. */
	atomic_store_explicit(&ring->slots[place & ring->mask], waits ? slot : NO_SLOT, memory_order_release);
	atomic_store_explicit(&h->tail, place + 1, memory_order_seq_cst);
	if (!waits && h->claim == place)
	{
		h->claim++;
		queue_advance(h);
	}
	pthread_mutex_unlock(&h->lock);
}

void
graph_enqueue(Hnsw *h, uint32_t slot)
{
	Ring	   *ring = ring_with_room(h);
	uint64_t	place = atomic_load(&h->tail);

	atomic_store(&graph_life(h, slot)->born, place);
	atomic_store(&graph_meta(h, slot)->state, SLOT_ADDED);
	atomic_store(&ring->slots[place & ring->mask], slot);
	atomic_store(&h->tail, place + 1);
}

void
hnsw_add(Hnsw *h, uint32_t slot, uint64_t label, const void *vector)
{
	write_slot(h, slot, label, vector);
	slot_publish(h, NO_SLOT, slot, false);
}

void
hnsw_replace(Hnsw *h, uint32_t old, uint32_t slot, uint64_t label, const void *vector)
{
	write_slot(h, slot, label, vector);
	slot_publish(h, old, slot, false);
}

bool
hnsw_delete(Hnsw *h, uint32_t slot)
{
	bool		live;

	pthread_mutex_lock(&h->lock);
	live = graph_fate(h, slot) == FATE_LIVE;
	if (live)
	{
		atomic_store_explicit(&graph_life(h, slot)->fate, FATE_DEAD, memory_order_release);
		atomic_fetch_sub(&h->live, 1);
		note_death(h, slot);
	}
	pthread_mutex_unlock(&h->lock);
	return live;
}

/*
 * Take a dead slot out of the chain of versions it stands in.  Only when every
 * guard under which it was live is left: such a search shows what superseded
 * it, and would show that once more in the place of an older version if this
 * link were missing.
 */
static void
leave_versions(Hnsw *h, uint32_t slot)
{
	uint32_t	fate = graph_fate(h, slot);
	uint32_t	prev = graph_meta(h, slot)->prev;

	if (prev != NO_SLOT)
		atomic_store_explicit(&graph_life(h, prev)->fate, fate, memory_order_release);
	if (fate >= FATE_SUPERSEDED && graph_meta(h, fate - FATE_SUPERSEDED)->prev == slot)
		graph_meta(h, fate - FATE_SUPERSEDED)->prev = prev;
	graph_meta(h, slot)->prev = NO_SLOT;
}

/* The slot waits until the guards of now are left. */
static void
limbo_push(Hnsw *h, uint32_t slot)
{
	if (h->limbo_at + h->limbo_n == h->limbo_room)
	{
		if (h->limbo_at > 0 && h->limbo_at >= h->limbo_room / 2)
			memmove(h->limbo, h->limbo + h->limbo_at, sizeof(Limbo) * h->limbo_n);
		else
		{
			Limbo	   *grown = vt_alloc(sizeof(Limbo) * (2 * h->limbo_n + 64));

			if (h->limbo_n)
				memcpy(grown, h->limbo + h->limbo_at, sizeof(Limbo) * h->limbo_n);
			free(h->limbo);
			h->limbo = grown;
			h->limbo_room = 2 * h->limbo_n + 64;
		}
		h->limbo_at = 0;
	}
	h->limbo[h->limbo_at + h->limbo_n].slot = slot;
	h->limbo[h->limbo_at + h->limbo_n].epoch = epoch_next(h);
	h->limbo_n++;
}

void
graph_retire(Hnsw *h, uint32_t slot, bool graced)
{
	if (graced || graph_meta(h, slot)->prev == NO_SLOT)
		leave_versions(h, slot);
	atomic_store_explicit(&graph_meta(h, slot)->state, SLOT_RETIRED, memory_order_relaxed);
	atomic_fetch_add(&h->retired, 1);
	limbo_push(h, slot);
}

void
graph_reclaim(Hnsw *h)
{
	uint64_t	oldest;

	if (h->limbo_n == 0)
		return;
	oldest = epoch_oldest(h);
	while (h->limbo_n > 0 && h->limbo[h->limbo_at].epoch < oldest)
	{
		uint32_t	slot = h->limbo[h->limbo_at].slot;
		Meta	   *meta = graph_meta(h, slot);
		atomic_uint *upper = atomic_load_explicit(&meta->upper, memory_order_relaxed);

		h->limbo_at++;
		h->limbo_n--;
		if (meta->prev != NO_SLOT)
		{
			/* An older version leads here until now: one more grace. */
			leave_versions(h, slot);
			limbo_push(h, slot);
			continue;
		}
		leave_versions(h, slot);
		if (upper)
		{
			graph_account(h, -(int64_t) (sizeof(atomic_uint) * h->opt.m * atomic_load(&meta->level)));
			atomic_store_explicit(&meta->upper, NULL, memory_order_relaxed);
			free(upper);
		}
		atomic_store_explicit(&graph_life(h, slot)->fate, FATE_NONE, memory_order_relaxed);
		h->stuck = false;
		slot_set_free(h, slot);
		atomic_fetch_sub(&h->dead, 1);
	}
	if (h->limbo_n == 0)
		h->limbo_at = 0;
}

