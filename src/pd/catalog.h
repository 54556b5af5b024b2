/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  Private to pd: what the placement driver knows for certain.
 *
 * The catalog is the state machine of PD's Raft group.  It is a set of rows
 * (stores, leases, collections and so on) in memory and, the same, in LevelDB.  A command
 * in the log is a list of whole rows to put: the leader has decided every
 * value before, so applying is a blind write and the same on every replay
 * (law S3).  A leader decides only after it has applied everything before its
 * term, and one command at a time, so blind writes cannot lose an update; the
 * command names that term, and is refused in any other.
 *
 * Apply threads change the catalog and the service thread reads it: lock.
 *
 * All drivers have the same rows at the same index.  Now and then the leader
 * puts the digest of its own into the log, and a driver that finds another one
 * there stops (command_digest).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_CATALOG_H
#define PD_CATALOG_H

#include <pthread.h>

#include "base/level.h"
#include "labels.h"
#include "plan.h"
#include "replica/replica.h"
#include "wire/wire.h"

#define PD_COMMAND_FORMAT 2
#define PD_COMMAND_TERMLESS 1	/* of a driver that was alone */
#define PD_ROW_FORMAT 1
#define PD_STORE_FORMAT 2		/* 1: before there were roles and labels */
#define PD_GROUP 1				/* Raft group of PD itself */

typedef enum CollectionState
{
	COLLECTION_LIVE = 1,
	COLLECTION_HIDDEN = 2,		/* dropped; its data is kept */
	COLLECTION_DOOMED = 3		/* its data is being deleted, shard by shard; no way back */
} CollectionState;

/* A placement driver. */
typedef struct CatalogDriver
{
	uint64_t	id;				/* its replica of this group, and its node */
	char		endpoint[128];
} CatalogDriver;

/* A worker. */
typedef struct CatalogStore
{
	uint64_t	id;
	VtId		data_id;		/* of its data directory */
	bool		draining;		/* its replicas are to move to others */
	bool		search_only;	/* it holds learners, which answer searches, and no voters */
	char		endpoint[128];
	char		labels[LABELS_MAX];	/* where it stands, as it says */
	char		name[WIRE_NAME_MAX + 1];	/* in the certificate it is bound to; "" = none yet */
} CatalogStore;

/* A worker that was forgotten: whatever comes with this number or directory is refused. */
typedef struct CatalogGone
{
	uint64_t	id;
	VtId		data_id;
	int64_t		since_us;		/* wall time */
	char		endpoint[128];	/* where it was */
} CatalogGone;

/* Who holds an incarnation of a PostgreSQL server (law W7). */
typedef struct CatalogLease
{
	uint64_t	system;
	VtId		incarnation;
	VtId		holder;			/* its data directory */
	VtId		session;		/* the start of a server that has it now */
	uint64_t	place;			/* where that is; 0 = not known */
	uint32_t	timeline;
} CatalogLease;

typedef struct CatalogShard
{
	/*
	 * Its replicas are those of the configuration at conf_index, the newest that
	 * a leader has reported as committed; before the first report, the founders.
	 */
	WireShardDesc desc;
	uint64_t	conf_index;
	bool		bootstrapped;	/* its first leader has reported: never again */

	/*
	 * Bit i: desc.replicas[i] has been reported by its store.  Such a one is
	 * never made again: an empty one in its place would not know what it voted.
	 */
	uint16_t	seen;
	Plan		plan;			/* under way; kind 0 = none */
} CatalogShard;

typedef struct CatalogCollection
{
	VtId		generation;
	WireOwner	owner;
	CollectionState state;
	uint32_t	dim;
	uint8_t		metric;
	uint8_t		element;		/* this, quantization and attributes are kept in the shards' descriptors */
	uint8_t		quantization;
	uint8_t		nattributes;
	uint8_t		attributes[WIRE_ATTRIBUTES_MAX];	/* WireAttributeKind */
	uint16_t	m;
	uint16_t	ef_construction;
	uint32_t	replicas_wanted;
	uint64_t	xid;
	uint64_t	route_version;
	int64_t		created_us;

	/*
	 * Since when nobody needs it, 0 = somebody does: live, a sweep found it
	 * unused first; hidden, it was dropped.  By the drivers' count (lived_us).
	 */
	int64_t		unused_us;
	char		label[160];
	uint32_t	nshards;		/* doomed: those whose data may still be there */
	CatalogShard *shards;		/* owned */
} CatalogCollection;

