/*-------------------------------------------------------------------------
 *
 * hints_kept.c
 *	  What a follower has been told and has not used yet, and how long it waits for more.
 *
 * Hints come about in the order in which a follower links, and a little before or after
 * the record itself.  Who brings them holds up Raft, so he leaves the words as they are and
 * takes no lock: index threads, which others may keep from running, look at them.  What there is no
 * room for does not come in: those that are here are wanted first.
 *
 * How long a follower waits.  Nothing is lost by it, since what waits is found by searches all the
 * same; nor is there much to win by not waiting where a leader gets on.  But one that does not (it is gone,
 * stands still, links a backlog of its own first, or its words were lost) must not keep a follower
 * from linking.  So each wait has an end, and after one in vain so many hints have to come before the
 * next, and twice as many each time, until a wait was worth it.
 *
 *-------------------------------------------------------------------------
 */
#include "hints_kept.h"

#include <stdlib.h>

#define CHAINS 4096				/* a power of two */
#define BYTES (4u << 20)		/* of a shard */
#define OLD_US (10 * INT64_C(1000000))

/* Waiting: */
#define HEARD_US INT64_C(1000000)	/* since the leader was heard from at most, */
#define TURN_US INT64_C(500000) /* for one record at most, */
#define AHEAD 256				/* while the leader has no more before it than twice our own and so many */
#define OWED_FIRST 16
#define OWED_MOST 4096

void
kept_init(HintsKept *kept)
{
	pthread_mutex_init(&kept->lock, NULL);
	pthread_mutex_init(&kept->reading, NULL);
}

/* -- Coming ------------------------------------------------------------------- */

/* False: there is no room. */
static bool
count_in(HintsKept *kept, size_t bytes)
{
	if (atomic_fetch_add(&kept->bytes, bytes) + bytes <= BYTES)
		return true;
	atomic_fetch_sub(&kept->bytes, bytes);
	atomic_fetch_add_explicit(&kept->refused, 1, memory_order_relaxed);
	return false;
}

void
kept_come(HintsKept *kept, Bytes words, int64_t now_us)
{
	HintWords  *coming;

	if (words.len <= BYTES && count_in(kept, sizeof(HintWords) + words.len))
	{
		coming = vt_alloc(sizeof(HintWords) + words.len);
		coming->came_us = now_us;
		coming->len = (uint32_t) words.len;
		memcpy(coming->bytes, words.data, words.len);
		coming->next = atomic_load(&kept->coming);
		while (!atomic_compare_exchange_weak(&kept->coming, &coming->next, coming))
			;
	}
	atomic_store(&kept->awaited_us, 0);
}

/* -- Kept; with the lock held -------------------------------------------------- */

static Hint **
place_of(HintsKept *kept, RecordName name)
{
	Hint	  **p = &kept->chains[(name.sum ^ (uint32_t) name.version) & (CHAINS - 1)];

	while (*p && ((*p)->name.version != name.version || (*p)->name.sum != name.sum))
		p = &(*p)->next;
	return p;
}

static Hint *
hint_of(HintsKept *kept, RecordName name)
{
	return kept->chains ? *place_of(kept, name) : NULL;
}

/* Out of its chain and of the order of age; the caller frees it. */
static void
take_out(HintsKept *kept, Hint *hint)
{
	*place_of(kept, hint->name) = hint->next;
	*(hint->older ? &hint->older->younger : &kept->oldest) = hint->younger;
	*(hint->younger ? &hint->younger->older : &kept->youngest) = hint->older;
	atomic_fetch_sub(&kept->bytes, sizeof(Hint) + hint->len);
}

static void
drop_old(HintsKept *kept, int64_t now_us)
{
	while (kept->oldest && now_us - kept->oldest->came_us > OLD_US)
	{
		Hint	   *hint = kept->oldest;

		take_out(kept, hint);
		free(hint);
	}
}

static void
keep(HintsKept *kept, RecordName name, Bytes bytes, int64_t came_us)
{
	Hint	   *hint;
	Hint	  **place;

	if (!kept->chains)
		kept->chains = vt_alloc0(sizeof(Hint *) * CHAINS);
	place = place_of(kept, name);
	if (*place || !count_in(kept, sizeof(Hint) + bytes.len))
		return;					/* it came twice, or there is no room */
	hint = vt_alloc(sizeof(Hint) + bytes.len);
	*hint = (Hint) {.name = name, .came_us = came_us, .len = (uint32_t) bytes.len, .older = kept->youngest};
	memcpy(hint->bytes, bytes.data, bytes.len);
	*place = hint;
	*(kept->youngest ? &kept->youngest->younger : &kept->oldest) = hint;
	kept->youngest = hint;
	if (kept->owed > 0)
		kept->owed--;
}

