/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  A graph's memory: how chunks are laid out, got, and given back.
 *
 * A chunk is one mapping that begins on a huge page.  What a walk reads lies first
 * in it, so that it is the vectors that are left for small pages at the end.
 *
 * A huge page is in memory as a whole.  So each begins as small ones and becomes
 * huge when all slots that have a part in it have been handed out; what is left of the
 * first chunk, of one of many small graphs perhaps, when there is a second.  Memory
 * behind the last slot goes back by whole pages, and by chunks.
 *
 * The functions that change chunks are called under h->lock, or while the graph is
 * one thread's.  memory_filled() is not: making a chunk huge copies it, which takes
 * milliseconds.  The slot that filled it is reserved meanwhile, so compaction cuts
 * off neither its chunk nor one before.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"

#include <sys/mman.h>

#define CHUNK_BYTES ((size_t) 16 << 20)
#define CHUNK_SHIFT_MIN 6
#define CHUNK_SHIFT_MAX 16
#define PAGE ((size_t) 4096)
#define LONG_ROW 512			/* dimensions from which on rows of codes begin with a line of the cache */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25		/* Linux 6.1; refused before, without harm */
#endif
#define HUGE_PAGE ((size_t) 2 << 20)

static size_t
round_up(size_t x, size_t to)
{
	return (x + to - 1) / to * to;
}

void
memory_lay_out(Hnsw *h)
{
	const HnswOptions *opt = &h->opt;
	size_t		vec_bytes;		/* of it in a chunk */
	size_t		at = 0;
	size_t		slots;
	size_t		behind;			/* offset in a row of codes */
	bool		meta_behind;
	bool		life_behind;

	h->dim16 = (uint32_t) round_up(opt->dim, 16);
	h->dim64 = (uint32_t) round_up(opt->dim, 64);
	h->m0 = graph_is_table(h) ? 0 : 2 * opt->m;
	h->coded = opt->codes != HNSW_CODES_NONE;
	h->bare = opt->codes == HNSW_CODES_INT8_ONLY;
	h->halves = opt->element == VEC_FLOAT16 && !h->bare;
	h->bits = opt->element == VEC_BIT;
	if (h->bits)
		h->vec_row = round_up(vec_kept_bytes(VEC_BIT, opt->dim), 8);
	else
		h->vec_row = h->bare ? 0 : (h->halves ? sizeof(VecHalf) : sizeof(float)) * h->dim16;
	vec_bytes = opt->vectors ? 0 : h->vec_row;
	if (h->coded)
	{
		h->code_params = round_up(opt->dim, 4);
		h->code_row = h->code_params + sizeof(CodeParams);
		/* What is left of a line of the cache is of use: Meta and Life lie there. */
		h->code_stride = round_up(h->code_row, opt->dim >= LONG_ROW ? 64 : 16);
	}
	h->row_lines = (uint32_t) (round_up(h->coded ? h->code_row : h->vec_row, 64) / 64);
	behind = round_up(h->code_row, 8);
	meta_behind = behind + sizeof(Meta) <= h->code_stride;
	life_behind = behind + (meta_behind ? sizeof(Meta) : 0) + sizeof(Life) <= h->code_stride;
	h->slot_bytes = vec_bytes + h->code_stride + sizeof(uint32_t) * h->m0 +
		(life_behind ? 0 : sizeof(Life)) + (meta_behind ? 0 : sizeof(Meta));
	h->shift = CHUNK_SHIFT_MIN;
	while (h->shift < CHUNK_SHIFT_MAX && (h->slot_bytes << (h->shift + 1)) <= CHUNK_BYTES)
		h->shift++;
	slots = (size_t) 1 << h->shift;
	h->mask = (uint32_t) slots - 1;

	h->code_off = at;
	at = round_up(at + h->code_stride * slots, 128);
	h->link_off = at;
	at = round_up(at + sizeof(uint32_t) * h->m0 * slots, 64);
	h->life_off = life_behind ? h->code_off + behind + (meta_behind ? sizeof(Meta) : 0) : at;
	h->life_stride = life_behind ? h->code_stride : sizeof(Life);
	at = life_behind ? at : round_up(at + sizeof(Life) * slots, 64);
	h->head_off = at;
	at = round_up(at + slots / 8, 64);
	h->meta_off = meta_behind ? h->code_off + behind : at;
	h->meta_stride = meta_behind ? h->code_stride : sizeof(Meta);
	at = meta_behind ? at : round_up(at + sizeof(Meta) * slots, 64);
	h->vec_off = at;
	at += vec_bytes * slots;
	h->chunk_size = round_up(at, PAGE);
}

typedef struct Section
{
	size_t		at;
	size_t		stride;			/* bytes a slot has in it */
} Section;

#define SECTIONS 5

