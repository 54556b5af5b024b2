/*-------------------------------------------------------------------------
 *
 * filters.c
 *	  Sets of records that pass a predicate, and what came since they were made.
 *
 * A set (HnswSet) is made by evaluating the predicate over the columns of all slots.
 * It is a guard: no slot that was published before it is closed is used again while
 * it is open.  Its members never change.  What is published while sets are open is
 * written into a journal, before it is published, and before what it supersedes dies.
 * Each set has a place in the journal up to which its predicate was asked; those that
 * passed are its late slots.  Whoever searches asks about the rest, so a put costs the same
 * however many sets there are, and a predicate that never comes again nothing.  All under map_lock.
 *
 * Why a search misses nothing.  It looks at the members of the set first, then goes on to the
 * end of the journal and takes, under map_lock, those of the late slots that live at that moment, t.  Take a record
 * that passes at t, in a slot S.  S was published after the set was opened: then it is
 * in the journal, and is taken, since it lives.  Its attributes are still there, by the guard.  Or before: its attributes were there
 * when they were evaluated, it has lived until t, and so it is a member that lived
 * while the members were looked at.  Whatever was acknowledged before the search
 * began, and is in force at t, is one of these; what supersedes it between is the
 * scan's to look up (scan.c).
 *
 * Why nothing is wrong.  A slot that was being written while columns were evaluated may
 * have got a bit by accident.  If it was published before the set was used, that was
 * after the set was opened: all that was published while a set was being made is taken
 * out of it at the end.
 *
 * A set costs memory, holds back slots, and becomes slower with what came late.  So it
 * is made anew when LATE_MAX of these live or CHANGES_MAX records have come and gone, or after AGE_US; and closed,
 * even if nobody asks for it again, when that much has changed, by whoever changes it.
 * Sets are kept as long as what they take together is less than a share of the records'
 * memory, the least recently used going first; and no more than SETS_MAX, which are looked
 * through to find one.  Those that are made at about the same time share
 * a guard, or searches would step over hundreds.
 *
 *-------------------------------------------------------------------------
 */
#include "filters.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/hash.h"
#include "records_inside.h"

#define LATE_MAX 512
#define CHANGES_MAX 8192
#define AGE_US (30 * INT64_C(1000000))
#define IDLE_US (10 * INT64_C(1000000))
#define TRIM_US (1 * INT64_C(1000000))
#define SETS_MAX 256
#define JOURNAL_FIRST 1024
#define ASK_SLICE 1024			/* slots asked about under one lock */
#define GUARD_US (2 * INT64_C(1000000)) /* sets that are made within so long share a guard */
#define BYTES_LEAST ((size_t) 8 << 20)
#define BYTES_SHARE 16			/* of the records' memory, one part in so many */

struct FilterSet
{
	FilterSet  *next;			/* of those that are open, the last used first */
	Predicate  *predicate;
	uint64_t	hash;			/* of its bytes */
	uint64_t	number;			/* of those that were made */
	HnswSet    *set;
	uint32_t	users;
	bool		making;
	bool		found;			/* the next search may find it */
	uint64_t	changes;		/* Filters.changes when it was opened */
	int64_t		made_us;
	int64_t		guard_us;		/* its guard was entered */
	int64_t		used_us;
	size_t		bytes;			/* it may come to take */
	size_t		own_bytes;		/* of them, counted with the records */

	atomic_ullong asked;		/* the journal up to here */
	uint32_t   *late;			/* of that, what passes */
	atomic_uint nlate;
	uint32_t	late_room;
};

/* All under Records.map_lock. */
struct Filters
{
	FilterSet  *open;
	uint64_t	changes;		/* records that came, went or moved */
	uint64_t	worn_at;		/* some set is worn when there are more changes than this, or sooner: look */

	/* The journal: slots by number, from `first` on, that some set has not asked about */
	uint32_t   *journal;
	uint64_t	journal_first;
	atomic_ullong journal_end;
	size_t		journal_room;

	size_t		bytes;			/* of those that may be found */
	uint32_t	nfound;
	FilterFigures figures;
	atomic_llong trim_us;		/* look again then */
};

Filters *
filters_new(void)
{
	Filters    *filters = vt_alloc0(sizeof(Filters));

	filters->worn_at = UINT64_MAX;
	return filters;
}

/* -- The journal ----------------------------------------------------------- */

static void
journal_resize(Records *records, size_t room)
{
	Filters    *filters = records->filters;
	long long	grows = ((long long) room - (long long) filters->journal_room) * (long long) sizeof(uint32_t);

	if (room == 0)
	{
		free(filters->journal);
		filters->journal = NULL;
	}
	else
		filters->journal = vt_realloc(filters->journal, sizeof(uint32_t) * room);
	filters->journal_room = room;
	atomic_fetch_add(&records->own_bytes, grows);
}

