/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  The state machine of a shard: what a committed command does.
 *
 * Everything is decided here, at apply, from the command and the state in
 * force at its index: owner (W7), generation and range (D1), fence (W6).  A
 * check at the door may come earlier and saves work; it decides nothing.
 *
 * Law S3.  After a power loss LevelDB may have lost some batches and kept
 * later ones; replay begins at the checkpoint, over whatever is there.  Every
 * decision must come out as it did the first time:
 *
 *	- Owner and generation do not change in the life of a shard.
 *	- The interval does, by splits: a start takes it as of where replay begins,
 *	  whatever later splits are already on disk, and each changes it when replay
 *	  comes to its entry (split.c).
 *	- The fence does: so each raise since the checkpoint is kept with the index
 *	  of its entry, and the fence in force at index i is that of the last raise
 *	  before i, whatever later raises are already on disk.
 *	- A put is a blind write of a row with its index; it is skipped where the
 *	  row there is younger, or is this very one: a version is one entry's, so it
 *	  would be written as it is, and take its place in the graph for nothing.
 *	- A delete removes the row only if its version is the one listed.  Versions
 *	  are log indexes and never come twice, so a delete that missed the first
 *	  time misses again, and one that hit finds its row or nothing.
 *	- What sessions decide is as of the entry at hand, too (sessions.c).  A deletion
 *	  that names no version takes what is older than itself: what is younger has
 *	  survived from behind it, and is put again when replay comes there.
 *	- Counts are never kept incrementally on disk.
 *	- The highest WAL position decides nothing here: replay finds that of later
 *	  batches, never a lower one than it had.
 *
 * Rows and the applied index are in one batch, written without a sync (S2).  Where that
 * fails the replica ends, but a checkpoint may be made before it has: so nothing says
 * that more was applied than is written.
 *
 * A comparison of replicas changes nothing: the batch is written up to it, and
 * what is there then is pinned.  On replay over what survived rows may be ahead
 * of its index, and nothing is pinned.  It is made also where the command is refused:
 * a replica whose interval is another than the others' would not speak otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <stdlib.h>

#include "base/breaks.h"

/* The fence in force just before the entry at index. */
static uint64_t
fence_at(const Shard *shard, uint64_t index)
{
	for (size_t i = shard->nraises; i-- > 0;)
		if (shard->raises[i].index < index || vt_broken("S3-fence"))
			return shard->raises[i].fence;
	return 0;
}

static bool
records_in_range(const Shard *shard, const WireWrite *write)
{
	WireRecord	record;
	size_t		at = 0;

	while (wire_record_next(write, &at, &record))
		if (!shard_owns(shard, record.id))
			return false;
	return true;
}

/* All records of a command have one dimension and element: its decoder saw to that. */
bool
shard_vectors_fit(const Shard *shard, const WireWrite *write)
{
	WireRecord	record;
	size_t		at = 0;

	return write->type != WRITE_PUT || !wire_record_next(write, &at, &record) ||
		(record.dim == shard->desc.dim && record.element == shard_element(&shard->desc));
}

bool
shard_attributes_fit(const Shard *shard, const WireWrite *write)
{
	WireRecord	record;
	WireAttributes attributes;
	size_t		at = 0;

	while (write->type == WRITE_PUT && wire_record_next(write, &at, &record))
		if (wire_attributes_get(record.attributes, shard->desc.nattributes, &attributes) != VT_OK)
			return false;
	return true;
}

/* One of a session's: to be done now, not now, or never again. */
static bool
is_of_session(const WireWrite *write)
{
	return write->session != 0 && (write->type == WRITE_PUT || write->type == WRITE_DELETE);
}

Verdict
shard_decide(const Shard *shard, const WireWrite *write, uint64_t index)
{
	Verdict		verdict = {.status = VT_OK, .fence = fence_at(shard, index)};

	if (!vt_id_equal(&write->route.generation, &shard->desc.generation))
		verdict.status = VT_UNKNOWN_GENERATION;
	else if (!wire_owner_equal(&write->route.owner, &shard->desc.owner) && !vt_broken("W7-owner"))
		verdict.status = VT_NOT_OWNER;
	else if (write->route.shard != shard->desc.shard || write->route.range_ver != shard->desc.range_ver ||
			 (!records_in_range(shard, write) && !vt_broken("D1-range")))
		verdict.status = VT_WRONG_SHARD;
	else if (write->type == WRITE_OWNER || !shard_vectors_fit(shard, write) || !shard_attributes_fit(shard, write))
		verdict.status = VT_INVALID;
	else if (write->type == WRITE_SPLIT)
	{
		WireShardDesc child = wire_split_child(write);

		verdict.status = shard_split_fits(shard, &child) ? VT_OK : VT_INVALID;
	}
	/* Law L1: one that comes late, or twice, would leave the shard in a load that nobody ends. */
	else if (write->type == WRITE_INGEST_BEGIN && shard->load_over != 0 && shard->load_over < index && !vt_broken("L1-over"))
		verdict.status = VT_INVALID;
	else if (write->type == WRITE_OPEN)
		verdict.status = sessions_have_room(shard->sessions);
	else if (is_of_session(write))
		verdict.status = sessions_judge(shard->sessions, write, &verdict.repeated, &verdict.done);
	if (verdict.status == VT_OK && !verdict.repeated && (write->type == WRITE_PUT || write->type == WRITE_DELETE) &&
		write->fence < verdict.fence && !vt_broken("W6-fence"))
		verdict.status = VT_FENCED;
	return verdict;
}

