/*-------------------------------------------------------------------------
 *
 * raftlog.c
 *	  The shared Raft log: keys, values and checksums.
 *
 * A LevelDB batch is one record of its write-ahead log, all or nothing.  Every
 * batch that adds entries carries the group's state with the new last index,
 * and every batch that shortens the log deletes what lies beyond (P5 of the
 * persistence rules in src/raft).  So after any crash the entries
 * (trunc_index, last_index] are all there, and if they are not, the disk has
 * lost something it had said was safe.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include <stdlib.h>

#include "base/hash.h"

#define KEY_MAX 17

static Bytes
key_of(uint8_t *key, char kind, uint64_t group, const uint64_t *more)
{
	key[0] = (uint8_t) kind;
	put_be64(key + 1, group);
	if (more)
		put_be64(key + 9, *more);
	return bytes_of(key, more ? 17 : 9);
}

/* Close a value with the checksum of what was written into it. */
static void
seal(Buf *value)
{
	buf_put_u64(value, hash_checksum(buf_bytes(value)));
}

/* Check and take off the checksum. */
static bool
unseal(Bytes *value)
{
	if (value->len < 8)
		return false;
	value->len -= 8;
	return get_le64(value->data + value->len) == hash_checksum(*value);
}

void
log_batch_state(StoreBatch *batch, uint64_t group, const LogState *state)
{
	uint8_t		key[KEY_MAX];
	Buf			value = {0};

	buf_put_u8(&value, LOG_FORMAT);
	buf_put_u64(&value, state->replica);
	buf_put_u64(&value, state->term);
	buf_put_u64(&value, state->vote);
	buf_put_u64(&value, state->commit);
	buf_put_u64(&value, state->last_index);
	buf_put_u64(&value, state->last_term);
	buf_put_u64(&value, state->trunc_index);
	buf_put_u64(&value, state->trunc_term);
	seal(&value);
	store_batch_put(batch, key_of(key, 'H', group, NULL), buf_bytes(&value));
	buf_free(&value);
}

void
log_batch_entry(StoreBatch *batch, uint64_t group, const LogEntry *entry)
{
	uint8_t		key[KEY_MAX];
	Buf			value = {0};

	buf_reserve(&value, entry->payload.len + 32);
	buf_put_u8(&value, LOG_FORMAT);
	buf_put_u8(&value, entry->type);
	buf_put_u64(&value, entry->term);
	buf_put(&value, entry->payload.data, entry->payload.len);
	seal(&value);
	store_batch_put(batch, key_of(key, 'L', group, &entry->index), buf_bytes(&value));
	buf_free(&value);
}

void
log_batch_drop(StoreBatch *batch, uint64_t group, uint64_t index)
{
	uint8_t		key[KEY_MAX];

	store_batch_delete(batch, key_of(key, 'L', group, &index));
}

void
log_batch_descriptor(StoreBatch *batch, uint64_t group, Bytes descriptor)
{
	uint8_t		key[KEY_MAX];
	Buf			value = {0};

	buf_put(&value, descriptor.data, descriptor.len);
	seal(&value);
	store_batch_put(batch, key_of(key, 'S', group, NULL), buf_bytes(&value));
	buf_free(&value);
}

void
log_batch_tombstone(StoreBatch *batch, uint64_t group, uint64_t replica)
{
	uint8_t		key[KEY_MAX];

	store_batch_put(batch, key_of(key, 'X', group, &replica), bytes_of("", 0));
	store_batch_delete(batch, key_of(key, 'H', group, NULL));
	store_batch_delete(batch, key_of(key, 'S', group, NULL));
}

