/*-------------------------------------------------------------------------
 *
 * wire.h
 *	  Frames, messages and the write command: everything that crosses a socket
 *	  or lies in the Raft log of a shard.  docs/wire.md has the same in words.
 *
 * Conventions
 *
 * 1. This module touches no socket.  It turns structs into bytes and back.
 * 2. All integers are little-endian.  Every decoder checks every bound, demands
 *	  that nothing is left over, and answers VT_PROTOCOL, never asserts.
 * 3. Decoded structs borrow: Bytes and vectors point into the payload they were
 *	  decoded from; arrays that had to be made live in the Buf the caller gave.
 * 4. A hash interval [first, last] is inclusive at both ends, so that the whole
 *	  space is [0, UINT64_MAX].
 * 5. Data plane binary (below); control plane JSON in WIRE_CONTROL.  The byte
 *	  0x7B is never a version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_H
#define WIRE_H

#include "base/bytes.h"
#include "wire/attributes.h"

/*
 * Frame: 32 bytes, then length bytes of payload.
 *
 *		 0  u32  magic	   "VTRN"
 *		 4  u8	 version   WIRE_VERSION
 *		 5  u8	 kind	   WireKind
 *		 6  u16  type	   WireType
 *		 8  u64  request   id chosen by the asking side, echoed in the reply
 *		16  u32  length    of the payload, at most WIRE_PAYLOAD_MAX
 *		20  u32  flags     0; an unknown bit is an error
 *		24  u64  checksum  XXH3-64 of bytes 0..23 and the payload
 */
#define WIRE_MAGIC 0x4E525456u	/* "VTRN" */
#define WIRE_VERSION 1
#define WIRE_HEADER_SIZE 32
#define WIRE_PAYLOAD_MAX (16u << 20)
#define WIRE_ID_MAX 1024		/* bytes of a record's id */
#define WIRE_COMMAND_MAX (4u << 20) /* a write command: one Raft entry */
#define WIRE_SEARCH_K_MAX 65536
#define WIRE_EXCLUDED_MAX 1000000
#define WIRE_QUERIES_MAX 256	/* of a search */

/*
 * What vectors are of; the numbers of VecElement.  float32 and float16 are little-endian, bits
 * eight to a byte, the first one highest, and what is left of the last byte zero.
 */
typedef enum WireElement
{
	WIRE_FLOAT32 = 1,
	WIRE_FLOAT16 = 2,
	WIRE_BIT = 3
} WireElement;

extern size_t wire_vector_bytes(WireElement element, uint32_t dim);

/* Beyond it there is no such vector. */
extern uint32_t wire_max_dim(WireElement element);

typedef enum WireKind
{
	WIRE_REQUEST = 1,
	WIRE_REPLY = 2,
	WIRE_CANCEL = 3,			/* drop the work for this request id; no reply */
	WIRE_ONEWAY = 4				/* between stores: Raft traffic */
} WireKind;

/* Never renumber; 2 is reserved. */
typedef enum WireType
{
	WIRE_HELLO = 1,
	WIRE_CONTROL = 3,			/* JSON */
	WIRE_WRITE = 10,			/* a WireWrite: put, delete, raise, ... */
	WIRE_SEARCH = 11,
	WIRE_LIST = 12,
	WIRE_READ_INDEX = 13,		/* a WireRead: fence and mark, linearizable */
	WIRE_RAFT = 20,				/* a WireRaft, one way, between stores */
	WIRE_CHUNK = 21,			/* a WireChunk of a snapshot, between stores */
	WIRE_PING = 22				/* empty, and so is the reply: are you there? */
} WireType;

typedef struct WireHeader
{
	WireKind	kind;
	WireType	type;
	uint64_t	request;
	uint32_t	length;
	uint32_t	flags;
	uint64_t	checksum;
} WireHeader;

/* Append a whole frame to out. */
extern void wire_frame_put(Buf *out, WireKind kind, WireType type, uint64_t request,
						   Bytes payload);

/*
 * As above for a payload that is written in place: begin, append the payload
 * to out, end.  wire_frame_end() fills length and checksum.
 */
extern size_t wire_frame_begin(Buf *out, WireKind kind, WireType type, uint64_t request);
extern void wire_frame_end(Buf *out, size_t begin);

/* The header alone, of a payload that leaves from where it is. */
extern void wire_frame_head(uint8_t head[WIRE_HEADER_SIZE], WireKind kind, WireType type, uint64_t request,
							Bytes payload);

