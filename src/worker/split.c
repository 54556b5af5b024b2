/*-------------------------------------------------------------------------
 *
 * split.c
 *	  A shard becomes two: the upper end of its hash interval goes to a child.
 *
 * The entry SPLIT in the shard's log is the only moment that counts.  Commands
 * before it are for the whole interval, commands after it for what is left (law
 * D1): a record that is beyond, or a route of an older version, is refused at
 * apply.  So from that entry on nobody changes what the child is to have, and each
 * replica of the parent holds the same of it: frozen rows.
 *
 * Out of these every store that has a replica of the parent, and is to have one of
 * the child, makes the child's own rows, whenever it comes to it (decision 0009).
 * Its steps, and what a crash between them leaves:
 *
 *	1.	SPLIT is applied: its batch has the child's descriptor, marked as owed; the
 *		interval ends earlier, and records beyond it are lent until the child is
 *		open (lend.c).  Lost with the power, the entry is applied again.  Nobody is told before the batch is
 *		written: it may have the last puts of what the child is to have.
 *	2.	The child's rows are copied into a directory of its own (heir.c; most of them before 1), flushed,
 *		and marked as a checkpoint at the index of the split.  Without a Raft group
 *		they are nobody's: the next attempt begins by removing them.
 *	3.	The child's group is founded in the Raft log, in one synced batch: from here
 *		on it may vote, and is never made again.
 *	4.	When all of the child's replicas have been heard of, PD says so, and the
 *		rows are owed no longer (shard_settle): behind a checkpoint that covers the
 *		split, so that no replay comes to it again.
 *	5.	What is not of the interval is deleted, slice by slice (shard_purge).
 *
 * Before 4 a snapshot of the parent carries the frozen rows and the mark, and
 * whoever receives it may make the child as well: the log can be cut beyond the
 * split although somebody has never applied it.  After 4 a store that has no
 * replica of the child yet gets an empty one, like any that joins, and a snapshot
 * of the child from its leader.
 *
 * Law S3: the interval at a start is that of where replay begins.  Splits that are
 * already on disk beyond it do not count before replay has come to them again, so
 * that every command meets the interval it met the first time, and rows that are
 * frozen later can still be deleted by their version.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <stdlib.h>

#include "base/breaks.h"

#define CHILD_FORMAT 2
#define CHILD_FORMAT_BEFORE 1	/* there were no sessions */

bool
shard_owns(const Shard *shard, Bytes id)
{
	uint64_t	place = wire_place(&shard->desc, id);

	return place >= shard->desc.first && place <= shard->desc.last;
}

/* -- The children on disk ---------------------------------------------------- */

static void
child_key(uint8_t key[9], uint64_t index)
{
	key[0] = 'c';
	put_be64(key + 1, index);
}

static void
put_child(StoreBatch *batch, const ShardChild *child)
{
	uint8_t		key[9];
	Buf			value = {0};

	child_key(key, child->index);
	buf_put_u8(&value, child->sessions ? CHILD_FORMAT : CHILD_FORMAT_BEFORE);
	buf_put_u8(&value, child->owed);
	buf_put_u64(&value, child->fence);
	wire_desc_put(&value, &child->desc);
	store_batch_put(batch, bytes_of(key, sizeof(key)), buf_bytes(&value));
	buf_free(&value);
}

static VtStatus
get_child(Bytes key, Bytes value, ShardChild *out)
{
	Cursor		c = cursor_of(value);
	uint8_t		format = cursor_u8(&c);
	uint8_t		owed = cursor_u8(&c);
	VtStatus	status;

	out->fence = cursor_u64(&c);
	if (key.len != 9 || c.failed)
		return VT_CORRUPT;
	if (format != CHILD_FORMAT && format != CHILD_FORMAT_BEFORE)
		return VT_VERSION;
	out->sessions = format == CHILD_FORMAT;
	status = wire_desc_get(&c, &out->desc);
	out->index = get_be64(key.data + 1);
	out->owed = owed != 0;
	if (status != VT_OK)
		return status;
	return cursor_done(&c) && owed <= 1 && out->desc.base_index == out->index ? VT_OK : VT_CORRUPT;
}

/* Behind those that are there; the interval ends where the child begins. */
static void
take_child(Shard *shard, const ShardChild *child)
{
	pthread_mutex_lock(&shard->children_lock);
	shard->children = vt_realloc(shard->children, (shard->nsplit + 1) * sizeof(ShardChild));
	shard->children[shard->nsplit++] = *child;
	pthread_mutex_unlock(&shard->children_lock);
	shard->desc.range_ver = child->desc.range_ver;
	if (!vt_broken("D1-split"))
		shard->desc.last = child->desc.first - 1;
}

