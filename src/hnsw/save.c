/*-------------------------------------------------------------------------
 *
 * save.c
 *	  Writing a graph into a file while it goes on.
 *
 * Block by block: under a guard, so that no slot of the block becomes another
 * meanwhile, slots are copied into memory; then the guard is left and the copy
 * is written.  Nobody waits for the disk, and nothing is locked.
 *
 * So a block shows each of its slots as it was at one moment of the save, and
 * different slots at different moments: a list may lead to a slot that was not
 * in the graph yet when its own block was written, or that has become another
 * since.  Reading puts that right (load.c): a link is an advice, and one that
 * leads astray costs a detour.  But a node is worth what leads to it, and to one that was
 * linked meanwhile nothing does from the blocks before its own: the file leaves it
 * out, and it is linked once more after a start.
 *
 * The file appears under its name when all of it is on disk, or not at all.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/hash.h"
#include "hnsw/file.h"
#include "hnsw/graph.h"

typedef struct Saver
{
	Hnsw	   *h;
	const HnswSave *save;
	uint32_t	slots;
	uint64_t	begun;			/* the queue's head when it began: who was born before is in the graph since before */
	int			fd;
	uint64_t	at;				/* where the next block goes */
	Buf			block;
	Buf			upper;			/* of the block at work */
	Buf			notes;
	Buf			table;
} Saver;

