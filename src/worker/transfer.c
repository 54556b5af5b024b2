/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  A shard's state to and from peers.
 *
 * A snapshot is all keys of the shard's LevelDB but those that say who this
 * replica is and how far it is durable here, from one LevelDB snapshot; the
 * applied index in it says where it stands.  Chunks are pairs of strings, key
 * and value, one after the other.
 *
 * What comes in is written into a LevelDB of its own, <id>.in.<stream>, beside
 * the shard's.  When the last chunk has come it is flushed and marked as a
 * checkpoint (law S2).  Installing it is two renames: the old directory goes to
 * <id>.old, the staged one takes its name.  The Raft log names the stream as its
 * base before that, so a start can tell which state is the right one, and
 * finishes what a crash has interrupted (shard_finish_install).
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/cond.h"
#include "base/log.h"

#define GATE_WAIT_MS 20

/* -- Out ------------------------------------------------------------------- */

typedef struct Outgoing
{
	Shard	   *shard;			/* held */
	StoreIter  *iter;
	Buf			next;			/* a pair that was read ahead */
} Outgoing;

static bool
is_own_key(Bytes key)
{
	return (key.len == 1 && strchr("bik", key.data[0])) || (key.data[0] == 's' && vt_broken("E1-snapshot"));
}

static bool
read_pair(Outgoing *out, Bytes *key, Bytes *value)
{
	while (store_iter_next(out->iter, key, value))
		if (!is_own_key(*key))
			return true;
	return false;
}

VtStatus
shard_snapshot_open(void *state, void **stream, uint64_t *index, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	Outgoing   *out;
	Bytes		key;
	Bytes		value;

	if (!shard_hold(shard))
		return vt_fail(err, VT_BUSY, "a snapshot is being installed here");
	if (atomic_load(&shard->leaving))
	{
		shard_release(shard);
		return vt_fail(err, VT_BUSY, "the shard is being closed here");
	}
	out = vt_alloc0(sizeof(Outgoing));
	out->shard = shard;
	out->iter = store_iter_open(shard->rows, bytes_of("a", 1), bytes_of("x", 1));
	*stream = out;

	/* The applied index is the first of all keys. */
	if (!read_pair(out, &key, &value) || key.len != 1 || key.data[0] != 'a' || value.len != 8)
	{
		shard_snapshot_close(out);
		return vt_fail(err, VT_NOT_FOUND, "nothing was applied yet");
	}
	*index = get_le64(value.data);
	buf_put_string(&out->next, key);
	buf_put_string(&out->next, value);
	return VT_OK;
}

VtStatus
shard_snapshot_read(void *stream, size_t bytes, Buf *buf, bool *last, VtError *err)
{
	Outgoing   *out = (Outgoing *) stream;
	Bytes		key;
	Bytes		value;

	if (atomic_load(&out->shard->installing) || atomic_load(&out->shard->leaving))
		return vt_fail(err, VT_BUSY, "the shard is being replaced or closed here");
	buf_put(buf, out->next.data, out->next.len);
	buf_clear(&out->next);
	while (buf->len < bytes)
	{
		if (!read_pair(out, &key, &value))
		{
			*last = true;
			return store_iter_status(out->iter, err);
		}
		buf_put_string(buf, key);
		buf_put_string(buf, value);
	}
	*last = false;
	return VT_OK;
}

void
shard_snapshot_close(void *stream)
{
	Outgoing   *out = (Outgoing *) stream;

	store_iter_close(out->iter);
	shard_release(out->shard);
	buf_free(&out->next);
	free(out);
}

/* -- In -------------------------------------------------------------------- */

static void
staged_path(char *out, size_t size, const char *directory, uint64_t id, uint64_t stream)
{
	snprintf(out, size, "%s/%016" PRIx64 ".in.%016" PRIx64, directory, id, stream);
}

static void
old_path(char *out, size_t size, const char *directory, uint64_t id)
{
	snprintf(out, size, "%s/%016" PRIx64 ".old", directory, id);
}

static VtStatus
remove_store(const char *path, VtError *err)
{
	VtStatus	status = shard_remove_graph(path, err);

	if (status == VT_OK && !(access(path, F_OK) < 0 && errno == ENOENT))
		status = store_destroy(path, err);
	if (status == VT_OK && rmdir(path) < 0 && errno != ENOENT)
		status = vt_fail_errno(err, VT_IO, "could not remove \"%s\"", path);
	return status;
}

static VtStatus
stage_drop(Shard *shard, VtError *err)
{
	char		path[4096];

	if (shard->staged_stream == 0)
		return VT_OK;
	store_close(shard->staged);
	shard->staged = NULL;
	staged_path(path, sizeof(path), shard->directory, shard->desc.shard, shard->staged_stream);
	shard->staged_stream = 0;
	return remove_store(path, err);
}