/*
 * Which records of a replayed put are there already: a byte for each.  Before any
 * of it is put, since one command may name an id twice.
 */
static void
find_survivors(const Shard *shard, const WireWrite *write, uint64_t index, Buf *out)
{
	WireRecord	record;
	size_t		at = 0;

	while (index <= shard->newest && wire_record_next(write, &at, &record))
		buf_put_u8(out, records_version(shard->records, record.id) >= index);
}

static VtStatus
put_records(Shard *shard, StoreBatch *batch, const WireWrite *write, const ReplicaCommand *command,
			WireWriteResult *result, VtError *err)
{
	Buf			key = {0};
	Buf			value = {0};
	Buf			survived = {0};
	WireRecord	record;
	size_t		at = 0;
	uint32_t	n = 0;
	uint64_t	index = command->index;
	bool		waits = shard_has_graph(shard);
	bool		backlog = waits && (!command->led || atomic_load(&shard->ingesting));
	VtStatus	status = VT_OK;

	find_survivors(shard, write, index, &survived);
	while (status == VT_OK && wire_record_next(write, &at, &record))
	{
		StoreRow	row;

		result->done++;
		if (n < survived.len && survived.data[n++])
			continue;
		memset(&row, 0, sizeof(row));
		row.timeline = write->timeline;
		row.lsn = write->lsn;
		row.index = index;
		row.fence = write->fence;
		row.attributes = record.attributes;
		row.metadata = record.metadata;
		row.dim = record.dim;
		row.element = (uint8_t) record.element;
		row.vector = record.vector;
		row_key(&key, record.id);
		buf_clear(&value);
		row_put(&value, &row);
		store_batch_put(batch, buf_bytes(&key), buf_bytes(&value));
		watch_note(shard, record.id);
		status = records_put(shard->records, record.id, index, record.vector, record.attributes, err);
		if (backlog)
			atomic_fetch_add(&shard->backlog, 1);
	}
	buf_free(&key);
	buf_free(&value);
	buf_free(&survived);
	if (waits)
		shard_stir_for(shard, LOOK_WAITING);
	if (waits && shard->on_waiting)
		shard->on_waiting(shard->on_waiting_arg);
	return status;
}

static void
delete_records(Shard *shard, StoreBatch *batch, const WireWrite *write, uint64_t index, WireWriteResult *result)
{
	Buf			key = {0};
	WireRecord	record;
	size_t		at = 0;

	while (wire_record_next(write, &at, &record))
	{
		uint64_t	there = records_version(shard->records, record.id);

		if (record.version == 0 && write->session != 0 && there < index)
			record.version = there;
		if (there == 0 || (there != record.version && !vt_broken("W5-version")))
			continue;
		row_key(&key, record.id);
		store_batch_delete(batch, buf_bytes(&key));
		watch_note(shard, record.id);
		records_delete(shard->records, record.id);
		result->done++;
	}
	buf_free(&key);
}

/* Keep the raise under its index, for replays to look back at. */
static void
raise_fence(Shard *shard, StoreBatch *batch, const WireWrite *write, uint64_t index,
			uint64_t in_force, WireWriteResult *result)
{
	uint8_t		key[9] = {'f'};
	uint8_t		value[8];

	if (write->fence_to <= in_force)
		return;
	result->took = 1;
	put_be64(key + 1, index);
	put_le64(value, write->fence_to);
	store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)));

	/* On replay it may be there already. */
	for (size_t i = 0; i < shard->nraises; i++)
		if (shard->raises[i].index == index)
			return;
	shard->raises = vt_realloc(shard->raises, sizeof(FenceRaise) * (shard->nraises + 1));
	for (size_t i = shard->nraises++;; i--)
	{
		if (i > 0 && shard->raises[i - 1].index > index)
		{
			shard->raises[i] = shard->raises[i - 1];
			continue;
		}
		shard->raises[i].index = index;
		shard->raises[i].fence = write->fence_to;
		break;
	}
	atomic_store(&shard->fence, shard->raises[shard->nraises - 1].fence);
}

/* A generation is loaded once.  The first end is the end, also on replay. */
static void
set_ingesting(Shard *shard, StoreBatch *batch, bool on, uint64_t index)
{
	uint8_t		value[9] = {on};

	if (!on && (shard->load_over == 0 || index < shard->load_over))
		shard->load_over = index;
	put_le64(value + 1, shard->load_over);
	store_batch_put(batch, bytes_of("g", 1), bytes_of(value, sizeof(value)));
	atomic_store(&shard->ingesting, on);
}

