/*-------------------------------------------------------------------------
 *
 * hash.c
 *	  XXH3-64 by libxxhash.
 *
 *-------------------------------------------------------------------------
 */
#include "base/hash.h"

#include <xxhash.h>

uint64_t
hash_place(Bytes id, uint64_t seed)
{
	return XXH3_64bits_withSeed(id.data, id.len, seed);
}

uint64_t
hash_checksum(Bytes data)
{
	return XXH3_64bits(data.data, data.len);
}

uint64_t
hash_checksum2(Bytes head, Bytes tail)
{
	return XXH3_64bits_withSeed(tail.data, tail.len, XXH3_64bits(head.data, head.len));
}
