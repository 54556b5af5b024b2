/*-------------------------------------------------------------------------
 *
 * worker_transfer.c
 *	  A shard's state from one replica to another: all of it, in place of what
 *	  was there, whatever a crash leaves in the middle.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "scratch.h"
#include "shard_commands.h"
#include "shard_desc.h"

#define DIM 4
#define SHARD 9
#define CHUNK 2000				/* bytes: many chunks */

static WireQuantization quantization;	/* these two of shards that are made */
static uint32_t dimensions = DIM;	/* DIM, or none */

static WireShardDesc
desc_of_shard(void)
{
	WireShardDesc desc = shard_alone(SHARD, 11, dimensions);

	desc.quantization = (uint8_t) quantization;
	desc.nattributes = 1;
	desc.attributes[0] = WIRE_ATTR_HASHED;
	return desc;
}

static const char *
place(const char *name)
{
	const char *path = scratch_path(name);

	mkdir(path, 0700);
	return path;
}

static Shard *
open_at(const char *directory, uint64_t *replay)
{
	Shard	   *shard;
	VtError		err = {0};

	if (shard_open(directory, SHARD, false, &shard, replay, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	return shard;
}

static Shard *
make_at(const char *directory, uint64_t replica)
{
	WireShardDesc desc = desc_of_shard();
	VtError		err = {0};
	uint64_t	replay;

	assert_int_equal(shard_create(directory, &desc, replica, &err), VT_OK);
	return open_at(directory, &replay);
}

/* The id, and something more. */
static Bytes
metadata_of(uint32_t n)
{
	static uint8_t bytes[WIRE_TID_SIZE + 1];

	wire_tid_put(bytes, n, 1);
	bytes[WIRE_TID_SIZE] = '}';
	return bytes_of(bytes, sizeof(bytes));
}

/* Put ids first..first + n - 1, one command each, from index on. */
static void
fill(Shard *shard, uint32_t first, uint32_t n, uint64_t index)
{
	for (uint32_t i = 0; i < n; i++, index++)
	{
		WireWrite	write;
		WireRecord	record;
		ReplicaCommand command;
		Buf			bytes = {0};
		Buf			attributes = {0};
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4] = {0};
		size_t		begin;
		VtError		err = {0};

		memset(&write, 0, sizeof(write));
		memset(&record, 0, sizeof(record));
		memset(&command, 0, sizeof(command));
		write.type = WRITE_PUT;
		write.route.generation = shard->desc.generation;
		write.route.owner = shard->desc.owner;
		write.route.shard = SHARD;
		write.route.range_ver = 1;
		write.lsn = 1000 + index;	/* as of a PostgreSQL server */
		wire_tid_put(id, first + i, 1);
		put_le32(vector, first + i);
		record.id = bytes_of(id, sizeof(id));
		record.dim = dimensions;
		record.vector = vector;
		wire_attributes_put(&attributes, &(WireAttributes) {.n = 1, .value = {first + i}});
		record.attributes = buf_bytes(&attributes);
		record.metadata = metadata_of(first + i);
		begin = wire_write_begin(&bytes, &write);
		wire_record_put(&bytes, WRITE_PUT, &record);
		wire_write_end(&bytes, begin, 1);
		command.index = index;
		command.term = 1;
		command.bytes = buf_bytes(&bytes);
		assert_int_equal(shard_apply(shard, &command, 1, index, &err), VT_OK);
		assert_int_equal(command.status, VT_OK);
		buf_free(&command.reply);
		buf_free(&bytes);
		buf_free(&attributes);
	}
}

/* Send `chunks` of a snapshot of one to another, UINT32_MAX: all; where it stands. */
static uint64_t
send(Shard *from, Shard *to, uint64_t stream, uint32_t chunks)
{
	void	   *out;
	uint64_t	index;
	uint32_t	next = 0;
	bool		last = false;
	VtError		err = {0};

	assert_int_equal(shard_snapshot_open(from, &out, &index, &err), VT_OK);
	fill(from, 90000, 3, index + 1);	/* after it was pinned: not part of it */
	for (uint32_t seq = 0; !last && seq < chunks; seq++)
	{
		WireChunk	chunk = {.group = SHARD, .to = 12, .stream = stream, .seq = seq};
		Buf			data = {0};

		assert_int_equal(shard_snapshot_read(out, CHUNK, &data, &last, &err), VT_OK);
		chunk.data = buf_bytes(&data);
		chunk.last = last;
		assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_OK);
		assert_int_equal(next, seq + 1);
		if (seq % 3 == 0)
			assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_OK);	/* twice: once */
		assert_int_equal(next, seq + 1);
		buf_free(&data);
	}
	assert_true(chunks < UINT32_MAX || next > 3);
	shard_snapshot_close(out);
	return index;
}

