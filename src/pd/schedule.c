/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  Where shards go.
 *
 *-------------------------------------------------------------------------
 */
#include "schedule.h"

void
schedule_place(Candidate *candidates, size_t ncandidates, uint64_t *stores, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		Candidate  *best = &candidates[0];

		for (size_t j = 1; j < ncandidates; j++)
			if (candidates[j].shards < best->shards ||
				(candidates[j].shards == best->shards && candidates[j].store < best->store))
				best = &candidates[j];
		stores[i] = best->store;
		best->shards++;
	}
}

void
schedule_interval(size_t i, size_t n, uint64_t *first, uint64_t *last)
{
	uint64_t	width = UINT64_MAX / n + (UINT64_MAX % n == n - 1 ? 1 : 0);

	if (n == 1)
	{
		*first = 0;
		*last = UINT64_MAX;
		return;
	}
	*first = width * i;
	*last = i + 1 == n ? UINT64_MAX : width * (i + 1) - 1;
}
