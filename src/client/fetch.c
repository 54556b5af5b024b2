/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  The next batch of each shard: whom to ask, and when to ask somebody else too.
 *
 * Whom says choose.c, what the answer is worth answer.c.
 *
 * Whoever has not answered after the p95 of the last minute gets company: a
 * second replica is asked, the first answer counts, the other question is
 * cancelled.  That is bounded to some hundredths of the questions, and not done where
 * searches wait, unless the worker is silent to everybody.  It comes soon enough for the
 * other to answer before the deadline, and a question for which half of the time is gone
 * has a reserve of its own: it would be an error else.
 *
 * What must be asked of the leader turns to the next replica when he does not answer
 * or denies that he leads.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>

#include "base/breaks.h"
#include "fetch.h"

#define HEDGED_IDS_MAX 10000	/* excluded; with more a second question is not cheap */
#define IDLE_US 20000
#define LATER_PATIENCE 8		/* other batches take longer: so many hedge delays */

void
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
	s->ousted = 0;
	s->since_us = 0;
	s->again_us = 0;
	s->hedge_us = 0;
	s->wants_route = false;
	memset(&s->retry, 0, sizeof(s->retry));
}

bool
stream_has_news(const Stream *s)
{
	for (int i = 0; i < TRIES; i++)
		if (s->tries[i].request.done)
			return true;
	return false;
}

/* -- Asking ---------------------------------------------------------------------- */

/* Can the question begin anew?  It names what came so far. */
static bool
may_begin_anew(const ClientScan *scan, const Stream *s, uint32_t limit)
{
	return s->seen.n <= limit && s->seen.ids.len + scan->query_bytes + scan->filter.len + 1024 <= WIRE_PAYLOAD_MAX;
}

/* Who is not heard of for so long is in doubt. */
static int64_t
patience(const ClientScan *scan, const Stream *s, int64_t now_us)
{
	int64_t		one_us = pace_hedge_us(scan->client->pace, now_us) * (stream_is_first(s) ? 1 : LATER_PATIENCE);

	/* Of many queries, at the worst one after the other. */
	return scan->nmates > 0 ? one_us * scan->nmates : one_us;
}

/* After so long, or sooner where the deadline is near, another replica is asked too. */
static int64_t
company_us(const ClientScan *scan, const Stream *s, int64_t now_us)
{
	int64_t		us = patience(scan, s, now_us);
	int64_t		most = (scan->deadline_us - now_us) / 4;

	return us < most || most <= 0 ? us : most;
}

/* Half of the time that somebody had for an answer is gone, and what is left may do for another. */
static bool
is_urgent(const ClientScan *scan, const Stream *s, int64_t now_us)
{
	int64_t		left_us = scan->deadline_us - now_us;

	for (int i = 0; i < TRIES; i++)
		if (try_is_on(&s->tries[i]) && now_us - s->tries[i].sent_us >= left_us)
			return left_us >= pace_hedge_us(scan->client->pace, now_us) * (scan->nmates > 0 ? scan->nmates : 1);
	return false;
}

static void
send_question(ClientScan *scan, Stream *s, Try *t, Conn *conn, int64_t now_us, int64_t deadline_us)
{
	WireSearch	question;
	Buf		   *out;
	size_t		frame;

	t->pull = s->lease != 0 && conn_serial(conn) == s->lease_conn;
	t->typical = stream_is_first(s) && conn_is_clear(conn) && scan->nmates == 0;
	t->sent_us = now_us;
	if (s->since_us == 0)
		s->since_us = now_us;
	memset(&question, 0, sizeof(question));
	question.route = route_of(&s->shard.desc, &scan->owner, deadline_us);
	question.consistency = s->consistency;
	/* R3: later batches too. */
	question.mark = s->seen.n > 0 && vt_broken("R3-batch") ? 0 : s->mark;
	question.flags = (s->exact ? SEARCH_EXACT : 0) | (s->seen.n == 0 ? SEARCH_ONCE : 0) | (scan->bits ? SEARCH_BITS : 0);
	question.k = s->k;
	question.ef = s->ef;
	question.lease = t->pull ? s->lease : 0;
	question.route_version = scan->route_version;
	question.filter = buf_bytes(&scan->filter);
	question.dim = scan->dim;
	question.vector = scan->query;
	if (scan->nmates > 0)
	{
		question.flags |= SEARCH_MANY;
		question.nqueries = scan->nmates;
		question.vector = scan->queries;
	}
	if (!t->pull)
	{
		question.nexcluded = s->seen.n;
		question.excluded = buf_bytes(&s->seen.ids);
	}
	t->request.places = scan_places(scan);
	frame = request_begin(scan->client, conn, &t->request, WIRE_SEARCH, &out);
	wire_search_put(out, &question);
	request_send(&t->request, frame);
	t->request.until_us = try_until(&s->retry, &s->shard, deadline_us);
	if (t->request.until_us && scan->nmates > 0 && t->request.until_us < now_us + 2 * patience(scan, s, now_us))
		t->request.until_us = now_us + 2 * patience(scan, s, now_us);
	pace_asked(scan->client->pace);
}