/* Look at WIRE_HEADER_SIZE bytes.  VT_PROTOCOL or VT_VERSION when it is none. */
extern VtStatus wire_header_get(const uint8_t *head, WireHeader *out, VtError *err);

/* Does the checksum hold? */
extern VtStatus wire_payload_check(const uint8_t *head, const WireHeader *h, Bytes payload,
								   VtError *err);

/* Who speaks: what a connection may send depends on it. */
typedef enum WireRole
{
	WIRE_ROLE_GATEWAY = 1,		/* a PostgreSQL server */
	WIRE_ROLE_WORKER = 2,
	WIRE_ROLE_PD = 3,
	WIRE_ROLE_CTL = 4
} WireRole;

/* So a placement driver refuses that has too much to do; by these words servers tell it from workers. */
#define WIRE_FLOODED "too many questions wait at this placement driver"

/* Features in a greeting. */
#define WIRE_FEATURE_PING 1		/* answers WIRE_PING */
#define WIRE_FEATURE_UNINDEXED 2	/* reads what results of searches say of it */
#define WIRE_FEATURE_MANY 4		/* takes searches of many queries (SEARCH_MANY) */
#define WIRE_FEATURE_METADATA 8 /* lists metadata (LIST_METADATA) */

/* The first frame in both directions. */
typedef struct WireHello
{
	uint16_t	version_low;	/* wire versions spoken */
	uint16_t	version_high;
	WireRole	role;
	VtId		cluster;		/* zero = not known yet */
	uint64_t	store;			/* worker's store id, else 0 */
	uint64_t	boot_epoch;
	uint64_t	features;		/* bits; unknown ones are ignored by the older side */
	VtId		nonce;			/* zero, and empty: reserved */
	Bytes		proof;
} WireHello;

extern void wire_hello_put(Buf *out, const WireHello *hello);
extern VtStatus wire_hello_get(Bytes payload, WireHello *out);

/* Whose index this is (law W7). */
typedef struct WireOwner
{
	uint64_t	system;			/* PostgreSQL's system identifier */
	VtId		incarnation;	/* leased from PD; one life of one data directory */
	uint32_t	database;		/* pg_database.oid */
} WireOwner;

extern bool wire_owner_equal(const WireOwner *a, const WireOwner *b);

/*
 * Of the requests of a gateway's connection a worker has so many at a time; one more is
 * refused (VT_BUSY).  So a connection is always read, for cancels above all, and who
 * asks without end fills his own share only.  A cancelled request counts until the
 * worker has let go of it: who cancels should keep some back.  A search of many queries
 * is more work than one request: it has a place for every so many that are begun.
 */
#define WIRE_OUTSTANDING_MAX 64
#define WIRE_QUERIES_A_PLACE 16

static inline uint32_t
wire_search_places(uint32_t nqueries)
{
	return (nqueries + WIRE_QUERIES_A_PLACE - 1) / WIRE_QUERIES_A_PLACE;
}

/* The route every data request carries (law D1). */
typedef struct WireRoute
{
	VtId		generation;		/* or collection */
	uint64_t	shard;
	uint32_t	range_ver;
	WireOwner	owner;
	uint32_t	deadline_ms;	/* from receipt; the work is dropped after it */
} WireRoute;

/*
 * The deadline in a payload that has not been decoded: of a request that begins
 * with a route.  UINT32_MAX when it is too short for one.
 */
extern uint32_t wire_peek_deadline_ms(Bytes payload);

/* The same of the generation or collection; all zero when it is too short. */
extern VtId wire_peek_generation(Bytes payload);

/* Does a SEARCH or LIST only let go of what is kept for it? */
extern bool wire_peek_close(WireType type, Bytes payload);

/* So many queries a SEARCH says that it has, from 1 to WIRE_QUERIES_MAX. */
extern uint32_t wire_peek_queries(Bytes payload);

/*
 * Write command: the payload of WIRE_WRITE and, byte for byte, the payload of
 * the Raft entry.  The state machine decides on it at apply, never the door.
 */
