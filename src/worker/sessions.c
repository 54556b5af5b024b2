/*-------------------------------------------------------------------------
 *
 * sessions.c
 *	  Commands of a collection are done once.
 *
 * In memory stands what holds after the newest entry applied, on disk every fact
 * with the index of the entry that made it (session_facts.h).
 *
 * Law S3.  After a power loss some of this may be of entries that replay has not
 * come to again.  So a start takes only what is of entries up to where replay
 * begins, and replay finds at each entry what stood there the first time: the first
 * of two equal commands is done again although its trace has survived, and the second
 * is not although the first one's is lost.  For that nothing which a replay could
 * ask for may go before a checkpoint covers its end: in memory a settled number is
 * forgotten at once, on disk by sessions_trim().
 *
 * Log time counts milliseconds in which some leader was watching: each adds what
 * it has measured with a clock that only runs, and the sum is in the log.  No
 * wall clock has a part in it, and a session never ends early because of one.
 *
 *-------------------------------------------------------------------------
 */
#include "sessions.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/hash.h"
#include "session_facts.h"

typedef struct Session
{
	uint64_t	id;
	uint64_t	settled;
	uint64_t	used;			/* log time */
	SessionDone *done;			/* by sequence */
	uint32_t	n;
	uint32_t	room;
} Session;

struct Sessions
{
	Session    *items;			/* by id */
	uint32_t	n;
	uint32_t	room;
	uint64_t	time;			/* log time */

	atomic_uint count;			/* n and time, for others */
	atomic_uint_fast64_t clock;
};

Sessions *
sessions_new(void)
{
	return vt_alloc0(sizeof(Sessions));
}

static void
clear(Sessions *sessions)
{
	for (uint32_t i = 0; i < sessions->n; i++)
		free(sessions->items[i].done);
	sessions->n = 0;
	sessions->time = 0;
}

void
sessions_free(Sessions *sessions)
{
	if (!sessions)
		return;
	clear(sessions);
	free(sessions->items);
	free(sessions);
}

static void
publish(Sessions *sessions)
{
	atomic_store(&sessions->count, sessions->n);
	atomic_store(&sessions->clock, sessions->time);
}

uint32_t
sessions_count(const Sessions *sessions)
{
	return atomic_load(&sessions->count);
}

uint64_t
sessions_clock(const Sessions *sessions)
{
	return atomic_load(&sessions->clock);
}

/* -- In memory --------------------------------------------------------------- */

