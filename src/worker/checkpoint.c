/*-------------------------------------------------------------------------
 *
 * checkpoint.c
 *	  Making all that a shard has applied durable (law S2).
 *
 * Rows are written without a sync; up to a checkpoint they no longer need the log.
 * It is a flushed memtable and then a marker, written with a sync: a synced batch
 * alone is none, since LevelDB leaves a full log of its own unsynced.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include "base/breaks.h"

/*
 * With the marker the applied index is believed (load_position), so it must be
 * of this boot: one that survived a power loss may stand beyond holes that
 * replay has not filled yet.
 */
VtStatus
shard_write_marker(Store *rows, StoreBatch *batch, uint64_t index, uint64_t applied, VtError *err)
{
	VtId		boot = store_boot_id();
	Buf			value = {0};
	uint8_t		number[8];
	VtStatus	status;

	buf_put_u64(&value, index);
	buf_put_id(&value, &boot);
	store_batch_put(batch, bytes_of("k", 1), buf_bytes(&value));
	put_le64(number, applied);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	status = store_write(rows, batch, true, err);
	buf_free(&value);
	return status;
}

/*
 * Entries are applied while a memtable is flushed, so the marker has the applied index as it is by then, with no
 * batch between the two: it never goes back.  Behind an index that is too low lie rows that replay has still to
 * come to; of what was deleted nothing tells that, and a comparison there finds less than others have.
 * That it is durable with the marker promises nothing: after a power loss replay begins at the marker.
 */
static VtStatus
write_own_marker(Shard *shard, StoreBatch *batch, uint64_t index, VtError *err)
{
	uint64_t	applied;
	VtStatus	status;

	pthread_mutex_lock(&shard->watch_lock);
	pthread_mutex_lock(&shard->checkpoint_lock);
	applied = vt_broken("S2-back") ? index : shard->applied;
	pthread_mutex_unlock(&shard->checkpoint_lock);
	status = shard_write_marker(shard->rows, batch, index, applied, err);
	pthread_mutex_unlock(&shard->watch_lock);
	return status;
}

/*
 * May a checkpoint be made?  While a snapshot is installed and loaded, which may take
 * minutes, nobody waits for that: its state is one, and was when it was staged.
 */
static bool
begin_checkpoint(Shard *shard, uint64_t *index)
{
	bool		begun;

	pthread_mutex_lock(&shard->files_lock);
	while (shard->files == FILES_CHECKPOINT)
		pthread_cond_wait(&shard->files_free, &shard->files_lock);
	begun = shard->files == FILES_FREE;
	if (begun)
		shard->files = FILES_CHECKPOINT;
	else
		*index = shard->installing_at;
	pthread_mutex_unlock(&shard->files_lock);
	return begun;
}

static void
end_checkpoint(Shard *shard)
{
	pthread_mutex_lock(&shard->files_lock);
	shard->files = FILES_FREE;
	pthread_cond_broadcast(&shard->files_free);
	pthread_mutex_unlock(&shard->files_lock);
}

/*
 * Law S2: flush the memtable, then write the marker, synced.  Raises of the
 * fence below it are needed no more, but for the last one.
 */
static VtStatus
make_checkpoint(Shard *shard, uint64_t *index, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	StoreIter  *iter;
	Buf			last = {0};
	Bytes		key;
	Bytes		fence;
	VtStatus	status;

	pthread_mutex_lock(&shard->checkpoint_lock);
	*index = shard->applied;
	pthread_mutex_unlock(&shard->checkpoint_lock);
	status = vt_broken("S2-flush") ? VT_OK : store_flush(shard->rows, err);

	iter = store_iter_open(shard->rows, bytes_of("f", 1), bytes_of("g", 1));
	while (store_iter_next(iter, &key, &fence))
	{
		if (key.len != 9 || get_be64(key.data + 1) > *index)
			break;
		if (last.len)
			store_batch_delete(batch, buf_bytes(&last));
		buf_clear(&last);
		buf_put(&last, key.data, key.len);
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	if (status == VT_OK)
		status = sessions_trim(shard->rows, *index, batch, err);
	if (*index >= shard->newest)
		store_batch_delete(batch, bytes_of("w", 1));
	if (status == VT_OK)
		status = write_own_marker(shard, batch, *index, err);
	if (status == VT_OK)
		store_note_whole(shard->rows);
	buf_free(&last);
	store_batch_free(batch);
	return status;
}

VtStatus
shard_checkpoint(void *state, uint64_t *index, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	VtStatus	status;

	if (!begin_checkpoint(shard, index))
		return VT_OK;
	status = make_checkpoint(shard, index, err);
	end_checkpoint(shard);
	return status;
}
