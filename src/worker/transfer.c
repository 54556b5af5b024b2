/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  A shard's state on its way to and from peers.
 *
 * A snapshot is all keys of the shard's LevelDB but those that say who this
 * replica is and how far it is durable here, from one LevelDB snapshot; the
 * applied index in it says where it stands.  Chunks are pairs of strings, key
 * and value, one after the other.  After the rows comes the file of the graph, in
 * pieces under keys of their own, 'G' and where they belong: a cache, which the
 * receiver holds against the rows as one of its own (graph.c).  It is not part
 * of the state, and a snapshot without it is one.
 *
 * What comes in is written into a LevelDB of its own, <id>.in.<stream>, beside
 * the shard's.  When the last chunk has come it is flushed and marked as a
 * checkpoint (law S2); install.c puts it in the shard's place.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/log.h"
#include "base/thread.h"

#define PIECE_BYTES (256u << 10)	/* of the graph's file */
#define PIECE_KEY 9				/* bytes: 'G', where it belongs as u64, big-endian */

/* -- Out ------------------------------------------------------------------- */

typedef struct Outgoing
{
	Shard	   *shard;			/* held */
	StoreIter  *iter;
	Buf			next;			/* a pair that was read ahead */
	bool		rows_over;
	pthread_t	grapher;		/* gets the graph's file ready meanwhile */
	bool		graphs;			/* it runs, or has ended */
	atomic_bool closing;		/* nobody waits for it any more */
	int			graph;			/* the file, when it has; -1: none, or it is over */
	uint64_t	graph_at;
} Outgoing;

static bool
is_wanted(void *arg, size_t bytes)
{
	Outgoing   *out = (Outgoing *) arg;

	(void) bytes;
	return !atomic_load(&out->closing) && !atomic_load(&out->shard->installing) && !atomic_load(&out->shard->leaving);
}

static void *
grapher_main(void *arg)
{
	Outgoing   *out = (Outgoing *) arg;

	thread_name("grapher");
	out->graph = shard_open_graph(out->shard, is_wanted, out);
	return NULL;
}

static void
end_grapher(Outgoing *out)
{
	if (out->graphs)
		pthread_join(out->grapher, NULL);
	out->graphs = false;
}

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
	out->graph = -1;
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
	out->graphs = shard_sends_graph(shard) && pthread_create(&out->grapher, NULL, grapher_main, out) == 0;
	return VT_OK;
}

/* The next piece of the graph's file; false: that was all, or the rest cannot be read. */
static bool
put_piece(Outgoing *out, Buf *buf)
{
	uint8_t		key[PIECE_KEY] = {'G'};
	Buf			piece = {0};
	ssize_t		n;

	end_grapher(out);
	if (out->graph < 0)
		return false;
	buf_reserve(&piece, PIECE_BYTES);
	n = pread(out->graph, piece.data, PIECE_BYTES, (off_t) out->graph_at);
	if (n > 0)
	{
		put_be64(key + 1, out->graph_at);
		buf_put_string(buf, bytes_of(key, sizeof(key)));
		buf_put_string(buf, bytes_of(piece.data, (size_t) n));
		out->graph_at += (uint64_t) n;
	}
	else
	{
		close(out->graph);
		out->graph = -1;
	}
	buf_free(&piece);
	return n > 0;
}

VtStatus
shard_snapshot_read(void *stream, size_t bytes, Buf *buf, bool *last, VtError *err)
{
	Outgoing   *out = (Outgoing *) stream;
	Bytes		key;
	Bytes		value;

	if (atomic_load(&out->shard->installing) || atomic_load(&out->shard->leaving))
		return vt_fail(err, VT_BUSY, "the shard is being replaced or closed here");
	*last = false;
	buf_put(buf, out->next.data, out->next.len);
	buf_clear(&out->next);
	while (buf->len < bytes && !out->rows_over)
	{
		out->rows_over = !read_pair(out, &key, &value);
		if (out->rows_over)
		{
			VtStatus	status = store_iter_status(out->iter, err);

			shard_note_damage(out->shard, status, err);
			if (status != VT_OK)
				return status;
			break;
		}
		buf_put_string(buf, key);
		buf_put_string(buf, value);
	}
	while (buf->len < bytes && !*last)
		*last = !put_piece(out, buf);
	return VT_OK;
}

