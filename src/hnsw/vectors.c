/*-------------------------------------------------------------------------
 *
 * vectors.c
 *	  Where vectors lie, with the rest of a chunk or in a mapped file, and in which
 *	  numbers, floats or halves, or in bits.
 *
 * With codes alone there are none, and what is read is made from the codes.
 *
 * With codes a walk looks at none of the vectors, and a search measures a few
 * dozen at its end.  So they need not be in memory all the time: in a file that is
 * mapped, the system keeps what is used and takes the memory of the rest when
 * something else wants it.
 *
 * The file is memory that happens to lie on a disk, and no more: it has no name,
 * nothing of it is ever synced, and it is gone with the process.  A slot is at
 * slot * row; a chunk's part is mapped when the chunk begins, so that addresses
 * never change.  Its blocks are allocated before a slot is handed out: a full disk
 * is an error of hnsw_reserve(), not the death of whoever writes into the mapping.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hnsw/graph.h"

#define STEP ((uint64_t) 1 << 20)	/* bytes allocated at a time, at least */
#define SHARE 16				/* and of what there is */

VtStatus
vectors_open(Hnsw *h, VtError *err)
{
	char		path[4096];

	h->vectors_fd = -1;
	if (h->opt.vectors == NULL)
		return VT_OK;
	h->vectors_fd = open(h->opt.vectors, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (h->vectors_fd < 0)
	{
		/* A file system that cannot: with a name for a moment. */
		snprintf(path, sizeof(path), "%s/vectors.XXXXXX", h->opt.vectors);
		h->vectors_fd = mkostemp(path, O_CLOEXEC);
		if (h->vectors_fd < 0)
			return vt_fail_errno(err, VT_IO, "could not make a file for vectors in \"%s\"", h->opt.vectors);
		(void) unlink(path);
	}
	return VT_OK;
}

void
vectors_close(Hnsw *h)
{
	if (h->vectors_fd < 0)
		return;
	for (uint32_t i = 0; i < h->nchunks_max && atomic_load(&h->vectors[i]); i++)
		munmap(atomic_load(&h->vectors[i]), h->vec_row << h->shift);
	close(h->vectors_fd);
}

VtStatus
vectors_add_chunk(Hnsw *h, uint32_t chunk, VtError *err)
{
	size_t		size = h->vec_row << h->shift;
	uint8_t    *part;

	if (h->vectors_fd < 0)
	{
		part = atomic_load_explicit(&h->chunks[chunk], memory_order_relaxed) + h->vec_off;
		atomic_store_explicit(&h->vectors[chunk], part, memory_order_release);
		return VT_OK;
	}
	/* Mostly beyond the end of the file, which vectors_allocate() moves. */
	part = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, h->vectors_fd, (off_t) (size * (uint64_t) chunk));
	if (part == MAP_FAILED)
		return vt_fail_errno(err, VT_NOMEM, "could not map %zu bytes of a graph's vectors", size);
	/* Searches want one here and one there. */
	(void) madvise(part, size, MADV_RANDOM);
	atomic_store_explicit(&h->vectors[chunk], part, memory_order_release);
	return VT_OK;
}

VtStatus
vectors_allocate(Hnsw *h, uint32_t slots, VtError *err)
{
	uint64_t	want = (uint64_t) slots * h->vec_row;
	uint64_t	most;
	int			code;

	if (h->vectors_fd < 0 || want <= h->vectors_bytes)
		return VT_OK;

	/* Not beyond the end of the last chunk. */
	most = (((uint64_t) slots + h->mask) >> h->shift) * (h->vec_row << h->shift);
	want += h->vectors_bytes / SHARE > STEP ? h->vectors_bytes / SHARE : STEP;
	want = want < most ? want : most;
	do
		code = posix_fallocate(h->vectors_fd, (off_t) h->vectors_bytes, (off_t) (want - h->vectors_bytes));
	while (code == EINTR);
	if (code != 0)
	{
		errno = code;
		return vt_fail_errno(err, VT_FULL, "could not allocate disk for a graph's vectors");
	}
	h->vectors_bytes = want;
	return VT_OK;
}

void
vectors_give_back(Hnsw *h, uint32_t from)
{
	uint64_t	bytes = (uint64_t) from * h->vec_row;

	if ((from & h->mask) == 0)
	{
		uint8_t    *part = atomic_load_explicit(&h->vectors[from >> h->shift], memory_order_relaxed);

		atomic_store_explicit(&h->vectors[from >> h->shift], NULL, memory_order_release);
		if (h->vectors_fd >= 0)
			munmap(part, h->vec_row << h->shift);
	}
	if (h->vectors_fd >= 0 && bytes < h->vectors_bytes && ftruncate(h->vectors_fd, (off_t) bytes) == 0)
		h->vectors_bytes = bytes;
}

/* -- Numbers ----------------------------------------------------------------- */

void
vectors_write(Hnsw *h, uint32_t slot, const void *vector)
{
	uint8_t    *row;
	size_t		bytes = vec_kept_bytes(h->opt.element, h->opt.dim);

	if (h->bare)
		return;
	row = graph_vector(h, slot);
	if (h->halves)
	{
		bool		fits = vec_to_half((VecHalf *) row, vector, h->opt.dim);

		Assert(fits);
	}
	else
		memcpy(row, vector, bytes);
	memset(row + bytes, 0, h->vec_row - bytes);
}

void
vectors_read(const Hnsw *h, uint32_t slot, void *out)
{
	const uint8_t *row = h->bare ? graph_codes(h, slot) : graph_vector(h, slot);

	if (h->bare)
	{
		const CodeParams *params = graph_code_params(h, row);
		float	   *numbers = out;

		/* As the kernels do. */
		for (uint32_t i = 0; i < h->opt.dim; i++)
			numbers[i] = params->scale * (float) row[i] + params->offset;
	}
	else if (h->halves)
		vec_from_half(out, (const VecHalf *) row, h->opt.dim);
	else
		memcpy(out, row, vec_given_bytes(h->opt.element, h->opt.dim));
}

double
hnsw_distance(const Hnsw *h, const void *query, uint32_t slot)
{
	const uint8_t *row = h->bare ? graph_codes(h, slot) : graph_vector(h, slot);

	if (h->bare)
	{
		_Alignas(64) float numbers[VEC_MAX_DIM];

		h->kernels->numbers(row, graph_code_params(h, row), h->dim16, numbers);
		return vec_distance(h->opt.metric, query, numbers, h->opt.dim);
	}
	if (h->halves)
		return vec_distance_half(h->opt.metric, query, (const VecHalf *) row, h->opt.dim);
	return vec_distance(h->opt.metric, query, row, h->opt.dim);
}

void
hnsw_read_vector(const Hnsw *h, uint32_t slot, void *out)
{
	vectors_read(h, slot, out);
}
