/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  What the answer of a replica is worth, and what follows from one that is none.
 *
 * Batches may come from different replicas, in any order of their applied indexes: a
 * record that the scan must return lies in every view that is not older than the mark,
 * and what was returned is excluded.  An answer that is not of the whole interval, or
 * from before the mark, is none (laws D1, R3), whatever it says.
 *
 * After an answer that was none another replica is asked; when each has had its turn,
 * there is a pause, and PD is asked where they are.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>

#include "base/breaks.h"
#include "fetch.h"

#define BATCH_GROWN_MIN 32
#define BATCH_GROWN_MAX 2048
#define EMPTY_BATCHES_MAX 4

/* What a worker wishes is heard within bounds. */
#define ROOM_LEAST_MS 1
#define ROOM_MOST_MS 10000
#define ROOM_PAUSE_US 50000		/* who has more time comes back so soon: it may have been wrong */

/* -- A try that failed ----------------------------------------------------------- */

/* What is wrong with this replica only: another may do better. */
static bool
is_of_the_place(VtStatus status)
{
	return status == VT_CORRUPT || status == VT_IO || status == VT_NOMEM || status == VT_FULL;
}

/* Then all may be asked again, and PD now and then where they are, or if somebody's answer was reason for that. */
static void
begin_round(Stream *s)
{
	s->tried = 0;
	s->retry.hop = false;
	s->wants_route = s->retry.refresh || s->retry.tries % 4 == 3;
	s->retry.refresh = false;
}

void
stream_round_over(ClientScan *scan, Stream *s)
{
	begin_round(s);
	s->again_us = clock_now_us() + retry_pause(scan->client, &s->retry);
}

/*
 * Others may have less to do, unless they are known to turn away questions, too: to go
 * round there would only give all of them more to do.  Then all shards of a question wait
 * for as long as searches wait there, or not quite, so that those who were turned away
 * together do not come back together, and are asked again, in one message.  Where the
 * deadline is before that the question ends there, and not earlier: an error that comes
 * at once brings the next question at once.
 */
void
stream_wait_for_room(ClientScan *scan, Stream *s, int64_t wait_us, int64_t now_us)
{
	wait_us = wait_us < ROOM_PAUSE_US ? wait_us : ROOM_PAUSE_US;
	if (scan->room_us <= now_us)
		scan->room_us = now_us + wait_us / 2 + prng_below(&scan->client->prng, (uint32_t) (wait_us / 2 + 1));
	scan->let_in[0] = 0;
	begin_round(s);
	s->retry.after_ms = 0;
	s->retry.tries++;
	s->again_us = scan->room_us;
}

/* How long a worker says that searches wait there, within bounds. */
static int64_t
wait_told_us(const Answer *answer)
{
	uint32_t	ms = answer->head.retry_after_ms;

	return (int64_t) (ms < ROOM_LEAST_MS ? ROOM_LEAST_MS : ms < ROOM_MOST_MS ? ms : ROOM_MOST_MS) * 1000;
}

VtStatus
try_failed(ClientScan *scan, Stream *s, Advice advice, const Answer *answer, VtError *err)
{
	const VtError before = s->retry.last;
	uint32_t	place = shard_place(&s->shard, answer->asked);
	VtStatus	status = answer->head.status;
	int64_t		now_us = clock_now_us();

	if (status == VT_NOT_OWNER || status == VT_UNKNOWN_GENERATION || status == VT_GONE)
		route_set_stale(scan->client, &scan->generation);
	if (advice == ADVICE_FAIL && (s->shard.nplaces <= 1 || !is_of_the_place(status)))
	{
		if (err)
			*err = answer->err;
		return status;
	}
	scan->stats.behind += status == VT_BEHIND;
	if (!answer->full)
		choose_note(scan, s, answer->asked, &answer->head);
	retry_note(scan->client, &s->retry, &s->shard, advice, answer);
	if (s->retry.told)
	{
		s->retry.told = false;
		s->again_us = 0;
		s->wants_route = scan->told = true;
		return VT_OK;
	}
	if (status == VT_WRONG_SHARD)
		route_set_stale(scan->client, &scan->generation);
	if (answer->full)
	{
		/* What it wishes is not for the others. */
		pace_full(scan->client->pace, answer->asked, &scan->generation, wait_told_us(answer), now_us);
		s->retry.after_ms = 0;
	}
	/* In the end the one who answered says more than those who did not. */
	if (before.code == VT_BEHIND && (status == VT_UNAVAILABLE || status == VT_TIMEOUT))
		s->retry.last = before;
	if (place < s->shard.nplaces)
		s->tried |= 1u << place;
	if (s->consistency == WIRE_LINEARIZABLE)
	{
		/* The next one at once, after all a pause. */
		if (s->retry.hop && !s->retry.refresh)
			s->again_us = now_us + retry_pause(scan->client, &s->retry);
		else if (!somebody_answers(scan, s) && answer->full)
			stream_wait_for_room(scan, s, wait_told_us(answer), now_us);
		else if (!somebody_answers(scan, s))
			stream_round_over(scan, s);
	}
	else if (!somebody_answers(scan, s))
	{
		place = choose_place(scan, s, now_us);
		if (answer->full && (place == s->shard.nplaces || choose_full_us(scan, s->shard.places[place], now_us) > 0))
			stream_wait_for_room(scan, s, wait_told_us(answer), now_us);
		else if (place == s->shard.nplaces ||
			(tries_on(s) > 0 && pace_is_doubted(scan->client->pace, s->shard.places[place])))
			stream_round_over(scan, s);
	}
	return VT_OK;
}

/* -- Answers --------------------------------------------------------------------- */

