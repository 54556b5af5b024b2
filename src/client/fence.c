/*-------------------------------------------------------------------------
 *
 * fence.c
 *	  Questions to the whole generation: marks and counts, the raise of the
 *	  fence, the frame of a bulk load.
 *
 * Raising (law W5) gives the generation one new number that is higher than
 * every shard's.  All fences are read afresh, then the raise to one above the
 * highest goes through every shard's log; a shard takes it only if it is higher
 * than its own.  A shard that did not take it has met another raise (or our own,
 * sent twice because its answer was lost): then everything starts again with
 * fresh numbers, so at the end all shards took the same raise of this call.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>

#include "base/breaks.h"
#include "private.h"

static void
encode_read(Buf *out, const WireRoute *route, void *arg)
{
	WireRead	read = {*route};

	(void) arg;
	wire_read_put(out, &read);
}

VtStatus
client_read_index(Client *client, const VtId *generation, const WireOwner *owner,
				  int64_t deadline_us, ClientMarks *marks, uint64_t *records, uint64_t *unindexed,
				  VtError *err)
{
	FanOut		fan;
	uint64_t	fence = 0;
	WireReadResult sum = {0};
	VtStatus	status;

	marks_reset(marks);
	status = fanout(client, generation, owner, WIRE_READ_INDEX, encode_read, NULL, deadline_us, &fan,
					&fence, err);
	for (uint32_t i = 0; i < fan.n && status == VT_OK; i++)
	{
		WireReadResult one;

		status = wire_read_result_get(fan.answers[i].body, &one);
		if (status != VT_OK)
		{
			malformed(&fan.shards[i], err);
			break;
		}
		sum.records += one.records;
		sum.unindexed += one.unindexed;
		if (one.lsn > sum.lsn)
			sum.lsn = one.lsn;
		marks_note(marks, fan.shards[i].desc.shard, fan.answers[i].head.incarnation,
				   fan.answers[i].head.applied);
	}
	if (marks)
	{
		marks->fence = fence;
		marks->lsn = sum.lsn;
		marks_note_route(marks, fan.route_version, fan.shards, fan.n);
	}
	if (records)
		*records = sum.records;
	if (unindexed)
		*unindexed = sum.unindexed;
	fanout_free(&fan);
	if (status != VT_OK)
		client_marks_free(marks);
	return status;
}

/* A command without records, for every shard. */
static void
encode_plain(Buf *out, const WireRoute *route, void *arg)
{
	WireWrite	write = *(const WireWrite *) arg;

	write.route = *route;
	wire_write_end(out, wire_write_begin(out, &write), 0);
}

static VtStatus
command_all(Client *client, const ClientWriter *writer, WireWrite *write, ClientMarks *marks,
			uint64_t *fence, bool *all_took, VtError *err)
{
	FanOut		fan;
	VtStatus	status;

	write->timeline = writer->timeline;
	write->lsn = writer->lsn;
	status = fanout(client, &writer->generation, &writer->owner, WIRE_WRITE, encode_plain, write,
					writer->deadline_us, &fan, fence, err);
	*all_took = true;
	for (uint32_t i = 0; i < fan.n && status == VT_OK; i++)
	{
		WireWriteResult result;

		status = wire_write_result_get(fan.answers[i].body, &result);
		if (status != VT_OK)
		{
			malformed(&fan.shards[i], err);
			break;
		}
		if (!result.took && !vt_broken("W5-strict"))
			*all_took = false;
		marks_note(marks, fan.shards[i].desc.shard, fan.answers[i].head.incarnation, result.index);
	}
	marks_note_route(marks, fan.route_version, fan.shards, fan.n);
	fanout_free(&fan);
	return status;
}

VtStatus
client_raise(Client *client, const ClientWriter *writer, uint64_t *fence, ClientMarks *marks,
			 VtError *err)
{
	marks_reset(marks);
	for (;;)
	{
		WireWrite	raise = {.type = WRITE_RAISE};
		FanOut		fan;
		uint64_t	highest = writer->fence;
		bool		all_took = false;
		VtStatus	status;

		status = fanout(client, &writer->generation, &writer->owner, WIRE_READ_INDEX, encode_read,
						NULL, writer->deadline_us, &fan, &highest, err);
		fanout_free(&fan);
		if (status != VT_OK)
			return status;
		if (highest >= UINT64_MAX - 1)
			return vt_fail(err, VT_CORRUPT, "a shard has a fence of %" PRIu64, highest);
		client_marks_free(marks);
		raise.fence = highest;
		raise.fence_to = highest + 1;
		if (!vt_broken("W5-raise"))
			status = command_all(client, writer, &raise, marks, &highest, &all_took, err);
		if (status == VT_OK && (all_took || vt_broken("W5-raise")))
		{
			*fence = raise.fence_to;
			if (marks)
				marks->fence = raise.fence_to;
			return VT_OK;
		}
		if (status != VT_OK && status != VT_FENCED)
		{
			client_marks_free(marks);
			return status;
		}
		if (clock_now_us() >= writer->deadline_us)
		{
			client_marks_free(marks);
			return vt_fail(err, VT_TIMEOUT, "others keep raising the fence: no raise of ours was taken by all shards");
		}
	}
}

VtStatus
client_ingest(Client *client, const ClientWriter *writer, bool begin, ClientMarks *marks,
			  VtError *err)
{
	WireWrite	write = {.type = begin ? WRITE_INGEST_BEGIN : WRITE_INGEST_END};
	uint64_t	fence = 0;
	bool		all_took;
	VtStatus	status;

	marks_reset(marks);
	write.fence = writer->fence;
	status = command_all(client, writer, &write, marks, &fence, &all_took, err);
	if (status != VT_OK)
		client_marks_free(marks);
	if (marks)
		marks->fence = fence;
	return status;
}
