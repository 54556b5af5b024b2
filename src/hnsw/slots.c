/*-------------------------------------------------------------------------
 *
 * slots.c
 *	  A graph's memory, and the life of its slots.
 *
 * Everything that changes what a slot is worth (add, replace, delete, retire)
 * happens under h->lock, in an order that searches without the lock can rely
 * on; see graph.h.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"

#include <math.h>
#include <sys/mman.h>

#include "hnsw/ctx.h"
#include "hnsw/query.h"

#define CHUNK_BYTES ((size_t) 16 << 20)
#define CHUNK_SHIFT_MIN 6
#define CHUNK_SHIFT_MAX 16
#define PAGE ((size_t) 4096)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25		/* Linux 6.1; refused before, without harm */
#endif
#define HUGE_PAGE ((size_t) 2 << 20)
#define RING_FIRST 1024

static size_t
round_up(size_t x, size_t to)
{
	return (x + to - 1) / to * to;
}

/* Where the sections of a chunk lie. */
static void
lay_out(Hnsw *h)
{
	const HnswOptions *opt = &h->opt;
	size_t		vec_bytes;		/* of it in a chunk */
	size_t		at = 0;
	size_t		slots;

	h->dim16 = (uint32_t) round_up(opt->dim, 16);
	h->dim64 = (uint32_t) round_up(opt->dim, 64);
	h->m0 = 2 * opt->m;
	h->coded = opt->codes == HNSW_CODES_INT8 && opt->metric != VEC_L1;
	h->halves = opt->element == VEC_FLOAT16;
	h->vec_row = (h->halves ? sizeof(VecHalf) : sizeof(float)) * h->dim16;
	vec_bytes = h->vec_row;
	if (h->coded)
	{
		size_t		row;

		h->code_params = round_up(opt->dim, 4);
		/* Kernels read dim64 bytes, and nothing of the next row. */
		row = h->code_params + sizeof(CodeParams);
		if (row < h->dim64)
			row = h->dim64;
		/* Long rows begin with a line of the cache; not where memory is what counts. */
		h->code_stride = round_up(row, opt->dim >= 512 && !opt->vectors ? 64 : 16);
	}
	if (opt->vectors)
		vec_bytes = 0;
	h->row_lines = (uint32_t) (round_up(h->coded ? h->code_params + sizeof(CodeParams) : h->vec_row, 64) / 64);
	h->slot_bytes = vec_bytes + h->code_stride + sizeof(uint32_t) * h->m0 + sizeof(Life) + sizeof(Meta);
	h->shift = CHUNK_SHIFT_MIN;
	while (h->shift < CHUNK_SHIFT_MAX && (h->slot_bytes << (h->shift + 1)) <= CHUNK_BYTES)
		h->shift++;
	slots = (size_t) 1 << h->shift;
	h->mask = (uint32_t) slots - 1;

	h->vec_off = at;
	at += vec_bytes * slots;
	h->code_off = at;
	at = round_up(at + h->code_stride * slots, 128);
	h->link_off = at;
	at = round_up(at + sizeof(uint32_t) * h->m0 * slots, 64);
	h->life_off = at;
	at = round_up(at + sizeof(Life) * slots, 64);
	h->head_off = at;
	at = round_up(at + slots / 8, 64);
	h->meta_off = at;
	at += sizeof(Meta) * slots;
	h->chunk_size = round_up(at, PAGE);
}

