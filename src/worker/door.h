/*-------------------------------------------------------------------------
 *
 * door.h
 *	  Private to worker: may this replica answer a search?
 *
 * Apart from serve.c because the simulator of shards asks the same (rule R3).
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_DOOR_H
#define WORKER_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/wire.h"

typedef enum DoorSays
{
	DOOR_SERVE,					/* from what is applied here, now */
	DOOR_ASK,					/* by ReadIndex first: what was acknowledged before */
	DOOR_BEHIND					/* not here, and not by waiting */
} DoorSays;

/*
 * applied: what this replica had applied before the records are looked at, which
 * can only be more by then.  A leader that has not applied a mark yet soon will; a
 * follower says at once that it is behind, so that another is asked.
 */
extern DoorSays door_search(WireConsistency consistency, uint64_t mark, uint64_t applied, bool leader);

/*
 * The same of records that are lent, and stand at that index (lend.c): from there no
 * leader can be asked.
 */
extern DoorSays door_lent(WireConsistency consistency, uint64_t mark, uint64_t stands);

#endif							/* WORKER_DOOR_H */
