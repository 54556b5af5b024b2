/*-------------------------------------------------------------------------
 *
 * meta.c
 *	  The metapage: which generation an index is, and in what state (law W1).
 *
 * The page is the only thing an index has in PostgreSQL.  It goes through
 * generic WAL, so a rollback of REINDEX or TRUNCATE brings the old generation
 * back with the old file, a crash replays it, and a standby or a copy has it.
 * Identity is the random generation; no OID, file number or address is used.
 *
 * Changes happen to a page after it was made: EMPTY -> LIVE before the first
 * write is sent; LIVE -> STALE after a definite refusal; and while LIVE, in which
 * session of the server it was settled, and under which fence (settle.c).  They
 * are flushed before anybody acts on them.
 *
 * The first write gives an EMPTY index another random generation, unless that was
 * done in this start of the server: the page may be that of an init fork, which an
 * unlogged index has after a crash, or have been copied with its server, and the original,
 * or the copy, uses the one that stands there.  No committed row has an entry
 * before LIVE is logged, so another generation is as good.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/generic_xlog.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "common/relpath.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/breaks.h"

#include "attributes.h"
#include "index.h"

#define LABEL_BYTES 159			/* what the placement driver keeps of a name */

static VectronMeta *
meta_of_page(Page page)
{
	return (VectronMeta *) PageGetContents(page);
}

/* Lay out a fresh page. */
static void
meta_page_init(Page page, const VectronMeta *meta)
{
	PageInit(page, BLCKSZ, 0);
	memcpy(meta_of_page(page), meta, sizeof(*meta));
	((PageHeader) page)->pd_lower =
		(char *) meta_of_page(page) + sizeof(*meta) - (char *) page;
}

/*
 * Make block 0 of a new relation.  Generic WAL does not log the init fork of
 * an unlogged relation, so that one is logged as a full page by hand.
 */
void
meta_create(Relation index, ForkNumber fork, const VectronMeta *meta)
{
	Buffer		buffer;

	LockRelationForExtension(index, ExclusiveLock);
	buffer = ReadBufferExtended(index, fork, P_NEW, RBM_NORMAL, NULL);
	UnlockRelationForExtension(index, ExclusiveLock);
	if (BufferGetBlockNumber(buffer) != 0)
		elog(ERROR, "index \"%s\" already has pages", RelationGetRelationName(index));
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);

	if (fork == INIT_FORKNUM)
	{
		START_CRIT_SECTION();
		meta_page_init(BufferGetPage(buffer), meta);
		MarkBufferDirty(buffer);
		log_newpage_buffer(buffer, true);
		END_CRIT_SECTION();
	}
	else
	{
		GenericXLogState *state = GenericXLogStart(index);

		meta_page_init(GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE), meta);
		GenericXLogFinish(state);
	}
	UnlockReleaseBuffer(buffer);
}

static bool
version_is_known(const VectronMeta *meta)
{
	return meta->version == (meta->element == VEC_BIT ? VECTRON_META_BITS : VECTRON_META_VERSION);
}

static void
meta_check(Relation index, const VectronMeta *meta)
{
	if (meta->magic != VECTRON_META_MAGIC)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" is not a vectron index or its metapage is damaged",
						RelationGetRelationName(index)),
				 errhint("REINDEX it.")));
	if (!version_is_known(meta))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has metapage version %u, this library knows versions up to %u",
						RelationGetRelationName(index), meta->version, VECTRON_META_BITS),
				 errhint("Install the newer vectron, or REINDEX.")));
}

/*
 * A copy of the metapage as it is now.  *logged: the end of the WAL of its last change, which
 * whoever made it may not have flushed yet; what is sent to the cluster because of it waits
 * for that (W1).
 */
void
meta_read_logged(Relation index, VectronMeta *out, XLogRecPtr *logged)
{
	Buffer		buffer = ReadBuffer(index, 0);
	Page		page = BufferGetPage(buffer);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(out, meta_of_page(page), sizeof(*out));
	*logged = PageGetLSN(page);
	UnlockReleaseBuffer(buffer);
	meta_check(index, out);
}

/* The same for who sends nothing, or flushes everything before. */
void
meta_read(Relation index, VectronMeta *out)
{
	XLogRecPtr	logged;

	meta_read_logged(index, out, &logged);
}

