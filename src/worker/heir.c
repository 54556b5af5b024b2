/*-------------------------------------------------------------------------
 *
 * heir.c
 *	  The rows of a child, copied from those of the shard it is split off from.
 *
 * After the entry SPLIT they are frozen, and can be copied at any pace.  But writes to
 * them wait until the child has them, so most of it is done before, while they still
 * change: heir_prepare() copies what there is at some moment, and from that moment
 * on the shard keeps the ids of what changes (its watch).  Those are copied again,
 * and again, so they are always few.  When the entry has been applied heir_succeed()
 * takes up what was prepared: the ids that have changed until then are the last, and
 * what is copied for them is what is frozen.
 *
 * Nothing of it counts before the child's group is founded.  Whatever comes between,
 * a crash, a snapshot in the parent's place, more changes than are worth keeping: what
 * was prepared is given up, and all is copied after the entry.
 *
 * The graph comes from the parent's, too: its file is written for the child with
 * everything else dead, which is mended around as after any deletion (graph.c).  It is a
 * cache: without it the child links its vectors one by one.  With it what was copied can be
 * loaded and mended before the entry, too, by the one thread that has the heir: nobody else knows
 * of these records before they are the child's.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/log.h"

/* In one go of mending */
#define MEND_LINKS 8
#define MEND_NODES 64

#define WATCH_MOST (1u << 18)	/* ids; beyond, copying all again is no more work */
#define WATCH_BYTES (16u << 20)	/* of ids, which may be long */

struct ShardWatch
{
	uint64_t	id;
	uint64_t	first;			/* the interval */
	uint64_t	last;
	bool		lost;			/* there were too many */
	IdSet		changed;
};

struct Heir
{
	Shard	   *shard;			/* the parent, held; NULL: it rests */
	WireShardDesc desc;			/* the child's; before the entry of its interval only */
	ShardChild	child;			/* index 0: the entry is not applied yet */
	uint64_t	replica;
	bool		graph;			/* as far as it goes, it is in its file */
	uint64_t	watch;			/* the shard's, as long as it is that one; 0: rows are frozen since it was begun */
	Store	   *rows;
	StoreIter  *iter;			/* over the parent's; NULL: all have been copied once */
	Records    *records;		/* of all rows; NULL: they were not loaded */
	Records    *loading;		/* on the way there */
	IdSet		again;			/* ids to be copied once more, */
	uint32_t	at;				/* from this place in the table on, */
	uint32_t	left;			/* so many */
};

/* -- What changes meanwhile --------------------------------------------------- */

void
watch_note(Shard *shard, Bytes id)
{
	ShardWatch *watch = shard->watch;
	uint64_t	place;

	if (!watch || watch->lost)
		return;
	place = wire_place(&shard->desc, id);
	if (place < watch->first || place > watch->last || vt_broken("D1-again"))
		return;
	(void) idset_add(&watch->changed, id);
	watch->lost = watch->changed.n >= WATCH_MOST || watch->changed.bytes.len >= WATCH_BYTES;
}

/* Another watch, or none, in place of this one, or of whichever there is (0).  What it kept may be much: apply does not wait for that. */
static void
watch_replace(Shard *shard, uint64_t id, ShardWatch *watch)
{
	ShardWatch *before = watch;

	pthread_mutex_lock(&shard->watch_lock);
	if (id == 0 || (shard->watch && shard->watch->id == id))
	{
		before = shard->watch;
		shard->watch = watch;
	}
	pthread_mutex_unlock(&shard->watch_lock);
	if (before)
		idset_free(&before->changed);
	free(before);
}

void
watch_end(Shard *shard)
{
	watch_replace(shard, 0, NULL);
}

/* What was applied before is written when this returns, what is later is noted. */
static uint64_t
watch_begin(Shard *shard, const WireShardDesc *child)
{
	static atomic_uint_fast64_t ids;
	ShardWatch *watch = vt_alloc0(sizeof(ShardWatch));
	uint64_t	id;

	watch->id = atomic_fetch_add(&ids, 1) + 1;
	watch->first = child->first;
	watch->last = child->last;
	id = watch->id;
	watch_replace(shard, 0, watch);
	return id;
}

/* What has changed since this was called last; VT_GONE: that is not known any more. */
static VtStatus
watch_take(Heir *heir, VtError *err)
{
	Shard	   *shard = heir->shard;
	VtStatus	status = VT_OK;

	idset_free(&heir->again);
	heir->at = 0;
	pthread_mutex_lock(&shard->watch_lock);
	if (!shard->watch || shard->watch->id != heir->watch || shard->watch->lost)
		status = VT_GONE;
	else
	{
		heir->again = shard->watch->changed;
		memset(&shard->watch->changed, 0, sizeof(IdSet));
	}
	pthread_mutex_unlock(&shard->watch_lock);
	heir->left = heir->again.n;
	return status == VT_OK ? VT_OK : vt_fail(err, status, "too much has changed since its rows were copied");
}

