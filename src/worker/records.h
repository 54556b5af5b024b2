/*-------------------------------------------------------------------------
 *
 * records.h
 *	  Private to worker: a shard's records in memory.
 *
 * Vectors and links are in a graph (src/hnsw); here is what belongs to a slot
 * of it beside them, the record's id, version and attributes, and the map from id to
 * slot.
 *
 * Law S5: that map is the only truth of what is live.  A slot is one version of
 * one record; it is written once, published, and dies when the record is
 * deleted or superseded.  As long as nothing is moved (slot, version) never comes
 * twice: versions are log indexes, and a slot is used again for later ones
 * only.  But the records of one command have one version, and compaction may
 * move one of them to where another was.
 *
 * The graph's label of a slot is the beginning of the id, as a number whose
 * order is the order of ids: all of it for the id of a heap tuple.
 *
 * Threads.  One apply thread at a time changes the records; index threads take
 * them into the graph, and move some when memory can be given back; any number of readers look at them without a lock.  Who
 * looks at vectors and ids does so between records_enter() and records_leave();
 * a dead slot is used again only when everybody who entered before its death
 * has left.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_RECORDS_H
#define WORKER_RECORDS_H

#include "base/bytes.h"
#include "hnsw/hnsw.h"
#include "wire/wire.h"

typedef struct Records Records;

/* dim little-endian numbers, unaligned, as floats; or bits as they are. */
extern void vector_take(void *out, const uint8_t *in, uint32_t dim, VecElement element);

typedef struct RecordsOptions
{
	VecMetric	metric;
	uint32_t	dim;
	VecElement	element;		/* of the vectors given here, and kept */
	uint32_t	m;
	uint32_t	ef_construction;
	HnswCodes	codes;
	uint64_t	seed;			/* of the levels of the graph */
	uint32_t	attributes;		/* of each record */
	const char *vectors;		/* folder to map vectors in, where there are codes; NULL: in memory */
} RecordsOptions;

/* VT_INVALID when an option is out of range. */
extern VtStatus records_new(const RecordsOptions *options, Records **out, VtError *err);
extern void records_free(Records *records);
extern uint32_t records_dim(const Records *records);
extern VecElement records_element(const Records *records);

/* -- Files ----------------------------------------------------------------- */

/*
 * Write the graph, with id and version of each record, into a file (hnsw_save), while
 * everybody goes on.  tag says whose it is.  pace as there.
 */
typedef struct RecordsFile
{
	const char *path;
	Bytes		tag;
	bool		(*pace) (void *arg, size_t bytes);
	void	   *arg;

	/* To write: of others it says that they are dead; NULL = of none.  And the seed of who loads it; 0 = as here */
	bool		(*keep) (void *keep_arg, Bytes id);
	void	   *keep_arg;
	uint64_t	seed;
} RecordsFile;

extern VtStatus records_save(Records *records, const RecordsFile *file, VtError *err);

/*
 * Records whose graph comes from a file.  The file is no evidence: no record is
 * there until its row has been shown to records_claim().  Whoever loads shows every
 * row, puts those that are not claimed, and ends with records_settle(); nobody else
 * uses the records until then.
 */
extern VtStatus records_load(const RecordsOptions *options, const RecordsFile *file, Records **out,
							 VtError *err);

/* Has the file a place for this version of this record?  Then it is there now. */
extern bool records_claim(Records *records, Bytes id, uint64_t version, const uint8_t *vector, Bytes attributes);

/* All rows have been shown: what none of them has claimed is dead. */
extern void records_settle(Records *records);

/* -- The apply thread ------------------------------------------------------ */

/* Version (log index) of the live record; 0 = none. */
extern uint64_t records_version(Records *records, Bytes id);

/*
 * Insert or supersede; searchable when it returns.  vector: dim little-endian
 * floats, halves or bits, unaligned; attributes: encoded, as many as there are in the
 * options.  Without memory for it (VT_NOMEM, VT_FULL) nothing has
 * changed, and the shard cannot go on: what is committed must be applied.
 */
extern VtStatus records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector,
							Bytes attributes, VtError *err);

/* Remove the live record; it must be there. */
extern void records_delete(Records *records, Bytes id);

/*
 * Remove all that keep says no to; how many.  On any thread: of what it says yes to the
 * apply thread may put and delete meanwhile.
 */
extern uint64_t records_keep(Records *records, bool (*keep) (void *arg, Bytes id), void *arg);

/* -- Any thread ------------------------------------------------------------ */

extern uint64_t records_count(const Records *records);
extern uint64_t records_bytes(const Records *records);

/*
 * What has changed since records_new() or records_load(), in records put or
 * deleted; rows that the file did not have, and what it had too many, count too.
 */
extern uint64_t records_changes(const Records *records);

/* Searched, but not yet in the graph: each costs every search a distance. */
extern uint64_t records_waiting(const Records *records);

/* What searches of these records have cost since they were loaded. */
typedef enum RecordStat
{
	RECORD_PASSES,				/* walks and scans; a search for many rows takes several */
	RECORD_EXACT_PASSES,		/* of them those that measured everything */
	RECORD_DISTANCES,
	RECORD_HOT_DISTANCES,		/* of them to vectors that wait for the graph */
	RECORD_REFINED,				/* exact distances at the end of walks */
	RECORD_HOPS,
	RECORD_ASKED,				/* times a record was held against the ids to leave out */
	RECORD_WALK_US,				/* microseconds */
	RECORD_HOT_US,
	RECORD_REFINE_US,
	RECORD_EXACT_US,
	RECORD_FILTER_US,			/* within the others */
	RECORD_STATS
} RecordStat;

/* Names of them, for reports. */
extern const char *const record_stat_names[RECORD_STATS];
extern void records_count_pass(Records *records, const HnswCost *cost, bool exact);
extern void records_count_more(Records *records, const HnswCost *cost);	/* ... of a walk that has been counted */
extern uint64_t records_stat(const Records *records, RecordStat stat);

/* What is known about the ef searches need. */
struct Tune;
extern struct Tune *records_tune(const Records *records);

/*
 * A name of a record that is the same in all replicas of its shard: version, and a part of
 * the hash of its id, which tells those of one command apart, but for one in 2^32.
 */
typedef struct RecordName
{
	uint64_t	version;		/* 0 = of none */
	uint32_t	sum;
} RecordName;

/* Of a slot that is, or was, live under a guard; of one that is dead: of none. */
extern RecordName records_name(const Records *records, uint32_t slot);

/* Slots of the live records that have these names; HNSW_NO_SLOT: there is none. */
extern void records_locate(Records *records, const RecordName *names, uint32_t n, uint32_t *slots);

/* The graph, to search it, to take what waits into it, to mend it. */
extern Hnsw *records_graph(const Records *records);

/* Keep slots from being used again; for a short while.  Pass on what it gives. */
extern uint32_t records_enter(Records *records);
extern void records_leave(Records *records, uint32_t entered);

/* Version in a slot, 0 = dead; fine without having entered. */
extern uint64_t records_slot_version(const Records *records, uint32_t slot);

/*
 * How many records compaction has moved.  If as many as before a version was seen
 * in a slot, and read after it is seen there again, it is still that record.
 */
extern uint64_t records_moves(const Records *records);
extern Bytes records_slot_id(const Records *records, uint32_t slot);

/* Of a slot that is, or was, live under a guard. */
extern void records_slot_attributes(const Records *records, uint32_t slot, WireAttributes *out);

/* Slot and version of the live record of an id; false = none. */
extern bool records_find(Records *records, Bytes id, uint32_t *slot, uint64_t *version);

#endif							/* WORKER_RECORDS_H */
