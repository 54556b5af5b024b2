/*-------------------------------------------------------------------------
 *
 * shard.c
 *	  A shard's files: creating, opening, closing; and who holds it.
 *
 * Keys of a shard's LevelDB (docs/disk.md has examples):
 *
 *	   d			descriptor
 *	   i			id of the replica that this is
 *	   a			applied index, in every batch
 *	   k			checkpoint: index, boot id of the machine
 *	   f <index>	a raise of the fence by the entry at index
 *	   p			highest WAL position of any write applied
 *	   g			1 while a bulk load goes on
 *	   b			this replica was set aside: never open it again
 *	   w			newest entry of which something survived a power loss
 *	   s ...		sessions of a collection (sessions.c)
 *	   t <index>	their log time
 *	   h <index>	the sessions that go with a child
 *	   c <index>	a shard that was split off by the entry at index
 *	   v <id>		a record
 *
 * What of them comes into memory at a start: shard_load.c.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/cond.h"
#include "base/directory.h"
#include "base/log.h"

void
shard_path(char *out, size_t size, const char *directory, uint64_t id)
{
	snprintf(out, size, "%s/%016llx", directory, (unsigned long long) id);
}

VtStatus
shard_read_descriptor(Store *rows, WireShardDesc *out, VtError *err)
{
	Buf			value = {0};
	Cursor		c;
	VtStatus	status = store_get(rows, bytes_of("d", 1), &value, err);

	if (status == VT_OK)
	{
		c = cursor_of(buf_bytes(&value));
		status = wire_desc_get(&c, out);
		if (status == VT_OK && !cursor_done(&c))
			status = VT_CORRUPT;
		if (status != VT_OK)
			vt_fail(err, status, "a shard's descriptor is damaged or of a newer version");
	}
	buf_free(&value);
	return status;
}

/* Its names are durable after this (law S2). */
VtStatus
shard_sync_directory(const char *directory, VtError *err)
{
	return vt_broken("S2-folder") ? VT_OK : directory_sync(directory, err);
}

VtStatus
shard_read_replica(Store *rows, uint64_t *out, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(rows, bytes_of("i", 1), &value, err);

	if (status == VT_OK && value.len != 8)
		status = vt_fail(err, VT_CORRUPT, "a shard's replica id is damaged");
	if (status == VT_OK)
		*out = get_le64(value.data);
	buf_free(&value);
	return status;
}

VtStatus
shard_create(const char *directory, const WireShardDesc *desc, uint64_t replica, VtError *err)
{
	StoreOptions options = {.write_buffer = 8 << 20, .replayed = true};
	char		path[4096];
	Store	   *rows;
	WireShardDesc there;
	uint64_t	there_replica;
	VtStatus	status;

	shard_path(path, sizeof(path), directory, desc->shard);
	status = store_open(path, &options, &rows, err);
	if (status != VT_OK)
		return status;
	status = shard_read_descriptor(rows, &there, err);
	if (status == VT_OK)
		status = shard_read_replica(rows, &there_replica, err);
	if (status == VT_OK)
	{
		if (!vt_id_equal(&there.generation, &desc->generation) || there_replica != replica)
			status = vt_fail(err, VT_EXISTS, "shard %llu exists with another descriptor",
							 (unsigned long long) desc->shard);
	}
	else if (status == VT_NOT_FOUND)
	{
		StoreBatch *batch = store_batch_new();
		Buf			value = {0};
		uint8_t		number[8];

		wire_desc_put(&value, desc);
		put_le64(number, replica);
		store_batch_put(batch, bytes_of("d", 1), buf_bytes(&value));
		store_batch_put(batch, bytes_of("i", 1), bytes_of(number, sizeof(number)));
		status = store_write(rows, batch, true, err);
		buf_free(&value);
		store_batch_free(batch);
	}
	store_close(rows);
	return status == VT_OK ? shard_sync_directory(directory, err) : status;
}

VtStatus
shard_mark_aside(Shard *shard, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	uint8_t		format = 1;
	VtStatus	status;

	store_batch_put(batch, bytes_of("b", 1), bytes_of(&format, 1));
	status = store_write(shard->rows, batch, true, err);
	store_batch_free(batch);
	if (status == VT_OK)
		atomic_store(&shard->aside, true);
	return status;
}

void
shard_note_damage(Shard *shard, VtStatus status, const VtError *err)
{
	if (status != VT_CORRUPT || atomic_exchange(&shard->suspect, true))
		return;
	shard_stir(shard);
	log_error("shard=%llu: something of this replica cannot be read; it is to be compared with the others: %s",
				  (unsigned long long) shard->desc.shard, vt_error_words(err));
}

VtStatus
shard_raise_life(const char *directory, uint64_t id, uint64_t replica, uint64_t life, VtError *err)
{
	Store	   *rows;
	WireShardDesc desc;
	uint64_t	there;
	VtStatus	status = shard_open_rows(directory, id, &rows, err);

	if (status != VT_OK)
		return status;
	status = shard_read_descriptor(rows, &desc, err);
	if (status == VT_OK)
		status = shard_read_replica(rows, &there, err);
	if (status == VT_OK && there != replica)
		status = vt_fail(err, VT_NOT_FOUND, "shard %llu is here as another replica", (unsigned long long) id);
	if (status == VT_OK && desc.incarnation < life)
	{
		StoreBatch *batch = store_batch_new();
		Buf			value = {0};

		desc.incarnation = life;
		wire_desc_put(&value, &desc);
		store_batch_put(batch, bytes_of("d", 1), buf_bytes(&value));
		status = store_write(rows, batch, true, err);
		buf_free(&value);
		store_batch_free(batch);
	}
	store_close(rows);
	return status;
}