/*
 * Old snapshots may be let down (old_snapshot_threshold): each VACUUM that deletes entries changes
 * the page before it does, so whoever has read some asks, as any access method does of the pages it reads.
 */
void
meta_test_snapshot(Relation index, Snapshot snapshot)
{
	Buffer		buffer;

	if (old_snapshot_threshold < 0)
		return;
	buffer = ReadBuffer(index, 0);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	TestForOldSnapshot(snapshot, index, BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
}

/*
 * The same, if there is a metapage: an index that is built concurrently is in
 * the catalog before it has one.
 */
bool
meta_read_built(Relation index, VectronMeta *out)
{
	Buffer		buffer;
	bool		built;

	if (RelationGetNumberOfBlocks(index) == 0)
		return false;
	buffer = ReadBuffer(index, 0);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	built = !PageIsNew(BufferGetPage(buffer));
	if (built)
		memcpy(out, meta_of_page(BufferGetPage(buffer)), sizeof(*out));
	UnlockReleaseBuffer(buffer);
	if (built)
		meta_check(index, out);
	return built;
}

/* Is this page laid out as meta_page_init() does it, and no other page can be? */
static bool
meta_page_is(Page page)
{
	PageHeader	header = (PageHeader) page;
	VectronMeta *meta = meta_of_page(page);

	return !PageIsNew(page) && PageGetPageSize(page) == BLCKSZ && header->pd_special == BLCKSZ &&
		header->pd_upper == BLCKSZ &&
		header->pd_lower == (char *) meta + sizeof(*meta) - (char *) page &&
		meta->magic == VECTRON_META_MAGIC && version_is_known(meta);
}

static MetaFile
meta_of_file(Page page, VectronMeta *out)
{
	if (!meta_page_is(page))
		return META_FILE_OTHER;
	memcpy(out, meta_of_page(page), sizeof(*out));
	return META_FILE_OURS;
}

/*
 * The metapage in a file of this database, if it is a vectron index's.  The
 * caller has its relation locked against everybody.  Never raises: the page is
 * taken from the buffers if it is there, else from the file, which nobody but
 * us can read into a buffer meanwhile.  META_FILE_UNSURE: it could not be read,
 * or is damaged.
 */
MetaFile
meta_read_file(RelFileNode file, VectronMeta *out)
{
	char	   *path = relpathperm(file, MAIN_FORKNUM);
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	PGAlignedBlock block;
	Buffer		buffer;
	MetaFile	result = META_FILE_UNSURE;
	ssize_t		n;

	pfree(path);
	if (fd < 0)
		return errno == ENOENT ? META_FILE_OTHER : META_FILE_UNSURE;
	buffer = PrefetchSharedBuffer(smgropen(file, InvalidBackendId), MAIN_FORKNUM, 0).recent_buffer;
	if (BufferIsValid(buffer) && ReadRecentBuffer(file, MAIN_FORKNUM, 0, buffer))
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		result = meta_of_file(BufferGetPage(buffer), out);
		UnlockReleaseBuffer(buffer);
	}
	else
	{
		n = pread(fd, block.data, BLCKSZ, 0);
		if (n == 0)
			result = META_FILE_OTHER;
		else if (n == BLCKSZ && PageIsVerifiedExtended(block.data, 0, 0))
			result = meta_of_file(block.data, out);
	}
	CloseTransientFile(fd);
	return result;
}

/*
 * Change the page under its lock, if it is still the generation and state that
 * the change is meant for.  *meta becomes what the page says afterwards.
 * Returns whether the change was made.  The fence never goes back: another may have
 * noted a higher one meanwhile.
 */
bool
meta_change(Relation index, VectronMeta *meta, uint16 from, const VectronMeta *to)
{
	Buffer		buffer = ReadBuffer(index, 0);
	VectronMeta *there;
	bool		match;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	there = meta_of_page(BufferGetPage(buffer));
	match = there->state == from && vt_id_equal(&there->generation, &meta->generation);
	if (match)
	{
		GenericXLogState *state = GenericXLogStart(index);
		VectronMeta *written = meta_of_page(GenericXLogRegisterBuffer(state, buffer, 0));
		uint64		fence = Max(to->fence, there->fence);

		memcpy(written, to, sizeof(*to));
		written->fence = fence;
		GenericXLogFinish(state);
	}
	memcpy(meta, meta_of_page(BufferGetPage(buffer)), sizeof(*meta));
	UnlockReleaseBuffer(buffer);

	/*
	 * Whoever made the change: nobody acts on it before it is durable.  (VACUUM
	 * notes a raise here, before it deletes, so that is a part of W3 as well.)
	 */
	if (RelationNeedsWAL(index) && !vt_broken("W3-delete"))
		wal_flush_all();
	return match;
}

