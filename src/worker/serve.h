/*-------------------------------------------------------------------------
 *
 * serve.h
 *	  Private to worker: what the files share that serve requests of gateways.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SERVE_H
#define WORKER_SERVE_H

#include "private.h"

/* -- reply.c --------------------------------------------------------------- */

/* The head of a reply about the request's shard, if it was found, or what is lent of it. */
extern WireReply request_head(const Request *request, VtStatus status);

/* Send head and body; ends the request, as the others below. */
extern void request_finish(Request *request, const WireReply *head, Bytes body);

/* No, in these words; NULL = those of the status. */
extern void request_refuse(Request *request, VtStatus status, const char *words);
extern void request_refuse_for(Request *request, VtStatus status, const char *words, uint32_t retry_after_ms);

/* -- serve.c --------------------------------------------------------------- */

/*
 * Find the shard a request names and check that it is the asker's; for a search also
 * what is lent of one.  False: the request has been answered.
 */
extern bool serve_find_shard(Worker *worker, Request *request, const WireRoute *route);

/*
 * Law D1: what was read is for the interval of the route only if that still holds
 * when it has been read.  False: the request has been answered.
 */
extern bool serve_still_holds(Request *request);

/* Is this id of the interval?  Rows of a child may be there for a while. */
extern bool serve_is_own(const Shard *shard, uint64_t first, uint64_t last, Bytes id);

/*
 * Call then(request, index) when this replica has applied everything that was
 * acknowledged before now.  A search may be anywhere, what VACUUM and marks are made
 * from is the leader's (law W5).
 */
extern void serve_when_current(Request *request, RequestThen then, bool anywhere);

/* -- search.c -------------------------------------------------------------- */

/* Open the scan of one of a search's queries, which stops when the lease is in vain. */
extern RecordScan *search_open(const Request *request, const WireSearch *search, uint32_t query, Predicate *predicate,
							   Lease *lease);

/* Does nobody want any more what a lease is for? */
extern bool search_is_in_vain(void *lease);

/* Of a scan the next hits. */
typedef struct SearchPage
{
	Buf			hits;			/* encoded */
	uint32_t	n;
	bool		more;			/* there may be others */
} SearchPage;

/* Up to k of the request's interval, and so many bytes, about. */
extern void search_take(const Request *request, RecordScan *scan, uint32_t k, size_t bytes, SearchPage *page);

/* Encode them; lease, distances and hops stand in *result, the rest is filled in. */
extern void search_result_put(const Request *request, const RecordScan *scan, const SearchPage *page,
							  WireSearchResult *result, Buf *out);

/* -- many.c ---------------------------------------------------------------- */

/* Serve a search of many queries at what has been applied; takes predicate and lease, ends the request. */
extern void many_begin(Request *request, const WireSearch *search, Predicate *predicate, Lease *lease);

/* -- search.c, listing.c --------------------------------------------------- */

extern void serve_search(Worker *worker, Request *request);
extern void serve_list(Worker *worker, Request *request);

#endif							/* WORKER_SERVE_H */
