/*-------------------------------------------------------------------------
 *
 * hints.c
 *	  What a leader found when it linked a vector, for its followers.
 *
 * Words of a leader:
 *
 *		u8 format (1) | u64 passed | u32 waiting | a string for each hint
 *
 * passed: of what is older all is linked, and how was said before.  waiting: how many are not.
 * A hint:
 *
 *		u64 version | u32 sum | u8 lists
 *		0 lists:	name of the record that it hangs behind
 *		a list:		u8 number | each neighbour: name, u16 dropped * 2 + entered, names of those dropped
 *		a name:		u32 sum | i32 how much older than the hint's (INT32_MIN: of none)
 *
 * They come about in the order in which a follower links, and a little before or after
 * the record itself.  So a follower keeps some, by name, and drops the oldest.
 *
 * How long a follower waits.  Nothing is lost by it: what waits is found by searches all the same.
 * Nor is there much to win by not waiting, since a leader that gets on is as fast as
 * it is.  But one that does not (it is gone, stands still, links a backlog of its own
 * first, or its words were lost) must not keep a follower from linking.
 *
 *-------------------------------------------------------------------------
 */
#include "hints.h"

#include <stdlib.h>

#include "base/clock.h"
#include "shard.h"

#define FORMAT 1
#define HEAD 13					/* bytes before the first hint */
#define NOBODY INT32_MIN

#define CHAINS 1024				/* a power of two */
#define KEPT_BYTES (1u << 20)	/* of a shard */
#define KEPT_US (10 * INT64_C(1000000))

/* Waiting: */
#define HEARD_US INT64_C(1000000)	/* since the leader was heard from at most, */
#define TURN_US (2 * INT64_C(1000000))	/* for one record at most, */
#define AHEAD 256				/* while it has no more before it than twice our own and so many */

typedef struct Hint
{
	struct Hint *next;			/* in its chain */
	struct Hint *older;
	struct Hint *younger;
	RecordName	name;
	int64_t		came_us;
	uint32_t	len;
	uint8_t		bytes[];		/* behind the name */
} Hint;

struct Hints
{
	pthread_mutex_t lock;		/* of all but the last */

	/* The leader's */
	Buf			out;			/* with room for the head; empty: nothing was noted */
	uint64_t	newest;			/* version that was noted */
	uint64_t	passed;			/* as it was said last */
	pthread_mutex_t telling;	/* words go out in the order in which they were taken */

	/* A follower's */
	Hint	  **chains;			/* NULL: none is kept */
	Hint	   *oldest;
	Hint	   *youngest;
	size_t		bytes;
	int64_t		heard_us;		/* 0: never */
	uint64_t	leader_passed;
	uint64_t	leader_waiting;
	RecordName	turn;			/* whose it is, ... */
	int64_t		turn_us;		/* ... since then */
	atomic_llong awaited_us;	/* its hint is waited for until then; 0: it is not */
};

Hints *
hints_new(void)
{
	Hints	   *hints = vt_alloc0(sizeof(Hints));

	pthread_mutex_init(&hints->lock, NULL);
	pthread_mutex_init(&hints->telling, NULL);
	return hints;
}

/* -- The leader's ------------------------------------------------------------ */

static void
put_name(Buf *out, RecordName own, RecordName name)
{
	int64_t		older = (int64_t) (own.version - name.version);
	bool		fits = name.version != 0 && older > INT32_MIN && older <= INT32_MAX;

	buf_put_u32(out, name.sum);
	buf_put_u32(out, (uint32_t) (fits ? (int32_t) older : NOBODY));
}

static void
put_lists(Buf *out, const Records *records, RecordName own, const HnswFound *found)
{
	const HnswLink *link = found->links;
	const uint32_t *dropped = found->dropped;

	for (uint32_t list = 0; list < found->nlists; list++)
	{
		buf_put_u8(out, (uint8_t) found->n[list]);
		for (uint32_t i = 0; i < found->n[list]; i++, link++)
		{
			put_name(out, own, records_name(records, link->slot));
			buf_put_u16(out, (uint16_t) (link->ndropped * 2 + link->entered));
			for (uint32_t j = 0; j < link->ndropped; j++)
				put_name(out, own, records_name(records, *dropped++));
		}
	}
}