/* A slot that is free, or where there is none that of the oldest try. */
static Try *
next_slot(Stream *s)
{
	Try		   *oldest = &s->tries[0];

	for (int i = 0; i < TRIES; i++)
	{
		if (!try_is_on(&s->tries[i]))
			return &s->tries[i];
		if (s->tries[i].sent_us < oldest->sent_us)
			oldest = &s->tries[i];
	}
	return oldest;
}

/*
 * When there is room for one more try, 0 = now.  Where there are more replicas than tries, and
 * all who are asked are in doubt, the oldest question makes room for another: soon, until each
 * replica has had a turn, and from then on when it was let be for as long as had been asked in
 * vain before it.  For if they are slow, not dead, each would end the one before it else, and none be answered.
 */
static int64_t
room_us(ClientScan *scan, Stream *s, int64_t now_us)
{
	const Try  *next = next_slot(s);

	if (!try_is_on(next))
		return 0;
	if (s->ousted < s->shard.nplaces)
		return next->sent_us + pace_hedge_us(scan->client->pace, now_us);
	return next->sent_us + (next->sent_us - s->since_us);
}

/* A slot for one more try. */
static Try *
free_try(ClientScan *scan, Stream *s)
{
	Try		   *oldest = next_slot(s);
	uint32_t	place;

	if (!try_is_on(oldest))
		return oldest;
	s->ousted++;
	place = shard_place(&s->shard, oldest->request.endpoint);
	if (place < s->shard.nplaces)
		s->tried |= 1u << place;
	try_drop(scan, s, oldest);
	return oldest;
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
	if (conn && conn_is_full(conn, scan_places(scan)))
		return VT_OK;			/* its answers bring us back here */
	if (conn && scan->nmates > 0 && !conn_knows(conn, WIRE_FEATURE_MANY))
	{
		scan->apart = true;
		return VT_OK;
	}
	s->hedge_us = s->shard.nplaces > 1 ? now_us + company_us(scan, s, now_us) : 0;
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
	if (stream_is_first(s))
		memcpy(scan->beside, endpoint, sizeof(scan->beside));
	send_question(scan, s, free_try(scan, s), conn, now_us, deadline_us);
	return VT_OK;
}

static bool
is_tried(const Stream *s, const char *endpoint)
{
	uint32_t	place = shard_place(&s->shard, endpoint);

	return place < s->shard.nplaces && (s->tried & (1u << place)) != 0;
}

/*
 * Where the state of the scan is kept, if it can be gone on with; NULL = nowhere.  From
 * one that has just refused it is not taken elsewhere when it would be dear to begin anew.
 */
