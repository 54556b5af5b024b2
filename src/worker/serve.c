/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  What a gateway may ask of a shard: the door, writes, and index reads.
 *
 * What is refused here is refused early, to save work; the state machine decides
 * again at apply.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "serve.h"

#define FULL_WAIT_MS 50			/* before it is asked again whether memory has gone down, or more is applied */

VtStatus
shard_is_whole(Shard *shard)
{
	ReplicaStatus replica;

	if (atomic_load(&shard->whole))
		return VT_OK;
	replica_status(shard->replica, &replica);
	if (replica.leader ? !replica.serving : !replica.current)
		return VT_BUSY;
	if (replica.applied < shard->newest)
		return replica.leader ? VT_CORRUPT : VT_BUSY;
	atomic_store(&shard->whole, true);
	return VT_OK;
}

/* A child that serves nobody yet, if what it is to have is lent; else the shard itself.  Held; NULL: neither is here. */
static Shard *
find_or_lender(Worker *worker, Request *request, uint64_t id, bool *lent)
{
	Shard	   *shard = worker_find_shard(worker, id);
	Shard	   *lender = NULL;

	if (!shard || (request->type == WIRE_SEARCH && shard_is_whole(shard) != VT_OK))
		lender = worker_find_lender(worker, id);
	*lent = lender != NULL;
	if (lender && shard)
		shard_release(shard);
	return lender ? lender : shard;
}

bool
serve_find_shard(Worker *worker, Request *request, const WireRoute *route)
{
	bool		lent;
	Shard	   *shard = find_or_lender(worker, request, route->shard, &lent);
	VtStatus	status = VT_OK;

	request->shard = shard;
	request->asked = route->shard;
	request->range_ver = route->range_ver;
	if (!shard)
		status = VT_WRONG_SHARD;
	else if (atomic_load(&shard->installing))
		status = VT_BUSY;
	else if (!net_conn_may_own(request->conn, shard->desc.owner.system))
		status = VT_DENIED;
	else if (!vt_id_equal(&shard->desc.generation, &route->generation))
		status = VT_UNKNOWN_GENERATION;
	else if (!wire_owner_equal(&shard->desc.owner, &route->owner) && !vt_broken("W7-owner"))
		status = VT_NOT_OWNER;
	else if (shard_went_back(&shard->desc) && !vt_broken("W7-life"))
		status = VT_LOST;
	else if (!shard_view(shard, route->shard, route->range_ver, &request->view))
		status = VT_WRONG_SHARD;
	else if (request->view.lent && request->type != WIRE_SEARCH)
		status = lent ? VT_NOT_LEADER : VT_WRONG_SHARD;
	else if (clock_now_us() - request->received_us > (int64_t) route->deadline_ms * 1000)
		status = VT_TIMEOUT;
	else
		status = shard_is_whole(shard);
	if (status == VT_OK)
		return true;
	request_refuse(request, status, status == VT_LOST ? SHARD_WENT_BACK_WORDS :
				   status == VT_CORRUPT ? "the shard's log ends before its rows: acknowledged writes are lost" : NULL);
	return false;
}

bool
serve_still_holds(Request *request)
{
	if (shard_route_holds(request->shard, request->range_ver))
		return true;
	request_refuse(request, VT_WRONG_SHARD, "the shard was split meanwhile");
	return false;
}

bool
serve_is_own(const Shard *shard, uint64_t first, uint64_t last, Bytes id)
{
	uint64_t	place;

	if (first == shard->desc.first && last == shard->born_last)
		return true;
	place = wire_place(&shard->desc, id);
	return place >= first && place <= last;
}

/* -- Writes ---------------------------------------------------------------- */

static void
on_written(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Request    *request = (Request *) arg;
	WireReply	head = request_head(request, status);

	if (index)
		head.applied = index;
	if (status != VT_OK)
		head.message = bytes_str(vt_status_words(status));
	if (status == VT_BUSY || status == VT_NOT_LEADER)
		head.retry_after_ms = 10;
	request_finish(request, &head, reply);
}