static void
holds(Shard *shard, uint32_t first, uint32_t n)
{
	Buf			key = {0};
	Buf			value = {0};

	assert_int_equal(records_count(shard->records), n);
	for (uint32_t i = 0; i < n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		WireAttributes attributes;
		StoreRow	row;
		uint64_t	version;
		uint32_t	slot;

		wire_tid_put(id, first + i, 1);
		row_key(&key, bytes_of(id, sizeof(id)));
		assert_int_equal(store_get(shard->rows, buf_bytes(&key), &value, NULL), VT_OK);
		assert_int_equal(row_get(buf_bytes(&value), &row, NULL), VT_OK);
		assert_true(bytes_equal(row.metadata, metadata_of(first + i)));
		assert_true(records_find(shard->records, bytes_of(id, sizeof(id)), &slot, &version));
		records_slot_attributes(shard->records, slot, &attributes);
		assert_int_equal(attributes.value[0], first + i);
	}
	buf_free(&key);
	buf_free(&value);
}

/* Is there a file of the shard's graph? */
static bool
has_graph(const char *name)
{
	char		path[300];

	shard_path(path, sizeof(path) - 10, place(name), SHARD);
	strcat(path, "/graph");
	return access(path, F_OK) == 0;
}

static void
in_place_of_what_was_there(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	uint64_t	replay;
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 300, 1);
	fill(to, 5000, 50, 1);
	assert_int_equal(shard_save_graph(to, NULL, NULL, &err), VT_OK);
	assert_true(has_graph("b"));
	index = send(from, to, 77, UINT32_MAX);
	assert_int_equal(index, 300);
	holds(to, 5000, 50);		/* not before it is installed */
	to->verified.id = 5;
	assert_int_equal(shard_install(to, 78, index, &err), VT_NOT_FOUND);
	assert_int_equal(to->verified.id, 5);
	assert_int_equal(shard_install(to, 77, index, &err), VT_OK);
	assert_int_equal(to->verified.id, 0);	/* what was compared is gone */
	assert_false(has_graph("b"));	/* that was of another state */
	assert_false(shard_hold(to));	/* not before it is loaded */
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	holds(to, 0, 300);
	assert_int_equal(to->replica_id, 12);
	assert_int_equal(atomic_load(&to->lsn), 1300);

	/* It goes on from there, and is all there after a start. */
	fill(to, 300, 10, index + 1);
	holds(to, 0, 310);
	shard_close(to);
	to = open_at(place("b"), &replay);
	holds(to, 0, 310);
	assert_int_equal(to->replica_id, 12);
	assert_true(replay == index || replay == index + 10);
	shard_close(to);
	shard_close(from);
}

/* What was done once is known to be done, wherever the log goes on. */
static void
sessions_come_along(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	uint64_t	session;
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 200, 1);
	at = 200;
	assert_int_equal(open_session(from, &session), VT_OK);
	index = send(from, to, 5, UINT32_MAX);
	assert_int_equal(index, session);
	assert_int_equal(shard_install(to, 5, index, &err), VT_OK);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	assert_int_equal(sessions_count(to->sessions), 1);
	assert_int_equal(sessions_digest(to->sessions), sessions_digest(from->sessions));
	shard_close(to);
	shard_close(from);
}