void
shard_tell_children(Shard *shard)
{
	bool		any = shard->nchildren < shard->nsplit;

	if (!any)
		return;
	pthread_mutex_lock(&shard->children_lock);
	shard->nchildren = shard->nsplit;
	pthread_mutex_unlock(&shard->children_lock);
	shard_stir(shard);
	if (shard->on_split)
		shard->on_split(shard->on_split_arg);
}

static void
publish_range(Shard *shard)
{
	atomic_store(&shard->last, shard->desc.last);
	atomic_store(&shard->range_ver, shard->desc.range_ver);
}

typedef struct Loading
{
	Shard	   *shard;
	uint64_t	applied;
} Loading;

static VtStatus
load_child(void *arg, Bytes key, Bytes value, VtError *err)
{
	Loading    *loading = (Loading *) arg;
	Shard	   *shard = loading->shard;
	ShardChild	child;
	VtStatus	status = get_child(key, value, &child);

	if (status != VT_OK)
		return vt_fail(err, status, "what was split off shard %llu is damaged or of a newer version",
					   (unsigned long long) shard->desc.shard);
	if (child.index > shard->newest)
		shard->newest = child.index;
	if (child.index <= loading->applied || vt_broken("D1-replay"))
		take_child(shard, &child);
	return VT_OK;
}

VtStatus
shard_load_children(Shard *shard, uint64_t applied, VtError *err)
{
	Loading		loading = {shard, applied};
	VtStatus	status = shard_each_of(shard->rows, 'c', load_child, &loading, err);

	pthread_mutex_lock(&shard->children_lock);
	shard->nchildren = shard->nsplit;
	pthread_mutex_unlock(&shard->children_lock);
	publish_range(shard);
	return status;
}

typedef struct Owed
{
	ShardChild *children;
	size_t		n;
} Owed;

static VtStatus
add_owed(void *arg, Bytes key, Bytes value, VtError *err)
{
	Owed	   *owed = (Owed *) arg;
	ShardChild	child;
	VtStatus	status = get_child(key, value, &child);

	if (status != VT_OK)
		return vt_fail(err, status, "what was split off is damaged or of a newer version");
	if (child.owed)
	{
		owed->children = vt_realloc(owed->children, sizeof(ShardChild) * (owed->n + 1));
		owed->children[owed->n++] = child;
	}
	return VT_OK;
}

VtStatus
shard_owed_children(const char *directory, uint64_t id, ShardChild **out, size_t *n, VtError *err)
{
	Owed		owed = {0};
	Store	   *rows;
	VtStatus	status = shard_open_rows(directory, id, &rows, err);

	if (status == VT_OK)
	{
		status = shard_each_of(rows, 'c', add_owed, &owed, err);
		store_close(rows);
	}
	*out = owed.children;
	*n = owed.n;
	return status;
}

bool
shard_child(Shard *shard, size_t i, ShardChild *out)
{
	bool		there;

	pthread_mutex_lock(&shard->children_lock);
	there = i < shard->nchildren;
	if (there)
		*out = shard->children[i];
	pthread_mutex_unlock(&shard->children_lock);
	return there;
}

bool
shard_find_child(Shard *shard, uint64_t child, ShardChild *out)
{
	for (size_t i = 0; shard_child(shard, i, out); i++)
		if (out->desc.shard == child)
			return true;
	return false;
}

/* -- The entry --------------------------------------------------------------- */

/* The rest was looked at by the decoder: whose it is, and that it is the next version. */
bool
shard_is_of_kind(const WireShardDesc *a, const WireShardDesc *b)
{
	return a->incarnation == b->incarnation && a->hash_kind == b->hash_kind && a->hash_seed == b->hash_seed &&
		a->dim == b->dim && a->metric == b->metric && a->element == b->element &&
		a->quantization == b->quantization && a->m == b->m && a->ef_construction == b->ef_construction &&
		a->nattributes == b->nattributes && memcmp(a->attributes, b->attributes, sizeof(a->attributes)) == 0;
}

bool
shard_split_fits(const Shard *shard, const WireShardDesc *child)
{
	const WireShardDesc *desc = &shard->desc;

	return child->first > desc->first && child->first <= desc->last && child->last == desc->last &&
		shard_is_of_kind(child, desc);
}