/* The first chunk of a stream: whatever else was staged gives way. */
static VtStatus
stage_begin(Shard *shard, uint64_t stream, VtError *err)
{
	StoreOptions options = {.write_buffer = 32 << 20, .replayed = true};
	char		path[4096];
	VtStatus	status = stage_drop(shard, err);

	staged_path(path, sizeof(path), shard->directory, shard->desc.shard, stream);
	if (status == VT_OK)
		status = remove_store(path, err);
	if (status == VT_OK)
		status = store_open(path, &options, &shard->staged, err);
	if (status == VT_OK)
	{
		shard->staged_stream = stream;
		shard->staged_next = 0;
		shard->staged_whole = false;
	}
	return status;
}

/* Which keys a snapshot may have. */
static bool
key_is_known(Bytes key)
{
	return (key.len > 1 && strchr("cfhstv", key.data[0])) || (key.len == 1 && strchr("adgpw", key.data[0]));
}

static VtStatus
stage_pairs(Shard *shard, Bytes data, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	Cursor		c = cursor_of(data);
	VtStatus	status = VT_OK;

	while (status == VT_OK && cursor_left(&c) > 0)
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);

		if (c.failed)
			status = vt_fail(err, VT_PROTOCOL, "a chunk of a snapshot is malformed");
		else if (!key_is_known(key))
			status = vt_fail(err, VT_VERSION, "a snapshot has a key this version does not know");
		else
			store_batch_put(batch, key, value);
	}
	if (status == VT_OK)
		status = store_write(shard->staged, batch, false, err);
	store_batch_free(batch);
	return status;
}

/* All of it is there: make it a checkpoint of this replica's. */
static VtStatus
stage_end(Shard *shard, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	uint8_t		number[8];
	VtStatus	status = store_get(shard->staged, bytes_of("a", 1), &value, err);

	if (status == VT_NOT_FOUND || (status == VT_OK && value.len != 8))
		status = vt_fail(err, VT_PROTOCOL, "a snapshot does not say where it stands");
	if (status == VT_OK)
		status = store_flush(shard->staged, err);
	if (status == VT_OK)
	{
		put_le64(number, shard->replica_id);
		store_batch_put(batch, bytes_of("i", 1), bytes_of(number, sizeof(number)));
		status = shard_write_marker(shard->staged, batch, get_le64(value.data), err);
	}
	if (status == VT_OK)
		status = shard_sync_directory(shard->directory, err);
	buf_free(&value);
	store_batch_free(batch);
	return status;
}

VtStatus
shard_stage(void *state, const WireChunk *chunk, uint32_t *next, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	VtStatus	status = VT_OK;

	if (atomic_load(&shard->installing))
		return vt_fail(err, VT_BUSY, "another snapshot is being installed");
	if (chunk->seq == 0 && chunk->stream != shard->staged_stream)
		status = stage_begin(shard, chunk->stream, err);
	if (status == VT_OK && chunk->stream != shard->staged_stream)
		return vt_fail(err, VT_LEASE_GONE, "another snapshot came in between");
	if (status == VT_OK && chunk->seq == shard->staged_next)
	{
		status = stage_pairs(shard, chunk->data, err);
		if (status == VT_OK && chunk->last)
			status = stage_end(shard, err);
		if (status == VT_OK)
		{
			shard->staged_next++;
			shard->staged_whole = chunk->last;
		}
		else if (store_failed(shard->staged))
		{
			/* Law S4 is about the state in force; this was none yet. */
			log_error("shard=%llu: a snapshot could not be written: %s",
					  (unsigned long long) shard->desc.shard, vt_error_words(err));
			(void) stage_drop(shard, NULL);
			return status;
		}
	}
	*next = shard->staged_next;
	return status;
}

/* -- Installing ------------------------------------------------------------ */

/* Two renames, each of which may be the last that a crash left done. */
static VtStatus
swap_directories(const char *directory, uint64_t id, uint64_t stream, VtError *err)
{
	char		path[4096];
	char		old[4096];
	char		staged[4096];
	VtStatus	status;

	shard_path(path, sizeof(path), directory, id);
	old_path(old, sizeof(old), directory, id);
	staged_path(staged, sizeof(staged), directory, id, stream);
	status = remove_store(old, err);
	if (status == VT_OK && rename(path, old) < 0 && errno != ENOENT)
		status = vt_fail_errno(err, VT_IO, "could not rename \"%s\"", path);
	if (status == VT_OK && rename(staged, path) < 0)
		status = vt_fail_errno(err, VT_IO, "could not rename \"%s\"", staged);
	if (status == VT_OK)
		status = shard_sync_directory(directory, err);
	if (status == VT_OK)
		status = remove_store(old, err);
	return status;
}

/* Nobody holds the shard when it returns, and nobody new can. */
static void
close_gate(Shard *shard)
{
	atomic_store(&shard->installing, true);
	pthread_mutex_lock(&shard->gate_lock);
	while (atomic_load(&shard->users) > 0)
	{
		struct timespec until;

		/* Those that were about to leave something behind may have done so by now. */
		pthread_mutex_unlock(&shard->gate_lock);
		if (shard->quiesce)
			shard->quiesce(shard->quiesce_arg, shard);
		pthread_mutex_lock(&shard->gate_lock);
		until = cond_moment(GATE_WAIT_MS * 1000);
		if (atomic_load(&shard->users) > 0)
			pthread_cond_timedwait(&shard->gate, &shard->gate_lock, &until);
	}
	pthread_mutex_unlock(&shard->gate_lock);
}

