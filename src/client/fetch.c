/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  The next batch of each shard: whom to ask, when to ask somebody else too,
 *	  and what an answer is worth.
 *
 * A question at a mark may be answered by any replica that has applied the mark
 * (rule R3), and so may each further one: a record that the scan must return
 * lies in every view that is not older than the mark, and what was returned is
 * excluded.  So batches may come from different replicas, in any order of their
 * applied indexes.  Of two replicas known to qualify, drawn at random, the one
 * that seems faster is asked.  One that was behind is asked later, with pauses
 * that double; one in doubt (pace.c) last.  Where none is left the leader is
 * asked, who waits for the mark if he must; and when each has had its turn,
 * there is a pause, and PD is asked where they are.
 *
 * Whoever has not answered after the p95 of the last minute gets company: a
 * second replica is asked, the first answer counts, the other question is
 * cancelled.  That is bounded to some hundredths of the questions, and not done where
 * searches wait, unless the worker is silent to everybody.
 *
 * What must be asked of the leader (a shard without a mark) goes to the one
 * believed to lead, and turns to the next when he does not answer or denies it.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "scan.h"

#define BATCH_GROWN_MIN 32
#define BATCH_GROWN_MAX 2048
#define EMPTY_BATCHES_MAX 4
#define HEDGED_IDS_MAX 10000	/* excluded; with more a second question is not cheap */
#define CROWD_US INT64_C(1000000)	/* what a replica said of its index counts so long */
#define CROWD_NONE 100
#define CROWD_FAR 1700			/* 16 times what is meant to wait: asked only if nobody else is left */
#define CROWD_MOST 10000
#define LATER_PATIENCE 8		/* other batches take longer: so many hedge delays */
#define SHY_FIRST_MS 10
#define SHY_LAST_MS 640

/* -- Tries --------------------------------------------------------------------- */

static bool
try_is_on(const Try *t)
{
	return t->request.conn || t->request.done;
}

static uint32_t
tries_on(const Stream *s)
{
	uint32_t	n = 0;

	for (int i = 0; i < TRIES; i++)
		n += try_is_on(&s->tries[i]);
	return n;
}

/* A first batch from the graph: those are alike in what they take. */
static bool
is_first(const Stream *s)
{
	return s->seen.n == 0 && !s->exact;
}

/* Of its places, the one with this endpoint; nplaces = none. */
static uint32_t
place_of(const ClientShard *shard, const char *endpoint)
{
	uint32_t	at = 0;

	while (at < shard->nplaces && strcmp(shard->places[at], endpoint) != 0)
		at++;
	return at;
}

static bool
is_being_asked(const Stream *s, const char *endpoint)
{
	for (int i = 0; i < TRIES; i++)
		if (try_is_on(&s->tries[i]) && strcmp(s->tries[i].request.endpoint, endpoint) == 0)
			return true;
	return false;
}

/* Is somebody asked who may be expected to answer? */
static bool
somebody_answers(const ClientScan *scan, const Stream *s)
{
	for (int i = 0; i < TRIES; i++)
		if (try_is_on(&s->tries[i]) &&
			!pace_is_doubted(scan->client->pace, s->tries[i].request.endpoint))
			return true;
	return false;
}

/* Nobody will know how far it got: neither do the state at the worker and we agree. */
static void
try_drop(ClientScan *scan, Stream *s, Try *t)
{
	if (!try_is_on(t))
		return;
	request_drop(&t->request);
	if (t->pull)
		stream_let_go(scan, s);
}

void
stream_stop(ClientScan *scan, Stream *s)
{
	for (int i = 0; i < TRIES; i++)
		try_drop(scan, s, &s->tries[i]);
	s->tried = 0;
	s->again_us = 0;
	s->hedge_us = 0;
	s->wants_route = false;
	memset(&s->retry, 0, sizeof(s->retry));
}

/* -- Choosing ------------------------------------------------------------------ */

/* A replica that is not known to lack the mark. */
static bool
is_likely(const ClientKnown *known, const Stream *s, int64_t now_us)
{
	return s->consistency != WIRE_AT_MARK || known->applied >= s->mark || now_us >= known->shy_until_us;
}

