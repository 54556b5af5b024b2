/*-------------------------------------------------------------------------
 *
 * index.h
 *	  What the files of the access method share.
 *
 * Read in this order: meta.c (what an index knows of itself), cluster.c (the
 * backend's way to the workers), pending.c (what an INSERT leaves to be sent),
 * then build.c, insert.c, scan.c and vacuum.c, one moment in the life of an
 * index each.  W1-W8, R1-R6, D1 and S5 are the rules in docs/architecture.md.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_INDEX_H
#define VECTRON_INDEX_H

#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/reloptions.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

#include "client/client.h"

/* Defaults and limits of the options; docs/sql.md has the words. */
#define VECTRON_DEFAULT_M 16
#define VECTRON_MIN_M 2
#define VECTRON_MAX_M 100
#define VECTRON_DEFAULT_EF_CONSTRUCTION 200
#define VECTRON_MIN_EF_CONSTRUCTION 4
#define VECTRON_MAX_EF_CONSTRUCTION 1000
#define VECTRON_MAX_SHARDS 1024

/* Support functions of an operator class */
#define VECTRON_METRIC_PROC 1	/* () -> int4: OPCLASS_KIND() */

/* What an operator class is for: a metric, and vectors kept in floats (as 0 says, too), halves or bits. */
#define OPCLASS_KIND(metric, element) ((metric) | (element) << 8)
#define OPCLASS_REFUSED 0
#define OPCLASS_METRIC(kind) ((kind) & 0xFF)
#define OPCLASS_ELEMENT(kind) ((kind) >> 8 ? (kind) >> 8 : VEC_FLOAT32)

typedef struct VectronOptions
{
	int32		vl_len_;		/* varlena header */
	int			m;
	int			ef_construction;
	int			shards;			/* 0 = default */
	int			replicas;		/* 0 = default */
	WireQuantization quantization;
	int			lists;			/* of ivfflat: no effect */
} VectronOptions;

/*
 * State of an index (law W1).
 *
 * EMPTY   no collection yet: a scan finds nothing without asking; the first
 *		   write creates it.
 * LIVE    the cluster holds it; a cluster that does not know it is an error.
 * STALE   the cluster's copy must not answer (law W7): not chosen for scans,
 *		   inserts and VACUUM go on without it, REINDEX makes it live.
 */
typedef enum VectronState
{
	VECTRON_EMPTY = 1,
	VECTRON_LIVE = 2,
	VECTRON_STALE = 3
} VectronState;

/*
 * The metapage: block 0 of the index, its only page.  Written through generic
 * WAL, so it follows the index everywhere PostgreSQL takes it.
 */
#define VECTRON_META_MAGIC 0x4E525456
#define VECTRON_META_VERSION 1
#define VECTRON_META_BITS 2		/* version of an index on bits, as no other has: older libraries refuse it */
typedef struct VectronMeta
{
	uint32		magic;
	uint16		version;
	uint16		state;			/* VectronState */
	VtId		generation;		/* one life of one index */
	WireOwner	owner;			/* who built it; zero while EMPTY */
	VtId		session;		/* the start of the server that has settled it last */
	uint64		fence;			/* raised last by this server, as far as it was noted */
	uint32		dim;
	uint16		metric;			/* VecMetric */
	uint16		m;
	uint16		ef_construction;
	uint8		quantization;	/* WireQuantization */
	uint8		element;		/* VecElement; 0, as before 1.1, is VEC_FLOAT32 */
	uint32		shards;			/* wanted; 0 = default */
	uint32		replicas;
	int64		stale_since;	/* TimestampTz, 0 = not stale */
	char		stale_reason[120];
} VectronMeta;

/* Whose file is it? */
typedef enum MetaFile
{
	META_FILE_OTHER,
	META_FILE_OURS,				/* a vectron index's */
	META_FILE_UNSURE
} MetaFile;

/* meta.c */
extern void meta_create(Relation index, ForkNumber fork, const VectronMeta *meta);
extern void meta_read(Relation index, VectronMeta *out);
extern void meta_read_logged(Relation index, VectronMeta *out, XLogRecPtr *logged);
extern void meta_test_snapshot(Relation index, Snapshot snapshot);
extern MetaFile meta_read_file(RelFileNode file, VectronMeta *out);
extern bool meta_read_built(Relation index, VectronMeta *out);
extern bool meta_ensure_live(Relation index, VectronMeta *meta);
extern bool meta_change(Relation index, VectronMeta *meta, uint16 from, const VectronMeta *to);
extern void meta_set_stale(Relation index, const VtId *generation, const char *reason);
extern void meta_describe(Relation index, VectronMeta *out);
extern VecElement meta_element(const VectronMeta *meta);

