/*-------------------------------------------------------------------------
 *
 * graph.h
 *	  Private to hnsw: how slots lie in memory, and who may touch what.
 *
 * Memory.  Slots live in chunks that never move.  A chunk is one mapping and
 * holds, section after section, what belongs to its slots:
 *
 *		codes | ground links | Life | heads | Meta | vectors
 *
 * so that what is needed at different times lies apart and each row can be
 * aligned.  (Vectors may be in a mapped file instead: vectors.c.)  Address of a row = chunk + offset of the section + row * stride.
 * Long rows of codes begin with a line of the cache, and Meta and Life lie in what is free behind each, if
 * they fit: memory_lay_out() says so by their offsets and strides.
 * Vectors, of floats or of halves, are padded with zeros to a multiple of 16 numbers, so kernels have no tail;
 * strings of bits to a multiple of eight bytes.
 *
 * Links.  A list is an array of slots ended by HNSW_NO_SLOT or by its length;
 * each is stored with release and read with acquire, so who sees a slot sees
 * its vector.  Lists change under the node's lock and are read without it: a
 * reader may meet a list half old, half new, which costs a detour, not a wrong
 * answer.  Two locks of nodes are never held at once.
 *
 * Reuse.  Whoever follows links or reads the queue is inside a guard
 * (epoch.c).  A slot is free again only when no link, queue place or version
 * chain leads to it and every guard that could have seen one is left.  Nobody
 * links to a dead slot: who looked before it died is inside a guard, too.
 *
 * Life.fate says what a slot is worth: unpublished, live, dead, or superseded
 * by another slot.  Life.born is its place in the queue of all slots ever
 * added.  A search remembers the queue's end when it begins; what is born
 * later is not part of it, except as stand-in for what was superseded
 * meanwhile (graph_stand_in).
 *
 * Twins.  A slot whose row equals one in the graph (the same vector, or the
 * same codes) is not linked: it hangs behind it in a chain (Meta.twin), so a
 * thousand equal rows are no trap in the graph.  A twin has no links and nobody
 * links to it.
 *
 * Compaction.  A record is moved to a slot further down as a twin of the slot it
 * leaves, which it supersedes; so every walk finds it at once.  The next batch
 * of a repair has the old slot in it: the new one takes over its links, and
 * whoever linked to the old one links to the new one.  See compact.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_GRAPH_H
#define HNSW_GRAPH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hnsw/hnsw.h"
#include "hnsw/kernels.h"

#define NO_SLOT HNSW_NO_SLOT
#define MAX_LEVEL 30

/* Life.fate; from FATE_SUPERSEDED on: by slot fate - FATE_SUPERSEDED */
enum
{
	FATE_NONE,
	FATE_LIVE,
	FATE_DEAD,
	FATE_SUPERSEDED
};

typedef struct Life
{
	atomic_uint fate;
	float		inv_norm;		/* 1 / |vector|, 0 for the zero vector; cosine on floats */
	atomic_ullong born;
} Life;

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_RESERVED,
	SLOT_ADDED,
	SLOT_LINKED,
	SLOT_TWIN,					/* linked, as a twin */
	SLOT_RETIRED				/* nothing leads here, waiting for its grace */
} SlotState;

typedef struct Meta
{
	uint64_t	label;
	_Atomic(atomic_uint *) upper;	/* lists of m links, level 1 first; NULL on the ground */
	atomic_uint twin;			/* next equal row, or NO_SLOT */
	uint32_t	prev;			/* the version this one superseded, or NO_SLOT; h->lock */
	atomic_uchar state;			/* SlotState */
	atomic_uchar level;
	atomic_uchar lock;			/* of the links and of the head of the twins */
	uint8_t		moved;			/* what superseded it is the same in another place; repair_lock */
	uint16_t	agreed;			/* so many of the first links on the ground were chosen together (link.c); lock */
} Meta;

/* The queue of slots to link; entries that are done hold NO_SLOT. */
typedef struct Ring
{
	struct Ring *older;			/* of those that are out of use; readers may be in them */
	uint64_t	epoch;			/* of its last readers */
	uint64_t	mask;
	atomic_uint slots[];
} Ring;

