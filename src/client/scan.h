/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  What scan.c and stream.c share: a scan and its streams, one for a shard.
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
	uint32_t	empty;			/* batches without a new id, in a row */
	bool		exact;
	WireConsistency consistency;
	uint64_t	mark;
	uint64_t	lease;			/* 0 = begin anew, excluding what was seen */
	uint64_t	lease_conn;
	Request		request;
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
	uint8_t    *query;			/* little-endian floats */
	ClientMark *marks;
	uint32_t	nmarks;

	uint32_t	n;
	Stream	   *streams;
	uint64_t	route_version;

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
extern bool stream_is_dry(const Stream *s);

/* Tell the worker to forget the state, if it can be told; never waits. */
extern void stream_let_go(ClientScan *scan, Stream *s);
extern void stream_free(ClientScan *scan, Stream *s);

/* Streams for the shards of a route; and the same in the place of those there are. */
extern Stream *streams_new(const ClientScan *scan, const ClientCollection *route);
extern void streams_rebuild(ClientScan *scan, const ClientCollection *route);

#endif							/* CLIENT_SCAN_H */
