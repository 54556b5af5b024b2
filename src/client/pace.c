/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  How fast searches are answered: by all workers in the last minute, and by
 *	  each of them.
 *
 * One of these serves all clients that share its memory.  It only makes searches
 * faster or slower, never wrong, so there is no lock: everything is a number
 * that is read and written whole, and an update lost to another is no loss.
 *
 * The last minute is seven slots of ten seconds each, the one in use included,
 * with a histogram in each: four buckets to every power of two.
 *
 * A worker is in doubt when a question to it is unanswered and nobody has heard from it
 * for a hedge delay since then, or its connection broke or was refused.  It is
 * asked last then, until somebody hears from it; to hear, one client in a quarter of
 * a second says something to it that needs an answer (scan.c).
 *
 * A question that is turned away costs the worker nearly as much as some searches do, and
 * who has too little time for its queue asks again and again.  So one that would be
 * turned away, by what the worker said to another of its collection (collections have
 * turns there), is not asked, but for a few: five for four that it answered (adaptive
 * throttling, as Google's SRE book has it), so that all come back as soon as they can.
 *
 * A hedge doubles the load of the search that it helps.  So there are at most 50
 * for 1 000 questions, with a reserve of 20, and one of 20 more for questions that would
 * be errors else, which later questions pay back: when everything is slow at once, no
 * hedge makes it slower.  Nor does one go where searches wait, by what the worker said
 * last: there it would wait in turn, and take the time of another.  A question to a
 * worker in doubt needs no allowance: it is no load there.
 *
 *-------------------------------------------------------------------------
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/prng.h"
#include "private.h"

#define SLOT_US INT64_C(10000000)
#define SLOTS 7
#define LINEAR 16				/* buckets of a microsecond each, then the others */
#define BUCKETS (LINEAR + 4 * 22)
#define SAMPLES_MIN 20
#define QUANTILE_US 100000		/* it is looked up anew so often */

#define HEDGE_MIN_US 1000
#define HEDGE_MAX_US 500000
#define HEDGE_UNKNOWN_US 30000	/* nobody searched in the last minute */
#define HEDGE_COST 1000
#define HEDGE_EARNED 50			/* by a question */
#define HEDGE_RESERVE (20 * HEDGE_COST)

#define WORKERS 256
#define WORKER_WAYS 8
#define FRESH_US 200000			/* how long a told queue counts */
#define BUSY 4					/* searches that wait: all threads there have enough to do */
#define FADES_US 250000			/* a latency counts half after each of these */
#define PROBE_US 250000

#define QUEUES 512
#define QUEUE_WAYS 8

/* What a worker said that turned somebody away is believed so long: who tries all the same hears it again. */
#define FULL_US 100000
#define TRY_COST 4
#define TRY_EARNED 5			/* by an answer */
#define TRY_RESERVE (16 * TRY_COST)
#define TRY_PAUSE_US 10000

#define get(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define set(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

typedef struct Slot
{
	int64_t		period;			/* since the clock began */
	uint32_t	counts[BUCKETS];
} Slot;

typedef struct PaceWorker
{
	uint64_t	key;			/* of its endpoint; 0 = free */
	int64_t		heard_us;		/* the last time anything came from it */
	int64_t		latency_us;		/* of searches, smoothed */
	uint32_t	waiting;		/* searches there, as it said last */
	uint32_t	doubted;
	int64_t		probe_us;		/* somebody may speak to it again */
} PaceWorker;

/* A worker turned away somebody who asked for a collection: searches of that wait for so long. */
typedef struct PaceQueue
{
	uint64_t	key;			/* of both; 0 = free */
	int64_t		wait_us;
	int64_t		until_us;		/* it is believed so long */
	int64_t		may_try;		/* what is left for trying all the same, */
	int64_t		tried_us;		/* as of then */
} PaceQueue;

struct ClientPace
{
	Slot		slots[SLOTS];
	int64_t		quantile_us;	/* 0 = not known */
	int64_t		look_us;		/* when it is to be looked up again */
	int64_t		allowance;
	PaceWorker	workers[WORKERS];
	PaceQueue	queues[QUEUES];
};

size_t
client_pace_size(void)
{
	return sizeof(ClientPace);
}

ClientPace *
client_pace_init(void *memory)
{
	ClientPace *pace = (ClientPace *) memory;

	memset(pace, 0, sizeof(*pace));
	pace->allowance = HEDGE_RESERVE;
	for (int i = 0; i < SLOTS; i++)
		pace->slots[i].period = -1;
	return pace;
}

/* -- The last minute ------------------------------------------------------------------ */

static uint32_t
bucket_of(int64_t us)
{
	uint64_t	v = us > 0 ? (uint64_t) us : 0;
	uint32_t	power;
	uint32_t	bucket;

	if (v < LINEAR)
		return (uint32_t) v;
	power = 63 - (uint32_t) __builtin_clzll(v);
	bucket = LINEAR + (power - 4) * 4 + ((v >> (power - 2)) & 3);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The first value beyond a bucket. */
static int64_t
bucket_end(uint32_t bucket)
{
	uint32_t	power = (bucket - LINEAR) / 4 + 4;

	if (bucket < LINEAR)
		return bucket + 1;
	return (INT64_C(1) << power) + ((int64_t) ((bucket - LINEAR) % 4 + 1) << (power - 2));
}

void
pace_took(ClientPace *pace, int64_t us, int64_t now_us)
{
	int64_t		period = now_us / SLOT_US;
	Slot	   *slot = &pace->slots[period % SLOTS];
	int64_t		old = get(&slot->period);

	if (old != period && __atomic_compare_exchange_n(&slot->period, &old, period, false,
													 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		for (uint32_t i = 0; i < BUCKETS; i++)
			set(&slot->counts[i], 0);
	__atomic_fetch_add(&slot->counts[bucket_of(us)], 1, __ATOMIC_RELAXED);
}

/* The 95th of 100 in the last minute; 0 = there were too few. */
static int64_t
look_up(const ClientPace *pace, int64_t now_us)
{
	int64_t		period = now_us / SLOT_US;
	uint64_t	sum[BUCKETS] = {0};
	uint64_t	total = 0;
	uint64_t	left;
	uint32_t	bucket = BUCKETS;

	for (int s = 0; s < SLOTS; s++)
	{
		int64_t		of = get(&pace->slots[s].period);

		if (of < 0 || of > period || of <= period - SLOTS)
			continue;
		for (uint32_t i = 0; i < BUCKETS; i++)
			sum[i] += get(&pace->slots[s].counts[i]);
	}
	for (uint32_t i = 0; i < BUCKETS; i++)
		total += sum[i];
	if (total < SAMPLES_MIN)
		return 0;
	/* From the far end: at most a twentieth lies beyond. */
	for (left = 0; bucket > 1 && left + sum[bucket - 1] <= total / 20;)
		left += sum[--bucket];
	return bucket_end(bucket - 1);
}

int64_t
pace_hedge_us(ClientPace *pace, int64_t now_us)
{
	int64_t		us;

	if (now_us >= get(&pace->look_us))
	{
		set(&pace->look_us, now_us + QUANTILE_US);
		set(&pace->quantile_us, look_up(pace, now_us));
	}
	us = get(&pace->quantile_us);
	if (us == 0)
		return HEDGE_UNKNOWN_US;
	return us < HEDGE_MIN_US ? HEDGE_MIN_US : us > HEDGE_MAX_US ? HEDGE_MAX_US : us;
}

void
pace_asked(ClientPace *pace)
{
	int64_t		allowance = get(&pace->allowance);

	if (allowance < HEDGE_RESERVE)
		__atomic_fetch_add(&pace->allowance, HEDGE_EARNED, __ATOMIC_RELAXED);
}

bool
pace_may_hedge(ClientPace *pace, bool urgent)
{
	int64_t		least = urgent ? HEDGE_COST - HEDGE_RESERVE : HEDGE_COST;

	if (__atomic_fetch_sub(&pace->allowance, HEDGE_COST, __ATOMIC_RELAXED) >= least)
		return true;
	__atomic_fetch_add(&pace->allowance, HEDGE_COST, __ATOMIC_RELAXED);
	return false;
}

/* -- Workers -------------------------------------------------------------------------- */

/* Its entry: as long as it is not heard of least, it keeps it. */
static PaceWorker *
worker_of(ClientPace *pace, const char *endpoint)
{
	uint64_t	key = hash_checksum(bytes_str(endpoint)) | 1;
	PaceWorker *first = &pace->workers[(key >> 32) % (WORKERS / WORKER_WAYS) * WORKER_WAYS];
	PaceWorker *place = first;

	for (int i = 0; i < WORKER_WAYS; i++)
	{
		PaceWorker *w = &first[i];

		if (get(&w->key) == key)
			return w;
		if (get(&place->key) != 0 && (get(&w->key) == 0 || get(&w->heard_us) < get(&place->heard_us)))
			place = w;
	}
	set(&place->key, key);
	set(&place->heard_us, 0);
	set(&place->latency_us, 0);
	set(&place->waiting, 0);
	set(&place->doubted, 0);
	set(&place->probe_us, 0);
	return place;
}

void
pace_heard(ClientPace *pace, const char *endpoint, int64_t now_us)
{
	PaceWorker *w = worker_of(pace, endpoint);

	set(&w->heard_us, now_us);
	if (get(&w->doubted))
		set(&w->doubted, 0);
}

int64_t
pace_heard_us(ClientPace *pace, const char *endpoint)
{
	return get(&worker_of(pace, endpoint)->heard_us);
}

void
pace_answered(ClientPace *pace, const char *endpoint, int64_t took_us, uint32_t waiting)
{
	PaceWorker *w = worker_of(pace, endpoint);
	int64_t		latency = get(&w->latency_us);

	set(&w->latency_us, latency == 0 ? took_us : latency + (took_us - latency) / 4);
	set(&w->waiting, waiting);
}

bool
pace_silent(ClientPace *pace, const char *endpoint, int64_t since_us, int64_t now_us)
{
	PaceWorker *w = worker_of(pace, endpoint);

	if (get(&w->heard_us) >= since_us)
		return false;
	if (!get(&w->doubted))
	{
		set(&w->probe_us, now_us + PROBE_US);
		set(&w->doubted, 1);
	}
	return true;
}

bool
pace_is_doubted(ClientPace *pace, const char *endpoint)
{
	return get(&worker_of(pace, endpoint)->doubted) != 0;
}

bool
pace_may_probe(ClientPace *pace, const char *endpoint, int64_t now_us)
{
	PaceWorker *w = worker_of(pace, endpoint);
	int64_t		due = get(&w->probe_us);

	return get(&w->doubted) && now_us >= due &&
		__atomic_compare_exchange_n(&w->probe_us, &due, now_us + PROBE_US, false,
									__ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Did it say lately that searches wait there? */
bool
pace_is_busy(ClientPace *pace, const char *endpoint, int64_t now_us)
{
	PaceWorker *w = worker_of(pace, endpoint);

	return now_us - get(&w->heard_us) < FRESH_US && get(&w->waiting) >= BUSY;
}

/* How long a search would take there, by all we know; only to compare. */
uint64_t
pace_score(ClientPace *pace, const char *endpoint, uint32_t under_way, int64_t now_us)
{
	PaceWorker *w = worker_of(pace, endpoint);
	int64_t		age = now_us - get(&w->heard_us);
	uint64_t	latency = (uint64_t) get(&w->latency_us);
	uint64_t	queue = under_way;

	if (age > 0)
		latency >>= age / FADES_US < 40 ? age / FADES_US : 40;
	if (age < FRESH_US)
		queue += get(&w->waiting);
	return (latency + 1) * (queue + 1);
}

/* -- Queues --------------------------------------------------------------------------- */

/* The entry of a worker's queue; NULL = nobody was turned away there, as far as is known, and none is to be made. */
static PaceQueue *
queue_of(ClientPace *pace, const char *endpoint, const VtId *collection, bool make)
{
	uint64_t	key = prng_mix(prng_mix(hash_checksum(bytes_str(endpoint)) ^ get_le64(collection->b)) ^ get_le64(collection->b + 8)) | 1;
	PaceQueue  *first = &pace->queues[(key >> 32) % (QUEUES / QUEUE_WAYS) * QUEUE_WAYS];
	PaceQueue  *place = first;

	for (int i = 0; i < QUEUE_WAYS; i++)
	{
		if (get(&first[i].key) == key)
			return &first[i];
		if (get(&first[i].until_us) < get(&place->until_us))
			place = &first[i];
	}
	if (!make)
		return NULL;
	set(&place->until_us, 0);
	set(&place->key, key);
	return place;
}

void
pace_full(ClientPace *pace, const char *endpoint, const VtId *collection, int64_t wait_us, int64_t now_us)
{
	PaceQueue  *q = queue_of(pace, endpoint, collection, true);

	if (get(&q->until_us) < now_us)
	{
		set(&q->may_try, TRY_RESERVE);
		set(&q->tried_us, now_us);
	}
	set(&q->wait_us, wait_us);
	set(&q->until_us, now_us + FULL_US);
}

int64_t
pace_full_us(ClientPace *pace, const char *endpoint, const VtId *collection, int64_t left_us, int64_t now_us)
{
	PaceQueue  *q = queue_of(pace, endpoint, collection, false);
	int64_t		wait_us = q ? get(&q->wait_us) : 0;

	/* Who has time enough for it is not kept back. */
	return q && now_us < get(&q->until_us) && wait_us > left_us / 4 * 3 ? wait_us : 0;
}

/* One is let through for a pause in which nobody tried, besides what answers pay for. */
bool
pace_may_try(ClientPace *pace, const char *endpoint, const VtId *collection, int64_t now_us)
{
	PaceQueue  *q = queue_of(pace, endpoint, collection, false);
	int64_t		since_us = q ? get(&q->tried_us) : 0;

	if (!q || (now_us - since_us >= TRY_PAUSE_US &&
			   __atomic_compare_exchange_n(&q->tried_us, &since_us, now_us, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)))
		return true;
	if (__atomic_fetch_sub(&q->may_try, TRY_COST, __ATOMIC_RELAXED) >= TRY_COST)
		return true;
	__atomic_fetch_add(&q->may_try, TRY_COST, __ATOMIC_RELAXED);
	return false;
}

void
pace_served(ClientPace *pace, const char *endpoint, const VtId *collection)
{
	PaceQueue  *q = queue_of(pace, endpoint, collection, false);

	if (q && get(&q->may_try) < TRY_RESERVE)
		__atomic_fetch_add(&q->may_try, TRY_EARNED, __ATOMIC_RELAXED);
}
