/*-------------------------------------------------------------------------
 *
 * untold.c
 *	  Workers that speak and have not told this driver what they have: who is asked
 *	  for it, a few at a time.
 *
 * A driver that begins to lead knows nothing of any of them, and what a thousand have takes it
 * some 20 s to read.  Were all asked at once, most would have gone, and told it again, before
 * their turn came.  So those are asked whom it has time for: about as much as it reads in the
 * seventh part of a second is on its way.  Others are told that there is nothing to do, until it is
 * their turn.  A worker that was not read says so by the digest that it names next.
 *
 * Who speaks is not silent, read or not: it is suspect as long as it was not, and not down.  That is so
 * for a minute: one that never tells what it has is of no use.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "service.h"

#define ASKED_US (3 * INT64_C(1000000))	/* it does not come with it any more */
#define REPORT_BYTES 1200		/* of a replica, about */
#define CREDIT_US (60 * INT64_C(1000000))	/* in which it is not silent, though it tells nothing */

static Untold *
untold_of(const Pd *pd, uint64_t store)
{
	uint64_t	at;

	return idmap_get(&pd->untold_at, store, &at) ? &pd->untold[at - 1] : NULL;
}

static Untold *
untold_new(Pd *pd, uint64_t store)
{
	if ((pd->nuntold & (pd->nuntold - 1)) == 0)
		pd->untold = vt_realloc(pd->untold, sizeof(Untold) * (pd->nuntold ? 2 * pd->nuntold : 1));
	pd->untold[pd->nuntold++] = (Untold) {.store = store, .first_us = pd->now_us};
	idmap_put(&pd->untold_at, store, pd->nuntold);
	return &pd->untold[pd->nuntold - 1];
}

static void
ask_no_more(Pd *pd, Untold *untold)
{
	pd->untold_asked -= untold->asked;
	untold->asked = 0;
	untold->asked_us = 0;
}

/* Those that were asked and have not come make room for others. */
static void
give_up_late(Pd *pd)
{
	if (pd->now_us < pd->untold_due_us)
		return;
	pd->untold_due_us = INT64_MAX;
	for (size_t i = 0; i < pd->nuntold; i++)
	{
		Untold	   *untold = &pd->untold[i];

		if (untold->asked == 0)
			continue;
		if (pd->now_us - untold->asked_us >= ASKED_US)
			ask_no_more(pd, untold);
		else if (untold->asked_us + ASKED_US < pd->untold_due_us)
			pd->untold_due_us = untold->asked_us + ASKED_US;
	}
}

void
untold_spoke(Pd *pd, uint64_t store)
{
	Untold	   *untold = untold_of(pd, store);

	if (!untold)
		untold = untold_new(pd, store);
	untold->heard_us = pd->now_us;
}

bool
untold_ask(Pd *pd, uint64_t store)
{
	Untold	   *untold;
	size_t		nshards;
	size_t		bytes;

	untold_spoke(pd, store);
	untold = untold_of(pd, store);
	give_up_late(pd);
	if (untold->asked > 0)
		return true;			/* the answer did not come there, or what it told could not be read */
	(void) shards_of_store(pd, store, &nshards);
	bytes = (nshards + 1) * REPORT_BYTES;
	if (pd->untold_asked > 0 && pd->untold_asked + bytes > UNTOLD_ASKED_BYTES)
		return false;
	untold->asked = bytes;
	untold->asked_us = pd->now_us;
	pd->untold_asked += bytes;
	if (untold->asked_us + ASKED_US < pd->untold_due_us)
		pd->untold_due_us = untold->asked_us + ASKED_US;
	return true;
}

void
untold_told(Pd *pd, uint64_t store)
{
	Untold	   *untold = untold_of(pd, store);
	Untold	   *last;

	if (!untold)
		return;
	ask_no_more(pd, untold);
	idmap_remove(&pd->untold_at, store);
	last = &pd->untold[--pd->nuntold];
	if (untold != last)
	{
		*untold = *last;
		idmap_put(&pd->untold_at, untold->store, (uint64_t) (untold - pd->untold) + 1);
	}
	pd->told_us = pd->now_us;
	pd->woken = true;			/* there is room for another */
}

bool
untold_speaks(const Pd *pd, uint64_t store)
{
	const Untold *untold = untold_of(pd, store);

	return untold && pd->now_us - untold->heard_us < SUSPECT_AFTER_US;
}

int64_t
untold_heard_us(const Pd *pd, uint64_t store)
{
	const Untold *untold = untold_of(pd, store);

	if (!untold)
		return 0;
	return untold->heard_us < untold->first_us + CREDIT_US ? untold->heard_us : untold->first_us + CREDIT_US;
}

/* As long as one after the other comes to its turn. */
bool
untold_are_awaited(const Pd *pd)
{
	if (pd->now_us - pd->told_us >= SUSPECT_AFTER_US && pd->now_us - pd->led_since_us >= SUSPECT_AFTER_US)
		return false;
	for (size_t i = 0; i < pd->nuntold; i++)
		if (pd->now_us - pd->untold[i].heard_us < SUSPECT_AFTER_US)
			return true;
	return false;
}

void
untold_free(Pd *pd)
{
	free(pd->untold);
	pd->untold = NULL;
	pd->nuntold = 0;
	pd->untold_asked = 0;
	pd->untold_due_us = 0;
	pd->told_us = 0;
	idmap_free(&pd->untold_at);
}