static Session *
find(const Sessions *sessions, uint64_t id)
{
	uint32_t	low = 0;
	uint32_t	high = sessions->n;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (sessions->items[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < sessions->n && sessions->items[low].id == id ? &sessions->items[low] : NULL;
}

/* Its number is higher than those of all others. */
static Session *
add(Sessions *sessions, uint64_t id, uint64_t used)
{
	Session    *s;

	Assert(sessions->n == 0 || sessions->items[sessions->n - 1].id < id);
	if (sessions->n == sessions->room)
	{
		sessions->room = sessions->room ? sessions->room * 2 : 8;
		sessions->items = vt_realloc(sessions->items, sizeof(Session) * sessions->room);
	}
	s = &sessions->items[sessions->n++];
	memset(s, 0, sizeof(*s));
	s->id = id;
	s->used = used;
	return s;
}

static void
settle(Session *s, uint64_t settled)
{
	uint32_t	gone = 0;

	if (settled <= s->settled)
		return;
	s->settled = settled;
	while (gone < s->n && s->done[gone].sequence < settled)
		gone++;
	s->n -= gone;
	if (s->n > 0)
		memmove(s->done, s->done + gone, sizeof(SessionDone) * s->n);
}

/* What is settled leaves room, so n stays below SESSION_WINDOW; of a load it may be more. */
static void
remember(Session *s, const SessionDone *done)
{
	uint32_t	at = s->n;

	if (s->n == s->room)
	{
		s->room = s->room ? s->room * 2 : 4;
		s->done = vt_realloc(s->done, sizeof(SessionDone) * s->room);
	}
	while (at > 0 && s->done[at - 1].sequence > done->sequence)
		at--;
	memmove(s->done + at + 1, s->done + at, sizeof(SessionDone) * (s->n - at));
	s->done[at] = *done;
	s->n++;
}

VtStatus
sessions_judge(const Sessions *sessions, const WireWrite *write, bool *repeated, SessionDone *done)
{
	const Session *s = find(sessions, write->session);
	uint64_t	settled;

	*repeated = false;
	if (!s)
		return vt_broken("E1-over") ? VT_OK : VT_SESSION_OVER;
	settled = write->settled > s->settled ? write->settled : s->settled;
	if (write->sequence < settled && !vt_broken("E1-settled"))
		return VT_SESSION_OVER;
	for (uint32_t i = 0; i < s->n && !vt_broken("E1-once"); i++)
		if (s->done[i].sequence == write->sequence)
		{
			*repeated = true;
			*done = s->done[i];
			return VT_OK;
		}
	return write->sequence < settled || write->sequence - settled < SESSION_WINDOW ? VT_OK : VT_INVALID;
}

VtStatus
sessions_have_room(const Sessions *sessions)
{
	return sessions->n < SESSIONS_MAX ? VT_OK : VT_FULL;
}

/* -- From disk ----------------------------------------------------------------- */

static VtStatus
read_time(Sessions *sessions, StoreIter *times, uint64_t applied, uint64_t *newest, VtError *err)
{
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(times, &key, &value))
	{
		if (key.len != 9 || value.len != 8)
			status = session_fact_damaged(err);
		else if (get_be64(key.data + 1) <= applied)
			sessions->time = get_le64(value.data);
		if (status == VT_OK && get_be64(key.data + 1) > *newest)
			*newest = get_be64(key.data + 1);
	}
	return status == VT_OK ? store_iter_status(times, err) : status;
}

SessionsOnDisk
sessions_pin(Store *rows)
{
	return (SessionsOnDisk) {
		.facts = store_iter_open(rows, bytes_of("s", 1), bytes_of("t", 1)),
		.times = store_iter_open(rows, bytes_of("t", 1), bytes_of("u", 1))
	};
}

void
sessions_unpin(SessionsOnDisk *pinned)
{
	store_iter_close(pinned->facts);
	store_iter_close(pinned->times);
}

VtStatus
sessions_read(Sessions *sessions, SessionsOnDisk *pinned, uint64_t applied, uint64_t *newest, VtError *err)
{
	uint64_t	ended = 0;		/* the session at hand has; or is not of this time */
	SessionFact		last = {0};		/* what the checkpoint says of it */
	Session    *s = NULL;
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	clear(sessions);
	/* The facts of a session come in the order of their letters. */
	while (status == VT_OK && store_iter_next(pinned->facts, &key, &value))
	{
		SessionFact		fact;

		if (!session_fact_get(key, value, &fact))
		{
			status = session_fact_damaged(err);
			break;
		}
		if (fact.index > *newest)
			*newest = fact.index;
		if (fact.index > applied && !(vt_broken("E1-replay") && fact.kind == 'r' && s && s->id == fact.session))
			continue;
		if (fact.kind == 'e')
			ended = fact.session;
		else if (fact.kind == 'l')
			last = fact;
		else if (fact.session == ended)
			continue;
		else if (fact.kind == 'o')
		{
			s = add(sessions, fact.session, fact.used);
			if (last.session == fact.session)
			{
				s->used = last.used;
				settle(s, last.settled);
			}
		}
		else if (!s || s->id != fact.session)
			status = session_fact_damaged(err);
		else
		{
			if (fact.used > s->used)
				s->used = fact.used;
			remember(s, &fact.done);
			settle(s, fact.settled);
		}
	}
	if (status == VT_OK)
		status = store_iter_status(pinned->facts, err);

	/* A number behind one that was settled later. */
	for (uint32_t i = 0; i < sessions->n && status == VT_OK; i++)
	{
		uint64_t	settled = sessions->items[i].settled;

		sessions->items[i].settled = 0;
		settle(&sessions->items[i], settled);
	}
	if (status == VT_OK)
		status = read_time(sessions, pinned->times, applied, newest, err);
	publish(sessions);
	return status;
}

VtStatus
sessions_load(Sessions *sessions, Store *rows, uint64_t applied, uint64_t *newest, VtError *err)
{
	SessionsOnDisk pinned = sessions_pin(rows);
	VtStatus	status = sessions_read(sessions, &pinned, applied, newest, err);

	sessions_unpin(&pinned);
	return status;
}

/* -- Entries ------------------------------------------------------------------- */

void
sessions_open(Sessions *sessions, StoreBatch *batch, uint64_t index)
{
	(void) add(sessions, index, sessions->time);
	session_fact_numbers(batch, index, 'o', sessions->time, 0);
	publish(sessions);
}

void
sessions_note(Sessions *sessions, StoreBatch *batch, const WireWrite *write, const SessionDone *done)
{
	Session    *s = find(sessions, write->session);

	if (vt_broken("E1-over") && !s)
		return;
	s->used = sessions->time;
	settle(s, write->settled);
	remember(s, done);
	session_fact_done(batch, s->id, done, s->settled, s->used);
	if (vt_broken("E1-early"))
		for (uint64_t seq = s->settled > SESSION_WINDOW ? s->settled - SESSION_WINDOW : 0; seq < s->settled; seq++)
		{
			uint8_t		key[18] = {'s'};

			put_be64(key + 1, s->id);
			key[9] = 'r';
			put_be64(key + 10, seq);
			store_batch_delete(batch, bytes_of(key, sizeof(key)));
		}
}

void
sessions_expire(Sessions *sessions, StoreBatch *batch, const WireWrite *write, uint64_t index)
{
	uint32_t	kept = 0;

	if (write->sequence > sessions->time)
		sessions->time = write->sequence;
	session_fact_time(batch, index, sessions->time);
	for (uint32_t i = 0; i < sessions->n; i++)
	{
		Session    *s = &sessions->items[i];

		if (s->used >= write->settled)
		{
			sessions->items[kept++] = *s;
			continue;
		}
		session_fact_numbers(batch, s->id, 'e', index, 0);
		free(s->done);
	}
	sessions->n = kept;
	publish(sessions);
}

/* -- Splits -------------------------------------------------------------------- */

static void
frozen_key(uint8_t key[9], uint64_t index)
{
	key[0] = 'h';
	put_be64(key + 1, index);
}

/* All of it, in one order. */
static void
put_all(Buf *out, const Sessions *sessions)
{
	buf_put_u8(out, SESSION_FORMAT);
	buf_put_u64(out, sessions->time);
	buf_put_u32(out, sessions->n);
	for (uint32_t i = 0; i < sessions->n; i++)
	{
		const Session *s = &sessions->items[i];

		buf_put_u64(out, s->id);
		buf_put_u64(out, s->settled);
		buf_put_u64(out, s->used);
		buf_put_u32(out, s->n);
		for (uint32_t k = 0; k < s->n; k++)
		{
			buf_put_u64(out, s->done[k].sequence);
			buf_put_u64(out, s->done[k].index);
			buf_put_u64(out, s->done[k].first);
			buf_put_u64(out, s->done[k].last);
		}
	}
}

uint64_t
sessions_digest(const Sessions *sessions)
{
	Buf			all = {0};
	uint64_t	digest;

	put_all(&all, sessions);
	digest = hash_checksum(buf_bytes(&all));
	buf_free(&all);
	return digest;
}

void
sessions_freeze(const Sessions *sessions, StoreBatch *batch, uint64_t index)
{
	uint8_t		key[9];
	Buf			value = {0};

	frozen_key(key, index);
	put_all(&value, sessions);
	store_batch_put(batch, bytes_of(key, sizeof(key)), buf_bytes(&value));
	buf_free(&value);
}

void
sessions_thaw(StoreBatch *batch, uint64_t index)
{
	uint8_t		key[9];

	frozen_key(key, index);
	store_batch_delete(batch, bytes_of(key, sizeof(key)));
}

VtStatus
sessions_bequeath(Store *parent, uint64_t index, StoreBatch *child, VtError *err)
{
	uint8_t		key[9];
	Buf			value = {0};
	Cursor		c;
	uint8_t		format;
	uint32_t	n;
	VtStatus	status;

	if (vt_broken("E1-split"))
		return VT_OK;
	frozen_key(key, index);
	status = store_get(parent, bytes_of(key, sizeof(key)), &value, err);
	if (status == VT_NOT_FOUND)
		status = vt_fail(err, VT_CORRUPT, "the sessions of a split at %llu are not here", (unsigned long long) index);
	if (status != VT_OK)
		return status;
	c = cursor_of(buf_bytes(&value));
	format = cursor_u8(&c);
	session_fact_time(child, index, cursor_u64(&c));
	n = cursor_u32(&c);
	for (uint32_t i = 0; i < n && !c.failed; i++)
	{
		uint64_t	id = cursor_u64(&c);
		uint64_t	settled = cursor_u64(&c);
		uint64_t	used = cursor_u64(&c);
		uint32_t	commands = cursor_u32(&c);

		session_fact_numbers(child, id, 'o', used, 0);
		session_fact_numbers(child, id, 'l', settled, used);
		for (uint32_t k = 0; k < commands && !c.failed; k++)
		{
			SessionDone done;

			done.sequence = cursor_u64(&c);
			done.index = cursor_u64(&c);
			done.first = cursor_u64(&c);
			done.last = cursor_u64(&c);
			session_fact_done(child, id, &done, settled, used);
		}
	}
	status = cursor_done(&c) && format == SESSION_FORMAT ? VT_OK : session_fact_damaged(err);
	buf_free(&value);
	return status;
}
