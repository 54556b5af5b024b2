/*-------------------------------------------------------------------------
 *
 * load.c
 *	  A graph from a file.
 *
 * First every number that decides how much memory is taken is held against the
 * length of the file; then blocks are read one by one, and each is believed as
 * far as its checksum goes: lists are taken as they are.  When the caller has
 * said who lives, hnsw_loaded() makes a graph of it:
 *
 *	- Lists keep what leads to a node of their level, once; see save.c for why
 *	  there can be others.  What leads to a dead node whose place a twin has taken, which
 *	  compaction does with all that it moves, leads to that one.
 *	- Twins hang where the file says if they are equal still; others wait to be
 *	  linked like what was added.
 *	- What was not restored is dead.  Such a node still leads on, and is mended
 *	  around like any; but its vector is gone, so it stands where one of its
 *	  neighbours does.  Dead ones are no hits, so that costs a detour at most.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "hnsw/file.h"
#include "hnsw/walk.h"

typedef struct Loader
{
	Hnsw	   *h;
	const HnswLoad *load;
	int			fd;
	uint64_t	length;			/* of the file */
	uint32_t	slots;
	uint32_t	block_slots;
	uint32_t	blocks;
	Buf			buf;
} Loader;

/* -- Reading --------------------------------------------------------------- */

static VtStatus
damaged(const Loader *loader, const char *what, VtError *err)
{
	return vt_fail(err, VT_CORRUPT, "\"%s\": %s", loader->load->path, what);
}