VtStatus
log_load_state(Store *store, uint64_t group, LogState *out, VtError *err)
{
	uint8_t		key[KEY_MAX];
	Buf			value = {0};
	Bytes		bytes;
	Cursor		c;
	VtStatus	status = store_get(store, key_of(key, 'H', group, NULL), &value, err);
	uint8_t		format;

	if (status != VT_OK)
		goto out;
	bytes = buf_bytes(&value);
	if (!unseal(&bytes))
	{
		status = vt_fail(err, VT_CORRUPT, "state of Raft group %llu is damaged",
						 (unsigned long long) group);
		goto out;
	}
	c = cursor_of(bytes);
	format = cursor_u8(&c);
	out->replica = cursor_u64(&c);
	out->term = cursor_u64(&c);
	out->vote = cursor_u64(&c);
	out->commit = cursor_u64(&c);
	out->last_index = cursor_u64(&c);
	out->last_term = cursor_u64(&c);
	out->trunc_index = cursor_u64(&c);
	out->trunc_term = cursor_u64(&c);
	if (format != LOG_FORMAT)
		status = vt_fail(err, VT_VERSION, "Raft log has format %u, this program knows %u",
						 format, LOG_FORMAT);
	else if (!cursor_done(&c) || out->trunc_index > out->last_index)
		status = vt_fail(err, VT_CORRUPT, "state of Raft group %llu makes no sense",
						 (unsigned long long) group);
out:
	buf_free(&value);
	return status;
}

VtStatus
log_load_descriptor(Store *store, uint64_t group, Buf *out, VtError *err)
{
	uint8_t		key[KEY_MAX];
	VtStatus	status = store_get(store, key_of(key, 'S', group, NULL), out, err);
	Bytes		bytes;

	if (status != VT_OK)
		return status;
	bytes = buf_bytes(out);
	if (!unseal(&bytes))
		return vt_fail(err, VT_CORRUPT, "descriptor of Raft group %llu is damaged",
					   (unsigned long long) group);
	out->len = bytes.len;
	return VT_OK;
}

VtStatus
log_has_tombstone(Store *store, uint64_t group, uint64_t replica, bool *out, VtError *err)
{
	uint8_t		key[KEY_MAX];
	Buf			value = {0};
	VtStatus	status = store_get(store, key_of(key, 'X', group, &replica), &value, err);

	*out = status == VT_OK;
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

VtStatus
log_load_entries(Store *store, uint64_t group, uint64_t first, uint64_t last, LogEach each,
				 void *arg, VtError *err)
{
	uint8_t		from[KEY_MAX];
	uint8_t		to[KEY_MAX];
	uint64_t	after = last + 1;
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	uint64_t	want = first;
	VtStatus	status = VT_OK;

	if (first > last)
		return VT_OK;
	iter = store_iter_open(store, key_of(from, 'L', group, &first), key_of(to, 'L', group, &after));
	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		LogEntry	entry;
		Cursor		c;

		entry.index = get_be64(key.data + 9);
		if (entry.index != want)
			break;
		if (!unseal(&value))
		{
			status = vt_fail(err, VT_CORRUPT, "entry %llu of Raft group %llu is damaged",
							 (unsigned long long) want, (unsigned long long) group);
			break;
		}
		c = cursor_of(value);
		if (cursor_u8(&c) != LOG_FORMAT)
		{
			status = vt_fail(err, VT_VERSION, "entry %llu of Raft group %llu has an unrecognized format",
							 (unsigned long long) want, (unsigned long long) group);
			break;
		}
		entry.type = cursor_u8(&c);
		entry.term = cursor_u64(&c);
		entry.payload = cursor_bytes(&c, cursor_left(&c));
		want++;
		status = each(arg, &entry);
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	if (status == VT_OK && want != last + 1)
		status = vt_fail(err, VT_CORRUPT,
						 "entry %llu of Raft group %llu is missing: the disk has lost synced writes",
						 (unsigned long long) want, (unsigned long long) group);
	store_iter_close(iter);
	return status;
}

VtStatus
log_list_groups(Store *store, uint64_t **out, size_t *n, VtError *err)
{
	StoreIter  *iter = store_iter_open(store, bytes_of("H", 1), bytes_of("I", 1));
	Bytes		key;
	Bytes		value;
	size_t		room = 16;
	VtStatus	status;

	*out = vt_alloc(sizeof(uint64_t) * room);
	*n = 0;
	while (store_iter_next(iter, &key, &value))
	{
		if (key.len != 9)
			continue;
		if (*n == room)
			*out = vt_realloc(*out, sizeof(uint64_t) * (room *= 2));
		(*out)[(*n)++] = get_be64(key.data + 1);
	}
	status = store_iter_status(iter, err);
	store_iter_close(iter);
	if (status != VT_OK)
	{
		free(*out);
		*out = NULL;
	}
	return status;
}
