/*-------------------------------------------------------------------------
 *
 * shard_desc.h
 *	  A shard of all ids, with one replica at store 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_SHARD_DESC_H
#define TEST_SHARD_DESC_H

#include <string.h>

#include "base/hash.h"
#include "vec/vec.h"
#include "wire/wire.h"

static inline WireShardDesc
shard_alone(uint64_t shard, uint64_t replica, uint32_t dim)
{
	WireShardDesc desc = {
		.owner = {.system = 42, .database = 5}, .shard = shard, .incarnation = 1, .last = UINT64_MAX, .conf_ver = 1,
		.range_ver = 1, .hash_kind = HASH_XXH3_64, .dim = dim, .metric = VEC_L2, .element = VEC_FLOAT32, .m = 16,
		.ef_construction = 40, .nreplicas = 1, .replicas = {{.store = 1, .replica = replica, .role = 1}}
	};

	memset(desc.generation.b, 7, sizeof(desc.generation.b));
	memset(desc.owner.incarnation.b, 9, sizeof(desc.owner.incarnation.b));
	return desc;
}

#endif							/* TEST_SHARD_DESC_H */
