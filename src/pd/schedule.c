/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  Where shards go, and when they go for good.
 *
 *-------------------------------------------------------------------------
 */
#include "schedule.h"

#include <string.h>

static bool
is_among(const uint64_t *stores, size_t n, uint64_t store)
{
	for (size_t i = 0; i < n; i++)
		if (stores[i] == store)
			return true;
	return false;
}

/* The emptiest store that is not among those given already. */
static Candidate *
emptiest(Candidate *candidates, size_t ncandidates, const uint64_t *given, size_t ngiven)
{
	Candidate  *best = NULL;

	for (size_t j = 0; j < ncandidates; j++)
	{
		Candidate  *c = &candidates[j];

		if (!is_among(given, ngiven, c->store) &&
			(!best || c->replicas < best->replicas ||
			 (c->replicas == best->replicas && c->store < best->store)))
			best = c;
	}
	return best;
}

void
schedule_place(Candidate *candidates, size_t ncandidates, uint64_t *stores, size_t n, size_t r)
{
	for (size_t i = 0; i < n; i++)
	{
		uint64_t   *mine = stores + i * r;
		Candidate  *first = emptiest(candidates, ncandidates, mine, 0);
		size_t		where = 0;

		first->replicas++;
		mine[0] = first->store;
		for (size_t k = 1; k < r; k++)
		{
			Candidate  *next = emptiest(candidates, ncandidates, mine, k);

			next->replicas++;
			mine[k] = next->store;
			if (next->firsts < first->firsts)
			{
				first = next;
				where = k;
			}
		}
		first->firsts++;
		mine[where] = mine[0];
		mine[0] = first->store;
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