/* Two streams: the later one counts, and only whole. */
static void
streams_do_not_mix(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	WireChunk	chunk = {.group = SHARD, .to = 12, .stream = 1, .seq = 4};
	uint32_t	next = 0;
	uint64_t	index;
	char		path[320];
	VtError		err = {0};

	(void) state;
	fill(from, 0, 200, 1);
	send(from, to, 1, 4);
	assert_int_equal(shard_install(to, 1, 200, &err), VT_NOT_FOUND);
	index = send(from, to, 2, UINT32_MAX);
	assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_LEASE_GONE);
	assert_int_equal(shard_install(to, 2, index + 1, &err), VT_CORRUPT);	/* it does not stand there */
	assert_int_equal(shard_install(to, 2, index, &err), VT_OK);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	assert_int_equal(records_count(to->records), 203);

	/* One that cannot begin wants nothing: not what another one was about to. */
	send(from, to, 4, 3);
	shard_staged_path(path, sizeof(path), to->directory, SHARD, 3);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/in the way");
	assert_int_equal(mkdir(path, 0700), 0);
	chunk.stream = 3;
	chunk.seq = 0;
	next = 0;
	assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_IO);
	assert_int_equal(next, 0);
	assert_int_equal(rmdir(path), 0);

	/* What no snapshot has is refused. */
	chunk.stream = 3;
	chunk.seq = 0;
	chunk.data = bytes_str("rubbish");
	assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_PROTOCOL);
	shard_close(to);
	shard_close(from);
}

/* What is staged and not wanted takes no room, and the next stream begins as ever. */
static void
staged_in_vain(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	char		path[300];
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 200, 1);
	assert_int_equal(shard_unstage(to, &err), VT_OK);
	for (uint32_t chunks = 4; chunks != 0; chunks = chunks == 4 ? UINT32_MAX : 0)
	{
		send(from, to, 1, chunks);
		shard_staged_path(path, sizeof(path), to->directory, SHARD, 1);
		assert_int_equal(access(path, F_OK), 0);
		assert_int_equal(shard_unstage(to, &err), VT_OK);
		assert_int_equal(access(path, F_OK), -1);
		assert_int_equal(shard_install(to, 1, 200, &err), VT_NOT_FOUND);
	}
	index = send(from, to, 1, UINT32_MAX);
	assert_int_equal(shard_install(to, 1, index, &err), VT_OK);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	assert_int_equal(records_count(to->records), 203);
	shard_close(to);
	shard_close(from);
}

/* One thread makes the checkpoints of all shards: it never waits until a large one is loaded. */
static void
no_checkpoint_waits_for_a_load(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	uint64_t	index;
	uint64_t	durable = 0;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 200, 1);
	index = send(from, to, 1, UINT32_MAX);
	assert_int_equal(shard_install(to, 1, index, &err), VT_OK);
	assert_int_equal(shard_settle(to, SHARD + 1, &err), VT_BUSY);	/* there are no rows to write to */
	assert_int_equal(shard_checkpoint(to, &durable, &err), VT_OK);
	assert_int_equal(durable, index);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	assert_int_equal(shard_settle(to, SHARD + 1, &err), VT_OK);
	assert_int_equal(atomic_load(&to->users), 0);
	fill(to, 200, 10, index + 1);
	assert_int_equal(shard_checkpoint(to, &durable, &err), VT_OK);
	assert_int_equal(durable, index + 10);

	/* Nor after one that was not installed. */
	assert_int_equal(shard_install(to, 7, index, &err), VT_NOT_FOUND);
	fill(to, 210, 10, index + 11);
	assert_int_equal(shard_checkpoint(to, &durable, &err), VT_OK);
	assert_int_equal(durable, index + 20);
	shard_close(to);
	shard_close(from);
}