/* Read into loader->buf; the range lies in the file. */
static VtStatus
read_range(Loader *loader, uint64_t at, size_t length, VtError *err)
{
	buf_clear(&loader->buf);
	buf_reserve(&loader->buf, length);
	while (loader->buf.len < length)
	{
		ssize_t		n = pread(loader->fd, loader->buf.data + loader->buf.len, length - loader->buf.len,
							  (off_t) (at + loader->buf.len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vt_fail_errno(err, VT_IO, "could not read \"%s\"", loader->load->path);
		if (n == 0)
			return damaged(loader, "it is shorter than it was", err);
		loader->buf.len += (size_t) n;
	}
	return VT_OK;
}

/* Is it a file of this format, whole, of this very graph? */
static VtStatus
read_head(Loader *loader, VtError *err)
{
	const HnswOptions *opt = &loader->h->opt;
	struct stat st;
	const uint8_t *head;
	uint32_t	tag_len;
	VtStatus	status;

	if (fstat(loader->fd, &st) < 0)
		return vt_fail_errno(err, VT_IO, "could not stat \"%s\"", loader->load->path);
	if (!S_ISREG(st.st_mode) || st.st_size < FILE_HEAD)
		return damaged(loader, "it is no file of a graph", err);
	loader->length = (uint64_t) st.st_size;
	status = read_range(loader, 0, FILE_HEAD, err);
	if (status != VT_OK)
		return status;
	head = loader->buf.data;
	if (memcmp(head, FILE_MAGIC, 8) != 0)
		return damaged(loader, "it is no file of a graph", err);
	if (get_le32(head + FILE_AT_FORMAT) != FILE_FORMAT || get_le32(head + FILE_AT_ORDER) != FILE_ORDER)
		return vt_fail(err, VT_VERSION, "\"%s\" has a format this version does not know", loader->load->path);
	if (hash_checksum(bytes_of(head, FILE_AT_CHECKSUM)) != get_le64(head + FILE_AT_CHECKSUM))
		return damaged(loader, "the checksum of its head is wrong", err);
	if (get_le64(head + FILE_AT_LENGTH) != loader->length)
		return damaged(loader, "it does not have the length it should", err);
	tag_len = get_le32(head + FILE_AT_TAG);
	if (tag_len > FILE_TAG_MAX ||
		!bytes_equal(bytes_of(head + FILE_AT_TAG + 4, tag_len), loader->load->tag) ||
		get_le32(head + FILE_AT_DIM) != opt->dim || get_le32(head + FILE_AT_METRIC) != (uint32_t) opt->metric ||
		get_le32(head + FILE_AT_M) != opt->m || get_le32(head + FILE_AT_EF) != opt->ef_construction ||
		get_le32(head + FILE_AT_CODES) != (uint32_t) opt->codes ||
		get_le32(head + FILE_AT_ELEMENT) != file_element(opt->element) || get_le64(head + FILE_AT_SEED) != opt->seed)
		return vt_fail(err, VT_INVALID, "\"%s\" is of another graph", loader->load->path);
	reach_restore(loader->h, get_le32(head + FILE_AT_SPREAD));
	loader->slots = get_le32(head + FILE_AT_SLOTS);
	loader->block_slots = get_le32(head + FILE_AT_BLOCK_SLOTS);
	loader->blocks = get_le32(head + FILE_AT_BLOCKS);
	if (loader->slots > opt->max_slots || loader->block_slots < 1 ||
		loader->block_slots > FILE_BLOCK_SLOTS_MAX ||
		loader->blocks != ((uint64_t) loader->slots + loader->block_slots - 1) / loader->block_slots)
		return damaged(loader, "its numbers do not agree", err);
	return VT_OK;
}

static uint32_t
slots_of_block(const Loader *loader, uint32_t block)
{
	uint32_t	first = block * loader->block_slots;
	uint32_t	left = loader->slots - first;

	return left < loader->block_slots ? left : loader->block_slots;
}

/* The part of a block whose length its slots decide. */
static uint64_t
fixed_length(const Loader *loader, uint32_t n)
{
	return (uint64_t) n * (FILE_SLOT + sizeof(uint32_t) * loader->h->m0);
}

/*
 * Read the table into *table, and see that the blocks lie one behind the other and
 * fill the file: then no slot is without bytes that bear it.
 */
static VtStatus
read_table(Loader *loader, Buf *table, VtError *err)
{
	uint64_t	size = (uint64_t) loader->blocks * FILE_TABLE_ROW;
	uint64_t	at = FILE_HEAD + size + 8;
	VtStatus	status;

	if (at > loader->length)
		return damaged(loader, "it is too short for its table", err);
	status = read_range(loader, FILE_HEAD, (size_t) size + 8, err);
	if (status != VT_OK)
		return status;
	if (hash_checksum(bytes_of(loader->buf.data, (size_t) size)) != get_le64(loader->buf.data + size))
		return damaged(loader, "the checksum of its table is wrong", err);
	buf_put(table, loader->buf.data, (size_t) size);
	for (uint32_t b = 0; b < loader->blocks; b++)
	{
		const uint8_t *row = table->data + (size_t) b * FILE_TABLE_ROW;
		uint64_t	length = get_le64(row + 8);

		at += (FILE_ALIGN - at % FILE_ALIGN) % FILE_ALIGN;
		if (get_le64(row) != at || at > loader->length || length > loader->length - at ||
			length > FILE_BLOCK_MAX || length < fixed_length(loader, slots_of_block(loader, b)))
			return damaged(loader, "a block does not lie where it should", err);
		at += length;
	}
	at += (FILE_ALIGN - at % FILE_ALIGN) % FILE_ALIGN;
	return at == loader->length ? VT_OK : damaged(loader, "its blocks do not fill it", err);
}

/* -- Taking in -------------------------------------------------------------- */

/* Lists of all levels above the ground; their bytes are there. */
static void
take_upper(Hnsw *h, Meta *meta, int level, Bytes lists)
{
	uint32_t	n = (uint32_t) level * h->opt.m;
	atomic_uint *upper = vt_alloc(sizeof(atomic_uint) * n);

	for (uint32_t i = 0; i < n; i++)
		atomic_init(&upper[i], get_le32(lists.data + 4 * (size_t) i));
	atomic_init(&meta->upper, upper);
	graph_account(h, (int64_t) (sizeof(atomic_uint) * n));
}

static void
take_ground(Hnsw *h, uint32_t slot, const uint8_t *list)
{
	atomic_uint *links = graph_ground(h, slot);

	for (uint32_t i = 0; i < h->m0; i++)
		atomic_store_explicit(&links[i], list ? get_le32(list + 4 * (size_t) i) : NO_SLOT,
							  memory_order_relaxed);
}

/* A slot from its 16 bytes; rest: upper lists of this slot and of those after it. */
static bool
take_slot(Hnsw *h, uint32_t slot, const uint8_t *row, const uint8_t *ground, Cursor *rest)
{
	Meta	   *meta = graph_meta(h, slot);
	FileState	state = (FileState) row[12];
	int			level = row[13];
	bool		node = state == FILE_NODE || state == FILE_DEAD;

	if (row[12] > FILE_DEAD || level > MAX_LEVEL || get_le16(row + 14) != 0 ||
		(graph_is_table(h) && (level > 0 || state == FILE_TWIN)))
		return false;
	meta->prev = NO_SLOT;
	meta->label = get_le64(row);
	atomic_store_explicit(&meta->twin, state == FILE_NONE ? NO_SLOT : get_le32(row + 8), memory_order_relaxed);
	atomic_store_explicit(&meta->level, (unsigned char) level, memory_order_relaxed);
	take_ground(h, slot, node ? ground : NULL);
	if (node && level > 0)
	{
		Bytes		lists = cursor_bytes(rest, (size_t) level * h->opt.m * 4);

		if (rest->failed)
			return false;
		take_upper(h, meta, level, lists);
	}
	atomic_store_explicit(&meta->state, node ? SLOT_LINKED : state == FILE_TWIN ? SLOT_TWIN : SLOT_FREE,
						  memory_order_relaxed);
	return true;
}

static VtStatus
load_block(Loader *loader, uint32_t block, const uint8_t *row, VtError *err)
{
	Hnsw	   *h = loader->h;
	uint32_t	first = block * loader->block_slots;
	uint32_t	n = slots_of_block(loader, block);
	size_t		length = (size_t) get_le64(row + 8);
	const uint8_t *data;
	Cursor		rest;
	VtStatus	status = read_range(loader, get_le64(row), length, err);

	if (status != VT_OK)
		return status;
	data = loader->buf.data;
	if (hash_checksum(bytes_of(data, length)) != get_le64(row + 16))
		return damaged(loader, "the checksum of a block is wrong", err);
	rest = cursor_of(bytes_of(data + fixed_length(loader, n), length - (size_t) fixed_length(loader, n)));
	for (uint32_t i = 0; i < n; i++)
		if (!take_slot(h, first + i, data + (size_t) i * FILE_SLOT,
					   data + (size_t) n * FILE_SLOT + (size_t) i * h->m0 * sizeof(uint32_t), &rest))
			return damaged(loader, "a slot is malformed", err);
	for (uint32_t i = 0; i < n; i++)
	{
		FileState	state = (FileState) data[(size_t) i * FILE_SLOT + 12];
		Bytes		note;

		if (state != FILE_NODE && state != FILE_TWIN)
			continue;
		note = cursor_string(&rest);
		if (rest.failed || !loader->load->each(loader->load->arg, first + i,
											   graph_meta(h, first + i)->label, note))
			return damaged(loader, "a note is malformed", err);
	}
	return cursor_done(&rest) ? VT_OK : damaged(loader, "a block is longer than its slots", err);
}

static VtStatus
load_all(Loader *loader, VtError *err)
{
	Buf			table = {0};
	VtStatus	status = read_head(loader, err);

	if (status == VT_OK)
		status = read_table(loader, &table, err);
	if (status == VT_OK)
		status = graph_make_slots(loader->h, loader->slots, err);
	for (uint32_t b = 0; b < loader->blocks && status == VT_OK; b++)
		status = load_block(loader, b, table.data + (size_t) b * FILE_TABLE_ROW, err);
	buf_free(&table);
	return status;
}

VtStatus
hnsw_load(const HnswOptions *options, const HnswLoad *load, Hnsw **out, VtError *err)
{
	Loader		loader = {.load = load, .fd = -1};
	VtStatus	status;

	*out = NULL;
	loader.fd = open(load->path, O_RDONLY | O_CLOEXEC);
	if (loader.fd < 0)
		return vt_fail_errno(err, errno == ENOENT ? VT_NOT_FOUND : VT_IO, "could not open \"%s\"", load->path);
	status = hnsw_create(options, &loader.h, err);
	if (status == VT_OK)
		status = load_all(&loader, err);
	close(loader.fd);
	buf_free(&loader.buf);
	if (status != VT_OK)
	{
		hnsw_destroy(loader.h);
		return status;
	}

	/* What was there before the queue begins: its place is 0, the first one's is 1. */
	loader.h->loading = loader.slots;
	loader.h->claim = 1;
	atomic_store(&loader.h->head, 1);
	atomic_store(&loader.h->tail, 1);
	*out = loader.h;
	return VT_OK;
}

void
hnsw_restore(Hnsw *h, uint32_t slot, const void *vector)
{
	Assert(slot < h->loading && graph_fate(h, slot) == FATE_NONE &&
		   atomic_load(&graph_meta(h, slot)->state) >= SLOT_LINKED);
	graph_write_row(h, slot, vector);
	atomic_store(&graph_life(h, slot)->fate, FATE_LIVE);
	atomic_fetch_add(&h->live, 1);
}

/* -- Making a graph of it ---------------------------------------------------- */

typedef struct Settle
{
	Hnsw	   *h;
	uint32_t	n;
	uint8_t    *heights;		/* of a node its level + 1; 0: no node */
	uint32_t   *heirs;			/* who has a dead node's place; NO_SLOT: nobody */
	uint8_t    *twins;			/* 1: come to in a chain; 2: hangs in it */
} Settle;

static bool
is_twin(const Settle *s, uint32_t slot)
{
	return slot < s->n && atomic_load_explicit(&graph_meta(s->h, slot)->state, memory_order_relaxed) == SLOT_TWIN;
}

/*
 * A twin that is a node has taken the place of the dead one it hung behind, and a repair was
 * leading others from that one to it when the file was written.  This repair will not
 * be gone on with.
 */
static uint32_t
heir_in_place(const Settle *s, uint32_t slot)
{
	uint32_t	twin = atomic_load(&graph_meta(s->h, slot)->twin);

	return s->heights[slot] > 0 && graph_fate(s->h, slot) != FATE_LIVE && twin < s->n && s->heights[twin] > 0 &&
		graph_fate(s->h, twin) == FATE_LIVE ? twin : NO_SLOT;
}

/* Keep of a list what leads to a node of this level, once. */
static void
clean_list(const Settle *s, uint32_t slot, int level)
{
	uint32_t	limit;
	atomic_uint *links = graph_links(s->h, slot, level, &limit);
	uint32_t	kept[2 * HNSW_MAX_M];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < limit; i++)
	{
		uint32_t	to = atomic_load_explicit(&links[i], memory_order_relaxed);
		bool		good;

		if (to < s->n && s->heirs[to] != NO_SLOT && s->heights[s->heirs[to]] > level)
			to = s->heirs[to];
		good = to < s->n && to != slot && s->heights[to] > level;
		for (uint32_t j = 0; j < n && good; j++)
			good = kept[j] != to;
		if (good)
			kept[n++] = to;
	}
	for (uint32_t i = 0; i < limit; i++)
		atomic_store_explicit(&links[i], i < n ? kept[i] : NO_SLOT, memory_order_relaxed);
}

/*
 * Hang the twins behind their node.  A dead node has lost its vector, but its
 * twins were equal to it.
 */
static void
hang_twins(Settle *s, uint32_t node)
{
	Hnsw	   *h = s->h;
	Meta	   *last = graph_meta(h, node);
	uint32_t	twin = atomic_load(&last->twin);
	bool		has_row = graph_fate(h, node) == FATE_LIVE;

	atomic_store(&last->twin, NO_SLOT);
	while (is_twin(s, twin) && s->twins[twin] == 0)
	{
		Meta	   *meta = graph_meta(h, twin);
		uint32_t	next = atomic_load(&meta->twin);

		s->twins[twin] = 1;
		if (graph_fate(h, twin) == FATE_LIVE)
		{
			if (!has_row)
				graph_copy_row(h, twin, node);
			has_row = true;
			if (graph_same_row(h, node, twin))
			{
				s->twins[twin] = 2;
				atomic_store(&meta->twin, NO_SLOT);
				atomic_store(&last->twin, twin);
				graph_set_head(h, node, true);
				last = meta;
			}
		}
		twin = next;
	}
}

/* A twin in no chain: dead, it is free; alive, it waits to be linked. */
static void
place_twin(Settle *s, uint32_t slot)
{
	Meta	   *meta = graph_meta(s->h, slot);

	if (s->twins[slot] == 2)
	{
		atomic_fetch_add(&s->h->twins, 1);
		atomic_fetch_add(&s->h->linked, 1);
		return;
	}
	atomic_store(&meta->twin, NO_SLOT);
	if (graph_fate(s->h, slot) == FATE_LIVE)
		graph_enqueue(s->h, slot);
	else
		atomic_store(&meta->state, SLOT_FREE);
}

/* A dead node stands where a twin, or a neighbour that lives, does. */
static void
bury(Settle *s, uint32_t slot)
{
	Hnsw	   *h = s->h;
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	n = graph_copy_links(h, slot, 0, list);
	uint32_t	near = atomic_load(&graph_meta(h, slot)->twin);

	for (uint32_t i = 0; i < n && near == NO_SLOT; i++)
		if (graph_fate(h, list[i]) == FATE_LIVE)
			near = list[i];
	if (near != NO_SLOT)
		graph_copy_row(h, near, slot);
	else
	{
		void	   *nowhere = vt_alloc0(vec_given_bytes(h->opt.element, h->opt.dim));

		graph_write_row(h, slot, nowhere);
		free(nowhere);
	}
	atomic_store(&graph_life(h, slot)->fate, FATE_DEAD);
	atomic_fetch_add(&h->dead, 1);
	slot_to_repair(h, slot);
}

/* The highest node, a living one if there is any. */
static void
choose_entry(Settle *s)
{
	uint64_t	best[2] = {NO_ENTRY, NO_ENTRY};

	if (graph_is_table(s->h))
		return;
	for (uint32_t slot = 0; slot < s->n; slot++)
	{
		uint64_t   *entry = &best[graph_fate(s->h, slot) != FATE_LIVE];

		if (s->heights[slot] > 0 && (*entry == NO_ENTRY || (uint32_t) (*entry >> 32) + 1 < s->heights[slot]))
			*entry = (uint64_t) (s->heights[slot] - 1) << 32 | slot;
	}
	atomic_store(&s->h->entry, best[0] != NO_ENTRY ? best[0] : best[1]);
}

void
hnsw_loaded(Hnsw *h)
{
	Settle		s = {.h = h, .n = h->loading};

	s.heights = vt_alloc0((size_t) s.n + 1);
	s.twins = vt_alloc0((size_t) s.n + 1);
	s.heirs = vt_alloc(sizeof(uint32_t) * ((size_t) s.n + 1));
	for (uint32_t slot = 0; slot < s.n; slot++)
		if (atomic_load(&graph_meta(h, slot)->state) == SLOT_LINKED)
			s.heights[slot] = (uint8_t) (atomic_load(&graph_meta(h, slot)->level) + 1);
	for (uint32_t slot = 0; slot < s.n; slot++)
		s.heirs[slot] = heir_in_place(&s, slot);
	for (uint32_t slot = 0; slot < s.n; slot++)
	{
		for (int level = s.heights[slot]; level-- > 0;)
			clean_list(&s, slot, level);
		if (s.heights[slot] > 0)
			hang_twins(&s, slot);
	}
	for (uint32_t slot = s.n; slot-- > 0;)
	{
		if (is_twin(&s, slot))
			place_twin(&s, slot);
		else if (s.heights[slot] > 0)
		{
			atomic_fetch_add(&h->linked, 1);
			if (graph_fate(h, slot) != FATE_LIVE)
				bury(&s, slot);
		}
		/* The lowest comes off first. */
		if (atomic_load(&graph_meta(h, slot)->state) == SLOT_FREE)
			slot_list_push(&h->free, slot);
	}
	choose_entry(&s);
	h->loading = 0;
	free(s.heights);
	free(s.heirs);
	free(s.twins);
}