static const char *
place_of_lease(ClientScan *scan, Stream *s)
{
	Conn	   *conn = s->lease ? conn_by_serial(scan->client, s->lease_conn) : NULL;

	if (conn && !pace_is_doubted(scan->client->pace, conn_endpoint(conn)) &&
		!(is_tried(s, conn_endpoint(conn)) && may_begin_anew(scan, s, HEDGED_IDS_MAX)))
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

		if (!pace_is_doubted(scan->client->pace, endpoint) || stream_is_asking(s, endpoint) ||
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

/*
 * May a first question go there?  What is known of the queue of a worker keeps most of
 * those back that it would turn away.  The shards of a question go together or not.
 */
static bool
may_ask(ClientScan *scan, Stream *s, const char *endpoint, int64_t now_us)
{
	int64_t		wait_us = stream_is_first(s) ? choose_full_us(scan, endpoint, now_us) : 0;
	bool		is_in = strcmp(scan->let_in, endpoint) == 0;

	/* Where the connection takes no more it is not asked yet. */
	if (wait_us == 0 || conn_is_full_to(scan->client, endpoint, scan_places(scan)))
		return true;
	if (pace_may_try(scan->client->pace, endpoint, &scan->generation, now_us) || is_in)
	{
		memcpy(scan->let_in, endpoint, strlen(endpoint) + 1);
		return true;
	}
	if (s->retry.last.code == VT_OK)
		vt_fail(&s->retry.last, VT_BUSY, "shard %" PRIu64 " at %s: searches wait at this worker for about %" PRId64 " ms, which is too long for this one",
				s->shard.desc.shard, endpoint, wait_us / 1000);
	stream_wait_for_room(scan, s, wait_us, now_us);
	return false;
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
		 stream_is_asking(s, s->shard.endpoint); i++)
	{
		route_miss(scan->client, &s->shard, s->shard.endpoint);
		memcpy(s->shard.endpoint, known->endpoint, sizeof(s->shard.endpoint));
	}
	if (tries_on(s) == 0)
		endpoint = place_of_lease(scan, s);
	if (endpoint && is_tried(s, endpoint))
	{
		stream_round_over(scan, s);
		return VT_OK;
	}
	if (!endpoint)
	{
		place = choose_place(scan, s, now_us);
		if (place == s->shard.nplaces)
		{
			if (s->tried != 0)
				stream_round_over(scan, s);
			return VT_OK;
		}
		endpoint = s->shard.places[place];
		if (!may_ask(scan, s, endpoint, now_us))
			return VT_OK;
		scan->stats.hedged += tries_on(s) > 0;
	}
	return ask(scan, s, endpoint, now_us, deadline_us, err);
}

/*
 * The hedge delay is over.  Who has said something since the question, to whomever, may
 * fall silent after it: it is in doubt when nobody has heard it for a hedge delay from then on.
 */
static VtStatus
hedge(ClientScan *scan, Stream *s, int64_t now_us, int64_t deadline_us, VtError *err)
{
	int64_t		delay_us = patience(scan, s, now_us);
	uint32_t	place;

	s->hedge_us = now_us + company_us(scan, s, now_us);
	for (int i = 0; i < TRIES; i++)
	{
		Try		   *t = &s->tries[i];
		int64_t		heard_us;

		if (!try_is_on(t) || t->request.done)
			continue;
		heard_us = pace_heard_us(scan->client->pace, t->request.endpoint);
		heard_us = heard_us > t->sent_us ? heard_us : t->sent_us;
		if (now_us - heard_us >= delay_us)
			pace_silent(scan->client->pace, t->request.endpoint, now_us, now_us);
		else if (heard_us + delay_us < s->hedge_us)
			s->hedge_us = heard_us + delay_us;
	}
	if (s->consistency == WIRE_LINEARIZABLE || !somebody_answers(scan, s) || tries_on(s) >= HEDGED_TRIES ||
		!may_begin_anew(scan, s, HEDGED_IDS_MAX))
		return VT_OK;
	place = choose_place(scan, s, now_us);
	if (place == s->shard.nplaces || pace_is_doubted(scan->client->pace, s->shard.places[place]) ||
		pace_is_busy(scan->client->pace, s->shard.places[place], now_us) ||
		choose_full_us(scan, s->shard.places[place], now_us) > 0 ||
		!pace_may_hedge(scan->client->pace, is_urgent(scan, s, now_us)))
		return VT_OK;
	scan->stats.hedged++;
	return ask(scan, s, s->shard.places[place], now_us, deadline_us, err);
}

/* -- Steps ------------------------------------------------------------------------- */

VtStatus
stream_step(ClientScan *scan, Stream *s, int64_t deadline_us, int64_t *next_us, VtError *err)
{
	int64_t		now_us = clock_now_us();
	VtStatus	status = VT_OK;
	bool		settled = false;
	bool		silent;

	for (int i = 0; i < TRIES && status == VT_OK; i++)
	{
		Try		   *t = &s->tries[i];

		if (t->request.conn && t->request.until_us && now_us >= t->request.until_us)
			request_expire(&t->request);
		if (t->request.done)
			status = try_take_answer(scan, s, t, &settled, err);
		if (settled || status != VT_OK)
		{
			stream_stop(scan, s);
			if (stream_is_dry(scan, s))
				*next_us = now_us;
			return status;
		}
	}
	if (s->hedge_us && now_us >= s->hedge_us && tries_on(s) > 0 && now_us < deadline_us)
		status = hedge(scan, s, now_us, deadline_us, err);
	silent = now_us < deadline_us && !somebody_answers(scan, s);
	/* Each that fails at once is followed by another, until the round is over. */
	for (uint32_t i = 0; i <= s->shard.nplaces && status == VT_OK && now_us >= s->again_us && now_us < deadline_us &&
		 !s->wants_route && !somebody_answers(scan, s) && now_us >= room_us(scan, s, now_us); i++)
	{
		uint32_t	on = tries_on(s);

		status = ask_somebody(scan, s, now_us, deadline_us, err);
		if (tries_on(s) == on && on > 0)
			break;
	}
	if (status != VT_OK)
		return status;
	if (silent)
		probe(scan, s, now_us);
	/* Nobody is asked, and nothing says when to ask again, as where a connection takes no more: look again soon. */
	if (tries_on(s) == 0 && s->again_us <= now_us && !s->wants_route && now_us + IDLE_US < *next_us)
		*next_us = now_us + IDLE_US;
	for (int i = 0; i < TRIES; i++)
	{
		if (s->tries[i].request.conn && s->tries[i].request.until_us && s->tries[i].request.until_us < *next_us)
			*next_us = s->tries[i].request.until_us;
	}
	if (tries_on(s) > 0 && s->hedge_us && s->hedge_us < *next_us)
		*next_us = s->hedge_us;
	if (!somebody_answers(scan, s))
	{
		int64_t		next = s->wants_route ? 0 : room_us(scan, s, now_us);

		next = next > s->again_us ? next : s->again_us;
		if (next > now_us && next < *next_us)
			*next_us = next;
	}
	return VT_OK;
}