/* -- Beginning, and going on --------------------------------------------------- */

/* The heir of an interval, with a directory of its own; the shard is held by it. */
static VtStatus
begin(Shard *shard, const WireShardDesc *desc, const char *directory, Heir **out, VtError *err)
{
	StoreOptions options = {.write_buffer = 32 << 20, .replayed = true};
	Heir	   *heir;
	Store	   *rows;
	char		path[4096];
	VtStatus	status;

	if (!shard_hold(shard))
		return vt_fail(err, VT_BUSY, "a snapshot is being installed here");
	shard_path(path, sizeof(path), directory, desc->shard);
	status = shard_remove_graph(path, err);
	if (status == VT_OK)
		status = store_destroy(path, err);
	if (status == VT_OK)
		status = store_open(path, &options, &rows, err);
	if (status != VT_OK)
	{
		shard_release(shard);
		return status;
	}
	heir = vt_alloc0(sizeof(Heir));
	heir->shard = shard;
	heir->desc = *desc;
	heir->rows = rows;
	*out = heir;
	return VT_OK;
}

static StoreIter *
all_rows(const Shard *shard)
{
	return store_iter_open(shard->rows, bytes_of("v", 1), bytes_of("w", 1));
}

VtStatus
heir_begin(Shard *shard, const ShardChild *child, const char *directory, uint64_t replica, Heir **out,
		   VtError *err)
{
	VtStatus	status = begin(shard, &child->desc, directory, out, err);

	if (status != VT_OK)
		return status;
	(*out)->child = *child;
	(*out)->replica = replica;
	(*out)->iter = all_rows(shard);
	return VT_OK;
}

VtStatus
heir_prepare(Shard *shard, const WireShardDesc *child, const char *directory, Heir **out, VtError *err)
{
	ShardChild	there;
	VtStatus	status = VT_OK;

	/* It was asked for long ago: what may lie there is a shard's. */
	if (shard_find_child(shard, child->shard, &there) || child->last != atomic_load(&shard->last) ||
		child->range_ver != atomic_load(&shard->range_ver) + 1)
		status = vt_fail(err, VT_EXISTS, "the shard was split meanwhile");
	if (status == VT_OK)
		status = begin(shard, child, directory, out, err);
	if (status != VT_OK)
		return status;
	(*out)->watch = watch_begin(shard, child);
	(*out)->iter = all_rows(shard);
	return VT_OK;
}

void
heir_rest(Heir *heir)
{
	Shard	   *shard = heir->shard;

	/* It pins what is there, and has to be left before the shard is. */
	if (heir->iter || !shard)
		return;
	heir->shard = NULL;
	shard_release(shard);
}

VtStatus
heir_go_on(Heir *heir, Shard *shard, VtError *err)
{
	bool		known;

	if (heir->shard)
		return VT_OK;
	if (!shard_hold(shard))
		return vt_fail(err, VT_BUSY, "a snapshot is being installed here");
	pthread_mutex_lock(&shard->watch_lock);
	known = shard->watch && shard->watch->id == heir->watch && !shard->watch->lost;
	pthread_mutex_unlock(&shard->watch_lock);
	if (!known)
	{
		shard_release(shard);
		return vt_fail(err, VT_GONE, "what has changed since its rows were copied is not known");
	}
	heir->shard = shard;
	return VT_OK;
}

VtStatus
heir_succeed(Heir *heir, Shard *shard, const ShardChild *child, uint64_t replica, VtError *err)
{
	const WireShardDesc *desc = &child->desc;
	VtStatus	status = heir_go_on(heir, shard, err);

	if (status == VT_OK && (desc->shard != heir->desc.shard || desc->first != heir->desc.first ||
							desc->last != heir->desc.last || !shard_is_of_kind(desc, &heir->desc)))
		status = vt_fail(err, VT_GONE, "it was prepared for another interval, or as another kind of shard");
	heir->child = *child;
	heir->desc = *desc;
	heir->replica = replica;
	return status;
}

/* -- Copying ------------------------------------------------------------------- */