void
hints_note(Hints *hints, const Records *records, uint32_t slot, const HnswFound *found)
{
	RecordName	own = records_name(records, slot);
	Buf			hint = {0};

	if (own.version == 0)
		return;					/* it has died meanwhile */
	buf_put_u64(&hint, own.version);
	buf_put_u32(&hint, own.sum);
	buf_put_u8(&hint, (uint8_t) found->nlists);
	if (found->nlists == 0)
		put_name(&hint, own, records_name(records, found->twin));
	else
		put_lists(&hint, records, own, found);

	pthread_mutex_lock(&hints->lock);
	if (hints->out.len == 0)
		buf_put_zeros(&hints->out, HEAD);
	buf_put_string(&hints->out, buf_bytes(&hint));
	if (own.version > hints->newest)
		hints->newest = own.version;
	pthread_mutex_unlock(&hints->lock);
	buf_free(&hint);
}

bool
hints_words(Hints *hints, Records *records, Buf *out)
{
	uint32_t	guard = records_enter(records);
	uint32_t	oldest = hnsw_oldest_waiting(records_graph(records));
	uint64_t	version = oldest == HNSW_NO_SLOT ? 0 : records_slot_version(records, oldest);
	uint64_t	waiting = records_waiting(records);
	bool		any;

	records_leave(records, guard);

	/* What was linked before the oldest was looked for was noted before. */
	pthread_mutex_lock(&hints->lock);
	any = hints->out.len > 0;
	if (any)
	{
		if (oldest == HNSW_NO_SLOT)
			version = hints->newest + 1;
		if (version != 0)		/* else that one has just died */
			hints->passed = version;
		hints->out.data[0] = FORMAT;
		buf_set_u64(&hints->out, 1, hints->passed);
		buf_set_u32(&hints->out, 9, waiting > UINT32_MAX ? UINT32_MAX : (uint32_t) waiting);
		*out = hints->out;
		hints->out = (Buf) {0};
	}
	pthread_mutex_unlock(&hints->lock);
	return any;
}

/* -- A follower's: what is kept ---------------------------------------------- */

/* With the lock held, as all of these; NULL: there is none. */
static Hint **
place_of(Hints *hints, RecordName name)
{
	Hint	  **p = &hints->chains[(name.sum ^ (uint32_t) name.version) & (CHAINS - 1)];

	while (*p && ((*p)->name.version != name.version || (*p)->name.sum != name.sum))
		p = &(*p)->next;
	return p;
}

static Hint *
hint_of(Hints *hints, RecordName name)
{
	return hints->chains ? *place_of(hints, name) : NULL;
}

/* Out of its chain and of the order of age; the caller frees it. */
static void
take_out(Hints *hints, Hint *hint)
{
	*place_of(hints, hint->name) = hint->next;
	*(hint->older ? &hint->older->younger : &hints->oldest) = hint->younger;
	*(hint->younger ? &hint->younger->older : &hints->youngest) = hint->older;
	hints->bytes -= sizeof(Hint) + hint->len;
}

static void
drop_oldest(Hints *hints)
{
	Hint	   *hint = hints->oldest;

	take_out(hints, hint);
	free(hint);
}

static void
drop_old(Hints *hints, int64_t now_us)
{
	while (hints->oldest && now_us - hints->oldest->came_us > KEPT_US)
		drop_oldest(hints);
}

static void
keep(Hints *hints, RecordName name, Bytes bytes, int64_t now_us)
{
	Hint	   *hint;
	Hint	  **place;

	if (sizeof(Hint) + bytes.len > KEPT_BYTES)
		return;
	if (!hints->chains)
		hints->chains = vt_alloc0(sizeof(Hint *) * CHAINS);
	if (*place_of(hints, name))
		return;					/* it came twice */
	while (hints->bytes + sizeof(Hint) + bytes.len > KEPT_BYTES)
		drop_oldest(hints);
	hint = vt_alloc(sizeof(Hint) + bytes.len);
	place = place_of(hints, name);
	*hint = (Hint) {.name = name, .came_us = now_us, .len = (uint32_t) bytes.len, .older = hints->youngest};
	memcpy(hint->bytes, bytes.data, bytes.len);
	*place = hint;
	*(hints->youngest ? &hints->youngest->younger : &hints->oldest) = hint;
	hints->youngest = hint;
	hints->bytes += sizeof(Hint) + bytes.len;
}