/* The base of the log names a stream that was staged: a start puts it in place. */
static void
a_crash_in_the_middle(void **state)
{
	const char *b = place("b");
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(b, 12);
	char		path[300];
	char		old[300];
	uint64_t	replay;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 100, 1);
	fill(to, 5000, 50, 1);
	send(from, to, 5, UINT32_MAX);
	shard_close(to);

	/* Before the base was written it is not taken, and removed. */
	assert_int_equal(shard_finish_install(b, SHARD, 0, 0, &err), VT_OK);
	to = open_at(b, &replay);
	holds(to, 5000, 50);

	/* After it was written; */
	send(from, to, 6, UINT32_MAX);
	shard_close(to);
	assert_int_equal(shard_finish_install(b, SHARD, 6, 103, &err), VT_OK);
	to = open_at(b, &replay);
	assert_int_equal(records_count(to->records), 103);

	/* between the two renames; */
	send(from, to, 7, UINT32_MAX);
	shard_close(to);
	snprintf(path, sizeof(path), "%s/%016x", b, SHARD);
	snprintf(old, sizeof(old), "%s/%016x.old", b, SHARD);
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(shard_finish_install(b, SHARD, 7, 106, &err), VT_OK);
	assert_int_equal(access(old, F_OK), -1);
	to = open_at(b, &replay);
	assert_int_equal(records_count(to->records), 103);
	assert_int_equal(replay, 106);
	shard_close(to);

	/* and when all was done. */
	assert_int_equal(shard_finish_install(b, SHARD, 7, 106, &err), VT_OK);
	to = open_at(b, &replay);
	assert_int_equal(records_count(to->records), 103);
	shard_close(to);
	shard_close(from);
}

/* Is anything of this stream staged? */
static bool
is_staged(uint64_t stream)
{
	char		path[300];

	shard_staged_path(path, sizeof(path), place("b"), SHARD, stream);
	return access(path, F_OK) == 0;
}

/*
 * The stream that is the base of the log comes once more, and its sender goes away in the middle: what was
 * installed stays, with all that was applied since.
 */
static void
a_part_of_the_base(void **state)
{
	const char *b = place("b");
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(b, 12);
	char		path[300];
	char		away[310];
	uint64_t	replay;
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 300, 1);
	index = send(from, to, 7, UINT32_MAX);
	assert_int_equal(shard_install(to, 7, index, &err), VT_OK);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	fill(to, 300, 50, index + 1);
	send(from, to, 7, 3);
	shard_close(to);
	assert_true(is_staged(7));
	assert_int_equal(shard_finish_install(b, SHARD, 7, index, &err), VT_OK);
	assert_false(is_staged(7));
	to = open_at(b, &replay);
	holds(to, 0, 350);

	/* Not even a store, as a power loss may leave it. */
	shard_staged_path(path, sizeof(path), b, SHARD, 7);
	assert_int_equal(mkdir(path, 0700), 0);
	shard_close(to);
	assert_int_equal(shard_finish_install(b, SHARD, 7, index, &err), VT_OK);
	assert_false(is_staged(7));
	to = open_at(b, &replay);
	holds(to, 0, 350);

	/* Where nothing else is the base a part of it is all there is: it stays, for whoever looks. */
	send(from, to, 8, 3);
	shard_close(to);
	assert_int_equal(shard_finish_install(b, SHARD, 8, index + 1000, &err), VT_CORRUPT);
	assert_true(is_staged(8));
	shard_path(path, sizeof(path), b, SHARD);
	snprintf(away, sizeof(away), "%s.away", path);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(shard_finish_install(b, SHARD, 8, index, &err), VT_CORRUPT);
	assert_true(is_staged(8));
	assert_int_equal(rename(away, path), 0);
	assert_int_equal(shard_finish_install(b, SHARD, 7, index, &err), VT_OK);
	assert_false(is_staged(8));
	to = open_at(b, &replay);
	holds(to, 0, 350);
	shard_close(to);
	shard_close(from);
}

