/*-------------------------------------------------------------------------
 *
 * set.c
 *	  Sets of slots that may be hits.
 *
 * A set is a guard: from when it is opened until it is closed none of its
 * members is used again, and those that die are still in the graph.  So a
 * search finds a member that was superseded since, and shows what superseded
 * it; or nothing, if members stand alone.
 *
 * What searches of a set would find out again and again is kept with it: the nodes
 * that lead to members, for walks; and where all members are measured, their rows.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* Rows are copied where all take no more than this; after one search so many of them. */
#define ROWS_BYTES ((size_t) 4 << 20)
#define COPY_BYTES ((size_t) 256 << 10)

static size_t
bits_bytes(const HnswSet *set)
{
	return sizeof(uint64_t) * (set->nbits / 64 + 1);
}

static HnswSet *
open_with(Hnsw *h, SetGuard *guard)
{
	HnswSet    *set = vt_alloc0(sizeof(HnswSet));

	set->h = h;
	set->guard = guard;
	set->kernel = doors_kernel(h->kernels->name);
	set->nbits = (atomic_load_explicit(&h->used, memory_order_acquire) + 63) / 64 * 64;
	set->bits = vt_alloc0(bits_bytes(set));
	graph_account(h, (int64_t) bits_bytes(set));
	return set;
}

HnswSet *
hnsw_set_open(Hnsw *h)
{
	SetGuard   *guard = vt_alloc0(sizeof(SetGuard));

	guard->guard = hnsw_enter(h);
	atomic_init(&guard->sets, 1);
	return open_with(h, guard);
}

HnswSet *
hnsw_set_open_beside(const HnswSet *other)
{
	atomic_fetch_add(&other->guard->sets, 1);
	return open_with(other->h, other->guard);
}

/* What was found out for searches. */
static void
forget(HnswSet *set)
{
	atomic_ullong *doors = atomic_exchange(&set->doors, NULL);
	SetRows    *rows = atomic_exchange(&set->rows, NULL);

	if (doors)
		graph_account(set->h, -(int64_t) bits_bytes(set));
	if (rows)
		graph_account(set->h, -(int64_t) rows->bytes);
	free(doors);
	free(rows);
	atomic_store(&set->copying, false);
	atomic_store(&set->uses, 0);
}

void
hnsw_set_close(HnswSet *set)
{
	if (set == NULL)
		return;
	forget(set);
	graph_account(set->h, -(int64_t) bits_bytes(set));
	if (atomic_fetch_sub(&set->guard->sets, 1) == 1)
	{
		hnsw_leave(set->h, set->guard->guard);
		free(set->guard);
	}
	free(set->bits);
	free(set);
}

void
hnsw_set_add(HnswSet *set, uint32_t slot)
{
	if (atomic_load_explicit(&set->uses, memory_order_relaxed) > 0)
		forget(set);
	if (slot >= set->nbits)
	{
		uint32_t	nbits = (slot + slot / 4) / 64 * 64 + 64;
		uint64_t   *bits = vt_alloc0(sizeof(uint64_t) * (nbits / 64 + 1));

		memcpy(bits, set->bits, sizeof(uint64_t) * (set->nbits / 64));
		graph_account(set->h, (int64_t) (nbits / 64 - set->nbits / 64) * (int64_t) sizeof(uint64_t));
		free(set->bits);
		set->bits = bits;
		set->nbits = nbits;
	}
	set->size += !set_has(set, slot);
	set->bits[slot >> 6] |= UINT64_C(1) << (slot & 63);
}

void
hnsw_set_add_passing(HnswSet *set, HnswFilter filter, void *arg)
{
	Hnsw	   *h = set->h;
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);

	for (uint32_t slot = 0; slot < used; slot++)
	{
		uint32_t	now = slot;
		uint32_t	fate;

		/* What superseded it may have a place that was looked at before. */
		while ((fate = graph_fate(h, now)) >= FATE_SUPERSEDED)
			now = fate - FATE_SUPERSEDED;
		if (fate == FATE_LIVE && filter(arg, graph_meta(h, now)->label, now))
			hnsw_set_add(set, now);
	}
}

/* Words that are filled before their slots are looked at. */
#define FILL_WORDS 64

void
hnsw_set_fill(HnswSet *set, HnswWords words, void *arg)
{
	uint32_t	n;

	Assert(set->size == 0);
	set->alone = true;
	for (uint32_t at = 0; at < set->nbits / 64; at += n)
	{
		n = set->nbits / 64 - at < FILL_WORDS ? set->nbits / 64 - at : FILL_WORDS;
		words(arg, at * 64, n, set->bits + at);
		for (uint32_t word = at; word < at + n; word++)
		{
			uint64_t	live = 0;

			for (uint64_t bits = set->bits[word]; bits; bits &= bits - 1)
				if (graph_fate(set->h, word * 64 + (uint32_t) __builtin_ctzll(bits)) == FATE_LIVE)
					live |= bits & -bits;
			set->bits[word] = live;
			set->size += (uint32_t) __builtin_popcountll(live);
		}
	}
}

void
hnsw_set_remove(HnswSet *set, uint32_t slot)
{
	if (!set_has(set, slot))
		return;
	set->bits[slot >> 6] &= ~(UINT64_C(1) << (slot & 63));
	set->size--;
}

/* Is a member among the twins behind this node? */
static bool
leads_to_member(const HnswSet *set, uint32_t slot)
{
	while ((slot = atomic_load_explicit(&graph_meta(set->h, slot)->twin, memory_order_acquire)) != NO_SLOT)
		if (set_has(set, slot))
			return true;
	return false;
}