/*
 * What a search counts there for what is not indexed, in hundredths: more than it takes
 * longer, so that threads that link get some time.
 */
static uint32_t
crowd_at(const ClientShard *known, const char *endpoint, int64_t now_us)
{
	uint32_t	at = known ? place_of(known, endpoint) : 0;

	return known && at < known->nplaces && now_us < known->known[at].crowd_until_us ? known->known[at].crowd : CROWD_NONE;
}

/* How long a search of this shard would take there; only to compare. */
static uint64_t
score_at(const ClientScan *scan, const ClientShard *known, const char *endpoint, int64_t now_us)
{
	Client	   *client = scan->client;

	return pace_score(client->pace, endpoint, conn_under_way(client, endpoint), now_us) *
		crowd_at(known, endpoint, now_us) / CROWD_NONE;
}

/* Do searches wait at all of these places? */
static bool
all_busy(const ClientScan *scan, const Stream *s, const uint32_t *places, uint32_t n, int64_t now_us)
{
	uint32_t	i = 0;

	while (i < n && pace_is_busy(scan->client->pace, s->shard.places[places[i]], now_us))
		i++;
	return i == n;
}

/* The place to ask next, among those not tried in this round; nplaces = none is left. */
static uint32_t
choose(ClientScan *scan, Stream *s, int64_t now_us)
{
	Client	   *client = scan->client;
	const ClientShard *known = route_shard(client, &s->shard.desc);
	uint32_t	good[WIRE_REPLICAS_MAX];
	uint32_t	ngood = 0;
	uint32_t	crowded[WIRE_REPLICAS_MAX];
	uint32_t	ncrowded = 0;
	uint32_t	leader = place_of(&s->shard, s->shard.endpoint);
	uint32_t	unlikely = s->shard.nplaces;
	uint32_t	doubted = s->shard.nplaces;

	if (s->consistency == WIRE_LINEARIZABLE)
		return is_being_asked(s, s->shard.endpoint) ? s->shard.nplaces : leader;
	for (uint32_t i = 0; i < s->shard.nplaces; i++)
	{
		const char *endpoint = s->shard.places[i];
		uint32_t	there = known ? place_of(known, endpoint) : 0;

		if ((s->tried & (1u << i)) || is_being_asked(s, endpoint))
			continue;
		if (pace_is_doubted(client->pace, endpoint))
			doubted = i;
		else if (known && there < known->nplaces && !is_likely(&known->known[there], s, now_us))
			unlikely = unlikely == leader ? leader : i;
		else if (crowd_at(known, endpoint, now_us) >= CROWD_FAR)
			crowded[ncrowded++] = i;
		else
			good[ngood++] = i;
	}
	if (ngood == 0)
	{
		memcpy(good, crowded, sizeof(good));
		ngood = ncrowded;
	}
	/*
	 * Where searches wait everywhere nobody is faster, and several shards asked at once
	 * of one worker take fewer messages and wakes.
	 */
	if (ngood > 1 && scan->beside[0] && is_first(s) && all_busy(scan, s, good, ngood, now_us))
		for (uint32_t i = 0; i < ngood; i++)
			if (strcmp(s->shard.places[good[i]], scan->beside) == 0)
				return good[i];
	if (ngood > 1)
	{
		uint32_t	a = prng_below(&client->prng, ngood);
		uint32_t	b = (a + 1 + prng_below(&client->prng, ngood - 1)) % ngood;
		const char *x = s->shard.places[good[a]];
		const char *y = s->shard.places[good[b]];
		uint64_t	x_score = score_at(scan, known, x, now_us);
		uint64_t	y_score = score_at(scan, known, y, now_us);

		/* Only if it is clearly better, or the slowest by a hair would never be asked. */
		return y_score + y_score / 2 < x_score ? good[b] : good[a];
	}
	return ngood == 1 ? good[0] : unlikely < s->shard.nplaces ? unlikely : doubted;
}

