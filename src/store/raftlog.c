/*-------------------------------------------------------------------------
 *
 * raftlog.c
 *	  The shared Raft log: its keys, and walking it without trusting the disk.
 *
 * A LevelDB batch is one record of its write-ahead log, all or nothing.  Every
 * batch that adds entries carries the group's state with the new last index,
 * and every batch that shortens the log deletes what lies beyond (P5 of the
 * persistence rules in src/raft).  So after any crash the entries between base
 * and last index are all there, and if they are not, the disk has lost
 * something it had said was safe.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

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

void
log_batch_state(StoreBatch *batch, uint64_t group, Bytes state)
{
	uint8_t		key[KEY_MAX];

	store_batch_put(batch, key_of(key, 'H', group, NULL), state);
}

void
log_batch_base(StoreBatch *batch, uint64_t group, Bytes base)
{
	uint8_t		key[KEY_MAX];

	store_batch_put(batch, key_of(key, 'S', group, NULL), base);
}

void
log_batch_entry(StoreBatch *batch, uint64_t group, uint64_t index, Bytes entry)
{
	uint8_t		key[KEY_MAX];

	store_batch_put(batch, key_of(key, 'L', group, &index), entry);
}

void
log_batch_drop(StoreBatch *batch, uint64_t group, uint64_t index)
{
	uint8_t		key[KEY_MAX];

	store_batch_delete(batch, key_of(key, 'L', group, &index));
}

VtStatus
log_batch_drop_up_to(Store *store, StoreBatch *batch, uint64_t group, uint64_t last,
					 uint64_t max, uint64_t *found, VtError *err)
{
	uint8_t		from[KEY_MAX];
	uint8_t		to[KEY_MAX];
	uint64_t	first = 0;
	uint64_t	after = last + 1;
	StoreIter  *iter = store_iter_open(store, key_of(from, 'L', group, &first),
									   key_of(to, 'L', group, &after));
	Bytes		key;
	Bytes		value;
	VtStatus	status;

	*found = 0;
	while (*found < max && store_iter_next(iter, &key, &value))
	{
		store_batch_delete(batch, key);
		(*found)++;
	}
	status = store_iter_status(iter, err);
	store_iter_close(iter);
	return status;
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
log_load_state(Store *store, uint64_t group, Buf *out, VtError *err)
{
	uint8_t		key[KEY_MAX];

	return store_get(store, key_of(key, 'H', group, NULL), out, err);
}

VtStatus
log_each_group(Store *store, LogEachGroup each, void *arg, VtError *err)
{
	StoreIter  *iter = store_iter_open(store, bytes_of("H", 1), bytes_of("I", 1));
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(iter, &key, &value))
		status = key.len == 9 ? each(arg, get_be64(key.data + 1)) : vt_fail(err, VT_CORRUPT, "the name of a Raft group is damaged");
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	return status;
}

VtStatus
log_load_base(Store *store, uint64_t group, Buf *out, VtError *err)
{
	uint8_t		key[KEY_MAX];

	return store_get(store, key_of(key, 'S', group, NULL), out, err);
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
		if (key.len != KEY_MAX || get_be64(key.data + 9) != want)
			break;
		status = each(arg, want, value);
		if (status == VT_OK)
			want++;
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	if (status == VT_OK && want != after)
		status = vt_fail(err, VT_CORRUPT,
						 "entry %llu of Raft group %llu is missing: the disk has lost synced writes",
						 (unsigned long long) want, (unsigned long long) group);
	store_iter_close(iter);
	return status;
}