/* Forget what all sets have asked about; there is room for more afterwards. */
static void
journal_make_room(Records *records)
{
	Filters    *filters = records->filters;
	uint64_t	end = atomic_load(&filters->journal_end);
	uint64_t	first = end;
	size_t		left;

	for (FilterSet *f = filters->open; f; f = f->next)
		if (atomic_load(&f->asked) < first)
			first = atomic_load(&f->asked);
	left = (size_t) (end - first);
	if (left > 0)
		memmove(filters->journal, filters->journal + (first - filters->journal_first), sizeof(uint32_t) * left);
	filters->journal_first = first;
	if (filters->journal_room == 0 || left > filters->journal_room / 2)
		journal_resize(records, filters->journal_room ? 2 * filters->journal_room : JOURNAL_FIRST);
}

static void
journal_add(Records *records, uint32_t slot)
{
	Filters    *filters = records->filters;
	uint64_t	end = atomic_load_explicit(&filters->journal_end, memory_order_relaxed);

	if (end - filters->journal_first == filters->journal_room)
		journal_make_room(records);
	filters->journal[end - filters->journal_first] = slot;
	atomic_store_explicit(&filters->journal_end, end + 1, memory_order_release);
}

/* -- Sets ------------------------------------------------------------------ */

/* Nobody uses it, nobody will find it. */
static void
close_set(Records *records, FilterSet *filter)
{
	FilterSet **p = &records->filters->open;

	while (*p != filter)
		p = &(*p)->next;
	*p = filter->next;
	atomic_fetch_sub(&records->own_bytes, (long long) filter->own_bytes);
	if (records->filters->open == NULL)
	{
		records->filters->journal_first = atomic_load(&records->filters->journal_end);
		journal_resize(records, 0);
	}
	hnsw_set_close(filter->set);
	predicate_free(filter->predicate);
	free(filter->late);
	free(filter);
}

/* No search finds it any more; who has it goes on. */
static void
hide_set(Records *records, FilterSet *filter)
{
	filter->found = false;
	records->filters->nfound--;
	records->filters->bytes -= filter->bytes;
	if (filter->users == 0)
		close_set(records, filter);
}

/* One user less, and if so wanted no further ones. */
static void
give(Records *records, FilterSet *filter, bool hide)
{
	filter->users--;
	if (filter->found && hide)
		hide_set(records, filter);
	else if (filter->users == 0 && !filter->found)
		close_set(records, filter);
}

static bool
is_worn(const Filters *filters, const FilterSet *filter)
{
	return filters->changes - filter->changes > CHANGES_MAX || atomic_load(&filter->nlate) > LATE_MAX;
}

/* The one that was used last comes first. */
static void
to_front(Filters *filters, FilterSet *filter)
{
	FilterSet **p = &filters->open;

	while (*p != filter)
		p = &(*p)->next;
	*p = filter->next;
	filter->next = filters->open;
	filters->open = filter;
}

static FilterSet *
find_set(Filters *filters, const Predicate *predicate, uint64_t hash)
{
	FilterSet  *filter = filters->open;

	while (filter && !(filter->found && filter->hash == hash &&
					   bytes_equal(predicate_bytes(filter->predicate), predicate_bytes(predicate))))
		filter = filter->next;
	return filter;
}

/* Hide what there is no room for, but this one. */
static void
make_room(Records *records, const FilterSet *but)
{
	Filters    *filters = records->filters;
	size_t		most = (size_t) records_bytes(records) / BYTES_SHARE;

	most = most > BYTES_LEAST ? most : BYTES_LEAST;
	while (filters->nfound > SETS_MAX || filters->bytes > most)
	{
		FilterSet  *last = NULL;

		for (FilterSet *f = filters->open; f; f = f->next)
			if (f->found && f != but)
				last = f;
		if (!last)
			return;
		hide_set(records, last);
	}
}

static void
note(FilterSet *filter, uint32_t slot)
{
	uint32_t	n = atomic_load_explicit(&filter->nlate, memory_order_relaxed);

	if (n == filter->late_room)
	{
		filter->late_room = n ? 2 * n : 64;
		filter->late = vt_realloc(filter->late, sizeof(uint32_t) * filter->late_room);
	}
	filter->late[n] = slot;
	atomic_store_explicit(&filter->nlate, n + 1, memory_order_release);
}

/*
 * Ask about the next of the journal; false: that was all.  A set that has just been made
 * takes what was published meanwhile out of its members.  Under map_lock.
 */