/* Where the first piece of a graph begins in a chunk's data; NULL: there is none. */
static uint8_t *
piece_in(Buf *data)
{
	Cursor		c = cursor_of(buf_bytes(data));

	while (cursor_left(&c) > 0)
	{
		Bytes		key = cursor_string(&c);
		Bytes		value = cursor_string(&c);

		assert_false(c.failed);
		if (key.data[0] == 'G')
			return (uint8_t *) value.data;
	}
	return NULL;
}

/* All of it, with a bit of the graph turned over, or not; how much waits to be linked then. */
static uint64_t
send_with_graph(Shard *from, Shard *to, uint64_t stream, bool damaged)
{
	void	   *out;
	uint64_t	index;
	uint32_t	next;
	bool		last = false;
	bool		came = false;
	VtError		err = {0};

	assert_int_equal(shard_snapshot_open(from, &out, &index, &err), VT_OK);
	for (uint32_t seq = 0; !last; seq++)
	{
		WireChunk	chunk = {.group = SHARD, .to = 12, .stream = stream, .seq = seq};
		Buf			data = {0};
		uint8_t    *piece;

		assert_int_equal(shard_snapshot_read(out, CHUNK, &data, &last, &err), VT_OK);
		piece = piece_in(&data);
		if (piece && damaged && came)
			piece[1000] ^= 4;
		came |= piece != NULL;
		chunk.data = buf_bytes(&data);
		chunk.last = last;
		assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_OK);
		buf_free(&data);
	}
	assert_true(came);
	shard_snapshot_close(out);
	assert_int_equal(shard_install(to, stream, index, &err), VT_OK);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	return records_waiting(to->records);
}

/* What one has linked the other need not; but it believes nothing of it. */
static void
the_graph_comes_along(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	uint8_t		key[9] = {'G', 0, 0, 0, 0, 0, 0, 0, 7};
	Buf			data = {0};
	WireChunk	chunk = {.group = SHARD, .to = 12, .stream = 3};
	uint32_t	next;
	VtError		err = {0};

	(void) state;
	fill(from, 0, 6000, 1);
	while (hnsw_link_next(records_graph(from->records)))
		;
	assert_int_equal(send_with_graph(from, to, 1, false), 0);
	holds(to, 0, 6000);
	assert_true(has_graph("b"));

	/* What is newer than the file is put, what it has too much is dead. */
	fill(from, 5990, 110, 6001);
	assert_int_equal(send_with_graph(from, to, 2, false), 110);
	holds(to, 0, 6100);

	/* Damaged, it is as if it had not come. */
	assert_int_equal(send_with_graph(from, to, 4, true), 6100);
	holds(to, 0, 6100);

	/* A piece that is not the next one is no piece. */
	buf_put_string(&data, bytes_of(key, sizeof(key)));
	buf_put_string(&data, bytes_str("x"));
	chunk.data = buf_bytes(&data);
	assert_int_equal(shard_stage(to, &chunk, &next, &err), VT_PROTOCOL);
	buf_free(&data);
	shard_close(to);
	shard_close(from);
}

/* Turn a bit over in the middle of each table of a shard's rows. */
static void
damage_tables(const char *name)
{
	char		path[300];
	char		file[600];
	struct dirent *entry;
	uint32_t	n = 0;
	DIR		   *dir;

	shard_path(path, sizeof(path), place(name), SHARD);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
	{
		uint8_t		byte;
		struct stat st;
		int			fd;

		if (!strstr(entry->d_name, ".ldb"))
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		fd = open(file, O_RDWR);
		assert_true(fd >= 0 && fstat(fd, &st) == 0);
		assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
		close(fd);
		n++;
	}
	closedir(dir);
	assert_true(n > 0);
}