#define WIRE_WRITE_FORMAT 1
#define WIRE_WRITE_HALVES 2		/* format of a put whose vectors are float16, */
#define WIRE_WRITE_BITS 3		/* or of bits */
typedef enum WireWriteType
{
	WRITE_PUT = 1,				/* records with vectors */
	WRITE_DELETE = 2,			/* ids with the version as listed */
	WRITE_RAISE = 3,			/* fence := fence_to if that is higher */
	WRITE_INGEST_BEGIN = 4,		/* a bulk load starts: no put waits for the graph until its end */
	WRITE_INGEST_END = 5,
	WRITE_OWNER = 6,			/* adoption: reserved */
	WRITE_SPLIT = 7,			/* the upper part of the interval becomes a shard of its own */
	WRITE_VERIFY = 8,			/* compare the replicas as they are here; a leader's own */
	WRITE_OPEN = 9,				/* a session: its number is the index of this entry */
	WRITE_EXPIRE = 10			/* log time goes on, old sessions end; a leader's own */
} WireWriteType;

typedef struct WireWrite
{
	WireWriteType type;
	WireElement element;		/* PUT: of the vectors; 0 counts as float32 */
	WireRoute	route;
	uint64_t	fence;			/* as its backend last saw it (law W6) */
	uint32_t	timeline;		/* of the PostgreSQL write */
	uint64_t	lsn;
	uint64_t	session;		/* puts and deletes of a collection: exactly once; else 0 */
	uint64_t	sequence;		/* ... this one of the session's, from 1; VERIFY: its id; EXPIRE: log time now */
	uint64_t	fence_to;		/* WRITE_RAISE, else 0; at the same place: */
	uint64_t	settled;		/* with a session: no sequence before this is asked again; EXPIRE: sessions
								 * not used since this log time end */
	uint32_t	nrecords;
	Bytes		records;		/* encoded, read by wire_record_next(); SPLIT: a descriptor */
} WireWrite;

/* One record of a WRITE_PUT or WRITE_DELETE. */
typedef struct WireRecord
{
	Bytes		id;				/* 1..WIRE_ID_MAX bytes */
	uint64_t	version;		/* DELETE: log index it was listed with; 0, with a session: any */
	Bytes		attributes;		/* PUT: wire_attributes_put(); empty where none are declared */
	Bytes		metadata;		/* PUT: empty in index mode */
	uint32_t	dim;			/* PUT; 0 = without a vector, where the collection has none */
	WireElement element;		/* PUT: as in the command */
	const uint8_t *vector;		/* PUT: wire_vector_bytes(), unaligned */
} WireRecord;

/* Write a command: begin, records, end (fills the count). */
extern size_t wire_write_begin(Buf *out, const WireWrite *write);
extern void wire_record_put(Buf *out, WireWriteType type, const WireRecord *record);
extern void wire_write_end(Buf *out, size_t begin, uint32_t nrecords);

/*
 * Decode and check everything, every record included, with finite vectors (or bits with
 * nothing behind them) of one dimension.  Afterwards wire_record_next() cannot fail.
 */
extern VtStatus wire_write_get(Bytes payload, WireWrite *out, VtError *err);

/* The next record; false at the end.  *at starts as 0. */
extern bool wire_record_next(const WireWrite *write, size_t *at, WireRecord *out);

/* Change route, fence and deadline of an encoded command in place. */
extern void wire_write_restamp(uint8_t *payload, size_t len, const WireRoute *route,
							   uint64_t fence);

/* Begins every reply of the data plane. */
typedef struct WireReply
{
	VtStatus	status;
	uint64_t	shard;
	uint64_t	incarnation;	/* of the shard; other = it went back in time */
	uint32_t	range_ver;
	uint64_t	first;			/* hash interval covered */
	uint64_t	last;
	uint64_t	applied;		/* READ_INDEX, WRITE: the mark; else applied index read at */
	uint64_t	fence;			/* the shard's now */
	uint32_t	retry_after_ms; /* with VT_BUSY */
	Bytes		message;		/* words for a status other than VT_OK */
} WireReply;

extern void wire_reply_put(Buf *out, const WireReply *reply);

/* Reads the head and leaves the rest of the payload in *body. */
extern VtStatus wire_reply_get(Bytes payload, WireReply *out, Bytes *body);

/* Reply body of WIRE_WRITE. */
typedef struct WireWriteResult
{
	uint64_t	index;			/* log index: the mark of this write */
	uint32_t	done;			/* records put, or deletes that hit */
	uint8_t		took;			/* WRITE_RAISE: found a lower fence */

	/*
	 * It was done before, at index, as what it was then: a command for all of this
	 * interval, of which this one may be a part.  What deletes hit is not known.
	 */
	bool		repeated;
	uint64_t	first;
	uint64_t	last;
} WireWriteResult;

