/*-------------------------------------------------------------------------
 *
 * crc.h
 *	  Private to store: CRC-32C, the checksum of LevelDB's blocks and log records.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STORE_CRC_H
#define STORE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Of the bytes that `crc` (0: none) was of, followed by n more. */
extern uint32_t crc32c_extend(uint32_t crc, const void *bytes, size_t n);

#endif							/* STORE_CRC_H */