/* How much of it is not indexed, with which each search is compared. */
static void
note_crowd(ClientScan *scan, const Stream *s, const char *endpoint, const WireSearchResult *result)
{
	ClientShard *shard = route_shard(scan->client, &s->shard.desc);
	uint32_t	at = shard ? place_of(shard, endpoint) : 0;
	uint64_t	crowd = CROWD_NONE;

	if (!shard || at == shard->nplaces)
		return;
	if (result->says_unindexed)
		crowd += (uint64_t) result->unindexed * CROWD_NONE / result->meant;
	shard->known[at].crowd = (uint32_t) (crowd < CROWD_MOST ? crowd : CROWD_MOST);
	shard->known[at].crowd_until_us = clock_now_us() + CROWD_US;
}

/* What a replica said of itself, for the next choice. */
static void
note_place(ClientScan *scan, const Stream *s, const char *endpoint, const WireReply *head)
{
	ClientShard *shard = route_shard(scan->client, &s->shard.desc);
	uint32_t	at = shard ? place_of(shard, endpoint) : 0;
	ClientKnown *known;

	if (!shard || at == shard->nplaces)
		return;
	known = &shard->known[at];
	if (head->status == VT_OK && known->applied < s->mark)
		known->shy_ms /= 2;
	if (head->status != VT_OK)
	{
		known->shy_ms = known->shy_ms == 0 ? SHY_FIRST_MS : known->shy_ms * 2;
		known->shy_ms = known->shy_ms < SHY_LAST_MS ? known->shy_ms : SHY_LAST_MS;
		known->shy_until_us = clock_now_us() + (int64_t) known->shy_ms * 1000;
	}
	known->applied = head->status == VT_OK || head->status == VT_BEHIND ? head->applied : 0;
}

/* -- A try that failed ----------------------------------------------------------- */

/* What is wrong with this replica only: another may do better. */
static bool
is_of_the_place(VtStatus status)
{
	return status == VT_CORRUPT || status == VT_IO || status == VT_NOMEM || status == VT_FULL;
}

/* Everybody has had his turn: pause, and perhaps look where they are now. */
static void
round_over(ClientScan *scan, Stream *s)
{
	s->tried = 0;
	s->retry.hop = false;
	s->retry.refresh |= s->retry.tries % 4 == 3;
	s->again_us = clock_now_us() + retry_pause(scan->client, &s->retry);
	s->wants_route = s->retry.refresh;
	s->retry.refresh = false;
}

static VtStatus
try_failed(ClientScan *scan, Stream *s, Advice advice, const Answer *answer, VtError *err)
{
	const VtError before = s->retry.last;
	uint32_t	place = place_of(&s->shard, answer->asked);
	VtStatus	status = answer->head.status;

	if (status == VT_NOT_OWNER || status == VT_WRONG_SHARD || status == VT_UNKNOWN_GENERATION ||
		status == VT_GONE)
		route_set_stale(scan->client, &scan->generation);
	if (advice == ADVICE_FAIL && (s->shard.nplaces <= 1 || !is_of_the_place(status)))
	{
		if (err)
			*err = answer->err;
		return status;
	}
	scan->stats.behind += status == VT_BEHIND;
	note_place(scan, s, answer->asked, &answer->head);
	retry_note(scan->client, &s->retry, &s->shard, advice, answer);
	/* In the end the one who answered says more than those who did not. */
	if (before.code == VT_BEHIND && (status == VT_UNAVAILABLE || status == VT_TIMEOUT))
		s->retry.last = before;
	if (place < s->shard.nplaces)
		s->tried |= 1u << place;
	if (s->consistency == WIRE_LINEARIZABLE)
	{
		/* The next one at once, after all a pause. */
		if (s->retry.hop && !s->retry.refresh)
			s->again_us = clock_now_us() + retry_pause(scan->client, &s->retry);
		else if (!somebody_answers(scan, s))
			round_over(scan, s);
	}
	else if (!somebody_answers(scan, s))
	{
		place = choose(scan, s, clock_now_us());
		if (place == s->shard.nplaces ||
			(tries_on(s) > 0 && pace_is_doubted(scan->client->pace, s->shard.places[place])))
			round_over(scan, s);
	}
	return VT_OK;
}

/* -- Asking ---------------------------------------------------------------------- */

