/*-------------------------------------------------------------------------
 *
 * client.h
 *	  The only door into the cluster: connections, routes, retries, deadlines,
 *	  fan-out over shards and merging.
 *
 * Conventions
 *
 * 1. One Client belongs to one thread.  It starts no thread, installs no
 *	  signal handler, and blocks only in ClientOps.wait, which is the caller's:
 *	  WaitLatchOrSocket in a backend; with client_poll_ops, in epoll_wait, which
 *	  is the same for a program and a call less.  When wait returns a
 *	  status other than VT_OK and VT_TIMEOUT, the request in hand is given up
 *	  (cancel frame if the connection is between frames, else the connection is
 *	  closed) and the status is passed on.  wait never longjmps through us.
 * 2. Every call has an absolute deadline on clock_now_us() and ends by it.
 * 3. A write is acknowledged only when every touched shard has answered VT_OK
 *	  (law W4).  After any other result the caller must assume that any part of
 *	  it may still be applied later; fences, not retries, make that safe (W6).
 * 4. An answer is complete or an error: intervals that answered tile the whole
 *	  hash space (law D1), or the call waits, retries and fails.
 * 5. Errors carry words that name shard and endpoint.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_H
#define CLIENT_H

#include "base/clock.h"
#include "vec/vec.h"
#include "wire/wire.h"

typedef struct Client Client;
struct json_t;					/* jansson's: its header and PostgreSQL's cannot meet */

typedef struct ClientOps
{
	/*
	 * Wait until fd can be read (want_read) or written (want_write), or until
	 * the deadline: VT_OK, VT_TIMEOUT, or a status that ends the call.  fd -1:
	 * just wait.
	 */
	VtStatus	(*wait) (void *arg, int fd, bool want_read, bool want_write, int64_t until_us);
	/*
	 * Keep PD's words about a generation for other clients of this server (none:
	 * forget them), and give them back; false: there are none.  May be NULL.
	 */
	void		(*keep_route) (void *arg, const VtId *generation, Bytes words);
	bool		(*kept_route) (void *arg, const VtId *generation, Buf *out);

	/* Account a socket before it is opened; false = no room.  May be NULL. */
	bool		(*acquire_fd) (void *arg);
	void		(*release_fd) (void *arg);

	/* Something that a log should say, not more often than it bears.  May be NULL. */
	void		(*tell) (void *arg, const char *words);
	void	   *arg;
} ClientOps;

/* For programs: wait by poll(2), and where there are connections in epoll_wait(2). */
extern const ClientOps client_poll_ops;

/*
 * How fast searches were answered lately, for hedging and for the choice among
 * replicas; in memory that the processes of a server may share, without a lock.
 */
typedef struct ClientPace ClientPace;
extern size_t client_pace_size(void);
extern ClientPace *client_pace_init(void *memory);

typedef struct ClientOptions
{
	/*
	 * Comma-separated: "unix:/path/to/socket" or "tcp://address:port".  A path
	 * that does not begin with / is relative to the working directory.
	 */
	const char *pd_endpoints;
	WireRole	role;

	/*
	 * The cluster we belong to; zero = that of the first peer that says one.  Who
	 * belongs to another is as good as out of reach (VT_FOREIGN): nothing that he
	 * says is about our data.
	 */
	VtId		cluster;
	WireTlsFiles tls;			/* for tcp; NULLs or "" = none.  Read when they are needed and have changed */
	ClientPace *pace;			/* lives longer than the client; NULL = one of its own */
	ClientOps	ops;
} ClientOptions;

extern VtStatus client_open(const ClientOptions *options, Client **out, VtError *err);
extern void client_close(Client *client);	/* NULL is fine */

/*
 * The same for a client that was left in the middle of a call, by a longjmp out
 * of memory: only its descriptors are given back, since nothing else can be
 * trusted.  Its scans and lists must not be touched any more.
 */
extern void client_abandon(Client *client);