static bool
ask_some(Records *records, FilterSet *filter)
{
	Filters    *filters = records->filters;
	uint64_t	at = atomic_load(&filter->asked);
	uint64_t	end = atomic_load(&filters->journal_end);
	uint64_t	until = end - at < ASK_SLICE ? end : at + ASK_SLICE;

	filters->figures.asked += until - at;
	for (; at < until; at++)
	{
		uint32_t	slot = filters->journal[at - filters->journal_first];
		WireAttributes attributes;

		if (filter->making)
			hnsw_set_remove(filter->set, slot);
		columns_read(records->columns, slot, &attributes);
		if (predicate_passes(filter->predicate, &attributes))
			note(filter, slot);
	}
	atomic_store_explicit(&filter->asked, at, memory_order_release);
	return at < end;
}

/* The whole journal, for a set that somebody uses.  Under map_lock, which others get in between. */
static void
ask_all(Records *records, FilterSet *filter)
{
	while (ask_some(records, filter))
	{
		pthread_mutex_unlock(&records->map_lock);
		pthread_mutex_lock(&records->map_lock);
	}
}

void
filters_close(Records *records)
{
	while (records->filters->open)
	{
		Assert(records->filters->open->users == 0);
		close_set(records, records->filters->open);
	}
	free(records->filters);
}

/* -- Making ---------------------------------------------------------------- */

typedef struct Making
{
	const Predicate *predicate;
	const Columns *columns;
	bool		(*stop) (void *arg);
	void	   *stop_arg;
	uint64_t	slots;			/* to look at, about */
	bool		in_vain;		/* nobody waits for it any more */
	bool		stopped;		/* and it is not kept for the next */
} Making;

/*
 * Once half of it is there, it is made for the next search that asks: what takes longer than
 * a client waits would be begun by each of them, and never be there.
 */
static void
make_words(void *arg, uint32_t first, uint32_t n, uint64_t *out)
{
	Making	   *making = (Making *) arg;

	if (!making->in_vain && making->stop && making->stop(making->stop_arg))
	{
		making->in_vain = true;
		making->stopped = first < making->slots / 2;
	}
	if (making->stopped)
		memset(out, 0, sizeof(uint64_t) * n);
	else
		predicate_words(making->predicate, making->columns, first, n, out);
}

/* A set whose guard is young; NULL = there is none.  Under map_lock. */
static FilterSet *
find_guard(const Filters *filters, int64_t now)
{
	FilterSet  *filter = filters->open;

	while (filter && now - filter->guard_us >= GUARD_US)
		filter = filter->next;
	return filter;
}

/* Open: from now on whatever is published is in the journal.  Under map_lock. */
static FilterSet *
open_set(Records *records, Predicate *predicate, uint64_t hash, int64_t now)
{
	Filters    *filters = records->filters;
	FilterSet  *filter = vt_alloc0(sizeof(FilterSet));
	const FilterSet *beside = find_guard(filters, now);

	filter->predicate = predicate_share(predicate);
	filter->hash = hash;
	filter->set = beside ? hnsw_set_open_beside(beside->set) : hnsw_set_open(records->graph);
	filter->guard_us = beside ? beside->guard_us : now;
	filter->users = 1;
	filter->making = true;
	filter->changes = filters->changes;
	atomic_init(&filter->asked, atomic_load(&filters->journal_end));
	filter->made_us = filter->used_us = now;
	filter->own_bytes = sizeof(FilterSet) + 3 * predicate_bytes(predicate).len;
	atomic_fetch_add(&records->own_bytes, (long long) filter->own_bytes);
	filter->next = filters->open;
	filters->open = filter;
	filter->number = ++filters->figures.made;
	return filter;
}

/* It has its members: what was published meanwhile is none.  Under map_lock. */
static void
finish_set(Records *records, FilterSet *filter)
{
	Filters    *filters = records->filters;

	ask_all(records, filter);
	filter->making = false;
	filter->bytes = filter->own_bytes + hnsw_set_bytes(filter->set);

	/* Somebody else may have made the same. */
	if (find_set(filters, filter->predicate, filter->hash))
		return;
	filter->found = true;
	if (filters->worn_at > filter->changes + CHANGES_MAX)
		filters->worn_at = filter->changes + CHANGES_MAX;
	filters->nfound++;
	filters->bytes += filter->bytes;
	make_room(records, filter);
}

/* -- Doors ----------------------------------------------------------------- */