VtStatus
hnsw_create(const HnswOptions *options, Hnsw **out, VtError *err)
{
	Hnsw	   *h;
	VtStatus	status;

	*out = NULL;
	if (options->dim < 1 || options->dim > VEC_MAX_DIM)
		return vt_fail(err, VT_INVALID, "vectors have 1 to %d dimensions, not %u", VEC_MAX_DIM,
					   options->dim);
	if (!vec_metric_valid(options->metric))
		return vt_fail(err, VT_INVALID, "unrecognized metric %u", (unsigned) options->metric);
	if (options->m < HNSW_MIN_M || options->m > HNSW_MAX_M)
		return vt_fail(err, VT_INVALID, "m is from %d to %d, not %u", HNSW_MIN_M, HNSW_MAX_M,
					   options->m);
	if (options->ef_construction > HNSW_MAX_EF)
		return vt_fail(err, VT_INVALID, "ef_construction is at most %d, not %u", HNSW_MAX_EF,
					   options->ef_construction);
	if (options->codes != HNSW_CODES_NONE && options->codes != HNSW_CODES_INT8)
		return vt_fail(err, VT_INVALID, "unrecognized kind of codes %u", (unsigned) options->codes);
	if (options->element != 0 && !vec_element_valid(options->element))
		return vt_fail(err, VT_INVALID, "unrecognized element %u", (unsigned) options->element);
	if (options->max_slots > HNSW_MAX_SLOTS)
		return vt_fail(err, VT_INVALID, "a graph has at most %u slots", HNSW_MAX_SLOTS);
	if (options->vectors && (options->codes == HNSW_CODES_NONE || options->metric == VEC_L1))
		return vt_fail(err, VT_INVALID, "vectors are mapped only where walks are on codes");

	h = aligned_alloc(64, round_up(sizeof(Hnsw), 64));
	Assert(h != NULL);
	memset(h, 0, sizeof(*h));
	h->opt = *options;
	if (h->opt.element == 0)
		h->opt.element = VEC_FLOAT32;
	if (h->opt.max_slots == 0)
		h->opt.max_slots = HNSW_MAX_SLOTS;
	if (h->opt.ef_construction < h->opt.m)
		h->opt.ef_construction = h->opt.m;
	h->kernels = kernels_choose();
	h->level_factor = 1 / log((double) h->opt.m);
	lay_out(h);
	h->nchunks_max = (uint32_t) (((uint64_t) h->opt.max_slots + h->mask) >> h->shift);
	h->chunks = vt_alloc0(sizeof(*h->chunks) * h->nchunks_max);
	h->vectors = vt_alloc0(sizeof(*h->vectors) * h->nchunks_max);
	atomic_init(&h->entry, NO_ENTRY);
	atomic_init(&h->sweep_best, NO_ENTRY);
	for (int i = 0; i < INFLIGHT_PLACES; i++)
		atomic_init(&h->inflight[i], NO_SLOT);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->repair_lock, NULL);
	atomic_init(&h->epoch, 1);
	h->limit = NO_SLOT;
	status = vectors_open(h, err);
	h->opt.vectors = NULL;		/* the caller's, for this call */
	if (status == VT_OK)
		*out = h;
	else
		hnsw_destroy(h);
	return status;
}

void
hnsw_destroy(Hnsw *h)
{
	uint32_t	used;
	Ring	   *ring;

	if (h == NULL)
		return;
	Assert(epoch_oldest(h) == UINT64_MAX);
	used = atomic_load(&h->used);
	for (uint32_t slot = 0; slot < used; slot++)
		free(atomic_load(&graph_meta(h, slot)->upper));
	for (uint32_t i = 0; i < h->nchunks_max && atomic_load(&h->chunks[i]); i++)
		munmap(atomic_load(&h->chunks[i]), h->chunk_size);
	vectors_close(h);
	for (ring = atomic_load(&h->ring); ring;)
	{
		Ring	   *older = ring->older;

		free(ring);
		ring = older;
	}
	for (int i = 0; i < CTX_PLACES; i++)
		ctx_free(atomic_load(&h->ctx[i]));
	connect_end(h);
	graph_account(h, -atomic_load(&h->bytes));
	epoch_destroy(h);
	free(h->chunks);
	free(h->vectors);
	free(h->free.slots);
	free(h->limbo);
	free(h->died.slots);
	free(h->batch.slots);
	free(h->in_batch);
	pthread_mutex_destroy(&h->lock);
	pthread_mutex_destroy(&h->repair_lock);
	free(h);
}