/*
 * Ask the placement driver: op and its members as JSON text, answer as JSON
 * text owned by the client until the next call.  Tries every endpoint until
 * the deadline.  The ops are listed in docs/wire.md.
 */
extern VtStatus client_control(Client *client, const char *request, int64_t deadline_us,
							   const char **reply, VtError *err);

/*
 * An answer that comes in pages.  A question with "page": true is answered by a page that says the same,
 * and asked again with the "next" of it as "after", until there is none.  A driver of an earlier release knows of no
 * pages and tells all, whatever it is asked to begin after: that takes the place of what others told before.
 * (A dump has always come in pages; neither its question nor they say so.)
 */
typedef struct ClientPage
{
	char		next[VT_ID_TEXT];	/* "after" of the question to come; "" = there is none, or it is the first */
	bool		whole;			/* it does not say that it is a page */
} ClientPage;

/*
 * What a page says; before, page->next is what it was asked for.  False: it makes no sense, as where the next
 * one would not begin beyond it, so that asking might never end.
 */
extern bool client_page(const struct json_t *answer, ClientPage *page);

/* Is this error (VT_BUSY) a placement driver's that has too much to do, and not a worker's? */
extern bool client_driver_is_flooded(const VtError *err);

/* Ask one store (worker) the same way. */
extern VtStatus client_control_at(Client *client, const char *endpoint, const char *request,
								  int64_t deadline_us, const char **reply, VtError *err);

/* How far a replica is, by what it said to us. */
typedef struct ClientKnown
{
	uint64_t	applied;		/* it has come so far */
	int64_t		shy_until_us;	/* it was behind: rather ask another until then */
	uint32_t	shy_ms;
	uint32_t	crowd;			/* what a search counts there for what is not indexed: hundredths */
	int64_t		crowd_until_us; /* that counts until then */
} ClientKnown;

/* A collection as the gateway knows it.  Owned by the client's route cache. */
typedef struct ClientShard
{
	WireShardDesc desc;
	char		endpoint[128];	/* where to ask next: the leader as last heard */

	/* Where its replicas are; the first is the leader as PD knew it */
	uint32_t	nplaces;
	char		places[WIRE_REPLICAS_MAX][128];
	ClientKnown known[WIRE_REPLICAS_MAX];
	uint32_t	misses;			/* tries that led nowhere since the route came from PD */
	bool		told;			/* where the interval ends a worker has said, PD not yet */
} ClientShard;

typedef struct ClientCollection
{
	VtId		generation;
	WireOwner	owner;
	uint32_t	dim;
	VecMetric	metric;
	VecElement	element;
	uint32_t	nattributes;	/* declared, and their kinds (wire/attributes.h) */
	uint8_t		attributes[WIRE_ATTRIBUTES_MAX];
	uint64_t	route_version;
	uint32_t	replicas_wanted;	/* of each shard; 0 = PD does not say */
	uint32_t	nshards;		/* sorted by interval; they tile the space */
	ClientShard *shards;
} ClientCollection;

/* What to create, and the words PD keeps about it. */
typedef struct ClientCreate
{
	VtId		generation;
	WireOwner	owner;
	uint32_t	dim;			/* 0 = records without vectors, which are put, listed and deleted: from feature level 6 on, before it
								 * VT_VERSION (VT_INVALID, if the driver is of an older release), of VEC_FLOAT32 and without quantization; the metric means nothing then */
	VecMetric	metric;
	VecElement	element;		/* what vectors are kept in; 0 = VEC_FLOAT32; VEC_BIT, without quantization, from feature level 5 on */
	uint16_t	m;
	uint16_t	ef_construction;
	WireQuantization quantization;	/* INT8_ONLY from feature level 4 on, before it VT_VERSION */
	uint32_t	nattributes;	/* to declare; from feature level 3 on, before it VT_VERSION */
	uint8_t		attributes[WIRE_ATTRIBUTES_MAX];	/* WireAttributeKind */
	uint32_t	shards;			/* 0 = one per worker */
	uint32_t	replicas;		/* 0 = the cluster's default */
	uint64_t	xid;			/* 64-bit transaction id that creates it */
	const char *label;			/* "schema.index" for views, may be NULL */
} ClientCreate;