/*
 * Give an index that holds nothing another generation, whoever comes first.
 * *meta is brought up to date.
 */
static void
meta_begin_life(Relation index, VectronMeta *meta)
{
	VectronMeta begun = *meta;

	vt_id_random(&begun.generation);
	if (vt_broken("W1-generation"))
		memset(&begun.generation, 1 + RelationGetRelid(index) % 251, sizeof(VtId));
	begun.session = *identity_session();
	(void) meta_change(index, meta, VECTRON_EMPTY, &begun);
}

/* Was the generation of this EMPTY index made in this start of the server? */
static bool
is_begun_here(const VectronMeta *meta)
{
	if (vt_broken("W7-empty") || vt_broken("W1-zero"))
		return !vt_id_is_zero(&meta->generation);
	return vt_id_equal(&meta->session, identity_session());
}

/* A name for people, in UTF-8 whatever the database speaks. */
static char *
meta_label(Relation index)
{
	char	   *label = psprintf("%s.%s", get_namespace_name(RelationGetNamespace(index)),
								 RelationGetRelationName(index));

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		label = pg_server_to_any(label, strlen(label), PG_UTF8);
	else
		for (char *p = label; *p; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	label[pg_encoding_mbcliplen(PG_UTF8, label, strlen(label), LABEL_BYTES)] = '\0';
	return label;
}

/* Ask for the collection of what *live says. */
static VtStatus
meta_create_collection(Relation index, const VectronMeta *live, VtError *err)
{
	ClientCreate create;
	char	   *label = meta_label(index);
	VtStatus	status;

	memset(&create, 0, sizeof(create));
	create.generation = live->generation;
	create.owner = live->owner;
	create.dim = live->dim;
	create.metric = (VecMetric) live->metric;
	create.element = meta_element(live);
	create.m = live->m;
	create.ef_construction = live->ef_construction;
	create.quantization = (WireQuantization) live->quantization;
	create.nattributes = attributes_declare(index, create.attributes);
	create.shards = live->shards;
	create.replicas = live->replicas;
	create.xid = U64FromFullTransactionId(GetTopFullTransactionId());
	create.label = label;
	status = client_create(cluster_client(), &create, cluster_deadline(vectron_write_timeout), err);
	if (status == VT_VERSION && create.nattributes > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" cannot have columns beside the vector yet: %s",
						RelationGetRelationName(index), vt_error_words(err)),
				 errhint("Upgrade all placement drivers and workers of the cluster, then try again; or make the index on the vector alone.")));
	pfree(label);
	return status;
}

/* The cluster has made the collection: with as many replicas as are wanted? */
static void
warn_of_few_replicas(Relation index, const VtId *generation)
{
	const ClientCollection *route;
	VtError		err = {0};

	if (client_route(cluster_client(), generation, false, cluster_deadline(vectron_write_timeout),
					 &route, &err) != VT_OK || route->shards[0].desc.nreplicas >= route->replicas_wanted)
		return;
	ereport(WARNING,
			(errmsg("index \"%s\" has %d of %u wanted replicas of each shard",
					RelationGetRelationName(index), route->shards[0].desc.nreplicas,
					route->replicas_wanted),
			 errdetail("There are not more workers up."),
			 errhint("The others are made when workers join; vectron.indexes shows it as under_replicated until then.")));
}

/*
 * Before the first write of a generation: create its collection, then log
 * LIVE and flush, then return so that the caller may send (law W1).  *meta is
 * brought up to date.  False: the index is stale, go on without it.
 *
 * Creating is idempotent by generation, so several backends may meet here.
 * When the collection was made but LIVE not logged, it stays empty and the
 * sweeper finds it.
 *
 * A database may have been copied with an EMPTY index whose life this server has
 * begun, and the original may have been first to write: then it begins another.
 */
