/*-------------------------------------------------------------------------
 *
 * marks.c
 *	  What a server remembers of marks (rule R3).
 *
 * One table for all processes of a server.  An entry says of one life of one
 * shard up to which index a replica must have applied the log to answer for
 * everything this server was acknowledged; one more entry for each generation
 * says which version of the route those writes went by.  So there are no
 * pointers, only buckets of eight; a bucket that is full gives up an entry that
 * nobody used for a while.
 *
 * Three rules make "known" true:
 *
 * 1. A writer raises the index of an entry but never makes it known: others may
 *	  have been acknowledged more before the entry was made.
 * 2. Only a reader makes it known, with an answer by ReadIndex that it asked for
 *	  after it had looked here.  What was acknowledged before it asked is in the
 *	  answer, what comes after it raises the entry.
 * 3. Unless something was forgotten meanwhile: then a writer's mark may have
 *	  come and gone, higher than the answer.
 *
 * The generation's entry follows the same rules with route versions for indexes.  But
 * whoever hears of a split from a worker goes by an interval that no version of PD's tells of
 * yet, or that a route of another version may lack.  So an entry keeps the newest version of
 * its shard's interval that anybody here has gone by: with an older one the mark is not
 * known (law R3-told).  A scan by such a route asks the shard's leader, who refuses it.
 *
 * A shard that was split off another begins without an entry.  Nothing was written to it,
 * so that whoever stands where its log begins has all there is, if that can be known:
 * what it was split off was learned by a route without it, when nobody had written to it
 * yet, and what was written since then would be here, for its bucket has given up
 * nothing since (law R3-child).  Then there is no need to ask a leader, which the
 * shard may not have yet.
 *
 *-------------------------------------------------------------------------
 */
#include "base/breaks.h"
#include "private.h"

#define WAYS 8

typedef struct MarkEntry
{
	VtId		generation;
	uint64_t	shard;			/* 0 = the generation's own entry */
	uint64_t	incarnation;
	uint64_t	index;			/* the generation's: route version */
	uint64_t	learned_at;		/* evictions before it was learned last */
	uint32_t	range_ver;		/* of the route by which that was; 0 = never */
	uint32_t	newest_ver;		/* that a write or an answer is known to have gone by; 0 = none */
	bool		taken;
	bool		known;
	bool		used;			/* since an eviction passed by; readers set it too */
} MarkEntry;

typedef struct MarkBucket
{
	uint64_t	evicted_at;		/* evictions with the last one here */
	MarkEntry	entries[WAYS];
} MarkBucket;

struct ClientMarkTable
{
	uint32_t	nbuckets;
	uint64_t	evictions;
	MarkBucket	buckets[];
};

static uint32_t
buckets_for(uint32_t room)
{
	return room < WAYS ? 1 : (room + WAYS - 1) / WAYS;
}

size_t
client_mark_table_size(uint32_t room)
{
	return sizeof(ClientMarkTable) + sizeof(MarkBucket) * buckets_for(room);
}

ClientMarkTable *
client_mark_table_init(void *memory, uint32_t room)
{
	ClientMarkTable *table = (ClientMarkTable *) memory;

	memset(table, 0, client_mark_table_size(room));
	table->nbuckets = buckets_for(room);
	return table;
}

static MarkBucket *
bucket_of(ClientMarkTable *table, const VtId *generation, uint64_t shard)
{
	uint64_t	mixed = (get_le64(generation->b) ^ shard) * UINT64_C(0x9E3779B97F4A7C15);

	return &table->buckets[(mixed >> 32) % table->nbuckets];
}

/* Something of this bucket is forgotten. */
static void
note_eviction(ClientMarkTable *table, MarkBucket *bucket)
{
	bucket->evicted_at = ++table->evictions;
}

static MarkEntry *
find(ClientMarkTable *table, const VtId *generation, uint64_t shard)
{
	MarkBucket *bucket = bucket_of(table, generation, shard);

	for (int i = 0; i < WAYS; i++)
	{
		MarkEntry  *e = &bucket->entries[i];

		if (e->taken && e->shard == shard && vt_id_equal(&e->generation, generation))
		{
			/* Written beside other readers, and mostly there already. */
			if (!__atomic_load_n(&e->used, __ATOMIC_RELAXED))
				__atomic_store_n(&e->used, true, __ATOMIC_RELAXED);
			return e;
		}
	}
	return NULL;
}

/* A place for an entry that is not there: free, or made so. */
static MarkEntry *
make(ClientMarkTable *table, const VtId *generation, uint64_t shard, uint64_t incarnation)
{
	MarkBucket *bucket = bucket_of(table, generation, shard);
	MarkEntry  *entries = bucket->entries;
	MarkEntry  *place = NULL;

	for (int i = 0; i < WAYS && !place; i++)
		if (!entries[i].taken)
			place = &entries[i];
	if (!place)
	{
		/* The first that is unused; all others have had their chance. */
		for (int i = 0; i < WAYS; i++)
		{
			if (!place && !entries[i].used)
				place = &entries[i];
			else
				entries[i].used = false;
		}
		if (!place)
			place = &entries[table->evictions % WAYS];
		note_eviction(table, bucket);
	}
	memset(place, 0, sizeof(*place));
	place->generation = *generation;
	place->shard = shard;
	place->incarnation = incarnation;
	place->taken = true;
	place->used = true;
	return place;
}

/*
 * The entry to be raised.  Of another life it says nothing about this one: it
 * begins anew, unknown.
 */