/* What a slot or ring waits for before it is used again. */
typedef struct Limbo
{
	uint32_t	slot;
	uint64_t	epoch;
} Limbo;

typedef struct SlotList
{
	uint32_t   *slots;
	uint32_t	n;
	uint32_t	room;
} SlotList;

#define GUARDS_PER_BLOCK 64

typedef struct Guard
{
	_Alignas(64) atomic_ullong epoch;	/* 0 = free */
} Guard;

typedef struct GuardBlock
{
	Guard		guards[GUARDS_PER_BLOCK];
	_Atomic(struct GuardBlock *) next;
} GuardBlock;

typedef struct Ctx Ctx;
typedef struct Connect Connect;

#define CTX_PLACES 64
#define INFLIGHT_PLACES 64
#define OWED_PLACES 256
#define LANDED_PLACES 256		/* four of each that links, while one is linked */

/* The entry point as one word: level << 32 | slot. */
#define NO_ENTRY UINT64_MAX

/* Where a repair stands. */
typedef enum RepairPhase
{
	REPAIR_IDLE,
	REPAIR_MOVE,				/* compaction: what lies beyond the limit moves down */
	REPAIR_GRACE,				/* links to the batch may still appear */
	REPAIR_PROMOTE,				/* twins take the place of nodes of the batch */
	REPAIR_SWEEP,				/* removing the links */
	REPAIR_CUT					/* compaction: waiting until what was moved is free */
} RepairPhase;

struct Hnsw
{
	HnswOptions opt;

	/* Layout; constant */
	const Kernels *kernels;
	uint32_t	dim16;			/* numbers of a row: dim rounded up to 16 */
	bool		halves;			/* they are halves, else floats */
	bool		bits;			/* they are bits, of which vec_row says how many bytes */
	uint32_t	dim64;			/* bytes of a query's part for the code kernels */
	uint32_t	m0;
	bool		coded;
	bool		bare;			/* ... and codes are all there is of vectors */
	uint32_t	shift;			/* a chunk has 1 << shift slots */
	uint32_t	mask;
	size_t		vec_row;		/* bytes of a vector; 0: none is kept */
	size_t		code_stride;
	size_t		code_params;	/* offset of CodeParams in a row of codes, and what kernels read of the codes */
	size_t		code_row;		/* bytes of it that are written once; behind them may be Meta and Life */
	uint32_t	row_lines;		/* of the caches: what a walk reads of a row */
	size_t		vec_off;		/* sections of a chunk */
	size_t		code_off;
	size_t		link_off;
	size_t		life_off;
	size_t		life_stride;
	size_t		head_off;
	size_t		meta_off;
	size_t		meta_stride;
	size_t		chunk_size;
	size_t		slot_bytes;		/* of a slot in all sections */
	double		level_factor;
	_Atomic(uint8_t *) *chunks;
	_Atomic(uint8_t *) *vectors;	/* of each chunk; the same places, or mapped ones */
	int			vectors_fd;		/* -1: in the chunks */
	uint64_t	vectors_bytes;	/* allocated in the file; h->lock */
	uint32_t	nchunks_max;

	/* Read by all, changed by some */
	_Alignas(64) atomic_ullong entry;
	atomic_uint used;			/* slots ever handed out */
	atomic_ullong head;			/* queue: everything before is done */
	atomic_ullong tail;			/* queue: end */
	_Atomic(Ring *) ring;
	atomic_ullong dead;			/* published, not live, not yet free */
	atomic_ullong twins;
	atomic_ullong hung;			/* times that twins were hung behind a node that is not dead */
	atomic_ullong live;
	atomic_ullong linked;
	atomic_ullong link_distances;
	atomic_ullong found;
	atomic_ullong repaired;
	atomic_ullong retired;		/* times that a slot was given up */
	atomic_uint spread;			/* of distances, in millionths; 0 = not known (reach.c) */
	atomic_uint spread_seen;
	atomic_llong bytes;
	atomic_uint inflight[INFLIGHT_PLACES];	/* slots being linked */
	atomic_ullong landed[LANDED_PLACES];	/* nodes linked last: the n-th as n << 32 | slot, in place n % LANDED_PLACES */
	atomic_ullong nlanded;
	atomic_ullong owed[OWED_PLACES];	/* found.c: slot that waits << 32 | one that is to be its neighbour; UINT64_MAX: none */
	atomic_ullong nowed;