VtStatus
shard_open_rows(const char *directory, uint64_t id, Store **out, VtError *err)
{
	StoreOptions options = {.write_buffer = 32 << 20, .must_exist = true, .replayed = true};
	char		path[4096];

	shard_path(path, sizeof(path), directory, id);
	return store_open(path, &options, out, err);
}

VtStatus
shard_open_with(const char *directory, Store *rows, Records *records, bool mapped, Shard **out, uint64_t *replay, VtError *err)
{
	Shard	   *shard = vt_alloc0(sizeof(Shard));
	VtStatus	status;

	shard->directory = vt_strdup(directory);
	shard->mapped = mapped;
	shard->staged_graph = -1;
	pthread_mutex_init(&shard->graph_lock, NULL);
	pthread_mutex_init(&shard->checkpoint_lock, NULL);
	pthread_mutex_init(&shard->files_lock, NULL);
	pthread_cond_init(&shard->files_free, NULL);
	pthread_mutex_init(&shard->content_lock, NULL);
	pthread_mutex_init(&shard->gate_lock, NULL);
	pthread_mutex_init(&shard->children_lock, NULL);
	pthread_mutex_init(&shard->loan_lock, NULL);
	pthread_mutex_init(&shard->watch_lock, NULL);
	pthread_mutex_init(&shard->verified_lock, NULL);
	cond_init(&shard->gate);
	shard->sessions = sessions_new();
	shard->rows = rows;
	shard->records = records;
	status = shard_load(shard, replay, err);
	if (status != VT_OK)
	{
		shard_close(shard);
		return status;
	}
	*out = shard;
	return VT_OK;
}

VtStatus
shard_open(const char *directory, uint64_t id, bool mapped, Shard **out, uint64_t *replay, VtError *err)
{
	Store	   *rows;
	VtStatus	status = shard_open_rows(directory, id, &rows, err);

	return status == VT_OK ? shard_open_with(directory, rows, NULL, mapped, out, replay, err) : status;
}

void
shard_close(Shard *shard)
{
	if (!shard)
		return;
	watch_end(shard);
	records_free(shard->records);
	store_close(shard->staged);
	if (shard->staged_graph >= 0)
		close(shard->staged_graph);
	store_close(shard->rows);
	pthread_mutex_destroy(&shard->graph_lock);
	pthread_mutex_destroy(&shard->checkpoint_lock);
	pthread_mutex_destroy(&shard->files_lock);
	pthread_cond_destroy(&shard->files_free);
	pthread_mutex_destroy(&shard->content_lock);
	pthread_mutex_destroy(&shard->gate_lock);
	pthread_mutex_destroy(&shard->children_lock);
	pthread_mutex_destroy(&shard->loan_lock);
	pthread_mutex_destroy(&shard->watch_lock);
	pthread_mutex_destroy(&shard->verified_lock);
	pthread_cond_destroy(&shard->gate);
	sessions_free(shard->sessions);
	free(shard->raises);
	free(shard->children);
	buf_free(&shard->purge);
	free(shard->directory);
	free(shard);
}

bool
shard_hold(Shard *shard)
{
	atomic_fetch_add(&shard->users, 1);
	if (!atomic_load(&shard->installing))
		return true;
	shard_release(shard);
	return false;
}

/*
 * Who is the last may not look at the shard any more: it may be closed.  Who waits at
 * the gate does so with its lock, and looks again after a moment, so it is told only
 * by those who saw it closed before they let go.
 */
void
shard_release(Shard *shard)
{
	if (!atomic_load(&shard->installing))
	{
		atomic_fetch_sub(&shard->users, 1);
		return;
	}
	pthread_mutex_lock(&shard->gate_lock);
	atomic_fetch_sub(&shard->users, 1);
	pthread_cond_broadcast(&shard->gate);
	pthread_mutex_unlock(&shard->gate_lock);
}

ShardFigures
shard_figures(Shard *shard)
{
	ShardFigures figures = {0};

	pthread_mutex_lock(&shard->content_lock);
	if (shard->records)
	{
		figures.records = records_count(shard->records);
		figures.waiting = records_waiting(shard->records);
		figures.bytes = records_bytes(shard->records);
		figures.changes = records_changes(shard->records);
	}
	if (shard->rows)
		figures.tables = store_memory(shard->rows);
	pthread_mutex_unlock(&shard->content_lock);
	return figures;
}

/* All shards' comes last: who looks takes it first. */
void
shard_stir_for(Shard *shard, ShardLook look)
{
	unsigned	before = atomic_fetch_or(&shard->stirred, (unsigned) look);

	if ((before & (unsigned) look) != (unsigned) look && shard->stirred_all)
		atomic_fetch_or(shard->stirred_all, (unsigned) look);
}

void
shard_stir(void *shard)
{
	shard_stir_for((Shard *) shard, LOOK_ALL);
}

bool
shard_take_stir(Shard *shard, ShardLook look)
{
	return (atomic_load(&shard->stirred) & (unsigned) look) != 0 &&
		(atomic_fetch_and(&shard->stirred, ~(unsigned) look) & (unsigned) look) != 0;
}

bool
shard_route_holds(const Shard *shard, uint32_t range_ver)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load(&shard->range_ver) == range_ver;
}

ReplicaMachine
shard_machine(Shard *shard)
{
	ReplicaMachine machine = {
		.apply = shard_apply,
		.checkpoint = shard_checkpoint,
		.snapshot_open = shard_snapshot_open,
		.snapshot_read = shard_snapshot_read,
		.snapshot_close = shard_snapshot_close,
		.stage = shard_stage,
		.unstage = shard_unstage,
		.install = shard_install,
		.load = shard_load_installed,
		.changed = shard_stir,
		.state = shard,
	};

	return machine;
}