/* The old state goes first, so that memory does not hold both. */
static void
let_go(Shard *shard)
{
	Records    *records = shard->records;

	pthread_mutex_lock(&shard->content_lock);
	shard->records = NULL;
	pthread_mutex_unlock(&shard->content_lock);
	records_free(records);
	store_close(shard->rows);
	shard->rows = NULL;
	free(shard->raises);
	shard->raises = NULL;
	shard->nraises = 0;
	pthread_mutex_lock(&shard->children_lock);
	free(shard->children);
	shard->children = NULL;
	shard->nchildren = shard->nsplit = 0;
	pthread_mutex_unlock(&shard->children_lock);
	atomic_store(&shard->strays, false);
	buf_clear(&shard->purge);

	/* What was compared was the state that goes: nobody is to be set aside for that any more. */
	pthread_mutex_lock(&shard->verified_lock);
	memset(&shard->verified, 0, sizeof(shard->verified));
	pthread_mutex_unlock(&shard->verified_lock);
	shard->newest = 0;
	atomic_store(&shard->whole, false);
	atomic_store(&shard->fence, 0);
	atomic_store(&shard->lsn, 0);
	atomic_store(&shard->ingesting, false);
}

/* Is this stream staged, all of it, and does it stand where it should? */
static VtStatus
check_staged(Shard *shard, uint64_t stream, uint64_t index, VtError *err)
{
	Buf			value = {0};
	uint64_t	stands = 0;
	VtStatus	status;

	if (shard->staged_stream != stream || !shard->staged_whole)
		return vt_fail(err, VT_NOT_FOUND, "the snapshot of shard %llu is not staged",
					   (unsigned long long) shard->desc.shard);
	status = store_get(shard->staged, bytes_of("a", 1), &value, err);
	if (status == VT_OK && value.len == 8)
		stands = get_le64(value.data);
	buf_free(&value);
	if (status == VT_OK && stands != index)
		status = vt_fail(err, VT_CORRUPT, "the snapshot of shard %llu stands at %llu, not at %llu",
						 (unsigned long long) shard->desc.shard, (unsigned long long) stands,
						 (unsigned long long) index);
	return status;
}

/*
 * The files change places, durably.  Nobody may hold the shard, and no checkpoint
 * be made, before its new state is loaded as well; one thread does both.
 */
VtStatus
shard_install(void *state, uint64_t stream, uint64_t index, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	VtStatus	status;

	pthread_mutex_lock(&shard->files_lock);
	close_gate(shard);
	status = check_staged(shard, stream, index, err);
	if (status == VT_OK)
	{
		let_go(shard);
		store_close(shard->staged);
		shard->staged = NULL;
		shard->staged_stream = 0;
		status = swap_directories(shard->directory, shard->desc.shard, stream, err);
	}
	if (status != VT_OK)
	{
		atomic_store(&shard->installing, false);
		pthread_mutex_unlock(&shard->files_lock);
	}
	return status;
}

VtStatus
shard_load_installed(void *state, uint64_t index, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	uint64_t	stands;
	VtStatus	status = shard_open_rows(shard->directory, shard->desc.shard, &shard->rows, err);

	if (status == VT_OK)
		status = shard_load(shard, &stands, err);
	if (status == VT_OK && stands != index)
		status = vt_fail(err, VT_CORRUPT, "the snapshot of shard %llu was not loaded as it came",
						 (unsigned long long) shard->desc.shard);
	atomic_store(&shard->installing, false);
	pthread_mutex_unlock(&shard->files_lock);
	if (status == VT_OK && shard->on_waiting)
		shard->on_waiting(shard->on_waiting_arg);
	if (status == VT_OK && shard->on_split)
		shard->on_split(shard->on_split_arg);
	return status;
}

VtStatus
shard_finish_install(const char *directory, uint64_t id, uint64_t stream, VtError *err)
{
	char		begins[64];
	char		path[4096];
	char		staged[4096];
	struct dirent *entry;
	DIR		   *dir;
	VtStatus	status = VT_OK;

	staged_path(staged, sizeof(staged), directory, id, stream);
	if (stream != 0 && access(staged, F_OK) == 0)
	{
		log_info("shard=%llu: putting a snapshot in place that was staged before",
				 (unsigned long long) id);
		status = swap_directories(directory, id, stream, err);
	}

	/* What is left now was not taken. */
	snprintf(begins, sizeof(begins), "%016" PRIx64 ".in.", id);
	dir = status == VT_OK ? opendir(directory) : NULL;
	while (dir && status == VT_OK && (entry = readdir(dir)) != NULL)
	{
		if (strncmp(entry->d_name, begins, strlen(begins)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		status = remove_store(path, err);
	}
	if (dir)
		closedir(dir);
	old_path(path, sizeof(path), directory, id);
	return status == VT_OK ? remove_store(path, err) : status;
}
