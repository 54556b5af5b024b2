/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Private to worker: a scan of all records, nearest first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SCAN_H
#define WORKER_SCAN_H

#include "records.h"

typedef struct RecordScan RecordScan;

/*
 * A scan in order of (distance, id).  query: dim little-endian floats; excluded
 * ids (encoded as in a search message) are left out; expected: how many
 * records will probably be asked for.
 *
 * Every record that is live from beginning to end is returned exactly once,
 * with a version that was live when it was returned.  One that is superseded
 * meanwhile may come late; one that is inserted meanwhile may come or not.
 */
extern RecordScan *record_scan_open(Records *records, const uint8_t *query, Bytes excluded,
									uint32_t expected);

/* The next record; false = none is left.  id lives until the next call. */
extern bool record_scan_next(RecordScan *scan, double *distance, uint64_t *version, Bytes *id);

/* Distances computed so far. */
extern uint64_t record_scan_distances(const RecordScan *scan);
extern void record_scan_close(RecordScan *scan);

#endif							/* WORKER_SCAN_H */
