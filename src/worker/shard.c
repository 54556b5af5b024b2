/*-------------------------------------------------------------------------
 *
 * shard.c
 *	  A shard's files: creating, opening, checkpointing.
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
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/cond.h"
#include "base/log.h"

/* Below this codes save neither memory nor time. */
#define CODES_DIM_MIN 32

void
shard_path(char *out, size_t size, const char *directory, uint64_t id)
{
	snprintf(out, size, "%s/%016llx", directory, (unsigned long long) id);
}

static VtStatus
read_descriptor(Store *rows, WireShardDesc *out, VtError *err)
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

/* A directory's entries are durable after this. */
VtStatus
shard_sync_directory(const char *directory, VtError *err)
{
	int			fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	VtStatus	status = VT_OK;

	if (fd < 0 || fsync(fd) < 0)
		status = vt_fail_errno(err, VT_IO, "could not sync \"%s\"", directory);
	if (fd >= 0)
		close(fd);
	return status;
}

/* The replica's own id; VT_NOT_FOUND: an unfinished shard. */
static VtStatus
read_replica_id(Store *rows, uint64_t *out, VtError *err)
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
	status = read_descriptor(rows, &there, err);
	if (status == VT_OK)
		status = read_replica_id(rows, &there_replica, err);
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

/* Load the raises of the fence. */
static VtStatus
load_raises(Shard *shard, VtError *err)
{
	StoreIter  *iter = store_iter_open(shard->rows, bytes_of("f", 1), bytes_of("g", 1));
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		if (key.len != 9 || value.len != 8)
		{
			status = vt_fail(err, VT_CORRUPT, "a fence of shard %llu is damaged",
							 (unsigned long long) shard->desc.shard);
			break;
		}
		shard->raises = vt_realloc(shard->raises, sizeof(FenceRaise) * (shard->nraises + 1));
		shard->raises[shard->nraises].index = get_be64(key.data + 1);
		shard->raises[shard->nraises++].fence = get_le64(value.data);
		shard->newest = shard->raises[shard->nraises - 1].index;
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	if (shard->nraises > 0)
		atomic_store(&shard->fence, shard->raises[shard->nraises - 1].fence);
	return status;
}

VtStatus
shard_read_row(const WireShardDesc *desc, Bytes value, StoreRow *row, VtError *err)
{
	WireAttributes attributes;
	VtStatus	status = row_get(value, row, err);

	if (status == VT_OK && row->dim != desc->dim)
		return vt_fail(err, VT_CORRUPT, "a row of shard %llu has %u dimensions, not %u",
					   (unsigned long long) desc->shard, row->dim, desc->dim);
	if (status == VT_OK && row->element != shard_element(desc))
		return vt_fail(err, VT_CORRUPT, "a row of shard %llu has another element than the shard",
					   (unsigned long long) desc->shard);
	if (status == VT_OK && wire_attributes_get(row->attributes, desc->nattributes, &attributes) != VT_OK)
		return vt_fail(err, VT_CORRUPT, "a row of shard %llu has other attributes than the %u that are declared",
					   (unsigned long long) desc->shard, desc->nattributes);
	return status;
}