/* Can the question begin anew?  It names what came so far. */
static bool
may_begin_anew(const ClientScan *scan, const Stream *s, uint32_t limit)
{
	return s->seen.n <= limit && s->seen.ids.len + scan->dim * 4 + scan->filter.len + 1024 <= WIRE_PAYLOAD_MAX;
}

static void
send_question(ClientScan *scan, Stream *s, Try *t, Conn *conn, int64_t now_us, int64_t deadline_us)
{
	WireSearch	question;
	Buf		   *out;
	size_t		frame;

	t->pull = s->lease != 0 && conn_serial(conn) == s->lease_conn;
	t->typical = is_first(s) && conn_is_clear(conn);
	t->sent_us = now_us;
	memset(&question, 0, sizeof(question));
	question.route = route_of(&s->shard.desc, &scan->owner, deadline_us);
	question.consistency = s->consistency;
	/* R3: later batches too. */
	question.mark = s->seen.n > 0 && vt_broken("R3-batch") ? 0 : s->mark;
	question.flags = (s->exact ? SEARCH_EXACT : 0) | (s->seen.n == 0 ? SEARCH_ONCE : 0);
	question.k = s->k;
	question.ef = scan->ef;
	question.lease = t->pull ? s->lease : 0;
	question.route_version = scan->route_version;
	question.filter = buf_bytes(&scan->filter);
	question.dim = scan->dim;
	question.vector = scan->query;
	if (!t->pull)
	{
		question.nexcluded = s->seen.n;
		question.excluded = buf_bytes(&s->seen.ids);
	}
	frame = request_begin(scan->client, conn, &t->request, WIRE_SEARCH, &out);
	wire_search_put(out, &question);
	request_send(&t->request, frame);
	t->request.until_us = try_until(&s->retry, &s->shard, deadline_us);
	pace_asked(scan->client->pace);
}

/* A slot for one more try: the oldest, silent for long, makes room. */
static Try *
free_try(ClientScan *scan, Stream *s)
{
	Try		   *oldest = &s->tries[0];
	uint32_t	place;

	for (int i = 0; i < TRIES; i++)
	{
		if (!try_is_on(&s->tries[i]))
			return &s->tries[i];
		if (s->tries[i].sent_us < oldest->sent_us)
			oldest = &s->tries[i];
	}
	place = place_of(&s->shard, oldest->request.endpoint);
	if (place < s->shard.nplaces)
		s->tried |= 1u << place;
	try_drop(scan, s, oldest);
	return oldest;
}

/* After so long another replica is asked too. */
static int64_t
patience(const ClientScan *scan, const Stream *s, int64_t now_us)
{
	return pace_hedge_us(scan->client->pace, now_us) * (is_first(s) ? 1 : LATER_PATIENCE);
}

/* Ask one replica.  A connection that cannot be made is a try that failed. */
static VtStatus
ask(ClientScan *scan, Stream *s, const char *whom, int64_t now_us, int64_t deadline_us, VtError *err)
{
	Client	   *client = scan->client;
	char		endpoint[ENDPOINT_SIZE];	/* whom may be a connection's, which ends here */
	Answer		failure = {.asked = endpoint};
	Conn	   *conn;

	memcpy(endpoint, whom, strlen(whom) + 1);
	conn = conn_of(client, endpoint, &failure.err);
	if (conn && conn_is_full(conn))
		return VT_OK;			/* its answers bring us back here */
	s->hedge_us = s->shard.nplaces > 1 ? now_us + patience(scan, s, now_us) : 0;
	if (!conn)
	{
		failure.head.status = failure.err.code;
		if (failure.err.code == VT_UNAVAILABLE)
			pace_silent(client->pace, endpoint, INT64_MAX, now_us);
		return try_failed(scan, s, status_is_passing(failure.err.code) ? ADVICE_REFRESH : ADVICE_FAIL,
						  &failure, err);
	}
	if ((s->lease == 0 || conn_serial(conn) != s->lease_conn) && !may_begin_anew(scan, s, WIRE_EXCLUDED_MAX))
		return vt_fail(err, VT_FULL, "shard %" PRIu64 " at %s lost the state of a scan that has returned too many rows (%u) to go on without it",
					   s->shard.desc.shard, endpoint, s->seen.n);
	if (is_first(s))
		memcpy(scan->beside, endpoint, sizeof(scan->beside));
	send_question(scan, s, free_try(scan, s), conn, now_us, deadline_us);
	return VT_OK;
}