void
shard_snapshot_close(void *stream)
{
	Outgoing   *out = (Outgoing *) stream;

	atomic_store(&out->closing, true);
	end_grapher(out);
	if (out->graph >= 0)
		close(out->graph);
	store_iter_close(out->iter);
	shard_release(out->shard);
	buf_free(&out->next);
	free(out);
}

/* -- In -------------------------------------------------------------------- */

/* No more of the graph's file is written. */
static void
close_graph(Shard *shard)
{
	if (shard->staged_graph >= 0)
		close(shard->staged_graph);
	shard->staged_graph = -1;
}

static VtStatus
stage_drop(Shard *shard, VtError *err)
{
	char		path[4096];

	if (shard->staged_stream == 0)
		return VT_OK;
	close_graph(shard);
	store_close(shard->staged);
	shard->staged = NULL;
	shard_staged_path(path, sizeof(path), shard->directory, shard->desc.shard, shard->staged_stream);
	shard->staged_stream = 0;
	return shard_remove_store(path, err);
}

VtStatus
shard_unstage(void *state, VtError *err)
{
	return stage_drop((Shard *) state, err);
}

/* The first chunk of a stream: whatever else was staged gives way. */
static VtStatus
stage_begin(Shard *shard, uint64_t stream, VtError *err)
{
	StoreOptions options = {.write_buffer = 8 << 20, .replayed = true};	/* keys come in order */
	char		path[4096];
	VtStatus	status = stage_drop(shard, err);

	shard_staged_path(path, sizeof(path), shard->directory, shard->desc.shard, stream);
	if (status == VT_OK)
		status = shard_remove_store(path, err);
	if (status == VT_OK)
		status = store_open(path, &options, &shard->staged, err);
	if (status == VT_OK)
	{
		shard->staged_stream = stream;
		shard->staged_next = 0;
		shard->staged_whole = false;
		shard->staged_graph_bytes = 0;
	}
	return status;
}

/* Which keys a snapshot may have. */
static bool
key_is_known(Bytes key)
{
	return (key.len > 1 && memchr("cfhstv", key.data[0], 6)) || (key.len == 1 && memchr("adgpw", key.data[0], 5));
}

/*
 * A piece of the graph's file.  Its loader believes no byte of it; one that cannot be
 * written is no more than a graph that has to be built.
 */
static VtStatus
stage_piece(Shard *shard, Bytes key, Bytes piece, VtError *err)
{
	char		path[4096];

	if (key.len != PIECE_KEY || get_be64(key.data + 1) != shard->staged_graph_bytes || piece.len == 0)
		return vt_fail(err, VT_PROTOCOL, "a piece of a graph is not the next one");
	if (shard->staged_graph_bytes == 0)
	{
		shard_staged_path(path, sizeof(path), shard->directory, shard->desc.shard, shard->staged_stream);
		close_graph(shard);
		shard->staged_graph = shard_make_graph(path);
	}
	shard->staged_graph_bytes += piece.len;
	while (shard->staged_graph >= 0 && piece.len > 0)
	{
		ssize_t		n = write(shard->staged_graph, piece.data, piece.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			log_warn("shard=%llu: the graph that came with a snapshot could not be written",
					 (unsigned long long) shard->desc.shard);
			close_graph(shard);
			break;
		}
		piece.data += n;
		piece.len -= (size_t) n;
	}
	return VT_OK;
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
		else if (key.len > 0 && key.data[0] == 'G')
			status = stage_piece(shard, key, value, err);
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

	close_graph(shard);
	if (status == VT_NOT_FOUND || (status == VT_OK && value.len != 8))
		status = vt_fail(err, VT_PROTOCOL, "a snapshot does not say where it stands");
	if (status == VT_OK)
		status = store_flush(shard->staged, err);
	if (status == VT_OK)
	{
		put_le64(number, shard->replica_id);
		store_batch_put(batch, bytes_of("i", 1), bytes_of(number, sizeof(number)));
		status = shard_write_marker(shard->staged, batch, get_le64(value.data), get_le64(value.data), err);
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
	if (status != VT_OK)
		return status;			/* what is wanted next is of no stream */
	if (chunk->stream != shard->staged_stream)
		return vt_fail(err, VT_LEASE_GONE, "another snapshot came in between");
	if (chunk->seq == shard->staged_next)
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