/* identity.c: who this server is to the cluster (law W7) */
extern const WireOwner *identity_owner(void);
extern bool identity_is_ours(const WireOwner *owner);
extern bool identity_may_be_ours(const WireOwner *owner);
extern const VtId *identity_session(void);
extern char *identity_session_text(void);
extern bool identity_confirm(void);
extern bool identity_ask(int timeout_ms, bool *ours);
extern void identity_begin(void);
extern bool identity_renew(int timeout_ms);
extern void identity_forget(void);
extern VtId identity_cluster(void);
extern char *identity_directory(void);

/* session.c */
extern uint64 session_shared_until(const VtId *name);
extern void session_setup(void);

/* settle.c */
extern bool settle(Relation index, VectronMeta *meta);
extern bool settle_fence(Relation index, const VtId *generation, uint64 fence);
extern void settle_raising(Relation index);
extern void settle_raise_over(Relation index);
extern void settle_raised(Relation index, const VectronMeta *meta, uint64 fence);

/* cluster.c */
extern Client *cluster_client(void);
extern uint64 cluster_epoch(void);
extern void cluster_believe(const VtId *cluster);
extern void cluster_believed(const VtId *cluster);
extern void cluster_close_scan(ClientScan *scan, uint64 epoch);
extern void cluster_close_list(ClientList *list, uint64 epoch);
extern void cluster_setup(void);
extern int64_t cluster_deadline(int timeout_ms);
extern bool cluster_refused(VtStatus status);
extern void cluster_error(VtStatus status, const VtError *err, const char *doing,
						  Relation index) pg_attribute_noreturn();
extern void cluster_check(VtStatus status, const VtError *err, const char *doing,
						  Relation index);
extern void cluster_check_generation(VtStatus status, const VtError *err, const char *doing,
									 const VtId *generation, const WireOwner *owner);
extern void cluster_note_failure(VtStatus status, const VtId *generation, const WireOwner *owner);
extern void cluster_rethrow(void);
extern bool cluster_is_embedded(void);
extern const char *cluster_endpoint(int n);
extern bool cluster_believed_down(const VtId *generation);
extern void cluster_plan_again(void);

/* health.c */
extern void health_note_failure(const VtId *generation, const WireOwner *owner);
extern bool health_is_down(const VtId *generation);
extern bool health_down_since(const VtId *generation, TimestampTz *since);
extern bool health_any_down(void);
extern void health_probe(void);

/* wal.c (law W3) */
extern void wal_flush_own(XLogRecPtr lsn);
extern XLogRecPtr wal_flush_all(void);

/* shared.c (R3): what needs vectron to be preloaded */
typedef enum ScanCount
{
	SCAN_STARTED,
	SCAN_ASKED,					/* some leader was asked where it stands, by ReadIndex */
	SCAN_BATCHES,
	SCAN_EXACT_BATCHES,
	SCAN_DISTANCES,
	SCAN_ROWS,
	SCAN_LATE,					/* returned late, or left out by strict_order */
	SCAN_SKIPPED,				/* left out by strict_order */
	SCAN_ENDED_EARLY,			/* by max_scan_tuples */
	SCAN_BY_LEADER,				/* batches of leaders, */
	SCAN_BY_FOLLOWER,			/* and of other replicas */
	SCAN_BEHIND,				/* a replica had not applied the mark, another was asked */
	SCAN_HEDGED,				/* a second replica was asked too, */
	SCAN_HEDGES_WON,			/* and answered first */
	SCAN_COUNTS
} ScanCount;

extern void shared_setup(void);
extern bool marks_are_shared(void);
extern ClientPace *shared_pace(void);	/* NULL without shared memory */

/* Routes, for ClientOps; and can a new session use this generation without PD? */
extern void shared_keep_route(void *arg, const VtId *generation, Bytes words);
extern bool shared_kept_route(void *arg, const VtId *generation, Buf *out);
extern bool shared_knows_way(const VtId *generation);
extern void marks_keep(const VtId *generation, const ClientMarks *marks);
extern bool marks_recall(const ClientCollection *route, ClientMarks *marks, uint64 *ticket);
extern void marks_learn(const VtId *generation, uint64 ticket, const ClientMarks *answered);
extern void scan_count(ScanCount what, uint64 n);

/* pending.c (laws W2, W4, W6) */
extern void pending_setup(void);
extern void pending_add(Relation index, Relation heap, const VectronMeta *meta, ItemPointer tid,
						XLogRecPtr logged, const void *vector, Bytes attributes, bool validating);