	/* Changing slots and the queue */
	_Alignas(64) pthread_mutex_t lock;
	uint64_t	claim;			/* next queue place to link */
	SlotList	free;
	Limbo	   *limbo;			/* a queue in an array, by epoch */
	size_t		limbo_at;
	size_t		limbo_n;
	size_t		limbo_room;
	Ring	   *old_rings;		/* the last one out of use first */
	SlotList	died;			/* dead linked slots, not yet in a repair */
	uint32_t	loading;		/* slots from a file, until hnsw_loaded() */

	/* Compaction */
	uint32_t	limit;			/* free slots from here on are not handed out; NO_SLOT: all are */
	uint32_t	cut_from;		/* beyond `used`: memory to give back, up to cut_to, ... */
	uint32_t	cut_to;
	uint64_t	cut_epoch;		/* ... once the guards of this epoch are left */
	uint64_t	moved;
	bool		stuck;			/* no slot was linked, died or became free since a compaction began that cut nothing */

	/* Repair; who holds repair_lock */
	pthread_mutex_t repair_lock;
	RepairPhase phase;
	SlotList	batch;
	uint8_t    *in_batch;		/* a bit for each slot below batch_used */
	uint32_t	batch_used;
	bool		batch_moved;	/* compaction has moved some of it */
	uint64_t	batch_epoch;
	uint32_t	sweep_at;
	uint32_t	move_at;		/* what lies before is to be moved yet */
	atomic_ullong sweep_best;	/* highest node outside the batch, as entry; linkers raise it */
	Connect    *connect;		/* the pass under way; NULL: none */
	bool		connect_due;	/* lists have been rewritten since the last */
	uint64_t	connected;		/* nodes at the last */
	uint64_t	connect_seen;	/* nodes when a pass was last thought of */
	uint64_t	connect_rest;	/* until then, of walk_clock_ns(), a little growth is worth none */
	atomic_ullong looks;		/* passes that came to their end; what the last one found: */
	atomic_ullong unreachable;	/* nodes it could not lead to */
	atomic_ullong broken_links;

	/* Guards and scratch memory */
	_Alignas(64) atomic_ullong epoch;
	GuardBlock	guards;
	_Atomic(Ctx *) ctx[CTX_PLACES];
};

/* -- Addresses ------------------------------------------------------------- */

static inline uint8_t *
graph_chunk(const Hnsw *h, uint32_t slot)
{
	return atomic_load_explicit(&h->chunks[slot >> h->shift], memory_order_acquire);
}

/* Are there no vectors?  Then nothing leads anywhere, and slots are linked when they are added. */
static inline bool
graph_is_table(const Hnsw *h)
{
	return h->opt.dim == 0;
}

/* Of floats, halves or bits, where vectors are kept. */
static inline uint8_t *
graph_vector(const Hnsw *h, uint32_t slot)
{
	return atomic_load_explicit(&h->vectors[slot >> h->shift], memory_order_acquire) +
		(size_t) (slot & h->mask) * h->vec_row;
}

static inline uint8_t *
graph_codes(const Hnsw *h, uint32_t slot)
{
	return graph_chunk(h, slot) + h->code_off + (size_t) (slot & h->mask) * h->code_stride;
}

static inline const CodeParams *
graph_code_params(const Hnsw *h, const uint8_t *codes)
{
	return (const CodeParams *) (codes + h->code_params);
}

/* What a walk compares: a row of codes, or the vector. */
static inline const uint8_t *
graph_row(const Hnsw *h, uint32_t slot)
{
	return h->coded ? graph_codes(h, slot) : graph_vector(h, slot);
}

/* Can no walk tell the two apart? */
static inline bool
graph_same_row(const Hnsw *h, uint32_t a, uint32_t b)
{
	return memcmp(graph_row(h, a), graph_row(h, b),
				  h->coded ? h->code_row : h->vec_row) == 0;
}