void
graph_account(Hnsw *h, int64_t bytes)
{
	atomic_fetch_add_explicit(&h->bytes, bytes, memory_order_relaxed);
	if (h->opt.account)
		h->opt.account(h->opt.account_arg, bytes);
}

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

/* A mapping that begins on a huge page. */
static uint8_t *
map_chunk(size_t size, bool huge)
{
	size_t		room = size + HUGE_PAGE;
	uint8_t    *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t		skip;

	if (p == MAP_FAILED)
		return NULL;
	skip = round_up((uintptr_t) p, HUGE_PAGE) - (uintptr_t) p;
	if (skip)
		munmap(p, skip);
	if (room - skip > size)
		munmap(p + skip + size, room - skip - size);
#ifdef MADV_HUGEPAGE
	if (huge)
		(void) madvise(p + skip, size, MADV_HUGEPAGE);
#endif
	return p + skip;
}

/* A mapping in use moves to huge pages, if the system can do that now. */
static void
make_huge(uint8_t *chunk, size_t size)
{
#ifdef MADV_HUGEPAGE
	(void) madvise(chunk, size, MADV_HUGEPAGE);
#endif
	(void) madvise(chunk, size, MADV_COLLAPSE);
}

/* The chunk that slot `used` begins.  The first is one of many small graphs: small pages at first. */
static VtStatus
add_chunk(Hnsw *h, uint32_t used, VtError *err)
{
	uint32_t	chunk = used >> h->shift;
	uint8_t    *fresh = map_chunk(h->chunk_size, chunk > 0);

	if (chunk == 1)
		make_huge(atomic_load_explicit(&h->chunks[0], memory_order_relaxed), h->chunk_size);
	if (!fresh)
		return vt_fail_errno(err, VT_NOMEM, "could not map %zu bytes of a graph", h->chunk_size);
	atomic_store_explicit(&h->chunks[chunk], fresh, memory_order_release);
	return VT_OK;
}

/* Memory for the slots up to n, of which `used` have theirs. */
static VtStatus
make_room(Hnsw *h, uint32_t used, uint32_t n, VtError *err)
{
	VtStatus	status = VT_OK;

	for (uint32_t at = (used + h->mask) & ~h->mask; at < n && status == VT_OK; at += h->mask + 1)
	{
		/* One of the two may be there since the last time. */
		if (!atomic_load_explicit(&h->chunks[at >> h->shift], memory_order_relaxed))
			status = add_chunk(h, at, err);
		if (status == VT_OK && !atomic_load_explicit(&h->vectors[at >> h->shift], memory_order_relaxed))
			status = vectors_add_chunk(h, at >> h->shift, err);
	}
	return status == VT_OK ? vectors_allocate(h, n, err) : status;
}

VtStatus
graph_make_slots(Hnsw *h, uint32_t n, VtError *err)
{
	VtStatus	status = make_room(h, 0, n, err);

	if (status == VT_OK)
	{
		graph_account(h, (int64_t) h->slot_bytes * n);
		atomic_store_explicit(&h->used, n, memory_order_release);
	}
	return status;
}

void
slots_give_back(Hnsw *h, uint32_t from, uint32_t to)
{
	const struct
	{
		size_t		at;
		size_t		stride;
	}			sections[] = {
		{h->vec_off, h->vectors_fd < 0 ? h->vec_row : 0}, {h->code_off, h->code_stride},
		{h->link_off, sizeof(uint32_t) * h->m0}, {h->life_off, sizeof(Life)}, {h->meta_off, sizeof(Meta)},
	};
	uint8_t    *chunk = graph_chunk(h, from);

	vectors_give_back(h, from);
	if ((from & h->mask) == 0)
	{
		atomic_store_explicit(&h->chunks[from >> h->shift], NULL, memory_order_release);
		munmap(chunk, h->chunk_size);
		return;
	}
	/* Whole pages: they are zero when next touched, as those of a fresh chunk. */
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
	{
		size_t		row = from & h->mask;
		size_t		begin = round_up(sections[i].at + sections[i].stride * row, PAGE);
		size_t		end = (sections[i].at + sections[i].stride * (row + to - from)) / PAGE * PAGE;

		if (begin < end)
			(void) madvise(chunk + begin, end - begin, MADV_DONTNEED);
	}
}

