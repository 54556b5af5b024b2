/*-------------------------------------------------------------------------
 *
 * sync_count.h
 *	  How often the servers have asked the disk to be certain, and how long it
 *	  took: shared between the preloaded counter and the benchmark.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SYNC_COUNT_H
#define SYNC_COUNT_H

#include <stdint.h>

/* Four classes to an octave of microseconds, up to 16 s. */
#define SYNC_CLASSES 100

typedef struct SyncCount
{
	uint64_t	calls;
	uint64_t	classes[SYNC_CLASSES];
} SyncCount;

#endif							/* SYNC_COUNT_H */