extern void wire_write_result_put(Buf *out, const WireWriteResult *result);
extern VtStatus wire_write_result_get(Bytes body, WireWriteResult *out);

/* How old an answer may be. */
typedef enum WireConsistency
{
	WIRE_AT_MARK = 1,			/* a replica that has applied mark */
	WIRE_LINEARIZABLE = 2,		/* ReadIndex first */
	WIRE_EVENTUAL = 3			/* collections only */
} WireConsistency;

#define SEARCH_EXACT 0x1		/* scan every live record */
#define SEARCH_CLOSE 0x2		/* forget the scan state named by lease */
#define SEARCH_ONCE 0x4			/* keep no state: more, if it is wanted, is asked for anew */
#define SEARCH_MANY 0x8			/* nqueries vectors, an answer for each: with ONCE, and nothing excluded */
#define SEARCH_BITS 0x10		/* the vector is of bits; from level 5 on */

/* In ef: below it is the share of the true neighbours wanted, in ten thousandths. */
#define WIRE_EF_RECALL UINT32_C(0x80000000)

/* WIRE_SEARCH */
typedef struct WireSearch
{
	WireRoute	route;
	WireConsistency consistency;
	uint64_t	mark;			/* with WIRE_AT_MARK */
	uint32_t	flags;			/* SEARCH_* */
	uint32_t	k;				/* hits wanted in this answer */
	uint32_t	ef;				/* candidates kept, or WIRE_EF_RECALL and a recall */
	uint64_t	lease;			/* 0 = first batch; else go on with that scan */
	uint32_t	nqueries;		/* with SEARCH_MANY, from 1 to WIRE_QUERIES_MAX; else 1, whatever it says */
	uint64_t	route_version;	/* of the collection's route table */
	Bytes		filter;			/* an encoded predicate, checked by who knows the kinds; empty = none */
	uint32_t	nexcluded;		/* ids already returned, when the lease is gone */
	Bytes		excluded;		/* encoded: u16 length and bytes, each */
	uint32_t	dim;
	const uint8_t *vector;		/* of each query, one after the other: dim little-endian float32, or bits with that flag */
} WireSearch;

extern void wire_search_put(Buf *out, const WireSearch *search);
extern VtStatus wire_search_get(Bytes payload, WireSearch *out, VtError *err);

/*
 * The next id of an encoded list (excluded); *at starts as 0.  False at the end,
 * and, with *at short of it, where the list is malformed.
 */
extern bool wire_id_next(Bytes ids, size_t *at, Bytes *id);
extern void wire_id_put(Buf *out, Bytes id);

/* Reply body: hits in order of (distance, id). */
typedef struct WireHit
{
	double		distance;		/* as the SQL operator gives it */
	uint64_t	version;		/* log index of the record */
	Bytes		id;
} WireHit;

typedef struct WireSearchResult
{
	uint64_t	lease;			/* to ask for more with; 0 = none kept */
	uint8_t		exhausted;		/* every live record has been returned or excluded */
	uint8_t		exact;			/* this batch came from an exact scan, of vectors and not codes alone */
	uint32_t	distances;		/* computed for it */
	uint32_t	hops;
	uint8_t		leader;			/* the replica that answered leads the shard */
	uint32_t	waiting;		/* searches that wait for a thread of this worker */
	bool		says_unindexed; /* what follows is there: for who greeted with that feature */
	uint32_t	unindexed;		/* records of this replica that every search is compared with */
	uint32_t	meant;			/* so many are meant to wait there at most: with them a search takes half as long again; not 0 */
	uint32_t	nhits;
	Bytes		hits;			/* encoded, read by wire_hit_next() */
} WireSearchResult;

extern size_t wire_search_result_begin(Buf *out, const WireSearchResult *result);
extern void wire_hit_put(Buf *out, const WireHit *hit);
extern void wire_search_result_end(Buf *out, size_t begin, uint32_t nhits);
extern VtStatus wire_search_result_get(Bytes body, WireSearchResult *out);

/* Reply body with SEARCH_MANY: the results, each in the order of its query.  n: as many as there are, and were asked for. */
extern void wire_search_results_put(Buf *out, const Bytes *results, uint32_t n);
extern VtStatus wire_search_results_get(Bytes body, WireSearchResult *out, uint32_t n);
extern bool wire_hit_next(const WireSearchResult *result, size_t *at, WireHit *out);

