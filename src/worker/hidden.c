/*-------------------------------------------------------------------------
 *
 * hidden.c
 *	  Shards that a start leaves closed, since their index was dropped.
 *
 * While an index is hidden (law W8) the driver has its shards closed; they may be
 * opened again, or deleted in the end.  A mark in the store of the Raft log says so,
 * so that a start brings nothing of them into memory.
 *
 *	1.	The mark is written, synced, when the shard is closed.  A crash before it:
 *		the next start opens the shard, and the driver has it closed once more.
 *	2.	It is taken away, synced, before the shard is opened, whoever opens it and
 *		why.  So what is open has no mark, and a shard that was taken back is there
 *		after each start from then on, also without a driver.
 *	3.	A shard that is dropped leaves its group first, its mark then; what a crash
 *		leaves between them is removed by a start, or before another replica of it
 *		is founded here.
 *
 * Nothing is deleted because of a mark.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/log.h"
#include "private.h"

#define FORMAT 1

static void
key_of(uint8_t key[9], uint64_t shard)
{
	key[0] = 'C';
	put_be64(key + 1, shard);
}

/* Law S4: what cannot be written ends the worker. */
static void
write_or_die(Worker *worker, StoreBatch *batch)
{
	VtError		err = {0};

	if (store_write(worker->log, batch, true, &err) != VT_OK)
	{
		log_error("could not keep which shards are hidden: %s", vt_error_words(&err));
		log_exit(70);
	}
	store_batch_free(batch);
}

void
hidden_note(Worker *worker, uint64_t shard)
{
	StoreBatch *batch = store_batch_new();
	uint8_t		format = FORMAT;
	uint8_t		key[9];

	key_of(key, shard);
	store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(&format, 1));
	write_or_die(worker, batch);
}

VtStatus
hidden_find(Worker *worker, uint64_t shard, bool *hidden, VtError *err)
{
	Buf			value = {0};
	uint8_t		key[9];
	VtStatus	status;

	key_of(key, shard);
	status = store_get(worker->log, bytes_of(key, sizeof(key)), &value, err);
	*hidden = status == VT_OK;
	if (status == VT_OK && value.len == 0)
		status = vt_fail(err, VT_CORRUPT, "the mark of shard %llu, which is hidden, is damaged", (unsigned long long) shard);
	else if (status == VT_OK && (value.len != 1 || value.data[0] != FORMAT))
		status = vt_fail(err, VT_VERSION, "the mark of shard %llu, which is hidden, is of a newer version", (unsigned long long) shard);
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

VtStatus
hidden_forget(Worker *worker, uint64_t shard, VtError *err)
{
	StoreBatch *batch;
	uint8_t		key[9];
	bool		hidden;
	VtStatus	status = hidden_find(worker, shard, &hidden, err);

	if (status != VT_OK || !hidden)
		return status;
	key_of(key, shard);
	batch = store_batch_new();
	store_batch_delete(batch, bytes_of(key, sizeof(key)));
	write_or_die(worker, batch);
	return VT_OK;
}

VtStatus
hidden_prune(Worker *worker, VtError *err)
{
	StoreIter  *iter = store_iter_open(worker->log, bytes_of("C", 1), bytes_of("D", 1));
	StoreBatch *batch = store_batch_new();
	size_t		gone = 0;
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		if (key.len != 9)
			status = vt_fail(err, VT_CORRUPT, "the mark of a hidden shard is damaged");
		else if (!worker_has_group(worker, get_be64(key.data + 1)))
		{
			store_batch_delete(batch, key);
			gone++;
		}
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	if (status == VT_OK && gone > 0)
		write_or_die(worker, batch);
	else
		store_batch_free(batch);
	return status;
}