/*
 * A replica that is nobody's any more, on a store that has not said yet that it
 * has deleted it: it was away, perhaps for good.
 */
typedef struct CatalogOwed
{
	uint64_t	store;
	uint64_t	shard;
	uint64_t	replica;
} CatalogOwed;

/* Identities and the counter that ids are made from. */
typedef struct CatalogMeta
{
	VtId		cluster;
	uint64_t	next_id;		/* high half random per founding, never reused */
	uint64_t	peers_version;	/* of the set of stores and their endpoints */
} CatalogMeta;

/* Where a shard is in the catalog. */
typedef struct ShardPlace
{
	uint32_t	collection;
	uint32_t	place;
} ShardPlace;

typedef struct CatalogPlaces CatalogPlaces;

/* Of live collections, what a store has or is to have. */
typedef struct HomeCounts
{
	uint64_t	store;			/* it may have been forgotten */
	size_t		replicas;		/* also one that arrives */
	size_t		voters;			/* of shards without a plan */
	size_t		learners;		/* the same */
} HomeCounts;

/* How many members a collection's shards have, but for those with a plan. */
typedef struct MemberCounts
{
	uint32_t	voters_least;
	uint32_t	voters_most;
	uint32_t	learners_least;
	uint32_t	learners_most;
} MemberCounts;

typedef struct Catalog
{
	Store	   *rows;
	pthread_mutex_t files_lock;	/* checkpoint or installation; before lock */
	pthread_mutex_t lock;		/* of all below */
	CatalogMeta meta;
	CatalogDriver **drivers;
	size_t		ndrivers;
	CatalogStore **stores;		/* by id */
	size_t		nstores;
	CatalogGone **gone;
	size_t		ngone;
	CatalogLease **leases;
	size_t		nleases;
	CatalogCollection **collections;
	size_t		ncollections;
	CatalogOwed *owed;			/* by store, shard, replica */
	size_t		nowed;
	uint32_t	level;			/* that the cluster works at; 0 = the lowest (base/level.h) */
	int64_t		lived_us;		/* how long drivers have led, as last noted; 0 = never (drop.c) */
	CatalogPlaces *places;		/* of their shards; NULL until there is a collection */
	uint64_t	applied;

	/*
	 * Rows of entries up to here may have survived a power loss, others not: what
	 * stands here before is no state that another driver ever had.  0 = none.
	 */
	uint64_t	unsure_to;
	uint64_t	agreed_at;		/* entry with the last digest that was like ours */

	/* A snapshot that is coming in (transfer.c) */
	struct Catalog *incoming;
	uint64_t	staged_stream;
	uint32_t	staged_next;
	bool		staged_whole;
} Catalog;

/*
 * Before it is opened: base is that of the group's log.  Puts a snapshot in place
 * that was staged when a crash came, or removes what is left of one.
 */
extern VtStatus catalog_finish_install(Store *rows, const RaftSnapshot *base, VtError *err);

extern VtStatus catalog_open(Store *rows, Catalog **out, uint64_t *applied, VtError *err);
extern void catalog_close(Catalog *catalog);
extern ReplicaMachine catalog_machine(Catalog *catalog);

/* Under lock; NULL when there is none. */
extern CatalogStore *catalog_store(Catalog *catalog, uint64_t id);
extern CatalogDriver *catalog_driver(Catalog *catalog, uint64_t id);

/* A store that was forgotten, by its number or its data directory. */
extern CatalogGone *catalog_gone(Catalog *catalog, uint64_t id, const VtId *data_id);
extern CatalogLease *catalog_lease(Catalog *catalog, uint64_t system, const VtId *incarnation);
extern CatalogCollection *catalog_collection(Catalog *catalog, const VtId *generation);