static MarkEntry *
entry_of(ClientMarkTable *table, const VtId *generation, uint64_t shard, uint64_t incarnation)
{
	MarkEntry  *e = find(table, generation, shard);

	if (!e)
		return make(table, generation, shard, incarnation);
	if (e->incarnation != incarnation)
	{
		e->incarnation = incarnation;
		e->index = 0;
		e->known = false;
		e->range_ver = e->newest_ver = 0;
		note_eviction(table, bucket_of(table, generation, shard));
	}
	return e;
}

static void
raise_entry(MarkEntry *e, uint64_t index)
{
	if (index > e->index)
		e->index = index;
	if (vt_broken("R3-fill"))
		e->known = true;
}

static void
raise_version(MarkEntry *e, uint32_t range_ver)
{
	if (range_ver > e->newest_ver)
		e->newest_ver = range_ver;
}

void
client_mark_note(ClientMarkTable *table, const VtId *generation, const ClientMarks *marks)
{
	if (marks->n == 0)
		return;
	for (uint32_t i = 0; i < marks->n; i++)
	{
		const ClientMark *mark = &marks->items[i];

		raise_entry(entry_of(table, generation, mark->shard, mark->incarnation), mark->index);
	}
	for (uint32_t i = 0; i < marks->ntold && i < CLIENT_TOLD_MAX; i++)
	{
		const ClientMark *told = &marks->told[i];

		raise_version(entry_of(table, generation, told->shard, told->incarnation), told->range_ver);
	}
	raise_entry(entry_of(table, generation, 0, 0), marks->route_version);
	if (marks->ntold > CLIENT_TOLD_MAX)
	{
		/* In which shards is not known: so nothing is, nor what readers have begun to ask. */
		find(table, generation, 0)->known = false;
		note_eviction(table, bucket_of(table, generation, 0));
	}
}

static bool
is_known(const MarkEntry *e)
{
	return e->known || vt_broken("R3-unknown");
}

/* Is it known that this server was acknowledged nothing in a shard that has no entry? */
static bool
is_untouched(ClientMarkTable *table, const ClientCollection *route, const WireShardDesc *desc)
{
	const MarkBucket *bucket = bucket_of(table, &route->generation, desc->shard);
	const WireShardDesc *parent;

	for (; (parent = route_parent(route, desc)) != NULL; desc = parent)
	{
		const MarkEntry *e = find(table, &route->generation, parent->shard);

		if (e)
			return e->known && e->incarnation == parent->incarnation && e->range_ver > 0 &&
				e->range_ver < route_born_ver(route, desc) &&
				(bucket->evicted_at <= e->learned_at || vt_broken("R3-child"));
	}
	return false;
}

uint32_t
client_mark_read(ClientMarkTable *table, const ClientCollection *route, ClientMark *items,
				 uint64_t *route_version, uint64_t *ticket)
{
	const MarkEntry *e = find(table, &route->generation, 0);
	uint32_t	n = 0;

	*ticket = table->evictions;
	*route_version = e ? e->index : 0;
	if (!e || !is_known(e) || (e->index > route->route_version && !vt_broken("R3-route")))
		return 0;
	for (uint32_t i = 0; i < route->nshards; i++)
	{
		const WireShardDesc *desc = &route->shards[i].desc;

		e = find(table, &route->generation, desc->shard);
		if (e && !is_known(e) && vt_broken("R3-noted"))
			e = NULL;
		if (e ? !is_known(e) || e->incarnation != desc->incarnation : !is_untouched(table, route, desc))
			continue;
		if (e && e->newest_ver > desc->range_ver && !vt_broken("R3-told"))
			continue;
		items[n].shard = desc->shard;
		items[n].incarnation = desc->incarnation;
		items[n].range_ver = desc->range_ver;
		items[n++].index = e ? e->index : desc->base_index;
	}
	return n;
}

/*
 * Rule 3 holds since there were so many evictions.  The route of the answer knew all shards
 * that anybody had written to before the reader looked.
 */
static void
set_known(MarkEntry *e, const ClientMark *mark, uint64_t ticket)
{
	e->known = true;
	if (mark->range_ver > 0)
	{
		e->range_ver = mark->range_ver;
		e->learned_at = ticket;
		raise_version(e, mark->range_ver);
	}
}

/* There and of the asked life?  Then it is known; false when it is not there. */
static bool
learn_entry(ClientMarkTable *table, const VtId *generation, uint64_t ticket, const ClientMark *mark)
{
	MarkEntry  *e = find(table, generation, mark->shard);

	if (!e)
		return false;
	if (e->incarnation != mark->incarnation)
	{
		/* Two lives: the next one to ask will see which it is. */
		e->taken = false;
		note_eviction(table, bucket_of(table, generation, mark->shard));
		return true;
	}
	if (!e->known && mark->index > e->index)
		e->index = mark->index;
	set_known(e, mark, ticket);
	return true;
}

void
client_mark_learn(ClientMarkTable *table, const VtId *generation, uint64_t ticket,
				  const ClientMarks *answered)
{
	const ClientMark route = {.index = answered->route_version};
	bool		missing[SHARDS_MAX + 1];

	if ((table->evictions != ticket && !vt_broken("R3-epoch")) || answered->n > SHARDS_MAX)
		return;

	/* First what is there, since making room for the rest may forget it. */
	for (uint32_t i = 0; i <= answered->n; i++)
		missing[i] = !learn_entry(table, generation, ticket, i < answered->n ? &answered->items[i] : &route);
	for (uint32_t i = 0; i <= answered->n; i++)
	{
		const ClientMark *mark = i < answered->n ? &answered->items[i] : &route;

		if (missing[i])
		{
			MarkEntry  *e = make(table, generation, mark->shard, mark->incarnation);

			e->index = mark->index;
			set_known(e, mark, ticket);
		}
	}
}
