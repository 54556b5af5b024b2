/*-------------------------------------------------------------------------
 *
 * one_shard.h
 *	  A shard in this thread in a folder of its own, and commands for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_ONE_SHARD_H
#define TEST_ONE_SHARD_H

#include "shard_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shard_desc.h"

static char directory[128];
static WireShardDesc desc;

static inline int
set_up(void **state)
{
	(void) state;
	snprintf(directory, sizeof(directory), "/tmp/vectron-shard.XXXXXX");
	desc = shard_alone(1001, 77, 1);
	at = 0;
	return mkdtemp(directory) ? 0 : -1;
}

static inline int
tear_down(void **state)
{
	char		command[300];

	(void) state;
	/* Where an assertion failed the shard is still open, and its database may make one more file meanwhile. */
	snprintf(command, sizeof(command), "rm -rf %s || rm -rf %s", directory, directory);
	return system(command);
}

/* *replay, unless NULL: the entry after which its log is to be applied. */
static inline Shard *
open_shard(uint64_t id, uint64_t *replay)
{
	Shard	   *shard;
	uint64_t	from;
	VtError		err = {0};

	assert_int_equal(shard_open(directory, id, false, &shard, &from, &err), VT_OK);
	if (replay)
		*replay = from;
	return shard;
}

/* With a checkpoint, so that a start goes on where it stands and there is nothing to replay. */
static inline Shard *
fresh(void)
{
	Shard	   *shard;
	uint64_t	index;

	assert_int_equal(shard_create(directory, &desc, 77, NULL), VT_OK);
	shard = open_shard(desc.shard, NULL);
	assert_int_equal(shard_checkpoint(shard, &index, NULL), VT_OK);
	return shard;
}

#define CHILD 1002

/* The upper half of its interval goes to another. */
static inline void
split_off(Shard *shard)
{
	WireShardDesc child = desc;
	WireRoute	route = write_of(shard, WRITE_SPLIT).route;
	WireWriteResult result;
	Buf			bytes = {0};

	child.shard = CHILD;
	child.parent = desc.shard;
	child.range_ver = 2;
	child.first = UINT64_C(1) << 63;
	wire_split_put(&bytes, &route, &child);
	assert_int_equal(apply(shard, &bytes, &result), VT_OK);
}

static inline bool
is_of_child(const char *id)
{
	return wire_place(&desc, bytes_str(id)) >> 63;
}

/* On disk, of all that is owed to it. */
static inline void
make_child(Shard *shard)
{
	ShardChild	child;
	Heir	   *heir;
	bool		done = false;

	assert_true(shard_find_child(shard, CHILD, &child));
	assert_int_equal(heir_begin(shard, &child, directory, 78, &heir, NULL), VT_OK);
	while (!done)
		assert_int_equal(heir_copy(heir, 1000, &done, NULL), VT_OK);
	assert_int_equal(heir_end(heir, NULL), VT_OK);
	heir_drop(heir);
}

#endif							/* TEST_ONE_SHARD_H */