FilterSet *
filters_take(Records *records, Predicate *predicate, bool (*stop) (void *arg), void *arg)
{
	Filters    *filters = records->filters;
	int64_t		now = clock_now_us();
	uint64_t	hash = hash_checksum(predicate_bytes(predicate));
	Making		making = {.predicate = predicate, .columns = records->columns, .stop = stop, .stop_arg = arg};
	FilterSet  *filter;
	HnswStats	stats;

	pthread_mutex_lock(&records->map_lock);
	filter = find_set(filters, predicate, hash);
	if (filter)
	{
		filter->users++;
		if (now - filter->made_us <= AGE_US)
			ask_all(records, filter);
		if (is_worn(filters, filter) || now - filter->made_us > AGE_US)
		{
			give(records, filter, true);
			filter = NULL;
		}
	}
	if (filter)
	{
		filter->used_us = now;
		filters->figures.found++;
		to_front(filters, filter);
		pthread_mutex_unlock(&records->map_lock);
		return filter;
	}
	filter = open_set(records, predicate, hash, now);
	pthread_mutex_unlock(&records->map_lock);

	hnsw_stats(records->graph, &stats);
	making.slots = stats.used;
	hnsw_set_fill(filter->set, make_words, &making);

	pthread_mutex_lock(&records->map_lock);
	if (making.stopped)
	{
		close_set(records, filter);
		filter = NULL;
	}
	else
		finish_set(records, filter);
	pthread_mutex_unlock(&records->map_lock);
	if (filter && making.in_vain)
	{
		filters_give(records, filter);
		filter = NULL;
	}
	return filter;
}

void
filters_give(Records *records, FilterSet *filter)
{
	pthread_mutex_lock(&records->map_lock);
	give(records, filter, false);
	pthread_mutex_unlock(&records->map_lock);
}

const HnswSet *
filter_set(const FilterSet *filter)
{
	return filter->set;
}

uint64_t
filter_number(const FilterSet *filter)
{
	return filter->number;
}

uint32_t *
filter_late(Records *records, FilterSet *filter, uint32_t *n)
{
	Filters    *filters = records->filters;
	uint32_t   *out;
	uint32_t	all;

	/*
	 * Who saw a member dead sees what superseded it here: it is in the journal since before.  The
	 * same goes for what was acknowledged before the search began.
	 */
	*n = 0;
	if ((atomic_load_explicit(&filters->journal_end, memory_order_acquire) ==
		 atomic_load_explicit(&filter->asked, memory_order_acquire) &&
		 atomic_load_explicit(&filter->nlate, memory_order_acquire) == 0) || vt_broken("S5-late"))
		return NULL;
	pthread_mutex_lock(&records->map_lock);
	ask_all(records, filter);
	all = atomic_load(&filter->nlate);
	for (uint32_t i = 0; i < all; i++)
		if (hnsw_live(records->graph, filter->late[i]))
			filter->late[(*n)++] = filter->late[i];

	/* The dead ones do not come back while the set is open. */
	atomic_store(&filter->nlate, *n);
	out = vt_alloc(sizeof(uint32_t) * (*n + 1));
	if (*n > 0)
		memcpy(out, filter->late, sizeof(uint32_t) * *n);
	pthread_mutex_unlock(&records->map_lock);
	return out;
}

/* Close what is worn, and with a time what is old or idle. */
static void
look(Records *records, int64_t now)
{
	Filters    *filters = records->filters;

	filters->worn_at = UINT64_MAX;
	for (FilterSet *f = filters->open, *next; f; f = next)
	{
		next = f->next;
		if (!f->found)
			continue;
		if (is_worn(filters, f) || (now && (now - f->made_us > AGE_US || now - f->used_us > IDLE_US)))
			hide_set(records, f);
		else if (filters->worn_at > f->changes + CHANGES_MAX)
			filters->worn_at = f->changes + CHANGES_MAX;
	}
}

bool
filters_trim(Records *records)
{
	Filters    *filters = records->filters;
	int64_t		now = clock_now_us();
	long long	due = filters ? atomic_load(&filters->trim_us) : INT64_MAX;
	bool		some;

	if (!filters)
		return false;
	if (now < due || !atomic_compare_exchange_strong(&filters->trim_us, &due, now + TRIM_US))
		return true;
	pthread_mutex_lock(&records->map_lock);
	look(records, now);
	some = filters->nfound > 0;
	pthread_mutex_unlock(&records->map_lock);
	return some;
}

void
filters_note(Records *records, uint32_t slot)
{
	Filters    *filters = records->filters;

	if (!filters)
		return;
	if (filters->open)
		journal_add(records, slot);
	if (++filters->changes > filters->worn_at)
		look(records, 0);
}

void
filters_died(Records *records, uint64_t n)
{
	if (!records->filters)
		return;
	records->filters->changes += n;
	if (records->filters->changes > records->filters->worn_at)
		look(records, 0);
}

FilterFigures
filters_figures(Records *records)
{
	FilterFigures figures;

	pthread_mutex_lock(&records->map_lock);
	figures = records->filters->figures;
	figures.sets = records->filters->nfound;
	figures.journal = records->filters->journal_room;
	pthread_mutex_unlock(&records->map_lock);
	return figures;
}