/* Where the state of the scan is kept, if it can be gone on with; NULL = nowhere. */
static const char *
place_of_lease(ClientScan *scan, Stream *s)
{
	Conn	   *conn = s->lease ? conn_by_serial(scan->client, s->lease_conn) : NULL;

	if (conn && !pace_is_doubted(scan->client->pace, conn_endpoint(conn)))
		return conn_endpoint(conn);
	stream_let_go(scan, s);
	return NULL;
}

/* Is a worker in doubt back?  Something that must be answered, by whomever it is heard. */
static void
probe(ClientScan *scan, Stream *s, int64_t now_us)
{
	for (uint32_t i = 0; i < s->shard.nplaces; i++)
	{
		const char *endpoint = s->shard.places[i];
		WireSearch	nothing;
		Buf			payload = {0};
		Conn	   *conn;

		if (!pace_is_doubted(scan->client->pace, endpoint) || is_being_asked(s, endpoint) ||
			!pace_may_probe(scan->client->pace, endpoint, now_us))
			continue;
		conn = conn_of(scan->client, endpoint, NULL);
		if (!conn || !conn_is_clear(conn))
			continue;
		memset(&nothing, 0, sizeof(nothing));
		nothing.route = route_of(&s->shard.desc, &scan->owner, now_us + 1000000);
		nothing.consistency = WIRE_AT_MARK;
		nothing.flags = SEARCH_CLOSE;
		nothing.lease = UINT64_MAX;
		wire_search_put(&payload, &nothing);
		request_send_unheard(scan->client, conn, WIRE_SEARCH, buf_bytes(&payload));
		buf_free(&payload);
	}
}

/* A question to somebody, where nobody is asked who may be expected to answer. */
static VtStatus
ask_somebody(ClientScan *scan, Stream *s, int64_t now_us, int64_t deadline_us, VtError *err)
{
	const ClientShard *known = route_shard(scan->client, &s->shard.desc);
	const char *endpoint = NULL;
	uint32_t	place;

	if (known && tries_on(s) == 0 && s->tried == 0)
		shard_take_places(&s->shard, known);
	else if (known)
		memcpy(s->shard.endpoint, known->endpoint, sizeof(s->shard.endpoint));
	/* Who leads is asked already and silent: perhaps another leads by now. */
	for (uint32_t i = 0; known && s->consistency == WIRE_LINEARIZABLE && i < s->shard.nplaces &&
		 is_being_asked(s, s->shard.endpoint); i++)
	{
		route_miss(scan->client, &s->shard, s->shard.endpoint);
		memcpy(s->shard.endpoint, known->endpoint, sizeof(s->shard.endpoint));
	}
	if (tries_on(s) == 0)
		endpoint = place_of_lease(scan, s);
	if (!endpoint)
	{
		place = choose(scan, s, now_us);
		if (place == s->shard.nplaces)
		{
			if (s->tried != 0)
				round_over(scan, s);
			return VT_OK;
		}
		endpoint = s->shard.places[place];
		scan->stats.hedged += tries_on(s) > 0;
	}
	return ask(scan, s, endpoint, now_us, deadline_us, err);
}

/* The hedge delay is over. */
static VtStatus
hedge(ClientScan *scan, Stream *s, int64_t now_us, int64_t deadline_us, VtError *err)
{
	uint32_t	place;

	s->hedge_us = now_us + patience(scan, s, now_us);
	for (int i = 0; i < TRIES; i++)
	{
		Try		   *t = &s->tries[i];

		if (!try_is_on(t) || t->request.done)
			continue;
		pace_silent(scan->client->pace, t->request.endpoint, t->sent_us, now_us);
	}
	if (s->consistency == WIRE_LINEARIZABLE || !somebody_answers(scan, s) || tries_on(s) == TRIES ||
		!may_begin_anew(scan, s, HEDGED_IDS_MAX))
		return VT_OK;
	place = choose(scan, s, now_us);
	if (place == s->shard.nplaces || pace_is_doubted(scan->client->pace, s->shard.places[place]) ||
		pace_is_busy(scan->client->pace, s->shard.places[place], now_us) || !pace_may_hedge(scan->client->pace))
		return VT_OK;
	scan->stats.hedged++;
	return ask(scan, s, s->shard.places[place], now_us, deadline_us, err);
}

