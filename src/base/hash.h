/*-------------------------------------------------------------------------
 *
 * hash.h
 *	  The one hash function: XXH3-64, for placing ids and for checksums.
 *
 * hash_place() decides which shard owns an id, so it is part of the disk and
 * wire formats: kind HASH_XXH3_64 with the seed of the collection.
 * hash_checksum() guards frames, log entries and files against damage, not
 * against malice.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

#define HASH_XXH3_64 1			/* kind of hash, in descriptors */

extern uint64_t hash_place(Bytes id, uint64_t seed);
extern uint64_t hash_checksum(Bytes data);

/* Checksum of two pieces: the tail's, seeded with the head's. */
extern uint64_t hash_checksum2(Bytes head, Bytes tail);

#endif							/* BASE_HASH_H */
