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
 * their turn, in the order they came.  A worker that was not read says so by the digest that it names next.
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

	return idmap_get(&pd->untold_at, store, &at) ? (Untold *) (uintptr_t) at : NULL;
}

static void
put_last(UntoldList *list, Untold *untold)
{
	untold->before = list->last;
	untold->next = NULL;
	*(list->last ? &list->last->next : &list->first) = untold;
	list->last = untold;
}

static void
take_out(UntoldList *list, Untold *untold)
{
	*(untold->before ? &untold->before->next : &list->first) = untold->next;
	*(untold->next ? &untold->next->before : &list->last) = untold->before;
}

static Untold *
untold_new(Pd *pd, uint64_t store)
{
	Untold	   *untold = vt_alloc0(sizeof(Untold));

	untold->store = store;
	untold->first_us = pd->now_us;
	put_last(&pd->untold_waiting, untold);
	pd->nuntold++;
	idmap_put(&pd->untold_at, store, (uint64_t) (uintptr_t) untold);
	return untold;
}

static void
ask(Pd *pd, Untold *untold, size_t bytes)
{
	take_out(&pd->untold_waiting, untold);
	put_last(&pd->untold_asked, untold);
	untold->asked_us = pd->now_us;
	untold->asked = bytes;
	pd->untold_bytes += bytes;
}

static void
ask_no_more(Pd *pd, Untold *untold)
{
	take_out(&pd->untold_asked, untold);
	put_last(&pd->untold_waiting, untold);
	pd->untold_bytes -= untold->asked;
	untold->asked = 0;
}

/* Those that were asked and have not come make room for others, which are before them now. */
static void
give_up_late(Pd *pd)
{
	while (pd->untold_asked.first && pd->now_us - pd->untold_asked.first->asked_us >= ASKED_US)
		ask_no_more(pd, pd->untold_asked.first);
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
untold_waits(Pd *pd, uint64_t store)
{
	Untold	   *untold = untold_of(pd, store);

	if (!untold)
		return false;
	untold->heard_us = pd->now_us;
	untold->look = pd->untold_look + 1;
	return true;
}

/* What a store has to tell, about. */
static size_t
bytes_of_store(Pd *pd, uint64_t store)
{
	size_t		nshards;

	(void) shards_of_store(pd, store, &nshards);
	return (nshards + 1) * REPORT_BYTES;
}

static bool
fits(const Pd *pd, size_t bytes)
{
	return pd->untold_bytes == 0 || pd->untold_bytes + bytes <= UNTOLD_ASKED_BYTES;
}

bool
untold_has_room(Pd *pd, uint64_t store)
{
	return fits(pd, bytes_of_store(pd, store));
}

/*
 * Who has more than there is room for keeps it from those behind: all that is on its way is read soon, and it would never find
 * any otherwise.  Not if it has been silent for as long as we wait for one that was asked.  Who has no heartbeat here for the
 * moment and would find room will.
 */
void
untold_ask(Pd *pd)
{
	Untold	   *next;

	pd->untold_look++;
	give_up_late(pd);
	for (Untold *untold = pd->untold_waiting.first; untold; untold = next)
	{
		size_t		bytes = bytes_of_store(pd, untold->store);

		next = untold->next;
		if (fits(pd, bytes))
		{
			if (untold->look == pd->untold_look)
				ask(pd, untold, bytes);
		}
		else if (pd->now_us - untold->heard_us < ASKED_US)
			break;
	}
}

/* It goes on to be if it says again that it has not told it: the answer did not come there, or what it told could not be read. */
bool
untold_is_asked(const Pd *pd, uint64_t store)
{
	const Untold *untold = untold_of(pd, store);

	return untold && untold->asked > 0;
}

void
untold_forget(Pd *pd, uint64_t store)
{
	Untold	   *untold = untold_of(pd, store);

	if (!untold)
		return;
	if (untold->asked > 0)
		ask_no_more(pd, untold);
	take_out(&pd->untold_waiting, untold);
	idmap_remove(&pd->untold_at, store);
	free(untold);
	pd->nuntold--;
	pd->woken = true;			/* there is room for another */
}

void
untold_told(Pd *pd, uint64_t store)
{
	if (!untold_of(pd, store))
		return;
	untold_forget(pd, store);
	pd->told_us = pd->now_us;
}

static bool
is_heard(const Pd *pd, const Untold *untold)
{
	return pd->now_us - untold->heard_us < SUSPECT_AFTER_US;
}

bool
untold_speaks(const Pd *pd, uint64_t store)
{
	const Untold *untold = untold_of(pd, store);

	return untold && is_heard(pd, untold);
}

int64_t
untold_heard_us(const Pd *pd, uint64_t store)
{
	const Untold *untold = untold_of(pd, store);

	if (!untold)
		return 0;
	return untold->heard_us < untold->first_us + CREDIT_US ? untold->heard_us : untold->first_us + CREDIT_US;
}

static bool
one_speaks(const Pd *pd, const UntoldList *list)
{
	for (const Untold *untold = list->first; untold; untold = untold->next)
		if (is_heard(pd, untold))
			return true;
	return false;
}

size_t
untold_count(const Pd *pd)
{
	size_t		n = 0;

	for (const Untold *untold = pd->untold_asked.first; untold; untold = untold->next)
		n += is_heard(pd, untold);
	for (const Untold *untold = pd->untold_waiting.first; untold; untold = untold->next)
		n += is_heard(pd, untold);
	return n;
}

/* As long as one after the other comes to its turn. */
bool
untold_are_awaited(const Pd *pd)
{
	if (pd->now_us - pd->told_us >= SUSPECT_AFTER_US && pd->now_us - pd->led_since_us >= SUSPECT_AFTER_US)
		return false;
	return one_speaks(pd, &pd->untold_asked) || one_speaks(pd, &pd->untold_waiting);
}

static void
free_all(UntoldList *list)
{
	Untold	   *next;

	for (Untold *untold = list->first; untold; untold = next)
	{
		next = untold->next;
		free(untold);
	}
	*list = (UntoldList) {0};
}

void
untold_free(Pd *pd)
{
	free_all(&pd->untold_waiting);
	free_all(&pd->untold_asked);
	pd->nuntold = 0;
	pd->untold_bytes = 0;
	pd->told_us = 0;
	idmap_free(&pd->untold_at);
}
