/*-------------------------------------------------------------------------
 *
 * hnsw_seal.h
 *	  Makes the lengths and checksums of a graph's file right, whatever is in it,
 *	  so that a damaged one gets past them.  For the fuzzer and the unit test.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_SEAL_H
#define HNSW_SEAL_H

#include "../../src/hnsw/file.h"
#include "base/hash.h"

static inline void
seal(uint8_t *file, size_t size)
{
	uint64_t	blocks;
	uint64_t	table;

	if (size < FILE_HEAD)
		return;
	memcpy(file, FILE_MAGIC, 8);
	put_le32(file + FILE_AT_FORMAT, FILE_FORMAT);
	put_le32(file + FILE_AT_ORDER, FILE_ORDER);
	put_le64(file + FILE_AT_LENGTH, size);
	put_le64(file + FILE_AT_CHECKSUM, hash_checksum(bytes_of(file, FILE_AT_CHECKSUM)));
	blocks = get_le32(file + FILE_AT_BLOCKS);
	table = blocks * FILE_TABLE_ROW;
	if (FILE_HEAD + table + 8 > size)
		return;
	for (uint64_t b = 0; b < blocks; b++)
	{
		uint8_t    *row = file + FILE_HEAD + b * FILE_TABLE_ROW;
		uint64_t	at = get_le64(row);
		uint64_t	length = get_le64(row + 8);

		if (at <= size && length <= size - at)
			put_le64(row + 16, hash_checksum(bytes_of(file + at, (size_t) length)));
	}
	put_le64(file + FILE_HEAD + table, hash_checksum(bytes_of(file + FILE_HEAD, (size_t) table)));
}

#endif							/* HNSW_SEAL_H */