static VtStatus
write_all(int fd, Bytes data, uint64_t at, const char *path, VtError *err)
{
	while (data.len > 0)
	{
		ssize_t		n = pwrite(fd, data.data, data.len, (off_t) at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return vt_fail_errno(err, VT_IO, "could not write \"%s\"", path);
		data.data += n;
		data.len -= (size_t) n;
		at += (uint64_t) n;
	}
	return VT_OK;
}

static void
put_links(Buf *out, const atomic_uint *links, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf_put_u32(out, links ? atomic_load_explicit(&links[i], memory_order_relaxed) : NO_SLOT);
}

/* Does it live, and was it in the graph when the save began?  Who was read from a file has no place in the queue. */
static bool
is_settled(const Saver *saver, uint32_t slot)
{
	uint64_t	born;

	if (graph_fate(saver->h, slot) != FATE_LIVE)
		return false;
	born = atomic_load_explicit(&graph_life(saver->h, slot)->born, memory_order_relaxed);
	return born < saver->begun || born == 0;
}

/* What the slot is in the file; a note is written for one that lives. */
static FileState
judge(Saver *saver, uint32_t slot)
{
	Hnsw	   *h = saver->h;
	SlotState	state = (SlotState) atomic_load_explicit(&graph_meta(h, slot)->state, memory_order_acquire);
	size_t		begin = saver->notes.len;

	if (state != SLOT_LINKED && state != SLOT_TWIN)
		return FILE_NONE;
	if (graph_fate(h, slot) == FATE_LIVE && !is_settled(saver, slot))
		return FILE_NONE;
	if (graph_fate(h, slot) == FATE_LIVE)
	{
		buf_put_u32(&saver->notes, 0);
		if (saver->save->note(saver->save->arg, slot, &saver->notes))
		{
			buf_set_u32(&saver->notes, begin, (uint32_t) (saver->notes.len - begin - 4));
			return state == SLOT_LINKED ? FILE_NODE : FILE_TWIN;
		}
		saver->notes.len = begin;
	}
	/* Nothing leads through one that is dead in a table, or not yet alive. */
	if (graph_is_table(h))
		return FILE_NONE;
	/* Nothing but its own chain leads through a dead twin. */
	return state == SLOT_LINKED ? FILE_DEAD : FILE_NONE;
}

/* Will the file have it alive? */
static bool
is_kept(Saver *saver, uint32_t slot)
{
	size_t		begin = saver->notes.len;
	bool		kept = is_settled(saver, slot) && saver->save->note(saver->save->arg, slot, &saver->notes);

	saver->notes.len = begin;
	return kept;
}

/* The next in a chain of twins that is kept: a chain that led to another would end there, and what is behind wait to be linked anew. */
static uint32_t
next_twin(Saver *saver, const Meta *meta)
{
	uint32_t	twin = atomic_load_explicit(&meta->twin, memory_order_acquire);

	while (twin != NO_SLOT && !is_kept(saver, twin))
		twin = atomic_load_explicit(&graph_meta(saver->h, twin)->twin, memory_order_acquire);
	return twin;
}

/* Copy the slots from `first` on into saver->block; the caller is inside a guard. */
static void
copy_block(Saver *saver, uint32_t first, uint32_t n)
{
	Hnsw	   *h = saver->h;
	Buf		   *block = &saver->block;
	uint8_t    *states = vt_alloc(n);
	uint32_t	used = atomic_load_explicit(&h->used, memory_order_acquire);	/* compaction may have cut off some */

	buf_clear(block);
	buf_clear(&saver->upper);
	buf_clear(&saver->notes);
	buf_reserve(block, (size_t) n * (FILE_SLOT + sizeof(uint32_t) * h->m0));
	for (uint32_t i = 0; i < n; i++)
	{
		FileState	state = first + i < used ? judge(saver, first + i) : FILE_NONE;
		Meta	   *meta;
		uint8_t		level;

		states[i] = (uint8_t) state;
		if (state == FILE_NONE)
		{
			buf_put_zeros(block, FILE_SLOT);
			continue;
		}
		meta = graph_meta(h, first + i);
		level = atomic_load_explicit(&meta->level, memory_order_relaxed);
		buf_put_u64(block, meta->label);
		buf_put_u32(block, next_twin(saver, meta));
		buf_put_u8(block, (uint8_t) state);
		buf_put_u8(block, level);
		buf_put_u16(block, 0);
		if (state != FILE_TWIN && level > 0)
			put_links(&saver->upper, atomic_load_explicit(&meta->upper, memory_order_acquire),
					  level * h->opt.m);
	}
	for (uint32_t i = 0; i < n; i++)
		put_links(block, states[i] == FILE_NODE || states[i] == FILE_DEAD ? graph_ground(h, first + i) : NULL,
				  h->m0);
	buf_put(block, saver->upper.data, saver->upper.len);
	buf_put(block, saver->notes.data, saver->notes.len);
	free(states);
}

static VtStatus
save_block(Saver *saver, uint32_t first, uint32_t n, VtError *err)
{
	uint32_t	guard = hnsw_enter(saver->h);
	uint64_t	checksum;
	size_t		length;
	VtStatus	status;

	copy_block(saver, first, n);
	hnsw_leave(saver->h, guard);
	length = saver->block.len;
	checksum = hash_checksum(buf_bytes(&saver->block));
	buf_put_u64(&saver->table, saver->at);
	buf_put_u64(&saver->table, length);
	buf_put_u64(&saver->table, checksum);
	buf_put_zeros(&saver->block, (FILE_ALIGN - length % FILE_ALIGN) % FILE_ALIGN);
	if (saver->save->pace && !saver->save->pace(saver->save->arg, saver->block.len))
		return vt_fail(err, VT_CANCELLED, "the graph was not saved");
	status = write_all(saver->fd, buf_bytes(&saver->block), saver->at, saver->save->path, err);
	if (status == VT_OK)
		/* The disk begins now, so that the sync at the end is short. */
		(void) sync_file_range(saver->fd, (off_t) saver->at, (off_t) saver->block.len, SYNC_FILE_RANGE_WRITE);
	saver->at += saver->block.len;
	return status;
}

static VtStatus
save_head(Saver *saver, VtError *err)
{
	const HnswOptions *opt = &saver->h->opt;
	Bytes		tag = saver->save->tag;
	uint32_t	blocks = (uint32_t) (saver->table.len / FILE_TABLE_ROW);
	uint64_t	checksum = hash_checksum(buf_bytes(&saver->table));
	Buf			head = {0};
	VtStatus	status;

	buf_put(&head, FILE_MAGIC, 8);
	buf_put_u32(&head, FILE_FORMAT);
	buf_put_u32(&head, FILE_ORDER);
	buf_put_u64(&head, saver->at);
	buf_put_u32(&head, opt->dim);
	buf_put_u32(&head, (uint32_t) opt->metric);
	buf_put_u32(&head, opt->m);
	buf_put_u32(&head, opt->ef_construction);
	buf_put_u32(&head, (uint32_t) opt->codes);
	buf_put_u32(&head, saver->slots);
	buf_put_u32(&head, FILE_BLOCK_SLOTS);
	buf_put_u32(&head, blocks);
	buf_put_u64(&head, saver->save->seed ? saver->save->seed : opt->seed);
	buf_put_string(&head, tag);
	buf_put_zeros(&head, FILE_AT_ELEMENT - head.len);
	buf_put_u32(&head, file_element(opt->element));
	buf_put_u32(&head, atomic_load_explicit(&saver->h->spread, memory_order_relaxed));
	buf_put_zeros(&head, FILE_AT_CHECKSUM - head.len);
	buf_put_u64(&head, hash_checksum(buf_bytes(&head)));
	buf_put(&head, saver->table.data, saver->table.len);
	buf_put_u64(&head, checksum);
	status = write_all(saver->fd, buf_bytes(&head), 0, saver->save->path, err);
	buf_free(&head);
	return status;
}

static VtStatus
save_all(Saver *saver, VtError *err)
{
	uint32_t	blocks = (saver->slots + FILE_BLOCK_SLOTS - 1) / FILE_BLOCK_SLOTS;
	VtStatus	status = VT_OK;

	saver->at = FILE_HEAD + (uint64_t) blocks * FILE_TABLE_ROW + 8;
	saver->at += (FILE_ALIGN - saver->at % FILE_ALIGN) % FILE_ALIGN;
	for (uint32_t first = 0; status == VT_OK && first < saver->slots; first += FILE_BLOCK_SLOTS)
	{
		uint32_t	left = saver->slots - first;

		status = save_block(saver, first, left < FILE_BLOCK_SLOTS ? left : FILE_BLOCK_SLOTS, err);
	}
	/* Without blocks the head is all there is. */
	if (status == VT_OK && ftruncate(saver->fd, (off_t) saver->at) < 0)
		status = vt_fail_errno(err, VT_IO, "could not write \"%s\"", saver->save->path);
	if (status == VT_OK)
		status = save_head(saver, err);
	if (status == VT_OK && fsync(saver->fd) < 0)
		status = vt_fail_errno(err, VT_IO, "could not sync \"%s\"", saver->save->path);
	return status;
}

/* The name of a file that was renamed there is durable. */
static VtStatus
sync_parent(const char *path, VtError *err)
{
	char		parent[4096];
	char	   *slash;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (slash)
		*(slash == parent ? slash + 1 : slash) = '\0';
	return directory_sync(slash ? parent : ".", err);
}

VtStatus
hnsw_save(Hnsw *h, const HnswSave *save, VtError *err)
{
	Saver		saver = {.h = h, .save = save};
	char		fresh[4096];
	VtStatus	status;

	Assert(save->tag.len <= FILE_TAG_MAX);
	if ((size_t) snprintf(fresh, sizeof(fresh), "%s" HNSW_SAVE_SUFFIX, save->path) >= sizeof(fresh))
		return vt_fail(err, VT_INVALID, "the path of a graph's file is too long");
	saver.fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (saver.fd < 0)
		return vt_fail_errno(err, VT_IO, "could not create \"%s\"", fresh);
	saver.begun = atomic_load_explicit(&h->head, memory_order_acquire);
	saver.slots = atomic_load_explicit(&h->used, memory_order_acquire);
	status = save_all(&saver, err);
	if (close(saver.fd) < 0 && status == VT_OK)
		status = vt_fail_errno(err, VT_IO, "could not close \"%s\"", fresh);
	if (status == VT_OK && rename(fresh, save->path) < 0)
		status = vt_fail_errno(err, VT_IO, "could not rename \"%s\"", fresh);
	if (status == VT_OK)
		status = sync_parent(save->path, err);
	else
		(void) unlink(fresh);
	buf_free(&saver.block);
	buf_free(&saver.upper);
	buf_free(&saver.notes);
	buf_free(&saver.table);
	return status;
}