static inline atomic_uint *
graph_ground(const Hnsw *h, uint32_t slot)
{
	return (atomic_uint *) (graph_chunk(h, slot) + h->link_off) + (size_t) (slot & h->mask) * h->m0;
}

static inline Life *
graph_life(const Hnsw *h, uint32_t slot)
{
	return (Life *) (graph_chunk(h, slot) + h->life_off + (size_t) (slot & h->mask) * h->life_stride);
}

static inline Meta *
graph_meta(const Hnsw *h, uint32_t slot)
{
	return (Meta *) (graph_chunk(h, slot) + h->meta_off + (size_t) (slot & h->mask) * h->meta_stride);
}

/* The links of a node on a level and how many there can be; NULL: none. */
static inline atomic_uint *
graph_links(const Hnsw *h, uint32_t slot, int level, uint32_t *limit)
{
	Meta	   *meta;
	atomic_uint *upper;

	if (level == 0)
	{
		*limit = h->m0;
		return graph_ground(h, slot);
	}
	*limit = h->opt.m;
	meta = graph_meta(h, slot);
	if (atomic_load_explicit(&meta->level, memory_order_acquire) < level)
		return NULL;
	upper = atomic_load_explicit(&meta->upper, memory_order_acquire);
	return upper ? upper + (size_t) (level - 1) * h->opt.m : NULL;
}

/* Copy a list; returns its length. */
static inline uint32_t
graph_copy_links(const Hnsw *h, uint32_t slot, int level, uint32_t *out)
{
	uint32_t	limit;
	atomic_uint *links = graph_links(h, slot, level, &limit);
	uint32_t	n = 0;

	if (links == NULL)
		return 0;
	while (n < limit)
	{
		uint32_t	to = atomic_load_explicit(&links[n], memory_order_acquire);

		if (to == NO_SLOT)
			break;
		out[n++] = to;
	}
	return n;
}

/*
 * A bit for each slot: twins hang behind it, or did once.  So whoever only wants
 * to know need not read its Meta.
 */
static inline atomic_ullong *
graph_heads(const Hnsw *h, uint32_t slot)
{
	return (atomic_ullong *) (graph_chunk(h, slot) + h->head_off) + ((slot & h->mask) >> 6);
}

static inline bool
graph_is_head(const Hnsw *h, uint32_t slot)
{
	return atomic_load_explicit(graph_heads(h, slot), memory_order_acquire) >> (slot & 63) & 1;
}

static inline void
graph_set_head(const Hnsw *h, uint32_t slot, bool head)
{
	if (head)
		atomic_fetch_or_explicit(graph_heads(h, slot), 1ull << (slot & 63), memory_order_release);
	else
		atomic_fetch_and_explicit(graph_heads(h, slot), ~(1ull << (slot & 63)), memory_order_release);
}

static inline uint32_t
graph_fate(const Hnsw *h, uint32_t slot)
{
	return atomic_load_explicit(&graph_life(h, slot)->fate, memory_order_acquire);
}

/*
 * The slot that stands for this one in a search that began at queue place
 * `start`: itself while it lives, the version that superseded it since then;
 * NO_SLOT when it is dead or born later.  What superseded it before is found
 * by itself.
 */
static inline uint32_t
graph_stand_in(const Hnsw *h, uint32_t slot, uint64_t start)
{
	const Life *life = graph_life(h, slot);
	uint32_t	fate = atomic_load_explicit(&life->fate, memory_order_acquire);

	if (fate == FATE_NONE || atomic_load_explicit(&life->born, memory_order_relaxed) >= start)
		return NO_SLOT;
	while (fate >= FATE_SUPERSEDED)
	{
		slot = fate - FATE_SUPERSEDED;
		life = graph_life(h, slot);
		fate = atomic_load_explicit(&life->fate, memory_order_acquire);
		if (atomic_load_explicit(&life->born, memory_order_relaxed) < start)
			return NO_SLOT;
	}
	return fate == FATE_LIVE ? slot : NO_SLOT;
}

/* -- vectors.c ------------------------------------------------------------- */

extern VtStatus vectors_open(Hnsw *h, VtError *err);
extern void vectors_close(Hnsw *h);