bool
meta_ensure_live(Relation index, VectronMeta *meta)
{
	bool		renewed = false;

	while (meta->state == VECTRON_EMPTY)
	{
		VectronMeta live = *meta;
		VtError		err = {0};
		VtStatus	status;

		if (!is_begun_here(meta))
		{
			meta_begin_life(index, meta);
			continue;
		}
		live.state = VECTRON_LIVE;
		live.owner = *identity_owner();
		live.session = *identity_session();
		status = meta_create_collection(index, &live, &err);
		if (!renewed && (status == VT_NOT_OWNER || status == VT_GONE))
		{
			meta_begin_life(index, meta);
			renewed = true;
			continue;
		}
		cluster_check(status, &err, "could not create the shards of", index);
		warn_of_few_replicas(index, &live.generation);
		if (vt_broken("W1-live"))
			*meta = live;
		else
			meta_change(index, meta, VECTRON_EMPTY, &live);
	}
	if (meta->state == VECTRON_LIVE && !identity_is_ours(&meta->owner) && !vt_broken("W7-stale"))
	{
		meta_set_stale(index, &meta->generation, "the index was built by another server, "
					   "database or incarnation");
		meta->state = VECTRON_STALE;
	}
	return meta->state == VECTRON_LIVE && settle(index, meta);
}

/*
 * A definite refusal: from now on scans do not choose the index, and inserts
 * and VACUUM go on without it (law W7).
 */
void
meta_set_stale(Relation index, const VtId *generation, const char *reason)
{
	VectronMeta meta;
	VectronMeta stale;

	meta_read(index, &meta);
	if (meta.state != VECTRON_LIVE || !vt_id_equal(&meta.generation, generation))
		return;
	stale = meta;
	stale.state = VECTRON_STALE;
	stale.stale_since = GetCurrentTimestamp();
	strlcpy(stale.stale_reason, reason, sizeof(stale.stale_reason));
	if (!meta_change(index, &meta, VECTRON_LIVE, &stale))
		return;
	plan_forget(index->rd_index->indrelid);
	ereport(LOG,
			(errmsg("index \"%s\" is stale and no longer used: %s",
					RelationGetRelationName(index), reason),
			 errhint("REINDEX INDEX makes it live again.")));
}

/* What the index's operator class is for. */
static uint32
opclass_kind(Relation index)
{
	FmgrInfo   *proc = index_getprocinfo(index, 1, VECTRON_METRIC_PROC);
	uint32		kind = DatumGetUInt32(FunctionCall0Coll(proc, InvalidOid));

	if (kind == OPCLASS_REFUSED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("indexes on type %s are not supported yet", format_type_be(index->rd_opcintype[0])),
				 errhint("Queries sort the rows of the table by exact distance without it.")));
	if (!vec_metric_valid(OPCLASS_METRIC(kind)) || !vec_element_valid(OPCLASS_ELEMENT(kind)))
		elog(ERROR, "operator class of index \"%s\" names no metric",
			 RelationGetRelationName(index));
	return kind;
}

VecElement
meta_element(const VectronMeta *meta)
{
	return meta->element ? (VecElement) meta->element : VEC_FLOAT32;
}

/* What a new generation of this index is: options, metric, dimensions. */
void
meta_describe(Relation index, VectronMeta *out)
{
	const VectronOptions *options = options_of(index);
	int32		typmod = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;
	uint32		kind = opclass_kind(index);

	memset(out, 0, sizeof(*out));
	out->magic = VECTRON_META_MAGIC;
	out->version = VECTRON_META_VERSION;
	out->state = VECTRON_EMPTY;
	out->dim = typmod > 0 ? typmod : 0;
	out->metric = (uint16) OPCLASS_METRIC(kind);
	out->element = (uint8) OPCLASS_ELEMENT(kind);
	out->m = (uint16) (options ? options->m : VECTRON_DEFAULT_M);
	out->ef_construction = (uint16) (options ? options->ef_construction : VECTRON_DEFAULT_EF_CONSTRUCTION);
	out->quantization = (uint8) (options ? options->quantization : QUANTIZATION_INT8);
	if (out->element == VEC_BIT)
	{
		out->version = VECTRON_META_BITS;
		out->quantization = QUANTIZATION_NONE;	/* walks are on the bits themselves */
	}
	out->shards = options ? options->shards : 0;
	out->replicas = options ? options->replicas : 0;
}
