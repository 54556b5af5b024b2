/*-------------------------------------------------------------------------
 *
 * file.h
 *	  Private to hnsw: what a file of a graph looks like.
 *
 * A head, a table, and blocks, each of so many slots that lie next to each
 * other.  docs/disk.md has every field.
 *
 *		head			FILE_HEAD bytes, the last 8 are a checksum of the others
 *		table			for each block: u64 offset, u64 length, u64 checksum
 *		u64				checksum of the table
 *		blocks			each begins at a multiple of FILE_ALIGN
 *
 * A block, of n slots:
 *
 *		n times 16 bytes	u64 label, u32 next twin, u8 FileState, u8 level, u16 0
 *		n times m0 u32		links on the ground, ended by NO_SLOT or by their number
 *		for each node with levels: level times m u32, level 1 first
 *		for each slot that lives: u32 length and its note
 *
 * There are no vectors and no codes in it: whoever loads a file has the vectors
 * from elsewhere, and codes are made from them.  So nothing in a file can make
 * a search answer wrongly; it says who was near whom.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_FILE_H
#define HNSW_FILE_H

#include <stdint.h>

#include "vec/vec.h"

#define FILE_MAGIC "VTGRAPH"	/* and a zero */
#define FILE_FORMAT 1
#define FILE_ORDER UINT32_C(0x01020304)
#define FILE_HEAD 512
#define FILE_ALIGN 64
#define FILE_TAG_MAX 256
#define FILE_BLOCK_SLOTS 16384	/* written; a reader takes 1 to FILE_BLOCK_SLOTS_MAX */
#define FILE_BLOCK_SLOTS_MAX 65536
#define FILE_BLOCK_MAX (UINT64_C(1) << 30)	/* bytes */
#define FILE_TABLE_ROW 24
#define FILE_SLOT 16			/* bytes of a slot before its links */

/* Where the fields of the head are. */
#define FILE_AT_FORMAT 8
#define FILE_AT_ORDER 12
#define FILE_AT_LENGTH 16		/* of the file, u64 */
#define FILE_AT_DIM 24
#define FILE_AT_METRIC 28
#define FILE_AT_M 32
#define FILE_AT_EF 36
#define FILE_AT_CODES 40
#define FILE_AT_SLOTS 44
#define FILE_AT_BLOCK_SLOTS 48
#define FILE_AT_BLOCKS 52
#define FILE_AT_SEED 56			/* u64 */
#define FILE_AT_TAG 64			/* u32 length, then the tag, then zeros */
#define FILE_AT_ELEMENT 324		/* file_element() */
#define FILE_AT_SPREAD 328		/* Hnsw.spread */
#define FILE_AT_CHECKSUM (FILE_HEAD - 8)

typedef enum FileState
{
	FILE_NONE,					/* no slot of the graph */
	FILE_NODE,
	FILE_TWIN,
	FILE_DEAD					/* a node that leads on and is no hit */
} FileState;

/* Floats are the usual case and have zero. */
static inline uint32_t
file_element(VecElement element)
{
	return element == VEC_FLOAT32 ? 0 : (uint32_t) element;
}

#endif							/* HNSW_FILE_H */