void
slot_set_free(Hnsw *h, uint32_t slot)
{
	atomic_store_explicit(&graph_meta(h, slot)->state, SLOT_FREE, memory_order_relaxed);
	if (slot < h->limit)
		slot_list_push(&h->free, slot);
}

static void
set_reserved(Hnsw *h, uint32_t slot)
{
	Meta	   *meta = graph_meta(h, slot);

	meta->prev = NO_SLOT;
	meta->moved = false;
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
	status = make_room(h, used, used + 1, err);
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

	pthread_mutex_lock(&h->lock);
	if (h->free.n == 0 &&
		(h->limbo_n >= 64 || atomic_load_explicit(&h->used, memory_order_relaxed) == h->opt.max_slots))
		graph_reclaim(h);
	if (h->free.n == 0 && h->limit != NO_SLOT)
		compact_end(h);			/* it grows again */
	if (!slot_take_free(h, slot))
		status = take_fresh(h, slot, err);
	pthread_mutex_unlock(&h->lock);
	return status;
}

void
hnsw_unreserve(Hnsw *h, uint32_t slot)
{
	pthread_mutex_lock(&h->lock);
	Assert(atomic_load(&graph_meta(h, slot)->state) == SLOT_RESERVED);
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

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	u = (double) ((z >> 11) + 1) * 0x1.0p-53;
	level = (int) (-log(u) * h->level_factor);
	return level < MAX_LEVEL ? level : MAX_LEVEL;
}

void
graph_write_row(Hnsw *h, uint32_t slot, const float *vector)
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
	memcpy(graph_vector(h, to), graph_vector(h, from), h->vec_row);
	if (h->coded)
		memcpy(graph_codes(h, to), graph_codes(h, from), h->code_params + sizeof(CodeParams));
	graph_life(h, to)->inv_norm = graph_life(h, from)->inv_norm;
}

/* All of a slot but its fate and its place in the queue. */
static void
write_slot(Hnsw *h, uint32_t slot, uint64_t label, const float *vector)
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

static void
ring_grow(Hnsw *h, Ring *old)
{
	uint64_t	size = old ? 2 * (old->mask + 1) : RING_FIRST;
	Ring	   *ring = vt_alloc(sizeof(Ring) + sizeof(atomic_uint) * size);

	ring->older = old;
	ring->mask = size - 1;
	for (uint64_t i = 0; i < size; i++)
		atomic_init(&ring->slots[i], NO_SLOT);
	if (old)
		for (uint64_t i = atomic_load(&h->head); i < atomic_load(&h->tail); i++)
			atomic_init(&ring->slots[i & ring->mask], atomic_load(&old->slots[i & old->mask]));
	graph_account(h, (int64_t) (sizeof(Ring) + sizeof(atomic_uint) * size));
	atomic_store_explicit(&h->ring, ring, memory_order_release);
}