/* Idempotent by generation; returns when every shard can take writes. */
extern VtStatus client_create(Client *client, const ClientCreate *create, int64_t deadline_us,
							  VtError *err);

/*
 * The route of a generation, from the cache unless refresh.
 * VT_UNKNOWN_GENERATION, VT_GONE (dropped) are definite answers of PD.  The
 * pointer lives until the next call for the same generation.
 */
extern VtStatus client_route(Client *client, const VtId *generation, bool refresh,
							 int64_t deadline_us, const ClientCollection **out, VtError *err);
extern void client_route_forget(Client *client, const VtId *generation);

/*
 * Routes in memory that the processes of a server share (ClientOps.keep_route), so
 * that one of them goes on without PD where another has been: the newest, as far as
 * there is room.  The caller locks; put excludes everybody.
 */
typedef struct ClientRouteTable ClientRouteTable;
extern size_t client_route_table_size(size_t room);
extern ClientRouteTable *client_route_table_init(void *memory, size_t room);
extern void client_route_put(ClientRouteTable *table, const VtId *generation, Bytes words);
extern bool client_route_get(ClientRouteTable *table, const VtId *generation, Buf *out);
extern bool client_route_has(ClientRouteTable *table, const VtId *generation);

/* (shard, incarnation, index): what a write returns and a read may ask for (R3). */
typedef struct ClientMark
{
	uint64_t	shard;
	uint64_t	incarnation;
	uint64_t	index;
	uint32_t	range_ver;		/* of the shard in the route that a scan's mark was read or asked with; 0 = a write's */
} ClientMark;

/* So many of a route's shards may have been split since PD said it; then it is asked. */
#define CLIENT_TOLD_MAX 4

typedef struct ClientMarks
{
	uint32_t	n;
	ClientMark *items;			/* allocated by the client with malloc */
	uint64_t	fence;			/* highest fence seen in the answers */
	uint64_t	lsn;			/* client_read_index(): highest WAL position of any write applied */
	uint64_t	route_version;

	/* The writes may have gone by newer intervals than those of that version, in these shards: range_ver */
	uint32_t	ntold;			/* more than there is room for: some are not named */
	ClientMark	told[CLIENT_TOLD_MAX];
} ClientMarks;

/*
 * A call that gives marks overwrites *marks (which may be NULL), also when it
 * fails: then only fence may be of use, but for client_put(), whose marks cover
 * what done[] says.  Freeing empty ones is fine.
 */
extern void client_marks_free(ClientMarks *marks);

/*
 * What a server remembers of marks, in memory that its processes share (R3).
 *
 * A mark is known when it covers everything this server was acknowledged in
 * that life of that shard.  The table has a fixed room: what was longest unused
 * makes way, and is unknown from then on.  Unknown means: ask by ReadIndex.
 *
 * The caller locks: note and learn exclude everybody, reads exclude those two.
 */
typedef struct ClientMarkTable ClientMarkTable;
extern size_t client_mark_table_size(uint32_t room);
extern ClientMarkTable *client_mark_table_init(void *memory, uint32_t room);

/* A writer was acknowledged; before anybody may count on seeing it. */
extern void client_mark_note(ClientMarkTable *table, const VtId *generation,
							 const ClientMarks *marks);

/*
 * The known marks of a route's shards, into items, which has room for all of
 * them; returns how many.  When *route_version comes back higher than the
 * route's, the route is too old for any scan: refresh it and read again, or all shards
 * are asked by ReadIndex.  The ticket is for learning.
 */
extern uint32_t client_mark_read(ClientMarkTable *table, const ClientCollection *route,
								 ClientMark *items, uint64_t *route_version, uint64_t *ticket);

/*
 * A scan that read before has been answered, by ReadIndex where it had no mark.
 * Its marks become known, unless something was forgotten since it read.
 */
