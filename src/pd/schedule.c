/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  Where shards go, and when they go for good.
 *
 *-------------------------------------------------------------------------
 */
#include "schedule.h"

#include <string.h>

/* The emptiest of the stores that share least with those given already, and are none of them. */
static Candidate *
next_store(Candidate *candidates, size_t ncandidates, Candidate *const *given, size_t ngiven)
{
	Site		sites[SCHEDULE_REPLICAS_MAX];
	Candidate  *best = NULL;
	uint32_t	best_crowding = 0;

	for (size_t i = 0; i < ngiven; i++)
		sites[i] = given[i]->site;
	for (size_t j = 0; j < ncandidates; j++)
	{
		Candidate  *c = &candidates[j];
		uint32_t	crowding = site_crowding(&c->site, sites, ngiven);
		bool		is_given = false;

		for (size_t i = 0; i < ngiven; i++)
			is_given |= given[i] == c;
		if (!is_given &&
			(!best || crowding < best_crowding ||
			 (crowding == best_crowding &&
			  (c->replicas != best->replicas ? c->replicas < best->replicas : c->store < best->store))))
		{
			best = c;
			best_crowding = crowding;
		}
	}
	return best;
}

void
schedule_place(Candidate *candidates, size_t ncandidates, uint64_t *stores, size_t n, size_t r)
{
	for (size_t i = 0; i < n; i++)
	{
		Candidate  *given[SCHEDULE_REPLICAS_MAX] = {NULL};
		size_t		where = 0;

		for (size_t k = 0; k < r; k++)
		{
			given[k] = next_store(candidates, ncandidates, given, k);
			given[k]->replicas++;
			if (given[k]->firsts < given[where]->firsts)
				where = k;
		}
		given[where]->firsts++;
		for (size_t k = 0; k < r; k++)
			stores[i * r + k] = given[k == 0 ? where : k == where ? 0 : k]->store;
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