#define LIST_VECTORS 0x1		/* records come with their vectors, and attributes if they have any */
#define LIST_CLOSE 0x2			/* forget the stream */
#define LIST_METADATA 0x4		/* records come with their metadata; only to who has that feature, others refuse it */

/*
 * WIRE_LIST: the records of a shard, complete and counted, from one snapshot
 * taken at the leader at or after mark.  Pulled page by page; a stream that is
 * gone answers VT_LEASE_GONE and the whole listing starts again.
 */
typedef struct WireList
{
	WireRoute	route;
	uint64_t	mark;
	uint64_t	lease;			/* 0 = begin */
	uint32_t	flags;			/* LIST_* */
	uint32_t	limit_bytes;	/* of a page, which ends with the record that comes to it; at most WIRE_PAYLOAD_MAX / 2 */
} WireList;

extern void wire_list_put(Buf *out, const WireList *list);
extern VtStatus wire_list_get(Bytes payload, WireList *out, VtError *err);

typedef struct WireListItem
{
	Bytes		id;
	uint64_t	version;
	uint32_t	dim;			/* 0 without LIST_VECTORS */
	const uint8_t *vector;		/* float32, of a collection of float16 too; or bits */
	Bytes		attributes;		/* with LIST_VECTORS, in a collection that declares some: as in the record */
	Bytes		metadata;		/* with LIST_METADATA: as in the record, perhaps empty */
} WireListItem;

typedef struct WireListResult
{
	uint64_t	lease;
	uint8_t		last;			/* no page after this one */
	bool		attributes;		/* items carry them */
	bool		bits;			/* their vectors are of bits */
	bool		metadata;		/* and they carry that: it was asked for */
	uint64_t	total;			/* with last: items in all pages of this shard */
	uint32_t	nitems;
	Bytes		items;
} WireListResult;

extern size_t wire_list_result_begin(Buf *out, const WireListResult *result);

/* The result that was begun says what is to be put. */
extern void wire_list_item_put(Buf *out, const WireListResult *result, const WireListItem *item);
extern void wire_list_result_end(Buf *out, size_t begin, uint32_t nitems);
extern VtStatus wire_list_result_get(Bytes body, WireListResult *out);
extern bool wire_list_item_next(const WireListResult *result, size_t *at, WireListItem *out);

/*
 * WIRE_READ_INDEX: the fence and a mark that covers every write acknowledged
 * before the question was asked.  The reply head has both; the body has the
 * number of live records, exact at that mark (what a build's seal compares).
 */
typedef struct WireRead
{
	WireRoute	route;
} WireRead;

extern void wire_read_put(Buf *out, const WireRead *read);
extern VtStatus wire_read_get(Bytes payload, WireRead *out, VtError *err);

typedef struct WireReadResult
{
	uint64_t	records;		/* live */
	uint64_t	unindexed;		/* of them not in the graph yet */
	uint64_t	lsn;			/* highest WAL position of any write applied (law W7) */
} WireReadResult;

extern void wire_read_result_put(Buf *out, const WireReadResult *result);
extern VtStatus wire_read_result_get(Bytes body, WireReadResult *out);

/*
 * Raft messages from one store to another, of any groups: begin, then put each.
 * They may be lost, doubled and reordered.
 */
typedef struct WireRaft
{
	uint64_t	store;			/* that sent it */
	Bytes		messages;
} WireRaft;

extern void wire_raft_begin(Buf *out, uint64_t store);	/* out is empty */

/* Room for a message that is encoded in place; until the next call. */
extern uint8_t *wire_raft_room(Buf *out, size_t len);
extern void wire_raft_put(Buf *out, Bytes message);
extern VtStatus wire_raft_get(Bytes payload, WireRaft *out);

/* Who says that it sends this; a look at the front of it.  0: nobody. */
extern uint64_t wire_raft_store(Bytes payload);
extern bool wire_raft_next(const WireRaft *raft, size_t *at, Bytes *message);

/*
 * A part of a snapshot.  Several chunks of a stream are under way, and answered in
 * their order; the answer names the next one wanted, so a stream goes on where a
 * broken connection left it.  The last one carries the Raft message that offers it.
 */
typedef struct WireChunk
{
	uint64_t	group;
	uint64_t	to;				/* replica */
	uint64_t	stream;			/* random, not 0: one reading of one state machine */
	uint32_t	seq;			/* from 0 */
	bool		last;
	uint32_t	raw;			/* bytes that data has when it is unpacked (zstd); 0: it is not packed */
	Bytes		message;		/* with the last chunk */
	Bytes		data;			/* the state machine's */
} WireChunk;