void
hints_take(Hints *hints, Bytes words, int64_t now_us)
{
	Cursor		c = cursor_of(words);
	uint8_t		format = cursor_u8(&c);
	uint64_t	passed = cursor_u64(&c);
	uint32_t	waiting = cursor_u32(&c);

	if (c.failed || format != FORMAT)
		return;
	pthread_mutex_lock(&hints->lock);
	hints->heard_us = now_us;
	hints->leader_passed = passed;
	hints->leader_waiting = waiting;
	drop_old(hints, now_us);
	while (cursor_left(&c) > 0)
	{
		Cursor		hint = cursor_of(cursor_string(&c));
		RecordName	name;

		name.version = cursor_u64(&hint);
		name.sum = cursor_u32(&hint);
		if (c.failed || hint.failed)
			break;
		keep(hints, name, bytes_of(hint.p, cursor_left(&hint)), now_us);
	}
	atomic_store(&hints->awaited_us, 0);
	pthread_mutex_unlock(&hints->lock);
}

bool
hints_trim(Hints *hints, int64_t now_us)
{
	bool		left;

	if (!hints)
		return false;
	pthread_mutex_lock(&hints->lock);
	drop_old(hints, now_us);
	left = hints->oldest != NULL;
	if (!left)
	{
		free(hints->chains);
		hints->chains = NULL;
	}
	pthread_mutex_unlock(&hints->lock);
	return left;
}

void
hints_free(Hints *hints)
{
	if (!hints)
		return;
	(void) hints_trim(hints, INT64_MAX);
	buf_free(&hints->out);
	pthread_mutex_destroy(&hints->lock);
	pthread_mutex_destroy(&hints->telling);
	free(hints);
}

/* -- A follower's: what is to be done ------------------------------------------ */

/* Until when its hint is waited for; 0: it is not. */
static int64_t
wait_until(Hints *hints, RecordName name, uint64_t waiting, int64_t now_us)
{
	int64_t		until_us;

	if (hints->heard_us == 0 || name.version < hints->leader_passed || hints->leader_waiting > 2 * waiting + AHEAD)
		return 0;
	if (hints->turn.version != name.version || hints->turn.sum != name.sum)
	{
		hints->turn = name;
		hints->turn_us = now_us;
	}
	until_us = hints->heard_us + HEARD_US < hints->turn_us + TURN_US ? hints->heard_us + HEARD_US : hints->turn_us + TURN_US;
	return now_us < until_us ? until_us : 0;
}

HnswAdvice
hints_advise(Hints *hints, RecordName name, uint64_t waiting, int64_t now_us)
{
	HnswAdvice	advice = HNSW_ALONE;
	int64_t		until_us = 0;

	pthread_mutex_lock(&hints->lock);
	if (hint_of(hints, name))
		advice = HNSW_FOUND;
	else
	{
		until_us = wait_until(hints, name, waiting, now_us);
		if (until_us != 0)
			advice = HNSW_WAIT;
	}
	atomic_store(&hints->awaited_us, until_us);
	pthread_mutex_unlock(&hints->lock);
	return advice;
}

bool
hints_awaited(const Hints *hints, int64_t now_us)
{
	return hints && now_us < atomic_load(&hints->awaited_us);
}

/* -- A follower's: reading ------------------------------------------------------ */

typedef struct Names
{
	RecordName *names;
	uint32_t	n;
	uint32_t	room;
} Names;

static void
get_name(Cursor *c, RecordName own, Names *out)
{
	RecordName	name = {.sum = cursor_u32(c)};
	int32_t		older = (int32_t) cursor_u32(c);

	if (older != NOBODY)
		name.version = own.version - (uint64_t) (int64_t) older;
	if (out->n == out->room)
	{
		out->room = out->room ? 2 * out->room : 64;
		out->names = vt_realloc(out->names, sizeof(RecordName) * out->room);
	}
	out->names[out->n++] = name;
}

/*
 * Into *found with places of *names where slots belong, and those in the order in which they
 * stand there: neighbours and what each dropped.
 */