extern void client_mark_learn(ClientMarkTable *table, const VtId *generation, uint64_t ticket,
							  const ClientMarks *answered);

/* What every write carries. */
typedef struct ClientWriter
{
	VtId		generation;
	WireOwner	owner;
	uint64_t	fence;			/* as last seen; see client_read_index() */
	uint32_t	timeline;
	uint64_t	lsn;
	bool		once;			/* of a collection: see below */
	int64_t		deadline_us;
} ClientWriter;

typedef struct ClientRecord
{
	Bytes		id;
	uint64_t	version;		/* deletes: as listed; 0, with writer.once: any */
	const void *vector;			/* puts: dim floats, or bits, of the collection; NULL where that has no vectors */
	Bytes		attributes;		/* puts: wire_attributes_put(), for those the collection declares; else empty */
	Bytes		metadata;		/* puts: at most 1 MiB, kept with the record and listed (LIST_METADATA); empty in an index */
} ClientRecord;

/*
 * Put n records: grouped by shard, sent to all shards at once in commands of
 * at most 1 MiB, several in flight, retried where the answer was not definite
 * or the route was old.  done[i] (may be NULL) is set when record i is
 * acknowledged, also when the call fails.  Ids are distinct within a call:
 * commands to one shard may be applied in any order.
 *
 * VT_FENCED: some shard has a higher fence (in marks->fence); the caller looks
 * at its heap (law W6) and sends again what is not done with the new one.
 * VT_NOT_OWNER, VT_UNKNOWN_GENERATION, VT_GONE: definite refusals (law W7).
 * VT_INVALID, before anything is sent: a number does not fit the collection's
 * float16 (vec_to_half), there is something behind the bits (vec_bits_valid), there is a vector in a collection that has
 * none, or none where it has, or attributes are not those that it declares.
 */
extern VtStatus client_put(Client *client, const ClientWriter *writer, const ClientRecord *records,
						   size_t n, bool *done, ClientMarks *marks, VtError *err);

/*
 * With writer.once each command is done once, whatever is sent again meanwhile: by a
 * session in each shard, opened through its log (law E1), which the client has as
 * long as it lives.  After a call that failed, what is not in done[] was done or not; it
 * is done no more once a later write in that session was.
 * VT_SESSION_OVER: a shard has ended the session while an answer was missing (it was
 * not to be reached for minutes), so that nobody knows.
 */

/*
 * Delete (id, version) pairs, only where the version still matches.  *hits
 * counts those that did; a hit whose answer was lost is not among them.  Same
 * contract; VT_FENCED is an error for VACUUM.
 */
extern VtStatus client_delete(Client *client, const ClientWriter *writer,
							  const ClientRecord *records, size_t n, uint64_t *hits,
							  ClientMarks *marks, VtError *err);

/*
 * Raise the fence of the whole generation to one new number, above that of
 * every shard, as law W5 wants it: read fresh, then raise on all; a shard that
 * already had it means another raise: start again.  The number comes back in
 * *fence, marks cover the raises.
 */
extern VtStatus client_raise(Client *client, const ClientWriter *writer, uint64_t *fence,
							 ClientMarks *marks, VtError *err);

/*
 * Marks that cover everything acknowledged so far, from the leaders, with the
 * highest fence and WAL position, and the number of live records in all shards.
 */
extern VtStatus client_read_index(Client *client, const VtId *generation, const WireOwner *owner,
								  int64_t deadline_us, ClientMarks *marks, uint64_t *records,
								  uint64_t *unindexed, VtError *err);

/* Bulk load: begin and end go through every shard's log. */
extern VtStatus client_ingest(Client *client, const ClientWriter *writer, bool begin,
							  ClientMarks *marks, VtError *err);