static void
read_words(HintsKept *kept, const HintWords *words)
{
	Cursor		c = cursor_of(bytes_of(words->bytes, words->len));
	uint8_t		format = cursor_u8(&c);
	uint64_t	passed = cursor_u64(&c);
	uint32_t	waiting = cursor_u32(&c);

	if (c.failed || format != HINTS_FORMAT)
		return;
	kept->heard_us = words->came_us;
	kept->passed = passed;
	kept->leader_waiting = waiting;
	while (cursor_left(&c) > 0)
	{
		Cursor		hint = cursor_of(cursor_string(&c));
		RecordName	name;

		name.version = cursor_u64(&hint);
		name.sum = cursor_u32(&hint);
		if (c.failed || hint.failed)
			break;
		keep(kept, name, bytes_of(hint.p, cursor_left(&hint)), words->came_us);
	}
}

/* The list in the order of coming. */
static HintWords *
turned(HintWords *words)
{
	HintWords  *first = NULL;

	while (words)
	{
		HintWords  *next = words->next;

		words->next = first;
		first = words;
		words = next;
	}
	return first;
}

static void
drop_words(HintsKept *kept, HintWords *words)
{
	while (words)
	{
		HintWords  *next = words->next;

		atomic_fetch_sub(&kept->bytes, sizeof(HintWords) + words->len);
		free(words);
		words = next;
	}
}

void
kept_read(HintsKept *kept)
{
	HintWords  *words;

	if (atomic_load(&kept->coming) == NULL)
		return;
	pthread_mutex_lock(&kept->reading);
	words = turned(atomic_exchange(&kept->coming, NULL));
	for (const HintWords *w = words; w; w = w->next)
	{
		pthread_mutex_lock(&kept->lock);
		read_words(kept, w);
		drop_old(kept, w->came_us);
		pthread_mutex_unlock(&kept->lock);
	}
	pthread_mutex_unlock(&kept->reading);
	drop_words(kept, words);
}

Hint *
kept_take(HintsKept *kept, RecordName name)
{
	Hint	   *hint;

	pthread_mutex_lock(&kept->lock);
	hint = hint_of(kept, name);
	if (hint)
		take_out(kept, hint);
	pthread_mutex_unlock(&kept->lock);
	return hint;
}

bool
kept_trim(HintsKept *kept, int64_t now_us)
{
	Hint	  **chains = NULL;
	bool		left;

	kept_read(kept);
	pthread_mutex_lock(&kept->lock);
	drop_old(kept, now_us);
	left = kept->oldest != NULL;
	if (!left)
	{
		chains = kept->chains;
		kept->chains = NULL;
	}
	pthread_mutex_unlock(&kept->lock);
	free(chains);
	return left;
}

void
kept_free(HintsKept *kept)
{
	(void) kept_trim(kept, INT64_MAX);
	pthread_mutex_destroy(&kept->lock);
	pthread_mutex_destroy(&kept->reading);
}

/* -- Waiting ------------------------------------------------------------------- */

static bool
is_turn(const HintsKept *kept, RecordName name)
{
	return kept->turn.version == name.version && kept->turn.sum == name.sum;
}

/* Until when its hint is waited for; 0: it is not. */
static int64_t
wait_until(HintsKept *kept, RecordName name, uint64_t waiting, int64_t now_us)
{
	int64_t		until_us;

	if (kept->heard_us == 0 || now_us >= kept->heard_us + HEARD_US || name.version < kept->passed ||
		kept->leader_waiting > 2 * waiting + AHEAD || kept->owed > 0)
		return 0;
	if (!is_turn(kept, name))
	{
		kept->turn = name;
		kept->turn_us = now_us;
	}
	until_us = kept->turn_us + TURN_US;
	if (now_us < until_us)
		return until_us;
	kept->owed_last = kept->owed_last == 0 ? OWED_FIRST : 2 * kept->owed_last < OWED_MOST ? 2 * kept->owed_last : OWED_MOST;
	kept->owed = kept->owed_last;
	atomic_fetch_add_explicit(&kept->vain, 1, memory_order_relaxed);
	return 0;
}

HnswAdvice
kept_advise(HintsKept *kept, RecordName name, uint64_t waiting, int64_t now_us)
{
	HnswAdvice	advice = HNSW_ALONE;
	int64_t		until_us = 0;

	pthread_mutex_lock(&kept->lock);
	if (hint_of(kept, name))
	{
		advice = HNSW_FOUND;
		if (is_turn(kept, name) && kept->owed == 0)
			kept->owed_last = 0;	/* it was worth it */
	}
	else
	{
		until_us = wait_until(kept, name, waiting, now_us);
		if (until_us != 0)
			advice = HNSW_WAIT;
	}
	atomic_store(&kept->awaited_us, until_us);

	/* What has come meanwhile did not find that it was waited for. */
	if (atomic_load(&kept->coming) != NULL)
		atomic_store(&kept->awaited_us, 0);
	pthread_mutex_unlock(&kept->lock);
	return advice;
}
