/*-------------------------------------------------------------------------
 *
 * patience.h
 *	  How long a build waits for replicas that index after their leaders.  No
 *	  PostgreSQL header here.
 *
 * Leaders are waited for without bound, as for any work that must be done; the
 * others are only hoped for.  A build that waits holds its lock, so it does so no longer
 * than something comes nearer to the end, and never longer than the build has
 * taken up to here and one pause more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_PG_PATIENCE_H
#define VECTRON_PG_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/client.h"

/* All zero before the leaders are done. */
typedef struct Patience
{
	bool		begun;
	uint64_t	least;			/* records that were not indexed, at best */
	int64_t		since_us;		/* it became less then */
	int64_t		until_us;
} Patience;

/*
 * After a look: is another worth waiting for?  worked_us is what the build had taken when
 * the leaders were done, pause_us how long the least may stay what it is.
 */
extern bool patience_left(Patience *patience, uint64_t unindexed, int64_t now_us,
						  int64_t worked_us, int64_t pause_us);

/*
 * Are these marks of the same lives of the same shards?  Then the older are as good: all
 * of the build is at or before them, and followers tell how far they are only now and
 * then, so that they never are at the end of a log that moves.
 */
extern bool patience_same_shards(const ClientMarks *a, const ClientMarks *b);

#endif							/* VECTRON_PG_PATIENCE_H */
