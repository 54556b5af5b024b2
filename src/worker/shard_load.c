/*-------------------------------------------------------------------------
 *
 * shard_load.c
 *	  What a shard's disk says comes into memory: at a start, and when a snapshot was
 *	  put in its place.
 *
 * Where replay begins is decided here, and what of the disk is to be believed until then
 * (laws S2, S3).
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/log.h"

/* Below this codes save neither memory nor time. */
#define CODES_DIM_MIN 32

VtStatus
shard_each(StoreIter *iter, ShardTake take, void *arg, VtError *err)
{
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (status == VT_OK && store_iter_next(iter, &key, &value))
		status = take(arg, key, value, err);
	return status == VT_OK ? store_iter_status(iter, err) : status;
}

VtStatus
shard_each_of(Store *rows, char letter, ShardTake take, void *arg, VtError *err)
{
	char		after = (char) (letter + 1);
	StoreIter  *iter = store_iter_open(rows, bytes_of(&letter, 1), bytes_of(&after, 1));
	VtStatus	status = shard_each(iter, take, arg, err);

	store_iter_close(iter);
	return status;
}

VtStatus
shard_read_raise(Bytes key, Bytes value, FenceRaise *out, VtError *err)
{
	if (key.len != 9 || value.len != 8)
		return vt_fail(err, VT_CORRUPT, "a raise of the fence is damaged");
	out->index = get_be64(key.data + 1);
	out->fence = get_le64(value.data);
	return VT_OK;
}

static VtStatus
take_raise(void *arg, Bytes key, Bytes value, VtError *err)
{
	Shard	   *shard = (Shard *) arg;
	FenceRaise	raise;

	if (shard_read_raise(key, value, &raise, NULL) != VT_OK)
		return vt_fail(err, VT_CORRUPT, "a fence of shard %llu is damaged", (unsigned long long) shard->desc.shard);
	shard->raises = vt_realloc(shard->raises, sizeof(FenceRaise) * (shard->nraises + 1));
	shard->raises[shard->nraises++] = raise;
	shard->newest = raise.index;
	return VT_OK;
}

/* Load the raises of the fence. */
static VtStatus
load_raises(Shard *shard, VtError *err)
{
	VtStatus	status = shard_each_of(shard->rows, 'f', take_raise, shard, err);

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
take_record(void *arg, Bytes key, Bytes value, VtError *err)
{
	Shard	   *shard = (Shard *) arg;
	Bytes		id = bytes_of(key.data + 1, key.len - 1);
	StoreRow	row;
	VtStatus	status = shard_read_row(&shard->desc, value, &row, err);

	if (status != VT_OK)
		return status;
	if (row.index > shard->newest)
		shard->newest = row.index;
	if (!shard_owns(shard, id))
	{
		atomic_store(&shard->strays, true);
		return VT_OK;
	}
	return records_claim(shard->records, id, row.index, row.vector, row.attributes) ? VT_OK :
		records_put(shard->records, id, row.index, row.vector, row.attributes, err);
}

static VtStatus
load_records(Shard *shard, VtError *err)
{
	VtStatus	status = shard_each_of(shard->rows, 'v', take_record, shard, err);

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

VtStatus
shard_read_marker(Store *rows, uint64_t *index, VtId *boot, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(rows, bytes_of("k", 1), &value, err);

	if (status == VT_OK)
	{
		Cursor		c = cursor_of(buf_bytes(&value));

		*index = cursor_u64(&c);
		*boot = cursor_id(&c);
		if (!cursor_done(&c))
			status = vt_fail(err, VT_CORRUPT, "the checkpoint of a shard is damaged");
	}
	buf_free(&value);
	return status;
}

static bool
is_this_boot(const VtId *then)
{
	VtId		boot = store_boot_id();

	return vt_id_equal(then, &boot) && !vt_id_is_zero(&boot);
}

/* Is all on disk that was applied since the checkpoint, of which this is the boot? */
static bool
is_believed(const Shard *shard, const VtId *then)
{
	return (is_this_boot(then) || vt_broken("S2-reboot")) && (!store_is_torn(shard->rows) || vt_broken("S2-torn"));
}

/* A power loss may leave anything behind what was synced; nothing else may. */
static void
tell_of_damage(const Shard *shard, const VtId *then, uint64_t from)
{
	if (is_this_boot(then))
		log_warn("shard=%llu: what was written last is damaged on disk, though the machine went on: it is applied again from entry %llu on",
				 (unsigned long long) shard->desc.shard, (unsigned long long) from);
	else
		log_info("shard=%llu: what was written last did not outlive the machine's restart: it is applied again from entry %llu on",
				 (unsigned long long) shard->desc.shard, (unsigned long long) from);
}

/*
 * Where replay begins (law S2): at the applied index, if the machine has not
 * rebooted since the checkpoint and nothing is damaged; else at the checkpoint, whatever is visible.
 */
static VtStatus
load_position(Shard *shard, uint64_t *replay, VtError *err)
{
	VtId		then = {{0}};
	uint64_t	visible = 0;
	VtStatus	status;

	*replay = shard->desc.base_index;
	status = shard_read_marker(shard->rows, replay, &then, err);
	if (status != VT_OK)
		return status == VT_NOT_FOUND ? VT_OK : status;
	if (store_is_torn(shard->rows))
		tell_of_damage(shard, &then, *replay);
	if (is_believed(shard, &then))
		status = read_number(shard->rows, "a", &visible, err);
	if (visible > 0)
		*replay = visible;
	return status;
}

/* Does a bulk load go on, and is one over?  Older versions did not keep where it ended, but that it did. */
static VtStatus
load_ingesting(Shard *shard, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(shard->rows, bytes_of("g", 1), &value, err);

	if (status == VT_OK && ((value.len != 1 && value.len != 9) || value.data[0] > 1))
		status = vt_fail(err, VT_CORRUPT, "what is known of bulk loads into shard %llu is damaged",
						 (unsigned long long) shard->desc.shard);
	if (status == VT_OK)
	{
		atomic_store(&shard->ingesting, value.data[0] != 0);
		shard->load_over = value.len == 9 ? get_le64(value.data + 1) : value.data[0] ? 0 : LOAD_OVER_BEFORE;
	}
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
shard_load(Shard *shard, uint64_t *replay, VtError *err)
{
	WireShardDesc desc = {0};
	uint64_t	replica;
	bool		given = shard->records != NULL;
	VtStatus	status = check_aside(shard->rows, err);

	if (status == VT_OK)
		status = shard_read_descriptor(shard->rows, &desc, err);
	if (status == VT_OK)
		status = shard_read_replica(shard->rows, &replica, err);
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
		status = load_ingesting(shard, err);
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
