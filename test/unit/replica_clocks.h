/*-------------------------------------------------------------------------
 *
 * replica_clocks.h
 *	  Whether hosts of a test get on: one whose clock or disk stands still passes for
 *	  dead, and what a test says of the others is of no such moment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_REPLICA_CLOCKS_H
#define TEST_REPLICA_CLOCKS_H

#include <unistd.h>

#include "../../src/replica/private.h"

static inline uint64_t
host_ticks(ReplicaHost *host)
{
	ReplicaHostFigures figures;
	uint64_t	n = 0;

	replica_host_figures(host, &figures);
	for (int i = 0; i < REPLICA_TICK_KINDS; i++)
		n += figures.ticks[i];
	return n;
}

/* How often a tick, or a batch of the log, was later than that, so far. */
static inline uint64_t
host_lateness(ReplicaHost *host, uint32_t us)
{
	ReplicaHostFigures figures;
	uint64_t	n = 0;

	replica_host_figures(host, &figures);
	for (int i = 1; i < REPLICA_TICK_KINDS; i++)
		n += replica_ticks_late_us[i - 1] >= us ? figures.ticks[i] : 0;
	for (int i = 1; i <= HISTOGRAM_BOUNDS; i++)
		n += histogram_bound_us(i - 1) >= us ? atomic_load(&host->counts.log_writes.counts[i]) : 0;
	return n;
}

/* What stands still now is counted when it goes on: wait for that. */
static inline void
host_await_turns(ReplicaHost *host)
{
	uint64_t	ticks = host_ticks(host);
	uint64_t	beats = atomic_load(&host->writing.beats);

	while (host_ticks(host) < ticks + 2 ||
		   (atomic_load(&host->writing.busy) && atomic_load(&host->writing.beats) == beats))
		usleep(1000);
}

#endif							/* TEST_REPLICA_CLOCKS_H */