typedef struct WireChunkResult
{
	VtStatus	status;
	uint32_t	next;			/* seq wanted next */
} WireChunkResult;

extern void wire_chunk_put(Buf *out, const WireChunk *chunk);
extern VtStatus wire_chunk_get(Bytes payload, WireChunk *out);
extern void wire_chunk_result_put(Buf *out, const WireChunkResult *result);
extern VtStatus wire_chunk_result_get(Bytes payload, WireChunkResult *out);

/*
 * A shard's descriptor: PD's catalog, the shard's metadata in LevelDB, routes.
 * On disk and on the wire in this form (wire_desc_put), in JSON as the fields'
 * names.
 */
#define WIRE_DESC_FORMAT 1
#define WIRE_DESC_ATTRIBUTES 2	/* format of one that declares attributes, as no other does */
#define WIRE_REPLICAS_MAX 9

/* What a worker has of vectors in memory; rows always hold them in full. */
typedef enum WireQuantization
{
	QUANTIZATION_NONE = 0,		/* the vectors */
	QUANTIZATION_INT8 = 1,		/* and 8-bit codes, which walks are on */
	QUANTIZATION_INT8_ONLY = 2	/* 8-bit codes alone: order and distances are approximate; from level 4 on */
} WireQuantization;

typedef struct WireReplica
{
	uint64_t	store;
	uint64_t	replica;		/* never reused */
	uint8_t		role;			/* 1 voter, 2 learner */
} WireReplica;

typedef struct WireShardDesc
{
	VtId		generation;
	WireOwner	owner;
	uint64_t	shard;			/* Raft group; never reused */
	uint64_t	incarnation;
	uint64_t	first;			/* hash interval, inclusive */
	uint64_t	last;
	uint32_t	conf_ver;
	uint32_t	range_ver;
	uint64_t	parent;			/* 0 = none */
	uint64_t	base_index;		/* index of the group's beginning */
	uint8_t		hash_kind;		/* HASH_XXH3_64 */
	uint64_t	hash_seed;
	uint32_t	dim;
	uint8_t		metric;			/* VecMetric */
	uint8_t		element;		/* VecElement */
	uint8_t		quantization;	/* WireQuantization */
	uint16_t	m;
	uint16_t	ef_construction;
	uint8_t		nattributes;
	uint8_t		attributes[WIRE_ATTRIBUTES_MAX];	/* WireAttributeKind */
	uint8_t		nreplicas;
	WireReplica replicas[WIRE_REPLICAS_MAX];
} WireShardDesc;

extern void wire_desc_put(Buf *out, const WireShardDesc *desc);
extern VtStatus wire_desc_get(Cursor *c, WireShardDesc *out);

/*
 * Body of a refusal with VT_WRONG_SHARD, if it is not empty: what was split off the shard
 * since the asked version, first the oldest, each with the version that this gave the
 * interval; at most the first so many.
 */
#define WIRE_SPLITS_MAX 4
extern void wire_splits_put(Buf *out, const WireShardDesc *children, uint32_t n);
extern VtStatus wire_splits_get(Bytes body, WireShardDesc children[WIRE_SPLITS_MAX], uint32_t *n);

/*
 * Which shard owns an id: its XXH3-64 with the collection's seed falls into
 * one interval.
 */
extern uint64_t wire_place(const WireShardDesc *desc, Bytes id);

/*
 * A whole WRITE_SPLIT of the shard that route names: child is the descriptor of what
 * it gives away, [first, last] at its upper end, with the child's replicas and a
 * base_index of 0, since only the entry's index tells.  A gateway may not send it.
 */
extern void wire_split_put(Buf *out, const WireRoute *route, const WireShardDesc *child);

/* The child of a WRITE_SPLIT that wire_write_get() has taken. */
extern WireShardDesc wire_split_child(const WireWrite *write);

/* Id of a heap TID: block and offset, big-endian, so that ids sort in heap order. */
#define WIRE_TID_SIZE 6
extern void wire_tid_put(uint8_t out[WIRE_TID_SIZE], uint32_t block, uint16_t offset);
extern bool wire_tid_get(Bytes id, uint32_t *block, uint16_t *offset);

/* Who may speak over tcp, and how. */
#include "wire/tls.h"

#endif							/* WIRE_H */
