/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Private to worker: a scan of all records, nearest first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SCAN_H
#define WORKER_SCAN_H

#include "predicate.h"
#include "records.h"

typedef struct RecordScan RecordScan;

typedef struct RecordScanOptions
{
	const uint8_t *query;		/* dim little-endian floats, or bits where the records are; copied */
	Bytes		excluded;		/* ids to leave out, encoded as in a search message */
	Predicate  *predicate;		/* only what passes, shared with the scan; NULL = all */
	uint32_t	expected;		/* how many records will probably be asked for */
	uint32_t	ef;				/* candidates kept while walking the graph */
	double		recall;			/* share to find of what is expected, instead of ef; 0 = by ef */
	bool		exact;			/* by comparing with every vector, from the beginning */
	bool		(*stop) (void *arg);	/* is nobody waiting any more?  NULL = never */
	void	   *stop_arg;
} RecordScanOptions;

/*
 * A scan that comes to all records in passes: the nearest, then the nearest of
 * the rest, and so on.  Within a pass the order is that of (distance, id) among
 * what the graph finds; a later pass may bring a record nearer than one that
 * came before, unless the scan is exact.  The last pass is exact.
 *
 * Every record that is live from beginning to end is returned exactly once,
 * with a version that was live when it was returned.  One that is superseded
 * meanwhile may come late; one that is inserted meanwhile may come or not.  With a
 * predicate the same holds of what passes, from beginning to end in all its versions.
 */
extern RecordScan *record_scan_open(Records *records, const RecordScanOptions *options);

/* The next record; false = none is left.  id lives until the next call. */
extern bool record_scan_next(RecordScan *scan, double *distance, uint64_t *version, Bytes *id);

/* It was stopped in the middle: what it has returned is not to be used. */
extern bool record_scan_stopped(const RecordScan *scan);

/* What it has cost so far, and whether all passes so far were exact. */
extern const HnswCost *record_scan_cost(const RecordScan *scan);
extern bool record_scan_is_exact(const RecordScan *scan);

/* Of memory that it holds. */
extern size_t record_scan_bytes(const RecordScan *scan);
extern void record_scan_close(RecordScan *scan);

/*
 * Should a pass that looks for `keep` records, with ef candidates, compare the query
 * with all `live` ones, rather than walk?  Walks follow the larger of the two numbers.
 */
extern bool scan_is_better(uint64_t live, uint32_t dim, uint64_t keep, uint32_t ef);

#endif							/* WORKER_SCAN_H */