/* The heads are left out: a page in each chunk at most.  So is what lies behind codes. */
static void
sections_of(const Hnsw *h, Section sections[SECTIONS])
{
	sections[0] = (Section) {h->code_off, h->code_stride};
	sections[1] = (Section) {h->link_off, sizeof(uint32_t) * h->m0};
	sections[2] = (Section) {h->life_off, h->life_off < h->link_off ? 0 : sizeof(Life)};
	sections[3] = (Section) {h->meta_off, h->meta_off < h->link_off ? 0 : sizeof(Meta)};
	sections[4] = (Section) {h->vec_off, h->vectors_fd < 0 ? h->vec_row : 0};
}

/* A mapping that begins on a huge page. */
static uint8_t *
map_chunk(size_t size)
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
	return p + skip;
}

/*
 * Zeros, of which those pages take memory that are written to: tables for the largest graph
 * that may be are hundreds of kB, and most graphs need the beginning.  (calloc() clears what
 * it has used before.)  NULL: there is none.
 */
void *
memory_table(size_t size)
{
	void	   *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void
memory_table_free(void *table, size_t size)
{
	if (table)
		munmap(table, size);
}

/* Memory in use moves to huge pages, if the system can do that now. */
static void
make_huge(uint8_t *part, size_t size)
{
#ifdef MADV_HUGEPAGE
	(void) madvise(part, size, MADV_HUGEPAGE);
#endif
	(void) madvise(part, size, MADV_COLLAPSE);
}

/* Have all slots with a part in this page been handed out, when the first n of the chunk have? */
static bool
page_is_full(const Hnsw *h, size_t page, uint32_t n)
{
	Section		sections[SECTIONS];

	sections_of(h, sections);
	for (int i = 0; i < SECTIONS; i++)
	{
		size_t		begin = sections[i].at;
		size_t		end = begin + sections[i].stride * ((size_t) h->mask + 1);
		size_t		last = end < page + HUGE_PAGE ? end : page + HUGE_PAGE;

		if (begin < last && page < last && begin + sections[i].stride * n < last)
			return false;
	}
	return true;
}

void
memory_filled(Hnsw *h, uint32_t used)
{
	uint32_t	step = (h->mask + 1) / 8;
	uint32_t	n = ((used - 1) & h->mask) + 1;
	uint8_t    *chunk = graph_chunk(h, used - 1);

	if (used == h->mask + 2)
		make_huge(graph_chunk(h, 0), h->chunk_size);
	if (n % step != 0)
		return;
	if (n == h->mask + 1 && used > n)
	{
		make_huge(chunk, h->chunk_size);
		return;
	}
	for (size_t page = 0; page + HUGE_PAGE <= h->chunk_size; page += HUGE_PAGE)
		if (page_is_full(h, page, n) && !page_is_full(h, page, n - step))
			make_huge(chunk + page, HUGE_PAGE);
}

/* The chunk that slot `used` begins. */
static VtStatus
add_chunk(Hnsw *h, uint32_t used, VtError *err)
{
	uint32_t	chunk = used >> h->shift;
	uint8_t    *fresh = map_chunk(h->chunk_size);

	if (!fresh)
		return vt_fail_errno(err, VT_NOMEM, "could not map %zu bytes of a graph", h->chunk_size);
	atomic_store_explicit(&h->chunks[chunk], fresh, memory_order_release);
	return VT_OK;
}

VtStatus
memory_make_room(Hnsw *h, uint32_t used, uint32_t n, VtError *err)
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
	VtStatus	status = memory_make_room(h, 0, n, err);

	if (status != VT_OK)
		return status;
	if (n > h->mask + 1)
		memory_filled(h, h->mask + 2);
	for (uint32_t used = (h->mask + 1) / 8; used <= n; used += (h->mask + 1) / 8)
		memory_filled(h, used);
	graph_account(h, (int64_t) h->slot_bytes * n);
	atomic_store_explicit(&h->used, n, memory_order_release);
	return VT_OK;
}

void
memory_give_back(Hnsw *h, uint32_t from, uint32_t to)
{
	Section		sections[SECTIONS];
	uint8_t    *chunk = graph_chunk(h, from);

	vectors_give_back(h, from);
	if ((from & h->mask) == 0)
	{
		atomic_store_explicit(&h->chunks[from >> h->shift], NULL, memory_order_release);
		munmap(chunk, h->chunk_size);
		return;
	}
	/* Whole pages: they are zero when next touched, as those of a fresh chunk. */
	sections_of(h, sections);
	for (size_t i = 0; i < SECTIONS; i++)
	{
		size_t		row = from & h->mask;
		size_t		begin = round_up(sections[i].at + sections[i].stride * row, PAGE);
		size_t		end = (sections[i].at + sections[i].stride * (row + to - from)) / PAGE * PAGE;

		if (begin < end)
			(void) madvise(chunk + begin, end - begin, MADV_DONTNEED);
	}
}

void
memory_close(Hnsw *h)
{
	for (uint32_t i = 0; h->chunks && i < h->nchunks_max && atomic_load(&h->chunks[i]); i++)
		munmap(atomic_load(&h->chunks[i]), h->chunk_size);
	vectors_close(h);
}