/* -- Answers --------------------------------------------------------------------- */

/* A batch that is VT_OK and covers the shard. */
static VtStatus
take_batch(ClientScan *scan, Stream *s, const Try *t, const Answer *answer, VtError *err)
{
	int64_t		took = clock_now_us() - t->sent_us;
	WireSearchResult result;
	WireHit		hit;
	size_t		at = 0;
	uint32_t	place;

	if (wire_search_result_get(answer->body, &result) != VT_OK)
		return malformed(&s->shard, err);
	if (t->typical)
	{
		pace_took(scan->client->pace, took, clock_now_us());
		pace_answered(scan->client->pace, answer->asked, took, result.waiting);
	}
	note_place(scan, s, answer->asked, &answer->head);
	note_crowd(scan, s, answer->asked, &result);
	scan->stats.batches++;
	scan->stats.exact_batches += result.exact;
	scan->stats.distances += result.distances;
	scan->stats.hops += result.hops;
	if (answer->head.fence > scan->fence)
		scan->fence = answer->head.fence;
	scan->stats.by_leader += result.leader;
	scan->stats.by_follower += !result.leader;
	s->next = s->n = 0;
	while (wire_hit_next(&result, &at, &hit))
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
	s->exhausted = result.exhausted;
	s->lease = result.lease;
	s->lease_conn = t->request.conn_serial;
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

/* A try is done.  *settled: the stream has its batch. */
static VtStatus
take_answer(ClientScan *scan, Stream *s, Try *t, bool *settled, VtError *err)
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
		status = take_batch(scan, s, t, &answer, err);
		*settled = true;
	}
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

bool
stream_has_news(const Stream *s)
{
	for (int i = 0; i < TRIES; i++)
		if (s->tries[i].request.done)
			return true;
	return false;
}

/* -- Steps ------------------------------------------------------------------------- */

VtStatus
stream_step(ClientScan *scan, Stream *s, int64_t deadline_us, int64_t *next_us, VtError *err)
{
	int64_t		now_us = clock_now_us();
	VtStatus	status = VT_OK;
	bool		settled = false;

	for (int i = 0; i < TRIES && status == VT_OK; i++)
	{
		Try		   *t = &s->tries[i];

		if (t->request.conn && t->request.until_us && now_us >= t->request.until_us)
			request_expire(&t->request);
		if (t->request.done)
			status = take_answer(scan, s, t, &settled, err);
		if (settled || status != VT_OK)
		{
			stream_stop(scan, s);
			if (stream_is_dry(s))
				*next_us = now_us;
			return status;
		}
	}
	if (s->hedge_us && now_us >= s->hedge_us && tries_on(s) > 0)
		status = hedge(scan, s, now_us, deadline_us, err);
	/* Each that fails at once is followed by another, until the round is over. */
	for (uint32_t i = 0; i <= s->shard.nplaces && status == VT_OK && now_us >= s->again_us &&
		 !s->wants_route && !somebody_answers(scan, s); i++)
	{
		uint32_t	on = tries_on(s);

		status = ask_somebody(scan, s, now_us, deadline_us, err);
		if (i == 0)
			probe(scan, s, now_us);
		if (tries_on(s) == on && on > 0)
			break;
	}
	if (status != VT_OK)
		return status;
	for (int i = 0; i < TRIES; i++)
	{
		if (s->tries[i].request.conn && s->tries[i].request.until_us && s->tries[i].request.until_us < *next_us)
			*next_us = s->tries[i].request.until_us;
	}
	if (tries_on(s) > 0 && s->hedge_us && s->hedge_us < *next_us)
		*next_us = s->hedge_us;
	if (!somebody_answers(scan, s) && s->again_us > now_us && s->again_us < *next_us)
		*next_us = s->again_us;
	return VT_OK;
}