static void
serve_write(Worker *worker, Request *request)
{
	WireWrite	write;
	VtError		err = {0};
	const char *words;
	VtStatus	status = wire_write_get(buf_bytes(&request->payload), &write, &err);

	if (status != VT_OK)
	{
		request_refuse(request, status, err.msg);
		return;
	}
	if (write.type == WRITE_VERIFY || write.type == WRITE_EXPIRE)
	{
		request_refuse(request, VT_INVALID, "that is for the leader of the shard to write");
		return;
	}
	if (!serve_find_shard(worker, request, &write.route))
		return;
	if (write.type == WRITE_SPLIT)
	{
		request_refuse(request, VT_DENIED, "shards are split by the placement driver");
		return;
	}
	/* Nothing comes into the log that an older release may not know, below the level of such collections. */
	if (!shard_vectors_fit(request->shard, &write))
	{
		request_refuse(request, VT_INVALID, "the vectors of the records are not those of the collection: other dimensions, another element, or none");
		return;
	}
	if (!shard_attributes_fit(request->shard, &write))
	{
		request_refuse(request, VT_INVALID, "the attributes of a record are not those that the collection declares");
		return;
	}
	if (write.type == WRITE_PUT || write.type == WRITE_DELETE)
	{
		status = worker_admit_entry(worker, request->shard, &words);
		if (status != VT_OK)
		{
			request_refuse_for(request, status, words, FULL_WAIT_MS);
			return;
		}
	}
	if (write.type == WRITE_PUT)
	{
		uint32_t	wait_ms;

		status = worker_admit(worker, request->shard, request->payload.len, &words);
		if (status != VT_OK)
		{
			request_refuse_for(request, status, words, status == VT_BUSY ? FULL_WAIT_MS : 0);
			return;
		}
		wait_ms = indexer_wait_ms(worker->indexer, request->shard);
		if (wait_ms > 0)
		{
			request_refuse_for(request, VT_BUSY, "the shard's graph has to catch up first", wait_ms);
			return;
		}
	}
	/* A fence too low now will be too low at apply: fences only rise. */
	if ((write.type == WRITE_PUT || write.type == WRITE_DELETE) &&
		write.fence < atomic_load(&request->shard->fence) && !vt_broken("W6-fence"))
	{
		request_refuse(request, VT_FENCED, NULL);
		return;
	}
	replica_propose_soon(request->shard->replica, buf_bytes(&request->payload), on_written, request);
}

/* -- Reads ----------------------------------------------------------------- */

/* On a thread of Raft's: the work itself goes back to the service threads. */
static void
on_read(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Request    *request = (Request *) arg;

	(void) reply;
	if (status != VT_OK)
	{
		request_refuse(request, status, NULL);
		return;
	}
	request->index = index;
	pool_put(request->worker, request);
}

void
serve_when_current(Request *request, RequestThen then, bool anywhere)
{
	uint64_t	index;

	if (replica_read_now(request->shard->replica, &index))
	{
		then(request, index);
		return;
	}
	request->then = then;
	request->out = NULL;
	(anywhere ? replica_read_anywhere : replica_read) (request->shard->replica, on_read, request);
}

static void
answer_read(Request *request, uint64_t index)
{
	WireReply	head = request_head(request, VT_OK);
	WireReadResult result = {records_count(request->shard->records),
		records_waiting(request->shard->records), atomic_load(&request->shard->lsn)};
	Buf			body = {0};

	if (!serve_still_holds(request))
		return;
	head.applied = index;
	wire_read_result_put(&body, &result);
	request_finish(request, &head, buf_bytes(&body));
	buf_free(&body);
}

static void
serve_read(Worker *worker, Request *request)
{
	WireRead	read;
	VtError		err = {0};
	VtStatus	status = wire_read_get(buf_bytes(&request->payload), &read, &err);

	if (status != VT_OK)
		request_refuse(request, status, err.msg);
	else if (serve_find_shard(worker, request, &read.route))
		serve_when_current(request, answer_read, false);
}

/* -- Control --------------------------------------------------------------- */

static void
serve_control(Worker *worker, Request *request)
{
	/* The status tells of everybody's shards. */
	char	   *text = net_conn_system(request->conn) == 0 ? status_answer_json(worker, buf_bytes(&request->payload)) :
		status_refusal_json(VT_DENIED);

	if (strlen(text) > WIRE_PAYLOAD_MAX)
	{
		free(text);
		text = status_refusal_json(VT_FULL);
	}
	net_reply_frame(request->conn, WIRE_CONTROL, request->request, bytes_str(text));
	free(text);
	request_free(request);
}

void
serve(Worker *worker, Request *request)
{
	switch (request->type)
	{
		case WIRE_WRITE:
			serve_write(worker, request);
			break;
		case WIRE_SEARCH:
			serve_search(worker, request);
			break;
		case WIRE_LIST:
			serve_list(worker, request);
			break;
		case WIRE_READ_INDEX:
			serve_read(worker, request);
			break;
		case WIRE_CONTROL:
			serve_control(worker, request);
			break;
		default:
			request_refuse(request, VT_PROTOCOL, NULL);
			break;
	}
}
