/*-------------------------------------------------------------------------
 *
 * shard_commands.h
 *	  Commands for a shard in this thread, one by one at the next index of its log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_SHARD_COMMANDS_H
#define TEST_SHARD_COMMANDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../src/worker/shard.h"

static uint64_t at;				/* the newest index */

/* At the next index. */
static inline VtStatus
apply(Shard *shard, Buf *bytes, WireWriteResult *result)
{
	ReplicaCommand command = {.index = ++at, .term = 1, .bytes = buf_bytes(bytes)};
	VtError		err = {0};

	assert_int_equal(shard_apply(shard, &command, 1, at, &err), VT_OK);
	assert_int_equal(wire_write_result_get(buf_bytes(&command.reply), result), VT_OK);
	buf_free(&command.reply);
	buf_free(bytes);
	return command.status;
}

static inline WireWrite
write_of(const Shard *shard, WireWriteType type)
{
	return (WireWrite) {.type = type, .route = {.generation = shard->desc.generation, .owner = shard->desc.owner, .shard = shard->desc.shard,
		.range_ver = shard->desc.range_ver}
	};
}

static inline VtStatus
put(Shard *shard, uint64_t session, uint64_t sequence, uint64_t settled, const char *id, WireWriteResult *result)
{
	WireWrite	write = write_of(shard, WRITE_PUT);
	uint8_t		vector[4] = {0};
	WireRecord	record = {.id = bytes_str(id), .dim = 1, .vector = vector};
	Buf			bytes = {0};
	size_t		begin;

	write.session = session;
	write.sequence = sequence;
	write.settled = settled;
	begin = wire_write_begin(&bytes, &write);
	wire_record_put(&bytes, WRITE_PUT, &record);
	wire_write_end(&bytes, begin, 1);
	return apply(shard, &bytes, result);
}

/* version: as it is there, without a session. */
static inline VtStatus
forget(Shard *shard, uint64_t session, uint64_t sequence, uint64_t version, const char *id, WireWriteResult *result)
{
	WireWrite	write = write_of(shard, WRITE_DELETE);
	WireRecord	record = {.id = bytes_str(id), .version = version};
	Buf			bytes = {0};
	size_t		begin;

	write.session = session;
	write.sequence = write.settled = sequence;
	begin = wire_write_begin(&bytes, &write);
	wire_record_put(&bytes, WRITE_DELETE, &record);
	wire_write_end(&bytes, begin, 1);
	return apply(shard, &bytes, result);
}

static inline VtStatus
open_session(Shard *shard, uint64_t *session)
{
	WireWrite	write = write_of(shard, WRITE_OPEN);
	WireWriteResult result;
	Buf			bytes = {0};
	VtStatus	status;

	wire_write_end(&bytes, wire_write_begin(&bytes, &write), 0);
	status = apply(shard, &bytes, &result);
	*session = result.index;
	return status;
}

#endif							/* TEST_SHARD_COMMANDS_H */
