/*-------------------------------------------------------------------------
 *
 * request.c
 *	  What an answer means, when to try again, and small things every call
 *	  needs.
 *
 * Three kinds of no.  Passing ones (not the leader, busy, connection lost) are
 * asked again until the deadline.  Route ones (wrong shard, unknown
 * generation) are too, after a look at PD: a worker that does not know a
 * generation may be the wrong worker, only PD's word on it is final.  All
 * others are passed on at once.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "private.h"

#define BACKOFF_FIRST_US 4000
#define BACKOFF_LAST_US 500000
#define BACKOFF_LAST_REPLICATED_US 50000	/* an election mostly takes less */
#define HOP_PAUSE_US 2000
#define TRY_US 2000000			/* of one replica among several; doubles with each round */

bool
status_is_passing(VtStatus status)
{
	switch (status)
	{
		case VT_TIMEOUT:
		case VT_UNAVAILABLE:
		case VT_BUSY:
		case VT_NOT_LEADER:
		case VT_WRONG_SHARD:
		case VT_BEHIND:
		case VT_STOPPING:
		case VT_FOREIGN:		/* who is asked; ours may be found elsewhere, or come back */
			return true;
		default:
			return false;
	}
}

static Advice
advice_of(VtStatus status)
{
	switch (status)
	{
		case VT_OK:
			return ADVICE_DONE;
		case VT_BUSY:
		case VT_BEHIND:
		case VT_TIMEOUT:
			return ADVICE_RETRY;
		case VT_UNAVAILABLE:
		case VT_STOPPING:
		case VT_NOT_LEADER:
		case VT_WRONG_SHARD:
		case VT_UNKNOWN_GENERATION:
		case VT_GONE:
			return ADVICE_REFRESH;
		default:
			return ADVICE_FAIL;
	}
}

Advice
answer_get(const Request *request, const WireShardDesc *desc, bool covering, Answer *out)
{
	VtStatus	status;
	WireReply  *head = &out->head;

	Assert(request->done);
	memset(out, 0, sizeof(*out));
	out->asked = request->endpoint;
	if (request->status != VT_OK)
	{
		vt_fail(&out->err, request->status, "shard %" PRIu64 " at %s", desc->shard,
				vt_error_words(&request->err));
		head->status = request->status;
		return request->definite ? ADVICE_FAIL : ADVICE_REFRESH;
	}
	status = wire_reply_get(buf_bytes(&request->reply), head, &out->body);
	if (status != VT_OK)
	{
		memset(head, 0, sizeof(*head));
		head->status = status;
		vt_fail(&out->err, status, "shard %" PRIu64 " at %s: malformed reply", desc->shard,
				request->endpoint);
		return ADVICE_FAIL;
	}
	if (head->status != VT_OK)
	{
		Bytes		words = head->message.len ? head->message : bytes_str(vt_status_words(head->status));

		vt_fail(&out->err, head->status, "shard %" PRIu64 " at %s: %.*s", desc->shard,
				request->endpoint, (int) (words.len < 160 ? words.len : 160),
				(const char *) words.data);
		if (head->status == VT_WRONG_SHARD)
			out->splits = out->body;
		out->full = head->status == VT_BUSY && head->shard == 0;
		return advice_of(head->status);
	}
	if (head->shard != desc->shard || head->incarnation != desc->incarnation ||
		(covering && (head->first != desc->first || head->last != desc->last) && !vt_broken("D1-tiles")))
	{
		head->status = VT_WRONG_SHARD;
		vt_fail(&out->err, VT_WRONG_SHARD,
				"shard %" PRIu64 " at %s: the answer is from shard %" PRIu64 ", life %" PRIu64
				", and covers %016" PRIx64 "-%016" PRIx64 " of %016" PRIx64 "-%016" PRIx64,
				desc->shard, request->endpoint, head->shard, head->incarnation, head->first,
				head->last, desc->first, desc->last);
		return ADVICE_REFRESH;
	}
	return ADVICE_DONE;
}

void
retry_note_failure(Retry *retry, VtStatus status, const VtError *err)
{
	retry->last = *err;
	retry->last.code = status;
	retry->refresh = true;
}

