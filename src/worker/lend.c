/*-------------------------------------------------------------------------
 *
 * lend.c
 *	  What was split off is found here until the child serves.
 *
 * From the entry SPLIT on nobody changes what the child begins with, and until the
 * child stands on its own in this store its records lie in the parent's memory and
 * graph.  They are lent to searches, of two kinds:
 *
 *	- with the route of before the split, for the whole interval.  That is what a
 *	  replica answers that has not applied the split yet: whoever uses such a route
 *	  knows of no write by a newer one (law R3-route), and the mark it names is one of the
 *	  parent's log.
 *	- of the child.  That is what a replica of the child answers that has just been
 *	  made: it stands at the index of the split, and a mark beyond is not here.
 *
 * What asks for more than a mark says, a linearizable read, is refused for both: a
 * leader of the child may have acknowledged writes elsewhere.  So are writes and
 * listings.
 *
 * The loan ends before the records go, as the interval ends before records beyond it
 * go: who has read them and still finds the loan has seen all of them.  It ends when the
 * child serves in this store.  Until then may be long, where it is large or cannot be
 * made; an eventual read, which must not be answered with what was there hours ago, is refused
 * after a while.  With the process the loan is over, too: what is loaded at a start is the interval, unless replay comes
 * to the split again.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <math.h>

#include "base/breaks.h"
#include "base/clock.h"

#define FRESH_US (30 * INT64_C(1000000))	/* what is lent is the newest there may be, or nearly */

/*
 * The apply thread, before anybody is told of the new interval: before is the version
 * of the whole one.
 */
void
loan_begin(Shard *shard, const ShardChild *child, uint32_t before)
{
	pthread_mutex_lock(&shard->children_lock);
	shard->loan = *child;
	shard->loan_before = before;
	/* One that was on disk before is of some time ago: it is only replayed. */
	shard->loan_fresh_until_us = clock_now_us() + (child->index > shard->newest ? FRESH_US : 0);
	atomic_store(&shard->lent, child->desc.shard);
	pthread_mutex_unlock(&shard->children_lock);
}

typedef struct Ended
{
	Shard	   *shard;
	uint64_t	index;			/* of the split whose loan it was */
} Ended;

/* Beside apply, which may come to another split: that one lends before it ends the interval. */
static bool
is_kept(void *arg, Bytes id)
{
	const Ended *ended = (const Ended *) arg;
	Shard	   *shard = ended->shard;
	uint64_t	place = wire_place(&shard->desc, id);
	bool		kept = place >= shard->desc.first && place <= atomic_load(&shard->last);

	pthread_mutex_lock(&shard->children_lock);
	kept = kept || (atomic_load(&shard->lent) != 0 && shard->loan.index != ended->index &&
					place >= shard->loan.desc.first && place <= shard->loan.desc.last);
	pthread_mutex_unlock(&shard->children_lock);
	return kept;
}

void
loan_end(Shard *shard)
{
	Ended		ended = {.shard = shard};
	ShardChild	loan;

	/* Who comes while another one does it finds it done. */
	pthread_mutex_lock(&shard->loan_lock);
	if (loan_of(shard, &loan))
	{
		ended.index = loan.index;
		if (!vt_broken("D1-loan"))
			atomic_store(&shard->lent, 0);
		if (!vt_broken("D1-rows"))
			(void) records_keep(shard->records, is_kept, &ended);
	}
	pthread_mutex_unlock(&shard->loan_lock);
}

/* How many records there are; true: and nothing that is lent among them. */
bool
loan_is_none(Shard *shard, uint64_t *records)
{
	bool		none;

	/* Who has said that it ends is not through with the records before the lock is free. */
	pthread_mutex_lock(&shard->loan_lock);
	none = atomic_load(&shard->lent) == 0;
	*records = records_count(shard->records);
	pthread_mutex_unlock(&shard->loan_lock);
	return none;
}

bool
loan_of(Shard *shard, ShardChild *out)
{
	bool		found;

	pthread_mutex_lock(&shard->children_lock);
	found = atomic_load(&shard->lent) != 0;
	*out = shard->loan;
	pthread_mutex_unlock(&shard->children_lock);
	return found;
}

static double
width(uint64_t first, uint64_t last)
{
	return (double) (last - first) + 1;
}

/* So many times n, but no more than a walk can keep. */
static uint32_t
times(uint32_t n, double factor)
{
	double		product = ceil(n * factor);

	return n >= HNSW_MAX_EF ? n : product < HNSW_MAX_EF ? (uint32_t) product : HNSW_MAX_EF;
}

void
loan_keep(Shard *shard, const ShardSpan *view, uint32_t *k, uint32_t *ef)
{
	ShardChild	loan;
	double		graph;

	if (atomic_load(&shard->lent) == 0 || !loan_of(shard, &loan))
		return;
	graph = width(shard->desc.first, loan.desc.last) / width(view->first, view->last);
	if (graph <= 1)
		return;
	*k = times(*k, graph);
	*ef = times(*ef, sqrt(graph));
}

bool
shard_view(Shard *shard, uint64_t id, uint32_t range_ver, ShardSpan *out)
{
	bool		found;

	*out = (ShardSpan) {.shard = shard->desc.shard, .incarnation = shard->desc.incarnation,
		.range_ver = atomic_load(&shard->range_ver), .first = shard->desc.first, .last = atomic_load(&shard->last)
	};
	if (id == shard->desc.shard && range_ver == out->range_ver)
		return true;
	pthread_mutex_lock(&shard->children_lock);
	found = atomic_load(&shard->lent) != 0;
	if (found && id == shard->desc.shard && range_ver == shard->loan_before)
	{
		out->lent = shard->loan.index;
		out->range_ver = range_ver;
		out->last = shard->loan.desc.last;
	}
	else if (found && id == shard->loan.desc.shard && range_ver == shard->loan.desc.range_ver)
	{
		out->lent = out->base = shard->loan.index;
		out->shard = id;
		out->incarnation = shard->loan.desc.incarnation;
		out->range_ver = range_ver;
		out->first = shard->loan.desc.first;
		out->last = shard->loan.desc.last;
		out->fence = shard->loan.fence;
	}
	else
		found = false;
	out->old = found && clock_now_us() >= shard->loan_fresh_until_us;
	pthread_mutex_unlock(&shard->children_lock);
	return found;
}

bool
shard_view_holds(Shard *shard, const ShardSpan *view, uint64_t asked)
{
	bool		holds;

	atomic_thread_fence(memory_order_acquire);
	if (view->lent == 0 && atomic_load(&shard->range_ver) == view->range_ver)
		return true;

	/* It was split meanwhile, or what is lent was to be read. */
	pthread_mutex_lock(&shard->children_lock);
	holds = atomic_load(&shard->lent) != 0 && shard->loan.desc.last == view->last &&
		(view->lent ? view->lent == shard->loan.index :
		 view->range_ver == shard->loan_before && asked < shard->loan.index);
	pthread_mutex_unlock(&shard->children_lock);
	return holds;
}