/* What a store owes: the first of *n. */
extern const CatalogOwed *catalog_owed(const Catalog *catalog, uint64_t store, size_t *n);

/*
 * A command: begin, then rows, then the term of the leader that has decided it,
 * and it is ready to be proposed.
 */
extern void command_begin(Buf *out);
extern void command_set_term(Buf *command, uint64_t term);
extern void command_meta(Buf *out, const CatalogMeta *meta);
extern void command_store(Buf *out, const CatalogStore *store);
extern void command_lease(Buf *out, const CatalogLease *lease);
extern void command_collection(Buf *out, const CatalogCollection *collection);
extern void command_forget(Buf *out, const VtId *generation);	/* a collection's row goes */
extern void command_driver(Buf *out, const CatalogDriver *driver);
extern void command_dismiss(Buf *out, uint64_t driver);	/* a driver's row goes */
extern void command_owed(Buf *out, const CatalogOwed *owed);
extern void command_settled(Buf *out, const CatalogOwed *owed);	/* its row goes */
extern void command_gone(Buf *out, const CatalogGone *gone);	/* and the store's row goes */

extern void command_lived(Buf *out, int64_t lived_us);
extern void command_level(Buf *out, uint32_t level);

/* The only row of its command: what catalog_digest() says where it is applied. */
extern void command_digest(Buf *out, uint64_t digest);

static inline uint32_t
catalog_level(const Catalog *catalog)
{
	return catalog->level ? catalog->level : VT_LEVEL_LOW;
}

/* VT_VERSION: the cluster works at a feature level that this program does not know. */
extern VtStatus catalog_check_level(const Catalog *catalog, VtError *err);

/* Of all rows, in whatever order they are kept.  Under lock. */
extern uint64_t catalog_digest(const Catalog *catalog);

extern void catalog_collection_free(CatalogCollection *collection);

/* unrows.c: which keys are rows; one row into memory, or away with it */
extern bool catalog_is_row(Bytes key);
extern bool catalog_take_row(Catalog *catalog, Bytes key, Bytes value);

/* places.c: the index of shards follows the rows of collections */
extern void places_put(Catalog *catalog, size_t at, const CatalogCollection *before);
extern void places_remove(Catalog *catalog, size_t at);
extern void places_free(Catalog *catalog);

extern size_t places_collection(const Catalog *catalog, const VtId *generation);	/* SIZE_MAX = there is none */
extern bool places_find(const Catalog *catalog, uint64_t shard, ShardPlace *out);

/* Counts changes of shards: of all, and as it was at the last one of a store's. */
extern uint64_t catalog_touches(const Catalog *catalog);
extern uint64_t store_touched(const Catalog *catalog, uint64_t store);
extern size_t catalog_nshards(const Catalog *catalog);

/* Shards with a plan, in no order; *n = 0: there is none. */
extern const uint64_t *catalog_planned(const Catalog *catalog, size_t *n);

/* One store after the other; NULL: that was all. */
extern const HomeCounts *catalog_home(const Catalog *catalog, size_t i);
extern const MemberCounts *catalog_members(const Catalog *catalog, size_t collection);
extern size_t store_firsts(const Catalog *catalog, uint64_t store);	/* shards whose first replica it has */

/* catalog.c: no row in memory; where a store, or what is owed, is or would be */
extern void catalog_clear(Catalog *catalog);
extern size_t catalog_store_place(const Catalog *catalog, uint64_t id);
extern size_t catalog_owed_place(const Catalog *catalog, const CatalogOwed *owed);

/* transfer.c: functions of the state machine */
extern VtStatus transfer_open(void *state, void **stream, uint64_t *index, VtError *err);
extern VtStatus transfer_read(void *stream, size_t bytes, Buf *out, bool *last, VtError *err);
extern void transfer_close(void *stream);
extern VtStatus transfer_stage(void *state, const WireChunk *chunk, uint32_t *next, VtError *err);
extern VtStatus transfer_install(void *state, uint64_t stream, uint64_t index, VtError *err);

#endif							/* PD_CATALOG_H */