extern void pending_flush(void);
extern void pending_note_fence(const VtId *generation, uint64 fence);
extern uint64 pending_known_fence(const VtId *generation);
extern bool pending_is_empty(void);

/* vector values */
extern bool vectron_index_vector(Datum value, bool isnull, VecMetric metric, VecElement element,
								 const void **out, int *dim, Pointer *to_free);

/* The callbacks of the access method, each in the file of its name */
extern IndexBuildResult *vtbuild(Relation heap, Relation index, IndexInfo *info);
extern void vtbuildempty(Relation index);
extern char *vtbuildphasename(int64 phase);
extern bool vtinsert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap,
					 IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo *info);
extern IndexBulkDeleteResult *vtbulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
										   IndexBulkDeleteCallback callback, void *state);
extern IndexBulkDeleteResult *vtvacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);
extern void vtcostestimate(PlannerInfo *root, IndexPath *path, double loop_count,
						   Cost *startup, Cost *total, Selectivity *selectivity,
						   double *correlation, double *pages);
extern bytea *vtoptions(Datum reloptions, bool validate);
extern bytea *vtoptions_of_ivfflat(Datum reloptions, bool validate);
extern bool vtvalidate(Oid opclass);
extern IndexScanDesc vtbeginscan(Relation index, int nkeys, int norderbys);
extern void vtrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool vtgettuple(IndexScanDesc scan, ScanDirection direction);
extern void vtendscan(IndexScanDesc scan);

/*
 * Start scans of one index that were given their queries and no conditions, together:
 * one question to a shard for the first batches of all, each of which is to have k rows.
 * How many were started, from the first one on, at least one (many.c).
 */
extern int	vt_scan_together(IndexScanDesc *scans, int n, uint32 k);

/* The distance of the row that came last; NaN where the operator gives that, or NULL. */
extern double vt_scan_distance(IndexScanDesc scan);

/* Settings (options.c) */
enum
{
	CONSISTENCY_SERVER,			/* every write this server was acknowledged */
	CONSISTENCY_LINEARIZABLE
};
extern char *vectron_pd_endpoints;
extern char *vectron_tls_ca_file;
extern char *vectron_tls_cert_file;
extern char *vectron_tls_key_file;
extern char *vectron_embedded_directory;
extern int	vectron_embedded_memory_limit;	/* MiB; -1 = a share of the machine's */
extern char *vectron_expose_pd;
extern char *vectron_expose_worker;
extern char *vectron_expose_certificates;
extern int	vectron_ef_search;
extern double vectron_recall_target;
extern int	vectron_write_timeout;
extern int	vectron_read_timeout;
extern int	vectron_insert_buffer;
extern bool vectron_fallback_scan;
extern bool vectron_strict_order;
extern bool vectron_verify_scan;
extern int	vectron_max_scan_tuples;
extern int	vectron_consistency;
extern int	vectron_mark_entries;
extern int	vectron_sweep_interval;
extern bool vectron_drop_intents;
extern void options_setup(void);
extern const VectronOptions *options_of(Relation index);

/* monitor.c */
extern Relation monitor_open_index(Oid oid, LOCKMODE lock);
extern text *monitor_text(const char *said);

/* plan.c */
extern void plan_setup(void);
extern void plan_forget(Oid table);

/* exposed.c: for the supervisor */
#define EXPOSED_OPTIONS 8
extern bool exposed_by_settings(void);
extern bool exposed_is_held(void);
extern void exposed_reload(bool embedded);
extern void exposed_look(void);
extern int	exposed_options(const char *name, char **argv);

/* supervisor.c */
extern void supervisor_setup(void);
extern void supervisor_wake(void);
struct BackgroundWorker;
extern void supervisor_describe(struct BackgroundWorker *out, const char *function, const char *name,
								const char *type);

/* drops.c, sweep.c, sweeper.c (law W8) */
extern void drops_setup(void);
extern char *drops_directory(void);
extern uint64 drops_waiting(void);
extern void drops_send(void);
extern bool sweep_xid_may_run(uint64 xid);
extern List *sweep_database(int timeout_ms);
extern List *sweep_databases(List **outcomes);
extern void sweep_log(List *outcomes);
extern void sweeper_look(void);

/* handler.c; index_setup() is everything of the access method that _PG_init() starts */
extern void index_setup(void);
extern IndexAmRoutine *handler_routine(void);
extern bool handler_is_ours(Relation index);
extern bool handler_is_am(Oid am);

/* names.c: what pgvector's names ask for, too */
extern void names_define(void);
extern int	names_ef_search(void);
extern bool names_strict_order(void);

#endif							/* VECTRON_INDEX_H */