/* What LevelDB cannot read while the shard is served is not sent, and somebody is told. */
static void
damage_while_it_runs(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	void	   *out;
	uint64_t	index;
	bool		last = false;
	VtError		err = {0};
	VtStatus	status = VT_OK;

	(void) state;
	fill(from, 0, 3000, 1);
	assert_int_equal(shard_checkpoint(from, &index, &err), VT_OK);
	assert_false(atomic_load(&from->suspect));
	damage_tables("a");
	assert_int_equal(shard_snapshot_open(from, &out, &index, &err), VT_OK);
	while (status == VT_OK && !last)
	{
		Buf			data = {0};

		status = shard_snapshot_read(out, CHUNK, &data, &last, &err);
		buf_free(&data);
	}
	assert_int_equal(status, VT_CORRUPT);
	assert_true(atomic_load(&from->suspect));
	shard_snapshot_close(out);
	shard_close(from);
}

/* Of codes alone: rows travel in full, so the other makes the same codes of them. */
static void
codes_alone(void **state)
{
	quantization = QUANTIZATION_INT8_ONLY;
	in_place_of_what_was_there(state);
	assert_int_equal(scratch_remove(state), 0);
	assert_int_equal(scratch_make(state), 0);
	the_graph_comes_along(state);
	quantization = QUANTIZATION_NONE;
}

/* What was copied for a split to come was of the state that goes: what has changed since is not known any more. */
static void
nothing_prepared_stays(void **state)
{
	Shard	   *from = make_at(place("a"), 11);
	Shard	   *to = make_at(place("b"), 12);
	WireShardDesc child = desc_of_shard();
	Heir	   *heir;
	bool		done = false;
	uint64_t	index;
	VtError		err = {0};

	(void) state;
	child.shard = SHARD + 1;
	child.parent = SHARD;
	child.first = UINT64_MAX / 2 + 1;
	child.range_ver = 2;
	fill(from, 0, 300, 1);
	fill(to, 0, 50, 1);
	assert_int_equal(heir_prepare(to, &child, place("b"), &heir, &err), VT_OK);
	while (!done)
		assert_int_equal(heir_copy(heir, 10000, &done, &err), VT_OK);
	heir_rest(heir);
	index = send(from, to, 5, UINT32_MAX);
	assert_int_equal(heir_go_on(heir, to, &err), VT_OK);	/* not before it is installed */
	heir_rest(heir);
	assert_int_equal(shard_install(to, 5, index, &err), VT_OK);
	assert_int_equal(shard_load_installed(to, index, &err), VT_OK);
	assert_int_equal(heir_go_on(heir, to, &err), VT_GONE);
	assert_int_equal(atomic_load(&to->users), 0);
	heir_drop(heir);
	shard_close(from);
	shard_close(to);
}

/* There is nothing to be linked, and no graph that might come along. */
static void
records_without_vectors(void **state)
{
	Shard	   *from;
	void	   *out;
	uint64_t	index;
	bool		last = false;
	VtError		err = {0};

	dimensions = 0;
	in_place_of_what_was_there(state);
	assert_int_equal(scratch_remove(state), 0);
	assert_int_equal(scratch_make(state), 0);
	a_crash_in_the_middle(state);
	assert_int_equal(scratch_remove(state), 0);
	assert_int_equal(scratch_make(state), 0);
	nothing_prepared_stays(state);
	assert_int_equal(scratch_remove(state), 0);
	assert_int_equal(scratch_make(state), 0);

	from = make_at(place("a"), 11);
	fill(from, 0, 300, 1);
	assert_int_equal(shard_snapshot_open(from, &out, &index, &err), VT_OK);
	while (!last)
	{
		Buf			data = {0};

		assert_int_equal(shard_snapshot_read(out, CHUNK, &data, &last, &err), VT_OK);
		assert_null(piece_in(&data));
		buf_free(&data);
	}
	shard_snapshot_close(out);
	shard_close(from);
	dimensions = DIM;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_place_of_what_was_there, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(sessions_come_along, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(streams_do_not_mix, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(staged_in_vain, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(no_checkpoint_waits_for_a_load, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_crash_in_the_middle, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_part_of_the_base, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(the_graph_comes_along, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(codes_alone, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(damage_while_it_runs, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(nothing_prepared_stays, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(records_without_vectors, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("worker_transfer", tests, NULL, NULL);
}