/* Room for the vectors of a chunk that is there; then for the first so many slots. */
extern VtStatus vectors_add_chunk(Hnsw *h, uint32_t chunk, VtError *err);
extern VtStatus vectors_allocate(Hnsw *h, uint32_t slots, VtError *err);

/* dim floats or bits, in and out.  With codes alone nothing is written, and what codes stand for is read. */
extern void vectors_write(Hnsw *h, uint32_t slot, const void *vector);
extern void vectors_read(const Hnsw *h, uint32_t slot, void *out);

/* The room from this slot on is not needed any more; the last chunks have gone before. */
extern void vectors_give_back(Hnsw *h, uint32_t from);

/* -- memory.c -------------------------------------------------------------- */

/* Where the sections of a chunk lie. */
extern void memory_lay_out(Hnsw *h);
extern void *memory_table(size_t size);
extern void memory_table_free(void *table, size_t size);

/* Memory for the slots up to n, of which `used` have theirs. */
extern VtStatus memory_make_room(Hnsw *h, uint32_t used, uint32_t n, VtError *err);

/*
 * So many slots have been handed out, one by one, and the last of them is the caller's: pages that are
 * full may become huge.  Not under h->lock.
 */
extern void memory_filled(Hnsw *h, uint32_t used);

/* Give the memory of the slots from..to - 1 of one chunk back; nobody looks at them.  Under h->lock. */
extern void memory_give_back(Hnsw *h, uint32_t from, uint32_t to);

/* While a file is loaded: slots 0 to n - 1, all free. */
extern VtStatus graph_make_slots(Hnsw *h, uint32_t n, VtError *err);
extern void memory_close(Hnsw *h);

/* -- graph.c --------------------------------------------------------------- */

extern void graph_account(Hnsw *h, int64_t bytes);

/* -- slots.c --------------------------------------------------------------- */

extern void slot_list_push(SlotList *list, uint32_t slot);

/*
 * No link leads to the slot any more: free after its grace.  graced: whoever
 * saw it alive has left since.  Under h->lock.
 */
extern void graph_retire(Hnsw *h, uint32_t slot, bool graced);

/* Make free what has had its grace.  Under h->lock. */
extern void graph_reclaim(Hnsw *h);

/* The vector of a slot and what is computed from it. */
extern void graph_write_row(Hnsw *h, uint32_t slot, const void *vector);

/* The same from another slot. */
extern void graph_copy_row(Hnsw *h, uint32_t from, uint32_t to);

/* While a file is loaded: a live slot joins the queue. */
extern void graph_enqueue(Hnsw *h, uint32_t slot);

/* A slot nobody has: to be handed out again, unless it lies beyond the limit.  Under h->lock. */
extern void slot_set_free(Hnsw *h, uint32_t slot);

/* A dead slot that something may lead to: of the next batch of a repair.  Under h->lock. */
extern void slot_to_repair(Hnsw *h, uint32_t slot);

/* Take a free slot, if there is one below the limit: reserved.  Under h->lock. */
extern bool slot_take_free(Hnsw *h, uint32_t *slot);

/*
 * The written slot becomes live and supersedes old, if not NO_SLOT: waiting to be
 * linked, or in the place of old in the graph (moved).
 */
extern void slot_publish(Hnsw *h, uint32_t old, uint32_t slot, bool moved);

/* What is done leaves the queue.  Under h->lock. */
extern void queue_advance(Hnsw *h);

/* Give memory of the queue back that it needed when it was longer.  Under h->lock. */
extern void queue_shrink(Hnsw *h);
extern void queue_destroy(Hnsw *h);

static inline void
graph_lock_node(Meta *meta)
{
	for (int spins = 0; atomic_exchange_explicit(&meta->lock, 1, memory_order_acquire); spins++)
		if (spins > 64)
			sched_yield();
}

static inline void
graph_unlock_node(Meta *meta)
{
	atomic_store_explicit(&meta->lock, 0, memory_order_release);
}

/* -- epoch.c --------------------------------------------------------------- */

/* Slots that nothing leads to from now on wait for this epoch to pass. */
extern uint64_t epoch_next(Hnsw *h);

/* The oldest epoch a guard is in; UINT64_MAX when there is none. */
extern uint64_t epoch_oldest(Hnsw *h);
extern void epoch_destroy(Hnsw *h);

