/*-------------------------------------------------------------------------
 *
 * records.h
 *	  Private to worker: a shard's records in memory.
 *
 * Law S5: the map from id to slot is the only truth of what is live.  A slot is
 * one version of one record; it is written once, published, and dies when the
 * record is deleted or superseded.  (slot, version) never comes twice: versions
 * are log indexes, and a slot is used again for later ones only.
 *
 * Threads.  One apply thread at a time changes the records; any number of
 * readers look at them without a lock: a slot's vector and id are complete
 * before its version becomes non-zero.  Who looks at vectors and ids does so
 * between records_enter() and records_leave(); a dead slot is used again only
 * when everybody who entered before its death has left.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_RECORDS_H
#define WORKER_RECORDS_H

#include "base/bytes.h"
#include "vec/vec.h"

typedef struct Records Records;

extern Records *records_new(VecMetric metric, uint32_t dim);
extern void records_free(Records *records);
extern VecMetric records_metric(const Records *records);
extern uint32_t records_dim(const Records *records);

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

/* Keep slots from being used again; for a short while.  Pass on what it gives. */
extern uint32_t records_enter(Records *records);
extern void records_leave(Records *records, uint32_t entered);

/* Slots handed out so far: 0 .. n - 1. */
extern uint32_t records_slots(const Records *records);

/* Version in a slot, 0 = dead; fine without having entered. */
extern uint64_t records_slot_version(const Records *records, uint32_t slot);
extern const float *records_slot_vector(const Records *records, uint32_t slot);
extern Bytes records_slot_id(const Records *records, uint32_t slot);

/* Slot and version of the live record of an id; false = none. */
extern bool records_find(Records *records, Bytes id, uint32_t *slot, uint64_t *version);

/*
 * A walk over the slots while versions supersede each other may see a record
 * in neither of its slots.  records_moves() counts those changes; the slots
 * that came new with the moves from..to are in records_move(), as long as they
 * are not more than RECORDS_MOVES_KEPT ago (false: walk again).
 */
#define RECORDS_MOVES_KEPT 4096
extern uint64_t records_moves(const Records *records);
extern bool records_move(const Records *records, uint64_t move, uint32_t *slot);

#endif							/* WORKER_RECORDS_H */