static bool
read_hint(const Hint *hint, HnswFound *found, Names *names)
{
	Cursor		c = cursor_of(bytes_of(hint->bytes, hint->len));
	uint8_t		nlists = cursor_u8(&c);

	if (nlists == 0)
		get_name(&c, hint->name, names);
	for (uint8_t list = 0; list < nlists && list < HNSW_LISTS_MAX && !c.failed; list++)
	{
		uint8_t		n = cursor_u8(&c);

		hnsw_found_list(found);
		for (uint8_t i = 0; i < n && !c.failed; i++)
		{
			uint16_t	word;

			hnsw_found_link(found, names->n, false);
			get_name(&c, hint->name, names);
			word = cursor_u16(&c);
			found->links[found->nlinks - 1].entered = word & 1;
			for (uint16_t j = 0; j < word / 2 && !c.failed; j++)
			{
				hnsw_found_drop(found, names->n);
				get_name(&c, hint->name, names);
			}
		}
	}
	return cursor_done(&c);
}

static void
put_slots(HnswFound *found, const uint32_t *slots)
{
	for (uint32_t i = 0; i < found->nlinks; i++)
		found->links[i].slot = slots[found->links[i].slot];
	for (uint32_t i = 0; i < found->ndropped; i++)
		found->dropped[i] = slots[found->dropped[i]];
	if (found->nlists == 0)
		found->twin = slots[0];
}

bool
hints_find(Hints *hints, Records *records, RecordName name, HnswFound *found)
{
	Names		names = {0};
	uint32_t   *slots;
	Hint	   *hint;
	bool		fine;

	pthread_mutex_lock(&hints->lock);
	hint = hint_of(hints, name);
	if (hint)
		take_out(hints, hint);
	pthread_mutex_unlock(&hints->lock);
	fine = hint && read_hint(hint, found, &names);
	if (fine)
	{
		slots = vt_alloc(sizeof(uint32_t) * names.n);
		records_locate(records, names.names, names.n, slots);
		put_slots(found, slots);
		/* The one it hung behind there is not here. */
		fine = found->nlists > 0 || found->twin != HNSW_NO_SLOT;
		free(slots);
	}
	free(names.names);
	free(hint);
	return fine;
}

/* -- Of a shard ------------------------------------------------------------------ */

static HnswAdvice
on_ask(void *arg, uint32_t slot)
{
	const Shard *shard = (const Shard *) arg;
	RecordName	name = records_name(shard->records, slot);

	if (name.version == 0)
		return HNSW_ALONE;
	return hints_advise(shard->hints, name, records_waiting(shard->records), clock_now_us());
}

static bool
on_find(void *arg, uint32_t slot, HnswFound *found)
{
	const Shard *shard = (const Shard *) arg;

	return hints_find(shard->hints, shard->records, records_name(shard->records, slot), found);
}

static void
on_found(void *arg, uint32_t slot, const HnswFound *found)
{
	const Shard *shard = (const Shard *) arg;

	hints_note(shard->hints, shard->records, slot, found);
}

/* Does it lead others? */
static bool
leads(const Shard *shard)
{
	ReplicaStatus status;
	ReplicaMembers members;

	replica_status(shard->replica, &status);
	if (!status.leader)
		return false;
	replica_members(shard->replica, &members);
	return members.n > 1;
}

void
hints_begin(Shard *shard, HnswHelp *help)
{
	*help = (HnswHelp) {.arg = shard};
	if (!shard->hints)
		return;
	if (leads(shard))
		help->found = on_found;
	else
	{
		help->ask = on_ask;
		help->find = on_find;
	}
}

void
hints_end(Shard *shard, uint32_t linked)
{
	Buf			words = {0};

	if (!shard->hints || linked == 0)
		return;
	pthread_mutex_lock(&shard->hints->telling);
	if (hints_words(shard->hints, shard->records, &words))
		replica_tell(shard->replica, &words);
	pthread_mutex_unlock(&shard->hints->telling);
}

void
hints_told(void *arg, uint64_t from, Bytes words)
{
	Shard	   *shard = (Shard *) arg;

	(void) from;
	hints_take(shard->hints, words, clock_now_us());
	shard_stir_for(shard, LOOK_WAITING);
	shard_stir_for(shard, LOOK_MEND);	/* there is something to let go of by and by */
	if (shard->on_waiting)
		shard->on_waiting(shard->on_waiting_arg);
}
