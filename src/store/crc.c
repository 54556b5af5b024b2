/*-------------------------------------------------------------------------
 *
 * crc.c
 *	  CRC-32C by the processor's instructions, for us and for LevelDB.
 *
 * Debian's LevelDB is built without hardware checksums: a table at a time costs it a
 * fifth of the processor time of a new replica.  It is linked from its archive, in which
 * this one function is a file of its own; under its name here that file is not taken
 * (docs/decisions/0019-checksums-of-leveldb.md).  The values are the same, so are the files.
 *
 *-------------------------------------------------------------------------
 */
#include "crc.h"

#include <isa-l/crc.h>
#include <limits.h>

/* leveldb::crc32c::Extend(uint32_t, const char *, size_t) */
extern uint32_t leveldb_crc32c_extend(uint32_t crc, const char *bytes, size_t n)
			__asm__("_ZN7leveldb6crc32c6ExtendEjPKcm");

uint32_t
crc32c_extend(uint32_t crc, const void *bytes, size_t n)
{
	unsigned char *at = (unsigned char *) bytes;	/* it only reads */

	crc = ~crc;
	while (n > 0)
	{
		int			piece = n < INT_MAX ? (int) n : INT_MAX;

		crc = crc32_iscsi(at, piece, crc);
		at += piece;
		n -= (size_t) piece;
	}
	return ~crc;
}

uint32_t
leveldb_crc32c_extend(uint32_t crc, const char *bytes, size_t n)
{
	return crc32c_extend(crc, bytes, n);
}