static VtStatus
load_records(Shard *shard, VtError *err)
{
	StoreIter  *iter = store_iter_open(shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		StoreRow	row;

		status = shard_read_row(&shard->desc, value, &row, err);
		if (status != VT_OK)
			break;
		if (row.index > shard->newest)
			shard->newest = row.index;
		if (!shard_owns(shard, bytes_of(key.data + 1, key.len - 1)))
		{
			atomic_store(&shard->strays, true);
			continue;
		}
		if (!records_claim(shard->records, bytes_of(key.data + 1, key.len - 1), row.index, row.vector, row.attributes))
			status = records_put(shard->records, bytes_of(key.data + 1, key.len - 1), row.index,
								 row.vector, row.attributes, err);
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	records_settle(shard->records);
	return status;
}

/* What is kept of vectors in memory; rows have them in full. */
static HnswCodes
codes_of(const WireShardDesc *desc)
{
	if (desc->quantization == QUANTIZATION_INT8_ONLY)
		return HNSW_CODES_INT8_ONLY;
	return desc->quantization == QUANTIZATION_INT8 && desc->dim >= CODES_DIM_MIN ? HNSW_CODES_INT8 : HNSW_CODES_NONE;
}

RecordsOptions
shard_records_options(const WireShardDesc *desc)
{
	return (RecordsOptions) {
		.metric = (VecMetric) desc->metric,
		.dim = desc->dim,
		.element = (VecElement) desc->element,
		.m = desc->m,
		.ef_construction = desc->ef_construction,
		.codes = codes_of(desc),
		.seed = desc->shard,
		.attributes = desc->nattributes,
	};
}

static VtStatus
make_records(Shard *shard, VtError *err)
{
	RecordsOptions options = shard_records_options(&shard->desc);
	char		path[4096];
	Records    *records;
	VtStatus	status = VT_OK;

	shard_path(path, sizeof(path), shard->directory, shard->desc.shard);
	options.vectors = shard->mapped ? path : NULL;
	if (!shard_load_graph(shard, &options, &records))
		status = records_new(&options, &records, err);
	if (status == VT_OK)
	{
		atomic_store(&shard->saved_changes, 0);
		atomic_store(&shard->seen_changes, 0);
		pthread_mutex_lock(&shard->content_lock);
		shard->records = records;
		pthread_mutex_unlock(&shard->content_lock);
	}
	return status;
}

/*
 * Where replay begins (law S2): at the applied index, if the machine has not
 * rebooted since the checkpoint; else at the checkpoint, whatever is visible.
 */
static VtStatus
load_position(Shard *shard, uint64_t *replay, VtError *err)
{
	Buf			value = {0};
	VtId		boot = store_boot_id();
	bool		same_boot = false;
	VtStatus	status = store_get(shard->rows, bytes_of("k", 1), &value, err);

	*replay = shard->desc.base_index;
	if (status == VT_OK)
	{
		Cursor		c = cursor_of(buf_bytes(&value));
		VtId		then;

		*replay = cursor_u64(&c);
		then = cursor_id(&c);
		if (!cursor_done(&c))
			return vt_fail(err, VT_CORRUPT, "the checkpoint of shard %llu is damaged",
						   (unsigned long long) shard->desc.shard);
		same_boot = (vt_id_equal(&then, &boot) && !vt_id_is_zero(&boot)) || vt_broken("S2-reboot");
	}
	else if (status != VT_NOT_FOUND)
		return status;
	if (same_boot)
	{
		status = store_get(shard->rows, bytes_of("a", 1), &value, err);
		if (status == VT_OK && value.len == 8)
			*replay = get_le64(value.data);
		else if (status != VT_NOT_FOUND)
			return status == VT_OK ? VT_CORRUPT : status;
	}
	status = store_get(shard->rows, bytes_of("g", 1), &value, err);
	if (status == VT_OK && value.len >= 1)
		atomic_store(&shard->ingesting, value.data[0] != 0);
	if (status == VT_OK && value.len == 9)
		shard->load_over = get_le64(value.data + 1);
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

/* A u64 under a key of one letter; 0 = it is not there. */
static VtStatus
read_number(Store *rows, const char *key, uint64_t *out, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(rows, bytes_str(key), &value, err);

	*out = 0;
	if (status == VT_OK && value.len != 8)
		status = vt_fail(err, VT_CORRUPT, "the number under %s is damaged", key);
	else if (status == VT_OK)
		*out = get_le64(value.data);
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

/*
 * After a power loss the applied index on disk may be one that survived beyond
 * holes.  Two things follow, and are made durable before anything is applied:
 *
 * It tells the newest entry of which any batch survived; rows and raises tell
 * theirs, but a batch that only deletes leaves nothing else.  Before that is
 * replayed the shard is not whole.  Replay may be cut short, so it is kept,
 * under 'w', and a snapshot carries it.
 *
 * And it becomes what it says, where the machine stands: a snapshot taken
 * meanwhile stands there, with whatever survived of later batches (law S3).
 */
static VtStatus
settle_position(Shard *shard, uint64_t replay, VtError *err)
{
	StoreBatch *batch;
	uint8_t		number[8];
	uint64_t	visible;
	uint64_t	kept;
	VtStatus	status = read_number(shard->rows, "a", &visible, err);

	if (status == VT_OK)
		status = read_number(shard->rows, "w", &kept, err);
	if (status != VT_OK)
		return status;
	if (visible > shard->newest && !vt_broken("S2-visible"))
		shard->newest = visible;
	if (kept > shard->newest && !vt_broken("S2-visible"))
		shard->newest = kept;
	if ((visible == 0 || visible == replay) && (shard->newest <= replay || shard->newest == kept))
		return VT_OK;
	batch = store_batch_new();
	put_le64(number, shard->newest);
	store_batch_put(batch, bytes_of("w", 1), bytes_of(number, sizeof(number)));
	put_le64(number, replay);
	if (!vt_broken("S2-stands"))
		store_batch_put(batch, bytes_of("a", 1), bytes_of(number, sizeof(number)));
	status = store_write(shard->rows, batch, true, err);
	store_batch_free(batch);
	return status;
}

static VtStatus
load_lsn(Shard *shard, VtError *err)
{
	uint64_t	lsn;
	VtStatus	status = read_number(shard->rows, "p", &lsn, err);

	if (status == VT_OK)
		atomic_store(&shard->lsn, lsn);
	return status;
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
	if (status == VT_CORRUPT && !atomic_exchange(&shard->suspect, true))
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
	status = read_descriptor(rows, &desc, err);
	if (status == VT_OK)
		status = read_replica_id(rows, &there, err);
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

/* Was this replica set aside? */
static VtStatus
check_aside(Store *rows, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(rows, bytes_of("b", 1), &value, err);

	buf_free(&value);
	if (status == VT_OK)
		return vt_fail(err, VT_CORRUPT, SHARD_ASIDE_WORDS);
	return status == VT_NOT_FOUND ? VT_OK : status;
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
shard_load(Shard *shard, uint64_t *replay, VtError *err)
{
	WireShardDesc desc = {0};
	uint64_t	replica;
	bool		given = shard->records != NULL;
	VtStatus	status = check_aside(shard->rows, err);

	if (status == VT_OK)
		status = read_descriptor(shard->rows, &desc, err);
	if (status == VT_OK)
		status = read_replica_id(shard->rows, &replica, err);
	if (status == VT_OK && shard->replica_id != 0 && (desc.shard != shard->desc.shard || replica != shard->replica_id ||
								 !vt_id_equal(&desc.generation, &shard->desc.generation)))
		status = vt_fail(err, VT_CORRUPT, "what was read is not shard %llu",
						 (unsigned long long) shard->desc.shard);
	atomic_store(&shard->lent, 0);
	if (status == VT_OK)
	{
		/* Of one that was installed only this may differ, and nobody else reads it here. */
		if (shard->replica_id == 0)
			shard->desc = desc;
		shard->replica_id = replica;
		shard->desc.last = shard->born_last = desc.last;
		shard->desc.range_ver = desc.range_ver;
	}
	if (status == VT_OK && !vec_metric_valid(shard->desc.metric))
		status = vt_fail(err, VT_VERSION, "shard %llu has an unrecognized metric",
						 (unsigned long long) shard->desc.shard);
	if (status == VT_OK && !given)
		status = make_records(shard, err);
	if (status == VT_OK)
		status = load_raises(shard, err);
	if (status == VT_OK)
		status = load_lsn(shard, err);
	if (status == VT_OK)
		status = load_position(shard, replay, err);
	if (status == VT_OK)
		status = shard_load_children(shard, *replay, err);
	if (status == VT_OK)
		status = sessions_load(shard->sessions, shard->rows, *replay, &shard->newest, err);
	if (status == VT_OK && !given)
		status = load_records(shard, err);
	if (status == VT_OK)
		status = settle_position(shard, *replay, err);
	if (status == VT_OK)
	{
		shard->applied = *replay;
		atomic_store(&shard->backlog, records_waiting(shard->records));
	}
	return status;
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
		.state = shard,
	};

	return machine;
}