/* Turn to the next replica of a shard; PD is asked when all have been tried. */
static void
turn(Client *client, Retry *retry, const ClientShard *shard, const char *endpoint)
{
	retry->replicated = true;
	if (route_miss(client, shard, endpoint))
		retry->refresh = true;
	else
		retry->hop = true;
}

void
retry_note(Client *client, Retry *retry, const ClientShard *shard, Advice advice, const Answer *answer)
{
	VtStatus	status = answer->head.status;

	retry->last = answer->err;
	/* A worker's word on a generation must never look like PD's. */
	if (retry->last.code == VT_UNKNOWN_GENERATION || retry->last.code == VT_GONE)
		retry->last.code = VT_UNAVAILABLE;
	if (answer->head.retry_after_ms > retry->after_ms)
		retry->after_ms = answer->head.retry_after_ms;
	if (route_take_splits(client, &shard->desc, answer->splits))
	{
		retry->told = true;
		return;
	}
	if (shard->nplaces <= 1)
		retry->refresh |= advice == ADVICE_REFRESH;
	else if (status != VT_BUSY)
	{
		turn(client, retry, shard, answer->asked);
		/* The route itself may be old. */
		retry->refresh |= status == VT_WRONG_SHARD || status == VT_UNKNOWN_GENERATION || status == VT_GONE;
	}
}

void
retry_note_lost(Client *client, Retry *retry, const ClientShard *shard, VtStatus status,
				const VtError *err)
{
	retry->last = *err;
	retry->last.code = status;
	if (shard->nplaces <= 1)
		retry->refresh = true;
	else
		turn(client, retry, shard, shard->endpoint);
}

int64_t
try_until(const Retry *retry, const ClientShard *shard, int64_t deadline_us)
{
	int64_t		until = clock_now_us() + ((int64_t) TRY_US << (retry->tries < 6 ? retry->tries : 6));

	return shard->nplaces <= 1 || until > deadline_us ? 0 : until;
}

int64_t
retry_pause(Client *client, Retry *retry)
{
	int64_t		last = retry->replicated ? BACKOFF_LAST_REPLICATED_US : BACKOFF_LAST_US;
	int64_t		pause = BACKOFF_FIRST_US;
	bool		hops = retry->hop && !retry->refresh;
	bool		at_once = retry->told && !retry->hop && !retry->refresh && retry->after_ms == 0;

	retry->told = false;
	if (at_once)
		return 0;
	/* Half of it at random, so that many backends do not come back at once. */
	for (uint32_t i = 0; i < retry->tries && pause < last; i++)
		pause *= 2;
	pause = hops ? HOP_PAUSE_US : pause < last ? pause : last;
	pause = pause / 2 + prng_below(&client->prng, (uint32_t) (pause / 2));
	/* What one replica wishes is not for the next. */
	if (!hops && pause < (int64_t) retry->after_ms * 1000)
		pause = (int64_t) retry->after_ms * 1000;
	if (!hops)
		retry->tries++;
	retry->hop = false;
	retry->after_ms = 0;
	return pause;
}

VtStatus
retry_wait(Client *client, Retry *retry, int64_t deadline_us, VtError *err)
{
	int64_t		pause = retry_pause(client, retry);
	int64_t		now = clock_now_us();
	int64_t		until = deadline_us - now > pause ? now + pause : deadline_us;

	while ((now = clock_now_us()) < until)
	{
		VtStatus	status = pump(client, until, err);

		if (status != VT_OK && status != VT_TIMEOUT)
			return status;
	}
	if (now < deadline_us)
		return VT_OK;
	if (retry->last.code == VT_OK)
		return vt_fail(err, VT_TIMEOUT, "nobody could be asked in time");
	if (err)
		*err = retry->last;
	return retry->last.code;
}

VtStatus
unanswered(const Retry *retry, const ClientShard *shard, VtError *err)
{
	if (retry->tries > 0 && retry->last.code != VT_OK)
	{
		if (err)
			*err = retry->last;
		return retry->last.code;
	}
	return vt_fail(err, VT_TIMEOUT, "shard %" PRIu64 " at %s did not answer in time",
				   shard->desc.shard, shard->endpoint);
}