/* Nodes that are looked at and left as they are, for each that is mended: a step of hnsw_repair(). */
#define LOOKS_A_STEP 8

/* -- compact.c, under repair_lock ------------------------------------------ */

/* Begin; false: not worth it. */
extern bool compact_begin(Hnsw *h);

/* Move some; false: all done that can be. */
extern bool compact_move(Hnsw *h, uint32_t *steps);

/* Cut off the end, when what was moved is free; false: not yet. */
extern bool compact_cut(Hnsw *h);

/* Memory that was cut off goes back once nobody can be looking at it; some of it. */
extern void compact_give_back(Hnsw *h);

/* No limit any more.  Under h->lock. */
extern void compact_end(Hnsw *h);

/* -- connect.c, under repair_lock ------------------------------------------ */

/* Begin a pass; false: none is due. */
extern bool connect_begin(Hnsw *h);

/* Go on with it, as hnsw_repair() counts steps; false: it is done. */
extern bool connect_some(Hnsw *h, Ctx *ctx, uint32_t steps);
extern void connect_end(Hnsw *h);

/* -- link.c ---------------------------------------------------------------- */

/* Make an entry word name this node if it stands higher. */
extern void link_raise(atomic_ullong *entry, uint32_t slot, int level);

/* A node's lists, all empty, for the levels it has above the ground. */
extern void link_make_upper(Hnsw *h, uint32_t slot);

/* The slot counts as a node from now on. */
extern void link_become_node(Hnsw *h, uint32_t slot);

/* Hang a slot behind a node, which is linked and not a twin; equal rows. */
extern void link_hang(Hnsw *h, uint32_t node, uint32_t slot);

/*
 * A place where others that link see what this thread is linking, which is certain to become a node; -1: there
 * is none.  It is left when it is one, in the guard in which it was entered, and also where it never was.
 */
#define NO_PLACE_YET (-2)
extern int	link_enter(Hnsw *h, uint32_t slot);
extern void link_leave(Hnsw *h, int place, uint32_t slot);

/* A node's own list: what was chosen, the first `agreed` of it together, and who has linked to it meanwhile. */
extern void link_write_own(Hnsw *h, uint32_t slot, int level, const uint32_t *chosen, uint32_t n, uint32_t agreed);

/* Replace a node's list; under its lock. */
extern void link_write(atomic_uint *links, uint32_t limit, const uint32_t *slots, uint32_t n);

/* -- found.c ---------------------------------------------------------------- */

/* Link a slot by what was found elsewhere.  False: nothing was done, its neighbours are to be looked for. */
extern bool link_as_found(Hnsw *h, Ctx *ctx, uint32_t slot, const HnswFound *found, SlotState *state);

/* A twin whose node is dead becomes a node; what hangs behind it stays there. */
extern void link_promote(Hnsw *h, Ctx *ctx, uint32_t slot);

/* -- choose.c -------------------------------------------------------------- */

typedef struct Candidate
{
	float		score;
	uint32_t	slot;
} Candidate;

/* The nearest first. */
extern void choose_sort(Candidate *candidates, uint32_t n);

/*
 * Choose up to limit of n candidates, in that order, as neighbours: nearest first, none that is
 * nearer, by a factor, to a chosen one than to the node itself.  Returns how many are in out.
 */
extern uint32_t choose_links(Hnsw *h, Ctx *ctx, const Candidate *candidates, uint32_t n,
							 uint32_t limit, uint32_t *out);

/* The same from slots in any order, for the node `from`, when `chosen` are in out already and stay. */
extern uint32_t choose_near(Hnsw *h, Ctx *ctx, uint32_t from, const uint32_t *slots,
							uint32_t n, uint32_t limit, uint32_t *out, uint32_t chosen);

/* What choose_near() would from none, when the first `agreed` slots were chosen for the node together before; n at most 2 HNSW_MAX_M + 1. */
extern uint32_t choose_again(Hnsw *h, Ctx *ctx, uint32_t from, const uint32_t *slots, uint32_t n, uint32_t agreed,
							 uint32_t limit, uint32_t *out);

#endif							/* HNSW_GRAPH_H */
