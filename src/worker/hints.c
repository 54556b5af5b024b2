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
 *		a list:		u16 number | each neighbour: name, u16 dropped * 2 + entered, names of those dropped
 *		a name:		u32 sum | i32 how much older than the hint's (INT32_MIN: of none)
 *
 *-------------------------------------------------------------------------
 */
#include "hints.h"

#include <stdlib.h>

#include "base/clock.h"
#include "hints_kept.h"
#include "shard.h"

#define NOBODY INT32_MIN
#define OUT_BYTES (512u << 10)	/* noted and not told yet */

struct Hints
{
	HintsKept	kept;			/* a follower's */

	/* The leader's */
	pthread_mutex_t lock;		/* of these three */
	Buf			out;			/* with room for the head; empty: nothing was noted */
	uint64_t	newest;			/* version that was linked */
	uint64_t	passed;			/* as it was said last */
	pthread_mutex_t telling;	/* words go out in the order in which they were taken */
};

Hints *
hints_new(void)
{
	Hints	   *hints = vt_alloc0(sizeof(Hints));

	kept_init(&hints->kept);
	pthread_mutex_init(&hints->lock, NULL);
	pthread_mutex_init(&hints->telling, NULL);
	return hints;
}

void
hints_free(Hints *hints)
{
	if (!hints)
		return;
	kept_free(&hints->kept);
	buf_free(&hints->out);
	pthread_mutex_destroy(&hints->lock);
	pthread_mutex_destroy(&hints->telling);
	free(hints);
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
		buf_put_u16(out, (uint16_t) found->n[list]);
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
		buf_put_zeros(&hints->out, HINTS_HEAD);
	if (hints->out.len < OUT_BYTES)
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
		hints->out.data[0] = HINTS_FORMAT;
		buf_set_u64(&hints->out, 1, hints->passed);
		buf_set_u32(&hints->out, 9, waiting > UINT32_MAX ? UINT32_MAX : (uint32_t) waiting);
		*out = hints->out;
		hints->out = (Buf) {0};
	}
	pthread_mutex_unlock(&hints->lock);
	return any;
}

/* -- A follower's ------------------------------------------------------------- */

void
hints_take(Hints *hints, Bytes words, int64_t now_us)
{
	kept_come(&hints->kept, words, now_us);
}

HnswAdvice
hints_advise(Hints *hints, RecordName name, uint64_t waiting, int64_t now_us)
{
	return kept_advise(&hints->kept, name, waiting, now_us);
}

bool
hints_awaited(const Hints *hints, int64_t now_us)
{
	return hints && now_us < atomic_load(&hints->kept.awaited_us);
}

bool
hints_trim(Hints *hints, int64_t now_us)
{
	return hints && kept_trim(&hints->kept, now_us);
}

void
hints_figures(const Hints *hints, HintsFigures *out)
{
	memset(out, 0, sizeof(*out));
	if (!hints)
		return;
	out->bytes = atomic_load(&hints->kept.bytes);
	out->refused = atomic_load(&hints->kept.refused);
	out->vain = atomic_load(&hints->kept.vain);
}

/* -- A follower's: reading one -------------------------------------------------- */

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
		uint16_t	n = cursor_u16(&c);

		hnsw_found_list(found);
		for (uint16_t i = 0; i < n && !c.failed; i++)
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
	Hint	   *hint = kept_take(&hints->kept, name);
	bool		fine;

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

void
hints_begin(Shard *shard, HnswHelp *help)
{
	ReplicaStatus status;

	*help = (HnswHelp) {.arg = shard};
	if (!shard->hints)
		return;
	replica_status(shard->replica, &status);
	if (status.leader && !status.alone)
		help->found = on_found;
	if (status.leader)
		return;
	kept_read(&shard->hints->kept);
	help->ask = on_ask;
	help->find = on_find;
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

bool
hints_hold_up(Shard *shard, int64_t now_us)
{
	ReplicaStatus status;

	if (!hints_awaited(shard->hints, now_us))
		return false;
	replica_status(shard->replica, &status);
	return !status.leader;
}

void
hints_told(void *arg, uint64_t from, Bytes words)
{
	Shard	   *shard = (Shard *) arg;
	ReplicaStatus status = {0};

	if (shard->replica)			/* else it is being opened */
		replica_status(shard->replica, &status);
	if (from == 0 || status.leader_replica != from)
		return;
	hints_take(shard->hints, words, clock_now_us());
	shard_stir_for(shard, LOOK_WAITING);
	shard_stir_for(shard, LOOK_MEND);	/* there is something to let go of by and by */
	if (shard->on_told)
		shard->on_told(shard->on_waiting_arg);
}
