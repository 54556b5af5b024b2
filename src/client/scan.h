/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  What scan.c, stream.c and fetch.c with its own (fetch.h) share: a scan and its
 *	  streams, one for a shard.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_SCAN_H
#define CLIENT_SCAN_H

#include "private.h"

/* The ids a stream has given, encoded as in a search message, and their index. */
typedef struct IdSet
{
	Buf			ids;
	uint32_t	n;
	uint32_t   *slots;			/* place in ids, plus one; 0 = free */
	uint32_t	room;			/* a power of two, at least 2 n */
} IdSet;

typedef struct StreamHit
{
	double		distance;
	uint32_t	at;				/* of the id, in the stream's set */
} StreamHit;

/* A replica that was asked for a stream's next batch; a third at a time only where two are in doubt. */
#define TRIES 3
#define HEDGED_TRIES 2
typedef struct Try
{
	Request		request;
	int64_t		sent_us;
	bool		pull;			/* goes on with the lease */
	bool		typical;		/* what it takes tells about the worker */
} Try;

/* One shard's part of the scan. */
typedef struct Stream
{
	ClientShard shard;
	IdSet		seen;
	StreamHit  *hits;			/* in hand: hits[next..n), sorted */
	uint32_t	next;
	uint32_t	n;
	uint32_t	room;
	bool		exhausted;
	bool		answered;		/* at mark or later */

	/* The next question */
	uint32_t	k;
	uint32_t	ef;				/* or a recall, as on the wire */
	uint32_t	empty;			/* batches without a new id, in a row */
	bool		exact;
	WireConsistency consistency;
	uint64_t	mark;
	uint64_t	lease;			/* 0 = begin anew, excluding what was seen */
	uint64_t	lease_conn;

	/* Asking it (fetch.c) */
	Try			tries[TRIES];
	uint32_t	tried;			/* places that had their turn in this round, a bit each */
	int64_t		since_us;		/* when the first was asked */
	uint32_t	ousted;			/* questions that have made room for others since */
	int64_t		hedge_us;		/* when somebody else is asked as well */
	int64_t		again_us;		/* a pause until then */
	bool		wants_route;	/* after it, PD is asked where the replicas are */
	Retry		retry;
} Stream;

struct ClientScan
{
	ClientScan *next;			/* of the client */
	Client	   *client;
	VtId		generation;
	WireOwner	owner;
	WireConsistency consistency;
	uint32_t	batch;
	uint32_t	ef;
	bool		exact;
	uint32_t	dim;
	bool		bits;			/* is what is looked for */
	uint8_t    *query;			/* as it goes over the wire, */
	size_t		query_bytes;	/* so many */
	Buf			filter;			/* empty = none */
	ClientMark *marks;
	uint32_t	nmarks;

	uint32_t	n;
	Stream	   *streams;
	uint64_t	route_version;
	bool		told;			/* a worker has said how a shard was split: PD need not be asked */
	uint64_t	fence;			/* highest in the answers */

	/*
	 * Asked together (many.c): this scan and others of the same shards, in the order of
	 * the queries; while the first batches of all come with its own.  nmates 0: alone.
	 */
	ClientScan **mates;
	uint32_t	nmates;
	const uint8_t *queries;		/* of all, one after the other */
	bool		apart;			/* that is not possible */

	char		beside[ENDPOINT_SIZE];	/* who was asked last for a first batch; "" = nobody */
	char		let_in[ENDPOINT_SIZE];	/* who may be asked for the other shards, too, whatever is known of its queue; "" = nobody */
	int64_t		room_us;		/* workers turned questions away: they may have room then */
	int64_t		deadline_us;	/* of the call */

	bool		any;			/* something was returned: */
	double		farthest;
	ClientScanStats stats;
};

/* By distance, as PostgreSQL sorts: NaN after all numbers; then by id. */
extern int	distance_compare(double a, double b);
extern int	hit_compare(const Stream *a, const StreamHit *x, const Stream *b, const StreamHit *y);

extern Bytes seen_id(const IdSet *seen, uint32_t at);

/* False when the id is there already; else *at is its place. */
extern bool seen_add(IdSet *seen, Bytes id, uint32_t *at);

extern void stream_add(Stream *s, double distance, uint32_t at);

/* Sort what is in hand, if it did not come so. */
extern void stream_sort(Stream *s);

/* Is it to be asked for more? */
extern bool stream_is_dry(const ClientScan *scan, const Stream *s);

/* Tell the worker to forget the state, if it can be told; never waits. */
extern void stream_let_go(ClientScan *scan, Stream *s);
extern void stream_free(ClientScan *scan, Stream *s);

/* Streams for the shards of a route; and the same in the place of those there are, with what they have or without. */
extern Stream *streams_new(const ClientScan *scan, const ClientCollection *route);
extern void streams_rebuild(ClientScan *scan, const ClientCollection *route);
extern void streams_begin_anew(ClientScan *scan, const ClientCollection *route);

/* scan.c: a scan of a search that fits the route, first of the client's. */
extern VtStatus scan_check(const ClientSearch *search, uint32_t n, const ClientCollection *route, VtError *err);
extern ClientScan *scan_new(Client *client, const ClientSearch *search, const ClientCollection *route);

/* scan.c: ask until no stream is dry. */
extern VtStatus scan_fetch(ClientScan *scan, int64_t deadline_us, VtError *err);

/* scan.c: the route for a search, not older than its marks. */
extern VtStatus scan_route(Client *client, const ClientSearch *search, int64_t deadline_us, const ClientCollection **route,
						   VtError *err);

/*
 * Do what is to be done now about a dry stream's next batch; never waits.  *next_us
 * is lowered to when it wants to be called again, if no socket moves before.
 */
extern VtStatus stream_step(ClientScan *scan, Stream *s, int64_t deadline_us, int64_t *next_us,
							VtError *err);

/* An answer is there, or a connection ended: also while another stream was busy. */
extern bool stream_has_news(const Stream *s);

/* Nobody is asked any more. */
extern void stream_stop(ClientScan *scan, Stream *s);

/* Its first question takes so many places of a connection. */
static inline uint32_t
scan_places(const ClientScan *scan)
{
	return wire_search_places(scan->nmates > 0 ? scan->nmates : 1);
}

#endif							/* CLIENT_SCAN_H */