void
shard_split(Shard *shard, StoreBatch *batch, const WireWrite *write, uint64_t index, uint64_t fence)
{
	ShardChild	child = {.index = index, .owed = true, .sessions = true, .fence = fence, .desc = wire_split_child(write)};

	child.desc.base_index = index;
	put_child(batch, &child);
	sessions_freeze(shard->sessions, batch, index);
	/* Of an earlier one: it would be in nobody's interval. */
	loan_end(shard);
	loan_begin(shard, &child, shard->desc.range_ver);
	take_child(shard, &child);
	publish_range(shard);
	if (vt_broken("D1-told"))
		shard_tell_children(shard);
}

/* -- Letting go -------------------------------------------------------------- */

VtStatus
shard_settle(Shard *shard, uint64_t child, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	ShardChild	found;
	uint64_t	index = 0;
	VtStatus	status = VT_OK;

	if (!shard_hold(shard))
	{
		store_batch_free(batch);
		return vt_fail(err, VT_BUSY, "a snapshot is being installed here");
	}
	if (shard_find_child(shard, child, &found) && found.owed)
	{
		/* Nothing before the split is replayed any more, whatever is lost. */
		if (!vt_broken("D1-settle"))
			status = shard_checkpoint(shard, &index, err);
		/* Then that was none, and what is here stays if the snapshot cannot be installed. */
		if (status == VT_OK && atomic_load(&shard->installing))
			status = vt_fail(err, VT_BUSY, "a snapshot is being installed here");
		if (status == VT_OK && index < found.index && !vt_broken("D1-settle"))
			status = vt_fail(err, VT_BUSY, "the split is not applied yet");
		found.owed = false;
		put_child(batch, &found);
		sessions_thaw(batch, found.index);
		if (status == VT_OK)
			status = store_write(shard->rows, batch, true, err);
		pthread_mutex_lock(&shard->children_lock);
		for (size_t i = 0; i < shard->nchildren && status == VT_OK; i++)
			if (shard->children[i].index == found.index)
				shard->children[i].owed = false;
		pthread_mutex_unlock(&shard->children_lock);
		if (status == VT_OK)
			atomic_store(&shard->strays, true);
	}
	store_batch_free(batch);
	shard_release(shard);
	return status;
}

/* Is this place of nobody here: not of the interval, nor of what is owed? */
static bool
is_stray(Shard *shard, Bytes id)
{
	uint64_t	place = wire_place(&shard->desc, id);
	bool		stray = place < shard->desc.first || place > atomic_load(&shard->last);

	pthread_mutex_lock(&shard->children_lock);
	for (size_t i = 0; i < shard->nsplit && stray; i++)
		stray = !shard->children[i].owed || place < shard->children[i].desc.first ||
			place > shard->children[i].desc.last;
	pthread_mutex_unlock(&shard->children_lock);
	return stray;
}

VtStatus
shard_purge(Shard *shard, size_t rows, bool *more, VtError *err)
{
	Buf		   *from = &shard->purge;
	StoreBatch *batch;
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;
	size_t		looked = 0;
	size_t		found = 0;
	VtStatus	status = VT_OK;

	*more = false;
	if (!shard_hold(shard))
		return vt_fail(err, VT_BUSY, "a snapshot is being installed here");
	if (!atomic_load(&shard->strays) && from->len == 0)
	{
		shard_release(shard);
		return VT_OK;
	}
	if (from->len == 0)
	{
		/* What becomes a stray behind this walk is another walk's. */
		atomic_store(&shard->strays, false);
		buf_put(from, "v", 1);
	}
	batch = store_batch_new();
	iter = store_iter_open(shard->rows, buf_bytes(from), bytes_of("w", 1));
	while (!*more && store_iter_next(iter, &key, &value))
	{
		if (is_stray(shard, bytes_of(key.data + 1, key.len - 1)))
		{
			store_batch_delete(batch, key);
			found++;
		}
		*more = ++looked == rows;
		if (*more)
		{
			/* The next key behind this one. */
			buf_clear(from);
			buf_put(from, key.data, key.len);
			buf_put_u8(from, 0);
		}
	}
	if (!*more)
		buf_clear(from);
	status = store_iter_status(iter, err);
	shard_note_damage(shard, status, err);
	store_iter_close(iter);
	if (status == VT_OK && found > 0)
		status = store_write(shard->rows, batch, false, err);
	shard->purged += found;
	store_batch_free(batch);
	shard_release(shard);
	return status;
}