/* What a replica found for one scan, at an answer that covers the shard. */
static VtStatus
take_batch(ClientScan *scan, Stream *s, uint64_t conn, const Answer *answer, const WireSearchResult *result, VtError *err)
{
	WireHit		hit;
	size_t		at = 0;
	uint32_t	place;

	scan->stats.batches++;
	scan->stats.exact_batches += result->exact;
	scan->stats.distances += result->distances;
	scan->stats.hops += result->hops;
	if (answer->head.fence > scan->fence)
		scan->fence = answer->head.fence;
	scan->stats.by_leader += result->leader;
	scan->stats.by_follower += !result->leader;
	s->next = s->n = 0;
	while (wire_hit_next(result, &at, &hit))
	{
		uint64_t	hash = wire_place(&s->shard.desc, hit.id);

		if (hash < s->shard.desc.first || hash > s->shard.desc.last)
			return vt_fail(err, VT_CORRUPT, "shard %" PRIu64 " at %s found a record that is not its own",
						   s->shard.desc.shard, answer->asked);
		if (s->seen.ids.len > UINT32_MAX - WIRE_ID_MAX - 8)
			return vt_fail(err, VT_FULL, "the scan has returned too many rows");
		if (seen_add(&s->seen, hit.id, &place))
			stream_add(s, hit.distance, place);
	}
	stream_sort(s);
	s->exhausted = result->exhausted;
	s->lease = result->lease;
	s->lease_conn = conn;
	s->answered = true;
	if (s->consistency == WIRE_LINEARIZABLE)
	{
		/* That is the mark now, for any replica. */
		s->consistency = WIRE_AT_MARK;
		s->mark = answer->head.applied;
	}
	s->k = s->k < BATCH_GROWN_MIN / 2 ? BATCH_GROWN_MIN : s->k * 2;
	s->k = s->k < BATCH_GROWN_MAX ? s->k : BATCH_GROWN_MAX;
	if (s->n > 0)
		s->empty = 0;
	else if (!s->exhausted)
	{
		/* The graph gives no more: the rest is to be scanned. */
		s->exact = true;
		if (++s->empty > EMPTY_BATCHES_MAX)
			return vt_fail(err, VT_PROTOCOL, "shard %" PRIu64 " at %s says it has more records and gives none",
						   s->shard.desc.shard, answer->asked);
	}
	return VT_OK;
}

/* An answer that is VT_OK and covers the shard: for the scan, and those asked together with it. */
static VtStatus
take_answer(ClientScan *scan, Stream *s, const Try *t, const Answer *answer, VtError *err)
{
	int64_t		took = clock_now_us() - t->sent_us;
	uint32_t	at = (uint32_t) (s - scan->streams);
	WireSearchResult results[WIRE_QUERIES_MAX];
	VtStatus	status = scan->nmates > 0 ? wire_search_results_get(answer->body, results, scan->nmates) :
		wire_search_result_get(answer->body, results);

	if (status != VT_OK)
		return malformed(&s->shard, err);
	if (t->typical)
	{
		pace_took(scan->client->pace, took, clock_now_us());
		pace_answered(scan->client->pace, answer->asked, took, results[0].waiting);
	}
	pace_served(scan->client->pace, answer->asked, &scan->generation);
	choose_note(scan, s, answer->asked, &answer->head);
	choose_note_crowd(scan, s, answer->asked, &results[0]);
	if (scan->nmates == 0)
		return take_batch(scan, s, t->request.conn_serial, answer, &results[0], err);
	for (uint32_t i = 0; i < scan->nmates && status == VT_OK; i++)
		status = take_batch(scan->mates[i], &scan->mates[i]->streams[at], t->request.conn_serial, answer, &results[i], err);
	return status;
}

VtStatus
try_take_answer(ClientScan *scan, Stream *s, Try *t, bool *settled, VtError *err)
{
	Answer		answer;
	Advice		advice = answer_get(&t->request, &s->shard.desc, true, &answer);
	bool		hedged = false;
	VtStatus	status = VT_OK;

	if (t->request.status == VT_UNAVAILABLE)
		pace_silent(scan->client->pace, t->request.endpoint, INT64_MAX, clock_now_us());
	if (advice == ADVICE_DONE && s->consistency == WIRE_AT_MARK && answer.head.applied < s->mark &&
		!vt_broken("R3-answer"))
	{
		answer.head.status = VT_BEHIND;
		vt_fail(&answer.err, VT_BEHIND, "shard %" PRIu64 " at %s answered at %" PRIu64 ", before the mark %" PRIu64,
				s->shard.desc.shard, answer.asked, answer.head.applied, s->mark);
		advice = ADVICE_RETRY;
	}
	if (advice == ADVICE_DONE)
	{
		for (int i = 0; i < TRIES; i++)
			if (&s->tries[i] != t && try_is_on(&s->tries[i]))
			{
				hedged = s->tries[i].sent_us < t->sent_us;
				if (s->tries[i].typical)
					pace_took(scan->client->pace, clock_now_us() - s->tries[i].sent_us, clock_now_us());
				try_drop(scan, s, &s->tries[i]);
			}
		scan->stats.hedges_won += hedged;
		status = take_answer(scan, s, t, &answer, err);
		*settled = true;
	}
	else if (scan->nmates > 0 && answer.head.status == VT_PROTOCOL)
		scan->apart = true;		/* a worker of before: it takes one query at a time */
	else
	{
		/* Only a refusal at the door leaves the worker's state where it was. */
		if (t->pull && answer.head.status != VT_BUSY)
			s->lease = 0;
		t->request.done = false;
		if (!t->pull || answer.head.status != VT_LEASE_GONE)
			status = try_failed(scan, s, advice, &answer, err);
	}
	t->request.done = false;
	return status;
}
