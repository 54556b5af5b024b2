/*-------------------------------------------------------------------------
 *
 * epoch.c
 *	  Guards: who may still be looking at a slot that nothing leads to.
 *
 * A guard notes the epoch it was entered in.  What is taken away is stamped
 * with the epoch that ends then.  It may be used again when no guard is in
 * that epoch or an older one: who enters later does not find it.
 *
 * Why a guard that the search for the oldest one has missed does no harm: after
 * it has noted its epoch, it changes the epoch's word (by nothing).  If that
 * comes before the stamp in the word's history, who stamped sees the guard; if
 * after, the guard sees all that was done before the stamp.
 *
 * Guards stand in blocks that are added when all are taken and stay until the
 * end.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"

static uint32_t
guard_take(GuardBlock *block, uint32_t first, uint32_t hint, uint64_t epoch)
{
	for (uint32_t i = 0; i < GUARDS_PER_BLOCK; i++)
	{
		uint32_t	at = (hint + i) % GUARDS_PER_BLOCK;
		unsigned long long none = 0;

		if (atomic_load_explicit(&block->guards[at].epoch, memory_order_relaxed) == 0 &&
			atomic_compare_exchange_strong(&block->guards[at].epoch, &none, epoch))
			return first + at;
	}
	return UINT32_MAX;
}

static Guard *
guard_at(Hnsw *h, uint32_t guard)
{
	GuardBlock *block = &h->guards;

	for (; guard >= GUARDS_PER_BLOCK; guard -= GUARDS_PER_BLOCK)
		block = atomic_load(&block->next);
	return &block->guards[guard];
}

uint32_t
hnsw_enter(Hnsw *h)
{
	static _Thread_local char here;
	uint32_t	hint = (uint32_t) (((uintptr_t) &here >> 6) * 0x9e3779b9u) >> 20;
	uint64_t	epoch = atomic_load(&h->epoch);
	GuardBlock *block = &h->guards;
	uint32_t	first = 0;
	uint32_t	guard;

	while ((guard = guard_take(block, first, hint, epoch)) == UINT32_MAX)
	{
		GuardBlock *next = atomic_load(&block->next);

		if (next == NULL)
		{
			GuardBlock *fresh = aligned_alloc(_Alignof(GuardBlock), sizeof(GuardBlock));

			Assert(fresh != NULL);
			memset(fresh, 0, sizeof(*fresh));
			if (atomic_compare_exchange_strong(&block->next, &next, fresh))
				next = fresh;
			else
				free(fresh);
		}
		block = next;
		first += GUARDS_PER_BLOCK;
	}

	/*
	 * The epoch may have moved before ours could be seen.  An older one only
	 * holds more back than it has to.
	 */
	atomic_fetch_add(&h->epoch, 0);
	return guard;
}

void
hnsw_leave(Hnsw *h, uint32_t guard)
{
	atomic_store_explicit(&guard_at(h, guard)->epoch, 0, memory_order_release);
}

uint64_t
epoch_next(Hnsw *h)
{
	return atomic_fetch_add(&h->epoch, 1);
}

uint64_t
epoch_oldest(Hnsw *h)
{
	uint64_t	oldest = UINT64_MAX;

	for (GuardBlock *block = &h->guards; block; block = atomic_load(&block->next))
		for (int i = 0; i < GUARDS_PER_BLOCK; i++)
		{
			uint64_t	epoch = atomic_load(&block->guards[i].epoch);

			if (epoch && epoch < oldest)
				oldest = epoch;
		}
	return oldest;
}

void
epoch_destroy(Hnsw *h)
{
	GuardBlock *block = atomic_load(&h->guards.next);

	while (block)
	{
		GuardBlock *next = atomic_load(&block->next);

		free(block);
		block = next;
	}
}