/* Rows that are in the interval, one after the other. */
static VtStatus
copy_first(Heir *heir, StoreBatch *batch, size_t bytes, VtError *err)
{
	const WireShardDesc *desc = &heir->desc;
	size_t		copied = 0;
	size_t		looked = 0;
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	while (copied < bytes && looked < bytes)
	{
		uint64_t	place;

		if (!store_iter_next(heir->iter, &key, &value))
		{
			status = store_iter_status(heir->iter, err);
			shard_note_damage(heir->shard, status, err);
			store_iter_close(heir->iter);
			heir->iter = NULL;
			break;
		}
		looked += key.len;
		place = wire_place(desc, bytes_of(key.data + 1, key.len - 1));
		if (place < desc->first || place > desc->last)
			continue;
		store_batch_put(batch, key, value);
		copied += key.len + value.len;
	}
	return status;
}

/* The same in memory, if they are there. */
static VtStatus
take_again(Heir *heir, Bytes id, Bytes value, VtError *err)
{
	uint64_t	there = heir->records ? records_version(heir->records, id) : 0;
	StoreRow	row;
	VtStatus	status = VT_OK;

	if (!heir->records)
		return VT_OK;
	if (value.len == 0)
	{
		if (there != 0)
			records_delete(heir->records, id);
		return VT_OK;
	}
	status = shard_read_row(&heir->desc, value, &row, err);
	if (status == VT_OK && row.index != there)
		status = records_put(heir->records, id, row.index, row.vector, row.attributes, err);
	return status;
}

/* What has changed since, as it is now. */
static VtStatus
copy_again(Heir *heir, StoreBatch *batch, size_t bytes, VtError *err)
{
	size_t		copied = 0;
	Buf			key = {0};
	Buf			value = {0};
	VtStatus	status = heir->left == 0 ? watch_take(heir, err) : VT_OK;

	for (; status == VT_OK && heir->left > 0 && copied < bytes; heir->at++)
	{
		const IdSetEntry *entry = &heir->again.table[heir->at];
		Bytes		id = bytes_of(heir->again.bytes.data + entry->at, entry->len);

		if (entry->len == 0)
			continue;
		heir->left--;
		row_key(&key, id);
		buf_clear(&value);
		status = store_get(heir->shard->rows, buf_bytes(&key), &value, err);
		shard_note_damage(heir->shard, status, err);
		if (status == VT_OK)
			store_batch_put(batch, buf_bytes(&key), buf_bytes(&value));
		else if (status == VT_NOT_FOUND)
		{
			store_batch_delete(batch, buf_bytes(&key));
			status = VT_OK;
		}
		if (status == VT_OK)
			status = take_again(heir, id, buf_bytes(&value), err);
		copied += key.len + value.len;
	}
	buf_free(&key);
	buf_free(&value);
	return status;
}

uint64_t
heir_left(Heir *heir)
{
	uint64_t	left = heir->left;

	if (heir->iter || !heir->shard)
		return UINT64_MAX;
	if (heir->watch == 0)
		return left;
	/* Without the watch nobody knows: it is for the next step to say so. */
	pthread_mutex_lock(&heir->shard->watch_lock);
	if (heir->shard->watch && heir->shard->watch->id == heir->watch && !heir->shard->watch->lost)
		left += heir->shard->watch->changed.n;
	else
		left = UINT64_MAX;
	pthread_mutex_unlock(&heir->shard->watch_lock);
	return left;
}

VtStatus
heir_copy(Heir *heir, size_t bytes, bool *done, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	VtStatus	status = VT_OK;

	*done = false;
	if (atomic_load(&heir->shard->installing) || atomic_load(&heir->shard->leaving))
		status = vt_fail(err, VT_BUSY, "the shard is being replaced or closed here");
	if (status == VT_OK && heir->iter)
		status = copy_first(heir, batch, bytes, err);
	else if (status == VT_OK && heir->watch != 0)
		status = copy_again(heir, batch, bytes, err);
	if (status == VT_OK)
		status = store_write(heir->rows, batch, false, err);
	if (status == VT_OK)
		*done = heir_left(heir) == 0;
	store_batch_free(batch);
	return status;
}

/* -- The end ------------------------------------------------------------------- */

/*
 * The fence in force at the split, as its entry's batch says: of the parent's raises
 * those before it may be forgotten by now.  The highest WAL position, never lower
 * than it was there.  And the sessions as the split left them.
 */
static VtStatus
copy_facts(Heir *heir, StoreBatch *batch, VtError *err)
{
	uint8_t		key[9] = {'f'};
	uint8_t		fence[8];
	Buf			value = {0};
	VtStatus	status;

	put_be64(key + 1, heir->child.index);
	put_le64(fence, heir->child.fence);
	if (heir->child.fence > 0 && !vt_broken("D1-fence"))
		store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_of(fence, sizeof(fence)));
	status = store_get(heir->shard->rows, bytes_of("p", 1), &value, err);
	if (status == VT_OK)
		store_batch_put(batch, bytes_of("p", 1), buf_bytes(&value));
	else if (status == VT_NOT_FOUND)
		status = VT_OK;
	buf_free(&value);
	if (status == VT_OK && heir->child.sessions)
		status = sessions_bequeath(heir->shard->rows, heir->child.index, batch, err);
	return status;
}