/*
 * List every record of a generation.  Call next until *item has no id; the
 * stream ends with VT_OK only if all shards' streams were whole: intervals
 * tile, counts match.  VT_LEASE_GONE: begin again from the start.  With marks
 * (not NULL) each shard is read at or after its own; VT_WRONG_SHARD when one
 * has none.  What an item points to lives until the next call.
 *
 * flags: LIST_VECTORS, with which items carry their attributes, too, and
 * LIST_METADATA; 0 = ids and versions.  VT_VERSION: metadata is asked for, and a
 * worker that leads is of an older release, which lists none.
 */
typedef struct ClientList ClientList;
extern VtStatus client_list_open(Client *client, const VtId *generation, const WireOwner *owner,
								 const ClientMarks *marks, uint32_t flags, int64_t deadline_us,
								 ClientList **out, VtError *err);
extern VtStatus client_list_next(ClientList *list, int64_t deadline_us, WireListItem *item,
								 VtError *err);
extern void client_list_close(ClientList *list);

/* A scan in order of (distance, id), over all shards, batch by batch. */
typedef struct ClientScan ClientScan;

typedef struct ClientSearch
{
	VtId		generation;
	WireOwner	owner;
	const void *query;			/* dim floats, or bits where the collection is of them; copied.  client_scan_open_many(): of each, one after the other */
	uint32_t	dim;
	uint32_t	batch;			/* hits that will probably be wanted (LIMIT), >= 1 */
	uint32_t	ef;				/* candidates to walk with in one graph of all, or WIRE_EF_RECALL and what each shard is to find; of
								 * several shards each keeps its share (decision 15) */
	WireConsistency consistency;
	const ClientMarks *marks;	/* per shard; a shard without one is asked by ReadIndex */
	Bytes		filter;			/* a predicate on attributes (wire/attributes.h): only what passes comes; copied */
	bool		exact;
} ClientSearch;

typedef struct ClientHit
{
	double		distance;
	Bytes		id;				/* until the next call on this scan */
	bool		late;			/* nearer than one returned before it (R1) */
} ClientHit;

typedef struct ClientScanStats
{
	uint32_t	batches;
	uint32_t	exact_batches;
	uint64_t	distances;
	uint64_t	hops;
	uint64_t	hits;
	uint64_t	late;
	uint32_t	by_leader;		/* batches from the leader of their shard, */
	uint32_t	by_follower;	/* and from other replicas */
	uint32_t	behind;			/* replicas that had not applied the mark: others were asked */
	uint32_t	hedged;			/* questions asked of a second replica as well, */
	uint32_t	hedges_won;		/* which answered first */
} ClientScanStats;

extern VtStatus client_scan_open(Client *client, const ClientSearch *search, int64_t deadline_us,
								 ClientScan **out, VtError *err);

/*
 * A scan for each of n queries (at least one) that differ in nothing else.  Their first
 * batches are asked of a shard in one question, and are there when this returns; from
 * then on each is a scan as any other, and gives what it would have given if it had been
 * opened alone.  It opens as many, from the first one on, as one question may have and
 * as does not take too much memory (*opened, at least 1, at most WIRE_QUERIES_MAX): call
 * it again for the others.  When it fails there is none.
 */
extern VtStatus client_scan_open_many(Client *client, const ClientSearch *search, uint32_t n, int64_t deadline_us,
									  ClientScan **out, uint32_t *opened, VtError *err);

/*
 * The next hit; *found false when every live record has been returned.  Each
 * id comes at most once.  With a filter: that passes it.
 */
extern VtStatus client_scan_next(ClientScan *scan, int64_t deadline_us, ClientHit *hit,
								 bool *found, VtError *err);
extern void client_scan_stats(const ClientScan *scan, ClientScanStats *out);

/* The highest fence in the answers so far. */
extern uint64_t client_scan_fence(const ClientScan *scan);

/* Where the shards stood that have answered so far; free with client_marks_free(). */
extern void client_scan_marks(const ClientScan *scan, ClientMarks *out);

/* Frees everything and tells the workers to forget the scan; never waits. */
extern void client_scan_close(ClientScan *scan);

/* Connections open now, and the words of the last failure to reach PD. */
extern int	client_connections(const Client *client);

#endif							/* CLIENT_H */
