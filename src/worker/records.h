/*-------------------------------------------------------------------------
 *
 * records.h
 *	  Private to worker: a shard's records in memory, and exact search.
 *
 * Law S5: the map from id to slot is the only truth of what is live.  A slot is
 * one version of one record; it is written once, published, and dies when the
 * record is deleted or superseded.
 *
 * Threads.  One apply thread at a time changes the records; any number of
 * searches read them without a lock: a slot's vector and id are complete
 * before its version becomes non-zero.  A dead slot is used again only after a
 * moment without any search or scan under way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_RECORDS_H
#define WORKER_RECORDS_H

#include "base/bytes.h"
#include "vec/vec.h"

typedef struct Records Records;
typedef struct RecordScan RecordScan;

extern Records *records_new(VecMetric metric, uint32_t dim);
extern void records_free(Records *records);

/* -- The apply thread ------------------------------------------------------ */

/* Version (log index) of the live record; 0 = none. */
extern uint64_t records_version(Records *records, Bytes id);

/* Insert or supersede.  vector: dim little-endian floats, unaligned. */
extern void records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector);

/* Remove the live record; it must be there. */
extern void records_delete(Records *records, Bytes id);

/* -- Any thread ------------------------------------------------------------ */

extern uint64_t records_count(const Records *records);
extern uint64_t records_bytes(const Records *records);

/*
 * A scan in order of (distance, id) over everything that was live when it
 * began.  What dies meanwhile is left out; what is superseded meanwhile comes
 * with its current version.  excluded ids (encoded as in a search message)
 * are left out.
 */
extern RecordScan *record_scan_open(Records *records, const uint8_t *query, Bytes excluded);

/* The next record; false = none is left.  id lives as long as the scan. */
extern bool record_scan_next(RecordScan *scan, double *distance, uint64_t *version, Bytes *id);
extern uint64_t record_scan_distances(const RecordScan *scan);
extern void record_scan_close(RecordScan *scan);

#endif							/* WORKER_RECORDS_H */