VtStatus
heir_flush(Heir *heir, VtError *err)
{
	return store_flush(heir->rows, err);
}

void
heir_graph(Heir *heir, ShardPace pace, void *arg)
{
	bool		frozen = heir->child.index != 0;
	VtError		err = {0};
	VtStatus	status = VT_OK;

	/* After a start only the rows are there. */
	if (!heir->graph && (!frozen || atomic_load(&heir->shard->lent) == heir->desc.shard))
		status = shard_bequeath_graph(heir->shard, &heir->desc, store_path(heir->rows), pace, arg, &err);

	heir->graph = status == VT_OK;
	if (status != VT_OK && status != VT_CANCELLED)
		log_warn("shard=%llu: its graph is built anew: %s", (unsigned long long) heir->desc.shard, vt_error_words(&err));
}

VtStatus
heir_load(Heir *heir, bool mapped, ShardPace pace, void *arg, VtError *err)
{
	RecordsOptions options = shard_records_options(&heir->desc);
	StoreIter  *iter;
	Records    *records;
	Bytes		key;
	Bytes		value;
	VtStatus	status = VT_OK;

	options.vectors = mapped ? store_path(heir->rows) : NULL;
	if (!shard_load_bequeathed(&heir->desc, store_path(heir->rows), &options, &records))
		status = records_new(&options, &records, err);
	if (status != VT_OK)
		return status;
	heir->loading = records;
	iter = store_iter_open(heir->rows, bytes_of("v", 1), bytes_of("w", 1));
	while (status == VT_OK && store_iter_next(iter, &key, &value))
	{
		Bytes		id = bytes_of(key.data + 1, key.len - 1);
		StoreRow	row;

		status = shard_read_row(&heir->desc, value, &row, err);
		if (status == VT_OK && !records_claim(records, id, row.index, row.vector, row.attributes))
			status = records_put(records, id, row.index, row.vector, row.attributes, err);
		if (status == VT_OK && !pace(arg, key.len + value.len))
			status = vt_fail(err, VT_CANCELLED, "its rows were not loaded");
	}
	if (status == VT_OK)
		status = store_iter_status(iter, err);
	store_iter_close(iter);
	heir->loading = NULL;
	if (status == VT_OK)
	{
		records_settle(records);
		heir->records = records;
	}
	else
		records_free(records);
	return status;
}

bool
heir_mend(Heir *heir)
{
	Hnsw	   *graph = heir->records ? records_graph(heir->records) : NULL;
	uint32_t	linked = 0;

	if (!graph)
		return false;
	while (linked < MEND_LINKS && hnsw_link_next(graph))
		linked++;
	return hnsw_repair(graph, MEND_NODES, true) || linked > 0;
}

uint64_t
heir_bytes(const Heir *heir)
{
	const Records *records = heir->loading ? heir->loading : heir->records;

	return records ? records_bytes(records) : 0;
}

VtStatus
heir_end(Heir *heir, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	uint8_t		number[8];
	VtStatus	status = copy_facts(heir, batch, err);

	if (status == VT_OK)
		status = store_write(heir->rows, batch, false, err);
	if (status == VT_OK && !vt_broken("D1-heir"))
		status = store_flush(heir->rows, err);
	store_batch_clear(batch);
	wire_desc_put(&value, &heir->child.desc);
	put_le64(number, heir->replica);
	store_batch_put(batch, bytes_of("d", 1), buf_bytes(&value));
	store_batch_put(batch, bytes_of("i", 1), bytes_of(number, sizeof(number)));
	if (status == VT_OK)
		status = shard_write_marker(heir->rows, batch, heir->child.index, heir->child.index, err);
	store_batch_free(batch);
	buf_free(&value);
	return status;
}

Store *
heir_take(Heir *heir, Records **records)
{
	Store	   *rows = heir->rows;

	*records = heir->records;
	heir->records = NULL;
	heir->rows = NULL;
	return rows;
}

void
heir_drop(Heir *heir)
{
	if (!heir)
		return;
	if (heir->iter)
		store_iter_close(heir->iter);
	records_free(heir->records);
	store_close(heir->rows);
	idset_free(&heir->again);
	if (heir->shard)
	{
		if (heir->watch != 0)
			watch_replace(heir->shard, heir->watch, NULL);
		shard_release(heir->shard);
	}
	free(heir);
}
