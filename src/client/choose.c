/*-------------------------------------------------------------------------
 *
 * choose.c
 *	  Which replica is asked for the next batch of a shard.
 *
 * A question at a mark may be answered by any replica that has applied the mark
 * (rule R3).  Of two known to qualify, drawn at random, the one that seems faster is
 * asked.  One that was behind is asked later, with pauses that double; one in doubt
 * (pace.c) last.  Where none is left the leader is asked, who waits for the mark if he
 * must.
 *
 * What must be asked of the leader (a shard without a mark) goes to the one believed
 * to lead.
 *
 *-------------------------------------------------------------------------
 */
#include "fetch.h"

#define CROWD_US INT64_C(1000000)	/* what a replica said of its index counts so long */
#define CROWD_NONE 100
#define CROWD_FAR 1700			/* 16 times what is meant to wait: asked only if nobody else is left */
#define CROWD_MOST 10000
#define SHY_FIRST_MS 10
#define SHY_LAST_MS 640

/* -- Tries --------------------------------------------------------------------- */

bool
try_is_on(const Try *t)
{
	return t->request.conn || t->request.done;
}

uint32_t
tries_on(const Stream *s)
{
	uint32_t	n = 0;

	for (int i = 0; i < TRIES; i++)
		n += try_is_on(&s->tries[i]);
	return n;
}

bool
stream_is_first(const Stream *s)
{
	return s->seen.n == 0 && !s->exact;
}

bool
stream_is_asking(const Stream *s, const char *endpoint)
{
	for (int i = 0; i < TRIES; i++)
		if (try_is_on(&s->tries[i]) && strcmp(s->tries[i].request.endpoint, endpoint) == 0)
			return true;
	return false;
}

bool
somebody_answers(const ClientScan *scan, const Stream *s)
{
	for (int i = 0; i < TRIES; i++)
		if (try_is_on(&s->tries[i]) &&
			!pace_is_doubted(scan->client->pace, s->tries[i].request.endpoint))
			return true;
	return false;
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
	uint32_t	at = known ? shard_place(known, endpoint) : 0;

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

/* So much is under way on our connection that a question would wait here. */
static bool
would_wait_here(const ClientScan *scan, const char *endpoint, int64_t now_us)
{
	(void) now_us;
	return conn_is_full_to(scan->client, endpoint, scan_places(scan));
}

int64_t
choose_full_us(const ClientScan *scan, const char *endpoint, int64_t now_us)
{
	return pace_full_us(scan->client->pace, endpoint, &scan->generation, scan->deadline_us - now_us, now_us);
}

static bool
would_turn_away(const ClientScan *scan, const char *endpoint, int64_t now_us)
{
	return choose_full_us(scan, endpoint, now_us) > 0;
}

/*
 * Without those of the places that have something against them, unless all have; so many
 * are left.
 */
static uint32_t
prefer(const ClientScan *scan, const Stream *s, uint32_t *places, uint32_t n, int64_t now_us,
	   bool (*against) (const ClientScan *scan, const char *endpoint, int64_t now_us))
{
	uint32_t	left = 0;

	for (uint32_t i = 0; i < n; i++)
		if (!against(scan, s->shard.places[places[i]], now_us))
		{
			uint32_t	place = places[i];

			places[i] = places[left];
			places[left++] = place;
		}
	return left > 0 ? left : n;
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

uint32_t
choose_place(ClientScan *scan, Stream *s, int64_t now_us)
{
	Client	   *client = scan->client;
	const ClientShard *known = route_shard(client, &s->shard.desc);
	uint32_t	good[WIRE_REPLICAS_MAX];
	uint32_t	ngood = 0;
	uint32_t	crowded[WIRE_REPLICAS_MAX];
	uint32_t	ncrowded = 0;
	uint32_t	leader = shard_place(&s->shard, s->shard.endpoint);
	uint32_t	unlikely = s->shard.nplaces;
	uint32_t	doubted = s->shard.nplaces;

	if (s->consistency == WIRE_LINEARIZABLE)
		return stream_is_asking(s, s->shard.endpoint) ? s->shard.nplaces : leader;
	for (uint32_t i = 0; i < s->shard.nplaces; i++)
	{
		const char *endpoint = s->shard.places[i];
		uint32_t	there = known ? shard_place(known, endpoint) : 0;

		if ((s->tried & (1u << i)) || stream_is_asking(s, endpoint))
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
		memcpy(good, crowded, sizeof(crowded[0]) * ncrowded);
		ngood = ncrowded;
	}
	ngood = prefer(scan, s, good, ngood, now_us, would_wait_here);
	ngood = prefer(scan, s, good, ngood, now_us, would_turn_away);
	/*
	 * Where searches wait everywhere nobody is faster, and several shards asked at once
	 * of one worker take fewer messages and wakes.
	 */
	if (ngood > 1 && scan->beside[0] && stream_is_first(s) && all_busy(scan, s, good, ngood, now_us))
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

void
choose_note_crowd(ClientScan *scan, const Stream *s, const char *endpoint, const WireSearchResult *result)
{
	ClientShard *shard = route_shard(scan->client, &s->shard.desc);
	uint32_t	at = shard ? shard_place(shard, endpoint) : 0;
	uint64_t	crowd = CROWD_NONE;

	if (!shard || at == shard->nplaces)
		return;
	if (result->says_unindexed)
		crowd += (uint64_t) result->unindexed * CROWD_NONE / result->meant;
	shard->known[at].crowd = (uint32_t) (crowd < CROWD_MOST ? crowd : CROWD_MOST);
	shard->known[at].crowd_until_us = clock_now_us() + CROWD_US;
}

void
choose_note(ClientScan *scan, const Stream *s, const char *endpoint, const WireReply *head)
{
	ClientShard *shard = route_shard(scan->client, &s->shard.desc);
	uint32_t	at = shard ? shard_place(shard, endpoint) : 0;
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
