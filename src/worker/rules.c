/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  What apply decides by, beside the rows, in numbers that replicas compare.
 *
 * At one index of the log all replicas have the same of it, each from the same
 * entries or from a snapshot of one that had: the fence in force, the sessions with
 * what was done in each, the interval with its version, and whether a bulk load goes
 * on or is over.  And what they were founded with, as far as a command is held
 * against it.
 *
 * Left out is what replicas may differ in: members and their version (Raft's own),
 * incarnations while a shard is recovered, raises and times that a checkpoint has
 * trimmed, what is owed to children and the WAL position (a child has what its
 * parent had when it was copied), and all that only a checkpoint or an installation
 * writes.
 *
 * A digest is of what is in memory, since apply asks that.  A start asks what is on
 * disk: so that is pinned and held against it.
 *
 *-------------------------------------------------------------------------
 */
#include "rules.h"

#include "base/hash.h"

static uint64_t
digest_of(Buf *all)
{
	uint64_t	digest = hash_checksum(buf_bytes(all));

	buf_free(all);
	return digest;
}

static uint64_t
digest_interval(const WireShardDesc *desc)
{
	Buf			all = {0};

	buf_put_u64(&all, desc->first);
	buf_put_u64(&all, desc->last);
	buf_put_u32(&all, desc->range_ver);
	return digest_of(&all);
}

/* Where it ended is before all that is still to be applied, and not known where an older version applied it. */
static uint64_t
digest_load(const Shard *shard)
{
	Buf			all = {0};

	buf_put_u8(&all, atomic_load(&shard->ingesting));
	buf_put_u8(&all, shard->load_over != 0);
	return digest_of(&all);
}

static uint64_t
digest_properties(const WireShardDesc *desc)
{
	Buf			all = {0};

	buf_put_id(&all, &desc->generation);
	buf_put_u64(&all, desc->owner.system);
	buf_put_id(&all, &desc->owner.incarnation);
	buf_put_u32(&all, desc->owner.database);
	buf_put_u64(&all, desc->shard);
	buf_put_u8(&all, desc->hash_kind);
	buf_put_u64(&all, desc->hash_seed);
	buf_put_u32(&all, desc->dim);
	buf_put_u8(&all, desc->metric);
	buf_put_u8(&all, (uint8_t) shard_element(desc));
	buf_put_u8(&all, desc->nattributes);
	buf_put(&all, desc->attributes, desc->nattributes);
	return digest_of(&all);
}

void
rules_take(const Shard *shard, ShardRules *out, RulesOnDisk *pinned)
{
	out->fence = atomic_load(&shard->fence);
	out->sessions = sessions_digest(shard->sessions);
	out->interval = digest_interval(&shard->desc);
	out->load = digest_load(shard);
	out->properties = digest_properties(&shard->desc);
	pinned->raises = store_iter_open(shard->rows, bytes_of("f", 1), bytes_of("g", 1));
	pinned->sessions = sessions_pin(shard->rows);
}

void
rules_unpin(RulesOnDisk *pinned)
{
	store_iter_close(pinned->raises);
	sessions_unpin(&pinned->sessions);
}

/* The last one counts. */
static VtStatus
take_raise(void *arg, Bytes key, Bytes value, VtError *err)
{
	return shard_read_raise(key, value, (FenceRaise *) arg, err);
}

static VtStatus
check_fence(StoreIter *raises, uint64_t fence, VtError *err)
{
	FenceRaise	last = {0};
	VtStatus	status = shard_each(raises, take_raise, &last, err);

	if (status == VT_OK && last.fence != fence)
		status = vt_fail(err, VT_CORRUPT, "the fence was %llu in memory and is %llu on disk",
						 (unsigned long long) fence, (unsigned long long) last.fence);
	return status;
}

VtStatus
rules_check(RulesOnDisk *pinned, const ShardRules *rules, uint64_t index, VtError *err)
{
	Sessions   *sessions = sessions_new();
	uint64_t	newest = 0;
	VtStatus	status = check_fence(pinned->raises, rules->fence, err);

	if (status == VT_OK)
		status = sessions_read(sessions, &pinned->sessions, index, &newest, err);
	if (status == VT_OK && sessions_digest(sessions) != rules->sessions)
		status = vt_fail(err, VT_CORRUPT, "its sessions were others in memory than they are on disk");
	sessions_free(sessions);
	return status;
}
