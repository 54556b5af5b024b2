/*-------------------------------------------------------------------------
 *
 * session_facts.c
 *	  What is on disk of sessions: written, read, and let go when a checkpoint
 *	  covers it.
 *
 *-------------------------------------------------------------------------
 */
#include "session_facts.h"
#include "sessions.h"

static void
put_fact(StoreBatch *batch, uint64_t session, char kind, uint64_t sequence, const Buf *value)
{
	uint8_t		key[18] = {'s'};

	put_be64(key + 1, session);
	key[9] = (uint8_t) kind;
	put_be64(key + 10, sequence);
	store_batch_put(batch, bytes_of(key, kind == 'r' ? 18 : 10), buf_bytes(value));
}

void
session_fact_done(StoreBatch *batch, uint64_t session, const SessionDone *done, uint64_t settled, uint64_t used)
{
	Buf			value = {0};

	buf_put_u8(&value, SESSION_FORMAT);
	buf_put_u64(&value, done->index);
	buf_put_u64(&value, settled);
	buf_put_u64(&value, used);
	buf_put_u64(&value, done->first);
	buf_put_u64(&value, done->last);
	put_fact(batch, session, 'r', done->sequence, &value);
	buf_free(&value);
}

void
session_fact_numbers(StoreBatch *batch, uint64_t session, char kind, uint64_t a, uint64_t b)
{
	Buf			value = {0};

	buf_put_u8(&value, SESSION_FORMAT);
	buf_put_u64(&value, a);
	if (kind == 'l')
		buf_put_u64(&value, b);
	put_fact(batch, session, kind, 0, &value);
	buf_free(&value);
}

void
session_fact_time(StoreBatch *batch, uint64_t index, uint64_t time)
{
	uint8_t		key[9] = {'t'};
	uint8_t		value[8];

	put_be64(key + 1, index);
	put_le64(value, time);
	store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)));
}

bool
session_fact_get(Bytes key, Bytes value, SessionFact *out)
{
	Cursor		c = cursor_of(value);
	uint8_t		format = cursor_u8(&c);

	memset(out, 0, sizeof(*out));
	if (key.len < 10 || format != SESSION_FORMAT)
		return false;
	out->session = get_be64(key.data + 1);
	out->kind = (char) key.data[9];
	if (key.len != (out->kind == 'r' ? 18 : 10))
		return false;
	switch (out->kind)
	{
		case 'e':
			out->index = cursor_u64(&c);
			break;
		case 'l':
			out->settled = cursor_u64(&c);
			out->used = cursor_u64(&c);
			break;
		case 'o':
			out->index = out->session;
			out->used = cursor_u64(&c);
			break;
		case 'r':
			out->done.sequence = get_be64(key.data + 10);
			out->index = out->done.index = cursor_u64(&c);
			out->settled = cursor_u64(&c);
			out->used = cursor_u64(&c);
			out->done.first = cursor_u64(&c);
			out->done.last = cursor_u64(&c);
			break;
		default:
			return false;
	}
	return cursor_done(&c) && out->done.first <= out->done.last;
}

VtStatus
session_fact_damaged(VtError *err)
{
	return vt_fail(err, VT_CORRUPT, "what is kept of a session is damaged or of a newer version");
}

/* -- Checkpoints --------------------------------------------------------------- */

/* The facts of one session, as they are read. */
typedef struct Trim
{
	StoreBatch *batch;
	uint64_t	index;			/* of the checkpoint */
	bool		ended;
	bool		has_last;
	SessionFact		last;			/* as it stands there */
	uint64_t	settled;
	uint64_t	used;
	Buf			keys;			/* strings: of all that go with the session */
	Buf			done;			/* sequences of commands covered by the checkpoint, u64 each */
	uint64_t	session;
} Trim;

static void
trim_end(Trim *trim)
{
	Cursor		c = cursor_of(buf_bytes(trim->ended ? &trim->keys : &trim->done));

	while (trim->ended && cursor_left(&c) > 0)
		store_batch_delete(trim->batch, cursor_string(&c));
	while (!trim->ended && cursor_left(&c) > 0)
	{
		uint64_t	sequence = cursor_u64(&c);
		uint8_t		key[18] = {'s'};

		if (sequence >= trim->settled)
			continue;
		put_be64(key + 1, trim->session);
		key[9] = 'r';
		put_be64(key + 10, sequence);
		store_batch_delete(trim->batch, bytes_of(key, sizeof(key)));
	}
	if (!trim->ended && trim->done.len > 0 &&
		(!trim->has_last || trim->last.settled != trim->settled || trim->last.used != trim->used))
		session_fact_numbers(trim->batch, trim->session, 'l', trim->settled, trim->used);
	buf_clear(&trim->keys);
	buf_clear(&trim->done);
	trim->ended = trim->has_last = false;
	trim->settled = trim->used = 0;
}

static void
trim_fact(Trim *trim, Bytes key, const SessionFact *fact)
{
	if (fact->session != trim->session)
		trim_end(trim);
	trim->session = fact->session;
	if (fact->index > trim->index)
		return;
	buf_put_string(&trim->keys, key);
	if (fact->kind == 'e')
		trim->ended = true;
	else if (fact->kind == 'l')
	{
		trim->has_last = true;
		trim->last = *fact;
	}
	else if (fact->kind == 'r')
		buf_put_u64(&trim->done, fact->done.sequence);
	if (fact->settled > trim->settled)
		trim->settled = fact->settled;
	if (fact->used > trim->used)
		trim->used = fact->used;
}

/* Of the times that it covers the last is enough. */
static VtStatus
trim_times(Store *rows, uint64_t index, StoreBatch *batch, VtError *err)
{
	StoreIter  *iter = store_iter_open(rows, bytes_of("t", 1), bytes_of("u", 1));
	Buf			before = {0};
	Bytes		key;
	Bytes		value;
	VtStatus	status;

	while (store_iter_next(iter, &key, &value) && key.len == 9 && get_be64(key.data + 1) <= index)
	{
		if (before.len)
			store_batch_delete(batch, buf_bytes(&before));
		buf_clear(&before);
		buf_put(&before, key.data, key.len);
	}
	status = store_iter_status(iter, err);
	store_iter_close(iter);
	buf_free(&before);
	return status;
}

VtStatus
sessions_trim(Store *rows, uint64_t index, StoreBatch *batch, VtError *err)
{
	StoreIter  *iter = store_iter_open(rows, bytes_of("s", 1), bytes_of("t", 1));
	Trim		trim = {.batch = batch, .index = index};
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		SessionFact		fact;

		if (session_fact_get(key, value, &fact))
			trim_fact(&trim, key, &fact);
		else
			status = session_fact_damaged(err);
	}
	trim_end(&trim);
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	buf_free(&trim.keys);
	buf_free(&trim.done);
	return status == VT_OK ? trim_times(rows, index, batch, err) : status;
}