VtStatus
malformed(const ClientShard *shard, VtError *err)
{
	return vt_fail(err, VT_PROTOCOL, "shard %" PRIu64 " at %s: malformed reply", shard->desc.shard,
				   shard->endpoint);
}

uint32_t
deadline_ms(int64_t deadline_us)
{
	int64_t		left = (deadline_us - clock_now_us()) / 1000;

	return left < 1 ? 1 : left > INT32_MAX ? INT32_MAX : (uint32_t) left;
}

WireRoute
route_of(const WireShardDesc *desc, const WireOwner *owner, int64_t deadline_us)
{
	WireRoute	route;

	memset(&route, 0, sizeof(route));
	route.generation = desc->generation;
	route.shard = desc->shard;
	route.range_ver = desc->range_ver;
	route.owner = *owner;
	route.deadline_ms = deadline_ms(deadline_us);
	return route;
}

static const uint8_t *
floats_le(Buf *scratch, const float *vector, uint32_t dim)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	(void) scratch;
	(void) dim;
	return (const uint8_t *) vector;
#else
	buf_clear(scratch);
	for (uint32_t i = 0; i < dim; i++)
		buf_put_f32(scratch, vector[i]);
	return scratch->data;
#endif
}

static const uint8_t *
halves_le(Buf *scratch, const float *vector, uint32_t dim)
{
	VecHalf    *halves;
	bool		fits;

	buf_clear(scratch);
	buf_reserve(scratch, sizeof(VecHalf) * dim);
	halves = (VecHalf *) scratch->data;
	fits = vec_to_half(halves, vector, dim);
	Assert(fits);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	for (uint32_t i = 0; i < dim; i++)
		put_le16(scratch->data + sizeof(VecHalf) * i, halves[i]);
#endif
	return scratch->data;
}

const uint8_t *
vector_on_wire(Buf *scratch, VecElement element, const void *vector, uint32_t dim)
{
	switch (element)
	{
		case VEC_BIT:
			return vector;
		case VEC_FLOAT16:
			return halves_le(scratch, vector, dim);
		default:
			return floats_le(scratch, vector, dim);
	}
}

/* -- Marks ----------------------------------------------------------------- */

void
marks_reset(ClientMarks *marks)
{
	if (marks)
		memset(marks, 0, sizeof(*marks));
}

void
marks_note_route(ClientMarks *marks, uint64_t version, const ClientShard *shards, uint32_t n)
{
	if (!marks)
		return;
	if (version > marks->route_version)
		marks->route_version = version;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	k = 0;

		if (!shards[i].told)
			continue;
		while (k < marks->ntold && k < CLIENT_TOLD_MAX && marks->told[k].shard != shards[i].desc.shard)
			k++;
		marks->ntold += k == marks->ntold;
		if (k == CLIENT_TOLD_MAX)
			continue;			/* too many to be named, of several routes */
		marks->told[k] = (ClientMark) {.shard = shards[i].desc.shard, .incarnation = shards[i].desc.incarnation,
			.range_ver = shards[i].desc.range_ver};
	}
}

void
client_marks_free(ClientMarks *marks)
{
	if (!marks)
		return;
	free(marks->items);
	memset(marks, 0, sizeof(*marks));
}

void
marks_note(ClientMarks *marks, uint64_t shard, uint64_t incarnation, uint64_t index)
{
	ClientMark *mark = NULL;

	if (!marks)
		return;
	for (uint32_t i = 0; i < marks->n && !mark; i++)
		if (marks->items[i].shard == shard)
			mark = &marks->items[i];
	if (!mark)
	{
		marks->items = vt_realloc(marks->items, sizeof(ClientMark) * (marks->n + 1));
		mark = &marks->items[marks->n++];
		memset(mark, 0, sizeof(*mark));
		mark->shard = shard;
	}
	if (mark->incarnation != incarnation)
	{
		mark->incarnation = incarnation;
		mark->index = 0;
	}
	if (index > mark->index)
		mark->index = index;
}