/* The ring, with room for one more at the end of the queue.  Under h->lock. */
static Ring *
ring_with_room(Hnsw *h)
{
	Ring	   *ring = atomic_load_explicit(&h->ring, memory_order_relaxed);

	if (ring == NULL || atomic_load_explicit(&h->tail, memory_order_relaxed) -
		atomic_load_explicit(&h->head, memory_order_relaxed) > ring->mask)
	{
		ring_grow(h, ring);
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

void
slot_publish(Hnsw *h, uint32_t old, uint32_t slot, bool moved)
{
	Life	   *life = graph_life(h, slot);
	Meta	   *meta = graph_meta(h, slot);
	Ring	   *ring;
	uint64_t	place;

	pthread_mutex_lock(&h->lock);
	place = atomic_load_explicit(&h->tail, memory_order_relaxed);
	ring = ring_with_room(h);
	atomic_store_explicit(&life->born, place, memory_order_relaxed);
	atomic_store_explicit(&meta->state, moved ? SLOT_TWIN : SLOT_ADDED, memory_order_relaxed);
	atomic_store_explicit(&life->fate, FATE_LIVE, memory_order_release);
	if (old == NO_SLOT)
		atomic_fetch_add(&h->live, 1);
	else
	{
		Assert(graph_fate(h, old) == FATE_LIVE);
		meta->prev = old;
		atomic_store_explicit(&graph_life(h, old)->fate, FATE_SUPERSEDED + slot,
							  memory_order_release);
		atomic_fetch_add(&h->dead, 1);
		if (atomic_load(&graph_meta(h, old)->state) >= SLOT_LINKED)
			slot_list_push(&h->died, old);
	}
	if (moved)
	{
		atomic_fetch_add(&h->twins, 1);
		atomic_fetch_add(&h->linked, 1);
		h->moved++;
	}
	/* A move needs a place in the queue to be told from what came before it, but does not wait. */
	atomic_store_explicit(&ring->slots[place & ring->mask], moved ? NO_SLOT : slot, memory_order_release);
	atomic_store_explicit(&h->tail, place + 1, memory_order_seq_cst);
	if (moved && h->claim == place)
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
hnsw_add(Hnsw *h, uint32_t slot, uint64_t label, const float *vector)
{
	write_slot(h, slot, label, vector);
	slot_publish(h, NO_SLOT, slot, false);
}

void
hnsw_replace(Hnsw *h, uint32_t old, uint32_t slot, uint64_t label, const float *vector)
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
		atomic_fetch_add(&h->dead, 1);
		if (atomic_load(&graph_meta(h, slot)->state) >= SLOT_LINKED)
			slot_list_push(&h->died, slot);
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
		slot_set_free(h, slot);
		atomic_fetch_sub(&h->dead, 1);
	}
	if (h->limbo_n == 0)
		h->limbo_at = 0;
}

uint64_t
hnsw_label(const Hnsw *h, uint32_t slot)
{
	return graph_meta(h, slot)->label;
}

bool
hnsw_live(const Hnsw *h, uint32_t slot)
{
	return graph_fate(h, slot) == FATE_LIVE;
}

uint64_t
hnsw_waiting(const Hnsw *h)
{
	/* In this order the difference is never negative. */
	uint64_t	head = atomic_load(&h->head);

	return atomic_load(&h->tail) - head;
}

void
hnsw_stats(const Hnsw *hc, HnswStats *stats)
{
	Hnsw	   *h = (Hnsw *) hc;
	uint64_t	entry;

	memset(stats, 0, sizeof(*stats));
	pthread_mutex_lock(&h->lock);
	stats->live = atomic_load(&h->live);
	stats->waiting = atomic_load(&h->tail) - atomic_load(&h->head);
	stats->linked = atomic_load(&h->linked);
	stats->dead = atomic_load(&h->dead);
	stats->free = h->free.n;
	stats->used = atomic_load(&h->used);
	stats->bytes = (uint64_t) atomic_load(&h->bytes);
	stats->mapped = h->vectors_bytes;
	stats->bytes_reserved = ((stats->used + h->mask) >> h->shift) * h->chunk_size;
	stats->link_distances = atomic_load(&h->link_distances);
	stats->repaired = atomic_load(&h->repaired);
	stats->moved = h->moved;
	entry = atomic_load(&h->entry);
	stats->levels = entry == NO_ENTRY ? 0 : (int) (entry >> 32) + 1;
	pthread_mutex_unlock(&h->lock);
}