/* It has been done; what comes of it again is this. */
static void
note_done(Shard *shard, StoreBatch *batch, const WireWrite *write, uint64_t index)
{
	SessionDone done = {
		.sequence = write->sequence, .index = index, .first = shard->desc.first, .last = shard->desc.last
	};

	if (is_of_session(write))
		sessions_note(shard->sessions, batch, write, &done);
}

/*
 * How far the history of the server that writes here has come: what a server
 * that takes over compares itself with (law W7).
 */
static void
note_lsn(Shard *shard, StoreBatch *batch, uint64_t lsn)
{
	uint8_t		value[8];

	if (lsn <= atomic_load(&shard->lsn))
		return;
	put_le64(value, lsn);
	store_batch_put(batch, bytes_of("p", 1), bytes_of(value, sizeof(value)));
	atomic_store(&shard->lsn, lsn);
}

static VtStatus
apply_one(Shard *shard, StoreBatch *batch, ReplicaCommand *command, VtError *err)
{
	WireWrite	write;
	WireWriteResult result = {0};
	Verdict		verdict;
	VtStatus	status = wire_write_get(command->bytes, &write, err);

	/* The door checked it before it was proposed: this is damage, or newer. */
	if (status != VT_OK)
		return status;
	verdict = shard_decide(shard, &write, command->index);
	command->status = verdict.status;
	if (write.type == WRITE_VERIFY && command->index > shard->newest)
		shard->verify = write.sequence;
	result.index = command->index;
	if (verdict.repeated)
	{
		result.index = verdict.done.index;
		result.repeated = true;
		result.first = verdict.done.first;
		result.last = verdict.done.last;
		result.done = write.type == WRITE_PUT ? write.nrecords : 0;
	}
	else if (verdict.status == VT_OK)
	{
		note_lsn(shard, batch, write.lsn);
		switch (write.type)
		{
			case WRITE_PUT:
				status = put_records(shard, batch, &write, command, &result, err);
				break;
			case WRITE_DELETE:
				delete_records(shard, batch, &write, command->index, &result);
				break;
			case WRITE_RAISE:
				raise_fence(shard, batch, &write, command->index, verdict.fence, &result);
				break;
			case WRITE_INGEST_BEGIN:
			case WRITE_INGEST_END:
				set_ingesting(shard, batch, write.type == WRITE_INGEST_BEGIN, command->index);
				break;
			case WRITE_VERIFY:
			case WRITE_OWNER:
				break;
			case WRITE_SPLIT:
				shard_split(shard, batch, &write, command->index, verdict.fence);
				break;
			case WRITE_OPEN:
				sessions_open(shard->sessions, batch, command->index);
				break;
			case WRITE_EXPIRE:
				sessions_expire(shard->sessions, batch, &write, command->index);
				break;
		}
		note_done(shard, batch, &write, command->index);
	}
	wire_write_result_put(&command->reply, &result);
	return status;
}

/* A checkpoint may be made there: all before is written, however the machine goes on. */
static void
note_applied(Shard *shard, uint64_t applied)
{
	pthread_mutex_lock(&shard->checkpoint_lock);
	shard->applied = applied;
	pthread_mutex_unlock(&shard->checkpoint_lock);
}

static VtStatus
write_batch(Shard *shard, StoreBatch *batch, uint64_t applied, VtError *err)
{
	uint8_t		number[8];
	VtStatus	status;

	put_le64(number, applied);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	status = store_write(shard->rows, batch, false, err);
	if (status == VT_OK)
		note_applied(shard, applied);
	return status;
}

/* A command asked for a comparison: pin what is there at its index. */
static VtStatus
pin_rows(Shard *shard, StoreBatch **batch, uint64_t index, VtError *err)
{
	uint64_t	id = shard->verify;
	VtStatus	status;

	shard->verify = 0;
	if (!shard->on_verify)
		return VT_OK;
	status = write_batch(shard, *batch, index, err);
	store_batch_free(*batch);
	*batch = store_batch_new();
	if (status == VT_OK)
		shard->on_verify(shard->on_verify_arg, shard, store_iter_open(shard->rows, bytes_of("v", 1), bytes_of("w", 1)), id, index);
	return status;
}

VtStatus
shard_apply(void *state, ReplicaCommand *commands, size_t n, uint64_t applied, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	StoreBatch *batch = store_batch_new();
	VtStatus	status = VT_OK;

	pthread_mutex_lock(&shard->watch_lock);
	for (size_t i = 0; i < n && status == VT_OK; i++)
	{
		status = apply_one(shard, batch, &commands[i], err);
		if (status == VT_OK && shard->verify)
			status = pin_rows(shard, &batch, commands[i].index, err);
	}
	if (status == VT_OK)
		status = write_batch(shard, batch, applied, err);
	if (vt_broken("S2-applied"))
		note_applied(shard, applied);
	pthread_mutex_unlock(&shard->watch_lock);
	store_batch_free(batch);
	if (status == VT_OK)
		shard_tell_children(shard);
	return status;
}