/* Of the nodes that twins hang behind, add those that lead to members. */
static void
add_doors(const HnswSet *set, atomic_ullong *doors)
{
	const Hnsw *h = set->h;
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);

	if (used > set->nbits)
		used = set->nbits;
	for (uint32_t first = 0; first < used; first += 64)
	{
		uint64_t	known = atomic_load_explicit(&doors[first >> 6], memory_order_relaxed);
		uint64_t	heads = atomic_load_explicit(graph_heads(h, first), memory_order_acquire) & ~known;
		uint64_t	found = 0;

		if (used - first < 64)
			heads &= (UINT64_C(1) << (used - first)) - 1;
		for (; heads; heads &= heads - 1)
			if (leads_to_member(set, first + (uint32_t) __builtin_ctzll(heads)))
				found |= heads & -heads;
		if (found)
			atomic_fetch_or_explicit(&doors[first >> 6], found, memory_order_relaxed);
	}
}

const atomic_ullong *
set_doors(const HnswSet *set)
{
	HnswSet    *own = (HnswSet *) set;
	uint64_t	hung = atomic_load_explicit(&set->h->hung, memory_order_acquire);
	atomic_ullong *doors = atomic_load_explicit(&own->doors, memory_order_acquire);
	atomic_ullong *other = NULL;

	if (doors && atomic_load_explicit(&own->doors_hung, memory_order_acquire) == hung)
		return doors;
	if (doors == NULL)
	{
		doors = vt_alloc(bits_bytes(set));
		for (uint32_t word = 0; word <= set->nbits / 64; word++)
			atomic_init(&doors[word], set->bits[word]);

		/* Two walks may begin at once. */
		if (atomic_compare_exchange_strong(&own->doors, &other, doors))
			graph_account(set->h, (int64_t) bits_bytes(set));
		else
		{
			free(doors);
			doors = other;
		}
	}
	add_doors(set, doors);
	atomic_store_explicit(&own->doors_hung, hung, memory_order_release);
	return doors;
}

/* From one row of a copy to the next; of codes, only what is theirs is copied. */
static size_t
row_width(const Hnsw *h)
{
	return h->coded ? h->code_stride : h->vec_row;
}

/* Room for the rows of all members; NULL: there is none. */
static SetRows *
make_rows(const HnswSet *set)
{
	size_t		width = row_width(set->h);
	size_t		head = (sizeof(SetRows) + 63) / 64 * 64;
	size_t		bytes = head + ((width + sizeof(uint32_t)) * set->size + 63) / 64 * 64;
	SetRows    *rows = aligned_alloc(64, bytes);

	if (rows == NULL)
		return NULL;
	*rows = (SetRows) {.stride = width, .bytes = bytes, .rows = (uint8_t *) rows + head};
	rows->slots = (uint32_t *) (rows->rows + width * set->size);
	graph_account(set->h, (int64_t) bytes);
	return rows;
}

void
set_use(const HnswSet *set)
{
	HnswSet    *own = (HnswSet *) set;

	if (atomic_load_explicit(&own->uses, memory_order_relaxed) < SET_REUSED)
		atomic_fetch_add_explicit(&own->uses, 1, memory_order_relaxed);
}

bool
set_copies(const HnswSet *set)
{
	return atomic_load_explicit(&set->uses, memory_order_relaxed) >= SET_REUSED &&
		row_width(set->h) * set->size <= ROWS_BYTES;
}

void
set_copy_some(const HnswSet *set)
{
	const Hnsw *h = set->h;
	HnswSet    *own = (HnswSet *) set;
	SetRows    *rows = atomic_load_explicit(&own->rows, memory_order_acquire);
	uint32_t	n;
	uint32_t	to;
	uint32_t	slot;

	/* One thread copies, others go on without. */
	if (!set_copies(set) || (rows && atomic_load_explicit(&rows->n, memory_order_relaxed) == set->size) ||
		atomic_exchange(&own->copying, true))
		return;
	rows = atomic_load_explicit(&own->rows, memory_order_acquire);
	if (rows == NULL && (rows = make_rows(set)) != NULL)
		atomic_store_explicit(&own->rows, rows, memory_order_release);
	if (rows)
	{
		n = atomic_load_explicit(&rows->n, memory_order_relaxed);
		to = set->size - n <= COPY_BYTES / rows->stride ? set->size : n + (uint32_t) (COPY_BYTES / rows->stride);
		slot = n ? rows->slots[n - 1] + 1 : 0;
		for (uint32_t i = n; i < to; i++)
			rows->slots[i] = slot = set_next(set, slot + (i > n));
		for (uint32_t i = n; i < to; i++)
		{
			if (i + ROWS_AHEAD < to && h->row_lines <= SHORT_ROW)
				prefetch_lines_l2(graph_row(h, rows->slots[i + ROWS_AHEAD]), h->row_lines);
			memcpy(rows->rows + rows->stride * i, graph_row(h, rows->slots[i]),
				   h->coded ? h->code_row : h->vec_row);
		}
		atomic_store_explicit(&rows->n, to, memory_order_release);
	}
	atomic_store_explicit(&own->copying, false, memory_order_release);
}

size_t
hnsw_set_bytes(const HnswSet *set)
{
	size_t		rows = row_width(set->h) * set->size;

	return 2 * bits_bytes(set) + (rows <= ROWS_BYTES ? rows : 0);
}

uint32_t
hnsw_set_size(const HnswSet *set)
{
	return set->size;
}

uint32_t
set_next(const HnswSet *set, uint32_t from)
{
	uint32_t	word = from >> 6;
	uint64_t	bits;

	if (from >= set->nbits)
		return NO_SLOT;
	bits = set->bits[word] >> (from & 63) << (from & 63);
	while (bits == 0)
		if (++word >= set->nbits / 64)
			return NO_SLOT;
		else
			bits = set->bits[word];
	return word * 64 + (uint32_t) __builtin_ctzll(bits);
}
