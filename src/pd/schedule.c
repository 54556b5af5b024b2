/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  Where shards go, and when they go for good.
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

size_t
schedule_delete(const Kept *kept, size_t n, int64_t now_us, int64_t keep_us)
{
	size_t		best = n;

	for (size_t i = 0; i < n; i++)
	{
		bool		due = now_us - kept[i].since_us >= keep_us || kept[i].disk_short;

		if (due && (best == n || kept[i].since_us < kept[best].since_us))
			best = i;
	}
	return best;
}
